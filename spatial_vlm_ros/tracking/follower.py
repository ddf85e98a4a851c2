# SPDX-License-Identifier: Apache-2.0
"""Follows objects from frames at camera rate, with detections that come later than their images.

A detection goes back to the moment of its image, and what has come since is followed anew from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spatial_vlm_ros.geometry.camera import rectify
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.tracking.carrying import Array, PosedView
from spatial_vlm_ros.tracking.tracker import SECOND, Moment, Track, Tracker, TrackState
from spatial_vlm_ros.types import Detection, RgbdFrame

_SPACED = 0.1  # s between kept images older than _RECENT, at most: an image takes 2.5 MB
_RECENT = 0.5  # s
_ANEW = 3  # images between a detection's and the last one that are followed again, at most
_GATE = 16.0  # squared standard deviations within which an answer's place is an object's
_CLEAR = 9.0  # by how much the next object must be farther


Placement = tuple[Array, Array, Array]
"""Position (3,) in metres, rotation (3, 3) and covariance (6, 6) of both, m² and rad², world."""


@dataclass(frozen=True, eq=False)
class FollowedTarget:
    """An object of an answer, and the track that it is.

    Args:
        track: id.
        position: (3,) of the answer's pose from the track's position, metres, world, at the answer's image.
        rotation: (3, 3) of the answer's pose then.
        covariance: (6, 6) of the answer's pose, m² and rad², world.
        turned: (3, 3) of the track then.
    """

    track: str
    position: Array
    rotation: Array
    covariance: Array
    turned: Array

    def pose(self, track: Track) -> Placement:
        """The answer's pose where the track is now."""
        turn, covariance = track.turned @ self.turned.T, self.covariance.copy()
        covariance[:3, :3] += track.covariance[:3, :3]
        return track.position + turn @ self.position, turn @ self.rotation, covariance


@dataclass(frozen=True, eq=False)
class _KeptMoment:
    frame: RgbdFrame
    moment: Moment
    tracks: tuple[Track, ...]


class SceneFollower:
    """Tracks of all objects in front of a camera.

    Args:
        kept: seconds for which images are kept, for detections of them.

    Attributes:
        tracks: all objects as they are known at the last image.
        taken_ns: stamp of the last detections taken, nanoseconds; 0 before the first.
    """

    def __init__(self, depth: DepthConfig, lift: LiftConfig, kept: float) -> None:
        self._depth, self._lift, self._kept_ns = depth, lift, int(kept * SECOND)
        self._tracker = Tracker(depth)
        self._kept: deque[_KeptMoment] = deque()
        self.taken_ns = 0
        self._aimed: FollowedTarget | None = None
        self.tracks: tuple[Track, ...] = ()

    def see(self, frame: RgbdFrame) -> None:
        """Follow all objects to a new frame; one that is not newer than the last forgets all that came before."""
        if self._kept and frame.stamp_ns <= self._kept[-1].frame.stamp_ns:
            self._tracker.moment, self._kept, self.taken_ns = Moment((), None), deque(), 0  # ids are not used again
        self._follow(frame)
        now_ns = frame.stamp_ns
        while self._kept[0].frame.stamp_ns < now_ns - self._kept_ns:
            self._kept.popleft()
        old = [n for n, one in enumerate(self._kept) if one.frame.stamp_ns < now_ns - _RECENT * SECOND]
        if len(old) > 2:  # the last of the old ones stays only where there is a gap
            before, last = (self._kept[n].frame.stamp_ns for n in old[-3:-1])
            if last - before < _SPACED * SECOND:
                del self._kept[old[-2]]

    @property
    def newest_ns(self) -> int:
        """Stamp of the last frame, nanoseconds; 0 before the first."""
        return self._kept[-1].frame.stamp_ns if self._kept else 0

    def frame(self, stamp_ns: int) -> RgbdFrame | None:
        """The frame of a stamp, if it is kept."""
        return next((one.frame for one in self._kept if one.frame.stamp_ns == stamp_ns), None)

    def found(self, stamp_ns: int, detections: Sequence[Detection]) -> bool:
        """Take the objects detected in the image of a stamp; False if it is not kept, or a later one was taken already.

        Raises:
            InputError: detections do not match the image.
            DepthError: its depth is not usable.
        """
        at = next((n for n, one in enumerate(self._kept) if one.frame.stamp_ns == stamp_ns), None)
        if at is None or stamp_ns <= self.taken_ns:
            return False
        kept, self.taken_ns = self._kept[at], stamp_ns
        checked = check_detections(detections, kept.frame.camera.width, kept.frame.camera.height)
        scene = build_scene(kept.frame, checked, self._depth, self._lift)
        self._tracker.moment = kept.moment
        self._kept[at] = replace(kept, tracks=self._tracker.detected(scene), moment=self._tracker.moment)
        self.tracks = self._kept[at].tracks
        later = [self._kept.pop().frame for _ in range(len(self._kept) - at - 1)][::-1]
        for n in np.unique(np.linspace(0, len(later) - 1, min(_ANEW, len(later))).astype(np.intp)).tolist():
            self._follow(later[n])
        return True

    def _follow(self, frame: RgbdFrame) -> None:
        self.tracks = self._tracker.follow(PosedView.of(rectify(frame)))
        self._kept.append(_KeptMoment(frame, self._tracker.moment, self.tracks))

    def aim(
        self, stamp_ns: int, label: str, position: Array, rotation: Array, covariance: Array
    ) -> FollowedTarget | None:
        """Follow what an answer to the image of a stamp means.

        None if the image is not kept, or the answer is not one of the tracks, or could be two.

        Args:
            label: of its object; "" = not known.
            position: (3,) of the answer's pose, metres, world.
            rotation: (3, 3) of it.
            covariance: (6, 6) of it, m² and rad².
        """
        self._aimed = None
        then = min(self._kept, key=lambda one: abs(one.frame.stamp_ns - stamp_ns), default=None)
        if then is None or abs(then.frame.stamp_ns - stamp_ns) > _SPACED * SECOND:
            return None
        ranked = []
        for track in then.tracks:
            away = position - track.position
            reach = covariance[:3, :3] + track.covariance[:3, :3] + np.diag(track.size / 4) ** 2
            ranked.append(
                (float(away @ np.linalg.solve(reach, away)) + _CLEAR * (label not in ("", track.label)), track)
            )
        ranked.sort(key=lambda pair: pair[0])
        if not ranked or ranked[0][0] > _GATE or (len(ranked) > 1 and ranked[1][0] < ranked[0][0] + _CLEAR):
            return None
        track = ranked[0][1]
        self._aimed = FollowedTarget(track.id, position - track.position, rotation, covariance, track.turned)
        return self._aimed

    def aimed(self) -> tuple[Placement | None, str]:
        """The last answer's pose in the last image, None if it is not seen; why it ends now, "" = it does not."""
        if self._aimed is None:
            return None, ""
        name = self._aimed.track
        track = next((one for one in self.tracks if one.id == name), None)
        if track is not None and track.state in (TrackState.FOLLOWED, TrackState.HIDDEN):
            return self._aimed.pose(track) if track.is_sure else None, ""
        self._aimed = None
        if track is None or track.state is TrackState.LOST:
            return None, f"{name} is lost"
        return None, f"{name} may be {' or '.join(track.candidates)}"
