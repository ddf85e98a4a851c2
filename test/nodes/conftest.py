# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live graph: a ROS domain, a graph of nodes in it, a resolver that works. One domain a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import live_fixtures
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from arm_hands import Hands
    from live_graph import Graph

domain, graph, collect_ignore_glob = live_fixtures.domain, live_fixtures.graph, live_fixtures.collect_ignore_glob
start, node, program = live_fixtures.start, live_fixtures.node, live_fixtures.program


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not live_fixtures.HAS_ROS:
        terminalreporter.write_line("tests of the live nodes were left out: rclpy is not installed")


@pytest.fixture
def live(graph: Graph) -> Graph:
    """A resolver that hears the camera and knows its pose; patient, for a machine that is loaded."""
    from live_scene import FRAME

    graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=5.0)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    return graph


@pytest.fixture
def hands(graph: Graph) -> Callable[..., Hands]:
    """The simulated arm with these parameters, and its client."""
    from arm_hands import begin

    return lambda **parameters: begin(graph, **parameters)
