# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm doctor` names what is wrong with a live camera, a bag or a frame."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from live_graph import Graph
from live_process import Started
from live_scene import FRAME
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams import frame_assembler as roles

WORLD = ("--base-frame", "world")
Program = Callable[..., Started]


@dataclass(frozen=True)
class Diagnosis:
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
def doctor(program: Program) -> Program:
    return lambda *words: program("doctor", "--json", *words)


def diagnosis(examining: Started) -> Diagnosis:
    code = examining.ends()
    lines = [line for line in examining.output.splitlines() if line.startswith("{")]
    assert len(lines) == 1, examining.output
    assert "Traceback" not in examining.output
    return Diagnosis(code, json.loads(lines[0])["findings"])


def fed(graph: Graph, examine: Callable[[str], Started], names: dict[str, str]) -> Diagnosis:
    """Send frames under these names while the doctor listens: longer where the machine was too slow for that."""

    def rename(parts: dict[str, Any]) -> None:
        for role, name in names.items():
            parts[name] = parts.pop(role)

    for patience in ("2.5", "5", "10"):
        examining = examine(patience)
        graph.feed(lambda: examining.process.poll() is not None, "the doctor is done", change=rename, period=0.04)  # noqa: B023
        found = diagnosis(examining)
        if found.code == 0:
            break
    return found


REALSENSE = {
    roles.RGB: "/camera/camera/color/image_raw",
    roles.DEPTH: "/camera/camera/aligned_depth_to_color/image_raw",
    roles.RGB_INFO: "/camera/camera/color/camera_info",
}
REMAPPED = [word for role, name in REALSENSE.items() for word in ("-r", f"{role}:={name}")]


def assert_healthy(found: Diagnosis, *names: str) -> None:
    assert found.code == 0, found.findings
    assert {f["check"] for f in found.findings if f["level"] == "ok"} >= {"synchronisation", "tf", "versions", "camera"}
    assert {f["check"] for f in found.findings if f["level"] == "warning"} <= {"support plane", *names}
    assert all(found.levels(name)[0] != "error" for name in names)


def test_remapped_topics_of_a_namespace_are_listened_to(quiet: Graph, doctor: Program) -> None:
    quiet.camera.tf(FRAME.base_T_camera, static=True)
    names = {**REALSENSE, roles.DETECTIONS: "/left/detections"}
    words = ("--namespace", "left", *WORLD, "--ros-args", *REMAPPED)
    assert_healthy(fed(quiet, lambda seconds: doctor("--seconds", seconds, *words), names), *names.values())


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_topics_of_a_preset_are_listened_to(quiet: Graph, doctor: Program, tmp_path: Path, own: bool) -> None:
    quiet.camera.tf(FRAME.base_T_camera, static=True)
    preset = "realsense"
    if own:
        preset = str(tmp_path / "own.yaml")
        Path(preset).write_text(yaml.safe_dump({"topics": REALSENSE}))
    found = fed(quiet, lambda seconds: doctor("--seconds", seconds, "--camera", preset, *WORLD), REALSENSE)
    assert_healthy(found, *REALSENSE.values(), "/detections")
    found.one("request", "ok", "a request would be served")


def test_a_running_resolver_is_attached_to(quiet: Graph, node: Program, doctor: Program) -> None:
    node("resolver", *REMAPPED, base_frame="world", max_latency=1.5).says("resolver is active")
    quiet.camera.tf(FRAME.base_T_camera, static=True)
    found = fed(quiet, lambda seconds: doctor("--seconds", seconds), REALSENSE)
    assert found.code == 0, found.findings
    assert all(found.levels(name)[0] != "error" for name in REALSENSE.values())
    assert "world" in found.one("tf", "ok")["found"]
    found.one("resolver /resolver: requests", "ok", "a request now would be served")


@pytest.mark.slow
def test_a_resolver_that_comes_later_is_attached_to(quiet: Graph, node: Program, doctor: Program) -> None:
    quiet.camera.tf(FRAME.base_T_camera, static=True)
    examining = doctor("--seconds", "15")
    quiet.feed(lambda: quiet.node.count_subscribers("/rgb/image"), "the doctor listens")
    node("resolver", base_frame="world")
    quiet.feed(lambda: examining.process.poll() is not None, "the doctor is done", period=0.04)
    found = diagnosis(examining)
    assert "world" in found.one("tf", "ok")["found"]
    found.one("resolver /resolver: requests", "ok", "a request now would be served")


def test_topics_without_publisher_are_errors_with_others_of_their_type(graph: Graph, doctor: Program) -> None:
    for name in ("/cam/color", "/cam/depth"):
        graph.node.create_publisher(Image, name, qos.images())
    found = diagnosis(doctor("--seconds", "1"))
    assert found.code == 3
    finding = found.one("/rgb/image", "error", "it has no publisher; topics of this type: /cam/color, /cam/depth")
    assert "-r rgb/image:=TOPIC" in finding["repair"]
    info = found.one("/rgb/camera_info", "error", "it has no publisher")
    assert "topics of this type" not in info["found"]
    assert found.levels("/detections") == ["warning"]


def test_wrong_types_and_qos_and_several_publishers_are_named(graph: Graph, doctor: Program, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("/**:\n  ros__parameters:\n    reliability: reliable\n")
    graph.node.create_publisher(Image, roles.RGB, qos.images())
    graph.node.create_publisher(CompressedImage, roles.DEPTH, qos.images("reliable"))
    for _ in range(2):
        graph.node.create_publisher(CameraInfo, roles.RGB_INFO, qos.images("reliable"))
    found = diagnosis(doctor("--seconds", "1", "--config", str(config)))
    assert found.code == 3
    offers = ("QoS does not match: test offers best_effort, volatile", "reliability: best_effort")
    form = ("its type is sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image", "depth_transport")
    for name, words in (("/rgb/image", offers), ("/depth/image", form)):
        found.one(name, "error", *words)
    found.one("/rgb/camera_info", "error", "has 2 publishers: /test, /test", "stop the wrong one")


def test_ctrl_c_ends_it_without_a_traceback(doctor: Program) -> None:
    examining = doctor("--seconds", "60")
    examining.says("listening for 60 s")
    examining.interrupt()
    assert examining.ends() == 1
    assert "Traceback" not in examining.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--seconds", "1", "--namespace", "left arm"), 3, "INVALID_INPUT: namespace: 'left arm'"),
        (("--seconds", "1", "--ros-args", "-r", "nonsense"), 3, "INVALID_INPUT: ROS arguments: .*nonsense"),
        (("--camera", "realsens"), 3, "realsense"),
        (("--camera", "mine.yaml"), 3, "mine.yaml: No such file or directory"),
        (("--bag", "nowhere"), 3, "INVALID_INPUT"),
        (("--frame", ".", "--bag", "."), 2, "give only one of --frame, --bag, --grounder and --arm"),
    ],
)
def test_arguments_that_cannot_be_are_named(words: tuple[str, ...], code: int, said: str) -> None:
    done = CliRunner().invoke(main, ["doctor", "--json", *words])
    assert done.exit_code == code, done.output
    assert re.search(said, " ".join(done.output.split()))
