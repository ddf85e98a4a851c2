# SPDX-License-Identifier: Apache-2.0
"""Every fault of a camera, its transforms, clocks, detections and model on the live node: the rows of docs/faults.md.

The scene is swapped before each request, so that an answer from an image of before it has the wrong pose.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, SMALL
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fault_record import record
from fault_rows import OK, ROWS, FaultRow
from live_graph import DEADLINE, Goal, Graph
from live_process import Started
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.parameter import Parameter
from test_frame_player import write_folder

from spatial_vlm_ros.evaluation.frame_folder import load_frame
from spatial_vlm_ros.nodes.perception.frame_player import FramePlayer
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup
from spatial_vlm_ros.sim.tabletop import render
from spatial_vlm_ros.types import Vector3

HERE = Path(__file__).parent
SENTENCE = "grab me the chick behind the cup"
REQUESTS = 4
NEAR = 0.03  # metres: a pose farther from the truth is wrong
BASE = "base_link"
LOADER = "spatial_vlm_ros.sim.faults.grounder:load"


MOVED = (-0.04, 0.1, 0.0)  # metres: from the first scene to the second
LEVELS = {DiagnosticStatus.WARN: "WARN", DiagnosticStatus.ERROR: "ERROR", DiagnosticStatus.STALE: "STALE"}
SETTLED = 2  # reports of diagnostics after a fault: the one that is being made, and one that has seen it

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of one camera: all bodies of the second stand elsewhere."""
    top = tmp_path_factory.mktemp("swapped")
    first = chicks_and_cup()
    moved = tuple(dataclasses.replace(b, position=tuple(np.add(b.position, MOVED))) for b in first.bodies)
    for name, world in (("a", first), ("b", dataclasses.replace(first, bodies=moved))):
        write_folder(top / name, render(world, SMALL, FIXED), FIXED)
    return top


class Bench:
    """A player with faults, a resolver that listens to it, and what is heard of both."""

    def __init__(self, graph: Graph, folders: Path, row: FaultRow, model_faults: Path) -> None:
        self.graph, self.row, self._model_faults = graph, row, model_faults
        self.truth = {name: self._truth(folders / name) for name in ("a", "b")}
        self._scenes = itertools.cycle("ba")
        self.reports: list[tuple[float, DiagnosticArray]] = []
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)
        at_start = {"faults": row.injected} if row.set_up == "static" else {}
        self._play(folder=str(folders), frame="a", rate=10.0, moving=row.set_up != "static",
                   clock=row.set_up == "clock", **at_start)  # fmt: skip
        model: dict[str, Any] = {}
        if row.set_up == "model":
            options = f"of=worker_backends:Scenes folder={folders} faults_file={model_faults}"
            model = {"grounder": LOADER, "grounder_options": options, "grounder_timeout": 6.0}
        graph.start(base_frame=BASE, frame_timeout=3.0, use_sim_time=row.set_up == "clock", **model)

    def _play(self, **parameters: Any) -> None:
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]

        def make(context: Context) -> FramePlayer:
            player = FramePlayer(context=context, parameter_overrides=overrides)
            player.start()
            return player

        self.graph.spin(make)

    @staticmethod
    def _truth(folder: Path) -> Vector3:
        frame, detections = load_frame(folder)
        answer = Resolver().resolve(frame, SENTENCE, detections)
        assert answer.target is not None, answer.message
        return answer.target.pose.position

    def _on_report(self, message: DiagnosticArray) -> None:
        self.reports.append((time.monotonic(), message))

    def set(self, **parameters: Any) -> None:
        """Set parameters of the player, as `ros2 param set` does."""
        wanted = [Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
        name = "frame_player/set_parameters_atomically"
        result = self.graph.serve(SetParametersAtomically, name, parameters=wanted).result
        assert result.successful, result.reason

    def switch(self, faults: str) -> None:
        """Inject these faults; "" ends them."""
        if self.row.set_up == "model":
            self._model_faults.write_text(faults)
        else:
            self.set(faults=faults)

    def ask(self) -> tuple[Goal, float | None]:
        """Swap the scene, then ask: the answer, and how far its pose is from the truth, metres; None without a pose."""
        name = next(self._scenes)
        self.set(frame=name)
        goal = self.graph.send_goal(SENTENCE)
        self.graph.until(lambda: goal.result is not None, "the result is there", 2 * DEADLINE)
        assert goal.result is not None
        if not goal.result.target:
            return goal, None
        point = goal.result.target[0].pose.pose.position
        return goal, float(np.linalg.norm(np.subtract((point.x, point.y, point.z), self.truth[name])))

    def answers_right(self) -> bool:
        goal, off = self.ask()
        return goal.name == OK and off is not None and off < NEAR

    def works(self, what: str) -> None:
        """Wait until requests are answered rightly."""
        self.graph.until(self.answers_right, what, 3 * DEADLINE)

    def unhealthy(self, since: float) -> list[str]:
        """What diagnostics said that is not OK, the last words of each status."""
        said: dict[str, str] = {}
        for heard, report in list(self.reports):
            for status in report.status if heard > since else ():
                if status.level in LEVELS:
                    name = status.name.rpartition(": ")[2]
                    said[name] = f"{LEVELS[status.level]} {name}: {status.message}"
        return list(said.values())


def complaints(doctor: Started) -> list[str]:
    """What `spatial-vlm doctor` found wrong, worst first."""
    doctor.ends()
    line = next(line for line in doctor.output.splitlines() if line.startswith("{"))
    found = [f for f in json.loads(line)["findings"] if f["level"] != "ok" and f["check"] != "DDS profile"]
    found.sort(key=lambda f: f["level"] != "error")
    return [f"{f['level'].upper()} {f['check']}: {f['found']}; {f['repair']}" for f in found]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_fault_ends_as_it_should_and_is_over_when_it_ends(
    graph: Graph, program: Callable[..., Started], folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    row: FaultRow,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HERE), str(HERE.parents[1]))))
    bench = Bench(graph, folders, row, tmp_path / "model_faults")
    if row.set_up != "static":  # what was once latched stays known
        bench.works("it works before the fault")
        bench.switch(row.injected)
    since = time.monotonic()
    arguments = ("-p", "use_sim_time:=true") if row.set_up == "clock" else ()
    doctor = program("doctor", "--seconds", "3", "--base-frame", BASE, "--json", "--ros-args", *arguments)
    first = len(bench.reports)
    graph.until(lambda: len(bench.reports) >= first + SETTLED, "diagnostics have seen the fault")
    settled = bench.reports[first + SETTLED - 1][0] - 1e-6
    asked = [bench.ask() for _ in range(REQUESTS)]
    found = complaints(doctor)
    unhealthy = bench.unhealthy(settled)
    bench.switch("")
    ended = time.monotonic()
    bench.works("it works after the fault")
    recovery = time.monotonic() - ended

    statuses = Counter(goal.name for goal, _ in asked)
    wrong = sum(off is not None and off >= NEAR for _, off in asked)
    right = set(row.right) | ({OK} if row.undetectable else set())
    failures = [
        *([f"{name} is not right" for name in statuses if name not in right]),
        *([f"{wrong} wrong poses"] if wrong and not row.undetectable else []),
    ]
    record(
        row.section,
        row.id,
        fault=row.fault,
        injected=("grounder, " if row.set_up == "model" else "") + row.injected,
        at_start=row.set_up == "static",
        statuses=dict(sorted(statuses.items())),
        says=sorted({goal.result.status.message for goal, _ in asked if goal.name != OK and goal.result})[:1],
        diagnostics=unhealthy,
        doctor=found,
        recovery_s=round(recovery, 1),
        requests=REQUESTS,
        wrong_poses=wrong,
        right=sorted(row.right),
        undetectable=row.undetectable,
        failures=failures,
    )
    assert all((off is None) == (goal.name != OK) for goal, off in asked), "a refusal has no pose"
    assert since < ended
    if row.today and failures:
        pytest.xfail(f"{row.today}: {'; '.join(failures)}")
    assert not failures
