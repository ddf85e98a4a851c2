# SPDX-License-Identifier: Apache-2.0
"""Labelled views on disk: one PNG per view, one JSON file per group, written last. Images are read one by one.

DIR/<source>/<group>.json        [{"name", "objects": [...], "relations": [...]}, ...] DIR/<source>/<name>.png
(H, W, 3) uint8

All views of a group (of one world or one frame) have the same use: training, calibration or test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_lab.adaptation.labelled_view import LabelledObject, LabelledView, RelationLabel
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.images import decode_file
from spatial_vlm_ros.files.writing import write_bytes, write_json

PARTS = ("training", "calibration", "test")
HELD_OUT = 0.15
"""Share of the groups of a source used for calibration, and the same share for the test; at least one group each."""
_LARGEST = 1 << 26  # bytes of the JSON of a group
_REPAIR = "start again with --force"


def group_path(folder: Path, source: str, group: str) -> Path:
    """Path of a group's JSON file; if it exists, the group is complete."""
    return folder / source / f"{group}.json"


def write_group(folder: Path, source: str, group: str, views: Iterable[LabelledView]) -> None:
    """Write the views of a group, possibly none."""
    path, told = group_path(folder, source, group), []
    for view in views:
        done, data = cv2.imencode(".png", cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR))
        if not done:
            raise FileError(path, f"PNG cannot store an image of shape {view.rgb.shape}", _REPAIR)
        write_bytes(path.parent / f"{_file_name(view.name)}.png", data.tobytes(), force=True)
        objects, relations = ([asdict(one) for one in some] for some in (view.objects, view.relations))
        told.append({"name": view.name, "objects": objects, "relations": relations})
    write_json(path, told, force=True)


@dataclass(frozen=True)
class StoredView:
    """A view whose image is still on disk."""

    source: str
    group: str
    name: str
    path: Path
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]

    def load(self) -> LabelledView:
        """Read the image and return the whole view."""
        try:
            bgr = decode_file(self.path, cv2.IMREAD_COLOR, _REPAIR)
        except FileError as error:
            raise FileError(self.path, error.got, _REPAIR) from error
        rgb = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
        return LabelledView(self.name, rgb, self.objects, self.relations)


def read_store(folder: Path, seed: int) -> dict[str, tuple[StoredView, ...]]:
    """Read the views for training, calibration and test, by part."""
    parts: dict[str, list[StoredView]] = {part: [] for part in PARTS}
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        groups = {path.stem: _read(path, source.name) for path in sorted(source.glob("*.json"))}
        for part, names in split_groups([name for name, views in groups.items() if views], seed).items():
            parts[part] += [view for name in names for view in groups[name]]
    empty = [part for part in PARTS if not any(view.relations for view in parts[part])]
    if empty:
        got = ", ".join(f"{len(parts[part])} views for {part}" for part in PARTS)
        repair = "pass a folder with labelled frames of at least 3 scenes, or --rendered 3 or more"
        raise InputError("--data, --rendered", got, "views with relations in each of the three parts", repair)
    return {part: tuple(views) for part, views in parts.items()}


def split_groups(names: Sequence[str], seed: int) -> Mapping[str, list[str]]:
    """Part → its groups; with fewer than three groups all are for training."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    held = max(1, round(HELD_OUT * len(drawn))) if len(drawn) > 2 else 0
    return {"test": drawn[:held], "calibration": drawn[held : 2 * held], "training": drawn[2 * held :]}


def _read(path: Path, source: str) -> list[StoredView]:
    try:
        return [_stored(path, source, one) for one in read_json(path, _REPAIR, _LARGEST)]
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error


def _stored(path: Path, source: str, told: Mapping[str, Any]) -> StoredView:
    objects = tuple(
        LabelledObject(str(o["label"]), tuple(map(str, o["attributes"])), _box(o["box_xyxy"])) for o in told["objects"]
    )
    relations = tuple(
        RelationLabel(str(r["relation"]), _box(r["target"]), _box(r["anchor"]), bool(r["holds"]))
        for r in told["relations"]
    )
    image = path.parent / f"{_file_name(told['name'])}.png"
    return StoredView(source, path.stem, str(told["name"]), image, objects, relations)


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in values)
    return x0, y0, x1, y1


def _file_name(name: str) -> str:
    """Turn a frame's name, which may contain folders, into a file name."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return kept if kept == name else f"{kept}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
