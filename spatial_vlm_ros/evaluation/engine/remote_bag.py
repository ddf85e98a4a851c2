# SPDX-License-Identifier: Apache-2.0
"""Opens bags by URI: reads MCAP files by range through their chunk index, and copies other bags first.

Uses how rosbags opens files and where MCAP stores its index; does not read messages. A single file is named, or a
folder of rosbag2 with `metadata.yaml`.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.engine.ranged import RangedStream
from spatial_vlm_ros.evaluation.engine.uris import FileFacts, facts_of, filesystem, joined, name_of, read_range, told

_log = logging.getLogger(__name__)
_METADATA = "metadata.yaml"
_MAGIC = b"\x89MCAP0\r\n"
_FOOTER = 37  # bytes: the footer record and the magic behind it
_COPIED_AT_ONCE = 8 * 1024 * 1024  # bytes
_LARGEST_METADATA = 16 * 1024 * 1024  # bytes


class RemoteFile:
    """A file of a store, with the part of pathlib's interface that rosbags uses (its `RPath`)."""

    def __init__(self, uri: str, traffic: Traffic) -> None:
        self.uri, self._traffic = uri.rstrip("/"), traffic

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: object) -> RemoteFile:
        return RemoteFile(joined(self.uri, str(name)), self._traffic)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return name_of(self.uri)

    @property
    def suffix(self) -> str:
        """Suffix of its name, such as ".mcap"."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return Path(self.name).stem

    def exists(self) -> bool:
        """Whether the store has it."""
        fs, path = filesystem(self.uri)
        with told(self.uri):
            return bool(fs.exists(path))

    def is_dir(self) -> bool:
        """Whether it is a folder of rosbag2, which is told by the name: stores have no folders."""
        return self.suffix not in (".mcap", ".db3")

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """Its size, as `st_size`."""
        del follow_symlinks
        return _Status(facts_of(self.uri).size)

    def open(self, *_: object, **__: object) -> RangedStream:
        """A stream of its bytes, for reading."""
        stream = RangedStream(partial(read_range, self.uri), facts_of(self.uri).size)
        self._traffic.streams.append(stream)
        return stream

    def read_text(self, encoding: str | None = None) -> str:
        """All of a small file."""
        if facts_of(self.uri).size > _LARGEST_METADATA:
            raise FileError(self.uri, f"more than {_LARGEST_METADATA} bytes of metadata", "pass one .mcap file of it")
        return self.open().read().decode(encoding or "utf-8")


@dataclass(frozen=True)
class _Status:
    st_size: int


class Traffic:
    """Counts the data fetched for a bag."""

    def __init__(self) -> None:
        self.streams: list[RangedStream] = []

    @property
    def fetched(self) -> int:
        """Number of fetched bytes."""
        return sum(stream.fetched for stream in self.streams)

    @property
    def requests(self) -> int:
        """Number of fetched ranges."""
        return sum(stream.requests for stream in self.streams)


def files_of(uri: str) -> list[str]:
    """The files of a bag: the URI itself, or the .mcap and .db3 files of its folder in the order of their names."""
    if Path(name_of(uri)).suffix in (".mcap", ".db3", ".bag"):
        return [uri]
    fs, path = filesystem(uri)
    with told(uri):
        found = sorted(str(name) for name in fs.ls(path, detail=False))
    names = [name_of(name) for name in found if Path(name).suffix in (".mcap", ".db3")]
    if not names:
        raise FileError(uri, "no .mcap or .db3 file in the folder", "pass the URI of a bag's file or folder")
    return [joined(uri, name) for name in names]


def is_indexed(uri: str) -> bool:
    """Whether an MCAP file has its index: its end is fetched, no more."""
    size = facts_of(uri).size
    footer = read_range(uri, max(size - _FOOTER, 0), size)
    if not footer.endswith(_MAGIC):
        reason = "it ends before its index: the recorder was killed, or the copy is not complete"
        raise FileError(uri, reason, f"run `mcap recover {name_of(uri)} -o repaired.mcap`, or record it again")
    return int.from_bytes(footer[9:17], "little") > 0


def readable_by_range(uri: str) -> str | None:
    """Why a bag must be copied before it can be read; None if it is read by range."""
    for file in files_of(uri):
        if not file.endswith(".mcap"):
            return f"{name_of(file)} is not MCAP, the only format that can be read by range"
        if not is_indexed(file):
            return f"{name_of(file)} has no chunk index"
    return None


def copied(uri: str, reason: str) -> tempfile.TemporaryDirectory[str]:
    """A bag of a store in a temporary folder of this machine, by the name that it has there.

    Args:
        reason: why it is copied; logged with its size.
    """
    files = files_of(uri)
    if files != [uri]:
        files.append(joined(uri, _METADATA))
    folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(prefix="spatial_vlm_bag_")
    try:
        inner = Path(folder.name, name_of(uri)) if files != [uri] else Path(folder.name)
        inner.mkdir(exist_ok=True)
        sizes = {file: facts for file in files if (facts := _facts(file, is_needed=not file.endswith(_METADATA)))}
        total, free = sum(facts.size for facts in sizes.values()), shutil.disk_usage(folder.name).free
        _log.warning("%s: %s; it is copied to this machine first (%.1f MB)", uri, reason, total / 1e6)
        if total > free:
            room = f"{total} bytes to copy, {free} free in {folder.name}"
            raise FileError(uri, room, "set TMPDIR to a larger disk, or convert the bag to MCAP: `ros2 bag convert`")
        for file in sizes:
            _copy(file, inner / name_of(file))
    except BaseException:
        folder.cleanup()
        raise
    return folder


def _facts(uri: str, is_needed: bool) -> FileFacts | None:
    try:
        return facts_of(uri)
    except FileError:
        if is_needed:
            raise
        return None


def _copy(uri: str, to: Path) -> None:
    fs, path = filesystem(uri)
    with told(uri), fs.open(path, "rb") as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, _COPIED_AT_ONCE)


def chunk_ranges(storages: Iterable[Any]) -> list[tuple[int, int]]:
    """Byte ranges of the chunks of opened MCAP files: first byte, last byte exclusive."""
    return [
        (chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length)
        for storage in storages
        for chunk in getattr(storage, "chunks", ())
    ]


def expect_chunks(reader: Any) -> None:
    """Make the streams of an opened rosbags reader fetch each chunk with one request."""
    storage = reader.storage
    for file in getattr(storage, "storages", None) or [storage]:
        stream = getattr(file, "bio", None)
        if isinstance(stream, RangedStream):
            stream.expect(chunk_ranges([file]))


def summary_bytes(uri: str) -> bytes:
    """Footer, index and header of an indexed MCAP file: what tells it from another one without reading its chunks."""
    stream = RemoteFile(uri, Traffic()).open()
    stream.seek(-_FOOTER, io.SEEK_END)
    start = int.from_bytes(stream.read(_FOOTER)[9:17], "little")
    stream.seek(start or -_FOOTER, io.SEEK_SET if start else io.SEEK_END)
    return stream.read()
