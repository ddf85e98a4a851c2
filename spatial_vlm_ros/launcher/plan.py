# SPDX-License-Identifier: Apache-2.0
"""Read a launch file and its arguments as plain data: which processes to start, and by which commands."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError


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


PACKAGE = "spatial_vlm_ros"
SUFFIX = ".launch.py"
ROBOT = "spatial_vlm"  # the launch file of a robot; a camera's name also selects it


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
    """Find the launch file of a preset, a launch file or camera by name, with the arguments it implies."""
    files = {path.name.removesuffix(SUFFIX): path for path in sorted((share / "launch").glob(f"*{SUFFIX}"))}
    cameras = tuple(cameras)
    if preset.replace("-", "_") in files:
        return files[preset.replace("-", "_")], {}
    if preset in cameras:
        return files[ROBOT], {"camera": preset}
    raise UnknownNameError("preset", preset, (*files, *cameras))


def arguments_of(path: Path) -> tuple[DeclareLaunchArgument, ...]:
    """The arguments of a launch file and of those it includes, in order; of one declared twice, the outer and first."""
    with installed():
        return tuple(_arguments(_described(path)).values())


def plan(path: Path, given: Mapping[str, str]) -> tuple[Process, ...]:
    """Evaluate a launch file: the processes that it starts with some arguments."""
    with installed():
        description = _described(path)
        known = sorted(_arguments(description))
        for name in given:
            if name not in known:
                raise UnknownNameError("argument", name, known)
        return tuple(_started(description, LaunchContext(dict(given))))


def _described(path: Path) -> LaunchDescription:
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
    description: LaunchDescription = module.generate_launch_description()
    return description


def _arguments(description: LaunchDescription) -> dict[str, DeclareLaunchArgument]:
    found: dict[str, DeclareLaunchArgument] = {}
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            found.setdefault(entity.name, entity)
        elif isinstance(entity, IncludeLaunchDescription):
            included = _arguments(_described(Path(entity.source.location)))
            found |= {name: each for name, each in included.items() if name not in found}
    return found


def _started(description: LaunchDescription, context: LaunchContext) -> Iterator[Process]:
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument):
            value = context.launch_configurations.setdefault(entity.name, entity.default_value)  # type: ignore[arg-type]
            if value is None:
                repair = f"add {entity.name}:=..."
                raise InputError(f"argument {entity.name}", "no value", entity.description, repair)
            if entity.choices and value not in entity.choices:
                raise InputError(f"argument {entity.name}", repr(value), " or ".join(map(repr, entity.choices)))
        elif isinstance(entity, SetEnvironmentVariable):
            context.environment[entity.name] = entity.value
        elif isinstance(entity, IncludeLaunchDescription):
            yield from _started(_described(Path(entity.source.location)), context)
        elif isinstance(entity, OpaqueFunction):
            yield from _started(LaunchDescription(entity.function(context) or ()), context)
        elif isinstance(entity, Process):
            yield replace(entity, environment=dict(context.environment))
        else:
            expected, repair = "an action that the launcher knows", "extend spatial_vlm_ros/launcher"
            raise InputError("launch file", type(entity).__name__, expected, repair)


@dataclass(frozen=True)
class Command:
    """A command to run."""

    name: str
    words: tuple[str, ...]
    environment: dict[str, str]
    essential: bool = True
    respawn: bool = False


def command(process: Process, scratch: Path | None = None) -> Command:
    """Make the command of a process; None as `scratch` = its parameters are on the command line, for people to read.

    Else they are in a file there with the node's own name, so that they win over any other file.
    """
    program = [sys.executable, "-m", f"{PACKAGE}.nodes", process.executable]
    if process.package != PACKAGE:
        found = shutil.which(process.executable)
        if found is None:
            repair = f"install {process.package} from your ROS distribution and source it, or omit it"
            raise InputError(f"program {process.executable}", "not found", "a program on PATH", repair)
        program = [found]
    words = [*program, *process.arguments, "--ros-args", "-r", f"__node:={process.name}"]
    if process.namespace.strip("/"):
        words += ["-r", f"__ns:=/{process.namespace.strip('/')}"]
    for ours, theirs in process.remappings:
        words += ["-r", f"{ours}:={theirs}"]
    for path in process.parameter_files:
        words += ["--params-file", str(path)]
    if scratch is not None and process.parameters:
        file = scratch / f"{process.full_name.strip('/').replace('/', '.')}.yaml"
        content = {process.full_name: {"ros__parameters": dict(process.parameters)}}
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")  # valid YAML that keeps the types of values
        words += ["--params-file", str(file)]
    else:
        words += [word for name, value in process.parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
    environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
    return Command(process.name, (*words, *process.ros_arguments), environment, process.essential, process.respawn)
