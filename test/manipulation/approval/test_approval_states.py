# SPDX-License-Identifier: Apache-2.0
"""Whatever people and gates do, in whatever order: nothing begins that was not approved as it is, in time, and once."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spatial_vlm_ros.errors import ApprovalExpiredError, BusyError, CancelledError, RejectedError
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
from spatial_vlm_ros.manipulation.approval.proposal import Decision, Preview, Proposal
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage

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

    @rule(goal=GOALS, plan=GOALS, approve=st.booleans())
    def decide(self, goal: int, plan: int, approve: bool) -> None:
        right = goal == plan == self.open and self.alive and not self.approved and not self.running
        try:
            self.broker.decide(self.decision(goal, plan, approve))
        except REFUSALS:
            assert not right
            return
        assert right
        if approve:
            self.approved = True
        else:
            self.clear()

    @rule(goal=GOALS, plan=GOALS, approve=st.booleans())
    def begin(self, goal: int, plan: int, approve: bool) -> None:
        right = goal == plan == self.open and approve and self.alive and self.approved and not self.running
        try:
            self.broker.begin(self.decision(goal, plan, approve))
        except REFUSALS:
            assert not right
            return
        assert right
        assert goal not in self.begun
        self.begun.append(goal)
        self.running = True

    @precondition(lambda self: self.open is not None)
    @rule(approve=st.sampled_from([True, True, True, False]))
    def decide_on_what_is_open(self, approve: bool) -> None:
        assert self.open is not None
        self.decide(self.open, self.open, approve)

    @precondition(lambda self: self.open is not None)
    @rule()
    def begin_what_is_open(self) -> None:
        assert self.open is not None
        self.begin(self.open, self.open, True)

    @rule(goal=GOALS)
    def end(self, goal: int) -> None:
        right = goal == self.open and self.running
        try:
            self.broker.end(str(uuid.UUID(int=goal)), "done")
        except RejectedError:
            assert not right
            return
        assert right
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
