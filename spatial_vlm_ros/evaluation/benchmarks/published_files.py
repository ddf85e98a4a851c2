# SPDX-License-Identifier: Apache-2.0
"""Listings of benchmarks: JSON, JSON Lines and Parquet, read entry by entry; a damaged entry damages no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.evaluation.benchmarks.protocol import DamagedItem
from spatial_vlm_ros.files.reading import check_regular, read_bytes

Entry = TypeVar("Entry", bound=msgspec.Struct)
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
        raise FileError(folder, f"none of {', '.join(names)} is there", source)
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
    try:
        entries = msgspec.json.decode(_bytes(path, source), type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(path, str(error)[:_LONGEST], source) from error
    for n, raw in enumerate(entries):
        yield f"$[{n}]", _decoded(raw, form, f"{path.name}[{n}]")


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
        raise FileError(path, f"no line of it is of the published form: {reason}", source)
    yield from read


def parquet_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """The rows of a Parquet file, some at a time; columns that the form does not name are not read.

    An image in such a file is {"bytes", "path"}: declare it as `ParquetImage`.

    Args, Yields: as of json_entries; the place is "row 3".

    Raises:
        FileError: it cannot be read, is no Parquet file, or lacks a column.
        DependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow") from error
    fields = msgspec.structs.fields(form)
    check_regular(path, source)
    try:
        with parquet.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            missing = [field.encode_name for field in fields if field.required and field.encode_name not in there]
            if missing:
                raise FileError(path, f"it has no column {', '.join(missing)}", source)
            wanted = [field.encode_name for field in fields if field.encode_name in there]
            row = 0
            for batch in file.iter_batches(batch_size=32, columns=wanted):
                for values in batch.to_pylist():
                    yield f"row {row}", _converted(values, form, f"{path.name} row {row}")
                    row += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise FileError(path, f"no Parquet file: {str(error)[:_LONGEST]}", source) from error


class ParquetImage(msgspec.Struct):
    """An image in a Parquet file, as the library `datasets` writes it: the field "bytes" as a file has them."""

    data: bytes = msgspec.field(name="bytes")
    path: str | None = None


def _bytes(path: Path, source: str) -> bytes:
    return read_bytes(path, source, LARGEST_LISTING)


def _decoded(raw: Any, form: type[Entry], key: str) -> Entry | DamagedItem:
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return DamagedItem(key, str(error)[:_LONGEST])


def _converted(values: Any, form: type[Entry], key: str) -> Entry | DamagedItem:
    try:
        return msgspec.convert(values, type=form)
    except (msgspec.ValidationError, RecursionError) as error:
        return DamagedItem(key, str(error)[:_LONGEST])
