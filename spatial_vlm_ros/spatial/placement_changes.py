# SPDX-License-Identifier: Apache-2.0
"""Find what would have to change for a missing place: try one object at a time, and describe the result."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.no_surface import NoSurface
from spatial_vlm_ros.spatial.placement import PlaceRequest, has_place
from spatial_vlm_ros.spatial.placement_reasons import name_of, names_of
from spatial_vlm_ros.types.place_reasons import NoPlace

_TRIED = 6  # objects that are removed, one after the other
_NEVER = frozenset({"too tall", "no part", "unclear", "too small"})
"""Causes that removing an object cannot change."""
_ELSEWHERE = "name another place"
_WITHOUT_OBJECTS = {
    "closed": "open it first",
    "too small": "name a larger place",
    "no surface": _ELSEWHERE,
    "unseen": "move the camera until it sees that place",
    "edge": _ELSEWHERE,
    "relation": _ELSEWHERE,
    "no part": "name a visible part",
    "unclear": "rephrase the instruction",
    "occupied": _ELSEWHERE,
}


def what_would_change(layout: Layout, request: PlaceRequest | None, failure: NoSurface) -> NoPlace:
    """Reason why there is no place, with what would have to change.

    Args:
        request: the requested place; None if no search was made, for example behind a closed door.
        failure: reason why there is none.
    """
    tried = () if request is None else _in_question(layout, request, failure)
    # If removing all of them does not help, removing one does not either; but an object that hides a surface may.
    together = len(tried) > 1 and _leaves_a_place(layout, request, tried)
    alone = tried if together or len(tried) == 1 or failure.cause == "unseen" else ()
    remove = tuple(row for row in alone if _leaves_a_place(layout, request, (row,)))
    several = tried if together and not remove else ()
    ids = [obj.id for obj in layout.scene.objects]
    if failure.cause in ("closed", "no surface", "too small", "too tall", "no part"):
        deciding = failure.row
    else:
        deciding = next(iter(remove or failure.blocking), failure.row)
    return NoPlace(
        failure.cause, failure.text, _change(layout, failure, remove, several, tried),
        None if deciding is None else ids[deciding], _rounded(failure.needed), _rounded(failure.available),
        tuple(ids[row] for row in remove),
    )  # fmt: skip


def _leaves_a_place(layout: Layout, request: PlaceRequest | None, rows: tuple[int, ...]) -> bool:
    return request is not None and has_place(layout, request, rows)


def _in_question(layout: Layout, request: PlaceRequest, failure: NoSurface) -> tuple[int, ...]:
    """Objects to remove as a test: those in the way, or in or on the supporting object."""
    if failure.cause in _NEVER:
        return ()
    rows = list(failure.blocking)
    if not rows and failure.row is not None and layout.measured[failure.row]:
        middles = np.nan_to_num(layout.centre[:, :2], nan=1e6)
        there = layout.measured & (depth_inside(layout.footprint[failure.row], middles) > 0)
        there &= layout.mean_side < layout.mean_side[failure.row]
        there &= (layout.top > layout.bottom[failure.row]) & (layout.centre[:, 2] > layout.bottom[failure.row])
        if failure.cause == "closed":  # the contents, not the objects on top
            there &= layout.bottom < layout.top[failure.row]
        rows = np.flatnonzero(there).tolist()
    kept = (request.moved, failure.row, *request.anchors, None if request.region is None else request.region.row)
    return tuple(row for row in rows if row not in kept)[:_TRIED]


def _change(
    layout: Layout, failure: NoSurface, remove: tuple[int, ...], several: tuple[int, ...], contents: tuple[int, ...]
) -> str:
    """Describe what would have to change, as a sentence."""
    if remove:
        one = " or ".join(name_of(layout, row) for row in remove)
        text = f"take {one} away, or {_ELSEWHERE}"
    elif several:
        text = f"take {names_of(layout, several)} away, or {_ELSEWHERE}"
    elif failure.cause == "too tall" and failure.needed is not None and failure.available is not None:
        short = failure.needed - failure.available
        sizes = f"{failure.needed * 100:.1f} cm are needed, {failure.available * 100:.1f} cm are clear"
        text = f"it is {short * 100:.1f} cm too tall ({sizes}): {_ELSEWHERE}"
    elif failure.cause == "too small" and failure.available is not None and failure.needed is not None:
        wide = f"with its distance from the edge it needs a circle of {failure.needed * 100:.1f} cm"
        largest = f"the largest circle there is {failure.available * 100:.1f} cm"
        text = f"{_WITHOUT_OBJECTS['too small']}: {wide}, and {largest}"
    elif failure.unseen:
        text = f"there may be a free place outside the camera's view: move the camera, or {_ELSEWHERE}"
    elif failure.cause == "closed" and contents:
        text = f"open it, or take out what is in it ({names_of(layout, contents)}), or {_ELSEWHERE}"
    else:
        text = _WITHOUT_OBJECTS[failure.cause]
        text += "" if text == _ELSEWHERE else f", or {_ELSEWHERE}"
    return text[0].upper() + text[1:] + "."


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
