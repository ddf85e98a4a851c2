# SPDX-License-Identifier: Apache-2.0
"""Builds slow messages about an answer on a separate thread: its image, depth as a point cloud, region and objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, PoseWithCovariance, Quaternion, Vector3
from geometry_msgs.msg import Pose as PoseMessage
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from spatial_vlm_ros.geometry.camera import normalised_axes, rectify
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.messages import time_of
from spatial_vlm_ros.nodes.perception.requests import RequestOutcome
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.types import ANSWERS, Resolution, RgbdFrame, Scene

if TYPE_CHECKING:
    from spatial_vlm_ros.output.answer_content import AnswerContent

IMAGE, POINTS, REGION, OBJECTS = "annotated/image", "annotated/points", "annotated/region", "objects"
MOST_IMAGES = 5  # images that wait to be drawn; older ones are dropped
_MOST = 160_000  # points in a cloud: 2.5 MB
_THICK = 0.001  # metres: thickness of the region's squares
_LIFT = 0.003  # metres by which they lie above the surface
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
_HOLDS, _UNCLEAR = 0.6, 0.3  # opacity of squares
_SIDES = (0.7, 0.35)  # side of a square divided by their spacing: if the relation holds, if unclear


def points_message(frame: RgbdFrame) -> PointCloud2:
    """The frame's measured depth as a coloured point cloud in the camera's optical frame.

    Returns:
        x, y, z (float32, metres) and rgb (0xRRGGBB packed in a float32, as in PCL); at most 160,000 points.
    """
    frame = rectify(frame)
    every = int(np.ceil(np.sqrt(frame.depth.size / _MOST)))
    z = frame.depth[::every, ::every]
    known = np.isfinite(z)
    xs, ys = (axis[::every] for axis in normalised_axes(frame.camera))
    red, green, blue = np.moveaxis(frame.rgb[::every, ::every].astype(np.uint32), 2, 0)
    points = np.empty(int(known.sum()), _POINT)
    points["x"], points["y"], points["z"] = (xs * z)[known], (ys[:, None] * z)[known], z[known]
    points["rgb"] = (red << 16 | green << 8 | blue)[known]
    header = Header(stamp=time_of(frame.stamp_ns), frame_id=frame.frame_id)
    return messages.cloud_message(header, ("x", "y", "z", "rgb"), points.tobytes())


def region_message(content: AnswerContent | None) -> MarkerArray:
    """Squares on the surface where the deciding relation holds, smaller squares where it is unclear, and its words.

    Args:
        content: displayed content of the answer; None = nothing to show.

    Returns:
        Markers in the base frame if there is one, otherwise in the camera's frame. The first marker clears the previous
        answer's markers; it is the only one if no region is shown (docs/annotated_image.md says when).
    """
    if content is None or content.region is None:
        return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
    from spatial_vlm_ros.output import answer_content, drawing

    layout, region = content.layout, content.region
    frame, base = layout.scene.frame, layout.scene.frame.base_T_camera
    frame_id = frame.frame_id if base is None else base.parent
    header = Header(stamp=time_of(frame.stamp_ns), frame_id=frame_id)
    base_T_camera = np.eye(4) if base is None else base.matrix
    side = np.sign(np.linalg.det(layout.axes))  # g1, g2 and up need not be right-handed
    turn = base_T_camera[:3, :3] @ layout.axes * (1.0, side, 1.0)
    origin = answer_content.in_camera(layout, np.zeros((1, 2)), region.height + _LIFT)[0]
    x, y, z = (base_T_camera[:3, :3] @ origin + base_T_camera[:3, 3]).tolist()
    qx, qy, qz, qw = quaternion_xyzw_from_matrix(turn)
    pose = PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    g1, g2 = (np.linspace(a, b, n) for a, b, n in zip(region.low, region.high, region.score.shape, strict=True))
    places = np.stack(np.meshgrid(g1, side * g2, indexing="ij"), axis=2)
    cell = (region.high - region.low) / (np.array(region.score.shape) - 1)
    holds, unclear = region.score >= region.limit, np.abs(region.score) < region.limit
    unclear &= region.score != 0.0  # 0 is "not measured"
    made = []
    for chosen, part, opacity in ((holds, _SIDES[0], _HOLDS), (unclear, _SIDES[1], _UNCLEAR)):
        if chosen.any():
            scale = Vector3(x=float(part * cell[0]), y=float(part * cell[1]), z=_THICK)
            squares = Marker(header=header, ns="region", type=Marker.CUBE_LIST, pose=pose, scale=scale)
            squares.color.r, squares.color.g, squares.color.b = (share / 255 for share in drawing.HOLDS)
            squares.color.a = opacity
            squares.points = [Point(x=x, y=y) for x, y in places[chosen].tolist()]
            made.append(squares)
    middle = places[holds].mean(axis=0)
    ground = np.array([middle[0], middle[1], 0.04])
    tx, ty, tz = (turn @ ground + np.array([x, y, z])).tolist()
    words = Marker(header=header, ns="region", type=Marker.TEXT_VIEW_FACING, text=region.words)
    words.pose = PoseMessage(position=Point(x=tx, y=ty, z=tz))
    words.scale.z = 0.03
    words.color.r = words.color.g = words.color.b = words.color.a = 1.0
    markers = [Marker(header=header, action=Marker.DELETEALL), *made, words]
    for number, marker in enumerate(markers):
        marker.id = number
    return MarkerArray(markers=markers)


def objects_message(frame: RgbdFrame, scene: Scene | None, resolution: Resolution) -> Any:
    """All measured objects of an answer's image as vision_msgs/Detection3DArray, the targets first.

    Args:
        scene: scene of the answer; None if it was refused earlier.

    Returns:
        For each object its box, centre and covariance (m², rad², fixed axes) as in Target, its detector's label and
        score. Objects without valid depth are left out. Empty for a refusal, which has no pose. For a question about
        space the objects of its answer come first.
    """
    from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

    if resolution.status not in ANSWERS or scene is None:
        return Detection3DArray(header=Header(stamp=time_of(frame.stamp_ns), frame_id=frame.frame_id))
    measured = {obj.id: target_of(obj, scene) for obj in scene.objects if obj.depth_problem is None}
    meant = resolution.targets or ((resolution.target,) if resolution.target else ())
    asked = () if resolution.answer is None else tuple(obj.id for obj in resolution.answer.objects)
    first = {target.id: target for target in meant} | {id_: measured[id_] for id_ in asked if id_ in measured}
    base = scene.frame.base_T_camera
    frame_id = base.parent if base is not None else scene.frame.frame_id
    header = Header(stamp=time_of(frame.stamp_ns), frame_id=frame_id)
    scores = {obj.id: obj.detection.score for obj in scene.objects}
    told = Detection3DArray(header=header)
    for obj in (first | measured).values():  # a key keeps its first position
        pose = messages.pose_message(obj.pose)
        hypothesis = ObjectHypothesis(class_id=obj.label, score=scores[obj.id])
        placed = PoseWithCovariance(pose=pose, covariance=obj.covariance)
        box = BoundingBox3D(center=pose, size=messages.vector_message(obj.size))
        results = [ObjectHypothesisWithPose(hypothesis=hypothesis, pose=placed)]
        told.detections.append(Detection3D(header=header, results=results, bbox=box, id=obj.id))
    return told


class SideOutputs:
    """Publishes images, clouds, regions and objects of answers; `wake` runs a function on the executor's thread."""

    def __init__(self, node: Node, wake: Callable[[Callable[[], Any]], None]) -> None:
        self._node, self._wake = node, wake
        self._composer = messages.composer()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="draw")
        self._images: list[Future[None]] = []  # images being drawn or waiting, oldest first

    def publish(self, outcome: RequestOutcome, config: ResolverConfig, wanted: Mapping[str, Any]) -> None:
        """Publish wanted outputs of an answer, by topic; old images may be dropped, `REGION` goes without a frame."""
        if outcome.frame is None:
            if REGION in wanted:
                self._pool.submit(self._wake, lambda: wanted[REGION].publish(region_message(None)))
            return
        answer, scene = outcome.resolution, outcome.scene

        def drawn(frame: RgbdFrame) -> Any:
            from spatial_vlm_ros.output.annotated_image import draw

            image = draw(frame, outcome.detections, answer, config, scene)
            return self._composer.image_rgb(image, self._composer.header(frame.stamp_ns, frame.frame_id))

        def region(frame: RgbdFrame) -> Any:
            from spatial_vlm_ros.output.annotated_image import content_from

            content = content_from(frame, outcome.detections, answer, config, scene)
            return region_message(content if answer.source == "measurement" else None)

        makers: dict[str, tuple[str, Callable[[RgbdFrame], Any]]] = {
            OBJECTS: ("the objects could not be listed", lambda frame: objects_message(frame, scene, answer)),
            IMAGE: ("the answer could not be drawn", drawn),
            POINTS: ("the points of the answer could not be made", points_message),
            REGION: ("the region of the answer could not be measured", region),
        }
        self._images = [image for image in self._images if not image.done()]
        for topic, publisher in wanted.items():
            if topic == IMAGE:
                for late in self._images[: max(0, len(self._images) - MOST_IMAGES + 1)]:
                    late.cancel()
            begun = self._pool.submit(self._aside, *makers[topic], publisher, outcome.frame)
            self._images += [begun] if topic == IMAGE else []

    def close(self) -> None:
        """Drop outputs that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _aside(self, what: str, make: Callable[[RgbdFrame], Any], publisher: Any, frame: RgbdFrame) -> None:
        try:
            message = make(frame)
        except Exception as error:  # nothing waits for this thread: log it and continue
            self._node.get_logger().error(printable(f"{what}: {type(error).__name__}: {error}"))
            return
        self._wake(lambda: publisher.publish(message))
