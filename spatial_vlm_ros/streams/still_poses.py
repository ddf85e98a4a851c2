# SPDX-License-Identifier: Apache-2.0
"""Picks images of an arm that stands still at a new pose, and boards in them, live or in a bag, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError, TransformUnavailableError, without_repair
from spatial_vlm_ros.geometry.charuco import BoardView, CharucoTarget
from spatial_vlm_ros.geometry.hand_eye import PoseSample, between
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.decoding import colour_of, frame_id_of
from spatial_vlm_ros.streams.frame_assembler import (
    RGB,
    RGB_INFO,
    SECOND,
    STATIC_TRANSFORMS,
    TRANSFORMS,
    stamp_of,
)
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import Transform

_STOOD = (SECOND // 2, SECOND // 4)  # ns before an image in which nothing has moved
_STILL = (0.001, 0.1)  # metres, degrees that a frame may move meanwhile: joint states are noisy
_NEW = (0.02, 4.0)  # metres, degrees from every earlier pose


class StillPoses:
    """Poses of moving frames in a base, each at a new place and when all of them stood still.

    Args:
        frames: the frames that tell whether the arm stands.
    """

    def __init__(self, transforms: TransformBuffer, base: str, frames: Sequence[str]) -> None:
        self._transforms, self._base, self._frames = transforms, base, tuple(frames)
        self._kept: list[Mapping[str, Transform]] = []

    def at(self, stamp_ns: int) -> dict[str, Transform] | None:
        """Frame → its pose in the base at a time; None if something moved before, or the pose is known."""
        poses = {name: self._transforms.lookup(self._base, name, stamp_ns) for name in self._frames}
        for earlier in _STOOD:
            try:
                before = {name: self._transforms.lookup(self._base, name, stamp_ns - earlier) for name in self._frames}
            except TransformUnavailableError:
                return None
            if _apart(poses, before, _STILL):
                return None
        return poses if all(_apart(poses, kept, _NEW) for kept in self._kept) else None

    def keep(self, poses: Mapping[str, Transform]) -> None:
        """Remember the poses of a used image."""
        self._kept.append(poses)


def _apart(poses: Mapping[str, Transform], others: Mapping[str, Transform], limits: tuple[float, float]) -> bool:
    return any(
        away > most
        for name, pose in poses.items()
        for away, most in zip(between(pose.matrix, others[name].matrix), limits, strict=True)
    )


class BoardSampler:
    """Takes a sample each time the arm stands still at a new pose and the board is seen.

    Attributes:
        why_not: reason → number of images that gave no sample.
        covered: (6, 8) bool: parts of the image in which corners were seen.
    """

    def __init__(self, target: CharucoTarget, config: StreamConfig, base: str, effector: str) -> None:
        self.transforms = TransformBuffer(int(config.transform_cache * SECOND))
        self.samples: list[PoseSample] = []
        self.why_not: Counter[str] = Counter()
        self.covered = np.zeros((6, 8), np.bool_)
        self.camera_frame = ""
        self._target, self._config, self._effector = target, config, effector
        self._still = StillPoses(self.transforms, base, (effector,))
        self._info: Any = None
        self._image: Any = None

    def add(self, role: str, message: Any, now_ns: int) -> bool:
        """Add a message of a role of streams.frame_assembler; returns whether it gave a sample."""
        if role in (TRANSFORMS, STATIC_TRANSFORMS):
            self.transforms.add_message(message, role == STATIC_TRANSFORMS, now_ns)
        elif role == RGB_INFO:
            self._info = message
        elif role == RGB:
            if self._image is not None:
                self.why_not["TF has no pose of the arm at the image's time"] += 1
            self._image = message
        return self._image is not None and self._info is not None and self._take(self._image)

    def _take(self, image: Any) -> bool:
        try:
            poses = self._still.at(stamp_of(image))
        except TransformUnavailableError as error:
            if not error.may_come:
                self._image = None
                self.why_not[without_repair(error)[:120]] += 1
            return False
        self._image = None
        if poses is None:
            self.why_not["the arm moved, or stood at a pose that is taken"] += 1
            return False
        try:
            rgb, camera = colour_of(image, self._info, self._config)
            self.camera_frame, seen = frame_id_of(image), self._target.find(rgb, camera)
        except SpatialVlmError as error:
            self.why_not[without_repair(error)[:120]] += 1
            return False
        if seen is None:
            self.why_not["the board was not seen"] += 1
            return False
        self._still.keep(poses)
        self._cover(seen, camera.width, camera.height)
        self.samples.append(PoseSample(poses[self._effector].matrix, seen.camera_T_board))
        return True

    def _cover(self, seen: BoardView, width: int, height: int) -> None:
        rows, columns = self.covered.shape
        cells = (seen.corners[:, ::-1] * [rows / height, columns / width]).astype(np.intp)
        inside = ((cells >= 0) & (cells < self.covered.shape)).all(axis=1)
        self.covered[tuple(cells[inside].T)] = True

    def camera_root(self, base: str) -> Transform:
        """Pose of the optical frame in the first frame of the camera's driver: the last one that carries no arm."""
        parents, carriers, frame = self.transforms.frames(), {base}, self._effector
        while frame in parents and frame not in carriers:
            carriers.add(frame)
            frame = parents[frame]
        chain = [self.camera_frame]
        while (parent := parents.get(chain[-1], base)) not in {*carriers, *chain}:
            chain.append(parent)
        return self.transforms.lookup(chain[-1], self.camera_frame)
