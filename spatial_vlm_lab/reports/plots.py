# SPDX-License-Identifier: Apache-2.0
"""Where the marks of the report's plots go, in pixels of a small SVG; the template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spatial_vlm_lab.scoring.calibration import Bin, Calibration, RiskPoint

WIDTH, HEIGHT = 320, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 308, 10, 240
_MOST_TICKS = 6
_ENOUGH = 5  # cases from which a risk's interval is narrow enough to scale a plot by


@dataclass(frozen=True)
class Axis:
    """Maps values from low … high to pixels from start … end.

    Args:
        low: least value shown.
        start: pixel of `low`.
        end: pixel of `high`.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Pixel of a value; what lies outside is put on the border."""
        inside = min(max(value, self.low), self.high)
        return round(self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start), 1)


@dataclass(frozen=True)
class Reliability:
    """Share right over mean confidence, one mark a bin; on the diagonal, confidence is what it says."""

    x: Axis
    y: Axis
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class CoverageRisk:
    """Share wrong over share answered, as the threshold falls.

    Args:
        line: points of the risk, "x,y x,y …".
        band: outline of its 95 % Wilson intervals.
    """

    x: Axis
    y: Axis
    line: str
    band: str
    last: RiskPoint


def reliability(calibration: Calibration) -> Reliability:
    """The reliability diagram; both axes begin at the tenth below the lowest mark."""
    lowest = min(min(b.confidence, b.right.low) for b in calibration.bins)
    low = min(0.8, math.floor(lowest * 10 + 1e-9) / 10)
    return Reliability(_axis(low, 1.0, _LEFT, _RIGHT), _axis(low, 1.0, _BOTTOM, _TOP), calibration.bins)


def coverage_risk(calibration: Calibration) -> CoverageRisk:
    """The coverage-risk curve; the axis of risk ends at the tenth above what enough cases bound."""
    curve = calibration.curve
    highest = max([p.wrong.share for p in curve] + [p.wrong.high for p in curve if p.wrong.n >= _ENOUGH])
    x = _axis(0.0, 1.0, _LEFT, _RIGHT)
    y = _axis(0.0, min(1.0, max(0.1, math.ceil(highest * 10 - 1e-9) / 10)), _BOTTOM, _TOP)

    def points(values: list[tuple[float, float]]) -> str:
        return " ".join(f"{x.at(a)},{y.at(b)}" for a, b in values)

    there = [(p.coverage, p.wrong.low) for p in curve]
    back = [(p.coverage, p.wrong.high) for p in reversed(curve)]
    return CoverageRisk(x, y, points([(p.coverage, p.wrong.share) for p in curve]), points(there + back), curve[-1])


def _axis(low: float, high: float, start: float, end: float) -> Axis:
    """An axis with at most six ticks at round values."""
    for step in (0.02, 0.05, 0.1, 0.2):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < _MOST_TICKS:
            break
    return Axis(low, high, start, end, tuple(round(i * step, 3) for i in range(first, last + 1)))
