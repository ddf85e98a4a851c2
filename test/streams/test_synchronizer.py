# SPDX-License-Identifier: Apache-2.0
"""Which messages belong together and which images answer a request: laws of matching, proofs by stamp and by arrival,
clocks that are off, networks that stall; whose transform is waited for, and what exists twice in the graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from benchmarks import freshness as trials
from spatial_vlm_ros.errors import ClockError, InputError, StaleInputError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, needs_speaker
from spatial_vlm_ros.streams.sources import full_name, twins_of
from spatial_vlm_ros.streams.synchronizer import (
    RESTART,
    SECOND,
    Freshness,
    MatchedMessages,
    Stream,
    StreamClock,
    Synchronizer,
    TransformClocks,
)
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, Ordinal, RelationClause, SpatialQuery, Step

MS = 1_000_000
PERIOD, SLOP, SIZE = 33 * MS, 10 * MS, 10
NAMES = ("rgb", "depth", "things")
Arrival = tuple[str, int]


def synchronizer(size: int = SIZE) -> Synchronizer:
    return Synchronizer("rgb", {"depth": SLOP, "things": 0}, size)


def fed(arrivals: Sequence[Arrival], size: int = SIZE) -> list[MatchedMessages]:
    sync = synchronizer(size)
    return [match for name, stamp in arrivals for match in sync.add(name, stamp, (name, stamp))]


def stamps(matches: Sequence[MatchedMessages]) -> list[tuple[int, int, int]]:
    return [(m.stamps["rgb"], m.stamps["depth"], m.stamps["things"]) for m in matches]


def interleaved(streams: dict[str, list[int]], order: Sequence[int]) -> list[Arrival]:
    left = {name: list(values) for name, values in streams.items()}
    arrivals: list[Arrival] = []
    for choice in order:
        rest = [name for name in left if left[name]]
        if not rest:
            break
        name = rest[choice % len(rest)]
        arrivals.append((name, left[name].pop(0)))
    for name, values in left.items():
        arrivals += [(name, stamp) for stamp in values]
    return arrivals


def test_equal_stamps_match_in_any_order_of_arrival() -> None:
    for order in itertools.permutations(NAMES):
        matches = fed([(name, 7) for name in order])
        assert stamps(matches) == [(7, 7, 7)]
        assert matches[0].messages == {name: (name, 7) for name in NAMES}


def test_the_nearer_of_two_partners_is_taken_at_most_at_the_slop() -> None:
    for gap, count in ((SLOP, 1), (SLOP + 1, 0), (-SLOP, 1), (-SLOP - 1, 0)):
        begin = 10 * SLOP
        following = begin + gap + 100 * MS  # settles what is nearest
        arrivals = [("rgb", begin), ("depth", begin + gap), ("depth", following), ("things", begin)]
        assert len(fed(arrivals)) == count, gap
    arrivals = [("rgb", 100 * MS), ("things", 100 * MS), ("depth", 92 * MS), ("depth", 103 * MS)]
    assert stamps(fed(arrivals)) == [(100 * MS, 103 * MS, 100 * MS)]
    assert stamps(fed([(name, 5) for name in NAMES for _ in range(2)])) == [(5, 5, 5)]  # repeated: once


def test_an_image_without_partner_is_passed_over_and_lost_messages_are_counted_from_gaps() -> None:
    sync, stream = synchronizer(), Stream(10)
    for name, stamp in [("rgb", 0), ("rgb", PERIOD), ("depth", PERIOD), ("things", 0), ("things", PERIOD)]:
        matches = sync.add(name, stamp, None)
    assert stamps(matches) == [(PERIOD, PERIOD, PERIOD)]
    assert (sync.unmatched, sync.largest_gap_ns) == (1, PERIOD)
    for n in (0, 1, 2, 5, 6):
        stream.add(n * PERIOD, n)
    assert (stream.received, stream.missed, stream.period_ns) == (5, 2, PERIOD)


def test_a_stream_begun_anew_is_heard_at_once_and_after_a_stamp_from_the_future() -> None:
    late = [(name, 100 * RESTART + n * PERIOD) for n in range(3) for name in NAMES]
    early = [(name, n * PERIOD) for n in range(3) for name in NAMES]
    assert stamps(fed(late + early))[-3:] == [(n * PERIOD,) * 3 for n in range(3)]
    future = [("rgb", 1000 * RESTART), *((name, n * PERIOD) for n in range(1, 5) for name in NAMES)]
    assert stamps(fed(future))[-3:] == [(n * PERIOD,) * 3 for n in range(2, 5)]  # one stamp does not deafen


@pytest.mark.parametrize("late", [PERIOD, RESTART])
def test_a_late_message_is_put_in_its_place(late: int) -> None:
    stream = Stream(10)
    stream.add(late + 5, "new")
    stream.add(5, "old")
    assert ([kept[:2] for kept in stream], stream.restarts) == ([(5, "old"), (late + 5, "new")], 0)
    assert (stream.before(late), stream.at(5), stream.at(6)) == ("old", "old", None)


Camera = tuple[int, list[int], list[bool]]
orders = st.lists(st.integers(0, 2), max_size=75)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    n = draw(st.integers(3, 25))
    jitter = draw(st.lists(st.integers(-SLOP // 2, SLOP // 2), min_size=n, max_size=n))
    return n, jitter, draw(st.lists(st.booleans(), min_size=3 * n, max_size=3 * n))


def streams_of(camera: Camera, dropping: bool) -> dict[str, list[int]]:
    """Depth follows colour with jitter; detections carry colour's stamps; some of all are lost on the way."""
    n, jitter, kept = camera
    colour = [RESTART + i * PERIOD for i in range(n)]
    every = {"rgb": colour, "depth": [c + j for c, j in zip(colour, jitter, strict=True)], "things": colour}
    if not dropping:
        return every
    of_each = (kept[:n], kept[n : 2 * n], kept[2 * n :])
    return {name: list(itertools.compress(every[name], of)) for name, of in zip(every, of_each, strict=True)}


@settings(max_examples=50)
@given(cameras(), orders)
def test_what_is_matched_is_within_the_slop_and_used_once(camera: Camera, order: list[int]) -> None:
    matches = fed(interleaved(streams_of(camera, dropping=True), order))
    for match in matches:
        assert abs(match.stamps["depth"] - match.stamp_ns) <= SLOP
        assert match.stamps["things"] == match.stamps["rgb"] == match.stamp_ns
        assert match.messages == {name: (name, stamp) for name, stamp in match.stamps.items()}
    for used in zip(*stamps(matches), strict=True):
        assert list(used) == sorted(set(used))


@settings(max_examples=50)
@given(cameras(), orders)
def test_the_order_in_which_streams_interleave_does_not_matter(camera: Camera, order: list[int]) -> None:
    """Where queues are long enough, and once what follows has settled the last ones."""
    found = streams_of(camera, dropping=True)
    streams = {name: [*values, RESTART + 60 * PERIOD] for name, values in found.items()}
    by_stamp = sorted(((n, s) for n, values in streams.items() for s in values), key=lambda a: (a[1], a[0]))
    assert stamps(fed(interleaved(streams, order), size=100)) == stamps(fed(by_stamp, size=100))


@settings(max_examples=50)
@given(cameras(), orders)
def test_of_a_camera_that_loses_nothing_no_image_is_lost(camera: Camera, order: list[int]) -> None:
    streams = streams_of(camera, dropping=False)
    settling = RESTART + 60 * PERIOD
    matches = fed([*interleaved(streams, order), *((name, settling) for name in NAMES)], size=100)
    assert stamps(matches)[:-1] == list(zip(streams["rgb"], streams["depth"], streams["things"], strict=True))


class AnyArrivals(RuleBasedStateMachine):
    """Whatever comes, memory is bounded and no message is used twice between restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = synchronizer()
        self.count = 0
        self.used: set[int] = set()

    @rule(name=st.sampled_from(NAMES), stamp=st.integers(0, 40).map(lambda n: n * 5 * MS) | st.integers(0, 1 << 62))
    def arrive(self, name: str, stamp: int) -> None:
        self.count += 1
        for match in self.sync.add(name, stamp, self.count):
            assert set(match.messages) == set(NAMES)
            assert abs(match.stamps["depth"] - match.stamp_ns) <= SLOP
            assert match.stamps["things"] == match.stamp_ns
            numbers = set(match.messages.values())
            assert len(numbers) == 3
            assert not numbers & self.used
            self.used |= numbers

    @rule()
    def clear(self) -> None:
        self.sync.clear()

    @invariant()
    def memory_is_bounded(self) -> None:
        assert all(len(stream) <= SIZE for stream in self.sync.streams.values())

    @invariant()
    def messages_lie_by_their_stamps(self) -> None:
        for stream in self.sync.streams.values():
            kept = [one.stamp_ns for one in stream]
            assert kept == sorted(set(kept))


TestAnyArrivals = AnyArrivals.TestCase
TestAnyArrivals.settings = settings(max_examples=40)


START = 1000.0


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


def heard(freshness: Freshness, offset: float, latency: float, until: float = START) -> None:
    for exposed in np.arange(until - 3.0, until, 0.1):
        for stream in (RGB, DEPTH):
            freshness.add(stream, ns(exposed + offset), ns(exposed + latency))


def match(stamp: float, arrival: float, depth_arrival: float | None = None) -> MatchedMessages:
    arrivals = {RGB: ns(arrival), DEPTH: ns(arrival if depth_arrival is None else depth_arrival)}
    return MatchedMessages(ns(stamp), {}, {RGB: ns(stamp), DEPTH: ns(stamp)}, arrivals)


def not_before(config: dict[str, Any], offset: float, latency: float, taken: MatchedMessages) -> float:
    """Seconds after START from which on the images of a frame can be."""
    freshness = Freshness(StreamConfig(**config), (RGB, DEPTH))
    heard(freshness, offset, latency)
    return freshness.not_before_ns(taken) / SECOND - START


def test_without_a_clock_in_step_the_later_arrival_less_the_longest_latency_counts() -> None:
    for offset in (-1.0, 0.0, 0.15):
        taken = match(START + 1.0 + offset, START + 1.1, START + 1.12)
        assert not_before({"max_latency": 0.25}, offset, 0.1, taken) == pytest.approx(0.85)


def test_a_stamp_counts_less_its_error_where_clocks_are_in_step_however_late_it_arrives() -> None:
    config = {"clocks_in_step": True, "clock_error": 0.03, "max_latency": 0.25}
    assert not_before(config, 0.0, 0.1, match(START + 1.0, START + 1.9)) == pytest.approx(0.97)
    assert not_before(config, 0.0, 0.1, match(START + 1.03, START + 1.0)) == pytest.approx(1.0)  # ahead by the error
    assert not_before(config, 0.0, 0.1, match(START + 1.031, START + 1.0)) == pytest.approx(0.75)  # and by more


@pytest.mark.parametrize(("offset", "stamp"), [(0.15, 1.15), (0.0, 1.15)], ids=["all images", "this one"])
def test_stamps_ahead_of_their_arrival_disprove_that_clocks_are_in_step(offset: float, stamp: float) -> None:
    config = {"clocks_in_step": True, "clock_error": 0.03, "max_latency": 0.25}
    assert not_before(config, offset, 0.05, match(START + stamp, START + 1.05)) == pytest.approx(0.8)


def test_what_a_stalled_network_delivers_late_is_as_old_as_its_stamp_lets_expect() -> None:
    taken = match(START + 0.5 - 1.0, START + 1.4)  # the camera's clock is 1 s behind; it would have come at 0.6
    assert not_before({"max_latency": 0.3}, -1.0, 0.1, taken) == pytest.approx(0.3)


def test_a_timeout_within_the_longest_latency_could_never_be_met_and_is_refused() -> None:
    with pytest.raises(InputError, match=r"frame_timeout: 0\.3 s. Expected more than max_latency \(0\.3 s\)"):
        StreamConfig(frame_timeout=0.3)
    assert StreamConfig(frame_timeout=0.3, clocks_in_step=True).frame_timeout == 0.3


def test_the_envelope_is_robust_and_gives_the_offset_only_with_a_bound_of_the_latency() -> None:
    clock, rng = StreamClock(), np.random.default_rng(1)
    for number in range(100):
        exposed = START + number / 30
        wild = 50.0 if number % 33 == 0 else 0.0
        clock.add(ns(exposed - 0.4 + wild), ns(exposed + 0.1 + rng.uniform(0, 0.03)))
    estimate = clock.estimate()
    assert estimate.lag == pytest.approx(0.5, abs=0.01)
    assert estimate.spread == pytest.approx(0.03, abs=0.01)
    offset, error = estimate.offset(0.3)
    assert abs(offset - -0.4) <= error == 0.15


def test_a_clock_that_is_set_right_is_known_anew_after_a_window() -> None:
    clock = StreamClock()
    for number in range(600):
        at = START + number / 30
        clock.add(ns(at - (0.8 if at < START + 5 else 0.0)), ns(at))
    estimate = clock.estimate()
    assert (estimate.lag, estimate.samples) == (0.0, 300)


def test_transforms_run_ahead_only_if_both_the_window_and_the_last_one_say_so() -> None:
    clocks = TransformClocks()

    def told(ahead: float, at: float) -> None:
        stamp = trials.content(at + ahead, 0).header.stamp
        entry = type("Entry", (), {"child_frame_id": "/tool", "header": type("Header", (), {"stamp": stamp})})
        clocks.add_message(type("Message", (), {"transforms": [entry]}), ns(at))

    for number in range(30):
        told(0.0, START + number / 10)
    told(0.5, START + 3.0)  # one wild stamp
    assert clocks.ahead("tool") == pytest.approx(0.0)
    for number in range(31, 60):
        told(0.5, START + number / 10)
    assert clocks.ahead("unknown") is None
    told(0.0, START + 6.0)
    assert clocks.ahead("tool") == pytest.approx(0.0)


def test_stamps_that_cannot_be_are_refused_with_topic_offset_limit_and_fix() -> None:
    freshness = Freshness(StreamConfig(), (RGB, DEPTH))
    names = {RGB: "/camera/color/image_raw"}
    with pytest.raises(ClockError, match=r"/camera/color/image_raw is stamped 0\.15 s ahead of now.*chrony") as refused:
        freshness.check(match(START + 0.15, START), names)
    assert (refused.value.ahead, refused.value.limit) == (pytest.approx(0.15), "max_ahead")
    with pytest.raises(ClockError, match=r"2\.50 s behind its arrival, but max_behind is 2 s"):
        freshness.check(match(START - 2.5, START))
    with pytest.raises(StaleInputError, match="have no stamp"):
        freshness.check(match(0.0, START))
    for border in (0.1, -2.0):
        freshness.check(match(START + border, START))
        with pytest.raises(ClockError):
            freshness.check(match(START + border + np.sign(border) * 1e-6, START))
    freshness.check_stamp(DEPTH, 1, 1)
    with pytest.raises(StaleInputError, match="on depth/image have no stamp"):
        freshness.check_stamp(DEPTH, -1, 1)


def why_old(freshness: Freshness, stamp: float, arrival: float) -> str:
    streams = {RGB: Stream(2), DEPTH: Stream(2)}
    for stream in streams.values():
        stream.add(ns(stamp), None)
    arrivals = {RGB: ns(arrival), DEPTH: ns(arrival)}
    return str(freshness.why_old(streams, arrivals, ns(START), {RGB: "/rgb", DEPTH: "/depth"}) or "")


def test_why_images_are_too_old_says_whether_the_stamp_or_the_latency_forbids_it() -> None:
    in_step = Freshness(StreamConfig(clocks_in_step=True, clock_error=0.03), (RGB, DEPTH))
    heard(in_step, 0.0, 0.05)
    assert why_old(in_step, START + 0.03, START + 0.08) == ""
    assert "on /rgb is stamped 0.25 s before the request" in why_old(in_step, START - 0.25, START + 0.1)
    assert why_old(in_step, START + 0.029, START + 0.08) != ""
    loose = Freshness(StreamConfig(max_latency=0.3), (RGB, DEPTH))
    assert why_old(loose, START, START + 0.3) == ""
    assert "on /rgb arrived 0.29 s after the request" in why_old(loose, START, START + 0.29)
    assert "ahead of now" in why_old(loose, START + 0.25, START + 0.1)  # a stamp that cannot be comes first
    assert Freshness(StreamConfig(), ()).why_old({}, {}, 0, {}) is None


def assert_none_is_stale(setting: trials.Setting, count: int, cells: Any = None) -> list[trials.Trial]:
    found = trials.run(setting, count, cells, seed=7)
    stale = {cell: sum(trial.is_stale for trial in each) for cell, each in found.items()}
    assert not any(stale.values()), stale
    return list(itertools.chain(*found.values()))


def test_no_trial_answers_from_before_the_request_whatever_the_clock_and_all_are_answered() -> None:
    found = assert_none_is_stale("any stamp", 1, list(itertools.product((-1.0, 0.05, 0.15, 1.0), (0.0, 0.1, 0.3))))
    assert {trial.status for trial in found} == {"OK"}
    assert sum(trial.baseline_is_stale for trial in found) == 9  # whenever stamps alone decide and the clock is ahead
    assert max(trial.waited or 0.0 for trial in found) < 0.3 + 3 * trials.PERIOD


@pytest.mark.slow
@pytest.mark.parametrize("setting", list(trials.SETTINGS))
def test_no_trial_of_many_answers_from_before_the_request(setting: trials.Setting) -> None:
    found = assert_none_is_stale(setting, 40 if setting == "in step" else 10)
    assert len(found) >= 600
    assert {trial.status for trial in found} <= {"OK", "STALE_INPUT (ClockError)", "STALE_INPUT (StaleInputError)"}
    answered = sum(trial.status == "OK" for trial in found)
    assert answered >= (0.6 if setting == "default" else 0.9) * len(found)


SPEAKER, VIEWER = FrameOfReference.SPEAKER, FrameOfReference.VIEWER
BOX = NounPhrase("box")
MY_LEFT = RelationClause("left of", (BOX,), SPEAKER)


def query(target: NounPhrase = BOX, **fields: object) -> SpatialQuery:
    return SpatialQuery("the words", "find", target, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        query(NounPhrase("cup", relations=(MY_LEFT,))),
        query(NounPhrase("cup", relations=(RelationClause("behind", (NounPhrase("box", relations=(MY_LEFT,)),)),))),
        query(NounPhrase("cup", superlative="leftmost", frame=SPEAKER)),
        query(destination=Destination("left of", (BOX,), SPEAKER)),
        query(steps=(Step("take", BOX), Step("place", BOX, Destination("left of", (BOX,), SPEAKER)))),
    ],
)
def test_words_that_name_the_speakers_view_need_the_speaker_wherever_they_stand(said: SpatialQuery) -> None:
    assert needs_speaker([query(), said], VIEWER, "")
    assert needs_speaker(parse("grab the chick on my left"), VIEWER)
    assert not needs_speaker(parse("grab the chick left of the cup"), VIEWER)


@pytest.mark.parametrize(
    "target",
    [
        NounPhrase("cup", relations=(RelationClause("behind", (BOX,)),)),
        NounPhrase("cup", superlative="nearest"),
        NounPhrase("cup", ordinal=Ordinal(2, "left")),
    ],
)
@pytest.mark.parametrize("frames", [(SPEAKER,), ("speaker",), (VIEWER, "speaker")])
def test_where_nothing_is_said_the_frames_that_hold_decide(target: NounPhrase, frames: tuple[Any, ...]) -> None:
    assert needs_speaker([query(target)], *frames)
    assert not needs_speaker([query(target)], VIEWER, "robot", "", None)
    assert not needs_speaker([query(NounPhrase("speaker", attributes=("red",)))], SPEAKER)  # chosen by no place


def test_two_servers_and_two_resolvers_are_named_and_one_of_each_is_right() -> None:
    assert twins_of("/resolve", ["/resolver"], ["/resolver", "/camera"], "/resolver") == []
    servers = ["/resolver", "/resolver"]
    action, node = twins_of("/resolve", servers, [*servers, "/camera"], "/resolver")
    assert (action.where, node.where) == ("/resolve", "/resolver")
    assert "2 servers of /resolve: /resolver, /resolver" in action.found
    assert "2 nodes are named /resolver" in node.found
    assert all(twin.repair for twin in (action, node))
    assert (full_name("/", "camera"), full_name("/left", "camera")) == ("/camera", "/left/camera")
