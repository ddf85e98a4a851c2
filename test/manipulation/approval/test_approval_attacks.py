# SPDX-License-Identifier: Apache-2.0
"""The page under attack by whoever reaches its port, and by who has read its code.

Nothing of it may keep a request for a stop from being served, decide anything, or print anything.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from approval_visitor import TOKEN, Visitor
from tables import tables
from waiting import DEADLINE

from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage
from spatial_vlm_ros.manipulation.approval.page import Page
from spatial_vlm_ros.web import connections

CROWD = 400
Raw = Callable[[bytes], socket.socket]
pytestmark = pytest.mark.live


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for phase in connections._MAY_LAST:
        monkeypatch.setitem(connections._MAY_LAST, phase, 600.0)


@pytest.fixture
def raw(page: Page) -> Iterator[Raw]:
    """Opens a connection, sends some bytes, and leaves it open."""
    with contextlib.ExitStack() as held:

        def begin(sent: bytes) -> socket.socket:
            opened = held.enter_context(socket.create_connection((page.host, page.port), timeout=DEADLINE))
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


def requests(kind: str) -> dict[str, bytes]:
    """Name → bytes: a beginning, and for some a part that follows so many times."""
    rows = tables(__file__)[kind]
    return {name: (begin + (more[0] * more[1] if more else "")).encode("latin-1") for name, begin, *more in rows}


CROWDS, LARGE, MALFORMED = (requests(kind) for kind in ("slow", "large", "malformed"))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", CROWDS)
def test_a_stop_is_served_behind_hundreds_of_slow_connections(ann: Visitor, office: Any, raw: Raw, kind: str) -> None:
    heard = office.heard()
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
            assert disk.wait(2 * DEADLINE)
        add(event, **facts)

    office.audit.add = slow
    others = [threading.Thread(target=ann.post, args=("/name", named)) for _ in range(45)]
    try:
        for other in others:
            other.start()
        for _ in range(40):  # as many as Starlette's threads
            assert waiting.acquire(timeout=DEADLINE)
        assert ann.post(action, form).status == 303
        assert heard.is_set()
        assert not disk.is_set()
    finally:
        disk.set()
        for other in others:
            other.join(2 * DEADLINE)


@pytest.mark.parametrize("kind", CROWDS)
def test_who_is_slow_is_cut_off(raw: Raw, stranger: Visitor, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for phase in connections._MAY_LAST:
        monkeypatch.setitem(connections._MAY_LAST, phase, 0.2)
    assert is_cut_off(raw(CROWDS[kind]))
    assert stranger.get().status == 401


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", LARGE)
def test_a_request_that_is_too_large_is_refused_before_it_ends(raw: Raw, kind: str) -> None:
    assert is_cut_off(raw(LARGE[kind]))


def test_a_malformed_request_gets_nothing_and_prints_nothing(
    ann: Visitor, office: Any, raw: Raw, capfd: pytest.CaptureFixture[str]
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
