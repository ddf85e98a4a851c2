# SPDX-License-Identifier: Apache-2.0
"""Read the camera pose of a Gazebo world for ROS: the optical frame in the world frame.

Gazebo's cameras look along x (y left, z up). Pixels follow the optical frame (z forward, x right, y down), whose name
is in the image headers of our worlds; Gazebo publishes no transform of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_xml

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""x, y, z, w."""
_BODY_R_OPTICAL: Quaternion = (-0.5, 0.5, -0.5, 0.5)
_FRAMES = ("frame_id", "gz_frame_id", "ignition_frame_id")  # from the newest name to the oldest
_REPAIR = "write it in the form of worlds/chicks.sdf"
_FARTHEST = 1e6  # metres, or radians
_POSE = "give the pose as x y z roll pitch yaw"


@dataclass(frozen=True)
class Mount:
    """Pose of an optical frame, named `child` in the images, in the world frame, metres."""

    child: str
    position: Vector
    orientation: Quaternion

    def arguments(self, parent: str) -> list[str]:
        """Arguments for tf2_ros' static_transform_publisher."""
        names = ("--x", "--y", "--z", "--qx", "--qy", "--qz", "--qw")
        numbers = (*self.position, *self.orientation)
        words = [word for name, number in zip(names, numbers, strict=True) for word in (name, f"{number:.9f}")]
        return [*words, "--frame-id", parent, "--child-frame-id", self.child]


def camera_mount(path: Path) -> Mount:
    """Read the optical frame of the only rgbd_camera of a world."""
    root = read_xml(path, _REPAIR)
    chains = [
        (model, link, sensor)
        for model in root.iterfind("world/model")
        for link in model.iterfind("link")
        for sensor in link.iterfind("sensor[@type='rgbd_camera']")
    ]
    if len(chains) != 1:
        reason = f"it has {len(chains)} sensors of type rgbd_camera"
        raise FileError(path, reason, "use a world with exactly one", "world/model/link/sensor")
    sensor = chains[0][2]
    named = next((text for name in _FRAMES if (text := sensor.findtext(name, "").strip())), "")
    if not named:
        raise FileError(path, "the images have no frame", "set gz_frame_id to the optical frame", "sensor/gz_frame_id")
    position, orientation = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
    for element in chains[0]:
        place, pose = f"{element.tag} {element.get('name', '')}/pose", element.find("pose")
        if pose is None:
            continue
        if pose.attrib:
            raise FileError(path, f"unsupported attributes {', '.join(pose.attrib)}", _POSE, place)
        try:
            x, y, z, roll, pitch, yaw = numbers = [float(word) for word in (pose.text or "").split()]
            if not all(abs(number) < _FARTHEST for number in numbers):  # nor NaN
                raise ValueError
        except ValueError as error:
            raise FileError(path, repr(pose.text), _POSE, place) from error
        qx, qy, qz, qw = orientation
        x, y, z, _ = multiplied(multiplied(orientation, (x, y, z, 0.0)), (-qx, -qy, -qz, qw))
        position = (position[0] + x, position[1] + y, position[2] + z)
        orientation = multiplied(orientation, turn_of(roll, pitch, yaw))
    return Mount(named, position, multiplied(orientation, _BODY_R_OPTICAL))


def turn_of(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Quaternion of an SDF pose's rotation: radians about fixed x, then y, then z."""
    return multiplied(multiplied(_about(2, yaw), _about(1, pitch)), _about(0, roll))


def _about(axis: int, angle: float) -> Quaternion:
    part = [0.0, 0.0, 0.0]
    part[axis] = math.sin(angle / 2)
    return part[0], part[1], part[2], math.cos(angle / 2)


def multiplied(a: Quaternion, b: Quaternion) -> Quaternion:
    """Multiply quaternions: the rotation b, followed by the rotation a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
