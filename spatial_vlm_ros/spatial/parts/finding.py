# SPDX-License-Identifier: Apache-2.0
"""Find the parts of an object and those that a phrase means: from visible geometry, else by a stated share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.language.part_words import (
    BURNERS,
    CHESTS,
    COMPARTMENTS,
    CORNERS,
    DIVIDED,
    DRAWERS,
    LEVELS,
    ROWS,
    SHARES,
    SHELVED,
    STEPPED,
    STOVES,
    TIERED,
    TRAYS,
)
from spatial_vlm_ros.spatial.free_space import depth_inside, hull
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.choosing import MIDDLE, UPRIGHT, Rays, chosen, share, whole
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import compartments, levels, shelf_rooms
from spatial_vlm_ros.spatial.parts.region import PICTURE, SHARE, Region, rectangle_of, trimmed
from spatial_vlm_ros.spatial.regions import SUPPORT_NOUNS
from spatial_vlm_ros.spatial.states import EMPTY
from spatial_vlm_ros.types import NounPhrase

_HALVES = frozenset({"half", "quarter", "quadrant"})
_VAGUE = frozenset({"section", "bay"})
"""Compartments that need no wall: the back section of an undivided box is its back third."""
_STACKED = UPRIGHT | {"from top", "from bottom"}
_LONGER = 1.2  # times as long one way as the other from which a half is split across that way
_FEW = 30  # points of an object that are too few to find parts
_ASTRIDE = 0.25  # fraction of its width by which a burner must be off the middle of the stove to be on one side of it


@dataclass(frozen=True, eq=False)
class Found:
    """The parts of an object that a phrase may mean."""

    parts: tuple[Region, ...] = ()
    exists: bool = True  # True if the object has such parts at all
    reason: str = ""  # why there is none, in words that follow the object's name ("has no compartments")


def noun_of(phrase: NounPhrase) -> str:
    """The head noun of a phrase."""
    return phrase.category.split(" ")[-1]


def is_looked_for(phrase: NounPhrase) -> bool:
    """True if a phrase names a part that is found here; relations handle single sides, edges and centres."""
    noun = noun_of(phrase)
    if noun in COMPARTMENTS | LEVELS | DRAWERS | BURNERS | _HALVES:
        return True
    if noun in ROWS | TRAYS:  # one at a height is a level of a letter tray
        sides = {phrase.superlative, None if phrase.ordinal is None else f"from {phrase.ordinal.from_}"}
        return bool(sides & _STACKED if noun in TRAYS else sides - {None})
    return (noun in SHARES and phrase.also is not None) or (noun in CORNERS and phrase.superlative is not None)


def has_by_nature(label: str, noun: str) -> bool:
    """True if objects with the label usually have such parts: a stove has burners."""
    words = label.lower().replace("-", " ").replace("_", " ").split()
    if noun in LEVELS | TRAYS and " ".join(words).endswith(TIERED):
        return True
    return bool(words) and any(noun in parts - TRAYS and words[-1] in wholes for parts, wholes, _ in PARTS)


def is_of_several(label: str, noun: str) -> bool:
    """True if the label names an object made of several such parts: a chest of drawers, a compartment box."""
    if noun in DRAWERS:
        return label.lower().endswith("drawers")
    return noun in COMPARTMENTS and has_by_nature(label, noun) and noun not in label.lower().split()[-1:]


def find(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    """Find the parts of an object that a phrase may mean."""
    if not layout.measured[row] or len(layout.scene.objects[row].points) < _FEW:
        return Found(reason="cannot be measured")
    noun = noun_of(phrase)
    return next((finder for parts, _, finder in PARTS if noun in parts), _shares)(layout, row, phrase, rays)


def _boards(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    boards = levels(layout, row)
    if len(boards) < 2:  # any object with a flat top has one
        return Found(exists=False, reason=f"has no visible {noun_of(phrase)}")
    found = _of_all(boards, phrase, rays)
    other = _of_all(boards[:-1], phrase, rays) if boards[-1].lid else found
    return Found(tuple(dict.fromkeys((*found.parts, *other.parts))), reason=found.reason)


def _drawers(layout: Layout, row: int, phrase: NounPhrase, _: Rays) -> Found:
    drawer = open_drawer(layout, row)  # all others are closed
    if drawer is None:
        return Found(reason="is closed there: no drawer of it is seen to be open")
    above, below = drawer.above, drawer.below
    number = f"number {above + 1} of about {above + 1 + below} from the top"
    closed = Found(reason=f"is closed there: only the drawer that is {number} is open")
    if phrase.also is not None:
        return closed
    if phrase.ordinal is not None:
        before = {"top": above, "bottom": below}.get(phrase.ordinal.from_)
        return Found((drawer.region,)) if before == phrase.ordinal.n - 1 else closed
    fits = {None: True, "highest": above == 0, "lowest": below == 0, "middle": above == below and above > 0}
    return Found((drawer.region,)) if fits.get(phrase.superlative, False) else closed


def _shares(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    noun = noun_of(phrase)
    if noun == "half" and phrase.superlative is None and EMPTY in phrase.attributes:  # the contents tell which one
        # Both halves, split across the clearly longer side; if neither is longer, the halves of both ways.
        all_of_it, pairs = whole(layout, row), []
        for sides in (("leftmost", "rightmost"), ("nearest", "farthest")):
            halves = (share(all_of_it, dataclasses.replace(phrase, superlative=side), rays) for side in sides)
            pairs.append([half for half in halves if half is not None])
        middles = ([half.middle for half in pair] or [np.zeros(2)] for pair in pairs)
        apart = np.array([np.linalg.norm(np.ptp(pair, axis=0)) for pair in middles])
        longer = int(apart.argmax())
        return Found(tuple(pairs[longer] if apart[longer] > _LONGER * apart[1 - longer] else (*pairs[0], *pairs[1])))
    part = share(whole(layout, row), phrase, rays)
    return Found((part,)) if part is not None else Found(exists=False, reason=f"has no such {noun}")


def _of_all(parts: tuple[Region, ...], phrase: NounPhrase, rays: Rays) -> Found:
    noun = noun_of(phrase)
    found = chosen(parts, phrase, rays)
    several = f"{len(parts)} of them" if len(parts) > 1 else "one" if parts else "none on that side"
    return Found(found, reason="" if found else f"has no such {noun} (visible: {several})")


def _compartments(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    noun = noun_of(phrase)
    # A shelf opens to the front, and so may others. What looks divided from above may be the top of such a whole.
    shelf = has_by_nature(layout.scene.objects[row].detection.label, "shelf")
    rooms = shelf_rooms(layout, row) if shelf or not layout.cornerless[row] else ()
    parts = () if shelf and len(rooms) > 1 else compartments(layout, row)
    if len(several := max(parts, rooms, key=len)) > 1:
        return _of_all(several, phrase, rays)
    hollow = parts or has_by_nature(layout.scene.objects[row].detection.label, noun)
    part = share(parts[0] if parts else whole(layout, row), phrase, rays) if noun in _VAGUE and hollow else None
    return Found((part,)) if part is not None else Found(exists=False, reason=f"has no visible {noun}")


def _burners(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    """The disc in the stated share of the stove's top; that share itself if no disc is visible there."""
    top = stove_top(layout, row)
    if top is None:
        return Found(exists=False, reason="has no visible flat top")
    discs = burners(layout, top)
    if not discs and not has_by_nature(layout.scene.objects[row].detection.label, noun_of(phrase)):
        return Found(exists=False, reason=f"has no visible {noun_of(phrase)}")
    if phrase.superlative is None and phrase.ordinal is None:
        return Found((*discs, top) if discs and hides_one(layout, top, discs) else discs)
    untold = Found(reason="has no burner that can be identified in this way")
    several = len(discs) > 2 or phrase.ordinal is not None
    corner = not {None, MIDDLE}.intersection((phrase.superlative, phrase.also))
    if several and not corner:
        found, side = _of_all(discs, phrase, rays), share(top, phrase, rays)
        if not hides_one(layout, top if side is None else side, discs):
            return found
        return untold if side is None else Found((*found.parts, side))
    part = share(top, phrase, rays)
    if part is None:
        return untold
    inside = [disc for disc in discs if _within(disc, part)]
    astride = any(_astride(disc, top, phrase, rays) for disc in discs)
    if several and (astride or len(inside) > 1):  # three in a row, or a small one beside a large one
        first = _of_all(discs, phrase, rays)
        return first if all(_within(disc, part) for disc in first.parts) else untold
    if astride or (not inside and phrase.superlative == MIDDLE):
        return untold  # a middle one is one of three, and their number is not visible
    if len(inside) == 1:
        return Found((dataclasses.replace(inside[0], around=part.around),))
    return Found(tuple(inside) or (part,))


def _astride(disc: Region, top: Region, phrase: NounPhrase, rays: Rays) -> bool:
    """True if a burner lies on the line between the stated sides, so that it has no order that way."""
    for word in (phrase.superlative, phrase.also):
        if word is not None and word != MIDDLE:
            axis = rays.side(word, top.outline)
            along = top.outline @ axis
            off = abs(float(disc.middle @ axis) - (along.max() + along.min()) / 2)
            if off < _ASTRIDE * np.ptp(disc.outline @ axis):
                return True
    return False


def _within(disc: Region, part: Region) -> bool:
    about = rectangle_of(part.outline)
    return bool((np.abs(about.to_own(disc.middle[None])[0]) <= about.half).all())


PARTS: tuple[tuple[frozenset[str], frozenset[str], Callable[[Layout, int, NounPhrase, Rays], Found]], ...] = (
    (BURNERS, STOVES, _burners),
    (COMPARTMENTS | ROWS, DIVIDED | SHELVED, _compartments),
    (DRAWERS, CHESTS, _drawers),
    (LEVELS | TRAYS, SHELVED | STEPPED, _boards),
    (SHARES | CORNERS, SUPPORT_NOUNS, _shares),
)
"""Nouns of parts, the wholes that have such parts by nature, and what finds those that a phrase may mean."""


# ----------------------------------------------------------------------------------------------------
# Burners of a stove: discs of different brightness on its flat top, or rings above it; and what stands there.

_BIN = 0.005  # metres: height step of the search for the top
_NEAR = 0.012  # metres around the height of the top within which points are on it: grates are slightly above it
_CELL = 0.005  # metres
# Of 255: brightness by which discs differ from the plate; shadows of pots differ less.
_OTHERS = (35.0, 70.0, 105.0, 140.0, 175.0)
_BRIDGE = 5  # cells: narrower parts join two discs and are not discs
_SMALLEST, _LARGEST = 0.03, 0.16  # metres: radii of burners
_ROUND = 0.65, 1.2  # area of a disc relative to its bounding ellipse; parts of a disc may be hidden
_STRETCH = 1.8  # length over width up to which a shape is a partly visible disc
_OVER = 0.1  # metres over the top up to which the underside of an object on a burner may be measured


def stove_top(layout: Layout, row: int) -> Region | None:
    """Find the flat top of an object; None if it is not visible."""
    own = layout.points_of(row)
    if len(own) < _FEW:
        return None
    # The height at which the points cover the most ground.
    bins = np.floor(own[:, 2] / _BIN).astype(np.int64)
    low = int(bins.min())
    cells = np.floor(own[:, :2] / (2 * _CELL)).astype(np.int64)
    number = (cells[:, 0] * 1_000_003 + cells[:, 1]) * 4096 + (bins - low)
    area = np.bincount(np.unique(number) % 4096)
    area = np.convolve(area, (1, 1, 1), "same")
    best = int(np.argmax(area)) + low
    height = float(np.median(own[np.abs(bins - best) <= 1, 2]))
    plate = own[np.abs(own[:, 2] - height) < _NEAR]
    if len(plate) < _FEW:
        return None
    about = rectangle_of(trimmed(plate[:, :2]))
    outline = about.part(-about.half, about.half)
    span = height - _OVER, height + _OVER
    return Region(row, outline, height, math.inf, span, PICTURE, carrier=outline)


def burners(layout: Layout, top: Region) -> tuple[Region, ...]:
    """Find the visible discs on a stove's top; objects on it may hide others."""
    own = layout.points_of(top.row)
    plate = own[np.abs(own[:, 2] - top.low) < _NEAR]
    about = rectangle_of(top.outline)
    rgb = layout.scene.frame.rgb
    u, v = np.rint(_pixels(layout, plate)).astype(int).T
    bright = rgb[np.clip(v, 0, rgb.shape[0] - 1), np.clip(u, 0, rgb.shape[1] - 1)].mean(axis=1)
    cells = np.floor((about.to_own(plate[:, :2]) + about.half) / _CELL).astype(int)
    shape = np.maximum(1, np.ceil(2 * about.half / _CELL).astype(int))
    kept = ((cells >= 0) & (cells < shape)).all(axis=1)
    index = cells[kept, 0] * shape[1] + cells[kept, 1]
    count = np.bincount(index, minlength=int(shape.prod()))
    mean = np.bincount(index, bright[kept], minlength=int(shape.prod())) / np.maximum(count, 1)
    usual = float(np.median(mean[count > 0]))
    apart = np.where(count > 0, np.abs(mean - usual), 0.0).reshape(shape)
    ways = [_discs(apart > other, about.half) for other in _OTHERS]
    most = max(ways, key=lambda discs: (len(discs), -np.ptp([radius for _, radius in discs] or [0.0])))
    angles = 2 * np.pi * np.arange(16) / 16
    ring = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    return tuple(
        Region(
            top.row, about.from_own(middle + radius * ring), top.low, top.high, top.span, PICTURE, carrier=top.outline
        )
        for middle, radius in most
    )


def _discs(other: npt.NDArray[np.bool_], half: Array) -> list[tuple[Array, float]]:
    """Middle and radius of each piece of a plate's cells that forms a disc."""
    whole = cv2.morphologyEx(other.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    number, marks = cv2.connectedComponents(cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((_BRIDGE,) * 2, np.uint8)))
    found = []
    for k in range(1, number):
        places = (np.argwhere(marks == k) + 0.5) * _CELL - half
        if len(places) * _CELL**2 < math.pi * _SMALLEST**2 / 2:
            continue
        about = rectangle_of(places)
        length, width = 2 * about.half + _CELL
        outline = hull(places).astype(np.float32)
        round_ = cv2.contourArea(outline) / (math.pi / 4 * length * width)
        middle, radius = cv2.minEnclosingCircle(outline)
        if _ROUND[0] < round_ < _ROUND[1] and length <= _STRETCH * width and _SMALLEST < radius < _LARGEST:
            found.append((np.array(middle, np.float64), float(radius)))
    return found


def hides_one(layout: Layout, region: Region, discs: tuple[Region, ...]) -> bool:
    """True if an object stands in a part of a stove's top but on no visible disc: it most likely hides another disc."""
    rows = np.flatnonzero(layout.measured & (np.abs(layout.bottom - region.low) < _OVER))
    places = layout.centre[rows[rows != region.row], :2]
    there = depth_inside(region.outline, places) > 0
    for disc in discs:
        there &= depth_inside(disc.outline, places) < 0
    return bool(there.any())


def _pixels(layout: Layout, points: Array) -> Array:
    """(N, 2) image columns and rows of points in ground coordinates."""
    rays = (points - (0.0, 0.0, layout.floor)) @ layout.axes.T @ layout.scene.frame.camera.K.T
    return np.asarray(rays[:, :2] / np.maximum(rays[:, 2:], 1e-6))


_HIDDEN = 0.25  # fraction of a burner's possible area that an object must cover in the image to count as standing on it
_MIDDLE = 0.6  # fraction of the share of a stove, around its middle, that a burner fills


def standing_on(layout: Layout, region: Region, moved: int) -> int | None:
    """Find an object, other than the one to put there, that stands on a burner, or None.

    Its middle lies over the burner, or it covers the burner's middle. If other burners of the stove are visible and
    this one is not, the object that hides it in the image is assumed to stand on it.
    """
    rows = np.flatnonzero(layout.measured & (layout.top > region.low))
    rows = rows[(rows != moved) & (rows != region.row) & (layout.mean_side[rows] < layout.mean_side[region.row])]
    middle = region.middle[None]
    over = depth_inside(region.outline, layout.centre[rows, :2]) > 0
    over |= np.array([depth_inside(layout.footprint[row], middle)[0] > 0 for row in rows], np.bool_)
    if over.any():
        return int(rows[over][0])
    top = stove_top(layout, region.row) if region.found_by == SHARE else None
    return _hiding(layout, region, moved) if top is not None and burners(layout, top) else None


def _hiding(layout: Layout, region: Region, moved: int) -> int | None:
    """The object that covers the most of a region's middle in the image, if that is a large part of it."""
    frame = layout.scene.frame
    places = region.middle + _MIDDLE * (region.outline - region.middle)
    pixels = _pixels(layout, np.column_stack((places, np.full(len(places), region.low))))
    seen = np.zeros(frame.depth.shape, np.uint8)
    corners = cv2.convexHull(np.rint(pixels).astype(np.int32))
    cv2.fillConvexPoly(seen, corners, 1)
    shown = seen.astype(np.bool_)
    best, share = None, _HIDDEN * max(int(shown.sum()), 1)
    for row, obj in enumerate(layout.scene.objects):
        if row in (moved, region.row) or (layout.measured[row] and layout.top[row] <= region.low):
            continue
        mask = obj.detection.mask
        if mask is None:
            mask = np.zeros_like(shown)
            x0, y0, x1, y1 = (max(0, round(value)) for value in obj.detection.box_xyxy)
            mask[y0:y1, x0:x1] = True
        if mask.shape == shown.shape and (covered := int((mask & shown).sum())) > share:
            best, share = row, covered
    return best
