# SPDX-License-Identifier: Apache-2.0
"""All numbers the package decides by, with unit, bounds and reason: the only source of parameters.

ROS declarations, YAML files and the parameter table in the docs are made from these dataclasses, one file per owner. A
constant that is not here cannot be tuned; it follows from a definition, or from a formula next to it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.parameters.bounds import words_in
from spatial_vlm_ros.parameters.nodes import (
    DESCRIPTION_TOPIC,
    BagConfig,
    EvidenceConfig,
    NodeConfig,
    PlayerConfig,
    Settings,
    StreamConfig,
    TrackerConfig,
    settings_from,
)
from spatial_vlm_ros.parameters.resolver import (
    DecisionConfig,
    DepthConfig,
    DomainGateConfig,
    JudgeConfig,
    LiftConfig,
    OccupancyConfig,
    PlaceConfig,
    RelationConfig,
    ResolverConfig,
    SecondOpinionConfig,
    config_from,
)

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters.arm import (
        PLANNERS,
        ArmPlannerConfig,
        GateConfig,
        RobotPreset,
        SimArmConfig,
        robot_from,
    )
    from spatial_vlm_ros.parameters.manipulation import (
        GoalConfig,
        GraspConfig,
        GripperConfig,
        MotionConfig,
        ObservationConfig,
        PlanningConfig,
        WorkspaceConfig,
        planning_from,
    )

__all__ = [
    "DESCRIPTION_TOPIC",
    "PLANNERS",
    "ArmPlannerConfig",
    "BagConfig",
    "DecisionConfig",
    "DepthConfig",
    "DomainGateConfig",
    "EvidenceConfig",
    "GateConfig",
    "GoalConfig",
    "GraspConfig",
    "GripperConfig",
    "JudgeConfig",
    "LiftConfig",
    "MotionConfig",
    "NodeConfig",
    "ObservationConfig",
    "OccupancyConfig",
    "PlaceConfig",
    "PlanningConfig",
    "PlayerConfig",
    "RelationConfig",
    "ResolverConfig",
    "RobotPreset",
    "SecondOpinionConfig",
    "Settings",
    "SimArmConfig",
    "StreamConfig",
    "TrackerConfig",
    "WorkspaceConfig",
    "config_from",
    "planning_from",
    "robot_from",
    "settings_from",
    "words_in",
]


def __getattr__(name: str) -> Any:
    """Load a name of the arm's nodes from its module on first use (PEP 562)."""
    for home in ("arm", "manipulation", "robots") if name in __all__ else ():
        if hasattr(module := importlib.import_module(f"{__name__}.{home}"), name):
            return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
