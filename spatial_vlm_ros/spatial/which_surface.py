# SPDX-License-Identifier: Apache-2.0
"""Decide which surface of an object the words mean: its topmost one, a part of its top, or its inside."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.language.part_words import CLOSING, DOORS, DRAWERS, IN, LIDDED, ON, SHELVED
from spatial_vlm_ros.spatial.free_space import Level, depth_inside, hull
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.drawers import top_panel
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.relations.topmost import APART, MOST_POINTS, broad_levels, covering
from spatial_vlm_ros.spatial.surfaces import SupportContext, SupportingSurface
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.query import Preposition

_SIDES = frozenset(f"at the {side} of" for side in ("left side", "right side", "front", "back"))
_RIM = 0.008  # least height in metres that a part of an object rises over a surface in it
_AJAR = 0.35  # fraction of its width by which an open door sticks out of its furniture
_HANDLE = 0.06  # metres that a handle sticks out


def means_inside(layout: Layout, row: int, relation: str, preposition: Preposition | None) -> bool:
    """True if a part of an object belongs to its inside: "in the right half of the cabinet" is not on its top.

    "At the back of" furniture with doors is in it or behind it; "on the back of" it is on its top.

    Args:
        preposition: the word that was said, or None.
    """
    if not _is_one_of(layout, row, CLOSING) or preposition == ON:
        return False
    return preposition == IN or relation in _SIDES


def may_have_a_lid(layout: Layout, row: int) -> bool:
    """True if the top of an object may be a lid, by its label."""
    return _is_one_of(layout, row, LIDDED)


def boards_of(layout: Layout, row: int) -> int:
    """Number of an object's boards that objects stand on, if it is a shelf unit by its label; else 1."""
    return len(levels(layout, row)) if is_shelf_unit(layout, row) else 1


def is_shelf_unit(layout: Layout, row: int) -> bool:
    """True if an object has open boards, by its label."""
    return _is_one_of(layout, row, SHELVED - CLOSING)


def roof_of(layout: Layout, row: int) -> Array:
    """(K, 2) outline of the area that counts as under an object, metres; for furniture with drawers, that of its top.

    The space under a protruding drawer is not under the furniture.
    """
    if not _is_one_of(layout, row, CLOSING):
        return layout.footprint[row]
    seen = layout.points_of(row, MOST_POINTS)
    panel = top_panel(seen, float(np.percentile(seen[:, 2], 99))) if len(seen) else None
    return layout.footprint[row] if panel is None else hull(panel)


def is_top(layout: Layout, row: int, level: Level) -> bool:
    """True if no part of an object rises over a level of it."""
    ground = float(level.at(layout.centre[row : row + 1, :2])[0])
    return bool(layout.top[row] < ground + max(_RIM, 2 * float(layout.noise[row])))


def topmost_of(around: SupportContext, found: list[SupportingSurface]) -> list[SupportingSurface]:
    """The levels of an object, topmost first, that form its topmost surface, without lower levels and covered ones.

    The rim of a plate and its middle are one surface.
    """
    row, top = found[0].row, found[0].level.height
    broad = broad_levels(around.layout, row, None)
    top = max(top, *broad) if len(broad) else top
    kept, points = [], around.layout.points_of(row, MOST_POINTS)
    for level in found:
        outline, height = level.outline, level.level.height + APART
        if level.level.height <= top - APART:
            continue
        # Is a part of the object itself over it or, from side to side, in front of its middle?
        if outline is None or covering(points, outline, height, float(np.hypot(*outline.mean(axis=0)))) is None:
            kept.append(level)
    return kept


def shut_in_front_of(layout: Layout, row: int, moved: int) -> int | None:
    """The furniture of which an object is a closed door or drawer: behind the door is inside the furniture. Else None.

    Args:
        moved: row of the object to put behind it.
    """
    if not _is_one_of(layout, row, DOORS | DRAWERS):
        return None
    rows = np.flatnonzero(layout.measured)
    rows = np.array(
        [other for other in rows.tolist() if _is_one_of(layout, other, CLOSING) and other != moved], np.intp
    )
    if not len(rows):
        return None
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), rows, np.array([row], np.intp))
    touching = rows[RELATIONS["touching"](pairs)[0][:, 0] > 0]
    if not len(touching):
        return None
    whole = int(touching[np.argmax(layout.mean_side[touching])])
    out = -float(depth_inside(layout.footprint[whole], layout.footprint[row]).min())
    return whole if out < max(_HANDLE, _AJAR * float(layout.size[row, 0])) else None


def _is_one_of(layout: Layout, row: int, nouns: frozenset[str]) -> bool:
    words = layout.scene.objects[row].detection.label.lower().replace("-", " ").replace("_", " ").split()
    return bool(words) and words[-1] in nouns
