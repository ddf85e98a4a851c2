# SPDX-License-Identifier: Apache-2.0
"""Compares measurement, models, models with remedies, and their fusion for one sentence. See docs/compare.md.

Which relations are asked about, how, and what fusing does, is the resolver's own code: `asked_of`,
`RelationAsking.judged` and `with_judgements`. Unlike the resolver it asks about every candidate, whatever `judge.mode`
says.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from spatial_vlm_lab.scoring.model_spec import ModelSpec, named_models
from spatial_vlm_ros.errors import DomainMismatchError, InputError, SpatialVlmError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.domain import check_domain, domain_of
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.judging import CHOICES, RelationQuestion, judge_of
from spatial_vlm_ros.perception.relation_asking import RelationAsking
from spatial_vlm_ros.recording.cases import CASES_FILE, load_cases
from spatial_vlm_ros.resolver import Answered, MeasuredSentence, Resolver
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.clause_judge import (
    ClauseQuestion,
    JudgeCalibrations,
    asked_of,
    evidence_of,
    load_calibrations,
    relations_at,
)
from spatial_vlm_ros.spatial.clauses import PairKey, is_upright, pair_of
from spatial_vlm_ros.spatial.decision import ResolvedChoice
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import (
    ComparedObject,
    ComparedRelation,
    ComparedRow,
    Detection,
    FrameOfReference,
    RelationComparison,
    RelationOpinion,
    Rgb,
    RgbdFrame,
    Status,
)

_ALL = 10**6  # candidates and relations
_ASKED = (Status.OK, Status.AMBIGUOUS, Status.LOW_CONFIDENCE)
_EDGE = 1e-9  # from 0 and 1, for the odds of a probability
_TIE = 1e-6  # relative difference below which two candidates are equally likely


@dataclass(frozen=True)
class ComparisonPlan:
    """Models and limits of a comparison."""

    models: tuple[ModelSpec, ...]
    remedies: tuple[str, ...] = ()  # options added to each model's, which is loaded once more
    most: int = 24  # relations that each is asked about, at most 100
    budget_s: float = 600.0  # after which no further relation is asked, at most 600
    told: Callable[[str], None] = field(default=lambda _: None, compare=False)


def judges_of(judges: Sequence[str], calibrations: Sequence[str] = ()) -> tuple[ModelSpec, ...]:
    """Parse the models of a comparison; each calibration is "NAME=FILE", or "FILE" of the only one."""
    models = {one.name: one for one in named_models(judges, "--judge")}
    for text in calibrations:
        before, equals, after = text.partition("=")
        name, path = (before, after) if equals and before in models else (next(iter(models)), text)
        if path == text and len(models) > 1:
            known = ", ".join(models)
            raise InputError(
                "--calibration", repr(text), f"NAME=FILE, NAME one of {known}", "name the model that it belongs to"
            )
        models[name] = replace(models[name], calibration=Path(path))
    return tuple(models.values())


class ComparedSentence(NamedTuple):
    """A comparison, and the answer of measurement alone that it rests on."""

    comparison: RelationComparison
    answered: Answered


def compare_sentence(
    frame: RgbdFrame,
    detections: Sequence[Detection] | None,
    words: str,
    plan: ComparisonPlan,
    config: ResolverConfig,
    grounder: Grounder | None = None,
    frame_of_reference: FrameOfReference | str | None = None,
    name: str = "",
    expected: tuple[str, ...] | None = None,
) -> ComparedSentence:
    """Compare all models on one sentence; without detections the grounder is asked. A failure affects its own rows."""
    judge = replace(config.judge, mode="fuse", calibration="", most_relations=plan.most, budget_s=plan.budget_s)
    config = replace(config, judge=judge)
    calibrations = {m.name: load_calibrations(m.calibration) for m in plan.models if m.calibration is not None}
    measured = Resolver(config, grounder).look_at(frame, detections).measured(words, frame_of_reference)
    target = measured.choice.query.target
    if target.count not in (None, 1) or target.choice is not None:
        repair = 'name a single object, as in "the chick behind the cup"'
        raise InputError("instruction", repr(words), "words for one object", repair)
    compared = _Asking(measured, config, plan, calibrations, expected).compared(name, words)
    return ComparedSentence(compared, measured.answered)


def expected_of(folder: str | Path, words: str) -> tuple[str, ...] | None:
    """Ids of the right objects by a cases.jsonl beside the frame's folder, none of a refusal; None if no case tells."""
    folder = Path(folder).resolve()
    if not (folder.parent / CASES_FILE).is_file():
        return None
    for case in load_cases(folder.parent):
        if case.frame != folder.name or case.instruction.casefold().split() != words.casefold().split():
            continue
        if case.expect is not None and case.expect.status is not Status.OK:
            return ()
        if case.expect is not None and case.expect.id is not None:
            return (case.expect.id, *case.expect.id_also)
    return None


class _Asking:
    """Everybody is asked about the same relations of the same candidates."""

    def __init__(
        self, measured: MeasuredSentence, config: ResolverConfig, plan: ComparisonPlan,
        calibrations: Mapping[str, JudgeCalibrations], expected: tuple[str, ...] | None,
    ) -> None:  # fmt: skip
        self._choice, self._scorer, self._measured = measured.choice, measured.scorer, measured
        self._config, self._plan, self._calibrations, self._expected = config, plan, calibrations, expected
        all_of_them = asked_of(self._choice, self._scorer, tuple(CHOICES), _ALL, _ALL).questions
        self._more = len(all_of_them) - plan.most
        self._askable = {one.key for one in all_of_them}
        self._asked = all_of_them[: plan.most]
        self._ids = [obj.id for obj in self._scorer.layout.scene.objects]
        found, choice = config.decision.found, measured.choice  # rows that the sentence may mean, likeliest first
        order = np.argsort(-choice.probability, kind="stable")
        self._candidates = [int(row) for row in order if choice.belief.fit[row] >= found]

    def compared(self, name: str, words: str) -> RelationComparison:
        choice, answered = self._choice, self._measured.answered.resolution
        opinions = tuple(RelationOpinion(round(one.likelihood, 6)) for one in self._asked)
        reason = "" if choice.status is Status.OK else answered.message
        rows = [self._decided(ComparedRow("measurement", "measurement", opinions=opinions, reason=reason), choice)]
        for model in self._plan.models if self._asked else ():
            options = " ".join(f"{name}={value}" for name, value in model.options.items())
            alone = ComparedRow("model", model.name, options)
            made = self._rows(alone, model, self._calibrations.get(model.name))
            rows += made
            for remedy in self._plan.remedies if made[0].opinions else ():
                row = ComparedRow("remedy", model.name, remedy)
                try:
                    rows += self._rows(row, model.with_remedy(remedy), None)
                except InputError as error:  # the model alone could be loaded: it does not take this remedy
                    rows.append(replace(row, reason=str(error), failed=True))
        anchors = dict.fromkeys(one.key[2] for one in self._asked if one.key[2] not in self._candidates)
        relations = tuple(
            ComparedRelation(
                one.key[0], self._ids[one.key[1]], self._ids[one.key[2]], all(negated for _, negated in one.said_for)
            )
            for one in self._asked
        )
        objects = (*(self._object(row, "candidate") for row in self._candidates),
                   *(self._object(row, "anchor") for row in anchors))  # fmt: skip
        unasked = self._unasked(choice.by_row[choice.chosen], choice.chosen) if choice.chosen >= 0 else ()
        return RelationComparison(
            name, words, objects, relations, tuple(rows), self._left_out(), tuple(dict.fromkeys(unasked)),
            self._expected,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------- what is compared

    def _asked_at(self, belief: PhraseBelief, row: int, scorer: PhraseScorer) -> list[tuple[PairKey, float, bool]]:
        """Relations asked about of one candidate: key, probability that it holds, and whether it is denied."""
        keys = {one.key for one in self._asked}
        return [
            (key, _holding(float(clause.likelihood[key[1]]), clause.negated), clause.negated)
            for key, clause in relations_at(belief, row, scorer)
            if key in keys
        ]

    def _object(self, row: int, role: Literal["candidate", "anchor"]) -> ComparedObject:
        obj = self._scorer.layout.scene.objects[row]
        away = None if obj.depth_problem is not None else round(float(np.linalg.norm(obj.box.centre)), 4)
        return ComparedObject(obj.id, obj.detection.label, role, away)

    def _unasked(self, belief: PhraseBelief, row: int) -> Iterator[str]:
        for clause in belief.clauses:
            if pair_of(clause, row, self._scorer.default_frame) not in self._askable:
                yield ("not " if clause.negated else "") + clause.name
            for inner, anchor in zip(clause.inner, clause.anchors[row], strict=False):
                if anchor >= 0:
                    yield from self._unasked(inner, int(anchor))

    def _left_out(self) -> str:
        """Why nothing, or not everything, is compared."""
        if self._asked:
            n = len(self._asked)
            return f"{n} of {n + self._more} relations are asked: raise --most" if self._more > 0 else ""
        status = self._choice.status
        if status not in _ASKED:
            message = self._measured.answered.resolution.message
            return f"{status.value} is decided by measurement alone, so no model is asked. {message}"
        stated = [clause.name for clause in self._choice.belief.clauses if clause.name in CHOICES]
        if any(RELATIONS[name].framed for name in stated) and not is_upright(self._scorer.layout.scene.up):
            return "the camera is rolled, or looks straight down: left and behind in the image differ from a viewer's"
        known = ", ".join(CHOICES)
        return (
            f"the phrase has no relation that a model can judge. Use one of {known}, to one object, "
            "without a distance, in the viewer's frame of reference"
        )

    # ---------------------------------------------------------------------------------------- rows

    def _rows(self, row: ComparedRow, model: ModelSpec, calibrations: JudgeCalibrations | None) -> list[ComparedRow]:
        self._plan.told(f"loading {model.name}{f' with {row.options}' if row.options else ''}")
        try:
            judge = CountingJudge(model)
            row = replace(row, load_ms=judge.load_ms)
            check_domain(judge, self._config.domain_gate, self._scorer.layout.scene.frame.domain)
        except DomainMismatchError as error:
            return [replace(row, reason=str(error))]
        except InputError:
            raise
        except SpatialVlmError as error:
            return [replace(row, reason=str(error), failed=True)]
        self._plan.told(f"asking {model.name} about {len(self._asked)} relations")
        judging = replace(self._config.judge, calibration=str(model.calibration or ""))
        fused = RelationAsking(replace(self._config, judge=judging), None).judged(
            self._choice, self._scorer, self._measured.queries, judge, _ALL
        )
        report, late = fused.judge, judge.late
        row = replace(row, questions=judge.questions, ms=judge.ms)
        del judge  # the next model needs its memory
        gc.collect()
        if report is None or not report.relations:
            return [replace(row, reason=report.reason if report is not None else "", failed=True)]
        said = [one.raw_p for one in report.relations]
        inconsistent = None if late else False  # without an opinion: it was not asked, or contradicts itself
        opinions = tuple(
            RelationOpinion(one.raw_p, one.model_p, inconsistent if one.raw_p is None else True)
            for one in report.relations
        )
        rows = [self._alone(replace(row, opinions=opinions), said)]
        if calibrations is not None:
            weightless = _weightless(self._asked, said, calibrations)
            counts = any(p is not None and calibrations.of(q.name) for q, p in zip(self._asked, said, strict=True))
            reason = "; ".join(filter(None, (report.reason if counts or not weightless else "", weightless)))
            scorer = self._scorer.with_evidence(evidence_of(self._asked, said, calibrations))
            weighed: dict[PairKey, float] = {}  # the probabilities of measurement with the model's evidence
            for candidate in self._candidates:
                belief = scorer.score_phrase(self._choice.by_row[candidate].phrase)
                weighed.update({key: p for key, p, _ in self._asked_at(belief, candidate, scorer)})
            opinions = tuple(
                RelationOpinion(round(weighed[one.key], 6) if one.key in weighed else None) for one in self._asked
            )
            made = ComparedRow("fused", row.name, row.options, opinions, effect=report.effect, reason=reason)
            rows.append(self._decided(made, fused))
        return rows

    def _alone(self, row: ComparedRow, said: Sequence[float | None]) -> ComparedRow:
        """What a model alone would choose: the candidate of the greatest product of its probabilities and the name's.

        A relation without an opinion counts 1/2. None is chosen where the product of odds is not above 1 (the model
        denies more than it confirms), or where two candidates are equally likely.
        """
        if all(p is None for p in said):
            return replace(row, reason="it has no opinion on any relation")
        by_key = {one.key: 0.5 if p is None else float(p) for one, p in zip(self._asked, said, strict=True)}
        weights: dict[int, float] = {}
        odds: dict[int, float] = {}
        for candidate in self._candidates:
            belief = self._choice.by_row[candidate]
            held = [_holding(by_key[key], denied) for key, _, denied in self._asked_at(belief, candidate, self._scorer)]
            if held:
                weights[candidate] = float(belief.fit[candidate]) * math.prod(held)
                odds[candidate] = sum(math.log(max(p, _EDGE) / max(1.0 - p, _EDGE)) for p in held)
        best, *others = sorted(weights, key=lambda candidate: -weights[candidate])
        if odds[best] <= 0.0:
            return self._judged(replace(row, reason="it denies the relations of every candidate"))
        if others and weights[others[0]] >= (1.0 - _TIE) * weights[best]:
            tied = f"{self._ids[best]} and {self._ids[others[0]]} are equally likely for it"
            return self._judged(replace(row, reason=tied))
        share = weights[best] / sum(weights.values())
        return self._judged(replace(row, chosen_id=self._ids[best], share=round(share, 6)))

    def _decided(self, row: ComparedRow, choice: ResolvedChoice) -> ComparedRow:
        row = replace(row, status=choice.status)
        if choice.status is Status.OK and choice.chosen >= 0:
            share = round(min(float(choice.probability[choice.chosen]), 1.0), 6)
            row = replace(row, chosen_id=self._ids[choice.chosen], share=share)
        return self._judged(row)

    def _judged(self, row: ComparedRow) -> ComparedRow:
        agrees = right = None
        ours = self._ids[self._choice.chosen] if self._choice.status is Status.OK else None
        if row.by != "measurement" and row.chosen_id is not None and ours is not None:
            agrees = row.chosen_id == ours
        if self._expected is not None and (row.chosen_id is not None or not self._expected):
            right = row.chosen_id in self._expected if row.chosen_id is not None else True
        return replace(row, agrees=agrees, right=right)


def _holding(p: float, negated: bool) -> float:
    """Probability that a relation holds, of one that it is as was said; or the other way round."""
    return 1.0 - p if negated else p


def _weightless(asked: Sequence[ClauseQuestion], said: Sequence[float | None], known: JudgeCalibrations) -> str:
    """Of which relations a model's answers change nothing, and why, where its calibration is the cause."""
    spoken = {one.name for one, p in zip(asked, said, strict=True) if p is not None}
    parts = [f"its calibration has no {name}" for name in sorted(spoken - known.by_relation.keys())]
    for name, one in sorted(known.by_relation.items()):
        if name in spoken and known.of(name) is None:
            parts.append(
                f"its answers about {name!r} change nothing: its slope {one.slope:.2f} is not above 0 by two standard "
                f"errors ({one.error:.2f}, {one.n} pairs)"
            )
    return "; ".join(parts)


# ------------------------------------------------------------------------------------------------ asking


class CountingJudge:
    """A judge of relations that counts its questions, or prompts, and the time of the last call; see RelationJudge."""

    def __init__(self, model: ModelSpec) -> None:
        """Load the model."""
        started, self._prompts = time.perf_counter(), list[str]()
        backend = load_grounder(model.backend, model.options)
        judge = judge_of(_counted(backend, self._prompts))
        if judge is None:
            raise InputError(
                "--judge", f"{model.backend!r}, which does not judge relations",
                "a backend with `judge` or `answer`",
                "choose qwen-vl, server, or your own backend",
            )  # fmt: skip
        self.name, self.domain, self._judge = model.name, domain_of(backend), judge
        self.questions, self.ms, self.late, self.load_ms = 0, 0.0, False, _ms_since(started)

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """See RelationJudge.judge."""
        started = time.perf_counter()
        try:
            return self._judge.judge(rgb, questions, budget_s)
        finally:
            self.ms = _ms_since(started)
            self.late = self.ms >= 1e3 * budget_s
            self.questions = len(self._prompts) or len(questions)


def _counted(inner: Any, prompts: list[str]) -> Any:
    """Anything that is asked questions with choices, itself or through its `scorer`; they are noted in `prompts`."""

    class Counted:
        def __getattr__(self, name: str) -> Any:
            found = getattr(inner, name)
            if name == "scorer":
                return _counted(found, prompts)
            if name not in ("answer", "scores"):
                return found

            def noted(*given: Any, **named: Any) -> Any:
                prompts.append(name)
                return found(*given, **named)

            return noted

    Counted.__name__ = type(inner).__name__  # errors name the model by its class
    return Counted()


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)
