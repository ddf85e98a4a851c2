# SPDX-License-Identifier: Apache-2.0
"""docs/faults.md says what was recorded, and nothing else; its rows are faults that can be injected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fault_rows import ROWS

from scripts.fault_kinds import fault_table
from scripts.faults_page import collected, faults_page
from spatial_vlm_ros.sim.faults.catalogue import EFFECTS, FORMS, KINDS
from spatial_vlm_ros.sim.faults.spec import read_faults

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
    assert (
        "4 stops, 3 of them of a moving arm. Time to standstill, braking included: 0.20 s median, 0.70 s at most, "
        in page
    )
    assert "more than 0.6 s in 1." in page


def test_a_long_message_is_wrapped_and_never_begins_a_list_or_cuts_code(tmp_path: Path) -> None:
    words = f"{'so ' * 38}- not an entry `spatial-vlm doctor --bag run1` {'and ' * 40}`cut off here`"
    (tmp_path / "faults.json").write_text(json.dumps([{**ROW, "says": [words]}]))
    page = faults_page(tmp_path)
    assert "`spatial-vlm doctor --bag run1`" in page
    assert page.count("\n  - ") == 3
    assert "`cut" not in page
    assert page.count("`") % 2 == 0


def test_every_row_is_a_fault_that_can_be_injected_and_has_a_name_of_its_own() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 25
    for row in ROWS:
        assert read_faults(row.injected)
        assert row.right


def test_the_guide_names_every_stream_and_kind() -> None:
    guide, table = (DOCS / "fault_injection.md").read_text(encoding="utf-8"), fault_table()
    for word in (*FORMS, *KINDS):
        assert f"`{word}`" in guide, word
    assert table.count("\n| ") == (len(KINDS) + 1) * len(EFFECTS)
