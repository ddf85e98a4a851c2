# SPDX-License-Identifier: Apache-2.0
"""Requests for masks, as exchanged between a grounder's process and its owner; see worker_wire.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.worker_wire import (
    MaskRequest,
    WireDetection,
    WireError,
    WorkerReply,
    found,
    image_body,
)
from spatial_vlm_ros.types import Detection, Rgb


def ask_masks(
    number: int, rgb: Rgb, detections: Sequence[Detection]
) -> tuple[MaskRequest, list[memoryview | bytes]]:  # fmt: skip
    """Make header and body of a request for masks.

    Raises:
        InputError: an element is not a Detection.
        ShapeError: `rgb` is not (H, W, 3) uint8.
    """
    for one in detections:
        if not isinstance(one, Detection):
            raise InputError("detections", type(one).__name__, "Detection objects", "build Detection(...) of each")
    objects = tuple(
        WireDetection(one.id, one.label, one.score, one.box_xyxy, one.attributes, False, one.front, one.pointed)
        for one in detections
    )
    return MaskRequest(number, rgb.shape[0], rgb.shape[1], objects), image_body(rgb)


def detections_of(header: MaskRequest) -> tuple[Detection, ...]:
    """Return the detections that need masks.

    Raises:
        WireError: a detection is invalid.
    """
    try:
        return tuple(
            Detection(o.id, o.label, o.score, o.box, None, o.attributes, o.front, o.pointed) for o in header.objects
        )
    except InputError as error:
        raise WireError(f"an invalid detection: {error}") from error


def masks_reply(
    number: int, masked: Sequence[Detection], size: tuple[int, int]
) -> tuple[WorkerReply, list[memoryview | bytes]]:
    """Make header and body of an answer about an image of `size` (height, width), pixels.

    Raises:
        InputError, ShapeError: as `found`.
    """
    return found(number, Grounding(tuple(masked), np.zeros((0, len(masked)))), size)
