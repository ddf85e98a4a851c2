# SPDX-License-Identifier: Apache-2.0
"""Only the approved plan passes the guard, each step once, in order and in time, whatever people and gates do."""

import dataclasses
import math
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spatial_vlm_ros.errors import ApprovalExpiredError, BusyError, CancelledError, RejectedError, SpatialVlmError
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker, ApprovalStage
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard, allowed_steps, step_digest
from spatial_vlm_ros.manipulation.approval.proposal import Decision, Preview, Proposal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep, Trajectory
from spatial_vlm_ros.manipulation.standstill import Stand, Standstill

HASH, OTHER = "a" * 64, "b" * 64
NAMES = ("j1", "j2")


def arm(phase: Any, *ends: float) -> PlanStep:
    return PlanStep(phase, Trajectory(NAMES, tuple(0.1 * k for k in range(len(ends))), tuple((q, -q) for q in ends)))


STEPS = (PlanStep("open", width=0.08), arm("reach", 0.0, 0.3), arm("approach", 0.3, 0.4), PlanStep("close", width=0.02))
DIGESTS = [step_digest(step) for step in STEPS]


class Watched(ExecutionGuard):
    """A guard with a clock of its own, and what it refused."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refused: list[SpatialVlmError] = []
        super().__init__(lambda: self.now, self.refused.append)


@pytest.fixture
def guard() -> Watched:
    """With an approved plan, good for a minute."""
    guard = Watched()
    guard.allow(HASH, DIGESTS, 60.0)
    return guard


def refuses(words: str, call: Callable[[Any], None], given: object, error: type[Exception] = RejectedError) -> None:
    with pytest.raises(error, match=words):
        call(given)


def test_the_steps_of_an_approved_plan_pass_once_and_in_order(guard: Watched) -> None:
    guard.open(HASH)
    for step in STEPS:
        guard.check(step)
    assert guard.refused == []
    refuses("all steps of the approved plan are done", guard.check, STEPS[-1])
    guard.close()
    refuses("approved plan", guard.open, HASH)
    assert len(guard.refused) == 2


def changed(**fields: Any) -> PlanStep:
    """The second step with another trajectory."""
    return dataclasses.replace(STEPS[1], trajectory=dataclasses.replace(STEPS[1].trajectory, **fields))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(changed(positions=((0.0, -0.0), (math.nextafter(0.3, 1.0), -0.3))), id="a bit of a position"),
        pytest.param(changed(times=(0.0, 0.1 + 1e-9)), id="a time"),
        pytest.param(dataclasses.replace(STEPS[1], phase="carry"), id="another phase"),
        pytest.param(STEPS[2], id="the step after it"),
        pytest.param(STEPS[0], id="the step before it"),
        pytest.param(PlanStep("open", width=0.079), id="a width"),
    ],
)
def test_another_step_than_the_next_approved_one_ends_the_plan(guard: Watched, other: PlanStep) -> None:
    guard.open(HASH)
    guard.check(STEPS[0])
    refuses("not step 1 of the approved plan", guard.check, other)
    refuses("approved plan", guard.check, STEPS[1])  # nor does the right one after that
    assert len(guard.refused) == 2


def test_the_way_back_is_part_of_the_approval_after_closing_and_ends_it() -> None:
    faster = Trajectory(NAMES, (0.0, 0.1), ((0.3, -0.3), (0.4, -0.4)), ((0.0, 0.0), (1.0, -2.0)))
    taken = (*STEPS[:2], PlanStep("approach", faster), STEPS[3], arm("lift", 0.4, 0.5))
    plans = [MotionPlan("chick", taken, 0, None, None, HASH), MotionPlan("cup", taken, 0, None, None, OTHER)]
    opened, back = plans[0].way_back
    assert opened.width == 0.08
    assert back.trajectory == Trajectory(NAMES, (0.0, 0.1), ((0.4, -0.4), (0.3, -0.3)), ((-1.0, 2.0), (0.0, 0.0)))
    steps, pauses, ways = allowed_steps(plans)
    for part in (0, 1):
        guard = Watched()
        guard.allow(HASH, steps, 60.0, pauses, ways)
        guard.open(HASH)
        for step in [*taken, *taken][: 5 * part + 4]:
            guard.check(step)
            if step.phase == "lift":
                guard.close()
                guard.open(HASH)
        guard.check(opened)
        guard.check(back)
        refuses("all steps of the approved plan are done", guard.check, taken[4])
        guard.allow(HASH, steps, 60.0, pauses, ways)
        guard.open(HASH)
        guard.check(taken[0])
        refuses("not step 1 of the approved plan", guard.check, opened)


def test_nothing_passes_without_an_approval() -> None:
    guard = Watched()
    for plan in ("", HASH):
        refuses("not an approved plan", guard.open, plan)
    refuses("no approved plan is open", guard.check, STEPS[0])
    guard.allow(HASH, DIGESTS, 60.0)
    refuses("no approved plan is open", guard.check, STEPS[0])
    guard.allow(HASH, DIGESTS, 60.0)
    refuses("not an approved plan", guard.open, OTHER)


def test_an_approval_is_good_once_and_until_its_deadline(guard: Watched) -> None:
    guard.now = 60.0
    with pytest.raises(ApprovalExpiredError):
        guard.open(HASH)
    guard.now = 59.9
    guard.open(HASH)
    guard.now = 60.0  # opened in time, and begun late
    with pytest.raises(ApprovalExpiredError):
        guard.check(STEPS[0])
    guard.allow(HASH, DIGESTS, 90.0)
    guard.open(HASH)
    guard.check(STEPS[0])
    guard.now = 100.0  # what runs does not expire
    guard.check(STEPS[1])
    refuses("its approval was already used", guard.open, HASH)


def test_the_broker_allows_what_a_person_approved_and_records_what_does_not_pass(office: Any) -> None:
    guard, proposal = office.broker.guard, office.proposal()
    office.broker.propose(proposal, DIGESTS)
    refuses("approved plan", guard.open, proposal.plan_hash)
    yes = office.says(proposal)
    office.broker.decide(yes)
    refuses("approved plan", guard.open, proposal.plan_hash)  # approved, and not begun
    office.broker.begin(yes)
    guard.open(proposal.plan_hash)
    guard.check(STEPS[0])
    office.broker.request_stop("Ann")
    refuses("stop", guard.check, STEPS[1], CancelledError)
    office.broker.end(proposal.goal_id, "stopped")
    refused = [record for record in office.records() if record["event"] == "REFUSED"]
    assert [record["remote"] for record in refused] == ["execution guard"] * 3
    proposal, yes = office.approved()  # a proposal that names no steps lets none pass
    office.broker.begin(yes)
    guard.open(proposal.plan_hash)
    refuses("approved plan", guard.check, STEPS[0])


REFUSALS = (RejectedError, ApprovalExpiredError, CancelledError)
LIFE = 10.0
GOALS = st.integers(0, 4)


class RequestQueue(RuleBasedStateMachine):
    """The broker beside a model of it: what is open, since when, and what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.log = AuditLog(Path(self.folder.name) / "a", lambda: self.now)
        self.broker = ApprovalBroker(self.log, lambda: self.now)
        self.begun: list[int] = []
        self.used: set[int] = set()
        self.clear()

    def clear(self) -> None:
        self.open: int | None = None
        self.shown: int | None = None
        self.since, self.approved, self.running = 0.0, False, False

    def teardown(self) -> None:
        self.log.close()
        verify(self.log.path)
        self.folder.cleanup()

    def decision(self, goal: int, plan: int, approve: bool) -> Decision:
        return Decision(str(uuid.UUID(int=goal)), goal, f"{plan:064x}", approve, "Ann")

    @property
    def alive(self) -> bool:
        return self.running or self.now - self.since < LIFE

    def proposal(self, goal: int) -> Proposal:
        token = (str(uuid.UUID(int=goal)), goal, f"{goal:064x}")
        shown = {"image": b"\x89PNG\r\n\x1a\n", "image_stamp_ns": goal, "image_instruction": "take it"}
        preview = Preview("base", plan_hash=token[2])
        return Proposal(*token, "take it", "it", "from here", "d", "d", LIFE, preview=preview, **shown)

    @rule(goal=GOALS)
    def show(self, goal: int) -> None:
        """A plan that nobody is asked about."""
        self.broker.note("planned", self.proposal(goal))
        if self.open is None or not self.alive:
            self.clear()
            self.shown = goal

    @rule(goal=GOALS)
    def propose(self, goal: int) -> None:
        free = self.open is None or not self.alive
        try:
            self.broker.propose(self.proposal(goal))
        except BusyError:
            assert not free
            return
        except RejectedError:
            assert goal in self.used
            if free and self.shown is None:
                self.clear()
            return
        assert free
        assert goal not in self.used
        self.clear()
        self.open, self.since = goal, self.now
        self.used.add(goal)

    def accepted(self, right: bool, call: Callable[..., None], *given: object) -> bool:
        """Whether the broker takes it, which it has to where the model says so and nowhere else."""
        try:
            call(*given)
        except REFUSALS:
            assert not right
            return False
        assert right
        return True

    @rule(goal=GOALS, plan=GOALS, approve=st.booleans())
    def decide(self, goal: int, plan: int, approve: bool) -> None:
        right = goal == plan == self.open and self.alive and not self.approved and not self.running
        if self.accepted(right, self.broker.decide, self.decision(goal, plan, approve)):
            self.approved = True
            if not approve:
                self.clear()

    @rule(goal=GOALS, plan=GOALS, approve=st.booleans())
    def begin(self, goal: int, plan: int, approve: bool) -> None:
        right = goal == plan == self.open and approve and self.alive and self.approved and not self.running
        if self.accepted(right, self.broker.begin, self.decision(goal, plan, approve)):
            assert goal not in self.begun
            self.begun.append(goal)
            self.running = True

    @precondition(lambda self: self.open is not None)
    @rule(approve=st.sampled_from([True, True, True, False]), begins=st.booleans())
    def act_on_what_is_open(self, approve: bool, begins: bool) -> None:
        (self.begin if begins else self.decide)(self.open, self.open, approve)

    @rule(goal=GOALS)
    def end(self, goal: int) -> None:
        if self.accepted(goal == self.open and self.running, self.broker.end, str(uuid.UUID(int=goal)), "done"):
            self.clear()

    @rule(goal=GOALS)
    def withdraw(self, goal: int) -> None:
        right = goal == self.open and self.alive and not self.running
        assert self.broker.withdraw(str(uuid.UUID(int=goal)), "no more") == right
        if right:
            self.clear()

    @rule()
    def stop(self) -> None:
        self.broker.request_stop("Bob")
        if not self.running and self.shown is None:
            self.clear()

    @precondition(lambda self: self.open is not None)
    @rule(seconds=st.sampled_from([0.1, 0.5, 4.0, 9.5, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def what_a_person_sees_is_so(self) -> None:
        stage = self.broker.view.stage
        if self.shown is not None:
            assert (stage, self.broker.view.id) == (ApprovalStage.PLANNED, None)
        elif self.open is None or not self.alive:
            assert stage in (ApprovalStage.IDLE, ApprovalStage.EXPIRED)
        else:
            waits = ApprovalStage.APPROVED if self.approved else ApprovalStage.PROPOSED
            assert stage is (ApprovalStage.RUNNING if self.running else waits)
            assert self.broker.view.id == str(uuid.UUID(int=self.open))


TestStates = RequestQueue.TestCase
TestStates.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)


JOINTS = ("a", "b")
MESSAGE = ("finger", "b", "a")  # in another order, and with another joint, which may move


@pytest.mark.parametrize(
    ("velocities", "stand"),
    [((9.0, 0.0, 0.0), Stand.STILL), ((0.0, -0.3, 0.0), Stand.MOVING), ((0.0, 0.0, 0.03), Stand.MOVING)],
)
def test_velocities_of_the_named_joints_decide(velocities: tuple[float, ...], stand: Stand) -> None:
    stands = Standstill(JOINTS)
    assert stands.stand(0.0) is Stand.UNKNOWN
    stands.add(1.0, 1.0, ("a", "finger"), (0.0, 0.0), (0.0, 0.0))
    assert stands.stand(1.0) is Stand.UNKNOWN, "messages of other joints say nothing"
    stands.add(1.0, 1.0, MESSAGE, (0.0, 0.1, 0.2), velocities)
    assert stands.stand(1.1) is stand
    assert stands.stand(2.0) is Stand.UNKNOWN, "what is old says nothing"
    assert (stands.heard, stands.stand(1.1, since=0.9)) == (1.0, stand)
    assert stands.stand(1.1, since=1.05) is Stand.UNKNOWN, "nothing was heard since then"


@pytest.mark.parametrize("velocities", [(), (math.nan, math.nan, math.nan), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize(("speed", "stand"), [(0.0, Stand.STILL), (0.2, Stand.MOVING), (math.nan, Stand.UNKNOWN)])
def test_positions_decide_where_velocities_are_untold_or_zero(velocities: Any, speed: float, stand: Stand) -> None:
    stands = Standstill(JOINTS)
    for k in range(8):
        at = 5.0 + 0.06 * k  # seconds of the arm's clock, which is not that of arrival
        there = speed * at if k < 4 else 0.4  # it has stopped
        stands.add(1.0 + 0.06 * k, at, MESSAGE, (0.0, 0.1, there), velocities)
        if k < 3 and velocities != (0.0, 0.0, 0.0):
            assert (stands.stand(1.0 + 0.06 * k) is Stand.UNKNOWN) == (k < 2 or stand is Stand.UNKNOWN)
        if k == 3:
            assert stands.stand(1.2) is stand
    assert stands.stand(1.45) is Stand.STILL


def test_what_was_overtaken_is_not_used_unless_the_clock_was_set_back() -> None:
    stands = Standstill(JOINTS)
    for now, stamp, at in ((1.0, 10.0, 0.0), (1.2, 10.2, 0.1), (1.21, 10.0, 0.0), (1.4, 10.4, 0.1)):
        stands.add(now, stamp, MESSAGE, (0.0, at, at), ())
    assert set(stands.positions.values()) == {0.1}
    assert stands.stand(1.4) is Stand.STILL, "five a second are enough, and the late one is no motion"
    stands.add(1.5, 3.0, MESSAGE, (0.0, 0.7, 0.7), ())
    assert set(stands.positions.values()) == {0.7}
