# SPDX-License-Identifier: Apache-2.0
"""Whether this machine lacks CPU time, so that silence does not mean that a node is dead. No rclpy.

Linux reports how long some task had to wait for a CPU (pressure stall information, /proc/pressure/cpu, "some"). Where
this is not available, the load average of the last minute is used.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path("/proc/pressure/cpu")
_SHARE = 0.4  # share of the time in which some task waits: from here on the machine counts as busy
MOST = 1.0  # s: a longer silence is not explained by a lack of CPU time


class Pressure:
    """CPU pressure since one of the last two marks, whichever is greater: what is late now was delayed before."""

    def __init__(self) -> None:
        self._marks = [_now()] * 2

    def mark(self, after: float = 0.0) -> None:
        """Set a new mark if the last one is at least `after` seconds old."""
        now = _now()
        if now[0] - self._marks[1][0] >= after:
            self._marks = [self._marks[1], now]

    def patience(self, seconds: float, most: float = MOST) -> float:
        """How long to wait, in seconds, given how busy the machine was.

        Args:
            most: wait on a busy machine, seconds.
        """
        now, waited = _now()
        if waited is None:
            busy = os.getloadavg()[0] > (os.cpu_count() or 1)
        else:
            busy = any(waited - before > _SHARE * (now - since) for since, before in self._marks if before is not None)
        return max(seconds, most) if busy else seconds


def _now() -> tuple[float, float | None]:
    return time.monotonic(), _waited()


def _waited() -> float | None:
    """Seconds since boot in which some task waited for a CPU; None if the kernel does not report it."""
    try:
        line = _FILE.read_text("ascii").partition("\n")[0]
        return int(line.rpartition("total=")[2]) * 1e-6
    except (OSError, ValueError):
        return None
