# SPDX-License-Identifier: Apache-2.0
"""What a backend costs: every number from its own requests, and no more of them than were asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception import cost
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import NounPhrase, Rgb

RGB = np.zeros((4, 6, 3), np.uint8)
PHRASES = (NounPhrase("cup"),)
CLOCK = SimpleNamespace(wall=0.0, busy=0.0)
"""Seconds of a clock that only the model moves."""


class Slow:
    """Takes 5 s for its first request and 1, 2, 3 … s for the others, half of it on the processor."""

    providers = ("CPUExecutionProvider",)

    def __init__(self) -> None:
        CLOCK.wall += 7.0
        self.asked = 0

    def ground(self, _: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        taken = self.asked or 5.0
        self.asked += 1
        CLOCK.wall, CLOCK.busy = CLOCK.wall + taken, CLOCK.busy + taken / 2
        return Grounding((), np.zeros((len(phrases), 0)))


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(perf_counter=lambda: CLOCK.wall, process_time=lambda: CLOCK.busy)
    monkeypatch.setattr(cost, "time", told)


@pytest.mark.usefixtures("_clock")
def test_loading_the_first_request_and_the_others_are_told_apart() -> None:
    found = cost.measure(Slow, RGB, PHRASES, frames=4)
    assert (found.load_s, found.first_s, found.frames) == (7.0, 5.0, 4)
    assert (found.median_s, found.p95_s, found.cpu_s) == (2.5, pytest.approx(3.85), 1.25)
    assert found.peak_mb > 10.0
    assert found.runs_on == "CPUExecutionProvider"
    assert cost.measure(Slow, RGB, PHRASES, frames=1000, most_s=6.0).frames == 3  # 1 + 2 + 3 s: the time is up
    assert cost.measure(Slow, RGB, PHRASES, frames=1000, most_s=0.0).frames == 1


def test_a_backend_that_cannot_be_loaded_is_an_error() -> None:
    def load() -> Slow:
        raise ModelError("mine", "no weights", "fetch them")

    with pytest.raises(ModelError, match="Fetch them"):
        cost.measure(load, RGB, PHRASES, frames=1)


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ["probe", "test_cost:Slow", "--bench", "--frames", "2"]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.output
    assert "test_cost:Slow on CPUExecutionProvider: loaded in" in told.output
    assert "2 further requests:" in told.output
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert (found["frames"], found["gpu_peak_mb"]) == (2, None)
    both = CliRunner().invoke(main, [*words, "--blindness"])
    assert both.exit_code == 2
    assert "give only one of" in both.output
