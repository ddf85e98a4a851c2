# SPDX-License-Identifier: Apache-2.0
"""Each writer of the package, as a function of a place and a size; called as a program it writes again and again.

python faulty_writing.py WRITER PLACE    prints a line when it begins; is killed by the test
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.cli.group import save_image
from spatial_vlm_ros.files.writing import (
    changed_folder,
    new_folder,
    write_bytes,
    write_json,
    write_text,
    writing,
    written_by_name,
)
from spatial_vlm_ros.recording.bags.writer import BagWriter, is_bag_file
from spatial_vlm_ros.recording.frame_folder import load_frame, write_frame
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame

Writer = Callable[[Path, int], Any]


def _noise(size: int) -> np.ndarray:
    side = max(8, int((size / 3) ** 0.5))
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)


def _frame(size: int) -> RgbdFrame:
    rgb = _noise(size)
    side = len(rgb)
    K = np.array([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1]], np.float64)
    return RgbdFrame(rgb, np.full(rgb.shape[:2], 1.0, np.float32), PinholeCamera(K, side, side))


def _streamed(place: Path, size: int) -> None:
    with writing(place, force=True) as file:
        for _ in range(8):
            file.write(bytes(size // 8))


def _by_name(place: Path, size: int) -> None:
    with written_by_name(place, force=True) as path:
        path.write_bytes(bytes(size))


def _filled(made: AbstractContextManager[Path], size: int) -> None:
    with made as folder:
        for number in range(4):
            write_bytes(folder / f"{number}.bin", bytes(size // 4), force=True)


def _bag(place: Path, size: int, storage: str = "mcap") -> None:
    frame = _frame(size)
    with BagWriter(place, storage, force=True) as writer:
        for number in range(2):
            writer.write_frame(frame, (), (number + 1) * 1_000_000_000)


def _frame_folder(place: Path, size: int) -> None:
    mask = np.zeros(_noise(size).shape[:2], bool)
    mask[:4, :4] = True
    write_frame(place, _frame(size), [Detection("d1", "cup", 1.0, (0.0, 0.0, 4.0, 4.0), mask)])


WRITERS: dict[str, Writer] = {
    "bytes": lambda place, size: write_bytes(place, bytes(size), force=True),
    "text": lambda place, size: write_text(place, "x" * size, force=True),
    "json": lambda place, size: write_json(place, ["x" * size], force=True),
    "image": lambda place, size: save_image(place.with_suffix(".png"), _noise(size), force=True),
    "stream": _streamed,
    "by name": _by_name,
    "folder": lambda place, size: _filled(new_folder(place, force=True), size),
    "changed folder": lambda place, size: _filled(changed_folder(place), size),
    "bag": _bag,
    "sqlite bag": partial(_bag, storage="sqlite3"),
    "frame": _frame_folder,
}


def contents(place: Path) -> dict[str, bytes]:
    if place.is_dir():
        return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    return {"": place.read_bytes()} if place.exists() else {}


def is_whole(writer: str, place: Path) -> bool:
    if writer in ("bag", "sqlite bag"):
        from spatial_vlm_ros.doctor.bags import examine_files

        levels = {finding.level.value for finding in examine_files(place)}
        return all(map(is_bag_file, place.iterdir())) and levels == {"ok"}
    if writer == "frame":
        return len(load_frame(place)[1]) == 1
    return True


if __name__ == "__main__":
    where = Path(sys.argv[2])
    sys.stdout.write(json.dumps({"writes": sys.argv[1]}) + "\n")
    sys.stdout.flush()
    turn = 0
    while True:
        turn += 1
        WRITERS[sys.argv[1]](where, 200_000 + 1000 * (turn % 50))
