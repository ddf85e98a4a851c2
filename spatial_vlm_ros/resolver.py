# SPDX-License-Identifier: Apache-2.0
"""The whole story: sentence → readings → detections → objects → relations → target or refusal. Start reading here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.language import parse_dialogue
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.referring import Referrer, named, referrer_of
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.spatial.answer import answer
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.second_opinion import Reliabilities, cross_check, load_reliabilities, words_for
from spatial_vlm_ros.spatial.support_check import check_supported, is_for_a_person
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    NounPhrase,
    Resolution,
    RgbdFrame,
    Scene,
    SpatialQuery,
    Status,
)


class Answered(NamedTuple):
    """An answer and what it rests on.

    Args:
        resolution: the target in metres, or a refusal with its reason.
        detections: those given or the grounder's; of the latter none where it was refused before.
        scene: what was lifted from them; None where it was refused before.
    """

    resolution: Resolution
    detections: tuple[Detection, ...]
    scene: Scene | None


class Resolver:
    """Resolves which object an instruction means and where it is.

    Args:
        config: every number it decides by.
        grounder: finds objects by name; not needed where detections are given with each frame. With
            `second_opinion.ask` it is also asked for the whole phrase, and has to be able to refer.
    """

    def __init__(self, config: ResolverConfig | None = None, grounder: Grounder | None = None) -> None:
        self.config = config or ResolverConfig()
        self._grounder = grounder
        self._reliabilities: Reliabilities | None = None  # read at the first request, which a missing file refuses

    def resolve(
        self,
        frame: RgbdFrame,
        instruction: str,
        detections: Sequence[Detection] | None = None,
        frame_of_reference: FrameOfReference | str | None = None,
        follows: Sequence[str] = (),
    ) -> Resolution:
        """As `resolve_seen`, the answer alone."""
        return self.resolve_seen(frame, instruction, detections, frame_of_reference, follows).resolution

    def resolve_seen(
        self,
        frame: RgbdFrame,
        instruction: str,
        detections: Sequence[Detection] | None = None,
        frame_of_reference: FrameOfReference | str | None = None,
        follows: Sequence[str] = (),
    ) -> Answered:
        """Answer one instruction on one frame. Never raises for what the world or the words are like: it refuses.

        Args:
            frame: colour, registered depth in metres, camera, and base_T_camera where poses are wanted in the base.
            instruction: English, up to 1,000 characters.
            detections: objects found by somebody else; None = ask the grounder.
            frame_of_reference: used where the words state none; None = the configured one.
            follows: what was said before, oldest first, where `instruction` answers a question about it.

        Returns:
            The target in metres, or a refusal with its reason, and what it rests on.

        Raises:
            InputError: `frame` is no RgbdFrame.
        """
        if not isinstance(frame, RgbdFrame):
            raise InputError("frame", type(frame).__name__, "an RgbdFrame", "build one, or use load_frame")
        start = time.perf_counter()
        timings: dict[str, float] = {}
        seen: list[Detection] = []
        scenes: list[Scene] = []
        try:
            resolution = self._resolve(
                frame, instruction, detections, frame_of_reference, follows, timings, seen, scenes
            )
        except SpatialVlmError as error:
            resolution = refusal(instruction, error, frame.stamp_ns)
        total = round((time.perf_counter() - start) * 1e3, 3)
        resolution = dataclasses.replace(resolution, ms=total, timings_ms=timings)
        return Answered(resolution, tuple(seen or detections or ()), scenes[0] if scenes else None)

    def _resolve(
        self,
        frame: RgbdFrame,
        instruction: str,
        detections: Sequence[Detection] | None,
        frame_of_reference: FrameOfReference | str | None,
        follows: Sequence[str],
        timings: dict[str, float],
        seen: list[Detection],
        scenes: list[Scene],
    ) -> Resolution:
        clock = _Clock(timings)
        referrer = referrer_of(self._grounder) if self.config.second_opinion.ask else None
        queries = parse_dialogue(instruction, follows)
        for query in queries[:1]:
            check_supported(query)
        queries = tuple(_answerable(queries))
        clock.lap("parse")

        phrases = tuple(dict.fromkeys(p for query in queries for p in _all_phrases(query)))
        grounding = self._ground(frame, phrases, detections)
        seen += grounding.detections
        clock.lap("ground")

        scene = build_scene(frame, grounding.detections, self.config.depth, self.config.lift)
        scenes.append(scene)
        grounding = _without(grounding, scene.of_robot)
        clock.lap("lift")

        layout = lay_out(scene, self.config.depth, self.config.relation)
        scores = np.array([d.score for d in grounding.detections]) ** self.config.decision.score_weight
        row_of = {phrase: row for row, phrase in enumerate(phrases)}
        scorer = PhraseScorer(
            layout,
            self.config,
            match=lambda phrase: grounding.match[row_of[phrase]],
            score=scores,
            default_frame=_frame(frame_of_reference) or self.config.frame_of_reference,
        )
        verdict = decide(queries, scorer)
        if referrer is not None:
            clock.lap("relate")
            verdict = self._cross_checked(verdict, scorer, referrer)
            clock.lap("refer")
        resolution = answer(with_place(verdict, scorer), scorer, instruction)
        if scene.of_robot:
            names = ", ".join(f"{d.label} ({d.id})" for d in scene.of_robot)
            words = f"{resolution.message} Left out as the robot itself: {names}."
            resolution = dataclasses.replace(resolution, message=words)
        clock.lap("relate")
        return resolution

    def _ground(
        self, frame: RgbdFrame, phrases: Sequence[NounPhrase], detections: Sequence[Detection] | None
    ) -> Grounding:
        if detections is not None:
            return GivenDetections(detections).ground(frame.rgb, phrases)
        if self._grounder is None:
            raise InputError(
                "detections", "none", "detections or a grounder",
                "pass detections= to resolve, or a grounder to Resolver",
            )  # fmt: skip
        name = type(self._grounder).__name__
        try:
            grounding = self._grounder.ground(frame.rgb, phrases)
            detections = check_detections(grounding.detections, frame.camera.width, frame.camera.height)
            match = np.asarray(grounding.match, np.float64)
        except (ModelError, CancelledError):  # a model's own words, its timeout and a cancellation keep their status
            raise
        except SpatialVlmError as error:
            raise ModelError(name, str(error), "mend the backend; its answer cannot be used") from error
        except Exception as error:  # whatever a model does, it costs one request and is never "not found"
            raise ModelError(name, f"{type(error).__name__}: {error}", "see the backend's own log") from error
        if match.shape != (len(phrases), len(detections)) or not ((match >= 0) & (match <= 1)).all():
            got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(detections)} things"
            raise ModelError(name, got + ", or values outside 0..1", "mend the backend")
        return Grounding(detections, match)

    def _cross_checked(self, verdict: ResolvedChoice, scorer: PhraseScorer, referrer: Referrer) -> ResolvedChoice:
        """The verdict after the model was asked for the whole phrase."""
        config = self.config.second_opinion
        if self._reliabilities is None:
            self._reliabilities = load_reliabilities(config.reliability) if config.reliability else Reliabilities()
        scene, name = scorer.layout.scene, type(referrer).__name__
        words = words_for(verdict.query.target, scorer.default_frame)
        try:
            found = referrer.refer(scene.frame.rgb, words)
        except (ModelError, CancelledError, InputError):  # the last: a worker whose backend cannot refer
            raise
        except Exception as error:  # as of a grounder: it costs one request
            raise ModelError(name, f"{type(error).__name__}: {error}", "see the backend's own log") from error
        row = named(found, [obj.detection for obj in scene.objects], config.overlap, name)
        return cross_check(verdict, scorer, row, self._reliabilities)


def refusal(instruction: str, error: SpatialVlmError, stamp_ns: int = 0, frame: str | None = None) -> Resolution:
    """The one translation of errors to refusals."""
    return Resolution(
        instruction=instruction,
        status=Status[error.status_name],
        message=str(error),
        stamp_ns=stamp_ns,
        frame=frame,
    )


def _without(grounding: Grounding, left_out: Sequence[Detection]) -> Grounding:
    """What was found, but for some of it."""
    if not left_out:
        return grounding
    ids = {detection.id for detection in left_out}
    rows = [row for row, detection in enumerate(grounding.detections) if detection.id not in ids]
    return Grounding(tuple(grounding.detections[row] for row in rows), grounding.match[:, rows])


def _frame(name: FrameOfReference | str | None) -> FrameOfReference | None:
    """A frame of reference by its name.

    Raises:
        UnknownNameError: there is no such frame.
    """
    try:
        return None if name is None else FrameOfReference(name)
    except ValueError as error:
        raise UnknownNameError("frame of reference", str(name), (frame.value for frame in FrameOfReference)) from error


def _answerable(queries: Sequence[SpatialQuery]) -> Iterator[SpatialQuery]:
    """Readings whose relations are all known; the preferred one has been checked before."""
    for query in queries:
        try:
            check_supported(query)
        except SpatialVlmError:
            continue
        yield query


def _all_phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Every phrase of a reading that has to be found in the image."""
    yield from _phrases(query.target)
    if query.destination is not None and not is_for_a_person(query.destination):
        for anchor in query.destination.anchors:
            yield from _phrases(anchor)


def _phrases(phrase: NounPhrase) -> Iterator[NounPhrase]:
    """A phrase and all phrases inside it."""
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from _phrases(anchor)


class _Clock:
    """Wall time between laps, milliseconds."""

    def __init__(self, timings: dict[str, float]) -> None:
        self._timings, self._last = timings, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._timings[name] = round(self._timings.get(name, 0.0) + (now - self._last) * 1e3, 3)
        self._last = now
