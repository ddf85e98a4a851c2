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
from pathlib import Path
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


@dataclass(frozen=True)
class DeclareLaunchArgument:
    """An argument: required if it has no default."""

    name: str
    default_value: str | None = None
    description: str = ""
    choices: Sequence[str] = ()


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


@dataclass(frozen=True)
class Process:
    """One node in its own process."""

    package: str
    executable: str
    name: str
    namespace: str = ""
    parameter_files: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    ros_arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    essential: bool = False
    respawn: bool = False

    @property
    def full_name(self) -> str:
        """Name of the node with its namespace."""
        return "/" + "/".join(part for part in (self.namespace.strip("/"), self.name) if part)


def Node(*, parameters: Sequence[str | Mapping[str, ParameterValue]] = (), on_exit: Any = None, **form: Any) -> Process:
    """A ROS node in its own process; its output and the delay of its restarts are the launcher's own."""
    files = tuple(Path(entry) for entry in parameters if isinstance(entry, str))
    values = {name: value.value for entry in parameters if isinstance(entry, Mapping) for name, value in entry.items()}
    kept: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in form.items()}
    for unused in ("output", "respawn_delay"):
        kept.pop(unused, None)
    return Process(parameter_files=files, parameters=values, essential=on_exit is not None, **kept)


_MODULES: dict[str, tuple[Any, ...]] = {
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
