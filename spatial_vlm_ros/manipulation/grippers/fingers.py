# SPDX-License-Identifier: Apache-2.0
"""Distance between the fingers, and whether they stand still, from joint states. No ROS."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from spatial_vlm_ros.manipulation.grippers.judging import MOVED
from spatial_vlm_ros.manipulation.grippers.stroke import Stroke


class FingerWatch:
    """Tracks the width between the fingers from joint states. Thread-safe.

    Args:
        joints: names of the finger joints, without duplicates; empty = the width is never known.
        stroke: maps the width to the position of each joint; None = the joints share the width evenly.
    """

    def __init__(self, joints: Sequence[str], stroke: Stroke | None = None) -> None:
        self._joints, self._stroke, self._lock = tuple(joints), stroke, threading.Lock()
        self._heard, self._width = -math.inf, math.nan
        self._anchor, self._since = math.nan, -math.inf  # where the fingers stopped, and when

    def add(self, now: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """Add one message; messages without all finger joints are ignored.

        Args:
            now: arrival time, seconds of a monotonic clock.
            positions: radians or metres.
        """
        where = {name: k for k, name in enumerate(names)}
        if not self._joints or not set(self._joints) <= set(where) or len(positions) != len(names):
            return
        at = [float(positions[where[name]]) for name in self._joints]
        if not all(map(math.isfinite, at)):
            return
        width = sum(at) if self._stroke is None else sum(map(self._stroke.width, at)) / len(at)
        with self._lock:
            self._heard, self._width = now, width
            if not abs(width - self._anchor) < MOVED:  # also the first time
                self._anchor, self._since = width, now

    def width(self, since: float) -> float | None:
        """Newest width from messages that came after `since`, metres; None if there are none."""
        with self._lock:
            return self._width if self._heard > since else None

    def settled(self, since: float, seconds: float) -> bool:
        """Whether messages after `since` show for at least `seconds` that the fingers do not move."""
        with self._lock:
            return self._heard - max(self._since, since) >= seconds
