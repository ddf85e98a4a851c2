# SPDX-License-Identifier: Apache-2.0
"""Plays a bag through the state machine of the live node, to get the answers that the robot would have given.

It decides when an instruction is asked and which frame answers it; reading, matching, transforms and resolving are done
elsewhere. Time is the recording time of messages, so a replay gives the same answers on every machine.

An instruction is answered on the first complete frame that was surely exposed after the moment it was asked, by the
rule of the live node (docs/timing.md), and refused where none comes within `frame_timeout`. The live node answers one
instruction at a time and says BUSY to others; here, those that wait at the same time are all answered. Instructions
without a time are asked when the camera begins: they look at the first complete frame, and pass over frames without
transforms, for a recording begins in the middle of objects.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from spatial_vlm_ros.errors import InputError, InternalError, SpatialVlmError, TransformUnavailableError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.topics import INSTRUCTION, Bag, BagMessage
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import ObservedFrame, Resolver
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH,
    DETECTIONS,
    RGB,
    SECOND,
    STATIC_TRANSFORMS,
    TRANSFORMS,
    FrameAssembler,
    PendingFrame,
    SeenRobot,
    needs_speaker,
)
from spatial_vlm_ros.types import Detection, FrameOfReference, Resolution, RgbdFrame, Scene, SpatialQuery, Status

FAILURES = frozenset(
    {Status.INVALID_INPUT, Status.STALE_INPUT, Status.NOT_SYNCHRONISED, Status.TF_UNAVAILABLE,
     Status.MODEL_ERROR, Status.TIMEOUT, Status.BUSY, Status.CANCELLED, Status.INTERNAL_ERROR}
)  # fmt: skip
"""Statuses that say nothing of words and objects: something could not be read, or failed."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class AnsweredCase:
    """A case with its frame, None if it could not be read, and its answer, which has the frame's name."""

    case: Case
    frame: RgbdFrame | None
    detections: tuple[Detection, ...]
    resolution: Resolution
    scene: Scene | None = None


def answer_cases(
    folder: str | Path,
    resolver: Resolver,
    frame_of_reference: FrameOfReference | None = None,
    watch: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> Iterator[AnsweredCase]:
    """Answer the cases of a folder in order; a frame that cannot be read is a refusal for each of its cases."""
    frames = FolderFrames(folder)
    observed: tuple[RgbdFrame, ObservedFrame] | None = None  # cases come frame by frame: each is lifted once
    for case in watch(load_cases(folder)):
        there = frames.load(case.frame)
        if isinstance(there, SpatialVlmError):
            yield AnsweredCase(case, None, (), refusal(case.instruction, there, frame=case.frame))
            continue
        frame, detections = there
        if observed is None or observed[0] is not frame:
            observed = frame, resolver.look_at(frame, detections)
        resolution, _, scene, _ = observed[1].ask(case.instruction, frame_of_reference)
        yield AnsweredCase(case, frame, detections, dataclasses.replace(resolution, frame=case.frame), scene)


class FolderFrames:
    """Loads frames of a folder; caches only the latest, because frames are large and cases come frame by frame."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._latest: tuple[str, tuple[RgbdFrame, tuple[Detection, ...]] | SpatialVlmError] | None = None

    def load(self, name: str) -> tuple[RgbdFrame, tuple[Detection, ...]] | SpatialVlmError:
        """A frame with its detections, or why it cannot be read."""
        if self._latest is None or self._latest[0] != name:
            try:
                self._latest = name, load_frame(self._folder / name)
            except SpatialVlmError as error:
                self._latest = name, error
            except Exception as error:  # a bug here costs the cases of one frame, not the batch
                _log.exception("unexpected exception while reading %s", self._folder / name)
                self._latest = name, InternalError.of(error)
        return self._latest[1]


_LONGEST = 1e9  # seconds; no bag is longer
_TIME = "time of the request (--at)"


@dataclass(frozen=True, eq=False)
class ReplayedAnswer:
    """Answer or refusal of one instruction."""

    resolution: Resolution  # the outcome; its `stamp_ns` is the frame's
    frame: RgbdFrame | None
    detections: tuple[Detection, ...]  # detections of the bag; empty if a grounder found the objects
    log_ns: int  # recording time at which the live node would have answered, nanoseconds
    scene: Scene | None = None


def replay(
    bag: Bag,
    resolver: Resolver,
    roles: Mapping[str, str],
    config: StreamConfig,
    instructions: Sequence[str] = (),
    *,
    at: float | None = None,
    every: bool = False,
    frame_of_reference: FrameOfReference | str | None = None,
    robot: SeenRobot | None = None,
) -> Iterator[ReplayedAnswer]:
    """Play a bag and yield the answers.

    Args:
        instructions: asked together; empty = those of the topic INSTRUCTION, each at its recording time.
        at: when they are asked, seconds after the bag's first message; None = when the camera begins.
    """
    asked = tuple(instructions)
    player = _Player(resolver, dict(roles), config, asked, at, every, frame_of_reference, robot, bag.start_ns)
    for message in bag.messages(set(roles.values())):
        yield from player.hear(message)
        if player.is_done:
            return
    yield from player.end()


@dataclass
class _Request:
    """An instruction that waits."""

    instruction: str
    asked_ns: int
    after_ns: int  # frames that may have been exposed earlier are passed over; 0 = none is
    is_patient: bool  # frames without transforms are passed over, too; else only those before all transforms
    passed_over: SpatialVlmError | None = None

    def passes_over(self, error: SpatialVlmError) -> bool:
        return self.is_patient or (isinstance(error, TransformUnavailableError) and error.is_past)


def without_transforms(error: TransformUnavailableError) -> TransformUnavailableError:
    """The error of a transform that is missing, for a bag that holds none at all."""
    reason = "the bag has no transforms (no messages on /tf and /tf_static)"
    repair = "pass --base-frame '' for poses in the camera's own frame, or record transforms"
    return TransformUnavailableError(error.parent, error.child, reason, repair)


@lru_cache(maxsize=64)
def _readings(instruction: str) -> tuple[SpatialQuery, ...]:
    """All readings; none of words that are not understood, which are refused where they are answered."""
    try:
        return parse(instruction)
    except SpatialVlmError:
        return ()


@dataclass
class _Player:
    """The arguments are those of `replay`."""

    resolver: Resolver
    roles: dict[str, str]
    config: StreamConfig
    instructions: Sequence[str]
    at: float | None
    every: bool
    frame_of_reference: FrameOfReference | str | None
    robot: SeenRobot | None
    start_ns: int

    def __post_init__(self) -> None:
        at, self._listens = self.at, not self.instructions
        if self._listens and (INSTRUCTION not in self.roles or self.every or at is not None):
            got = "none" if INSTRUCTION not in self.roles else "none, although frames or a time are set"
            expected = "an instruction" + ("" if self.every or at is not None else ", or a topic of them in the bag")
            raise InputError("instruction", got, expected, 'give one: "the can behind the cup"')
        if at is not None and not 0 <= at <= _LONGEST:
            raise InputError(_TIME, f"{at} s", "0 or more", "seconds count from the bag's beginning")
        self._has_transforms = TRANSFORMS in self.roles or STATIC_TRANSFORMS in self.roles
        if not self._has_transforms:  # then none is worth waiting for
            self.config = dataclasses.replace(self.config, transform_timeout=0.0)
        self._assembler = FrameAssembler(self.config, DETECTIONS in self.roles, robot=self.robot)
        self._roles_of: dict[str, list[str]] = {}
        for role, topic in self.roles.items():
            if role != INSTRUCTION or self._listens:
                self._roles_of.setdefault(topic, []).append(role)
        self._waiting: deque[_Request] = deque()
        self._asked = self._answered = self._is_over = False
        self._now_ns = self.start_ns
        # Without a time to ask at, no frame of the bag is too old.
        self._after_ns = 0 if at is None else self.start_ns + round(at * SECOND)

    @property
    def is_done(self) -> bool:
        return self._asked and not self._waiting and not self.every and not self._listens

    # -------------------------------------------------------------------------------------------- messages in

    def hear(self, message: BagMessage) -> Iterator[ReplayedAnswer]:
        """Take in a message; the answers that it makes possible."""
        roles = self._roles_of.get(message.topic, [])
        self._now_ns = message.log_ns
        is_time = RGB in roles or DEPTH in roles if self.at is None else self._now_ns >= self._after_ns
        if is_time and not self._asked and not self._listens:
            self._ask()
        for role in roles:
            if role == INSTRUCTION:
                self._waiting.append(_Request(message.decode().data, self._now_ns, self._now_ns, is_patient=False))
            else:
                self._assembler.add(role, message.decode(), self._now_ns)
        if self.every:
            yield from self._on_every_frame()
        else:
            yield from self._on_first_frames()

    def _ask(self) -> None:
        self._asked = True
        if not self.every:
            is_patient = self.at is None
            asked_ns = self._now_ns if is_patient else self._after_ns
            self._waiting.extend(_Request(words, asked_ns, self._after_ns, is_patient) for words in self.instructions)

    # -------------------------------------------------------------------------------------------- answers out

    def _on_every_frame(self) -> Iterator[ReplayedAnswer]:
        while self._asked:
            try:
                awaits_speaker = self._need_speaker(self.instructions)
                observation = self._assembler.take(self._after_ns, self._now_ns, awaits_speaker)
            except SpatialVlmError as error:
                yield from (self._refused(words, error) for words in self.instructions)
                continue
            if observation is None:
                return
            yield from self._resolved(observation, self.instructions)
        self._assembler.forget_older()

    def _on_first_frames(self) -> Iterator[ReplayedAnswer]:
        while self._waiting:
            first = self._waiting[0]
            try:
                in_time = self._now_ns - first.asked_ns < self.config.frame_timeout * SECOND
                awaits_speaker = in_time and self._need_speaker(request.instruction for request in self._waiting)
                observation = self._assembler.take(first.after_ns, self._now_ns, awaits_speaker)
            except SpatialVlmError as error:
                asked = self._popped(first.after_ns)
                for request in asked:
                    request.passed_over = error
                self._waiting.extendleft(r for r in reversed(asked) if r.passes_over(error))
                yield from (self._refused(r.instruction, error) for r in asked if not r.passes_over(error))
                continue
            if observation is None:
                break
            asked = self._popped(observation.not_before_ns)
            yield from self._resolved(observation, [request.instruction for request in asked])
        yield from self._given_up(round(self.config.frame_timeout * SECOND))
        if not self._waiting:
            self._assembler.forget_older()

    def _need_speaker(self, instructions: Iterable[str]) -> bool:
        """Whether a frame is to wait for the speaker's transform, too; as live, by the words."""
        if self._is_over or not self.config.speaker_frame:
            return False
        config = self.resolver.config
        frames = (self.frame_of_reference or config.frame_of_reference, config.relation.second_frame)
        return any(needs_speaker(_readings(words), *frames) for words in instructions)

    def _popped(self, not_before_ns: int) -> list[_Request]:
        """The requests that a frame exposed not before a time answers, taken out of the queue."""
        limit_ns = max(not_before_ns, 0)  # requests of no time are answered by any
        asked = [request for request in self._waiting if request.after_ns <= limit_ns]
        self._waiting = deque(request for request in self._waiting if request.after_ns > limit_ns)
        return asked

    def _given_up(self, patience_ns: int) -> Iterator[ReplayedAnswer]:
        while self._waiting and self._now_ns - self._waiting[0].asked_ns >= patience_ns:
            request = self._waiting.popleft()
            why = request.passed_over or self._assembler.why_none(request.after_ns, self.roles)
            yield self._refused(request.instruction, why)

    def _resolved(self, observation: PendingFrame, instructions: Sequence[str]) -> Iterator[ReplayedAnswer]:
        try:
            frame, detections = observation.decode()
        except SpatialVlmError as error:
            yield from (self._refused(words, error, observation.stamp_ns) for words in instructions)
            return
        observed = self.resolver.look_at(frame, detections, UNMEASURED)
        for words in instructions:
            self._answered = True
            try:
                taken = self.resolver.taken(words)
            except SpatialVlmError as error:  # as live: words that no frame would help wait for none
                yield ReplayedAnswer(refusal(words, error), None, (), self._now_ns)
                continue
            resolution, seen, scene, _ = observed.ask(words, self.frame_of_reference, taken=taken)
            yield ReplayedAnswer(resolution, frame, seen, self._now_ns, scene)

    def _refused(self, instruction: str, error: SpatialVlmError, stamp_ns: int = 0) -> ReplayedAnswer:
        """A refusal for want of a frame, but for words that no frame would help."""
        self._answered = True
        try:
            self.resolver.taken(instruction)
        except SpatialVlmError as misunderstood:
            return ReplayedAnswer(refusal(instruction, misunderstood), None, (), self._now_ns)
        if isinstance(error, TransformUnavailableError) and not self._has_transforms:
            error = without_transforms(error)
        return ReplayedAnswer(refusal(instruction, error, stamp_ns), None, (), self._now_ns)

    def end(self) -> Iterator[ReplayedAnswer]:
        """The bag is over: what still waits is refused."""
        if not self._asked and not self._listens:
            if self.at is not None:
                seconds = (self._now_ns - self.start_ns) / SECOND
                raise InputError(_TIME, f"{self.at:g} s", f"within the bag's {seconds:.1f} s", "use an earlier time")
            self._ask()
        self._is_over = True  # what only waited for the speaker goes on without
        yield from self._on_every_frame() if self.every else self._on_first_frames()
        if self.every and (not self._answered or self._assembler.waits_for_transform):
            why = self._assembler.why_none(self._after_ns, self.roles)
            yield from (self._refused(words, why) for words in self.instructions)
        yield from self._given_up(0)
