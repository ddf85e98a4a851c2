# SPDX-License-Identifier: Apache-2.0
"""What the resolver node loads of this package stays within its budget."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from live_graph import Graph
from live_process import Started
from live_scene import DETECTIONS, FRAME

from scripts.size_report import budgets

WORDS = ("the chick behind the cup", "put the cup next to the bonnet chick", "the wug", "the chick")


def test_the_resolver_loads_no_more_than_its_budget(graph: Graph, domain: int, start: Callable[..., Started]) -> None:
    words = ("--ros-args", "-p", "base_frame:=world", "-p", "frame_timeout:=15.0", "-p", "transform_timeout:=5.0")
    node = start(str(Path(__file__).with_name("counting_node.py")), "resolver", *words, ROS_DOMAIN_ID=str(domain))
    graph.offered()
    graph.camera.tf(FRAME.base_T_camera, static=True)
    answers = [graph.ask(said, FRAME, DETECTIONS) for said in WORDS]
    turn = graph.ask("the left one", FRAME, DETECTIONS, dialogue_id=answers[-1].result.dialogue_id)
    assert [answer.name for answer in (*answers, turn)] == ["OK", "OK", "NOT_FOUND", "AMBIGUOUS", "OK"]
    node.process.send_signal(signal.SIGINT)
    assert node.ends() == 0, node.output
    print(node.output)  # noqa: T201
    loaded = int(node.output.rpartition("loaded lines: ")[2].split()[0])
    assert 0 < loaded <= budgets()["resolver_node"]["loaded_lines"]
