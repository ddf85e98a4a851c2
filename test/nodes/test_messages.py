# SPDX-License-Identifier: Apache-2.0
"""Answers as messages: several targets and places, and no pose in a refusal, whatever it carries."""

from __future__ import annotations

import json

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from visualization_msgs.msg import Marker

from spatial_vlm_ros.nodes.messages import markers, resolution_message
from spatial_vlm_ros.nodes.perception.ask import refused
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.types import (
    FrameOfReference,
    GraspHint,
    HiddenRegion,
    Place,
    Pose,
    Resolution,
    SecondOpinion,
    SpaceAnswer,
    Status,
    Target,
)

POSE = Pose("base_link", (0.1, 0.25, 0.3), (0.0, 0.0, 0.0, 1.0))
THERE = Pose("base_link", (-0.4, 0.5, 0.02), (0.0, 0.0, 1.0, 0.0))
MUGS = tuple(
    Target(id_, "mug", POSE, (0.1, 0.2, 0.3), (0.08, 0.07, 0.1), (1e-6,) * 36, True, GraspHint(0.2, 0.07))
    for id_ in ("d0", "d1")
)
PLACES = (Place(THERE, "d2", "d3", 0.02, 0.05, 0.01, 0.97), Place(POSE, "support", "support", 0.03, 0.06, None, 0.9))
ANSWER = Resolution(
    "both mugs", Status.OK, "both", target=MUGS[0], targets=MUGS, place=PLACES[0], places=PLACES, dialogue_id="abc",
    frame_of_reference=FrameOfReference.SPEAKER, stamp_ns=1_500_000_000,
)  # fmt: skip


def sent(resolution: Resolution) -> ResolutionMessage:
    """The message as a subscriber gets it."""
    return deserialize_message(serialize_message(resolution_message(resolution, "camera")), ResolutionMessage)


def test_all_targets_and_places_of_an_answer_are_sent() -> None:
    message = sent(ANSWER)
    assert message.header.frame_id == "base_link"
    assert [target.id for target in message.target] == ["d0"]
    assert [target.id for target in message.targets] == ["d0", "d1"]
    assert message.targets[0] == message.target[0]
    assert message.places[0] == message.place[0]
    best, other = message.places
    assert (best.anchor_id, best.carrier_id, list(best.stability)) == ("d2", "d3", [0.01])
    assert (best.margin, best.clearance, best.probability) == (0.02, 0.05, 0.97)
    assert (best.pose.position.x, best.pose.orientation.z) == (-0.4, 1.0)
    assert (other.carrier_id, list(other.stability)) == ("support", [])
    assert (message.frame_of_reference, message.dialogue_id) == ("speaker", "abc")


def test_the_json_of_a_message_is_the_very_answer() -> None:
    assert resolution_from_json(json.loads(sent(ANSWER).json)) == ANSWER


def test_a_second_opinion_is_sent_with_what_is_known_of_it() -> None:
    named = SecondOpinion("the mug", "d0", 0.9, "d1", 0.1, 0.4, ("behind", "left of"), 0.96, "disagreed", "it differs")
    nothing = SecondOpinion("the mug", None, 0.0, None, 0.0, 0.0, (), None, "reported", "nothing was found")
    first, second = (
        sent(Resolution("w", Status.DISAGREEMENT, "no", second_opinion=one)).second_opinion[0]
        for one in (named, nothing)
    )
    assert (first.words, first.geometric_id, first.named_id, first.effect) == ("the mug", "d0", "d1", "disagreed")
    assert (first.geometric_probability, first.named_probability, first.combined_probability) == (0.9, 0.1, 0.4)
    assert (first.relations, list(first.reliability), first.reason) == (["behind", "left of"], [0.96], "it differs")
    assert (second.geometric_id, second.named_id, list(second.reliability)) == ("", "", [])
    assert not sent(ANSWER).second_opinion


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_refusal_has_no_pose_in_any_field_and_draws_none(status: Status) -> None:
    hidden = HiddenRegion("d2", (0.1, 0.2, 0.3), (0.1, 0.1, 0.1), "base_link")
    for poses in ({"targets": MUGS}, {"places": PLACES}):
        with pytest.raises(ValueError, match=r"target|places"):
            Resolution("w", status, "no", **poses)
    message = sent(Resolution("w", status, "no", hidden_regions=(hidden,)))
    assert not message.target
    assert not message.targets
    assert not message.place
    assert not message.places
    kinds = [marker.type for marker in markers(message).markers if marker.action == Marker.ADD]
    assert kinds == [Marker.CUBE]  # the hidden region


def test_every_target_and_place_is_shown_under_a_number_of_its_own() -> None:
    shown = markers(sent(ANSWER)).markers
    assert [marker.action for marker in shown] == [Marker.DELETEALL] + [Marker.ADD] * (len(shown) - 1)
    assert len({marker.id for marker in shown}) == len(shown)
    words = [marker.text for marker in shown if marker.type == Marker.TEXT_VIEW_FACING]
    assert words == ["mug (d0)", "mug (d1)", "1", "2"]
    flat = [marker for marker in shown if marker.type == Marker.CUBE and marker.scale.z < 0.01]
    assert [(marker.pose.position.x, marker.scale.x, marker.scale.y) for marker in flat] == [
        (-0.4, 0.08, 0.07), (0.1, 0.08, 0.07),
    ]  # fmt: skip
    assert flat[0].color.a > flat[1].color.a


def test_what_a_model_chose_is_not_shown_as_a_target() -> None:
    chosen = Resolution("w", Status.OK, "it", target=MUGS[0], source="model")
    (only,) = markers(sent(chosen), chosen.source).markers
    assert only.action == Marker.DELETEALL


def test_one_target_is_shown_once_and_no_answer_clears_what_was_shown() -> None:
    alone = markers(sent(Resolution("w", Status.OK, "it", target=MUGS[0]))).markers
    assert [marker.type for marker in alone[1:]] == [Marker.CUBE, Marker.ARROW, Marker.TEXT_VIEW_FACING]
    (only,) = markers(sent(Resolution("w", Status.BUSY, "wait"))).markers
    assert only.action == Marker.DELETEALL


def test_the_answer_to_a_question_travels_in_the_json_and_has_no_pose() -> None:
    told = SpaceAnswer("distance", 0.3, "m", (0.28, 0.32), 0.95, (), "30 cm", frame_id="base_link")
    answered = Resolution("how far is the mug?", Status.ANSWERED, told.words, answer=told)
    message = sent(answered)
    assert (message.status.code, message.status.name) == (1, "ANSWERED")
    assert message.header.frame_id == "base_link"
    assert not any((message.target, message.targets, message.place, message.places))
    assert resolution_from_json(json.loads(message.json)) == answered
    assert not refused(message)
