# SPDX-License-Identifier: Apache-2.0
"""Planning time of the built-in planner, and whether MuJoCo confirms that its motions are free.

Goals: for the Panda and the UR5e, each task goes from a random free configuration to the tip pose of another one, among
a table and eight random boxes, by any free path. The goals are reachable, because they come from a free configuration,
but there may be no path. All tips are above the table, and joints within half a turn of zero. MuJoCo then checks each
motion 500 times a second, from URDF and SRDF (`sim.arm.witness`), with the boxes at their true size.

Picks: each task has a table and ten boxes of random size and position. The Panda starts at a random free posture near
its home, moves above one of the boxes, straight down with the fingers around it, and straight up with it. Claim: at
most 1 s (median) and 4 s (95th percentile) by the wall clock.

Nothing is left out: a refused task counts with the time until its refusal.

    python -m benchmarks.arm_planning --n 200            goals; results in arm_planning.json
    python -m benchmarks.arm_planning --picks --n 60     picks; results in arm_planning_picks.json

An arm of your own: `--urdf FILE --srdf FILE --group G --end-effector E --joint-limits FILE`, and `--tip-link LINK` if
the end effector's parent link is not between the fingertips; results are named after the robot.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, arguments, finish, spreads, table
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, Motion, MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME
from spatial_vlm_ros.sim.arm.witness import CollisionWitness

TASKS, PICKS = 200, 60
BOXES, BOXES_OF_A_PICK = 8, 10
FIRST_SEED, FIRST_PICK = 50_000, 10_000  # tests and development use smaller ones
TIME_LIMIT, TIME_LIMIT_OF_A_PICK = 10.0, 5.0
PADDING = 0.005
APART = 0.12  # metres between the centres of boxes
PACKAGES = ("pin", "coal", "ompl", "daqp", "example-robot-data")
COLUMNS = ("", "p50", "p95", "most", "n")
TIMES = ("wall_s", "processor_s", "motion_lasts_s")

Floats = npt.NDArray[np.float64]


class PlanningClock:
    """Plans, and notes how long each request took and how it ended.

    Attributes:
        seconds: name of a measure → its values.
        outcomes: statuses of all requests.
    """

    def __init__(self, planner: BuiltinPlanner) -> None:
        self.planner = planner
        self.seconds: dict[str, list[float]] = {name: [] for name in TIMES}
        self.outcomes: Counter[str] = Counter()

    def plan(self, request: MotionRequest, name: str) -> Motion | None:
        """The motion; None if it is refused, which is printed with the name of the task."""
        motion, wall, cpu = None, time.perf_counter(), time.process_time()
        try:
            motion = self.planner.plan(request)
            self.outcomes["OK"] += 1
            self.seconds["motion_lasts_s"].append(sum(float(t.times[-1]) for t in motion.trajectories))
        except SpatialVlmError as error:
            self.outcomes[error.status_name] += 1
            print(f"{name}: {error}", file=sys.stderr)
        self.seconds["wall_s"].append(time.perf_counter() - wall)
        self.seconds["processor_s"].append(time.process_time() - cpu)
        return motion

    def summary(self) -> dict[str, Any]:
        """Outcomes and times for JSON."""
        return {"outcomes": dict(self.outcomes), **spreads(self.seconds)}


def upright(x: float, y: float, z: float, yaw: float) -> Floats:
    """(4, 4) pose of a box standing on the table."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:2, :2], pose[:3, 3] = [[c, -s], [s, c]], (x, y, z)
    return pose


# ------------------------------------------------------------------------------------------------ goals


def boxes_at_random(draw: np.random.Generator) -> list[BoxObstacle]:
    """Make a table, the arm's base plate, and boxes on the table, none near the base."""
    found = [BoxObstacle("table", upright(0.5, 0, -0.02, 0), np.array([1.2, 1.6, 0.04]), PADDING)]
    while len(found) <= BOXES:
        at = draw.uniform((-0.1, -0.7), (0.9, 0.7))
        if np.hypot(*at) > 0.35:
            size = draw.uniform((0.04, 0.04, 0.05), (0.12, 0.12, 0.35))
            pose = upright(*at, size[2] / 2, draw.uniform(-np.pi, np.pi))
            found.append(BoxObstacle(f"box{len(found)}", pose, size, PADDING))
    return found


def free_configuration(planner: BuiltinPlanner, checker: Checker, draw: np.random.Generator) -> Floats:
    """Draw a configuration without contact, with the tip above the table and no joint beyond half a turn."""
    lower, upper = np.maximum(planner.robot.lower, -np.pi), np.minimum(planner.robot.upper, np.pi)
    while True:
        joints: Floats = draw.uniform(lower, upper)
        if planner.tip(joints)[2, 3] > 0 and checker.free(joints):
            return joints


def goals_of(name: str, robot: ArmModel, urdf: Path, srdf: Path, n: int) -> dict[str, Any]:
    """Times and collisions of one arm."""
    planner = BuiltinPlanner(robot)
    clock, fingers = PlanningClock(planner), {finger.name: finger.at(robot.widest) for finger in robot.fingers}
    moments = hit = 0
    depths: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        draw = np.random.default_rng(seed)
        boxes = boxes_at_random(draw)
        checker = Checker(robot, boxes, Segment(np.eye(4), opening=robot.widest))
        start, there = (free_configuration(planner, checker, draw) for _ in range(2))
        segment = Segment(planner.tip(there), opening=robot.widest)
        motion = clock.plan(MotionRequest(start, [segment], boxes, seed=seed, time_limit=TIME_LIMIT), f"{name} {seed}")
        if motion is None:
            continue
        deepest, looked = CollisionWitness(urdf, srdf, boxes).along(motion.trajectories[0], fingers)
        moments, hit = moments + looked, hit + bool(deepest)
        for pair, depth in deepest.items():
            depths[" and ".join(sorted(pair))] += 1
            print(f"{name} {seed}: {sorted(pair)} {1000 * depth:.2f} mm", file=sys.stderr)
    return {
        "checked_moments": moments,
        "motions_with_a_collision": hit,
        "collisions": dict(depths),
        **clock.summary(),
    }


def arms(given: argparse.Namespace) -> tuple[str, dict[str, tuple[ArmModel, Path, Path]]]:
    """Name of the results; models and their files by name, from the command line."""
    if not given.urdf:
        return "arm_planning", {name: (arm.model(), arm.urdf(), arm.srdf()) for name, arm in ARMS.items()}
    named = {"tip_link": given.tip_link, "joint_limits": given.joint_limits}
    robot = arm_model(given.urdf, given.srdf, given.group, given.end_effector, **named)
    return f"arm_planning_{robot.name}", {robot.name: (robot, Path(given.urdf), Path(given.srdf))}


def goals(given: argparse.Namespace) -> int:
    """Measure goals, print and write."""
    title, asked = arms(given)
    setting = {"tasks": given.n, "boxes": BOXES, "first_seed": FIRST_SEED, "time_limit_s": TIME_LIMIT,
               "padding_m": PADDING}  # fmt: skip
    found = {name: goals_of(name, *arm, given.n) for name, arm in asked.items()}
    for name, one in found.items():
        print(f"{name}: {one['outcomes']}, {one['motions_with_a_collision']} with a collision in "
              f"{one['checked_moments']} moments")  # fmt: skip
    rows = [(f"{name}, {what}", *one[what].values()) for name, one in found.items() for what in TIMES]
    table(f"{given.n} random goals for each arm among {BOXES} boxes", COLUMNS, rows)
    hit = sum(one["motions_with_a_collision"] for one in found.values())
    claim = Claim("motions with a collision that MuJoCo finds", hit, 0, "motions")
    return finish(title, {"setting": setting, **found}, [claim])


# ------------------------------------------------------------------------------------------------ picks


def pick(planner: BuiltinPlanner, seed: int) -> MotionRequest:
    """Make a pick among boxes."""
    draw = np.random.default_rng(seed)
    boxes = [BoxObstacle("table", upright(0.5, 0, -0.02, 0), np.array([1.2, 1.6, 0.04]))]
    places: list[Floats] = []
    while len(places) < BOXES_OF_A_PICK:
        at = draw.uniform((0.3, -0.45), (0.7, 0.45))
        if all(np.hypot(*(at - other)) > APART for other in places):
            places.append(at)
            size = draw.uniform((0.03, 0.03, 0.05), (0.06, 0.06, 0.25))
            pose = upright(*at, size[2] / 2, draw.uniform(-np.pi, np.pi))
            boxes.append(BoxObstacle(f"box{len(places)}", pose, size))
    target = boxes[1 + draw.integers(BOXES_OF_A_PICK)]
    flip = np.diag([1.0, -1.0, -1.0, 1.0])  # fingers down, opening along the y axis of the box
    tip = target.pose @ flip
    tip[2, 3] += target.size[2] / 2 - 0.02

    def raised(height: float) -> Floats:
        pose = tip.copy()
        pose[2, 3] += height
        return pose

    held = HeldBox(target.id, np.linalg.inv(tip) @ target.pose, target.size)
    segments = [
        Segment(raised(0.1)),
        Segment(tip, straight=True, touch={target.id}),
        Segment(raised(0.12), straight=True, held=held, held_touch={"table"}, opening=float(target.size[1])),
    ]
    checker = Checker(planner.robot, boxes, segments[0])
    while not checker.free(start := HOME + draw.uniform(-0.5, 0.5, 7)):
        pass
    return MotionRequest(start, segments, boxes, seed=seed, time_limit=TIME_LIMIT_OF_A_PICK)


def picks(n: int) -> int:
    """Measure picks, print and write."""
    planner = BuiltinPlanner()
    planner.plan(pick(planner, FIRST_PICK - 1))  # the first one loads modules
    clock = PlanningClock(planner)
    for seed in range(FIRST_PICK, FIRST_PICK + n):
        clock.plan(pick(planner, seed), str(seed))
    found = clock.summary()
    rows = [(name, *spread.values()) for name, spread in found.items() if name != "outcomes"]
    table(f"{n} picks among {BOXES_OF_A_PICK} boxes: {found['outcomes']}", COLUMNS, rows)
    setting = {"tasks": n, "boxes": BOXES_OF_A_PICK, "first_seed": FIRST_PICK, "time_limit_s": TIME_LIMIT_OF_A_PICK}
    claims = [
        Claim("planning, median", found["wall_s"]["p50"], 1.0, "s"),
        Claim("planning, 95th percentile", found["wall_s"]["p95"], 4.0, "s"),
    ]
    packages = {name: version(name) for name in PACKAGES}
    return finish("arm_planning_picks", {"setting": setting, "packages": packages, **found}, claims)


def main() -> int:
    """Measure, print and write."""
    given = arguments(
        __doc__, n=int, picks=False, urdf="", srdf="", group="", end_effector="", tip_link="", joint_limits=""
    )
    given.n = given.n if given.n is not None else PICKS if given.picks else TASKS
    return picks(given.n) if given.picks else goals(given)


if __name__ == "__main__":
    sys.exit(main())
