# SPDX-License-Identifier: Apache-2.0
"""The order of a request from words to motion: nothing moves unless every step before it has succeeded."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from planning_scenes import CHICK, CLEAR, CUP, NOW, SEEN, fingers_down
from tables import called, tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.manipulation import pick_sequence as sequence
from spatial_vlm_ros.manipulation.grasping.proposals import GraspServer
from spatial_vlm_ros.manipulation.held import FingerReading, HeldObject, boxed, reconciled
from spatial_vlm_ros.manipulation.pick_sequence import ObservedAnswer, Offer, PickStage, told
from spatial_vlm_ros.manipulation.planning.goal import EmptyGrasp, PickGoal
from spatial_vlm_ros.manipulation.planning.planner import (
    CARRY,
    GRIPS,
    PICK,
    PLACE,
    MotionPlan,
    PlanStep,
    Trajectory,
    plan_of,
)
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.nodes.arm.proposals import proposal_of
from spatial_vlm_ros.parameters import PlanningConfig, planning_from
from spatial_vlm_ros.types import (
    CHOSEN_BY_MODEL,
    Place,
    Pose,
    Request,
    Resolution,
    ResolvedStep,
    SpaceAnswer,
    Status,
    Target,
)
from spatial_vlm_ros.types.held import HELD_ID

GOAL = "00000000-0000-4000-8000-000000000001"
LATER = NOW + 100_000_000
POSE = Pose("base", (0.45, 0.0, 0.03), (0.0, 0.0, math.sin(0.15), math.cos(0.15)))
TARGET = Target("c1", "chick", POSE, POSE.position, (0.05, 0.04, 0.06), (0.0,) * 36, True, None)  # type: ignore[arg-type]
ANSWER = Resolution("the chick", Status.OK, "it is the chick", target=TARGET, stamp_ns=NOW)


def seen(surroundings: Surroundings | None = SEEN, resolution: Resolution = ANSWER) -> ObservedAnswer:
    return ObservedAnswer(resolution, surroundings)


def again(surroundings: Surroundings = SEEN, resolution: Resolution = ANSWER) -> ObservedAnswer:
    """A later image of what the surroundings are."""
    return seen(dataclasses.replace(surroundings, stamp_ns=LATER), resolution)


def refused(status: Status) -> ObservedAnswer:
    return seen(None, Resolution("the chick", status, "said so"))


def seen_but(**changed: Any) -> ObservedAnswer:
    """The first image, with something else."""
    return seen(dataclasses.replace(SEEN, **changed))


def again_but(**changed: Any) -> ObservedAnswer:
    """The later image, with something else."""
    return again(dataclasses.replace(SEEN, **changed))


class Cell:
    """Looks that were prepared, and a recorder in place of planner, person and arm."""

    def __init__(
        self, *looks: ObservedAnswer, holds: float = 0.0, **fails: list[errors.SpatialVlmError | None]
    ) -> None:
        self.looks, self.fails = list(looks), fails
        self.log: list[str] = []
        self.stopped = False
        self.stop_at: PickStage | None = None
        self.offers: list[Offer] = []
        self.shown: list[Offer] = []
        self.said: list[str] = []
        self.asked: list[str] = []
        self.planned: list[MotionPlan] = []
        self.hand: HeldObject | None = None
        self.stands: Any = None
        self.empty: list[EmptyGrasp] = []
        self.holds = holds  # s that the approval holds; each pause takes its time of it

    def _may_fail(self, step: str) -> None:
        left = self.fails.get(step, [])
        if left and (error := left.pop(0)) is not None:
            raise error

    def look(self, words: sequence.Words, __: Callable[[], bool]) -> ObservedAnswer:
        self.log.append("look")
        self.asked.append(words.instruction)
        return self.looks.pop(0)

    def plan(
        self, goal: PickGoal, scene: PlanningScene, place: Any = None, start: Any = None, cancelled: Any = lambda: False
    ) -> MotionPlan:
        assert start == (None if not self.planned else {"joint": float(len(self.planned))}), "where the last one ends"
        if cancelled():
            raise errors.CancelledError("it was withdrawn")
        self.log.append("plan")
        self._may_fail("plan")
        at = float(len(self.planned))
        way = Trajectory(("joint",), (0.0, 1.0), ((at,), (at + 1.0,)))
        stays = Trajectory(("joint",), (0.0,), ((at + 1.0,),))
        put = None if place is None else place(goal.grasps[-1])
        phases = (*(() if goal.held else PICK), *(PLACE if put is not None else CARRY if goal.hand_over else ()))
        phases = ("release",) if goal.falls else phases
        phases = phases if goal.leaves is None else ("lift", *phases) if goal.held else ("open", "leave", *phases)
        arm = iter([way, *[stays] * 9])
        steps = [PlanStep(p, None, 0.05) if p in GRIPS else PlanStep(p, next(arm)) for p in phases]
        self.planned.append(plan_of(goal, scene, put, steps, len(goal.grasps) - 1, None if put is None else 0))
        return self.planned[-1]

    def approve(self, offer: Offer, _: Callable[[], bool]) -> None:
        self.log.append("approve")
        self.offers.append(offer)
        self._may_fail("approve")

    def still(self, since_ns: int) -> None:
        assert since_ns in (NOW, LATER)
        self._may_fail("still")

    def execute(
        self, plan: MotionPlan, cancelled: Callable[[], bool] = lambda: False,
        begins: Callable[[], None] = lambda: None, approved: str = "",
    ) -> None:  # fmt: skip
        self._may_fail("prepare")
        assert approved == self.offers[-1].hash
        begins()
        assert plan is self.planned[self.log.count("move")]
        self.log.append("move")
        if cancelled():
            raise errors.CancelledError("it was withdrawn")
        self._may_fail("execute")

    def clear(self) -> None:
        self.log.append("clear")

    def say(self, stage: PickStage, words: str) -> None:
        self.stopped = self.stopped or stage is self.stop_at
        self.said.append(words)

    def pause(self, seconds: float) -> None:
        self.holds -= seconds

    def run(
        self, plan_only: bool = False, now_ns: int = NOW, accept_unseen: bool = False,
        config: PlanningConfig | None = None, server: GraspServer | None = None,
    ) -> sequence.Ending:  # fmt: skip
        ways = sequence.PickActors(
            self.look, self, self.approve, self.still, lambda: now_ns, self.say, lambda: self.holds, self.pause,
            server, show=self.shown.append, held=lambda: self.hand, empty=self.empty,
            hand=lambda: self.stands,
        )  # fmt: skip
        config = config or PlanningConfig()
        return sequence.PickSequence(
            sequence.Words("the chick"), plan_only, config, ways, lambda: self.stopped, accept_unseen
        ).run()


PLANNED = ["look", "plan", "clear"]
MOVED = ["look", "plan", "approve", "look", "move", "clear"]


def test_it_moves_what_was_approved_after_a_second_look() -> None:
    cell = Cell(seen(), again())
    ending = cell.run()
    assert (ending.status, ending.moved, ending.stage) == (Status.OK, True, PickStage.MOVING), ending.message
    assert cell.log == MOVED
    assert ending.message == "Done: the chick (c1) was taken."
    (offer,) = cell.offers
    assert ending.plan == offer.plan
    assert not cell.shown
    assert offer.plan.grasp == len(offer.goal.grasps) - 1
    way = {"top_down": "from above", "side": "from the side"}[offer.goal.grasps[-1].way]
    assert told(offer) == f"take the chick (c1) {way}", "the way that was planned"
    near = again_but(target=moved(CHICK, 0.003), others=(moved(CUP, 0.01),))
    assert Cell(seen(), near).run().status is Status.OK, "small changes are noise"


@pytest.mark.parametrize(("by", "others"), [(0.0, True), (0.05, False)])
def test_after_fingers_that_closed_on_nothing_the_next_plan_comes_from_another_side(by: float, others: bool) -> None:
    error = errors.NothingHeldError("close", "the fingers closed to 0.000 m without meeting an object", "ask again")
    cell = Cell(seen(), again(), execute=[error])
    ending = cell.run()
    assert (ending.status, ending.moved) == (Status.EXECUTION_FAILED, True)
    assert "without meeting an object" in ending.message
    (empty,), first = cell.empty, cell.offers[0].goal.grasps
    later = Cell(seen_but(target=moved(CHICK, by)), again_but(target=moved(CHICK, by)))
    later.empty = cell.empty
    assert later.run().status is Status.OK
    assert not later.empty, "it is held now"
    offered = later.offers[0].goal.grasps
    assert 0 < len(offered) <= len(first)
    assert any(empty.is_side_of(grasp) for grasp in offered) is not others, "all again for what lies elsewhere now"
    later = Cell(seen(), again())
    later.empty += [EmptyGrasp("chick", CHICK.solid.centre, grasp) for grasp in first]
    later.run()
    assert later.offers[0].goal.grasps == first, "no side is left"


def test_plan_only_asks_nobody_and_moves_nothing() -> None:
    cell = Cell(seen())
    ending = cell.run(plan_only=True)
    assert (ending.status, ending.moved) == (Status.OK, False)
    assert cell.log == PLANNED
    assert "plan_only" in ending.message
    assert [offer.plan for offer in cell.shown] == [ending.plan]


ASKED = Resolution("the chick", Status.AMBIGUOUS, "two chicks", question="Which chick?", dialogue_id="d1")
DISTANCE = SpaceAnswer("distance", 0.3, "m", (0.28, 0.32), 0.95, (), "The cup is 30.0 cm from the box.")
TOLD = Resolution("how far is the cup?", Status.ANSWERED, DISTANCE.words, answer=DISTANCE)
TABLES = tables(__file__)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "of": lambda name: globals()[name],
    "tuple": lambda *each: each,
    "replace": dataclasses.replace,
    "tilt": math.radians,
    "seen_share": lambda share: dataclasses.replace(CLEAR, seen_share=share),
}


def made(told: Any) -> Any:
    """What a cell of a table says."""
    return called(told, vars(errors) | globals() | FUNCTIONS)


@pytest.mark.parametrize(("look", "fails", "status", "log"), TABLES["against a request"])
def test_what_stands_against_a_request_ends_it(look: list[Any], fails: Any, status: str, log: list[str]) -> None:
    first = made(look)
    cell = Cell(first, plan=[made(fails)])
    ending = cell.run()
    assert (ending.status.value, ending.moved) == (status, False)
    assert ending.plan is None or "occupancy" in str(look)
    assert cell.log == log
    if status in ("AMBIGUOUS", "ANSWERED"):
        assert ending.resolution == first.resolution
        assert ("Nothing moves: this is a question" in ending.message) == (status == "ANSWERED")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("push the chick", "does not carry out 'push'"),
        ("look for the chick", "does not carry out 'find'"),
        ("give me the chick", "this arm has no pose for handing over"),
        ("pick up the cup and then push the chick", "does not carry out 'push'"),
        ("let go", "nothing is known to be in the hand"),
    ],
)
@pytest.mark.parametrize("plan_only", [False, True])
def test_what_is_not_carried_out_is_refused_by_name_before_a_plan(words: str, named: str, plan_only: bool) -> None:
    cell = Cell(seen(resolution=dataclasses.replace(ANSWER, query=parse(words)[0])))
    ending = cell.run(plan_only)
    assert (ending.status, ending.stage, ending.moved) == (Status.NOT_EXECUTABLE, PickStage.RESOLVING, False)
    assert named in ending.message
    assert cell.log == ["look"]


def test_an_old_image_is_not_planned_in() -> None:
    cell = Cell(seen())
    assert cell.run(now_ns=NOW + 60_000_000_000).status is Status.STALE_INPUT
    assert "plan" not in cell.log


def moved(body: SurroundingObject, by: float) -> SurroundingObject:
    x, y, z = body.solid.centre
    return dataclasses.replace(body, id="other", solid=Solid((x + by, y, z), body.solid.yaw, body.solid.size))


@pytest.mark.parametrize(("second", "status", "words"), TABLES["changed since"])
def test_what_changed_since_is_not_acted_on(second: list[Any], status: str, words: str) -> None:
    cell = Cell(seen(), made(second))
    ending = cell.run()
    assert (ending.status.value, ending.moved) == (status, False)
    assert words in ending.message
    assert "move" not in cell.log
    assert cell.log[-1] == "clear"


PRESSED = dataclasses.replace(SEEN, target=moved(CHICK, 0.013))


@pytest.mark.parametrize("after", [[PRESSED], [SEEN, PRESSED], [dataclasses.replace(SEEN, others=())], [SEEN, SEEN]])
def test_a_target_that_fingers_would_press_on_is_refused_where_a_second_image_agrees(after: list[Surroundings]) -> None:
    cell = Cell(seen(), again(PRESSED), *map(again, after))
    ending = cell.run()
    stands = after == [SEEN, SEEN]  # two images against one
    assert (ending.status, ending.moved) == (Status.OK if stands else Status.SCENE_CHANGED, stands), ending.message
    assert not cell.looks
    assert any("one image shows too little room" in words for words in cell.said)


@pytest.mark.parametrize("nothing", [Status.BUSY, Status.STALE_INPUT, Status.NOT_SYNCHRONISED, Status.TF_UNAVAILABLE])
def test_a_recheck_that_sees_nothing_keeps_the_approval_as_long_as_it_holds(nothing: Status) -> None:
    cell = Cell(seen(), refused(nothing), refused(nothing), again(), holds=30.0)
    assert cell.run().status is Status.OK
    assert cell.log == [*MOVED[:3], "look", "look", *MOVED[3:]]
    assert any("valid for another 30 s" in words for words in cell.said)
    cell = Cell(seen(), *[refused(nothing)] * 6, holds=0.9)
    ending = cell.run()
    assert (ending.status, ending.moved) == (Status.APPROVAL_EXPIRED, False)
    assert ("the resolver is answering another instruction" in ending.message) == (nothing is Status.BUSY)
    assert len(cell.looks) == 0
    assert "move" not in cell.log


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.AMBIGUOUS, Status.MODEL_ERROR])
def test_any_other_refusal_ends_the_approval_at_once(status: Status) -> None:
    cell = Cell(seen(), refused(status), holds=30.0)
    ending = cell.run()
    assert ending.status in (Status.SCENE_CHANGED, status)
    assert "said so" in ending.message
    assert "move" not in cell.log


def test_objects_that_were_not_looked_for_are_accepted_only_where_that_is_said() -> None:
    named = dataclasses.replace(SEEN, all_objects=False)
    cell = Cell(seen(named), again(named))
    ending = cell.run()
    assert (ending.status, ending.moved, cell.log) == (Status.OK, False, PLANNED)
    assert "accept_unseen_obstacles:=true" in ending.message
    assert [offer.plan for offer in cell.shown] == [ending.plan]
    accepted = Cell(seen(named), again(named))
    assert accepted.run(accept_unseen=True).moved
    (offer,) = accepted.offers
    warnings = proposal_of(GOAL, offer, 60.0, PlanningConfig(), "").warnings
    assert "Only objects named in the instruction were detected; all others are known from depth alone" in warnings


def test_the_person_who_approves_sees_which_words_were_left_out() -> None:
    asked = dataclasses.replace(ANSWER, query=parse("take the chick, I'm parched")[0])
    cell = Cell(seen(resolution=asked), again(resolution=asked))
    assert cell.run().moved
    (offer,) = cell.offers
    assert 'Words that were left out: "I\'m parched"' in proposal_of(GOAL, offer, 60.0, PlanningConfig(), "").warnings


LOST = errors.TransformUnavailableError("odom", "base", "nobody publishes it", "start it")


@pytest.mark.parametrize("calm", range(4))
@pytest.mark.parametrize("error", [errors.SceneChangedError("the base", 0.02, 0.0, 0.005, 0.5, "look again"), LOST])
def test_camera_and_base_are_watched_from_the_plan_to_the_motion(error: errors.SpatialVlmError, calm: int) -> None:
    cell = Cell(seen(), again(), still=[*[None] * calm, error])
    ending = cell.run()
    assert (ending.status.value, ending.moved) == (error.status_name, False)
    assert cell.log == (["look"] if calm == 0 else [*MOVED[: 3 if calm == 1 else 4], "clear"])


def test_a_base_that_is_not_known_yet_is_waited_for_while_the_approval_holds() -> None:
    cell = Cell(seen(), again(), again(), holds=30.0, still=[None, None, LOST])
    assert cell.run().moved
    assert cell.log == [*MOVED[:4], *MOVED[3:]]


@pytest.mark.parametrize(("step", "moved"), [("prepare", False), ("execute", True)])
def test_moved_says_whether_motion_was_begun(step: str, moved: bool) -> None:
    error = errors.PlannerUnavailableError("the watchdog", "it was not ready; nothing has moved", "start it")
    ending = Cell(seen(), again(), **{step: [error]}).run()
    assert (ending.status, ending.moved) == (Status.PLANNER_UNAVAILABLE, moved)


@pytest.mark.parametrize("stage", list(PickStage))
def test_a_stop_at_any_stage_begins_nothing_more(stage: PickStage) -> None:
    cell = Cell(seen(), again())
    cell.stop_at = stage
    ending = cell.run()
    assert ending.status is Status.CANCELLED
    told_to_move = stage is PickStage.MOVING  # then it is the mover who stops
    assert (ending.moved, "move" in cell.log) == (told_to_move, told_to_move)
    assert "clear" in cell.log or "plan" not in cell.log


BY_MODEL = dataclasses.replace(ANSWER, message=f"{CHOSEN_BY_MODEL}.", source="model")


def test_what_a_model_chose_is_told_so_before_and_after_the_approval() -> None:
    cell = Cell(seen(resolution=BY_MODEL), again(resolution=BY_MODEL))
    ending = cell.run()
    assert (ending.status, ending.moved) == (Status.OK, True), ending.message
    assert cell.log == MOVED
    assert CHOSEN_BY_MODEL in told(cell.offers[0])
    assert sum(CHOSEN_BY_MODEL in words for words in cell.said) == 2  # waiting for approval, and moving
    assert CHOSEN_BY_MODEL in ending.message  # what was done, too
    proposal = proposal_of(GOAL, cell.offers[0], 60.0, PlanningConfig())
    assert proposal.source == "model"
    assert CHOSEN_BY_MODEL in proposal.warnings[0]
    ending = Cell(seen(resolution=BY_MODEL)).run(plan_only=True)
    assert (ending.status, ending.moved) == (Status.OK, False)
    assert CHOSEN_BY_MODEL in ending.message


@pytest.mark.parametrize(
    "refusal",
    [errors.RejectedError("goal", "ann rejected it", "say it again"), errors.ApprovalExpiredError("goal", 60.0)],
)
def test_what_a_model_chose_moves_nothing_without_a_person(refusal: errors.SpatialVlmError) -> None:
    cell = Cell(seen(resolution=BY_MODEL), again(resolution=BY_MODEL), approve=[refusal])
    ending = cell.run(accept_unseen=True)
    assert (ending.status.value, ending.moved) == (refusal.status_name, False)
    assert "move" not in cell.log


@pytest.mark.parametrize(("first", "second"), [(ANSWER, BY_MODEL), (BY_MODEL, ANSWER)])
def test_a_recheck_in_which_something_else_chose_moves_nothing(first: Resolution, second: Resolution) -> None:
    cell = Cell(seen(resolution=first), again(resolution=second))
    ending = cell.run()
    assert (ending.status, ending.moved) == (Status.SCENE_CHANGED, False)
    assert "in the recheck, but by" in ending.message
    assert "move" not in cell.log


BOTH = "put the chick on the table, then pick up the cup"
SPOT = Place(Pose("base", (0.45, -0.3, 0.0), (0.0, 0.0, 0.0, 1.0)), "support")
STEPS = Request((ResolvedStep("place", "put the chick on the table"), ResolvedStep("take", "pick up the cup")))
FIRST = dataclasses.replace(ANSWER, query=parse(BOTH)[0], request=STEPS, place=SPOT, places=(SPOT,))
CUP_AT = Pose("base", CUP.solid.centre, (0.0, 0.0, 0.0, 1.0))
OF_CUP = Target("u1", "cup", CUP_AT, CUP_AT.position, CUP.solid.size, (0.0,) * 36, True, None)  # type: ignore[arg-type]
SECOND = dataclasses.replace(ANSWER, target=OF_CUP, query=parse("pick up the cup")[0])


def cup_seen(*others: SurroundingObject, stamp_ns: int = NOW, answer: Resolution = SECOND) -> ObservedAnswer:
    """The cup as the target, and what is around it."""
    changed = dataclasses.replace(SEEN, target=CUP, others=others or (CHICK,), stamp_ns=stamp_ns, outline=())
    return seen(changed, answer)


def chick_at(x: float, y: float) -> SurroundingObject:
    return dataclasses.replace(CHICK, id="c9", solid=Solid((x, y, 0.035), 0.0, CHICK.solid.size))


@pytest.mark.parametrize(
    ("rests", "status", "done"),
    [
        pytest.param(chick_at(0.45, -0.3), "OK", 2, id="where it was put"),
        pytest.param(chick_at(0.52, -0.36), "OK", 2, id="it rolled"),
        pytest.param(chick_at(0.45, 0.0), "SCENE_CHANGED", 1, id="it was put back"),
    ],
)
def test_two_steps_are_approved_once_and_each_is_rechecked_before_it_moves(
    rests: SurroundingObject, status: str, done: int
) -> None:
    cell = Cell(seen(resolution=FIRST), cup_seen(), again(resolution=FIRST), cup_seen(rests, stamp_ns=LATER))
    ending = cell.run(config=CALM)
    assert (ending.status.value, ending.done, ending.moved) == (status, done, True), ending.message
    begun = ["look", "plan", "look", "plan", "approve", "look", "move", "look"]
    assert cell.log == [*begun, *["move"] * (done - 1), "clear"]
    assert cell.asked[1::2] == ["pick up the cup"] * 2
    (offer,) = cell.offers
    words = "take the chick (c1) from the side and put it on the table, then take the cup (u1) from the side"
    assert (told(offer), ending.plan_hash) == (words, offer.hash)
    if done == 1:
        assert f"Steps done: {words.split(', then ')[0]}. Not done: take the cup" in ending.message
    proposal = proposal_of(GOAL, offer, 60.0, CALM, "")
    assert proposal.plan_hash == offer.hash
    assert [phase.name.split(".")[0] for phase in proposal.preview.phases] == ["1"] * 9 + ["2"] * 5  # type: ignore[union-attr]


CALM = PlanningConfig()


@pytest.mark.parametrize(
    ("second", "status", "words"),
    [
        pytest.param(refused(Status.NOT_FOUND), "NOT_FOUND", "Step 2 (pick up the cup): said so", id="not there"),
        pytest.param(seen(), "NOT_EXECUTABLE", "depends on the chick (c1), which an earlier step moves", id="moved"),
        pytest.param(
            cup_seen(answer=dataclasses.replace(SECOND, place=dataclasses.replace(SPOT, anchor_id="c1"))),
            "NOT_EXECUTABLE", "depends on the chick (c1), which an earlier step moves", id="beside what is moved",
        ),
    ],
)  # fmt: skip
def test_a_second_step_that_is_impossible_is_refused_before_the_first_moves(
    second: ObservedAnswer, status: str, words: str
) -> None:
    cell = Cell(seen(resolution=FIRST), second)
    ending = cell.run()
    assert (ending.status.value, ending.moved, ending.done) == (status, False, 0)
    assert words in ending.message
    assert cell.log == ["look", "plan", "look", "clear"]


def test_what_the_first_of_two_steps_leaves_in_the_hand_stands_against_the_second() -> None:
    first = dataclasses.replace(FIRST, place=None, places=())
    ending = Cell(seen(resolution=first), cup_seen()).run()
    assert (ending.status.value, ending.moved) == ("NOT_EXECUTABLE", False)
    assert "the hand holds the chick" in ending.message


def test_nothing_follows_what_is_let_fall_and_a_plan_alone_does_not_ask_what_an_unknown_hand_holds() -> None:
    drop = dataclasses.replace(of_held("drop it").resolution, query=parse("drop it, then pick up the cup")[0])
    steps = Request((ResolvedStep("release", "drop it"), ResolvedStep("take", "pick up the cup")))
    dropping = dataclasses.replace(of_held("drop it"), resolution=dataclasses.replace(drop, request=steps))
    cell = Cell(dropping, cup_seen())
    cell.hand = block()
    ending = cell.run()
    assert (ending.status.value, ending.moved) == ("NOT_EXECUTABLE", False)
    assert "where what is let go comes to lie is not known before" in ending.message
    looking = Cell(seen())
    looking.hand = block(measured=False)
    assert looking.run(plan_only=True).status is Status.OK


IN_HAND = SurroundingObject(HELD_ID, "block", Solid((0.4, 0.0, 0.3), 0.0, (0.04, 0.05, 0.06)), (0.001,) * 3)  # type: ignore[arg-type]
OVER = "0.3 -0.3 0.4 1 0 0 0"


def of_held(words: str, place: Place | None = None, height: float = 0.3) -> ObservedAnswer:
    solid = dataclasses.replace(IN_HAND.solid, centre=(0.4, 0.0, height))
    at = Pose("base", solid.centre, (0.0, 0.0, 0.0, 1.0))
    target = Target(HELD_ID, "block", at, at.position, solid.size, (0.0,) * 36, True, None)  # type: ignore[arg-type]
    answer = dataclasses.replace(ANSWER, target=target, query=parse(words)[0], place=place, instruction=words)
    return seen(
        dataclasses.replace(SEEN, target=dataclasses.replace(IN_HAND, solid=solid), others=(CUP,), outline=()), answer
    )


def block(measured: bool = True) -> HeldObject:
    config = PlanningConfig()
    turned = fingers_down(0.0, 0.0, 0.0)  # the tip looks down, so the box is turned in its frame
    return boxed("block" if measured else "", turned, IN_HAND.solid.size, config, measured)


@pytest.mark.parametrize(
    ("words", "place", "height", "phases", "said"),
    [
        ("put it down", SPOT, 0.3, PLACE, "put the block on the table"),
        ("put it down", SPOT, 0.03, ("lift", *PLACE), "put the block on the table"),
        ("let go", SPOT, 0.3, PLACE, "put the block on the table"),
        ("drop it", None, 0.3, ("release",), "open the hand and let the block go, 0.27 m above what is below"),
        ("drop it", None, 0.03, ("release",), "open the hand and let the block go, 0.00 m above what is below"),
        ("give it to me", None, 0.3, CARRY, "hold out the block"),
        ("give it to me", None, 0.03, ("lift", *CARRY), "hold out the block"),
    ],
)
def test_what_is_held_is_put_down_held_out_or_let_go(
    words: str, place: Any, height: float, phases: Any, said: str
) -> None:
    config = planning_from({"motion": {"hand_over": OVER, "planning_frame": "base"}})
    first, hand = of_held(words, place, height), fingers_down(0.4, 0.0, height)
    assert first.surroundings is not None
    cell = Cell(first, seen(dataclasses.replace(first.surroundings, stamp_ns=LATER), first.resolution))
    cell.hand, cell.stands = block().at(hand), (hand, 0.05)
    ending = cell.run(config=config)
    assert ending.status is Status.OK, ending.message
    (offer,) = cell.offers
    assert (told(offer), tuple(step.phase for step in offer.plan.steps)) == (said, phases)
    warnings = proposal_of(GOAL, offer, 60.0, config, "").warnings
    assert ("The block is let go 0.27 m above what is below it" in warnings) == (words == "drop it" and height > 0.1)


@pytest.mark.parametrize(("above", "phases"), [(0.0, ("open", "leave", *PICK)), (0.1, PICK)])
def test_an_empty_hand_that_stands_in_contact_leaves_it_first(above: float, phases: Any) -> None:
    cell = Cell(seen(), again())
    cell.stands = fingers_down(0.45, 0.0, 0.03 + above, 0.3), 0.045
    ending = cell.run()
    assert ending.status is Status.OK, ending.message
    (offer,) = cell.offers
    assert tuple(step.phase for step in offer.plan.steps) == phases
    touched = {contact.other for contact in offer.scene.allowed if contact.phase == "leave"}
    assert touched == ({"c1"} if "leave" in phases else set())


@pytest.mark.parametrize(
    ("answer", "hand", "words"),
    [
        (seen(), block(), 'the hand holds the block. First say where to put that: "put it down"'),
        (of_held("take it"), block(), "the hand holds the block already"),
        (of_held("put it down", SPOT), block(measured=False), "what it is, is not known, nor its size. Take it out by"),
        (of_held("give it to me"), block(), "this arm has no pose for handing over. Set motion.hand_over"),
    ],
)
def test_what_does_not_fit_what_is_held_is_refused_before_a_plan(
    answer: ObservedAnswer, hand: HeldObject, words: str
) -> None:
    cell = Cell(answer)
    cell.hand = hand
    ending = cell.run()
    assert (ending.status, ending.moved, cell.log) == (Status.NOT_EXECUTABLE, False, ["look"])
    assert words in ending.message


@pytest.mark.parametrize(
    ("done", "attached", "reading", "sure", "held"),
    [
        pytest.param("", "", FingerReading(0.08), False, None, id="wide open"),
        pytest.param("block", "", FingerReading(0.001), True, None, id="it slipped: closed on nothing"),
        pytest.param("block", "", FingerReading(0.04, 15.0), True, "block", id="what was done"),
        pytest.param("block", "", FingerReading(0.04, 0.5), True, "block", id="held by a gear, without effort"),
        pytest.param("block", "", FingerReading(0.06), False, "block", id="stopped while they closed on it"),
        pytest.param("", "", FingerReading(0.06, 3.0), True, None, id="opened half, with some effort"),
        pytest.param("", "cup", FingerReading(0.04, 0.5), False, "cup", id="attached, without effort"),
        pytest.param("", "cup", FingerReading(0.04, 15.0), False, "cup", id="after a start, by the planner's scene"),
        pytest.param("", "", FingerReading(0.04, 15.0), False, "", id="after a start, something"),
        pytest.param("", "", FingerReading(0.04, 0.001), False, None, id="half open, and nothing presses"),
        pytest.param("", "", FingerReading(0.04, None), False, "", id="effort always zero after a start: perhaps"),
        pytest.param("", "", FingerReading(0.04, None), True, None, id="effort always zero, and it was opened"),
        pytest.param("block", "", FingerReading(), True, "block", id="no feedback: what was done"),
        pytest.param("", "", FingerReading(), False, None, id="no feedback after a start"),
        pytest.param("block", "", FingerReading(flag=False), True, None, id="a switch says no"),
        pytest.param("", "", FingerReading(flag=True), True, "", id="a switch says yes"),
    ],
)
def test_what_the_hand_holds_is_known_from_what_was_done_the_scene_and_the_fingers(
    done: str, attached: str, reading: FingerReading, sure: bool, held: str | None
) -> None:
    config = PlanningConfig()
    known = [
        boxed(name, fingers_down(0, 0, 0), (0.04, 0.04, 0.05), config) if name else None for name in (done, attached)
    ]
    found = reconciled(*known, reading, sure, config)
    assert (None if found is None else found.label) == held
