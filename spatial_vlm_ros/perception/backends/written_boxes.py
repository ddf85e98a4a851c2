# SPDX-License-Identifier: Apache-2.0
"""Write boxes in the format of a model family, for questions about them."""

from __future__ import annotations

from collections.abc import Callable

from spatial_vlm_ros.perception.backends.families import ModelFamily
from spatial_vlm_ros.perception.coordinates import Convention
from spatial_vlm_ros.perception.relation_marks import BOXES, CROP, Box, MarksError, box_as_text
from spatial_vlm_ros.types import Rgb


def family_box_text(
    name: str,
    family: ModelFamily | None,
    convention: Convention,
    rgb: Rgb,
    box: Box,
    seen_size: Callable[[Rgb], tuple[int, int]],
) -> str:
    """Write a box in the format of a family.

    Args:
        family: family of the model; None = not known, and boxes are lists of numbers.
        rgb: (H, W, 3) uint8.
        box: pixels of `rgb`.
        seen_size: gives (width, height) of the image as the model sees it; used only if locations are pixels of a
            resized image.
    """
    if family is not None and family.places == "point":
        reason = f"the models of its family {family.name} write points, so a question to them cannot contain a box"
        raise MarksError(name, reason, f"set judge.marks to {BOXES} or {CROP}")
    resized = seen_size(rgb) if convention.unit == "resized" else None
    size = (int(rgb.shape[1]), int(rgb.shape[0]))
    return box_as_text(box, convention, size, resized, tagged=family is not None and family.special_places)
