# SPDX-License-Identifier: Apache-2.0
"""All that was measured in the image of an answer, as vision_msgs/Detection3DArray; a refusal has nothing in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from vision_msgs.msg import Detection3DArray

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.objects import objects_message
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import Resolution, Status

SCENE = Resolver().observe(FRAME, DETECTIONS)
ANSWER = Resolver().answer(SCENE, SENTENCE)


def test_every_object_has_the_box_and_covariance_that_were_measured_in_the_base_and_the_target_is_first() -> None:
    message = objects_message(FRAME, SCENE, ANSWER)
    assert message.header.frame_id == "world"
    assert message.detections[0].id == "bonnet"
    assert {found.id for found in message.detections} == {d.id for d in DETECTIONS}
    assert FRAME.base_T_camera is not None
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
    assert cup.mask is not None
    depth = FRAME.depth.copy()
    depth[cup.mask] = math.nan
    frame = replace(FRAME, depth=depth)
    scene = Resolver().observe(frame, DETECTIONS)
    answer = Resolver().answer(scene, "the nearest chick")
    assert answer.status is Status.OK, answer.message
    found = {obj.id for obj in objects_message(frame, scene, answer).detections}
    assert found == {d.id for d in DETECTIONS} - {cup.id}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_refusal_has_no_object(status: Status) -> None:
    message = objects_message(FRAME, None, Resolution("w", status, "no"))
    assert (list(message.detections), message.header.frame_id) == ([], FRAME.frame_id)


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
