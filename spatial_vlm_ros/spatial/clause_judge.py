# SPDX-License-Identifier: Apache-2.0
"""What a model's verdicts on single relations count for beside the measurement. docs/relation_judge.md.

The geometry leads: a model is asked about the relations of the candidates, and what it says changes their odds by a
ratio that was measured, relation by relation. A model never places anything: what has no measured depth has no pose,
and what measurement says clearly is never turned into its contrary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.spatial import wording
from spatial_vlm_ros.spatial.belief import ClauseBelief, PhraseBelief
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.likelihood import state_of
from spatial_vlm_ros.spatial.measured_file import read_measured
from spatial_vlm_ros.spatial.model_evidence import ModelEvidence, PairKey, is_upright, pair_of
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import ClauseState, JudgedRelation, JudgeEffect, JudgeReport, SpatialQuery, Status

MOST_CANDIDATES = 4
"""Candidates whose relations are asked about, the likeliest ones."""
_OPEN = (Status.LOW_CONFIDENCE, Status.AMBIGUOUS)
_EDGE = 1e-6  # a model's probabilities are taken to be at least so far from 0 and 1
_FAR = 30.0  # log-odds beyond which a probability is 0 or 1 for a computer, too
_RIDGE = 1e-3  # keeps the slope finite where all probabilities are alike
_SURE = 2.0  # standard errors by which a slope is above 0 where a model knows something
_NAMES = ("slope", "error", "offset", "n", "positive")
_REPAIR = "measure it with `spatial-vlm calibrate --judge`, or write it as docs/relation_judge.md says"


# ------------------------------------------------------------------------------------------------ calibration


@dataclass(frozen=True)
class JudgeCalibration:
    """How a model's probabilities of one relation follow the truth: logistic(slope · log-odds + offset).

    Source: Platt (1999), Probabilistic outputs for support vector machines.

    Args:
        slope: of the log-odds.
        error: standard error of the slope.
        offset: on the scale of log-odds.
        n: relations that it was measured on.
        positive: how many of these held.
    """

    slope: float
    error: float
    offset: float
    n: int
    positive: int

    @property
    def informs(self) -> bool:
        """Whether what the model has likelier is clearly likelier; what is mostly wrong is not inverted."""
        return self.slope > _SURE * self.error

    def probability(self, p: float) -> float:
        """That the relation holds, where the model has `p`, and it holds as often as where it was measured.

        Never surer than 1 / (n + 2) from 0 and 1: so much is not known from n cases.
        """
        odds = min(max(self.slope * _log_odds(p) + self.offset, -_FAR), _FAR)
        unknown = 1.0 / (self.n + 2.0)
        return min(max(1.0 / (1.0 + math.exp(-odds)), unknown), 1.0 - unknown)

    def ratio(self, p: float) -> float:
        """How much likelier the model has `p` where the relation holds than where it does not."""
        share = (self.positive + 1.0) / (self.n + 2.0)
        known = self.probability(p)
        return known / (1.0 - known) * (1.0 - share) / share


@dataclass(frozen=True)
class JudgeCalibrations:
    """Measured calibrations by relation.

    Args:
        model: what was measured, for people.
        by_relation: canonical relation → its calibration.
    """

    model: str = ""
    by_relation: Mapping[str, JudgeCalibration] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, relation: str) -> JudgeCalibration | None:
        """That of a relation of which the model was measured to know something."""
        known = self.by_relation.get(relation)
        return known if known is not None and known.informs else None


def load_calibrations(path: str | Path) -> JudgeCalibrations:
    """Read {"schema": 1, "model": "…", "relations": {"behind": {"slope", "error", "offset", "n", "positive"}}}.

    What else it says, as `spatial-vlm calibrate --judge` writes it, is for people.

    Raises:
        FileError: the file is missing, too large, or not of that form.
    """
    model, relations = read_measured(path, _REPAIR)
    found = {name: _calibration(path, name, one) for name, one in relations.items()}
    return JudgeCalibrations(model, MappingProxyType(found))


def _calibration(path: str | Path, name: str, value: Any) -> JudgeCalibration:
    where = f"relations.{name}"
    if not isinstance(value, dict) or set(value) != set(_NAMES):
        raise FileError(path, f"not {', '.join(_NAMES)}", _REPAIR, where)
    numbers = [value[k] for k in ("slope", "error", "offset")]
    if not all(type(v) in (int, float) and abs(v) <= 1000.0 for v in numbers) or value["error"] < 0:
        raise FileError(path, "a slope, its error or an offset that is no number up to 1000", _REPAIR, where)
    n, positive = value["n"], value["positive"]
    if not (type(n) is type(positive) is int and 0 <= positive <= n <= 10**9):
        raise FileError(path, "counts that are no whole numbers with positive up to n", _REPAIR, where)
    slope, error, offset = (float(v) for v in numbers)
    return JudgeCalibration(slope, error, offset, n, positive)


def fitted(p: Array, holds: Array) -> JudgeCalibration:
    """The calibration of one relation on labelled pairs.

    By Newton's method on the likelihood of Platt's smoothed truths, (positive + 1) / (positive + 2) and
    1 / (n - positive + 2); the error is that of the curvature there.

    Args:
        p: (n,) probabilities of the model.
        holds: (n,) bool, the truth.
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


def _log_odds(p: float) -> float:
    q = min(max(p, _EDGE), 1.0 - _EDGE)
    return math.log(q / (1.0 - q))


# ------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True)
class ClauseQuestion:
    """A relation that a model is asked about.

    Args:
        key: canonical relation, rows of target and anchor.
        candidate: row of the candidate for whose sake it is asked.
        likelihood: probability by the measurement that what was said holds, negation included.
        negated: whether it was said that it does not hold.
    """

    key: PairKey
    candidate: int
    likelihood: float
    negated: bool


def asked_of(
    choice: ResolvedChoice,
    scorer: PhraseScorer,
    askable: Sequence[str],
    most: int,
    candidates: int = MOST_CANDIDATES,
) -> list[ClauseQuestion]:
    """Relations of the likeliest candidates, one by one, as far as a model can be asked about them.

    None where its answers could change nothing: of refusals that are for the geometry alone to say.

    Args:
        choice: of the geometry.
        scorer: the scene.
        askable: relations that a model can be asked about.
        most: how many, at most.
        candidates: of how many candidates, at most.
    """
    if choice.status is not Status.OK and choice.status not in _OPEN:
        return []
    config = scorer.config.decision
    upright = is_upright(scorer.layout)
    rows = [int(r) for r in np.argsort(-choice.probability, kind="stable") if choice.belief.fit[r] >= config.found]
    found = (
        ClauseQuestion(key, row, float(clause.likelihood[key[1]]), clause.negated)
        for row in rows[:candidates]
        for key, clause in relations_at(choice.by_row[row], row, scorer)
        if key[0] in askable and (upright or not RELATIONS[key[0]].framed)
    )
    return list({one.key: one for one in found}.values())[:most]


def relations_at(belief: PhraseBelief, row: int, scorer: PhraseScorer) -> Iterator[tuple[PairKey, ClauseBelief]]:
    """The clauses of a phrase at one row, then those of the anchors chosen there; those of single pairs alone."""
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
    asked: Sequence[ClauseQuestion],
    said: Sequence[float | None],
    calibrations: JudgeCalibrations,
) -> ResolvedChoice:
    """The choice with what a model said of its relations; with `judge.mode` fuse, decided again by Bayes' rule.

    An answer that the model's evidence leaves unclear, or turns to another object or reading, is for a person to
    decide. What measurement left open becomes an answer where the evidence settles it: never an object of which
    measurement says that a relation fails, never against one that clearly fits, and only with an opinion on each
    relation that was asked about.

    Args:
        choice: of the geometry, about a single object.
        scorer: the scene.
        queries: the readings that were decided.
        asked: relations, from `asked_of`.
        said: the model's probability of each; None = no opinion.
        calibrations: measured ones of that model.
    """
    told = tuple(_told(one, p, scorer, calibrations) for one, p in zip(asked, said, strict=True))
    known = [(one, p, calibrations.of(one.key[0])) for one, p in zip(asked, said, strict=True)]
    evidence = evidence_of([one.key for one in asked], said, calibrations)
    target = choice.query.target
    if scorer.config.judge.mode != "fuse":
        return _with(choice, told, "reported", "judge.mode is report")
    if not evidence.ratio:
        return _with(choice, told, "reported", "judge.calibration has none of these relations, or it has no opinion")
    if target.count not in (None, 1) or target.choice is not None:
        return _with(choice, told, "reported", "it is weighed for single objects only")
    again = decide(queries, scorer.with_evidence(evidence))
    denied = {
        one.candidate
        for one, p, of in known
        if p is not None and of is not None and (of.probability(p) > 0.5) is one.negated
    }
    if choice.status is Status.OK:
        return _checked(choice, again, scorer, told, denied)
    reason = _unsettled(choice, again, scorer, denied, whole=len(evidence.ratio) == len(asked))
    return _with(choice, told, "reported", reason) if reason else _with(again, told, "settled", "its answers settle it")


def evidence_of(
    keys: Sequence[PairKey], said: Sequence[float | None], calibrations: JudgeCalibrations
) -> ModelEvidence:
    """What a model's answers count for: a ratio for each relation that it has an opinion on and was measured on.

    Args:
        keys: relations that it was asked about.
        said: its probability of each; None = no opinion.
        calibrations: measured ones of that model.
    """
    known = [(key, p, calibrations.of(key[0])) for key, p in zip(keys, said, strict=True)]
    return ModelEvidence(MappingProxyType({key: of.ratio(p) for key, p, of in known if p is not None and of}))


def _with(choice: ResolvedChoice, told: tuple[JudgedRelation, ...], effect: JudgeEffect, reason: str) -> ResolvedChoice:
    return dataclasses.replace(choice, judge=JudgeReport(told, effect, reason))


def _told(
    one: ClauseQuestion, p: float | None, scorer: PhraseScorer, calibrations: JudgeCalibrations
) -> JudgedRelation:
    objects = scorer.layout.scene.objects
    relation, target, anchor = one.key
    known = calibrations.by_relation.get(relation)
    return JudgedRelation(
        relation=relation,
        target_id=objects[target].id,
        anchor_id=objects[anchor].id,
        likelihood=round(1.0 - one.likelihood if one.negated else one.likelihood, 6),
        raw_p=None if p is None else round(p, 6),
        model_p=None if p is None or known is None else round(known.probability(p), 6),
    )


def _checked(
    choice: ResolvedChoice,
    again: ResolvedChoice,
    scorer: PhraseScorer,
    told: tuple[JudgedRelation, ...],
    denied: set[int],
) -> ResolvedChoice:
    """An answer of the geometry, after the model's evidence."""
    if again.status is Status.OK and again.query == choice.query:
        if again.chosen != choice.chosen:
            rivals = choice.chosen, again.chosen
            differs = dataclasses.replace(choice, status=Status.DISAGREEMENT, rivals=rivals, sure=1.0 - again.sure)
            return _with(differs, told, "disagreed", "with its answers another object is meant")
        if choice.chosen not in denied:
            return _with(again, told, "confirmed", "with its answers the same object is meant")
        before, after = (_pairs(one, one.chosen, scorer) for one in (choice, again))
        if before == after:  # else it is meant by another anchor, of which the model was not asked
            return _with(again, told, "reported", "it denies a relation of which measurement is surer")
    ours = wording.name_of(scorer.layout.scene.objects[choice.chosen])
    doubt = f"a model that was asked about its relations leaves it unclear that the {ours} is meant"
    sure = float(again.probability[choice.chosen])
    unsure = dataclasses.replace(choice, status=Status.LOW_CONFIDENCE, doubt=doubt, sure=sure)
    return _with(unsure, told, "doubted", "with its answers it is not clear what is meant")


def _unsettled(
    choice: ResolvedChoice, again: ResolvedChoice, scorer: PhraseScorer, denied: set[int], *, whole: bool
) -> str:
    """Why the model's evidence does not settle what measurement left open; empty where it does."""
    if again.status is not Status.OK or again.query != choice.query:
        return "with its answers it is still not clear what is meant"
    if choice.doubt is not None or choice.frames or choice.phrase is not None:
        return "what was meant is for the person to say"
    if not whole:
        return "it has no opinion on some of these relations, or was not measured on them"
    states = {row: _states(choice, row, scorer) for row in {choice.chosen, *choice.rivals, again.chosen}}
    if again.chosen in denied or ClauseState.FAILS in states[again.chosen]:
        return "measurement or the model itself denies a relation of what its answers choose"
    if again.chosen not in (choice.chosen, *choice.rivals):
        return "its answers choose none of the objects between which it is unclear"
    if any(row != again.chosen and set(of) <= {ClauseState.HOLDS} for row, of in states.items()):
        return "of another object all that was said clearly holds"
    return ""


def _pairs(choice: ResolvedChoice, row: int, scorer: PhraseScorer) -> set[PairKey]:
    return {key for key, _ in relations_at(choice.by_row[row], row, scorer)}


def _states(choice: ResolvedChoice, row: int, scorer: PhraseScorer) -> list[ClauseState]:
    """How the clauses of an object stand by measurement, those of its anchors included."""
    holds = scorer.config.decision.holds

    def states(belief: PhraseBelief, at: int) -> Iterator[ClauseState]:
        for clause in belief.clauses:
            yield state_of(float(clause.likelihood[at]), holds)
            for inner, anchor in zip(clause.inner, clause.anchors[at], strict=False):
                if anchor >= 0:
                    yield from states(inner, int(anchor))

    return list(states(choice.by_row[row], row))


def message(choice: ResolvedChoice, scorer: PhraseScorer) -> str:
    """A DISAGREEMENT in one sentence."""
    ours, theirs = (wording.name_of(scorer.layout.scene.objects[row]) for row in choice.rivals)
    return f"By the depth it is the {ours}, but by the answers of a model about single relations it is the {theirs}."
