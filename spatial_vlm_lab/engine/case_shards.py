# SPDX-License-Identifier: Apache-2.0
"""Plans an evaluation: cuts models and sources into shards, each with a hash of its input.

Frames are cut into batches of images, large bags into parts by their chunks, small bags are one shard each. The plan
depends only on sources, truth and models.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import spatial_vlm_lab
import spatial_vlm_ros
from spatial_vlm_lab.engine.bag_window import BagPart, bytes_before, place_of, recording_lag
from spatial_vlm_lab.engine.shards import Shard, digest
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_lab.scoring.rows import COLUMNS
from spatial_vlm_lab.scoring.sources import Source
from spatial_vlm_ros.errors import FileError, SpatialVlmError
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.reader import open_bag
from spatial_vlm_ros.recording.bags.remote import files_of, is_indexed, summary_bytes
from spatial_vlm_ros.recording.bags.topics import choose_roles
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.uris import facts_of, is_remote, local_path, name_of
from spatial_vlm_ros.streams.frame_assembler import RGB, SECOND
from spatial_vlm_ros.types import FrameOfReference

FRAMES_IN_SHARD = 32
BYTES_IN_SHARD = 256 * 1024 * 1024
"""Of a bag's chunks; a bag of less than twice as many is one shard."""
_READERS = 16  # threads that hash files or ask stores
_MOST_FILES = 10_000  # of one frame


@dataclass(frozen=True)
class CaseWork:
    """Input of a worker for a shard.

    Args:
        shown: the folder or bag as shown in rows.
        source: its absolute path, because a worker may run in another folder.
        cases: the cases, in the order of their rows.
        part: part of a bag; None = all of it.
    """

    shown: str
    source: Source
    model: ModelSpec
    cases: tuple[Case, ...]
    part: BagPart | None = None


def plan_cases(
    sources: Sequence[Source],
    models: Sequence[ModelSpec],
    config: Settings,
    frames_in_shard: int = FRAMES_IN_SHARD,
    bytes_in_shard: int = BYTES_IN_SHARD,
) -> list[Shard]:
    """Plan shards of all models on all sources, model by model in the order of the sources.

    Args:
        frames_in_shard: images of a folder per shard.
        bytes_in_shard: bytes of a bag's chunks per shard.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        cut = list(readers.map(lambda source: _pieces(source, config, frames_in_shard, bytes_in_shard), sources))
    return [
        Shard(source.uri, piece.name, piece.titles, digest([model_identity(model), piece.content]),
              CaseWork(source.uri, _placed(source), model, piece.cases, piece.part))
        for model in models
        for source, pieces in zip(sources, cut, strict=True)
        for piece in pieces
    ]  # fmt: skip


def _placed(source: Source) -> Source:
    uri = source.uri if is_remote(source.uri) else str(local_path(source.uri).absolute())
    truth = str(Path(source.truth).absolute()) if source.truth else ""
    return dataclasses.replace(source, uri=uri, truth=truth, bags=())


def run_configuration(config: Settings, frame_of_reference: FrameOfReference | None) -> dict[str, Any]:
    """Everything except models and data that rows depend on, JSON-like: parameters, form of rows, code version."""
    return {
        "version": spatial_vlm_ros.__version__,
        "code": _code(),
        "columns": list(COLUMNS),
        "resolver": plain(config.resolver),
        "streams": plain(config.streams),
        "frame_of_reference": None if frame_of_reference is None else frame_of_reference.value,
    }


def model_identity(model: ModelSpec) -> dict[str, Any]:
    """Identity of a model, JSON-like; files named in its options count by name, size and time."""
    return {
        "name": model.name,
        "backend": model.backend,
        "options": {key: [value, _files_state(value)] for key, value in sorted(model.options.items())},
    }


def plain(value: Any) -> Any:
    """Parameters and cases as JSON-like values."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one) for one in value)
    return value


# ------------------------------------------------------------------------------------------------ pieces of sources


@dataclass(frozen=True)
class _Piece:
    name: str
    cases: tuple[Case, ...]
    content: str
    part: BagPart | None = None

    @property
    def titles(self) -> tuple[str, ...]:
        return tuple(f"{case.frame or case.stamp_ns}: {case.instruction}" for case in self.cases)


def _pieces(source: Source, config: Settings, frames_in_shard: int, bytes_in_shard: int) -> list[_Piece]:
    cases = source.cases()
    if source.kind == "frames":
        return _of_frames(source, cases, frames_in_shard)
    return _of_bag(source, cases, config, bytes_in_shard)


def _of_frames(source: Source, cases: Sequence[Case], most: int) -> list[_Piece]:
    """Batches of images with all their cases; cases of an image that do not follow each other stay where they are."""
    runs = [(name, list(group)) for name, group in itertools.groupby(cases, key=lambda case: case.frame)]
    pieces = []
    for n in range(0, len(runs), most):
        batch = runs[n : n + most]
        names = [name for name, _ in batch]
        own = tuple(case for _, group in batch for case in group)
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        seen = [[name, _frame_hash(source.folder / name)] for name in dict.fromkeys(names)]
        content = digest([plain(own), seen, _mask_hashes(own, source.folder)])
        pieces.append(_Piece(f"{name_of(source.uri)}, {span}", own, content))
    return pieces


def _of_bag(source: Source, cases: Sequence[Case], config: Settings, most: int) -> list[_Piece]:
    identity = _bag_identity(source.uri)
    masks, topics = _mask_hashes(cases, source.folder), sorted(source.topics.items())

    def piece(name: str, own: Sequence[Case], part: BagPart | None = None) -> _Piece:
        content = digest([identity, topics, masks, plain(own), plain(part)])
        return _Piece(f"{name_of(source.uri)}{name}", tuple(own), content, part)

    cut = _cut(source, cases, config, most)
    if not cut:
        return [piece("", cases)]
    pieces = []
    for own, part in cut:
        name = "" if part is None else f", images {own[0].stamp_ns} to {own[-1].stamp_ns} ns"
        pieces.append(piece(name or ", stamps outside of its images", own, part))
    return pieces


def _cut(
    source: Source, cases: Sequence[Case], config: Settings, most: int
) -> list[tuple[list[Case], BagPart | None]]:  # fmt: skip
    """Cases of a large bag with the parts that hold their images; none if the bag stays whole."""
    if not _may_be_cut(source.uri, most):
        return []
    try:
        with open_bag(source.uri) as bag:
            chunks = bag.chunks()
            colour = choose_roles(bag.contents, config.streams, source.topics, with_detections=False)[RGB]
            lag = recording_lag(bag, colour)
    except SpatialVlmError:
        return []  # whoever evaluates it says what is wrong
    images = [chunk for chunk in chunks if colour in chunk.topics]
    if lag is None or sum(chunk.size for chunk in chunks) < 2 * most:
        return []
    starts, sizes = bytes_before(chunks)
    first, last = min(chunk.start_ns for chunk in images), max(chunk.end_ns for chunk in images)
    groups: dict[int, list[Case]] = {}
    outside = []
    for case in sorted(cases, key=lambda case: case.stamp_ns):
        if first - lag[1] <= case.stamp_ns <= last - lag[0]:
            groups.setdefault(place_of(case.stamp_ns + lag[0], starts, sizes) // most, []).append(case)
        else:
            outside.append(case)
    cache_ns = int(config.streams.transform_cache * SECOND)
    found: list[tuple[list[Case], BagPart | None]] = [
        (own, BagPart(own[0].stamp_ns + lag[0], own[-1].stamp_ns + lag[1], cache_ns)) for own in groups.values()
    ]
    return [*found, (outside, None)] if outside else found


def _may_be_cut(uri: str, most: int) -> bool:
    """Whether all files of a bag are indexed MCAP and they are large enough."""
    try:
        files = _files(uri)
        large = sum(facts_of(file).size for file in files) >= 2 * most
        messages = [file for file in files if not file.endswith(".yaml")]
        return large and all(file.endswith(".mcap") and is_indexed(file) for file in messages)
    except FileError:
        return False


# ------------------------------------------------------------------------------------------------ hashes


def _bag_identity(uri: str) -> list[list[Any]]:
    """What tells a bag from another one without reading its messages: size, version and index of each file."""
    found = []
    for file in _files(uri):
        facts = facts_of(file)
        index = b"" if not file.endswith(".mcap") or facts.size == 0 else _summary(file)
        found.append([name_of(file), facts.size, facts.version, hashlib.sha256(index).hexdigest()])
    return found


def _summary(file: str) -> bytes:
    """The index of an MCAP file; nothing of a damaged one, which whoever evaluates it says."""
    try:
        return summary_bytes(file)
    except SpatialVlmError:
        return b""


def _files(uri: str) -> list[str]:
    if is_remote(uri):
        return files_of(uri)
    path = local_path(uri)
    if path.is_dir():
        return [str(file) for file in sorted(path.iterdir()) if file.is_file()]
    return [str(path)]


def _frame_hash(folder: Path) -> str:
    """Hash of names and bytes of the files of a frame; of one that cannot be read, of that."""
    try:
        files = sorted(file for file in folder.rglob("*") if file.is_file())[:_MOST_FILES]
        return digest([[str(file.relative_to(folder)), _file_hash(file)] for file in files])
    except FileError as error:
        return f"unreadable: {error.got}"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _mask_hashes(cases: Sequence[Case], folder: Path) -> list[list[str]]:
    names = {case.expect.mask for case in cases if case.expect is not None and case.expect.mask is not None}
    return [[name, _state_or_hash(folder / name)] for name in sorted(names)]


def _state_or_hash(path: Path) -> str:
    try:
        return _file_hash(path)
    except FileError as error:
        return f"unreadable: {error.got}"


def _file_hash(path: Path) -> str:
    return sha256_of(path, "check its permissions")


def _files_state(value: str) -> list[list[Any]]:
    """Names, sizes and times of the files that an option names; none if it names none."""
    try:
        path = Path(value).expanduser()
        if not path.exists():
            return []
        files = sorted(path.rglob("*"))[:_MOST_FILES] if path.is_dir() else [path]
        return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
    except (OSError, ValueError, RuntimeError):
        return []


@cache
def _code() -> str:
    """Hash of this package's own files: another version gives other rows."""
    roots = [Path(str(package.__file__)).parent for package in (spatial_vlm_ros, spatial_vlm_lab)]
    files = [(root.parent, file) for root in roots for file in sorted(root.rglob("*.py"))]
    return digest([[str(file.relative_to(top)), _file_hash(file)] for top, file in files])
