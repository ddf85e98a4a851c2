# SPDX-License-Identifier: Apache-2.0
"""An approval is of one plan on one image, by the first who decides, in time, used once; and all of it on record."""

import dataclasses
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tables import called, tables
from waiting import DEADLINE

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage
from spatial_vlm_ros.manipulation.approval.proposal import PersonAnswer, Preview

OTHER = "00000000-0000-0000-0000-0000000000ff"


def refuses(
    words: str, call: Callable[..., object], *given: object, error: type[Exception] = errors.RejectedError
) -> None:
    with pytest.raises(error, match=words or None):
        call(*given)


def test_what_is_approved_is_begun_once_and_all_of_it_is_on_record(office: Any) -> None:
    broker, proposal = office.broker, office.proposed()
    decision = office.says(proposal)
    assert (broker.view.stage, broker.view.id) == (ApprovalStage.PROPOSED, proposal.goal_id)
    refuses("is not its approval", broker.begin, decision)
    broker.decide(decision)
    assert broker.view.stage is ApprovalStage.APPROVED
    assert broker.wait(proposal.goal_id) == decision
    refuses("is not its approval", broker.begin, dataclasses.replace(decision, plan_hash="a" * 64))
    refuses("is not running", broker.end, proposal.goal_id, "done")
    broker.begin(decision)
    assert broker.view.stage is ApprovalStage.RUNNING
    refuses("already begun", broker.begin, decision)
    refuses("", broker.wait, proposal.goal_id)
    assert not broker.withdraw(proposal.goal_id, "too late")
    office.clock.now += 1000.0
    assert broker.view.stage is ApprovalStage.RUNNING, "what runs does not expire"
    broker.end(proposal.goal_id, "the chick is held")
    assert broker.view.stage is ApprovalStage.IDLE
    assert "the chick is held" in broker.view.words
    for replay in (broker.begin, broker.decide):
        refuses("it has ended: the chick is held", replay, decision)
    refuses("is not running", broker.end, proposal.goal_id, "done")
    refuses("already used", broker.propose, proposal)
    accepted = [record for record in office.records() if record["event"] != "REFUSED"]
    named = [(record["goal_id"], record["scene_stamp_ns"], record["plan_hash"]) for record in accepted[2:]]
    assert named == [(proposal.goal_id, proposal.scene_stamp_ns, proposal.plan_hash)] * 3
    events = [record["event"] for record in accepted]
    assert events == ["LOG_OPENED", "PROPOSED", "APPROVED", "EXECUTION_BEGUN", "EXECUTION_ENDED"]
    assert verify(office.audit.path).lines == 10


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
        refuses("the wrong cup", office.broker.begin, said)
    assert "EXECUTION_BEGUN" not in office.events()


WRONG = [
    ({"goal_id": OTHER}, "not the open proposal"),
    ({"scene_stamp_ns": 5}, "another image"),
    ({"plan_hash": "f" * 64}, "another plan"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
@pytest.mark.parametrize("approve", [True, False])
def test_a_decision_on_something_else_is_refused(office: Any, wrong: dict[str, Any], said: str, approve: bool) -> None:
    proposal = office.proposed()
    with pytest.raises(errors.RejectedError, match=said) as caught:
        office.broker.decide(office.says(proposal, approve, **wrong), "10.0.0.7")
    assert caught.value.status_name == "REJECTED"
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["remote"]) == ("REFUSED", "Ann", "10.0.0.7")
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    office.broker.decide(office.says(proposal))


def test_the_first_who_decides_wins_and_the_second_is_told_who_did(office: Any) -> None:
    proposal = office.proposed()
    office.broker.decide(office.says(proposal), "10.0.0.1")
    late = office.says(proposal, approve=False, operator="Bob")
    refuses("already decided: Approved by Ann", office.broker.decide, late, "10.0.0.2")
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["approve"]) == ("REFUSED", "Bob", False)
    office.broker.begin(office.broker.wait(proposal.goal_id))


def test_many_who_decide_at_once_make_one_decision(office: Any, aside: Callable[..., Callable[[], Any]]) -> None:
    proposal = office.proposed()
    together = threading.Barrier(8)

    def decide(n: int) -> bool:
        together.wait(DEADLINE)
        try:
            office.broker.decide(office.says(proposal, approve=n % 2 == 0, operator=f"operator {n}"))
        except errors.RejectedError:
            return False
        return True

    results = [aside(lambda n=n: decide(n)) for n in range(8)]
    won = [n for n, result in enumerate(results) if result()]
    assert len(won) == 1
    assert office.broker.wait(proposal.goal_id).operator == f"operator {won[0]}"
    assert office.events().count("REFUSED") == 7
    assert verify(office.audit.path).lines == 10


def test_a_decision_and_an_approval_are_good_until_their_deadline(office: Any) -> None:
    broker, proposal = office.broker, office.proposed(expires_after=10.0)
    office.clock.now += 9.999
    broker.decide(office.says(proposal))
    broker.begin(broker.wait(proposal.goal_id))
    broker.end(proposal.goal_id, "done")
    proposal, before = office.proposed(expires_after=10.0), len(office.events())
    office.clock.now += 10.0
    assert broker.view.stage is ApprovalStage.EXPIRED
    with pytest.raises(errors.ApprovalExpiredError, match="10 s") as caught:
        broker.decide(office.says(proposal))
    assert caught.value.status_name == "APPROVAL_EXPIRED"
    refuses("", broker.wait, proposal.goal_id, error=errors.ApprovalExpiredError)
    assert office.events()[before:] == ["EXPIRED", "REFUSED"]
    assert "There was no decision" in broker.view.words
    _, decision = office.approved(expires_after=10.0)
    office.clock.now += 10.0
    refuses("", broker.begin, decision, error=errors.ApprovalExpiredError)
    assert "approved, but did not start" in broker.view.words
    assert office.events().count("EXECUTION_BEGUN") == 1
    office.proposed(expires_after=10.0)
    office.clock.now += 11.0
    later = office.proposed()
    assert broker.view.id == later.goal_id, "after one that expired another may come"


def test_one_object_at_a_time(office: Any) -> None:
    office.proposed()
    refuses("the chick behind the cup", office.proposed, error=errors.BusyError)
    refuses("", office.broker.ask, office.question(), error=errors.BusyError)


def test_a_waiting_gate_hears_of_the_decision_and_that_time_is_over(
    office: Any, aside: Callable[..., Callable[[], Any]]
) -> None:
    proposal = office.proposed()
    result = aside(lambda: office.broker.wait(proposal.goal_id))
    office.broker.decide(office.says(proposal))
    assert result() == office.says(proposal)
    office.broker.withdraw(proposal.goal_id, "no more")
    late = office.proposed(expires_after=10.0)
    result = aside(lambda: office.broker.wait(late.goal_id))
    office.clock.now += 10.0
    refuses("", result, error=errors.ApprovalExpiredError)


def test_what_is_cancelled_or_withdrawn_is_void(office: Any) -> None:
    broker, proposal = office.broker, office.proposed()
    refuses("has cancelled", broker.wait, proposal.goal_id, lambda: True, error=errors.CancelledError)
    proposal = office.proposed()
    refuses("a clock changed", broker.wait, proposal.goal_id, lambda: "a clock changed", error=errors.CancelledError)
    refuses("", broker.decide, office.says(proposal), error=errors.CancelledError)
    assert office.events()[-2:] == ["WITHDRAWN", "REFUSED"]
    proposal, decision = office.approved()
    assert broker.withdraw(proposal.goal_id, "the cup has moved")
    refuses("the cup has moved", broker.begin, decision, error=errors.CancelledError)
    assert not broker.withdraw(proposal.goal_id, "again")


def test_a_person_is_told_of_what_was_never_laid_before_them_and_loses_nothing_by_it(office: Any) -> None:
    office.broker.note("Planned. Nothing moves: unseen obstacles")
    view = office.broker.view
    assert (view.stage, view.words) == (ApprovalStage.IDLE, "Planned. Nothing moves: unseen obstacles")
    proposal = office.proposed()
    office.broker.note("something else")
    view = office.broker.view
    assert (view.stage, view.id, "something else" in view.words) == (ApprovalStage.PROPOSED, proposal.goal_id, False)


def test_a_plan_that_is_only_shown_cannot_be_decided_and_is_not_on_record(office: Any) -> None:
    broker, plan, words = office.broker, office.proposal(), "Planned. Nothing moves: plan_only is set"
    broker.note(words, plan)
    view = broker.view
    assert (view.stage, view.on_page, view.words) == (ApprovalStage.PLANNED, plan, words)
    assert (view.item, view.id, view.remaining) == (None, None, None)
    assert office.events() == ["LOG_OPENED"]
    for said in (office.says(plan), office.says(plan, approve=False)):
        refuses("not the open proposal", broker.decide, said)
        refuses("not the open proposal", broker.begin, said)
    refuses("", broker.wait, plan.goal_id)
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


def test_a_question_is_answered_once_and_may_be_asked_again(office: Any) -> None:
    """Its id is that of the same words on the same image, as of a bag that is played again."""
    broker, question = office.broker, office.question()
    for text in ("the ribbon one", "the bonnet one"):
        broker.ask(question)
        assert broker.view.stage is ApprovalStage.ASKED
        broker.answer(PersonAnswer(question.dialogue_id, text, "Ann"))
        assert broker.wait_answer(question.dialogue_id).text == text
    refuses("Ann answered", broker.answer, PersonAnswer(question.dialogue_id, "the bonnet one", "Bob"))
    assert office.events() == ["LOG_OPENED", "ASKED", "ANSWERED", "ASKED", "ANSWERED", "REFUSED"]
    office.proposed()
    assert broker.wait_answer(question.dialogue_id).text == "the bonnet one", "kept while the next object is open"


def test_an_answer_that_is_late_or_to_something_else_is_refused(office: Any) -> None:
    broker, question = office.broker, office.question(expires_after=5.0)
    broker.ask(question)
    refuses("not the open proposal", broker.answer, PersonAnswer("nothing", "yes", "Ann"))
    assert office.records()[-1]["text"] == "yes"
    office.clock.now += 5.0
    late = PersonAnswer(question.dialogue_id, "the ribbon one", "Ann")
    refuses("", broker.answer, late, error=errors.ApprovalExpiredError)
    proposal = office.proposed()
    refuses("", broker.answer, PersonAnswer(proposal.goal_id, "yes", "Ann"))
    broker.decide(office.says(proposal))
    refuses("it is a proposal", broker.wait_answer, proposal.goal_id)


def test_a_stop_reaches_who_executes(office: Any) -> None:
    heard: list[str] = []
    forget = office.broker.on_stop(heard.append)
    office.broker.request_stop("Ann")
    assert heard == ["Ann"], "where nothing is open, too"
    _, decision = office.approved()  # and what comes later is not held back
    office.broker.begin(decision)
    office.broker.request_stop("Bob", "10.0.0.1", by=lambda: " (/desk)")
    assert heard == ["Ann", "Bob"]
    assert office.broker.view.stopping
    assert office.broker.view.words == "Bob (/desk) requested a stop"
    record = office.records()[-1]
    assert (record["event"], record["goal_id"]) == ("STOP_REQUESTED", decision.goal_id)
    office.broker.end(decision.goal_id, "CANCELLED")
    assert office.broker.view.words == "Ended: CANCELLED; Bob (/desk) requested a stop"
    forget()
    office.broker.request_stop("Ann")
    assert heard == ["Ann", "Bob"]
    assert office.broker.view.words == "Ann requested a stop", "where nothing is open, too"


@pytest.mark.parametrize("decided", [True, False])
def test_a_stop_makes_what_waits_void(office: Any, decided: bool) -> None:
    proposal = office.proposed()
    decision = office.says(proposal)
    if decided:
        office.broker.decide(decision)
    office.broker.request_stop("Bob")
    for late in (office.broker.decide, office.broker.begin):
        refuses("a stop was requested", late, decision, error=errors.CancelledError)
    refuses("", office.broker.wait, proposal.goal_id, error=errors.CancelledError)


def test_a_stop_is_told_before_lock_and_disk_and_does_not_fill_the_disk(office: Any) -> None:
    heard = office.heard()
    _, decision = office.approved()
    later: list[Callable[[], None]] = []
    office.broker.request_stop("Ann", aside=later.append)
    assert heard == ["Ann"]
    assert "STOP_REQUESTED" not in office.events()
    refuses("", office.broker.begin, decision, error=errors.CancelledError)
    later.pop()()
    assert office.events().count("STOP_REQUESTED") == 1
    for _ in range(99):
        office.broker.request_stop("Ann")
    assert len(heard) == 100
    assert office.events().count("STOP_REQUESTED") == 30
    office.broker.close()
    assert (office.records()[-1]["event"], office.records()[-1]["unrecorded_before"]) == ("STOP_REQUESTED", 70)


def test_one_deaf_listener_does_not_keep_a_stop_from_the_others(office: Any) -> None:
    def fails(operator: str) -> None:
        raise RuntimeError(f"not for {operator}")

    office.broker.on_stop(fails)
    heard = office.heard()
    office.broker.request_stop("Ann")
    assert heard == ["Ann"]
    assert "not for Ann" in office.records()[-1]["outcome"]


def test_a_stop_without_a_proper_name_is_a_stop(office: Any) -> None:
    heard, proposal = office.heard(), office.proposed()
    refuses("operator", office.broker.request_stop, "", error=errors.InputError)
    assert heard == [""]
    refuses("", office.broker.decide, office.says(proposal), error=errors.CancelledError)


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
            assert heard.wait(DEADLINE)
        add(log, event, **facts)

    monkeypatch.setattr(AuditLog, "add", slowly)
    beginning = aside(lambda: office.broker.begin(decision))
    assert on_disk.wait(DEADLINE)
    stopping = aside(lambda: office.broker.request_stop("Ann"))
    refuses("a stop was requested", beginning, error=errors.CancelledError)
    stopping()
    assert office.broker.view.stage is ApprovalStage.IDLE
    assert office.events()[-3:] == ["EXECUTION_BEGUN", "EXECUTION_ENDED", "STOP_REQUESTED"]


def test_what_cannot_be_recorded_is_not_accepted(office: Any) -> None:
    proposal, heard = office.proposed(), office.heard()
    office.audit.close()
    with pytest.raises(errors.AuditError) as caught:
        office.broker.decide(office.says(proposal))
    assert caught.value.status_name == "REJECTED"
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    refuses("", office.broker.request_stop, "Ann", error=errors.AuditError)
    assert heard == ["Ann"]
    assert office.broker.view.stage is ApprovalStage.IDLE
    refuses("", office.proposed, error=errors.AuditError)
    refuses("", office.broker.decide, office.says(proposal), error=errors.CancelledError)
    assert "closed" in office.broker.view.fault


@pytest.mark.parametrize(("begun", "stage"), [(False, ApprovalStage.APPROVED), (True, ApprovalStage.IDLE)])
def test_what_is_not_recorded_is_not_begun_and_an_end_is_an_end(office: Any, begun: bool, stage: ApprovalStage) -> None:
    proposal, decision = office.approved()
    if begun:
        office.broker.begin(decision)
    office.audit.close()
    with pytest.raises(errors.AuditError):
        office.broker.end(proposal.goal_id, "done") if begun else office.broker.begin(decision)
    assert office.broker.view.stage is stage


def test_refusals_are_put_on_record_and_do_not_fill_the_disk(office: Any) -> None:
    office.broker.refuse(errors.InputError("goal_id", "'x'", "a UUID", "copy it"), "10.0.0.7", operator="Ann")
    record = office.records()[-1]
    assert (record["event"], record["operator"], record["remote"]) == ("REFUSED", "Ann", "10.0.0.7")
    for _ in range(40):
        office.broker.refuse(errors.RejectedError("x" * 100_000, "it is not signed", "sign it"), "approve")
    refused = [record for record in office.records() if record["event"] == "REFUSED"]
    assert (len(refused), max(len(record["outcome"]) for record in refused)) == (30, 500)
    office.clock.now += 60.0
    office.broker.refuse(errors.RejectedError("goal", "it is not signed", "sign it"), "approve")
    assert office.records()[-1]["unrecorded_before"] == 11


MALFORMED = tables(__file__)
PARTS: dict[str, Callable[..., Any]] = {"tuple": lambda *each: each, "bytes": str.encode}


@pytest.mark.parametrize(("field", "values"), MALFORMED["decisions"])
def test_a_malformed_decision_is_refused_by_the_name_of_its_field(office: Any, field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(errors.InputError, match=field):
            office.says(office.proposal(), **{field: value})
    assert office.says(office.proposal()) != office.says(office.proposal())


@pytest.mark.parametrize(("field", "values"), MALFORMED["proposals"])
def test_a_malformed_proposal_is_refused_by_the_name_of_its_field(office: Any, field: str, values: list[Any]) -> None:
    for value in called(values, PARTS):
        with pytest.raises(errors.InputError, match=field.removesuffix("s")):
            office.proposal(**{field: value})


def test_malformed_previews_questions_and_answers_are_refused(office: Any) -> None:
    for way in (((0.0, 0.0, float("inf")),), ((0.0, 0.0),)):
        with pytest.raises(errors.InputError, match="tip path"):
            Preview("base", tip_path=way)  # type: ignore[arg-type]
    with pytest.raises(errors.InputError, match="grasp width"):
        Preview("base", grasp_width=-0.1)
    for means in (("c1",), ("c1", "c2", "c3"), ("c1", " ")):  # each answer means something, or none does
        with pytest.raises(errors.InputError, match="answer"):
            office.question(means=means)
    for text in ("", " ", "a\tb", "x" * 2001):
        refuses("answer", PersonAnswer, "q1", text, "Ann", error=errors.InputError)
    for call in (office.broker.decide, office.broker.answer, office.broker.propose, office.broker.ask):
        refuses("", call, "yes", error=errors.InputError)


@pytest.mark.live
def test_desk_and_record_are_light() -> None:
    code = "import sys, spatial_vlm_ros.manipulation.approval.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"starlette", "uvicorn", "jinja2", "cv2", "spatial_vlm_ros.resolver", "rclpy"} & set(loaded)
