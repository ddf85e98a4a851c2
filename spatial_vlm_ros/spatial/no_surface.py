# SPDX-License-Identifier: Apache-2.0
"""Why something cannot be put somewhere, before it is known what would have to change."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.types.place_reasons import NoPlaceCause


@dataclass(frozen=True)
class NoSurface:
    """Why there is nothing that something could be put on, or no place on it.

    Args:
        cause: kind of reason.
        text: in words that follow "there is no place to put it: ".
        row: the object that decides, or None.
        needed: metres that are needed: a free circle, or a height.
        available: metres that there are of it.
        blocking: objects in the way, what takes the most first.
        unseen: whether there would be a place, were what is out of sight free.
    """

    cause: NoPlaceCause
    text: str
    row: int | None = None
    needed: float | None = None
    available: float | None = None
    blocking: tuple[int, ...] = ()
    unseen: bool = False
