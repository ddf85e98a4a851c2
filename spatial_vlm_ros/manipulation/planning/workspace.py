# SPDX-License-Identifier: Apache-2.0
"""The gripper's workspace: a box for its tip, and keep-out volumes. Planning frame, metres."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import WorkspaceConfig
from spatial_vlm_ros.types import Vector3

_REPAIR = 'write "name x0 y0 z0 x1 y1 z1", metres, least corner first, volumes separated by ";"'


def words_outside(workspace: WorkspaceConfig, places: Iterable[tuple[str, Vector3]]) -> str:
    """Says which of some named points is outside the workspace or not finite; "" if none is."""
    low = (workspace.x_min, workspace.y_min, workspace.z_min)
    high = (workspace.x_max, workspace.y_max, workspace.z_max)
    for name, point in places:
        beyond = max(max(a - p, p - b) for a, p, b in zip(low, point, high, strict=True))
        beyond = beyond if all(math.isfinite(value) for value in point) else math.inf
        if beyond > 0:
            return f"its {name} is {beyond:.3f} m outside the workspace"
    return ""


def keep_outs(workspace: WorkspaceConfig) -> Mapping[str, Solid]:
    """Keep-out volumes by name."""
    volumes: dict[str, Solid] = {}
    for entry in filter(None, (part.strip() for part in workspace.keep_out.split(";"))):
        name, *words = entry.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"keep-out {name!r}", entry, "a name and six numbers", _REPAIR) from error
        if len(numbers) != 6 or not all(math.isfinite(n) for n in numbers):
            raise InputError(f"keep-out {name!r}", entry, "a name and six finite numbers", _REPAIR)
        low, high = numbers[:3], numbers[3:]
        if not all(a < b for a, b in zip(low, high, strict=True)) or name in volumes:
            raise InputError(
                f"keep-out {name!r}", entry, "the least corner, then the greatest, and each name once", _REPAIR
            )
        cx, cy, cz = ((a + b) / 2 for a, b in zip(low, high, strict=True))
        x, y, z = (b - a for a, b in zip(low, high, strict=True))
        volumes[name] = Solid((cx, cy, cz), 0.0, (x, y, z))
    return volumes
