# SPDX-License-Identifier: Apache-2.0
"""Four relations for every ordered pair of objects in the real frames, against expectations from the pixels.

The expectation uses only box centres and the median depth inside boxes or masks (`sides_and_depth`).

    python -m benchmarks.real_pairs               frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.real_pairs --frames 1    the first of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.harness import REAL_FRAMES, arguments, finish, frames_of
from spatial_vlm_ros import Detection, Resolver, RgbdFrame, load_frame

_CLEAR_PIXELS, _CLEAR_METRES = 35.0, 0.04


def _name(obj: Detection, objects: Sequence[Detection]) -> str | None:
    """Words that name only one object: its label, or a colour and the label."""
    alike = [other for other in objects if other.label == obj.label]
    if len(alike) == 1:
        return obj.label
    for word in obj.attributes:
        if sum(word in other.attributes for other in alike) == 1:
            return f"{word} {obj.label}"
    return None


def sides_and_depth(
    frame: RgbdFrame, detections: Sequence[Detection]
) -> Iterator[tuple[Detection, Detection, str, bool]]:
    """Target, anchor, relation and whether it holds, for every clear pair.

    "Behind" and "in front of" hold only where the boxes overlap sideways; they fail for every pair whose depths are the
    other way round.
    """
    for target in detections:
        for anchor in detections:
            if target is anchor:
                continue
            a, b = target.box_xyxy, anchor.box_xyxy
            aside = (a[0] + a[2] - b[0] - b[2]) / 2
            deeper = _median_depth(target, frame) - _median_depth(anchor, frame)
            overlap = min(a[2], b[2]) > max(a[0], b[0])
            if abs(aside) >= _CLEAR_PIXELS:
                yield target, anchor, "left of", aside < 0
                yield target, anchor, "right of", aside > 0
            if abs(deeper) >= _CLEAR_METRES and (overlap or deeper < 0):
                yield target, anchor, "behind", deeper > 0
            if abs(deeper) >= _CLEAR_METRES and (overlap or deeper > 0):
                yield target, anchor, "in front of", deeper < 0


def _median_depth(obj: Detection, frame: RgbdFrame) -> float:
    """Median depth of its mask, or of its box without one; metres."""
    x0, y0, x1, y1 = (int(c) for c in obj.box_xyxy)
    depth = frame.depth[y0:y1, x0:x1]
    return float(np.nanmedian(depth if obj.mask is None else depth[obj.mask[y0:y1, x0:x1]]))


def main() -> int:
    """Ask, print and write the confusion matrix."""
    most = arguments(__doc__, frames=1000).frames
    if not REAL_FRAMES.is_dir():
        print(f"real RGB-D frames not found at {REAL_FRAMES}; set SPATIAL_VLM_REAL_RGBD")
        return 1
    resolver, given = Resolver(), Counter[tuple[str, str]]()
    for folder in frames_of(REAL_FRAMES)[:most]:
        frame, objects = load_frame(folder)
        for target, anchor, relation, holds in sides_and_depth(frame, objects):
            names = (_name(target, objects), _name(anchor, objects))
            if None in names:
                continue
            expected = "OK" if holds else "RELATION_UNSATISFIED"
            to = "to the " if relation in ("left of", "right of") else ""
            words = f"the {names[0]} {to}{relation} the {names[1]}"
            status = resolver.resolve(frame, words, objects).status.value
            given[expected, status] += 1
            if status != expected:
                print(f"{folder.name}  {words}: expected {expected}, got {status}")
    confusion = {f"{expected} -> {status}": k for (expected, status), k in sorted(given.items())}
    return finish("real_pairs", {"n": sum(given.values()), "confusion": confusion}, ())


if __name__ == "__main__":
    raise SystemExit(main())
