# SPDX-License-Identifier: Apache-2.0
"""Unnamed neighbours beside the target, against contact physics.

`python -m benchmarks.unnamed --worlds 20 --first-seed S [--processes 2] [--minutes M] [--add]`: random worlds in which
the target can be picked. One more object is put beside the target where a finger would go, with GAPS between the
circles around both. The detector only sees the named objects: chicks, cup and tray. A plan is made from one noisy
image, the recheck judges further images as the gate does, and physics executes the plan. Every object but target and
tray counts as one that must not be touched. The same is repeated without occupied space in the answer, as before
obstacles from depth existed.

`--add` keeps the rows of the last run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Claim, arguments, finish, in_processes, write
from benchmarks.recheck_cell import Executed, Planned, execute, planned, recheck
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.planning.motion import check_way_seen
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.worlds import TableLayout, layout
from spatial_vlm_ros.sim.meshes import Model, scaled
from spatial_vlm_ros.sim.physics import PlacedModel
from spatial_vlm_ros.sim.settled import make
from spatial_vlm_ros.types import Detection

FIRST_SEED = 95000  # different from those of tests and other benchmarks
GAPS = (0.01, 0.03, 0.06)  # metres
NAMED = ("chick", "cup", "tray")
NEIGHBOUR = "neighbour"
KINDS = {"box": 0.6, "can": 0.85, "bottle": 0.7, "orange": 0.8, "lemon": 0.85, "mug": 0.8}
"""Kind → size relative to the usual one: about as large as the objects that the arm picks."""
TURNS = (0.0, 180.0, 25.0, -25.0, 155.0, -155.0, 50.0, -50.0, 130.0, -130.0, 90.0, -90.0)  # degrees from closing
TOUCHED = 1.0  # N
APART = 0.004  # metres between the circles around the neighbour and other objects

Row = dict[str, Any]


def named(detection: Detection) -> bool:
    """Whether the sentence names it."""
    return detection.label in NAMED


def beside(world: TableLayout, cell: ArmCell, made: Planned, model: Model, gap: float) -> TableLayout | None:
    """Add an object at a gap from the target, as near to the fingers' path as there is room."""
    sizes = {obj.id: obj.model.reach for obj in world.objects}
    x, y, _ = cell.pose(world.target).translation
    closing = made.goal.grasps[made.plan.grasp].closing
    along, far = math.atan2(closing[1], closing[0]), sizes[world.target] + model.reach + gap
    others = [obj.id for obj in world.objects if obj.id != world.target]
    for turn in TURNS:
        at = along + math.radians(turn)
        spot = (x + far * math.cos(at), y + far * math.sin(at))
        if all(math.dist(spot, cell.pose(o).translation[:2]) > sizes[o] + model.reach + APART for o in others):
            return dataclasses.replace(
                world, objects=(*world.objects, PlacedModel(NEIGHBOUR, model, (*spot, 0.002), 0.3))
            )
    return None


def attempted(world: TableLayout, seed: int, config: PlanningConfig, seen: bool) -> Row:
    """Render, plan, recheck and execute, or give the reason why not; `seen`: whether occupied space counts."""
    cell, planner = ArmCell(world), BuiltinPlanner()
    try:
        made = planned(planner, cell, seed, config, named, occupied=seen)
        if seen:
            check_way_seen(made.seen, config.observation)
            recheck(cell, made, seed + 1, config, named)
    except SpatialVlmError as error:
        return {"ended": "refused", "status": error.status_name, "reason": str(error)[:700]}
    done: Executed = execute(cell, made.plan, config)
    return {"ended": "delivered" if done.delivered else "not delivered", "reason": done.failure, "on": done.on,
            "force_N": round(done.others, 2), "pressed_N": round(done.pressed, 2)}  # fmt: skip


def one(seed: int) -> list[Row]:
    """All gaps of one world; empty if the target cannot be picked even without the neighbour."""
    config, world = PlanningConfig(), layout(str(seed))
    cell = ArmCell(world)
    try:
        made = planned(BuiltinPlanner(), cell, seed, config)
    except SpatialVlmError as error:
        return [{"seed": seed, "no_plan": str(error)[:160]}]
    rng = np.random.default_rng((seed, 3))
    kind = str(rng.choice(sorted(KINDS)))
    model = scaled(make(kind, rng), KINDS[kind])
    rows: list[Row] = []
    for gap in GAPS:
        staged = beside(world, cell, made, model, gap)
        if staged is None:
            rows.append({"seed": seed, "gap_m": gap, "no_room": True})
            continue
        rows.append({"seed": seed, "gap_m": gap, "neighbour": kind, "height_m": round(model.size[2], 3),
                     "with": attempted(staged, seed, config, seen=True),
                     "without": attempted(staged, seed, config, seen=False)})  # fmt: skip
    return rows


def summary(rows: Sequence[Row]) -> tuple[Row, list[Claim]]:
    """Summary of the rows, and the claims."""
    staged = [row for row in rows if "with" in row]
    figures: Row = {"worlds": len({row["seed"] for row in staged}), "staged": len(staged)}
    for side in ("with", "without"):
        ends = [row[side] for row in staged]
        forces = [end["force_N"] for end in ends if "force_N" in end]
        figures[side] = {
            **{word: sum(end["ended"] == word for end in ends) for word in ("delivered", "not delivered", "refused")},
            "touched_above_1_N": sum(force > TOUCHED for force in forces),
            "most_N": max(forces, default=0.0),
        }
    figures["without_a_plan"] = len({row["seed"] for row in rows if "no_plan" in row})
    touched = figures["with"]["touched_above_1_N"]
    return figures, [Claim("contacts above 1 N with anything but target and tray", touched, 0, "runs")]


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, worlds=20, first_seed=FIRST_SEED, processes=1, minutes=math.inf, add=False)
    end = time.monotonic() + 60 * given.minutes
    rows: list[Row] = json.loads((RESULTS / "unnamed.json").read_text())["rows"] if given.add else []
    there = {row["seed"] for row in rows}
    left = given.worlds - len({row["seed"] for row in rows if "with" in row})
    seeds = range(given.first_seed, given.first_seed + 100 * max(0, left))
    jobs = ((seed,) for seed in seeds if seed not in there)
    setting = {"gaps_m": GAPS, "named": NAMED}
    for more in in_processes(one, jobs, given.processes, end):
        rows += more
        figures, claims = summary(rows)
        write("unnamed", {"setting": setting, **figures, "rows": rows}, claims)
        if figures["worlds"] >= given.worlds:
            break
    rows.sort(key=lambda row: (row["seed"], row.get("gap_m", 0.0)))
    figures, claims = summary(rows)
    return finish("unnamed", {"setting": setting, **figures, "rows": rows}, claims)


if __name__ == "__main__":
    raise SystemExit(main())
