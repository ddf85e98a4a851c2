# SPDX-License-Identifier: Apache-2.0
"""Four relations for every ordered pair of objects in the real frames, against expectations from the pixels.

The expectation uses only box centres and the median depth inside boxes or masks (`judged_pairs.sides_and_depth`).

    python -m benchmarks.real_pairs               frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.real_pairs --frames 1    the first of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.harness import REAL_FRAMES, arguments, finish, frames_of
from benchmarks.judged_pairs import sides_and_depth
from spatial_vlm_ros import Detection, Resolver, load_frame


def _name(obj: Detection, objects: Sequence[Detection]) -> str | None:
    """Words that name only one object: its label, or a colour and the label."""
    alike = [other for other in objects if other.label == obj.label]
    if len(alike) == 1:
        return obj.label
    for word in obj.attributes:
        if sum(word in other.attributes for other in alike) == 1:
            return f"{word} {obj.label}"
    return None


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
