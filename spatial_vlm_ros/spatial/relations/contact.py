# SPDX-License-Identifier: Apache-2.0
"""Heights and contact: on, above, below, on top of, under, inside, out of, touching, against, and their inverses."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.geometry.levels import outside
from spatial_vlm_ros.language.part_words import VESSELS, is_tray
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.relations.pairs import Measured, Pairs, least, least_sure
from spatial_vlm_ros.spatial.relations.parts import in_a_part
from spatial_vlm_ros.spatial.relations.resting import FAR, leaning_in, levels_of

_NO_SIGMA = 1e-12
# Fraction of the noise by which two heights of one object differ: the common part cancels, the rest averages.
_CANCELS = 0.35
_LID = 0.85  # times as wide as a vessel, from which an object lies on its rim
_SOIL = 0.002  # metres that the rim of a vessel rises over what it is filled with
_LEAST_RIM, _RIM_SHARE = 0.008, 0.35  # metres, and fraction of the anchor's height, that rise over the floor of a tray


def on(pairs: Pairs) -> Measured:
    """Resting on the anchor: its bottom at the anchor's surface beneath it, its centre over the anchor's outline.

    That surface is the anchor's visible level there, else its top. An object enclosed by the anchor's walls to more
    than half of its height is in it.
    """
    layout, seen = pairs.layout, pairs.resting
    level = np.where(np.isnan(seen.level), layout.top[pairs.anchors], seen.level)
    contact = pairs.contact_up - np.abs(layout.bottom[pairs.targets, None] - level)
    higher = layout.top[pairs.targets, None] - level  # not its centre: a saucer is thinner than height noise
    # What is held up has nothing else beneath it: a can on a narrow block, a plate on a mug.
    held_up = np.where(layout.bottom[pairs.targets, None] > pairs.contact_up, pairs.inside_target, -FAR)
    over = np.maximum(np.maximum(pairs.inside_anchor, seen.over), held_up)
    half = layout.size[pairs.targets, None, 2] / 2 + layout.relation.contact
    out = np.where(seen.shut_in > half, half - seen.shut_in, FAR)
    margin, sigma = least_sure((least(contact, higher, out), pairs.noise_up), (over, pairs.noise))
    held = np.full(margin.shape, -FAR)  # metres that it is inside a smaller object, which then supports it
    for row, column in np.argwhere((margin > 0) & (pairs.targets[:, None] < len(layout.scene.objects))).tolist():
        target, anchor = int(pairs.targets[row]), int(pairs.anchors[column])
        others = np.flatnonzero(layout.measured & (layout.mean_side < layout.mean_side[anchor]))
        others = others[(others != target) & (layout.top[others] > layout.bottom[target])]
        near = np.linalg.norm(layout.centre[others, :2] - layout.centre[target, :2], axis=1) < layout.mean_side[others]
        if near.any():
            around = Pairs(layout, pairs.view, pairs.targets[row : row + 1], others[near])
            held[row, column] = float(inside(around)[0].max())
    return np.minimum(margin, -held), sigma


def supporting(pairs: Pairs) -> Measured:
    """The anchor rests on the target."""
    return _exchanged(on(pairs.exchanged()))


def above(pairs: Pairs) -> Measured:
    """Higher than the anchor's top, within a cone around the vertical; or on a surface of it; or a board over it."""
    clear = _vertical(pairs, pairs.difference(pairs.layout.bottom, pairs.layout.top))
    margin, sigma = on(pairs)
    counts = ~np.isnan(pairs.resting.level) | ((margin > 0) & (clear[0] <= 0))
    standing = np.where(counts, margin, -FAR), sigma
    return _surer(_surer(clear, standing), _exchanged(_roofed(pairs.exchanged())))


def below(pairs: Pairs) -> Measured:
    """Inverse of above."""
    return _exchanged(above(pairs.exchanged()))


def under(pairs: Pairs) -> Measured:
    """Below, with the anchor over it: the centre of one lies within the outline of the other; or the anchor is on it.

    Also below a board of the anchor and on no other one: under a shelf whose legs reach the ground.
    """
    lower = _vertical(pairs, -pairs.difference(pairs.layout.top, pairs.layout.bottom))
    margin, sigma = supporting(pairs)
    carrying = np.where(margin > 0, margin, -FAR), sigma
    return _surer(_surer(least_sure(lower, (pairs.overlap, pairs.noise)), _roofed(pairs)), carrying)


def _roofed(pairs: Pairs) -> Measured:
    seen, layout = pairs.resting, pairs.layout
    clear = seen.roof - layout.top[pairs.targets, None] + layout.relation.contact
    free = np.where(np.isnan(seen.level), FAR, np.abs(layout.bottom[pairs.targets, None] - seen.level))
    margin = least(np.where(np.isnan(clear), -FAR, clear), free - pairs.contact_up, seen.under)
    return margin, pairs.noise


def _surer(first: Measured, second: Measured) -> Measured:
    (margin, sigma), (other, deviation) = first, second
    better = other / np.maximum(deviation, _NO_SIGMA) > margin / np.maximum(sigma, _NO_SIGMA)
    return np.where(better, other, margin), np.where(better, deviation, sigma)


def _vertical(pairs: Pairs, clear: Array) -> Measured:
    config = pairs.layout.relation
    height = pairs.layout.centre[:, 2]
    distance = np.abs(pairs.difference(height, height))
    in_cone = distance * float(np.tan(np.radians(config.cone_deg))) + pairs.overlap
    return least_sure((clear + config.contact, pairs.noise_up), (in_cone, pairs.noise))


def above_gap(pairs: Pairs) -> Array:
    """(T, A) metres from the anchor's top to the target's bottom."""
    return np.maximum(pairs.difference(pairs.layout.bottom, pairs.layout.top), 0.0)


def below_gap(pairs: Pairs) -> Array:
    """(T, A) metres from the target's top to the anchor's bottom."""
    return np.maximum(-pairs.difference(pairs.layout.top, pairs.layout.bottom), 0.0)


def higher_than(pairs: Pairs) -> Measured:
    """Height of the target's top over the anchor's top."""
    return pairs.difference(pairs.layout.top, pairs.layout.top), pairs.noise_up


def lower_than(pairs: Pairs) -> Measured:
    """Height of the anchor's bottom over the target's bottom."""
    return -pairs.difference(pairs.layout.bottom, pairs.layout.bottom), pairs.noise_up


def inside(pairs: Pairs) -> Measured:
    """Contained by walls, or in a part of the anchor: between two boards, in an open drawer."""
    return _surer(_contained(pairs), in_a_part(pairs))


def _contained(pairs: Pairs) -> Measured:
    """Contained: centre within the anchor's outline, smaller than it, bottom below its rim and not below its bottom.

    If the floor beneath it is visible, walls must surround it: a pan in front of a stove's panel is not in the stove.
    On the floor of a tray a low rim is enough. Under a board of a shelf an object is only in the shelf if it is on a
    board.
    """
    layout, contact, seen = pairs.layout, pairs.layout.relation.contact, pairs.resting
    margin = -pairs.difference(layout.bottom, layout.top) - contact
    held = pairs.difference(layout.bottom, layout.bottom) + contact
    smaller = -pairs.difference(layout.mean_side, layout.mean_side)
    surface_in = -pairs.difference(layout.surface[:, 2], layout.top) + contact
    floor = ~np.isnan(seen.level)
    rests = pairs.contact_up - np.abs(layout.bottom[pairs.targets, None] - np.where(floor, seen.level, FAR))
    # A tall can sticks out of a bin: it is on the floor if that is visible, else its foot is deep among the walls.
    sunk = ~floor & (pairs.difference(layout.bottom, layout.top) < -layout.size[pairs.anchors, 2] / 2)
    stands_out = ((rests > 0) & (seen.shut_in > contact)) | (sunk & (pairs.inside_anchor > contact))
    surface_in = np.where(stands_out, FAR, surface_in)
    walled = np.where(floor, seen.rim - contact, FAR)
    beneath = np.where(np.isnan(seen.roof) | floor, FAR, -seen.under)
    on_the_ground = least(smaller, pairs.inside_anchor)
    deep = least_sure((least(margin, held, surface_in, walled, beneath), pairs.noise_up), (on_the_ground, pairs.noise))
    labels = [layout.scene.objects[row].detection.label for row in pairs.anchors.tolist()]
    vessels = np.array([label.lower().split(" ")[-1] in VESSELS for label in labels], np.bool_)
    low = np.where(vessels, _SOIL, np.maximum(_LEAST_RIM, _RIM_SHARE * layout.size[pairs.anchors, 2]))
    shallow = least_sure(
        (seen.rim - low, _CANCELS * pairs.noise_up), (rests, pairs.noise_up), (on_the_ground, pairs.noise)
    )
    # If walls around it hide the floor, an object reaches farther down than its lowest visible point.
    hidden = np.where(~floor & (seen.rim > 0) & (seen.rim < FAR), seen.rim, -FAR)
    # Nothing but its floor holds up what a vessel shows from its rim upwards, if it is not a lid.
    at_rim = pairs.contact_up - np.abs(pairs.difference(layout.bottom, layout.top))
    narrow = layout.mean_side[pairs.targets, None] < _LID * layout.mean_side[pairs.anchors]
    hidden = np.maximum(hidden, np.where(~floor & vessels & narrow, at_rim, -FAR))
    enclosed = least_sure((hidden, _CANCELS * pairs.noise_up), (on_the_ground, pairs.noise))
    leaning = leaning_in(layout, pairs.targets, pairs.anchors, pairs.contact_up)
    found = _surer(_surer(_surer(deep, shallow), enclosed), (leaning, pairs.noise))
    trays = list(map(is_tray, labels))
    if not any(trays):
        return found
    # Objects on a tray are in it: a full tray hides its floor, and the load is measured from the rim upwards.
    stood, sigma_up = on(pairs)
    stood = np.where(np.array(trays), stood, -FAR)
    return _surer(found, least_sure((stood, sigma_up), (on_the_ground, pairs.noise)))


def out_of(pairs: Pairs) -> Measured:
    """Not inside."""
    margin, noise = inside(pairs)
    return -margin, noise


def containing(pairs: Pairs) -> Measured:
    """The anchor is inside the target."""
    return _exchanged(inside(pairs.exchanged()))


def touching(pairs: Pairs) -> Measured:
    """No gap beyond contact, sideways or in height."""
    return pairs.contact - pairs.space, pairs.noise


def against(pairs: Pairs) -> Measured:
    """Touching sideways, and not the much taller of the two."""
    layout = pairs.layout
    height = layout.size[:, 2]
    margin = pairs.contact - pairs.gap
    return least(margin, -pairs.vertical_gap, -pairs.difference(height / 2, height)), pairs.noise


def _exchanged(measured: Measured) -> Measured:
    margin, noise = measured
    return margin.T, noise.T


# ----------------------------------------------------------------------------------------------------
# "On top of" is on an object's topmost surface: a can on a lower board of a shelf is on it, not on top of it. A part
# over a target is seen in front of it: of a board at eye level only the front edge is visible.

APART = 0.05
"""Metres between surfaces that people call an upper and a lower one; the rim of a plate is lower than that."""
_CLEAR = 0.01  # metres over a height from which depth, which smears over edges, is surely higher
_BEARINGS = 12  # directions across an outline
_ACROSS = 0.6  # fraction of them that a board covers, and the posts of an open shelf do not
_BROAD = 0.4  # fraction of the broadest level's area from which another level is a surface, not a panel or back
_FEW = 12  # points that are too few to show anything
MOST_POINTS = 20_000
"""Most points of an object that are used."""


def from_the_topmost(pairs: Pairs, margin: Array) -> Array:
    """(T, A) metres by which a target with a margin of "on" is on the anchor's topmost surface; FAR without another."""
    layout, found = pairs.layout, np.full(margin.shape, FAR)
    for n, column in np.argwhere(margin > 0).tolist():
        target, anchor = int(pairs.targets[n]), int(pairs.anchors[column])
        if target >= len(layout.scene.objects):  # an imagined object: the search for places checks the levels
            continue
        bottom, outline = float(layout.bottom[target]), layout.footprint[target]
        far = float(np.hypot(*outline.T).max())
        cover = covering(layout.points_of(anchor, MOST_POINTS), outline, float(layout.top[target]) + _CLEAR, far)
        broad = broad_levels(layout, anchor, outline)  # a load may be among the anchor's points
        higher = broad[broad > bottom + APART + 2 * layout.noise[anchor]].tolist()
        higher += [] if cover is None else [cover]
        if higher:
            found[n, column] = bottom - max(higher)
    return found


def covering(points: Array, outline: Array, height: float, near: float) -> float | None:
    """Height of a part over an outline, or higher and in front of it, metres; None if it is not seen from side to side.

    Only points of the object that are over `height` and up to `near` from the viewer, on the ground, count; all are in
    ground coordinates, whose origin is below the viewer.
    """
    middle = outline.mean(axis=0)
    if np.hypot(*middle) < np.hypot(*(outline - middle).T).max():  # the viewer is over it
        return None
    ahead = middle / np.hypot(*middle)
    right = np.array([-ahead[1], ahead[0]])

    def bearing(places: Array) -> Array:
        return np.asarray(np.arctan2(places @ right, places @ ahead))

    low, high = bearing(outline).min(), bearing(outline).max()
    higher = points[(points[:, 2] > height) & (np.hypot(points[:, 0], points[:, 1]) < near)]
    number = np.floor((bearing(higher[:, :2]) - low) / max(high - low, 1e-6) * _BEARINGS)
    inside = (number >= 0) & (number < _BEARINGS)
    if inside.sum() < _FEW or len(np.unique(number[inside])) < _ACROSS * _BEARINGS:
        return None
    return float(np.median(higher[inside, 2]))


def broad_levels(layout: Layout, row: int, without: Array | None) -> Array:
    """(K,) heights of an object's levels nearly as large as its largest one, outside of an outline, metres."""
    levels = levels_of(layout, row)
    if levels is None or not len(levels.height):
        return np.empty(0)
    counted = levels.level >= 0
    if without is not None:
        counted &= outside(without, levels.place) > levels.cell
    area = np.bincount(levels.level[counted], minlength=len(levels.height))
    return np.asarray(levels.height[area >= max(_BROAD * area.max(), 1)])
