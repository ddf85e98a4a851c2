# SPDX-License-Identifier: Apache-2.0
"""Judges from joint states whether an arm stands still. No ROS."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Sequence

MOST_SPEED = 0.02  # rad/s or m/s: a slower joint stands still
_SPAN = 0.1  # s between two compared positions
_OVERTAKEN = 1.0  # s that a message may be older than one that came before it
_FRESH = 0.5  # s: older joint states are outdated


class Stand(enum.Enum):
    """Whether the arm stands still."""

    STILL = "stands still"
    MOVING = "still moves"
    UNKNOWN = "may still be moving: no joint states arrive"


class Standstill:
    """Judges the newest joint states of some joints. Thread-safe.

    The larger of the reported velocities and the change of position counts: some drivers report a velocity of 0 always.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._lock = threading.Lock()
        self._heard, self._told = -math.inf, math.inf  # time, and speed of the fastest joint, as reported
        self._moved = 0.0  # the same by positions
        self._before: tuple[float, tuple[float, ...]] | None = None  # stamp and positions
        self._at: tuple[float, ...] = ()
        self._stamp = -math.inf  # newest

    def add(
        self, now: float, stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]
    ) -> None:
        """Add one message, unless a newer one has overtaken it; an even older stamp means that the clock was set back.

        Args:
            now: arrival time, seconds of a monotonic clock.
            stamp: its stamp, seconds.
            positions: radians or metres.
            velocities: the same per second, or empty.
        """
        where = {name: k for k, name in enumerate(names)}
        if not self._names or not set(self._names) <= set(where) or len(positions) != len(names):
            return
        at = tuple(float(positions[where[name]]) for name in self._names)
        with self._lock:
            if 0.0 < self._stamp - stamp <= _OVERTAKEN:
                return
            self._at, self._stamp = at, stamp
            told = [abs(float(velocities[where[name]])) for name in self._names if len(velocities) == len(names)]
            known = bool(told) and all(map(math.isfinite, told))  # a controller may have NaN for what it lacks
            if known:
                self._told, self._heard = max(told), now
            if self._before is not None and stamp - self._before[0] >= _SPAN:
                moved = [abs(a - b) for a, b in zip(at, self._before[1], strict=True)]
                fastest = max(moved) if all(map(math.isfinite, moved)) else math.nan
                self._moved, self._heard = fastest / (stamp - self._before[0]), now
                self._told = self._told if known else 0.0
                self._before = (stamp, at)
            elif self._before is None or stamp < self._before[0]:
                self._before = (stamp, at)

    @property
    def positions(self) -> dict[str, float]:
        """Last reported positions by joint, radians or metres; empty before the first complete message."""
        with self._lock:
            return dict(zip(self._names, self._at, strict=True)) if self._at else {}

    @property
    def heard(self) -> float:
        """Arrival of the newest complete message, seconds on the clock of `add`; -inf before the first."""
        return self._heard

    def stand(self, now: float, since: float = -math.inf) -> Stand:
        """State at `now` from messages that came after `since`; seconds on the clock of `add`."""
        with self._lock:
            known = math.isfinite(self._told) and math.isfinite(self._moved)
            if self._heard <= since or now - self._heard > _FRESH or not known:
                return Stand.UNKNOWN
            return Stand.STILL if max(self._told, self._moved) <= MOST_SPEED else Stand.MOVING
