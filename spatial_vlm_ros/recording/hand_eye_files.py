# SPDX-License-Identifier: Apache-2.0
"""Files of hand-eye calibrations: samples, results of other programs, and what publishes a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.files.writing import write_text
from spatial_vlm_ros.geometry.hand_eye import PoseSample
from spatial_vlm_ros.geometry.rotation import matrix_from_pose, quaternion_xyzw_from_matrix
from spatial_vlm_ros.types import Transform

_SAMPLES = "pass samples that moveit_calibration or --samples has written"
_CALIBRATION = "pass a file that easy_handeye2 has saved (~/.ros2/easy_handeye2/calibrations/NAME.calib)"


def read_samples(path: Path) -> list[PoseSample]:
    """Read samples as MoveIt Calibration saves them.

    Form: moveit_calibration a883ec2, handeye_control_widget.cpp:768-785 and 826-855: a list of maps with
    `effector_wrt_world` and `object_wrt_sensor`, each 16 numbers of a row-major 4x4 matrix.
    """
    entries = read_yaml(path, _SAMPLES)
    if not isinstance(entries, list):
        raise FileError(path, "it is not a list of samples", _SAMPLES)
    return [
        PoseSample(*(_matrix(path, entry, name, n) for name in ("effector_wrt_world", "object_wrt_sensor")))
        for n, entry in enumerate(entries, 1)
    ]


def _matrix(path: Path, entry: Any, name: str, number: int) -> Any:
    try:
        return Transform("a", "b", np.array(entry[name], np.float64).reshape(4, 4)).matrix
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(path, f"not a rigid 4x4 matrix: {error}", _SAMPLES, f"{name} of sample {number}") from error


def write_samples(path: Path, samples: Sequence[PoseSample], force: bool) -> None:
    """Write samples in the form of `read_samples`."""
    rows = (
        f"- effector_wrt_world: {one.base_T_effector.reshape(-1).tolist()}\n"
        f"  object_wrt_sensor: {one.camera_T_board.reshape(-1).tolist()}\n"
        for one in samples
    )
    write_text(path, "".join(rows), force=force)


def read_easy_handeye2(path: Path) -> Transform:
    """Read the pose of the camera in the effector or in the base, as easy_handeye2 publishes it.

    Form: easy_handeye2 b42cae6, handeye_calibration.py:41-55 (YAML of HandeyeCalibration.msg); the frames are those of
    handeye_publisher.py:23-36.
    """
    try:
        told = read_yaml(path, _CALIBRATION)
        names, pose = told["parameters"], told["transform"]
        kind = names["calibration_type"]
        if kind not in ("eye_in_hand", "eye_on_base"):
            raise ValueError(f"calibration_type is {kind!r}, not eye_in_hand or eye_on_base")
        parent = names["robot_effector_frame" if kind == "eye_in_hand" else "robot_base_frame"]
        numbers = [
            float(pose[part][axis]) for part, axes in (("translation", "xyz"), ("rotation", "xyzw")) for axis in axes
        ]
        return Transform(parent, names["tracking_base_frame"], matrix_from_pose(numbers))
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _CALIBRATION) from error


def launch_text(mount: Transform) -> str:
    """A launch file that publishes a static transform."""
    qx, qy, qz, qw = quaternion_xyzw_from_matrix(mount.rotation)
    x, y, z = mount.translation
    named = {"x": x, "y": y, "z": z, "qx": qx, "qy": qy, "qz": qz, "qw": qw}
    words = [word for name, value in named.items() for word in (f"--{name}", f"{value:.9f}")]
    words += ["--frame-id", mount.parent, "--child-frame-id", mount.child]
    lines = "".join(f"        {name!r}, {value!r},\n" for name, value in zip(words[::2], words[1::2], strict=True))
    return (
        f'"""Publishes the mount of the camera: {mount.child} in {mount.parent}."""\n\n'
        "from launch import LaunchDescription\nfrom launch_ros.actions import Node\n\n\n"
        "def generate_launch_description():\n"
        f"    arguments = [\n{lines}    ]\n"
        "    publisher = Node(package='tf2_ros', executable='static_transform_publisher', arguments=arguments)\n"
        "    return LaunchDescription([publisher])\n"
    )


def urdf_text(mount: Transform) -> str:
    """The joint that holds the camera, for the URDF or xacro of the cell; rpy is about fixed axes."""
    r = mount.rotation
    pitch = math.atan2(-r[2, 0], math.hypot(r[0, 0], r[1, 0]))
    roll, yaw = math.atan2(r[2, 1], r[2, 2]), math.atan2(r[1, 0], r[0, 0])
    if math.hypot(r[0, 0], r[1, 0]) < 1e-6:  # straight up or down: roll and yaw turn about one axis
        roll, yaw = math.atan2(-r[1, 2], r[1, 1]), 0.0
    xyz, rpy = (" ".join(f"{value:.9f}" for value in values) for values in (mount.translation, (roll, pitch, yaw)))
    return (
        f'<joint name="{mount.child}_mount" type="fixed">\n  <parent link="{mount.parent}"/>\n'
        f'  <child link="{mount.child}"/>\n  <origin xyz="{xyz}" rpy="{rpy}"/>\n</joint>\n'
    )
