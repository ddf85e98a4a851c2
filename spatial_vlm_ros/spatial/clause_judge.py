# SPDX-License-Identifier: Apache-2.0
"""Combine a model's verdicts on single relations with the measurement. docs/second_opinion.md.

Geometry leads: a model is asked about the relations of the candidates, and its answers change their odds by a measured
ratio, relation by relation. A model never gives a position: an object without measured depth has no pose, and a clear
measurement is never reversed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.geometry.boxes import in_image, in_line
from spatial_vlm_ros.spatial.belief import ClauseBelief, PhraseBelief, state_of
from spatial_vlm_ros.spatial.clauses import (
    Box,
    ModelEvidence,
    PairKey,
    is_shown,
    pair_of,
)
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.detector_profile import read_measured
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.wording import name_of
from spatial_vlm_ros.types import ClauseState, JudgedRelation, JudgeEffect, JudgeReport, SpatialQuery, Status

_OPEN = (Status.LOW_CONFIDENCE, Status.AMBIGUOUS)
_EDGE = 1e-6  # a model's probabilities are kept at least this far from 0 and 1
_FAR = 30.0  # log-odds beyond which a probability is 0 or 1 in floating point
_RIDGE = 1e-3  # keeps the slope finite if all probabilities are equal
_SURE = 2.0  # standard errors by which a slope must be above 0 for a model to count as informative
_NAMES = ("slope", "error", "offset", "n", "positive")
_REPAIR = "measure it with `spatial-vlm evaluate --judge-calibration`, or write it as docs/second_opinion.md says"


# ------------------------------------------------------------------------------------------------ calibration


@dataclass(frozen=True)
class JudgeCalibration:
    """Calibration of a model's probabilities for one relation: logistic(slope · log-odds + offset).

    Source: Platt (1999), Probabilistic outputs for support vector machines.
    """

    slope: float
    error: float
    offset: float
    n: int
    positive: int

    @property
    def informs(self) -> bool:
        """True if the model's probability clearly rises with the truth; mostly wrong models are not inverted."""
        return self.slope > _SURE * self.error

    def probability(self, p: float) -> float:
        """Probability that the relation holds if the model gives `p`, at the base rate of the calibration data.

        Never closer to 0 or 1 than 1 / (n + 2), because n cases do not show more.
        """
        q = min(max(p, _EDGE), 1.0 - _EDGE)
        odds = min(max(self.slope * math.log(q / (1.0 - q)) + self.offset, -_FAR), _FAR)
        unknown = 1.0 / (self.n + 2.0)
        return min(max(1.0 / (1.0 + math.exp(-odds)), unknown), 1.0 - unknown)

    def ratio(self, p: float) -> float:
        """Likelihood ratio of the model giving `p` if the relation holds and if it does not.

        1 if that contradicts `probability`: for a relation that is rarely true, a small probability may speak for it,
        but it is still unlikely.
        """
        share = (self.positive + 1.0) / (self.n + 2.0)
        known = self.probability(p)
        ratio = known / (1.0 - known) * (1.0 - share) / share
        return ratio if (ratio > 1.0) == (known > 0.5) else 1.0


@dataclass(frozen=True)
class JudgeCalibrations:
    """Measured calibrations by relation."""

    model: str = ""
    by_relation: Mapping[str, JudgeCalibration] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, name: str) -> JudgeCalibration | None:
        """The calibration of a relation; None if the model was not measured on it, or was not informative."""
        known = self.by_relation.get(name)
        return known if known is not None and known.informs else None


def load_calibrations(path: str | Path) -> JudgeCalibrations:
    """Read {"schema": 1, "model": "…", "relations": {"left of": {"slope", "error", "offset", "n", "positive"}}}.

    Other entries, which `spatial-vlm evaluate --judge-calibration` writes, are for people and ignored.
    """
    value = read_measured(path, _REPAIR, ("relations",))
    if not isinstance(value["relations"], dict):
        raise FileError(path, "relations must be an object", _REPAIR)
    found = {}
    for name, one in value["relations"].items():
        where = f"relations.{name}"
        if not isinstance(one, dict) or set(one) != set(_NAMES):
            raise FileError(path, f"the fields must be {', '.join(_NAMES)}", _REPAIR, where)
        numbers = [one[k] for k in ("slope", "error", "offset")]
        if not all(type(v) in (int, float) and abs(v) <= 1000.0 for v in numbers) or one["error"] < 0:
            raise FileError(path, "slope, error and offset must be numbers of at most 1000", _REPAIR, where)
        n, positive = one["n"], one["positive"]
        if not (type(n) is type(positive) is int and 0 <= positive <= n <= 10**9):
            raise FileError(path, "n and positive must be whole numbers, positive at most n", _REPAIR, where)
        slope, error, offset = (float(v) for v in numbers)
        found[name] = JudgeCalibration(slope, error, offset, n, positive)
    return JudgeCalibrations(value["model"], MappingProxyType(found))


def fitted(p: Array, holds: Array) -> JudgeCalibration:
    """Fit the calibration of one relation on (n,) probabilities of the model and whether the relation holds.

    By Newton's method on the likelihood of Platt's smoothed truths, (positive + 1) / (positive + 2) and 1 / (n -
    positive + 2); the error comes from the curvature there.
    """
    n, positive = len(p), int(np.count_nonzero(holds))
    q = np.clip(p, _EDGE, 1.0 - _EDGE)
    x = np.stack((np.log(q / (1.0 - q)), np.ones(n)), axis=1)
    y = np.where(holds, (positive + 1.0) / (positive + 2.0), 1.0 / (n - positive + 2.0))
    ridge = np.array([_RIDGE, 1e-9])
    weights, curvature = np.zeros(2), np.eye(2)
    for _ in range(200):
        expected = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -_FAR, _FAR)))
        curvature = (x * (expected * (1.0 - expected))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(curvature, x.T @ (y - expected) - ridge * weights)
        weights += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    slope, offset = (float(np.clip(v, -1000.0, 1000.0)) for v in weights)
    error = min(float(np.sqrt(np.linalg.inv(curvature)[0, 0])), 1000.0)
    return JudgeCalibration(round(slope, 6), round(error, 6), round(offset, 6), n, positive)


# ------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True)
class ClauseQuestion:
    """A relation that a model is asked about."""

    key: PairKey  # canonical relation, rows of target and anchor
    name: str
    likelihood: float  # probability that it holds, by measurement
    # True if the image shows the two on one line of sight, which "behind" and "in front of" need; True for other
    # relations
    in_line: bool
    # rows of the candidates that it is asked for, each with True if the words deny it
    said_for: frozenset[tuple[int, bool]]


@dataclass(frozen=True)
class AskedRelations:
    """The relations that a model is asked about."""

    questions: tuple[ClauseQuestion, ...] = ()
    whole: bool = True  # True if no askable relation was left out, for any candidate that measurement leaves open
    left_out: frozenset[int] = frozenset()  # rows of all candidates with such a left-out relation


def asked_of(
    choice: ResolvedChoice,
    scorer: PhraseScorer,
    askable: Sequence[str],
    most: int,
    candidates: int,
) -> AskedRelations:
    """Choose the relations of the likeliest candidates that a model can be asked about.

    Empty if the answers could change nothing: for refusals that geometry alone decides. With judge.mode auto, also
    empty if only one object has the name and measurement confirms it.
    """
    if choice.status is not Status.OK and choice.status not in _OPEN:
        return AskedRelations()
    config = scorer.config.decision
    rows = [int(r) for r in np.argsort(-choice.probability, kind="stable") if choice.belief.fit[r] >= config.found]
    if scorer.config.judge.mode == "auto" and len(rows) == 1 and choice.status is Status.OK:
        return AskedRelations()
    found: dict[PairKey, ClauseQuestion] = {}
    scene = scorer.layout.scene
    left_out: set[int] = set()

    def shown(key: PairKey) -> bool:
        return is_shown(key[0], *_boxes(key, scorer), scene.frame.camera, scene.up)

    for n, row in enumerate(rows):
        for key, clause in relations_at(choice.by_row[row], row, scorer):
            if key[0] not in askable:
                continue
            before = found.get(key)
            if before is None and (n >= candidates or len(found) >= most or not shown(key)):
                left_out.add(row)
                continue
            holds = float(clause.likelihood[key[1]])
            said_for = {(row, clause.negated), *(before.said_for if before else ())}
            boxes = _boxes(key, scorer)
            found[key] = ClauseQuestion(
                key, in_image(key[0], *boxes), 1.0 - holds if clause.negated else holds, in_line(key[0], *boxes),
                frozenset(said_for),
            )  # fmt: skip
    whole = all(ClauseState.FAILS in _states(choice, row, scorer) for row in left_out)
    return AskedRelations(tuple(found.values()), whole, frozenset(left_out))


def _boxes(key: PairKey, scorer: PhraseScorer) -> tuple[Box, Box]:
    target, anchor = (scorer.layout.scene.objects[row].detection.box_xyxy for row in key[1:])
    return target, anchor


def relations_at(belief: PhraseBelief, row: int, scorer: PhraseScorer) -> Iterator[tuple[PairKey, ClauseBelief]]:
    """The clauses of a phrase at one row, then those of the anchors chosen there; only clauses about single pairs."""
    for clause in belief.clauses:
        key = pair_of(clause, row, scorer.default_frame)
        if key is not None:
            yield key, clause
        for inner, anchor in zip(clause.inner, clause.anchors[row], strict=False):
            if anchor >= 0:
                yield from relations_at(inner, int(anchor), scorer)


# ------------------------------------------------------------------------------------------------ the rule


def with_judgements(
    choice: ResolvedChoice,
    scorer: PhraseScorer,
    queries: Sequence[SpatialQuery],
    asked: AskedRelations,
    said: Sequence[float | None],
    calibrations: JudgeCalibrations,
) -> ResolvedChoice:
    """Add what a model `said` about relations to a decision; with `judge.mode` fuse, decide again by Bayes' rule.

    If the model's evidence makes an answer unclear, or changes it to another object or reading, a person must decide. A
    case that measurement left open becomes an answer if the evidence settles it: never for an object with a relation
    that fails by measurement, never against an object that clearly fits, and only with an opinion on each relation of
    each candidate that measurement leaves open.
    """
    known = [(one, p, calibrations.of(one.name)) for one, p in zip(asked.questions, said, strict=True)]
    ids = [obj.id for obj in scorer.layout.scene.objects]
    told = tuple(
        JudgedRelation(
            relation=one.key[0],
            target_id=ids[one.key[1]],
            anchor_id=ids[one.key[2]],
            likelihood=round(one.likelihood, 6),
            raw_p=None if p is None else round(p, 6),
            model_p=None if p is None or of is None else round(of.probability(p), 6),
        )
        for one, p, of in known
    )
    evidence = evidence_of(asked.questions, said, calibrations)
    target = choice.query.target
    if scorer.config.judge.mode != "fuse":
        return _with(choice, told, "reported", "judge.mode is not fuse")
    if not evidence.ratio:
        reason = "its answers have no weight: it has no opinion, or no calibration gives it weight"
        return _with(choice, told, "reported", reason)
    if target.count not in (None, 1) or target.choice is not None:
        return _with(choice, told, "reported", "its answers count only if the words ask for one object")
    again = decide(queries, scorer.with_evidence(evidence))
    denied = {  # candidates for which the model denies what was said
        row
        for one, p, of in known
        for row, negated in one.said_for
        if p is not None and of is not None and (of.probability(p) > 0.5) is negated
    }
    if choice.status is Status.OK:
        weightless = {row for one, _, _ in known if one.key not in evidence.ratio for row, _ in one.said_for}
        return _checked(choice, again, scorer, told, denied, weightless | asked.left_out)
    whole = asked.whole and len(evidence.ratio) == len(asked.questions)
    reason = _unsettled(choice, again, scorer, denied, whole)
    return _with(choice, told, "reported", reason) if reason else _with(again, told, "settled", "its answers decide")


def evidence_of(
    asked: Sequence[ClauseQuestion], said: Sequence[float | None], calibrations: JudgeCalibrations
) -> ModelEvidence:
    """Weight of what a model `said`: a ratio for each relation with an opinion (None = none) and a calibration.

    The model is asked which of two objects is farther, but "behind" needs more: for two objects side by side its answer
    can only speak against it.
    """
    known = [(one, calibrations.of(one.name), p) for one, p in zip(asked, said, strict=True)]
    ratio = {one.key: (one.in_line, of.ratio(p)) for one, of, p in known if p is not None and of is not None}
    return ModelEvidence(MappingProxyType({key: r if line else min(r, 1.0) for key, (line, r) in ratio.items()}))


def _with(choice: ResolvedChoice, told: tuple[JudgedRelation, ...], effect: JudgeEffect, reason: str) -> ResolvedChoice:
    return dataclasses.replace(choice, judge=JudgeReport(told, effect, reason))


def _checked(
    choice: ResolvedChoice,
    again: ResolvedChoice,
    scorer: PhraseScorer,
    told: tuple[JudgedRelation, ...],
    denied: Set[int],
    unknown: Set[int],
) -> ResolvedChoice:
    """Check geometry's answer against the model's evidence.

    Rows of candidates: `denied` if the model denies what was said, `unknown` if a relation was left out or has no
    weight.
    """
    if again.status is Status.OK and again.query == choice.query:
        if again.chosen != choice.chosen:
            rivals = choice.chosen, again.chosen
            differs = dataclasses.replace(choice, status=Status.DISAGREEMENT, rivals=rivals, sure=1.0 - again.sure)
            return _with(differs, told, "disagreed", "its answers select another object")
        if choice.chosen not in denied:
            if choice.chosen in unknown:
                return _with(
                    again, told, "reported", "it has no reliable opinion on a relation of the object that is meant"
                )
            return _with(again, told, "confirmed", "its answers select the same object")
        before, after = (
            {key for key, _ in relations_at(one.by_row[one.chosen], one.chosen, scorer)} for one in (choice, again)
        )
        if before == after:  # otherwise another anchor is meant, which the model was not asked about
            return _with(again, told, "reported", "it denies a relation of which the measurement is more certain")
    ours = name_of(scorer.layout.scene.objects[choice.chosen])
    doubt = f"a model that was asked about its relations leaves it unclear whether the {ours} is meant"
    sure = float(again.probability[choice.chosen])
    unsure = dataclasses.replace(choice, status=Status.LOW_CONFIDENCE, doubt=doubt, sure=sure)
    return _with(unsure, told, "doubted", "with its answers, it is not clear which object is meant")


def _unsettled(
    choice: ResolvedChoice, again: ResolvedChoice, scorer: PhraseScorer, denied: Set[int], whole: bool
) -> str:
    """Why the model's evidence, `whole` if it all has weight, leaves open what measurement did; empty if not."""
    if again.status is not Status.OK or again.query != choice.query:
        return "with its answers, it is still not clear which object is meant"
    if choice.doubt is not None or choice.frames or choice.phrase is not None:
        return "only the person can say what was meant"
    if not whole:
        return "it has no reliable opinion on some of the deciding relations"
    states = {row: _states(choice, row, scorer) for row in {choice.chosen, *choice.rivals, again.chosen}}
    if again.chosen in denied or ClauseState.FAILS in states[again.chosen]:
        return "measurement or the model itself denies a relation of the object that its answers select"
    if again.chosen not in (choice.chosen, *choice.rivals):
        return "its answers select none of the rival objects"
    if any(row != again.chosen and set(of) <= {ClauseState.HOLDS} for row, of in states.items()):
        return "the whole description clearly holds for another object"
    return ""


def _states(choice: ResolvedChoice, row: int, scorer: PhraseScorer) -> list[ClauseState]:
    """States of an object's clauses by measurement, including those of its anchors."""
    holds = scorer.config.decision.holds

    def states(belief: PhraseBelief, at: int) -> Iterator[ClauseState]:
        for clause in belief.clauses:
            yield state_of(float(clause.likelihood[at]), holds)
            for inner, anchor in zip(clause.inner, clause.anchors[at], strict=False):
                if anchor >= 0:
                    yield from states(inner, int(anchor))

    return list(states(choice.by_row[row], row))
