# SPDX-License-Identifier: Apache-2.0
"""The page of faults and docs/figures.md say what was recorded, and nothing else."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fault_rows import ROWS as FAULT_ROWS

from benchmarks.__main__ import PARTS, file_of
from scripts.fault_kinds import fault_table
from scripts.faults_page import collected, faults_page
from scripts.figure_rows import OURS, RESEARCH, Row, share
from scripts.figures_page import SECTIONS, figures_page, results
from spatial_vlm_ros.sim.faults.catalogue import EFFECTS, FORMS, KINDS, read_faults

DOCS = Path(__file__).resolve().parents[1] / "docs"
ROW: dict[str, Any] = {
    "section": "Streams", "row": "rgb_off", "fault": "colour | stops", "injected": "rgb=off", "at_start": False,
    "statuses": {"OK": 1, "STALE_INPUT": 3}, "says": ["no message"], "diagnostics": [], "doctor": ["ERROR rgb: none"],
    "recovery_s": 0.5, "requests": 4, "wrong_poses": 1, "right": ["STALE_INPUT"], "undetectable": "",
    "failures": ["1 wrong poses"],
}  # fmt: skip


def test_the_page_has_a_line_for_each_record_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    quiet = {**ROW, "row": "tf_off", "injected": "tf=off", "statuses": {"TF_UNAVAILABLE": 4}, "failures": []}
    for row in (ROW, quiet):
        (tmp_path / "streams" / f"{row['row']}.json").write_text(json.dumps(row))
    assert collected(tmp_path) == [ROW, quiet]
    (tmp_path / "faults.json").write_text(json.dumps(collected(tmp_path)))
    trial = {"event": "stop", "phase": "carry", "planner": "built-in", "answer": "CANCELLED", "later_goals": 0,
             "opened": False}  # fmt: skip
    trials = [{**trial, "seconds": seconds} for seconds in (0.1, 0.2, 0.7)]
    (tmp_path / "stopping.json").write_text(json.dumps({"trials": trials}))
    standing = {**trial, "phase": "plan", "planner": "double of move_group", "seconds": 0.0}
    (tmp_path / "stopping_move_group.json").write_text(json.dumps({"trials": [standing]}))
    page = faults_page(tmp_path)
    assert max(map(len, page.splitlines())) <= 130
    entry = page[page.index("- **colour") : page.index("- **colour", page.index("- **colour") + 1)]
    assert " ".join(entry.split()) == (
        "- **colour | stops** (`rgb=off`): OK 1, STALE_INPUT 3; wrong poses: 1 of 4; recovery: 0.5 s; "
        "**fails**: 1 wrong poses. - Message: no message - Diagnostics: nothing - Doctor: ERROR rgb: none"
    )
    page = " ".join(page.split())
    assert "2 entries; 1 fail (`rgb=off`)" in page
    assert "Of 1 entries in which every request was refused, `/diagnostics` reported nothing in 1 (`tf=off`)" in page
    assert "2 of 8 requests" in page
    assert "| stop | carry | built-in | 3 | 0.20 s | 0.70 s | CANCELLED 3 | none |" in page
    assert "| stop | plan | double of move_group | 1 |" in page
    assert "4 stops, 3 of them of a moving arm." in page
    assert "Time to standstill, braking included: 0.20 s median, 0.70 s at most, more than 0.6 s in 1." in page


def test_a_long_message_is_wrapped_and_never_begins_a_list_or_cuts_code(tmp_path: Path) -> None:
    words = f"{'so ' * 38}- not an entry `spatial-vlm doctor --bag run1` {'and ' * 40}`cut off here`"
    (tmp_path / "faults.json").write_text(json.dumps([{**ROW, "says": [words]}]))
    page = faults_page(tmp_path)
    assert "`spatial-vlm doctor --bag run1`" in page
    assert page.count("\n  - ") == 3
    assert "`cut" not in page
    assert page.count("`") % 2 == 0


def test_every_row_is_a_fault_that_can_be_injected_and_has_a_name_of_its_own() -> None:
    assert len({row.id for row in FAULT_ROWS}) == len(FAULT_ROWS) >= 25
    for row in FAULT_ROWS:
        assert read_faults(row.injected)
        assert row.right


def test_the_guide_names_every_stream_and_kind() -> None:
    guide, table = (DOCS / "fault_injection.md").read_text(encoding="utf-8"), fault_table()
    for word in (*FORMS, *KINDS):
        assert f"`{word}`" in guide, word
    assert table.count("\n| ") == (len(KINDS) + 1) * len(EFFECTS)


ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
ROWS = [row for section in SECTIONS for row in section.rows]
COUNT = re.compile(r"([\d,]+) / ([\d,]+) \(([\d.]+) to ([\d.]+) %\)")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A root with the result files alone."""
    for folder in (OURS, RESEARCH):
        (tmp_path / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.json"):
            shutil.copy(path, tmp_path / folder)
    return tmp_path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_each_row_names_a_benchmark_that_exists_and_the_file_that_it_is_read_from(row: Row) -> None:
    run = row.run
    assert file_of(run.module).is_file()
    assert Path(run.file).stem.startswith(run.module)
    assert (ROOT / run.file).is_file()
    assert f"`{run.file}`" in PAGE
    assert f"`python -m {PARTS[run.module].package}.{run.module}" in PAGE
    options = set(re.findall(r"--([\w-]+)", run.options))
    assert all(option.replace("-", "_") in file_of(run.module).read_text() for option in options)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: str(section.title))
def test_each_row_of_a_table_has_a_name_of_its_own_and_a_note(section: object) -> None:
    rows = section.rows  # type: ignore[attr-defined]
    assert len({row.name for row in rows}) == len(rows)
    assert all(f"*{row.group or row.name}*" in " ".join(PAGE.split()) for row in rows)


def test_counts_have_the_interval_that_the_result_file_has() -> None:
    found = json.loads((ROOT / OURS / "accuracy.json").read_text())["pose_on_refusal"]
    assert share((found["k"], found["n"])) == f"0 / 3,628 (0 to {100 * found['high']:.2f} %)"
    assert share((0, 0)) == "none asked"
    assert share((5, 157)) == "5 / 157 (1.4 to 7.2 %)"
    for k, n, low, high in COUNT.findall(PAGE):
        part = 100 * int(k.replace(",", "")) / int(n.replace(",", ""))
        assert float(low) - 0.051 <= part <= float(high) + 0.051


def test_both_errors_and_right_answers_are_all_that_is_due() -> None:
    """Wrong answers and needless refusals of a row are counted among the same questions."""
    table = PAGE.partition("## Accuracy by data set")[2].partition("\n## ")[0]
    rows = [COUNT.findall(line) for line in table.splitlines() if line.startswith("|")]
    counted = [row for row in rows if row]
    assert len(counted) == len(SECTIONS[0].rows)
    for wrong, needless, _ in counted:
        assert wrong[1] == needless[1]


def test_the_figures_of_the_readable_pages_are_these() -> None:
    """What docs/evaluation.md says of the same files."""
    for text in ("0 / 3,628", "5 / 714", "50 / 84 (48.8 to 69.4 %)", "| real frames | 0 / 41", "0 / 157"):
        assert text in PAGE


def test_a_changed_result_changes_the_page(copied: Path) -> None:
    path = copied / OURS / "parsing.json"
    result = json.loads(path.read_text())
    result["routes"]["ours"]["sentence"]["median_ms"] = 7.25
    result["claims"][0] |= {"value": 7.25, "met": False}
    path.write_text(json.dumps(result))
    page = figures_page(copied)
    assert "| parse a sentence: regex | 7.2 ms |" in page
    assert page != PAGE
    assert "7.25 (`parsing`)" in page.partition("## Targets")[2]


def test_a_row_without_its_file_is_listed_as_not_measured(copied: Path) -> None:
    (copied / OURS / "cold_start.json").unlink()
    page = figures_page(copied)
    tables, _, missing = page.partition("## Not measured")
    assert "first answer: later answers" not in tables
    assert "| Cold start: first answer: later answers | `python -m benchmarks.cold_start` |" in missing
    assert "`cold_start`" in missing.splitlines()[-1]


def test_every_missed_target_is_told() -> None:
    targets = " ".join(PAGE.partition("## Targets")[2].partition("\n## ")[0].split())
    claims = [claim for found in results(ROOT).values() if isinstance(found, dict) for claim in found.get("claims", ())]
    missed = [claim for claim in claims if not claim["met"]]
    assert f"{len(claims)} targets; {len(claims) - len(missed)} are met" in targets
    assert missed
    assert all(claim["text"] in targets for claim in missed)
