# SPDX-License-Identifier: Apache-2.0
"""Requests to the approval page that must decide nothing: rows of docs/faults.md. Nothing may be begun after any."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from approval_visitor import Reply, Visitor
from fault_record import record

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from spatial_vlm_ros.manipulation.approval.page import Page, serve

TOKEN = "t" * 43
APPROVE = "Approve this plan"
HALF_OPEN = 200
SOON = 1.0  # s

pytestmark = pytest.mark.slow


class Desk:
    """A page with one proposal, an operator who is signed in, and a stranger."""

    def __init__(self, page: Page, office: Any) -> None:
        self.page, self.office = page, office
        self.ann, self.stranger = Visitor(page.host, page.port).sign_in(TOKEN), Visitor(page.host, page.port)
        self.proposal = office.proposed()
        self.action, self.form = self.ann.form(APPROVE)

    def begun(self) -> int:
        """How many executions the broker lets begin with decisions of this proposal that nobody has taken."""
        count = 0
        for changed in ({}, {"operator": "Eve"}):
            with contextlib.suppress(SpatialVlmError):
                self.office.broker.begin(self.office.says(self.proposal, **changed))
                count += 1
        return count


@dataclass(frozen=True)
class PageRow:
    """One request.

    Args:
        fault: in words for people.
        injected: what was sent, short.
        send: sends it; the reply.
        right: statuses of HTTP that are right.
        stage: of the proposal afterwards.
        event: of the record that has to be there; "" = none.
    """

    fault: str
    injected: str
    send: Callable[[Desk], Reply]
    right: tuple[int, ...]
    stage: ApprovalStage = ApprovalStage.PROPOSED
    event: str = "ACCESS_REFUSED"


def _wrong_token(desk: Desk) -> Reply:
    return desk.stranger.post("/sign-in", {"token": "x" * 43})


def _no_session(desk: Desk) -> Reply:
    return desk.stranger.post(desk.action, desk.form)


def _foreign_origin(desk: Desk) -> Reply:
    return desk.ann.post(desk.action, desk.form, origin="http://evil.example")


def _foreign_host(desk: Desk) -> Reply:
    return desk.ann.get(host="evil.example")


def _another_session(desk: Desk) -> Reply:
    bob = Visitor(desk.page.host, desk.page.port).sign_in(TOKEN, "Bob")
    return bob.post(desk.action, desk.form)


def _another_plan(desk: Desk) -> Reply:
    return desk.ann.post(desk.action, desk.form | {"plan_hash": "f" * 64})


def _another_scene(desk: Desk) -> Reply:
    return desk.ann.post(desk.action, desk.form | {"scene_stamp_ns": "5"})


def _late(desk: Desk) -> Reply:
    desk.office.clock.now += 61
    return desk.ann.post(desk.action, desk.form)


def _replayed(desk: Desk) -> Reply:
    """Sent again when the same plan has been carried out."""
    broker = desk.office.broker
    assert desk.ann.post(desk.action, desk.form).status == 303
    broker.begin(broker.wait(desk.proposal.goal_id))
    broker.end(desk.proposal.goal_id, "done")
    desk.office.proposed()
    return desk.ann.post(desk.action, desk.form)


def _rejected_then_approved(desk: Desk) -> Reply:
    assert desk.ann.press("Reject this plan").status == 303
    return desk.ann.post(desk.action, desk.form)


ROWS = (
    PageRow("a wrong token", "POST /sign-in", _wrong_token, (401, 403)),
    PageRow("an approval without a session", "POST without cookie", _no_session, (401, 403)),
    PageRow("a form of another site", "Origin: http://evil.example", _foreign_origin, (403,)),
    PageRow("another host name (DNS rebinding)", "Host: evil.example", _foreign_host, (400, 403, 421)),
    PageRow("a form of another session", "form_token of Ann by Bob", _another_session, (403,)),
    PageRow("an approval of another plan", "plan_hash changed", _another_plan, (409,), event="REFUSED"),
    PageRow("an approval of another scene", "scene_stamp changed", _another_scene, (409,), event="REFUSED"),
    PageRow("an approval after its time", "61 s late", _late, (410,), ApprovalStage.EXPIRED, "REFUSED"),
    PageRow("an approval that is sent again", "the same form twice", _replayed, (409,), event="REFUSED"),
    PageRow("an approval of what was rejected", "reject, then approve", _rejected_then_approved, (409,),
            ApprovalStage.IDLE, "REFUSED"),
)  # fmt: skip


@pytest.fixture
def desk(office: Any) -> Iterator[Desk]:
    with serve(office.broker, token=TOKEN) as page:
        yield Desk(page, office)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_a_request_that_must_decide_nothing_decides_nothing_and_is_on_record(desk: Desk, row: PageRow) -> None:
    before = len(desk.office.records())
    reply = row.send(desk)
    stage, events = desk.office.broker.view.stage, [r["event"] for r in desk.office.records()[before:]]
    begun = desk.begun()
    failures = [
        *([f"HTTP {reply.status} is not right"] if reply.status not in row.right else []),
        *([f"the proposal is {stage.value}"] if stage is not row.stage else []),
        *([f"{begun} motions may begin"] if begun else []),
        *([f"no {row.event} on record"] if row.event and row.event not in events else []),
    ]
    _keep(row.fault, row.injected, f"HTTP {reply.status}", events, stage.value, begun, failures)
    assert not failures


def test_connections_that_say_nothing_do_not_keep_a_stop_from_being_served(desk: Desk) -> None:
    heard: list[str] = []
    desk.office.broker.on_stop(heard.append)
    action, form = desk.ann.form("Request stop")
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_OPEN):
            connection = stack.enter_context(socket.create_connection((desk.page.host, desk.page.port)))
            connection.sendall(b"POST /stop HTTP/1.1\r\nHost: ")
        begun = time.monotonic()
        reply = desk.ann.post(action, form)
        seconds = time.monotonic() - begun
    served = heard == ["Ann"] and seconds < SOON
    failures = [] if served else [f"HTTP {reply.status}, the stop was heard {len(heard)} times"]
    said = f"HTTP {reply.status}" + (f", stop heard after {seconds:.2f} s" if heard else "")
    stage = desk.office.broker.view.stage.value
    _keep("half-open connections", f"{HALF_OPEN} sockets, then Stop", said, [], stage, desk.begun(), failures)
    assert served


def _keep(fault: str, injected: str, status: str, events: list[str], stage: str, begun: int,
          failures: list[str]) -> None:  # fmt: skip
    name = "".join(c if c.isalnum() else "_" for c in fault)
    record("Pages", name, fault=fault, injected=injected, status=status, on_record=sorted(set(events)), stage=stage,
           motions=begun, failures=failures)  # fmt: skip
