# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of an arm from its URDF, and its distance from boxes."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.manipulation.builtin_planner.description import JointTree
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import (
    link_hulls,
    load,
    model_and_geometry_of,
    part_hulls,
    read_urdf,
)
from spatial_vlm_ros.manipulation.planning.solids import Solid

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldSolid:
    """A box that moves with the tip.

    Args:
        tip_T_box: (4, 4) pose of the box in the tip frame, metres.
        size: (3,) edge lengths, metres.
    """

    tip_T_box: Floats
    size: tuple[float, float, float]


class ArmKinematics:
    """The arm of a URDF, in one planning frame. Use it from one thread at a time.

    Args:
        planning_frame: link whose frame poses are given in.
        mimics: joint → (joint that it follows, multiplier, offset), as in the URDF.

    Attributes:
        vertices: link → (V, 3) vertices of its convex hull, metres, in the link's frame; only links with collision
            geometry.
    """

    def __init__(
        self, model: Any, geometry: Any, name: str, planning_frame: str, tip_link: str, moving: Collection[str],
        mimics: Mapping[str, tuple[str, float, float]] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._pin = load("pinocchio")
        self._model, self._geometry, self._data, self._mimics = model, geometry, model.createData(), mimics
        self.name, self.planning_frame, self.tip_link = name, planning_frame, tip_link
        for what, wanted, known in (
            ("link", planning_frame, model.existFrame), ("link", tip_link, model.existFrame),
            *(("joint", joint, model.existJointName) for joint in moving),
        ):  # fmt: skip
            if not known(wanted):
                repair = "set robot_description to the URDF of the planned arm"
                raise InputError(f"robot description {name!r}", f"no {what} {wanted!r}", "one that has it", repair)
        self._base, self._tip = model.getFrameId(planning_frame), model.getFrameId(tip_link)
        hulls = link_hulls(model, geometry)
        self._links = tuple(hulls)
        self.vertices: dict[str, Floats] = {
            str(model.frames[frame].name): np.asarray(hull.vertices, np.float64) for frame, hull in hulls.items()
        }
        self._driven = self._moved_by(moving)

    def configuration(self, joints: Mapping[str, float]) -> Floats:
        """Configuration vector for Pinocchio.

        Joints that mimic another one follow it unless they are given. Other missing joints are zero; names that the
        model lacks are ignored.
        """
        q = np.array(self._pin.neutral(self._model), np.float64)
        followed = {
            name: offset + scale * joints.get(leader, 0.0) for name, (leader, scale, offset) in self._mimics.items()
        }
        for name, value in {**followed, **joints}.items():
            if not self._model.existJointName(name):
                continue
            joint = self._model.joints[self._model.getJointId(name)]
            if joint.nq == 2:  # turns without limits
                q[joint.idx_q : joint.idx_q + 2] = np.cos(value), np.sin(value)
            else:
                q[joint.idx_q] = value
        return q

    def poses(self, joints: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Poses of the links and the tip.

        Args:
            joints: positions by joint, radians or metres; missing joints are zero.

        Returns:
            (L, 4, 4) poses of the links in the planning frame, in the order of `vertices`, and (4, 4) pose of the tip
            link; metres.
        """
        self._pin.framesForwardKinematics(self._model, self._data, self.configuration(joints))
        inverse = self._data.oMf[self._base].inverse()
        links = [(inverse * self._data.oMf[frame]).homogeneous for frame in self._links]
        return np.array(links).reshape(-1, 4, 4), np.array((inverse * self._data.oMf[self._tip]).homogeneous)

    def limits(self, joint: str) -> tuple[float, float, float]:
        """Lower and upper position limit and maximum speed of a joint: radians or metres, and per second.

        Infinite if the description has no limit, and for continuous joints.
        """
        found = self._model.joints[self._model.getJointId(joint)]
        speed = float(self._model.velocityLimit[found.idx_v])
        speed = speed if speed > 0 else math.inf
        if found.nq == 2:
            return -math.inf, math.inf, speed
        low, high = (float(each[found.idx_q]) for each in (
            self._model.lowerPositionLimit, self._model.upperPositionLimit))  # fmt: skip
        return (low, high, speed) if low < high else (-math.inf, math.inf, speed)

    def deepest(self, joints: Mapping[str, float], points: Floats) -> tuple[float, str] | None:
        """Depth of the deepest of (N, 3) points inside the arm, planning frame, metres, and the link; None without."""
        self._pin.framesForwardKinematics(self._model, self._data, self.configuration(joints))
        inverse, found = self._data.oMf[self._base].inverse(), None
        for frame, hull in self._parts:
            if frame not in self._driven:
                continue
            pose = (inverse * self._data.oMf[frame]).homogeneous
            own = (points - pose[:3, 3]) @ pose[:3, :3]
            near = own[(np.abs(own - hull.centre) < hull.half).all(axis=1)]
            depth = -float(hull.outside_by(near).min(initial=0.0))
            if depth > (0.0 if found is None else found[0]):
                found = (depth, str(self._model.frames[frame].name))
        return found

    @functools.cached_property
    def _parts(self) -> list[tuple[int, Hull]]:
        return part_hulls(self._model, self._geometry)

    def _moved_by(self, joints: Collection[str]) -> set[int]:
        """Links with collision geometry that some joints move, by frame index."""
        ids, supports = {self._model.getJointId(joint) for joint in joints}, self._model.supports
        return {f for f in self._links if ids & set(supports[self._model.frames[f].parentJoint].tolist())}

    def hand_links(self, finger_links: Collection[str], finger_joints: Collection[str] = ()) -> frozenset[str]:
        """Fingers and their parent links: the links that may touch an object during a grasp."""
        fingers = {name for name in finger_links if self._model.existFrame(name)}
        driving = {joint for joint in finger_joints if self._model.existJointName(joint)}
        driving |= {joint for joint, (leader, _, _) in self._mimics.items() if leader in driving}
        fingers |= {str(self._model.frames[frame].name) for frame in self._moved_by(driving)}
        found = set(fingers)
        for name in fingers:
            above = self._model.frames[self._model.getFrameId(name)].parentFrame  # the joint, as a frame
            above = self._model.frames[above].parentFrame
            found.add(str(self._model.frames[above].name))
        return frozenset(found)

    def distances(
        self,
        boxes: Mapping[str, Solid],
        held: HeldSolid | None,
        ignored: Collection[tuple[str, str]],
        held_id: str = "",
    ) -> LinkDistances:
        """Prepare distance queries between the arm and boxes.

        Args:
            boxes: by id, in the planning frame.
            held: the held object, or None.
        """
        pin, coal = self._pin, load("coal")
        geometry = self._geometry.copy()
        links = [part.parentFrame for part in geometry.geometryObjects]
        names = [str(self._model.frames[frame].name) for frame in links]
        self._pin.framesForwardKinematics(self._model, self._data, pin.neutral(self._model))
        parent = self._model.frames[self._base].parentJoint
        base = self._model.frames[self._base].placement
        held_at = None
        if held is not None:
            tip = self._model.frames[self._tip]
            shape = pin.GeometryObject(
                "held", tip.parentJoint, tip.placement * pin.SE3(held.tip_T_box), coal.Box(*held.size)
            )
            held_at = geometry.addGeometryObject(shape)
        pairs: list[tuple[int, int]] = []
        told: list[tuple[str, str]] = []
        skip = set(ignored)
        for id_, solid in boxes.items():
            place = base * pin.SE3(box_pose(solid))
            number = geometry.addGeometryObject(pin.GeometryObject(f"box {id_}", parent, place, coal.Box(*solid.size)))
            for hull, (frame, name) in enumerate(zip(links, names, strict=True)):
                if frame in self._driven and (name, id_) not in skip:
                    pairs.append((hull, number))
                    told.append((name, id_))
            if held_at is not None and (held_id, id_) not in skip:
                pairs.append((held_at, number))
                told.append((held_id, id_))
        geometry.removeAllCollisionPairs()
        for first, second in pairs:
            geometry.addCollisionPair(pin.CollisionPair(first, second))
        return LinkDistances(self, geometry, tuple(told))

    def nearest(self, geometry: Any, found: Any, joints: Mapping[str, float]) -> Floats:
        """(P,) distances of the pairs of a geometry, metres; negative for collisions."""
        self._pin.computeDistances(self._model, self._data, geometry, found, self.configuration(joints))
        return np.array([result.min_distance for result in found.distanceResults])


class LinkDistances:
    """Distance queries for one phase; made by `ArmKinematics.distances`."""

    def __init__(self, arm: ArmKinematics, geometry: Any, pairs: tuple[tuple[str, str], ...]) -> None:
        self._arm, self._geometry, self._found = arm, geometry, geometry.createData()
        self._pairs = pairs

    def least(self, joints: Mapping[str, float]) -> tuple[float, tuple[str, str]] | None:
        """Smallest distance, metres, and its pair; None without pairs."""
        if not self._pairs:
            return None
        away = self._arm.nearest(self._geometry, self._found, joints)
        k = int(away.argmin())
        return float(away[k]), self._pairs[k]


def box_pose(solid: Solid) -> Floats:
    """(4, 4) pose of an upright box in its parent frame, metres."""
    c, s = np.cos(solid.yaw), np.sin(solid.yaw)
    return rigid_matrix(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)), solid.centre)


def kinematics_of(description: str, planning_frame: str, tip_link: str, moving: Sequence[str]) -> ArmKinematics:
    """Read the arm of a robot description, the path or the text of a URDF; poses are in the frame of a link."""
    model, geometry, name, mimics = _read(description)
    return ArmKinematics(model, geometry, name, planning_frame, tip_link, moving, mimics)


@functools.lru_cache(maxsize=2)
def _read(description: str) -> tuple[Any, Any, str, Mapping[str, tuple[str, float, float]]]:
    """Model, geometry, name and mimic joints of a description; cached."""
    if "<" not in description:
        return _parsed(Path(description).expanduser())
    with tempfile.TemporaryDirectory() as folder:  # Pinocchio's mesh reader only takes a path
        path = Path(folder) / "robot.urdf"
        path.write_text(description, encoding="utf-8")
        try:
            return _parsed(path)
        except FileError as error:
            raise FileError("topic robot_description", error.got, "set robot_description to its file") from error


def _parsed(path: Path) -> tuple[Any, Any, str, Mapping[str, tuple[str, float, float]]]:
    root, file = read_urdf(path)
    model, geometry = model_and_geometry_of(root, file)
    joints = JointTree(root).joints.values()
    return model, geometry, str(model.name), {joint.name: joint.mimics for joint in joints if joint.mimics is not None}
