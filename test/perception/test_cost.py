# SPDX-License-Identifier: Apache-2.0
"""What a backend costs: every number from its own requests, and no more of them than were asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.cost import measure
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import NounPhrase, Rgb

RGB = np.zeros((4, 6, 3), np.uint8)
PHRASES = (NounPhrase("cup"),)
TAKES = 0.02  # s
HERE = "test_cost"


class Slow:
    """Takes TAKES for a request, the first one five times as long."""

    providers = ("CPUExecutionProvider",)

    def __init__(self) -> None:
        self.asked = 0

    def ground(self, _: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        self.asked += 1
        time.sleep(TAKES if self.asked > 1 else 5 * TAKES)
        return Grounding((), np.zeros((len(phrases), 0)))


def slow() -> Slow:
    time.sleep(2 * TAKES)
    return Slow()


def test_loading_the_first_request_and_the_others_are_told_apart() -> None:
    made: list[Slow] = []

    def load() -> Slow:
        made.append(slow())
        return made[0]

    cost = measure(load, RGB, PHRASES, frames=4)
    assert made[0].asked == 1 + cost.frames == 5
    assert cost.load_s >= 2 * TAKES
    assert cost.first_s >= 5 * TAKES
    assert TAKES <= cost.median_s <= cost.p95_s
    assert cost.cpu_s < cost.median_s, "it sleeps"
    assert cost.peak_mb > 10.0
    assert cost.runs_on == "CPUExecutionProvider"


def test_time_that_is_up_ends_it_after_one_request() -> None:
    assert measure(slow, RGB, PHRASES, frames=1000, most_s=0.0).frames == 1


def test_a_backend_that_cannot_be_loaded_is_an_error() -> None:
    def load() -> Slow:
        raise ModelError("mine", "no weights", "fetch them")

    with pytest.raises(ModelError, match="Fetch them"):
        measure(load, RGB, PHRASES, frames=1)


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ["probe", f"{HERE}:slow", "--bench", "--frames", "2"]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.output
    assert f"{HERE}:slow on CPUExecutionProvider: loaded in" in told.output
    assert "2 further requests:" in told.output
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert found["frames"] == 2
    assert found["gpu_peak_mb"] is None
    both = CliRunner().invoke(main, [*words, "--blindness"])
    assert both.exit_code == 2
    assert "give only one of" in both.output
