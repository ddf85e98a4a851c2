# SPDX-License-Identifier: Apache-2.0
"""The oracle run: answers of the resolver alone, given the true objects of an image.

Works on true objects and the resolver; independent of models and files.
"""

from __future__ import annotations

import dataclasses

from spatial_vlm_ros.evaluation.object_truth import CaseTruth, KnownObject
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Answered, ObservedFrame, Resolver
from spatial_vlm_ros.types import Detection, FrameOfReference, Resolution, RgbdFrame


class Oracle:
    """Answers with the true objects. A frame is lifted once for the same objects."""

    def __init__(self, config: ResolverConfig) -> None:
        self._resolver = Resolver(without_models(config))
        self._observed: tuple[RgbdFrame, tuple[KnownObject, ...], ObservedFrame] | None = None

    def answer(
        self, frame: RgbdFrame, truth: CaseTruth, words: str, frame_of_reference: FrameOfReference | None = None
    ) -> Answered | None:
        """Answer of the resolver, or None if the truth is incomplete: an object lacks its name or its pixels.

        An object that is known in space alone is left out where others are known: it is one of them.
        """
        shown = [one for one in truth.objects if one.box is not None]
        given = tuple(one for one in map(as_detection, shown) if one is not None)
        if len(given) < len(shown) or not given:
            return None
        known = self._observed
        if known is None or known[0] is not frame or not _same(known[1], truth.objects):
            known = self._observed = frame, truth.objects, self._resolver.look_at(frame, given)
        return known[2].ask(words, frame_of_reference)


def without_models(config: ResolverConfig) -> ResolverConfig:
    """A copy of a configuration that asks no model."""
    return dataclasses.replace(
        config,
        second_opinion=dataclasses.replace(config.second_opinion, ask=False),
        judge=dataclasses.replace(config.judge, mode="off"),
        language=dataclasses.replace(config.language, reader="grammar", free_form="refuse"),
    )


def as_detection(true: KnownObject) -> Detection | None:
    """A true object as a detection; None if its name or its pixels are not known."""
    if true.detection is not None:
        return true.detection
    box = true.box if true.box is not None or true.mask is None else box_around(true.mask)
    if not true.label or box is None:
        return None
    return Detection(true.id, true.label, 1.0, box, true.mask)


def anchors_of(answer: Resolution) -> tuple[str, ...]:
    """Ids of the objects that the likeliest candidate of an answer was measured against."""
    if not answer.candidates:
        return ()
    named = [id_ for clause in answer.candidates[0].clauses for id_ in clause.anchor_ids]
    return tuple(dict.fromkeys(named))


def _same(some: tuple[KnownObject, ...], others: tuple[KnownObject, ...]) -> bool:
    return len(some) == len(others) and all(
        a is b or (a.detection is not None and a.detection is b.detection) for a, b in zip(some, others, strict=True)
    )
