# SPDX-License-Identifier: Apache-2.0
"""Deadline of a planning run: a time limit and cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable

from spatial_vlm_ros.errors import CancelledError, NoPathError


class PlanningDeadline:
    """A deadline that starts when it is created; checked in every loop."""

    def __init__(self, seconds: float, cancelled: Callable[[], bool]) -> None:
        self.seconds, self._cancelled = seconds, cancelled
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def over(self) -> bool:
        """Whether to stop."""
        return self.elapsed > self.seconds or self._cancelled()

    def check(self, segment: int) -> None:
        """Raise if planning has to stop."""
        if self._cancelled():
            raise CancelledError("planning was cancelled")
        if self.elapsed > self.seconds:
            repair = "clear the way, choose another grasp, or allow more time"
            raise NoPathError(segment, f"no path in {self.seconds:g} s", (), repair)
