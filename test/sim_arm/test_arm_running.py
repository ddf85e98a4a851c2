# SPDX-License-Identifier: Apache-2.0
"""The cell on its thread: in step with the clock or behind it, asked from elsewhere, ended."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from spatial_vlm_ros.errors import ModelError, UnknownNameError
from spatial_vlm_ros.sim.arm.cell import STEP
from spatial_vlm_ros.sim.arm.running import RunningCell

DEADLINE = 30.0  # s


@pytest.fixture
def begin() -> Iterator[Any]:
    """A running cell that is ended with the test."""
    made: list[RunningCell] = []

    def make(cell: Any, **options: Any) -> RunningCell:
        made.append(RunningCell(cell, **options))
        return made[-1]

    yield make
    for running in made:
        running.stop()


def test_simulated_time_passes_and_never_runs_ahead_of_the_clock(cell: Any, begin: Any) -> None:
    running, seen, far = begin(cell, speed=2.0), [], threading.Event()
    running.every(0.1, lambda cell: (seen.append((cell.time, time.monotonic())), cell.time > 1.0 and far.set()))
    begun = time.monotonic()
    running.start()
    assert far.wait(DEADLINE)
    assert all(simulated <= 2.0 * (wall - begun) + 1e-3 for simulated, wall in seen)
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(seen)]
    assert min(gaps) >= 0.1 - STEP - 1e-9


def test_what_is_asked_is_done_between_steps_and_its_errors_are_the_askers(cell: Any, begin: Any) -> None:
    running = begin(cell)
    running.start()
    assert running.ask(lambda cell: cell.pose("cup").child) == "cup"
    with pytest.raises(UnknownNameError, match="kettle"):
        running.ask(lambda cell: cell.pose("kettle"))
    assert running.ask(lambda cell: cell.time) <= running.ask(lambda cell: cell.time)
    running.stop()
    with pytest.raises(ModelError, match="has ended"):
        running.ask(lambda cell: cell.time)


def test_time_goes_on_when_the_world_is_replaced(cell: Any, begin: Any) -> None:
    from spatial_vlm_ros.sim.arm.cell import ArmCell
    from spatial_vlm_ros.sim.arm.worlds import layout

    running = begin(cell)
    running.start()
    before = running.ask(lambda _: running.now)
    running.replace(ArmCell(layout("swapped")))
    assert running.ask(lambda cell: cell.layout.name) == "swapped"
    assert running.ask(lambda _: running.now) >= before


def test_a_failure_on_the_thread_is_told_and_ends_it(cell: Any, begin: Any) -> None:
    told: list[Exception] = []
    failed = threading.Event()
    running = begin(cell, failed=lambda error: (told.append(error), failed.set()))

    def fail(_: Any) -> None:
        raise RuntimeError("no more")

    running.every(0.0, fail)
    running.start()
    assert failed.wait(DEADLINE)
    assert str(told[0]) == "no more"
    with pytest.raises(ModelError, match="has ended"):
        running.ask(lambda cell: cell.time)
