# SPDX-License-Identifier: Apache-2.0
"""The protocol of all models and detectors: find the objects that some phrases name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


@dataclass(frozen=True, eq=False)
class Grounding:
    """Result of a grounder.

    Args:
        detections: N objects.
        match: (P, N) float64, 0..1: probability that an object is what a phrase's category names. Attributes, relations
            and orders are judged later by measurement.
        unread: unreadable parts of the model's reply, printable: objects may be missing.
    """

    detections: tuple[Detection, ...]
    match: npt.NDArray[np.float64]
    unread: tuple[str, ...] = ()


class Grounder(Protocol):
    """Finds objects by name in an image. Each implementation has its own file and is loaded by name.

    A grounder may declare the domain of its training images with an attribute `domain`, one of types.MODEL_DOMAINS:
    "simulated" for only simulated images, "photographs", or "any" for both. Without the attribute the domain is
    "unknown". See `perception.domain` for its use.
    """

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find all objects that the phrases name.

        Args:
            rgb: (H, W, 3) uint8.
            phrases: P phrases: those of the target and of all anchors.

        Returns:
            Detections with boxes inside the image, and how well each fits each phrase.

        Raises:
            ModelError: the model failed. Finding nothing is not a failure.
        """
        ...
