# SPDX-License-Identifier: Apache-2.0
"""What is shown of an answer in space: the points of its depth image, and the region in which its relation holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.shown_scene import points_message, region_message
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.types import PinholeCamera

SCENE = Resolver().observe(FRAME, DETECTIONS)
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
    assert FRAME.base_T_camera is not None
    at = {obj.id: FRAME.base_T_camera.apply(obj.box.centre) for obj in SCENE.objects}
    near = {id_: np.linalg.norm(squares[:, :2] - centre[:2], axis=1).min() for id_, centre in at.items()}
    assert near["bonnet"] < holds.scale.x
    assert all(distance > 0.03 for id_, distance in near.items() if id_ != "bonnet")
    assert squares[:, 2] == pytest.approx(0.003, abs=0.005)  # on the table
    words = markers[-1]
    assert (words.type, words.text) == (Marker.TEXT_VIEW_FACING, "behind the cup")


def test_without_a_base_the_region_is_in_the_camera_s_frame() -> None:
    in_base = placed(region_message(content(SENTENCE)).markers[1])
    assert FRAME.base_T_camera is not None
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


def test_the_node_publishes_both_with_the_stamp_of_the_answer_and_clears_the_region_after_a_refusal(
    live: Graph,
) -> None:
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
