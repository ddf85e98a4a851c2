# SPDX-License-Identifier: Apache-2.0
"""Assignment of worlds to training, validation and test, and the withheld pairs; fixed before the first run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json

_REPAIR = "write it like models/compact/split.json"
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class SplitPart:
    """Worlds for one purpose.

    Args:
        views: images per world.
    """

    first: int
    last: int
    views: int

    @property
    def worlds(self) -> int:
        """Number of worlds."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class WorldSplit:
    """All parts of the split."""

    training: SplitPart
    validation: SplitPart
    test: SplitPart
    withheld: frozenset[tuple[str, str]]


def read_split(path: Path) -> WorldSplit:
    """Read a split such as models/compact/split.json."""
    try:
        values = read_json(path, _REPAIR)
        parts = {name: _part(values[name]) for name in PARTS}
        withheld = frozenset((str(colour), str(kind)) for colour, kind in values["held_out_pairs"])
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error
    ranges = sorted((part.first, part.last) for part in parts.values())
    if any(last >= first for (_, last), (first, _) in itertools.pairwise(ranges)):
        raise FileError(path, "parts that share seeds", "give each part its own seeds")
    return WorldSplit(**parts, withheld=withheld)


def _part(values: Any) -> SplitPart:
    first, last = (int(seed) for seed in values["seeds"])
    views = int(values["views"])
    if not (0 <= first <= last and views > 0):
        raise ValueError(f"seeds {first} to {last}, {views} views")
    return SplitPart(first, last, views)
