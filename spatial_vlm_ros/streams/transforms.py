# SPDX-License-Identifier: Apache-2.0
"""Store the transforms of /tf and /tf_static for a while, and look them up by the rules of tf2.

Knows frames, stamps and interpolation, but not topics or waiting. Source of all rules: tf2's buffer_core.cpp and
cache.cpp (ROS 2 geometry2).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ClockError, InputError, TransformUnavailableError
from spatial_vlm_ros.streams.synchronizer import TransformClocks
from spatial_vlm_ros.types import Quaternion, Transform, Vector3

SECOND = 1_000_000_000  # nanoseconds
CACHE_NS = 10 * SECOND  # tf2's default
NORM_TOLERANCE = 1e-2  # of a squared quaternion norm; the tolerance of tf2
_NORMAL = 2e-15  # of a squared norm: rounding left after dividing by the norm, which is not divided again
_MOST_REASONS = 100  # distinct reasons counted; a broken publisher must not fill the memory
_LONGEST_REASON = 200  # characters
_MOST_NAMED = 8  # frames named in a message
Pose = tuple[Vector3, Quaternion]
IDENTITY: Pose = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
_SAME = 1e-9  # radians between two quaternions: if nearer, a straight line is as good as the arc


class TransformSample(NamedTuple):
    """Pose of `child` in `parent` in a buffer: metres, unit quaternion; the stamp of a static one is 0."""

    parent: str
    child: str
    stamp_ns: int
    translation: Vector3
    quaternion_xyzw: Quaternion
    static: bool


class _Sample(NamedTuple):
    """Pose of a child in `parent`: translation (m) and unit quaternion x, y, z, w."""

    parent: str
    translation: Vector3
    rotation: Quaternion


@dataclass
class _Edge:
    """Known poses of a child in its parents: samples by rising stamp (ns), or a single one for all times."""

    static: bool
    stamps: list[int] = field(default_factory=list)
    samples: list[_Sample] = field(default_factory=list)


class _Gap(NamedTuple):
    """Reason why an edge has no pose at a stamp."""

    child: str
    reason: str
    repair: str
    may_come: bool


class TransformBuffer:
    """Poses of frames over time; safe to use from several threads.

    A leading "/" of a frame id is dropped. A child has one parent at a time; between samples with different parents the
    older one applies. If a child is published both as static and as moving, the last message counts.

    Args:
        cache_ns: samples older than the newest one of their child by more than this are dropped, nanoseconds.
    """

    def __init__(self, cache_ns: int = CACHE_NS) -> None:
        if cache_ns <= 0:
            raise InputError("transform cache", f"{cache_ns} ns", "more than 0", "use 10 s, for example")
        self.cache_ns = cache_ns
        self._edges: dict[str, _Edge] = {}
        self._parents: set[str] = set()
        self._rejected: Counter[str] = Counter()
        self._lock = Lock()
        self.clocks = TransformClocks()

    # --------------------------------------------------------------------------------------------------- filling

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Sequence[float],
        quaternion_xyzw: Sequence[float],
        static: bool = False,
        arrival_ns: int | None = None,
    ) -> None:
        """Add one sample, as in TransformSample; it replaces a sample of the same child and stamp.

        With its arrival (ns), samples from the future by more than the cache give way to it; tf2 waits until they come.
        """
        parent, child = _frame(parent), _frame(child)
        if parent == child:
            raise _refused(parent, child, "parent and child are the same frame", "two frames")
        tx, ty, tz = map(float, translation)
        x, y, z, w = map(float, quaternion_xyzw)
        squared = x * x + y * y + z * z + w * w
        if not math.isfinite(tx + ty + tz + squared):
            raise _refused(parent, child, "it has a number that is not finite", "finite numbers")
        if not abs(squared - 1.0) < NORM_TOLERANCE:
            expected = "a quaternion of norm 1; the identity is 0, 0, 0, 1"
            raise _refused(parent, child, "its quaternion does not have norm 1", expected)
        norm = 1.0 if abs(squared - 1.0) < _NORMAL else math.sqrt(squared)
        sample = _Sample(parent, (tx, ty, tz), (x / norm, y / norm, z / norm, w / norm))

        with self._lock:
            edge = self._edges.get(child)
            if edge is None or edge.static or static:
                edge = self._edges[child] = _Edge(static)
            self._parents.add(parent)
            stamps, samples = edge.stamps, edge.samples
            if stamps and arrival_ns and stamp_ns < stamps[-1] - self.cache_ns:
                kept = bisect_right(stamps, arrival_ns + self.cache_ns)
                del stamps[kept:], samples[kept:]
            if not stamps or stamp_ns > stamps[-1]:
                stamps.append(stamp_ns)
                samples.append(sample)
                expired = bisect_left(stamps, stamp_ns - self.cache_ns)
                del stamps[:expired], samples[:expired]
                return
            if stamp_ns < stamps[-1] - self.cache_ns:
                expected = "a stamp near the newest one; call clear() after a jump"
                raise _refused(parent, child, "older than the cache", expected)
            at = bisect_left(stamps, stamp_ns)
            if stamps[at] == stamp_ns:
                samples[at] = sample
            else:
                stamps.insert(at, stamp_ns)
                samples.insert(at, sample)

    def add_message(self, message: Any, static: bool = False, arrival_ns: int | None = None) -> None:
        """Add the transforms of a tf2_msgs/TFMessage; unusable ones are skipped and counted in `rejected`."""
        if arrival_ns is not None and not static:
            with self._lock:
                self.clocks.add_message(message, arrival_ns)
        for entry in getattr(message, "transforms", None) or ():
            try:
                stamp, t, q = entry.header.stamp, entry.transform.translation, entry.transform.rotation
                parent, child = entry.header.frame_id, entry.child_frame_id
                stamp_ns = stamp.sec * SECOND + stamp.nanosec
                self.add(parent, child, stamp_ns, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w), static, arrival_ns)
            except InputError as error:
                self._count(f"{error.what}: {error.got}")
            except (AttributeError, TypeError, ValueError, OverflowError) as error:
                self._count(f"not a TransformStamped: {error}")

    def clear(self) -> None:
        """Forget moving transforms, after time has jumped back; static ones stay, because they are sent only once."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}
            self._parents = {edge.samples[0].parent for edge in self._edges.values()}
            self.clocks.clear()

    def _count(self, reason: str) -> None:
        reason = reason[:_LONGEST_REASON]
        with self._lock:
            known = reason in self._rejected or len(self._rejected) < _MOST_REASONS
            self._rejected[reason if known else "others"] += 1

    # --------------------------------------------------------------------------------------------------- asking

    @property
    def rejected(self) -> dict[str, int]:
        """Number of skipped samples of messages, by reason."""
        with self._lock:
            return dict(self._rejected)

    def frames(self) -> dict[str, str]:
        """The newest parent of each child; frames without a parent are not keys."""
        with self._lock:
            return {child: edge.samples[-1].parent for child, edge in self._edges.items()}

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Transform:
        """Look up the transform that maps coordinates in `source` to coordinates in `target`.

        Without a stamp or with 0, at the latest time at which all moving edges between them have a pose.
        """
        target, source = _frame(target), _frame(source)
        with self._lock:
            if target == source:
                return Transform(target, source, np.eye(4))
            self._check_known(target, source)
            at = stamp_ns or self._latest(target, source)
            up = self._climb(target, source, source, at, (target,))
            down = self._climb(target, source, target, at, up.poses)
        common = down.top
        if common not in up.poses:
            raise _unavailable(target, source, up.gap, down.gap)
        return Transform(target, source, matrix(chained(inverse(down.poses[common]), up.poses[common])))

    def lookup_via(
        self, target: str, target_stamp_ns: int | None, source: str, source_stamp_ns: int | None, fixed: str
    ) -> Transform:
        """Look up the pose of `source` at one time in `target` at another, assuming that `fixed` did not move.

        Both may be the same frame; the result is then the motion of that frame. Frames and times are as in `lookup`.
        """
        then = self.lookup(fixed, source, source_stamp_ns)
        if _frame(target) == _frame(source):  # a frame against its earlier self needs a second name
            then = Transform(then.parent, f"{source} at {source_stamp_ns} ns", then.matrix)
        return self.lookup(target, fixed, target_stamp_ns) @ then

    def latest_stamp(self, target: str, source: str) -> int | None:
        """Latest time (ns) at which all moving edges between two frames have a pose; None if all edges are static."""
        target, source = _frame(target), _frame(source)
        with self._lock:
            if target == source:
                return None
            self._check_known(target, source)
            return self._latest(target, source)

    def check_clocks(self, target: str, source: str, max_ahead: float) -> None:
        """Raise if stamps of a moving edge between two frames run ahead of now by more than `max_ahead` seconds."""
        target, source = _frame(target), _frame(source)
        with self._lock:
            up, down = self._newest(target, source, source), self._newest(target, source, target)
            common = next((frame for frame in down if frame in up), None)
            if target == source or common is None:
                return
            for child in (child for chain in (up, down) for child in _before(chain, common) if chain[child]):
                ahead = self.clocks.ahead(child)
                if ahead is not None and ahead > max_ahead:
                    edge = f"/tf {self._edges[child].samples[-1].parent} <- {child}"
                    raise ClockError(edge, ahead, "transform_max_ahead", max_ahead)

    def excerpt(self, frames: Iterable[str], stamps: Iterable[int]) -> tuple[TransformSample, ...]:
        """The samples that lookups between some frames at some times (0 = the newest) depend on.

        A buffer of only these samples gives the same poses.
        """
        found: dict[tuple[str, int], TransformSample] = {}
        times = tuple(stamps)
        with self._lock:
            waiting, seen = [_frame(name) for name in frames if name.removeprefix("/")], set[str]()
            while waiting:
                child = waiting.pop()
                edge = self._edges.get(child)
                if child in seen or edge is None:
                    continue
                seen.add(child)
                last, used = len(edge.samples) - 1, set[int]()  # indices of samples that poses at these times depend on
                for at in times:
                    i = bisect_right(edge.stamps, at)
                    used |= {last} if edge.static or not at else {max(i - 1, 0), min(i, last)}
                for i in sorted(used):
                    stamp_ns, sample = 0 if edge.static else edge.stamps[i], edge.samples[i]
                    found[child, stamp_ns] = TransformSample(sample.parent, child, stamp_ns, *sample[1:], edge.static)
                    waiting.append(sample.parent)
        return tuple(found.values())

    # --------------------------------------------------------------------------------------------------- climbing

    def _climb(self, target: str, source: str, start: str, at: int | None, stop: Any) -> _Chain:
        """Poses of `start` in the frames above it, up to one in `stop`, the root, or an edge without a pose at `at`."""
        pose, frame = IDENTITY, start
        poses = {frame: pose}
        while frame not in stop and (edge := self._edges.get(frame)) is not None:
            found = _sample(frame, edge, at)
            if isinstance(found, _Gap):
                return _Chain(poses, frame, found)
            pose, frame = chained((found.translation, found.rotation), pose), found.parent
            if frame in poses:
                raise _loop(target, source, poses)
            poses[frame] = pose
        return _Chain(poses, frame, None)

    def _latest(self, target: str, source: str) -> int | None:
        """tf2's latest common time: the least of the newest stamps on the path; None if all are static (or 0)."""
        up = self._newest(target, source, source)
        down = self._newest(target, source, target)
        common = next((frame for frame in down if frame in up), None)
        if common is None:
            raise _unavailable(target, source)
        stamps = [chain[frame] for chain in (up, down) for frame in _before(chain, common)]
        return min((stamp for stamp in stamps if stamp), default=None)

    def _newest(self, target: str, source: str, start: str) -> dict[str, int]:
        """Frames from `start` to its root, with the newest stamp of the edge above each; 0 for static ones."""
        chain: dict[str, int] = {}
        frame = start
        while (edge := self._edges.get(frame)) is not None:
            if frame in chain:
                raise _loop(target, source, chain)
            chain[frame] = 0 if edge.static else edge.stamps[-1]
            frame = edge.samples[-1].parent
        chain[frame] = 0
        return chain

    def _check_known(self, target: str, source: str) -> None:
        for frame in (target, source):
            if frame not in self._edges and frame not in self._parents:
                known = sorted({*self._edges, *self._parents})
                more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
                listed = f"{', '.join(known[:_MOST_NAMED]) or 'none yet'}{more}"
                reason = f"frame {frame!r} was never published (known: {listed})"
                repair = "correct the frame id, or start its publisher (robot_state_publisher, the camera driver)"
                raise TransformUnavailableError(target, source, reason, repair, may_come=True)


class _Chain(NamedTuple):
    """Poses of a frame in those above it, the topmost one reached, and the gap that ended the path, if any."""

    poses: dict[str, Pose]
    top: str
    gap: _Gap | None


def _before(chain: dict[str, int], last: str) -> list[str]:
    frames = list(chain)
    return frames[: frames.index(last)]


# ------------------------------------------------------------------------------------------------ refusing


def _unavailable(target: str, source: str, *gaps: _Gap | None) -> TransformUnavailableError:
    """The error if two frames cannot be connected, given the edges without a pose on the path.

    Of two gaps, the one that may still be filled counts: the other one may lie above the frame where the paths meet.
    """
    gap = max((gap for gap in gaps if gap), key=lambda gap: gap.may_come, default=None)
    if gap is not None:
        reason, when = f"{gap.child}: {gap.reason}", {"may_come": gap.may_come, "is_past": not gap.may_come}
        return TransformUnavailableError(target, source, reason, gap.repair, **when)
    reason = "both exist, but in trees that are not connected"
    repair = "publish the mounting of the camera (static_transform_publisher, or the URDF)"
    return TransformUnavailableError(target, source, reason, repair, may_come=True)


def _loop(target: str, source: str, chain: dict[str, Any]) -> TransformUnavailableError:
    around = " <- ".join(list(chain)[:_MOST_NAMED])
    repair = "find the publishers that give a frame different parents"
    return TransformUnavailableError(target, source, f"the TF tree has a loop: {around}", repair)


# ------------------------------------------------------------------------------------------------ samples


def _frame(name: str) -> str:
    """A frame id as in tf2: without a leading slash, never empty."""
    if not isinstance(name, str) or not name.removeprefix("/"):
        raise InputError("frame id", repr(name), "a name", "set frame_id of the header and child_frame_id")
    return name.removeprefix("/")


def _refused(parent: str, child: str, got: str, expected: str) -> InputError:
    return InputError(f"transform {parent} <- {child}", got, expected, "check its publisher")


def _sample(child: str, edge: _Edge, at: int | None) -> _Sample | _Gap:
    """Pose at a time (ns), None = the newest; or the gap if there is none."""
    stamps, samples = edge.stamps, edge.samples
    if edge.static or not at or at == stamps[-1]:
        return samples[-1]
    if at > stamps[-1]:
        late = (at - stamps[-1]) / 1e6
        repair = "wait for it, or check that its publisher is running and that the clocks are synchronised"
        return _Gap(child, f"the newest sample is {late:.1f} ms before the requested stamp", repair, True)
    if at < stamps[0]:
        early = (stamps[0] - at) / 1e6
        repair = "keep transforms longer, or use newer images"
        return _Gap(child, f"the oldest sample is {early:.1f} ms after the requested stamp", repair, False)
    i = bisect_right(stamps, at)  # stamps[i - 1] <= at < stamps[i]
    before, after = samples[i - 1], samples[i]
    if before.parent != after.parent:
        return before
    share = (at - stamps[i - 1]) / (stamps[i] - stamps[i - 1])
    translation = lerp(before.translation, after.translation, share)
    return _Sample(before.parent, translation, slerp(before.rotation, after.rotation, share))


# ------------------------------------------------------------------------------------------------ poses

# A pose as plain floats is three to ten times as fast as arrays in a lookup that chains a dozen of them. It is a
# translation (m) and a unit quaternion x, y, z, w: p_T_a maps coordinates in a to coordinates in p.


def lerp(a: Vector3, b: Vector3, share: float) -> Vector3:
    """The point between a (share 0) and b (share 1)."""
    rest = 1.0 - share
    return rest * a[0] + share * b[0], rest * a[1] + share * b[1], rest * a[2] + share * b[2]


def slerp(a: Quaternion, b: Quaternion, share: float) -> Quaternion:
    """Unit quaternion on the shorter arc from a (share 0) to b (share 1).

    Source: Shoemake 1985; the angle from chord lengths (Kahan), which is exact for small ones too.
    """
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    if ax * bx + ay * by + az * bz + aw * bw < 0:
        bx, by, bz, bw = -bx, -by, -bz, -bw
    chord = math.hypot(ax - bx, ay - by, az - bz, aw - bw)
    angle = 2 * math.atan2(chord, math.hypot(ax + bx, ay + by, az + bz, aw + bw))
    if angle < _SAME:
        p, q = 1 - share, share
    else:
        p, q = math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)
    return unit(p * ax + q * bx, p * ay + q * by, p * az + q * bz, p * aw + q * bw)


def unit(x: float, y: float, z: float, w: float) -> Quaternion:
    """Normalise a quaternion to norm 1."""
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return x / norm, y / norm, z / norm, w / norm


def chained(a: Pose, b: Pose) -> Pose:
    """Chain the poses p_T_a and a_T_b to p_T_b."""
    (tx, ty, tz), (ax, ay, az, aw) = a
    translation, (bx, by, bz, bw) = b
    x, y, z = _turned(a[1], translation)
    rotation = (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )
    return (tx + x, ty + y, tz + z), rotation


def _turned(q: Quaternion, v: Vector3) -> Vector3:
    """Rotate a vector (m) by a unit quaternion: v + 2 u × (u × v + w v)."""
    ux, uy, uz, w = q
    vx, vy, vz = v
    cx, cy, cz = uy * vz - uz * vy + w * vx, uz * vx - ux * vz + w * vy, ux * vy - uy * vx + w * vz
    return (vx + 2 * (uy * cz - uz * cy), vy + 2 * (uz * cx - ux * cz), vz + 2 * (ux * cy - uy * cx))


def inverse(pose: Pose) -> Pose:
    """Invert the pose p_T_a to a_T_p."""
    translation, (x, y, z, w) = pose
    back = (-x, -y, -z, w)
    tx, ty, tz = _turned(back, translation)
    return (-tx, -ty, -tz), back


def matrix(pose: Pose) -> npt.NDArray[np.float64]:
    """(4, 4) float64 matrix of a pose; its rotation is exact to rounding."""
    (tx, ty, tz), rotation = pose
    x, y, z, w = unit(*rotation)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), tx],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), ty],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), tz],
        [0.0, 0.0, 0.0, 1.0],
    ]
    return np.array(rows)
