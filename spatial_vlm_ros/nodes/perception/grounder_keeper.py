# SPDX-License-Identifier: Apache-2.0
"""Starts a grounder's process again where it has died without a request, so that the next one need not wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from spatial_vlm_ros.errors import SpatialVlmError

_FIRST, _LONGEST = 1.0, 60.0  # s between attempts: doubled after each that failed
_JOIN = 5.0  # s for an attempt to end once the grounder was closed


class GrounderKeeper:
    """Watches the process of a grounder.

    Args:
        grounder: a WorkerGrounder.
        say: logs one line; callable from any thread.

    Attributes:
        restarts: how often it was started again.
        reason: why the last attempt failed; "" where it did not.
    """

    def __init__(self, grounder: Any, say: Callable[[str], None]) -> None:
        self.grounder, self._say = grounder, say
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pause, self._next = _FIRST, 0.0
        self.restarts, self.reason = 0, ""

    @property
    def starting(self) -> bool:
        """Whether it is being started again."""
        return self._thread is not None and self._thread.is_alive()

    def look(self, busy: bool) -> None:
        """Start it again if it has died; a request that is being served does so itself.

        Args:
            busy: whether a request is being served.
        """
        if self._closed or busy or self.starting or self.grounder.alive or time.monotonic() < self._next:
            return
        self._thread = threading.Thread(target=self._start, name="grounder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the grounder, and end an attempt to start it."""
        self._closed = True
        self.grounder.close()
        if self._thread is not None:
            self._thread.join(_JOIN)
            self.grounder.close()  # an attempt that had just begun has opened it again

    def _start(self) -> None:
        self._say("the grounder process has exited; it is being restarted")
        try:
            self.grounder.start()
        except SpatialVlmError as error:
            if not self._closed:
                self.reason = str(error)
                self._next, self._pause = time.monotonic() + self._pause, min(2 * self._pause, _LONGEST)
                self._say(f"it could not be started: {error}")
            return
        self.restarts, self.reason, self._pause = self.restarts + 1, "", _FIRST
