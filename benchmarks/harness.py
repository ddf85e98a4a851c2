# SPDX-License-Identifier: Apache-2.0
"""Time rivals side by side, describe the machine, and show and write results.

Rivals run alternately (A B A B), so that warming up, or another program, affects all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import RESULTS_VARIABLE, command_line

command_line.check_this_run(sys.modules["__main__"])

RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or Path(__file__).parent / "results")
REPETITIONS = 31
WARM_UP = 3


@dataclass(frozen=True)
class Timing:
    """Times of one rival, seconds; by the wall clock unless stated otherwise."""

    seconds: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Median, milliseconds."""
        return float(np.median(self.seconds)) * 1e3

    @property
    def p95_ms(self) -> float:
        """95th percentile, milliseconds."""
        return float(np.percentile(self.seconds, 95)) * 1e3

    def summary(self) -> dict[str, float | int]:
        """Values for JSON."""
        return {"median_ms": round(self.median_ms, 4), "p95_ms": round(self.p95_ms, 4), "n": len(self.seconds)}


@dataclass(frozen=True)
class Claim:
    """One claimed number.

    Args:
        text: the claim.
        value: measured value.
        limit: limit of the value.
        unit: unit of both.
        least: True if `limit` is the minimum, False if it is the maximum.
    """

    text: str
    value: float
    limit: float
    unit: str
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether this run met the claim."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def summary(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "text": self.text,
            "value": round(self.value, 4),
            "limit": self.limit,
            "unit": self.unit,
            "bound": "at least" if self.least else "at most",
            "met": self.met,
        }


def alternate(
    rivals: Mapping[str, Callable[[], object]],
    repetitions: int = REPETITIONS,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time rivals in turn.

    Args:
        rivals: functions to run, by name.
        repetitions: timed runs of each.
        warm_up: untimed runs of each before; at most as many as timed runs.
        clock: returns seconds; `time.process_time` for processor time, which other programs disturb less.

    Returns:
        The times by name.
    """
    warm_up = min(warm_up, repetitions)
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(warm_up + repetitions):
        for name, run in rivals.items():
            start = clock()
            run()
            took = clock() - start
            if turn >= warm_up:
                seconds[name].append(took)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def option(name: str, default: float) -> float:
    """Read `--NAME VALUE` and remove it from the command line before `finish` reads it."""
    flag = f"--{name}"
    if flag not in sys.argv:
        return default
    at = sys.argv.index(flag)
    value = float(sys.argv[at + 1])
    del sys.argv[at : at + 2]
    return value


def word(name: str, default: str) -> str:
    """Like `option`, for a word."""
    flag = f"--{name}"
    if flag not in sys.argv:
        return default
    at = sys.argv.index(flag)
    value = sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return value


def repetitions(default: int = REPETITIONS) -> int:
    """Read `--repetitions N`, timed runs of each rival; fewer than the default are not a measurement."""
    return int(option("repetitions", default))


def machine() -> dict[str, str | int]:
    """The machine that the numbers were measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "opencv_threads": cv2.getNumThreads(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns, the first one left-aligned."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        print(
            "  "
            + "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        )
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def _cell(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def finish(name: str, measured: Mapping[str, Any], claims: Sequence[Claim], results: Path = RESULTS) -> int:
    """Print the claims, write `results/NAME.json`, and return the exit code.

    Args:
        name: name of the benchmark.
        measured: measured values, JSON-like.
        claims: the claims.
        results: folder for the JSON.

    Returns:
        1 if `--check` was given and a claim was missed, else 0.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--check", action="store_true", help=command_line.CHECK)
    options = parser.parse_args()
    table(
        f"{name}: claims",
        ("claim", "measured", "target", "unit", ""),
        [
            (c.text, c.value, f"{'>=' if c.least else '<='} {c.limit:g}", c.unit, "met" if c.met else "MISSED")
            for c in claims
        ],
    )
    print(f"\nwritten to {write(name, measured, claims, results)}", file=sys.stderr)
    return int(options.check and not all(c.met for c in claims))


def write(name: str, measured: Mapping[str, Any], claims: Sequence[Claim], results: Path = RESULTS) -> Path:
    """Write `results/NAME.json`; long runs call it repeatedly, so that an interrupted run keeps its results."""
    results.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "machine": machine(), "claims": [c.summary() for c in claims], **measured}
    path, half = results / f"{name}.json", results / f"{name}.json.part"
    half.write_text(json.dumps(content, indent=2) + "\n")
    half.replace(path)
    return path
