# SPDX-License-Identifier: Apache-2.0
"""The one question asked of every model or detector: where are the objects that these phrases name?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


@dataclass(frozen=True, eq=False)
class Grounding:
    """What a grounder found.

    Args:
        detections: N objects.
        match: (P, N) float64, 0..1: probability that an object is what a phrase's category names. Attributes,
            relations and orders are judged later, from measurements.
        unread: what a model wrote of objects that could not be read, printable: objects may be missing.
    """

    detections: tuple[Detection, ...]
    match: npt.NDArray[np.float64]
    unread: tuple[str, ...] = ()


class Grounder(Protocol):
    """Finds objects by name in an image. Implementations live one in a file and are loaded by name.

    One that knows what it was trained on says so by an attribute `domain`, one of types.MODEL_DOMAINS: "simulated" for
    simulated images only, "photographs", or "any" for both. Without it the domain is "unknown". What follows from it is
    in `perception.domain`.
    """

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find all objects that the phrases name.

        Args:
            rgb: (H, W, 3) uint8.
            phrases: P phrases: the target's and all anchors'.

        Returns:
            Detections with boxes inside the image, and how well each fits each phrase.

        Raises:
            ModelError: the model failed; finding nothing is no failure.
        """
        ...
