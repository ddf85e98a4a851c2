# SPDX-License-Identifier: Apache-2.0
"""Reasons why a place was chosen, or why there is none: as data, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PlaceLimit = Literal["clearance", "stability", "margin", "headroom"]
"""Limit for a spot: distance to objects, its middle inside the support, the relation, or free height above it."""

NoPlaceCause = Literal[
    "closed", "occupied", "too small", "too tall", "no surface", "unseen", "edge", "relation", "no part", "unclear"
]
"""closed: it must be opened; occupied: objects are in the way; too small, too tall: only `available_m` of `needed_m`;
no surface: nothing can stand there; unseen: it may be free, but is out of sight; edge: the surface or its rim ends
there; relation: the relation holds nowhere; no part: the object has no such part; unclear: the words name no place."""


@dataclass(frozen=True)
class PlaceReason:
    """Reason for a spot, and the limit that it is closest to.

    Args:
        text: for people: "on the plate (d3), its middle 31 mm inside the edge; nearest is the mug (d2), 62 mm away".
        limit: the limit with the smallest reserve.
        value_m: measured value for that limit, metres.
        least_m: least value that the limit allows, metres.
        nearest_id: the detection nearest to the footprint; None if none is within a metre, or if the nearest object was
            not detected.
        nearest_m: free distance to the nearest object, metres; None if there is none within a metre.
    """

    text: str
    limit: PlaceLimit
    value_m: float
    least_m: float
    nearest_id: str | None = None
    nearest_m: float | None = None


@dataclass(frozen=True)
class NoPlace:
    """Reason why there is no place, and what would have to change.

    Args:
        change: what would have to change, for people; if it names objects, removing them was tried and leaves a place.
        object_id: the detection that decides: it is in the way, closed, too small or has no such part; or None.
        needed_m: size that is needed, metres: a free circle ("occupied", "too small", …), or a height ("too tall").
        available_m: largest size that is available, metres.
        remove_ids: detections whose removal, each on its own, leaves a place; the likeliest first.
    """

    cause: NoPlaceCause
    reason: str
    change: str
    object_id: str | None = None
    needed_m: float | None = None
    available_m: float | None = None
    remove_ids: tuple[str, ...] = ()
