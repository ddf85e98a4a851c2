# SPDX-License-Identifier: Apache-2.0
"""How long after a kill a process counts as lost, on a machine that is idle and on one that lacks CPU time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from spatial_vlm_ros.nodes import liveliness
from spatial_vlm_ros.nodes.liveliness import SURE, AliveWatch

TOPIC = "someone/alive"
PROGRAM = f"""
import rclpy
from rclpy.node import Node
from spatial_vlm_ros.nodes.liveliness import Alive
rclpy.init()
node = Node("someone")
shown = Alive(node, "{TOPIC}")
rclpy.spin(node)
"""
DEADLINE = 30.0  # s
LONG = 5.0  # s: the wait of a patient watch; no busy machine of the tests takes so long for a short one


class Watching:
    """A node with a watch, and the process that it watches."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("watcher", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM])

    def until(self, condition: Callable[[], bool]) -> None:
        """Spin until a condition holds."""
        end = time.monotonic() + DEADLINE
        while not condition() and time.monotonic() < end:
            self.executor.spin_once(0.02)
        assert condition()

    def seconds_until_lost(self, watch: AliveWatch, least: float = SURE) -> float:
        """Seconds from SIGKILL until the process counts as lost."""
        self.until(lambda: not watch.lost() and watch.count > 0)
        self.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        self.until(lambda: watch.lost(least))
        return time.monotonic() - killed

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def watching(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    made = Watching(domain)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("patient", [False, True])
def test_where_cpu_time_is_short_only_a_patient_watch_waits_longer(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    monkeypatch.setattr(liveliness.Pressure, "patience", lambda _, seconds: max(seconds, LONG))
    seconds = watching.seconds_until_lost(AliveWatch(watching.node, TOPIC, patient=patient))
    assert (seconds >= LONG) == patient, seconds


def test_a_patient_watch_waits_no_longer_on_an_idle_machine(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveliness.Pressure, "patience", lambda _, seconds: seconds)
    assert watching.seconds_until_lost(AliveWatch(watching.node, TOPIC, patient=True)) < LONG


def test_silence_is_waited_for_as_long_as_the_watcher_says(watching: Watching) -> None:
    assert watching.seconds_until_lost(AliveWatch(watching.node, TOPIC), LONG) >= LONG


def test_only_a_process_that_has_left_the_graph_is_forgotten(watching: Watching) -> None:
    watch = AliveWatch(watching.node, TOPIC)
    watching.seconds_until_lost(watch)
    watch.forget()
    assert watch.seen, "a killed process stays in the graph for some time"
    watching.process.wait()
    watching.process = subprocess.Popen([sys.executable, "-c", PROGRAM])
    watching.until(lambda: watch.count > 0)
    watching.process.send_signal(signal.SIGINT)
    watching.until(lambda: watch.count == 0 and len(watch.nodes()) <= 1)
    watching.until(lambda: not watch.nodes())  # the killed one's lease ends, too
    assert watch.lost()
    watch.forget()
    assert not watch.seen
    assert not watch.lost()
