# SPDX-License-Identifier: Apache-2.0
"""Reads the published files of benchmarks row by row, and their images on demand; a damaged row affects no other.

JSON and JSON Lines are read whole, up to LARGEST_LISTING. Tab-separated files have gigabytes, so one row is in memory;
quoting is as in CSV: a field with a tab, a quote or a line break is quoted, and a quote in it is doubled. The memory
for Parquet files is bounded by the sizes in their metadata: a value is never longer than its column in its row group,
so text rows are read in batches that fit, and columns with more than LARGEST_TEXT are refused; for images, the pages of
one row group and one image are in memory.
"""

from __future__ import annotations

import base64
import binascii
import csv
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Generic, TypeVar, get_args

import msgspec
import numpy as np

from spatial_vlm_lab.benchmarks.protocol import BenchmarkItem, DamagedError, DamagedItem, ReadItems
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.files.reading import MIB, check_regular, linked_in_cache, open_regular, read_bytes
from spatial_vlm_ros.recording.frame_folder import read_rgb
from spatial_vlm_ros.streams.codecs import decode_image
from spatial_vlm_ros.types import Rgb

Entry = TypeVar("Entry", bound=msgspec.Struct)
LARGEST_LISTING = 1 << 30  # bytes; EmbSpatial-Bench, with its images inside, has a quarter of that
LONGEST_ROW = 64 * MIB
"""Bytes of a row of a tab-separated file; a photograph of 12 megapixels takes less than 20 MB as base64."""
LARGEST_TEXT = 64 * MIB
"""Most decoded bytes of the columns without images, in a row group and in a batch of rows."""
LARGEST_GROUP = 1024 * MIB
"""Most decoded bytes of an image column in a row group; the larger file of CV-Bench has 220 MB in total."""
LARGEST_IMAGE = 128 * MIB
"""Most bytes of an encoded image, as for image files."""
_MOST_ROWS = 32
_BUFFER = MIB  # of a column, so that a whole group of rows is never read at once
_LONGEST = 200  # characters of a reason
_REPAIR = "download the file again"

# ------------------------------------------------------------------------------------------------ images


@dataclass(frozen=True)
class ImageFile:
    """An image in its own file; see BenchmarkImage."""

    path: Path

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.path)

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
        return read_rgb(self.path)


class EncodedImage(msgspec.Struct, frozen=True):
    """An image inside a file of rows, loaded only when read; see BenchmarkImage.

    Args:
        place: its location in the file, such as "$[3].image" or "row 3".
    """

    file: Path
    place: str

    @property
    def name(self) -> str:
        """File and location in it."""
        return f"{self.file} at {self.place}"

    def encoded(self) -> bytes:
        """The encoded image file: PNG, JPEG or another format."""
        raise NotImplementedError

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
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


class Base64Image(EncodedImage, frozen=True):
    """An image as base64 text in a JSON or tab-separated file.

    Args:
        start: first byte of the JSON text, with its quotes, or of the row.
        size: bytes of that text or row.
        column: index of the field in the row, from 0; None = JSON.
    """

    start: int
    size: int
    column: int | None = None

    def encoded(self) -> bytes:
        """The encoded image file."""
        try:
            with open_regular(self.file, _REPAIR) as file:
                file.seek(self.start)
                data = file.read(self.size)
        except OSError as error:
            raise FileError(self.file, error.strerror or str(error), _REPAIR, self.place) from error
        what = "not base64 text" if self.column is None else "an image is not base64 text"
        try:
            text = msgspec.json.decode(data, type=str) if self.column is None else _cells(data)[self.column]
            return base64.b64decode(text, validate=True)
        except IndexError as error:
            raise FileError(self.file, "it has changed since it was read", _REPAIR, self.place) from error
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise FileError(self.file, f"{what}: {error}", _REPAIR, self.place) from error


class ParquetImage(EncodedImage, frozen=True):
    """An image in a Parquet file, as the library `datasets` writes it: a column of {"bytes", "path"}.

    As a field type of a form it declares such a column; see rows_of.
    """

    column: ImageColumn
    row: int

    def encoded(self) -> bytes:
        """The encoded image file."""
        data = self.column.bytes_of(self.row)
        if not data:
            raise FileError(self.file, "the row has no image", _REPAIR, self.place)
        return data


class ImageColumn:
    """Reads an image column forwards, one image at a time; going back restarts at the row group."""

    def __init__(self, path: Path, name: str, source: str) -> None:
        self.path, self.name, self._source = path, name, source
        self._stamp, self._lock = _stamp(path), threading.Lock()
        self._rows: Iterator[tuple[int, bytes | None]] = iter(())
        self._row, self._data = -1, None  # type: int, bytes | None
        self._until = -1  # last row of the group that is being read

    def bytes_of(self, row: int) -> bytes | None:
        """Encoded image of a row; None if it has none."""
        with self._lock, _told(self.path, self._source):
            if _stamp(self.path) != self._stamp:
                raise FileError(self.path, "it has changed since it was read", "run the command again")
            if row < self._row or row > self._until:
                self._rows = self._rows_from(row)
            while self._row != row:
                self._row, self._data = next(self._rows)
            return self._data

    def _rows_from(self, wanted: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the rows of a row's group."""
        from pyarrow import parquet

        self._row = -1
        with parquet.ParquetFile(self.path, buffer_size=_BUFFER) as file:
            first = 0
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if wanted < first + count:
                    break
                first += count
            size = _size_of(file.metadata.row_group(group), [self.name])
            if size > LARGEST_GROUP:
                reason = f"its images have {size} bytes in one group of rows, more than {LARGEST_GROUP}"
                raise FileError(self.path, reason, _REPAIR, self.name)
            self._until = first + count - 1
            batches = file.iter_batches(1, [group], [f"{self.name}.bytes"], use_threads=False)
            for row, batch in enumerate(batches, first):
                if batch.nbytes > LARGEST_IMAGE:
                    reason = f"an image of {batch.nbytes} bytes, more than {LARGEST_IMAGE}"
                    raise FileError(self.path, reason, _REPAIR, f"row {row}, {self.name}")
                value = batch.column(0)[0].as_py() if row >= wanted else None
                yield row, None if value is None else value["bytes"]


def image_inside(folder: Path, name: str) -> ImageFile:
    """Find an image below a folder.

    Args:
        folder: the folder, which the path must not leave.
        name: relative to it, with "/".
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise FileError(folder, f"the name {name!r} leaves the folder", "download the listing again")
    file = folder / path
    if not file.is_file():
        raise FileError(file, "the image does not exist", "complete the download")
    if not file.resolve().is_relative_to(folder.resolve()) and not linked_in_cache(folder, file):
        raise FileError(file, "it is a symbolic link out of the folder", "copy the file into the folder")
    return ImageFile(file)


def image_of(folder: Path, given: str | ParquetImage) -> ImageFile | ParquetImage:
    """The image that a row names, relative to a folder, or has itself."""
    return image_inside(folder, given) if isinstance(given, str) else given


# ------------------------------------------------------------------------------------------------ rows


@dataclass(frozen=True)
class PublishedRow(Generic[Entry]):
    """A row of a published file.

    Args:
        key: its name, such as "annotations.json[3]".
        place: its location, such as "$[3]", "line 4" or "row 3".
        number: its number among all rows, from 0.
        entry: its fields; not to be used if `reason` says why the row is damaged.
        start: first byte of its text in a JSON or tab-separated file.
        text: that text.
        columns: columns of a tab-separated file.
    """

    path: Path
    key: str
    place: str
    number: int
    entry: Entry
    reason: str = ""
    start: int = 0
    text: bytes = b""
    columns: tuple[str, ...] = ()


def row_of(
    path: Path, key: str, place: str, number: int, form: type[Entry], raw: bytes | Mapping[str, Any], **more: Any
) -> PublishedRow[Entry]:
    """Make a row of its JSON text, or of its values by field."""
    entry: Any = None
    reason = ""
    try:
        entry = msgspec.json.decode(raw, type=form) if isinstance(raw, bytes) else msgspec.convert(raw, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)[:_LONGEST]
    return PublishedRow(path, key, place, number, entry, reason, **more)


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


def rows_of(path: Path, form: type[Entry], source: str) -> Iterator[PublishedRow[Entry]]:
    """Yield the rows of a file that contains one JSON list, one JSON object per line, tab-separated fields, or Parquet.

    Columns that the form does not name are not read.

    Args:
        path: the suffix tells what it contains: .json, .jsonl, .tsv or .parquet.
        form: msgspec type of a row; images of Parquet files are declared as ParquetImage.
        source: Benchmark.source, the fix for messages about the whole file.
    """
    readers = {".json": _json_rows, ".jsonl": _jsonl_rows, ".tsv": _tsv_rows, ".parquet": _parquet_rows}
    return readers[path.suffix](path, form, source)


def items_of(
    rows: Iterable[PublishedRow[Entry]],
    item: Callable[[PublishedRow[Entry]], BenchmarkItem],
    key: Callable[[PublishedRow[Entry]], str] = lambda row: row.key,
) -> Iterator[BenchmarkItem | DamagedItem]:
    """Yield an item of each row.

    Args:
        item: makes it, or raises DamagedError or InputError.
        key: name of a row with fields.
    """
    for row in rows:
        if row.reason:
            yield DamagedItem(row.key, row.reason)
            continue
        named = replace(row, key=key(row))
        try:
            yield item(named)
        except (DamagedError, InputError) as error:
            yield DamagedItem(named.key, str(error))


def reader_of(
    names: Sequence[str],
    forms: Mapping[str, type[Any]],
    item: Callable[[PublishedRow[Any]], BenchmarkItem],
    key: Callable[[PublishedRow[Any]], str],
    chosen: Callable[[list[Path]], Iterable[Path]] = lambda found: found,
) -> ReadItems:
    """Make the reader of a benchmark with one item per row; arguments as in found_files, rows_of and items_of.

    Args:
        forms: suffix of a file → form of its rows.
        chosen: which of the files that exist are read.
    """

    def read(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
        for path in chosen(found_files(folder, names, source)):
            yield from items_of(rows_of(path, forms[path.suffix], source), item, key)

    return read


def _json_rows(path: Path, form: type[Entry], source: str) -> Iterator[PublishedRow[Entry]]:
    data = read_bytes(path, source, LARGEST_LISTING)
    try:
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(path, str(error)[:_LONGEST], source) from error
    start = 0
    for n, raw in enumerate(entries):
        text = bytes(raw)
        start = data.find(text, start)
        yield row_of(path, f"{path.name}[{n}]", f"$[{n}]", n, form, text, start=start, text=text)
        start += len(text)


def _jsonl_rows(path: Path, form: type[Entry], source: str) -> Iterator[PublishedRow[Entry]]:
    """Rows of the lines that are not empty; one of them at least must have the form."""
    lines = enumerate(read_bytes(path, source, LARGEST_LISTING).split(b"\n"), 1)
    told = enumerate((n, line) for n, line in lines if line.strip())
    rows = [row_of(path, f"{path.name}:{n}", f"line {n}", number, form, line) for number, (n, line) in told]
    if all(row.reason for row in rows):
        reason = rows[0].reason if rows else "it is empty"
        raise FileError(path, f"no line has the published form: {reason}", source)
    yield from rows


def _tsv_rows(path: Path, form: type[Entry], source: str) -> Iterator[PublishedRow[Entry]]:
    """Rows below the header; a field is empty if the row ends before it."""
    columns: tuple[str, ...] = ()
    start, number = 0, -1  # of the header
    try:
        with open_regular(path, source) as file:
            while data := _record(file):
                if len(data) > LONGEST_ROW:
                    raise FileError(path, f"the row at byte {start} is longer than {LONGEST_ROW} bytes", source)
                if data.strip(b"\r\n"):
                    cells = _cells(data)
                    if number < 0:
                        columns = tuple(cells)
                        _check_columns(path, form, columns, source)
                    else:
                        fields = dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
                        where = {"start": start, "text": data, "columns": columns}
                        yield row_of(path, f"{path.name} row {number}", f"row {number}", number, form, fields, **where)
                    number += 1
                start += len(data)
    except UnicodeDecodeError as error:
        raise FileError(path, f"not UTF-8 text: {error.reason} at byte {start + error.start}", source) from error
    except OSError as error:
        raise FileError(path, error.strerror or str(error), source) from error
    if number < 0:
        raise FileError(path, "the file is empty", source)


def _record(file: BinaryIO) -> bytes:
    """Read one row: lines up to the first that ends outside quotes; more than LONGEST_ROW bytes if it is too long."""
    record = file.readline(LONGEST_ROW + 1)
    quotes = record.count(b'"')
    while quotes % 2 and len(record) <= LONGEST_ROW:
        line = file.readline(LONGEST_ROW + 1 - len(record))
        if not line:
            break
        record += line
        quotes += line.count(b'"')
    return record


def _cells(data: bytes) -> list[str]:
    """Fields of a row; raises UnicodeDecodeError."""
    csv.field_size_limit(LONGEST_ROW)
    return next(csv.reader([data.decode("utf-8").rstrip("\r\n")], delimiter="\t"), [])


def _parquet_rows(path: Path, form: type[Entry], source: str) -> Iterator[PublishedRow[Entry]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow") from error
    check_regular(path, source)
    fields = msgspec.structs.fields(form)
    row = 0
    with _told(path, source), parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
        there = set(file.schema_arrow.names)
        _check_columns(path, form, there, source)
        images = {field.encode_name: ImageColumn(path, field.encode_name, source) for field in fields
                  if ParquetImage in (field.type, *get_args(field.type))}  # fmt: skip
        wanted = [name for field in fields if (name := field.encode_name) in there and name not in images]
        for group in range(file.metadata.num_row_groups):
            size = _size_of(file.metadata.row_group(group), wanted)
            if size > LARGEST_TEXT:
                reason = f"its columns {', '.join(wanted)} have {size} bytes in one group, more than {LARGEST_TEXT}"
                raise FileError(path, reason, source)
            rows = max(1, min(_MOST_ROWS, LARGEST_TEXT // max(1, size)))
            for batch in file.iter_batches(rows, [group], wanted, use_threads=False):
                for values in batch.to_pylist():
                    shown = {name: ParquetImage(path, f"row {row}, {name}", one, row) for name, one in images.items()}
                    yield row_of(path, f"{path.name} row {row}", f"row {row}", row, form, values | shown)
                    row += 1


def _check_columns(path: Path, form: type[Entry], there: Collection[str], source: str) -> None:
    required = [field.encode_name for field in msgspec.structs.fields(form) if field.required]
    missing = [name for name in required if name not in there]
    if missing:
        raise FileError(path, f"it has no column {', '.join(missing)}", source)


def _size_of(group: Any, wanted: list[str]) -> int:
    """Decoded bytes of columns in a row group, by the file's metadata."""
    columns = (group.column(n) for n in range(group.num_columns))
    return sum(one.total_uncompressed_size for one in columns if one.path_in_schema.partition(".")[0] in wanted)


@contextmanager
def _told(path: Path, source: str) -> Iterator[None]:
    """Translate errors of the library."""
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, f"not a Parquet file: {str(error)[:_LONGEST]}", source) from error


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
