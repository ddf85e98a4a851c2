# SPDX-License-Identifier: Apache-2.0
"""Answers the cases of a folder, one by one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spatial_vlm_ros.errors import InternalError, SpatialVlmError
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import ObservedFrame, Resolver
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.types import Detection, FrameOfReference, Resolution, RgbdFrame, Scene, Status

FAILURES = frozenset(
    {Status.INVALID_INPUT, Status.STALE_INPUT, Status.NOT_SYNCHRONISED, Status.TF_UNAVAILABLE,
     Status.MODEL_ERROR, Status.TIMEOUT, Status.BUSY, Status.CANCELLED, Status.INTERNAL_ERROR}
)  # fmt: skip
"""Statuses that say nothing of words and objects: something could not be read, or failed."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class AnsweredCase:
    """A case with its frame, None if it could not be read, and its answer, which has the frame's name."""

    case: Case
    frame: RgbdFrame | None
    detections: tuple[Detection, ...]
    resolution: Resolution
    scene: Scene | None = None


def answer_cases(
    folder: str | Path,
    resolver: Resolver,
    frame_of_reference: FrameOfReference | None = None,
    watch: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> Iterator[AnsweredCase]:
    """Answer the cases of a folder in order; a frame that cannot be read is a refusal for each of its cases."""
    frames = FolderFrames(folder)
    observed: tuple[RgbdFrame, ObservedFrame] | None = None  # cases come frame by frame: each is lifted once
    for case in watch(load_cases(folder)):
        there = frames.load(case.frame)
        if isinstance(there, SpatialVlmError):
            yield AnsweredCase(case, None, (), refusal(case.instruction, there, frame=case.frame))
            continue
        frame, detections = there
        if observed is None or observed[0] is not frame:
            observed = frame, resolver.look_at(frame, detections)
        resolution, _, scene, _ = observed[1].ask(case.instruction, frame_of_reference)
        yield AnsweredCase(case, frame, detections, dataclasses.replace(resolution, frame=case.frame), scene)


class FolderFrames:
    """Loads frames of a folder; caches only the latest, because frames are large and cases come frame by frame."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._latest: tuple[str, tuple[RgbdFrame, tuple[Detection, ...]] | SpatialVlmError] | None = None

    def load(self, name: str) -> tuple[RgbdFrame, tuple[Detection, ...]] | SpatialVlmError:
        """A frame with its detections, or why it cannot be read."""
        if self._latest is None or self._latest[0] != name:
            try:
                self._latest = name, load_frame(self._folder / name)
            except SpatialVlmError as error:
                self._latest = name, error
            except Exception as error:  # a bug here costs the cases of one frame, not the batch
                _log.exception("unexpected exception while reading %s", self._folder / name)
                self._latest = name, InternalError.of(error)
        return self._latest[1]
