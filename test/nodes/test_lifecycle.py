# SPDX-License-Identifier: Apache-2.0
"""The resolver's states, asked for through its services as a lifecycle manager does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from rclpy.context import Context

from spatial_vlm_ros.nodes.perception.resolver import ResolverNode

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
POSES = {"base_frame": "world", "frame_timeout": 15.0, "transform_timeout": 5.0}
OURS = ("resolution", "target", "markers", "annotated/image")


def assert_answers(graph: Graph) -> None:
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message


class Log:
    """What the nodes of this process log."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured, self._text = captured, ""

    def says(self, *words: str) -> bool:
        """Whether one line has all of these words."""
        self._text += self._captured.readouterr().err
        return any(all(word in line for word in words) for line in self._text.splitlines() if "[ERROR]" in line)


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Log:
    return Log(capfd)


def publishers(graph: Graph, topic: str) -> int:
    return int(graph.node.count_publishers(graph.node.resolve_topic_name(topic)))


def test_without_autostart_the_node_waits_to_be_configured_and_activated(graph: Graph) -> None:
    graph.start(wait=False, autostart=False, **POSES)
    assert graph.state == "unconfigured"
    assert not graph.client.server_is_ready()
    assert graph.change(CONFIGURE)
    assert graph.state == "inactive"
    graph.offered()
    graph.camera.tf(FRAME.base_T_camera, static=True)
    assert graph.send_goal(SENTENCE).accepted is False
    assert graph.change(ACTIVATE)
    assert graph.state == "active"
    assert_answers(graph)


def test_with_autostart_the_node_is_active(live: Graph) -> None:
    assert live.state == "active"


def test_after_a_clean_up_the_node_can_be_configured_again(live: Graph) -> None:
    for _ in range(3):
        assert_answers(live)
        assert live.change(DEACTIVATE)
        assert live.change(CLEANUP)
        assert live.state == "unconfigured"
        live.until(lambda: not any(publishers(live, topic) for topic in OURS), "its topics are gone")
        live.until(lambda: not live.client.server_is_ready(), "its action is gone")
        assert live.change(CONFIGURE)
        assert live.change(ACTIVATE)
        live.offered()
    assert_answers(live)  # the static transform came again
    for topic in OURS:
        live.until(lambda topic=topic: publishers(live, topic) == 1, f"{topic} is offered once")


def test_what_arrives_while_inactive_is_not_taken(live: Graph) -> None:
    assert_answers(live)
    assert live.change(DEACTIVATE)
    name = live.node.resolve_topic_name("rgb/image")
    live.until(lambda: not live.node.count_subscribers(name), "nobody listens to the camera")
    for _ in range(3):
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
    assert live.change(ACTIVATE)
    assert_answers(live)


def test_activation_and_deactivation_under_load_leave_a_working_node(live: Graph) -> None:
    for _ in range(5):
        goal = live.send_goal(SENTENCE)
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
        assert live.change(DEACTIVATE)
        live.ended(goal)
        assert goal.name in ("OK", "CANCELLED")
        assert live.change(ACTIVATE)
    assert_answers(live)


@pytest.mark.parametrize(
    ("before", "illegal", "state"),
    [
        ([], ACTIVATE, "unconfigured"),
        ([], DEACTIVATE, "unconfigured"),
        ([], CLEANUP, "unconfigured"),
        ([CONFIGURE], CONFIGURE, "inactive"),
        ([CONFIGURE], DEACTIVATE, "inactive"),
        ([CONFIGURE, ACTIVATE], CONFIGURE, "active"),
        ([CONFIGURE, ACTIVATE], ACTIVATE, "active"),
        ([CONFIGURE, ACTIVATE], CLEANUP, "active"),
    ],
)
def test_an_illegal_transition_changes_nothing(graph: Graph, before: list[int], illegal: int, state: str) -> None:
    graph.start(wait=False, autostart=False, **POSES)
    for transition in before:
        assert graph.change(transition)
    assert not graph.change(illegal)
    assert graph.state == state
    if state == "active":
        graph.camera.tf(FRAME.base_T_camera, static=True)
        graph.offered()
        assert_answers(graph)


@pytest.mark.parametrize(
    ("before", "shutdown"),
    [
        ([], Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
        ([CONFIGURE], Transition.TRANSITION_INACTIVE_SHUTDOWN),
        ([CONFIGURE, ACTIVATE], Transition.TRANSITION_ACTIVE_SHUTDOWN),
    ],
)
def test_shutdown_takes_everything_down_in_any_state(graph: Graph, before: list[int], shutdown: int) -> None:
    graph.start(wait=False, autostart=False, **POSES)
    for transition in before:
        assert graph.change(transition)
    assert graph.change(shutdown)
    assert graph.state == "finalized"
    graph.until(lambda: not any(publishers(graph, topic) for topic in OURS), "its topics are gone")
    graph.until(lambda: not graph.client.server_is_ready(), "its action is gone")


@pytest.mark.parametrize(
    ("grounder", "words"),
    [
        ("no_such_backend", ("no_such_backend", "unknown name")),
        ("no_such_module:Grounder", ("no_such_module", "cannot be imported")),
        ("json:loads", ("json:loads",)),
    ],
)
def test_a_grounder_that_does_not_exist_keeps_the_node_unconfigured(
    graph: Graph, log: Log, grounder: str, words: tuple[str, ...]
) -> None:
    graph.start(wait=False, grounder=grounder, **POSES)
    assert graph.state == "unconfigured"
    graph.until(lambda: log.says(*words), f"the log says {words}")
    accepted, reason = graph.set(grounder="")
    assert accepted, reason
    assert graph.change(CONFIGURE)
    assert graph.change(ACTIVATE)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    graph.offered()
    assert_answers(graph)


def test_options_that_cannot_be_read_keep_the_node_unconfigured(graph: Graph, log: Log) -> None:
    graph.start(wait=False, grounder="any", grounder_options="path='not closed", **POSES)
    assert graph.state == "unconfigured"
    graph.until(lambda: log.says("grounder options", "closed quotes"), "the log says why")


def test_a_grounder_that_loads_too_long_keeps_the_node_unconfigured(
    graph: Graph, log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    slow = {"grounder": "worker_backends:loading", "grounder_options": f"begun={tmp_path / 'begun'}"}
    graph.start(wait=False, grounder_start_timeout=3.0, **slow, **POSES)
    assert graph.state == "unconfigured"
    graph.until(lambda: log.says("worker_backends:loading", "3 s"), "the log says why")


@pytest.mark.parametrize("images", ["unknown", "real"])
def test_a_simulated_model_on_a_camera_that_nobody_vouches_for_keeps_the_node_unconfigured(
    graph: Graph, log: Log, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    gate = {"domain_gate.images": images, "use_sim_time": False}
    graph.start(wait=False, grounder="worker_backends:SimulatedChicks", **gate, **POSES)
    assert graph.state == "unconfigured"
    graph.until(lambda: log.says("only on simulated images", "domain_gate.images"), "the log says why")
    accepted, reason = graph.set(**{"domain_gate.images": "simulated"})
    assert accepted, reason
    assert graph.change(CONFIGURE)
    assert graph.change(ACTIVATE)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    graph.offered()
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.name == "OK"
    assert json.loads(goal.result.json)["model_domain"] == "simulated"
    accepted, reason = graph.set(**{"domain_gate.images": "real"})
    assert accepted, reason
    refused = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert (refused.name, list(refused.result.target)) == ("MODEL_ERROR", [])


def test_taking_down_goes_on_where_it_was_interrupted(domain: int) -> None:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = ResolverNode(context=context)
    node.start()
    interrupts = iter([True, True])

    def interrupted() -> None:
        if next(interrupts, False):
            raise KeyboardInterrupt

    node._made += [interrupted, interrupted]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            node.stop()
    node.stop()
    assert (node._made, node._inputs, node._queue) == ([], [], None)
    node.stop()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
