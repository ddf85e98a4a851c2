# SPDX-License-Identifier: Apache-2.0
"""The examples for other people's stacks, against what upstream.yaml read in their sources, and on live nodes."""

import importlib
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tables
import yaml
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, PoseStamped
from live_process import ROOT, Started
from spatial_vlm_interfaces.action import PickInstruction, ResolveInstruction
from spatial_vlm_interfaces.msg import Proposal, Resolution, Target

from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from spatial_vlm_ros.launcher.wiring import robot_preset
from spatial_vlm_ros.manipulation.approval.signing import new_key, signed_answer
from spatial_vlm_ros.manipulation.planning.gripper import flange_pose
from spatial_vlm_ros.types import Pose

HERE = Path(__file__).resolve().parent
EXAMPLES, PRESET = ROOT / "examples", ROOT / "config" / "robots" / "ur5e_robotiq.yaml"
GUIDE = (ROOT / "docs" / "drop_in.md").read_text(encoding="utf-8")
KNOWN = yaml.safe_load((HERE / "upstream.yaml").read_text(encoding="utf-8"))
CONFIG = robot_preset(ROOT, "ur5e_robotiq").planning("moveit")
MOTION = CONFIG.motion


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_the_ur5e_is_joined_from_macros_arguments_and_links_that_its_vendors_have() -> None:
    texts = [text_of(f"ur5e/ur5e_robotiq.{kind}.xacro") for kind in ("urdf", "srdf")]
    urdf, srdf = (ElementTree.fromstring(text) for text in texts)  # noqa: S314 - examples of this package
    (effector,) = srdf.findall("end_effector")
    assert (effector.get("parent_group"), effector.get("parent_link")) == (KNOWN["group"], KNOWN["tip"])
    assert [each.get("name") for each in srdf.findall("group/joint")] == [MOTION.gripper_joint]
    called = {each.tag.partition("}")[2]: each for each in [*urdf, *srdf]}
    for name, parameters in KNOWN["macros"].items():
        required = {parameter for parameter, needed in parameters.items() if needed}
        assert required <= set(called[name].attrib) <= set(parameters), name
    adapter, mount = called["ur_to_robotiq"], called["robotiq_gripper"].get("parent")
    assert (adapter.get("parent"), adapter.get("child")) == (KNOWN["tip"], mount)
    assert mount not in KNOWN["gripper_links"]  # each macro defines the link that it is given
    assert set(re.findall(r"\$\(arg (\w+)\)", texts[0])) <= set(KNOWN["arguments"])
    said = set(re.findall(r"'(\w+)'", texts[1]))
    assert set(KNOWN["gripper_links"]) <= said | {
        f"robotiq_85_{side}_{link}" for side in ("left", "right") for link in said
    }


def test_the_preset_and_the_grippers_controller_have_the_vendors_names() -> None:
    assert (MOTION.group, MOTION.tip_link) == (KNOWN["group"], KNOWN["tip"])
    assert set(MOTION.finger_links.split()) <= set(KNOWN["gripper_links"])
    spawned, (controller, action) = yaml.safe_load(text_of("ur5e/gripper.yaml")), MOTION.gripper_action[1:].split("/")
    told = spawned[controller]["ros__parameters"]
    assert (told["joint"], action) == (MOTION.gripper_joint, "gripper_cmd")
    assert {told[name].partition("/")[2] for name in told if name.endswith("_interface")} <= set(KNOWN["interfaces"])
    assert set(spawned) == set(re.findall(r'"(robotiq_\w+)"', text_of("ur5e/moveit.launch.py")))


@pytest.mark.parametrize(("branch", "controller"), KNOWN["controllers"].items())
def test_what_stops_the_arm_is_the_controller_that_runs(branch: str, controller: str, tmp_path: Path) -> None:
    ((before, after),) = re.findall(r"sed s/(\w+)/(\w+)/ config/robots/ur5e_robotiq.yaml", GUIDE)
    path, text = tmp_path / "my_ur5e.yaml", PRESET.read_text()
    path.write_text(text.replace(before, after) if branch in ("lyrical", "main") else text)
    preset, action = robot_preset(ROOT, str(path)), f"/{controller}/follow_joint_trajectory"
    assert (preset.planning("moveit").motion.controller_actions, preset.controllers[0]) == (action, controller)


def answer(height: float = 0.06, width: float = 0.05, yaw: float | None = None, **changed: Any) -> Resolution:
    target = Target(label="chick", grasp_width=width, grasp_yaw=[] if yaw is None else [yaw])
    target.truncated, target.size.z = changed.pop("cut", False), height
    target.pose.pose.position = Point(x=0.4, y=-0.1, z=0.1)
    return Resolution(**{"target": [target], "up_from": "tf", **changed})


@pytest.mark.parametrize(
    ("yaw", "height", "z"),  # at its middle, and as deep as the support and the palm let it
    [*((yaw, 0.06, 0.1) for yaw in (None, 0.0, 0.4, 1.5, -1.2, 3.1)), (None, 0.02, 0.114), (None, 0.2, 0.164)],
)
def test_the_flange_is_where_the_package_has_it_for_the_same_grasp(yaw: float | None, height: float, z: float) -> None:
    c, s = math.cos(yaw or 0.0), math.sin(yaw or 0.0)
    base_R_tip = np.array([[-s, c, 0.0], [c, s, 0.0], [0.0, 0.0, -1.0]])  # z down, y along the closing direction
    expected = flange_pose(CONFIG.gripper, Pose("base_link", (0.4, -0.1, z), quaternion_xyzw_from_matrix(base_R_tip)))
    made = tables.example("grasp_pose.py").flange_pose(answer(height, yaw=yaw)).pose
    at, turn = made.position, made.orientation
    assert (at.x, at.y, at.z) == pytest.approx(expected.position, abs=1e-6)
    made_R = matrix_from_quaternion_xyzw((turn.x, turn.y, turn.z, turn.w))
    assert made_R == pytest.approx(matrix_from_quaternion_xyzw(expected.orientation), abs=1e-5)


def test_what_cannot_be_grasped_so_is_said() -> None:
    grasps, asked = tables.example("grasp_pose.py"), {"target": [], "question": "Which chick?"}
    wrong = {
        "Which": asked,
        "base_frame": {"up_from": "optical_axes"},
        "cut off": {"cut": True},
        "wide": {"width": 0.08},
    }
    for why, changed in wrong.items():
        with pytest.raises(grasps.NoGraspError, match=why):
            grasps.flange_pose(answer(**changed))


def test_cumotion_is_asked_for_the_flanges_pose_by_fields_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, Any] = {"bool": bool, "string": str, "float32": float, "string[]": list, "float32[]": list}
    for package, form in (kind.split("/") for kind in KNOWN["motion_plan"].values() if "/" in kind):
        kinds[f"{package}/{form}"] = getattr(importlib.import_module(f"{package}.msg"), form)
    usual = {name: kinds[kind]() for name, kind in KNOWN["motion_plan"].items()}
    action = SimpleNamespace(MotionPlan=SimpleNamespace(Goal=lambda **given: SimpleNamespace(**usual | given)))
    for name in ("isaac_ros_cumotion_interfaces", "isaac_ros_cumotion_interfaces.action"):
        monkeypatch.setitem(sys.modules, name, action)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    pose = PoseStamped()
    pose.header.frame_id, pose.pose.position.z = "base_link", 0.3
    goal = tables.example("cumotion_goal.py").goal_of(pose)
    assert {name: type(value) for name, value in vars(goal).items()} == {name: type(usual[name]) for name in usual}
    assert (goal.goal_pose.header, goal.goal_pose.poses) == (pose.header, [pose.pose])
    assert (goal.plan_grasp, goal.use_current_state, goal.execute_trajectory) == (True, True, False)
    assert len(goal.grasp_partial_pose_vec_weight) == len(goal.retract_partial_pose_vec_weight) == 6  # or ignored
    assert goal.grasp_offset_pose.position.z < 0 < goal.time_dilation_factor <= 0.1


class MoveItPy:
    """By moveit2 4d841063: moveit_cpp.cpp:151-196, planning_component.cpp:107-168 and .hpp:82-98 of moveit_cpp."""

    def __init__(self, *, node_name: str, config_dict: dict[str, Any]) -> None:
        asked, self.name = config_dict["plan_request_params"], node_name
        assert asked["max_velocity_scaling_factor"] == asked["max_acceleration_scaling_factor"] == 0.1  # 1.0 if not set
        assert asked["planning_pipeline"] in config_dict["planning_pipelines"]["pipeline_names"]
        self.get_planning_component = {MOTION.group: self}.__getitem__
        self.set_start_state_to_current_state = self.shutdown = lambda: None

    def set_goal_state(self, *, pose_stamped_msg: PoseStamped, pose_link: str) -> None:
        self.at, self.link = pose_stamped_msg.pose.position, pose_link

    def plan(self) -> Any:
        away = math.hypot(self.at.x, self.at.y, self.at.z - 0.1625)  # of the shoulder
        reached = self.link == MOTION.tip_link and away < 0.95
        fields = {"__bool__": lambda _: reached, "error_code": SimpleNamespace(val=1 if reached else -31)}
        return type("MotionPlanResponse", (), fields)()


def semantic_only(robot_name: str, *, package_name: str) -> Any:
    assert (robot_name, package_name) == ("ur", "ur_moveit_config")
    configs = SimpleNamespace(to_dict=lambda: {"planning_pipelines": ["ompl", "chomp"]})
    named = {"robot_description_semantic": lambda path, _: Path(path).stat(), "to_moveit_configs": lambda: configs}
    return SimpleNamespace(**named)


def test_moveit_py_plans_to_what_the_words_mean(
    start: Callable[..., Started], domain: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((sentence, printed),) = re.findall(r'^python examples/moveit_py_goal\.py "(.*)"\n# (.*)$', GUIDE, re.MULTILINE)
    for node in (["frame_player"], ["resolver", "--ros-args", "-p", "base_frame:=base_link"]):
        start("-m", "spatial_vlm_ros.nodes", *node, ROS_DOMAIN_ID=str(domain))
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setitem(sys.modules, "moveit.planning", SimpleNamespace(MoveItPy=MoveItPy))
    monkeypatch.setitem(sys.modules, "moveit_configs_utils", SimpleNamespace(MoveItConfigsBuilder=semantic_only))
    script = tables.example("moveit_py_goal.py")
    assert [script.main(["moveit_py_goal.py", words]) for words in (sentence, "take the chick")] == [0, 3]
    said, refused, *_ = capsys.readouterr().out.splitlines()
    assert [*map(float, said.split()[5:8])] == pytest.approx([*map(float, printed.split()[5:8])], abs=0.02)
    assert "Which chick" in refused


def test_the_ports_of_the_tree_are_those_of_its_nodes_and_their_fields_exist() -> None:
    code, root = text_of("behaviortree_cpp/pick_tree.cpp"), ElementTree.fromstring(text_of("behaviortree_cpp/pick.xml"))  # noqa: S314
    shared, *nodes = re.split(r"^class (?:Pick|Resolve)Instruction", code, flags=re.MULTILINE)
    for own, action in zip(nodes, (PickInstruction, ResolveInstruction), strict=True):
        name, found = action.__name__, re.findall(r"(In|Out)putPort<([\w:]+)>\(\"(\w+)\"", shared + own)
        ports = {(f"{way.lower()}put_port", *rest) for way, *rest in [*found, ("In", "std::string", "action_name")]}
        model = root.iterfind(f"TreeNodesModel/Action[@ID='{name}']/*")
        assert {(each.tag, each.get("type"), each.get("name")) for each in model} == ports
        for form, said in ((action.Goal, "goal"), (action.Result, "result"), (Resolution, "answer")):
            assert set(re.findall(rf"\b{said}\.(\w+)", shared + own)) <= set(form.get_fields_and_field_types())
        assert f'registerNodeType<{name}>("{name}", params)' in code
        for used in root.iterfind(f"BehaviorTree//{name}"):
            assert set(used.attrib) <= {port for _, _, port in ports}
            assert used.get("action_name") == name.removesuffix("Instruction").lower()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_tree_in_cpp_signs_as_the_package_does(tmp_path: Path) -> None:
    program, key = tmp_path / "sign", tmp_path / "key.pem"
    built = ["c++", "-std=c++17", "-Werror", f"-I{EXAMPLES}/behaviortree_cpp", HERE / "sign_answer.cpp", "-lcrypto"]
    done = subprocess.run([*built, "-o", program], capture_output=True, text=True, check=False)
    if "openssl" in done.stderr:
        pytest.skip("no headers of OpenSSL")
    assert done.returncode == 0, done.stderr
    pem, _ = new_key("Ann")
    key.write_text(pem)
    words = {"goal_id": "g", "plan_hash": "h", "nonce": "n", "instruction": "thé cup", "motion": "m"}
    times = {"scene_stamp": Time(sec=1, nanosec=2), "valid_for": Duration(sec=60)}
    plan = Proposal(**words, **times, steps=["take: it", "place"])
    printed = subprocess.run([program, key], capture_output=True, text=True, check=True).stdout
    assert [*map(int, printed.split())] == signed_answer(plan, "Ann", pem, False, "no")["signature"]
