# SPDX-License-Identifier: Apache-2.0
"""Accuracy on generated scenes.

Scenes are random tabletops with sensor noise. The truth of a sentence comes from the positions of the bodies, by the
definitions in docs/relations.md, never from the package's own measurements. Only clear cases are asked: CLEAR metres or
more from the border of a relation. Seeds from 10,000 on are for reporting; tests and development use smaller ones.

    python -m benchmarks.accuracy                 scores, by relation; pose errors, by shape
    python -m benchmarks.accuracy --development   seeds from 0: prints every failure, keeps nothing
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import arguments, finish, share, show
from benchmarks.scenes import random_tabletop
from spatial_vlm_ros import Detection, PinholeCamera, Resolver, ResolverConfig, RgbdFrame, Status
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.sim.tabletop import Body, Cylinder, Rendering, Sphere, World, look_at, noisy, render
from spatial_vlm_ros.types.proportions import wilson

CLEAR = 0.02
FIRST_SEED = 10_000
BODIES = 9
LABELS = ("cup", "can", "box", "ball", "bottle", "block", "bowl")
_CAMERA = PinholeCamera(np.array([[610.0, 0.0, 320.0], [0.0, 610.0, 240.0], [0.0, 0.0, 1.0]]), 640, 480)


@dataclass(frozen=True)
class Question:
    """A sentence and its expected result."""

    kind: str
    instruction: str
    status: Status
    id: str | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A world seen by a camera: truth on the ground relative to the camera."""

    seed: int
    world: World
    eye: npt.NDArray[np.float64]
    seen: Rendering
    frame: RgbdFrame
    boxed: bool

    @property
    def detections(self) -> tuple[Detection, ...]:
        """Detections of a perfect detector; half of the scenes have no masks."""
        if not self.boxed:
            return self.seen.detections
        return tuple(dataclasses.replace(d, mask=None) for d in self.seen.detections)

    def well_seen(self) -> list[Body]:
        """Bodies that are at least 60 % visible and fully inside the image."""
        inside = {d.id for d in self.seen.detections if d.box_xyxy[0] > 2 and d.box_xyxy[1] > 2
                  and d.box_xyxy[2] < 637 and d.box_xyxy[3] < 477}  # fmt: skip
        return [b for b in self.world.bodies if b.id in inside and self.seen.visible_fraction[b.id] >= 0.6]


def view(seed: int) -> View:
    """Make a random world seen from a random side, 0.7 to 1.2 m away, 20 to 60 degrees above the table."""
    rng = np.random.default_rng(seed)
    world = _stacked(random_tabletop(rng, BODIES, labels=LABELS), rng)
    elevation, distance, side = np.radians(rng.uniform(20, 60)), rng.uniform(0.7, 1.2), rng.uniform(0, 2 * np.pi)
    eye = distance * np.array([np.cos(elevation) * np.cos(side), np.cos(elevation) * np.sin(side), np.sin(elevation)])
    seen = render(world, _CAMERA, look_at(tuple(eye), (0.0, 0.0, 0.03)))
    return View(seed, world, eye, seen, noisy(seen.frame, rng), boxed=bool(seed % 2))


def _stacked(world: World, rng: np.random.Generator) -> World:
    """Put a can on every second box and a ball in every second bowl."""
    more = []
    for body in world.bodies:
        x, y, base = body.position
        if body.label == "box" and rng.random() < 0.5:
            more.append(Body(f"on {body.id}", "can", Cylinder(0.03, 0.1), (x, y, body.top), "orange"))
        if body.label == "bowl" and rng.random() < 0.5:
            more.append(Body(f"in {body.id}", "ball", Sphere(0.025), (x, y, base + 0.004), "purple"))
    return World((*world.bodies, *more))


def questions(one: View) -> Iterator[Question]:
    """Make clear questions about one view: relations among several of a kind, orders, and cases to refuse."""
    bodies = one.well_seen()
    ids = {b.id for b in bodies}
    hidden_labels = {
        b.label for b in one.world.bodies if b.id not in ids and b.id in {d.id for d in one.seen.detections}
    }
    kinds: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        if body.label not in hidden_labels:
            kinds[body.label].append(body)
    alone = [group[0] for group in kinds.values() if len(group) == 1]
    for label, group in kinds.items():
        yield from _related(one, label, group, alone)
        yield from _carried(label, group, alone)
        if len(group) > 1:
            yield Question("ambiguous", f"the {label}", Status.AMBIGUOUS)
            yield from _ordered(one, label, group)
    for label in set(LABELS) - {b.label for b in one.world.bodies}:
        yield Question("absent", f"pick up the {label}", Status.NOT_FOUND)


def _related(one: View, label: str, group: Sequence[Body], anchors: Sequence[Body]) -> Iterator[Question]:
    """Relations that clearly hold for one of the group, or clearly for none."""
    for anchor in anchors:
        if anchor.label == label:
            continue
        for relation in ("left of", "right of", "behind", "in front of"):
            margins = [_margin(one, relation, body, anchor) for body in group]
            if any(abs(m) < CLEAR for m in margins):
                continue
            holding = [body for body, m in zip(group, margins, strict=True) if m > 0]
            words = f"grab the {label} {relation} the {anchor.label}"
            if len(holding) == 1:
                yield Question(relation, words, Status.OK, holding[0].id)
            elif not holding:
                yield Question(f"not {relation}", words, Status.RELATION_UNSATISFIED)


def _carried(label: str, group: Sequence[Body], anchors: Sequence[Body]) -> Iterator[Question]:
    """A can on a box, a ball in a bowl, as placed."""
    relation, holder = {"can": ("on", "box"), "ball": ("in", "bowl")}.get(label, (None, None))
    for anchor in anchors:
        if relation is not None and anchor.label == holder:
            carried = [body for body in group if body.id == f"{relation} {anchor.id}"]
            words = f"take the {label} {relation} the {holder}"
            status = Status.OK if carried else Status.RELATION_UNSATISFIED
            yield Question(
                relation if carried else f"not {relation}", words, status, carried[0].id if carried else None
            )


def _margin(one: View, relation: str, body: Body, anchor: Body) -> float:
    """Signed margin in metres by the definition, from true centres and sizes; 0 if unclear."""
    place, other = np.array(body.centre[:2]), np.array(anchor.centre[:2])
    ahead = other - one.eye[:2]
    ahead /= np.linalg.norm(ahead)
    right = np.array([ahead[1], -ahead[0]])
    along, aside = (place - other) @ ahead, (place - other) @ right
    if relation in ("left of", "right of"):
        return float(aside if relation == "right of" else -aside)
    sign = 1.0 if relation == "behind" else -1.0
    # Half-diagonals: wider than the outline at any rotation.
    reach = (np.hypot(*body.size[:2]) + np.hypot(*anchor.size[:2])) / 2
    slim = (min(body.size[:2]) + min(anchor.size[:2])) / 2
    if sign * along < 0 or abs(aside) > reach + abs(along) + CLEAR:
        return (
            -min(abs(float(along)), 1.0)
            if sign * along < -CLEAR
            else -CLEAR * (abs(aside) > reach + abs(along) + CLEAR)
        )
    if abs(along) > reach and abs(aside) < slim:
        return float(abs(along))
    return 0.0


def _ordered(one: View, label: str, group: Sequence[Body]) -> Iterator[Question]:
    """Superlatives and ordinals with clear gaps."""
    offsets = np.array([b.centre[:2] for b in group]) - one.eye[:2]
    forward = -one.eye[:2] / np.linalg.norm(one.eye[:2])
    right = np.array([forward[1], -forward[0]])
    bearing = np.arctan2(offsets @ right, offsets @ forward) * np.linalg.norm(offsets, axis=1).mean()
    distance = np.linalg.norm(np.array([b.centre for b in group]) - one.eye, axis=1)
    for values, first, last in ((bearing, "leftmost", "rightmost"), (distance, "nearest", "farthest")):
        rank = np.argsort(values)
        gaps = np.diff(values[rank])
        if gaps[0] > CLEAR:
            yield Question(first, f"pick up the {first} {label}", Status.OK, group[rank[0]].id)
        if gaps[-1] > CLEAR:
            yield Question(last, f"pick up the {last} {label}", Status.OK, group[rank[-1]].id)
    rank = np.argsort(bearing)
    gaps = np.diff(bearing[rank])
    if gaps[:2].min() > CLEAR:
        yield Question("ordinal", f"take the second {label} from the left", Status.OK, group[rank[1]].id)


def measure(views: Sequence[View], told: bool = False) -> dict[str, Any]:
    """Measure scores and pose errors."""
    resolver, config = Resolver(), ResolverConfig()
    good: dict[str, list[bool]] = defaultdict(list)
    given, poses_on_refusals, refusals, answered, answerable = [], 0, 0, 0, 0
    errors: dict[str, list[float]] = defaultdict(list)
    for one in views:
        for question in questions(one):
            answer = resolver.resolve(one.frame, question.instruction, one.detections)
            right = answer.status is question.status and question.id in (None, answer.target and answer.target.id)
            good[question.kind].append(right)
            if told and not right:
                print(f"seed {one.seed} {question} got {answer.status.value} {answer.message} {answer.candidates[:2]}")
            answerable += question.status is Status.OK
            refusals += question.status is not Status.OK
            if answer.status is Status.OK:
                answered += question.status is Status.OK
                poses_on_refusals += question.status is not Status.OK
                given.append(right)
        scene = build_scene(one.frame, one.detections, config.depth, config.lift)
        clear = {b.id for b in one.well_seen()}
        for obj in scene.objects:
            if obj.id in clear and obj.depth_problem is None:
                body = one.world[obj.id]
                assert one.frame.base_T_camera is not None
                error = np.linalg.norm(one.frame.base_T_camera.apply(obj.box.centre) - np.array(body.centre))
                errors["boxes" if one.boxed else "masks"].append(1000 * float(error))
                errors[body.label].append(1000 * float(error))
    return {
        "as_expected": share([ok for oks in good.values() for ok in oks]),
        "right_of_answers": share(given),
        "coverage": dataclasses.asdict(wilson(answered, answerable)),
        "pose_on_refusal": dataclasses.asdict(wilson(poses_on_refusals, refusals)),
        "by_kind": {kind: share(oks) for kind, oks in sorted(good.items())},
        "pose_error_mm": {
            name: {
                "n": len(values),
                "median": round(float(np.median(values)), 1),
                "p95": round(float(np.percentile(values, 95)), 1),
            }
            for name, values in sorted({**errors, "all": errors["masks"] + errors["boxes"]}.items())
        },
    }


def main() -> None:
    """Run and write benchmarks/results/accuracy.json."""
    given = arguments(__doc__, seeds=200, development=False)
    first = 0 if given.development else FIRST_SEED
    seeds = range(first, first + given.seeds)
    found = measure([view(seed) for seed in seeds], told=given.development)
    if given.development:
        show("accuracy", found)
    else:
        finish("accuracy", {"seeds": [seeds.start, seeds.stop], **found}, ())


if __name__ == "__main__":
    main()
