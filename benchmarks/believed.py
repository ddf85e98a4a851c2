# SPDX-License-Identifier: Apache-2.0
"""Claim: of answers from real detectors that are stated with a confidence of 0.9 or more, 90 % are right.

    PYTHONPATH=MODELS python -m benchmarks.believed --frames DIR --grounder "nanodet=grounder:load model=nanodet" …

asks every case of each folder of each detector with `spatial-vlm evaluate`. The result has for each pair what became of
the poses, and of the likeliest candidate of every case the reliability diagram and the coverage-risk curve. A case that
expects a refusal has no right candidate.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, arguments, finish, share
from spatial_vlm_ros.types.proportions import wilson

SURE = 0.9
POINTS = 8  # of a curve that are kept, evenly spaced


def evaluated(frames: Path, grounder: str) -> dict[str, Any]:
    """What `spatial-vlm evaluate --out` writes of one detector on one folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.json"
        words = ("evaluate", "--frames", str(frames), "--grounder", grounder, "--out", str(out))
        subprocess.run((sys.executable, "-m", "spatial_vlm_ros.cli", *words), check=True, stdout=subprocess.DEVNULL)
        return dict(json.loads(out.read_text()))


def row(scores: dict[str, Any]) -> dict[str, Any]:
    """Poses and refusals, the bins of stated confidence, and the curve."""
    cases, every, poses = scores["cases"], scores["calibration"]["all"], scores["wrong_pose"]
    sure = [case["as_expected"] for case in cases if case["status"] == "OK" and case["confidence"] >= SURE]
    return {
        "asked": len(cases),
        "wrong_of_asked": asdict(wilson(poses["k"], len(cases))),
        "right_of_poses": asdict(wilson(poses["n"] - poses["k"], poses["n"])),
        "right_of_sure": share(sure),
        "right_of_due": scores["right_instance"],
        "statuses": Counter(case["status"] for case in cases),
        "reliability": every["bins"],
        "curve": every["curve"][:: max(1, len(every["curve"]) // POINTS)],
    }


def main() -> int:
    """Ask, print and write."""
    given = arguments(__doc__, frames=[Path], grounder=[str])
    rows = {
        f"{grounder.partition('=')[0]} on {frames.name}": row(evaluated(frames, grounder))
        for grounder, frames in itertools.product(given.grounder or (), given.frames or ())
    }
    sure = [one["right_of_sure"] for one in rows.values()]
    n, wrong = sum(one["asked"] for one in rows.values()), sum(one["wrong_of_asked"]["k"] for one in rows.values())
    claims = [Claim("wrong poses", 100 * wrong / max(n, 1), 2.0, "% of what was asked")]
    if any(one["n"] for one in sure):
        right = 100 * sum(one["k"] for one in sure) / sum(one["n"] for one in sure)
        claims.append(Claim(f"right of what is stated at {SURE} or more", right, 90.0, "%", least=True))
    return finish("believed", {"sets": rows}, claims)


if __name__ == "__main__":
    sys.exit(main())
