# SPDX-License-Identifier: Apache-2.0
"""ROS parameters, declared from `parameters/`: names, defaults, ranges and reasons live there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import NodeConfig, PlanningConfig, Settings, StreamConfig, planning_from, settings_from
from spatial_vlm_ros.types import FrameOfReference

# An anchor's own frame is asked for by words or requests alone.
DEFAULT_FRAMES = tuple(frame.value for frame in FrameOfReference if frame is not FrameOfReference.OBJECT)
FRAME_METADATA: Mapping[str, Any] = {
    "doc": "frame of reference used if neither the words nor the request state one",
    "unit": "",
    "choices": DEFAULT_FRAMES,
}


def declared(*rooms: Any) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Default and metadata of every parameter of some configurations by its ROS name; of the resolver's by default."""
    found: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    everything = Settings()
    if not rooms:
        kept = dataclasses.fields(everything.evidence)
        found |= {f"evidence.{f.name}": (getattr(everything.evidence, f.name), f.metadata) for f in kept}
    for room in rooms or (everything.resolver, everything.streams, everything.node):
        for field in dataclasses.fields(room):
            value = getattr(room, field.name)
            if isinstance(value, FrameOfReference):
                found[field.name] = (value.value, FRAME_METADATA)
            elif dataclasses.is_dataclass(value):
                for inner in dataclasses.fields(value):
                    found[f"{field.name}.{inner.name}"] = (getattr(value, inner.name), inner.metadata)
            else:
                found[field.name] = (value, field.metadata)
    return found


FIXED = tuple(
    f.name for room in (StreamConfig, NodeConfig) for f in dataclasses.fields(room) if f.metadata.get("fixed")
)
"""Read when the node is configured."""


def declare(node: Node, *rooms: Any) -> None:
    """Declare the parameters of some configurations on a node; the resolver's by default."""
    for name, (default, metadata) in declared(*rooms).items():
        node.declare_parameter(name, default, _descriptor(default, metadata))


def values(node: Node, room: Any) -> dict[str, Any]:
    """The values of a flat configuration's parameters."""
    return {name: node.get_parameter(name).value for name in declared(room)}


def read(node: Node) -> Settings:
    """The settings as a node's parameters have them.

    Raises:
        InputError: values that do not fit together.
    """
    return settings_from(_nested({name: node.get_parameter(name).value for name in declared()}))


def settings_of(values: Mapping[str, Any]) -> Settings:
    """The settings of parameters by their ROS names, as another node tells them; those left out have their defaults.

    Raises:
        InputError: values that do not fit together.
        UnknownNameError: a parameter that does not exist.
    """
    return settings_from(_nested(values))


def read_planning(node: Node) -> PlanningConfig:
    """What a node's parameters say about planning.

    Raises:
        InputError: values that do not fit together.
    """
    names = declared(PlanningConfig())
    return planning_from(_nested({name: node.get_parameter(name).value for name in names}))


def refuse_fixed(node: Node, room: Any, changes: Iterable[Parameter]) -> SetParametersResult:
    """Whether a node that has read all of a configuration may change its parameters now: not the fixed ones."""
    for change in changes:
        metadata = declared(room).get(change.name, (None, {}))[1]
        if metadata.get("fixed") and change.value != node.get_parameter(change.name).value:
            reason = f"{change.name} is read when the node starts; restart the node with the new value"
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def check(node: Node, changes: Iterable[Parameter], configured: bool) -> SetParametersResult:
    """Whether a change may be made.

    Args:
        node: that declared them.
        changes: the new values.
        configured: whether the node has read its fixed parameters.
    """
    wanted = {name: node.get_parameter(name).value for name in declared()}
    for change in changes:
        if change.name not in wanted:
            continue
        if configured and change.name in FIXED and change.value != wanted[change.name]:
            reason = (
                f"{change.name} is read when the node is configured; clean up the node first, then set the parameter"
            )
            return SetParametersResult(successful=False, reason=reason)
        wanted[change.name] = change.value
    try:
        settings_from(_nested(wanted))
    except InputError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _descriptor(default: Any, metadata: Mapping[str, Any]) -> ParameterDescriptor:
    unit = f" [{metadata['unit']}]" if metadata["unit"] else ""
    descriptor = ParameterDescriptor(description=metadata["doc"] + unit)
    if metadata.get("choices"):
        words = " or ".join(choice or "an empty text" for choice in metadata["choices"])
        descriptor.description += f" ({words})"
        descriptor.additional_constraints = words
    if "low" not in metadata:
        return descriptor
    if isinstance(default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(metadata["low"]), to_value=int(metadata["high"]))]
    else:
        low, high = float(metadata["low"]), float(metadata["high"])
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as groups."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, inner = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[inner] = value
    return nested
