# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm doctor` names what is wrong with a live camera, a bag or a frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from bag_builder import FIXED, BagBuilder, scene, seconds
from live_graph import Graph
from live_process import ROOT, Started
from live_scene import DETECTIONS, FRAME
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND

WORLD = ("--base-frame", "world")
STREAMS = {"/rgb/image", "/depth/image", "/rgb/camera_info", "/detections"}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor printed and its exit code."""

    code: int
    findings: list[dict[str, str]]

    def levels(self, check: str) -> list[str]:
        return [finding["level"] for finding in self.findings if finding["check"] == check]

    def one(self, check: str, level: str, *words: str) -> dict[str, str]:
        """The finding of that check and level that says these words."""
        fitting = [f for f in self.findings if (f["check"], f["level"]) == (check, level)]
        said = [f for f in fitting if all(word in f["found"] + f["repair"] for word in words)]
        assert len(said) == 1, self.findings
        return said[0]


@pytest.fixture
def doctor(program: Callable[..., Started]) -> Callable[..., Started]:
    return lambda *words: program("doctor", "--json", *words)


def diagnosis(examining: Started) -> Diagnosis:
    """What a doctor that has ended says."""
    code = examining.ends()
    lines = [line for line in examining.output.splitlines() if line.startswith("{")]
    assert len(lines) == 1, examining.output
    assert "Traceback" not in examining.output
    return Diagnosis(code, json.loads(lines[0])["findings"])


def heard(examine: Callable[[str], Diagnosis]) -> Diagnosis:
    """Examine for a moment, or for longer where the machine was too slow to find every publisher in it."""
    found = examine("2.5")
    for longer in ("5", "10"):
        if any(words in f["found"] for f in found.findings for words in ("no message", "no publisher")):
            found = examine(longer)
    return found


def fed(
    graph: Graph, examine: Callable[[str], Started], change: Callable[[dict[str, Any]], object] = lambda _: None
) -> Diagnosis:
    """Send frames while the doctor listens for some seconds."""

    def once(seconds: str) -> Diagnosis:
        examining = examine(seconds)
        graph.feed(lambda: examining.process.poll() is not None, "the doctor is done", FRAME, DETECTIONS, change, 0.04)
        return diagnosis(examining)

    return heard(once)


# ------------------------------------------------------------------------------------------------ healthy


def test_a_simulated_camera_is_healthy(node: Callable[..., Started], doctor: Callable[..., Started]) -> None:
    pytest.importorskip("mujoco")
    node("frame_player", world="behind").says("playing behind")
    found = heard(lambda seconds: diagnosis(doctor("--seconds", seconds, "--base-frame", "base_link")))
    assert found.code == 0, found.findings
    assert {f["check"] for f in found.findings if f["level"] == "ok"} >= {"synchronisation", "tf", "versions", "camera"}
    assert {f["check"] for f in found.findings if f["level"] == "warning"} <= {"support plane", *STREAMS}


def test_remapped_topics_of_a_namespace_are_listened_to(graph: Graph, doctor: Callable[..., Started]) -> None:
    graph.camera.tf(FRAME.base_T_camera, static=True)
    names = {roles.RGB: "/cam/color", roles.DEPTH: "/cam/depth", roles.RGB_INFO: "/cam/info",
             roles.DETECTIONS: "/left/detections"}  # fmt: skip
    remappings = [
        word for role in (roles.RGB, roles.DEPTH, roles.RGB_INFO) for word in ("-r", f"{role}:={names[role]}")
    ]

    def rename(parts: dict[str, Any]) -> None:
        for role, name in names.items():
            parts[name] = parts.pop(role)

    words = ("--namespace", "left", *WORLD, "--ros-args", *remappings)
    found = fed(graph, lambda seconds: doctor("--seconds", seconds, *words), rename)
    assert found.code == 0, found.findings
    for name in names.values():
        assert found.levels(name)[0] != "error"
    assert found.levels("tf") == ["ok"]


REALSENSE = {
    roles.RGB: "/camera/camera/color/image_raw",
    roles.DEPTH: "/camera/camera/aligned_depth_to_color/image_raw",
    roles.RGB_INFO: "/camera/camera/color/camera_info",
}


def renamed(parts: dict[str, Any]) -> None:
    for role, name in REALSENSE.items():
        parts[name] = parts.pop(role)


def test_the_topics_of_a_cameras_preset_are_listened_to(graph: Graph, doctor: Callable[..., Started]) -> None:
    graph.camera.tf(FRAME.base_T_camera, static=True)
    words = ("--camera", "realsense", *WORLD)
    found = fed(graph, lambda seconds: doctor("--seconds", seconds, *words), renamed)
    assert found.code == 0, found.findings
    assert all(found.levels(name)[0] != "error" for name in REALSENSE.values())
    found.one("request", "ok", "a request would be served")
    unknown = doctor("--camera", "realsens")
    assert unknown.ends() == 3
    assert "realsense" in unknown.output


def test_a_cameras_preset_of_ones_own_is_listened_to(
    graph: Graph, doctor: Callable[..., Started], tmp_path: Path
) -> None:
    graph.camera.tf(FRAME.base_T_camera, static=True)
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({"topics": REALSENSE}))
    found = fed(graph, lambda seconds: doctor("--seconds", seconds, "--camera", str(own), *WORLD), renamed)
    assert found.code == 0, found.findings
    found.one("request", "ok", "a request would be served")
    missing = doctor("--camera", str(tmp_path / "mine.yaml"))
    assert missing.ends() == 3
    assert "mine.yaml: No such file or directory" in " ".join(missing.output.split())


def test_a_running_resolver_is_attached_to_with_its_parameters_and_topics(
    graph: Graph, node: Callable[..., Started], doctor: Callable[..., Started]
) -> None:
    remappings = [word for role, name in REALSENSE.items() for word in ("-r", f"{role}:={name}")]
    node("resolver", *remappings, base_frame="world", max_latency=1.5).says("resolver is active")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    found = fed(graph, lambda seconds: doctor("--seconds", seconds), renamed)
    assert found.code == 0, found.findings
    assert all(found.levels(name)[0] != "error" for name in REALSENSE.values())
    assert "world" in found.one("tf", "ok")["found"]
    found.one("resolver /resolver: requests", "ok", "a request now would be served")


@pytest.mark.slow
def test_a_resolver_that_comes_while_the_doctor_listens_is_attached_to(
    graph: Graph, node: Callable[..., Started], doctor: Callable[..., Started]
) -> None:
    graph.camera.tf(FRAME.base_T_camera, static=True)
    examining = doctor("--seconds", "15")
    graph.feed(lambda: graph.node.count_subscribers("/rgb/image"), "the doctor listens", FRAME, DETECTIONS)
    node("resolver", base_frame="world")
    graph.feed(lambda: examining.process.poll() is not None, "the doctor is done", FRAME, DETECTIONS, period=0.04)
    found = diagnosis(examining)
    assert "world" in found.one("tf", "ok")["found"]
    found.one("resolver /resolver: requests", "ok", "a request now would be served")


# ------------------------------------------------------------------------------------------------ what is wrong


def test_topics_that_nobody_publishes_are_errors_with_others_of_their_type(
    graph: Graph, doctor: Callable[..., Started]
) -> None:
    for name in ("/cam/color", "/cam/depth"):
        graph.node.create_publisher(Image, name, qos.images())
    found = diagnosis(doctor("--seconds", "1"))
    assert found.code == 3
    finding = found.one("/rgb/image", "error", "it has no publisher; topics of this type: /cam/color, /cam/depth")
    assert "-r rgb/image:=TOPIC" in finding["repair"]
    info = found.one("/rgb/camera_info", "error", "it has no publisher")
    assert "topics of this type" not in info["found"]
    assert found.levels("/detections") == ["warning"]


def test_wrong_types_qos_that_does_not_match_and_several_publishers_are_named(
    graph: Graph, doctor: Callable[..., Started], tmp_path: Path
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("/**:\n  ros__parameters:\n    reliability: reliable\n")
    graph.node.create_publisher(Image, roles.RGB, qos.images())
    graph.node.create_publisher(CompressedImage, roles.DEPTH, qos.images("reliable"))
    for _ in range(2):
        graph.node.create_publisher(CameraInfo, roles.RGB_INFO, qos.images("reliable"))
    found = diagnosis(doctor("--seconds", "1", "--config", str(config)))
    assert found.code == 3
    found.one(
        "/rgb/image", "error", "QoS does not match: test offers best_effort, volatile", "reliability: best_effort"
    )
    words = ("its type is sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image", "depth_transport")
    found.one("/depth/image", "error", *words)
    found.one("/rgb/camera_info", "error", "2 publishers on /rgb/camera_info: /test (2 times)", "stop all but one")


def test_a_missing_transform_is_an_error(graph: Graph, doctor: Callable[..., Started]) -> None:
    found = fed(graph, lambda seconds: doctor("--seconds", seconds, *WORLD))
    assert found.code == 3
    found.one("tf", "error", "world")
    assert found.levels("/rgb/image")[0] != "error"


@pytest.mark.parametrize(("shift", "words"), [(-3, "s behind its arrival"), (3, "s ahead of now")])
def test_clocks_that_differ_are_an_error(graph: Graph, doctor: Callable[..., Started], shift: int, words: str) -> None:
    def skew(parts: dict[str, Any]) -> None:
        parts.update(graph.camera.parts(FRAME, DETECTIONS, graph.camera.now() + shift * SECOND))

    found = fed(graph, lambda seconds: doctor("--seconds", seconds, "--base-frame", ""), skew)
    assert found.code == 3
    assert "use_sim_time" in found.one("clock", "error", "/rgb/image", words)["repair"]


# ------------------------------------------------------------------------------------------------ how it ends


def test_ctrl_c_ends_it_without_a_traceback(doctor: Callable[..., Started]) -> None:
    examining = doctor("--seconds", "60")
    examining.says("listening for 60 s")
    examining.interrupt()
    assert examining.ends() == 1
    assert "Traceback" not in examining.output


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--namespace", "left arm"), "'left arm'"), (("--ros-args", "-r", "nonsense"), "nonsense")],
)
def test_arguments_that_ros_does_not_allow_are_named(
    doctor: Callable[..., Started], words: tuple[str, ...], said: str
) -> None:
    examining = doctor("--seconds", "1", *words)
    assert examining.ends() == 3
    assert f"INVALID_INPUT: {'namespace' if 'left' in said else 'ROS arguments'}" in examining.output
    assert said in examining.output
    assert "Traceback" not in examining.output


# ------------------------------------------------------------------------------------------------ bags and frames


def test_a_bag_is_examined_as_a_camera_is(doctor: Callable[..., Started], tmp_path: Path) -> None:
    seen = scene()
    with BagBuilder(tmp_path / "good") as good:
        good.stands(FIXED)
        for n in range(20):
            good.frame(seen, seconds(0.1 * n), seconds(0.1 * n + 0.01))
    with BagBuilder(tmp_path / "bad") as bad:
        for n in range(20):
            bad.frame(seen, seconds(0.1 * n), seconds(0.1 * n + 1.01))
    healthy, sick, none = (doctor("--bag", str(tmp_path / name)) for name in ("good", "bad", "nowhere"))
    found = diagnosis(healthy)
    assert found.code == 0, found.findings
    assert found.levels("/rgb/image") == found.levels("tf") == ["ok"]
    found = diagnosis(sick)
    assert found.code == 3
    found.one("tf", "error", "base_link")
    assert found.levels("clock")[0] == "error"
    assert none.ends() == 3
    assert "INVALID_INPUT" in none.output
    assert "Traceback" not in none.output


@pytest.mark.real_frames
def test_a_frame_folder_is_examined(doctor: Callable[..., Started], real_frames: Path, tmp_path: Path) -> None:
    folder = next(path.parent for path in sorted(real_frames.glob("*/rgb.png")))
    whole, none = doctor("--frame", str(folder)), doctor("--frame", str(tmp_path))
    found = diagnosis(whole)
    assert found.code == 0, found.findings
    assert found.levels("depth") == ["ok"]
    found = diagnosis(none)
    assert found.code == 3
    assert found.findings[0]["check"] == "camera_info.json"
    assert str(tmp_path) in found.findings[0]["found"]


def test_a_frame_and_a_bag_at_once_are_a_usage_error(doctor: Callable[..., Started], tmp_path: Path) -> None:
    examining = doctor("--frame", str(tmp_path), "--bag", str(ROOT))
    assert examining.ends() == 2
    assert "give only one of --frame, --bag, --grounder and --arm" in examining.output
