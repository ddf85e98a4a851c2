# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: command line, rivals timed side by side, processes, the machine, tables and result files.

Rivals run alternately (A B A B), so that warming up, or another program, affects all of them alike.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from rich.pretty import pprint

from benchmarks import RESULTS_VARIABLE
from spatial_vlm_ros.types.proportions import wilson

RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or Path(__file__).parent / "results")
REAL_FRAMES = Path(os.environ.get("SPATIAL_VLM_REAL_RGBD", Path(__file__).parents[2] / "shared" / "data" / "real_rgbd"))
REPETITIONS = 31
WARM_UP = 3
CHECK = "--check"
LISTED = 20  # most elements of a list or a table that are printed
LONGEST = 100  # characters of a printed text
_T = TypeVar("_T")


def arguments(doc: str | None, **options: Any) -> argparse.Namespace:
    """Read the command line, before any work is done.

    Args:
        doc: docstring of the benchmark, which `--help` shows.
        options: name, with underscores for dashes → default; False for a flag, a tuple for choices (the first is the
            default), a type for None unless it is given, [type] for a list, which may also be repeated.

    Raises:
        SystemExit: 0 after `--help`, 2 for an option that it does not have.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    prog = f"python -m {spec.name}" if spec is not None else None
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=prog, description=doc, allow_abbrev=False, formatter_class=plain)
    for name, default in options.items():
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, tuple):
            parser.add_argument(flag, choices=default, default=default[0])
        elif isinstance(default, list):
            parser.add_argument(flag, type=default[0], nargs="+", action="extend", default=[])
        elif isinstance(default, type):
            parser.add_argument(flag, type=default)
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"default: {default}")
    parser.add_argument(CHECK, action="store_true", help="exit with 1 when a target is missed")
    return parser.parse_args()


def frames_of(folder: Path) -> list[Path]:
    """Frame folders in a folder; empty if it does not exist."""
    return sorted(path.parent for path in folder.glob("*/rgb.png"))


@dataclass(frozen=True)
class Timing:
    """Times of one rival, seconds; by the wall clock unless stated otherwise."""

    seconds: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Median, milliseconds."""
        return float(np.median(self.seconds)) * 1e3

    def summary(self) -> dict[str, float | int]:
        """Values for JSON."""
        p95_ms = float(np.percentile(self.seconds, 95)) * 1e3
        return {"median_ms": round(self.median_ms, 4), "p95_ms": round(p95_ms, 4), "n": len(self.seconds)}


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


def spreads(series: Mapping[str, Sequence[float]], digits: int = 3) -> dict[str, dict[str, float]]:
    """Name → median, 95th percentile, maximum and number of its values; names without values are left out."""
    return {
        name: dict(
            zip(("p50", "p95", "most"), np.round(np.percentile(values, [50, 95, 100]), digits).tolist(), strict=True),
            n=len(values),
        )
        for name, values in series.items()
        if len(values)
    }


def in_processes(
    work: Callable[..., _T],
    jobs: Iterable[tuple[Any, ...]],
    processes: int = 1,
    end: float = math.inf,
    begin: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[_T]:
    """Results of jobs as they are done.

    Args:
        work: called with the parts of each job.
        jobs: read as processes become free.
        processes: how many run at once.
        end: moment of `time.monotonic` after which no job begins.
        begin: called in each process at its start.
        given: arguments of `begin`.
    """
    waiting = iter(jobs)
    with ProcessPoolExecutor(max(1, processes), initializer=begin, initargs=given) as pool:
        running = {pool.submit(work, *job) for job in islice(waiting, max(1, processes))}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield each.result()
                if time.monotonic() < end:
                    running |= {pool.submit(work, *job) for job in islice(waiting, 1)}


@dataclass(frozen=True)
class Claim:
    """One claimed number: the measured value and its limit, a minimum if `least`, else a maximum."""

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


def share(oks: Sequence[bool]) -> dict[str, float]:
    """Count, number, share and its 95 % Wilson interval for JSON."""
    return asdict(wilson(sum(oks), len(oks)))


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


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, the first one left-aligned."""
    cells = [list(header), *([cell_text(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    print(f"\n{title}")
    for first, *others in cells:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join(("", first.ljust(widths[0]), *right)))


def cell_text(value: object) -> str:
    """A value as a cell of a table."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "-" if value is None else str(value)


def show(title: str, values: Mapping[str, Any]) -> None:
    """Print JSON-like values; long lists and texts are cut short."""
    print(f"\n{title}")
    pprint(values, indent_guides=False, max_length=LISTED, max_string=LONGEST)


def finish(name: str, measured: Mapping[str, Any], claims: Sequence[Claim], results: Path = RESULTS) -> int:
    """Print what was measured, JSON-like, and the claims, and write `results/NAME.json`.

    Returns:
        1 if `--check` was given and a claim was missed, else 0.
    """
    show(name, measured)
    table(
        f"{name}: claims",
        ("claim", "measured", "target", "unit", ""),
        [
            (c.text, c.value, f"{'>=' if c.least else '<='} {c.limit:g}", c.unit, "met" if c.met else "MISSED")
            for c in claims
        ],
    )
    print(f"\nwritten to {write(name, measured, claims, results)}", file=sys.stderr)
    return int(CHECK in sys.argv and not all(c.met for c in claims))


def write(name: str, measured: Mapping[str, Any], claims: Sequence[Claim], results: Path = RESULTS) -> Path:
    """Write `results/NAME.json`; long runs call it repeatedly, so that an interrupted run keeps its results."""
    results.mkdir(parents=True, exist_ok=True)
    load = [round(value, 2) for value in os.getloadavg()]
    content = {"benchmark": name, "machine": machine(), "load_average": load, "claims": [c.summary() for c in claims]}
    path, half = results / f"{name}.json", results / f"{name}.json.part"
    half.write_text(json.dumps({**content, **measured}, indent=2) + "\n")
    half.replace(path)
    return path
