# SPDX-License-Identifier: Apache-2.0
"""What a model's verdicts on single relations count for beside the measurement. docs/relation_judge.md.

The geometry leads: a model is asked about the relations that decide between candidates, and what it says changes their
odds by a ratio that was measured, relation by relation. A model never places anything: what has no measured depth has
no pose, whatever it says.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.spatial import wording
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.model_evidence import ModelEvidence, PairKey
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import FrameOfReference, JudgedRelation, JudgeReport, SpatialQuery, Status

MOST_CANDIDATES = 4
"""Candidates whose relations are asked about, the likeliest ones."""
_LARGEST_FILE = 1 << 20  # bytes
_EDGE = 1e-6  # probabilities are taken to be at least so far from 0 and 1
_REPAIR = "measure it with `spatial-vlm calibrate --judge`, or write it as docs/relation_judge.md says"


@dataclass(frozen=True)
class JudgeCalibration:
    """How a model's probabilities of one relation follow the truth: logistic(slope · log-odds + offset).

    Source: Platt (1999), Probabilistic outputs for support vector machines.

    Args:
        slope: of the log-odds.
        offset: on the scale of log-odds.
        n: relations that it was measured on.
        positive: how many of these held.
    """

    slope: float
    offset: float
    n: int
    positive: int

    @property
    def informs(self) -> bool:
        """Whether what the model has likelier is likelier; what is mostly wrong is not turned round."""
        return self.slope > 0.0

    def probability(self, p: float) -> float:
        """That the relation holds, where the model has `p`, and it holds as often as where it was measured."""
        return 1.0 / (1.0 + math.exp(-(self.slope * _log_odds(p) + self.offset)))

    def ratio(self, p: float) -> float:
        """How much likelier the model has `p` where the relation holds than where it does not."""
        share = (self.positive + 1.0) / (self.n + 2.0)
        return math.exp(_log_odds(self.probability(p)) - _log_odds(share))


@dataclass(frozen=True)
class JudgeCalibrations:
    """Measured calibrations by relation.

    Args:
        model: what was measured, for people.
        by_relation: canonical relation → its calibration.
    """

    model: str = ""
    by_relation: Mapping[str, JudgeCalibration] = field(default_factory=lambda: MappingProxyType({}))


def load_calibrations(path: str | Path) -> JudgeCalibrations:
    """Read {"schema": 1, "model": "…", "relations": {"behind": {"slope", "offset", "n", "positive"}}}.

    What else it says, as `spatial-vlm calibrate --judge` writes it, is for people.

    Raises:
        FileError: the file is missing, too large, or not of that form.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise FileError(path, f"more than {_LARGEST_FILE} bytes", _REPAIR)
        value: Any = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error
    if not isinstance(value, dict) or not {"schema", "model", "relations"} <= set(value) or value["schema"] != 1:
        raise FileError(path, "no object of schema 1 with model and relations", _REPAIR)
    if not isinstance(value["model"], str) or not isinstance(value["relations"], dict):
        raise FileError(path, "a model that is no text, or relations that are no object", _REPAIR)
    found = {name: _calibration(path, name, one) for name, one in value["relations"].items()}
    return JudgeCalibrations(value["model"], MappingProxyType(found))


def _calibration(path: str | Path, name: str, value: Any) -> JudgeCalibration:
    where = f"relations.{name}"
    if not isinstance(value, dict) or set(value) != {"slope", "offset", "n", "positive"}:
        raise FileError(path, "not slope, offset, n and positive", _REPAIR, where)
    if not all(type(value[k]) in (int, float) and abs(value[k]) <= 100.0 for k in ("slope", "offset")):
        raise FileError(path, "a slope or offset that is no number from -100 to 100", _REPAIR, where)
    n, positive = value["n"], value["positive"]
    if not (type(n) is type(positive) is int and 0 <= positive <= n <= 10**9):
        raise FileError(path, "counts that are no whole numbers with positive up to n", _REPAIR, where)
    return JudgeCalibration(float(value["slope"]), float(value["offset"]), n, positive)


def fitted(p: Array, holds: Array) -> JudgeCalibration:
    """The calibration of one relation on labelled pairs.

    By Newton's method on the likelihood of Platt's smoothed truths, (positive + 1) / (positive + 2) and
    1 / (n - positive + 2), with a weak prior that keeps the slope where all are alike.

    Args:
        p: (n,) probabilities of the model.
        holds: (n,) bool, the truth.
    """
    n, positive = len(p), int(np.count_nonzero(holds))
    x = np.stack((np.log(np.clip(p, _EDGE, 1 - _EDGE) / np.clip(1 - p, _EDGE, 1 - _EDGE)), np.ones(n)), axis=1)
    y = np.where(holds, (positive + 1.0) / (positive + 2.0), 1.0 / (n - positive + 2.0))
    weights = np.zeros(2)
    for _ in range(100):
        expected = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        gradient = x.T @ (y - expected) - _RIDGE * weights
        curvature = (x * (expected * (1.0 - expected))[:, None]).T @ x + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        step /= max(1.0, float(np.abs(step).max()))
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return JudgeCalibration(round(float(weights[0]), 6), round(float(weights[1]), 6), n, positive)


_RIDGE = 1e-3


def _log_odds(p: float) -> float:
    q = min(max(p, _EDGE), 1.0 - _EDGE)
    return math.log(q / (1.0 - q))


# ------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True)
class DecidingRelation:
    """A relation that decides between candidates.

    Args:
        key: canonical relation, rows of target and anchor.
        likelihood: probability by the measurement that it holds; of a negated clause, that it does not.
        negated: whether it was said that it does not hold.
    """

    key: PairKey
    likelihood: float
    negated: bool


def deciding(choice: ResolvedChoice, scorer: PhraseScorer, askable: Sequence[str], most: int) -> list[DecidingRelation]:
    """Relations of the likeliest candidates, one by one, as far as a model can be asked about them.

    Args:
        choice: of the geometry.
        scorer: the scene.
        askable: relations that a model can be asked about.
        most: how many, at most.
    """
    config = scorer.config.decision
    rows = [int(r) for r in np.argsort(-choice.probability, kind="stable") if choice.belief.fit[r] >= config.found]
    found = (one for row in rows[:MOST_CANDIDATES] for one in _relations(choice.by_row[row], row, scorer, askable))
    return list({one.key: one for one in found}.values())[:most]


def _relations(
    belief: PhraseBelief, row: int, scorer: PhraseScorer, askable: Sequence[str]
) -> Iterator[DecidingRelation]:
    """The clauses of a phrase at one row, then those of the anchors chosen there."""
    said = [clause for clause in belief.phrase.relations if clause.distance is None]
    for clause in belief.clauses:
        anchors = [int(a) for a in clause.anchors[row] if a >= 0]
        stated = [one for one in said if one.relation == clause.name and one.negated == clause.negated]
        relation = RELATIONS.get(clause.name)
        if clause.name in askable and stated and len(anchors) == 1 and relation is not None:
            frame = stated[0].frame or scorer.default_frame
            if not relation.framed or frame is FrameOfReference.VIEWER:
                key = clause.name, row, anchors[0]
                yield DecidingRelation(key, float(clause.likelihood[row]), clause.negated)
        for inner, anchor in zip(clause.inner, anchors, strict=False):
            yield from _relations(inner, anchor, scorer, askable)


# ------------------------------------------------------------------------------------------------ the rule


def with_judgements(
    choice: ResolvedChoice,
    scorer: PhraseScorer,
    queries: Sequence[SpatialQuery],
    asked: Sequence[DecidingRelation],
    said: Sequence[float | None],
    calibrations: JudgeCalibrations,
) -> ResolvedChoice:
    """The choice with what a model said of its relations; with `judge.mode` fuse, decided again by Bayes' rule.

    Of an answer that the model's evidence leaves unclear, or turns to another object, a person has to decide
    (LOW_CONFIDENCE). A choice that measurement left open becomes an answer where the evidence settles it, unless
    measurement alone says that it holds of several.

    Args:
        choice: of the geometry.
        scorer: the scene.
        queries: the readings that were decided.
        asked: relations, from `deciding`.
        said: the model's probability of each; None = no opinion.
        calibrations: measured ones of that model.
    """
    told = [_told(one, p, scorer, calibrations) for one, p in zip(asked, said, strict=True)]
    ratio = {
        one.key: known.ratio(p)
        for one, p in zip(asked, said, strict=True)
        if p is not None and (known := calibrations.by_relation.get(one.key[0])) is not None and known.informs
    }
    judged = tuple(told)
    if scorer.config.judge.mode != "fuse" or not ratio:
        reason = "it is only reported" if ratio else "no answer is of a relation of which it was measured to know"
        return dataclasses.replace(choice, judge=JudgeReport(judged, "reported", reason))
    evidence = ModelEvidence(MappingProxyType(ratio))
    again = decide(queries, dataclasses.replace(scorer.seen_from(scorer.default_frame), evidence=evidence))
    return _fused(choice, again, scorer, judged)


def _told(
    one: DecidingRelation, p: float | None, scorer: PhraseScorer, calibrations: JudgeCalibrations
) -> JudgedRelation:
    objects = scorer.layout.scene.objects
    relation, target, anchor = one.key
    calibration = calibrations.by_relation.get(relation)
    measured = 1.0 - one.likelihood if one.negated else one.likelihood
    return JudgedRelation(
        relation=relation,
        target_id=objects[target].id,
        anchor_id=objects[anchor].id,
        likelihood=round(measured, 6),
        raw_p=None if p is None else round(p, 6),
        model_p=None if p is None or calibration is None else round(calibration.probability(p), 6),
    )


def _fused(
    choice: ResolvedChoice, again: ResolvedChoice, scorer: PhraseScorer, judged: tuple[JudgedRelation, ...]
) -> ResolvedChoice:
    """What is answered, after the choice of the geometry and the one with the model's evidence."""
    objects = scorer.layout.scene.objects

    def told(one: ResolvedChoice, effect: Any, reason: str) -> ResolvedChoice:
        return dataclasses.replace(one, judge=JudgeReport(judged, effect, reason))

    if choice.status is Status.OK:
        if again.status is Status.OK and set(again.meant) == set(choice.meant):
            return told(again, "confirmed", "with its answers the same is meant")
        other = again.chosen if again.chosen not in choice.meant else -1
        if again.status is Status.OK and other >= 0:
            differs = dataclasses.replace(
                choice, status=Status.DISAGREEMENT, rivals=(choice.chosen, other), several=(), sure=1.0 - again.sure
            )
            return told(differs, "disagreed", "with its answers another object is meant")
        name = f"the {wording.name_of(objects[other])}" if other >= 0 else "nothing clearly"
        doubt = f"a model that was asked about its relations sees them otherwise: by its answers {name} is meant"
        unsure = dataclasses.replace(choice, status=Status.LOW_CONFIDENCE, several=(), doubt=doubt, sure=again.sure)
        return told(unsure, "doubted", "its answers leave the choice of the geometry unclear")
    if again.status is Status.OK and choice.status in (Status.LOW_CONFIDENCE, Status.AMBIGUOUS):
        if choice.doubt is not None or choice.frames or choice.phrase is not None or _clearly_several(choice, scorer):
            return told(choice, "reported", "what was meant is for the person to say")
        return told(again, "settled", "its answers settle what measurement left open")
    return told(choice, "reported", f"{choice.status.value} is for the geometry alone to say")


def message(choice: ResolvedChoice, scorer: PhraseScorer) -> str:
    """A DISAGREEMENT in one sentence."""
    ours, theirs = (wording.name_of(scorer.layout.scene.objects[row]) for row in choice.rivals)
    return (
        f"By the depth it is the {ours}, but the model that was asked about its relations is seldom wrong, and by its "
        f"answers it is the {theirs}."
    )


def _clearly_several(choice: ResolvedChoice, scorer: PhraseScorer) -> bool:
    """Whether, by measurement, all that was said clearly holds of several candidates."""
    holds = scorer.config.decision.holds
    clear = [
        row
        for row in choice.rivals
        if all(float(clause.likelihood[row]) >= holds for clause in choice.by_row[row].clauses if not clause.is_order)
    ]
    return len(clear) > 1
