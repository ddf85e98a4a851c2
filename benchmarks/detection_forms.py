# SPDX-License-Identifier: Apache-2.0
"""Quality of answers by what is given: masks, boxes or points, with and without the transform of the camera.

The same detections of a perfect detector are used in three forms: with their masks; as boxes, from which depth segments
masks; and as points in the middle of the masks, from which the connected surface is followed (`geometry.pointed`).
Without the transform, "up" comes from the surface that the objects stand on. Scenes and questions are those of
`benchmarks.accuracy`, with seeds reserved for reports; or those of frame folders with cases.jsonl.

    python -m benchmarks.detection_forms                30 random tabletops
    python -m benchmarks.detection_forms --frames DIR   frame folders with cases; "transform" is then as recorded

For frame folders with truth.json, sizes and centres are compared with it, with masks and as boxes: for
objects at least half visible and inside the image, without tables; sizes are the extents along the axes of the base.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import FIRST_SEED, questions, view
from benchmarks.harness import arguments, finish
from spatial_vlm_ros import Detection, Resolver, ResolverConfig, RgbdFrame, Status
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.support import tables
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame

SEEDS = 30
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
CONDITIONS = {
    "transform, masks": (True, "masks"), "transform, boxes": (True, "boxes"), "transform, points": (True, "points"),
    "no transform, masks": (False, "masks"), "no transform, boxes": (False, "boxes"),
}  # fmt: skip
"""Name → whether the camera transform is given, and the form of the detections."""


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


def measure(scenes: Iterator[Asked], conditions: Sequence[str] = tuple(CONDITIONS)) -> dict[str, dict[str, int]]:
    """Counts by condition and kind of outcome."""
    resolver, counts = Resolver(), {name: Counter[str]() for name in conditions}
    for frame, detections, asked in scenes:
        for name in conditions:
            transform, form = CONDITIONS[name]
            seen = frame if transform else dataclasses.replace(frame, base_T_camera=None)
            observed = resolver.look_at(seen, [FORMS[form](one) for one in detections])
            for words, status, id_ in asked:
                answer = observed.ask(words).resolution
                given = answer.target.id if answer.target is not None else None
                counts[name][judged(answer.status, given, status, id_)] += 1
    return {name: dict(counted) for name, counted in counts.items()}


def judged(status: Status, given: str | None, expected: Status, id_: str | None) -> str:
    """Class of an answer, compared with the expected one."""
    if expected is not Status.OK:
        return "answered where it must refuse" if status is Status.OK else "rightly refused"
    if status is not Status.OK:
        return "needlessly refused"
    return "right" if given == id_ else "wrong"


def size_errors(root: Path) -> dict[str, dict[str, Any]]:
    """Errors of sizes and centres: median and 90 %, in mm and in percent of each extent, by form and noise of depth."""
    config, errors = ResolverConfig(), defaultdict[str, list[list[float]]](list)
    for path in sorted(root.glob("*/truth.json")):
        truth, (frame, given) = json.loads(path.read_text()), load_frame(path.parent)
        pose, noise = np.array(truth["base_T_camera"]["matrix"]), "noise" if truth["depth_noise"] else "no noise"
        masked, table = any(one.mask is not None for one in given), tables(given)
        judged_ids = {one.id for one, flat in zip(given, table, strict=True) if not flat} & truth["objects"].keys()
        for form in ("masks", "boxes") if masked else ("boxes",):
            scene = build_scene(frame, [FORMS[form](one) for one in given], config.depth, config.lift)
            for obj in scene.objects:
                if obj.depth_problem or obj.truncated or obj.id not in judged_ids:
                    continue
                true = truth["objects"][obj.id]
                if true["visible"] >= 0.5:
                    across = np.ptp(obj.footprint @ pose[:2, :3].T, axis=0)
                    wrong = np.abs(np.append(across, obj.box.size[2]) - true["size"])
                    centre = float(np.linalg.norm(pose[:3] @ np.append(obj.box.centre, 1.0) - true["center"]))
                    errors[f"{form}, {noise}"].append([*1e3 * wrong, *100 * wrong / true["size"], 1e3 * centre])
    found = {}
    for name, rows in sorted(errors.items()):
        of = np.array(rows)
        parts = {"size_mm": of[:, :3], "size_percent": of[:, 3:6], "centre_mm": of[:, 6]}
        both = {part: np.percentile(values, (50, 90)).round(1).tolist() for part, values in parts.items()}
        found[name] = {"n": len(rows), **both}
    return found


def main() -> int:
    """Measure and write benchmarks/results/detection_forms.json, for a folder detection_forms_FOLDER.json."""
    given = arguments(__doc__, frames=Path, seeds=SEEDS)
    counts = measure(folders(given.frames) if given.frames else tabletops(given.seeds))
    if given.frames:
        name = given.frames.resolve().name
        sizes = size_errors(given.frames)
        return finish(f"detection_forms_{name}", {"scenes": name, "answers": counts, "sizes": sizes}, ())
    return finish("detection_forms", {"scenes": "random tabletops", "seeds": given.seeds, "answers": counts}, ())


if __name__ == "__main__":
    raise SystemExit(main())
