# SPDX-License-Identifier: Apache-2.0
"""Find the parts of an object and those that a phrase means: from visible geometry, else by a stated share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

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
    SHARES,
    SHELVED,
    STEPPED,
    STOVES,
)
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.burners import burners, hides_one, stove_top
from spatial_vlm_ros.spatial.parts.choosing import MIDDLE, SIDEWAYS, Rays, chosen, share, whole
from spatial_vlm_ros.spatial.parts.drawers import open_drawer
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.spatial.parts.region import (
    HEIGHT_MAP,
    Rectangle,
    Region,
    box_of,
    points_over,
    rectangle_of,
)
from spatial_vlm_ros.spatial.regions import SUPPORT_NOUNS
from spatial_vlm_ros.spatial.states import EMPTY
from spatial_vlm_ros.types import NounPhrase

_HALVES = frozenset({"half", "quarter", "quadrant"})
_WHOLES = (
    (SHARES | CORNERS, SUPPORT_NOUNS),
    (BURNERS, STOVES),
    (COMPARTMENTS, DIVIDED | SHELVED),
    (DRAWERS, CHESTS),
    (LEVELS, SHELVED | STEPPED),
)
_VAGUE = frozenset({"section", "bay"})
"""Compartments that need no wall: the back section of an undivided box is its back third."""
_LONGER = 1.2  # times as long one way as the other from which a half is split across that way
_FEW = 30  # points of an object that are too few to find parts
_ASTRIDE = 0.25  # fraction of its width by which a burner must be off the middle of the stove to be on one side of it


@dataclass(frozen=True, eq=False)
class Found:
    """The parts of an object that a phrase may mean.

    Args:
        exists: True if the object has such parts at all.
        reason: why there is none, in words that follow the object's name ("has no compartments").
    """

    parts: tuple[Region, ...] = ()
    exists: bool = True
    reason: str = ""


def noun_of(phrase: NounPhrase) -> str:
    """The head noun of a phrase."""
    return phrase.category.split(" ")[-1]


def is_looked_for(phrase: NounPhrase) -> bool:
    """True if a phrase names a part that is found here; relations handle single sides, edges and centres."""
    noun = noun_of(phrase)
    if noun in COMPARTMENTS | LEVELS | DRAWERS | BURNERS | _HALVES:
        return True
    return (noun in SHARES and phrase.also is not None) or (noun in CORNERS and phrase.superlative is not None)


def has_by_nature(label: str, noun: str) -> bool:
    """True if objects with the label usually have such parts: a stove has burners."""
    words = label.lower().replace("-", " ").replace("_", " ").split()
    return bool(words) and any(noun in parts and words[-1] in wholes for parts, wholes in _WHOLES)


def is_of_several(label: str, noun: str) -> bool:
    """True if the label names an object made of several such parts: a chest of drawers."""
    return noun in DRAWERS and label.lower().endswith("drawers")


def find(layout: Layout, row: int, phrase: NounPhrase, rays: Rays) -> Found:
    """Find the parts of an object that a phrase may mean.

    Args:
        row: row of the whole.
    """
    noun = noun_of(phrase)
    if not layout.measured[row] or len(layout.scene.objects[row].points) < _FEW:
        return Found(reason="cannot be measured")
    if noun in COMPARTMENTS:
        return _compartments(layout, row, phrase, rays)
    if noun in LEVELS:
        boards = levels(layout, row)
        if len(boards) < 2:  # any object with a flat top has one
            return Found(exists=False, reason=f"has no visible {noun}")
        found = _of_all(boards, phrase, rays)
        other = _of_all(boards[:-1], phrase, rays) if boards[-1].lid else found
        return Found(tuple(dict.fromkeys((*found.parts, *other.parts))), reason=found.reason)
    if noun in DRAWERS:
        drawer = open_drawer(layout, row)  # all others are closed
        closed = Found(reason="is closed there: no such drawer is open")
        if drawer is None or phrase.also is not None:
            return closed
        above, below = drawer.above, drawer.below
        if phrase.ordinal is not None:
            before = {"top": above, "bottom": below}.get(phrase.ordinal.from_)
            return Found((drawer.region,)) if before == phrase.ordinal.n - 1 else closed
        fits = {None: True, "highest": above == 0, "lowest": below == 0, "middle": above == below and above > 0}
        return Found((drawer.region,)) if fits.get(phrase.superlative, False) else closed
    if noun in BURNERS:
        return _burners(layout, row, phrase, rays)
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
    if has_by_nature(layout.scene.objects[row].detection.label, "shelf"):  # one above the other, with boards in between
        rooms = tuple(room for room in levels(layout, row) if np.isfinite(room.high))
        if len(rooms) > 1:
            beside = SIDEWAYS.intersection((phrase.superlative, phrase.also))
            return _of_all(() if beside else rooms, phrase, rays)
    parts = compartments(layout, row)
    if len(parts) > 1:
        return _of_all(parts, phrase, rays)
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


# --------------------------------------------------------------------------------------------------
# Compartments of an open box: walls across its height map divide it, repeatedly.

_LEAST_DEPTH = 0.015  # metres: a flatter object has no inside
_NOISES = 5.0  # least depth of a box in standard deviations of depth noise: otherwise noise looks like walls
_SHORTEST = 0.12  # metres: least length of a box that is divided; a mug with its handle is shorter
_CELLS, _LEAST_CELL, _MOST_CELL = 30, 0.004, 0.008  # cells across the shorter side, and their side in metres
_HIGH = 0.5  # fraction of the depth from which a point shows a wall
_LOW = 0.4  # fraction of the depth up to which a point shows that a compartment is hollow
_CROSSES = 0.6  # fraction of the way across over which a wall must be seen
_KNOWN = 0.7  # fraction of the way across that must be visible at all
_LEAST_WIDTH, _LEAST_PART = 0.025, 0.15  # metres, and fraction of the box: narrower is a groove, or the outer wall
_WIDEST_WALL = 0.25  # fraction of a compartment's length that a wall may fill
_FLOOR, _FLOOR_SEEN = 0.01, 0.15  # metres, and fraction of the inside seen within them if a floor is visible
_INSIDE = 0.8  # fraction of the box within which its floor is searched for
_ACROSS = 0.05  # metres: least width of a compartment that may be divided again
_MOST = 12  # compartments that words cannot tell apart
_CLOSED = 0.45  # fraction of a compartment over which visible points are not low: then it is closed, or is not one
_BESIDE = 0.02  # metres below the floor at which the underside of an object in it may be measured

_Span = tuple[Array, Array]


def compartments(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the compartments of an object: one if it is hollow and undivided, none if it does not look hollow.

    Args:
        row: row of the object, which must be measured.
    """
    box, own, over = box_of(layout, row), layout.points_of(row), points_over(layout, row)
    places, height = box.to_own(over[:, :2]), over[:, 2]
    inside = (np.abs(places) < _INSIDE * box.half).all(axis=1)
    if inside.sum() < _FEW or layout.cornerless[row] or 2 * box.half[0] < _SHORTEST:
        return ()
    bottom, rim = float(layout.bottom[row]), float(layout.top[row])
    floor = max(bottom, float(np.percentile(height[inside], 3)))
    if (height[inside] < floor + _FLOOR).mean() < _FLOOR_SEEN:  # low visible points are walls: the floor is hidden
        floor = min(floor, bottom + _FLOOR)
    if rim - floor < max(_LEAST_DEPTH, _NOISES * float(layout.noise[row])):
        return ()
    depth = rim - floor
    seen = _Walls(box, box.to_own(own[:, :2]), (own[:, 2] - floor) / depth, places, (height - floor) / depth)
    found = [span for span in seen.divided(-box.half, box.half, 0) if seen.hollow(span)]
    if len(found) > _MOST or any((high - low).min() < _LEAST_WIDTH for low, high in found):
        return ()  # that is not an organiser, or not a recognisable one
    return tuple(
        Region(row, box.part(*span), floor, rim, (floor - _BESIDE, rim), HEIGHT_MAP, walled=True) for span in found
    )


class _Walls:
    """The height map of a box in its own axes, with cells that show a wall or the inside."""

    def __init__(self, box: Rectangle, own: Array, high: Array, places: Array, height: Array) -> None:
        self.step = float(np.clip(2 * box.half[1] / _CELLS, _LEAST_CELL, _MOST_CELL))
        self.low = -box.half
        shape = np.maximum(1, np.ceil(2 * box.half / self.step).astype(int))
        walls = self._marked(places[height > _HIGH], shape) & ~self._marked(places[height <= _HIGH], shape)
        self.high = self._marked(own[high > _HIGH], shape) | walls
        self.deep = self._marked(places[height < _LOW], shape) & ~self.high
        self.seen = self._marked(places, shape) | self.high

    def _marked(self, places: Array, shape: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        cells = np.floor((places - self.low) / self.step).astype(int)
        marked = np.zeros(shape, np.bool_)
        marked[tuple(cells[((cells >= 0) & (cells < shape)).all(axis=1)].T)] = True
        return marked

    def _cells(self, low: Array, high: Array) -> tuple[slice, slice]:
        first, last = (np.rint((corner - self.low) / self.step).astype(int) for corner in (low, high))
        return slice(first[0], last[0]), slice(first[1], last[1])

    def hollow(self, span: _Span) -> bool:
        """True if no lid closes a span: a lid would be visible, and the floor between high walls is not."""
        margin = np.minimum(0.25 * (span[1] - span[0]), 3 * self.step)
        where = self._cells(span[0] + margin, span[1] - margin)
        return bool((self.seen[where] & ~self.deep[where]).sum() <= _CLOSED * max(1, self.seen[where].size))

    def divided(self, low: Array, high: Array, asked: int) -> Iterator[_Span]:
        """The spans that walls divide a span into; `asked` counts the axes tried without success."""
        axis = 0 if (high - low)[0] >= (high - low)[1] else 1
        for tried in (axis, 1 - axis):
            walls = self._walls(low, high, tried)
            if walls:
                edges = [low[tried], *walls, high[tried]]
                for start, end in itertools.pairwise(edges):
                    lower, upper = low.copy(), high.copy()
                    lower[tried], upper[tried] = start, end
                    yield from self.divided(lower, upper, asked + 1)
                return
        yield low, high

    def _walls(self, low: Array, high: Array, axis: int) -> list[float]:
        """Positions at which walls cross a span from side to side, along one of its axes."""
        where = self._cells(low, high)
        wall, seen = self.high[where], self.seen[where]
        if axis == 1:
            wall, seen = wall.T, seen.T
        edge = max(2, round(max(_LEAST_WIDTH, _LEAST_PART * 2 * -self.low[axis]) / self.step))
        if wall.shape[0] < 2 * edge + 1 or wall.shape[1] * self.step < _ACROSS:
            return []
        beside = wall.shape[1] // 4
        wall, seen = wall[:, beside:-beside], seen[:, beside:-beside]  # without the walls alongside
        near, known = _widened(wall), _widened(seen)
        share = near.sum(axis=1) / np.maximum(known.sum(axis=1), _KNOWN * wall.shape[1])
        lines = share >= _CROSSES
        lines[:edge], lines[-edge:] = False, False
        found = []
        runs = np.flatnonzero(np.diff(np.concatenate(([False], lines, [False])).astype(np.int8)))
        for first, last in runs.reshape(-1, 2).tolist():  # first and one past the last of each run of True
            if last - first <= max(_WIDEST_WALL * wall.shape[0], 4):
                found.append(float(low[axis] + (first + last) / 2 * self.step))
        return found


def _widened(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    wide = cells.copy()
    wide[1:] |= cells[:-1]
    wide[:-1] |= cells[1:]
    return wide
