# SPDX-License-Identifier: Apache-2.0
"""Asks a model and the oracle about each case, and judges both, on images, truth and answers of one source."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_lab.scoring import frame_truth
from spatial_vlm_lab.scoring.case_result import CaseEvidence, CaseResult, judge_case
from spatial_vlm_lab.scoring.model_spec import ORACLE, LoadedModel
from spatial_vlm_lab.scoring.rows import Row, row_of, unjudged_row
from spatial_vlm_ros.errors import InputError, InternalError, SpatialVlmError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.recording.cases import Case, Expectation
from spatial_vlm_ros.resolver import Answered, ObservedFrame, Resolver
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.types import ANSWERS, Detection, FrameOfReference, Resolution, RgbdFrame, Scene

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
