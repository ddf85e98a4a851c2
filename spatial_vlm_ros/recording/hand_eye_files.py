# SPDX-License-Identifier: Apache-2.0
"""Files of hand-eye calibrations: samples and results of other programs, and what publishes a result."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.geometry.hand_eye import PoseSample
from spatial_vlm_ros.geometry.rotation import matrix_from_pose
from spatial_vlm_ros.types import Transform

_FORMS = "pass samples of MoveIt Calibration (.yaml), or a calibration that easy_handeye2 has saved (.calib)"


def read_hand_eye(path: Path) -> list[PoseSample] | Transform:
    """Read the samples of MoveIt Calibration, or the mount of the camera that easy_handeye2 publishes.

    Forms: moveit_calibration a883ec2, handeye_control_widget.cpp:768-785 and 826-855: a list of maps with
    `effector_wrt_world` and `object_wrt_sensor`, each 16 numbers of a row-major 4x4 matrix. easy_handeye2 b42cae6,
    handeye_calibration.py:41-55 (YAML of HandeyeCalibration.msg); the frames are those of handeye_publisher.py:23-36.
    """
    told = read_yaml(path, _FORMS)
    try:
        if isinstance(told, list):
            keys = ("effector_wrt_world", "object_wrt_sensor")
            pairs = [[np.array(one[key], np.float64).reshape(4, 4) for key in keys] for one in told]
            return [PoseSample(*(Transform("a", "b", matrix).matrix for matrix in pair)) for pair in pairs]
        names, pose = told["parameters"], told["transform"]
        parents = {"eye_in_hand": "robot_effector_frame", "eye_on_base": "robot_base_frame"}
        parts = (("translation", "xyz"), ("rotation", "xyzw"))
        matrix = matrix_from_pose([float(pose[part][axis]) for part, axes in parts for axis in axes])
        return Transform(names[parents[names["calibration_type"]]], names["tracking_base_frame"], matrix)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _FORMS) from error


def mount_texts(mount: Transform) -> tuple[str, str]:
    """A launch file that publishes the mount of a camera, and its joint for the URDF or xacro of the cell."""
    r = mount.rotation
    pitch = math.atan2(-r[2, 0], math.hypot(r[0, 0], r[1, 0]))  # about fixed axes
    roll, yaw = math.atan2(r[2, 1], r[2, 2]), math.atan2(r[1, 0], r[0, 0])
    if math.hypot(r[0, 0], r[1, 0]) < 1e-6:  # straight up or down: roll and yaw turn about one axis
        roll, yaw = math.atan2(-r[1, 2], r[1, 1]), 0.0
    values = [f"{value:.9f}" for value in (*mount.translation, roll, pitch, yaw)]
    words = [f"--{name} {value}" for name, value in zip(("x", "y", "z", "roll", "pitch", "yaw"), values, strict=True)]
    launch = f'''<launch>
  <node pkg="tf2_ros" exec="static_transform_publisher"
        args="{" ".join(words)} --frame-id {mount.parent} --child-frame-id {mount.child}"/>
</launch>
'''
    urdf = f'''<joint name="{mount.child}_mount" type="fixed">
  <parent link="{mount.parent}"/>
  <child link="{mount.child}"/>
  <origin xyz="{" ".join(values[:3])}" rpy="{" ".join(values[3:])}"/>
</joint>
'''
    return launch, urdf
