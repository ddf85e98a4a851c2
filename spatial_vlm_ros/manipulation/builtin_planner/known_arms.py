# SPDX-License-Identifier: Apache-2.0
"""Built-in arms by name: the Franka Panda of example-robot-data, and a UR5e with a gripper made of boxes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import tostring

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner import robot
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.planning.robot_model import read_urdf

_FOLDER = Path(__file__).parent / "robots"
_UR_MOUNT = "gripper_joint"  # joint that fastens the gripper to tool0
UR_JOINTS = tuple(
    f"{name}_joint" for name in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
)


@dataclass(frozen=True)
class KnownArm:
    """A built-in arm.

    Args:
        group: the arm's group in the SRDF.
        turned: reads the model with the gripper turned about the flange's z, degrees; None = the mount is fixed.
    """

    urdf: Callable[[], Path]
    srdf: Callable[[], Path]
    title: str
    group: str
    called: str
    end_effector: str
    base_link: str
    joints: tuple[str, ...]
    model: Callable[[], ArmModel]
    turned: Callable[[float], ArmModel] | None = None


@functools.cache
def ur5e(gripper_yaw_deg: float = 0.0) -> ArmModel:
    """A UR5e with a parallel gripper of the size of a Robotiq 2F-85; needs no meshes.

    Its files, `robots/ur5e_2f85.*`, name the sources of their numbers.

    Args:
        gripper_yaw_deg: rotation of the gripper about z of tool0, degrees; at 0 its fingers close along y of tool0, at
            90 along x.
    """
    root, _ = read_urdf(_FOLDER / "ur5e_2f85.urdf")
    for origin in root.findall(f"joint[@name='{_UR_MOUNT}']/origin"):
        origin.set("rpy", f"0 0 {math.radians(gripper_yaw_deg)!r}")
    return arm_model(
        tostring(root, encoding="unicode"),
        _FOLDER / "ur5e_2f85.srdf",
        "ur_manipulator",
        "gripper",
        joint_limits=_FOLDER / "ur5e_2f85.yaml",
    )


ARMS: Mapping[str, KnownArm] = MappingProxyType(
    {
        "panda": KnownArm(
            robot.description_file,
            lambda: robot.description() / "srdf" / "panda.srdf",
            "Panda",
            "arm",
            "panda_arm",
            "hand",
            robot.BASE_LINK,
            robot.ARM_JOINTS,
            robot.panda,
        ),
        "ur5e": KnownArm(
            lambda: _FOLDER / "ur5e_2f85.urdf",
            lambda: _FOLDER / "ur5e_2f85.srdf",
            "UR5e",
            "ur_manipulator",
            "ur_manipulator",
            "gripper",
            "base_link",
            UR_JOINTS,
            ur5e,
            ur5e,
        ),
    }
)
"""Built-in arms by name."""


def known_arm(name: str) -> KnownArm:
    """Find a built-in arm by name.

    Raises:
        UnknownNameError: the name is not in ARMS.
    """
    if name not in ARMS:
        raise UnknownNameError("arm", name, tuple(ARMS))
    return ARMS[name]
