# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm benchmark`: several models, splits, damaged items, runs that are ended and go on, existing files."""

import fcntl
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import benchmark_folders as folders
import cli_runs
import pytest
from tables import tables
from waiting import DEADLINE

from spatial_vlm_lab.benchmarks import asking
from spatial_vlm_lab.benchmarks.asking import BENCHMARKS, AnswerLine, asked_digest, open_answers
from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer
from spatial_vlm_lab.benchmarks.relations import VSR, WHATSUP
from spatial_vlm_lab.cli.benchmark import WAYS
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.types.proportions import mcnemar, newcombe, newcombe_paired, wilson

TABLES = tables(__file__)

MODEL = "benchmark_backends:truthful"
NAMES = [f"{obj}_{side}_table.jpeg" for obj in ("cup", "can", "hat") for side in folders.SIDES]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folders.whatsup(tmp_path / "data", names=NAMES)


@pytest.fixture
def refspatial(tmp_path: Path) -> Path:
    """One question; the left half of the image is right."""
    return folders.refspatial(tmp_path, [folders.ref_entry(0)], (40, 30))


run = partial(cli_runs.run, "benchmark")


def said(*arguments: object, code: int = 0) -> str:
    """What is printed for people, in one line."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def report(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 3), result.output
    return dict(json.loads(result.stdout))


def answering(folder: Path, words: str, convention: str = "thousand", kind: str = "SaysAlways") -> str:
    (folder / "reply.txt").write_text(words)
    return f"benchmark_backends:{kind} words={folder / 'reply.txt'} convention={convention}"


def row_of(name: str, folder: Path, words: str, convention: str = "thousand") -> dict[str, Any]:
    (row,) = report(name, "--data", folder, "--model", answering(folder, words, convention))["models"]
    return dict(row)


def scores_of(row: dict[str, Any]) -> dict[str, float]:
    return {score["name"]: score["value"] for score in row["scores"]}


NO_SPACE = Mock(side_effect=OSError(28, "No space left on device"))


def test_the_list_says_what_is_read_and_where_to_get_it() -> None:
    told = run("list").output
    assert all(one.name in told and one.source in told for one in BENCHMARKS.values())
    lines = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert [line["name"] for line in lines] == list(BENCHMARKS)
    assert set(WAYS) == set(asking.WAYS)
    assert "whatsup, vsr, cv-bench" in run("libra").output


def test_models_are_scored_by_splits_and_compared_with_the_first_on_the_same_items(data: Path) -> None:
    models = ("--model", f"a={MODEL} wrong=can_on", "--model", f'b={MODEL} wrong="can "')
    found = report("whatsup", "--data", data, *models, "--model", f'c={MODEL} wrong=" on "')
    assert (found["items"], found["asked"], found["damaged"], found["chance"]) == (12, 12, [], 0.25)
    by_name = {model["name"]: model for model in found["models"]}
    assert [by_name[name]["all"]["k"] for name in "abc"] == [12, 8, 9]  # "can_on" stands in no caption
    assert by_name["a"]["asked_by"] == ["likelihood"]
    scores = {score["name"]: score for score in by_name["a"]["scores"]}
    assert (scores["set A, pairs"]["k"], scores["set A, pairs"]["n"]) == (6, 6)
    share = {"n": 3, "k": 2, "value": wilson(2, 3).share, "low": wilson(2, 3).low, "high": wilson(2, 3).high}
    assert by_name["b"]["splits"]["relation"]["A: on"] == share
    change = found["against_first"]["b"]
    expected: Any = newcombe_paired(8, 0, 4, 0)
    assert change["difference"] == {"value": expected.value, "low": expected.low, "high": expected.high}
    assert (change["lost"], change["gained"], change["p"]) == (4, 0, mcnemar(4, 0))
    assert change["p_holm"] == min(1.0, 2 * mcnemar(4, 0))
    told = said("whatsup", "--data", data, *models)
    for words in TABLES["told of two"]:
        assert words in told


def test_what_contradicts_a_rule_of_thumb_has_a_row_of_its_own(tmp_path: Path) -> None:
    (model,) = report("embspatial", "--data", folders.embspatial(tmp_path / "e"), "--model", MODEL)["models"]
    rows = model["splits"]["rule of thumb"]
    assert {name: row["n"] for name, row in rows.items()} == {"usual": 2, "counter-heuristic": 1}
    assert model["over_groups"] is not None  # two items of one scene
    change: Any = newcombe(1, 2, 1, 1)
    expected = {"value": change.value, "low": change.low, "high": change.high}
    assert model["usual_less_counter_heuristic"] == expected
    told = run("embspatial", "--data", tmp_path / "e", "--model", MODEL).output
    assert "usual minus counter-heuristic: -50.0 (" in told
    assert "all, interval over groups" in told


@pytest.mark.parametrize(("arguments", "expected", "numbers"), TABLES["models"])
def test_a_limit_options_and_remedies_go_to_all_models_or_to_each(
    arguments: list[str], expected: list[list[Any]], numbers: list[int], data: Path
) -> None:
    """Of each model its name, options and right ones; how many items, pairs and sets the scores are of."""
    found = report("whatsup", "--data", data, "--model", f"a={MODEL}", *arguments)
    assert [[model["name"], model["options"], model["all"]["k"]] for model in found["models"]] == expected
    assert [score["n"] for score in found["models"][0]["scores"]] == numbers
    assert (found["items"], found["asked"], found["models"][0]["n"]) == (12, numbers[0], numbers[0])


@pytest.mark.parametrize(("words", "convention", "score"), TABLES["points"])
def test_points_in_the_notations_of_models(words: str, convention: str, score: float, refspatial: Path) -> None:
    row = row_of("refspatial", refspatial, words, convention)
    assert scores_of(row) == {"Location": score}
    if (score, convention) == (1.0, "percent"):  # resampling what is always right has no width: that of a share
        (only,) = row["scores"]
        assert (only["n"], only["k"], round(only["low"], 3), only["high"]) == (1, 1, 0.207, 1.0)


@pytest.mark.parametrize("reply", ["A", '[{"bbox_2d": [30, 5, 60, 20]}]'])
def test_a_reply_to_refer_that_cannot_be_read_counts_0(reply: str, refspatial: Path) -> None:
    """It is no failure of the model, which would leave it out of the mean; a run that goes on says the same."""
    out, model = refspatial / "out.json", answering(refspatial, reply, "absolute", "PointsBy")
    common = ("refspatial", "--data", refspatial, "--model", model, "--out", out)
    assert "1 of 1 replies could not be read and count as 0; the first, Location/0" in said(*common)
    first = out.read_bytes()
    (row,) = json.loads(first)["models"]
    assert (row["asked_by"], row["n"], row["without_answer"], row["failed"]) == (["refer"], 1, 1, [])
    (unread,) = row["unread"]
    assert (unread["item"], "its reply cannot be used" in unread["reason"]) == ("Location/0", True)
    assert scores_of(row) == {"Location": 0.0}
    out.unlink()
    answering(refspatial, "[[5, 5]]")  # not asked again
    assert run(*common).exit_code == 0
    assert out.read_bytes() == first


def test_a_part_of_the_published_data_and_a_repeated_id_are_told_of(refspatial: Path) -> None:
    folders.refspatial(refspatial, [folders.ref_entry(0)] * 2, (40, 30))
    common = ("refspatial", "--data", refspatial, "--model", answering(refspatial, "[(0.25, 0.5)]", "fraction"))
    assert "items in the published data: 277, in this folder: 2;" in said(*common)
    found = report(*common)
    assert (found["items"], found["items_there"], found["published_items"], found["asked"]) == (1, 2, 277, 1)
    reason = "an earlier item has its name, Location/0"
    assert found["damaged"] == [{"key": "Location/question.json at $[1]", "reason": reason}]


def test_one_model_answers_options_and_points_and_published_rules_read_what_ours_do_not(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    home = scores_of(row_of("robospatial", folders.robospatial(tmp_path), "No, (0.3, 0.3)"))
    assert home == {"configuration": 0.5, "compatibility": 0.5, "context": 1.0, "all questions": 0.571429,
                    "VQA avg": 0.5, "Total": 0.666667}  # fmt: skip
    folder = folders.blink(tmp_path)
    for words, value, without in (("(A) or (B)?\n\nIt seems to be (A) rather", 0.75, 2), ("Who knows?", 0.0, 6)):
        found = row_of("blink", folder, words)
        assert (found["scores"][0]["value"], found["without_answer"]) == (value, without)


def test_damaged_items_are_counted_and_named_and_count_for_nothing(data: Path) -> None:
    (data / "controlled_images" / NAMES[0]).write_bytes(b"no image")
    (data / "controlled_images" / NAMES[1]).unlink()
    found = report("whatsup", "--data", data, "--model", f"a={MODEL}", "--model", f"b={MODEL}")
    assert [one["key"] for one in found["damaged"]] == [f"A/{NAMES[0]}", "controlled_images_dataset.json at $[1]"]
    assert [model["n"] for model in found["models"]] == [10, 10]
    assert (found["items"], found["items_there"], found["asked"]) == (11, 12, 10)
    assert f"damaged, not asked: A/{NAMES[0]}" in run("whatsup", "--data", data, "--model", MODEL).output


def test_a_model_that_fails_is_named_and_asked_again_by_the_next_run(data: Path, tmp_path: Path) -> None:
    common = ("whatsup", "--data", data, "--out", tmp_path / "out.json")
    assert run(*common, "--model", MODEL, "--options", "fails=' on table'").exit_code == 3
    found = json.loads((tmp_path / "out.json").read_text())["models"][0]
    assert [one["item"] for one in found["failed"]] == [f"A/{o}_on_table.jpeg" for o in ("cup", "can", "hat")]
    assert (found["n"], found["stopped"]) == (9, "")
    stopped = report("whatsup", "--data", data, "--model", MODEL, "--options", "fails=table")["models"][0]
    assert (stopped["n"], stopped["all"], stopped["scores"]) == (0, None, [])
    assert "3 failures in a row, the last: " in stopped["stopped"]
    assert run(*common, "--model", f"a={MODEL} fails=table").exit_code == 3
    assert run(*common, "--model", f"a={MODEL}").exit_code == 0  # who gave no answer does not take its name


@pytest.mark.parametrize(("arguments", "words"), TABLES["refused"])
def test_what_cannot_be_run_is_refused_in_a_sentence(arguments: tuple[str, ...], words: str, data: Path) -> None:
    result = run(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code in (2, 3)
    assert words in result.output
    assert "Traceback" not in result.output


def questions(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.live
def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_bytes(data: Path, tmp_path: Path) -> None:
    out, whole, log = tmp_path / "out.json", tmp_path / "whole.json", tmp_path / "log"
    model, common = f'{MODEL} log={log} wrong="can "', ["benchmark", "whatsup", "--data", str(data)]
    paths = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])
    killed = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.cli", *common, "--out", str(out), "--model", f"{model} ends=5"],
        check=False, timeout=10 * DEADLINE, env=os.environ | {"PYTHONPATH": paths}, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -9
    assert not out.exists()
    answers = tmp_path / "out.json.answers.jsonl"
    assert len(answers.read_text().splitlines()) == 2 + 5
    answers.write_text(answers.read_text().replace("ends=5 ", "") + '{"model": "torn li')
    for file, times, asked in ((out, 2, 12 - 5), (whole, 1, 12)):
        log.unlink()
        for _ in range(times):
            assert run(*common[1:], "--out", file, "--model", model).exit_code == 0
            assert questions(log) == asked
    assert out.read_bytes() == whole.read_bytes()
    kept = {f"{name}{end}" for name in ("out.json", "whole.json") for end in ("", ".answers.jsonl")}
    assert {path.name for path in tmp_path.iterdir()} == kept | {"data", "log"}


def test_an_answer_counts_for_the_same_model_and_question_alone(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    common = ("whatsup", "--data", data, "--out", tmp_path / "out.json", "--model")
    run(*common, f"{MODEL} log={log}")
    other = said(*common, f"{MODEL} log={log} wrong=zz", code=3)
    assert f"answers of '{MODEL} log={log}'. Expected those of" in other
    assert "Give this model another name" in other
    assert questions(log) == 12
    run(*common, f"other={MODEL} log={log} wrong=zz")
    assert questions(log) == 24
    listing = data / "controlled_images_dataset.json"
    listing.write_text(listing.read_text().replace("A cup on table", "A cup upon table"))
    assert "11 answers from an earlier run, 1 new" in run(*common, f"{MODEL} log={log}").output
    assert questions(log) == 25


def test_weights_that_change_behind_a_folders_name_are_noticed(data: Path, tmp_path: Path) -> None:
    folder, log, out = tmp_path / "weights", tmp_path / "log", tmp_path / "out.json"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"first")
    model = f'{MODEL} log={log} wrong="{folder}"'  # its option names the folder, as model=FOLDER does
    common = ("whatsup", "--data", data, "--out", out, "--model")
    assert run(*common, model, "--limit", 3).exit_code == 0
    os.utime(folder / "model.safetensors", (1, 1))  # the same bytes: the same model
    assert run(*common, model).exit_code == 0
    assert questions(log) == 12
    before = out.read_bytes()
    (folder / "model.safetensors").write_bytes(b"other")
    assert "answers of other weights of" in said(*common, model, code=3)
    assert (questions(log), out.read_bytes()) == (12, before)
    assert run(*common, f"new={model}").exit_code == 0
    assert questions(log) == 24


def test_known_answers_count_by_the_present_rules(data: Path, tmp_path: Path) -> None:
    assert asked_digest(folders.items_of(VSR, folders.vsr(tmp_path / "vsr"))[0]) == "dc47fd8803c62a27"
    out, answers = tmp_path / "out.json", tmp_path / "out.json.answers.jsonl"
    common = ("whatsup", "--data", data, "--out", out, "--model", MODEL)
    assert run(*common).exit_code == 0
    before = out.read_bytes()
    answers.write_text(answers.read_text().replace('"credit":1.0', '"credit":0.0'))
    assert run(*common).exit_code == 0
    assert out.read_bytes() == before
    item = folders.items_of(WHATSUP, data)[0]
    line = AnswerLine("m", item.key, "", 0.0, None, (), f"It shows {item.choices[2].lower()}.")
    assert line.answer(item).choice == 2  # a written reply is read anew


def test_files_that_are_something_else_are_left_alone_without_force(data: Path, tmp_path: Path) -> None:
    out, answers = tmp_path / "out.json", tmp_path / "out.json.answers.jsonl"
    common = ("whatsup", "--data", data, "--out", out, "--model", MODEL)
    for name, text, words in TABLES["something else"]:
        file = tmp_path / name
        file.write_text(text)
        assert words in said(*common, code=3)
        assert file.read_text() == text
        file.unlink()
    out.write_text("my thesis")
    assert run(*common, "--force").exit_code == 0
    assert json.loads(out.read_text())["benchmark"] == "whatsup"
    with answers.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run is writing to it" in said(*common, code=3)


def test_a_full_disk_keeps_the_answers_before(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    items = folders.items_of(WHATSUP, data)
    path = tmp_path / "answers.jsonl"
    with open_answers(path, "whatsup") as answers:
        answers.add("m", items[0], BenchmarkAnswer(1, text="b"), 1.0)
        monkeypatch.setattr(os, "fsync", NO_SPACE)
        with pytest.raises(FileError, match="No space left on device; earlier answers are kept"):
            answers.add("m", items[1], BenchmarkAnswer(2), 0.0)
    monkeypatch.undo()
    with open_answers(path, "whatsup") as answers:
        found: Any = answers.known("m", items[0])
        assert (found.choice, found.text, found.credit) == (1, "b", 1.0)
        assert answers.known("another", items[0]) is None


def test_ctrl_c_says_how_to_go_on(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmark_backends.Captioner.scores", Mock(side_effect=KeyboardInterrupt))
    ended = said("whatsup", "--data", data, "--out", tmp_path / "out.json", "--model", MODEL, code=1)
    assert "run the same command again to continue from" in ended
    assert not (tmp_path / "out.json").exists()
