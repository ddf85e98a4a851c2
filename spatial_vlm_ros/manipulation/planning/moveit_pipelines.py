# SPDX-License-Identifier: Apache-2.0
"""Checks by the parameters of move_group whether MoveIt can plan the requests of this package.

For a pipeline that is not loaded, MoveIt answers FAILURE without a reason, and for an unknown planner OMPL uses its
default: moveit2, jazzy 4d841063, move_action_capability.cpp:206-212, planning_context_manager.cpp:505-526. So names are
checked before the first request. See docs/motion.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import MotionConfig

OMPL = "ompl_interface/OMPLPlanner"
PILZ = "pilz_industrial_motion_planner/CommandPlanner"
CUMOTION = "isaac_ros_cumotion_moveit/CumotionPlanner"
CUMOTION_PIPELINE = "isaac_ros_cumotion"
"""Name in NVIDIA's configurations: isaac_ros_cumotion f7cc189, isaac_ros_cumotion_moveit/config."""
VALIDATES = "default_planning_response_adapters/ValidateSolution"
_ALL = ("planning_pipelines", "planning_pipelines.pipeline_names", "default_planning_pipeline")
SRDF = "robot_description_semantic"
_GROUP = re.compile(r"<group\s+name\s*=\s*[\"']([^\"']+)[\"']")
_LONGEST_SRDF = 1_000_000  # characters
_PILZ_FREE = ("PTP", "LIN")  # CIRC and POLYLINE need points on the way


def first_names() -> tuple[str, ...]:
    """Names of the move_group parameters that list pipelines and groups."""
    return (*_ALL, SRDF)


def loaded_pipelines(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the pipelines that are loaded; () if not known."""
    for name in _ALL[:2]:
        if found := _strings(values.get(name)):
            return found
    return ()


def further_names(values: Mapping[str, Any], motion: MotionConfig) -> tuple[str, ...]:
    """Names of the parameters of the used pipelines; () if the pipelines are not known."""
    names = []
    for pipeline in {_chosen(values, motion.free_pipeline), _chosen(values, motion.straight_pipeline)} - {""}:
        parts = ("planning_plugins", "planning_plugin", "response_adapters", f"{motion.group}.planner_configs")
        names += [f"{pipeline}.{part}" for part in parts]
    return tuple(sorted(names))


def check_pipelines(values: Mapping[str, Any], motion: MotionConfig) -> None:
    """Check that group, pipelines and planners exist and are suitable."""
    srdf = str(values.get(SRDF) or "")
    group = motion.group
    groups = sorted(set(_GROUP.findall(srdf[:_LONGEST_SRDF])))
    if groups and group not in groups:
        raise InputError("parameter motion.group", repr(group), f"one of {_list(groups)}", "name a group of the SRDF")
    loaded = loaded_pipelines(values)
    if not loaded:
        return
    for kind, name, planner in (
        ("free", motion.free_pipeline, motion.free_planner),
        ("straight", motion.straight_pipeline, motion.straight_planner),
    ):
        pipeline = _chosen(values, name)
        if pipeline not in loaded:
            repair = "name it in planning_pipelines of move_group, or choose another one"
            raise InputError(f"parameter motion.{kind}_pipeline", repr(pipeline), f"one of {_list(loaded)}", repair)
        plugins = _strings(values.get(f"{pipeline}.planning_plugins"))
        checks_itself = not plugins  # Humble has one plugin, and checks every path: planning_pipeline.cpp:100, 288
        plugins = plugins or _strings(values.get(f"{pipeline}.planning_plugin"))
        configured = _strings(values.get(f"{pipeline}.{motion.group}.planner_configs"))
        what = f"parameter motion.{kind}_planner"
        if PILZ in plugins and (planner not in _PILZ_FREE or (kind == "straight" and planner != "LIN")):
            expected = "LIN" if kind == "straight" else _list(_PILZ_FREE)
            raise InputError(what, repr(planner), f"{expected} with Pilz, which has no default planner", "name it")
        if kind == "straight" and (OMPL in plugins or CUMOTION in plugins):
            repair = "use Pilz and LIN for straight motions"
            raise InputError(what, f"{planner!r} of {plugins[0]}", "a planner that keeps to a straight line", repair)
        if OMPL in plugins and planner and configured and planner not in configured:
            expected = f"one that the group {group} has: {_list(configured)}"
            repair = "OMPL would silently use its default; name another one"
            raise InputError(what, repr(planner), expected, repair)
        if not checks_itself and set(plugins) != {OMPL} and VALIDATES not in _strings(
            values.get(f"{pipeline}.response_adapters")
        ):  # fmt: skip
            repair = f"add {VALIDATES} to {pipeline}.response_adapters of move_group"
            got = f"{pipeline!r}, which does not check its paths for collisions"
            raise InputError(f"parameter motion.{kind}_pipeline", got, "one that checks its paths", repair)


def _chosen(values: Mapping[str, Any], name: str) -> str:
    """The pipeline of this name; "" means the default, otherwise the first: move_group.cpp:247-287."""
    loaded = loaded_pipelines(values)
    default = str(values.get(_ALL[2]) or "")
    return name or (default if default in loaded else next(iter(loaded), ""))


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value)) if isinstance(value, Sequence) else ()


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
