# SPDX-License-Identifier: Apache-2.0
"""Images of which it is known what they show: boxes with names, and relations that hold or do not."""

from __future__ import annotations

from dataclasses import dataclass

from spatial_vlm_ros.types.arrays import Rgb

BoxXyxy = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""


@dataclass(frozen=True)
class LabelledObject:
    """An object in an image.

    Args:
        label: what it is called.
        attributes: further words that are true of it, such as its colour.
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
    """Whether a relation holds between two boxes, seen from the camera.

    Args:
        relation: its canonical name, or "beside": none of on, under and inside holds.
        target: left, top, right, bottom, pixels.
        anchor: likewise.
        holds: the truth.
    """

    relation: str
    target: BoxXyxy
    anchor: BoxXyxy
    holds: bool


@dataclass(frozen=True, eq=False)
class LabelledView:
    """An image and its truth.

    Args:
        name: of the view, unique among those of one source.
        rgb: (H, W, 3) uint8.
        objects: what is seen.
        relations: what is known of pairs.
    """

    name: str
    rgb: Rgb
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]
