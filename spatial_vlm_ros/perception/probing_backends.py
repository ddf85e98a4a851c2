# SPDX-License-Identifier: Apache-2.0
"""Probe a loaded backend: a model that writes locations in another convention than stated must not start."""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.probing import Answer, ConventionVerdict, probe
from spatial_vlm_ros.types import NounPhrase, Rgb

_log = logging.getLogger(__name__)


@runtime_checkable
class Writer(Protocol):
    """A backend whose model writes locations as text; these members beside `ground` make it possible to probe it."""

    @property
    def convention(self) -> Convention:
        """Convention in which the text is read."""
        ...

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        """Ask for the object of a phrase and return the raw answer.

        Args:
            rgb: (H, W, 3) uint8.
            words: for example "the red rectangle".

        Returns:
            The model's reply; (width, height) of the image that it saw, pixels.

        Raises:
            ModelError: the model failed.
        """
        ...


class ConventionError(ModelError):
    """A model writes locations in another convention than stated; `verdict` has the evidence."""

    def __init__(self, model: str, verdict: ConventionVerdict) -> None:
        self.verdict = verdict
        actual = verdict.actual.name if verdict.actual else "unknown"
        super().__init__(
            model,
            f"it does not write places as {verdict.stated}: {verdict.reason}",
            f"set convention={actual}, or use a model that follows {verdict.stated}",
        )


def probe_grounder(grounder: Grounder) -> ConventionVerdict:
    """Ask a backend for the shapes of `probing_images`.

    Args:
        grounder: for a Writer its raw replies are probed; for others the best box for each shape, which has to be in
            pixels.
    """
    if not isinstance(grounder, Writer):
        return probe(lambda rgb, words: _best_box(grounder, rgb, words), CONVENTIONS["absolute"])
    writer, given = grounder, dict[tuple[int, int], tuple[int, int]]()

    def ask(rgb: Rgb, words: str) -> Answer:
        text, given[rgb.shape[1], rgb.shape[0]] = writer.written(rgb, words)
        return text

    return probe(ask, writer.convention, resize=lambda size: given[size])


def check_convention(model: str, grounder: Grounder) -> bool:
    """Refuse a backend whose model writes locations in another convention than stated; warn if undecided."""
    verdict = probe_grounder(grounder)
    if verdict.outcome == "refuted":
        raise ConventionError(model, verdict)
    if verdict.outcome == "undecided":
        _log.warning(
            "model %r: it is not confirmed that it writes places as %s: %s", model, verdict.stated, verdict.reason
        )
    return verdict.outcome == "confirmed"


def _best_box(grounder: Grounder, rgb: Rgb, words: str) -> Answer:
    _, colour, shape = words.split()
    grounding = grounder.ground(rgb, [NounPhrase(shape, (colour,))])
    best = max(zip(grounding.detections, grounding.match[0], strict=True), key=lambda one: one[0].score * one[1],
               default=None)  # fmt: skip
    return () if best is None else best[0].box_xyxy
