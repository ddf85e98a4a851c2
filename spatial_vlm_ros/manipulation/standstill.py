# SPDX-License-Identifier: Apache-2.0
"""Whether an arm stands still, by its joint states. Knows no ROS."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Sequence

MOST_SPEED = 0.02  # rad/s or m/s: a joint that is slower stands
_SPAN = 0.1  # s between two positions that are compared where no velocities are told
_FRESH = 0.5  # s: older joint states say nothing of now


class Stand(enum.Enum):
    """What is known of the arm."""

    STILL = "stands still"
    MOVING = "still moves"
    UNKNOWN = "may still be moving: no joint states arrive"


class Standstill:
    """Judges the newest joint states of some joints. `add` and `stand` may be called from different threads.

    Args:
        names: of the joints.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._lock = threading.Lock()
        self._heard, self._speed = -math.inf, math.inf  # when, and the fastest joint then
        self._before: tuple[float, tuple[float, ...]] | None = None  # stamp and positions
        self._at: tuple[float, ...] = ()

    def add(
        self, now: float, stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]
    ) -> None:
        """One message.

        Args:
            now: when it came, seconds of a monotonic clock.
            stamp: seconds, of the clock that it was stamped by.
            names: of the joints in it; it may be of some of them only, and then says nothing.
            positions: radians or metres.
            velocities: the same a second, or empty.
        """
        where = {name: k for k, name in enumerate(names)}
        if not self._names or not set(self._names) <= set(where) or len(positions) != len(names):
            return
        at = tuple(float(positions[where[name]]) for name in self._names)
        with self._lock:
            self._at = at
            told = [abs(float(velocities[where[name]])) for name in self._names if len(velocities) == len(names)]
            if told and all(math.isfinite(speed) for speed in told):  # a controller may have NaN for what it lacks
                self._speed, self._heard = max(told), now
                return
            if self._before is not None and stamp - self._before[0] >= _SPAN:
                moved = max(abs(a - b) for a, b in zip(at, self._before[1], strict=True))
                self._speed, self._heard = moved / (stamp - self._before[0]), now
                self._before = (stamp, at)
            elif self._before is None or stamp < self._before[0]:
                self._before = (stamp, at)

    @property
    def positions(self) -> dict[str, float]:
        """Where the joints were told to be last, radians or metres; nothing before they were all told."""
        with self._lock:
            return dict(zip(self._names, self._at, strict=True)) if self._at else {}

    @property
    def heard(self) -> float:
        """When the newest message came that says something, seconds of the clock of `add`; -inf before there is one."""
        return self._heard

    def stand(self, now: float, since: float = -math.inf) -> Stand:
        """What is known at a time, of messages that came later than another; seconds of the clock of `add`."""
        with self._lock:
            if self._heard <= since or now - self._heard > _FRESH or not math.isfinite(self._speed):
                return Stand.UNKNOWN
            return Stand.STILL if self._speed <= MOST_SPEED else Stand.MOVING
