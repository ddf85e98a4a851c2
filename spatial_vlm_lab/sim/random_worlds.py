# SPDX-License-Identifier: Apache-2.0
"""Random tabletops: known kinds of objects at random positions; no two objects touch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.shapes import Box, Cup, Cylinder, Shape, Sphere
from spatial_vlm_ros.sim.tabletop import COLOURS, Body, World

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
