# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the small relation judge, by relation, against the true relations of pairs.

The pairs and their truth are those of `benchmarks.judged_pairs`: settled tabletops, raised worlds and frame folders.
"Contrary" pairs contradict a rule of thumb: "higher in the image is farther" for depth, "boxes that overlap touch" for
contact. Pairs of a frame are not independent: intervals are those of a bootstrap over frames. Intervals of shares are
at least as wide as Wilson's over pairs, because a bootstrap is uninformative if all are right.

Calibrations for `judge.mode: fuse` are fitted on each frame folder, and on other worlds of each kind.

    python -m benchmarks.relation_judge --seeds 200 --raised 100           tabletops and raised worlds
    python -m benchmarks.relation_judge --frames DIR DIR --calibrate 200   frame folders; worlds that are fitted on
    python -m benchmarks.relation_judge --calibrate 200 --write models/relation_judge/calibration.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, arguments, finish
from benchmarks.judged_pairs import JudgedPair, folder, groups_of, raised, tabletops
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge, load
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted
from spatial_vlm_ros.types.proportions import wilson

FIRST_TEST, FIRST_CALIBRATION = 4_900_000, 4_800_000  # for both kinds of worlds
_TIMED = 30
_LONG = 600.0
_RESAMPLES = 1000
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Interval = tuple[float, float, float]
"""Estimate, and the 95 % interval of the resamples."""


def summary(pairs: Sequence[JudgedPair]) -> dict[str, dict[str, object]]:
    """Counts by relation and group, each with the interval of its share."""
    return {name: _counted(group) for name, group in groups_of(pairs).items()}


def _counted(group: Sequence[JudgedPair]) -> dict[str, object]:
    said = [one for one in group if one.p is not None]
    counts: dict[str, object] = {"n": len(group), "none": len(group) - len(said)}
    for name, truth in (("holds", True), ("fails", False)):
        of = [one for one in said if one.holds is truth]
        right = np.array([((one.p or 0.0) > 0.5) is truth for one in of], np.float64)
        counts[name] = [int(right.sum()), len(of)]
        if of:
            _, *ends = _over_frames([one.frame for one in of], partial(_mean, right))
            pairs = wilson(int(right.sum()), len(of))
            counts[f"{name}_95"] = [round(min(ends[0], pairs.low), 4), round(max(ends[1], pairs.high), 4)]
    return counts


def calibrations(pairs: Sequence[JudgedPair]) -> dict[str, JudgeCalibration]:
    """Values for `judge.calibration`, by relation, and for depth by which object is higher in the image."""
    groups: dict[str, list[tuple[float, bool]]] = {}
    for one in pairs:
        if one.p is not None:
            groups.setdefault(one.name, []).append((one.p, one.holds))
    made = {}
    for relation, said in sorted(groups.items()):
        p, holds = zip(*said, strict=True)
        made[relation] = fitted(np.array(p), np.array(holds))
    return made


def _mean(values: Floats, rows: Rows) -> float:
    return float(values[rows].mean())


def _over_frames(frames: Sequence[str], measure: Callable[[Rows], float]) -> Interval:
    """A measure of rows, and its middle 95 % when whole frames are drawn with replacement."""
    names, owners = np.unique(frames, return_inverse=True)
    rows = np.split(np.argsort(owners, kind="stable"), np.cumsum(np.bincount(owners))[:-1])
    rng = np.random.default_rng(0)
    drawn = [measure(np.concatenate([rows[k] for k in rng.integers(len(names), size=len(names))]))
             for _ in range(_RESAMPLES)]  # fmt: skip
    low, high = (float(v) for v in np.percentile(drawn, (2.5, 97.5)))
    return round(measure(np.arange(len(frames))), 4), round(low, 4), round(high, 4)


def milliseconds(judge: SmallRelationJudge) -> float:
    """Median milliseconds for one pair in an image of 640 x 480, one thread, including the mirrored image."""
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    question = RelationQuestion("behind", (100.0, 100.0, 180.0, 220.0), (220.0, 140.0, 300.0, 260.0))
    times = []
    for _ in range(_TIMED):
        begun = time.perf_counter()
        judge.judge(rgb, [question], _LONG)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def contrary_shares(pairs: Sequence[JudgedPair]) -> dict[str, float]:
    """Share of pairs that contradict "higher is farther", by depth relation."""
    of = {name: [one.contrary for one in pairs if one.relation == name] for name in DEPTH_RELATIONS}
    return {name: round(float(np.mean(contrary)), 3) for name, contrary in of.items() if contrary}


def main() -> int:
    """Measure and write benchmarks/results/relation_judge.json."""
    given = arguments(__doc__, model="", seeds=0, raised=0, calibrate=0, frames=[Path], write=Path)
    if given.write and not given.calibrate:
        print("--write needs --calibrate N: the worlds that calibrations are fitted on", file=sys.stderr)
        return 2
    judge = load(given.model)
    sources = {"settled tabletops": tabletops(judge, FIRST_TEST, given.seeds)} if given.seeds else {}
    if given.raised:
        sources["raised worlds"] = raised(judge, FIRST_TEST, given.raised)
    sources.update({path.name: folder(judge, path) for path in given.frames})
    figures = {name: summary(pairs) for name, pairs in sources.items()}
    fitted_on = {path.name: sources[path.name] for path in given.frames}
    if given.calibrate:
        fitted_on["settled tabletops"] = tabletops(judge, FIRST_CALIBRATION, given.calibrate)
        fitted_on["raised worlds"] = raised(judge, FIRST_CALIBRATION, given.calibrate)
        fitted_on["both"] = [*fitted_on["settled tabletops"], *fitted_on["raised worlds"]]
    fits = {name: calibrations(pairs) for name, pairs in fitted_on.items()}
    shares = {name: contrary_shares(pairs) for name, pairs in {**sources, **fitted_on}.items()}
    if given.write:
        both = fitted_on["both"]
        measured = {
            "benchmark": "relation_judge", "seeds": [FIRST_CALIBRATION, FIRST_CALIBRATION + given.calibrate],
            "frames": len({one.frame for one in both}), "contrary": contrary_shares(both),
        }  # fmt: skip
        relations = {name: asdict(one) for name, one in fits["both"].items()}
        model = "relation-judge, settled tabletops and raised worlds"
        whole = {"schema": 1, "model": model, "measured": measured, "relations": relations}
        given.write.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    took = milliseconds(judge)
    claim = Claim("one pair, both images, one thread", took, 20.0, "ms")
    kept = {
        "figures": figures, "contrary": shares, "pair_ms": round(took, 2),
        "calibrations": {name: {r: asdict(one) for r, one in fit.items()} for name, fit in fits.items()},
    }  # fmt: skip
    return finish("relation_judge", kept, [claim])


if __name__ == "__main__":
    sys.exit(main())
