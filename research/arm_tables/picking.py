# SPDX-License-Identifier: Apache-2.0
"""One table from the sentence to the tray, through the package as the nodes use it, without ROS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull

from benchmarks.collision_witness import HELD, CollisionWitness, ConvexBody
from benchmarks.recheck_cell import Planned, execute, look, matrix, planned_from, recheck
from research.arm_tables.catalogue import Catalogue
from research.arm_tables.feasible import feasible
from research.arm_tables.layouts import TARGET, TWIN, OthersTable
from research.arm_tables.pieces import corners_of
from research.rendered.meshes import Floats
from spatial_vlm_ros.errors import GoalError, SpatialVlmError
from spatial_vlm_ros.manipulation.arm_kinematics import kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import known_arm
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import (
    BoxObstacle,
    Motion,
    MotionRequest,
    PlannedTrajectory,
)
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.pick_sequence import ObservedAnswer, Offer, Words
from spatial_vlm_ros.manipulation.plan_check import check_plan_clear
from spatial_vlm_ros.manipulation.planning.goal import Placement
from spatial_vlm_ros.manipulation.planning.motion import check_way_seen
from spatial_vlm_ros.manipulation.planning.planner import HOLDING
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.parameters.manipulation import planning_from
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.machines import SimulatedArm
from spatial_vlm_ros.sim.arm.worlds import TRAY
from spatial_vlm_ros.types import Detection

TOUCHED = 1.0  # N
TABLE = "table"
Row = dict[str, Any]


class ClockedPlanner(BuiltinPlanner):
    """The built-in planner, which notes how long each request took.

    Attributes:
        walls: wall seconds of each request.
    """

    def __init__(self, arm: SimulatedArm) -> None:
        super().__init__(known_arm(arm.name).model())
        self.walls: list[float] = []

    def plan(self, request: MotionRequest, cancelled: Callable[[], bool] = lambda: False) -> Motion:
        """As the planner's."""
        begun = time.perf_counter()
        try:
            return super().plan(request, cancelled)
        finally:
            self.walls.append(time.perf_counter() - begun)


@dataclass(frozen=True)
class _Stage:
    """A part of the way that refused: answer, seen, goal, plan, plan check or recheck."""

    name: str
    error: SpatialVlmError


def planning_for(arm: SimulatedArm, drop: float | None = None) -> PlanningConfig:
    """What the gate plans with for this arm; `drop` replaces `goal.drop`, metres."""
    nested: dict[str, dict[str, Any]] = {}
    for name, value in arm.gate.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = value
    if drop is not None:
        nested.setdefault("goal", {})["drop"] = drop
    return planning_from(nested)


class Pick:
    """A table, an arm, and what became of the sentence; `seed` is of noise and plans, `drop` as in `planning_for`."""

    def __init__(
        self, table: OthersTable, arm: SimulatedArm, seed: int, catalogue: Catalogue, drop: float | None = None
    ) -> None:
        self.table, self.arm, self.seed, self.catalogue = table, arm, seed, catalogue
        self.cell, self.config = ArmCell(table.layout, arm), planning_for(arm, drop)
        self.planner = ClockedPlanner(arm)
        self.made: Planned | None = None

    def run(self) -> Row:
        """From the sentence to the end."""
        table = self.table
        row: Row = {
            "seed": self.seed,
            "instruction": table.layout.instruction,
            "objects": dict(table.names),
            "relation": table.relation,
            "twin": bool(table.twin),
            "unnamed": len(table.unnamed),
            "feasible": dict(feasible(table, self.cell, self.catalogue, self.config.gripper)),
        }
        self._begun = {obj.id: self.cell.pose(obj.id).matrix.copy() for obj in table.layout.objects}
        refused = self._understand(row) or self._rehearse()
        row["planning_s"] = [round(wall, 4) for wall in self.planner.walls]
        if refused is not None:
            status = refused.error.status_name
            return row | {
                "ended": "refused",
                "stage": refused.name,
                "status": status,
                "reason": str(refused.error)[:500],
            }
        duration = {"duration_s": round(self._planned.plan.duration, 3)}
        return row | self._looked_at() | duration | self._carried_out()

    def _understand(self, row: Row) -> _Stage | None:
        """One image, an answer, a plan; the stage that refused, or None."""
        stage = "answer"
        try:
            resolution, seen = look(self.cell, 1_000_000_000, self.seed, self._named)
            row["chosen"] = resolution.target.id if resolution.target is not None else None
            row["hidden"] = [] if seen is None or seen.occupancy is None else self._hidden(seen.occupancy)
            if seen is None or resolution.place is None:
                row["answered"] = resolution.status.name
                what = resolution.message or "no place"
                return _Stage(stage, GoalError("answer", [(resolution.status.name, what)], "say it otherwise"))
            self._resolution = resolution
            stage = "goal"
            self.made = planned_from(self.planner, self.cell, resolution, seen, self.seed, self.config)
            grasp = self.made.goal.grasps[self.made.plan.grasp]
            row["way"], row["width_m"] = grasp.way, round(grasp.width, 4)
            row["release_m"] = round(self._put_down.release, 3)
            stage = "seen"
            check_way_seen(seen, self.config.observation)
        except GoalError as error:
            return _Stage(stage, error)
        except SpatialVlmError as error:
            return _Stage("plan" if stage == "goal" else stage, error)
        return None

    def _hidden(self, occupancy: Occupancy) -> list[tuple[float, int, int]]:
        """For each probability that hidden space is occupied: its voxels, and those inside of what has no name."""
        planes = [
            ConvexHull(corners @ body.pose[:3, :3].T + body.pose[:3, 3]).equations
            for body in (self._body(id_, self._begun[id_]) for id_ in self.table.unnamed)
            for corners in body.pieces
        ]
        found = []
        for space in occupancy.hidden:
            centres = space.voxels.centres()
            inside = [(centres @ plane[:, :3].T + plane[:, 3] <= 0).all(axis=1) for plane in planes]
            found.append((space.chance, len(centres), int(np.any(inside, axis=0).sum())))
        return found

    def _rehearse(self) -> _Stage | None:
        """The checks before approval and before motion; the stage that refused, or None."""
        stage = "plan check"
        try:
            check_plan_clear(self._offer(), self.config, self._kinematics())
            stage = "recheck"
            recheck(self.cell, self._planned, self.seed + 1, self.config, self._named)
        except SpatialVlmError as error:
            return _Stage(stage, error)
        return None

    def _offer(self) -> Offer:
        made = self._planned
        seen = ObservedAnswer(self._resolution, made.seen)
        return Offer(Words(self.table.layout.instruction), seen, made.scene, made.goal, made.plan)

    def _kinematics(self) -> Any:
        motion, known = self.config.motion, known_arm(self.arm.name)
        return kinematics_of(str(known.urdf()), motion.planning_frame, motion.tip_link, known.joints)

    def _named(self, detection: Detection) -> bool:
        return detection.label in self.table.named

    @property
    def _planned(self) -> Planned:
        assert self.made is not None
        return self.made

    def _looked_at(self) -> Row:
        """What MuJoCo finds to run into what on the plan, among the true shapes."""
        made, robot = self._planned, self.planner.robot
        grasp = made.goal.grasps[made.plan.grasp]
        target = made.plan.target_id
        tip_T_target = np.linalg.inv(matrix(grasp.grasp)) @ self._begun[target]
        standing = {obj.id: self._body(obj.id, self._begun[obj.id]) for obj in self.table.layout.objects}
        others = [body for id_, body in standing.items() if id_ != target]
        hand, placement = frozenset(robot.hand_links), self._put_down.place
        witnesses: dict[str, CollisionWitness] = {}
        deepest: dict[str, float] = {}
        moments, opening = 0, 0.0
        for step in made.plan.steps:
            if step.trajectory is None:
                opening = float(step.holds or step.width or 0.0)
                continue
            holding = step.phase in HOLDING
            if holding:
                held, bodies = self._body(target, tip_T_target), others
                allowed = {frozenset((HELD, link)) for link in (*robot.wrist_links, *hand)}
                allowed |= {frozenset((HELD, TABLE))} if step.phase == "lift" else set()
                allowed |= {frozenset((HELD, TRAY)), frozenset((HELD, TABLE))} if step.phase == "lower" else set()
            else:
                put = step.phase == "withdraw"
                at = matrix(placement) @ tip_T_target if put else self._begun[target]
                held, bodies = None, [*others, self._body(target, at)]
                allowed = {frozenset((link, target)) for link in hand} if step.phase != "reach" else set()
            kind = "held" if holding else step.phase if step.phase == "withdraw" else "before"
            if kind not in witnesses:
                known = known_arm(self.arm.name)
                witnesses[kind] = CollisionWitness(
                    known.urdf(), known.srdf(), [self._table(), *bodies], held, robot.tip_link
                )
            fingers = {finger.name: finger.at(min(opening, robot.widest)) for finger in robot.fingers}
            t = step.trajectory
            path = PlannedTrajectory(
                t.joint_names, *(np.array(v) for v in (t.times, t.positions, t.velocities, t.accelerations))
            )
            found, looked = witnesses[kind].along(path, fingers, allowed)
            moments += looked
            for pair, depth in found.items():
                name = f"{step.phase}: {' and '.join(sorted(pair))}"
                deepest[name] = round(1000 * max(deepest.get(name, 0.0), depth), 2)
        return {"moments": moments, "collisions_mm": deepest}

    @property
    def _put_down(self) -> Placement:
        put_down = self._planned.plan.put_down
        assert put_down is not None
        return put_down

    def _body(self, id_: str, pose: Floats) -> ConvexBody:
        """The true shape of an object."""
        if id_ in self.table.names:
            return ConvexBody(id_, pose, tuple(self.catalogue.pieces(self.table.names[id_])))
        model = next(obj.model for obj in self.table.layout.objects if obj.id == id_)
        return ConvexBody(id_, pose, tuple(corners_of(solid) for solid in model.solids))

    def _table(self) -> BoxObstacle:
        scenery, under = self.table.layout.scenery, np.eye(4)
        under[:3, 3] = (*scenery.table_centre, -0.02)
        return BoxObstacle(TABLE, under, np.array([*scenery.table_size, 0.04]), 0.0)

    def _carried_out(self) -> Row:
        """What physics says of the plan."""
        done = execute(self.cell, self._planned.plan, self.config, judged=True)
        verdict, target = self.cell.judge.verdict(self.cell.data), self._planned.plan.target_id
        moved = sorted(set(verdict.moved) - {TARGET, TRAY})
        wrong = sorted(id_ for id_, state in verdict.objects.items() if state.delivered and id_ != TARGET)
        delivered = done.delivered and not done.failure
        turned = self.cell.pose(target).matrix[:3, 2] @ self._begun[target][:3, 2]
        return {
            "ended": "delivered" if delivered else "not delivered",
            "stage": "" if delivered else done.failure.partition(":")[0] or "release",
            "status": "" if delivered else "EXECUTION_FAILED" if done.failure else "NOT_ON_TRAY",
            "reason": done.failure,
            "pressed_n": round(done.pressed, 2),
            "others_n": round(done.others, 2),
            "on": done.on,
            "moved": moved,
            "wrong_delivered": wrong,
            "twin_touched": TWIN in verdict.objects and verdict.objects[TWIN].touched,
            "tilt_deg": round(math.degrees(math.acos(max(-1.0, min(1.0, float(turned))))), 1),
        }


def possible(row: Mapping[str, Any]) -> bool:
    """Whether a row's task is feasible."""
    return all(row["feasible"].values())
