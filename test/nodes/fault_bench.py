# SPDX-License-Identifier: Apache-2.0
"""A player with faults, a resolver that listens to it, and what is heard of both; the scene is swapped. Not a test."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from bag_builder import FIXED, SMALL
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from frame_folders import write_folder
from live_graph import Goal, Graph
from live_process import Started
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from waiting import DEADLINE

from spatial_vlm_ros.nodes.perception.frame_player import FramePlayer
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup
from spatial_vlm_ros.sim.tabletop import render
from spatial_vlm_ros.types import Vector3

SENTENCE = "grab me the chick behind the cup"
OK = "OK"
NEAR = 0.03  # metres: a pose farther from the truth is wrong
BASE = "base_link"
LOADER = "spatial_vlm_ros.sim.faults.grounder:load"
MOVED = (-0.04, 0.1, 0.0)  # metres: from the first scene to the second
LEVELS = {DiagnosticStatus.WARN: "WARN", DiagnosticStatus.ERROR: "ERROR", DiagnosticStatus.STALE: "STALE"}


def write_scenes(top: Path) -> Path:
    """Two scenes of one camera as frame folders: all bodies of the second stand elsewhere."""
    first = chicks_and_cup()
    moved = tuple(dataclasses.replace(b, position=tuple(np.add(b.position, MOVED))) for b in first.bodies)
    for name, world in (("a", first), ("b", dataclasses.replace(first, bodies=moved))):
        write_folder(top / name, render(world, SMALL, FIXED), FIXED)
    return top


class Bench:
    """The player, the resolver and a client; `set_up` as of a FaultRow."""

    def __init__(self, graph: Graph, folders: Path, model_faults: Path, set_up: str = "", at_start: str = "") -> None:
        self.graph, self.set_up, self._model_faults = graph, set_up, model_faults
        self.truth = {name: self._truth(folders / name) for name in ("a", "b")}
        self._scenes = itertools.cycle("ba")
        self.reports: list[tuple[float, DiagnosticArray]] = []
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)
        played = {"folder": str(folders), "frame": "a", "rate": 10.0, "moving": set_up != "static"}
        graph.play(FramePlayer, **played, clock=set_up == "clock", faults=at_start)
        model: dict[str, Any] = {}
        if set_up == "model":
            options = f"of=worker_backends:Scenes folder={folders} faults_file={model_faults}"
            model = {"grounder": LOADER, "grounder_options": options, "grounder_timeout": 6.0}
        graph.start(base_frame=BASE, frame_timeout=3.0, use_sim_time=set_up == "clock", **model)

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
        if self.set_up == "model":
            self._model_faults.write_text(faults)
        else:
            self.set(faults=faults)

    def ask(self) -> tuple[Goal, float | None]:
        """Swap the scene, then ask: the answer, and how far its pose is from the truth, metres; None without a pose."""
        name = next(self._scenes)
        self.set(frame=name)
        goal = self.graph.send_goal(SENTENCE)
        self.graph.until(lambda: goal.result is not None, "the result is there", 2 * DEADLINE)
        if not goal.result.target:
            return goal, None
        point = goal.result.target[0].pose.pose.position
        return goal, float(np.linalg.norm(np.subtract((point.x, point.y, point.z), self.truth[name])))

    def answers_right(self) -> bool:
        goal, off = self.ask()
        return goal.name == OK and off is not None and off < NEAR

    def works(self, what: str) -> None:
        self.graph.until(self.answers_right, what, 3 * DEADLINE)

    def unhealthy(self, since: float, until: float = float("inf")) -> dict[str, str]:
        """What diagnostics said between two times that is not OK: level and name of each status → its last words."""
        said: dict[str, str] = {}
        for heard, report in list(self.reports):
            for status in report.status if since < heard < until else ():
                if status.level in LEVELS:
                    said[f"{LEVELS[status.level]} {status.name.rpartition(': ')[2]}"] = status.message
        return said


def complaints(doctor: Started) -> list[str]:
    """What `spatial-vlm doctor` found wrong, worst first."""
    doctor.ends()
    line = next(line for line in doctor.output.splitlines() if line.startswith("{"))
    found = [f for f in json.loads(line)["findings"] if f["level"] != "ok" and f["check"] != "DDS profile"]
    found.sort(key=lambda f: f["level"] != "error")
    return [f"{f['level'].upper()} {f['check']}: {f['found']}; {f['repair']}" for f in found]
