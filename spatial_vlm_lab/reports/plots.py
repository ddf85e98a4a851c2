# SPDX-License-Identifier: Apache-2.0
"""Where the marks of the report's plots go, in pixels of a small SVG; the template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from spatial_vlm_lab.scoring.calibration import Calibration

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


class Plot(NamedTuple):
    """The axes of a plot, and what is drawn in it beside marks.

    Args:
        line: points, "x,y x,y …".
        band: outline of its 95 % Wilson intervals.
    """

    x: Axis
    y: Axis
    line: str = ""
    band: str = ""


def reliability(calibration: Calibration) -> Plot:
    """The reliability diagram: share right over mean confidence; both axes begin at the tenth below the lowest mark."""
    lowest = min(min(b.confidence, b.right.low) for b in calibration.bins)
    low = min(0.8, math.floor(lowest * 10 + 1e-9) / 10)
    return Plot(_axis(low, 1.0, _LEFT, _RIGHT), _axis(low, 1.0, _BOTTOM, _TOP))


def coverage_risk(calibration: Calibration) -> Plot:
    """The coverage-risk curve: share wrong over share answered; it ends at the tenth above what enough cases bound."""
    curve = calibration.curve
    highest = max([p.wrong.share for p in curve] + [p.wrong.high for p in curve if p.wrong.n >= _ENOUGH])
    x = _axis(0.0, 1.0, _LEFT, _RIGHT)
    y = _axis(0.0, min(1.0, max(0.1, math.ceil(highest * 10 - 1e-9) / 10)), _BOTTOM, _TOP)

    def points(values: list[tuple[float, float]]) -> str:
        return " ".join(f"{x.at(a)},{y.at(b)}" for a, b in values)

    there = [(p.coverage, p.wrong.low) for p in curve]
    back = [(p.coverage, p.wrong.high) for p in reversed(curve)]
    return Plot(x, y, points([(p.coverage, p.wrong.share) for p in curve]), points(there + back))


def _axis(low: float, high: float, start: float, end: float) -> Axis:
    for step in (0.02, 0.05, 0.1, 0.2):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < _MOST_TICKS:
            break
    return Axis(low, high, start, end, tuple(round(i * step, 3) for i in range(first, last + 1)))
