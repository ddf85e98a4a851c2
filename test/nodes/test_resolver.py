# SPDX-License-Identifier: Apache-2.0
"""The resolver node answers from live topics."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position, position
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.resolver import ResolverNode
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of

OF_ITS_TIME = ("ms", "timings_ms", "stamp_ns", "dialogue_id")  # of another stamp, another dialogue


def test_an_answer_has_the_pose_that_the_core_finds(live: Graph) -> None:
    goal = live.ask(SENTENCE, FRAME, DETECTIONS)
    assert (goal.name, goal.status) == ("OK", GoalStatus.STATUS_SUCCEEDED)
    assert goal.result is not None
    target = goal.result.target[0]
    expected = Resolver().resolve(FRAME, SENTENCE, DETECTIONS).target
    assert expected is not None
    assert position(target) == pytest.approx(expected.pose.position, abs=1e-6)
    found = target.pose.pose.orientation
    assert (found.x, found.y, found.z, found.w) == pytest.approx(expected.pose.orientation, abs=1e-6)
    assert tuple(target.pose.covariance) == pytest.approx(expected.covariance, abs=1e-9)
    assert goal.result.header.frame_id == "world"
    assert target.id == "bonnet"
    around = json.loads(goal.surroundings)
    assert around["all_objects"] is True
    assert around["surface"]["high"] > around["surface"]["low"]


def test_an_answer_is_stamped_as_its_image_on_every_topic(live: Graph) -> None:
    images: list[Image] = []
    live.node.create_subscription(Image, "annotated/image", images.append, qos.IMAGES)
    name = live.node.resolve_topic_name("annotated/image")
    live.until(lambda: live.node.count_publishers(name), "pictures are offered")
    sent: list[int] = []
    goal = live.ask(SENTENCE, FRAME, DETECTIONS, lambda parts: sent.append(stamp_of(parts[roles.RGB])))
    assert goal.result is not None
    live.until(lambda: live.answers and live.targets and live.markers, "all topics have the answer")
    stamp = stamp_of(goal.result)
    assert stamp in sent
    assert live.answers == [goal.result]
    assert [stamp_of(target) for target in live.targets] == [stamp]
    assert live.targets[0].pose == goal.result.target[0].pose
    kinds = [marker.type for marker in live.markers[0].markers if marker.action == Marker.ADD]
    assert kinds == [Marker.CUBE, Marker.ARROW, Marker.TEXT_VIEW_FACING]
    assert {stamp_of(marker) for marker in live.markers[0].markers} == {stamp}
    while not images:  # the first may have been drawn before the subscription was matched
        goal = live.ask(SENTENCE, FRAME, DETECTIONS)
        assert goal.result is not None
        stamp = stamp_of(goal.result)
    live.until(lambda: stamp_of(images[-1]) == stamp, "the last answer is drawn")
    image = images[-1]
    assert (image.encoding, image.header.frame_id) == ("rgb8", FRAME.frame_id)
    drawn = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    drawn = drawn[:480, :640]  # the view from above stands beside it, and words below
    assert 0.5 < (drawn == FRAME.rgb).all(axis=2).mean() < 1.0


def test_the_json_of_an_answer_is_that_of_the_command_line(live: Graph) -> None:
    goal = live.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.result is not None
    got = json.loads(goal.result.json)
    expected = json.loads(json.dumps(resolution_json(Resolver().resolve(FRAME, SENTENCE, DETECTIONS))))
    assert got["stamp_ns"] == stamp_of(goal.result)
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
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=1e-6)
    else:
        assert got == expected


def test_a_refusal_ends_aborted_with_its_reason_and_without_a_pose(live: Graph) -> None:
    goal = live.ask("grab me the chick", FRAME, DETECTIONS)
    live.assert_refused(goal, "AMBIGUOUS", "bonnet", "ribbon")
    assert goal.result is not None
    assert goal.result.question
    assert goal.result.dialogue_id
    assert goal.result.header.frame_id == FRAME.frame_id
    assert stamp_of(goal.result) > 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("grab me the banana", "NOT_FOUND"),
        ("grab me the chick left of the box", "RELATION_UNSATISFIED"),
        ("put the box in the cup", "NO_PLACE"),
        ("grab the chick on my left", "FRAME_UNDEFINED"),
        ("colourless green ideas sleep furiously", "NOT_UNDERSTOOD"),
    ],
)
def test_no_refusal_has_a_pose(live: Graph, words: str, status: str) -> None:
    expected = Resolver().resolve(FRAME, words, DETECTIONS)
    goal = live.ask(words, FRAME, DETECTIONS)
    live.assert_refused(goal, expected.status.value)
    assert goal.name == status


def test_several_objects_are_sent_nearest_first_and_all_are_shown(live: Graph) -> None:
    expected = Resolver().resolve(FRAME, "grab both chicks", DETECTIONS)
    goal = live.ask("grab both chicks", FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert [target.id for target in goal.result.targets] == [target.id for target in expected.targets]
    assert len(goal.result.targets) == 2
    assert goal.result.target[0] == goal.result.targets[0]
    live.until(lambda: live.markers, "they are shown")
    words = [marker.text for marker in live.markers[0].markers if marker.type == Marker.TEXT_VIEW_FACING]
    assert words == [f"chick ({target.id})" for target in expected.targets]
    alone = live.ask(SENTENCE, FRAME, DETECTIONS)
    assert alone.result is not None
    assert (len(alone.result.target), len(alone.result.targets)) == (1, 0)


def test_places_are_sent_best_first_in_the_frame_of_the_target(live: Graph) -> None:
    words = "put the cup left of the box"
    expected = Resolver().resolve(FRAME, words, DETECTIONS)
    goal = live.ask(words, FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert len(goal.result.places) == len(expected.places) > 0
    assert goal.result.place[0] == goal.result.places[0]
    for sent, place in zip(goal.result.places, expected.places, strict=True):
        point = sent.pose.position
        assert (point.x, point.y, point.z) == pytest.approx(place.pose.position, abs=1e-5)
        assert (sent.anchor_id, sent.carrier_id) == (place.anchor_id, place.carrier_id)
        assert (sent.margin, sent.clearance) == pytest.approx((place.margin_m, place.clearance_m), abs=1e-5)
        assert sent.probability == pytest.approx(place.probability, abs=1e-4)
    assert {place.pose.frame_id for place in expected.places} == {goal.result.header.frame_id}


def test_an_instruction_by_topic_is_answered_by_topic(live: Graph) -> None:
    from std_msgs.msg import String

    live.camera.publish("instruction", String(data=SENTENCE), qos.INSTRUCTIONS)
    live.heard("instruction")
    live.camera.publish("instruction", String(data=SENTENCE), qos.INSTRUCTIONS)
    live.feed(lambda: live.targets, "the target is published", FRAME, DETECTIONS)
    live.until(lambda: any(answer.status.name == "OK" for answer in live.answers), "the answer is published")
    point = live.targets[0].pose.pose.position
    assert (point.x, point.y, point.z) == pytest.approx(core_position(), abs=1e-6)


def test_without_a_base_frame_poses_are_in_the_cameras_frame(graph: Graph) -> None:
    graph.start(base_frame="", frame_timeout=15.0)
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert goal.result.header.frame_id == FRAME.frame_id
    assert goal.result.target[0].pose.pose.position.z > 0.5  # metres before the camera


def test_the_goal_is_told_what_it_waits_for(graph: Graph) -> None:
    graph.start(base_frame="world", frame_timeout=15.0, transform_timeout=10.0)
    goal = graph.send_goal(SENTENCE)
    graph.until(lambda: goal.stages == [1], "it waits for a frame")
    graph.feed(lambda: 2 in goal.stages, "it waits for the transform", FRAME, DETECTIONS)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    graph.ended(goal)
    graph.until(lambda: goal.stages == [1, 2, 3], "it resolves")
    assert goal.name == "OK"


def test_one_goal_after_another_is_answered(live: Graph) -> None:
    for words, status in [(SENTENCE, "OK"), ("grab me the chick", "AMBIGUOUS"), (SENTENCE, "OK"), ("", None)] * 3:
        goal = live.ask(words, FRAME, DETECTIONS)
        assert goal.name == (status or Resolver().resolve(FRAME, words, DETECTIONS).status.value)


def test_what_the_node_says_of_itself_is_what_the_graph_has(live: Graph) -> None:
    words = re.sub(r"\s+", " ", inspect.getdoc(ResolverNode) or "")

    def named(verb: str) -> set[str]:
        listed = re.search(rf"{verb}: (.*?)\.(?: |$)", words)
        assert listed is not None
        return {
            live.node.resolve_topic_name(n) for n in re.sub(r"\([^)]*\)", "", listed[1]).replace(" ", "").split(",")
        }

    always = {"/parameter_events", "/rosout", "/resolver/transition_event", "/clock"}
    action = {"/resolve/_action/feedback", "/resolve/_action/status"}
    optional = {"/depth/camera_info"}  # where depth is not registered
    live.until(lambda: ("resolver", "/") in live.node.get_node_names_and_namespaces(), "the node is discovered")

    def names(ask: Any) -> set[str]:
        return {name for name, _ in ask("resolver", "/")} - always - action

    def heard() -> bool:
        return names(live.node.get_subscriber_names_and_types_by_node) == named("Subscribes") - optional

    live.until(heard, "it subscribes to what it says")
    live.until(lambda: names(live.node.get_publisher_names_and_types_by_node) == named("Publishes"), "it publishes it")
    served = names(live.node.get_service_names_and_types_by_node)
    assert {"/resolve/_action/send_goal", "/resolver/change_state"} <= served
    assert "Serves: the action resolve." in words
