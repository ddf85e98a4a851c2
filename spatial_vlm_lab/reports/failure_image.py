# SPDX-License-Identifier: Apache-2.0
"""The image of a case that went wrong: the answer on its frame and from above, and where the right object is."""

from __future__ import annotations

import logging

import cv2
import numpy as np

from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import draw, enlargement
from spatial_vlm_ros.parameters import ResolverConfig

_log = logging.getLogger(__name__)
_QUALITY = 85  # of JPEG
_TRUTH = (24, 140, 72)  # RGB: the outline of the right object


def failure_image(one: EvaluatedCase, config: ResolverConfig) -> bytes | None:
    """The answer drawn on its frame, as JPEG; None if there is no frame, or it cannot be drawn, which is logged.

    A dashed green box is about the right object. Of a stored answer, which does not keep what was found, the true
    objects are drawn.
    """
    if one.frame is None:
        return None
    try:
        detections = one.detections or tuple(each.detection for each in one.objects if each.detection is not None)
        image = draw(one.frame, detections, one.resolution, config, one.scene)
        expected_id = None if one.result is None else one.result.expected_id
        for box in (each.box for each in one.objects if each.id == expected_id and each.box is not None):
            left, top, right, bottom = np.array(box) * enlargement(one.frame)
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            drawing.line(image, corners, _TRUTH, 2, closed=True, dashed=True)
        drawn = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
    except Exception:  # an image that cannot be drawn costs itself, not the report
        _log.exception("unexpected exception while drawing %r of %s", one.case.instruction, one.source)
        return None
