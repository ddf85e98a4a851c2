# SPDX-License-Identifier: Apache-2.0
"""Tables for the arm: small chicks, a cup, other objects and a tray; and disturbances of them, written as text.

The camera looks back at the arm, so that objects behind the cup are nearer to the arm and within its reach. Everything
except the tray is small enough for a hand that opens 80 mm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import BASE_LINK
from spatial_vlm_ros.sim.meshes import Model, scaled, turn
from spatial_vlm_ros.sim.physics import STILL_SPEED, STILL_TURN, PhysicsWorld, PlacedModel
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


# ------------------------------------------------------------------------------------------------ judge


TABLE = "table"
RESTS = 0.5  # s: so long an object has been still before it is said to be at rest
_MOST_SPAN, _LEAST_COSINE = STILL_SPEED * RESTS, float(np.cos(STILL_TURN * RESTS / 2))  # metres; of half the turn
MOVED, TURNED = 0.005, 10.0  # metres, degrees: by more an object has been moved
_LIGHT = 0.01  # N: less is no touch


@dataclass(frozen=True)
class State:
    """State of one object, at rest if on average of the last RESTS seconds slower than STILL_SPEED and STILL_TURN.

    At a moment it may be faster, for contacts between many convex pieces chatter and move nothing.
    """

    position: tuple[float, float, float]  # of its foot in the arm's base frame, metres
    moved: float  # metres since the start
    turned_deg: float  # since the start
    touched: bool
    held: bool
    at_rest: bool
    on_tray: bool
    on_table: bool
    there: bool

    @property
    def delivered(self) -> bool:
        """Whether it lies at rest on the tray, and the robot has let go of it."""
        return self.there and self.on_tray and self.at_rest and not self.held


@dataclass(frozen=True)
class PhysicsVerdict:
    """Verdict on the current state and on everything since the start."""

    time: float  # simulated seconds
    objects: dict[str, State]
    forces: dict[str, float]  # greatest, N, of a link or its load on objects, "table", and the "robot" itself
    by_held: dict[str, float]

    @property
    def moved(self) -> tuple[str, ...]:
        """Ids of objects that were moved, turned or removed."""
        return tuple(id_ for id_, s in self.objects.items() if not s.there or s.moved > MOVED or s.turned_deg > TURNED)


class Judge:
    """Observes every step. It uses bodies and contacts, not plans."""

    def __init__(
        self, mj: Any, model: Any, ids: Sequence[str], tray: str, robot: Collection[str], fingers: Sequence[str]
    ) -> None:
        self._mj, self._model, self._ids, self._tray = mj, model, tuple(ids), tray
        self._bodies = np.array([model.body(id_).id for id_ in ids], np.intp)
        self._dofs = np.array([model.body(id_).dofadr[0] for id_ in ids], np.intp)[:, None] + np.arange(6)
        self._robot = np.array([str(model.body(b).name) in robot for b in range(model.nbody)], np.bool_)
        self._fingers = tuple(int(model.body(name).id) for name in fingers)
        self._names = {0: TABLE, **{int(b): id_ for b, id_ in zip(self._bodies, ids, strict=True)}}
        self._body_of = model.geom_bodyid.copy()
        self._still = np.zeros(len(ids))
        self._resting = np.zeros(len(ids))  # seconds within _MOST_SPAN and _LEAST_COSINE of a pose
        self._places, self._turns = np.full((len(ids), 3), np.inf), np.zeros((len(ids), 4))  # of those poses
        self._step = float(model.opt.timestep)
        self._gone: set[str] = set()
        self._touched: set[int] = set()
        self._forces: dict[str, float] = {}
        self._by_held: dict[str, float] = {}
        self._held: set[int] = set()
        self._start: dict[str, tuple[Any, Any]] = {}

    def begin(self, data: Any) -> None:
        """Start a run: forget earlier records."""
        for record in (self._touched, self._forces, self._by_held):
            record.clear()
        self._start = {id_: self._pose(id_, data) for id_ in self._ids}

    def displaced(self, id_: str, data: Any) -> None:
        """Register that an object was moved by hand: its displacement counts from its new pose."""
        self._start[id_] = self._pose(id_, data)
        self._still[self._ids.index(id_)] = self._resting[self._ids.index(id_)] = 0.0

    def removed(self, id_: str) -> None:
        """Register that an object was removed by hand."""
        self._gone.add(id_)

    def all_still(self, seconds: float) -> bool:
        """Whether everything has been still for this long."""
        return not len(self._still) or float(self._still.min()) >= seconds

    def record(self, data: Any) -> None:
        """Record contacts; call it after each step, with the forces of that step."""
        velocity = data.qvel[self._dofs]
        fast = (np.square(velocity[:, :3]).sum(axis=1) > STILL_SPEED**2) | (
            np.square(velocity[:, 3:]).sum(axis=1) > STILL_TURN**2
        )
        self._still = np.where(fast, 0.0, self._still + self._step)
        places = data.xpos[self._bodies]
        turns = data.xquat[self._bodies]
        left = np.square(places - self._places).sum(axis=1) > _MOST_SPAN**2
        left |= np.abs((turns * self._turns).sum(axis=1)) < _LEAST_COSINE
        self._places[left], self._turns[left] = places[left], turns[left]
        self._resting = np.where(left, 0.0, self._resting + self._step)
        self._held = set()
        if not data.ncon:
            return
        pairs = self._body_of[data.contact.geom]
        robot = self._robot[pairs]
        if not robot.any():
            return
        pushes = self._pushes(data, pairs, np.flatnonzero(robot.any(axis=1)))
        sides: dict[int, set[int]] = {}
        for (link, other), force in pushes.items():
            if force < _LIGHT:
                continue
            self._note(self._forces, self._names.get(other, "robot"), force)
            self._touched.add(other)
            if link in self._fingers:
                sides.setdefault(other, set()).add(link)
        self._held = {body for body, fingers in sides.items() if len(fingers) == 2}
        if self._held:
            rows = np.flatnonzero(np.isin(pairs, list(self._held)).any(axis=1) & ~robot.any(axis=1))
            for (_, other), force in self._pushes(data, pairs, rows).items():
                if force >= _LIGHT and other not in self._held:
                    self._note(self._forces, self._names[other], force)
                    self._note(self._by_held, self._names[other], force)
                    self._touched.add(other)

    def verdict(self, data: Any) -> PhysicsVerdict:
        """Return the current verdict."""
        under: dict[int, set[int]] = {int(body): set() for body in self._bodies}
        for one, two in self._body_of[data.contact.geom] if data.ncon else ():
            for a, b in ((int(one), int(two)), (int(two), int(one))):
                if a in under:
                    under[a].add(b)
        objects = {}
        for number, id_ in enumerate(self._ids):
            position, axes = self._pose(id_, data)
            at, stood = self._start.get(id_, (position, axes))
            turned = float(np.degrees(np.arccos(np.clip((np.trace(stood.T @ axes) - 1) / 2, -1.0, 1.0))))
            body = int(self._bodies[number])
            x, y, z = (round(float(value), 5) for value in position)
            objects[id_] = State(
                position=(x, y, z),
                moved=float(np.linalg.norm(position - at)),
                turned_deg=turned,
                touched=body in self._touched,
                held=any(self._robot[other] for other in under[body]),
                at_rest=bool(self._resting[number] >= RESTS),
                on_tray=id_ != self._tray and self._on_tray(body, under, {body}),
                on_table=0 in under[body],
                there=id_ not in self._gone,
            )
        return PhysicsVerdict(float(data.time), objects, dict(self._forces), dict(self._by_held))

    # -------------------------------------------------------------------------------------------- inside

    def _pushes(self, data: Any, pairs: Any, rows: Any) -> dict[tuple[int, int], float]:
        """(pushing body, other body) → force between them, N; the robot's link or the held object comes first."""
        sums: dict[tuple[int, int], Any] = {}
        force = np.zeros(6)
        for row in rows:
            self._mj.mj_contactForce(self._model, data, int(row), force)
            world = data.contact.frame[row].reshape(3, 3).T @ force[:3]
            one, two = int(pairs[row][0]), int(pairs[row][1])
            swap = not (self._robot[one] or (one in self._held and not self._robot[two]))
            key = (two, one) if swap else (one, two)
            sums[key] = sums.get(key, 0.0) + (-world if swap else world)
        return {key: float(np.linalg.norm(total)) for key, total in sums.items()}

    def _on_tray(self, body: int, under: dict[int, set[int]], seen: set[int]) -> bool:
        """Whether it touches the tray but neither table nor robot, or only objects for which this is true."""
        tray = int(self._model.body(self._tray).id)
        others = under[body] - seen
        if 0 in under[body] or any(self._robot[other] for other in under[body]):
            return False
        if tray in others:
            return True
        return any(self._on_tray(other, under, {*seen, other}) for other in others if other in under)

    def _pose(self, id_: str, data: Any) -> tuple[Any, Any]:
        body = data.body(id_)
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    @staticmethod
    def _note(record: dict[str, float], name: str, force: float) -> None:
        record[name] = max(record.get(name, 0.0), force)
