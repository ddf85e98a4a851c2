# SPDX-License-Identifier: Apache-2.0
"""Low objects into a bowl, with and without letting them fall, judged by contact physics.

`python -m benchmarks.bowls --n 40 --first-seed S [--processes 2]`: a lemon, an orange, an apple or a box, three other
objects and a bowl on a table at random; the detector sees only what the sentence names. A plan is made from one noisy
image, the recheck judges further images as the gate does, and physics executes the plan. Baseline: the same with
`goal.drop` 0, where every object is released 5 mm above its place.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from benchmarks.harness import Claim, finish, option, table, write
from benchmarks.recheck_cell import Executed, execute, look, planned_from
from benchmarks.unnamed import rechecked
from spatial_vlm_ros.errors import GoalError, InputError, SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.planning.agreement import check_way_seen
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.worlds import TableLayout, arm_camera, arm_room
from spatial_vlm_ros.sim.compilation import PlacedModel
from spatial_vlm_ros.sim.kinds import make
from spatial_vlm_ros.sim.model import scaled
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.settled import broken
from spatial_vlm_ros.types import Detection
from spatial_vlm_ros.types.proportions import wilson

FIRST_SEED = 97000  # different from those of tests, development and other benchmarks
TARGETS = {"lemon": 0.85, "orange": 0.8, "apple": 0.8, "box": 0.6}
"""Kind → size relative to the usual one, as on the other tables of the arm."""
OTHERS = {**TARGETS, "can": 0.85, "cup": 0.8}
AREA = ((0.36, 0.72), (-0.38, 0.38))  # x and y of objects, metres
APART = 0.045  # metres between the circles around two objects
WANTED = 0.9  # share that is delivered
TOUCHED = 1.0  # N
_ATTEMPTS, _SPOTS = 60, 200

Row = dict[str, Any]


def world(seed: int) -> TableLayout:
    """A random table at rest.

    Raises:
        InputError: none was found for that seed.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt, 31))
        target = str(rng.choice(sorted(TARGETS)))
        kinds = [str(kind) for kind in rng.permutation([kind for kind in sorted(OTHERS) if kind != target])[:3]]
        side = 1 if rng.random() < 0.5 else -1
        spot = (float(rng.uniform(0.42, 0.6)), side * float(rng.uniform(0.2, 0.32)), 0.002)
        objects = [PlacedModel("bowl", make("bowl", rng), spot)]
        for kind in (target, *kinds):
            model, yaw = scaled(make(kind, rng), OTHERS[kind]), float(rng.uniform(-math.pi, math.pi))
            for _ in range(_SPOTS):
                x, y = (float(rng.uniform(*span)) for span in AREA)
                if all(math.dist((x, y), o.position[:2]) > o.model.reach + model.reach + APART for o in objects):
                    objects.append(PlacedModel(kind, model, (x, y, 0.002), yaw))
                    break
        camera = arm_camera(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.6, 0.72)))
        words = f"put the {target} in the bowl"
        drawn = TableLayout(str(seed), tuple(objects), arm_room(rng), camera, target, "bowl", words)
        if len(objects) == 5:
            with PhysicsWorld(drawn.objects, drawn.scenery, drawn.base_T_camera) as settled:
                if settled.at_rest() and not broken(settled):
                    return drawn
    raise InputError("seed", str(seed), "one with a table at rest", "take another seed")


def attempted(drawn: TableLayout, seed: int, config: PlanningConfig) -> Row:
    """From the sentence to the bowl, or the reason why not."""
    cell = ArmCell(drawn)

    def named(detection: Detection) -> bool:
        return detection.label in (drawn.target, "bowl")

    try:
        resolution, seen = look(cell, 1_000_000_000, seed, named)
        if seen is None or resolution.place is None:
            raise GoalError("answer", [(resolution.status.name, resolution.message)], "take another world")
        made = planned_from(BuiltinPlanner(), cell, resolution, seen, seed, config)
        check_way_seen(made.seen, config.observation)
        rechecked(cell, made, seed, config, named)
    except SpatialVlmError as error:
        return {"ended": "refused", "status": error.status_name, "reason": str(error)[:300]}
    done: Executed = execute(cell, made.plan, config, judged=True)
    assert made.plan.put_down is not None
    ended = "delivered" if done.delivered and not done.failure else "not delivered"
    return {"ended": ended, "reason": done.failure, "on": done.on, "force_N": round(done.others, 2),
            "pressed_N": round(done.pressed, 2),
            "release_m": round(made.plan.put_down.release, 3)}  # fmt: skip


def one(seed: int) -> Row:
    """One world, with and without letting the object fall."""
    config, drawn = PlanningConfig(), world(seed)
    still = dataclasses.replace(config, goal=dataclasses.replace(config.goal, drop=0.0))
    ways = {"with": config, "without": still}
    return {"seed": seed, "target": drawn.target} | {name: attempted(drawn, seed, way) for name, way in ways.items()}


def summary(rows: Sequence[Row]) -> tuple[Row, list[Claim]]:
    """Figures of the rows, and the claims."""
    figures: Row = {"worlds": len(rows)}
    for side in ("with", "without"):
        ends = [row[side] for row in rows]
        share = wilson(sum(end["ended"] == "delivered" for end in ends), len(ends))
        figures[side] = {
            "ended": dict(Counter(end["ended"] for end in ends)),
            "delivered": [round(v, 4) for v in (share.share, share.low, share.high)],
            "other contacts": sum(end.get("force_N", 0.0) > TOUCHED for end in ends),
            "released from, mm": dict(
                sorted(Counter(round(1000 * end["release_m"]) for end in ends if "release_m" in end).items())
            ),
        }
    touched = figures["with"]["other contacts"]
    claims = [
        Claim("delivered", figures["with"]["delivered"][0], WANTED, "of the worlds", least=True),
        Claim("worlds with another contact above 1 N", touched, 0, "worlds"),
    ]
    return figures, claims


def main() -> int:
    """Measure, print and write."""
    n, first, processes = int(option("n", 40)), int(option("first-seed", FIRST_SEED)), int(option("processes", 1))
    with ProcessPoolExecutor(max(1, processes)) as pool:
        rows = list(pool.map(one, range(first, first + n)))
    figures, claims = summary(rows)
    measured = {"first_seed": first, **figures, "rows": rows}
    write("bowls", measured, claims)
    told = [(side, str(name), str(value)) for side in ("with", "without") for name, value in figures[side].items()]
    table(f"{n} low objects into a bowl", ("", "", ""), told)
    return finish("bowls", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
