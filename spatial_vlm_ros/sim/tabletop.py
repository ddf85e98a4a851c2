# SPDX-License-Identifier: Apache-2.0
"""Objects on a table, rendered as a depth camera sees them, with known truth.

There is no physics: bodies stay where they are put. The world frame has z up and its origin at the centre of the table
top; metres and radians.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.sim.meshes import Colour
from spatial_vlm_ros.types import Detection, Mask, PinholeCamera, RgbdFrame, Transform, Vector3

Array = npt.NDArray[np.float64]
Hits = tuple[Array, Array]  # distances (N,) in units of the ray's direction, infinite for no hit; unit normals (N, 3)


@dataclass(frozen=True)
class Box:
    """A block of size (x, y, z), metres, standing on its base."""

    size: Vector3

    def hit(self, origin: Array, directions: Array) -> Hits:
        """First intersections with rays (N, 3) of any length, in the shape's frame (origin in its base, z up).

        Source: slab method, Kay and Kajiya 1986.
        """
        low, high = np.array([-self.size[0] / 2, -self.size[1] / 2, 0.0]), np.array(self.size) * (0.5, 0.5, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (low - origin) / directions, (high - origin) / directions
        enter, leave = np.fmin(a, b), np.fmax(a, b).min(axis=1)  # (N, 3), (N,)
        axis = enter.argmax(axis=1)
        distance = enter.max(axis=1)
        normals = -np.sign(directions) * (np.arange(3) == axis[:, None])
        return np.where((distance > 0) & (distance <= leave), distance, np.inf), normals


@dataclass(frozen=True)
class Cylinder:
    """A solid cylinder standing on its base, metres."""

    radius: float
    height: float

    @property
    def size(self) -> Vector3:
        """Extents along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, self.height

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        ends = [_disk(origin, directions, height, 0.0, self.radius) for height in (self.height, 0.0)]
        return _nearest([*_side(origin, directions, self.radius, 0.0, self.height), *ends])


@dataclass(frozen=True)
class Cup(Cylinder):
    """A cylinder open at the top, metres; `wall` is the thickness of wall and floor."""

    wall: float = 0.004

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        inner = self.radius - self.wall
        return _nearest(
            [
                *_side(origin, directions, self.radius, 0.0, self.height),
                *_side(origin, directions, inner, self.wall, self.height),
                _disk(origin, directions, self.height, inner, self.radius),
                _disk(origin, directions, self.wall, 0.0, inner),
                _disk(origin, directions, 0.0, 0.0, self.radius),
            ]
        )


@dataclass(frozen=True)
class Sphere:
    """A ball resting on one point, metres."""

    radius: float

    @property
    def size(self) -> Vector3:
        """Extents along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, 2 * self.radius

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        from_centre = origin - (0.0, 0.0, self.radius)
        excess = float(from_centre @ from_centre) - self.radius**2
        distance, _ = _quadratic((directions**2).sum(axis=1), directions @ from_centre, excess)
        distance = np.where(distance > 0, distance, np.inf)
        return distance, _points(from_centre, directions, distance) / self.radius


Shape = Box | Cylinder | Cup | Sphere


def _quadratic(a: Array, half_b: Array, c: float) -> tuple[Array, Array]:
    """Both roots of a t² + 2 half_b t + c, the smaller first; infinite if there is none."""
    discriminant = half_b**2 - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.where(discriminant >= 0, discriminant, np.nan))
        roots = (-half_b - root) / a, (-half_b + root) / a
    return np.where(np.isfinite(roots[0]), roots[0], np.inf), np.where(np.isfinite(roots[1]), roots[1], np.inf)


def _points(origin: Array, directions: Array, distance: Array) -> Array:
    """Points at these distances (N,) on rays; the origin for an infinite one."""
    return np.asarray(origin + np.where(np.isinf(distance), 0.0, distance)[:, None] * directions)


def _side(origin: Array, directions: Array, radius: float, low: float, high: float) -> list[Hits]:
    flat, start = directions[:, :2], origin[:2]
    hits = []
    for distance in _quadratic((flat**2).sum(axis=1), flat @ start, float(start @ start) - radius**2):
        points = _points(origin, directions, distance)
        hit = np.isfinite(distance) & (distance > 0) & (low <= points[:, 2]) & (points[:, 2] <= high)
        hits.append((np.where(hit, distance, np.inf), _facing(points * (1.0, 1.0, 0.0), directions)))
    return hits


def _disk(origin: Array, directions: Array, z: float, inner: float, outer: float) -> Hits:
    """Intersections of rays with a horizontal ring."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (z - origin[2]) / directions[:, 2]
    distance = np.where(np.isfinite(distance) & (distance > 0), distance, np.inf)
    radius = np.linalg.norm(_points(origin[:2], directions[:, :2], distance), axis=1)
    normals = np.broadcast_to(np.array([0.0, 0.0, 1.0]), directions.shape)
    return np.where((inner <= radius) & (radius <= outer), distance, np.inf), _facing(normals, directions)


def _facing(normals: Array, directions: Array) -> Array:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    along = (normals * directions).sum(axis=1, keepdims=True)
    return np.where(along > 0, -normals, normals) / np.where(length > 0, length, 1.0)


def _nearest(hits: Sequence[Hits]) -> Hits:
    distances, normals = np.stack([h[0] for h in hits]), np.stack([h[1] for h in hits])
    first, ray = distances.argmin(axis=0), np.arange(distances.shape[1])
    return distances[first, ray], normals[first, ray]


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


# ------------------------------------------------------------------------------------------------ sensor


@dataclass(frozen=True)
class SensorNoise:
    """Errors of a real depth camera; shares are 0 to 1."""

    floor: float = 0.001  # standard deviation of depth at zero range, metres
    quadratic: float = 0.002  # growth of the noise with range squared, 1/metre
    correlated: float = 0.3  # share of the variance common to neighbouring pixels
    patch: int = 16  # extent of that correlation, pixels
    edge_jump: float = 0.03  # step in inverse depth of an edge, 1/metre: it is small on planes seen at a flat angle
    edge_loss: float = 0.6  # share of pixels at edges without measurement
    loss: float = 0.01  # share of all pixels without measurement
    step: float = 0.001  # depth is rounded to multiples of this, metres
    rgb: float = 2.0  # standard deviation of colour, on a scale of 255
    disparity_step: float = 0.0  # inverse depth is rounded to multiples of this, 1/metre, as in a stereo camera
    shine: float = 0.0  # share of shiny surfaces without measurement, in patches


STEREO = SensorNoise(disparity_step=0.001, shine=0.4)
"""Active stereo with a baseline of 5 cm, 640 pixels wide: 1/32 pixel is 1 mm at 1 m, 4 mm at 2 m; misses 40 % of
shiny surfaces."""


def noisy(
    frame: RgbdFrame, rng: np.random.Generator, noise: SensorNoise | None = None, shiny: Mask | None = None
) -> RgbdFrame:
    """Turn an exact frame into the measurement of a real sensor, with holes at edges and on `shiny` surfaces."""
    if shiny is not None and (shiny.shape != frame.depth.shape or shiny.dtype != np.bool_):
        raise ShapeError("shiny", f"{frame.depth.shape} bool", f"{shiny.shape} {shiny.dtype}")
    noise = SensorNoise() if noise is None else noise
    depth = frame.depth.astype(np.float64)
    deviation = noise.floor + noise.quadratic * depth**2
    height, width = depth.shape
    bumps = height // noise.patch + 2, width // noise.patch + 2
    shared = smooth_field(rng, depth.shape, bumps) * math.sqrt(noise.correlated)
    own = rng.standard_normal(depth.shape) * math.sqrt(1 - noise.correlated)
    felt = depth + deviation * (shared + own)
    if noise.disparity_step > 0:  # z = f b / d, so a step in d is one of z² / (f b) in z; Khoshelham and Elberink 2012
        with np.errstate(divide="ignore", invalid="ignore"):
            felt = np.asarray(1 / (np.round(1 / felt / noise.disparity_step) * noise.disparity_step), np.float64)
    measured = (np.round(felt / noise.step) * noise.step).astype(np.float32)
    inverse, around = np.nan_to_num(1 / frame.depth, nan=0.0), np.ones((3, 3), np.uint8)  # unmeasured: far away
    is_edge = np.subtract(cv2.dilate(inverse, around), cv2.erode(inverse, around)) > noise.edge_jump
    lost = rng.random(depth.shape) < np.where(is_edge, noise.edge_loss, noise.loss)
    measured = np.where(lost | ~(measured > 0), np.float32(np.nan), measured)
    rgb = as_bytes(frame.rgb + noise.rgb * rng.standard_normal(frame.rgb.shape))
    if shiny is not None and noise.shine > 0:
        patch = max(noise.patch // 2, 1)
        field = smooth_field(rng, depth.shape, (height // patch + 2, width // patch + 2))
        measured[shiny & np.less_equal(field, np.quantile(field, noise.shine))] = np.nan
    return replace(frame, rgb=rgb, depth=measured)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], bumps: tuple[int, int]) -> Array:
    """(H, W) smooth noise of unit variance with so many bumps down and across."""
    height, width = shape
    coarse = rng.standard_normal(bumps)
    fine = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float64)
    return fine / max(float(fine.std()), 1e-9)


_FOCAL = 610 / 640  # share of the width: colour sensor of a depth camera


def camera_of(width: int, height: int) -> PinholeCamera:
    """Make a camera with this image size, pixels."""
    f = _FOCAL * width
    return PinholeCamera(np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]), width, height)


VGA = camera_of(640, 480)
HD = camera_of(1280, 720)


# ------------------------------------------------------------------------------------------------ scenery


Pattern = npt.NDArray[np.uint8]  # (N, N, 3)
_PIXELS = 256
_SHAPE = (_PIXELS, _PIXELS)
_TABLES: tuple[Colour, ...] = ((176, 138, 98), (205, 184, 152), (140, 104, 74), (188, 188, 184), (150, 160, 168))
_FLOORS: tuple[Colour, ...] = ((96, 98, 104), (128, 116, 100), (78, 84, 92), (150, 148, 142))
_WALLS: tuple[Colour, ...] = ((214, 210, 200), (190, 202, 210), (206, 214, 200), (222, 214, 222))


@dataclass(frozen=True)
class Light:
    """A lamp: its position and target (base frame, metres), its brightness 0 to 1, and whether it casts shadows."""

    position: Vector3
    towards: Vector3
    brightness: tuple[float, float, float]
    shadows: bool


@dataclass(frozen=True, eq=False)
class Scenery:
    """A table in a room, in the base frame (z up); metres."""

    table: Pattern
    floor: Pattern
    wall: Colour
    lights: tuple[Light, ...]
    ambient: float = 0.4  # light, 0 to 1
    table_centre: tuple[float, float] = (0.85, 0.0)  # x, y of the table top
    table_size: tuple[float, float] = (1.2, 1.5)  # along x and y
    table_height: float = 0.1  # of the table top
    floor_height: float = -0.65
    max_range: float = 6.0  # largest depth that the camera measures

    def __post_init__(self) -> None:
        if not min(self.table_size) > 0 or not self.table_height > self.floor_height:
            got = f"{self.table_size} at {self.table_height} m"
            raise InputError("table", got, "an extent, and a height above the floor, in metres")


def random_scenery(rng: np.random.Generator) -> Scenery:
    """Draw a table, a room and lights from `rng`."""
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    paint = np.array(_TABLES[int(rng.integers(len(_TABLES)))], np.float64) * rng.uniform(0.9, 1.1)
    kind = str(rng.choice(["wood", "stone", "cloth", "plain"]))
    if kind == "wood":
        grain = smooth_field(rng, _SHAPE, (4, 40))
        light = 1 + 0.10 * np.sin(2 * math.pi * (6 * np.linspace(0, 1, _PIXELS)[None] + 0.35 * grain)) + 0.05 * grain
    elif kind == "cloth":
        stripes = np.sin(np.arange(_PIXELS) * 2 * math.pi * 8 / _PIXELS) > 0
        light = 1 - 0.07 * stripes[None] - 0.07 * stripes[:, None] + 0.03 * rng.standard_normal(_SHAPE)
    elif kind == "stone":
        light = 1 + 0.03 * smooth_field(rng, _SHAPE, (40, 40)) + 0.03 * rng.standard_normal(_SHAPE)
    else:
        light = 1 + 0.012 * rng.standard_normal(_SHAPE)
    table = as_bytes(paint * light[..., None])

    colour = np.array(_FLOORS[int(rng.integers(len(_FLOORS)))], np.float64)
    ramp = np.arange(_PIXELS)
    joints = (ramp % 128 < 2)[:, None] | (ramp % 128 < 2)[None]
    light = (1 + 0.05 * smooth_field(rng, _SHAPE, (20, 20))) * np.where(joints, 0.75, 1.0)
    floor = as_bytes(colour * light[..., None])

    angle, warm = rng.uniform(-math.pi, math.pi), rng.uniform(-0.04, 0.04)
    over = (0.85 + 0.9 * math.cos(angle), 0.9 * math.sin(angle), float(rng.uniform(1.7, 2.2)))
    strength = rng.uniform(0.6, 0.75)
    key = (float(strength * (1 + warm)), float(strength), float(strength * (1 - warm)))
    r, g, b = (float(rng.uniform(0.18, 0.28)),) * 3
    middle = (0.85, 0.0, 0.1)
    lights = (Light(over, middle, key, True), Light((-over[0], -over[1], 2.0), middle, (r, g, b), False))
    return Scenery(table, floor, wall, lights, float(rng.uniform(0.42, 0.52)))
