# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of a bag in recording order, without ROS.

It reads rosbag2 folders, MCAP and sqlite3 files, also compressed, and .bag files of ROS 1, through rosbags; it does not
interpret messages. Any damage of a file raises FileError, because bags may come from robots that lost power. A failing
disk or store raises StoreError.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import FileError, SpatialVlmError, StoreError
from spatial_vlm_ros.files.reading import member
from spatial_vlm_ros.recording.bags.limits import (
    METADATA,
    ROS1_SUFFIX,
    SUFFIXES,
    bound_decompression,
    check_bag,
    repair_of,
)
from spatial_vlm_ros.recording.bags.remote import RemoteFile, copied, readable_by_range
from spatial_vlm_ros.recording.bags.types import CAMERA_INFO, TF_MESSAGE, check_rosbags, default_store, embedded_store
from spatial_vlm_ros.recording.uris import is_remote, local_path, name_of

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader
    from rosbags.typesys.store import Typestore

_WANTED = "pass a folder that rosbag2 wrote, or a .mcap, .db3 or .bag file"
_LONGEST_REASON = 200  # characters
_OF_THE_DISK = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENODEV, errno.EHOSTDOWN}
)
"""OS error numbers when a disk or network drive fails while reading a good file."""
_SAME_TYPES = {"tf/msg/tfMessage": TF_MESSAGE}  # ROS 1 type → ROS 2 type with the same fields


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, its message type ("sensor_msgs/msg/Image") and its number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class ChunkSpan:
    """A chunk of an MCAP bag, from its index: times of its first and last message (ns), and its bytes in the file."""

    start_ns: int
    end_ns: int
    size: int
    topics: frozenset[str]


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A message that is not deserialised yet: its type, such as "sensor_msgs/msg/Image", recording time, CDR bytes."""

    topic: str
    type: str
    log_ns: int
    raw: bytes | memoryview
    read: Callable[[BagMessage], Any]

    def decode(self) -> Any:
        """Deserialise the message, with ROS field names."""
        return self.read(self)


@dataclass(frozen=True, eq=False)
class _Ros1CameraInfo:
    """A camera info of ROS 1, whose matrices have capital letters."""

    message: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name.upper() if name in ("d", "k", "r", "p") else name)


class Bag(AbstractContextManager["Bag"]):
    """An open bag; close it, or use it in a `with` statement.

    Args:
        path: a folder that rosbag2 wrote, or a single .mcap, .db3 or .bag file; or the URI of one, such as
            "s3://bucket/run1.mcap". MCAP files of a store are read by range through their chunk index; other bags are
            copied to this machine first.

    Attributes:
        start_ns: recording time of the first message, nanoseconds; 0 if there is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path | str = str(path) if is_remote(path) else local_path(path)
        self._copy = ExitStack()
        self._is_ros1 = name_of(path).endswith(ROS1_SUFFIX)
        check_rosbags()
        try:
            self._reader = self._opened()
        except BaseException:
            self._copy.close()
            raise
        self._stores: dict[str, Typestore] = {}
        self._connections: tuple[Connection, ...] = tuple(self._reader.connections)
        counts = Counter[tuple[str, str]]()
        for c in self._connections:
            counts[c.topic, _type(c)] += c.msgcount
        self.contents = tuple(Topic(name, type_, n) for (name, type_), n in sorted(counts.items()))
        self.topics = {topic.name: topic.type for topic in self.contents}
        self.start_ns = self._reader.start_time if any(topic.count for topic in self.contents) else 0

    def _opened(self) -> Reader | Ros1Reader:
        if isinstance(self.path, Path):
            return _opened(self.path, self.path)
        reason = readable_by_range(self.path)
        if reason is not None:
            folder = self._copy.enter_context(copied(self.path, reason))
            return _opened(self.path, Path(folder, name_of(self.path)))
        reader = _opened(self.path, RemoteFile(self.path))
        for file in _storages(reader):  # each chunk is fetched by one request
            chunks = [(chunk.chunk_start_offset, chunk.chunk_length) for chunk in getattr(file, "chunks", ())]
            file.bio.expect([(first, first + length) for first, length in chunks])
        return reader

    def chunks(self) -> tuple[ChunkSpan, ...]:
        """Chunks of an MCAP bag in file order; empty without a chunk index."""
        found = []
        for file in _storages(self._reader):
            topics = {connection.id: connection.topic for connection in getattr(file, "connections", ())}
            for chunk in getattr(file, "chunks", ()):
                names = frozenset(topics[n] for n, count in chunk.channel_count.items() if count)
                found.append(ChunkSpan(chunk.message_start_time, chunk.message_end_time, chunk.chunk_length, names))
        return tuple(found)

    def raw(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, recording time (ns) and bytes of every message, in recording order."""
        if self._is_ros1:
            name = name_of(self.path)
            repair = f"run `rosbags-convert --src {name} --dst {name.removesuffix(ROS1_SUFFIX)}`"
            raise FileError(self.path, "a bag of ROS 1, which cannot be played into ROS 2", repair)
        return ((message.topic, message.log_ns, bytes(message.raw)) for message in self.messages())

    def messages(
        self, names: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield the messages in recording order, from `start_ns` to before `stop_ns` if given.

        In an MCAP file with a chunk index, only the needed chunks are read.
        """
        wanted = [c for c in self._connections if names is None or c.topic in names]
        if not wanted:  # rosbags would take an empty list for all
            return
        with _translated(self.path):
            for connection, log_ns, raw in self._reader.messages(wanted, start_ns, stop_ns):
                yield BagMessage(connection.topic, _type(connection), log_ns, raw, partial(self._decode, connection))

    def _decode(self, connection: Connection, message: BagMessage) -> Any:
        place = f"a {message.type} on {message.topic}, recorded at {message.log_ns} ns"
        try:
            if self._is_ros1:
                decoded = self._store(connection).deserialize_ros1(message.raw, connection.msgtype)
                return _Ros1CameraInfo(decoded) if connection.msgtype == CAMERA_INFO else decoded
            return self._store(connection).deserialize_cdr(message.raw, message.type)
        except KeyError as error:
            reason = f"the definition of {error} is neither in the bag nor known"
            newer = "record it with a version of rosbag2 that stores definitions"
            raise FileError(self.path, reason, newer, place) from error
        except Exception as error:  # any error of rosbags or NumPy for damaged bytes
            raise FileError(self.path, _words(error), _repair(self.path), place) from error

    def _store(self, connection: Connection) -> Typestore:
        """Types from the bag's definitions, otherwise from ROS 2 and this package."""
        from rosbags.interfaces import MessageDefinitionFormat

        name, definition = connection.msgtype, connection.msgdef
        if name not in self._stores:
            store = default_store()
            if definition.format != MessageDefinitionFormat.NONE:
                is_idl = definition.format == MessageDefinitionFormat.IDL
                try:
                    store = embedded_store(name, definition.data, is_idl)
                except Exception:  # rosbags' parser supports only a part of IDL
                    if name not in store.types:
                        raise
            self._stores[name] = store
        return self._stores[name]

    def close(self) -> None:
        """Close the files; no more messages can be read."""
        with suppress(Exception):  # one that is closed says so
            self._reader.close()
        self._copy.close()

    def __exit__(self, *_: object) -> None:
        self.close()


open_bag = Bag
"""Open a bag."""


# ------------------------------------------------------------------------------------------------ opening


def _type(connection: Connection) -> str:
    return _SAME_TYPES.get(connection.msgtype, connection.msgtype)


def _storages(reader: Reader | Ros1Reader) -> list[Any]:
    storage: Any = getattr(reader, "storage", None)
    return getattr(storage, "storages", None) or [storage]


def _opened(path: Path | str, file: Path | RemoteFile) -> Reader | Ros1Reader:
    """Open a reader; its errors name the path or URI that the user gave."""
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader

    with _translated(path):
        storage: Any = file
        is_ros1 = isinstance(file, Path) and file.suffix == ROS1_SUFFIX and file.is_file()
        if isinstance(file, Path):
            storage = file if is_ros1 else _storage(file)
            check_bag(storage)
        bound_decompression()
        reader: Reader | Ros1Reader = Ros1Reader(storage) if is_ros1 else Reader(storage)
        reader.open()
        return reader


def _storage(path: Path) -> Path:
    """Path for rosbags: the folder or file itself, or the only file of a folder without metadata."""
    if path.is_dir():
        if (path / METADATA).is_file():
            return path
        files = _files(path)
        if len(files) == 1:  # a killed recorder writes no metadata
            return member(path, files[0].name)
        reason = f"no {METADATA} in the folder" + (f", but {len(files)} parts of a bag" if files else "")
        repair = f"run `ros2 bag reindex {path.name}`" if files else "pass a folder that `ros2 bag record` wrote"
        raise FileError(path, reason, repair)
    if not path.is_file():
        reason = "it is not a file" if path.exists() else "no such file"
        raise FileError(path, reason, _WANTED)
    if path.name == METADATA:
        return path.parent
    if path.suffix not in SUFFIXES:
        reason = f"the name ends in {path.suffix!r}" if path.suffix else "the name has no extension"
        raise FileError(path, reason, _WANTED)
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


@contextmanager
def _translated(path: Path | str) -> Iterator[None]:
    """Translate errors of rosbags, SQLite, YAML and decompressors for a damaged file to FileError.

    A disk or store that cannot deliver the bytes of a good file raises StoreError, because a retry may succeed.
    """
    try:
        yield
    except SpatialVlmError:
        raise
    except Exception as error:
        # EINVAL: a wrong index points before the file's beginning. Any other error of a store may pass.
        if isinstance(error, OSError) and (
            error.errno != errno.EINVAL if isinstance(path, str) else error.errno in _OF_THE_DISK
        ):
            repair = "Check the disk, network drive or store that holds it, then run the same command again."
            raise StoreError(str(path), f"{type(error).__name__}: {_words(error)}", repair) from error
        raise FileError(path, _words(error), _repair(path)) from error


def _words(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if "end magic" in text:
        return "it ends before its index: the recorder was killed, or the copy is not complete"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."


def _repair(path: Path | str) -> str:
    """How to fix a bag: by the kind of its file, or of the first one in its folder."""
    files = _files(path) if isinstance(path, Path) and path.is_dir() else []
    return repair_of(files[0].name if files else name_of(path))
