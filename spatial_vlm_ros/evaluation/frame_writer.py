# SPDX-License-Identifier: Apache-2.0
"""Writes frames as the folders that `frame_folder.load_frame` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.evaluation.frame_folder import BASE_FILE, CAMERA_FILE, DEPTH_FILE, DETECTIONS_FILE, RGB_FILE
from spatial_vlm_ros.files.folders import changed_folder
from spatial_vlm_ros.files.writing import write_bytes, write_text
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame

_MASKS = "masks"


def write_frame(folder: str | Path, frame: RgbdFrame, detections: Sequence[Detection] = ()) -> Path:
    """Write a frame and its detections to a folder, without the speaker's pose.

    Existing files with these names are replaced, all or none; other files of the folder stay.

    Args:
        folder: created if missing.
        frame: the frame; depth is rounded to millimetres.
        detections: detections of its image; masks go into the folder "masks".

    Returns:
        The folder.

    Raises:
        FileError: the folder cannot be written.
    """
    with changed_folder(folder) as unfinished:
        (unfinished / _MASKS).mkdir(exist_ok=True)
        millimetres = np.nan_to_num(frame.depth * 1000.0).round().clip(0, 65535).astype(np.uint16)
        _write_png(unfinished / RGB_FILE, np.ascontiguousarray(frame.rgb[..., ::-1]))
        _write_png(unfinished / DEPTH_FILE, millimetres)
        _write_json(unfinished / CAMERA_FILE, _camera(frame.camera, frame))
        if frame.base_T_camera is not None:
            pose = frame.base_T_camera
            matrix = {"parent": pose.parent, "child": pose.child, "matrix": pose.matrix.tolist()}
            _write_json(unfinished / BASE_FILE, matrix)
        listed = [_listed(unfinished, number, one) for number, one in enumerate(detections)]
        _write_json(unfinished / DETECTIONS_FILE, {"detections": listed})
    return Path(folder)


def _camera(camera: PinholeCamera, frame: RgbdFrame) -> dict[str, Any]:
    return {
        "width": camera.width, "height": camera.height, "k": camera.K.reshape(-1).tolist(),
        "d": list(camera.D), "distortion_model": camera.distortion_model, "frame_id": frame.frame_id,
        "domain": frame.domain,
    }  # fmt: skip


def _listed(folder: Path, number: int, one: Detection) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": one.id, "label": one.label, "score": one.score, "box": [float(v) for v in one.box_xyxy],
        "attributes": list(one.attributes),
    }  # fmt: skip
    if one.front is not None:
        entry["front"] = [float(v) for v in one.front]
    if one.mask is not None:
        entry["mask"] = f"{_MASKS}/{number}.png"
        _write_png(folder / entry["mask"], one.mask.astype(np.uint8) * 255)
    return entry


def _write_png(path: Path, image: Any) -> None:
    write_bytes(path, cv2.imencode(".png", image)[1].tobytes(), force=True, sync=False)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value) + "\n", force=True, sync=False)
