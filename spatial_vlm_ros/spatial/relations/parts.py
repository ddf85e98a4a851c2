# SPDX-License-Identifier: Apache-2.0
"""Relations to parts of an object: edge, corner, centre, sides, ends, top and bottom; and being a part of it.

The target is on, over or in the anchor. A target below the anchor is at none of its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from spatial_vlm_ros.language.part_words import CHESTS, DRAWERS, SHELVED
from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Array, Layout, clockwise
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import compartments, levels
from spatial_vlm_ros.spatial.parts.region import Region, held
from spatial_vlm_ros.spatial.relations.pairs import Measured, Pairs, least_sure
from spatial_vlm_ros.types import FrameOfReference

_EDGE_SHARE, _CORNER_SHARE, _CENTRE_SHARE = 0.15, 0.25, 0.2  # of the shorter side (twice), of the mean side
_RIM = 0.03  # metres: the least width of an edge or a corner
_OUT = 0.4  # metres beyond an object that its open drawer reaches
_ROOMS: WeakKeyDictionary[Layout, dict[int, tuple[Region, ...]]] = WeakKeyDictionary()


def at_the_edge(pairs: Pairs) -> Measured:
    """The target's outer edge is within a strip along the anchor's outline."""
    rim = pairs.inside_anchor - _half_size(pairs)
    return _part(pairs, np.maximum(_EDGE_SHARE * pairs.layout.size[pairs.anchors, 1], _RIM) - rim)


def at_the_corner(pairs: Pairs) -> Measured:
    """The target's outer edge is within a square at a corner of the anchor's box; NaN for a round anchor."""
    x, y = _in_box(pairs)
    sides = pairs.layout.size[pairs.anchors, :2] / 2
    gap = np.maximum(sides[:, 0] - np.abs(x), sides[:, 1] - np.abs(y)) - _half_size(pairs)
    margin = np.maximum(_CORNER_SHARE * pairs.layout.size[pairs.anchors, 1], _RIM) - gap
    return _part(pairs, np.where(pairs.layout.cornerless[pairs.anchors], np.nan, margin))


def at_the_centre(pairs: Pairs) -> Measured:
    """The target's centre is close to the anchor's."""
    return _part(pairs, _CENTRE_SHARE * pairs.layout.mean_side[pairs.anchors] - pairs.distance)


def at_the_end(pairs: Pairs) -> Measured:
    """The target's centre is in the outer third towards one of the two shorter sides."""
    x, _ = _in_box(pairs)
    return _part(pairs, np.abs(x) - pairs.layout.size[pairs.anchors, 0] / 3)


def outer_third(towards: Callable[[Pairs], Array], sign: float, pairs: Pairs) -> Measured:
    """The target's centre is beyond two thirds of the anchor's length along (A, 2) directions, or against them (-1)."""
    way = sign * towards(pairs)
    low, high = pairs.anchor_span(way)
    start = (pairs.layout.centre[pairs.anchors, :2] * way).sum(axis=1)
    from_middle = pairs.along(way) + (start - (low + high) / 2)
    return _part(pairs, from_middle - (high - low) / 6)


def third_of_the_height(sign: float, pairs: Pairs) -> Measured:
    """The target's centre is in the upper (1), middle (0) or lower (-1) third of the anchor's height."""
    layout, sixth = pairs.layout, pairs.layout.size[pairs.anchors, 2] / 6
    above = _above_middle(pairs)
    there = sign * above - sixth if sign else sixth - np.abs(above)
    clear = pairs.difference(layout.bottom, layout.top) - layout.relation.contact
    there = np.where(clear > 0, np.minimum(there, -clear), there)
    return least_sure((there, pairs.noise_up), *_over(pairs))


def part_of(pairs: Pairs) -> Measured:
    """The target's centre is inside the anchor's box; the margin is its distance to the nearest side.

    For a door or a drawer it is also enough that its outline touches the anchor's, because an open one is outside the
    box. It hides the front below the anchor's top, so that the visible anchor is less high than the real one.
    """
    layout, contact = pairs.layout, pairs.layout.relation.contact
    half = layout.size[pairs.anchors] / 2
    long_side = layout.long_side[pairs.anchors]
    camera = -layout.rays(layout.viewpoint(FrameOfReference.VIEWER), pairs.anchors)[0]  # (A, 2) towards it
    sides = []
    for offset, direction, reach in zip(_in_box(pairs), (long_side, clockwise(long_side)), half.T, strict=False):
        faces_camera = offset * (camera * direction).sum(axis=1) > 0
        sides.append((reach - np.abs(offset) + contact, np.where(faces_camera, pairs.noise_seen, pairs.noise)))
    in_height = half[:, 2] - np.abs(_above_middle(pairs)) + contact
    margin, sigma = least_sure((in_height, pairs.noise_up), *sides)
    names = [obj.detection.label.lower().split()[-1:] for obj in layout.scene.objects]
    doors = [row < len(names) and names[row] in (["door"], ["drawer"]) for row in pairs.targets.tolist()]
    fronts = np.array(doors, np.bool_)[:, None]
    under = -pairs.difference(layout.centre[:, 2], layout.top) + contact
    smaller = -pairs.difference(layout.mean_side, layout.mean_side) + pairs.contact
    attached, blur = least_sure(
        (pairs.contact - pairs.gap, pairs.noise_seen), (under, pairs.noise_up), (smaller, pairs.noise)
    )
    better = fronts & (attached / np.maximum(blur, 1e-9) > margin / np.maximum(sigma, 1e-9))
    return np.where(better, attached, margin), np.where(better, blur, sigma)


def in_a_part(pairs: Pairs) -> Measured:
    """The target stands between two boards of a shelf, or in the open drawer of a chest; NaN if none is visible."""
    layout = pairs.layout
    margin, sigma = np.full((2, len(pairs.targets), len(pairs.anchors)), np.nan)
    smaller = -pairs.difference(layout.mean_side, layout.mean_side)
    for column in np.flatnonzero(pairs.inside_anchor.max(axis=0, initial=-np.inf) > -_OUT).tolist():
        row = int(pairs.anchors[column])
        for region in _rooms(layout, row) if row < len(layout.scene.objects) and layout.measured[row] else ():
            there, blur = held(layout, region, pairs.targets)
            better = ~(there / blur <= margin[:, column] / sigma[:, column])
            margin[better, column], sigma[better, column] = there[better], blur[better]
    return least_sure((margin, sigma), (smaller, pairs.noise))


def _rooms(layout: Layout, row: int) -> tuple[Region, ...]:
    """The parts of an object that are inside it: rooms between boards, or open drawers, detected or not. Cached."""
    known = _ROOMS.setdefault(layout, {})
    if row not in known:
        heads = [obj.detection.label.lower().split()[-1] for obj in layout.scene.objects]
        if heads[row] in CHESTS - DRAWERS and (drawer := open_drawer(layout, row)) is not None:
            known[row] = (drawer.region,)
        elif heads[row] in CHESTS:
            drawers = [other for other, head in enumerate(heads) if head in DRAWERS and layout.measured[other]]
            touching = [row] if heads[row] in DRAWERS else [
                other for other in drawers
                if depth_inside(layout.footprint[row], layout.footprint[other]).max() > -layout.relation.contact
            ]  # fmt: skip
            known[row] = tuple(part for other in touching for part in compartments(layout, other))
        else:
            boards = levels(layout, row) if heads[row] in SHELVED else ()
            known[row] = tuple(board for board in boards if np.isfinite(board.high))
    return known[row]


def _part(pairs: Pairs, there: Array) -> Measured:
    return least_sure((there, pairs.noise), *_over(pairs))


def _over(pairs: Pairs) -> tuple[Measured, Measured]:
    layout = pairs.layout
    over = pairs.inside_anchor + _half_size(pairs)
    sunk = pairs.difference(layout.bottom, layout.bottom) + layout.relation.contact
    return (over, pairs.noise), (np.where(sunk < 0, sunk, np.inf), pairs.noise_up)


def _half_size(pairs: Pairs) -> Array:
    """(T, 1) half of the targets' mean horizontal size, metres."""
    return pairs.layout.mean_side[pairs.targets, None] / 2


def _above_middle(pairs: Pairs) -> Array:
    """(T, A) height of the target's centre over the anchor's centre, metres."""
    height = pairs.layout.centre[:, 2]
    return pairs.difference(height, height)


def _in_box(pairs: Pairs) -> tuple[Array, Array]:
    """(T, A) offset of the target's centre from the anchor's, along its box's longer side and across it, metres."""
    along = pairs.layout.long_side[pairs.anchors]
    return pairs.along(along), pairs.along(clockwise(along))
