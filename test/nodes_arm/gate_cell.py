# SPDX-License-Identifier: Apache-2.0
"""A whole cell for tests: simulation, resolver, planner, gate, each a process of its own; and a person. Not a test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import rclpy
from arm_graph import ArmGraph
from builtin_interfaces.msg import Time
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import TransformStamped
from hardware_double import ACTION_SERVICES
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live_domain import free_domain
from live_process import Started
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState
from spatial_vlm_interfaces.action import PickInstruction
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from waiting import DEADLINE, until

from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.signing import new_key, signed_answer
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.nodes.liveliness import Alive
from spatial_vlm_ros.sim.arm.machines import PANDA, SimulatedArm

SENTENCE = "put the chick behind the cup on the tray"
OTHER = "other"
PARTS = (f"pick/_action/{part}" for part in (*ACTION_SERVICES, "feedback", "status"))
RENAMED = [f"{name}:={OTHER}/{name}" for name in (*PARTS, "approve", "stop", "proposal")]
"""Rules by which the names of a gate begin with "other"."""
FIXED, BASE = "odom", "panda_link0"
ODOMETRY_NS = 100_000_000
STILL = 0.02  # rad/s
PASSED_NS = 2_000_000_000  # of simulated time, in which images from before are done with
CLOCK = {"use_sim_time": True}
PLANNER = {"duration_scaling": 20.0, "joint_state_age": 20.0}  # wall-clock time
GATE = {
    "plan_only": False, "page": False, "motion.gripper_scale": 0.5,
    "motion.duration_scaling": 20.0, "motion.server_timeout": 10.0, "motion.answer_timeout": 30.0,
    "motion.planning_time": 20.0, "motion.most_time": 300.0, "motion.stop_timeout": 30.0, "observation.max_age": 60.0,
    "gripper.stall": 0.25, "motion.planner_silence": 5.0,
}  # fmt: skip


class Picking:
    def __init__(self) -> None:
        self.handle: Any = None
        self.stages: list[int] = []
        self.words: list[str] = []
        self.result: PickInstruction.Result | None = None
        self.status = 0

    def hears(self, feedback: PickInstruction.Feedback) -> None:
        self.words.append(feedback.message)
        self.stages.append(feedback.stage)

    @property
    def name(self) -> str:
        return str(self.result.status.name)


class Cell:
    robot: SimulatedArm = PANDA
    sentence = SENTENCE
    simulation: Mapping[str, float] = MappingProxyType({"speed": 4.0, "rate": 1.0, "state_rate": 25.0})
    looks: tuple[str, ...] = ()  # rules by which the names of the resolver's topics change

    def __init__(self, graph: ArmGraph, begin: Callable[..., Started], audit: Path, **gate: Any) -> None:
        self.graph, self.audit, self._begin = graph, audit, begin
        self.other_audit = audit.with_name("other.jsonl")
        self.key, line = new_key("tester")
        keep_secret(line, audit.with_name("operators"))
        robot = self.robot
        self.given = {**GATE, **robot.gate, **CLOCK, "robot_description": robot.urdf()}
        sees = {"base_frame": robot.base_link, "robot_description": robot.urdf(), "frame_timeout": 30.0, **CLOCK}
        self.processes = {
            "sim_arm": begin("sim_arm", robot=robot.name, clock=True, **self.simulation),
            "resolver": begin("resolver", *self.looks, **sees),
            "arm_planner": begin("arm_planner", arm=robot.name, **PLANNER, **CLOCK),
            "planner_gate": begin("planner_gate", audit_log=str(audit), **self.given, **gate),
        }
        self.proposals: list[Proposal] = []
        self.sent: list[Picking] = []
        self.verdicts: list[dict[str, Any]] = []
        self.static: list[TFMessage] = []
        self.joints: list[JointState] = []
        self.is_mobile = bool(gate.get("observation.fixed_frame"))
        self.odometry = 0  # stamp of the newest
        self.node: Node = graph.spin(self._make)
        for name, words in (
            ("sim_arm", "sim_arm plays"), ("resolver", "resolver is active"), ("arm_planner", "plans for a"),
            ("planner_gate", "planner_gate is ready"),
        ):  # fmt: skip
            self.says(self.processes[name], words)
        self.until(self.pick.server_is_ready, "the gate is there")
        for client in (self.approving, self.stopping, self.judging):
            self.until(client.service_is_ready, "its services are there")
        self._whole("/pick")
        self.until(lambda: self.disturber.get_subscription_count() and self.verdicts, "the simulation is there")
        # What plans has to know where the arm is, and what looks has to see: a plan is what shows it.
        self.until(lambda: self.run(plan_only=True).name == "OK", "the first plan is made")

    def _make(self, context: Context) -> Node:
        node = rclpy.create_node("person", context=context)
        self._bridge = Bridge(node)
        self.pick = ActionClient(node, PickInstruction, "pick")
        self.other_pick = ActionClient(node, PickInstruction, f"{OTHER}/pick")
        self.changing = node.create_client(ChangeState, "resolver/change_state")
        self.approving = node.create_client(Approve, "approve")
        self.other_approving = node.create_client(Approve, f"{OTHER}/approve")
        self.stopping = node.create_client(Trigger, "stop")
        self.judging = node.create_client(Trigger, "judge")
        self.disturber = node.create_publisher(String, "disturb", qos.INSTRUCTIONS)
        self.arm = ActionClient(node, FollowJointTrajectory, "/arm_controller/follow_joint_trajectory")
        node.create_subscription(TFMessage, "/tf_static", self.static.append, qos.STATIC_TRANSFORMS)
        self.moving = node.create_publisher(TFMessage, "/tf", qos.TRANSFORMS)
        node.create_subscription(JointState, "/joint_states", self._on_joints, qos.TRANSFORMS)
        for topic in ("proposal", f"{OTHER}/proposal"):
            node.create_subscription(Proposal, topic, self.proposals.append, qos.ANSWERS)
        node.create_subscription(String, "verdict", lambda m: self.verdicts.append(json.loads(m.data)), qos.VERDICTS)
        return node

    def _on_joints(self, message: JointState) -> None:
        """The odometry of a base that stands still, by the clock of the joint states."""
        self.joints.append(message)
        now = stamp_ns(message.header.stamp)
        if self.is_mobile and now >= self.odometry + ODOMETRY_NS:
            told = TransformStamped(header=Header(stamp=message.header.stamp, frame_id=FIXED), child_frame_id=BASE)
            self.moving.publish(TFMessage(transforms=[told]))
            self.odometry = now

    def _whole(self, action: str) -> None:
        for service in ACTION_SERVICES:
            self.until(lambda s=service: self.node.count_services(f"{action}/_action/{s}"), "the action is whole")

    @contextmanager
    def another_gate(self, same_arm: bool = False, **parameters: Any) -> Iterator[Started]:
        """A second gate in the same cell, whose names begin with "other"; it has ended afterwards.

        It plans for the arm and commands another one; with `same_arm` it commands this one, too, and is not waited for.
        """
        arm = {"motion.execute_action": f"/{OTHER}/execute_trajectory", "motion.event_topic": "/event"}
        given = {**self.given, **({} if same_arm else arm), "audit_log": str(self.other_audit), **parameters}
        gate = self._begin("planner_gate", "__node:=other_gate", *RENAMED, **given)
        try:
            if not same_arm:
                self.says(gate, "approve at" if given["page"] else "planner_gate is ready")
                self.until(self.other_pick.server_is_ready, "the other gate is there")
                self.until(self.other_approving.service_is_ready, "it takes approvals")
                self._whole(f"/{OTHER}/pick")
            yield gate
        finally:
            gate.process.terminate()  # killed, it may leave locks in shared memory
            gate.ends()

    @contextmanager
    def somebody_who_says_it_is_a_gate(self) -> Iterator[None]:
        """Somebody who shows itself as a gate of the same arm; the gate has heard of it."""
        gate, before = self.processes["planner_gate"], self.processes["planner_gate"].output
        mark = Alive(self.node, "/execute_trajectory/gate")
        try:
            self.until(lambda: "another gate" in gate.output[len(before) :], "the gate hears of it")
            yield
        finally:
            self._bridge.put(mark.end)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        until(condition, what, 3 * DEADLINE)

    def ends(self, program: Started) -> int:
        self.until(lambda: program.process.poll() is not None, "the program ends")
        return program.ends()

    def says(self, program: Started, *words: str) -> None:
        for each in words:
            self.until(lambda each=each: each in program.output, f"it says {each!r}")

    def wait(self, future: Any, what: str) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        self.until(done.is_set, what)
        return future.result()

    def send(self, instruction: str = "", dialogue_id: str = "", plan_only: bool = False, pick: Any = None) -> Picking:
        picking, words = Picking(), instruction or self.sentence
        self.sent.append(picking)
        goal = PickInstruction.Goal(instruction=words, dialogue_id=dialogue_id, plan_only=plan_only)
        client, hears = pick or self.pick, lambda message: picking.hears(message.feedback)
        # On the executor's thread: rclpy loses a reply that comes while another thread is still sending.
        sent = self._bridge.ask(lambda: client.send_goal_async(goal, feedback_callback=hears))
        picking.handle = self.wait(sent, "the goal is accepted")
        assert picking.handle.accepted

        def ended(future: Any) -> None:
            picking.status, picking.result = future.result().status, future.result().result

        picking.handle.get_result_async().add_done_callback(ended)
        return picking

    def withdraw(self) -> None:
        """Cancel what a test that failed has left open."""
        for left in (picking for picking in self.sent if picking.result is None):
            self.wait(left.handle.cancel_goal_async(), "it is cancelled")

    def run(self, instruction: str = "", **request: Any) -> Picking:
        return self.end(self.send(instruction, **request))

    def end(self, picking: Picking) -> Picking:
        self.until(lambda: picking.result is not None, "the goal ends")
        return picking

    def proposed(self, instruction: str = "", pick: Any = None) -> tuple[Picking, Proposal]:
        before = len(self.proposals)
        picking = self.send(instruction or self.sentence, pick=pick)
        self.until(lambda: len(self.proposals) > before or picking.result, "it is proposed")
        assert picking.result is None, picking.result
        return picking, self.proposals[-1]

    def begun(self) -> Picking:
        picking, proposal = self.proposed()
        assert self.approve(proposal) == "OK"
        self.until(lambda: self.speed() > 5 * STILL or picking.result, "the arm moves")
        assert picking.result is None, picking.result
        return picking

    def speed(self) -> float:
        return max(map(abs, self.joints[-1].velocity[:7])) if self.joints else 0.0

    def stands(self) -> None:
        begun = stamp_ns(self.joints[-1].header.stamp)
        self.until(lambda: stamp_ns(self.joints[-1].header.stamp) > begun + 500_000_000, "half a second has passed")
        since = [j for j in self.joints if stamp_ns(j.header.stamp) > begun]
        assert max(abs(v) for j in since for v in j.velocity[:7]) < STILL

    def approve(
        self, proposal: Proposal, approve: bool = True, reason: str = "", approving: Any = None, **change: Any
    ) -> str:
        """Sign an answer, and send it with `change` made to it afterwards."""
        answer = signed_answer(proposal, "tester", self.key, approve, reason)
        return self.answer(Approve.Request(**answer | change), approving)

    def answer(self, request: Approve.Request, approving: Any = None) -> str:
        return str(self.wait((approving or self.approving).call_async(request), "approve answers").status.name)

    def disturb(self, **what: Any) -> None:
        """Change the world; returns when it is changed and no new image is from before."""
        simulation = self.processes["sim_arm"]
        before = simulation.output.count("disturbed: ")
        self.disturber.publish(String(data=json.dumps(what)))
        self.until(lambda: simulation.output.count("disturbed: ") > before, "the simulation has heard it")
        begun = stamp_ns(self.joints[-1].header.stamp)  # nodes of a loaded machine hear the clock late
        self.until(lambda: stamp_ns(self.joints[-1].header.stamp) > begun + PASSED_NS, "the simulation goes on")

    def verdict(self) -> dict[str, Any]:
        answer = self.wait(self.judging.call_async(Trigger.Request()), "the judge answers")
        return dict(json.loads(answer.message))

    @contextmanager
    def resolver_inactive(self) -> Iterator[None]:
        self._change_resolver(Transition.TRANSITION_DEACTIVATE)
        try:
            yield
        finally:
            self._change_resolver(Transition.TRANSITION_ACTIVATE)

    def _change_resolver(self, to: int) -> None:
        self.until(self.changing.service_is_ready, "the resolver's state can be changed")
        answer = self.wait(self.changing.call_async(ChangeState.Request(transition=Transition(id=to))), "it answers")
        assert answer.success

    def accepted(self) -> int:
        return sum(counts.get("accepted", 0) for counts in self.verdict()["goals"].values())

    def again(self) -> None:
        """The world as it was; its objects are where they were when an image was taken after it."""
        before = len(self.verdicts)
        self.disturb(world={"name": "behind"})
        self.until(lambda: any(not v["moved"] for v in self.verdicts[before + 1 :]), "the world is as it was")
        self.until(lambda: self._camera(-1) == self._camera(0), "the camera is told where it was")
        self.run(plan_only=True)  # whoever looks has heard of it by now, too

    def _camera(self, which: int) -> Any:
        return self.static[which].transforms[0].transform

    def record(self, audit: Path | None = None) -> list[dict[str, Any]]:
        """The lines of an audit log: of that of the first gate, unless another is named."""
        return [json.loads(line) for line in (audit or self.audit).read_text().splitlines()]


AnyCell = TypeVar("AnyCell", bound=Cell)


@contextmanager
def running_cell(
    kind: type[AnyCell], folder: Path, more: Mapping[str, Mapping[str, object]] = MappingProxyType({}), **gate: Any
) -> Iterator[AnyCell]:
    """A cell in a ROS domain of its own; `more` are further parameters by node; what its processes said is printed."""
    running: list[Started] = []
    with free_domain() as domain:

        def begin(name: str, *remapped: str, **parameters: object) -> Started:
            given = {**parameters, **more.get(name, {})}
            words = [word for key, value in given.items() for word in ("-p", f"{key}:={value}")]
            words += [word for rule in remapped for word in ("-r", rule)]
            program = ("-m", "spatial_vlm_ros.nodes", name, "--ros-args", *words)
            log = folder / f"{len(running)} {name}.txt"
            running.append(Started(program, log, {"ROS_DOMAIN_ID": str(domain)}))
            return running[-1]

        graph = ArmGraph(domain, controllers=False)
        try:
            yield kind(graph, begin, folder / "audit.jsonl", **gate)
        finally:
            graph.close()
            for each in running:
                print(each.output)  # noqa: T201  shown where a test fails
                each.close()


def stamp_ns(stamp: Time) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def later(stamp: Time) -> Time:
    return Time(sec=stamp.sec, nanosec=stamp.nanosec + 1)
