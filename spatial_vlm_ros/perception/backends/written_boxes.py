# SPDX-License-Identifier: Apache-2.0
"""Boxes in the form in which a family writes them, for questions about them."""

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
    """A box in the form in which a family writes it.

    Args:
        name: of the model, for errors.
        family: of the model; None = not known, and boxes are lists of numbers.
        convention: in which the model writes places.
        rgb: (H, W, 3) uint8.
        box: pixels of `rgb`.
        seen_size: gives (width, height) of the image as the model sees it; asked for pixels of a resized image alone.

    Raises:
        MarksError: the family writes points, or in a form that no question takes.
    """
    if family is not None and family.places == "point":
        reason = f"the models of its family {family.name} write points, so a question to them cannot contain a box"
        raise MarksError(name, reason, f"set judge.marks to {BOXES} or {CROP}")
    resized = seen_size(rgb) if convention.unit == "resized" else None
    size = (int(rgb.shape[1]), int(rgb.shape[0]))
    return box_as_text(box, convention, size, resized, tagged=family is not None and family.special_places)
