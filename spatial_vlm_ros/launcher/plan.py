# SPDX-License-Identifier: Apache-2.0
"""Read a launch file and its arguments as plain data: which processes to start, and by which commands."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.printable import printable_line


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
        declared = {}
        if isinstance(entity, DeclareLaunchArgument):
            declared = {entity.name: entity}
        elif isinstance(entity, IncludeLaunchDescription):
            declared = _arguments(_described(Path(entity.source.location)))
        for name, each in declared.items():
            found.setdefault(name, each)
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


# ------------------------------------------------------------------------------------------------ commands


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


# ------------------------------------------------------------------------------------------------ running


DELAY = 2.0
"""Seconds before a node restarts: DDS and a camera's driver need time to notice that the last one has gone."""
MOST = 3
"""Restarts within `WITHIN` seconds; a node that fails more often ends everything."""
WITHIN = 60.0

CONFIGURATION = 1
"""Exit code of a node that cannot start with its configuration (`nodes/main.py`); a restart would not help."""
USAGE = 2
CRASHED = 70
"""Exit code of a node that ends with an unexpected error; EX_SOFTWARE of sysexits.h."""

_ASKED = (signal.SIGINT, signal.SIGTERM)
_FINAL = {0, CONFIGURATION, USAGE, *(-number for number in _ASKED), *(128 + number for number in _ASKED)}


class Respawn:
    """Decides on restarts of one node; the clock counts monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._again: deque[float] = deque(maxlen=MOST)

    def again(self, code: int) -> bool:
        """Decide whether it is restarted after an exit code (-n or 128 + n of signal n), and count the restart."""
        now = self._clock()
        if code in _FINAL or (len(self._again) == MOST and now - self._again[0] < WITHIN):
            return False
        self._again.append(now)
        return True


STOPPED = (signal.SIGINT, signal.SIGTERM)  # signals that end everything cleanly

_PATIENCE = 5.0  # seconds between two steps of ending a process
_LAST_WORDS = 1.0  # seconds for output after the end: a grandchild may hold the pipe
_ESCALATION = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


def run(
    commands: Sequence[Command], out: IO[str] | None = None, aside: Callable[[str], str | None] = lambda _: None
) -> int:
    """Run commands until an essential one ends for good or a signal arrives; then end all of them.

    0 after SIGINT or SIGTERM. Else the exit code of the essential command that ended first for good, 128 + n if signal
    n ended it; if that is 0, the code of the first other command that failed while it was being ended. `aside` gives a
    message to print after a line of output.
    """
    return asyncio.run(_Supervisor(commands, out or sys.stdout, aside).run())


@dataclass(eq=False)
class _Child:
    """One running process and the reader of its output."""

    command: Command
    life: Respawn
    process: asyncio.subprocess.Process
    say: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self.ended = asyncio.ensure_future(self._live())

    async def _live(self) -> int:
        reading = asyncio.ensure_future(self._read())
        code = await self.process.wait()
        await asyncio.wait([reading], timeout=_LAST_WORDS)
        reading.cancel()
        return code if code >= 0 else 128 - code

    async def _read(self) -> None:
        """Print lines of any length."""
        rest, stream = b"", self.process.stdout
        while stream is not None and (chunk := await stream.read(65536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.say(self.command.name, line.decode("utf-8", "replace"))
        if rest:
            self.say(self.command.name, rest.decode("utf-8", "replace"))

    def tell(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class _Supervisor:
    def __init__(self, commands: Sequence[Command], out: IO[str], aside: Callable[[str], str | None]) -> None:
        self._commands, self._aside = commands, aside
        self._out: IO[str] | None = out
        self._children: list[_Child] = []
        self._starting: list[asyncio.Future[None]] = []  # restarts
        self._told = 0  # current step of the escalation
        self._interrupted = False
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in STOPPED:
            loop.add_signal_handler(number, self._on_signal)
        try:
            code = await self._live()
        finally:
            await self._end_all()
        if self._interrupted or code:
            return 0 if self._interrupted else code
        # The first essential one that failed while it was ended, other than by the signals it was sent.
        told = {128 + number for number in _ESCALATION}
        ends = [child.ended.result() for child in self._children if child.command.essential]
        return next((end for end in ends if end and end not in told), 0)

    async def _live(self) -> int:
        """Start all, restart those that fail, and wait for the first end that matters."""
        for command in self._commands:
            await self._start(command, Respawn())
        stop: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        known: list[_Child] = []  # those whose end was handled
        while not stop.done():
            running = [child for child in self._children if child not in known]
            changes = [stop, *(child.ended for child in running), *self._starting]
            await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            for each in [each for each in self._starting if each.done()]:
                self._starting.remove(each)
                each.result()
            for child in [child for child in running if child.ended.done()]:
                known.append(child)
                code = child.ended.result()
                self._say(child.command.name, f"has exited with code {code}")
                if self._stop.is_set():
                    continue
                if child.command.respawn and child.life.again(code):
                    self._say(child.command.name, f"restarts in {DELAY:g} s")
                    self._children.remove(child)
                    self._starting.append(asyncio.ensure_future(self._start(child.command, child.life, DELAY)))
                elif child.command.essential:
                    stop.cancel()
                    return code
        return 0

    async def _start(self, command: Command, life: Respawn, delay: float = 0.0) -> None:
        if delay:
            await asyncio.sleep(delay)
        if self._stop.is_set():
            return
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        process = await asyncio.create_subprocess_exec(
            *command.words,
            env=command.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._children.append(_Child(command, life, process, self._say))

    async def _end_all(self) -> None:
        """End all processes: ask, then insist, then kill."""
        for each in self._starting:
            each.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while waiting := [child for child in self._children if not child.ended.done()]:
            number = _ESCALATION[min(self._told, len(_ESCALATION) - 1)]
            for child in waiting:
                child.tell(number)
            self._told += 1
            self._stop.clear()
            again: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
            everyone: asyncio.Future[Any] = asyncio.gather(*(child.ended for child in waiting))
            await asyncio.wait([again, everyone], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if not everyone.done():
                names = ", ".join(child.command.name for child in waiting if not child.ended.done())
                self._say("spatial-vlm", f"still running: {names}")

    def _on_signal(self) -> None:
        self._interrupted = True
        self._stop.set()

    def _say(self, name: str, line: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(f"[{name}] {printable_line(line)}\n")
            told = self._aside(line)
            if told is not None:
                self._out.write(f"[spatial-vlm] {printable_line(told)}\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):  # nobody reads any more
            self._out = None
            self._stop.set()
