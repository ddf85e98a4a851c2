# SPDX-License-Identifier: Apache-2.0
"""Reads the records of an MCAP file one by one, and computes its checksums.

Source of the layout: mcap.dev/spec (version 0). Numbers are little endian; a record has its kind (1 byte), its length
(8 bytes) and its content.
"""

from __future__ import annotations

import importlib
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import MIB, unreadable

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, DATA_END = 0x0B, 0x0F
LARGEST_RECORD = 104 * MIB
"""Bytes of a record, and of a chunk or message when unpacked: 8-bit colour of files.LARGEST_PIXELS is 96 MiB."""
MOST_TIMES = 200
"""Most times its size that a file, or all its chunks, may unpack to; for raw depth of a still scene it is about
fifty.
"""
_ALWAYS = 1024 * MIB  # bytes that chunks may always unpack to: images of a covered camera are compressed 10,000 times
_MOST_STRANGE = 10_000  # most records of unknown kinds: skipping one takes as long as reading one
_SHOWN = 50  # most shown characters of a name that should have four
_REPAIR = "record it again"
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
    return MOST_TIMES * file.seek(0, os.SEEK_END) + _ALWAYS


def too_much(at: int, size: int) -> McapDamage:
    """The error for chunks that unpack to more than `most_unpacked`."""
    most = f"{MOST_TIMES} times the file and {_ALWAYS} bytes"
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
        raise FileError(path, str(error), _REPAIR) from error


def _put(file: BinaryIO, at: int, crc: int) -> None:
    file.seek(at)
    file.write(crc.to_bytes(4, "little"))
    file.flush()
