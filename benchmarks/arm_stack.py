# SPDX-License-Identifier: Apache-2.0
"""The arm's whole stack as processes, and a client: simulation, resolver, planner, gate; no test code.

`Stack` starts them once. It offers what a user has: send a sentence, see the proposal, approve; and the simulation's
own `disturb` and `judge`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.live_graph import ROOT, prepare

MOVE_GROUP = Path(ROOT) / "test" / "nodes_arm" / "move_group_double.py"
PATIENCE = 60.0  # seconds to wait for a message
LONGEST = 400.0  # s for one goal
STAGES = ("", "RESOLVING", "BUILDING_GOAL", "PLANNING", "WAITING_FOR_APPROVAL", "LOOKING_AGAIN", "MOVING")
SPEED = 4.0  # most simulated seconds per second
RATE, STATES = 1.0, 30.0  # frames and joint states per simulated second; reduced to save processor time
READY = {
    "sim_arm": "sim_arm plays",
    "resolver": "resolver is active",
    "arm_planner": "plans for a",
    "move_group": "ready",
    "planner_gate": "planner_gate is ready",
}
"""Output of each process that shows that it is ready."""
_NODE = """
import signal, sys
from spatial_vlm_ros.nodes.__main__ import run
from spatial_vlm_ros.nodes import liveliness
def fail(number, _):
    raise RuntimeError("an exception on purpose")
signal.signal(signal.SIGUSR1, fail)
if sys.argv.pop(1) == "apart":
    liveliness._here = str
sys.exit(run(sys.argv[1:]))
"""
_GATE = {
    "plan_only": False, "page": False, "motion.gripper_scale": 0.5,
    "motion.duration_scaling": 20.0, "motion.server_timeout": 30.0, "motion.answer_timeout": 30.0,
    "motion.planning_time": 10.0, "motion.most_time": 120.0, "motion.stop_timeout": 30.0, "observation.max_age": 60.0,
}  # fmt: skip
_PLANNER = {"duration_scaling": 20.0, "joint_state_age": 20.0}
"""Time limits for simulated time that runs faster than wall time, and for a busy machine."""


class StackError(RuntimeError):
    """A process has ended, or nothing arrived for too long."""


@dataclass
class Picking:
    """One goal of `pick`: its stages, by wall and simulated time, and its end."""

    proposals_before: int = 0
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    result: Any = None
    handle: Any = None

    @property
    def status(self) -> str:
        """Name of its final status."""
        return str(self.result.status.name)

    def seconds(self, ended: float) -> dict[str, float]:
        """Wall seconds of each stage."""
        ends = [begun for _, begun, _ in self.stages[1:]] + [ended]
        return {name: round(end - begun, 2) for (name, begun, _), end in zip(self.stages, ends, strict=True)}


class Stack:
    """Processes with their output in the folder `log`, and a client of them; `close` ends both.

    Args:
        domain: ROS domain; None = one of 91 to 100, which tests do not use.
        simulation: parameters of `sim_arm` other than its own here; `gate`: of `planner_gate`.
        planner: `arm_planner`, or `move_group`: a test double of MoveIt's, in test/nodes_arm/.
        robot: `panda` or `ur5e`.
        apart: whether the kernel tells them nothing of each other, as if each had its own machine.

    Raises:
        StackError: one of them did not start.
    """

    def __init__(
        self, log: Path, domain: int | None = None, simulation: dict[str, Any] | None = None,
        gate: dict[str, Any] | None = None, planner: str = "arm_planner",
        robot: str = "panda", apart: bool = False,
    ) -> None:  # fmt: skip
        prepare()
        os.environ["ROS_DOMAIN_ID"] = str(91 + os.getpid() % 10 if domain is None else domain)
        import rclpy
        from rclpy.action import ActionClient
        from sensor_msgs.msg import CameraInfo
        from spatial_vlm_interfaces.action import PickInstruction
        from spatial_vlm_interfaces.msg import Proposal
        from spatial_vlm_interfaces.srv import Approve
        from std_msgs.msg import String
        from std_srvs.srv import Trigger

        from spatial_vlm_ros.manipulation.approval.address import keep_secret
        from spatial_vlm_ros.manipulation.approval.signing import new_key, signed_answer
        from spatial_vlm_ros.nodes import qos
        from spatial_vlm_ros.sim.arm.machines import simulated_arm

        self.robot, self.apart = robot, apart
        self._rclpy, self._forms, self.log = rclpy, (PickInstruction, Approve, Trigger, String), log
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: list[subprocess.Popen[bytes]] = []
        self._await: list[tuple[str, str]] = []
        self.proposals: list[Any] = []
        self._verdict: dict[str, Any] = {}
        self._frames = 0
        key, line = new_key("benchmark")
        keep_secret(line, log / "operators")
        self._signed = lambda proposal: signed_answer(proposal, "benchmark", key)
        rclpy.init(args=[])
        self.node = rclpy.create_node("person")
        try:
            arm = simulated_arm(robot)
            simulated = {
                "robot": robot, "clock": True, "speed": SPEED, "rate": RATE, "state_rate": STATES, **(simulation or {}),
            }  # fmt: skip
            clock = {"use_sim_time": simulated["clock"]}
            self._given = {
                "sim_arm": simulated,
                "resolver": {
                    "base_frame": arm.base_link, "robot_description": str(arm.urdf()), "frame_timeout": 30.0, **clock,
                },
                planner: {"arm": robot, **_PLANNER, **clock} if planner == "arm_planner" else clock,
                "planner_gate": {"audit_log": str(log / "audit.jsonl"), **_GATE, **arm.gate, **clock, **(gate or {})},
            }  # fmt: skip
            for name in self._given:
                self._begin(name, READY[name])
            self._pick = ActionClient(self.node, PickInstruction, "pick")
            self._approving = self.node.create_client(Approve, "approve")
            self._judging = self.node.create_client(Trigger, "judge")
            self._disturber = self.node.create_publisher(String, "disturb", qos.INSTRUCTIONS)
            self.node.create_subscription(Proposal, "proposal", self.proposals.append, qos.ANSWERS)
            self.node.create_subscription(String, "verdict", self._on_verdict, qos.VERDICTS)
            self.node.create_subscription(CameraInfo, "rgb/camera_info", self._on_frame, qos.images())
            self.await_processes()
            for there in (
                self._pick.server_is_ready, self._approving.service_is_ready, self._judging.service_is_ready,
                self._disturber.get_subscription_count, lambda: self._verdict, lambda: self._frames,
            ):  # fmt: skip
                self.until(there, "everything is found")
            while self.end(self.send("put the chick behind the cup on the tray", plan_only=True)).status != "OK":
                pass  # the planner must first receive the arm's state
        except BaseException:
            self.close()
            raise

    def _begin(self, name: str, words: str) -> None:
        given = [word for key, value in self._given[name].items() for word in ("-p", f"{key}:={value}")]
        program = [str(MOVE_GROUP)] if name == "move_group" else ["-c", _NODE, "apart" if self.apart else "", name]
        command = [sys.executable, *program, "--ros-args", *given]
        with (self.log / f"{name}.txt").open("wb") as out:
            self._running[name] = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        self._await.append((name, words))

    def begin(self, *names: str) -> None:
        """Restart processes that have ended, and wait until they are ready."""
        for name in names:
            self._begin(name, READY[name])
        self.await_processes()

    def await_processes(self) -> None:
        """Wait until all started processes are ready."""
        while self._await:
            name, words = self._await.pop()
            self.until(lambda n=name, w=words: w in self.said(n), f"{name} says {words!r}")

    def end_process(self, name: str, number: int) -> subprocess.Popen[bytes]:
        """Send a signal that may end a process; from now on its end is not an error."""
        process = self._running.pop(name)
        process.send_signal(number)
        self._ended.append(process)
        return process

    def said(self, name: str) -> str:
        """All output of a process."""
        return (self.log / f"{name}.txt").read_text(errors="replace")

    def _on_verdict(self, message: Any) -> None:
        self._verdict = json.loads(message.data)

    def _on_frame(self, _: Any) -> None:
        self._frames += 1

    slowness = 1.0  # times as long everything is waited for

    def until(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Spin until a condition holds; StackError if it does not in time, or a process has ended."""
        from rclpy.executors import ExternalShutdownException

        end = time.monotonic() + patience * self.slowness
        while not condition():
            try:
                self._rclpy.spin_once(self.node, timeout_sec=0.02)
            except ExternalShutdownException as error:  # SIGTERM
                raise KeyboardInterrupt from error
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise StackError(f"{name} has ended ({process.returncode}): {self.said(name)[-500:]}")
            if time.monotonic() > end:
                raise StackError(f"waited {patience:.0f} s in vain until {what}")

    def _answer(self, future: Any, what: str) -> Any:
        self.until(future.done, what)
        return future.result()

    def send(self, instruction: str, plan_only: bool = False) -> Picking:
        """Send an instruction to the gate; its stages are recorded as they arrive."""
        picking, form = Picking(len(self.proposals)), self._forms[0]

        def on_stage(message: Any) -> None:
            picking.stages.append((STAGES[message.feedback.stage], time.monotonic(), self._verdict.get("time_s", 0.0)))

        goal = form.Goal(instruction=instruction, plan_only=plan_only)
        handle = self._answer(self._pick.send_goal_async(goal, feedback_callback=on_stage), "the goal is answered")
        if not handle.accepted:
            raise StackError("the gate did not accept the goal")
        picking.handle = handle
        handle.get_result_async().add_done_callback(lambda f: setattr(picking, "result", f.result().result))
        return picking

    def end(self, picking: Picking) -> Picking:
        """Wait for its end."""
        self.until(lambda: picking.result is not None, "the goal ends", LONGEST)
        return picking

    def proposed(self, picking: Picking) -> Any | None:
        """Wait for its proposal; None if it ended without one."""
        before = picking.proposals_before
        self.until(lambda: picking.result is not None or len(self.proposals) > before, "it is proposed", LONGEST)
        return self.proposals[-1] if len(self.proposals) > before else None

    def approve(self, proposal: Any) -> str:
        """Approve a proposal; returns the status of the answer."""
        request = self._forms[1].Request(**self._signed(proposal))
        return str(self._answer(self._approving.call_async(request), "approve answers").status.name)

    def disturb(self, **what: Any) -> None:
        """Change the world, and return when it is changed.

        Raises:
            StackError: it was not changed.
        """
        before, refused = self.said("sim_arm").count("disturbed: "), self.said("sim_arm").count("[ERROR]")
        self._disturber.publish(self._forms[3](data=json.dumps(what)))
        self.until(lambda: self.said("sim_arm").count("disturbed: ") > before, f"{what} is done")
        if self.said("sim_arm").count("[ERROR]") > refused:
            raise StackError(f"{what} was refused")

    def fresh(self) -> None:
        """Wait for a frame that was started after this call: one may be in transit, one half rendered."""
        before = self._frames
        self.until(lambda: self._frames > before + 2, "frames come")

    def verdict(self) -> dict[str, Any]:
        """The judge's current verdict."""
        answer = self._answer(self._judging.call_async(self._forms[2].Request()), "the judge answers")
        return dict(json.loads(answer.message))

    def accepted(self) -> int:
        """Goals that arm and gripper have accepted since the start."""
        return sum(counts.get("accepted", 0) for counts in self.verdict()["goals"].values())

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self._running.values()):
            process.terminate()
        for process in (*self._running.values(), *self._ended):
            reap(process)
        self.node.destroy_node()
        self._rclpy.try_shutdown()


def reap(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process that was told to end has done so; kill it if it does not."""
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


def log_folder() -> Path:
    """Folder for the processes' output."""
    return Path(tempfile.mkdtemp(prefix="arm_stack_"))
