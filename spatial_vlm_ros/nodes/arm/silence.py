# SPDX-License-Identifier: Apache-2.0
"""Decides when a polled node has been silent for too long to be merely slow. No rclpy."""

from __future__ import annotations

from collections import deque

from spatial_vlm_ros.nodes.pressure import MOST, Pressure

_SLOWER = 3.0  # times the slowest of the last answers
_REMEMBERED = 100  # answers
_HELD_UP = 0.1  # s: if the caller itself was delayed for longer, the extra time does not count


class Silence:
    """Measures how long no answer has come while the caller ran, and whether that is too long.

    The limit is `limit`, or three times the slowest of the last answers up to `pressure.MOST`; before the first answer,
    and on a busy machine, it is `MOST`. Times are of the monotonic clock.

    Args:
        limit: seconds, for a node that answers at once.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._pressure = limit, Pressure()
        self._delays: deque[float] = deque(maxlen=_REMEMBERED)
        self._answered = self._looked = self._quiet = 0.0

    def begin(self, now: float) -> None:
        """Start measuring silence."""
        self._looked, self._quiet = now, 0.0

    def heard(self, asked: float, now: float) -> None:
        """Note an answer to the question asked at `asked`."""
        self._answered = now
        self._delays.append(now - asked)
        self._pressure.mark()

    def too_long(self, now: float) -> bool:
        """Whether the silence is too long at `now`; call this often."""
        self._quiet = 0.0 if self._answered > self._looked else self._quiet + min(now - self._looked, _HELD_UP)
        self._looked = now
        if self._quiet <= self._limit:
            return False
        slow = min(_SLOWER * max(self._delays), MOST) if self._delays else MOST
        return self._quiet > self._pressure.patience(max(self._limit, slow))
