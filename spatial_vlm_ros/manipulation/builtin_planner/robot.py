# SPDX-License-Identifier: Apache-2.0
"""The Franka Panda with its hand, from the description that example-robot-data ships."""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.joint_limits import JointLimit
from spatial_vlm_ros.manipulation.builtin_planner.request import WIDEST, Floats
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull

ARM_JOINTS = tuple(f"panda_joint{k}" for k in range(1, 8))
BASE_LINK = "panda_link0"
HAND_LINKS = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
TIP = "panda_hand_tcp"
# A quarter of what the maker's table of limits allows (15, 7.5, 10, 12.5, 15, 20, 20 rad/s^2), for jerk is not limited.
ACCELERATION = np.array([3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0])
HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


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


def fixed_links() -> dict[str, Floats]:
    """Links of the Panda rigidly connected to the tip: name → (4, 4) link_T_tip, metres."""
    return panda().fixed_links()


def link_hulls(joints: Floats, opening: float = WIDEST) -> tuple[LinkHull, ...]:
    """Pose and hull of each link of the Panda and its hand; see `ArmModel.link_hulls`. The first call makes the hulls.

    Returns:
        11 links posed in the frame `panda_link0`, metres.
    """
    return panda().link_hulls(joints, opening)
