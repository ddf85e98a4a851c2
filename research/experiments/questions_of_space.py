# SPDX-License-Identifier: Apache-2.0
"""Right answers to questions about space on constructed scenes, and how often intervals of lengths hold the truth.

The truth is `research/constructed/space_truth.py`. A yes/no, which or how many question counts where its truth is clear
of the band of docs/evaluation.md. A length is right where its interval holds the true one.

    python -m research.experiments.questions_of_space --scenes 3       a report: so many scenes of each relation
    python -m research.experiments.questions_of_space --first-seed 0 --verbose      development
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Claim, arguments, finish, show
from research.constructed.building import build_scene
from research.constructed.distribution import EXACT, REPORTING_FROM
from research.constructed.noise import NOISES, measured
from research.constructed.plans import RELATIONS
from research.constructed.space_truth import SpaceItem, questions_of
from research.experiments import RESULTS
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import wilson

_LENGTHS = ("distance", "edge", "viewer", "size")


@dataclass(frozen=True)
class SpaceOutcome:
    """What came of one question.

    Args:
        kind, clear: of the item.
        noise: of the depth.
        right: as the truth has it.
        status: given.
        unclear: whether the answer was that it is unclear.
        error: of a length, metres; NaN otherwise.
        width: of its interval, metres; NaN otherwise.
        text: the miss in words.
    """

    kind: str
    clear: bool
    noise: str
    right: bool
    status: str
    unclear: bool
    error: float
    width: float
    text: str


def judged(item: SpaceItem, answer: Resolution, noise: str, seed: int) -> SpaceOutcome:
    """Compare an answer with the truth."""
    said = answer.answer
    right, error, width = False, float("nan"), float("nan")
    if said is not None:
        given = frozenset(obj.id for obj in said.objects if obj.role in ("subject", "fits"))
        if isinstance(item.value, float) and isinstance(said.value, float) and said.interval is not None:
            low, high = said.interval
            right = low - 1e-9 <= item.value <= high + 1e-9
            if item.kind in _LENGTHS:
                error, width = abs(said.value - item.value), high - low
            else:
                right = right and said.value == item.value
        elif item.ids is not None:
            right = given == item.ids
        else:
            right = said.value == item.value
    text = f"seed {seed} {noise}: {item.words!r} is {item.value} {sorted(item.ids or ())}, got {answer.message}"
    unclear = said is not None and said.value == "unclear"
    return SpaceOutcome(item.kind, item.clear, noise, right, answer.status.value, unclear, error, width, text)


def asked(seeds: Sequence[int], every: int) -> Iterator[SpaceOutcome]:
    """Every question of some scenes, with each kind of depth."""
    for seed in seeds:
        for relation in RELATIONS[seed % every :: every]:
            made = build_scene(seed, relation)
            if made is None:
                continue
            _, detections, seen, _ = made
            for number, noise in enumerate(NOISES):
                frame = measured(seen.frame, noise, np.random.default_rng((seed, number)), seen.shiny)
                resolver = Resolver(config_from({"depth": EXACT} if noise == "none" else {}))
                observed = resolver.look_at(frame, detections)
                eye = seen.frame.base_T_camera.translation if seen.frame.base_T_camera is not None else np.zeros(3)
                for item in questions_of(seen.situation, eye, np.random.default_rng((seed, 1))):
                    yield judged(item, observed.ask(item.words).resolution, noise, seed)


def share(outcomes: Sequence[SpaceOutcome]) -> dict[str, float]:
    """Of right ones, with the Wilson interval, as kept in JSON."""
    return dataclasses.asdict(wilson(sum(o.right for o in outcomes), len(outcomes)))


def main() -> int:
    """Run and write research/results/questions_of_space.json; development seeds write nothing."""
    options = arguments(__doc__, scenes=3, every=3, first_seed=REPORTING_FROM, verbose=False)
    os.environ.setdefault("LP_NUM_THREADS", "1")
    cv2.setNumThreads(1)
    outcomes = list(asked(range(options.first_seed, options.first_seed + options.scenes), options.every))
    clear = [o for o in outcomes if o.clear]
    answered = [o for o in clear if o.kind not in _LENGTHS]
    lengths = [o for o in clear if o.kind in _LENGTHS]
    groups: dict[str, list[SpaceOutcome]] = defaultdict(list)
    for o in clear:
        groups[f"{o.kind}, depth {o.noise}"].append(o)
        groups[f"{o.kind}, all depths"].append(o)
    rows: dict[str, Any] = {}
    for name, some in sorted(groups.items()):
        rows[name] = share(some)
        if some[0].kind in _LENGTHS:
            rows[name] |= {
                "median_error_m": round(float(np.nanmedian([o.error for o in some])), 4),
                "median_width_m": round(float(np.nanmedian([o.width for o in some])), 4),
            }
    if options.first_seed < REPORTING_FROM:
        show("questions about space: right, or in the interval", rows)
        misses = [o.text for o in clear if not o.right]
        print(*(misses if options.verbose else [f"{len(misses)} misses"]), sep="\n")
        return 0
    found = {
        "seeds": [options.first_seed, options.first_seed + options.scenes],
        "every": options.every,
        "right": share(answered),
        "lengths_in_interval": share(lengths),
        "distances_in_interval": share([o for o in lengths if o.kind in ("distance", "edge", "viewer")]),
        "wrong": sum(not o.right and not o.unclear and o.status == Status.ANSWERED.value for o in answered),
        "unclear_in_the_band": dataclasses.asdict(
            wilson(sum(o.unclear for o in outcomes if not o.clear), sum(not o.clear for o in outcomes))
        ),
        "by_kind": rows,
    }
    covered = 100 * found["distances_in_interval"]["share"]
    claims = [
        Claim("right answers, clear", 100 * found["right"]["share"], 95, "%", least=True),
        Claim("distances within their interval", covered, 90, "%", least=True),
        Claim("distances within their interval, at most", covered, 97, "%"),
    ]
    return finish("questions_of_space", found, claims, RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
