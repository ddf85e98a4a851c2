# SPDX-License-Identifier: Apache-2.0
"""All benchmarks on tiny folders of their layout: items, damage, scores worked by hand, and files that hold images."""

import base64
import json
import os
import shutil
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_folders as folders
import pytest
from benchmark_folders import FOLDERS, damaged_of, graded, image_cell, items_of, png, write_parquet
from tables import called, tables

from spatial_vlm_lab.benchmarks import protocol, published_files
from spatial_vlm_lab.benchmarks.asking import BENCHMARKS
from spatial_vlm_lab.benchmarks.lettered import BLINK, CV_BENCH, THREEDSR
from spatial_vlm_lab.benchmarks.pointing import REFSPATIAL, ROBOSPATIAL
from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, choice_truth, shuffled
from spatial_vlm_lab.benchmarks.published_files import LONGEST_ROW, PublishedRow, rows_of
from spatial_vlm_lab.benchmarks.relations import EMBSPATIAL, VSR, WHATSUP
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.types.proportions import wilson

TABLES = tables(__file__)


def written(name: str, folder: Path) -> Path:
    if name in folders.NEED_PARQUET:
        pytest.importorskip("pyarrow")
    return FOLDERS[name](folder)


def table(name: str, benchmark: str) -> list[list[Any]]:
    """The rows of a table about a benchmark, which is their first cell."""
    return [cells for first, *cells in TABLES[name] if first == benchmark]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_items_are_as_published_and_the_same_each_time(name: str, tmp_path: Path) -> None:
    folder = written(name, tmp_path / "data")
    items, damaged = BENCHMARKS[name].read(folder)
    assert damaged == {}
    assert [[one.key for one in items]] == [keys for (keys,) in table("keys", name)]
    again = items_of(BENCHMARKS[name], folder)
    assert [(one.key, one.truth) for one in items] == [(one.key, one.truth) for one in again]
    assert all(one.image.read().shape[2] == 3 for one in items)
    assert table("facts", name)
    for n, facts in table("facts", name):
        told = {fact: getattr(items[n] if hasattr(items[n], fact) else items[n].truth, fact) for fact in facts}
        assert json.loads(json.dumps(told)) == facts


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_that_is_missing_is_refused_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(FileError) as error:
            BENCHMARKS[name].read(folder)
        assert error.value.repair == BENCHMARKS[name].source


CALLED = vars(folders) | {"list": lambda *given: list(given), "cut": lambda count: folders.IMAGE[:count]}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_damaged_rows_are_named_by_their_place_and_damage_no_other(name: str, tmp_path: Path) -> None:
    if name == "blink":
        pytest.importorskip("pyarrow")
    ((rows,),) = table("spoilt", name)
    ((expected,),) = table("damaged", name)
    items, damaged = BENCHMARKS[name].read(FOLDERS[name](tmp_path, [called(row, CALLED) for row in rows]))
    assert damaged.keys() == expected.keys()
    assert [place for place, words in expected.items() if words not in damaged[place]] == []
    assert items
    if name in ("3dsrbench", "blink"):  # what is only seen when the image is read
        with pytest.raises(FileError, match=r"row 8.*not a whole image|row 4, image_1.*the row has no image"):
            next(item for item in items if item.key in ("HHHHHHHH", "val_Relative_Depth_4")).image.read()


DEEP = ("embspatial", "embspatial_bench.json", "[" * 100_000, "embspatial")
NOT_TSV = (("", "empty"), ("index\tqid\n", "no column question"), ("\udcff", "UTF-8 text"), ('a\t"b"\rc', "new-line"))


@pytest.mark.parametrize(
    ("benchmark", "name", "text", "words"),
    [DEEP, *TABLES["no listings"], *(("3dsrbench", folders.TSV, text, words) for text, words in NOT_TSV)],
)
def test_a_listing_that_is_none_is_refused(benchmark: str, name: str, text: str, words: str, tmp_path: Path) -> None:
    (FOLDERS[benchmark](tmp_path) / name).write_text(text, errors="surrogateescape")
    with pytest.raises(FileError, match=words):
        BENCHMARKS[benchmark].read(tmp_path)


def test_a_listing_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_files, "LARGEST_LISTING", 10)
    with pytest.raises(FileError, match="bytes, more than 10"):
        items_of(EMBSPATIAL, folders.embspatial(tmp_path))


def test_a_truth_needs_different_options() -> None:
    for choices, right in ((("a",), 0), (("a", "a"), 0), (("a", ""), 0), (("a", "b"), 2)):
        with pytest.raises(InputError):
            choice_truth(choices, right)
    truth = shuffled(("a", "b", "c"), "key")
    assert truth.choices[truth.right] == "a"
    assert truth == shuffled(("a", "b", "c"), "key")
    assert (truth.credit(BenchmarkAnswer(truth.right)), truth.credit(BenchmarkAnswer(None))) == (1.0, 0.0)


NINE = [*(f"{pair.format(side)}.jpeg" for side in folders.SIDES for pair in ("cup_{}_table", "can_{}_chair")),
        "hat_on_box.jpeg"]  # fmt: skip


def two_controlled_sets(folder: Path) -> Path:
    names = ("cup_behind_can.jpeg", "cup_in-front_of_can.jpeg")
    for name in names:
        folders.picture(folders.whatsup(folder) / "controlled_clevr" / name)
    entries = [{"image_path": f"x/{name}", "caption_options": list("abcd")} for name in names]
    (folder / "controlled_clevr_dataset.json").write_text(json.dumps(entries))
    return folder


def only_2d(folder: Path, count: int) -> Path:
    (folders.cv_bench(folder, folders.CV_2D[:count]) / "test_3d.jsonl").unlink()
    return folder


def sets_of_two(folder: Path, *names: str) -> Path:
    """Sets with two captions, by the names of their files: image, true and false caption."""
    for name in names:
        for image, *_ in TABLES[name][0]:
            place = f"val2017/{image:012}.jpg" if name.startswith("coco") else f"vg_images/{image}.jpg"
            folders.picture(folder / place)
        (folder / f"{name}.json").write_text(json.dumps(TABLES[name][0]))
    return folder


PREPARED: dict[str, Callable[[Path], Path]] = {
    "pairs and sets of the same two objects": lambda folder: folders.whatsup(folder, names=NINE),
    "two captions": lambda folder: sets_of_two(folders.whatsup(folder), "coco_qa_two_obj"),
    "prepositions": lambda folder: sets_of_two(folder, "coco_qa_one_obj", "coco_qa_two_obj", "vg_qa_two_obj"),
    "two sets of a kind": two_controlled_sets,
    "no mean that lacks a part": lambda folder: only_2d(folder, 2),
    "2D alone": lambda folder: only_2d(folder, 5),
    **FOLDERS,
}


@pytest.mark.parametrize(("case", "name", "wrong", "expected"), TABLES["scores"])
def test_scores_are_those_by_hand(case: str, name: str, wrong: list[str], expected: list[Any], tmp_path: Path) -> None:
    items, damaged = BENCHMARKS[name].read(PREPARED[case](tmp_path))
    assert damaged == {}
    assert set(wrong) <= {item.key for item in items}
    found = BENCHMARKS[name].score(graded(items, lambda one: one.key not in wrong))
    assert [[one.name, one.value, one.n, one.k] for one in found] == expected


@pytest.mark.parametrize(("name", "replies", "worth", "expected"), TABLES["replies"])
def test_replies_are_credited_and_scored_as_published(
    name: str, replies: list[str], worth: list[float], expected: list[list[Any]], tmp_path: Path
) -> None:
    items = items_of(BENCHMARKS[name], written(name, tmp_path))
    counted = [item.truth.credit(BenchmarkAnswer(text=text)) for item, text in zip(items, replies, strict=True)]
    assert counted == pytest.approx(worth, abs=0.005)  # JPEG changes values a little
    found = BENCHMARKS[name].score(graded(items, counted))
    assert [[one.name, one.n] for one in found] == [[one, n] for one, _, n in expected]
    assert [one.value for one in found] == pytest.approx([value for _, value, _ in expected], abs=0.005)


@pytest.mark.parametrize("name", dict.fromkeys(row[0] for row in TABLES["credits"]))
def test_what_published_rules_do_not_read_is_read_by_the_package(name: str, tmp_path: Path) -> None:
    items = items_of(BENCHMARKS[name], written(name, tmp_path))
    for number, answers in table("credits", name):
        for told, credit in answers:
            given = BenchmarkAnswer(**told | {"points": tuple(map(tuple, told.get("points", ())))})
            assert items[number].truth.credit(given) == pytest.approx(credit, abs=0.005), told


def test_a_mean_of_accuracies_has_the_interval_of_its_parts(tmp_path: Path) -> None:
    items = items_of(CV_BENCH, folders.cv_bench(tmp_path))
    parts = {"a": graded(items[:2], lambda _: True), "b": graded(items[2:5], lambda one: one.key == "2")}
    (found,) = protocol.mean_of_parts("both", parts, {"a": 0.5, "b": 0.5})
    first, second = wilson(2, 2), wilson(1, 3)
    assert found.value == pytest.approx((1 + 1 / 3) / 2, abs=1e-6)
    down = ((0.5 * (1 - first.low)) ** 2 + (0.5 * (1 / 3 - second.low)) ** 2) ** 0.5
    assert found.low == pytest.approx(found.value - down, abs=1e-5)
    assert found.high == pytest.approx(found.value + 0.5 * (second.high - 1 / 3), abs=1e-5)
    assert protocol.mean_of_parts("all", parts, {"a": 0.5, "c": 0.5}) == []


def test_whatsup_shuffles_the_captions_of_which_the_first_is_true(tmp_path: Path) -> None:
    items = items_of(WHATSUP, folders.whatsup(tmp_path, names=[f"o{n}_on_table.jpeg" for n in range(40)]))
    assert all(one.choices[one.truth.right].startswith("A o") for one in items)
    assert {one.truth.right for one in items} == {0, 1, 2, 3}


def test_threedsr_counts_variants_together_by_each_rule_and_says_what_lacks(tmp_path: Path) -> None:
    items = items_of(THREEDSR, folders.threedsr(tmp_path))
    assert [item.image.read().shape[1] for item in items] == [20, 20, 30, 30, 20, 20]
    found = THREEDSR.score(graded(items, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    # of AAAAAAAA with its mirror image the second order is wrong
    assert [[one.name, one.value, one.n] for one in found] == TABLES["scores of 3DSRBench"][0]
    mirrored = "2 of 4 groups have only one variant"  # BBBBBBBB has no mirror image
    assert [one.note for one in found] == ["", mirrored, *[""] * 6]
    lacks = "groups lack an answer to a variant, so the score may be too high"
    few = THREEDSR.score(graded([items[0], items[2]], [1.0, 0.0]))
    assert [one.note for one in few[:3]] == ["", "", f"2 of 2 {lacks}"]
    without = THREEDSR.score(graded([*items[:1], *items[2:]], [1.0] * 5))
    assert [[one.name, one.note] for one in without[:5]] == TABLES["notes without one"][0]
    rows = [folders.tsv_row(0, "AAAAAAAA"), folders.tsv_row(1, "AAAAAAAA-1", answer="D")]  # one is damaged
    left = items_of(THREEDSR, folders.threedsr(tmp_path, rows))
    assert THREEDSR.score(graded(left, [1.0]))[2].note == f"1 of 1 {lacks}"


def test_vsr_is_read_as_the_data_sets_have_it(tmp_path: Path) -> None:
    def told(folder: Path) -> list[tuple[Any, ...]]:
        return [(one.key, one.truth, one.splits) for one in items_of(VSR, folder)]

    repository = folders.vsr(tmp_path / "repository")
    wanted = told(repository)
    assert told(repository / "data") == wanted
    both = tmp_path / "both"
    for split in ("random", "zeroshot"):
        shutil.copytree(repository / "data" / "splits" / split, both / f"vsr_{split}")
    shutil.copytree(repository / "data" / "images", both / "images")
    shutil.copytree(repository / "analysis_scripts", both / "analysis_scripts")
    assert told(both) == wanted
    alone = tmp_path / "datasets--cambridgeltl--vsr_zeroshot" / "snapshots" / "a1"
    shutil.copytree(both / "vsr_zeroshot", alone)
    shutil.copytree(both / "images", alone / "images")
    assert [one.key for one in items_of(VSR, alone)] == ["zero-shot/1", "zero-shot/2"]
    assert items_of(VSR, alone)[0].image.name == str(alone / "images" / "2.jpg")
    shutil.copytree(alone, tmp_path / "data")
    with pytest.raises(FileError, match="Rename its folder to vsr_random or vsr_zeroshot"):
        items_of(VSR, tmp_path / "data")


def test_cv_bench_finds_images_by_the_published_file_names_and_in_parquet(tmp_path: Path) -> None:
    """A published line names "img/2D/count/ade20k_10.png", relative to the folder of the listing."""
    folder = folders.cv_bench(tmp_path / "json")
    of_json = items_of(CV_BENCH, folder)
    for name in ("test_2d.jsonl", "test_3d.jsonl"):
        (folder / name).write_text((folder / name).read_text().replace('"filename": "', '"filename": "img/'))
    items, damaged = CV_BENCH.read(folder)
    assert damaged == {}
    assert [one.image.name for one in items[:2]] == [str(folder / "img" / "2D" / f"{n}.png") for n in (0, 1)]
    pytest.importorskip("pyarrow")
    of_parquet = items_of(CV_BENCH, folders.cv_bench_parquet(tmp_path / "parquet"))
    for one, other in zip(of_json, of_parquet, strict=True):
        assert (one.key, one.truth, one.splits, one.prompt) == (other.key, other.truth, other.splits, other.prompt)
        assert (one.image.read() == other.image.read()).all()
    both = folders.cv_bench(folders.cv_bench_parquet(tmp_path / "both"))
    assert [one.key for one in items_of(CV_BENCH, both)] == [one.key for one in of_json]


def test_refspatial_parquet_files_hold_the_same_and_robospatial_without_a_category_has_no_total(tmp_path: Path) -> None:
    items = items_of(ROBOSPATIAL, written("robospatial", tmp_path / "home"))
    names = [score.name for score in ROBOSPATIAL.score(graded(items[:6], [1.0] * 6))]
    assert names == ["configuration", "compatibility", "all questions", "VQA avg"]
    folder = folders.refspatial(tmp_path)
    cells = {"image": image_cell(png()), "mask": image_cell(folders.left_half())}
    for task in ("location", "unseen"):
        write_parquet(folder / "data" / f"{task}-0.parquet", [folders.ref_words(n) | cells for n in range(2)])
    items, damaged = REFSPATIAL.read(folder)
    assert damaged == {}
    assert [item.key for item in items] == ["Location/0", "Location/1", "Location/2", "Unseen/0", "Unseen/1"]
    assert items[4].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)")) == 1.0
    assert (items[3].prompt, items[4].splits["steps"]) == (items[0].prompt, "2")
    assert [score.n for score in REFSPATIAL.score(graded(items, [1.0, 0.0, 0.5, 1.0, 1.0]))] == [3, 2]
    (folder / "Location" / "mask" / "0.png").write_bytes(folders.left_half(8, 8))
    with pytest.raises(FileError, match="the mask has 8x8 pixels, the image 20x10"):
        items[0].truth.credit(BenchmarkAnswer(text="(0.1, 0.1)"))


def damaged_lines(folder: Path) -> list[int]:
    """Which lines of CV-Bench in 2D have an image that cannot be used."""
    return [int(place.removeprefix("test_2d.jsonl at line ")) for place in damaged_of(CV_BENCH, folder)]


def test_a_snapshot_of_the_cache_is_read_and_links_elsewhere_are_not(tmp_path: Path) -> None:
    """CV-Bench as huggingface_hub stores it: a snapshot of links to blobs."""
    whole, repository = folders.cv_bench(tmp_path / "whole"), tmp_path / "hub" / "datasets--nyu-visionx--CV-Bench"
    snapshot, blobs = repository / "snapshots" / "bc284db", repository / "blobs"
    blobs.mkdir(parents=True)
    for n, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        blob, link = file.rename(blobs / f"{n:040x}"), snapshot / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert items_of(CV_BENCH, snapshot)[0].image.read().shape == (30, 40, 3)
    shortcut = tmp_path / "CV-Bench"
    shortcut.symlink_to(snapshot)
    assert len(items_of(CV_BENCH, shortcut)) == 7
    outside = (tmp_path / "secret.png", tmp_path / "hub" / "datasets--other" / "blobs" / "0.png")
    for n, target in enumerate((*outside, repository / "refs" / "x.png", blobs / "deeper" / "0.png")):
        image = snapshot / "img" / "2D" / f"{n}.png"
        image.unlink()
        image.symlink_to(folders.picture(target))
    assert damaged_lines(snapshot) == [1, 2, 3, 4]
    assert all("symbolic link out of the folder" in reason for reason in damaged_of(CV_BENCH, snapshot).values())
    blobs.rename(tmp_path / "elsewhere")  # a link itself
    blobs.symlink_to(tmp_path / "elsewhere")
    assert items_of(CV_BENCH, snapshot) == []


def test_an_image_that_leaves_the_folder_or_is_no_file_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "snapshots" / "a"  # not of a cache: no name of a repository
    folder.parent.mkdir(parents=True)
    images = folders.cv_bench(folder) / "img" / "2D"
    for n in range(4):
        (images / f"{n}.png").unlink()
    (images / "0.png").symlink_to(folders.picture(tmp_path / "outside.png"))
    os.mkfifo(images / "1.png")
    (images / "2.png").symlink_to("/dev/zero")
    (images / "3.png").symlink_to(folders.picture(tmp_path / "data" / "blobs" / "0.png"))
    assert damaged_lines(folder) == [1, 2, 3, 4]
    expected = ("symbolic link", "does not exist", "does not exist", "symbolic link")
    for reason, words in zip(damaged_of(CV_BENCH, folder).values(), expected, strict=True):
        assert words in reason


def rows(count: int, size: int = 0) -> list[dict[str, object]]:
    """Rows of CV-Bench whose image has a value of its own, followed by bytes that no decoder looks at."""
    cells = [{"image": image_cell(png(value=n) + os.urandom(size))} for n in range(count)]
    return [folders.cv_entry(n, "COCO", "Count", "(A)") | cell for n, cell in enumerate(cells)]


def test_images_of_a_parquet_file_are_read_in_any_order_from_a_file_that_stays(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "test_2d.parquet"
    write_parquet(path, rows(11), row_group_size=4)
    items = items_of(CV_BENCH, tmp_path)
    for n in (0, 1, 5, 5, 3, 10, 9, 0):
        assert items[n].image.read()[0, 0].tolist() == [n, n, n]
    assert items[5].image.name == f"{path} at row 5, image"
    write_parquet(path, rows(4))
    with pytest.raises(FileError, match="it has changed since it was read"):
        items[2].image.read()


def test_images_are_not_kept_in_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    size, count = 1 << 18, 40
    write_parquet(tmp_path / "test_2d.parquet", rows(count, size), row_group_size=2)
    before, most = pyarrow.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for item in items_of(CV_BENCH, tmp_path):
            item.image.read()
            most = max(most, pyarrow.total_allocated_bytes() - before)
        assert tracemalloc.get_traced_memory()[1] < 16 * size
    finally:
        tracemalloc.stop()
    assert most < 16 * size


def test_what_is_decoded_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(published_files, "LARGEST_TEXT", 1 << 18)
    long = "x" * ((1 << 18) + 1)  # compressed, it has a few KiB
    path = tmp_path / "test_2d.parquet"
    write_parquet(path, [one | {"question": long} for one in rows(2)])
    assert path.stat().st_size < 1 << 15
    with pytest.raises(FileError, match=r"have [0-9]+ bytes in one group, more than"):
        items_of(CV_BENCH, tmp_path)
    write_parquet(path, rows(2, 2000))
    for limit, words in (("LARGEST_IMAGE", "more than 1000"), ("LARGEST_GROUP", "one group of rows, more than 1000")):
        monkeypatch.setattr(published_files, limit, 1000)
        with pytest.raises(FileError, match=words):
            items_of(CV_BENCH, tmp_path)[1].image.encoded()


def test_no_parquet_file_no_column_or_no_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written("blink", tmp_path) / "Relative_Depth" / "val-00000-of-00001.parquet"
    write_parquet(file, [{"idx": "1", "question": "Is it?"}])
    with pytest.raises(FileError, match="it has no column choices, answer, prompt, image_1"):
        BLINK.read(tmp_path)
    file.write_bytes(b"PAR1 is not enough")
    with pytest.raises(FileError, match="not a Parquet file"):
        BLINK.read(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DependencyError, match="pip install pyarrow"):
        BLINK.read(tmp_path)


def test_images_of_embspatial_stay_in_the_file(tmp_path: Path) -> None:
    listing = folders.embspatial(tmp_path) / "embspatial_bench.json"
    listing.write_text(json.dumps(json.loads(listing.read_text()), indent=3))  # blanks between the entries
    items = items_of(EMBSPATIAL, tmp_path)
    assert [item.image.read().shape for item in items] == [(30, 40, 3)] * 4
    listing.write_text("[]")
    with pytest.raises(FileError, match=r"embspatial_bench\.json.*changed"):
        items[0].image.read()


def test_embspatial_refuses_an_image_that_is_damaged_when_it_is_read(tmp_path: Path) -> None:
    whole = folders.EMB[0]["image"]
    data = bytearray(png())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    huge = base64.b64encode(bytes(data)).decode()  # refused before it is decoded
    spoilt = {"not base64 text": "?" + whole[1:], "not a whole image": whole[:40], "not base64": 7, "60000x60000": huge}
    for reason, image in spoilt.items():
        item = items_of(EMBSPATIAL, folders.embspatial(tmp_path, [folders.EMB[0] | {"image": image}]))[0]
        with pytest.raises(FileError, match=reason) as error:
            item.image.read()
        assert error.value.field == "$[0].image"


def name_and_image(row: PublishedRow, *, name: str, image: str) -> str:
    return f"{row.place}: {name}, {len(image)}"


def test_rows_of_a_tsv_file_are_found_again_and_long_ones_refused(tmp_path: Path) -> None:
    path, image = tmp_path / "rows.tsv", folders.IMAGE
    path.write_text(f'name\timage\none\t{image}\n\n"two\nlines ""and"" quotes"\t{image}\nthree', encoding="utf-8")
    found = [row for row, _ in rows_of(path, name_and_image, "get it")]
    assert [one.fields["name"] for one in found] == ["one", 'two\nlines "and" quotes', "three"]
    assert found[2].fields["image"] == ""
    assert found[1].image("image").read().shape == (10, 20, 3)
    with pytest.raises(FileError, match=r"row 2.*changed"):
        found[2].image("image").read()
    with path.open("wb") as file:
        file.write(b'name\timage\n"')
        file.truncate(LONGEST_ROW + 100)
    with pytest.raises(FileError, match="longer than"):
        list(rows_of(path, name_and_image, "get it"))
