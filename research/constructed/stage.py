# SPDX-License-Identifier: Apache-2.0
"""The stage that a scene is set on: a table, a viewpoint, and places searched until a margin is as drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from research.constructed.distribution import CLUTTER, DISTRACTORS, METRIC, REACH_M, VIEW, Spread
from research.constructed.oracle import Situation
from research.constructed.standpoint import Standpoint
from research.constructed.still import Form, Still, clearance, depth_inside
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.physics import PlacedModel
from spatial_vlm_ros.sim.settled import make
from spatial_vlm_ros.sim.tabletop import COLOURS
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, Status, Vector3

TABLE_HEIGHT, TABLE_MIDDLE, TABLE_HALF = 0.1, (0.85, 0.0), (0.56, 0.7)
"""Of the table in the base frame, and how far from its middle objects may stand along x and y, metres."""
SMALL = ("cup", "can", "bottle", "bowl", "box", "apple", "orange", "lemon", "pear", "banana")
"""Kinds of targets and distractors. No two of them are words for one object."""
ANCHORS = ("cup", "can", "bottle", "bowl", "box", "plate", "apple", "ribbon chick", "crate")
CLUTTERING = ("can", "bottle", "box", "apple", "orange", "lemon", "pear", "banana", "plate", "cup")
NATURAL = frozenset({"apple", "orange", "lemon", "pear", "banana", "ribbon chick", "bonnet chick", "shelf"})
FRONTED = frozenset({"chair", "car", "cabinet"})
"""Labels of objects whose front is known; chair and car have sides of their own, a cabinet is faced."""
LABELS = {"ribbon chick": "chick", "bonnet chick": "chick"}
_GAP = 0.004  # least gap between objects that do not touch on purpose, metres
_TRIES = 150  # places tried for one object
_CLOSE_ENOUGH = 0.003  # of a margin to the one drawn, metres

Zone = Callable[[np.random.Generator, Form], tuple[Vector3, float]]
Measure = Callable[[Still], float]


class NoRoom(Exception):
    """No place has what was drawn: the scene is drawn again."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One object on the stage: how it is drawn, what is true of it, and what may touch it or contain it."""

    obj: PlacedModel
    still: Still
    hosts: frozenset[str] = frozenset()
    part_of: str | None = None


@dataclass(frozen=True)
class Play:
    """A question of a scene and the answer that the scene was built for.

    Args:
        phrase: what is asked for.
        status: the answer's.
        ids: objects meant; with AMBIGUOUS all that could be.
        tags: words for reports.
        world_deg: azimuth of ahead in the frame "world", where the question needs one.
    """

    phrase: NounPhrase
    status: Status
    ids: tuple[str, ...]
    tags: tuple[str, ...] = ()
    world_deg: float | None = None


class Stage:
    """What stands on the table so far, and from where it is looked at.

    Args:
        rng: the only source of chance.
        kind: "answerable", "ambiguous" or "unsatisfied".
        pitch_deg: range of the camera's pitch; None = the published one.
        far: whether the camera keeps to the farther half of its distances.
    """

    def __init__(
        self, rng: np.random.Generator, kind: str, pitch_deg: tuple[float, float] | None = None, far: bool = False
    ) -> None:
        self.rng, self.kind, self.pieces = rng, kind, list[Piece]()
        self.pitch_deg = pitch_deg or VIEW["pitch_deg"]
        self.middle = np.array(TABLE_MIDDLE) + rng.uniform(-0.06, 0.06, 2)
        low, high = VIEW["ground_distance_m"]
        self.azimuth = math.radians(float(rng.uniform(*VIEW["azimuth_deg"])))
        self.ground_distance = float(rng.uniform((low + high) / 2 if far else low, high))
        self.world_deg = float(rng.uniform(-180, 180))
        self.pitch = self.draw_pitch()
        angle = math.radians(float(rng.uniform(-180, 180)))
        self._speaker = np.array([*(self.middle + rng.uniform(0.9, 1.6) * _unit(angle)), rng.uniform(0.4, 1.0)])

    def draw_pitch(self) -> float:
        """Another pitch that leaves the camera's place on the ground, radians."""
        low, high = (math.radians(p) for p in self.pitch_deg)
        least, most = VIEW["distance_m"]
        high = min(high, math.acos(min(1.0, self.ground_distance / most)))
        low = max(low, math.acos(min(1.0, self.ground_distance / least))) if self.ground_distance < least else low
        return float(self.rng.uniform(min(low, high), high))

    @property
    def eye(self) -> Array:
        """(3,) of the camera."""
        height = TABLE_HEIGHT + 0.04 + self.ground_distance * math.tan(self.pitch)
        return np.array([*(self.middle - self.ground_distance * _unit(self.azimuth)), height])

    @property
    def speaker(self) -> Array:
        """(3,) of the person who speaks."""
        return self._speaker

    def stand(self, frame: FrameOfReference | None) -> Standpoint:
        """Of a frame of reference."""
        return self.situation().stand(frame)

    def situation(self) -> Situation:
        """What stands there, all of it seen."""
        heading = _unit(math.radians(self.world_deg))
        stands = {
            FrameOfReference.VIEWER: Standpoint(self.eye),
            FrameOfReference.ROBOT: Standpoint(np.zeros(3)),
            FrameOfReference.SPEAKER: Standpoint(self.speaker),
            FrameOfReference.WORLD: Standpoint(heading=heading),
        }
        return Situation({p.still.id: p.still for p in self.pieces}, stands, support())

    def choose(self, kinds: Sequence[str], without: Sequence[str] = ()) -> str:
        """One of several kinds, none whose label is in `without`.

        Raises:
            NoRoom: none of them is left.
        """
        left = [k for k in kinds if LABELS.get(k, k) not in without]
        if not left:
            raise NoRoom
        return str(self.rng.choice(left))

    def number(self, least_most: tuple[int, int]) -> int:
        """A number from a range."""
        return int(self.rng.integers(least_most[0], least_most[1] + 1))

    def margin(self, spread: Spread = METRIC) -> float:
        """A size of a margin."""
        return spread.draw(self.rng)

    def wanted(self) -> int:
        """Number of objects that are to fit: by the kind of the scene."""
        return {"answerable": 1, "ambiguous": 2, "unsatisfied": 0}[self.kind]

    def others(self) -> int:
        """Number of distractors."""
        least, most = DISTRACTORS
        return self.number((max(least, 2), most) if self.kind == "unsatisfied" else (least, most))

    def forms(self, kind: str, number: int) -> list[Form]:
        """Things of a kind, each in a colour of its own where it is painted."""
        colours = [str(c) for c in self.rng.permutation(list(COLOURS))]
        return [Form.of(make(kind, self.rng, None if kind in NATURAL else c)) for c in colours[:number]]

    def put(
        self,
        form: Form,
        zone: Zone,
        measure: Measure | None = None,
        wanted: float = 0.0,
        hosts: Sequence[str] = (),
        raised: Form | None = None,
    ) -> Still:
        """Put an object where `measure` of it is about `wanted`; anywhere in the zone without a measure.

        Args:
            form: the object.
            zone: draws places.
            measure: margin of the object at a place, metres.
            wanted: of the margin; its sign is kept.
            hosts: ids of what it may stand in, on or against.
            raised: a crate that is put below it, or None.

        Raises:
            NoRoom: no place is free and has that margin.
        """
        best, chosen = math.inf, None
        up = 0.0 if raised is None else float(raised.size[2])
        for _ in range(_TRIES):
            (x, y, z), yaw = zone(self.rng, form)
            piece = self._piece(form, (x, y, z + up), yaw, hosts)
            if not self._free(piece) or (raised is not None and not self._free(self._piece(raised, (x, y, z), yaw))):
                continue
            off = 0.0
            if measure is not None:
                found = measure(piece.still)
                off = abs(found - wanted) if found * wanted > 0 else math.inf
            if off <= max(0.01, 0.3 * abs(wanted)) and off < best:
                best, chosen = off, piece
            if best < _CLOSE_ENOUGH:
                break
        if chosen is None:
            raise NoRoom
        if raised is not None:
            x, y, z = chosen.obj.position
            below = self._piece(raised, (x, y, z - up), chosen.obj.yaw, number=1)
            chosen = Piece(chosen.obj, chosen.still, frozenset({*chosen.hosts, below.still.id}))
            self.pieces += [chosen, below]
        else:
            self.pieces.append(chosen)
        return chosen.still

    def add_part(self, form: Form, whole: Still, lift: float) -> Still:
        """A part that moves with a whole: its frame is the whole's, `lift` metres higher."""
        host = next(p for p in self.pieces if p.still.id == whole.id)
        x, y, z = host.obj.position
        piece = self._piece(form, (x, y, z + lift), host.obj.yaw, (whole.id,))
        self.pieces.append(Piece(piece.obj, piece.still, piece.hosts, whole.id))
        return piece.still

    def clutter(self, without: Sequence[str], reach: float = REACH_M) -> None:
        """Things that nobody names, wherever there is room."""
        for _ in range(self.number(CLUTTER)):
            kind = self.choose(CLUTTERING, without)
            try:
                self.put(self.forms(kind, 1)[0], self.disc(self.middle, reach))
            except NoRoom:
                return

    def disc(self, middle: Array, radius: float, least: float = 0.0) -> Zone:
        """Uniform on the table within a ring, turned at will."""

        def zone(rng: np.random.Generator, _: Form) -> tuple[Vector3, float]:
            r = math.sqrt(float(rng.uniform(least**2, radius**2)))
            x, y = middle + r * _unit(float(rng.uniform(-math.pi, math.pi)))
            return (float(x), float(y), TABLE_HEIGHT), float(rng.uniform(-math.pi, math.pi))

        return zone

    def over(self, supporting: Still, height: float, inset: float = 0.01, within: Array | None = None) -> Zone:
        """Uniform over a carrier, its centre at least `inset` inside its outline; `height` of the base, base frame."""
        outline = supporting.outline if within is None else within
        low, high = outline.min(axis=0), outline.max(axis=0)

        def zone(rng: np.random.Generator, _: Form) -> tuple[Vector3, float]:
            place = rng.uniform(low, high)
            for _tried in range(50):
                if depth_inside(place, outline) >= inset:
                    break
                place = rng.uniform(low, high)
            return (float(place[0]), float(place[1]), height), float(rng.uniform(-math.pi, math.pi))

        return zone

    def _piece(self, form: Form, position: Vector3, yaw: float, hosts: Sequence[str] = (), number: int = 0) -> Piece:
        id_ = f"o{len(self.pieces) + 1 + number}"
        still = form.at(id_, position, yaw, form.model.label in FRONTED)
        return Piece(PlacedModel(id_, form.model, position, yaw), still, frozenset(hosts))

    def _free(self, piece: Piece) -> bool:
        """Whether it stands on the table and touches nothing but its hosts."""
        one = piece.still
        if (np.abs(one.outline - TABLE_MIDDLE) > TABLE_HALF).any():
            return False
        return all(
            other.still.id in piece.hosts or one.id in other.hosts or not _in_the_way(one, other.still)
            for other in self.pieces
        )


def support() -> Still:
    """The table top as an object that others stand on."""
    x, y = TABLE_MIDDLE
    corners = np.array([(x - 0.6, y - 0.75), (x + 0.6, y - 0.75), (x + 0.6, y + 0.75), (x - 0.6, y + 0.75)])
    centre = np.array([x, y, TABLE_HEIGHT - 0.02])
    return Still("support", "table", (), corners, centre, np.array([0.0, 1.0]), np.array([1.5, 1.2, 0.04]))


def _in_the_way(one: Still, other: Still) -> bool:
    level = min(one.top, other.top) - max(one.bottom, other.bottom)
    near = float(np.linalg.norm(one.place - other.place)) < one.size[:2].sum() + other.size[:2].sum()
    return level > 0.001 and near and clearance(one.outline, other.outline) < _GAP


def _unit(angle: float) -> Array:
    return np.array([math.cos(angle), math.sin(angle)])
