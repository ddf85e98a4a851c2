# SPDX-License-Identifier: Apache-2.0
"""The resolver's states, asked for through its services as a lifecycle manager does."""

import json
import sys
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from rclpy.context import Context
from tables import rows

from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.resolver import ResolverNode
from spatial_vlm_ros.streams import frame_assembler as roles

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
LEGAL = {"unconfigured": {CONFIGURE}, "inactive": {ACTIVATE, CLEANUP}, "active": {DEACTIVATE}}
OURS = ("resolution", "target", "markers", "annotated/image")


def publishers(graph: Graph, topic: str) -> int:
    return int(graph.node.count_publishers(graph.node.resolve_topic_name(topic)))


def assert_gone(graph: Graph) -> None:
    graph.until(lambda: not any(publishers(graph, topic) for topic in OURS), "its topics are gone")
    graph.until(lambda: not graph.client.server_is_ready(), "its action is gone")


def test_every_transition_is_made_where_it_is_legal_and_changes_nothing_where_it_is_not(graph: Graph) -> None:
    graph.start(wait=False, autostart=False, base_frame="world", frame_timeout=15.0)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    for transition, state in (
        (None, "unconfigured"), (CONFIGURE, "inactive"), (ACTIVATE, "active"), (DEACTIVATE, "inactive"),
        (CLEANUP, "unconfigured"), (CONFIGURE, "inactive"), (ACTIVATE, "active"),
    ):  # fmt: skip
        assert transition is None or graph.change(transition)
        for illegal in {CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE} - LEGAL[state]:
            assert not graph.change(illegal)
        assert graph.state == state
        if state == "unconfigured":
            assert_gone(graph)
            continue
        graph.offered()
        if state == "inactive":
            assert graph.send_goal(SENTENCE).accepted is False
        else:
            graph.answer()  # the static transform came again
    for topic in OURS:
        graph.until(lambda topic=topic: publishers(graph, topic) == 1, f"{topic} is offered once")
    goal = graph.send_goal(SENTENCE)
    assert graph.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    graph.ended(goal)
    assert goal.name == "CANCELLED"
    assert not goal.result.target
    assert graph.state == "finalized"
    assert_gone(graph)


@pytest.mark.parametrize(
    ("before", "shutdown"),
    [([], Transition.TRANSITION_UNCONFIGURED_SHUTDOWN), ([CONFIGURE], Transition.TRANSITION_INACTIVE_SHUTDOWN)],
    ids=["unconfigured", "inactive"],
)
def test_shutdown_takes_everything_down_in_any_state(graph: Graph, before: list[int], shutdown: int) -> None:
    graph.start(wait=False, autostart=False)
    for transition in (*before, shutdown):
        assert graph.change(transition)
    assert graph.state == "finalized"
    assert_gone(graph)


def test_what_arrives_while_inactive_is_not_taken_and_what_was_heard_is_forgotten_by_a_clean_up(live: Graph) -> None:
    live.answer()
    assert live.change(DEACTIVATE)
    name = live.node.resolve_topic_name("rgb/image")
    live.until(lambda: not live.node.count_subscribers(name), "nobody listens to the camera")
    live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
    assert live.change(ACTIVATE)
    live.answer()
    for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
        assert live.change(transition)
    live.offered()
    live.use(frame_timeout=1.0)
    goal = live.ask(change=lambda parts: parts.pop(roles.RGB_INFO))
    assert (goal.name, "rgb/camera_info" in goal.message, "no message" in goal.message) == ("INVALID_INPUT", True, True)


@pytest.mark.parametrize("times", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_activation_and_deactivation_under_load_leave_a_working_node(live: Graph, times: int) -> None:
    for _ in range(times):
        goal = live.send_goal(SENTENCE)
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
        assert live.change(DEACTIVATE)
        live.ended(goal)
        assert goal.name in ("OK", "CANCELLED")
        assert live.change(ACTIVATE)
    live.answer()


SIMULATED = {"grounder": "worker_backends:SimulatedChicks", "use_sim_time": False}


def test_what_cannot_be_used_keeps_the_node_unconfigured_and_says_why(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    messages.message_class.cache_clear()
    for name in ("vision_msgs", "vision_msgs.msg"):  # as where it is not installed
        monkeypatch.setitem(sys.modules, name, None)
    said = [""]

    def says(words: list[str]) -> bool:
        said[0] += capfd.readouterr().err
        return any(all(word in line for word in words) for line in said[0].splitlines() if "[ERROR]" in line)

    graph.start(wait=False, base_frame="world", frame_timeout=15.0, grounder="no_such_backend")
    graph.camera.tf(FRAME.base_T_camera, static=True)
    assert graph.state == "unconfigured"
    for parameters, words in rows(__file__, "unusable"):
        given = {k: v.format(tmp_path / "begun") if isinstance(v, str) else v for k, v in parameters.items()}
        before = {name: graph.resolver.get_parameter(name).value for name in given}
        graph.use(**given)
        assert not graph.change(CONFIGURE)
        assert graph.state == "unconfigured"
        graph.until(lambda words=words: says(words), f"the log says {words}")
        said[0] = ""
        graph.use(**{**before, "grounder": ""})
    graph.use(**SIMULATED, **{"domain_gate.images": "simulated"})
    assert graph.change(CONFIGURE)
    assert graph.change(ACTIVATE)
    graph.offered()
    assert json.loads(graph.answer().json)["model_domain"] == "simulated"
    graph.use(**{"domain_gate.images": "real"})
    refused = graph.ask()
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
