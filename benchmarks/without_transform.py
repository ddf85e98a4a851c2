# SPDX-License-Identifier: Apache-2.0
"""Quality of answers without a camera transform, with masks and with only boxes.

Without the transform, "up" comes from the surface that the objects stand on. Scenes and questions are those of
`benchmarks.detection_forms`: random tabletops with seeds reserved for reports, and a perfect detector.

    python -m benchmarks.without_transform                30 random tabletops
    python -m benchmarks.without_transform --frames DIR   frame folders with cases; "transform" is then as recorded
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from pathlib import Path

from benchmarks.detection_forms import Asked, as_box, folders, judged, tabletops
from benchmarks.harness import finish, option, table
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.types.proportions import wilson

SEEDS = 30
CONDITIONS = {
    "transform, masks": (True, True), "transform, boxes": (True, False),
    "no transform, masks": (False, True), "no transform, boxes": (False, False),
}  # fmt: skip
"""Name → whether the camera transform is given, and whether the masks are."""


def measure(scenes: list[Asked]) -> dict[str, dict[str, int]]:
    """Counts by condition and kind of outcome."""
    resolver, counts = Resolver(), {name: Counter[str]() for name in CONDITIONS}
    for frame, detections, asked in scenes:
        for name, (transform, masks) in CONDITIONS.items():
            seen = frame if transform else dataclasses.replace(frame, base_T_camera=None)
            observed = resolver.look_at(seen, detections if masks else [as_box(one) for one in detections])
            for words, status, id_ in asked:
                answer = observed.ask(words).resolution
                given = answer.target.id if answer.target is not None else None
                counts[name][judged(answer.status, given, status, id_)] += 1
    return {name: dict(counted) for name, counted in counts.items()}


def main() -> int:
    """Measure and write benchmarks/results/without_transform.json, for a folder without_transform_FOLDER.json."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--frames", type=Path, help="frame folders with cases")
    given, sys.argv[1:] = parser.parse_known_args()
    seeds = int(option("seeds", SEEDS))
    counts = measure(list(folders(given.frames) if given.frames else tabletops(seeds)))
    rows = []
    for name, counted in counts.items():
        right, wrong, needless = (counted.get(kind, 0) for kind in ("right", "wrong", "needlessly refused"))
        due = right + wrong + needless
        refusals = counted.get("rightly refused", 0), counted.get("answered where it must refuse", 0)
        shares = wilson(wrong, due), wilson(needless, due), wilson(refusals[1], sum(refusals))
        rows.append((name, *(f"{s.k}/{s.n}, {s.low:.1%} to {s.high:.1%}" for s in shares)))
    header = ("condition", "wrong", "needlessly refused", "answered where it must refuse")
    table("answers by what is given", header, rows)
    if given.frames:
        name = given.frames.resolve().name
        return finish(f"without_transform_{name}", {"scenes": name, "answers": counts}, ())
    return finish("without_transform", {"scenes": "random tabletops", "seeds": seeds, "answers": counts}, ())


if __name__ == "__main__":
    sys.exit(main())
