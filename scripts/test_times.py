# SPDX-License-Identifier: Apache-2.0
"""Where the time of the tests goes: a pytest plugin that records it, and a report of what it recorded.

    make test TIMES=out/test_times            records every run of pytest into a file of that folder
    python -m scripts.test_times out/test_times     prints the report, in Markdown

Durations are wall time in seconds, added up over workers; processor time is that of the test's own process and of the
children it has waited for. A worker is idle while it runs neither set-up, call nor tear-down of a test.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts import markdown

FOLDER = "SPATIAL_VLM_TEST_TIMES"
"""The variable with the folder to write to; without it nothing is recorded."""
STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn")


# ------------------------------------------------------------------------------------------------ recording


class Recorder:
    """What one process of pytest did since the last report of a phase."""

    def __init__(self) -> None:
        self.fixtures: list[tuple[str, float]] = []
        self.processes = 0
        self.cpu = self._cpu()
        sys.addaudithook(self._heard)

    def _heard(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            self.processes += 1

    @staticmethod
    def _cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    def taken(self) -> dict[str, Any]:
        """The measurements since the last call."""
        now = self._cpu()
        measured = {"cpu": now - self.cpu, "processes": self.processes, "fixtures": self.fixtures}
        self.fixtures, self.processes, self.cpu = [], 0, now
        return measured


class Times:
    """The plugin: in workers it measures, in the process that reports it writes a line for each phase of each test."""

    def __init__(self, file: Path | None) -> None:
        self.recorder = Recorder()
        self.file = file

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """Time the set-up of a fixture, without that of the fixtures it asks for."""
        start = time.perf_counter()
        result = yield
        self.recorder.fixtures.append((fixturedef.argname, time.perf_counter() - start))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[Any]:
        """Attach what was measured to the report, which xdist sends on."""
        report = yield
        report.times = self.recorder.taken()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a line."""
        if self.file is not None:
            line = {
                "test": report.nodeid, "when": report.when, "start": report.start, "stop": report.stop,
                "worker": getattr(report, "worker_id", "main"), "outcome": report.outcome, **report.times,  # type: ignore[attr-defined]
            }  # fmt: skip
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Record if FOLDER is set."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    file = None
    if not hasattr(config, "workerinput"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = Path(folder) / f"{time.time_ns()}.jsonl"
    config.pluginmanager.register(Times(file), "times")


# ------------------------------------------------------------------------------------------------ report


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of all files of a folder."""
    return [
        json.loads(line) | {"run": file.stem}
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def _folder(test: str) -> str:
    parts = test.split("::")[0].split("/")
    return "/".join(parts[: 3 if parts[1] in ("perception", "manipulation", "vlm") and len(parts) > 3 else 2][:3]) \
        if len(parts) > 2 else parts[0]  # fmt: skip


def report(rows: Sequence[dict[str, Any]], most: int = 15) -> str:
    """The report, in Markdown: runs and workers, folders, fixtures, and the `most` slowest tests."""
    table = partial(markdown.table, others="---:")
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    fixtures: dict[str, list[float]] = defaultdict(list)
    tests: Counter[str] = Counter()
    for row in rows:
        took, sums = row["stop"] - row["start"], folders[_folder(row["test"])]
        runs[row["run"]].append(row)
        tests[row["test"].split("::")[0] + "::" + row["test"].split("::")[1].split("[")[0]] += took
        sums[row["when"]] += took
        sums["tests"] += row["when"] == "setup"
        sums["cpu"] += row["cpu"]
        sums["processes"] += row["processes"]
        for name, seconds in row["fixtures"]:
            fixtures[name].append(seconds)
    workers = []
    for number, run in enumerate(runs.values(), 1):
        first, last = min(row["start"] for row in run), max(row["stop"] for row in run)
        for worker in sorted({row["worker"] for row in run}):
            own = [row for row in run if row["worker"] == worker]
            busy = sum(row["stop"] - row["start"] for row in own)
            end = max(row["stop"] for row in own)
            workers.append((
                f"run {number}, {worker}", sum(row["when"] == "setup" for row in own), f"{last - first:.0f}",
                f"{busy:.0f}", f"{last - first - busy:.0f}", f"{last - end:.0f}",
            ))  # fmt: skip
    by_time = sorted(folders.items(), key=lambda item: -sum(item[1][when] for when in ("setup", "call", "teardown")))
    parts = [
        table(("worker", "tests", "run s", "busy s", "idle s", "of it at the end s"), workers),
        table(
            ("folder", "tests", "set-up s", "call s", "tear-down s", "processor s", "processes"),
            [
                (
                    f"`{name}`",
                    s["tests"],
                    *(f"{s[k]:.0f}" for k in ("setup", "call", "teardown", "cpu")),
                    s["processes"],
                )
                for name, s in by_time
            ],
        ),
        table(
            ("fixture", "set up", "s"),
            [(f"`{k}`", len(v), f"{sum(v):.1f}") for k, v in sorted(fixtures.items(), key=lambda i: -sum(i[1]))[:most]],
        ),
        table(("test", "s"), [(f"`{name}`", f"{seconds:.1f}") for name, seconds in tests.most_common(most)]),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(report(rows_of(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else 15))
