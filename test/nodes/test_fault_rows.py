# SPDX-License-Identifier: Apache-2.0
"""Every fault of camera, transforms, clocks, detections and model on the live node: rows of the page of faults."""

import time
from pathlib import Path
from typing import Any

import pytest
from fault_bench import BASE, NEAR, OK, Bench, complaints, write_scenes
from fault_record import record_goals
from fault_rows import ROWS, FaultRow
from live_graph import Graph

REQUESTS = 4
SETTLED = 2  # reports of diagnostics after a fault: the one that is being made, and one that has seen it

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("swapped"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_fault_ends_as_it_should(graph: Graph, program: Any, folders: Path, tmp_path: Path, row: FaultRow) -> None:
    at_start = row.injected if row.set_up == "static" else ""
    bench = Bench(graph, folders, tmp_path / "model_faults", row.set_up, at_start)
    healthy = time.monotonic()
    if row.set_up != "static":  # what was once latched stays known
        bench.works("it works before the fault")
        healthy = time.monotonic()
        graph.until(lambda: bench.reports and bench.reports[-1][0] > healthy, "diagnostics have seen that it works")
        bench.switch(row.injected)
    since = time.monotonic()
    arguments = ("-p", "use_sim_time:=true") if row.set_up == "clock" else ()
    doctor = program("doctor", "--seconds", "3", "--base-frame", BASE, "--json", "--ros-args", *arguments)
    first = len(bench.reports)
    graph.until(lambda: len(bench.reports) >= first + SETTLED, "diagnostics have seen the fault")
    settled = bench.reports[first + SETTLED - 1][0] - 1e-6
    asked = [bench.ask() for _ in range(REQUESTS)]
    found = complaints(doctor)
    before = bench.unhealthy(healthy, since)  # of a machine that is loaded
    unhealthy = [f"{who}: {words}" for who, words in bench.unhealthy(settled).items() if who not in before]
    bench.switch("")
    ended = time.monotonic()
    bench.works("it works after the fault")
    recovery = time.monotonic() - ended

    statuses = {goal.name for goal, _ in asked}
    wrong = sum(off is not None and off >= NEAR for _, off in asked)
    right = set(row.right) | ({OK} if row.undetectable else set())
    failures = [f"{name} is not right" for name in sorted(statuses - right)]
    failures += [f"{wrong} wrong poses"] if wrong and not row.undetectable else []
    injected = ("grounder, " if row.set_up == "model" else "") + row.injected
    told = {"fault": row.fault, "injected": injected, "right": sorted(row.right), "undetectable": row.undetectable}
    said = {"diagnostics": unhealthy, "said_before": sorted(before), "doctor": found}
    observed = {"recovery_s": round(recovery, 1), "wrong_poses": wrong, "failures": failures}
    goals, at_once = [goal for goal, _ in asked], row.set_up == "static"
    record_goals(row.section, row.id, goals, at_start=at_once, **told, **said, **observed)
    assert all((off is None) == (goal.name != OK) for goal, off in asked), "a refusal has no pose"
    assert not failures
