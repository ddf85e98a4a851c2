# SPDX-License-Identifier: Apache-2.0
"""All benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spatial_vlm_lab.benchmarks.lettered import BLINK, CV_BENCH, THREEDSR
from spatial_vlm_lab.benchmarks.pointing import REFSPATIAL, ROBOSPATIAL, WHERE2PLACE
from spatial_vlm_lab.benchmarks.protocol import Benchmark
from spatial_vlm_lab.benchmarks.relations import EMBSPATIAL, SPATIALSENSE, VSR, WHATSUP
from spatial_vlm_ros.errors import UnknownNameError

_ALL = (
    WHATSUP,
    VSR,
    CV_BENCH,
    SPATIALSENSE,
    EMBSPATIAL,
    BLINK,
    THREEDSR,
    REFSPATIAL,
    ROBOSPATIAL,
    WHERE2PLACE,
)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({one.name: one for one in _ALL})
"""Name → benchmark."""


def benchmark_of(name: str) -> Benchmark:
    """Find a benchmark by name."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]
