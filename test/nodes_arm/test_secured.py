# SPDX-License-Identifier: Apache-2.0
"""SROS2 enforced: a pick is approved and carried out, and who has no keys neither speaks to it nor hears it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from arm_graph import ArmGraph
from gate_cell import SENTENCE
from live_process import ROOT, Started
from rclpy.context import Context
from rclpy.node import Node
from spatial_vlm_interfaces.msg import DetectionArray, Proposal
from spatial_vlm_interfaces.srv import Approve
from waiting import DEADLINE, until

from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.signing import new_key

pytestmark = pytest.mark.slow
CELL = ("sim-arm", "plan_only:=false", "page:=false")
PROBE = "import rclpy; rclpy.init(); rclpy.create_node('probe')"


@pytest.fixture
def secured(start: Callable[..., Started], domain: int, tmp_path: Path) -> dict[str, str]:
    """Variables of processes whose security is enforced.

    Only a middleware that is given a keystore, be it an empty one, says that it was built without the libraries
    (rmw_fastrtps 87cf5d95, rmw_fastrtps_shared_cpp/src/participant.cpp:316-367).
    """
    keys = tmp_path / "keys"
    (keys / "enclaves").mkdir(parents=True)
    given = {"ROS_DOMAIN_ID": str(domain), "ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_KEYSTORE": str(keys)}
    probe = start("-c", PROBE, **given)
    if probe.ends():
        pytest.skip(next(line for line in probe.output.splitlines() if "Error" in line))
    if shutil.which("ros2") is None:
        pytest.skip("ros2 security is not installed: ros-$ROS_DISTRO-sros2")
    environment = {**os.environ, "PYTHON": sys.executable, **given}
    subprocess.run([ROOT / "executables" / "make_keystore", keys, *CELL], env=environment, cwd=ROOT, check=True)
    return {**given, "ROS_SECURITY_STRATEGY": "Enforce"}


def test_who_has_no_keys_is_not_heard_and_hears_nothing_and_anyone_with_keys_may_stop(
    secured: dict[str, str], graph: ArmGraph, start: Callable[..., Started], tmp_path: Path
) -> None:
    key, line = new_key("tester")
    keep_secret(line, tmp_path / "operators")
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "yes").write_text("yes\n")
    heard: list[Proposal] = []
    made: dict[str, Any] = {}

    def stranger(context: Context) -> Node:
        node = rclpy.create_node("stranger", context=context)
        node.create_subscription(Proposal, "proposal", heard.append, 10)
        made["approve"] = node.create_client(Approve, "approve")
        made["forger"] = node.create_publisher(DetectionArray, "detections", 10)
        node.create_timer(0.1, lambda: made["forger"].publish(DetectionArray()))
        return node

    graph.spin(stranger)
    named = (f"audit_log:={tmp_path / 'audit.jsonl'}", f"operators_file:={tmp_path / 'operators'}")
    up = start("-m", "spatial_vlm_ros.cli", "up", *CELL, *named, **secured)
    until(lambda: "planner_gate is ready" in up.output, lambda: f"it is ready: {up.output}", 3 * DEADLINE)
    enclave = {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/spatial_vlm_ros/operator"}
    words = ("examples/pick_client.py", SENTENCE, "--operator", "tester", "--key", str(tmp_path / "key.pem"))
    with (tmp_path / "yes").open() as yes:
        client = start(*words, stdin=yes.fileno(), **secured, **enclave)
    until(lambda: client.process.poll() is not None, lambda: f"it ends: {client.output}", 10 * DEADLINE)
    assert "OK: " in client.output, client.output
    assert (heard, made["approve"].service_is_ready(), made["forger"].get_subscription_count()) == ([], False, 0)
    stops = {**os.environ, **secured, "ROS_SECURITY_ENCLAVE_OVERRIDE": "/spatial_vlm_ros/anyone"}
    call = ["ros2", "service", "call", "/stop", "std_srvs/srv/Trigger"]
    said = subprocess.run(call, env=stops, capture_output=True, text=True, timeout=DEADLINE, check=True).stdout
    assert "a stop was requested" in said
    assert "STOP_REQUESTED" in (tmp_path / "audit.jsonl").read_text()
