# SPDX-License-Identifier: Apache-2.0
"""Which node is started again when it ends, and how often: one rule for `ros2 launch` and `spatial-vlm up`."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable

DELAY = 2.0
"""Seconds before a node starts again: DDS and a camera's driver get time to notice that the last one has gone."""
MOST = 3
"""Times in `WITHIN` seconds; a node that falls again and again ends everything, as one that is not started again."""
WITHIN = 60.0

CONFIGURATION = 1
"""Exit code of a node that cannot start as it is configured (`nodes/main.py`): it could not the next time, either."""
USAGE = 2
CRASHED = 70
"""Exit code of a node that ends by an error nobody expected; EX_SOFTWARE of sysexits.h."""

_ASKED = (signal.SIGINT, signal.SIGTERM)
_FINAL = {0, CONFIGURATION, USAGE, *(-number for number in _ASKED), *(128 + number for number in _ASKED)}


class Respawn:
    """Decides for one node.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._again: deque[float] = deque(maxlen=MOST)

    def again(self, code: int) -> bool:
        """Whether it is started again; counts it where it is.

        Args:
            code: its exit code, -n or 128 + n where signal n ended it. 0 and the end by SIGINT or SIGTERM are an end on
                purpose.
        """
        now = self._clock()
        if code in _FINAL or (len(self._again) == MOST and now - self._again[0] < WITHIN):
            return False
        self._again.append(now)
        return True
