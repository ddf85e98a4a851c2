# SPDX-License-Identifier: Apache-2.0
"""A live graph for tests: the real resolver node, a camera that sends what it is told, a client. Not a test."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live_scene import DETECTIONS, FRAME, SENTENCE, position
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from spatial_vlm_interfaces.action import ResolveInstruction
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from visualization_msgs.msg import MarkerArray
from waiting import DEADLINE, until

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.nodes.calls import spin_aside
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest
from spatial_vlm_ros.nodes.perception.resolver import ResolverNode
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform, Vector3


class Camera:
    """Publishes the parts of a frame as a driver and a detector would, with the stamps it is told."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.composer = messages.composer()
        self._publishers: dict[str, Any] = {}

    def publish(self, topic: str, message: Any, profile: Any = None) -> None:
        if topic not in self._publishers:
            chosen = profile or qos.images("reliable")
            events = PublisherEventCallbacks(use_default_callbacks=False)  # rclpy's own log by a deprecated name
            self._publishers[topic] = self.node.create_publisher(type(message), topic, chosen, event_callbacks=events)
        self._publishers[topic].publish(message)

    def now(self) -> int:
        return self.node.get_clock().now().nanoseconds

    def tf(self, *transforms: Transform, stamp_ns: int = 0, static: bool = False) -> None:
        stamped = [self.composer.transform_stamped(t, stamp_ns) for t in transforms]
        topic, profile = ("/tf_static", qos.STATIC_TRANSFORMS) if static else ("/tf", qos.TRANSFORMS)
        self.publish(topic, self.composer.tf_message(stamped), profile)

    def parts(
        self, frame: RgbdFrame, detections: Sequence[Detection], stamp_ns: int, depth_stamp_ns: int | None = None
    ) -> dict[str, Any]:
        """The messages of a frame by role; change or drop some before `send`."""
        header = self.composer.header(stamp_ns, frame.frame_id)
        depth_header = self.composer.header(stamp_ns if depth_stamp_ns is None else depth_stamp_ns, frame.frame_id)
        size = (frame.camera.width, frame.camera.height)
        return {
            roles.RGB_INFO: self.composer.camera_info(frame.camera, header),
            roles.RGB: self.composer.image_rgb(frame.rgb, header),
            roles.DEPTH: self.composer.image_depth(frame.depth, depth_header),
            roles.DETECTIONS: self.composer.detection_array(detections, header, *size),
        }

    def send(self, parts: dict[str, Any]) -> None:
        for role, message in parts.items():
            self.publish(role, message)


def clock_of(node: Node) -> list[int]:
    """What /clock tells from now on, nanoseconds."""
    told: list[int] = []
    profile = QoSProfile(depth=10_000)
    node.create_subscription(Clock, "/clock", lambda m: told.append(m.clock.sec * SECOND + m.clock.nanosec), profile)
    return told


class Goal:
    def __init__(self) -> None:
        self.accepted: bool | None = None
        self.handle: Any = None
        self.stages: list[int] = []  # one entry however often a stage is told
        self.status: int | None = None
        self.result: ResolutionMessage | None = None
        self.surroundings = ""
        self.others: Sequence[ResolutionMessage] = ()

    def hears(self, stage: int) -> None:
        if stage not in self.stages[-1:]:
            self.stages.append(stage)

    @property
    def name(self) -> str:
        return str(self.result.status.name)

    @property
    def message(self) -> str:
        return str(self.result.status.message)

    @property
    def position(self) -> Vector3:
        """Of the target of an answer that is OK, metres."""
        assert self.name == "OK", self.message
        return position(self.result.target[0])


class Graph:
    """Nodes of one test, or of several that leave it as it was; each has an executor on a thread of its own."""

    def __init__(self, domain: int) -> None:
        self.domain = domain
        self._stops: dict[Node, Callable[[], None]] = {}
        self._jobs: dict[Node, Jobs] = {}
        self._clients: dict[ActionClient, Node] = {}
        self.node, self.client = self.new_client("test")
        self.camera = Camera(self.node)
        self.answers: list[ResolutionMessage] = []
        self.targets: list[PoseWithCovarianceStamped] = []
        self.markers: list[MarkerArray] = []
        self.node.create_subscription(ResolutionMessage, "resolution", self.answers.append, qos.ANSWERS)
        self.node.create_subscription(PoseWithCovarianceStamped, "target", self.targets.append, qos.ANSWERS)
        self.node.create_subscription(MarkerArray, "markers", self.markers.append, qos.ANSWERS)
        self.resolver: ResolverNode | None = None
        self._services: dict[str, Any] = {}
        self._before: dict[str, Any] = {}  # values of the parameters that were set
        self._transitions = False
        self._settled = 0
        self._own: list[Any] = [*self.node.subscriptions, *self._stops]

    def new_client(self, name: str) -> tuple[Node, ActionClient]:
        """A node, and a client of the action on it, made before it spins.

        rclpy hands a client to the executor before it is whole, and an executor that then looks at it fails.
        """
        node, (client,) = self._new_clients(name, 1)
        return node, client

    def _new_clients(self, name: str, count: int) -> tuple[Node, list[ActionClient]]:
        made: list[ActionClient] = []

        def make(context: Context) -> Node:
            node = rclpy.create_node(name, context=context)
            for _ in range(count):
                made.append(ActionClient(node, ResolveInstruction, "resolve", **qos.action_services()))
            return node

        node = self.spin(make)
        self._clients.update(dict.fromkeys(made, node))
        return node, made

    def crowd(self, count: int) -> list[ActionClient]:
        """That many clients besides the test's, which the resolver knows."""
        clients = self._new_clients("crowd", count)[1]
        for client in clients:
            self.offered(client, count + 1)
        return clients

    def spin(self, make: Callable[[Context], Any]) -> Any:
        """A node on an executor with a thread of its own, until the graph is closed."""
        context = Context()
        rclpy.init(context=context, domain_id=self.domain)
        try:
            node = make(context)
        except BaseException:
            rclpy.try_shutdown(context=context)
            raise
        self._jobs[node] = Jobs(node)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        end = spin_aside(executor, DEADLINE)

        def stop() -> None:
            end()
            for client in [held for held in node.waitables if isinstance(held, ActionClient)]:
                client.destroy()  # destroy_node does not
            if hasattr(node, "stop"):
                node.stop()
            node.destroy_node()
            rclpy.try_shutdown(context=context)

        self._stops[node] = stop
        return node

    def play(self, form: type[Any], **parameters: Any) -> Any:
        """A node of this package with these parameters, "__" in a name standing for ".", started and spinning."""
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]

        def make(context: Context) -> Any:
            node = form(context=context, parameter_overrides=overrides)
            node.start()
            return node

        return self.spin(make)

    def leave(self, node: Node) -> None:
        """End one node, as a process that ends before the others."""
        self._stops.pop(node)()
        self._clients = {client: its for client, its in self._clients.items() if its is not node}

    def start(self, wait: bool = True, **parameters: Any) -> ResolverNode:
        """The resolver node with these parameters, "__" in a name standing for "."; heard by and hearing the test.

        Unless it is said otherwise stamps count as proof: this camera stamps by the clock of the resolver's host.
        """
        self.resolver = self.play(ResolverNode, **{"clocks_in_step": True, "clock_error": 0.0, **parameters})
        if wait:
            self.offered()
            for topic in ("resolution", "target", "markers"):
                name = self.node.resolve_topic_name(topic)
                self.until(lambda name=name: self.node.count_publishers(name), f"somebody publishes {name}")
        self._own = [*self.node.subscriptions, *self._stops]
        return self.resolver

    @property
    def desk(self) -> RequestQueue:
        return self.resolver._queue

    @property
    def poses(self) -> set[str]:
        """Frames whose transforms the resolver has heard."""
        return set(self.desk.assembler.transforms.frames())

    def offered(self, client: ActionClient | None = None, clients: int = 0) -> None:
        """Wait until the action is offered, and the server knows its clients: else it drops the response."""
        chosen = client or self.client
        self.until(chosen.server_is_ready, "the action server is there")
        if self.resolver is not None:
            wanted = clients or (1 if client is None else 2)
            self.until(lambda: min(self.known_clients()) >= wanted, "the action knows its clients")

    def known_clients(self) -> list[int]:
        """How many clients of the action the resolver knows, by each of its services."""
        names = [f"resolve/_action/{service}" for service in ("send_goal", "get_result", "cancel_goal")]
        return [self.resolver.count_clients(self.node.resolve_service_name(name)) for name in names]

    def until(self, condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> None:
        until(condition, what, deadline)

    def heard(self, *topics: str) -> None:
        for topic in topics or (roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DETECTIONS):
            name = self.node.resolve_topic_name(topic)
            self.until(lambda name=name: self.node.count_subscribers(name), f"somebody subscribes to {name}")
            publisher = self.camera._publishers.get(topic)
            if publisher is not None:
                self.until(publisher.get_subscription_count, f"{name} is matched")

    def send_goal(
        self, instruction: str, frame_of_reference: str = "", dialogue_id: str = "",
        client: ActionClient | None = None, others: Sequence[str] = (),
    ) -> Goal:  # fmt: skip
        (goal,) = self.send_goals(instruction, [client or self.client], frame_of_reference, dialogue_id, others)
        return goal

    def send_goals(
        self, instruction: str, clients: Sequence[ActionClient], frame_of_reference: str = "", dialogue_id: str = "",
        others: Sequence[str] = (),
    ) -> list[Goal]:  # fmt: skip
        """A goal of each client, all sent before the first is accepted or rejected; all are, in the end."""
        fields = {"frame_of_reference": frame_of_reference, "dialogue_id": dialogue_id, "others": others}
        goals = [self._begin(client, ResolveInstruction.Goal(instruction=instruction, **fields)) for client in clients]
        self.until(lambda: all(goal.accepted is not None for goal in goals), "the goal is accepted or rejected")
        return goals

    def _begin(self, client: ActionClient, request: ResolveInstruction.Goal) -> Goal:
        goal = Goal()

        def on_accepted(future: Any) -> None:
            goal.handle = future.result()
            if goal.handle.accepted:
                goal.handle.get_result_async().add_done_callback(on_result)
            goal.accepted = goal.handle.accepted

        def on_result(future: Any) -> None:
            goal.surroundings, goal.others = future.result().result.surroundings, future.result().result.others
            goal.result, goal.status = future.result().result.resolution, future.result().status

        def hear(message: Any) -> None:
            goal.hears(message.feedback.stage)

        def send() -> None:
            """On the executor's thread: rclpy loses a reply that comes while another thread is still sending."""
            client.send_goal_async(request, feedback_callback=hear).add_done_callback(on_accepted)

        self._jobs[self._clients[client]].put(send)
        return goal

    def withdraw(self, goal: Goal) -> None:
        self._jobs[self._clients[self.client]].put(goal.handle.cancel_goal_async)

    def burst(self, instruction: str, clients: Sequence[ActionClient], patience: float) -> list[Goal]:
        """One goal of each client, all sent at once; those that nobody answers in time stay without a result."""
        goals = [self._begin(client, ResolveInstruction.Goal(instruction=instruction)) for client in clients]
        end, gate = time.monotonic() + patience, threading.Event()
        while any(goal.result is None for goal in goals) and time.monotonic() < end:
            gate.wait(0.01)
        return goals

    def ask(self, instruction: str = SENTENCE, *seen: Any, **how: Any) -> Goal:
        """Send a goal and frames until the result is there; `how` they are sent (feed), and fields of the request."""
        sending = {name: how.pop(name) for name in ("change", "period") if name in how}
        goal = self.send_goal(instruction, **how)
        self.feed(lambda: goal.result is not None, "the result is there", *seen, **sending)
        return goal

    def answer(self, instruction: str = SENTENCE, *seen: Any, **how: Any) -> ResolutionMessage:
        goal = self.ask(instruction, *seen, **how)
        assert (goal.name, goal.status) == ("OK", GoalStatus.STATUS_SUCCEEDED), goal.message
        return goal.result

    def feed(
        self,
        condition: Callable[[], Any],
        what: str,
        frame: RgbdFrame = FRAME,
        detections: Sequence[Detection] = DETECTIONS,
        change: Callable[[dict[str, Any]], object] = lambda _: None,
        period: float = 0.05,
    ) -> None:

        def send() -> None:
            parts = self.camera.parts(frame, detections, self.camera.now())
            change(parts)
            self.camera.send(parts)

        until(condition, f"{what}, sending frames", meanwhile=send, period=period)

    def ended(self, goal: Goal) -> Goal:
        """Wait for the end of a goal to which nothing is sent any more."""
        self.until(lambda: goal.result is not None, "the result is there")
        return goal

    def assert_refused(self, goal: Goal, status: str, *words: str, published: bool = True) -> None:
        """A goal ended with a refusal that says these words, and no pose has left the node so far."""
        self.ended(goal)
        assert (goal.name, goal.status) == (status, GoalStatus.STATUS_ABORTED), goal.message
        assert [word for word in words if word not in goal.message] == [], goal.message
        self.assert_no_pose(goal.result, published)

    def assert_no_pose(self, result: ResolutionMessage, published: bool = True) -> None:
        assert not result.target
        assert not result.place
        if published:  # markers are published last
            self.until(lambda: any(answer == result for answer in self.answers), "the refusal is published")
            self.until(lambda: len(self.markers) >= self.shown, "its markers are published")
        assert not self.targets

    @property
    def shown(self) -> int:
        """Answers that replace the markers of the one before: all but those to requests that found the node busy."""
        return sum(answer.status.name != "BUSY" for answer in self.answers)

    def cancel(self, goal: Goal) -> int:
        return int(self.call(goal.handle.cancel_goal_async).return_code)

    def change(self, transition: int) -> bool:
        """Ask the resolver for a lifecycle transition; whether it was made."""
        self._transitions = True
        return bool(self.serve(ChangeState, "resolver/change_state", transition=Transition(id=transition)).success)

    def reconfigure(self) -> None:
        """Take the resolver down and up again: what it heard is forgotten, and clocks are learnt anew."""
        for name in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
            assert self.change(getattr(Transition, f"TRANSITION_{name}"))
        self.offered()
        self.heard()

    @property
    def state(self) -> str:
        return str(self.serve(GetState, "resolver/get_state").current_state.label)

    def set(self, **parameters: Any) -> tuple[bool, str]:
        """Set parameters of the resolver together, "__" in a name standing for "."; success and reason."""
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        before = {name: self.resolver.get_parameter(name).value for name in named if self.resolver.has_parameter(name)}
        wanted = [Parameter(name, value=value).to_parameter_msg() for name, value in named.items()]
        result = self.serve(SetParametersAtomically, "resolver/set_parameters_atomically", parameters=wanted).result
        if result.successful:
            self._before = {**before, **self._before}
        return bool(result.successful), str(result.reason)

    def use(self, **parameters: Any) -> None:
        assert self.set(**parameters) == (True, "")

    def service(self, form: Any, name: str) -> Any:
        if name not in self._services:
            client = self._services[name] = self.node.create_client(form, name)
            self.until(client.service_is_ready, f"{name} is there")
            if self.resolver is not None:  # a server that does not know its client yet drops the response
                resolver, full = self.resolver, self.node.resolve_service_name(name)
                self.until(lambda: resolver.count_clients(full), f"{name} knows its client")
        return self._services[name]

    def serve(self, form: Any, name: str, **fields: Any) -> Any:
        client = self.service(form, name)
        return self.call(lambda: client.call_async(form.Request(**fields)))

    def call(self, send: Callable[[], Any], node: Node | None = None) -> Any:
        """The response to what `send` sends."""
        response = self.asked(send, node)
        self.until(response.done, "there is a response")
        return response.result()

    def asked(self, send: Callable[[], Any], node: Node | None = None) -> Future[Any]:
        """The response later, to what is sent on the thread of the node's executor: see `send_goals`."""
        response: Future[Any] = Future()
        begin = lambda: send().add_done_callback(lambda future: response.set_result(future.result()))  # noqa: E731
        self._jobs[node or self.node].put(begin)
        return response

    def remove(self, publisher: Any) -> None:
        """Destroy one of the test's, on the executor's thread (see spin_aside)."""
        done = threading.Event()
        self._jobs[self.node].put(lambda: (self.node.destroy_publisher(publisher), done.set()))
        assert done.wait(DEADLINE)

    def settle(self) -> None:
        """As it was after `start`, for the next test: active, idle, its parameters, nobody else who hears or asks."""
        for node in [node for node in self._stops if node not in self._own]:
            self.leave(node)
        for subscription in [each for each in self.node.subscriptions if each not in self._own]:
            self._jobs[self.node].put(lambda each=subscription: self.node.destroy_subscription(each))
        if self.resolver is None:
            for publisher in self.camera._publishers.values():  # what it told once is told to those who come later
                self.remove(publisher)
            self.camera._publishers.clear()
            return
        own = len(self._clients)  # else one of those that left counts as one that the next test makes
        self.until(lambda: max(self.known_clients()) <= own, "who left is forgotten")
        if self._transitions:
            assert self.state != "unconfigured" or self.change(Transition.TRANSITION_CONFIGURE)
            assert self.state != "inactive" or self.change(Transition.TRANSITION_ACTIVATE)
            assert self.state == "active"
            self.offered()
        if self._before:
            self.use(**self._before)
        self._settled += 1
        resolver, desk, last = self.resolver, self.desk, " " * self._settled
        resolver._wake(lambda: desk.cancel_all("the test is over"))
        request = InstructionRequest(last, "", "", resolver._publish_outcome, lambda *_: None)
        resolver._wake(lambda: desk.accept(request))  # not understood at once; what was said before is heard before
        self.until(lambda: any(answer.instruction == last for answer in self.answers), "the last answer is published")
        self.until(lambda: len(self.markers) >= self.shown, "its markers are published")
        for heard in (self.answers, self.targets, self.markers):
            heard.clear()
        self._before, self._transitions = {}, False

    def close(self) -> None:
        """End all nodes, those after one that fails, too: a node left alive would answer in the next tests.

        What DDS holds goes with the last reference, so that cycles are collected here and now.
        """
        with contextlib.ExitStack() as stack:
            for stop in self._stops.values():
                stack.callback(stop)
        for name in list(vars(self)):
            delattr(self, name)
        gc.collect()


class Board:
    """The newest statuses of the resolver on /diagnostics."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self._newest = graph, DiagnosticArray()
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, qos.ANSWERS)

    def _take(self, message: DiagnosticArray) -> None:
        self._newest = message

    def __getitem__(self, name: str) -> DiagnosticStatus:
        found = [status for status in self._newest.status if status.name == f"resolver: {name}"]
        return found[0] if found else DiagnosticStatus(level=DiagnosticStatus.STALE)

    def values(self, name: str) -> dict[str, str]:
        return {pair.key: pair.value for pair in self[name].values}

    def reads(self, name: str, level: bytes, *words: str) -> bool:
        status = self[name]
        return bool(status.level == level) and all(word in status.message for word in words)

    def until(self, name: str, level: bytes, *words: str, frames: Any = None) -> None:
        """Wait until a status has a level and says words, sending frames meanwhile if wanted."""

        reads, what = partial(self.reads, name, level, *words), f"{name} says {words} at level {level!r}"
        if frames is None:
            self.graph.until(reads, what)
        else:
            self.graph.feed(reads, what, change=frames)


class HeldGrounder:
    """A grounder that says that it has begun, and waits until it may end."""

    def __init__(self, folder: Path) -> None:
        self.begun, self.end = folder / "begun", folder / "end"
        options = f"begun={self.begun} end={self.end}"
        self.parameters: dict[str, Any] = {"grounder": "worker_backends:Chicks", "grounder_options": options}

    def computes(self, graph: Graph, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Goal:
        """A goal for which it computes, and may not end."""
        self.begun.unlink(missing_ok=True)
        self.end.unlink(missing_ok=True)
        goal = graph.send_goal(SENTENCE)
        graph.feed(self.begun.exists, "the grounder has begun", change=change)
        return goal
