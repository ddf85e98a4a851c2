# SPDX-License-Identifier: Apache-2.0
"""Judge clauses about parts ("in the back compartment of the caddy"): which whole is meant, what is in its part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.part_words import COMPARTMENTS, CORNERS, DRAWERS, LEVELS, ROWS, TRAYS, WHOLES
from spatial_vlm_ros.printable import joined, printable
from spatial_vlm_ros.spatial.belief import FLOOR, ClauseBelief, PhraseBelief, clause_likelihood
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE, Asked
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.parts.choosing import SIZES
from spatial_vlm_ros.spatial.parts.finding import Found, has_by_nature, is_looked_for, is_of_several, noun_of
from spatial_vlm_ros.spatial.parts.region import Region, held
from spatial_vlm_ros.spatial.states import CLOSED, EMPTY, STATES
from spatial_vlm_ros.spatial.support_check import nested
from spatial_vlm_ros.types import FoundPart, NounPhrase, RelationClause, SpatialQuery

_HOLDS = frozenset({"on", "inside"})
_CONTENTS = frozenset({"containing", "supporting"})
_OF_PARTS = _CONTENTS | {"part of"}
_KNOWN = 0.5  # least belief in the words that distinguish a part
_TAKEN = 0.3  # probability that an object is in a part, from which it is not called empty


@dataclass(frozen=True, eq=False)
class PartClause:
    """A clause about a part without a detection."""

    phrase: NounPhrase
    owner: PhraseBelief
    found: Callable[[int], Found]  # row of a whole → the parts of it that the phrase may mean

    def inner(self) -> PhraseBelief:
        """Belief in the phrase: the wholes that have such a part."""
        if not (self.owner.fit > 0).any():
            return self.owner
        has = np.array([fit > 0 and self.found(row).exists for row, fit in enumerate(self.owner.fit)], np.float64)
        return PhraseBelief(self.phrase, self.owner.fit * has, self.owner.weight * has, self.owner.clauses)


def owner_of(
    clause: RelationClause, anchor: PhraseBelief, layout: Layout, least: float, found: Callable[[int], Found]
) -> PhraseBelief | None:
    """Belief in the whole of a part without a detection; None if the clause is not about such a part."""
    phrase = clause.anchors[0]
    noun = noun_of(phrase)
    if len(clause.anchors) != 1 or clause.relation not in _HOLDS or not is_looked_for(phrase):
        return None
    divides = noun in COMPARTMENTS | ROWS
    unknown = set(phrase.category.split(" ")[:-1]) - (WHOLES | CORNERS)
    told = STATES if noun in DRAWERS else {EMPTY} | SIZES if divides else {EMPTY}
    if not all(c.is_order or c.name in _OF_PARTS for c in anchor.clauses) or set(phrase.attributes) - told:
        return None  # nothing else is known about a part without a detection
    labels = [obj.detection.label for obj in layout.scene.objects]
    labelled = np.flatnonzero(anchor.fit >= least)
    labelled = np.array([row for row in labelled if not is_of_several(labels[row], noun)], np.intp)
    if (divides or (noun in DRAWERS | LEVELS and not len(labelled))) and unknown:
        return None  # an unknown word may tell one of them ("the sock drawer")
    named = next((c.inner[0] for c in anchor.clauses if c.name == "part of" and not c.negated), None)
    if named is not None:
        itself = len(labelled) == 1 and int(np.argmax(named.weight)) == labelled[0]
        wholes = np.flatnonzero(named.fit >= least).tolist()
        shown = noun not in LEVELS | TRAYS or any(found(row).exists for row in wholes)
        return named if (not len(labelled) or itself) and shown else None
    if noun in LEVELS | TRAYS and len(labelled) == 1:
        picked = phrase.superlative is not None or phrase.ordinal is not None
        several = layout.measured[labelled[0]] and found(int(labelled[0])).exists
        bare = dataclasses.replace(phrase, superlative=None, ordinal=None, also=None, frame=None)
        return PhraseBelief(bare, anchor.fit, anchor.fit, ()) if picked and several else None
    if len(labelled):
        return None
    fit = np.array([has_by_nature(label, noun) for label in labels], np.float64) * layout.measured
    if noun in DRAWERS and CLOSED not in phrase.attributes:  # "the drawer" is the one that is open, if there is one
        opened = np.array([has > 0 and bool(found(row).parts) for row, has in enumerate(fit)], np.float64)
        fit = fit * opened if opened.any() else fit
    return PhraseBelief(dataclasses.replace(phrase, relations=()), fit, fit, ()) if fit.any() else None


def with_contents(found: Found, phrase: NounPhrase, anchor: PhraseBelief, layout: Layout, holds: float) -> Found:
    """Keep the parts with the stated contents ("the compartment with the fork", "the empty one")."""
    parts = found.parts
    for clause in anchor.clauses:
        if clause.name in _CONTENTS:
            weight = clause.inner[0].weight
            if weight.max(initial=0.0) < _KNOWN:
                return Found(exists=False, reason="has no part that can be identified in this way")
            row = np.array([int(np.argmax(weight))])
            parts = tuple(p for p in parts if (_in(layout, p, row, holds)[0] != clause.negated))
    if CLOSED in phrase.attributes:  # only an open drawer is found
        return dataclasses.replace(found, parts=(), reason="is closed there")
    if EMPTY in phrase.attributes:
        parts = tuple(
            p for p in parts
            if not _in(layout, p, np.flatnonzero(layout.mean_side < layout.mean_side[p.row]), _TAKEN).any()
        )  # fmt: skip
    if parts == found.parts:
        return found
    return dataclasses.replace(
        found, parts=parts, reason=found.reason or "has no part that can be identified in this way"
    )


def _in(layout: Layout, region: Region, rows: np.ndarray, holds: float) -> npt.NDArray[np.bool_]:
    """(R,) bool: True for objects that stand or lie in a region."""
    return np.asarray(clause_likelihood(*held(layout, region, rows)) >= holds)


def by_part(asked: Asked, part: PartClause) -> ClauseBelief:
    """Judge a clause about a part: the likeliest part of the likeliest whole."""
    out = asked.blank(1)
    inner = part.inner()
    for row in np.flatnonzero(inner.weight > NEGLIGIBLE).tolist():
        targets = asked.targets[asked.targets != row]
        for region in part.found(row).parts:
            margin, sigma = held(asked.layout, region, targets)
            margin, likelihood = asked.judged(margin, sigma)
            joint = likelihood * inner.weight[row]
            better = (joint > out.chance[targets]) | (out.anchors[targets, 0] < 0)
            rows = targets[better]
            out.runner_up[rows] = out.chance[rows]
            out.margin[rows], out.likelihood[rows] = margin[better], likelihood[better]
            out.chance[rows], out.anchors[rows, 0] = np.maximum(joint[better], FLOOR), row
    objects = asked.layout.scene.objects
    without = [row for row in np.flatnonzero(part.owner.fit > 0).tolist() if not part.found(row).parts]
    names = [printable(f"the {objects[row].detection.label} ({objects[row].id})") for row in without]
    why = joined([f"{name} {part.found(row).reason}" for name, row in zip(names, without, strict=True)])
    return dataclasses.replace(out.belief(asked), inner=(inner,), part=part.phrase, why=why)


# --------------------------------------------------------------------------------------------------
# The parts that an answer is based on, for people and for programs that draw them.


def told(
    parts: Mapping[tuple[NounPhrase, int], tuple[Region, ...]], query: SpatialQuery, layout: Layout
) -> tuple[FoundPart, ...]:
    """The parts that a query names, for every object that may be their whole, as `parts` finds them."""
    phrases = (query.target, *(() if query.destination is None else query.destination.anchors))
    said = dict.fromkeys(inner for phrase in phrases for inner in nested(phrase))
    transform = layout.scene.frame.base_T_camera
    frame_id = transform.parent if transform is not None else layout.scene.frame.frame_id
    found = []
    for phrase in said:
        for region in (region for (named, _), regions in parts.items() if named == phrase for region in regions):
            height = region.low if np.isfinite(region.low) else float(layout.top[region.row])
            heights = np.full(len(region.outline), height - layout.floor)
            corners = np.column_stack((region.outline, heights)) @ layout.axes.T
            if transform is not None:
                corners = transform.apply(corners)
            outline = tuple((round(x, 6) + 0.0, round(y, 6) + 0.0, round(z, 6) + 0.0) for x, y, z in corners.tolist())
            whole_id = layout.scene.objects[region.row].id
            found.append(FoundPart(describe(phrase), whole_id, region.found_by, frame_id, outline))
    return tuple(found)
