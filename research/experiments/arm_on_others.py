# SPDX-License-Identifier: Apache-2.0
"""The simulated arms on other people's objects: from the sentence to the tray, judged by contact physics.

`python -m research.experiments.arm_on_others --n 200 --first-seed S [--robot ur5e] [--processes 2] [--minutes M]
[--add] [--into bowl [--drop METRES]] [--sources "object_sim=PLACE ycb=PLACE vima=PLACE"]`: random tables of
`research.arm_tables`; with `--into`, the target is put into that container instead of onto the tray, with `goal.drop`
as given. The detector sees only what the sentence names. From one noisy image there is an answer, a plan, the plan's
check and the recheck as the gate makes them; the plan is carried out, the grip judged by the width between the fingers.
What is feasible is said by `research.arm_tables.feasible`, which shares nothing with the planner or the grasp search. A
PLACE is a checkout, a bare git directory, or a URL; without `--sources` the folders in SPATIAL_VLM_ARM_SOURCES are
taken, or the pinned commits are fetched. `--add` keeps the rows of the last run. docs/sim_arm.md defines every figure.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Claim, arguments, finish, in_processes, spreads, write
from research.arm_tables.catalogue import Catalogue, catalogue_of, places_of
from research.arm_tables.layouts import TARGET, random_table
from research.arm_tables.picking import TOUCHED, Pick, possible
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.arm.machines import PANDA, simulated_arm
from spatial_vlm_ros.types.proportions import wilson

WORLDS = 200
FIRST_SEED = 200000  # development uses seeds below 1000
WANTED = 0.95  # share of feasible tasks that are delivered
BATCH = 20  # worlds of one process
CONTACTS = 0.01  # share of worlds with another contact

Row = dict[str, Any]
Options = tuple[str, str, float | None]  # robot, into, drop
_catalogue: list[Catalogue] = []


def begin(catalogue: Catalogue) -> None:
    """What a process of the pool keeps: the objects that it has read."""
    _catalogue[:] = [catalogue]


def one(seed: int, robot: str, into: str = "", drop: float | None = None) -> Row:
    """One world from beginning to end; what went wrong in this benchmark itself is a row, too."""
    begun = time.process_time()
    try:
        world = random_table(seed, _catalogue[0], into)
    except InputError as error:
        return {"seed": seed, "no_world": str(error)[:200]}
    pick = Pick(world, simulated_arm(robot), seed, _catalogue[0], drop)
    return pick.run() | {"seconds": round(time.process_time() - begun, 2)}


def verdict_of(row: Row) -> str:
    """One word or two for the outcome of a world."""
    if "no_world" in row:
        return "no world"
    return str(row["ended"]) if row["ended"] != "refused" else f"refused: {row['stage']} {row['status']}"


def line_of(row: Row) -> str:
    """What is told of a world while it runs."""
    if "no_world" in row:
        return f"{row['seed']}: {row['no_world']}"
    cannot = [name for name, can in row["feasible"].items() if not can]
    feasible = "feasible" if not cannot else f"not feasible ({', '.join(cannot)})"
    contact = f", {row['others_n']} N on {row['on']}" if row.get("others_n", 0.0) > TOUCHED else ""
    moved = f", moved {' '.join(row['moved'])}" if row.get("moved") else ""
    wrong = f", chose {row['chosen']}" if wrong_answer(row) else ""
    collided = f", collisions {row['collisions_mm']}" if row.get("collisions_mm") else ""
    ended = f"{verdict_of(row)} {row.get('way', '')}"
    return (
        f"{row['seed']} {row['objects'][TARGET]}: {ended} ({feasible}, {row['seconds']} s)"
        f"{wrong}{contact}{moved}{collided} {row.get('reason', '')[:240]}"
    )


def wrong_answer(row: Row) -> bool:
    """Whether another object than the target was chosen."""
    return row.get("chosen") not in (None, TARGET)


def summary(rows: Sequence[Row]) -> tuple[Row, list[Claim]]:
    """What is told of the rows."""
    worlds = [row for row in rows if "ended" in row]
    can = [row for row in worlds if possible(row)]
    done = [row for row in can if row["ended"] == "delivered"]
    share = wilson(len(done), len(can)) if can else None
    moved = [row for row in worlds if "others_n" in row]
    touched = [row for row in moved if row["others_n"] > TOUCHED]
    wrong = [row for row in worlds if wrong_answer(row) or row.get("wrong_delivered") or row.get("twin_touched")]
    collided = [row for row in worlds if row.get("collisions_mm")]
    figures: Row = {
        "worlds": len(worlds),
        "no_world": sum("no_world" in row for row in rows),
        "feasible": len(can),
        "not_feasible_by": dict(Counter(name for row in worlds for name, can_ in row["feasible"].items() if not can_)),
        "delivered_of_feasible": len(done),
        "share": [round(v, 4) for v in (share.share, share.low, share.high)] if share is not None else None,
        "delivered_though_not_feasible": sum(row["ended"] == "delivered" for row in worlds if not possible(row)),
        "refused_though_feasible": sum(row["ended"] == "refused" for row in can),
        "failures_of_feasible": dict(
            Counter(reason_of(row) for row in can if row["ended"] != "delivered").most_common()
        ),
        "outcomes_not_feasible": dict(Counter(reason_of(row) for row in worlds if not possible(row)).most_common()),
        "carried_out": len(moved),
        "other_contacts": [[row["seed"], row["others_n"], row["on"]] for row in touched],
        "others_moved": [[row["seed"], row["moved"]] for row in moved if row["moved"]],
        "wrong_answers": [row["seed"] for row in worlds if wrong_answer(row)],
        "wrong_objects": [row["seed"] for row in wrong],
        "hidden_space": hidden(worlds),
        "checked_moments": sum(row.get("moments", 0) for row in worlds),
        "collisions_that_mujoco_finds": [[row["seed"], row["collisions_mm"]] for row in collided],
        "of_families": families(can),
    }
    claims = [
        Claim("feasible tasks that were delivered", share.share if share is not None else 0.0, WANTED, "", least=True),
        Claim("worlds with another contact above 1 N", len(touched) / max(len(moved), 1), CONTACTS, "of carried out"),
        Claim("wrong objects chosen, touched or delivered", len(wrong), 0, "worlds"),
        Claim("executed paths with a collision that MuJoCo finds", len(collided), 0, "worlds"),
    ]
    return figures, claims


def hidden(rows: Sequence[Row]) -> dict[float, list[float]]:
    """Stated probability that hidden space is occupied (`unseen.CHANCES`) → its voxels, and the share that is."""
    spaces = [space for row in rows for space in row.get("hidden", ())]
    sums = {stated: np.sum([space[1:] for space in spaces if space[0] == stated], axis=0) for stated, *_ in spaces}
    return {stated: [int(cells), round(float(inside / cells), 3)] for stated, (cells, inside) in sorted(sums.items())}


def reason_of(row: Row) -> str:
    """Stage and typed status of what was not delivered."""
    return "delivered" if row["ended"] == "delivered" else f"{row['ended']}: {row['stage']}, {row['status']}"


def families(rows: Sequence[Row]) -> dict[str, str]:
    """Object of a feasible task → delivered of how many."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        found.setdefault(row["objects"][TARGET], []).append(row["ended"] == "delivered")
    return {name: f"{sum(done)} of {len(done)}" for name, done in sorted(found.items())}


def series(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Spread of each measure."""
    worlds = [row for row in rows if "ended" in row]
    every: Mapping[str, list[float]] = {
        "planning one motion, wall s": [wall for row in worlds for wall in row["planning_s"]],
        "a plan lasts, s": [row["duration_s"] for row in worlds if "duration_s" in row],
        "on the target before the grip, N": [row["pressed_n"] for row in worlds if "pressed_n" in row],
        "on another object, N": [row["others_n"] for row in worlds if "others_n" in row],
        "turned while carried, at the end, degrees": [r["tilt_deg"] for r in worlds if r["ended"] == "delivered"],
        "a world, processor s": [row["seconds"] for row in worlds],
    }
    return spreads(every)


def rows_of(
    seeds: Iterable[int], n: int, catalogue: Catalogue, processes: int, end: float, options: Options
) -> Iterator[Row]:
    """Rows of worlds as they come, until there are so many, or the time is over.

    New processes begin after each BATCH worlds: drawing contexts and models that are done with keep their memory.
    """
    waiting, found = iter(seeds), 0
    while found < n and time.monotonic() < end:
        jobs = [(seed, *options) for seed in islice(waiting, min(n - found, BATCH * processes))]
        if not jobs:
            return
        for row in in_processes(one, jobs, processes, end, begin, (catalogue,)):
            found += "ended" in row
            yield row


def keep(rows: list[Row], setting: Row) -> tuple[Row, list[Claim]]:
    """Write what there is."""
    rows.sort(key=lambda row: row["seed"])
    figures, claims = summary(rows)
    measured = {"setting": setting, **figures, "times": series(rows), "rows": rows}
    write(title_of(setting), measured, claims)
    return measured, claims


def title_of(setting: Row) -> str:
    """Of the file that is written."""
    robot, into, drop = setting["robot"], setting["into"], setting["drop"]
    fall = "" if drop is None else f"_drop_{1000 * drop:.0f}"
    return f"arm_on_others{'' if robot == PANDA.name else f'_{robot}'}{into and f'_into_{into}'}{fall}"


def main() -> int:
    """Measure, print and write."""
    run = {"n": WORLDS, "first_seed": FIRST_SEED, "processes": 1, "minutes": math.inf, "add": False}
    given = arguments(__doc__, **run, robot=PANDA.name, into="", drop=float, sources="")
    n, first, robot, into = given.n, given.first_seed, given.robot, given.into
    end = time.monotonic() + 60 * given.minutes
    setting: Row = {"robot": robot, "asked_for": n, "first_seed": first, "into": into, "drop": given.drop}
    rows: list[Row] = json.loads((RESULTS / f"{title_of(setting)}.json").read_text())["rows"] if given.add else []
    simulated_arm(robot)
    there = {row["seed"] for row in rows}
    left = n - sum("ended" in row for row in rows)
    seeds = (seed for seed in range(first, first + 100 * max(1, n)) if seed not in there)
    if left > 0:
        places = places_of(given.sources.split())
        with tempfile.TemporaryDirectory() as folder, catalogue_of(places, Path(folder)) as catalogue:
            setting["objects"] = len(catalogue.files)
            for row in rows_of(seeds, left, catalogue, max(1, given.processes), end, (robot, into, given.drop)):
                rows.append(row)
                print(line_of(row), file=sys.stderr, flush=True)
                keep(rows, setting)
    measured, claims = keep(rows, setting)
    return finish(title_of(setting), measured, claims)


if __name__ == "__main__":
    sys.exit(main())
