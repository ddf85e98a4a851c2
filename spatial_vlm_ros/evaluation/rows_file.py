# SPDX-License-Identifier: Apache-2.0
"""Rows of judged cases as a Parquet file, for notebooks and databases. pyarrow is imported when it is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.evaluation.rows import COLUMNS, Row


def check_installed() -> None:
    """See that pyarrow is there.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow, into the Python that runs this") from error


def schema() -> Any:
    """The types of all columns, as pyarrow has them.

    Raises:
        DependencyError: pyarrow is not installed.
    """
    check_installed()
    import pyarrow as pa

    types = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "truth value": pa.bool_(),
             "texts": pa.list_(pa.string())}  # fmt: skip
    return pa.schema([(name, types[column]) for name, column in COLUMNS.items()])


def write_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Rows as one file; folders above it are made, and a file that is there is replaced once the new one is whole.

    Raises:
        DependencyError: pyarrow is not installed.
        FileError: the place cannot be written.
    """
    types = schema()
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=types), beside)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise FileError(path, str(error), "choose a place that can be written, with enough room") from error


def read_rows(path: str | Path) -> list[Row]:
    """The rows of such a file.

    Raises:
        DependencyError: pyarrow is not installed.
        FileError: it cannot be read, or has other columns.
    """
    types = schema()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise FileError(path, str(error), "give a file that `evaluate --parquet` wrote") from error
    if table.schema.names != types.names:
        raise FileError(path, "it has other columns", "give a file that `evaluate --parquet` of this version wrote")
    found: list[Row] = table.to_pylist()
    return found
