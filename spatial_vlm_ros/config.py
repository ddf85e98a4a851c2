# SPDX-License-Identifier: Apache-2.0
"""Every number the core decides by, with its unit, bounds and reason: the one source of parameters.

Declaration (ROS), YAML files and the parameter table in the docs are made from these dataclasses.
A constant that is not here is not tunable and follows from a definition or a formula beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import FrameOfReference


def parameter(default: Any, unit: str, low: float, high: float, doc: str) -> Any:
    """A bounded number with its unit and reason, read back through `dataclasses.fields(...).metadata`."""
    return field(default=default, metadata={"unit": unit, "low": low, "high": high, "doc": doc})


@dataclass(frozen=True)
class _Bounded:
    """Checks every field that carries bounds."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            wanted = (int,) if isinstance(f.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise InputError(f"parameter {f.name}", repr(value), wanted[-1].__name__, "give a plain number")
            if "low" in f.metadata and not f.metadata["low"] <= value <= f.metadata["high"]:
                raise InputError(
                    f"parameter {f.name}",
                    str(value),
                    f"{f.metadata['low']} to {f.metadata['high']} {f.metadata['unit']}".strip(),
                    f.metadata["doc"],
                )


@dataclass(frozen=True)
class DepthConfig(_Bounded):
    """How far measured depth is to be trusted."""

    near: float = parameter(0.1, "m", 0.01, 10.0, "nearest depth taken as measured")
    far: float = parameter(5.0, "m", 0.1, 100.0, "farthest depth taken as measured")
    noise_floor: float = parameter(0.001, "m", 0.0, 0.1, "standard deviation of depth at zero range")
    noise_quadratic: float = parameter(
        0.003,
        "1/m",
        0.0,
        0.1,
        "growth of the standard deviation with range squared; 0.001 to 0.004 for structured light and stereo",
    )
    correlated_fraction: float = parameter(
        0.5,
        "",
        0.0,
        1.0,
        "part of that deviation shared by a whole object (calibration, stereo matching): averaging does not remove it",
    )


@dataclass(frozen=True)
class LiftConfig(_Bounded):
    """How pixels become objects."""

    erode_px: int = parameter(1, "px", 0, 10, "rim removed from a given mask, where depth mixes object and background")
    min_pixels: int = parameter(20, "px", 1, 10000, "fewest measured pixels that make an object")
    min_valid_fraction: float = parameter(
        0.2, "", 0.0, 1.0, "least part of a mask with measured depth: less is glass, shine or black"
    )
    gap: float = parameter(
        0.025, "m", 0.001, 0.5, "jump in depth that separates two surfaces, on top of 6 standard deviations"
    )
    support_height: float = parameter(
        0.004, "m", 0.0, 0.1, "least height above the support that is not the support, on top of its roughness"
    )
    trim: float = parameter(0.01, "", 0.0, 0.2, "part of the points cut at each end of an extent")
    see_through_fraction: float = parameter(
        0.5, "", 0.0, 1.0, "part of an object's depth behind its support that makes it see-through"
    )


@dataclass(frozen=True)
class RelationConfig(_Bounded):
    """Where relations begin and end. docs/relations.md explains each."""

    cone_deg: float = parameter(
        45.0, "deg", 5.0, 85.0, "half opening of the cone of behind and in front of, and of above and below"
    )
    size_blur: float = parameter(
        0.1, "", 0.0, 1.0, "uncertainty of an object's place in a relation, as part of its size"
    )
    contact: float = parameter(0.015, "m", 0.0, 0.2, "gap that still counts as resting on")
    next_to_sizes: float = parameter(2.0, "", 0.1, 10.0, "largest gap of 'next to', in mean object sizes")
    near_sizes: float = parameter(3.0, "", 0.1, 20.0, "largest gap of 'near', in mean object sizes")
    far_sizes: float = parameter(4.0, "", 0.1, 50.0, "smallest gap of 'far from', in mean object sizes")
    min_reach: float = parameter(
        0.05, "m", 0.0, 1.0, "least size used in gaps of next to, near and far: a pen is not next to nothing"
    )
    straight_down_deg: float = parameter(75.0, "deg", 30.0, 90.0, "steeper than this a view has no behind and in front")


@dataclass(frozen=True)
class DecisionConfig(_Bounded):
    """When an answer is given."""

    holds: float = parameter(0.85, "", 0.5, 1.0, "likelihood above which a clause holds; below one minus it, it fails")
    mass: float = parameter(0.8, "", 0.5, 1.0, "share of the posterior the answer needs; less is ambiguous")
    found: float = parameter(0.3, "", 0.0, 1.0, "fit of name and attributes below which a phrase matches nothing seen")
    score_weight: float = parameter(
        0.25, "", 0.0, 1.0, "exponent of detector scores: 0 ignores them, 1 takes them for probabilities"
    )
    min_visible: float = parameter(0.1, "", 0.0, 1.0, "visible fraction below which an object is too hidden to act on")
    hidden_size: float = parameter(0.06, "m", 0.0, 2.0, "smallest thing that a hidden region is reported for")


@dataclass(frozen=True)
class ResolverConfig:
    """Configuration of the resolver.

    Args:
        frame_of_reference: used when neither the words nor the request say one: viewer (default) or robot.
        depth, lift, relation, decision: the numbers of each step.
    """

    frame_of_reference: FrameOfReference = FrameOfReference.VIEWER
    depth: DepthConfig = field(default_factory=DepthConfig)
    lift: LiftConfig = field(default_factory=LiftConfig)
    relation: RelationConfig = field(default_factory=RelationConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)

    def __post_init__(self) -> None:
        names = [FrameOfReference.VIEWER.value, FrameOfReference.ROBOT.value]
        _check_names("frame_of_reference", [getattr(self.frame_of_reference, "value", self.frame_of_reference)], names)
        object.__setattr__(self, "frame_of_reference", FrameOfReference(self.frame_of_reference))
        if self.depth.near >= self.depth.far:
            got = f"near {self.depth.near}, far {self.depth.far}"
            raise InputError("parameter depth", got, "near below far", "exchange them")


def config_from(values: Mapping[str, Any]) -> ResolverConfig:
    """A configuration from nested values by parameter name; what is left out keeps its default.

    Raises:
        UnknownNameError: a name that is no parameter.
        InputError: a value of the wrong type or out of its bounds.
    """
    defaults = ResolverConfig()
    _check_names("parameter", values, (f.name for f in dataclasses.fields(defaults)))
    changed: dict[str, Any] = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if isinstance(default, FrameOfReference):
            changed[name] = value
        else:
            changed[name] = _group_from(name, default, value)
    return dataclasses.replace(defaults, **changed)


def _group_from(name: str, default: Any, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"parameter {name}", repr(values), "a group of parameters", "indent its parameters below it")
    _check_names(f"parameter of {name}", values, (f.name for f in dataclasses.fields(default)))
    return dataclasses.replace(default, **values)


def _check_names(kind: str, names: Iterable[Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, str(name), known)
