# SPDX-License-Identifier: Apache-2.0
"""Pictures over the wire in the encodings and transports that cameras use."""

from __future__ import annotations

import array
import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position
from sensor_msgs.msg import CompressedImage, Image

from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb

POSES = {"base_frame": "world", "frame_timeout": 15.0, "transform_timeout": 5.0}
BGR = np.ascontiguousarray(FRAME.rgb[..., ::-1])


def image(encoding: str, pixels: Any, padding: int = 0, big: bool = False) -> Image:
    """A message of rows of pixels, each row followed by some bytes."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )  # fmt: skip


def mosaic() -> np.ndarray[Any, Any]:
    """What a sensor behind a filter of red, green / green, blue measures."""
    raw = FRAME.rgb[..., 1].copy()
    raw[0::2, 0::2] = FRAME.rgb[0::2, 0::2, 0]
    raw[1::2, 1::2] = FRAME.rgb[1::2, 1::2, 2]
    return raw


COLOURS: dict[str, Callable[[], Image]] = {
    "rgb8": lambda: image("rgb8", FRAME.rgb),
    "rgb8, padded rows": lambda: image("rgb8", FRAME.rgb, padding=24),
    "bgr8": lambda: image("bgr8", BGR),
    "rgba8": lambda: image("rgba8", np.dstack([FRAME.rgb, np.full(FRAME.rgb.shape[:2], 255, np.uint8)])),
    "bgra8": lambda: image("bgra8", np.dstack([BGR, np.zeros(FRAME.rgb.shape[:2], np.uint8)])),
    "mono8": lambda: image("mono8", cv2.cvtColor(FRAME.rgb, cv2.COLOR_RGB2GRAY)),
    "bayer_rggb8": lambda: image("bayer_rggb8", mosaic()),
    "yuv422": lambda: image("yuv422", cv2.cvtColor(FRAME.rgb, cv2.COLOR_RGB2YUV_UYVY)),
    "yuv422_yuy2": lambda: image("yuv422_yuy2", cv2.cvtColor(FRAME.rgb, cv2.COLOR_RGB2YUV_YUY2)),
}


def assert_answers_as_core(goal: Goal, **seen: Any) -> None:
    """The pose is that of the core on what was sent."""
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert position(goal.result.target[0]) == pytest.approx(core_position(dataclasses.replace(FRAME, **seen)), abs=1e-6)


def put(parts: dict[str, Any], role: str, message: Any, topic: str = "") -> None:
    """Send a message in the place of another, with its header."""
    message.header = parts[role].header
    del parts[role]
    parts[topic or role] = message


def test_colour_comes_in_any_encoding(live: Graph) -> None:
    for name, make in COLOURS.items():
        message = make()
        goal = live.ask(SENTENCE, FRAME, DETECTIONS, lambda parts, m=message: put(parts, roles.RGB, m))
        rgb = decode_rgb(message)
        assert np.abs(rgb.astype(int) - FRAME.rgb).mean() < 20 or name == "mono8", name
        assert_answers_as_core(goal, rgb=rgb)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_colour_comes_compressed(graph: Graph, kind: str) -> None:
    graph.start(**POSES, rgb_transport="compressed")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    data = array.array("B", cv2.imencode(f".{kind}", BGR)[1].tobytes())
    message = CompressedImage(format=f"rgb8; {'jpeg' if kind == 'jpg' else kind} compressed bgr8", data=data)
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, lambda p: put(p, roles.RGB, message, "rgb/image/compressed"))
    rgb = decode_rgb(message)
    assert np.abs(rgb.astype(int) - FRAME.rgb).mean() < 5
    assert_answers_as_core(goal, rgb=rgb)


def millimetres() -> np.ndarray[Any, Any]:
    return np.rint(np.nan_to_num(FRAME.depth) * 1000).astype("<u2")


DEPTHS: dict[str, Callable[[], Image]] = {
    "16UC1": lambda: image("16UC1", millimetres()),
    "mono16": lambda: image("mono16", millimetres()),
    "16UC1, big end first, padded": lambda: image("16UC1", millimetres().astype(">u2"), padding=6, big=True),
    "32FC1": lambda: image("32FC1", FRAME.depth.astype("<f4")),
    "32FC1 with infinities": lambda: image("32FC1", np.where(np.isnan(FRAME.depth), np.inf, FRAME.depth).astype("<f4")),
}


def test_depth_comes_in_any_encoding(live: Graph) -> None:
    for name, make in DEPTHS.items():
        message = make()
        goal = live.ask(SENTENCE, FRAME, DETECTIONS, lambda parts, m=message: put(parts, roles.DEPTH, m))
        depth = decode_depth(message)
        assert np.nanmax(np.abs(depth - FRAME.depth)) < 1e-3, name
        assert_answers_as_core(goal, depth=depth)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_comes_compressed(graph: Graph, encoding: str) -> None:
    graph.start(**POSES, depth_transport="compressedDepth")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    stored, a, b = millimetres(), 0.0, 0.0
    if encoding == "32FC1":  # inverse depth, as compressed_depth_image_transport writes it
        quantisation, farthest = 100.0, 10.0
        a = quantisation * (quantisation + 1.0)
        b = 1.0 - a / farthest
        inverse = np.nan_to_num(a / FRAME.depth + b)
        stored = np.where(np.isnan(FRAME.depth), 0, inverse).astype("<u2")
    data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", stored)[1].tobytes()
    message = CompressedImage(format=f"{encoding}; compressedDepth png", data=array.array("B", data))
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, lambda p: put(p, roles.DEPTH, message, "depth/image/compressedDepth"))
    depth = decode_depth(message)
    assert np.nanmax(np.abs(depth - FRAME.depth)) < 1e-2
    assert_answers_as_core(goal, depth=depth)


def test_a_compressed_image_cut_short_is_refused(graph: Graph) -> None:
    graph.start(**POSES, rgb_transport="compressed")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    data = cv2.imencode(".jpg", BGR)[1].tobytes()
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array.array("B", data[: len(data) // 2]))
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, lambda p: put(p, roles.RGB, message, "rgb/image/compressed"))
    graph.assert_refused(goal, "INVALID_INPUT", "JPEG")


def test_depth_without_a_unit_is_given_one_by_the_parameter(graph: Graph) -> None:
    graph.start(**POSES, depth_scale=0.0001)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    message = image("16UC1", np.rint(np.nan_to_num(FRAME.depth) * 10_000).astype("<u2"))
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: put(parts, roles.DEPTH, message))
    assert_answers_as_core(goal, depth=decode_depth(message, 0.0001))
