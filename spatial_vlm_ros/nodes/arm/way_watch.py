# SPDX-License-Identifier: Apache-2.0
"""Watches depth images while the arm moves, and has it stopped where something enters its way or depth is lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from spatial_vlm_ros.errors import DepthError, InputError, SceneChangedError, SpatialVlmError
from spatial_vlm_ros.geometry.camera import rectify
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, box_pose, kinematics_of
from spatial_vlm_ros.manipulation.occupancy.swept import box_hull, swept_space
from spatial_vlm_ros.manipulation.occupancy.watching import CONFIRMED, Intrusion, IntrusionWatch
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion
from spatial_vlm_ros.manipulation.planning.gripper import flange_pose
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.arm.proposals import motion_of
from spatial_vlm_ros.parameters import GateConfig, PlanningConfig
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.streams.image import decode_depth
from spatial_vlm_ros.streams.transforms import SECOND
from spatial_vlm_ros.types import PinholeCamera, Pose, RgbdFrame, Transform

MARGIN = 0.03  # metres around all that moves
_KEPT = 200  # joint states
_SYNCHRONOUS = 0.1  # s between an image and the joint states that the arm is taken out of it by
_TURN = 0.005  # s between looks for an image


class WayWatch:
    """One for a gate. Without `watch_depth` it does nothing.

    Args:
        node: that hears the images; make this before it spins.
        config: topics and the longest silence.
        joint_states: topic.
        stop: called once with words where the arm has to be stopped; on a thread of the watch.
    """

    def __init__(self, node: Node, config: GateConfig, joint_states: str, stop: Callable[[str], None]) -> None:
        self._config, self._stop = config, stop
        self.on = bool(config.watch_depth)
        self._image: tuple[Image, float] | None = None
        self._info: CameraInfo | None = None
        self._joints: deque[tuple[int, dict[str, float]]] = deque(maxlen=_KEPT)
        self._newest, self._stamp = 0.0, -1  # when the image came that was looked at last, and its stamp
        self._watched: _Watched | None = None
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        if self.on:
            info = config.watch_camera_info or f"{config.watch_depth.rpartition('/')[0]}/camera_info"
            node.create_subscription(Image, config.watch_depth, self._on_image, qos.images())
            node.create_subscription(CameraInfo, info, self._on_info, qos.images())
            node.create_subscription(JointState, joint_states, self._on_joints, qos.images())

    def prepare(self, offer: Offer, config: PlanningConfig, description: str) -> None:
        """Get ready for the motion of an offer; about a second.

        Raises:
            InputError: the arm is not known, so that it cannot be told from what enters its way.
        """
        if self.on:
            self._stamp = -1
            scale = self._config.watch_depth_scale or None
            self._watched = _Watched(offer, motion_of(offer, config, description), config, description, scale)

    def begin(self) -> None:
        """The arm is about to move: look at the way, and watch it from now on.

        Raises:
            DepthError: nothing could be watched for `watch_silence`, or another camera is watched.
            SceneChangedError: something stands in the way that was not there when the plan was made.
        """
        watched = self._watched
        if not self.on or watched is None:
            return
        self._ends.clear()
        self._newest = time.monotonic()
        for _ in range(CONFIRMED):
            found = self._look(watched)
        if found is not None:
            again = "look at what it is, and send the instruction again"
            raise SceneChangedError("the way of the arm", 0.0, 0.0, 0.0, 0.0, again, f"is not free: {found.words()}")
        self._thread = threading.Thread(target=self._run, args=(watched,), name="watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The motion is over."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._thread = self._watched = None

    def _on_image(self, message: Image) -> None:
        self._image = (message, time.monotonic())

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_joints(self, message: JointState) -> None:
        self._joints.append((stamp_of(message), dict(zip(message.name, message.position, strict=False))))

    def _run(self, watched: _Watched) -> None:
        try:
            found = None
            while found is None and not self._ends.is_set():
                found = self._look(watched)
            why = "" if found is None else found.words()
        except SpatialVlmError as error:
            why = f"the way of the arm cannot be watched: {error}"
        except Exception as error:  # whatever goes wrong here, the arm does not move on unwatched
            why = f"the way of the arm cannot be watched: {type(error).__name__}: {error}; report this"
        if why and not self._ends.is_set():
            self._stop(why)

    def _look(self, watched: _Watched) -> Intrusion | None:
        """Look at the next image that shows the way; None where nothing has entered, or the motion has ended.

        Raises:
            DepthError: there is none for `watch_silence`.
            InputError: what comes cannot be used.
        """
        silence = self._config.watch_silence
        end, why = time.monotonic() + silence, f"no image comes on {self._config.watch_depth}"
        while time.monotonic() < end and not self._ends.is_set():
            image, info = self._image, self._info
            if image is None or info is None or image[1] <= self._newest:
                self._ends.wait(_TURN)
                continue
            stamp = stamp_of(image[0])
            joints = self._joints_at(stamp, silence)
            if stamp <= self._stamp:
                why = "the images that come are old"
            elif not joints.keys() >= watched.names:  # they may come after the image
                why = "no joint states of its time tell all joints"
            else:
                why = ""
            if why:
                self._ends.wait(_TURN)
                continue
            self._newest, self._stamp = image[1], stamp
            try:
                return watched.look(image[0], camera_of(info, rectified=self._config.watch_rectified), joints)
            except DepthError as error:
                why = error.reason
        if self._ends.is_set():
            return None
        repair = "see the camera, its topics and its clock"
        raise DepthError(f"depth of the way was lost: nothing could be watched for {silence:g} s: {why}", repair)

    def _joints_at(self, stamp_ns: int, late: float) -> dict[str, float]:
        """Joints as they were told nearest to a stamp; none where none are near, or where it is long past."""
        told = list(self._joints)
        if not told or max(told, key=_stamp)[0] - stamp_ns > late * SECOND:
            return {}
        known: dict[str, float] = {}
        for stamp, joints in sorted(told, key=lambda each: -abs(each[0] - stamp_ns)):
            if abs(stamp - stamp_ns) < _SYNCHRONOUS * SECOND:
                known.update(joints)  # several publishers may tell a part each
        return known


def _stamp(told: tuple[int, dict[str, float]]) -> int:
    return told[0]


class _Watched:
    """What is watched in one motion."""

    def __init__(
        self, offer: Offer, motion: PlannedMotion, config: PlanningConfig, description: str, scale: float | None
    ) -> None:
        seen = offer.seen.surroundings
        if seen is None or not motion.frames:
            repair = "give robot_description to the gate, or leave watch_depth empty"
            raise InputError("motion to watch", motion.missing or "none", "the arm at each moment", repair)
        grasp, target = offer.goal.grasps[offer.plan.grasp].grasp, offer.scene.target.solid
        names = offer.plan.trajectories[0].joint_names
        self.names = frozenset(names)
        planned = config.motion
        self._arm: ArmKinematics = kinematics_of(description, planned.planning_frame, planned.tip_link, names)
        self._hulls = {name: Hull(points) for name, points in self._arm.vertices.items()}
        link = flange_pose(config.gripper, grasp) if planned.at_flange else grasp
        self._tip_T_target = np.linalg.inv(_matrix(link)) @ box_pose(target)
        self._target = box_hull(target.size)
        self._scale = scale
        self._frame, self._camera_frame = seen.frame_id, seen.camera_frame
        self._base_T_camera = Transform(seen.frame_id, seen.camera_frame, _matrix(seen.camera))
        put = [box.solid for box in motion.boxes if box.role == "place"]
        self._watch = IntrusionWatch(swept_space(motion, target.size, MARGIN), offer.scene, put)

    def look(self, image: Image, camera: PinholeCamera, joints: dict[str, float]) -> Intrusion | None:
        """What has entered, if anything.

        Raises:
            InputError: the image is of another camera than the one whose pose is known, or the joints are not all told.
            DepthError: it does not show the way.
        """
        frame_id = image.header.frame_id
        if frame_id.removeprefix("/") != self._camera_frame.removeprefix("/"):
            expected = f"{self._camera_frame!r}, in which the resolver sees"
            raise InputError("frame of the watched depth", repr(frame_id), expected, "watch depth aligned to colour")
        depth = decode_depth(image, self._scale)
        if depth.shape != (camera.height, camera.width):
            sizes = f"{depth.shape[1]}x{depth.shape[0]}", f"{camera.width}x{camera.height} as in its camera info"
            raise InputError("size of the watched depth", *sizes, "set watch_camera_info to that of the depth")
        if not camera.is_rectified:
            nothing = np.zeros((*depth.shape, 3), np.uint8)
            frame = rectify(RgbdFrame(nothing, depth, camera, 0, self._camera_frame, self._base_T_camera))
            depth, camera = frame.depth, frame.camera
        poses, tip = self._arm.poses(joints)
        robot = [
            LinkHull(Transform(self._frame, name, pose), hull)
            for (name, hull), pose in zip(self._hulls.items(), poses, strict=True)
        ]
        robot.append(LinkHull(Transform(self._frame, "held", tip @ self._tip_T_target), self._target))
        return self._watch.look(depth, camera, self._base_T_camera, robot)


def _matrix(pose: Pose) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = matrix_from_quaternion_xyzw(pose.orientation), pose.position
    return matrix
