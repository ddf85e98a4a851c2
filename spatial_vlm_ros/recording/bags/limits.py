# SPDX-License-Identifier: Apache-2.0
"""Checks the files of a bag before rosbags opens them: regular files inside their folder, with bounded sizes.

rosbags reads a record of any length at once, unpacks a chunk to any size, and runs any view of an SQLite file, so this
is checked here. A rosbag2 folder lists its files; files elsewhere are refused.
"""

from __future__ import annotations

import bz2
import importlib
import itertools
import os
import sqlite3
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any, BinaryIO

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.files.reading import (
    MIB,
    check_plain_tables,
    check_regular,
    inside,
    member,
    open_regular,
    sqlite_file,
    unreadable,
)

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, DATA_END = 0x0B, 0x0F
LARGEST_RECORD = 104 * MIB
"""Bytes of a record, and of a chunk or message when unpacked: 8-bit colour of files.LARGEST_PIXELS is 96 MiB."""
MOST_TIMES = 200
"""Most times its size that a file, or all its chunks, may unpack to; for raw depth of a still scene it is about
fifty.
"""
# bytes that chunks may always unpack to: images of a covered camera are compressed 10,000 times
_ALWAYS_OF_CHUNKS = 1024 * MIB
_MOST_STRANGE = 10_000  # most records of unknown kinds: skipping one takes as long as reading one
_SHOWN = 50  # most shown characters of a name that should have four
_AGAIN = "record it again"
_HEAD = struct.Struct("<BQ")
_CHUNK_HEAD = struct.Struct("<QQQI")  # first and last time, unpacked bytes, CRC
_CRC_AT = 24  # bytes of a chunk's content before its CRC
_FOOTER = struct.Struct("<QQI")
CRC_IN_FOOTER = 16
"""Bytes of the footer's content before the CRC of the summary, which covers them, too."""
_PIECE = 4 * MIB


@dataclass(frozen=True)
class McapRecord:
    """A record: its kind, its offset in the file or chunk, and the length of its content, bytes."""

    kind: int
    at: int
    length: int

    @property
    def content_at(self) -> int:
        """Offset of its content."""
        return self.at + _HEAD.size

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self.content_at + self.length


class McapDamage(Exception):
    """Damage of an MCAP file, with its byte offset."""

    def __init__(self, at: int, words: str) -> None:
        self.at, self.words = at, words
        super().__init__(f"byte {at}: {words}")


def records(file: BinaryIO, start: int, end: int) -> Iterator[McapRecord]:
    """Yield the records between two offsets of a file without reading their content."""
    at, strange = start, 0
    while at < end:
        file.seek(at)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise McapDamage(at, "the file ends within a record")
        record = McapRecord(head[0], at, int.from_bytes(head[1:], "little"))
        if record.end > end:
            claim = f"a record of kind {record.kind} claims {record.length} bytes"
            raise McapDamage(at, f"{claim}, but {end - at - 9} follow")
        strange += not HEADER <= record.kind <= DATA_END
        if strange > _MOST_STRANGE:
            raise McapDamage(at, f"more than {_MOST_STRANGE} records of unknown kinds")
        yield record
        at = record.end


def index_records(file: BinaryIO, start: int, end: int) -> Iterator[McapRecord]:
    """Like `records`, for the index at the end of a file, which lists each chunk once."""
    chunks: set[int] = set()
    for record in records(file, start, end):
        if record.kind == CHUNK_INDEX:
            file.seek(record.content_at + 16)
            place = int.from_bytes(file.read(8), "little")
            if place in chunks:
                raise McapDamage(record.at, f"the index names the chunk at byte {place} again")
            chunks.add(place)
        yield record


def check_unpacked(file: BinaryIO, end: int) -> None:
    """Check by their headers that all chunks before `end` unpack to less than the limit.

    Other damage is left to the code that reads the records.
    """
    most, unpacked, at = most_unpacked(file), 0, 0
    with suppress(McapDamage):
        for record in records(file, len(MAGIC), end):
            if record.kind == CHUNK:
                file.seek(record.content_at + 16)
                unpacked, at = unpacked + int.from_bytes(file.read(8), "little"), record.at
            if unpacked > most:
                break
    if unpacked > most:
        raise too_much(at, unpacked)


def content(file: BinaryIO, record: McapRecord, largest: int = LARGEST_RECORD) -> bytes:
    """Read the content of a record."""
    if record.length > largest:
        raise McapDamage(record.at, f"a record of {record.length} bytes; the limit is {largest}")
    file.seek(record.content_at)
    return file.read(record.length)


def most_unpacked(file: BinaryIO) -> int:
    """Most bytes that all chunks of a file may unpack to together."""
    return MOST_TIMES * file.seek(0, os.SEEK_END) + _ALWAYS_OF_CHUNKS


def too_much(at: int, size: int) -> McapDamage:
    """The error for chunks that unpack to more than `most_unpacked`."""
    most = f"{MOST_TIMES} times the file and {_ALWAYS_OF_CHUNKS} bytes"
    return McapDamage(at, f"its chunks unpack to {size} bytes, more than {most}")


@dataclass(frozen=True)
class McapChunk:
    """Header of a chunk: times of its first and last message, nanoseconds; unpacked size, bytes; CRC (0 = none)."""

    first_ns: int
    last_ns: int
    size: int
    crc: int
    compression: str
    data: bytes

    def unpacked(self) -> bytes:
        """Unpack the records of the chunk."""
        if self.size > LARGEST_RECORD:
            raise ValueError(f"{self.size} bytes when unpacked; the limit is {LARGEST_RECORD}")
        data = unpacked(self.compression, self.data, self.size)
        if len(data) != self.size:
            has = "more" if len(data) > self.size else len(data)
            raise ValueError(f"its header says {self.size} bytes, but it has {has}")
        return data


def chunk(file: BinaryIO, record: McapRecord) -> McapChunk:
    """Read the chunk of a record."""
    data = content(file, record)
    try:
        first, last, size, crc = _CHUNK_HEAD.unpack_from(data)
        (length,) = struct.unpack_from("<I", data, _CHUNK_HEAD.size)
        at = _CHUNK_HEAD.size + 4 + length
        name = data[at - length : at].decode()
        (held,) = struct.unpack_from("<Q", data, at)
    except (struct.error, UnicodeDecodeError) as error:
        raise McapDamage(record.at, "the header of a chunk is damaged") from error
    if at + 8 + held > len(data):
        raise McapDamage(record.at, "a chunk claims more bytes than its record has")
    return McapChunk(first, last, size, crc, name, data[at + 8 : at + 8 + held])


def unpacked(compression: str, data: bytes, size: int) -> bytes:
    """Unpack a chunk to at most `size` + 1 bytes."""
    try:
        if compression == "":
            return data
        if compression == "zstd":  # by the library that rosbags installs or, from Python 3.14 on, by Python
            try:
                zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
            except ModuleNotFoundError:  # rosbags up to 0.10
                packed = importlib.import_module("zstandard").ZstdDecompressor().stream_reader(data)
                return bytes(packed.read(size + 1))
            return bytes(zstd.ZstdDecompressor().decompress(data, max_length=size + 1))
        if compression == "lz4":
            packer = importlib.import_module("lz4.frame").LZ4FrameDecompressor()
            return bytes(packer.decompress(data, max_length=size + 1))
    except Exception as error:  # each library has its own errors
        raise ValueError(f"its {compression} data are damaged: {error}") from error
    raise ValueError(f"an unknown compression, {compression[:_SHOWN]!r}")


def footer(file: BinaryIO) -> tuple[McapRecord, int, int, int]:
    """The footer, the offsets of summary and summary offsets (0 = none), and the CRC of the summary (0 = none)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise McapDamage(0, "it does not begin like an MCAP file")
    at = size - len(MAGIC) - _HEAD.size - _FOOTER.size
    file.seek(max(0, at))
    tail = file.read()
    if at < len(MAGIC) or not tail.endswith(MAGIC) or _HEAD.unpack_from(tail) != (FOOTER, _FOOTER.size):
        raise McapDamage(size, "it ends before its index: the recorder was killed, or the copy is not complete")
    summary, offsets, crc = _FOOTER.unpack_from(tail, _HEAD.size)
    if summary and not len(MAGIC) <= summary <= at:
        raise McapDamage(at, f"its last record gives byte {summary} for the index, which is outside the data")
    return McapRecord(FOOTER, at, _FOOTER.size), summary, offsets, crc


def crc_of(file: BinaryIO, start: int, end: int, crc: int = 0) -> int:
    """CRC-32 of the bytes between two offsets of a file."""
    file.seek(start)
    while start < end:
        data = file.read(min(_PIECE, end - start))
        if not data:
            break
        start, crc = start + len(data), zlib.crc32(data, crc)
    return crc


def add_checksums(path: Path) -> None:
    """Write the CRC of each chunk, of the data and of the summary into an MCAP file that was written without."""
    try:
        with path.open("r+b") as file:
            end, summary, _, _ = footer(file)
            data_end = None
            for record in records(file, len(MAGIC), end.at):
                if record.kind == CHUNK:
                    crc = zlib.crc32(chunk(file, record).unpacked())
                    _put(file, record.content_at + _CRC_AT, crc)
                elif record.kind == DATA_END:
                    data_end = record
            if data_end is not None:
                _put(file, data_end.content_at, crc_of(file, 0, data_end.at))
            if summary:
                _put(file, end.content_at + CRC_IN_FOOTER, crc_of(file, summary, end.content_at + CRC_IN_FOOTER))
    except OSError as error:
        raise unreadable(path, error, "choose a writable place with enough space") from error
    except (McapDamage, ValueError) as error:
        raise FileError(path, str(error), _AGAIN) from error


def _put(file: BinaryIO, at: int, crc: int) -> None:
    file.seek(at)
    file.write(crc.to_bytes(4, "little"))
    file.flush()


SUFFIXES = (".mcap", ".db3")
"""Suffixes of the files of rosbag2."""
ROS1_SUFFIX = ".bag"
METADATA = "metadata.yaml"
LARGEST_METADATA = 4 * MIB
"""Bytes of metadata.yaml: 1,000 topics with their profiles take about 1 MB."""
_LARGEST_SUMMARY = 64 * MIB  # summary of an MCAP file: the index of about 500,000 chunks
_LARGEST_SCHEMA = MIB
_LARGEST_ROS1_HEADER = MIB  # of a connection in a bag of ROS 1: it has the definition of its type
_LONGEST_LINE = 16  # bytes of the first line of a bag of ROS 1
_ALWAYS = 64 * MIB  # bytes that a file may always unpack to
_REPAIR = "pass a bag that rosbag2 wrote, or record it again"
_REPAIR_ROS1 = "pass a bag that rosbag wrote, or record it again"


_REPAIRS = {
    ".mcap": "run `mcap recover {} -o repaired.mcap`",
    ".db3": "run `sqlite3 {} .recover | sqlite3 repaired.db3` and `ros2 bag reindex`",
    ROS1_SUFFIX: "run `rosbag reindex {}`",
}


def repair_of(name: str) -> str:
    """How to fix a damaged file of a bag."""
    return f"{_REPAIRS.get(Path(name).suffix, 'run `ros2 bag reindex`').format(name)}, or record it again"


def check_bag(path: Path) -> None:
    """Check that the files of a bag can be opened safely."""
    checks = {".mcap": _check_mcap, ".db3": check_sqlite, ROS1_SUFFIX: _check_ros1}
    for file in bag_files(path):
        if file.suffix in checks:
            checks[file.suffix](file)


def bag_files(path: Path) -> list[Path]:
    """The existing files of a bag that its metadata lists."""
    if not path.is_dir():
        return [path]
    names = metadata(path).get("relative_file_paths")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileError(path / METADATA, "no relative_file_paths", f"run `ros2 bag reindex {path.name}`")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        words, repair = f"the file {twice[:50]!r} is named twice", f"run `ros2 bag reindex {path.name}`"
        raise FileError(path / METADATA, words, repair, "relative_file_paths")
    files = []
    for name in names:
        file = inside(path, PurePath(name).name, path / METADATA, "relative_file_paths")  # as rosbags finds them
        if file.exists() or file.is_symlink():
            check_regular(file, _REPAIR)
            files.append(file)
    return files


def metadata(folder: Path) -> dict[str, object]:
    """Read the metadata.yaml of a bag."""
    path = member(folder, METADATA)
    repair = f"run `ros2 bag reindex {folder.name}`"
    found = read_yaml(path, repair, LARGEST_METADATA, aliases=True)
    found = found.get("rosbag2_bagfile_information") if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise FileError(path, "no rosbag2_bagfile_information", repair)
    return found


def _check_mcap(path: Path) -> None:
    """Check that no record of an MCAP file exceeds the size limit."""
    with open_regular(path, _REPAIR) as file:
        try:
            end, summary, _, _ = footer(file)
            if summary and end.at - summary > _LARGEST_SUMMARY:
                raise McapDamage(summary, f"an index of {end.at - summary} bytes")
            lists_chunks, unpacked, most = False, 0, most_unpacked(file)
            for record in index_records(file, summary, end.at) if summary else ():
                size = _checked(file, record)
                if record.kind == CHUNK_INDEX:
                    lists_chunks, unpacked = True, unpacked + size
                if unpacked > most:
                    raise too_much(record.at, unpacked)
            if not lists_chunks:  # then rosbags reads all records
                until = summary or end.at
                for record in records(file, len(MAGIC), until):
                    _checked(file, record)
                check_unpacked(file, until)
        except (McapDamage, struct.error) as error:
            words = error.words if isinstance(error, McapDamage) else "its index is damaged"
            raise FileError(path, words, repair_of(path.name)) from error


def _checked(file: BinaryIO, record: McapRecord) -> int:
    """Check the size of a record, and return it, bytes; of a chunk's index that of the chunk unpacked."""
    largest = _LARGEST_SCHEMA if record.kind in (SCHEMA, CHANNEL, HEADER) else LARGEST_RECORD
    packed = size = record.length
    if record.kind == CHUNK_INDEX:
        data = content(file, record, _LARGEST_SCHEMA)
        at = 32 + 4 + struct.unpack_from("<I", data, 32)[0] + 8
        at += 4 + struct.unpack_from("<I", data, at)[0]
        packed, size = struct.unpack_from("<QQ", data, at)
    if max(packed, size) > largest:
        raise McapDamage(record.at, f"a record of {max(packed, size)} bytes; the limit is {largest}")
    return size


def _check_ros1(path: Path) -> None:
    """Check that no record of a ROS 1 bag exceeds the size limit; rosbags itself reports a cut-off file.

    rosbags looks for the first line end however far it is. Layout (wiki.ros.org/Bags/Format/2.0): a record is the
    length of its header (4 bytes, little endian), the header, the length of its data (4) and the data.
    """
    with open_regular(path, _REPAIR_ROS1) as file:
        begin = file.read(_LONGEST_LINE)
        if not begin.startswith(b"#ROSBAG V") or b"\n" not in begin:
            raise FileError(path, "it does not begin like a bag of ROS 1", repair_of(path.name))
        at = begin.index(b"\n") + 1
        for limit in itertools.cycle((_LARGEST_ROS1_HEADER, LARGEST_RECORD)):
            file.seek(at)
            head = file.read(4)
            if len(head) < 4:
                break
            length = int.from_bytes(head, "little")
            if length > limit:
                reason = f"a record of {length} bytes; the limit is {limit}"
                raise FileError(path, reason, _REPAIR_ROS1, f"byte {at}")
            at += 4 + length


def check_sqlite(path: Path) -> None:
    """Check that the tables of an SQLite file are real tables, and no message is too large."""
    if path.stat().st_size == 0:
        raise FileError(path, "the file is empty", repair_of(path.name))
    try:
        with sqlite_file(path) as database:
            repair = "record it again: rosbag2 writes plain tables"
            check_plain_tables(database, path, ("messages", "topics"), repair)
            longest = database.execute("SELECT max(length(data)) FROM messages").fetchone()[0]  # does not read the data
            if isinstance(longest, int) and longest > LARGEST_RECORD:
                words = f"a message of {longest} bytes; the limit is {LARGEST_RECORD}"
                raise FileError(path, words, "record it again", "messages")
    except (sqlite3.Error, UnicodeError) as error:
        raise FileError(path, str(error), repair_of(path.name)) from error


# ------------------------------------------------------------------------------------------------ unpacking


def bound_decompression() -> None:
    """Make rosbags unpack a chunk at most to the size in its header, and messages and files to a limit.

    A few kilobytes of zstd can contain terabytes of zeros.
    """
    from rosbags.rosbag2 import reader, storage_mcap

    zstd = getattr(reader, "zstd", None)
    if zstd is not None and not isinstance(zstd, BoundedZstd):
        vars(reader)["zstd"] = BoundedZstd(zstd)

    def unpack(name: str, data: bytes, size: int) -> bytes:
        if size > LARGEST_RECORD:
            raise ValueError(f"a chunk of {size} bytes when unpacked; the limit is {LARGEST_RECORD}")
        found = unpacked(name, data, size)
        if len(found) != size:
            raise ValueError(f"a chunk whose size differs from the {size} bytes in its header")
        return found

    storage_mcap.DECOMPRESSORS.update({name: partial(unpack, name) for name in ("lz4", "zstd")})
    ros1 = importlib.import_module("rosbags.rosbag1.reader")
    lz4 = importlib.import_module("lz4.frame").LZ4FrameDecompressor
    vars(ros1)["decompressors"].update({"bz2": _bounded_ros1(bz2.BZ2Decompressor), "lz4": _bounded_ros1(lz4)})


def _bounded_ros1(packer: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def unpack(data: bytes) -> bytes:
        found = bytes(packer().decompress(data, max_length=LARGEST_RECORD + 1))
        if len(found) > LARGEST_RECORD:
            raise ValueError(f"a chunk of more than {LARGEST_RECORD} bytes when unpacked")
        return found

    return unpack


class BoundedZstd:
    """Wraps a zstd module with the interface of Python's own (PEP 784)."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def decompress(self, data: bytes) -> bytes:
        """Decompress a message."""
        packer = self._module.ZstdDecompressor()
        found = bytes(packer.decompress(data, max_length=LARGEST_RECORD + 1))
        if len(found) > LARGEST_RECORD or not packer.eof:
            raise ValueError(f"a message that is cut off or has more than {LARGEST_RECORD} bytes when unpacked")
        return found

    @contextmanager
    def open(self, file: BinaryIO, mode: str = "rb") -> Iterator[SimpleNamespace]:
        """Open a file of a bag for reading."""
        at = file.tell()
        left = file.seek(0, os.SEEK_END) * MOST_TIMES + _ALWAYS
        file.seek(at)
        with self._module.open(file, mode) as packed:

            def read(size: int) -> bytes:
                nonlocal left
                data = bytes(packed.read(size))
                left -= len(data)
                if left < 0:
                    raise ValueError(f"a file that unpacks to more than {MOST_TIMES} times its size")
                return data

            yield SimpleNamespace(read=read)
