# SPDX-License-Identifier: Apache-2.0
"""Judge one clause for every target: the best anchors, the margin and the likelihood.

The best anchor counts, not the sum: five boxes beside one cup must not outvote one box beside another. There is one
function for each way in which a relation takes its anchors. Objects of negligible weight are skipped, which changes a
chance by at most NEGLIGIBLE.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.geometry.support import named_surfaces
from spatial_vlm_ros.language.part_words import IN, ON_TOP_OF
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.belief import FLOOR, ClauseBelief, PhraseBelief, Rows, clause_likelihood, normal_cdf
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure_set, measure_two
from spatial_vlm_ros.spatial.relations.contact import from_the_topmost
from spatial_vlm_ros.spatial.relations.pairs import least_sure
from spatial_vlm_ros.spatial.relations.resting import FAR
from spatial_vlm_ros.spatial.surfaces import is_shelf_unit, means_inside
from spatial_vlm_ros.types import Distance, FrameOfReference, PinholeCamera, RelationClause

# --------------------------------------------------------------------------------------------------
# A model's answers about single relations, as factors on the odds from measurement.

Box = tuple[float, float, float, float]

PairKey = tuple[str, int, int]
"""Canonical relation, row of the target, row of the anchor."""
_UPRIGHT = 0.866  # cosine of 30 degrees between up in the image and its upper edge
_CLEARLY = 2.0  # times the sideways gap over the shift due to the tilt of "up"
OF_SIDES = ("left of", "right of")
"""Relations across the line of sight."""
_FLAT = 0.26  # part of "up" in the image plane below which the camera looks straight down or up


@dataclass(frozen=True)
class ModelEvidence:
    """Likelihood ratios by relation and pair: how much likelier the model's answer is if the relation holds."""

    ratio: Mapping[PairKey, float] = field(default_factory=lambda: MappingProxyType({}))  # above 0; 1 changes nothing

    def weighed(self, clause: RelationClause, pairs: Pairs, holds: Array) -> Array:
        """(T, A) probability `holds` by measurement, updated by Bayes' rule; the same array without evidence."""
        if not self.ratio or not concerns(clause, pairs.view.frame):
            return holds
        rows = {int(row): n for n, row in enumerate(pairs.targets)}
        columns = {int(row): n for n, row in enumerate(pairs.anchors)}
        found = {
            (rows[target], columns[anchor]): ratio
            for (relation, target, anchor), ratio in self.ratio.items()
            if relation == clause.relation and target in rows and anchor in columns
        }
        if not found:
            return holds
        weighed = holds.copy()
        for at, ratio in found.items():
            odds = holds[at] / (1.0 - holds[at]) * (1.0 / ratio if clause.negated else ratio)
            weighed[at] = np.clip(odds / (1.0 + odds), FLOOR, 1.0 - FLOOR)
        return weighed


def concerns(clause: RelationClause, frame: FrameOfReference) -> bool:
    """True if a model's view of the image is relevant to a clause: no distances, and the camera's viewpoint."""
    framed = RELATIONS[clause.relation].framed
    return clause.distance is None and (not framed or frame is FrameOfReference.VIEWER)


def pair_of(belief: ClauseBelief, row: int, default: FrameOfReference) -> PairKey | None:
    """The one pair of objects whose relation in an image, in its own or the `default` frame, decides a clause."""
    clause = belief.stated
    if clause is None or belief.anchors.shape[1] != 1 or belief.anchors[row, 0] < 0:
        return None
    if not concerns(clause, clause.frame or default):
        return None
    return clause.relation, row, int(belief.anchors[row, 0])


def is_shown(relation: str, target: Box, anchor: Box, camera: PinholeCamera, up: Array) -> bool:
    """True if an image shows a relation as measurement defines it; see `is_upright` and `shows_side`."""
    return not RELATIONS[relation].framed or (is_upright(up) and shows_side(relation, target, anchor, camera, up))


def is_upright(up: Array) -> bool:
    """True if left, right, far and near in an image with this "up" are about those of a person at the camera."""
    across, down, _ = up
    flat = float(np.hypot(across, down))
    return flat >= _FLAT and -down / flat >= _UPRIGHT


def shows_side(relation: str, target: Box, anchor: Box, camera: PinholeCamera, up: Array) -> bool:
    """True if the image shows a target on the side that it is on, seen from the camera; True for other relations.

    Sides are defined by the plane through the camera, the anchor and "up". It cuts the image in a line through the
    anchor, which is slanted if the camera is tilted. A target must clearly be on the same side of that line and of an
    upright one; otherwise the image may show another side than measurement.
    """
    if relation not in OF_SIDES:
        return True
    (u, v), (target_u, target_v) = (((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (anchor, target))
    fx, fy, cx, cy = (float(camera.K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    along = fx * (up[0] - (u - cx) / fx * up[2])
    upward = -fy * (up[1] - (v - cy) / fy * up[2])
    if upward <= 0.0:
        return False
    heights = (anchor[3] - anchor[1] + target[3] - target[1]) / 4
    return abs(target_u - u) > _CLEARLY * abs(along) / upward * (abs(target_v - v) + heights)


# --------------------------------------------------------------------------------------------------
# Cache measurements of one answer for later clauses that ask the same about the same objects.
# The readings of a sentence share most of their clauses and differ in their attachment.

_MOST = 500_000
"""Most pairs of target and anchor that are cached, some 80 bytes each; further ones are measured again."""

_Between = tuple[FrameOfReference, bytes, bytes]
_Said = tuple[str, str | None, bool, Distance | None]


@dataclass(eq=False)
class Judgements:
    """Cached pairs and their judgements."""

    _pairs: dict[_Between, Pairs] = field(default_factory=dict)
    _judged: dict[tuple[_Between, _Said], tuple[Array, Array]] = field(default_factory=dict)
    _size: int = 0

    def pairs(self, layout: Layout, view: Viewpoint, targets: Rows, rows: Rows) -> Pairs:
        """The pairs of some targets and anchors, with earlier results for them."""
        key = view.frame, targets.tobytes(), rows.tobytes()
        if key in self._pairs:
            return self._pairs[key]
        pairs = Pairs(layout, view, targets, rows)
        self._size += len(targets) * len(rows)
        if self._size <= _MOST:
            self._pairs[key] = pairs
        return pairs

    def judged(self, clause: RelationClause, pairs: Pairs) -> tuple[Array, Array] | None:
        """(T, A) margins and likelihoods of a clause, read-only; None if they are new."""
        return self._judged.get(_key(clause, pairs))

    def keep(self, clause: RelationClause, pairs: Pairs, found: tuple[Array, Array]) -> None:
        """Keep what was judged of cached pairs."""
        key = _key(clause, pairs)
        if self._pairs.get(key[0]) is pairs:
            self._judged[key] = found


def _key(clause: RelationClause, pairs: Pairs) -> tuple[_Between, _Said]:
    between = pairs.view.frame, pairs.targets.tobytes(), pairs.anchors.tobytes()
    return between, (clause.relation, clause.preposition, clause.negated, clause.distance)


COMPARED = {"closest to": True, "farthest from": False}
"""Relations that compare the set that fits the other words → True if the nearest one is meant."""
ON, OTHER_THAN = "on", "other than"
CONTRASTED = {"next to": True, "near": True, "around": True, "far from": False}
"""Vague relations of distance → True if the nearest one is meant, when several fit and one is meant."""
JUST_NOTICEABLE = 0.25
"""Standard deviation of the logarithm of a gap by which one object must be nearer to be called the near one: gaps of 1
to 1.7 are told apart by seven of eight people. By Weber's law the ratio counts."""
NEGLIGIBLE = 0.02
"""Weight below which an object is not tried as target or anchor."""
MOST_ANCHORS = 12
"""Anchors of each kind, likeliest first, that are tried for a relation with two anchors."""

_BY_MARGIN = 1e-3  # probability that a metre of margin counts between anchors that are otherwise as good
_PAIRS = 20_000  # pairs of target and anchor measured at once: their data stays in the processor's cache
_LISTED = 8  # members of a plural kept as anchors of a clause


@dataclass(frozen=True, eq=False)
class Asked:
    """A clause and everything needed to judge it."""

    layout: Layout
    config: ResolverConfig
    view: Viewpoint
    clause: RelationClause
    anchors: tuple[PhraseBelief, ...]
    targets: Rows  # (T,) rows worth judging
    fit: Array  # (N,) how well name and attributes fit each object
    runner_up: bool = False
    # True if a single object is meant, so that all objects that the clause is true for are rivals
    singles: bool = False
    known: Judgements = field(default_factory=Judgements)
    evidence: ModelEvidence = field(default_factory=ModelEvidence)

    def pairs(self, targets: Rows, rows: Rows) -> Pairs:
        """The pairs of targets and anchors."""
        return self.known.pairs(self.layout, self.view, targets, rows)

    def judged_of(self, pairs: Pairs) -> tuple[Array, Array]:
        """(T, A) margins and likelihoods of these pairs, negation included; read-only."""
        found = self.known.judged(self.clause, pairs)
        if found is None:
            measured = RELATIONS[self.clause.relation](pairs, self.clause.distance)
            if self.clause.preposition == ON_TOP_OF:  # on its topmost surface
                measured = least_sure(measured, (from_the_topmost(pairs, measured[0]), pairs.noise_up))
            elif self.clause.preposition == IN:  # "in the right half" of closed furniture is in it
                closing = [means_inside(pairs.layout, int(row), self.clause.relation, IN) for row in pairs.anchors]
                if any(closing):
                    margin, sigma = RELATIONS["inside"](pairs)
                    measured = least_sure(measured, (np.where(closing, margin, FAR), sigma))
            elif self.clause.relation == "on":  # what stands in a shelf unit is on it
                shelved = np.array([is_shelf_unit(pairs.layout, int(row)) for row in pairs.anchors])
                if shelved.any():
                    within = RELATIONS["inside"](pairs)
                    better = shelved & (within[0] > measured[0])
                    measured = np.where(better, within[0], measured[0]), np.where(better, within[1], measured[1])
            found = self.judged(*measured)
            self.known.keep(self.clause, pairs, found)
        return found[0], self.evidence.weighed(self.clause, pairs, found[1])

    def judged(self, margin: Array, sigma: Array) -> tuple[Array, Array]:
        """Margins with their likelihoods, reversed if the clause is negated."""
        margin = -margin if self.clause.negated else margin
        return margin, clause_likelihood(margin, sigma)

    def blank(self, width: int) -> _Blank:
        """Empty result arrays with `width` anchors a row."""
        return _Blank(len(self.layout), width)


class _Blank:
    """Arrays of a clause belief, all rows unknown."""

    def __init__(self, n: int, width: int) -> None:
        self.margin = np.full(n, np.nan)
        self.likelihood, self.chance = np.full(n, FLOOR), np.full(n, FLOOR)
        self.runner_up = np.full(n, FLOOR)
        self.anchors = np.full((n, width), -1, np.intp)

    def belief(self, asked: Asked) -> ClauseBelief:
        clause = asked.clause
        return ClauseBelief(
            clause.relation, clause.negated, self.margin, self.likelihood, self.chance, self.anchors, asked.anchors,
            runner_up=self.runner_up if asked.runner_up else None,
            said=clause.preposition if clause.preposition == ON_TOP_OF else None,
        )  # fmt: skip


def each_by_itself(relations: Iterable[RelationClause]) -> Iterator[RelationClause]:
    """Split clauses about several objects with different names: "behind the cup and the box" is behind each."""
    for clause in relations:
        relation = RELATIONS.get(clause.relation)
        if len(clause.anchors) > 1 and relation is not None and relation.most_anchors < 2 and relation.several != "set":
            for anchor in clause.anchors:
                yield dataclasses.replace(clause, anchors=(anchor,))
        else:
            yield clause


def judge(asked: Asked) -> ClauseBelief:
    """Judge a clause of a relation in RELATIONS: several anchors together, or the likeliest one for each target."""
    relation, first = RELATIONS[asked.clause.relation], asked.anchors[0]
    plural = first.phrase.count not in (None, 1)
    if len(asked.anchors) == 2:
        return by_two(asked, asked.anchors[0], asked.anchors[1])
    if relation.several == "two":  # a plural: two of a kind, or among more of them
        number = first.phrase.count or -1
        if number == 2 or (number < 0 and len(first.members) <= 2):
            return by_two(asked, first, first)
        return by_set(asked, first)
    if relation.several == "set":
        return by_set(asked, first)
    if plural:
        return by_all(asked, first, relation.several == "all" or (first.phrase.count or 0) > 1)
    if asked.clause.negated and len(first.members) > 1:
        return by_all(asked, first, every=True)  # not behind the box: behind none of the boxes that could be meant
    tried = first.weight > NEGLIGIBLE
    rows = np.flatnonzero(tried | (first.fit > NEGLIGIBLE))
    if asked.view.frame is FrameOfReference.OBJECT or len(asked.targets) * len(rows) > _PAIRS:
        rows = np.flatnonzero(tried)
    out = asked.blank(1)
    contrasted = asked.singles and asked.clause.relation in CONTRASTED
    contrasted = contrasted and not asked.clause.negated and asked.clause.distance is None
    gap, noise = np.full((2, len(asked.layout)), np.nan)
    for some in _blocks(asked.targets, len(rows)):
        pairs = asked.pairs(some, rows)
        margins, holds = asked.judged_of(pairs)
        joint = holds * first.without(some, rows)
        joint[:, ~tried[rows]] = 0.0
        joint[some[:, None] == rows[None, :]] = 0.0  # no object has a relation to itself
        # Of anchors that are as good, the one that it is true for by most, or false for by least.
        order = np.where(joint > 0, joint + _BY_MARGIN * np.clip(np.nan_to_num(margins), -1.0, 1.0), -1.0)
        pick = (np.arange(len(some)), order.argmax(axis=1))
        best = joint[pick]
        out.margin[some] = np.where(best > 0, margins[pick], np.nan)
        out.likelihood[some] = np.where(best > 0, holds[pick], FLOOR)
        out.chance[some] = np.maximum(best, FLOOR)
        out.anchors[some, 0] = np.where(best > 0, rows[pick[1]], -1)
        if contrasted and len(rows):
            gap[some] = pairs.space[pick] + pairs.mean(asked.layout.reach)[pick] / 2
            noise[some] = pairs.noise[pick]
        if asked.runner_up and len(rows) > 1:
            joint[pick] = -1.0
            out.runner_up[some] = np.maximum(joint.max(axis=1), FLOOR)
    contrast = None
    if contrasted:
        contrast = by_contrast(asked, out, gap, noise)
    elif asked.singles and asked.clause.relation == ON and not asked.clause.negated:
        contrast = by_direct_contact(asked, out)
    return dataclasses.replace(out.belief(asked), contrast=contrast, stated=asked.clause)


def by_contrast(asked: Asked, out: _Blank, gap: Array, noise: Array) -> Array | None:
    """Prefer, among several objects that a vague relation is not plainly false for, the one it is truest for.

    `gap` (N,) is to the best anchor, and half of the mean size of both. Nobody means the farther of two cups beside the
    kettle by "the cup next to the kettle". See docs/relations.md, "A single object is meant by contrast".
    """
    rows = np.flatnonzero((out.anchors[:, 0] >= 0) & (out.likelihood > 1.0 - asked.config.decision.holds))
    if len(rows) < 2:
        return None
    sign = 1.0 if CONTRASTED[asked.clause.relation] else -1.0
    key = superlatives.Key(sign * np.log(gap[rows]), np.hypot(JUST_NOTICEABLE, noise[rows] / gap[rows]))
    member = np.minimum(asked.fit[rows] * out.chance[rows], 1.0)
    first = np.maximum(superlatives.places_in_order(key, member, (1,))[0], FLOOR)
    contrast = np.ones(len(asked.layout))
    contrast[rows] = first / first.max()
    return contrast


def by_direct_contact(asked: Asked, out: _Blank) -> Array | None:
    """Prefer, among several objects that may be on another one, those that are not inside a third one.

    A ball in an organizer on the table is on the table, too, but a person who means it says that it is in the
    organizer.
    """
    layout = asked.layout
    rows = np.flatnonzero((out.anchors[:, 0] >= 0) & (out.likelihood > 1.0 - asked.config.decision.holds))
    if len(rows) < 2:
        return None
    others = np.flatnonzero(layout.measured)
    pairs = Pairs(layout, asked.view, rows, others)
    sure = normal_cdf(pairs.inside_anchor / np.maximum(pairs.noise, 1e-6))
    contact, foot = asked.config.relation.contact, layout.bottom[rows, None]
    walled = (layout.top[others] > foot + contact) & (layout.bottom[others] < foot + contact)
    third = layout.mean_side[others] < layout.mean_side[out.anchors[rows, 0], None]
    among = np.where(walled & third & (others != rows[:, None]), sure, 0.0).max(axis=1, initial=0.0)
    direct = np.maximum(1.0 - among, FLOOR)
    contrast = np.ones(len(layout))
    contrast[rows] = direct / direct.max()
    return contrast


def by_all(asked: Asked, anchor: PhraseBelief, every: bool) -> ClauseBelief:
    """Judge several anchors: the clause holds for every one of them, or for at least one."""
    rows = anchor.members
    out = asked.blank(min(max(len(rows), 1), _LISTED))
    said = anchor.phrase.count or -1
    for some in _blocks(asked.targets, len(rows)):
        margins, holds = asked.judged_of(asked.pairs(some, rows))
        self_ = some[:, None] == rows[None, :]
        wanted = 1.0 if every else -1.0
        margins = np.where(self_, wanted * np.inf, margins)
        holds = np.where(self_, 1.0 if every else 0.0, holds)
        others = len(rows) - self_.sum(axis=1)
        likelihood = holds.prod(axis=1) if every else holds.max(axis=1)
        margin = margins.min(axis=1) if every else margins.max(axis=1)
        # A stated number must be the number seen; if there are more, it is unknown which ones are meant.
        enough = (others >= 1) if said < 0 else (others >= said)
        likelihood = np.where(enough, likelihood, FLOOR)
        likelihood = np.where((said > 0) & (others > said), np.minimum(likelihood, 0.5), likelihood)
        out.margin[some] = np.where(np.isfinite(margin) & enough, margin, np.nan)
        out.likelihood[some] = np.maximum(likelihood, FLOOR)
        out.chance[some] = np.maximum(likelihood * anchor.surely(rows), FLOOR)
        listed = rows[: out.anchors.shape[1]]
        out.anchors[some, : len(listed)] = np.where(some[:, None] == listed[None, :], -1, listed[None, :])
    return out.belief(asked)


def by_set(asked: Asked, anchor: PhraseBelief) -> ClauseBelief:
    """Judge the anchors together as one set ("among the cups")."""
    rows = anchor.members
    out = asked.blank(min(max(len(rows), 1), _LISTED))
    said = anchor.phrase.count or -1
    for target in asked.targets:
        others = rows[rows != target]
        if len(others) < 2 or (said > 0 and len(others) != said):
            continue
        name = "among" if asked.clause.relation == "between" else asked.clause.relation
        margin, holds = asked.judged(*measure_set(name, asked.layout, np.array([target]), others))
        out.margin[target] = margin[0]
        out.likelihood[target] = max(float(holds[0]), FLOOR)
        out.chance[target] = max(float(holds[0]) * anchor.surely(others), FLOOR)
        listed = others[: out.anchors.shape[1]]
        out.anchors[target, : len(listed)] = listed
    return out.belief(asked)


def by_two(asked: Asked, first: PhraseBelief, second: PhraseBelief) -> ClauseBelief:
    """Judge two anchors chosen together ("between the cup and the box")."""
    out = asked.blank(2)
    a, b, targets = _likeliest(first.weight), _likeliest(second.weight), asked.targets
    if len(a) and len(b) and len(targets):
        found = measure_two(asked.clause.relation, asked.layout, asked.view, targets, a, b)
        margins, holds = asked.judged(*found)
        joint = holds * first.without(targets, a)[:, :, None] * second.without(targets, b)[:, None, :]
        t = targets[:, None, None]
        joint[(t == a[None, :, None]) | (t == b[None, None, :]) | (a[None, :, None] == b[None, None, :])] = 0.0
        flat = joint.reshape(len(targets), -1)
        pick = (np.arange(len(targets)), flat.argmax(axis=1))
        there = flat[pick] > 0
        out.margin[targets] = np.where(there, margins.reshape(len(targets), -1)[pick], np.nan)
        out.likelihood[targets] = np.where(there, holds.reshape(len(targets), -1)[pick], FLOOR)
        out.chance[targets] = np.maximum(flat[pick], FLOOR)
        pair = np.stack((a[pick[1] // len(b)], b[pick[1] % len(b)]), axis=1)
        out.anchors[targets] = np.where(there[:, None], pair, -1)
    return out.belief(asked)


def by_distance(asked: Asked, member: Array) -> ClauseBelief:
    """Closest to, or farthest from, the likeliest anchor, among `member`, (N,) objects that fit the other words."""
    layout, anchor, name = asked.layout, asked.anchors[0], asked.clause.relation
    out = asked.blank(1)
    if len(member):
        row = int(np.argmax(anchor.weight))
        distance = np.linalg.norm(layout.centre - layout.centre[row], axis=1)
        sigma = np.hypot(layout.sigma, asked.config.relation.size_blur * layout.reach)
        key = superlatives.Key(distance if COMPARED[name] else -distance, sigma)
        itself = np.arange(len(member)) == row
        likelihood, out.margin = superlatives.place_in_order(key, np.where(itself, 0.0, member), 1)
        likelihood = np.clip(1.0 - likelihood if asked.clause.negated else likelihood, FLOOR, 1.0)
        out.margin = -out.margin if asked.clause.negated else out.margin
        out.likelihood = np.where(itself, FLOOR, likelihood)
        out.chance = np.maximum(out.likelihood * anchor.weight[row], FLOOR)
        out.anchors[:, 0] = row
    return ClauseBelief(
        name, asked.clause.negated, out.margin, out.likelihood, out.chance, out.anchors, asked.anchors, is_order=True,
        runner_up=out.runner_up if asked.runner_up else None,
    )  # fmt: skip


def by_identity(asked: Asked) -> ClauseBelief:
    """Other than the anchor: depends on how sure it is which object the anchor is."""
    out = asked.blank(1)
    chance = np.ones(len(asked.layout))
    for anchor in asked.anchors:
        weight = anchor.weight
        total = weight.sum() + np.prod(1.0 - np.minimum(weight, 1.0))
        if anchor.phrase.count in (None, 1):
            chance = chance * (1.0 - weight / max(float(total), 1e-12))
        else:
            chance = chance * np.where(np.isin(np.arange(len(weight)), anchor.members), FLOOR, 1.0)
        if len(weight):
            out.anchors[:, 0] = int(np.argmax(weight))
    out.likelihood = out.chance = np.clip(chance, FLOOR, 1.0 - FLOOR)
    return out.belief(asked)


def by_support(asked: Asked, view: Viewpoint) -> ClauseBelief:
    """Resting on the support plane: the lowest point is at its height, and on nothing else."""
    layout, targets = asked.layout, asked.targets
    out = asked.blank(0)
    noise = 2.0 * layout.sigma[targets]
    sigma = np.hypot(noise / 2 + 0.005, layout.sigma_floor[targets])
    out.margin[targets] = asked.config.relation.contact + noise - np.abs(layout.bottom[targets])
    # An object in or on another object is not on the surface itself, however thin the other object is.
    named = np.flatnonzero(named_surfaces([obj.detection for obj in layout.scene.objects]))
    itself = named[layout.top[named] < asked.config.relation.contact]
    supporting_objects = np.setdiff1d(np.flatnonzero(layout.measured), itself)
    for some in _blocks(targets, len(supporting_objects)):
        pairs = Pairs(layout, view, some, supporting_objects)
        carried = np.maximum(RELATIONS["inside"](pairs)[0], RELATIONS["on"](pairs)[0])
        carried[some[:, None] == supporting_objects[None, :]] = -np.inf
        out.margin[some] = np.minimum(out.margin[some], -carried.max(axis=1, initial=-np.inf))
    if asked.clause.negated:
        out.margin = -out.margin
    out.likelihood[targets] = out.chance[targets] = clause_likelihood(out.margin[targets], sigma)
    return ClauseBelief(
        asked.clause.relation,
        asked.clause.negated,
        out.margin,
        out.likelihood,
        out.chance,
        out.anchors,
        on_support=True,
    )


def _blocks(targets: Rows, anchors: int) -> list[Rows]:
    if not anchors:
        return []
    size = max(1, _PAIRS // anchors)
    return [targets[first : first + size] for first in range(0, len(targets), size)]


def _likeliest(weight: Array) -> Rows:
    rows = np.flatnonzero(weight > NEGLIGIBLE)
    return rows[np.argsort(-weight[rows], kind="stable")][:MOST_ANCHORS]
