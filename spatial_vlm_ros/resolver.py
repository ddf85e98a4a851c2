# SPDX-License-Identifier: Apache-2.0
"""The whole pipeline: sentence → readings → detections → objects → relations → target or refusal. Start reading here.

A frame is lifted to a scene once, and each sentence is answered on that scene. `Resolver.resolve` does all in one call.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spatial_vlm_ros.errors import (
    InputError,
    InternalError,
    ModelError,
    NotUnderstoodError,
    SpatialVlmError,
    UnknownNameError,
)
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.language import parse_dialogue
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.domain import check_domain, domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding, SentenceReader, model_errors
from spatial_vlm_ros.perception.grounding_checks import (
    check_detections,
    checked_grounding,
    grounding_of_objects,
    holding,
    match_of,
    with_crops,
    with_unexplained,
    without_supports,
)
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.referring import Referrer, referrer_of
from spatial_vlm_ros.perception.relation_asking import PhraseAsking, RelationAsking
from spatial_vlm_ros.perception.stopwatch import Stopwatch
from spatial_vlm_ros.spatial.answer import resolution_of, with_evidence
from spatial_vlm_ros.spatial.decision import ResolvedChoice, believed, unnamed_in_doubt, with_avoided
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.detector_profile import CAREFUL, GIVEN, DetectorProfile, read_profile
from spatial_vlm_ros.spatial.dialogue import (
    DialogueChoice,
    acknowledged,
    after,
    asked_again,
    called,
    choose,
    question_turn,
    refused_in,
    stays_open,
    with_steps,
)
from spatial_vlm_ros.spatial.dialogue_state import Dialogue
from spatial_vlm_ros.spatial.dialogue_turns import DialogueTurn, supported, take, take_reading
from spatial_vlm_ros.spatial.held import HELD, of_held
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.support_check import mentioned
from spatial_vlm_ros.spatial.wording import question, with_ignored, with_unread, without_robot
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    NounPhrase,
    Resolution,
    Rgb,
    RgbdFrame,
    Scene,
    SpatialQuery,
    UnexplainedRegion,
)
from spatial_vlm_ros.types.held import BoxInHand

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.free_words import FreeWords
    from spatial_vlm_ros.perception.taught import NamedFrame, TaughtObjects
    from spatial_vlm_ros.perception.taught_store import TaughtFile

_log = logging.getLogger(__name__)
_CROPS, _PATIENCE = 4, 10.0  # parts of an image that a grounder is asked about, while it took fewer seconds in all


class Answered(NamedTuple):
    """An answer and what it is based on.

    Args:
        detections: those given, or those of the grounder; empty if the request was refused before grounding.
        scene: the scene lifted from them; None if the request was refused before lifting.
        dialogue: what later words may refer to, to be passed as `follows`; None if there is nothing.
    """

    resolution: Resolution
    detections: tuple[Detection, ...]
    scene: Scene | None
    dialogue: Dialogue | None = None


class MeasuredSentence(NamedTuple):
    """The decision about a sentence by measurement alone, for callers that want to ask models about it."""

    choice: ResolvedChoice
    scorer: PhraseScorer
    queries: tuple[SpatialQuery, ...]
    answered: Answered


class Resolver:
    """Resolve which object an instruction means and where it is.

    Args:
        grounder: finds objects by name; not needed if detections are given with each frame, or with `decision.taught`,
            which names what is seen of taught objects, alone or beside either. With `second_opinion.ask`
            it also gets the whole phrase, and with `language.free_form` words that are not understood; then it must be
            able to refer.
        reader: reads sentences that the grammar does not understand; None = the one that `config.language` names.

    Attributes:
        relations: asks a model about single relations if `judge.mode` says so.
        opinions: asks a model about the whole phrase if `second_opinion.ask` says so.
    """

    def __init__(
        self, config: ResolverConfig | None = None, grounder: Grounder | None = None,
        reader: SentenceReader | None = None,
    ) -> None:  # fmt: skip
        self.config = config or ResolverConfig()
        self.grounder, self._reader = grounder, reader
        self._profile: DetectorProfile | None = None  # read at the first request; refused without the file
        self.relations, self.opinions = RelationAsking(self.config, grounder), PhraseAsking(self.config)
        self._latest: tuple[Scene, Layout] | None = None
        self._taught: TaughtFile | None = None

    def resolve(
        self,
        frame: RgbdFrame,
        instruction: str,
        detections: Sequence[Detection] | None = None,
        frame_of_reference: FrameOfReference | str | None = None,
        follows: Sequence[str] | Dialogue = (),
    ) -> Resolution:
        """Answer one instruction on one frame.

        Problems with the scene or the words give a refusal, never an exception.

        Args:
            frame: colour, registered depth in metres, camera, and base_T_camera if poses are wanted in the base frame.
            instruction: English, up to 1,000 characters.
            detections: objects found by another detector; None = ask the grounder.
            frame_of_reference: used if the words state none; None = the configured one.
            follows: earlier words, oldest first, if `instruction` answers a question about them; they are answered
                again on this frame. Or the `dialogue` of an answer, which keeps what was asked and shown on its frame.

        Raises:
            InputError: `frame` is not an RgbdFrame.
        """
        return self.look_at(frame, detections).ask(instruction, frame_of_reference, follows).resolution

    def taken(self, words: str, before: Dialogue | None = None) -> DialogueTurn | None:
        """Parse words before there is a frame; None if a model may be asked about them, because that needs a frame.

        Raises:
            SpatialVlmError: no frame would help: the words are not understood, ask to stop, or cannot be judged.
        """
        language = self.config.language
        try:
            return take(words, before)
        except NotUnderstoodError as error:
            if self._reader is None and language.reader == "grammar":
                self.free_words(words, error, before)
            return None

    def free_words(self, words: str, why: NotUnderstoodError, before: Dialogue | None) -> FreeWords:
        """The words as a model may be asked about them; raises `why` if none may."""
        from spatial_vlm_ros.perception.free_words import FreeWords

        if before is not None or self.config.language.free_form != "ask_model":
            raise why
        return FreeWords(words, why)

    def look_at(
        self, frame: RgbdFrame, detections: Sequence[Detection] | None = None, profile: DetectorProfile = GIVEN
    ) -> ObservedFrame:
        """Prepare a frame for several instructions; it is lifted at the first one that is understood.

        Args:
            detections: as in `resolve`; None = each instruction asks the grounder.
            profile: of `detections`, unless `decision.profile` names one.

        Raises:
            InputError: `frame` is not an RgbdFrame.
        """
        return ObservedFrame(self, frame, detections, profile)

    def observe(self, frame: RgbdFrame, detections: Sequence[Detection]) -> Scene:
        """Lift detections in the image of a frame to objects in metres, in the camera frame.

        Raises:
            InputError: `frame` is not an RgbdFrame, or detections do not match it.
            DepthError: the depth image as a whole is not usable.
        """
        _check_frame(frame)
        checked = check_detections(detections, frame.camera.width, frame.camera.height)
        return build_scene(frame, checked, self.config.depth, self.config.lift)

    def answer(
        self,
        scene: Scene,
        instruction: str,
        grounding: Grounding | None = None,
        referrer: Referrer | None = None,
        frame_of_reference: FrameOfReference | str | None = None,
        follows: Sequence[str] | Dialogue = (),
    ) -> Resolution:
        """Answer one instruction on a scene.

        Problems with the scene or the words give a refusal, never an exception.

        Args:
            grounding: how well its detections match `phrases_of(understood(instruction))`; None = by their labels.
            referrer: a model that also gets the whole phrase; None = the grounder, if `second_opinion.ask` is on.
        """
        observed = ObservedFrame(self, scene.frame, tuple(obj.detection for obj in scene.objects), GIVEN)
        observed._scene, observed._grounding, observed._referrer = scene, grounding, referrer
        return observed.ask(instruction, frame_of_reference, follows).resolution

    def scorer_of(
        self, scene: Scene, phrases: Sequence[NounPhrase], grounding: Grounding, frame: FrameOfReference | None
    ) -> PhraseScorer:
        """Make the scorer of phrases on a scene; `grounding` has a row for each phrase and a column for each object."""
        scores = np.array([d.score for d in grounding.detections]) ** self.config.decision.score_weight
        latest = self._latest  # the scene as arrays, kept for the next sentence
        if latest is None or latest[0] is not scene:
            latest = self._latest = scene, lay_out(scene, self.config.depth, self.config.relation)
        return PhraseScorer(
            latest[1],
            self.config.at_caution(),
            match=match_of(phrases, grounding),
            score=scores,
            default_frame=frame or self.config.frame_of_reference,
            profile=self.profile_of(grounding),
        )

    def profile_of(self, grounding: Grounding) -> DetectorProfile:
        """How far the names of a grounding can be believed; `decision.profile` precedes, unless it is final."""
        named = self.config.decision.profile
        if self._profile is None and named:
            self._profile = read_profile(named, getattr(self.grounder, "loaded_as", None))
        if grounding.profile is not None and grounding.profile.final:
            return grounding.profile
        return self._profile or grounding.profile or CAREFUL

    def taught(self) -> TaughtObjects | None:
        """The objects of `decision.taught`, read anew when the file has changed; None if none is named.

        Raises:
            FileError: it cannot be read.
        """
        if self._taught is None and self.config.decision.taught:
            from spatial_vlm_ros.perception.taught_store import TaughtFile

            self._taught = TaughtFile(self.config.decision.taught)
        return None if self._taught is None else self._taught.read()

    def parsed(self, words: str, before: Dialogue | None = None) -> DialogueTurn:
        """Parse words: by the grammar, else by a language model, if one is configured."""
        language = self.config.language
        try:
            return take(words, before)
        except NotUnderstoodError as error:
            if self._reader is None and language.reader != "grammar":
                from spatial_vlm_ros.perception.backends.sentence_server import load_reader

                self._reader = load_reader(language.model)
            if self._reader is None:
                raise
            try:
                reading = self._reader.read(words)
                return take_reading(words, reading.command, reading.queries, reading.flags)
            except (NotUnderstoodError, ModelError) as other:
                said = other.reason if isinstance(other, NotUnderstoodError) else str(other)
                reason = f"{error.reason}; the language model did not help: {said}"
                raise NotUnderstoodError(words, error.span, reason, error.repair, error.kind) from other


class ObservedFrame:
    """A frame for several instructions. It is lifted once; with a grounder, once for each set of phrases.

    Made by `Resolver.look_at`. Not thread-safe.

    Attributes:
        found: the last phrases given to the grounder, and its result; None if it was not asked, or failed.
        held: what the hand holds, which "it" means.
    """

    held: BoxInHand | None = None

    def __init__(
        self, resolver: Resolver, frame: RgbdFrame, detections: Sequence[Detection] | None, profile: DetectorProfile
    ) -> None:
        _check_frame(frame)
        self._resolver, self.frame, self._profile = resolver, frame, profile
        self._given = None if detections is None else tuple(detections)
        self._checked: tuple[Detection, ...] | None = None  # the given detections, after they were checked
        self._scene: Scene | SpatialVlmError | None = None  # of the given detections, or the reason why there is none
        self._latest: tuple[tuple[NounPhrase, ...], Grounding, Scene] | None = None  # of the grounder
        self.found: tuple[tuple[NounPhrase, ...], Grounding] | None = None
        self._looked: tuple[NounPhrase, ...] | None = None  # phrases that it was asked about crops for
        self._named: tuple[tuple[Detection, ...], NamedFrame] | None = None  # of detections, those that were taught
        self._grounding: Grounding | None = None
        self._referrer: Referrer | None = None

    def ask(
        self,
        instruction: str,
        frame_of_reference: FrameOfReference | str | None = None,
        follows: Sequence[str] | Dialogue = (),
        checkpoint: Callable[[], None] = lambda: None,
        taken: DialogueTurn | None = None,
    ) -> Answered:
        """Answer one instruction.

        Problems with the scene or the words give a refusal, never an exception; an unexpected one gives INTERNAL_ERROR,
        with its trace in the log.

        Args:
            taken: what `Resolver.taken` made of the same words in the same dialogue; None = they are parsed.
            checkpoint: called after each stage; an exception from it (CancelledError, DeadlineError) ends the request.
        """
        watch = Stopwatch(checkpoint)
        before = follows if isinstance(follows, Dialogue) else None
        try:
            frame = _frame(frame_of_reference)
            for words in () if isinstance(follows, Dialogue) else follows:  # answered again on this frame
                earlier = self._answered(words, before, frame, watch)
                if earlier.dialogue is None and before is None:
                    turn = take(words)  # raises if something is wrong with the first words
                    before = Dialogue("", (words,), turn.attempts[0].queries, turn.attempts[0].queries)
                before = earlier.dialogue or before
        except Exception as error:
            answered = self._refused(instruction, error, None)
        else:
            answered = self._answered(instruction, before, frame, watch, taken)
        grounder = self._resolver.grounder if self._given is None and self._grounding is None else None
        domain, ms = None if grounder is None else domain_of(grounder), watch.total()
        timed = dataclasses.replace(answered.resolution, ms=ms, timings_ms=watch.laps, model_domain=domain)
        return answered._replace(resolution=with_evidence(timed, answered.scene))

    def measured(self, instruction: str, frame_of_reference: FrameOfReference | str | None = None) -> MeasuredSentence:
        """Decide an instruction by measurement alone, even if the configuration names models."""
        frame, turn = _frame(frame_of_reference), self._resolver.parsed(instruction)
        if turn.queries[0].question is not None or turn.told:
            expected = "a phrase or a command that means an object"
            raise InputError(
                "instruction", f"a question: {instruction!r}", expected, "give a phrase for the object instead"
            )
        phrases = phrases_of(turn.queries)
        grounding = self._ground(phrases)
        scene = self._lift(phrases, grounding)
        scene.evidence.require()
        takable, _ = without_supports(grounding, phrases, turn.queries, self.frame.camera)
        scorer = self._resolver.scorer_of(scene, phrases, grounding_of_objects(takable, scene), frame)
        choice, scorer, attempt = decided = choose(turn, scorer)
        resolution, dialogue, _ = self._worded(turn, decided)
        answered = Answered(with_unread(resolution, grounding.unread), grounding.detections, scene, dialogue)
        return MeasuredSentence(choice, scorer, called(attempt, scorer), answered)

    def _answered(
        self,
        words: str,
        before: Dialogue | None,
        frame: FrameOfReference | None,
        watch: Stopwatch,
        turn: DialogueTurn | None = None,
    ) -> Answered:
        """Answer words in a dialogue, and return the dialogue after them."""
        detections, scene = self._given or (), None
        try:
            referrer = self._referrer
            if referrer is None and self._resolver.config.second_opinion.ask:
                self._check_domain()
                referrer = referrer_of(self._resolver.grounder)
            judge = self._resolver.relations.who(given=self._given is not None)
            try:
                turn = turn or self._resolver.parsed(words, before)
            except NotUnderstoodError as error:
                return self._by_model(self._resolver.free_words(words, error, before), frame, watch)
            if turn.told:
                answer, begun = acknowledged(turn, self.frame.stamp_ns)
                return Answered(answer, detections, None, begun)
            turn = turn if self.held is None else of_held(turn, self.held)
            phrases = phrases_of(turn.queries)
            watch.lap("parse")
            grounding = self._ground(phrases)
            detections = grounding.detections
            watch.lap("ground")
            scene = self._lift(phrases, grounding)
            watch.lap("lift")
            scene.evidence.require()
            scorer, ignored = self._scorer(turn, phrases, grounding, scene, frame)
            if turn.queries[0].question is not None:
                resolution, dialogue, unknown = question_turn(turn, scorer, partial(without_robot, scene=scene))
            else:
                choice, scorer, attempt = choose(turn, scorer)
                closer = self._closer(phrases, grounding, unnamed_in_doubt(choice, scorer), watch)
                if closer is not None:
                    grounding, scene, detections = *closer, closer[0].detections
                    scorer, ignored = self._scorer(turn, phrases, grounding, scene, frame)
                    choice, scorer, attempt = choose(turn, scorer)
                if judge is not None and turn.before is None and attempt.doubt is None:  # otherwise a person decides
                    watch.lap("relate")
                    choice = self._resolver.relations.judged(choice, scorer, called(attempt, scorer), judge)
                    watch.lap("judge")
                if referrer is not None and not scorer.confirmed:  # a model must not dispute what a person chose
                    watch.lap("relate")
                    choice = self._resolver.opinions.cross_checked(choice, scorer, referrer)
                    watch.lap("refer")
                resolution, dialogue, unknown = self._worded(turn, DialogueChoice(choice, scorer, attempt))
                resolution = with_steps(resolution, attempt.queries, scorer)
            scene = scorer.layout.scene
            resolution = with_ignored(with_unread(resolution, grounding.unread), ignored)
            watch.lap("relate")
        except Exception as error:
            refused = self._refused(words, error, before)
            return refused._replace(detections=detections, scene=scene)
        if before is not None and stays_open(turn, resolution, unknown=unknown):
            return Answered(asked_again(resolution, before), detections, scene, before)
        return Answered(resolution, detections, scene, dialogue)

    def _scorer(
        self, turn: DialogueTurn, phrases: tuple[NounPhrase, ...], grounding: Grounding, scene: Scene,
        frame: FrameOfReference | None,
    ) -> tuple[PhraseScorer, tuple[Detection, ...]]:  # fmt: skip
        """The scorer with what has no name, where the words speak of that too; and detections never taken."""
        grounding, scene = with_unexplained(grounding, phrases, scene, self._resolver.observe)
        takable, ignored = without_supports(grounding, phrases, turn.queries, self.frame.camera)
        scene, takable, phrases = holding(scene, takable, phrases, self.held)
        return self._resolver.scorer_of(scene, phrases, grounding_of_objects(takable, scene), frame), ignored

    def _closer(
        self, phrases: tuple[NounPhrase, ...], grounding: Grounding, regions: Sequence[UnexplainedRegion],
        watch: Stopwatch,
    ) -> tuple[Grounding, Scene] | None:  # fmt: skip
        """What the model finds of the phrases where it left something without a name, looking once more; else None."""
        by_itself = self._given is None and self._grounding is None and self.frame.camera.is_rectified
        grounder = self._resolver.grounder
        looks = by_itself and grounder is not None and getattr(grounder, "looks", True)
        if not (looks and regions) or self._looked == phrases:
            return None
        self._looked, end = phrases, time.monotonic() + _PATIENCE - watch.laps["ground"] / 1000

        def ask(crop: Rgb) -> Grounding:
            try:
                return self._asked(crop, phrases)
            finally:
                watch.lap("ground")

        watch.lap("relate")
        some = itertools.takewhile(lambda _: time.monotonic() < end, regions[:_CROPS])
        closer = with_crops(grounding, some, self.frame.rgb, ask)
        if closer is grounding:
            return None
        try:
            scene = self._resolver.observe(self.frame, closer.detections)
            scene.evidence.require()
        except SpatialVlmError as error:  # the box of a crop must not cost the answer
            _log.info("what was found in a part of the image is not used: %s", error)
            return None
        self.found, self._latest = (phrases, closer), (phrases, closer, scene)
        watch.lap("lift")
        return closer, scene

    def _by_model(self, free: FreeWords, frame: FrameOfReference | None, watch: Stopwatch) -> Answered:
        """Answer words that no reader understands: a model points at the object, and geometry measures where it is."""
        resolver = self._resolver
        referrer = self._referrer or free.referrer(resolver.grounder)
        self._check_domain()
        watch.lap("parse")
        if self._given is not None:
            grounding = self._of_given(self._given, free.phrases)
        else:
            grounding = self._ground(free.phrases) if free.phrases else Grounding((), np.zeros((0, 0)))
        watch.lap("ground")
        scene = self._lift(free.phrases, grounding)
        watch.lap("lift")
        scene.evidence.require()
        scorer_of = partial(resolver.scorer_of, frame=frame)
        answer = free.answer(referrer, scene, grounding, resolver.config, resolver.observe, scorer_of)
        self._check_domain()  # by now the worker process has reported what it loaded
        watch.lap("refer")
        resolution = with_unread(without_robot(answer.resolution, scene), grounding.unread)
        return Answered(resolution, answer.grounding.detections, answer.scene)  # later words must not refer to it

    @staticmethod
    def _worded(turn: DialogueTurn, decided: DialogueChoice) -> tuple[Resolution, Dialogue | None, bool]:
        scorer = decided.scorer
        choice = with_avoided(with_place(believed(decided.choice, scorer), scorer), scorer)
        asked = question(choice, scorer, turn.unnamed)
        resolution = without_robot(resolution_of(choice, scorer, turn.said, asked), scorer.layout.scene)
        return resolution, after(turn, decided._replace(choice=choice), asked, resolution), decided.attempt.unknown

    def _refused(self, words: str, error: Exception, before: Dialogue | None) -> Answered:
        if not isinstance(error, SpatialVlmError):
            _log.error("unexpected exception while resolving %r", words, exc_info=error)
            error = InternalError.of(error)
        return Answered(refused_in(words, error, before, self.frame.stamp_ns), self._given or (), None, before)

    def _check_domain(self) -> None:
        """Raise DomainMismatchError if the grounder must not be used on this frame."""
        check_domain(self._resolver.grounder, self._resolver.config.domain_gate, self.frame.domain)

    def _ground(self, phrases: tuple[NounPhrase, ...]) -> Grounding:
        """Match the given detections by their labels, or ask the grounder."""
        if self._grounding is not None:
            return checked_grounding(self._grounding, phrases, self.frame.rgb, "grounding")
        if self._given is not None:
            return self._of_given(self._given, phrases)
        if self._latest is not None and self._latest[0] == phrases:
            return self._latest[1]
        alone = self._resolver.grounder is None and self._resolver.config.decision.taught
        nothing = Grounding((), np.zeros((len(phrases), 0)))
        found = self._with_taught(nothing if alone else self._asked(self.frame.rgb, phrases), phrases)
        self.found = phrases, found
        return found

    def _with_taught(self, grounding: Grounding, phrases: tuple[NounPhrase, ...]) -> Grounding:
        """Let what was taught name detections, and what has none; not in a scene that was lifted before."""
        resolver, given = self._resolver, grounding.detections
        taught = resolver.taught()
        if taught is None or (self._scene is not None and self._named is None):
            return grounding
        from spatial_vlm_ros.perception.taught import TAUGHT, named_frame

        if self._named is None or self._named[0] != given:
            self._named = given, named_frame(taught, self.frame, given, resolver.observe, resolver.config)
        return self._named[1].grounding(grounding, phrases, resolver.profile_of(grounding) if given else TAUGHT)

    def _asked(self, rgb: Rgb, phrases: tuple[NounPhrase, ...]) -> Grounding:
        grounder = self._resolver.grounder
        if grounder is None:
            raise InputError(
                "detections", "none", "detections or a grounder",
                "pass detections= to resolve, or grounder= to Resolver",
            )  # fmt: skip
        name = type(grounder).__name__
        self._check_domain()
        with model_errors(name):  # any model failure costs one request and is never "not found"
            grounding = grounder.ground(rgb, phrases)
            self._check_domain()  # by now the worker process has reported what it loaded
            return checked_grounding(grounding, phrases, rgb, name)

    def _of_given(self, given: Sequence[Detection], phrases: tuple[NounPhrase, ...]) -> Grounding:
        if self._checked is None:
            self._checked = check_detections(given, self.frame.camera.width, self.frame.camera.height)
        matched = Grounding(self._checked, label_match(phrases, self._checked), profile=self._profile)
        return self._with_taught(matched, phrases)

    def _lift(self, phrases: tuple[NounPhrase, ...], grounding: Grounding) -> Scene:
        """Lift detections to a scene; for given detections the scene, or its error, is reused for every instruction."""
        if self._given is None:
            if self._latest is None or self._latest[1] is not grounding:
                self._latest = phrases, grounding, self._resolver.observe(self.frame, grounding.detections)
            return self._latest[2]
        if self._scene is None:
            try:
                self._scene = self._resolver.observe(self.frame, grounding.detections)
            except SpatialVlmError as error:
                self._scene = error
        if isinstance(self._scene, SpatialVlmError):
            raise self._scene.with_traceback(None)
        return self._scene


def understood(instruction: str, follows: Sequence[str] = ()) -> tuple[SpatialQuery, ...]:
    """The readings of an instruction whose relations are all known, the preferred one first."""
    return supported(parse_dialogue(instruction, follows))


def phrases_of(queries: Sequence[SpatialQuery]) -> tuple[NounPhrase, ...]:
    """All phrases of some readings that must be found in the image, each once, in the order of appearance."""
    return tuple(dict.fromkeys(phrase for query in queries for phrase in mentioned(query) if phrase != HELD))


def _check_frame(frame: object) -> None:
    if not isinstance(frame, RgbdFrame):
        raise InputError("frame", type(frame).__name__, "an RgbdFrame", "build an RgbdFrame, or use load_frame")


def _frame(name: FrameOfReference | str | None) -> FrameOfReference | None:
    try:
        return None if name is None else FrameOfReference(name)
    except ValueError as error:
        raise UnknownNameError("frame of reference", str(name), (frame.value for frame in FrameOfReference)) from error
