# SPDX-License-Identifier: Apache-2.0
"""Training images of random tabletops, seen from all sides: exact instance numbers, or boxes and true relations.

They vary more than the test images: more tables, lights and views than `settled_tabletop`, furniture among the
crockery, and fallen objects stay where they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.adaptation.views import LabelledView
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.training.images import BoxXyxy, LabelledImage, LabelledObject
from spatial_vlm_ros.perception.labels import HYPERNYM, label_fit
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.settled import FURNITURE, KINDS, Placer, make, random_view, settled_tabletop
from spatial_vlm_ros.sim.tabletop import COLOURS, as_bytes, camera_of, look_at, random_scenery
from spatial_vlm_ros.sim.truth import TrueObject, margin
from spatial_vlm_ros.types import Transform

Pair = tuple[str, str]
"""Colour and kind."""
_NATURAL = frozenset({"ribbon chick", "bonnet chick", "apple", "banana", "orange", "lemon", "pear", "shelf"})
_STORY = ("ribbon chick", "bonnet chick", "cup")
_STORY_SHARE, _FURNITURE_SHARE = 0.35, 0.3
_NUMBER = (3, 12)  # number of objects put on the table
_NEAR, _STEEP, _ROUND = (0.65, 1.35), (18.0, 65.0), math.pi  # metres, degrees, radians in both directions
_ROLL_DEG = 8.0
_OWN_VIEW = 0.4  # share of views from the robot's side, as in the settled tabletops
SYNONYMS = (
    *("tin", "carton", "package", "flask", "chicken", "bird", "animal", "toy", "fruit", "food", "container", "vessel"),
    *("dish", "dishes", "tableware", "furniture", "vehicle", "automobile", "cupboard", "object", "thing", "item"),
)
"""Names beside the trained labels; `perception.labels` decides which labels each means."""


def training_frames(
    seed: int, views: int, size: tuple[int, int], without: Collection[Pair] = ()
) -> Iterator[LabelledImage]:
    """Render views of one random world, (width, height) pixels each, without some pairs of colour and kind."""
    rng = np.random.default_rng((seed, 17))
    camera = camera_of(*size)
    with training_world(rng, frozenset(without)) as world:
        for _ in range(views):
            frame = _frame(world.render(camera, training_view(rng)))
            if frame.objects:
                yield frame


def settled_frame(seed: int, size: tuple[int, int]) -> LabelledImage:
    """Render a settled tabletop from its own camera, for testing models; raises as `settled_tabletop`."""
    with settled_tabletop(seed) as world:
        return _frame(world.render(camera_of(*size)))


def vocabulary() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the words that models learn: those that describe objects; names, each with the labels it means."""
    rng = np.random.default_rng(0)
    models = [make(kind, rng) for kind in (*KINDS, *FURNITURE)]
    labels = tuple(dict.fromkeys(model.label for model in models))
    more = sorted({word for model in models for word in model.attributes} | set(COLOURS))
    names: dict[str, tuple[str, ...]] = {label: (label,) for label in labels}
    for name in SYNONYMS:
        names[name] = tuple(label for label in labels if label_fit(name, label) >= HYPERNYM)
    return tuple(more), {name: meant for name, meant in names.items() if meant}


# ------------------------------------------------------------------------------------------------ worlds


def training_world(rng: np.random.Generator, without: frozenset[Pair] = frozenset()) -> PhysicsWorld:
    """Make a random settled world; raises as `training_frames`."""
    scenery = random_scenery(rng)  # with other paints for table, floor and wall, and other lights, in some worlds
    changes: dict[str, object] = {}
    for name in ("table", "floor"):
        if rng.random() < 0.5:
            pattern, colour = getattr(scenery, name), rng.uniform(50, 235) * rng.uniform(0.75, 1.25, 3)
            changes[name] = as_bytes(pattern * (colour / pattern.mean(axis=(0, 1))))
    if rng.random() < 0.5:
        changes["wall"] = tuple(int(c) for c in rng.integers(60, 250, 3))
    changes["ambient"], lights = float(scenery.ambient * rng.uniform(0.75, 1.1)), []
    for light in scenery.lights:
        factor = float(rng.uniform(0.7, 1.1))
        r, g, b = (min(1.0, factor * value) for value in light.brightness)
        lights.append(dataclasses.replace(light, brightness=(r, g, b)))
    scenery = dataclasses.replace(scenery, lights=tuple(lights), **changes)  # type: ignore[arg-type]
    placer = Placer(rng, scenery, random_view(rng))
    numbers = Counter[str]()
    number = int(rng.integers(_NUMBER[0], _NUMBER[1] + 1))
    kinds = list(_STORY) if rng.random() < _STORY_SHARE else []
    if rng.random() < _FURNITURE_SHARE:
        kinds.append(str(rng.choice(FURNITURE)))
    few = rng.permutation(list(KINDS))[: int(rng.integers(3, len(KINDS)))]
    while len(kinds) < number:
        kinds.append(str(rng.choice(few)))
    for kind in kinds:
        colours = [colour for colour in COLOURS if (colour, kind) not in without]
        model = make(kind, rng, None if kind in _NATURAL else str(rng.choice(colours)))
        numbers[model.label] += 1
        placer.place(f"{model.label}_{numbers[model.label]}", model, related=bool(rng.random() < 0.7))
    return PhysicsWorld(placer.objects, scenery, placer.base_T_camera)


def training_view(rng: np.random.Generator) -> Transform:
    """Draw a camera pose around the table, slightly tilted; some are poses of a robot's camera."""
    if rng.random() < _OWN_VIEW:
        return random_view(rng)
    distance, elevation = rng.uniform(*_NEAR), math.radians(rng.uniform(*_STEEP))
    round_ = rng.uniform(-_ROUND, _ROUND)
    target = (0.8 + float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12)), 0.13)
    flat, roll = distance * math.cos(elevation), math.radians(rng.uniform(-_ROLL_DEG, _ROLL_DEG))
    eye = (target[0] - flat * math.cos(round_), target[1] - flat * math.sin(round_),
           target[2] + distance * math.sin(elevation))  # fmt: skip
    pose = look_at(eye, target, "base_link")
    c, s = math.cos(roll), math.sin(roll)
    matrix = pose.matrix.copy()
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return Transform(pose.parent, pose.child, matrix)


def _frame(seen: PhysicsRendering) -> LabelledImage:
    numbers = np.zeros(seen.frame.depth.shape, np.uint8)
    objects = []
    for detection in seen.detections[:255]:
        visible = float(seen.visible_fraction[detection.id])
        objects.append(LabelledObject(detection.label, detection.attributes, detection.box_xyxy, visible))
        numbers[seen.masks[detection.id]] = len(objects)
    return LabelledImage(seen.frame.rgb, numbers, tuple(objects))


# ------------------------------------------------------------------------------------------------ relations


Floats = npt.NDArray[np.float32]
_CONTACTS = ("on", "under", "inside")
_CLEAR = 0.02  # metres from the border of a relation, within which it counts as unclear
_CONTACT = 0.002  # the same for contact
_VISIBLE = 0.3  # least visible share of an object in a pair
_MOST = 24  # pairs per view; touching pairs come first
_SEEN = 0.5  # least visible part of an object that is named in a question
_EACH = 2  # pairs per view for which a relation holds, and as many for which it does not


def adaptation_views(world: int, views: int, size: tuple[int, int]) -> Iterator[LabelledView]:
    """Render views of one random world, (width, height) pixels each; those with fewer than two objects are left out."""
    rng = np.random.default_rng((world, 29))
    camera = camera_of(*size)
    with training_world(rng) as scene:
        for number in range(views):
            pose = training_view(rng)
            seen = scene.render(camera, pose)
            pairs = _true_relations(seen, scene.truth, pose, rng)
            if pairs is not None:
                boxes, columns = pairs
                objects = tuple(
                    LabelledObject(one.label, one.attributes, _box(one.box_xyxy))
                    for one in seen.detections
                    if seen.visible_fraction[one.id] >= _SEEN
                )
                columns["left of"] = 1.0 - columns["right of"]
                apart = np.all([columns[name] == 0.0 for name in _CONTACTS], axis=0)
                columns["beside"] = np.where(apart, 1.0, math.nan)
                labels = [
                    RelationLabel(relation, _box(target), _box(anchor), holds)
                    for relation, truths in columns.items()
                    for holds in (True, False)
                    for target, anchor in boxes[rng.permutation(np.flatnonzero(truths == holds))[:_EACH]]
                ]
                yield LabelledView(f"world_{world:06d}_{number}", seen.frame.rgb, objects, tuple(labels))


def _true_relations(
    seen: PhysicsRendering, truth: Mapping[str, TrueObject], pose: Transform, rng: np.random.Generator
) -> tuple[Floats, dict[str, Floats]] | None:
    """(P, 2, 4) pixels of target and anchor, and relation → (P,) 1 = holds, 0 = not, NaN = unclear; None: no pair."""
    shown = [d for d in seen.detections if seen.visible_fraction[d.id] >= _VISIBLE and d.id in truth]
    pairs = [(t, a) for t in shown for a in shown if t is not a]
    if not pairs:
        return None
    found: dict[str, list[float]] = {}
    for target, anchor in ((truth[t.id], truth[a.id]) for t, a in pairs):
        margins = {
            name: (margin(name, target, anchor, pose.translation), _CLEAR)
            for name in ("right of", "behind", "in front of")
        }
        margins["on"] = margin("on", target, anchor, pose.translation), _CONTACT
        margins["under"] = margin("on", anchor, target, pose.translation), _CONTACT
        margins["inside"] = margin("in", target, anchor, pose.translation), _CONTACT
        for name, (metres, clear) in margins.items():
            found.setdefault(name, []).append(math.nan if abs(metres) < clear else float(metres > 0))
    holds = {name: np.array(column, np.float32) for name, column in found.items()}
    touching = np.any([holds[name] == 1.0 for name in _CONTACTS], axis=0)
    boxes = np.array([(t.box_xyxy, a.box_xyxy) for t, a in pairs], np.float32)
    rows = np.lexsort((rng.random(len(pairs)), ~touching))[:_MOST]
    return boxes[rows], {name: column[rows] for name, column in holds.items()}


def _box(values: Iterable[float]) -> BoxXyxy:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1
