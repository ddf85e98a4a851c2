# SPDX-License-Identifier: Apache-2.0
"""A set-up that does not work: diagnostics are not OK, doctor names cause and repair, no pose, and it recovers."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from broken_setups import POSE, Setup
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fault_record import record_goals
from live_graph import Graph
from live_scene import SENTENCE, core_position
from tables import rows

from spatial_vlm_ros.nodes import qos

OK = DiagnosticStatus.OK
NEAR = 0.03  # m
ASKED = 2


@dataclass(frozen=True)
class Broken:
    """A row of the page of faults; `change`, `begin` and `repair` name methods of Setup; `quick` rows are not slow."""

    id: str
    fault: str
    injected: str
    statuses: list[str]
    diagnostics: list[str]
    doctor: list[str]
    change: str = "nothing"
    begin: str = "static"
    repair: str = "nothing"
    parameters: dict[str, Any] = field(default_factory=dict)
    works_first: bool = False
    quick: bool = False


ROWS = [Broken(**row) for row in rows(__file__, "broken_setups")]


class Watched:
    def __init__(self, graph: Graph, row: Broken) -> None:
        self.graph, self.setup, self._row = graph, Setup(graph), row
        self.broken = False
        self.reports: list[dict[str, DiagnosticStatus]] = []
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, qos.ANSWERS)

    def _take(self, message: DiagnosticArray) -> None:
        said = {s.name.removeprefix("resolver: "): s for s in message.status if s.name.startswith("resolver: ")}
        if said:
            self.reports.append(said)

    def _change(self, parts: dict[str, Any]) -> None:
        if self.setup.is_moving:
            self.graph.camera.tf(POSE, stamp_ns=self.graph.camera.now())
        if self.broken:
            self.setup.does(self._row.change, parts)

    def feed(self, condition: Callable[[], Any], what: str) -> None:
        self.graph.feed(condition, what, change=self._change)

    def requests(self, first: int = -1) -> DiagnosticStatus:
        since = self.reports[max(first, 0) :]
        return since[-1]["requests"] if since else DiagnosticStatus(level=DiagnosticStatus.STALE)

    def until_served(self, what: str) -> None:
        first = len(self.reports)
        self.feed(lambda: self.requests(first).level == OK, what)


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=r.id, marks=[] if r.quick else [pytest.mark.slow]) for r in ROWS]
)  # fmt: skip
def test_diagnostics_and_doctor_tell_and_no_pose_comes(graph: Graph, program: Any, row: Broken) -> None:
    watched = Watched(graph, row)
    graph.start(base_frame="world", frame_timeout=2.0, transform_timeout=0.5, **row.parameters)
    watched.setup.does(row.begin, {})
    if row.works_first:
        watched.until_served("requests are served before the fault")
    watched.broken = True
    watched.feed(
        lambda: watched.requests().level != OK and all(w in watched.requests().message for w in row.diagnostics),
        f"diagnostics are not OK and say {row.diagnostics}",
    )
    first = len(watched.reports)
    goals = []
    for _ in range(ASKED):
        goal = graph.send_goal(SENTENCE)
        watched.feed(lambda goal=goal: goal.result is not None, "the request ends")
        goals.append(goal)
    examining = program("doctor", "--json", "--seconds", "4")
    watched.feed(lambda: examining.process.poll() is not None, "the doctor is done")
    assert "Traceback" not in examining.output
    findings = json.loads(next(line for line in examining.output.splitlines() if line.startswith("{")))["findings"]
    unhealthy = watched.reports[first:]

    watched.broken = False
    ended = time.monotonic()
    watched.setup.does(row.repair, {})
    watched.until_served("requests are served after the repair")
    recovery = time.monotonic() - ended

    errors = [f for f in findings if f["level"] == "error"]
    named = [f for f in errors if all(word in f"{f['check']}: {f['found']}; {f['repair']}" for word in row.doctor)]
    off = [np.abs(np.subtract(goal.position, core_position())).max() for goal in goals if goal.result.target]
    wrong = sum(each > NEAR for each in off)
    healthy = [report["requests"].message for report in unhealthy if report["requests"].level == OK]
    failures = [
        *(["diagnostics are OK"] if healthy else []),
        *([] if named and all(f["repair"] for f in named) else [f"doctor does not name {row.doctor}"]),
        *(f"{name} is not right" for name in sorted({goal.name for goal in goals} - set(row.statuses))),
        *([f"{wrong} wrong poses"] if wrong else []),
    ]
    levels = {DiagnosticStatus.WARN: "WARN", OK: ""}
    said = [(levels.get(s.level, "ERROR"), name, s.message) for name, s in unhealthy[-1].items()]
    words = [f"ERROR {f['check']}: {f['found']}; {f['repair']}" for f in (*named, *errors)]
    told = {"fault": row.fault, "injected": row.injected, "right": sorted(row.statuses)}
    diagnostics = [f"{level} {name}: {message}" for level, name, message in said if level]
    found = {"diagnostics": diagnostics, "doctor": list(dict.fromkeys(words))[:3], "recovery_s": round(recovery, 1)}
    ends = {"wrong_poses": wrong, "failures": failures}
    record_goals("Set-ups", row.id, goals, at_start=not row.works_first, **told, **found, **ends)
    assert not failures, (failures, errors, healthy)
