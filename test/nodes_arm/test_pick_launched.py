# SPDX-License-Identifier: Apache-2.0
"""Whole picks as an integrator starts them: pick.launch.py with a preset, drivers by its names, doctor, a person."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from arm_graph import PATIENT, ArmGraph, discovered
from gate_cell import SENTENCE
from live_process import ROOT, Started
from move_group_double import MoveGroupDouble
from preset_drivers import drivers_of, simulation
from rclpy.context import Context
from rclpy.node import Node
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve
from std_srvs.srv import Trigger
from waiting import DEADLINE, until

from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.signing import new_key, signed_answer
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import description
from spatial_vlm_ros.nodes import qos

SLOWER = 20.0  # simulated time may pass this much slower than the wall's
SENTENCES = {
    "behind": (SENTENCE, "was put on the tray"),
    "bowl": ("put the lemon in the bowl", "the lemon (lemon) was put in the bowl"),
}


class Person:
    """Who approves and asks the judge; `operators` is the gate's file."""

    def __init__(self, graph: ArmGraph, operators: Path) -> None:
        self._key, line = new_key("tester")
        keep_secret(line, operators)
        self.proposals: list[Proposal] = []
        graph.spin(self._make)

    def _make(self, context: Context) -> Node:
        node = rclpy.create_node("person", context=context)
        node.create_subscription(Proposal, "proposal", self.proposals.append, qos.ANSWERS)
        self._approve = node.create_client(Approve, "approve")
        self._judge = node.create_client(Trigger, "judge")
        return node

    @staticmethod
    def _ask(client: Any, request: Any, what: str) -> Any:
        until(client.service_is_ready, what)
        future = client.call_async(request)
        until(future.done, what)
        return future.result()

    def approves(self, proposal: Proposal) -> str:
        request = Approve.Request(**signed_answer(proposal, "tester", self._key))
        return str(self._ask(self._approve, request, "approve answers").status.name)

    def verdict(self) -> dict[str, Any]:
        return dict(json.loads(self._ask(self._judge, Trigger.Request(), "the judge answers").message))


def patient(robot: str, planner: str, folder: Path) -> Path:
    values = yaml.safe_load((ROOT / "config" / "robots" / f"{robot}.yaml").read_text())
    values["parameters"]["motion"] |= PATIENT | {"duration_scaling": SLOWER}
    values["parameters"].setdefault("observation", {})["max_age"] = 60.0  # simulated time passes four times as fast
    if planner == "built-in":
        values["planners"][planner]["arm_planner"] |= {"duration_scaling": SLOWER, "joint_state_age": SLOWER}
    path = folder / f"{robot}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def patient_resolver(folder: Path) -> Path:
    """The shipped parameters, with more patience for images: 2 s of simulated time are half a second."""
    text, usual = (ROOT / "config" / "resolver.yaml").read_text(), "frame_timeout: 2.0"
    assert text.count(usual) == 1
    path = folder / "resolver.yaml"
    path.write_text(text.replace(usual, "frame_timeout: 30.0"))
    return path


def says(program: Started, *words: str) -> None:
    for each in words:
        discovered(lambda each=each: each in program.output, f"it says {each!r}")


OTHERS = [("ur5e_robotiq", "built-in", "behind"), ("panda_moveit", "moveit", "behind")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("robot", "planner", "world"), [*OTHERS, *(("panda", "built-in", world) for world in SENTENCES)]
)
def test_a_whole_pick_with_the_preset_of_a_robot(
    robot: str, planner: str, world: str, domain: int, graph: ArmGraph, node: Callable[..., Started],
    program: Callable[..., Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing is said but the robot and its planner: its URDF, too, is what its drivers publish."""
    monkeypatch.setenv("ROS_PACKAGE_PATH", str(description().parents[2]))  # as a sourced workspace has its meshes
    remapped, parameters = simulation(robot)
    rules = [word for rule in remapped for word in ("-r", rule)]
    simulated = node("sim_arm", *rules, **parameters, world=world, clock=True, speed=4.0, rate=1.0, state_rate=25.0)
    spun, drivers = drivers_of(robot, planner, domain)
    action, args = drivers.motion.controller_actions, ["--ros-args", "-p", "use_sim_time:=true"]
    moveit = MoveGroupDouble(domain, action, args) if planner == "moveit" else None
    if moveit is not None:
        moveit.execution.scaling = SLOWER  # trajectory_execution.allowed_execution_duration_scaling
    try:
        says(simulated, f"sim_arm plays {world}")
        person = Person(graph, tmp_path / "known")
        discovered(lambda: drivers.ready, "the simulation is there")
        preset = patient(robot, planner, tmp_path)
        named = (f"audit_log:={tmp_path / 'audit.jsonl'}", f"operators_file:={tmp_path / 'known'}", "page:=false",
                 f"params_file:={patient_resolver(tmp_path)}")  # fmt: skip
        up = program("up", "pick", f"robot:={preset}", "camera:=none", f"planner:={planner}", "plan_only:=false",
                     "use_sim_time:=true", "velocity_scaling:=0.5", "acceleration_scaling:=0.5",
                     "approval_timeout:=300.0", *named)  # fmt: skip
        says(up, "planner_gate is ready", "resolver is active")
        if moveit is None:
            says(up, "arm_planner plans for a")
        sentence, done = SENTENCES[world]
        pick = program("pick", sentence, "--wait", str(DEADLINE))
        until(lambda: person.proposals or pick.process.poll() is not None, "it is proposed", 3 * DEADLINE)
        assert person.proposals, pick.output + up.output
        assert person.approves(person.proposals[-1]) == "OK"
        until(lambda: pick.process.poll() is not None, "the pick ends", 4 * DEADLINE)
        assert pick.process.returncode == 0, pick.output + up.output
        assert done in pick.output
        record = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
        (shown,) = [line["content"]["warnings"] for line in record if line["event"] == "PROPOSED"]
        assert any("and may fall" in words for words in shown) == (world == "bowl"), shown
        discovered(lambda: person.verdict()["done"], "it lies still on the tray")
        verdict = person.verdict()
        assert verdict["delivered"] == verdict["moved"] == [verdict["target"]]
        up.interrupt()
        assert up.ends() == 0, up.output
    finally:
        if moveit is not None:
            moveit.close()
        spun.close()
