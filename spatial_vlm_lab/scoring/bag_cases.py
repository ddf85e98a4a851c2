# SPDX-License-Identifier: Apache-2.0
"""Reads the images of a bag that cases name by stamp, each with the detections of its stamp.

Reads a bag once, message by message, and holds only a few complete frames. Independent of models and answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from spatial_vlm_lab.scoring.case_judge import CaseImage
from spatial_vlm_lab.scoring.frame_truth import FrameTruth
from spatial_vlm_ros.errors import (
    FileError,
    InputError,
    InternalError,
    NotSynchronisedError,
    SpatialVlmError,
    TransformUnavailableError,
)
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.parameters import Settings, StreamConfig
from spatial_vlm_ros.recording.bags.reader import Bag
from spatial_vlm_ros.recording.bags.topics import INSTRUCTION, choose_roles
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.replay import without_transforms
from spatial_vlm_ros.streams.frame_assembler import (
    DETECTIONS,
    RGB,
    SECOND,
    STATIC_TRANSFORMS,
    TRANSFORMS,
    FrameAssembler,
    PendingFrame,
    stamp_of,
)
from spatial_vlm_ros.streams.synchronizer import RESTART

_log = logging.getLogger(__name__)
_FOREVER_NS = 1 << 62  # later than any message
_HELD = 4  # most complete frames that wait for their detections: an image has several megabytes
_BACK_NS = SECOND  # a stamp this far before the one before it is no late image but time set back


def images_of_bag(
    bag: Bag,
    cases: Sequence[Case],
    config: Settings,
    topics: Mapping[str, str],
    needs_detections: bool,
    note: Callable[[str], None],
) -> Iterator[tuple[Case, CaseImage]]:
    """Yield every case with its image, in the order of the images; then cases without an image, with the reason."""
    streams, given = config.streams, dict(topics)
    must_have = needs_detections or DETECTIONS in given
    roles = choose_roles(bag.contents, streams, given, with_detections=must_have)
    if not must_have:
        with contextlib.suppress(InputError):  # none or several: then only the truth file counts
            roles = choose_roles(bag.contents, streams, given)
    roles.pop(INSTRUCTION, None)
    robot = robot_of(streams, config.resolver.depth)
    player = _StampPlayer(bag, roles, streams, robot, cases)
    for stamp_ns, image in player.images():
        for case in player.cases[stamp_ns]:
            yield case, image
    for words in player.notes():
        note(words)
    for case in cases:
        if case.stamp_ns not in player.done:
            yield case, player.without_image(case.stamp_ns)


def heard_of(bag: Bag, roles: Mapping[str, str]) -> Iterator[tuple[list[tuple[str, Any]], int]]:
    """Yield for each message on the topics of some roles: (role, message) of each of them, and its time, ns."""
    for message in bag.messages(set(roles.values())):
        yield [(role, message.decode()) for role, topic in roles.items() if topic == message.topic], message.log_ns


def taken_frames(assembler: FrameAssembler, now_ns: int) -> Iterator[PendingFrame | SpatialVlmError]:
    """Yield the frames that are complete by now, and in the place of one that cannot be used, why."""
    while True:
        try:
            pending = assembler.take(0, now_ns)
        except SpatialVlmError as error:
            yield error
            continue
        if pending is None:
            return
        yield pending


class _StampPlayer:
    """Reads a bag and yields the images of the wanted stamps."""

    def __init__(self, bag: Bag, roles: Mapping[str, str], config: StreamConfig, robot: Any,
                 cases: Sequence[Case]) -> None:  # fmt: skip
        self._bag, self._roles = bag, dict(roles)
        self._has_transforms = TRANSFORMS in roles or STATIC_TRANSFORMS in roles
        if not self._has_transforms:  # then waiting for one makes no sense
            config = dataclasses.replace(config, transform_timeout=0.0)
        self._config = config
        self._assembler = FrameAssembler(config, with_detections=False, robot=robot)
        self.cases: dict[int, list[Case]] = {}
        for case in cases:
            self.cases.setdefault(case.stamp_ns, []).append(case)
        self._found: dict[int, Any] = {}  # stamp → message of detections
        self._newest_found_ns = 0
        self._waiting: deque[PendingFrame] = deque()
        self.done: set[int] = set()
        self._stamps = array("q")  # of all colour images, in the order in which they were recorded
        self._ordered: list[int] = []  # each of them once, when the bag is read
        self._damage: FileError | None = None  # why reading ended early

    def images(self) -> Iterator[tuple[int, CaseImage]]:
        """Yield stamp and image in the order of completion; each stamp once."""
        try:
            for heard, now_ns in heard_of(self._bag, self._roles):
                for role, message in heard:
                    stamp_ns = stamp_of(message) if role in (DETECTIONS, RGB) else 0
                    if role == DETECTIONS:
                        self._newest_found_ns = stamp_ns
                        waits = any(pending.stamp_ns == stamp_ns for pending in self._waiting)
                        if waits or self._is_wanted(stamp_ns):
                            self._found.setdefault(stamp_ns, message)
                        continue
                    if role == RGB:
                        self._stamps.append(stamp_ns)
                        if stamp_ns < self._newest_found_ns - RESTART:  # time was set back, also for the detections
                            self._newest_found_ns = 0
                    self._assembler.add(role, message, now_ns)
                yield from self._complete(now_ns)
        except FileError as error:
            self._damage = error
        yield from self._complete(_FOREVER_NS)
        while self._waiting:
            yield self._given(self._waiting.popleft())
        self._ordered = sorted(set(self._stamps))

    def _complete(self, now_ns: int) -> Iterator[tuple[int, CaseImage]]:
        """Yield images that are complete by now, and refusals for those that never will be."""
        for taken in taken_frames(self._assembler, now_ns):
            stamp_ns = self._assembler.spent_ns if isinstance(taken, SpatialVlmError) else taken.stamp_ns
            if not self._is_wanted(stamp_ns):
                continue
            self.done.add(stamp_ns)
            if isinstance(taken, PendingFrame):
                self._waiting.append(taken)
            elif isinstance(taken, TransformUnavailableError) and not self._has_transforms:
                yield stamp_ns, CaseImage(error=without_transforms(taken), lost=self._damage is not None)
            else:
                yield stamp_ns, CaseImage(error=taken, lost=self._damage is not None)
        while self._waiting:
            stamp_ns = self._waiting[0].stamp_ns
            has_found = DETECTIONS not in self._roles or stamp_ns in self._found or self._newest_found_ns > stamp_ns
            if not has_found and len(self._waiting) <= _HELD:
                break
            yield self._given(self._waiting.popleft())

    def _is_wanted(self, stamp_ns: int) -> bool:
        return stamp_ns in self.cases and stamp_ns not in self.done

    def _given(self, pending: PendingFrame) -> tuple[int, CaseImage]:
        message = self._found.pop(pending.stamp_ns, None)
        try:
            frame, known = (pending if message is None else pending.with_detections(message)).decode()
        except SpatialVlmError as error:
            return pending.stamp_ns, CaseImage(error=error)
        except Exception as error:  # a bug here costs the cases of one image, not the bag
            _log.exception("unexpected exception while decoding the image of stamp %d", pending.stamp_ns)
            return pending.stamp_ns, CaseImage(error=InternalError.of(error))
        truth = None if frame.base_T_camera is None else FrameTruth(frame.base_T_camera)
        return pending.stamp_ns, CaseImage(frame, None, known, truth)

    def notes(self) -> Iterator[str]:
        """Yield messages about damage and irregular stamps, once the bag is read."""
        if self._damage is not None:
            yield f"the bag is damaged: {self._damage}; later cases are not judged"
        repeated = [(stamp, n) for stamp, n in Counter(self._stamps).items() if n > 1 and stamp in self.cases]
        if repeated:
            (stamp, n), *more = repeated
            others = f", and {len(more)} more stamps of cases belong to several" if more else ""
            yield f"{n} colour images have the stamp {stamp}{others}; cases use the first complete one"
        backs = [(before, after) for before, after in itertools.pairwise(self._stamps) if after < before - _BACK_NS]
        if backs:
            last, first = backs[0]
            often = "once" if len(backs) == 1 else f"{len(backs)} times, first"
            yield (
                f"the stamps go back {often} by {(last - first) / SECOND:.1f} s, after the stamp {last}: a stamp may "
                "belong to two images; cases use the first"
            )

    def without_image(self, stamp_ns: int) -> CaseImage:
        """The refusal for a case whose image was never complete."""
        if self._damage is not None:  # the image or its companions may lie behind the damage
            return CaseImage(error=self._damage, lost=True)
        stamps = self._ordered
        at = bisect_left(stamps, stamp_ns)
        if stamps[at : at + 1] != [stamp_ns]:
            got, expected = f"{stamp_ns}, and the bag has no colour image", "a bag with colour images"
            if stamps:
                near = min(stamps[max(at - 1, 0) : at + 1], key=lambda stamp: abs(stamp - stamp_ns))
                ns = abs(near - stamp_ns)  # less than a millisecond is told in nanoseconds: then a stamp was rounded
                apart = f"{ns / SECOND:.3f} s" if ns >= 1_000_000 else f"{ns} ns"
                got = f"{stamp_ns}; no colour image has this stamp; the nearest is {near}, {apart} away"
                expected = f"a stamp between {stamps[0]} and {stamps[-1]} ns"
            repair = "use the header stamp of the colour image in the bag, in nanoseconds"
            problem = InputError("stamp_ns", got, expected, repair)
            return CaseImage(error=problem, problem=problem)
        names = {role: self._roles.get(role, role) for role in self._assembler.streams}
        return CaseImage(
            error=NotSynchronisedError(
                f"the colour image of stamp {stamp_ns} never got a depth image within sync_slop "
                f"({self._config.sync_slop:g} s) and a camera info ({', '.join(names.values())})",
                "record these topics together, name others (--depth, --camera-info), or raise sync_slop",
            )
        )
