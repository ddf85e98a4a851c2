# SPDX-License-Identifier: Apache-2.0
"""A simulated arm at a table: cameras, joints, controllers, and a verdict from physics on what it did."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from spatial_vlm_interfaces.msg import DetectionArray
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.nodes import messages, parameters, qos
from spatial_vlm_ros.nodes.fault_publishers import FaultPublishers
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.sim.controllers import GripperServer, TrajectoryServer
from spatial_vlm_ros.parameters import SimArmConfig
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.arm.cell import ArmCell, ArmView, RunningCell, verdict_data
from spatial_vlm_ros.sim.arm.machines import simulated_arm
from spatial_vlm_ros.sim.arm.worlds import ChangeWorld, Move, NudgeCamera, disturbance, layout, wrist_camera
from spatial_vlm_ros.sim.faults.catalogue import FORMS
from spatial_vlm_ros.sim.grounder import errors_of
from spatial_vlm_ros.sim.tabletop import camera_of
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import Composer
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

WRIST = "wrist/"
_HEIGHTS = {640: 480, 1280: 720}  # width → height of the usual images; others are 4:3
_TICK = 0.01  # s of the wall clock between two messages on /clock, which all nodes hear; longer below speed 1
_VERDICTS = 0.5  # s of simulated time between two verdicts
_FAULTY = ("rgb", "depth", "info", "detections", "tf", "tf_static", "joints", "clock", "arm", "gripper")
_BEGUN_NS = messages.SECOND  # simulated time at the start: 0 means that there is no time yet


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
    """Node `sim_arm`: docs/sim_arm.md describes it, and launcher/interfaces.toml has its interfaces."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_arm", **kwargs)
        self._config = config = parameters.configured(self, SimArmConfig())
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
        ticks = self._ticks
        if ticks is not None:

            def tick(_: ArmCell) -> None:
                ticks.publish(ClockMessage(clock=messages.time_of(self._now_ns())))

            running.every(_TICK * max(1.0, config.speed), tick)
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

    def _fail(self, error: Exception) -> None:
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
        running = self._running
        if running is None:
            return
        try:
            told = disturbance(message.data)
            if isinstance(told, ChangeWorld):
                if self._arm.busy or self._hand.busy:
                    repair = "wait for the goal to end, or cancel it"
                    raise InputError("world", told.name, "no goal in execution", repair)
                cell = ArmCell(layout(told.name), self._robot)
                running.replace(cell)
                self._eye = self._told = cell.layout.base_T_camera
                self._tell_camera()
            elif isinstance(told, NudgeCamera):
                self._eye = told.applied(self._eye)
                if told.told:
                    self._told = told.applied(self._told)
                    self._tell_camera()
            elif isinstance(told, Move):
                running.ask(lambda cell: cell.move(told.id, told.to, told.yaw))
            else:
                running.ask(lambda cell: cell.remove(told.id))
        except SpatialVlmError as error:
            self.get_logger().error(printable(error))
            return
        self.get_logger().info(printable(f"disturbed: {told}"))
