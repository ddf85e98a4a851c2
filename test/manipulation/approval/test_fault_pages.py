# SPDX-License-Identifier: Apache-2.0
"""Requests to the approval page that must decide nothing, and begin nothing: rows of the page of faults."""

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from approval_visitor import TOKEN, Reply, Visitor
from fault_record import record

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage
from spatial_vlm_ros.manipulation.approval.page import Page

HALF_OPEN = 200
pytestmark = pytest.mark.live


class Desk:
    """A page with one proposal, an operator who is signed in, and a stranger."""

    def __init__(self, page: Page, office: Any, ann: Visitor, stranger: Visitor) -> None:
        self.page, self.office, self.ann, self.stranger = page, office, ann, stranger
        self.proposal = office.proposed()
        self.action, self.form = ann.form("Approve this plan")

    def send(self, **changed: str) -> Reply:
        return self.ann.post(self.action, self.form | changed)

    def sent_by_bob(self) -> Reply:
        bob = Visitor(self.page.host, self.page.port).sign_in(TOKEN, "Bob")
        return bob.post(self.action, self.form)

    def begun(self) -> int:
        """How many executions the broker lets begin with decisions of this proposal that nobody has taken."""
        count = 0
        for changed in ({}, {"operator": "Eve"}):
            with contextlib.suppress(SpatialVlmError):
                self.office.broker.begin(self.office.says(self.proposal, **changed))
                count += 1
        return count


@pytest.fixture
def desk(page: Page, office: Any, ann: Visitor, stranger: Visitor) -> Desk:
    return Desk(page, office, ann, stranger)


def _late(desk: Desk) -> Reply:
    desk.office.clock.now += 61
    return desk.send()


def _replayed(desk: Desk) -> Reply:
    """Sent twice, and again when the same plan has been carried out and another one is open."""
    broker = desk.office.broker
    assert [desk.send().status for _ in range(2)] == [303, 409]
    broker.begin(broker.wait(desk.proposal.goal_id))
    broker.end(desk.proposal.goal_id, "done")
    desk.office.proposed()
    return desk.send()


def _rejected_then_approved(desk: Desk) -> Reply:
    assert desk.ann.press("Reject this plan").status == 303
    return desk.send()


REFUSED, ACCESS = "REFUSED", "ACCESS_REFUSED"
ROWS: dict[str, tuple[str, Callable[[Desk], Reply], tuple[int, ...], ApprovalStage, str]] = {
    "a wrong token": ("POST /sign-in", lambda desk: desk.stranger.post("/sign-in", {"token": "x" * 43}), (401, 403),
                      ApprovalStage.PROPOSED, ACCESS),
    "an approval without a session": ("POST without cookie", lambda desk: desk.stranger.post(desk.action, desk.form),
                                      (401, 403), ApprovalStage.PROPOSED, ACCESS),
    "a form of another site": ("Origin: http://evil.example",
                               lambda desk: desk.ann.post(desk.action, desk.form, origin="http://evil.example"),
                               (403,), ApprovalStage.PROPOSED, ACCESS),
    "another host name (DNS rebinding)": ("Host: evil.example", lambda desk: desk.ann.get(host="evil.example"),
                                          (400, 403, 421), ApprovalStage.PROPOSED, ACCESS),
    "a form of another session": ("form_token of Ann by Bob", Desk.sent_by_bob, (403,), ApprovalStage.PROPOSED, ACCESS),
    "an approval of another plan": ("plan_hash changed", lambda desk: desk.send(plan_hash="f" * 64), (409,),
                                    ApprovalStage.PROPOSED, REFUSED),
    "an approval of another scene": ("scene_stamp changed", lambda desk: desk.send(scene_stamp_ns="5"), (409,),
                                     ApprovalStage.PROPOSED, REFUSED),
    "an approval after its time": ("61 s late", _late, (410,), ApprovalStage.EXPIRED, REFUSED),
    "an approval that is sent again": ("the same form twice", _replayed, (409,), ApprovalStage.PROPOSED, REFUSED),
    "an approval of what was rejected": ("reject, then approve", _rejected_then_approved, (409,), ApprovalStage.IDLE,
                                         REFUSED),
}  # fmt: skip
"""Fault in words for people → what was sent, how, and what is right: statuses of HTTP, stage, event on record."""


@pytest.mark.parametrize("fault", ROWS)
def test_a_request_that_must_decide_nothing_decides_nothing_and_is_on_record(desk: Desk, fault: str) -> None:
    injected, send, right, expected, event = ROWS[fault]
    before = len(desk.office.records())
    reply = send(desk)
    stage, events = desk.office.broker.view.stage, [r["event"] for r in desk.office.records()[before:]]
    begun = desk.begun()
    failures = [
        *([f"HTTP {reply.status} is not right"] if reply.status not in right else []),
        *([f"the proposal is {stage.value}"] if stage is not expected else []),
        *([f"{begun} motions may begin"] if begun else []),
        *([f"no {event} on record"] if event not in events else []),
    ]
    _keep(fault, injected, f"HTTP {reply.status}", events, stage, begun, failures)
    assert not failures


def test_connections_that_say_nothing_do_not_keep_a_stop_from_being_served(desk: Desk) -> None:
    heard = desk.office.heard()
    action, form = desk.ann.form("Request stop")
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_OPEN):
            connection = stack.enter_context(socket.create_connection((desk.page.host, desk.page.port)))
            connection.sendall(b"POST /stop HTTP/1.1\r\nHost: ")
        begun = time.monotonic()
        reply = desk.ann.post(action, form)
        seconds = time.monotonic() - begun
    failures = [] if heard == ["Ann"] else [f"HTTP {reply.status}, the stop was heard {len(heard)} times"]
    said = f"HTTP {reply.status}" + (f", stop heard after {seconds:.2f} s" if heard else "")
    stage = desk.office.broker.view.stage
    _keep("half-open connections", f"{HALF_OPEN} sockets, then Stop", said, [], stage, desk.begun(), failures)
    assert not failures


def _keep(fault: str, injected: str, status: str, events: list[str], stage: ApprovalStage, begun: int,
          failures: list[str]) -> None:  # fmt: skip
    name = "".join(c if c.isalnum() else "_" for c in fault)
    record("Pages", name, fault=fault, injected=injected, status=status, on_record=sorted(set(events)),
           stage=stage.value, motions=begun, failures=failures)  # fmt: skip
