# SPDX-License-Identifier: Apache-2.0
"""How long silence is borne, by the processor pressure that the kernel tells."""

import pytest

from spatial_vlm_ros.nodes import pressure
from spatial_vlm_ros.nodes.pressure import MOST, Pressure


class Machine:
    """A clock and the seconds in which somebody waited for a processor."""

    def __init__(self) -> None:
        self.now, self.waited = 100.0, 7.0

    def passes(self, seconds: float, share: float) -> None:
        self.now += seconds
        self.waited += share * seconds

    def told(self) -> tuple[float, float]:
        return self.now, self.waited


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(pressure, "_now", made.told)
    return made


def test_silence_counts_at_once_on_an_idle_machine_and_later_on_a_busy_one(machine: Machine) -> None:
    found = Pressure()
    machine.passes(0.3, 0.2)
    assert found.patience(0.05) == 0.05
    machine.passes(0.3, 0.9)
    assert found.patience(0.05) == MOST
    assert found.patience(2.0) == 2.0


def test_what_held_up_signs_of_life_before_the_mark_counts(machine: Machine) -> None:
    found = Pressure()
    machine.passes(60.0, 0.0)
    found.mark()
    machine.passes(0.3, 1.0)
    found.mark()  # it is silent now, and nobody waits any more
    machine.passes(0.05, 0.0)
    assert found.patience(0.05) == MOST
    found.mark()
    machine.passes(0.3, 0.0)
    assert found.patience(0.05) == 0.05


def test_marks_that_follow_soon_are_left_out(machine: Machine) -> None:
    found = Pressure()
    machine.passes(0.3, 1.0)
    for _ in range(5):
        machine.passes(0.01, 0.0)
        found.mark(after=0.5)
    assert found.patience(0.05) == MOST
