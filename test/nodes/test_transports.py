# SPDX-License-Identifier: Apache-2.0
"""Nodes of the arm leave shared memory out, whatever is discovered, and are found by those that have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live_domain import free_domain

from spatial_vlm_ros.nodes.main import without_shared_memory

ROOT = Path(__file__).parents[2]
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
IMAGES = str(ROOT / "config" / "fastdds_images.xml")
TALKS = """
import sys, time
alone, mine, other = sys.argv[1] == "alone", *sys.argv[2:]
if alone:
    from spatial_vlm_ros.nodes.main import without_shared_memory
    without_shared_memory()
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node(mine)
heard = []
says = node.create_publisher(String, mine, 10)
node.create_subscription(String, other, lambda message: heard.append(message.data), 10)
end = time.monotonic() + 60.0
while time.monotonic() < end and not (heard and says.get_subscription_count() and "heard" in heard):
    says.publish(String(data="heard" if heard else "there"))
    rclpy.spin_once(node, timeout_sec=0.05)
for _ in range(40):  # the other one may not have heard yet
    says.publish(String(data="heard"))
    rclpy.spin_once(node, timeout_sec=0.05)
print("shared" if "/dev/shm/fastdds_" in open("/proc/self/maps").read() else "udp", "heard" in heard)
"""


def talking(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TALKS, *words], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("discovery", "other"),
    [
        ("LOCALHOST", "shared"),
        *(pytest.param(*row, marks=pytest.mark.slow)
          for row in (("LOCALHOST", "alone"), ("SUBNET", "alone"), ("SUBNET", "shared"))),
    ],
)  # fmt: skip
def test_a_node_without_shared_memory_is_found_by_others(discovery: str, other: str) -> None:
    with free_domain() as domain:
        chosen = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": discovery}
        chosen["FASTDDS_DEFAULT_PROFILES_FILE"] = IMAGES
        ours, theirs = talking(chosen, "alone", "a", "b"), talking(chosen, other, "b", "a")
        try:
            assert ours.communicate(timeout=90.0)[0].split() == ["udp", "True"]
            assert theirs.communicate(timeout=90.0)[0].split() == ["udp" if other == "alone" else "shared", "True"]
        finally:
            for process in (ours, theirs):
                process.kill()
                process.wait()


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "own.xml"}, True),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, True),
        ({"ROS_STATIC_PEERS": "10.0.0.7"}, True),
        ({}, False),
    ],
)
def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], kept: bool) -> None:
    for name in (*PROFILES, "RMW_IMPLEMENTATION", "ROS_STATIC_PEERS"):
        monkeypatch.setenv(name, "")  # as it was afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    for name, value in {**chosen, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}.items():
        monkeypatch.setenv(name, value)
    without_shared_memory()
    assert (os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST") is kept
    if "ROS_STATIC_PEERS" not in chosen:
        assert (os.environ.get(PROFILES[0]) == chosen.get(PROFILES[0])) is kept
    for name in PROFILES:
        monkeypatch.delenv(name, raising=False)
