# SPDX-License-Identifier: Apache-2.0
"""What is true of a settled scene for a viewer, with margins; from poses, meshes and contacts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from research.rendered.items import Room
from research.rendered.meshes import Floats
from research.rendered.stage import HEIGHT, TABLE, WIDTH, RenderedFrame, Stage, View

ACROSS, DEPTH = 0.06, 0.08
"""Least distance along a row of equal objects, across and in depth, metres."""
TIMES, APART = 3.0, 0.12
"""Another candidate for "next to" is this many times as far, and farther than this, metres."""
FREE = 0.055
"""A free spot has nothing within this of its middle, metres."""
SEEN, PIXELS = 0.42, 150
"""Least visible share and size of a target."""
ASIDE = 0.1
"""A spot beside something begins this far from it, metres."""


@dataclass(frozen=True)
class Place:
    """Where a place may lie: a box in the world, the object it is told by, and others that may be named as well."""

    relation: str
    anchor: str
    middle: Floats
    half: Floats
    also: tuple[str, ...] = ()


class Judge:
    """The truth about a scene, as seen from a camera; lengths in metres, x to the viewer's right, y away, z up."""

    def __init__(self, stage: Stage, view: View, image: RenderedFrame) -> None:
        self.stage, self.view, self.image = stage, view, image
        pose = view.pose
        right, ahead = pose[:2, 0], pose[:2, 2]
        self.right, self.ahead = right / np.linalg.norm(right), ahead / np.linalg.norm(ahead)
        self._points = {n: stage.mesh(n).vertices for n in stage.bodies if n != "table"}
        self._plans: dict[str, Floats] = {}
        x, y, z = TABLE
        self._points["table"] = np.array([[a, b, c] for a in (-x / 2, x / 2) for b in (-y / 2, y / 2) for c in (-z, 0)])

    def bounds(self, name: str) -> tuple[Floats, Floats]:
        """Least and greatest world coordinates of a body; of all its parts, too, where it has any."""
        p = np.concatenate([v for n, v in self._points.items() if n == name or n.startswith(f"{name}/")])
        return p.min(0), p.max(0)

    def middle(self, name: str) -> Floats:
        """Middle of the bounds in the viewer's axes: right, ahead, up."""
        low, high = self.bounds(name)
        m = (low + high) / 2
        return np.array([m[:2] @ self.right, m[:2] @ self.ahead, m[2]])

    def seen(self, name: str) -> tuple[int, float]:
        """Visible pixels, and their share of what would be seen if nothing hid it (the frame's border not counted)."""
        k = self.stage.bodies.index(name)
        pixels = int((self.image.owner == k).sum())
        return pixels, pixels / max(self.image.alone[name], 1)

    def well_seen(self, name: str) -> bool:
        """Whether it can be a target: enough of it in sight, and not cut by the border of the image."""
        pixels, share = self.seen(name)
        rows, columns = np.nonzero(self.image.owner == self.stage.bodies.index(name))
        inside = (
            len(rows) > 0
            and rows.min() > 1
            and columns.min() > 1
            and rows.max() < HEIGHT - 2
            and columns.max() < WIDTH - 2
        )
        return pixels >= PIXELS and share >= SEEN and inside

    def row(self, names: Sequence[str], axis: int) -> list[str] | None:
        """The objects in order along an axis (0: from the left, 1: from the front); None where two are too close."""
        order = sorted(names, key=lambda n: float(self.middle(n)[axis]))
        steps = np.diff([float(self.middle(n)[axis]) for n in order])
        return order if (steps >= (ACROSS, DEPTH)[axis]).all() else None

    def gap(self, a: str, b: str) -> float:
        """Horizontal distance between two outlines, 0 where they overlap."""
        return _distance(self._plan(a), self._plan(b))

    def next_to(self, target: str, anchor: str, others: Sequence[str]) -> bool:
        """Whether the target, and none of the others, stands next to the anchor."""
        near = self.gap(target, anchor)
        return near <= 0.1 and all(self.gap(o, anchor) > max(TIMES * near, APART) for o in others)

    def far_apart(self, targets: Sequence[str], anchor: str) -> bool:
        """Whether nobody would say that any of the targets is next to, on or in the anchor."""
        return all(self.gap(t, anchor) > APART + 0.08 for t in targets)

    def apart(self, targets: Sequence[str], anchor: str) -> tuple[str, bool]:
        """What is answered where none of the targets is by the anchor, and whether nobody would see one there."""
        return "RELATION_UNSATISFIED", self.far_apart(targets, anchor)

    def crowded(self) -> bool:
        """Whether two objects on the table are closer than 2 cm."""
        names = [t.name for t in self.stage.objects.values() if t.on is None]
        return any(self.gap(a, b) < 0.02 for k, a in enumerate(names) for b in names[:k])

    def reach(self, name: str) -> float:
        """Half the greater horizontal extent of an object."""
        low, high = self.bounds(name)
        return float((high - low)[:2].max()) / 2

    def fits(self, name: str, holder: str, room: str = "main") -> bool:
        """Whether there is the width for an object in a room; in a vessel, with 8 mm to spare on every side."""
        here = self.stage.objects[holder].item.rooms[room]
        return self.reach(name) + (0.008 if here.relation == "inside" else 0.0) <= here.wide

    def holds(self, name: str, holder: str, room: str) -> bool:
        """Whether an object rests in a room: it touches the holder, is above the room, its foot near the floor."""
        r, p = self.stage.pose(holder)
        here = self.stage.objects[holder].item.rooms[room]
        low, high = self.bounds(name)
        middle = r.T @ ((low + high) / 2 - p)
        foot = float(low[2] - p[2])
        body = f"{holder}/{room}" if f"{holder}/{room}" in self.stage.bodies else holder
        over = abs(middle[0] - here.x) <= here.hx + 0.02 and abs(middle[1] - here.y) <= here.hy + 0.02
        return bool(over and abs(foot - here.floor) < 0.02 and self.stage.touching(name, body))

    def on_table(self, name: str) -> bool:
        """Whether an object stands on the table itself."""
        return self.stage.touching(name, "table")

    def room(self, holder: str, room: str, anchor: str | None = None, also: tuple[str, ...] = ()) -> Place:
        """The room as a place: the largest rectangle along the world's axes, of its proportions, that lies in it."""
        r, p = self.stage.pose(holder)
        here: Room = self.stage.objects[holder].item.rooms[room]
        c, s = abs(r[0, 0]), abs(r[0, 1])
        share = min(here.hx / (here.hx * c + here.hy * s), here.hy / (here.hx * s + here.hy * c)) if s < c else 1.0
        half = np.array([here.hx, here.hy]) * share if s < c else np.array([here.hy, here.hx])
        middle = p + r @ np.array([here.x, here.y, here.floor])
        tall = 0.03 if here.relation == "inside" else 0.003
        lift = np.array([0, 0, tall if here.relation == "inside" else 0.0])
        return Place(here.relation, anchor or holder, middle + lift, np.array([*half, tall]), also)

    def empty(self, holder: str, room: str) -> bool:
        """Whether nothing but the holder is in the room, up to 10 cm above its floor."""
        place = self.room(holder, room)
        corners = place.middle[:2] + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * place.half[:2]
        floor = float(place.middle[2] - place.half[2])
        near = [
            n
            for n in self._others({holder})
            if self.bounds(n)[1][2] > floor - 0.02 and self.bounds(n)[0][2] < floor + 0.1
        ]
        return all(_distance(self._plan(n), corners) > 0 for n in near)

    def beside(self, relation: str, anchor: str, ignore: Sequence[str] = ()) -> Place | None:
        """A spot at a side, 10 cm off, where it is free, on the table and in sight; else None.

        `ignore` are objects that will be gone (the one that is moved).
        """
        way = {"left of": -self.right, "right of": self.right, "in front of": -self.ahead, "behind": self.ahead}[
            relation
        ]
        plan = self._plan(anchor)
        low, high = self.bounds(anchor)
        middle = (low + high)[:2] / 2
        reach = float(((plan - middle) @ way).max())
        room = max((self.reach(n) for n in ignore), default=0.0) + 0.01
        spot = middle + way * (reach + max(ASIDE, room + 0.03))
        good = self.free(spot, {*ignore, anchor}, room)
        return Place(relation, anchor, np.array([*spot, 0.0]), np.array([0.06, 0.06, 0.0])) if good else None

    def between(self, a: str, b: str, ignore: Sequence[str] = ()) -> Place | None:
        """The spot between two objects, where there is room."""
        spot = sum((self.bounds(n)[0] + self.bounds(n)[1])[:2] / 4 for n in (a, b))
        room = max((self.reach(n) for n in ignore), default=0.0) + 0.01
        good = max(0.14, 2 * room) <= self.gap(a, b) <= 0.4 and self.free(np.asarray(spot), set(ignore), room)
        return (
            Place("between", a, np.array([*np.asarray(spot), 0.0]), np.array([0.045, 0.045, 0.0]), (b,))
            if good
            else None
        )

    def around(self, anchor: str, ignore: Sequence[str] = ()) -> Place | None:
        """The surroundings of an object, 16 cm wide, where at least two sides are free."""
        sides = [self.beside(r, anchor, ignore) for r in ("left of", "right of", "in front of", "behind")]
        low, high = self.bounds(anchor)
        half = np.array([*(high - low)[:2] / 2 + 0.16, 0.0])
        return (
            Place("next to", anchor, np.array([*(low + high)[:2] / 2, 0.0]), half)
            if sum(s is not None for s in sides) >= 2
            else None
        )

    def table_middle(self, ignore: Sequence[str] = ()) -> Place | None:
        """The middle of the table, where it is free and the whole table top is in sight."""
        good = self.free(np.zeros(2), set(ignore)) and self.whole_table()
        return Place("on", "table", np.zeros(3), np.array([0.11, 0.08, 0.0])) if good else None

    def whole_table(self) -> bool:
        """Whether every corner of the table top is in the image."""
        top = self._points["table"][self._points["table"][:, 2] == 0]
        return all(self._in_image(p) for p in top)

    def free(self, spot: Floats, ignore: set[str], room: float = 0.0) -> bool:
        """Whether a spot of the table, `room` metres around, is free, in sight and not at the table's edge."""
        room = max(room, FREE)
        if abs(spot[0]) > TABLE[0] / 2 - room - 0.015 or abs(spot[1]) > TABLE[1] / 2 - room - 0.015:
            return False
        around = [
            np.array([spot[0] + room * a, spot[1] + room * b, 0.0])
            for a, b in ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))
        ]
        if not all(self._in_image(p, 8) for p in around) or self._owner_at(around[0]) not in {"table", *ignore}:
            return False
        return all(_distance(self._plan(n), spot[None]) > room for n in self._others(ignore))

    def _others(self, ignore: set[str]) -> list[str]:
        return [n for n in self._points if n != "table" and n.partition("/")[0] not in ignore]

    def _plan(self, name: str) -> Floats:
        if name not in self._plans:
            xy = self._points[name][:, :2]
            self._plans[name] = xy[ConvexHull(xy).vertices]
        return self._plans[name]

    def _pixel(self, point: Floats) -> Floats:
        pose = self.view.pose
        p = pose[:3, :3].T @ (point - pose[:3, 3])
        return (self.view.k @ p)[:2] / p[2]

    def _in_image(self, point: Floats, border: float = 2) -> bool:
        u, v = self._pixel(point)
        return bool(border <= u < WIDTH - border and border <= v < HEIGHT - border)

    def _owner_at(self, point: Floats) -> str:
        u, v = np.round(self._pixel(point)).astype(int)
        k = int(self.image.owner[v, u])
        return self.stage.bodies[k].partition("/")[0] if k >= 0 else ""


def _distance(a: Floats, b: Floats) -> float:
    """Distance between convex polygons (N, 2), counter-clockwise, or points (1, 2); 0 where they overlap."""
    if _inside(a, b[0]) or _inside(b, a[0]):
        return 0.0
    if len(a) > 1 and len(b) > 1 and _crossing(a, b):
        return 0.0
    return min(_to_edges(a, b), _to_edges(b, a))


def _inside(polygon: Floats, point: Floats) -> bool:
    if len(polygon) < 3:
        return False
    edge, to = np.roll(polygon, -1, 0) - polygon, point - polygon
    return bool((edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0] >= 0).all())


def _crossing(a: Floats, b: Floats) -> bool:
    """Whether no edge of either separates the two polygons."""
    for p, q in ((a, b), (b, a)):
        edge = np.roll(p, -1, 0) - p
        normal = np.stack([edge[:, 1], -edge[:, 0]], 1)
        if ((normal @ q.T).min(1) > (normal @ p.T).max(1) + 1e-12).any():
            return False
    return True


def _to_edges(points: Floats, polygon: Floats) -> float:
    start, edge = polygon, np.roll(polygon, -1, 0) - polygon
    length = np.maximum((edge**2).sum(1), 1e-18)
    t = np.clip(((points[:, None] - start) * edge).sum(2) / length, 0, 1)
    return float(np.linalg.norm(points[:, None] - start - t[..., None] * edge, axis=2).min())
