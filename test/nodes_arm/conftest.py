# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the arm's graph: doubles of controllers and of move_group, and somebody who asks them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import live_fixtures
import pytest
from live_domain import free_domain

if TYPE_CHECKING:
    from arm_graph import ArmGraph
    from double_cell import DoubleCell

domain, start, node = live_fixtures.domain, live_fixtures.start, live_fixtures.node
program = live_fixtures.program

NEEDED = ("rclpy", "moveit_msgs", "control_msgs", "pinocchio", "coal", "ompl", "daqp")
RUNS = all(map(importlib.util.find_spec, NEEDED)) or bool(os.environ.get("SPATIAL_VLM_REQUIRE_ARM"))
collect_ignore_glob = [] if RUNS else ["test_*.py"]


@pytest.fixture(scope="module")
def shared_domain() -> Iterator[int]:
    with free_domain() as number:
        yield number


@pytest.fixture(scope="module")
def shared_cell(shared_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoubleCell]:
    """Doubles of a robot's controllers, of move_group in a process of its own, and somebody who asks them."""
    from double_cell import DoubleCell

    made = DoubleCell(shared_domain, tmp_path_factory.mktemp("move_group") / "log.txt")
    yield made
    made.close()


@pytest.fixture
def graph(domain: int) -> Iterator[ArmGraph]:
    """A graph without controllers."""
    from arm_graph import ArmGraph

    made = ArmGraph(domain, controllers=False)
    yield made
    made.close()


@pytest.fixture
def cell(shared_cell: DoubleCell) -> DoubleCell:
    return shared_cell.reset()


@pytest.fixture
def franka(shared_cell: DoubleCell) -> DoubleCell:
    return shared_cell.reset(gripper="franka")
