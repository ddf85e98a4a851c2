# SPDX-License-Identifier: Apache-2.0
"""Find where an object would have a relation to given anchors, by moving it and judging it with the usual functions.

For images of answers only; no decision uses it. A moved object keeps its outline, its heights and its uncertainty.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.relations import RELATIONS, Indices
from spatial_vlm_ros.spatial.spot_judging import AskedRelation, measured

_ALIKE = 0.002  # metres between margins of an object and of its imagined copy at the same place
_NOT_OF_OBJECTS = frozenset({"axes"})  # fields of Layout without a row for each object


def measured_at(layout: Layout, row: int, asked: AskedRelation) -> tuple[float, float]:
    """Margin and standard deviation, metres, of the object in a row at its own position; NaN if it is not measured."""
    margin, sigma = _measured(layout, np.array([row], np.intp), asked)
    return float(margin[0]), float(sigma[0])


def measured_over(
    layout: Layout, row: int, asked: AskedRelation, places: Array, bottom: float | None = None
) -> tuple[Array, Array]:
    """(T,) margins and standard deviations, metres, with the object of a row at places (T, 2); NaN = not measured.

    The copies are imagined objects as in the search for places, which is fast. If an imagined copy at the object's own
    place is judged differently from the object, complete copies are used instead. Places are ground coordinates of its
    middle; without a height for its underside there, it keeps its own. The object is never an anchor of its copies.
    """
    own = layout.centre[row : row + 1, :2]
    imagined = _measured(_with_copies(layout, row, own, None), _last(layout, 1), asked)[0][0]
    whole = bool(abs(imagined - measured_at(layout, row, asked)[0]) > _ALIKE)
    return _measured(_with_copies(layout, row, places, bottom, whole), _last(layout, len(places)), asked)


def _measured(layout: Layout, targets: Indices, asked: AskedRelation) -> tuple[Array, Array]:
    """(T,) margins and standard deviations, metres; for several anchors those of the deciding one."""
    if len(asked.anchors) > 2 and RELATIONS[asked.name].several == "two":
        asked = dataclasses.replace(asked, name="among")
    margins, sigmas = measured(layout, asked, targets, np.array(asked.anchors, np.intp))
    margins = -margins if asked.negated else margins
    certain = np.nan_to_num(margins / np.maximum(sigmas, 1e-6))
    several = RELATIONS[asked.name].several
    best = (np.argmax if several == "any" and not asked.negated else np.argmin)(certain, axis=1)
    rows = np.arange(len(targets))
    return margins[rows, best], sigmas[rows, best]


def _last(layout: Layout, count: int) -> Indices:
    return np.arange(len(layout), len(layout) + count, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class _Copied(Layout):
    """A scene with copies of an object as its last rows, which have no `scene.objects` of their own."""

    rows: Indices  # (N,) row of the original of each
    original: Layout

    @cached_property
    def size(self) -> Array:
        """(N, 3) box sizes."""
        return self.original.size[self.rows]

    @cached_property
    def long_side(self) -> Array:
        """(N, 2) direction of the longer side."""
        return self.original.long_side[self.rows]

    @cached_property
    def front(self) -> Array:
        """(N, 2) direction of the front."""
        return self.original.front[self.rows]

    @cached_property
    def middle(self) -> Array:
        """(2,) middle of the real objects, metres."""
        return self.original.middle


def _with_copies(layout: Layout, row: int, places: Array, bottom: float | None, whole: bool = False) -> Layout:
    """The scene with copies of an object at all places as its last rows; `whole` ones also have `scene.objects`."""
    count = len(places)
    rows = np.concatenate((np.arange(len(layout)), np.full(count, row)))
    values = {f.name: getattr(layout, f.name) for f in dataclasses.fields(Layout)}
    arrays = {
        name: value[rows]
        for name, value in values.items()
        if isinstance(value, np.ndarray) and name not in _NOT_OF_OBJECTS
    }
    rise = 0.0 if bottom is None else bottom - float(layout.bottom[row])
    shift = places - layout.centre[row, :2]
    for name in ("centre", "surface"):
        arrays[name][-count:, :2] += shift
        arrays[name][-count:, 2] += rise
    arrays["footprint"][-count:] += shift[:, None]
    arrays["bottom"][-count:] += rise
    arrays["top"][-count:] += rise
    if not whole:
        return _Copied(**{**values, **arrays}, rows=rows, original=layout)
    objects = (*layout.scene.objects, *(layout.scene.objects[row],) * count)
    return dataclasses.replace(layout, scene=dataclasses.replace(layout.scene, objects=objects), **arrays)
