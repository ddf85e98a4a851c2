# SPDX-License-Identifier: Apache-2.0
"""Draw the answers in docs/annotated_image.md: the demo's world, seen with the compact model.

Needs the extras `sim` and `compact`. Run: python -m scripts.draw_answers
"""

from __future__ import annotations

import sys

from scripts.images import demo_frame, save_jpeg
from spatial_vlm_ros import Resolver, ResolverConfig
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.perception import load_grounder

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
        frame, _ = demo_frame(world)
        answered = resolver.look_at(frame).ask(sentence)
        save_jpeg(draw(frame, answered.detections, answered.resolution, resolver.config, answered.scene), name)
        print(f"{name}: {answered.resolution.status.value}: {answered.resolution.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
