# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm probe --blindness` on answerers of known fault, as backends of one's own; and the check at load."""

import errno
import functools
import json
import logging
import os
from pathlib import Path

import cv2
import pytest
from cli_runs import run

from spatial_vlm_ros.cli import probe as cli_probe
from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder, questioning
from spatial_vlm_ros.perception.questioning import BlindnessError
from spatial_vlm_ros.vlm.diagnostics.items import AMOUNTS, draw_items

drawn = functools.cache(draw_items)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(questioning, "draw_items", drawn)


def blindness(stub: str, *more: object) -> tuple[int, str]:
    result = run("probe", f"stub_backends:{stub}", "--blindness", "--questions", "small", *more)
    return result.exit_code, result.output


def test_one_that_answers_from_the_image_passes_also_with_parts_of_its_own() -> None:
    assert set(cli_probe.AMOUNTS) == set(AMOUNTS)
    code, said = blindness("WithParts")
    assert code == 0
    assert said.splitlines()[-1] == "stub_backends:WithParts: no fault found"
    assert "found:" not in said.replace("not found:", "")


def test_one_that_answers_from_the_words_alone_is_found_and_leaves_its_files(tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    code, said = blindness("words_alone", "--out", out)
    assert code == 3
    assert "words_alone: ignores the image (left-right, above-below, depth)" in said
    assert "found: ignores the image (depth): with the image 50.0" in said
    assert said.splitlines()[-1] == f"{out / 'report.md'} and 2 other files"
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# stub_backends:words_alone: ignores the image")
    assert "![answers](answers.png)" in text
    assert json.loads((out / "diagnosis.json").read_text())["outcome"] == "found"
    sheet = cv2.imread(str(out / "answers.png"))
    assert sheet.shape == (6 * 316, 4 * 240, 3)
    assert tuple(sheet[2, 2]) == (30, 30, 200)  # BGR: a wrong answer comes first
    told = json.loads(blindness("words_alone", "--json")[1])
    assert told["verdict"].startswith("ignores the image (left-right, above-below, depth)")
    assert {one["outcome"] for one in told["findings"]} >= {"found", "not found"}


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    for (code, said), words in (
        (blindness("Grounds"), "does not answer questions"),
        (blindness("Breaks"), "MODEL_ERROR"),
        (blindness("Breaks"), "RuntimeError: CUDA out of memory"),
    ):
        assert code == 3
        assert words in said
    unknown = run("probe", "nonsense", "--blindness")
    assert (unknown.exit_code, "nonsense" in unknown.output) == (3, True)
    assert run("probe", "stub_backends:honest", "--out", tmp_path).exit_code == 2


@pytest.mark.parametrize("name", ["file/below", "report"])
def test_files_that_cannot_be_written_are_named_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "report" / "report.md").mkdir(parents=True)
    code, said = blindness("Breaks", "--out", tmp_path / name)
    assert code == 3
    assert "writable location" in said
    assert "CUDA out of memory" not in said


def test_an_earlier_report_is_left_as_it_is_until_there_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("of yesterday")
    assert blindness("Breaks", "--out", tmp_path)[0] == 2
    code, _ = blindness("Breaks", "--out", tmp_path, "--force")
    assert code == 3
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.md"]
    assert (tmp_path / "report.md").read_text() == "of yesterday"


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_answers_are_told_if_their_files_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, said = blindness("words_alone", "--out", tmp_path, *more)
    assert code == 3
    assert "ignores the image (left-right, above-below, depth)" in said
    assert "No space left on device" in said
    assert "other files" not in said


STUB = "stub_backends:GroundsAndAnswers"


def test_a_model_that_does_not_look_is_refused_or_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    load_grounder(STUB, {"blindness": "refuse", "honest": "yes"})
    with pytest.raises(BlindnessError, match="ignores the image") as caught:
        load_grounder(STUB, {"blindness": "refuse"})
    assert caught.value.verdict.startswith("ignores the image (left-right, above-below, depth)")
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        load_grounder(STUB, {"blindness": "warn"})
    assert caught.value.verdict in caplog.text


def test_a_model_that_fails_is_refused_or_warned_of_if_it_is_checked(caplog: pytest.LogCaptureFixture) -> None:
    load_grounder("stub_backends:Grounds")
    load_grounder("stub_backends:GroundsAndBreaks", {"blindness": "off"})
    with pytest.raises(ModelError, match="it failed when it was asked: RuntimeError") as caught:
        load_grounder("stub_backends:GroundsAndBreaks", {"blindness": "refuse"})
    assert not isinstance(caught.value, BlindnessError)
    with caplog.at_level(logging.WARNING):
        load_grounder("stub_backends:GroundsAndBreaks", {"blindness": "warn"})
    assert "whether it looks at images is not known" in caplog.text
    with pytest.raises(InputError, match="does not answer questions"):
        load_grounder("stub_backends:Grounds", {"blindness": "warn"})
    with pytest.raises(UnknownNameError, match="off, warn, refuse"):
        load_grounder("stub_backends:Grounds", {"blindness": "yes"})
