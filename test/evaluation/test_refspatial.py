# SPDX-License-Identifier: Apache-2.0
"""RefSpatial-Bench in both published layouts, made up in small; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published_layouts import damaged_items, graded, image_cell, left_half, png, whole_items, write_parquet

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer
from spatial_vlm_ros.evaluation.benchmarks.refspatial import REFSPATIAL, read_refspatial, score_refspatial


def words(n: int) -> dict[str, Any]:
    return {"id": n, "object": "the mug", "prompt": "Point at the mug.", "suffix": "As tuples.", "step": 1 + n % 2}


def entry(n: int, **changes: Any) -> dict[str, Any]:
    return words(n) | {"category": "location", "rgb_path": f"image/{n}.png", "mask_path": f"mask/{n}.png"} | changes


def write_task(folder: Path, entries: list[dict[str, Any]]) -> None:
    for name, data in (("image", png()), ("mask", left_half())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(3):
            (folder / name / f"{n}.png").write_bytes(data)
    (folder / "question.json").write_text(json.dumps(entries))


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Three questions on images of 20 by 10 pixels; the left half is right."""
    write_task(tmp_path / "Location", [entry(n) for n in range(3)])
    return tmp_path


def test_the_score_is_the_mean_share_of_marked_pixels_in_the_mask(bench: Path) -> None:
    items = whole_items(read_refspatial, bench)
    assert (items[1].key, items[1].phrase, items[1].prompt) == ("Location/1", "the mug", "Point at the mug. As tuples.")
    assert (items[0].splits, items[0].choices) == ({"task": "Location", "steps": "1"}, ())
    replies = ("[(0.1, 0.5), (0.4, 0.9), (0.9, 0.5), (1.5, 0.5)]", "(0.25, 0.2, 0.75, 0.4)", "nowhere")
    counted = [item.truth.credit(BenchmarkAnswer(text=text)) for item, text in zip(items, replies, strict=True)]
    assert counted == [0.5, 0.5, 0.0]
    (score,) = score_refspatial(graded(items, counted))
    assert (score.name, score.n) == ("Location", 3)
    assert score.value == pytest.approx(1.0 / 3, abs=1e-6)


def test_other_notations_are_read_by_the_package(bench: Path) -> None:
    truth = whole_items(read_refspatial, bench)[0].truth
    left, right = ((0.2, 0.5),), ((0.8, 0.5),)
    for answer, credit in (
        (BenchmarkAnswer(points=left), 1.0),
        (BenchmarkAnswer(points=(*left, *right)), 0.5),
        (BenchmarkAnswer(points=((0.4999, 0.999), (0.5, 0.0), (-0.01, 0.5), (1e300, 0.5))), 0.25),
        (BenchmarkAnswer(points=left, text='[{"point_2d": [200, 500]}]'), 1.0),
        (BenchmarkAnswer(points=left, text="(200, 500)"), 1.0),  # thousandths; the published reader takes pixels
        (BenchmarkAnswer(points=left, text="(0.8, 0.5)"), 0.0),  # fractions are read as published
        (BenchmarkAnswer(points=left, text="<think>(0.8, 0.5)</think>(0.2, 0.5)"), 1.0),
        (BenchmarkAnswer(text="(5, 5)"), 1.0),  # nothing was read: as published
        (BenchmarkAnswer(), 0.0),
    ):
        assert truth.credit(answer) == pytest.approx(credit), answer


def test_the_parquet_files_hold_the_same(bench: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [words(n) | {"image": image_cell(png()), "mask": image_cell(left_half())} for n in range(2)]
    for task in ("location", "unseen"):
        write_parquet(bench / "data" / f"{task}-00000-of-00001.parquet", rows)
    items = whole_items(read_refspatial, bench)
    assert [item.key for item in items] == ["Location/0", "Location/1", "Location/2", "Unseen/0", "Unseen/1"]
    assert items[4].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)")) == 1.0
    assert (items[3].prompt, items[4].splits["steps"]) == (items[0].prompt, "2")
    assert [score.n for score in score_refspatial(graded(items, [1.0, 0.0, 0.5, 1.0, 1.0]))] == [3, 2]


def test_damaged_questions_are_named_and_damage_no_other(bench: Path) -> None:
    write_task(bench / "Location", [
        entry(0), entry(0), entry(1, rgb_path="../secret.png"), entry(2, mask_path="mask/9.png"), entry(3, step="two"),
        {"id": 4},
    ])  # fmt: skip
    found = damaged_items(read_refspatial, bench)
    assert len(found) == 5
    assert found["Location/0"] == "its id occurs twice"
    assert "leaves the folder" in found["Location/1"]
    assert "does not exist" in found["Location/2"]
    assert sum(isinstance(reason, str) and "step" in reason for reason in found.values()) == 1


def test_masks_of_another_size_and_missing_data_are_named(bench: Path) -> None:
    (bench / "Location" / "mask" / "0.png").write_bytes(left_half(8, 8))
    with pytest.raises(FileError, match="the mask has 8x8 pixels, the image 20x10"):
        whole_items(read_refspatial, bench)[0].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)"))
    (bench / "Location" / "question.json").unlink()
    with pytest.raises(FileError, match=r"BAAI/RefSpatial-Bench from huggingface.co"):
        list(REFSPATIAL.read(bench))
