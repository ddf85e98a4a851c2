# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: shares, calibration, errors and comparisons of each model; and their JSON.

All but `boxes` follows from judged cases, so that rows alone give the same JSON.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from spatial_vlm_lab.scoring import comparing, frame_truth
from spatial_vlm_lab.scoring.case_result import (
    Blame,
    CaseError,
    CaseEvidence,
    CaseResult,
    MissKind,
    Row,
    StoredAnswer,
    judge_case,
    result_of,
    row_of,
    same_name,
    unjudged_row,
)
from spatial_vlm_lab.scoring.frame_truth import SAME_BOX, FrameTruth, PlaceOutcome
from spatial_vlm_lab.scoring.model_spec import GIVEN, ORACLE, LoadedModel
from spatial_vlm_ros.errors import EvaluationError, InputError, InternalError, SpatialVlmError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.grounding_checks import never_taken
from spatial_vlm_ros.recording.cases import Case, Expectation
from spatial_vlm_ros.resolver import Answered, ObservedFrame, Resolver
from spatial_vlm_ros.spatial.clause_judge import fitted
from spatial_vlm_ros.spatial.detector_profile import DetectorProfile
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.types import ANSWERS, Detection, FrameOfReference, Resolution, RgbdFrame, Scene, Status
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

_log = logging.getLogger(__name__)


class Oracle:
    """Answers with the true objects. A frame is lifted once for the same objects."""

    def __init__(self, config: ResolverConfig) -> None:
        without_models = dataclasses.replace(
            config,
            second_opinion=dataclasses.replace(config.second_opinion, ask=False),
            judge=dataclasses.replace(config.judge, mode="off"),
            language=dataclasses.replace(config.language, reader="grammar", free_form="refuse"),
        )
        self._resolver = Resolver(without_models)
        self._observed: tuple[RgbdFrame, tuple[Detection | frame_truth.ImageObject, ...], ObservedFrame] | None = None

    def answer(
        self, frame: RgbdFrame, objects: Sequence[frame_truth.ImageObject], words: str,
        frame_of_reference: FrameOfReference | None = None,
    ) -> Answered | None:  # fmt: skip
        """Answer of the resolver, or None if the truth is incomplete: an object lacks its name or its pixels.

        An object that is known in space alone is left out where others are known: it is one of them.
        """
        given = []
        for one in objects:
            if one.box is None:
                continue
            if one.detection is None and not one.label:
                return None
            given.append(one.detection or Detection(one.id, one.label, 1.0, one.box, one.mask))
        if not given:
            return None
        known, same = self._observed, tuple(one.detection or one for one in objects)
        if known is None or known[0] is not frame or known[1] != same:
            known = self._observed = frame, same, self._resolver.look_at(frame, tuple(given))
        return known[2].ask(words, frame_of_reference)


@dataclass(frozen=True, eq=False)
class CaseImage:
    """The image of some cases, with its truth."""

    frame: RgbdFrame | None = None
    error: SpatialVlmError | None = None
    known: tuple[Detection, ...] | None = None  # true detections; also the input of a model with given detections
    truth: frame_truth.FrameTruth | None = None  # poses and centres for places
    problem: SpatialVlmError | None = None  # why the truth cannot be used
    lost: bool = False


@dataclass(frozen=True, eq=False)
class EvaluatedCase:
    """A case, a model's answer, and how it was judged."""

    case: Case
    model: str
    source: str
    resolution: Resolution  # with the ids of the model's detections
    result: CaseResult | None = None  # with the ids of the true objects; None if it cannot be judged
    problem: str = ""  # why its truth cannot be used
    objects: tuple[frame_truth.ImageObject, ...] = ()  # the true ones; none without a result or an image
    frame: RgbdFrame | None = None
    detections: tuple[Detection, ...] = ()
    scene: Scene | None = None
    oracle: Resolution | None = None  # of the resolver alone; None if not known, or if the model gets the true objects

    def row(self) -> Row:
        """Convert the case to a row of plain values, see `rows.COLUMNS`."""
        if self.result is not None:
            return row_of(self.result)
        return unjudged_row(self.case, self.resolution, self.model, self.source, self.problem)


class CaseJudge:
    """Asks and judges the cases of one source, image by image."""

    def __init__(
        self, model: LoadedModel, config: ResolverConfig, source: str, folder: Path,
        frame_of_reference: FrameOfReference | None = None,
    ) -> None:  # fmt: skip
        self._model, self._source, self._folder, self._frame_of_reference = model, source, folder, frame_of_reference
        self._resolver, self._oracle = Resolver(config, model.grounder), Oracle(config)
        self._observed: tuple[RgbdFrame, ObservedFrame] | None = None  # an image is lifted once for all its cases

    def ask(self, case: Case, image: CaseImage) -> EvaluatedCase:
        """Ask about a case on its image. An error becomes the refusal of the case."""
        given, error = None, image.error
        if image.frame is not None and self._model.spec.is_given:
            given = image.known
            if given is None:
                repair = "record or write detections of it, or set --grounder"
                error = InputError("detections of the image", "none", "detections", repair)
        if image.frame is None or error is not None:
            error = error or InputError("image", "none", "an image", "check the source")
            answer = refusal(case.instruction, error, case.stamp_ns, case.frame or None)
            if not image.lost:
                return self.judge(case, image, answer)
            problem = "" if case.expect is None else f"it was not run: {error}"
            return EvaluatedCase(case, self._model.spec.name, self._source, answer, problem=problem)
        if self._observed is None or self._observed[0] is not image.frame:
            self._observed = image.frame, self._resolver.look_at(image.frame, given)
        resolution, seen, scene, _ = self._observed[1].ask(case.instruction, self._frame_of_reference)
        named = dataclasses.replace(resolution, frame=case.frame or None)
        return self.judge(case, image, named, seen, scene)

    def judge(
        self, case: Case, image: CaseImage, answer: Resolution, seen: tuple[Detection, ...] | None = None,
        scene: Scene | None = None,
    ) -> EvaluatedCase:  # fmt: skip
        """Judge an answer; `seen` is None if only the answer is stored."""
        name, found = self._model.spec.name, seen or ()
        done = EvaluatedCase(case, name, self._source, answer, frame=image.frame, detections=found, scene=scene)
        expect = case.expect
        if expect is None:
            return done
        try:
            if image.problem is not None:
                raise image.problem
            return self._judged(done, expect, image, seen)
        except SpatialVlmError as error:
            return dataclasses.replace(done, problem=f"its expected result is invalid: {error}")
        except Exception as error:  # a bug here costs one case, not the batch
            _log.exception("unexpected exception while judging %r on %s", case.instruction, self._source)
            return dataclasses.replace(done, problem=f"it could not be judged: {InternalError.of(error)}")

    def _judged(
        self, done: EvaluatedCase, expect: Expectation, image: CaseImage, seen: tuple[Detection, ...] | None
    ) -> EvaluatedCase:
        frame, case = image.frame, done.case
        objects: tuple[frame_truth.ImageObject, ...] = ()
        if frame is not None:
            size = (frame.camera.width, frame.camera.height)
            expect, objects = frame_truth.case_truth(case, expect, image.known or (), size, self._folder)
        seen_from = None if frame is None else frame.base_T_camera
        known = (seen_from, None if image.truth is None else image.truth.base_T_camera)
        poses = tuple(pose for pose in known if pose is not None)

        target, matching = done.resolution.target, frame_truth.Matching()
        if seen is not None:
            matching = frame_truth.Matching(frame_truth.found_objects(seen, done.scene), is_truth=True)
            if not self._model.spec.is_given or any(one.detection is None for one in objects):
                matching = frame_truth.match_objects(matching.found, objects, poses)
        elif target is not None and target.box is not None and objects:  # a stored answer keeps no more than this box
            answered = frame_truth.ImageObject(
                target.id, target.label, target.box, None, frame_truth.box_of_target(target)
            )
            matching = frame_truth.match_objects([answered], objects, poses)
        evidence = CaseEvidence(image.truth, objects, poses, matching, truth_is_whole=image.known is not None)
        alone: Answered | None = None
        if frame is not None and seen is not None and not matching.is_truth:
            alone = self._oracle.answer(frame, objects, case.instruction, self._frame_of_reference)
        if alone is not None:
            found = frame_truth.found_objects(alone.detections, alone.scene)
            matched = frame_truth.Matching(found, is_truth=True)
            if any(one.box is None for one in objects):  # one that is known in space alone is one of the others
                matched = frame_truth.match_objects(found, objects, poses)
            beside = dataclasses.replace(evidence, matching=matched)
            result = judge_case(case, expect, alone.resolution, beside, ORACLE, self._source)
            evidence = dataclasses.replace(evidence, oracle=result)
        oracle = None if alone is None else alone.resolution
        if seen is not None:
            # What the right answer rests on: objects that are expected, and what they were measured against. Of a
            # refusal that is due they are all that the words may mean.
            needed = [expect.id, *(() if expect.answer is None else expect.answer.ids or ())]
            candidates = () if oracle is None else oracle.candidates
            if oracle is not None and expect.status not in ANSWERS:
                needed = [expect.id, *(candidate.id for candidate in candidates)]
            needed += [id_ for candidate in candidates[:1] for clause in candidate.clauses for id_ in clause.anchor_ids]
            there = {one.id for one in objects}
            ids = tuple(id_ for id_ in dict.fromkeys(needed) if id_ is not None and id_ in there)
            evidence = dataclasses.replace(evidence, needed=ids)
        result = judge_case(case, expect, done.resolution, evidence, self._model.spec.name, self._source)
        return dataclasses.replace(done, result=result, objects=objects, oracle=oracle)


USUAL, COUNTER_HEURISTIC = "usual", "counter-heuristic"
"""Kinds of cases that a rule of thumb (higher in the image is farther away) gets right, and wrong."""
UNKNOWN = "unknown"
"""Blame of an error where the oracle could not be asked."""
_NO_SCENE = "(no scene)"
_FIGURES = {
    "as_expected": "as expected",
    "right_instance": "right instance",
    "wrong_pose": "wrong pose among answers",
    "pose_on_refusal": "pose where a refusal was expected",
    "right_place": "right place",
    "wrong_place": "wrong place among places",
    "complete": "as expected, place and all",
}  # field of a main share → its name
_OF_PLACES = ("right_place", "wrong_place", "complete")


# ------------------------------------------------------------------------------------------------ what is counted


_LEAST = 20
"""Boxes that a profile needs, and boxes of one label that have an offset of their own."""


@dataclass
class DetectorTally:
    """Boxes of a detector on images whose objects are all known; tables and other supports do not count.

    A box counts once, whatever was asked; keys are (source and image, label, box), and (source and image, id).
    """

    boxes: dict[tuple[object, ...], tuple[float, bool]] = field(default_factory=dict)  # → score, right
    objects: dict[tuple[object, ...], tuple[str, bool]] = field(default_factory=dict)  # → name, found

    def add(self, case: EvaluatedCase) -> None:
        """Count the boxes of a case; without known objects they are not counted."""
        known = [(one.id, one.label, one.box) for one in case.objects if one.box is not None and one.label]
        image = case.source, case.case.frame, case.case.stamp_ns
        for id_, label, _ in known if case.detections else ():
            self.objects.setdefault((*image, id_), (label, False))
        supports = () if case.frame is None else never_taken(case.detections, case.frame.camera)
        for box in [one for one, support in zip(case.detections, supports, strict=False) if known and not support]:
            there = [one for one in known if overlaps(box.box_xyxy, one[2])[0, 0] >= SAME_BOX]
            right = [id_ for id_, label, _ in there if same_name(box.label, label)]
            self.boxes[(*image, box.label, box.box_xyxy)] = box.score, bool(right)
            self.objects |= {(*image, id_): (label, True) for id_, label, _ in there if id_ in right}

    def by_source(self) -> dict[str, dict[str, int]]:
        """Source → how many "boxes", of them with the "right" name, and how many "objects", of them "found" so."""
        counts: dict[str, Counter[str]] = {}
        for names, counted in (("boxes", "right"), self.boxes), (("objects", "found"), self.objects):
            for key, (_, good) in counted.items():
                counts.setdefault(str(key[0]), Counter(boxes=0, right=0, objects=0, found=0)).update(names[: 1 + good])
        return {source: dict(of) for source, of in counts.items()}

    def profile(self, model: str) -> DetectorProfile:
        """The profile of what was counted; EvaluationError if boxes with right, or with wrong, names are too few."""
        counted = np.array(list(self.boxes.values()), np.float64).reshape(-1, 2)
        score, right = counted[:, 0], counted[:, 1]
        if len(right) < _LEAST or not 0 < right.sum() < len(right):
            got = f"{len(right)} boxes, {int(right.sum())} of them with the right name"
            reason = f"a profile needs {_LEAST} boxes, right and wrong ones: there are {got}"
            raise EvaluationError(reason, "Add frames whose objects are all labelled, or lower the model's threshold.")
        fit = fitted(1.0 / (1.0 + np.exp(-score)), right)  # the log-odds of this are the score
        slope, offset = (fit.slope, fit.offset) if fit.slope > 0 else (0.0, _log_odds(right.sum(), len(right)))
        likely = 1.0 / (1.0 + np.exp(-(slope * score + offset)))
        shifts = {}
        for label in sorted({str(key[-2]) for key in self.boxes}):
            own = np.array([key[-2] == label for key in self.boxes])
            if own.sum() >= _LEAST:
                shifts[label] = round(
                    _log_odds(right[own].sum(), own.sum()) - _log_odds(likely[own].sum(), own.sum()), 3
                )
        labels = {str(key[-2]) for key in self.boxes}
        sayable = [found for name, found in self.objects.values() if any(same_name(one, name) for one in labels)]
        recall = (sum(sayable) + 1) / (len(sayable) + 2)
        return DetectorProfile(model, round(slope, 3), round(offset, 3), round(recall, 3), shifts)

    def profile_json(self, model: str) -> dict[str, Any]:
        """The file that `decision.profile` reads."""
        right = sum(one for _, one in self.boxes.values())
        measured = {"boxes": len(self.boxes), "right": right, "objects": len(self.objects)}
        written = asdict(self.profile(model))
        del written["final"]  # of profiles made at run time
        return {"schema": 1, **written, "measured": measured}


def _log_odds(right: float, n: float) -> float:
    return math.log((right + 1.0) / (n - right + 1.0))


@dataclass(frozen=True)
class UnusableCase:
    """A case whose truth cannot be used, or that could not be asked."""

    source: str
    image: str
    instruction: str
    problem: str


def by_reason(cases: Iterable[UnusableCase]) -> list[tuple[UnusableCase, int]]:
    """The first case for each source and reason, and how many there are."""
    groups: dict[tuple[str, str], list[UnusableCase]] = {}
    for case in sorted(set(cases), key=lambda c: (c.source, c.image, c.instruction)):
        groups.setdefault((case.source, case.problem), []).append(case)
    return [(several[0], len(several)) for several in groups.values()]


@dataclass
class ModelRun:
    """A model with the results of its cases."""

    name: str
    results: list[CaseResult] = field(default_factory=list)
    answers: dict[int, Resolution] = field(default_factory=dict)  # case, from 0 → if wrong
    seconds: list[float] = field(default_factory=list)  # of each judged case
    images: dict[int, bytes] = field(default_factory=dict)  # case, from 0 → JPEG
    unjudged: int = 0
    unusable: list[UnusableCase] = field(default_factory=list)
    detector: DetectorTally = field(default_factory=DetectorTally)  # empty of given detections and of rows

    def add(self, one: EvaluatedCase, image: bytes | None = None) -> None:
        """Note a case; `image` is kept with it."""
        if one.model != GIVEN:
            self.detector.add(one)
        if one.result is None:
            self.add_row(one.row())
            return
        number = len(self.results)
        self.results.append(one.result)
        self.seconds.append(one.resolution.ms / 1e3)
        if not one.result.complete:
            self.answers[number] = one.resolution
        if image is not None:
            self.images[number] = image

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Note a row of `rows.row_of` or `rows.unjudged_row`."""
        if row["right"] is not None:
            self.results.append(result_of(row))
            self.seconds.append(0.0)
        elif row["problem"]:
            image = row["frame"] or str(row["stamp_ns"])
            self.unusable.append(UnusableCase(row["source"], image, row["instruction"], row["problem"]))
        else:
            self.unjudged += 1


def runs_of_rows(rows: Iterable[Row]) -> tuple[ModelRun, ...]:
    """The runs that rows are of, by model, in the order in which models come."""
    runs: dict[str, ModelRun] = {}
    for row in rows:
        runs.setdefault(row["model"], ModelRun(row["model"])).add_row(row)
    return tuple(runs.values())


# ------------------------------------------------------------------------------------------------ one model


@dataclass(frozen=True)
class ModelOutcome:
    """Results of one model; docs/evaluate.md says of which cases each share is."""

    as_expected: Share
    right_instance: Share
    wrong_pose: Share
    pose_on_refusal: Share
    by_kind: Mapping[str, Share]
    by_relation: Mapping[str, Share]
    confusion: Mapping[str, Mapping[str, int]]  # expected status → given status → number
    misses: tuple[Mapping[str, Any], ...]  # fields of every case that did not end as expected, or whose place is wrong
    by_frame_of_reference: Mapping[str, Share]
    by_expected_status: Mapping[str, Share]
    by_given_status: Mapping[str, Share]
    split: Mapping[str, Any] | None  # shares "usual", "counter_heuristic", and "difference" (Newcombe, 95 %), if any
    cases: tuple[CaseResult, ...]
    unjudged: int
    complete: Share
    right_place: Share
    wrong_place: Share
    by_miss: Mapping[str, int]
    over_frames: Mapping[str, Interval | None]  # main shares by name, intervals over frames; None with fewer than two
    by_error: Mapping[str, int]
    calibration: Mapping[str, comparing.Calibration | None]  # of answers ("answered"), of the likeliest ("all")
    comparison: comparing.Comparison | None
    model: str  # "" if nothing tells it
    errors: Mapping[str, Mapping[str, int]]  # what went wrong → "model", "resolver" or UNKNOWN → number
    oracle: Share  # of the cases with an oracle, right with the true objects, place and all
    beside_oracle: Share  # of the same cases, right by the model
    unusable: tuple[UnusableCase, ...]
    checks: Mapping[str, Mapping[str, int]]  # source → "NAME: VERDICT" → number of frames
    boxes: Mapping[str, Mapping[str, int]]  # source → see `DetectorTally.by_source`

    def figures(self) -> dict[str, Share]:
        """Main shares by name as in `over_frames`; those of places if any was expected."""
        hidden = () if self.right_place.n else _OF_PLACES
        return {name: getattr(self, field) for field, name in _FIGURES.items() if field not in hidden}


def judge(
    cases: Sequence[Case],
    resolutions: Sequence[Resolution],
    baseline: Sequence[StoredAnswer] | None = None,
    truths: Mapping[str, FrameTruth] | None = None,
) -> ModelOutcome:
    """Compare answers, one for each case, with what the cases expect; cases that expect nothing are left out."""
    run, truths = ModelRun(""), truths or {}
    for case, answer in zip(cases, resolutions, strict=True):
        if case.expect is None:
            run.unjudged += 1
        else:
            run.results.append(judge_case(case, case.expect, answer, CaseEvidence(truths.get(case.frame))))
    return outcome_of(run, baseline)


def outcome_of(run: ModelRun, baseline: Sequence[StoredAnswer] | None = None) -> ModelOutcome:
    """Compute the results of a run, compared with earlier answers where these are given."""
    results = run.results
    given = [r for r in results if r.status is Status.OK]
    placed = [r for r in results if r.place is not None]
    known = [r for r in results if r.oracle_right is not None]
    figures = {
        "as_expected": [(r, r.as_expected) for r in results],
        "complete": [(r, r.complete) for r in results],
        "right_instance": [(r, r.as_expected) for r in results if r.expected_status is Status.OK],
        "wrong_pose": [(r, not r.as_expected) for r in given],
        "pose_on_refusal": [(r, r.status is Status.OK) for r in results if r.expected_status is not Status.OK],
        "right_place": [(r, r.complete) for r in placed],
        "wrong_place": [(r, not r.complete) for r in placed if r.as_expected and r.place is not PlaceOutcome.NOT_GIVEN],
    }
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for r in results:
        confusion[r.expected_status.value][r.status.value] += 1
    sides = _by((side, r) for r in results if (side := heuristic_kind(r.kind)) is not None)
    usual, counter = (sides.get(side, wilson(0, 0)) for side in (USUAL, COUNTER_HEURISTIC))
    difference = newcombe(usual.k, usual.n, counter.k, counter.n)
    checks: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (source, _), told in {(r.source, r.image): r.checks for r in results if r.checks}.items():
        checks[source].update(told)
    blamed = Counter((r.error, r.blame.value if r.blame else UNKNOWN) for r in results)
    who = (*(blame.value for blame in Blame), UNKNOWN)
    return ModelOutcome(
        **{field: wilson(sum(counts for _, counts in of), len(of)) for field, of in figures.items()},
        by_kind=_by((kind, r) for r in results for kind in r.kind),
        by_relation=_by((name, r) for r in results for name in r.relations),
        confusion={expected: dict(sorted(counts.items())) for expected, counts in sorted(confusion.items())},
        misses=tuple(
            {"frame": r.image, **{name: getattr(r, name) for name in _OF_A_MISS}, "kind": r.miss}
            for r in results
            if not r.complete
        ),
        by_frame_of_reference=_by((r.frame_of_reference or _NO_SCENE, r) for r in results),
        by_expected_status=_by((r.expected_status.value, r) for r in results),
        by_given_status=_by((r.status.value, r) for r in results),
        split={"usual": usual, "counter_heuristic": counter, "difference": difference} if sides else None,
        cases=tuple(results),
        unjudged=run.unjudged,
        by_miss={kind.value: sum(r.miss is kind for r in results) for kind in MissKind},
        over_frames={
            _FIGURES[field]: comparing.clustered((r.group, counts) for r, counts in of) for field, of in figures.items()
        },
        by_error={error.value: sum(r.error is error for r in results) for error in CaseError},
        calibration={
            "answered": comparing.calibrate([r.confidence for r in given], [r.as_expected for r in given]),
            "all": comparing.calibrate([r.confidence for r in results], [r.likeliest_is_right for r in results]),
        },
        comparison=None if baseline is None else comparing.compare(results, baseline),
        model=run.name,
        errors={
            error.value: {name: blamed[error, name] for name in who}
            for error in CaseError
            if any(blamed[error, name] for name in who)
        },
        oracle=wilson(sum(bool(r.oracle_right) for r in known), len(known)),
        beside_oracle=wilson(sum(r.complete for r in known), len(known)),
        unusable=tuple(run.unusable),
        checks=checks,
        boxes=run.detector.by_source(),
    )


_OF_A_MISS = ("instruction", "expected_status", "expected_id", "status", "id", "message")


def heuristic_kind(kinds: Iterable[str]) -> str | None:
    """USUAL or COUNTER_HEURISTIC, whichever the kinds of a case say; None if they say both, or neither."""
    said = {kind.lower().replace("_", "-").replace(" ", "-") for kind in kinds} & {USUAL, COUNTER_HEURISTIC}
    return said.pop() if len(said) == 1 else None


def _by(named: Iterable[tuple[str, CaseResult]]) -> dict[str, Share]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for name, result in named:
        groups[name].append(result.as_expected)
    return {name: wilson(sum(good), len(good)) for name, good in sorted(groups.items())}


# ------------------------------------------------------------------------------------------------ all models


@dataclass(frozen=True)
class EvaluationOutcome:
    """Results of all models, in the order in which they were named."""

    models: tuple[ModelOutcome, ...]
    pairs: tuple[comparing.PairDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every case that expects something was asked and judged."""
        return not any(model.unusable for model in self.models)

    def is_worse(self, significant: bool = False) -> bool:
        """Whether any model is worse than its baseline; `significant`: by more than chance explains."""
        compared = [model.comparison for model in self.models if model.comparison is not None]
        return any(c.verdict is comparing.ComparisonVerdict.WORSE or (c.slipped and not significant) for c in compared)


def evaluation_of(
    runs: Sequence[ModelRun], baselines: Mapping[str, Sequence[StoredAnswer]] | None = None, notes: Sequence[str] = ()
) -> EvaluationOutcome:
    """Compute the results of some runs, one for each model; notes on failed and unjudged cases are added."""
    shared: dict[str, list[str]] = {}  # a sentence for each source and failed status → models that share it
    for run in runs:
        asked, failed = Counter(r.source for r in run.results), dict[tuple[str, str], list[str]]()
        for r in run.results:
            if r.error is CaseError.FAILED:
                failed.setdefault((r.source, r.status.value), []).append(r.message)
        for (source, status), told in failed.items():
            head = f"{source}: " if source else ""
            words = f"{head}{len(told)} of {asked[source]} cases ended in {status}; the first says: {told[0]}"
            shared.setdefault(words, []).append(run.name)
    several = len(runs) > 1
    said = [*notes, *(f"{', '.join(names)}: {words}" if several else words for words, names in shared.items())]

    unjudged = max((run.unjudged for run in runs), default=0)
    if unjudged:
        left_out = "1 case does" if unjudged == 1 else f"{unjudged} cases do"
        said.append(f'{left_out} not say what to expect and did not count: add "expect"')
    return EvaluationOutcome(
        models=tuple(outcome_of(run, (baselines or {}).get(run.name)) for run in runs),
        pairs=comparing.compare_pairs([(run.name, run.results) for run in runs]),
        notes=tuple(dict.fromkeys(said)),
    )


def evaluation_json(evaluation: EvaluationOutcome) -> dict[str, Any]:
    """JSON values without times: of one model its fields, of several "models" lists these for each."""
    whole: dict[str, Any] = msgspec.to_builtins(evaluation)
    models = whole.pop("models")
    return {**models[0], **whole} if len(models) == 1 else {"models": models, **whole}
