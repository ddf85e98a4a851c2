# SPDX-License-Identifier: Apache-2.0
"""All benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.evaluation.benchmarks.blink import BLINK
from spatial_vlm_ros.evaluation.benchmarks.cv_bench import CV_BENCH
from spatial_vlm_ros.evaluation.benchmarks.embspatial import EMBSPATIAL
from spatial_vlm_ros.evaluation.benchmarks.protocol import Benchmark
from spatial_vlm_ros.evaluation.benchmarks.refspatial import REFSPATIAL
from spatial_vlm_ros.evaluation.benchmarks.robospatial import ROBOSPATIAL
from spatial_vlm_ros.evaluation.benchmarks.spatialsense import SPATIALSENSE
from spatial_vlm_ros.evaluation.benchmarks.threedsr import THREEDSR
from spatial_vlm_ros.evaluation.benchmarks.vsr import VSR
from spatial_vlm_ros.evaluation.benchmarks.whatsup import WHATSUP
from spatial_vlm_ros.evaluation.benchmarks.where2place import WHERE2PLACE

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
