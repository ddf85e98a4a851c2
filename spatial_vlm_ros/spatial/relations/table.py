# SPDX-License-Identifier: Apache-2.0
"""The table of relations: how each is measured, and how it takes its anchors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import PlugInError, SpatialVlmError
from spatial_vlm_ros.language import plugged
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.language.vocabulary import REPAIR, Extended
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations import contact, directions, distances, parts
from spatial_vlm_ros.spatial.relations.directions import ahead_of, beside, gap_before, gap_beyond, rightwards
from spatial_vlm_ros.spatial.relations.pairs import Indices, Measure, Measured, Pairs
from spatial_vlm_ros.spatial.relations.parts import outer_third, third_of_the_height
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


def compared(superlative: str, pairs: Pairs) -> Measured:
    """Measure the comparative relation of a superlative: "taller than" by "tallest"."""
    key = superlatives.key_of(superlative, pairs.layout, pairs.view)  # smallest first
    margin = -pairs.difference(key.value, key.value)
    return margin, np.hypot(key.sigma[pairs.targets, None], key.sigma[pairs.anchors])


def of_pairs(relation: Relation, source: str, pairs: Pairs) -> Measured:
    """Measure single anchors by a package; its failures become a `PlugInError`."""
    return _checked(relation, source, (len(pairs.targets), len(pairs.anchors)), pairs)


def of_two(
    relation: Relation, source: str, layout: Layout, view: Viewpoint, targets: Indices, first: Indices, second: Indices
) -> Measured:
    """Measure two anchors together by a package; its failures become a `PlugInError`."""
    shape = (len(targets), len(first), len(second))
    return _checked(relation, source, shape, layout, view, targets, first, second)


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


_SPACE = attrgetter("space")  # the gap between two objects in any direction
_TABLE = (
    RelationMeasure("left of", "all", partial(beside, -1.0), framed=True, gap=partial(gap_before, rightwards)),
    RelationMeasure("right of", "all", partial(beside, 1.0), framed=True, gap=partial(gap_beyond, rightwards)),
    RelationMeasure("in front of", "all", directions.in_front_of, framed=True, gap=partial(gap_before, ahead_of)),
    RelationMeasure("behind", "all", directions.behind, framed=True, gap=partial(gap_beyond, ahead_of)),
    RelationMeasure(
        "on the other side of", "one", directions.behind, framed=True, two=directions.on_the_other_side_from
    ),
    RelationMeasure("opposite", "one", directions.opposite),
    RelationMeasure("on", "any", contact.on),
    RelationMeasure("above", "all", contact.above, gap=contact.above_gap),
    RelationMeasure("below", "all", contact.below, gap=contact.below_gap),
    RelationMeasure("under", "all", contact.under, gap=contact.below_gap),
    RelationMeasure("higher than", "all", contact.higher_than),
    RelationMeasure("lower than", "all", contact.lower_than),
    RelationMeasure("inside", "any", contact.inside),
    RelationMeasure("out of", "any", contact.out_of),
    RelationMeasure("containing", "any", contact.containing),
    RelationMeasure("supporting", "any", contact.supporting),
    RelationMeasure("touching", "any", contact.touching),
    RelationMeasure("against", "any", contact.against),
    RelationMeasure("next to", "any", distances.next_to, gap=_SPACE),
    RelationMeasure("near", "any", distances.near, gap=_SPACE),
    RelationMeasure("far from", "all", distances.far_from),
    RelationMeasure("at a distance from", "all", distances.at_a_distance, gap=_SPACE, only_stated=True),
    RelationMeasure("around", "any", distances.around),
    RelationMeasure("between", "two", two=lambda layout, _, targets, *pair: distances.between(layout, targets, *pair)),
    RelationMeasure("among", "set", group=distances.among),
    RelationMeasure("at the edge of", "any", parts.at_the_edge),
    RelationMeasure("at the corner of", "any", parts.at_the_corner),
    RelationMeasure("at the centre of", "any", parts.at_the_centre),
    RelationMeasure("at the left side of", "any", partial(outer_third, rightwards, -1.0), framed=True),
    RelationMeasure("at the right side of", "any", partial(outer_third, rightwards, 1.0), framed=True),
    RelationMeasure("at the front of", "any", partial(outer_third, ahead_of, -1.0), framed=True),
    RelationMeasure("at the back of", "any", partial(outer_third, ahead_of, 1.0), framed=True),
    RelationMeasure("at the end of", "any", parts.at_the_end),
    RelationMeasure("at the top of", "any", partial(third_of_the_height, 1.0)),
    RelationMeasure("in the middle of the height of", "any", partial(third_of_the_height, 0.0)),
    RelationMeasure("at the bottom of", "any", partial(third_of_the_height, -1.0)),
    RelationMeasure("part of", "any", parts.part_of),
    RelationMeasure("facing", "one", partial(directions.facing, 1.0)),
    RelationMeasure("facing away from", "one", partial(directions.facing, -1.0)),
    *(
        RelationMeasure(name, "all", partial(compared, superlative), framed=superlative in FRAMED_SUPERLATIVES)
        for name, superlative in COMPARATIVES.items()
    ),
)


@lru_cache(maxsize=1)
def _of_packages() -> Mapping[str, RelationMeasure]:
    found: dict[str, RelationMeasure] = {}
    for name, (relation, source) in plugged().relations.items():
        if relation.anchors == 2:
            measured = RelationMeasure(name, "two", two=partial(of_two, relation, source))
        else:
            measured = RelationMeasure(name, relation.several, partial(of_pairs, relation, source))
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
