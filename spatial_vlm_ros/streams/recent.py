# SPDX-License-Identifier: Apache-2.0
"""The last complete frames, to be asked for by their stamp: for detections that come with a request.

A detector has an image longer than the camera takes for the next one; what it found belongs to that very image.
"""

from __future__ import annotations

from typing import Any

from spatial_vlm_ros.errors import InputError, NotSynchronisedError, SpatialVlmError, StaleInputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.decoding import check_same_camera
from spatial_vlm_ros.streams.frame_assembler import (
    RGB,
    SECOND,
    FrameAssembler,
    PendingFrame,
    stamp_of,
)
from spatial_vlm_ros.streams.seen_robot import SeenRobot
from spatial_vlm_ros.streams.synchronizer import MatchedMessages, Stream
from spatial_vlm_ros.streams.transforms import TransformBuffer

_COPY = "copy the header of the image into the detections"


def check_stamped(detections: Any) -> None:
    """Whether detections say which image they belong to.

    Raises:
        InputError: their stamp is zero.
    """
    if stamp_of(detections) <= 0:
        raise InputError("detections", "no stamp", "the stamp of the image in which they were detected", _COPY)


class RecentFrames(FrameAssembler):
    """Keeps the last `sync_queue` complete frames; being asked for one does not use it up.

    Args:
        config: tolerances and frames.
        transforms: the buffer that /tf and /tf_static go to.
        robot: what is taken out of depth; None = nothing.
    """

    def __init__(self, config: StreamConfig, transforms: TransformBuffer, robot: SeenRobot | None = None) -> None:
        super().__init__(config, with_detections=False, transforms=transforms, robot=robot)
        # the oldest frame's camera info may have come before its image
        self._infos = {role: Stream(2 * config.sync_queue) for role in self._infos}

    def take_for(self, detections: Any, now_ns: int, awaits_speaker: bool = False) -> PendingFrame | None:
        """The frame that detections were found in, with them.

        Args:
            detections: a message whose header is that of the image; an empty frame_id stands for any camera's.
            now_ns: the time.
            awaits_speaker: as in `FrameAssembler.take`.

        Returns:
            The frame; None while it, or its transforms, may still come.

        Raises:
            StaleInputError: it is older than the frames that are kept, or a ClockError: stamped ahead of now, or far
                behind its arrival.
            NotSynchronisedError: no complete frame has that stamp, and none will.
            InputError: the detections are of another camera, or its camera info did not come.
            TransformUnavailableError: its transforms are not there and will not come.
        """
        stamp_ns = stamp_of(detections)
        if self._held is None or self._held.match.stamp_ns != stamp_ns:
            self._held = None
            match = next((match for match in self._matched if match.stamp_ns == stamp_ns), None)
            if match is None:
                self._check_may_come(stamp_ns)
                return None
            check_same_camera(detections, match.messages[RGB])
            self._hold(match, now_ns)
        observation = self._observed(self._held, now_ns, awaits_speaker) if self._held is not None else None
        return observation and observation.with_detections(detections)

    def take_kept(self, after_ns: int, now_ns: int) -> PendingFrame | None:
        """The first frame that was surely exposed at or after a time, without detections; it stays kept.

        Args:
            after_ns: frames that may be older are passed over, nanoseconds.
            now_ns: the time.

        Returns:
            The frame; None while it, or its transforms, may still come.

        Raises:
            StaleInputError, InputError, TransformUnavailableError: as `take_for`.
        """
        if self._held is None or self._held.not_before_ns < after_ns:
            self._held = None
            fresh = (m for m in self._matched if self.freshness.not_before_ns(m) >= after_ns)
            match = next(fresh, None)
            if match is not None:
                self._hold(match, now_ns)
        return self._observed(self._held, now_ns, awaits_speaker=False) if self._held is not None else None

    def _hold(self, match: MatchedMessages, now_ns: int) -> None:
        """Hold a frame until its transforms are there, where its camera infos are."""
        self.freshness.check(match)
        held = self._holding(match, now_ns, is_asked=True)
        if any(info is None for info in held.infos.values()):
            self._check_info(held.infos, match)
        else:
            self._held = held

    def why_none_for(self, detections: Any, since_ns: int, topics: dict[str, str]) -> SpatialVlmError:
        """Why the frame of these detections did not come: what a request that waited too long is refused with."""
        stamp_ns, newest_ns = stamp_of(detections), self._sync.streams[RGB].newest_ns
        why = self.why_none(min(since_ns, stamp_ns), topics)
        if newest_ns is None or self.arrivals.get(RGB, 0) < since_ns or newest_ns >= stamp_ns:
            return why
        return StaleInputError(
            f"the detections are stamped {(stamp_ns - newest_ns) / SECOND:.2f} s after the newest message on "
            f"{topics.get(RGB, RGB)}",
            f"{_COPY}; check the clocks, and that both come from the same camera",
        )

    def _check_may_come(self, stamp_ns: int) -> None:
        """Raise where a frame of that stamp is not among those kept and will not be any more."""
        images = self._sync.streams[RGB]
        if images.newest_ns is None or stamp_ns > images.newest_ns or images.at(stamp_ns) is not None:
            return
        oldest_ns = self._matched[0].stamp_ns if self._matched else None
        if oldest_ns is None or stamp_ns < oldest_ns:
            raise StaleInputError(
                f"the detections are {(images.newest_ns - stamp_ns) / SECOND:.2f} s older than the newest image, "
                "and their image is no longer kept",
                "send newer detections, or raise sync_queue (number of images kept) if the detector is slow",
            )
        raise NotSynchronisedError("no complete frame has the stamp of the detections", _COPY)

    def _check_info(self, infos: dict[str, Any], match: MatchedMessages) -> None:
        for role, info in infos.items():
            if info is None and self._info_lost(role, match):
                raise InputError(
                    role,
                    "there is none with the stamp of the image",
                    "sensor_msgs/CameraInfo",
                    "publish the camera info of the driver",
                )
