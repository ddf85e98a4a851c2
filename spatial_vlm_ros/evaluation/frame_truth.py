# SPDX-License-Identifier: Apache-2.0
"""Reads the truth of frames from files, for cases that expect a place.

    truth.json           optional, in the frame's folder: {"base_T_camera": {"parent", "child", "matrix"}, "objects"?:
                         {id: {"center": [x, y, z], "label"?}}}, metres in base; other fields are left alone
    base_T_camera.json   serves for the pose where truth.json is not there

The resolver never reads truth.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.expected_place import FrameTruth, Point
from spatial_vlm_ros.evaluation.frame_folder import (
    BASE_FILE,
    Case,
    TransformInfo,
    decode_json,
    file_bytes,
    read_transform,
)
from spatial_vlm_ros.files.reading import member
from spatial_vlm_ros.types import Transform

TRUTH_FILE = "truth.json"
_REPAIR = "a case that expects a place needs truth.json or base_T_camera.json; docs/evaluation.md describes them"


class _Object(msgspec.Struct):
    center: Point
    label: str = ""


class _Truth(msgspec.Struct):
    base_T_camera: TransformInfo
    objects: dict[str, _Object] = {}


def load_truths(folder: str | Path, cases: Iterable[Case]) -> dict[str, FrameTruth]:
    """Read the truth of all frames that have one: frame name → truth.

    Args:
        cases: determine the frames, and which of them need a truth because a place is expected.
    """
    needed: dict[str, bool] = {}
    for case in cases:
        expects_place = case.expect is not None and case.expect.place is not None
        needed[case.frame] = needed.get(case.frame, False) or expects_place
    found = {name: _truth(Path(folder) / name, due) for name, due in needed.items()}
    return {name: truth for name, truth in found.items() if truth is not None}


def _truth(folder: Path, needed: bool) -> FrameTruth | None:
    path = folder / TRUTH_FILE
    if path.exists() or path.is_symlink():
        info = decode_json(file_bytes(member(folder, TRUTH_FILE), _REPAIR), _Truth, path)
        pose = Transform(
            info.base_T_camera.parent, info.base_T_camera.child, np.array(info.base_T_camera.matrix, np.float64)
        )
        centers = {name: o.center for name, o in info.objects.items()}
        return FrameTruth(pose, centers, {name: o.label for name, o in info.objects.items() if o.label})
    if (folder / BASE_FILE).exists():
        return FrameTruth(read_transform(member(folder, BASE_FILE)))
    if needed:
        raise FileError(path, "no such file, nor base_T_camera.json", _REPAIR)
    return None
