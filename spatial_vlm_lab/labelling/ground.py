# SPDX-License-Identifier: Apache-2.0
"""Data for a drawing of a scene from above, in which a person points: outlines and heights in base, metres.

If the camera's pose in base is not known, the axes are the camera's: x right, y ahead, z against gravity. Places cannot
be written then, because their region is in base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Pose, Scene, Transform

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroundObject:
    """One object from above.

    Args:
        outline: (K, 2) corners, metres.
        bottom: height of the bottom, metres.
        top: height of the top, metres.
    """

    id: str
    outline: _Floats
    bottom: float
    top: float


@dataclass(frozen=True, eq=False)
class Ground:
    """All objects of a scene from above.

    Args:
        camera: (2,) position of the camera, metres.
        ahead: (2,) unit viewing direction.
        frame_id: frame of the coordinates; None for the camera's own axes.
        pose: (4, 4) transform from the camera's frame to these coordinates, metres.
        camera_frame: name of the camera's frame.
    """

    objects: tuple[GroundObject, ...]
    camera: _Floats
    ahead: _Floats
    frame_id: str | None
    pose: _Floats
    camera_frame: str

    def object(self, id_: str) -> GroundObject | None:
        """An object by the id of its detection."""
        return next((one for one in self.objects if one.id == id_), None)

    def in_base(self, pose: Pose) -> _Floats | None:
        """Position of a pose in base, (3,) metres; None if not known or in another frame."""
        point = np.asarray(pose.position, np.float64)
        if self.frame_id is None or pose.frame_id not in (self.frame_id, self.camera_frame):
            return None
        return point if pose.frame_id == self.frame_id else self.pose[:3, :3] @ point + self.pose[:3, 3]

    def json(self) -> dict[str, Any]:
        """JSON for the page."""
        return {
            "frame_id": self.frame_id,
            "camera": _rounded(self.camera),
            "ahead": _rounded(self.ahead),
            "objects": [
                {"id": one.id, "outline": [_rounded(corner) for corner in one.outline], "bottom": round(one.bottom, 4),
                 "top": round(one.top, 4)}
                for one in self.objects
            ],
        }  # fmt: skip


def ground_of(scene: Scene, base_T_camera: Transform | None) -> Ground:
    """A scene from above.

    Args:
        scene: in the camera frame.
        base_T_camera: the camera's pose; its parent has z up. None = it is not known.
    """
    pose = _level(scene) if base_T_camera is None else np.asarray(base_T_camera.matrix, np.float64)
    objects = []
    for one in scene.objects:
        if one.depth_problem is not None or not len(one.footprint):
            continue
        outline = one.footprint @ pose[:3, :3].T + pose[:3, 3]
        middle = pose[:3, :3] @ one.box.centre + pose[:3, 3]
        half = float(one.box.size[2]) / 2
        objects.append(GroundObject(one.id, outline[:, :2], float(middle[2]) - half, float(middle[2]) + half))
    return Ground(
        tuple(objects),
        pose[:2, 3],
        _unit(pose[:2, 2]) if np.hypot(*pose[:2, 2]) > 1e-6 else _unit(-pose[:2, 1]),
        None if base_T_camera is None else base_T_camera.parent,
        pose,
        scene.frame.frame_id,
    )


def _level(scene: Scene) -> _Floats:
    """Axes of the camera made level: x right, y ahead, z up, its origin the camera's."""
    up = np.asarray(scene.up, np.float64)
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 1e-6:  # it looks straight down: ahead is up in the image
        ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up
    ahead /= np.linalg.norm(ahead)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(ahead, up), ahead, up])
    return pose


def _unit(vector: _Floats) -> _Floats:
    return np.asarray(vector / np.linalg.norm(vector))


def _rounded(point: _Floats) -> list[float]:
    return [round(float(value), 4) for value in point]
