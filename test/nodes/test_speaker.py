# SPDX-License-Identifier: Apache-2.0
"""Where the person who speaks is: looked up for words that need it, and nobody else waits for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.resolver import ObservedFrame
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of
from spatial_vlm_ros.types import FrameOfReference, Resolution, RgbdFrame, Transform

assert FRAME.base_T_camera is not None
POSE = FRAME.base_T_camera
PERSON = "person"
MY_LEFT = "grab me the chick to my left of the cup"
MILLISECOND = 1_000_000


def facing_the_robot(x: float = 1.0) -> Transform:
    """A person x metres before the origin of the world, who looks back at it: its left is the world's -y."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[0, 3] = x
    return Transform("world", PERSON, matrix)


def expected(words: str, person: Transform | None, **request: Any) -> Resolution:
    """What the core says with the speaker there."""
    frame: RgbdFrame = FRAME
    if person is not None:
        frame = dataclasses.replace(FRAME, camera_T_speaker=POSE.inverse() @ person)
    return Resolver().resolve(frame, words, DETECTIONS, **request)


def assert_as(goal: Goal, core: Resolution) -> None:
    assert goal.result is not None
    assert goal.name == core.status.value, goal.result.status.message
    assert [target.id for target in goal.result.target] == ([core.target.id] if core.target else [])
    assert goal.result.frame_of_reference == (core.frame_of_reference.value if core.frame_of_reference else "")


@pytest.fixture
def spoken(graph: Graph) -> Graph:
    """A resolver with a speaker that nobody has published yet; patient with its camera, not with the speaker."""
    graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=1.0, speaker_frame=PERSON)
    graph.camera.tf(POSE, static=True)
    return graph


def test_without_the_speaker_others_are_answered_at_once_and_my_left_is_undefined(spoken: Graph) -> None:
    goal = spoken.ask(SENTENCE, FRAME, DETECTIONS)
    assert (goal.name, 2 in goal.stages) == ("OK", False)
    assert goal.result is not None
    assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)
    refused = spoken.ask("grab the chick on my left", FRAME, DETECTIONS)
    assert 2 in refused.stages  # it was waited for
    spoken.ended(refused)
    assert refused.name == "FRAME_UNDEFINED"
    assert refused.result is not None
    assert not refused.result.target


def test_with_a_speaker_my_left_is_his(spoken: Graph) -> None:
    spoken.camera.tf(facing_the_robot(), static=True)
    spoken.heard("/tf_static")
    spoken.until(lambda: PERSON in spoken.resolver._queue.assembler.transforms.frames(), "it is known")  # type: ignore[union-attr]
    left, right = (expected(words, facing_the_robot()) for words in (MY_LEFT, MY_LEFT.replace("left", "right")))
    assert left.target is not None
    assert right.target is not None
    assert left.target.id != right.target.id
    assert left.frame_of_reference is FrameOfReference.SPEAKER
    assert_as(spoken.ask(MY_LEFT, FRAME, DETECTIONS), left)
    assert_as(spoken.ask(MY_LEFT.replace("left", "right"), FRAME, DETECTIONS), right)


def test_the_request_may_name_the_speakers_view(spoken: Graph) -> None:
    spoken.camera.tf(facing_the_robot(), static=True)
    spoken.heard("/tf_static")
    spoken.until(lambda: PERSON in spoken.resolver._queue.assembler.transforms.frames(), "it is known")  # type: ignore[union-attr]
    words = "grab me the chick left of the cup"
    goal = spoken.ask(words, FRAME, DETECTIONS, frame_of_reference="speaker")
    assert_as(goal, expected(words, facing_the_robot(), frame_of_reference="speaker"))


def test_a_speaker_who_walks_is_where_he_was_when_the_image_was_taken(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=10.0, speaker_frame=PERSON)
    graph.camera.tf(POSE, static=True)
    begin = graph.camera.now()
    seen: list[Any] = []
    look_at = graph.resolver._queue._resolver.look_at  # type: ignore[union-attr]

    def noted(frame: RgbdFrame, detections: Any) -> ObservedFrame:
        seen.append(frame)
        return look_at(frame, detections)

    graph.resolver._queue._resolver.look_at = noted  # type: ignore[union-attr,method-assign]

    def walking(parts: dict[str, Any]) -> None:
        stamp = stamp_of(parts[roles.RGB])
        for then in (stamp - 20 * MILLISECOND, stamp + 30 * MILLISECOND):
            graph.camera.tf(facing_the_robot(1.0 + (then - begin) / SECOND), stamp_ns=then)

    graph.ask("grab the chick on my left", FRAME, DETECTIONS, walking, period=0.1)
    (frame,) = seen
    person = facing_the_robot(1.0 + (frame.stamp_ns - begin) / SECOND)
    assert frame.camera_T_speaker is not None
    np.testing.assert_allclose(frame.camera_T_speaker.matrix, (POSE.inverse() @ person).matrix, atol=1e-6)


def test_the_speakers_frame_takes_effect_with_the_next_goal(live: Graph) -> None:
    live.camera.tf(POSE, facing_the_robot(), static=True)
    live.until(lambda: PERSON in live.resolver._queue.assembler.transforms.frames(), "it is known")  # type: ignore[union-attr]
    assert live.ask("grab the chick on my left", FRAME, DETECTIONS).name == "FRAME_UNDEFINED"
    assert live.set(speaker_frame=PERSON)[0]
    words = "grab the chick on my left"
    assert_as(live.ask(words, FRAME, DETECTIONS), expected(words, facing_the_robot()))
