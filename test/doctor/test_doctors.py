# SPDX-License-Identifier: Apache-2.0
"""The doctor names what is wrong with a frame, with streams and with an arm, and how to repair it."""

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from spatial_vlm_ros.doctor.arm import (
    ArmHeard,
    JointStream,
    arm_findings,
    controller_servers,
    description_findings,
    frame_findings,
    gripper_servers,
    planner_servers,
    scene_findings,
)
from spatial_vlm_ros.doctor.findings import Finding, Severity
from spatial_vlm_ros.doctor.streams import StreamDoctor, examine
from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.manipulation.planning.moveit import VALIDATES
from spatial_vlm_ros.parameters import RobotPreset, Settings, StreamConfig
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams.decoding import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, RGB_INFO, SECOND, STATIC_TRANSFORMS
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import Detection, PinholeCamera, Transform

pytest.importorskip("rosbags")

from tables import called, tables

TABLES = tables(__file__)

COMPOSE = rosbags_composer(get_typestore(Stores.ROS2_KILTED))
FRAME, DETECTIONS = chicks_and_cup_frame()
TOPICS = {RGB: "/rgb", DEPTH: "/depth", RGB_INFO: "/info"}
START = 1_000 * SECOND


def found(check: str, detections: Sequence[Detection] = DETECTIONS, **changes: Any) -> Finding:
    """The last finding of a check about a changed frame."""
    findings = examine(dataclasses.replace(FRAME, **changes), detections)
    return [finding for finding in findings if finding.check == check][-1]


def test_a_healthy_frame_has_nothing_to_mend() -> None:
    findings = examine(FRAME, DETECTIONS)
    assert {finding.level for finding in findings} == {Severity.OK}
    assert {"camera", "depth", "support plane", "up", "cup (cup)"} <= {finding.check for finding in findings}


def test_what_is_wrong_with_a_frame_is_named_with_its_repair() -> None:
    finding = found("depth", depth=FRAME.depth * 1000)
    assert finding.level is Severity.ERROR
    assert "millimetres" in finding.found
    assert finding.repair.startswith("divide by 1000")
    assert "divide" not in finding.found.lower()  # a remedy is printed once
    assert FRAME.base_T_camera is not None
    c, s = np.cos(0.07), np.sin(0.07)
    tilt = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    pose = dataclasses.replace(FRAME.base_T_camera, matrix=tilt @ FRAME.base_T_camera.matrix)
    finding = found("up", base_T_camera=pose)
    assert finding.level is Severity.WARNING
    assert re.search(r" 4\.[0-2]° off level", finding.found)  # 0.07 rad are 4.0 degrees
    assert "calibration" in finding.repair
    assert "optical frame" in found("frame id", frame_id="camera_link", base_T_camera=None).repair
    finding = found("camera info", (), camera=PinholeCamera(FRAME.camera.K - np.diag([250.0, 0, 0])[:, ::-1], 640, 480))
    assert (finding.level, "principal point" in finding.found) == (Severity.WARNING, True)
    finding = found("detections", [Detection("a", "cup", 1.0, (900, 900, 950, 950))])
    assert finding.level is Severity.ERROR
    assert "outside" in finding.found or "inside the image" in finding.found
    depth = FRAME.depth.copy()
    depth[::2] = depth[:, ::2] = np.nan
    depth[next(d.mask for d in DETECTIONS if d.id == "cup")] = np.nan
    assert found("depth", depth=depth).level is Severity.WARNING
    assert "have measured depth" in found("cup (cup)", depth=depth).found


def listen(
    config: StreamConfig | None = None,
    *,
    count: int = 20,
    rate: float = 20.0,
    lag: float = 0.01,
    depth_shift: float = 0.0,
    depth_frame: str = FRAME.frame_id,
    keep: Any = lambda _: True,
    pose: Transform | None = FRAME.base_T_camera,
    roles: tuple[str, ...] = (RGB_INFO, RGB, DEPTH),
    camera: PinholeCamera = FRAME.camera,
    table_height: float | None = None,
    light: float = 0.0,
    in_the_end: float = 1.0,
) -> dict[str, Finding]:
    """Findings by check for a second of frames."""
    settings = Settings(streams=config or StreamConfig(base_frame="world"))
    doctor = StreamDoctor(settings, TOPICS)
    if pose is not None:
        tf = COMPOSE.tf_message([COMPOSE.transform_stamped(pose, START)])
        doctor.add(STATIC_TRANSFORMS, tf, START)
    for number in range(count):
        if not keep(number):
            continue
        stamp_ns = START + int(number / rate * SECOND)
        depth_ns = stamp_ns + int(depth_shift * SECOND)
        depth = FRAME.depth * (in_the_end if number == count - 1 else 1.0)
        messages = {
            RGB_INFO: COMPOSE.camera_info(camera, COMPOSE.header(stamp_ns, FRAME.frame_id)),
            RGB: COMPOSE.image_rgb(FRAME.rgb + np.uint8(light * number), COMPOSE.header(stamp_ns, FRAME.frame_id)),
            DEPTH: COMPOSE.image_depth(depth, COMPOSE.header(depth_ns, depth_frame)),
        }
        for role in roles:
            doctor.add(role, messages[role], stamp_ns + int(lag * SECOND))
    found = doctor.findings(count / rate, table_height)
    return {finding.check: finding for finding in reversed(found)}


def test_depth_that_repeats_one_image_while_colour_changes_is_named() -> None:
    frozen = listen(light=1.0)
    assert (frozen["/depth"].level, frozen["/rgb"].level) == (Severity.ERROR, Severity.OK)
    assert "freezes" in frozen["/depth"].found
    assert listen(light=1.0, count=4)["/depth"].level is Severity.OK  # too few to tell


def test_depth_that_changes_in_a_still_image_is_named() -> None:
    found = listen(in_the_end=0.5)["depth over time"]
    assert (found.level, "0.5 times as far" in found.found) == (Severity.ERROR, True)
    assert "not measured" in listen(in_the_end=0.5, light=3.0)["depth over time"].found
    assert listen()["depth over time"].level is Severity.OK


def test_a_healthy_camera_has_nothing_to_mend_and_a_silent_stream_is_an_error() -> None:
    findings = listen()
    assert {finding.level for finding in findings.values()} == {Severity.OK}
    assert findings["/rgb"].found == "20.0 Hz"
    assert "0.0 ms apart" in findings["synchronisation"].found
    findings = listen(roles=(RGB_INFO, RGB))
    assert (findings["/depth"].level, findings["/depth"].found) == (Severity.ERROR, "no message")
    assert findings["/rgb"].level is Severity.OK


@pytest.mark.parametrize(("lag", "config", "words"), TABLES["clocks"])
def test_clocks_apart_are_an_error(lag: float, config: dict[str, bool], words: str) -> None:
    finding = listen(StreamConfig(base_frame="world", **config), lag=lag)["clock"]  # type: ignore[arg-type]
    assert finding.level is Severity.ERROR
    assert words in finding.found
    assert finding.repair


def test_latency_is_measured_where_clocks_are_in_step_and_else_bounded_together_with_the_offset() -> None:
    known = listen(StreamConfig(base_frame="world", clocks_in_step=True), lag=0.08)["clock"]
    assert (known.level, known.found) == (
        Severity.OK,
        "/rgb arrives 0.080 to 0.080 s after its stamp, with synchronised clocks",
    )
    assert "ahead by 0.070 ± 0.150 s" in listen(lag=0.08)["clock"].found


def turned(degrees: float) -> Transform:
    """The camera's place, told wrong by a turn about its axis to the right."""
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    assert FRAME.base_T_camera is not None
    return Transform("world", FRAME.frame_id, FRAME.base_T_camera.matrix @ matrix)


@pytest.mark.parametrize(
    ("given", "check", "level", "words", "repair"),
    [
        ({"count": 60, "keep": lambda n: n % 5 != 3}, "/rgb", Severity.WARNING, "20% of the messages are lost",
         "fastdds_images.xml"),
        ({"depth_shift": 0.024}, "synchronisation", Severity.ERROR, "0.024 s apart", "sync_slop"),
        ({"depth_shift": 0.008}, "synchronisation", Severity.WARNING, "8.0 ms apart", ""),  # for a camera that moves
        ({"depth_frame": "camera_depth_optical_frame"}, "registration", Severity.WARNING, "",
         "depth_registered: false"),
        ({"pose": None}, "tf", Severity.ERROR, "", ""),
        ({"table_height": 0.0}, "support height", Severity.OK, "", ""),
        ({"table_height": 0.1}, "support height", Severity.ERROR, "expected 0.100 m", ""),
        ({"pose": turned(4.0)}, "up", Severity.WARNING, r"(4\.|3\.9)", ""),
    ],
    ids=["lost", "apart", "a little apart", "unregistered", "no tf", "table", "another table", "tilted"],
)  # fmt: skip
def test_what_is_wrong_with_streams_is_named(
    given: dict[str, Any], check: str, level: Severity, words: str, repair: str
) -> None:
    finding = listen(**given)[check]
    assert finding.level is level
    assert re.search(words, finding.found)
    assert repair in finding.repair


def test_no_transform_is_needed_without_a_base_frame() -> None:
    assert "tf" not in listen(StreamConfig(base_frame=""), pose=None)


@pytest.mark.parametrize(("stamps", "arrivals", "seconds", "words"), TABLES["rates"])
def test_a_rate_is_the_median_and_is_not_told_where_it_is_not_known(
    stamps: list[float], arrivals: list[float], seconds: float, words: str
) -> None:
    doctor = StreamDoctor(Settings(), TOPICS)
    for stamp_ns, arrival_ns in zip(stamps, arrivals, strict=True):
        header = COMPOSE.header(START + int(stamp_ns), FRAME.frame_id)
        doctor.add(RGB_INFO, COMPOSE.camera_info(FRAME.camera, header), START + int(arrival_ns))
    finding = next(f for f in doctor.findings(seconds) if f.check == "/info")
    assert finding.found.partition("; ")[0] == words


def test_an_uncalibrated_camera_info_is_an_error() -> None:
    broken = dataclasses.replace(FRAME.camera)
    info = COMPOSE.camera_info(broken, COMPOSE.header(START, FRAME.frame_id))
    info.k[:] = 0.0
    doctor = StreamDoctor(Settings(), TOPICS)
    doctor.add(RGB_INFO, info, START)
    finding = next(f for f in doctor.findings(1.0) if f.check == "/info" and f.level is Severity.ERROR)
    assert "K" in finding.found


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
PRESETS = {name: wiring.robot_preset(ROOT, name) for name in wiring.robot_names(ROOT)}
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
    return f"<robot name='{name}'><!-- xacro leaves comments: ${{prefix}} -->{body}</robot>"


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


def update(path: str, **values: Any) -> Change:
    return lambda heard: operator.attrgetter(path)(heard).update(values)


def pop(path: str, key: str) -> Change:
    return lambda heard: operator.attrgetter(path)(heard).pop(key)


def arrive(*seconds: float) -> Change:
    return lambda heard: operator.setitem(heard.joints.arrivals, slice(None), seconds)


FUNCTIONS = {
    **{each.__name__.rstrip("_"): each for each in (lose, at, scene_of, set_, old, frame, update, pop, arrive)},
    **{each.__name__: each for each in (urdf, srdf, scene, JointStream, TransformBuffer, dict, float)},
    "the": lambda name: globals()[name],
    "list": lambda *each: list(each),
    "preset": PRESETS.__getitem__,
    "replace": str.replace,
    "|": operator.or_,
}


@pytest.mark.parametrize(("told", "check", "found", "repair"), TABLES["faults"])
def test_a_fault_is_an_error_that_says_what_to_do(told: Any, check: str, found: str, repair: str) -> None:
    heard = well()
    called(told, FUNCTIONS)(heard)
    errors = [f for f in examined(heard) if f.level is Severity.ERROR]
    assert [f for f in errors if f.check == check and found in f.found and repair in f.repair], errors
    assert all(f.repair for f in errors)


@pytest.mark.parametrize(("change", "check", "found"), TABLES["warnings"])
def test_what_does_not_stop_a_motion_is_a_warning(change: Any, check: str, found: str) -> None:
    heard = well()
    called(change, FUNCTIONS)(heard)
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
