# SPDX-License-Identifier: Apache-2.0
"""The page under attack by whoever reaches its port, and by who has read its code.

Nothing of it may keep a request for a stop from being served, decide anything, or print anything.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from approval_visitor import TOKEN, Visitor

from spatial_vlm_ros.manipulation.approval.page import Page
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage
from spatial_vlm_ros.web import connections

CROWD = 400
pytestmark = pytest.mark.live


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is cut off for being slow."""
    for phase in connections._MAY_LAST:
        monkeypatch.setitem(connections._MAY_LAST, phase, 600.0)


@pytest.fixture
def raw(page: Page) -> Iterator[Callable[[bytes], socket.socket]]:
    """Opens a connection, sends some bytes, and leaves it open."""
    with contextlib.ExitStack() as held:

        def begin(sent: bytes) -> socket.socket:
            opened = held.enter_context(socket.create_connection((page.host, page.port), timeout=20))
            with contextlib.suppress(ConnectionError):  # one that was cut off already
                opened.sendall(sent.replace(b"HOST", f"{page.host}:{page.port}".encode()))
            return opened

        yield begin


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


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", CROWDS)
def test_a_stop_is_served_behind_hundreds_of_slow_connections(
    ann: Visitor, office: Any, raw: Callable[[bytes], socket.socket], kind: str
) -> None:
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    action, form = ann.form("Request stop")
    for _ in range(CROWD):
        raw(CROWDS[kind])
    assert ann.post(action, form).status == 303
    assert heard == ["Ann"]
    assert ann.get().status == 200


def test_a_stop_is_served_where_all_others_wait_for_the_disk(ann: Visitor, office: Any) -> None:
    action, form = ann.form("Request stop")
    named = {"form_token": form["form_token"], "operator": "Ann"}
    disk, waiting, heard = threading.Event(), threading.Semaphore(0), threading.Event()
    office.broker.on_stop(lambda _: heard.set())
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
        assert ann.post(action, form).status == 303
        assert heard.is_set()
        assert not disk.is_set()
    finally:
        disk.set()
        for other in others:
            other.join(60)


@pytest.mark.parametrize("kind", CROWDS)
def test_who_is_slow_is_cut_off(
    raw: Callable[[bytes], socket.socket], stranger: Visitor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for phase in connections._MAY_LAST:
        monkeypatch.setitem(connections._MAY_LAST, phase, 0.2)
    assert is_cut_off(raw(CROWDS[kind]))
    assert stranger.get().status == 401


LARGE = {
    "a line": b"GET /" + b"a" * 100_000,
    "a header": b"GET / HTTP/1.1\r\nHost: HOST\r\nCookie: " + b"a" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"X-A: 1\r\n" * 10_000,
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", LARGE)
def test_a_request_that_is_too_large_is_refused_before_it_ends(
    raw: Callable[[bytes], socket.socket], kind: str
) -> None:
    assert is_cut_off(raw(LARGE[kind]))


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


def test_a_malformed_request_gets_nothing_and_prints_nothing(
    ann: Visitor, office: Any, raw: Callable[[bytes], socket.socket], capfd: pytest.CaptureFixture[str]
) -> None:
    office.proposed()
    for kind, sent in MALFORMED.items():
        reply = raw(sent).recv(65536)
        assert int(reply.split()[1]) in (400, 401, 404, 405), kind
        assert b"chick" not in reply
        assert ann.get().status == 200
        assert office.broker.view.stage is ApprovalStage.PROPOSED
        assert "".join(capfd.readouterr()) == "", kind


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
    new = {
        "goal_id": second.goal_id,
        "plan_hash": second.plan_hash,
        "scene_stamp_ns": str(second.scene_stamp_ns),
    }
    for names in ((), ("goal_id",), ("plan_hash",), ("goal_id", "plan_hash"), ("goal_id", "scene_stamp_ns")):
        assert ann.post(action, shown | {name: new[name] for name in names}).status in (409, 410)
        assert office.records()[-1]["event"] == "REFUSED"
        assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert "EXECUTION_BEGUN" not in office.events()
