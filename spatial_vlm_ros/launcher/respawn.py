# SPDX-License-Identifier: Apache-2.0
"""Decide which node is restarted when it ends, and how often: one rule for `ros2 launch` and `spatial-vlm up`."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable

DELAY = 2.0
"""Seconds before a node restarts: DDS and a camera's driver need time to notice that the last one has gone."""
MOST = 3
"""Restarts within `WITHIN` seconds; a node that fails more often ends everything."""
WITHIN = 60.0

CONFIGURATION = 1
"""Exit code of a node that cannot start with its configuration (`nodes/main.py`); a restart would not help."""
USAGE = 2
CRASHED = 70
"""Exit code of a node that ends with an unexpected error; EX_SOFTWARE of sysexits.h."""

_ASKED = (signal.SIGINT, signal.SIGTERM)
_FINAL = {0, CONFIGURATION, USAGE, *(-number for number in _ASKED), *(128 + number for number in _ASKED)}


class Respawn:
    """Decides on restarts of one node; the clock counts monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._again: deque[float] = deque(maxlen=MOST)

    def again(self, code: int) -> bool:
        """Decide whether it is restarted after an exit code (-n or 128 + n of signal n), and count the restart."""
        now = self._clock()
        if code in _FINAL or (len(self._again) == MOST and now - self._again[0] < WITHIN):
            return False
        self._again.append(now)
        return True
