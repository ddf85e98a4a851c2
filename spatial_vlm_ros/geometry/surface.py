# SPDX-License-Identifier: Apache-2.0
"""From the pixels of one mask to the clean visible surface of one object.

Removes the mask's rim, smeared depth, other surfaces, and the support; says what is wrong where nothing good is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, LiftConfig
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST, Patch, depth_gap, support_tolerance
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame

Points32 = npt.NDArray[np.float32]

_KERNEL = np.ones((3, 3), np.uint8)
_CORE_KEEP = 0.3  # part of a mask that must be left when its rim is removed; thin things are all rim
_CALM_KEEP = 0.5  # part of the pixels that must be left when smeared ones are removed; thin things are all edge
_SIDE_CLUSTER = 0.15  # part of the points from which a second depth cluster belongs to the object
_FLAT_KEEP = 0.25  # part of an object's points above the support below which it is a flat thing
_SCATTER = 20.0  # times the stated noise: no sensor, however badly described, is as far off
_ROWS = 40  # rows of a mask looked at for noise
_AROUND = 6  # pixels around a mask that are compared with it
_SEE_THROUGH_WORDS = frozenset({"glass", "clear", "transparent", "see-through", "translucent", "crystal"})


@dataclass(frozen=True, eq=False)
class Surface:
    """The visible surface of one detection.

    Args:
        detection: what was detected.
        window: rows and columns of the picture that hold the mask.
        mask: (h, w) bool, of the window.
        points: (N, 3) float32, metres, camera frame; empty where `problem` is set.
        rim: pixels eroded from the mask before measuring.
        valid_fraction: part of the mask with measured depth.
        noise: standard deviation of single depths, metres, as the surface itself shows it.
        cut_left, cut_right, cut_above: part of that side behind something nearer or off the picture, 0 to 1; of little
            meaning where `problem` is set.
        problem: why the depth cannot be trusted, in words, or None.
    """

    detection: Detection
    window: tuple[slice, slice]
    mask: Mask
    points: Points32
    rim: int
    valid_fraction: float
    noise: float
    cut_left: float
    cut_right: float
    cut_above: float
    problem: str | None


def visible_surface(
    frame: RgbdFrame,
    detection: Detection,
    patch: Patch,
    support: Plane | None,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> Surface:
    """Clean the surface seen in one mask.

    Args:
        frame: rectified frame, depth within range.
        detection: the detection; without a mask of its own, its mask was cut out of depth, and a wider rim goes.
        patch: its mask.
        support: the plane under it, or None.
        depth_config: noise of depth.
        config: how pixels become objects.
    """
    patch = patch.tight()
    window, part = patch.window, patch.mask
    depth = frame.depth[window]
    core, rim = _eroded(part, config.erode_px + (detection.mask is None), config)
    usable = core & np.isfinite(depth)
    noise, cut = 0.0, (0.0, 0.0, 0.0)
    wanted, measured = int(np.count_nonzero(core)), int(np.count_nonzero(usable))

    def surface(points: Points32, problem: str | None) -> Surface:
        return Surface(detection, window, part, points, rim, measured / max(1, wanted), noise, *cut, problem)

    nothing = np.empty((0, 3), np.float32)
    if measured < config.min_pixels or measured < config.min_valid_fraction * wanted:
        return surface(nothing, f"only {measured} of its {wanted} pixels have measured depth")
    calm = usable & ~_smeared(depth, frame.camera.K[0, 0])
    if np.count_nonzero(calm) >= max(config.min_pixels, _CALM_KEEP * measured):
        usable = calm
    noise = _roughness(depth, usable)
    cut = _cut_sides(frame.depth, part, window, rim, depth_config, config)
    if noise > _SCATTER * float(depth_noise(float(depth[usable].mean()), depth_config)):
        return surface(nothing, f"its depth scatters by {noise:.2f} m from pixel to pixel")
    points = _points(frame, window, usable)
    main = _one_surface(points, depth_config, config)
    points = points if main is None else _chosen(points, main)
    if support is not None:
        n = support.normal.astype(np.float32)
        heights = points[:, 0] * n[0] + points[:, 1] * n[1] + points[:, 2] * n[2] + np.float32(support.offset)
        problem = _seen_through(frame, surface(points, None), heights, support, depth_config, config)
        if problem is not None:
            return surface(nothing, problem)
        raised = heights > support_tolerance(support, config)
        if np.count_nonzero(raised) >= max(config.min_pixels, _FLAT_KEEP * len(points)):
            points = _chosen(points, raised)
    if len(points) < config.min_pixels:
        return surface(nothing, f"only {len(points)} of its pixels are left once other surfaces are removed")
    return surface(points, None)


def _points(frame: RgbdFrame, window: tuple[slice, slice], usable: Mask) -> Points32:
    """(N, 3) points of the usable pixels of a window, column by column in memory."""
    xs, ys = (
        axis[part].astype(np.float32) for axis, part in zip(normalised_axes(frame.camera), window[::-1], strict=True)
    )
    z = frame.depth[window]
    return np.stack((xs * z, ys[:, None] * z, z)).reshape(3, -1).take(np.flatnonzero(usable), axis=1).T


def _chosen(points: Points32, rows: Mask) -> Points32:
    """Some of the points, column by column in memory."""
    return points.T.take(np.flatnonzero(rows), axis=1).T


def _eroded(mask: Mask, rim: int, config: LiftConfig) -> tuple[Mask, int]:
    """The mask without its rim of some pixels, and that number; untouched (0) where the rim is most of it."""
    if rim:
        padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        core = cv2.erode(padded, _KERNEL, iterations=rim)[1:-1, 1:-1].view(np.bool_)
        if np.count_nonzero(core) >= max(config.min_pixels, _CORE_KEEP * np.count_nonzero(mask)):
            return core, rim
    return mask, 0


def _cut_sides(
    depth: npt.NDArray[np.float32],
    mask: Mask,
    window: tuple[slice, slice],
    rim: int,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[float, float, float]:
    """Part of the left, right and upper side of a mask that something nearer, or the picture's border, cuts off."""
    top, left = window[0].start, window[1].start
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    first, last = np.argmax(mask[rows], axis=1), mask.shape[1] - 1 - np.argmax(mask[rows, ::-1], axis=1)
    upper = np.argmax(mask[:, columns], axis=0)
    step = 2 + rim
    parts = []
    for v, u, dv, du in (
        (rows + top, first + left, 0, -step),
        (rows + top, last + left, 0, step),
        (upper + top, columns + left, -step, 0),
    ):
        beyond = (v + dv >= 0) & (u + du >= 0) & (u + du < depth.shape[1])
        own, other = depth[v[beyond], u[beyond]], depth[v[beyond] + dv, u[beyond] + du]
        covered = np.count_nonzero(other < own - depth_gap(own, depth_config, config)) + np.count_nonzero(~beyond)
        parts.append(covered / len(v))
    return parts[0], parts[1], parts[2]


def _roughness(depth: npt.NDArray[np.float32], usable: Mask) -> float:
    """Standard deviation of single depths from second differences along rows, which a smooth surface lacks.

    The difference z[u-1] - 2 z[u] + z[u+1] of independent noise has six times its variance.
    """
    every = max(1, depth.shape[0] // _ROWS)
    depth, usable = depth[::every], usable[::every]
    bend = depth[:, :-2] - 2 * depth[:, 1:-1] + depth[:, 2:]
    bend = bend[usable[:, :-2] & usable[:, 1:-1] & usable[:, 2:]]
    if not len(bend):
        return 0.0
    middle = len(bend) // 2
    return 1.4826 * float(np.partition(np.abs(bend), middle)[middle]) / 6**0.5  # np.median takes twice as long


def _smeared(depth: npt.NDArray[np.float32], focal: float) -> Mask:
    """Pixels where depth changes as no seen surface does: the smear that sensors leave between two surfaces."""
    smeared = np.zeros(depth.shape, np.bool_)
    limit = depth * np.float32(2 * STEEPEST / focal)  # over two pixels
    smeared[:, 1:-1] = np.abs(depth[:, 2:] - depth[:, :-2]) > limit[:, 1:-1]
    smeared[1:-1] |= np.abs(depth[2:] - depth[:-2]) > limit[1:-1]
    return smeared


def _one_surface(points: Points32, depth_config: DepthConfig, config: LiftConfig) -> Mask | None:
    """(N,) bool: points of the main depth cluster, and of others as near to it as the object is wide; None = all."""
    z = points[:, 2]
    if z.max() - z.min() <= config.gap:
        return None
    order = np.sort(z)
    jumps = np.flatnonzero(np.diff(order) > depth_gap(order[1:], depth_config, config))
    if not len(jumps):
        return None
    starts, ends = np.concatenate(([0], jumps + 1)), np.concatenate((jumps, [len(order) - 1]))
    sizes = ends - starts + 1
    main = int(np.argmax(sizes))
    inside = (z >= order[starts[main]]) & (z <= order[ends[main]])
    width = float(np.ptp(points[inside, 0]) + np.ptp(points[inside, 1])) / 2
    keep = inside
    for start, end, size in zip(starts, ends, sizes, strict=True):
        distance = max(order[start] - order[ends[main]], order[starts[main]] - order[end])
        if size >= _SIDE_CLUSTER * len(z) and distance < width / 2:
            keep = keep | ((z >= order[start]) & (z <= order[end]))
    return keep


def _seen_through(
    frame: RgbdFrame,
    surface: Surface,
    heights: npt.NDArray[np.float32],
    support: Plane,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> str | None:
    """Why the depth is not the object's own but that of what lies behind it, or None.

    Along a ray r with n·r < 0 the support lies at depth -d / (n·r), so a point lies height / (n·r) behind it.
    """
    z = surface.points[:, 2]
    slant = (heights - np.float32(support.offset)) / z
    beyond = heights / np.minimum(slant, np.float32(-1e-3))
    part_behind = np.count_nonzero(beyond > 3.0 * depth_noise(z, depth_config)) / len(z)
    if part_behind >= config.see_through_fraction and not _stands_out(frame, surface, depth_config, config):
        return (
            f"{part_behind:.0%} of its depth lies behind the surface it stands on, as glass and shiny things return it"
        )
    words = {*surface.detection.attributes, *surface.detection.label.lower().split()}
    if words & _SEE_THROUGH_WORDS:
        part_flat = np.count_nonzero(heights <= support_tolerance(support, config)) / len(z)
        if part_flat > 1.0 - config.see_through_fraction:
            return f"it is see-through and {part_flat:.0%} of its depth is that of the surface it stands on"
    return None


def _stands_out(frame: RgbdFrame, surface: Surface, depth_config: DepthConfig, config: LiftConfig) -> bool:
    """Whether the object is nearer than what surrounds its mask: a real thing on a lower level, not a view through."""
    rows, columns = surface.window
    top, left = max(0, rows.start - _AROUND), max(0, columns.start - _AROUND)
    depth = frame.depth[top : rows.stop + _AROUND, left : columns.stop + _AROUND]
    inside = np.zeros(depth.shape, np.uint8)
    inside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = surface.mask
    around = cv2.dilate(inside, _KERNEL, iterations=_AROUND - 1).view(np.bool_) & (inside == 0)
    own, other = depth[(inside > 0) & np.isfinite(depth)], depth[around & np.isfinite(depth)]
    if not len(other):
        return False
    beyond = np.median(other)
    return bool(np.median(own) < beyond - depth_gap(beyond, depth_config, config))
