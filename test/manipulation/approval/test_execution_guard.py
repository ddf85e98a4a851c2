# SPDX-License-Identifier: Apache-2.0
"""The guard before a controller: only the approved plan passes, each step once, in order and in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from spatial_vlm_ros.errors import ApprovalExpiredError, CancelledError, RejectedError, SpatialVlmError
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard, step_digest
from spatial_vlm_ros.manipulation.planning.planner import PlanStep, Trajectory

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
    return Watched()


def test_the_steps_of_an_approved_plan_pass_once_and_in_order(guard: Watched) -> None:
    guard.allow(HASH, DIGESTS, 60.0)
    guard.open(HASH)
    for step in STEPS:
        guard.check(step)
    assert guard.refused == []
    with pytest.raises(RejectedError, match="all steps of the approved plan are done"):
        guard.check(STEPS[-1])
    guard.close()
    with pytest.raises(RejectedError):
        guard.open(HASH)
    assert len(guard.refused) == 2


def moved(step: PlanStep) -> PlanStep:
    """Its last position a hair elsewhere: what changes one bit of one number."""
    assert step.trajectory is not None
    *rows, last = step.trajectory.positions
    other = (math.nextafter(last[0], 1.0), *last[1:])
    return dataclasses.replace(step, trajectory=dataclasses.replace(step.trajectory, positions=(*rows, other)))


def later(step: PlanStep) -> PlanStep:
    """Its last time a nanosecond later."""
    assert step.trajectory is not None
    *times, last = step.trajectory.times
    return dataclasses.replace(step, trajectory=dataclasses.replace(step.trajectory, times=(*times, last + 1e-9)))


@pytest.mark.parametrize(
    "changed",
    [
        lambda: moved(STEPS[1]),
        lambda: later(STEPS[1]),
        lambda: dataclasses.replace(STEPS[1], phase="carry"),
        lambda: STEPS[2],
        lambda: STEPS[0],
        lambda: PlanStep("open", width=0.079),
    ],
    ids=["a position", "a time", "another phase", "the step after it", "the step before it", "a width"],
)
def test_another_step_than_the_next_approved_one_ends_the_plan(guard: Watched, changed: Callable[[], PlanStep]) -> None:
    guard.allow(HASH, DIGESTS, 60.0)
    guard.open(HASH)
    guard.check(STEPS[0])
    with pytest.raises(RejectedError, match="not step 1 of the approved plan"):
        guard.check(changed())
    with pytest.raises(RejectedError):  # nor does the right one after that
        guard.check(STEPS[1])
    assert len(guard.refused) == 2


def test_nothing_passes_without_an_approval(guard: Watched) -> None:
    for plan in ("", HASH):
        with pytest.raises(RejectedError, match="not an approved plan"):
            guard.open(plan)
    with pytest.raises(RejectedError, match="no approved plan is open"):
        guard.check(STEPS[0])
    guard.allow(HASH, DIGESTS, 60.0)
    with pytest.raises(RejectedError, match="no approved plan is open"):
        guard.check(STEPS[0])
    guard.allow(HASH, DIGESTS, 60.0)
    with pytest.raises(RejectedError, match="not an approved plan"):
        guard.open(OTHER)


def test_an_approval_is_good_once_and_until_its_deadline(guard: Watched) -> None:
    guard.allow(HASH, DIGESTS, 60.0)
    guard.now = 60.0
    with pytest.raises(ApprovalExpiredError):
        guard.open(HASH)
    guard.now = 59.9
    guard.open(HASH)
    guard.check(STEPS[0])
    guard.now = 100.0  # what runs does not expire
    guard.check(STEPS[1])
    with pytest.raises(RejectedError, match="its approval was already used"):
        guard.open(HASH)


def test_an_approval_that_was_opened_in_time_is_not_begun_late(guard: Watched) -> None:
    guard.allow(HASH, DIGESTS, 60.0)
    guard.open(HASH)
    guard.now = 60.0
    with pytest.raises(ApprovalExpiredError):
        guard.check(STEPS[0])


def test_a_stop_lets_nothing_more_pass(guard: Watched) -> None:
    guard.allow(HASH, DIGESTS, 60.0)
    guard.open(HASH)
    guard.check(STEPS[0])
    guard.void(CancelledError("a stop was requested"))
    with pytest.raises(CancelledError, match="a stop was requested"):
        guard.check(STEPS[1])


def test_the_broker_allows_what_a_person_approved_and_records_what_does_not_pass(office: Any) -> None:
    guard, proposal = office.broker.guard, office.proposal()
    office.broker.propose(proposal, DIGESTS)
    with pytest.raises(RejectedError):
        guard.open(proposal.plan_hash)
    yes = office.says(proposal)
    office.broker.decide(yes)
    with pytest.raises(RejectedError):  # approved, and not begun
        guard.open(proposal.plan_hash)
    office.broker.begin(yes)
    guard.open(proposal.plan_hash)
    guard.check(STEPS[0])
    office.broker.request_stop("Ann")
    with pytest.raises(CancelledError):
        guard.check(STEPS[1])
    office.broker.end(proposal.goal_id, "stopped")
    refused = [record for record in office.records() if record["event"] == "REFUSED"]
    assert [record["remote"] for record in refused] == ["execution guard"] * 3


def test_a_proposal_that_names_no_steps_lets_none_pass(office: Any) -> None:
    proposal, yes = office.approved()
    office.broker.begin(yes)
    office.broker.guard.open(proposal.plan_hash)
    with pytest.raises(RejectedError):
        office.broker.guard.check(STEPS[0])
