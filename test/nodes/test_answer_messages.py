# SPDX-License-Identifier: Apache-2.0
"""Answers as messages: targets, places, objects, points and regions; no pose in a refusal, whatever it carries."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.messages import markers, resolution_message
from spatial_vlm_ros.nodes.perception.ask import refused
from spatial_vlm_ros.nodes.perception.side_outputs import objects_message, points_message, region_message
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.output.json_schema import resolution_from_json
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import (
    FrameOfReference,
    GraspHint,
    HiddenRegion,
    PinholeCamera,
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
    objects = objects_message(FRAME, None, Resolution("w", status, "no"))
    assert (list(objects.detections), objects.header.frame_id) == ([], FRAME.frame_id)


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


SCENE = Resolver().observe(FRAME, DETECTIONS)


def test_every_object_has_the_box_and_covariance_that_were_measured_in_the_base_and_the_target_is_first() -> None:
    message = objects_message(FRAME, SCENE, Resolver().answer(SCENE, SENTENCE))
    assert message.header.frame_id == "world"
    assert message.detections[0].id == "bonnet"
    assert {found.id for found in message.detections} == {d.id for d in DETECTIONS}
    for found in message.detections:
        obj = next(obj for obj in SCENE.objects if obj.id == found.id)
        centre, size = found.bbox.center.position, found.bbox.size
        assert (centre.x, centre.y, centre.z) == pytest.approx(FRAME.base_T_camera.apply(obj.box.centre), abs=1e-6)
        assert (size.x, size.y, size.z) == pytest.approx(obj.box.size, abs=1e-6)
        (said,) = found.results
        assert (said.hypothesis.class_id, said.hypothesis.score) == (obj.detection.label, obj.detection.score)
        assert said.pose.pose == found.bbox.center
        assert found.header == message.header
        covariance = np.array(said.pose.covariance).reshape(6, 6)
        assert np.linalg.eigvalsh(covariance) == pytest.approx(np.linalg.eigvalsh(obj.covariance), rel=1e-3, abs=1e-9)
        assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_several_targets_come_first_in_their_order() -> None:
    answer = Resolver().answer(SCENE, "both chicks")
    assert answer.status is Status.OK
    message = objects_message(FRAME, SCENE, answer)
    assert [found.id for found in message.detections][:2] == [target.id for target in answer.targets]


def test_an_object_without_trustworthy_depth_is_left_out() -> None:
    cup = next(d for d in DETECTIONS if d.label == "cup")
    depth = FRAME.depth.copy()
    depth[cup.mask] = math.nan
    frame = replace(FRAME, depth=depth)
    scene = Resolver().observe(frame, DETECTIONS)
    answer = Resolver().answer(scene, "the nearest chick")
    assert answer.status is Status.OK, answer.message
    found = {obj.id for obj in objects_message(frame, scene, answer).detections}
    assert found == {d.id for d in DETECTIONS} - {cup.id}


def test_objects_are_published_with_each_answer_and_none_with_a_refusal(graph: Graph) -> None:
    graph.start(base_frame="world", objects=True, frame_timeout=15.0, transform_timeout=5.0)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    heard: list[Any] = []
    graph.node.create_subscription(Detection3DArray, "objects", heard.append, qos.ANSWERS)
    name = graph.node.resolve_topic_name("objects")
    graph.until(lambda: graph.node.count_publishers(name), "objects are offered")
    graph.until(lambda: graph.resolver.count_subscribers(name), "objects are heard")
    answer = graph.answer()
    graph.until(lambda: any(stamp_of(m) == stamp_of(answer) for m in heard), "its objects are published")
    first = next(m for m in heard if stamp_of(m) == stamp_of(answer))
    assert first.header.frame_id == "world"
    assert first.detections[0].id == "bonnet"
    assert first.detections[0].bbox.center == answer.target[0].pose.pose
    assert first.detections[0].bbox.size == answer.target[0].size
    heard.clear()
    assert graph.ask("").name == "NOT_UNDERSTOOD"  # no image was looked at: nothing is said of one
    refused = graph.ask("grab me the chick")
    assert refused.name == "AMBIGUOUS"
    graph.until(lambda: heard, "its objects are published")
    assert [(list(m.detections), stamp_of(m)) for m in heard] == [([], stamp_of(refused.result))]


Points = npt.NDArray[np.float64]


def read(message: PointCloud2) -> npt.NDArray[Any]:
    """The points as RViz's RGB8 reads them: four bytes at the offset of "rgb", red in the third."""
    assert [(field.name, field.offset, field.datatype) for field in message.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7),
    ]  # fmt: skip
    assert len(message.data) == message.row_step == message.point_step * message.width
    return np.frombuffer(bytes(message.data), [("at", "<f4", 3), ("bgra", "u1", 4)])


def test_every_measured_pixel_is_a_point_with_its_colour() -> None:
    depth = FRAME.depth.copy()
    depth[:, :10] = np.nan
    frame = replace(FRAME, depth=depth)
    message = points_message(frame)
    every = int(np.ceil(np.sqrt(depth.size / 160_000)))
    known = np.isfinite(depth[::every, ::every])
    found = read(message)
    assert message.header.frame_id == FRAME.frame_id
    assert len(found) == known.sum() <= 160_000
    rays = normalised_grid(FRAME.camera)[::every, ::every][known]
    z = depth[::every, ::every][known]
    assert found["at"] == pytest.approx(np.column_stack((rays * z[:, None], z)), abs=1e-5)
    assert (found["bgra"][:, 2::-1] == FRAME.rgb[::every, ::every][known]).all()


def test_points_of_a_distorted_camera_are_rectified() -> None:
    camera = PinholeCamera(FRAME.camera.K, FRAME.camera.width, FRAME.camera.height, D=(0.1, -0.05, 0.0, 0.0, 0.0))
    found = read(points_message(replace(FRAME, camera=camera)))["at"]
    flat = read(points_message(FRAME))["at"]
    assert len(found) > 1000
    assert np.abs(found[:, :2]).max() < np.abs(flat[:, :2]).max() * 1.1


def content(words: str, **changes: Any) -> AnswerContent | None:
    scene = Resolver().observe(replace(FRAME, **changes), DETECTIONS)
    answer = Resolver().answer(scene, words)
    return content_from(scene.frame, DETECTIONS, answer, ResolverConfig(), scene)


def placed(marker: Marker) -> Points:
    """(N, 3) centres of a marker's squares, in its frame."""
    turn = marker.pose.orientation
    rotation = matrix_from_quaternion_xyzw((turn.x, turn.y, turn.z, turn.w))
    own = np.array([(point.x, point.y, point.z) for point in marker.points])
    at = marker.pose.position
    return np.asarray(own @ rotation.T + np.array([at.x, at.y, at.z]))


def test_the_region_behind_the_cup_has_the_chick_that_is_meant_and_not_the_other() -> None:
    markers = region_message(content(SENTENCE)).markers
    assert [marker.action for marker in markers] == [Marker.DELETEALL, *[Marker.ADD] * (len(markers) - 1)]
    assert len({marker.id for marker in markers}) == len(markers)
    holds = next(marker for marker in markers if marker.type == Marker.CUBE_LIST)
    assert holds.header.frame_id == "world"
    squares = placed(holds)
    at = {obj.id: FRAME.base_T_camera.apply(obj.box.centre) for obj in SCENE.objects}
    near = {id_: np.linalg.norm(squares[:, :2] - centre[:2], axis=1).min() for id_, centre in at.items()}
    assert near["bonnet"] < holds.scale.x
    assert all(distance > 0.03 for id_, distance in near.items() if id_ != "bonnet")
    assert squares[:, 2] == pytest.approx(0.003, abs=0.005)  # on the table
    words = markers[-1]
    assert (words.type, words.text) == (Marker.TEXT_VIEW_FACING, "behind the cup")


def test_without_a_base_the_region_is_in_the_camera_s_frame() -> None:
    in_base = placed(region_message(content(SENTENCE)).markers[1])
    up = tuple(FRAME.base_T_camera.rotation.T @ (0.0, 0.0, 1.0))
    marker = region_message(content(SENTENCE, base_T_camera=None, up=up)).markers[1]
    assert marker.header.frame_id == FRAME.frame_id
    middle = FRAME.base_T_camera.apply(placed(marker)).mean(axis=0)
    assert middle == pytest.approx(in_base.mean(axis=0), abs=0.02)


@pytest.mark.parametrize("words", ["the cup", "the chick"])
def test_words_without_a_relation_leave_no_region(words: str) -> None:
    for shown in (content(words), None):
        (clears,) = region_message(shown).markers
        assert clears.action == Marker.DELETEALL


def test_points_and_region_have_the_stamp_of_the_answer_and_a_refusal_clears_the_region(live: Graph) -> None:
    clouds: list[PointCloud2] = []
    regions: list[MarkerArray] = []
    live.node.create_subscription(PointCloud2, "annotated/points", clouds.append, qos.IMAGES)
    live.node.create_subscription(MarkerArray, "annotated/region", regions.append, qos.IMAGES)
    for topic in ("/annotated/points", "/annotated/region"):
        live.until(lambda topic=topic: live.resolver.count_subscribers(topic), f"{topic} is wanted")
    while not (clouds and regions):  # the first may have been left out before the subscriptions were matched
        stamp = stamp_of(live.answer())
    live.until(lambda: stamp_of(clouds[-1]) == stamp, "the points of the last answer are there")
    live.until(lambda: stamp_of(regions[-1].markers[0]) == stamp, "the region of the last answer is there")
    assert len(regions[-1].markers) > 1
    live.use(frame_timeout=0.5)
    live.ended(live.send_goal(SENTENCE))  # no image comes any more
    live.until(lambda: len(regions[-1].markers) == 1, "the region is cleared")
