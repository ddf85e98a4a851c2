# SPDX-License-Identifier: Apache-2.0
"""A row of docs/figures.md: its name, the run that it is read from, and the format of a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.__main__ import PARTS
from spatial_vlm_ros.types.proportions import wilson

OURS, RESEARCH = "benchmarks/results", "research/results"
Json = Any
Count = tuple[int, int]
"""k of n."""
Cells = Callable[[Json], Sequence[str]]
"""Cells of a line after its name, from the content of a result file."""


@dataclass(frozen=True)
class ResultRun:
    """A run of a benchmark, with its result file.

    Args:
        module: name of the benchmark.
        options: options of its command.
        name: name of its file; "" = that of the benchmark.
    """

    module: str
    options: str = ""
    name: str = ""

    @property
    def file(self) -> str:
        """Its file, from the root of the repository."""
        folder = OURS if PARTS[self.module].package == "benchmarks" else RESEARCH
        return f"{folder}/{self.name or self.module}.json"

    @property
    def command(self) -> str:
        """Command that makes the file."""
        return f"python -m {PARTS[self.module].package}.{self.module} {self.options}".rstrip()


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        name: short name of the line.
        run: where its figures come from.
        note: condition under which the figure holds; "" = as in the first table.
        cells: cells after the name, from the file's content.
        group: its name in the note; "" = `name`.
    """

    name: str
    run: ResultRun
    note: str
    cells: Cells
    group: str = ""


@dataclass(frozen=True)
class Missing:
    """A topic without committed results, and what is known about it."""

    what: str
    why: str


def share(count: Count) -> str:
    """A count with its interval in percent: "5 / 157 (1.4 to 7.2 %)"."""
    k, n = count
    if n == 0:
        return "none asked"
    found = wilson(k, n)
    digits = 2 if n >= 1000 else 1
    low, high = (f"{100 * edge:.{digits}f}".rstrip("0").rstrip(".") for edge in (found.low, found.high))
    return f"{k:,} / {n:,} ({low} to {high} %)"


def counted(value: Json) -> Count:
    """Both numbers of a share in a result file."""
    return int(value["k"]), int(value["n"])


def read(result: Json, *path: str) -> Json:
    """The value at a path of keys."""
    for key in path:
        result = result[key]
    return result


def ms(value: float) -> str:
    """Milliseconds with a sensible number of digits."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.3f} ms"
