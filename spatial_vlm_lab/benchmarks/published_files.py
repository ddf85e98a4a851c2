# SPDX-License-Identifier: Apache-2.0
"""Reads the published files of benchmarks row by row, and their images on demand; a damaged row affects no other.

JSON and JSON Lines are read whole. Of a tab-separated file, which has gigabytes, one row is in memory. The memory for
Parquet is bounded by the sizes in its metadata: a value is never longer than its column in its row group, so text is
read in batches that fit; of images, the pages of one row group and one image are in memory.
"""

from __future__ import annotations

import base64
import bisect
import csv
import io
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_type_hints

import msgspec
import numpy as np

from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.files.reading import MIB, check_regular, linked_in_cache, open_regular, read_bytes, unreadable
from spatial_vlm_ros.recording.frame_folder import read_rgb
from spatial_vlm_ros.streams.image import decode_image
from spatial_vlm_ros.types import Rgb

# Most bytes of:
LARGEST_LISTING = 1024 * MIB  # a JSON file; EmbSpatial-Bench, with its images inside, has a quarter of that
LONGEST_ROW = 64 * MIB  # a row of a tab-separated file; 12 megapixels take less than 20 MB as base64
LARGEST_TEXT = 64 * MIB  # the decoded columns without images, in a row group of Parquet and in a batch of rows
LARGEST_GROUP = 1024 * MIB  # a decoded image column in a row group; the larger file of CV-Bench has 220 MB in total
LARGEST_IMAGE = 128 * MIB  # an encoded image
_BUFFER = MIB  # what is read at once of a column of Parquet
_MOST_ROWS = 32  # of a batch
_LONGEST = 200  # characters of a reason
_REPAIR = "download the file again"


class DamagedError(Exception):
    """A row of a published file cannot be asked; the text is the reason."""


class BenchmarkImage(msgspec.Struct, frozen=True):
    """An image in its own file, or at a place in a file of rows; it is read and decoded only when asked for.

    As a field type of a form it is a column of Parquet that the library `datasets` wrote: {"bytes", "path"}.
    """

    file: Path
    place: str = ""  # such as "$[3].image" or "row 3"; "" = the file is the image
    load: Any = None  # reads its bytes (PNG, JPEG) from a file of rows; takes nothing

    @property
    def name(self) -> str:
        """File, or file and location in it."""
        return f"{self.file} at {self.place}" if self.place else str(self.file)

    def encoded(self) -> bytes:
        """The encoded image at a place in a file of rows."""
        data: bytes | None = self.load()
        if not data:
            raise FileError(self.file, "the row has no image", _REPAIR, self.place)
        if len(data) > LARGEST_IMAGE:
            reason = f"an image of {len(data)} bytes, more than {LARGEST_IMAGE}"
            raise FileError(self.file, reason, _REPAIR, self.place)
        return data

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB; FileError if it is missing, damaged or no image."""
        if self.load is None:
            return read_rgb(self.file)
        data = self.encoded()
        try:
            pixels = decode_image(data)
        except InputError as error:
            raise FileError(self.file, f"not a whole image: {error.got}", _REPAIR, self.place) from error
        if pixels.dtype != np.uint8:
            raise FileError(self.file, f"an image of {pixels.dtype}, not of 8 bits", _REPAIR, self.place)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        return np.ascontiguousarray(pixels[..., 2::-1], np.uint8)


def image_of(folder: Path, given: str | BenchmarkImage) -> BenchmarkImage:
    """The image that a row has itself, or names by a path with "/" that must not leave a folder."""
    if isinstance(given, BenchmarkImage):
        return given
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts or "\0" in given or not path.parts:
        raise FileError(folder, f"the name {given!r} leaves the folder", "download the listing again")
    file = folder / path
    if not file.is_file():
        raise FileError(file, "the image does not exist", "complete the download")
    if not file.resolve().is_relative_to(folder.resolve()) and not linked_in_cache(folder, file):
        raise FileError(file, "it is a symbolic link out of the folder", "copy the file into the folder")
    return BenchmarkImage(file)


# ------------------------------------------------------------------------------------------------ rows


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published file."""

    path: Path
    place: str  # such as "$[3]", "line 4" or "row 3"
    number: int  # among all rows, from 0
    fields: Mapping[str, Any]  # of the form that was asked for; empty if `reason` says why the row is damaged
    reason: str = ""
    load: Any = None  # reads the base64 text of a field, given its name

    def image(self, field: str) -> BenchmarkImage:
        """The image that a field of a JSON or tab-separated file has as base64 text."""
        place = self.place if self.path.suffix == ".tsv" else f"{self.place}.{field}"
        return BenchmarkImage(self.path, place, partial(self.load, field))


def found_files(folder: Path, names: Sequence[str], source: str) -> list[Path]:
    """Find the named files that exist in a folder, in the order of the names; a wildcard gives all matches, sorted."""
    if not folder.is_dir():
        raise FileError(folder, "the folder does not exist", source)
    found = [path for name in names for path in sorted(folder.glob(name)) if path.is_file()]
    if not found:
        raise FileError(folder, f"it has none of {', '.join(names)}", source)
    return found


def row_of(
    path: Path, place: str, number: int, form: type, raw: bytes | Mapping[str, Any], load: Any = None
) -> PublishedRow:
    """Make a row of its JSON text in bytes, or of its values by field; `form` is a msgspec type."""
    try:
        decode: Callable[..., Any] = msgspec.json.decode if isinstance(raw, bytes) else msgspec.convert
        fields = msgspec.structs.asdict(decode(raw, type=form))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return PublishedRow(path, place, number, {}, str(error)[:_LONGEST])
    return PublishedRow(path, place, number, fields, load=load)


FoundRows = Iterator[tuple[PublishedRow, Callable[..., Any]]]
"""Rows, each with what makes its item of the row and its fields, by name."""


def rows_of(path: Path, item: Callable[..., Any], source: str, array_like: bool = False) -> FoundRows:
    """Rows of a JSON list, JSON Lines, tab-separated or Parquet file; `array_like`: a list without names."""
    read = {".json": _json_rows, ".jsonl": _jsonl_rows, ".tsv": _tsv_rows, ".parquet": _parquet_rows}[path.suffix]
    form = form_of(item, array_like)
    raws = enumerate(read(path, form, source))
    rows: Iterable[PublishedRow] = (row_of(path, place, n, form, raw, load) for n, (place, raw, load) in raws)
    if path.suffix == ".jsonl":  # any text is lines; one of them at least must have the form
        rows = list(rows)
        if all(row.reason for row in rows):
            reason = rows[0].reason if rows else "it is empty"
            raise FileError(path, f"no line has the published form: {reason}", source)
    yield from ((row, item) for row in rows)


def rows_in(
    names: Sequence[str], item: Callable[..., Any], chosen: Callable[[list[Path]], Iterable[Path]] = lambda found: found
) -> Callable[[Path, str], FoundRows]:
    """Rows of those named files (see `found_files`) that are chosen, as Benchmark.rows; item as in form_of."""

    def rows(folder: Path, source: str) -> FoundRows:
        for path in chosen(found_files(folder, names, source)):
            yield from rows_of(path, item, source)

    return rows


def form_of(item: Callable[..., Any], array_like: bool = False) -> type[msgspec.Struct]:
    """The form of rows of which a function makes items: its keyword-only parameters are their fields, "id_" is "id"."""
    hints = get_type_hints(item.func if isinstance(item, partial) else item)
    named = [one for one in signature(item).parameters.values() if one.kind is one.KEYWORD_ONLY]
    fields = [(one.name, hints[one.name], *(() if one.default is one.empty else (one.default,))) for one in named]
    return msgspec.defstruct("Fields", fields, array_like=array_like, rename=lambda name: name.rstrip("_"))


_Raw = tuple[str, bytes | Mapping[str, Any], Any]
"""Place of a row, its JSON text or its values, and PublishedRow.load."""


def _json_rows(path: Path, form: type, source: str) -> Iterator[_Raw]:  # noqa: ARG001
    data = read_bytes(path, source, LARGEST_LISTING)
    try:
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(path, str(error)[:_LONGEST], source) from error
    start = 0
    for n, raw in enumerate(entries):
        text = bytes(raw)
        start = data.find(text, start)
        yield f"$[{n}]", text, partial(_base64, path, f"$[{n}]", start, len(text), ())
        start += len(text)


def _jsonl_rows(path: Path, form: type, source: str) -> Iterator[_Raw]:  # noqa: ARG001
    lines = enumerate(read_bytes(path, source, LARGEST_LISTING).split(b"\n"), 1)
    return ((f"line {n}", line, None) for n, line in lines if line.strip())


def _tsv_rows(path: Path, form: type, source: str) -> Iterator[_Raw]:
    """Rows below the header; a field is empty if the row ends before it."""
    columns: Sequence[str] = ()
    number = start = end = 0  # bytes, of the row that is being read

    def lines() -> Iterator[str]:
        nonlocal end
        while line := file.readline(LONGEST_ROW + 1):
            end += len(line)
            if end - start > LONGEST_ROW:
                raise FileError(path, f"the row at byte {start} is longer than {LONGEST_ROW} bytes", source)
            yield line.decode()

    try:
        with open_regular(path, source) as file:
            for cells in _tab_separated(lines()):
                place, load = f"row {number}", partial(_base64, path, f"row {number}", start, end - start, columns)
                start = end
                if cells and columns:
                    yield place, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)), load
                    number += 1
                elif cells:
                    columns = cells
                    _check_columns(path, form, columns, source)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(path, f"not tab-separated UTF-8 text: {error}, in the row at byte {start}", source) from error
    except OSError as error:
        raise unreadable(path, error, source) from error
    if not columns:
        raise FileError(path, "the file is empty", source)


def _tab_separated(lines: Iterable[str]) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_ROW)
    return csv.reader(lines, delimiter="\t")


def _base64(path: Path, place: str, start: int, size: int, columns: Sequence[str], field: str) -> bytes:
    """The bytes that a field of a row has as base64 text."""
    place = place if columns else f"{place}.{field}"
    with open_regular(path, _REPAIR) as file:
        try:
            file.seek(start)
            data = file.read(size)
        except OSError as error:
            raise unreadable(path, error, _REPAIR) from error
    try:
        if columns:
            cells = next(_tab_separated(io.StringIO(data.decode())), [])
            text = dict(zip(columns, cells, strict=False))[field]
        else:
            text = msgspec.json.decode(data, type=dict)[field]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, csv.Error, KeyError) as error:
        raise FileError(path, "it has changed since it was read", _REPAIR, place) from error
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise FileError(path, f"not base64 text: {error}", _REPAIR, place) from error


# ------------------------------------------------------------------------------------------------ Parquet


def _parquet_rows(path: Path, form: type, source: str) -> Iterator[_Raw]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow") from error
    check_regular(path, source)
    row = 0
    with _told(path, source), parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
        there = set(file.schema_arrow.names)
        _check_columns(path, form, there, source)
        known = {one.encode_name: one.type for one in msgspec.structs.fields(form) if one.encode_name in there}
        groups = range(file.metadata.num_row_groups)
        ends = list(itertools.accumulate(file.metadata.row_group(n).num_rows for n in groups))
        images = {name: _ImageColumn(path, name, source, ends)
                  for name, kind in known.items() if BenchmarkImage in (kind, *get_args(kind))}  # fmt: skip
        wanted = [name for name in known if name not in images]
        for group in groups:
            size = _size_of(file.metadata.row_group(group), wanted)
            if size > LARGEST_TEXT:
                reason = f"its columns {', '.join(wanted)} have {size} bytes in one group, more than {LARGEST_TEXT}"
                raise FileError(path, reason, source)
            rows = max(1, min(_MOST_ROWS, LARGEST_TEXT // max(1, size)))
            for batch in file.iter_batches(rows, [group], wanted, use_threads=False):
                for values in batch.to_pylist():
                    shown = {name: BenchmarkImage(path, f"row {row}, {name}", partial(one.encoded, row))
                             for name, one in images.items()}  # fmt: skip
                    yield f"row {row}", values | shown, None
                    row += 1


class _ImageColumn:
    """Reads an image column forwards, one image at a time; going back restarts the group of rows."""

    def __init__(self, path: Path, name: str, source: str, ends: Sequence[int]) -> None:
        self._path, self._name, self._source, self._stamp = path, name, source, _stamp(path)
        self._ends = ends  # of each group of rows
        self._images: Iterator[bytes | None] | None = None  # of one group; None after an error, too
        self._row, self._until = -1, 0  # the last row that was read, and the end of its group
        self._data: bytes | None = None

    def encoded(self, row: int) -> bytes | None:
        """Encoded image of a row; None if it has none."""
        with _told(self._path, self._source):
            if _stamp(self._path) != self._stamp:
                raise FileError(self._path, "it has changed since it was read", "run the command again")
            images, self._images = self._images, None
            if images is None or not self._row <= row < self._until:
                group = bisect.bisect_right(self._ends, row)
                self._row, self._until = (self._ends[group - 1] if group else 0) - 1, self._ends[group]
                images = self._read(group)
            while self._row < row:
                self._row, self._data = self._row + 1, next(images, None)
            self._images = images
            return self._data

    def _read(self, group: int) -> Iterator[bytes | None]:
        from pyarrow import parquet

        with parquet.ParquetFile(self._path, buffer_size=_BUFFER) as file:
            size = _size_of(file.metadata.row_group(group), [self._name])
            if size > LARGEST_GROUP:
                reason = f"its images have {size} bytes in one group of rows, more than {LARGEST_GROUP}"
                raise FileError(self._path, reason, _REPAIR, self._name)
            for batch in file.iter_batches(1, [group], [f"{self._name}.bytes"], use_threads=False):
                yield (batch.column(0)[0].as_py() or {}).get("bytes")


def _check_columns(path: Path, form: type, there: Collection[str], source: str) -> None:
    fields = msgspec.structs.fields(form)
    missing = [one.encode_name for one in fields if one.required and one.encode_name not in there]
    if missing:
        raise FileError(path, f"it has no column {', '.join(missing)}", source)


def _size_of(group: Any, wanted: Collection[str]) -> int:
    """Decoded bytes of columns in a row group, by the file's metadata."""
    columns = (group.column(n) for n in range(group.num_columns))
    return sum(one.total_uncompressed_size for one in columns if one.path_in_schema.partition(".")[0] in wanted)


@contextmanager
def _told(path: Path, source: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise FileError(path, f"not a Parquet file: {str(error)[:_LONGEST]}", source) from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
