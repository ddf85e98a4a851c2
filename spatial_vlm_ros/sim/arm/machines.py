# SPDX-License-Identifier: Apache-2.0
"""The simulated arms: a Panda and a UR5e, each with a parallel gripper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS, HOME
from spatial_vlm_ros.sim.meshes import Array


@dataclass(frozen=True, eq=False)
class SimulatedArm:
    """A simulated arm with its gripper."""

    name: str
    urdf: Callable[[], Path]
    srdf: Callable[[], Path]
    arm_joints: tuple[str, ...]
    finger_joints: tuple[str, str]  # the driven one and the one coupled to it; prismatic, 0 = closed
    fingers: tuple[str, str]
    base_link: str  # at the world's origin
    hand_link: str
    links: tuple[str, ...]  # whose transforms are published, each in the base frame
    home: Array  # (J,) radians, initial posture, above or behind the camera's view
    most_open: float  # travel of each finger, metres
    most_force: float  # of each finger, N
    brakes: Array  # (J,) deceleration for stopping, rad/s²
    gate: Mapping[str, Any]

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of all joints: the arm's, then the fingers'."""
        return (*self.arm_joints, *self.finger_joints)


PANDA = SimulatedArm(
    name="panda",
    urdf=ARMS["panda"].urdf,
    srdf=ARMS["panda"].srdf,
    arm_joints=ARMS["panda"].joints,
    finger_joints=("panda_finger_joint1", "panda_finger_joint2"),
    fingers=("panda_leftfinger", "panda_rightfinger"),
    base_link=ARMS["panda"].base_link,
    hand_link="panda_hand",
    links=(
        *(f"panda_link{k}" for k in range(1, 9)),
        "panda_hand",
        "panda_hand_tcp",
        "panda_leftfinger",
        "panda_rightfinger",
    ),
    home=HOME,
    most_open=0.04,
    most_force=70.0,  # continuous holding force stated by the manufacturer
    brakes=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]),  # greatest accelerations stated by the manufacturer
    gate=MappingProxyType({"motion.planning_frame": "panda_link0"}),  # the others are the gate's defaults
)
UR5E = SimulatedArm(
    name="ur5e",
    urdf=ARMS["ur5e"].urdf,
    srdf=ARMS["ur5e"].srdf,
    arm_joints=ARMS["ur5e"].joints,
    finger_joints=("gripper_left_finger_joint", "gripper_right_finger_joint"),
    fingers=("gripper_left_finger", "gripper_right_finger"),
    base_link=ARMS["ur5e"].base_link,
    hand_link="gripper_base",
    links=(
        *("shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link"),
        *("tool0", "gripper_base", "gripper_tcp", "gripper_left_finger", "gripper_right_finger"),
    ),
    home=np.array([0.0, -2.2, 2.0, -1.3708, -np.pi / 2, 0.0]),  # drawn back, fingers down
    most_open=0.0425,
    most_force=235.0,  # largest force of a Robotiq 2F-85
    brakes=np.full(6, 10.0),  # an assumption: the manufacturer publishes none
    gate=MappingProxyType(
        {
            "motion.planning_frame": "base_link",
            "motion.base_link": "base_link",
            "motion.group": "ur_manipulator",
            "motion.tip_link": "gripper_tcp",
            "motion.finger_links": "gripper_left_finger gripper_right_finger",
            "motion.finger_joints": "gripper_left_finger_joint gripper_right_finger_joint",
            "gripper.opening_max": 0.085,
            "gripper.finger_length": 0.052,
            "gripper.finger_thickness": 0.022,
            "gripper.finger_width": 0.022,
            "gripper.finger_beyond": 0.01,
            "gripper.palm_width": 0.149,
            "gripper.palm_thickness": 0.075,
            "gripper.palm_depth": 0.108,
            "gripper.tip_z": 0.15,
            "gripper.tip_yaw_deg": 0.0,
        }
    ),
)
SIMULATED_ARMS: Mapping[str, SimulatedArm] = MappingProxyType({arm.name: arm for arm in (PANDA, UR5E)})
"""By name."""


def simulated_arm(name: str) -> SimulatedArm:
    """Return an arm by its name."""
    if name not in SIMULATED_ARMS:
        raise UnknownNameError("arm", name, tuple(SIMULATED_ARMS))
    return SIMULATED_ARMS[name]
