# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says of streams, transforms, requests and the grounder: the reason and the fix."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from live_graph import Board, Graph
from live_scene import DETECTIONS, FRAME, SENTENCE

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.types import Transform

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def everything(_: dict[str, Any]) -> None:
    """Change nothing."""


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Board:
    return Board(request.getfixturevalue("live" if "live" in request.fixturenames else "graph"))


def test_a_camera_that_works_is_ok_with_its_rates_and_a_silent_stream_is_an_error(board: Board, live: Graph) -> None:
    board.until("streams", OK, "all streams are arriving", frames=everything)
    live.feed(lambda: int(board.values("streams").get("rgb/image rate [Hz]", "0")) > 1, "it has a rate")
    values = board.values("streams")
    assert 1 < int(values["depth/image rate [Hz]"]) <= 25
    assert -1.0 < float(values["rgb/image newest stamp, age [s]"]) < 10.0
    board.until("transforms", OK, f"world <- {FRAME.frame_id} is known")
    board.until("streams", ERROR, "depth/image is silent", "check the driver", frames=lambda p: p.pop(roles.DEPTH))
    assert "rgb/image is silent" not in board["streams"].message
    board.until("streams", ERROR, "rgb/image is silent", "depth/image is silent", "detections is silent")
    board.until("streams", OK, "all streams are arriving", frames=everything)


def test_transforms_that_are_missing_are_named_until_they_come(board: Board, graph: Graph, tmp_path: Path) -> None:
    """That of the camera, of the speaker, and of a link of the robot."""
    pytest.importorskip("pinocchio")
    path = tmp_path / "robot.urdf"
    path.write_text(
        '<robot name="post"><link name="post"><collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision>'
        "</link></robot>"
    )
    graph.start(base_frame="world", robot_description=str(path), speaker_frame="person")
    board.until("transforms", WARN, "no image received yet")
    board.until("transforms", ERROR, "was never published", "world", frames=everything)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    board.until("transforms", ERROR, "frame 'post' was never published", frames=everything)
    goal = graph.ask()
    graph.assert_refused(goal, "TF_UNAVAILABLE", "post", "robot_description")
    graph.camera.tf(FRAME.base_T_camera, Transform("world", "post", np.eye(4)), static=True)
    board.until("transforms", WARN, "was never published", "person", frames=everything)
    graph.camera.tf(FRAME.base_T_camera, Transform("world", "person", np.eye(4)), static=True)
    known = f"world <- {FRAME.frame_id} and {FRAME.frame_id} <- person and the robot's 1 links are known"
    board.until("transforms", OK, known, frames=everything)
    values = board.values("transforms")
    assert (values["camera frame"], values["speaker frame"]) == (FRAME.frame_id, "person")


def test_a_publisher_that_cannot_be_heard_is_an_error_until_one_can(board: Board, graph: Graph) -> None:
    graph.start(base_frame="", reliability="reliable", frame_timeout=1.0)
    parts = graph.camera.parts(FRAME, DETECTIONS, graph.camera.now())
    graph.camera.publish(roles.DEPTH, parts[roles.DEPTH], qos.images("best_effort"))
    words = "depth/image offers a different QoS reliability", "reliability: best_effort"
    board.until("streams", ERROR, *words, frames=everything)
    graph.assert_refused(graph.ask(), "STALE_INPUT", words[0], f"set {words[1]}")
    graph.remove(graph.camera._publishers.pop(roles.DEPTH))
    board.until("streams", OK, "all streams are arriving", frames=everything)
    assert "offers a different" not in board["streams"].message


def test_requests_are_counted_by_their_end(board: Board, live: Graph) -> None:
    board.until("requests", OK, "ready", frames=everything)
    before = dict(live.desk.ends)
    for words in (SENTENCE, "grab me the chick", SENTENCE, ""):
        live.ask(words)
    goal = live.send_goal(SENTENCE)
    board.until("requests", ERROR, "rgb/image")  # it is silent; a second later, no complete frame came for so long
    live.use(queue_depth=0)
    live.cancel(goal)
    wanted = {"OK": 2, "AMBIGUOUS": 1, "NOT_UNDERSTOOD": 1, "CANCELLED": 1}
    wanted = {f"ended {name}": str(before.get(name, 0) + count) for name, count in wanted.items()}
    board.until("requests", OK, "ready", frames=everything)
    live.until(lambda: wanted.items() <= board.values("requests").items(), "all are counted")
    values = board.values("requests")
    assert 0.0 < float(values["latency p50 [ms]"]) <= float(values["latency p95 [ms]"])


def test_an_inactive_node_says_that_goals_are_rejected(board: Board, live: Graph) -> None:
    board.until("streams", ERROR, "is silent")
    assert live.change(Transition.TRANSITION_DEACTIVATE)
    board.until("streams", WARN, "inactive")
    board.until("requests", WARN, "inactive: goals are rejected; activate the node")


def test_a_change_of_parameters_does_not_upset_the_rates(board: Board, live: Graph) -> None:
    def rate() -> int:
        return int(board.values("streams").get("rgb/image rate [Hz]", "0"))

    live.feed(lambda: rate() > 5, "there is a rate")
    live.use(sync_slop=0.05)
    seen: list[int] = []

    def stands_still() -> bool:
        seen.append(rate())
        return seen[-1] <= 0

    live.until(stands_still, "nothing comes any more")
    assert min(seen) == 0


def test_a_grounders_process_is_watched(board: Board, graph: Graph) -> None:
    graph.start(base_frame="", frame_timeout=15.0, grounder="worker_backends:Chicks")
    board.until("grounder", OK, "runs")
    killed = int(board.values("grounder")["process"])
    os.kill(killed, signal.SIGKILL)
    board.until("grounder", WARN, "has exited")
    board.until("grounder", OK, "runs")  # it is started again without a request
    assert int(board.values("grounder")["process"]) != killed
    board.until("requests", OK, "ready", frames=everything)
    graph.answer()
