# SPDX-License-Identifier: Apache-2.0
"""Claim: one dial, `decision.caution`, trades wrong answers against needless refusals, and beats guessing.

    python -m research.experiments.caution --frames DIR [--frames DIR ...] [--name NAME] [--plot FILE.svg]

Each DIR is a folder of frames with cases (docs/evaluation.md). For every folder: coverage (right answers of those
that are due) and risk (wrong poses of all poses given, also where a refusal is due) at eleven cautions, the area
under the risk-coverage curve by confidence, and three guesses that never refuse a name that they find: the first
detection that fits the noun, the one with the highest score, the one whose label is spelt most like it. Intervals are
Wilson's without regard to frames. `--plot` draws the curves of docs/evaluation.md.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import REAL_FRAMES, Claim, arguments, finish
from research.experiments import RESULTS
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.parameters import DecisionConfig, config_from
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver, understood
from spatial_vlm_ros.types import Detection, Resolution, Status
from spatial_vlm_ros.types.proportions import wilson

CAUTIONS = tuple(round(0.1 * step, 1) for step in range(11))
_FITS = 0.3  # fit of a label from which a guess takes it


@dataclass(frozen=True)
class Outcome:
    """One case: whether an answer is due, whether a pose was given, and whether it was the right one."""

    due: bool
    given: bool
    right: bool


def cases_of(folder: Path, most: int | None) -> list[Case]:
    """The cases of a folder that have an expectation, of its first frames where not all are wanted."""
    cases = [case for case in load_cases(folder) if case.expect is not None]
    frames = list(dict.fromkeys(case.frame for case in cases))[:most]
    return [case for case in cases if case.frame in frames]


def of_resolver(folder: Path, cases: Sequence[Case], caution: float) -> list[Outcome]:
    """Answers of the package."""
    resolver = Resolver(config_from({"decision": {"caution": caution}}))
    outcomes, observed, name = [], None, None
    for case in cases:
        if observed is None or case.frame != name:
            name, (frame, detections) = case.frame, load_frame(folder / case.frame)
            observed = resolver.look_at(frame, detections)
        outcomes.append(_outcome(case, observed.ask(case.instruction).resolution))
    return outcomes


def _outcome(case: Case, answer: Resolution) -> Outcome:
    due = case.expect is not None and case.expect.status is Status.OK
    right = due and answer.target is not None and case.expect is not None and answer.target.id == case.expect.id
    return Outcome(due, answer.target is not None, right)


def of_guess(folder: Path, cases: Sequence[Case], choose: Callable[[str, Sequence[Detection]], int]) -> list[Outcome]:
    """Answers of a guess among the detections that fit the noun of the target."""
    outcomes = []
    for case in cases:
        _, detections = load_frame(folder / case.frame)
        due = case.expect is not None and case.expect.status is Status.OK
        try:
            noun = understood(case.instruction)[0].target.category
        except SpatialVlmError:
            outcomes.append(Outcome(due, given=False, right=False))
            continue
        fitting = [d for d in detections if label_fit(noun, d.label, tuple(d.attributes)) >= _FITS]
        chosen = fitting[choose(noun, fitting)].id if fitting else None
        outcomes.append(Outcome(due, chosen is not None, bool(due and case.expect and chosen == case.expect.id)))
    return outcomes


GUESSES: dict[str, Callable[[str, Sequence[Detection]], int]] = {
    "first match": lambda *_: 0,
    "highest score": lambda _, found: int(np.argmax([d.score for d in found])),
    "nearest label": lambda noun, found: int(
        np.argmax([difflib.SequenceMatcher(None, noun, d.label.lower()).ratio() for d in found])
    ),
}


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Coverage and risk of a run, with Wilson intervals, and refusals kept where one is due."""
    due = [o for o in outcomes if o.due]
    given = [o for o in outcomes if o.given]
    return {
        "coverage": wilson(sum(o.right for o in due), len(due)).__dict__,
        "risk": wilson(sum(not o.right for o in given), len(given)).__dict__,
        "wrong_of_due": wilson(sum(o.given and not o.right for o in due), len(due)).__dict__,
        "pose_where_refusal_due": wilson(
            sum(o.given for o in outcomes if not o.due), len(outcomes) - len(due)
        ).__dict__,
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Risk over coverage, one panel for each folder."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "caution", "font.size": 9})
    figure, panels = plt.subplots(1, len(found), figsize=(4.2 * len(found), 3.6), sharey=True, squeeze=False)
    for axes, (name, one) in zip(panels[0], found.items(), strict=True):
        points = [(c, run["coverage"]["share"], run["risk"]["share"]) for c, run in one["caution"].items()]
        axes.plot(
            [100 * x for _, x, _ in points], [100 * y for *_, y in points], "o-", color="#0072b2", label="caution"
        )
        for caution, x, y in points:
            if caution in ("0.0", "0.5", "1.0"):
                axes.annotate(caution, (100 * x, 100 * y), textcoords="offset points", xytext=(4, 6))
        for (guess, run), mark in zip(one["guesses"].items(), "s^D", strict=True):
            axes.plot(100 * run["coverage"]["share"], 100 * run["risk"]["share"], mark, color="#d55e00", label=guess)
        axes.set(title=name, xlabel="right answers of those due, %", xlim=(0, 102))
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("wrong poses of those given, %")
    panels[0][-1].legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Measure, draw, write."""
    options = arguments(__doc__, frames=[Path], most=int, name="caution", plot=Path)
    found = {}
    for folder in options.frames or [REAL_FRAMES]:
        cases = cases_of(folder, options.most)
        runs = {str(caution): of_resolver(folder, cases, caution) for caution in CAUTIONS}
        guesses = {guess: of_guess(folder, cases, choose) for guess, choose in GUESSES.items()}
        found[folder.name] = {
            "cases": len(cases),
            "caution": {caution: summary(run) for caution, run in runs.items()},
            "guesses": {guess: summary(run) for guess, run in guesses.items()},
        }
    if options.plot:
        draw(found, options.plot)
    claims = [
        Claim(f"{name}: wrong of given, points below {guess} {where}",
              100 * (run["risk"]["share"] - max(one["caution"][c]["risk"]["share"] for c in cautions)), 0, "%",
              least=True)
        for name, one in found.items() for guess, run in one["guesses"].items()
        for where, cautions in (("at the default", [str(DecisionConfig().caution)]), ("at any caution", one["caution"]))
    ]  # fmt: skip
    return finish(options.name, {"folders": found}, claims, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
