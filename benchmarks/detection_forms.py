# SPDX-License-Identifier: Apache-2.0
"""Quality of answers if a detector gives masks, boxes, or only points.

The same detections of a perfect detector are used in three forms: with their masks; as boxes, from which depth segments
masks; and as points in the middle of the masks, from which the connected surface is followed (`geometry.pointed`).
Scenes and questions are those of `benchmarks.accuracy`, with other seeds; or those of frame folders with cases.jsonl.

    python -m benchmarks.detection_forms                random tabletops
    python -m benchmarks.detection_forms --frames DIR   frame folders whose detections have masks
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.accuracy import FIRST_SEED, questions, view
from benchmarks.harness import finish, option, table
from spatial_vlm_ros import Detection, Resolver, RgbdFrame, Status, load_frame
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.types.proportions import wilson

Asked = tuple[RgbdFrame, tuple[Detection, ...], list[tuple[str, Status, str | None]]]


def as_box(detection: Detection) -> Detection:
    """The detection without its mask."""
    return dataclasses.replace(detection, mask=None)


def as_point(detection: Detection) -> Detection:
    """A point on the mask pixel nearest to the mask's centre; a detection without mask is unchanged."""
    if detection.mask is None:
        return detection
    rows, columns = np.nonzero(detection.mask)
    best = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    x, y = float(columns[best]), float(rows[best])
    return dataclasses.replace(detection, mask=None, box_xyxy=(x, y, x + 1.0, y + 1.0), pointed=True)


FORMS: dict[str, Callable[[Detection], Detection]] = {"masks": lambda one: one, "boxes": as_box, "points": as_point}


def tabletops(seeds: int) -> Iterator[Asked]:
    """Random tabletops with clear questions."""
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        one = view(seed)
        asked = [(question.instruction, question.status, question.id) for question in questions(one)]
        yield one.frame, one.seen.detections, asked


def folders(root: Path) -> Iterator[Asked]:
    """Read frame folders with the questions of their cases."""
    cases = [case for case in load_cases(root) if case.expect is not None]
    for name in dict.fromkeys(case.frame for case in cases):
        frame, detections = load_frame(root / name)
        mine = [(case.instruction, case.expect) for case in cases if case.frame == name]
        yield frame, detections, [(words, expect.status, expect.id) for words, expect in mine if expect is not None]


def measure(scenes: list[Asked]) -> dict[str, dict[str, int]]:
    """Counts by form and kind of outcome."""
    resolver, counts = Resolver(), {form: Counter[str]() for form in FORMS}
    for frame, detections, asked in scenes:
        for form, made in FORMS.items():
            observed = resolver.look_at(frame, [made(one) for one in detections])
            for words, status, id_ in asked:
                answer = observed.ask(words).resolution
                given = answer.target.id if answer.target is not None else None
                counts[form][judged(answer.status, given, status, id_)] += 1
    return {form: dict(counted) for form, counted in counts.items()}


def judged(status: Status, given: str | None, expected: Status, id_: str | None) -> str:
    """Class of an answer, compared with the expected one."""
    if expected is not Status.OK:
        return "answered where it must refuse" if status is Status.OK else "rightly refused"
    if status is not Status.OK:
        return "needlessly refused"
    return "right" if given == id_ else "wrong"


def main() -> int:
    """Measure and write benchmarks/results/detection_forms.json."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--frames", type=Path)
    given, sys.argv[1:] = parser.parse_known_args()
    frames = given.frames
    counts = measure(list(folders(frames) if frames else tabletops(int(option("seeds", 100)))))
    rows = []
    for form, counted in counts.items():
        answerable = sum(counted.get(kind, 0) for kind in ("right", "wrong", "needlessly refused"))
        wrong = counted.get("wrong", 0) + counted.get("answered where it must refuse", 0)
        shares = wilson(counted.get("right", 0), answerable), wilson(wrong, sum(counted.values()))
        rows.append((form, *(f"{s.k}/{s.n}, {s.low:.1%} to {s.high:.1%}" for s in shares)))
    table("answers by form of the detections", ("form", "right", "wrong"), rows)
    return finish("detection_forms", {"frames": str(frames or "random tabletops"), "answers": counts}, ())


if __name__ == "__main__":
    sys.exit(main())
