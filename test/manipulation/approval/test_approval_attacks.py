# SPDX-License-Identifier: Apache-2.0
"""The page under attack by whoever reaches its port, and by who has read its code.

Nothing of it may keep a request for a stop from being served within a second, decide anything, or print anything.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from approval_visitor import Visitor

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from spatial_vlm_ros.manipulation.approval.page import Page, serve
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage
from spatial_vlm_ros.web import connections

TOKEN = "t" * 43
STOP_WITHIN = 1.0  # s, from pressing the button to the listener
CROWD = 400


@pytest.fixture
def page(office: Any) -> Iterator[Page]:
    with serve(office.broker, token=TOKEN) as page:
        yield page


@pytest.fixture
def ann(page: Page) -> Visitor:
    return Visitor(page.host, page.port).sign_in(TOKEN)


@pytest.fixture
def raw(page: Page) -> Iterator[Callable[[bytes], socket.socket]]:
    """Opens a connection, sends some bytes, and leaves it open."""
    with contextlib.ExitStack() as held:

        def begin(sent: bytes) -> socket.socket:
            opened = held.enter_context(socket.create_connection((page.host, page.port), timeout=10))
            with contextlib.suppress(ConnectionError):  # one that was cut off already
                opened.sendall(sent.replace(b"HOST", f"{page.host}:{page.port}".encode()))
            return opened

        yield begin


def stopped_after(office: Any, press: Callable[[], Any]) -> float:
    """Seconds from a request for a stop until whoever executes is told."""
    told: list[float] = []
    forget = office.broker.on_stop(lambda _: told.append(time.monotonic()))
    begun = time.monotonic()
    assert press().status == 303
    forget()
    (at,) = told
    return at - begun


def is_cut_off(opened: socket.socket) -> bool:
    """Whether the page ends a connection, within the socket's time limit."""
    try:
        while opened.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


CROWDS = {
    "say nothing": b"",
    "begin a line": b"GET / HTT",
    "never end their headers": b"GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n",
    "announce a form": b"POST /stop HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9000\r\nExpect: 100-continue\r\n\r\na=",
    "never end their chunks": b"POST /sign-in HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Type: "
    b"application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    "take no answer": b"GET /static/page.js HTTP/1.1\r\nHost: HOST\r\n\r\n" * 200,
}


@pytest.mark.parametrize("kind", CROWDS)
def test_a_stop_is_served_within_a_second_behind_hundreds_of_slow_connections(
    ann: Visitor, office: Any, raw: Callable[[bytes], socket.socket], kind: str
) -> None:
    action, form = ann.form("Request stop")
    for _ in range(CROWD):
        raw(CROWDS[kind])
    # Every one is served; the quickest is timed, for the machine may be busy with other tests.
    assert min(stopped_after(office, lambda: ann.post(action, form)) for _ in range(5)) < STOP_WITHIN
    assert ann.get().status == 200


def test_a_stop_is_served_where_all_others_wait_for_the_disk(ann: Visitor, office: Any) -> None:
    action, form = ann.form("Request stop")
    named = {"form_token": form["form_token"], "operator": "Ann"}
    disk, waiting = threading.Event(), threading.Semaphore(0)
    add = office.audit.add

    def slow(event: str, **facts: Any) -> None:
        if event == "NAMED":
            waiting.release()
            assert disk.wait(60)
        add(event, **facts)

    office.audit.add = slow
    others = [threading.Thread(target=ann.post, args=("/name", named)) for _ in range(45)]
    try:
        for other in others:
            other.start()
        for _ in range(40):  # as many as Starlette's threads
            assert waiting.acquire(timeout=30)
        assert min(stopped_after(office, lambda: ann.post(action, form)) for _ in range(5)) < STOP_WITHIN
    finally:
        disk.set()
        for other in others:
            other.join(60)


@pytest.mark.parametrize("kind", CROWDS)
def test_who_is_slow_is_cut_off(
    raw: Callable[[bytes], socket.socket], page: Page, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for phase in connections._MAY_LAST:
        monkeypatch.setitem(connections._MAY_LAST, phase, 0.2)
    assert is_cut_off(raw(CROWDS[kind]))
    assert Visitor(page.host, page.port).get().status == 401


LARGE = {
    "a line": b"GET /" + b"a" * 100_000,
    "a header": b"GET / HTTP/1.1\r\nHost: HOST\r\nCookie: " + b"a" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"X-A: 1\r\n" * 10_000,
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_request_that_is_too_large_is_refused_before_it_ends(
    raw: Callable[[bytes], socket.socket], kind: str
) -> None:
    begun = time.monotonic()
    assert is_cut_off(raw(LARGE[kind]))
    assert time.monotonic() - begun < connections.ASKS_WITHIN


MALFORMED = {
    "a host that is no address": b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n",
    "two lengths": b"POST /stop HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "a negative length": b"POST /stop HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n",
    "garbage after a request": b"GET / HTTP/1.1\r\nHost: HOST\r\nX-A: 1\r\n\r\n\0GET / HTTP/1.1\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x1b[2J\r\n\r\n",
    "another protocol": b"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "another machine's address": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a proxy request": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: HOST\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_request_gets_nothing_and_prints_nothing(
    ann: Visitor,
    office: Any,
    raw: Callable[[bytes], socket.socket],
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    office.proposed()
    opened = raw(MALFORMED[kind])
    reply = opened.recv(65536)
    assert int(reply.split()[1]) in (400, 401, 404, 405), reply
    assert b"chick" not in reply
    assert ann.get().status == 200
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert "".join(capfd.readouterr()) == ""


def test_a_fault_of_the_page_is_on_record_and_shows_nothing_of_its_inside(
    ann: Visitor, office: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError(f"secret {TOKEN}")

    action, form = ann.form("Request stop")
    monkeypatch.setattr(office.broker, "request_stop", broken)
    reply = ann.post(action, form)
    assert (reply.status, reply.headers["x-frame-options"]) == (500, "DENY")
    assert "the error is in the log" in reply.text
    assert office.records()[-1]["outcome"] == "the page failed: RuntimeError. Report this"
    assert TOKEN not in reply.text + "".join(capfd.readouterr()) + str(office.records())


def test_an_approval_of_what_was_shown_before_the_plan_changed_decides_nothing(ann: Visitor, office: Any) -> None:
    first = office.proposed()
    action, shown = ann.form("Approve this plan")
    office.broker.withdraw(first.goal_id, "planned anew")
    second = office.proposed()
    for form in (
        shown,
        shown | {"goal_id": second.goal_id},
        shown | {"plan_hash": second.plan_hash},
        shown | {"goal_id": second.goal_id, "plan_hash": second.plan_hash},
        shown | {"goal_id": second.goal_id, "scene_stamp_ns": str(second.scene_stamp_ns)},
    ):
        assert ann.post(action, form).status in (409, 410)
        assert office.records()[-1]["event"] == "REFUSED"
        assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert "EXECUTION_BEGUN" not in office.events()


def test_refusals_of_strangers_do_not_fill_the_disk(office: Any) -> None:
    from spatial_vlm_ros.errors import RejectedError

    for _ in range(40):
        office.broker.refuse(RejectedError("x" * 100_000, "the token is missing or wrong", "give it"), "approve")
    refused = [record for record in office.records() if record["event"] == "REFUSED"]
    assert (len(refused), max(len(record["outcome"]) for record in refused)) == (30, 500)
    office.clock.now += 60.0
    office.broker.refuse(RejectedError("goal", "the token is missing or wrong", "give it"), "approve")
    assert office.records()[-1]["unrecorded_before"] == 10
