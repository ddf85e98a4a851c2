# SPDX-License-Identifier: Apache-2.0
"""Make the page of faults from test observations: `make faults` runs the tests, and this script collects them.

No cell is written by hand. `python -m scripts.faults_page FOLDER` reads the records in a folder, one JSON file a row as
`record` of test/nodes/fault_record.py writes them, into benchmarks/results/faults.json. `make docs` makes the page
from that, and from benchmarks/results/stopping.json and stopping_move_group.json if stopping was measured.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.markdown import item, table, wrapped
from spatial_vlm_ros.sim.faults.catalogue import IMPOSSIBLE

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_LONGEST = 220  # characters of one message
_STANDING = ("plan", "grasp", "place")  # phases in which the arm stands still
STOP_LIMIT = 0.6  # s: 0.5 s, and 0.1 s for the controller to brake
_HEAD = """# Faults

This page shows what the resolver, the gate and the approval page do when something fails. Use it to see what to expect
of your own set-up, and which faults nothing can detect.

Each entry is a test that injects one fault ([how](../fault_injection.md), [all kinds](fault_kinds.md)) into a live
graph and records what it observes. `make faults` runs the tests, and `make docs` writes this page. Nothing is written
by hand.

## Summary
"""
_CAMERA = """
## How to read the entries

The entries about streams, transforms, clocks, detections and models are made like this:

- The node `frame_player` plays two scenes at 10 Hz to a `resolver` with `frame_timeout` 3 s and its other defaults. No
  arm listens.
- Directly before each request the scene is swapped. An answer from an image of before the request therefore has the
  wrong pose.
- A *wrong pose* is 3 cm or more from the truth.
- *Recovery* is the time from the end of the fault to the end of the first request that is answered correctly.
- *Fails* means that a request ends in a status that is not right for the fault, or in a wrong pose that could have been
  detected.
- *Cannot be detected* means that no check of this set-up can find the fault; the reason is given.
- Detections are those of the true scene, whatever the image shows, unless they or the model have the fault.
"""


def collected(folder: Path) -> list[dict[str, Any]]:
    """Read the records in a folder, by section and name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]


def faults_page(results: Path = RESULTS) -> str:
    """Make the page, as Markdown.

    Args:
        results: folder of faults.json, and of stopping*.json if stopping was measured.
    """
    rows = json.loads((results / "faults.json").read_text(encoding="utf-8"))
    stops = _stops([results / "stopping.json", results / "stopping_move_group.json"])
    lines = [_HEAD]
    lines += [item(line) for line in (*_summary(rows), *_summary_of_stops(stops))]
    lines.append(_CAMERA.rstrip())
    rows += stops
    for section, of_section in _SECTIONS.items():
        chosen = [row for row in rows if row["section"] == section]
        if chosen:
            lines += ["", f"## {section}", ""]
            lines += [wrapped(_NOTES[section]), ""] if section in _NOTES else []
            lines += of_section(chosen)
    none = [(room, kind, why) for (room, kind), why in IMPOSSIBLE.items()]
    lines += ["", "## Faults that do not exist", "", table(("stream or part", "kind", "reason"), none)]
    return "\n".join(lines).replace("<camera", "&lt;camera") + "\n"


def _summary(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Summary of all rows."""
    faults = [row for row in rows if "requests" in row]
    known = [row for row in faults if not row["undetectable"]]
    failed = [row for row in rows if row["failures"]]
    yield f"{len(rows)} entries; {len(failed)} fail{_listed(failed)}."
    poses, asked = sum(row["wrong_poses"] for row in known), sum(row["requests"] for row in known)
    others = [row for row in faults if row["undetectable"]]
    missed, unknown = sum(row["wrong_poses"] for row in others), sum(row["requests"] for row in others)
    yield (
        f"Wrong poses: {poses} of {asked} requests where the fault can be detected; {missed} of {unknown} where no "
        f"check of this set-up can detect it."
    )
    silent = [row for row in faults if row["diagnostics"] is not None and not row["diagnostics"] and _refused(row)]
    mute = [row for row in faults if row["doctor"] is not None and not row["doctor"] and _refused(row)]
    n = sum(row["diagnostics"] is not None and _refused(row) for row in faults)
    yield (
        f"Of {n} entries in which every request was refused, `/diagnostics` reported nothing in {len(silent)}"
        f"{_listed(silent)}, and `doctor` in {len(mute)}{_listed(mute)}."
    )
    moved = [row for row in rows if row.get("moved_wrongly") or row.get("unapproved_goals") or row.get("motions")]
    acted = [row for row in rows if row["section"] in ("Controllers", "Pages")]
    yield f"Motions without approval, or other than approved: in {len(moved)} of {len(acted)} entries."


def _summary_of_stops(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Summary of all stops."""
    trials = [trial for row in rows for trial in row["trials"]]
    moving = sorted(trial["seconds"] for trial in trials if trial["phase"] not in _STANDING)
    if moving:
        late = sum(seconds > STOP_LIMIT for seconds in moving)
        yield (
            f"{len(trials)} stops, {len(moving)} of them of a moving arm. Time to standstill, braking included: "
            f"{statistics.median(moving):.2f} s median, {moving[-1]:.2f} s at most, more than {STOP_LIMIT:g} s "
            f"in {late}. Trajectories begun after the event: in {sum(trial['later_goals'] > 0 for trial in trials)}. "
            f"Grippers that opened: {sum(trial['opened'] for trial in trials)}."
        )


def _refused(row: dict[str, Any]) -> bool:
    return "OK" not in row["statuses"]


def _listed(rows: Iterable[dict[str, Any]]) -> str:
    names = ", ".join(f"`{row.get('injected', row['row'])}`" for row in rows)
    return f" ({names})" if names else ""


def _of_requests(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For each fault: how requests ended, and what the nodes reported."""
    for row in rows:
        ended = ", ".join(f"{name} {count}" for name, count in row["statuses"].items())
        when = ", from the start" if row["at_start"] else ""
        poses = f"wrong poses: {row['wrong_poses']} of {row['requests']}; recovery: {row['recovery_s']:g} s"
        yield item(f"**{row['fault']}** (`{row['injected']}`{when}): {ended}; {poses}; {_judged(row)}.")
        yield from _reported("Message", row["says"])
        for name in ("diagnostics", "doctor"):
            if row[name] is not None:
                yield from _reported(name.capitalize(), row[name] or ["nothing"])
            if name == "diagnostics" and row.get("said_before"):
                yield from _reported("Diagnostics before the fault", [", ".join(row["said_before"])])


def _reported(name: str, words: Sequence[str]) -> Iterator[str]:
    for each in words[:3]:
        yield item(f"{name}: {_short(each)}", 1)


def _of_controllers(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For each fault: how the gate's goal ended, and what moved."""
    for row in rows:
        stopped = ", stopped by hand" if row["stopped_by_hand"] else ""
        wrongly = [*row["moved_wrongly"], *([f"{row['unapproved_goals']} goals"] if row["unapproved_goals"] else [])]
        when = ", before the goal" if row["at_start"] else ""
        moved = f"; moved although it should not: {', '.join(wrongly)}" if wrongly else ""
        yield item(
            f"**{row['fault']}** (`{row['injected']}`{when}): {row['status']}{stopped}; goals of the controllers: "
            f"{row['goals']}; the object is {'' if row['done'] else 'not '}on the tray; recovery: "
            f"{row['recovery_s']:g} s{moved}; {_judged(row)}."
        )
        yield from _reported("Message", [row["says"]])


def _of_pages(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For each request to the approval page: its answer, and then the content of the page and the record."""
    for row in rows:
        recorded = ", ".join(row["on_record"]) or "nothing"
        yield item(
            f"**{row['fault']}** (`{row['injected']}`): {row['status']}; on record: {recorded}; the page then shows "
            f'"{row["stage"]}"; motions: {row["motions"]}; {_judged(row)}.'
        )


def _stops(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Event × phase × planner, from the trials of benchmarks.stopping."""
    trials: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for path in (path for path in paths if path.is_file()):
        for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]:
            trials.setdefault((trial["event"], trial["phase"], trial["planner"]), []).append(trial)
    return [{"section": "Stopping", "key": key, "trials": found} for key, found in trials.items()]


def _of_stops(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Make a table: event × phase × planner."""
    lines = []
    for row in rows:
        trials = row["trials"]
        seconds = [trial["seconds"] for trial in trials]
        answers = Counter(trial["answer"] or "none" for trial in trials)
        later, opened = sum(trial["later_goals"] for trial in trials), sum(trial["opened"] for trial in trials)
        cells = (
            *row["key"],
            len(trials),
            f"{statistics.median(seconds):.2f} s",
            f"{max(seconds):.2f} s",
            ", ".join(f"{name} {count}" for name, count in sorted(answers.items())),
            f"{later} trajectories, {opened} grippers opened" if later or opened else "none",
        )
        lines.append(cells)
    yield table(("event", "phase", "planner", "n", "median", "worst", "answer", "motions after it"), lines)


_SECTIONS: dict[str, Callable[[Sequence[dict[str, Any]]], Iterable[str]]] = {
    **dict.fromkeys(("Streams", "Transforms", "Clocks", "Detections", "Models", "Set-ups", "Goals"), _of_requests),
    "Controllers": _of_controllers,
    "Pages": _of_pages,
    "Stopping": _of_stops,
}
_NOTES = {
    "Controllers": "A person approves the plan of `sim_arm`'s cell with the built-in planner. The fault begins before "
    "the approval. Goals that do not end are stopped by the service `stop` after 20 s.",
    "Set-ups": "Robots that are set up wrongly, or whose set-up becomes wrong. `/diagnostics` must not be OK, and "
    "`doctor` must name the cause and a fix. The camera of these entries sends one scene, and two requests are made.",
    "Goals": "Each entry sends one goal to a resolver with a healthy camera.",
    "Pages": "One plan waits for approval on the page.",
    "Stopping": "Measured by `python -m benchmarks.stopping`, from joint states, in real time, with all nodes as "
    "processes. The times are from the event to standstill. In the phases *plan*, *grasp* and *place* the arm stands "
    "anyway: there the test is that nothing follows and that the gripper does not open. *goes on* as the answer means "
    "that the event does not concern what the goal does then (planning needs no resolver; the recheck does), or that "
    "the gate still waits for an answer. The trial then cancels the goal. *none* as the answer means that the one who "
    "would answer, or the one who asked, has gone. A controller without a goal cannot be cancelled, so *plan*, *grasp* "
    "and *place* are left out for it.",
}


def _judged(row: dict[str, Any]) -> str:
    if row["failures"]:
        return f"**fails**: {'; '.join(row['failures'])}"
    if row.get("undetectable") and row["wrong_poses"]:
        return f"*cannot be detected*: {row['undetectable']}"
    return "as expected"


def _short(words: str) -> str:
    if len(words) <= _LONGEST:
        return words
    cut = words[: _LONGEST - 1]
    if cut.count("`") % 2:  # inside code
        cut = cut[: cut.rindex("`")]
    return f"{cut}…"


def main() -> int:
    """Read the records of a folder."""
    if len(sys.argv) != 2:
        print("python -m scripts.faults_page FOLDER", file=sys.stderr)
        return 2
    text = json.dumps(collected(Path(sys.argv[1])), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (RESULTS / "faults.json").write_text(text, encoding="utf-8")
    print("benchmarks/results/faults.json; `make docs` makes two pages of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
