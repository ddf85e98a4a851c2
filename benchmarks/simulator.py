# SPDX-License-Identifier: Apache-2.0
"""Right instances and position errors on tabletops settled by physics, with sensor noise and the simulator's masks.

The truth comes from the settled objects: the relations that they were placed by, checked on their outlines by
sim/truth.py, and the centres of their tight gravity-up boxes, including hollow objects and handles. The solver
computes none of it. Only clear cases are asked. Seeds from 10,000 on are for reporting; tests and development use
smaller ones.

    python -m benchmarks.simulator --seeds 200    scores by relation; errors by class
    python -m benchmarks.simulator --development  seeds from 0: prints every failure, keeps nothing
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness import Claim, arguments, finish, share, show
from spatial_vlm_ros import Resolver, ResolverConfig, RgbdFrame, Status
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.settled import CLEAR, settled_tabletop
from spatial_vlm_ros.sim.tabletop import STEREO, VGA, noisy
from spatial_vlm_ros.sim.truth import TrueObject, margin

FIRST_SEED = 10_000
SEEN = 0.6  # least visible fraction of a target, an anchor, or a measured object
BORDER = 3  # pixels between a measured object and the image's border
ATTRIBUTES = 2  # questions of each world that only name an attribute
CLEARLY_NOT = 0.03  # metres by which a relation must fail for the others of a kind


@dataclass(frozen=True)
class Question:
    """A sentence and the id it means (None = nothing fits and it must be refused)."""

    kind: str
    words: str
    id: str | None


@dataclass(frozen=True)
class Outcome:
    """Result of a question: answered with an object (right or not), or refused with a status."""

    kind: str
    asked_for: bool
    answered: bool
    right: bool
    text: str


@dataclass(frozen=True)
class Measured:
    """Errors of one object, metres: of the volume's centre (ahead, left, up from the camera), of the surface's."""

    label: str
    volume: tuple[float, float, float]
    surface: float
    range: float


def well_seen(world: PhysicsWorld, seen: PhysicsRendering) -> dict[str, TrueObject]:
    """Objects of which at least SEEN is visible, fully inside the image."""
    height, width = seen.frame.depth.shape
    inside = {
        d.id for d in seen.detections
        if min(d.box_xyxy[:2]) >= BORDER and d.box_xyxy[2] <= width - BORDER and d.box_xyxy[3] <= height - BORDER
    }  # fmt: skip
    return {id_: true for id_, true in world.truth.items() if id_ in inside and seen.visible_fraction[id_] >= SEEN}


def questions(world: PhysicsWorld, seen: PhysicsRendering) -> Iterator[Question]:
    """Clear questions about one world, from the relations that its objects were placed by."""
    clear, eye = well_seen(world, seen), world.base_T_camera.translation
    in_image = [world.truth[d.id] for d in seen.detections]
    for target in clear.values():
        if target.placed is None:
            continue
        relation, anchor = target.placed.relation, world.truth[target.placed.anchor_ids[0]]
        same_anchor = [o for o in in_image if o.label == anchor.label]
        if anchor.id not in clear or target.label == anchor.label:
            continue
        name = anchor.label if len(same_anchor) == 1 else _told_apart(anchor, same_anchor)
        if name is None:
            continue
        others = [o for o in in_image if o.label == target.label and o.id != target.id]
        words = {"in": "in", "next to": "next to"}.get(relation, relation)
        if all(margin(relation, o, anchor, eye) < -CLEARLY_NOT for o in others):
            kind = relation if others else f"{relation} (one of its kind)"
            yield Question(kind, f"grab the {target.label} {words} the {name}", target.id)
        yield from _opposite(world, target, anchor, name, others)
    yield from itertools.islice(_by_attribute(clear, in_image), ATTRIBUTES)


def _by_attribute(clear: Mapping[str, TrueObject], in_image: Sequence[TrueObject]) -> Iterator[Question]:
    """Questions for one of several of a kind, by a word that is true only of it."""
    for target in clear.values():
        same = [o for o in in_image if o.label == target.label]
        name = _told_apart(target, same) if len(same) > 1 else None
        if name is not None:
            yield Question("attribute", f"pick up the {name}", target.id)


def _told_apart(one: TrueObject, same: Sequence[TrueObject]) -> str | None:
    """The label with a word that is true only of this object, or None."""
    words = [w for w in one.attributes if all(w not in o.attributes for o in same if o.id != one.id)]
    return f"{words[-1]} {one.label}" if words else None


def _opposite(
    world: PhysicsWorld, target: TrueObject, anchor: TrueObject, name: str, others: Sequence[TrueObject]
) -> Iterator[Question]:
    """Cases to refuse: a relation that clearly holds for none of the kind."""
    opposites = {"left of": "right of", "right of": "left of", "behind": "in front of", "in front of": "behind"}
    assert target.placed is not None
    relation = opposites.get(target.placed.relation)
    if relation is None:
        return
    eye = world.base_T_camera.translation
    if all(margin(relation, o, anchor, eye) < -CLEARLY_NOT for o in (target, *others)):
        yield Question(f"not {relation}", f"grab the {target.label} {relation} the {name}", None)


def one_seed(seed: int) -> tuple[list[Outcome], list[Measured], dict[str, int]]:
    """All measurements of one world."""
    with settled_tabletop(seed) as world:
        seen = world.render(VGA)
        frame = noisy(seen.frame, np.random.default_rng(seed), STEREO, seen.shiny)
        resolver, outcomes = Resolver(), []
        for question in questions(world, seen):
            answer = resolver.resolve(frame, question.words, seen.detections)
            given = answer.target.id if answer.target else None
            text = f"seed {seed}: {question.words!r} means {question.id}, got {answer.status.value} {given}"
            right = given == question.id and (given is not None or answer.status is Status.RELATION_UNSATISFIED)
            outcomes.append(Outcome(question.kind, question.id is not None, given is not None, right, text))
        counts = {"things": len(world.truth), "well_seen": len(well_seen(world, seen))}
        return outcomes, list(errors(world, seen, frame)), counts


def errors(world: PhysicsWorld, seen: PhysicsRendering, frame: RgbdFrame) -> Iterator[Measured]:
    """Distances between objects lifted from the noisy frame and the truth."""
    config = ResolverConfig()
    pose = world.base_T_camera
    clear = well_seen(world, seen)
    for obj in build_scene(frame, seen.detections, config.depth, config.lift).objects:
        if obj.id not in clear or obj.depth_problem is not None:
            continue
        true = clear[obj.id]
        axes = view_axes(true.centre - pose.translation)
        ahead, left, up = ((pose.apply(obj.box.centre) - true.centre) @ axes).tolist()
        surface = float(np.linalg.norm(pose.apply(obj.surface_centre) - surface_truth(seen, obj.id, axes)))
        yield Measured(true.label, (ahead, left, up), surface, float(np.linalg.norm(true.centre - pose.translation)))


def view_axes(ray: np.ndarray) -> np.ndarray:
    """(3, 3) columns ahead (on the ground), left and up, base frame, for a ray (3,) from the camera."""
    x, y = ray[:2] / np.linalg.norm(ray[:2])
    return np.array([[x, -y, 0.0], [y, x, 0.0], [0.0, 0.0, 1.0]])


def surface_truth(seen: PhysicsRendering, id_: str, axes: np.ndarray) -> np.ndarray:
    """(3,) median of the exact visible surface along gravity-up axes, base frame, metres.

    The axes matter: for a surface with visible top and front, the median along the optical axes differs.
    """
    camera, mask = seen.frame.camera, seen.masks[id_]
    v, u = np.nonzero(mask)
    z = seen.frame.depth[mask].astype(np.float64)
    x, y = (u - camera.K[0, 2]) / camera.K[0, 0] * z, (v - camera.K[1, 2]) / camera.K[1, 1] * z
    assert seen.frame.base_T_camera is not None
    points = seen.frame.base_T_camera.apply(np.stack([x, y, z], axis=1))
    return axes @ np.median(points @ axes, axis=0)


def scores(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares with Wilson intervals."""
    asked = [o for o in outcomes if o.asked_for]
    answered = [o for o in outcomes if o.answered]
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    return {
        "right_of_all_that_have_an_answer": share([o.right for o in asked]),
        "right_of_those_with_a_relation": share([o.right for o in asked if o.kind != "attribute"]),
        "right_of_answers": share([o.right for o in answered]),
        "refused_of_all_that_have_an_answer": share([not o.answered for o in asked]),
        "pose_where_nothing_fits": share([o.answered for o in outcomes if not o.asked_for]),
        "as_expected_by_kind": {kind: share([o.right for o in some]) for kind, some in sorted(kinds.items())},
        "not_as_expected": [o.text for o in outcomes if not o.right],
    }


def by_class(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Errors in millimetres by class and over all."""
    classes: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        classes[one.label].append(one)
    rows = {**dict(sorted(classes.items())), "all": list(measured)}
    return {label: _summary(some) for label, some in rows.items()}


def _summary(some: Sequence[Measured]) -> dict[str, float]:
    parts = 1e3 * np.array([m.volume for m in some])
    volume, surface = np.linalg.norm(parts, axis=1), 1e3 * np.array([m.surface for m in some])
    bias = np.round(np.median(parts, axis=0), 1).tolist()
    return {
        "n": len(some),
        "volume_median_mm": round(float(np.median(volume)), 1),
        "volume_p95_mm": round(float(np.percentile(volume, 95)), 1),
        "volume_bias_ahead_mm": bias[0],
        "volume_bias_left_mm": bias[1],
        "volume_bias_up_mm": bias[2],
        "surface_median_mm": round(float(np.median(surface)), 1),
        "surface_p95_mm": round(float(np.percentile(surface, 95)), 1),
        "range_median_m": round(float(np.median([m.range for m in some])), 2),
    }


def main() -> int:
    """Run and write benchmarks/results/simulator.json."""
    options = arguments(__doc__, seeds=200, jobs=2, development=False)
    first = 0 if options.development else FIRST_SEED
    seeds = range(first, first + options.seeds)
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one_seed, seeds, chunksize=5))
    score = scores([o for outcomes, _, _ in results for o in outcomes])
    classes = by_class([m for _, measured, _ in results for m in measured])
    if options.development:
        show("simulator", {"questions": score, "errors": classes})
        print(*score["not_as_expected"], sep="\n")
        return 0
    right = score["right_of_all_that_have_an_answer"]["share"]
    claims = [
        Claim("right instance, of all that have an answer", 100 * right, 97, "%", least=True),
        Claim("right instance, of answers", 100 * score["right_of_answers"]["share"], 97, "%", least=True),
        Claim("volume centre, median", classes["all"]["volume_median_mm"], 10, "mm"),
        Claim("volume centre, 95th percentile", classes["all"]["volume_p95_mm"], 30, "mm"),
    ]
    counts = {name: sum(c[name] for _, _, c in results) for name in ("things", "well_seen")}
    return finish(
        "simulator",
        {"seeds": [seeds.start, seeds.stop], "clear_m": dict(CLEAR), **counts, "questions": score, "errors": classes},
        claims,
    )


if __name__ == "__main__":
    raise SystemExit(main())
