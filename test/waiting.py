# SPDX-License-Identifier: Apache-2.0
"""How long a test waits at most for what should come: longer on a machine that is slow or busy."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

VARIABLE = "SPATIAL_VLM_TEST_SLOWNESS"
REFERENCE = 0.12
"""Seconds that the computation of `measured` takes on an idle core of the machine on which the limits were chosen."""


def measured() -> float:
    """How many times longer than there a computation takes here and now, at least 1."""
    begun = time.perf_counter()
    total = 0
    for n in range(2_500_000):
        total += n % 7
    return max(1.0, (time.perf_counter() - begun) / REFERENCE)


SLOWNESS = float(os.environ.setdefault(VARIABLE, f"{measured():.2f}"))
"""Measured once for a run: workers and their children are given the number of the first process."""
DEADLINE = 30.0 * SLOWNESS
"""Seconds after which a test that waits fails; what takes longer by its nature has a multiple of it."""


def until(
    condition: Callable[[], Any],
    what: str | Callable[[], str],
    seconds: float = DEADLINE,
    meanwhile: Callable[[], object] = lambda: None,
    period: float = 0.005,
) -> None:
    """Wait for a condition, doing something again and again; fail with its words at the deadline."""
    seconds *= min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))  # SLOWNESS is that of a quiet moment
    end, gate = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:.0f} s in vain until {what if isinstance(what, str) else what()}")
        meanwhile()
        gate.wait(period)
