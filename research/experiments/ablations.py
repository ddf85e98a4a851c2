# SPDX-License-Identifier: Apache-2.0
"""What each part of the resolver is worth: the same constructed questions answered with one part replaced at a time.

The meaning of each question is given (no parser), detections are exact, so that only what is named differs. Compared in
pairs: McNemar's exact test on the questions that one way answers rightly and the other does not.

    python -m research.experiments.ablations --items 24
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from benchmarks.harness import Claim, finish, table
from research.constructed.building import build
from research.constructed.distribution import REPORTING_FROM
from research.constructed.item import Item
from research.constructed.noise import NOISES
from research.constructed.plans import RELATIONS
from research.constructed.questions import COUNTER, USUAL
from research.experiments import RESULTS
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.layout import Layout, Viewpoint, lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, Scene, Status
from spatial_vlm_ros.types.proportions import mcnemar, wilson

Answer = tuple[Status, frozenset[str]]
OURS = "ours"
DIRECTIONS = frozenset({"left of", "right of", "behind", "in front of", "nearest", "farthest", "leftmost", "rightmost"})
"""What needs no size and no contact: the fairest ground for ways that have only places."""
_POINT = 0.001  # metres: half size of an object that is taken as a point


@dataclass(frozen=True)
class Outcome:
    """One question answered every way.

    Args:
        relation, kind, tags, band: of the item.
        right: by way of answering: whether the answer is as expected.
        answered: whether an object was named.
    """

    relation: str
    kind: str
    tags: tuple[str, ...]
    band: bool
    right: dict[str, bool]
    answered: dict[str, bool]


# ------------------------------------------------------------------------------------------------ ways of answering


class _PictureLayout(Layout):
    """Places read off the image: right is right, higher up is farther away and higher."""

    def viewpoint(self, frame: FrameOfReference) -> Viewpoint:
        if frame is not FrameOfReference.VIEWER:
            return super().viewpoint(frame)
        foot = np.array([-1e3, 0.0, 0.0])
        return Viewpoint(frame, foot, np.array([1.0, 0.0]), 0.0, parallel=True)


class _Greedy(PhraseScorer):
    """Anchors are settled first, each the likeliest of its own phrase; then the target."""

    def score_phrase(self, phrase: NounPhrase, anchor: bool = False, each: bool = False) -> PhraseBelief:
        belief = super().score_phrase(phrase, anchor, each)
        if not anchor or phrase.count not in (None, 1) or not len(belief.weight):
            return belief
        alone = np.zeros_like(belief.weight)
        best = int(np.argmax(belief.weight))
        alone[best] = belief.weight[best]
        return dataclasses.replace(belief, weight=alone)


def centres(scene: Scene, config: ResolverConfig) -> Layout:
    """Every object is the point in its middle."""
    layout = lay_out(scene, config.depth, config.relation)
    angles = 2 * np.pi * np.arange(layout.footprint.shape[1]) / layout.footprint.shape[1]
    about = _POINT * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    height = layout.centre[:, 2]
    return dataclasses.replace(layout, footprint=layout.centre[:, None, :2] + about, bottom=height, top=height)


def image_plane(scene: Scene, config: ResolverConfig) -> Layout:
    """Every object is its box in the image, scaled to metres at the things' mean depth."""
    layout = lay_out(scene, config.depth, config.relation)
    boxes = np.array([o.detection.box_xyxy for o in scene.objects]).reshape(-1, 4)
    depth = float(np.nanmean([o.box.centre[2] for o in scene.objects])) if scene.objects else 1.0
    scale = depth / scene.frame.camera.K[0, 0]
    u, v = (boxes[:, 0] + boxes[:, 2]) / 2 * scale, -(boxes[:, 1] + boxes[:, 3]) / 2 * scale
    half_u, half_v = (boxes[:, 2] - boxes[:, 0]) / 2 * scale, (boxes[:, 3] - boxes[:, 1]) / 2 * scale
    signs = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])[np.arange(layout.footprint.shape[1]) // 4]
    centre = np.stack((v, u, v), axis=1)
    footprint = centre[:, None, :2] + signs * np.stack((half_v, half_u), axis=1)[:, None]
    placed = {"centre": centre, "surface": centre, "footprint": footprint, "bottom": v - half_v, "top": v + half_v}
    kept = {field.name: getattr(layout, field.name) for field in dataclasses.fields(layout)}
    return _PictureLayout(**{**kept, **placed})


def optical_axis(scene: Scene, config: ResolverConfig) -> Layout:
    """Up is up in the image, ahead is along the camera's axis."""
    return lay_out(dataclasses.replace(scene, up=np.array([0.0, -1.0, 0.0])), config.depth, config.relation)


def resolved(item: Item, scene: Scene, match: np.ndarray, phrases: Sequence[NounPhrase], layout: Layout,
             kind: type[PhraseScorer] = PhraseScorer) -> Answer:  # fmt: skip
    """The decision on a layout."""
    config = config_from(item.settings)
    row_of = {phrase: row for row, phrase in enumerate(phrases)}
    score = np.array([d.score for d in item.detections]) ** config.decision.score_weight
    scorer = kind(layout, config, lambda p: match[row_of[p]], score, config.frame_of_reference)
    try:
        verdict = decide([item.query], scorer)
    except SpatialVlmError as error:
        return Status[error.status_name], frozenset()
    rows = (verdict.several or (verdict.chosen,)) if verdict.status is Status.OK else ()
    return verdict.status, frozenset(scene.objects[row].id for row in rows)


def by_name(item: Item, match: np.ndarray, scores: np.ndarray) -> Answer:
    """What is done without relations: one of the objects of that name, by a score."""
    named = np.flatnonzero(match[0] >= ResolverConfig().decision.found)
    if not len(named):
        return Status.NOT_FOUND, frozenset()
    return Status.OK, frozenset({item.detections[int(named[np.argmax(scores[named])])].id})


WAYS = (OURS, "centres instead of extents", "image plane instead of 3-D", "optical axis instead of gravity",
        "greedy instead of joint", "first match by name", "highest score")  # fmt: skip


def answers(item: Item) -> dict[str, Answer]:
    """One question, every way."""
    config = config_from(item.settings)
    phrases = list(dict.fromkeys(phrases_of(item.query.target)))
    match = GivenDetections(item.detections).ground(item.frame.rgb, phrases).match
    scene = build_scene(item.frame, item.detections, config.depth, config.lift)
    ask = partial(resolved, item, scene, match, phrases)
    ours = lay_out(scene, config.depth, config.relation)
    # What comes first from a detector that sorts by score is the surest; from another it is anything.
    order = np.random.default_rng(item.seed).permutation(len(item.detections)).astype(np.float64)
    ways: list[Callable[[], Answer]] = [
        lambda: ask(ours),
        lambda: ask(centres(scene, config)),
        lambda: ask(image_plane(scene, config)),
        lambda: ask(optical_axis(scene, config)),
        lambda: ask(ours, _Greedy),
        lambda: by_name(item, match, order),
        lambda: by_name(item, match, np.array([d.score for d in item.detections]) + 1e-6 * order),
    ]
    return {name: way() for name, way in zip(WAYS, ways, strict=True)}


def phrases_of(phrase: NounPhrase) -> list[NounPhrase]:
    """A phrase and all phrases inside it."""
    return [phrase, *(p for clause in phrase.relations for anchor in clause.anchors for p in phrases_of(anchor))]


def outcome_of(item: Item) -> Outcome:
    """One question answered every way, and judged."""
    given = answers(item)
    right, answered = {}, {}
    for name, (status, ids) in given.items():
        answered[name] = status is Status.OK
        any_will_do = "any" in item.tags and bool(ids) and ids <= set(item.ids)
        same = status is not Status.OK or any_will_do or ids == frozenset(item.ids)
        right[name] = status is item.status and same
    return Outcome(item.relation, item.kind, item.tags, item.band, right, answered)


def one_relation(relation: str, items: int, first: int, noise: str) -> list[Outcome]:
    """So many questions of a relation."""
    cv2.setNumThreads(1)
    outcomes: list[Outcome] = []
    seed = first
    while len(outcomes) < items and seed < first + 4 * items:
        outcomes += [outcome_of(item) for item in build(seed, relation, noise)][: items - len(outcomes)]
        seed += 1
    return outcomes


# ------------------------------------------------------------------------------------------------ report


def figures(outcomes: Sequence[Outcome], way: str) -> dict[str, object]:
    """Shares of one way, and its pairs against ours."""
    answerable = [o for o in outcomes if o.kind == "answerable"]
    refusable = [o for o in outcomes if o.kind != "answerable"]
    lost = sum(o.right[OURS] and not o.right[way] for o in outcomes)
    gained = sum(o.right[way] and not o.right[OURS] for o in outcomes)

    def share(some: Sequence[bool]) -> dict[str, float]:
        return dataclasses.asdict(wilson(sum(some), len(some)))

    def tagged(tag: str) -> dict[str, float]:
        return share([o.right[way] for o in answerable if tag in o.tags])

    return {
        "right_of_answerable": share([o.right[way] for o in answerable]),
        "right_of_directions": share([o.right[way] for o in answerable if o.relation in DIRECTIONS]),
        "wrong_of_answerable": share([o.answered[way] and not o.right[way] for o in answerable]),
        "pose_where_to_be_refused": share([o.answered[way] for o in refusable]),
        "usual": tagged(USUAL),
        "counter_heuristic": tagged(COUNTER),
        "against_ours": {"lost": lost, "gained": gained, "p": mcnemar(lost, gained)},
    }


def main() -> int:
    """Run, print, write research/results/ablations.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=24, help="of each relation")
    parser.add_argument("--first-seed", type=int, default=REPORTING_FROM)
    parser.add_argument("--noise", choices=NOISES, default="none")
    parser.add_argument("--only", metavar="RELATION")
    options, rest = parser.parse_known_args(sys.argv[1:])
    os.environ.setdefault("LP_NUM_THREADS", "1")
    run = partial(one_relation, items=options.items, first=options.first_seed, noise=options.noise)
    with ProcessPoolExecutor(2) as pool:
        outcomes = [o for some in pool.map(run, [options.only] if options.only else RELATIONS) for o in some]
    clear = [o for o in outcomes if not o.band]
    scores = {way: figures(clear, way) for way in WAYS}
    columns = (
        "right_of_answerable",
        "right_of_directions",
        "wrong_of_answerable",
        "pose_where_to_be_refused",
        "usual",
        "counter_heuristic",
    )
    table(
        f"ablations: {len(clear)} constructed questions outside the band, noise {options.noise}; k/n",
        ("way", *columns, "lost", "gained", "p"),
        [
            (way, *(f"{row[c]['k']}/{row[c]['n']}" for c in columns), *row["against_ours"].values())  # type: ignore[index,attr-defined]
            for way, row in scores.items()
        ],
    )  # fmt: skip
    sys.argv = [sys.argv[0], *rest]
    setting = {"items_each": options.items, "first_seed": options.first_seed, "noise": options.noise, "n": len(clear)}
    ours = scores[OURS]["right_of_answerable"]["share"]  # type: ignore[index]
    claims = [Claim("ours: right of answerable", 100 * ours, 95, "%", least=True)]
    return finish("ablations", {"setting": setting, "ways": scores}, claims, RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
