# SPDX-License-Identifier: Apache-2.0
"""A refusal of the running node becomes a bundle, gives the same refusal again, and is a test from then on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner, Result
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from live_graph import Goal, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from rclpy.parameter import Parameter

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.evidence.bundle import read_bundle
from spatial_vlm_ros.evaluation.evidence.store import bundles_in
from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.streams import frame_assembler as roles

POSES: dict[str, Any] = {"base_frame": "world", "frame_timeout": 15.0, "transform_timeout": 5.0}
TIMES = ("ms", "timings_ms")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def timeless(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name not in TIMES}


def start(graph: Graph, folder: Path, keep: str = "refused", **parameters: Any) -> None:
    graph.start(evidence__keep=keep, evidence__folder=str(folder), **{**POSES, **parameters})
    assert FRAME.base_T_camera is not None
    graph.camera.tf(FRAME.base_T_camera, static=True)
    graph.heard(*(() if "grounder" not in parameters else (roles.RGB, roles.DEPTH, roles.RGB_INFO)))


def kept(graph: Graph, folder: Path, count: int) -> list[Path]:
    graph.until(lambda: folder.is_dir() and len(bundles_in(folder)) >= count, f"{count} bundles are there")
    return bundles_in(folder)


def json_of(goal: Goal) -> dict[str, Any]:
    assert goal.result is not None
    return timeless(goal.result.json)


class EvidenceBoard:
    """The newest status of the evidence and of the requests."""

    def __init__(self, graph: Graph) -> None:
        self._newest: dict[str, DiagnosticStatus] = {}
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, qos.ANSWERS)

    def _take(self, array: DiagnosticArray) -> None:
        self._newest = {status.name.removeprefix("resolver: "): status for status in array.status}

    def reads(self, name: str, level: bytes, *words: str) -> bool:
        status = self._newest.get(name)
        return status is not None and status.level == level and all(word in status.message for word in words)

    def knows(self, name: str) -> bool:
        return name in self._newest

    def value(self, key: str) -> str:
        return next(pair.value for pair in self._newest["evidence"].values if pair.key == key)


def test_a_refusal_is_kept_replayed_and_evaluated(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    start(graph, folder)
    answered = graph.ask(SENTENCE, FRAME, DETECTIONS)
    refused = graph.ask("the chick", FRAME, DETECTIONS)
    assert (answered.name, refused.name) == ("OK", "AMBIGUOUS")
    (path,) = kept(graph, folder, 1)
    again = run("replay", path, "--json")
    assert again.exit_code == 3
    assert timeless(again.stdout) == json_of(refused)
    assert "the same answer as on" in again.stderr
    out = tmp_path / "tests"
    done = run("evidence", "keep-as-test", path, "--out", out, "--as-answered")
    assert done.exit_code == 0, done.output
    scored = run("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--junit", tmp_path / "junit.xml")
    assert scored.exit_code == 0, scored.output
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()


def test_messages_are_kept_with_every_field_and_the_transforms_of_then(graph: Graph, tmp_path: Path) -> None:
    start(graph, tmp_path, keep="all")
    sent: list[dict[str, Any]] = []
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS, change=lambda parts: sent.append(dict(parts)))
    (path,) = kept(graph, tmp_path, 1)
    bundle = read_bundle(path)
    stamp = bundle.messages[roles.RGB].header.stamp
    (parts,) = [each for each in sent if each[roles.RGB].header.stamp.nanosec == stamp.nanosec]
    from spatial_vlm_ros.evaluation.bags.reader import open_bag

    with open_bag(path) as bag:
        raw = {message.topic: bytes(message.raw) for message in bag.messages()}
    for role, message in parts.items():
        assert raw[f"/{role}"] == messages.serialised(message)[1]
    assert timeless(run("replay", path, "--json").stdout) == json_of(goal)
    assert bundle.record.node == "/resolver"
    assert {"spatial_vlm_ros", "numpy"} <= set(bundle.record.versions)


def test_what_a_grounder_found_is_used_again(graph: Graph, tmp_path: Path) -> None:
    options = "world=behind width=640"
    start(graph, tmp_path, keep="all", grounder="simulator", grounder_options=options)
    goal = graph.ask("the chick", FRAME, change=lambda parts: parts.pop(roles.DETECTIONS))
    (path,) = kept(graph, tmp_path, 1)
    model = read_bundle(path).record.model
    assert model is not None
    assert (model.name, model.options) == ("simulator", {"world": "behind", "width": "640"})
    assert timeless(run("replay", path, "--json").stdout) == json_of(goal)


def test_diagnostics_tell_what_is_kept_and_a_blocked_folder_stops_nothing(graph: Graph, tmp_path: Path) -> None:
    board = EvidenceBoard(graph)
    start(graph, tmp_path / "evidence", keep="off")
    assert graph.resolver is not None
    graph.feed(lambda: board.reads("requests", DiagnosticStatus.OK), "requests are OK", FRAME, DETECTIONS)
    assert not board.knows("evidence")
    graph.resolver.set_parameters([Parameter("evidence.keep", value="all")])
    assert graph.ask(SENTENCE, FRAME, DETECTIONS).name == "OK"
    kept(graph, tmp_path / "evidence", 1)
    graph.until(lambda: board.reads("evidence", DiagnosticStatus.OK, "1 decisions kept"), "evidence is OK")
    (tmp_path / "file").write_text("no folder")
    graph.resolver.set_parameters([Parameter("evidence.folder", value=str(tmp_path / "file" / "evidence"))])
    for _ in range(2):
        assert graph.ask(SENTENCE, FRAME, DETECTIONS).name == "OK"
    blocked = str(tmp_path / "file")
    graph.feed(lambda: board.reads("evidence", DiagnosticStatus.WARN, blocked), "evidence warns", FRAME, DETECTIONS)
    graph.feed(lambda: board.reads("requests", DiagnosticStatus.OK), "requests are OK", FRAME, DETECTIONS)
    assert board.value("not kept, failed") == "2"
