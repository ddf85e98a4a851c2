# SPDX-License-Identifier: Apache-2.0
"""A small sample of what `research.experiments.remedies` measures: that it runs and goes on, not what comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.experiments import remedies  # noqa: E402
from research.experiments.remedies_report import report  # noqa: E402
from research.replication.cells import COMBINATIONS, planned  # noqa: E402
from research.replication.questions import draw_questions  # noqa: E402
from research.replication.results import Results, read_results, write_result  # noqa: E402
from research.replication.settings import FULL, SMALL, Stage  # noqa: E402
from spatial_vlm_ros.errors import FileError, InputError  # noqa: E402


def command(folder: Path, *arguments: str) -> int:
    places = {"--work": "work", "--results": "results", "--images": "images", "--page": "page.md"}
    told = [word for option, name in places.items() for word in (option, str(folder / name))]
    return remedies.main(["--small", "--threads", "0", *told, *arguments])


def numbers(folder: Path, name: str) -> dict[str, Any]:
    told = json.loads((folder / "results" / name).read_text())
    told.pop("seconds")
    return told


def test_two_cells_run_and_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--cell", "1d-plain-last") == 0
    assert command(tmp_path, "--cell", "pin-axial-norm-multi") == 0
    told = numbers(tmp_path, "1d-plain-last-0.json")
    questions = draw_questions("test", SMALL.test)
    assert len(told["right"]) == told["n"]["test"] == len(questions)
    absolute = [sign == "1" for sign, one in zip(told["right"], questions, strict=True) if one.kind == "absolute"]
    assert told["test"]["absolute"] == pytest.approx(np.mean(absolute), abs=1e-4)
    assert command(tmp_path, "--list") == 0
    assert "1d-plain-last                    seeds [0]" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    assert command(tmp_path, "--report") == 0
    assert "| `1d-plain-last` | 1 |" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "images" / "remedies_accuracy.svg").is_file()


def test_the_page_of_results_is_that_of_the_results() -> None:
    results = read_results(remedies.RESULTS / "remedies")
    assert json.loads(json.dumps(FULL.as_dict())) == next(iter(results.runs.values()))["settings"]
    found = report(results)
    page = (remedies.ROOT / "docs" / "remedies.md").read_text(encoding="utf-8")
    _, *rows = page.partition("| remedy | absolute | relative | depth |\n")[2].partition("\n\n")[0].splitlines()
    kinds = ("absolute", "relative", "depth")
    told = [(kind, cell.strip()) for row in rows for kind, cell in zip(kinds, row.split("|")[2:5], strict=True)]
    assert (len(told), [one for one in told if "| {} | {} |".format(*one) not in found]) == (36, [])


def test_a_cell_that_was_interrupted_gives_the_same_numbers(tmp_path: Path) -> None:
    assert command(tmp_path / "whole", "--cell", "1d-norm-last", "--seed", "1") == 0
    tries = 0
    while command(tmp_path / "parts", "--cell", "1d-norm-last", "--seed", "1", "--minutes", "0") == 1:
        tries += 1
    assert tries > 5
    assert numbers(tmp_path / "whole", "1d-norm-last-1.json") == numbers(tmp_path / "parts", "1d-norm-last-1.json")


@pytest.mark.parametrize(
    ("changed", "removed"),
    [({"described_share": 0.75}, ()), ({"pool": 48}, ()), ({"encoder": Stage(2, 4, 5e-4)}, ("encoder-clip",))],
)
def test_checkpoints_of_other_settings_are_not_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any],
    removed: tuple[str, ...],
) -> None:  # fmt: skip
    assert command(tmp_path, "--cell", "1d-plain-last") == 0
    monkeypatch.setattr(remedies, "SMALL", replace(SMALL, **changed))
    for name in removed:
        (tmp_path / "work" / "small" / "run-0" / f"{name}.safetensors").unlink()
    assert command(tmp_path, "--cell", "1d-plain-last") == 2
    assert "other settings" in capsys.readouterr().err


def test_an_interrupted_command_says_that_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remedies, "run_cell", interrupted)
    assert command(tmp_path, "--cell", "1d-plain-last") == 1
    assert "paused in a step; the same command goes on" in capsys.readouterr().err


def test_attention_is_tuned_on_validation_and_told_on_test(tmp_path: Path) -> None:
    assert command(tmp_path, "--cell", "attention-1d-plain-last") == 0
    told = numbers(tmp_path, "attention-1d-plain-last-0.json")
    assert len(told["right_scaling"]) == len(told["right_adaptive"]) == told["n"]["test"]
    assert set(told["validation_by_alpha"]) == {"0.0", "0.5", "0.8", "1.2", "1.5", "2.0"}


def test_what_cannot_be_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--cell", "sideways") == 2
    assert "sideways" in capsys.readouterr().err
    assert command(tmp_path, "--report") == 2


def test_seeds_come_one_after_the_other_and_the_winners_remedies_when_it_is_known(tmp_path: Path) -> None:
    first = remedies.missing(tmp_path, 2, SMALL)
    assert first == [(cell, seed) for seed in (0, 1) for cell in planned(None)]
    for cell in COMBINATIONS:
        for seed in (0, 1):
            write_result(tmp_path, made_up(cell, seed, {"axial-plain-last": 0.9}.get(cell, 0.5)))
    left = remedies.missing(tmp_path, 2, SMALL)
    assert left[:4] == [(cell, seed) for seed in (0, 1) for cell in ("cloc-axial-plain-last", "pin-axial-plain-last")]
    assert set(left[4:]) == set(first) - {(cell, seed) for cell in COMBINATIONS for seed in (0, 1)}


def test_runs_of_other_settings_are_not_added_to(tmp_path: Path) -> None:
    write_result(tmp_path, made_up("siglip", 0, 0.5))
    with pytest.raises(InputError, match="other settings"):
        remedies.missing(tmp_path, 1, FULL)


def made_up(cell: str, seed: int, value: float, right: str = "") -> dict[str, Any]:
    validation = {"absolute": value, "relative": value, "depth": value}
    return {
        "cell": cell, "seed": seed, "settings": SMALL.as_dict(), "seconds": {}, "test": validation,
        "norm_ratio": {"before": 1.0, "after": 2.0}, "validation": validation, "right": right, "permuted": [right],
    }  # fmt: skip


def test_tables_are_shares_of_groups_by_hand(tmp_path: Path) -> None:
    questions = draw_questions("test", SMALL.test)
    right = "".join("01"[k % 3 == 0] for k in range(len(questions)))
    write_result(tmp_path, made_up("siglip", 4, 0.5, right))
    results = read_results(tmp_path)
    groups: dict[str, list[bool]] = {}
    for sign, one in zip(right, questions, strict=True):
        if one.type == "depth usual" or one.kind == "relative":
            groups.setdefault(f"{one.item.group} {one.type}", []).append(sign == "1")
    found = results.table("siglip", [4], ["depth usual", "relative"])
    assert found.tolist() == [pytest.approx([np.mean(values) for values in groups.values()])]
    plain, corrected = results.psi("siglip")
    assert plain is not None
    assert plain.value == pytest.approx(0.0)
    assert corrected is None or corrected.value == pytest.approx(0.0)
    assert results.winner() is None


def test_runs_that_must_not_be_compared_are_refused(tmp_path: Path) -> None:
    write_result(tmp_path, made_up("siglip", 0, 0.5))
    write_result(tmp_path, {**made_up("siglip", 1, 0.5), "settings": {"other": 1}})
    with pytest.raises(InputError, match="settings"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "siglip-0.json").write_text(text)
    with pytest.raises(FileError):
        read_results(tmp_path)


def test_answers_that_do_not_fit_the_questions_are_refused() -> None:
    results = Results({("siglip", 0): made_up("siglip", 0, 0.5, "101")})
    with pytest.raises(InputError):
        results.table("siglip", [0], ["absolute"])


def test_a_folder_of_results_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        write_result(tmp_path / "file", made_up("siglip", 0, 0.5))
