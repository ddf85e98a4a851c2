# SPDX-License-Identifier: Apache-2.0
"""An approval is of one plan on one image, by the first who decides, in time, used once; and all of it on record."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from spatial_vlm_ros.errors import (
    ApprovalExpiredError,
    AuditError,
    BusyError,
    CancelledError,
    InputError,
    RejectedError,
)
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.manipulation.approval.proposal import Decision, PersonAnswer, Preview
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage

OTHER = "00000000-0000-0000-0000-0000000000ff"


def test_what_is_approved_is_begun_once_and_all_of_it_is_on_record(office: Any) -> None:
    proposal, decision = office.approved()
    assert office.broker.view.stage is ApprovalStage.APPROVED
    office.broker.begin(decision)
    assert office.broker.view.stage is ApprovalStage.RUNNING
    office.broker.end(proposal.goal_id, "the chick is held")
    assert office.broker.view.stage is ApprovalStage.IDLE
    assert "the chick is held" in office.broker.view.words
    assert office.events() == ["LOG_OPENED", "PROPOSED", "APPROVED", "EXECUTION_BEGUN", "EXECUTION_ENDED"]
    for record in office.records()[2:]:
        named = {"goal_id", "scene_stamp_ns", "plan_hash"}
        assert {key: record[key] for key in named} == {key: getattr(proposal, key) for key in named}
    assert verify(office.audit.path).lines == 5


def test_a_person_is_told_of_what_was_never_laid_before_them_and_loses_nothing_by_it(office: Any) -> None:
    office.broker.note("Planned. Nothing moves: unseen obstacles")
    assert (office.broker.view.stage, office.broker.view.words) == (
        ApprovalStage.IDLE,
        "Planned. Nothing moves: unseen obstacles",
    )
    proposal = office.proposed()
    office.broker.note("something else")
    assert (office.broker.view.stage, office.broker.view.id) == (ApprovalStage.PROPOSED, proposal.goal_id)
    assert "something else" not in office.broker.view.words


def test_a_plan_that_is_only_shown_cannot_be_decided_and_is_not_on_record(office: Any) -> None:
    broker, plan = office.broker, office.proposal()
    broker.note("Planned. Nothing moves: plan_only is set", plan)
    view = broker.view
    assert (view.stage, view.on_page, view.words) == (
        ApprovalStage.PLANNED,
        plan,
        "Planned. Nothing moves: plan_only is set",
    )
    assert (view.item, view.id, view.remaining) == (None, None, None)
    assert office.events() == ["LOG_OPENED"]
    for said in (office.says(plan), office.says(plan, approve=False)):
        with pytest.raises(RejectedError, match="not the open proposal"):
            broker.decide(said)
        with pytest.raises(RejectedError, match="not the open proposal"):
            broker.begin(said)
    with pytest.raises(RejectedError):
        broker.wait(plan.goal_id)
    assert not broker.withdraw(plan.goal_id, "the scene has changed")
    office.clock.now += 2 * plan.expires_after
    broker.request_stop("Ann")
    assert broker.view.on_page is plan, "it stays until the next request"
    assert set(office.events()) == {"LOG_OPENED", "REFUSED", "STOP_REQUESTED"}


def test_a_plan_that_is_only_shown_gives_way_to_what_comes_next(office: Any) -> None:
    broker = office.broker
    for comes in (broker.take_down, lambda: broker.note("OK"), lambda: broker.ask(office.question()), office.proposed):
        broker.note("Planned", office.proposal())
        comes()
        assert broker.view.plan_only is None
        assert broker.view.stage is not ApprovalStage.PLANNED
        if broker.view.item is not None:
            broker.note("Planned", office.proposal())
            broker.take_down()
            assert (broker.view.plan_only, broker.view.item is None) == (None, False), "what is open stays open"
            broker.withdraw(broker.view.id, "no more")
            broker.take_down()
            assert broker.view.words == "Withdrawn: no more"


def test_an_image_is_on_record_by_its_hash_alone(office: Any) -> None:
    proposal = office.proposed()
    content = office.records()[1]["content"]
    assert content["picture"]["sha256"] == hashlib.sha256(proposal.image).hexdigest()
    assert content["sentence"] == proposal.sentence
    assert content["candidates"][0]["clauses"][0]["margin_m"] == 0.21
    assert content["preview"]["tip_path"][1] == [0.5, 0.1, 0.2]


def test_a_no_is_a_decision_and_cannot_be_begun(office: Any) -> None:
    proposal = office.proposed()
    office.broker.decide(office.says(proposal, approve=False, reason="the wrong cup"))
    decision = office.broker.wait(proposal.goal_id)
    assert (decision.approve, decision.reason) == (False, "the wrong cup")
    for said in (decision, dataclasses.replace(decision, approve=True)):
        with pytest.raises(RejectedError, match="the wrong cup"):
            office.broker.begin(said)
    assert "EXECUTION_BEGUN" not in office.events()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"goal_id": OTHER}, "not the open proposal"),
        ({"scene_stamp_ns": 5}, "another image"),
        ({"plan_hash": "f" * 64}, "another plan"),
    ],
)
@pytest.mark.parametrize("approve", [True, False])
def test_a_decision_on_something_else_is_refused_and_changes_nothing(
    office: Any, wrong: dict[str, Any], said: str, approve: bool
) -> None:
    proposal = office.proposed()
    with pytest.raises(RejectedError, match=said) as caught:
        office.broker.decide(office.says(proposal, approve, **wrong), "10.0.0.7")
    assert caught.value.status_name == "REJECTED"
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["remote"]) == ("REFUSED", "Ann", "10.0.0.7")
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    office.broker.decide(office.says(proposal))


def test_the_first_who_decides_wins_and_the_second_is_told_who_did(office: Any) -> None:
    proposal = office.proposed()
    office.broker.decide(office.says(proposal, operator="Ann"), "10.0.0.1")
    with pytest.raises(RejectedError, match="already decided: Approved by Ann"):
        office.broker.decide(office.says(proposal, approve=False, operator="Bob"), "10.0.0.2")
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["approve"]) == ("REFUSED", "Bob", False)
    office.broker.begin(office.broker.wait(proposal.goal_id))


def test_many_who_decide_at_once_make_one_decision(office: Any, aside: Callable[..., Callable[[], Any]]) -> None:
    proposal = office.proposed()
    together = threading.Barrier(8)

    def decide(n: int) -> bool:
        together.wait(30)
        try:
            office.broker.decide(office.says(proposal, approve=n % 2 == 0, operator=f"operator {n}"))
        except RejectedError:
            return False
        return True

    results = [aside(lambda n=n: decide(n)) for n in range(8)]
    won = [n for n, result in enumerate(results) if result()]
    assert len(won) == 1
    assert office.broker.wait(proposal.goal_id).operator == f"operator {won[0]}"
    assert office.events().count("REFUSED") == 7
    assert verify(office.audit.path).lines == 10


def test_an_approval_is_used_once(office: Any) -> None:
    proposal, decision = office.approved()
    office.broker.begin(decision)
    with pytest.raises(RejectedError, match="already begun"):
        office.broker.begin(decision)
    with pytest.raises(RejectedError):
        office.broker.wait(proposal.goal_id)
    office.broker.end(proposal.goal_id, "done")
    for replay in (office.broker.begin, office.broker.decide):
        with pytest.raises(RejectedError, match="it has ended: done"):
            replay(decision)
    with pytest.raises(RejectedError, match="already used"):
        office.broker.propose(proposal)
    assert office.events().count("EXECUTION_BEGUN") == 1


def test_an_approval_of_another_plan_is_not_begun(office: Any) -> None:
    _, decision = office.approved()
    with pytest.raises(RejectedError, match="is not its approval"):
        office.broker.begin(dataclasses.replace(decision, plan_hash="a" * 64))
    office.broker.begin(decision)


def test_nothing_is_begun_before_it_is_approved(office: Any) -> None:
    proposal = office.proposed()
    with pytest.raises(RejectedError, match="is not its approval"):
        office.broker.begin(office.says(proposal))


def test_a_late_decision_has_expired(office: Any) -> None:
    proposal = office.proposed(expires_after=10.0)
    office.clock.now += 10.0
    assert office.broker.view.stage is ApprovalStage.EXPIRED
    with pytest.raises(ApprovalExpiredError, match="10 s") as caught:
        office.broker.decide(office.says(proposal))
    assert caught.value.status_name == "APPROVAL_EXPIRED"
    with pytest.raises(ApprovalExpiredError):
        office.broker.wait(proposal.goal_id)
    assert office.events() == ["LOG_OPENED", "PROPOSED", "EXPIRED", "REFUSED"]
    assert "There was no decision" in office.broker.view.words


def test_in_the_last_moment_is_in_time(office: Any) -> None:
    proposal = office.proposed(expires_after=10.0)
    office.clock.now += 9.999
    office.broker.decide(office.says(proposal))
    office.broker.begin(office.broker.wait(proposal.goal_id))


def test_an_approval_that_is_not_begun_in_time_has_expired(office: Any) -> None:
    _, decision = office.approved(expires_after=10.0)
    office.clock.now += 10.0
    with pytest.raises(ApprovalExpiredError):
        office.broker.begin(decision)
    assert "approved, but did not start" in office.broker.view.words
    assert "EXECUTION_BEGUN" not in office.events()


def test_what_runs_does_not_expire(office: Any) -> None:
    proposal, decision = office.approved(expires_after=10.0)
    office.broker.begin(decision)
    office.clock.now += 1000.0
    assert office.broker.view.stage is ApprovalStage.RUNNING
    office.broker.end(proposal.goal_id, "done")


def test_after_one_expired_another_may_come(office: Any) -> None:
    office.proposed(expires_after=10.0)
    office.clock.now += 11.0
    later = office.proposed()
    assert office.broker.view.id == later.goal_id


def test_one_object_at_a_time(office: Any) -> None:
    office.proposed()
    with pytest.raises(BusyError, match="the chick behind the cup"):
        office.proposed()
    with pytest.raises(BusyError):
        office.broker.ask(office.question())


def test_a_waiting_gate_hears_of_the_decision(office: Any, aside: Callable[..., Callable[[], Any]]) -> None:
    proposal = office.proposed()
    result = aside(lambda: office.broker.wait(proposal.goal_id))
    office.broker.decide(office.says(proposal))
    assert result() == office.says(proposal)


def test_a_waiting_gate_hears_that_time_is_over(office: Any, aside: Callable[..., Callable[[], Any]]) -> None:
    proposal = office.proposed(expires_after=10.0)
    result = aside(lambda: office.broker.wait(proposal.goal_id))
    office.clock.now += 10.0
    with pytest.raises(ApprovalExpiredError):
        result()


def test_who_cancels_withdraws(office: Any) -> None:
    proposal = office.proposed()
    with pytest.raises(CancelledError, match="has cancelled"):
        office.broker.wait(proposal.goal_id, cancelled=lambda: True)
    with pytest.raises(CancelledError):
        office.broker.decide(office.says(proposal))
    assert office.events()[-2:] == ["WITHDRAWN", "REFUSED"]


def test_withdrawing_makes_an_approval_void(office: Any) -> None:
    proposal, decision = office.approved()
    assert office.broker.withdraw(proposal.goal_id, "the cup has moved")
    with pytest.raises(CancelledError, match="the cup has moved"):
        office.broker.begin(decision)
    assert not office.broker.withdraw(proposal.goal_id, "again")


def test_what_runs_cannot_be_withdrawn(office: Any) -> None:
    proposal, decision = office.approved()
    office.broker.begin(decision)
    assert not office.broker.withdraw(proposal.goal_id, "too late")


def test_only_what_was_begun_ends_and_once(office: Any) -> None:
    proposal, decision = office.approved()
    with pytest.raises(RejectedError, match="is not running"):
        office.broker.end(proposal.goal_id, "done")
    office.broker.begin(decision)
    office.broker.end(proposal.goal_id, "done")
    with pytest.raises(RejectedError, match="is not running"):
        office.broker.end(proposal.goal_id, "done")


# ------------------------------------------------------------------------------------------------ questions


def test_a_question_is_answered_once(office: Any) -> None:
    question = office.question()
    office.broker.ask(question)
    assert office.broker.view.stage is ApprovalStage.ASKED
    office.broker.answer(PersonAnswer(question.dialogue_id, "the ribbon one", "Ann"))
    assert office.broker.wait_answer(question.dialogue_id).text == "the ribbon one"
    with pytest.raises(RejectedError, match="Ann answered"):
        office.broker.answer(PersonAnswer(question.dialogue_id, "the bonnet one", "Bob"))
    assert office.events() == ["LOG_OPENED", "ASKED", "ANSWERED", "REFUSED"]


def test_an_answer_is_kept_while_the_next_object_is_open(office: Any) -> None:
    question = office.question()
    office.broker.ask(question)
    office.broker.answer(PersonAnswer(question.dialogue_id, "the ribbon one", "Ann"))
    office.proposed()
    assert office.broker.wait_answer(question.dialogue_id).text == "the ribbon one"


def test_the_same_question_may_be_asked_again(office: Any) -> None:
    """Its id is that of the same words on the same image, as of a bag that is played again."""
    question = office.question()
    for text in ("the ribbon one", "the bonnet one"):
        office.broker.ask(question)
        assert office.broker.view.stage is ApprovalStage.ASKED
        office.broker.answer(PersonAnswer(question.dialogue_id, text, "Ann"))
        assert office.broker.wait_answer(question.dialogue_id).text == text


def test_a_late_answer_has_expired(office: Any) -> None:
    question = office.question(expires_after=5.0)
    office.broker.ask(question)
    office.clock.now += 5.0
    with pytest.raises(ApprovalExpiredError):
        office.broker.answer(PersonAnswer(question.dialogue_id, "the ribbon one", "Ann"))


def test_an_answer_to_another_question_is_refused(office: Any) -> None:
    office.broker.ask(office.question())
    with pytest.raises(RejectedError, match="not the open proposal"):
        office.broker.answer(PersonAnswer("nothing", "yes", "Ann"))
    assert office.records()[-1]["text"] == "yes"


def test_a_proposal_is_not_answered_nor_a_question_approved(office: Any) -> None:
    proposal = office.proposed()
    with pytest.raises(RejectedError):
        office.broker.answer(PersonAnswer(proposal.goal_id, "yes", "Ann"))
    office.broker.decide(office.says(proposal))
    with pytest.raises(RejectedError, match="it is a proposal"):
        office.broker.wait_answer(proposal.goal_id)


# ------------------------------------------------------------------------------------------------ stopping


def test_a_stop_reaches_who_executes(office: Any) -> None:
    _, decision = office.approved()
    heard: list[str] = []
    forget = office.broker.on_stop(heard.append)
    office.broker.begin(decision)
    office.broker.request_stop("Ann", "10.0.0.1")
    assert heard == ["Ann"]
    assert office.broker.view.stopping
    assert office.records()[-1]["event"] == "STOP_REQUESTED"
    assert office.records()[-1]["goal_id"] == decision.goal_id
    forget()
    office.broker.request_stop("Ann")
    assert heard == ["Ann"]


@pytest.mark.parametrize("decided", [True, False])
def test_a_stop_makes_what_waits_void(office: Any, decided: bool) -> None:
    proposal = office.proposed()
    decision = office.says(proposal)
    if decided:
        office.broker.decide(decision)
    office.broker.request_stop("Bob")
    for late in (office.broker.decide, office.broker.begin):
        with pytest.raises(CancelledError, match="a stop was requested"):
            late(decision)
    with pytest.raises(CancelledError):
        office.broker.wait(proposal.goal_id)


def test_a_stop_is_told_before_lock_and_disk_and_does_not_fill_the_disk(office: Any) -> None:
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    _, decision = office.approved()
    later: list[Callable[[], None]] = []
    office.broker.request_stop("Ann", aside=later.append)
    assert heard == ["Ann"]
    assert "STOP_REQUESTED" not in office.events()
    with pytest.raises(CancelledError):
        office.broker.begin(decision)
    later.pop()()
    assert office.events().count("STOP_REQUESTED") == 1
    for _ in range(99):
        office.broker.request_stop("Ann")
    assert len(heard) == 100
    assert office.events().count("STOP_REQUESTED") == 30


def test_a_stop_is_heard_when_nothing_is_open(office: Any) -> None:
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    office.broker.request_stop("Ann")
    assert heard == ["Ann"]
    office.approved()  # and what comes later is not held back


def test_one_deaf_listener_does_not_keep_a_stop_from_the_others(office: Any) -> None:
    heard: list[str] = []

    def fails(operator: str) -> None:
        raise RuntimeError(f"not for {operator}")

    office.broker.on_stop(fails)
    office.broker.on_stop(heard.append)
    office.broker.request_stop("Ann")
    assert heard == ["Ann"]
    assert "not for Ann" in office.records()[-1]["outcome"]


def test_a_stop_without_a_proper_name_is_a_stop(office: Any) -> None:
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    proposal = office.proposed()
    with pytest.raises(InputError, match="operator"):
        office.broker.request_stop("")
    assert heard == [""]
    with pytest.raises(CancelledError):
        office.broker.decide(office.says(proposal))


def test_a_stop_is_told_while_a_decision_waits_for_the_disk(office: Any, aside: Callable[..., Callable[[], Any]],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """And an execution that was about to begin does not."""
    _, decision = office.approved()
    heard, on_disk = threading.Event(), threading.Event()
    office.broker.on_stop(lambda _: heard.set())
    add = AuditLog.add

    def slowly(log: AuditLog, event: str, **facts: Any) -> None:
        if event == "EXECUTION_BEGUN":
            on_disk.set()
            assert heard.wait(30)
        add(log, event, **facts)

    monkeypatch.setattr(AuditLog, "add", slowly)
    beginning = aside(lambda: office.broker.begin(decision))
    assert on_disk.wait(30)
    stopping = aside(lambda: office.broker.request_stop("Ann"))
    with pytest.raises(CancelledError, match="a stop was requested"):
        beginning()
    stopping()
    assert office.broker.view.stage is ApprovalStage.IDLE
    assert office.events()[-3:] == ["EXECUTION_BEGUN", "EXECUTION_ENDED", "STOP_REQUESTED"]


# ------------------------------------------------------------------------------------------------ the record fails


def test_what_cannot_be_recorded_is_not_accepted(office: Any) -> None:
    proposal = office.proposed()
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    office.audit.close()
    with pytest.raises(AuditError) as caught:
        office.broker.decide(office.says(proposal))
    assert caught.value.status_name == "REJECTED"
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    with pytest.raises(AuditError):
        office.broker.request_stop("Ann")
    assert heard == ["Ann"]
    assert office.broker.view.stage is ApprovalStage.IDLE
    with pytest.raises(AuditError):
        office.proposed()
    with pytest.raises(CancelledError):
        office.broker.decide(office.says(proposal))
    assert "closed" in office.broker.view.fault


def test_an_execution_that_cannot_be_recorded_is_not_begun(office: Any) -> None:
    _, decision = office.approved()
    office.audit.close()
    with pytest.raises(AuditError):
        office.broker.begin(decision)
    assert office.broker.view.stage is ApprovalStage.APPROVED


def test_an_end_that_cannot_be_recorded_is_an_end(office: Any) -> None:
    proposal, decision = office.approved()
    office.broker.begin(decision)
    office.audit.close()
    with pytest.raises(AuditError):
        office.broker.end(proposal.goal_id, "done")
    assert office.broker.view.stage is ApprovalStage.IDLE


# ------------------------------------------------------------------------------------------------ form


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal_id", "1"),
        ("goal_id", None),
        ("goal_id", OTHER.upper()),
        ("goal_id", "{" + OTHER + "}"),
        ("scene_stamp_ns", -1),
        ("scene_stamp_ns", True),
        ("scene_stamp_ns", 1.0),
        ("scene_stamp_ns", "1"),
        ("scene_stamp_ns", 1 << 63),
        ("plan_hash", "F" * 64),
        ("plan_hash", "f" * 63),
        ("plan_hash", "f" * 64 + "\n"),
        ("approve", 1),
        ("approve", "yes"),
        ("operator", ""),
        ("operator", " Ann"),
        ("operator", "A\nnn"),
        ("operator", "A\u202enn"),
        ("operator", "A" * 81),
        ("reason", "r" * 2001),
        ("reason", None),
    ],
)
def test_a_malformed_decision_is_refused_by_the_name_of_its_field(office: Any, field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        office.says(office.proposal(), **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sentence", ""),
        ("answer", 3),
        ("warnings", (" ",)),
        ("expires_after", 0),
        ("expires_after", float("nan")),
        ("expires_after", 1e9),
        ("image", b"GIF89a"),
        ("candidates", ("d1",)),
        ("preview", "fast"),
    ],
)
def test_a_malformed_proposal_is_refused_by_the_name_of_its_field(office: Any, field: str, value: object) -> None:
    with pytest.raises(InputError, match=field.removesuffix("s")):
        office.proposal(**{field: value})


def test_a_preview_has_finite_points_of_three_numbers() -> None:
    with pytest.raises(InputError, match="tip path"):
        Preview("base", tip_path=((0.0, 0.0, float("inf")),))
    with pytest.raises(InputError, match="tip path"):
        Preview("base", tip_path=((0.0, 0.0),))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="grasp width"):
        Preview("base", grasp_width=-0.1)


@pytest.mark.parametrize("means", [("c1",), ("c1", "c2", "c3"), ("c1", " ")])
def test_each_answer_means_something_or_none_does(office: Any, means: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="answer"):
        office.question(means=means)


@pytest.mark.parametrize("text", ["", " ", "a\tb", "x" * 2001])
def test_an_answer_is_one_line_of_words(text: str) -> None:
    with pytest.raises(InputError, match="answer"):
        PersonAnswer("q1", text, "Ann")


def test_what_is_no_decision_at_all_is_refused(office: Any) -> None:
    for call in (office.broker.decide, office.broker.answer, office.broker.propose, office.broker.ask):
        with pytest.raises(InputError):
            call("yes")


def test_what_a_gate_refuses_is_put_on_record(office: Any) -> None:
    office.broker.refuse(InputError("goal_id", "'x'", "a UUID", "copy it"), "10.0.0.7", operator="Ann")
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["remote"]) == ("REFUSED", "Ann", "10.0.0.7")


def test_desk_and_record_are_light() -> None:
    code = "import sys, spatial_vlm_ros.manipulation.approval.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"starlette", "uvicorn", "jinja2", "cv2", "spatial_vlm_ros.resolver", "rclpy"} & set(loaded)


def test_a_decision_says_all_it_decides(office: Any) -> None:
    assert {field.name for field in dataclasses.fields(Decision)} >= {"goal_id", "scene_stamp_ns", "plan_hash"}
    assert office.says(office.proposal()) != office.says(office.proposal())
