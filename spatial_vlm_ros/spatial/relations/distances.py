# SPDX-License-Identifier: Apache-2.0
"""Next to, near, far from, around, between and among several, and distances stated in metres."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.parameters import RelationConfig
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.relations.pairs import SAME_PLACE, Indices, Measured, Pairs, hypotenuse
from spatial_vlm_ros.types import Distance

_VAGUE = 0.25  # standard deviation of the limits of these words, in mean sizes


def next_to(pairs: Pairs) -> Measured:
    """Side by side: a gap of at most `next_to_sizes` mean sizes, neither over the other.

    Objects with a third one between them are neighbours up to a gap of one mean size.
    """
    sizes = pairs.layout.relation.next_to_sizes
    return _close(pairs, np.where(_parted(pairs), min(sizes, 1.0), sizes)), _vague(pairs)


def near(pairs: Pairs) -> Measured:
    """A gap of at most `near_sizes` mean sizes, neither over the other."""
    return _close(pairs, pairs.layout.relation.near_sizes), _vague(pairs)


def far_from(pairs: Pairs) -> Measured:
    """A gap of at least `far_sizes` mean sizes."""
    return pairs.space - pairs.layout.relation.far_sizes * pairs.mean(pairs.layout.reach), _vague(pairs)


def around(pairs: Pairs) -> Measured:
    """Near the anchor on any side; or enclosing it: larger, and its centre within the target's outline."""
    larger = pairs.difference(pairs.layout.mean_side, pairs.layout.mean_side)
    return np.maximum(near(pairs)[0], np.minimum(pairs.inside_target, larger)), _vague(pairs)


def at_a_distance(pairs: Pairs) -> Measured:
    """Apart by more than contact. The stated distance is judged by `stated`."""
    return pairs.space - pairs.layout.relation.contact, pairs.noise


def _parted(pairs: Pairs) -> npt.NDArray[np.bool_]:
    """(T, A) bool: more than one mean size apart, with a third object between: the gaps to it add up to less.

    What is smaller than their mean size parts nobody, and what is on, in, over or under either is not between them.
    """
    layout, parted = pairs.layout, np.zeros(pairs.gap.shape, np.bool_)
    mean = pairs.mean(layout.reach)
    apart = pairs.gap > mean
    if apart.any():
        others = np.flatnonzero(layout.measured[: len(layout.scene.objects)])
        first = Pairs(layout, pairs.view, pairs.targets, others)
        second = Pairs(layout, pairs.view, others, pairs.anchors)
        there, here = (np.where(side.overlap > 0, np.inf, side.gap) for side in (first, second))
        for n, other in enumerate(others):
            parted |= (there[:, n, None] + here[n] < pairs.gap) & (layout.reach[other] >= mean)
    return parted & apart


def _close(pairs: Pairs, sizes: float | Array) -> Array:
    """(T, A) margin of a gap of at most so many mean sizes; targets over, under or in the anchor are not beside it."""
    return pairs.only_apart(sizes * pairs.mean(pairs.layout.reach) - pairs.space)


def _vague(pairs: Pairs) -> Array:
    return hypotenuse(pairs.noise, _VAGUE * pairs.mean(pairs.layout.reach))


def stated(gap: Array, distance: Distance, config: RelationConfig) -> Array:
    """Margin of a stated distance, given the `gap` between outlines along the direction of its relation, metres."""
    if distance.bound == "at most":
        return distance.metres - gap
    if distance.bound == "at least":
        return gap - distance.metres
    tolerance = max(config.metric_tolerance, config.metric_share * distance.metres)
    return tolerance - np.abs(gap - distance.metres)


_BETWEEN_SLOPE = float(np.tan(np.radians(30.0)))


def between(layout: Layout, targets: Indices, first: Indices, second: Indices) -> Measured:
    """Between two anchors on the ground, or in a pile on one and under the other: (T, A, B) margins and deviations.

    On the ground the lesser of two margins: how far the centre lies beyond the outlines of both anchors along the line
    between their centres, and how far it lies inside the double cone around that line (an angle of 120 degrees or more
    at the target, so that of three objects at most one is between the others).
    """
    centre, outline = layout.centre[:, :2], layout.outline
    line = centre[None, second] - centre[first, None]  # (A, B, 2)
    length = np.linalg.norm(line, axis=2)
    unit = line / np.maximum(length, SAME_PLACE)[..., None]
    offset = (centre[targets, None] - centre[first])[:, :, None]  # (T, A, 1, 2)
    along = offset[..., 0] * unit[..., 0] + offset[..., 1] * unit[..., 1]
    across = np.abs(offset[..., 1] * unit[..., 0] - offset[..., 0] * unit[..., 1])
    across = np.where(length > SAME_PLACE, across, np.linalg.norm(offset, axis=3))
    reach_a = np.einsum("akc,abc->abk", outline[first], unit).max(axis=2)
    reach_b = -np.einsum("bkc,abc->abk", outline[second], unit).min(axis=2)
    beyond = np.minimum(along - reach_a, length - reach_b - along)
    cone = _BETWEEN_SLOPE * np.minimum(along, length - along) - across
    variance = layout.sigma**2
    noise = np.sqrt(
        variance[targets, None, None]
        + np.maximum(variance[first, None], variance[second])
        + (layout.relation.size_blur * layout.reach[targets, None, None]) ** 2
    )

    def rests(upper: Indices, lower: Indices) -> Array:
        higher = layout.centre[upper, None, 2] - layout.centre[lower, 2]  # a thin object does not lie on itself
        return np.minimum(layout.relation.contact - np.abs(layout.bottom[upper, None] - layout.top[lower]), higher)

    over_a, over_b = (
        layout.radius[rows] - np.linalg.norm(centre[targets, None] - centre[rows], axis=2) for rows in (first, second)
    )
    piled = np.maximum(
        np.minimum(rests(targets, first)[:, :, None], rests(second, targets).T[:, None]),
        np.minimum(rests(targets, second)[:, None], rests(first, targets).T[:, :, None]),
    )
    piled = np.minimum(piled, np.minimum(over_a[:, :, None], over_b[:, None]))
    level, up = np.minimum(beyond, cone), layout.sigma_up
    noise_up = np.hypot(up[targets, None, None], np.maximum(up[first, None], up[second]))
    return np.fmax(level, piled), np.where(piled > level, noise_up, noise)


def among(layout: Layout, targets: Indices, members: Indices) -> Measured:
    """Among several anchors, the rows `members` without repetition: (T,) margins and deviations.

    How far the centre lies inside the convex outline of the members' centres, widened by half of their mean size. A
    target that is a member itself is among the others. NaN with fewer than two others.
    """
    members = members[layout.measured[members]]
    margin = np.full(len(targets), np.nan)
    belongs = np.isin(targets, members)
    if len(members) >= 2:
        margin[~belongs] = _within(layout, targets[~belongs], members)
    if len(members) >= 3:
        for n in np.flatnonzero(belongs):
            margin[n] = _within(layout, targets[n : n + 1], members[members != targets[n]])[0]
    worst = layout.sigma[members].max(initial=0.0)
    blur = layout.relation.size_blur * layout.mean_side[targets]
    return margin, np.sqrt(layout.sigma[targets] ** 2 + worst**2 + blur**2)


def _within(layout: Layout, targets: Indices, members: Indices) -> Array:
    """(T,) distance to the edge of the members' widened convex outline, metres, positive inside."""
    centres = layout.centre[members, :2]
    about = centres.mean(axis=0)
    rows = cv2.convexHull((centres - about).astype(np.float32), returnPoints=False)
    corners = centres[np.asarray(rows).reshape(-1)]
    side = np.roll(corners, -1, axis=0) - corners
    offset = layout.centre[targets, None, :2] - corners  # (T, E, 2)
    part = (offset * side).sum(axis=2) / np.maximum((side * side).sum(axis=1), SAME_PLACE**2)
    away = offset - np.clip(part, 0.0, 1.0)[..., None] * side
    distance = np.sqrt((away * away).sum(axis=2)).min(axis=1, initial=np.inf)
    turn = side[:, 0] * offset[..., 1] - side[:, 1] * offset[..., 0]
    enclosed = (len(corners) > 2) & ((turn > 0).all(axis=1) | (turn < 0).all(axis=1))
    return np.where(enclosed, distance, -distance) + layout.mean_side[members].mean() / 2
