# SPDX-License-Identifier: Apache-2.0
"""RoboSpatial-Home in both published layouts, made up in small; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published_layouts import damaged_items, graded, image_cell, left_half, png, whole_items, write_parquet

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer
from spatial_vlm_ros.evaluation.benchmarks.robospatial import ROBOSPATIAL, read_robospatial, score_robospatial

SQUARE = "[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]"
CONTEXT = "Pinpoint several points left of the bowl. Your answer should be formatted as a list of tuples"


def row(
    category: str, answer: str, question: str = "Is the lamp left of the desk? Answer yes or no."
) -> dict[str, Any]:
    mask = left_half() if category == "context" else None
    return {
        "category": category, "question": question, "answer": answer, "img": image_cell(png()),
        "depth_image": image_cell(png()), "mask": image_cell(mask),
    }  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    for category, rows in (
        ("configuration", [row("configuration", answer) for answer in ("Yes", "no", "yes", "no")]),
        ("compatibility", [row("compatibility", answer) for answer in ("yes", "No")]),
        ("context", [row("context", SQUARE, CONTEXT)]),
    ):
        write_parquet(tmp_path / "data" / f"{category}-00000-of-00001.parquet", rows)
    return tmp_path


def test_the_scores_are_those_of_the_leaderboard(bench: Path) -> None:
    items = whole_items(read_robospatial, bench)
    assert [item.key for item in items] == [*(f"configuration/{n}" for n in range(4)), "compatibility/0",
                                            "compatibility/1", "context/0"]  # fmt: skip
    assert (items[0].choices, items[6].choices) == (("yes", "no"), ())
    assert (items[6].phrase, items[6].prompt) == ("Pinpoint several points left of the bowl.", CONTEXT)
    replies = ("Yes.", "Not at all", "It is: yes", "no", "yes, it fits", "yes", "[(0.3, 0.3), (0.9, 0.9)]")
    counted = [item.truth.credit(BenchmarkAnswer(text=text)) for item, text in zip(items, replies, strict=True)]
    assert counted == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    scores = {score.name: (score.value, score.n) for score in score_robospatial(graded(items, counted))}
    assert scores == {
        "configuration": (0.75, 4),
        "compatibility": (0.5, 2),
        "context": (1.0, 1),
        "all questions": (round(5 / 7, 6), 7),
        "VQA avg": (0.625, 6),
        "Total": (0.75, 7),
    }
    assert "Total" not in {score.name for score in score_robospatial(graded(items[:6], counted[:6]))}


def test_answers_without_a_written_fraction_are_read_by_the_package(bench: Path) -> None:
    items = whole_items(read_robospatial, bench)
    inside, outside = ((0.3, 0.3), (0.9, 0.9)), ((0.9, 0.9), (0.3, 0.3))
    for answer, credit in (
        (BenchmarkAnswer(points=inside), 1.0),
        (BenchmarkAnswer(points=outside), 0.0),  # the first alone counts
        (BenchmarkAnswer(points=inside, text="(300, 300)"), 1.0),  # thousandths; as published it would be outside
        (BenchmarkAnswer(points=inside, text="(0.9, 0.9)"), 0.0),
        (BenchmarkAnswer(points=outside, text="<think>(0.9, 0.9)</think> [0.3, 0.3]"), 1.0),
        (BenchmarkAnswer(), 0.0),
    ):
        assert items[6].truth.credit(answer) == credit, answer
    assert items[0].truth.credit(BenchmarkAnswer(choice=0)) == 1.0
    assert items[1].truth.credit(BenchmarkAnswer(choice=0)) == 0.0


def test_the_folder_of_the_download_script_holds_the_same(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "img_context_0.png").write_bytes(png())
    entries = [
        {"category": "context", "question": CONTEXT, "answer": SQUARE, "img": "images/img_context_0.png",
         "depth_image": None, "mask": "images/mask_context_0.png"},
        {"category": "configuration", "question": "Is it?", "answer": "yes", "img": "images/gone.png"},
        {"category": "context", "question": CONTEXT, "answer": "[(0.1, 0.1), (0.2, 0.2)]",
         "img": "images/img_context_0.png"},
        {"category": "colour", "question": "Is it?", "answer": "yes", "img": "images/img_context_0.png"},
        {"category": "context", "question": "", "answer": "yes", "img": "images/img_context_0.png"},
        {"category": "context", "question": CONTEXT, "answer": SQUARE, "img": None},
    ]  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps(entries))
    found = damaged_items(read_robospatial, tmp_path)
    assert len(found) == 5
    assert "does not exist" in found["configuration/1"]
    assert "not yes, no or a polygon" in found["context/2"]
    assert "none of configuration" in found["colour/3"]
    assert "no question" in found["context/4"]
    whole = [item for item in read_robospatial(tmp_path) if item.key == "context/0"]
    assert len(whole) == 1


def test_where_the_data_is_not_there_a_sentence_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"chanhee-luke/RoboSpatial-Home from huggingface.co"):
        list(ROBOSPATIAL.read(tmp_path))
