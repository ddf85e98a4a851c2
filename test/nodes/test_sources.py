# SPDX-License-Identifier: Apache-2.0
"""Nobody who publishes an input beside its publisher makes an answer; honest restarts do no harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import rclpy
from live_graph import Camera, Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from waiting import until

from spatial_vlm_ros.nodes.liveliness import endpoints_of
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.types import Transform

POSE = FRAME.base_T_camera
ASIDE = Transform(POSE.parent, POSE.child, POSE.matrix + np.eye(4, k=3) * 0.30)  # 0.30 m along x
SWAPPED = tuple(replace(one, label=other.label) for one, other in zip(DETECTIONS, DETECTIONS[::-1], strict=True))
NAMES = POSE.parent, POSE.child
Forge = Callable[[Camera, dict[str, Any]], None]


def newcomer(graph: Graph, name: str = "stranger") -> Camera:
    return Camera(graph.spin(lambda context: rclpy.create_node(name, context=context)))


def gone(graph: Graph, camera: Camera) -> None:
    name = camera.node.get_name()
    graph.leave(camera.node)
    graph.until(lambda: name not in graph.resolver.get_node_names(), f"{name} has gone")


def assert_named(goal: Goal, *words: str) -> None:
    assert (goal.name, list(goal.result.target)) == ("SOURCE_CHANGED", []), goal.message
    assert [word for word in words if word not in goal.message] == [], goal.message


def forged(role: str) -> Forge:
    """The message of a role as the driver's, sent by another node before the driver does; detections name others."""
    return lambda camera, parts: camera.send(
        {role: camera.parts(FRAME, SWAPPED, roles.stamp_of(parts[roles.RGB]))[role]}
    )


def aside(static: bool) -> Forge:
    return lambda camera, _: camera.tf(ASIDE, stamp_ns=camera.now(), static=static)


@pytest.mark.parametrize(
    ("what", "forge"),
    [
        pytest.param("/tf", aside(static=True), id="a transform of 0.30 m"),
        pytest.param("/tf", aside(static=False), id="a moving transform"),
        pytest.param("/detections", forged(roles.DETECTIONS), id="detections that come first"),
        pytest.param("/rgb/camera_info", forged(roles.RGB_INFO), id="camera info"),
    ],
)
def test_a_stranger_after_the_goal_began_is_named_and_moves_no_answer(live: Graph, what: str, forge: Forge) -> None:
    """Nor after it has gone: what it latched is refused until the right publisher says it again."""
    live.answer()
    goal = live.send_goal(SENTENCE)
    live.until(lambda: goal.stages, "it waits for a frame")
    assert live.desk.frames.sources.names_messages
    stranger = newcomer(live)

    def send() -> None:
        forge(stranger, live.camera.parts(FRAME, DETECTIONS, live.camera.now()))

    until(lambda: goal.result is not None, "it ends", meanwhile=send, period=0.05)
    assert_named(goal, what, "/test")
    assert re.search(r"comes from (/stranger|a node of unknown name)", goal.message)
    gone(live, stranger)
    if what == "/tf":
        again = live.ask(change=lambda _: None, period=0.2)
        assert again.name in ("SOURCE_CHANGED", "TF_UNAVAILABLE"), again.message
        live.camera.tf(POSE, static=True)
        live.until(lambda: live.desk.assembler.transforms.lookup(*NAMES).matrix[0, 3] == POSE.matrix[0, 3], "heard")
    assert live.ask().position == pytest.approx(core_position(), abs=0.01)


def test_two_publishers_when_a_goal_begins_are_both_named(live: Graph) -> None:
    live.answer()
    second = newcomer(live, "second")
    forge = partial(forged(roles.DETECTIONS), second)
    live.feed(lambda: "/second" in endpoints_of(live.resolver, "/detections").values(), "both there", change=forge)
    goal = live.ask(change=forge)
    assert_named(goal, "/detections has 2 publishers: /second, /test", "Stop the wrong one")
    gone(live, second)
    assert live.ask().position == pytest.approx(core_position(), abs=0.01)


def test_honest_changes_are_not_refused(live: Graph) -> None:
    """A driver that is replaced between goals; nodes that come and go on TF with other frames, or say the same."""
    driver = newcomer(live, "driver")
    own, live.camera = live.camera, driver
    own_images = [own._publishers.pop(role) for role in list(own._publishers) if not role.startswith("/tf")]
    for publisher in own_images:
        live.remove(publisher)
    live.answer()
    live.camera = own
    gone(live, driver)
    live.answer()

    goal = live.send_goal(SENTENCE)
    live.until(lambda: goal.stages, "it waits for a frame")
    other = newcomer(live, "other")
    other.tf(POSE, Transform("world", "shelf", np.eye(4)), static=True)

    box = Transform("shelf", "box", np.eye(4))
    until(lambda: {"shelf", "box"} <= live.poses, "heard", meanwhile=lambda: other.tf(box, stamp_ns=other.now()))
    live.feed(lambda: goal.result is not None, "it ends")
    assert goal.name == "OK", goal.message
    gone(live, other)
    live.answer()
