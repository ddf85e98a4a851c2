# SPDX-License-Identifier: Apache-2.0
"""docs/faults.md from what tests observed: `make faults` runs them, and this collects. No cell is written by hand.

Every row is a JSON file in benchmarks/results/faults/<section>/, written by `record` of test/nodes/fault_record.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "results" / "faults"
SECTIONS = ("Streams", "Transforms", "Clocks", "Detections", "Models", "Controllers", "Stopping")
_LONGEST = 220  # characters of one cell's words
_HEAD = """# Faults

Made by `make faults`: each row is a test that injects one fault ([how](fault_injection.md),
[all kinds](fault_kinds.md)) into a live graph and records what it observes. No cell is written by hand.
"""
_CAMERA = """
In the rows of camera, transforms, clocks, detections and models the node `frame_player` plays two scenes at 10 Hz to a
`resolver` with `frame_timeout` 3 s and its other defaults. Right before each request the scene is swapped, so that an
answer from an image of before the request has the wrong pose. A *wrong pose* lies 3 cm or more from the truth. A row
**fails** when a request ends with a status that is not right for the fault, or with a wrong pose that could have been
known. *No* marks a row whose fault no check of this set-up can find; the reason is beside it. *Recovery* is the time
from the end of the fault to the end of the first request that is answered rightly. No arm listens in these rows.
"""


def faults_page(folder: Path = RECORDS) -> str:
    """The page, as Markdown.

    Args:
        folder: of the records.
    """
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]
    lines = [_HEAD, *_summary(rows), _CAMERA]
    for section in SECTIONS:
        chosen = [row for row in rows if row["section"] == section]
        if chosen:
            lines += ["", f"## {section}", "", *(_stopping(chosen) if section == "Stopping" else _table(chosen))]
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What all rows come to."""
    faults = [row for row in rows if "requests" in row]
    known = [row for row in faults if not row["undetectable"]]
    failed = [row for row in rows if row["failures"]]
    unseen = [row for row in faults if row["failures"] == [] and not row["undetectable"] and _refuses(row)]
    yield f"- {len(rows)} rows; {len(failed)} fail{_listed(failed)}."
    yield (
        f"- Wrong poses where the fault could have been known: {sum(row['wrong_poses'] for row in known)} of "
        f"{sum(row['requests'] for row in known)} requests; where it could not: "
        f"{sum(row['wrong_poses'] for row in faults) - sum(row['wrong_poses'] for row in known)} of "
        f"{sum(row['requests'] for row in faults) - sum(row['requests'] for row in known)}."
    )
    silent = [row for row in unseen if not row["diagnostics"]]
    mute = [row for row in unseen if not row["doctor"]]
    yield (
        f"- Of {len(unseen)} rows in which no request was answered, `/diagnostics` said nothing in {len(silent)}"
        f"{_listed(silent)}, and `doctor` in {len(mute)}{_listed(mute)}."
    )


def _refuses(row: dict[str, Any]) -> bool:
    return "OK" not in row["statuses"]


def _listed(rows: Iterable[dict[str, Any]]) -> str:
    names = ", ".join(f"`{row.get('injected', row['row'])}`" for row in rows)
    return f" ({names})" if names else ""


def _table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "| fault | injected how | status of requests | diagnostics | doctor | recovery | wrong poses | as it should |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        statuses = ", ".join(f"{name} {count}" for name, count in row["statuses"].items())
        said = "".join(f": {_short(words)}" for words in row["says"])
        when = " (from the start)" if row["at_start"] else ""
        cells = (
            row["fault"],
            f"`{row['injected']}`{when}",
            statuses + said,
            _several(row["diagnostics"]),
            _several(row["doctor"]),
            f"{row['recovery_s']:g} s",
            f"{row['wrong_poses']} of {row['requests']}",
            _judged(row),
        )
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _judged(row: dict[str, Any]) -> str:
    if row["failures"]:
        return f"**fails**: {'; '.join(row['failures'])}"
    if row["undetectable"] and row["wrong_poses"]:
        return f"*no*: {row['undetectable']}"
    return "yes"


def _stopping(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Event × phase × planner."""
    yield "| event | phase | planner | stops | standstill, median | worst | the answer | as it should |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (
            row["event"], row["phase"], row["planner"], str(row["n"]), f"{row['median_s']:.2f} s",
            f"{row['worst_s']:.2f} s", row["answer"], "yes" if not row["failures"] else "; ".join(row["failures"]),
        )  # fmt: skip
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _several(words: Sequence[str]) -> str:
    return "<br>".join(_short(each) for each in words[:3]) or "nothing"


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ").replace("<camera", "&lt;camera")


if __name__ == "__main__":
    path = ROOT / "docs" / "faults.md"
    path.write_text(faults_page(), encoding="utf-8")
    print(path.relative_to(ROOT))
