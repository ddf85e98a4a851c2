# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: output, JSON lines, exit codes, images, repairs, plug-ins."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from cli_runs import WORDS, ended, files_of, images_of, objects, run, told
from click.testing import Result
from frame_files import case, write_cases
from tables import tables

from spatial_vlm_ros.cli.group import FRAMES_OF_REFERENCE, told_source
from spatial_vlm_ros.output import terminal
from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import (
    CHOSEN_BY_MODEL,
    Destination,
    Distance,
    FrameOfReference,
    GraspHint,
    NounPhrase,
    Ordinal,
    Place,
    Pose,
    RelationClause,
    Resolution,
    SpatialQuery,
    Status,
    Step,
    Target,
)

TABLES = tables(__file__)

DISTANCE = "how far is the cup from the bonnet chick?"


def test_parse_prints_one_object_for_every_line_blank_ones_included() -> None:
    lines = ["the red mug", "", "grab the can behind the cup", "blarg the of", "  ", "la taza roja"]
    done = run("parse", "--json", text="\n".join(lines) + "\n")
    assert done.exit_code == 0
    assert [made["instruction"] for made in objects(done)] == lines
    assert ["error" in made for made in objects(done)] == [False, True, False, True, True, True]
    for made in objects(done):
        if "error" in made:
            assert made["error"]["code"] == "NOT_UNDERSTOOD"
            start, end = made["error"]["span"]
            assert 0 <= start <= end <= len(made["instruction"])
        else:
            jsonschema.validate(made, json_schema("query"))


def test_parse_survives_bytes_that_are_no_text_and_refuses_a_line_without_end() -> None:
    done = run("parse", "--json", text=b"the \xff\xfe mug\nthe cup\n\x00\x07\n")
    assert done.exit_code == 0
    codes = [made.get("error", {}).get("code") for made in objects(done)]
    assert codes == ["NOT_UNDERSTOOD", None, "INVALID_INPUT"]
    done = run("parse", text="the mug\n" + "a" * ((1 << 20) + 1))
    assert done.exit_code == 3
    assert "a line has more than 1048576 bytes" in done.output
    assert "Traceback" not in done.output


def test_parse_of_one_instruction_answers_or_exits_with_3_and_shows_every_reading() -> None:
    assert run("parse", "the mug left of the box").exit_code == 0
    ended("parse", "der die das", code=3, says="NOT_UNDERSTOOD")
    assert len(objects(run("parse", "--all-readings", "--json", "the mug left of the bowl behind the box"))) == 2


def test_resolve_answers_with_a_pose_in_the_base_and_draws_it(frame: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answer.png"
    made = told("resolve", WORDS, *files_of(frame), "--out", out)
    jsonschema.validate(made, json_schema("resolution"))
    assert (made["target"]["id"], made["target"]["pose"]["frame_id"]) == ("bonnet", "world")
    assert made["target"]["pose"]["position"] == pytest.approx([0.22, -0.03, 0.035], abs=0.015)
    assert cv2.imread(str(out)).shape[1] > 640  # the camera image, and the view from above beside it
    for words in ("OK", "position", "world", "frame of reference: viewer", "behind", "holds", "m"):
        assert words in run("resolve", WORDS, *files_of(frame)).output


def test_resolve_answers_several_instructions_each_alone(frame: Path) -> None:
    ended = run("resolve", WORDS, "the gnu", WORDS, *files_of(frame), "--json")
    first, unknown, again = objects(ended)
    assert (ended.exit_code, first["status"], unknown["status"]) == (3, "OK", "NOT_FOUND")
    assert first["target"] == again["target"]
    assert run("resolve", WORDS, "the cup", *files_of(frame)).exit_code == 0


def test_resolve_writes_a_scene_in_three_dimensions(frame: Path, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    out = tmp_path / "new" / "scene.ply"
    told("resolve", WORDS, *files_of(frame), "--out", out)
    assert len(open3d.io.read_triangle_mesh(str(out)).triangles) > 10_000


def test_without_a_display_no_window_is_shown(recordings: Path, frame: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = ended("resolve", WORDS, *files_of(frame), "--view", "--json", code=1)
    assert json.loads(done.stdout)["target"]["id"] == "bonnet"
    assert "--out scene.ply" in done.stderr
    assert run("resolve", "--frames", recordings, "--view").exit_code == 2


def test_every_frame_of_reference_can_be_asked_for_and_configured(frame: Path, tmp_path: Path) -> None:
    assert set(FRAMES_OF_REFERENCE) == {each.value for each in FrameOfReference}
    for name in FRAMES_OF_REFERENCE:
        done = run("resolve", WORDS, *files_of(frame), "--json", "--frame-of-reference", name)
        assert done.exit_code in (0, 3), done.output
        jsonschema.validate(json.loads(done.output), json_schema("resolution"))
    asked = told("resolve", WORDS, *files_of(frame), "--frame-of-reference", "robot")
    parameters = tmp_path / "p.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    frame_of_reference: robot\n")
    configured = told("resolve", WORDS, *files_of(frame), "--config", parameters)
    assert (asked["frame_of_reference"], configured["frame_of_reference"]) == ("robot", "robot")


def test_the_place_of_the_speaker_is_read_from_its_file(frame: Path, tmp_path: Path) -> None:
    seen, _ = chicks_and_cup_frame()
    place = tmp_path / "speaker.json"
    for parent, code in ((seen.frame_id, 0), ("wrist", 3)):
        place.write_text(json.dumps({"parent": parent, "child": "person", "matrix": np.eye(4).tolist()}))
        made = told("resolve", "the cup", *files_of(frame), "--camera-t-speaker", place, code=code)
        assert made["status"] == "OK" if code == 0 else "wrist" in made["message"]


def test_a_parameter_file_lets_a_model_be_asked(frame: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "perception"))
    parameters = tmp_path / "p.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    language: {free_form: ask_model}\n")
    words = ("resolve", "grab what my niece would cuddle", *images_of(frame), "--grounder", "worker_models:pointing")
    assert told(*words, "--config", parameters)["source"] == "model"
    assert told(*words, code=3)["status"] == "NOT_UNDERSTOOD"


def test_a_question_about_space_is_answered_without_a_target(frame: Path, tmp_path: Path) -> None:
    out = tmp_path / "answer.png"
    made = told("resolve", DISTANCE, *files_of(frame), "--out", out)
    jsonschema.validate(made, json_schema("resolution"))
    assert (made["status"], made["code"], made["target"]) == ("ANSWERED", 1, None)
    low, high = made["answer"]["interval"]
    assert 0 < low < made["answer"]["value"] < high
    assert made["query"]["question"]["kind"] == "distance"
    assert out.is_file()
    shown = ended("resolve", DISTANCE, *files_of(frame))
    for said in ("ANSWERED", "distance", "95 % within", "subject", "compared"):
        assert said in shown.output
    ended("resolve", "is the chick behind the cup?", *files_of(frame), code=3, says="Which chick")


def test_a_name_of_a_million_characters_does_not_fill_the_terminal(frame: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(frame, tmp_path / "f1")
    info = json.loads((copy / "camera_info.json").read_text())
    (copy / "camera_info.json").write_text(json.dumps({**info, "frame_id": "x" * 1_000_000}))
    pose = {"parent": "base", "child": "camera", "matrix": np.eye(4).tolist()}
    (copy / "base_T_camera.json").write_text(json.dumps(pose))
    done = ended("resolve", "the cup", *files_of(copy), code=3)
    assert len(done.output) < 5_000
    assert "characters)" in done.output


def test_frames_give_one_object_a_case_and_exit_0(recordings: Path, tmp_path: Path) -> None:
    done = ended("resolve", "--frames", recordings, "--json", "--out", tmp_path / "pictures")
    assert [(made["frame"], made["instruction"], made["status"]) for made in objects(done)] == [
        ("f1", WORDS, "OK"), ("f1", "the duck", "NOT_FOUND"), ("f1", "the chick", "AMBIGUOUS"),
    ]  # fmt: skip
    assert len(list((tmp_path / "pictures").glob("f1_*.png"))) == 3


def test_a_damaged_frame_is_a_refusal_for_its_cases_and_the_others_go_on(frame: Path, tmp_path: Path) -> None:
    for name in ("f0", "f1"):
        shutil.copytree(frame, tmp_path / name)
    data = (tmp_path / "f0" / "rgb.png").read_bytes()
    (tmp_path / "f0" / "rgb.png").write_bytes(data[: len(data) // 2])
    write_cases(tmp_path, [case("f0", "the cup"), case("f1", WORDS)])
    done = ended("resolve", "--frames", tmp_path, "--json")
    first, second = objects(done)
    assert (first["frame"], first["status"], first["target"]) == ("f0", "INVALID_INPUT", None)
    assert "rgb.png" in first["message"]
    assert second["status"] == "OK"
    refused, reason, answered = run("resolve", "--frames", tmp_path).output.splitlines()
    assert refused.startswith("f0  INVALID_INPUT")
    assert "Copy or record the file again" in reason
    assert answered.startswith("f1  OK")


def test_a_folder_without_a_case_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n")
    ended("resolve", "--frames", tmp_path, "--out", tmp_path / "images", code=3, says="it contains no case")
    assert not (tmp_path / "images").exists()


def test_evaluate_judges_answers(frame: Path, tmp_path: Path) -> None:
    behind, far = "is the bonnet chick behind the cup?", "how far is the cup from you?"
    cases = [
        (case("f1", behind, status="ANSWERED", answer={"value": "yes"}), True),
        (case("f1", behind, status="ANSWERED", answer={"value": "no"}), False),
        (case("f1", "how many chicks are there?", status="ANSWERED", answer={"value": 2, "ids": ["bonnet", "ribbon"]}),
         True),
        (case("f1", far, status="ANSWERED", answer={"value": 9.0, "tolerance": 0.01}), False),
        (case("f1", "where is the chick behind the cup?", "bonnet"), True),
    ]  # fmt: skip
    shutil.copytree(frame, tmp_path / "f1")
    write_cases(tmp_path, [asked for asked, _ in cases])
    scores = told("evaluate", "--frames", tmp_path, "--out", tmp_path / "scores.json")
    assert (scores["as_expected"]["k"], scores["as_expected"]["n"]) == (3, 5)
    assert {miss["instruction"] for miss in scores["misses"]} == {behind, far}
    again = told("evaluate", "--frames", tmp_path, "--baseline", tmp_path / "scores.json")
    assert not again["comparison"]["lost"]


def test_doctor_examines_a_frame(frame: Path, tmp_path: Path) -> None:
    ended("doctor", "--frame", frame, says="support plane")
    assert {finding["level"] for finding in told("doctor", "--frame", frame)["findings"]} <= {"ok", "warning"}
    ended("doctor", "--frame", tmp_path, code=3, says="camera_info.json")


@pytest.mark.parametrize(("arguments", "code", "words"), TABLES["wrong calls"])
def test_wrong_calls_say_what_to_do(arguments: list[str], code: int, words: str) -> None:
    ended(*arguments, code=code, says=words)


def test_a_bad_parameter_file_is_a_refusal_with_the_repair(frame: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("/**:\n  ros__parameters:\n    lift: {gapp: 1}\n")
    done = ended("resolve", "the cup", *files_of(frame), "--config", bad, code=3)
    assert "one of: near" in done.output or "one of: erode_px" in done.output


@pytest.mark.parametrize("command", [[], ["parse"], ["resolve"], ["evaluate"], ["doctor"]])
def test_help_shows_examples(command: list[str]) -> None:
    done = ended(*command, "--help", says="Example")
    assert "spatial-vlm" in done.output


@pytest.mark.parametrize("name", ["query", "resolution"])
def test_the_printed_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(run("schema", name).output))


def test_adapt_without_data_or_torch_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it needs no model; the rest is in test/vlm/adaptation."""
    asked = ("adapt", tmp_path, "--out", tmp_path / "out", "--method", "lora")
    ended(*asked, code=2, says="no training data")
    monkeypatch.setitem(sys.modules, "torch", None)
    ended(*asked, "--rendered", 3, code=1, says="pip install torch transformers safetensors pillow jinja2 peft mujoco")
    assert not (tmp_path / "out.adapting").exists()
    shown = run("adapt", "--help").output
    assert all(name in shown for name in ("projector", "lora", "pin", "cloc", "calibration.json", "OUT.adapting"))


def compact_on(folder: Path, *more: str) -> Result:
    pytest.importorskip("onnxruntime")
    return run("resolve", WORDS, *images_of(folder), "--grounder", "compact", *more)


@pytest.fixture
def marked(frame: Path, tmp_path: Path) -> Path:
    return shutil.copytree(frame, tmp_path / "f1")


def mark(folder: Path, **domain: str) -> Path:
    """The folder, its camera information with another marker or none."""
    info = json.loads((folder / "camera_info.json").read_text())
    info.pop("domain", None)
    (folder / "camera_info.json").write_text(json.dumps({**info, **domain}))
    return folder


def test_a_simulated_model_needs_someone_who_vouches_for_the_images(marked: Path) -> None:
    done = compact_on(mark(marked), "--json")
    made = json.loads(done.output)
    assert (done.exit_code, made["status"], made["model_domain"]) == (3, "MODEL_ERROR", "simulated")
    assert "--image-domain simulated" in made["message"]
    assert compact_on(marked, "--image-domain", "real").exit_code == 3
    for more in (("--image-domain", "simulated"), ("--any-domain",)):
        made = json.loads(compact_on(marked, *more, "--json").output)
        assert made["status"] != "MODEL_ERROR", made["message"]
        assert made["model_domain"] == "simulated"


def test_a_marker_vouches_for_the_images_and_people_read_the_domain(marked: Path) -> None:
    done = compact_on(mark(marked, domain="simulated"))
    assert "MODEL_ERROR" not in done.output
    assert "trained only on simulated images" in done.output
    assert compact_on(mark(marked, domain="real"), "--image-domain", "simulated").exit_code == 3  # files know better
    assert "domain" in compact_on(mark(marked, domain="rendered")).output


@pytest.mark.parametrize("more", [("--image-domain", "simulated"), ("--any-domain",)])
def test_the_options_of_the_domain_are_of_a_grounder(recordings: Path, frame: Path, more: tuple[str, ...]) -> None:
    assert run("resolve", "the cup", *files_of(frame), *more).exit_code == 2
    assert run("resolve", "--frames", recordings, *more).exit_code == 2
    assert run("replay", "bag", "the cup", *more).exit_code == 2


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings a command which works, some which do not, and one with a name of ours."""
    (tmp_path / "someones.py").write_text(
        "import click\n\n@click.command()\n@click.argument('word')\ndef shout(word):\n"
        "    '''Say a word loudly.'''\n    click.echo(word.upper())\n\nnumber = 7\n"
    )
    (tmp_path / "someones_exit.py").write_text("raise SystemExit(9)\n")
    info = tmp_path / "someones_commands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-commands\nVersion: 1.0\n")
    brought = {
        "shout": "someones:shout",
        "broken": "no_such_module:command",
        "number": "someones:number",
        "leaves": "someones_exit:command",
        "parse": "someones:shout",
        "replay": "someones:shout",
    }
    entries = "".join(f"{name} = {place}\n" for name, place in brought.items())
    (info / "entry_points.txt").write_text(f"[spatial_vlm_ros.commands]\n{entries}")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plug_ins")
def test_a_command_of_another_package_is_shown_and_runs() -> None:
    shown = ended("--help")
    assert re.search(r"^  shout +Say a word loudly\.$", shown.output, re.MULTILINE)
    done = run("shout", "mug")
    assert (done.exit_code, done.output) == (0, "MUG\n")


@pytest.mark.usefixtures("plug_ins")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("number", "TypeError: someones:number is of type int, not click.Command"),
        ("leaves", "SystemExit: 9"),
    ],
)
def test_a_broken_command_is_named_with_its_error_and_the_others_go_on(name: str, reason: str) -> None:
    shown = ended("--help", says=f"(of someones-commands; cannot be loaded: {reason})")
    assert "Show how an INSTRUCTION is understood" in shown.output
    for words in ([name], [name, "--help"], [name, "--rate", "7", "word"]):
        done = ended(*words, code=1, says=f"command '{name}' of someones-commands cannot be loaded: {reason}.")
        assert "uninstall someones-commands" in done.output
    assert run("parse", "the mug").exit_code == 0


@pytest.mark.usefixtures("plug_ins")
def test_a_command_of_another_package_does_not_take_a_name_of_ours() -> None:
    assert "MUG" not in run("parse", "mug").output
    assert "BAG" in run("replay", "--help").output
    assert run("--help").output.count("\n  parse ") == 1


POSE = Pose("base_link", (0.1, 0.25, 0.3), (0.0, 0.0, 0.0, 1.0))
MUGS = tuple(
    Target(id_, "mug", POSE, (0.1, 0.2, 0.3), (0.08, 0.07, 0.1), (1e-6,) * 36, False, GraspHint(None, 0.07))
    for id_ in ("d0", "d1\x1b[2J")
)
ONE = Resolution("w", Status.OK, "it", target=MUGS[0])


def test_all_targets_and_places_are_printed_and_one_of_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    places = (Place(POSE, "d2", "d3", 0.021, 0.05, 0.013, 0.97), Place(POSE, "support", probability=0.9))
    terminal.resolution(dataclasses.replace(ONE, targets=MUGS, place=places[0], places=places))
    printed = capsys.readouterr().out
    for words in ("d0 mug", "d1?[2J mug", "place 1", "on d3", "margin +0.021 m", "0.013 m from the rim", "place 2",
                  "on support", "p = 0.90"):  # fmt: skip
        assert words in printed
    assert printed.count("(0.100, 0.250, 0.300) m in base_link") == 4
    terminal.resolution(dataclasses.replace(ONE, place=Place(POSE, "support")))
    printed = capsys.readouterr().out
    assert printed.count("m in base_link") == 2
    assert "d0 mug" not in printed


def test_an_answer_that_a_model_chose_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.resolution(ONE)
    assert "source" not in capsys.readouterr().out
    terminal.resolution(dataclasses.replace(ONE, source="model"))
    assert "source    a model; a person must agree" in capsys.readouterr().out
    assert told_source(ONE) == ""
    assert CHOSEN_BY_MODEL in told_source(dataclasses.replace(ONE, source="model"))
    assert told_source(Resolution("the cup", Status.AMBIGUOUS, "two", source="model")) == ""


def test_everything_that_a_reading_says_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shelf = NounPhrase("shelf", superlative="highest", frame=FrameOfReference.OBJECT)
    behind = RelationClause("behind", (shelf,), FrameOfReference.SPEAKER, True, Distance(0.2, "at least"))
    there = Destination("left of", (shelf,), FrameOfReference.WORLD, Distance(0.1))
    mug = NounPhrase("mug", ("red",), 2, None, Ordinal(3, "left"), (behind,), choice="any")
    steps = Step("open", shelf, act="open"), Step("place", mug, there, "place")
    terminal.reading(SpatialQuery("w", "place", mug, there, steps=steps))
    printed = capsys.readouterr().out
    for words in (
        "any 2 number 3 from the left red mug", "not behind  [at least 0.2 m]  [speaker frame]",
        "highest shelf  [object frame]", "to: left of  [about 0.1 m]  [world frame]", "step 1: open", "step 2: place",
    ):  # fmt: skip
        assert words in printed
