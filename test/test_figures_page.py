# SPDX-License-Identifier: Apache-2.0
"""docs/figures.md says what the committed results say, where each figure is from, and what is not measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS, file_of
from scripts.figure_rows import OURS, RESEARCH, Row, share
from scripts.figures_page import SECTIONS, figures_page, results

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


def test_the_page_is_made_from_the_result_files() -> None:
    assert figures_page() == PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_each_row_names_a_benchmark_that_exists_and_the_file_that_it_is_read_from(row: Row) -> None:
    assert file_of(row.module).is_file()
    assert Path(row.file).stem.startswith(row.module)
    assert (ROOT / row.file).is_file()
    assert f"`{row.file}`" in PAGE
    assert f"`python -m {PARTS[row.module].package}.{row.module}" in PAGE
    options = set(re.findall(r"--[\w-]+", row.options))
    assert all(option.removeprefix("--") in file_of(row.module).read_text() for option in options)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: str(section.title))
def test_each_row_of_a_table_has_a_name_of_its_own_and_a_note(section: object) -> None:
    rows = section.rows  # type: ignore[attr-defined]
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.note and f"*{row.group or row.name}*" in " ".join(PAGE.split()) for row in rows)


def test_no_line_is_longer_than_130_characters() -> None:
    assert max(map(len, PAGE.splitlines())) <= 130


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
    assert f"{result['claims'][0]['text']}: 7.25" in page.partition("## Targets")[2]


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


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\((\w+\.md)", PAGE):
        assert (ROOT / "docs" / target).is_file()
