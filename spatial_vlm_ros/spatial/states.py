# SPDX-License-Identifier: Apache-2.0
"""States that geometry decides: open, closed; empty for what holds nothing, loose for what nothing holds."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.language.lexicon import NEVER_TAKEN
from spatial_vlm_ros.language.part_words import DRAWERS, LIDDED
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.parameters import PlaceConfig
from spatial_vlm_ros.spatial.belief import normal_cdf
from spatial_vlm_ros.spatial.containers import inside_of
from spatial_vlm_ros.spatial.free_space import Relief
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.occlusion import is_open
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.surfaces import NoSurface, SupportContext
from spatial_vlm_ros.types import FrameOfReference

OPEN, CLOSED, EMPTY, LOOSE = "open", "closed", "empty", "loose"
STATES = frozenset({OPEN, CLOSED, EMPTY, LOOSE})

_CARRIERS = word_set("board chair coaster mat pad placemat plate platter riser saucer stand stool tray")
"""Supports for objects: with an object on it, one is neither empty nor free."""
_OUT, _OUT_WIDTH = 0.05, 0.012
"""Metres of visible depth of an open drawer, and the width of that limit: handles stick out by 2 to 4 cm."""
_SEEN = 0.95  # probability that a box is open if no lid is seen at its top, and that it is closed if one is
_TOLD = 0.08  # least visible width of a front, in metres, before it counts as closed
_STRAY = 3.0  # percent of the points at either end that may be strays, or a handle
_FEW = 20  # points


def state_chance(word: str, layout: Layout) -> Array:
    """(N,) probability of a state, 0 to 1; NaN if geometry cannot tell."""
    if word in (EMPTY, LOOSE):
        chance = np.full(len(layout), np.nan)
        measured = np.flatnonzero(layout.measured)
        heads = [obj.detection.label.lower().split()[-1:] for obj in layout.scene.objects]
        carriers = np.array([row for row in measured if _CARRIERS.intersection(heads[row])], np.intp)
        if word == LOOSE:  # neither in nor on something that can be taken, nor under it
            carriers = np.array([row for row in measured if not NEVER_TAKEN.intersection(heads[row])], np.intp)
        for relation, holders in (("inside", measured), ("on", carriers)):
            if len(holders):
                pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), measured, holders)
                margin, sigma = RELATIONS[relation](pairs)
                least = sigma if relation == "inside" else 0.0  # a knife on a plate is within the noise of its height
                held = (margin > least) & (measured[:, None] != holders)
                chance[holders[held.any(axis=0)]] = 0.0
                if word == LOOSE:
                    chance[measured[held.any(axis=1)]] = 0.0
        return chance
    chance = np.full(len(layout), np.nan)
    for row, obj in enumerate(layout.scene.objects):
        words = obj.detection.label.lower().split()
        if LIDDED.intersection(words[-1:]) and layout.measured[row]:
            around = SupportContext(layout, Relief.of(layout, layout.depth), PlaceConfig(), (), 0.0)
            inside = inside_of(around, row, "")
            if not isinstance(inside, NoSurface):
                chance[row] = _SEEN
            elif inside.cause == "closed" and not is_open(layout, row):  # its top is seen, and not what it holds
                chance[row] = 1.0 - _SEEN
        if not words or words[-1] not in DRAWERS or len(obj.points) < _FEW:
            continue
        # A closed drawer shows only its flat front, an open one also its inside.
        places = obj.points.astype(np.float64) @ layout.axes[:, :2]
        (_, _), _, turn = cv2.minAreaRect((places - places.mean(axis=0)).astype(np.float32))
        along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        sides = places @ np.stack((along, (-along[1], along[0])), axis=1)
        deep, wide = np.sort(np.ptp(np.percentile(sides, (_STRAY, 100.0 - _STRAY), axis=0), axis=0))
        if wide >= _TOLD:
            doubt = np.hypot(_OUT_WIDTH, layout.noise.max(initial=0.0))
            chance[row] = normal_cdf(np.array([(deep - _OUT) / doubt]))[0]
    return chance if word == OPEN else 1.0 - chance
