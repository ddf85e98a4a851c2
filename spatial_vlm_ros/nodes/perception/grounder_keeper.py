# SPDX-License-Identifier: Apache-2.0
"""Restarts a grounder's process that died between requests, so that the next request need not wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from spatial_vlm_ros.errors import SpatialVlmError

_FIRST, _LONGEST = 1.0, 60.0  # s between attempts: doubled after each failure
_JOIN = 5.0  # s for an attempt to end after the grounder was closed


class GrounderKeeper:
    """Watches the process of a grounder.

    Args:
        say: logs one line; must be callable from any thread.

    Attributes:
        reason: why the last attempt failed; "" if it did not.
    """

    def __init__(self, grounder: Any, say: Callable[[str], None]) -> None:
        self.grounder, self._say = grounder, say
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pause, self._next = _FIRST, 0.0
        self.restarts, self.reason = 0, ""

    @property
    def starting(self) -> bool:
        """Whether a restart is running."""
        return self._thread is not None and self._thread.is_alive()

    def look(self, busy: bool) -> None:
        """Restart the process if it has died; a running request does this itself."""
        if self._closed or busy or self.starting or self.grounder.alive or time.monotonic() < self._next:
            return
        self._thread = threading.Thread(target=self._start, name="grounder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the grounder, and end a running restart."""
        self._closed = True
        self.grounder.close()
        if self._thread is not None:
            self._thread.join(_JOIN)
            self.grounder.close()  # a restart that had just begun may have opened it again

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
