# SPDX-License-Identifier: Apache-2.0
"""What the small judge of relations says, by relation, against what is true of pairs of objects.

On settled tabletops truth is that of the simulator. On frame folders it is made of box centres and median depths, as in
`benchmarks.real_pairs`: sides from 35 pixels between centres on, depth from 4 cm between medians on. "Usual" are pairs
of which the farther one is higher in the image, "contrary" the others. Pairs of a frame are not independent, and the
intervals take them as if they were. Calibrations are fitted on other tabletops.

    python -m benchmarks.relation_judge --seeds 200
    python -m benchmarks.relation_judge --frames DIR DIR
    python -m benchmarks.relation_judge --calibrate 200 --write models/relation_judge/calibration.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Claim, finish, table
from benchmarks.real_pairs import CLEAR_METRES, CLEAR_PIXELS, median_depth
from spatial_vlm_ros import Detection, RgbdFrame, load_frame
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge, load
from spatial_vlm_ros.perception.judging import CHOICES, RelationQuestion
from spatial_vlm_ros.sim.relation_pairs import world_pairs
from spatial_vlm_ros.sim.settled import settled_tabletop
from spatial_vlm_ros.spatial.clause_judge import fitted
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import wilson
from spatial_vlm_ros.vlm.relation_judge.crops import OUTPUTS

FIRST_TEST, FIRST_CALIBRATION = 4_900_000, 4_800_000
SIZE = (640, 480)
_TIMED = 30
_LONG = 600.0


@dataclass(frozen=True)
class JudgedPair:
    """A relation of a pair, whether it holds, and the small judge's probability; None = no opinion."""

    relation: str
    holds: bool
    p: float | None
    contrary: bool


def judged(judge: SmallRelationJudge, rgb: Rgb, pairs: Sequence[tuple[RelationQuestion, bool]]) -> list[JudgedPair]:
    """Ask about pairs of an image."""
    said = judge.judge(rgb, [question for question, _ in pairs], _LONG)
    return [
        JudgedPair(question.relation, holds, p, _contrary(question, holds))
        for (question, holds), p in zip(pairs, said, strict=True)
    ]


def _contrary(question: RelationQuestion, holds: bool) -> bool:
    """Whether a relation of depth is otherwise than "higher is farther" has it."""
    higher = question.target[1] + question.target[3] < question.anchor[1] + question.anchor[3]
    return question.relation in ("behind", "in front of") and (higher == (question.relation == "behind")) != holds


def tabletops(judge: SmallRelationJudge, first: int, seeds: int) -> list[JudgedPair]:
    """Of settled tabletops, from their own cameras."""
    found = []
    for seed in range(first, first + seeds):
        with settled_tabletop(seed) as world:
            view = world_pairs(world, SIZE, seed)
        if view is None:
            continue
        pairs = []
        for (target, anchor), row in zip(view.boxes.tolist(), view.holds.tolist(), strict=True):
            told = {**dict(zip(OUTPUTS, row, strict=True))}
            told["left of"] = 1.0 - told["right of"]
            pairs += [
                (RelationQuestion(relation, tuple(target), tuple(anchor)), told[relation] == 1.0)
                for relation in CHOICES
                if not np.isnan(told[relation])
            ]
        found += judged(judge, view.rgb, pairs)
    return found


def folder(judge: SmallRelationJudge, root: Path) -> list[JudgedPair]:
    """Of the frames of a folder."""
    found = []
    for path in sorted(one for one in root.iterdir() if (one / "rgb.png").is_file()):
        frame, detections = load_frame(path)
        found += judged(judge, frame.rgb, list(_pairs(frame, detections)))
    return found


def _pairs(frame: RgbdFrame, detections: Sequence[Detection]) -> Iterator[tuple[RelationQuestion, bool]]:
    for target in detections:
        for anchor in detections:
            if target is anchor:
                continue
            a, b = target.box_xyxy, anchor.box_xyxy
            aside = (a[0] + a[2] - b[0] - b[2]) / 2
            deeper = median_depth(target, frame) - median_depth(anchor, frame)
            overlap = min(a[2], b[2]) > max(a[0], b[0])
            if abs(aside) >= CLEAR_PIXELS:
                yield RelationQuestion("left of", a, b), aside < 0
                yield RelationQuestion("right of", a, b), aside > 0
            if abs(deeper) >= CLEAR_METRES and (overlap or deeper < 0):
                yield RelationQuestion("behind", a, b), deeper > 0
            if abs(deeper) >= CLEAR_METRES and (overlap or deeper > 0):
                yield RelationQuestion("in front of", a, b), deeper < 0


def summary(pairs: Sequence[JudgedPair]) -> dict[str, dict[str, object]]:
    """Counts by relation; of depth by "usual" and "contrary", too."""
    groups: dict[str, list[JudgedPair]] = defaultdict(list)
    for one in pairs:
        groups[one.relation].append(one)
        if one.relation in ("behind", "in front of"):
            groups[f"{one.relation}, {'contrary' if one.contrary else 'usual'}"].append(one)
    return {name: _counted(group) for name, group in sorted(groups.items())}


def _counted(group: Sequence[JudgedPair]) -> dict[str, object]:
    said = [one for one in group if one.p is not None]
    counts: dict[str, object] = {"n": len(group), "none": len(group) - len(said)}
    for name, truth in (("holds", True), ("fails", False)):
        of = [one for one in said if one.holds is truth]
        counts[name] = [sum((one.p or 0.0) > 0.5 for one in of) if truth else
                        sum((one.p or 0.0) <= 0.5 for one in of), len(of)]  # fmt: skip
    return counts


def calibrations(pairs: Sequence[JudgedPair]) -> dict[str, dict[str, object]]:
    """What `judge.calibration` takes, by relation."""
    groups: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one in pairs:
        if one.p is not None:
            groups[one.relation].append((one.p, one.holds))
    made = {}
    for relation, said in sorted(groups.items()):
        p, holds = zip(*said, strict=True)
        made[relation] = asdict(fitted(np.array(p), np.array(holds)))
    return made


def milliseconds(judge: SmallRelationJudge) -> float:
    """Median of one pair in an image of 640 x 480, one thread, mirrored image included."""
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    question = RelationQuestion("behind", (100.0, 100.0, 180.0, 220.0), (220.0, 140.0, 300.0, 260.0))
    times = []
    for _ in range(_TIMED):
        begun = time.perf_counter()
        judge.judge(rgb, [question], _LONG)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def main() -> int:
    """Measure and write benchmarks/results/relation_judge.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], add_help=False)
    parser.add_argument("--model", default="", help="folder of the model; default: the one that is shipped")
    parser.add_argument("--seeds", type=int, default=0, help="settled tabletops that it is tested on")
    parser.add_argument("--calibrate", type=int, default=0, help="other tabletops that calibrations are fitted on")
    parser.add_argument("--frames", type=Path, nargs="*", default=[], help="frame folders that it is tested on")
    parser.add_argument("--write", type=Path, help="file of these calibrations, for judge.calibration")
    given, sys.argv[1:] = parser.parse_known_args()
    judge = load(given.model)
    sources = {"settled tabletops": tabletops(judge, FIRST_TEST, given.seeds)} if given.seeds else {}
    sources.update({path.name: folder(judge, path) for path in given.frames})
    figures = {}
    for name, pairs in sources.items():
        figures[name] = summary(pairs)
        rows = []
        for relation, counts in figures[name].items():
            shares = [wilson(*counts[truth]) if counts[truth][1] else None for truth in ("holds", "fails")]  # type: ignore[index, misc]
            shown = (f"{s.k}/{s.n}, {s.low:.1%} to {s.high:.1%}" if s else "-" for s in shares)
            rows.append((relation, f"{counts['none']}/{counts['n']}", *shown))
        table(f"{name}: right", ("relation", "no opinion", "where it holds", "where it fails"), rows)
    fits = calibrations(tabletops(judge, FIRST_CALIBRATION, given.calibrate)) if given.calibrate else {}
    if given.write:
        measured = {"benchmark": "relation_judge", "seeds": [FIRST_CALIBRATION, FIRST_CALIBRATION + given.calibrate]}
        whole = {"schema": 1, "model": "relation-judge, settled tabletops", "measured": measured, "relations": fits}
        given.write.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    took = milliseconds(judge)
    claim = Claim("one pair, both images, one thread", took, 20.0, "ms")
    return finish("relation_judge", {"figures": figures, "calibrations": fits, "pair_ms": round(took, 2)}, [claim])


if __name__ == "__main__":
    sys.exit(main())
