# SPDX-License-Identifier: Apache-2.0
"""Frames as the folders that `load_frame` reads. Not a test."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.recording.frame_folder import write_frame as write_one
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, RgbdFrame


def write_frame(folder: Path, frame: RgbdFrame, detections: Sequence[Detection] = ()) -> Path:
    """A frame without a pose, and its detections without masks, as a new folder."""
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "rgb.png"), frame.rgb[..., ::-1])
    cv2.imwrite(str(folder / "depth.png"), np.nan_to_num(frame.depth * 1000).round().astype(np.uint16))
    camera = {"width": frame.camera.width, "height": frame.camera.height, "k": frame.camera.K.reshape(-1).tolist()}
    (folder / "camera_info.json").write_text(json.dumps(camera))
    objects = [{"id": d.id, "label": d.label, "box": d.box_xyxy} for d in detections]
    (folder / "detections.json").write_text(json.dumps({"detections": objects}))
    return folder


def write_two_frames(folder: Path) -> Path:
    """Frames f1, with a pose of the camera, and f2, without one, of two chicks and a cup; with masks."""
    frame, detections = chicks_and_cup_frame()
    write_one(folder / "f1", frame, detections)
    write_one(folder / "f2", dataclasses.replace(frame, base_T_camera=None), detections)
    return folder


def case(frame: str, words: str, id_: str | None = None, *kind: str, **expect: Any) -> dict[str, Any]:
    """A line of cases.jsonl that expects an object, or what `expect` says, or nothing."""
    due = expect or ({} if id_ is None else {"status": "OK", "id": id_})
    return {"frame": frame, "instruction": words, "kind": list(kind), **({"expect": due} if due else {})}


def write_cases(folder: Path, cases: Sequence[dict[str, Any]]) -> None:
    (folder / "cases.jsonl").write_text("".join(json.dumps(each) + "\n" for each in cases))
