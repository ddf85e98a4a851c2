# SPDX-License-Identifier: Apache-2.0
"""Planning scenes made from numbers, and a judge of gripper paths that shares no code with the package."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.parameters import GripperConfig, PlanningConfig, planning_from
from spatial_vlm_ros.types import PinholeCamera, Place, Pose, Resolution, Status, Target

Array = npt.NDArray[np.float64]
TABLE = PlanningObject("support", "support", Solid((0.0, 0.0, -0.025), 0.0, (2.0, 2.0, 0.05)))
NO_VOXELS = voxels_at(np.zeros((0, 3), np.int32), 0.01)
CLEAR = Occupancy(NO_VOXELS, NO_VOXELS, 1.0)  # the way is seen, and nothing without a name is in it
NOW = 2_000_000_000
CHICK = SurroundingObject("c1", "chick", Solid((0.45, 0.0, 0.03), 0.3, (0.05, 0.04, 0.06)), (0.001, 0.001, 0.001))
CUP = SurroundingObject("u1", "cup", Solid((0.3, 0.2, 0.05), 0.0, (0.07, 0.07, 0.1)), (0.001, 0.001, 0.001))
SEEN = Surroundings(
    frame_id="base", stamp_ns=NOW, camera=Pose("base", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0)), camera_frame="camera",
    target=CHICK, yaw_known=True, truncated=False, outline=((0.43, -0.02), (0.47, -0.02), (0.47, 0.02), (0.43, 0.02)),
    others=(CUP,), unplaced=(), support_height=0.0, support_tilt=0.0, destination_id=None, all_objects=True,
    occupancy=CLEAR,
)  # fmt: skip
WIDE = GripperConfig(opening_max=0.12)  # of the Franka Hand's form, for objects as wide as chicks


def fingers_down(x: float, y: float, z: float, yaw: float = 0.0) -> Array:
    """base_T_tip; the fingers open along y where yaw is 0."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, s, 0, x], [s, -c, 0, y], [0, 0, -1, z], [0, 0, 0, 1]])


def box(
    id_: str, x: float, y: float, size: tuple[float, float, float], yaw: float = 0.0, bottom: float = 0.0
) -> PlanningObject:
    return PlanningObject(id_, id_, Solid((x, y, bottom + size[2] / 2), yaw, size))


def table_with(target: PlanningObject, *neighbours: PlanningObject, **changed: Any) -> PlanningScene:
    """A target whose heading is known and neighbours on a table; `changed` are other fields of the scene."""
    made = PlanningScene("base_link", 1_000, target, True, False, (TABLE,), neighbours, (), ("support",), ())
    return dataclasses.replace(made, **changed)


def config(**groups: dict[str, object]) -> PlanningConfig:
    return planning_from(groups)


def placed(
    target: PlanningObject, *spots: Any, supporting: str = "support", rim: Any = None, frame: str = "base_link"
) -> Resolution:
    """A resolution with places (x, y, z, yaw), in a container if `rim` is given."""

    def at(place: Any, yaw: float) -> Pose:
        return Pose(frame, place, (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))

    places = tuple(Place(at(spot[:3], spot[3]), "support", supporting, rim_m=rim) for spot in spots)
    solid = target.solid
    pose = at(solid.centre, solid.yaw)
    found = Target(target.id, target.label, pose, solid.centre, solid.size, (0.0,) * 36, True, None)  # type: ignore[arg-type]
    return Resolution("put it there", Status.OK, "", target=found, place=places[0], places=places, stamp_ns=1_000)


def depth_of_boxes(boxes: Iterable[tuple[Any, Any]], camera: PinholeCamera, base_T_camera: Array) -> Array:
    """(H, W) metres, by rays, of the table z = 0 and of upright boxes, by their least and greatest corners."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    (fx, _, cx), (_, fy, cy), _ = camera.K
    eye = base_T_camera[:3, 3]
    ways = np.stack(((u - cx) / fx, (v - cy) / fy, np.ones_like(u)), axis=-1) @ base_T_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        table = -eye[2] / ways[..., 2]
        best = np.where(table > 0, table, np.inf)
        for low, high in boxes:
            a, b = (np.array(low) - eye) / ways, (np.array(high) - eye) / ways
            enter, leave = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
            best = np.where((enter <= leave) & (enter > 0), np.minimum(best, enter), best)
    return best


def gripper_points(gripper: GripperConfig, opening: float, n: int = 6) -> Array:
    """(K, 3) points that fill palm and fingers, tip frame."""
    end = gripper.finger_beyond
    face = end - gripper.finger_length
    half = gripper.palm_thickness / 2, gripper.palm_width / 2
    parts = [_filled((-half[0], -half[1], face - gripper.palm_depth), (*half, face), n)]
    for sign in (-1, 1):
        inner, outer = sorted((sign * opening / 2, sign * (opening / 2 + gripper.finger_thickness)))
        x = gripper.finger_width / 2
        parts.append(_filled((-x, inner, face), (x, outer, end), n))
    return np.concatenate(parts)


def _filled(low: Sequence[float], high: Sequence[float], n: int) -> Array:
    axes = [np.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def path(points: Array, *poses: Pose, steps: int = 8) -> Iterator[Array]:
    """The points in the planning frame on the straight ways from pose to pose, which do not turn."""
    for start, end in itertools.pairwise(poses):
        assert start.orientation == end.orientation
        turn = Rotation.from_quat(start.orientation).as_matrix()
        for t in np.linspace(0, 1, steps):
            yield points @ turn.T + (1 - t) * np.array(start.position) + t * np.array(end.position)


def inside(points: Array, solid: Solid, shrink: float = 0.0) -> npt.NDArray[np.bool_]:
    """Which points lie in a box made smaller by `shrink` on every side."""
    turn = Rotation.from_euler("z", solid.yaw).as_matrix()
    local = np.abs((points - solid.centre) @ turn)
    return np.asarray((local < np.array(solid.size) / 2 - shrink).all(axis=1))


def tip_axes(pose: Pose) -> Array:
    return Rotation.from_quat(pose.orientation).as_matrix()
