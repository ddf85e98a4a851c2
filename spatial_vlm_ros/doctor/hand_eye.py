# SPDX-License-Identifier: Apache-2.0
"""Checks a hand-eye calibration without a board: by the table, the arm, and objects seen from two poses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.doctor.findings import Finding, fail, ok
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.geometry.camera import normalised_grid, project, rectify
from spatial_vlm_ros.geometry.hand_eye import PoseSample, twist
from spatial_vlm_ros.geometry.rotation import matrix_from_pose
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.manipulation.planning.robot_model import read_surfaces
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, DepthConfig, Settings
from spatial_vlm_ros.streams.still_poses import DESCRIPTION, StillSampler
from spatial_vlm_ros.types import RgbdFrame, Transform

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Surfaces = Mapping[str, Array]
"""Link → (N, 6) points of its surface and their normals, in the link's frame, metres."""

TABLE, ARM, TWICE = "table", "arm", "seen from two poses"
LIMITS = np.array([5.0, 5.0, 5.0, 1.0, 1.0, 1.0])
"""Millimetres along and degrees about right, down, forward: a calibration that is off by more is wrong."""
LEAST, MOST = 3, 8  # poses; more than LEAST only while something is not measured
NOT_MEASURED = "hand-eye: not measured"
_NAMES = [f"{axis} {{:+.0f}} mm" for axis in ("right", "down", "forward")]
_NAMES += [f"about {axis} {{:+.1f}} degrees" for axis in ("right", "down", "forward")]
_UNITS = np.array([1e3] * 3 + [180 / np.pi] * 3)  # of LIMITS, from metres and radians
_GATES = (0.08, 0.08, 0.06, 0.05, 0.04, *[0.03] * 6)  # metres from a surface within which a point is of it
_NEAREST = 0.05  # metres from the camera
_CELL, _THICK = 4, 0.01  # pixels: of a surface's points in one, only the nearest and those so near (m) to it are seen
_JUMP = 0.015  # metres from pixel to pixel: more is an edge; a wider frame of it leaves no pixels that face sideways
_STEP, _WINDOW = 8, 9  # pixels between used points of table and objects; pixels that give their normals
_FEWEST = 60  # points of a kind
_INDEPENDENT = 40.0  # measurements that all points of a kind from one look are worth: neighbours err together
_FLOOR = 0.0015  # metres: error of a surface's model that more points do not reduce
_ROBUST = 0.006  # metres: residuals above it count less (Huber)
_BEYOND = 1.6  # steps are longer than computed: points that are matched along rays hold back
_SURE = 0.7  # share of LIMITS: what is less sure is not measured
_UNKNOWN = 1e-9  # share of the largest eigenvalue: information below it is rounding
_AGAIN = "calibrate again (spatial-vlm hand-eye); if that agrees with TF, check the depth, --table-height and the URDF"
_MORE = (
    "let the arm stand still at more poses: in view of a camera that stands, the gripper turned so that its sides are "
    "seen; with a camera on the hand, turned by 20 degrees about another axis across its view; give --table-height"
)


class ArmLook(NamedTuple):
    """A frame that was taken while the arm stood still, and poses of camera and links in the base frame."""

    frame: RgbdFrame
    base_T_camera: Transform
    links: Mapping[str, Transform]


class _Looked:
    """What one look offers for comparison, prepared once."""

    def __init__(self, look: ArmLook, surfaces: Surfaces, config: DepthConfig) -> None:
        frame = rectify(look.frame)
        self.camera, self.told = frame.camera, look.base_T_camera.matrix
        z, around = np.nan_to_num(frame.depth, posinf=0.0), np.ones((3, 3), np.uint8)
        measured = z > 0
        nearest = cv2.erode(np.where(measured, z, np.float32(np.inf)), around)
        self._flat = measured & (cv2.dilate(z, around) - nearest < _JUMP)
        self._points = np.dstack([normalised_grid(frame.camera) * z[..., None], z])
        share = np.maximum(cv2.blur(measured.astype(np.float64), (_WINDOW, _WINDOW)), 1e-6)
        smooth, half = cv2.blur(self._points, (_WINDOW, _WINDOW)) / share[..., None], _WINDOW // 2
        across, down = (np.roll(smooth, -half, axis) - np.roll(smooth, half, axis) for axis in (1, 0))
        used = np.zeros_like(self._flat)
        used[_STEP:-_STEP:_STEP, _STEP:-_STEP:_STEP] = True
        used &= self._flat
        self.seen, normals = self._points[used], np.cross(across, down)[used]
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        plane = find_support(frame, (), config, self.told[2, :3])
        on = np.zeros(len(self.seen), np.bool_) if plane is None else np.abs(plane.height(self.seen)) < 2 * _ROBUST
        self.table = self.seen[on]
        placed = ((look.links[name], part) for name, part in surfaces.items())
        parts = [np.hstack([pose.apply(part[:, :3]), part[:, 3:] @ pose.rotation.T]) for pose, part in placed]
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


def _offset(
    looks: Sequence[ArmLook], surfaces: Surfaces, config: DepthConfig, table_height: float | None
) -> tuple[Array, Array, Mapping[str, int]]:
    """Estimate how the camera really stands in its told frame, by the surfaces that all looks should agree with.

    Points are matched with surfaces along the rays of the camera, and their distances from these surfaces are minimised
    (projective point-to-plane registration: Blais and Levine 1995, Chen and Medioni 1992).

    Returns:
        (6,) offsets of the middle of the seen points, with the units and order of LIMITS; their standard deviations,
            infinite for what nothing has measured; what was compared → number of points.
    """
    looked = [_Looked(look, surfaces, config) for look in looks]
    middle = np.median(np.concatenate([each.seen for each in looked]), axis=0)
    about = twist(np.array([*middle, 0.0, 0.0, 0.0]))
    found = np.eye(4)  # told optical frame <- true optical frame
    for gate in _GATES:
        seen, information, gradient = Counter[str](), np.zeros((7, 7)), np.zeros(7)
        for kind, change, away in _compared(looked, found, middle, gate, table_height or 0.0):
            seen[kind] += len(away)
            free = kind == TABLE and table_height is None  # then its height is the seventh unknown
            jacobian = np.hstack([change, np.full((len(away), 1), -1.0 if free else 0.0)])
            off = np.abs(away - np.median(away))
            robust = _ROBUST / np.maximum(off if free else np.abs(away), _ROBUST)
            variance = (1.4826 * np.median(off)) ** 2 + _INDEPENDENT * _FLOOR**2
            weighted = jacobian * (robust * _INDEPENDENT / len(off) / variance)[:, None]
            information += weighted.T @ jacobian
            gradient += weighted.T @ away
        values, vectors = np.linalg.eigh(information)
        known = values > _UNKNOWN * max(values[-1], 1e-12)
        spread = vectors[:, known] / np.sqrt(values[known])
        found = about @ twist(-_BEYOND * (spread @ spread.T @ gradient)[:6]) @ np.linalg.inv(about) @ found
    sigma = np.sqrt((spread[:6] ** 2).sum(axis=1))
    sigma[(vectors[:6, ~known] ** 2).sum(axis=1) > 1e-3] = np.inf
    shift, turn = found[:3, :3] @ middle + found[:3, 3] - middle, cv2.Rodrigues(found[:3, :3])[0][:, 0]
    return np.concatenate([shift, turn]) * _UNITS, sigma * _UNITS, seen


def _compared(
    looked: list[_Looked], found: Array, middle: Array, gate: float, height: float
) -> Iterator[tuple[str, Array, Array]]:
    """Yield kind, change by shift and turn (N, 6), and distance (N,) from a surface of points from one look."""

    def change(each: _Looked, normals: Array, points: Array) -> Array:
        """Change of the heights (N,) of measured points over planes with normals in the base frame, (N, 6)."""
        normals = normals @ each.told[:3, :3]
        return np.hstack([normals, np.cross(points @ found[:3, :3].T + found[:3, 3] - middle, normals)])

    def placed(each: _Looked, points: Array) -> Array:
        pose = each.told @ found
        return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])

    for each in looked:
        up = np.broadcast_to([0.0, 0.0, 1.0], each.table.shape)
        kinds = [(TABLE, change(each, up, each.table), placed(each, each.table)[:, 2] - height)]
        index, points = each.measured(each.robot[:, :3], each.told @ found, gate, solid=True)
        normals = each.robot[index, 3:]
        away = ((placed(each, points) - each.robot[index, :3]) * normals).sum(axis=1)
        kinds.append((ARM, change(each, normals, points), away))
        for other in looked:
            if not np.allclose(each.told, other.told, atol=1e-3):  # else it tells nothing
                base = placed(each, each.seen)
                index, points = other.measured(base, other.told @ found, min(gate, _GATES[-1]), solid=False)
                normals = (each.normals @ (each.told @ found)[:3, :3].T)[index]
                both = change(each, normals, each.seen[index]) - change(other, normals, points)
                kinds.append((TWICE, both, ((base[index] - placed(other, points)) * normals).sum(axis=1)))
        yield from (group for group in kinds if len(group[2]) >= _FEWEST)


def hand_eye_findings(
    looks: Sequence[ArmLook], surfaces: Surfaces, config: DepthConfig, table_height: float | None = None
) -> Iterator[Finding]:
    """Check a hand-eye calibration by frames of a still arm, at least one, without a board.

    Args:
        surfaces: of the robot; empty = the arm is not compared.
        table_height: height of the table in the base frame, metres; None = only that it is level is known.
    """
    offset, sigma, points = _offset(looks, surfaces, config, table_height)
    seen = ", ".join(f"{kind}: {count} points" for kind, count in points.items())
    yield ok("hand-eye: compared", f"{seen or 'nothing'}; in {len(looks)} poses")
    known = sigma < _SURE * LIMITS
    told = ", ".join(name.format(v) for name, v, sure in zip(_NAMES, offset, known, strict=True) if sure)
    if (known & (np.abs(offset) > LIMITS)).any():
        yield fail("hand-eye", f"the camera is not where TF has it: {told}", _AGAIN)
    elif known.any():
        yield ok("hand-eye", f"the camera is where TF has it, within 5 mm and 1 degree: {told}")
    if not known.all():
        unsaid = ", ".join(name.split(" {")[0] for name, sure in zip(_NAMES, known, strict=True) if not sure)
        yield fail(NOT_MEASURED, f"these poses do not show an error {unsaid}", _MORE)


class LookSampler(StillSampler):
    """Takes a look each time the arm stands still at a new pose; the arm's links come from its URDF."""

    def __init__(self, settings: Settings, table_height: float | None) -> None:
        super().__init__(settings.streams, settings.streams.base_frame, (), MOST)
        self._looks: list[ArmLook] = []
        self._found: list[Finding] = []
        self._height, self._depth, self._surfaces = table_height, settings.resolver.depth, dict[str, Array]()
        if settings.streams.robot_description not in ("", DESCRIPTION_TOPIC):
            self._describe(settings.streams.robot_description)

    def _describe(self, urdf: str) -> None:
        self._surfaces = read_surfaces(urdf)
        self.frames = tuple(self._surfaces)
        self._looks.clear()
        self.kept.clear()

    def add(self, role: str, message: Any, now_ns: int) -> bool:
        """Add a message of a role of streams.frame_assembler, or the URDF; returns whether it gave a look."""
        if role == DESCRIPTION and not self._surfaces:
            self._describe(message.data)
        return super().add(role, message, now_ns)

    def done(self) -> bool:
        """Whether everything is measured, or enough poses are used."""
        return len(self.kept) >= LEAST and (super().done() or self._found[-1].check != NOT_MEASURED)

    def use(self, frame: RgbdFrame, poses: dict[str, Transform]) -> str:
        """Take a look."""
        self._looks.append(ArmLook(frame, poses[self.assembler.camera_frame], poses))
        self._found = list(hand_eye_findings(self._looks, self._surfaces, self._depth, self._height))
        self.state = f": {self._found[-1].found}; {self._found[-1].repair}".rstrip("; ")
        return ""

    def findings(self) -> list[Finding]:
        """Findings from the looks, or why there is none."""
        repair = "let the arm stand still for a second; check --base-frame: spatial-vlm doctor"
        return self._found or [fail("hand-eye", self.why_none(), repair)]


# ------------------------------------------------------------------------------------------------ files


_FORMS = "pass samples of MoveIt Calibration (.yaml), or a calibration that easy_handeye2 has saved (.calib)"


def read_hand_eye(path: Path) -> list[PoseSample] | Transform:
    """Read the samples of MoveIt Calibration, or the mount of the camera that easy_handeye2 publishes.

    Forms: moveit_calibration a883ec2, handeye_control_widget.cpp:768-785 and 826-855: a list of maps with
    `effector_wrt_world` and `object_wrt_sensor`, each 16 numbers of a row-major 4x4 matrix. easy_handeye2 b42cae6,
    handeye_calibration.py:41-55 (YAML of HandeyeCalibration.msg); the frames are those of handeye_publisher.py:23-36.
    """
    told = read_yaml(path, _FORMS)
    try:
        if isinstance(told, list):
            keys = ("effector_wrt_world", "object_wrt_sensor")
            pairs = [[np.array(one[key], np.float64).reshape(4, 4) for key in keys] for one in told]
            return [PoseSample(*(Transform("a", "b", matrix).matrix for matrix in pair)) for pair in pairs]
        names, pose = told["parameters"], told["transform"]
        parents = {"eye_in_hand": "robot_effector_frame", "eye_on_base": "robot_base_frame"}
        parts = (("translation", "xyz"), ("rotation", "xyzw"))
        matrix = matrix_from_pose([float(pose[part][axis]) for part, axes in parts for axis in axes])
        return Transform(names[parents[names["calibration_type"]]], names["tracking_base_frame"], matrix)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _FORMS) from error


def mount_texts(mount: Transform) -> tuple[str, str]:
    """A launch file that publishes the mount of a camera, and its joint for the URDF or xacro of the cell."""
    r = mount.rotation
    pitch = math.atan2(-r[2, 0], math.hypot(r[0, 0], r[1, 0]))  # about fixed axes
    roll, yaw = math.atan2(r[2, 1], r[2, 2]), math.atan2(r[1, 0], r[0, 0])
    if math.hypot(r[0, 0], r[1, 0]) < 1e-6:  # straight up or down: roll and yaw turn about one axis
        roll, yaw = math.atan2(-r[1, 2], r[1, 1]), 0.0
    values = [f"{value:.9f}" for value in (*mount.translation, roll, pitch, yaw)]
    words = [f"--{name} {value}" for name, value in zip(("x", "y", "z", "roll", "pitch", "yaw"), values, strict=True)]
    launch = f'''<launch>
  <node pkg="tf2_ros" exec="static_transform_publisher"
        args="{" ".join(words)} --frame-id {mount.parent} --child-frame-id {mount.child}"/>
</launch>
'''
    urdf = f'''<joint name="{mount.child}_mount" type="fixed">
  <parent link="{mount.parent}"/>
  <child link="{mount.child}"/>
  <origin xyz="{" ".join(values[:3])}" rpy="{" ".join(values[3:])}"/>
</joint>
'''
    return launch, urdf
