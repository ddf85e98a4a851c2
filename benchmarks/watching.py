# SPDX-License-Identifier: Apache-2.0
"""The watch on a moving arm's path: it stops in time for intruders, and does not stop clean runs.

`python -m benchmarks.watching --clean 20 --intrusions 10 --first-seed S [--processes 2] [--minutes M] [--add]`: in each
random world a pick is planned and executed by physics, twice as fast as by default.

Clean: noisy depth images of the run, `--every` seconds apart, go to `IntrusionWatch`, with the arm as in joint states
30 ms earlier. A nuisance stop is any image in which the watch reports an intruder, or which does not show the path;
`hidden_counts` marks rows of a watch that also looks for objects hiding the path.

Intrusions: an object that was not in the plan is pushed from the side, at 1 m/s, to where the tip of the arm will be
0.6 to 1.5 s later. Images come at 30 Hz; the watch's result reaches the controller after 30 ms of transport, the
watch's own time, and 30 ms for the stop (median of `benchmarks.stopping`: 20 ms). Then the arm brakes. It records the
time from the object's entry into swept space until the arm stands, and contacts. The same is repeated without the
watch, until the arm touches the object or its run ends.

`--wrist`: the camera on the hand gives all images, including that of the plan; its pose comes from joint states 30 ms
old. Parts it does not see are counted as `blind` and stop nothing. The gate computes `longest_unseen_s` before the
motion and refuses if it exceeds `watch_silence`. The result is `watching_wrist`.

`--add` keeps the rows of the last run.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Claim, finish, option, table, write
from benchmarks.recheck_cell import planned
from benchmarks.watched_cell import (
    COMMAND,
    IMAGES,
    INTRUDER,
    LATE,
    LEADS,
    LEFT,
    MARGIN,
    PUSHED,
    TRANSPORT,
    Eye,
    Intruded,
    Row,
    cell_of,
    clean_run,
    known,
    push_of,
    robot_at,
    watch_of,
)
from spatial_vlm_ros.errors import DepthError, SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.parameters import GateConfig, PlanningConfig
from spatial_vlm_ros.sim.arm.cell import STEP
from spatial_vlm_ros.sim.arm.view import ArmView
from spatial_vlm_ros.sim.cameras import VGA
from spatial_vlm_ros.types.proportions import wilson

FIRST_SEED = 91000  # different from those of tests and other benchmarks


def clean(seed: int, every: float, on_hand: bool = False) -> Row:
    """Run one world and count its nuisance stops."""
    config, planner, cell = PlanningConfig(), BuiltinPlanner(), cell_of(seed)
    eye = Eye(cell, planner, on_hand)
    try:
        made = planned(planner, cell, seed, config, known, True, eye.now(), LEFT * on_hand)
    except SpatialVlmError as error:
        return {"seed": seed, "kind": "clean", "no_plan": str(error)[:160]}
    watch, tip_T_target, swept, motion = watch_of(made, config)
    run = clean_run(cell, planner, made, config)
    view, nuisance, blind, shown, spent = ArmView(cell, VGA, seed=seed), [], 0, [], []
    try:
        for number, k in enumerate(range(0, len(run.qpos), round(every / STEP))):
            cell.data.qpos[:] = run.qpos[k]
            frame, _ = view.look(run.qpos[k], eye.now(), stamp_ns=number + 1)
            shown.append(eye.shown(swept))
            links = robot_at(planner, run.told[k], tip_T_target, made.scene.target.solid.size)
            begun = time.perf_counter()
            words = ""
            try:
                found = watch.look(frame.depth, frame.camera, eye.told(run.told[k]), links)
                words = "" if found is None else found.words()
            except DepthError as error:
                blind += 1
                words = "" if on_hand else error.reason
            spent.append(1000 * (time.perf_counter() - begun))
            if words:
                nuisance.append({"image": number, "words": words})
    finally:
        view.close()
    return {
        "seed": seed, "kind": "clean", "every_s": every, "hidden_counts": True, "images": len(spent),
        "nuisance": nuisance, "blind": blind, "longest_unseen_s": round(eye.longest_unseen(watch, motion), 2),
        "shown": round(float(np.median(shown)), 4), "ms": round(float(np.median(spent)), 1),
        "ms_p95": round(float(np.percentile(spent, 95)), 1),
    }  # fmt: skip


def intruded(seed: int, on_hand: bool = False) -> Row:
    """Run one world with an intruding object, with the watch and without."""
    config, planner, cell = PlanningConfig(), BuiltinPlanner(), cell_of(seed)
    eye = Eye(cell, planner, on_hand)
    try:
        made = planned(planner, cell, seed, config, known, True, eye.now(), LEFT * on_hand)
    except SpatialVlmError as error:
        return {"seed": seed, "kind": "intrusion", "no_plan": str(error)[:160]}
    watch, tip_T_target, swept, _ = watch_of(made, config)
    draw = np.random.default_rng((seed, 2))
    (obj,) = (each for each in cell.layout.objects if each.id == INTRUDER)
    push = push_of(clean_run(cell, planner, made, config), obj.model.size[2], draw)
    if push is None:
        return {"seed": seed, "kind": "intrusion", "no_plan": "the arm moves too little"}
    with_watch = Intruded(seed, made, push, swept, watch, planner, tip_T_target, on_hand)
    told = with_watch.run(config)
    without = Intruded(seed, made, push, swept, None, planner, tip_T_target, on_hand).run(config)
    return {
        "seed": seed, "kind": "intrusion", "object": obj.model.label, "at": np.round(push.end, 3).tolist(),
        "lead_s": round(push.lead, 3), "ms": round(1000 * float(np.median(with_watch.spent)), 1), **told,
        "without_watch": without,
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> tuple[Row, list[Claim]]:
    """Summary of the rows, and the claims."""
    runs = [row for row in rows if row["kind"] == "clean" and "images" in row]
    stopped = sum(bool(row["nuisance"]) for row in runs)
    came = [row for row in rows if row["kind"] == "intrusion" and "object" in row]
    stood = sorted(row["stood_s"] for row in came if row["stood_s"] is not None)
    touched = sum(row["touched_s"] is not None for row in came)
    would = sum(row["without_watch"]["touched_s"] is not None for row in came)
    measured = {
        "clean_runs": len(runs), "images": sum(row["images"] for row in runs), "runs_stopped": stopped,
        "runs_stopped_95": [round(v, 4) for v in _interval(stopped, len(runs))],
        "intrusions": len(came), "stopped": len(stood), "touched": touched, "touched_without_watch": would,
        "stood_s": {"median": stood[len(stood) // 2], "most": stood[-1]} if stood else None,
        "watch_ms": round(float(np.median([row["ms"] for row in (*runs, *came)])), 1) if runs or came else None,
        "without_a_plan": sum("no_plan" in row for row in rows),
    }  # fmt: skip
    there = [row for row in runs if "longest_unseen_s" in row]
    if there:
        silence = GateConfig().watch_silence
        unseen = sorted(row["longest_unseen_s"] for row in there)
        measured["shown_median"] = round(float(np.median([row["shown"] for row in there])), 4)
        measured["blind_images"] = [sum(row["blind"] for row in there), sum(row["images"] for row in there)]
        measured["refused_before_motion"] = sum(value > silence for value in unseen)
        measured["longest_unseen_s"] = {"least": unseen[0], "median": unseen[len(unseen) // 2], "most": unseen[-1]}
    return measured, [Claim("clean runs that were stopped", stopped, 0, "runs")]


def _interval(k: int, n: int) -> tuple[float, float]:
    found = wilson(k, n) if n else None
    return (found.low, found.high) if found is not None else (0.0, 1.0)


def measured_rows(jobs: Iterable[tuple[Any, ...]], processes: int, end: float) -> Iterable[Row]:
    """Rows as they are done; none is started after the end."""
    waiting = list(reversed(list(jobs)))
    if processes < 2:
        while waiting and time.monotonic() < end:
            function, *given = waiting.pop()
            yield function(*given)
        return
    with ProcessPoolExecutor(processes) as pool:
        running = {pool.submit(*waiting.pop()) for _ in range(min(processes, len(waiting)))}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                if waiting and time.monotonic() < end:
                    running.add(pool.submit(*waiting.pop()))
                yield each.result()


def main() -> int:
    """Measure, print and write."""
    n, came = int(option("clean", 20)), int(option("intrusions", 10))
    first, every, processes = int(option("first-seed", FIRST_SEED)), option("every", 0.1), int(option("processes", 1))
    end = time.monotonic() + 60 * option("minutes", math.inf)
    rows: list[Row] = []
    on_hand = "--wrist" in sys.argv
    if on_hand:
        sys.argv.remove("--wrist")
    name = "watching_wrist" if on_hand else "watching"
    if "--add" in sys.argv:
        sys.argv.remove("--add")
        rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    there = {(row["kind"], row["seed"]) for row in rows}
    seeds = [s for s in range(first, first + came) if ("intrusion", s) not in there]
    jobs: list[tuple[Any, ...]] = [(intruded, s, on_hand) for s in seeds]
    jobs += [(clean, s, every, on_hand) for s in range(first, first + n) if ("clean", s) not in there]
    setting = {"late_s": LATE, "images_hz": IMAGES, "transport_s": TRANSPORT, "command_s": COMMAND,
               "pushed_m_s": PUSHED, "lead_s": LEADS, "margin_m": MARGIN}  # fmt: skip
    for row in measured_rows(jobs, processes, end):
        rows.append(row)
        figures, claims = summary(rows)
        write(name, {"setting": setting, **figures, "rows": rows}, claims)
    rows.sort(key=lambda row: (row["kind"], row["seed"]))
    figures, claims = summary(rows)
    table("watch on the way of a moving arm", ("", "measured"), [(k, str(v)) for k, v in figures.items()])
    return finish(name, {"setting": setting, **figures, "rows": rows}, claims)


if __name__ == "__main__":
    sys.exit(main())
