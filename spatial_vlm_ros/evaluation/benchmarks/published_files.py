# SPDX-License-Identifier: Apache-2.0
"""Listings of benchmarks: JSON and JSON Lines, read entry by entry; a damaged entry damages no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import DamagedItem
from spatial_vlm_ros.files.reading import read_bytes

Entry = TypeVar("Entry", bound=msgspec.Struct)
RangeOf = Callable[[msgspec.Raw], tuple[int, int]]
LARGEST_LISTING = 1 << 30  # bytes; EmbSpatial-Bench, with its images inside, has a quarter of that
_LONGEST = 200  # characters of a reason


def found_files(folder: Path, names: Sequence[str], source: str) -> list[Path]:
    """Those of the named files that are in a folder, in the order of the names.

    Args:
        folder: of the data.
        names: relative to it; each may have wildcards, then all that match, sorted.
        source: Benchmark.source, the repair where there is none.

    Raises:
        FileError: the folder is missing, or none of the files is there.
    """
    if not folder.is_dir():
        raise FileError(folder, "the folder does not exist", source)
    found = [path for name in names for path in sorted(folder.glob(name)) if path.is_file()]
    if not found:
        raise FileError(folder, f"it has none of {', '.join(names)}", source)
    return found


def json_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """The entries of a JSON file that is one list.

    Args:
        path: of the file.
        form: msgspec type of an entry.
        source: the repair where the file is no list.

    Yields:
        Place in the file ("$[3]"), and the entry or why it is damaged.

    Raises:
        FileError: it cannot be read, or is no JSON list.
    """
    for place, entry, _ in json_slices(path, form, source):
        yield place, entry


def json_slices(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem, RangeOf]]:
    """As json_entries, with where a part of the entry stands: fields of the type msgspec.Raw need not be kept.

    Yields:
        Place, entry, and a function of one of its raw fields that gives its first byte and its size in the file.
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
        return data.find(text, begin), len(text)  # an equal text before it would do as well

    return range_of


def jsonl_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """The entries of a file with one JSON object a line; empty lines are passed over.

    Args, Yields: as of json_entries; the place is "line 3".

    Raises:
        FileError: it cannot be read, or no line of it is of the form.
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
