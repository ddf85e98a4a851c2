# SPDX-License-Identifier: Apache-2.0
"""Accuracy on generated scenes, and the effect of every parameter on it.

Scenes are random tabletops with sensor noise. The truth of a sentence comes from the positions of the bodies, by the
definitions in docs/relations.md, never from the package's own measurements. Only clear cases are asked: CLEAR metres or
more from the border of a relation. Seeds from 10,000 on are for reporting; tests and development use smaller ones.

    python -m benchmarks.accuracy                 scores, by relation; pose errors, by shape
    python -m benchmarks.accuracy --sensitivity   the same for each parameter halved and doubled
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.harness import RESULTS, machine
from benchmarks.real_pairs import FOLDER
from spatial_vlm_lab.sim.random_worlds import random_tabletop
from spatial_vlm_ros import Detection, PinholeCamera, Resolver, ResolverConfig, RgbdFrame, Status, load_frame
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.shapes import Cylinder, Sphere
from spatial_vlm_ros.sim.tabletop import Body, Rendering, World, look_at, render
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


def measure(views: Sequence[View], config: ResolverConfig, show: bool = False) -> dict[str, object]:
    """Measure scores and pose errors of one configuration."""
    resolver = Resolver(config)
    good: dict[str, list[bool]] = defaultdict(list)
    given, poses_on_refusals, refusals, answered, answerable = [], 0, 0, 0, 0
    errors: dict[str, list[float]] = defaultdict(list)
    for one in views:
        for question in questions(one):
            answer = resolver.resolve(one.frame, question.instruction, one.detections)
            right = answer.status is question.status and question.id in (None, answer.target and answer.target.id)
            good[question.kind].append(right)
            if show and not right:
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
        "as_expected": _share([ok for oks in good.values() for ok in oks]),
        "right_of_answers": _share(given),
        "coverage": dataclasses.asdict(wilson(answered, answerable)),
        "pose_on_refusal": dataclasses.asdict(wilson(poses_on_refusals, refusals)),
        "by_kind": {kind: _share(oks) for kind, oks in sorted(good.items())},
        "pose_error_mm": {
            name: {
                "n": len(values),
                "median": round(float(np.median(values)), 1),
                "p95": round(float(np.percentile(values, 95)), 1),
            }
            for name, values in sorted({**errors, "all": errors["masks"] + errors["boxes"]}.items())
        },
    }


def _real_frames(config: ResolverConfig) -> dict[str, int] | None:
    """Cases of the real frames that end as expected, and poses where none should be; None without those frames."""
    if not FOLDER.is_dir():
        return None
    resolver, loaded = Resolver(config), {}
    good = posed = 0
    cases = load_cases(FOLDER)
    for case in cases:
        if case.frame not in loaded:
            loaded[case.frame] = load_frame(FOLDER / case.frame)
        frame, objects = loaded[case.frame]
        answer = resolver.resolve(frame, case.instruction, objects)
        assert case.expect is not None
        good += answer.status is case.expect.status and case.expect.id in (None, answer.target and answer.target.id)
        posed += answer.status is Status.OK and case.expect.status is not Status.OK
    return {"as_expected": good, "poses_on_refusals": posed, "n": len(cases)}


def _share(oks: Sequence[bool]) -> dict[str, float]:
    return dataclasses.asdict(wilson(sum(oks), len(oks)))


def _varied(config: ResolverConfig) -> Iterator[tuple[str, float, ResolverConfig]]:
    """Every number halved and doubled, within its bounds; whole numbers changed by one."""
    for group_field in dataclasses.fields(config):
        group = getattr(config, group_field.name)
        if not dataclasses.is_dataclass(group):
            continue
        for field in dataclasses.fields(group):
            value, m = getattr(group, field.name), field.metadata
            if isinstance(value, (bool, str)):
                continue
            steps = (value - 1, value + 1) if isinstance(value, int) else (value / 2, value * 2)
            for step in steps:
                bounded = min(max(step, m["low"]), m["high"])
                if bounded != value:
                    changed = dataclasses.replace(group, **{field.name: bounded})
                    name = f"{group_field.name}.{field.name}"
                    yield name, bounded, dataclasses.replace(config, **{group_field.name: changed})


def _line(name: str, result: dict) -> str:  # type: ignore[type-arg]
    e, r = result["as_expected"], result["right_of_answers"]
    pose = result["pose_error_mm"]["all"]
    return (
        f"{name:34} {e['share']:7.2%} ({e['k']}/{e['n']})  right of answers {r['share']:7.2%}  "
        f"coverage {result['coverage']['share']:7.2%}  pose on refusal {result['pose_on_refusal']['k']:3d}"
        f"/{result['pose_on_refusal']['n']}  error {pose['median']:.1f} / {pose['p95']:.1f} mm"
    )


def _keep(name: str, result: dict[str, object]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **result}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def main() -> None:
    """Run and write benchmarks/results/accuracy.json or sensitivity.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--development", action="store_true", help="seeds from 0: print every failure, keep nothing")
    arguments = parser.parse_args()
    first = 0 if arguments.development else FIRST_SEED
    seeds = range(first, first + arguments.seeds)
    views = [view(seed) for seed in seeds]
    base = measure(views, ResolverConfig(), show=arguments.development)
    print(_line("defaults", base))
    if not arguments.sensitivity:
        for kind, share in base["by_kind"].items():  # type: ignore[attr-defined]
            print(f"  {kind:18} {share['k']:5d}/{share['n']:<5d} {share['low']:.1%} to {share['high']:.1%}")
        for name, error in base["pose_error_mm"].items():  # type: ignore[attr-defined]
            print(f"  {name:18} n {error['n']:5d}  median {error['median']:5.1f} mm  p95 {error['p95']:5.1f} mm")
        if not arguments.development:
            _keep("accuracy", {"seeds": [seeds.start, seeds.stop], **base})
        return
    rows = {"defaults": {**base, "real_frames": _real_frames(ResolverConfig())}}
    for name, value, config in _varied(ResolverConfig()):
        row = {**measure(views, config), "real_frames": _real_frames(config)}
        rows[f"{name} = {value:g}"] = row
        print(_line(f"{name} = {value:g}", row), "  real frames", row["real_frames"], flush=True)
    _keep("sensitivity", {"seeds": [seeds.start, seeds.stop], "rows": rows})


if __name__ == "__main__":
    main()
