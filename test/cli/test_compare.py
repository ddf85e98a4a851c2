# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm compare` as a user meets it: table, JSON, image, exit codes, repairs."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cli_runs
import cv2
import jsonschema
import pytest
from cli_runs import WORDS
from tables import tables

from spatial_vlm_ros.output.json_schema import json_schema
from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

TABLES = tables(__file__)

HIGHER = "higher=compared_backends:HigherIsFarther"
JUDGE = ("--judge", HIGHER)


run, ended = partial(cli_runs.run, "compare"), partial(cli_runs.ended, "compare")


def told(*arguments: object) -> dict[str, Any]:
    made = cli_runs.told("compare", *arguments)
    jsonschema.validate(made, json_schema("comparison"))
    return made


def test_the_table_has_a_row_for_the_measurement_and_for_a_judge(frame: Path) -> None:
    done = ended(frame, WORDS, "--judge", HIGHER)
    lines = [line for line in done.stdout.splitlines() if "(as measured)" in line]
    assert [line.split("  ")[0] for line in lines] == ["higher alone"]
    assert all("right" in line for line in lines)
    assert "chick bonnet behind cup?" in done.stdout
    assert "chick bonnet  1." in done.stdout
    assert "loading higher" in done.stderr
    ended(frame, WORDS, code=2, says="Missing option '--judge'")


def test_json_has_every_row_with_remedies_and_fused(frame: Path, tmp_path: Path) -> None:
    known = {"slope": 1.0, "error": 0.05, "offset": 0.0, "n": 400, "positive": 200}
    file = tmp_path / "judge.json"
    file.write_text(json.dumps({"schema": 1, "model": "m", "relations": {"behind": known}}))
    made = told(frame, WORDS, "--judge", HIGHER, "--judge", "compared_backends:TakesTheFirst", "--remedy", "sure=0.7",
                "--calibration", f"higher={file}")  # fmt: skip
    assert [(row["by"], row["name"], row["options"]) for row in made["rows"]] == [
        ("measurement", "measurement", ""), ("model", "higher", ""), ("fused", "higher", ""),
        ("remedy", "higher", "sure=0.7"), ("model", "compared_backends:TakesTheFirst", ""),
        ("remedy", "compared_backends:TakesTheFirst", "sure=0.7"),
    ]  # fmt: skip
    assert (made["frame"], made["instruction"], made["expected_ids"]) == ("f1", WORDS, ["bonnet"])
    assert {(one["target_id"], one["anchor_id"]) for one in made["relations"]} == {("bonnet", "cup"), ("ribbon", "cup")}
    assert [row["right"] for row in made["rows"]] == [True, True, True, True, None, None]
    assert made["rows"][5]["failed"]


def test_detections_may_come_from_a_file_or_a_grounder(frame: Path, tmp_path: Path) -> None:
    listed = json.loads((frame / "detections.json").read_text())["detections"]
    swapped = {"bonnet": "ribbon", "ribbon": "bonnet"}
    other = [{**one, "id": swapped.get(one["id"], one["id"]), "mask": None} for one in listed]
    file = tmp_path / "detections.json"
    file.write_text(json.dumps({"detections": other}))
    assert told(frame, WORDS, "--judge", HIGHER, "--detections", file)["rows"][0]["chosen_id"] == "ribbon"
    grounder = ("--grounder", "compared_backends:Finds")
    assert told(frame, WORDS, "--judge", HIGHER, *grounder)["rows"][0]["chosen_id"] == "bonnet"


def test_a_frame_may_be_given_as_files(frame: Path) -> None:
    files = ("--rgb", frame / "rgb.png", "--depth", frame / "depth.png", "--camera-info", frame / "camera_info.json")
    made = told(WORDS, "--judge", HIGHER, *files, "--detections", frame / "detections.json")
    assert (made["frame"], made["expected_ids"], made["rows"][0]["chosen_id"]) == ("", None, "bonnet")
    assert all(row["right"] is None for row in made["rows"])
    assert "either --detections or --grounder" in run(WORDS, *JUDGE, *files).output
    assert "FRAME contains its own files; omit --rgb" in run(frame, WORDS, *JUDGE, *files).output
    assert "missing --rgb" in run(WORDS, *JUDGE).output
    assert "give WORDS after FRAME" in run(frame, *JUDGE).output
    assert "WORDS in quotes" in run(frame, "the", "chick", *JUDGE).output


def test_an_image_is_written_also_of_words_without_a_relation(frame: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "new" / "compared.png", tmp_path / "compared.png"
    assert run(frame, WORDS, "--judge", HIGHER, "--image", out).exit_code == 0
    assert cv2.imread(str(out)).shape[1] == 1200
    ended(frame, "the cup", *JUDGE, "--image", again, code=3, says="has no relation that a model can judge")
    assert again.is_file()


@pytest.mark.parametrize(("arguments", "code", "said"), TABLES["wrong calls"])
def test_what_is_wrong_is_told_with_its_repair(frame: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended(frame, WORDS, *arguments, code=code, says=said)


def test_a_folder_that_is_no_frame_or_has_no_detections_is_refused(frame: Path, tmp_path: Path) -> None:
    assert run(tmp_path, WORDS, *JUDGE).exit_code == 3
    seen, _ = chicks_and_cup_frame()
    bare = write_frame(tmp_path / "bare", seen)
    (bare / "detections.json").unlink()
    ended(bare, WORDS, *JUDGE, code=3, says="--grounder NAME")
    assert run(frame, "the chick frobs the cup", *JUDGE).exit_code == 3
