# SPDX-License-Identifier: Apache-2.0
"""Claim: an idle resolver costs little more than subscribing to its topics.

Three processes receive the same 1280×720 RGB-D stream at 30 Hz in the same run: a bare rclpy node with subscriptions of
the same topics, types and QoS on the same executor; the resolver without its observer; and the resolver with default
settings. The processor time of each is read from /proc, without start-up and discovery. Each round starts new
processes, and medians are taken over rounds, because memory allocation of images differs between processes.
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

import numpy as np

from benchmarks.harness import Claim, arguments, finish
from benchmarks.live_graph import PATIENCE, ROOT, Bench, prepare, resolver

RATE = 30.0  # Hz
SECONDS, ROUNDS = 20.0, 5
LIMIT = 1.3  # times the bare subscriber
SETTLE = 3.0  # s: discovery, first images
NAMES = BARE_NAME, QUIET_NAME, WHOLE_NAME = "bare subscriber", "resolver without observer", "resolver"

BARE = """
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from spatial_vlm_interfaces.msg import DetectionArray
from tf2_msgs.msg import TFMessage
from spatial_vlm_ros.nodes import qos
rclpy.init()
node = rclpy.create_node("bare")
for form, topic in ((Image, "rgb/image"), (Image, "depth/image"), (CameraInfo, "rgb/camera_info"),
                    (DetectionArray, "detections")):
    node.create_subscription(form, topic, lambda message: None, qos.images())
node.create_subscription(TFMessage, "/tf", lambda message: None, qos.TRANSFORMS)
node.create_subscription(TFMessage, "/tf_static", lambda message: None, qos.STATIC_TRANSFORMS)
executor = SingleThreadedExecutor()
executor.add_node(node)
executor.spin()
"""


def main() -> int:
    """Measure, print, write, check."""
    given = arguments(__doc__, seconds=SECONDS, rounds=ROUNDS, width=1280)
    seconds, rounds, width = given.seconds, given.rounds, given.width
    prepare()
    measured = [run(seconds, width) for _ in range(rounds)]
    ratios = {name: [shares[name] / shares[BARE_NAME] for shares in measured] for name in NAMES}
    observer = [shares[WHOLE_NAME] - shares[QUIET_NAME] for shares in measured]
    claims = [Claim("idle resolver against a bare subscriber", float(np.median(ratios[QUIET_NAME])), LIMIT, "times")]
    figures = {
        "seconds": seconds, "rounds": rounds, "width": width, "rate_hz": RATE,
        "core_share": {name: [round(shares[name], 4) for shares in measured] for name in NAMES},
        "ratio": {name: [round(ratio, 3) for ratio in found] for name, found in ratios.items()},
        "observer_core_share_median": round(float(np.median(observer)), 4),
        "ratio_with_observer_median": round(float(np.median(ratios[WHOLE_NAME])), 3),
    }  # fmt: skip
    return finish("idle", figures, claims)


def run(seconds: float, width: int) -> dict[str, float]:
    """Share of one core that each process used, by name."""
    quiet = ("base_frame:=base_link", "observer_rate:=0.0")
    with bare() as first, resolver(*quiet, name="quiet") as second, resolver("base_frame:=base_link") as third:
        bench = Bench(width, listeners=3)
        pids = dict(zip(NAMES, (first, second, third), strict=True))
        play(bench, SETTLE)
        before = {name: used(pid) for name, pid in pids.items()}
        begun = time.perf_counter()
        play(bench, seconds)
        took = time.perf_counter() - begun
        after = {name: used(pid) for name, pid in pids.items()}
        bench.close()
    return {name: (after[name] - before[name]) / took for name in pids}


def play(bench: Bench, seconds: float) -> None:
    """Publish frames at the rate."""
    begun = time.perf_counter()
    for number in range(int(seconds * RATE)):
        while (wait := begun + number / RATE - time.perf_counter()) > 0:
            time.sleep(wait)
        bench.publish()


def used(pid: int) -> float:
    """Processor time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def bare() -> Iterator[int]:
    """Start the bare subscriber; yields its process id."""
    running: Any = subprocess.Popen([sys.executable, "-c", BARE], cwd=ROOT)
    try:
        yield running.pid
    finally:
        running.kill()
        running.wait(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
