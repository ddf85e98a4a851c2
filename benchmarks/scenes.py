# SPDX-License-Identifier: Apache-2.0
"""Frames with known truth, and objects made from numbers, that several benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.tabletop import (
    COLOURS,
    Body,
    Box,
    Cup,
    Cylinder,
    Rendering,
    Shape,
    Sphere,
    World,
    look_at,
    noisy,
    render,
)
from spatial_vlm_ros.types import Detection, OrientedBox, PinholeCamera, RgbdFrame, SceneObject, Transform

LABELS = ("cup", "mug", "can", "box")


def camera(width: int, height: int, focal: float) -> PinholeCamera:
    """Make a pinhole camera whose axis passes through the middle of the image."""
    return PinholeCamera(
        np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]), width, height
    )


def tabletop(
    seed: int,
    n: int,
    lens: PinholeCamera,
    distance: float,
    down_deg: float = 55.0,
    region: tuple[float, float] = (0.8, 0.5),
) -> tuple[World, Rendering, RgbdFrame]:
    """Render hand-sized objects on a table, seen from one side and above.

    Args:
        seed: seed of positions, sizes and sensor noise.
        n: number of objects.
        lens: the camera.
        distance: distance from the camera to the middle of the table, metres.
        down_deg: angle below the horizontal at which it looks, degrees.
        region: size of the central area for the objects, metres.

    Returns:
        The world, its rendering by a perfect sensor, and the frame of a real sensor.
    """
    rng = np.random.default_rng(seed)
    world = random_tabletop(rng, n, region=region, gap=0.015, labels=LABELS)
    angle = math.radians(down_deg)
    pose = look_at((0.0, -distance * math.cos(angle), distance * math.sin(angle)), (0.0, 0.0, 0.05))
    seen = render(world, lens, pose)
    return world, seen, noisy(seen.frame, rng)


def lifted(
    detection: Detection, centre: np.ndarray, size: np.ndarray, yaw: float, pose: Transform, points: np.ndarray
) -> SceneObject:
    """Make an upright box as if it was lifted from an image.

    Args:
        detection: its detection.
        centre: (3,) metres, base frame.
        size: (3,) metres along its own axes.
        yaw: heading, radians.
        pose: base_T_camera.
        points: (N, 3) points of its surface in the camera frame, metres.
    """
    axes = upright(yaw)
    corners = np.array([(a, b, 0.0) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1)) for _ in range(4)])
    camera_T_base = pose.inverse()
    middle = camera_T_base.apply(centre[None])[0]
    return SceneObject(
        detection=detection,
        points=points.astype(np.float32),
        surface_centre=np.median(points, axis=0),
        box=OrientedBox(middle, camera_T_base.rotation @ axes, size),
        footprint=camera_T_base.apply(centre + (corners * size / 2) @ axes.T),
        covariance=np.eye(6) * 1e-6,
    )


def upright(yaw: float) -> np.ndarray:
    """(3, 3) rotation about the vertical."""
    return np.array([[math.cos(yaw), -math.sin(yaw), 0.0], [math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]])


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
_TRIES = 500  # positions tried for one body before the region counts as full


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
    """Make a world of bodies that stand on the table and do not touch.

    Args:
        n: number of bodies; their ids are "o0", "o1", …
        region: extent along x and y around the origin for their centres, metres.
        gap: least distance between the circles around their footprints, metres.
        labels: labels to draw from, names in CATALOGUE.
        colours: colours to draw from, names in COLOURS.
        distinct: whether no two bodies share label and colour.
    """
    kinds = [(label, colour) for label in labels for colour in colours]
    unknown = [name for name in labels if name not in CATALOGUE]
    if unknown or not kinds or (distinct and n > len(kinds)):
        raise InputError("kinds of bodies", str(unknown or kinds), "enough known ones", "allow more labels or colours")
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
