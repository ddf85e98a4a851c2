# SPDX-License-Identifier: Apache-2.0
"""Checks a hand-eye calibration without a board: by the table, the arm, and objects seen from two poses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.doctor.findings import Finding, fail, ok, warn
from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.geometry.camera import normalised_grid, project, rectify
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import DepthConfig, Settings
from spatial_vlm_ros.recording.bags.reader import open_bag
from spatial_vlm_ros.recording.bags.topics import choose_roles
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler
from spatial_vlm_ros.streams.still_poses import StillPoses
from spatial_vlm_ros.types import RgbdFrame, Transform

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Surfaces = Mapping[str, Array]
"""Link → (N, 6) points of its surface and their normals, in the link's frame, metres."""

TABLE, ARM, TWICE = "table", "arm", "seen from two poses"
MOST_SHIFT, MOST_TURN = 0.005, 1.0
"""A calibration that is off by more, in metres or degrees, is wrong."""
MOST_LOOKS = 5
_AXES = ("right", "down", "forward")
_GATES = (0.08, 0.08, 0.06, 0.05, 0.04, 0.03, 0.03, 0.03)  # metres from a surface within which a point is of it
_NEAREST = 0.05  # metres from the camera
_CELL = 4  # pixels: of a surface's points in one cell, only the nearest are seen
_THICK = 0.01  # metres behind the nearest point within which a point of a cell is seen, too
_JUMP, _WINDOW = 0.015, 9  # metres: depth around a used pixel varies by no more; pixels that give its normal
_AROUND = np.ones((5, 5), np.uint8)
_STEP = 8  # pixels between used points of table and objects
_FEWEST = 60  # points of a kind
_INDEPENDENT = 40.0  # measurements that all points of a kind from one look are worth: neighbours err together
_FLOOR = 0.0015  # metres: error of a surface's model that more points do not reduce
_ROBUST = 0.006  # metres: residuals above it count less (Huber)
_UNKNOWN = 1e-9  # share of the largest eigenvalue: information below it is rounding
_NO_TABLE = "no table is in view"
_ONE_POSE = "nothing was seen from two poses of a camera on the hand"


@dataclass(frozen=True, eq=False)
class ArmLook:
    """A frame with `base_T_camera`, taken while the arm stood still, and the links' poses in the base frame."""

    frame: RgbdFrame
    links: Mapping[str, Transform]


@dataclass(frozen=True, eq=False)
class HandEyeOffset:
    """How the camera really stands in its told frame, which has x right, y down, z forward.

    Args:
        shift: (3,) metres, of the points it sees.
        turn: (3,) degrees, about the middle of these points.
        sigma: (6,) standard deviations of shift and turn; infinite for what nothing has measured.
        seen: what was compared → number of points.
    """

    shift: Array
    turn: Array
    sigma: Array
    seen: Mapping[str, int]


class _Looked:
    """What one look offers for comparison, prepared once."""

    def __init__(self, look: ArmLook, surfaces: Surfaces, config: DepthConfig) -> None:
        frame = rectify(look.frame)
        if frame.base_T_camera is None:
            raise InputError("frame", "no pose of the camera", "base_T_camera", "set --base-frame")
        self.camera, self.told = frame.camera, frame.base_T_camera.matrix
        measured = np.isfinite(frame.depth) & (frame.depth > 0)
        z = np.where(measured, frame.depth, np.float32(0.0))
        nearest = cv2.erode(np.where(measured, z, np.float32(np.inf)), _AROUND)
        self._flat = measured & (cv2.dilate(z, _AROUND) - nearest < _JUMP)
        self._points = np.dstack([normalised_grid(frame.camera) * z[..., None], z])
        share = np.maximum(cv2.blur(measured.astype(np.float64), (_WINDOW, _WINDOW)), 1e-6)
        smooth, half = cv2.blur(self._points, (_WINDOW, _WINDOW)) / share[..., None], _WINDOW // 2
        across, down = (np.roll(smooth, -half, axis) - np.roll(smooth, half, axis) for axis in (1, 0))
        normals = np.cross(across, down)
        used = np.zeros_like(self._flat)
        used[_STEP:-_STEP:_STEP, _STEP:-_STEP:_STEP] = True
        used &= self._flat
        self.seen = self._points[used]
        lengths = np.linalg.norm(normals[used], axis=1, keepdims=True)
        self.normals = normals[used] / np.maximum(lengths, 1e-12)
        plane = find_support(frame, (), config, self.told[2, :3])
        on = np.zeros(len(self.seen), np.bool_) if plane is None else np.abs(plane.height(self.seen)) < 2 * _ROBUST
        self.table = self.seen[on]
        parts = [
            np.hstack([part[:, :3] @ pose[:3, :3].T + pose[:3, 3], part[:, 3:] @ pose[:3, :3].T])
            for part, pose in ((part, look.links[name].matrix) for name, part in surfaces.items() if name in look.links)
        ]
        self.robot = np.concatenate(parts or [np.zeros((0, 6))])  # points and normals in the base frame

    def measured(self, base: Array, base_T_camera: Array, gate: float, solid: bool) -> tuple[Indices, Array]:
        """Which of some points (N, 3) in the base frame are seen, and what was measured in their pixels, (M, 3).

        Args:
            gate: metres that a measured point may be away.
            solid: whether points hide points behind them.
        """
        local = (base - base_T_camera[:3, 3]) @ base_T_camera[:3, :3]
        u, v = np.nan_to_num(project(self.camera, local), nan=-1.0).round().astype(np.intp).T
        height, width = self._flat.shape
        index = np.flatnonzero((local[:, 2] > _NEAREST) & (u >= 0) & (v >= 0) & (u < width) & (v < height))
        if solid and len(index):
            cell = v[index] // _CELL * width + u[index] // _CELL
            front = np.full(int(cell.max()) + 1, np.inf)
            np.minimum.at(front, cell, local[index, 2])
            index = index[local[index, 2] < front[cell] + _THICK]
        points = self._points[v[index], u[index]]
        near = self._flat[v[index], u[index]] & (np.linalg.norm(points - local[index], axis=1) < gate)
        return index[near], points[near]


@dataclass(frozen=True, eq=False)
class _Group:
    """Points of one kind from one look: how their distances from a surface change with shift and turn, and these."""

    kind: str
    jacobian: Array
    away: Array


def measured_offset(
    looks: Sequence[ArmLook], surfaces: Surfaces, config: DepthConfig, table_height: float | None
) -> HandEyeOffset:
    """Estimate the error of `base_T_camera` by the surfaces that all looks should agree with.

    Points are matched with surfaces along the rays of the camera, and their distances from these surfaces are minimised
    (projective point-to-plane registration: Blais and Levine 1995, Chen and Medioni 1992).

    Args:
        table_height: height of the table in the base frame, metres; None = only that it is level is known.

    Raises:
        InputError: there is no look, or a frame has no pose of the camera.
    """
    if not looks:
        raise InputError("looks", "none", "one frame of a still arm, or more", "let the arm stand still in view")
    all_looked = [_Looked(look, surfaces, config) for look in looks]
    middle = np.median(np.concatenate([each.seen for each in all_looked]), axis=0)
    found = np.eye(4)  # told optical frame <- true optical frame
    for gate in _GATES:
        groups = list(_groups(all_looked, found, middle, gate, table_height or 0.0))
        information, gradient = np.zeros((7, 7)), np.zeros(7)
        for group in groups:
            free = group.kind == TABLE and table_height is None  # then its height is the seventh unknown
            jacobian = np.hstack([group.jacobian, np.full((len(group.away), 1), -1.0 if free else 0.0)])
            off = np.abs(group.away - np.median(group.away))
            robust = _ROBUST / np.maximum(off if free else np.abs(group.away), _ROBUST)
            variance = (1.4826 * np.median(off)) ** 2 + _INDEPENDENT * _FLOOR**2
            weighted = jacobian * (robust * _INDEPENDENT / len(off) / variance)[:, None]
            information += weighted.T @ jacobian
            gradient += weighted.T @ group.away
        step = -np.linalg.pinv(information, rcond=_UNKNOWN, hermitian=True) @ gradient
        turn = cv2.Rodrigues(step[3:6])[0]
        found = rigid_matrix(turn, step[:3] + middle - turn @ middle) @ found
    values, vectors = np.linalg.eigh(information)
    known = values > _UNKNOWN * max(values[-1], 1e-12)
    variances = (vectors[:6, known] ** 2 / values[known]).sum(axis=1)
    variances[(vectors[:6, ~known] ** 2).sum(axis=1) > 1e-3] = np.inf
    sigma = np.sqrt(variances)
    turned = np.degrees(cv2.Rodrigues(found[:3, :3])[0][:, 0])
    counts = Counter[str]()
    for group in groups:
        counts[group.kind] += len(group.away)
    shift = found[:3, :3] @ middle + found[:3, 3] - middle
    return HandEyeOffset(shift, turned, np.concatenate([sigma[:3], np.degrees(sigma[3:])]), counts)


def _groups(looked: list[_Looked], found: Array, middle: Array, gate: float, height: float) -> Iterator[_Group]:
    moves = any(not np.allclose(each.told, looked[0].told, atol=1e-3) for each in looked)

    def change(each: _Looked, normals: Array, points: Array) -> Array:
        """Change of the heights (N,) of measured points over planes with normals in the base frame, (N, 6)."""
        normals = normals @ each.told[:3, :3]
        return np.hstack([normals, np.cross(points @ found[:3, :3].T + found[:3, 3] - middle, normals)])

    def placed(each: _Looked, points: Array) -> Array:
        pose = each.told @ found
        return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])

    for each in looked:
        kinds: list[_Group] = []
        up = np.broadcast_to([0.0, 0.0, 1.0], each.table.shape)
        kinds.append(_Group(TABLE, change(each, up, each.table), placed(each, each.table)[:, 2] - height))
        index, points = each.measured(each.robot[:, :3], each.told @ found, gate, solid=True)
        normals = each.robot[index, 3:]
        away = ((placed(each, points) - each.robot[index, :3]) * normals).sum(axis=1)
        kinds.append(_Group(ARM, change(each, normals, points), away))
        for other in looked if moves else ():
            if other is not each:
                base = placed(each, each.seen)
                index, points = other.measured(base, other.told @ found, min(gate, _GATES[-1]), solid=False)
                normals = (each.normals @ (each.told @ found)[:3, :3].T)[index]
                both = change(each, normals, each.seen[index]) - change(other, normals, points)
                away = ((base[index] - placed(other, points)) * normals).sum(axis=1)
                kinds.append(_Group(TWICE, both, away))
        yield from (group for group in kinds if len(group.away) >= _FEWEST)


def hand_eye_findings(
    looks: Sequence[ArmLook], surfaces: Surfaces, config: DepthConfig, table_height: float | None = None
) -> Iterator[Finding]:
    """Check a hand-eye calibration by frames of an arm that stood still, without a board.

    Args:
        surfaces: of the robot; empty = the arm is not compared.
        table_height: height of the table in the base frame, metres; None = not known.
    """
    check = "hand-eye"
    if not looks:
        repair = "let the arm stand still for a second in view of the camera; move it, and do so again"
        yield fail(check, "no frame of an arm that stands still", repair)
        return
    offset = measured_offset(looks, surfaces, config, table_height)
    lacks = {
        TABLE: (_NO_TABLE, "point the camera at the table"),
        ARM: ("the arm is not in view, or its URDF is not known", "move the gripper into view, and publish the URDF"),
        TWICE: (_ONE_POSE, "turn the hand by 20 degrees between two poses, about both axes across the view"),
    }
    for kind, (lack, repair) in lacks.items():
        if offset.seen.get(kind):
            yield ok(f"{check}: {kind}", f"{offset.seen[kind]} points in {len(looks)} poses")
        elif kind != TWICE or not offset.seen.get(ARM):
            yield warn(f"{check}: {kind}", lack, repair)
    values = np.concatenate([offset.shift * 1e3, offset.turn])
    sigmas = offset.sigma * np.array([1e3] * 3 + [1.0] * 3)
    limits = np.repeat([MOST_SHIFT * 1e3, MOST_TURN], 3)
    names = [f"{axis} {{:+.0f}} mm" for axis in _AXES] + [f"about {axis} {{:+.1f}} degrees" for axis in _AXES]
    known = sigmas < limits
    wrong = known & (np.abs(values) > limits)
    text = ", ".join(name.format(value) for name, value, holds in zip(names, values, known, strict=True) if holds)
    if wrong.any():
        repair = (
            "calibrate again (spatial-vlm hand-eye); if that agrees with TF, check the depth, --table-height and the "
            "robot's URDF"
        )
        yield fail(check, f"the camera is not where TF has it: {text}", repair)
    elif known.any():
        yield ok(check, f"the camera is where TF has it, within 5 mm and 1 degree: {text}")
    if not known.all():
        unsaid = ", ".join(name.split(" {")[0] for name, holds in zip(names, known, strict=True) if not holds)
        repair = "add poses: the gripper in view, or with a camera on the hand, turned by 20 degrees; --table-height"
        yield warn(check, f"not measured: {unsaid}", repair)


class LookSampler:
    """Takes a look each time the arm stands still at a new pose.

    Args:
        surfaces: of the robot, by link; with none, the camera tells whether the arm stands.
    """

    def __init__(self, settings: Settings, surfaces: Surfaces) -> None:
        self.looks: list[ArmLook] = []
        self.why_not = ""
        self._links = tuple(surfaces)
        config = replace(settings.streams, robot_description="")
        self._assembler, self._base = FrameAssembler(config, with_detections=False), config.base_frame
        self._still: StillPoses | None = None

    def add(self, role: str, message: Any, now_ns: int) -> bool:
        """Add a message of a role of streams.frame_assembler; returns whether it gave a look."""
        self._assembler.add(role, message, now_ns)
        try:
            pending = self._assembler.take(0, now_ns)
            if pending is None:
                return False
            if self._still is None:
                frames = self._links or (self._assembler.camera_frame,)
                self._still = StillPoses(self._assembler.transforms, self._base, frames)
            poses = self._still.at(pending.stamp_ns)
            if poses is None:
                return False
            self.looks.append(ArmLook(pending.decode()[0], poses))
        except SpatialVlmError as error:
            self.why_not = str(error)
            return False
        self._still.keep(poses)
        return True


def examine_bag_looks(path: Path, settings: Settings, surfaces: Surfaces, table_height: float | None) -> list[Finding]:
    """Check the hand-eye calibration of a bag."""
    sampler = LookSampler(settings, surfaces)
    with open_bag(path) as bag:
        names = choose_roles(bag.contents, settings.streams, with_detections=False)
        role_of = {topic: role for role, topic in names.items()}
        for message in bag.messages(list(role_of)):
            sampler.add(role_of[message.topic], message.decode(), message.log_ns)
    return sampled_findings(sampler, surfaces, settings, table_height)


def sampled_findings(
    sampler: LookSampler, surfaces: Surfaces, settings: Settings, table_height: float | None
) -> list[Finding]:
    """Findings from the looks of a sampler, and why it has none."""
    found = list(hand_eye_findings(sampler.looks[:MOST_LOOKS], surfaces, settings.resolver.depth, table_height))
    if not sampler.looks and sampler.why_not:
        found.append(fail("hand-eye", sampler.why_not, "set --base-frame and check TF: spatial-vlm doctor"))
    return found
