# SPDX-License-Identifier: Apache-2.0
"""A gate alone in a graph: with parameters that nothing can be done with, and with somebody who means it ill."""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from arm_graph import ArmGraph
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from spatial_vlm_interfaces.action import PickInstruction
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from waiting import until

from spatial_vlm_ros.errors import InputError, RejectedError
from spatial_vlm_ros.manipulation.approval.address import address_in, keep_secret
from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.manipulation.approval.signing import new_key, signed_answer
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.arm.planner_gate import PlannerGate
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.printable import printable

EVIL = "\x1b[2J\x1b]0;x\x07\r\nAPPROVED\u202e<script>"
CALLS = 60
LARGEST_RECORD = 200_000  # bytes


class Stranger:
    """A node beside the gate that calls what it offers, and hears /rosout."""

    def __init__(self, graph: ArmGraph) -> None:
        self.logs: list[Log] = []
        self.node: Node = graph.spin(self._make)
        for there in (self.approving.service_is_ready, self.stopping.service_is_ready, self.picking.server_is_ready):
            until(there, "what the gate offers is there")

    def _make(self, context: Context) -> Node:
        node = rclpy.create_node("stranger", context=context)
        self.bridge = Bridge(node)
        self.approving = node.create_client(Approve, "approve")
        self.stopping = node.create_client(Trigger, "stop")
        self.picking = ActionClient(node, PickInstruction, "pick")
        self.images = node.create_publisher(Image, "annotated/image", qos.IMAGES)
        self.transforms = node.create_publisher(TFMessage, "/tf", qos.TRANSFORMS)
        node.create_subscription(Log, "/rosout", self.logs.append, 1000)
        return node

    @staticmethod
    def wait(future: Any, what: str) -> Any:
        until(future.done, what)
        return future.result()


BAD_NAME = "name of a service or action: '/bad name'"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        pytest.param({"motion.gripper_action": "/bad name"}, BAD_NAME, id="action"),
        pytest.param({"grasp.source": "service", "grasp.service": "/bad name"}, BAD_NAME, id="service",
                     marks=pytest.mark.slow),
        pytest.param(
            {"motion.gripper_interface": "set_bool", "motion.gripper_flag": "bad topic"},
            "Invalid topic name: topic name must not contain", id="topic",
        ),
    ],
)  # fmt: skip
def test_the_gate_refuses_bad_parameters(node: Any, parameters: dict[str, str], says: str, tmp_path: Path) -> None:
    gate = node("planner_gate", audit_log=tmp_path / "audit.jsonl", **parameters)
    assert gate.ends() == 1
    assert says in gate.output
    assert "Traceback" not in gate.output


def test_no_plan_is_proposed_whose_motion_nothing_would_stop(domain: int, tmp_path: Path) -> None:
    context, controllers = Context(), {"motion.controller_actions": "/arm_controller/follow_joint_trajectory"}
    rclpy.init(context=context, domain_id=domain)
    goal: Any = SimpleNamespace(id="1", parts=())
    for given, error, words in (
        ({}, InputError, "nothing would stop the arm if it died"),
        (controllers, RejectedError, "no heartbeat comes from what resolves"),
    ):
        given = {"audit_log": str(tmp_path / "audit.jsonl"), "page": False, "plan_only": False, **given}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        gate = PlannerGate(context=context, parameter_overrides=overrides)
        with pytest.raises(error, match=words):
            gate._approve(goal, goal, lambda: False)
        gate.stop()
        gate.destroy_node()
    rclpy.shutdown(context=context)


def test_no_stranger_ends_the_gate_fills_its_disk_or_has_its_secret(node: Any, graph: ArmGraph, tmp_path: Path) -> None:
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package)
    record = tmp_path / "audit.jsonl"
    key, line = new_key("me")
    keep_secret(line, tmp_path / "known")
    gate = node("planner_gate", audit_log=record, operators_file=tmp_path / "known", **{"motion.server_timeout": 0.2})
    gate.says("approve at")
    stranger = Stranger(graph)
    long = "x" * 1_000_000
    whole = signed_answer(Proposal(goal_id=str(uuid.uuid4()), plan_hash="0" * 64), "me", key)
    forms = (
        {"goal_id": EVIL, "decided_by": EVIL},
        {"goal_id": long, "plan_hash": long, "reason": long},
        whole,
        whole | {"decided_by": EVIL},
        whole | {"goal_id": long},
        whole | {"reason": long},
        whole | {"scene_stamp": Time(sec=-(2**31), nanosec=2**32 - 1)},
    )
    for number in range(CALLS):
        request = Approve.Request(**forms[number % len(forms)])
        answer = stranger.wait(stranger.approving.call_async(request), "approve answers")
        assert answer.status.name in ("REJECTED", "INVALID_INPUT")
        assert len(answer.status.message) < 1000
    stamp = Time(sec=5)
    stranger.images.publish(Image(header=Header(stamp=stamp), encoding="rgb8", height=9, width=9, step=1, data=b"x"))
    bad = TransformStamped(header=Header(stamp=stamp, frame_id=EVIL), child_frame_id=EVIL)
    bad.transform.rotation.w = float("nan")
    stranger.transforms.publish(TFMessage(transforms=[bad, TransformStamped()]))
    for instruction in (EVIL, long, ""):
        goal = PickInstruction.Goal(instruction=instruction, dialogue_id=EVIL, frame_of_reference=EVIL)
        sent = stranger.bridge.ask(lambda goal=goal: stranger.picking.send_goal_async(goal))
        handle = stranger.wait(sent, "the goal is accepted")
        ended = stranger.wait(handle.get_result_async(), "the goal ends").result
        assert (ended.status.name != "OK", ended.moved) == (True, False)
    assert stranger.wait(stranger.stopping.call_async(Trigger.Request()), "stop answers").success
    (where,) = [found for line in gate.output.splitlines() if (found := address_in(line)) is not None]
    link = where.link()
    secret = link.partition("token=")[2]
    until(lambda: any("requested a stop" in entry.msg for entry in stranger.logs), "the stop is told")
    told = " ".join(entry.msg for entry in stranger.logs)
    assert secret not in told + gate.output + record.read_text()
    assert printable(told) == told
    assert printable(gate.output, keep="\n") == gate.output
    assert record.stat().st_size < LARGEST_RECORD
    assert verify(record).lines > CALLS / 2
    assert gate.process.poll() is None
    gate.interrupt()
    assert gate.ends() == 0, gate.output
    assert not where.file.exists()
    assert not list(tmp_path.glob(".audit*"))
