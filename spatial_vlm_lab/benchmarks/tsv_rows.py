# SPDX-License-Identifier: Apache-2.0
"""Reads rows of a tab-separated file one by one; images, as base64 text, are read on demand.

Such files have one row per question and gigabytes of data; only one row is in memory. Quoting is as in CSV: a field
with a tab, a quote or a line break is quoted, and a quote in it is doubled.
"""

from __future__ import annotations

import base64
import binascii
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spatial_vlm_lab.benchmarks.images import decoded
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.reading import open_regular
from spatial_vlm_ros.types import Rgb

LONGEST_ROW = 64 * 2**20
"""Bytes; a photograph of 12 megapixels takes less than 20 MB as base64."""
_REPAIR = "download the file again"


@dataclass(frozen=True)
class TsvRow:
    """One row.

    Args:
        number: number of the row, from 0, without the header.
        fields: column → text; empty if the row ends before it.
        start: first byte in the file.
        size: bytes.
    """

    number: int
    fields: Mapping[str, str]
    start: int
    size: int


@dataclass(frozen=True)
class TsvImage:
    """An image in a field of a row; see BenchmarkImage.

    Args:
        start: first byte of its row.
        size: bytes of its row.
        position: index of the field in the row, from 0.
        number: number of the row, for messages.
    """

    file: Path
    start: int
    size: int
    position: int
    number: int

    @property
    def name(self) -> str:
        """File and row."""
        return f"{self.file} at row {self.number}"

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB."""
        return decoded(self.file, f"row {self.number}", self.encoded())

    def encoded(self) -> bytes:
        """The encoded image file."""
        try:
            with open_regular(self.file, _REPAIR) as file:
                file.seek(self.start)
                cells = _cells(file.read(self.size))
        except OSError as error:
            raise FileError(self.file, error.strerror or str(error), _REPAIR) from error
        place = f"row {self.number}"
        if len(cells) <= self.position:
            raise FileError(self.file, "it has changed since it was read", _REPAIR, place)
        try:
            return base64.b64decode(cells[self.position], validate=True)
        except (binascii.Error, ValueError) as error:
            raise FileError(self.file, f"an image is not base64 text: {error}", _REPAIR, place) from error


def tsv_rows(path: Path, source: str) -> tuple[tuple[str, ...], Iterator[TsvRow]]:
    """Read the columns of a file, and its rows lazily."""
    rows = _rows(path, source)
    header = next(rows, None)
    if header is None:
        raise FileError(path, "the file is empty", source)
    columns = tuple(header[2])
    return columns, (
        TsvRow(number, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)), start, size)
        for number, (start, size, cells) in enumerate(rows)
    )


def _rows(path: Path, source: str) -> Iterator[tuple[int, int, list[str]]]:
    """First byte, size and fields of each row that is not empty, the header first."""
    try:
        with open_regular(path, source) as file:
            start = 0
            while data := _record(file):
                if len(data) > LONGEST_ROW:
                    raise FileError(path, f"the row at byte {start} is longer than {LONGEST_ROW} bytes", source)
                if data.strip(b"\r\n"):
                    yield start, len(data), _cells(data)
                start += len(data)
    except UnicodeDecodeError as error:
        raise FileError(path, f"not UTF-8 text: {error.reason} at byte {start + error.start}", source) from error
    except OSError as error:
        raise FileError(path, error.strerror or str(error), source) from error


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
