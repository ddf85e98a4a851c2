# SPDX-License-Identifier: Apache-2.0
"""Cameras, detectors, clocks and transforms as they are: silent, late, badly described; and images in any encoding."""

import array
import dataclasses
import json
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from broken_setups import STAMPED, Setup
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from sensor_msgs.msg import CompressedImage, Imu
from tables import rows

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb
from spatial_vlm_ros.types import Transform


@pytest.mark.parametrize(("fault", "change", "status", "words"), rows(__file__, "bad_cameras"))
def test_a_bad_camera_is_refused_in_words(live: Graph, fault: str, change: str, status: str, words: list[str]) -> None:
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


def test_an_imu_tells_up_where_no_base_is_known(graph: Graph) -> None:
    graph.start(base_frame="", imu=True, frame_timeout=15.0)
    beside = np.eye(4)
    beside[:3, :3] = FRAME.base_T_camera.rotation.T  # its axes are those of the world
    graph.camera.tf(Transform(FRAME.frame_id, "camera_imu_frame", beside), static=True)

    def change(parts: dict[str, Any]) -> None:
        for before in range(500, -1, -50):  # milliseconds
            stamp_ns = roles.stamp_of(parts[roles.RGB]) - before * 1_000_000
            still = Imu(header=graph.camera.composer.header(stamp_ns, "camera_imu_frame"))
            still.linear_acceleration.z = 9.8
            graph.camera.publish(roles.IMU, still, qos.images("reliable", qos.IMU_DEPTH))

    goal = graph.ask(change=change)
    assert goal.name == "OK", goal.message
    assert json.loads(goal.result.json)["up_from"] == "imu"


def put(parts: dict[str, Any], role: str, message: Any, topic: str = "") -> None:
    """Send a message in the place of another, with its header."""
    message.header = parts.pop(role).header
    parts[topic or role] = message


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
    whole, goal = sent(len(data))
    rgb, metres = decode_rgb(whole), decode_depth(depth)  # nearly what was seen
    assert np.abs(rgb.astype(int) - FRAME.rgb).mean() < 20
    assert np.nanmax(np.abs(metres - FRAME.depth)) < 1e-2
    assert goal.position == pytest.approx(core_position(dataclasses.replace(FRAME, rgb=rgb, depth=metres)), abs=1e-6)
