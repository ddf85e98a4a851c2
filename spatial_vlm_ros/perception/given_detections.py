# SPDX-License-Identifier: Apache-2.0
"""Backend "detections": objects found by another program, matched to phrases by their labels."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.spatial.detector_profile import GIVEN
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


class GivenDetections:
    """A grounder that answers from given detections."""

    looks = False

    def __init__(self, detections: Sequence[Detection]) -> None:
        self._detections = tuple(detections)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Match the labels to the phrases; see Grounder.ground."""
        detections = check_detections(self._detections, rgb.shape[1], rgb.shape[0])
        return Grounding(detections, label_match(phrases, detections), profile=GIVEN)
