# SPDX-License-Identifier: Apache-2.0
"""Folders and bags give the same rows in one piece and in many, here and in a store, on one process and on two."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import pickle
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("rosbags")

from bag_builder import T0, scene
from engine_bags import COUNT, WORDS, stamp_of, write_bag, write_truth
from engine_tasks import contents
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.errors import FileError, RunMismatchError
from spatial_vlm_ros.evaluation import truth_file
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.engine import case_shards
from spatial_vlm_ros.evaluation.engine.ahead import made_ahead
from spatial_vlm_ros.evaluation.engine.bag_window import recording_lag
from spatial_vlm_ros.evaluation.engine.case_shards import CaseWork, plan_cases, run_configuration
from spatial_vlm_ros.evaluation.engine.case_task import CaseSetup
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.run import MergedRun, evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.shards import Row, Shard
from spatial_vlm_ros.evaluation.model_spec import ModelSpec, load_model
from spatial_vlm_ros.evaluation.sources import Source, evaluate_source, sources_of
from spatial_vlm_ros.parameters import ResolverConfig, Settings, StreamConfig

SETTINGS = Settings()
GIVEN = (ModelSpec(),)
NOTES: list[str] = []  # of the latest answers


def answered(shards: Sequence[Shard], settings: Settings = SETTINGS) -> list[Row]:
    task = CaseSetup(settings, GIVEN)()
    answers = [task(shard) for shard in shards]
    NOTES[:] = [note for one in answers for note in one.notes]
    return [row for one in answers for row in one.rows]


def in_order(rows: Sequence[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: (row["source"], row["frame"], row["stamp_ns"], row["instruction"]))


def evaluated(folder: Path, shards: Sequence[Shard], workers: int = 1, **options: Any) -> MergedRun:
    setup = CaseSetup(SETTINGS, GIVEN)
    return evaluate_shards(setup, shards, folder, LocalEngine(workers), run_configuration(SETTINGS, None), **options)


# ------------------------------------------------------------------------------------------------ frames


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of two chicks and a cup, two sentences on each, and a frame that is not there."""
    folder = tmp_path_factory.mktemp("frames") / "kitchen"
    seen = scene()
    for n in range(5):
        write_frame(folder / f"f{n}", dataclasses.replace(seen.frame, stamp_ns=0), seen.detections)
    cases = [
        case(f"f{n}", words, id_) for n in range(5) for words, id_ in zip(WORDS, ("bonnet", "ribbon"), strict=False)
    ]
    write_cases(folder, [*cases, case("none", "the cup", "cup"), case("f0", "the box", "box")])
    return folder


def test_batches_of_frames_give_the_rows_of_the_whole_folder(frames: Path) -> None:
    source = Source(str(frames))
    expected = [done.row() for done in evaluate_source(source, load_model(ModelSpec()), SETTINGS)]
    assert [row["right"] for row in expected] == [True] * 10 + [False, True]
    for most in (1, 2, 32):
        shards = plan_cases([source], GIVEN, SETTINGS, frames_in_shard=most)
        assert len(shards) == math.ceil(7 / most)
        assert answered(shards) == expected
        assert [title for shard in shards for title in shard.cases] == [
            f"{row['frame']}: {row['instruction']}" for row in expected
        ]


def test_what_a_worker_needs_can_be_sent_to_it(frames: Path) -> None:
    shards = plan_cases(sources_of([str(frames)], []), [ModelSpec("a", "simulator", {"seed": "1"})], SETTINGS)
    for thing in (*shards, CaseSetup(SETTINGS, GIVEN)):
        again = pickle.loads(pickle.dumps(thing))  # noqa: S301
        assert again == thing
    assert pickle.loads(pickle.dumps(shards[0])).payload == shards[0].payload  # noqa: S301


def test_the_folder_of_results_is_the_same_on_one_process_and_on_two(frames: Path, tmp_path: Path) -> None:
    shards = plan_cases([Source(str(frames))], GIVEN, SETTINGS, frames_in_shard=2)
    assert evaluated(tmp_path / "one", shards).is_whole
    assert evaluated(tmp_path / "two", shards, workers=2).is_whole
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert list(run_rows(tmp_path / "one")) == answered(shards)


def test_rows_name_sources_as_they_were_given_wherever_a_worker_runs(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(frames.parent)
    shards = plan_cases([Source(frames.name)], GIVEN, SETTINGS)
    expected = [done.row() for done in evaluate_source(Source(frames.name), load_model(ModelSpec()), SETTINGS)]
    monkeypatch.chdir(tmp_path)
    found = answered(shards)
    for row in (*found, *expected):  # a frame that is not there is named by its path
        row["message"] = row["message"].replace(f"{frames.parent}/", "")
    assert found == expected
    assert {row["source"] for row in expected} == {frames.name}


def keys(folder: Path, settings: Settings = SETTINGS, models: Sequence[ModelSpec] = GIVEN) -> list[str]:
    shards = plan_cases([Source(str(folder))], models, settings, frames_in_shard=1)
    return [shard.key("configuration") for shard in shards]


def test_only_what_has_changed_is_evaluated_again(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / frames.name
    shutil.copytree(frames, folder)
    first = plan_cases([Source(str(folder))], GIVEN, SETTINGS, frames_in_shard=1)
    evaluated(tmp_path / "out", first)
    before = keys(folder)
    image = folder / "f2" / "rgb.png"
    os.utime(image, (0, 0))
    assert keys(folder) == before
    image.write_bytes((frames / "f2" / "rgb.png").read_bytes() + b"\0")
    after = keys(folder)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True, True, True, True]
    again = plan_cases([Source(str(folder))], GIVEN, SETTINGS, frames_in_shard=1)
    assert evaluated(tmp_path / "out", again, resume=True).reused == 6


def test_models_are_added_to_what_is_there_and_other_parameters_are_refused(frames: Path, tmp_path: Path) -> None:
    source, both = Source(str(frames)), (*GIVEN, ModelSpec("again"))
    evaluated(tmp_path, plan_cases([source], GIVEN, SETTINGS))
    done = evaluated(tmp_path, plan_cases([source], both, SETTINGS), resume=True)
    assert (done.reused, done.cases) == (1, 24)
    assert [row["model"] for row in run_rows(tmp_path)] == ["detections"] * 12 + ["again"] * 12
    other = Settings(resolver=_narrow())
    with pytest.raises(RunMismatchError, match="another configuration: resolver was"):
        evaluate_shards(CaseSetup(other, GIVEN), plan_cases([source], GIVEN, other), tmp_path, LocalEngine(),
                        run_configuration(other, None), resume=True)  # fmt: skip


def _narrow() -> ResolverConfig:
    config = ResolverConfig()
    return dataclasses.replace(config, relation=dataclasses.replace(config.relation, cone_deg=30.0))


def test_weights_that_were_replaced_are_another_model(frames: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.onnx").write_bytes(b"1")
    models = (ModelSpec("owl", "onnx", {"model": str(weights)}),)
    before = keys(frames, models=models)
    (weights / "model.onnx").write_bytes(b"22")
    assert not set(before) & set(keys(frames, models=models))


def test_a_folder_without_cases_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cases\.jsonl"):
        plan_cases([Source(str(tmp_path))], GIVEN, SETTINGS)


# ------------------------------------------------------------------------------------------------ bags


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("bags")
    truth = write_truth(folder / "truth.jsonl", [stamp_of(n) for n in range(1, COUNT)])
    return Source(str(write_bag(folder / "run")), "bag", str(truth))


@pytest.fixture(scope="module")
def rows_of_bag(bag: Source) -> list[Any]:
    found = [done.row() for done in evaluate_source(bag, load_model(ModelSpec()), SETTINGS)]
    assert all(row["right"] for row in found)
    return in_order(found)


def parts_of(shards: Sequence[Shard]) -> list[Any]:
    return [shard.payload.part for shard in shards if isinstance(shard.payload, CaseWork)]


@pytest.mark.parametrize("megabytes", [0.6, 1.5, 3.0])
def test_parts_of_a_bag_give_the_rows_of_all_of_it(megabytes: float, bag: Source, rows_of_bag: list[Any]) -> None:
    shards = plan_cases([bag], GIVEN, SETTINGS, bytes_in_shard=int(megabytes * 1e6))
    assert len(shards) > 3
    assert None not in parts_of(shards)
    assert in_order(answered(shards)) == rows_of_bag
    assert NOTES == []


def test_a_small_bag_is_one_shard(bag: Source, rows_of_bag: list[Any]) -> None:
    shards = plan_cases([bag], GIVEN, SETTINGS)
    assert parts_of(shards) == [None]
    assert in_order(answered(shards)) == rows_of_bag


def test_a_part_reads_its_own_chunks_alone(bag: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.bag_window.LEAD_NS", 0)
    shards = plan_cases([bag], GIVEN, SETTINGS, bytes_in_shard=600_000)
    part = shards[len(shards) // 2].payload.part
    from spatial_vlm_ros.evaluation.engine.bag_window import BagWindow

    with BagWindow(bag.uri, part) as window, open_bag(bag.uri) as whole:
        heavy = [m.log_ns for m in window.messages() if m.topic.endswith("/image")]
        images = [m.log_ns for m in whole.messages() if m.topic.endswith("/image")]
        light = [m.topic for m in window.messages() if m.log_ns < part.first_ns]
    assert 0 < len(heavy) < len(images)
    assert min(heavy) == part.first_ns
    assert {"/tf_static", "/tf", "/rgb/camera_info"} <= set(light)


def test_stamps_that_no_image_has_get_the_words_of_the_whole_bag(bag: Source, tmp_path: Path) -> None:
    stamps = [stamp_of(3), stamp_of(9) + 7, stamp_of(20), T0 - 10**12, stamp_of(COUNT) + 10**12]
    source = dataclasses.replace(bag, truth=str(write_truth(tmp_path / "truth.jsonl", stamps)))
    expected = [done.row() for done in evaluate_source(source, load_model(ModelSpec()), SETTINGS)]
    assert {row["right"] for row in expected} >= {True, None}
    shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=1_000_000)
    assert parts_of(shards).count(None) == 1
    assert shards[-1].name == "run, stamps outside of its images"
    assert in_order(answered(shards)) == in_order(expected)
    assert f"{bag.uri}: 2 cases have stamps without a nearby image; the whole bag was read for them" in NOTES


def test_a_bag_whose_clock_is_set_back_stays_whole(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", sets_back=True)
    truth = write_truth(tmp_path / "truth.jsonl", [stamp_of(2), stamp_of(COUNT - 2, sets_back=True)])
    source = Source(str(path), "bag", str(truth))
    with open_bag(path) as opened:
        assert recording_lag(opened, "/rgb/image") is None
    shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=1_000_000)
    assert parts_of(shards) == [None]
    assert len(answered(shards)) == 4


def test_bags_without_chunks_and_bags_that_cannot_be_read_stay_whole(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.jsonl", [stamp_of(2)])
    lite = Source(str(write_bag(tmp_path / "lite", "sqlite3")), "bag", str(truth))
    (tmp_path / "bad.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(5_000_000))
    bad = Source(str(tmp_path / "bad.mcap"), "bag", str(truth))
    shards = plan_cases([lite, bad], GIVEN, SETTINGS, bytes_in_shard=100_000)
    assert parts_of(shards) == [None, None]
    assert all(row["right"] for row in answered(shards[:1]))
    done = evaluated(tmp_path / "out", shards)
    assert [(one.shard.name, one.status) for one in done.missing] == [("bad.mcap", "INVALID_INPUT")]


def test_another_truth_or_another_bag_is_another_shard(bag: Source, tmp_path: Path) -> None:
    def key(source: Source) -> str:
        return plan_cases([source], GIVEN, SETTINGS)[0].content

    other = dataclasses.replace(bag, truth=str(write_truth(tmp_path / "truth.jsonl", [stamp_of(4)])))
    copied = tmp_path / "run"
    shutil.copytree(bag.uri, copied)
    there = dataclasses.replace(bag, uri=str(copied))
    assert key(there) == key(bag)
    os.utime(next(copied.glob("*.mcap")), (1, 1))
    assert len({key(bag), key(other), key(there)}) == 3


# ------------------------------------------------------------------------------------------------ damage


def damaged(source: Source, folder: Path) -> Source:
    """A copy of a bag in which one byte in the middle of its data is another."""
    shutil.copytree(source.uri, folder)
    file = next(folder.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return dataclasses.replace(source, uri=str(folder))


@pytest.mark.parametrize("megabytes", [1.5, 1000])
def test_cases_behind_the_damage_of_a_bag_are_no_mistakes_of_the_model(
    megabytes: float, bag: Source, tmp_path: Path
) -> None:
    source = damaged(bag, tmp_path / "run")
    shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=int(megabytes * 1e6))
    rows = answered(shards)
    lost = [row for row in rows if row["problem"]]
    assert len(rows) == 2 * (COUNT - 1)
    assert 0 < len(lost) < len(rows)
    assert all(row["right"] for row in rows if not row["problem"])
    assert {row["right"] for row in lost} == {None}
    assert all("checksum" in row["problem"] for row in lost)
    assert any(note.startswith(f"{source.uri}: the bag is damaged") for note in NOTES)
    assert not any("the whole bag was read" in note for note in NOTES)
    if megabytes == 1000:
        whole = [done.row() for done in evaluate_source(source, load_model(ModelSpec()), SETTINGS)]
        assert in_order(rows) == in_order(whole)


def test_a_disk_that_fails_is_no_damaged_bag_and_is_read_again(
    bag: Source, rows_of_bag: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rosbags.rosbag2 import Reader

    read = Reader.messages

    def failing(self: Reader, *given: Any) -> Iterator[Any]:
        for n, message in enumerate(read(self, *given)):
            if n == 40:
                raise OSError(errno.EIO, "Input/output error")
            yield message

    shards = plan_cases([bag], GIVEN, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "messages", failing)
        done = evaluated(tmp_path, shards)
    assert [(one.shard.name, "Input/output error" in one.reason) for one in done.missing] == [("run", True)]
    again = evaluated(tmp_path, shards, resume=True)
    assert (again.reused, again.is_whole) == (0, True)
    assert in_order(list(run_rows(tmp_path))) == rows_of_bag


# ------------------------------------------------------------------------------------------------ a store


def test_bags_and_results_of_a_store_are_those_of_a_disk(
    bag: Source, rows_of_bag: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    import fsspec
    from s3_server import put, running_server

    with running_server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("lab")
        uri = put(next(Path(bag.uri).glob("*.mcap")), "s3://lab/run.mcap")
        source = dataclasses.replace(bag, uri=uri)
        shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=4_000_000)
        assert len(shards) > 2
        done = evaluate_shards(CaseSetup(SETTINGS, GIVEN), shards, "s3://lab/results/one", LocalEngine(),
                               run_configuration(SETTINGS, None))  # fmt: skip
        assert done.is_whole
        rows = [{**row, "source": bag.uri} for row in run_rows("s3://lab/results/one")]
        assert in_order(rows) == rows_of_bag
        with pytest.raises(RunMismatchError, match="--resume"):
            evaluate_shards(CaseSetup(SETTINGS, GIVEN), shards, "s3://lab/results/one", LocalEngine(),
                            run_configuration(SETTINGS, None))  # fmt: skip
        names = fsspec.filesystem("s3").ls("lab/results/one", detail=False)
        assert {name.rpartition("/")[2] for name in names} == {"run.json", "rows.parquet", "outcome.json", "parts"}
        fsspec.filesystem("s3").clear_instance_cache()


# ------------------------------------------------------------------------------------------------ ahead


def test_items_made_ahead_come_in_order_and_no_more_than_allowed_are_made() -> None:
    made = []

    def items() -> Iterator[int]:
        for n in range(10):
            made.append(n)
            yield n

    ahead = made_ahead(items(), 2)
    assert next(ahead) == 0
    assert len(made) <= 4
    assert list(ahead) == list(range(1, 10))


def test_an_error_of_an_item_comes_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise FileError("x", "damaged", "copy it")

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(FileError):
        next(ahead)


def test_what_is_not_taken_is_closed_with_its_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    ahead = made_ahead(items())
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert "made-ahead" not in {thread.name for thread in threading.enumerate()}


def test_the_code_of_the_package_counts() -> None:
    assert run_configuration(SETTINGS, None)["code"] == case_shards._code()
    changed = Settings(streams=StreamConfig(sync_slop=0.05))
    assert run_configuration(changed, None) != run_configuration(SETTINGS, None)


def test_the_truth_of_thousands_of_bags_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"bags/run{n}.mcap" for n in range(2000)]
    lines = [{"bag": name, "stamp_ns": n + 1, "instruction": "the cup"} for n, name in enumerate(names)]
    (tmp_path / "truth.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = []
    real = truth_file.load_truth
    monkeypatch.setattr(truth_file, "load_truth", lambda path: read.append(path) or real(path))
    uris = [str(tmp_path / name) for name in names]
    sources = [Source(uri, "bag", str(tmp_path / "truth.jsonl"), tuple(uris)) for uri in uris[:50]]
    assert [source.cases()[0].stamp_ns for source in sources] == list(range(1, 51))
    assert len(read) == 1
    (tmp_path / "truth.jsonl").write_text(json.dumps({**lines[0], "stamp_ns": 777}) + "\n")
    assert sources[0].cases()[0].stamp_ns == 777
    with pytest.raises(FileError, match=r"it has no case of .*run1\.mcap"):
        sources[1].cases()
