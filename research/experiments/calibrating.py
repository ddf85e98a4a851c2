# SPDX-License-Identifier: Apache-2.0
"""Claim: confidence means what it says, also under a model of noise that it was not fitted on.

Fits `decision.calibration_slope` and `calibration_offset` on the answers of one run of
`research.experiments.constructed` (time of flight, erring detector), and reports calibration on another (stereo, erring
detector). Both runs come first:

    python -m research.experiments.constructed --noise tof --errors --first-seed 150000 --items 16
    python -m research.experiments.constructed --noise stereo --errors
    python -m research.experiments.calibrating
    python -m research.experiments.calibrating --items 16 --only behind  makes both runs first; kept apart
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, finish, table
from research.experiments import RESULTS
from spatial_vlm_lab.scoring.calibration import calibrate
from spatial_vlm_ros.parameters import DecisionConfig
from spatial_vlm_ros.types.proportions import wilson

FITTED, REPORTED = "constructed_tof_errors", "constructed_stereo_errors"
RUNS = {
    FITTED: ("--noise", "tof", "--errors", "--first-seed", "150000"),
    REPORTED: ("--noise", "stereo", "--errors"),
}
PART = "_part"
"""What is added to the names of runs of some relations."""
LEAST_SLOPE = 0.2  # a surer posterior is a surer answer, even where most errors are the detector's and not its own
_FAR = 30.0  # log-odds beyond which a probability is one
_STEPS = 50  # of Newton's method; five do


def make(items: int, relations: Sequence[str]) -> None:
    """Make both runs: so many items of each relation; no relations = all."""
    of = [word for relation in relations for word in ("--only", relation)]
    kept = ["--name", PART.removeprefix("_")] if relations else []
    for options in RUNS.values():
        command = [
            sys.executable,
            "-m",
            "research.experiments.constructed",
            *options,
            "--items",
            str(items),
            *of,
            *kept,
        ]
        subprocess.run(command, check=True)


def answers(name: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Raw posterior (n,) of the answers given, whether each was right (n,), and what else there is to tell.

    What was answered with the present calibration is turned back to the posterior.
    """
    path = Path(RESULTS) / f"{name}.jsonl"
    if not path.exists():
        sys.exit(f"{path} is missing: run research.experiments.constructed first, as the docstring says")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    usable = [row for row in rows if row["usable"] and row["kind"] == "answerable" and not row["band"]]
    given = [row for row in rows if row["answered"]]
    solvable = [row for row in given if row["expected"] == "OK"]
    clear = [row for row in solvable if not row["band"]]
    config = DecisionConfig()
    odds = _log_odds(np.array([row["confidence"] for row in given]))
    posterior = 1.0 / (1.0 + np.exp(-(odds - config.calibration_offset) / config.calibration_slope))
    told = {
        "items": len(rows),
        "answers": len(given),
        "right_of_given": wilson(sum(row["right"] for row in given), len(given)),
        "right_of_given_to_solvable": wilson(sum(row["right"] for row in solvable), len(solvable)),
        "right_of_given_to_solvable_clear": wilson(sum(row["right"] for row in clear), len(clear)),
        "coverage_of_usable": wilson(sum(row["answered"] for row in usable), len(usable)),
    }
    return posterior, np.array([row["right"] for row in given], np.float64), told


def fit(posterior: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset of logistic(slope · log-odds + offset), by Newton's method on the likelihood.

    Right and wrong count (n + 1) / (n + 2) and 1 / (n + 2), so that a set without a wrong answer has a finite fit.
    Source: Platt (1999).
    """
    x = np.stack((_log_odds(posterior), np.ones_like(posterior)), axis=1)
    hits, misses = right.sum(), len(right) - right.sum()
    wanted = np.where(right > 0.5, (hits + 1) / (hits + 2), 1 / (misses + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -_FAR, _FAR)))
        gradient = x.T @ (wanted - p)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2)
        weights = weights + np.linalg.solve(curvature, gradient)
    if weights[0] >= LEAST_SLOPE:
        return float(weights[0]), float(weights[1])
    offset = 0.0
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(LEAST_SLOPE * x[:, 0] + offset)))
        offset += float((wanted - p).sum() / (p * (1 - p)).sum())
    return LEAST_SLOPE, offset


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def figures(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Calibration of one set, as kept in JSON."""
    measured = calibrate(confidence, right > 0.5)
    if measured is None:
        sys.exit("no answers were given: nothing to calibrate")
    return {
        "n": len(right),
        "mean_confidence": round(float(confidence.mean()), 4),
        "right": round(float(right.mean()), 4),
        "ece": [round(float(v), 4) for v in (measured.ece.value, measured.ece.low, measured.ece.high)],
        "brier": round(float(measured.brier.value), 5),
        "brier_constant": round(float(measured.brier_constant), 5),
        "aurc": round(float(measured.aurc.value), 5),
    }


def main() -> int:
    """Fit, report, write."""
    parser = argparse.ArgumentParser(prog="python -m research.experiments.calibrating")
    parser.add_argument("--items", type=int, default=0, help="make both runs first, of so many items of each relation")
    parser.add_argument("--only", metavar="RELATION", action="append", default=[], help="of --items; may be repeated")
    options, sys.argv[1:] = parser.parse_known_args()
    if options.items:
        make(options.items, options.only)
    suffix = PART if options.only else ""
    fitted, right, told = answers(FITTED + suffix)
    slope, offset = fit(fitted, right)
    reported, truth, reported_told = answers(REPORTED + suffix)
    config = DecisionConfig()

    def moved(p: np.ndarray, a: float, b: float) -> np.ndarray:
        return 1.0 / (1.0 + np.exp(-(a * _log_odds(p) + b)))

    ways = {
        "posterior as it is": figures(reported, truth),
        "as configured": figures(moved(reported, config.calibration_slope, config.calibration_offset), truth),
        "fitted on time of flight": figures(moved(reported, slope, offset), truth),
    }
    table(
        f"calibration on {REPORTED}{suffix}; fitted on {FITTED}{suffix}: slope {slope:.3f}, offset {offset:.3f}",
        ("confidence", "n", "mean", "right", "ECE", "low", "high", "Brier", "constant", "AURC"),
        [(name, row["n"], row["mean_confidence"], row["right"], *row["ece"], row["brier"], row["brier_constant"],
          row["aurc"]) for name, row in ways.items()],
    )  # fmt: skip
    for name, one in (("fitted on", told), ("reported on", reported_told)):
        share, coverage = one["right_of_given"], one["coverage_of_usable"]
        print(f"{name}: {one['items']} items, {share.k}/{share.n} answers right ({share.low:.3f} to {share.high:.3f})")
        for which in ("right_of_given_to_solvable", "right_of_given_to_solvable_clear"):
            part = one[which]
            print(f"    {which}: {part.k}/{part.n} ({part.low:.3f} to {part.high:.3f})")
        print(f"    coverage {coverage.k}/{coverage.n} of the answerable ({coverage.low:.3f} to {coverage.high:.3f})")
    claims = [
        Claim("ECE as configured", ways["as configured"]["ece"][0], 0.05, ""),
        Claim(
            "right of the answers given, of questions that have one",
            100 * reported_told["right_of_given_to_solvable"].share,
            95,
            "%",
            least=True,
        ),
        Claim("coverage", 100 * reported_told["coverage_of_usable"].share, 85, "%", least=True),
    ]
    shares = {
        name: {k: v.__dict__ if hasattr(v, "__dict__") else v for k, v in one.items()}
        for name, one in (("fitted_on", told), ("reported_on", reported_told))
    }
    name = f"calibrating{suffix}"
    return finish(name, {"slope": round(slope, 4), "offset": round(offset, 4), "ways": ways, **shares}, claims, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
