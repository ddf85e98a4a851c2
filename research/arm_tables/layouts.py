# SPDX-License-Identifier: Apache-2.0
"""Random tables of other people's objects before an arm, each with an instruction and its truth.

The frame is that of the arm's base, the table's top at z = 0, the camera opposite the arm, as `sim.arm.worlds` has it.
What is true of a relation is said by `sim.truth` from true outlines, which shares no code with the resolver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np

from research.arm_tables.catalogue import Catalogue
from research.rendered.meshes import Floats
from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim.arm.worlds import TRAY, TableLayout, arm_camera, arm_room
from spatial_vlm_ros.sim.meshes import Model
from spatial_vlm_ros.sim.physics import PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.settled import broken, make
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.sim.truth import Placed, margin

TARGET, ANCHOR, TWIN = "target", "anchor", "twin"
OPPOSITE: Mapping[str, str] = MappingProxyType(
    {"behind": "in front of", "in front of": "behind", "left of": "right of", "right of": "left of"}
)
RELATIONS = (*OPPOSITE, "next to")
FAMILIES: Mapping[str, float] = MappingProxyType(
    {"vessel": 0.26, "bottle": 0.14, "can": 0.1, "box": 0.16, "flat": 0.18, "figure": 0.16}
)
"""Share of the targets of each family."""
PLAIN, TWINNED = 0.25, 0.35  # shares of worlds: a sentence without a relation; two objects of one name
UNNAMED = (0, 4)  # at least, and below: 0 in a quarter of the worlds
CLOSE = 0.5  # share of the worlds with unnamed objects in which one stands beside the target
BESIDE = (0.012, 0.04)  # metres between its outline and the target's
AREA = ((0.36, 0.72), (-0.36, 0.36))  # x and y in which objects are put, metres
APART = 0.025  # metres between outlines
CLEAR = 0.03  # metres by which a relation holds, and by which it does not of the twin
SEEN = 0.5  # least part of the target and the anchor that is seen
LET_GO = 0.002  # metres above the table
SHIFTED = 0.015  # metres that an object goes while it settles
WALL = 0.005  # metres: thickness of a container's wall
SPARE = 0.01  # metres that a tray, or an opening, has beyond the object's outline on each side
_HIDES = 0.12  # metres: no higher anchor hides what is behind it
_ATTEMPTS, _SPOTS = 60, 60


@dataclass(frozen=True, eq=False)
class OthersTable:
    """A table that has come to rest.

    Args:
        layout: as the simulated cell takes it.
        names: id of an object → its name in the catalogue; a tray is this project's own, a container (id TRAY) is not.
        relation: of the sentence, or "".
        twin: id of the other object of the target's name, or "".
        unnamed: ids of objects that the sentence does not name.
        named: labels that the detector looks for.
    """

    layout: TableLayout
    names: Mapping[str, str]
    relation: str
    twin: str
    unnamed: tuple[str, ...]
    named: tuple[str, ...]


def random_table(seed: int, catalogue: Catalogue, into: str = "") -> OthersTable:
    """A table by chance, settled, of which the sentence is true.

    Args:
        seed: of the table.
        catalogue: the objects.
        into: name of the container in the catalogue that the target is to be put into; "" = onto the tray.

    Raises:
        InputError: a negative seed, or no such table was found.
        UnknownNameError: no such container.
        ModelError: MuJoCo is not installed.
    """
    if seed < 0:
        raise InputError("seed", str(seed), "0 or more", "correct it")
    if into and into not in catalogue.files:
        raise UnknownNameError("container", into, tuple(catalogue.files))
    for attempt in range(_ATTEMPTS):
        drawn = _Draw(np.random.default_rng((seed, attempt, 29)), catalogue, str(seed), into).table()
        if drawn is not None and stands(drawn):
            return drawn
    raise InputError("seed", str(seed), "one with a table that stands", "take another seed")


def stands(table: OthersTable) -> bool:
    """Whether everything comes to rest where it was put, nothing tips, and the sentence is true and can be seen."""
    layout = table.layout
    with PhysicsWorld(layout.objects, layout.scenery, layout.base_T_camera) as world:
        if not world.at_rest() or broken(world):
            return False
        for obj in layout.objects:
            at = world.truth[obj.id].base_T_object.translation
            if math.dist(at[:2], obj.position[:2]) > SHIFTED:
                return False
        if table.twin and table.relation:
            eye = layout.base_T_camera.translation
            if margin(table.relation, world.truth[table.twin], world.truth[ANCHOR], eye) > -CLEAR:
                return False
        return _seen(world, [id_ for id_ in (TARGET, ANCHOR, TWIN, TRAY) if id_ in world.truth])


def _seen(world: PhysicsWorld, ids: list[str]) -> bool:
    """Whether objects are whole in the image, and not much of them is hidden."""
    image = world.render(VGA)
    boxes = {detection.id: detection.box_xyxy for detection in image.detections}
    for id_ in ids:
        left, top, right, bottom = boxes.get(id_, (0.0,) * 4)
        if not (left > 1 and top > 1 and right < VGA.width - 1 and bottom < VGA.height - 1):
            return False
    return all(image.visible_fraction[id_] >= SEEN for id_ in ids)


class _Draw:
    """One attempt at a table."""

    def __init__(self, rng: np.random.Generator, catalogue: Catalogue, name: str, into: str = "") -> None:
        self._rng, self._catalogue, self._name, self._into = rng, catalogue, name, into
        self._camera = arm_camera(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.6, 0.72)))
        self._objects: list[PlacedModel] = []
        self._outlines: dict[str, Floats] = {}
        self._names: dict[str, str] = {}

    def table(self) -> OthersTable | None:
        """The table; None where something found no room."""
        rng = self._rng
        scenery = arm_room(rng)
        relation = "" if rng.random() < PLAIN else str(rng.choice(RELATIONS))
        twinned = bool(relation) and rng.random() < TWINNED / (1 - PLAIN)
        if not self._tray() or not self._main(relation) or (twinned and not self._twin(relation)):
            return None
        unnamed = self._unnamed(int(rng.integers(*UNNAMED)))
        if unnamed is None:
            return None
        label = self._label(TARGET)
        where = f" {relation} the {self._label(ANCHOR)}" if relation else ""
        if relation in ("left of", "right of"):
            where = f" to the {relation} the {self._label(ANCHOR)}"
        destination = self._label(TRAY) if self._into else TRAY
        words = f"put the {label}{where} {'in' if self._into else 'on'} the {destination}"
        layout = TableLayout(self._name, tuple(self._objects), scenery, self._camera, TARGET, TRAY, words)
        named = (label, destination, *((self._label(ANCHOR),) if relation else ()))
        if not relation and ANCHOR in self._names:
            unnamed = (ANCHOR, *unnamed)
        return OthersTable(layout, dict(self._names), relation, TWIN if twinned else "", unnamed, named)

    def _tray(self) -> bool:
        rng = self._rng
        side = 1 if rng.random() < 0.5 else -1
        spot = np.array([rng.uniform(0.46, 0.56), side * rng.uniform(0.3, 0.34)])
        if self._into:
            self._names[TRAY] = self._into
            return self._put(TRAY, self._model(TRAY), spot, self._yaw())
        return self._put(TRAY, make("tray", rng), spot, float(rng.uniform(-0.15, 0.15)) + math.pi / 2)

    def _main(self, relation: str) -> bool:
        """The target, and the anchor where the sentence has one."""
        rng = self._rng
        family = str(rng.choice(list(FAMILIES), p=np.array(list(FAMILIES.values())) / sum(FAMILIES.values())))
        pool = [name for name, file in self._catalogue.files.items() if file.family == family]
        if self._into:
            pool = [name for name in pool if self._suits(name) and self._fits(name)]
        if not pool:
            return False
        name = str(rng.choice(pool))
        if not self._anywhere(TARGET, name):
            return False
        if not relation:
            return True
        anchors = [other for other in self._catalogue.files if self._suits(other)]
        if relation == "behind":
            anchors = [other for other in anchors if self._catalogue.item(other).mesh.size[2] <= _HIDES]
        self._names[ANCHOR] = str(rng.choice(anchors))
        model = self._model(ANCHOR)
        at = np.asarray(self._objects[-1].position[:2])
        for _ in range(_SPOTS):
            spot = self._beside(at, OPPOSITE.get(relation, relation), model)
            if self._within(spot) and self._put(ANCHOR, model, spot, self._yaw()):
                target = next(k for k, obj in enumerate(self._objects) if obj.id == TARGET)
                self._objects[target] = replace(self._objects[target], placed=Placed(relation, (ANCHOR,)))
                return True
        return False

    def _twin(self, relation: str) -> bool:
        """An object of the target's name on the other side of the anchor; for "next to" far from it."""
        self._names[TWIN] = self._names[TARGET]
        model = self._model(TWIN)
        anchor = np.asarray(next(obj for obj in self._objects if obj.id == ANCHOR).position[:2])
        for _ in range(_SPOTS):
            if relation == "next to":
                (x0, x1), (y0, y1) = AREA
                spot = np.array([self._rng.uniform(x0, x1), self._rng.uniform(y0, y1)])
                far = 0.2 + model.reach
                if np.linalg.norm(spot - anchor) < far:
                    continue
            else:
                spot = self._beside(anchor, OPPOSITE[relation], model)
            if self._within(spot) and self._put(TWIN, model, spot, self._yaw()):
                return True
        return False

    def _unnamed(self, count: int) -> tuple[str, ...] | None:
        """So many objects that the sentence does not name; one may stand beside the target."""
        found: list[str] = []
        for number in range(count):
            id_ = f"unnamed{number}"
            pool = [name for name in self._catalogue.files if self._suits(name)]
            if not pool:
                return None
            name = str(self._rng.choice(pool))
            close = number == 0 and self._rng.random() < CLOSE
            if not (self._near_target(id_, name) if close else self._anywhere(id_, name)):
                return None
            found.append(id_)
        return tuple(found)

    def _beside(self, at: Floats, relation: str, model: Model) -> Floats:
        """A spot in that direction of a place, as the camera sees it."""
        eye = self._camera.translation[:2]
        ahead = (at - eye) / np.linalg.norm(at - eye)
        right = np.array([ahead[1], -ahead[0]])
        ways = {"behind": ahead, "in front of": -ahead, "right of": right, "left of": -right}
        rng = self._rng
        if relation == "next to":
            relation = str(rng.choice(list(ways)))
            gap = rng.uniform(APART, 0.05)
        else:
            gap = rng.uniform(0.03, 0.09)
        turn = rng.uniform(-0.3, 0.3)
        c, s = math.cos(turn), math.sin(turn)
        way = np.array([[c, -s], [s, c]]) @ ways[relation]
        outline = outline_at(model, np.zeros(2), 0.0)
        here = (
            self._outlines[TARGET] if TARGET in self._outlines and TWIN not in self._names else self._outlines[ANCHOR]
        )
        half = float(((here - at) @ way).max()) + min(float((outline @ -way).max()), model.reach)
        return np.asarray(at + (half + gap) * way)

    def _near_target(self, id_: str, name: str) -> bool:
        """An object beside the target, as near as BESIDE says."""
        self._names[id_] = name
        model, target = self._model(id_), self._outlines[TARGET]
        for _ in range(_SPOTS):
            angle, yaw, gap = self._rng.uniform(-math.pi, math.pi), self._yaw(), self._rng.uniform(*BESIDE)
            way = np.array([math.cos(angle), math.sin(angle)])
            centre = target.mean(0)
            flat = outline_at(model, np.zeros(2), yaw)
            far = 0.0
            while far < 0.4 and distance(flat + centre + far * way, target) < gap:
                far += 0.004
            spot = centre + far * way
            if self._within(spot) and self._put(id_, model, spot, yaw, least=gap - 1e-6):
                return True
        return False

    def _anywhere(self, id_: str, name: str) -> bool:
        self._names[id_] = name
        model = self._model(id_)
        for _ in range(_SPOTS):
            (x0, x1), (y0, y1) = AREA
            spot = np.array([self._rng.uniform(x0, x1), self._rng.uniform(y0, y1)])
            if self._put(id_, model, spot, self._yaw()):
                return True
        return False

    def _put(self, id_: str, model: Model, spot: Floats, yaw: float, least: float = APART) -> bool:
        """Put an object down where nothing is nearer than `least`."""
        outline = outline_at(model, spot, yaw)
        if any(distance(outline, other) < least for other in self._outlines.values()):
            return False
        self._outlines[id_] = outline
        self._objects.append(PlacedModel(id_, model, (float(spot[0]), float(spot[1]), LET_GO), yaw))
        return True

    @staticmethod
    def _within(spot: Floats) -> bool:
        return all(low <= value <= high for value, (low, high) in zip(spot, AREA, strict=True))

    def _yaw(self) -> float:
        return float(self._rng.uniform(-math.pi, math.pi))

    def _model(self, id_: str) -> Model:
        name = self._names[id_]
        return self._catalogue.model(name, str(self._rng.choice(self._catalogue.files[name].colours)))

    def _label(self, id_: str) -> str:
        return self._catalogue.files[self._names[id_]].label

    def _fits(self, name: str) -> bool:
        """Whether an object goes into the container."""
        one, other = (self._catalogue.model(each, "red") for each in (name, self._into))
        origin = np.zeros(2)
        return width_of(outline_at(one, origin, 0.0)) + 2 * SPARE <= opening_of(outline_at(other, origin, 0.0))

    def _suits(self, name: str) -> bool:
        """Whether no word of its name ends the name of what stands there."""
        last = {self._catalogue.files[other].label.split()[-1] for other in self._names.values()} | {TRAY}
        return self._catalogue.files[name].label.split()[-1] not in last


def outline_at(model: Model, spot: Floats, yaw: float) -> Floats:
    """(N, 2) convex outline of an object that stands somewhere, metres."""
    c, s = math.cos(yaw), math.sin(yaw)
    flat = model.vertices[:, :2] @ np.array([[c, s], [-s, c]])
    return np.asarray(cv2.convexHull(flat.astype(np.float32))[:, 0], np.float64) + spot


def width_of(outline: Floats) -> float:
    """Diameter of the least circle around an outline (N, 2), metres."""
    return 2 * float(cv2.minEnclosingCircle(outline.astype(np.float32))[1])


def opening_of(outline: Floats) -> float:
    """Width of a container's opening, metres: the lesser side of its outline (N, 2), without two walls."""
    return float(min(cv2.minAreaRect(outline.astype(np.float32))[1])) - 2 * WALL


def distance(one: Floats, other: Floats) -> float:
    """Metres between two convex outlines, at least; below 0 where they overlap (separating axes)."""
    return max(_apart(one, other), _apart(other, one))


def _apart(one: Floats, other: Floats) -> float:
    """The widest gap along a normal of a side of `one`, metres."""
    sides = np.roll(one, -1, axis=0) - one
    x, y = one.T
    turned = np.sign(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))  # 1: counter-clockwise
    length = np.linalg.norm(sides, axis=1)
    normals = turned * np.c_[sides[:, 1], -sides[:, 0]][length > 1e-7] / length[length > 1e-7, None]
    return float(((other @ normals.T).min(0) - (one @ normals.T).max(0)).max())
