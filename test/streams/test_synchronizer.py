# SPDX-License-Identifier: Apache-2.0
"""Laws of matching: within the slop, the nearest, each message once, whatever the order of arrival."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spatial_vlm_ros.streams.synchronizer import RESTART, MatchedMessages, Stream, Synchronizer

MS = 1_000_000
PERIOD, SLOP, SIZE = 33 * MS, 10 * MS, 10
NAMES = ("rgb", "depth", "things")
Arrival = tuple[str, int]


def synchronizer(size: int = SIZE) -> Synchronizer:
    return Synchronizer("rgb", {"depth": SLOP, "things": 0}, size)


def fed(arrivals: Sequence[Arrival], size: int = SIZE) -> list[MatchedMessages]:
    """The matches; the message of a stamp is its stream and stamp."""
    sync = synchronizer(size)
    return [match for name, stamp in arrivals for match in sync.add(name, stamp, (name, stamp))]


def stamps(matches: Sequence[MatchedMessages]) -> list[tuple[int, int, int]]:
    return [(m.stamps["rgb"], m.stamps["depth"], m.stamps["things"]) for m in matches]


def interleaved(streams: dict[str, list[int]], order: Sequence[int]) -> list[Arrival]:
    """Arrivals of streams that each keep their order."""
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
    assert (list(stream), stream.restarts) == ([(5, "old"), (late + 5, "new")], 0)
    assert (stream.before(late), stream.at(5), stream.at(6)) == ("old", "old", None)


jitters = st.integers(-SLOP // 2, SLOP // 2)
Camera = tuple[int, list[int], list[bool]]
orders = st.lists(st.integers(0, 2), max_size=75)
cameras = st.integers(3, 25).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(jitters, min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=3 * n, max_size=3 * n),
    )
)


def streams_of(camera: Camera, dropping: bool) -> dict[str, list[int]]:
    """Depth follows colour with jitter; detections carry colour's stamps; some of all are lost on the way."""
    n, jitter, kept = camera
    colour = [RESTART + i * PERIOD for i in range(n)]
    every = {"rgb": colour, "depth": [c + j for c, j in zip(colour, jitter, strict=True)], "things": colour}
    if not dropping:
        return every
    return {
        name: [stamp for i, stamp in enumerate(values) if kept[row * n + i]]
        for row, (name, values) in enumerate(every.items())
    }


@settings(max_examples=50)
@given(cameras, orders)
def test_what_is_matched_is_within_the_slop_and_used_once(camera: Camera, order: list[int]) -> None:
    matches = fed(interleaved(streams_of(camera, dropping=True), order))
    for match in matches:
        assert abs(match.stamps["depth"] - match.stamp_ns) <= SLOP
        assert match.stamps["things"] == match.stamps["rgb"] == match.stamp_ns
        assert match.messages == {name: (name, stamp) for name, stamp in match.stamps.items()}
    for used in zip(*stamps(matches), strict=True):
        assert list(used) == sorted(set(used))


@settings(max_examples=50)
@given(cameras, orders)
def test_the_order_in_which_streams_interleave_does_not_matter(camera: Camera, order: list[int]) -> None:
    """Where queues are long enough, and once what follows has settled the last ones."""
    streams = {
        name: [*values, RESTART + 60 * PERIOD] for name, values in streams_of(camera, dropping=True).items()
    }  # fmt: skip
    by_stamp = sorted(((n, s) for n, values in streams.items() for s in values), key=lambda a: (a[1], a[0]))
    assert stamps(fed(interleaved(streams, order), size=100)) == stamps(fed(by_stamp, size=100))


@settings(max_examples=50)
@given(cameras, orders)
def test_of_a_camera_that_loses_nothing_no_image_is_lost(camera: Camera, order: list[int]) -> None:
    streams = streams_of(camera, dropping=False)
    settling = RESTART + 60 * PERIOD
    matches = fed([*interleaved(streams, order), *((name, settling) for name in NAMES)], size=100)
    assert stamps(matches)[:-1] == list(zip(streams["rgb"], streams["depth"], streams["things"], strict=True))


@given(cameras, st.integers(0, 10_000))
def test_messages_of_one_stream_may_swap_places(camera: Camera, seed: int) -> None:
    arrivals = sorted(
        ((name, stamp) for name, values in streams_of(camera, dropping=False).items() for stamp in values),
        key=lambda arrival: arrival[1],
    )
    chance = random.Random(seed)
    arrivals.sort(key=lambda arrival: arrival[1] + chance.randrange(3 * PERIOD))
    matches = fed(arrivals, size=100)
    for match in matches:
        assert abs(match.stamps["depth"] - match.stamp_ns) <= SLOP
    for used in zip(*stamps(matches), strict=True):
        assert len(set(used)) == len(used)


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
            kept = [stamp for stamp, _ in stream]
            assert kept == sorted(set(kept))


TestAnyArrivals = AnyArrivals.TestCase
TestAnyArrivals.settings = settings(max_examples=40)
