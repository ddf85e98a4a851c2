# SPDX-License-Identifier: Apache-2.0
"""Decide from beliefs: an answer or a typed refusal, in one fixed order.

Not found → relation unsatisfied → ambiguous → low confidence → occluded → depth invalid → no place → OK. A model that
was given the whole phrase may turn an OK into a disagreement, or settle a tie: see second_opinion.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.geometry.extent import size_odds
from spatial_vlm_ros.language.lexicon import ITSELF
from spatial_vlm_ros.parameters import DecisionConfig
from spatial_vlm_ros.spatial.belief import SUPPORT_ID, ClauseBelief, PhraseBelief, state_of
from spatial_vlm_ros.spatial.clauses import OTHER_THAN, pair_of
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.placement import Placing
from spatial_vlm_ros.spatial.regions import is_person
from spatial_vlm_ros.types import (
    Belief,
    Candidate,
    ClauseMeasurement,
    ClauseState,
    FrameOfReference,
    JudgeReport,
    NounPhrase,
    RelationClause,
    Scene,
    SceneObject,
    SecondOpinion,
    SpatialQuery,
    Status,
    UnexplainedRegion,
)

_MOST_CANDIDATES = 10
_READS = 0.05  # share of the readings from which one counts
_ALREADY = 0.25  # factor for a reading that commands what is already true
_THERE = 0.05  # the same for one of several objects
_STAYS = frozenset({"on", "inside"})  # no place there is better; "next to" may have a nearer one
CONFIRMED = 0.95
"""Probability that the object is meant that a person chose: words can be misheard and misjudged, too."""
_DIRECTED = frozenset({"left of", "right of", "behind", "in front of", "on the other side of", "opposite"})
"""Relations that are hardly meant where they hardly hold."""
_EXISTS = 0.5  # summed likelihood of an order below which no object can have that position

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ResolvedChoice:
    """The decision, before it is expressed in words and frames."""

    status: Status
    query: SpatialQuery
    belief: PhraseBelief
    by_row: tuple[PhraseBelief, ...]  # for each object, the belief of the reading that fits it best
    chosen: int  # row of the chosen object; for refusals the likeliest candidate, -1 without one
    rivals: tuple[int, ...]  # rows that share the probability, likeliest first (AMBIGUOUS)
    phrase: NounPhrase | None  # the phrase that matches nothing (NOT_FOUND), or that several anchors share (AMBIGUOUS)
    clause: ClauseBelief | None  # the clause that decided (RELATION_UNSATISFIED, LOW_CONFIDENCE), or None
    probability: Array  # (N,) posterior of each object
    several: tuple[int, ...] = ()  # rows of all objects meant, nearest first, if several were asked for
    frames: tuple[FrameOfReference, ...] = ()  # frames of reference that choose different objects (AMBIGUOUS)
    placing: Placing | None = None  # the place to put it, or why there is none; None if no place was asked for
    # probability of the answer: of the chosen object among all; for several, or for any one, of the objects by
    # themselves
    sure: float = 0.0
    opinion: SecondOpinion | None = None  # a model's answer to the whole phrase; None if none was asked
    avoided: tuple[int, ...] = ()  # rows of objects that the motion must keep away from
    doubt: str | None = None  # why a person must confirm the answer, in words (LOW_CONFIDENCE); else None
    misnamed: tuple[int, ...] = ()  # rows of other objects than those meant whose names are in doubt (LOW_CONFIDENCE)
    judge: JudgeReport | None = None  # a model's answers about single relations; None if none was asked
    trust: Belief | None = None  # None for refusals without a doubt

    @property
    def meant(self) -> tuple[int, ...]:
        """Rows of all objects that are meant."""
        return self.several or (self.chosen,)


def decide(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> ResolvedChoice:
    """Weigh all readings on the scene, decide, and check whether another frame of reference decides differently."""
    verdict = _ladder(queries, scorer).verdict()
    if verdict.status is not Status.OK or (scorer.confirmed and set(verdict.meant) <= set(scorer.confirmed)):
        return verdict  # a person's choice does not depend on the viewpoint
    frames, meant, chosen = [scorer.default_frame], [set(verdict.meant)], [verdict.chosen]
    for frame in other_frames(scorer):
        try:
            other = _ladder(queries, scorer.seen_from(frame)).verdict()
        except FrameUndefinedError:
            continue
        if other.status is Status.OK and set(other.meant) not in meant:
            frames.append(frame)
            meant.append(set(other.meant))
            chosen.append(next(iter([row for row in other.meant if row not in verdict.meant] or other.meant)))
    if len(chosen) == 1:
        return verdict
    return dataclasses.replace(verdict, status=Status.AMBIGUOUS, rivals=tuple(chosen), frames=tuple(frames), several=())


def other_frames(scorer: PhraseScorer) -> Iterator[FrameOfReference]:
    """Frames that may be meant if none was said: a second configured one, and an anchor's own."""
    second = scorer.config.relation.second_frame
    if scorer.unsaid and second and FrameOfReference(second) is not scorer.default_frame:
        yield FrameOfReference(second)
    objects = scorer.layout.scene.objects
    if any(objects[row].detection.front is not None for rows in scorer.unsaid for row in rows):
        yield FrameOfReference.OBJECT


@dataclass(frozen=True)
class FittingObjects:
    """All objects that a phrase is true for."""

    missing: NounPhrase | None  # a phrase, of the target or of an anchor, that nothing fits; None if there is none
    clear: tuple[int, ...]  # rows that clearly fit, nearest first
    unclear: tuple[int, ...]  # rows that fit unclearly
    choice: ResolvedChoice


def all_fitting(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> FittingObjects:
    """Find every object that fits, each judged by itself; the readings are of plural phrases."""
    ladder = _ladder(queries, scorer)
    missing = next(phrases_not_found(ladder.belief, scorer.config.decision.found), None)
    clear, unclear = ladder.fitting() if missing is None else ([], [])
    return FittingObjects(missing, tuple(clear), tuple(unclear), ladder.verdict())


def _ladder(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> _Ladder:
    """Weigh all readings in the scorer's default frame.

    A reading counts by its preference from the words times how well the scene can satisfy it, so that geometry settles
    attachments; then each object's probability is summed over the readings.
    """
    beliefs = [scorer.score_phrase(query.target) for query in queries]
    shares = np.array([q.preference * _satisfied(q, b, scorer) for q, b in zip(queries, beliefs, strict=True)])
    shares /= shares.sum()
    first = int(np.argmax(shares))
    told = [b.weight * _elsewhere(query, b, scorer) for query, b in zip(queries, beliefs, strict=True)]
    weights = shares[:, None] * np.array(told)
    weight = weights.sum(axis=0)
    unseen = scorer.config.decision.unseen * np.prod(1.0 - np.minimum(weight, 1.0))
    probability = weight / (weight.sum() + unseen)
    if not np.isfinite(probability).all():
        raise ValueError("a belief is not a number")  # a bug: no measurement may turn the choice into NaN
    config = scorer.config.decision
    alive = np.zeros(len(weight), np.bool_)
    for share, belief in zip(shares, beliefs, strict=True):
        if share >= min(_READS, shares[first]):
            failing = np.zeros(len(belief.fit), np.bool_)
            for clause in belief.clauses:
                if not clause.is_order or clause.place > 1:  # among equals none is clearly first
                    failing |= clause.likelihood <= 1.0 - config.holds
                    failing |= clause.chance <= 1.0 - config.holds
            alive |= (belief.fit >= config.found) & ~failing
    readings = tuple(int(r) for r in np.argmax(weights, axis=0)) if len(weight) else ()
    by_row = tuple(beliefs[r] for r in readings)
    return _Ladder(queries[first], beliefs[first], by_row, alive, scorer, probability, weight)


def _satisfied(query: SpatialQuery, belief: PhraseBelief, scorer: PhraseScorer) -> float:
    """How well the scene can satisfy a reading: its target, and the anchors of its destination."""
    share = max(float(belief.weight.max(initial=0.0)), 1e-6)
    place = query.destination
    for anchor in () if place is None else place.anchors:
        if not is_person(anchor) and anchor.category != ITSELF:
            weight = scorer.score_phrase(anchor, anchor=True).weight
            share *= max(float(weight.max(initial=0.0)), 0.05)
            if place is not None and place.also and anchor.count in (None, 1):  # between two trays, the words decide
                share /= max(float(weight.sum()), 1.0)
    there = _place_of(query) if query.readings > 1 and len(belief.weight) else None
    already = there is not None and scorer.is_so(there, int(belief.weight.argmax()))
    return share * _ALREADY if already else share


def _place_of(query: SpatialQuery) -> RelationClause | None:
    """The destination as a relation of what is there already; None if that cannot be said."""
    place = query.destination
    if place is None or place.relation not in _STAYS or place.distance is not None:
        return None
    return RelationClause(place.relation, place.anchors, place.frame, preposition=place.preposition)


def _elsewhere(query: SpatialQuery, belief: PhraseBelief, scorer: PhraseScorer) -> Array:
    """(N,) factors: of several objects that surely fit, one not there already is meant ("put the can in the bin")."""
    factors, there = np.ones(len(belief.weight)), _place_of(query)
    fits = np.flatnonzero(belief.weight >= scorer.config.decision.mass).tolist()
    if there is not None and query.target.count in (None, 1) and query.target.choice is None and len(fits) > 1:
        inside = [row for row in fits if scorer.is_so(there, row)]
        factors[inside] = _THERE if len(inside) < len(fits) else 1.0
    return factors


@dataclass(frozen=True, eq=False)
class _Ladder:
    """The refusals in their order. `by_row` is each object's belief in the reading that fits it best.

    `weight` (N,) is how well each fits by itself, over all readings; `probability` its share among all.
    """

    query: SpatialQuery
    belief: PhraseBelief
    by_row: tuple[PhraseBelief, ...]
    alive: Flags
    scorer: PhraseScorer
    probability: Array
    weight: Array

    @property
    def _config(self) -> DecisionConfig:
        return self.scorer.config.decision

    @property
    def _confirmed(self) -> frozenset[int]:
        return frozenset(self.scorer.confirmed)

    def _end(self, status: Status, chosen: int, *, rivals: Sequence[int] = (), phrase: NounPhrase | None = None,
             clause: ClauseBelief | None = None, several: Sequence[int] = ()) -> ResolvedChoice:  # fmt: skip
        each = self.query.target.choice == "any" or bool(several)
        rows = list(several) or [chosen]
        of = self.weight if each and status is Status.OK else self.probability
        sure = float(of[rows].min()) if chosen >= 0 else 0.0
        if chosen >= 0 and status is not Status.OK:
            sure = min(sure, float(self.weight[chosen]))
        elif chosen >= 0 and set(rows) <= self._confirmed:
            sure = max(sure, CONFIRMED)
        return ResolvedChoice(status, self.query, self.belief, self.by_row, chosen, tuple(rivals), phrase, clause,
                       self.probability, tuple(several), sure=min(sure, 1.0))  # fmt: skip

    def verdict(self) -> ResolvedChoice:
        likeliest = int(np.argmax(self.probability)) if len(self.probability) else -1
        target = self.query.target
        if self._confirmed and target.count in (None, 1) and target.choice is None:
            row = max(self._confirmed, key=lambda row: (float(self.weight[row]), -row))
            return self._end(self._usable(row), row)
        missing = next(phrases_not_found(self.belief, self._config.found), None)
        if missing is not None:
            return self._end(Status.NOT_FOUND, likeliest, phrase=missing)
        if not self.alive.any() and not self._confirmed:
            likeliest = _closest(self.belief, self._config)
            return self._end(Status.RELATION_UNSATISFIED, likeliest, clause=_worst(self.belief, likeliest))
        for clause in self.belief.clauses:
            if clause.is_order and clause.likelihood[self.alive].sum() < _EXISTS:
                return self._end(Status.RELATION_UNSATISFIED, likeliest, clause=clause)
        if self.query.target.choice == "any":
            # The nearest object that clearly fits and is usable.
            clear, unclear = self.fitting()
            usable = [row for row in clear if self._usable(row) is Status.OK]
            if usable:
                return self._end(Status.OK, usable[0])
            if clear:
                return self._end(self._usable(clear[0]), clear[0])
            return self._end(Status.LOW_CONFIDENCE, unclear[0], clause=next(iter(self._unclear(unclear[0])), None))
        if self.query.target.count not in (None, 1):
            return self._several(self.query.target.count or -1)
        # A single object: enough probability, every clause clear, and usable.
        config, probability = self._config, self.probability
        ranked = [int(row) for row in np.argsort(-probability, kind="stable") if self.alive[row]]
        likeliest = ranked[0]
        sure = bool(probability[likeliest] >= config.mass)
        if not sure:
            rivals = [row for row in ranked if probability[row] >= (1.0 - config.mass) * probability[likeliest]]
            if len(rivals) > 1:
                return self._end(Status.AMBIGUOUS, likeliest, rivals=rivals)
        doubts = self._unclear(likeliest)
        if doubts or not sure or likeliest in self.by_row[likeliest].doubtful:
            return self._end(Status.LOW_CONFIDENCE, likeliest, clause=doubts[0] if doubts else None)
        return self._end(self._usable(likeliest), likeliest)

    def _several(self, said: int) -> ResolvedChoice:
        clear, unclear = self.fitting()
        rows = clear or unclear
        if said > 0 and len(clear) + len(unclear) < said:
            worst = _worst(self.belief, _closest(self.belief, self._config))
            return self._end(Status.RELATION_UNSATISFIED, rows[0], clause=worst, several=rows)
        if said > 0 and len(clear) > said:
            return self._end(Status.AMBIGUOUS, rows[0], rivals=clear)
        if unclear and len(clear) != said:
            clause = next(iter(self._unclear(unclear[0])), None)
            return self._end(Status.LOW_CONFIDENCE, unclear[0], clause=clause)
        for row in clear:
            if self._usable(row) is not Status.OK:
                return self._end(self._usable(row), row)
        return self._end(Status.OK, clear[0], several=clear)

    def fitting(self) -> tuple[list[int], list[int]]:
        """Rows that fit clearly, and rows that fit unclearly; the nearest first.

        Each must reach by itself the probability that a single object needs: name, attributes and anchors decided.
        """
        distance = np.nan_to_num(np.linalg.norm(self.scorer.layout.centre, axis=1), nan=np.inf)
        alive = {*np.flatnonzero(self.alive).tolist(), *self._confirmed}
        rows = sorted(alive, key=lambda row: float(distance[row]))
        clear = [row for row in rows if row in self._confirmed
                 or (self.weight[row] >= self._config.mass and not self._unclear(row))]  # fmt: skip
        return clear, [row for row in rows if row not in clear]

    def _unclear(self, row: int) -> list[ClauseBelief]:
        doubts = in_doubt(self.by_row[row], row, self._config)
        return [clause for clause, state in doubts if state is ClauseState.UNCLEAR]

    def _usable(self, row: int) -> Status:
        return usable(row, self.scorer)


def in_doubt(belief: PhraseBelief, row: int, config: DecisionConfig) -> list[tuple[ClauseBelief, ClauseState]]:
    """The clauses that do not clearly hold for an object, and their states.

    Where the phrase chooses among objects of its name, the words say that the clause holds for one of them. It then
    fails for the object only if it holds for none: with the odds of an object that was not detected. This is not so
    for directions: what is hardly on a side is on none.
    """
    one = belief.phrase.count in (None, 1) and belief.phrase.choice is None
    chosen = one and np.count_nonzero(belief.fit >= config.found) > 1 and not any(c.is_order for c in belief.clauses)
    found: list[tuple[ClauseBelief, ClauseState]] = []
    for clause in belief.clauses:
        likelihood = float(clause.likelihood[row])
        graded = clause.name not in _DIRECTED and bool(np.isfinite(clause.margin[row]))
        if chosen and graded and state_of(likelihood, config.holds) is ClauseState.UNCLEAR:
            likelihood /= likelihood + config.unseen * (1.0 - likelihood)
        state = state_of(likelihood, config.holds)
        if state is not ClauseState.HOLDS:
            found.append((clause, state))
    return found


def usable(row: int, scorer: PhraseScorer) -> Status:
    """Check if a meant object is usable: OK, OCCLUDED or DEPTH_INVALID."""
    obj = scorer.layout.scene.objects[row]
    if obj.visible_fraction < scorer.config.decision.min_visible:
        return Status.OCCLUDED
    return Status.OK if obj.depth_problem is None else Status.DEPTH_INVALID


def phrases_not_found(belief: PhraseBelief, found: float) -> Iterator[NounPhrase]:
    """Phrases, outermost first, whose name and attributes fit no detected object."""
    if not (belief.fit >= found).any():
        yield belief.phrase
    for clause in belief.clauses:
        if not clause.on_support:
            for anchor in clause.inner:
                yield from phrases_not_found(anchor, found)


def _closest(belief: PhraseBelief, config: DecisionConfig) -> int:
    """Row that fits all clauses best: by weight, then by its least margin."""
    least = np.full(len(belief.fit), np.inf)
    for clause in belief.clauses:
        if not clause.is_order:
            least = np.minimum(least, np.where(np.isfinite(clause.margin), clause.margin, -np.inf))
    rows = np.flatnonzero(belief.fit >= config.found)
    return int(max(rows, key=lambda row: (round(float(belief.weight[row]), 4), least[row])))


def _worst(belief: PhraseBelief, row: int) -> ClauseBelief | None:
    relations = [clause for clause in belief.clauses if not clause.is_order]
    return min(relations, key=lambda clause: float(clause.chance[row])) if relations and row >= 0 else None


def candidates(verdict: ResolvedChoice, scorer: PhraseScorer) -> tuple[Candidate, ...]:
    """The objects that the phrase may mean, likeliest first, with every clause measured."""
    config = scorer.config.decision
    belief = verdict.belief
    rows = [int(r) for r in np.argsort(-verdict.probability, kind="stable") if belief.fit[r] >= config.found]
    objects = scorer.layout.scene.objects
    said = () if verdict.judge is None else verdict.judge.relations
    told = {(one.relation, one.target_id, one.anchor_id): one.model_p for one in said}
    return tuple(
        Candidate(
            id=objects[row].id,
            label=objects[row].detection.label,
            probability=round(float(verdict.probability[row]), 6),
            clauses=tuple(_measurements(verdict.by_row[row], row, scorer, told)),
        )
        for row in rows[:_MOST_CANDIDATES]
    )


def _measurements(
    belief: PhraseBelief, row: int, scorer: PhraseScorer, told: Mapping[tuple[str, str, str], float | None]
) -> Iterator[ClauseMeasurement]:
    """The phrase's clauses at one row, then those of the anchors chosen there; `told`: a model's answers."""
    objects = scorer.layout.scene.objects
    for clause in belief.clauses:
        pair = pair_of(clause, row, scorer.default_frame)
        model_p = None if pair is None else told.get((pair[0], objects[pair[1]].id, objects[pair[2]].id))
        if model_p is not None:
            model_p = round(1.0 - model_p if clause.negated else model_p, 6)
        yield dataclasses.replace(measurement_at(clause, row, scorer), model_p=model_p)
        for inner, anchor in zip(clause.inner, clause.anchors[row][clause.anchors[row] >= 0].tolist(), strict=False):
            yield from _measurements(inner, anchor, scorer, told)


def measurement_at(clause: ClauseBelief, row: int, scorer: PhraseScorer) -> ClauseMeasurement:
    """A judged clause at one row, rounded to 1e-6."""
    objects, margin = scorer.layout.scene.objects, float(clause.margin[row])
    anchors = tuple(objects[int(a)].id for a in clause.anchors[row] if a >= 0)
    return ClauseMeasurement(
        relation=("not " if clause.negated else "") + clause.name,
        anchor_ids=(SUPPORT_ID,) if clause.on_support else anchors,
        margin_m=round(margin, 6) if np.isfinite(margin) else None,
        state=state_of(float(clause.likelihood[row]), scorer.config.decision.holds),
        likelihood=round(float(clause.likelihood[row]), 6),
    )


# --------------------------------------------------------------------------------------------------
# How far an answer can be trusted: its names, its relations, and what the frame shows without a name. This is the last
# place that turns an answer into a question.

_SAME_NAME = 0.1
"""Assumed chance that a thing of a fitting size without a name has the one in the words, if a detector misses all."""
_ODD = 0.12  # what a size does to the odds of a name, below which a person is asked: 3.7 times the usual size, or flat
_WHOLE = 0.7  # visible fraction above which the size of an object is that of all of it
_FITTING = 4.0  # times the area of the object meant, up to which something without a name may be another of its name


def belief_of(verdict: ResolvedChoice, scorer: PhraseScorer) -> Belief:
    """The probability that an answer is right, and what it is made of."""
    return _weighed(verdict, scorer)[0]


def believed(verdict: ResolvedChoice, scorer: PhraseScorer) -> ResolvedChoice:
    """Ask a person about an answer that is less probable than `decision.mass`, and say what makes it so."""
    if verdict.status is not Status.OK:
        return verdict
    scene = scorer.layout.scene
    unnamed = {region.id for region in scene.unexplained}
    belief, doubt, misnamed = _weighed(verdict, scorer)
    asked = dataclasses.replace(verdict, status=Status.LOW_CONFIDENCE, trust=belief, doubt=doubt, misnamed=misnamed)
    for row in set(verdict.meant) - set(scorer.confirmed):
        obj = scene.objects[row]
        if obj.id in unnamed:
            odds, doubt = 1.0, "no detection says what it is"  # assumed: as likely meant as not
        elif _by_size(obj) < _ODD:  # the bare table in a wrong box, whatever its score
            odds, doubt = _by_size(obj), _odd_size(obj)
        else:
            continue
        names = min(belief.names, round(odds / (1.0 + odds), 6))
        trust = Belief(round(belief.relations * names * belief.complete, 6), belief.relations, names, belief.complete)
        return dataclasses.replace(asked, chosen=row, several=(), trust=trust, doubt=doubt)
    return asked if belief.probability < scorer.config.decision.mass else dataclasses.replace(verdict, trust=belief)


def unnamed_in_doubt(verdict: ResolvedChoice, scorer: PhraseScorer) -> tuple[UnexplainedRegion, ...]:
    """What has no name and might change a decision if it had one, largest first."""
    scene = scorer.layout.scene
    if verdict.status is Status.NOT_FOUND:
        return scene.unexplained
    if verdict.status is not Status.OK or believed(verdict, scorer).status is Status.OK:
        return ()
    doubted = {*_alike(verdict, scene), *(scene.objects[row].id for row in verdict.meant)}
    return tuple(region for region in scene.unexplained if region.id in doubted)


def _weighed(verdict: ResolvedChoice, scorer: PhraseScorer) -> tuple[Belief, str, tuple[int, ...]]:
    """The belief, what speaks most against the answer, and rows of other objects whose names are in doubt."""
    scene, opinion = scorer.layout.scene, verdict.opinion
    chosen = set(verdict.meant) <= set(scorer.confirmed)  # a person was told every doubt before choosing
    placed: list[tuple[int, bool]] = []  # the objects of the destination
    place = verdict.query.destination
    for anchor in () if place is None else place.anchors:
        if not is_person(anchor) and anchor.category != ITSELF:
            there = scorer.score_phrase(anchor, anchor=True)
            weight = there.weight.copy()
            weight[list(verdict.meant)] = 0.0
            if weight.max(initial=0.0) > 0:
                placed += _named(there, int(weight.argmax()))
    of_each = [
        {row for row, named in (*_named(verdict.by_row[of], of), *placed) if named and not chosen}
        for of in verdict.meant
    ]
    odds = {}  # that an object has the name of its detection: by its score, and by its size
    for row in sorted(set().union(*of_each)):
        seen, profile = scene.objects[row].detection, scorer.profile
        shift = profile.offset + profile.labels.get(seen.label, 0.0)
        odds[row] = math.exp(min(profile.slope * seen.score + shift, 50.0)) * _by_size(scene.objects[row])
    least = min(odds, key=lambda row: odds[row], default=verdict.chosen)
    mass = scorer.config.decision.mass
    others = tuple(row for row, for_it in odds.items() if row not in verdict.meant and for_it < mass * (1.0 + for_it))
    names = min(math.prod(odds[row] / (1.0 + odds[row]) for row in rows) for rows in of_each)
    alike = [] if chosen else _alike(verdict, scene)
    complete = 1.0 - (1.0 - scorer.profile.recall) * (1.0 - (1.0 - _SAME_NAME) ** len(alike))
    total = verdict.sure * names * complete
    if opinion is not None and opinion.effect == "confirmed":  # a second source has looked, too
        total = max(total, opinion.combined_probability)
    belief = Belief(*(round(value, 6) for value in (total, verdict.sure, names, complete)))
    if complete < min(names, verdict.sure):
        said = "something" if len(alike) == 1 else f"one of {len(alike)} things"
        return belief, f"{said} that I cannot name may be meant", others
    if names < verdict.sure:
        obj, right = scene.objects[least], odds[least] / (1.0 + odds[least])
        if _by_size(obj) < _ODD:
            return belief, _odd_size(obj), others
        doubt = f"the name {obj.detection.label!r} of {obj.id} is right with a probability of only {right:.2f}"
        return belief, doubt, others
    return belief, f"all words together leave it a probability of only {total:.2f}", others


def _named(belief: PhraseBelief, row: int) -> Iterator[tuple[int, bool]]:
    """Rows of an object and of all anchors that lead to it, and whether the words give each a name."""
    yield row, belief.phrase.category != "object"
    for clause in belief.clauses:
        if not clause.on_support:
            anchors = [int(anchor) for anchor in clause.anchors[row] if anchor >= 0]
            for inner, anchor in zip(clause.inner, anchors, strict=False):
                yield from _named(inner, anchor)


def _by_size(obj: SceneObject) -> float:
    whole = not obj.truncated and obj.visible_fraction > _WHOLE
    return size_odds(obj.detection.label, obj.box.size, whole)


def _alike(verdict: ResolvedChoice, scene: Scene) -> list[str]:
    """Ids of what has no name and a size like the one object that the words name: another of the same name, perhaps."""
    target = verdict.query.target
    if target.category == "object" or target.choice is not None or target.count not in (None, 1):
        return []
    size = scene.objects[verdict.chosen].box.size
    area = float(np.sqrt(size[0] * size[1]) * size[2])
    return [one.id for one in scene.unexplained if 1 / _FITTING < one.area / max(area, 1e-6) < _FITTING]


def _odd_size(obj: SceneObject) -> str:
    sides = " × ".join(f"{100 * side:.1f}" for side in obj.box.size)
    return f"{sides} cm are an odd size for {obj.detection.label!r}: check its name, the depth unit and the camera info"


# --------------------------------------------------------------------------------------------------
# Objects that a motion must keep away from because the words say so: "grab the plate without touching the cup".


def with_avoided(verdict: ResolvedChoice, scorer: PhraseScorer) -> ResolvedChoice:
    """Add the objects to avoid to a decision: every object that the words may mean, except those acted on.

    If an object to avoid is not found, an answer becomes a refusal, because the arm could not keep away from it.
    """
    if verdict.status is not Status.OK or not verdict.query.avoid:
        return verdict
    config = scorer.config.decision
    avoided: dict[int, None] = {}
    for phrase in verdict.query.avoid:
        belief = scorer.score_phrase(phrase, anchor=True)
        missing = next(phrases_not_found(belief, config.found), None)
        weight = belief.weight.copy()
        weight[list(verdict.meant)] = 0.0
        if missing is None and not (weight > 0).any() and any(c.relation == OTHER_THAN for c in phrase.relations):
            continue  # "leave the others", and there are none
        if missing is not None or not (weight > 0).any():
            return dataclasses.replace(verdict, status=Status.NOT_FOUND, phrase=missing or phrase, placing=None)
        least = (1.0 - config.mass) * float(weight.max())
        avoided |= dict.fromkeys(row for row in range(len(weight)) if weight[row] >= least and weight[row] > 0)
    return dataclasses.replace(verdict, avoided=tuple(avoided))
