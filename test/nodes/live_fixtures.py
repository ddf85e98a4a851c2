# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live graph for every folder of tests: a ROS domain, nodes in it, processes in it. Not a test."""

from __future__ import annotations

import importlib.util
import os
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
    """A camera and a client; the resolver is started by the test."""
    from live_graph import Graph

    live = Graph(domain)
    yield live
    live.close()


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
