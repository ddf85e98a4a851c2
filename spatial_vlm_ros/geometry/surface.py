# SPDX-License-Identifier: Apache-2.0
"""Extract the clean visible surface of one object from the pixels of its mask.

Removes the mask's rim, smeared depth, other surfaces, and the support; gives the reason if no good points are left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST, Patch, depth_gap, support_tolerance
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame

Points32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_KERNEL = np.ones((3, 3), np.uint8)
_CORE_KEEP = 0.3  # fraction of a mask that must be left after its rim is removed; thin objects are all rim
_CALM_KEEP = 0.5  # fraction of the pixels that must be left after smeared ones are removed; thin objects are all edge
_POINT_PIXELS = 16  # window of a pointed detection without a surface: the few pixels around its point
_SIDE_CLUSTER = 0.15  # fraction of the points from which a second depth cluster belongs to the object
_FLAT_KEEP = 0.25  # fraction of an object's points above the support below which it is a flat object
_SCATTER = 20.0  # times the stated noise: no sensor, however badly described, is that inaccurate
_ROWS = 40  # rows of a mask used to measure noise
_LINES = 64  # about how many lines of a side are followed
_AROUND = 6  # pixels around a mask that are compared with it
_FEW_AROUND = 20  # measured pixels around a mask that are enough to know its surroundings
_SAME_LEVEL = 0.004  # metres off the support, beyond noise, that still count as the support
_SURROUNDED = 0.1  # fraction of the surroundings of an object that are the support if it stands there
_SEE_THROUGH_WORDS = frozenset({"glass", "clear", "transparent", "see-through", "translucent", "crystal"})


@dataclass(frozen=True)
class Cut:
    """Where something nearer, or the image border, cuts a mask off.

    Args:
        left, right, above: fraction of that side behind something nearer or off the image, 0 to 1.
        across: pixels by which the object may continue beyond its visible part to the left or right, whichever is more:
            up to where the occluder ends, or where the object's own end is visible elsewhere on that side.
        below: fraction of the lower side, 0 to 1.
    """

    left: float = 0.0
    right: float = 0.0
    above: float = 0.0
    across: float = 0.0
    upwards: float = 0.0
    below: float = 0.0

    @property
    def most(self) -> float:
        """The largest share of the left, the right and the upper side."""
        return max(self.left, self.right, self.above)


@dataclass(frozen=True, eq=False)
class Surface:
    """The visible surface of one detection."""

    detection: Detection
    window: tuple[slice, slice]  # rows and columns of the image that hold the mask
    mask: Mask  # (h, w) bool, of the window
    points: Points32  # (N, 3) float32, metres, camera frame; empty where `problem` is set
    rim: int  # pixels eroded from the mask before measuring
    valid_fraction: float  # fraction of the mask with measured depth
    noise: float  # standard deviation of single depths, metres, measured on the surface itself
    cut: Cut
    problem: str | None  # why the depth cannot be trusted, in words, or None


def visible_surface(
    frame: RgbdFrame,
    detection: Detection,
    patch: Patch,
    support: Plane | None,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> Surface:
    """Clean the visible surface in one mask of a rectified frame, depth within range."""
    window, part = patch.window, patch.mask
    depth = frame.depth[window]
    core, rim = part, config.erode_px
    if rim:
        core = cv2.erode(
            part.view(np.uint8), _KERNEL, iterations=rim, borderType=cv2.BORDER_CONSTANT, borderValue=0
        ).view(np.bool_)
        if np.count_nonzero(core) < max(config.min_pixels, _CORE_KEEP * np.count_nonzero(part)):
            core, rim = part, 0  # a mask that is mostly rim is kept
    usable = core & np.isfinite(depth)
    noise, cut = 0.0, Cut()
    wanted, measured = int(np.count_nonzero(core)), int(np.count_nonzero(usable))

    def surface(points: Points32, problem: str | None) -> Surface:
        return Surface(detection, window, part, points, rim, measured / max(1, wanted), noise, cut, problem)

    nothing = np.empty((0, 3), np.float32)
    if detection.pointed and detection.mask is None and part.size <= _POINT_PIXELS:
        why = "it touches another object, is too large, lies flat on its support, or its support is not visible"
        return surface(nothing, f"its extent around the point that the model gave is unknown: {why}")
    if measured < config.min_pixels or measured < config.min_valid_fraction * wanted:
        return surface(nothing, f"only {measured} of its {wanted} pixels have measured depth")
    focal = frame.camera.K[0, 0]
    smeared = np.zeros(depth.shape, np.bool_)  # depth changes too fast for a surface: between two surfaces
    limit = depth * np.float32(2 * STEEPEST / focal)  # over two pixels
    across, down = depth[:, 2:] - depth[:, :-2], depth[2:] - depth[:-2]
    np.greater(np.abs(across, out=across), limit[:, 1:-1], out=smeared[:, 1:-1])
    smeared[1:-1] |= np.abs(down, out=down) > limit[1:-1]
    calm = usable & ~smeared
    if np.count_nonzero(calm) >= max(config.min_pixels, _CALM_KEEP * measured):
        usable = calm
    noise = _roughness(depth, usable)
    cut = _cut_sides(frame.with_robot, patch, rim, depth_config, config)
    points = _points(frame, window, usable)
    if noise > _SCATTER * float(depth_noise(float(points[:, 2].mean()), depth_config)):
        return surface(nothing, f"its depth scatters by {noise:.2f} m from pixel to pixel")
    main = _one_surface(points, depth_config, config)
    points = points if main is None else _chosen(points, main)
    if support is not None:
        heights = _heights(points, support)
        problem = _seen_through(frame, detection, patch, points[:, 2], heights, support, depth_config, config)
        if problem is not None:
            return surface(nothing, problem)
        raised = heights > support_tolerance(support, config)
        if np.count_nonzero(raised) >= max(config.min_pixels, _FLAT_KEEP * len(points)):
            points = _chosen(points, raised)
    if len(points) < config.min_pixels:
        return surface(nothing, f"only {len(points)} of its pixels remain after other surfaces are removed")
    return surface(points, None)


def _points(frame: RgbdFrame, window: tuple[slice, slice], usable: Mask) -> Points32:
    """(N, 3) points of the usable pixels of a window, column by column in memory."""
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[window]
    points = np.empty((3, *z.shape), np.float32)
    np.multiply(xs[window[1]].astype(np.float32), z, out=points[0])
    np.multiply(ys[window[0], None].astype(np.float32), z, out=points[1])
    points[2] = z
    return points.reshape(3, -1).take(np.flatnonzero(usable), axis=1).T


def _heights(points: Points32, support: Plane) -> npt.NDArray[np.float32]:
    """(N,) heights of points above the support, metres; sums in single precision, term by term."""
    (x, y, z), n = points.T, support.normal.astype(np.float32)
    heights = x * n[0]
    heights += y * n[1]
    heights += z * n[2]
    heights += np.float32(support.offset)
    return heights


def _chosen(points: Points32, rows: Mask) -> Points32:
    return points.T.take(np.flatnonzero(rows), axis=1).T


def _cut_sides(
    depth: npt.NDArray[np.float32], patch: Patch, rim: int, depth_config: DepthConfig, config: LiftConfig
) -> Cut:
    """Where something nearer, or the image border, cuts a mask off on the left, on the right, above and below."""
    mask, top, left = patch.mask, patch.window[0].start, patch.window[1].start
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    first, last = mask.argmax(axis=1)[rows], mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)[rows]
    upper, lower = mask.argmax(axis=0)[columns], mask.shape[0] - 1 - mask[::-1].argmax(axis=0)[columns]
    step = 2 + rim
    # All sides at once: for so few pixels calls take longer than the work.
    v, u = np.concatenate((rows, rows, upper, lower)) + top, np.concatenate((first, last, columns, columns)) + left
    next_v = np.concatenate((rows, rows, upper - step, lower + step)) + top
    next_u = np.concatenate((first - step, last + step, columns, columns)) + left
    outside = (next_v < 0) | (next_v >= depth.shape[0]) | (next_u < 0) | (next_u >= depth.shape[1])
    own, other = depth[v, u], depth.take(next_v * depth.shape[1] + next_u, mode="clip")
    nearer = own - depth_gap(own, depth_config, config)
    covered = outside | (other < nearer)
    if not covered.any():
        return Cut()
    n, (height, width) = len(rows), mask.shape
    # For each side: its lines, how far each begins inside the outermost one, its direction and largest length.
    sides = (
        (slice(n), first - first.min(), (0, -1), width),
        (slice(n, 2 * n), last.max() - last, (0, 1), width),
        (slice(2 * n, 2 * n + len(columns)), upper - upper.min(), (-1, 0), height),
    )
    shares, beyond = [0.0] * 3, [0.0] * 3
    for side, (lines, inside, direction, reach) in enumerate(sides):
        cut = np.flatnonzero(covered[lines])
        shares[side] = len(cut) / len(inside)
        cut = cut[:: 1 + len(cut) // _LINES]
        runs = nearer_run(depth, next_v[lines][cut], next_u[lines][cut], direction, nearer[lines][cut], reach)
        beyond[side] = float((runs + step - inside[cut]).max(initial=0))
    below = float(covered[2 * n + len(columns) :].mean())
    return Cut(shares[0], shares[1], shares[2], max(beyond[:2]), beyond[2], below)


def nearer_run(
    depth: npt.NDArray[np.float32],
    v: Indices,
    u: Indices,
    direction: tuple[int, int],
    limit: npt.NDArray[np.float32],
    reach: int,
) -> Indices:
    """(N,) pixels in a row from (v, u) on that are nearer than `limit`, unmeasured or off-image; at most `reach`."""
    ahead = np.arange(reach)
    v, u = v[:, None] + direction[0] * ahead, u[:, None] + direction[1] * ahead
    rows, columns = depth.shape
    seen = (v >= 0) & (v < rows) & (u >= 0) & (u < columns)
    ends = seen & (depth.take(v * columns + u, mode="clip") >= limit[:, None])
    return np.where(ends.any(axis=1), ends.argmax(axis=1), reach)


def _roughness(depth: npt.NDArray[np.float32], usable: Mask) -> float:
    """Standard deviation of single depths, from second differences along rows; a smooth surface has none.

    The difference z[u-1] - 2 z[u] + z[u+1] of independent noise has six times its variance.
    """
    every = max(1, depth.shape[0] // _ROWS)
    depth, usable = depth[::every], usable[::every]
    bend = depth[:, :-2] - 2 * depth[:, 1:-1]
    bend += depth[:, 2:]
    bend = bend[usable[:, :-2] & usable[:, 1:-1] & usable[:, 2:]]
    if not len(bend):
        return 0.0
    np.abs(bend, out=bend)
    middle = len(bend) // 2
    bend.partition(middle)  # np.median takes twice as long
    return 1.4826 * float(bend[middle]) / 6**0.5


def _one_surface(points: Points32, depth_config: DepthConfig, config: LiftConfig) -> Mask | None:
    """(N,) bool: points of the main depth cluster, and of others as near to it as the object is wide; None = all."""
    z = points[:, 2]
    if z.max() - z.min() <= config.gap or _is_gapless(z, config.gap):
        return None
    order = np.sort(z)
    steps = order[1:] - order[:-1]
    if steps.max() <= config.gap:
        return None  # depth_gap is never less
    jumps = np.flatnonzero(steps > depth_gap(order[1:], depth_config, config))
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


def _is_gapless(z: npt.NDArray[np.float32], gap: float) -> bool:
    """True if no step between depths (N,) in their order exceeds `gap`, metres; False if that is not certain.

    A longer step would leave one of the half-as-wide bins empty; sorting takes several times as long.
    """
    nearest, farthest = float(z.min()), float(z.max())
    width = 0.49 * gap  # not quite half: float32 rounds
    if farthest - nearest > width * len(z):
        return False
    held = np.bincount(((z - np.float32(nearest)) * np.float32(1 / width)).astype(np.intp))
    return bool(held.all())


def _seen_through(
    frame: RgbdFrame,
    detection: Detection,
    patch: Patch,
    z: npt.NDArray[np.float32],
    heights: npt.NDArray[np.float32],
    support: Plane,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> str | None:
    """Why depth `z` (N,) is that of what lies behind an object, or None; `heights` (N,) over its support, metres."""
    see_through = bool({*detection.attributes, *detection.label.lower().split()} & _SEE_THROUGH_WORDS)
    if np.count_nonzero(heights < 0) / len(z) >= config.see_through_fraction:  # only lower points can be behind
        # Along a ray r with n·r < 0 the support lies at depth -d / (n·r), so a point lies height / (n·r) behind it.
        slant = (heights - np.float32(support.offset)) / z
        behind = heights / np.minimum(slant, np.float32(-1e-3))  # metres
        part_behind = np.count_nonzero(behind > 3.0 * depth_noise(z, depth_config)) / len(z)
        rows, columns = patch.window
        top, left = max(0, rows.start - _AROUND), max(0, columns.start - _AROUND)
        window = np.s_[top : rows.stop + _AROUND, left : columns.stop + _AROUND]
        depth, inside = frame.depth[window], patch.full(frame.depth.shape)[window].view(np.uint8)

        # Is the support visible around it? An object in a drawer or a bin below does not stand on it.
        around = (cv2.dilate(inside, _KERNEL, iterations=_AROUND) > 0) & (inside == 0) & np.isfinite(depth)
        points = _points(frame, (slice(top, top + around.shape[0]), slice(left, left + around.shape[1])), around)
        near = np.abs(_heights(points, support)) < _SAME_LEVEL + 3.0 * depth_noise(points[:, 2], depth_config)
        surrounded = len(points) < _FEW_AROUND or np.count_nonzero(near) >= _SURROUNDED * len(points)

        # Is it nearer than its surroundings? That is a real object on a lower level, not a view through it.
        beside = (cv2.dilate(inside, _KERNEL, iterations=_AROUND - 1) > 0) & (inside == 0) & np.isfinite(depth)
        beyond = np.median(depth[beside]) if beside.any() else -np.inf
        own = depth[(inside > 0) & np.isfinite(depth)]
        stands_out = beside.any() and np.median(own) < beyond - depth_gap(beyond, depth_config, config)
        if part_behind >= config.see_through_fraction and (see_through or surrounded) and not stands_out:
            return (
                f"{part_behind:.0%} of its depth lies behind the surface that it stands on, which is typical of "
                "glass and shiny objects"
            )
    if see_through:
        part_flat = np.count_nonzero(heights <= support_tolerance(support, config)) / len(z)
        if part_flat > 1.0 - config.see_through_fraction:
            return f"it is transparent, and {part_flat:.0%} of its depth is that of the surface that it stands on"
    return None
