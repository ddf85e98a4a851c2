# SPDX-License-Identifier: Apache-2.0
"""Convert detections of a message to the package's own type, and a mask to the crop that a message contains.

Knows only the fields of spatial_vlm_interfaces/DetectionArray and vision_msgs/Detection2DArray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.streams.image import raw_view
from spatial_vlm_ros.types import Detection, Mask

UNNAMED = "object"  # label of a detection without a hypothesis
_MASK_ENCODINGS = ("mono8", "8UC1")


def detections_of(message: Any, width: int, height: int) -> tuple[Detection, ...]:
    """Convert a DetectionArray, or a vision_msgs/Detection2DArray of any version, with masks of the whole image.

    Those without an id are named d0, d1, ... by index. Of several vision_msgs hypotheses the most likely one is used;
    without any, the label is "object" and the score 1. A rotated box becomes the upright box around it. vision_msgs has
    no fronts.
    """
    entries = getattr(message, "detections", None)
    if entries is None:
        got = "it has no field detections"
        expected = "a DetectionArray or a Detection2DArray"
        raise InputError(type(message).__name__, got, expected, "check the type of the detections topic")
    ours = hasattr(message, "image_width")
    if ours:
        said = int(message.image_width), int(message.image_height)
        if any(one not in (0, real) for one, real in zip(said, (width, height), strict=True)):
            expected = f"{width}x{height}, the size of the colour image"
            repair = "run the detector on the colour topic, or scale its boxes and masks"
            raise InputError("image of the detections", f"{said[0]}x{said[1]}", expected, repair)
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(_own(entry, number, width, height) if ours else _of_vision_msgs(entry, number))
        except InputError as error:
            place = f"detections[{number}]: {error.what}"
            raise InputError(place, error.got, error.expected, error.repair) from error
        except (AttributeError, TypeError, ValueError) as error:
            repair = "check the type and version of the detections message"
            raise InputError(f"detections[{number}]", str(error), "a detection", repair) from error
    return tuple(found)


def names_of(message: Any) -> list[str]:
    """Ids that `detections_of` gives the entries of a message, in its order: their own, or d0, d1, ... by index."""
    return [_name(getattr(entry, "id", ""), number) for number, entry in enumerate(message.detections)]


def mask_crop(mask: Mask) -> tuple[int, int, npt.NDArray[np.uint8]]:
    """The smallest part with all set pixels of a mask: its column and row there; (h, w) uint8, 255 where set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise InputError("mask", "no pixel is set", "at least one pixel", "omit the mask")
    x, y = int(columns[0]), int(rows[0])
    part = mask[y : rows[-1] + 1, x : columns[-1] + 1]
    return x, y, part.astype(np.uint8) * np.uint8(255)


# ------------------------------------------------------------------------------------------------ our own messages


def _own(entry: Any, number: int, width: int, height: int) -> Detection:
    masks = entry.mask
    if len(masks) > 1:
        raise InputError("mask", f"{len(masks)} masks", "at most one", "send one detection for each mask")
    fronts: Sequence[Any] = getattr(entry, "front", ())  # messages of version 0.1 have none
    if len(fronts) > 1:
        raise InputError("front", f"{len(fronts)} directions", "at most one", "omit the direction if it is unknown")
    left, top, right, bottom = (float(side) for side in entry.box)
    mask = None
    if len(masks):
        if masks[0].encoding not in _MASK_ENCODINGS:
            raise UnknownNameError("mask encoding", str(masks[0].encoding), _MASK_ENCODINGS)
        crop = raw_view(masks[0], np.dtype(np.uint8), 1)
        (h, w), x, y = crop.shape, int(entry.mask_x), int(entry.mask_y)
        if not (x >= 0 and y >= 0 and x + w <= width and y + h <= height):
            repair = "set mask_x and mask_y to pixels inside the image"
            raise InputError("mask", f"{w}x{h} at ({x}, {y})", f"a part of {width}x{height}", repair)
        mask = np.zeros((height, width), np.bool_)
        np.not_equal(crop, 0, out=mask[y : y + h, x : x + w])
    front = (float(fronts[0].x), float(fronts[0].y), float(fronts[0].z)) if len(fronts) else None
    box, attributes = (left, top, right, bottom), tuple(entry.attributes)
    return Detection(_name(entry.id, number), entry.label, entry.score, box, mask, attributes, front)


# ------------------------------------------------------------------------------------------------ vision_msgs


def _of_vision_msgs(entry: Any, number: int) -> Detection:
    hypotheses = [getattr(result, "hypothesis", result) for result in entry.results]  # Foxy has no layer in between
    label, score = UNNAMED, 1.0
    if hypotheses:
        best = max(hypotheses, key=lambda h: float(h.score))
        label, score = str(best.class_id if hasattr(best, "class_id") else best.id), float(best.score)
    bbox = entry.bbox
    place = getattr(bbox.center, "position", bbox.center)  # geometry_msgs/Pose2D before version 4
    cos, sin = abs(math.cos(bbox.center.theta)), abs(math.sin(bbox.center.theta))
    half_x = (cos * bbox.size_x + sin * bbox.size_y) / 2
    half_y = (sin * bbox.size_x + cos * bbox.size_y) / 2
    box = place.x - half_x, place.y - half_y, place.x + half_x, place.y + half_y
    return Detection(_name(getattr(entry, "id", ""), number), label, score, box)


def _name(given: str, number: int) -> str:
    return given or f"d{number}"
