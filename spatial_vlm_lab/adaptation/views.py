# SPDX-License-Identifier: Apache-2.0
"""Labelled images: named boxes, and relations that hold or do not hold; from folders of frames, and stored on disk.

One PNG per view, one JSON file per group, written last. Images are read one by one.

DIR/<source>/<group>.json        [{"name", "objects": [...], "relations": [...]}, ...]
DIR/<source>/<name>.png          (H, W, 3) uint8

All views of a group (of one world or one frame) have the same use: training, calibration or test.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from spatial_vlm_lab.comparison.judge_calibration import RelationLabel, labelled_pairs
from spatial_vlm_lab.training.images import LabelledObject, read_typed
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.images import decode_file
from spatial_vlm_ros.files.writing import write_bytes, write_json
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.recording.answering import FolderFrames
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.types import Rgb

PARTS = ("training", "calibration", "test")
HELD_OUT = 0.15
"""Share of the groups of a source used for calibration, and the same share for the test; at least one group each."""
_REPAIR = "start again with --force"


class LabelledView(NamedTuple):
    """An image and its labels; its name is unique among those of one source."""

    name: str
    rgb: Rgb
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]


@dataclass(frozen=True)
class StoredView:
    """A labelled view whose image is still on disk: the file `path`."""

    name: str
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]
    source: str = ""
    path: Path = Path()

    @property
    def rgb(self) -> Rgb:
        """(H, W, 3) uint8, read at each access."""
        try:
            bgr = decode_file(self.path, cv2.IMREAD_COLOR, _REPAIR)
        except FileError as error:
            raise FileError(self.path, error.got, _REPAIR) from error
        return np.ascontiguousarray(bgr[..., ::-1], np.uint8)


AnyView = LabelledView | StoredView
Parts = Mapping[str, tuple[StoredView, ...]]


def unique_objects(objects: Sequence[LabelledObject]) -> tuple[LabelledObject, ...]:
    """Objects whose name no other object of the image has."""
    counts = Counter(obj.name for obj in objects)
    return tuple(obj for obj in objects if counts[obj.name] == 1)


def labelled_views(folder: Path, config: ResolverConfig) -> Iterator[LabelledView]:
    """The frames of a folder whose cases tell a relation, in the order of the cases.

    A case that expects one of several objects of a name says that its relation holds of that object and of none of the
    others; boxes and names are those of the frame's detections.
    """
    frames, left_out, is_empty = FolderFrames(folder), Counter[str](), True
    cases: dict[str, list[Case]] = {}
    for case in load_cases(folder):
        cases.setdefault(case.frame, []).append(case)
    for name, of_frame in cases.items():
        there = frames.load(name)
        if isinstance(there, SpatialVlmError):
            raise FileError(folder / name, str(there), "fix the frame, or remove its cases")
        frame, detections = there
        labels: dict[RelationLabel, None] = {}
        for case in of_frame:
            pairs = labelled_pairs(case, detections, config)
            if isinstance(pairs, str):
                left_out[pairs] += 1
            else:
                labels.update(dict.fromkeys(pairs))
        if labels:
            is_empty = False
            objects = tuple(LabelledObject(d.label, d.attributes, d.box_xyxy) for d in detections)
            yield LabelledView(name, frame.rgb, objects, tuple(labels))
    if is_empty:
        reasons = "; ".join(f"{n} where {reason}" for reason, n in left_out.items()) or "no case"
        got = f"{folder} without a relation that is true or false: {reasons}"
        repair = "add cases that expect one object by its id (docs/evaluation.md)"
        raise InputError("--data", got, "relations with known truth", repair)


# ------------------------------------------------------------------------------------------------ on disk


def group_path(folder: Path, source: str, group: str) -> Path:
    """Path of a group's JSON file; if it exists, the group is complete."""
    return folder / source / f"{group}.json"


def write_group(folder: Path, source: str, group: str, views: Iterable[LabelledView]) -> None:
    """Write the views of a group, possibly none."""
    path, told = group_path(folder, source, group), []
    for view in views:
        data = cv2.imencode(".png", cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR))[1]
        write_bytes(_image_path(path, view.name), data.tobytes(), force=True)
        objects, relations = ([asdict(one) for one in some] for some in (view.objects, view.relations))
        told.append({"name": view.name, "objects": objects, "relations": relations})
    write_json(path, told, force=True)


def read_store(folder: Path, seed: int) -> dict[str, tuple[StoredView, ...]]:
    """Read the views for training, calibration and test, by part."""
    parts: dict[str, list[StoredView]] = {part: [] for part in PARTS}
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        groups: dict[str, list[StoredView]] = {}
        for path in sorted(source.glob("*.json")):
            told = read_typed(path, list[StoredView], _REPAIR)
            groups[path.stem] = [replace(one, source=source.name, path=_image_path(path, one.name)) for one in told]
        for part, names in split_groups([name for name, views in groups.items() if views], seed).items():
            parts[part] += [view for name in names for view in groups[name]]
    if not all(any(view.relations for view in views) for views in parts.values()):
        got = ", ".join(f"{len(parts[part])} views for {part}" for part in PARTS)
        repair = "pass a folder with labelled frames of at least 3 scenes, or --rendered 3 or more"
        raise InputError("--data, --rendered", got, "views with relations in each of the three parts", repair)
    return {part: tuple(views) for part, views in parts.items()}


def split_groups(names: Sequence[str], seed: int) -> Mapping[str, list[str]]:
    """Part → its groups; with fewer than three groups all are for training."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    held = max(1, round(HELD_OUT * len(drawn))) if len(drawn) > 2 else 0
    return {"test": drawn[:held], "calibration": drawn[held : 2 * held], "training": drawn[2 * held :]}


def _image_path(group: Path, name: str) -> Path:
    """File of an image beside the JSON of its group; a frame's name may contain folders."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    if kept != name:
        kept = f"{kept}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return group.parent / f"{kept}.png"
