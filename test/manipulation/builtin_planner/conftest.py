# SPDX-License-Identifier: Apache-2.0
"""Tabletops for an arm, and a witness: MuJoCo reads the same URDF and judges what the planner says.

The planner itself needs the extra `arm`, the witness `sim`; tests that need them skip by name without.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from planning_scenes import fingers_down

from spatial_vlm_ros.manipulation.builtin_planner.request import (
    BoxObstacle,
    HeldBox,
    MotionRequest,
    PlannedTrajectory,
    Segment,
)

Floats = npt.NDArray[np.float64]
HOME = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])


@dataclasses.dataclass(frozen=True)
class Bench:
    """Makes requests on a table half a metre before the arm."""

    down = staticmethod(fingers_down)

    @staticmethod
    def box(id_: str, centre: Sequence[float], size: Sequence[float], padding: float = 0.01) -> BoxObstacle:
        pose = np.eye(4)
        pose[:3, 3] = centre
        return BoxObstacle(id_, pose, np.array(size, float), padding)

    def table(self) -> BoxObstacle:
        return self.box("table", (0.5, 0, -0.02), (1.2, 1.6, 0.04))

    def clutter(self, seed: int, n: int = 9) -> list[BoxObstacle]:
        """A table, the box "target", and others at least 13 cm from each other."""
        draw = np.random.default_rng(seed)
        places: list[Floats] = []
        boxes = [self.table()]
        while len(places) < n:
            at = draw.uniform((0.35, -0.4), (0.65, 0.4))
            if all(np.hypot(*(at - other)) > 0.13 for other in places):
                height, sides = draw.uniform(0.05, 0.18), draw.uniform(0.03, 0.055, 2)
                name = f"box{len(places)}" if places else "target"
                boxes.append(self.box(name, (*at, height / 2), (*sides, height)))
                places.append(at)
        return boxes

    def pick(self, boxes: Sequence[BoxObstacle], start: Floats = HOME, **request: Any) -> MotionRequest:
        """To above "target", straight down to it, and straight up with it."""
        target = next(box for box in boxes if box.id == "target")
        x, y, z = target.pose[:3, 3] + (0, 0, target.size[2] / 2)
        grasp = self.down(x, y, z - 0.02)
        held = HeldBox("target", np.linalg.inv(grasp) @ target.pose, target.size)
        segments = [
            Segment(self.down(x, y, z + 0.1)),
            Segment(grasp, straight=True, touch={"target"}),
            Segment(self.down(x, y, z + 0.13), straight=True, held=held, held_touch={"table"}, opening=target.size[1]),
        ]
        return MotionRequest(start, segments, boxes, **request)

    def cage(self, time_limit: float) -> MotionRequest:
        """A goal that the hand fits, in a chest whose lid has a hole that the wrist fits and the hand does not."""
        x, z, half = 0.5, 0.12, 0.17
        top, hole_x, hole_y, near = z + 0.143, 0.075, 0.095, 0.005
        boxes = [self.table()]
        for side in (1, -1):
            boxes += [
                self.box(f"wall x{side}", (x + side * half, 0, top / 2), (0.02, 2 * half, top), near),
                self.box(f"wall y{side}", (x, side * half, top / 2), (2 * half, 0.02, top), near),
                self.box(
                    f"lid x{side}", (x + side * (half + hole_x) / 2, 0, top), (half - hole_x, 2 * half, 0.01), near
                ),
                self.box(f"lid y{side}", (x, side * (half + hole_y) / 2, top), (2 * half, half - hole_y, 0.01), 0),
            ]
        return MotionRequest(HOME, [Segment(self.down(x, 0, z), opening=0.02)], boxes, time_limit=time_limit)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def planner() -> Any:
    for package in ("pinocchio", "coal", "ompl", "daqp"):
        pytest.importorskip(package)
    from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner

    return BuiltinPlanner()


class Witness:
    """The arm and boxes as MuJoCo reads and measures them; from the URDF and the SRDF, not from the planner."""

    def __init__(self, boxes: Sequence[BoxObstacle], held: HeldBox | None) -> None:
        import mujoco

        from spatial_vlm_ros.manipulation.builtin_planner.known_arms import description

        folder = description()
        root = ET.parse(folder / "urdf" / "panda.urdf").getroot()  # noqa: S314
        for link in root.iter("link"):
            for visual in link.findall("visual"):
                link.remove(visual)
        for mesh in root.iter("mesh"):
            mesh.set("filename", mesh.get("filename", "").split("/")[-1])
        options = {"meshdir": str(folder / "meshes" / "collision"), "fusestatic": "false"}
        ET.SubElement(ET.SubElement(root, "mujoco"), "compiler", options)
        spec = mujoco.MjSpec.from_string(ET.tostring(root, encoding="unicode"))
        self.boxes = {box.id for box in boxes if held is None or box.id != held.id}
        for box in boxes:
            if box.id in self.boxes:
                self._add(spec.worldbody, box.id, box.pose, box.size)
        if held is not None:
            self._add(spec.body("panda_hand_tcp"), "held", held.pose, held.size)
        self._mujoco, self.model = mujoco, spec.compile()
        self.data = mujoco.MjData(self.model)
        srdf = ET.parse(folder / "srdf" / "panda.srdf").getroot()  # noqa: S314
        self._never = {frozenset((e.get("link1"), e.get("link2"))) for e in srdf.iter("disable_collisions")}

    def _add(self, body: Any, name: str, pose: Floats, size: Floats) -> None:
        import mujoco

        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, pose[:3, :3].reshape(-1).copy())
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=size / 2, pos=pose[:3, 3], quat=quat)

    def place(self, joints: Floats, opening: float) -> None:
        self.data.qpos[:7], self.data.qpos[7:9] = joints, opening / 2
        self._mujoco.mj_kinematics(self.model, self.data)

    def tip(self) -> Floats:
        body = self.data.body("panda_hand_tcp")
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = body.xmat.reshape(3, 3), body.xpos
        return pose

    def _name(self, geom: int) -> str:
        return str(self.model.geom(geom).name or self.model.body(self.model.geom_bodyid[geom]).name)

    def nearest(self, most: float = 0.05) -> dict[tuple[str, str], float]:
        """Least distance in metres of each pair of link, box and held that is nearer than `most`; negative = inside."""
        distances: dict[tuple[str, str], float] = {}
        for a in range(self.model.ngeom):
            for b in range(a):
                one, two = sorted((self._name(a), self._name(b)))
                fixed = {one, two} <= {*self.boxes, "panda_link0"}
                if one == two or fixed or frozenset((one, two)) in self._never:
                    continue
                away = self._mujoco.mj_geomDistance(self.model, self.data, a, b, most, None)
                if away < most:
                    distances[one, two] = min(away, distances.get((one, two), np.inf))
        return distances


@pytest.fixture(scope="session")
def witness() -> Any:
    pytest.importorskip("mujoco")
    return Witness


@pytest.fixture(scope="session")
def between() -> Any:
    """(M, 7) positions of a trajectory, `apart` rad or less from each other, straight between its points."""

    def positions(trajectory: PlannedTrajectory, apart: float = 0.02) -> Floats:
        rows = [trajectory.positions[:1]]
        for one, two in zip(trajectory.positions[:-1], trajectory.positions[1:], strict=True):
            n = int(np.ceil(np.abs(two - one).max() / apart)) or 1
            rows.append(one + (two - one) * (np.arange(1, n + 1) / n)[:, None])
        return np.concatenate(rows)

    return positions
