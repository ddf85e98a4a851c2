# SPDX-License-Identifier: Apache-2.0
"""Runs a benchmark on a model, item by item; known answers are reused, and damaged items are listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from spatial_vlm_lab.benchmarks.answers import AnswerFile, AnsweringModel
from spatial_vlm_lab.benchmarks.asking import BenchmarkModel
from spatial_vlm_lab.benchmarks.protocol import Benchmark, BenchmarkItem, DamagedItem, GradedItem
from spatial_vlm_ros.errors import FileError, InputError, ModelError

MOST_FAILURES = 3
"""Consecutive failures after which a run stops."""


@dataclass
class BenchmarkItems:
    """Items read from a benchmark.

    Args:
        items: items to ask, in the order of the published files.
    """

    items: tuple[BenchmarkItem, ...]
    damaged: dict[str, DamagedItem]
    total: int


@dataclass
class BenchmarkRun:
    """Results of one model.

    Args:
        graded: its answers, in the order of the items.
        unread: item → why its reply has no readable locations; such answers count 0.
        stopped: why the run stopped early; "" = all items were asked.
        ways: ways of asking, in order of first use.
    """

    graded: list[GradedItem] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    ways: list[str] = field(default_factory=list)
    known: int = 0


def read_benchmark(benchmark: Benchmark, folder: str | Path, limit: int | None = None) -> BenchmarkItems:
    """Read the items of a folder.

    Args:
        limit: most items, taken at equal steps from all files; None = all.
    """
    items, damaged = list[BenchmarkItem](), dict[str, DamagedItem]()
    keys = set[str]()
    for one in benchmark.read(Path(folder)):
        if isinstance(one, DamagedItem):
            damaged[one.key] = one
        elif one.key in keys:
            damaged[f"{one.key} (again)"] = DamagedItem(one.key, "an earlier item has this name")
        else:
            keys.add(one.key)
            items.append(one)
    if not items:
        first = next(iter(damaged.values())).reason if damaged else "it has no item"
        raise FileError(folder, f"none of {len(damaged)} items can be asked: {first}", benchmark.source)
    total = len(items)
    if limit is not None and limit < total:
        items = [items[n * total // limit] for n in range(limit)]
    return BenchmarkItems(tuple(items), damaged, total)


def run_model(
    model: BenchmarkModel,
    asked: AnsweringModel,
    read: BenchmarkItems,
    answers: AnswerFile,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkRun:
    """Ask a model all items that it has not answered yet."""
    answers.begin(asked)
    run, in_a_row = BenchmarkRun(), 0
    for n, item in enumerate(read.items):
        way = model.way_of(item)
        if way not in run.ways:
            run.ways.append(way)
        who = f"{asked.identity} ({way})"
        line = answers.known(who, item)
        run.known += line is not None
        if line is not None or not run.stopped:
            try:
                answer = model.answer(item, item.image.read()) if line is None else line.answer(item)
                credit = item.truth.credit(answer)
            except FileError as error:
                read.damaged[item.key] = DamagedItem(item.key, str(error))
                continue
            except (ModelError, InputError) as error:
                run.failed[item.key] = str(error)
                in_a_row += 1
                if in_a_row == MOST_FAILURES:
                    run.stopped = f"{MOST_FAILURES} failures in a row, the last: {error}"
                continue
            if line is None:
                answers.add(who, item, answer, credit)
                in_a_row = 0
            if answer.unread:
                run.unread[item.key] = answer.unread
            # published rules may read a right answer where the package reads no option and no point
            answered = answer.choice is not None or bool(answer.points) or credit > 0.0
            run.graded.append(GradedItem(item, credit, answered))
        if progress is not None:
            progress(n + 1, len(read.items))
    return run
