# SPDX-License-Identifier: Apache-2.0
"""Tries the grasps of a goal one after another; each is a chain of motions, each from where the one before ends."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import (
    CancelledError,
    GoalError,
    InputError,
    PlannerUnavailableError,
    PlanningFailedError,
    SpatialVlmError,
    StaleInputError,
)
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planned_motion import fingers_at
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal, PlaceGoal, Placement, tallied
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, flange_pose, pose_matrix
from spatial_vlm_ros.manipulation.planning.moveit import CUMOTION_PIPELINE, FAILURE, NO_IK, OWN, meaning_of
from spatial_vlm_ros.manipulation.planning.place import carrier_at
from spatial_vlm_ros.manipulation.planning.planner import (
    CONTACTS,
    GENTLE,
    JOINED,
    MotionPlan,
    Phase,
    PlaceFor,
    PlanStep,
    Trajectory,
    plan_of,
)
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose, Status

if TYPE_CHECKING:
    from spatial_vlm_ros.nodes.arm.planner_kinematics import PlannerKinematics

Asked = Callable[[], bool]
_SAME_PLACE = 1e-4  # metres, and parts of an axis: poses are rounded to 1e-6
_TOLD = 3  # reasons that a message lists
_LONGEST = 160  # characters of a planner's reason
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_STANDS_WRONG = (-10, -11, -26)  # START_STATE_…: no other grasp helps
_NO_PLAN = -2  # INVALID_MOTION_PLAN
_FREE = (("", 1.0),)
_STRAIGHT = (*(("", slower) for slower in (1.0, 0.5, 0.25, 0.125)), ("PTP", 0.25))
"""Planner ("" = the configured one) and factor of both scalings of each try of a straight motion. Pilz LIN fails where
a joint would exceed its limit: moveit2, jazzy 4d841063, trajectory_functions.cpp:145-203, 264-274.
"""
_UNEXPLAINED = (FAILURE, -1)  # and PLANNING_FAILED


class Refused(Exception):
    """A planner refused one motion; `said` is its message, or ""."""

    def __init__(self, number: int, said: str, planner: str, phase: str = "", way: str = "") -> None:
        self.number, self.said, self.planner, self.phase, self.way = number, said, planner, phase, way
        super().__init__(said)

    @property
    def status(self) -> Status:
        """The status of this package for the number."""
        return meaning_of(self.number).status

    @property
    def alike(self) -> tuple[str, int, str]:
        """Key that is equal for refusals that differ only in grasp and numbers."""
        return self.phase, self.number, _NUMBER.sub("#", self.said)

    def words(self, ways: int) -> str:
        """Text for a person; `ways` is how many grasps were refused like this one."""
        meaning = meaning_of(self.number)
        reason = (self.said or meaning.sentence).partition("; ")[0]
        reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…"
        who = self.way if ways == 1 else f"{ways} ways"
        return f"{who}: {self.phase}: {reason} ({meaning.name or self.number})"

    def final(self) -> SpatialVlmError | None:
        """The error if no other grasp can help, otherwise None."""
        meaning = meaning_of(self.number)
        reason, _, repair = meaning.sentence.partition("; ")
        reason, repair = self.said or reason, repair or "check the log of the planner"
        if meaning.status is Status.PLANNER_UNAVAILABLE:
            return PlannerUnavailableError(self.planner, reason, repair, self.number)
        if meaning.status in (Status.INVALID_INPUT, Status.TF_UNAVAILABLE):
            return InputError(
                f"motion for {self.planner}", meaning.name, "a motion that the planner accepts", f"{reason}; {repair}"
            )
        if meaning.status is Status.STALE_INPUT:
            return StaleInputError(reason, repair)
        if self.phase == "reach" and self.number in _STANDS_WRONG:
            return PlanningFailedError(self.planner, reason, repair, self.number)
        return None


def hold_of(grasp: Grasp, scene: PlanningScene, placement: Placement) -> bool:
    """Whether a placement belongs to the object as held by this grasp."""
    box_T_tip = np.linalg.inv(box_pose(scene.target.solid)) @ pose_matrix(grasp.grasp)
    expected = pose_matrix(placement.obj) @ box_T_tip
    return bool(np.abs(expected - pose_matrix(placement.place)).max() < _SAME_PLACE)


def placements(place: PlaceGoal | PlaceFor | None, grasp: Grasp, scene: PlanningScene) -> PlaceGoal | None:
    """How to put down an object held by this grasp; None if there is nothing to put down."""
    if not isinstance(place, PlaceGoal):
        return None if place is None else place(grasp)
    if hold_of(grasp, scene, place.placements[0]):
        return place
    repair = "give placements for each grasp (planning.planner.PlaceFor)"
    raise GoalError("put it down", [("grasp", "the placements belong to another grasp")], repair)


class Strategies:
    """Plans one goal.

    Args:
        config: names, tolerances and times (`motion`), dimensions of the gripper (`gripper`).
        joints: joints of the planner's model; empty if it does not report them.
        limits: velocity and acceleration of its joints per second, radians or metres.
        kinematics: of a move_group; None = the planner itself tells quickly what it cannot reach.
    """

    def __init__(
        self, config: PlanningConfig, ask: Callable[[Any, Asked], Any], goal: PickGoal, scene: PlanningScene,
        matrix: Any, told: Asked, joints: frozenset[str] = frozenset(),
        limits: Mapping[str, tuple[float, float]] | None = None, kinematics: PlannerKinematics | None = None,
        carried: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        from spatial_vlm_ros.nodes.arm import motion_messages

        self._messages, self._motion_of, self._goal, self._scene, self._told = motion_messages, ask, goal, scene, told
        self._config, self._motion = config, config.motion
        self._joints, self._moved, self._kinematics, self._carried = joints, frozenset[str](), kinematics, carried
        fast, hard = self._motion.velocity_scaling, self._motion.acceleration_scaling
        self._limits = {name: (speed * fast, most * hard) for name, (speed, most) in (limits or {}).items()}
        self._refused: list[Refused] = []
        self._unplaced: list[GoalError] = []
        self._end = time.monotonic() + self._motion.most_time
        base = self._motion.base_link
        # A permission that somebody gave for a name that is now ours was not meant for the current object.
        ours = [body.id for body in (*scene.support, *scene.neighbours, *scene.keep_outs, scene.target)]
        ours += [space.id for space in scene.occupied]
        matrix = self._messages.without_allowed(matrix, {OWN + name for name in ours})
        self._matrix = self._messages.with_allowed(matrix, [(base, OWN + s.id) for s in scene.support] if base else [])

    def plan(self, place: PlaceGoal | PlaceFor | None, start: Mapping[str, float]) -> MotionPlan:
        """Plan the first grasp and placement that work from start to end."""
        ways = [[self._link(grasp.grasp), self._link(grasp.pre_grasp)] for grasp in self._goal.grasps]
        unreached = self._kinematics.unreached(ways, self._told) if self._kinematics and not self._goal.held else ()
        for number, grasp in enumerate(self._goal.grasps):
            if number in unreached:
                self._refused.append(Refused(NO_IK, "", self._motion.move_action, "reach", f"grasp {number}"))
                continue
            try:
                placing = placements(place, grasp, self._scene)
            except GoalError as error:
                self._unplaced.append(error)
                continue
            for _ in range(self._motion.attempts):
                if time.monotonic() > self._end:
                    raise self._failure(f"; the {self._motion.most_time:g} s for all grasps and placements have passed")
                name = f"grasp {number}"
                taken = self._tried(name, partial(self._take, grasp, start))
                if taken is None:
                    if self._refused[-1].phase == "reach" and self._refused[-1].status is Status.UNREACHABLE:
                        break
                    continue
                for choice, placement in enumerate((None,) if placing is None else placing.placements):
                    way = name if placement is None else f"{name}, placement {choice}"
                    ended = self._tried(way, partial(self._ended, grasp, placement, taken, start))
                    if ended is not None:
                        put = None if placing is None else choice
                        return plan_of(self._goal, self._scene, placing, [*taken, *ended], number, put)
        raise self._failure("")

    def _tried(self, name: str, chain: Callable[[], list[PlanStep]]) -> list[PlanStep] | None:
        """The steps of a chain, or None if one of its motions was refused."""
        try:
            return chain()
        except Refused as error:
            error.way = name
            final = error.final()
            if final is not None:
                raise final from error
            self._refused.append(error)
            return None

    def _take(self, grasp: Grasp, start: Mapping[str, float]) -> list[PlanStep]:
        """From the current state to above the object, down to it, and up with it; what is held is only lifted."""
        leaves, known = self._goal.leaves, set(start)
        closed = max(self._config.gripper.opening_min, grasp.width - self._motion.squeeze)
        close = PlanStep("close", width=closed, holds=grasp.width)
        if self._goal.held:
            if leaves is None:
                return []
            holding = {**fingers_at(grasp.width, self._config), **start}
            lift = self._ask("lift", leaves.end, holding, known, grasp)
            return [*([close] if leaves.opening > grasp.width else []), PlanStep("lift", lift)]
        first: list[PlanStep] = []
        if leaves is not None:
            away = self._ask("leave", leaves.end, {**fingers_at(leaves.opening, self._config), **start}, known)
            start, known = away.end, set(away.end)
            first = [PlanStep("open", width=leaves.opening), PlanStep("leave", away)]
        begin = {**fingers_at(grasp.opening, self._config), **start}
        reach = self._ask("reach", grasp.pre_grasp, begin, known)
        approach = self._ask("approach", grasp.grasp, {**begin, **reach.end}, known=set(reach.end))
        holding = {**fingers_at(grasp.width, self._config), **approach.end}
        lift = self._ask("lift", grasp.retreat, holding, known=set(approach.end), held=grasp)
        return [
            *first,
            PlanStep("open", width=grasp.opening),
            PlanStep("reach", reach),
            PlanStep("approach", approach),
            close,
            PlanStep("lift", lift),
        ]

    def _ended(
        self, grasp: Grasp, placement: Placement | None, taken: list[PlanStep], start: Mapping[str, float]
    ) -> list[PlanStep]:
        """From where the object is in the hand to its new place and away from it, or to the hand-over pose."""
        over = self._goal.hand_over if placement is None else placement.pre_place
        if over is None:
            return [PlanStep("release", width=grasp.needed)] if self._goal.falls else []
        last = taken[-1].trajectory if taken else None
        at = dict(start) if last is None else last.end
        fingers = fingers_at(grasp.width, self._config)
        carry = self._ask("carry", over, {**fingers, **at}, known=set(at), held=grasp)
        if placement is None:
            return [PlanStep("carry", carry)]
        lower = self._ask(
            "lower", placement.place, {**fingers, **carry.end}, known=set(carry.end), held=grasp, onto=placement
        )
        opened = {**fingers_at(placement.opening, self._config), **lower.end}
        withdraw = self._ask("withdraw", placement.retreat, opened, known=set(lower.end), moved=placement,
                             onto=placement)  # fmt: skip
        return [
            PlanStep("carry", carry),
            PlanStep("lower", lower),
            PlanStep("release", width=placement.opening),
            PlanStep("withdraw", withdraw),
        ]

    def _ask(
        self,
        phase: Phase,
        tip: Pose,
        joints: Mapping[str, float],
        known: set[str],
        held: Grasp | None = None,
        moved: Placement | None = None,
        onto: Placement | None = None,
    ) -> Trajectory:
        """Request one motion; `known` are joints at which the trajectory has to begin exactly."""
        if self._told():
            raise CancelledError("planning was cancelled")
        straight = phase not in ("reach", "carry")
        difference = self._difference(phase, held, moved, onto)
        name, repair = self._motion.move_action, "check its log and motion.group"
        first: Refused | None = None
        trajectory: Trajectory | None = None
        for planner, slower in _STRAIGHT if straight else _FREE:
            request = self._messages.motion_goal(self._motion, self._link(tip), straight, joints, difference, slower)
            request.request.planner_id = planner or request.request.planner_id
            if request.request.pipeline_id == CUMOTION_PIPELINE:
                at = joints if known else {}
                request.request.start_state = self._messages.cumotion_start(at, difference, self._carried)
            try:
                message = self._motion_of(request, self._told)
                if not message.joint_trajectory.points:
                    raise Refused(_NO_PLAN, "it reports SUCCESS, but its trajectory is empty", name)
                trajectory = self._messages.trajectory_of(message).within(self._limits)
                trajectory = trajectory.slowed(GENTLE) if phase in CONTACTS else trajectory
            except Refused as error:
                error.phase = phase
                first = first or error
                if first.said or first.number not in _UNEXPLAINED:
                    break
            except InputError as error:
                reason = f"its trajectory of phase {phase!r} is not valid: {error}"
                raise PlanningFailedError(name, reason, repair) from error
            near, asks = self._config.goal.jaw_clearance, self._kinematics
            if trajectory and (not planner or (asks and asks.is_straight(trajectory, near, self._told))):
                break
            trajectory = None
        if trajectory is None:
            raise first or Refused(FAILURE, "", name)

        # It moves only the arm: the same known joints in all phases, and no finger.
        names = frozenset(trajectory.joint_names)
        self._moved = self._moved or names
        strange = names & set(self._motion.finger_joints.split()) or (names - self._joints if self._joints else set())
        strange = strange or names ^ self._moved or set(message.multi_dof_joint_trajectory.joint_names)
        if strange:
            reason = (
                f"its trajectory of phase {phase!r} moves joints that do not belong to the arm: "
                f"{', '.join(sorted(strange))}"
            )
            raise PlanningFailedError(name, reason, "compare motion.group with the SRDF of the planner")
        apart = [abs(trajectory.start[joint] - joints[joint]) for joint in known if joint in trajectory.start]
        if known and max(apart, default=np.inf) > JOINED:
            reason = f"its trajectory of phase {phase!r} does not start at the end of the previous one"
            raise PlanningFailedError(name, reason, repair)
        return trajectory

    def _difference(self, phase: Phase, held: Grasp | None, moved: Placement | None, onto: Placement | None) -> Any:
        """Change of the planner's scene for this motion: contacts, the held object, the placed object."""
        target, messages = self._scene.target, self._messages
        allowed = [(contact.one, contact.other) for contact in self._scene.allowed
                   if contact.phase == CONTACTS.get(phase)]  # fmt: skip
        fingers = self._motion.finger_links.split()
        pairs = [(link, OWN + other) for one, other in allowed for link in (fingers if one in FINGERS else [OWN + one])]
        attached, objects = [], []
        if held is not None:
            link_T_box = np.linalg.inv(pose_matrix(self._link(held.grasp))) @ box_pose(target.solid)
            link = self._motion.tip_link
            attached = [messages.attached_box(OWN + target.id, link, link_T_box, target.solid.size, fingers)]
        carrier = None if onto is None else carrier_at(self._scene, onto)
        if carrier is not None:
            box = carrier.padded
            objects = [messages.box_object(OWN + carrier.id, self._scene.frame_id, box_pose(box), box.size)]
        if moved is not None:
            where = pose_matrix(moved.obj)
            objects = [*objects, messages.box_object(OWN + target.id, self._scene.frame_id, where, target.solid.size)]
        return messages.scene_diff(objects, attached, messages.with_allowed(self._matrix, pairs))

    def _link(self, tip: Pose) -> Pose:
        """Pose of the planner's link for a pose of the tip frame."""
        return flange_pose(self._config.gripper, tip) if self._motion.at_flange else tip

    def _failure(self, more: str) -> SpatialVlmError:
        if not self._refused:
            if self._unplaced:
                return self._unplaced[0]
            raise PlanningFailedError(self._motion.move_action, f"no grasp was tried{more}", "raise motion.most_time")
        kinds: dict[tuple[str, int, str], dict[str, Refused]] = {}  # of each kind the first refusal of each way
        for error in self._refused:
            kinds.setdefault(error.alike, {}).setdefault(error.way, error)
        order = sorted(kinds.values(), key=len, reverse=True)
        reasons = [next(iter(ways.values())).words(len(ways)) for ways in order[:_TOLD]]
        reasons += [f"{len(order) - _TOLD} more reasons"] if len(order) > _TOLD else []
        unfree = tallied(self._goal.rejected)
        if all(error.status is Status.UNREACHABLE for error in self._refused):
            what = f"take the {self._scene.target.label} ({self._scene.target.id})"
            return GoalError(
                what, [*(("unreachable", words) for words in reasons), *unfree], "move the object closer to the arm"
            )
        name, number = self._refused[-1].planner, Counter(e.number for e in self._refused).most_common(1)[0][0]
        repair = (
            "clear the space around the object, or send the instruction again, because a new search may find a path"
        )
        if number == FAILURE:
            repair += f"; {meaning_of(number).sentence.partition('; ')[2]}"
        if unfree:
            more += f"; not planned: {'; '.join(words for _, words in unfree)}"
        if self._carried:
            others = ", ".join(repr(each.object.id[:50]) for each in self._carried)
            more += f"; the robot carries what another program has attached: {others}"
        return PlanningFailedError(name, "; ".join(reasons) + more, repair, number)
