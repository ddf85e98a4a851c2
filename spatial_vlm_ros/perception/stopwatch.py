# SPDX-License-Identifier: Apache-2.0
"""Measure how long each step of a request takes, and end it early at a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stopwatch:
    """Wall time between laps, milliseconds; an exception from the checkpoint, called after each, ends the request."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        self._checkpoint = checkpoint
        self._start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a lap; times of the same name add up."""
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + (now - self._last) * 1e3, 3)
        self._last = now
        self._checkpoint()

    def total(self) -> float:
        """Milliseconds since it was made."""
        return round((time.perf_counter() - self._start) * 1e3, 3)
