# SPDX-License-Identifier: Apache-2.0
"""Cameras and detectors as they are: silent, late, unstamped, unsynchronised, badly described. No pose comes of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.types import PinholeCamera

INPUTS = (roles.RGB, roles.DEPTH, roles.DETECTIONS)
STAMPED = (*INPUTS, roles.RGB_INFO)


@pytest.fixture
def impatient(graph: Graph) -> Graph:
    """A resolver that hears the camera, and refuses after a second without a complete frame."""
    graph.start(base_frame="world", frame_timeout=1.0)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    while set(graph.camera._publishers) < set(STAMPED):
        graph.camera.send(graph.camera.parts(FRAME, DETECTIONS, graph.camera.now()))
    graph.heard()
    return graph


def assert_recovers(graph: Graph) -> None:
    """With a good camera the next goal is answered."""
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message


def restamped(parts: dict[str, Any], shift_ns: int, only: tuple[str, ...] = STAMPED) -> None:
    """Move the stamps of some messages."""
    for role in only:
        header = parts[role].header
        stamp = max(0, roles.stamp_of(parts[role]) + shift_ns)
        parts[role].header = type(header)(stamp=messages.time_of(stamp), frame_id=header.frame_id)


# ------------------------------------------------------------------------------------------------ silence


@pytest.mark.parametrize("silent", INPUTS)
def test_a_silent_stream_is_named(impatient: Graph, silent: str) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: parts.pop(silent))
    impatient.assert_refused(goal, "STALE_INPUT", f"no message on /{silent} since the request")
    assert_recovers(impatient)


def test_a_silent_camera_is_named_stream_by_stream(impatient: Graph) -> None:
    goal = impatient.send_goal(SENTENCE)
    impatient.assert_refused(goal, "STALE_INPUT", *INPUTS, "since the request")
    assert_recovers(impatient)


def test_a_camera_that_dies_after_answers_is_named(impatient: Graph) -> None:
    assert_recovers(impatient)
    impatient.targets.clear()
    impatient.assert_refused(impatient.send_goal(SENTENCE), "STALE_INPUT", "no message on /rgb/image")


def test_a_publisher_that_cannot_be_heard_is_named_with_its_policy_and_fix(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=1.5, reliability="reliable")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    parts = graph.camera.parts(FRAME, DETECTIONS, graph.camera.now())
    graph.camera.publish(roles.DEPTH, parts[roles.DEPTH], qos.images("best_effort"))
    graph.until(lambda: graph.resolver._queue.unheard, "the node notices")  # type: ignore[union-attr]
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(
        goal, "STALE_INPUT", "depth/image", "offers a different QoS reliability", "set reliability: best_effort"
    )


# ------------------------------------------------------------------------------------------------ stamps


def test_stamps_too_far_apart_are_not_synchronised(impatient: Graph) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda p: restamped(p, 24_000_000, (roles.DEPTH,)), period=0.15)
    impatient.assert_refused(goal, "NOT_SYNCHRONISED", "0.024 s apart", "0.02 s", "sync_slop")
    assert_recovers(impatient)


def test_stamps_within_the_slop_are_synchronised(live: Graph) -> None:
    goal = live.ask(SENTENCE, FRAME, DETECTIONS, lambda p: restamped(p, 15_000_000, (roles.DEPTH,)), period=0.1)
    assert goal.name == "OK"


def test_detections_of_other_images_are_not_used(impatient: Graph) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda p: restamped(p, 1, (roles.DETECTIONS,)))
    impatient.assert_refused(goal, "NOT_SYNCHRONISED", "detections")
    assert_recovers(impatient)


def test_the_same_frame_sent_twice_is_answered_once(live: Graph) -> None:
    goal = live.ask(SENTENCE, FRAME, DETECTIONS, live.camera.send)
    assert goal.name == "OK"
    assert_recovers(live)
    live.until(lambda: len(live.answers) == 2, "both answers are published")
    assert len(live.targets) == 2


def test_frames_without_stamp_are_stale(impatient: Graph) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: restamped(parts, -(1 << 62)))
    impatient.assert_refused(goal, "STALE_INPUT", "have no stamp", "header.stamp")
    assert_recovers(impatient)


@pytest.mark.parametrize(
    ("shift_s", "words"), [(-5, (" s behind its arrival", "max_behind")), (100, (" s ahead of now", "max_ahead"))]
)
def test_frames_of_a_wrong_clock_are_stale_by_so_much(impatient: Graph, shift_s: int, words: tuple[str, ...]) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: restamped(parts, shift_s * SECOND))
    impatient.assert_refused(goal, "STALE_INPUT", "/image is stamped ", *words, "chrony, PTP", "time domain")
    assert goal.result is not None
    off = float(goal.result.status.message.split("is stamped ")[1].split(" s")[0])
    assert off == pytest.approx(abs(shift_s), abs=1.0)
    assert_recovers(impatient)


def test_detections_of_another_camera_are_refused_with_both_frames(impatient: Graph) -> None:
    def elsewhere(parts: dict[str, Any]) -> None:
        stamp_ns = roles.stamp_of(parts[roles.DETECTIONS])
        parts[roles.DETECTIONS].header = impatient.camera.composer.header(stamp_ns, "left_optical_frame")

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, elsewhere)
    impatient.assert_refused(goal, "INVALID_INPUT", "left_optical_frame", FRAME.frame_id)
    assert_recovers(impatient)


def test_frames_from_before_the_request_are_not_used(impatient: Graph) -> None:
    before = impatient.camera.parts(FRAME, DETECTIONS, impatient.camera.now())
    impatient.camera.send(before)
    impatient.assert_refused(impatient.send_goal(SENTENCE), "STALE_INPUT")


# ------------------------------------------------------------------------------------------------ camera info


def test_without_camera_info_nothing_is_measured(impatient: Graph) -> None:
    impatient.change(4)  # deactivate
    impatient.change(2)  # clean up: the info that was heard is forgotten
    impatient.change(1)
    impatient.change(3)
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: parts.pop(roles.RGB_INFO))
    impatient.assert_refused(goal, "INVALID_INPUT", "rgb/camera_info", "no message")
    assert_recovers(impatient)


def test_an_uncalibrated_camera_is_refused(impatient: Graph) -> None:
    def uncalibrated(parts: dict[str, Any]) -> None:
        parts[roles.RGB_INFO].k = [0.0] * 9

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, uncalibrated)
    impatient.assert_refused(goal, "INVALID_INPUT", "K[0] = 0", "calibrate")
    assert_recovers(impatient)


def test_camera_info_of_another_size_is_refused(impatient: Graph) -> None:
    half = PinholeCamera(np.array([[305.0, 0, 160], [0, 305, 120], [0, 0, 1]]), 320, 240)

    def halved(parts: dict[str, Any]) -> None:
        parts[roles.RGB_INFO] = impatient.camera.composer.camera_info(half, parts[roles.RGB].header)

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, halved)
    impatient.assert_refused(goal, "INVALID_INPUT", "640x480", "320x240")
    assert_recovers(impatient)


def test_depth_of_another_size_is_refused(impatient: Graph) -> None:
    def halved(parts: dict[str, Any]) -> None:
        header = parts[roles.DEPTH].header
        parts[roles.DEPTH] = impatient.camera.composer.image_depth(np.ascontiguousarray(FRAME.depth[::2, ::2]), header)

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, halved)
    impatient.assert_refused(goal, "INVALID_INPUT", "depth image", "320x240", "640x480")


def test_the_pose_follows_the_camera_info_of_its_own_frame(live: Graph) -> None:
    """A zoom lens: every other image is taken with a longer focal length. The info comes last."""
    zoomed = PinholeCamera(np.diag([1.02, 1.02, 1.0]) @ FRAME.camera.K, 640, 480)
    expected = {
        camera.K[0, 0]: core_position(dataclasses.replace(FRAME, camera=camera)) for camera in (FRAME.camera, zoomed)
    }
    assert np.linalg.norm(np.subtract(*expected.values())) > 1e-3
    shown: dict[int, PinholeCamera] = {}

    def zooming(parts: dict[str, Any]) -> None:
        camera = (FRAME.camera, zoomed)[len(shown) % 2]
        info = live.camera.composer.camera_info(camera, parts[roles.RGB].header)
        shown[roles.stamp_of(info)] = camera
        del parts[roles.RGB_INFO]
        parts[roles.RGB_INFO] = info

    seen = set()
    for _ in range(12):
        goal = live.ask(SENTENCE, FRAME, DETECTIONS, zooming, period=0.03)
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message
        focal = shown[roles.stamp_of(goal.result)].K[0, 0]
        assert position(goal.result.target[0]) == pytest.approx(expected[focal], abs=1e-6)
        seen.add(focal)
        if len(seen) == 2:
            break


def test_camera_info_that_is_sent_once_holds(live: Graph) -> None:
    parts = live.camera.parts(FRAME, DETECTIONS, live.camera.now())
    live.camera.publish(roles.RGB_INFO, parts[roles.RGB_INFO])
    live.heard(roles.RGB_INFO)

    def come() -> bool:
        live.camera.publish(roles.RGB_INFO, parts[roles.RGB_INFO])
        return bool(live.resolver._queue.assembler.streams[roles.RGB_INFO].received)  # type: ignore[union-attr]

    live.until(come, "it has come")
    for slop in (0.02, 0.03, 0.04):
        assert live.set(sync_slop=slop)[0]  # other buffers, the same info
        goal = live.ask(SENTENCE, FRAME, DETECTIONS, lambda p: p.pop(roles.RGB_INFO))
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message


# ------------------------------------------------------------------------------------------------ damage


def test_depth_in_another_frame_is_not_registered(impatient: Graph) -> None:
    def elsewhere(parts: dict[str, Any]) -> None:
        header = impatient.camera.composer.header(roles.stamp_of(parts[roles.DEPTH]), "depth_optical_frame")
        parts[roles.DEPTH].header = header

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, elsewhere)
    impatient.assert_refused(goal, "INVALID_INPUT", "depth_optical_frame", "depth_registered: false")


@pytest.mark.parametrize(
    ("role", "field", "value", "word"),
    [
        (roles.RGB, "encoding", "strange8", "strange8"),
        (roles.RGB, "step", 3, "step"),
        (roles.RGB, "height", 0, "size"),
        (roles.RGB, "height", 4_000_000_000, "size"),
        (roles.DEPTH, "encoding", "mono8", "unit"),
        (roles.DEPTH, "height", 481, "data"),
        (roles.DETECTIONS, "image_width", 1280, "image of the detections"),
        (roles.RGB_INFO, "distortion_model", "magic", "magic"),
    ],
)
def test_damaged_messages_are_refused_and_the_node_answers_on(
    impatient: Graph, role: str, field: str, value: Any, word: str
) -> None:
    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: setattr(parts[role], field, value))
    impatient.assert_refused(goal, "INVALID_INPUT", word)
    assert_recovers(impatient)


def test_a_mask_outside_of_the_image_is_refused(impatient: Graph) -> None:
    def outside(parts: dict[str, Any]) -> None:
        parts[roles.DETECTIONS].detections[0].mask_x = 639

    impatient.assert_refused(impatient.ask(SENTENCE, FRAME, DETECTIONS, outside), "INVALID_INPUT", "detections[0]")
    assert_recovers(impatient)


def test_an_image_without_frame_is_refused(impatient: Graph) -> None:
    def nameless(parts: dict[str, Any]) -> None:
        parts[roles.RGB].header = impatient.camera.composer.header(roles.stamp_of(parts[roles.RGB]), "")

    impatient.assert_refused(impatient.ask(SENTENCE, FRAME, DETECTIONS, nameless), "INVALID_INPUT", "frame")
    assert_recovers(impatient)


def test_an_image_without_depth_is_no_measurement(impatient: Graph) -> None:
    def blind(parts: dict[str, Any]) -> None:
        header = parts[roles.DEPTH].header
        parts[roles.DEPTH] = impatient.camera.composer.image_depth(np.full_like(FRAME.depth, np.nan), header)

    goal = impatient.ask(SENTENCE, FRAME, DETECTIONS, blind)
    impatient.assert_refused(goal, "DEPTH_INVALID")


def test_an_image_in_which_nothing_was_found_is_not_waited_out(impatient: Graph) -> None:
    impatient.assert_refused(impatient.ask(SENTENCE, FRAME, ()), "NOT_FOUND")
