# SPDX-License-Identifier: Apache-2.0
"""Bags at the command line: what is printed, drawn and returned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("rosbags")

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.bags.writer import BagWriter
from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams.frame_assembler import STATIC_TRANSFORMS

T0 = 1_700_000_000_000_000_000
WORDS = "the chick behind the cup"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of chicks and a cup, seen from the frame "world", and what somebody said."""
    out = tmp_path_factory.mktemp("bags") / "run1"
    frame, detections = chicks_and_cup_frame()
    assert frame.base_T_camera is not None
    with BagWriter(out) as writer:
        writer.write_transforms([frame.base_T_camera], T0, role=STATIC_TRANSFORMS)
        writer.write_instruction("the cup", T0 + 50_000_000)
        for n in range(3):
            writer.write_frame(frame, detections, T0 + (n + 1) * 100_000_000)
    return out


@pytest.fixture(scope="module")
def in_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parameters of a camera whose clock is in step: a stamp later than the request proves a new image."""
    path = tmp_path_factory.mktemp("parameters") / "p.yaml"
    path.write_text('"/**": {ros__parameters: {clocks_in_step: true, clock_error: 0.0, base_frame: world}}')
    return path


def test_one_instruction_is_answered_in_full_and_drawn(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answer.png"
    done = run("replay", bag, WORDS, "--base-frame", "world", "--out", out)
    assert done.exit_code == 0, done.output
    assert "OK" in done.stdout
    assert "m in world" in done.stdout
    assert cv2.imread(str(out)).shape[1] > 640  # the camera image, and the view from above beside it


def test_one_refusal_exits_with_3(bag: Path) -> None:
    done = run("replay", bag, "the duck", "--base-frame", "world", "--json")
    assert done.exit_code == 3
    assert lines(done)[0]["status"] == "NOT_FOUND"


def test_a_simulated_model_is_refused_on_a_bag_before_it_is_read(bag: Path) -> None:
    pytest.importorskip("onnxruntime")
    asked = ("replay", bag, WORDS, "--base-frame", "world", "--grounder", "compact")
    for more in ((), ("--image-domain", "real")):
        done = run(*asked, *more)
        assert (done.exit_code, done.stdout) == (3, "")
        assert "MODEL_ERROR" in done.stderr
        assert "--any-domain" in done.stderr
    answered = lines(run(*asked, "--image-domain", "simulated", "--json"))
    assert [answer["model_domain"] for answer in answered] == ["simulated"]
    assert answered[0]["status"] != "MODEL_ERROR"


def test_json_is_one_valid_object_a_line_and_exits_with_0(bag: Path) -> None:
    done = run("replay", bag, WORDS, "the duck", "--base-frame", "world", "--every", "--json")
    assert done.exit_code == 0, done.output
    made = lines(done)
    assert len(made) == 6
    for entry in made:
        jsonschema.validate(entry, json_schema("resolution"))
    assert [entry["stamp_ns"] for entry in made[::2]] == [T0 + n * 100_000_000 for n in (1, 2, 3)]


def test_several_answers_are_a_line_each_and_an_image_each(bag: Path, tmp_path: Path) -> None:
    done = run("replay", bag, WORDS, "the duck", "--base-frame", "world", "--out", tmp_path / "pictures")
    assert done.exit_code == 0
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [["OK", "bonnet"], ["NOT_FOUND", "-"]]
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_without_instruction_the_bag_says_what_was_asked(bag: Path, in_step: Path) -> None:
    done = run("replay", bag, "--config", in_step, "--json")
    assert [(entry["instruction"], entry["status"]) for entry in lines(done)] == [("the cup", "OK")]


def test_a_time_a_frame_and_a_parameter_file_can_be_given(bag: Path, in_step: Path) -> None:
    (entry,) = lines(run("replay", bag, WORDS, "--config", in_step, "--at", "0.25", "--json"))
    assert entry["stamp_ns"] == T0 + 300_000_000
    (entry,) = lines(run("replay", bag, WORDS, "--config", in_step, "--base-frame", "", "--json"))
    assert entry["target"]["pose"]["frame_id"] == "camera_color_optical_frame"  # type: ignore[index]
    (entry,) = lines(run("replay", bag, WORDS, "--base-frame", "world", "--frame-of-reference", "robot", "--json"))
    assert entry["frame_of_reference"] == "robot"


def test_a_transform_that_is_missing_is_a_refusal_with_the_known_frames(bag: Path) -> None:
    done = run("replay", bag, WORDS)
    assert done.exit_code == 3
    assert "TF_UNAVAILABLE" in done.stdout
    assert "known: camera_color_optical_frame, world" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rgb", "/nowhere"), "--rgb TOPIC"),
        (("--depth", "/rgb/camera_info"), "is of type sensor_msgs/msg/CameraInfo"),
        (("--at", "99"), "--at"),
    ],
)
def test_what_cannot_be_done_with_this_bag_is_said_and_exits_with_3(
    arguments: tuple[str, str], says: str, bag: Path
) -> None:
    done = run("replay", bag, WORDS, *arguments)
    assert done.exit_code == 3
    assert says in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--grounder", "x", "--detections", "/detections"), ("--out", "answer.txt"), ("--at", "soon")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], bag: Path) -> None:
    assert run("replay", bag, WORDS, *arguments).exit_code == 2


def test_a_bag_that_is_none_exits_with_3_and_the_repair(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(b"\x89MCAP0\r\n")
    done = run("replay", tmp_path / "x.mcap", WORDS)
    assert done.exit_code == 3
    assert "mcap recover x.mcap" in done.stderr


def test_a_folder_is_recorded_and_answered_from_the_bag(tmp_path: Path) -> None:
    frame, _ = chicks_and_cup_frame()
    folder = tmp_path / "frame"
    folder.mkdir()
    cv2.imwrite(str(folder / "rgb.png"), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "depth.png"), np.nan_to_num(frame.depth * 1000).round().astype(np.uint16))
    info = {"width": 640, "height": 480, "k": frame.camera.K.reshape(-1).tolist()}
    (folder / "camera_info.json").write_text(json.dumps(info))
    (folder / "detections.json").write_text(
        '{"detections": [{"id": "c", "label": "cup", "box": [280, 190, 360, 270]}]}'
    )
    for storage in ("mcap", "sqlite3"):
        done = run("record", folder, tmp_path / storage, "--storage", storage)
        assert done.exit_code == 0, done.output
        assert "1 frames, 0 instructions, 4 messages" in done.stdout
        assert run("replay", tmp_path / storage, "the cup", "--base-frame", "").exit_code == 0
    again = run("record", folder, tmp_path / "mcap")
    assert again.exit_code == 2
    assert "it already exists" in again.stderr


def test_bags_are_loaded_only_by_their_commands() -> None:
    bags = "'rosbags' in sys.modules, 'spatial_vlm_ros.cli.replay' in sys.modules"
    code = f"import sys, spatial_vlm_ros.cli.main; print({bags})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_commands_are_listed_with_the_others() -> None:
    done = run("--help")
    assert {"replay", "record", "resolve"} <= {line.split()[0] for line in done.stdout.splitlines() if line.split()}
