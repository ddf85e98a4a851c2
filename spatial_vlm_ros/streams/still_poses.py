# SPDX-License-Identifier: Apache-2.0
"""Takes frames of an arm that stands still at a new pose, live or from a bag, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import CalibrationError, SpatialVlmError, TransformUnavailableError, without_repair
from spatial_vlm_ros.geometry.hand_eye import CharucoTarget, PoseSample, between, calibrate, missing_view
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.frame_assembler import SECOND, STATIC_TRANSFORMS, TRANSFORMS, FrameAssembler, PendingFrame
from spatial_vlm_ros.types import RgbdFrame, Transform

DESCRIPTION = "robot_description"
"""Role of the topic with the robot's URDF."""
_STOOD = (0, SECOND // 4, SECOND // 2)  # ns before an image, between which nothing has moved
_STILL = (0.001, 0.1)  # metres, degrees that a frame may move meanwhile: joint states are noisy
_NEW = (0.02, 4.0)  # metres, degrees from every earlier pose


class StillSampler:
    """Uses one frame each time the arm stands still at a new pose.

    Args:
        config: with a base_frame, the camera's frame tells whether the arm stands, too.
        frames: frames of the arm that tell it.

    Attributes:
        state: what the poses tell so far, in words.
        why_not: reason → number of frames that were not used.
    """

    state = ""

    def __init__(self, config: StreamConfig, base: str, frames: Sequence[str], most: int) -> None:
        self.assembler = FrameAssembler(replace(config, robot_description="", imu=False), with_detections=False)
        self.why_not: Counter[str] = Counter()
        self.frames, self.most, self.kept = tuple(frames), most, list[dict[str, Transform]]()
        self._base, self._awaited = base, ""
        self._pending: PendingFrame | None = None
        self._since_ns = 0

    def done(self) -> bool:
        """Whether enough poses are used."""
        return len(self.kept) >= self.most

    def why_none(self) -> str:
        """Why no frame was used."""
        reasons = [f"{words} ({count} images)" for words, count in self.why_not.most_common(3)]
        return "; ".join(reasons) or self._awaited or without_repair(self.assembler.why_none(0))

    def use(self, frame: RgbdFrame, poses: dict[str, Transform]) -> str:
        """Use a frame and the poses of the arm's frames in the base; returns why it cannot be used, or ""."""
        raise NotImplementedError

    def add(self, role: str, message: Any, now_ns: int) -> bool:
        """Add a message of a role of streams.frame_assembler; returns whether a frame was used."""
        if role not in {*self.assembler.streams, TRANSFORMS, STATIC_TRANSFORMS}:
            return False
        self.assembler.add(role, message, now_ns)
        try:
            if self._pending is None:
                self._pending, self._since_ns = self.assembler.take(0, now_ns), now_ns
            if self._pending is None or self.done():
                return False
            names = (*self.frames, *(() if self._pending.base_T_camera is None else (self.assembler.camera_frame,)))
            times, lookup = [self._pending.stamp_ns - before for before in _STOOD], self.assembler.transforms.lookup
            stood = [{name: lookup(self._base, name, at) for name in names} for at in times]
            reason = "the arm moved"
            if not any(_apart(stood[0], earlier, _STILL) for earlier in stood[1:]):
                reason = "the arm stood at a pose that is taken"
                if all(_apart(stood[0], kept, _NEW) for kept in self.kept):
                    reason = self.use(self._pending.decode()[0], stood[0])
        except TransformUnavailableError as error:
            reason = self._awaited = without_repair(error)
            if error.may_come and self._pending is not None and now_ns - self._since_ns < SECOND:
                return False
        except SpatialVlmError as error:
            reason = without_repair(error)
        self._pending = None
        if reason:
            self.why_not[reason] += 1
            return False
        self.kept.append(stood[0])
        return True


def _apart(poses: dict[str, Transform], others: dict[str, Transform], limits: tuple[float, float]) -> bool:
    pairs = ((pose.matrix, others[name].matrix) for name, pose in poses.items())
    return any(away > most for pair in pairs for away, most in zip(between(*pair), limits, strict=True))


class BoardSampler(StillSampler):
    """Takes a sample at each new pose at which the board is seen."""

    def __init__(self, target: CharucoTarget, config: StreamConfig, base: str, effector: str, in_hand: bool,
                 most: int) -> None:  # fmt: skip
        super().__init__(replace(config, base_frame=""), base, (effector,), most)
        self.samples: list[PoseSample] = []
        self.covered = np.zeros((6, 8), np.bool_)  # parts of the image in which corners were seen
        self._target, self._effector, self._in_hand = target, effector, in_hand

    def use(self, frame: RgbdFrame, poses: dict[str, Transform]) -> str:
        """Take a sample if the board is seen."""
        seen = self._target.find(frame.rgb, frame.camera)
        if seen is None:
            return "the board was not seen"
        size, count = (frame.camera.height, frame.camera.width), self.covered.shape
        cells = (seen[1][:, ::-1] / size * count).astype(np.intp)
        self.covered[tuple(cells.clip(0, np.array(count) - 1).T)] = True
        self.samples.append(PoseSample(poses[self._effector].matrix, seen[0]))
        try:
            sigma = calibrate(self.samples, self._in_hand).sigma
            state = f"unsure by {sigma[0] * 1e3:.1f} mm, {sigma[1]:.2f} degrees"
        except CalibrationError as error:
            state = f"no result yet: {error.got}"
        view = missing_view(self.samples)
        self.state = f"; corners in {self.covered.mean():.0%} of the image; {state}. Next, see the board {view}"
        return ""

    def camera_root(self) -> Transform:
        """Pose of the optical frame in the first frame of the camera's driver: the last one that carries no arm."""
        parents, optical = self.assembler.transforms.frames(), self.assembler.camera_frame
        chains = [optical], [self._effector]
        for chain in chains:
            while parents.get(chain[-1], chain[-1]) not in chain:
                chain.append(parents[chain[-1]])
        root = [frame for frame in chains[0] if frame not in chains[1]][-1]
        return self.assembler.transforms.lookup(root, optical)
