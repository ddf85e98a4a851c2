# SPDX-License-Identifier: Apache-2.0
"""Requests to the planner and its results: metres, radians, seconds, in the base frame of the arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Transform

Floats = npt.NDArray[np.float64]

WIDEST = 0.08  # metres between the fingers of a Franka hand


@dataclass(frozen=True, eq=False)
class BoxObstacle:
    """A box-shaped obstacle.

    Args:
        pose: (4, 4) base_T_box, metres; the origin is the middle of the box.
        size: (3,) edge lengths, metres.
        padding: distance that the arm keeps from each face, metres.

    Raises:
        TransformError: the pose is not rigid.
        InputError: an edge is not positive, or the padding is negative.
    """

    id: str
    pose: Floats
    size: Floats
    padding: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "pose", Transform("base", f"box {self.id}", self.pose).matrix)
        object.__setattr__(self, "size", _edges(self.id, self.size))
        if not 0 <= self.padding < np.inf:
            raise InputError(f"padding of box {self.id!r}", str(self.padding), "metres, at least 0", "pass 0 for none")


@dataclass(frozen=True, eq=False)
class HeldBox:
    """A held object; a box with the same id is removed from the scene while it is held.

    Args:
        pose: (4, 4) tip_T_box, metres.
        size: (3,) edge lengths, metres.
    """

    id: str
    pose: Floats
    size: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "pose", Transform("tip", f"box {self.id}", self.pose).matrix)
        object.__setattr__(self, "size", _edges(self.id, self.size))


@dataclass(frozen=True, eq=False)
class Segment:
    """One motion, starting and ending at rest.

    Args:
        goal: (4, 4) base_T_tip, metres, at its end.
        straight: whether the tip moves in a straight line; otherwise along any collision-free path.
        touch: ids of boxes that hand and fingers may touch. The rest of the arm may never touch a box.
        held: the held object, or None.
        held_touch: ids of boxes that the held object may touch, such as the support that it is lifted from.
        opening: distance between the fingers, metres; the planner refuses openings that its gripper does not have.
    """

    goal: Floats
    straight: bool = False
    touch: Collection[str] = frozenset()
    held: HeldBox | None = None
    held_touch: Collection[str] = frozenset()
    opening: float = WIDEST

    def __post_init__(self) -> None:
        object.__setattr__(self, "goal", Transform("base", "tip", self.goal).matrix)
        if not 0 <= self.opening < np.inf:
            raise InputError("opening", str(self.opening), "metres, at least 0", "pass 0 for closed fingers")


@dataclass(frozen=True, eq=False)
class MotionRequest:
    """A planning request: start, goals and obstacles.

    Args:
        start: (J,) joint positions, radians.
        segments: the motions, in order.
        stands_on: ids of boxes that the arm's base may overlap, such as its mount.
        seed: the same request and seed give the same trajectory, unless the time limit is reached.
        time_limit: seconds for all segments together.
        velocity_scaling: fraction of every velocity limit that is used, above 0 and at most 1.
        acceleration_scaling: fraction of every acceleration limit that is used, above 0 and at most 1.

    Raises:
        InputError: a value is out of range, an id occurs twice, or a name in `touch` or `stands_on` is not a box.
    """

    start: Floats
    segments: Sequence[Segment]
    boxes: Sequence[BoxObstacle] = ()
    seed: int = 0
    time_limit: float = 5.0
    velocity_scaling: float = 1.0
    acceleration_scaling: float = 1.0
    stands_on: Collection[str] = frozenset()

    def __post_init__(self) -> None:
        start = np.array(self.start, np.float64)
        if start.ndim != 1 or not len(start) or not np.isfinite(start).all():
            raise InputError("start", str(self.start), "finite joint positions", "copy them from the joint states")
        object.__setattr__(self, "start", start)
        if not self.segments:
            raise InputError("segments", "none", "at least one")
        for what in ("velocity_scaling", "acceleration_scaling"):
            if not 0 < (given := getattr(self, what)) <= 1:
                raise InputError(what, str(given), "above 0, at most 1", "pass 1 for the full limits")
        if not 0 < self.time_limit < np.inf:
            raise InputError("time limit", str(self.time_limit), "seconds above 0", "5 s are usual")
        if not 0 <= self.seed < 2**31:
            raise InputError("seed", str(self.seed), "0 to 2147483647")
        twice = [id_ for id_, n in Counter(box.id for box in self.boxes).items() if n > 1]
        if twice:
            raise InputError("boxes", f"{twice[0]!r} twice", "unique ids", "give each box its own name")
        known = {box.id for box in self.boxes}
        touched = [name for segment in self.segments for name in (*segment.touch, *segment.held_touch)]
        for what, names in (("touch", touched), ("stands_on", self.stands_on)):
            for name in names:
                if name not in known:
                    raise InputError(what, repr(name), f"one of {sorted(known)}", "name a box of this request")


@dataclass(frozen=True, eq=False)
class PlannedTrajectory:
    """A timed joint trajectory, at rest at both ends.

    Args:
        times: (N,) seconds from its start.
        positions: (N, J) radians.
        velocities: (N, J) radians a second.
        accelerations: (N, J) radians a second squared.
    """

    names: tuple[str, ...]
    times: Floats
    positions: Floats
    velocities: Floats
    accelerations: Floats


@dataclass(frozen=True, eq=False)
class Motion:
    """A trajectory for each segment."""

    trajectories: tuple[PlannedTrajectory, ...]


def _edges(name: str, size: object) -> Floats:
    edges = np.array(size, np.float64)
    if edges.shape != (3,) or not (np.isfinite(edges).all() and (edges > 0).all()):
        raise InputError(f"size of box {name!r}", str(size), "3 edge lengths above 0, metres")
    return edges
