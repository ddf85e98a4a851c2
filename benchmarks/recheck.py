# SPDX-License-Identifier: Apache-2.0
"""The recheck before motion against contact physics: wrong passes and needless refusals.

`python -m benchmarks.recheck --n 12 --first-seed S --processes 2 [--share 0.5] [--minutes M]`: in each random world a
plan is made from one noisy image. Then the scene is changed: the target moved, turned or resized, a neighbour moved, a
new object was added, or nothing changed. The recheck judges another image, and two more if it refuses because of a
measurement, as the gate does. Then physics executes the approved plan, whatever the recheck said. A pass is wrong if
the fingers press on the target before they close, anything else is touched, or the target does not end on the tray. A
refusal is needless if none of that happens. `share` tries a random share of the changes in each world.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import recheck_cell
from benchmarks.harness import Claim, arguments, finish, in_processes, show, write
from benchmarks.recheck_cell import PRESSED, Planned, execute, planned, without
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell
from spatial_vlm_ros.sim.arm.worlds import TableLayout, layout
from spatial_vlm_ros.sim.meshes import scaled
from spatial_vlm_ros.types.proportions import wilson

WORLDS = 12
FIRST_SEED = 81000  # different from those of tests, development and other benchmarks
DISTANCES = (0.004, 0.008, 0.013, 0.02, 0.03)  # metres by which the target is moved
DIRECTIONS = {"along closing": 0.0, "across": math.pi / 2, "aslant": math.radians(225)}
TURNS = (10.0, 25.0, 45.0)  # degrees
SCALES = (0.85, 1.1, 1.25)
NEIGHBOUR = (0.01, 0.02, 0.029)  # metres towards the target
GAPS = (0.02, 0.06)  # metres between the circles around target and new object
REFUSED_CALM = 0.1  # share of undisturbed scenes that may be refused
COLUMNS = ("change", "by", "n", "passed", "of those wrong", "refused", "of those needless")
_LAND = 0.3  # simulated seconds for a moved object to come to rest
_ABOVE = 0.001  # metres above the table at which objects are put

Record = dict[str, Any]


@dataclass(frozen=True)
class Staging:
    """One change of a world after its plan was made.

    Args:
        kind: kind of the change.
        size: size of the change, in words.
        layout: layout of the world at that time.
        moves: new poses of objects: x and y in metres, heading in radians.
    """

    kind: str
    size: str
    layout: TableLayout
    moves: tuple[tuple[str, float, float, float], ...] = ()


def heading(cell: ArmCell, id_: str) -> float:
    """Heading of an object, radians."""
    rotation = cell.pose(id_).rotation
    return math.atan2(rotation[1, 0], rotation[0, 0])


def stagings(world: TableLayout, spare: str, cell: ArmCell, made: Planned) -> Iterator[Staging]:
    """Make all changes of one world.

    Args:
        world: world with the object that may appear.
        spare: id of that object.
        cell: settled cell of the world without the object.
        made: the plan.
    """
    seen, target = without(world, spare), world.target
    x, y, _ = cell.pose(target).translation
    yaw, closing = heading(cell, target), made.goal.grasps[made.plan.grasp].closing
    along = math.atan2(closing[1], closing[0])
    yield Staging("nothing", "0 mm", seen)
    for name, turn in DIRECTIONS.items():
        for far in DISTANCES:
            at = (target, x + far * math.cos(along + turn), y + far * math.sin(along + turn), yaw)
            yield Staging(f"target moved {name}", f"{1000 * far:.0f} mm", seen, (at,))
    for degrees in TURNS:
        yield Staging("target turned", f"{degrees:.0f}°", seen, ((target, x, y, yaw + math.radians(degrees)),))
    for scale in SCALES:
        objects = tuple(
            dataclasses.replace(o, model=scaled(o.model, scale)) if o.id == target else o for o in seen.objects
        )
        yield Staging("target resized", f"× {scale:g}", dataclasses.replace(seen, objects=objects))
    others = [obj for obj in seen.objects if obj.id not in (target, world.tray)]
    nearest = min(others, key=lambda obj: math.dist(cell.pose(obj.id).translation, (x, y, 0.0)))
    u, v, _ = cell.pose(nearest.id).translation
    away = math.atan2(y - v, x - u)
    for far in NEIGHBOUR:
        at = (nearest.id, u + far * math.cos(away), v + far * math.sin(away), heading(cell, nearest.id))
        yield Staging("neighbour moved", f"{1000 * far:.0f} mm", seen, (at,))
    sizes = {obj.id: obj.model.reach for obj in world.objects}
    for gap in GAPS:  # on the side of the target with most room, along or across the closing direction
        far = sizes[target] + sizes[spare] + gap
        spots = [(x + far * math.cos(a), y + far * math.sin(a)) for a in np.arange(12) * math.pi / 6]
        spot = max(
            spots, key=lambda s: min(math.dist(s, cell.pose(o.id).translation[:2]) - sizes[o.id] for o in others)
        )
        yield Staging("new object", f"{1000 * gap:.0f} mm beside", world, ((spare, *spot, 0.0),))
    yield Staging("new object", "where it stood", world)


def judged(cell: ArmCell, made: Planned, seed: int, config: PlanningConfig) -> tuple[str, str]:
    """Run the recheck as the gate does: "passed", or a refusal's status, and its message."""
    try:
        return "passed", recheck_cell.recheck(cell, made, seed, config)
    except SpatialVlmError as error:
        return error.status_name, str(error)


def one(seed: int, share: float = 1.0) -> list[Record]:
    """Run all changes of one world, or a random share of them, always including "nothing changed"."""
    config = PlanningConfig()
    world = layout(str(seed))
    spare = world.objects[-1].id
    cell = ArmCell(without(world, spare))
    try:
        made = planned(BuiltinPlanner(), cell, seed, config)
    except SpatialVlmError as error:
        return [{"seed": seed, "number": 0, "kind": "no plan", "words": str(error)[:200]}]
    records = []
    drawn = np.random.default_rng(seed)
    for number, staging in enumerate(stagings(world, spare, cell, made)):
        if number and drawn.random() >= share:
            continue
        staged = ArmCell(staging.layout)
        for id_, x, y, yaw in staging.moves:
            staged.move(id_, (x, y, _ABOVE), yaw)
        for _ in range(int(_LAND / STEP)):
            staged.step()
        said, words = judged(staged, made, 1000 * seed + 10 * number + 1, config)
        done = execute(staged, made.plan, config)
        records.append(
            {
                "seed": seed, "number": number, "kind": staging.kind, "size": staging.size,
                "said": said, "words": words[:240], "safe": done.safe, **dataclasses.asdict(done),
            }
        )  # fmt: skip
    return records


def row(records: list[Record]) -> tuple[int, int, str, int, str]:
    """n, passes and wrong ones, refusals and needless ones; 95 % Wilson intervals."""
    passed = [r for r in records if r["said"] == "passed"]
    refused = [r for r in records if r["said"] != "passed"]
    return (
        len(records),
        len(passed),
        _share(sum(not r["safe"] for r in passed), len(passed)),
        len(refused),
        _share(sum(r["safe"] for r in refused), len(refused)),
    )


def _share(count: int, n: int) -> str:
    if not n:
        return "-"
    share = wilson(count, n)
    return f"{count} ({100 * share.low:.1f} to {100 * share.high:.1f} %)"


def keep(found: list[Record], setting: Record) -> tuple[Record, list[Claim]]:
    """Write the current results."""
    unplanned = [r["seed"] for r in found if r["kind"] == "no plan"]
    records = sorted((r for r in found if r["kind"] != "no plan"), key=lambda r: r["seed"])
    kinds: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r["number"]):
        kinds.setdefault((record["kind"], record["size"]), []).append(record)
    rows = [(kind, size, *row(group)) for (kind, size), group in kinds.items()]
    same = [r for r in records if r["kind"] != "new object"]  # a new object matters by where it stands
    rows += [("all but new objects", "", *row(same)), ("all", "", *row(records))]
    calm = kinds.get(("nothing", "0 mm"), [])
    passed = [r for r in records if r["said"] == "passed"]
    figures = {
        "setting": {**setting, "planned": len({r["seed"] for r in records}), "without a plan": unplanned},
        "rows": [dict(zip(COLUMNS, r, strict=True)) for r in rows],
        "records": records,
    }
    touched = sum(r["others"] > 0.0 or r["pressed"] > PRESSED for r in passed)
    refused = sum(r["said"] != "passed" for r in calm) / max(1, len(calm))
    claims = [
        Claim("passed plans that press on the target or touch another object", touched, 0, ""),
        Claim("share of undisturbed scenes refused", refused, REFUSED_CALM, ""),
    ]
    write("recheck", figures, claims)
    return figures, claims


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=WORLDS, first_seed=FIRST_SEED, share=1.0, processes=1, minutes=1e6)
    n, first, end = given.n, given.first_seed, time.monotonic() + 60 * given.minutes
    setting = {"worlds": n, "first_seed": first, "share_of_changes": given.share}
    found: list[Record] = []
    jobs = ((seed, given.share) for seed in range(first, first + n))
    for records in in_processes(one, jobs, given.processes, end):
        found += records
        keep(found, setting)
        print(f"{records[0]['seed']}: {len(found)} runs", file=sys.stderr, flush=True)
    measured, claims = keep(found, setting)
    wrong = [r for r in measured["records"] if r["said"] == "passed" and not r["safe"]]
    show("passed, and wrong", {"runs": wrong})
    return finish("recheck", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
