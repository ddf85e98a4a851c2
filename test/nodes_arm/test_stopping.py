# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a motion in whatever phase: the arm stands, nothing follows, the gripper holds, the answer is true."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mujoco")

from action_msgs.msg import GoalStatus
from live_domain import free_domain
from waiting import SLOWNESS

from benchmarks.arm_stack import StackError
from benchmarks.stopping import EVENTS, PHASES, SENTENCE, Watched, possible, trial
from spatial_vlm_ros.manipulation.approval.audit import verify

AFTERWARDS = "take the lemon"  # the hand still hides what it has put down
SOON = 4.0  # s, on a machine that may be busy; what is not stopped goes on with the next trajectory before that
ANSWERS = {
    "stop service": "CANCELLED", "Stop of the page": "CANCELLED", "cancel": "CANCELLED",
    "controller cancelled": "EXECUTION_FAILED", "planner_gate": "CANCELLED", "resolver": "CANCELLED",
    "planner": "EXECUTION_FAILED",
}  # fmt: skip
PLANNING = {"resolver": ("goes on",), "planner": ("PLANNER_UNAVAILABLE", "goes on")}
"""While it plans the resolver is not needed, and after the last plan the planner is not."""
ALWAYS = (("client killed", "reach"),)
NOTICED_LATE = (("client killed", "place"), ("SIGKILL resolver", "place"))
"""Ends of which nothing is said, noticed by silence: the withdrawal may have begun by then, and is stopped."""
DONE_FIRST = (("SIGKILL resolver", "withdraw"),)
"""The last motion may end before it is noticed, and then everything was done."""
ALIKE = ("approach", "reach", "withdraw"), ("carry", "lift", "lower")
"""Phases in which the arm moves empty, or with an object: each event in one of either, in turn, and in all others.

`python -m benchmarks.stopping` tries every event in every phase.
"""


def _tried(n: int, event: str, phase: str) -> bool:
    alike = next((each for each in ALIKE if phase in each), (phase,) * 3)
    return possible(event, phase) and (alike[(n + 1) % 3] == phase or (event, phase) in ALWAYS)


CASES = [
    pytest.param(event, phase, marks=() if (event, phase) in ALWAYS else pytest.mark.slow, id=f"{event}-{phase}")
    for phase in PHASES
    for n, event in enumerate(EVENTS)
    if _tried(n, event, phase)
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    before = dict(os.environ)
    with free_domain() as domain:
        made = Watched(tmp_path_factory.mktemp("stack"), domain)
        made.slowness = SLOWNESS * 2  # its limits are those of a benchmark, which runs alone
        try:
            made.listen()
            yield made
        finally:
            made.close()
            os.environ.clear()
            os.environ.update(before)


@pytest.mark.parametrize(("event", "phase"), CASES)
def test_the_arm_stands_soon_and_the_answer_says_so(stack: Watched, event: str, phase: str) -> None:
    try:
        told = trial(stack, event, phase)
    except StackError:
        stack.recover()  # for the next ones
        raise
    whole = json.dumps(told)  # pytest shortens everything but text
    assert told["seconds"] < SOON, whole
    assert told["later_goals"] <= ((event, phase) in NOTICED_LATE), whole
    assert not told["opened"], whole
    answers = {name: (answer,) for name, answer in ANSWERS.items()} | (PLANNING if phase == "plan" else {})
    expected = next((right for name, right in answers.items() if event == name or event.endswith(f" {name}")), ())
    if told["answer"]:
        assert told["answer"] in expected or (told["answer"] == "OK" and (event, phase) in DONE_FIRST), whole
        assert told["answer"] != "OK" or told["last_goal"] == GoalStatus.STATUS_SUCCEEDED, whole
        assert "may still be moving" not in told["message"], whole


@pytest.mark.slow
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "plan"])
def test_after_a_stop_in_any_phase_the_next_request_needs_no_persons_hand(stack: Watched, phase: str) -> None:
    try:
        told = trial(stack, "stop service", phase)
        stack.fresh()
        words = AFTERWARDS if phase in ("place", "withdraw") else SENTENCE
        words = "put it on the tray" if "The hand holds the chick" in told["message"] else words
        picking = stack.send(words)
        proposal = stack.proposed(picking)
        assert proposal is not None, (words, picking.result.status.message)
        assert stack.approve(proposal) == "OK"
        assert stack.end(picking).status == "OK", (words, picking.result.status.message)
        holds = lambda: stack.verdict()["things"]["lemon"]["held"]  # noqa: E731
        stack.until(
            lambda: holds() if words == AFTERWARDS else stack.verdict()["delivered"], f"physics agrees: {words}"
        )
    except StackError:
        stack.recover()
        raise


def test_all_of_it_is_on_record(stack: Watched) -> None:
    path: Any = stack.log / "audit.jsonl"
    assert verify(path).lines > 0
    said = path.read_text()
    assert said.count('"EXECUTION_BEGUN"') > said.count("OK: Done")
