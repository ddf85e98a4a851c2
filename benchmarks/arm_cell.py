# SPDX-License-Identifier: Apache-2.0
"""The simulated arm: its cost, and whether fitting grasps hold. Grasps use neither the gate nor perception.

`python -m benchmarks.arm_cell --n 100` (`--robot ur5e`): in each random world the target is grasped from above at its
true position, with the first of eight headings for which the built-in planner finds a path, put on the middle of the
tray, and released. The judge reports the result. In addition, the resolver resolves the world's instruction on one
noisy frame with perfect detections. Nothing is left out.

MuJoCo also checks each executed motion 500 times a second as a path among the objects' bounding boxes
(`sim.arm.witness`). Allowed contacts are those of the hand with its target, and of the held object with the hand, the
table that it leaves and the tray that it reaches. With toppra (see `arm_timing`) its duration is compared with that of
time-optimal timing of the same path.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.arm_timing import time_optimal
from benchmarks.harness import Claim, finish, option, table, word
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import known_arm
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, Motion, MotionRequest, Segment
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell
from spatial_vlm_ros.sim.arm.following import Tolerances, TrajectoryOutcome
from spatial_vlm_ros.sim.arm.judge import State
from spatial_vlm_ros.sim.arm.machines import PANDA, SimulatedArm, simulated_arm
from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory
from spatial_vlm_ros.sim.arm.view import ArmView
from spatial_vlm_ros.sim.arm.witness import HELD, CollisionWitness
from spatial_vlm_ros.sim.arm.worlds import layout
from spatial_vlm_ros.sim.cameras import VGA

WORLDS = 200
TOUCHED = 1.0  # N
TOPPRA = importlib.util.find_spec("toppra") is not None
FIRST_SEED = 1000  # tests and development use smaller ones
TIME_LIMIT = 3.0
GRASP, ABOVE = 0.03, 0.12  # metres above its support at which the tip grasps the object, and from which it approaches
FORCE = 30.0  # N
HEADINGS = np.arange(8) * np.pi / 8

Floats = npt.NDArray[np.float64]


def down(place: Floats, height: float, yaw: float) -> Floats:
    """(4, 4) base_T_tip above a position, fingers down."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = [[c, s, 0], [s, -c, 0], [0, 0, -1]], (*place[:2], height)
    return pose


def boxes_of(cell: ArmCell) -> list[BoxObstacle]:
    """All objects at their true poses, with 5 mm of padding."""
    scenery, under = cell.layout.scenery, np.eye(4)
    under[:3, 3] = (*scenery.table_centre, -0.02)
    found = [BoxObstacle("table", under, np.array([*scenery.table_size, 0.04]), 0.005)]
    for obj in cell.layout.objects:
        low, high = obj.model.vertices.min(axis=0), obj.model.vertices.max(axis=0)
        pose = cell.pose(obj.id).matrix.copy()
        pose[:3, 3] += pose[:3, :3] @ ((low + high) / 2)
        found.append(BoxObstacle(obj.id, pose, high - low, 0.005))
    return found


class Run:
    """One world from start to end."""

    def __init__(self, planner: BuiltinPlanner, seed: int, arm: SimulatedArm = PANDA) -> None:
        self.planner, self.seed, self.cell = planner, seed, ArmCell(layout(str(seed)), arm)
        self.steps, self.seconds, self.worst = 0, 0.0, 0.0
        self.walls: list[float] = []
        self.processor: list[float] = []
        self.refused: Counter[str] = Counter()
        self.lasting: list[float] = []
        self.ratios: list[float] = []
        self.looked, self.deepest = 0, Counter[str]()

    def step(self) -> None:
        """Make one timed step."""
        begun = time.process_time()
        self.cell.step()
        self.seconds += time.process_time() - begun
        self.steps += 1

    def plan(self, *segments: Segment, boxes: list[BoxObstacle]) -> Motion:
        """Plan from the current state; time it and check the result."""
        start = self.cell.arm_joints().position
        request = MotionRequest(start, segments, boxes, seed=self.seed, time_limit=TIME_LIMIT)
        wall, processor = time.perf_counter(), time.process_time()
        try:
            motion = self.planner.plan(request)
        except SpatialVlmError as error:
            self.refused[error.status_name] += 1
            raise
        finally:
            self.walls.append(time.perf_counter() - wall)
            self.processor.append(time.process_time() - processor)
        self._look_at(motion, segments, boxes)
        self.lasting += [float(trajectory.times[-1]) for trajectory in motion.trajectories]
        if TOPPRA:
            robot = self.planner.robot
            for path, trajectory in zip(self.planner.paths(request), motion.trajectories, strict=True):
                best = time_optimal(path, robot.velocity, robot.acceleration)
                self.ratios += [float(trajectory.times[-1]) / best] if math.isfinite(best) else []
        return motion

    def _look_at(self, motion: Motion, segments: Sequence[Segment], boxes: list[BoxObstacle]) -> None:
        """Collisions that MuJoCo finds on a motion."""
        robot, known = self.planner.robot, known_arm(self.cell.arm.name)
        for segment, trajectory in zip(segments, motion.trajectories, strict=True):
            witness = CollisionWitness(known.urdf(), known.srdf(), boxes, segment.held, robot.tip_link)
            fingers = {finger.name: finger.at(segment.opening) for finger in robot.fingers}
            allowed = {frozenset((HELD, other)) for other in (*robot.wrist_links, *segment.held_touch)}
            allowed |= {frozenset((link, self.cell.layout.target)) for link in robot.hand_links}
            deepest, looked = witness.along(trajectory, fingers, allowed)
            self.looked += looked
            for pair, depth in deepest.items():
                self.deepest[" and ".join(sorted(pair))] += 1
                print(f"{self.seed}: {sorted(pair)} {1000 * depth:.2f} mm", file=sys.stderr)

    def follow(self, motion: Motion) -> None:
        """Follow all trajectories of a motion."""
        cell = self.cell
        for t in motion.trajectories:
            sent = JointTrajectory(t.times, t.positions, t.velocities, t.accelerations)
            cell.follower.begin(sent, cell.time, cell.arm_joints().position, Tolerances())
            ended: TrajectoryOutcome | None = None
            while ended is None:
                self.step()
                state = cell.arm_joints()
                off = np.abs(cell.follower.desired(cell.time).position - state.position).max()
                self.worst = max(self.worst, float(off))
                ended = cell.follower.ended(cell.time, state.position, state.velocity)
            if ended.code:
                raise RuntimeError(ended.words)

    def grip(self, position: float) -> None:
        """Close or open the gripper."""
        self.cell.hand.grip(position, FORCE)
        while self.cell.hand.ended(self.cell.data) is None:
            self.step()

    def take_and_put(self) -> State:
        """Put the target on the tray; returns its final state."""
        cell, target, tray = self.cell, self.cell.layout.target, self.cell.layout.tray
        boxes = boxes_of(cell)
        place, goal = cell.pose(target).translation, cell.pose(tray).translation
        itself = next(box for box in boxes if box.id == target)
        others = [box for box in boxes if box.id != target]
        motion, yaw = self._approach(place, target, boxes)
        self.follow(motion)
        self.grip(0.0)
        held = HeldBox(target, np.linalg.inv(down(place, GRASP, yaw)) @ itself.pose, itself.size)
        carried: dict[str, Any] = {"held": held, "opening": 0.05}
        on = GRASP + 0.009  # 4 mm above the tray's floor, which is 5 mm thick
        up = Segment(down(place, GRASP + ABOVE, yaw), straight=True, held_touch={"table"}, touch={"table"}, **carried)
        over = Segment(down(goal, on + ABOVE, yaw), **carried)
        lower = Segment(
            down(goal, on, yaw), straight=True, held_touch={"table", tray}, touch={"table", tray}, **carried
        )
        self.follow(self.plan(up, over, lower, boxes=others))
        self.grip(cell.arm.most_open)
        away = Segment(
            down(goal, on + ABOVE, yaw), straight=True, touch={"table", tray}, opening=self.planner.robot.widest
        )
        self.follow(self.plan(away, boxes=others))
        for _ in range(int(1.0 / STEP)):
            self.step()
        return cell.judge.verdict(cell.data).objects[target]

    def _approach(self, place: Floats, target: str, boxes: list[BoxObstacle]) -> tuple[Motion, float]:
        """The first heading that can be planned."""
        refused: SpatialVlmError | None = None
        widest = self.planner.robot.widest
        for yaw in HEADINGS:
            above = Segment(down(place, GRASP + ABOVE, yaw), opening=widest)
            to = Segment(down(place, GRASP, yaw), straight=True, touch={target, "table"}, opening=widest)
            try:
                return self.plan(above, to, boxes=boxes), float(yaw)
            except SpatialVlmError as error:
                refused = error
        raise refused or RuntimeError("no heading")


def gathered(runs: Sequence[Run], name: str) -> list[float]:
    """A list of numbers from all runs."""
    return [value for run in runs for value in getattr(run, name)]


def seen(cell: ArmCell) -> tuple[str, float]:
    """The resolver's status for a frame of the world, and processor seconds of the second rendering."""
    layout_, view = cell.layout, ArmView(cell, VGA)
    view.look(cell.data.qpos.copy(), layout_.base_T_camera)
    begun = time.process_time()
    frame, detections = view.look(cell.data.qpos.copy(), layout_.base_T_camera)
    drawn = time.process_time() - begun
    view.close()
    told = Resolver().resolve(frame, layout_.instruction, detections)
    if told.target is None:
        return told.status.name, drawn
    if told.target.id != layout_.target:
        return "wrong target", drawn
    return ("OK" if told.place is not None and told.place.anchor_id == layout_.tray else "wrong place"), drawn


def main() -> int:
    """Measure, print and write."""
    n, arm = int(option("n", WORLDS)), simulated_arm(word("robot", PANDA.name))
    planner = BuiltinPlanner(known_arm(arm.name).model())
    outcomes: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    worlds, steps, follows, neighbours, grips, drawings = [], [], [], [], [], []
    runs: list[Run] = []
    moved_others = touched_others = 0
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        begun = time.process_time()
        run = Run(planner, seed, arm)
        runs.append(run)
        worlds.append(time.process_time() - begun)
        target = run.cell.layout.target
        answer, drawn = seen(run.cell)
        answers[answer] += 1
        drawings.append(drawn)
        try:
            outcome = "delivered" if run.take_and_put().delivered else "not delivered"
        except SpatialVlmError as error:
            outcome = f"planner: {error.status_name}"
        except RuntimeError as error:
            outcome = "controller"
            print(f"{seed}: {error}", file=sys.stderr)
        outcomes[outcome] += 1
        verdict = run.cell.judge.verdict(run.cell.data)
        if outcome != "delivered":
            print(f"{seed}: {outcome}: {verdict.objects[target]} {verdict.forces}", file=sys.stderr)
        moved_others += len(set(verdict.moved) - {target}) > 0
        others = [
            force for name, force in verdict.forces.items() if name not in (target, "table", run.cell.layout.tray)
        ]
        neighbours.append(max(others, default=0.0))
        table_alone = verdict.forces.get("table", 0.0) > max(TOUCHED, verdict.by_held.get("table", 0.0))
        touched_others += neighbours[-1] > TOUCHED or table_alone
        grips.append(verdict.forces.get(target, 0.0))
        if run.steps:
            steps.append(1000 * run.seconds / run.steps)
            follows.append(1000 * run.worst)
    every = functools.partial(gathered, runs)
    refused = sum((run.refused for run in runs), Counter[str]())
    deepest = sum((run.deepest for run in runs), Counter[str]())
    series = {
        "planning one motion, wall s": every("walls"),
        "planning one motion, processor s": every("processor"),
        "one trajectory lasts, s": every("lasting"),
        "one trajectory / TOPP-RA": every("ratios"),
        "making a world, processor s": worlds,
        "one step of 2 ms, processor ms": steps,
        "drawing a frame, processor s": drawings,
        "off the path at most, mrad": follows,
        "on the target at most, N": grips,
        "on a neighbour at most, N": neighbours,
    }
    rows = [
        (name, *np.round(np.percentile(values, [50, 95, 100]), 3).tolist(), len(values))
        for name, values in series.items()
        if values
    ]
    title = f"{n} worlds: {dict(outcomes)}; resolver: {dict(answers)}; something else was moved in {moved_others}"
    table(title, ("", "p50", "p95", "most", "n"), rows)
    measured: dict[str, Any] = {
        "setting": {"robot": arm.name, "worlds": n, "first_seed": FIRST_SEED, "grip_n": FORCE},
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "outcomes": dict(outcomes),
        "resolver": dict(answers),
        "others_moved": moved_others,
        "worlds_with_another_contact_above_1_n": touched_others,
        "motions_refused": dict(refused),
        "checked_moments": sum(run.looked for run in runs),
        "collisions_that_mujoco_finds": dict(deepest),
        **{name: {"p50": a, "p95": b, "most": c, "n": k} for name, a, b, c, k in rows},
    }
    claims = [
        Claim(
            "executed paths with a collision that MuJoCo finds",
            sum(run.deepest.total() > 0 for run in runs),
            0,
            "worlds",
        ),
        Claim("worlds with another contact above 1 N", touched_others, n // 100, "worlds"),
    ]
    return finish("arm_cell" if arm is PANDA else f"arm_cell_{arm.name}", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
