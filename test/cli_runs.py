# SPDX-License-Identifier: Apache-2.0
"""Runs of the command line in this process. Not a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from spatial_vlm_ros.cli.main import main

WORDS = "the chick behind the cup"


def run(*arguments: object, text: str | bytes | None = None) -> Result:
    given = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, given, input=text, catch_exceptions=False)


def ended(*arguments: object, code: int = 0, says: str = "") -> Result:
    """A command that ends with this code, and whose output has these words, wherever its lines are broken."""
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert says in " ".join(done.output.split()), done.output
    return done


def objects(done: Result) -> list[dict[str, Any]]:
    """The lines of JSON that a command wrote."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The one JSON object that a command writes."""
    made: dict[str, Any] = json.loads(ended(*arguments, "--json", code=code).stdout)
    return made


def images_of(folder: Path) -> tuple[str | Path, ...]:
    """A frame as options, without detections."""
    names = {"rgb": "rgb.png", "depth": "depth.png", "camera-info": "camera_info.json"}
    named = [word for option, name in names.items() for word in (f"--{option}", folder / name)]
    return *named, "--base-t-camera", folder / "base_T_camera.json"


def files_of(folder: Path) -> tuple[str | Path, ...]:
    return *images_of(folder), "--detections", folder / "detections.json"
