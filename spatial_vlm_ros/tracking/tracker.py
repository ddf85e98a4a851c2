# SPDX-License-Identifier: Apache-2.0
"""Keeps the identity of objects from one detection to the next, and says when it cannot.

Between detections an object's pose is guessed (it stays; it moves as its points do; its surface is moved until it meets
depth) and judged: the share of its surface, where nothing is in front, that has its depth and colour there. A detection
is given to the object whose surface it shows; without one, to whom its place and look fit. If another assignment fits
nearly as well, or a twin was out of sight at the same time, the objects are in doubt, and stay so.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import object_pixels
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.tracking.carrying import Array, Flags, PosedView, chosen_points, flowed, rigid_motion
from spatial_vlm_ros.types import Scene, SceneObject

SECOND = 1_000_000_000
MOST = 250  # objects that are followed; the longest unseen are forgotten
_SAMPLES = 60  # surface points of an object that are compared
_FEWEST = 8  # of them, without which nothing is judged
_FOLLOWING, _SHARE = 4, 0.35  # points that must follow a motion, and their share
_TOLD = 0.006  # metres beyond noise by which a point may leave its object's motion
_AWAY = 6.0  # pixels between a point and where its object's pose has it
_BAND = 0.010  # metres beyond noise within which depth agrees; what is farther in front is something else
_COLOUR = 45.0  # difference of colours (0 to 441) that counts as another one
_GOOD, _BETTER, _WHOLE = 0.65, 0.08, 0.9  # share that agrees; how much more makes a motion likelier than none; enough
_HIDDEN = 0.6  # share of an object that is covered, off the image or not measured
_STILL, _UNSEEN, _MOST_UNSEEN = 0.001, 0.03, 0.25  # m/√s, m/s, m: how a place gets uncertain while seen, and unseen
_SMOOTH = 0.3  # s over which a velocity is averaged
_GATE, _BLUR = 16.0, 0.015  # squared standard deviations of a place; metres by which masks move a centre
_ODDS, _LOOK, _ALIKE = 4.0, 12.0, 0.45  # log odds that decide; per unit of the distance of looks; a twin's distance
_NEW, _NEVER = 8.0, 1e6  # cost of taking a detection for something new; of what does not fit
_SHOWN, _SOME = 0.5, 0.25  # share of its surface that a mask shows: it is that object; it may be a part of it
_LIKE = 0.1  # the worth of an equal label beside such a share
_BINS = (12, 6)  # of hue and saturation
_SEEN_WHOLE = 0.8  # visible fraction from which an object is measured anew
_LOST_AFTER, _UNFOUND = 5, 6  # images without a sign; detected images without it although it shows
_CONFIRMED, _FORGOTTEN = 2, 60  # detections that make an object; s after which a lost one is forgotten
_STEP, _ROUNDS, _PULL = 0.03, 3, 0.02  # metres, rounds and damping of meeting depth


class TrackState(str, enum.Enum):
    """How an object is known now."""

    FOLLOWED = "FOLLOWED"
    HIDDEN = "HIDDEN"
    DOUBTED = "DOUBTED"
    LOST = "LOST"


@dataclass(frozen=True, eq=False)
class Track:
    """An object over time, in the world frame.

    Args:
        id: stable.
        state: FOLLOWED; HIDDEN: something is in front, or it is off the image, and its place is the last one; DOUBTED:
            it is itself or one of `candidates`; LOST: it is not where it was.
        position: (3,) centre of its volume, metres.
        covariance: (6, 6) of position and box, m² and rad².
        rotation: (3, 3) of its box.
        turned: (3, 3) rotation since it was first seen, by its motion alone.
        size: (3,) of its box, metres.
        seen_ns: stamp of the last image that showed it.
        candidates: ids of the tracks that it could be, too.
        detection: id of the detection that it was in the last detected image; "" = none.
    """

    id: str
    label: str
    state: TrackState
    position: Array
    covariance: Array
    rotation: Array
    turned: Array
    size: Array
    stamp_ns: int
    seen_ns: int
    candidates: tuple[str, ...] = ()
    detection: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether the image of its stamp shows it, and it is itself."""
        return self.state is TrackState.FOLLOWED and self.seen_ns == self.stamp_ns


@dataclass(frozen=True, eq=False)
class _Body:
    """What is known of an object: never changed, only replaced, so that a moment can be kept."""

    id: str
    label: str
    position: Array
    covariance: Array
    size: Array
    seen_ns: int
    look: NDArray[np.float32]
    area: float = 0.0  # m² of its detection
    rotation: Array = field(default_factory=lambda: np.eye(3))  # since it was last measured whole
    turned: Array = field(default_factory=lambda: np.eye(3))  # until then
    box: Array = field(default_factory=lambda: np.eye(3))  # rotation of its box then, and its covariance, rad²
    box_spread: Array = field(default_factory=lambda: np.eye(3))
    anchors: Array = field(default_factory=lambda: np.empty((0, 3)))  # of its points, from the position, unturned
    pixels: Array = field(default_factory=lambda: np.empty((0, 2)))  # of its points now; NaN = not followed
    samples: Array = field(default_factory=lambda: np.empty((0, 3)))  # of its surface, as `anchors`
    colours: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 3), np.float32))
    shown: NDArray[np.intp] = field(default_factory=lambda: np.empty((0, 2), np.intp))  # of the samples that agree
    velocity: Array = field(default_factory=lambda: np.zeros(3))  # m/s
    state: TrackState = TrackState.FOLLOWED
    without: int = 0  # images without a sign
    unfound: int = 0  # detected images without it although it shows
    times: int = 0  # detections
    unseen_ns: int = 0  # since when it is not followed; 0 = it is
    absent: tuple[int, int] = (0, 0)  # when it was last not followed
    candidates: frozenset[str] = frozenset()
    detection: str = ""

    def is_twin(self, other: _Body) -> bool:
        return other.id != self.id and other.label == self.label and _apart(self.look, other.look) < _ALIKE

    @property
    def anchored(self) -> Array:
        return self.anchors @ self.rotation.T + self.position

    def track(self, stamp_ns: int) -> Track:
        covariance = np.zeros((6, 6))
        covariance[:3, :3], covariance[3:, 3:] = self.covariance, self.box_spread
        state = TrackState.DOUBTED if self.candidates and self.state is not TrackState.LOST else self.state
        return Track(
            self.id, self.label, state, self.position, covariance, self.rotation @ self.box,
            self.rotation @ self.turned, self.size, stamp_ns, self.seen_ns, tuple(sorted(self.candidates)),
            self.detection,
        )  # fmt: skip


@dataclass(frozen=True)
class _Judged:
    """What an image says of an object at a pose: shares of its surface, and the pixels that agree."""

    agrees: float  # of what nothing hides
    hidden: float
    rotation: Array
    position: Array
    shown: NDArray[np.intp]


@dataclass(frozen=True)
class Moment:
    """All objects as they were known at an image, to go back to: a detection comes later than its image."""

    bodies: tuple[_Body, ...]
    view: PosedView | None


class Tracker:
    """Follows all objects of a scene; every image of a camera is given to `follow`, and detected ones to `detected`."""

    def __init__(self, config: DepthConfig) -> None:
        self._config = config
        self._numbers = itertools.count(1)
        self.moment = Moment((), None)

    def follow(self, view: PosedView) -> tuple[Track, ...]:
        """Carry all objects to a new image."""
        before, bodies = self.moment.view, list(self.moment.bodies)
        if before is not None and bodies:
            seconds = max(0.0, (view.frame.stamp_ns - before.frame.stamp_ns) / SECOND)
            guesses = np.concatenate([view.projected(body.anchored)[0] for body in bodies])
            moved = flowed(before.gray, view.gray, np.concatenate([body.pixels for body in bodies]), guesses)
            parts = np.split(moved, np.cumsum([len(body.pixels) for body in bodies])[:-1])
            found = [self._observed(replace(b, pixels=p), view, seconds) for b, p in zip(bodies, parts, strict=True)]
            again = [body.id for body, was in zip(found, bodies, strict=True) if was.unseen_ns and not body.unseen_ns]
            bodies = _in_doubt(found, again)
        self.moment = Moment(tuple(bodies), view)
        return self.tracks()

    def tracks(self) -> tuple[Track, ...]:
        """All objects that were detected more than once, as they are known."""
        if self.moment.view is None:
            return ()
        stamp_ns = self.moment.view.frame.stamp_ns
        return tuple(body.track(stamp_ns) for body in self.moment.bodies if body.times >= _CONFIRMED)

    # ---------------------------------------------------------------------------------------- from image to image

    def _observed(self, body: _Body, view: PosedView, seconds: float) -> _Body:
        """A body whose points have been carried to an image, judged there."""
        if body.unfound >= _UNFOUND:  # only a detection brings it back
            return _missed(body, TrackState.LOST, view, seconds)
        best = self._judged(body, view, body.rotation, body.position)
        follows = np.ones(len(body.pixels), np.bool_)
        if body.state is TrackState.FOLLOWED and best.hidden < 1.0:
            moved = self._moved(body, view)
            if moved is not None:
                told = self._judged(body, view, *moved[:2])
                if told.agrees > best.agrees + _BETTER and told.hidden < _HIDDEN:
                    best, follows = told, moved[2]
            if best.agrees < _WHOLE and best.hidden < _HIDDEN:
                met = self._met(body, view, best)
                if met.agrees > best.agrees + _BETTER / 2 and met.hidden < _HIDDEN:
                    best = met
        if best.hidden >= _HIDDEN:
            return _missed(body, TrackState.HIDDEN, view, seconds)
        if best.agrees < _GOOD:
            if body.without + 1 >= _LOST_AFTER:
                return _missed(body, TrackState.LOST, view, seconds)
            return replace(body, without=body.without + 1)
        body = self._placed(body, view, best, seconds)
        away = np.linalg.norm(view.projected(body.anchored)[0] - body.pixels, axis=1)
        return replace(body, pixels=np.where((follows & (away <= _AWAY))[:, None], body.pixels, np.nan))

    def _judged(self, body: _Body, view: PosedView, rotation: Array, position: Array) -> _Judged:
        pixels, want = view.projected(body.samples @ rotation.T + position)
        z, at = view.depth_at(pixels)
        band = _BAND + 3 * depth_noise(want, self._config)
        told = z >= want - band  # what is nearer, or not measured, hides it
        off = view.frame.rgb[at[:, 1], at[:, 0]].astype(np.float32) - body.colours
        agree = told & (z <= want + band) & ((off**2).sum(1) < _COLOUR**2)
        many, open_ = max(1, len(told)), int(told.sum())
        agrees = float(agree.sum()) / open_ if open_ >= min(_FEWEST, many) else 0.0
        return _Judged(agrees, 1.0 - open_ / many, rotation, position, at[agree])

    def _moved(self, body: _Body, view: PosedView) -> tuple[Array, Array, Flags] | None:
        """The motion that its points tell, and which of them follow it."""
        points = view.measured(body.pixels)
        usable = np.isfinite(points).all(1)
        if usable.sum() < _FOLLOWING:
            return None
        sigma = depth_noise(np.linalg.norm(points[usable] - view.world_T_camera.translation, axis=1), self._config)
        turn, place, good = rigid_motion(body.anchors[usable] @ body.rotation.T, points[usable], sigma, _TOLD)
        if good.sum() < max(_FOLLOWING, _SHARE * usable.sum()):
            return None
        follows = np.zeros(len(points), np.bool_)
        follows[usable] = good
        return turn @ body.rotation, place, follows

    def _met(self, body: _Body, view: PosedView, begin: _Judged) -> _Judged:
        """Shift its surface until it meets depth (point to plane, the plane's normal from depth)."""
        place, rotation = begin.position, begin.rotation
        for _ in range(_ROUNDS):
            own = body.samples @ rotation.T + place
            normals, points = view.surface(view.projected(own)[0])
            gap = np.einsum("ij,ij->i", points - own, normals)
            use = np.isfinite(gap) & (np.abs(gap) < _STEP)
            if use.sum() < _FEWEST:
                break
            n, g = normals[use], gap[use]
            shift = np.linalg.solve(n.T @ n + np.eye(3) * _PULL * use.sum(), n.T @ g)
            place = place + np.clip(shift, -_STEP, _STEP)
        return self._judged(body, view, rotation, place)

    def _placed(self, body: _Body, view: PosedView, judged: _Judged, seconds: float) -> _Body:
        """The body at a pose that an image agrees with."""
        now_ns = view.frame.stamp_ns
        sigma = float(depth_noise(math.dist(judged.position, view.world_T_camera.translation), self._config))
        jump = judged.position - body.position
        least = (self._config.correlated_fraction * sigma) ** 2 + sigma**2 / 10
        creep = _STILL**2 * seconds + float(jump @ jump) / 4  # what moves is less certain
        whole = body.covariance + np.eye(3) * creep
        gain = whole @ np.linalg.inv(whole + np.eye(3) * least)
        absent = (body.unseen_ns, now_ns) if body.unseen_ns else body.absent
        share = min(1.0, seconds / _SMOOTH)
        velocity = (1 - share) * body.velocity + share * jump / max(seconds, 1e-3)
        return replace(
            body, covariance=(np.eye(3) - gain) @ whole + np.eye(3) * least / 10, rotation=judged.rotation,
            position=judged.position, shown=judged.shown, velocity=velocity, state=TrackState.FOLLOWED, without=0,
            unseen_ns=0, absent=absent, seen_ns=now_ns,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------- detections

    def detected(self, scene: Scene) -> tuple[Track, ...]:
        """Take the objects that were found in the image that `follow` has just had; InputError for another one."""
        view, bodies = self.moment.view, list(self.moment.bodies)
        if view is None or scene.frame.stamp_ns != view.frame.stamp_ns:
            raise InputError("detections", "those of another image", "those of the image that was followed last")
        found = [_Found.of(obj, view) for obj in scene.objects if len(obj.points) >= _FEWEST]
        votes = np.array([[one.votes(body) for one in found] for body in bodies]).reshape(len(bodies), len(found))
        named = [[one.obj.detection.label == body.label for one in found] for body in bodies]
        worth = votes + _LIKE * np.array(named, np.float64).reshape(votes.shape)
        given: dict[int, int] = {}  # body → detection
        for i, j in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            if votes[i, j] >= _SHOWN:
                given[int(i)] = int(j)
        rest = [i for i in range(len(bodies)) if i not in given]
        # A detection on which an object is followed already shows that object again, in part: it is nobody else's.
        left = [j for j in range(len(found)) if j not in given.values() and not (votes[:, j] >= _SOME).any()]
        doubts, either = _assign(bodies, rest, found, left, given)
        again = [bodies[i].id for i in given if bodies[i].unseen_ns]
        for i, body in enumerate(bodies):
            if i in given:
                bodies[i] = _taken(body, found[given[i]], view)
            else:
                unfound = body.unfound + (body.state is TrackState.FOLLOWED and not (votes[i] >= _SOME).any())
                bodies[i] = replace(body, unfound=unfound, detection="")
        bodies = _in_doubt(bodies, again, doubts)
        for j in (j for j in left if j not in given.values()):
            one = found[j]
            label, size = one.obj.detection.label, one.obj.box.size
            body = _Body(f"t{next(self._numbers)}", label, one.place, one.spread, size, view.frame.stamp_ns, one.look)
            twins = [o.id for o in bodies if body.is_twin(o) and o.unseen_ns and o.times >= _CONFIRMED]  # out of sight
            twins += [name for name, other in either if other == j]
            bodies = _in_doubt([*bodies, _taken(body, one, view)], (), [(body.id, twin) for twin in twins])
        old_ns = view.frame.stamp_ns - _FORGOTTEN * SECOND
        bodies = [body for body in bodies if body.state is not TrackState.LOST or body.seen_ns > old_ns]
        bodies = sorted(bodies, key=lambda body: body.seen_ns)[-MOST:]
        self.moment = Moment(tuple(bodies), view)
        return self.tracks()


@dataclass(frozen=True, eq=False)
class _Found:
    """A detection, measured in the world."""

    obj: SceneObject
    mask: Flags
    look: NDArray[np.float32]  # histogram of hue and saturation, sum 1
    place: Array
    spread: Array  # (3, 3) covariance of the place, m²
    area: float  # m²

    @classmethod
    def of(cls, obj: SceneObject, view: PosedView) -> _Found:
        mask, turn = object_pixels(obj, view.frame), view.world_T_camera.rotation
        spread = turn @ obj.covariance[:3, :3] @ turn.T + np.eye(3) * _BLUR**2
        k = view.camera.K
        area = float(mask.sum()) * float(np.median(obj.points[:, 2])) ** 2 / (k[0, 0] * k[1, 1])
        hsv = cv2.cvtColor(view.frame.rgb[mask][None], cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1], None, list(_BINS), [0, 180, 0, 256])
        look = np.asarray(counts / max(1.0, float(counts.sum())), np.float32)
        return cls(obj, mask, look, view.world_T_camera.apply(obj.box.centre), spread, area)

    def votes(self, body: _Body) -> float:
        """Share of the surface of a body that is followed which the mask shows, less if the mask is of another size."""
        if body.state is not TrackState.FOLLOWED or not len(body.shown):
            return 0.0
        share = float(self.mask[body.shown[:, 1], body.shown[:, 0]].mean())
        return share * min(1.0, np.sqrt(body.area / max(self.area, 1e-6)) + 1 - _SHOWN)


def _missed(body: _Body, state: TrackState, view: PosedView, seconds: float) -> _Body:
    """The body that an image does not show."""
    sigma = float(np.sqrt(np.trace(body.covariance) / 3)) + (_UNSEEN + float(np.linalg.norm(body.velocity))) * seconds
    return replace(
        body, state=state if body.state is not TrackState.LOST else body.state,  # who is lost is not hidden later
        unseen_ns=body.unseen_ns or view.frame.stamp_ns, covariance=np.eye(3) * min(_MOST_UNSEEN, sigma) ** 2,
        pixels=np.full_like(body.pixels, np.nan), shown=body.shown[:0],
    )  # fmt: skip


def _in_doubt(bodies: list[_Body], again: Sequence[str], pairs: Sequence[tuple[str, str]] = ()) -> list[_Body]:
    """The bodies, with given pairs in doubt, and those that show again after a twin was out of sight meanwhile."""
    doubts = {body.id: set(body.candidates) for body in bodies}
    pairs = list(pairs)
    for body in (body for body in bodies if body.id in again):
        for other in bodies:
            away = other.unseen_ns or other.absent[1] > body.absent[0]
            if away and other.times >= _CONFIRMED and body.is_twin(other):
                pairs.append((body.id, other.id))
    for one, twin in pairs:
        doubts[one].add(twin)
        doubts[twin].add(one)
    return [replace(body, candidates=frozenset(doubts[body.id])) for body in bodies] if pairs else bodies


def _assign(
    bodies: Sequence[_Body], rest: Sequence[int], found: Sequence[_Found], left: Sequence[int], given: dict[int, int]
) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Give bodies the detections that fit by place and look; the costs are negative log-likelihoods.

    Returns:
        Who is in doubt because another choice is nearly as good: two bodies, or a body and another detection.
    """
    doubts: list[tuple[str, str]] = []
    either: list[tuple[str, int]] = []
    whole = np.full((len(rest), len(left) + len(rest)), _NEW)
    whole[:, : len(left)] = _NEVER
    for a, i in enumerate(rest):
        for b, j in enumerate(left):
            body, one = bodies[i], found[j]
            apart = _apart(body.look, one.look)
            spread, away = body.covariance + one.spread, one.place - body.position
            far = float(away @ np.linalg.solve(spread, away))
            if one.obj.detection.label == body.label and far < _GATE and apart < _ALIKE:
                whole[a, b] = far / 2 + np.log(np.linalg.det(spread) / _BLUR**6) / 2 + _LOOK * apart
    rows, columns = linear_sum_assignment(whole)
    for a, b in zip(rows.tolist(), columns.tolist(), strict=True):
        if b >= len(left):
            continue
        other = whole.copy()
        other[a, b] = _NEVER
        r, c = linear_sum_assignment(other)
        if other[r, c].sum() - whole[rows, columns].sum() >= _ODDS:
            given[rest[a]] = left[b]
        elif b in c or c[a] < len(left):
            given[rest[a]] = left[b]
            doubts += [(bodies[rest[a]].id, bodies[rest[x]].id) for x in np.flatnonzero(c == b).tolist() if x != a]
            either += [(bodies[rest[a]].id, left[n]) for n in c[a : a + 1].tolist() if n < len(left)]
        # otherwise it may as well be new: its id is, and the twin that is not found is its candidate
    return doubts, either


def _taken(body: _Body, found: _Found, view: PosedView) -> _Body:
    """The body as a detection shows it; one that is hidden in part keeps its measures."""
    obj, now_ns = found.obj, view.frame.stamp_ns
    covariance, position = body.covariance, body.position
    whole = obj.visible_fraction > _SEEN_WHOLE and not obj.truncated
    if body.unseen_ns:  # it is where it was found
        covariance, whole = covariance + np.eye(3), True
        body = replace(body, absent=(body.unseen_ns, now_ns), velocity=np.zeros(3))
    body = replace(body, times=body.times + 1, unfound=0, without=0, unseen_ns=0, seen_ns=now_ns,
                   state=TrackState.FOLLOWED, detection=obj.detection.id)  # fmt: skip
    if not whole and len(body.samples):
        return body
    turn, gain = view.world_T_camera.rotation, covariance @ np.linalg.inv(covariance + found.spread)
    position = position + gain @ (found.place - position)
    surface = obj.points[:: max(1, len(obj.points) // _SAMPLES)].astype(np.float64)
    samples = view.world_T_camera.apply(surface)
    _, at = view.depth_at(view.projected(samples)[0])
    pixels = chosen_points(view.gray, found.mask)
    points = view.measured(pixels)
    good = np.isfinite(points).all(1)
    return replace(
        body, position=position, covariance=(np.eye(3) - gain) @ covariance, size=obj.box.size, area=found.area,
        look=found.look if not len(body.samples) else 0.8 * body.look + 0.2 * found.look,
        turned=body.rotation @ body.turned, rotation=np.eye(3), box=turn @ obj.box.axes,
        box_spread=turn @ obj.covariance[3:, 3:] @ turn.T,
        samples=samples - position, colours=view.frame.rgb[at[:, 1], at[:, 0]].astype(np.float32), shown=at,
        pixels=pixels[good], anchors=points[good] - position,
    )  # fmt: skip


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Hellinger distance of two looks, 0 to 1."""
    return float(np.sqrt(max(0.0, 1.0 - float(np.sqrt(one * other).sum()))))
