# SPDX-License-Identifier: Apache-2.0
"""Keep the last complete frames, to find one by its stamp for detections that come with a request.

A detector takes longer for an image than the camera does for the next one; its detections belong to that older image.
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
    SeenRobot,
    stamp_of,
)
from spatial_vlm_ros.streams.synchronizer import MatchedMessages, Stream
from spatial_vlm_ros.streams.transforms import TransformBuffer

_COPY = "copy the header of the image into the detections"


def check_stamped(detections: Any) -> None:
    """Raise if detections do not say which image they belong to."""
    if stamp_of(detections) <= 0:
        raise InputError("detections", "no stamp", "the stamp of the image in which they were detected", _COPY)


class RecentFrames(FrameAssembler):
    """Keep the last `sync_queue` complete frames; taking one does not remove it."""

    def __init__(self, config: StreamConfig, transforms: TransformBuffer, robot: SeenRobot | None = None) -> None:
        super().__init__(config, with_detections=False, transforms=transforms, robot=robot)
        # the oldest frame's camera info may have come before its image
        self._infos = {role: Stream(2 * config.sync_queue) for role in self._infos}

    def take_for(self, detections: Any, now_ns: int, awaits_speaker: bool = False) -> PendingFrame | None:
        """Take the frame that detections were found in, with these; None while it, or its transforms, may come."""
        stamp_ns = stamp_of(detections)
        if self._held is None or self._held.match.stamp_ns != stamp_ns:
            self._held = None
            match = next((match for match in self._matched if match.stamp_ns == stamp_ns), None)
            images, newest_ns = self._sync.streams[RGB], self._sync.streams[RGB].newest_ns
            if match is None and newest_ns is not None and stamp_ns <= newest_ns and images.at(stamp_ns) is None:
                if self._matched and stamp_ns >= self._matched[0].stamp_ns:
                    raise NotSynchronisedError("no complete frame has the stamp of the detections", _COPY)
                older = f"the detections are {(newest_ns - stamp_ns) / SECOND:.2f} s older than the newest image"
                repair = "send newer detections, or raise sync_queue (number of images kept) if the detector is slow"
                raise StaleInputError(f"{older}, and their image is no longer kept", repair)
            if match is None:
                return None
            check_same_camera(detections, match.messages[RGB])
            self._hold(match, now_ns)
        observation = self._observed(self._held, now_ns, awaits_speaker) if self._held is not None else None
        return observation and observation.with_detections(detections)

    def take_kept(self, after_ns: int, now_ns: int) -> PendingFrame | None:
        """Take the first frame surely exposed at or after a time, without detections; None while it may come."""
        if self._held is None or self._held.not_before_ns < after_ns:
            self._held = None
            fresh = (m for m in self._matched if self.freshness.not_before_ns(m) >= after_ns)
            match = next(fresh, None)
            if match is not None:
                self._hold(match, now_ns)
        return self._observed(self._held, now_ns, awaits_speaker=False) if self._held is not None else None

    def _hold(self, match: MatchedMessages, now_ns: int) -> None:
        """Hold a frame until its transforms are available, if its camera infos are."""
        self.freshness.check(match)
        held = self._holding(match, now_ns, is_asked=True)
        absent = [role for role, info in held.infos.items() if info is None]
        for role in absent:
            if self._info_lost(role, match):
                got, repair = "there is none with the stamp of the image", "publish the camera info of the driver"
                raise InputError(role, got, "sensor_msgs/CameraInfo", repair)
        if not absent:
            self._held = held

    def why_none_for(self, detections: Any, since_ns: int, topics: dict[str, str]) -> SpatialVlmError:
        """Reason why the frame of these detections did not come: the error for a request that waited too long."""
        stamp_ns, newest_ns = stamp_of(detections), self._sync.streams[RGB].newest_ns
        why = self.why_none(min(since_ns, stamp_ns), topics)
        if newest_ns is None or self.arrivals.get(RGB, 0) < since_ns or newest_ns >= stamp_ns:
            return why
        return StaleInputError(
            f"the detections are stamped {(stamp_ns - newest_ns) / SECOND:.2f} s after the newest message on "
            f"{topics.get(RGB, RGB)}",
            f"{_COPY}; check the clocks, and that both come from the same camera",
        )
