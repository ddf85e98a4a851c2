# SPDX-License-Identifier: Apache-2.0
"""Judges what physics did to each object: touched, moved, held, delivered, and with which forces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.sim.physics import STILL_SPEED, STILL_TURN

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
