# SPDX-License-Identifier: Apache-2.0
"""Planning time of the built-in planner for each arm, and whether MuJoCo confirms that its motions are free.

`python -m benchmarks.arm_planning --n 200`: for the Panda and the UR5e, each task goes from a random free configuration
to the tip pose of another one, among a table and eight random boxes, by any free path. The goals are reachable, because
they come from a free configuration, but there may be no path. All tips are above the table, and joints within half a
turn of zero. MuJoCo then checks each motion 500 times a second, from URDF and SRDF (`sim.arm.witness`), with the boxes
at their true size. Nothing is left out.

An arm of your own: `--urdf FILE --srdf FILE --group G --end-effector E --joint-limits FILE`, and `--tip-link LINK` if
the end effector's parent link is not between the fingertips; results are named after the robot.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.builtin_planning import upright
from benchmarks.harness import Claim, finish, option, table, word
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, MotionRequest, Segment
from spatial_vlm_ros.sim.arm.witness import CollisionWitness

TASKS = 200
BOXES = 8
FIRST_SEED = 50_000  # tests and development use smaller ones
TIME_LIMIT = 10.0
PADDING = 0.005

Floats = npt.NDArray[np.float64]


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


def measure(name: str, robot: ArmModel, urdf: Path, srdf: Path, n: int) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Return rows of a table, and the same data for the file."""
    planner = BuiltinPlanner(robot)
    fingers = {finger.name: finger.at(robot.widest) for finger in robot.fingers}
    walls, processor, lasting = [], [], []
    outcomes: Counter[str] = Counter()
    moments = hit = 0
    depths: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        draw = np.random.default_rng(seed)
        boxes = boxes_at_random(draw)
        checker = Checker(robot, boxes, Segment(np.eye(4), opening=robot.widest))
        start, there = (free_configuration(planner, checker, draw) for _ in range(2))
        segment = Segment(planner.tip(there), opening=robot.widest)
        request = MotionRequest(start, [segment], boxes, seed=seed, time_limit=TIME_LIMIT)
        wall, cpu = time.perf_counter(), time.process_time()
        motion = None
        try:
            motion = planner.plan(request)
            outcomes["OK"] += 1
        except SpatialVlmError as error:
            outcomes[error.status_name] += 1
            print(f"{name} {seed}: {error}", file=sys.stderr)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
        if motion is not None:
            only = motion.trajectories[0]
            lasting.append(float(only.times[-1]))
            witness = CollisionWitness(urdf, srdf, boxes)
            deepest, looked = witness.along(only, fingers)
            moments, hit = moments + looked, hit + bool(deepest)
            for pair, depth in deepest.items():
                depths[" and ".join(sorted(pair))] += 1
                print(f"{name} {seed}: {sorted(pair)} {1000 * depth:.2f} mm", file=sys.stderr)
    rows = [
        (name, what, *np.round(np.percentile(values, [50, 95, 100]), 3).tolist(), len(values))
        for what, values in (("wall s", walls), ("processor s", processor), ("motion lasts s", lasting))
    ]
    measured = {
        "outcomes": dict(outcomes),
        "checked_moments": moments,
        "motions_with_a_collision": hit,
        "collisions": dict(depths),
        **{row[1].replace(" ", "_"): {"p50": row[2], "p95": row[3], "most": row[4], "n": row[5]} for row in rows},
    }
    return rows, measured


def arms() -> tuple[str, dict[str, tuple[ArmModel, Path, Path]]]:
    """Name of the results; models and their files by name, from the command line."""
    urdf, srdf = word("urdf", ""), word("srdf", "")
    group, end_effector = word("group", ""), word("end-effector", "")
    tip, limits = word("tip-link", ""), word("joint-limits", "")
    if not urdf:
        return "arm_planning", {name: (arm.model(), arm.urdf(), arm.srdf()) for name, arm in ARMS.items()}
    robot = arm_model(urdf, srdf, group, end_effector, tip_link=tip, joint_limits=limits)
    return f"arm_planning_{robot.name}", {robot.name: (robot, Path(urdf), Path(srdf))}


def main() -> int:
    """Measure, print and write."""
    n = int(option("n", TASKS))
    title, asked = arms()
    rows: list[tuple[Any, ...]] = []
    setting = {"tasks": n, "boxes": BOXES, "first_seed": FIRST_SEED, "time_limit_s": TIME_LIMIT, "padding_m": PADDING}
    measured: dict[str, Any] = {"setting": setting}
    for name, (robot, urdf, srdf) in asked.items():
        found, measured[name] = measure(name, robot, urdf, srdf, n)
        rows += found
        print(f"{name}: {measured[name]['outcomes']}, {measured[name]['motions_with_a_collision']} with a collision in "
              f"{measured[name]['checked_moments']} moments")  # fmt: skip
    measured["load_average"] = [round(load, 2) for load in os.getloadavg()]
    table(f"{n} random goals for each arm among {BOXES} boxes", ("arm", "", "p50", "p95", "most", "n"), rows)
    hit = sum(measured[name]["motions_with_a_collision"] for name in asked)
    return finish(title, measured, [Claim("motions with a collision that MuJoCo finds", hit, 0, "motions")])


if __name__ == "__main__":
    sys.exit(main())
