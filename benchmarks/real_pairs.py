# SPDX-License-Identifier: Apache-2.0
"""Four relations for every ordered pair of objects in the real frames, against expectations from the pixels.

The expectation uses only box centres and the median depth inside boxes or masks, as the notes of those frames define
the words: left and right from 35 pixels between centres, behind and in front from 4 cm between median depths. "Behind"
and "in front of" are expected to hold only where the boxes overlap sideways; they are expected to fail for every pair
whose depths are the other way round. Boxes also contain things in front of an object, so the expectation is rough, and
independent of how the package segments and lifts.

    python -m benchmarks.real_pairs               frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.real_pairs --frames 1    the first of them
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.harness import REAL_FRAMES, arguments, finish
from spatial_vlm_ros import Detection, Resolver, RgbdFrame, load_frame

CLEAR_PIXELS, CLEAR_METRES = 35.0, 0.04


def _name(obj: Detection, objects: Sequence[Detection]) -> str | None:
    """Words that name only one object: its label, or a colour and the label."""
    alike = [other for other in objects if other.label == obj.label]
    if len(alike) == 1:
        return obj.label
    for word in obj.attributes:
        if sum(word in other.attributes for other in alike) == 1:
            return f"{word} {obj.label}"
    return None


def median_depth(obj: Detection, frame: RgbdFrame) -> float:
    """Median depth of its mask, or of its box without one; metres."""
    x0, y0, x1, y1 = (int(c) for c in obj.box_xyxy)
    depth = frame.depth[y0:y1, x0:x1]
    return float(np.nanmedian(depth if obj.mask is None else depth[obj.mask[y0:y1, x0:x1]]))


def questions(frame: RgbdFrame, objects: Sequence[Detection]) -> Iterator[tuple[str, str]]:
    """Sentence and expected status for every clear pair."""
    for obj in objects:
        for anchor in objects:
            names = (_name(obj, objects), _name(anchor, objects))
            if obj is anchor or None in names:
                continue
            a, b = obj.box_xyxy, anchor.box_xyxy
            aside = (a[0] + a[2] - b[0] - b[2]) / 2
            deeper = median_depth(obj, frame) - median_depth(anchor, frame)
            overlap = min(a[2], b[2]) > max(a[0], b[0])
            for relation, value, clear in (
                ("to the left of", -aside, CLEAR_PIXELS),
                ("to the right of", aside, CLEAR_PIXELS),
                ("behind", deeper, CLEAR_METRES),
                ("in front of", -deeper, CLEAR_METRES),
            ):
                if abs(value) >= clear and (value < 0 or overlap or relation.startswith("to")):
                    status = "OK" if value > 0 else "RELATION_UNSATISFIED"
                    yield f"the {names[0]} {relation} the {names[1]}", status


def main() -> int:
    """Ask, print and write the confusion matrix."""
    most = arguments(__doc__, frames=1000).frames
    if not REAL_FRAMES.is_dir():
        print(f"real RGB-D frames not found at {REAL_FRAMES}; set SPATIAL_VLM_REAL_RGBD")
        return 1
    resolver, given = Resolver(), Counter[tuple[str, str]]()
    for folder in sorted(path for path in REAL_FRAMES.iterdir() if (path / "rgb.png").is_file())[:most]:
        frame, objects = load_frame(folder)
        for words, expected in questions(frame, objects):
            status = resolver.resolve(frame, words, objects).status.value
            given[expected, status] += 1
            if status != expected:
                print(f"{folder.name}  {words}: expected {expected}, got {status}")
    confusion = {f"{expected} -> {status}": k for (expected, status), k in sorted(given.items())}
    return finish("real_pairs", {"n": sum(given.values()), "confusion": confusion}, ())


if __name__ == "__main__":
    sys.exit(main())
