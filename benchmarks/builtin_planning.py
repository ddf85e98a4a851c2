# SPDX-License-Identifier: Apache-2.0
"""Claim: the built-in planner finds a pick among ten boxes in at most 1 s (median) and 4 s (95th percentile).

`python -m benchmarks.builtin_planning --n 60`: each task has a table and ten boxes of random size and position. The arm
starts at a random free posture near its home, moves above one of the boxes, straight down with the fingers around it,
and straight up with it. Nothing is left out: a refused task counts with the time until its refusal. The claim is about
wall time; processor time is also reported, because other programs affect wall time.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, finish, option, table
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME

TASKS = 60
BOXES = 10
FIRST_SEED = 10_000  # tests and development use smaller ones
TIME_LIMIT = 5.0
APART = 0.12  # metres between the centres of boxes
PACKAGES = ("pin", "coal", "ompl", "daqp", "example-robot-data")

Floats = npt.NDArray[np.float64]


def upright(x: float, y: float, z: float, yaw: float) -> Floats:
    """(4, 4) pose of a box standing on the table."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:2, :2], pose[:3, 3] = [[c, -s], [s, c]], (x, y, z)
    return pose


def task(planner: BuiltinPlanner, seed: int) -> MotionRequest:
    """Make a pick among boxes."""
    draw = np.random.default_rng(seed)
    boxes = [BoxObstacle("table", upright(0.5, 0, -0.02, 0), np.array([1.2, 1.6, 0.04]))]
    places: list[Floats] = []
    while len(places) < BOXES:
        at = draw.uniform((0.3, -0.45), (0.7, 0.45))
        if all(np.hypot(*(at - other)) > APART for other in places):
            places.append(at)
            size = draw.uniform((0.03, 0.03, 0.05), (0.06, 0.06, 0.25))
            pose = upright(*at, size[2] / 2, draw.uniform(-np.pi, np.pi))
            boxes.append(BoxObstacle(f"box{len(places)}", pose, size))
    target = boxes[1 + draw.integers(BOXES)]
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
    start = HOME
    while not checker.free(start := HOME + draw.uniform(-0.5, 0.5, 7)):
        pass
    return MotionRequest(start, segments, boxes, seed=seed, time_limit=TIME_LIMIT)


def main() -> int:
    """Measure, print and write."""
    n = int(option("n", TASKS))
    planner = BuiltinPlanner()
    walls, processor, lasting = [], [], []
    outcomes: Counter[str] = Counter()
    planner.plan(task(planner, FIRST_SEED - 1))  # the first one loads modules
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        request = task(planner, seed)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            motion = planner.plan(request)
            outcomes["OK"] += 1
            lasting.append(sum(float(t.times[-1]) for t in motion.trajectories))
        except SpatialVlmError as error:
            outcomes[error.status_name] += 1
            print(f"{seed}: {error}", file=sys.stderr)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    series = {"wall s": walls, "processor s": processor, "motion lasts s": lasting}
    rows = [
        (name, *np.round(np.percentile(values, [50, 95, 100]), 3).tolist(), len(values))
        for name, values in series.items()
    ]
    table(f"{n} picks among {BOXES} boxes: {dict(outcomes)}", ("", "p50", "p95", "most", "n"), rows)
    measured: dict[str, Any] = {
        "setting": {"tasks": n, "boxes": BOXES, "first_seed": FIRST_SEED, "time_limit_s": TIME_LIMIT},
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "outcomes": dict(outcomes),
        **{name.replace(" ", "_"): {"p50": a, "p95": b, "most": c, "n": k} for name, a, b, c, k in rows},
    }
    claims = [
        Claim("planning, median", rows[0][1], 1.0, "s"),
        Claim("planning, 95th percentile", rows[0][2], 4.0, "s"),
    ]
    return finish("builtin_planning", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
