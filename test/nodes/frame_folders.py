# SPDX-License-Identifier: Apache-2.0
"""A frame folder of a rendering, as recording/frame_folder.py describes it. Not a test."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from bag_builder import FIXED, SMALL

from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Transform


def write_folder(folder: Path, seen: Rendering, pose: Transform | None) -> Path:
    (folder / "masks").mkdir(parents=True)
    cv2.imwrite(str(folder / "rgb.png"), cv2.cvtColor(seen.frame.rgb, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "depth.png"), np.nan_to_num(seen.frame.depth * 1000).round().astype(np.uint16))
    info = {"width": SMALL.width, "height": SMALL.height, "k": SMALL.K.reshape(-1).tolist(), "frame_id": FIXED.child}
    (folder / "camera_info.json").write_text(json.dumps(info))
    listed = []
    for d in seen.detections:
        cv2.imwrite(str(folder / "masks" / f"{d.id}.png"), d.mask.astype(np.uint8) * 255)
        listed.append({"id": d.id, "label": d.label, "box": d.box_xyxy, "attributes": d.attributes, "score": 0.75,
                       "mask": f"masks/{d.id}.png"})  # fmt: skip
    (folder / "detections.json").write_text(json.dumps({"detections": listed}))
    if pose is not None:
        told = {"parent": pose.parent, "child": pose.child, "matrix": pose.matrix.tolist()}
        (folder / "base_T_camera.json").write_text(json.dumps(told))
    return folder
