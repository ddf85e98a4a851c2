# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the arm's graph: a planner in a process of its own, doubles of the controllers, a client of both."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import live_fixtures
import pytest

if TYPE_CHECKING:
    from arm_graph import ArmGraph
    from double_cell import DoubleCell
    from live_process import Started

domain, start, node = live_fixtures.domain, live_fixtures.start, live_fixtures.node
program = live_fixtures.program

NEEDED = ("rclpy", "moveit_msgs", "control_msgs", "pinocchio", "coal", "ompl", "daqp")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
RUNS = not MISSING or bool(os.environ.get("SPATIAL_VLM_REQUIRE_ARM"))
collect_ignore_glob = [] if RUNS else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RUNS:
        terminalreporter.write_line(f"tests of the arm's nodes were left out: {', '.join(MISSING)} not installed")


@pytest.fixture
def arm(domain: int) -> Iterator[ArmGraph]:
    """Controllers and a client; no planner."""
    from arm_graph import ArmGraph

    graph = ArmGraph(domain)
    yield graph
    graph.close()


@pytest.fixture
def planner(arm: ArmGraph, node: Callable[..., Started]) -> Iterator[Callable[..., Started]]:
    """Starts `arm_planner` as a process, waits until it hears the joint states, and tells it to end afterwards."""
    running: list[Started] = []

    def begin(**parameters: Any) -> Started:
        started = node("arm_planner", **parameters)
        running.append(started)
        started.says("arm_planner plans for a Panda")
        arm.until(arm.heard, "the planner hears the joint states")
        if "controller" not in parameters:
            arm.knows("/arm_controller/follow_joint_trajectory")
        return started

    yield begin
    for each in running:  # killed within its shared memory, it may leave a lock behind that others wait for
        if each.process.poll() is None:
            each.process.terminate()
            each.ends()
        print(each.output)  # noqa: T201


@pytest.fixture
def make_cell(domain: int, start: Callable[..., Started]) -> Iterator[Callable[..., DoubleCell]]:
    """Makes doubles of a robot's controllers and of move_group, a process, and somebody who asks them."""
    from double_cell import DoubleCell

    made: list[DoubleCell] = []

    def make(*words: Any, **options: Any) -> DoubleCell:
        made.append(DoubleCell(domain, *words, **{"start": start, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def cell(make_cell: Callable[..., DoubleCell]) -> DoubleCell:
    """Those doubles as they are upstream by default."""
    return make_cell()
