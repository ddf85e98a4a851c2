# SPDX-License-Identifier: Apache-2.0
"""Left, right, behind, in front, opposite, facing: directions from an anchor, or from an own front, on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint, clockwise
from spatial_vlm_ros.spatial.relations.pairs import SAME_PLACE, Indices, Measured, Pairs, least, least_sure
from spatial_vlm_ros.types import FrameOfReference


def beside(sign: float, pairs: Pairs) -> Measured:
    """Offset of the target's centre to the right (1) or left (-1) of the ray through the anchor's centre."""
    return pairs.only_apart(sign * pairs.along(rightwards(pairs))), pairs.noise


def behind(pairs: Pairs) -> Measured:
    """Farther along the ray through the anchor, within the cone around it.

    The lesser of two margins: how much farther the target is than the anchor (by their near ends, or by their centres,
    whichever is less), and how far inside the cone it lies (that distance against the gap between their sides).
    """
    return _along_ray(pairs, ahead_of(pairs), 1.0, _begun(pairs))


def in_front_of(pairs: Pairs) -> Measured:
    """Nearer along the ray through the anchor, within the cone around it; the mirror image of behind."""
    return _along_ray(pairs, ahead_of(pairs), -1.0, _begun(pairs))


def rightwards(pairs: Pairs) -> Array:
    """(A, 2) unit directions to the right."""
    return pairs.rays[1]


def ahead_of(pairs: Pairs) -> Array:
    """(A, 2) unit directions ahead, if the frame has an ahead."""
    if not pairs.view.has_ahead:
        reason = f"behind and in front are not defined in a view {pairs.view.down_deg:.0f}° downwards"
        repair = "say left, right or nearest, use the frame 'robot', or set relation.down_ahead"
        raise FrameUndefinedError(pairs.view.frame.value, reason, repair)
    return pairs.rays[0]


def _begun(pairs: Pairs) -> Array:
    """(T, A) standard deviation of the objects' near ends, metres; these are visible only to the camera."""
    return pairs.noise_seen if pairs.view.frame is FrameOfReference.VIEWER else pairs.noise


def _along_ray(pairs: Pairs, ahead: Array, sign: float, begun: Array) -> Measured:
    """(T, A) margins of being farther (1) or nearer (-1) along (A, 2) directions than the anchors; and deviations.

    `begun` is the standard deviation of the objects' near ends.
    """
    farther = pairs.target_begin(ahead) - pairs.anchor_span(ahead)[0]
    centres = pairs.along(ahead)
    # Gap between the outlines across the ray, negative if they overlap.
    low, high = pairs.target_span(clockwise(ahead))
    anchor_low, anchor_high = pairs.anchor_span(clockwise(ahead))
    aside = np.maximum(low - anchor_high, anchor_low - high)
    target, anchor = np.nonzero(aside < 0)
    if len(target):  # where one is before the other: the corner of a large object may begin far to the side
        strip = np.maximum(low, anchor_low)[target, anchor], np.minimum(high, anchor_high)[target, anchor]
        outlines = (pairs.layout.footprint[rows] for rows in (pairs.targets[target], pairs.anchors[anchor]))
        begins = [_begin_within(outline, ahead[anchor], strip) for outline in outlines]
        narrower = np.minimum(high - low, anchor_high - anchor_low)[target, anchor]
        share = np.minimum((strip[1] - strip[0]) / np.maximum(narrower / 2, SAME_PLACE), 1.0)
        farther[target, anchor] += share * (begins[0] - begins[1] - farther[target, anchor])
    if sign < 0:
        farther, centres = -farther, -centres
    in_cone = np.minimum(farther, centres) * float(np.tan(np.radians(pairs.layout.relation.cone_deg))) - aside
    in_cone = np.where(aside > 0, in_cone, np.inf)
    margin, sigma = least_sure((farther, begun), (centres, pairs.noise), (in_cone, pairs.noise))
    return pairs.only_apart(margin), sigma


def _begin_within(outlines: Array, ahead: Array, strip: tuple[Array, Array]) -> Array:
    """(P,) begin of (P, 16, 2) outlines along (P, 2) directions in a strip along these, whose (P,) sides meet them."""
    along, across = (np.einsum("pkc,pc->pk", outlines, way) for way in (ahead, clockwise(ahead)))
    end, side = np.roll(along, -1, axis=1), np.roll(across, -1, axis=1)
    within = (across >= strip[0][:, None]) & (across <= strip[1][:, None])
    begin = np.where(within, along, np.inf).min(axis=1)
    for edge in strip:
        part = (edge[:, None] - across) / np.where(side == across, np.inf, side - across)
        met = np.where((part >= 0) & (part <= 1) & (side != across), along + part * (end - along), np.inf)
        begin = np.minimum(begin, met.min(axis=1))
    return np.asarray(begin)


# ------------------------------------------------------------------------------------------------ gaps


def gap_before(towards: Callable[[Pairs], Array], pairs: Pairs) -> Array:
    """(T, A) metres from the target's end to the anchor's begin along (A, 2) directions."""
    way = towards(pairs)
    return np.maximum(pairs.anchor_span(way)[0] - pairs.target_span(way)[1], 0.0)


def gap_beyond(towards: Callable[[Pairs], Array], pairs: Pairs) -> Array:
    """(T, A) metres from the anchor's end to the target's begin along (A, 2) directions."""
    way = towards(pairs)
    return np.maximum(pairs.target_begin(way) - pairs.anchor_span(way)[1], 0.0)


# ------------------------------------------------------------------------------------------------ the other side


def on_the_other_side_from(
    layout: Layout, view: Viewpoint, targets: Indices, objects: Indices, seen_from: Indices
) -> Measured:
    """Behind `objects` (A,), seen from others (B,), which replace the viewpoint: (T, A, B) margins and deviations.

    Not measured if both objects are at the same place.
    """
    first, second = np.repeat(objects, len(seen_from)), np.tile(seen_from, len(objects))
    line = layout.centre[first, :2] - layout.centre[second, :2]
    length = np.linalg.norm(line, axis=1, keepdims=True)
    ahead = np.where(length > SAME_PLACE, line / np.maximum(length, SAME_PLACE), np.nan)
    pairs = Pairs(layout, view, targets, first)
    shape = (len(targets), len(objects), len(seen_from))
    margin, noise = _along_ray(pairs, ahead, 1.0, pairs.noise)
    return margin.reshape(shape), noise.reshape(shape)


def opposite(pairs: Pairs) -> Measured:
    """In front of the anchor if its front is known, else across the middle of the scene."""
    layout = pairs.layout
    front = layout.front[pairs.anchors]
    known = np.isfinite(front[:, 0])
    # Inside a right angle beyond the middle of all objects; the anchor must be off the middle, too.
    from_middle = layout.centre[:, :2] - layout.middle
    anchors, targets = from_middle[pairs.anchors], from_middle[pairs.targets]
    off = np.linalg.norm(anchors, axis=1)
    towards = anchors / np.maximum(off, SAME_PLACE)[:, None]
    beyond = -(targets @ towards.T) - np.abs(targets @ clockwise(towards).T)
    margin = np.minimum(beyond, off - pairs.mean(layout.reach) / 2)
    if known.any():
        faced = Pairs(layout, pairs.view, pairs.targets, pairs.anchors[known])
        margin[:, known] = _along_ray(faced, -front[known], -1.0, faced.noise)[0]
    return margin, pairs.noise


def facing(sign: float, pairs: Pairs) -> Measured:
    """The anchor is in front of the target's front (1), or at its back (-1), within the cone around it.

    NaN if the target's front is unknown.
    """
    front = sign * pairs.layout.front[pairs.targets]
    seen = pairs.exchanged()  # (A, T): from each target along its front to the anchor
    forward = seen.along(front)
    aside = clockwise(front)
    low, high = seen.target_span(aside)
    own = (pairs.layout.centre[pairs.targets, :2] * aside).sum(axis=1)
    gap = np.maximum(np.maximum(low - own, own - high), 0.0)
    in_cone = forward * float(np.tan(np.radians(pairs.layout.relation.cone_deg))) - gap
    return least(forward, in_cone).T, pairs.noise
