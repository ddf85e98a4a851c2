# SPDX-License-Identifier: Apache-2.0
"""Reads benchmark listings (JSON, JSON Lines) entry by entry; a damaged entry does not affect others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spatial_vlm_lab.benchmarks.protocol import DamagedItem
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import read_bytes

Entry = TypeVar("Entry", bound=msgspec.Struct)
RangeOf = Callable[[msgspec.Raw], tuple[int, int]]
LARGEST_LISTING = 1 << 30  # bytes; EmbSpatial-Bench, with its images inside, has a quarter of that
_LONGEST = 200  # characters of a reason


def found_files(folder: Path, names: Sequence[str], source: str) -> list[Path]:
    """Find the named files that exist in a folder, in the order of the names.

    Args:
        names: paths relative to it; a path with wildcards gives all matches, sorted.
        source: Benchmark.source, the fix for the message if there are none.
    """
    if not folder.is_dir():
        raise FileError(folder, "the folder does not exist", source)
    found = [path for name in names for path in sorted(folder.glob(name)) if path.is_file()]
    if not found:
        raise FileError(folder, f"it has none of {', '.join(names)}", source)
    return found


def json_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """Yield the entries of a JSON file that contains one list.

    Yields:
        Location in the file ("$[3]"), and the entry or why it is damaged.
    """
    for place, entry, _ in json_slices(path, form, source):
        yield place, entry


def json_slices(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem, RangeOf]]:
    """Like json_entries, also with byte ranges in the file, so that fields of type msgspec.Raw need not stay in memory.

    Yields:
        Location, entry, and a function from one of its raw fields to its first byte and size in the file.
    """
    data = _bytes(path, source)
    try:
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(path, str(error)[:_LONGEST], source) from error
    begin = 0
    for n, raw in enumerate(entries):
        begin = data.find(memoryview(raw), begin)
        yield f"$[{n}]", _decoded(raw, form, f"{path.name}[{n}]"), _range_in(data, begin)
        begin += len(memoryview(raw))


def _range_in(data: bytes, begin: int) -> RangeOf:
    def range_of(raw: msgspec.Raw) -> tuple[int, int]:
        text = memoryview(raw)
        return data.find(text, begin), len(text)  # an equal text before it is just as good

    return range_of


def jsonl_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """Yield the entries of a file with one JSON object per line; empty lines are skipped.

    Args, Yields: as in json_entries; the location is "line 3".
    """
    lines = [(n, line) for n, line in enumerate(_bytes(path, source).split(b"\n"), 1) if line.strip()]
    read = [(f"line {n}", _decoded(line, form, f"{path.name}:{n}")) for n, line in lines]
    if not any(not isinstance(entry, DamagedItem) for _, entry in read):
        reason = read[0][1].reason if read and isinstance(read[0][1], DamagedItem) else "it is empty"
        raise FileError(path, f"no line has the published form: {reason}", source)
    yield from read


def _bytes(path: Path, source: str) -> bytes:
    return read_bytes(path, source, LARGEST_LISTING)


def _decoded(raw: Any, form: type[Entry], key: str) -> Entry | DamagedItem:
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return DamagedItem(key, str(error)[:_LONGEST])
