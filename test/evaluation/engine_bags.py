# SPDX-License-Identifier: Apache-2.0
"""A bag whose camera turns, and its cases, for tests of evaluations in shards. Not a test."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bag_builder import FIXED, MS, T0, BagBuilder, make, scene

from spatial_vlm_ros.recording.bags.topics import CAMERA_INFO
from spatial_vlm_ros.types import Transform

WORDS = ("the chick behind the cup", "the chick in front of the cup", "the mug")
PERIOD = 500 * MS  # between images
COUNT = 14
LAG = 30 * MS  # from an image's stamp to its recording


def pose(n: int) -> Transform:
    """Where the camera's mount is when image n is taken: it turns slowly."""
    angle = 0.02 * n
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return Transform("base_link", "mount", matrix)


def write_bag(out: Path, storage: str = "mcap", sets_back: bool = False) -> Path:
    """A camera on a mount that turns, its info sent once; `sets_back`: its clock is set back an hour halfway."""
    seen = scene()
    with BagBuilder(out, storage) as bag:
        bag.stands(Transform("mount", FIXED.child, FIXED.matrix), T0)
        bag.message("/rgb/camera_info", CAMERA_INFO, T0, lambda make: make.camera_info(
            seen.frame.camera, make.header(T0 - 1000 * MS, seen.frame.frame_id)))  # fmt: skip
        for n in range(COUNT):
            stamp = stamp_of(n, sets_back)
            log = T0 + n * PERIOD + LAG
            bag.moves(pose(n), stamp - 20 * MS, log - 25 * MS)
            bag.moves(pose(n), stamp + 20 * MS, log + 15 * MS)
            bag.frame(seen, stamp, log, leave_out=("rgb/camera_info",))
        bag.message("/words", "std_msgs/msg/String", T0 + 5 * PERIOD, make("std_msgs/msg/String", data="hello"))
    return out


def stamp_of(n: int, sets_back: bool = False) -> int:
    return T0 + n * PERIOD - (3600 * 1000 * MS if sets_back and n >= COUNT // 2 else 0)


def write_truth(path: Path, stamps: Sequence[int]) -> Path:
    lines = [
        {"stamp_ns": stamp, "instruction": words, "expect": {"status": "OK", "id": id_}}
        for stamp in stamps for words, id_ in zip(WORDS, ("bonnet", "ribbon"), strict=False)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
