# SPDX-License-Identifier: Apache-2.0
"""3DSRBench in its published layout, made up in small; CircularEval and FlipEval worked by hand."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import pytest
from published_layouts import damaged_items, graded, png, whole_items

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.lmms_task import credits_of, write_task
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer, BenchmarkItem
from spatial_vlm_ros.evaluation.benchmarks.running import read_benchmark
from spatial_vlm_ros.evaluation.benchmarks.threedsr import FILE, THREEDSR, read_threedsr, score_threedsr
from spatial_vlm_ros.evaluation.benchmarks.tsv_rows import LONGEST_ROW, TsvImage, tsv_rows

COLUMNS = ["index", "question", "A", "B", "C", "D", "answer", "category", "image_source", "image_url", "image", "qid"]
IMAGE = base64.b64encode(png()).decode()


def row(index: int, qid: str, category: str = "location_above", answer: str = "A", **changes: str) -> dict[str, str]:
    return {
        "index": str(index), "question": f"Is the \"cup\" higher?\t({index})", "A": "yes", "B": "no", "C": "", "D": "",
        "answer": answer, "category": category, "image_source": "coco", "image_url": "http://…/1.jpg", "image": IMAGE,
        "qid": qid,
    } | changes  # fmt: skip


def write(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Two questions: one with four variants, one with two and four options."""
    return write(tmp_path, [
        row(0, "AAAAAAAA"),
        row(1, "AAAAAAAA-1", A="no", B="yes", answer="B", image="0"),
        row(2, "AAAAAAAA-flip", image=base64.b64encode(png(30)).decode()),
        row(3, "AAAAAAAA-flip-1", A="no", B="yes", answer="B", image="2"),
        row(4, "BBBBBBBB", "height_higher", "C", A="1 m", B="2 m", C="3 m", D="4 m"),
        row(5, "BBBBBBBB-1", "height_higher", "D", A="4 m", B="1 m", C="2 m", D="3 m", image="4"),
    ])  # fmt: skip


def test_each_rule_counts_its_variants_together(bench: Path) -> None:
    items = whole_items(read_threedsr, bench)
    assert [item.image.read().shape[1] for item in items] == [20, 20, 30, 30, 20, 20]
    assert items[0].question == 'Is the "cup" higher?\t(0)'
    assert items[4].choices == ("1 m", "2 m", "3 m", "4 m")
    assert items[4].splits == {"type": "height", "category": "height_higher"}
    assert items[3].group == "AAAAAAAA"
    assert items[1].prompt.splitlines()[-3:] == [
        "A. no",
        "B. yes",
        "Please select the correct answer from the options above. ",
    ]
    scores = score_threedsr(graded(items, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    assert {score.name: (score.value, score.n) for score in scores} == {
        "each variant on its own": (round(5 / 6, 6), 6),
        "FlipEval": (0.75, 4),  # of AAAAAAAA with its mirror image the second order is wrong
        "CircularEval": (round(2 / 3, 6), 3),  # AAAAAAAA and BBBBBBBB, not AAAAAAAA-flip
        "FlipEval and CircularEval": (0.5, 2),
        "CircularEval, height": (1.0, 1),
        "CircularEval, location": (0.5, 2),
        "CircularEval, height_higher": (1.0, 1),
        "CircularEval, location_above": (0.5, 2),
    }
    mirrored = "2 of 4 groups have only one variant"  # BBBBBBBB has no mirror image
    assert [score.note for score in scores] == ["", mirrored, *[""] * 6]
    few = score_threedsr(graded([items[0], items[2]], [1.0, 0.0]))
    lacking = "2 of 2 groups lack an answer to a variant, so the score may be too high"
    assert [score.note for score in few[:3]] == ["", "", lacking]


def test_a_group_that_lacks_an_answer_is_told_of(bench: Path) -> None:
    """All orders but one are answered rightly: the group counts, and the note says that it may not."""
    items = whole_items(read_threedsr, bench)
    assert items[0].variants == ("AAAAAAAA", "AAAAAAAA-1", "AAAAAAAA-flip", "AAAAAAAA-flip-1")
    notes = {one.name: one.note for one in score_threedsr(graded([*items[:1], *items[2:]], [1.0] * 5))}
    told = "groups lack an answer to a variant, so the score may be too high"
    assert notes["each variant on its own"] == ""
    assert notes["FlipEval"] == f"1 of 4 {told}; 2 of 4 groups have only one variant"
    assert notes["CircularEval"] == f"1 of 3 {told}"
    assert notes["FlipEval and CircularEval"] == f"1 of 2 {told}"
    assert notes["CircularEval, height"] == ""
    write(bench, [row(0, "AAAAAAAA"), row(1, "AAAAAAAA-1", answer="D")])  # one is damaged
    whole = [item for item in read_threedsr(bench) if isinstance(item, BenchmarkItem)]
    assert score_threedsr(graded(whole, [1.0]))[2].note == f"1 of 1 {told}"


def test_replies_are_read_by_the_published_rules_first(bench: Path) -> None:
    truth = whole_items(read_threedsr, bench)[1].truth  # B, "yes", is right
    for answer, credit in (
        (BenchmarkAnswer(text="B"), 1.0),
        (BenchmarkAnswer(choice=0, text="B. yes"), 1.0),
        (BenchmarkAnswer(choice=1, text="A"), 0.0),
        (BenchmarkAnswer(choice=1, text="Both A and B look so; the second it is"), 1.0),
        (BenchmarkAnswer(choice=1, text="yes"), 1.0),
        (BenchmarkAnswer(choice=1), 1.0),
        (BenchmarkAnswer(text="<think>A</think>B"), 1.0),
        (BenchmarkAnswer(), 0.0),
    ):
        assert truth.credit(answer) == credit, answer


def test_as_a_task_of_lmms_eval_it_has_its_images_and_its_own_rules(bench: Path, tmp_path: Path) -> None:
    out = tmp_path / "task"
    assert write_task(THREEDSR, bench, read_benchmark(THREEDSR, bench), out) == "spatial_vlm_3dsrbench"
    documents = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert Path(documents[2]["image"]).read_bytes() == png(30)
    for reply, credit in (("B", 1.0), ("A. no", 0.0), ("Both A and B look so: yes", 1.0)):
        assert credits_of("3dsrbench", str(bench), documents[1], [reply])["accuracy"] == credit


def test_damaged_rows_are_named_and_damage_no_other(bench: Path) -> None:
    write(bench, [
        row(0, "AAAAAAAA"),
        row(1, "AAAAAAAA"),
        row(2, "CCCCCCCC", "colour_redder"),
        row(3, "DDDDDDDD", answer="C"),
        row(4, "EEEEEEEE", answer="AB"),
        row(5, "FFFFFFFF", image="77"),
        row(6, ""),
        row(7, "GGGGGGGG", B="yes"),
        row(8, "HHHHHHHH", image=IMAGE[:80]),
    ])  # fmt: skip
    found = damaged_items(read_threedsr, bench)
    assert set(found) == {"AAAAAAAA", "CCCCCCCC", "DDDDDDDD", "EEEEEEEE", "FFFFFFFF", f"{FILE} row 6", "GGGGGGGG"}
    assert "occurs again" in found["AAAAAAAA"]
    assert "not a category" in found["CCCCCCCC"]
    assert "none of its 2 options" in found["DDDDDDDD"]
    assert "'77' is not the index" in found["FFFFFFFF"]
    with pytest.raises(FileError, match=r"row 8.*not a whole image"):
        list(read_threedsr(bench))[-1].image.read()  # type: ignore[union-attr]


def test_what_is_not_there_or_not_as_published_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"ccvl/3DSRBench from huggingface.co"):
        list(THREEDSR.read(tmp_path))
    for text, words in (("", "empty"), ("index\tqid\n", "no column question"), (b"\xff\xfe\x00", "not UTF-8")):
        (tmp_path / FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(FileError, match=words):
            list(THREEDSR.read(tmp_path))


def test_rows_are_found_again_and_long_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f'name\timage\none\t{IMAGE}\n\n"two\nlines ""and"" quotes"\t{IMAGE}\nthree', encoding="utf-8")
    columns, rows = tsv_rows(path, "get it")
    found = list(rows)
    assert columns == ("name", "image")
    assert [one.fields["name"] for one in found] == ["one", 'two\nlines "and" quotes', "three"]
    assert found[2].fields["image"] == ""
    images = [TsvImage(path, one.start, one.size, 1, one.number) for one in found]
    assert images[1].read().shape == (10, 20, 3)
    with pytest.raises(FileError, match=r"row 2.*changed"):
        images[2].read()
    with path.open("wb") as file:
        file.write(b'name\timage\n"')
        file.truncate(LONGEST_ROW + 100)
    with pytest.raises(FileError, match="longer than"):
        list(tsv_rows(path, "get it")[1])
