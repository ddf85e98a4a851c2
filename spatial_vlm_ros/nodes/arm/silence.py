# SPDX-License-Identifier: Apache-2.0
"""When who is asked again and again is silent for too long to be only slow. No rclpy in here."""

from __future__ import annotations

from collections import deque

from spatial_vlm_ros.nodes.pressure import MOST, Pressure

_SLOWER = 3.0  # times the slowest of the last answers
_REMEMBERED = 100  # answers
_HELD_UP = 0.1  # s: where the caller itself was held up for longer, the rest says nothing of who is asked


class Silence:
    """How long nobody has answered, as far as the caller ran, and whether that is too long.

    Too long is `limit`, or, up to `pressure.MOST`, three times what one of the last answers has taken; before the first
    answer, and where the machine is busy, it is `MOST`. Times are of the monotonic clock.

    Args:
        limit: seconds, for who answers at once.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._pressure = limit, Pressure()
        self._delays: deque[float] = deque(maxlen=_REMEMBERED)
        self._answered = self._looked = self._quiet = 0.0

    def begin(self, now: float) -> None:
        """Silence begins to count."""
        self._looked, self._quiet = now, 0.0

    def heard(self, asked: float, now: float) -> None:
        """An answer has come to what was asked then."""
        self._answered = now
        self._delays.append(now - asked)
        self._pressure.mark()

    def too_long(self, now: float) -> bool:
        """Whether it is too long now; call this often."""
        self._quiet = 0.0 if self._answered > self._looked else self._quiet + min(now - self._looked, _HELD_UP)
        self._looked = now
        if self._quiet <= self._limit:
            return False
        slow = min(_SLOWER * max(self._delays), MOST) if self._delays else MOST
        return self._quiet > self._pressure.patience(max(self._limit, slow))
