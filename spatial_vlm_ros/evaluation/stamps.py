# SPDX-License-Identifier: Apache-2.0
"""Collects the stamps of a bag's images, and says why a case's stamp has no image.

Works on nanoseconds only.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

SECOND = 1_000_000_000
_BACK_NS = SECOND  # a stamp this far before the one before it is no late image but time set back
_UNITS = ((SECOND, "seconds"), (1_000_000, "milliseconds"), (1_000, "microseconds"))
_SLACK_NS = SECOND  # where a stamp that was rounded to seconds may still lie
_MOST_NOTES = 3  # about stamps that repeat
_GAP = 10.0  # times the usual period: images are missing


class SeenStamps:
    """The stamps of the colour images of a bag, in the order in which they were recorded."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._all, self._wanted = array("q"), frozenset(wanted)
        self._repeated: dict[int, int] = {}
        self._backs: list[tuple[int, int]] = []
        self._ordered: npt.NDArray[np.int64] | None = None  # all stamps, once they are asked for

    def add(self, stamp_ns: int) -> None:
        """Add an image."""
        self._ordered = None
        if self._all and stamp_ns < self._all[-1] - _BACK_NS:
            self._backs.append((self._all[-1], stamp_ns))
        self._all.append(stamp_ns)
        if stamp_ns in self._wanted:
            self._repeated[stamp_ns] = self._repeated.get(stamp_ns, 0) + 1

    def __contains__(self, stamp_ns: int) -> bool:
        return stamp_ns in self._repeated

    def notes(self) -> Iterator[str]:
        """Yield messages about irregular stamps."""
        repeated = [(stamp_ns, n) for stamp_ns, n in self._repeated.items() if n > 1]
        for stamp_ns, n in repeated[:_MOST_NOTES]:
            yield f"{n} colour images have the stamp {stamp_ns}; its cases use the first complete one"
        if len(repeated) > _MOST_NOTES:
            more = len(repeated) - _MOST_NOTES
            yield f"{more} more stamps of cases belong to several colour images; these cases use the first"
        if self._backs:
            last, first = self._backs[0]
            often = "once" if len(self._backs) == 1 else f"{len(self._backs)} times, first"
            yield (
                f"the stamps go back {often} by {(last - first) / SECOND:.1f} s, after the stamp {last}: a stamp may "
                "belong to two images; cases use the first"
            )

    def why_absent(self, stamp_ns: int) -> tuple[str, str]:
        """Why no image has a stamp, as text, and which stamp would be right."""
        if not self._all:
            return "the bag has no colour image", "a bag with colour images"
        if self._ordered is None:
            self._ordered = np.unique(np.array(self._all, np.int64))
        stamps = self._ordered
        low, high = int(stamps[0]), int(stamps[-1])
        span = f"a stamp between {low} and {high} ns"
        for factor, unit in _UNITS:
            if low - _SLACK_NS <= stamp_ns * factor <= high + _SLACK_NS:
                return f"a stamp in {unit}", f"nanoseconds: {span}"
        if not low <= stamp_ns <= high:
            side, off = ("before the first", low - stamp_ns) if stamp_ns < low else ("after the last", stamp_ns - high)
            return f"a stamp {off / SECOND:.3f} s {side} colour image", span
        at = int(np.searchsorted(stamps, stamp_ns))
        before, after = int(stamps[at - 1]), int(stamps[at])
        near = before if stamp_ns - before <= after - stamp_ns else after
        words = f"no colour image has this stamp; the nearest is {near}, {_apart(abs(near - stamp_ns))} away"
        period = float(np.median(np.diff(stamps)))
        if after - before > _GAP * period:
            words += f"; it is in a gap of {(after - before) / SECOND:.1f} s"
        return words, "the header stamp of a colour image"


def _apart(ns: int) -> str:
    """A time between stamps in words; less than a millisecond in nanoseconds, for that is a rounded stamp."""
    return f"{ns / SECOND:.3f} s" if ns >= 1_000_000 else f"{ns} ns"
