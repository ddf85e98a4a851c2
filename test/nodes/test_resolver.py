# SPDX-License-Identifier: Apache-2.0
"""The resolver node answers from live topics."""

import json
import time
from typing import Any

import numpy as np
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_answer, core_position, position
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import Marker

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import Transform

OF_ITS_TIME = ("ms", "timings_ms", "stamp_ns", "dialogue_id")  # of another stamp, another dialogue


def test_an_answer_is_that_of_the_core_stamped_as_its_image_on_every_topic(live: Graph) -> None:
    sent: list[int] = []
    goal = live.ask(change=lambda parts: sent.append(stamp_of(parts[roles.RGB])))
    assert goal.position == pytest.approx(core_position(), abs=1e-6)
    result, expected = goal.result, core_answer().target
    target, stamp = result.target[0], stamp_of(result)
    found = target.pose.pose.orientation
    assert (found.x, found.y, found.z, found.w) == pytest.approx(expected.pose.orientation, abs=1e-6)
    assert tuple(target.pose.covariance) == pytest.approx(expected.covariance, abs=1e-9)
    assert (target.id, result.header.frame_id, len(result.targets)) == ("bonnet", "world", 0)
    around = json.loads(goal.surroundings)
    assert around["all_objects"] is True
    assert around["surface"]["high"] > around["surface"]["low"]
    assert stamp in sent

    live.until(lambda: live.answers and live.targets and live.markers, "all topics have the answer")
    assert live.answers == [result]
    assert [stamp_of(each) for each in live.targets] == [stamp]
    assert live.targets[0].pose == target.pose
    kinds = [marker.type for marker in live.markers[0].markers if marker.action == Marker.ADD]
    assert kinds == [Marker.CUBE, Marker.ARROW, Marker.TEXT_VIEW_FACING]
    assert {stamp_of(marker) for marker in live.markers[0].markers} == {stamp}


def test_an_answer_is_drawn_into_its_image(live: Graph) -> None:
    images: list[Image] = []
    live.node.create_subscription(Image, "annotated/image", images.append, qos.IMAGES)
    name = live.node.resolve_topic_name("annotated/image")
    live.until(lambda: live.resolver.count_subscribers(name), "somebody wants pictures")
    while not images:  # the first may have been drawn before the subscription was matched
        stamp = stamp_of(live.answer())
    live.until(lambda: stamp_of(images[-1]) == stamp, "the last answer is drawn")
    image = images[-1]
    assert (image.encoding, image.header.frame_id) == ("rgb8", FRAME.frame_id)
    drawn = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    drawn = drawn[:480, :640]  # the view from above stands beside it, and words below
    assert 0.5 < (drawn == FRAME.rgb).all(axis=2).mean() < 1.0


def test_the_json_of_an_answer_is_that_of_the_command_line(live: Graph) -> None:
    result = live.answer()
    alone = Resolver().look_at(FRAME, DETECTIONS, UNMEASURED).ask(SENTENCE).resolution
    got, expected = json.loads(result.json), json.loads(json.dumps(resolution_json(alone)))
    assert got["stamp_ns"] == stamp_of(result)
    assert set(got) == set(expected)
    same = set(got) - set(OF_ITS_TIME)
    assert_alike({key: got[key] for key in same}, {key: expected[key] for key in same})


def assert_alike(got: Any, expected: Any) -> None:
    """Equal to within what a rotation loses as a quaternion."""
    if isinstance(expected, dict):
        assert set(got) == set(expected)
        for key in expected:
            assert_alike(got[key], expected[key])
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_alike(one, other)
    else:
        assert got == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_a_refusal_ends_aborted_with_its_reason_and_without_a_pose(live: Graph) -> None:
    goal = live.ask("grab me the chick")
    live.assert_refused(goal, "AMBIGUOUS", "bonnet", "ribbon")
    assert goal.result.question
    assert goal.result.dialogue_id
    assert goal.result.header.frame_id == FRAME.frame_id
    assert stamp_of(goal.result) > 0
    assert live.answer().target, "the next goal is answered"


def test_an_instruction_by_topic_is_answered_by_topic(live: Graph) -> None:
    live.camera.publish("instruction", String(data=SENTENCE), qos.INSTRUCTIONS)
    live.heard("instruction")
    live.camera.publish("instruction", String(data=SENTENCE), qos.INSTRUCTIONS)
    live.feed(lambda: live.targets, "the target is published")
    live.until(lambda: any(answer.status.name == "OK" for answer in live.answers), "the answer is published")
    assert position(live.targets[0]) == pytest.approx(core_position(), abs=1e-6)


def test_the_goal_is_told_what_it_waits_for(live: Graph) -> None:
    live.use(base_frame="late", transform_timeout=10.0)
    goal = live.send_goal(SENTENCE)
    live.until(lambda: goal.stages == [1], "it waits for a frame")
    live.feed(lambda: 2 in goal.stages, "it waits for the transform")
    live.camera.tf(Transform("late", "world", np.eye(4)), static=True)
    live.ended(goal)
    live.until(lambda: goal.stages == [1, 2, 3], "it resolves")
    assert goal.name == "OK"
    assert goal.result.header.frame_id == "late"


def test_a_goal_just_after_the_start_is_answered_although_images_come_long_before_tf(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=0.5)
    goal = graph.send_goal(SENTENCE)
    graph.feed(lambda: 2 in goal.stages or goal.result, "it waits for the transform")
    late = time.monotonic() + 1.2
    graph.feed(lambda: time.monotonic() > late or goal.result, "TF is silent for longer than transform_timeout")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    assert graph.ended(goal).name == "OK", goal.message
