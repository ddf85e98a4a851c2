# SPDX-License-Identifier: Apache-2.0
"""Find the object at each pixel of a drawn image: masks, perfect detections, shiny surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.sim.compilation import SEEN, PlacedModel
from spatial_vlm_ros.types import Detection, Mask

Geoms = npt.NDArray[np.int32]  # (H, W) numbers of geoms, -1 = none


class Instances:
    """Maps geoms to objects.

    Args:
        model: MuJoCo model that has a body for each object.
        objects: objects by id, in the order of their detections.

    Attributes:
        seen: indices of the visible geoms of each object.
    """

    def __init__(self, model: Any, objects: Mapping[str, PlacedModel]) -> None:
        self._objects = objects
        self.seen = {id_: _seen_geoms(model, id_) for id_ in objects}
        self._owner = np.full(model.ngeom + 1, -1, np.int32)  # index of the object of each geom; the last: none
        for number, geoms in enumerate(self.seen.values()):
            self._owner[geoms] = number
        self._shines = np.zeros(model.ngeom + 1, np.bool_)
        for id_, obj in objects.items():
            for number, part in enumerate(obj.model.parts):
                self._shines[model.geom(f"{id_}/{number}").id] = part.shiny

    def masks(self, geom: Geoms) -> dict[str, Mask]:
        """(H, W) bool mask for each object."""
        owner = self._owner[geom]
        return {id_: owner == number for number, id_ in enumerate(self._objects)}

    def counted(self, geom: Geoms) -> dict[str, int]:
        """Number of pixels of each object."""
        counts = np.bincount(geom.ravel() + 1, minlength=len(self._owner))  # of no geom, then of each geom
        return {id_: int(counts[np.add(geoms, 1)].sum()) for id_, geoms in self.seen.items()}

    def shiny(self, geom: Geoms) -> Mask:
        """(H, W) bool mask of metal and glass."""
        return self._shines[geom]

    def detections(self, masks: Mapping[str, Mask]) -> tuple[Detection, ...]:
        """Detections of a perfect detector for objects with a visible pixel: tight boxes, exact masks."""
        return tuple(self._detection(id_, mask) for id_, mask in masks.items() if mask.any())

    def _detection(self, id_: str, mask: Mask) -> Detection:
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        box = (float(left), float(top), float(left + width), float(top + height))
        model = self._objects[id_].model
        return Detection(id_, model.label, 1.0, box, mask, model.attributes)


def _seen_geoms(model: Any, id_: str) -> list[int]:
    of_body = model.geom_bodyid == model.body(id_).id
    return [int(g) for g in np.flatnonzero(of_body & (model.geom_group == SEEN))]
