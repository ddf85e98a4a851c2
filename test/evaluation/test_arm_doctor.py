# SPDX-License-Identifier: Apache-2.0
"""What `spatial-vlm doctor --arm` makes of what it heard: an arm that is well, and each fault with its repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spatial_vlm_ros.evaluation.arm_doctor import (
    ArmHeard,
    JointStream,
    arm_findings,
    controller_servers,
    gripper_servers,
    planner_servers,
)
from spatial_vlm_ros.evaluation.arm_frames import description_findings, frame_findings, scene_findings
from spatial_vlm_ros.evaluation.frame_doctor import Finding, Severity
from spatial_vlm_ros.launcher import robots
from spatial_vlm_ros.manipulation.planning.moveit_pipelines import VALIDATES
from spatial_vlm_ros.parameters import RobotPreset
from spatial_vlm_ros.streams.transforms import SECOND, TransformBuffer

ROOT = Path(__file__).resolve().parents[2]
NOW = 100 * SECOND
FLAT = (0.0, 0.0, 0.0, 1.0)
PILZ = "pilz_industrial_motion_planner"
PIPELINES = {
    "planning_pipelines": ["ompl", PILZ],
    "ompl.planning_plugins": ["ompl_interface/OMPLPlanner"],
    f"{PILZ}.planning_plugins": [f"{PILZ}/CommandPlanner"],
    f"{PILZ}.response_adapters": [VALIDATES],
}
PRESETS = {name: robots.robot_preset(ROOT, name) for name in robots.robot_names(ROOT)}
PANDA = PRESETS["panda"]
Change = Callable[[ArmHeard], object]


def urdf(preset: RobotPreset, name: str = "robot", collision: str = "<box size='1 1 1'/>") -> str:
    motion = preset.planning("moveit").motion
    links = dict.fromkeys((motion.planning_frame, motion.base_link, motion.tip_link, *motion.finger_links.split()))
    shape = f"<collision><geometry>{collision}</geometry></collision>" if collision else ""
    body = "".join(f"<link name='{link}'>{shape}</link>" for link in links)
    for joint, at in preset.joint_limits.items():
        limit = f"<limit lower='{at.min_position}' upper='{at.max_position}' velocity='{at.max_velocity}'/>"
        body += f"<joint name='{joint}'>{limit}</joint>"
    body += "".join(f"<joint name='{joint}'/>" for joint in motion.finger_joints.split())
    return f"<robot name='{name}'>{body}</robot>"


def srdf(preset: RobotPreset, name: str = "robot", group: str = "", tip: str = "", more: str = "") -> str:
    motion = preset.planning("moveit").motion
    chain = f"<chain base_link='{motion.base_link}' tip_link='{tip or motion.tip_link}'/>"
    return f"<robot name='{name}'><group name='{group or motion.group}'>{chain}</group>{more}</robot>"


def scene(positions: dict[str, float], frame: str = "", held: str = "", objects: tuple[str, ...] = ()) -> Any:
    header = SimpleNamespace(frame_id=frame)
    state = SimpleNamespace(name=list(positions), position=list(positions.values()), header=header)
    attached = [SimpleNamespace(object=SimpleNamespace(id=held))] if held else []
    return SimpleNamespace(
        robot_state=SimpleNamespace(joint_state=state, attached_collision_objects=attached),
        world=SimpleNamespace(collision_objects=[SimpleNamespace(id=each) for each in objects]),
    )


def well(preset: RobotPreset = PANDA) -> ArmHeard:
    """An arm at which nothing is wrong."""
    motion = preset.planning("moveit").motion
    arm = {name: (at.min_position + at.max_position) / 2 for name, at in preset.joint_limits.items()}
    fingers = dict.fromkeys(motion.finger_joints.split(), 0.02)
    joints = JointStream(arm, dict.fromkeys(arm, NOW), [k / 100 for k in range(100)])
    hand = JointStream(fingers, dict.fromkeys(fingers, NOW), [0.0, 0.02])
    wanted = {**planner_servers(motion), **controller_servers(motion), **gripper_servers(motion)}
    heard = ArmHeard(
        NOW, {name: [form] for name, form in wanted.items()}, ["/move_group"], 0.01,
        scene(arm, motion.planning_frame), dict(PIPELINES),
        dict.fromkeys(preset.controllers, "active"), joints=joints, fingers=hand, camera_frame="eye",
        urdf=urdf(preset), srdf=srdf(preset),
    )  # fmt: skip
    heard.transforms.add(motion.planning_frame, motion.tip_link, NOW, (0.4, 0.0, 0.4), FLAT)
    heard.transforms.add(motion.planning_frame, "eye", 0, (1.0, 0.0, 0.6), FLAT, static=True)
    heard.transforms.add(motion.planning_frame, "table", 0, (0.5, 0.0, 0.0), FLAT, static=True)
    return heard


def examined(
    heard: ArmHeard, preset: RobotPreset = PANDA, planner: str = "moveit", table: str = "table"
) -> list[Finding]:
    config = preset.planning(planner)
    return [
        *arm_findings(preset, planner, heard),
        *frame_findings(config, heard, table),
        *description_findings(preset, config.motion, heard, planner == "moveit"),
        *scene_findings(config.motion, heard, planner == "moveit"),
    ]


@pytest.mark.parametrize("robot", PRESETS)
def test_an_arm_that_is_well_has_nothing_to_repair(robot: str) -> None:
    found = examined(well(PRESETS[robot]), PRESETS[robot])
    assert {finding.level for finding in found} == {Severity.OK}, found
    assert {finding.check for finding in found} == {
        "planner", "planning pipelines", "controllers", "gripper", "joint states", "joint limits", "tf", "URDF", "SRDF",
        "planning scene",
    }  # fmt: skip


def lose(kind: Callable[..., dict[str, str]]) -> Change:
    """Nobody serves what this needs."""

    def change(heard: ArmHeard) -> None:
        gone = kind(PANDA.planning("moveit").motion)
        heard.services = {name: forms for name, forms in heard.services.items() if name not in gone}

    return change


def at(joint: str, position: float) -> Change:
    def change(heard: ArmHeard) -> None:
        heard.joints.positions[joint] = position
        heard.scene = scene(heard.joints.positions, "panda_link0")

    return change


def scene_of(frame: str = "panda_link0", **more: Any) -> Change:
    """The planner's scene has the arm where it is."""
    return lambda heard: setattr(heard, "scene", scene(heard.joints.positions, frame, **more))


def set_(**values: Any) -> Change:
    return lambda heard: [setattr(heard, name, value) for name, value in values.items()]


def old(stream: str, age: float) -> Change:
    def change(heard: ArmHeard) -> None:
        told: JointStream = getattr(heard, stream)
        told.stamps = dict.fromkeys(told.stamps, NOW - int(age * SECOND))

    return change


def frame(child: str, at: tuple[float, float, float] = (0.4, 0.0, 0.4), turn: Any = FLAT, stamp: int = NOW,
          static: bool = True) -> Change:  # fmt: skip
    return lambda heard: heard.transforms.add("panda_link0", child, stamp, at, turn, static=static)


def cross(heard: ArmHeard) -> None:
    """The gripper's driver is of another kind."""
    heard.services = {
        name: ["control_msgs/action/GripperCommand_SendGoal"] if "grasp" in name else forms
        for name, forms in heard.services.items()
    }


FAULTS = [
    (lose(planner_servers), "planner", "no node serves the action /move_action", "start MoveIt's move_group"),
    (set_(answer=None), "planner", "does not answer /get_planning_scene", "restart"),
    (set_(planners=["/move_group", "/other"]), "planner", "2 nodes serve /move_action", "end one"),
    (set_(parameters={"planning_pipelines": ["ompl"]}), "planning pipelines",
     f"motion.straight_pipeline: '{PILZ}'; expected one of ompl", "name it in planning_pipelines"),
    (set_(parameters=PIPELINES | {f"{PILZ}.response_adapters": []}), "planning pipelines", "does not check its paths",
     f"add {VALIDATES} to {PILZ}.response_adapters of move_group"),
    (lose(controller_servers), "controllers", "no node serves the action /panda_arm_controller", "robot's driver"),
    (set_(controllers=None), "controllers", "/controller_manager/list_controllers does not answer", "start"),
    (set_(controllers={"joint_state_broadcaster": "active"}), "controllers", "panda_arm_controller is not loaded",
     "spawner panda_arm_controller"),
    (lambda heard: heard.controllers.update(panda_arm_controller="inactive"), "controllers", "is inactive, not active",
     "set_controller_state"),
    (lose(gripper_servers), "gripper", "no node serves the action /panda_gripper/grasp", "gripper's driver"),
    (cross, "gripper", "/panda_gripper/grasp has the type control_msgs/action/GripperCommand, not franka_msgs", "fix"),
    (set_(fingers=JointStream()), "gripper", "it reports no state: /panda_gripper/joint_states has no panda_finger_j",
     "gripper_states"),
    (lambda heard: heard.fingers.positions.update(panda_finger_joint1=0.5), "gripper", "open by 0.5200 m",
     "finger_table"),
    (old("fingers", 3.0), "gripper", "the newest is 3.0 s old", "restart"),
    (set_(joints=JointStream()), "joint states", "no message on /franka/joint_states", "joint_state_broadcaster"),
    (lambda heard: heard.joints.positions.pop("panda_joint3"), "joint states", "has no panda_joint3", "preset"),
    (old("joints", 2.0), "joint states", "the newest is 2.0 s old", "clocks"),
    (old("joints", -1.0), "joint states", "stamped 1.00 s ahead", "synchronise"),
    (lambda heard: heard.joints.stamps.update(panda_joint1=0), "joint states", "not stamped", "header.stamp"),
    (at("panda_joint4", -3.2), "joint limits", "panda_joint4 is at -3.200 rad, 0.128 rad below its limit",
     "hand guiding"),
    (at("panda_joint6", 3.9), "joint limits", "above its limit of 3.752", "hand guiding"),
    (at("panda_joint2", float("nan")), "joint limits", "panda_joint2 is at nan", "driver"),
    (set_(transforms=TransformBuffer()), "tf", "panda_link0 <- panda_hand_tcp (tip)", "TF does not know"),
    (set_(camera_frame="lost"), "tf", "panda_link0 <- lost (camera)", "hand-eye calibration"),
    (frame("eye", (0.0, 0.0, 0.001)), "tf", "the camera is at the planning frame's origin", "hand-eye"),
    (set_(now_ns=NOW + 2 * SECOND), "tf", "the newest is 2.0 s old", "robot_state_publisher"),
    (frame("table", turn=(0.1736, 0.0, 0.0, 0.9848)), "tf", "table is tilted by 20.0 degrees", "level"),
    (set_(urdf=""), "URDF", "no node publishes robot_description", "robot_state_publisher"),
    (set_(urdf="<robot"), "URDF", "robot_description", "URDF"),
    (set_(urdf="<sdf/>"), "URDF", "its root is <sdf>", "xacro"),
    (set_(urdf="<robot xmlns:x='http://www.ros.org/wiki/xacro'><x:include filename='a'/></robot>"), "URDF",
     "it is unexpanded xacro", "xacro"),
    (set_(urdf=urdf(PANDA).replace("velocity='2.175'", "")), "URDF", "panda_joint1 lack velocity", "URDF"),
    (set_(urdf=urdf(PRESETS["fr3"])), "URDF", "has no links panda_hand_tcp", "this robot"),
    (set_(urdf=urdf(PANDA, collision="")), "URDF", "no link has collision geometry", "<collision>"),
    (set_(srdf=srdf(PANDA, "ur")), "SRDF", "it is of robot 'ur', but the URDF is of 'robot'", "of this robot"),
    (set_(srdf=srdf(PANDA, tip="tool0")), "SRDF", "1 of its links are not in the URDF: tool0", "of this robot"),
    (set_(srdf=srdf(PANDA, group="arm")), "SRDF", "there is no group 'panda_arm'; it has arm", "group"),
    (set_(scene=scene({"panda_joint1": 1.0}, "panda_link0")), "planning scene", "panda_joint1 1.000 rad away from",
     "receives the joint states"),
    (set_(scene=scene({}, "panda_link0")), "planning scene", "no joint of the arm", "receives"),
    (scene_of("map"), "planning scene", "in 'map', which TF does not connect", "planning_frame"),
    (scene_of(held="cup"), "planning scene", "has cup in the gripper", "detach"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "check", "found", "repair"), FAULTS)
def test_a_fault_is_an_error_that_says_what_to_do(change: Change, check: str, found: str, repair: str) -> None:
    heard = well()
    change(heard)
    errors = [f for f in examined(heard) if f.level is Severity.ERROR]
    assert [f for f in errors if f.check == check and found in f.found and repair in f.repair], errors
    assert all(f.repair for f in errors)


WARNINGS = [
    (set_(planners=["/arm_planner"]), "planner", "arm_planner plans, not MoveIt"),
    (set_(answer=0.5), "planner", "after 500 ms"),
    (set_(parameters={}), "planning pipelines", "is not known"),
    (set_(controllers=None, untold="not installed"), "controllers", "not installed"),
    (lambda heard: heard.joints.arrivals.__setitem__(slice(None), [0.0, 1.0]), "joint states", "1.0 Hz"),
    (at("panda_joint4", -3.05), "joint limits", "0.022 rad from its limit"),
    (set_(camera_frame=""), "tf", "no camera was received"),
    (set_(urdf=urdf(PANDA).replace("velocity='2.175'", "velocity='1'")), "URDF", "with 1 rad/s, but the preset says"),
    (set_(urdf=urdf(PANDA, collision="<mesh filename='package://gone/a.stl'/>")), "URDF", "package://gone/a.stl"),
    (set_(srdf=""), "SRDF", "no node publishes robot_description_semantic"),
    (scene_of(objects=("support", "c1")), "planning scene", "left 2 objects"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "check", "found"), WARNINGS)
def test_what_does_not_stop_a_motion_is_a_warning(change: Change, check: str, found: str) -> None:
    heard = well()
    change(heard)
    told = [f for f in examined(heard) if f.level is not Severity.OK]
    assert [f for f in told if f.check == check and found in f.found and f.repair], told
    assert {f.level for f in told} == {Severity.WARNING}, told


def test_a_model_in_another_frame_is_well_where_that_frame_is_the_same() -> None:
    heard = well()
    heard.scene = scene(heard.joints.positions, "world")
    heard.srdf = srdf(
        PANDA, more="<virtual_joint name='v' type='fixed' parent_frame='world' child_link='panda_link0'/>"
    )
    assert {f.level for f in examined(heard)} == {Severity.OK}
    heard.transforms.add("world", "panda_link0", 0, (0.0, 0.0, 0.75), FLAT, static=True)
    (wrong,) = [f for f in examined(heard) if f.level is Severity.ERROR]
    assert "0.750 m away" in wrong.found
    assert "planning_frame of the preset, and base_frame, to world" in wrong.repair


def test_a_switch_reports_for_a_gripper_without_joints() -> None:
    values = {"gripper_interface": "set_bool", "gripper_action": "/valve", "gripper_flag": "/held", "finger_joints": ""}
    groups = {**PANDA.parameters, "motion": {**PANDA.parameters["motion"], **values}}
    vacuum = replace(PANDA, parameters=groups)
    heard = well(vacuum)
    silent = [f for f in examined(heard, vacuum) if f.level is Severity.ERROR]
    assert ["/held is silent" in f.found for f in silent] == [True]
    heard.flag = True
    assert {f.level for f in examined(heard, vacuum)} == {Severity.OK}


def test_the_built_in_planner_needs_no_srdf_and_keeps_no_state() -> None:
    heard = well()
    heard.srdf, heard.scene, heard.parameters, heard.planners = "", scene({}), {}, ["/arm_planner"]
    assert {f.level for f in examined(heard, planner="built-in")} == {Severity.OK}
    heard.scene = scene({}, "panda_link0")  # it tells no joints, so nobody says that it has the arm in place
    told = [f for f in examined(heard, planner="built-in") if f.check == "planning scene"]
    assert [(f.level, f.found) for f in told] == [(Severity.OK, "it is empty")]
    heard.services = {}
    (gone,) = [f for f in examined(heard, planner="built-in") if f.check == "planner"]
    assert gone.level is Severity.ERROR
    assert "/move_action" in gone.found
    assert "/get_planning_scene" in gone.found
    assert "pick.launch.py" in gone.repair
    preset = PRESETS["ur5e_robotiq"]  # whose planner has a gripper of boxes, and whose URDF a Robotiq's links
    heard = well(preset)
    heard.srdf = srdf(preset, group="arm")  # nobody reads it
    told = examined(heard, preset, "built-in")
    assert not [f for f in told if f.check in ("URDF", "SRDF") and f.level is not Severity.OK], told
