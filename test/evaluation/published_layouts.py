# SPDX-License-Identifier: Apache-2.0
"""Tiny images and Parquet files in the layouts of published benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkItem, DamagedItem, GradedItem, ReadItems


def png(width: int = 20, height: int = 10, value: int = 90) -> bytes:
    """A grey image of one value."""
    return cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def left_half(width: int = 20, height: int = 10) -> bytes:
    """A mask whose left half is right."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return cv2.imencode(".png", mask)[1].tobytes()


def image_cell(data: bytes | None) -> dict[str, Any] | None:
    """An image as the library `datasets` writes it to Parquet."""
    return None if data is None else {"bytes": data, "path": None}


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A Parquet file with one row for each dictionary."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def whole_items(read: ReadItems, folder: Path) -> list[BenchmarkItem]:
    """What a reader yields, none of it damaged."""
    items = list(read(folder))
    assert all(isinstance(item, BenchmarkItem) for item in items), items
    return [item for item in items if isinstance(item, BenchmarkItem)]


def damaged_items(read: ReadItems, folder: Path) -> dict[str, str]:
    """Key → reason of what a reader could not read."""
    return {item.key: item.reason for item in read(folder) if isinstance(item, DamagedItem)}


def graded(items: Sequence[BenchmarkItem], counted: Sequence[float]) -> list[GradedItem]:
    """Items with given counted."""
    return [GradedItem(item, credit) for item, credit in zip(items, counted, strict=True)]
