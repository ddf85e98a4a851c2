# SPDX-License-Identifier: Apache-2.0
"""One question with its observation and its true answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, SpatialQuery, Status

KIND_OF: Mapping[Status, str] = {
    Status.OK: "answerable",
    Status.AMBIGUOUS: "ambiguous",
    Status.NOT_FOUND: "absent",
    Status.RELATION_UNSATISFIED: "unsatisfied",
}
"""Kinds of items by the status that is expected."""


@dataclass(frozen=True, eq=False)
class Item:
    """One question about one scene.

    Args:
        seed: of the scene; below distribution.REPORTING_FROM for development.
        kind: "answerable", "ambiguous", "absent" or "unsatisfied".
        relation: name that it is reported under.
        tags: further words for reports: "usual", "counter-heuristic", "any", "several", "further", …
        query: what is asked, without words.
        frame: what the sensor measured.
        detections: what the detector reported.
        status: expected.
        ids: what is meant; with AMBIGUOUS what could be; empty with other refusals.
        band: whether a true margin lies within the band that is called unclear.
        answerable_after_errors: whether the true answer among what the detector reported, as it called it, is the same.
        margins: true margin of each object of that name, metres.
        settings: values for `config_from` that the question needs.
    """

    seed: int
    kind: str
    relation: str
    tags: tuple[str, ...]
    query: SpatialQuery
    frame: RgbdFrame
    detections: tuple[Detection, ...]
    status: Status
    ids: tuple[str, ...]
    band: bool
    answerable_after_errors: bool
    margins: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def right(self, answer: Resolution) -> bool:
        """Whether an answer is the expected one: the very objects, or the very refusal."""
        asked = self.status is Status.OK and answer.answer is not None  # "where is the cup?" for "find the cup"
        if answer.status is not self.status and not asked:
            return False
        if self.status is not Status.OK:
            return True
        given = {t.id for t in answer.targets} or ({answer.target.id} if answer.target else set())
        if answer.answer is not None:
            given = {obj.id for obj in answer.answer.objects if obj.role in ("subject", "fits")}
        return bool(given) and given <= set(self.ids) if "any" in self.tags else given == set(self.ids)
