# SPDX-License-Identifier: Apache-2.0
"""Reads rows of Parquet files in batches, and their images on demand.

Memory is bounded by the sizes in the file's metadata. A value is never longer than its column in its row group, so text
rows are read in batches that fit, and columns with more than LARGEST_TEXT are refused. For images, the pages of one row
group and one image are in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spatial_vlm_lab.benchmarks.images import decoded
from spatial_vlm_lab.benchmarks.protocol import DamagedItem
from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.files.reading import MIB, check_regular
from spatial_vlm_ros.types import Rgb

Entry = TypeVar("Entry", bound=msgspec.Struct)
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


class ParquetImage(msgspec.Struct, frozen=True):
    """An image in a Parquet file, as the library `datasets` writes it: a column of {"bytes", "path"}.

    As a field type of a form it declares such a column; see parquet_entries and BenchmarkImage.

    Args:
        column: name of its column.
        row: row in the file, from 0.
    """

    column: ImageColumn
    row: int

    @property
    def name(self) -> str:
        """File, row and column."""
        return f"{self.column.path} at {self._place}"

    @property
    def _place(self) -> str:
        return f"row {self.row}, {self.column.name}"

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
        return decoded(self.column.path, self._place, self.encoded())

    def encoded(self) -> bytes:
        """The encoded image file."""
        data = self.column.bytes_of(self.row)
        if not data:
            raise FileError(self.column.path, "the row has no image", _REPAIR, self._place)
        return data


class ImageColumn:
    """Reads an image column forwards, one image at a time; going back restarts at the row group.

    Args:
        name: name of the column.
    """

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


def parquet_entries(path: Path, form: type[Entry], source: str) -> Iterator[tuple[str, Entry | DamagedItem]]:
    """Yield the rows of a Parquet file, read in batches; columns that the form does not name are not read.

    Args:
        form: msgspec type of a row; images are declared as ParquetImage and read on demand.

    Yields:
        Location in the file ("row 3"), and the entry or why it is damaged.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow") from error
    check_regular(path, source)
    fields = msgspec.structs.fields(form)
    row = 0
    with _told(path, source), parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
        there = set(file.schema_arrow.names)
        missing = [field.encode_name for field in fields if field.required and field.encode_name not in there]
        if missing:
            raise FileError(path, f"it has no column {', '.join(missing)}", source)
        images = {field.encode_name: ImageColumn(path, field.encode_name, source) for field in fields
                  if field.type is ParquetImage}  # fmt: skip
        wanted = [name for field in fields if (name := field.encode_name) in there and name not in images]
        for group in range(file.metadata.num_row_groups):
            size = _size_of(file.metadata.row_group(group), wanted)
            if size > LARGEST_TEXT:
                reason = f"its columns {', '.join(wanted)} have {size} bytes in one group, more than {LARGEST_TEXT}"
                raise FileError(path, reason, source)
            rows = max(1, min(_MOST_ROWS, LARGEST_TEXT // max(1, size)))
            for batch in file.iter_batches(rows, [group], wanted, use_threads=False):
                for values in batch.to_pylist():
                    shown = {name: ParquetImage(column, row) for name, column in images.items()}
                    yield f"row {row}", _converted(values | shown, form, f"{path.name} row {row}")
                    row += 1


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


def _converted(values: Any, form: type[Entry], key: str) -> Entry | DamagedItem:
    try:
        return msgspec.convert(values, type=form)
    except (msgspec.ValidationError, RecursionError) as error:
        return DamagedItem(key, str(error)[:_LONGEST])
