# SPDX-License-Identifier: Apache-2.0
"""Run benchmarks, each in its own process, so that none warms up or slows down another.

    python -m benchmarks                     all parts that `make bench` promises; --check goes to the parts of speed
    python -m benchmarks NAME [OPTION...]    one part, as `python -m benchmarks.NAME [OPTION...]` runs it
    python -m benchmarks --smallest [NAME]   whether they run: each at its smallest size, in a folder that is removed
    python -m benchmarks --list              the names; `NAME --help` says what a part measures, and its options

It ends with 0, with 1 when a part failed or, with --check, missed a target of speed, and with 2 for an unknown name.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import RESULTS_VARIABLE

USAGE = "python -m benchmarks [--check | --list | --smallest | NAME [OPTION...]]"


@dataclass(frozen=True)
class Part:
    """A benchmark that can be run by name.

    Args:
        smallest: options of its smallest size, which only shows that it runs; the numbers mean nothing.
        needs: packages that it imports in addition to those of the package itself.
        slow: whether it takes more than two seconds of processor time at its smallest size, or a live graph.
        package: package that contains its module.
    """

    smallest: tuple[str, ...]
    needs: tuple[str, ...] = ()
    slow: bool = False
    package: str = "benchmarks"


_RESEARCH = "research.experiments"
_ONCE = ("--repetitions", "1")
_LIVE = ("rclpy", "spatial_vlm_interfaces", "mujoco")
_ARM = ("pinocchio", "coal", "ompl", "daqp")
SPEED = {
    "parsing": Part((*_ONCE, "--n", "20"), slow=True),
    "resolving": Part(_ONCE, slow=True),
    "cold_start": Part(_ONCE, slow=True),
    "lifting": Part((*_ONCE, "--worlds", "1", "--masks", "3"), ("open3d",), slow=True),
    "live": Part(("--requests", "5", "--seconds", "2"), _LIVE, slow=True),
}
ACCURACY = {
    "accuracy": Part(("--seeds", "1")),
    "simulator": Part(("--seeds", "1"), ("mujoco",), slow=True),
    "constructed": Part(("--items", "2", "--only", "behind", "--name", "smallest"), slow=True, package=_RESEARCH),
    "paraphrases": Part(("--n", "50"), package=_RESEARCH),
}
ALONE = {
    "arm_on_others": Part(("--n", "0"), (*_ARM, "mujoco"), slow=True, package=_RESEARCH),
    "believed": Part(()),
    "evidence_limits": Part(("--frames", "1"), slow=True),
    "familiarity": Part(("--worlds", "1"), ("mujoco", "onnxruntime"), slow=True),
    "detection_forms": Part(("--seeds", "1")),
    "free_words": Part(("--seeds", "1"), slow=True),
    "freshness": Part(("--trials", "1"), slow=True),
    "fuzzing": Part(("--minutes", "0.1"), ("atheris",), slow=True),
    "grasping": Part(("--frames", "1"), slow=True),
    "gpu_check": Part(("--tiny", "--device", "cpu", "--frames", "1"), ("torch", "transformers"), slow=True),
    "capabilities": Part(("--most", "1", "--name", "smallest"), package=_RESEARCH),
    "caution": Part(("--most", "1", "--name", "smallest"), slow=True, package=_RESEARCH),
    "compact": Part((*_ONCE, "--worlds", "1", "--jobs", "1"), ("mujoco", "onnxruntime"), slow=True),
    "arm_planning": Part(("--n", "1"), (*_ARM, "mujoco")),
    "dialogues": Part(("--tables", "1", "--constructed", "1"), slow=True, package=_RESEARCH),
    "questions_of_space": Part(("--scenes", "1", "--every", "60"), ("mujoco",), slow=True, package=_RESEARCH),
    "hand_eye": Part(("--boards", "1", "--worlds", "1"), (*_ARM, "mujoco"), slow=True),
    "obstacles": Part(("--frames", "1", *_ONCE), slow=True),
    "onnx_detectors": Part(
        ("--small", "--rounds", "1", "--frames", "1"), ("torch", "transformers", "onnxruntime", "onnxscript"), slow=True
    ),
    "recheck": Part(("--n", "1", "--share", "0.05"), (*_ARM, "mujoco"), slow=True),
    "replies": Part(("--n", "100")),
    "sentences": Part(("--n", "20", "--asked", "2")),
    "soak": Part(("--minutes", "0.1"), _LIVE, slow=True),
    "stopping": Part(("--n", "1", "--phases", "reach", "--events", "cancel"), (*_ARM, *_LIVE), slow=True),
    "taught": Part(("--frames", "2", *_ONCE), slow=True),
    "watching": Part(("--clean", "1", "--intrusions", "1", "--every", "2"), (*_ARM, "mujoco"), slow=True),
}
PARTS = {**SPEED, **ACCURACY, **ALONE}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    asked = list(arguments)
    smallest = "--smallest" in asked
    if smallest:
        asked.remove("--smallest")
    if asked == ["--list"]:
        print(listing())
        return 0
    if asked in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if not asked or asked == ["--check"]:
        commands = [(name, *asked) for name in SPEED] + [(name,) for name in ACCURACY]
    elif asked[0] in PARTS:
        commands = [tuple(asked)]
    else:
        print(f"{asked[0]}: no such benchmark. Usage: {USAGE}, where NAME is one of\n{listing()}", file=sys.stderr)
        return 2
    if smallest:
        commands = [(name, *PARTS[name].smallest, *rest) for name, *rest in commands]
    codes = {name: code for name, code in zip((c[0] for c in commands), run(commands, smallest), strict=True) if code}
    if codes:
        ended = ", ".join(f"{name} with {code}" for name, code in codes.items())
        print(f"{len(codes)} of {len(commands)} benchmarks failed: {ended}", file=sys.stderr)
    return int(any(codes.values()))


def run(commands: Sequence[Sequence[str]], smallest: bool) -> list[int]:
    """Run benchmarks one after the other.

    Args:
        commands: name and options of each.
        smallest: whether results and caches go to a folder that is removed at the end, unless the caller sets a results
            folder.

    Returns:
        Their exit codes.
    """
    with tempfile.TemporaryDirectory() if smallest else nullcontext() as folder:
        environment = {**os.environ}
        if folder is not None:
            environment["XDG_CACHE_HOME"] = folder
            environment.setdefault(RESULTS_VARIABLE, folder)
        return [
            subprocess.run([sys.executable, "-m", f"{PARTS[name].package}.{name}", *rest], env=environment).returncode
            for name, *rest in commands
        ]


def listing() -> str:
    """Every name with the first line of its file's docstring."""
    width = max(map(len, PARTS))
    texts = {name: ast.get_docstring(ast.parse(file_of(name).read_text(encoding="utf-8"))) or "" for name in PARTS}
    return "\n".join(f"  {name:{width}}  {text.splitlines()[0]}" for name, text in texts.items())


def file_of(name: str) -> Path:
    """File of the benchmark of this name."""
    return Path(__file__).parents[1].joinpath(*PARTS[name].package.split("."), f"{name}.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
