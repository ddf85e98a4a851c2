# SPDX-License-Identifier: Apache-2.0
"""What a second opinion does to the answers: how reliable a model is by relation, and the rule with good and bad ones.

Scenes are those of docs/evaluation.md. Reliabilities are measured on seeds of their own; the rule is reported on other
seeds, with a model that flips every relation and with honest ones that err now and then, all on the same questions.
Both are made for the purpose: they know the simulator's truth, and answer with boxes and points of their own drawing.

    python -m research.experiments.second_opinions                                    measure and report
    python -m research.experiments.second_opinions --only behind --name behind        a part; its outcomes are kept
    python -m research.experiments.second_opinions --parts behind sides               the report of several parts
    python -m research.experiments.second_opinions --grounder NAME --options "a=b"  a backend: writes its reliabilities
    python -m research.experiments.second_opinions --made "higher is farther"  the same of a model made for the purpose
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import Claim, finish, table
from research.constructed.building import build
from research.constructed.distribution import REPORTING_FROM
from research.constructed.item import Item
from research.constructed.noise import NOISES
from research.constructed.plans import RELATIONS
from research.experiments import RESULTS
from research.speech import say
from spatial_vlm_lab.scoring.reliability import OpinionCounts, OpinionTally, measured_key, reliability_json
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.parameters import SecondOpinionConfig, config_from
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import Detection, FrameOfReference, Rgb, Status
from spatial_vlm_ros.types.proportions import wilson

Refer = Callable[[Item], Sequence[NamedObject]]

ASKED = (
    "left of", "right of", "behind", "in front of", "left of (robot)", "behind (robot)", "leftmost", "rightmost",
    "nearest", "farthest", "higher than", "lower than", "taller than", "shorter than", "on", "inside",
)  # fmt: skip
MEASURED, REPORTED = 50, 40
"""Phrases measured, and questions reported, of each relation."""
MEASURE_FROM = 60_000
REPORT_FROM = REPORTING_FROM + 100_000
MOST_SEEDS = 6  # seeds tried for each that is wanted, at most
SHARES = (0.02, 0.05, 0.10)
"""Wrong shares of the honest models."""
FLIPPING, ALONE, OTHER_FILE = "flipping", "geometry alone", "with the file of"
THUMB = "higher is farther"
FARTHER, NEARER = ("behind", "farthest"), ("in front of", "nearest")
"""Relations that the rule of thumb answers."""


# ------------------------------------------------------------------------------------------------ three models


def flipped(item: Item, _: np.random.Generator) -> str | None:
    """What has the opposite relation most: of the objects of that name the one with the least true margin.

    Of "left of" that is the one farthest to the right, of "leftmost" the rightmost.
    """
    others = {id_: margin for id_, margin in item.margins.items() if id_ not in item.ids}
    return min(sorted(others), key=lambda id_: others[id_]) if others else None


def honest(item: Item, rng: np.random.Generator, errors: float) -> str | None:
    """What is meant, or nothing; with probability `errors` another object of that name, or nothing."""
    others = sorted(set(item.margins) - set(item.ids))
    chosen = others if rng.random() < errors else list(item.ids)
    return str(rng.choice(chosen)) if chosen else None


def by_rule_of_thumb(item: Item, _: np.random.Generator) -> str | None:
    """Of relations of depth the object of that name highest, or lowest, in the image; else what is meant.

    So do small vision-language models that were never shown the contrary (docs/remedies.md).
    """
    middles = {d.id: d.box_xyxy[1] + d.box_xyxy[3] for d in item.detections if d.id in item.margins}
    if item.relation not in (*FARTHER, *NEARER) or not middles:
        return next(iter(item.ids), None)
    pick = min if item.relation in FARTHER else max
    return pick(sorted(middles), key=lambda id_: middles[id_])


def pointed(
    item: Item, name: str, choose: Callable[[Item, np.random.Generator], str | None]
) -> tuple[NamedObject, ...]:
    """An answer as a model draws it: a box whose sides are off by about 4 % of its size, or a point on the object."""
    key = (item.seed, zlib.crc32(repr((name, item.relation, describe(item.query.target))).encode()))
    rng = np.random.default_rng(key)
    id_ = choose(item, rng)
    obj = next((d for d in item.detections if d.id == id_), None)
    if obj is None:  # nothing is meant, or nobody detected it: then no box of the scene is the one it draws
        return ()
    if rng.random() < 0.5:
        return (NamedObject(obj.label, None, _point(obj, rng), None),)
    x0, y0, x1, y1 = obj.box_xyxy
    wide, high = rng.normal(0.0, 0.04 * (x1 - x0), 2), rng.normal(0.0, 0.04 * (y1 - y0), 2)
    return (NamedObject(obj.label, (x0 + wide[0], y0 + high[0], x1 + wide[1], y1 + high[1]), None, None),)


def _point(obj: Detection, rng: np.random.Generator) -> tuple[float, float]:
    x0, y0, x1, y1 = obj.box_xyxy
    if obj.mask is None:
        return (x0 + x1) / 2, (y0 + y1) / 2
    rows, columns = np.nonzero(obj.mask)
    k = int(rng.integers(len(rows)))
    return float(columns[k]), float(rows[k])


def models() -> dict[str, Refer]:
    """The models made for the purpose that are compared, by name."""
    made: dict[str, Refer] = {FLIPPING: partial(pointed, name=FLIPPING, choose=flipped)}
    for share in SHARES:
        made[f"{share:.0%} wrong"] = partial(pointed, name=str(share), choose=partial(honest, errors=share))
    return made


def made() -> dict[str, Refer]:
    """All of them: the compared ones, and one that has depth from the place in the image."""
    return {**models(), THUMB: partial(pointed, name=THUMB, choose=by_rule_of_thumb)}


class Answering:
    """A model that gives one answer; it only refers, for detections are given with the frame."""

    def __init__(self, refer: Refer, item: Item) -> None:
        self._refer, self._item = refer, item

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """See Referrer.refer."""
        assert rgb.shape == self._item.frame.rgb.shape
        assert words
        return tuple(self._refer(self._item))


# ------------------------------------------------------------------------------------------------ measuring


def items_of(relation: str, first: int, wanted: int, noise: str, errors: bool) -> Iterator[Item]:
    """Items of a relation from a seed on, as many seeds as may be needed for `wanted` of them."""
    for seed in range(first, first + MOST_SEEDS * wanted):
        yield from build(seed, relation, noise, errors)


def key_of(item: Item) -> str | None:
    """The one relation that an item measures; None where it cannot: unclear, refused, several objects or relations."""
    clear = item.status is Status.OK and not item.band and item.answerable_after_errors and len(item.ids) == 1
    return measured_key(item.query.target, FrameOfReference.VIEWER) if clear else None


def measure(
    refers: Mapping[str, Refer], relation: str, first: int, wanted: int, noise: str, errors: bool
) -> dict[str, OpinionTally]:
    """What was counted of each model on the same phrases."""
    tallies, overlap, done = {name: OpinionTally() for name in refers}, SecondOpinionConfig().overlap, 0
    for item in items_of(relation, first, wanted, noise, errors):
        key = key_of(item)
        if key is None:
            continue
        for name, refer in refers.items():
            try:
                tallies[name].count(key, refer(item), item.detections, item.ids, overlap, item.tags)
            except ModelError as error:
                tallies[name].failed += 1
                print(f"{name}: {error}", file=sys.stderr)
        done += 1
        if done >= wanted:
            break
    return tallies


def added(tables: Iterable[OpinionCounts]) -> OpinionCounts:
    """Counts of several tables together."""
    total: dict[str, Counter[str]] = {}
    for one in tables:
        for key, counts in one.items():
            total.setdefault(key, Counter(right=0, wrong=0, none=0)).update(counts)
    return {key: dict(counts) for key, counts in total.items()}


# ------------------------------------------------------------------------------------------------ reporting


def conditions(refers: Mapping[str, Refer], files: Mapping[str, str]) -> dict[str, tuple[Refer | None, str]]:
    """What is compared: model and file of reliabilities; the wrong file is that of the most honest model."""
    best = next(name for name in refers if name != FLIPPING)
    return {
        ALONE: (None, ""),
        f"{FLIPPING}, measured": (refers[FLIPPING], files[FLIPPING]),
        f"{FLIPPING}, not measured": (refers[FLIPPING], ""),
        f"{FLIPPING}, {OTHER_FILE} '{best}'": (refers[FLIPPING], files[best]),
        **{f"{name}, measured": (refer, files[name]) for name, refer in refers.items() if name != FLIPPING},
        f"{best}, not measured": (refers[best], ""),
    }


def one_relation(
    relation: str, *, measure_from: int, report_from: int, wanted: tuple[int, int], noise: str, errors: bool
) -> dict[str, Any]:
    """Measure on seeds of its own, then ask every question of others under every condition."""
    cv2.setNumThreads(1)
    refers = models()
    tallies = measure(refers, relation, measure_from, wanted[0], noise, errors)
    tables = {name: tally.counts for name, tally in tallies.items()}
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (name, counts) in enumerate(tables.items()):
            path = Path(folder) / f"{number}.json"
            path.write_text(json.dumps(reliability_json(name, counts)))
            files[name] = str(path)
        compared = conditions(refers, files)
        for number, item in enumerate(items_of(relation, report_from, wanted[1], noise, errors)):
            if number >= wanted[1]:
                break
            rng = np.random.default_rng((item.seed, number, zlib.crc32(relation.encode())))
            sentence = say(item.query, rng)
            outcomes.append(
                {
                    "relation": item.relation, "kind": item.kind, "band": item.band, "seed": item.seed,
                    "usable": item.answerable_after_errors,
                    "given": {name: ask(item, sentence, *how) for name, how in compared.items()},
                }
            )  # fmt: skip
    return {"relation": relation, "measured_from": measure_from, "tables": tables, "outcomes": outcomes}


def ask(item: Item, sentence: str, refer: Refer | None, reliability: str) -> dict[str, Any]:
    """Status of the answer, whether it is the expected one, whether it has a pose, and what the opinion did."""
    settings = {**item.settings, "second_opinion": {"ask": refer is not None, "reliability": reliability}}
    model = Answering(refer, item) if refer is not None else None
    resolver = Resolver(config_from(settings), model)  # type: ignore[arg-type]  # it is never asked to ground
    answer = resolver.resolve(item.frame, sentence, item.detections)
    return {
        "status": answer.status.value,
        "right": item.right(answer),
        "pose": answer.target is not None,
        "effect": answer.second_opinion.effect if answer.second_opinion is not None else "",
    }


def score(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of every condition. "clear": outside the band, and the detector left the same answer in the image."""
    names = list(outcomes[0]["given"]) if outcomes else []
    clear = [o for o in outcomes if o["usable"] and not o["band"]]
    answerable = [o for o in clear if o["kind"] == "answerable"]
    scores: dict[str, Any] = {}
    for name in names:
        posed = [o["given"][name] for o in outcomes if o["given"][name]["pose"]]
        scores[name] = {
            "answered_of_answerable": _share(o["given"][name]["pose"] for o in answerable),
            "right_of_answerable": _share(o["given"][name]["right"] for o in answerable),
            "disagreement_of_answerable": _share(o["given"][name]["status"] == "DISAGREEMENT" for o in answerable),
            "disagreement_of_right": _share(
                o["given"][name]["status"] == "DISAGREEMENT" for o in answerable if o["given"][ALONE]["right"]
            ),
            "wrong_pose_clear": _share(o["given"][name]["pose"] and not o["given"][name]["right"] for o in clear),
            "wrong_pose_all": _share(o["given"][name]["pose"] and not o["given"][name]["right"] for o in outcomes),
            "right_of_poses": _share(one["right"] for one in posed),
            "effects": dict(Counter(o["given"][name]["effect"] for o in outcomes)),
            "new_wrong_poses": sum(_new(o["given"], name, right=False) for o in outcomes),
            "new_right_answers": sum(_new(o["given"], name, right=True) for o in outcomes),
        }
    return scores


def _new(given: Mapping[str, Any], name: str, *, right: bool) -> bool:
    """Whether a pose came back that the geometry alone refused, and whether it is right."""
    return given[name]["pose"] and not given[ALONE]["pose"] and given[name]["right"] is right


def _share(oks: Iterable[bool]) -> dict[str, float]:
    kept = list(oks)
    return dataclasses.asdict(wilson(sum(kept), len(kept)))


SHOWN = (
    "answered_of_answerable", "right_of_answerable", "disagreement_of_answerable", "wrong_pose_clear", "wrong_pose_all",
    "right_of_poses",
)  # fmt: skip


def report(scores: Mapping[str, Any]) -> list[Claim]:
    """Print the table; returns the claims."""
    rows = [
        (name, *(f"{s[w]['k']}/{s[w]['n']}" for w in SHOWN), s["new_wrong_poses"], s["new_right_answers"])
        for name, s in scores.items()
    ]
    table("second opinions (k/n)", ("model", *SHOWN, "new wrong", "new right"), rows)
    claims = []
    for name, s in scores.items():
        if OTHER_FILE in name:
            continue  # shown, for it is what can be done wrong
        if name.startswith(FLIPPING):
            claims.append(Claim(f"wrong poses, clear: {name}", 100 * s["wrong_pose_clear"]["share"], 1, "%"))
            claims.append(Claim(f"poses it adds that are wrong: {name}", s["new_wrong_poses"], 0, ""))
        elif name != ALONE:
            claims.append(Claim(f"disagreement: {name}", 100 * s["disagreement_of_answerable"]["share"], 5, "%"))
            share = 100 * s["answered_of_answerable"]["share"]
            claims.append(Claim(f"answered: {name}", share, 85, "%", least=True))
    return claims


# ------------------------------------------------------------------------------------------------ command


def measure_backend(options: argparse.Namespace) -> int:
    """Measure a backend that refers, on seeds of measurement, and write its reliabilities."""
    from spatial_vlm_ros.perception import parse_options
    from spatial_vlm_ros.perception.worker import WorkerGrounder

    with WorkerGrounder(options.grounder, parse_options(options.options), options.timeout) as grounder:
        return measure_one(
            options.grounder, lambda item: grounder.refer(item.frame.rgb, describe(item.query.target)), options
        )


def measure_one(name: str, refer: Refer, options: argparse.Namespace) -> int:
    """Measure one model, print its counts, and write them."""
    parts = [
        measure({name: refer}, relation, options.measure_from, options.measured, options.noise, options.errors)[name]
        for relation in options.only or ASKED
    ]
    counts = added(part.counts for part in parts)
    for title, shown in (("relation", counts), ("kind of item", added(part.kinds for part in parts))):
        rows = [(key, *(one[w] for w in ("right", "wrong", "none"))) for key, one in sorted(shown.items())]
        table(f"{name}: by {title}", (title, "right", "wrong", "none"), rows)
    print(f"{sum(part.failed for part in parts)} requests failed and are not counted")
    path = options.out or RESULTS / f"reliability_{name.replace(':', '_').replace(' ', '_')}.json"
    Path(path).write_text(json.dumps(reliability_json(name, counts), indent=2) + "\n")
    print(f"written to {path}", file=sys.stderr)
    return 0


def options_of(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """What the command line says, and what is left for the harness."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--measured", type=int, default=MEASURED, help="phrases of each relation, to measure")
    parser.add_argument("--reported", type=int, default=REPORTED, help="questions of each relation, to report")
    parser.add_argument("--measure-from", type=int, default=MEASURE_FROM, help="first seed to measure with")
    parser.add_argument("--report-from", type=int, default=REPORT_FROM, help="first seed to report")
    parser.add_argument("--only", metavar="RELATION", action="append", choices=RELATIONS, help="may be repeated")
    parser.add_argument("--noise", choices=NOISES, default="stereo")
    parser.add_argument("--no-errors", dest="errors", action="store_false", help="the detector does not err")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--name", help="keep the outcomes as a part of this name")
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="report these parts, and measure nothing")
    parser.add_argument("--grounder", help="measure this backend instead; see load_grounder")
    parser.add_argument("--made", choices=sorted(made()), help="measure this model made for the purpose instead")
    parser.add_argument("--options", default="", help='of the backend: "name=value name=value"')
    parser.add_argument("--timeout", type=float, default=60.0, help="of the backend, seconds a request")
    parser.add_argument("--out", type=Path, help="file of the backend's reliabilities")
    options, rest = parser.parse_known_args(arguments)
    if abs(options.measure_from - options.report_from) < MOST_SEEDS * max(options.measured, options.reported):
        parser.error("seeds of measurement and of the report must not meet")
    return options, rest


def main() -> int:
    """Measure and report; writes research/results/second_opinions.json, of a part its outcomes alone."""
    options, rest = options_of(sys.argv[1:])
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's threads would fight with the other processes
    if options.grounder:
        return measure_backend(options)
    if options.made:
        return measure_one(options.made, made()[options.made], options)
    start = time.perf_counter()
    if options.parts:
        lines = [line for part in options.parts for line in _part(part).read_text().splitlines()]
        results = [json.loads(line) for line in lines]
    else:
        run = partial(
            one_relation, measure_from=options.measure_from, report_from=options.report_from,
            wanted=(options.measured, options.reported), noise=options.noise, errors=options.errors,
        )  # fmt: skip
        with ProcessPoolExecutor(options.jobs) as pool:
            results = list(pool.map(run, options.only or ASKED))
    scores = score([o for one in results for o in one["outcomes"]])
    claims = report(scores)
    if options.name:
        RESULTS.mkdir(parents=True, exist_ok=True)
        _part(options.name).write_text("\n".join(json.dumps(one) for one in results) + "\n")
        return 0
    sys.argv = [sys.argv[0], *rest]  # what is left is for the harness
    measured = {
        "seeds": {"measured_from": sorted({one["measured_from"] for one in results}), "reported": _seeds(results)},
        "relations": [one["relation"] for one in results],
        "seconds": round(time.perf_counter() - start, 1),
        "reliabilities": {
            name: reliability_json(name, added(one["tables"][name] for one in results)) for name in models()
        },
        "scores": scores,
    }
    return finish("second_opinions", measured, claims, RESULTS)


def _part(name: str) -> Path:
    return RESULTS / f"second_opinions_{name}.jsonl"


def _seeds(results: Sequence[Mapping[str, Any]]) -> list[int]:
    """First and last seed of the report."""
    seeds = [o["seed"] for one in results for o in one["outcomes"]]
    return [min(seeds), max(seeds)] if seeds else []


if __name__ == "__main__":
    raise SystemExit(main())
