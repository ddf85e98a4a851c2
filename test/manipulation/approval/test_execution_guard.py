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
    guard.open(HASH)
    guard.check(STEPS[0])
    refuses("not step 1 of the approved plan", guard.check, changed())
    refuses("approved plan", guard.check, STEPS[1])  # nor does the right one after that
    assert len(guard.refused) == 2


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


def test_a_stop_lets_nothing_more_pass(guard: Watched) -> None:
    guard.open(HASH)
    guard.check(STEPS[0])
    guard.void(CancelledError("a stop was requested"))
    refuses("a stop was requested", guard.check, STEPS[1], CancelledError)


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
