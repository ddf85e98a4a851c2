# SPDX-License-Identifier: Apache-2.0
"""The launch files say what the nodes understand: parameters, topics, programs, presets, environment, documents."""

import dataclasses
import os
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools
import yaml
from click.testing import CliRunner
from tables import rows

from spatial_vlm_ros import parameters as configs
from spatial_vlm_ros.cli.up import up
from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.launcher import actions, plan, wiring
from spatial_vlm_ros.nodes import __main__ as nodes
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.streams import frame_assembler as roles

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.name.removesuffix(plan.SUFFIX): path for path in sorted((ROOT / "launch").glob("*.launch.py"))}
NEEDED = {"replay": {"bag": "some_bag"}, "pick": {"robot": "panda"}}
CAMERAS = wiring.camera_names(ROOT)
DECLARED = {
    "resolver": parameters.declared(),
    "frame_player": parameters.declared(configs.PlayerConfig()),
    "bag_player": parameters.declared(configs.BagConfig()),
    "sim_arm": parameters.declared(configs.SimArmConfig()),
    "arm_planner": parameters.declared(configs.ArmPlannerConfig()),
    "planner_gate": parameters.declared(configs.GateConfig(), configs.PlanningConfig()),
}
COMPRESSED = {"rgb/image/compressed", "depth/image/compressedDepth"}
CAMERA = {roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DEPTH_INFO, roles.DETECTIONS}
TOPICS = {"resolver": CAMERA | COMPRESSED, "frame_player": CAMERA, "sim_arm": CAMERA, "arm_planner": {"joint_states"}}


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (wiring.PROFILE_VARIABLE, wiring.OLD_PROFILE_VARIABLE, "RMW_IMPLEMENTATION", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)


def planned(name: str, **given: str) -> list[plan.Process]:
    return list(plan.plan(FILES[name], {**NEEDED.get(name, {}), **given}))


def ours(name: str, **given: str) -> list[plan.Process]:
    """The nodes of this package; those of Gazebo are in test_gazebo.py."""
    processes = planned(name, **given)
    return [process for process in processes if process.package == plan.PACKAGE] if name == "gazebo" else processes


def everything() -> Iterator[Any]:
    """Every launch file with a camera, and with everything said that can be said; and, slowly, with every camera."""
    said = {"base_frame": "odom", "fixed_frame": "map", "speaker_frame": "person",
            "grounder": "simulator", "grounder_options": "seed=7",
            "autostart": "false", "use_sim_time": "true", "namespace": "left", "log_level": "warn"}  # fmt: skip
    for name in FILES:
        for camera in CAMERAS:
            slow = [] if camera in ("", "realsense") else [pytest.mark.slow]
            yield pytest.param(name, {"camera": camera}, id=f"{name}-{camera}", marks=slow)
        yield pytest.param(name, said, id=f"{name}-said")


@pytest.mark.parametrize(("name", "given"), list(everything()))
def test_every_parameter_and_remapped_name_is_known_to_its_node(name: str, given: dict[str, str]) -> None:
    for process in ours(name, **given):
        known = DECLARED[process.executable]
        for parameter, value in process.parameters.items():
            default = False if parameter == "use_sim_time" else known[parameter][0]
            assert type(value) is type(default), parameter
        assert {ours for ours, _ in process.remappings} <= TOPICS.get(process.executable, set())


PROFILE = ROOT / "config" / "fastdds_images.xml"


@pytest.mark.parametrize("name", FILES)
def test_every_program_is_installed_reads_the_profile_and_starts_again_unless_it_is_a_window(name: str) -> None:
    for process in ours(name):
        assert process.package == plan.PACKAGE
        script = ROOT / "executables" / process.executable
        assert os.access(script, os.X_OK)
        assert f'run(["{process.executable}"' in script.read_text()
        assert process.executable in nodes.NODES
    processes = planned(name, rviz="true")
    assert all(process.environment == {"FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE)} for process in processes)
    assert {process.name for process in processes if not process.essential} == {"rviz"}
    assert {process.name for process in processes if not process.respawn} == {"rviz"}
    assert not any(process.respawn for process in planned(name, respawn="false"))
    ElementTree.parse(PROFILE)  # noqa: S314


def test_the_nodes_of_each_launch_file() -> None:
    found = {name: [process.executable for process in planned(name)] for name in FILES}
    assert found == {
        "gazebo": ["resolver", "gzserver", "parameter_bridge", "static_transform_publisher"],
        "pick": ["resolver", "planner_gate"],
        "replay": ["resolver", "bag_player"],
        "sim": ["resolver", "frame_player"],
        "sim_arm": ["resolver", "sim_arm", "arm_planner", "planner_gate"],
        "spatial_vlm": ["resolver"],
    }


def test_launch_ends_everything_with_a_node_that_does_not_start_again() -> None:
    """What ros2 launch is given: `on_exit` is asked with each end, and answers with a shutdown or with nothing."""
    with plan.installed():
        told = actions.life({"respawn": "true"})
        ends = [told["on_exit"](SimpleNamespace(returncode=code), None) for code in (-9, -11, 70, -9)]
        assert ends[:3] == [None] * 3
        assert [type(each).__name__ for each in ends[3]] == ["Shutdown"]
        assert told["respawn_delay"] > 0  # else launch starts it before it hears of the shutdown
        for code in (0, 1, -2, -15):
            (shutdown,) = actions.life({"respawn": "true"})["on_exit"](SimpleNamespace(returncode=code), None)
            assert type(shutdown).__name__ == "Shutdown"


def test_what_is_said_reaches_the_resolver_and_what_is_not_is_left_to_the_parameter_file() -> None:
    (resolver,) = planned("spatial_vlm", base_frame="odom", autostart="false", grounder_options="7", namespace="left")
    assert resolver.parameters == {"base_frame": "odom", "autostart": False, "grounder_options": "7"}
    assert resolver.full_name == "/left/resolver"
    (resolver,) = planned("spatial_vlm", base_frame="/", fixed_frame="/", speaker_frame="/")  # an empty frame
    assert resolver.parameters == {"base_frame": "", "fixed_frame": "", "speaker_frame": ""}
    (resolver,) = planned("spatial_vlm")
    assert resolver.parameters == {}
    assert resolver.parameter_files == (ROOT / "config" / "resolver.yaml",)


def test_the_arm_is_seen_in_its_own_base_frame_without_itself_and_does_not_move_unless_that_is_said() -> None:
    pytest.importorskip("pinocchio")
    resolver, *_, gate = planned("sim_arm")
    path = Path(resolver.parameters["robot_description"])
    assert (path.name, path.is_file()) == ("panda.urdf", True)
    assert (resolver.parameters["base_frame"], gate.parameters["plan_only"]) == ("panda_link0", True)
    said = {"base_frame": "world", "robot_description": "/", "plan_only": "false"}
    resolver, *_, gate = planned("sim_arm", **said)
    assert {"base_frame": "world", "robot_description": ""}.items() <= resolver.parameters.items()
    assert gate.parameters["plan_only"] is False
    (alone,) = planned("spatial_vlm", base_frame="odom", robot_description="/my/robot.urdf")
    assert alone.parameters["robot_description"] == "/my/robot.urdf"


def test_another_arm_has_its_own_frame_urdf_and_gripper() -> None:
    resolver, simulated, planner, gate = planned("sim_arm", robot="ur5e")
    assert Path(resolver.parameters["robot_description"]).name == "ur5e_2f85.urdf"
    assert simulated.parameters["robot"] == planner.parameters["arm"] == "ur5e"
    assert resolver.parameters["base_frame"] == "base_link"
    own = {"motion.planning_frame": "base_link", "motion.base_link": "base_link", "motion.group": "ur_manipulator"}
    assert (own | {"gripper.opening_max": 0.085}).items() <= gate.parameters.items()
    assert "motion.group" not in planned("sim_arm")[-1].parameters  # the gate's own values are the Panda's


def test_all_parameters_of_the_players_are_arguments() -> None:
    players = {"sim": configs.PlayerConfig, "replay": configs.BagConfig, "sim_arm": configs.SimArmConfig}
    for name, config in players.items():
        names = {argument.name for argument in plan.arguments_of(FILES[name])}
        assert {f.name for f in dataclasses.fields(config)} - {"clock"} <= names


@pytest.mark.parametrize(("name", "default"), [("sim", False), ("replay", True), ("sim_arm", True)])
def test_a_player_gives_the_time_that_the_resolver_takes(name: str, default: bool) -> None:
    for given, wanted in (({}, default), ({"use_sim_time": "true"}, True), ({"use_sim_time": "false"}, False)):
        resolver, player, *others = planned(name, **given)
        assert player.parameters["clock"] is wanted
        assert all(node.parameters.get("use_sim_time", False) is wanted for node in (resolver, *others))


def test_the_player_speaks_under_the_names_that_the_resolver_hears() -> None:
    resolver, player = planned("sim", camera="realsense", namespace="left", detections_topic="/yolo")
    heard = dict(resolver.remappings)
    assert player.namespace == resolver.namespace
    for ours, theirs in player.remappings:
        assert heard[ours] == theirs


def test_rviz_shows_the_topics_of_the_namespace_and_the_base_frame() -> None:
    rviz = planned("spatial_vlm", rviz="true", namespace="left", base_frame="odom")[-1]
    assert (rviz.executable, rviz.namespace) == ("rviz2", "left")
    assert ("/target", "target") in rviz.remappings
    assert (rviz.arguments[0], rviz.arguments[2:]) == ("-d", ("-f", "odom"))


@pytest.mark.parametrize("name", FILES)
def test_every_argument_is_described_is_in_the_document_and_its_default_is_one_of_its_choices(name: str) -> None:
    text = (ROOT / "docs" / "launch.md").read_text()
    assert f"`{name}`" in text
    for argument in plan.arguments_of(FILES[name]):
        assert len(argument.description) > 5, argument.name
        assert f"`{argument.name}`" in text, argument.name
        if argument.choices and argument.default_value is not None:
            assert argument.default_value in argument.choices
    for camera in CAMERAS:
        assert f"`{camera}`" in text


def test_a_preset_is_a_launch_file_or_a_camera_or_a_file_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("topics: {rgb/image: '/{camera_name}/rgb'}\nparameters: {rectified: true}\n")
    (resolver,) = planned("spatial_vlm", camera_file=str(own), camera_name="wrist")
    assert dict(resolver.remappings)["rgb/image"] == "/wrist/rgb"
    assert resolver.parameters == {"rectified": True}
    assert plan.launch_file(ROOT, "sim-arm", CAMERAS) == (FILES["sim_arm"], {})
    assert plan.launch_file(ROOT, "zed", CAMERAS) == (FILES["spatial_vlm"], {"camera": "zed"})
    with pytest.raises(UnknownNameError, match=r"preset 'robot'.*pick, replay, sim, sim_arm, spatial_vlm.*realsense"):
        plan.launch_file(ROOT, "robot", CAMERAS)


NO_FILES = (
    ("nowhere.yaml", r"^nowhere\.yaml: no such file.*Pass params_file:=FILE"), (str(ROOT), "not a regular file"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "error", "said"),
    [
        ("spatial_vlm", {"base_fram": "odom"}, UnknownNameError, r"argument 'base_fram'.*base_frame"),
        ("spatial_vlm", {"camera": "nonsense"}, InputError, r"argument camera: 'nonsense'.*'realsense'"),
        ("sim", {"width": "wide"}, InputError, r"argument width: 'wide'. Expected a whole number"),
        ("replay", {"rate": "fast"}, InputError, r"argument rate: 'fast'. Expected a number"),
        ("replay", {"bag": None}, InputError, r"argument bag: no value.*Add bag:="),
        *((name, {"params_file": file}, FileError, said) for name in FILES for file, said in NO_FILES),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_there_is_a_node(
    name: str, given: dict[str, Any], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "params_file" in given:
        monkeypatch.setattr(plan, "Process", lambda *_, **__: pytest.fail("a node was described"))
    arguments = {key: value for key, value in {**NEEDED.get(name, {}), **given}.items() if value is not None}
    with pytest.raises(error, match=said):
        plan.plan(FILES[name], arguments)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sim", "world"], "Write arguments as NAME:=VALUE"),
        (["sim", "--rviz"], "No such option"),
        (["sim", "rviz:=true"], "program rviz2"),
    ],
)
def test_the_command_line_refuses_with_usage(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = CliRunner().invoke(up, words)
    assert done.exit_code == 2
    assert said in done.output
    assert "starting" not in done.output


def test_the_command_line_shows_arguments_and_commands() -> None:
    shown = CliRunner().invoke(up, ["replay", "--show-args"])
    assert shown.exit_code == 0
    assert "bag:=\n    folder of a bag, or its .mcap or .db3 file; required" in shown.output
    printed = CliRunner().invoke(up, ["realsense", "namespace:=left", "--print"])
    assert printed.exit_code == 0
    assert "spatial_vlm_ros.nodes resolver --ros-args -r __node:=resolver -r __ns:=/left" in printed.output


def test_parameters_are_written_for_the_nodes_own_name_with_their_types(tmp_path: Path) -> None:
    values = {"world": "7", "rate": 10.0, "folder": "", "width": 640, "clock": False}
    process = plan.Process(plan.PACKAGE, "frame_player", "frame_player", "left", parameters=values)
    words = plan.command(process, tmp_path).words
    written = yaml.safe_load(Path(words[words.index("--params-file") + 1]).read_text())
    assert written == {"/left/frame_player": {"ros__parameters": values}}
    assert '"rate": 10.0' in (tmp_path / "left.frame_player.yaml").read_text()
    # a printed command can be read and run by hand
    process = plan.Process(plan.PACKAGE, "frame_player", "frame_player", parameters={"world": "7", "clock": False})
    assert plan.command(process).words[-4:] == ("-p", 'world:="7"', "-p", "clock:=false")


@pytest.mark.parametrize("name", CAMERAS[1:])
def test_a_camera_preset_is_complete_and_names_its_source(name: str) -> None:
    text = (ROOT / "config" / "cameras" / f"{name}.yaml").read_text()
    assert re.search(r"# Source: https://", text)
    (resolver,) = planned("spatial_vlm", camera=name)
    mapped = dict(resolver.remappings)
    assert set(mapped) == TOPICS["resolver"]
    for ours, theirs in mapped.items():
        if ours != "detections":
            assert re.fullmatch(r"(/[a-zA-Z][a-zA-Z0-9_]*)+", theirs), theirs
    assert {"rectified", "depth_registered"} <= set(resolver.parameters)


def test_compressed_images_are_remapped_with_their_image_and_the_drivers_names_can_be_said() -> None:
    mapped = dict(planned("spatial_vlm", camera="realsense")[0].remappings)
    assert mapped["rgb/image/compressed"] == "/camera/camera/color/image_raw/compressed"
    assert mapped["depth/image/compressedDepth"] == "/camera/camera/aligned_depth_to_color/image_raw/compressedDepth"
    said = dict(planned("spatial_vlm", camera="realsense", camera_namespace="left", camera_name="d435")[0].remappings)
    assert said["rgb/image"] == "/left/d435/color/image_raw"
    without = dict(planned("spatial_vlm", camera="realsense", camera_namespace="/")[0].remappings)
    assert without["rgb/image"] == "/camera/color/image_raw"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topics: [", "parsing"),
        ("- rgb/image", "no topics"),
        ("topics: {rgb/image: '/{camera}/rgb'}", "camera_namespace"),
        ("topics: {rgb/image: 7}", "topics"),
        ("topics: {}\nparameters: 7", "parameters"),
        ("topics: {}\nparameter: {}", "parameters"),
    ],
)
def test_a_preset_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(InputError, match=rf"(?s)own\.yaml.*{said}"):
        planned("spatial_vlm", camera_file=str(own))


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "own.xml"}, set()),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "own.xml"}, set()),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, set()),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, {"FASTDDS_DEFAULT_PROFILES_FILE"}),
        ({"ROS_DISTRO": "humble"}, {"FASTRTPS_DEFAULT_PROFILES_FILE"}),
        ({"ROS_DISTRO": "jazzy"}, {"FASTDDS_DEFAULT_PROFILES_FILE"}),
    ],
)
def test_the_profile_is_for_fast_dds_and_never_in_the_users_way(variables: dict[str, str], wanted: set[str]) -> None:
    assert set(wiring.transport_environment(ROOT, variables)) == wanted


def test_the_stand_in_leaves_what_is_installed_as_it_was() -> None:
    before = {name for name in sys.modules if name.split(".")[0] in ("launch", "launch_ros")}
    planned("sim")
    assert {name for name in sys.modules if name.split(".")[0] in ("launch", "launch_ros")} == before
    with pytest.raises(InputError, match="Shutdown"):
        list(plan._started(plan.LaunchDescription([plan.Shutdown()]), plan.LaunchContext()))


def test_everything_the_launch_files_need_is_installed_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **words: said.update(words))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    installed = {f"{folder}/{Path(file).name}" for folder, files in said["data_files"] for file in files}
    share = f"share/{plan.PACKAGE}"
    wanted = [path for folder in ("launch", "config") for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    assert {f"{share}/{path.relative_to(ROOT)}" for path in wanted if path.suffix != ".pyc"} <= installed
    assert {f"lib/{plan.PACKAGE}/{node}" for node in nodes.NODES} <= installed


@pytest.mark.parametrize(("name", "given", "parameter", "value"), rows(__file__, "resolver_is_told"))
def test_the_resolver_is_told_which_images_and_decisions(name: str, given: Any, parameter: str, value: Any) -> None:
    resolver = next(process for process in ours(name, **given) if process.executable == "resolver")
    assert resolver.parameters.get(parameter) == value
