# SPDX-License-Identifier: Apache-2.0
"""Right instances and refusals on scenes built by construction, for every relation of docs/relations.md.

The truth needs no solver. Scenes, margins, bands and noises are described in docs/evaluation.md. Each question's
meaning is a SpatialQuery; its words come from `research/speech/`. Seeds from REPORTING_FROM on are for reports;
failures are printed of smaller ones only.

    python -m research.experiments.constructed --items 52 --noise stereo --errors      a report
    python -m research.experiments.constructed --first-seed 0 --only behind --verbose  development

A run of some relations is kept as constructed_NAME, with `--name NAME`. `--with NAME` scores a run together with an
earlier one of other seeds that is kept under this name.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Claim, arguments, finish, share, show
from research.constructed.building import build
from research.constructed.distribution import REPORTING_FROM
from research.constructed.item import Item
from research.constructed.noise import NOISES
from research.constructed.plans import RELATIONS
from research.constructed.questions import COUNTER, USUAL
from research.experiments import RESULTS
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.types import Resolution, SpatialQuery, Status
from spatial_vlm_ros.types.proportions import newcombe

Say = Callable[[SpatialQuery, np.random.Generator], str]
ITEMS = 52
"""Items of each relation: about 6,000 together."""
MOST_SEEDS = 4  # seeds tried for each item that is wanted, at most


@dataclass(frozen=True)
class Outcome:
    """What came of one item.

    Args:
        relation, kind, tags, band, seed: of the item.
        usable: whether the true answer is the same among what the detector reported.
        sentence: what was said.
        expected, given: statuses.
        right: as expected, in status and objects.
        answered: whether a pose came back.
        confidence: of the answer.
        text: the failure in words.
        ms: time of the resolver.
    """

    relation: str
    kind: str
    tags: tuple[str, ...]
    band: bool
    seed: int
    usable: bool
    sentence: str
    expected: str
    given: str
    right: bool
    answered: bool
    confidence: float
    text: str
    ms: float


def ask(item: Item, sentence: str) -> Outcome:
    """Put one question."""
    try:
        answer = Resolver(config_from(item.settings)).resolve(item.frame, sentence, item.detections)
    except Exception as error:  # a resolver that raises is wrong here, and the other items are still to be asked
        answer = Resolution(sentence, Status.MODEL_ERROR, f"raised {type(error).__name__}: {error}")
    objects = [t.id for t in answer.targets] or ([answer.target.id] if answer.target else [])
    text = (
        f"{item.relation} seed {item.seed} {'band ' if item.band else ''}{' '.join(item.tags)}: {sentence!r} is "
        f"{item.status.value} {list(item.ids)}, got {answer.status.value} {objects}: {answer.message}"
    )
    return Outcome(
        item.relation, item.kind, item.tags, item.band, item.seed, item.answerable_after_errors, sentence,
        item.status.value, answer.status.value, item.right(answer), answer.target is not None, answer.confidence, text,
        answer.ms,
    )  # fmt: skip


def one_relation(
    relation: str, say: Say | None, items: int, first: int, noise: str, errors: bool
) -> tuple[list[Outcome], int, float]:
    """So many items of a relation; returns their outcomes, the seed after the last one used, and seconds of making."""
    cv2.setNumThreads(1)
    say = say or speech()
    outcomes: list[Outcome] = []
    making, seed = 0.0, first
    while len(outcomes) < items and seed < first + MOST_SEEDS * items:
        start = time.perf_counter()
        made = build(seed, relation, noise, errors)
        making += time.perf_counter() - start
        for number, item in enumerate(made[: items - len(outcomes)]):
            rng = np.random.default_rng((seed, number, zlib.crc32(relation.encode())))
            outcomes.append(ask(item, say(item.query, rng)))
        seed += 1
    return outcomes, seed, making


def speech() -> Say:
    """The module that puts queries into words."""
    from research.speech import say

    return say


def scores(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares with Wilson intervals; of items whose answer the detector left in the image."""
    usable = [o for o in outcomes if o.usable]
    clear, unclear = ([o for o in usable if o.band is band] for band in (False, True))
    return {
        "items": len(outcomes),
        "usable_after_errors": share([o.usable for o in outcomes]),
        "outside_the_band": summary(clear),
        "inside_the_band": summary(unclear),
        "by_relation": {name: summary(some) for name, some in grouped(clear, lambda o: o.relation).items()},
        "by_kind": {kind: share([o.right for o in some]) for kind, some in grouped(clear, lambda o: o.kind).items()},
        "usual_and_counter_heuristic": against_heuristic(clear),
        "statuses_given": {
            kind: dict(Counter(o.given for o in some).most_common())
            for kind, some in grouped(clear, lambda o: f"{o.kind}, {o.expected} expected").items()
        },
    }


def summary(some: Sequence[Outcome]) -> dict[str, Any]:
    """Of any set of outcomes: right instances, poses on refusals, and refusals as expected."""
    answerable = [o for o in some if o.kind == "answerable"]
    others = [o for o in some if o.kind != "answerable"]
    return {
        "right_of_answerable": share([o.right for o in answerable]),
        "wrong_pose_of_answerable": share([o.answered and not o.right for o in answerable]),
        "pose_where_to_be_refused": share([o.answered for o in others]),
        "refused_as_expected": share([o.right for o in others]),
    }


def against_heuristic(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Right of items where the place in the image alone is right or wrong, and the difference, by relation."""
    tagged = [o for o in outcomes if o.kind == "answerable" and {USUAL, COUNTER} & set(o.tags)]
    rows: dict[str, Any] = {}
    for name, some in {"all": tagged, **grouped(tagged, lambda o: o.relation)}.items():
        usual, counter = ([o.right for o in some if tag in o.tags] for tag in (USUAL, COUNTER))
        difference = newcombe(sum(usual), len(usual), sum(counter), len(counter))
        rows[name] = {
            "usual": share(usual),
            "counter_heuristic": share(counter),
            "usual_minus_counter": dataclasses.asdict(difference) if difference else None,
        }
    return rows


def grouped(outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    """Outcomes by a word, sorted."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[key(outcome)].append(outcome)
    return dict(sorted(groups.items()))


def kept_before(names: Sequence[str]) -> list[Outcome]:
    """Outcomes of earlier runs, without sentences and messages; a run that is not there ends the program."""
    outcomes = []
    for name in names:
        path = RESULTS / f"{name}.jsonl"
        if not path.exists():
            raise SystemExit(f"{path} is missing: run it again with --name")
        for row in map(json.loads, path.read_text().splitlines()):
            row["tags"] = tuple(row["tags"])
            outcomes.append(Outcome(**row, sentence="", text="", ms=float("nan")))
    return outcomes


def keep_confidences(name: str, outcomes: Sequence[Outcome]) -> None:
    """One line of JSON for each item: what calibration needs."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = ("sentence", "text", "ms")  # what `kept_before` does without
    lines = (json.dumps({k: v for k, v in vars(o).items() if k not in told}) for o in outcomes)
    (RESULTS / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def main() -> int:
    """Run and write research/results/constructed….json and .jsonl; development and unnamed parts write nothing."""
    kept = {"name": "", "with": [str], "verbose": False}
    scenes = {"items": ITEMS, "first_seed": REPORTING_FROM, "only": [str], "noise": NOISES, "errors": False}
    options = arguments(__doc__, **scenes, jobs=2, **kept)
    unknown = [name for name in options.only if name not in RELATIONS]
    if unknown:
        raise SystemExit(f"no relation {unknown[0]!r}; there are: {', '.join(RELATIONS)}")
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's threads would fight with the other processes
    start = time.perf_counter()
    names = vars(options)["with"]
    earlier = kept_before(names)
    run = partial(one_relation, say=None, items=options.items, first=options.first_seed, noise=options.noise,
                  errors=options.errors)  # fmt: skip
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(run, options.only or RELATIONS))
    outcomes = [o for some, _, _ in results for o in some]
    used = options.first_seed, max(last for _, last, _ in results)
    if {o.seed for o in earlier} & {o.seed for o in outcomes}:
        raise SystemExit("the earlier runs have seeds of this one: choose another --first-seed")
    score = scores([*outcomes, *earlier])
    if options.first_seed < REPORTING_FROM:
        show("constructed", score)
        failures = [o.text for o in outcomes if o.usable and not o.right and o.seed < REPORTING_FROM]
        print(*(failures if options.verbose else [f"{len(failures)} failures"]), sep="\n")
        return 0
    if options.only and not options.name:
        show("constructed", score)
        return 0
    if options.verbose:
        print("failures of reporting seeds are not shown: who looks at one makes its seed a development seed")
    parts = ("constructed", options.noise.replace("none", ""), "errors" * options.errors, options.name)
    name = "_".join(part for part in parts if part)
    keep_confidences(name, outcomes)
    measured = {
        "noise": options.noise,
        "errors": options.errors,
        "seeds": list(used),
        "with": names,
        "seconds": round(time.perf_counter() - start, 1),
        "seconds_making": round(sum(making for _, _, making in results), 1),
        "resolver_ms_median": round(float(np.median([o.ms for o in outcomes])), 2),
        "scores": score,
    }
    clear = score["outside_the_band"]
    claims = [
        Claim("right instance, answerable, clear", 100 * clear["right_of_answerable"]["share"], 95, "%", least=True),
        Claim("pose where to be refused, clear", 100 * clear["pose_where_to_be_refused"]["share"], 2, "%"),
    ]
    return finish(name, measured, claims, RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
