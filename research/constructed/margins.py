# SPDX-License-Identifier: Apache-2.0
"""True margins of every relation, by the words of docs/relations.md, on true outlines and heights.

Written apart from the solver, on purpose: nothing here sees an image, and no code is shared. `t` is the target, `a`
the anchor; metres, positive = holds. Depth noise has no part in truth: the σ of contact is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np

from research.constructed.parts import CONTACT, PARTS, Pair
from research.constructed.standpoint import OWN, Standpoint
from research.constructed.still import (
    Still,
    apart,
    depth_in_hull,
    depth_inside,
    gap,
    reach_along,
    vertical_gap,
)
from spatial_vlm_ros.types import Distance

NEXT_TO, NEAR, FAR = 2.0, 3.0, 4.0
_TAN_BETWEEN = math.tan(math.radians(30))

Group = Callable[[Still, Sequence[Still]], float]


def _right_of(t: Still, a: Still, stand: Standpoint) -> float:
    return float((t.place - a.place) @ stand.axes(a)[1])


def _left_of(t: Still, a: Still, stand: Standpoint) -> float:
    return -_right_of(t, a, stand)


def _beyond(t: Still, a: Still, stand: Standpoint, sign: float) -> float:
    ahead, right = stand.axes(a)
    begin = reach_along(t.outline, ahead)[0] - reach_along(a.outline, ahead)[0]
    wide, narrow = reach_along(t.outline, right), reach_along(a.outline, right)
    low, high = max(wide[0], narrow[0]), min(wide[1], narrow[1])
    if high > low:  # one is before the other
        local = _begin(t.outline, ahead, right, (low, high)) - _begin(a.outline, ahead, right, (low, high))
        share = min((high - low) / (min(np.ptp(wide), np.ptp(narrow)) / 2), 1.0)
        begin = share * local + (1.0 - share) * begin
    d = min(sign * begin, sign * float((t.place - a.place) @ ahead))
    return min(d, d - apart(reach_along(t.outline, right), reach_along(a.outline, right)))


def _begin(outline: np.ndarray, ahead: np.ndarray, right: np.ndarray, strip: tuple[float, float]) -> float:
    """Least coordinate along `ahead` of what lies of an outline within a strip along it."""
    corners = [(float(corner @ right), float(corner @ ahead)) for corner in outline]
    found = [along for across, along in corners if strip[0] <= across <= strip[1]]
    for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True):
        found += [y + (v - y) * (side - x) / (u - x) for side in strip if min(x, u) <= side <= max(x, u) and x != u]
    return min(found)


def _behind(t: Still, a: Still, stand: Standpoint) -> float:
    return _beyond(t, a, stand, 1.0)


def _in_front_of(t: Still, a: Still, stand: Standpoint) -> float:
    return _beyond(t, a, stand, -1.0)


def _overlap(t: Still, a: Still) -> float:
    """How far the centre of one lies inside the outline of the other."""
    return max(depth_inside(t.place, a.outline), depth_inside(a.place, t.outline))


def _on(t: Still, a: Still, _: Standpoint) -> float:
    rests = CONTACT - abs(t.bottom - a.top)
    return min(rests, depth_inside(t.place, a.outline), float(t.centre[2]) - a.top)


def _supporting(t: Still, a: Still, stand: Standpoint) -> float:
    return _on(a, t, stand)


def _above(t: Still, a: Still, _: Standpoint) -> float:
    return min(t.bottom - a.top + CONTACT, float(t.centre[2] - a.centre[2]) + _overlap(t, a))


def _below(t: Still, a: Still, stand: Standpoint) -> float:
    return _above(a, t, stand)


def _under(t: Still, a: Still, stand: Standpoint) -> float:
    return min(_below(t, a, stand), _overlap(t, a))


def _higher(t: Still, a: Still, _: Standpoint) -> float:
    return t.top - a.top


def _lower(t: Still, a: Still, _: Standpoint) -> float:
    return a.bottom - t.bottom


def _inside(t: Still, a: Still, _: Standpoint) -> float:
    surface = (float(t.centre[2]) + t.top) / 2  # what is seen of it from above lies in its upper half
    return min(
        depth_inside(t.place, a.outline),
        a.top - t.bottom - CONTACT,
        t.bottom - a.bottom + CONTACT,
        a.breadth - t.breadth,
        a.top - surface + CONTACT,
    )


def _out_of(t: Still, a: Still, stand: Standpoint) -> float:
    return -_inside(t, a, stand)


def _containing(t: Still, a: Still, stand: Standpoint) -> float:
    return _inside(a, t, stand)


def _touching(t: Still, a: Still, _: Standpoint) -> float:
    return CONTACT - math.hypot(gap(t, a), vertical_gap(t, a))


def _against(t: Still, a: Still, _: Standpoint) -> float:
    shared = min(t.top, a.top) - max(t.bottom, a.bottom)
    return min(CONTACT - gap(t, a), shared, float(a.size[2] - t.size[2] / 2))


def mean_reach(t: Still, a: Still) -> float:
    """What the vague words count in."""
    return (t.reach + a.reach) / 2


def _beside(t: Still, a: Still) -> float:
    """Minus how far the centre of one lies inside the outline of the other; endless where they are side by side."""
    over = _overlap(t, a)
    return -over if over > 0 else math.inf


def _space(t: Still, a: Still) -> float:
    """The gap on the ground and the one in height taken together."""
    return math.hypot(gap(t, a), max(vertical_gap(t, a), 0.0))


def _next_to(t: Still, a: Still, _: Standpoint) -> float:
    return min(NEXT_TO * mean_reach(t, a) - _space(t, a), _beside(t, a))


def _near(t: Still, a: Still, _: Standpoint) -> float:
    return min(NEAR * mean_reach(t, a) - _space(t, a), _beside(t, a))


def _far_from(t: Still, a: Still, _: Standpoint) -> float:
    return _space(t, a) - FAR * mean_reach(t, a)


def _around(t: Still, a: Still, stand: Standpoint) -> float:
    return max(_near(t, a, stand), min(depth_inside(a.place, t.outline), t.breadth - a.breadth))


def _ray(t: Still, a: Still, front: np.ndarray | None) -> float:
    if front is None:
        return math.nan
    forward = float((a.place - t.place) @ front)
    low, high = reach_along(a.outline - t.place, np.array([-front[1], front[0]]))
    return min(forward, forward - max(low, -high, 0.0))


def _facing(t: Still, a: Still, _: Standpoint) -> float:
    return _ray(t, a, t.front)


def _facing_away(t: Still, a: Still, _: Standpoint) -> float:
    return _ray(t, a, None if t.front is None else -t.front)


def opposite(t: Still, a: Still, everything: Sequence[Still]) -> float:
    """Across the middle of what stands there, or before the anchor's own front."""
    if a.front is not None:
        return _in_front_of(t, a, OWN)
    middle = least_rectangle_middle(np.concatenate([o.outline for o in everything]))
    away = a.place - middle
    distance = float(np.linalg.norm(away))
    u = away / max(distance, 1e-9)
    p, q = float((t.place - middle) @ u), abs(float((t.place - middle) @ np.array([-u[1], u[0]])))
    return min(-p - q, distance - mean_reach(t, a) / 2)


def least_rectangle_middle(points: np.ndarray) -> np.ndarray:
    """(2,) middle of the rectangle of least area around places (N, 2)."""
    somewhere = points.mean(axis=0)
    (x, y), _, _ = cv2.minAreaRect((points - somewhere).astype(np.float32))
    return np.asarray(somewhere + np.array([x, y]))


def _between(t: Still, anchors: Sequence[Still]) -> float:
    a, b = anchors
    line = b.place - a.place
    length = float(np.linalg.norm(line))
    u = line / max(length, 1e-9)
    at = float(t.place @ u)
    beyond = min(at - reach_along(a.outline, u)[1], reach_along(b.outline, u)[0] - at)
    from_a = float((t.place - a.place) @ u)
    aside = abs(float((t.place - a.place) @ np.array([-u[1], u[0]])))
    return min(beyond, _TAN_BETWEEN * min(from_a, length - from_a) - aside)


def _among(t: Still, anchors: Sequence[Still]) -> float:
    half = float(np.mean([a.breadth for a in anchors])) / 2
    return depth_in_hull(t.place, np.array([a.place for a in anchors])) + half


def _volume(a: Still) -> float:
    return float(np.prod(a.size) ** (1 / 3))


LENGTHS: Mapping[str, Callable[[Still], float]] = MappingProxyType(
    {
        "tall": lambda a: float(a.size[2]),
        "large": _volume,
        "long": lambda a: float(a.size.max()),
        "wide": lambda a: float(a.size[0]),
        "narrow": lambda a: float(a.size[1]),
        "thick": lambda a: float(a.size.min()),
    }
)
"""What comparisons and superlatives of size compare."""
_COMPARED: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "taller than": ("tall", 1.0),
        "shorter than": ("tall", -1.0),
        "larger than": ("large", 1.0),
        "smaller than": ("large", -1.0),
        "longer than": ("long", 1.0),
        "wider than": ("wide", 1.0),
        "narrower than": ("narrow", -1.0),
        "thicker than": ("thick", 1.0),
        "thinner than": ("thick", -1.0),
    }
)


def _comparison(length: str, sign: float) -> Pair:
    return lambda t, a, _: sign * (LENGTHS[length](t) - LENGTHS[length](a))


def _closer(t: Still, a: Still, stand: Standpoint) -> float:
    return stand.distance(a) - stand.distance(t)


def _farther(t: Still, a: Still, stand: Standpoint) -> float:
    return -_closer(t, a, stand)


PAIRS: Mapping[str, Pair] = MappingProxyType(
    {
        "left of": _left_of,
        "right of": _right_of,
        "behind": _behind,
        "on the other side of": _behind,
        "in front of": _in_front_of,
        "on": _on,
        "supporting": _supporting,
        "above": _above,
        "below": _below,
        "under": _under,
        "higher than": _higher,
        "lower than": _lower,
        "inside": _inside,
        "out of": _out_of,
        "containing": _containing,
        "touching": _touching,
        "against": _against,
        "next to": _next_to,
        "near": _near,
        "far from": _far_from,
        "around": _around,
        **PARTS,
        "facing": _facing,
        "facing away from": _facing_away,
        "closer than": _closer,
        "farther than": _farther,
        **{name: _comparison(*compared) for name, compared in _COMPARED.items()},
    }
)
"""Relations to one object at a time."""
GROUPS: Mapping[str, Group] = MappingProxyType({"between": _between, "among": _among})
"""Relations to several objects at once."""
ANY = frozenset(
    (
        "on",
        "inside",
        "out of",
        "containing",
        "supporting",
        "touching",
        "against",
        "part of",
        "next to",
        "near",
        "around",
        "at the edge of",
        "at the corner of",
        "at the centre of",
        "at the end of",
        "at the top of",
        "at the bottom of",
        "in the middle of the height of",
        "at the left side of",
        "at the right side of",
        "at the front of",
        "at the back of",
    )
)
"""Relations that one of several anchors is enough for; the others need all of them."""
FRAMED = frozenset(
    (
        "left of",
        "right of",
        "in front of",
        "behind",
        "on the other side of",
        "at the left side of",
        "at the right side of",
        "at the front of",
        "at the back of",
    )
)
"""Relations that an anchor's own front could be meant with."""


def separation(relation: str, t: Still, a: Still, stand: Standpoint) -> float:
    """The gap between the outlines along the relation's own direction, for stated distances."""
    ahead, right = stand.axes(a) if relation in ("left of", "right of", "behind", "in front of") else (a.along, a.along)
    if relation == "right of":
        return reach_along(t.outline, right)[0] - reach_along(a.outline, right)[1]
    if relation == "left of":
        return reach_along(a.outline, right)[0] - reach_along(t.outline, right)[1]
    if relation == "behind":
        return reach_along(t.outline, ahead)[0] - reach_along(a.outline, ahead)[1]
    if relation == "in front of":
        return reach_along(a.outline, ahead)[0] - reach_along(t.outline, ahead)[1]
    return vertical_gap(t, a) if relation in ("above", "below", "under") else _space(t, a)


def stated(distance: Distance, between: float) -> float:
    """Margin of a stated distance against the gap that there is."""
    if distance.bound == "at most":
        return distance.metres - between
    if distance.bound == "at least":
        return between - distance.metres
    return max(0.02, distance.metres / 5) - abs(between - distance.metres)
