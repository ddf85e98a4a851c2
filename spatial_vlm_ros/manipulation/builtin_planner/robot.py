# SPDX-License-Identifier: Apache-2.0
"""The arm: a Franka Panda with its hand, from the description that example-robot-data ships."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.manipulation.builtin_planner.request import WIDEST, Floats
from spatial_vlm_ros.manipulation.planning import robot_model
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import load, model_and_geometry
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull
from spatial_vlm_ros.types import Transform

ARM_JOINTS = tuple(f"panda_joint{k}" for k in range(1, 8))
BASE_LINK = "panda_link0"
HAND_LINKS = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
WRIST_LINKS = ("panda_link6", "panda_link7", *HAND_LINKS)  # near enough to what is held to be no obstacles for it
TIP = "panda_hand_tcp"
# A quarter of what the maker's table of limits allows (15, 7.5, 10, 12.5, 15, 20, 20 rad/s^2), for jerk is not limited.
ACCELERATION = np.array([3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0])
FROM_LIMITS = 0.005  # radians kept from each end of a joint
HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])


@dataclass(frozen=True, eq=False)
class PandaModel:
    """What is known of the arm; shared by all plans, changed by none.

    Args:
        model: Pinocchio's model of nine joints: seven of the arm, two of the fingers.
        geometry: convex hulls of its links, without pairs.
        self_pairs: indices of hulls that could hit each other.
        lower: (7,) radians.
        upper: (7,) radians.
        velocity: (7,) radians a second, as in the URDF.
        tip: index of the frame whose pose is planned.
    """

    model: Any
    geometry: Any
    self_pairs: tuple[tuple[int, int], ...]
    lower: Floats
    upper: Floats
    velocity: Floats
    tip: int

    def link_of(self, hull: int) -> str:
        """Name of the link that a hull belongs to."""
        return str(self.model.frames[self.geometry.geometryObjects[hull].parentFrame].name)


def description() -> Path:
    """The folder of the Panda in example-robot-data.

    Raises:
        DependencyError: it is not installed.
        FileError: it is, without a Panda.
    """
    try:
        wheel = metadata.distribution("example-robot-data")
    except metadata.PackageNotFoundError as error:
        raise DependencyError("example-robot-data", install("arm")) from error
    folder = Path(str(wheel.locate_file("cmeel.prefix/share/example-robot-data/robots/panda_description")))
    if not (folder / "urdf" / "panda.urdf").is_file():
        raise FileError(folder, "there is no urdf/panda.urdf", "install example-robot-data from its wheel")
    return folder


def description_file() -> Path:
    """The Panda's URDF; raises as `description` does."""
    return description() / "urdf" / "panda.urdf"


@functools.cache
def panda() -> PandaModel:
    """Read the description; 0.1 s.

    Pairs of links that touch by design, or never can, are those of the SRDF that comes with the description.
    """
    pin = load("pinocchio")
    urdf = description_file()
    model, geometry = model_and_geometry(urdf)
    geometry.addAllCollisionPairs()
    pin.removeCollisionPairs(model, geometry, str(urdf.parents[1] / "srdf" / "panda.srdf"))
    pairs = tuple((pair.first, pair.second) for pair in geometry.collisionPairs)
    geometry.removeAllCollisionPairs()
    return PandaModel(
        model=model,
        geometry=geometry,
        self_pairs=pairs,
        lower=model.lowerPositionLimit[:7] + FROM_LIMITS,
        upper=model.upperPositionLimit[:7] - FROM_LIMITS,
        velocity=model.velocityLimit[:7].copy(),
        tip=model.getFrameId(TIP),
    )


def fixed_links() -> dict[str, Floats]:
    """Links that move with the tip as one: (4, 4) link_T_tip by name, metres."""
    pin, robot = load("pinocchio"), panda()
    tip = robot.model.frames[robot.tip]
    return {
        frame.name: (frame.placement.inverse() * tip.placement).homogeneous
        for frame in robot.model.frames
        if frame.parentJoint == tip.parentJoint and frame.type == pin.FrameType.BODY
    }


def link_hulls(joints: Floats, opening: float = WIDEST) -> tuple[LinkHull, ...]:
    """Where each link of the arm and its hand is, with the convex hull of its collision meshes.

    The first call takes longer, for it makes the hulls.

    Args:
        joints: (7,) radians, at the stamp of the frame that they are for.
        opening: distance between the fingers, metres.

    Returns:
        11 links posed in the frame `panda_link0`, metres.

    Raises:
        InputError: not seven finite numbers, or an opening that the hand does not have.
        DependencyError: the extra `arm` is not installed.
    """
    joints = np.asarray(joints)
    if joints.shape != (7,) or joints.dtype.kind not in "fiu" or not np.isfinite(joints).all():
        raise InputError("joints", str(joints), "7 finite joint positions", "copy them from the joint states")
    if not 0 <= opening <= WIDEST:
        raise InputError("opening", str(opening), f"0 to {WIDEST} m", "the hand opens no wider")
    pin, robot = load("pinocchio"), panda()
    data = robot.model.createData()
    pin.framesForwardKinematics(robot.model, data, np.append(joints, [opening / 2, opening / 2]).astype(np.float64))
    return tuple(
        LinkHull(Transform(BASE_LINK, robot.model.frames[frame].name, data.oMf[frame].homogeneous), hull)
        for frame, hull in _hulls().items()
    )


@functools.cache
def _hulls() -> dict[int, Hull]:
    """The hull of each link in its own frame, by index of the frame."""
    robot = panda()
    return robot_model.link_hulls(robot.model, robot.geometry)
