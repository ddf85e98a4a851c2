# SPDX-License-Identifier: Apache-2.0
"""Measure how similar pixels are to a model of depth and colour.

Colours are 8-bit, so that statistics of many pixels' colours (medians, deviations) are computed on 256 counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Mask, RgbdFrame

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive
Counts = npt.NDArray[np.int_]

VALUES = np.arange(256, dtype=np.float32)
"""Possible values of a colour channel."""

_LEAST_SPREAD = (0.01, 12.0, 6.0, 6.0)  # metres; lightness and two colour axes, 8-bit Lab
_NORMAL = 1.4826  # standard deviation over median absolute deviation, of normal errors


@dataclass(frozen=True, eq=False)
class Look:
    """Depth and colour of a frame; the colour is converted for comparison."""

    frame: RgbdFrame
    _known: dict[PixelBox, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def lab(self, box: PixelBox) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 CIE Lab of a box."""
        if box not in self._known:
            x0, y0, x1, y1 = box
            self._known[box] = np.asarray(cv2.cvtColor(self.frame.rgb[y0:y1, x0:x1], cv2.COLOR_RGB2Lab), np.uint8)
        return self._known[box]

    def counts(self, box: PixelBox, mask: Mask | None = None) -> Counts:
        """(3, 256) number of a box's pixels, or of those set in its (h, w) mask, with each value of each channel."""
        lab, chosen = self.lab(box), None if mask is None else mask.view(np.uint8)
        found = [cv2.calcHist([lab], [channel], chosen, [256], [0, 256]) for channel in range(3)]
        return np.array(found).reshape(3, 256).astype(np.int_)

    def model(self, box: PixelBox, mask: Mask) -> Likeness:
        """Depth and colour model of the pixels set in the (h, w) mask of a box; needs at least one, all with depth."""
        x0, y0, x1, y1 = box
        depth = self.frame.depth[y0:y1, x0:x1][mask]
        middle = np.float32(median(depth))
        colour, spread = usual_values(self.counts(box, mask))
        depth -= middle
        own = np.float32(_NORMAL) * median(np.abs(depth, out=depth))
        return Likeness(middle, colour, np.maximum((own, *spread.tolist()), _LEAST_SPREAD))


@dataclass(frozen=True, eq=False)
class Likeness:
    """Depth and colour of a part of an image.

    Args:
        depth: median, metres.
        colour: (3,) median, 8-bit Lab.
        spread: (4,) standard deviation of depth (metres) and colour, never below a least value.
    """

    depth: np.float32
    colour: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float64]

    def unlike(self, look: Look, box: PixelBox) -> npt.NDArray[np.float64]:
        """(h, w) mean squared deviation of a box's pixels (one at least) from the model, in units of its spread."""
        x0, y0, x1, y1 = box
        table = ((VALUES[:, None] - self.colour) / self.spread[1:]) ** 2
        colour = cv2.LUT(look.lab(box), table[:, None])
        total = (look.frame.depth[y0:y1, x0:x1] - self.depth) / self.spread[0]
        total *= total
        for channel in range(3):
            total += colour[..., channel]
        total /= 4
        return np.asarray(total, np.float64)


def median(values: npt.NDArray[np.floating]) -> float:
    """Median of numbers (N,), one at least: np.median without the search for NaN, in the precision of the values."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    upper = np.partition(values, middle)
    return float((upper[:middle].max() + upper[middle]) / 2)


def usual_values(counts: Counts) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(C,) robust medians and standard deviations of values 0 to 255, given how often each occurs: counts (C, 256)."""
    medians = _median_of(VALUES, counts)
    spreads = []
    for one, middle in zip(counts, medians, strict=True):
        deviation = np.abs(VALUES - middle)
        order = np.argsort(deviation, kind="stable")
        spreads.append(_median_of(deviation[order], one[None, order])[0])
    return medians, np.float32(_NORMAL) * np.array(spreads, np.float32)


def _median_of(values: npt.NDArray[np.float32], counts: Counts) -> npt.NDArray[np.float32]:
    """(C,) medians of ascending values (V,) that occur as often as counts (C, V) say, in total at least once."""
    found = []
    for upto in counts.cumsum(axis=1):
        low, high = np.searchsorted(upto, ((upto[-1] - 1) // 2, upto[-1] // 2), side="right").tolist()
        found.append((values[low] + values[high]) / 2)
    return np.array(found, np.float32)
