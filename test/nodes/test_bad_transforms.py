# SPDX-License-Identifier: Apache-2.0
"""The camera's pose: missing, late, interpolated, looked up at another time, or that of a second camera."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

MILLISECOND = 1_000_000
PATIENT = {"base_frame": "world", "frame_timeout": 15.0}
assert FRAME.base_T_camera is not None
POSE = FRAME.base_T_camera


def moved(pose: Transform, *, x: float = 0.0, yaw: float = 0.0) -> Transform:
    """The pose turned about the parent's z, then shifted along its x."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    turn[0, 3] = x
    return Transform(pose.parent, pose.child, turn @ pose.matrix)


def at(pose: Transform) -> Any:
    """Where the core finds the chick with the camera there."""
    return core_position(dataclasses.replace(FRAME, base_T_camera=pose))


def answered(
    graph: Graph, change: Callable[[dict[str, Any]], object] = lambda _: None, frame: RgbdFrame = FRAME
) -> Any:
    """The target's position."""
    goal = graph.ask(SENTENCE, frame, DETECTIONS, change, period=0.1)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    return position(goal.result.target[0])


# ------------------------------------------------------------------------------------------------ missing and late


def test_without_any_transform_the_missing_frame_is_named(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=0.2)
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(goal, "TF_UNAVAILABLE", "world", FRAME.frame_id, "known: none yet")
    graph.camera.tf(POSE, static=True)
    assert answered(graph) == pytest.approx(at(POSE), abs=1e-6)


def test_trees_that_are_not_connected_are_named(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=0.2)
    graph.camera.tf(Transform("map", "world", np.eye(4)), Transform("head", POSE.child, np.eye(4)), static=True)
    graph.heard("/tf_static")
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(goal, "TF_UNAVAILABLE", "not connected", "static_transform_publisher")


def test_a_transform_that_comes_after_the_frame_is_waited_for(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=10.0)
    goal = graph.send_goal(SENTENCE)
    sent: list[int] = []
    graph.feed(lambda: 2 in goal.stages, "it waits for the transform", FRAME, DETECTIONS,
               lambda parts: sent.append(stamp_of(parts[roles.RGB])))  # fmt: skip
    graph.camera.tf(moved(POSE, x=0.0), stamp_ns=sent[0] - 100 * MILLISECOND)
    graph.heard("/tf")
    assert not threading.Event().wait(0.2)  # as late as a busy robot's
    for end in itertools.count(1):
        graph.camera.tf(moved(POSE, x=0.0), stamp_ns=sent[0] - 100 * MILLISECOND)
        graph.camera.tf(moved(POSE, x=1.0), stamp_ns=sent[-1] + 100 * MILLISECOND)
        if goal.result is not None or end > 300:
            break
        threading.Event().wait(0.05)
    graph.ended(goal)
    assert goal.name == "OK"
    assert goal.result is not None
    share = (stamp_of(goal.result) - sent[0] + 100 * MILLISECOND) / (sent[-1] - sent[0] + 200 * MILLISECOND)
    assert position(goal.result.target[0]) == pytest.approx(at(moved(POSE, x=share)), abs=1e-6)


def test_a_transform_that_comes_too_late_is_not_waited_for(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=0.3)
    graph.camera.tf(POSE, stamp_ns=graph.camera.now())
    graph.heard("/tf")
    while graph.resolver._queue.assembler.transforms.frames() == {}:  # type: ignore[union-attr]
        graph.camera.tf(POSE, stamp_ns=graph.camera.now())
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(goal, "TF_UNAVAILABLE", "before the requested stamp", "clocks are synchronised")


def test_transforms_of_a_clock_that_is_ahead_are_refused_with_their_frames_and_offset(graph: Graph) -> None:
    graph.start(**PATIENT)

    def ahead(_: object) -> None:
        graph.camera.tf(POSE, stamp_ns=graph.camera.now() + 500 * MILLISECOND)

    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, ahead)
    edge = f"/tf {POSE.parent} <- {POSE.child} is stamped 0."
    graph.assert_refused(goal, "STALE_INPUT", edge, "ahead of now", "transform_max_ahead")


def test_frames_before_the_first_transform_are_passed_over(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=10.0, transform_max_ahead=10.0)
    graph.camera.tf(Transform("elsewhere", "thing", np.eye(4)), stamp_ns=graph.camera.now())
    graph.heard("/tf")
    goal = graph.send_goal(SENTENCE)
    sent: list[int] = []
    graph.feed(lambda: 2 in goal.stages, "it waits for the transform", FRAME, DETECTIONS,
               lambda parts: sent.append(stamp_of(parts[roles.RGB])))  # fmt: skip
    begins = sent[-1] + MILLISECOND
    for ahead in (0, 5_000 * MILLISECOND):
        graph.camera.tf(moved(POSE, x=0.5), stamp_ns=begins + ahead)
    graph.feed(lambda: goal.result is not None, "the result is there", FRAME, DETECTIONS)
    assert goal.name == "OK", goal.result and goal.result.status.message
    assert goal.result is not None
    assert stamp_of(goal.result) >= begins


def test_where_all_frames_lie_before_the_first_transform_it_is_said(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=0.5, transform_timeout=10.0)
    ahead = graph.camera.now() + 60_000 * MILLISECOND
    graph.camera.tf(POSE, stamp_ns=ahead)
    graph.heard("/tf")
    while graph.resolver._queue.assembler.transforms.frames() == {}:  # type: ignore[union-attr]
        graph.camera.tf(POSE, stamp_ns=ahead)
    graph.assert_refused(
        graph.ask(SENTENCE, FRAME, DETECTIONS), "TF_UNAVAILABLE", "oldest sample", "after the requested stamp"
    )


def test_a_broken_transform_is_not_used(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=0.2)
    message = graph.camera.composer.tf_message([graph.camera.composer.transform_stamped(POSE, 0)])
    message.transforms[0].transform.rotation.w = 5.0
    from spatial_vlm_ros.nodes import qos

    graph.camera.publish("/tf_static", message, qos.STATIC_TRANSFORMS)
    graph.heard("/tf_static")
    graph.assert_refused(graph.ask(SENTENCE, FRAME, DETECTIONS), "TF_UNAVAILABLE")


# ------------------------------------------------------------------------------------------------ moving cameras


def test_the_pose_is_that_at_the_images_stamp_while_the_camera_moves(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=10.0)
    begin = graph.camera.now()
    speed = 0.2  # m/s and rad/s

    def pose(stamp_ns: int) -> Transform:
        way = speed * (stamp_ns - begin) * 1e-9
        return moved(POSE, x=way, yaw=way)

    def moving(parts: dict[str, Any]) -> None:
        stamp = stamp_of(parts[roles.RGB])
        graph.camera.tf(pose(stamp - 20 * MILLISECOND), stamp_ns=stamp - 20 * MILLISECOND)
        graph.camera.tf(pose(stamp + 30 * MILLISECOND), stamp_ns=stamp + 30 * MILLISECOND)

    for _ in range(2):
        goal = graph.ask(SENTENCE, FRAME, DETECTIONS, moving, period=0.1)
        assert goal.result is not None
        assert goal.name == "OK", goal.result.status.message
        expected = at(pose(stamp_of(goal.result)))
        assert position(goal.result.target[0]) == pytest.approx(expected, abs=1e-4)  # a chord of 50 ms of the arc


def test_depth_of_another_time_is_moved_through_the_fixed_frame(graph: Graph) -> None:
    """The base drives; colour is taken 10 ms after depth. Without the fixed frame the answer would be beside it."""
    graph.start(**PATIENT, transform_timeout=10.0, fixed_frame="odom")
    graph.camera.tf(POSE, static=True)
    begin, speed = graph.camera.now(), 2.0

    def odometry(stamp_ns: int) -> Transform:
        matrix = np.eye(4)
        matrix[0, 3] = speed * (stamp_ns - begin) * 1e-9
        return Transform("odom", "world", matrix)

    lag = 10 * MILLISECOND

    def driving(parts: dict[str, Any]) -> None:
        stamp = stamp_of(parts[roles.RGB])
        for offset in (-30 * MILLISECOND, 30 * MILLISECOND):
            graph.camera.tf(odometry(stamp + offset), stamp_ns=stamp + offset)
        parts[roles.DEPTH].header = graph.camera.composer.header(stamp - lag, FRAME.frame_id)

    found = answered(graph, driving)
    shift = np.eye(4)
    shift[0, 3] = -speed * lag * 1e-9
    base_T_then = Transform("world", "then", shift @ POSE.matrix)  # where depth was taken, seen from the base now
    depth = register_depth(FRAME.depth, FRAME.camera, FRAME.camera, POSE.inverse() @ base_T_then)
    assert found == pytest.approx(core_position(dataclasses.replace(FRAME, depth=depth)), abs=2e-4)
    assert abs(found[0] - at(POSE)[0]) > 0.01


# ------------------------------------------------------------------------------------------------ two cameras


def depth_camera() -> tuple[PinholeCamera, Transform, np.ndarray[Any, Any]]:
    """A second camera 2 cm to the right of colour's, its pose in colour's, and what it measures of the scene."""
    camera = PinholeCamera(np.array([[500.0, 0, 300], [0, 500, 240], [0, 0, 1]]), 600, 480)
    matrix = np.eye(4)
    matrix[0, 3] = 0.02
    rgb_T_depth = Transform(FRAME.frame_id, "depth_optical_frame", matrix)
    return camera, rgb_T_depth, register_depth(FRAME.depth, FRAME.camera, camera, rgb_T_depth.inverse())


def test_depth_of_its_own_camera_is_registered_by_its_info_and_its_place(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=10.0, depth_registered=False)
    camera, rgb_T_depth, depth = depth_camera()
    graph.camera.tf(POSE, rgb_T_depth, static=True)

    def own(parts: dict[str, Any]) -> None:
        header = graph.camera.composer.header(stamp_of(parts[roles.RGB]), "depth_optical_frame")
        parts[roles.DEPTH] = graph.camera.composer.image_depth(depth, header)
        parts[roles.DEPTH_INFO] = graph.camera.composer.camera_info(camera, header)

    found = answered(graph, own)
    registered = register_depth(depth, camera, FRAME.camera, rgb_T_depth)
    assert found == pytest.approx(core_position(dataclasses.replace(FRAME, depth=registered)), abs=1e-6)
    assert found == pytest.approx(core_position(), abs=0.02)


def test_without_the_depth_cameras_info_nothing_is_measured(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=1.0, depth_registered=False)
    graph.camera.tf(POSE, static=True)
    graph.camera.send(graph.camera.parts(FRAME, DETECTIONS, graph.camera.now()))
    graph.heard()
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    graph.assert_refused(goal, "INVALID_INPUT", "depth/camera_info", "no message")


def test_without_the_place_of_the_depth_camera_nothing_is_measured(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=0.2, depth_registered=False)
    camera, _, depth = depth_camera()
    graph.camera.tf(POSE, static=True)

    def own(parts: dict[str, Any]) -> None:
        header = graph.camera.composer.header(stamp_of(parts[roles.RGB]), "depth_optical_frame")
        parts[roles.DEPTH] = graph.camera.composer.image_depth(depth, header)
        parts[roles.DEPTH_INFO] = graph.camera.composer.camera_info(camera, header)

    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, own)
    graph.assert_refused(goal, "TF_UNAVAILABLE", "depth_optical_frame")


# ------------------------------------------------------------------------------------------------ intrinsics


def test_raw_topics_follow_k_and_d(live: Graph) -> None:
    bent = PinholeCamera(FRAME.camera.K, 640, 480, "plumb_bob", (0.08, -0.05, 0.001, -0.001, 0.0))
    frame = dataclasses.replace(FRAME, camera=bent)
    found = answered(live, frame=frame)
    assert found == pytest.approx(core_position(frame), abs=1e-6)
    assert found != pytest.approx(core_position(), abs=1e-6)


def test_rectified_topics_follow_p(graph: Graph) -> None:
    graph.start(**PATIENT, transform_timeout=5.0, rectified=True)
    graph.camera.tf(POSE, static=True)

    def rectified(parts: dict[str, Any]) -> None:
        info = parts[roles.RGB_INFO]
        info.k = [k * 0.9 if k > 1 else k for k in info.k]  # of the raw image: another one
        info.d = [0.2, -0.1, 0.0, 0.0, 0.0]

    assert answered(graph, rectified) == pytest.approx(core_position(), abs=1e-6)


def test_a_region_of_interest_and_binning_move_the_intrinsics(live: Graph) -> None:
    """The sensor is larger than the image: 1480x1120 pixels, cropped by 100 and 80, two by two binned."""

    def cropped(parts: dict[str, Any]) -> None:
        info = parts[roles.RGB_INFO]
        fx, _, cx, _, fy, cy = list(info.k)[:6]
        info.width, info.height = 1480, 1120
        info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 80, 1280, 960
        info.binning_x = info.binning_y = 2
        info.k = [2 * fx, 0.0, 2 * cx + 100, 0.0, 2 * fy, 2 * cy + 80, 0.0, 0.0, 1.0]

    assert answered(live, cropped) == pytest.approx(core_position(), abs=1e-6)


def test_the_frame_of_reference_of_the_robot_needs_its_base(graph: Graph) -> None:
    """What the node answers in the robot's frame is what the core answers."""
    graph.start(**PATIENT, transform_timeout=5.0, frame_of_reference="robot")
    graph.camera.tf(POSE, static=True)
    words = "grab me the chick left of the cup"
    expected = Resolver().resolve(FRAME, words, DETECTIONS, "robot")
    goal = graph.ask(words, FRAME, DETECTIONS)
    assert goal.name == expected.status.value
    assert goal.result is not None
    assert goal.result.frame_of_reference == "robot"
