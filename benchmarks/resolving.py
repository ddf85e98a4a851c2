# SPDX-License-Identifier: Apache-2.0
"""Claim: once objects are lifted, an answer takes milliseconds, even with a hundred objects and three clauses.

In the worst case each clause relates every object to every other one; a sentence with names relates fewer. The baseline
handles the worst case with a plain Python loop over pairs and only uses box centres; ours measures outlines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import REPETITIONS, WARM_UP, Claim, Timing, alternate, arguments, finish
from benchmarks.scenes import LABELS, camera, lifted, tabletop
from spatial_vlm_ros.geometry.frame_evidence import frame_evidence, unexplained_regions
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import COLOURS, look_at
from spatial_vlm_ros.spatial.answer import answer
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    NounPhrase,
    Plane,
    RelationClause,
    Resolution,
    RgbdFrame,
    Scene,
    SpatialQuery,
    UpSource,
)

CONFIG = ResolverConfig()
SENTENCE = "the cup behind the box, left of the can and near the mug"
FIVE = "the cup behind the box left of the can near the mug in front of the box right of the can"
RELATIONS = ("behind", "left of", "near")
COUNTS = (100, 1000)
LENS, LARGE = camera(640, 480, 525.0), camera(1280, 720, 900.0)
TILT = math.radians(35.0)
SPACING = 0.2  # metres between neighbours
FRAME_INSTRUCTION = "the mug left of the box"


def scene_of(n: int) -> Scene:
    """A Scene of objects on a large table, made from numbers instead of pixels."""
    rng = np.random.default_rng(n)
    side = math.ceil(math.sqrt(n))
    pose = look_at((0.0, -1.0, 1.0), (0.0, -1.0 + 1.0 / math.tan(TILT), 0.0))
    up = pose.rotation[2]
    colours = list(COLOURS)
    objects = []
    for k in range(n):
        x, y = SPACING * ((k % side) - side / 2), SPACING * (k // side)
        size = rng.uniform((0.06, 0.05, 0.05), (0.10, 0.06, 0.15))
        centre = np.array([x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03), size[2] / 2])
        label, colour = LABELS[k % len(LABELS)], colours[k % len(colours)]
        detection = Detection(f"o{k}", label, 1.0, (0.0, 0.0, 10.0, 10.0), None, (colour,))
        middle = pose.inverse().apply(centre[None])
        objects.append(lifted(detection, centre, size, rng.uniform(-math.pi / 2, math.pi / 2), pose, middle))
    depth = np.ones((LENS.height, LENS.width), np.float32)
    image = np.zeros((LENS.height, LENS.width, 3), np.uint8)
    frame = RgbdFrame(image, depth, LENS, 0, pose.child, pose)
    return Scene(tuple(objects), up, UpSource.TF, Plane(up, float(pose.translation[2]), 0.001), frame)


def everything_to_everything() -> tuple[SpatialQuery, ...]:
    """One reading whose three clauses have every object as target and as anchor."""
    anchor = NounPhrase("object")
    clauses = tuple(RelationClause(relation, (anchor,)) for relation in RELATIONS)
    return (SpatialQuery("the worst case", "find", NounPhrase("object", relations=clauses)),)


def phrases_of(phrase: NounPhrase) -> list[NounPhrase]:
    """A phrase and all phrases inside it."""
    return [phrase, *(p for clause in phrase.relations for anchor in clause.anchors for p in phrases_of(anchor))]


def answered(scene: Scene, queries: Sequence[SpatialQuery]) -> Resolution:
    """The resolver's work once objects are lifted."""
    phrases = list(dict.fromkeys(p for query in queries for p in phrases_of(query.target)))
    match = dict(zip(phrases, label_match(phrases, [o.detection for o in scene.objects]), strict=True))
    layout = lay_out(scene, CONFIG.depth, CONFIG.relation)
    scorer = PhraseScorer(
        layout, CONFIG, match=match.__getitem__, score=np.ones(len(layout)), default_frame=FrameOfReference.VIEWER
    )
    return answer(decide(queries, scorer), scorer, queries[0].instruction)


def python_loop(scene: Scene) -> int:
    """The likeliest target of the worst case: for each pair and clause, a margin between box centres."""
    layout = lay_out(scene, CONFIG.depth, CONFIG.relation)
    places = [(float(x), float(y)) for x, y, _ in layout.centre]
    reach = [float(r) for r in layout.reach]
    spread = math.tan(math.radians(CONFIG.relation.cone_deg))
    best, best_row = -1.0, -1
    for t, (tx, ty) in enumerate(places):
        chances = [0.0, 0.0, 0.0]
        for a, (ax, ay) in enumerate(places):
            if a == t:
                continue
            distance = math.hypot(ax, ay)
            ux, uy = ax / distance, ay / distance
            dx, dy = tx - ax, ty - ay
            along, right = dx * ux + dy * uy, dy * ux - dx * uy
            behind = min(along, along * spread - abs(right))
            size = (reach[t] + reach[a]) / 2
            near = CONFIG.relation.near_sizes * size - max(0.0, math.hypot(dx, dy) - size)
            sigma = CONFIG.relation.size_blur * size * math.sqrt(2.0)
            for k, margin in enumerate((behind, -right, near)):
                chances[k] = max(chances[k], 0.5 * (1.0 + math.erf(margin / sigma)))
        if math.prod(chances) > best:
            best, best_row = math.prod(chances), t
    return best_row


def main() -> int:
    """Measure, print and write."""
    rounds = arguments(__doc__, repetitions=REPETITIONS).repetitions
    counts: dict[str, Any] = {}
    for n in COUNTS:
        scene = scene_of(n)
        worst, sentence, five = everything_to_everything(), parse(SENTENCE), parse(FIVE)
        times = alternate(
            {
                "ours, every pair": partial(answered, scene, worst),
                "ours, a sentence": partial(answered, scene, sentence),
                f"ours, five relations, {len(five)} readings": partial(answered, scene, five),
                "Python loop": partial(python_loop, scene),
            },
            rounds,
        )
        counts[str(n)] = _summary(times)
    five_of_100 = next(row for name, row in counts["100"].items() if "five" in name)
    steps, checks = whole_resolve(rounds), time_of_checks(rounds)
    claims = [
        Claim("checks and unnamed regions of a 720p frame", checks["median_ms"], 12.0, "ms"),
        Claim("100 objects, every pair, 3 clauses", counts["100"]["ours, every pair"]["median_ms"], 5.0, "ms"),
        Claim("100 objects, five relations", five_of_100["median_ms"], 100.0, "ms"),
        Claim("1,000 objects, every pair, 3 clauses", counts["1000"]["ours, every pair"]["median_ms"], 150.0, "ms"),
        Claim("100 objects: Python loop / every pair", counts["100"]["Python loop"]["ratio"], 2.0, "x", least=True),
    ]
    setting = {
        "sentence": SENTENCE,
        "five": FIVE,
        "clauses": list(RELATIONS),
        "baseline": "Python loop over pairs of box centres",
    }
    found = {"setting": setting, "objects": counts, "whole_resolve": steps, "checks_720p": checks}
    return finish("resolving", found, claims)


def time_of_checks(rounds: int) -> dict[str, Any]:
    """Time all checks of a 720p frame with 10 masks, and the search for what has no detection."""
    _, seen, frame = tabletop(4, 10, LARGE, 1.0)
    scene = build_scene(frame, seen.detections, CONFIG.depth, CONFIG.lift)

    def check() -> None:
        frame_evidence(scene.frame, scene.objects, scene.support, scene.up_from, scene.up, CONFIG.depth)
        unexplained_regions(scene.frame, scene.objects, (), scene.support, CONFIG.depth, CONFIG.lift)

    return alternate({"checks": check}, rounds)["checks"].summary()


def _summary(times: dict[str, Timing]) -> dict[str, Any]:
    base = times["ours, every pair"].median_ms
    return {name: {**time.summary(), "ratio": round(time.median_ms / base, 2)} for name, time in times.items()}


def whole_resolve(rounds: int) -> dict[str, Any]:
    """Time `Resolver.resolve` on a 640x480 frame with 10 given masks, by step, `rounds` times."""
    _, seen, frame = tabletop(4, 10, LENS, 1.0)
    resolver = Resolver(CONFIG)
    runs = [resolver.resolve(frame, FRAME_INSTRUCTION, seen.detections) for _ in range(WARM_UP + rounds)][WARM_UP:]
    times = {step: Timing(tuple(run.timings_ms[step] / 1e3 for run in runs)) for step in runs[0].timings_ms}
    times["whole"] = Timing(tuple(run.ms / 1e3 for run in runs))
    return {
        "instruction": FRAME_INSTRUCTION,
        "status": runs[0].status.value,
        "detections": len(seen.detections),
        "steps": {step: time.summary() for step, time in times.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
