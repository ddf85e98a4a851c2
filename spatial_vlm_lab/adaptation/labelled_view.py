# SPDX-License-Identifier: Apache-2.0
"""Labelled images: named boxes, and relations that hold or do not hold."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.types.arrays import Rgb

BoxXyxy = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""


@dataclass(frozen=True)
class LabelledObject:
    """An object in an image.

    Args:
        label: name of the object.
        attributes: further words that are true for it, such as its colour.
        box_xyxy: left, top, right, bottom, pixels.
    """

    label: str
    attributes: tuple[str, ...]
    box_xyxy: BoxXyxy

    @property
    def name(self) -> str:
        """Attributes and label: "red cup"."""
        return " ".join((*self.attributes, self.label))


@dataclass(frozen=True)
class RelationLabel:
    """A labelled relation between two boxes, seen from the camera.

    Args:
        relation: its canonical name, or "beside" if none of on, under and inside holds.
        target: left, top, right, bottom, pixels.
        anchor: likewise.
        holds: True if the relation holds.
    """

    relation: str
    target: BoxXyxy
    anchor: BoxXyxy
    holds: bool


@dataclass(frozen=True, eq=False)
class LabelledView:
    """An image and its labels.

    Args:
        name: of the view, unique among those of one source.
        rgb: (H, W, 3) uint8.
        objects: labelled objects in the image.
        relations: labelled relations between pairs of boxes.
    """

    name: str
    rgb: Rgb
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]
