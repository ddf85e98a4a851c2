# SPDX-License-Identifier: Apache-2.0
"""Surfaces cut into convex pieces, so that hollow objects are hollow and bent objects bent where they are touched."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from research.rendered.items import samples
from research.rendered.meshes import Floats, Mesh
from spatial_vlm_ros.sim.meshes import CollisionPiece

CUTS = ("whole", "slices", "strips", "turned", "ring")
SECTORS, LEVELS = 16, 6  # of the wall of a vessel
SLICE, STRIP = 0.015, 0.012  # metres
GAP = 0.005  # metres along a line without surface: what lies beyond is another piece
GRID = 5e-4  # metres to which corners are rounded: scanned undersides become level
SAMPLES = 40000
_LEAST = 1e-3  # metres that a piece is thick


def convex_pieces(mesh: Mesh, cut: str) -> list[Floats]:
    """Corners (N, 3) of convex pieces that cover a mesh, metres.

    Args:
        mesh: standing on the origin.
        cut: "whole": its convex hull; "slices": by height; "strips": along its longest level extent, parted where
            there is a gap across it; "turned": an open vessel about a vertical axis, its floor by height, its wall by
            angle, height and gaps along the radius (a handle); "ring": the same without a floor.

    Raises:
        ValueError: no such cut.
    """
    points = np.concatenate([samples(mesh, SAMPLES), mesh.vertices])
    if cut == "whole":
        return _hulls([points])
    if cut == "slices":
        return _hulls(_sliced(points, SLICE))
    if cut == "strips":
        return _hulls(_strips(points))
    if cut in ("turned", "ring"):
        return _hulls(_turned(points, floor=cut == "turned"))
    raise ValueError(f"unknown cut {cut!r}. Choose one of {', '.join(CUTS)}.")


def axis_of(points: Floats) -> tuple[Floats, float]:
    """Place (2,) and radius of the circle of a vessel's rim, metres: Kåsa's fit to the highest hundredth."""
    high = points[points[:, 2] > np.quantile(points[:, 2], 0.99) - 1e-9, :2]
    a = np.c_[2 * high, np.ones(len(high))]
    found, *_ = np.linalg.lstsq(a, np.square(high).sum(1), rcond=None)
    return found[:2], float(np.sqrt(found[2] + found[:2] @ found[:2]))


def floor_of(points: Floats) -> float:
    """Height of the inner floor of a vessel: the highest surface near its axis, metres."""
    middle, radius = axis_of(points)
    near = np.linalg.norm(points[:, :2] - middle, axis=1) < 0.25 * radius
    return float(points[near, 2].max())


def _sliced(points: Floats, thick: float) -> list[Floats]:
    """By height; each slice ends where the next begins."""
    low, high = points[:, 2].min(), points[:, 2].max()
    count = max(1, round((high - low) / thick))
    edges = np.linspace(low, high, count + 1)
    reach = (high - low) / count * 0.03 + GRID
    return [points[(points[:, 2] >= a - reach) & (points[:, 2] <= b + reach)] for a, b in itertools.pairwise(edges)]


def _strips(points: Floats) -> list[Floats]:
    """Along the longest level extent; a strip is parted where nothing is for GAP across."""
    along = int(np.argmax(np.ptp(points[:, :2], axis=0)))
    low, high = points[:, along].min(), points[:, along].max()
    edges = np.linspace(low, high, max(1, round((high - low) / STRIP)) + 1)
    found: list[Floats] = []
    for a, b in itertools.pairwise(edges):
        strip = points[(points[:, along] >= a - GRID) & (points[:, along] <= b + GRID)]
        found += _parted(strip, strip[:, 1 - along])
    return found


def _parted(points: Floats, values: Floats) -> list[Floats]:
    """Points cut where their values leave a gap."""
    if not len(points):
        return []
    order = np.argsort(values)
    return np.split(points[order], np.flatnonzero(np.diff(values[order]) > GAP) + 1)


def _turned(points: Floats, floor: bool) -> list[Floats]:
    """A vessel: its solid foot by height, its wall by angle, height and radius."""
    middle, radius = axis_of(points)
    away = points[:, :2] - middle
    r, angle = np.linalg.norm(away, axis=1), np.arctan2(away[:, 1], away[:, 0])
    level = floor_of(points) if floor else float(points[:, 2].min())
    found: list[Floats] = []
    if floor:
        foot = points[(points[:, 2] <= level + GRID) & (r <= 1.02 * max(radius, 0.0))]
        found += _sliced(foot, 0.012)
    edges = np.linspace(level, points[:, 2].max(), LEVELS + 1)
    turn = 2 * np.pi / SECTORS
    outside = (points[:, 2] >= level) | (r > 1.02 * radius)
    for s in range(SECTORS):
        off = np.abs(np.angle(np.exp(1j * (angle - (s + 0.5) * turn))))
        inside = outside & (off <= turn / 2 + 0.02)
        for k, (a, b) in enumerate(itertools.pairwise(edges)):
            a = points[:, 2].min() if k == 0 and floor else a
            cell = inside & (points[:, 2] >= a - GRID) & (points[:, 2] <= b + GRID)
            found += _parted(points[cell], r[cell])
    return found


def _hulls(groups: list[Floats]) -> list[Floats]:
    """Corners of the hull of each group of points; what is too thin to have one is made a little thicker."""
    found = []
    for group in groups:
        corners = np.unique(np.round(group / GRID), axis=0) * GRID
        if len(corners) < 4:
            continue
        if np.ptp(corners, axis=0).min() < _LEAST:
            thin = np.eye(3)[int(np.argmin(np.ptp(corners, axis=0)))] * _LEAST / 2
            corners = np.concatenate([corners - thin, corners + thin])
        try:
            found.append(corners[ConvexHull(corners).vertices])
        except QhullError:
            continue
    return found


def corners_of(solid: CollisionPiece) -> Floats:
    """(8, 3) or (N, 3) corners of a convex solid of the project's own models, metres."""
    if solid.corners is not None:
        return np.asarray(solid.corners)
    if solid.kind != "box":
        raise ValueError(f"a {solid.kind} has no corners. Use models of boxes and hulls.")
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    corners = signs * np.array(solid.size)
    turned = corners if solid.rotation is None else corners @ solid.rotation.T
    return np.asarray(turned + np.array(solid.position))
