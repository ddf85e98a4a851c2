# SPDX-License-Identifier: Apache-2.0
"""Things on a table, as a depth camera would see them, with known truth.

Knows shapes, rays and sensor noise; knows no physics: bodies stay where they are put.
The world frame has z up and its origin on the middle of the table top; metres and radians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.types import Detection, Mask, PinholeCamera, RgbdFrame, Transform, Vector3

Array = npt.NDArray[np.float64]
Hits = tuple[Array, Array]  # distances (N,) in units of the ray's direction, infinite for none; unit normals (N, 3)

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
_AMBIENT = 0.45  # share of light from everywhere, so that sides turned away keep their colour


# ------------------------------------------------------------------------------------------------ shapes


@dataclass(frozen=True)
class Box:
    """A block of size (x, y, z), metres, on its base."""

    size: Vector3

    def hit(self, origin: Array, directions: Array) -> Hits:
        """First intersections, in the shape's frame (origin at the centre of its base, z up).

        Args:
            origin: (3,) metres.
            directions: (N, 3), any length.

        Returns:
            Distances along the directions (N,) and unit normals (N, 3).

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
    """A full cylinder on its base, metres."""

    radius: float
    height: float

    @property
    def size(self) -> Vector3:
        """Extent along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, self.height

    def hit(self, origin: Array, directions: Array) -> Hits:
        """As `Box.hit`."""
        return _nearest(
            [
                *_side(origin, directions, self.radius, 0.0, self.height),
                _disk(origin, directions, self.height, 0.0, self.radius),
                _disk(origin, directions, 0.0, 0.0, self.radius),
            ]
        )


@dataclass(frozen=True)
class Cup:
    """A cylinder open at the top, metres; `wall` is the thickness of wall and floor."""

    radius: float
    height: float
    wall: float = 0.004

    @property
    def size(self) -> Vector3:
        """Extent along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, self.height

    def hit(self, origin: Array, directions: Array) -> Hits:
        """As `Box.hit`."""
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
        """Extent along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, 2 * self.radius

    def hit(self, origin: Array, directions: Array) -> Hits:
        """As `Box.hit`."""
        from_centre = origin - (0.0, 0.0, self.radius)
        excess = float(from_centre @ from_centre) - self.radius**2
        distance, _ = _quadratic((directions**2).sum(axis=1), directions @ from_centre, excess)
        distance = np.where(distance > 0, distance, np.inf)
        return distance, (from_centre + np.where(np.isinf(distance), 0.0, distance)[:, None] * directions) / self.radius


Shape = Box | Cylinder | Cup | Sphere


def _quadratic(a: Array, half_b: Array, c: float) -> tuple[Array, Array]:
    """Both roots of a t² + 2 half_b t + c, the smaller first; infinite where there is none."""
    discriminant = half_b**2 - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.where(discriminant >= 0, discriminant, np.nan))
        roots = (-half_b - root) / a, (-half_b + root) / a
    return np.where(np.isfinite(roots[0]), roots[0], np.inf), np.where(np.isfinite(roots[1]), roots[1], np.inf)


def _side(origin: Array, directions: Array, radius: float, low: float, high: float) -> tuple[Hits, Hits]:
    """Where rays enter and leave the wall of an upright cylinder."""
    flat, start = directions[:, :2], origin[:2]
    enter, leave = _quadratic((flat**2).sum(axis=1), flat @ start, float(start @ start) - radius**2)
    return _wall(origin, directions, enter, low, high), _wall(origin, directions, leave, low, high)


def _wall(origin: Array, directions: Array, distance: Array, low: float, high: float) -> Hits:
    points = origin + np.where(np.isinf(distance), 0.0, distance)[:, None] * directions
    hit = np.isfinite(distance) & (distance > 0) & (low <= points[:, 2]) & (points[:, 2] <= high)
    return np.where(hit, distance, np.inf), _facing(points * (1.0, 1.0, 0.0), directions)


def _disk(origin: Array, directions: Array, z: float, inner: float, outer: float) -> Hits:
    """Where rays meet a horizontal ring."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (z - origin[2]) / directions[:, 2]
    distance = np.where(np.isfinite(distance) & (distance > 0), distance, np.inf)
    radius = np.linalg.norm(
        origin[:2] + np.where(np.isinf(distance), 0.0, distance)[:, None] * directions[:, :2], axis=1
    )
    normals = np.broadcast_to(np.array([0.0, 0.0, 1.0]), directions.shape)
    return np.where((inner <= radius) & (radius <= outer), distance, np.inf), _facing(normals, directions)


def _facing(normals: Array, directions: Array) -> Array:
    """Unit normals turned against the rays."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    along = (normals * directions).sum(axis=1, keepdims=True)
    return np.where(along > 0, -normals, normals) / np.where(length > 0, length, 1.0)


def _nearest(hits: Sequence[Hits]) -> Hits:
    """The first of several surfaces along each ray."""
    distances, normals = np.stack([h[0] for h in hits]), np.stack([h[1] for h in hits])
    first, ray = distances.argmin(axis=0), np.arange(distances.shape[1])
    return distances[first, ray], normals[first, ray]


# ------------------------------------------------------------------------------------------------ world


@dataclass(frozen=True)
class Body:
    """One thing in the world.

    Args:
        id: unique in its world.
        label: what it is called.
        shape: what it looks like.
        position: x, y and the height of its base, metres, world frame.
        colour: a name in COLOURS.
        yaw: turn about the world's z, radians.

    Raises:
        InputError: a colour that has no name, or a size that is not positive.
    """

    id: str
    label: str
    shape: Shape
    position: Vector3
    colour: str = "grey"
    yaw: float = 0.0

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise InputError(f"colour of {self.id!r}", self.colour, "one of " + ", ".join(COLOURS), "name a known one")
        if not min(self.shape.size) > 0:
            raise InputError(f"size of {self.id!r}", str(self.shape.size), "positive metres", "give a real body")

    @property
    def size(self) -> Vector3:
        """Extent along its own axes, metres."""
        return self.shape.size

    @property
    def centre(self) -> Vector3:
        """Middle of its tight gravity-up box, metres, world frame."""
        x, y, base = self.position
        return x, y, base + self.size[2] / 2

    @property
    def top(self) -> float:
        """Height of its highest point, metres, world frame: the base of what is stacked on it."""
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
    """Bodies on a table.

    Args:
        bodies: the things, in the order of their detections.
        table_size: extent along x and y, metres; its top is z = 0, its middle the origin.
        floor: height of the floor, metres.
        max_range: depth beyond which the camera measures nothing, metres.

    Raises:
        InputError: two bodies share an id.
    """

    bodies: tuple[Body, ...]
    table_size: tuple[float, float] = (1.6, 1.2)
    floor: float = -0.75
    max_range: float = 6.0

    def __post_init__(self) -> None:
        ids = [body.id for body in self.bodies]
        if len(set(ids)) != len(ids):
            raise InputError("ids of bodies", ", ".join(ids), "each id once", "number the bodies")

    def __getitem__(self, id_: str) -> Body:
        """The body with that id.

        Raises:
            KeyError: there is none.
        """
        return {body.id: body for body in self.bodies}[id_]


def look_at(eye: Vector3, target: Vector3, parent: str = WORLD, child: str = "camera_color_optical_frame") -> Transform:
    """Pose of a camera that looks from one point to another with the horizon level.

    Args:
        eye: (3,) metres, world frame.
        target: (3,) metres, world frame; appears at the principal point.
        parent: name of the world frame.
        child: name of the camera's optical frame (z forward, x right, y down).

    Returns:
        Maps optical to world. Looking straight down, the image's right is the world's x.

    Raises:
        InputError: eye and target are the same point.
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
    matrix = np.eye(4)
    matrix[:3, :4] = np.stack([right, np.cross(forward, right), forward, np.asarray(eye, np.float64)], axis=1)
    return Transform(parent, child, matrix)


# ------------------------------------------------------------------------------------------------ rendering


@dataclass(frozen=True, eq=False)
class Rendering:
    """What a perfect camera and a perfect detector give.

    Args:
        frame: colour and exact depth, with the camera's pose.
        detections: of the bodies with a visible pixel, in the world's order; tight boxes, exact masks, the colour as
            attribute.
        masks: (H, W) bool of visible pixels for each body id, also of those that are not seen.
        visible_fraction: for each body id, visible pixels as part of those it would have without other bodies, both
            inside the image; 0 outside it.
    """

    frame: RgbdFrame
    detections: tuple[Detection, ...]
    masks: Mapping[str, Mask]
    visible_fraction: Mapping[str, float]


@dataclass(eq=False)
class _Canvas:
    """What each pixel sees so far: distance along optical z, body number (-1 = none), normal and surface colour."""

    distance: Array  # (H, W)
    owner: npt.NDArray[np.int32]  # (H, W)
    normal: Array  # (H, W, 3), world frame
    colour: Array  # (H, W, 3)

    @staticmethod
    def empty(height: int, width: int) -> _Canvas:
        return _Canvas(
            np.full((height, width), np.inf),
            np.full((height, width), -1, np.int32),
            np.tile(_LIGHT, (height, width, 1)),
            np.tile(np.array(_SKY_COLOUR, np.float64), (height, width, 1)),
        )

    def draw(self, window: tuple[slice, slice], hits: Hits, colour: tuple[int, int, int], owner: int = -1) -> None:
        """Put a surface, hit at each pixel of `window`, where it is nearer than what is there."""
        shape = self.distance[window].shape
        distance = hits[0].reshape(shape)
        nearer = distance < self.distance[window]
        self.distance[window][nearer] = distance[nearer]
        self.owner[window][nearer] = owner
        self.normal[window][nearer] = hits[1].reshape(*shape, 3)[nearer]
        self.colour[window][nearer] = colour


def render(world: World, camera: PinholeCamera, base_T_camera: Transform, stamp_ns: int = 0) -> Rendering:
    """Cast a ray through every pixel centre.

    Args:
        world: what there is.
        camera: intrinsics and distortion.
        base_T_camera: maps the optical frame to the world frame, whatever that is called.
        stamp_ns: of the frame, nanoseconds.

    Returns:
        The frame with exact depth along optical z (NaN beyond the world's range), and the truth about it.
    """
    grid = normalised_grid(camera)
    directions = np.concatenate([grid, np.ones((*grid.shape[:2], 1))], axis=2) @ base_T_camera.rotation.T  # (H, W, 3)
    eye = base_T_camera.translation
    canvas = _Canvas.empty(camera.height, camera.width)
    everywhere = (slice(0, camera.height), slice(0, camera.width))
    rays = directions.reshape(-1, 3)
    half = np.array(world.table_size) / 2
    canvas.draw(everywhere, _ground(eye, rays, world.floor, np.array([np.inf, np.inf])), _FLOOR_COLOUR)
    canvas.draw(everywhere, _ground(eye, rays, 0.0, half), _TABLE_COLOUR)
    alone: dict[str, int] = {}
    for number, body in enumerate(world.bodies):
        window = _window(body, camera, base_T_camera)
        hits = body.hit(eye, directions[window].reshape(-1, 3))
        alone[body.id] = int(np.isfinite(hits[0]).sum())
        canvas.draw(window, hits, COLOURS[body.colour], number)
    masks = {body.id: canvas.owner == number for number, body in enumerate(world.bodies)}
    seen = {id_: int(mask.sum()) for id_, mask in masks.items()}
    depth = np.where(canvas.distance <= world.max_range, canvas.distance, np.nan).astype(np.float32)
    return Rendering(
        RgbdFrame(_shade(canvas, eye, directions), depth, camera, stamp_ns, base_T_camera.child, base_T_camera),
        tuple(_detection(body, masks[body.id]) for body in world.bodies if seen[body.id]),
        MappingProxyType(masks),
        MappingProxyType({id_: seen[id_] / max(alone[id_], 1) for id_ in seen}),
    )


def _ground(eye: Array, directions: Array, z: float, half: Array) -> Hits:
    """A horizontal rectangle around the origin, seen from above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (z - eye[2]) / directions[:, 2]
        reached = np.abs(eye[:2] + distance[:, None] * directions[:, :2]) <= half
    hit = reached.all(axis=1) & (distance > 0) & (directions[:, 2] < 0)
    return np.where(hit, distance, np.inf), np.broadcast_to(np.array([0.0, 0.0, 1.0]), directions.shape)


def _window(body: Body, camera: PinholeCamera, base_T_camera: Transform) -> tuple[slice, slice]:
    """Rows and columns that can see the body: all of them when that is not simple to say."""
    pixels = project(camera, base_T_camera.inverse().apply(body.corners()))
    if not camera.is_rectified or not np.isfinite(pixels).all():
        return slice(0, camera.height), slice(0, camera.width)
    size = (camera.width, camera.height)
    (u0, v0), (u1, v1) = (
        np.clip(np.floor(pixels.min(axis=0)), 0, size).astype(int).tolist(),
        np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, size).astype(int).tolist(),
    )
    return slice(v0, v1), slice(u0, u1)


def _detection(body: Body, mask: Mask) -> Detection:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Detection(body.id, body.label, 1.0, box, mask, (body.colour,))


def _shade(canvas: _Canvas, eye: Array, directions: Array) -> npt.NDArray[np.uint8]:
    """Lambert's law with one light and no shadows, and a faint pattern fixed to the surfaces."""
    light = _AMBIENT + (1 - _AMBIENT) * np.clip(canvas.normal @ _LIGHT, 0.0, 1.0)
    hit = np.isfinite(canvas.distance)
    points = eye + np.where(hit, canvas.distance, 0.0)[..., None] * np.where(hit[..., None], directions, 0.0)
    pattern = 1 + 0.03 * np.where(hit, np.sin(points @ (90.0, 35.0, 60.0)) + np.sin(points @ (-20.0, 110.0, 75.0)), 0.0)
    return _bytes(canvas.colour * (light * pattern)[..., None])


def _bytes(values: Array) -> npt.NDArray[np.uint8]:
    """Colour values rounded into 0 to 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


# ------------------------------------------------------------------------------------------------ sensor noise


@dataclass(frozen=True)
class SensorNoise:
    """What a real depth camera adds.

    Args:
        floor: standard deviation of depth at zero range, metres.
        quadratic: its growth with range squared, 1/metre.
        correlated: part of the variance shared by neighbouring pixels, 0 to 1.
        patch: extent of that correlation, pixels.
        edge_jump: step in inverse depth between neighbours that counts as an edge, 1/metre: planes seen at a flat angle
            have small ones at any range.
        edge_loss: part of the pixels at edges without measurement, 0 to 1.
        loss: part of all pixels without measurement, 0 to 1.
        step: depth is rounded to multiples of this, metres.
        rgb: standard deviation of colour, of 255.
    """

    floor: float = 0.001
    quadratic: float = 0.002
    correlated: float = 0.3
    patch: int = 16
    edge_jump: float = 0.03
    edge_loss: float = 0.6
    loss: float = 0.01
    step: float = 0.001
    rgb: float = 2.0


def noisy(frame: RgbdFrame, rng: np.random.Generator, noise: SensorNoise | None = None) -> RgbdFrame:
    """The frame as a real sensor would have measured it.

    Args:
        frame: exact depth.
        rng: the only source of chance.
        noise: how much of what; None = a stereo camera of the usual kind.

    Returns:
        A new frame: noisy, quantised depth with holes at edges and elsewhere, and noisy colour.
    """
    noise = SensorNoise() if noise is None else noise
    depth = frame.depth.astype(np.float64)
    deviation = noise.floor + noise.quadratic * depth**2
    shared = _smooth_field(depth.shape, rng, noise.patch) * math.sqrt(noise.correlated)
    own = rng.standard_normal(depth.shape) * math.sqrt(1 - noise.correlated)
    measured = (np.round((depth + deviation * (shared + own)) / noise.step) * noise.step).astype(np.float32)
    lost = rng.random(depth.shape) < np.where(_edges(frame.depth, noise.edge_jump), noise.edge_loss, noise.loss)
    measured = np.where(lost | ~(measured > 0), np.float32(np.nan), measured)
    rgb = _bytes(frame.rgb + noise.rgb * rng.standard_normal(frame.rgb.shape))
    return replace(frame, rgb=rgb, depth=measured)


def _smooth_field(shape: tuple[int, ...], rng: np.random.Generator, patch: int) -> Array:
    """Smooth noise of unit variance that changes over `patch` pixels."""
    height, width = shape
    coarse = rng.standard_normal((height // patch + 2, width // patch + 2))
    fine = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float64)
    return fine / max(float(fine.std()), 1e-9)


def _edges(depth: npt.NDArray[np.float32], jump: float) -> Mask:
    """Pixels where inverse depth differs by more than `jump` among the 3x3 around; not measured counts as far away."""
    inverse = np.nan_to_num(1 / depth, nan=0.0)
    kernel = np.ones((3, 3), np.uint8)
    return np.greater(np.subtract(cv2.dilate(inverse, kernel), cv2.erode(inverse, kernel)), jump)


# ------------------------------------------------------------------------------------------------ random worlds

CATALOGUE: Mapping[str, Callable[[np.random.Generator], Shape]] = MappingProxyType(
    {
        "cup": lambda rng: Cup(rng.uniform(0.032, 0.042), rng.uniform(0.08, 0.11)),
        "mug": lambda rng: Cup(rng.uniform(0.038, 0.048), rng.uniform(0.085, 0.105)),
        "bowl": lambda rng: Cup(rng.uniform(0.06, 0.08), rng.uniform(0.045, 0.06)),
        "can": lambda rng: Cylinder(rng.uniform(0.03, 0.036), rng.uniform(0.1, 0.12)),
        "bottle": lambda rng: Cylinder(rng.uniform(0.03, 0.037), rng.uniform(0.18, 0.24)),
        "box": lambda rng: Box((rng.uniform(0.08, 0.14), rng.uniform(0.05, 0.08), rng.uniform(0.06, 0.16))),
        "block": lambda rng: Box((rng.uniform(0.035, 0.06), rng.uniform(0.035, 0.06), rng.uniform(0.035, 0.06))),
        "book": lambda rng: Box((rng.uniform(0.16, 0.21), rng.uniform(0.11, 0.15), rng.uniform(0.015, 0.035))),
        "ball": lambda rng: Sphere(rng.uniform(0.025, 0.04)),
    }
)
_TRIES = 500  # places tried for one body before the region is called full


def random_tabletop(
    rng: np.random.Generator,
    n: int,
    *,
    region: tuple[float, float] = (0.7, 0.5),
    gap: float = 0.01,
    labels: Sequence[str] = tuple(CATALOGUE),
    colours: Sequence[str] = tuple(COLOURS),
    distinct: bool = False,
) -> World:
    """A world of bodies that stand on the table and do not touch.

    Args:
        rng: the only source of chance.
        n: number of bodies; their ids are "o0", "o1", …
        region: extent along x and y around the origin that their centres lie in, metres.
        gap: least distance between the circles around their footprints, metres.
        labels: drawn from, names in CATALOGUE.
        colours: drawn from, names in COLOURS.
        distinct: whether no two bodies share label and colour.

    Returns:
        The world.

    Raises:
        InputError: the region is too small for that many, there are too few kinds of them, or a label or colour is
            unknown.
    """
    kinds = [(label, colour) for label in labels for colour in colours]
    unknown = [name for name in labels if name not in CATALOGUE]
    if unknown or not kinds or (distinct and n > len(kinds)):
        raise InputError("kinds of bodies", str(unknown or kinds), "enough known ones", "widen labels or colours")
    chosen = rng.choice(len(kinds), size=n, replace=not distinct)
    bodies: list[Body] = []
    for number, (label, colour) in enumerate(kinds[k] for k in chosen):
        shape = CATALOGUE[label](rng)
        x, y = _free_place(rng, shape, bodies, region, gap)
        bodies.append(Body(f"o{number}", label, shape, (x, y, 0.0), colour, rng.uniform(-math.pi, math.pi)))
    return World(tuple(bodies))


def _free_place(
    rng: np.random.Generator, shape: Shape, bodies: Sequence[Body], region: tuple[float, float], gap: float
) -> tuple[float, float]:
    for _ in range(_TRIES):
        x, y = (float(rng.uniform(-extent / 2, extent / 2)) for extent in region)
        if all(
            math.hypot(x - body.position[0], y - body.position[1]) >= _reach(shape) + _reach(body.shape) + gap
            for body in bodies
        ):
            return x, y
    raise InputError("number of bodies", f"more than {len(bodies)}", "as many as fit", "widen the region")


def _reach(shape: Shape) -> float:
    """Radius of the circle around the footprint, metres."""
    return math.hypot(*shape.size[:2]) / 2 if isinstance(shape, Box) else shape.size[0] / 2
