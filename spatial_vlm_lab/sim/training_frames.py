# SPDX-License-Identifier: Apache-2.0
"""Training images: random tabletops of all kinds, seen from all sides, with exact instance numbers.

They vary more than the test images: more tables, lights and views than `settled_tabletop`, furniture among the
crockery, and fallen objects stay where they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from spatial_vlm_lab.training.images import LabelledImage, LabelledObject
from spatial_vlm_ros.perception.labels import HYPERNYM, label_fit
from spatial_vlm_ros.sim.kinds import FURNITURE, KINDS, make
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.scenery import random_scenery
from spatial_vlm_ros.sim.sensor import camera_of
from spatial_vlm_ros.sim.settled import Placer, random_view, settled_tabletop
from spatial_vlm_ros.sim.tabletop import COLOURS, as_bytes, look_at
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
    """Render views of one random world.

    Args:
        size: width and height, pixels.
        without: pairs of colour and kind that must not occur.
    """
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
    """Return the words that models learn.

    Returns:
        Words that describe an object (colours, dresses, materials); names of objects, each with the labels it means.
    """
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
