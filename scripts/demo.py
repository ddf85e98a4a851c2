# SPDX-License-Identifier: Apache-2.0
"""The demo: sentences on a real RGB-D frame when one is there, else on a frame that the package makes itself.

Prints each answer, writes its picture to out/demo_*.png, and exits 0 when all answers are as expected.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2

from spatial_vlm_ros import Detection, Resolver, RgbdFrame, Status, load_frame, terminal
from spatial_vlm_ros.picture import draw
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"

# Sentence, expected status, expected object.
REAL = (
    ("grab the can behind the cup", Status.OK, "d1"),
    ("get the yellow block in front of the wipes", Status.OK, "d3"),
    ("pick up the cup to the left of the yellow block", Status.RELATION_UNSATISFIED, None),
    ("pick up the banana", Status.NOT_FOUND, None),
)
MADE = (
    ("grab me the chick behind the cup", Status.OK, "bonnet"),
    ("grab me the chick in front of the cup", Status.OK, "ribbon"),
    ("grab me the chick left of the box", Status.RELATION_UNSATISFIED, None),
    ("grab me the chick", Status.AMBIGUOUS, None),
)


def main() -> int:
    """Resolve the sentences; 0 when every answer is as expected."""
    folder = Path(os.environ.get("SPATIAL_VLM_REAL_RGBD", ROOT / "../shared/data/real_rgbd")) / "f01"
    if folder.is_dir():
        print("A real frame:", folder.name)
        (frame, detections), sentences = load_frame(folder), REAL
    else:
        print("A made frame (no real one found; set SPATIAL_VLM_REAL_RGBD)")
        (frame, detections), sentences = chicks_and_cup_frame(), MADE
    good = [answer(number, *sentence, frame, detections) for number, sentence in enumerate(sentences, 1)]
    print(f"\n{sum(good)} of {len(good)} as expected; pictures in {OUT}")
    return 0 if all(good) else 1


def answer(
    number: int,
    instruction: str,
    status: Status,
    target: str | None,
    frame: RgbdFrame,
    detections: tuple[Detection, ...],
) -> bool:
    """Print and draw one answer; whether it is as expected."""
    resolution = Resolver().resolve(frame, instruction, detections)
    print(f"\n> {instruction}")
    terminal.resolution(resolution)
    OUT.mkdir(exist_ok=True)
    picture = cv2.cvtColor(draw(frame, detections, resolution), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(OUT / f"demo_{number}.png"), picture)
    return resolution.status is status and (resolution.target.id if resolution.target else None) == target


if __name__ == "__main__":
    sys.exit(main())
