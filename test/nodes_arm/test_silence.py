# SPDX-License-Identifier: Apache-2.0
"""When silence is too long."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.nodes.arm import silence
from spatial_vlm_ros.nodes.arm.silence import Silence

LIMIT, TURN = 0.35, 0.02


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may be busy; the one that is judged is not."""
    monkeypatch.setattr(silence.Pressure, "patience", lambda _, seconds: seconds)


def told(silent: Silence, since: float, turn: float = TURN) -> float:
    """Seconds from `since`, when silence began to count, until it is too long."""
    silent.begin(since)
    now = since
    while not silent.too_long(now):
        now += turn
    return now - since


@pytest.mark.parametrize(("delay", "seconds"), [(0.01, LIMIT), (0.1, LIMIT), (0.2, 0.6), (0.5, 1.0)])
def test_who_is_slow_is_given_three_times_as_long_and_a_second_at_most(delay: float, seconds: float) -> None:
    silent = Silence(LIMIT)
    silent.heard(10.0, 10.0 + delay)
    silent.heard(10.5, 10.51)
    assert told(silent, 20.0) == pytest.approx(seconds, abs=2 * TURN)


def test_before_the_first_answer_a_second_counts() -> None:
    assert told(Silence(LIMIT), 5.0) == pytest.approx(1.0, abs=2 * TURN)


def test_an_answer_ends_the_silence() -> None:
    silent = Silence(LIMIT)
    silent.heard(0.0, 0.01)
    silent.begin(1.0)
    assert not silent.too_long(1.09)
    for k in range(50):
        now = 1.1 + 0.1 * k
        silent.heard(now - 0.01, now)
        assert not silent.too_long(now + 0.05)


def test_slow_answers_are_forgotten_after_a_hundred() -> None:
    silent = Silence(LIMIT)
    silent.heard(0.0, 0.3)
    for k in range(100):
        silent.heard(1.0 + k, 1.01 + k)
    assert told(silent, 200.0) == pytest.approx(LIMIT, abs=2 * TURN)


def test_time_in_which_the_caller_was_held_up_does_not_count() -> None:
    silent = Silence(LIMIT)
    silent.heard(0.0, 0.01)
    assert told(silent, 10.0, turn=1.0) == pytest.approx(4.0)  # each look counts 0.1 s at most
