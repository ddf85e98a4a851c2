# SPDX-License-Identifier: Apache-2.0
"""Evaluates models on sources in shards into a folder: plans the shards, and answers them.

Frames are cut into batches of images, large bags into parts by their chunks, small bags are one shard each. A part of a
bag gives the same frames as the whole bag. Only the chunks of the part are read, and before them what still holds in
it: static transforms, the transforms that are kept, the last camera info.

One image is lifted once for all its sentences; while they are answered, a thread reads and decodes the next images.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

import spatial_vlm_lab
import spatial_vlm_ros
from spatial_vlm_lab.engine.engines import LocalEngine, Outcome, Shard, ShardAnswers, digest
from spatial_vlm_lab.engine.run import MergedRun, evaluate_shards
from spatial_vlm_lab.scoring.case_result import COLUMNS, Row
from spatial_vlm_lab.scoring.model_spec import LoadedModel, ModelSpec, check_images, load_model
from spatial_vlm_lab.scoring.outcome import CaseImage, CaseJudge
from spatial_vlm_lab.scoring.sources import Source, images_ahead, images_of, images_of_bag
from spatial_vlm_ros.errors import FileError, SpatialVlmError
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.remote import (
    facts_of,
    files_of,
    index_of,
    is_remote,
    local_path,
    name_of,
    summary_bytes,
)
from spatial_vlm_ros.recording.bags.topics import CAMERA_INFO, TF_MESSAGE, Bag, BagMessage, choose_roles, open_bag
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.streams.frame_assembler import RGB, SECOND, STATIC_TRANSFORMS, stamp_of
from spatial_vlm_ros.types import FrameOfReference

FRAMES_IN_SHARD = 32
BYTES_IN_SHARD = 256 * 1024 * 1024
"""Of a bag's chunks; a bag of less than twice as many is one shard."""
_READERS = 16  # threads that hash files or ask stores
_MOST_FILES = 10_000  # of one frame
LEAD_NS = 3 * SECOND
"""Messages of all topics are read from so long before a part's first image on: its partners may come before it."""
LAG_NS = 30 * SECOND
"""... and until so long after its last image, at most: detectors are slow. Reading ends with the last image's case."""
_IN_STEP_NS = SECOND  # by which recording may lag behind stamps by more or less within one bag
_PROBES = 7  # chunks that are looked at


@dataclass(frozen=True)
class BagPart:
    """A part of a bag: its images were recorded from `first_ns` to `last_ns`; transforms are kept for `cache_ns`."""

    first_ns: int
    last_ns: int
    cache_ns: int


@dataclass(frozen=True)
class CaseWork:
    """Input of a worker for a shard; the source has an absolute path, and a part of None is all of a bag."""

    shown: str
    source: Source
    model: ModelSpec
    cases: tuple[Case, ...]
    part: BagPart | None = None


def evaluate_cases(
    sources: Sequence[Source],
    models: Sequence[ModelSpec],
    config: Settings,
    folder: str | Path,
    engine: LocalEngine,
    *,
    frame_of_reference: FrameOfReference | None = None,
    resume: bool = False,
    watch: Callable[[Outcome, int], None] | None = None,
) -> MergedRun:
    """Ask every model about all cases of all sources; `run.run_rows` reads the rows from the folder, a path or URI."""
    shards = plan_cases(sources, models, config)
    return evaluate_shards(
        partial(CaseTask, config, tuple(models), frame_of_reference),
        shards,
        folder,
        engine,
        run_configuration(config, frame_of_reference),
        resume=resume,
        watch=None if watch is None else lambda outcome: watch(outcome, len(shards)),
    )


# ------------------------------------------------------------------------------------------------ plan


def plan_cases(
    sources: Sequence[Source],
    models: Sequence[ModelSpec],
    config: Settings,
    frames_in_shard: int = FRAMES_IN_SHARD,
    bytes_in_shard: int = BYTES_IN_SHARD,
) -> list[Shard]:
    """Plan shards of all models on all sources, model by model in the order of the sources."""

    def cut(source: Source) -> list[_Piece]:
        frames = source.kind == "frames"
        return _of_frames(source, frames_in_shard) if frames else _of_bag(source, config, bytes_in_shard)

    with ThreadPoolExecutor(_READERS) as readers:
        pieces_of = list(readers.map(cut, sources))
    shards = []
    for model in models:
        options: dict[str, list[Any]] = {}  # files that they name count by name, size and time
        for key, value in sorted(model.options.items()):
            state: list[list[Any]] = []
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # it names no files
                path = Path(value).expanduser()
                files = sorted(path.rglob("*"))[:_MOST_FILES] if path.is_dir() else [path]
                state = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
            options[key] = [value, state]
        identity = {"name": model.name, "backend": model.backend, "options": options}
        for source, pieces in zip(sources, pieces_of, strict=True):
            uri = source.uri if is_remote(source.uri) else str(local_path(source.uri).absolute())
            truth = str(Path(source.truth).absolute()) if source.truth else ""
            placed = dataclasses.replace(source, uri=uri, truth=truth, bags=())
            for name, cases, content, part in pieces:
                titles = tuple(f"{case.frame or case.stamp_ns}: {case.instruction}" for case in cases)
                work = CaseWork(source.uri, placed, model, cases, part)
                shards.append(Shard(source.uri, name, titles, digest([identity, content]), work))
    return shards


def run_configuration(config: Settings, frame_of_reference: FrameOfReference | None) -> dict[str, Any]:
    """Everything except models and data that rows depend on, JSON-like: parameters, form of rows, code version."""
    return {
        "version": spatial_vlm_ros.__version__,
        "code": _code(),
        "columns": list(COLUMNS),
        "resolver": msgspec.to_builtins(config.resolver),
        "streams": msgspec.to_builtins(config.streams),
        "frame_of_reference": None if frame_of_reference is None else frame_of_reference.value,
    }


_Piece = tuple[str, tuple[Case, ...], str, BagPart | None]
"""Name, cases, hash of the content, and part of a bag."""


def _of_frames(source: Source, most: int) -> list[_Piece]:
    """Batches of images with all their cases; cases of an image that do not follow each other stay where they are."""
    runs = [(name, list(group)) for name, group in itertools.groupby(source.cases(), key=lambda case: case.frame)]
    pieces: list[_Piece] = []
    for n in range(0, len(runs), most):
        batch = runs[n : n + most]
        names = [name for name, _ in batch]
        own = tuple(case for _, group in batch for case in group)
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        seen = []  # each image's name, and the hash of its files
        for name in dict.fromkeys(names):
            folder = source.folder / name
            try:
                files = sorted(file for file in folder.rglob("*") if file.is_file())[:_MOST_FILES]
            except OSError as error:
                seen.append([name, f"unreadable: {error.strerror}"])
                continue
            seen.append([name, digest([[str(file.relative_to(folder)), _file_hash(file)] for file in files])])
        content = digest([msgspec.to_builtins(own), seen, _mask_hashes(own, source.folder)])
        pieces.append((f"{name_of(source.uri)}, {span}", own, content, None))
    return pieces


def _of_bag(source: Source, config: Settings, most: int) -> list[_Piece]:
    cases = source.cases()
    identity = []  # of each file, without reading its messages
    for file in _files(source.uri):
        facts, index = facts_of(file), b""
        if file.endswith(".mcap") and facts.size > 0:
            with contextlib.suppress(SpatialVlmError):  # a damaged one has none: whoever evaluates it says so
                index = summary_bytes(file)
        identity.append([name_of(file), facts.size, facts.version, hashlib.sha256(index).hexdigest()])
    masks, topics = _mask_hashes(cases, source.folder), sorted(source.topics.items())

    def piece(own: Sequence[Case], part: BagPart | None = None, name: str = "") -> _Piece:
        content = digest([identity, topics, masks, msgspec.to_builtins(own), msgspec.to_builtins(part)])
        if part is not None:
            name = f", images {own[0].stamp_ns} to {own[-1].stamp_ns} ns"
        return f"{name_of(source.uri)}{name}", tuple(own), content, part

    parts = _parts(source, cases, config, most)
    return [piece(own, part, ", stamps outside of its images") for own, part in parts] or [piece(cases)]


def _parts(
    source: Source, cases: Sequence[Case], config: Settings, most: int
) -> list[tuple[list[Case], BagPart | None]]:  # fmt: skip
    """Cases of a large bag with the parts that hold their images; none if the bag stays whole."""
    try:
        files = _files(source.uri)
        messages = [file for file in files if not file.endswith(".yaml")]
        is_large = sum(facts_of(file).size for file in files) >= 2 * most
        if not is_large or not all(file.endswith(".mcap") and index_of(file) for file in messages):
            return []
        with open_bag(source.uri) as bag:
            chunks = bag.chunks()
            colour = choose_roles(bag.contents, config.streams, source.topics, with_detections=False)[RGB]
            lag = recording_lag(bag, colour)
    except SpatialVlmError:
        return []  # whoever evaluates it says what is wrong
    images = [chunk for chunk in chunks if colour in chunk.topics]
    if lag is None or sum(chunk.size for chunk in chunks) < 2 * most:
        return []
    ordered = sorted(chunks, key=lambda chunk: chunk.start_ns)
    starts, before = [chunk.start_ns for chunk in ordered], [0, *itertools.accumulate(chunk.size for chunk in ordered)]
    first, last = min(chunk.start_ns for chunk in images), max(chunk.end_ns for chunk in images)
    groups: dict[int, list[Case]] = {}
    outside = []
    for case in sorted(cases, key=lambda case: case.stamp_ns):
        if first - lag[1] <= case.stamp_ns <= last - lag[0]:
            place = before[max(bisect.bisect_right(starts, case.stamp_ns + lag[0]) - 1, 0)]
            groups.setdefault(place // most, []).append(case)
        else:
            outside.append(case)
    cache_ns = int(config.streams.transform_cache * SECOND)
    found: list[tuple[list[Case], BagPart | None]] = [
        (own, BagPart(own[0].stamp_ns + lag[0], own[-1].stamp_ns + lag[1], cache_ns)) for own in groups.values()
    ]
    return [*found, (outside, None)] if outside else found


# ------------------------------------------------------------------------------------------------ hashes


def _files(uri: str) -> list[str]:
    if is_remote(uri):
        return files_of(uri)
    path = local_path(uri)
    if path.is_dir():
        return [str(file) for file in sorted(path.iterdir()) if file.is_file()]
    return [str(path)]


def _mask_hashes(cases: Sequence[Case], folder: Path) -> list[list[str]]:
    names = {case.expect.mask for case in cases if case.expect is not None and case.expect.mask is not None}
    return [[name, _file_hash(folder / name)] for name in sorted(names)]


def _file_hash(path: Path) -> str:
    try:
        return sha256_of(path, "check its permissions")
    except FileError as error:
        return f"unreadable: {error.got}"


@cache
def _code() -> str:
    """Hash of this package's own files: another version gives other rows."""
    roots = [Path(str(package.__file__)).parent for package in (spatial_vlm_ros, spatial_vlm_lab)]
    files = [(root.parent, file) for root in roots for file in sorted(root.rglob("*.py"))]
    return digest([[str(file.relative_to(top)), _file_hash(file)] for top, file in files])


# ------------------------------------------------------------------------------------------------ parts of bags


class BagWindow(Bag):
    """An open part of a bag; see Bag."""

    def __init__(self, path: str | Path, part: BagPart) -> None:
        super().__init__(path)
        self.part = part

    def messages(
        self, names: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield the messages that the part's frames need, in recording order."""
        del start_ns, stop_ns
        wanted = set(self.topics if names is None else names)
        begin = self.part.first_ns - LEAD_NS

        # What was recorded before the part and still holds in it.
        moving = {name for name in wanted if self.topics[name] == TF_MESSAGE}
        static = {name for name in moving if name.endswith(STATIC_TRANSFORMS)}
        before = list(super().messages(static, None, begin))
        before += super().messages(moving - static, begin - self.part.cache_ns, begin)
        for name in sorted(name for name in wanted if self.topics[name] == CAMERA_INFO):
            chunks = [chunk for chunk in self.chunks() if name in chunk.topics and chunk.start_ns < begin]
            if chunks:
                newest = max(chunks, key=lambda chunk: (chunk.end_ns, chunk.start_ns))
                before += deque(super().messages({name}, newest.start_ns, begin), maxlen=1)
        yield from sorted(before, key=lambda message: message.log_ns)

        yield from super().messages(wanted, begin, self.part.last_ns + LAG_NS)


def recording_lag(bag: Bag, topic: str) -> tuple[int, int] | None:
    """Least and most nanoseconds by which messages of a topic were recorded after their stamps.

    First, last and some messages between are looked at. None if the lag is not the same throughout, as in a bag whose
    time is set back: then no part of it can be found by stamps.
    """
    chunks = [chunk for chunk in bag.chunks() if topic in chunk.topics]
    if not chunks:
        return None
    places = sorted({round(k * (len(chunks) - 1) / (_PROBES - 1)) for k in range(_PROBES)})
    lags = []
    for place in places:
        chunk = chunks[place]
        try:
            seen = [m.log_ns - stamp_of(m.decode()) for m in bag.messages({topic}, chunk.start_ns, chunk.end_ns + 1)]
        except SpatialVlmError:
            return None
        lags += seen
    least, most = min(lags), max(lags)
    return (least, most) if most - least <= _IN_STEP_NS else None


# ------------------------------------------------------------------------------------------------ answers


class CaseTask:
    """Answers shards of `plan_cases`; one model is held at a time. An only one is loaded at once."""

    def __init__(
        self, config: Settings, models: Sequence[ModelSpec], frame_of_reference: FrameOfReference | None = None
    ) -> None:
        self._config, self._reference = config, frame_of_reference
        self._model: LoadedModel | None = None
        if len(models) == 1:
            self.model(models[0])

    def model(self, spec: ModelSpec) -> LoadedModel:
        """A model, loaded where it is not the one that is there."""
        if self._model is None or self._model.spec != spec:
            self._model = None  # or two models are in memory at once
            self._model = load_model(spec)
        return self._model

    def __call__(self, shard: Shard) -> ShardAnswers:
        """Answer a shard: a row for each case, in order, and notes about the source."""
        work: CaseWork = shard.payload
        model, source = self.model(work.model), work.source
        if source.kind == "bag":  # which does not say what made its images
            check_images(model, self._config.resolver.domain_gate)
        judge = CaseJudge(model, self._config.resolver, work.shown, source.folder, self._reference)
        rows: dict[int, Row] = {}
        notes: list[str] = []

        def note(words: str) -> None:
            notes.append(f"{work.shown}: {words}")

        for case, image in images_ahead(self._images(work, note)):
            rows[id(case)] = judge.ask(case, image).row()
        return ShardAnswers(tuple(rows[id(case)] for case in work.cases), tuple(notes))

    def _images(self, work: CaseWork, note: Callable[[str], None]) -> Iterator[tuple[Case, CaseImage]]:
        """Images of a source; what is not found in a part of a bag is looked for in all of it."""
        source, config, is_given = work.source, self._config, work.model.is_given
        if work.part is None:
            yield from images_of(source, work.cases, config, is_given, note)
            return
        missing = {id(case): case for case in work.cases}
        damage: FileError | None = None
        with BagWindow(source.uri, work.part) as bag:
            for case, image in images_of_bag(bag, work.cases, config, source.topics, is_given, lambda _: None):
                if isinstance(image.problem, FileError):
                    damage = image.problem
                elif image.problem is not None:  # no image of the part has its stamp
                    continue
                del missing[id(case)]
                yield case, image
                if not missing:
                    break
        if damage is not None:
            note(f"the bag is damaged: {damage}; later cases in the same part are not judged")
        if missing:
            note(f"{len(missing)} cases have stamps without a nearby image; the whole bag was read for them")
            yield from images_of(source, tuple(missing.values()), config, is_given, note)
