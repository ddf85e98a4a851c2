# SPDX-License-Identifier: Apache-2.0
"""Read a launch file and its arguments as plain data: which processes to start, and how."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.launcher import stand_in

PACKAGE = "spatial_vlm_ros"
SUFFIX = ".launch.py"
ROBOT = "spatial_vlm"  # the launch file of a robot; a camera's name also selects it


@dataclass(frozen=True)
class Argument:
    """An argument of a launch file; `default` None = required."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """One node in its own process.

    Args:
        package, executable: names as for `ros2 run`.
        parameter_files: parameter files in their order.
    """

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


@dataclass(frozen=True)
class LaunchPlan:
    """Processes that a launch file starts with some arguments."""

    arguments: tuple[Argument, ...]
    processes: tuple[Process, ...]


def share_folder() -> Path:
    """Find the folder with launch/ and config/: in the source tree, ROS's share, or the Python installation."""
    tried = [Path(__file__).resolve().parent.parent.parent]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sysconfig.get_path("data")]
    tried += [Path(prefix) / "share" / PACKAGE for prefix in prefixes]
    for folder in tried:
        if (folder / "launch" / f"{ROBOT}{SUFFIX}").is_file():
            return folder
    raise FileError(
        f"share/{PACKAGE}", f"there are no launch files in {', '.join(map(str, tried))}", "install the package again"
    )


def launch_file(share: Path, preset: str, cameras: Iterable[str]) -> tuple[Path, dict[str, str]]:
    """Find the launch file of a preset, with the arguments it implies.

    Args:
        preset: name of a launch file ("-" and "_" are equivalent), or of a camera.
    """
    files = {path.name.removesuffix(SUFFIX): path for path in sorted((share / "launch").glob(f"*{SUFFIX}"))}
    cameras = tuple(cameras)
    if preset.replace("-", "_") in files:
        return files[preset.replace("-", "_")], {}
    if preset in cameras:
        return files[ROBOT], {"camera": preset}
    raise UnknownNameError("preset", preset, (*files, *cameras))


def arguments_of(path: Path) -> tuple[Argument, ...]:
    """The arguments of a launch file and of those it includes."""
    with stand_in.installed():
        return tuple(_arguments(_described(path)))


def plan(path: Path, given: Mapping[str, str]) -> LaunchPlan:
    """Evaluate a launch file."""
    with stand_in.installed():
        description = _described(path)
        arguments = tuple(_arguments(description))
        for name in given:
            if name not in {argument.name for argument in arguments}:
                raise UnknownNameError("argument", name, sorted({argument.name for argument in arguments}))
        processes: list[Process] = []
        _walk(description, stand_in.LaunchContext(dict(given)), processes)
    return LaunchPlan(arguments, tuple(processes))


def _described(path: Path) -> stand_in.LaunchDescription:
    """Return the result of a launch file's `generate_launch_description`."""
    spec = importlib.util.spec_from_file_location(path.name.removesuffix(SUFFIX), path)
    if spec is None or spec.loader is None:
        raise FileError(path, "not a Python file", "pass a launch file")
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    description: stand_in.LaunchDescription = module.generate_launch_description()
    return description


def _arguments(description: stand_in.LaunchDescription) -> list[Argument]:
    """Declared arguments in order; if one is declared twice, the outer and first one."""
    found: dict[str, Argument] = {}
    for entity in description.entities:
        if isinstance(entity, stand_in.DeclareLaunchArgument):
            declared = [Argument(entity.name, entity.default_value, entity.description, entity.choices)]
        elif isinstance(entity, stand_in.IncludeLaunchDescription):
            declared = _arguments(_described(Path(entity.source.location)))
        else:
            declared = []
        for argument in declared:
            found.setdefault(argument.name, argument)
    return list(found.values())


def _walk(description: stand_in.LaunchDescription, context: stand_in.LaunchContext, processes: list[Process]) -> None:
    for entity in description.entities:
        if isinstance(entity, stand_in.DeclareLaunchArgument):
            _settle(entity, context.launch_configurations)
        elif isinstance(entity, stand_in.SetEnvironmentVariable):
            context.environment[entity.name] = entity.value
        elif isinstance(entity, stand_in.IncludeLaunchDescription):
            _walk(_described(Path(entity.source.location)), context, processes)
        elif isinstance(entity, stand_in.OpaqueFunction):
            _walk(stand_in.LaunchDescription(entity.function(context) or ()), context, processes)
        elif isinstance(entity, stand_in.Node):
            processes.append(_process(entity, context.environment))
        else:
            raise InputError(
                "launch file",
                type(entity).__name__,
                "an action that the launcher knows",
                "extend spatial_vlm_ros/launcher",
            )


def _settle(declared: stand_in.DeclareLaunchArgument, values: dict[str, str]) -> None:
    """Set an argument's value."""
    if declared.name not in values:
        if declared.default_value is None:
            example = f"{declared.name}:=..."
            raise InputError(f"argument {declared.name}", "no value", declared.description, f"add {example}")
        values[declared.name] = declared.default_value
    value = values[declared.name]
    if declared.choices and value not in declared.choices:
        choices = " or ".join(map(repr, declared.choices))
        raise InputError(f"argument {declared.name}", repr(value), choices)


def _process(node: stand_in.Node, environment: Mapping[str, str]) -> Process:
    files, parameters = [], {}
    for entry in node.parameters:
        if isinstance(entry, str):
            files.append(Path(entry))
        else:
            parameters.update({name: value.value for name, value in entry.items()})
    return Process(
        node.package,
        node.executable,
        node.name,
        node.namespace,
        tuple(files),
        parameters,
        tuple(node.remappings),
        tuple(node.arguments),
        tuple(node.ros_arguments),
        dict(environment),
        node.on_exit is not None,
        node.respawn,
    )
