# SPDX-License-Identifier: Apache-2.0
"""How far apart the fingers are, and whether they stand, by joint states. Knows no ROS."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from spatial_vlm_ros.manipulation.grippers.judging import MOVED
from spatial_vlm_ros.manipulation.grippers.stroke import Stroke


class FingerWatch:
    """The newest width by the states of some joints. Its methods may be called from different threads.

    Args:
        joints: that tell it, each once; none = nothing is known.
        stroke: from width to the position of each joint; None = the joints share the width evenly.
    """

    def __init__(self, joints: Sequence[str], stroke: Stroke | None = None) -> None:
        self._joints, self._stroke, self._lock = tuple(joints), stroke, threading.Lock()
        self._heard, self._width = -math.inf, math.nan
        self._anchor, self._since = math.nan, -math.inf  # where the fingers came to stand, and when

    def add(self, now: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """One message; it may be of other joints, and then says nothing.

        Args:
            now: when it came, seconds of a monotonic clock.
            names: of the joints in it.
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
        """The newest width, metres, of messages that came later than a time; None where none did."""
        with self._lock:
            return self._width if self._heard > since else None

    def settled(self, since: float, seconds: float) -> bool:
        """Whether messages have told for some seconds, all of them after a time, that the fingers do not move."""
        with self._lock:
            return self._heard - max(self._since, since) >= seconds
