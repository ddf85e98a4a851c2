# SPDX-License-Identifier: Apache-2.0
"""Reads files in processes of their own and says how each ended, with how much memory.

Called as a program with the name of a JSON file {name: [reader, path]}; prints one JSON object a line.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spatial_vlm_lab.scoring.case_result import read_runs
from spatial_vlm_lab.scoring.sources import read_answers
from spatial_vlm_lab.training.images import read_split
from spatial_vlm_ros.cli.group import read_settings
from spatial_vlm_ros.doctor.bags import examine_files
from spatial_vlm_ros.doctor.findings import Severity
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.launcher import gazebo, wiring
from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.manipulation.planning.robot_model import load, read_hulls
from spatial_vlm_ros.recording import frame_folder
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.spatial.second_opinion import load_reliabilities

_GIVEN_UP = 20  # seconds, after which a process that waits for a pipe or never ends is killed


def _bag(path: Path) -> int:
    with open_bag(path) as opened:
        return sum(1 for _ in opened.messages())


def _doctor(path: Path) -> int:
    """`doctor --bag` says what is wrong, or the bag cannot be opened."""
    for finding in examine_files(path):
        if finding.level is Severity.ERROR:
            raise FileError(path, finding.found, finding.repair)
    return _bag(path)


READERS: dict[str, Callable[[Path], Any]] = {
    "rgb": frame_folder.read_rgb,
    "depth": frame_folder.read_depth,
    "camera": frame_folder.read_camera_info,
    "detections": lambda path: frame_folder.read_detections(path, (64, 48)),
    "frame": frame_folder.load_frame,
    "cases": load_cases,
    "run": read_runs,
    "answers": lambda path: list(read_answers(path)),
    "measured": load_reliabilities,
    "split": read_split,
    "parameters": read_settings,
    "preset": lambda path: wiring.camera(path.parent, {"camera": "none", "camera_file": str(path)}),
    "urdf": read_hulls,
    "world": gazebo.camera_mount,
    "bag": _bag,
    "doctor": _doctor,
    "record": verify,
}


def _outcome(reader: str, path: Path) -> dict[str, Any]:
    try:
        READERS[reader](path)
        error, words = "", ""
    except BaseException as raised:  # all of it is judged by the test
        error, words = type(raised).__name__, str(raised)
    return {"error": error, "words": words[:500], "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _apart(reader: str, path: Path) -> dict[str, Any]:
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(_GIVEN_UP)
        os.close(out)
        with os.fdopen(into, "w") as told:
            json.dump(_outcome(reader, path), told)
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text) if text else {"error": f"ended with {status}", "words": "", "mib": 0}
    return found


if __name__ == "__main__":
    load("pinocchio")  # once, not within what is measured
    for name, (kind, place) in json.loads(Path(sys.argv[1]).read_text()).items():
        sys.stdout.write(json.dumps({"name": name, **_apart(kind, Path(place))}) + "\n")
