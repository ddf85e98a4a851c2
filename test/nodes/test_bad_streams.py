# SPDX-License-Identifier: Apache-2.0
"""Cameras, detectors, clocks and transforms as they are: silent, late, badly described. No pose comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.types import PinholeCamera, Transform

STAMPED = (roles.RGB, roles.DEPTH, roles.DETECTIONS, roles.RGB_INFO)
Change = Callable[[Graph, dict[str, Any]], object]


def headed(role: str, frame_id: str) -> Change:
    """Another frame id."""

    def change(graph: Graph, parts: dict[str, Any]) -> None:
        parts[role].header = graph.camera.composer.header(roles.stamp_of(parts[role]), frame_id)

    return change


def restamped(shift_ns: int, *only: str) -> Change:
    """Stamps of some messages are moved."""

    def change(_: Graph, parts: dict[str, Any]) -> None:
        for role in only or STAMPED:
            header = parts[role].header
            stamp = max(0, roles.stamp_of(parts[role]) + shift_ns)
            parts[role].header = type(header)(stamp=messages.time_of(stamp), frame_id=header.frame_id)

    return change


def uncalibrated(_: Graph, parts: dict[str, Any]) -> None:
    parts[roles.RGB_INFO].k = [0.0] * 9


def info_of_half(graph: Graph, parts: dict[str, Any]) -> None:
    half = PinholeCamera(np.array([[305.0, 0, 160], [0, 305, 120], [0, 0, 1]]), 320, 240)
    parts[roles.RGB_INFO] = graph.camera.composer.camera_info(half, parts[roles.RGB].header)


def half_depth(graph: Graph, parts: dict[str, Any]) -> None:
    depth = np.ascontiguousarray(FRAME.depth[::2, ::2])
    parts[roles.DEPTH] = graph.camera.composer.image_depth(depth, parts[roles.DEPTH].header)


def ahead(graph: Graph, _: object) -> None:
    """A transform of a clock that is ahead."""
    graph.camera.tf(Transform("ahead", "mast", np.eye(4)), stamp_ns=graph.camera.now() + SECOND // 2)


CAMERAS: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "silent depth": (lambda _, parts: parts.pop(roles.DEPTH), "STALE_INPUT",
                     ("no message on /depth/image since the request",)),
    "no stamps": (restamped(-(1 << 62)), "STALE_INPUT", ("have no stamp", "header.stamp")),
    "stamps behind": (restamped(-5 * SECOND), "STALE_INPUT",
                      ("/image is stamped 5.", " s behind its arrival", "max_behind", "chrony, PTP", "time domain")),
    "stamps ahead": (restamped(2 * SECOND), "STALE_INPUT",
                     ("/image is stamped ", " s ahead of now", "max_ahead", "chrony, PTP", "time domain")),
    "stamps apart": (restamped(24_000_000, roles.DEPTH), "NOT_SYNCHRONISED", ("0.024 s apart", "0.02 s", "sync_slop")),
    "detections of other images": (restamped(1, roles.DETECTIONS), "NOT_SYNCHRONISED", ("detections",)),
    "detections of another camera": (headed(roles.DETECTIONS, "left_optical_frame"), "INVALID_INPUT",
                                     ("left_optical_frame", FRAME.frame_id)),
    "an uncalibrated camera": (uncalibrated, "INVALID_INPUT", ("K[0] = 0", "calibrate")),
    "info of another size": (info_of_half, "INVALID_INPUT", ("640x480", "320x240")),
    "depth of another size": (half_depth, "INVALID_INPUT", ("depth image", "320x240", "640x480")),
    "depth of another frame": (headed(roles.DEPTH, "depth_optical_frame"), "INVALID_INPUT",
                               ("depth_optical_frame", "depth_registered: false")),
    "an image without frame": (headed(roles.RGB, ""), "INVALID_INPUT", ("frame",)),
    "a damaged image": (lambda _, parts: setattr(parts[roles.RGB], "encoding", "strange8"), "INVALID_INPUT",
                        ("strange8",)),
    "a mask outside of the image": (lambda _, parts: setattr(parts[roles.DETECTIONS].detections[0], "mask_x", 639),
                                    "INVALID_INPUT", ("detections[0]",)),
}  # fmt: skip


@pytest.mark.parametrize("fault", CAMERAS)
def test_a_bad_camera_is_refused_with_what_is_wrong_and_the_node_answers_on(live: Graph, fault: str) -> None:
    change, status, words = CAMERAS[fault]
    while set(live.camera._publishers) < set(STAMPED):
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
    live.heard()
    live.use(frame_timeout=1.0)
    goal = live.ask(change=lambda parts: change(live, parts), period=0.15)
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


def test_an_image_in_which_nothing_was_found_is_not_waited_out(live: Graph) -> None:
    live.assert_refused(live.ask(SENTENCE, FRAME, ()), "NOT_FOUND")


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
    left, right = ("grab me the chick to my left of the cup", "grab me the chick to my right of the cup")
    plain = "grab me the chick left of the cup"
    found = []
    for said, frame in ((words, ""), (left, ""), (right, ""), (plain, "speaker")):
        core = Resolver().resolve(seen, said, DETECTIONS, frame or None)
        goal = live.ask(said, frame_of_reference=frame)
        assert goal.name == core.status.value, goal.message
        assert [target.id for target in goal.result.target] == ([core.target.id] if core.target else [])
        assert goal.result.frame_of_reference == "speaker"
        found.append(goal.result.target[0].id if goal.result.target else "")
    assert found[1] != found[2]
