# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: output, JSON lines, exit codes, images, repairs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from spatial_vlm_ros.cli.group import FRAMES_OF_REFERENCE, told_source
from spatial_vlm_ros.cli.main import main
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

CASES = (
    {
        "frame": "f1",
        "instruction": "the chick behind the cup",
        "expect": {"status": "OK", "id": "bonnet"},
        "kind": ["behind"],
    },
    {"frame": "f1", "instruction": "the duck", "expect": {"status": "NOT_FOUND"}, "kind": ["negative"]},
    {"frame": "f1", "instruction": "the chick", "expect": {"status": "AMBIGUOUS"}, "kind": ["negative"]},
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames with one frame and three cases, as the layout says."""
    root = tmp_path_factory.mktemp("recordings")
    frame, detections = chicks_and_cup_frame()
    folder = root / "f1"
    (folder / "masks").mkdir(parents=True)
    cv2.imwrite(str(folder / "rgb.png"), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    millimetres = np.nan_to_num(frame.depth * 1000).round().astype(np.uint16)
    cv2.imwrite(str(folder / "depth.png"), millimetres)
    camera = {
        "width": 640,
        "height": 480,
        "k": frame.camera.K.reshape(-1).tolist(),
        "d": [],
        "frame_id": frame.frame_id,
    }
    (folder / "camera_info.json").write_text(json.dumps(camera))
    assert frame.base_T_camera is not None
    pose = {"parent": "world", "child": frame.frame_id, "matrix": frame.base_T_camera.matrix.tolist()}
    (folder / "base_T_camera.json").write_text(json.dumps(pose))
    listed = []
    for d in detections:
        assert d.mask is not None
        cv2.imwrite(str(folder / "masks" / f"{d.id}.png"), d.mask.astype(np.uint8) * 255)
        listed.append(
            {"id": d.id, "label": d.label, "score": 1.0, "box": list(d.box_xyxy), "attributes": list(d.attributes),
             "mask": f"masks/{d.id}.png"}
        )  # fmt: skip
    (folder / "detections.json").write_text(json.dumps({"detections": listed}))
    (root / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    return root


def run(*arguments: str | Path, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=text)


def files_of(folder: Path) -> list[str | Path]:
    return [
        *("--rgb", folder / "rgb.png", "--depth", folder / "depth.png", "--camera-info", folder / "camera_info.json"),
        *("--detections", folder / "detections.json", "--base-t-camera", folder / "base_T_camera.json"),
    ]


def test_parse_prints_one_object_for_every_line_blank_ones_included() -> None:
    lines = ["the red mug", "", "grab the can behind the cup", "blarg the of", "  ", "la taza roja"]
    done = run("parse", "--json", text="\n".join(lines) + "\n")
    assert done.exit_code == 0
    objects = [json.loads(line) for line in done.output.splitlines()]
    assert [made["instruction"] for made in objects] == lines
    assert ["error" in made for made in objects] == [False, True, False, True, True, True]
    for made in objects:
        if "error" in made:
            assert made["error"]["code"] == "NOT_UNDERSTOOD"
            start, end = made["error"]["span"]
            assert 0 <= start <= end <= len(made["instruction"])
        else:
            jsonschema.validate(made, json_schema("query"))


def test_parse_survives_bytes_that_are_no_text() -> None:
    done = run("parse", "--json", text=b"the \xff\xfe mug\nthe cup\n\x00\x07\n")
    assert done.exit_code == 0
    codes = [json.loads(line).get("error", {}).get("code") for line in done.output.splitlines()]
    assert codes == ["NOT_UNDERSTOOD", None, "INVALID_INPUT"]


def test_parse_refuses_a_line_without_end() -> None:
    done = run("parse", text="the mug\n" + "a" * ((1 << 20) + 1))
    assert done.exit_code == 3
    assert "a line has more than 1048576 bytes" in done.output
    assert "Traceback" not in done.output


def test_parse_of_one_instruction_answers_or_exits_with_3() -> None:
    assert run("parse", "the mug left of the box").exit_code == 0
    refused = run("parse", "der die das")
    assert refused.exit_code == 3
    assert "NOT_UNDERSTOOD" in refused.output


def test_every_reading_can_be_shown() -> None:
    done = run("parse", "--all-readings", "--json", "the mug left of the bowl behind the box")
    assert len(done.output.splitlines()) == 2


def test_resolve_answers_with_a_pose_in_the_base_and_draws_it(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "answer.png"
    done = run("resolve", "the chick behind the cup", *files_of(recordings / "f1"), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.output)
    jsonschema.validate(made, json_schema("resolution"))
    assert made["target"]["id"] == "bonnet"
    assert made["target"]["pose"]["frame_id"] == "world"
    assert made["target"]["pose"]["position"] == pytest.approx([0.22, -0.03, 0.035], abs=0.015)
    assert cv2.imread(str(out)).shape[1] > 640  # the camera image, and the view from above beside it


def test_resolve_writes_a_scene_in_three_dimensions(recordings: Path, tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d")
    out = tmp_path / "new" / "scene.ply"
    done = run("resolve", "the chick behind the cup", *files_of(recordings / "f1"), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert len(open3d.io.read_triangle_mesh(str(out)).triangles) > 10_000


def test_a_window_without_a_display_fails_and_says_what_to_do(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = run("resolve", "the chick behind the cup", *files_of(recordings / "f1"), "--view", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["target"]["id"] == "bonnet"
    assert "--out scene.ply" in done.stderr
    assert run("resolve", "--frames", recordings, "--view").exit_code == 2


def test_resolve_prints_for_people_what_they_need(recordings: Path) -> None:
    done = run("resolve", "the chick behind the cup", *files_of(recordings / "f1"))
    for words in ("OK", "position", "world", "frame of reference: viewer", "behind", "holds", "m"):
        assert words in done.output


def test_a_refusal_exits_with_3_and_asks(recordings: Path) -> None:
    done = run("resolve", "the chick", *files_of(recordings / "f1"))
    assert done.exit_code == 3
    assert "AMBIGUOUS" in done.output
    assert "Which chick: the bonnet one or the ribbon one?" in done.output


def test_the_robots_view_can_be_asked_for_or_configured(recordings: Path, tmp_path: Path) -> None:
    asked = run(
        "resolve", "the chick behind the cup", *files_of(recordings / "f1"), "--json", "--frame-of-reference", "robot"
    )
    assert json.loads(asked.output)["frame_of_reference"] == "robot"
    parameters = tmp_path / "p.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    frame_of_reference: robot\n")
    configured = run(
        "resolve", "the chick behind the cup", *files_of(recordings / "f1"), "--json", "--config", parameters
    )
    assert json.loads(configured.output)["frame_of_reference"] == "robot"


@pytest.mark.parametrize("name", [frame.value for frame in FrameOfReference])
def test_every_frame_of_reference_can_be_asked_for(recordings: Path, name: str) -> None:
    assert set(FRAMES_OF_REFERENCE) == {frame.value for frame in FrameOfReference}
    done = run("resolve", "the cup", *files_of(recordings / "f1"), "--json", "--frame-of-reference", name)
    assert done.exit_code in (0, 3), done.output
    jsonschema.validate(json.loads(done.output), json_schema("resolution"))


def test_the_place_of_the_speaker_is_read_from_its_file(recordings: Path, tmp_path: Path) -> None:
    frame, _ = chicks_and_cup_frame()
    place = tmp_path / "speaker.json"
    place.write_text(json.dumps({"parent": frame.frame_id, "child": "person", "matrix": np.eye(4).tolist()}))
    known = run("resolve", "the cup", *files_of(recordings / "f1"), "--json", "--camera-t-speaker", place)
    assert json.loads(known.output)["status"] == "OK"
    place.write_text(json.dumps({"parent": "wrist", "child": "person", "matrix": np.eye(4).tolist()}))
    wrong = run("resolve", "the cup", *files_of(recordings / "f1"), "--json", "--camera-t-speaker", place)
    assert wrong.exit_code == 3
    assert "wrist" in json.loads(wrong.output)["message"]


# ------------------------------------------------------------------------------------------------ for people


POSE = Pose("base_link", (0.1, 0.25, 0.3), (0.0, 0.0, 0.0, 1.0))
MUGS = tuple(
    Target(id_, "mug", POSE, (0.1, 0.2, 0.3), (0.08, 0.07, 0.1), (1e-6,) * 36, False, GraspHint(None, 0.07))
    for id_ in ("d0", "d1\x1b[2J")
)


def test_a_parameter_file_lets_a_model_be_asked(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "perception"))
    parameters = tmp_path / "p.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    language: {free_form: ask_model}\n")
    files = [word for word in files_of(recordings / "f1") if "detections" not in str(word)]
    words = ("resolve", "grab what my niece would cuddle", *files, "--grounder", "referring_models:chicks", "--json")
    asked = run(*words, "--config", parameters)
    assert (asked.exit_code, json.loads(asked.stdout)["source"]) == (0, "model"), asked.output
    refused = run(*words)
    assert (refused.exit_code, json.loads(refused.stdout)["status"]) == (3, "NOT_UNDERSTOOD")


def test_all_targets_and_places_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    places = (Place(POSE, "d2", "d3", 0.021, 0.05, 0.013, 0.97), Place(POSE, "support", probability=0.9))
    terminal.resolution(
        Resolution("w", Status.OK, "both", target=MUGS[0], targets=MUGS, place=places[0], places=places)
    )
    printed = capsys.readouterr().out
    for words in ("d0 mug", "d1?[2J mug", "place 1", "on d3", "margin +0.021 m", "0.013 m from the rim", "place 2",
                  "on support", "p = 0.90"):  # fmt: skip
        assert words in printed
    assert printed.count("(0.100, 0.250, 0.300) m in base_link") == 4


def test_an_answer_that_a_model_chose_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.resolution(Resolution("w", Status.OK, "it", target=MUGS[0]))
    assert "source" not in capsys.readouterr().out
    terminal.resolution(Resolution("w", Status.OK, "it", target=MUGS[0], source="model"))
    assert "source    a model; a person must agree" in capsys.readouterr().out


def test_one_target_and_one_place_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.resolution(Resolution("w", Status.OK, "it", target=MUGS[0], place=Place(POSE, "support")))
    printed = capsys.readouterr().out
    assert printed.count("m in base_link") == 2
    assert "d0 mug" not in printed


def test_everything_that_a_reading_says_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shelf = NounPhrase("shelf", superlative="highest", frame=FrameOfReference.OBJECT)
    behind = RelationClause("behind", (shelf,), FrameOfReference.SPEAKER, True, Distance(0.2, "at least"))
    there = Destination("left of", (shelf,), FrameOfReference.WORLD, Distance(0.1))
    mug = NounPhrase("mug", ("red",), 2, None, Ordinal(3, "left"), (behind,), choice="any")
    terminal.reading(SpatialQuery("w", "place", mug, there, steps=(Step("open", shelf), Step("place", mug, there))))
    printed = capsys.readouterr().out
    for words in (
        "any 2 number 3 from the left red mug", "not behind  [at least 0.2 m]  [speaker frame]",
        "highest shelf  [object frame]", "to: left of  [about 0.1 m]  [world frame]", "step 1: open", "step 2: place",
    ):  # fmt: skip
        assert words in printed


def test_a_line_of_several_says_that_a_model_chose() -> None:
    pose = Pose("base", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    hint = GraspHint(0.2, 0.07)
    target = Target("pointed-at", "object", pose, (0.1, 0.1, 0.1), (0.1, 0.1, 0.1), (0.0,) * 36, True, hint)
    measured = Resolution("the cup", Status.OK, "it", target=target)
    assert told_source(measured) == ""
    assert CHOSEN_BY_MODEL in told_source(dataclasses.replace(measured, source="model"))
    assert told_source(Resolution("the cup", Status.AMBIGUOUS, "two", source="model")) == ""


def test_frames_give_one_object_a_case_and_exit_0(recordings: Path, tmp_path: Path) -> None:
    done = run("resolve", "--frames", recordings, "--json", "--out", tmp_path / "pictures")
    assert done.exit_code == 0
    made = [json.loads(line) for line in done.output.splitlines()]
    assert [(m["frame"], m["instruction"], m["status"]) for m in made] == [
        ("f1", case["instruction"], case["expect"]["status"]) for case in CASES
    ]
    assert len(list((tmp_path / "pictures").glob("f1_*.png"))) == 3


def test_a_damaged_frame_is_a_refusal_for_its_cases_and_the_others_go_on(recordings: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    shutil.copytree(copy / "f1", copy / "f0")
    data = (copy / "f0" / "rgb.png").read_bytes()
    (copy / "f0" / "rgb.png").write_bytes(data[: len(data) // 2])
    lines = json.dumps({"frame": "f0", "instruction": "the cup"}) + "\n" + json.dumps(CASES[0]) + "\n"
    (copy / "cases.jsonl").write_text(lines)
    done = run("resolve", "--frames", copy, "--json")
    assert done.exit_code == 0
    first, second = (json.loads(line) for line in done.output.splitlines())
    assert (first["frame"], first["status"], first["target"]) == ("f0", "INVALID_INPUT", None)
    assert "rgb.png" in first["message"]
    assert second["status"] == "OK"
    refused, reason, answered = run("resolve", "--frames", copy).output.splitlines()
    assert refused.startswith("f0  INVALID_INPUT")
    assert "Copy or record the file again" in reason
    assert answered.startswith("f1  OK")


def test_a_folder_without_a_case_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n")
    done = run("resolve", "--frames", tmp_path, "--out", tmp_path / "images")
    assert done.exit_code == 3
    assert "it contains no case" in done.output
    assert not (tmp_path / "images").exists()


def test_a_name_of_a_million_characters_does_not_fill_the_terminal(recordings: Path, tmp_path: Path) -> None:
    info = json.loads((recordings / "f1" / "camera_info.json").read_text())
    long = tmp_path / "camera_info.json"
    long.write_text(json.dumps({**info, "frame_id": "x" * 1_000_000}))
    given = ["--rgb", recordings / "f1" / "rgb.png", "--depth", recordings / "f1" / "depth.png", "--camera-info", long]
    pose = tmp_path / "pose.json"
    pose.write_text(json.dumps({"parent": "base", "child": "camera", "matrix": np.eye(4).tolist()}))
    done = run(
        "resolve", "the cup", *given, "--detections", recordings / "f1" / "detections.json", "--base-t-camera", pose
    )
    assert done.exit_code == 3
    assert len(done.output) < 5_000
    assert "characters)" in done.output


def test_evaluate_scores_and_compares_with_a_baseline(recordings: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    done = run("evaluate", "--frames", recordings, "--out", scores, "--json")
    assert done.exit_code == 0
    assert json.loads(done.output)["as_expected"] == {"k": 3, "n": 3, "share": 1.0, "low": 0.438503, "high": 1.0}
    assert run("evaluate", "--frames", recordings, "--baseline", scores).exit_code == 0
    worse = tmp_path / "lame.yaml"
    worse.write_text("/**:\n  ros__parameters:\n    decision: {mass: 1.0}\n")
    assert run("evaluate", "--frames", recordings, "--config", worse, "--baseline", scores).exit_code == 3
    people = run("evaluate", "--frames", recordings).output
    assert "as expected" in people
    assert "expected AMBIGUOUS: 1 AMBIGUOUS" in people


def test_doctor_examines_a_frame(recordings: Path, tmp_path: Path) -> None:
    done = run("doctor", "--frame", recordings / "f1")
    assert done.exit_code == 0
    assert "support plane" in done.output
    made = json.loads(run("doctor", "--frame", recordings / "f1", "--json").output)
    assert {finding["level"] for finding in made["findings"]} <= {"ok", "warning"}
    broken = run("doctor", "--frame", tmp_path)
    assert broken.exit_code == 3
    assert "camera_info.json" in broken.output


@pytest.mark.parametrize("name", ["query", "resolution"])
def test_the_printed_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(run("schema", name).output))


FILES = ("--rgb", "a", "--depth", "b", "--camera-info", "c")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["resolve"], 2, "INSTRUCTION"),
        (["resolve", "the cup", "--rgb", "a.png"], 2, "--depth, --camera-info"),
        (["resolve", "the cup", *FILES], 2, "either --detections or --grounder"),
        (["resolve", "the cup", *FILES, "--grounder", "x"], 3, "grounder 'x'"),
        (["resolve", "the cup", *FILES, "--grounder", "server", "--grounder-options", "model"], 3, "name=value"),
        (
            ["resolve", "the cup", *FILES, "--detections", "d", "--grounder-options", "model=m"],
            2,
            "needs --grounder",
        ),
        (["resolve", "the cup", *FILES, "--detections", "d"], 3, "INVALID_INPUT"),
        (["resolve", "--frames", "nowhere"], 3, "cases.jsonl"),
        (["resolve", "the cup", "--frames", "nowhere"], 2, "omit INSTRUCTION"),
        (["evaluate", "--frames", "nowhere"], 1, "cases.jsonl"),
        (["nonsense"], 2, "No such command"),
        (["resolve", "the cup", "--frame-of-reference", "moon"], 2, "viewer"),
    ],
)
def test_wrong_calls_say_what_to_do(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert words in done.output


def test_a_bad_parameter_file_or_image_name_is_a_refusal_with_the_repair(recordings: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("/**:\n  ros__parameters:\n    lift: {gapp: 1}\n")
    done = run("resolve", "the cup", *files_of(recordings / "f1"), "--config", bad)
    assert done.exit_code == 3
    assert "one of: near" in done.output or "one of: erode_px" in done.output
    image = run("resolve", "the cup", *files_of(recordings / "f1"), "--out", tmp_path / "a.gif")
    assert image.exit_code == 2
    assert ".png, .jpg" in image.output


@pytest.mark.parametrize("command", [[], ["parse"], ["resolve"], ["evaluate"], ["doctor"]])
def test_help_shows_examples(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.exit_code == 0
    assert "Example" in done.output
    assert "spatial-vlm" in done.output


def test_the_installed_program_runs_as_a_process(recordings: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.cli", "resolve", "--frames", str(recordings), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""


def test_a_question_about_space_is_answered_without_a_target(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "answer.png"
    words = "how far is the cup from the bonnet chick?"
    done = run("resolve", words, *files_of(recordings / "f1"), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.output)
    jsonschema.validate(made, json_schema("resolution"))
    assert (made["status"], made["code"], made["target"]) == ("ANSWERED", 1, None)
    low, high = made["answer"]["interval"]
    assert 0 < low < made["answer"]["value"] < high
    assert made["query"]["question"]["kind"] == "distance"
    assert out.is_file()
    shown = run("resolve", words, *files_of(recordings / "f1"))
    assert shown.exit_code == 0
    for said in ("ANSWERED", "distance", "95 % within", "subject", "compared"):
        assert said in shown.output
    refused = run("resolve", "is the chick behind the cup?", *files_of(recordings / "f1"))
    assert refused.exit_code == 3
    assert "Which chick" in refused.output


def test_evaluate_judges_answers(recordings: Path, tmp_path: Path) -> None:
    cases = [
        ({"status": "ANSWERED", "answer": {"value": "yes"}}, "is the bonnet chick behind the cup?", True),
        ({"status": "ANSWERED", "answer": {"value": "no"}}, "is the bonnet chick behind the cup?", False),
        (
            {"status": "ANSWERED", "answer": {"value": 2, "ids": ["bonnet", "ribbon"]}},
            "how many chicks are there?",
            True,
        ),
        ({"status": "ANSWERED", "answer": {"value": 9.0, "tolerance": 0.01}}, "how far is the cup from you?", False),
        ({"status": "OK", "id": "bonnet"}, "where is the chick behind the cup?", True),
    ]
    folder = tmp_path / "asked"
    shutil.copytree(recordings / "f1", folder / "f1")
    lines = [json.dumps({"frame": "f1", "instruction": words, "expect": expect}) for expect, words, _ in cases]
    (folder / "cases.jsonl").write_text("\n".join(lines) + "\n")
    done = run("evaluate", "--frames", folder, "--out", tmp_path / "scores.json", "--json")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.output)
    assert (scores["as_expected"]["k"], scores["as_expected"]["n"]) == (sum(right for _, _, right in cases), len(cases))
    missed = {miss["instruction"] for miss in scores["misses"]}
    assert missed == {words for _, words, right in cases if not right}
    again = run("evaluate", "--frames", folder, "--baseline", tmp_path / "scores.json", "--json")
    assert again.exit_code == 0, again.output
    assert not json.loads(again.output)["comparison"]["lost"]


# ------------------------------------------------------------------------------------------------ domain


def compact_on(folder: Path, *more: str) -> Result:
    pytest.importorskip("onnxruntime")
    images = [word for word in files_of(folder) if word not in ("--detections", folder / "detections.json")]
    return run("resolve", "the chick behind the cup", *images, "--grounder", "compact", *more)


def test_a_simulated_model_is_refused_on_files_that_nobody_vouches_for(recordings: Path) -> None:
    done = compact_on(recordings / "f1", "--json")
    made = json.loads(done.output)
    assert (done.exit_code, made["status"], made["model_domain"]) == (3, "MODEL_ERROR", "simulated")
    assert "--image-domain simulated" in made["message"]
    assert compact_on(recordings / "f1", "--image-domain", "real").exit_code == 3


@pytest.mark.parametrize("more", [("--image-domain", "simulated"), ("--any-domain",)])
def test_an_option_vouches_for_the_images(recordings: Path, more: tuple[str, ...]) -> None:
    made = json.loads(compact_on(recordings / "f1", *more, "--json").output)
    assert made["status"] != "MODEL_ERROR", made["message"]
    assert made["model_domain"] == "simulated"


def test_a_marker_vouches_for_the_images_and_people_read_the_domain(recordings: Path, tmp_path: Path) -> None:
    shutil.copytree(recordings / "f1", tmp_path / "f1")
    path = tmp_path / "f1" / "camera_info.json"
    marked = {**json.loads(path.read_text()), "domain": "simulated"}
    path.write_text(json.dumps(marked))
    done = compact_on(tmp_path / "f1")
    assert "MODEL_ERROR" not in done.output
    assert "trained only on simulated images" in done.output
    path.write_text(json.dumps({**marked, "domain": "real"}))
    assert compact_on(tmp_path / "f1", "--image-domain", "simulated").exit_code == 3  # the files know better
    path.write_text(json.dumps({**marked, "domain": "rendered"}))
    assert "domain" in compact_on(tmp_path / "f1").output


@pytest.mark.parametrize("more", [("--image-domain", "simulated"), ("--any-domain",)])
def test_the_options_of_the_domain_are_of_a_grounder(recordings: Path, more: tuple[str, ...]) -> None:
    assert run("resolve", "the cup", *files_of(recordings / "f1"), *more).exit_code == 2
    assert run("resolve", "--frames", recordings, *more).exit_code == 2
    assert run("replay", "bag", "the cup", *more).exit_code == 2
