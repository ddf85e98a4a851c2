# SPDX-License-Identifier: Apache-2.0
"""Heights and contact: on, above, below, under, inside, out of, touching, against, and the same from the other end."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.relations.pairs import Measured, Pairs, least, least_sure


def on(pairs: Pairs) -> Measured:
    """Resting on the anchor: its bottom at the anchor's top, its centre over the anchor's outline."""
    layout = pairs.layout
    gap = np.abs(pairs.difference(layout.bottom, layout.top))
    contact = pairs.contact_up - gap
    higher = pairs.difference(layout.centre[:, 2], layout.top)
    return least_sure((least(contact, higher), pairs.noise_up), (pairs.inside_anchor, pairs.noise))


def supporting(pairs: Pairs) -> Measured:
    """The anchor rests on the target."""
    return _exchanged(on(pairs.exchanged()))


def above(pairs: Pairs) -> Measured:
    """Higher than the anchor's top, within a cone about the vertical."""
    return _vertical(pairs, pairs.difference(pairs.layout.bottom, pairs.layout.top))


def below(pairs: Pairs) -> Measured:
    """Lower than the anchor's bottom, within a cone about the vertical."""
    return _vertical(pairs, -pairs.difference(pairs.layout.top, pairs.layout.bottom))


def under(pairs: Pairs) -> Measured:
    """Below with the anchor over it: the centre of one lies within the outline of the other."""
    return least_sure(below(pairs), (pairs.overlap, pairs.noise))


def _vertical(pairs: Pairs, clear: Array) -> Measured:
    """Clear height, allowing contact, and nearness of the outlines against the distance in height."""
    config = pairs.layout.relation
    height = pairs.layout.centre[:, 2]
    distance = np.abs(pairs.difference(height, height))
    in_cone = distance * float(np.tan(np.radians(config.cone_deg))) + pairs.overlap
    return least_sure((clear + config.contact, pairs.noise_up), (in_cone, pairs.noise))


def above_gap(pairs: Pairs) -> Array:
    """(T, A) from the anchor's top to the target's bottom."""
    return np.maximum(pairs.difference(pairs.layout.bottom, pairs.layout.top), 0.0)


def below_gap(pairs: Pairs) -> Array:
    """(T, A) from the target's top to the anchor's bottom."""
    return np.maximum(-pairs.difference(pairs.layout.top, pairs.layout.bottom), 0.0)


def higher_than(pairs: Pairs) -> Measured:
    """By how much its top is higher."""
    return pairs.difference(pairs.layout.top, pairs.layout.top), pairs.noise_up


def lower_than(pairs: Pairs) -> Measured:
    """By how much its bottom is lower."""
    return -pairs.difference(pairs.layout.bottom, pairs.layout.bottom), pairs.noise_up


def inside(pairs: Pairs) -> Measured:
    """Contained: centre within the anchor's outline, smaller than it, bottom below its rim and not below its bottom."""
    layout, contact = pairs.layout, pairs.layout.relation.contact
    margin = -pairs.difference(layout.bottom, layout.top) - contact
    held = pairs.difference(layout.bottom, layout.bottom) + contact
    smaller = -pairs.difference(layout.mean_side, layout.mean_side)
    surface_in = -pairs.difference(layout.surface[:, 2], layout.top) + contact
    in_height, on_the_ground = least(margin, held, surface_in), least(smaller, pairs.inside_anchor)
    return least_sure((in_height, pairs.noise_up), (on_the_ground, pairs.noise))


def out_of(pairs: Pairs) -> Measured:
    """Not inside."""
    margin, noise = inside(pairs)
    return -margin, noise


def containing(pairs: Pairs) -> Measured:
    """The anchor is inside the target."""
    return _exchanged(inside(pairs.exchanged()))


def touching(pairs: Pairs) -> Measured:
    """No gap but what counts as contact, sideways or in height."""
    return pairs.contact - pairs.space, pairs.noise


def against(pairs: Pairs) -> Measured:
    """Touching sideways, and not the much taller one of the two."""
    layout = pairs.layout
    height = layout.size[:, 2]
    margin = pairs.contact - pairs.gap
    return least(margin, -pairs.vertical_gap, -pairs.difference(height / 2, height)), pairs.noise


def _exchanged(measured: Measured) -> Measured:
    margin, noise = measured
    return margin.T, noise.T
