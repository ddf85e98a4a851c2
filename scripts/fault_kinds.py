# SPDX-License-Identifier: Apache-2.0
"""The table of all faults that can be injected, from their catalogue; scripts/generate.py writes it."""

from __future__ import annotations

from collections.abc import Iterator

from spatial_vlm_ros.sim.faults.catalogue import EFFECTS, FORMS, IMPOSSIBLE, KINDS, WITH_FRAME_ID, WITH_STAMP, Effect

_HEAD = """# Kinds of faults

Made by `scripts/generate.py` from `spatial_vlm_ros/sim/faults/catalogue.py`. [fault_injection.md](fault_injection.md)
says how to inject them, and [faults.md](faults.md) what the resolver then does.
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


def fault_table() -> str:
    """All forms of streams and parts with their kinds, as a Markdown page."""
    return _HEAD + "\n".join(line for room in EFFECTS for line in _section(room)) + "\n"


def _section(room: str) -> Iterator[str]:
    yield from ("", f"## {_TITLES[room]}", "")
    if room in ("stamp", "frame_id"):
        forms = WITH_STAMP if room == "stamp" else WITH_FRAME_ID
        yield from (", ".join(f"`{name}.{room}`" for name, form in FORMS.items() if form in forms) + ".", "")
    yield from ("| kind | what it does | amount | default |", "|---|---|---|---|")
    for kind in KINDS:
        yield f"| {kind} | {_cells(EFFECTS[room].get(kind), IMPOSSIBLE.get((room, kind), ''))} |"


def _cells(effect: Effect | None, reason: str) -> str:
    if effect is None:
        return f"not possible: {reason} | | "
    if effect.unit is None:
        return f"{effect.does} | | "
    return f"{effect.does} | {effect.low:g} to {effect.high:g} {effect.unit}".rstrip() + f" | {effect.default:g}"
