# SPDX-License-Identifier: Apache-2.0
"""Opens bags by URI: reads MCAP files by range through their chunk index, and copies other bags first.

Uses how rosbags opens files and where MCAP stores its index; does not read messages. A single file is named, or a
folder of rosbag2 with `metadata.yaml`. A block cache of fsspec would fetch parts of other chunks, or a chunk in parts.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from spatial_vlm_ros.errors import DependencyError, FileError, SpatialVlmError, StoreError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.documents import parse_yaml
from spatial_vlm_ros.files.reading import MIB, open_regular
from spatial_vlm_ros.recording.bags.limits import LARGEST_METADATA, MAGIC, METADATA, ROS1_SUFFIX, SUFFIXES, repair_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_LONGEST_REASON = 300  # characters
_WITHOUT_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
)
"""Classes of botocore.exceptions, by name: botocore is there for `s3://` alone."""


@dataclass(frozen=True)
class FileFacts:
    """Facts about a file in a store: its size in bytes, and a version text that changes with the file."""

    size: int
    version: str


def is_remote(uri: str | os.PathLike[str]) -> bool:
    """Whether a text is the URI of an object store or server, not a path on this machine."""
    scheme, separator, _ = os.fspath(uri).partition("://")
    return bool(separator) and scheme not in ("", "file") and scheme.replace("+", "").replace("-", "").isalnum()


def local_path(uri: str | os.PathLike[str]) -> Path:
    """Path of a local file, without `file://`."""
    text = os.fspath(uri)
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)


def joined(uri: str | os.PathLike[str], name: str) -> str:
    """The path or URI of a file in a folder."""
    return f"{os.fspath(uri).rstrip('/')}/{name}" if is_remote(uri) else str(local_path(uri) / name)


def name_of(uri: str | os.PathLike[str]) -> str:
    """The last part of a path or URI."""
    return os.fspath(uri).rstrip("/").rpartition("/")[2]


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The store of a URI, and the file's path in it."""
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem
    except ImportError as error:
        raise DependencyError("fsspec", install("scale")) from error
    if not is_remote(uri):
        return LocalFileSystem(), str(local_path(uri).absolute())
    try:
        fs, path = url_to_fs(uri)
    except ImportError as error:
        scheme = uri.partition("://")[0]
        raise DependencyError(f"fsspec for {scheme}://", f"{install('scale')}; {error}") from error
    except ValueError as error:
        raise FileError(uri, str(error), "pass a path, or a URI such as s3://bucket/folder/run1.mcap") from error
    except Exception as error:
        raise store_error(uri, error) from error
    return fs, str(path)


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Translate errors of a store: FileError if the file does not exist, otherwise StoreError."""
    try:
        yield
    except SpatialVlmError:
        raise
    except FileNotFoundError as error:
        raise FileError(uri, "no such file", "check the URI, and list the store's folder") from error
    except Exception as error:
        raise store_error(uri, error) from error


def store_error(uri: str, error: Exception) -> StoreError:
    """The error for what a store raised."""
    words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, PermissionError) or type(error).__name__ in _WITHOUT_CREDENTIALS:
        repair = "Check the store's credentials on this machine and on each machine of the cluster."
    elif isinstance(error, OSError) and error.errno is not None and not is_remote(uri):
        repair = "Choose a writable place with enough space."
    else:
        repair = "Check the network and the store, then run the same command with --resume."
    reason = f"{type(error).__name__}: {words}"
    return StoreError(uri, reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "...", repair)


def facts_of(uri: str | os.PathLike[str]) -> FileFacts:
    """Size and version of a file, without reading it.

    The version is the store's ETag, else its time of change; of a local file its time of change, nanoseconds.
    """
    text = os.fspath(uri)
    if not is_remote(text):
        path = local_path(text)
        with told(text):
            status = path.stat()
        return FileFacts(status.st_size, str(status.st_mtime_ns))
    fs, path_there = filesystem(text)
    with told(text):
        info: dict[str, Any] = fs.info(path_there)
    if info.get("type") == "directory" or info.get("size") is None:
        raise FileError(text, "a folder, or a file without a size", "pass the URI of one file")
    version = next((info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime") if info.get(key)), "")
    return FileFacts(int(info["size"]), str(version))


def read_range(uri: str | os.PathLike[str], first: int, last: int) -> bytes:
    """Bytes `first` to `last`, the latter excluded, of a file."""
    text = os.fspath(uri)
    if is_remote(text):
        fs, path = filesystem(text)
        with told(text):
            try:
                return bytes(fs.cat_file(path, start=first, end=last))
            except FileNotFoundError as error:  # it was there when its size was asked: this is no damaged file
                raise store_error(text, error) from error
    with told(text), open_regular(local_path(text), "pass the path of a bag, or its URI") as file:
        file.seek(first)
        return file.read(last - first)


_log = logging.getLogger(__name__)
_FOOTER = 37  # bytes: the footer record and the magic behind it
_COPIED_AT_ONCE = 8 * MIB
HEAD = 4096  # bytes fetched at the beginning: magic and header of a file
TAIL = 64 * 1024  # bytes fetched at the end: footer, and the whole index of most files
_LARGEST_STEP = MIB  # bytes fetched elsewhere, for the rest of a large index: TAIL, then twice as many each time


class RangedStream(io.RawIOBase):
    """Stream of a file that is fetched by ranges (last byte exclusive): a reader that seeks fetches what it needs."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch, self._size, self._at, self._step = fetch, size, 0, TAIL
        self._windows: dict[str, tuple[int, bytes]] = {}  # the two ends, and the newest between them
        self._ranges: list[tuple[int, int]] = []

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Announce ranges (first byte, last byte exclusive) that will be read completely: each is fetched at once."""
        self._ranges = sorted(ranges)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position without fetching."""
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        if self._at < 0:
            raise OSError(errno.EINVAL, "a position before the beginning of the file")
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next `size` bytes, fewer only at the end."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        parts = []
        while self._at < end:
            first, window = self._window(self._at, end)
            parts.append(window[self._at - first : end - first])
            self._at += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _window(self, at: int, end: int) -> tuple[int, bytes]:
        """First byte and bytes of a window that holds the byte `at`, of what is wanted up to `end`."""
        for first, data in self._windows.values():
            if first <= at < first + len(data):
                return first, data
        n = bisect.bisect_right(self._ranges, at, key=lambda known: known[0]) - 1
        if n >= 0 and at < self._ranges[n][1]:
            first, last = self._ranges[n]
        elif at == 0:
            first, last = 0, min(max(end, HEAD), self._size)
        elif at >= self._size - TAIL:
            first, last = max(self._size - TAIL, 0), self._size
        else:
            tail = self._windows.get("tail", (self._size, b""))[0]
            first, last = at, min(max(end, at + self._step), tail if at < tail else self._size)
            self._step = min(2 * self._step, _LARGEST_STEP)
        data = self._fetch(first, last)
        if len(data) != last - first:
            raise OSError(f"{len(data)} bytes arrived instead of {last - first}")
        self._windows["head" if first == 0 else "tail" if last == self._size else "middle"] = first, data
        return first, data


class RemoteFile:
    """A file of a store, with the part of pathlib's interface that rosbags uses for MCAP (of its `RPath`)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        path = Path(name_of(self.uri))
        self.name, self.suffix, self.stem = path.name, path.suffix, path.stem

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: object) -> RemoteFile:
        return RemoteFile(joined(self.uri, str(name)))

    def exists(self) -> bool:
        """Whether the store has it."""
        fs, path = filesystem(self.uri)
        with told(self.uri):
            return bool(fs.exists(path))

    def is_dir(self) -> bool:
        """Whether it is a folder of rosbag2, which is told by the name: stores have no folders."""
        return self.suffix not in SUFFIXES

    def open(self, *_: object, **__: object) -> RangedStream:
        """A stream of its bytes, for reading."""
        return RangedStream(partial(read_range, self.uri), facts_of(self.uri).size)

    def read_text(self, encoding: str | None = None) -> str:
        """All of metadata.yaml, with the limits of a local one."""
        repair = "pass one .mcap file of it"
        if facts_of(self.uri).size > LARGEST_METADATA:
            raise FileError(self.uri, f"more than {LARGEST_METADATA} bytes of metadata", repair)
        data = self.open().read()
        parse_yaml(data, self.uri, repair, aliases=True)
        return data.decode(encoding or "utf-8")


def files_of(uri: str) -> list[str]:
    """The files of a bag: the URI itself, or the .mcap and .db3 files of its folder in the order of their names."""
    if Path(name_of(uri)).suffix in (*SUFFIXES, ROS1_SUFFIX):
        return [uri]
    fs, path = filesystem(uri)
    with told(uri):
        found = sorted(str(name) for name in fs.ls(path, detail=False))
    names = [name_of(name) for name in found if Path(name).suffix in SUFFIXES]
    if not names:
        raise FileError(uri, "no .mcap or .db3 file in the folder", "pass the URI of a bag's file or folder")
    return [joined(uri, name) for name in names]


def index_of(uri: str) -> int:
    """Offset of the index of an MCAP file; 0 if it has none. Its end is fetched, no more."""
    size = facts_of(uri).size
    footer = read_range(uri, max(size - _FOOTER, 0), size)
    if not footer.endswith(MAGIC):
        reason = "it ends before its index: the recorder was killed, or the copy is not complete"
        raise FileError(uri, reason, repair_of(name_of(uri)))
    return int.from_bytes(footer[9:17], "little")


def readable_by_range(uri: str) -> str | None:
    """Why a bag must be copied before it can be read; None if it is read by range."""
    for file in files_of(uri):
        if not file.endswith(".mcap"):
            return f"{name_of(file)} is not MCAP, the only format that can be read by range"
        if not index_of(file):
            return f"{name_of(file)} has no chunk index"
    return None


def copied(uri: str, reason: str) -> tempfile.TemporaryDirectory[str]:
    """A bag of a store in a temporary folder of this machine, by the name that it has there."""
    files = files_of(uri)
    folder: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(prefix="spatial_vlm_bag_")
    try:
        inner, sizes = Path(folder.name), {file: facts_of(file).size for file in files}
        if files != [uri]:
            inner /= name_of(uri)
            inner.mkdir()
            with contextlib.suppress(FileError):  # a folder without it is read, too
                sizes[joined(uri, METADATA)] = facts_of(joined(uri, METADATA)).size
        total, free = sum(sizes.values()), shutil.disk_usage(folder.name).free
        _log.warning("%s: %s; it is copied to this machine first (%.1f MB)", uri, reason, total / 1e6)
        if total > free:
            room = f"{total} bytes to copy, {free} free in {folder.name}"
            raise FileError(uri, room, "set TMPDIR to a larger disk, or convert the bag to MCAP: `ros2 bag convert`")
        for file in sizes:
            fs, path = filesystem(file)
            with told(file), fs.open(path, "rb") as source, (inner / name_of(file)).open("wb") as target:
                shutil.copyfileobj(source, target, _COPIED_AT_ONCE)
    except BaseException:
        folder.cleanup()
        raise
    return folder


def summary_bytes(uri: str) -> bytes:
    """Footer, index and header of an indexed MCAP file: what tells it from another one without reading its chunks."""
    size = facts_of(uri).size
    return read_range(uri, index_of(uri) or size - _FOOTER, size)
