# SPDX-License-Identifier: Apache-2.0
"""Runs one instruction from words to motion: look, build the goal, plan, ask a person, recheck, move.

No ROS. Perception, planner, controllers and approval are passed in; this module adds the order, and makes sure that
nothing moves unless every step before has succeeded.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from spatial_vlm_ros.errors import (
    ApprovalExpiredError,
    CancelledError,
    DepthError,
    ModelError,
    SceneChangedError,
    SpatialVlmError,
    TransformUnavailableError,
    without_repair,
)
from spatial_vlm_ros.manipulation.grasping.proposals import GraspServer, ProposedGrasp, checked, question_of
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, Side
from spatial_vlm_ros.manipulation.planning.motion import check_fresh, check_tilt, check_way_seen
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, Planner
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.manipulation.recheck import TRANSIENT, check_plan_holds, check_same
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.spatial.support_check import check_carried_out
from spatial_vlm_ros.types import CHOSEN_BY_MODEL, Resolution, Status

PAUSE = 0.2  # s between rechecks without an image
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
    """A planned request for a person to approve."""

    words: Words
    seen: ObservedAnswer
    scene: PlanningScene
    goal: PickGoal
    plan: MotionPlan


class Mover(Planner, Protocol):
    """Plans motions, and executes exactly those."""

    def execute(
        self, plan: MotionPlan, cancelled: Callable[[], bool] = lambda: False, begins: Callable[[], None] = lambda: None
    ) -> None:
        """Execute a plan; when this returns or raises, nothing moves any more.

        Args:
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


@dataclass(frozen=True)
class Ending:
    """How a request ended.

    Args:
        resolution: the last answer, or None.
        plan: the plan, or None.
    """

    status: Status
    message: str
    resolution: Resolution | None
    plan: MotionPlan | None
    moved: bool
    stage: PickStage


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
        acts: Sequence[str] = ("take", "place", "stop"),
    ) -> None:
        self.words, self.plan_only, self.accept_unseen, self._acts = words, plan_only, accept_unseen, tuple(acts)
        self._config, self._actors, self._cancelled = config, actors, cancelled
        self._stage = PickStage.RESOLVING
        self._seen: ObservedAnswer | None = None
        self._offer: Offer | None = None
        self._moved = False

    def run(self) -> Ending:
        """Run the request to its end; every outcome, including errors, is in the returned Ending."""
        try:
            message = self._run()
            status = Status.OK if self._seen is None else self._seen.resolution.status
            return self._ending(status, message)
        except SpatialVlmError as error:
            return self._ending(Status[error.status_name], str(error))

    def _ending(self, status: Status, message: str) -> Ending:
        resolution = self._seen.resolution if self._seen is not None else None
        plan = self._offer.plan if self._offer is not None else None
        return Ending(status, message, resolution, plan, self._moved, self._stage)

    def _run(self) -> str:
        self._seen = seen = self._look(PickStage.RESOLVING, "looking for the object")
        resolution = seen.resolution
        if resolution.status is Status.ANSWERED:
            return f"{resolution.message} {QUESTION}." if resolution.answer is not None else resolution.message
        if resolution.status is not Status.OK:
            return resolution.message
        act = "take" if resolution.query is None else check_carried_out(resolution.query, self._acts)
        surroundings = self._surroundings(seen)
        self._begin(PickStage.BUILDING_GOAL, "building the goal")
        check_fresh(surroundings.stamp_ns, self._actors.now_ns(), self._config.observation)
        check_tilt(surroundings, self._config.observation)
        self._actors.still(surroundings.stamp_ns)
        scene = planning_scene(surroundings, self._config)
        goal = replace(pick_goal(scene, self._config, self._proposed(scene)), act=act)
        self._begin(PickStage.PLANNING, f"planning how to take the {scene.target.label}")
        try:
            place = partial(place_goal, scene, resolution, config=self._config) if resolution.place else None
            plan = self._actors.mover.plan(goal, scene, place, cancelled=self._cancelled)
            self._offer = offer = Offer(self.words, seen, scene, goal, plan)
            if self.plan_only:
                self._actors.show(offer)
                return f"Planned: {told(offer)}. Nothing moves: plan_only is set."
            if not (surroundings.all_objects or self.accept_unseen):
                self._actors.show(offer)
                return f"Planned: {told(offer)}. Nothing moves: {UNSEEN}."
            check_way_seen(surroundings, self._config.observation)
            self._begin(PickStage.WAITING_FOR_APPROVAL, f"waiting for approval: {told(offer)}")
            self._actors.approve(offer, self._cancelled)
            seen_ns = self._look_again(offer)
            self._begin(PickStage.MOVING, told(offer))
            self._actors.mover.execute(offer.plan, self._cancelled, partial(self._begins, seen_ns))
            return f"Done: {done(offer)}."
        finally:
            self._actors.mover.clear()

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

    def _look(self, stage: PickStage, words: str) -> ObservedAnswer:
        self._begin(stage, words)
        return self._actors.look(self.words, self._cancelled)

    @staticmethod
    def _surroundings(seen: ObservedAnswer) -> Surroundings:
        if seen.surroundings is None:
            reason = "the answer is in the camera's frame"
            raise TransformUnavailableError("base_link", "the camera", reason, "set base_frame of the resolver")
        return seen.surroundings

    def _look_again(self, offer: Offer) -> int:
        """Recheck the plan; returns the stamp of the image in which it still holds, nanoseconds.

        A recheck without an image (the resolver is busy, the image is stale or not synchronised, TF is not there yet)
        is reported and repeated while the approval is valid. If a recheck measures too little room, this may be noise:
        the plan holds if it holds in the next CONFIRMING images.
        """
        words, held = "rechecking the scene before anything moves", self._actors.approval_left()
        doubted: SceneChangedError | None = None
        needed = 1
        while True:
            try:
                stamp_ns, changed = self._recheck(offer, words)
            except TRANSIENT as error:
                left = self._actors.approval_left()
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
        seen = self._look(PickStage.LOOKING_AGAIN, words)
        check_same(then, seen.resolution, seen.surroundings, self._config.observation)
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
    target, grasp = offer.scene.target, offer.goal.grasps[offer.plan.grasp]
    return _with_source(
        f"take the {target.label} ({target.id}) {WAYS[grasp.way]}{_carried(offer, ' and put it')}", offer
    )


def done(offer: Offer) -> str:
    """Describe the result: "the chick (c1) was put on the tray"; known from the gripper, not from an image.

    It also says if a model chose the object, as `told` does.
    """
    target = offer.scene.target
    return _with_source(f"the {target.label} ({target.id}) was {_carried(offer, 'put') or 'taken'}", offer)


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
