# SPDX-License-Identifier: Apache-2.0
"""What'sUp, VSR, CV-Bench, SpatialSense and EmbSpatial on tiny folders of their layout; scores worked by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import benchmark_folders as folders
import pytest
from benchmark_folders import damaged_of, graded, items_of, values

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.evaluation.benchmarks.catalogue import BENCHMARKS, benchmark_of
from spatial_vlm_ros.evaluation.benchmarks.cv_bench import CV_BENCH, CvTruth
from spatial_vlm_ros.evaluation.benchmarks.embspatial import EMBSPATIAL
from spatial_vlm_ros.evaluation.benchmarks.protocol import Benchmark, BenchmarkAnswer, ChoiceTruth, shuffled
from spatial_vlm_ros.evaluation.benchmarks.scoring import mean_of_accuracies
from spatial_vlm_ros.evaluation.benchmarks.spatialsense import SPATIALSENSE
from spatial_vlm_ros.evaluation.benchmarks.vsr import VSR
from spatial_vlm_ros.evaluation.benchmarks.whatsup import WHATSUP
from spatial_vlm_ros.types.proportions import wilson

WRITERS: dict[str, Callable[[Path], Path]] = {
    "whatsup": folders.whatsup, "vsr": folders.vsr, "cv-bench": folders.cv_bench,
    "spatialsense": folders.spatialsense, "embspatial": folders.embspatial,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ all of them


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


LISTINGS = [
    (CV_BENCH, folders.cv_bench, "test_3d.jsonl", "{}\n", "no line has the published form"),
    (SPATIALSENSE, folders.spatialsense, "annotations.json", '[{"url": 3}', r"annotations\.json"),
    (EMBSPATIAL, folders.embspatial, "embspatial_bench.json", "[" * 100_000, "embspatial"),
    (EMBSPATIAL, folders.embspatial, "embspatial_bench.json", '{"a": 1}', "object"),
    (EMBSPATIAL, folders.embspatial, "embspatial_bench.json", '[{"image"', "truncated"),
]


@pytest.mark.parametrize(("benchmark", "write", "name", "text", "words"), LISTINGS)
def test_a_listing_that_is_none_is_refused(
    benchmark: Benchmark, write: Callable[[Path], Path], name: str, text: str, words: str, tmp_path: Path
) -> None:
    (write(tmp_path) / name).write_text(text)
    with pytest.raises(FileError, match=words):
        items_of(benchmark, tmp_path)


def test_a_listing_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatial_vlm_ros.evaluation.benchmarks.published_files.LARGEST_LISTING", 10)
    with pytest.raises(FileError, match="bytes, more than 10"):
        items_of(EMBSPATIAL, folders.embspatial(tmp_path))


def test_a_mean_of_accuracies_has_the_interval_of_its_parts(tmp_path: Path) -> None:
    items = items_of(CV_BENCH, folders.cv_bench(tmp_path))
    halves = [(0.5, graded(items[:2], lambda _: True)), (0.5, graded(items[2:5], lambda one: one.key == "2"))]
    found = mean_of_accuracies("both", halves).interval
    first, second = wilson(2, 2), wilson(1, 3)
    assert found is not None
    assert found.value == pytest.approx((1 + 1 / 3) / 2, abs=1e-6)
    down = ((0.5 * (1 - first.low)) ** 2 + (0.5 * (1 / 3 - second.low)) ** 2) ** 0.5
    assert found.low == pytest.approx(found.value - down, abs=1e-5)
    assert found.high == pytest.approx(found.value + 0.5 * (second.high - 1 / 3), abs=1e-5)


# ------------------------------------------------------------------------------------------------ What'sUp


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
    assert [one.key for one in items[4:]] == [
        "coco_qa_two_obj/000000000285.jpg#1", "coco_qa_two_obj/000000000017.jpg#1", "coco_qa_two_obj/000000000017.jpg#2"
    ]  # fmt: skip
    found = values(WHATSUP, graded(items, lambda one: "#1" in one.key))
    assert found["COCO-spatial, two objects, accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["set A, sets of four"] == 0.0


def test_whatsup_has_an_accuracy_for_each_preposition(tmp_path: Path) -> None:
    folder = folders.whatsup_pairs(tmp_path)
    one = [[17, "A cat on the left", "A cat on the right"], [285, "A bear on the top", "A bear on the bottom"]]
    (folder / "coco_qa_one_obj.json").write_text(json.dumps(one))
    rows = [[5, "A cup in front of a can", "A cup behind a can"], [5, "A can behind a cup", "A can in front of a cup"],
            [5, "A cup on top of it", "A cup under it"], [5, "It is right of it", "It is left of it"]]  # fmt: skip
    (folder / "vg_qa_two_obj.json").write_text(json.dumps(rows))
    folders.picture(folder / "vg_images" / "5.jpg")
    items = items_of(WHATSUP, folder)
    parts = [one.splits["preposition"].partition(": ") for one in items]
    assert [part for _, _, part in parts] == [
        "left",
        "top",
        "above",
        "left",
        "right",
        "front",
        "behind",
        "top",
        "right",
    ]
    found = values(WHATSUP, graded(items, lambda one: "285" not in one.key))
    assert {name: found[name] for name in found if name.startswith("COCO-spatial, two objects")} == {
        "COCO-spatial, two objects, accuracy": pytest.approx(2 / 3, abs=1e-6),
        "COCO-spatial, two objects: above": 0.0,
        "COCO-spatial, two objects: left": 1.0,
        "COCO-spatial, two objects: right": 1.0,
    }
    assert found["COCO-spatial, one object: top"] == 0.0
    assert found["GQA-spatial, two objects: front"] == 1.0


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


# ------------------------------------------------------------------------------------------------ VSR


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


# ------------------------------------------------------------------------------------------------ CV-Bench


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
    told = [(0, "(A)", 1.0), (0, "answer is a", 1.0), (0, "cup", 0.0), (1, "Because it is red, A", 1.0),
            (1, "The answer is: (B)", 0.0), (5, "<think>B?</think>A", 1.0), (6, "can", 0.0)]  # fmt: skip
    for n, text, credit in told:
        assert items[n].truth.credit(BenchmarkAnswer(0, text=text)) == credit, text
    assert [one.truth.credit(BenchmarkAnswer(0)) for one in items] == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    of_letters = CvTruth(("x", "a"), 1, of_3d=True)  # published: an option of 3D may be written out
    assert of_letters.credit(BenchmarkAnswer(text="a")) == 1.0
    assert CvTruth(("x", "a"), 1).credit(BenchmarkAnswer(text="a")) == 0.0


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


# ------------------------------------------------------------------------------------------------ the others


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
