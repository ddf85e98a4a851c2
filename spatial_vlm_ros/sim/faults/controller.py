# SPDX-License-Identifier: Apache-2.0
"""Behaviour of a faulty controller towards its goals. Times are simulated seconds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm.trajectory import PATH_VIOLATED, SUCCESSFUL, JointTrajectory, TrajectoryOutcome
from spatial_vlm_ros.sim.faults.catalogue import Fault

UNDEFINED = -99
"""An error code that control_msgs/FollowJointTrajectory does not define."""
_WORDS = "an injected fault"


class ControllerFaults:
    """The faults of one controller, "arm" or "gripper"; usable from any thread."""

    def __init__(self, stream: str) -> None:
        self._stream, self.seed = stream, 0
        self._fault: Fault | None = None
        self._random = np.random.default_rng(self.seed)

    def set(self, faults: Iterable[Fault]) -> None:
        """Switch to these faults; running goals continue as they began."""
        fault = next((fault for fault in faults if fault.stream == self._stream), None)
        if fault != self._fault:
            self._fault = fault
            self._random = np.random.default_rng([self.seed, zlib.crc32(self._stream.encode())])

    def check(self) -> None:
        """Check that goals are accepted."""
        if self._kind == "off":
            raise InputError(
                "goal", _WORDS, "no injected fault", f"remove {self._stream}=off from the parameter faults"
            )

    @property
    def is_stuck(self) -> bool:
        """Whether a goal that is accepted now never starts."""
        return self._kind == "stuck"

    @property
    def pause(self) -> float:
        """Delay between acceptance and start of a goal, seconds."""
        return self._fault.amount if self._fault is not None and self._kind == "delayed" else 0.0

    def at_once(self) -> TrajectoryOutcome | None:
        """Outcome of a goal that ends without a motion; None if it is to be carried out."""
        if self._kind == "wrong":
            return TrajectoryOutcome(SUCCESSFUL, _WORDS)
        if self._kind == "garbage":
            return TrajectoryOutcome(UNDEFINED, _WORDS)
        if self._fault is not None and self._kind == "intermittent" and self._random.random() < self._fault.amount:
            return TrajectoryOutcome(PATH_VIOLATED, _WORDS)
        return None

    def paced(self, trajectory: JointTrajectory) -> JointTrajectory:
        """Return the trajectory to follow: slower or later, if that is the fault."""
        if self._fault is None or self._kind not in ("slow", "delayed"):
            return trajectory
        speed = self._fault.amount if self._kind == "slow" else 1.0
        return replace(
            trajectory,
            times=trajectory.times / speed + self.pause,
            velocities=None if trajectory.velocities is None else trajectory.velocities * speed,
            accelerations=None if trajectory.accelerations is None else trajectory.accelerations * speed**2,
        )

    @property
    def _kind(self) -> str:
        return "" if self._fault is None else self._fault.kind
