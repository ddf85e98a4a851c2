# SPDX-License-Identifier: Apache-2.0
"""Score how well each object fits a phrase: name, attributes, clauses over jointly chosen anchors, and order.

The anchors of a phrase form a tree, so working from the innermost phrase outwards finds the best joint choice of target
and anchors exactly: each anchor's weight enters the clause of the phrase that names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES, SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.language.part_words import DOORS, DRAWERS, LEVELS, ON_TOP_OF, prepositions
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial import clauses, regions, superlatives
from spatial_vlm_ros.spatial.attributes import (
    NO,
    UNKNOWN,
    YES,
    attribute_likelihood,
    is_comparison,
    is_measured,
    more_than_said,
)
from spatial_vlm_ros.spatial.belief import FLOOR, ClauseBelief, PhraseBelief, Rows
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE, Judgements, ModelEvidence
from spatial_vlm_ros.spatial.detector_profile import GIVEN, DetectorProfile
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.parts.choosing import Rays
from spatial_vlm_ros.spatial.parts.drawers import drawers_in
from spatial_vlm_ros.spatial.parts.finding import Found, find, has_by_nature
from spatial_vlm_ros.spatial.parts.judging import PartClause, by_part, owner_of, with_contents
from spatial_vlm_ros.spatial.parts.region import Region
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.superlatives import MIDDLE, Key, key_of
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause
from spatial_vlm_ros.types.query import Preposition

_SEPARATES_NOTHING = 0.9
"""Weight of a word for a single object if nothing can tell whether it holds ("the wooden crate" for a crate). It is as
likely for an object that was not seen, so it cancels from the odds between the two. What remains is the chance that
the word was said to distinguish the object from another one."""
_NOT_ALONE = 0.1  # how much likelier "the" is for the only object that the words fit than for one of several


@dataclass(eq=False)
class PhraseScorer:
    """Score phrases on one scene."""

    layout: Layout
    config: ResolverConfig
    match: Callable[[NounPhrase], Array]  # (phrase) → (N,) probability that each object has the phrase's category
    score: Array  # (N,) weight of each object's detector score
    default_frame: FrameOfReference  # used if the words state none
    # frames of reference that the answer depends on, in the order met
    frames_used: list[FrameOfReference] = field(default_factory=list)
    # rows of anchors of clauses that depend on a frame and state none; an order adds an entry without rows
    unsaid: list[Rows] = field(default_factory=list)
    # (phrase, row of a whole) → the parts of it that the phrase may mean, if they are not detections
    parts: dict[tuple[NounPhrase, int], tuple[Region, ...]] = field(default_factory=dict)
    known: Judgements = field(default_factory=Judgements)
    evidence: ModelEvidence = field(default_factory=ModelEvidence)
    _clauses: dict[object, ClauseBelief] = field(default_factory=dict)
    _fits: dict[object, tuple[Array, Array, frozenset[int]]] = field(default_factory=dict)
    # phrase → (N,) 1 for objects that a dialogue leaves for it, 0 for those that were ruled out
    left: Mapping[NounPhrase, Array] = field(default_factory=dict)
    denied: tuple[int, ...] = ()  # rows that a dialogue ruled out as the target
    confirmed: tuple[int, ...] = ()  # rows that a person chose as the target
    profile: DetectorProfile = GIVEN  # of the detector that named the objects
    _views: dict[FrameOfReference, Viewpoint] = field(default_factory=dict)
    _known: dict[tuple[NounPhrase, tuple[Preposition | None, ...], bool, bool], PhraseBelief] = field(
        default_factory=dict
    )

    def seen_from(self, frame: FrameOfReference) -> PhraseScorer:
        """The same scene with another default frame."""
        return dataclasses.replace(
            self, default_frame=frame, frames_used=[], unsaid=[], parts={}, _known={}, _views={}, _clauses={}
        )

    def with_evidence(self, evidence: ModelEvidence) -> PhraseScorer:
        """The same scene with a model's answers about pairs of objects."""
        return dataclasses.replace(self.seen_from(self.default_frame), evidence=evidence)

    def within(
        self, left: Mapping[NounPhrase, Array], denied: tuple[int, ...] = (), confirmed: tuple[int, ...] = ()
    ) -> PhraseScorer:
        """The same scene with the objects that a dialogue ruled out and confirmed."""
        fresh = self.seen_from(self.default_frame)
        return dataclasses.replace(fresh, left=left, denied=denied, confirmed=confirmed)

    def score_phrase(self, phrase: NounPhrase, anchor: bool = False, each: bool = False) -> PhraseBelief:
        """Belief in a phrase and in all phrases inside it; those of an anchor have their second best anchors, too.

        With `each`, several objects are related to it, each by itself: a word that cannot be checked may then
        distinguish it from others of its name, and no choice among the objects settles that.
        """
        key = phrase, prepositions(phrase), anchor, each
        if key in self._known:
            return self._known[key]
        name = self.match(phrase)
        if phrase in self.left:
            name = name * self.left[phrase]
        described = name.tobytes(), phrase.attributes, phrase.count in (None, 1), phrase.choice, each
        if described not in self._fits:
            self._fits[described] = self._fit(phrase, name, each)
        fit, weight, doubtful = self._fits[described]
        judged: dict[int, ClauseBelief] = {}
        said = tuple(clauses.each_by_itself(phrase.relations))
        single = phrase.count in (None, 1) and phrase.choice is None and phrase.superlative is None
        single = single and phrase.ordinal is None and not any(self._compares(w, phrase) for w in phrase.attributes)
        single = single and not any(clause.relation in clauses.COMPARED for clause in said)
        each = each or phrase.count not in (None, 1) or phrase.choice is not None
        # The phrase presupposes that an object has this name: the best fit belongs to the ordered set.
        best = float(weight.max(initial=0.0))
        scale = best if best >= self.config.decision.found else 1.0
        # Comparisons are made among the objects that fit the other words.
        for compares in (False, True):
            for i, clause in enumerate(said):
                if (clause.relation in clauses.COMPARED) is compares:
                    counts = weight / scale if compares else weight
                    judged[i] = self._clause(clause, fit, counts, anchor, single, each)
                    weight = weight * judged[i].chance * (1.0 if (c := judged[i].contrast) is None else c)
        found = [judged[i] for i in sorted(judged)]
        if single:  # words of distance have a contrast of their own
            chances = [clause.chance for clause in found if clause.name not in clauses.CONTRASTED]
            if chances:  # "the": the clauses hold for no other one of the name; 1 for the best
                named = fit >= self.config.decision.found
                fails = np.where(named, 1.0 - np.prod(chances, axis=0), 1.0)
                alone = _NOT_ALONE + (1.0 - _NOT_ALONE) * fails.prod() / fails
                weight = weight * (alone / max(float(alone[named].max(initial=0.0)), FLOOR))
        for ordered in (*self._sizes(phrase, weight / scale), self._order(phrase, weight / scale)):
            if ordered is not None:
                weight = weight * ordered.chance
                found.append(ordered)
        belief = self._known[key] = PhraseBelief(phrase, fit, weight, tuple(found), doubtful, name)
        return belief

    def _fit(self, phrase: NounPhrase, name: Array, each: bool) -> tuple[Array, Array, frozenset[int]]:
        """(N,) fit of name and attributes; the same with scores and undecided attributes; rows with one in doubt.

        `name` (N,) is how well the name alone fits; an attribute is in doubt if measurement neither shows nor excludes
        it.
        """
        fit = name
        weight = fit * self.score
        members = fit >= self.config.decision.found
        doubtful = np.zeros(len(fit), np.bool_)
        view = self._view(FrameOfReference.VIEWER)
        single = phrase.count in (None, 1) and phrase.choice is None
        for word in phrase.attributes:
            if self._compares(word, phrase):
                continue
            likelihood = attribute_likelihood(word, self.layout, view, members)
            fit = fit * np.where(likelihood == UNKNOWN, 1.0, likelihood)
            doubtful |= (likelihood != UNKNOWN) & (likelihood < self.config.decision.holds)
            untold = likelihood == UNKNOWN
            if single and not is_measured(word) and not (each and (untold & members).sum() > 1):
                likelihood = np.where(untold, _SEPARATES_NOTHING, likelihood)
            weight = weight * likelihood
        if single:
            weight = np.where(more_than_said(phrase.attributes, self.layout, fit >= 0.5), NO * weight, weight)
        return fit, weight, frozenset(np.flatnonzero(doubtful).tolist())

    def _compares(self, word: str, phrase: NounPhrase) -> bool:
        """True if "the small mug" means the smallest: the size of a single object that must be that one."""
        return phrase.count in (None, 1) and phrase.choice is None and is_comparison(word, self.layout)

    def _sizes(self, phrase: NounPhrase, member: Array) -> Iterator[ClauseBelief]:
        """Sizes of a single object, compared within the set that fits the other words."""
        for word in phrase.attributes:
            if self._compares(word, phrase):
                view = self._view(FrameOfReference.VIEWER)
                if word in superlatives.MEDIUM:
                    likelihood, margin = superlatives.in_the_middle(
                        superlatives.size_key("small", self.layout, view), member
                    )
                else:
                    key = superlatives.size_key(word, self.layout, view)
                    likelihood, margin = superlatives.place_in_order(key, member, 1)
                likelihood = np.clip(likelihood, FLOOR, 1.0)
                nobody = np.empty((len(member), 0), np.intp)
                yield ClauseBelief(word, False, margin, likelihood, likelihood, nobody, is_order=True)
                member = member * likelihood

    # -------------------------------------------------------------------------------------------- frames

    def _view(self, frame: FrameOfReference) -> Viewpoint:
        if frame not in self._views:
            self._views[frame] = self.layout.viewpoint(frame)
        return self._views[frame]

    def view_for(self, stated: FrameOfReference | None, depends: bool, anchors: Rows | None = None) -> Viewpoint:
        """The viewpoint stated in the words, else that of the request or configuration.

        If the judgement depends on it, it is recorded in `frames_used` and `unsaid`; an order among objects has no
        anchors.
        """
        if not depends:
            return self._view(FrameOfReference.VIEWER)
        frame = stated or self.default_frame
        if anchors is None and frame is FrameOfReference.OBJECT:
            if stated is not None:
                raise FrameUndefinedError(
                    frame.value, "an order of objects needs a viewer",
                    "say whose left or right: 'from my side', 'as seen from the camera'",
                )  # fmt: skip
            frame = FrameOfReference.VIEWER
        if stated is None:
            self.unsaid.append(np.empty(0, np.intp) if anchors is None else anchors)
        if frame not in self.frames_used:
            self.frames_used.append(frame)
        return self._view(frame)

    # -------------------------------------------------------------------------------------------- clauses

    def _clause(
        self, clause: RelationClause, fit: Array, weight: Array, anchor: bool, single: bool, each: bool
    ) -> ClauseBelief:
        """One clause for the objects that fit name and attributes; `weight` (N,) is used for comparisons."""
        # "On the top of the cabinet" means "on the cabinet", unless its top was detected as an object.
        top = clause.anchors[0]
        owner = next((c.anchors for c in top.relations if c.relation == "part of"), None)
        on_top = clause.relation == "on" and top.category == "top" and len(top.relations) == 1
        if on_top and owner is not None and not (self.match(top) >= self.config.decision.found).any():
            clause = dataclasses.replace(clause, anchors=owner, preposition=ON_TOP_OF)
        believed = tuple(self.score_phrase(inner, anchor=True, each=each) for inner in clause.anchors)
        targets = np.flatnonzero(fit > clauses.NEGLIGIBLE)
        said = clause.relation, clause.frame, clause.negated, clause.distance, clause.preposition
        compares = clause.relation in clauses.COMPARED or clause.relation in clauses.CONTRASTED
        among = targets.tobytes(), weight.tobytes() if compares else b""
        key = said, tuple(map(id, believed)), among, anchor, single  # beliefs stay in `_known`, and so do their ids
        if key in self._clauses:
            return self._clauses[key]
        found = self.config.decision.found
        part = self.part(clause, believed)
        if part is not None:
            view = self._view(FrameOfReference.VIEWER)  # that of the part's own order is in `part.found`
            asked = clauses.Asked(
                self.layout, self.config, view, clause, believed, targets, weight, anchor, known=self.known
            )
            belief = self._clauses[key] = by_part(asked, part)
            return belief
        region = regions.as_part(clause, believed, self.layout, found)
        if region is not None:
            clause, believed = region
        relation = RELATIONS.get(clause.relation)
        rows = np.flatnonzero(believed[0].fit >= found)
        view = self.view_for(clause.frame, relation is not None and relation.framed, rows)
        asked = clauses.Asked(
            self.layout, self.config, view, clause, believed, targets, weight, anchor, single, self.known, self.evidence
        )
        if clause.relation in clauses.COMPARED:
            belief = clauses.by_distance(asked, weight)
        elif clause.relation == clauses.OTHER_THAN:
            belief = clauses.by_identity(asked)
        elif regions.is_support(clause, believed[0], self.layout, found):
            belief = clauses.by_support(asked, self._view(FrameOfReference.VIEWER))
        else:
            belief = clauses.judge(asked)
        self._clauses[key] = belief
        return belief

    def is_so(self, clause: RelationClause, row: int) -> bool:
        """True if a clause holds for one object, whatever its name."""
        return bool(self.clause_of(clause, row).likelihood[row] >= self.config.decision.holds)

    def clause_of(self, clause: RelationClause, row: int) -> ClauseBelief:
        """Judge a clause for one object, whatever its name; the arrays mean nothing for other objects."""
        only = (np.arange(len(self.layout)) == row).astype(np.float64)
        return self._clause(clause, only, only, anchor=False, single=False, each=False)

    def part(self, clause: RelationClause, believed: tuple[PhraseBelief, ...]) -> PartClause | None:
        """The undetected part that a clause is about ("in the left compartment"); None for other clauses."""
        phrase = clause.anchors[0]
        known: dict[int, Found] = {}
        words = {phrase.superlative, phrase.also}
        if phrase.ordinal is not None:
            words.add(SUPERLATIVE_OF_ORDER[phrase.ordinal.from_])

        def found(row: int) -> Found:
            if row not in known:
                rows = np.array([row], np.intp)
                view = self.view_for(phrase.frame or clause.frame, bool(words & FRAMED_SUPERLATIVES), rows)
                ahead, right = self.layout.rays(view, rows)
                seen = find(self.layout, row, phrase, Rays(ahead[0], right[0]))
                holds = self.config.decision.holds
                known[row] = with_contents(seen, phrase, believed[0], self.layout, holds)
                self.parts[phrase, row] = known[row].parts
            return known[row]

        owner = owner_of(clause, believed[0], self.layout, self.config.decision.found, found)
        return None if owner is None else PartClause(phrase, owner, found)

    # -------------------------------------------------------------------------------------------- order

    def _order(self, phrase: NounPhrase, member: Array) -> ClauseBelief | None:
        """The superlative or ordinal, over the set that fits the other words."""
        if phrase.ordinal is not None:
            word, n = SUPERLATIVE_OF_ORDER[phrase.ordinal.from_], phrase.ordinal.n
            name = f"number {n} from the {phrase.ordinal.from_}"
        elif phrase.superlative is not None:
            word, n, name = phrase.superlative, 1, phrase.superlative
        else:
            return None
        nobody = np.empty((len(member), 0), np.intp)
        if phrase.ordinal is not None and phrase.superlative is not None:  # of a row of parts, which have no detections
            none = np.full(len(member), FLOOR)
            return ClauseBelief(name, False, np.full(len(member), np.nan), none, none, nobody, is_order=True)
        said = superlatives.PLACE_WORDS.get(word, frozenset()) if phrase.ordinal is None else frozenset()
        labels = [o.detection.label.lower().split() for o in self.layout.scene.objects]
        has = np.array([bool(said.intersection(words)) for words in labels], np.bool_)
        if (has & (member > clauses.NEGLIGIBLE)).any():  # labels that state the position themselves ("middle drawer")
            fits = np.where(has, YES, NO)
            return ClauseBelief(name, False, np.full(len(member), np.nan), fits, fits, nobody, is_order=True)
        frame, seen_by = phrase.frame, self.layout.scene.frame
        bodies = {FrameOfReference.SPEAKER: seen_by.camera_T_speaker, FrameOfReference.ROBOT: seen_by.base_T_camera}
        if word in ("nearest", "farthest") and frame in bodies and bodies[frame] is None:
            frame = None  # "closest to me|you": if their position is unknown, use the assumed viewpoint
        view = self.view_for(frame, word in FRAMED_SUPERLATIVES)
        places = max(phrase.count or 1, 1)
        if word == superlatives.MIDDLE:
            key = _part_key(phrase, word, self.layout, view, member)
            if key is not None:
                likelihood, margin = superlatives.in_the_middle(key, member)
            else:
                likelihood, margin = superlatives.middle_of_spread(self.layout, view, member)
        else:
            key = _part_key(phrase, word, self.layout, view, member) or superlatives.key_of(word, self.layout, view)
            # "the two leftmost mugs": the first position, or the second
            likelihood, margin = superlatives.place_in_order(key, member, n, places)
        likelihood = np.clip(likelihood * _fits_its_whole(phrase, word, n, self.layout, view, member), FLOOR, 1.0)
        return ClauseBelief(name, False, margin, likelihood, likelihood, nobody, is_order=True, place=places)


# --------------------------------------------------------------------------------------------------
# Order of parts with their own detections: drawers and shelves by height, and by two directions at once.

_HEIGHT = frozenset({"highest", "lowest"})
_NO_ORDER = 0.03  # metres: objects within this distance have no order along a direction
_HIGHEST = 95  # percentile of heights used as the highest: edges of masks smear
_AMID = 0.1  # fraction of a cabinet's width by which a door may lie on the other side of its middle
_HEIGHT_NOISE = 0.005  # metres, in addition to depth noise


def _part_key(phrase: NounPhrase, word: str, layout: Layout, view: Viewpoint, member: Array) -> Key | None:
    """Key for ordering parts that are detections, by `member` (N,); None for phrases ordered like all objects."""
    stacked = phrase.category.split(" ")[-1] in DRAWERS | LEVELS
    if phrase.also is not None and MIDDLE not in (word, phrase.also):
        # Each direction is scaled by the spread of the objects along it.
        first = _one(word, layout, view, stacked)
        second = _one(phrase.also, layout, view, stacked)
        value, variance = np.zeros(len(member)), np.zeros(len(member))
        for key in (first, second):
            apart = _apart(key, member)
            if apart > _NO_ORDER:
                value, variance = value + key.value / apart, variance + (key.sigma / apart) ** 2
        return Key(value, np.sqrt(variance) + 1e-6)
    if word == MIDDLE:
        heights = _in_a_stack(layout)
        return heights if stacked and _apart(heights, member) > _NO_ORDER else None
    return _one(word, layout, view, stacked) if stacked and word in _HEIGHT else None


def _fits_its_whole(phrase: NounPhrase, word: str, n: int, layout: Layout, view: Viewpoint, member: Array) -> Array:
    """(N,) 0 if the only detected drawer or door of a cabinet cannot be the n-th (from 1) that was said, else 1.

    Undetected ones may exist: no drawer fits over the top one, and a left door is not on the right.
    """
    fits = np.ones(len(member))
    rows = np.flatnonzero(member > NEGLIGIBLE)
    noun = phrase.category.split(" ")[-1]
    if len(rows) != 1 or noun not in DRAWERS | DOORS or not layout.measured[rows[0]]:
        return fits
    row = int(rows[0])
    labels = [obj.detection.label for obj in layout.scene.objects]
    wholes = [other for other, label in enumerate(labels) if other != row and has_by_nature(label, "drawer")]
    pairs = Pairs(layout, view, rows, np.array(wholes, np.intp))
    near = [whole for whole, gap in zip(wholes, pairs.gap[0], strict=True) if gap < layout.relation.contact]
    if len(near) != 1:
        return fits
    whole = near[0]
    if noun in DRAWERS and word in _HEIGHT:
        tall = float(layout.size[row, 2])
        over, under = layout.top[whole] - layout.top[row], layout.bottom[row] - layout.bottom[whole]
        fits[row] = float(drawers_in(float(over if word == "highest" else under), tall) == n - 1)
    elif noun in DOORS and word in ("leftmost", "rightmost"):
        _, right = layout.rays(view, np.array([whole], np.intp))
        aside = float((layout.centre[row, :2] - layout.centre[whole, :2]) @ right[0])
        width = float(np.ptp(layout.footprint[whole] @ right[0]))
        fits[row] = float(aside * (1 if word == "rightmost" else -1) > -_AMID * width)
    return fits


def _in_a_stack(layout: Layout) -> Key:
    """Key: heights of the highest visible points of objects, from low to high.

    Parts of one front or one rack do not overlap: the hidden part of one lies between its neighbours and does not
    change the order.
    """
    up = layout.axes[:, 2]
    tops = [float(np.percentile(o.points @ up, _HIGHEST)) if len(o.points) else np.nan for o in layout.scene.objects]
    return Key(np.array(tops), np.hypot(layout.noise, _HEIGHT_NOISE))


def _one(word: str, layout: Layout, view: Viewpoint, stacked: bool) -> Key:
    if not stacked or word not in _HEIGHT:
        return key_of(word, layout, view)
    return _in_a_stack(layout).reversed() if word == "highest" else _in_a_stack(layout)


def _apart(key: Key, member: Array) -> float:
    """Distance between the first and the last member, metres."""
    among = key.value[(member > 0.5) & np.isfinite(key.value)]
    return float(np.ptp(among)) if len(among) else 0.0
