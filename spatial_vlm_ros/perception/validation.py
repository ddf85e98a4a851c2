# SPDX-License-Identifier: Apache-2.0
"""Check that detections fit their image, and clip their boxes to it.

This module checks detections as a set; `types.Detection` checks a single one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.spatial.belief import SUPPORT_ID
from spatial_vlm_ros.types import Detection

MOST_DETECTIONS = 5000


def check_detections(detections: Iterable[Detection], width: int, height: int) -> tuple[Detection, ...]:
    """Check that detections belong to one image of the given size.

    Args:
        detections: detections of one frame, in any order.
        width: image width, pixels.
        height: image height, pixels.

    Returns:
        The same detections in the same order; a box that reaches outside the image is clipped to it.
    """
    try:
        detections = tuple(detections)
    except TypeError as error:
        raise InputError("detections", type(detections).__name__, "a list of Detection", "pass a list") from error
    for detection in detections:
        if not isinstance(detection, Detection):
            repair = "build Detection(...) of each"
            raise InputError("detections", type(detection).__name__, "Detection objects", repair)
    if len(detections) > MOST_DETECTIONS:
        raise InputError("detections", str(len(detections)), f"{MOST_DETECTIONS} at most", "raise the score threshold")
    _check_ids(detections)
    return tuple(_fitted(detection, width, height) for detection in detections)


def _check_ids(detections: tuple[Detection, ...]) -> None:
    if any(d.id == SUPPORT_ID for d in detections):
        raise InputError("detection id", repr(SUPPORT_ID), "another id", "this id is reserved for the support plane")
    repeated = [f"{n} detections have the id {id_!r}" for id_, n in Counter(d.id for d in detections).items() if n > 1]
    if repeated:
        shown = ", ".join(repeated[:5]) + (f" and {len(repeated) - 5} more" if len(repeated) > 5 else "")
        repair = "give each detection of a frame a different id"
        raise InputError("detection ids", shown, "each id once", repair)


def _fitted(detection: Detection, width: int, height: int) -> Detection:
    if detection.mask is not None and detection.mask.shape != (height, width):
        mask_height, mask_width = detection.mask.shape
        what = f"mask of detection {detection.id!r}"
        expected = f"{width}x{height} pixels, as in the image"
        raise ShapeError(what, expected=expected, received=f"{mask_width}x{mask_height} pixels")
    x0, y0, x1, y1 = detection.box_xyxy
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise InputError(
            f"box of detection {detection.id!r}",
            str(detection.box_xyxy),
            f"a box inside the image of {width}x{height} pixels",
            "pass pixels of this image, not of a resized one, and not fractions or thousandths of its size",
        )
    if detection.mask is not None:
        window = detection.mask[int(clipped[1]) : int(clipped[3]) + 1, int(clipped[0]) : int(clipped[2]) + 1]
        if not window.any():
            got = "no pixel inside its box"
            repair = "check that mask and box belong together and to this image"
            raise InputError(f"mask of detection {detection.id!r}", got, "the mask of the object in the box", repair)
    return detection if clipped == detection.box_xyxy else replace(detection, box_xyxy=clipped)
