# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm benchmark`: several models, splits, damaged items, runs that are ended and go on, existing files."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import benchmark_folders as folders
import pytest
from click.testing import CliRunner, Result

from spatial_vlm_ros.cli.benchmark import WAYS
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks import asking
from spatial_vlm_ros.evaluation.benchmarks.answers import AnswerLine, open_answers
from spatial_vlm_ros.evaluation.benchmarks.catalogue import BENCHMARKS
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer
from spatial_vlm_ros.evaluation.benchmarks.reporting import corrected
from spatial_vlm_ros.evaluation.benchmarks.whatsup import WHATSUP
from spatial_vlm_ros.types.proportions import mcnemar, newcombe, newcombe_paired, wilson

MODEL = "benchmark_backends:truthful"
NAMES = [f"{obj}_{side}_table.jpeg" for obj in ("cup", "can", "hat") for side in folders.SIDES]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve items of What'sUp's set A."""
    return folders.whatsup(tmp_path / "data", NAMES)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])


def report(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code in (0, 3), result.output
    return dict(json.loads(result.stdout))


# ------------------------------------------------------------------------------------------------ what it tells


def test_the_list_says_what_is_read_and_where_to_get_it() -> None:
    told = run("list")
    assert told.exit_code == 0
    for one in BENCHMARKS.values():
        assert one.name in told.output
        assert one.source in told.output
    lines = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert [line["name"] for line in lines] == list(BENCHMARKS)
    assert set(WAYS) == set(asking.WAYS)


def test_scores_and_splits_of_one_model(data: Path) -> None:
    found = report("whatsup", "--data", data, "--model", f"{MODEL} wrong=can_on", "--model", f"b={MODEL}")
    assert (found["items"], found["asked"], found["damaged"], found["chance"]) == (12, 12, [], 0.25)
    first = found["models"][0]
    assert first["asked_by"] == ["likelihood"]
    assert first["all"]["k"] == 12  # "can_on" stands in no caption
    scores = {score["name"]: score for score in first["scores"]}
    assert (scores["set A, pairs"]["k"], scores["set A, pairs"]["n"]) == (6, 6)


def test_models_are_compared_with_the_first_on_the_same_items(data: Path) -> None:
    found = report("whatsup", "--data", data, "--model", f"a={MODEL}", "--model", f'b={MODEL} wrong="can "',
                   "--model", f'c={MODEL} wrong=" on "')  # fmt: skip
    by_name = {model["name"]: model for model in found["models"]}
    assert [by_name[name]["all"]["k"] for name in "abc"] == [12, 8, 9]
    assert by_name["b"]["splits"]["relation"]["A: on"]["k"] == 2
    share = wilson(2, 3)
    assert by_name["b"]["splits"]["relation"]["A: on"] == {
        "n": 3, "k": 2, "value": share.share, "low": share.low, "high": share.high
    }  # fmt: skip
    change = found["against_first"]["b"]
    expected = newcombe_paired(8, 0, 4, 0)
    assert expected is not None
    assert change["difference"] == {"value": expected.value, "low": expected.low, "high": expected.high}
    assert (change["lost"], change["gained"], change["p"]) == (4, 0, mcnemar(4, 0))
    assert change["p_holm"] == min(1.0, 2 * mcnemar(4, 0))
    told = run("whatsup", "--data", data, "--model", f"a={MODEL}", "--model", f'b={MODEL} wrong="can "')
    assert "set A, pairs: right pairs divided by a half of the images, as published" in " ".join(told.output.split())
    assert "set A, accuracy 12 100.0 % (75.8 to 100.0) 66.7 %" in " ".join(told.output.split())
    assert "b minus a: -33.3" in told.output
    assert "lost 4, gained 0" in told.output


def test_holm_corrects_for_the_number_of_models() -> None:
    assert corrected([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert corrected([0.9, 0.8]) == [1.0, 1.0]
    assert corrected([]) == []


def test_what_contradicts_a_rule_of_thumb_has_a_row_of_its_own(tmp_path: Path) -> None:
    found = report("embspatial", "--data", folders.embspatial(tmp_path / "e"), "--model", MODEL)
    rows = found["models"][0]["splits"]["rule of thumb"]
    assert {name: row["n"] for name, row in rows.items()} == {"usual": 2, "counter-heuristic": 1}
    assert found["models"][0]["over_groups"] is not None  # two items of one scene
    change = newcombe(1, 2, 1, 1)
    assert change is not None
    assert found["models"][0]["usual_less_counter_heuristic"] == {
        "value": change.value, "low": change.low, "high": change.high
    }  # fmt: skip
    told = run("embspatial", "--data", tmp_path / "e", "--model", MODEL).output
    assert "usual minus counter-heuristic: -50.0 (" in told
    assert "all, interval over groups" in told


def test_a_limit_takes_items_from_all_over_the_files(data: Path) -> None:
    found = report("whatsup", "--data", data, "--model", MODEL, "--limit", 3)
    assert (found["items"], found["asked"], found["models"][0]["n"]) == (12, 3, 3)
    assert [score["n"] for score in found["models"][0]["scores"]] == [3, 0, 0]
    assert report("whatsup", "--data", data, "--model", MODEL, "--limit", 99)["asked"] == 12


def test_options_go_to_all_models_or_to_each_and_remedies_are_added(data: Path) -> None:
    two = ("--model", f"a={MODEL}", "--model", f"b={MODEL}")
    found = report("whatsup", "--data", data, *two, "--options", "wrong=zz")
    assert [model["options"] for model in found["models"]] == [{"wrong": "zz"}] * 2
    found = report("whatsup", "--data", data, *two, "--options", "", "--options", 'wrong="hat "')
    assert [model["all"]["k"] for model in found["models"]] == [12, 8]
    found = report("whatsup", "--data", data, "--model", f"a={MODEL}", "--remedy", 'wrong="hat "')
    assert [(model["name"], model["all"]["k"]) for model in found["models"]] == [("a", 12), ('a wrong="hat "', 8)]


# ------------------------------------------------------------------------------------------------ what is wrong


def test_damaged_items_are_counted_and_named_and_count_for_nothing(data: Path) -> None:
    (data / "controlled_images" / NAMES[0]).write_bytes(b"no image")
    (data / "controlled_images" / NAMES[1]).unlink()
    found = report("whatsup", "--data", data, "--model", f"a={MODEL}", "--model", f"b={MODEL}")
    assert [one["key"] for one in found["damaged"]] == [f"A/{NAMES[0]}", "controlled_images_dataset.json[1]"]
    assert [model["n"] for model in found["models"]] == [10, 10]
    assert (found["items"], found["items_there"], found["asked"]) == (11, 12, 10)
    told = run("whatsup", "--data", data, "--model", MODEL).output
    assert f"damaged, not asked: A/{NAMES[0]}" in told


def test_a_model_that_fails_is_named_and_asked_again_by_the_next_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    common = ("whatsup", "--data", data, "--out", out)
    result = run(*common, "--model", MODEL, "--options", "fails=' on table'")
    assert result.exit_code == 3
    found = json.loads(out.read_text())["models"][0]
    assert (found["n"], [one["item"] for one in found["failed"]]) == (
        9,
        [f"A/{o}_on_table.jpeg" for o in ("cup", "can", "hat")],
    )
    assert found["stopped"] == ""
    stopped = report("whatsup", "--data", data, "--model", MODEL, "--options", "fails=table")["models"][0]
    assert (stopped["n"], stopped["all"], stopped["scores"]) == (0, None, [])
    assert "3 failures in a row, the last: " in stopped["stopped"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vsr", "--model", MODEL), "pass the data folder with --data; to get it, clone"),
        (("whatsup", "--data", "."), "choose a model with --model"),
        (("whatsup", "--data", ".", "--model", "a", "--model", "b", "--model", "c", "--options", "x=1", "--options",
          "y=2"), "once for each of the 3 models"),
        (("whatsup", "--data", "/nowhere", "--model", MODEL), "does not exist"),
        (("nothing", "--data", ".", "--model", MODEL), "benchmark 'nothing'"),
        (("whatsup", "--data", "{data}", "--model", "nope"), "grounder 'nope'"),
        (("whatsup", "--data", "{data}", "--model", "/models/nope"), "not the folder of a model"),
        (("whatsup", "--data", "{data}", "--model", MODEL, "--model", MODEL), "Give each its own name"),
        (("whatsup", "--data", "{data}", "--model", MODEL, "--ask", "reply"), "Leave --ask out, or use"),
        (("whatsup", "--data", "{data}", "--model", "compact"), "ways to ask"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_in_a_sentence(arguments: tuple[str, ...], words: str, data: Path) -> None:
    result = run(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code in (2, 3)
    assert words in result.output
    assert "Traceback" not in result.output


# ------------------------------------------------------------------------------------------------ going on


def questions(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_bytes(data: Path, tmp_path: Path) -> None:
    out, whole, log = tmp_path / "out.json", tmp_path / "whole.json", tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "spatial_vlm_ros.cli",
        "benchmark",
        "whatsup",
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    paths = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])
    killed = subprocess.run([*command, "--model", f'{MODEL} log={log} wrong="can " ends=5'], check=False, timeout=60,
                            env=os.environ | {"PYTHONPATH": paths}, capture_output=True)  # fmt: skip
    assert killed.returncode == -9
    assert not out.exists()
    answers = tmp_path / "out.json.answers.jsonl"
    kept = answers.read_text().splitlines()
    assert len(kept) == 2 + 5
    answers.write_text(answers.read_text().replace("ends=5 ", "") + '{"model": "torn li')
    log.unlink()
    for _ in range(2):
        assert run("whatsup", "--data", data, "--out", out, "--model", f'{MODEL} log={log} wrong="can "').exit_code == 0
        assert questions(log) == 12 - 5
    log.unlink()
    assert run("whatsup", "--data", data, "--out", whole, "--model", f'{MODEL} log={log} wrong="can "').exit_code == 0
    assert questions(log) == 12
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "data", "log", "out.json", "out.json.answers.jsonl", "whole.json", "whole.json.answers.jsonl"
    ]  # fmt: skip


def test_an_answer_counts_for_the_same_model_and_question_alone(data: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out.json", tmp_path / "log"
    run("whatsup", "--data", data, "--out", out, "--model", f"{MODEL} log={log}")
    other = run("whatsup", "--data", data, "--out", out, "--model", f"{MODEL} log={log} wrong=zz")
    assert other.exit_code == 3
    assert f"answers of '{MODEL} log={log}'. Expected those of" in " ".join(other.output.split())
    assert "Give this model another name" in other.output
    assert questions(log) == 12
    run("whatsup", "--data", data, "--out", out, "--model", f"other={MODEL} log={log} wrong=zz")
    assert questions(log) == 24
    listing = data / "controlled_images_dataset.json"
    listing.write_text(listing.read_text().replace("A cup on table", "A cup upon table"))
    again = run("whatsup", "--data", data, "--out", out, "--model", f"{MODEL} log={log}")
    assert questions(log) == 25
    assert "11 answers from an earlier run, 1 new" in again.output


def test_weights_that_change_behind_a_folders_name_are_noticed(data: Path, tmp_path: Path) -> None:
    folder, log, out = tmp_path / "weights", tmp_path / "log", tmp_path / "out.json"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"first")
    model = f'{MODEL} log={log} wrong="{folder}"'  # its option names the folder, as model=FOLDER does
    common = ("whatsup", "--data", data, "--out", out)
    assert run(*common, "--model", model, "--limit", 3).exit_code == 0
    os.utime(folder / "model.safetensors", (1, 1))  # the same bytes: the same model
    assert run(*common, "--model", model).exit_code == 0
    assert questions(log) == 12
    before = out.read_bytes()
    (folder / "model.safetensors").write_bytes(b"other")
    refused = run(*common, "--model", model)
    assert refused.exit_code == 3
    assert "answers of other weights of" in " ".join(refused.output.split())
    assert (questions(log), out.read_bytes()) == (12, before)
    assert run(*common, "--model", f"new={model}").exit_code == 0
    assert questions(log) == 24


def test_a_model_that_gave_no_answer_does_not_take_its_name(data: Path, tmp_path: Path) -> None:
    common = ("whatsup", "--data", data, "--out", tmp_path / "out.json")
    assert run(*common, "--model", f"a={MODEL} fails=table").exit_code == 3
    assert run(*common, "--model", f"a={MODEL}").exit_code == 0


def test_known_answers_count_by_the_present_rules(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    common = ("whatsup", "--data", data, "--out", out, "--model", MODEL)
    assert run(*common).exit_code == 0
    before = out.read_bytes()
    answers = tmp_path / "out.json.answers.jsonl"
    answers.write_text(answers.read_text().replace('"credit":1.0', '"credit":0.0'))
    assert run(*common).exit_code == 0
    assert out.read_bytes() == before
    items = folders.items_of(WHATSUP, data)
    line = AnswerLine("m", items[0].key, "", 0.0, None, (), f"It shows {items[0].choices[2].lower()}.")
    assert line.answer(items[0]).choice == 2  # a written reply is read anew


def test_a_file_that_is_something_else_is_never_replaced_without_force(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for text in ("my thesis", '{"benchmark": "whatsup"}', '{"benchmark": "vsr"}'):
        out.write_text(text)
        refused = run("whatsup", "--data", data, "--out", out, "--model", MODEL)
        assert refused.exit_code == 3
        assert "--force" in refused.output
        assert out.read_text() == text
    assert run("whatsup", "--data", data, "--out", out, "--model", MODEL, "--force").exit_code == 0
    assert json.loads(out.read_text())["benchmark"] == "whatsup"


def test_a_file_of_answers_that_is_none_is_left_alone(data: Path, tmp_path: Path) -> None:
    answers = tmp_path / "out.json.answers.jsonl"
    head = '{"schema": 2, "benchmark": "vsr"}\n'
    for text in ("no end of line", "a line\nand another", head, head.replace("vsr", "whatsup") + "{}\nlast\n"):
        answers.write_text(text)
        refused = run("whatsup", "--data", data, "--out", tmp_path / "out.json", "--model", MODEL)
        assert refused.exit_code == 3
        assert "out.json.answers.jsonl" in refused.output
        assert answers.read_text() == text


def test_two_runs_do_not_write_to_one_file(data: Path, tmp_path: Path) -> None:
    with (tmp_path / "out.json.answers.jsonl").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused = run("whatsup", "--data", data, "--out", tmp_path / "out.json", "--model", MODEL)
    assert refused.exit_code == 3
    assert "another run is writing to it" in refused.output


def test_a_full_disk_keeps_the_answers_before(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    items = folders.items_of(WHATSUP, data)
    path = tmp_path / "answers.jsonl"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with open_answers(path, "whatsup") as answers:
        answers.add("m", items[0], BenchmarkAnswer(1, text="b"), 1.0)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="No space left on device; earlier answers are kept"):
            answers.add("m", items[1], BenchmarkAnswer(2), 0.0)
    monkeypatch.undo()
    with open_answers(path, "whatsup") as answers:
        found = answers.known("m", items[0])
        assert found is not None
        assert (found.choice, found.text, found.credit) == (1, "b", 1.0)
        assert answers.known("another", items[0]) is None


def test_a_report_that_cannot_be_written_leaves_the_earlier_one(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "report.json"
    assert run("whatsup", "--data", data, "--out", out, "--model", MODEL).exit_code == 0
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    again = run("whatsup", "--data", data, "--out", out, "--model", MODEL, "--limit", 3)
    assert again.exit_code == 3
    assert "No space left on device" in again.output
    assert out.read_bytes() == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["report.json", "report.json.answers.jsonl"]
    monkeypatch.undo()
    refused = run("whatsup", "--data", data, "--out", data / "controlled_images_dataset.json" / "x", "--model", MODEL)
    assert refused.exit_code == 3
    assert "Choose a writable place" in refused.output


def test_ctrl_c_says_how_to_go_on(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark_backends.Captioner.scores", interrupted)
    ended = run("whatsup", "--data", data, "--out", tmp_path / "out.json", "--model", MODEL)
    assert ended.exit_code == 1
    assert "run the same command again to continue from" in ended.output
    assert not (tmp_path / "out.json").exists()
