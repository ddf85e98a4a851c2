# SPDX-License-Identifier: Apache-2.0
"""Folders and bags give the same rows in one piece and in many, also by `evaluate`, and damage costs what it must."""

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cli_runs
import pytest
from bag_builder import T0, scene
from engine_bags import COUNT, WORDS, stamp_of, write_bag, write_truth
from frame_files import case, write_cases, write_frame
from tables import tables
from waiting import DEADLINE

from spatial_vlm_lab.engine import evaluate_cases
from spatial_vlm_lab.engine.ahead import made_ahead
from spatial_vlm_lab.engine.engines import LocalEngine, Shard
from spatial_vlm_lab.engine.evaluate_cases import CaseTask, CaseWork, plan_cases, recording_lag, run_configuration
from spatial_vlm_lab.engine.run import MergedRun, evaluate_shards, run_rows
from spatial_vlm_lab.scoring import sources as truth_files
from spatial_vlm_lab.scoring.case_result import Row
from spatial_vlm_lab.scoring.model_spec import ModelSpec, load_model
from spatial_vlm_lab.scoring.sources import Source, evaluate_source
from spatial_vlm_ros.errors import FileError, RunMismatchError
from spatial_vlm_ros.parameters import ResolverConfig, Settings, StreamConfig
from spatial_vlm_ros.recording.bags.topics import open_bag

pytest.importorskip("pyarrow")
pytest.importorskip("rosbags")

slow = partial(pytest.param, marks=pytest.mark.slow)
SETTINGS = Settings()
GIVEN = (ModelSpec(),)
NOTES: list[str] = []  # of the latest answers


def answered(shards: Sequence[Shard], settings: Settings = SETTINGS) -> list[Row]:
    task = CaseTask(settings, GIVEN)
    answers = [task(shard) for shard in shards]
    NOTES[:] = [note for one in answers for note in one.notes]
    return [row for one in answers for row in one.rows]


def rows_of(source: Source) -> list[Any]:
    """The rows of a source that is evaluated in one piece."""
    return [done.row() for done in evaluate_source(source, load_model(ModelSpec()), SETTINGS)]


def in_order(rows: Sequence[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: (row["source"], row["frame"], row["stamp_ns"], row["instruction"]))


def evaluated(folder: Path, shards: Sequence[Shard], **options: Any) -> MergedRun:
    setup = partial(CaseTask, SETTINGS, GIVEN)
    return evaluate_shards(setup, shards, folder, LocalEngine(), run_configuration(SETTINGS, None), **options)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of two chicks and a cup, two sentences on each, and a frame that is not there."""
    folder = tmp_path_factory.mktemp("frames") / "kitchen"
    seen = scene()
    for n in range(5):
        write_frame(folder / f"f{n}", dataclasses.replace(seen.frame, stamp_ns=0), seen.detections)
    cases = [case(f"f{n}", *told) for n in range(5) for told in zip(WORDS, ("bonnet", "ribbon"), strict=False)]
    write_cases(folder, [*cases, case("none", "the cup", "cup"), case("f0", "the box", "box")])
    return folder


def test_batches_of_frames_give_the_rows_of_the_whole_folder(frames: Path) -> None:
    source = Source(str(frames))
    expected = rows_of(source)
    assert [row["right"] for row in expected] == [True] * 10 + [False, True]
    for most in (2, 32):
        shards = plan_cases([source], GIVEN, SETTINGS, frames_in_shard=most)
        assert len(shards) == math.ceil(7 / most)
        assert answered(shards) == expected
        titles = [title for shard in shards for title in shard.cases]
        assert titles == [f"{row['frame']}: {row['instruction']}" for row in expected]


def test_rows_name_sources_as_they_were_given(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(frames.parent)
    shards = plan_cases([Source(frames.name)], GIVEN, SETTINGS)
    expected = rows_of(Source(frames.name))
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
    folder, weights = tmp_path / frames.name, tmp_path / "weights"
    shutil.copytree(frames, folder)
    plan = partial(plan_cases, [Source(str(folder))], GIVEN, SETTINGS, frames_in_shard=1)
    evaluated(tmp_path / "out", plan())
    before, image = keys(folder), folder / "f2" / "rgb.png"
    os.utime(image, (0, 0))
    assert keys(folder) == before
    image.write_bytes(image.read_bytes() + b"\0")
    assert [a == b for a, b in zip(before, keys(folder), strict=True)] == [n != 2 for n in range(7)]
    assert evaluated(tmp_path / "out", plan(), resume=True).reused == 6
    weights.mkdir()
    models = (ModelSpec("owl", "onnx", {"model": str(weights)}),)
    (weights / "model.onnx").write_bytes(b"1")
    before = keys(frames, models=models)
    (weights / "model.onnx").write_bytes(b"22")  # another model
    assert not set(before) & set(keys(frames, models=models))


def test_models_are_added_to_what_is_there_and_other_parameters_are_refused(frames: Path, tmp_path: Path) -> None:
    source, both = Source(str(frames)), (*GIVEN, ModelSpec("again"))
    evaluated(tmp_path, plan_cases([source], GIVEN, SETTINGS))
    done = evaluated(tmp_path, plan_cases([source], both, SETTINGS), resume=True)
    assert (done.reused, done.cases) == (1, 24)
    assert [row["model"] for row in run_rows(tmp_path)] == ["detections"] * 12 + ["again"] * 12
    config = ResolverConfig()
    other = Settings(resolver=dataclasses.replace(config, relation=dataclasses.replace(config.relation, cone_deg=30.0)))
    with pytest.raises(RunMismatchError, match="another configuration: resolver was"):
        evaluate_shards(partial(CaseTask, other, GIVEN), plan_cases([source], GIVEN, other), tmp_path, LocalEngine(),
                        run_configuration(other, None), resume=True)  # fmt: skip
    assert run_configuration(SETTINGS, None)["code"] == evaluate_cases._code()
    changed = Settings(streams=StreamConfig(sync_slop=0.05))
    assert run_configuration(changed, None) != run_configuration(SETTINGS, None)
    with pytest.raises(FileError, match=r"cases\.jsonl"):
        plan_cases([Source(str(tmp_path))], GIVEN, SETTINGS)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("bags")
    truth = write_truth(folder / "truth.jsonl", [stamp_of(n) for n in range(1, COUNT)])
    return Source(str(write_bag(folder / "run")), "bag", str(truth))


@pytest.fixture(scope="module")
def rows_of_bag(bag: Source) -> list[Any]:
    found = rows_of(bag)
    assert all(row["right"] for row in found)
    return in_order(found)


def parts_of(shards: Sequence[Shard]) -> list[Any]:
    return [shard.payload.part for shard in shards if isinstance(shard.payload, CaseWork)]


@pytest.mark.parametrize("megabytes", [slow(0.6), 1.5, 1000])
def test_parts_of_a_bag_give_the_rows_of_all_of_it(megabytes: float, bag: Source, rows_of_bag: list[Any]) -> None:
    shards = plan_cases([bag], GIVEN, SETTINGS, bytes_in_shard=int(megabytes * 1e6))
    assert (len(shards) == 1) == (parts_of(shards) == [None]) == (megabytes == 1000)  # a small bag is one shard
    assert len(shards) > 3 or megabytes == 1000
    assert in_order(answered(shards)) == rows_of_bag
    assert NOTES == []


def test_a_part_reads_its_own_chunks_alone(bag: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spatial_vlm_lab.engine.evaluate_cases.LEAD_NS", 0)
    shards = plan_cases([bag], GIVEN, SETTINGS, bytes_in_shard=600_000)
    part = shards[len(shards) // 2].payload.part
    with evaluate_cases.BagWindow(bag.uri, part) as window, open_bag(bag.uri) as whole:
        heavy = [m.log_ns for m in window.messages() if m.topic.endswith("/image")]
        images = [m.log_ns for m in whole.messages() if m.topic.endswith("/image")]
        light = [m.topic for m in window.messages() if m.log_ns < part.first_ns]
    assert 0 < len(heavy) < len(images)
    assert min(heavy) == part.first_ns
    assert {"/tf_static", "/tf", "/rgb/camera_info"} <= set(light)


def test_stamps_that_no_image_has_get_the_words_of_the_whole_bag(bag: Source, tmp_path: Path) -> None:
    stamps = [stamp_of(3), stamp_of(9) + 7, stamp_of(12), T0 - 10**12, stamp_of(COUNT) + 10**12]
    source = dataclasses.replace(bag, truth=str(write_truth(tmp_path / "truth.jsonl", stamps)))
    expected = rows_of(source)
    assert {row["right"] for row in expected} >= {True, None}
    shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=1_000_000)
    assert parts_of(shards).count(None) == 1
    assert shards[-1].name == "run, stamps outside of its images"
    assert in_order(answered(shards)) == in_order(expected)
    assert f"{bag.uri}: 2 cases have stamps without a nearby image; the whole bag was read for them" in NOTES


def test_bags_whose_clock_is_set_back_or_without_chunks_or_that_cannot_be_read_stay_whole(tmp_path: Path) -> None:
    back, bad = write_bag(tmp_path / "run", sets_back=True), tmp_path / "bad.mcap"
    with open_bag(back) as opened:
        assert recording_lag(opened, "/rgb/image") is None
    bad.write_bytes(b"\x89MCAP0\r\n" + bytes(5_000_000))
    stamps = [stamp_of(2), stamp_of(COUNT - 2, sets_back=True)]
    truth = str(write_truth(tmp_path / "truth.jsonl", stamps))
    first = str(write_truth(tmp_path / "first.jsonl", stamps[:1]))
    lite = write_bag(tmp_path / "lite", "sqlite3")
    sources = [Source(str(uri), "bag", told) for uri, told in ((back, truth), (lite, first), (bad, first))]
    shards = plan_cases(sources, GIVEN, SETTINGS, bytes_in_shard=100_000)
    assert parts_of(shards) == [None] * 3
    assert [len(answered([one])) for one in shards[:2]] == [4, 2]
    assert all(row["right"] for row in answered(shards[1:2]))
    done = evaluated(tmp_path / "out", shards[2:])
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


@pytest.mark.parametrize("megabytes", [1.5, 1000])
def test_cases_behind_damage_of_a_bag_are_no_mistakes_of_models(megabytes: float, bag: Source, tmp_path: Path) -> None:
    shutil.copytree(bag.uri, tmp_path / "run")
    source = dataclasses.replace(bag, uri=str(tmp_path / "run"))
    file = next((tmp_path / "run").glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    shards = plan_cases([source], GIVEN, SETTINGS, bytes_in_shard=int(megabytes * 1e6))
    rows = answered(shards)
    lost = [row for row in rows if row["problem"]]
    assert len(rows) == 2 * (COUNT - 1)
    assert 0 < len(lost) < len(rows)
    assert all(row["right"] for row in rows if not row["problem"])
    assert {row["right"] for row in lost} == {None}
    assert all(row["problem"].startswith("it was not run: ") and "checksum" in row["problem"] for row in lost)
    assert any(note.startswith(f"{source.uri}: the bag is damaged") for note in NOTES)
    assert not any("the whole bag was read" in note for note in NOTES)
    if megabytes == 1000:
        assert in_order(rows) == in_order(rows_of(source))


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


def test_items_made_ahead_come_in_order_with_their_errors_and_no_more_than_allowed_are_made() -> None:
    made = []

    def items() -> Iterator[int]:
        for n in range(10):
            made.append(n)
            yield n
        raise FileError("x", "damaged", "copy it")

    ahead = made_ahead(items(), 2)
    assert next(ahead) == 0
    assert len(made) <= 4
    assert [next(ahead) for _ in range(9)] == list(range(1, 10))
    with pytest.raises(FileError):
        next(ahead)


@pytest.mark.parametrize("error", ["", "the disk is gone"])
def test_what_is_not_taken_is_closed_and_errors_are_logged(error: str, caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()
            if error:
                raise OSError(error)

    ahead = made_ahead(items())
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert error in caplog.text
    assert not any(thread.name.startswith("made-ahead") for thread in threading.enumerate())


def test_the_truth_of_many_bags_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, names = tmp_path / "truth.jsonl", [f"bags/run{n}.mcap" for n in range(50)]
    lines = [{"bag": name, "stamp_ns": n + 1, "instruction": "the cup"} for n, name in enumerate(names)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = []
    real = truth_files.load_truth
    monkeypatch.setattr(truth_files, "load_truth", lambda path: read.append(path) or real(path))
    uris = tuple(str(tmp_path / name) for name in names)
    sources = [Source(uri, "bag", str(file), uris) for uri in uris]
    assert [source.cases()[0].stamp_ns for source in sources] == list(range(1, 51))
    assert len(read) == 1
    file.write_text(json.dumps({**lines[0], "stamp_ns": 777}) + "\n")
    assert sources[0].cases()[0].stamp_ns == 777
    with pytest.raises(FileError, match=r"it has no case of .*run1\.mcap"):
        sources[1].cases()


run = partial(cli_runs.run, "evaluate")


def test_a_folder_is_resumed_and_never_replaced(frames: Path, tmp_path: Path) -> None:
    arguments = ("--frames", frames, "--workers", "1", "--out", tmp_path / "out")
    assert run(*arguments).exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"shards", "scores.json", "report.html"}
    assert (tmp_path / "out" / "shards" / "rows.parquet").is_file()
    again = run(*arguments)
    assert again.exit_code != 0
    assert all(words in again.output for words in ("not empty", "--resume"))
    (tmp_path / "out" / "scores.json").unlink()
    assert run(*arguments, "--resume").exit_code == 0
    assert (tmp_path / "out" / "scores.json").exists()


def test_what_was_not_evaluated_is_said(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = plan_cases([Source(str(frames))], GIVEN, SETTINGS, frames_in_shard=1)
    shards = [shards[0], dataclasses.replace(shards[1], payload=None), *shards[2:]]
    monkeypatch.setattr("spatial_vlm_lab.engine.evaluate_cases.plan_cases", lambda *_: shards)
    done = run("--frames", frames, "--workers", "1", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert all(words in done.output for words in ("2 of 12 cases were not evaluated: kitchen, f1", "--resume"))
    done = run("--frames", frames, "--workers", "1", "--out", tmp_path / "no", "--grounder", "onnx model=/nowhere")
    assert done.exit_code != 0
    assert not (tmp_path / "no" / "report.html").exists()


def test_options_that_do_not_fit_are_refused(frames: Path, tmp_path: Path) -> None:
    for options, words, code in tables(__file__)["options"]:
        done = run("--frames", frames, *options.format(out=tmp_path / "out").split())
        assert (done.exit_code, words in done.output) == (code, True), done.output


_ENDED_MIDWAY = """
import os, signal, sys
from spatial_vlm_ros.cli.main import main
from spatial_vlm_lab.engine import engines, evaluate_cases

answer = engines.ShardWorker.answer

def ended(self, shard):
    if shard.name.endswith("f1"):
        os.kill(os.getpid(), int(sys.argv[1]))
    return answer(self, shard)

engines.ShardWorker.answer = ended
evaluate_cases.plan_cases.__defaults__ = (1, 2**30)  # frames and bytes in a shard
main(sys.argv[2:])
"""


@pytest.mark.live
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), slow(signal.SIGHUP, 129), slow(signal.SIGINT, 1)])
def test_what_ended_frees_its_lock_and_says_how_to_go_on(number: int, code: int, frames: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", _ENDED_MIDWAY, int(number), "evaluate", "--frames", frames, "--workers", 1,
               "--out", tmp_path / "out")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=10 * DEADLINE, check=False,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup and jobs in the background ignore some
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Run the same command with --resume to continue" in done.stderr
    shards = tmp_path / "out" / "shards"
    assert {path.name for path in shards.iterdir()} == {"run.json", "parts"}
    assert len(list((shards / "parts").iterdir())) == 1
