# SPDX-License-Identifier: Apache-2.0
"""Is a place right? From true outlines alone, written apart from the search: it shares no code with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.sim.tabletop import Body, Box
from spatial_vlm_ros.types import Place, RgbdFrame, Target

Array = npt.NDArray[np.float64]


def outline(body: Body) -> Array:
    """(K, 2) true outline seen from above, world frame, corners in order."""
    if isinstance(body.shape, Box):
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.array(body.size[:2]) / 2
    else:
        angle = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        corners = np.stack((np.cos(angle), np.sin(angle)), axis=1) * body.size[0] / 2
    c, s = math.cos(body.yaw), math.sin(body.yaw)
    return corners @ np.array([[c, s], [-s, c]]) + body.position[:2]


def gap(first: Array, second: Array) -> float:
    """Distance of two convex outlines, metres; negative by how much they overlap."""
    best = -math.inf
    for one, other in ((first, second), (second, first)):
        edge = np.roll(one, -1, axis=0) - one
        normal = np.stack((edge[:, 1], -edge[:, 0]), axis=1) / np.linalg.norm(edge, axis=1)[:, None]
        apart = (other @ normal.T).min(axis=0) - (one * normal).sum(axis=1)
        best = max(best, float(apart.max()))
    if best <= 0:
        return best
    return min(_to_segments(first, second), _to_segments(second, first))


def _to_segments(points: Array, corners: Array) -> float:
    side = np.roll(corners, -1, axis=0) - corners
    away = points[:, None] - corners
    t = np.clip((away * side).sum(axis=2) / (side * side).sum(axis=1), 0, 1)
    return float(np.linalg.norm(away - t[..., None] * side, axis=2).min())


def moved_to(body: Body, target: Target, place: Place) -> Body:
    delta = np.subtract(place.pose.position, target.pose.position)
    turn = yaw(place.pose.orientation) - yaw(target.pose.orientation)
    # It turns about the place it was taken to be at.
    arm = np.subtract(body.centre, target.pose.position)[:2]
    c, s = math.cos(turn), math.sin(turn)
    x, y = np.array(target.pose.position[:2]) + np.array([c * arm[0] - s * arm[1], s * arm[0] + c * arm[1]]) + delta[:2]
    return dataclasses.replace(body, position=(float(x), float(y), place.pose.position[2]), yaw=body.yaw + turn)


def yaw(quaternion: Sequence[float]) -> float:
    x, y, z, w = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def margin(relation: str, obj: Body, anchors: Sequence[Body], eye: Sequence[float]) -> float:
    """How far a relation is from its border, metres, positive = it holds; by docs/relations.md."""
    a, t = anchors[0], obj
    to_anchor = np.subtract(a.centre, eye)[:2]
    ahead = to_anchor / np.linalg.norm(to_anchor)
    right = np.array([ahead[1], -ahead[0]])
    offset = np.subtract(t.centre, a.centre)[:2]
    mine, its = outline(t), outline(a)
    size = (max(0.05, sum(t.size[:2]) / 2) + max(0.05, sum(a.size[:2]) / 2)) / 2
    if relation in ("left of", "right of"):
        return float(offset @ right) * (1 if relation == "right of" else -1)
    if relation in ("behind", "in front of"):
        sign = 1 if relation == "behind" else -1
        further = min(sign * float((mine @ ahead).min() - (its @ ahead).min()), sign * float(offset @ ahead))
        across, over = mine @ right, its @ right
        return further - max(float(across.min() - over.max()), float(over.min() - across.max()), 0.0)
    if relation in ("next to", "near"):
        return (2 if relation == "next to" else 3) * size - gap(mine, its)
    if relation == "far from":
        return gap(mine, its) - 4 * size + 0.3 * size  # the outlines' distance is at most that between the centres
    if relation == "between":
        line = np.subtract(anchors[1].centre, a.centre)[:2]
        length = float(np.linalg.norm(line))
        along, across = float(offset @ line) / length, abs(float(offset[0] * line[1] - offset[1] * line[0])) / length
        return math.tan(math.radians(30)) * min(along, length - along) - across
    raise KeyError(relation)


def seen_share(footprint: Array, z: float, frame: RgbdFrame, tolerance: float = 0.012) -> float:
    low, high = footprint.min(axis=0), footprint.max(axis=0)
    x, y = (g.ravel() for g in np.meshgrid(*(np.linspace(a, b, 25) for a, b in zip(low, high, strict=True))))
    places = np.stack((x, y), axis=1)
    centre = footprint.mean(axis=0)
    edges = np.roll(footprint, -1, axis=0) - footprint
    turn = edges[:, 0] * (centre - footprint)[:, 1] - edges[:, 1] * (centre - footprint)[:, 0]
    side = edges[:, 0] * (places[:, None] - footprint)[..., 1] - edges[:, 1] * (places[:, None] - footprint)[..., 0]
    inside = (side * np.sign(turn) >= 0).all(axis=1)
    ground = np.column_stack((places[inside], np.full(inside.sum(), z)))
    there = frame.base_T_camera.inverse().apply(ground)
    pixels = np.rint((there @ frame.camera.K.T)[:, :2] / there[:, 2:]).astype(int)
    height, width = frame.depth.shape
    within = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    u, v = np.clip(pixels, 0, (width - 1, height - 1)).T
    with np.errstate(invalid="ignore"):
        return float((within & (np.abs(frame.depth[v, u] - there[:, 2]) < tolerance)).mean())
