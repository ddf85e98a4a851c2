# SPDX-License-Identifier: Apache-2.0
"""A robot cell that a test may do anything with, and how to make its arm do something in simulated time."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from planning_scenes import fingers_down

from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment

Floats = npt.NDArray[np.float64]

RUNS = all(map(importlib.util.find_spec, ("mujoco", "pinocchio", "coal", "ompl", "daqp")))
collect_ignore_glob = [] if RUNS else ["test_*.py"]


@pytest.fixture(scope="session")
def planner() -> Any:
    from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner

    return BuiltinPlanner()


@pytest.fixture
def cell() -> Any:
    from spatial_vlm_ros.sim.arm.cell import ArmCell
    from spatial_vlm_ros.sim.arm.worlds import layout

    return ArmCell(layout("behind"))


@dataclasses.dataclass
class Operator:
    cell: Any
    planner: Any
    watch: Callable[[Any], None] = lambda _: None

    down = staticmethod(fingers_down)

    @property
    def joints(self) -> Floats:
        return np.asarray(self.cell.joints().position[:7])

    def wait(self, seconds: float, ended: Callable[[], Any] = lambda: None) -> Any:
        """How something ended, or None once that time is over."""
        end = self.cell.time + seconds
        while self.cell.time < end:
            self.cell.step()
            self.watch(self.cell)
            if (done := ended()) is not None:
                return done
        return None

    def move(self, trajectory: Any, **tolerances: Any) -> Any:
        """Follow a planner's trajectory to its end, whatever that is."""
        from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory, Tolerances

        t, cell = trajectory, self.cell
        sent = JointTrajectory(t.times, t.positions, t.velocities, t.accelerations)
        cell.follower.begin(sent, cell.time, self.joints, Tolerances(**tolerances))

        def ended() -> Any:
            state = cell.joints()
            return cell.follower.ended(cell.time, state.position[:7], state.velocity[:7])

        done = self.wait(t.times[-1] + 5.0, ended)
        assert done is not None, "the trajectory did not end"
        return done

    def go(self, *segments: Any, boxes: Any = ()) -> list[Any]:
        """Plan the segments from where the arm is, and follow them."""
        motion = self.planner.plan(MotionRequest(self.joints, segments, boxes, seed=1, time_limit=60.0))
        return [self.move(trajectory) for trajectory in motion.trajectories]

    def grip(self, position: float, force: float = 30.0) -> Any:
        self.cell.hand.grip(position, force)
        gripped = self.wait(5.0, lambda: self.cell.hand.ended(self.cell.data))
        assert gripped is not None, "the gripper did not end"
        return gripped

    def take(self, id_: str, height: float = 0.03, force: float = 30.0) -> Any:
        """Close the fingers around an object from above, and lift it 12 cm; returns how the fingers ended."""
        x, y, _ = self.cell.pose(id_).translation
        self.go(Segment(self.down(x, y, height + 0.12)), Segment(self.down(x, y, height), straight=True))
        gripped = self.grip(0.0, force)
        self.go(Segment(self.down(x, y, height + 0.12), straight=True))
        return gripped

    def put(self, x: float, y: float, height: float) -> None:
        """Carry what is held over a place, down to `height` of the tip, open, and go up again."""
        above = self.down(x, y, height + 0.12)
        self.go(Segment(above), Segment(self.down(x, y, height), straight=True))
        self.grip(0.04)
        self.go(Segment(above, straight=True))


@pytest.fixture
def operator(cell: Any, planner: Any) -> Operator:
    return Operator(cell, planner)


@pytest.fixture(scope="session")
def verdict() -> Callable[[Any], Any]:
    return lambda cell: cell.judge.verdict(cell.data)
