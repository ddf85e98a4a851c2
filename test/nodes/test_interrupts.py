# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while rclpy works: seen afterwards, whatever becomes of an exception there."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from spatial_vlm_ros.nodes.interrupts import interrupted_afterwards, interrupts


def press() -> None:
    """Ctrl-C as in one of rclpy's generators: an exception there is lost."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_is_raised_once_what_is_within_has_ended() -> None:
    before, ended = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupted_afterwards():
            press()
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert ended
    assert signal.getsignal(signal.SIGINT) is before


def test_without_an_interrupt_nothing_is_raised() -> None:
    with interrupts() as pressed, interrupted_afterwards():
        pass
    assert not pressed()


def test_an_interrupt_is_told_as_often_as_it_is_asked_for() -> None:
    with interrupts() as pressed:
        assert not pressed()
        press()
        assert pressed()
        assert pressed()


def test_signals_belong_to_the_main_thread() -> None:
    def beside() -> bool:
        with interrupts() as pressed, interrupted_afterwards():
            return pressed()

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(beside).result(10)
