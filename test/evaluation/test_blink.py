# SPDX-License-Identifier: Apache-2.0
"""BLINK in its published layout, made up in small; scores worked by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from published_layouts import damaged_items, graded, image_cell, png, whole_items, write_parquet

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.evaluation.benchmarks.blink import BLINK, read_blink, score_blink
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer

pytest.importorskip("pyarrow")
DEPTH = ["A is closer", "B is closer"]


def row(n: int, task: str, choices: list[str], answer: str, **changes: Any) -> dict[str, Any]:
    options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False))
    return {
        "idx": f"val_{task}_{n}", "question": "Which is it?", "sub_task": task, "image_1": image_cell(png(value=n)),
        "image_2": None, "image_3": None, "image_4": None, "choices": choices, "answer": answer,
        "prompt": f"Which is it?\nSelect from the following choices.\n{options}", "explanation": "",
    } | changes  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    depth = [row(n, "Relative_Depth", DEPTH, f"({'AB'[n % 2]})") for n in range(4)]
    relation = [row(n, "Spatial_Relation", ["yes", "no"], "(A)") for n in range(2)]
    write_parquet(tmp_path / "Relative_Depth" / "val-00000-of-00001.parquet", depth)
    write_parquet(tmp_path / "Spatial_Relation" / "val-00000-of-00001.parquet", relation)
    hidden = [row(0, "Relative_Depth", DEPTH, "hidden")]
    write_parquet(tmp_path / "Relative_Depth" / "test-00000-of-00001.parquet", hidden)
    return tmp_path


def test_the_scores_are_accuracies_and_their_mean(bench: Path) -> None:
    items = whole_items(read_blink, bench)
    assert [item.key for item in items] == [*(f"val_Relative_Depth_{n}" for n in range(4)),
                                            "val_Spatial_Relation_0", "val_Spatial_Relation_1"]  # fmt: skip
    assert (items[1].choices, items[1].splits) == (tuple(DEPTH), {"task": "Relative_Depth"})
    assert items[1].prompt.endswith("(B) B is closer")
    assert items[1].image.read().shape == (10, 20, 3)
    answers = [BenchmarkAnswer(text=text) for text in ("(A)", "(A)", "(B)\n\nNo: (A)", "B", "no", "(A) yes")]
    counted = [item.truth.credit(answer) for item, answer in zip(items, answers, strict=True)]
    assert counted == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    mean, depth, relation = score_blink(graded(items, counted))
    assert (depth.name, depth.value, depth.n) == ("Relative_Depth", 0.75, 4)
    assert (relation.name, relation.value, relation.n) == ("Spatial_Relation", 0.5, 2)
    assert (mean.value, mean.n) == ((0.75 + 0.5) / 2, 6)
    assert len(score_blink(graded(items[:4], counted[:4]))) == 1


def test_the_reading_of_the_package_stands_in_for_the_published_judge(bench: Path) -> None:
    truth = whole_items(read_blink, bench)[1].truth  # B is right
    assert truth.credit(BenchmarkAnswer(choice=1)) == 1.0
    assert truth.credit(BenchmarkAnswer(choice=1, text="B is closer")) == 1.0
    assert truth.credit(BenchmarkAnswer(choice=1, text="The second one is nearer.")) == 1.0
    assert truth.credit(BenchmarkAnswer(choice=1, text="(A)")) == 0.0  # its own rules come first
    assert truth.credit(BenchmarkAnswer(text="<think>(A)?</think>\n(B)")) == 1.0
    assert truth.credit(BenchmarkAnswer()) == 0.0


def test_damaged_questions_are_named_and_damage_no_other(bench: Path) -> None:
    rows = [
        row(0, "Relative_Depth", DEPTH, "(A)"),
        row(1, "Relative_Depth", DEPTH, "hidden"),
        row(2, "Relative_Depth", ["same", "same"], "(A)"),
        row(3, "Relative_Depth", DEPTH, "(C)"),
        row(4, "Relative_Depth", DEPTH, "(A)", image_1=None),
        row(5, "Relative_Depth", DEPTH, "(A)", image_2=image_cell(png())),
    ]
    write_parquet(bench / "Relative_Depth" / "val-00000-of-00001.parquet", rows)
    found = damaged_items(read_blink, bench)
    assert len(found) == 4
    with pytest.raises(FileError, match="the row has no image"):
        next(item for item in read_blink(bench) if item.key == "val_Relative_Depth_4").image.read()  # type: ignore[union-attr]
    assert "none of (A), (B)" in found["val_Relative_Depth_1"]
    assert "none of (A), (B)" in found["val_Relative_Depth_3"]
    assert "all different" in found["val_Relative_Depth_2"]
    assert "several images" in found["val_Relative_Depth_5"]
    assert len(list(read_blink(bench))) == 8


def test_where_the_data_is_not_there_a_sentence_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"BLINK-Benchmark/BLINK from huggingface.co"):
        list(BLINK.read(tmp_path))
    with pytest.raises(FileError, match=r"BLINK-Benchmark/BLINK from huggingface.co"):
        list(BLINK.read(tmp_path / "nowhere"))
    (tmp_path / "Relative_Depth").mkdir()
    (tmp_path / "Relative_Depth" / "val-0.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(FileError, match="Parquet"):
        list(BLINK.read(tmp_path))


def test_without_pyarrow_a_sentence_says_what_to_install(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DependencyError, match="pip install pyarrow"):
        list(BLINK.read(bench))


def test_a_file_without_a_column_is_refused_and_names_it(bench: Path) -> None:
    write_parquet(bench / "Relative_Depth" / "val-00000-of-00001.parquet", [{"idx": "1", "question": "Is it?"}])
    with pytest.raises(FileError, match="it has no column choices, answer, prompt, image_1"):
        list(BLINK.read(bench))
