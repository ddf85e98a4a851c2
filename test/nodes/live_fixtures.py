# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live graph for every folder of tests: a ROS domain, nodes in it, processes in it. Not a test."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from live_domain import free_domain
from live_process import ROOT, Started

if TYPE_CHECKING:
    from live_graph import Graph

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "spatial_vlm_ros_log"))
# as every process that sends or hears images is told to
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_images.xml"))

HAS_ROS = importlib.util.find_spec("rclpy") is not None or bool(os.environ.get("SPATIAL_VLM_REQUIRE_ROS"))
collect_ignore_glob = [] if HAS_ROS else ["test_*.py"]


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain id that no other test on this machine uses now."""
    with free_domain() as number:
        yield number


@pytest.fixture
def graph(domain: int) -> Iterator[Graph]:
    from live_graph import Graph

    live = Graph(domain)
    yield live
    live.close()


class SharedGraph:
    """A live graph that tests take one after another, each as the one before found it; it may have a resolver."""

    def __init__(self, resolves: bool) -> None:
        self._resolves = resolves
        self._graph: Graph | None = None
        self._held = contextlib.ExitStack()

    @contextlib.contextmanager
    def lent(self) -> Iterator[Graph]:
        from live_graph import Graph
        from live_scene import FRAME

        new = self._graph is None
        self._graph = self._graph or Graph(self._held.enter_context(free_domain()))
        if new and self._resolves:
            self._graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=5.0)
            self._graph.camera.tf(FRAME.base_T_camera, static=True)
        try:
            yield self._graph
            self._graph.settle()
        except BaseException:
            self.close()  # what it left cannot be known
            raise

    def close(self) -> None:
        graph, self._graph = self._graph, None
        with self._held:
            if graph is not None:
                graph.close()


@pytest.fixture(scope="session")
def shared_graphs() -> Iterator[dict[bool, SharedGraph]]:
    """What `live` (True) and `quiet` (False) lend."""
    shared = {resolves: SharedGraph(resolves) for resolves in (True, False)}
    yield shared
    for each in shared.values():
        each.close()


@pytest.fixture
def live(shared_graphs: dict[bool, SharedGraph]) -> Iterator[Graph]:
    """The shared graph with a resolver, whose parameters and states are set back after a test."""
    with shared_graphs[True].lent() as graph:
        yield graph


@pytest.fixture
def quiet(shared_graphs: dict[bool, SharedGraph]) -> Iterator[Graph]:
    """The shared graph without a resolver, for players; what a test starts in it ends with the test."""
    with shared_graphs[False].lent() as graph:
        yield graph


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start Python with these words; the environment's additions by name."""
    running: list[Started] = []

    def begin(*words: str, stdin: int | None = None, **environment: str) -> Started:
        running.append(Started(words, tmp_path / f"log{len(running)}.txt", environment, stdin))
        return running[-1]

    yield begin
    for each in running:
        each.close()


@pytest.fixture
def node(start: Callable[..., Started], domain: int) -> Callable[..., Started]:
    """A node of this package as a process in the test's domain, with parameters by name and further words."""

    def begin(name: str, *words: str, **parameters: Any) -> Started:
        given = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        command = ("-m", "spatial_vlm_ros.nodes", name, "--ros-args", *given, *words)
        return start(*command, ROS_DOMAIN_ID=str(domain))

    return begin


@pytest.fixture
def program(start: Callable[..., Started], domain: int) -> Callable[..., Started]:
    """`spatial-vlm` as a process in the test's domain."""

    def begin(*words: str, stdin: int | None = None) -> Started:
        return start("-m", "spatial_vlm_ros.cli", *words, stdin=stdin, ROS_DOMAIN_ID=str(domain), COLUMNS="200")

    return begin


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """What a person types into, and what a program reads of it."""
    ends = pty.openpty()
    yield ends
    for each in ends:
        os.close(each)
