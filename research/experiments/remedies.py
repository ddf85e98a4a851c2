# SPDX-License-Identifier: Apache-2.0
"""Published remedies for where objects are, in a small replication; see docs/remedies.md.

    python -m research.experiments.remedies --list                     all cells, and how many seeds of each are there
    python -m research.experiments.remedies --cell axial-norm-multi --seed 0
    python -m research.experiments.remedies --all --minutes 240  what is missing, one seed of all cells before the next
    python -m research.experiments.remedies --report  tables, effects and images (needs the extra "docs")

An interrupted run goes on where it was. Checkpoints are kept under --work, outside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

from research.experiments import RESULTS
from research.replication.cells import COMBINATIONS, all_cells, planned, recipe_of
from research.replication.results import read_results, write_result
from research.replication.running import run_cell
from research.replication.settings import FULL, SMALL, ReplicationSettings
from research.replication.stages import Run
from research.replication.training import Paused, Watch
from spatial_vlm_ros.errors import InputError, SpatialVlmError

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spatial_vlm_ros" / "remedies"
SEEDS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 0 when done, 1 when something is left to do, 2 where it cannot be done."""
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if options.list:
            return _list(options.results, options.seeds)
        if options.report:
            return _report(options)
        if options.cell:
            recipe_of(options.cell)
            return int(not _run(options.cell, options.seed, options, _deadline(options.minutes)))
        return _all(options)
    except SpatialVlmError as error:
        print(error, file=sys.stderr)
        return 2


def missing(results: Path, seeds: int, settings: ReplicationSettings) -> list[tuple[str, int]]:
    """Runs that are not there yet: all cells of a seed before the next seed, so that seeds stay balanced.

    CLOC and PIN come when a winner is known: all combinations have been run with as many seeds as are wanted.

    Raises:
        InputError: there are runs of other settings.
    """
    found, kept = read_results(results), json.loads(json.dumps(settings.as_dict()))
    for run in found.runs.values():
        if run["settings"] != kept:
            raise InputError(str(results), "runs of other settings", "none", "give another --results")
    wanted = [(cell, seed) for seed in range(seeds) for cell in planned(None)]
    left = [one for one in wanted if one not in found.runs]
    winner = found.winner()
    if winner is not None and not [one for one in left if one[0] in COMBINATIONS]:
        own = [(cell, seed) for seed in range(seeds) for cell in (f"cloc-{winner}", f"pin-{winner}")]
        left = [one for one in own if one not in found.runs] + left
    return left


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m research.experiments.remedies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--list", action="store_true", help="all cells")
    asked.add_argument("--cell", metavar="NAME", help="run one cell")
    asked.add_argument("--all", action="store_true", help="run all that is missing")
    asked.add_argument("--report", action="store_true", help="write the page of results and its pictures")
    parser.add_argument("--seed", type=int, default=0, help="of --cell")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of --all: seeds 0 to this, less one")
    parser.add_argument("--minutes", type=float, help="pause after as many")
    parser.add_argument("--threads", type=int, default=2, help="of torch; 0 leaves them as they are")
    parser.add_argument("--small", action="store_true", help="a sample of a few steps, which says nothing")
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS / "remedies", help="numbers of runs")
    parser.add_argument("--page", type=Path, default=ROOT / "out" / "remedies.md", help="of --report")
    parser.add_argument("--images", type=Path, default=ROOT / "out" / "images", help="of --report")
    options = parser.parse_args(arguments)  # an unknown option is named first
    if not (options.list or options.cell or options.all or options.report):
        parser.error("one of the arguments --list --cell --all --report is required")
    return options


def _deadline(minutes: float | None) -> float | None:
    return None if minutes is None else time.monotonic() + 60 * minutes


def _run(cell: str, seed: int, options: argparse.Namespace, deadline: float | None) -> bool:
    """Whether the cell is done; its numbers are then written."""
    settings = SMALL if options.small else FULL
    work = options.work / ("small" if options.small else "full")
    watch = Watch(deadline, lambda text: print(f"  {text}", file=sys.stderr))
    print(f"{cell}, seed {seed}", file=sys.stderr)
    started = time.monotonic()
    try:
        result = run_cell(cell, Run(seed, settings, work, watch))
    except (Paused, KeyboardInterrupt) as paused:
        print(f"paused in {str(paused) or 'a step'}; the same command goes on", file=sys.stderr)
        return False
    place = write_result(options.results, result)
    print(f"{result['test']}\n{place}, {time.monotonic() - started:.0f} s in this process", file=sys.stderr)
    return True


def _all(options: argparse.Namespace) -> int:
    deadline = _deadline(options.minutes)
    while left := missing(options.results, options.seeds, SMALL if options.small else FULL):
        over = deadline is not None and time.monotonic() >= deadline
        if over or not _run(*left[0], options, deadline):
            print(f"{len(left)} runs are left", file=sys.stderr)
            return 1
    return 0


def _list(results: Path, seeds: int) -> int:
    runs = read_results(results).runs
    main_ones = set(planned(None))
    for cell in all_cells():
        have = sorted(seed for name, seed in runs if name == cell)
        note = "" if cell in main_ones else "  (of --all: for the winner alone)"
        print(f"{cell:32} seeds {have or 'none'} of {seeds}{note}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from research.experiments.remedies_report import draw, report

    found = read_results(options.results)
    if not found.runs:
        print(f"no runs in {options.results}", file=sys.stderr)
        return 2
    options.page.write_text(report(found), encoding="utf-8")
    draw(found, options.images)
    print(f"{options.page}, and images in {options.images}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
