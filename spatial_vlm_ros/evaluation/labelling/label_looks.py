# SPDX-License-Identifier: Apache-2.0
"""Prepares what a person sees of a case: objects, answer, proposed truth, and the scene from above."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InternalError, SpatialVlmError
from spatial_vlm_ros.evaluation.labelling.ground import Ground, ground_of
from spatial_vlm_ros.evaluation.labelling.label_sources import FrameToLabel, LabelSource
from spatial_vlm_ros.evaluation.labelling.proposal import proposed
from spatial_vlm_ros.resolver import Answered, ObservedFrame, Resolver
from spatial_vlm_ros.types import Detection, FrameOfReference, Resolution, Rgb

_log = logging.getLogger(__name__)
_FRAMES_KEPT = 3
_LOOKS_KEPT = 8  # with their masks


@dataclass(frozen=True, eq=False)
class LabelLook:
    """What a person sees of a case before deciding.

    Args:
        resolution: the answer; None if the frame cannot be read.
        detections: objects of the frame, numbered from 1 in this order.
        ground: the scene from above; None if nothing was lifted.
        size: (width, height) of the image, pixels; None if the frame cannot be read.
        problem: why the frame cannot be read; "" if it can.
    """

    resolution: Resolution | None
    detections: tuple[Detection, ...] = ()
    ground: Ground | None = None
    size: tuple[int, int] | None = None
    proposal: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


class LabelLooks:
    """Prepares the views of a source's frames, and caches the latest ones. Not thread-safe.

    Args:
        frame_of_reference: used if the words state none.
    """

    def __init__(self, source: LabelSource, resolver: Resolver, frame_of_reference: FrameOfReference | None) -> None:
        self._source, self._resolver, self._reference = source, resolver, frame_of_reference
        self._frames: OrderedDict[int, tuple[FrameToLabel, ObservedFrame] | SpatialVlmError] = OrderedDict()
        self._looks: OrderedDict[tuple[int, str], LabelLook] = OrderedDict()

    def look(self, frame: int, words: str) -> LabelLook:
        """What a sentence on a frame looks like."""
        key = frame, words
        if key not in self._looks:
            self._looks[key] = self._looked(frame, words)
            while len(self._looks) > _LOOKS_KEPT:
                self._looks.popitem(last=False)
        self._looks.move_to_end(key)
        return self._looks[key]

    def rgb(self, frame: int) -> Rgb | None:
        """The colour image of a frame; None if it cannot be read."""
        loaded = self._loaded(frame)
        return None if isinstance(loaded, SpatialVlmError) else loaded[0].frame.rgb

    def names_by_id(self, frame: int) -> bool:
        """Whether object ids are stable beyond one answer, because detections came with the frame."""
        loaded = self._loaded(frame)
        return not isinstance(loaded, SpatialVlmError) and loaded[0].detections is not None

    def _loaded(self, frame: int) -> tuple[FrameToLabel, ObservedFrame] | SpatialVlmError:
        if frame not in self._frames:
            found: tuple[FrameToLabel, ObservedFrame] | SpatialVlmError
            try:
                there = self._source.load(frame)
                found = there, self._resolver.look_at(there.frame, there.detections)
            except SpatialVlmError as error:
                found = error
            except Exception as error:  # a fault of ours costs one frame, not the page
                _log.exception("unexpected exception while reading frame %s", self._source.names[frame])
                found = InternalError.of(error)
            self._frames[frame] = found
            while len(self._frames) > _FRAMES_KEPT:
                self._frames.popitem(last=False)
        self._frames.move_to_end(frame)
        return self._frames[frame]

    def _looked(self, frame: int, words: str) -> LabelLook:
        loaded = self._loaded(frame)
        if isinstance(loaded, SpatialVlmError):
            return LabelLook(None, problem=str(loaded))
        there, observed = loaded
        answered = observed.ask(words, self._reference)
        ground = self._ground(there, answered)
        by_id = there.detections is not None
        truth = proposed(answered.resolution, answered.detections, ground, by_id=by_id)
        size = (there.frame.camera.width, there.frame.camera.height)
        return LabelLook(answered.resolution, answered.detections, ground, size, truth)

    def _ground(self, there: FrameToLabel, answered: Answered) -> Ground | None:
        scene = answered.scene
        try:
            if scene is None:  # refused before it was lifted: the words were not understood
                scene = self._resolver.observe(there.frame, answered.detections)
            return ground_of(scene, there.base_T_camera)
        except SpatialVlmError:
            return None
