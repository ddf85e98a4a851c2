# SPDX-License-Identifier: Apache-2.0
"""The unit of work of an evaluation: one model on one folder of frames or one bag, case by case; and all of them.

A source and a model's specification are plain data, so that other processes can do the work. Cases come one by one, and
so do frames, the next ones read ahead in a thread: memory does not grow with their number. What goes wrong with one
image or one case costs that one alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from spatial_vlm_lab.engine.ahead import made_ahead
from spatial_vlm_lab.scoring.frame_truth import FrameTruth, read_frame_truth
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec, check_images, load_model
from spatial_vlm_lab.scoring.outcome import CaseImage, CaseJudge, EvaluatedCase
from spatial_vlm_ros.errors import (
    FileError,
    InputError,
    InternalError,
    NotSynchronisedError,
    SpatialVlmError,
    TransformUnavailableError,
)
from spatial_vlm_ros.files.documents import parse_json
from spatial_vlm_ros.files.reading import read_lines
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.parameters import Settings, StreamConfig
from spatial_vlm_ros.recording.bags.topics import INSTRUCTION, Bag, choose_roles, open_bag
from spatial_vlm_ros.recording.cases import CASE_REPAIR, Case, load_cases, read_cases
from spatial_vlm_ros.recording.frame_folder import DETECTIONS_FILE
from spatial_vlm_ros.recording.replay import FolderFrames, without_transforms
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
from spatial_vlm_ros.types import FrameOfReference, Resolution

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


_STORED = "answers"  # name of the model of stored answers: they do not tell who gave them
_ANSWERS_REPAIR = "pass what `spatial-vlm resolve --frames DIR --json` or `spatial-vlm replay BAG --json` wrote"
SourceKind = Literal["frames", "bag"]


@dataclass(frozen=True)
class Source:
    """Images with cases; it can be pickled."""

    uri: str  # of a folder or bag: a path, or a URI that the worker's `open_bag` supports
    kind: SourceKind = "frames"
    truth: str = ""  # file of a bag; "" for a folder, which has its own cases.jsonl
    bags: tuple[str, ...] = ()  # all that are evaluated with that file; empty = only this one
    topics: Mapping[str, str] = field(default_factory=dict)  # role → topic, if they are not told

    def cases(self) -> tuple[Case, ...]:
        """Its cases."""
        if self.kind == "bag":
            return cases_of_bag(self.truth, self.uri, self.bags)
        return load_cases(self.uri)

    @property
    def folder(self) -> Path:
        """Base folder of the paths in its truth."""
        return Path(self.truth).parent if self.kind == "bag" else Path(self.uri)


def sources_of(
    frames: Sequence[str], bags: Sequence[str], truth: str = "", topics: Mapping[str, str] | None = None
) -> tuple[Source, ...]:
    """Make sources from folders and bags; the truth file of bags is "" if there are none."""
    if not frames and not bags:
        raise InputError("--frames, --bags", "neither is set", "a folder of frames or a bag")
    if bags and not truth:
        raise InputError("--truth", "not set", "the file with the cases of the bags", "docs/evaluate.md describes it")
    if truth and not bags:
        repair = "set --bags; cases of frames are in cases.jsonl of their folder"
        raise InputError("--truth", truth, "a file of cases beside --bags", repair)
    named = [*frames, *bags]
    twice = next((uri for uri in named if named.count(uri) > 1), None)
    if twice is not None:
        raise InputError("--frames, --bags", f"{twice!r} twice", "each source once", "remove one of them")
    return (
        *(Source(uri) for uri in frames),
        *(Source(uri, "bag", truth, tuple(bags), dict(topics or {})) for uri in bags),
    )


def evaluate_source(
    source: Source,
    model: LoadedModel,
    config: Settings,
    frame_of_reference: FrameOfReference | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Ask a model about all cases of a source and judge the answers; the oracle is asked beside it.

    Cases of a folder come in their order, cases of a bag in the order of its images, and cases without an image last.
    """
    cases = source.cases()
    judge = CaseJudge(model, config.resolver, source.uri, source.folder, frame_of_reference)
    with closing(images_of(source, cases, config, model.spec.is_given, note)) as images:  # the bag, whatever happens
        for case, image in images_ahead(images):
            yield judge.ask(case, image)


def images_of(
    source: Source, cases: Sequence[Case], config: Settings, needs_detections: bool,
    note: Callable[[str], None] = lambda _: None,
) -> Generator[tuple[Case, CaseImage], None, None]:  # fmt: skip
    """Cases of a source with their images, in the order of `evaluate_source`."""
    if source.kind != "frames":
        with open_bag(source.uri) as bag:
            yield from images_of_bag(bag, cases, config, source.topics, needs_detections, note)
        return
    folder, frames = source.folder, FolderFrames(source.folder)  # only the latest image is held
    for case in cases:
        there = frames.load(case.frame)
        truth: FrameTruth | None = None
        problem: SpatialVlmError | None = None
        try:
            truth = read_frame_truth(folder, case)
        except SpatialVlmError as error:
            problem = error if case.expect is not None and case.expect.place is not None else None
        if isinstance(there, SpatialVlmError):
            yield case, CaseImage(None, there, None, truth, problem)
        else:
            frame, detections = there
            known = detections if (folder / case.frame / DETECTIONS_FILE).exists() else None
            yield case, CaseImage(frame, None, known, truth, problem)


def images_ahead(images: Iterable[tuple[Case, CaseImage]]) -> Iterator[tuple[Case, CaseImage]]:
    """The same pairs in the same order, the next two images read and decoded in a thread.

    One of 1280×720 with its depth takes 6.4 MB. An error while reading an image is raised at its position.
    """
    groups = groupby(images, lambda asked: asked[1].frame or object())  # cases that follow each other on one image
    for group in made_ahead((list(asked) for _, asked in groups), 2):
        yield from group


def check_sources(sources: Sequence[Source]) -> None:
    """Check before a long run that every source exists and its cases can be read."""
    for source in sources:
        if "://" not in source.uri and not Path(source.uri).exists():
            what = "a folder with cases.jsonl" if source.kind == "frames" else "a folder that rosbag2 wrote, or a file"
            raise FileError(source.uri, "no such file or folder", f"pass {what}")
        source.cases()


def evaluate_models(
    sources: Sequence[Source],
    specs: Sequence[ModelSpec],
    config: Settings,
    frame_of_reference: FrameOfReference | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Every case of every source by every model; each model is loaded once, and one is held at a time.

    If a source or a model fails, its cases are not judged, and a note says so; an only one raises its error.
    """
    for spec in specs:
        try:
            model = load_model(spec)
        except SpatialVlmError as error:
            if len(specs) == 1:
                raise
            note(f"{spec.name} could not be loaded, so its cases are not judged: {error}")
            for source in sources:
                yield from _lost_cases(source, spec.name, config, error)
            continue
        for source in sources:
            done: list[Case] = []

            def told(words: str, uri: str = source.uri) -> None:
                note(f"{uri}: {words}")

            try:
                if source.kind == "bag":  # it does not say what made its images: before it is read
                    check_images(model, config.resolver.domain_gate)
                for one in evaluate_source(source, model, config, frame_of_reference, told):
                    done.append(one.case)
                    yield one
            except SpatialVlmError as error:
                if len(sources) == len(specs) == 1:
                    raise
                note(f"{source.uri}: its cases are not judged for {spec.name}: {error}")
                yield from _lost_cases(source, spec.name, config, error, done)


def _lost_cases(
    source: Source, model: str, config: Settings, error: SpatialVlmError, done: Sequence[Case] = ()
) -> Iterator[EvaluatedCase]:
    """Yield the remaining cases of a source or a model that failed, without asking them."""
    judge = CaseJudge(LoadedModel(ModelSpec(model)), config.resolver, source.uri, source.folder)
    answered = Counter(done)
    for case in source.cases():
        if answered[case]:
            answered[case] -= 1
        else:
            yield judge.ask(case, CaseImage(error=error, lost=True))


# ------------------------------------------------------------------------------------------------ stored answers


def read_answers(path: str | Path) -> Iterator[Resolution]:
    """Yield the resolutions of a file, one per line."""
    for number, line in read_lines(path, _ANSWERS_REPAIR):  # of bytes: text has line ends that JSON may hold
        value = parse_json(line, path, _ANSWERS_REPAIR, f"line {number}")
        try:
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            yield resolution_from_json(value)
        except (ValueError, RecursionError) as error:  # InputError of `resolution_from_json` is one, too
            raise FileError(path, str(error), _ANSWERS_REPAIR, f"line {number}") from error


def judge_answers(
    source: Source,
    answers: Iterable[Resolution],
    config: Settings,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[EvaluatedCase]:
    """Judge the cases of a source with given answers; answers without a case are ignored.

    An answer belongs to the case of its frame, or of its image's stamp, and its words; repeated ones in their order.
    """
    given: dict[tuple[str, str], deque[Resolution]] = defaultdict(deque)
    for answer in answers:
        given[_asked(answer)].append(answer)
    cases = source.cases()
    asked = Counter(map(_asked, cases))
    for image, words in asked:
        if not given[image, words]:
            got = f"none for {words!r} on {image}"
            raise InputError("answers", got, "one for each case", "use a run over the same folder or bag")
    more = sum(max(0, len(given[key]) - n) for key, n in asked.items())
    if more:
        note(f"{more} answers repeat a case: only the first answer of each case counts")
    judge = CaseJudge(LoadedModel(ModelSpec(_STORED, _STORED)), config.resolver, source.uri, source.folder)
    for case, image_of_case in images_of(source, cases, config, False, note):
        several = given[_asked(case)]
        yield judge.judge(case, image_of_case, several.popleft() if len(several) > 1 else several[0])


def _asked(about: Case | Resolution) -> tuple[str, str]:
    return about.frame or str(about.stamp_ns), about.instruction


# ------------------------------------------------------------------------------------------------ truth files of bags


_MOST_NAMED = 20  # bags in a message


def load_truth(path: str | Path) -> tuple[Case, ...]:
    """Read the cases of a file for `--truth`, one for each non-blank line."""
    cases = []
    for at, case in read_cases(path, "pass a file with one case of a bag on each line"):
        if case.frame:
            reason = f"the case is of the frame {case.frame!r}"
            raise FileError(path, reason, "put cases of frames in cases.jsonl of their folder", at)
        if not case.stamp_ns:
            raise FileError(path, "the case has no `stamp_ns`", CASE_REPAIR, at)
        cases.append(case)
    if not cases:
        raise FileError(path, "it has no cases", CASE_REPAIR)
    return tuple(cases)


def cases_of_bag(path: str | Path, uri: str, bags: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of one bag in a truth file, in its order; `bags` are all evaluated with it, none = this one."""
    truth, at = _by_bag(str(path), _state_of(path))
    nameless = truth.get("", ())
    if nameless and len(set(bags)) > 1:
        reason = f"the case of stamp {nameless[0][1].stamp_ns} names no bag, but {len(set(bags))} bags are evaluated"
        raise FileError(path, reason, 'write "bag": "run1.mcap" into every case')
    names = dict.fromkeys(("", uri, *at.get(_place_of(uri, Path()), ())))
    own = sorted((one for name in names for one in truth.get(name, ())), key=lambda numbered: numbered[0])
    if not own:
        named = ", ".join(sorted(truth)[:_MOST_NAMED])
        raise FileError(path, f"it has no case of {uri}; its cases are of {named}",
                        "fix `bag`: the bag's URI, or its path relative to this file")  # fmt: skip
    return tuple(case for _, case in own)


def bags_left_out(path: str | Path, bags: Sequence[str]) -> dict[str, int]:
    """Bags in a truth file that are not evaluated → number of their cases."""
    truth, _ = _by_bag(str(path), _state_of(path))
    places = {_place_of(uri, Path()) for uri in bags}
    own = {name for name in truth if not name or name in bags or _place_of(name, Path(path).parent) in places}
    return {name: len(cases) for name, cases in truth.items() if name not in own}


def is_same_bag(name: str, uri: str, folder: Path) -> bool:
    """Whether a name in a truth file means a bag: its URI, or a path relative to the file's folder."""
    return name == uri or _place_of(name, folder) == _place_of(uri, Path())


@lru_cache(maxsize=4)
def _by_bag(path: str, state: tuple[int, int]) -> tuple[dict[str, list[tuple[int, Case]]], dict[str, list[str]]]:
    """Numbered cases by the bag that they name, and these names by their place: read once for thousands of bags."""
    del state
    cases: dict[str, list[tuple[int, Case]]] = {}
    for number, case in enumerate(load_truth(path)):
        cases.setdefault(case.bag, []).append((number, case))
    at: dict[str, list[str]] = {}
    for name in cases:
        if name:
            at.setdefault(_place_of(name, Path(path).parent), []).append(name)
    return cases, at


def _state_of(path: str | Path) -> tuple[int, int]:
    try:
        state = Path(path).stat()
    except (OSError, ValueError):  # whoever reads it says so
        return (-1, -1)
    return state.st_size, state.st_mtime_ns


def _place_of(name: str, folder: Path) -> str:
    return name if "://" in name else str((folder / name).resolve())
