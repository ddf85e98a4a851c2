# SPDX-License-Identifier: Apache-2.0
"""Converts answers to ROS messages, and builds messages with rclpy's classes."""

from __future__ import annotations

import array
import importlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseWithCovariance, PoseWithCovarianceStamped, Quaternion, Vector3
from geometry_msgs.msg import Pose as PoseMessage
from sensor_msgs.msg import PointCloud2, PointField
from spatial_vlm_interfaces.msg import (
    Candidate,
    ClauseMeasurement,
    HiddenRegion,
    Place,
    SecondOpinion,
    Status,
    Target,
)
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from spatial_vlm_ros.errors import DependencyError, InputError
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.nodes.main import REPAIRS
from spatial_vlm_ros.output.json_schema import as_json, resolution_json
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.streams.decoding import Composer, rclpy_composer
from spatial_vlm_ros.types import AnswerSource, Pose, Resolution, Scene
from spatial_vlm_ros.types import Candidate as CandidateData
from spatial_vlm_ros.types import Place as PlaceData
from spatial_vlm_ros.types import Status as StatusData
from spatial_vlm_ros.types import Target as TargetData

SECOND = 1_000_000_000
DETECTIONS_2D, DETECTIONS_3D = "vision_msgs/msg/Detection2DArray", "vision_msgs/msg/Detection3DArray"
_SPOT, _THIN = 0.04, 0.003  # metres: size of a placement whose load is not known, and drawn thickness


@lru_cache(maxsize=64)
def message_class(name: str) -> Any:
    """Class of a message, service or action for a type name such as "sensor_msgs/msg/Image"."""
    package, _, rest = name.partition("/")
    kind, _, form = rest.rpartition("/")
    return getattr(importlib.import_module(f"{package}.{kind or 'msg'}"), form)


def needed_class(name: str) -> Any:
    """As `message_class`, for a package that is imported only when used; DependencyError if it is missing."""
    try:
        return message_class(name)
    except ModuleNotFoundError as error:
        package = name.partition("/")[0]
        raise DependencyError(package, REPAIRS.get(package, f"install {package}")) from error


def serialised(message: Any) -> tuple[str, bytes]:
    """Serialise a message to its type name ("sensor_msgs/msg/Image") and CDR bytes, with rosbags' definitions.

    For a 720p image rclpy's own serialisation blocks all other threads for 3 ms, this one for 0.2 ms.
    """
    from spatial_vlm_ros.recording.bags.topics import default_store

    store, name = default_store(), _type_name(message)
    return name, bytes(store.serialize_cdr(_of_bags(message, store.types), name))


def _type_name(message: Any) -> str:
    form = type(message)
    return f"{form.__module__.split('.')[0]}/msg/{form.__name__}"


def _of_bags(value: Any, types: Mapping[str, Any]) -> Any:
    """Convert an rclpy message to a rosbags message; arrays are not copied."""
    if hasattr(value, "get_fields_and_field_types"):
        inner = {name: _of_bags(getattr(value, name), types) for name in value.get_fields_and_field_types()}
        return types[_type_name(value)](**inner)
    if isinstance(value, array.array):
        return np.frombuffer(value, value.typecode) if value else np.zeros(0, value.typecode)
    return [_of_bags(item, types) for item in value] if isinstance(value, list) else value


def composer() -> Composer:
    """Composer that builds messages of rclpy's classes."""
    return rclpy_composer(message_class)


def time_of(stamp_ns: int) -> Time:
    """Convert nanoseconds to a Time message."""
    return Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)


def status_message(status: StatusData, message: str) -> Status:
    """Build a Status message with its text."""
    return Status(code=status.code, name=status.value, message=message)


def json_object(text: str) -> dict[str, Any]:
    """Parse JSON that a message carries."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError("JSON of a message", text[:60], "a JSON object", "use the same package version in all nodes")
    return found


def surroundings_text(
    resolution: Resolution, scene: Scene | None, all_objects: bool, config: ResolverConfig | None = None
) -> str:
    """JSON of the target's surroundings in the scene; "" for a refusal or without a base frame.

    Args:
        all_objects: whether all objects were searched for, or only those named in the words.
        config: how depth becomes obstacles; None = no obstacles from depth.
    """
    if resolution.target is None or scene is None or scene.frame.base_T_camera is None:
        return ""
    return json.dumps(as_json(surroundings_of(scene, resolution, all_objects, config)), ensure_ascii=False)


def resolution_message(resolution: Resolution, frame_id: str = "") -> ResolutionMessage:
    """Convert an answer to a message."""
    is_answered = resolution.target is not None  # a refusal has no pose, whatever else it carries
    if resolution.target is not None:
        frame_id = resolution.target.pose.frame_id
    elif resolution.answer is not None:
        frame_id = resolution.answer.frame_id
    elif resolution.hidden_regions:
        frame_id = resolution.hidden_regions[0].frame_id
    regions, opinion = resolution.hidden_regions, resolution.second_opinion
    return _copied(
        ResolutionMessage,
        resolution,
        header=Header(stamp=time_of(resolution.stamp_ns), frame_id=frame_id),
        status=status_message(resolution.status, resolution.message),
        target=[] if resolution.target is None else [_target(resolution.target)],
        place=[] if resolution.place is None else [_place(resolution.place)],
        targets=[_target(target) for target in resolution.targets] if is_answered else [],
        places=[_place(place) for place in resolution.places] if is_answered else [],
        candidates=[_candidate(candidate) for candidate in resolution.candidates],
        frame_of_reference=resolution.frame_of_reference.value if resolution.frame_of_reference else "",
        up_from=resolution.up_from.value if resolution.up_from else "",
        hidden_regions=[
            HiddenRegion(occluder_id=r.occluder_id, position=_point(r.position), size=vector_message(r.size))
            for r in regions
        ],
        json=json.dumps(resolution_json(resolution), ensure_ascii=False),
        second_opinion=[] if opinion is None else [_copied(SecondOpinion, opinion)],
    )


def target_message(resolution: ResolutionMessage) -> PoseWithCovarianceStamped:
    """Pose of the target of an OK answer, in the frame of its header."""
    return PoseWithCovarianceStamped(header=resolution.header, pose=resolution.target[0].pose)


def markers(resolution: ResolutionMessage, chosen_by: AnswerSource = "measurement") -> MarkerArray:
    """Markers of an answer: box, axis away from the camera and name of every target; placements; hidden regions.

    The first marker clears the previous answer's markers. An object that a model chose is not shown as a target.
    """
    shown = [Marker(header=resolution.header, action=Marker.DELETEALL)]
    for target in (resolution.targets or resolution.target) if chosen_by == "measurement" else ():
        pose, length = target.pose.pose, Vector3(x=max(0.1, target.size.x), y=0.012, z=0.012)
        shown += [
            _marker(resolution, Marker.CUBE, pose, target.size, (0.16, 0.86, 0.27, 0.35)),
            _marker(resolution, Marker.ARROW, pose, length, (1.0, 0.3, 0.3, 0.9)),
            _words(resolution, pose.position, target.size.z / 2 + 0.04, f"{target.label} ({target.id})"),
        ]
    put = resolution.target[0].size if resolution.target else Vector3(x=_SPOT, y=_SPOT)
    for rank, place in enumerate(resolution.places or resolution.place):  # flat outline of the placed object
        colour = (0.2, 0.6, 1.0, 0.8 if rank == 0 else 0.3)
        shown += [
            _marker(resolution, Marker.CUBE, place.pose, Vector3(x=put.x, y=put.y, z=_THIN), colour),
            _words(resolution, place.pose.position, 0.03, str(rank + 1)),
        ]
    for region in resolution.hidden_regions:
        pose = PoseMessage(position=region.position)
        shown.append(_marker(resolution, Marker.CUBE, pose, region.size, (0.9, 0.25, 0.2, 0.25)))
    for number, marker in enumerate(shown):
        marker.id = number
    return MarkerArray(markers=shown)


def _words(resolution: ResolutionMessage, at: Point, above: float, text: str) -> Marker:
    pose = PoseMessage(position=Point(x=at.x, y=at.y, z=at.z + above))
    words = _marker(resolution, Marker.TEXT_VIEW_FACING, pose, Vector3(z=0.035), (1.0, 1.0, 1.0, 1.0))
    words.text = text
    return words


def _marker(resolution: ResolutionMessage, kind: int, pose: PoseMessage, size: Vector3,
            colour: tuple[float, float, float, float]) -> Marker:  # fmt: skip
    marker = Marker(header=resolution.header, ns="spatial_vlm", type=kind, pose=pose, scale=size)
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = colour
    return marker


def _copied(form: Any, value: Any, **given: Any) -> Any:
    """Message with the fields of a value, `given` where names or types differ; None becomes "" or an empty list."""
    for name, kind in form.get_fields_and_field_types().items():
        if name not in given and hasattr(value, name):
            found = getattr(value, name)
            given[name] = _listed(found) if kind.startswith("sequence") else "" if found is None else found
    return form(**given)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [] if value is None else [value]


def _target(target: TargetData) -> Target:
    return _copied(
        Target,
        target,
        pose=PoseWithCovariance(pose=pose_message(target.pose), covariance=target.covariance),
        surface_position=_point(target.surface_position),
        size=vector_message(target.size),
        grasp_yaw=_listed(target.grasp.yaw),
        grasp_width=target.grasp.width,
    )


def _place(place: PlaceData) -> Place:
    stability, pose = _listed(place.stability_m), pose_message(place.pose)
    return _copied(Place, place, pose=pose, margin=place.margin_m, clearance=place.clearance_m, stability=stability)


def _candidate(candidate: CandidateData) -> Candidate:
    clauses = [
        _copied(ClauseMeasurement, clause, margin=_listed(clause.margin_m), state=clause.state.value)
        for clause in candidate.clauses
    ]
    return _copied(Candidate, candidate, clauses=clauses)


def pose_message(pose: Pose) -> PoseMessage:
    """Convert a pose to a message, without its frame."""
    x, y, z, w = pose.orientation
    return PoseMessage(position=_point(pose.position), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _point(position: tuple[float, float, float]) -> Point:
    return Point(x=position[0], y=position[1], z=position[2])


def cloud_message(header: Header, names: Sequence[str], data: bytes) -> PointCloud2:
    """Point cloud of little-endian 4-byte fields; data has all of the first point, then of the next ones."""
    step = 4 * len(names)
    return PointCloud2(
        header=header,
        height=1,
        width=len(data) // step,
        fields=[PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1) for k, n in enumerate(names)],
        is_bigendian=False,
        point_step=step,
        row_step=len(data),
        data=array.array("B", data),
        is_dense=True,
    )


def vector_message(size: tuple[float, float, float]) -> Vector3:
    """Convert three numbers to a Vector3 message."""
    return Vector3(x=size[0], y=size[1], z=size[2])
