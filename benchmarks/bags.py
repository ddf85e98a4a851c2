# SPDX-License-Identifier: Apache-2.0
"""Bags for benchmarks of evaluation: compressed colour and depth, detections, transforms, and their cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.scenes import camera, tabletop
from spatial_vlm_ros.recording.bags.types import COMPRESSED_IMAGE, default_store
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, RGB_INFO, STATIC_TRANSFORMS
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform

HD, SMALL = camera(1280, 720, 930.0), camera(320, 240, 232.0)
COLOUR, DEPTH = "/camera/color/image_raw/compressed", "/camera/aligned_depth_to_color/image_raw/compressedDepth"
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333
QUALITY = 90  # JPEG quality; compressed_image_transport's default is 95, and cameras use less
SAID = (
    "the cup", "the can left of the box", "the box behind the mug", "put the cup next to the box", "the leftmost mug",
    "the can nearest to the cup", "the mug in front of the can", "how far is the cup from the box",
)  # fmt: skip

Seen = tuple[RgbdFrame, tuple[Detection, ...]]


def worlds(count: int, objects: int, lens: PinholeCamera = HD) -> list[Seen]:
    """Tables seen by a noisy sensor, with the masks of a perfect detector."""
    made = (tabletop(seed, objects, lens, 1.0) for seed in range(count))
    return [(frame, tuple(seen.detections)) for _, seen, frame in made]


def write_bag(out: Path, seen: Sequence[Seen], frames: int) -> Path:
    """Write a bag with `frames` images at 30 Hz, taken from the worlds in turn."""
    store = default_store()
    with BagWriter(out) as writer:
        make, size = writer.composer, (seen[0][0].camera.width, seen[0][0].camera.height)
        files = [_files(frame) for frame, _ in seen]
        base = seen[0][0].base_T_camera
        assert base is not None
        poses = [Transform("base_link", base.child, base.matrix)]
        writer.write(
            STATIC_TRANSFORMS, make.tf_message(make.transform_stamped(one, START_NS) for one in poses), START_NS
        )
        for n in range(frames):
            (frame, detections), (colour, depth) = seen[n % len(seen)], files[n % len(seen)]
            stamp = START_NS + (n + 1) * PERIOD_NS
            header = make.header(stamp, base.child)
            writer.write(RGB_INFO, make.camera_info(frame.camera, header), stamp, topic="/camera/color/camera_info")
            for topic, format_, data in (
                (COLOUR, "rgb8; jpeg compressed bgr8", colour),
                (DEPTH, "16UC1; compressedDepth png", depth),
            ):
                message = store.types[COMPRESSED_IMAGE](header=header, format=format_, data=data)
                writer.write("", message, stamp + 1000, COMPRESSED_IMAGE, topic)
            writer.write(DETECTIONS, make.detection_array(detections, header, *size), stamp + 2000)
    return out


def _files(frame: RgbdFrame) -> tuple[Any, Any]:
    """JPEG of a frame, and its depth as in compressed_depth_image_transport: 12 bytes of header, then a PNG."""
    colour = cv2.imencode(".jpg", frame.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    millimetres = np.nan_to_num(frame.depth * 1000).round().astype(np.uint16)
    depth = cv2.imencode(".png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return colour.reshape(-1), np.concatenate([np.zeros(12, np.uint8), depth.reshape(-1)])


def write_truth(path: Path, frames: int, sentences: int, bags: Sequence[str] = ()) -> Path:
    """Write cases for every image of one or more bags; any object counts as right, because only speed is measured."""
    with path.open("w") as file:
        for bag in bags or ("",):
            for n in range(frames):
                for words in SAID[:sentences]:
                    case = {
                        "stamp_ns": START_NS + (n + 1) * PERIOD_NS,
                        "instruction": words,
                        "expect": {"status": "OK"},
                    }
                    file.write(json.dumps({**case, **({"bag": bag} if bag else {})}) + "\n")
    return path
