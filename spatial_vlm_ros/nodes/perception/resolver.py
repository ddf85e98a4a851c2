# SPDX-License-Identifier: Apache-2.0
"""The live resolver: camera topics and an instruction in, a target or a refusal out."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointCloud2
from spatial_vlm_interfaces.action import ResolveInstruction
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from spatial_vlm_ros.errors import CancelledError, InputError, InternalError, SpatialVlmError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.goals import GoalServer, Jobs, ServedGoal
from spatial_vlm_ros.nodes.liveliness import endpoints_of, told_to
from spatial_vlm_ros.nodes.perception.evidence import EvidenceKeeper
from spatial_vlm_ros.nodes.perception.grounder_keeper import GrounderKeeper
from spatial_vlm_ros.nodes.perception.health import Health
from spatial_vlm_ros.nodes.perception.inputs import form_of, hears_detections, topics_of
from spatial_vlm_ros.nodes.perception.request_queue import RequestQueue
from spatial_vlm_ros.nodes.perception.requests import InstructionRequest, RequestOutcome
from spatial_vlm_ros.nodes.perception.side_outputs import IMAGE, OBJECTS, POINTS, REGION, SideOutputs
from spatial_vlm_ros.parameters import Settings, words_in
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.dialogue import refusal
from spatial_vlm_ros.spatial.support_check import carries_out
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.streams.recent import RecentFrames
from spatial_vlm_ros.streams.sources import Sources
from spatial_vlm_ros.types import ANSWERS, Status

if TYPE_CHECKING:
    from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel

NO_GROUNDER = "none"  # with decision.taught: nothing but taught objects is found
NOT_SHOWN = (roles.TRANSFORMS, roles.STATIC_TRANSFORMS, roles.DETECTIONS)  # roles that are not kept in recent frames
POLL = 0.02  # s: how often a waiting request checks the time
DIAGNOSTICS_PERIOD = 1.0  # s
LAST_BUNDLES = 2.0  # s to write queued evidence when the process ends
SAID_AGAIN = 5.0  # s between two reports of an invalid message


class ResolverNode(LifecycleNode):
    """Lifecycle node `resolver`: docs/ros_api.md describes it, and launcher/interfaces.toml has its interfaces."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("resolver", **kwargs)
        parameters.declare(self)
        self.add_on_set_parameters_callback(
            lambda changes: parameters.check(self, changes, configured=self._queue is not None)
        )
        self.add_post_set_parameters_callback(self._use_parameters)
        self._settings = parameters.read(self)
        self._queue: RequestQueue | None = None
        self._robot: RobotModel | None = None
        self._active = self._stopped = False
        self._keeper: GrounderKeeper | None = None
        self._evidence: EvidenceKeeper | None = None
        self._came_ns = 0
        self._wake = Jobs(self, failed=self._on_failure).put
        self._side = SideOutputs(self, self._wake)
        self._server: GoalServer | None = None
        self._made: list[Callable[[], Any]] = []  # how to undo configure
        self._inputs: list[Any] = []
        self._stopper: Any = None  # client of planner_gate's service `stop`

    def start(self) -> None:
        """Configure and activate, unless a lifecycle manager does this."""
        if self.get_parameter("autostart").value and self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def stop(self) -> None:
        """Free everything; safe in any state and more than once. Call it after `end`, when nothing spins the node."""
        self._stopped = True
        evidence = self._evidence
        self._take_down()
        if evidence is not None:
            evidence.close(LAST_BUNDLES)
        self._side.close()

    def end(self) -> None:
        """Refuse new requests, and answer the waiting clients. `ended` says when they have their results."""
        self._active = False
        if self._queue is not None:
            self._queue.close()

    @property
    def ended(self) -> bool:
        """Whether every accepted goal has its result."""
        return self._server is None or self._server.ended

    # -------------------------------------------------------------------------------------------- lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and the robot, load the grounder, subscribe to transforms, offer the action."""
        try:
            self._settings = settings = parameters.read(self)
            if settings.streams.robot_description:
                from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
                from spatial_vlm_ros.nodes.client_node import heard_description

                self._robot = robot_of(settings.streams, settings.resolver.depth, partial(heard_description, self))
            hears_2d = hears_detections(settings) and settings.node.detections_type == "vision_msgs"
            if settings.node.selection or settings.node.objects or hears_2d:
                messages.needed_class(messages.DETECTIONS_2D)
            self._read_taught(settings)
            if settings.node.grounder not in ("", NO_GROUNDER):
                from spatial_vlm_ros.perception.worker import WorkerGrounder

                self.get_logger().info(printable(f"loading grounder {settings.node.grounder!r}"))
                options = parse_options(settings.node.grounder_options)
                limits = settings.node.grounder_timeout, settings.node.grounder_start_timeout
                worker = WorkerGrounder(settings.node.grounder, options, *limits)
                self._keeper = GrounderKeeper(worker, self.get_logger().warning)
                worker.start()
                check_domain(worker, settings.resolver.domain_gate)  # messages do not say if it is simulated
        except SpatialVlmError as error:
            self.get_logger().error(printable(error))
            self._take_down()
            return TransitionCallbackReturn.FAILURE
        collected = FrameAssembler(settings.streams, hears_detections(settings), robot=self._robot)
        recent = RecentFrames(settings.streams, collected.transforms, self._robot) if settings.node.selection else None
        topics, grounder = self._resolved_topics(), None if self._keeper is None else self._keeper.grounder
        clock = ["/clock"] if self.get_parameter("use_sim_time").value else []
        self._queue = RequestQueue(settings, collected, grounder, self._now_ns, self._wake, topics, recent)
        self._queue.frames.sources = Sources(partial(endpoints_of, self), clock)
        self._evidence = EvidenceKeeper(
            lambda: self._settings, lambda: topics_of(self._settings), messages.serialised, grounder,
            self.get_fully_qualified_name(), lambda words: self.get_logger().warning(printable(words)),
        )  # fmt: skip
        self._queue.evidence = self._evidence
        parse("the cup")  # the grammar is loaded now, not with the first request
        self._health = Health(self, self._queue, self._keeper)
        self._publish()
        for role, profile in ((roles.TRANSFORMS, qos.TRANSFORMS), (roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)):
            subscription = self.create_subscription(TFMessage, role, self._taker(role), profile)
            self._made.append(partial(self.destroy_subscription, subscription))
        if settings.node.selection:
            from spatial_vlm_ros.nodes.perception.selection import serve_selection

            self._made.append(serve_selection(self._publish_outcome, self, self._accept, self._wake))
        if settings.resolver.decision.taught:
            from spatial_vlm_ros.nodes.perception.teaching import serve_teaching

            self._made.append(serve_teaching(settings.resolver.decision.taught, self, self._accept, self._wake))
        self._server = GoalServer(
            self, ResolveInstruction, "resolve", self._on_accepted, self._wake, takes=self._on_goal,
            cancelled=self._withdraw, **qos.action_services(), result_timeout=10 + qos.ODD,
        )  # fmt: skip
        jumps = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        handle = self.get_clock().create_jump_callback(jumps, post_callback=self._on_jump)
        self._stopper = self.create_client(Trigger, "stop")
        self._made += [self._server.destroy, handle.unregister, partial(self.destroy_client, self._stopper)]
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to images and instructions."""
        result = super().on_activate(state)
        self._listen_to_images()
        self._active = True
        self.get_logger().info(
            printable(f"resolver is active; waiting for {', '.join(sorted(self._resolved_topics().values()))}")
        )
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Cancel requests, and unsubscribe from images and instructions."""
        self._active = False
        if self._queue is not None:
            self._queue.cancel_all("the resolver was deactivated")
            self._queue.observer.forget()
        self._deafen()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the grounder's memory and everything configured."""
        self._take_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up from any state; a waiting client gets its result first."""
        self.end()
        self._deafen()
        self._wake(lambda: self._wake(self._take_down))
        return super().on_shutdown(state)

    def on_error(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an error in a transition."""
        self._active = False
        self._take_down()
        return TransitionCallbackReturn.SUCCESS

    def _take_down(self) -> None:
        """Free everything that exists. May be called repeatedly, also after an interruption."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None
        if self._evidence is not None:
            self._evidence.close()
            self._evidence = None
        self._deafen()
        while self._made:
            self._made.pop()()
        keeper, self._keeper, self._robot = self._keeper, None, None
        if keeper is not None:
            keeper.close()

    # -------------------------------------------------------------------------------------------- wiring

    def _read_taught(self, settings: Settings) -> None:
        """Read what was taught: a file that cannot be read ends the transition, not each request."""
        path = settings.resolver.decision.taught
        if path:
            from spatial_vlm_ros.perception.taught_store import make

            if make(path):
                self.get_logger().warning(printable(f"{path} is new and empty: call the service teach"))
        elif settings.node.grounder == NO_GROUNDER:
            raise InputError("grounder", NO_GROUNDER, "a source of objects", "set decision.taught, or a grounder")
        Resolver(settings.resolver).taught()

    def _publish(self) -> None:
        create = self.create_lifecycle_publisher
        self._out = {
            "resolution": create(ResolutionMessage, "resolution", qos.ANSWERS),
            "target": create(PoseWithCovarianceStamped, "target", qos.ANSWERS),
            "markers": create(MarkerArray, "markers", qos.ANSWERS),
            IMAGE: create(Image, "annotated/image", qos.IMAGES),
            POINTS: create(PointCloud2, "annotated/points", qos.IMAGES),
            REGION: create(MarkerArray, "annotated/region", qos.IMAGES),
        }
        if self._settings.node.objects:
            self._out[OBJECTS] = create(messages.needed_class(messages.DETECTIONS_3D), "objects", qos.ANSWERS)
        diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.ANSWERS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        report = self.create_timer(
            DIAGNOSTICS_PERIOD, lambda: diagnostics.publish(self._health.report(self._active)), clock=steady
        )
        poll = self.create_timer(POLL, self._poll, clock=steady)
        poll.cancel()  # until a request waits
        assert self._queue is not None  # noqa: S101 - configure has just made it
        self._queue.on_stop = self._stop_motion
        self._queue.on_busy = lambda busy: poll.reset() if busy else poll.cancel()
        timers = [report, poll]
        rate = self._settings.node.observer_rate
        if rate > 0.0:
            timers.append(self.create_timer(1.0 / rate, self._observe, clock=steady))
        self._made += [
            partial(self.destroy_lifecycle_publisher, publisher) for publisher in (*self._out.values(), diagnostics)
        ]
        self._made += [partial(self.destroy_timer, timer) for timer in timers]

    def _listen_to_images(self) -> None:
        for role, topic in topics_of(self._settings).items():
            self._inputs.append(
                self.create_subscription(
                    form_of(role, self._settings),
                    topic,
                    self._taker(role),
                    qos.images(self._settings.node.reliability, qos.IMU_DEPTH if role == roles.IMU else 5),
                    event_callbacks=SubscriptionEventCallbacks(
                        incompatible_qos=partial(self._health.incompatible, topic),
                        message_lost=partial(self._health.lost, topic),
                    ),
                )
            )
        self._inputs.append(self.create_subscription(String, "instruction", self._on_instruction, qos.INSTRUCTIONS))

    def _deafen(self) -> None:
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())

    def _resolved_topics(self) -> dict[str, str]:
        return {role: self.resolve_topic_name(topic) for role, topic in topics_of(self._settings).items()}

    # -------------------------------------------------------------------------------------------- in

    def _taker(self, role: str) -> Callable[..., None]:
        """Make a subscription's callback: store the message, and check whether a request can continue."""

        def take(message: Any) -> None:
            begun = time.perf_counter()
            if self._queue is None:
                return
            now_ns = self._now_ns()
            try:
                self._queue.assembler.add(role, message, now_ns)
                if self._queue.frames.recent is not None and role not in NOT_SHOWN:
                    self._queue.frames.recent.add(role, message, now_ns)
            except Exception:  # costs one message, not the node
                words = f"a message on {role} cannot be used:\n{traceback.format_exc()}"
                self.get_logger().error(printable(words), throttle_duration_sec=SAID_AGAIN)
            self._queue.step(begun)

        assert self._queue is not None  # noqa: S101 - configure has made it
        return told_to(self._queue.frames.sources, self._resolved_topics().get(role, role), take)

    def _poll(self) -> None:
        if self._queue is not None and self._queue.busy:
            self._queue.step()

    def _observe(self) -> None:
        if self._queue is not None and self._active and not self._queue.busy:
            self._queue.observer.begin()

    def _accept(self, request: InstructionRequest) -> bool:
        """Serve or queue a request; returns whether the node is active."""
        if self._queue is None or not self._active:
            return False
        self._queue.accept(request)
        return True

    def _on_instruction(self, message: String) -> None:
        self._accept(InstructionRequest(message.data, "", "", self._publish_outcome, lambda *_: None))

    def _on_goal(self, _: ResolveInstruction.Goal) -> bool:
        self._came_ns = self._now_ns()  # the client learns of acceptance before _on_accepted runs
        return self._active

    def _on_accepted(self, goal: ServedGoal) -> None:
        def progress(stage: int, words: str) -> None:
            goal.tell(ResolveInstruction.Feedback(stage=stage, message=words))

        asked, reply = goal.request, partial(self._send, goal)
        around = partial(
            messages.surroundings_text, all_objects=hears_detections(self._settings), config=self._settings.resolver
        )
        goal.work = InstructionRequest(
            asked.instruction, asked.frame_of_reference, asked.dialogue_id, reply, progress, around=around,
            others=asked.others, held=asked.held,
        )  # fmt: skip
        if self._queue is not None:
            self._queue.accept(goal.work, self._came_ns)

    def _stop_motion(self) -> None:
        if self._stopper is not None and self._stopper.service_is_ready():
            self._stopper.call_async(Trigger.Request())

    def _withdraw(self, goal: ServedGoal) -> None:
        if self._queue is not None:
            self._queue.cancel(goal.work, "the client cancelled the goal")

    # -------------------------------------------------------------------------------------------- out

    def _send(self, goal: ServedGoal, outcome: RequestOutcome) -> None:
        """End a goal whose answer is ready; if the client has cancelled meanwhile, the answer is not published."""
        if self._stopped or self._server is None:
            return
        said = outcome.resolution.instruction
        if goal.handle.is_cancel_requested and outcome.resolution.status in ANSWERS:
            outcome = RequestOutcome(refusal(said, CancelledError("the client cancelled the goal")))
        try:
            result = self._result(outcome)
        except Exception as error:  # a bug here costs one request
            self.get_logger().error(printable(f"the answer cannot be sent:\n{traceback.format_exc()}", keep="\n"))
            outcome = RequestOutcome(refusal(said, InternalError.of(error)))
            result = self._result(outcome)

        def sent() -> None:
            if self._queue is not None:
                self._queue.sent(outcome)
            self._wake(lambda: self._publish_outcome(outcome))  # the result first

        status = outcome.resolution.status
        self._server.end(goal, result, status in ANSWERS, cancelled=status is Status.CANCELLED, then=sent)

    def _result(self, outcome: RequestOutcome) -> ResolveInstruction.Result:
        others = [messages.resolution_message(one, outcome.frame_id) for one in outcome.others]
        return ResolveInstruction.Result(
            resolution=self._message(outcome), surroundings=outcome.surroundings, others=others
        )

    def _message(self, outcome: RequestOutcome) -> ResolutionMessage:
        return messages.resolution_message(outcome.resolution, outcome.frame_id)

    def _publish_outcome(self, outcome: RequestOutcome) -> None:
        if self._queue is None or self._stopped:  # shut down meanwhile
            return
        message = self._message(outcome)
        out, node = self._out, self._settings.node
        out["resolution"].publish(message)
        source = outcome.resolution.source
        asked = outcome.resolution.query  # a pose cannot say what is asked, or that a model chose it
        able = asked is not None and carries_out(asked, words_in(node.acts))
        if message.target and source == "measurement" and able:
            out["target"].publish(messages.target_message(message))
        shown = {IMAGE, POINTS}
        if outcome.resolution.status is not Status.BUSY:  # show only the request that is being served
            out["markers"].publish(messages.markers(message, source))
            shown.add(REGION)
        wanted = {OBJECTS: out[OBJECTS]} if OBJECTS in out else {}
        if node.annotate:
            wanted |= {topic: out[topic] for topic in sorted(shown) if out[topic].get_subscription_count()}
        self._side.publish(outcome, self._settings.resolver, wanted)
        self.get_logger().info(printable(f"{message.status.name}: {message.status.message}"))

    # -------------------------------------------------------------------------------------------- time, threads

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_failure(self) -> None:
        self.get_logger().error(printable(f"unexpected exception:\n{traceback.format_exc()}", keep="\n"))

    def _on_jump(self, jump: TimeJump) -> None:
        if self._queue is not None and (jump.delta.nanoseconds < 0 or jump.clock_change):
            self._queue.time_jumped()

    # -------------------------------------------------------------------------------------------- parameters

    def _use_parameters(self, _: list[Parameter]) -> None:
        if self._queue is None:
            return
        before, self._settings = self._settings, parameters.read(self)
        collected, recent = self._queue.assembler, self._queue.frames.recent
        streams, depth = self._settings.streams, self._settings.resolver.depth
        if before.streams != streams or (self._robot is not None and before.resolver.depth != depth):
            if self._robot is not None:
                self._robot = replace(self._robot, padding=streams.robot_padding, depth=depth)
            collected = FrameAssembler(streams, hears_detections(self._settings), robot=self._robot)
            collected.continue_from(self._queue.assembler)
            if recent is not None:
                recent = RecentFrames(streams, collected.transforms, self._robot)
                recent.continue_from(self._queue.assembler)
        self._queue.change(self._settings, collected, recent)
        self._queue.frames.topics = self._resolved_topics()
        if self._keeper is not None:
            self._keeper.grounder.timeout_s = self._settings.node.grounder_timeout
        if self._active and topics_of(before) != topics_of(self._settings):
            self._deafen()
            self._listen_to_images()
