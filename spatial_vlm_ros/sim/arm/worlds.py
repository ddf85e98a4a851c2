# SPDX-License-Identifier: Apache-2.0
"""Tables for the arm: small chicks, a cup, other objects and a tray; and disturbances of them, written as text.

The camera looks back at the arm, so that objects behind the cup are nearer to the arm and within its reach. Everything
except the tray is small enough for a hand that opens 80 mm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import BASE_LINK
from spatial_vlm_ros.sim.meshes import Model, scaled, turn
from spatial_vlm_ros.sim.physics import PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.settled import broken, make
from spatial_vlm_ros.sim.tabletop import Light, Scenery, look_at, random_scenery
from spatial_vlm_ros.sim.truth import Placed
from spatial_vlm_ros.types import Transform, Vector3

TRAY = "tray"
_CENTRE, _SIZE = (0.35, 0.0), (1.3, 1.5)  # the table, metres
_LET_GO = 0.002  # metres above the table
_SCALES: Mapping[str, float] = MappingProxyType(
    {"bonnet chick": 0.62, "ribbon chick": 0.62, "cup": 0.8, "tray": 0.9, "box": 0.6, "can": 0.85, "orange": 0.8,
     "lemon": 0.85, "banana": 0.9, "apple": 0.8, "bowl": 0.95}
)  # fmt: skip
_OTHERS = ("box", "can", "orange", "lemon", "apple")
_REACH = ((0.36, 0.72), (-0.38, 0.38))  # x and y ranges for objects, metres
_APART = 0.045  # metres between the circles around two objects: room for a finger
_VIEW = 0.07  # metres by which an object in front of the target stays off its line of sight
_ATTEMPTS, _PLACES = 40, 200
Spot = tuple[float, float]  # x, y in the arm's base frame, metres
Places = Mapping[str, tuple[str, str | None, Spot, float]]  # id → kind, colour, position, yaw


@dataclass(frozen=True, eq=False)
class TableLayout:
    """Layout of a table before physics starts."""

    name: str
    objects: tuple[PlacedModel, ...]  # in the arm's base frame
    scenery: Scenery  # the table, whose top is at z = 0, and the room
    base_T_camera: Transform  # in the base frame
    target: str
    tray: str
    instruction: str


def layout(name: str) -> TableLayout:
    """Make a world by its name in ARM_WORLDS, or by a seed."""
    if name in ARM_WORLDS:
        return ARM_WORLDS[name]()
    if name.isdecimal():
        return random_layout(int(name))
    raise UnknownNameError("world of the arm", name, (*ARM_WORLDS, "a seed such as 7"))


def _chicks(bonnet: Spot, ribbon: Spot) -> Places:
    """The two chicks beside the cup, with other objects and a tray."""
    return {
        "cup": ("cup", "blue", (0.57, 0.0), 0.0),
        "bonnet": ("bonnet chick", None, bonnet, 0.3),
        "ribbon": ("ribbon chick", None, ribbon, -0.3),
        TRAY: ("tray", "grey", (0.5, 0.32), 0.0),
        "box": ("box", "red", (0.6, -0.24), 0.4),
        "orange": ("orange", None, (0.42, -0.2), 0.0),
        "can": ("can", "purple", (0.46, -0.36), 0.0),
        "lemon": ("lemon", None, (0.72, -0.12), 0.9),
    }


_BOWL: Places = {
    "bowl": ("bowl", "blue", (0.52, 0.27), 0.0),
    "lemon": ("lemon", None, (0.47, -0.02), 0.5),
    "orange": ("orange", None, (0.62, -0.14), 0.0),
    "can": ("can", "purple", (0.66, 0.06), 0.0),
    "box": ("box", "red", (0.44, -0.24), 0.4),
}


def _laid(name: str, seed: int, places: Places, target: str, tray: str, instruction: str) -> TableLayout:
    rng = np.random.default_rng(seed)
    objects = tuple(
        PlacedModel(id_, _small(kind, rng, colour), (*place, _LET_GO), yaw)
        for id_, (kind, colour, place, yaw) in places.items()
    )
    return TableLayout(name, objects, arm_room(rng), arm_camera(), target, tray, instruction)


def random_layout(seed: int) -> TableLayout:
    """Make a random world: one chick behind the cup, the other not, three to five other objects, a tray.

    Physics has settled: nothing tipped or fell, and the chick is behind the cup by 3 cm or more.
    """
    if seed < 0:
        raise InputError("seed", str(seed), "0 or more")
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, attempt))
        drawn = _drawn(rng, str(seed))
        if drawn is None:
            continue
        with PhysicsWorld(drawn.objects, drawn.scenery, drawn.base_T_camera) as world:
            if world.at_rest() and not broken(world):
                return drawn
    raise InputError("seed", str(seed), "a seed with a stable world", "choose another seed")


def arm_camera(side: float = 0.0, height: float = 0.66) -> Transform:
    """Pose of the camera opposite the arm, 1.18 m from its base, looking down at the table."""
    return look_at((1.18, side, height), (0.53, 0.3 * side, 0.02), BASE_LINK)


def wrist_camera(hand_link: str = "panda_hand") -> Transform:
    """Pose of the camera on the hand: 6 cm in front of it, looking along the fingers, which stay out of its image."""
    matrix = np.array([[0.0, -1.0, 0.0, 0.06], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.02], [0.0, 0.0, 0.0, 1.0]])
    return Transform(hand_link, "wrist_camera_optical_frame", matrix)


_INSTRUCTION = "put the chick behind the cup on the tray"
ARM_WORLDS: Mapping[str, Callable[[], TableLayout]] = MappingProxyType(
    {
        "behind": partial(_laid, "behind", 5, _chicks((0.42, 0.03), (0.69, 0.06)), "bonnet", TRAY, _INSTRUCTION),
        "swapped": partial(_laid, "swapped", 5, _chicks((0.69, 0.06), (0.42, 0.03)), "ribbon", TRAY, _INSTRUCTION),
        "bowl": partial(_laid, "bowl", 8, _BOWL, "lemon", "bowl", "put the lemon in the bowl"),
    }
)
"""Name → maker: the bonnet chick behind the cup, the ribbon chick before it; the other way round; a lemon, a bowl."""


def arm_room(rng: np.random.Generator) -> Scenery:
    """Make a room with the table under the arm."""
    drawn = random_scenery(rng)
    shift = _CENTRE[0] - drawn.table_centre[0]

    def moved(at: Vector3) -> Vector3:
        return at[0] + shift, at[1], at[2] - drawn.table_height

    lights = tuple(Light(moved(x.position), moved(x.towards), x.brightness, x.shadows) for x in drawn.lights)
    floor = drawn.floor_height - drawn.table_height
    size = {"table_centre": _CENTRE, "table_size": _SIZE, "table_height": 0.0, "floor_height": floor}
    return replace(drawn, lights=lights, **size)  # type: ignore[arg-type]


def _small(kind: str, rng: np.random.Generator, colour: str | None = None) -> Model:
    return scaled(make(kind, rng, colour), _SCALES[kind])


def _drawn(rng: np.random.Generator, name: str) -> TableLayout | None:
    """A random layout; None if an object found no free position."""
    scenery, camera = arm_room(rng), arm_camera(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.6, 0.72)))
    eye = camera.translation[:2]
    side = 1 if rng.random() < 0.5 else -1
    tray = (float(rng.uniform(0.46, 0.56)), side * float(rng.uniform(0.3, 0.34)))
    cup = (float(rng.uniform(0.52, 0.62)), float(rng.uniform(-0.12, 0.12)) - 0.06 * side)
    dressed = [str(kind) for kind in rng.permutation(["bonnet chick", "ribbon chick"])]
    ahead = np.subtract(cup, eye) / np.linalg.norm(np.subtract(cup, eye))
    aside = np.array([-ahead[1], ahead[0]])
    behind = cup + float(rng.uniform(0.12, 0.17)) * ahead + float(rng.uniform(-0.035, 0.035)) * aside
    before = cup - float(rng.uniform(0.1, 0.13)) * ahead + float(rng.choice([-1, 1])) * rng.uniform(0.04, 0.1) * aside
    spots = [("cup", "cup", cup), (TRAY, "tray", tray), (dressed[0].split()[0], dressed[0], behind),
             (dressed[1].split()[0], dressed[1], before)]  # fmt: skip
    target = dressed[0].split()[0]
    objects: list[PlacedModel] = []
    for id_, kind, spot in spots:
        relation = {target: "behind", dressed[1].split()[0]: "in front of"}.get(id_)
        yaw = 0.0 if kind == "tray" else float(rng.uniform(-math.pi, math.pi))
        placed = Placed(relation, ("cup",)) if relation else None
        obj = PlacedModel(id_, _small(kind, rng), (float(spot[0]), float(spot[1]), _LET_GO), yaw, placed)
        within = all(low <= value <= high for value, (low, high) in zip(spot, _REACH, strict=True))
        if (not within and kind != "tray") or not _free(obj, objects):
            return None
        objects.append(obj)
    (x0, x1), (y0, y1) = _REACH
    for kind in rng.permutation(list(_OTHERS))[: int(rng.integers(3, 6))]:
        model, yaw = _small(str(kind), rng), float(rng.uniform(-math.pi, math.pi))
        for _ in range(_PLACES):  # a free position where it does not hide the target
            position = (float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)), _LET_GO)
            obj = PlacedModel(str(kind), model, position, yaw)
            if _free(obj, objects) and _seen(obj, eye, behind):
                objects.append(obj)
                break
        else:
            return None
    if not _seen(objects[3], eye, behind):
        return None
    return TableLayout(name, tuple(objects), scenery, camera, target, TRAY, _INSTRUCTION)


def _free(obj: PlacedModel, objects: list[PlacedModel]) -> bool:
    """Whether a finger fits between it and every other object; a tray is much smaller than the circle around it."""
    return all(
        math.dist(obj.position[:2], other.position[:2])
        >= obj.model.reach + other.model.reach + (-0.02 if other.id == TRAY else _APART)
        for other in objects
    )


def _seen(obj: PlacedModel, eye: np.ndarray, to: np.ndarray) -> bool:
    way = to - eye
    length = float(np.linalg.norm(way))
    offset = np.asarray(obj.position[:2]) - eye
    along, across = float(offset @ way) / length, abs(float(way[0] * offset[1] - way[1] * offset[0])) / length
    return along > length + 0.03 or across > _VIEW


_KEYS = {"move": {"id", "to", "yaw_deg"}, "remove": {"id"}, "camera": {"by", "turn_deg", "told"}, "world": {"name"}}


@dataclass(frozen=True)
class Move:
    """Teleport an object: its foot to `to`, metres in the base frame, rotated by `yaw` radians."""

    id: str
    to: Vector3
    yaw: float = 0.0


@dataclass(frozen=True)
class Remove:
    """Remove an object."""

    id: str


@dataclass(frozen=True)
class NudgeCamera:
    """Shift the camera by metres in the base frame, turn it about the vertical; `told`: its published pose follows."""

    by: Vector3
    turn_deg: float = 0.0
    told: bool = False

    def applied(self, base_T_camera: Transform) -> Transform:
        """The new pose."""
        matrix = base_T_camera.matrix.copy()
        matrix[:3, :3] = turn("z", math.radians(self.turn_deg)) @ matrix[:3, :3]
        matrix[:3, 3] += self.by
        return Transform(base_T_camera.parent, base_T_camera.child, matrix)


@dataclass(frozen=True)
class ChangeWorld:
    """Switch to another world, named like the parameter `world`."""

    name: str


Disturbance = Move | Remove | NudgeCamera | ChangeWorld


def disturbance(words: str) -> Disturbance:
    """Parse a disturbance.

    JSON: `{"move": {"id": "cup", "to": [0.5, 0.1, 0.0], "yaw_deg": 90}}`, `{"remove": {"id": "cup"}}`,
    `{"camera": {"by": [0.01, 0, 0], "turn_deg": 2, "told": false}}` or `{"world": {"name": "7"}}`.
    """
    try:
        (kind, said), *others = json.loads(words).items()
        if others or kind not in _KEYS:
            raise UnknownNameError("disturbance", kind if kind not in _KEYS else "several at once", _KEYS)
        for key in set(said) - _KEYS[kind]:
            raise UnknownNameError(f"key of {kind}", key, sorted(_KEYS[kind]))
        if kind == "move":
            return Move(str(said["id"]), _vector(said["to"]), math.radians(float(said.get("yaw_deg", 0.0))))
        if kind == "remove":
            return Remove(str(said["id"]))
        if kind == "world":
            return ChangeWorld(str(said["name"]))
        told = said.get("told", False)
        if not isinstance(told, bool):
            raise TypeError("told must be true or false")
        return NudgeCamera(_vector(said.get("by", (0, 0, 0))), _finite(said.get("turn_deg", 0.0)), told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        got = f"{type(error).__name__}: {error}"
        raise InputError("disturbance", got, "JSON as docs/sim_arm.md describes it") from error


def _vector(values: object) -> Vector3:
    x, y, z = (_finite(value) for value in values)  # type: ignore[attr-defined]
    return x, y, z


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not np.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number
