# SPDX-License-Identifier: Apache-2.0
"""Check an arm's motion for collisions with MuJoCo, only from URDF and SRDF, independent of any planner."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, PlannedTrajectory
from spatial_vlm_ros.sim.arm.cell import robot_spec
from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.physics import load_mujoco

RATE = 500.0  # Hz at which trajectories are checked
DEEP = 1e-4  # metres; less depth is only touching, or rounding
HELD = "held"


@dataclass(frozen=True, eq=False)
class ConvexBody:
    """An object made of convex pieces.

    Args:
        pose: (4, 4) metres, in the frame of the URDF's first link; for a held object in the tip's frame.
        pieces: corners (N, 3) of each piece, in the object's frame, metres.
    """

    id: str
    pose: Array
    pieces: tuple[Array, ...]


class CollisionWitness:
    """An arm and objects in MuJoCo, to check for collisions.

    Args:
        srdf: path; link pairs that it excludes are not checked.
        boxes: boxes and convex bodies, fixed in the frame of the URDF's first link; padding is ignored.
        held: object that moves with the tip, or None; the box of the same id is left out.
    """

    def __init__(self, urdf: Path, srdf: Path, boxes: Iterable[BoxObstacle | ConvexBody] = (),
                 held: HeldBox | ConvexBody | None = None, tip_link: str = "") -> None:  # fmt: skip
        self._mj = mj = load_mujoco()
        self._boxes: dict[str, str] = {}
        spec = robot_spec(urdf, srdf)
        spec.option.disableflags |= mj.mjtDisableBit.mjDSBL_FILTERPARENT  # only the SRDF excludes pairs
        for box in boxes:
            if held is None or box.id != held.id:
                self._add(spec, spec.worldbody, box.id, box)
        if held is not None:
            self._add(spec, spec.body(tip_link), HELD, held)
        self.model = spec.compile()
        self.data = mj.MjData(self.model)

    def _add(self, spec: Any, body: Any, name: str, obj: BoxObstacle | HeldBox | ConvexBody) -> None:
        """Add the geoms of an object to a link or the world."""
        quaternion, mj = np.zeros(4), self._mj
        mj.mju_mat2Quat(quaternion, obj.pose[:3, :3].ravel().copy())
        at = {"pos": obj.pose[:3, 3], "quat": quaternion}
        if not isinstance(obj, ConvexBody):
            self._boxes[name] = name
            body.add_geom(name=name, type=mj.mjtGeom.mjGEOM_BOX, size=obj.size / 2, **at)
            return
        for number, corners in enumerate(obj.pieces):
            piece = f"{name}#{number}"
            self._boxes[piece] = name
            mesh = spec.add_mesh(name=piece, uservert=corners.ravel())
            mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(name=piece, type=mj.mjtGeom.mjGEOM_MESH, meshname=piece, **at)

    def place(self, positions: Mapping[str, float]) -> None:
        """Set joint positions, radians and metres; other joints stay."""
        for name, value in positions.items():
            self.data.qpos[self.model.joint(name).qposadr[0]] = value
        self._mj.mj_kinematics(self.model, self.data)
        self._mj.mj_comPos(self.model, self.data)

    def touching(self, allowed: Collection[frozenset[str]] = frozenset()) -> dict[frozenset[str], float]:
        """Return pairs of links, objects and "held" that penetrate deeper than DEEP: depth in metres."""
        self._mj.mj_collision(self.model, self.data)
        found: dict[frozenset[str], float] = {}
        for contact in self.data.contact[: self.data.ncon]:
            geoms = [self.model.geom(int(geom)) for geom in contact.geom]
            pair = frozenset(
                self._boxes.get(str(geom.name)) or str(self.model.body(int(geom.bodyid[0])).name) for geom in geoms
            )
            if contact.dist < -DEEP and pair not in allowed:
                found[pair] = max(found.get(pair, 0.0), -float(contact.dist))
        return found

    def along(
        self, trajectory: PlannedTrajectory, fingers: Mapping[str, float], allowed: Collection[frozenset[str]] = ()
    ) -> tuple[dict[frozenset[str], float], int]:
        """Find collisions on a trajectory, with polynomials between its points as controllers follow it.

        Returns:
            Greatest depth of each pair, metres, and the number of checked moments, RATE per second.
        """
        path = JointTrajectory(trajectory.times, trajectory.positions, trajectory.velocities, trajectory.accelerations)
        moments = np.arange(0.0, path.duration + 1 / RATE, 1 / RATE)
        deepest: dict[frozenset[str], float] = {}
        for moment in moments:
            at = path.at(float(moment)).position
            self.place({**dict(zip(trajectory.names, at.tolist(), strict=True)), **fingers})
            for pair, depth in self.touching(frozenset(allowed)).items():
                deepest[pair] = max(deepest.get(pair, 0.0), depth)
        return deepest, len(moments)
