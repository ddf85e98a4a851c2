# SPDX-License-Identifier: Apache-2.0
"""Requests one after another, resolved in a thread: turns, deadlines, withdrawal, faults of ours; and the observer."""

from __future__ import annotations

import dataclasses
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.typesys import Stores, get_typestore
from waiting import DEADLINE

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.nodes.perception.grounder_keeper import GrounderKeeper
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.parameters import NodeConfig, ResolverConfig, Settings, StreamConfig, config_from
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.spatial import dialogue_turns
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import SECOND, FrameAssembler

COMPOSE = rosbags_composer(get_typestore(Stores.ROS2_KILTED))
FRAME, DETECTIONS = chicks_and_cup_frame()
SENTENCE = "grab me the chick behind the cup"
STREAMS = StreamConfig(base_frame="", clocks_in_step=True, clock_error=0.0, frame_timeout=2.0)


class Gate(GivenDetections):
    def __init__(self, error: Exception | None = None, is_open: bool = True) -> None:
        super().__init__(DETECTIONS)
        self.begun, self.go, self.error = threading.Event(), threading.Event(), error
        if is_open:
            self.go.set()

    def ground(self, rgb: Any, phrases: Any) -> Grounding:
        self.begun.set()
        assert self.go.wait(DEADLINE)
        if self.error is not None:
            raise self.error
        return super().ground(rgb, phrases)


class Desk:
    """A queue whose executor is this test, and a clock that stands where it is put."""

    def __init__(
        self, grounder: Any = None, streams: StreamConfig = STREAMS, resolver: ResolverConfig | None = None, **node: Any
    ) -> None:
        self.now_ns = 1000 * SECOND
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        settings = Settings(resolver or ResolverConfig(), streams=streams, node=NodeConfig(**node))
        assembler = FrameAssembler(streams, with_detections=False)
        topics = {roles.RGB: "/rgb", roles.DEPTH: "/depth", roles.RGB_INFO: "/info"}
        found = grounder or GivenDetections(DETECTIONS)
        self.queue = RequestQueue(settings, assembler, found, lambda: self.now_ns, self._jobs.put, topics)
        self.replies: list[tuple[str, str]] = []

    def ask(self, words: str = SENTENCE) -> InstructionRequest:
        def reply(outcome: RequestOutcome) -> None:
            self.replies.append((words, outcome.resolution.status.value))

        request = InstructionRequest(words, "", "", reply, lambda *_: None)
        self.queue.accept(request)
        return request

    def frame(self, depth: Any = FRAME.depth) -> None:
        self.now_ns += SECOND // 20
        header = COMPOSE.header(self.now_ns, FRAME.frame_id)
        for role, message in (
            (roles.RGB_INFO, COMPOSE.camera_info(FRAME.camera, header)),
            (roles.RGB, COMPOSE.image_rgb(FRAME.rgb, header)),
            (roles.DEPTH, COMPOSE.image_depth(depth, header)),
        ):
            self.queue.assembler.add(role, message, self.now_ns)
            self.queue.step()

    def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self._jobs.get(timeout=DEADLINE)()

    def answered(self, words: str = SENTENCE, **frame: Any) -> str:
        before = len(self.replies)
        self.ask(words)
        self.frame(**frame)
        self.until(lambda: len(self.replies) > before)
        return self.statuses[-1]

    def answered_later(self, words: str) -> str:
        self.ask(words)
        assert not self.replies
        self.frame()
        self.until(lambda: self.replies)
        return self.statuses[-1]

    @property
    def statuses(self) -> list[str]:
        return [status for _, status in self.replies]


@pytest.fixture
def desk() -> Desk:
    return Desk(queue_depth=2)


def test_requests_have_their_turn_and_one_too_many_is_busy(desk: Desk) -> None:
    sentences = [SENTENCE, "grab me the cup", "grab me the chick"]
    for words in (*sentences, "the cup"):
        desk.ask(words)
    assert desk.replies == [("the cup", "BUSY")]
    assert (desk.queue.waiting, desk.queue.full) == (2, True)
    for answered in (2, 3, 4):
        desk.frame()
        desk.until(lambda answered=answered: len(desk.replies) == answered)
    assert desk.replies[1:] == list(zip(sentences, ("OK", "OK", "AMBIGUOUS"), strict=True))
    assert not desk.queue.busy
    desk.ask()
    desk.frame()
    desk.now_ns += 1
    desk.ask("grab me the cup")  # not answered from a frame of before it
    desk.until(lambda: len(desk.replies) == 5)
    desk.now_ns += 3 * SECOND
    desk.queue.step()
    assert desk.statuses[4:] == ["OK", "STALE_INPUT"]


def test_a_source_that_changes_ends_what_waits_for_its_turn_too(desk: Desk) -> None:
    for asked in (2, 1):
        for _ in range(asked):
            desk.ask()
        for gid in (b"camera", b"stranger")[:asked]:
            desk.queue.frames.sources.heard("/rgb", {"publisher_gid": {"data": gid}}, {"": None})
        desk.frame()
        desk.until(lambda: not desk.queue.busy)
    assert desk.statuses == ["SOURCE_CHANGED", "SOURCE_CHANGED", "OK"]


@pytest.mark.parametrize("words", ["stop", "halt!", "never mind", "grab the cup, stop!", "closing"])
def test_words_that_ask_to_stop_wait_for_no_turn_and_end_what_waits_as_closing_does(desk: Desk, words: str) -> None:
    for asked in (SENTENCE, "grab me the cup", "grab me the chick"):
        desk.ask(asked)
    assert desk.queue.full
    if words == "closing":
        desk.queue.close()
        desk.queue.close()  # and takes no more
    desk.ask(words)
    assert desk.statuses == ["CANCELLED"] * 4
    assert desk.replies[-1] == (words, "CANCELLED")
    assert not desk.queue.busy


def test_a_stop_ends_what_waits_even_if_the_arm_cannot_be_told(desk: Desk) -> None:
    desk.queue.on_stop = Mock(side_effect=RuntimeError("no service"))
    desk.ask("grab me the cup")
    desk.ask("stop")
    assert desk.replies == [("grab me the cup", "CANCELLED"), ("stop", "INTERNAL_ERROR")]


def test_a_request_is_parsed_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(dialogue_turns, "parse", lambda words: parsed.append(words) or parse(words))
    assert (desk.answered(), parsed) == ("OK", [SENTENCE])


def test_a_request_that_takes_too_long_ends_at_its_deadline_and_the_next_is_answered() -> None:
    gate = Gate(is_open=False)
    desk = Desk(gate, resolve_timeout=0.1)
    desk.ask()
    desk.frame()
    waited = threading.Event()
    while not desk.replies:
        desk.queue.step()  # as the node's poll does
        waited.wait(0.01)
    assert desk.statuses == ["TIMEOUT"]
    patient = NodeConfig(resolve_timeout=DEADLINE)
    desk.queue.change(dataclasses.replace(desk.queue.frames.settings, node=patient), desk.queue.assembler)
    desk.ask()
    desk.frame()
    assert desk.queue.busy  # it waits for the computation before it
    gate.go.set()
    desk.until(lambda: len(desk.replies) == 2)
    assert desk.statuses == ["TIMEOUT", "OK"]


def test_a_withdrawn_request_publishes_nothing_and_what_is_resolved_is_a_snapshot() -> None:
    gate = Gate(is_open=False)
    desk = Desk(gate)
    request = desk.ask()
    desk.frame()
    assert gate.begun.wait(DEADLINE)
    desk.queue.cancel(request, "the client cancelled the goal")
    assert desk.statuses == ["CANCELLED"]
    gate.go.set()
    assert desk.answered("grab me the cup") == "OK"
    gate.go.clear()
    gate.begun.clear()
    desk.ask()
    desk.frame()
    assert gate.begun.wait(DEADLINE)
    before = desk.queue.frames.settings
    resolver = dataclasses.replace(before.resolver, depth=dataclasses.replace(before.resolver.depth, near=4.0))
    desk.queue.change(dataclasses.replace(before, resolver=resolver), desk.queue.assembler)
    gate.go.set()
    desk.until(lambda: len(desk.replies) == 3)
    assert desk.statuses == ["CANCELLED", "OK", "OK"]
    assert desk.answered() != "OK"  # everything is nearer than that


def test_an_exception_that_nobody_expected_costs_one_request(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    good, broken = desk.queue.assembler, FrameAssembler(STREAMS, with_detections=False)
    broken.take = Mock(side_effect=KeyError("a fault of ours"))
    desk.queue.change(desk.queue.frames.settings, broken)
    desk.ask()
    assert desk.statuses == ["INTERNAL_ERROR"]
    assert "a fault of ours" in caplog.text
    assert "Traceback" in caplog.text
    desk.queue.observer.begin()
    assert desk.queue.observer.latest.error.status_name == "INTERNAL_ERROR"
    desk.queue.change(desk.queue.frames.settings, good)
    assert desk.answered() == "OK"


def observed(desk: Desk, **frame: Any) -> str:
    desk.queue.observer.forget()
    desk.queue.observer.begin()
    desk.frame(**frame)
    desk.until(lambda: desk.queue.observer.latest is not None)
    latest = desk.queue.observer.latest
    return "OK" if latest.error is None else latest.error.status_name


def test_the_observer_says_what_a_request_would_get(desk: Desk) -> None:
    assert observed(desk) == "OK"
    assert observed(desk, depth=np.zeros_like(FRAME.depth)) == "DEPTH_INVALID"
    assert observed(desk, depth=np.ascontiguousarray(FRAME.depth[::2, ::2])) == "INVALID_INPUT"
    assert observed(desk, depth=np.round(FRAME.depth, 1)) == "FRAME_INCONSISTENT"
    desk.now_ns += 1
    desk.queue.observer.begin()
    desk.now_ns += 3 * SECOND
    desk.queue.observer.begin()
    assert desk.queue.observer.latest.error.status_name == "STALE_INPUT"
    assert desk.replies == []
    assert desk.queue.ends == {}


def test_a_request_comes_before_the_observer_and_tells_as_much(desk: Desk) -> None:
    desk.queue.observer.begin()
    desk.ask()
    assert not desk.queue.observer.waits
    desk.frame()
    desk.until(lambda: desk.replies)
    assert desk.statuses == ["OK"]
    assert desk.queue.observer.latest.error is None
    assert desk.answered(depth=np.round(FRAME.depth, 1)) == "FRAME_INCONSISTENT"
    assert desk.queue.observer.latest.error.status_name == "FRAME_INCONSISTENT"
    desk.ask()
    desk.now_ns += 3 * SECOND
    desk.queue.step()
    assert desk.queue.observer.latest.error is not None


def test_how_long_no_frame_has_come_is_counted_on_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("spatial_vlm_ros.nodes.perception.frame_wait.time.monotonic", lambda: clock[0])
    assert observed(desk) == "OK"
    desk.now_ns += 1
    desk.queue.observer.begin()
    clock[0] += 1.5
    desk.now_ns += SECOND
    desk.ask()
    overdue = desk.queue.observer.overdue()
    assert overdue[0] == pytest.approx(1.5)
    assert "no message" in str(overdue[1])
    desk.frame()
    assert desk.queue.observer.overdue() is None
    desk.until(lambda: desk.replies)


class Mortal:
    def __init__(self) -> None:
        self.alive, self.fails, self.starts = True, False, 0

    def start(self) -> None:
        self.starts += 1
        if self.fails:
            raise ModelError("mortal", "no memory", "free some")
        self.alive = True

    def close(self) -> None:
        self.alive = False


def test_a_grounder_that_died_idle_is_started_again_but_not_without_a_pause() -> None:
    grounder, said = Mortal(), list[str]()
    keeper = GrounderKeeper(grounder, said.append)

    def look() -> None:
        keeper.look(busy=False)
        if keeper._thread is not None:
            keeper._thread.join(DEADLINE)
            assert not keeper.starting

    look()
    assert grounder.starts == 0
    grounder.alive = False
    keeper.look(busy=True)
    assert grounder.starts == 0  # the request that is served starts it
    look()
    assert (grounder.starts, grounder.alive, keeper.restarts) == (1, True, 1)
    grounder.alive, grounder.fails = False, True
    for _ in range(20):
        look()
    assert grounder.starts == 2  # the next attempt is a second away
    assert "no memory" in keeper.reason
    assert any("no memory" in line for line in said)
    keeper.close()
    keeper.look(busy=False)
    assert (grounder.starts, grounder.alive) == (2, False)


FREE = "grab me the thing I drink my coffee from"


class Pointing(Gate):
    def refer(self, rgb: Any, words: str) -> tuple[NamedObject, ...]:
        box = next(d.box_xyxy for d in DETECTIONS if d.id == "cup")
        return (NamedObject(words, box, None, None),) if rgb.size else ()


def test_words_that_a_model_may_be_asked_about_wait_for_a_frame() -> None:
    desk = Desk()
    desk.ask(FREE)
    assert desk.statuses == ["NOT_UNDERSTOOD"]  # at once: no model may be asked
    desk = Desk(Pointing(), resolver=config_from({"language": {"free_form": "ask_model"}}))
    assert desk.answered_later(FREE) == "OK"
    for words in ("put what I drink from on the box", "yes", "don't grab what I love"):
        desk.ask(words)
    assert desk.statuses[1:] == ["NOT_UNDERSTOOD"] * 3  # no frame would help


def test_words_for_a_second_reader_wait_for_a_frame() -> None:
    with socket.socket() as held:  # nobody answers there
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        reader = {"reader": "grammar+model", "model": f"model=tiny url={url} retries=0"}
        desk = Desk(resolver=config_from({"language": reader}))
        assert desk.answered_later(FREE) == "NOT_UNDERSTOOD"
