# SPDX-License-Identifier: Apache-2.0
"""Bags at the command line; results that exist are kept unless --force is given."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import pytest
from cli_runs import WORDS, ended, files_of, objects, run
from click.testing import Result
from waiting import DEADLINE

from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.streams.frame_assembler import STATIC_TRANSFORMS

pytest.importorskip("rosbags")

T0 = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of chicks and a cup, seen from the frame "world", and what somebody said."""
    out = tmp_path_factory.mktemp("bags") / "run1"
    frame, detections = chicks_and_cup_frame()
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


def test_one_instruction_is_answered_in_full_and_drawn_or_exits_with_3(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answer.png"
    done = ended("replay", bag, WORDS, "--base-frame", "world", "--out", out)
    assert "OK" in done.stdout
    assert "m in world" in done.stdout
    assert cv2.imread(str(out)).shape[1] > 640  # the camera image, and the view from above beside it
    refused = run("replay", bag, "the duck", "--base-frame", "world", "--json")
    assert (refused.exit_code, objects(refused)[0]["status"]) == (3, "NOT_FOUND")


def test_a_simulated_model_is_refused_on_a_bag_before_it_is_read(bag: Path) -> None:
    pytest.importorskip("onnxruntime")
    asked = ("replay", bag, WORDS, "--base-frame", "world", "--grounder", "compact")
    for more in ((), ("--image-domain", "real")):
        done = run(*asked, *more)
        assert (done.exit_code, done.stdout) == (3, "")
        assert "MODEL_ERROR" in done.stderr
        assert "--any-domain" in done.stderr
    answered = objects(run(*asked, "--image-domain", "simulated", "--json"))
    assert [answer["model_domain"] for answer in answered] == ["simulated"]
    assert answered[0]["status"] != "MODEL_ERROR"


def test_json_is_one_valid_object_a_line_and_exits_with_0(bag: Path) -> None:
    done = ended("replay", bag, WORDS, "the duck", "--base-frame", "world", "--every", "--json")
    made = objects(done)
    assert len(made) == 6
    for entry in made:
        jsonschema.validate(entry, json_schema("resolution"))
    assert [entry["stamp_ns"] for entry in made[::2]] == [T0 + n * 100_000_000 for n in (1, 2, 3)]


def test_several_answers_are_a_line_each_and_an_image_each(bag: Path, tmp_path: Path) -> None:
    done = ended("replay", bag, WORDS, "the duck", "--base-frame", "world", "--out", tmp_path / "pictures")
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [["OK", "bonnet"], ["NOT_FOUND", "-"]]
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_without_instruction_the_bag_says_what_was_asked(bag: Path, in_step: Path) -> None:
    done = run("replay", bag, "--config", in_step, "--json")
    assert [(entry["instruction"], entry["status"]) for entry in objects(done)] == [("the cup", "OK")]


def test_a_time_a_frame_and_a_parameter_file_can_be_given(bag: Path, in_step: Path) -> None:
    (entry,) = objects(run("replay", bag, WORDS, "--config", in_step, "--at", "0.25", "--json"))
    assert entry["stamp_ns"] == T0 + 300_000_000
    (entry,) = objects(run("replay", bag, WORDS, "--config", in_step, "--base-frame", "", "--json"))
    assert entry["target"]["pose"]["frame_id"] == "camera_color_optical_frame"
    (entry,) = objects(run("replay", bag, WORDS, "--base-frame", "world", "--frame-of-reference", "robot", "--json"))
    assert entry["frame_of_reference"] == "robot"


def test_a_transform_that_is_missing_is_a_refusal_with_the_known_frames(bag: Path) -> None:
    done = ended("replay", bag, WORDS, code=3)
    assert "TF_UNAVAILABLE" in done.stdout
    assert "known: camera_color_optical_frame, world" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--rgb", "/nowhere"), 3, "--rgb TOPIC"),
        (("--depth", "/rgb/camera_info"), 3, "is of type sensor_msgs/msg/CameraInfo"),
        (("--at", "99"), 3, "--at"),
        (("--grounder", "x", "--detections", "/detections"), 2, "--grounder"),
        (("--out", "answer.txt"), 2, "--out"),
        (("--at", "soon"), 2, "--at"),
    ],
)
def test_what_cannot_be_done_with_this_bag_is_said(arguments: tuple[str, ...], code: int, says: str, bag: Path) -> None:
    done = run("replay", bag, WORDS, *arguments)
    assert done.exit_code == code
    assert says in done.stderr


def test_a_bag_that_is_none_exits_with_3_and_the_repair(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(b"\x89MCAP0\r\n")
    done = ended("replay", tmp_path / "x.mcap", WORDS, code=3)
    assert "mcap recover x.mcap" in done.stderr


@pytest.mark.live
def test_bags_are_loaded_only_by_their_commands() -> None:
    bags = "'rosbags' in sys.modules, 'spatial_vlm_ros.cli.replay' in sys.modules"
    code = f"import sys, spatial_vlm_ros.cli.main; print({bags})"
    code += "; import spatial_vlm_ros.recording.evidence.bundle; print('ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3
    listed = {line.split()[0] for line in run("--help").stdout.splitlines() if line.split()}
    assert {"replay", "record", "resolve"} <= listed


def refused(done: Result, option: str = "--out") -> bool:
    return done.exit_code == 2 and all(words in done.output for words in (option, "it already exists", "--force"))


@pytest.mark.parametrize("option", ["--out", "--html", "--markdown", "--junit"])
def test_evaluate_replaces_a_result_with_force_alone(option: str, recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("junitparser")
    out = tmp_path / "result.json"
    assert run("evaluate", "--frames", recordings, option, out).exit_code == 0
    out.write_text("of yesterday")
    assert refused(run("evaluate", "--frames", recordings, option, out), option)
    assert out.read_text() == "of yesterday"
    assert run("evaluate", "--frames", recordings, option, out, "--force").exit_code == 0
    assert out.read_text() != "of yesterday"


def test_an_image_is_replaced_with_force_alone(frame: Path, tmp_path: Path) -> None:
    out = tmp_path / "answer.png"
    asked = ("resolve", WORDS, *files_of(frame), "--out", out)
    assert run(*asked).exit_code == 0
    first = out.read_bytes()
    assert refused(run(*asked))
    assert run(*asked, "--force").exit_code == 0
    assert out.read_bytes() == first


@pytest.mark.live
@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/null"])
def test_results_can_be_sent_elsewhere(out: str, recordings: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.cli", "evaluate", "--frames", str(recordings), "--out", out],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ('"cases"' in done.stdout) is (out == "/dev/stdout")


def test_images_of_several_answers_are_a_folder_replaced_with_force_alone(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    assert run("resolve", "--frames", recordings, "--out", out).exit_code == 0
    assert {path.suffix for path in out.iterdir()} == {".png"}
    assert refused(run("resolve", "--frames", recordings, "--out", out))
    assert run("resolve", "--frames", recordings, "--out", out, "--force").exit_code == 0
    (out / "notes.txt").write_text("mine")
    done = run("resolve", "--frames", recordings, "--out", out, "--force")
    assert done.exit_code == 2
    assert "'notes.txt', which does not belong to such a result" in done.output
    assert (out / "notes.txt").read_text() == "mine"


def test_a_bag_is_replaced_with_force_alone(recordings: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert run("record", recordings, bag).exit_code == 0
    assert refused(run("record", recordings, bag))
    assert run("record", recordings, bag, "--storage", "sqlite3", "--force").exit_code == 0
    assert sorted(path.name for path in bag.iterdir()) == ["bag.db3", "metadata.yaml"]
    out = tmp_path / "answers"
    assert run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out).exit_code == 0
    assert refused(run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out))
    assert run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out, "--force").exit_code == 0
    assert len(list(out.iterdir())) == 3
    (bag / "thesis.pdf").write_text("mine")
    assert run("record", recordings, bag, "--force").exit_code == 2
    assert (bag / "thesis.pdf").read_text() == "mine"


STOPPED = """
import signal, sys, time
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.recording.bags.writer import BagWriter

write = BagWriter.write_frame
def slow(self, *given, **named):
    write(self, *given, **named)
    sys.stdout.write("writing\\n")
    sys.stdout.flush()
    time.sleep(600)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored, and stays so, where nohup started the tests
BagWriter.write_frame = slow
main(sys.argv[1:])
"""


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_recording_removes_what_it_began(number: signal.Signals, recordings: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, "record", str(recordings), str(tmp_path / "bag")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "writing\n"
        assert list(tmp_path.glob(".bag.*.part/bag/*.mcap"))
        process.send_signal(number)
        process.wait(DEADLINE)  # far less than the frame would take
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_command_reads_is_never_replaced(recordings: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    cases, rgb, answers = copy / "cases.jsonl", copy / "f1" / "rgb.png", tmp_path / "answers.jsonl"
    answers.write_text(run("resolve", "--frames", copy, "--json").output)
    (tmp_path / "link.json").symlink_to(cases)
    before = cases.read_bytes(), rgb.read_bytes(), answers.read_bytes()
    for command in (
        ["evaluate", "--frames", copy, "--out", cases],
        ["evaluate", "--frames", copy, "--out", tmp_path / "link.json"],
        ["evaluate", "--frames", copy, "--html", cases],
        ["evaluate", "--frames", copy, "--answers", answers, "--out", answers],
        ["evaluate", "--frames", copy, "--grounder", "compact", "--reliability", cases],
        ["resolve", WORDS, *files_of(copy / "f1"), "--out", rgb],
    ):
        ended(*command, "--force", code=2, says="reads that file")
    assert (cases.read_bytes(), rgb.read_bytes(), answers.read_bytes()) == before
    scores = tmp_path / "scores.json"  # but a run can be its own baseline
    assert run("evaluate", "--frames", copy, "--out", scores).exit_code == 0
    assert run("evaluate", "--frames", copy, "--baseline", scores, "--out", scores, "--force").exit_code == 0
