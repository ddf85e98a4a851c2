# SPDX-License-Identifier: Apache-2.0
"""Results of actions on a busy machine: a reply that comes late still counts, a result that is gone is told as gone."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from control_msgs.action import GripperCommand
from rclpy.action import ActionServer
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from spatial_vlm_ros.errors import CancelledError, PlannerUnavailableError, RejectedError, SourceChangedError
from spatial_vlm_ros.nodes import calls
from spatial_vlm_ros.nodes.calls import Action, Bridge, GoalOutcome, Service, spin_aside
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.liveliness import endpoints_of

if TYPE_CHECKING:
    from live_graph import Graph
    from rclpy.context import Context
    from rclpy.node import Node

PATIENCE = 30.0  # s


class Gripper:
    def __init__(self, graph: Graph) -> None:
        self.begun, self.may_end, self.served = threading.Event(), threading.Event(), 0
        self.node: Node = graph.spin(self._make)

    def _make(self, context: Context) -> Node:
        node = rclpy.create_node("gripper", context=context)
        self.server = ActionServer(node, GripperCommand, "grip", self._serve)
        return node

    def _serve(self, goal: Any) -> GripperCommand.Result:
        self.served += 1
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        goal.succeed()
        return GripperCommand.Result(position=0.04)


class Hand:
    def __init__(self, graph: Graph, gripper: Gripper) -> None:
        node = graph.spin(self._make)
        graph.until(self.action.ready, "the gripper is seen")
        graph.until(lambda: node.count_publishers("grip/_action/status"), "its goals are told")
        for service in ("send_goal", "get_result"):  # else it drops the replies
            graph.until(lambda s=service: gripper.node.count_clients(f"grip/_action/{s}"), "it knows its client")

    def _make(self, context: Context) -> Node:
        node = rclpy.create_node("hand", context=context)
        self.bridge = Bridge(node)
        self.action = Action(self.bridge, GripperCommand, "grip", "start it", PATIENCE)
        return node

    def run(self, cancelled: Callable[[], bool] = lambda: False, **how: Any) -> Future[GoalOutcome]:
        goal = GripperCommand.Goal()
        return ThreadPoolExecutor(1).submit(self.action.run, goal, math.inf, PATIENCE, cancelled, **how)


@pytest.fixture
def gripper(graph: Graph) -> Gripper:
    return Gripper(graph)


@pytest.fixture
def hand(graph: Graph, gripper: Gripper, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.setattr(calls, "_AGAIN", 0.2)  # s after the end of the goal was told
    return Hand(graph, gripper)


def result_after(hand: Hand, gripper: Gripper, monkeypatch: pytest.MonkeyPatch, asked: Callable[[Any], Any]) -> Any:
    """The outcome of a goal where questions for its result are answered so."""
    ask = hand.bridge.ask
    result = "get_result_async"
    monkeypatch.setattr(
        hand.bridge, "ask", lambda begin: asked(begin) if getattr(begin, "__name__", "") == result else ask(begin)
    )
    ended = hand.run()
    assert gripper.begun.wait(PATIENCE)
    gripper.may_end.set()
    return ended.result(PATIENCE)


def test_a_callback_may_use_what_has_just_been_shut_down(graph: Graph) -> None:
    ended = threading.Event()

    def make(context: Context) -> Node:
        node = rclpy.create_node("ends", context=context)
        publisher = node.create_publisher(Empty, "ended", 1)
        node.create_timer(1e-3, lambda: (rclpy.shutdown(context=context), ended.set(), publisher.publish(Empty())))
        return node

    graph.spin(make)
    assert ended.wait(PATIENCE)


def test_any_other_error_of_a_callback_is_raised(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    executor = SingleThreadedExecutor(context=graph.node.context)
    executor.create_task(threading.Lock().release)
    end = spin_aside(executor, PATIENCE)
    graph.until(lambda: raised, "the thread has ended")
    assert "unlocked" in str(raised[0].exc_value)
    end()


def test_a_wake_that_is_lost_costs_neither_the_job_nor_the_end(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    done, woken, executor = threading.Event(), list[None](), SingleThreadedExecutor(context=graph.node.context)
    node = rclpy.create_node("sleeps", context=graph.node.context)
    executor.add_node(node)
    jobs, wake = Jobs(node), executor.wake
    end = spin_aside(executor)
    monkeypatch.setattr(jobs._guard, "trigger", lambda: None)
    for _ in range(2):
        done.clear()
        jobs.put(done.set)
        wake()  # the middleware consumes the other one while the executor is awake
        assert done.wait(PATIENCE)
    monkeypatch.setattr(executor, "wake", lambda: woken.append(None) if not woken else wake())
    end()


def test_a_reply_after_the_next_question_counts(hand: Hand, gripper: Gripper, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, questions, held = hand.bridge.ask, [], threading.Event()

    def slow(begin: Any) -> Any:
        """The reply to the first question is handed on after the second one was asked, whose reply is lost."""
        questions.append(ask(begin))
        if len(questions) > 1:
            held.set()
            return Future()
        late: Future[Any] = Future()
        questions[0].add_done_callback(
            lambda a: threading.Thread(target=lambda: held.wait(PATIENCE) and late.set_result(a.result())).start()
        )
        return late

    outcome = result_after(hand, gripper, monkeypatch, slow)
    assert len(questions) > 1
    assert outcome.result.position == pytest.approx(0.04)


def test_a_forgotten_result_is_told_as_lost(hand: Hand, gripper: Gripper, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[Future[Any]] = []

    def losing(_: Any) -> Any:
        """The reply to the first question is lost, and the server does not know the goal any more."""
        questions.append(Future())
        if len(questions) > 1:
            questions[-1].set_result(GripperCommand.Impl.GetResultService.Response(status=GoalStatus.STATUS_UNKNOWN))
        return questions[-1]

    with pytest.raises(PlannerUnavailableError, match="no longer stored"):
        result_after(hand, gripper, monkeypatch, losing)


@pytest.mark.filterwarnings("ignore:Deprecated in favor")  # rclpy says that there may be more than one server
def test_with_a_second_server_no_goal_is_sent_and_no_result_counts(
    graph: Graph, hand: Hand, gripper: Gripper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was killed stays in the graph for a while: its successor is waited for."""
    asked, halted, ask = [], [], hand.bridge.ask  # type: list[str], list[bool], Any
    monkeypatch.setattr(hand.bridge, "ask", lambda begin: (asked.append(getattr(begin, "__name__", "")), ask(begin))[1])
    running = hand.run(halt=lambda: halted.append(True))
    assert gripper.begun.wait(PATIENCE)
    second = Gripper(graph)
    graph.until(lambda: hand.bridge.node.count_publishers("grip/_action/status") > 1, "the second is seen")
    gripper.may_end.set()
    with pytest.raises(SourceChangedError, match=r"/grip now comes from (/gripper|a node of unknown name)"):
        running.result(PATIENCE)
    assert (asked[-1], halted) == ("cancel_goal_async", [True]), "the right one may still be at it"
    monkeypatch.setattr(calls, "TWICE", 0.5)
    with pytest.raises(SourceChangedError, match=r"/grip has 2 servers: .*; a request reaches all"):
        hand.run().result(PATIENCE)
    monkeypatch.setattr(calls, "TWICE", PATIENCE)
    waiting = hand.run()
    Bridge(second.node).put(second.server.destroy)
    assert waiting.result(PATIENCE).result.position == 0.04
    assert (gripper.served, second.served) == (2, 0)


def serving(graph: Graph, form: Any, name: str, reply: Callable[[Any], None]) -> list[Any]:
    """A node that serves a service; returns the requests to come."""
    heard: list[Any] = []

    def make(context: Context) -> Node:
        node = rclpy.create_node("stranger", context=context)
        node.create_service(form, name, lambda request, response: (heard.append(request), reply(response), response)[2])
        return node

    graph.spin(make)
    return heard


def test_who_serves_one_service_of_an_action_does_not_answer_for_it(
    graph: Graph, hand: Hand, gripper: Gripper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says the goal's end at once, and publishes no status of goals as a whole server does."""
    form, topic = GripperCommand.Impl.GetResultService, "rr/grip/_action/get_resultReply"
    serving(graph, form, "grip/_action/get_result", lambda said: setattr(said, "status", GoalStatus.STATUS_SUCCEEDED))
    graph.until(lambda: len(endpoints_of(hand.bridge.node, topic)) > 1, "the stranger is seen")
    monkeypatch.setattr(calls, "TWICE", 0.5)
    with pytest.raises(SourceChangedError, match=r"/grip has 2 servers: .*; a request reaches all"):
        hand.run().result(PATIENCE)
    assert gripper.served == 0


def test_a_service_that_two_serve_is_not_asked_and_a_second_reply_does_not_count(graph: Graph) -> None:
    made, may_end = [], threading.Event()

    def make(context: Context) -> Node:
        node = rclpy.create_node("asks", context=context)
        made.append(Service(Bridge(node), Trigger, "look", "start it"))
        return node

    node = graph.spin(make)
    right = serving(graph, Trigger, "look", lambda _: may_end.wait(PATIENCE))
    graph.until(made[0].ready, "the service is seen")
    answer = ThreadPoolExecutor(1).submit(made[0].call, Trigger.Request(), PATIENCE)
    graph.until(lambda: right, "it is asked")
    second = serving(graph, Trigger, "look", lambda said: setattr(said, "success", True))
    graph.until(lambda: len(endpoints_of(node, "rr/lookReply")) > 1, "the second is seen")
    may_end.set()
    with pytest.raises(SourceChangedError, match="/look now comes from"):
        answer.result(PATIENCE)
    with pytest.raises(SourceChangedError, match=r"/look has 2 servers: .*; a request reaches all of them"):
        made[0].call(Trigger.Request(), PATIENCE)
    assert (len(right), len(second)) == (1, 0)


def test_what_is_withdrawn_or_refused_while_the_executor_is_busy_is_not_sent(hand: Hand, gripper: Gripper) -> None:
    busy, free, withdrawn = threading.Event(), threading.Event(), threading.Event()
    hand.bridge.put(lambda: (busy.set(), free.wait(PATIENCE)))
    assert busy.wait(PATIENCE)
    ended = hand.run(withdrawn.is_set)
    withdrawn.set()
    free.set()
    with pytest.raises(CancelledError):
        ended.result(PATIENCE)

    def refuses() -> None:
        raise RejectedError("phase 'reach'", "it is not approved", "have it approved")

    with pytest.raises(RejectedError, match="it is not approved"):
        hand.run(check=refuses).result(PATIENCE)
    gripper.may_end.set()
    assert hand.run().result(PATIENCE).accepted
    assert gripper.served == 1
