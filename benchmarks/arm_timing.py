# SPDX-License-Identifier: Apache-2.0
"""Duration of the built-in planner's trajectories, against TOPP-RA on the same paths and limits.

`python -m benchmarks.arm_timing`: paths of picks among ten boxes (those of `builtin_planning`), each timed by the
planner and by toppra 0.6 (MIT; `pip install toppra`, which only this benchmark needs), with the whole limits and with
0.3 of them. It prints and writes durations, their ratio, and the share of the acceleration limits that is reached.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.builtin_planning import FIRST_SEED, task
from benchmarks.harness import Claim, finish, option, table
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.path import Path
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.robot import ACCELERATION
from spatial_vlm_ros.manipulation.builtin_planner.timing import timed

TASKS = 40
FACTORS = (1.0, 0.3)
GRID = 0.005  # radians of path length between points at which TOPP-RA checks limits
NEAR = 1.05  # largest duration relative to TOPP-RA

Floats = npt.NDArray[np.float64]


def time_optimal(path: Path, velocity: Floats, acceleration: Floats) -> float:
    """Seconds that TOPP-RA needs for a path from rest to rest; NaN if it finds no timing."""
    from toppra import constraint
    from toppra.algorithm import TOPPRA
    from toppra.interpolator import AbstractGeometricPath

    class Curve(AbstractGeometricPath):  # type: ignore[misc]
        """A path in the form that toppra reads."""

        dof = path.pieces.shape[2]
        path_interval = np.array([0.0, path.length])
        waypoints = (path.knots, path.at(path.knots)[0])

        def __call__(self, lengths: Any, order: int = 0) -> Floats:
            found = path.at(np.atleast_1d(np.asarray(lengths, np.float64)))[order]
            return found if np.ndim(lengths) else found[0]

    limits = [
        constraint.JointVelocityConstraint(np.column_stack([-velocity, velocity])),
        constraint.JointAccelerationConstraint(
            np.column_stack([-acceleration, acceleration]),
            discretization_scheme=constraint.DiscretizationType.Interpolation,
        ),
    ]
    grid = np.linspace(0.0, path.length, max(100, math.ceil(path.length / GRID)) + 1)
    _, pace, _ = TOPPRA(limits, Curve(), gridpoints=grid, solver_wrapper="seidel").compute_parameterization(0, 0)
    if pace is None or not np.isfinite(pace).all():
        return math.nan
    return float(np.sum(2 * np.diff(grid) / (pace[:-1] + pace[1:])))


def main() -> int:
    """Measure, print and write."""
    n, planner = int(option("n", TASKS)), BuiltinPlanner()
    paths: list[Path] = []
    refused = 0
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        try:
            paths += planner.paths(task(planner, seed))
        except SpatialVlmError:
            refused += 1
    rows: list[tuple[Any, ...]] = []
    measured: dict[str, Any] = {"setting": {"tasks": n, "refused": refused, "paths": len(paths), "grid_rad": GRID}}
    worst = 0.0
    for factor in FACTORS:
        velocity, acceleration = planner.robot.velocity * factor, ACCELERATION * factor
        ratios, hardest, ours, theirs, seconds = [], [], [], [], []
        for path in paths:
            begun = time.process_time()
            trajectory = timed(path, planner.joint_names, velocity, acceleration)
            seconds.append(time.process_time() - begun)
            best = time_optimal(path, velocity, acceleration)
            ours.append(float(trajectory.times[-1]))
            theirs.append(best)
            hardest.append(float((np.abs(trajectory.accelerations) / ACCELERATION).max()))
            if math.isfinite(best):
                ratios.append(ours[-1] / best)
        worst = max(worst, float(np.percentile(ratios, 95)))
        failed = len(paths) - len(ratios)
        for name, values in (
            ("planner, s", ours),
            ("TOPP-RA, s", [value for value in theirs if math.isfinite(value)]),
            ("planner / TOPP-RA", ratios),
            ("part of the acceleration limits", hardest),
            ("timing, processor s", seconds),
        ):
            p50, p95, most = np.round(np.percentile(values, [50, 95, 100]), 4).tolist()
            rows.append((f"{factor:g}", name, p50, p95, most, len(values)))
        measured[f"factor {factor:g}"] = {
            row[1]: {"p50": row[2], "p95": row[3], "most": row[4], "n": row[5]}
            for row in rows
            if row[0] == f"{factor:g}"
        } | {"toppra_found_none": failed}
    table(f"{len(paths)} paths of {n} picks, {refused} refused", ("factor", "", "p50", "p95", "most", "n"), rows)
    return finish("arm_timing", measured, [Claim("times as long as TOPP-RA, 95th percentile", worst, NEAR, "times")])


if __name__ == "__main__":
    sys.exit(main())
