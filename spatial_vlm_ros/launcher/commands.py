# SPDX-License-Identifier: Apache-2.0
"""Turn a planned process into a command line and an environment, as ros2 launch does."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.launcher.plan import PACKAGE
from spatial_vlm_ros.launcher.stand_in import Process


@dataclass(frozen=True)
class Command:
    """A command to run."""

    name: str
    words: tuple[str, ...]
    environment: dict[str, str]
    essential: bool = True
    respawn: bool = False


def command(process: Process, scratch: Path | None = None) -> Command:
    """Make the command of a process.

    Args:
        scratch: folder for its parameters: a file with the node's own name, so that they win over any other file; None
            = on the command line, to be read by people.
    """
    words = [*_program(process), *process.arguments, "--ros-args", "-r", f"__node:={process.name}"]
    if process.namespace.strip("/"):
        words += ["-r", f"__ns:=/{process.namespace.strip('/')}"]
    for ours, theirs in process.remappings:
        words += ["-r", f"{ours}:={theirs}"]
    for path in process.parameter_files:
        words += ["--params-file", str(path)]
    if scratch is not None and process.parameters:
        words += ["--params-file", str(_written(process, scratch))]
    else:
        words += [word for name, value in process.parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
    environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
    return Command(process.name, (*words, *process.ros_arguments), environment, process.essential, process.respawn)


def _program(process: Process) -> list[str]:
    if process.package == PACKAGE:
        return [sys.executable, "-m", f"{PACKAGE}.nodes", process.executable]
    found = shutil.which(process.executable)
    if found is None:
        repair = f"install {process.package} from your ROS distribution and source it, or omit it"
        raise InputError(f"program {process.executable}", "not found", "a program on PATH", repair)
    return [found]


def _written(process: Process, scratch: Path) -> Path:
    """Write the parameters to a file; JSON is valid YAML and keeps the types of values."""
    path = scratch / f"{process.full_name.strip('/').replace('/', '.')}.yaml"
    content = {process.full_name: {"ros__parameters": dict(process.parameters)}}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path
