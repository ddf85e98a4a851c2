# SPDX-License-Identifier: Apache-2.0
"""Random tabletops under gravity: drawn, settled, checked, and drawn again if something went wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim.kinds import KINDS, make
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.placing import Placer, kept
from spatial_vlm_ros.sim.relation_truth import margin
from spatial_vlm_ros.sim.scenery import Scenery, random_scenery
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.sim.truth import TrueObject
from spatial_vlm_ros.types import Transform

CLEAR: Mapping[str, float] = MappingProxyType(
    {"left of": 0.03, "right of": 0.03, "behind": 0.03, "in front of": 0.03, "on": 0.002, "in": 0.002, "next to": 0.03}
)
"""Least margin (metres) of a recorded relation after settling."""
_TILT_DEG = 8.0  # an object tilted by more has tipped
_ATTEMPTS, _ROUNDS, _FREE = 20, 4, 2  # worlds drawn; settlings of each; objects placed anywhere before the others
_ONCE = ("shelf", "tray", "ribbon chick", "bonnet chick")


def settled_tabletop(
    seed: int, objects: int = 9, kinds: Sequence[str] = KINDS, frame: str = "base_link"
) -> PhysicsWorld:
    """Make a random world at rest.

    Args:
        objects: number of objects to place; up to a third may be missing in the end.
        kinds: kinds to draw from, names in kinds.KINDS.
        frame: name of the base frame, which has z up and its origin beside the table, 0.1 m below its top.

    Returns:
        The world. Recorded relations hold with a margin of CLEAR or more, seen from its `base_T_camera`.
    """
    for unknown in [kind for kind in kinds if kind not in KINDS]:
        raise UnknownNameError("kind of object", unknown, KINDS)
    if not kinds or not objects > 0 or seed < 0:
        raise InputError("world", f"seed {seed}, {objects} objects of {len(kinds)} kinds", "0 or more, 1 or more of "
                         "1 or more kinds")  # fmt: skip
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        scenery, camera = random_scenery(rng), random_view(rng, frame)
        world = _settled(_placed(rng, scenery, camera, objects, kinds), math.ceil(objects * 2 / 3))
        if world is not None:
            return world
    raise InputError("number of objects", str(objects), "as many as fit on the table", "ask for fewer")


def random_view(rng: np.random.Generator, frame: str = "base_link") -> Transform:
    """Draw a camera pose about 1 m from the middle of the table, 25 to 50° above it, on the robot's side."""
    distance, elevation, side = rng.uniform(0.85, 1.1), math.radians(rng.uniform(25, 50)), rng.uniform(-0.9, 0.9)
    target = (0.8 + float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04)), 0.13)
    flat = distance * math.cos(elevation)
    eye = (
        target[0] - flat * math.cos(side),
        target[1] - flat * math.sin(side),
        target[2] + distance * math.sin(elevation),
    )
    return look_at(eye, target, frame)


def broken(world: PhysicsWorld) -> set[str]:
    """Ids of objects that fell off, tipped, or lost their relation."""
    return {id_ for id_, true in world.truth.items() if _fell(true, world.scenery) or _tipped(world, id_)
            or not relation_holds(world, id_)}  # fmt: skip


def relation_holds(world: PhysicsWorld, id_: str) -> bool:
    """Whether an object keeps its recorded relation to every anchor by CLEAR; True if none is recorded."""
    true, eye = world.truth[id_], world.base_T_camera.translation
    if true.placed is None:
        return True
    relation = true.placed.relation
    return all(margin(relation, true, world.truth[a], eye) >= CLEAR[relation] for a in true.placed.anchor_ids)


def _fell(true: TrueObject, scenery: Scenery) -> bool:
    half = np.array(scenery.table_size) / 2
    on_top = (np.abs(true.outline - scenery.table_centre) <= half).all()
    return not on_top or true.bottom < scenery.table_height - 0.005


def _tipped(world: PhysicsWorld, id_: str) -> bool:
    upright = float(world.truth[id_].base_T_object.rotation[2, 2])
    return not world.objects[id_].model.may_tip and upright < math.cos(math.radians(_TILT_DEG))


def _placed(
    rng: np.random.Generator, scenery: Scenery, camera: Transform, objects: int, kinds: Sequence[str]
) -> Placer:
    placer, numbers = Placer(rng, scenery, camera), Counter[str]()
    for count, kind in enumerate(_drawn(rng, objects, kinds)):
        model = make(kind, rng)
        numbers[model.label] += 1
        placer.place(f"{model.label}_{numbers[model.label]}", model, related=count >= _FREE)
        if 3 * (count + 1 - len(placer.objects)) > objects:
            break  # too many found no position
    return placer


def _drawn(rng: np.random.Generator, objects: int, kinds: Sequence[str]) -> list[str]:
    """Kinds of the objects, big ones first; both chicks or none, if there is room for two."""
    pool, drawn = [str(k) for k in rng.permutation(list(kinds))], []
    if {"ribbon chick", "bonnet chick"} <= set(pool) and objects > 1 and rng.random() < 0.6:
        drawn += ["ribbon chick", "bonnet chick"]
    few = [k for k in pool if k not in drawn and k not in ("ribbon chick", "bonnet chick")] or pool
    few = few[: max(4, objects // 2)]
    while len(drawn) < objects:
        kind = str(rng.choice(few))
        if kind not in _ONCE or kind not in drawn or len(few) == 1:
            drawn.append(kind)
        elif all(k in _ONCE and k in drawn for k in few):
            break
    return sorted(drawn, key=lambda kind: kind not in ("shelf", "tray", "plate", "bowl", "box"))


def _settled(placer: Placer, fewest: int) -> PhysicsWorld | None:
    """Settle, remove what went wrong, and settle the rest again; None if too little is left."""
    objects = placer.objects
    for _ in range(_ROUNDS):
        if len(objects) < fewest:
            return None
        world = PhysicsWorld(objects, placer.scenery, placer.base_T_camera)
        bad = broken(world)
        if not bad and world.at_rest():
            return world
        objects = kept(objects, bad)
    return None
