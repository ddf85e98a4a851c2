# SPDX-License-Identifier: Apache-2.0
"""A simulated arm at a table: cameras, joints, controllers, and a verdict from physics on what it did."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from control_msgs.action import GripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from spatial_vlm_interfaces.msg import DetectionArray
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.calls import Jobs
from spatial_vlm_ros.nodes.fault_publishers import FaultPublishers
from spatial_vlm_ros.nodes.sim.trajectory_controller import FEEDBACK, TrajectoryServer, Wake, counts
from spatial_vlm_ros.parameters import SimArmConfig
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.arm.cell import ArmCell, verdict_data
from spatial_vlm_ros.sim.arm.control import Gripped
from spatial_vlm_ros.sim.arm.disturbance import ChangeWorld, Disturbance, Move, NudgeCamera, disturbance
from spatial_vlm_ros.sim.arm.machines import simulated_arm
from spatial_vlm_ros.sim.arm.running import RunningCell
from spatial_vlm_ros.sim.arm.trajectory import SUCCESSFUL
from spatial_vlm_ros.sim.arm.view import ArmView
from spatial_vlm_ros.sim.arm.worlds import layout, wrist_camera
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.faults.catalogue import FORMS
from spatial_vlm_ros.sim.faults.controller import UNDEFINED, ControllerFaults
from spatial_vlm_ros.sim.grounder import errors_of
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.compose import Composer
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

WRIST = "wrist/"
_HEIGHTS = {640: 480, 1280: 720}  # width → height of the usual images; others are 4:3
_TICK = 0.01  # s of the wall clock between two messages on /clock, which all nodes hear; longer below speed 1
_VERDICTS = 0.5  # s of simulated time between two verdicts
_FAULTY = ("rgb", "depth", "info", "detections", "tf", "tf_static", "joints", "clock", "arm", "gripper")
_BEGUN_NS = messages.SECOND  # simulated time at the start: 0 means that there is no time yet


_SLACK = 0.0005  # metres by which a position may leave its range, because of rounding


class GripperServer:
    """Action server of the gripper's controller; a new goal ends the previous one.

    Positions are those of one finger, as for `panda_finger_joint1`: half the opening, 0 to 0.04 m or the arm's own
    range. A goal succeeds when the fingers reach it, or when an object stops them (`stalled`).

    Args:
        most_open: stroke of each finger, metres.
    """

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake, most_open: float) -> None:
        self._most_open = most_open
        self._node, self._running, self._wake = node, running, wake
        self.counts = counts()
        self.faults = ControllerFaults("gripper")
        self._goal: ServerGoalHandle | None = None
        self._due = 0.0  # simulated time at which a goal that was delayed begins; 0 = none
        running.every(0.0, self._watch)
        running.every(FEEDBACK, self._tell)
        self._server = ActionServer(
            node,
            GripperCommand,
            name,
            execute_callback=lambda handle: self._end(handle, None, "never begun"),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        """Destroy the action server."""
        self._server.destroy()

    @property
    def busy(self) -> bool:
        """Whether a goal is being executed."""
        return self._goal is not None

    def _on_goal(self, goal: Any) -> GoalResponse:
        position, force = goal.command.position, goal.command.max_effort
        if not np.isfinite([position, force]).all() or not -_SLACK <= position <= self._most_open + _SLACK or force < 0:
            self.counts["refused"] += 1
            self._node.get_logger().warning(
                printable(
                    f"a gripper command is refused: {position:g} m, {force:g} N. Finger positions are 0 to "
                    f"{self._most_open:g} m (half the opening), and efforts are 0 or more"
                )
            )
            return GoalResponse.REJECT
        try:
            self.faults.check()
        except InputError as error:
            self.counts["refused"] += 1
            self._node.get_logger().warning(printable(f"a gripper command is refused: {error}"))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal: ServerGoalHandle) -> None:
        self.counts["accepted"] += 1
        command, at_once, stuck, pause = (
            goal.request.command, self.faults.at_once(), self.faults.is_stuck, self.faults.pause
        )  # fmt: skip

        def begin(cell: ArmCell) -> tuple[ServerGoalHandle | None, Gripped]:
            before, self._goal, self._due = self._goal, goal, 0.0
            if at_once is None and not stuck and not pause:
                cell.hand.grip(command.position, command.max_effort)
                return before, cell.hand.state(cell.data)
            cell.hand.stop(cell.data)
            self._goal, self._due = (None if at_once else goal), (cell.time + pause if pause else 0.0)
            return before, cell.hand.state(cell.data)

        try:
            before, state = self._running.ask(begin)
        except SpatialVlmError as error:
            self._finish(goal, None, str(error))
            return
        if before is not None:
            self._finish(before, state, "a newer goal arrived")
        if at_once is not None:
            lies = Gripped(float("nan"), float("nan"), False, False) if at_once.code == UNDEFINED else state
            self._finish(goal, lies, "" if at_once.code == SUCCESSFUL else at_once.words)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if goal is not self._goal:
            return CancelResponse.REJECT
        self._wake(partial(self._halt, goal))
        return CancelResponse.ACCEPT

    def _halt(self, goal: ServerGoalHandle) -> None:
        def stop(cell: ArmCell) -> Gripped | None:
            if self._goal is not goal:
                return None
            self._goal = None
            cell.hand.stop(cell.data)
            return cell.hand.state(cell.data)

        state = self._running.ask(stop)
        if state is not None:
            self._finish(goal, state, "withdrawn")

    def _watch(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is not None and 0 < self._due <= cell.time:
            self._due = 0.0
            cell.hand.grip(goal.request.command.position, goal.request.command.max_effort)
        ended = cell.hand.ended(cell.data) if goal is not None else None
        if goal is not None and ended is not None:
            self._goal = None
            self._wake(partial(self._finish, goal, ended, ""))

    def _tell(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is not None:
            feedback = GripperCommand.Feedback(**_fields(cell.hand.state(cell.data)))
            self._wake(lambda: goal.publish_feedback(feedback) if goal.is_active else None)

    def _finish(self, goal: ServerGoalHandle, gripped: Gripped | None, reason: str) -> None:
        goal.execute(lambda handle: self._end(handle, gripped, reason))

    def _end(self, goal: ServerGoalHandle, gripped: Gripped | None, reason: str) -> Any:
        if goal.is_cancel_requested:
            goal.canceled()
            self.counts["canceled"] += 1
        elif reason:
            goal.abort()
            self.counts["aborted"] += 1
            self._node.get_logger().warning(printable(f"the gripper command is aborted: {reason}"))
        else:
            goal.succeed()
            self.counts["succeeded"] += 1
        return GripperCommand.Result(**({} if gripped is None else _fields(gripped)))


def _fields(gripped: Gripped) -> dict[str, Any]:
    return {
        "position": gripped.position,
        "effort": gripped.effort,
        "stalled": gripped.stalled,
        "reached_goal": gripped.reached,
    }


@dataclass(frozen=True, eq=False)
class _Snapshot:
    """Snapshot of the cell: state, stamp, actual and published camera pose, pose of the hand."""

    cell: ArmCell
    now: float
    stamp_ns: int
    qpos: Any
    eye: Transform
    told: Transform
    hand: Transform


class _Outlet:
    """The topics of one camera and its detector, under a prefix."""

    def __init__(self, faults: FaultPublishers, composer: Composer, prefix: str, detections: bool) -> None:
        self._composer, image_qos = composer, qos.images("reliable")
        self._rgb = faults.create(Image, prefix + roles.RGB, image_qos, "rgb")
        self._depth = faults.create(Image, prefix + roles.DEPTH, image_qos, "depth")
        self._info = faults.create(CameraInfo, prefix + roles.RGB_INFO, image_qos, "info")
        self._found = (
            faults.create(DetectionArray, prefix + roles.DETECTIONS, image_qos, "detections") if detections else None
        )

    def publish(self, frame: RgbdFrame, detections: Sequence[Detection]) -> None:
        """Publish a frame and its detections."""
        header = self._composer.header(frame.stamp_ns, frame.frame_id)
        self._info.publish(self._composer.camera_info(frame.camera, header))
        self._rgb.publish(self._composer.image_rgb(frame.rgb, header))
        self._depth.publish(self._composer.image_depth(frame.depth, header))
        if self._found is not None:
            size = (frame.camera.width, frame.camera.height)
            self._found.publish(self._composer.detection_array(detections, header, *size))


class SimArmNode(Node):
    """Node `sim_arm`. docs/sim_arm.md describes it.

    Publishes: rgb/image, depth/image, rgb/camera_info, detections, the same under wrist/, /joint_states, /tf,
        /tf_static, verdict, /clock.
    Subscribes: disturb.
    Serves: the service judge, and the actions of the arm's and the gripper's controllers.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_arm", **kwargs)
        parameters.declare(self, SimArmConfig())
        self._config = config = SimArmConfig(**parameters.values(self, SimArmConfig()))
        self.add_on_set_parameters_callback(partial(parameters.refuse_fixed, self, SimArmConfig()))
        self._composer = messages.composer()
        self._faults = faults = FaultPublishers(self, {name: FORMS[name] for name in _FAULTY})
        self._outlet = _Outlet(faults, self._composer, "", config.detections)
        self._wrist = _Outlet(faults, self._composer, WRIST, config.detections) if config.wrist_camera else None
        self._joints = faults.create(JointState, "/joint_states", qos.TRANSFORMS, "joints")
        self._moving = faults.create(TFMessage, roles.TRANSFORMS, qos.TRANSFORMS, "tf")
        static = qos.STATIC_TRANSFORMS
        self._static = faults.create(TFMessage, roles.STATIC_TRANSFORMS, static, "tf_static", latched=True)
        self._verdicts = self.create_publisher(String, "verdict", qos.VERDICTS)
        self._ticks = faults.create(ClockMessage, "/clock", qos.CLOCK, "clock") if config.clock else None
        self._wake = Jobs(self).put
        self._running: RunningCell | None = None
        self._servers: list[Any] = []
        self._ends = threading.Event()
        self._film = threading.Thread(target=self._run_film, name="camera", daemon=True)

    def start(self) -> None:
        """Build the world and start the simulation."""
        config = self._config
        if config.speed > 1 and not config.clock:
            raise InputError("parameter speed", f"{config.speed:g}", "at most 1 if clock is false", "set clock: true")
        self._faults.begin()
        self._errors = errors_of(parse_options(config.detector))
        self._robot = simulated_arm(config.robot)
        cell = ArmCell(layout(config.world), self._robot)
        self._camera = camera_of(config.width, _HEIGHTS.get(config.width, config.width * 3 // 4))
        self._eye = self._told = cell.layout.base_T_camera  # actual pose; published pose
        self._running = running = RunningCell(cell, config.speed, self._fail)
        self._arm = TrajectoryServer(self, config.arm_action, running, self._wake, self._now_ns)
        self._hand = GripperServer(self, config.gripper_action, running, self._wake, self._robot.most_open)
        self._servers = [self._arm, self._hand]
        for server in self._servers:
            server.faults.seed = config.fault_seed
            self._faults.hear(server.faults.set)
        running.every(1 / config.state_rate, self._tell_joints)
        running.every(_VERDICTS, lambda cell: self._verdicts.publish(String(data=self._verdict(cell))))
        if self._ticks is not None:
            running.every(_TICK * max(1.0, config.speed), lambda _: self._tick())
        self._tell_camera()
        self.create_service(Trigger, "judge", self._on_judge)
        self.create_subscription(String, "disturb", self._on_disturb, qos.INSTRUCTIONS)
        running.start()
        self._film.start()
        self.get_logger().info(printable(f"sim_arm plays {cell.layout.name}: {cell.layout.instruction!r}"))

    def stop(self) -> None:
        """End both threads."""
        self._ends.set()
        if self._running is not None:
            self._running.stop()
        if self._film.is_alive():
            self._film.join()
        for server in self._servers:
            server.destroy()
        self._servers.clear()
        self._faults.close()

    # -------------------------------------------------------------------------------------------- time, threads

    def _now_ns(self) -> int:
        """Current stamp, nanoseconds; called on the physics thread."""
        if self._ticks is not None and self._running is not None:
            return _BEGUN_NS + int(self._running.now * messages.SECOND)
        return int(self.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        if self._ticks is not None:
            self._ticks.publish(ClockMessage(clock=messages.time_of(self._now_ns())))

    def _fail(self, error: Exception) -> None:
        """End the node with the error of a thread."""

        def end() -> None:
            raise error

        self._ends.set()
        self._wake(end)

    # -------------------------------------------------------------------------------------------- out

    def _tell_joints(self, cell: ArmCell) -> None:
        """Publish joint states and link transforms; runs on the physics thread."""
        stamp = self._now_ns()
        cell.mj.mj_kinematics(cell.model, cell.data)  # of the positions after the last step
        links = [
            self._composer.place_stamped(cell.arm.base_link, name, *cell.place(name), stamp) for name in cell.arm.links
        ]
        state = cell.joints()
        self._joints.publish(
            JointState(
                header=Header(stamp=messages.time_of(stamp)),
                name=list(cell.arm.joints),
                position=state.position.tolist(),
                velocity=state.velocity.tolist(),
                effort=state.effort.tolist(),
            )
        )
        self._moving.publish(self._composer.tf_message(links))

    def _tell_camera(self) -> None:
        mounted = [self._told, *([self._mount()] if self._wrist is not None else [])]
        self._static.publish(self._composer.tf_message([self._composer.transform_stamped(t, 0) for t in mounted]))

    def _mount(self) -> Transform:
        return wrist_camera(self._robot.hand_link)

    def _snapshot(self, cell: ArmCell) -> _Snapshot:
        """Copy what the cameras' thread needs, between two steps."""
        cell.mj.mj_kinematics(cell.model, cell.data)
        now = 0.0 if self._running is None else self._running.now
        return _Snapshot(
            cell, now, self._now_ns(), cell.data.qpos.copy(), self._eye, self._told, cell.pose(cell.arm.hand_link)
        )

    def _run_film(self) -> None:
        """Cameras' thread: renders snapshots while physics continues."""
        running, config = self._running, self._config
        if running is None:
            return
        view: ArmView | None = None
        drawn: ArmCell | None = None
        due, period = 0.0, 1 / config.rate
        try:
            while not self._ends.is_set():
                seen = running.ask(self._snapshot)
                if seen.now < due:
                    self._ends.wait(min(due - seen.now, period) / max(config.speed, 1.0))
                    continue
                due = max(due + period, seen.now)
                if view is None or seen.cell is not drawn:
                    if view is not None:
                        view.close()
                    view, drawn = ArmView(seen.cell, self._camera, self._errors, config.seed, config.noise), seen.cell
                self._outlet.publish(*view.look(seen.qpos, seen.eye, seen.stamp_ns, seen.told))
                if self._wrist is not None:
                    self._wrist.publish(*view.look(seen.qpos, seen.hand @ self._mount(), seen.stamp_ns))
        except Exception as error:  # nothing waits for this thread
            if not self._ends.is_set():
                self._fail(error)
        finally:
            if view is not None:
                view.close()

    # -------------------------------------------------------------------------------------------- judge, faults

    def _verdict(self, cell: ArmCell) -> str:
        goals = {"arm": self._arm.counts, "gripper": self._hand.counts}
        return json.dumps(verdict_data(cell, goals))

    def _on_judge(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Reply with the current verdict; `success` is its `done`."""
        try:
            if self._running is not None:
                response.message = self._running.ask(self._verdict)
                response.success = bool(json.loads(response.message)["done"])
        except SpatialVlmError as error:
            response.message = json.dumps({"error": str(error)})
        return response

    def _on_disturb(self, message: String) -> None:
        try:
            told = disturbance(message.data)
            self._disturb(told)
        except SpatialVlmError as error:
            self.get_logger().error(printable(error))
            return
        self.get_logger().info(printable(f"disturbed: {told}"))

    def _disturb(self, told: Disturbance) -> None:
        if self._running is None:
            return
        if isinstance(told, ChangeWorld):
            self._change_world(told.name)
        elif isinstance(told, NudgeCamera):
            self._eye = told.applied(self._eye)
            if told.told:
                self._told = told.applied(self._told)
                self._tell_camera()
        elif isinstance(told, Move):
            self._running.ask(lambda cell: cell.move(told.id, told.to, told.yaw))
        else:
            self._running.ask(lambda cell: cell.remove(told.id))

    def _change_world(self, name: str) -> None:
        if self._running is None or self._arm.busy or self._hand.busy:
            raise InputError("world", name, "no goal in execution", "wait for the goal to end, or cancel it")
        cell = ArmCell(layout(name), self._robot)
        self._running.replace(cell)
        self._eye = self._told = cell.layout.base_T_camera
        self._tell_camera()
