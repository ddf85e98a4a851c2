# SPDX-License-Identifier: Apache-2.0
"""All benchmarks by name."""

from __future__ import annotations

from spatial_vlm_lab.benchmarks import lettered, pointing, relations
from spatial_vlm_lab.benchmarks.protocol import Benchmark
from spatial_vlm_ros.errors import UnknownNameError

_ALL = (
    *(relations.WHATSUP, relations.VSR, lettered.CV_BENCH, relations.SPATIALSENSE, relations.EMBSPATIAL),
    *(lettered.BLINK, lettered.THREEDSR, pointing.REFSPATIAL, pointing.ROBOSPATIAL, pointing.WHERE2PLACE),
)
BENCHMARKS: dict[str, Benchmark] = {one.name: one for one in _ALL}
"""Name → benchmark."""


def benchmark_of(name: str) -> Benchmark:
    """Find a benchmark by name."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]
