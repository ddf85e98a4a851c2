# SPDX-License-Identifier: Apache-2.0
"""Watches depth images while the arm moves, and stops it if something enters its way or depth is lost.

The camera's pose at the time of each image comes from TF, so the camera may be on the arm.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from spatial_vlm_ros.errors import (
    ClockError,
    DepthError,
    InputError,
    SceneChangedError,
    SpatialVlmError,
    TransformUnavailableError,
)
from spatial_vlm_ros.geometry.camera import rectify
from spatial_vlm_ros.geometry.rotation import matrix_from_pose
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, box_pose, kinematics_of
from spatial_vlm_ros.manipulation.occupancy.watching import (
    CONFIRMED,
    Intrusion,
    IntrusionWatch,
    box_hull,
    swept_space,
)
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion
from spatial_vlm_ros.manipulation.planning.gripper import flange_pose
from spatial_vlm_ros.manipulation.planning.hulls import Hull, LinkHull
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.arm.proposals import motion_of
from spatial_vlm_ros.nodes.arm.transform_watch import TransformWatch
from spatial_vlm_ros.parameters import GateConfig, PlanningConfig
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.streams.image import camera_of, decode_depth
from spatial_vlm_ros.streams.transforms import SECOND
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

MARGIN = 0.03  # metres around all moving parts
_KEPT = 400  # joint states
_THINNED = 5_000_000  # ns between kept joint states of the same joints: drivers publish up to 1 kHz
_SYNCHRONOUS = 0.1  # s between an image and the joint states used to remove the arm from it
_SAME_CLOCK = 1.0  # s between the newest joint states and the node's time, if both go by one clock
_AWAITED = 0.2  # s that an image waits for the camera's transform: odometry comes at 10 Hz
_TURN = 0.005  # s between looks for an image
_APART = 0.1  # s between the moments of a plan for which the camera's view is computed


class WayWatch:
    """Watches the way of one gate's motions. Does nothing unless `watch_depth` is set.

    Args:
        stop: called once with the reason to stop the arm, on a thread of the watch.
        holds: returns whether the gripper closes on the target, holds or releases it.
    """

    def __init__(
        self,
        node: Node,
        config: GateConfig,
        joint_states: Iterable[str],
        transforms: TransformWatch,
        stop: Callable[[str], None],
        holds: Callable[[], bool],
    ) -> None:
        self._config, self._transforms, self._stop, self._holds = config, transforms, stop, holds
        self.on = bool(config.watch_depth)
        self._image: tuple[Image, float] | None = None
        self._info: CameraInfo | None = None
        self._joints: deque[tuple[int, dict[str, float]]] = deque(maxlen=_KEPT)
        self._last: dict[tuple[str, ...], int] = {}  # stamp of the last kept joint states of these joints
        self._newest, self._stamp = 0.0, -1  # when the last checked image came, and its stamp
        self._held: tuple[tuple[Image, float], Elapsed] | None = None  # waits for its transform, and since when
        self._watched: _Watched | None = None
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        self.topics: list[str] = []  # depth and camera info
        if self.on:
            info = config.watch_camera_info or f"{config.watch_depth.rpartition('/')[0]}/camera_info"
            self.topics += config.watch_depth, info
            node.create_subscription(Image, config.watch_depth, self._on_image, qos.images())
            node.create_subscription(CameraInfo, info, partial(setattr, self, "_info"), qos.images())
            for topic in dict.fromkeys(joint_states):
                node.create_subscription(JointState, topic, self._on_joints, qos.images())

    def prepare(self, offer: Offer, config: PlanningConfig, description: str) -> None:
        """Prepare for the motion of an offer; takes about a second."""
        if self.on and offer.plan.trajectories:
            self._stamp = -1
            scale = self._config.watch_depth_scale or None
            watched = _Watched(offer, motion_of(offer, config, description), config, description, scale)
            if self._info is not None:
                self._check_mount(watched, self._info)
            self._watched = watched

    def begin(self) -> None:
        """Check the way and keep watching it; call this directly before the arm moves."""
        watched = self._watched
        if not self.on or watched is None:
            return
        self._ends.clear()
        self._newest, self._held = time.monotonic(), None
        for _ in range(CONFIRMED):
            found = self._look(watched)
            if self._info is not None:
                self._check_mount(watched, self._info)
        if found is not None:
            again = "clear the path, then send the instruction again"
            happened = f"is not free: {found.words()}"
            raise SceneChangedError("the path of the arm", 0.0, 0.0, 0.0, 0.0, again, happened)
        self._thread = threading.Thread(target=self._run, args=(watched,), name="watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching: the motion is over."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._thread = self._watched = None

    def _on_image(self, message: Image) -> None:
        self._image = (message, time.monotonic())

    def _on_joints(self, message: JointState) -> None:
        stamp, names = stamp_of(message), tuple(message.name)
        if 0 <= stamp - self._last.get(names, -_THINNED) < _THINNED:
            return
        self._last[names] = stamp
        self._joints.append((stamp, dict(zip(names, message.position, strict=False))))

    def _run(self, watched: _Watched) -> None:
        try:
            found = None
            while found is None and not self._ends.is_set():
                found = self._look(watched)
            why = "" if found is None else found.words()
        except SpatialVlmError as error:
            why = f"the path of the arm cannot be watched: {error}"
        except Exception as error:  # after any error the arm must not continue unwatched
            why = f"the path of the arm cannot be watched: {type(error).__name__}: {error}; report this error"
        if why and not self._ends.is_set():
            self._stop(why)

    def _look(self, watched: _Watched) -> Intrusion | None:
        """Check the next usable image; None if nothing has entered, or the motion has ended."""
        silent = Elapsed(self._now)
        why: SpatialVlmError | str = f"no image arrives on {self._config.watch_depth}"
        while silent() < self._config.watch_silence and not self._ends.is_set():
            image, info = self._image if self._held is None else self._held[0], self._info
            if image is None or info is None or image[1] <= self._newest:
                self._ends.wait(_TURN)
                continue
            known = self._known_of(image, watched)
            if isinstance(known, SpatialVlmError | str):
                why = known
                self._ends.wait(_TURN)
                continue
            self._newest, self._stamp, self._held = image[1], stamp_of(image[0]), None
            try:
                camera = camera_of(info, rectified=self._config.watch_rectified)
                return watched.look(image[0], camera, *known, self._holds())
            except DepthError as error:
                why = error.reason
        if self._ends.is_set():
            return None
        lost = f"nothing could be watched for {self._config.watch_silence:g} s"
        if isinstance(why, TransformUnavailableError):
            reason = f"the pose of the camera is not known: {lost}: {why.reason}"
            repair = f"{why.repair}; the transform must arrive within {_AWAITED:g} s of the image"
            raise TransformUnavailableError(why.parent, why.child, reason, repair)
        if isinstance(why, SpatialVlmError):
            raise why
        raise DepthError(f"depth of the path was lost: {lost}: {why}", "check the camera, its topics and its clock")

    def _known_of(
        self, image: tuple[Image, float], watched: _Watched
    ) -> tuple[Transform, dict[str, float]] | SpatialVlmError | str:
        """base_T_camera and joint positions at the stamp of an image, or why they are not known yet."""
        stamp = stamp_of(image[0])
        joints = self._joints_at(stamp, self._config.watch_silence)
        if stamp <= self._stamp or self._transforms.age(stamp) > self._config.watch_silence:
            return "the images are too old"
        if not joints.keys() >= watched.names:  # they may come after the image
            self._held = None
            return "there are no joint states of all joints at the time of the image"
        watched.check_frame(image[0])
        try:
            return self._transforms.pose(watched.frame, watched.camera_frame, stamp), joints
        except (TransformUnavailableError, ClockError) as error:
            # The next image would have to wait as long as this one: it is kept until its transform is there.
            self._held = self._held or (image, Elapsed(self._now))
            if not getattr(error, "may_come", False) or self._held[1]() >= _AWAITED:
                self._newest, self._held = image[1], None
            return error

    def _check_mount(self, watched: _Watched, info: CameraInfo) -> None:
        """Refuse a plan in which a camera on the arm loses sight of the way for too long: it would be stopped there."""
        if watched.checked:
            return
        try:
            mount = self._transforms.mount(watched.frame, watched.camera_frame, watched.links)
        except TransformUnavailableError:
            return  # before the motion the mount is known or refused
        watched.checked = True
        if mount is None:
            return
        unseen = watched.longest_unseen(camera_of(info, rectified=self._config.watch_rectified), mount)
        if unseen > self._config.watch_silence:
            reason = (
                f"the camera moves with {mount.parent} and does not see the path of the arm for {unseen:.1f} s of "
                f"the motion; watch_silence is {self._config.watch_silence:g} s"
            )
            repair = "use a camera that stands still or sees more of the path, or raise watch_silence above that time"
            raise DepthError(reason, repair)

    def _now(self) -> float:
        """Seconds: the node's time if the arm goes by it, otherwise (a real arm beside a bag's clock) real time."""
        told, newest = self._transforms.now(), self._joints[-1][0] / SECOND if self._joints else 0.0
        return told if abs(newest - told) < _SAME_CLOCK else time.monotonic()

    def _joints_at(self, stamp_ns: int, late: float) -> dict[str, float]:
        """The joint states nearest to a stamp; empty if none are near, or the stamp is too old."""
        told = list(self._joints)
        if not told or max(told, key=_stamp)[0] - stamp_ns > late * SECOND:
            return {}
        known: dict[str, float] = {}
        for stamp, joints in sorted(told, key=lambda each: -abs(each[0] - stamp_ns)):
            if abs(stamp - stamp_ns) < _SYNCHRONOUS * SECOND:
                known.update(joints)  # several publishers may each report a part
        return known


class Elapsed:
    """Seconds since its start, by the slower of the node's clock and real time.

    A simulation may run slower than real time: its arm, camera and clock do so together. A clock that was set forward
    or back counts for no more than real time, and one that stands still counts as real time.

    Args:
        now: the node's time, seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._told, self._at, self._passed = now, now(), time.monotonic(), 0.0

    def __call__(self) -> float:
        """Seconds until now; fewer than before where a clock that stood still advances again."""
        told, at = self._now(), time.monotonic()
        if told != self._told:
            self._passed += min(max(told - self._told, 0.0), at - self._at)
            self._told, self._at = told, at
        return max(self._passed, at - self._at)


def _stamp(told: tuple[int, dict[str, float]]) -> int:
    return told[0]


class _Watched:
    """What is watched in one motion."""

    def __init__(
        self, offer: Offer, motion: PlannedMotion, config: PlanningConfig, description: str, scale: float | None
    ) -> None:
        seen = offer.seen.surroundings
        if seen is None or not motion.frames:
            repair = "set robot_description of the gate, or leave watch_depth empty"
            raise InputError("motion to watch", motion.missing or "none", "the pose of the arm at each moment", repair)
        grasp, target = offer.goal.grasps[offer.plan.grasp].grasp, offer.scene.target.solid
        names = offer.plan.trajectories[0].joint_names
        self.names = frozenset(names)
        planned = config.motion
        self._arm: ArmKinematics = kinematics_of(description, planned.planning_frame, planned.tip_link, names)
        self._hulls = {name: Hull(points) for name, points in self._arm.vertices.items()}
        link = flange_pose(config.gripper, grasp) if planned.at_flange else grasp
        self._tip_T_target = np.linalg.inv(matrix_from_pose((*link.position, *link.orientation))) @ box_pose(target)
        self._target = box_hull(target.size)
        self._scale = scale
        self.frame, self.camera_frame = seen.frame_id, seen.camera_frame
        self.links = tuple(link.name for link in motion.links)
        self.checked = False  # whether the camera on the arm sees enough
        self._motion = motion
        put = [box.solid for box in motion.boxes if box.role == "place"]
        self._watch = IntrusionWatch(swept_space(motion, target.size, MARGIN), offer.scene, put)

    def check_frame(self, image: Image) -> None:
        """Refuse images of another camera than the resolver's."""
        frame_id = image.header.frame_id
        if frame_id.removeprefix("/") != self.camera_frame.removeprefix("/"):
            expected = f"{self.camera_frame!r}, the frame of the resolver's camera"
            raise InputError("frame of the watched depth", repr(frame_id), expected, "use depth aligned to colour")

    def longest_unseen(self, camera: PinholeCamera, link_T_camera: Transform) -> float:
        """Longest time of the motion in which a camera on a link sees too little of the way, seconds."""
        number = self.links.index(link_T_camera.parent)
        moments, last = [], -np.inf
        for frame in self._motion.frames:
            if frame.time - last >= _APART - 1e-9:
                last = frame.time
                pose = matrix_from_pose(frame.links[number]) @ link_T_camera.matrix
                moments.append((last, Transform(self.frame, self.camera_frame, pose)))
        return self._watch.longest_unseen(camera, moments)

    def look(
        self, image: Image, camera: PinholeCamera, base_T_camera: Transform, joints: dict[str, float], holds: bool
    ) -> Intrusion | None:
        """What has entered the way, or None; `holds`: whether the target is at the tip."""
        depth = decode_depth(image, self._scale)
        if depth.shape != (camera.height, camera.width):
            sizes = f"{depth.shape[1]}x{depth.shape[0]}", f"{camera.width}x{camera.height}, as in its camera info"
            raise InputError(
                "size of the watched depth", *sizes, "set watch_camera_info to the camera info of the depth image"
            )
        if not camera.is_rectified:
            nothing = np.zeros((*depth.shape, 3), np.uint8)
            frame = rectify(RgbdFrame(nothing, depth, camera, 0, self.camera_frame, base_T_camera))
            depth, camera = frame.depth, frame.camera
        poses, tip = self._arm.poses(joints)
        robot = [
            LinkHull(Transform(self.frame, name, pose), hull)
            for (name, hull), pose in zip(self._hulls.items(), poses, strict=True)
        ]
        if holds:
            robot.append(LinkHull(Transform(self.frame, "held", tip @ self._tip_T_target), self._target))
        return self._watch.look(depth, camera, base_T_camera, robot)
