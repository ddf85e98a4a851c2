# SPDX-License-Identifier: Apache-2.0
"""From words to motion in random worlds: resolver, planner, gate and simulation as processes, judged by physics.

`python -m benchmarks.arm_seeds --n 100 --first-seed S` (`--robot ur5e`): one stack, started once. In each world an
ambiguous instruction is sent first, which has to end as a question; then the world's own instruction is sent and its
proposal approved. After every tenth world comes one whose target was moved out of reach. `benchmarks.arm_reach`, which
is independent of the planner, decides whether a task is within reach. The results are written after each world; no
world starts after `--minutes M`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.arm_reach import TABLES, MakersTable, reaches, within_reach
from benchmarks.arm_stack import Picking, Stack, StackError, log_folder
from benchmarks.harness import Claim, arguments, finish, spreads, write
from spatial_vlm_ros.sim.arm.worlds import TableLayout, layout
from spatial_vlm_ros.types.proportions import wilson

WORLDS = 100
FIRST_SEED = 60000  # different from those of tests, development and other benchmarks
AMBIGUOUS = "put the chick on the tray"
WANTED = 0.8  # share of tasks within reach that must be done
FORCE = 5.0  # N on a neighbour
RESTS = 4.0  # simulated seconds after the end for a released object to come to rest
OUT_OF_REACH = 10  # one in this many
_FAR = {"panda": ((0.70, 0.80), (0.56, 0.64), 40.0), "ur5e": ((0.92, 0.96), (0.68, 0.71), 60.0)}
"""Metres before and beside the base of a target out of reach; degrees that the camera looks aside to see it."""
_FLOOR = 0.009  # metres from the tray's foot to the release height: its floor is 5 mm thick

Record = dict[str, Any]


def centre_height(world: TableLayout, id_: str) -> float:
    """Height of an object's centre above its foot, metres."""
    vertices = next(obj for obj in world.objects if obj.id == id_).model.vertices
    return float(vertices[:, 2].min() + vertices[:, 2].max()) / 2


def reach_of(world: TableLayout, verdict: Record, arm: MakersTable) -> dict[str, bool]:
    """Reachability of the task's positions, from the true object positions."""
    up = np.array([0.0, 0.0, centre_height(world, world.target)])
    target, tray = (np.array(verdict["things"][id_]["position"]) for id_ in (world.target, world.tray))
    return within_reach(target + up, tray + up + [0.0, 0.0, _FLOOR], arm=arm)


def put_out_of_reach(stack: Stack, world: TableLayout, seed: int, arm: MakersTable) -> None:
    """Move the target to an unreachable position, with the cup between it and the camera, and turn the camera there."""
    rng = np.random.default_rng((seed, 1))
    tray = next(obj for obj in world.objects if obj.id == world.tray)
    side, eye = np.sign(tray.position[1]), world.base_T_camera.translation[:2]
    ahead, aside, turned = _FAR[stack.robot]
    while True:
        target = np.array([rng.uniform(*ahead), side * rng.uniform(*aside)])
        if not reaches(np.array([*target, centre_height(world, world.target)]), down=False, arm=arm):
            break
    cup = target + rng.uniform(0.12, 0.16) * (eye - target) / np.linalg.norm(eye - target)
    stack.disturb(move={"id": world.target, "to": [*target.tolist(), 0.001]})
    stack.disturb(move={"id": "cup", "to": [*cup.tolist(), 0.001]})
    stack.disturb(camera={"turn_deg": -turned * side, "told": True})


def ask(stack: Stack, instruction: str, accepted: int) -> tuple[Record, Picking]:
    """Send an instruction, approve the proposal, wait for the end; returns the result."""
    picking = stack.send(instruction)
    proposal = stack.proposed(picking)
    told: Record = {"proposed": proposal.target.id if proposal is not None else None}
    if proposal is not None:
        told["early_goals"] = stack.accepted() - accepted
        told["way"] = proposal.motion
        told["approved"] = stack.approve(proposal)
    stack.end(picking)
    ended, result = time.monotonic(), picking.result
    told |= {
        "status": picking.status,
        "stage": picking.stages[-1][0] if picking.stages else None,
        "moved": bool(result.moved),
        "message": result.status.message[:300] if picking.status != "OK" else "",
        "seconds": picking.seconds(ended),
    }
    return told, picking


def one(stack: Stack, seed: int, far: bool = False) -> Record:
    """Run one world from start to end."""
    world, arm = layout(str(seed)), TABLES[stack.robot]
    stack.disturb(world={"name": str(seed)})
    if far:
        put_out_of_reach(stack, world, seed, arm)
    stack.fresh()
    begun = stack.verdict()
    accepted = stack.accepted()
    record: Record = {"seed": seed, "far": far, "target": world.target, "reach": reach_of(world, begun, arm)}
    if not far:
        asked, _ = ask(stack, AMBIGUOUS, accepted)
        asked["goals"] = stack.accepted() - accepted
        record["ambiguous"] = {key: asked[key] for key in ("status", "proposed", "moved", "goals")}
        accepted += asked["goals"]
    told, picking = ask(stack, world.instruction, accepted)
    record |= told
    before = stack.verdict()
    if picking.result.moved:
        stack.until(lambda: stack.verdict()["time_s"] > before["time_s"] + RESTS, "it has come to rest")
    verdict = stack.verdict()
    others = {obj.id for obj in world.objects} - {world.target, world.tray}
    chicks = others & {"bonnet", "ribbon"}
    record |= {
        "goals": stack.accepted() - accepted,
        "done": bool(verdict["done"]),
        "moved_things": verdict["moved"],
        "on_neighbours_n": {k: v for k, v in verdict["forces_n"].items() if k in others},
        "forces_n": verdict["forces_n"],
        "wrong_instance": bool(told["proposed"] not in (None, world.target))
        or bool(chicks & set(verdict["delivered"])),
        "target_state": verdict["things"][world.target] if picking.result.moved and not verdict["done"] else None,
    }
    moving = next((at for name, _, at in picking.stages if name == "MOVING"), None)
    record["moving_simulated_s"] = None if moving is None else round(before["time_s"] - moving, 1)
    return record


def reason(record: Record) -> str:
    """Reason why a world is not done, in a few words without numbers and names."""
    if record["status"] == "OK":
        return "OK, but not delivered" if not record["done"] else "done"
    return f"{record['status']} in {record['stage']}"


def summary(records: list[Record], faults: list[Record]) -> tuple[Record, list[Claim]]:
    """The summary to write, and the claims."""
    worlds = [r for r in records if not r["far"]]
    sides = ("target", "above the target", "tray", "above the tray")
    within = [r for r in worlds if all(r["reach"][side] for side in sides)]
    beyond = [r for r in records if not all(r["reach"][side] for side in sides)]
    done = [r for r in within if r["status"] == "OK" and r["done"]]
    share = wilson(len(done), len(within))
    forces = [max(r["on_neighbours_n"].values(), default=0.0) for r in records]
    asked = [r["ambiguous"] for r in worlds]
    refused = [r for r in beyond if not r["moved"] and not r["goals"] and r["proposed"] is None]
    figures = {
        "within reach": len(within),
        "of those done": len(done),
        "share": [share.share, share.low, share.high],
        "out of reach": len(beyond),
        "of those refused before anything moved": len(refused),
        "how those ended": dict(Counter(reason(r) for r in beyond)),
        "outcomes within reach": dict(Counter(reason(r) for r in within).most_common()),
        "motions toward a wrong thing": sum(r["wrong_instance"] for r in records),
        "goals accepted before approval": sum(r.get("early_goals", 0) for r in records),
        "worlds in which something else was moved": [
            r["seed"] for r in records if set(r["moved_things"]) - {r["target"]}
        ],
        f"worlds with more than {FORCE:g} N on a neighbour": [
            [r["seed"], r["on_neighbours_n"]] for r, force in zip(records, forces, strict=True) if force > FORCE
        ],
        "ambiguous requests": len(asked),
        "of those asked back": sum(a["status"] == "AMBIGUOUS" for a in asked),
        "of those with a proposal, motion or goal": sum(bool(a["proposed"] or a["moved"] or a["goals"]) for a in asked),
        "failures": [[r["seed"], reason(r), r["message"]] for r in within if r not in done],
        "stack started anew": faults,
    }
    claims = [
        Claim("tasks within reach that were done", share.share, WANTED, "", least=True),
        Claim("worlds out of reach in which something moved or was proposed", len(beyond) - len(refused), 0, ""),
        Claim("motions toward a wrong thing", figures["motions toward a wrong thing"], 0, ""),
        Claim("ambiguous requests that were not asked back", len(asked) - figures["of those asked back"], 0, ""),
        Claim("most force on a neighbour", max(forces, default=0.0), FORCE, "N"),
    ]
    return figures, claims


def seconds_of(records: list[Record]) -> dict[str, dict[str, float]]:
    """Spread of each stage, wall seconds; and of the motion in simulated seconds."""
    series: dict[str, list[float]] = {}
    for record in records:
        for name, seconds in record["seconds"].items():
            series.setdefault(f"{name}, s", []).append(seconds)
        if record["moving_simulated_s"] is not None:
            series.setdefault("MOVING, simulated s", []).append(record["moving_simulated_s"])
        series.setdefault("most on a neighbour, N", []).append(max(record["on_neighbours_n"].values(), default=0.0))
    return spreads(series, 2)


def keep(records: list[Record], faults: list[Record], setting: Record) -> tuple[Record, list[Claim]]:
    """Write the current results."""
    figures, claims = summary(records, faults)
    setting = {**setting, "worlds": sum(not r["far"] for r in records)}
    measured = {"setting": setting, **figures, "times": seconds_of(records), "records": records}
    write(title_of(setting), measured, claims)
    return measured, claims


def title_of(setting: Record) -> str:
    """Title of the results file."""
    return "arm_seeds" if setting["robot"] == "panda" else f"arm_seeds_{setting['robot']}"


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=WORLDS, first_seed=FIRST_SEED, minutes=1e6, robot="panda")
    n, first, robot = given.n, given.first_seed, given.robot
    end, setting = time.monotonic() + 60 * given.minutes, {"robot": robot, "asked_for": n, "first_seed": first}
    records: list[Record] = []
    faults: list[Record] = []
    stack: Stack | None = None
    plan = [(first + k, False) for k in range(n)]
    for k in range(OUT_OF_REACH // 2, n, OUT_OF_REACH):
        plan.insert(plan.index((first + k, False)) + 1, (first + n + k, True))
    try:
        for seed, far in plan:
            if time.monotonic() > end:
                break
            try:
                stack = stack or Stack(log_folder(), robot=robot)
                records.append(one(stack, seed, far))
            except StackError as error:
                faults.append({"seed": seed, "what": str(error)[:1000]})
                print(f"{seed}: {error}", file=sys.stderr, flush=True)
                if stack is not None:
                    stack.close()
                stack = None
                if len(faults) > 5:
                    break
                continue
            record = records[-1]
            took = round(sum(record["seconds"].values()), 1)
            print(f"{seed}{' far' * far}: {reason(record)} {took} s {record['message']}", file=sys.stderr, flush=True)
            keep(records, faults, setting)
    except KeyboardInterrupt:
        pass
    finally:
        if stack is not None:
            stack.close()
    measured, claims = keep(records, faults, setting)
    return finish(title_of(setting), measured, claims)


if __name__ == "__main__":
    sys.exit(main())
