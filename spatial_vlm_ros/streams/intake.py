# SPDX-License-Identifier: Apache-2.0
"""Messages in, complete frames out: the one state machine behind the live node and the replay of bags.

No threads, no clock of its own, no ROS: whoever drives it says what time it is. All times are nanoseconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.config import StreamConfig
from spatial_vlm_ros.errors import (
    InputError,
    NotSynchronisedError,
    SpatialVlmError,
    StaleInputError,
    StreamError,
    TransformUnavailableError,
)
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.streams.detections import detections_of
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb
from spatial_vlm_ros.streams.synchronizer import Match, Stream, Synchronizer
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import Depth, Detection, PinholeCamera, RgbdFrame, Transform

RGB, DEPTH, DETECTIONS = "rgb/image", "depth/image", "detections"
RGB_INFO, DEPTH_INFO = "rgb/camera_info", "depth/camera_info"
TRANSFORMS, STATIC_TRANSFORMS = "/tf", "/tf_static"

SECOND = 1_000_000_000
_KEPT = 2  # complete frames kept while nobody asks: the newest wins
_STILL = (1e-4, 1e-4)  # m, rad: a camera that moved less between depth and colour stood still


def stamp_of(message: Any) -> int:
    """Stamp of a message with a header, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


@dataclass(frozen=True, eq=False)
class Observation:
    """A complete frame that has not been decoded yet, with the transforms as they were when it was accepted.

    Args:
        stamp_ns: of the colour image.
        match: the messages.
        rgb_info: camera info of colour.
        depth_info: camera info of depth where it is not registered, else None.
        base_T_camera: or None where no base frame is configured.
        rgb_T_depth: pose of the depth camera, where depth has to be registered or moved; else None.
        config: how to read the messages.
    """

    stamp_ns: int
    match: Match
    rgb_info: Any
    depth_info: Any
    base_T_camera: Transform | None
    rgb_T_depth: Transform | None
    config: StreamConfig

    def decode(self) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
        """The frame in metres and its detections, None where none come with it.

        Raises:
            InputError: a message cannot be read, or sizes do not fit.
        """
        camera = camera_of(self.rgb_info, self.config.rectified)
        message = self.match.messages[RGB]
        rgb = decode_rgb(message)
        _check_size("colour image", rgb.shape, camera)
        frame_id = _frame_id(message)
        frame = RgbdFrame(rgb, self._depth(camera), camera, self.stamp_ns, frame_id, self.base_T_camera)
        found = self.match.messages.get(DETECTIONS)
        return frame, None if found is None else detections_of(found, camera.width, camera.height)

    def _depth(self, camera: PinholeCamera) -> Depth:
        if self.config.depth_registered:
            _check_registered(_frame_id(self.match.messages[DEPTH]), _frame_id(self.match.messages[RGB]))
        depth = decode_depth(self.match.messages[DEPTH], self.config.depth_scale or None)
        if self.rgb_T_depth is None:
            _check_size("depth image", depth.shape, camera, "register depth to colour, or set depth_registered: false")
            return depth
        depth_camera = camera if self.depth_info is None else camera_of(self.depth_info, self.config.rectified)
        _check_size("depth image", depth.shape, depth_camera)
        return register_depth(depth, depth_camera, camera, self.rgb_T_depth)


def _check_size(what: str, shape: tuple[int, ...], camera: PinholeCamera, repair: str = "") -> None:
    if shape[:2] != (camera.height, camera.width):
        raise InputError(
            what,
            f"{shape[1]}x{shape[0]} pixels",
            f"{camera.width}x{camera.height} as its camera info says",
            repair or "remap the camera info of this very image",
        )


def _frame_id(message: Any) -> str:
    """Frame of a message as tf2 and TransformBuffer name it: without a leading slash."""
    return str(message.header.frame_id).removeprefix("/")


def _check_registered(depth_frame: str, rgb_frame: str) -> None:
    """Depth that is registered to colour is in its frame; drivers that align it say so in the header."""
    if depth_frame and rgb_frame and depth_frame != rgb_frame:
        raise InputError(
            "frame of the depth image",
            repr(depth_frame),
            f"{rgb_frame!r}, that of colour: depth in another frame is not registered to it",
            "use the driver's aligned depth topic, or set depth_registered: false with its own camera info",
        )


class Intake:
    """Collects messages until they make complete frames.

    Args:
        config: tolerances and frames.
        with_detections: whether a frame is complete only with the detections of its very stamp.
        transforms: a buffer to go on with; None = an empty one.

    Attributes:
        transforms: what /tf and /tf_static brought.
        arrivals: role → when its last message came, nanoseconds.
        camera_frame: of the newest colour image, "" before the first.
        without_info: frames that were passed over for want of camera info.
    """

    def __init__(self, config: StreamConfig, with_detections: bool, transforms: TransformBuffer | None = None) -> None:
        self.config = config
        self.transforms = transforms or TransformBuffer(int(config.transform_cache * SECOND))
        slops = {DEPTH: int(config.sync_slop * SECOND), **({DETECTIONS: 0} if with_detections else {})}
        self._sync = Synchronizer(RGB, slops, config.sync_queue)
        self._infos = {RGB_INFO: Stream(config.sync_queue)}
        if not config.depth_registered:
            self._infos[DEPTH_INFO] = Stream(config.sync_queue)
        self._in_step = dict.fromkeys(self._infos, False)
        self._matched: deque[Match] = deque(maxlen=config.sync_queue)
        self._held: tuple[Match, int] | None = None
        self.arrivals: dict[str, int] = {}
        self.camera_frame = ""  # of the newest colour image
        self.without_info = 0

    @property
    def streams(self) -> dict[str, Stream]:
        """Every stream that a frame needs, by role."""
        return {**self._sync.streams, **self._infos}

    @property
    def unmatched(self) -> int:
        """Colour images that found no partner."""
        return self._sync.unmatched

    # -------------------------------------------------------------------------------------------- messages in

    def add(self, role: str, message: Any, now_ns: int) -> None:
        """Take in a message of one of the roles named in this module.

        Args:
            role: what the message is.
            message: rclpy's or rosbags'.
            now_ns: time of arrival.
        """
        if role in (TRANSFORMS, STATIC_TRANSFORMS):
            self.transforms.add_message(message, static=role == STATIC_TRANSFORMS)
            return
        self.arrivals[role] = now_ns
        stamp_ns = stamp_of(message)
        self._note_step(role, stamp_ns)
        if role == RGB:
            self.camera_frame = _frame_id(message)
        if role in self._infos:
            self._infos[role].add(stamp_ns, message)
            return
        restarts = self._sync.streams[role].restarts
        self._matched.extend(self._sync.add(role, stamp_ns, message))
        if self._sync.streams[role].restarts > restarts:
            self._matched.clear()
            self._held = None

    def continue_from(self, other: Intake) -> None:
        """Go on with what another one heard and may be sent only once: transforms and camera info."""
        self.transforms, self.camera_frame = other.transforms, other.camera_frame
        self.transforms.cache_ns = int(self.config.transform_cache * SECOND)
        for role in self._infos.keys() & other._infos.keys():
            self._in_step[role] = other._in_step[role]
            for stamp_ns, message in other._infos[role]:
                self._infos[role].add(stamp_ns, message)

    def reset(self) -> None:
        """Forget all messages and moving transforms: time has jumped back."""
        self._sync.clear()
        for stream in self._infos.values():
            stream.clear()
        self.transforms.clear()
        self._matched.clear()
        self._held = None
        self.arrivals.clear()

    # -------------------------------------------------------------------------------------------- frames out

    def take(self, after_ns: int, now_ns: int) -> Observation | None:
        """The first complete frame stamped at or after a time, with its transforms.

        Once a frame is complete it is held until its transforms have come, even where newer frames follow.

        Args:
            after_ns: older frames are passed over.
            now_ns: the time.

        Returns:
            The frame; None while none is complete or its transforms may still come.

        Raises:
            TransformUnavailableError: the transforms of the complete frame are not there and will not come.
            InputError: they cannot be looked up: the image names no frame, or a transform is none. Either way the frame
                is spent: the next call goes on to the next one.
        """
        if self._held is not None and self._held[0].stamp_ns < after_ns:
            self._held = None
        if self._held is None:
            match = self._first_complete(after_ns)
            if match is None:
                return None
            self._held = (match, now_ns)
        match, since_ns = self._held
        try:
            observation = self._observe(match)
        except TransformUnavailableError as error:
            if error.may_come and now_ns - since_ns < self.config.transform_timeout * SECOND:
                return None
            self._held = None
            raise
        except SpatialVlmError:
            self._held = None
            raise
        self._held = None
        return observation

    @property
    def waits_for_transform(self) -> bool:
        """Whether a complete frame is there and only its transforms are missing."""
        return self._held is not None

    def forget_older(self) -> None:
        """Keep only the newest complete frames: nobody has asked for the others."""
        while len(self._matched) > _KEPT:
            self._matched.popleft()

    def _first_complete(self, after_ns: int) -> Match | None:
        while self._matched:
            match = self._matched[0]
            if match.stamp_ns >= after_ns:
                known = [self._info(role, match) for role in self._infos]
                if all(info is not None for info in known):
                    self._matched.popleft()
                    return match
                if not all(info is not None or self._info_lost(role, match) for role, info in zip(
                    self._infos, known, strict=True)):  # fmt: skip
                    return None
                self.without_info += 1
            self._matched.popleft()
        return None

    def _info(self, role: str, match: Match) -> Any | None:
        """Camera info that holds for a frame, or None while it is not there.

        Most drivers publish it with each image: then only that of the very stamp holds, for zoom and binning change it.
        One that comes seldom (latched) holds until the next.
        """
        stream, stamp_ns = self._infos[role], self._image_stamp(role, match)
        exact = stream.at(stamp_ns)
        if exact is not None:
            return exact
        before = stream.before(stamp_ns)
        if not self._in_step[role]:
            return before if before is not None else next((message for _, message in stream), None)
        after = next((message for stamp, message in stream if stamp > stamp_ns), None)
        return before if before is not None and after is not None and _same_camera(before, after) else None

    def _note_step(self, role: str, stamp_ns: int) -> None:
        """Learn from the stamps whether camera info comes with each image, before a frame needs to know."""
        for info, image in ((RGB_INFO, RGB), (DEPTH_INFO, DEPTH)):
            if role in (info, image) and info in self._infos:
                other = self._sync.streams[image] if role == info else self._infos[info]
                self._in_step[info] |= other.newest_ns == stamp_ns

    def _info_lost(self, role: str, match: Match) -> bool:
        """Whether the camera info of a frame was passed by newer ones and will not come."""
        newest = self._infos[role].newest_ns
        return newest is not None and newest > self._image_stamp(role, match)

    @staticmethod
    def _image_stamp(role: str, match: Match) -> int:
        return match.stamps[RGB if role == RGB_INFO else DEPTH]

    def _observe(self, match: Match) -> Observation:
        config, camera_frame = self.config, match.messages[RGB].header.frame_id
        infos = {role: self._info(role, match) for role in self._infos}
        base = self._base(camera_frame, match.stamp_ns) if config.base_frame else None
        depth_pose = self._depth_pose(match, camera_frame)
        return Observation(match.stamp_ns, match, infos[RGB_INFO], infos.get(DEPTH_INFO), base, depth_pose, config)

    def _base(self, camera_frame: str, stamp_ns: int) -> Transform:
        try:
            return self.transforms.lookup(self.config.base_frame, camera_frame, stamp_ns)
        except TransformUnavailableError as error:
            repair = f"{error.repair}; base_frame: '' gives poses in the camera's own frame"
            raise TransformUnavailableError(
                error.parent, error.child, error.reason, repair, may_come=error.may_come
            ) from error

    def _depth_pose(self, match: Match, rgb_frame: str) -> Transform | None:
        """Pose of the depth camera, at depth's stamp, in the colour camera, at colour's; None = the very same."""
        config, depth_frame = self.config, match.messages[DEPTH].header.frame_id
        if config.depth_registered:
            depth_frame = rgb_frame
        rgb_ns, depth_ns = match.stamps[RGB], match.stamps[DEPTH]
        if config.fixed_frame and rgb_ns != depth_ns:
            pose = self.transforms.lookup_via(rgb_frame, rgb_ns, depth_frame, depth_ns, config.fixed_frame)
            return None if config.depth_registered and _stood_still(pose) else pose
        if config.depth_registered:
            return None
        return self.transforms.lookup(rgb_frame, depth_frame, rgb_ns)

    # -------------------------------------------------------------------------------------------- why none came

    def why_none(self, after_ns: int, topics: dict[str, str] | None = None) -> SpatialVlmError:
        """Why no frame was complete: what an instruction that waited too long is refused with.

        Args:
            after_ns: since when a frame was awaited.
            topics: role → name of its topic, for the message.

        Returns:
            StaleInputError, NotSynchronisedError, InputError (no camera info) or TransformUnavailableError.
        """
        name = {role: (topics or {}).get(role, role) for role in (*self._sync.streams, *self._infos)}
        silent = [role for role in self._sync.streams if self._arrived(role) < after_ns]
        if silent:
            return StaleInputError(
                f"no message on {', '.join(name[role] for role in silent)} since the request",
                "check that the driver runs and the topic is remapped to it; `spatial-vlm doctor` names QoS mismatches",
            )
        behind = {
            r: after_ns - (s.newest_ns or 0) for r, s in self._sync.streams.items() if (s.newest_ns or 0) < after_ns
        }
        if behind:
            role, lag_ns = max(behind.items(), key=lambda item: item[1])
            if not self._sync.streams[role].newest_ns:
                return StaleInputError(
                    f"the messages on {name[role]} are not stamped", "the driver must set header.stamp"
                )
            return StaleInputError(
                f"the newest message on {name[role]} is stamped {lag_ns / SECOND:.2f} s before the request",
                "check the clocks (chrony, PTP), use_sim_time, and that the driver stamps its images",
            )
        if self._held is not None:
            return self._missing_transform(self._held[0])
        absent = [role for role, stream in self._infos.items() if not len(stream)]
        if absent:
            return InputError(
                name[absent[0]], "no message", "sensor_msgs/CameraInfo", "run the driver's camera info, or remap it"
            )
        if self._matched:
            role = next((r for r in self._infos if self._info(r, self._matched[-1]) is None), RGB_INFO)
            return StaleInputError(f"{name[role]} has stopped while images still come", "restart the driver")
        return self._unmatched(name, after_ns)

    def _unmatched(self, name: dict[str, str], after_ns: int) -> StreamError:
        gap = self._sync.largest_gap_ns
        apart = "" if gap is None else f", the last {gap / SECOND:.3f} s apart"
        late = self._sync.streams.get(DETECTIONS)
        if late is not None and (late.newest_ns or 0) < after_ns:
            return StaleInputError(f"{name[DETECTIONS]} lies behind the images", "raise sync_queue or frame_timeout")
        if self._sync.missed_by == DETECTIONS:
            return NotSynchronisedError(
                f"{name[DETECTIONS]} never have the stamp of an image{apart}", "copy the picture's header into them"
            )
        return NotSynchronisedError(
            f"stamps of {name[RGB]} and {name[DEPTH]} never fit within {self.config.sync_slop:g} s{apart}",
            "let one driver stamp both, synchronise the clocks, or raise sync_slop",
        )

    def _missing_transform(self, match: Match) -> SpatialVlmError:
        try:
            self._observe(match)
        except SpatialVlmError as error:
            return error
        return StaleInputError("the frame came at the last moment", "raise frame_timeout")

    def _arrived(self, role: str) -> float:
        return self.arrivals.get(role, -math.inf)


def _same_camera(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(getattr(one, field), getattr(other, field)) for field in ("width", "height", "k", "d", "p")
    ) and (one.binning_x, one.binning_y) == (other.binning_x, other.binning_y)


def _stood_still(pose: Transform) -> bool:
    turned = math.acos(min(1.0, max(-1.0, (float(np.trace(pose.rotation)) - 1) / 2)))
    return float(np.linalg.norm(pose.translation)) < _STILL[0] and turned < _STILL[1]
