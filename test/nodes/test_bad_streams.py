# SPDX-License-Identifier: Apache-2.0
"""Cameras, detectors, clocks and transforms as they are: silent, late, badly described; and images in any encoding."""

import array
import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from broken_setups import STAMPED, Setup
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from sensor_msgs.msg import CompressedImage, Image
from tables import rows

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb
from spatial_vlm_ros.types import Transform

Change = Callable[[Graph, dict[str, Any]], object]


def ahead(graph: Graph, _: object) -> None:
    graph.camera.tf(Transform("ahead", "mast", np.eye(4)), stamp_ns=graph.camera.now() + SECOND // 2)


@pytest.mark.parametrize(("fault", "change", "status", "words"), rows(__file__, "bad_cameras"))
def test_a_bad_camera_is_refused_with_what_is_wrong_and_the_node_answers_on(
    live: Graph, fault: str, change: str, status: str, words: list[str]
) -> None:
    setup = Setup(live)
    while set(live.camera._publishers) < set(STAMPED):
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
    live.heard()
    live.use(frame_timeout=1.0)
    goal = live.ask(change=lambda parts: setup.does(change, parts), period=0.15)
    live.assert_refused(goal, status, *words)
    live.use(frame_timeout=15.0)
    if "stamps" in fault:
        live.reconfigure()
    live.answer()


def test_a_camera_that_dies_is_named_stream_by_stream_and_frames_of_before_are_not_used(live: Graph) -> None:
    live.answer()
    live.until(lambda: live.targets, "the answer is published")
    live.targets.clear()
    live.use(frame_timeout=0.5)
    streams = "no message on /rgb/image, /depth/image, /detections since the request"
    live.assert_refused(live.send_goal(SENTENCE), "STALE_INPUT", streams)


@pytest.mark.parametrize(
    ("base_frame", "change", "status", "words"),
    [
        ("nowhere", lambda *_: None, "TF_UNAVAILABLE", ("nowhere", "known: ", "lone_camera")),
        ("attic", lambda *_: None, "TF_UNAVAILABLE", ("not connected", "static_transform_publisher")),
        ("ahead", ahead, "STALE_INPUT", ("/tf ahead <- mast is stamped 0.", "ahead of now", "transform_max_ahead")),
    ],
)
def test_a_pose_that_cannot_be_known_is_refused_and_named(
    live: Graph, base_frame: str, change: Change, status: str, words: tuple[str, ...]
) -> None:
    live.use(base_frame=base_frame, transform_timeout=0.2)
    live.camera.tf(
        Transform("attic", "roof", np.eye(4)), Transform("mast", "lone_camera", np.eye(4)), static=True
    )  # fmt: skip
    live.until(lambda: {"roof", "lone_camera"} <= live.poses, "it is known")
    frame = dataclasses.replace(FRAME, frame_id="lone_camera", base_T_camera=None)
    live.assert_refused(live.ask(SENTENCE, frame, change=lambda parts: change(live, parts)), status, *words)
    live.use(base_frame="world", transform_timeout=5.0)
    live.answer()


def test_a_speaker_is_waited_for_only_by_words_that_need_one(live: Graph) -> None:
    words = "grab the chick on my left"
    live.use(speaker_frame="person", transform_timeout=1.0)
    goal = live.ask()
    assert (goal.name, 2 in goal.stages) == ("OK", False)
    refused = live.ask(words)
    assert 2 in refused.stages  # it was waited for
    assert (refused.name, list(refused.result.target)) == ("FRAME_UNDEFINED", [])
    facing = np.diag([-1.0, -1.0, 1.0, 1.0])  # looks back from 1 m before the origin: its left is the world's -y
    facing[0, 3] = 1.0
    person = Transform("world", "person", facing)
    live.camera.tf(person, static=True)
    live.until(lambda: "person" in live.poses, "it is known")
    seen = dataclasses.replace(FRAME, camera_T_speaker=FRAME.base_T_camera.inverse() @ person)
    for said, frame in (
        ("grab me the chick to my left of the cup", ""),
        ("grab me the chick left of the cup", "speaker"),
    ):
        core = Resolver().resolve(seen, said, DETECTIONS, frame or None)
        goal = live.ask(said, frame_of_reference=frame)
        assert (goal.name, goal.result.frame_of_reference) == (core.status.value, "speaker"), goal.message
        assert [target.id for target in goal.result.target] == ([core.target.id] if core.target else [])


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
