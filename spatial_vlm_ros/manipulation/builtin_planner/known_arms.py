# SPDX-License-Identifier: Apache-2.0
"""Arms that are known by name: the Franka Panda of example-robot-data, and a UR5e with a gripper of boxes."""

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
_UR_MOUNT = "gripper_joint"  # that fastens the gripper to tool0
UR_JOINTS = tuple(
    f"{name}_joint" for name in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
)


@dataclass(frozen=True)
class KnownArm:
    """An arm that is known by name.

    Args:
        urdf, srdf: give the paths of its files; raise where they are not installed.
        title: for a person.
        group: of the arm in the SRDF.
        called: what MoveIt configurations of this arm call that group.
        end_effector: its gripper.
        base_link: its first link.
        joints: of the arm, from the base to the tip.
        model: reads it, once.
        turned: reads it with the gripper turned by degrees about the flange's z; None = its gripper is mounted one way.
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
    """A UR5e with a parallel gripper of the measures of a Robotiq 2F-85; it needs no meshes.

    The files of it, `robots/ur5e_2f85.*`, name the sources of their numbers.

    Args:
        gripper_yaw_deg: turn of the gripper about z of tool0: at 0 its fingers close along y of tool0, at 90 along x.
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
"""By name."""


def known_arm(name: str) -> KnownArm:
    """An arm by its name.

    Raises:
        UnknownNameError: it is not one of ARMS.
    """
    if name not in ARMS:
        raise UnknownNameError("arm", name, tuple(ARMS))
    return ARMS[name]
