# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live graph: a ROS domain, nodes in it, a resolver that works and that tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import live_fixtures
import pytest
from live_domain import free_domain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arm_hands import Hands
    from live_graph import Graph

graph, collect_ignore_glob = live_fixtures.graph, live_fixtures.collect_ignore_glob
shared_graphs, live, quiet = live_fixtures.shared_graphs, live_fixtures.live, live_fixtures.quiet
start, node, program = live_fixtures.start, live_fixtures.node, live_fixtures.program
terminal = live_fixtures.terminal


@pytest.fixture
def domain(request: pytest.FixtureRequest) -> Iterator[int]:
    for shared in {"live", "quiet"} & set(request.fixturenames):
        yield request.getfixturevalue(shared).domain
        return
    with free_domain() as number:
        yield number


@pytest.fixture(autouse=True)
def _backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of worker_backends.py can be imported by a grounder's process."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def hands(graph: Graph) -> Callable[..., Hands]:
    from arm_hands import begin

    return lambda **parameters: begin(graph, **parameters)
