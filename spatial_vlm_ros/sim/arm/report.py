# SPDX-License-Identifier: Apache-2.0
"""The judge's verdict as plain data, for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from spatial_vlm_ros.sim.arm.cell import ArmCell


def verdict_data(cell: ArmCell, goals: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the physics verdict on a cell now and since its start.

    Returns:
        `done` is whether the world's target lies at rest on the tray and is not held. Metres, degrees, newtons, and
        simulated seconds since the world's start; docs/sim_arm.md lists the keys.
    """
    verdict, layout = cell.judge.verdict(cell.data), cell.layout
    return {
        "world": layout.name,
        "instruction": layout.instruction,
        "target": layout.target,
        "tray": layout.tray,
        "time_s": round(verdict.time, 3),
        "done": verdict.objects[layout.target].delivered,
        "delivered": [id_ for id_, state in verdict.objects.items() if state.delivered],
        "moved": list(verdict.moved),
        "forces_n": _rounded(verdict.forces),
        "forces_by_held_n": _rounded(verdict.by_held),
        "things": {
            id_: {
                **dataclasses.asdict(state),
                "position": list(state.position),
                "moved": round(state.moved, 4),
                "turned_deg": round(state.turned_deg, 2),
                "delivered": state.delivered,
            }
            for id_, state in verdict.objects.items()
        },
        "goals": {name: dict(counts) for name, counts in goals.items()},
    }


def _rounded(forces: Mapping[str, float]) -> dict[str, float]:
    return {name: round(force, 3) for name, force in forces.items()}
