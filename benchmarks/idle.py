# SPDX-License-Identifier: Apache-2.0
"""Claim: a resolver that nobody asks costs little more than hearing its topics.

Three processes hear the same 1280×720 RGB-D stream at 30 Hz in the same run: a bare rclpy node with subscriptions of
the same topics, types and QoS on the same executor, the resolver without its observer, and the resolver as it is by
default. The processor's time of each is read from /proc, the fixed cost of starting left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, finish, option, table
from benchmarks.live_graph import PATIENCE, ROOT, Bench, prepare, resolver

RATE = 30.0  # Hz
SECONDS = 30.0
LIMIT = 1.3  # times the bare subscriber
SETTLE = 3.0  # s: discovery, first images

BARE = """
import collections, sys
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from spatial_vlm_interfaces.msg import DetectionArray
from tf2_msgs.msg import TFMessage
from spatial_vlm_ros.nodes import qos
rclpy.init()
node = rclpy.create_node("bare")
heard = collections.Counter()
for form, topic in ((Image, "rgb/image"), (Image, "depth/image"), (CameraInfo, "rgb/camera_info"),
                    (DetectionArray, "detections")):
    node.create_subscription(form, topic, lambda message, topic=topic: heard.update([topic]), qos.images())
node.create_subscription(TFMessage, "/tf", lambda message: None, qos.TRANSFORMS)
node.create_subscription(TFMessage, "/tf_static", lambda message: None, qos.STATIC_TRANSFORMS)
executor = SingleThreadedExecutor()
executor.add_node(node)
try:
    executor.spin()
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    print(dict(heard), file=sys.stderr)
"""


def main() -> int:
    """Measure, print, write, check."""
    seconds, width = option("seconds", SECONDS), int(option("width", 1280))
    prepare()
    measured = run(seconds, width)
    bare = measured["bare subscriber"]
    rows = [(name, used * 100, used / bare) for name, used in measured.items()]
    table("processor's time while nobody asks", ("process", "% of a core", "times the bare subscriber"), rows)
    idle, observing = measured["resolver without observer"], measured["resolver"]
    claims = [Claim("idle resolver against a bare subscriber", idle / bare, LIMIT, "times")]
    figures = {
        "seconds": seconds, "width": width, "rate_hz": RATE,
        "core_share": {name: round(used, 4) for name, used in measured.items()},
        "observer_core_share": round(observing - idle, 4),
        "ratio_with_observer": round(observing / bare, 3),
    }  # fmt: skip
    return finish("idle", figures, claims)


def run(seconds: float, width: int) -> dict[str, float]:
    """Share of one core that each process used."""
    quiet = ("base_frame:=base_link", "observer_rate:=0.0")
    with bare() as first, resolver(*quiet, name="quiet") as second, resolver("base_frame:=base_link") as third:
        bench = Bench(width, listeners=3)
        pids = {"bare subscriber": first, "resolver without observer": second, "resolver": third}
        play(bench, SETTLE)
        before = {name: used(pid) for name, pid in pids.items()}
        begun = time.perf_counter()
        play(bench, seconds)
        took = time.perf_counter() - begun
        after = {name: used(pid) for name, pid in pids.items()}
        bench.close()
    return {name: (after[name] - before[name]) / took for name in pids}


def play(bench: Bench, seconds: float) -> None:
    """Frames at the rate."""
    begun = time.perf_counter()
    for number in range(int(seconds * RATE)):
        while (wait := begun + number / RATE - time.perf_counter()) > 0:
            time.sleep(wait)
        bench.publish()


def used(pid: int) -> float:
    """Processor's time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def bare() -> Iterator[int]:
    """The bare subscriber; its process id."""
    running: Any = subprocess.Popen([sys.executable, "-c", BARE], cwd=ROOT)
    try:
        yield running.pid
    finally:
        running.terminate()
        running.wait(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
