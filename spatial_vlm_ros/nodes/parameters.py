# SPDX-License-Identifier: Apache-2.0
"""Declares and reads ROS parameters; `parameters/` defines names, defaults, ranges and descriptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import NodeConfig, Settings, StreamConfig, settings_from
from spatial_vlm_ros.types import FrameOfReference

Room = TypeVar("Room")

# An anchor's own frame can only be chosen by the words or the request.
DEFAULT_FRAMES = tuple(frame.value for frame in FrameOfReference if frame is not FrameOfReference.OBJECT)
FRAME_METADATA: Mapping[str, Any] = {
    "doc": "frame of reference used if neither the words nor the request state one",
    "unit": "",
    "choices": DEFAULT_FRAMES,
}


def declared(*rooms: Any) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """ROS name → default and metadata of every parameter of some configurations (default: the resolver's)."""
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
"""Parameters that are read only when the node is configured."""


def declare(node: Node, *rooms: Any) -> None:
    """Declare the parameters of some configurations (default: the resolver's) on a node."""
    for name, (default, metadata) in declared(*rooms).items():
        unit = f" [{metadata['unit']}]" if metadata["unit"] else ""
        descriptor = ParameterDescriptor(description=metadata["doc"] + unit)
        if metadata.get("choices"):
            words = " or ".join(choice or "an empty text" for choice in metadata["choices"])
            descriptor.description += f" ({words})"
            descriptor.additional_constraints = words
        if "low" in metadata and isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(metadata["low"]), to_value=int(metadata["high"]))]
        elif "low" in metadata:
            low, high = float(metadata["low"]), float(metadata["high"])
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        node.declare_parameter(name, default, descriptor)


def values(node: Node, room: Any) -> dict[str, Any]:
    """The values of a configuration's parameters, by ROS name."""
    return {name: node.get_parameter(name).value for name in declared(room)}


def read(node: Node) -> Settings:
    """Read a node's parameters as settings."""
    return settings_from(nested({name: node.get_parameter(name).value for name in declared()}))


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Settings from parameters by ROS name, for example of another node; missing ones have their defaults."""
    return settings_from(nested(values))


def keep(node: Node, *rooms: Any, only_fixed: bool = True) -> None:
    """Refuse later changes of the clock and of the parameters of some configurations, or only of the fixed ones."""
    kept = {name for name, (_, metadata) in declared(*rooms).items() if metadata.get("fixed") or not only_fixed}
    kept.add("use_sim_time")

    def refuse(changes: Iterable[Parameter]) -> SetParametersResult:
        for change in changes:
            if change.name in kept and change.value != node.get_parameter(change.name).value:
                reason = f"{change.name} is read when the node starts; restart the node with the new value"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(refuse)


def configured(node: Node, room: Room) -> Room:
    """Declare and read the parameters of a flat configuration; later changes of fixed ones are refused."""
    declare(node, room)
    keep(node, room)
    return dataclasses.replace(room, **values(node, room))  # type: ignore[type-var]


def check(node: Node, changes: Iterable[Parameter], configured: bool) -> SetParametersResult:
    """Check a change of parameters; the result says whether it is allowed and why not."""
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
        settings_from(nested(wanted))
    except InputError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by ROS name, those of a group in a mapping of their own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        group, _, inner = name.rpartition(".")
        (found.setdefault(group, {}) if group else found)[inner] = value
    return found
