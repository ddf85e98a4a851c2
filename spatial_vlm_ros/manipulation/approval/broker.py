# SPDX-License-Identifier: Apache-2.0
"""Holds a plan until a person decides: one proposal or question at a time, decided once, in time and recorded.

An approval names goal, image and plan; it is valid for one `begin`, until the proposal expires. The planning side calls
`propose`, `wait`, `begin`, `end`; the person's side calls `decide`, `answer`, `request_stop`.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.errors import (
    ApprovalExpiredError,
    AuditError,
    BusyError,
    CancelledError,
    InputError,
    RejectedError,
    SpatialVlmError,
)
from spatial_vlm_ros.manipulation.approval.audit import AuditLog
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard
from spatial_vlm_ros.manipulation.approval.proposal import (
    Decision,
    PersonAnswer,
    PersonQuestion,
    Proposal,
    check_operator,
)
from spatial_vlm_ros.web.guard import RecordBrake

_REMEMBERED = 1000  # finished goals and questions, for messages and to refuse a second use
_LOOK = 0.05  # s between looks at the clock and at `cancelled`
_LONGEST_OUTCOME = 500  # characters of a refusal: any node on the graph can cause one
_AGAIN = "look at the current proposal"


_RECORDED_AS = {"image": "picture"}
"""Fields that have another name in the record, because other programs read it."""


def named(decision: Decision) -> dict[str, Any]:
    """The goal, image and plan that a decision names, and its operator."""
    return {
        "goal_id": decision.goal_id,
        "scene_stamp_ns": decision.scene_stamp_ns,
        "plan_hash": decision.plan_hash,
        "operator": decision.operator,
    }


def content_of(item: Proposal | PersonQuestion, keep: Callable[[bytes], str] | None = None) -> dict[str, Any]:
    """All fields of an item, with images, motion and plan replaced by their hashes and the names of `keep`."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            kept = {} if keep is None else {"file": keep(value)}
            return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value), **kept}
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON does not have this number
        if isinstance(value, dict):
            return {_RECORDED_AS.get(key, key): plain(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(part) for part in value]
        return value

    return plain(dataclasses.asdict(item))


class ApprovalStage(enum.Enum):
    """State of the broker, as shown to a person."""

    IDLE = "Nothing is waiting for you"
    ASKED = "A question is waiting for your answer"
    PROPOSED = "A plan is waiting for your decision"
    APPROVED = "Approved, not started yet"
    RUNNING = "The approved plan is being executed"
    EXPIRED = "Expired: a decision is no longer possible"
    PLANNED = "Plan only: nothing will move"


@dataclass(frozen=True)
class View:
    """What a person should see now: a frozen snapshot of the broker, made at each change.

    Args:
        item: the open proposal or question, or None.
        words: text about how this state came about; may be empty.
        deadline: monotonic seconds at which `item` expires; None without a deadline.
        remaining: seconds until the deadline; None without one.
        fault: why events are missing in the record; "" if none are.
        plan_only: a plan that is shown but not open for approval. Set in the stage PLANNED.
    """

    stage: ApprovalStage
    item: Proposal | PersonQuestion | None = None
    words: str = ""
    deadline: float | None = None
    version: int = 0
    stopping: bool = False
    remaining: float | None = None
    fault: str = ""
    plan_only: Proposal | None = None

    @property
    def on_page(self) -> Proposal | PersonQuestion | None:
        """Item that the page shows: the open one, or a plan that is only shown."""
        return self.item if self.item is not None else self.plan_only

    @property
    def id(self) -> str | None:
        """Goal id or dialogue id of the open item."""
        if isinstance(self.item, Proposal):
            return self.item.goal_id
        return None if self.item is None else self.item.dialogue_id

    @property
    def mark(self) -> str:
        """Value that changes whenever a person should look again."""
        return f"{self.version}-{self.stage.name}"

    def at(self, now: float) -> View:
        """The view at `now`, monotonic seconds; an item past its deadline shows as expired."""
        if self.deadline is None or self.item is None:
            return self
        remaining = max(0.0, self.deadline - now)
        stage = self.stage if remaining else ApprovalStage.EXPIRED
        return dataclasses.replace(self, stage=stage, remaining=remaining)


class ApprovalBroker:
    """Presents one plan or question to a person. Thread-safe.

    Args:
        clock: monotonic seconds.

    Attributes:
        guard: allows the steps of the plan whose approval `begin` has used, until `end` or a stop request.
        brakes: event → what limits its records.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        self.audit, self._clock = audit, clock
        self._changed = threading.Condition()
        self._view = View(ApprovalStage.IDLE)
        self._said: dict[str, Decision | PersonAnswer] = {}  # goal or dialogue → decision
        self._over: OrderedDict[str, SpatialVlmError] = OrderedDict()  # goal or dialogue -> why it is over
        self._listeners: tuple[Callable[[str], None], ...] = ()
        self._stops: set[object] = set()  # stops sent to the listeners that wait for the lock
        self._fault = ""
        self.brakes = {event: RecordBrake(clock) for event in ("REFUSED", "STOP_REQUESTED", "ACCESS_REFUSED")}
        self._steps: tuple[str, ...] = ()  # of the open proposal
        self._pauses: frozenset[int] = frozenset()
        self._back: Mapping[int, Sequence[str]] | None = None
        self.guard = ExecutionGuard(clock, self._on_guard)

    @property
    def view(self) -> View:
        """What a person should see now. Never blocks, not even for the disk."""
        return self._view.at(self._clock())

    def propose(
        self, proposal: Proposal, steps: Sequence[str] = (), pauses: Collection[int] = (),
        back: Mapping[int, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        """Present a plan to a person; the other arguments are those of `ExecutionGuard.allow`."""
        if not isinstance(proposal, Proposal):
            raise InputError("proposal", type(proposal).__name__, "a Proposal", "build one from the plan")
        self._open(ApprovalStage.PROPOSED, proposal, proposal.goal_id, tuple(steps), frozenset(pauses), back)

    def ask(self, question: PersonQuestion) -> None:
        """Present a question to a person. The same question may be asked again: its id depends on words and image."""
        if not isinstance(question, PersonQuestion):
            raise InputError("question", type(question).__name__, "a PersonQuestion", "build one from the resolution")
        self._open(ApprovalStage.ASKED, question, question.dialogue_id)

    def wait(self, goal_id: str, cancelled: Callable[[], str | bool] = lambda: False) -> Decision:
        """Wait for the decision, which may be a rejection; once `cancelled` is true, the proposal is withdrawn.

        What `cancelled` says is the reason on record; without words it is that the client has cancelled it.
        """
        said = self._wait(goal_id, cancelled)
        if not isinstance(said, Decision):
            raise RejectedError(f"goal {goal_id}", "it is a question, not a proposal", "wait for its answer")
        return said

    def wait_answer(self, dialogue_id: str, cancelled: Callable[[], str | bool] = lambda: False) -> PersonAnswer:
        """Wait for the answer to the open question; raises like `wait`."""
        said = self._wait(dialogue_id, cancelled)
        if not isinstance(said, PersonAnswer):
            raise RejectedError(f"question {dialogue_id}", "it is a proposal, not a question", "wait for its decision")
        return said

    def withdraw(self, id_: str, why: str) -> bool:
        """Withdraw a proposal or question; an unused approval becomes void. Returns False if it is already over."""
        with self._changed:
            self._expire()
            if self._view.id != id_ or self._view.stage is ApprovalStage.RUNNING:
                return False
            self._record_loosely("WITHDRAWN", reason=why, **self._token())
            self._close(CancelledError(why), f"Withdrawn: {why}")
            return True

    def begin(self, decision: Decision) -> None:
        """Use an approval, once, so that its plan may be executed. Call it directly before execution.

        Register with `on_stop` before, and react to a stop that comes between `begin` and the first motion.
        """
        with self._changed:
            self._expire()
            about = _goal(decision)
            if self._view.id == decision.goal_id and self._view.stage is ApprovalStage.RUNNING:
                raise self._refused(decision, "", RejectedError(about, "its motion has already begun", _AGAIN))
            if self._view.id != decision.goal_id:
                raise self._refused(decision, "", self._why_not(decision.goal_id, about))
            if self._view.stage is not ApprovalStage.APPROVED or decision != self._said.get(decision.goal_id):
                error = RejectedError(about, "this decision is not its approval", "wait for its approval")
                raise self._refused(decision, "", error)
            self.audit.add("EXECUTION_BEGUN", sync=True, **named(decision))
            self._expire()  # the disk may have been slow
            if self._view.id != decision.goal_id:
                self._record_loosely("EXECUTION_ENDED", outcome="expired before anything moved", **named(decision))
                raise self._why_not(decision.goal_id, _goal(decision))
            if self._stops:
                self._record_loosely("EXECUTION_ENDED", outcome="stopped before anything moved", **named(decision))
                stopped = CancelledError("a stop was requested")
                self._close(stopped, "A stop was requested before anything moved")
                raise stopped
            self._said.pop(decision.goal_id)
            deadline = self._view.deadline or self._clock()
            self.guard.allow(decision.plan_hash, self._steps, deadline, self._pauses, self._back)
            if self._stops:
                self.guard.void(CancelledError("a stop was requested"))
            self._show(ApprovalStage.RUNNING, self._view.item, self._view.words)

    def end(self, goal_id: str, outcome: str) -> None:
        """Finish an execution that `begin` started."""
        with self._changed:
            if self._view.id != goal_id or self._view.stage is not ApprovalStage.RUNNING:
                raise RejectedError(f"goal {goal_id}", "it is not running", "call end once, after begin")
            self.guard.close(over=True)
            token = self._token()
            words = f"Ended: {outcome}; {self._view.words}" if self._view.stopping else f"Ended: {outcome}"
            self._close(RejectedError(f"goal {goal_id}", f"it has ended: {outcome}", _AGAIN), words)
            self.audit.add("EXECUTION_ENDED", sync=True, outcome=outcome, **token)

    def note(self, words: str, plan: Proposal | None = None) -> None:
        """Show a person how a goal ended that was never proposed; does nothing while an item is open.

        A `plan` is shown until `take_down` or the next item; it cannot be decided, and is not recorded.
        """
        with self._changed:
            self._expire()
            if self._view.item is None:
                stage = ApprovalStage.IDLE if plan is None else ApprovalStage.PLANNED
                self._show(stage, None, words, plan_only=plan)

    def take_down(self) -> None:
        """Remove the plan that `note` shows, for example because the next request begins."""
        with self._changed:
            if self._view.stage is ApprovalStage.PLANNED:
                self._show(ApprovalStage.IDLE, None)

    def on_stop(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call a function with the operator's name at every stop request, on the requester's thread."""
        self._listeners = (*self._listeners, listener)

        def forget() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return forget

    def decide(self, decision: Decision, remote: str = "") -> None:
        """Approve or reject the open proposal. The first decision counts."""
        if not isinstance(decision, Decision):
            raise InputError(
                "decision", type(decision).__name__, "a Decision", "name the goal, the scene stamp and the plan hash"
            )
        with self._changed:
            self._expire()
            try:
                proposal = self.decidable(decision)
            except SpatialVlmError as error:
                raise self._refused(decision, remote, error) from None
            event, signature = "APPROVED" if decision.approve else "REJECTED", decision.signature.hex()
            facts = {"reason": decision.reason, "signature": signature, **named(decision)}
            self.audit.add(event, sync=True, remote=remote, **facts)
            self._said[decision.goal_id] = decision
            words = f"{event.capitalize()} by {decision.operator}" + (f": {decision.reason}" * bool(decision.reason))
            if decision.approve:
                self._show(ApprovalStage.APPROVED, proposal, words)
            else:
                rejected = RejectedError(_goal(decision), words, "rephrase the instruction, or change the scene")
                self._close(rejected, words, keep_said=True)

    def answer(self, answer: PersonAnswer, remote: str = "") -> None:
        """Answer the open question. The first answer counts; raises like `decide`."""
        if not isinstance(answer, PersonAnswer):
            raise InputError("answer", type(answer).__name__, "an Answer", "name the question that it answers")
        with self._changed:
            self._expire()
            about = f"question {answer.dialogue_id}"
            facts = {"dialogue_id": answer.dialogue_id, "operator": answer.operator, "text": answer.text}
            if not isinstance(self._view.item, PersonQuestion) or self._view.id != answer.dialogue_id:
                error = self._why_not(answer.dialogue_id, about)
                self._record_loosely("REFUSED", remote=remote, outcome=str(error), **facts)
                raise error
            self.audit.add("ANSWERED", sync=True, remote=remote, **facts)
            self._said[answer.dialogue_id] = answer
            words = f"{answer.operator} answered: {answer.text}"
            self._close(RejectedError(about, f"it was already answered: {words}", _AGAIN), words, keep_said=True)

    def request_stop(
        self, operator: str, remote: str = "", aside: Callable[[Callable[[], None]], object] = lambda job: job(),
        by: Callable[[], str] = lambda: "",
    ) -> None:  # fmt: skip
        """Request a stop of the execution, whatever is open; the listeners are called before everything else.

        What `by` says is added to the operator's name on the page and in the record.

        An open proposal and an unused approval become void. This is a software request, not an emergency stop. Beyond
        30 requests a minute the record only counts them.
        """
        pending = object()
        self._stops.add(pending)
        self.guard.void(CancelledError("a stop was requested"))
        faults: list[str] = []
        for listener in self._listeners:
            try:
                listener(operator)
            except Exception as error:  # the other listeners are called anyway
                faults.append(f"{type(error).__name__}: {error}")
        fault: InputError | None = None
        try:
            check_operator(operator)
        except InputError as error:
            fault = error

        def rest() -> None:
            try:
                self._stopped("somebody" if fault else f"{operator}{by()}", remote, faults)
            finally:
                self._stops.discard(pending)

        aside(rest)
        if fault is not None:
            raise fault

    def _stopped(self, name: str, remote: str, faults: Sequence[str]) -> None:
        with self._changed:
            token = self._token()
            if self._view.stage is ApprovalStage.RUNNING:
                self.guard.void(CancelledError("a stop was requested"))
                self._show(ApprovalStage.RUNNING, self._view.item, f"{name} requested a stop", stopping=True)
            elif self._view.item is not None:
                self._close(CancelledError("a stop was requested"), f"{name} requested a stop")
            else:
                self._show(self._view.stage, None, f"{name} requested a stop", plan_only=self._view.plan_only)
            unrecorded = self.brakes["STOP_REQUESTED"].recordable()
            if unrecorded is not None:
                facts = {"unrecorded_before": unrecorded} if unrecorded else {}
                outcome = "; ".join(faults) or f"{len(self._listeners)} told"
                self.audit.add(
                    "STOP_REQUESTED", sync=True, operator=name, remote=remote, outcome=outcome, **facts, **token
                )

    def refuse(self, error: SpatialVlmError, remote: str = "", **facts: Any) -> None:
        """Record a malformed request, unless there are too many. Raises AuditError if it cannot be recorded."""
        unrecorded = self.brakes["REFUSED"].recordable()
        if unrecorded is not None:
            outcome = str(error)[:_LONGEST_OUTCOME]
            self.audit.add("REFUSED", sync=True, remote=remote, outcome=outcome, unrecorded_before=unrecorded, **facts)

    def close(self) -> None:
        """Record how many refusals and stops were only counted after the last recorded ones; close the record."""
        for event, brake in self.brakes.items():
            if brake.unrecorded:
                self._record_loosely(event, outcome="the record ends", unrecorded_before=brake.unrecorded)
        self.audit.close()

    def _open(
        self, stage: ApprovalStage, item: Proposal | PersonQuestion, id_: str, steps: tuple[str, ...] = (),
        pauses: frozenset[int] = frozenset(), back: Mapping[int, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        with self._changed:
            self._expire()
            if self._view.item is not None:
                raise BusyError(self._view.item.sentence)
            if id_ in self._over and isinstance(item, Proposal):
                raise RejectedError(f"goal {id_}", "it was already used", "make a new id for each proposal")
            self.audit.add(stage.name, sync=True, content=content_of(item, self.audit.keep))
            self._over.pop(id_, None)
            self._said.pop(id_, None)
            self._steps, self._pauses, self._back = steps, pauses, back
            self._show(stage, item, deadline=self._clock() + item.expires_after)

    def _wait(self, id_: str, cancelled: Callable[[], str | bool]) -> Decision | PersonAnswer:
        while True:
            # Called without the lock, because it is the caller's code.
            gone = cancelled()
            with self._changed:
                self._expire()
                said = self._said.get(id_)
                if said is not None:
                    return said
                if self._view.id != id_ or self._view.stage is ApprovalStage.RUNNING:
                    raise self._why_not(id_, f"goal or question {id_}")
                if not gone:
                    self._changed.wait(_LOOK)
                    continue
            self.withdraw(id_, gone if isinstance(gone, str) else "the client has cancelled it")

    def _expire(self) -> None:
        view = self._view
        if view.deadline is None or self._clock() < view.deadline or view.item is None:
            return
        self._record_loosely("EXPIRED", outcome=view.stage.name, **self._token())
        about = f"goal {view.id}" if isinstance(view.item, Proposal) else f"question {view.id}"
        words = (
            "It was approved, but did not start in time"
            if view.stage is ApprovalStage.APPROVED
            else "There was no decision in time"
        )
        self._close(ApprovalExpiredError(about, view.item.expires_after), words, ApprovalStage.EXPIRED)

    def _close(
        self, error: SpatialVlmError, words: str, stage: ApprovalStage = ApprovalStage.IDLE, keep_said: bool = False
    ) -> None:
        """Close the open item; callers that still wait for it or come late get `error`."""
        if self._view.id is not None:
            self._over[self._view.id] = error
            if not keep_said:
                self._said.pop(self._view.id, None)
            while len(self._over) > _REMEMBERED:
                self._said.pop(self._over.popitem(last=False)[0], None)
        self._show(stage, None, words)

    def _show(
        self,
        stage: ApprovalStage,
        item: Proposal | PersonQuestion | None,
        words: str = "",
        deadline: float | None = None,
        stopping: bool = False,
        plan_only: Proposal | None = None,
    ) -> None:
        if deadline is None and stage is ApprovalStage.APPROVED:
            deadline = self._view.deadline
        version = self._view.version + 1
        self._view = View(stage, item, words, deadline, version, stopping, fault=self._fault, plan_only=plan_only)
        self._changed.notify_all()

    def decidable(self, decision: Decision) -> Proposal:
        """The open proposal, if this may decide it; waits neither for a lock nor for the disk, and records nothing."""
        view, about = self.view, _goal(decision)
        proposal = view.item
        if not isinstance(proposal, Proposal) or proposal.goal_id != decision.goal_id:
            raise self._why_not(decision.goal_id, about)
        if decision.plan_hash != proposal.plan_hash or decision.scene_stamp_ns != proposal.scene_stamp_ns:
            what = "plan" if decision.plan_hash != proposal.plan_hash else "image"
            raise RejectedError(about, f"its proposal now has another {what}", _AGAIN)
        if view.stage is ApprovalStage.EXPIRED:
            raise ApprovalExpiredError(about, proposal.expires_after)
        if view.stage is not ApprovalStage.PROPOSED:
            raise RejectedError(about, f"it was already decided: {view.words}", _AGAIN)
        if decision.approve and proposal.barred:
            raise RejectedError(about, proposal.barred, "a plan that is not shown cannot be approved: reject it")
        return proposal

    def _why_not(self, id_: str, about: str) -> SpatialVlmError:
        known = self._over.get(id_)
        if known is None:
            return RejectedError(about, "it is not the open proposal or question", _AGAIN)
        return copy.copy(known)

    def _refused(self, decision: Decision, remote: str, error: SpatialVlmError) -> SpatialVlmError:
        """The error for a refused decision, recorded."""
        self._record_loosely("REFUSED", remote=remote, outcome=str(error), approve=decision.approve,
                             reason=decision.reason, **named(decision))  # fmt: skip
        return error

    def _on_guard(self, error: SpatialVlmError) -> None:
        with self._changed:
            self._record_loosely("REFUSED", remote="execution guard", outcome=str(error), **self._token())

    def _record_loosely(self, event: str, **facts: Any) -> None:
        """Record an event that happened in any case, such as an expiry; a failure is not raised."""
        try:
            self.audit.add(event, sync=True, **facts)
        except AuditError as error:
            self._fault = str(error)
            self._view = dataclasses.replace(self._view, version=self._view.version + 1, fault=self._fault)

    def _token(self) -> dict[str, Any]:
        item = self._view.item
        if isinstance(item, Proposal):
            return {"goal_id": item.goal_id, "scene_stamp_ns": item.scene_stamp_ns, "plan_hash": item.plan_hash}
        return {} if item is None else {"dialogue_id": item.dialogue_id}


def _goal(decision: Decision) -> str:
    return f"goal {decision.goal_id}"
