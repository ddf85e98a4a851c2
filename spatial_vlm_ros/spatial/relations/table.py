# SPDX-License-Identifier: Apache-2.0
"""The table of relations: how each is measured, and how it takes its anchors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import PlugInError, SpatialVlmError
from spatial_vlm_ros.language import plugged
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.language.vocabulary import REPAIR, Extended
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations import (
    contact,
    directions,
    distances,
    parts,
)
from spatial_vlm_ros.spatial.relations.pairs import Indices, Measure, Measured, Pairs
from spatial_vlm_ros.types import Distance, Relation

MeasureTwo = Callable[[Layout, Viewpoint, Indices, Indices, Indices], Measured]
MeasureSet = Callable[[Layout, Indices, Indices], Measured]

_UPRIGHT = frozenset(
    (
        *("on", "above", "below", "under", "higher than", "lower than", "inside", "out of", "containing", "supporting"),
        *("at the top of", "in the middle of the height of", "at the bottom of"),
    )
)
"""Relations that mean nothing if it is not known which way is up."""

_BLOCK = 65_536  # pairs of target and anchor measured at once: their arrays stay in the processor's cache


COMPARATIVES = {
    "taller than": "tallest",
    "shorter than": "shortest",
    "larger than": "largest",
    "smaller than": "smallest",
    "longer than": "longest",
    "wider than": "widest",
    "narrower than": "narrowest",
    "thicker than": "thickest",
    "thinner than": "thinnest",
    "closer than": "nearest",
    "farther than": "farthest",
}
"""Comparative → the superlative with the same direction."""


def compared(superlative: str) -> Measure:
    """Make the comparative relation of a superlative: "taller than" from "tallest"."""

    def measure(pairs: Pairs) -> Measured:
        key = superlatives.key_of(superlative, pairs.layout, pairs.view)  # smallest first
        margin = -pairs.difference(key.value, key.value)
        return margin, np.hypot(key.sigma[pairs.targets, None], key.sigma[pairs.anchors])

    return measure


def of_pairs(relation: Relation, source: str) -> Measure:
    """Wrap a package's measure for single anchors; its failures become a `PlugInError`."""

    def measure(pairs: Pairs) -> Measured:
        return _checked(relation, source, (len(pairs.targets), len(pairs.anchors)), pairs)

    return measure


def of_two(relation: Relation, source: str) -> Callable[[Layout, Viewpoint, Indices, Indices, Indices], Measured]:
    """Wrap a package's measure for two anchors together; its failures become a `PlugInError`."""

    def measure(layout: Layout, view: Viewpoint, targets: Indices, first: Indices, second: Indices) -> Measured:
        shape = (len(targets), len(first), len(second))
        return _checked(relation, source, shape, layout, view, targets, first, second)

    return measure


def _checked(relation: Relation, source: str, shape: tuple[int, ...], *asked: object) -> Measured:
    """The result of a measure, checked to be two meaningful arrays of the right shape."""
    try:
        margin, sigma = (np.asarray(each, np.float64) for each in relation.measure(*asked))
    except SpatialVlmError:
        raise
    except Exception as error:
        reason = f"its measure failed: {type(error).__name__}: {error}"
        raise PlugInError(relation.name, source, reason, REPAIR) from error
    measured = ~np.isnan(margin)
    if margin.shape != shape or sigma.shape != shape:
        reason = f"it gave arrays of shape {margin.shape} and {sigma.shape}, not {shape}"
    elif not np.isfinite(margin[measured]).all():
        reason = "it gave a margin that is infinite"
    elif not (np.isfinite(sigma[measured]).all() and (sigma[measured] >= 0).all()):
        reason = "it gave a standard deviation that is negative or not a number"
    else:
        return margin, sigma
    raise PlugInError(relation.name, source, reason, REPAIR)


@dataclass(frozen=True, eq=False)
class RelationMeasure:
    """One relation; a call with pairs gives (T, A) margins in metres and their standard deviations."""

    name: str
    several: Literal["all", "any", "one", "two", "set"]
    pairwise: Measure | None = None  # measure with one anchor; None if it takes more
    two: MeasureTwo | None = None  # measure with two anchors together: (T, A, B)
    group: MeasureSet | None = None  # measure with a set of anchors: (T,)
    framed: bool = False  # True if it depends on the frame of reference
    # (T, A) gap between outlines that a stated distance is compared with, metres; None if no distance may be stated
    gap: Callable[[Pairs], Array] | None = None
    only_stated: bool = False  # True if it only expresses its stated distance
    # for another package's relation: True if it can be a destination (`spot_judging.placeable`)
    placeable: bool = False

    @property
    def metric(self) -> bool:
        """True if a distance may be stated with it."""
        return self.gap is not None

    @property
    def most_anchors(self) -> int:
        """Largest number of separately described anchors."""
        return 1 if self.two is None else 2

    def __call__(self, pairs: Pairs, distance: Distance | None = None) -> Measured:
        """(T, A) margins in metres, positive = holds, NaN = not measured, and their standard deviations."""
        if self.pairwise is None or (distance is not None and self.gap is None):
            raise ValueError(f"'{self.name}' is not measured with {'one anchor' if distance is None else 'a distance'}")
        if self.name in _UPRIGHT:
            pairs.layout.require_up(self.name)
        rows = max(1, _BLOCK // max(len(pairs.anchors), 1))
        if len(pairs.targets) > rows:
            parts_of = (pairs.targets[first : first + rows] for first in range(0, len(pairs.targets), rows))
            blocks = [self(Pairs(pairs.layout, pairs.view, some, pairs.anchors), distance) for some in parts_of]
            return np.concatenate([margin for margin, _ in blocks]), np.concatenate([sigma for _, sigma in blocks])
        if distance is None or self.gap is None:
            return self.pairwise(pairs)
        stated = distances.stated(self.gap(pairs), distance, pairs.layout.relation)
        if self.only_stated:
            return stated, pairs.noise
        margin, sigma = self.pairwise(pairs)
        return np.minimum(margin, stated), np.where(stated < margin, pairs.noise, sigma)


def _all(name: str, measure: Measure, *, framed: bool = False, gap: Callable[[Pairs], Array] | None = None,
         only_stated: bool = False) -> RelationMeasure:  # fmt: skip
    return RelationMeasure(name, "all", measure, framed=framed, gap=gap, only_stated=only_stated)


def _any(
    name: str, measure: Measure, *, framed: bool = False, gap: Callable[[Pairs], Array] | None = None
) -> RelationMeasure:
    return RelationMeasure(name, "any", measure, framed=framed, gap=gap)


def _one(name: str, measure: Measure, *, framed: bool = False, two: MeasureTwo | None = None) -> RelationMeasure:
    return RelationMeasure(name, "one", measure, framed=framed, two=two)


_TABLE = (
    _all("left of", directions.left_of, framed=True, gap=directions.left_gap),
    _all("right of", directions.right_of, framed=True, gap=directions.right_gap),
    _all("in front of", directions.in_front_of, framed=True, gap=directions.front_gap),
    _all("behind", directions.behind, framed=True, gap=directions.behind_gap),
    _one("on the other side of", directions.on_the_other_side, framed=True, two=directions.on_the_other_side_from),
    _one("opposite", directions.opposite),
    _any("on", contact.on),
    _all("above", contact.above, gap=contact.above_gap),
    _all("below", contact.below, gap=contact.below_gap),
    _all("under", contact.under, gap=contact.below_gap),
    _all("higher than", contact.higher_than),
    _all("lower than", contact.lower_than),
    _any("inside", contact.inside),
    _any("out of", contact.out_of),
    _any("containing", contact.containing),
    _any("supporting", contact.supporting),
    _any("touching", contact.touching),
    _any("against", contact.against),
    _any("next to", distances.next_to, gap=distances.space_between),
    _any("near", distances.near, gap=distances.space_between),
    _all("far from", distances.far_from),
    _all("at a distance from", distances.at_a_distance, gap=distances.space_between, only_stated=True),
    _any("around", distances.around),
    RelationMeasure("between", "two", two=lambda layout, _, targets, *pair: distances.between(layout, targets, *pair)),
    RelationMeasure("among", "set", group=distances.among),
    _any("at the edge of", parts.at_the_edge),
    _any("at the corner of", parts.at_the_corner),
    _any("at the centre of", parts.at_the_centre),
    _any("at the left side of", parts.at_the_left_side, framed=True),
    _any("at the right side of", parts.at_the_right_side, framed=True),
    _any("at the front of", parts.at_the_front, framed=True),
    _any("at the back of", parts.at_the_back, framed=True),
    _any("at the end of", parts.at_the_end),
    _any("at the top of", parts.at_the_top),
    _any("in the middle of the height of", parts.in_the_middle_of_the_height),
    _any("at the bottom of", parts.at_the_bottom),
    _any("part of", parts.part_of),
    _one("facing", directions.facing),
    _one("facing away from", directions.facing_away_from),
    *(
        _all(name, compared(superlative), framed=superlative in FRAMED_SUPERLATIVES)
        for name, superlative in COMPARATIVES.items()
    ),
)


@lru_cache(maxsize=1)
def _of_packages() -> Mapping[str, RelationMeasure]:
    found: dict[str, RelationMeasure] = {}
    for name, (relation, source) in plugged().relations.items():
        if relation.anchors == 2:
            measured = RelationMeasure(name, "two", two=of_two(relation, source))
        else:
            measured = RelationMeasure(name, relation.several, of_pairs(relation, source))
        found[name] = replace(measured, framed=relation.framed, placeable=relation.placeable)
    return found


RELATIONS: Mapping[str, RelationMeasure] = Extended({relation.name: relation for relation in _TABLE}, _of_packages)
"""All measured relations by canonical name, including those of installed packages. "Closest to", "farthest from" and
"other than" are not included: they compare or exclude."""


def measure_two(
    name: str, layout: Layout, view: Viewpoint, targets: Indices, first: Indices, second: Indices
) -> Measured:
    """(T, A, B) margins and standard deviations, metres, of a relation to two anchors together."""
    two = RELATIONS[name].two
    if two is None:
        raise ValueError(f"'{name}' does not take two anchors")
    return two(layout, view, targets, first, second)


def measure_set(name: str, layout: Layout, targets: Indices, members: Indices) -> Measured:
    """(T,) margins and standard deviations, metres, of a relation to a set of anchors."""
    group = RELATIONS[name].group
    if group is None:
        raise ValueError(f"'{name}' does not take a set of anchors")
    return group(layout, targets, members)
