# SPDX-License-Identifier: Apache-2.0
"""Runs one instruction from words to motion: look, build the goal, plan, ask a person, recheck, move.

No ROS. Perception, planner, controllers and approval are passed in; this module adds the order, and makes sure that
nothing moves unless every step before has succeeded.
"""

from __future__ import annotations

import enum
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

from spatial_vlm_ros.errors import (
    ApprovalExpiredError,
    CancelledError,
    DepthError,
    ModelError,
    NotExecutableError,
    NothingHeldError,
    SceneChangedError,
    SpatialVlmError,
    TransformUnavailableError,
    without_repair,
)
from spatial_vlm_ros.manipulation.grasping.proposals import GraspServer, ProposedGrasp, checked, question_of
from spatial_vlm_ros.manipulation.held import HeldObject, check_fits, hand_over_pose, held_goal
from spatial_vlm_ros.manipulation.planning.goal import EmptyGrasp, PickGoal, Side
from spatial_vlm_ros.manipulation.planning.leaving import leaving
from spatial_vlm_ros.manipulation.planning.motion import check_fresh, check_tilt, check_way_seen
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, Planner, plan_bytes, plan_hash
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.manipulation.recheck import TRANSIENT, arm_known, check_plan_holds, check_same
from spatial_vlm_ros.manipulation.sequence import ALONE, MovedObject, after_steps, moved_by, settled
from spatial_vlm_ros.parameters import PlanningConfig, words_in
from spatial_vlm_ros.parameters.bounds import ARM_ACTS
from spatial_vlm_ros.spatial.support_check import check_carried_out
from spatial_vlm_ros.types import CHOSEN_BY_MODEL, Resolution, Status
from spatial_vlm_ros.types.held import HELD_ID
from spatial_vlm_ros.types.query import Act

PAUSE = 0.2  # s between rechecks without an image
LATER = 10.0  # s in which a later step must get a usable image
CONFIRMING = 2  # images in which a plan must hold after an image in which it did not
UNSEEN = (
    "the resolver's grounder detects only objects that the instruction names, so only depth shows other objects. "
    "Publish detections of all objects instead of using a grounder, or set accept_unseen_obstacles:=true of "
    "planner_gate if nothing else can be in the way"
)

QUESTION = "Nothing moves: this is a question. Send questions to the resolver, and commands to this node"


class PickStage(enum.IntEnum):
    """Stage of a request; numbers as in PickInstruction.action."""

    RESOLVING = 1
    BUILDING_GOAL = 2
    PLANNING = 3
    WAITING_FOR_APPROVAL = 4
    LOOKING_AGAIN = 5
    MOVING = 6


@dataclass(frozen=True)
class Words:
    """The words of a request.

    Args:
        frame_of_reference: used if the words state none; "" = the configured one.
        dialogue_id: id of the question that they answer, or "".
    """

    instruction: str
    frame_of_reference: str = ""
    dialogue_id: str = ""


@dataclass(frozen=True)
class ObservedAnswer:
    """An answer and the surroundings of its target.

    Args:
        surroundings: None for a refusal, or without a base frame.
    """

    resolution: Resolution
    surroundings: Surroundings | None


@dataclass(frozen=True)
class Offer:
    """A planned request for a person to approve.

    Args:
        further: the steps after this one, in order.
    """

    words: Words
    seen: ObservedAnswer
    scene: PlanningScene
    goal: PickGoal
    plan: MotionPlan
    moved: tuple[MovedObject, ...] = ()
    further: tuple[Offer, ...] = ()

    @property
    def parts(self) -> tuple[Offer, ...]:
        """All steps, in order; the first is this one."""
        return (replace(self, further=()), *self.further)

    @cached_property
    def data(self) -> bytes:
        """Canonical bytes of the plan of all steps: of one, its `plan_bytes`."""
        each = [plan_bytes(p.goal, p.scene, p.plan.place, p.plan.steps, p.plan.grasp, p.plan.placement)
                for p in (self, *self.further)]  # fmt: skip
        if not self.further:
            return each[0]
        parts = [json.loads(one) for one in each]
        steps = [step for part in parts for step in part["steps"]]
        return json.dumps({"parts": parts, "steps": steps}, sort_keys=True, separators=(",", ":")).encode("ascii")

    @property
    def hash(self) -> str:
        """SHA-256 of `data`: what is approved."""
        return plan_hash(self.data)


class _StepRefused(Exception):
    """The answer about a later step is a refusal."""

    def __init__(self, seen: ObservedAnswer, words: str) -> None:
        self.seen = seen
        super().__init__(words)


class Mover(Planner, Protocol):
    """Plans motions, and executes exactly those."""

    def execute(
        self, plan: MotionPlan, cancelled: Callable[[], bool] = lambda: False,
        begins: Callable[[], None] = lambda: None, approved: str = "",
    ) -> None:  # fmt: skip
        """Execute a plan; when this returns or raises, nothing moves any more.

        Args:
            approved: hash of the request that it is the next step of; "" = the plan alone.
            cancelled: returns whether to stop; called often.
            begins: called directly before anything moves; if it raises, nothing moves.

        Raises:
            ExecutionFailedError: the plan was not executed to its end.
        """
        ...

    def clear(self) -> None:
        """Remove from the planner's scene what was added to it."""
        ...


@dataclass(frozen=True)
class PickActors:
    """Functions and objects that do the steps of a request.

    Args:
        still: raises SceneChangedError if the camera's pose jumped or the base moved since the first look, and
            TransformUnavailableError if this is not known up to a stamp (nanoseconds).
        now_ns: returns the time on the clock of the stamps, nanoseconds.
        approval_left: returns the remaining seconds of the approval.
        pause: waits for some seconds, or less if the request is withdrawn.
        propose: asks a server of learned grasps; None if `grasp.source` is "own". Raises ModelError.
        held: returns what the hand holds; None = nothing.
        hand: returns base_T_tip, (4, 4), and the distance of the fingers if it is known, metres; None = not known.
        moved: told after an execution, however it ended.
        empty: grasps that closed on nothing since the last one that held.
    """

    look: Callable[[Words, Callable[[], bool]], ObservedAnswer]
    mover: Mover
    approve: Callable[[Offer, Callable[[], bool]], None]
    still: Callable[[int], None]
    now_ns: Callable[[], int]
    say: Callable[[PickStage, str], None]
    approval_left: Callable[[], float] = lambda: 0.0
    pause: Callable[[float], object] = lambda _: None
    propose: GraspServer | None = None
    show: Callable[[Offer], None] = lambda _: None
    held: Callable[[], HeldObject | None] = lambda: None
    hand: Callable[[], tuple[Array, float | None] | None] = lambda: None
    moved: Callable[[Offer], None] = lambda _: None
    empty: list[EmptyGrasp] = field(default_factory=list)


@dataclass(frozen=True)
class Ending:
    """How a request ended.

    Args:
        plan: of the first step.
        plan_hash: of all steps, or "".
    """

    status: Status
    message: str
    resolution: Resolution | None
    plan: MotionPlan | None
    moved: bool
    stage: PickStage
    done: int = 0
    plan_hash: str = ""


class PickSequence:
    """Runs one request. Call `run` only once.

    Args:
        accept_unseen: whether a plan is executed although the resolver looked only for objects that the words name.
        acts: what the arm carries out, of `types.query.Act`; anything else ends NOT_EXECUTABLE before planning.
    """

    def __init__(
        self,
        words: Words,
        plan_only: bool,
        config: PlanningConfig,
        actors: PickActors,
        cancelled: Callable[[], bool],
        accept_unseen: bool = False,
        acts: Sequence[str] = words_in(ARM_ACTS),
    ) -> None:
        self.words, self.plan_only, self.accept_unseen, self._acts = words, plan_only, accept_unseen, tuple(acts)
        self._config, self._actors, self._cancelled = config, actors, cancelled
        self._stage = PickStage.RESOLVING
        self._seen: ObservedAnswer | None = None
        self._offer: Offer | None = None
        self._moved = False
        self._done = 0
        self._asked = False  # whether the planner has been asked

    def run(self) -> Ending:
        """Run the request to its end; every outcome, including errors, is in the returned Ending."""
        try:
            message = self._run()
            status = Status.OK if self._seen is None else self._seen.resolution.status
            return self._ending(status, message)
        except SpatialVlmError as error:
            return self._ending(Status[error.status_name], f"{error}{self._how_far()}")

    def _ending(self, status: Status, message: str) -> Ending:
        resolution = self._seen.resolution if self._seen is not None else None
        plan, hashed = (None, "") if self._offer is None else (self._offer.plan, self._offer.hash)
        return Ending(status, message, resolution, plan, self._moved, self._stage, self._done, hashed)

    def _how_far(self) -> str:
        """Which steps are done, of several that were begun."""
        if self._offer is None or not self._offer.further or not self._moved:
            return ""
        parts = [_told(part) for part in self._offer.parts]
        done, left = "; ".join(parts[: self._done]) or "none", "; ".join(parts[self._done :])
        return f" Steps done: {done}. Not done: {left}."

    def _run(self) -> str:
        held = self._actors.held()
        if self.plan_only and held is not None and not held.measured:  # nothing opens the hand
            held = None
        self._seen = seen = self._look(PickStage.RESOLVING, "looking for the object")
        resolution = seen.resolution
        if resolution.status is Status.ANSWERED:
            return f"{resolution.message} {QUESTION}." if resolution.answer is not None else resolution.message
        if held is None and resolution.query is not None and resolution.query.act == "release":
            check_fits("release", self.words.instruction, None, speaks=False, falls=False)
        if resolution.status is not Status.OK:
            return resolution.message
        acts = ("take",) if resolution.query is None else check_carried_out(resolution.query, self._acts)
        try:
            try:
                self._offer = offer = self._planned(acts, seen, held)
            except _StepRefused as refused:
                self._seen = refused.seen
                return str(refused)
            if self.plan_only:
                self._actors.show(offer)
                return f"Planned: {told(offer)}. Nothing moves: plan_only is set."
            if not (self.accept_unseen or all(self._surroundings(part.seen).all_objects for part in offer.parts)):
                self._actors.show(offer)
                return f"Planned: {told(offer)}. Nothing moves: {UNSEEN}."
            for part in offer.parts:
                check_way_seen(self._surroundings(part.seen), self._config.observation)
            self._begin(PickStage.WAITING_FOR_APPROVAL, f"waiting for approval: {told(offer)}")
            self._actors.approve(offer, self._cancelled)
            for part in offer.parts:
                self._carry_out(part, offer)
            return f"Done: {done(offer)}."
        finally:
            if self._asked:
                self._actors.mover.clear()

    def _carry_out(self, part: Offer, offer: Offer) -> None:
        """Recheck and execute one step of what was approved as a whole."""
        moved, self._moved = self._moved, False
        try:
            seen_ns = self._look_again(part, first=not self._done)
            self._begin(PickStage.MOVING, _told(part))
            self._actors.mover.execute(part.plan, self._cancelled, partial(self._begins, seen_ns), offer.hash)
            self._actors.empty.clear()
        except NothingHeldError:
            target, grasp = part.scene.target, part.goal.grasps[part.plan.grasp]
            self._actors.empty.append(EmptyGrasp(target.label, target.solid.centre, grasp))
            raise
        finally:
            if self._moved:
                self._actors.moved(part)
            self._moved = self._moved or moved
        self._done += 1

    def _planned(self, acts: Sequence[Act], first: ObservedAnswer, held: HeldObject | None) -> Offer:
        """Plan all steps, each from the state in which the step before leaves arm, hand and objects."""
        request = first.resolution.request
        parts: list[Offer] = []
        start: dict[str, float] | None = None
        moved: tuple[MovedObject, ...] = ()
        for number, act in enumerate(acts):
            seen, words = first, self.words
            said = words.instruction if request is None else request.steps[number].words
            if number:
                words = Words(said, words.frame_of_reference)
                seen = self._look(PickStage.RESOLVING, f"looking for the object of step {number + 1}", words)
                if seen.resolution.status is not Status.OK:
                    raise _StepRefused(seen, f"Step {number + 1} ({said}): {seen.resolution.message}")
            if parts and parts[-1].goal.falls:
                raise NotExecutableError(act, said, "where what is let go comes to lie is not known before", ALONE)
            around = self._surroundings(seen)
            near = self._config.observation.neighbour_moved
            around = after_steps(act, said, around, seen.resolution, moved, near)
            part = self._part(act, said, words, replace(seen, surroundings=around), held, start)
            parts.append(replace(part, moved=moved))
            moved += moved_by(around, part.plan)
            ends_held = part.plan.put_down is None and not part.goal.falls
            target, grasp = part.scene.target, part.goal.grasps[part.plan.grasp]
            held = HeldObject(target.label, target.solid, grasp) if ends_held else None
            start = part.plan.trajectories[-1].end if part.plan.trajectories else start
        return replace(parts[0], further=tuple(parts[1:]))

    def _part(
        self, act: Act, said: str, words: Words, seen: ObservedAnswer, held: HeldObject | None,
        start: dict[str, float] | None,
    ) -> Offer:  # fmt: skip
        resolution, surroundings = seen.resolution, self._surroundings(seen)
        speaks = resolution.target is not None and resolution.target.id == HELD_ID
        falls = speaks and act == "release" and resolution.place is None
        check_fits(act, said, held, speaks, falls)
        over = hand_over_pose(self._config) if act == "give" else None
        if act == "give" and over is None:
            reason, repair = "this arm has no pose for handing over", "set motion.hand_over"
            raise NotExecutableError(act, said, reason, repair)
        self._begin(PickStage.BUILDING_GOAL, "building the goal")
        check_fresh(surroundings.stamp_ns, self._actors.now_ns(), self._config.observation)
        check_tilt(surroundings, self._config.observation)
        self._actors.still(surroundings.stamp_ns)
        scene = planning_scene(surroundings, self._config)
        if speaks and held is not None:
            scene, goal = held_goal(scene, held, act, falls, over)
        else:
            goal, target = pick_goal(scene, self._config, self._proposed(scene)), scene.target
            near = self._config.observation.target_moved
            empty = [
                each
                for each in self._actors.empty
                if each.label == target.label and math.dist(each.centre, target.solid.centre) <= near
            ]
            others = tuple(grasp for grasp in goal.grasps if not any(each.is_side_of(grasp) for each in empty))
            goal = replace(goal, grasps=others or goal.grasps, act=act, hand_over=over)
        stands = self._actors.hand() if start is None and not falls else None
        if stands is not None:
            width = None if goal.held and held is not None and held.gripped else stands[1]
            scene, goal = leaving(scene, goal, stands[0], width, self._config)
        self._begin(PickStage.PLANNING, f"planning a motion for the {scene.target.label}")
        place = partial(place_goal, scene, resolution, config=self._config) if resolution.place else None
        self._asked = True
        plan = self._actors.mover.plan(goal, scene, place, start, cancelled=self._cancelled)
        return Offer(words, seen, scene, goal, plan)

    def _proposed(self, scene: PlanningScene) -> tuple[ProposedGrasp, ...] | None:
        """Grasps of a server; None if no server is used, or `grasp.source` is "both" and the server fails."""
        server, grasp = self._actors.propose, self._config.grasp
        if server is None or grasp.source == "own":
            return None
        question = question_of(scene, self._config)
        if question is None:
            if grasp.source == "both":
                return None
            reason = f"too little of the {scene.target.label}'s surface was measured to request grasps"
            raise DepthError(reason, "move the camera, or set grasp.source to own")
        try:
            return checked(server(question, self._cancelled), question, grasp.service)
        except ModelError as error:
            if grasp.source == "service":
                raise
            self._begin(PickStage.BUILDING_GOAL, f"no grasps from the server: {error}. Using this package's own grasps")
            return None

    def _begins(self, seen_ns: int) -> None:
        self._actors.still(seen_ns)
        self._moved = True

    def _begin(self, stage: PickStage, words: str) -> None:
        if self._cancelled():
            raise CancelledError("the goal was cancelled")
        self._stage = stage
        self._actors.say(stage, words)

    def _look(self, stage: PickStage, words: str, asked: Words | None = None) -> ObservedAnswer:
        self._begin(stage, words)
        return self._actors.look(asked or self.words, self._cancelled)

    @staticmethod
    def _surroundings(seen: ObservedAnswer) -> Surroundings:
        if seen.surroundings is None:
            reason = "the answer is in the camera's frame"
            raise TransformUnavailableError("base_link", "the camera", reason, "set base_frame of the resolver")
        return seen.surroundings

    def _look_again(self, offer: Offer, first: bool) -> int:
        """Recheck the plan; returns the stamp of the image in which it still holds, nanoseconds.

        A recheck without an image (the resolver is busy, the image is stale or not synchronised, TF is not there yet)
        is reported and repeated while the approval is valid. If a recheck measures too little room, this may be noise:
        the plan holds if it holds in the next CONFIRMING images.

        Args:
            first: whether nothing has moved yet; a later step is rechecked for LATER seconds.
        """
        end = time.monotonic() + LATER
        time_left = self._actors.approval_left if first else lambda: max(0.0, end - time.monotonic())
        words, held = "rechecking the scene before anything moves", time_left()
        doubted: SceneChangedError | None = None
        needed = 1
        while True:
            try:
                stamp_ns, changed = self._recheck(offer, words)
            except TRANSIENT as error:
                left = time_left()
                if held <= 0:
                    raise
                if left <= 0:
                    reason = f"no recheck got a usable image ({without_repair(error)})"
                    raise ApprovalExpiredError("the approval", held, reason) from error
                words = f"rechecking: {without_repair(error)}. The approval is valid for another {left:.0f} s"
                self._begin(PickStage.LOOKING_AGAIN, words)
                self._actors.pause(min(PAUSE, left))
                continue
            if changed is None:
                needed -= 1
                if not needed:
                    return stamp_ns
            elif doubted is not None:
                raise changed
            else:
                doubted, needed = changed, CONFIRMING
                words = f"rechecking, because one image shows too little room: {without_repair(changed)}"

    def _recheck(self, offer: Offer, words: str) -> tuple[int, SceneChangedError | None]:
        """Recheck in one more image: its stamp, and the error if its measurements contradict the plan."""
        then = self._surroundings(offer.seen)
        self._actors.still(then.stamp_ns)
        seen = self._look(PickStage.LOOKING_AGAIN, words, offer.words)
        then = then if seen.surroundings is None else settled(then, seen.surroundings, offer.moved)
        anywhere = not arm_known(offer.plan, then.frame_id)
        check_same(then, seen.resolution, seen.surroundings, self._config.observation, anywhere)
        source = seen.resolution.source
        if source != offer.seen.resolution.source:
            chosen, other = ("a model", "the measurement")[:: 1 if source == "model" else -1]
            happened = f"was chosen by {chosen} in the recheck, but by {other} when it was approved"
            again = "send the instruction again"
            raise SceneChangedError(f"the {offer.scene.target.label}", 0.0, 0.0, 0.0, 0.0, again, happened)
        now = self._surroundings(seen)
        check_fresh(now.stamp_ns, self._actors.now_ns(), self._config.observation)
        check_tilt(now, self._config.observation)
        self._actors.still(now.stamp_ns)
        try:
            check_plan_holds(offer.scene, offer.goal, offer.plan, then, now, self._config)
        except SceneChangedError as error:
            return now.stamp_ns, error
        return now.stamp_ns, None


WAYS: Mapping[Side, str] = {
    "top_down": "from above", "side": "from the side", "slanted": "at a slant", "rim": "by its rim",
    "handle": "by its handle",
}  # fmt: skip
"""Display names of the ways of grasps."""


def steps_told(resolution: Resolution) -> tuple[str, ...]:
    """All steps that were understood, in order, each with its act: "take: pick up the chick"."""
    steps = resolution.request.steps if resolution.request is not None else ()
    return tuple(f"{step.act}: {step.words}" for step in steps)


def told(offer: Offer) -> str:
    """Describe the planned motion: "take the chick (c1) from above and put it on the tray".

    It also says if a model chose the object because the words were not understood.
    """
    return ", then ".join(_told(part) for part in (offer, *offer.further))


def _told(offer: Offer) -> str:
    target, goal = offer.scene.target, offer.goal
    if goal.falls:
        return f"open the hand and let the {target.label} go, {fall_of(offer):.2f} m above what is below"
    if goal.held:
        return f"hold out the {target.label}" if goal.hand_over else f"put the {target.label}{_carried(offer, '')}"
    then = " and hold it out" if goal.hand_over else _carried(offer, " and put it")
    return _with_source(f"take the {target.label} ({target.id}) {WAYS[goal.grasps[offer.plan.grasp].way]}{then}", offer)


def fall_of(offer: Offer) -> float:
    """Height of what is held over the support, metres."""
    target, seen = offer.seen.resolution.target, offer.seen.surroundings
    assert target is not None  # noqa: S101 - an offer has both
    assert seen is not None  # noqa: S101
    return max(0.0, target.pose.position[2] - target.size[2] / 2 - seen.support_height)


def done(offer: Offer) -> str:
    """Describe the result: "the chick (c1) was put on the tray"; known from the gripper, not from an image.

    It also says if a model chose the object, as `told` does.
    """
    return ", then ".join(_is_done(part) for part in (offer, *offer.further))


def _is_done(offer: Offer) -> str:
    target, goal = offer.scene.target, offer.goal
    name = f"the {target.label}" if goal.held else f"the {target.label} ({target.id})"
    if goal.hand_over is not None:
        return f'{name} is held out; say "let go" when you have it'
    return _with_source(f"{name} was {'let go' if goal.falls else _carried(offer, 'put') or 'taken'}", offer)


def _with_source(words: str, offer: Offer) -> str:
    return f"{words}. {CHOSEN_BY_MODEL}" if offer.seen.resolution.source == "model" else words


def _carried(offer: Offer, words: str) -> str:
    """The words and where it is put: "on the tray", or "in the bowl" if the instruction says so."""
    put_down, resolution = offer.plan.put_down, offer.seen.resolution
    if put_down is None:
        return ""
    labels = {obj.id: obj.label for obj in offer.scene.neighbours}
    to = None if resolution.query is None else resolution.query.destination
    anchor = resolution.place.anchor_id if resolution.place is not None else ""
    inside = to is not None and to.relation == "inside" and anchor == put_down.carrier_id
    return f"{words} {'in' if inside else 'on'} the {labels.get(put_down.carrier_id, 'table')}"
