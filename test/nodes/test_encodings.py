# SPDX-License-Identifier: Apache-2.0
"""Images over the wire in encodings and transports that cameras use; test/streams/test_image.py has each of them."""

from __future__ import annotations

import array
import dataclasses
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from live_graph import Goal, Graph
from live_scene import FRAME, core_position
from sensor_msgs.msg import CompressedImage, Image

from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb


def image(encoding: str, pixels: Any, padding: int = 0, big: bool = False) -> Image:
    """A message of rows of pixels, each row followed by some bytes."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )  # fmt: skip


def assert_answers_as_core(goal: Goal, rgb: Any, depth: Any, off: float) -> None:
    """The pose is that of the core on what was sent, which is nearly what was seen."""
    assert np.abs(rgb.astype(int) - FRAME.rgb).mean() < 20
    assert np.nanmax(np.abs(depth - FRAME.depth)) < off
    assert goal.position == pytest.approx(core_position(dataclasses.replace(FRAME, rgb=rgb, depth=depth)), abs=1e-6)


def put(parts: dict[str, Any], role: str, message: Any, topic: str = "") -> None:
    """Send a message in the place of another, with its header."""
    message.header = parts.pop(role).header
    parts[topic or role] = message


def millimetres(scale: float = 1000.0) -> np.ndarray[Any, Any]:
    return np.rint(np.nan_to_num(FRAME.depth) * scale).astype("<u2")


@pytest.mark.parametrize(
    ("rgb", "depth", "scale"),
    [
        (image("yuv422_yuy2", cv2.cvtColor(FRAME.rgb, cv2.COLOR_RGB2YUV_YUY2), padding=24),
         image("16UC1", millimetres().astype(">u2"), padding=6, big=True), 0.0),
        (image("bgr8", np.ascontiguousarray(FRAME.rgb[..., ::-1])), image("16UC1", millimetres(10_000.0)), 0.0001),
    ],
    ids=["padded rows, big end first", "a unit by the parameter"],
)  # fmt: skip
def test_images_come_in_any_encoding(live: Graph, rgb: Image, depth: Image, scale: float) -> None:
    def change(parts: dict[str, Any]) -> None:
        put(parts, roles.RGB, rgb)
        put(parts, roles.DEPTH, depth)

    live.use(depth_scale=scale)
    assert_answers_as_core(live.ask(change=change), decode_rgb(rgb), decode_depth(depth, scale or None), 1e-3)


def test_images_come_compressed_and_one_cut_short_is_refused(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=15.0, rgb_transport="compressed", depth_transport="compressedDepth")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    data = cv2.imencode(".jpg", np.ascontiguousarray(FRAME.rgb[..., ::-1]))[1].tobytes()
    quantisation, farthest = 100.0, 10.0  # inverse depth, as compressed_depth_image_transport writes it
    a = quantisation * (quantisation + 1.0)
    b = 1.0 - a / farthest
    stored = np.where(np.isnan(FRAME.depth), 0, np.nan_to_num(a / FRAME.depth + b)).astype("<u2")
    packed = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", stored)[1].tobytes()
    depth = CompressedImage(format="32FC1; compressedDepth png", data=array.array("B", packed))

    def sent(length: int) -> tuple[CompressedImage, Goal]:
        rgb = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array.array("B", data[:length]))

        def change(parts: dict[str, Any]) -> None:
            put(parts, roles.RGB, rgb, "rgb/image/compressed")
            put(parts, roles.DEPTH, depth, "depth/image/compressedDepth")

        return rgb, graph.ask(change=change)

    graph.assert_refused(sent(len(data) // 2)[1], "INVALID_INPUT", "JPEG")
    rgb, goal = sent(len(data))
    assert_answers_as_core(goal, decode_rgb(rgb), decode_depth(depth), 1e-2)
