# SPDX-License-Identifier: Apache-2.0
"""Cost of a loaded backend on this machine: time and memory of a request."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import NounPhrase, Rgb


@dataclass(frozen=True)
class BackendCost:
    """Cost of requests to one backend, one after the other, in this process."""

    load_s: float  # seconds to load it
    first_s: float  # seconds of the first request, which may compile or warm up
    median_s: float  # seconds of the others, median
    p95_s: float  # the same, 95th percentile
    cpu_s: float  # mean processor time of each of the others, all cores, seconds; without that of a server
    frames: int
    peak_mb: float  # peak memory of this process since its start, loading included, 10^6 bytes
    gpu_peak_mb: float | None  # peak memory of torch on the GPU, 10^6 bytes; None without torch or a GPU
    runs_on: str  # device or providers that the backend reports; empty if it reports none


def measure(
    load: Callable[[], Grounder], rgb: Rgb, phrases: Sequence[NounPhrase], frames: int, most_s: float = 120.0
) -> BackendCost:
    """Load a backend and measure up to `frames` further requests, at least one, for the same phrases in an image."""
    started = time.perf_counter()
    grounder = load()
    loaded = time.perf_counter()
    grounder.ground(rgb, phrases)
    begun, busy = time.perf_counter(), time.process_time()
    taken: list[float] = []
    while not taken or (len(taken) < frames and time.perf_counter() - begun < most_s):
        before = time.perf_counter()
        grounder.ground(rgb, phrases)
        taken.append(time.perf_counter() - before)
    cpu = (time.process_time() - busy) / len(taken)
    median, p95 = np.percentile(taken, [50.0, 95.0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    torch, gpu = sys.modules.get("torch"), None
    if torch is not None and torch.cuda.is_available():
        gpu = float(torch.cuda.max_memory_allocated()) / 1e6
    providers, runner = getattr(grounder, "providers", None), getattr(grounder, "runner", None)
    where = "" if runner is None else f"{runner.device} {str(runner.dtype).removeprefix('torch.')}"
    where = ", ".join(providers) if isinstance(providers, tuple) else where
    return BackendCost(loaded - started, begun - loaded, float(median), float(p95), cpu, len(taken), peak, gpu, where)
