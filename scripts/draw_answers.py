# SPDX-License-Identifier: Apache-2.0
"""Draw the answers in docs/annotated_image.md: the demo's world, seen with the compact model.

Needs the extras `sim` and `compact`. Run: python -m scripts.draw_answers
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from spatial_vlm_ros import Resolver, ResolverConfig
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.sim.cameras import VGA
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS
from spatial_vlm_ros.sim.sensor import noisy

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
QUALITY = 88  # of JPEG
ANSWERS = (
    ("demo_behind", "behind", "grab me the chick behind the cup"),
    ("answer_place", "behind", "put the mug to the right of the cup"),
    ("answer_refused", "both_in_front", "grab me the chick behind the cup"),
    ("answer_ambiguous", "both_in_front", "the chick in front of the cup"),
)
"""File, world, sentence."""


def main() -> int:
    """Draw all of them."""
    resolver = Resolver(ResolverConfig(), load_grounder("compact", {}))
    for name, world, sentence in ANSWERS:
        with DEMO_WORLDS[world]() as simulated:
            frame = noisy(simulated.render(VGA).frame, np.random.default_rng(0))
        answered = resolver.look_at(frame).ask(sentence)
        image = draw(frame, answered.detections, answered.resolution, resolver.config, answered.scene)
        cv2.imwrite(
            str(FOLDER / f"{name}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        print(f"{name}: {answered.resolution.status.value}: {answered.resolution.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
