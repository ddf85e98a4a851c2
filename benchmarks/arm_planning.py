# SPDX-License-Identifier: Apache-2.0
"""Planning time of the built-in planner, and whether MuJoCo confirms that its motions are free.

`python -m benchmarks.arm_planning --n 200`: for the Panda and the UR5e, each task goes from a random free configuration
to the tip pose of another one, among a table and eight random boxes, by any free path. The goals are reachable, because
they come from a free configuration, but there may be no path. All tips are above the table, and joints within half a
turn of zero. MuJoCo then checks each motion 500 times a second, from URDF and SRDF (`collision_witness`), with the
boxes at their true size. Nothing is left out: a refused task counts with the time until its refusal.

An arm of your own: `--urdf FILE --srdf FILE --group G --end-effector E --joint-limits FILE`, and `--tip-link LINK` if
the end effector's parent link is not between the fingertips; results are named after the robot.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.collision_witness import CollisionWitness
from benchmarks.harness import Claim, arguments, finish, spreads
from benchmarks.scenes import upright
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, MotionRequest, Segment

TASKS = 200
BOXES = 8
FIRST_SEED = 50_000  # tests and development use smaller ones
TIME_LIMIT = 10.0
PADDING = 0.005
TIMES = ("wall_s", "processor_s", "motion_lasts_s")

Floats = npt.NDArray[np.float64]


def standing(x: float, y: float, z: float, yaw: float) -> Floats:
    """(4, 4) pose of a box standing on the table."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = upright(yaw), (x, y, z)
    return pose


def boxes_at_random(draw: np.random.Generator) -> list[BoxObstacle]:
    """Make a table, the arm's base plate, and boxes on the table, none near the base."""
    found = [BoxObstacle("table", standing(0.5, 0, -0.02, 0), np.array([1.2, 1.6, 0.04]), PADDING)]
    while len(found) <= BOXES:
        at = draw.uniform((-0.1, -0.7), (0.9, 0.7))
        if np.hypot(*at) > 0.35:
            size = draw.uniform((0.04, 0.04, 0.05), (0.12, 0.12, 0.35))
            pose = standing(*at, size[2] / 2, draw.uniform(-np.pi, np.pi))
            found.append(BoxObstacle(f"box{len(found)}", pose, size, PADDING))
    return found


def free_configuration(planner: BuiltinPlanner, checker: Checker, draw: np.random.Generator) -> Floats:
    """Draw a configuration without contact, with the tip above the table and no joint beyond half a turn."""
    lower, upper = np.maximum(planner.robot.lower, -np.pi), np.minimum(planner.robot.upper, np.pi)
    while True:
        joints: Floats = draw.uniform(lower, upper)
        if planner.tip(joints)[2, 3] > 0 and checker.free(joints):
            return joints


def measure(name: str, robot: ArmModel, urdf: Path, srdf: Path, n: int) -> dict[str, Any]:
    """Times and collisions of one arm."""
    planner = BuiltinPlanner(robot)
    fingers = {finger.name: finger.at(robot.widest) for finger in robot.fingers}
    seconds: dict[str, list[float]] = {what: [] for what in TIMES}
    outcomes: Counter[str] = Counter()
    depths: Counter[str] = Counter()
    moments = hit = 0
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        draw = np.random.default_rng(seed)
        boxes = boxes_at_random(draw)
        checker = Checker(robot, boxes, Segment(np.eye(4), opening=robot.widest))
        start, there = (free_configuration(planner, checker, draw) for _ in range(2))
        segment = Segment(planner.tip(there), opening=robot.widest)
        request = MotionRequest(start, [segment], boxes, seed=seed, time_limit=TIME_LIMIT)
        wall, cpu, only = time.perf_counter(), time.process_time(), None
        try:
            (only,) = planner.plan(request).trajectories
            outcomes["OK"] += 1
        except SpatialVlmError as error:
            outcomes[error.status_name] += 1
            print(f"{name} {seed}: {error}", file=sys.stderr)
        seconds["wall_s"].append(time.perf_counter() - wall)
        seconds["processor_s"].append(time.process_time() - cpu)
        if only is None:
            continue
        seconds["motion_lasts_s"].append(float(only.times[-1]))
        deepest, looked = CollisionWitness(urdf, srdf, boxes).along(only, fingers)
        moments, hit = moments + looked, hit + bool(deepest)
        for pair, depth in deepest.items():
            depths[" and ".join(sorted(pair))] += 1
            print(f"{name} {seed}: {sorted(pair)} {1000 * depth:.2f} mm", file=sys.stderr)
    return {
        "outcomes": dict(outcomes),
        "checked_moments": moments,
        "motions_with_a_collision": hit,
        "collisions": dict(depths),
        **spreads(seconds),
    }


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=TASKS, urdf="", srdf="", group="", end_effector="", tip_link="", joint_limits="")
    title, asked = "arm_planning", {name: (arm.model(), arm.urdf(), arm.srdf()) for name, arm in ARMS.items()}
    if given.urdf:
        named = {"tip_link": given.tip_link, "joint_limits": given.joint_limits}
        robot = arm_model(given.urdf, given.srdf, given.group, given.end_effector, **named)
        title, asked = f"arm_planning_{robot.name}", {robot.name: (robot, Path(given.urdf), Path(given.srdf))}
    found = {name: measure(name, *arm, given.n) for name, arm in asked.items()}
    hit = sum(one["motions_with_a_collision"] for one in found.values())
    claim = Claim("motions with a collision that MuJoCo finds", hit, 0, "motions")
    setting = {"tasks": given.n, "boxes": BOXES, "first_seed": FIRST_SEED, "time_limit_s": TIME_LIMIT,
               "padding_m": PADDING}  # fmt: skip
    return finish(title, {"setting": setting, **found}, [claim])


if __name__ == "__main__":
    sys.exit(main())
