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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
)
from spatial_vlm_ros.recording.bags import mcap_records as mcap
from spatial_vlm_ros.recording.bags.mcap_records import LARGEST_RECORD, MOST_TIMES

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
            end, summary, _, _ = mcap.footer(file)
            if summary and end.at - summary > _LARGEST_SUMMARY:
                raise mcap.McapDamage(summary, f"an index of {end.at - summary} bytes")
            lists_chunks, unpacked, most = False, 0, mcap.most_unpacked(file)
            for record in mcap.index_records(file, summary, end.at) if summary else ():
                size = _checked(file, record)
                if record.kind == mcap.CHUNK_INDEX:
                    lists_chunks, unpacked = True, unpacked + size
                if unpacked > most:
                    raise mcap.too_much(record.at, unpacked)
            if not lists_chunks:  # then rosbags reads all records
                until = summary or end.at
                for record in mcap.records(file, len(mcap.MAGIC), until):
                    _checked(file, record)
                mcap.check_unpacked(file, until)
        except (mcap.McapDamage, struct.error) as error:
            words = error.words if isinstance(error, mcap.McapDamage) else "its index is damaged"
            raise FileError(path, words, repair_of(path.name)) from error


def _checked(file: BinaryIO, record: mcap.McapRecord) -> int:
    """Check the size of a record, and return it, bytes; of a chunk's index that of the chunk unpacked."""
    largest = _LARGEST_SCHEMA if record.kind in (mcap.SCHEMA, mcap.CHANNEL, mcap.HEADER) else LARGEST_RECORD
    packed = size = record.length
    if record.kind == mcap.CHUNK_INDEX:
        data = mcap.content(file, record, _LARGEST_SCHEMA)
        at = 32 + 4 + struct.unpack_from("<I", data, 32)[0] + 8
        at += 4 + struct.unpack_from("<I", data, at)[0]
        packed, size = struct.unpack_from("<QQ", data, at)
    if max(packed, size) > largest:
        raise mcap.McapDamage(record.at, f"a record of {max(packed, size)} bytes; the limit is {largest}")
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
        found = mcap.unpacked(name, data, size)
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
