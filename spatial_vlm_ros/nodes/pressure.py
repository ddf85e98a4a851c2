# SPDX-License-Identifier: Apache-2.0
"""Whether this machine has too little processor time, so that silence is no sign of death. No rclpy in here.

Linux tells for how long some task had to wait for a processor (pressure stall information, /proc/pressure/cpu, "some");
where it does not, the load average of the last minute counts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path("/proc/pressure/cpu")
_SHARE = 0.4  # of the time in which some task waits: from here on the machine is busy
MOST = 1.0  # s: longer silence is not put down to a lack of processor time


class Pressure:
    """Pressure since one of the last two marks, whichever is greater: what is late now was held up before."""

    def __init__(self) -> None:
        self._marks = [_now()] * 2

    def mark(self, after: float = 0.0) -> None:
        """Begin anew, where the last mark is that many seconds old."""
        now = _now()
        if now[0] - self._marks[1][0] >= after:
            self._marks = [self._marks[1], now]

    def patience(self, seconds: float, most: float = MOST) -> float:
        """How long to wait for what usually comes within some seconds, as busy as the machine was since a mark.

        Args:
            seconds: on a machine that is not busy.
            most: seconds on one that is.
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
    """Seconds since the start in which some task waited for a processor; None where the kernel does not say."""
    try:
        line = _FILE.read_text("ascii").partition("\n")[0]
        return int(line.rpartition("total=")[2]) * 1e-6
    except (OSError, ValueError):
        return None
