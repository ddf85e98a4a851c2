# SPDX-License-Identifier: Apache-2.0
"""The command asks a model that writes points or choices in its own way; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from published_layouts import image_cell, left_half, png, write_parquet

from spatial_vlm_ros.cli.main import main

SQUARE = "[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]"


def asked(name: str, folder: Path, words: str, convention: str = "thousand") -> dict[str, float]:
    """Name of a published score → its value, of a model that always replies the same words."""
    return {score["name"]: score["value"] for score in row_of(name, folder, words, convention)["scores"]}


def row_of(name: str, folder: Path, words: str, convention: str = "thousand") -> dict[str, Any]:
    """What the report says of such a model."""
    reply = folder / "reply.txt"
    reply.write_text(words)
    model = f"replying_backend:SaysAlways words={reply} convention={convention}"
    done = CliRunner().invoke(main, ["benchmark", name, "--data", str(folder), "--model", model, "--json"])
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    (row,) = report["models"]
    return dict(row)


@pytest.fixture
def refspatial(tmp_path: Path) -> Path:
    """One question; the left half of the image is right."""
    for name, data in (("image", png(40, 30)), ("mask", left_half(40, 30))):
        (tmp_path / "Location" / name).mkdir(parents=True)
        (tmp_path / "Location" / name / "0.png").write_bytes(data)
    entry = {"id": 0, "object": "mug", "prompt": "Point.", "suffix": "", "step": 1, "rgb_path": "image/0.png",
             "mask_path": "mask/0.png"}  # fmt: skip
    (tmp_path / "Location" / "question.json").write_text(json.dumps([entry]))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "convention", "score"),
    [
        ("[(0.25, 0.5), (0.75, 0.5)]", "thousand", 0.5),
        ("[(0.25, 0.5), (0.75, 0.5)]", "fraction", 0.5),
        ('[{"point_2d":[250,500]}]', "thousand", 1.0),
        ('[{"point_2d":[10,15]}]', "absolute", 1.0),
        ('[{"point_2d":[30,15]}]', "absolute", 0.0),
        ('<point x="25.0" y="50.0">mug</point>', "percent", 1.0),
        ('<points x1="25.0" y1="50.0" x2="75.0" y2="50.0">mug</points>', "percent", 0.5),
        ('```json\n[{"point": [500, 250], "label": "mug"}]\n```', "thousand-yx", 1.0),
        ("There is none.", "fraction", 0.0),
    ],
)
def test_points_in_the_notations_of_models(words: str, convention: str, score: float, refspatial: Path) -> None:
    assert asked("refspatial", refspatial, words, convention) == {"Location": score}


@pytest.mark.parametrize("reply", ["A", '[{"bbox_2d": [30, 5, 60, 20]}]'])
def test_a_reply_to_refer_that_cannot_be_read_counts_0(reply: str, refspatial: Path, tmp_path: Path) -> None:
    """It is no failure of the model, which would leave it out of the mean; a run that goes on says the same."""
    out, words = tmp_path / "out.json", tmp_path / "reply.txt"
    words.write_text(reply)
    model = f"replying_backend:PointsBy words={words} convention=absolute"
    common = ["benchmark", "refspatial", "--data", str(refspatial), "--model", model, "--out", str(out)]
    done = CliRunner().invoke(main, common)
    assert done.exit_code == 0, done.output
    assert "1 of 1 replies could not be read and count as 0; the first, Location/0" in " ".join(done.output.split())
    first = out.read_bytes()
    (row,) = json.loads(first)["models"]
    assert (row["asked_by"], row["n"], row["without_answer"], row["failed"]) == (["refer"], 1, 1, [])
    assert [(one["item"], "its reply cannot be used" in one["reason"]) for one in row["unread"]] == [
        ("Location/0", True)
    ]
    assert [(one["name"], one["value"]) for one in row["scores"]] == [("Location", 0.0)]
    out.unlink()
    words.write_text("[[5, 5]]")  # not asked again
    assert CliRunner().invoke(main, common).exit_code == 0
    assert out.read_bytes() == first


def test_points_that_are_all_right_have_the_interval_of_a_share(refspatial: Path) -> None:
    """Resampling what is always right has no width."""
    (score,) = row_of("refspatial", refspatial, "[(0.25, 0.5)]")["scores"]
    assert (score["value"], score["n"], score["k"]) == (1.0, 1, 1)
    assert (round(score["low"], 3), score["high"]) == (0.207, 1.0)


def test_a_part_of_the_published_data_is_told_of(refspatial: Path) -> None:
    reply = refspatial / "reply.txt"
    reply.write_text("[(0.25, 0.5)]")
    model = f"replying_backend:SaysAlways words={reply} convention=fraction"
    common = ["benchmark", "refspatial", "--data", str(refspatial), "--model", model]
    assert "items in the published data: 277, in this folder: 1;" in CliRunner().invoke(main, common).output
    report = json.loads(CliRunner().invoke(main, [*common, "--json"]).stdout)
    assert (report["items"], report["items_there"], report["published_items"]) == (1, 1, 277)


def test_one_model_answers_options_and_points(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for category, answers in (("configuration", ["yes", "no", "no"]), ("context", [SQUARE])):
        rows = [{"category": category, "question": "Where?", "answer": answer, "img": image_cell(png())}
                for answer in answers]  # fmt: skip
        write_parquet(tmp_path / "data" / f"{category}-00000-of-00001.parquet", rows)
    assert asked("robospatial", tmp_path, "No, (0.3, 0.3)") == {
        "configuration": 0.666667,
        "context": 1.0,
        "all questions": 0.75,
    }


def test_an_answer_that_the_published_rules_alone_read_is_no_missing_answer(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    row = {"idx": "val_Spatial_Relation_1", "question": "Is it?", "sub_task": "", "image_1": image_cell(png()),
           "choices": ["yes", "no"], "answer": "(A)", "prompt": "Is it?"}  # fmt: skip
    write_parquet(tmp_path / "Spatial_Relation" / "val-00000-of-00001.parquet", [row])
    found = row_of("blink", tmp_path, "(A) or (B)?\n\nIt seems to be (A) rather")
    assert (found["scores"][0]["value"], found["without_answer"]) == (1.0, 0)
    found = row_of("blink", tmp_path, "Who knows?")
    assert (found["scores"][0]["value"], found["without_answer"]) == (0.0, 1)
