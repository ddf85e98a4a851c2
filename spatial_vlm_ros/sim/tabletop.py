# SPDX-License-Identifier: Apache-2.0
"""Objects on a table, rendered as a depth camera sees them, with known truth.

There is no physics: bodies stay where they are put. The world frame has z up and its origin at the centre of the table
top; metres and radians.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.sim.shapes import Array, Hits, Shape
from spatial_vlm_ros.types import Detection, Mask, PinholeCamera, RgbdFrame, Transform, Vector3

WORLD = "world"

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (200, 40, 40),
        "green": (50, 150, 60),
        "blue": (45, 80, 190),
        "yellow": (230, 205, 50),
        "orange": (235, 130, 35),
        "purple": (125, 60, 160),
        "pink": (235, 140, 175),
        "brown": (115, 75, 45),
        "white": (238, 238, 235),
        "black": (35, 35, 38),
        "grey": (130, 130, 132),
    }
)
_TABLE_COLOUR, _FLOOR_COLOUR, _SKY_COLOUR = (186, 168, 140), (95, 98, 104), (205, 210, 215)
_LIGHT = np.array([0.35, -0.45, 0.82]) / np.linalg.norm([0.35, -0.45, 0.82])
_AMBIENT = 0.45  # share of ambient light, so that sides turned away keep their colour


# ------------------------------------------------------------------------------------------------ world


@dataclass(frozen=True)
class Body:
    """One object in the world."""

    id: str
    label: str
    shape: Shape
    position: Vector3  # x, y and the height of its base, metres, world frame
    colour: str = "grey"  # a name in COLOURS
    yaw: float = 0.0  # about the world's z, radians

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise InputError(
                f"colour of {self.id!r}", self.colour, "one of " + ", ".join(COLOURS), "choose a known colour"
            )
        if not min(self.shape.size) > 0:
            raise InputError(f"size of {self.id!r}", str(self.shape.size), "sizes above 0, in metres")

    @property
    def size(self) -> Vector3:
        """Extents along its own axes, metres."""
        return self.shape.size

    @property
    def centre(self) -> Vector3:
        """Centre of its tight gravity-up box, metres, world frame."""
        x, y, base = self.position
        return x, y, base + self.size[2] / 2

    @property
    def top(self) -> float:
        """Height of its highest point, metres, world frame: the base height of an object stacked on it."""
        return self.position[2] + self.size[2]

    @property
    def world_R_body(self) -> Array:
        """(3, 3) rotation from its own axes to the world's."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def corners(self) -> Array:
        """(8, 3) corners of its tight gravity-up box, metres, world frame."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return np.array(self.centre) + (signs * self.size / 2) @ self.world_R_body.T

    def hit(self, eye: Array, directions: Array) -> Hits:
        """First intersections of rays from `eye` (3,) along `directions` (N, 3), world frame."""
        R = self.world_R_body
        distances, normals = self.shape.hit((eye - self.position) @ R, directions @ R)
        return distances, normals @ R.T


@dataclass(frozen=True)
class World:
    """Bodies on a table, whose top is at z = 0, its centre at the origin; metres."""

    bodies: tuple[Body, ...]  # in the order of their detections
    table_size: tuple[float, float] = (1.6, 1.2)  # along x and y
    floor: float = -0.75  # height
    max_range: float = 6.0  # largest depth that the camera measures

    def __post_init__(self) -> None:
        ids = [body.id for body in self.bodies]
        if len(set(ids)) != len(ids):
            raise InputError("ids of bodies", ", ".join(ids), "each id once", "number the bodies")

    def __getitem__(self, id_: str) -> Body:
        return {body.id: body for body in self.bodies}[id_]


def look_at(eye: Vector3, target: Vector3, parent: str = WORLD, child: str = "camera_color_optical_frame") -> Transform:
    """Pose of a camera that looks from `eye` to `target`, metres, with a level horizon (z forward, x right, y down).

    Looking straight down, the image's right is the world's x.
    """
    forward = np.subtract(target, eye).astype(np.float64)
    distance = np.linalg.norm(forward)
    if not distance > 1e-9:
        raise InputError("camera target", str(target), "another point than the eye", "move the camera")
    forward /= distance
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    return Transform(parent, child, rigid_matrix(np.stack([right, np.cross(forward, right), forward], axis=1), eye))


# ------------------------------------------------------------------------------------------------ rendering


@dataclass(frozen=True, eq=False)
class Rendering:
    """Output of a perfect camera and a perfect detector: tight boxes, exact masks, the colour as attribute."""

    frame: RgbdFrame
    detections: tuple[Detection, ...]  # of the bodies with a visible pixel, in the world's order
    masks: Mapping[str, Mask]  # (H, W) of visible pixels, of invisible bodies too
    visible_fraction: Mapping[str, float]  # of its pixels in the image without other bodies


def render(world: World, camera: PinholeCamera, base_T_camera: Transform, stamp_ns: int = 0) -> Rendering:
    """Render a world by casting a ray through every pixel centre: exact depth along optical z, NaN beyond the range."""
    eye = base_T_camera.translation
    directions, distance, image = _without_bodies(
        camera, tuple(base_T_camera.matrix.flat), world.table_size, world.floor
    )
    distance, owner, colours = distance.copy(), np.full(distance.shape, -1, np.int32), np.empty_like(directions)
    alone: dict[str, int] = {}
    for number, body in enumerate(world.bodies):
        # Rows and columns that may show the body: all of them if that is not easy to tell.
        window = slice(0, camera.height), slice(0, camera.width)
        pixels = project(camera, base_T_camera.inverse().apply(body.corners()))
        if camera.is_rectified and np.isfinite(pixels).all():
            low, high = np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0)) + 1
            u, v = np.clip((low, high), 0, (camera.width, camera.height)).astype(int).T.tolist()
            window = slice(*v), slice(*u)
        away, normals = body.hit(eye, directions[window].reshape(-1, 3))
        alone[body.id] = int(np.isfinite(away).sum())
        away = away.reshape(distance[window].shape)
        nearer = away < distance[window]
        distance[window][nearer], owner[window][nearer] = away[nearer], number
        colours[window][nearer] = _light(normals).reshape(away.shape)[nearer][:, None] * COLOURS[body.colour]
    masks = {body.id: owner == number for number, body in enumerate(world.bodies)}
    seen = {id_: int(mask.sum()) for id_, mask in masks.items()}
    shown, image = owner >= 0, image.copy()
    image[shown] = _textured(colours[shown], eye + distance[shown][:, None] * directions[shown])
    depth = np.where(distance <= world.max_range, distance, np.nan).astype(np.float32)
    return Rendering(
        RgbdFrame(image, depth, camera, stamp_ns, base_T_camera.child, base_T_camera, domain="simulated"),
        tuple(
            Detection(body.id, body.label, 1.0, box_around(masks[body.id]), masks[body.id], (body.colour,))
            for body in world.bodies
            if seen[body.id]
        ),
        MappingProxyType(masks),
        MappingProxyType({id_: seen[id_] / max(alone[id_], 1) for id_ in seen}),
    )


@functools.lru_cache(maxsize=4)
def _without_bodies(
    camera: PinholeCamera, pose: tuple[float, ...], table_size: tuple[float, float], floor: float
) -> tuple[Array, Array, npt.NDArray[np.uint8]]:
    """Rays of all pixels (H, W, 3), world frame, and what they show without bodies: depth (m), inf = none; RGB."""
    grid, world_T_camera = normalised_grid(camera), np.array(pose).reshape(4, 4)
    directions = np.concatenate([grid, np.ones((*grid.shape[:2], 1))], axis=2) @ world_T_camera[:3, :3].T
    eye, (x, y, down) = world_T_camera[:3, 3], np.moveaxis(directions, 2, 0)
    distance, image = np.full(grid.shape[:2], np.inf), np.tile(np.array(_SKY_COLOUR, np.uint8), (*grid.shape[:2], 1))
    for z, (length, width), colour in ((floor, (np.inf, np.inf), _FLOOR_COLOUR), (0.0, table_size, _TABLE_COLOUR)):
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (z - eye[2]) / down
            hit = (down < 0) & (away > 0) & (away < distance)
            hit &= (np.abs(eye[0] + away * x) <= length / 2) & (np.abs(eye[1] + away * y) <= width / 2)
        distance[hit] = away[hit]
        points = eye + away[hit][:, None] * directions[hit]
        image[hit] = _textured(np.array(colour) * _light(np.array([0.0, 0.0, 1.0])), points)
    for kept in (directions, distance, image):
        kept.setflags(write=False)
    return directions, distance, image


def _light(normals: Array) -> Array:
    """Lambert's law with one light and no shadows: (...) brightness of surfaces with normals (..., 3)."""
    return _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ _LIGHT, 0.0, 1.0)


def _textured(colours: Array, points: Array) -> npt.NDArray[np.uint8]:
    """Colours of surface points (N, 3) under a faint pattern fixed to the surfaces."""
    pattern = 1 + 0.03 * (np.sin(points @ (90.0, 35.0, 60.0)) + np.sin(points @ (-20.0, 110.0, 75.0)))
    return as_bytes(colours * pattern[:, None])


def as_bytes(values: Array) -> npt.NDArray[np.uint8]:
    """Round colour values and clip them to 0 to 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
