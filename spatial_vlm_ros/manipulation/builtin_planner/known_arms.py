# SPDX-License-Identifier: Apache-2.0
"""Built-in arms by name: the Franka Panda of example-robot-data, and a UR5e with a gripper made of boxes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import tostring

import numpy as np

from spatial_vlm_ros.errors import DependencyError, FileError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.description import JointLimit
from spatial_vlm_ros.manipulation.planning.robot_model import read_urdf

ARM_JOINTS = tuple(f"panda_joint{k}" for k in range(1, 8))
BASE_LINK = "panda_link0"
HAND_LINKS = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
TIP = "panda_hand_tcp"
# A quarter of what the maker's table of limits allows (15, 7.5, 10, 12.5, 15, 20, 20 rad/s^2), for jerk is not limited.
ACCELERATION = np.array([3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0])
HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])

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


def description() -> Path:
    """Folder of the Panda in example-robot-data."""
    try:
        wheel = metadata.distribution("example-robot-data")
    except metadata.PackageNotFoundError as error:
        raise DependencyError("example-robot-data", install("arm")) from error
    folder = Path(str(wheel.locate_file("cmeel.prefix/share/example-robot-data/robots/panda_description")))
    if not (folder / "urdf" / "panda.urdf").is_file():
        raise FileError(folder, "there is no urdf/panda.urdf", "install example-robot-data from its wheel")
    return folder


def description_file() -> Path:
    """Path of the Panda's URDF; raises like `description`."""
    return description() / "urdf" / "panda.urdf"


@functools.cache
def panda() -> ArmModel:
    """Read the Panda's model; takes 0.1 s.

    Link pairs that touch by design or never collide come from the SRDF of the description.
    """
    folder = description()
    limits = {
        name: JointLimit(max_acceleration=float(most)) for name, most in zip(ARM_JOINTS, ACCELERATION, strict=True)
    }
    return arm_model(
        folder / "urdf" / "panda.urdf",
        folder / "srdf" / "panda.srdf",
        "arm",
        "hand",
        tip_link=TIP,
        joint_limits=limits,
        home=HOME,
    )


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
            description_file,
            lambda: description() / "srdf" / "panda.srdf",
            "Panda",
            "arm",
            "panda_arm",
            "hand",
            BASE_LINK,
            ARM_JOINTS,
            panda,
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
