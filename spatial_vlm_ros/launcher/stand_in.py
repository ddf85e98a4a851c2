# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the part of launch and launch_ros that our launch files use, as plain data.

`installed()` replaces the real packages while a launch file is read. Names and arguments are the same. Parts that our
files do not use are missing on purpose: using more of launch then fails at once instead of being ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class LaunchContext:
    """Arguments and environment while a description is evaluated."""

    launch_configurations: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LaunchDescription:
    """The entities of a launch file in their order."""

    entities: Sequence[Any] = ()


class DeclareLaunchArgument:
    """An argument: required if it has no default."""

    def __init__(
        self,
        name: str,
        *,
        default_value: str | None = None,
        description: str = "",
        choices: Sequence[str] | None = None,
    ) -> None:
        self.name, self.default_value, self.description = name, default_value, description
        self.choices = tuple(choices or ())


@dataclass(frozen=True)
class SetEnvironmentVariable:
    """A variable of every later process."""

    name: str
    value: str


@dataclass(frozen=True)
class PythonLaunchDescriptionSource:
    """Another launch file."""

    location: str


@dataclass(frozen=True)
class IncludeLaunchDescription:
    """The description of another launch file, included here with the same arguments."""

    source: PythonLaunchDescriptionSource


@dataclass(frozen=True)
class OpaqueFunction:
    """A function of the context that returns entities."""

    function: Callable[[LaunchContext], Sequence[Any] | None]


@dataclass(frozen=True)
class Shutdown:
    """Ends everything that was started."""


class ParameterValue:
    """A parameter's value, which keeps its type."""

    def __init__(self, value: Any, *, value_type: type | None = None) -> None:
        if value_type is not None and type(value) is not value_type:
            raise TypeError(f"{value!r} is not a {value_type.__name__}")
        self.value = value


class Node:
    """A ROS node in its own process."""

    def __init__(
        self,
        *,
        package: str,
        executable: str,
        name: str,
        namespace: str = "",
        parameters: Sequence[str | Mapping[str, ParameterValue]] = (),
        remappings: Sequence[tuple[str, str]] = (),
        arguments: Sequence[str] = (),
        ros_arguments: Sequence[str] = (),
        output: str = "log",
        on_exit: Shutdown | Callable[..., Any] | None = None,
        respawn: bool = False,
        respawn_delay: float | None = None,
    ) -> None:
        self.package, self.executable, self.name, self.namespace = package, executable, name, namespace
        self.parameters, self.remappings = parameters, remappings
        self.arguments, self.ros_arguments, self.output, self.on_exit = arguments, ros_arguments, output, on_exit
        self.respawn, self.respawn_delay = respawn, respawn_delay


_MODULES: dict[str, tuple[type, ...]] = {
    "launch": (LaunchContext, LaunchDescription),
    "launch.actions": (
        DeclareLaunchArgument,
        IncludeLaunchDescription,
        OpaqueFunction,
        SetEnvironmentVariable,
        Shutdown,
    ),
    "launch.launch_description_sources": (PythonLaunchDescriptionSource,),
    "launch_ros": (),
    "launch_ros.actions": (Node,),
    "launch_ros.parameter_descriptions": (ParameterValue,),
}


@contextmanager
def installed() -> Iterator[None]:
    """Within this context, `import launch` and `import launch_ros` import the stand-in."""
    ours = ("launch", "launch_ros")
    theirs = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ours}
    for name in theirs:
        del sys.modules[name]
    for name, classes in _MODULES.items():
        module = ModuleType(name)
        module.__path__ = []  # a package without submodules
        for each in classes:
            setattr(module, each.__name__, each)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in _MODULES:
            del sys.modules[name]
        sys.modules.update(theirs)
