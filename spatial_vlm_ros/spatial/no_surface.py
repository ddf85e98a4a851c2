# SPDX-License-Identifier: Apache-2.0
"""Reason why an object cannot be put somewhere, before it is known what would have to change."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.types.place_reasons import NoPlaceCause


@dataclass(frozen=True)
class NoSurface:
    """Reason why there is no surface for an object, or no place on it.

    Args:
        text: in words that follow "there is no place to put it: ".
        row: the object that decides, or None.
        needed: size that is needed, metres: a free circle, or a height.
        available: size that is available, metres.
        unseen: True if there would be a place if the unseen part were free.
    """

    cause: NoPlaceCause
    text: str
    row: int | None = None
    needed: float | None = None
    available: float | None = None
    blocking: tuple[int, ...] = ()
    unseen: bool = False
