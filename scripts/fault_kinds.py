# SPDX-License-Identifier: Apache-2.0
"""Make the table of all faults that can be injected, from their catalogue, with observations from faults.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from spatial_vlm_ros.sim.faults.catalogue import (
    EFFECTS,
    FORMS,
    IMPOSSIBLE,
    KINDS,
    WITH_FRAME_ID,
    WITH_STAMP,
    Effect,
    read_faults,
)

RECORDS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "faults.json"
Observed = Mapping[tuple[str, str], list[str]]
"""Form or part, and kind → injected faults and how requests ended."""

_HEAD = """# Kinds of faults

This page is the reference for [fault injection](../fault_injection.md). It lists, for every stream, what each kind of
fault does, the range of its amount, and the default amount. Below each table is how requests to the resolver, or goals
of the gate, ended with such faults. [faults.md](faults.md) has the details.

Made by `make docs` from `spatial_vlm_ros/sim/faults/catalogue.py`.
"""
_TITLES = {
    "colour": "Colour: `rgb`",
    "depth": "Depth: `depth`",
    "compressed": "Compressed images, of bags",
    "other": "Topics of other types, of bags",
    "info": "Camera info: `info`",
    "detections": "Detections: `detections`",
    "transforms": "Transforms: `tf`, `tf_static`",
    "joints": "Joint states: `joints`",
    "clock": "Simulated time: `clock`",
    "stamp": "Stamps",
    "frame_id": "Frame ids",
    "arm": "The arm's controller: `arm`",
    "gripper": "The gripper's controller: `gripper`",
    "model": "Models: `model`",
}


def fault_table(records: Path = RECORDS) -> str:
    """Make a Markdown page with all forms of streams and parts and their kinds of faults.

    Args:
        records: file of the observations.
    """
    observed = _observed(records)
    return _HEAD + "\n".join(line for room in EFFECTS for line in _section(room, observed)) + "\n"


def _observed(records: Path) -> Observed:
    """Observations from rows that inject one fault; a group counts for its first stream."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in json.loads(records.read_text(encoding="utf-8")):
        words = row["injected"].removeprefix("grounder, ")
        if row["section"] in ("Goals", "Pages") or len(words.split()) > 1:
            continue
        fault = read_faults(words)[0]
        ended = ", ".join(row["statuses"]) if "statuses" in row else row["status"]
        found.setdefault((fault.part or FORMS[fault.stream], fault.kind), []).append(f"`{words}`: {ended}")
    return found


def _section(room: str, observed: Observed) -> Iterator[str]:
    yield from ("", f"## {_TITLES[room]}", "")
    if room in ("stamp", "frame_id"):
        forms = WITH_STAMP if room == "stamp" else WITH_FRAME_ID
        yield from (", ".join(f"`{name}.{room}`" for name, form in FORMS.items() if form in forms) + ".", "")
    yield from ("| kind | what it does | amount | default |", "|---|---|---|---|")
    for kind in KINDS:
        yield f"| {kind} | {_cells(EFFECTS[room].get(kind), IMPOSSIBLE.get((room, kind), ''))} |"
    seen = [each for kind in KINDS for each in observed.get((room, kind), [])]
    untested = [f"`{kind}`" for kind in EFFECTS[room] if not observed.get((room, kind))]
    yield from ("", *(["Observed:", "", *(f"- {each}" for each in seen)] if seen else []))
    if untested:
        yield from ([""] if seen else [])
        yield f"No entry in [faults.md](faults.md): {', '.join(untested)}."


def _cells(effect: Effect | None, reason: str) -> str:
    if effect is None:
        return f"does not exist: {reason} | |"
    if effect.unit is None:
        return f"{effect.does} | |"
    return f"{effect.does} | {effect.low:g} to {effect.high:g} {effect.unit}".rstrip() + f" | {effect.default:g}"
