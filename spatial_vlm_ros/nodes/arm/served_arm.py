# SPDX-License-Identifier: Apache-2.0
"""Which arm `arm_planner` plans for, from its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import known_arm
from spatial_vlm_ros.parameters import ArmPlannerConfig

_OF_IT = ("robot_description_semantic", "group", "end_effector", "joint_limits")
_ITS_OWN = (*_OF_IT, "tip_link", "openings")


@dataclass(frozen=True, eq=False)
class ServedArm:
    """An arm with its display name and its names in requests."""

    model: ArmModel
    title: str
    groups: tuple[str, ...]


def served_arm(config: ArmPlannerConfig) -> ServedArm:
    """The arm that the parameters name."""
    if not config.robot_description:
        known = known_arm(config.arm)
        without = [name for name in _ITS_OWN if getattr(config, name)]
        if without:
            repair = f"set it to the URDF of that arm, or leave {without[0]} empty for the {known.title}"
            raise InputError("parameter robot_description", f"empty, but {without[0]} is set", "a URDF", repair)
        yaw = config.gripper_yaw_deg
        if yaw and known.turned is None:
            repair = f"set robot_description to the URDF of your {known.title}, or leave gripper_yaw_deg at 0"
            raise InputError("parameter gripper_yaw_deg", f"{yaw:g}, with arm {config.arm}", "0", repair)
        model = known.turned(yaw) if yaw and known.turned is not None else known.model()
        return ServedArm(model, known.title, tuple(dict.fromkeys((known.called, known.group))))
    if config.gripper_yaw_deg:
        repair = "turn the gripper in the URDF, and leave gripper_yaw_deg at 0"
        raise InputError(
            "parameter gripper_yaw_deg", f"{config.gripper_yaw_deg:g}, but robot_description is set", "0", repair
        )
    missing = [name for name in _OF_IT if not getattr(config, name)]
    if missing:
        repair = "with robot_description, set all of robot_description_semantic, group, end_effector and joint_limits"
        raise InputError(f"parameter {missing[0]}", "empty, but robot_description is set", "a value", repair)
    model = arm_model(
        config.robot_description,
        config.robot_description_semantic,
        config.group,
        config.end_effector,
        tip_link=config.tip_link,
        joint_limits=config.joint_limits,
        openings=_openings(config.openings),
    )
    return ServedArm(model, model.name, (config.group,))


def _openings(text: str) -> tuple[tuple[float, float], ...]:
    """Pairs of numbers from "opening:position opening:position"."""
    pairs = []
    for word in text.split():
        opening, _, position = word.partition(":")
        try:
            pairs.append((float(opening), float(position)))
        except ValueError as error:
            repair = "give pairs of the distance between the fingers in metres and the position of the finger joint"
            raise InputError("parameter openings", repr(word), 'pairs such as "0:0.79 0.085:0"', repair) from error
    return tuple(pairs)
