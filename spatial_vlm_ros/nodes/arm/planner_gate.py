# SPDX-License-Identifier: Apache-2.0
"""The gate between an answer and an arm: the only node of this package that commands motion.

It serves the action `pick`. Each goal is one `manipulation.pick_sequence.PickSequence` on a worker thread; this module
connects it to perception (the action `resolve`), planner and controllers (`MotionClient`), and the approving person
(`ApprovalBroker`: the service `approve` and a local page). See docs/planner_gate.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Duration
from rcl_interfaces.msg import ParameterEvent
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration as ClockDuration
from rclpy.node import Node
from rclpy.qos import qos_profile_parameter_events
from sensor_msgs.msg import Image
from spatial_vlm_interfaces.action import PickInstruction, ResolveInstruction
from spatial_vlm_interfaces.msg import Proposal as ProposalMessage
from spatial_vlm_interfaces.srv import Approve
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    InternalError,
    RejectedError,
    SourceChangedError,
    SpatialVlmError,
    StaleInputError,
    StopRequestedError,
    TransformUnavailableError,
)
from spatial_vlm_ros.language import may_forbid, stops
from spatial_vlm_ros.manipulation.approval.address import PageAddress, forget_link, keep_secret, page_file
from spatial_vlm_ros.manipulation.approval.audit import AuditLog
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
from spatial_vlm_ros.manipulation.approval.execution_guard import allowed_steps
from spatial_vlm_ros.manipulation.approval.proposal import Decision, Proposal
from spatial_vlm_ros.manipulation.approval.signing import check_signed, read_operators
from spatial_vlm_ros.manipulation.held import HeldObject, hand_over_pose, is_at, reconciled, tip_pose
from spatial_vlm_ros.manipulation.pick_sequence import (
    Ending,
    ObservedAnswer,
    Offer,
    PickActors,
    PickSequence,
    PickStage,
    Words,
    steps_told,
    told,
)
from spatial_vlm_ros.manipulation.planning.goal import EmptyGrasp
from spatial_vlm_ros.manipulation.planning.planner import is_plan_of
from spatial_vlm_ros.manipulation.planning.scene import keep_outs
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.arm.bystanders import ClientWatch, GateMark
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient
from spatial_vlm_ros.nodes.arm.proposals import audit_path, proposal_of, question_of, shown_plan
from spatial_vlm_ros.nodes.arm.supervision import planner_topic
from spatial_vlm_ros.nodes.arm.transform_watch import TransformWatch
from spatial_vlm_ros.nodes.arm.way_watch import WayWatch
from spatial_vlm_ros.nodes.calls import Action, Bridge
from spatial_vlm_ros.nodes.goals import GoalServer, Jobs, ServedGoal
from spatial_vlm_ros.nodes.liveliness import LEAST, UNKNOWN, AliveWatch, clients_of, endpoints_of, ticks, told_to
from spatial_vlm_ros.nodes.process import MOST
from spatial_vlm_ros.output.json_schema import as_json, resolution_from_json, surroundings_from_json
from spatial_vlm_ros.parameters import GateConfig, PlanningConfig, planning_from, words_in
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.streams.sources import STATIC_TF, TF, Sources
from spatial_vlm_ros.types import Resolution, Status

_START_RESOLVER = (
    "start the resolver (python -m spatial_vlm_ros.nodes resolver), and check namespace and ROS_DOMAIN_ID; if it runs, "
    "its log says why it is not configured"
)
_ANNOTATED, _DESCRIPTION = "annotated/image", "robot_description"
_CONFIRM = "A source changed. Approve only if the one that is there now is right; this confirms it"
_LOOK = 0.02  # s between looks at the clock
_ALONE, _TICK = 3.0, 0.25  # s after its start for which a gate looks for another gate of the same arm; how often
_KEPT = 300  # s that a result is kept for a late client; rclpy's default of 10 s is too short on a busy machine


class PlannerGate(Node):
    """Node `planner_gate`; launcher/interfaces.toml has its interfaces."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("planner_gate", **kwargs)
        parameters.declare(self, GateConfig(), PlanningConfig())
        self._config = GateConfig(**parameters.values(self, GateConfig()))
        self._planning = planning_from(parameters.nested(parameters.values(self, PlanningConfig())))
        keep_outs(self._planning.workspace)  # reports errors in them now, not at the first request
        parameters.keep(self, GateConfig(), PlanningConfig(), only_fixed=False)
        self._broker = ApprovalBroker(AuditLog(audit_path(self._config.audit_log)))
        self._records = ThreadPoolExecutor(1, "record")  # so that a stop never waits for the disk
        beside, given = self._broker.audit.path.with_name("operators"), self._config.operators_file
        self._operators_file = Path(given).expanduser() if given else beside
        self._operators = read_operators(self._operators_file)
        self._asked = ProposalMessage()
        self._page: Any = None
        self._where: PageAddress | None = None
        bridge = Bridge(self)
        patience = self._config.resolve_timeout
        self._resolve = Action(bridge, ResolveInstruction, "resolve", _START_RESOLVER, patience)
        self._grasps: Any = None
        if self._planning.grasp.source != "own":
            from spatial_vlm_ros.nodes.arm.grasp_client import GraspClient

            self._grasps = GraspClient(self, bridge, self._planning.grasp)
        self._resolver = AliveWatch(self, "resolve/alive")
        self._resolve.dead = lambda: self._resolver.lost
        self._mover = MotionClient(
            self, self._planning, self._broker.guard, lambda: self._client.silent or self._resolver.silent()
        )
        self._watch = TransformWatch(self._planning.observation, now_ns=lambda: self.get_clock().now().nanoseconds)
        motion = self._planning.motion
        states = (motion.joint_states, motion.gripper_states or motion.joint_states)
        self._way = WayWatch(self, self._config, states, self._watch, self._end_for, lambda: self._mover.holds)
        clock = ["/clock"] if self.get_parameter("use_sim_time").value else []
        beats = ("resolve/alive", planner_topic(motion.execute_action))  # another one's would hide a death
        told = filter(None, (*states, *self._way.topics, *clock, *beats, motion.gripper_flag, _ANNOTATED, _DESCRIPTION))
        steady = map(self.resolve_topic_name, told)
        self._sources = Sources(partial(endpoints_of, self), {*steady})
        self._unconfirmed = ""  # what changed in an earlier goal, until a person has approved a plan that says so
        self._wake = Jobs(self).put
        self._lock = threading.Lock()
        self._goal: _Goal | None = None
        self._ends = False
        self._held: HeldObject | None = None
        self._hand: tuple[Array, float | None] | None = None  # base_T_tip, and the distance of the fingers
        self._empty: list[EmptyGrasp] = []
        hand_over_pose(self._planning)  # reports an error in it now
        self._image: Image | None = None
        self._description = ""
        self._proposal = self.create_publisher(ProposalMessage, "proposal", qos.ANSWERS)
        self.create_subscription(Image, _ANNOTATED, partial(setattr, self, "_image"), qos.IMAGES)
        self.create_subscription(ParameterEvent, "/parameter_events", self._on_parameters, qos_profile_parameter_events)
        for form, topic, take, profile in (
            (String, self.resolve_topic_name(_DESCRIPTION), self._on_description, qos.DESCRIPTION),
            (TFMessage, TF, partial(self._watch.add, static=False), qos.TRANSFORMS),
            (TFMessage, STATIC_TF, partial(self._watch.add, static=True), qos.STATIC_TRANSFORMS),
        ):
            self.create_subscription(form, topic, told_to(self._sources, topic, take), profile)
        self.create_service(Approve, "approve", self._on_approve)
        self.create_service(Trigger, "stop", self._on_stop)
        self._server = GoalServer(
            self, PickInstruction, "pick", self._on_accepted, self._wake, takes=lambda _: not self._ends,
            cancels=lambda goal: goal is self._goal, kind=_Goal, result_timeout=_KEPT + qos.ODD,
        )  # fmt: skip
        self._client = ClientWatch(self, "pick", self._end_for, self._begun, self._lost)
        self._mark: GateMark | None = None
        if not self._config.plan_only:
            execute = self.resolve_service_name(self._planning.motion.execute_action)
            self._mark = GateMark(self, execute, self._on_gates)
            self._starts = ticks(self, _TICK, self._look_for_gates)
            self._starts.reset()
            self._looks = 0
        self._forget_stop = self._broker.on_stop(lambda operator: self._end_for(f"{operator} requested a stop"))
        back = JumpThreshold(min_forward=None, min_backward=ClockDuration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=lambda _: self._watch.time_jumped())

    def start(self) -> None:
        """Open the page if it is enabled."""
        mode = (
            "plan_only is set: nothing will move" if self._config.plan_only else ("approved motions will be executed")
        )
        self.get_logger().info(printable(f"planner_gate is ready; {mode}; audit log {self._broker.audit.path}"))
        known = f"the service approve takes answers of {len(self._operators)} operators in {self._operators_file}"
        self.get_logger().info(printable(known))
        if not self._config.plan_only:
            self._mover.prepare()
        if self._config.page:
            from spatial_vlm_ros.manipulation.approval.page import serve

            self._page = serve(self._broker, port=self._config.page_port)
            file = page_file(self._broker.audit.path)
            keep_secret(self._page.url, file)
            self._where = PageAddress(self._page.address, file)
            self.get_logger().info(printable(self._where))  # without the secret: others read the logs

    def end(self) -> float:
        """Stop the running goal and accept no more; returns the longest time this takes, seconds."""
        self._ends = True
        self._end_for("the gate was told to exit")
        return self._planning.motion.stop_timeout

    @property
    def ended(self) -> bool:
        """Whether no goal is running and the last client has its result."""
        return self._server.ended

    def stop(self) -> None:
        """End the running goal and free everything; call it after the executor has stopped."""
        goal = self._goal
        if goal is not None:
            goal.cancelled.set()
            self._mover.stop()
        if self._page is not None:
            self._page.close()
        if self._where is not None:
            forget_link(self._where.file)
        self._forget_stop()
        self._jumps.unregister()
        if goal is not None and goal.thread is not None:
            goal.thread.join(timeout=self._planning.motion.stop_timeout)
        self._server.destroy()
        self._mover.destroy()
        self._resolve.destroy()
        self._records.shutdown()
        self._broker.close()

    def _on_accepted(self, goal: _Goal) -> None:
        # what runs may be what is forbidden
        forbids = self._goal is not None and may_forbid(goal.request.instruction)
        if forbids or stops(goal.request.instruction):
            self._on_record(self._broker.request_stop, "the words of an instruction", aside=self._aside)
            stopped = StopRequestedError(goal.request.instruction)
            self._end(goal, Ending(Status.CANCELLED, str(stopped), None, None, False, PickStage.RESOLVING))
            return
        with self._lock:
            busy = self._goal
            if busy is None:
                self._goal = goal
        if busy is not None:
            error = BusyError(busy.request.instruction)
            self._end(goal, Ending(Status.BUSY, str(error), None, None, False, PickStage.RESOLVING))
            return
        self._watch.forget()
        self._sources.begin()
        self._client.begin(goal.uuid)
        goal.thread = threading.Thread(target=self._serve, args=(goal,), name="pick", daemon=True)
        goal.thread.start()

    def _end_for(self, why: str) -> None:
        """Stop the running goal for a reason; callable from any thread."""
        goal = self._goal
        if goal is not None:
            goal.why = goal.why or why
            goal.cancelled.set()
            self._mover.stop()
        self.get_logger().warning(
            printable(f"{why}: {'nothing is running' if goal is None else 'the running goal is stopped'}")
        )

    def _lost(self) -> str:
        """Why the running goal has to end: a source changed, or the resolver is lost; "" if neither is so."""
        if changed := self._source_changed():
            return changed.reason
        lost = self._resolver.look(LEAST if self._begun() else MOST)  # also called before a motion
        return f"the resolver {lost}" if lost and self._begun() else ""

    def _source_changed(self) -> SourceChangedError | None:
        motion = self._planning.motion
        return self._sources.changed(lambda: self._watch.used(motion.planning_frame, motion.tip_link))

    def _still(self, stamp_ns: int) -> None:
        if changed := self._source_changed():
            raise changed
        self._watch.check(stamp_ns)

    def _begun(self) -> bool:
        goal = self._goal
        return goal is not None and goal.begun

    def _on_gates(self) -> None:
        if self._mark is not None and (words := self._mark.others()):
            self.get_logger().error(printable(words))

    def _look_for_gates(self) -> None:
        """For some seconds after the start, end this node if another gate was there first."""
        self._looks += 1
        if self._looks >= _ALONE / _TICK:
            self._starts.cancel()
        self._check_alone("this gate")

    def _check_alone(self, about: str) -> None:
        if self._mark is not None and (words := self._mark.others()):
            error = RejectedError(about, words, "stop one: only one gate may run per arm")
            self._on_record(self._broker.refuse, error, "second gate")
            raise error

    def _serve(self, goal: _Goal) -> None:
        self._broker.take_down()  # the plan of the previous goal
        asked = goal.request
        goal.words = Words(asked.instruction, asked.frame_of_reference, asked.dialogue_id)
        actors = PickActors(
            look=partial(self._look, goal),
            mover=self._mover,
            approve=partial(self._approve, goal),
            still=self._still,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            say=partial(self._say, goal),
            approval_left=lambda: self._broker.view.remaining or 0.0,
            pause=goal.cancelled.wait,
            propose=None if self._grasps is None else self._grasps.ask,
            show=partial(self._show_plan, goal),
            held=partial(self._reconcile, goal),
            hand=lambda: self._hand,
            moved=self._moved,
            empty=self._empty,
        )
        plan_only = asked.plan_only or self._config.plan_only
        try:
            if not plan_only:
                self._check_alone(f"goal {goal.id}")
        except RejectedError as error:
            ending = Ending(Status.REJECTED, str(error), None, None, False, PickStage.RESOLVING)
            self._wake(lambda: self._finish(goal, ending))
            return
        # A node that has just started with use_sim_time has no time until it hears /clock.
        clock, end = self.get_clock(), time.monotonic() + self._planning.motion.server_timeout
        while not clock.now().nanoseconds and time.monotonic() < end and not goal.cancelled.wait(_LOOK):
            pass
        try:
            accepts, acts = self._config.accept_unseen_obstacles, words_in(self._config.acts)
            cancelled = goal.cancelled.is_set
            ending = PickSequence(goal.words, plan_only, self._planning, actors, cancelled, accepts, acts).run()
        except Exception as error:  # a bug here ends one goal, not the node
            fault = InternalError.of(error)
            self.get_logger().error(printable(f"{fault}\n{traceback.format_exc()}", keep="\n"))
            ending = Ending(Status.INTERNAL_ERROR, str(fault), None, None, goal.begun, PickStage.RESOLVING)
        self._way.end()
        if goal.why and ending.status is Status.CANCELLED:
            status = Status.SOURCE_CHANGED if goal.why == self._sources.last else ending.status
            message = ending.message if goal.why in ending.message else f"{goal.why}: {ending.message}"
            ending = dataclasses.replace(ending, status=status, message=message)
        if ending.status is Status.SOURCE_CHANGED or (goal.why and goal.why == self._sources.last):
            self._unconfirmed = ending.message
            if ending.stage < PickStage.WAITING_FOR_APPROVAL:  # later the end of the proposal is recorded
                refused = RejectedError(f"goal {goal.id}", ending.message, "ask again")
                self._on_record(self._broker.refuse, refused, "pick")
        if self._held is not None:
            ending = dataclasses.replace(ending, message=f"{ending.message} The hand holds {self._held.words}.")
        words = f"{ending.status.value}: {ending.message}"
        self._on_record(self._broker.end if goal.begun else self._broker.withdraw, goal.id, words)
        if ending.status is Status.OK and not ending.moved:
            self._broker.note(words, goal.plan_only)  # nobody is asked about it; the page shows why
        self._wake(lambda: self._finish(goal, ending))

    def _finish(self, goal: _Goal, ending: Ending) -> None:
        self._client.end()
        with self._lock:
            self._goal = None
        self._end(goal, ending)

    def _end(self, goal: _Goal, ending: Ending) -> None:
        """Send the result; runs on the executor's thread."""
        resolution = ending.resolution or Resolution(goal.request.instruction, ending.status, ending.message)
        result = PickInstruction.Result(
            status=messages.status_message(ending.status, ending.message),
            resolution=messages.resolution_message(resolution),
            goal_id=goal.id,
            plan_hash=ending.plan_hash,
            moved=ending.moved,
            steps_done=ending.done,
            held="" if self._held is None else self._held.label or "unknown object",
        )
        self._server.end(goal, result, ending.status is Status.OK)
        self.get_logger().info(printable(f"{ending.status.value}: {ending.message}"))

    def _look(self, goal: _Goal, words: Words, cancelled: Callable[[], bool]) -> ObservedAnswer:
        """Resolve words on a fresh frame, for the whole request the latest ones.

        The resolver's question, if it has one, is shown on the page.
        """
        config, whole = self._config, words.instruction == goal.request.instruction
        while True:
            said = goal.words if whole else words
            self._resolve.await_it(self._planning.motion.server_timeout, cancelled)
            request = ResolveInstruction.Goal(
                instruction=said.instruction, frame_of_reference=said.frame_of_reference,
                dialogue_id=said.dialogue_id, held=self._held_box(),
            )  # fmt: skip
            ended = self._resolve.run(request, config.resolve_timeout, config.resolve_timeout, cancelled, twice=True)
            if not ended.accepted:
                repair = "activate it (ros2 lifecycle set /resolver activate)"
                raise StaleInputError("the resolver is not active", repair)
            asked = resolution_from_json(messages.json_object(ended.result.resolution.json))
            told_around = ended.result.surroundings
            around = surroundings_from_json(messages.json_object(told_around)) if told_around else None
            if config.questions != "page" or not asked.question or not asked.dialogue_id or goal.looked:
                goal.looked = True
                if around is not None:
                    self._watch.follow(around.frame_id, around.camera_frame, around.stamp_ns)
                return ObservedAnswer(asked, around)
            question = question_of(asked, config.approval_timeout, self._image)
            self._broker.ask(question)
            self._say(goal, PickStage.RESOLVING, f"asked: {asked.question}; {self._where_to_approve()}")
            answer = self._broker.wait_answer(question.dialogue_id, lambda: cancelled() and (goal.why or True))
            goal.words = Words(answer.text, goal.words.frame_of_reference, question.dialogue_id)

    def _reconcile(self, goal: _Goal) -> HeldObject | None:
        """What the hand holds: by what was done, by the fingers and, after a start, by the planner's scene."""
        started = self._mover.grip == "doubt"
        reading, attached = self._mover.look_at_hand(goal.cancelled.is_set, started)
        self._held = reconciled(self._held, attached, reading, not started, self._planning)
        if self._held is not None or reading.width is not None or reading.flag is not None:
            self._mover.grip = "empty" if self._held is None else "holds"
        self._hand = None
        with contextlib.suppress(TransformUnavailableError):  # without it, what is held is not looked for, either
            self._hand = self._tip(), reading.width
            self._held = self._held and self._held.at(self._hand[0])
        return self._held

    def _tip(self) -> Array:
        motion = self._planning.motion
        return tip_pose(self._watch.latest(motion.planning_frame, motion.tip_link).matrix, self._planning)

    def _moved(self, offer: Offer) -> None:
        target = offer.scene.target
        taken = HeldObject(target.label, target.solid, offer.goal.grasps[offer.plan.grasp])
        if self._mover.grip == "empty":
            self._held = None
        elif self._mover.holds and not offer.goal.held:  # the fingers have begun to close
            self._held = taken

    def _held_box(self) -> str:
        """JSON of what is held, where the hand is now; "" = nothing."""
        if self._held is None:
            return ""
        tip = self._tip()
        stays = is_at(tip, hand_over_pose(self._planning))
        return json.dumps(as_json(self._held.box(tip, self._planning.motion.planning_frame, stays)))

    def _on_parameters(self, event: ParameterEvent) -> None:
        goal, who = self._goal, endpoints_of(self, self.resolve_topic_name("resolve/alive"))
        if goal is not None and not goal.why and event.node in who.values():
            ends = (f"{event.node}/set_parameters{kind}" for kind in ("", "_atomically"))
            by = " or ".join(sorted({name for end in ends for name in clients_of(self, end)})) or UNKNOWN
            names = ", ".join(each.name for each in event.changed_parameters)
            happened = f"has had parameters set since the goal began: {names}; set by {by}"
            self._sources.told(SourceChangedError(event.node, (by,), happened, "if that is right, ask again"))

    def _on_description(self, description: String) -> None:
        self._description = description.data

    def _approve(self, goal: _Goal, offer: Offer, cancelled: Callable[[], bool]) -> None:
        """Ask a person and use the approval at once; the later recheck cannot move anything without it."""
        parts = offer.parts
        self._mover.check()
        if not self._resolver.seen():
            repair = "use the resolver of this package, or leave plan_only on"
            raise RejectedError(
                f"goal {goal.id}", "no heartbeat comes from what resolves: its death would stay unseen", repair
            )
        if not all(is_plan_of(part.plan, part.goal, part.scene) for part in parts):
            raise RejectedError(
                f"goal {goal.id}", "the plan has changed since it was made", "send the instruction again"
            )
        description = self._arm_description()
        self._mover.holds = parts[0].goal.held
        self._way.prepare(parts[0], self._planning, description)
        goal.later = list(parts[1:])
        proposal = proposal_of(goal.id, offer, self._config.approval_timeout, self._planning, description)
        changed = [f"{_CONFIRM}: {self._unconfirmed}"] if self._unconfirmed else []
        proposal = dataclasses.replace(proposal, warnings=(*changed, *proposal.warnings))
        self._operators = read_operators(self._operators_file)  # whoever was removed may not answer this one
        stamp, seconds = messages.time_of(offer.scene.stamp_ns), self._config.approval_timeout
        self._asked = ProposalMessage(
            goal_id=goal.id,
            scene_stamp=stamp,
            plan_hash=offer.hash,
            instruction=offer.words.instruction,
            motion=" ".join((told(offer), *changed)),
            steps=list(steps_told(offer.seen.resolution)),
            target=messages.resolution_message(offer.seen.resolution).target[0],
            header=Header(stamp=stamp, frame_id=offer.scene.frame_id),
            valid_for=Duration(sec=int(seconds), nanosec=int(seconds % 1 * messages.SECOND)),
            nonce=proposal.nonce,
        )
        self._broker.propose(proposal, *allowed_steps([part.plan for part in parts]))
        self._proposal.publish(self._asked)
        words = f"waiting for approval: {told(offer)}; {self._where_to_approve()}"
        self._say(goal, PickStage.WAITING_FOR_APPROVAL, words)
        decision = self._broker.wait(goal.id, lambda: cancelled() and (goal.why or True))
        if not decision.approve:
            why = f"{decision.operator} rejected it{f': {decision.reason}' * bool(decision.reason)}"
            raise RejectedError(f"goal {goal.id}", why, "give the instruction in other words, or change the scene")
        goal.decision, self._unconfirmed = decision, ""

    def _show_plan(self, goal: _Goal, offer: Offer) -> None:
        """Draw a plan that is not open for approval, for the page; does nothing without a page."""
        if self._where is None:
            return
        self._say(goal, PickStage.PLANNING, f"drawing the plan: {told(offer)}; see it at {self._where.place}")
        timeout, unseen = self._config.approval_timeout, self._config.accept_unseen_obstacles
        try:
            goal.plan_only = shown_plan(goal.id, offer, timeout, self._planning, self._arm_description(), unseen)
        except SpatialVlmError as error:
            self._say(goal, PickStage.PLANNING, f"the plan is not drawn: {error}")

    def _arm_description(self) -> str:
        """URDF of the arm, as path or text; "" = not known."""
        description = self._config.robot_description
        return "" if description == "/" else description or self._description

    def _on_approve(self, request: Approve.Request, response: Approve.Response) -> Approve.Response:
        status, message = Status.OK, "approved" if request.approve else "rejected"
        try:
            stamp_ns = int(request.scene_stamp.sec) * messages.SECOND + int(request.scene_stamp.nanosec)
            decision = Decision(
                request.goal_id, stamp_ns, request.plan_hash, request.approve, request.decided_by, request.reason,
                bytes(request.signature),
            )  # fmt: skip
            self._broker.decidable(decision)
            check_signed(decision, self._asked, self._operators)
            self._broker.decide(decision, "approve")
        except SpatialVlmError as error:
            status, message = Status[error.status_name], str(error)
            named = {"goal_id": request.goal_id[:80], "plan_hash": request.plan_hash[:64]}
            facts = {**named, "operator": request.decided_by[:80], "approve": request.approve}
            self._records.submit(self._on_record, self._broker.refuse, error, "approve", **facts)
        response.status = messages.status_message(status, message)
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def by() -> str:
            names = " or ".join(clients_of(self, self.resolve_service_name("stop")))
            return f" ({names[:200]})" if names else ""

        self._on_record(self._broker.request_stop, "service stop", aside=self._aside, by=by)
        response.success, response.message = True, "a stop was requested; this is not an emergency stop"
        return response

    def _aside(self, job: Callable[[], None]) -> object:
        return self._records.submit(self._on_record, job)

    def _on_record(self, act: Callable[..., Any], *words: Any, **facts: Any) -> None:
        try:
            act(*words, **facts)
        except SpatialVlmError as error:
            self.get_logger().error(printable(error))

    def _where_to_approve(self) -> str:
        service = f"this gate has no page; approve with the service {self.resolve_service_name('approve')}"
        return str(self._where or service)

    def _say(self, goal: _Goal, stage: PickStage, words: str) -> None:
        """Report a stage, on the worker's thread. The last one comes right before motion and checks the approval."""
        if stage is PickStage.MOVING:
            self._check_alone(f"goal {goal.id}")
            if goal.cancelled.is_set():
                raise CancelledError("the goal was withdrawn")
            if goal.decision is None:  # should be impossible; nothing moves without it
                raise RejectedError(f"goal {goal.id}", "it is not approved", "send the instruction again")
            if goal.begun:  # a later step of what was approved
                self._way.end()
                part = goal.later.pop(0)
                self._mover.holds = part.goal.held
                self._way.prepare(part, self._planning, self._arm_description())
            self._way.begin()
            if not goal.begun:
                self._broker.begin(goal.decision)
            goal.begun = True
        feedback = PickInstruction.Feedback(stage=int(stage), message=words, goal_id=goal.id)
        self._wake(lambda: goal.tell(feedback))


class _Goal(ServedGoal):
    """A goal of `pick` that is being served."""

    def __init__(self, handle: ServerGoalHandle) -> None:
        super().__init__(handle)
        self.id = str(uuid.UUID(bytes=self.uuid))
        self.thread: threading.Thread | None = None
        self.words = Words("")
        self.looked = self.begun = False
        self.later: list[Offer] = []  # steps after the next one
        self.why = ""  # what stopped it, if it was not the client
        self.decision: Decision | None = None
        self.plan_only: Proposal | None = None  # a plan that is shown, and not open for approval
