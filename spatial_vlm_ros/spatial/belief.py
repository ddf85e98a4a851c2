# SPDX-License-Identifier: Apache-2.0
"""How far each object is what a phrase describes: name, attributes, clauses over jointly chosen anchors, and order.

The anchors of a phrase form a tree, so the best joint choice of target and anchors is found exactly by working from
the innermost phrase outwards: each anchor's weight enters the clause of the phrase that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import ResolverConfig
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.spatial import order
from spatial_vlm_ros.spatial.attributes import UNKNOWN, attribute_likelihood
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.likelihood import FLOOR, clause_likelihood
from spatial_vlm_ros.spatial.relations import RELATIONS, Indices, Pairs, between
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause, SpatialQuery

SUPPORT_ID = "support"
"""Stands for the support plane where a clause names it ("the cup on the table") and no detection does."""

SUPPORT_NOUNS = frozenset(
    (
        *("table", "tabletop", "desk", "desktop", "counter", "countertop", "worktop", "bench", "workbench"),
        *("floor", "ground", "surface", "bin"),
    )
)
LOWEST_NOUNS = frozenset({"floor", "ground"})
_CLEARLY_LOWER = 0.15  # metres below the support plane from which something else is the floor
_LOWER_SHARE = 0.03  # part of the picture that shows it
COMPARED = {"closest to": True, "farthest from": False}
"""Relations that compare the set that the other words leave → whether the nearest one is meant."""
FRAME_RELATIONS = frozenset({"left of", "right of", "in front of", "behind"})
_NEGLIGIBLE = 0.02  # weight below which an object is not tried as target or anchor
_PAIRS = 20_000  # pairs of target and anchor measured at once
_MOST_ANCHORS = 12  # anchors of each kind tried for "between"


@dataclass(frozen=True, eq=False)
class ClauseBelief:
    """One clause (or superlative, or ordinal) of a phrase, for every object as its subject.

    Args:
        name: canonical relation, superlative, or ordinal in words.
        negated: it was said that it does not hold; margin and likelihood are those of the negation.
        margin: (N,) metres, NaN where not measured.
        likelihood: (N,) probability, from the measurement alone, that it holds for the best anchors.
        chance: (N,) the same times the belief that those are the anchors meant.
        anchors: (N, k) rows of the best anchors; empty for orders and the support plane.
        inner: beliefs in the anchors' own phrases.
        on_support: the anchor is the support plane.
        is_order: a superlative, an ordinal or "closest to": it compares, where a relation can be false of all.
    """

    name: str
    negated: bool
    margin: Array
    likelihood: Array
    chance: Array
    anchors: npt.NDArray[np.intp]
    inner: tuple[PhraseBelief, ...] = ()
    on_support: bool = False
    is_order: bool = False


@dataclass(frozen=True, eq=False)
class PhraseBelief:
    """Belief in a phrase.

    Args:
        phrase: the phrase.
        fit: (N,) how well name and attributes fit, scores and what nobody can tell left out.
        weight: (N,) the same with all clauses and orders.
        clauses: one for each clause, then superlative or ordinal.
    """

    phrase: NounPhrase
    fit: Array
    weight: Array
    clauses: tuple[ClauseBelief, ...]


@dataclass(eq=False)
class Believer:
    """Evaluates phrases on one scene.

    Args:
        layout: the scene.
        config: limits and deviations.
        match: (phrase) → (N,) probability that each object is what the phrase's category names.
        score: (N,) what each object's detector score counts for.
        default_frame: used where the words state none.
    """

    layout: Layout
    config: ResolverConfig
    match: Callable[[NounPhrase], Array]
    score: Array
    default_frame: FrameOfReference
    frames_used: list[FrameOfReference] = field(default_factory=list)
    _views: dict[FrameOfReference, Viewpoint] = field(default_factory=dict)
    _known: dict[NounPhrase, PhraseBelief] = field(default_factory=dict)

    def believe(self, phrase: NounPhrase) -> PhraseBelief:
        """Belief in a phrase and in all phrases inside it.

        Raises:
            FrameUndefinedError: a clause needs a frame of reference that this scene does not define.
        """
        if phrase not in self._known:
            self._known[phrase] = self._believe(phrase)
        return self._known[phrase]

    def _believe(self, phrase: NounPhrase) -> PhraseBelief:
        fit, weight = self._fit(phrase)
        clauses = []
        for clause in phrase.relations:
            if clause.relation not in COMPARED:
                belief = self._clause(clause, np.flatnonzero(fit > _NEGLIGIBLE))
                weight = weight * belief.chance
                clauses.append(belief)
        for clause in phrase.relations:
            if clause.relation in COMPARED:
                belief = self._compared(clause, weight)
                weight = weight * belief.chance
                clauses.append(belief)
        ordered = self._order(phrase, weight)
        if ordered is not None:
            weight = weight * ordered.chance
            clauses.append(ordered)
        return PhraseBelief(phrase, fit, weight, tuple(clauses))

    def _fit(self, phrase: NounPhrase) -> tuple[Array, Array]:
        """(N,) fit of name and attributes, and the same with detector scores and undecided attributes."""
        fit = self.match(phrase)
        weight = fit * self.score
        members = fit >= self.config.decision.found
        view = self._view(FrameOfReference.VIEWER)
        for word in phrase.attributes:
            likelihood = attribute_likelihood(word, self.layout, view, members)
            fit = fit * np.where(likelihood == UNKNOWN, 1.0, likelihood)
            weight = weight * likelihood
        return fit, weight

    def _view(self, frame: FrameOfReference) -> Viewpoint:
        if frame not in self._views:
            self._views[frame] = self.layout.viewpoint(frame)
        return self._views[frame]

    def _frame_for(self, stated: FrameOfReference | None, depends: bool) -> Viewpoint:
        """The words' own frame, else the request's or configured one; noted where the answer depends on it."""
        if not depends:
            return self._view(FrameOfReference.VIEWER)
        frame = stated or self.default_frame
        if frame not in self.frames_used:
            self.frames_used.append(frame)
        return self._view(frame)

    # -------------------------------------------------------------------------------------------- clauses

    def _clause(self, clause: RelationClause, targets: Indices) -> ClauseBelief:
        anchors = tuple(self.believe(anchor) for anchor in clause.anchors)
        if clause.relation == "between":
            return self._between(clause, anchors, targets)
        anchor = anchors[0]
        if self._is_support(clause, anchor):
            return self._on_support(clause, targets)
        n = len(self.layout)
        rows = np.flatnonzero(anchor.weight > _NEGLIGIBLE)
        view = self._frame_for(clause.frame, clause.relation in FRAME_RELATIONS)
        best = np.full((n, 1), -1, np.intp)
        margin, likelihood, chance = np.full(n, np.nan), np.full(n, FLOOR), np.full(n, FLOOR)
        for some in _blocks(targets, len(rows)):
            margins, sigma = RELATIONS[clause.relation](Pairs(self.layout, view, some, rows))
            margins = -margins if clause.negated else margins
            holds = clause_likelihood(margins, sigma)
            joint = holds * anchor.weight[None, rows]
            joint[some[:, None] == rows[None, :]] = 0.0  # nothing stands in a relation to itself
            pick = (np.arange(len(some)), joint.argmax(axis=1))
            margin[some] = np.where(joint[pick] > 0, margins[pick], np.nan)
            likelihood[some] = np.where(joint[pick] > 0, holds[pick], FLOOR)
            chance[some] = np.maximum(joint[pick], FLOOR)
            best[some, 0] = np.where(joint[pick] > 0, rows[pick[1]], -1)
        return ClauseBelief(clause.relation, clause.negated, margin, likelihood, chance, best, anchors)

    def _between(self, clause: RelationClause, anchors: tuple[PhraseBelief, ...], targets: Indices) -> ClauseBelief:
        n = len(self.layout)
        best = np.full((n, 2), -1, np.intp)
        margin, likelihood, chance = np.full(n, np.nan), np.full(n, FLOOR), np.full(n, FLOOR)
        a, b = (_likeliest(belief.weight) for belief in (anchors[0], anchors[-1]))
        if len(a) and len(b) and len(targets):
            margins, sigma = between(self.layout, targets, a, b)
            margins = -margins if clause.negated else margins
            holds = clause_likelihood(margins, sigma)
            joint = holds * anchors[0].weight[None, a, None] * anchors[-1].weight[None, None, b]
            t = targets[:, None, None]
            joint[(t == a[None, :, None]) | (t == b[None, None, :]) | (a[None, :, None] == b[None, None, :])] = 0.0
            flat = joint.reshape(len(targets), -1)
            pick = (np.arange(len(targets)), flat.argmax(axis=1))
            found = flat[pick] > 0
            margin[targets] = np.where(found, margins.reshape(len(targets), -1)[pick], np.nan)
            likelihood[targets] = np.where(found, holds.reshape(len(targets), -1)[pick], FLOOR)
            chance[targets] = np.maximum(flat[pick], FLOOR)
            pair = np.stack((a[pick[1] // len(b)], b[pick[1] % len(b)]), axis=1)
            best[targets] = np.where(found[:, None], pair, -1)
        return ClauseBelief(clause.relation, clause.negated, margin, likelihood, chance, best, anchors)

    def _is_support(self, clause: RelationClause, anchor: PhraseBelief) -> bool:
        return (
            clause.relation == "on"
            and self.layout.scene.support is not None
            and is_support_phrase(anchor.phrase)
            and not (anchor.phrase.category in LOWEST_NOUNS and self._shows_lower_ground())
            and not (anchor.fit >= self.config.decision.found).any()
        )

    def _shows_lower_ground(self) -> bool:
        """Whether the picture shows a surface well below the support plane: then that one is the floor."""
        scene = self.layout.scene
        if scene.support is None:
            return False
        depth, K = scene.frame.depth[::8, ::8], scene.frame.camera.K
        v, u = np.nonzero(np.isfinite(depth))
        z = depth[v, u].astype(np.float64)
        points = np.column_stack(((8 * u - K[0, 2]) / K[0, 0] * z, (8 * v - K[1, 2]) / K[1, 1] * z, z))
        return bool(np.count_nonzero(scene.support.height(points) < -_CLEARLY_LOWER) > _LOWER_SHARE * depth.size)

    def _on_support(self, clause: RelationClause, targets: Indices) -> ClauseBelief:
        """Resting on the support plane: the lowest point at its height."""
        n = len(self.layout)
        margin = np.full(n, np.nan)
        noise = 2.0 * self.layout.sigma[targets]
        margin[targets] = self.config.relation.contact + noise - np.abs(self.layout.bottom[targets])
        # What lies in or on another thing is not on the surface itself, however thin the other thing is.
        view = self._view(FrameOfReference.VIEWER)
        carriers = np.flatnonzero(self.layout.measured)
        for some in _blocks(targets, len(carriers)):
            pairs = Pairs(self.layout, view, some, carriers)
            carried = np.maximum(RELATIONS["inside"](pairs)[0], RELATIONS["on"](pairs)[0])
            carried[some[:, None] == carriers[None, :]] = -np.inf
            margin[some] = np.minimum(margin[some], -carried.max(axis=1, initial=-np.inf))
        if clause.negated:
            margin = -margin
        likelihood = np.full(n, FLOOR)
        likelihood[targets] = clause_likelihood(margin[targets], noise / 2 + 0.005)
        nobody = np.empty((n, 0), np.intp)
        return ClauseBelief(clause.relation, clause.negated, margin, likelihood, likelihood, nobody, on_support=True)

    # -------------------------------------------------------------------------------------------- order

    def _order(self, phrase: NounPhrase, member: Array) -> ClauseBelief | None:
        """The superlative or ordinal, over the set that the other words leave."""
        if phrase.ordinal is not None:
            word, n = order.ORDINAL_SIDES[phrase.ordinal.from_], phrase.ordinal.n
            name = f"number {n} from the {phrase.ordinal.from_}"
        elif phrase.superlative is not None:
            word, n, name = phrase.superlative, 1, phrase.superlative
        else:
            return None
        view = self._frame_for(phrase.frame, word in order.FRAME_DEPENDENT)
        if word == order.MIDDLE:
            likelihood, margin = order.in_the_middle(order.key_of("leftmost", self.layout, view), member)
        else:
            likelihood, margin = order.place_in_order(order.key_of(word, self.layout, view), member, n)
        likelihood = np.maximum(likelihood, FLOOR)
        nobody = np.empty((len(member), 0), np.intp)
        return ClauseBelief(name, False, margin, likelihood, likelihood, nobody, is_order=True)

    def _compared(self, clause: RelationClause, member: Array) -> ClauseBelief:
        """Closest to, or farthest from, the likeliest anchor, among those that the other words leave."""
        anchor = self.believe(clause.anchors[0])
        if not len(member):
            nobody = np.empty((0, 1), np.intp)
            return ClauseBelief(clause.relation, False, member, member, member, nobody, (anchor,), is_order=True)
        row = int(np.argmax(anchor.weight))
        distance = np.linalg.norm(self.layout.centre - self.layout.centre[row], axis=1)
        sigma = np.hypot(self.layout.sigma, self.config.relation.size_blur * self.layout.reach)
        key = order.Key(distance if COMPARED[clause.relation] else -distance, sigma)
        others = np.where(np.arange(len(member)) == row, 0.0, member)
        likelihood, margin = order.place_in_order(key, others, 1)
        likelihood = np.where(np.arange(len(member)) == row, FLOOR, np.maximum(likelihood, FLOOR))
        best = np.full((len(member), 1), row, np.intp)
        chance = np.maximum(likelihood * anchor.weight[row], FLOOR)
        return ClauseBelief(clause.relation, False, margin, likelihood, chance, best, (anchor,), is_order=True)


def _blocks(targets: Indices, anchors: int) -> list[Indices]:
    """The targets, a few at a time, so that what is measured of their pairs stays in the processor's cache."""
    if not anchors:
        return []
    size = max(1, _PAIRS // anchors)
    return [targets[first : first + size] for first in range(0, len(targets), size)]


def _likeliest(weight: Array) -> Indices:
    """Rows worth trying as an anchor, likeliest first."""
    rows = np.flatnonzero(weight > _NEGLIGIBLE)
    return rows[np.argsort(-weight[rows], kind="stable")][:_MOST_ANCHORS]


def is_support_phrase(phrase: NounPhrase) -> bool:
    """Whether a phrase names nothing but the support: "the table"."""
    return phrase.category in SUPPORT_NOUNS and not phrase.relations and phrase.superlative is None


def check_supported(query: SpatialQuery) -> None:
    """Refuse by name what can be parsed but not yet be judged.

    Raises:
        NotUnderstoodError: a relation, superlative or ordinal side that does not exist here, or several targets.
    """
    if query.target.count not in (None, 1, -1):  # "the mugs": more than one ends AMBIGUOUS, and asks which
        raise _refusal(query, "several things at once", "name one thing at a time")
    _check_phrase(query, query.target)


def _check_person(query: SpatialQuery, phrase: NounPhrase) -> None:
    """Persons can be viewpoints; as things to relate to they have no measured place."""
    if phrase.category in ("me", "you"):
        raise _refusal(query, f"where '{phrase.category}' is cannot be measured", "relate it to a thing that is seen")


def _check_phrase(query: SpatialQuery, phrase: NounPhrase) -> None:
    _check_person(query, phrase)
    if phrase.superlative is not None and phrase.superlative not in (*order.KEYS, order.MIDDLE):
        raise _refusal(query, f"superlative '{phrase.superlative}' is not known", "known are " + ", ".join(order.KEYS))
    if phrase.ordinal is not None and phrase.ordinal.from_ not in order.ORDINAL_SIDES:
        raise _refusal(query, f"counting from '{phrase.ordinal.from_}' is not known",
                       "known are " + ", ".join(order.ORDINAL_SIDES))  # fmt: skip
    for clause in phrase.relations:
        known = (*RELATIONS, "between", *COMPARED)
        if clause.relation not in known:
            raise _refusal(query, f"relation '{clause.relation}' is not known yet", "known are " + ", ".join(known))
        _check_anchors(query, clause)
        for anchor in clause.anchors:
            _check_phrase(query, anchor)


def _check_anchors(query: SpatialQuery, clause: RelationClause) -> None:
    """As many anchors as the relation takes: one thing, or for "between" two things or two of a kind."""
    if any(anchor == NounPhrase("object") for anchor in clause.anchors):
        raise _refusal(query, f"'{clause.relation}' needs a thing that is described", "name it: 'behind the cup'")
    if clause.negated and clause.relation in COMPARED:
        raise _refusal(query, f"'not {clause.relation}' is not known yet", "say which one it is")
    plural = [anchor.count not in (None, 1) for anchor in clause.anchors]
    if clause.relation == "between":
        two_of_a_kind = len(plural) == 1 and clause.anchors[0].count in (2, -1)
        if not two_of_a_kind and (len(plural) != 2 or any(plural)):
            raise _refusal(query, "'between' needs two things", "name both: 'between the cup and the box'")
    elif len(plural) != 1:
        raise _refusal(query, f"'{clause.relation}' needs one thing to relate to", "name it: 'behind the cup'")
    elif plural[0]:
        raise _refusal(query, "a relation to several things at once", "name one thing at a time")


def _refusal(query: SpatialQuery, reason: str, repair: str) -> NotUnderstoodError:
    return NotUnderstoodError(query.instruction, (0, len(query.instruction)), reason, repair)
