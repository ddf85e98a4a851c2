# SPDX-License-Identifier: Apache-2.0
"""Superlatives and ordinals: one key for each word, compared within the set that fits the other words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial.belief import normal_cdf
from spatial_vlm_ros.spatial.free_space import gauge, lies_in
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.occlusion import is_open
from spatial_vlm_ros.types import FrameOfReference

Rows = npt.NDArray[np.intp]

_BEARING_BLUR = 1.5  # an object's bearing is that of its whole width: it is blurrier than a position on the ground
_EDGE_NOISE = np.array((0.005, 0.005, 0.003))  # metres by which edges of masks shift a box's sides, for any size
_SIDE_NOISE = np.array(
    (0.05, 0.05, 0.02)
)  # relative errors of its sides, which may be hidden; of a height, top and foot are visible
_MIDDLE_DIRECTIONS = 12  # on the ground, 15 degrees apart, that a set may be spread along
_COMPARED = 64  # objects beyond the last position asked for that are compared: later ones cannot have it
_BLOCK = 256  # objects compared with the others at once: the data stays in the processor's cache
_MEMBER = 1e-3  # probability below which an object is ignored in positions of others
_ALL = slice(None)
_SPREAD_COUNTS = 8  # power of the spread: half as wide counts a 256th, four fifths a sixth
_SAME_PLACE = 1e-6  # metres of spread below which a set has no direction
_NOTICED = 0.04  # relative: people do not call an object smaller if the difference is below measurement error
_SMALLEST = 1e-250  # smallest number from which shares of a position are computed
_INSIDE, _FAR_SIDE = 0.8, 0.3  # of the way to the outline: inside the wall; where only the inside of the wall is seen
_FEW, _SHALLOW = 20, 0.02  # points, and metres of height, of which no inside can be told
_FLUSH = 0.01  # metres under the rim within which a surface may be a lid
_FILLED = 0.07  # standard deviation of that share
_ROUND = 0.6  # width over length from which an object without a heading counts as round


@dataclass(frozen=True, eq=False)
class Key:
    """A quantity in metres to order objects by, smallest first."""

    value: Array  # (N,) metres (NaN if not measured)
    sigma: Array  # (N,) standard deviation, metres

    def reversed(self) -> Key:
        """The opposite order."""
        return Key(-self.value, self.sigma)


def _bearing(layout: Layout, view: Viewpoint) -> Key:
    """From left to right as the viewer sees it, in metres at the objects' mean distance.

    Compares the bearing, not the lateral offset: "the leftmost" is the one seen farthest to the left. If ahead is the
    same everywhere (straight down, and in the frame `world`), the lateral offset is used.
    """
    _check_somebody_looks(view)
    # The ray through an unmeasured object's box is a bearing from the camera, and not a position for other viewers.
    places = (
        layout.centre[:, :2] if view.parallel or view.frame is not FrameOfReference.VIEWER else layout.bearing_places
    )
    offset = places - view.origin[:2]
    ahead = offset @ view.forward
    aside = offset @ np.array([-view.forward[1], view.forward[0]])
    width = np.where(layout.measured, layout.reach, layout.relation.min_reach)
    blur = _BEARING_BLUR * layout.relation.size_blur * width
    if view.parallel:
        return Key(aside, blur)
    away = np.linalg.norm(layout.centre[layout.measured, :2] - view.origin[:2], axis=1)
    distance = float(away.mean()) if len(away) else 1.0
    return Key(np.arctan2(aside, ahead) * distance, blur)


def _distance(layout: Layout, view: Viewpoint) -> Key:
    _check_somebody_looks(view)
    sigma = np.hypot(layout.sigma, layout.relation.size_blur * layout.reach)
    if view.frame is FrameOfReference.WORLD:
        return Key((layout.visible_mean - view.origin)[:, :2] @ view.forward, sigma)
    return Key(np.linalg.norm(layout.visible_mean - view.origin, axis=1), sigma)


def _check_somebody_looks(view: Viewpoint) -> None:
    if view.frame is FrameOfReference.OBJECT:
        repair = "say whose left or right: 'from my side', 'as seen from the camera'"
        raise FrameUndefinedError(view.frame.value, "an order of objects needs a viewer", repair)


def _size_key(length: Callable[[Array], Array], layout: Layout, _: Viewpoint) -> Key:
    """From small to large, by a length computed from the box's sides (…, 3), with the uncertainty of those sides."""
    sides = whole_sizes(layout)
    value = length(sides)
    sigma = np.stack((layout.sigma, layout.sigma, layout.sigma_up), axis=1)
    sigma = np.sqrt(sigma**2 + (_SIDE_NOISE**2 + _NOTICED**2) * sides**2 + _EDGE_NOISE**2)
    longer = length(sides[:, None] + sigma[:, :, None] * np.eye(3))  # (N, 3): each side longer by its deviation
    return Key(value, np.sqrt(((longer - value[:, None]) ** 2).sum(axis=1)))


def whole_sizes(layout: Layout) -> Array:
    """(N, 3) box sizes, metres; a round object is as deep as wide, because its depth is the hidden side."""
    size = layout.size.copy()
    turns = np.array([not o.yaw_known for o in layout.scene.objects], np.bool_)
    turns &= layout.cornerless & (size[:, 1] > _ROUND * size[:, 0])
    size[turns, 1] = size[turns, 0]
    return size


_tallness = partial(_size_key, lambda sides: sides[..., 2])
_bulk = partial(_size_key, lambda sides: np.cbrt(sides.prod(axis=-1)))
_length = partial(_size_key, lambda sides: sides.max(axis=-1))
_width = partial(_size_key, lambda sides: sides[..., 0])
_narrowness = partial(_size_key, lambda sides: sides[..., 1])
_thickness = partial(_size_key, lambda sides: sides.min(axis=-1))


def _fullness(layout: Layout, _: Viewpoint) -> Key:
    """From empty to full: mean height of what is seen inside, over its own height; in metres at the mean height.

    Where only a wall is seen, what is inside lies anywhere below. What is not open or not seen from above, or has a top
    that is flush with the rim (a lid?), is not measured.
    """
    value, sigma = np.full((2, len(layout)), np.nan)
    for row in (row for row in np.flatnonzero(layout.measured).tolist() if is_open(layout, row)):
        outline, middle = layout.footprint[row], layout.centre[row, :2]
        low, high = layout.bottom[row], layout.top[row]
        held = lies_in(outline, layout.centre[:, :2]) & (layout.bottom > low) & (layout.bottom < high)
        places = np.concatenate([layout.points_of(each) for each in (row, *np.flatnonzero(held))])
        beyond = (places[:, :2] - middle) @ middle > _FAR_SIDE * ((outline - middle) @ middle).max()
        across = gauge(outline, middle, places[:, :2])
        inner, wall = places[across < _INSIDE, 2], places[beyond, 2]
        seen = len(inner) >= _FEW
        level = float(inner.mean() if seen else np.percentile(wall, 5) if len(wall) >= _FEW else np.nan)
        above = layout.floor > high + _FLUSH and high - low > _SHALLOW
        if above and (held.any() or not seen or high - level > _FLUSH):
            share = np.clip((level - low) / (high - low), 0.0, 1.0)
            value[row], sigma[row] = (share, _FILLED) if seen else (share / 2, share / np.sqrt(12) + _FILLED)
    scale = float(layout.size[layout.measured, 2].mean()) if layout.measured.any() else 1.0
    return Key(value * scale, sigma * scale)


KEYS: dict[str, tuple[Callable[[Layout, Viewpoint], Key], bool]] = {
    "leftmost": (_bearing, False),
    "rightmost": (_bearing, True),
    "nearest": (_distance, False),
    "farthest": (_distance, True),
    "lowest": (lambda layout, _: Key(layout.bottom, np.hypot(layout.sigma_up, 0.005)), False),
    "highest": (lambda layout, _: Key(layout.top, np.hypot(layout.sigma_up, 0.005)), True),
    "shortest": (_tallness, False),
    "tallest": (_tallness, True),
    "smallest": (_bulk, False),
    "largest": (_bulk, True),
    "longest": (_length, True),
    "widest": (_width, True),
    "narrowest": (_narrowness, False),
    "thickest": (_thickness, True),
    "thinnest": (_thickness, False),
    "fullest": (_fullness, True),
    "emptiest": (_fullness, False),
}
"""Canonical superlative → (key, largest first). "middle" is the position from the left with as many on either side."""

MIDDLE = "middle"

PLACE_WORDS = {
    "highest": frozenset({"top", "upper"}),
    "lowest": frozenset({"bottom", "lower"}),
    "middle": frozenset({"middle"}),
}
"""Superlative → words in a label that say the same about a part: "top drawer". But a left shoe may stand on the right.
"""

SIZE_WORDS: dict[str, tuple[Callable[[Layout, Viewpoint], Key], bool]] = {
    **dict.fromkeys(("big", "large", "huge", "giant", "bigger", "larger", "great"), (_bulk, True)),
    **dict.fromkeys(("small", "little", "tiny", "mini", "smaller"), (_bulk, False)),
    **dict.fromkeys(("tall", "high", "taller"), (_tallness, True)),
    **dict.fromkeys(("short", "low", "shorter"), (_tallness, False)),
    **dict.fromkeys(("long", "longer"), (_length, True)),
    **dict.fromkeys(("wide", "wider", "broad"), (_width, True)),
    **dict.fromkeys(("narrow", "slim", "narrower"), (_narrowness, False)),
    **dict.fromkeys(("thick", "fat", "thicker"), (_thickness, True)),
    **dict.fromkeys(("thin", "thinner"), (_thickness, False)),
}
"""Size adjective → (key, large), for judging by comparison."""

MEDIUM = frozenset({"medium", "medium-sized", "mid-sized", "middle-sized"})
"""Adjectives of the middle one by size."""


def size_key(word: str, layout: Layout, view: Viewpoint) -> Key:
    """The key of a size adjective; the object that it fits best comes first."""
    make, large = SIZE_WORDS[word]
    key = make(layout, view)
    return key.reversed() if large else key


def key_of(word: str, layout: Layout, view: Viewpoint) -> Key:
    """The key of a canonical superlative; the object that it fits best comes first."""
    make, largest_first = KEYS[word]
    if word in ("lowest", "highest", "shortest", "tallest", "fullest", "emptiest"):
        layout.require_up(word)
    key = make(layout, view)
    return key.reversed() if largest_first else key


def before(key: Key, some: Rows | slice = _ALL, others: Rows | slice = _ALL) -> Array:
    """(S, T) probability that row s of `some` comes before row t of `others`; 0.5 if one is not measured."""
    known = np.isfinite(key.value) & np.isfinite(key.sigma)
    value, variance = np.where(known, key.value, 0.0), np.where(known, key.sigma, 1.0) ** 2
    score = value[None, others] - value[some, None]
    score /= np.maximum(np.sqrt(variance[None, others] + variance[some, None]), 1e-9)
    found = normal_cdf(score)
    found[~known[some]], found[:, ~known[others]] = 0.5, 0.5
    return found


def place_in_order(key: Key, member: Array, n: int, count: int = 1) -> tuple[Array, Array]:
    """(N,) probability that exactly n - 1 members come before each object (Poisson-binomial), and its margin, metres.

    `member` (N,) is the probability of being in the ordered set; `count` positions from n on are summed over, those
    past the last object of which belong to none. The margin is the distance to the nearest neighbour in the order if
    the object has position n, otherwise minus the distance to the one that has it; NaN without a neighbour.
    """
    places = range(n, max(min(n + count, len(member) + 1), n + 1))
    likelihood, value = np.asarray(sum(places_in_order(key, member, places))), key.value
    margin = np.full(len(value), np.nan)
    rows = np.flatnonzero((member > 0.5) & np.isfinite(value))
    if n > len(rows):
        return likelihood, margin
    ordered = rows[np.argsort(value[rows], kind="stable")]
    holder = ordered[n - 1]
    margin[rows] = -np.abs(value[rows] - value[holder])
    neighbours = [abs(float(value[ordered[i]] - value[holder])) for i in (n - 2, n) if 0 <= i < len(ordered)]
    margin[holder] = min(neighbours, default=np.nan)
    return likelihood, margin


def places_in_order(key: Key, member: Array, places: Sequence[int]) -> list[Array]:
    """As `place_in_order`, for several positions, each from 1, at the cost of the last one; without margins."""
    counts, filled = _counted(key, member, min(max(places, default=0), len(member)))
    found = []
    for n in places:
        likelihood = counts[n - 1] if n <= len(counts) else np.zeros(len(member))
        total = float((member * likelihood).sum())
        # The position exists with probability `filled`: that there are that many members at all.
        if n <= len(counts) and _SMALLEST < total < filled[n - 1]:
            likelihood = likelihood * (float(filled[n - 1]) / total)
        found.append(likelihood)
    return found


def _counted(key: Key, member: Array, last: int) -> tuple[Array, Array]:
    """(last, N) probability of k members before each object, row by row, and (last,) that there are more than k.

    An object behind so many sure members that it can have none of the positions is not compared with the others.
    """
    counts = np.zeros((last, len(member)))
    comparable = np.flatnonzero(member > _MEMBER)
    sure = np.sort(key.value[(member > 0.5) & np.isfinite(key.value)])
    if len(sure) > last + _COMPARED:
        kept = np.flatnonzero(key.value <= sure[last + _COMPARED - 1])
        if len(kept) < len(member):
            counts[:, kept], filled = _counted(Key(key.value[kept], key.sigma[kept]), member[kept], last)
            return counts, filled
    for first in range(0, len(member), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(member)))
        chance = member[comparable, None] * before(key, comparable, rows)
        chance[comparable[:, None] == rows] = 0.0
        counts[:, rows] = _how_many(chance, last)
    fewer = _how_many(np.minimum(member[comparable], 1.0)[:, None], last)[:, 0]
    return counts, 1.0 - np.cumsum(fewer)


def _how_many(chance: Array, most: int) -> Array:
    """(most, T) probability that 0, 1, … of independent events happen; `chance` is (S, T)."""
    if most < 2:
        return np.multiply.reduce(1 - chance, axis=0, keepdims=True)[:most]
    counts = np.zeros((most, chance.shape[1]))
    counts[0] = 1.0
    for seen, row in enumerate(chance, 1):
        some = counts[: seen + 1]  # at most that many have been examined
        moved = some[:-1] * row
        some *= 1 - row
        some[1:] += moved
    return counts


def in_the_middle(key: Key, member: Array) -> tuple[Array, Array]:
    """As `place_in_order`, for the position with as many before as after; no object has it in an even number."""
    size = int(np.count_nonzero(member > 0.5))
    if size % 2 == 0:
        return np.zeros(len(member)), np.full(len(member), np.nan)
    return place_in_order(key, member, (size + 1) // 2)


def middle_of_spread(layout: Layout, view: Viewpoint, member: Array) -> tuple[Array, Array]:
    """The middle one along the direction in which the set is spread: across, in depth, diagonally or in height.

    Every direction counts by the spread of the set along it, to the power _SPREAD_COUNTS. In a row, all directions that
    count have the same middle; in a set that is as deep as wide they differ, and no object is surely meant. Returns as
    `place_in_order`, with the margin along the direction of most spread.
    """
    across = key_of("leftmost", layout, view)
    rows = np.flatnonzero(member > 0.5)
    if len(rows) < 3 or not layout.measured[rows].all():
        return in_the_middle(across, member)
    right = np.array([-view.forward[1], view.forward[0]])
    places = np.column_stack((layout.centre[:, :2] @ right, layout.centre[:, :2] @ view.forward, layout.centre[:, 2]))
    angles = np.arange(_MIDDLE_DIRECTIONS) * np.pi / _MIDDLE_DIRECTIONS
    directions = np.vstack((np.column_stack((np.cos(angles), np.sin(angles), np.zeros_like(angles))), (0.0, 0.0, 1.0)))
    along = places @ directions.T
    spread = along[rows].std(axis=0)
    if float(spread.max()) < _SAME_PLACE:  # one object that was detected several times
        return in_the_middle(across, member)
    counts = (spread / float(spread.max())) ** _SPREAD_COUNTS
    counting = np.flatnonzero(counts > 1e-3)
    found = {
        int(number): in_the_middle(
            Key(along[:, number], layout.sigma_up if number == len(angles) else across.sigma), member
        )
        for number in counting
    }
    likelihood = sum((counts[number] * found[number][0] for number in found), np.zeros(len(member)))
    return likelihood / counts[counting].sum(), found[int(np.argmax(counts))][1]
