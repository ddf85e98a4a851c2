# SPDX-License-Identifier: Apache-2.0
"""A decision of the running node becomes a bundle, and gives the same answer again."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner, Result
from diagnostic_msgs.msg import DiagnosticStatus
from live_graph import Board, Goal, Graph

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.recording.evidence.bundle import bundles_in, read_bundle
from spatial_vlm_ros.streams import frame_assembler as roles

TIMES = ("ms", "timings_ms")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def timeless(text: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name not in TIMES}


def kept(graph: Graph, folder: Path, count: int) -> list[Path]:
    graph.until(lambda: folder.is_dir() and len(bundles_in(folder)) >= count, f"{count} bundles are there")
    return bundles_in(folder)


def replayed_as(goal: Goal, path: Path) -> Result:
    """The bundle gives the answer of the goal again."""
    again = run("replay", path, "--json")
    assert timeless(again.stdout) == timeless(goal.result.json)
    return again


def test_a_refusal_is_kept_and_replayed(live: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    live.use(evidence__keep="refused", evidence__folder=str(folder))
    live.answer()
    refused = live.ask("the chick")
    assert refused.name == "AMBIGUOUS"
    (path,) = kept(live, folder, 1)
    again = replayed_as(refused, path)
    assert again.exit_code == 3
    assert "the same answer as on" in again.stderr


def test_messages_are_kept_with_every_field_and_the_transforms_of_then(live: Graph, tmp_path: Path) -> None:
    live.use(evidence__keep="all", evidence__folder=str(tmp_path))
    sent: list[dict[str, Any]] = []
    goal = live.ask(change=lambda parts: sent.append(dict(parts)))
    (path,) = kept(live, tmp_path, 1)
    bundle = read_bundle(path)
    stamp = bundle.messages[roles.RGB].header.stamp
    (parts,) = [each for each in sent if each[roles.RGB].header.stamp.nanosec == stamp.nanosec]
    with open_bag(path) as bag:
        raw = {message.topic: bytes(message.raw) for message in bag.messages()}
    for role, message in parts.items():
        assert raw[f"/{role}"] == messages.serialised(message)[1]
    replayed_as(goal, path)
    assert bundle.record.node == "/resolver"
    assert {"spatial_vlm_ros", "numpy"} <= set(bundle.record.versions)


def test_diagnostics_tell_what_is_kept_and_a_blocked_folder_stops_nothing(graph: Graph, tmp_path: Path) -> None:
    board = Board(graph)
    graph.start(base_frame="", frame_timeout=15.0, evidence__folder=str(tmp_path / "evidence"))
    graph.feed(lambda: board.reads("requests", DiagnosticStatus.OK), "requests are OK")
    assert board["evidence"].level == DiagnosticStatus.STALE, "there is none"
    graph.use(evidence__keep="all")
    graph.answer()
    kept(graph, tmp_path / "evidence", 1)
    graph.until(lambda: board.reads("evidence", DiagnosticStatus.OK, "1 decisions kept"), "evidence is OK")
    (tmp_path / "file").write_text("no folder")
    blocked = str(tmp_path / "file")
    graph.use(evidence__folder=f"{blocked}/evidence")
    for _ in range(2):
        graph.answer()
    graph.feed(lambda: board.reads("evidence", DiagnosticStatus.WARN, blocked), "evidence warns")
    graph.feed(lambda: board.reads("requests", DiagnosticStatus.OK), "requests are OK")
    graph.until(lambda: board.values("evidence")["not kept, failed"] == "2", "both are counted")
