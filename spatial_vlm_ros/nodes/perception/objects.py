# SPDX-License-Identifier: Apache-2.0
"""Converts the measured objects of an answer's image to vision_msgs/Detection3DArray. Imported only when published."""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovariance
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.types import ANSWERS, Resolution, RgbdFrame, Scene, Target


def objects_message(frame: RgbdFrame, scene: Scene | None, resolution: Resolution) -> Detection3DArray:
    """All measured objects of an answer's image, the targets first.

    Args:
        scene: scene of the answer; None if it was refused earlier.

    Returns:
        For each object its box, centre and covariance (m², rad², fixed axes) as in Target, its detector's label and
        score. Objects without valid depth are left out. Empty for a refusal, which has no pose. For a question about
        space the objects of its answer come first.
    """
    if resolution.status not in ANSWERS or scene is None:
        return Detection3DArray(header=Header(stamp=messages.time_of(frame.stamp_ns), frame_id=frame.frame_id))
    measured = {obj.id: target_of(obj, scene) for obj in scene.objects if obj.depth_problem is None}
    meant = resolution.targets or ((resolution.target,) if resolution.target else ())
    asked = () if resolution.answer is None else tuple(obj.id for obj in resolution.answer.objects)
    first = {target.id: target for target in meant} | {id_: measured[id_] for id_ in asked if id_ in measured}
    ordered = first | measured  # a key keeps its first position
    base = scene.frame.base_T_camera
    frame_id = base.parent if base is not None else scene.frame.frame_id
    header = Header(stamp=messages.time_of(frame.stamp_ns), frame_id=frame_id)
    scores = {obj.id: obj.detection.score for obj in scene.objects}
    return Detection3DArray(
        header=header, detections=[_detection(obj, scores[obj.id], header) for obj in ordered.values()]
    )


def _detection(obj: Target, score: float, header: Header) -> Detection3D:
    pose = messages.pose_message(obj.pose)
    return Detection3D(
        header=header,
        results=[
            ObjectHypothesisWithPose(
                hypothesis=ObjectHypothesis(class_id=obj.label, score=score),
                pose=PoseWithCovariance(pose=pose, covariance=obj.covariance),
            )
        ],
        bbox=BoundingBox3D(center=pose, size=messages.vector_message(obj.size)),
        id=obj.id,
    )
