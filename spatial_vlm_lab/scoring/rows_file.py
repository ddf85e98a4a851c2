# SPDX-License-Identifier: Apache-2.0
"""Rows of judged cases as a Parquet file, for notebooks and databases. pyarrow is imported when it is needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_lab.scoring.rows import COLUMNS, Row
from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.files.writing import write_bytes


def check_installed() -> None:
    """Check that pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow, into the Python environment of this command") from error


def schema() -> Any:
    """Arrow schema of all columns."""
    check_installed()
    import pyarrow as pa

    types = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "truth value": pa.bool_(),
             "texts": pa.list_(pa.string())}  # fmt: skip
    return pa.schema([(name, types[column]) for name, column in COLUMNS.items()])


def write_rows(path: str | Path, rows: Sequence[Row], *, force: bool = False) -> None:
    """Write rows to one file atomically; creates its parent folders."""
    types = schema()
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=types), file)
    write_bytes(path, file.getvalue(), force=force)


def read_rows(path: str | Path) -> list[Row]:
    """Read the rows of such a file."""
    types = schema()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise FileError(path, str(error), "pass a file that `evaluate --parquet` wrote") from error
    if table.schema.names != types.names:
        raise FileError(path, "it has other columns", "pass a file that `evaluate --parquet` of this version wrote")
    found: list[Row] = table.to_pylist()
    return found
