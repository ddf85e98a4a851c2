# SPDX-License-Identifier: Apache-2.0
"""Assemble complete frames from messages: the one state machine behind the live node and the replay of bags.

No threads, no clock, no ROS: the caller passes the time. All times are nanoseconds.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import (
    InputError,
    NotSynchronisedError,
    SpatialVlmError,
    StaleInputError,
    TransformUnavailableError,
)
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.decoding import check_same_camera, colour_of, depth_of, found_of, frame_id_of
from spatial_vlm_ros.streams.synchronizer import Freshness, MatchedMessages, Stream, Synchronizer
from spatial_vlm_ros.streams.transforms import TransformBuffer, TransformSample
from spatial_vlm_ros.types import Detection, FrameOfReference, RgbdFrame, SpatialQuery, Transform


class SeenRobot(Protocol):
    """Interface of a robot whose points can be removed from depth (planning.robot_model.Robot)."""

    @property
    def links(self) -> tuple[str, ...]:
        """TF frames of its links."""

    def removed(self, frame: RgbdFrame, base_T_links: Sequence[Transform]) -> RgbdFrame:
        """Remove the robot's points from a frame, with the poses of `links` in the parent of its `base_T_camera`."""


RGB, DEPTH, DETECTIONS = "rgb/image", "depth/image", "detections"
RGB_INFO, DEPTH_INFO = "rgb/camera_info", "depth/camera_info"
TRANSFORMS, STATIC_TRANSFORMS = "/tf", "/tf_static"
IMU = "imu"

SECOND = 1_000_000_000
_KEPT = 2  # complete frames kept while no request waits: the newest wins
_STILL = (1e-4, 1e-4)  # m, rad: a camera that moved less between depth and colour counts as still
_IMU_KEPT = 4000  # messages: 2.5 s at 1600 Hz, the rate of Azure_Kinect_ROS_Driver (k4a_ros_device_params.h:18)
_IMU_BEFORE, _IMU_NEAR = SECOND // 2, SECOND // 10  # ns before and after an image in which an IMU tells its "up"
_IMU_PARTS = 5  # of that time, whose means must agree; also the fewest messages
_IMU_SPAN = SECOND // 5  # ns: the shortest time that tells whether the camera moves
# An IMU at rest; docs/conventions.md has the sensors that these limits fit.
_GRAVITY, _OFFSET = 9.81, 0.7  # m/s²: strength of the mean; 0.6 are measured on cameras, and 0.7 turn "up" by 4°
_STEADY = 0.12  # m/s²: spread of the means of the parts; a turn by 5°/s gives as much
_TURNING = 0.1  # rad/s: mean; offsets of gyroscopes have 3°/s about each axis at most


def stamp_of(message: Any) -> int:
    """Stamp of a message with a header, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


@dataclass(frozen=True, eq=False)
class PendingFrame:
    """A complete frame that has not been decoded yet, with the transforms from the time it was accepted."""

    stamp_ns: int
    match: MatchedMessages
    rgb_info: Any
    depth_info: Any  # camera info of depth if it is not registered, else None
    base_T_camera: Transform | None  # pose of the camera in the base frame; None if no base frame is configured
    rgb_T_depth: Transform | None  # pose of the depth camera if depth must be registered or moved; else None
    camera_T_speaker: Transform | None  # pose of the person who speaks; None if that is not configured or not known
    config: StreamConfig
    robot: SeenRobot | None = None  # the robot to remove from depth; None = nothing
    base_T_links: tuple[Transform, ...] = ()  # poses of its links, in their order
    # earliest possible exposure of its images, by the arrival clock: the frame answers requests that came no later
    not_before_ns: int = 0
    # (3,) unit direction against gravity in the camera frame, by the IMU; None = not known
    up: npt.NDArray[np.float64] | None = None

    def with_detections(self, message: Any) -> PendingFrame:
        """The same frame with the detections of a message instead of its own."""
        messages = {**self.match.messages, DETECTIONS: message}
        stamps = {**self.match.stamps, DETECTIONS: self.stamp_ns}
        return replace(self, match=replace(self.match, messages=messages, stamps=stamps))

    def decode(self) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
        """Decode the frame in metres, without the robot's points, and its detections; None if it has none."""
        messages, config = self.match.messages, self.config
        rgb, camera = colour_of(messages[RGB], self.rgb_info, config)
        frame_id = frame_id_of(messages[RGB])
        depth = depth_of(messages[DEPTH], frame_id, camera, self.depth_info, self.rgb_T_depth, config)
        frame = RgbdFrame(
            rgb, depth, camera, self.stamp_ns, frame_id, self.base_T_camera, self.up, self.camera_T_speaker
        )
        if self.robot is not None:
            frame = self.robot.removed(frame, self.base_T_links)
        found = messages.get(DETECTIONS)
        return frame, None if found is None else found_of(found, camera, config)


@dataclass(frozen=True, eq=False)
class Held:
    """A complete frame that has waited for its transforms since a time (ns), with its camera infos."""

    match: MatchedMessages
    infos: dict[str, Any]
    since_ns: int
    not_before_ns: int
    is_asked: bool


class FrameAssembler:
    """Collect messages until they make complete frames.

    Args:
        with_detections: True if a frame needs the detections with exactly its stamp.
        robot: the robot to remove from depth; None = nothing. A frame waits for the transforms of its links as it does
            for the camera's.

    Attributes:
        arrivals: role → arrival of its last message, nanoseconds.
        camera_frame: frame id of the newest colour image, "" before the first.
        spent_ns: stamp of the frame that `take` checked last, also if it raised; 0 = none.
    """

    def __init__(
        self,
        config: StreamConfig,
        with_detections: bool,
        transforms: TransformBuffer | None = None,
        robot: SeenRobot | None = None,
    ) -> None:
        if config.robot_description and robot is None:
            expected = f"the robot of robot_description {config.robot_description!r}"
            raise InputError("robot", "none", expected, "pass robot=planning.robot_model.robot_of(config, depth)")
        self.config, self.robot = config, robot
        self.transforms = transforms or TransformBuffer(int(config.transform_cache * SECOND))
        slops = {DEPTH: int(config.sync_slop * SECOND), **({DETECTIONS: 0} if with_detections else {})}
        self._sync = Synchronizer(RGB, slops, config.sync_queue)
        self._infos = {RGB_INFO: Stream(config.sync_queue)}
        if not config.depth_registered:
            self._infos[DEPTH_INFO] = Stream(config.sync_queue)
        self._imu = {IMU: Stream(_IMU_KEPT)} if config.imu else {}
        self._in_step = dict.fromkeys(self._infos, False)
        self._matched: deque[MatchedMessages] = deque(maxlen=config.sync_queue)
        self._held: Held | None = None
        self._given: MatchedMessages | None = None  # the newest one that was waited for, whatever its result
        self.arrivals: dict[str, int] = {}
        self.freshness = Freshness(config, (RGB, DEPTH))
        self._off: MatchedMessages | None = None  # the last one of a wrong clock
        self._frame_ids: dict[str, str] = {}
        self.camera_frame = ""  # of the newest colour image
        self.without_info = 0
        self.spent_ns = 0

    @property
    def streams(self) -> dict[str, Stream]:
        """All streams that frames are made of, by role."""
        return {**self._sync.streams, **self._infos, **self._imu}

    @property
    def unmatched(self) -> int:
        """Number of colour images without a partner."""
        return self._sync.unmatched

    # -------------------------------------------------------------------------------------------- messages in

    def add(self, role: str, message: Any, now_ns: int) -> None:
        """Add a message of one of the roles named in this module."""
        if role in (TRANSFORMS, STATIC_TRANSFORMS):
            self.transforms.add_message(message, role == STATIC_TRANSFORMS, now_ns)
            return
        self.arrivals[role], self._frame_ids[role] = now_ns, frame_id_of(message)
        stamp_ns = stamp_of(message)
        if role in self._imu:
            self._imu[role].add(stamp_ns, message, now_ns)
            return
        self.freshness.add(role, stamp_ns, now_ns)
        for info, image in ((RGB_INFO, RGB), (DEPTH_INFO, DEPTH)):
            if role in (info, image) and info in self._infos:
                other = self._sync.streams[image] if role == info else self._infos[info]
                self._in_step[info] |= other.newest_ns == stamp_ns
        if role == RGB:
            self.camera_frame = frame_id_of(message)
        if role in self._infos:
            self._infos[role].add(stamp_ns, message, now_ns)
            return
        restarts = self._sync.streams[role].restarts
        self._matched.extend(self._sync.add(role, stamp_ns, message, now_ns))
        if self._sync.streams[role].restarts > restarts:
            self.freshness.clear()
            self.freshness.add(role, stamp_ns, now_ns)
            self._matched.clear()
            self._held = self._given = None

    def continue_from(self, other: FrameAssembler) -> None:
        """Take over transforms, camera info and clocks from another assembler, because some are sent only once.

        The robot is not taken over: it belongs to the configuration.
        """
        self.transforms, self.camera_frame = other.transforms, other.camera_frame
        self.transforms.cache_ns = int(self.config.transform_cache * SECOND)
        for role in self._infos.keys() & other._infos.keys():
            self._in_step[role] = other._in_step[role]
            for kept in other._infos[role]:
                self._infos[role].add(*kept)
        self.freshness.clocks = other.freshness.clocks

    def reset(self) -> None:
        """Forget all messages and moving transforms, after time has jumped back."""
        self._sync.clear()
        for stream in (*self._infos.values(), *self._imu.values()):
            stream.clear()
        self.transforms.clear()
        self._matched.clear()
        self._held = self._given = None
        self.arrivals.clear()
        self.freshness.clear()

    # -------------------------------------------------------------------------------------------- frames out

    def take(self, after_ns: int, now_ns: int, awaits_speaker: bool = False) -> PendingFrame | None:
        """Take the first complete frame that was surely exposed at or after a time; None while it may come.

        Frames whose stamps run ahead of now, or lie far behind their arrival, are skipped; `why_none` gives the reason.
        A complete frame is held until its transforms have arrived, even if newer frames follow.

        Args:
            after_ns: time of the request, by the arrival clock; frames that may be older are skipped. 0 or less: there
                is no request time, and all frames are accepted, whatever their clock.
            awaits_speaker: also wait for the speaker's transform. If it does not come, the frame is returned without
                it; only words that need the speaker are then refused.
        """
        if self._held is not None and after_ns > 0 and self._held.not_before_ns < after_ns:
            self._held = None
        if self._held is None:
            match = self._first_complete(after_ns)
            if match is None:
                return None
            self.spent_ns = match.stamp_ns
            if DETECTIONS in match.messages:
                check_same_camera(match.messages[DETECTIONS], match.messages[RGB])
            self._held = self._holding(match, now_ns, after_ns > 0)
        return self._observed(self._held, now_ns, awaits_speaker)

    def _holding(self, match: MatchedMessages, now_ns: int, is_asked: bool) -> Held:
        infos = {role: self._info(role, match) for role in self._infos}
        return Held(match, infos, now_ns, self.freshness.not_before_ns(match), is_asked)

    def _observed(self, held: Held, now_ns: int, awaits_speaker: bool) -> PendingFrame | None:
        """The held frame with its transforms; None while they may still come. Raises as `take` does."""
        self.spent_ns = held.match.stamp_ns
        waited, most = (now_ns - held.since_ns) / SECOND, self.config.transform_timeout
        patient = waited < most
        # Until anything is heard on TF, as just after a start, its publishers may not have been discovered yet.
        begins = held.is_asked and most > 0 and waited < self.config.frame_timeout and not self.transforms.frames()
        try:
            observation = self._observe(held, awaits_speaker and (patient or begins))
        except SpatialVlmError as error:
            if isinstance(error, TransformUnavailableError) and error.may_come and (patient or begins):
                return None
            self._held = None
            raise
        if patient and any((stream.newest_ns or 0) < held.match.stamp_ns - _IMU_NEAR for stream in self._imu.values()):
            return None  # what it measured then may still come
        self._held = None
        return observation

    @property
    def waits_for_transform(self) -> bool:
        """True if a complete frame waits only for its transforms."""
        return self._held is not None

    def forget_older(self) -> None:
        """Keep only the newest complete frames, because no request waits for the others."""
        while len(self._matched) > _KEPT:
            self._matched.popleft()

    def _first_complete(self, after_ns: int) -> MatchedMessages | None:
        while self._matched:
            match = self._matched[0]
            is_good = True
            if after_ns > 0:
                try:
                    self.freshness.check(match)
                    is_good = self.freshness.not_before_ns(match) >= after_ns
                except StaleInputError:
                    self._off, is_good = match, False
            if is_good:
                absent = [role for role in self._infos if self._info(role, match) is None]
                if not absent:
                    self._matched.popleft()
                    self._given = match
                    return match
                if not all(self._info_lost(role, match) for role in absent):
                    return None
                self.without_info += 1
            self._matched.popleft()
        return None

    def _info(self, role: str, match: MatchedMessages) -> Any | None:
        """Camera info that applies to a frame, or None while it is missing.

        Most drivers publish it with each image. Then only the one with exactly the same stamp applies, because zoom and
        binning change it. One that comes rarely (latched) applies until the next.
        """
        stream, stamp_ns = self._infos[role], self._image_stamp(role, match)
        exact = stream.at(stamp_ns)
        if exact is not None:
            return exact
        before = stream.before(stamp_ns)
        if not self._in_step[role]:
            return before if before is not None else next((kept.message for kept in stream), None)
        after = next((kept.message for kept in stream if kept.stamp_ns > stamp_ns), None)
        if before is None or after is None:
            return None
        fields = ("width", "height", "k", "d", "p", "binning_x", "binning_y")
        same = all(np.array_equal(getattr(before, field), getattr(after, field)) for field in fields)
        return before if same else None

    def _info_lost(self, role: str, match: MatchedMessages) -> bool:
        """True if the camera info of a frame was overtaken by newer ones and will not come."""
        newest = self._infos[role].newest_ns
        return newest is not None and newest > self._image_stamp(role, match)

    @staticmethod
    def _image_stamp(role: str, match: MatchedMessages) -> int:
        return match.stamps[RGB if role == RGB_INFO else DEPTH]

    def _observe(self, held: Held, awaits_speaker: bool = False) -> PendingFrame:
        """The frame with its transforms; a speaker's that is missing raises only if awaited and still to come."""
        config, match, infos = self.config, held.match, held.infos
        camera_frame = match.messages[RGB].header.frame_id
        without = "or set base_frame: '' to get poses in the camera frame"
        base = self._in_base(camera_frame, match.stamp_ns, without) if config.base_frame else None
        if base is not None and held.is_asked:
            self.transforms.check_clocks(config.base_frame, camera_frame, config.transform_max_ahead)
        # Pose of the depth camera, at depth's stamp, in the colour camera, at colour's stamp; None = the same.
        depth_frame = camera_frame if config.depth_registered else match.messages[DEPTH].header.frame_id
        rgb_ns, depth_ns = match.stamps[RGB], match.stamps[DEPTH]
        depth_pose = None
        if config.fixed_frame and rgb_ns != depth_ns:
            pose = self.transforms.lookup_via(camera_frame, rgb_ns, depth_frame, depth_ns, config.fixed_frame)
            turned = math.acos(min(1.0, max(-1.0, (float(np.trace(pose.rotation)) - 1) / 2)))
            stood_still = float(np.linalg.norm(pose.translation)) < _STILL[0] and turned < _STILL[1]
            depth_pose = None if config.depth_registered and stood_still else pose
        elif not config.depth_registered:
            depth_pose = self.transforms.lookup(camera_frame, depth_frame, rgb_ns)

        speaker = None
        if config.speaker_frame:
            try:
                speaker = self.transforms.lookup(camera_frame, config.speaker_frame, match.stamp_ns)
            except SpatialVlmError as error:
                if awaits_speaker and isinstance(error, TransformUnavailableError) and error.may_come:
                    raise
        removed = "is a link of robot_description, whose points are removed (robot_description: '' removes nothing)"
        names = () if self.robot is None else self.robot.links
        links = tuple(self._in_base(name, match.stamp_ns, f"{name!r} {removed}") for name in names)
        rested = self._rested(match.stamp_ns) if self._imu else None
        if rested is not None:
            messages, stamps = {**match.messages, IMU: rested}, {**match.stamps, IMU: stamp_of(rested)}
            match = replace(match, messages=messages, stamps=stamps)
        return PendingFrame(
            match.stamp_ns, match, infos[RGB_INFO], infos.get(DEPTH_INFO), base, depth_pose, speaker, config,
            self.robot, links, held.not_before_ns, self._up(match, camera_frame),
        )  # fmt: skip

    def _rested(self, stamp_ns: int) -> Any | None:
        """The IMU's last message of the time around an image, with the mean acceleration; None if it may have moved.

        A driver that sends what the gyroscope measures alone leaves the acceleration zero, and the other way round
        (realsense-ros, base_realsense_node.cpp:497); -1 as the first covariance also says "not measured" (REP-145).
        """
        window = self._imu[IMU].between(stamp_ns - _IMU_BEFORE, stamp_ns + _IMU_NEAR)
        window = [
            one for one in window if one.linear_acceleration_covariance[0] != -1 and any(_xyz(one.linear_acceleration))
        ]
        if len(window) < _IMU_PARTS:
            return None
        measured = np.array([_xyz(one.linear_acceleration) for one in window])
        turning = [_xyz(one.angular_velocity) for one in window if one.angular_velocity_covariance[0] != -1]
        parts = np.array([part.mean(axis=0) for part in np.array_split(measured, _IMU_PARTS)])
        if (
            stamp_of(window[-1]) - stamp_of(window[0]) >= _IMU_SPAN
            and stamp_of(window[-1]) >= stamp_ns - _IMU_NEAR
            and float(np.linalg.norm(parts.std(axis=0))) <= _STEADY
            and (not turning or float(np.linalg.norm(np.mean(turning, axis=0))) <= _TURNING)
        ):
            mean = copy.deepcopy(window[-1])
            for axis, value in zip("xyz", measured.mean(axis=0).tolist(), strict=True):
                setattr(mean.linear_acceleration, axis, value)
            return mean
        return None

    def _up(self, match: MatchedMessages, camera_frame: str) -> npt.NDArray[np.float64] | None:
        """Direction against gravity: what an IMU at rest measures (REP-145); None without one, or while it moves."""
        message = match.messages.get(IMU)
        if message is None:
            return None
        up = np.array(_xyz(message.linear_acceleration))
        strength = float(np.linalg.norm(up))
        if not abs(strength - _GRAVITY) <= _OFFSET:
            return None
        try:
            pose = self.transforms.lookup(camera_frame, message.header.frame_id, match.stamp_ns)
        except TransformUnavailableError as error:
            raise error.advising(f"{error.repair}; or set imu: false") from error
        return np.asarray(pose.rotation @ up / strength)

    def _in_base(self, frame: str, stamp_ns: int, advice: str) -> Transform:
        """Pose of a frame in the base frame; an error also gives the advice."""
        try:
            return self.transforms.lookup(self.config.base_frame, frame, stamp_ns)
        except TransformUnavailableError as error:
            raise error.advising(f"{error.repair}; {advice}") from error

    def frames_used(self) -> set[str]:
        """Frames whose pose in their parent a frame depends on."""
        config, links = self.config, () if self.robot is None else self.robot.links
        named = (config.base_frame, config.fixed_frame, config.speaker_frame, *links, *self._frame_ids.values())
        return {one.child for one in self.transforms.excerpt(named, [0])}

    # -------------------------------------------------------------------------------------------- kept frames

    def newest_messages(self) -> dict[str, Any] | None:
        """Role → message of the newest complete frame still kept, of any age; camera infos if known."""
        match = self._matched[-1] if self._matched else self._given
        if match is None:
            return None
        infos = {role: self._info(role, match) for role in self._infos}
        return {**match.messages, **{role: info for role, info in infos.items() if info is not None}}

    def transforms_of(self, messages: Mapping[str, Any]) -> tuple[TransformSample, ...]:
        """Transforms of /tf and /tf_static that a frame of these messages (role → message) needs."""
        config, images = self.config, [messages[role] for role in (RGB, DEPTH, IMU) if role in messages]
        frames = [config.base_frame, config.fixed_frame, config.speaker_frame, *map(frame_id_of, images)]
        links = () if self.robot is None else self.robot.links
        return self.transforms.excerpt([*frames, *links], [stamp_of(image) for image in images])

    def assemble(self, messages: Mapping[str, Any]) -> PendingFrame:
        """Assemble a frame from messages that are known to belong together; stamps and ages are not checked."""
        for role in (RGB, DEPTH, *self._infos):
            if role not in messages:
                raise InputError(role, "no message", "one message for the frame", "wait for a complete frame")
        if DETECTIONS in messages:
            check_same_camera(messages[DETECTIONS], messages[RGB])
        images = {role: message for role, message in messages.items() if role not in (RGB_INFO, DEPTH_INFO)}
        stamps = {role: stamp_of(message) for role, message in images.items()}
        match = MatchedMessages(stamps[RGB], images, stamps)
        return self._observe(Held(match, {role: messages[role] for role in self._infos}, 0, 0, is_asked=False))

    # -------------------------------------------------------------------------------------------- why none came

    def why_none(self, after_ns: int, topics: dict[str, str] | None = None) -> SpatialVlmError:
        """Reason why no frame was complete: the error for an instruction that waited too long."""
        name = {role: (topics or {}).get(role, role) for role in (*self._sync.streams, *self._infos)}
        silent = [role for role in self._sync.streams if self.arrivals.get(role, -math.inf) < after_ns]
        if silent:
            return StaleInputError(
                f"there was no message on {', '.join(name[role] for role in silent)} since the request",
                "check that the driver runs and the topic is remapped to it; `spatial-vlm doctor` names QoS mismatches",
            )
        if self._held is not None:
            try:
                self._observe(self._held)
            except SpatialVlmError as error:
                return error
            return StaleInputError("the frame arrived too late", "raise frame_timeout")
        if self._off is not None and self._off.arrivals[RGB] >= after_ns:
            try:
                self.freshness.check(self._off, name)
            except StaleInputError as error:
                return error
        late = self.freshness.why_old(self._sync.streams, self.arrivals, after_ns, name)
        if late is not None:
            return late
        absent = [role for role, stream in self._infos.items() if not len(stream)]
        if absent:
            repair = "publish the camera info of the driver, or remap its topic"
            return InputError(name[absent[0]], "no message", "sensor_msgs/CameraInfo", repair)
        if self._matched:
            role = next((r for r in self._infos if self._info(r, self._matched[-1]) is None), RGB_INFO)
            return StaleInputError(f"{name[role]} has stopped, although images still arrive", "restart the driver")
        gap = self._sync.largest_gap_ns
        apart = "" if gap is None else f" (the last ones are {gap / SECOND:.3f} s apart)"
        found = self._sync.streams.get(DETECTIONS)
        if found is not None and (found.newest_ns or 0) < after_ns:
            return StaleInputError(f"{name[DETECTIONS]} lags behind the images", "raise sync_queue or frame_timeout")
        if self._sync.missed_by == DETECTIONS:
            reason = f"detections on {name[DETECTIONS]} never have the stamp of an image{apart}"
            return NotSynchronisedError(reason, "copy the header of the image into them")
        reason = f"stamps of {name[RGB]} and {name[DEPTH]} never agree within {self.config.sync_slop:g} s{apart}"
        repair = "let one driver stamp both topics, synchronise the clocks, or raise sync_slop"
        return NotSynchronisedError(reason, repair)


def needs_speaker(queries: Iterable[SpatialQuery], *frames: FrameOfReference | str | None) -> bool:
    """True if the speaker's frame of reference may decide a request; `frames` are used if the words state none."""
    by_default = any(frame == FrameOfReference.SPEAKER for frame in frames)
    for query in queries:
        target = query.target
        ordered = target.superlative is not None or target.ordinal is not None
        chosen_by_place = ordered or bool(target.relations) or query.destination is not None or bool(query.avoid)
        if (by_default and chosen_by_place) or _says_speaker(query):
            return True
    return False


def _says_speaker(said: object) -> bool:
    """True if a reading states the speaker's frame anywhere inside it."""
    if isinstance(said, tuple):
        return any(_says_speaker(part) for part in said)
    if dataclasses.is_dataclass(said):
        return any(_says_speaker(getattr(said, field.name)) for field in dataclasses.fields(said))
    return said is FrameOfReference.SPEAKER
