# SPDX-License-Identifier: Apache-2.0
"""What'sUp, VSR, CV-Bench, SpatialSense and EmbSpatial on tiny folders of their layout; scores worked by hand."""

import base64
import json
import os
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_folders as folders
import pytest
from benchmark_folders import damaged_of, graded, image_cell, items_of, png, values, write_parquet
from tables import tables

from spatial_vlm_lab.benchmarks import published_files
from spatial_vlm_lab.benchmarks.catalogue import BENCHMARKS, benchmark_of
from spatial_vlm_lab.benchmarks.lettered import CV_BENCH, right_in_2d, right_in_3d
from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, ChoiceTruth, mean_of_accuracies, shuffled
from spatial_vlm_lab.benchmarks.published_files import ParquetImage
from spatial_vlm_lab.benchmarks.relations import EMBSPATIAL, SPATIALSENSE, VSR, WHATSUP
from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.types.proportions import wilson

TABLES = tables(__file__)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "whatsup": folders.whatsup, "vsr": folders.vsr, "cv-bench": folders.cv_bench,
    "spatialsense": folders.spatialsense, "embspatial": folders.embspatial,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_the_items_are_the_same_each_time_and_their_images_can_be_read(name: str, tmp_path: Path) -> None:
    folder = WRITERS[name](tmp_path / "data")
    items = items_of(benchmark_of(name), folder)
    assert items
    assert not damaged_of(benchmark_of(name), folder)
    assert [(one.key, one.truth.described()) for one in items] == [
        (one.key, one.truth.described()) for one in items_of(benchmark_of(name), folder)
    ]
    assert len({one.key for one in items}) == len(items)
    assert {one.image.read().shape for one in items} == {(30, 40, 3)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_that_is_missing_is_refused_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(FileError) as error:
            list(benchmark_of(name).read(folder))
        assert error.value.repair == benchmark_of(name).source


def test_a_truth_needs_different_options() -> None:
    for choices, right in ((("a",), 0), (("a", "a"), 0), (("a", ""), 0), (("a", "b"), 2)):
        with pytest.raises(InputError):
            ChoiceTruth(choices, right)
    truth = shuffled(("a", "b", "c"), 1, "key")
    assert truth.choices[truth.right] == "b"
    assert truth == shuffled(("a", "b", "c"), 1, "key")
    assert (truth.credit(BenchmarkAnswer(truth.right)), truth.credit(BenchmarkAnswer(None))) == (1.0, 0.0)
    with pytest.raises(UnknownNameError, match="whatsup, vsr, cv-bench"):
        benchmark_of("libra")


def test_damaged_items_are_named_and_damage_no_other(tmp_path: Path) -> None:
    four = list("abcd")
    captions = [
        {"image_path": f"x/{name}.jpeg", "caption_options": options}
        for name, options in (("cup_beside_table", four), ("mug_on_table", four), ("mug_on_table", four[:3]))
    ]
    good = folders.vsr_line("1.jpg", 1, "under")
    lines = [good, folders.vsr_line("../1.jpg", 1, "under"), good | {"label": 3}, {"image": "1.jpg"}]
    entries = [folders.cv_entry(n, "COCO", "Count", f"({letter})") for n, letter in enumerate("CAA")]
    entries[1]["choices"] = ["a", "a"]
    relations = [folders.relation("a", "on", True), folders.relation("b", "beside", True), {"_id": "c"}]
    for benchmark, folder, keys, numbers in (
        (WHATSUP, folders.whatsup(tmp_path, further=captions), "controlled_images_dataset.json[{}]", (4, 5, 6)),
        (VSR, folders.vsr(tmp_path, {"random": lines}), "random/{}", (2, 3, 4)),
        (CV_BENCH, folders.cv_bench(tmp_path, entries), "test_2d.jsonl line {}", (1, 2)),
        (SPATIALSENSE, folders.spatialsense(tmp_path, relations), "annotations.json[0].annotations[{}]", (1, 2)),
    ):
        assert list(damaged_of(benchmark, folder)) == [keys.format(n) for n in numbers]
        assert items_of(benchmark, folder)
    reasons = damaged_of(WHATSUP, tmp_path).values()
    assert all(words in one for one, words in zip(reasons, ("beside", "does not exist", "length"), strict=True))


DEEP = ("embspatial", "embspatial_bench.json", "[" * 100_000, "embspatial")


@pytest.mark.parametrize(("benchmark", "name", "text", "words"), [DEEP, *TABLES["no listings"]])
def test_a_listing_that_is_none_is_refused(benchmark: str, name: str, text: str, words: str, tmp_path: Path) -> None:
    (WRITERS[benchmark](tmp_path) / name).write_text(text)
    with pytest.raises(FileError, match=words):
        items_of(benchmark_of(benchmark), tmp_path)


def test_a_listing_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatial_vlm_lab.benchmarks.published_files.LARGEST_LISTING", 10)
    with pytest.raises(FileError, match="bytes, more than 10"):
        items_of(EMBSPATIAL, folders.embspatial(tmp_path))


def test_a_mean_of_accuracies_has_the_interval_of_its_parts(tmp_path: Path) -> None:
    items = items_of(CV_BENCH, folders.cv_bench(tmp_path))
    halves = [(0.5, graded(items[:2], lambda _: True)), (0.5, graded(items[2:5], lambda one: one.key == "2"))]
    found: Any = mean_of_accuracies("both", halves).interval
    first, second = wilson(2, 2), wilson(1, 3)
    assert found.value == pytest.approx((1 + 1 / 3) / 2, abs=1e-6)
    down = ((0.5 * (1 - first.low)) ** 2 + (0.5 * (1 / 3 - second.low)) ** 2) ** 0.5
    assert found.low == pytest.approx(found.value - down, abs=1e-5)
    assert found.high == pytest.approx(found.value + 0.5 * (second.high - 1 / 3), abs=1e-5)


def test_whatsup_counts_pairs_and_sets_of_the_same_two_objects(tmp_path: Path) -> None:
    names = [
        f"{pair}.jpeg" for relation in folders.SIDES for pair in (f"cup_{relation}_table", f"can_{relation}_chair")
    ]
    items = items_of(WHATSUP, folders.whatsup(tmp_path, [*names, "hat_on_box.jpeg"]))
    wrong = {"A/can_on_chair.jpeg", "A/hat_on_box.jpeg"}
    found = {score.name: score for score in WHATSUP.score(graded(items, lambda one: one.key not in wrong))}
    assert found["set A, accuracy"].value == pytest.approx(7 / 9, abs=1e-6)
    # cup: both pairs; can: left and right alone; hat: no pair. The authors divide by half the 9 images.
    assert found["set A, pairs"].value == pytest.approx(3 / 4.5, abs=1e-6)
    assert found["set A, pairs"].share == wilson(3, 4)
    assert found["set A, sets of four"].value == pytest.approx(1 / (9 / 4), abs=1e-6)
    assert found["set A, sets of four"].share == wilson(1, 2)


def test_whatsup_shuffles_the_captions_of_which_the_first_is_true(tmp_path: Path) -> None:
    names = [f"o{n}_on_table.jpeg" for n in range(40)]
    items = items_of(WHATSUP, folders.whatsup(tmp_path, names))
    assert all(one.choices[one.truth.right].startswith("A o") for one in items if isinstance(one.truth, ChoiceTruth))
    assert {one.truth.right for one in items if isinstance(one.truth, ChoiceTruth)} == {0, 1, 2, 3}
    assert items[0].splits == {"set": "A", "relation": "A: on"}


def test_whatsup_reads_the_sets_with_two_captions_that_are_there(tmp_path: Path) -> None:
    items = items_of(WHATSUP, folders.whatsup_pairs(folders.whatsup(tmp_path)))
    assert [one.key for one in items[4:]] == TABLES["keys of pairs"]
    found = values(WHATSUP, graded(items, lambda one: "#1" in one.key))
    assert found["COCO-spatial, two objects, accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["set A, sets of four"] == 0.0


def test_whatsup_has_an_accuracy_for_each_preposition(tmp_path: Path) -> None:
    folder = folders.whatsup_pairs(tmp_path)
    for name in ("coco_qa_one_obj", "vg_qa_two_obj"):
        (folder / f"{name}.json").write_text(json.dumps(TABLES[name]))
    folders.picture(folder / "vg_images" / "5.jpg")
    items = items_of(WHATSUP, folder)
    parts = [one.splits["preposition"].partition(": ") for one in items]
    assert [part for _, _, part in parts] == [
        *("left", "top", "above", "left", "right", "front", "behind", "top", "right")
    ]
    found = values(WHATSUP, graded(items, lambda one: "285" not in one.key))
    expected = dict(TABLES["prepositions"])
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert {name for name in found if name.startswith("COCO-spatial, two objects")} <= expected.keys()


def test_whatsup_has_the_mean_of_two_sets_of_a_kind(tmp_path: Path) -> None:
    folder = folders.whatsup(tmp_path)
    clevr = [{"image_path": "x/cup_behind_can.jpeg", "caption_options": list("abcd")},
             {"image_path": "x/cup_in-front_of_can.jpeg", "caption_options": list("abcd")}]  # fmt: skip
    (folder / "controlled_clevr_dataset.json").write_text(json.dumps(clevr))
    for entry in clevr:
        folders.picture(folder / "controlled_clevr" / Path(str(entry["image_path"])).name)
    found = values(
        WHATSUP, graded(items_of(WHATSUP, folder), lambda one: "behind" not in one.key and "left" not in one.key)
    )
    assert found["controlled, mean of both sets"] == pytest.approx((3 / 4 + 1 / 2) / 2, abs=1e-6)
    assert found["set B, pairs"] == 0.0
    assert "COCO-spatial, mean of both sets" not in found


def test_vsr_scores_each_split_and_knows_relations_and_categories(tmp_path: Path) -> None:
    items = items_of(VSR, folders.vsr(tmp_path))
    assert items[0].question == "Is this statement about the image true or false? The cup is left of the can."
    assert [one.truth.described() for one in items[:2]] == ["(('true', 'false'), 0)", "(('true', 'false'), 1)"]
    assert items[3].splits == {
        "split": "zero-shot", "zero-shot, relation": "facing", "zero-shot, category": "Orientation"
    }  # fmt: skip
    found = values(VSR, graded(items, lambda one: one.key != "random/3"))
    assert found == {"random split, accuracy": pytest.approx(2 / 3, abs=1e-6), "zero-shot split, accuracy": 1.0}


def test_vsr_is_read_as_the_data_sets_have_it(tmp_path: Path) -> None:
    repository = folders.vsr(tmp_path / "repository")
    wanted = [(one.key, one.truth, dict(one.splits)) for one in items_of(VSR, repository)]
    assert [(one.key, one.truth, dict(one.splits)) for one in items_of(VSR, repository / "data")] == wanted
    assert wanted[1][2]["random, category"] == "Projective"
    both = tmp_path / "both"
    for split in ("random", "zeroshot"):
        folder = both / f"vsr_{split}"
        folder.mkdir(parents=True)
        shutil.copy(repository / "data" / "splits" / split / "test.jsonl", folder)
    shutil.copytree(repository / "data" / "images", both / "images")
    shutil.copytree(repository / "analysis_scripts", both / "analysis_scripts")
    assert [(one.key, one.truth, dict(one.splits)) for one in items_of(VSR, both)] == wanted
    alone = tmp_path / "datasets--cambridgeltl--vsr_zeroshot" / "snapshots" / "a1"
    shutil.copytree(both / "vsr_zeroshot", alone)
    shutil.copytree(both / "images", alone / "images")
    assert [one.key for one in items_of(VSR, alone)] == ["zero-shot/1", "zero-shot/2"]
    assert items_of(VSR, alone)[0].image.name == str(alone / "images" / "2.jpg")
    untold = tmp_path / "data"
    shutil.copytree(alone, untold)
    with pytest.raises(FileError, match="Rename its folder to vsr_random or vsr_zeroshot"):
        items_of(VSR, untold)


def test_cv_bench_is_the_mean_of_2d_and_3d(tmp_path: Path) -> None:
    items = items_of(CV_BENCH, folders.cv_bench(tmp_path))
    found = values(CV_BENCH, graded(items, lambda one: one.key in ("0", "2", "3", "5")))
    ade, coco, omni = 1 / 2, 2 / 3, 1 / 2
    assert found["2D"] == pytest.approx((ade + coco) / 2, abs=1e-6)
    assert found["3D"] == omni
    assert found["CV-Bench"] == pytest.approx(((ade + coco) / 2 + omni) / 2, abs=1e-6)
    assert items[4].splits == {"task": "2D Relation", "source": "COCO"}
    assert items[4].prompt.startswith(items[4].question + " Select from the following choices.\n(A) cup\n(B) can\n")
    assert values(CV_BENCH, graded(items[:2], lambda _: True)) == {"accuracy": 1.0}  # no mean that lacks a part
    assert values(CV_BENCH, graded(items[:5], lambda _: True)) == {"2D": 1.0}


def test_cv_bench_finds_images_by_the_published_file_names(tmp_path: Path) -> None:
    """A published line names "img/2D/count/ade20k_10.png", relative to the folder of the listing."""
    folder = folders.cv_bench(tmp_path)
    for name in ("test_2d.jsonl", "test_3d.jsonl"):
        listing = folder / name
        listing.write_text(listing.read_text().replace('"filename": "', '"filename": "img/'))
    assert not damaged_of(CV_BENCH, folder)
    items = items_of(CV_BENCH, folder)
    assert [one.image.name for one in items[:2]] == [str(folder / "img" / "2D" / f"{n}.png") for n in (0, 1)]
    assert items[6].image.read().shape == (30, 40, 3)


def test_cv_bench_counts_replies_as_published(tmp_path: Path) -> None:
    items = items_of(CV_BENCH, folders.cv_bench(tmp_path))
    assert items[4].prompt.endswith("\nAnswer with the option's letter from the given choices directly.")
    for n, text, credit in TABLES["replies to CV-Bench"]:
        assert items[n].truth.credit(BenchmarkAnswer(0, text=text)) == credit, text
    assert [one.truth.credit(BenchmarkAnswer(0)) for one in items] == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    of_letters = ChoiceTruth(("x", "a"), 1, right_in_3d)  # published: an option of 3D may be written out
    assert of_letters.credit(BenchmarkAnswer(text="a")) == 1.0
    assert ChoiceTruth(("x", "a"), 1, right_in_2d).credit(BenchmarkAnswer(text="a")) == 0.0


def test_cv_bench_reads_parquet_as_it_reads_json_lines(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    of_json = items_of(CV_BENCH, folders.cv_bench(tmp_path / "json"))
    of_parquet = items_of(CV_BENCH, folders.cv_bench_parquet(tmp_path / "parquet"))
    for one, other in zip(of_json, of_parquet, strict=True):
        assert (one.key, one.truth, one.splits, one.prompt) == (other.key, other.truth, other.splits, other.prompt)
        assert (one.image.read() == other.image.read()).all()
    both = folders.cv_bench(folders.cv_bench_parquet(tmp_path / "both"))
    assert [one.key for one in items_of(CV_BENCH, both)] == [one.key for one in of_json]
    (tmp_path / "parquet" / "test_2d.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(FileError, match="not a Parquet file"):
        items_of(CV_BENCH, tmp_path / "parquet")


def test_spatialsense_scores_the_test_split_by_predicate(tmp_path: Path) -> None:
    items = items_of(SPATIALSENSE, folders.spatialsense(tmp_path))
    assert [one.key for one in items] == ["a", "b", "c", "d"]
    assert items[2].question == "Is the cat to the left of the mirror?"
    found = values(SPATIALSENSE, graded(items, lambda one: one.key != "b"))
    assert found == {"overall": 0.75}
    assert {one.splits["predicate"] for one in items} == {"on", "to the left of", "behind"}


def test_embspatial_scores_and_knows_what_contradicts_the_rule_of_thumb(tmp_path: Path) -> None:
    items = items_of(EMBSPATIAL, folders.embspatial(tmp_path))
    assert [one.counter_heuristic for one in items] == [False, True, False, None]
    found = values(EMBSPATIAL, graded(items, lambda one: one.key in ("q_0", "q_3")))
    assert found == {"overall": 0.5}
    assert items[1].splits == {"relation": "close", "source": "mp3d"}


def test_embspatial_marks_no_item_where_boxes_do_not_tell(tmp_path: Path) -> None:
    level = folders.emb_entry(0, "far", 1, tops=(5, 5, 20, 25))
    entries = [level, folders.emb_entry(1, "far", 1, objects=[]), folders.emb_entry(2, "far", 4)]
    folder = folders.embspatial(tmp_path, entries)
    assert [one.counter_heuristic for one in items_of(EMBSPATIAL, folder)] == [None, None]
    assert list(damaged_of(EMBSPATIAL, folder)) == ["q_2"]


def in_cache(folder: Path) -> Path:
    """CV-Bench as huggingface_hub stores it: a snapshot of links to blobs."""
    whole = folders.cv_bench(folder / "whole")
    repository = folder / "hub" / "datasets--nyu-visionx--CV-Bench"
    snapshot = repository / "snapshots" / "bc284db"
    (repository / "blobs").mkdir(parents=True)
    for n, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        blob = file.rename(repository / "blobs" / f"{n:040x}")
        link = snapshot / file.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_a_snapshot_of_the_cache_is_read_and_links_elsewhere_are_not(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path)
    items = items_of(CV_BENCH, snapshot)
    assert [one.key for one in items] == [str(n) for n in range(7)]
    assert items[0].image.read().shape == (30, 40, 3)
    shortcut = tmp_path / "CV-Bench"
    shortcut.symlink_to(snapshot)
    assert len(items_of(CV_BENCH, shortcut)) == 7
    repository = snapshot.parents[1]
    secret = folders.picture(tmp_path / "secret.png")
    other = folders.picture(tmp_path / "hub" / "datasets--other" / "blobs" / "0.png")
    below = folders.picture(repository / "blobs" / "deeper" / "0.png")
    for n, target in enumerate((secret, other, repository / "refs" / "x.png", below)):
        image = snapshot / "img" / "2D" / f"{n}.png"
        image.unlink()
        image.symlink_to(folders.picture(target))
    damaged = damaged_of(CV_BENCH, snapshot)
    assert list(damaged) == [f"test_2d.jsonl line {n}" for n in (1, 2, 3, 4)]
    assert all("symbolic link out of the folder" in reason for reason in damaged.values())


def test_blobs_that_are_a_link_or_outside_a_cache_are_not_followed(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path)
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert next(iter(damaged_of(CV_BENCH, snapshot))) == "test_2d.jsonl line 1"
    assert items_of(CV_BENCH, snapshot) == []
    folder = tmp_path / "data" / "snapshots" / "a"
    folder.parent.mkdir(parents=True)
    folders.cv_bench(folder)
    blob = folders.picture(tmp_path / "data" / "blobs" / "0.png")
    (folder / "img" / "2D" / "0.png").unlink()
    (folder / "img" / "2D" / "0.png").symlink_to(blob)
    assert list(damaged_of(CV_BENCH, folder)) == ["test_2d.jsonl line 1"]


def test_an_image_that_leaves_the_folder_or_is_no_file_is_damaged(tmp_path: Path) -> None:
    folder = folders.cv_bench(tmp_path / "cv")
    outside = folders.picture(tmp_path / "outside.png")
    images = folder / "img" / "2D"
    for n in (0, 1, 2):
        (images / f"{n}.png").unlink()
    (images / "0.png").symlink_to(outside)
    os.mkfifo(images / "1.png")
    (images / "2.png").symlink_to("/dev/zero")
    damaged = damaged_of(CV_BENCH, folder)
    assert list(damaged) == [f"test_2d.jsonl line {n}" for n in (1, 2, 3)]
    for reason, words in zip(damaged.values(), ("symbolic link", "does not exist", "does not exist"), strict=True):
        assert words in reason


def rows(count: int, size: int = 0) -> list[dict[str, object]]:
    """Rows of CV-Bench whose image has a value of its own, followed by bytes that no decoder looks at."""
    return [
        folders.cv_entry(n, "COCO", "Count", "(A)") | {"image": image_cell(png(value=n) + os.urandom(size))}
        for n in range(count)
    ]


def test_images_of_a_parquet_file_are_read_in_any_order(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "test_2d.parquet", rows(11), row_group_size=4)
    items = items_of(CV_BENCH, tmp_path)
    for n in (0, 1, 5, 5, 3, 10, 9, 0):
        assert items[n].image.read()[0, 0].tolist() == [n, n, n]
    assert items[5].image.name == f"{tmp_path / 'test_2d.parquet'} at row 5, image"


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


def test_a_row_without_an_image_is_damaged_when_it_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    given = rows(3)
    given[1]["image"] = None
    write_parquet(tmp_path / "test_2d.parquet", given)
    items = items_of(CV_BENCH, tmp_path)
    with pytest.raises(FileError, match="the row has no image"):
        items[1].image.read()
    assert items[2].image.read()[0, 0].tolist() == [2, 2, 2]
    write_parquet(tmp_path / "test_2d.parquet", rows(4))
    with pytest.raises(FileError, match="it has changed since it was read"):
        items[2].image.read()


def test_what_is_decoded_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(published_files, "LARGEST_TEXT", 1 << 18)
    long = "x" * ((1 << 18) + 1)  # compressed, it has a few KiB
    path = tmp_path / "test_2d.parquet"
    write_parquet(path, [one | {"question": long} for one in rows(2)])
    assert path.stat().st_size < 1 << 15
    with pytest.raises(FileError, match=r"have [0-9]+ bytes in one group, more than"):
        items_of(CV_BENCH, tmp_path)
    monkeypatch.setattr(published_files, "LARGEST_IMAGE", 1000)
    write_parquet(path, rows(2, 2000))
    image = items_of(CV_BENCH, tmp_path)[1].image
    assert isinstance(image, ParquetImage)
    with pytest.raises(FileError, match="more than 1000"):
        image.encoded()


def test_images_of_embspatial_stay_in_the_file(tmp_path: Path) -> None:
    folder = folders.embspatial(tmp_path)
    listing = folder / "embspatial_bench.json"
    listing.write_text(json.dumps(json.loads(listing.read_text()), indent=3))  # blanks between the entries
    items = items_of(EMBSPATIAL, folder)
    assert [item.image.read().shape for item in items] == [(30, 40, 3)] * 4
    listing.write_text("[]")
    with pytest.raises(FileError, match=r"embspatial_bench\.json"):
        items[0].image.read()


def test_embspatial_refuses_an_image_that_is_damaged_when_it_is_read(tmp_path: Path) -> None:
    whole = folders.EMB[0]["image"]
    spoilt = {"not base64 text": "?" + whole[1:], "not a whole image": whole[:40], "not base64": 7}
    for reason, image in spoilt.items():
        item = items_of(EMBSPATIAL, folders.embspatial(tmp_path, [folders.EMB[0] | {"image": image}]))[0]
        with pytest.raises(FileError, match=reason) as error:
            item.image.read()
        assert error.value.field == "$[0].image"
    data = bytearray(png())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    huge = folders.EMB[0] | {"image": base64.b64encode(bytes(data)).decode()}
    with pytest.raises(FileError, match="60000x60000"):  # before it is decoded
        items_of(EMBSPATIAL, folders.embspatial(tmp_path, [huge]))[0].image.read()
