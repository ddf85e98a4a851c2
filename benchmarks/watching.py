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

`--add` keeps the rows of the last run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, Claim, arguments, finish, in_processes, write
from benchmarks.recheck_cell import Floats, Planned, execute, matrix, planned, solid_matrix
from spatial_vlm_ros.errors import DepthError, SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import BASE_LINK, panda
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks
from spatial_vlm_ros.manipulation.occupancy.watching import IntrusionWatch, box_hull, swept_space
from spatial_vlm_ros.manipulation.planning.hulls import LinkHull
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell, ArmView
from spatial_vlm_ros.sim.arm.worlds import layout
from spatial_vlm_ros.sim.physics import PlacedModel
from spatial_vlm_ros.sim.settled import make
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.types import Detection, Transform
from spatial_vlm_ros.types.proportions import wilson

LATE = 0.03  # seconds by which joint states are older than the image
MARGIN = 0.03  # metres around everything that moves, as in the gate
INTRUDER = "intruder"
KINDS = ("bottle", "can", "box", "mug")
CORNER = (-0.2, 0.6, 0.002)  # corner of the table, out of reach and outside the image
PUSHED = 1.0  # m/s
AWAY = 0.5  # metres from which it is pushed
LEADS = (0.6, 1.5)  # s
IMAGES, TRANSPORT, COMMAND = 30.0, 0.03, 0.03  # Hz, s, s
STILL, RESTS = 0.02, 0.1  # rad/s; s
MOVES = 0.1  # m/s of the tip when an object enters
LATER = 3.0  # seconds after which an unnoticed intrusion ends

Row = dict[str, Any]
Seen = Callable[[ArmCell], None]
FIRST_SEED = 91000  # different from those of tests and other benchmarks


class Ended(Exception):
    """The watch ended a run."""


@dataclass(frozen=True)
class Run:
    """A clean run: the state of the cell at each step.

    Args:
        tips: (N, 3) positions of the tip, metres.
        qpos: (N, Q) MuJoCo states of the cell.
        told: (N, 9) joint positions reported at that time.
    """

    tips: Floats
    qpos: Floats
    told: Floats


class Watched:
    """A cell whose steps are observed; joint states arrive late."""

    def __init__(self, cell: ArmCell, each: Seen) -> None:
        self.cell, self._each, self._step = cell, each, cell.step
        self._told: deque[Floats] = deque(maxlen=max(1, round(LATE / STEP)))

    @property
    def told(self) -> Floats:
        """(9,) reported joint positions."""
        return self._told[0]

    def run(self, made: Planned, config: PlanningConfig) -> None:
        """Execute the plan, or as far as the observer allows."""
        self.cell.step = self._stepped  # type: ignore[method-assign]
        try:
            execute(self.cell, made.plan, config)
        except Ended:
            pass
        finally:
            del self.cell.step

    def _stepped(self) -> None:
        self._step()
        self._told.append(self.cell.joints().position.copy())
        self._each(self.cell)


def shown(cell: ArmCell, swept: VoxelBlocks) -> float:
    """Share of swept space in the image of the cell's camera."""
    own = cell.layout.base_T_camera.inverse().apply(swept.centres())
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = (VGA.K[:2, :2] @ (own[:, :2] / own[:, 2:]).T) + VGA.K[:2, 2:]
    inside = (own[:, 2] > 0) & (u > -0.5) & (u < VGA.width - 0.5) & (v > -0.5) & (v < VGA.height - 0.5)
    return float(inside.mean())


def cell_of(seed: int) -> ArmCell:
    """Make a random world, with an object in a corner that comes later."""
    drawn, rng = layout(str(seed)), np.random.default_rng((seed, 1))
    model = make(str(rng.choice(KINDS)), rng)
    return ArmCell(dataclasses.replace(drawn, objects=(*drawn.objects, PlacedModel(INTRUDER, model, CORNER))))


def known(detection: Detection) -> bool:
    """Whether it existed when the plan was made."""
    return detection.id != INTRUDER


def watch_of(made: Planned, config: PlanningConfig) -> tuple[IntrusionWatch, Floats, VoxelBlocks]:
    """Make a new watch, tip_T_target, and the swept space."""
    motion = made.motion(config)
    swept = swept_space(motion, made.scene.target.solid.size, MARGIN)
    put = [box.solid for box in motion.boxes if box.role == "place"]
    grasp = matrix(made.goal.grasps[made.plan.grasp].grasp)
    tip_T_target = np.linalg.inv(grasp) @ solid_matrix(made.scene.target.solid)
    return IntrusionWatch(swept, made.scene, put), tip_T_target, swept


def robot_at(planner: BuiltinPlanner, joints: Floats, tip_T_target: Floats, size: Sequence[float]) -> list[LinkHull]:
    """Hulls of the links and the held object."""
    held = Transform(BASE_LINK, "held", planner.tip(joints[:7]) @ tip_T_target)
    arm = panda().link_hulls(joints[:7], float(np.clip(joints[7:].sum(), 0.0, 0.08)))
    return [*arm, LinkHull(held, box_hull(size))]


def clean_run(cell: ArmCell, planner: BuiltinPlanner, made: Planned, config: PlanningConfig) -> Run:
    """Run without an intrusion."""
    tips, states, told = [], [], []

    def seen(_: ArmCell) -> None:
        tips.append(planner.tip(cell.joints().position[:7])[:3, 3])
        states.append(cell.data.qpos.copy())
        told.append(watched.told)

    watched = Watched(cell, seen)
    watched.run(made, config)
    return Run(np.array(tips), np.array(states), np.array(told))


@dataclass(frozen=True)
class Push:
    """Path of an intruding object: its foot at each moment.

    Args:
        end: end position, metres.
        side: unit vector of its direction.
        arrives: arrival time in the run, seconds.
        lead: seconds from then until the tip would be there.
    """

    end: Floats
    side: Floats
    arrives: float
    lead: float

    def at(self, now: float) -> tuple[Floats, Floats]:
        """Its position and velocity."""
        left = min(max(self.arrives - now, 0.0), AWAY / PUSHED)
        moves = 0.0 < self.arrives - now < AWAY / PUSHED
        return self.end - self.side * PUSHED * left, self.side * PUSHED * moves


def push_of(run: Run, height: float, draw: np.random.Generator) -> Push | None:
    """Choose a push to a future position of the tip; None if the arm moves too little."""
    speed = np.linalg.norm(np.diff(run.tips, axis=0), axis=1) / STEP
    leads = np.rint(draw.uniform(*LEADS, 200) / STEP).astype(int)
    begins = draw.integers(round(AWAY / PUSHED / STEP) + 1, len(run.tips) - 2, 200)
    for begin, lead in zip(begins, leads, strict=True):
        there = begin + lead
        if there >= len(speed) or min(speed[begin], speed[there]) < MOVES:
            continue
        foot = run.tips[there] - (0.0, 0.0, height / 2)
        if foot[2] < 0.01 or np.linalg.norm(run.tips[there] - run.tips[begin]) < 0.2:
            continue
        aside = float(np.sign(run.tips[there][1] - run.tips[begin][1]) or 1.0)  # not through the arm
        return Push(foot, np.array((0.0, -aside, 0.0)), begin * STEP, lead * STEP)
    return None


class Intruded:
    """A run with an intruding object, with or without the watch."""

    def __init__(self, seed: int, made: Planned, push: Push, swept: VoxelBlocks, watch: IntrusionWatch | None,
                 planner: BuiltinPlanner, tip_T_target: Floats) -> None:  # fmt: skip
        self.cell = cell_of(seed)
        self._made, self._push, self._watch, self._planner, self._held = made, push, watch, planner, tip_T_target
        self._swept = swept
        body = self.cell.model.body(INTRUDER)
        self._at, self._dof = (int(self.cell.model.joint(body.jntadr[0]).qposadr[0]), int(body.dofadr[0]))
        (obj,) = (each for each in self.cell.layout.objects if each.id == INTRUDER)
        self._points = obj.model.vertices
        self._view = ArmView(self.cell, VGA, seed=seed + 7) if watch is not None else None
        self._due: float | None = None  # when the stop reaches the controller
        self.entered = self.noticed = self.stood = self.touched = math.nan
        self.force, self.speed, self._steps, self._rests, self._shot = 0.0, 0.0, 0, 0.0, 0
        self.spent: list[float] = []

    def run(self, config: PlanningConfig) -> Row:
        """Execute it; returns the result."""
        self._watched = Watched(self.cell, self._each)
        try:
            self._watched.run(self._made, config)
        finally:
            if self._view is not None:
                self._view.close()
        return {"entered_s": round(self.entered, 3), "noticed_s": _after(self.noticed, self.entered),
                "stood_s": _after(self.stood, self.entered), "touched_s": _after(self.touched, self.entered),
                "force_N": round(self.force, 2), "tip_m_s": round(self.speed, 3)}  # fmt: skip

    def _each(self, cell: ArmCell) -> None:
        self._steps += 1
        now = self._steps * STEP
        foot, velocity = self._push.at(now)
        if now >= self._push.arrives - AWAY / PUSHED:
            cell.data.qpos[self._at : self._at + 7] = [*foot, 1.0, 0.0, 0.0, 0.0]
            cell.data.qvel[self._dof : self._dof + 6] = [*velocity, 0.0, 0.0, 0.0]
            if math.isnan(self.entered) and self._swept.holds(self._points + foot).any():
                self.entered = now
                self.speed = self._tip_speed()
        if self._steps % 5 == 0 and not math.isnan(self.entered):
            self._judge(cell, now)
        if self._watch is not None and now > self._push.arrives - AWAY / PUSHED:
            self._see(cell, now)
        self._end(cell, now)

    def _tip_speed(self) -> float:
        joints, speeds = self.cell.joints().position[:7], self.cell.joints().velocity[:7]
        ahead = self._planner.tip(joints + speeds * STEP)[:3, 3] - self._planner.tip(joints)[:3, 3]
        return float(np.linalg.norm(ahead) / STEP)

    def _judge(self, cell: ArmCell, now: float) -> None:
        force = cell.judge.verdict(cell.data).forces.get(INTRUDER, 0.0)
        if force > 0 and math.isnan(self.touched):
            self.touched = now
        self.force = max(self.force, force)

    def _see(self, cell: ArmCell, now: float) -> None:
        if self._due is not None or now * IMAGES < self._shot or self._view is None or self._watch is None:
            return
        self._shot = math.floor(now * IMAGES) + 1
        frame, _ = self._view.look(cell.data.qpos.copy(), cell.layout.base_T_camera, stamp_ns=self._shot)
        links = robot_at(self._planner, self._watched.told, self._held, self._made.scene.target.solid.size)
        begun = time.perf_counter()
        found = self._watch.look(frame.depth, frame.camera, cell.layout.base_T_camera, links)
        self.spent.append(time.perf_counter() - begun)
        if found is not None:
            self.noticed = now
            self._due = now + TRANSPORT + float(np.median(self.spent)) + COMMAND

    def _end(self, cell: ArmCell, now: float) -> None:
        if self._due is not None and now >= self._due:
            cell.follower.stop(cell.time)
            self._rests = self._rests + STEP if np.abs(cell.joints().velocity[:7]).max() < STILL else 0.0
            if self._rests >= RESTS:
                self.stood = now - RESTS if math.isnan(self.stood) else self.stood
                if now > self.stood + 0.5:  # later contacts are not pushes
                    raise Ended
        if self._watch is None and not math.isnan(self.touched) and now > self.touched + 0.2:
            raise Ended
        if now > self._push.arrives + LATER and self._due is None:
            raise Ended


def _after(moment: float, begin: float) -> float | None:
    return None if math.isnan(moment) else round(moment - begin, 3)


def clean(seed: int, every: float) -> Row:
    """Run one world and count its nuisance stops."""
    config, planner, cell = PlanningConfig(), BuiltinPlanner(), cell_of(seed)
    try:
        made = planned(planner, cell, seed, config, known)
    except SpatialVlmError as error:
        return {"seed": seed, "kind": "clean", "no_plan": str(error)[:160]}
    watch, tip_T_target, swept = watch_of(made, config)
    run = clean_run(cell, planner, made, config)
    view, nuisance, spent, camera = ArmView(cell, VGA, seed=seed), [], [], cell.layout.base_T_camera
    try:
        for number, k in enumerate(range(0, len(run.qpos), round(every / STEP))):
            cell.data.qpos[:] = run.qpos[k]
            frame, _ = view.look(run.qpos[k], camera, stamp_ns=number + 1)
            links = robot_at(planner, run.told[k], tip_T_target, made.scene.target.solid.size)
            begun = time.perf_counter()
            try:
                found = watch.look(frame.depth, frame.camera, camera, links)
                words = "" if found is None else found.words()
            except DepthError as error:
                words = error.reason
            spent.append(1000 * (time.perf_counter() - begun))
            if words:
                nuisance.append({"image": number, "words": words})
    finally:
        view.close()
    return {
        "seed": seed, "kind": "clean", "every_s": every, "hidden_counts": True, "images": len(spent),
        "nuisance": nuisance, "shown": round(shown(cell, swept), 4), "ms": round(float(np.median(spent)), 1),
        "ms_p95": round(float(np.percentile(spent, 95)), 1),
    }  # fmt: skip


def intruded(seed: int) -> Row:
    """Run one world with an intruding object, with the watch and without."""
    config, planner, cell = PlanningConfig(), BuiltinPlanner(), cell_of(seed)
    try:
        made = planned(planner, cell, seed, config, known)
    except SpatialVlmError as error:
        return {"seed": seed, "kind": "intrusion", "no_plan": str(error)[:160]}
    watch, tip_T_target, swept = watch_of(made, config)
    draw = np.random.default_rng((seed, 2))
    (obj,) = (each for each in cell.layout.objects if each.id == INTRUDER)
    push = push_of(clean_run(cell, planner, made, config), obj.model.size[2], draw)
    if push is None:
        return {"seed": seed, "kind": "intrusion", "no_plan": "the arm moves too little"}
    with_watch = Intruded(seed, made, push, swept, watch, planner, tip_T_target)
    told = with_watch.run(config)
    without = Intruded(seed, made, push, swept, None, planner, tip_T_target).run(config)
    return {
        "seed": seed, "kind": "intrusion", "object": obj.model.label, "at": np.round(push.end, 3).tolist(),
        "lead_s": round(push.lead, 3), "ms": round(1000 * float(np.median(with_watch.spent)), 1), **told,
        "without_watch": without,
    }  # fmt: skip


def one(kind: str, seed: int, every: float) -> Row:
    """Run one world."""
    return intruded(seed) if kind == "intrusion" else clean(seed, every)


def summary(rows: Sequence[Row]) -> tuple[Row, list[Claim]]:
    """Summary of the rows, and the claims."""
    runs = [row for row in rows if row["kind"] == "clean" and "images" in row]
    stopped = sum(bool(row["nuisance"]) for row in runs)
    share = wilson(stopped, len(runs))
    came = [row for row in rows if row["kind"] == "intrusion" and "object" in row]
    stood = sorted(row["stood_s"] for row in came if row["stood_s"] is not None)
    touched = sum(row["touched_s"] is not None for row in came)
    would = sum(row["without_watch"]["touched_s"] is not None for row in came)
    measured = {
        "clean_runs": len(runs), "images": sum(row["images"] for row in runs), "runs_stopped": stopped,
        "runs_stopped_95": [round(v, 4) for v in (share.low, share.high)],
        "intrusions": len(came), "stopped": len(stood), "touched": touched, "touched_without_watch": would,
        "stood_s": {"median": stood[len(stood) // 2], "most": stood[-1]} if stood else None,
        "watch_ms": round(float(np.median([row["ms"] for row in (*runs, *came)])), 1) if runs or came else None,
        "without_a_plan": sum("no_plan" in row for row in rows),
    }  # fmt: skip
    seen = [row["shown"] for row in runs if "shown" in row]
    measured["shown_median"] = round(float(np.median(seen)), 4) if seen else None
    return measured, [Claim("clean runs that were stopped", stopped, 0, "runs")]


def main() -> int:
    """Measure, print and write."""
    given = arguments(
        __doc__, clean=20, intrusions=10, first_seed=FIRST_SEED, every=0.1, processes=1, minutes=math.inf, add=False
    )
    end, first = time.monotonic() + 60 * given.minutes, given.first_seed
    rows: list[Row] = json.loads((RESULTS / "watching.json").read_text())["rows"] if given.add else []
    there = {(row["kind"], row["seed"]) for row in rows}
    counts = {"intrusion": given.intrusions, "clean": given.clean}
    wanted = [(kind, seed) for kind, count in counts.items() for seed in range(first, first + count)]
    jobs = [(kind, seed, given.every) for kind, seed in wanted if (kind, seed) not in there]
    setting = {"late_s": LATE, "images_hz": IMAGES, "transport_s": TRANSPORT, "command_s": COMMAND,
               "pushed_m_s": PUSHED, "lead_s": LEADS, "margin_m": MARGIN}  # fmt: skip
    for row in in_processes(one, jobs, given.processes, end):
        rows.append(row)
        figures, claims = summary(rows)
        write("watching", {"setting": setting, **figures, "rows": rows}, claims)
    rows.sort(key=lambda row: (row["kind"], row["seed"]))
    figures, claims = summary(rows)
    return finish("watching", {"setting": setting, **figures, "rows": rows}, claims)


if __name__ == "__main__":
    raise SystemExit(main())
