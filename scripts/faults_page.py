# SPDX-License-Identifier: Apache-2.0
"""docs/faults.md from what tests observed: `make faults` runs them, and this collects. No cell is written by hand.

`python -m scripts.faults_page FOLDER` takes over the records in a folder, one JSON file a row as `record` of
test/nodes/fault_record.py writes them, into benchmarks/results/faults.json. `make generate` makes the page from that,
and from benchmarks/results/stopping.json and stopping_move_group.json where stopping was measured.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.sim.faults.catalogue import IMPOSSIBLE

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_LONGEST = 220  # characters of one cell's words
_STANDING = ("plan", "grasp", "place")  # phases in which the arm stands anyway
STOP_LIMIT = 0.6  # s: 0.5 s, and 0.1 s for the controller to brake
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
from the end of the fault to the end of the first request that is answered rightly. Detections are those of the true
scene, whatever the image shows, but where they or the model have the fault. No arm listens in these rows.
"""


def collected(folder: Path) -> list[dict[str, Any]]:
    """The records in a folder, by section and name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]


def faults_page(results: Path = RESULTS) -> str:
    """The page, as Markdown.

    Args:
        results: folder of faults.json, and of stopping*.json where stopping was measured.
    """
    rows = json.loads((results / "faults.json").read_text(encoding="utf-8"))
    stops = _stops([results / "stopping.json", results / "stopping_move_group.json"])
    lines = [_HEAD, *_summary(rows), *_summary_of_stops(stops), _CAMERA]
    rows += stops
    for section, (head, cells_of) in _SECTIONS.items():
        chosen = [row for row in rows if row["section"] == section]
        if chosen:
            lines += ["", f"## {section}", "", *([_NOTES[section], ""] if section in _NOTES else [])]
            lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            lines += [f"| {' | '.join(_cell(cell) for cell in cells_of(row))} |" for row in chosen]
    lines += ["", "## Faults that cannot be", "", "| stream or part | kind | why |", "|---|---|---|"]
    lines += [f"| {room} | {kind} | {why} |" for (room, kind), why in IMPOSSIBLE.items()]
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What all rows come to."""
    faults = [row for row in rows if "requests" in row]
    known = [row for row in faults if not row["undetectable"]]
    failed = [row for row in rows if row["failures"]]
    yield f"- {len(rows)} rows; {len(failed)} fail{_listed(failed)}."
    poses, asked = sum(row["wrong_poses"] for row in known), sum(row["requests"] for row in known)
    others = [row for row in faults if row["undetectable"]]
    missed, unknown = sum(row["wrong_poses"] for row in others), sum(row["requests"] for row in others)
    yield (
        f"- Wrong poses where the fault can be known: {poses} of {asked} requests; where no check of this set-up can "
        f"find it: {missed} of {unknown}."
    )
    silent = [row for row in faults if row["diagnostics"] is not None and not row["diagnostics"] and _refused(row)]
    mute = [row for row in faults if row["doctor"] is not None and not row["doctor"] and _refused(row)]
    n = sum(row["diagnostics"] is not None and _refused(row) for row in faults)
    yield (
        f"- Of {n} rows in which every request was refused, `/diagnostics` said nothing in {len(silent)}"
        f"{_listed(silent)}, and `doctor` in {len(mute)}{_listed(mute)}."
    )
    moved = [row for row in rows if row.get("moved_wrongly") or row.get("unapproved_goals") or row.get("motions")]
    acted = [row for row in rows if row["section"] in ("Controllers", "Pages")]
    yield f"- Motions without approval, or of something else than approved: in {len(moved)} of {len(acted)} rows."


def _summary_of_stops(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What all stops come to."""
    trials = [trial for row in rows for trial in row["trials"]]
    moving = sorted(trial["seconds"] for trial in trials if trial["phase"] not in _STANDING)
    if moving:
        late = sum(seconds > STOP_LIMIT for seconds in moving)
        yield (
            f"- {len(trials)} stops, {len(moving)} of them of a moving arm: until it stands, braking included, "
            f"{statistics.median(moving):.2f} s (median), {moving[-1]:.2f} s at most, more than {STOP_LIMIT:g} s in "
            f"{late}; trajectories begun after the event in {sum(trial['later_goals'] > 0 for trial in trials)}, "
            f"grippers that opened {sum(trial['opened'] for trial in trials)}."
        )


def _refused(row: dict[str, Any]) -> bool:
    return "OK" not in row["statuses"]


def _listed(rows: Iterable[dict[str, Any]]) -> str:
    names = ", ".join(f"`{row.get('injected', row['row'])}`" for row in rows)
    return f" ({names})" if names else ""


def _of_requests(row: dict[str, Any]) -> tuple[str, ...]:
    said = "".join(f": {_short(words)}" for words in row["says"])
    return (
        row["fault"],
        f"`{row['injected']}`{' (from the start)' if row['at_start'] else ''}",
        ", ".join(f"{name} {count}" for name, count in row["statuses"].items()) + said,
        *([_several(row["diagnostics"]) + _before(row)] if row["diagnostics"] is not None else []),
        *([_several(row["doctor"])] if row["doctor"] is not None else []),
        f"{row['recovery_s']:g} s",
        f"{row['wrong_poses']} of {row['requests']}",
        _judged(row),
    )


def _before(row: dict[str, Any]) -> str:
    said = row.get("said_before")
    return f" (before the fault: {', '.join(said)})" if said else ""


def _of_controllers(row: dict[str, Any]) -> tuple[str, ...]:
    stopped = ", stopped by hand" if row["stopped_by_hand"] else ""
    wrongly = [*row["moved_wrongly"], *([f"{row['unapproved_goals']} goals"] if row["unapproved_goals"] else [])]
    return (
        row["fault"],
        f"`{row['injected']}`{' (before the goal)' if row['at_start'] else ''}",
        f"{row['status']}{stopped}: {_short(row['says'])}",
        f"{row['goals']}, {'object on the tray' if row['done'] else 'object not on the tray'}",
        f"{row['recovery_s']:g} s",
        ", ".join(wrongly) or "none",
        _judged(row),
    )


def _of_pages(row: dict[str, Any]) -> tuple[str, ...]:
    recorded = ", ".join(row["on_record"]) or "nothing"
    return (
        row["fault"],
        f"`{row['injected']}`",
        row["status"],
        recorded,
        row["stage"],
        str(row["motions"]),
        _judged(row),
    )


def _stops(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Event × phase × planner, of the trials of benchmarks.stopping."""
    trials: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for path in (path for path in paths if path.is_file()):
        for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
            trials.setdefault((trial["event"], trial["phase"], trial["planner"]), []).append(trial)
    return [{"section": "Stopping", "key": key, "trials": found} for key, found in trials.items()]


def _of_stops(row: dict[str, Any]) -> tuple[str, ...]:
    trials = row["trials"]
    seconds = [trial["seconds"] for trial in trials]
    answers = Counter(trial["answer"] or "nobody to answer" for trial in trials)
    later, opened = sum(trial["later_goals"] for trial in trials), sum(trial["opened"] for trial in trials)
    return (
        *row["key"],
        str(len(trials)),
        f"{statistics.median(seconds):.2f} s",
        f"{max(seconds):.2f} s",
        ", ".join(f"{name} {count}" for name, count in sorted(answers.items())),
        f"{later} trajectories, {opened} grippers opened" if later or opened else "none",
    )


_REQUESTS = ("fault", "injected how", "status of requests", "diagnostics", "doctor", "recovery", "wrong poses",
             "as it should")  # fmt: skip
_SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], tuple[str, ...]]]] = {
    **dict.fromkeys(("Streams", "Transforms", "Clocks", "Detections", "Models", "Set-ups"), (_REQUESTS, _of_requests)),
    "Goals": (("fault", "sent", "status", "recovery", "wrong poses", "as it should"), _of_requests),
    "Controllers": (
        ("fault", "injected how", "how the goal ends", "goals of controllers", "recovery", "what should not have moved",
         "as it should"),
        _of_controllers,
    ),
    "Pages": (("fault", "sent", "answer", "on record", "the page then", "motions", "as it should"), _of_pages),
    "Stopping": (
        ("event", "phase", "planner", "stops", "standstill, median", "worst", "the answer", "motions after it"),
        _of_stops,
    ),
}  # fmt: skip
_NOTES = {
    "Controllers": "A person approves the plan of `sim_arm`'s cell with the built-in planner; the fault begins before "
    "the approval. Goals that do not end are stopped by the service `stop` after 20 s.",
    "Set-ups": "Robots that were set up wrongly, or whose set-up becomes wrong: `/diagnostics` has to be not OK, and "
    "`doctor` has to name the cause and a repair. The camera of these rows sends one scene, and two requests are made.",
    "Goals": "Each row asks a healthy camera; what the resolver says of health is that of no fault.",
    "Pages": "One plan waits for approval at the page.",
    "Stopping": "Measured by `python -m benchmarks.stopping`, by joint states from the event on, in real time, with "
    "all nodes as processes. In *plan*, *grasp* and *place* the arm stands anyway: there it counts that nothing "
    "follows and that the gripper does not open. *goes on*: the event does not concern what the goal does then "
    "(planning needs no resolver; the second look will), or the gate still waits for an answer; the trial then cancels "
    "the goal. A controller without a goal cannot be cancelled: *plan*, *grasp* and *place* are left out for it. "
    "*nobody to answer*: who would answer, or who asked, has gone.",
}


def _judged(row: dict[str, Any]) -> str:
    if row["failures"]:
        return f"**fails**: {'; '.join(row['failures'])}"
    if row.get("undetectable") and row["wrong_poses"]:
        return f"*no*: {row['undetectable']}"
    return "yes"


def _several(words: Sequence[str]) -> str:
    return "<br>".join(_short(each) for each in words[:3]) or "nothing"


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ").replace("<camera", "&lt;camera")


def main() -> int:
    """Take over the records of a folder."""
    if len(sys.argv) != 2:
        print("python -m scripts.faults_page FOLDER", file=sys.stderr)
        return 2
    text = json.dumps(collected(Path(sys.argv[1])), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (RESULTS / "faults.json").write_text(text, encoding="utf-8")
    print("benchmarks/results/faults.json; `make generate` writes docs/faults.md and docs/fault_kinds.md of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
