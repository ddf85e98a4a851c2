# SPDX-License-Identifier: Apache-2.0
"""Tabletops under gravity: random ones, drawn again if something went wrong, and demo worlds in "base_link".

with DEMO_WORLDS["behind"]() as world:
    seen = world.render(VGA)  # or HD, from sim/tabletop.py; camera pose world.base_T_camera
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.sim import small_objects
from spatial_vlm_ros.sim.meshes import Array, Colour, Model
from spatial_vlm_ros.sim.physics import PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.tabletop import COLOURS, VGA, Scenery, look_at, random_scenery
from spatial_vlm_ros.sim.truth import Placed, margin
from spatial_vlm_ros.types import Transform

Painted = Callable[[np.random.Generator, str, Colour], Model]
Natural = Callable[[np.random.Generator], Model]


def _makers(names: str) -> dict[str, Any]:
    return {name: getattr(small_objects, name) for name in names.split()}


_PAINTED: Mapping[str, Painted] = _makers("cup mug bowl plate can bottle box tray")
_FURNITURE: Mapping[str, Painted] = _makers("crate board stool basket bookcase cabinet chair car")
_NATURAL: Mapping[str, Natural] = {
    f"{worn} chick": partial(small_objects.chick, wears=worn) for worn in ("ribbon", "bonnet")
} | _makers("apple banana orange lemon pear shelf")
KINDS: tuple[str, ...] = (*_PAINTED, *_NATURAL)
"""Kinds used for settled tabletops. Crockery, cans, bottles, boxes and trays come in every colour, the others in
their own."""
FURNITURE: tuple[str, ...] = tuple(_FURNITURE)
"""Further kinds, in every colour, for scenes built on purpose."""


def make(kind: str, rng: np.random.Generator, colour: str | None = None) -> Model:
    """Make an object of a kind with a random size, and a random colour if none is given."""
    if kind in _NATURAL:
        if colour is not None:
            raise InputError(f"colour of a {kind}", colour, "no colour, because it has its own", "leave the colour out")
        return _NATURAL[kind](rng)
    painted = {**_PAINTED, **_FURNITURE}
    if kind not in painted:
        raise UnknownNameError("kind of object", kind, (*KINDS, *FURNITURE))
    if colour is not None and colour not in COLOURS:
        raise UnknownNameError("colour", colour, COLOURS)
    drawn = str(rng.choice(list(COLOURS)))
    name = drawn if colour is None else colour
    return painted[kind](rng, name, COLOURS[name])


CLEAR: Mapping[str, float] = MappingProxyType(
    {"left of": 0.03, "right of": 0.03, "behind": 0.03, "in front of": 0.03, "on": 0.002, "in": 0.002, "next to": 0.03}
)
"""Least margin (metres) of a recorded relation after settling."""
_TILT_DEG = 8.0  # an object tilted by more has tipped
_ATTEMPTS, _ROUNDS, _FREE = 20, 4, 2  # worlds drawn; settlings of each; objects placed anywhere before the others
_ONCE = ("shelf", "tray", "ribbon chick", "bonnet chick")
_LIFT = 0.002  # metres above its support at which an object starts
_GAP = 0.008  # least distance between the circles around two outlines, metres
_TRIES = 40  # positions tried for one object
_BORDER = 40  # pixels of a VGA image between an object's centre and the border
_BESIDE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"left of": (0.0, -1.0), "right of": (0.0, 1.0), "behind": (1.0, 0.0), "in front of": (-1.0, 0.0)}
)
"""Directions as shares of ahead and right."""


def settled_tabletop(seed: int, objects: int = 9, kinds: Sequence[str] = KINDS) -> PhysicsWorld:
    """Make a random world at rest in the frame "base_link", with z up and its origin beside the table, 0.1 m below it.

    Up to a third of the objects may be missing in the end. Recorded relations hold with a margin of CLEAR or more, seen
    from its `base_T_camera`.
    """
    for unknown in [kind for kind in kinds if kind not in KINDS]:
        raise UnknownNameError("kind of object", unknown, KINDS)
    if not kinds or not objects > 0 or seed < 0:
        raise InputError("world", f"seed {seed}, {objects} objects of {len(kinds)} kinds", "0 or more, 1 or more of "
                         "1 or more kinds")  # fmt: skip
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        placer, numbers = Placer(rng, random_scenery(rng), random_view(rng)), Counter[str]()
        for count, kind in enumerate(_drawn(rng, objects, kinds)):
            model = make(kind, rng)
            numbers[model.label] += 1
            placer.place(f"{model.label}_{numbers[model.label]}", model, related=count >= _FREE)
            if 3 * (count + 1 - len(placer.objects)) > objects:
                break  # too many found no position
        placed = placer.objects
        for _ in range(_ROUNDS):  # what goes wrong while settling is removed, and the rest settles again
            if len(placed) < math.ceil(objects * 2 / 3):
                break
            world = PhysicsWorld(placed, placer.scenery, placer.base_T_camera)
            bad = broken(world)
            if not bad and world.at_rest():
                return world
            placed = kept(placed, bad)
    raise InputError("number of objects", str(objects), "as many as fit on the table", "ask for fewer")


def random_view(rng: np.random.Generator) -> Transform:
    """Draw a camera pose about 1 m from the middle of the table, 25 to 50° above it, on the robot's side."""
    distance, elevation, side = rng.uniform(0.85, 1.1), math.radians(rng.uniform(25, 50)), rng.uniform(-0.9, 0.9)
    target = (0.8 + float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.04, 0.04)), 0.13)
    flat = distance * math.cos(elevation)
    eye = (
        target[0] - flat * math.cos(side),
        target[1] - flat * math.sin(side),
        target[2] + distance * math.sin(elevation),
    )
    return look_at(eye, target, "base_link")


def broken(world: PhysicsWorld) -> set[str]:
    """Ids of objects that fell off, tipped, or lost their relation."""
    found, half = set[str](), np.array(world.scenery.table_size) / 2
    for id_, true in world.truth.items():
        on_top = (np.abs(true.outline - world.scenery.table_centre) <= half).all()
        fell = not on_top or true.bottom < world.scenery.table_height - 0.005
        tipped = float(true.base_T_object.rotation[2, 2]) < math.cos(math.radians(_TILT_DEG))
        if fell or (tipped and not world.objects[id_].model.may_tip) or not relation_holds(world, id_):
            found.add(id_)
    return found


def relation_holds(world: PhysicsWorld, id_: str) -> bool:
    """Whether an object keeps its recorded relation to every anchor by CLEAR; True if none is recorded."""
    true, eye = world.truth[id_], world.base_T_camera.translation
    if true.placed is None:
        return True
    relation = true.placed.relation
    return all(margin(relation, true, world.truth[a], eye) >= CLEAR[relation] for a in true.placed.anchor_ids)


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


class Placer:
    """Finds positions for objects one after another; an object touches only its support."""

    def __init__(self, rng: np.random.Generator, scenery: Scenery, base_T_camera: Transform) -> None:
        self._rng, self.scenery, self.base_T_camera = rng, scenery, base_T_camera
        self._eye = base_T_camera.translation
        self.objects: list[PlacedModel] = []

    def place(self, id_: str, model: Model, related: bool) -> bool:
        """Place one more object, in a relation to an existing one or, if that fails, anywhere."""
        for place, height, placed in self._places(model, related):
            point = np.array([[place[0], place[1], height + 0.04]])
            u, v = project(VGA, self.base_T_camera.inverse().apply(point))[0]
            fits = bool(_BORDER < u < VGA.width - _BORDER and _BORDER < v < VGA.height - _BORDER)
            if placed is None or placed.relation not in ("on", "in"):  # on the table
                (x, y), (w, d), reach = self.scenery.table_centre, self.scenery.table_size, model.reach
                fits &= abs(place[0] - x) < w / 2 - reach - 0.03 and abs(place[1] - y) < d / 2 - reach - 0.03
                fits &= all(math.dist(place, t.position[:2]) > reach + t.model.reach + _GAP for t in self.objects)
            if fits:
                position = (float(place[0]), float(place[1]), height + _LIFT)
                # Chicks roughly face the camera and shelves roughly open towards it; other objects have any yaw.
                away = math.atan2(place[1] - self._eye[1], place[0] - self._eye[0])
                yaws = {"chick": (away + math.pi, 0.8), "shelf": (away, 0.3)}
                yaw, spread = yaws.get(model.label, (0.0, math.pi))
                yaw += float(self._rng.uniform(-spread, spread))
                self.objects.append(PlacedModel(id_, model, position, yaw, placed))
                return True
        return False

    def _places(self, model: Model, related: bool) -> Iterator[tuple[Array, float, Placed | None]]:
        """Positions (2,) to try, the height of the support there, and the relation that the object then has."""
        anchors = [self.objects[int(n)] for n in self._rng.permutation(len(self.objects))] if related else []
        for anchor in anchors[:4]:
            for relation in self._relations(model, anchor):
                for _ in range(_TRIES // 4):
                    holder, height = anchor.model.holder, self.scenery.table_height
                    if holder is None or relation not in ("on", "in"):
                        yield self._beside(model, relation, anchor), height, Placed(relation, (anchor.id,))
                        continue
                    room = np.maximum(np.array(holder.reach) - model.reach, 0.0) * (holder.relation == "on")
                    x, y = self._rng.uniform(-1, 1, 2) * room
                    c, s = math.cos(anchor.yaw), math.sin(anchor.yaw)
                    place = np.array(anchor.position[:2]) + np.array([c * x - s * y, s * x + c * y])
                    height = height + holder.height + (0.006 if holder.relation == "in" else 0.0)
                    yield place, height, Placed(relation, (anchor.id,))
        (x, y), (w, d) = self.scenery.table_centre, self.scenery.table_size
        for _ in range(_TRIES):
            place = np.array([self._rng.uniform(x - w / 3, x + w / 3), self._rng.uniform(y - d / 3, y + d / 3)])
            yield place, self.scenery.table_height, None

    def _relations(self, model: Model, anchor: PlacedModel) -> list[str]:
        """Relations to try to this anchor, in random order; being carried comes first if possible."""
        if anchor.placed is not None and anchor.placed.relation in ("on", "in"):
            return []
        beside = [str(r) for r in self._rng.permutation([*_BESIDE, "next to"])][:2]
        holder = anchor.model.holder
        if holder is None:
            return beside
        fits = model.holder is None and model.reach <= min(holder.reach) + 0.012
        if holder.relation == "in":
            fits = model.may_tip and max(model.size) < 2.1 * min(holder.reach)
        carries = any(t.placed and t.placed.relation in ("on", "in") and anchor.id in t.placed.anchor_ids
                      for t in self.objects)  # fmt: skip
        return [holder.relation, *beside] if fits and not carries else beside

    def _beside(self, model: Model, relation: str, anchor: PlacedModel) -> Array:
        at = np.array(anchor.position[:2])
        ahead = (at - self._eye[:2]) / np.linalg.norm(at - self._eye[:2])
        right = np.array([ahead[1], -ahead[0]])
        reach = model.reach + anchor.model.reach
        if relation == "next to":
            angle = self._rng.uniform(-math.pi, math.pi)
            return np.asarray(
                at + (reach + self._rng.uniform(0.009, 0.03)) * np.array([math.cos(angle), math.sin(angle)])
            )
        along, aside = _BESIDE[relation]
        far, off = reach + self._rng.uniform(0.015, 0.1), self._rng.uniform(-0.03, 0.03)
        return np.asarray(at + far * (along * ahead + aside * right) + off * (aside * ahead + along * right))


def kept(objects: Sequence[PlacedModel], bad: set[str]) -> list[PlacedModel]:
    """The objects without the bad ones and without those that bad ones carried or anchored."""
    gone = set(bad)
    while True:
        more = {t.id for t in objects if t.placed and gone & set(t.placed.anchor_ids)} - gone
        if not more:
            return [t for t in objects if t.id not in gone]
        gone |= more


BASE = "base_link"
Spot = tuple[float, float]  # x, y in the base frame, metres
_CUP: Spot = (0.74, 0.0)
BEHIND: Spot = (0.90, 0.045)
IN_FRONT: Spot = (0.59, -0.05)
_ALSO_IN_FRONT: Spot = (0.58, 0.075)
_OTHERS: Mapping[str, tuple[str, str | None, Spot, float]] = MappingProxyType(
    {
        "box": ("box", "red", (0.80, 0.24), 0.5),
        "mug": ("mug", "green", (0.66, -0.24), -2.2),
        "bowl": ("bowl", "white", (0.93, -0.19), 0.0),
        "orange": ("orange", None, (0.93, -0.19), 0.0),
        "banana": ("banana", None, (0.60, 0.24), 0.7),
        "can": ("can", "purple", (1.02, 0.16), 0.0),
    }
)  # id → kind, colour, position, yaw


def demo_camera() -> Transform:
    """Pose of the camera beside the robot's base: 0.9 m from the cup, looking 32° down."""
    return look_at((-0.02, 0.0, 0.6), (0.76, 0.0, 0.12), BASE)


def chicks_world(bonnet: Spot, ribbon: Spot) -> PhysicsWorld:
    """Make a world with the two chicks at two positions beside the cup, and a few other objects."""
    objects, scenery, rng = story(bonnet, ribbon)
    height = scenery.table_height + 0.002
    for id_, (kind, colour, spot, yaw) in _OTHERS.items():
        within = id_ == "orange"
        place, placed = (*spot, height + (0.016 if within else 0.0)), Placed("in", ("bowl",)) if within else None
        objects.append(PlacedModel(id_, make(kind, rng, colour), place, yaw, placed))
    return PhysicsWorld(objects, scenery, demo_camera())


def story(bonnet: Spot = BEHIND, ribbon: Spot = IN_FRONT) -> tuple[list[PlacedModel], Scenery, np.random.Generator]:
    """The cup and the two chicks just above the table, the room, and the random generator for more objects."""
    rng = np.random.default_rng(3)
    scenery = random_scenery(rng)
    height = scenery.table_height + 0.002
    objects = [PlacedModel("cup", make("cup", rng, "blue"), (*_CUP, height))]
    for id_, spot in (("bonnet", bonnet), ("ribbon", ribbon)):
        placed = Placed("behind" if spot[0] > _CUP[0] else "in front of", ("cup",))
        towards = math.atan2(-spot[1], -spot[0]) + (0.35 if id_ == "bonnet" else -0.3)
        objects.append(PlacedModel(id_, make(f"{id_} chick", rng), (*spot, height), towards, placed))
    return objects, scenery, rng


DEMO_WORLDS: Mapping[str, Callable[[], PhysicsWorld]] = MappingProxyType(
    {
        "behind": partial(chicks_world, BEHIND, IN_FRONT),
        "swapped": partial(chicks_world, IN_FRONT, BEHIND),
        "both_in_front": partial(chicks_world, _ALSO_IN_FRONT, IN_FRONT),
    }
)
"""Name → maker: the bonnet chick behind the cup and the ribbon chick before it; the other way round; both before it."""
