# SPDX-License-Identifier: Apache-2.0
"""Scenes put together by hand: bodies at stated places, so that every margin can be reckoned by pencil."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from judges import Asked

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    OrientedBox,
    PinholeCamera,
    Plane,
    RgbdFrame,
    Scene,
    SceneObject,
    Transform,
    UpSource,
)

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering

RELATION = RelationConfig(
    cone_deg=45.0,
    contact=0.015,
    next_to_sizes=1.0,
    near_sizes=2.5,
    far_sizes=4.0,
    min_reach=0.05,
    straight_down_deg=75.0,
)
"""The limits that the margins were reckoned with; not the defaults, which may change."""


@dataclasses.dataclass(frozen=True)
class Object:
    """An upright block.

    Args:
        ahead: metres along the ground from the camera's foot to its centre.
        right: metres to the right of the camera's foot.
        size: metres along, across and up.
        base: metres above the ground.
        label: of its detection.
    """

    ahead: float
    right: float
    size: tuple[float, float, float] = (0.06, 0.06, 0.06)
    base: float = 0.0
    label: str = "block"


@dataclasses.dataclass(frozen=True)
class Ground:
    """A level table seen by a camera 0.6 m above it."""

    height: float = 0.6

    def scene(
        self, objects: Sequence[Object], pitch_deg: float = 35.0, base_T_camera: Transform | None = None
    ) -> Scene:
        p = np.radians(pitch_deg)
        # Rows of the ground axes (ahead, right, up) in the camera frame (x right, y down, z forward).
        ahead, right, up = (0, -np.sin(p), np.cos(p)), (1, 0, 0), (0, -np.cos(p), -np.sin(p))
        camera_R_ground = np.array([ahead, right, up], np.float64).T
        camera = PinholeCamera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]), 640, 480)
        frame = RgbdFrame(
            np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32), camera, base_T_camera=base_T_camera
        )
        lifted = tuple(self._object(f"t{n}", obj, camera_R_ground) for n, obj in enumerate(objects))
        return Scene(
            lifted, camera_R_ground[:, 2], UpSource.TF, Plane(camera_R_ground[:, 2], self.height, 0.001), frame
        )

    def _object(self, id_: str, obj: Object, camera_R_ground: np.ndarray) -> SceneObject:
        length, width, height = obj.size
        centre = np.array([obj.ahead, obj.right, obj.base + height / 2 - self.height])
        angles = 2 * np.pi * np.arange(16) / 16
        sides = np.stack(
            (np.sign(np.cos(angles + 0.1)) * length / 2, np.sign(np.sin(angles + 0.1)) * width / 2, 0 * angles), 1
        )
        corners = sides[np.sort(np.unique(sides, axis=0, return_index=True)[1])]
        footprint = centre + corners[np.arange(16) // 4]
        axes = camera_R_ground.copy()
        if length < width:
            axes[:, :2] = axes[:, 1::-1]
        axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
        size = np.array([max(length, width), min(length, width), height])
        place = camera_R_ground @ centre
        return SceneObject(
            detection=Detection(id_, obj.label, 1.0, (10.0, 10.0, 60.0, 60.0)),
            points=np.tile(place, (50, 1)).astype(np.float32),
            surface_centre=place,
            box=OrientedBox(place, axes, size),
            footprint=footprint @ camera_R_ground.T,
            covariance=np.eye(6) * 1e-6,
        )

    def layout(self, objects: Sequence[Object], **view: object) -> Layout:
        return lay_out(self.scene(objects, **view), DepthConfig(), RELATION)  # type: ignore[arg-type]

    def margin(self, relation: str, target: Object, anchor: Object, frame: FrameOfReference = FrameOfReference.VIEWER,
               **view: object) -> float:  # fmt: skip
        """Signed margin of one relation between two objects, metres."""
        layout = self.layout((target, anchor), **view)
        pairs = Pairs(layout, layout.viewpoint(frame), np.array([0]), np.array([1]))
        return float(RELATIONS[relation](pairs)[0][0, 0])

    def looking_from(self, ahead: float, right: float, turned_deg: float, pitch_deg: float = 35.0) -> Transform:
        """base_T_camera of a robot that stands at a place on the ground, turned from "ahead" to the right."""
        p, t = np.radians(pitch_deg), np.radians(turned_deg)
        camera_R_ground = np.array([(0, -np.sin(p), np.cos(p)), (1, 0, 0), (0, -np.cos(p), -np.sin(p))]).T
        x = np.array([np.cos(t), np.sin(t), 0.0])
        base_axes = camera_R_ground @ np.stack((x, np.array([np.sin(t), -np.cos(t), 0.0]), (0, 0, 1)), axis=1)
        matrix = np.eye(4)
        matrix[:3, :3] = base_axes.T
        matrix[:3, 3] = -base_axes.T @ (camera_R_ground @ np.array([ahead, right, -self.height]))
        return Transform("base", "camera_color_optical_frame", matrix)


@pytest.fixture(scope="session")
def ground() -> Ground:
    return Ground()


@pytest.fixture(scope="session")
def obj() -> Callable[..., Object]:
    return Object


# ------------------------------------------------------------------------------------------------ judges of relations


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture(scope="session")
def two_sides(tabletop: Tabletop) -> Rendering:
    """Cans "near" and "far" 20 cm before and behind a cup."""
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2))


@pytest.fixture(scope="session")
def unclear(tabletop: Tabletop) -> Rendering:
    """Of two cans one is a hair left of the cup, the other far to the right."""
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("hair", -0.004, 0.2), tabletop.can("right", 0.2, 0))
