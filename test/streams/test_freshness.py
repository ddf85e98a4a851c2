# SPDX-License-Identifier: Apache-2.0
"""Which images answer a request: proofs by stamp and by arrival, clocks that are off, networks that stall."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks import freshness as trials
from spatial_vlm_ros.errors import ClockError, InputError, StaleInputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.clocks import SECOND, StreamClock, TransformClocks
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB
from spatial_vlm_ros.streams.freshness import Freshness
from spatial_vlm_ros.streams.synchronizer import MatchedMessages, Stream

START = 1000.0


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


def heard(freshness: Freshness, offset: float, latency: float, until: float = START) -> None:
    """Three seconds of images of a clock that is ahead by `offset`."""
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
    """Reason why images of then do not answer a request at START; empty if they do."""
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


def assert_none_is_stale(
    setting: trials.Setting, count: int, cells: Sequence[tuple[float, float]] | None = None
) -> list[trials.Trial]:
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
