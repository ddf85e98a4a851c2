# SPDX-License-Identifier: Apache-2.0
"""BLINK, RefSpatial, RoboSpatial, 3DSRBench and Where2Place in their published layouts, made up in small."""

import base64
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from benchmark_folders import damaged_of, graded, image_cell, items_of, left_half, png, write_parquet
from tables import tables

from spatial_vlm_lab.benchmarks.asking import read_benchmark
from spatial_vlm_lab.benchmarks.lettered import BLINK, THREEDSR
from spatial_vlm_lab.benchmarks.lmms_task import credits_of, write_task
from spatial_vlm_lab.benchmarks.pointing import REFSPATIAL, ROBOSPATIAL, WHERE2PLACE
from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkAnswer, BenchmarkItem, PublishedScore
from spatial_vlm_lab.benchmarks.published_files import LONGEST_ROW, Base64Image, rows_of
from spatial_vlm_ros.errors import DependencyError, FileError

pytest.importorskip("pyarrow")
TABLES = tables(__file__)
SQUARE = "[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]"


def whole(benchmark: Benchmark, folder: Path) -> list[BenchmarkItem]:
    """What a reader yields, none of it damaged."""
    assert damaged_of(benchmark, folder) == {}
    return items_of(benchmark, folder)


def damage(benchmark: Benchmark, folder: Path, name: str) -> dict[str, str]:
    """What is damaged, each of a table with its reason."""
    found = damaged_of(benchmark, folder)
    for key, reason in TABLES[name]:
        assert reason in found[key], key
    return found


def credited(items: Sequence[BenchmarkItem], replies: Sequence[str]) -> list[float]:
    return [item.truth.credit(BenchmarkAnswer(text=text)) for item, text in zip(items, replies, strict=True)]


def figures(scores: Sequence[PublishedScore]) -> list[list[Any]]:
    return [[score.name, score.value, score.n] for score in scores]


DEPTH = ["A is closer", "B is closer"]


def blink_row(n: int, task: str, choices: list[str], answer: str, **changes: Any) -> dict[str, Any]:
    options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False))
    return {
        "idx": f"val_{task}_{n}", "question": "Which is it?", "sub_task": task, "image_1": image_cell(png(value=n)),
        "image_2": None, "image_3": None, "image_4": None, "choices": choices, "answer": answer,
        "prompt": f"Which is it?\nSelect from the following choices.\n{options}", "explanation": "",
    } | changes  # fmt: skip


@pytest.fixture
def blink(tmp_path: Path) -> Path:
    depth = [blink_row(n, "Relative_Depth", DEPTH, f"({'AB'[n % 2]})") for n in range(4)]
    relation = [blink_row(n, "Spatial_Relation", ["yes", "no"], "(A)") for n in range(2)]
    write_parquet(tmp_path / "Relative_Depth" / "val-00000-of-00001.parquet", depth)
    write_parquet(tmp_path / "Spatial_Relation" / "val-00000-of-00001.parquet", relation)
    hidden = [blink_row(0, "Relative_Depth", DEPTH, "hidden")]
    write_parquet(tmp_path / "Relative_Depth" / "test-00000-of-00001.parquet", hidden)
    return tmp_path


def test_blink_scores_accuracies_and_their_mean(blink: Path) -> None:
    items = whole(BLINK, blink)
    assert [item.key for item in items] == [*(f"val_Relative_Depth_{n}" for n in range(4)),
                                            "val_Spatial_Relation_0", "val_Spatial_Relation_1"]  # fmt: skip
    assert (items[1].choices, items[1].splits) == (tuple(DEPTH), {"task": "Relative_Depth"})
    assert items[1].prompt.endswith("(B) B is closer")
    assert items[1].image.read().shape == (10, 20, 3)
    counted = credited(items, ("(A)", "(A)", "(B)\n\nNo: (A)", "B", "no", "(A) yes"))
    assert counted == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    mean, depth, relation = BLINK.score(graded(items, counted))
    assert (depth.name, depth.value, depth.n) == ("Relative_Depth", 0.75, 4)
    assert (relation.name, relation.value, relation.n) == ("Spatial_Relation", 0.5, 2)
    assert (mean.value, mean.n) == ((0.75 + 0.5) / 2, 6)
    assert len(BLINK.score(graded(items[:4], counted[:4]))) == 1


def test_blink_names_damaged_questions_and_a_missing_column_or_package(
    blink: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = blink / "Relative_Depth" / "val-00000-of-00001.parquet"
    rows = [blink_row(n, "Relative_Depth", *told, **more) for n, (*told, more) in enumerate(TABLES["damaged of BLINK"])]
    rows.append(blink_row(5, "Relative_Depth", DEPTH, "(A)", image_2=image_cell(png())))
    write_parquet(file, rows)
    assert len(damage(BLINK, blink, "reasons of BLINK")) == 4
    items = {item.key: item for item in items_of(BLINK, blink)}
    assert len(items) == 4
    with pytest.raises(FileError, match="the row has no image"):
        items["val_Relative_Depth_4"].image.read()
    write_parquet(file, [{"idx": "1", "question": "Is it?"}])
    with pytest.raises(FileError, match="it has no column choices, answer, prompt, image_1"):
        list(BLINK.read(blink))
    file.write_bytes(b"PAR1 is not enough")
    with pytest.raises(FileError, match="Parquet"):
        list(BLINK.read(blink))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DependencyError, match="pip install pyarrow"):
        list(BLINK.read(blink))


def words(n: int) -> dict[str, Any]:
    return {"id": n, "object": "the mug", "prompt": "Point at the mug.", "suffix": "As tuples.", "step": 1 + n % 2}


def entry(n: int, **changes: Any) -> dict[str, Any]:
    return words(n) | {"category": "location", "rgb_path": f"image/{n}.png", "mask_path": f"mask/{n}.png"} | changes


def write_questions(folder: Path, entries: list[dict[str, Any]]) -> None:
    for name, data in (("image", png()), ("mask", left_half())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(3):
            (folder / name / f"{n}.png").write_bytes(data)
    (folder / "question.json").write_text(json.dumps(entries))


@pytest.fixture
def refspatial(tmp_path: Path) -> Path:
    """Three questions on images of 20 by 10 pixels; the left half is right."""
    write_questions(tmp_path / "Location", [entry(n) for n in range(3)])
    return tmp_path


def test_refspatial_scores_the_mean_share_of_marked_pixels_in_the_mask(refspatial: Path) -> None:
    items = whole(REFSPATIAL, refspatial)
    assert (items[1].key, items[1].phrase, items[1].prompt) == ("Location/1", "the mug", "Point at the mug. As tuples.")
    assert (items[0].splits, items[0].choices) == ({"task": "Location", "steps": "1"}, ())
    replies = ("[(0.1, 0.5), (0.4, 0.9), (0.9, 0.5), (1.5, 0.5)]", "(0.25, 0.2, 0.75, 0.4)", "nowhere")
    counted = credited(items, replies)
    assert counted == [0.5, 0.5, 0.0]
    (score,) = REFSPATIAL.score(graded(items, counted))
    assert (score.name, score.n, score.value) == ("Location", 3, pytest.approx(1.0 / 3, abs=1e-6))


def test_refspatial_parquet_files_hold_the_same(refspatial: Path) -> None:
    rows = [words(n) | {"image": image_cell(png()), "mask": image_cell(left_half())} for n in range(2)]
    for task in ("location", "unseen"):
        write_parquet(refspatial / "data" / f"{task}-00000-of-00001.parquet", rows)
    items = whole(REFSPATIAL, refspatial)
    assert [item.key for item in items] == ["Location/0", "Location/1", "Location/2", "Unseen/0", "Unseen/1"]
    assert items[4].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)")) == 1.0
    assert (items[3].prompt, items[4].splits["steps"]) == (items[0].prompt, "2")
    assert [score.n for score in REFSPATIAL.score(graded(items, [1.0, 0.0, 0.5, 1.0, 1.0]))] == [3, 2]


def test_refspatial_names_damaged_questions_and_masks_of_another_size(refspatial: Path) -> None:
    (refspatial / "Location" / "mask" / "0.png").write_bytes(left_half(8, 8))
    with pytest.raises(FileError, match="the mask has 8x8 pixels, the image 20x10"):
        whole(REFSPATIAL, refspatial)[0].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)"))
    write_questions(refspatial / "Location", [
        entry(0), entry(0), entry(1, rgb_path="../secret.png"), entry(2, mask_path="mask/9.png"), entry(3, step="two"),
        {"id": 4},
    ])  # fmt: skip
    found = damage(REFSPATIAL, refspatial, "reasons of RefSpatial")
    assert len(found) == 5
    assert found["Location/0"] == "its id occurs twice"
    assert sum("step" in reason for reason in found.values()) == 1


CONTEXT = "Pinpoint several points left of the bowl. Your answer should be formatted as a list of tuples"


def home_row(category: str, answer: str, question: str = "Is the lamp left of it?") -> dict[str, Any]:
    mask = left_half() if category == "context" else None
    return {
        "category": category, "question": question, "answer": answer, "img": image_cell(png()),
        "depth_image": image_cell(png()), "mask": image_cell(mask),
    }  # fmt: skip


@pytest.fixture
def robospatial(tmp_path: Path) -> Path:
    for category, rows in (
        ("configuration", [home_row("configuration", answer) for answer in ("Yes", "no", "yes", "no")]),
        ("compatibility", [home_row("compatibility", answer) for answer in ("yes", "No")]),
        ("context", [home_row("context", SQUARE, CONTEXT)]),
    ):
        write_parquet(tmp_path / "data" / f"{category}-00000-of-00001.parquet", rows)
    return tmp_path


def test_robospatial_scores_as_the_leaderboard(robospatial: Path) -> None:
    items = whole(ROBOSPATIAL, robospatial)
    assert [item.key for item in items] == [*(f"configuration/{n}" for n in range(4)), "compatibility/0",
                                            "compatibility/1", "context/0"]  # fmt: skip
    assert (items[0].choices, items[6].choices) == (("yes", "no"), ())
    assert (items[6].phrase, items[6].prompt) == ("Pinpoint several points left of the bowl.", CONTEXT)
    replies = ("Yes.", "Not at all", "It is: yes", "no", "yes, it fits", "yes", "[(0.3, 0.3), (0.9, 0.9)]")
    counted = credited(items, replies)
    assert counted == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert figures(ROBOSPATIAL.score(graded(items, counted))) == TABLES["scores of RoboSpatial"]
    assert "Total" not in {score.name for score in ROBOSPATIAL.score(graded(items[:6], counted[:6]))}


def test_robospatial_is_read_as_its_download_script_writes_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "img_context_0.png").write_bytes(png())
    (tmp_path / "annotations.json").write_text(json.dumps(TABLES["downloaded"]))
    assert len(damage(ROBOSPATIAL, tmp_path, "reasons of RoboSpatial")) == 5
    assert [item.key for item in items_of(ROBOSPATIAL, tmp_path)] == ["context/0"]


TSV = "3dsrbench_v1_vlmevalkit_circular.tsv"
COLUMNS = ["index", "question", "A", "B", "C", "D", "answer", "category", "image_source", "image_url", "image", "qid"]
IMAGE = base64.b64encode(png()).decode()


def tsv_row(
    index: int, qid: str, category: str = "location_above", answer: str = "A", **changes: str
) -> dict[str, str]:
    return {
        "index": str(index), "question": f"Is the \"cup\" higher?\t({index})", "A": "yes", "B": "no", "C": "", "D": "",
        "answer": answer, "category": category, "image_source": "coco", "image_url": "http://…/1.jpg", "image": IMAGE,
        "qid": qid,
    } | changes  # fmt: skip


def write_tsv(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / TSV).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return folder


@pytest.fixture
def threedsr(tmp_path: Path) -> Path:
    """Two questions: one with four variants, one with two and four options."""
    rows = [tsv_row(*told, **more) for *told, more in TABLES["variants"]]
    rows[2]["image"] = base64.b64encode(png(30)).decode()
    return write_tsv(tmp_path, rows)


def test_threedsr_counts_variants_together_by_each_rule_and_says_what_lacks(threedsr: Path) -> None:
    items = whole(THREEDSR, threedsr)
    assert [item.image.read().shape[1] for item in items] == [20, 20, 30, 30, 20, 20]
    assert items[0].question == 'Is the "cup" higher?\t(0)'
    assert items[4].choices == ("1 m", "2 m", "3 m", "4 m")
    assert items[4].splits == {"type": "height", "category": "height_higher"}
    assert items[3].group == "AAAAAAAA"
    told = ["A. no", "B. yes", "Please select the correct answer from the options above. "]
    assert items[1].prompt.splitlines()[-3:] == told
    scores = THREEDSR.score(graded(items, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    # of AAAAAAAA with its mirror image the second order is wrong
    assert figures(scores) == TABLES["scores of 3DSRBench"]
    mirrored = "2 of 4 groups have only one variant"  # BBBBBBBB has no mirror image
    assert [score.note for score in scores] == ["", mirrored, *[""] * 6]
    few = THREEDSR.score(graded([items[0], items[2]], [1.0, 0.0]))
    lacking = "2 of 2 groups lack an answer to a variant, so the score may be too high"
    assert [score.note for score in few[:3]] == ["", "", lacking]
    assert items[0].variants == ("AAAAAAAA", "AAAAAAAA-1", "AAAAAAAA-flip", "AAAAAAAA-flip-1")
    without = THREEDSR.score(graded([*items[:1], *items[2:]], [1.0] * 5))
    lacks = "groups lack an answer to a variant, so the score may be too high"
    assert [[one.name, one.note] for one in without[:5]] == TABLES["notes without one"]
    write_tsv(threedsr, [tsv_row(0, "AAAAAAAA"), tsv_row(1, "AAAAAAAA-1", answer="D")])  # one is damaged
    assert THREEDSR.score(graded(items_of(THREEDSR, threedsr), [1.0]))[2].note == f"1 of 1 {lacks}"


def test_threedsr_as_a_task_of_lmms_eval_has_its_images_and_its_own_rules(threedsr: Path, tmp_path: Path) -> None:
    out = tmp_path / "task"
    assert write_task(THREEDSR, threedsr, read_benchmark(THREEDSR, threedsr), out) == "spatial_vlm_3dsrbench"
    documents = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert Path(documents[2]["image"]).read_bytes() == png(30)
    for reply, credit in (("B", 1.0), ("A. no", 0.0), ("Both A and B look so: yes", 1.0)):
        assert credits_of("3dsrbench", str(threedsr), documents[1], [reply])["accuracy"] == credit


def test_threedsr_names_damaged_rows(threedsr: Path) -> None:
    damaged = [tsv_row(*told, **more) for *told, more in TABLES["damaged rows"]]
    write_tsv(threedsr, [*damaged, tsv_row(8, "HHHHHHHH", image=IMAGE[:80])])
    found = damage(THREEDSR, threedsr, "reasons of 3DSRBench")
    assert set(found) == {key for key, _ in TABLES["reasons of 3DSRBench"]}
    with pytest.raises(FileError, match=r"row 8.*not a whole image"):
        items_of(THREEDSR, threedsr)[-1].image.read()


def test_threedsr_names_what_is_not_as_published(tmp_path: Path) -> None:
    for text, words in (("", "empty"), ("index\tqid\n", "no column question"), (b"\xff\xfe\x00", "not UTF-8")):
        (tmp_path / TSV).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(FileError, match=words):
            list(THREEDSR.read(tmp_path))


class NameAndImage(msgspec.Struct):
    name: str
    image: str


def test_rows_of_a_tsv_file_are_found_again_and_long_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f'name\timage\none\t{IMAGE}\n\n"two\nlines ""and"" quotes"\t{IMAGE}\nthree', encoding="utf-8")
    found = list(rows_of(path, NameAndImage, "get it"))
    assert [one.columns for one in found] == [("name", "image")] * 3
    assert [one.entry.name for one in found] == ["one", 'two\nlines "and" quotes', "three"]
    assert found[2].entry.image == ""
    images = [Base64Image(path, one.place, one.start, len(one.text), 1) for one in found]
    assert images[1].read().shape == (10, 20, 3)
    with pytest.raises(FileError, match=r"row 2.*changed"):
        images[2].read()
    with path.open("wb") as file:
        file.write(b'name\timage\n"')
        file.truncate(LONGEST_ROW + 100)
    with pytest.raises(FileError, match="longer than"):
        list(rows_of(path, NameAndImage, "get it"))


SIZE = (640, 480)
TEXT = "Pinpoint several points left of the sink. Your answer should be formatted as a list of tuples, i.e. [(x1, y1)]"


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "point_questions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


@pytest.fixture
def where2place(tmp_path: Path) -> Path:
    """Three questions; of the mask the left half is white, and a stripe at the right is grey, 51 of 255."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[:, :320] = 255
    mask[:, 560:] = 51
    for folder, name in (("images", "scene_{}.jpg"), ("masks", "{:02d}.jpg")):
        (tmp_path / folder).mkdir()
        for n in range(3):
            image = mask if folder == "masks" else cv2.imdecode(np.frombuffer(png(*SIZE), np.uint8), 1)
            cv2.imwrite(str(tmp_path / folder / name.format(n)), image)
    write_lines(tmp_path, [{"question_id": n + 7, "image": f"scene_{n}.jpg", "text": TEXT} for n in range(3)])
    return tmp_path


def test_where2place_counts_a_pixel_by_the_value_of_the_mask(where2place: Path) -> None:
    items = whole(WHERE2PLACE, where2place)
    assert [item.key for item in items] == ["00", "01", "02"]  # masks go by the line, not by question_id
    assert (items[0].prompt, items[0].phrase) == (TEXT, "Pinpoint several points left of the sink.")
    counted = credited(items, ("[(0.1, 0.5), (0.75, 0.5)]", "[(0.95, 0.5)]", "(100, 100, 200, 200)"))
    assert counted == pytest.approx([0.5, 0.2, 1.0], abs=0.005)  # JPEG changes values a little
    (score,) = WHERE2PLACE.score(graded(items, counted))
    assert (score.value, score.n) == (pytest.approx(1.7 / 3, abs=0.005), 3)


def test_where2place_names_damaged_lines(where2place: Path) -> None:
    line = {"image": "scene_0.jpg", "text": TEXT}
    write_lines(where2place, [line, line | {"image": "/etc/passwd"}, {"image": "scene_2.jpg"}, line])
    assert len(damage(WHERE2PLACE, where2place, "reasons of Where2Place")) == 3  # four lines, three masks
    assert len(items_of(WHERE2PLACE, where2place)) == 1


FOLDERS = {"blink": BLINK, "refspatial": REFSPATIAL, "robospatial": ROBOSPATIAL, "threedsr": THREEDSR,
           "where2place": WHERE2PLACE}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_what_published_rules_do_not_read_is_read_by_the_package(name: str, request: pytest.FixtureRequest) -> None:
    items = whole(FOLDERS[name], request.getfixturevalue(name))
    rows = [row for row in TABLES["credits"] if row[0] == name]
    assert rows
    for _, number, told, credit in rows:
        given = BenchmarkAnswer(**told | {"points": tuple(map(tuple, told.get("points", ())))})
        assert items[number].truth.credit(given) == pytest.approx(credit, abs=0.005), told
    if name == "robospatial":
        assert [items[n].truth.credit(BenchmarkAnswer(choice=0)) for n in (0, 1)] == [1.0, 0.0]
