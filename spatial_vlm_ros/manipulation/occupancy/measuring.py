# SPDX-License-Identifier: Apache-2.0
"""Computes occupied and unseen space around a target from one depth image.

A point is an obstacle if it was measured on a surface and does not belong to the support, the target, other objects or
the robot (which is already removed from depth). Statistics remove noise: a surface point has neighbours, is farther
from the support than its roughness, lies in a patch no smaller than the smallest object that must be found, and shares
its voxel with others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST
from spatial_vlm_ros.manipulation.occupancy.unseen import (
    SOLID,
    HiddenSpace,
    hidden_cells,
    inside_region,
    measured_share,
    within,
)
from spatial_vlm_ros.manipulation.occupancy.voxels import Indices, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig
from spatial_vlm_ros.types import Depth, Mask, RgbdFrame, Scene, Transform, Vector3

_THIN_SEEN = 0.3  # share of the smallest object's pixels that remain above the support and must be found
_LEAST_PIXELS = 4  # least size of a patch, at any distance
_FAR_SHARE = 0.3  # share of the points of a surface across the view that a voxel needs, if those are few
_AROUND = 9  # side of the window in which measured pixels are counted, pixels
_THIN = 1e-3  # metres: least height of a box
_MOST_FOR_ONE = 4.0  # most pixels that one measured pixel represents


@dataclass(frozen=True)
class Occupancy:
    """Unnamed obstacles from depth.

    Args:
        unseen: the part of `hidden` that is occupied with a probability of at least SOLID.
        seen_share: share of the gripper's approach space around the target with a measured line of sight, 0 to 1.
        hidden: what the camera does not see and may be occupied, the most probable first.
    """

    measured: VoxelBlocks
    unseen: VoxelBlocks
    seen_share: float
    hidden: tuple[HiddenSpace, ...] = ()


@dataclass(frozen=True)
class KnownBodies:
    """Known bodies, which are not unnamed obstacles. Planning frame, metres.

    Args:
        target_pixels: (H, W) bool, pixels of the target's mask; None without a mask.
        entered: index of a body in `others` that the target is put into or under → height of the lowest place there.
            Its parts above that (rim, contents, a board) are obstacles.
        target_doubt: standard deviations of the target's centre along its box's x, y and z, metres, at most 2 cm.
    """

    target: Solid
    target_pixels: Mask | None
    others: Sequence[Solid]
    support_height: float
    places: tuple[Vector3, ...] = ()
    entered: Mapping[int, float] = field(default_factory=dict)
    target_doubt: Vector3 = (0.0, 0.0, 0.0)

    @property
    def target_space(self) -> Solid:
        """Where the target may be: its box, grown by the uncertainty of its position."""
        return self.target.grown(self.target_doubt)

    @property
    def target_seen(self) -> Solid:
        """The box, apart from a margin, outside which no point is the target's.

        The box is made from the points in the mask, so the uncertainty is about the hidden side, where no point is
        measured. Without a mask, points around the box may be the target's, too.
        """
        return self.target_space if self.target_pixels is None else self.target


def occupancy_of(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Occupancy | None:
    """Find unnamed obstacles around a target.

    Args:
        scene: scene of one frame, whose depth excludes the robot.

    Returns:
        The obstacles; None if there is no depth at all.
    """
    frame = scene.frame
    if not np.isfinite(frame.depth).any():
        return None
    pixels = obstacle_pixels(scene, base_T_camera, known, depth, config)
    points, each = points_of(frame, pixels), stands_for(frame.depth)[pixels]
    measured = voxels_at(filled_cells(points, base_T_camera, frame.camera.K[0, 0], config, each), config.edge)
    view = (frame, base_T_camera)
    if known.entered:  # a rim hides the inside of its own container, where the place was found
        pixels = obstacle_pixels(scene, base_T_camera, replace(known, entered={}), depth, config)
    hidden = hidden_cells(view, pixels, known.target_space, known.others, known.support_height, depth, config)
    hidden = tuple(replace(space, voxels=without(space.voxels, measured)) for space in hidden)
    solid = [space.voxels.indices for space in hidden if space.chance >= SOLID]
    unseen = voxels_at(np.concatenate([np.zeros((0, 3), np.int32), *solid]), config.edge)
    share = measured_share(view, known.target_space, known.support_height, config, known.places)
    return Occupancy(measured, unseen, share, hidden)


def obstacle_pixels(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Mask:
    """(H, W) bool: pixels that measured a surface of no known body, inside the region around the target."""
    frame = scene.frame
    focal = float(frame.camera.K[0, 0])
    candidates = np.isfinite(frame.depth) & off_support(scene, base_T_camera, known, depth, config)
    if not candidates.any():
        return candidates
    candidates &= on_surface(frame.depth, focal, depth)
    if known.target_pixels is not None:
        candidates &= cv2.dilate(known.target_pixels.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
    points = base_T_camera.apply(points_of(frame, candidates))
    inside = inside_region(points, ways_of(known), known.support_height, config)
    bodies = [(known.target_seen, config.target_margin)]
    for k, body in enumerate(known.others):
        height = known.entered.get(k)
        # Only up to the place in it, unless voxels cannot tell what is higher.
        if height is not None and body.top - height > config.known_margin + config.edge:
            body = body.between(body.bottom, max(height, body.bottom + _THIN))
        bodies.append((body, config.known_margin))
    for body, margin in bodies:
        inside &= ~within(body.grown((margin, margin, margin)), points)
    candidates[candidates] = inside

    # Patches that are smaller than the visible rest of the smallest object that must be found are removed. A patch may
    # continue across one or two unmeasured pixels.
    grown = cv2.dilate(candidates.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    bridged = candidates | (grown & ~np.isfinite(frame.depth))
    count, labels = cv2.connectedComponents(bridged.view(np.uint8), connectivity=8)
    if count < 2:
        return candidates
    where, z = labels[candidates], frame.depth[candidates].astype(np.float64)
    members = np.maximum(np.bincount(where, minlength=count), 1)
    areas = np.bincount(where, stands_for(frame.depth)[candidates], minlength=count)
    distance = np.maximum(np.bincount(where, z, minlength=count) / members, 1e-3)
    least = np.maximum(_THIN_SEEN * config.thin_height * config.thin_width * (focal / distance) ** 2, _LEAST_PIXELS)
    large = areas >= least
    large[0] = False
    return np.asarray(candidates & large[labels])


def points_of(frame: RgbdFrame, pixels: Mask) -> Array:
    """(N, 3) points of the masked pixels, metres, camera frame, row by row."""
    xs, ys = normalised_axes(frame.camera)
    rows, columns = np.nonzero(pixels)
    z = frame.depth[rows, columns].astype(np.float64)
    return np.stack((xs[columns] * z, ys[rows] * z, z), axis=1)


def ways_of(known: KnownBodies) -> tuple[Vector3, ...]:
    """Positions where the arm takes and puts the target: first the target's centre, then the places."""
    return (known.target.centre, *known.places)


def stands_for(depth: Depth) -> npt.NDArray[np.float32]:
    """(H, W) how many pixels a measured one represents: 1 if all its neighbours are measured, more among dropouts."""
    share = cv2.blur(np.isfinite(depth).astype(np.float32), (_AROUND, _AROUND), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(1.0 / np.maximum(share, 1.0 / _MOST_FOR_ONE), np.float32)


def without(blocks: VoxelBlocks, others: VoxelBlocks) -> VoxelBlocks:
    """Voxels whose centres are in none of the others."""
    return blocks.kept(~others.holds(blocks.centres())) if len(blocks) and len(others) else blocks


def off_support(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Mask:
    """(H, W) bool: pixels that are farther from the support than its roughness and the depth noise explain.

    The standard deviation of a point across the support is the larger of the support's measured roughness and the depth
    noise across the plane, which dominates for far parts.
    """
    frame, plane = scene.frame, scene.support
    xs, ys = (axis.astype(np.float32) for axis in normalised_axes(frame.camera))
    if plane is None:
        up, offset, rms, sigma = base_T_camera.rotation[2], float(base_T_camera.translation[2]), 0.0, 0.0
        offset -= known.support_height
    else:
        up, offset, rms, sigma = plane.normal, plane.offset, plane.rms, plane.sigma
    slant = np.float32(up[0]) * xs[None, :] + np.float32(up[1]) * ys[:, None] + np.float32(up[2])
    height = slant * frame.depth + np.float32(offset)
    across = np.abs(slant) * np.asarray(depth_noise(frame.depth, depth), np.float32)
    if plane is None:
        roughness = np.maximum(across, np.float32(rms))
    else:  # beyond the middle of the visible support, measured roughness grows like the depth noise
        few = across[::8, ::8]
        finite = few[np.isfinite(few)]
        if not len(finite):  # regular dropouts may hit exactly the sampled rows or columns
            finite = across[np.isfinite(across)]
        usual = np.float32(max(float(np.median(finite)), 1e-6))
        roughness = np.asarray(np.float32(rms) * np.maximum(1.0, across / usual), np.float32)
    limit = np.float32(config.support_gap) + np.float32(config.sigmas) * np.hypot(roughness, np.float32(sigma))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(height) > limit)


def filled_cells(
    points: Array,
    base_T_camera: Transform,
    focal: float,
    config: OccupancyConfig,
    each: npt.NDArray[np.floating] | None = None,
) -> Indices:
    """(M, 3) indices of cells with enough points, compared with a surface across the view.

    Args:
        points: (N, 3) metres, camera frame.
        focal: focal length, pixels.
        each: (N,) pixels that each point represents (`stands_for`); None = one.
    """
    if not len(points):
        return np.zeros((0, 3), np.int32)
    cells = np.floor(base_T_camera.apply(points) / config.edge).astype(np.int32)
    low = cells.min(axis=0)
    spans = (cells.max(axis=0) - low + 1).astype(np.int64)
    keys = np.ravel_multi_index(tuple((cells - low).T.astype(np.int64)), tuple(spans))
    kept, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    distance = np.bincount(places, points[:, 2]) / counts
    across = (focal * config.edge / distance) ** 2
    least = np.maximum(config.least_share * across, np.minimum(config.least_points, _FAR_SHARE * across))
    held = counts if each is None else np.bincount(places, each)
    return np.asarray(np.stack(np.unravel_index(kept[held >= least], tuple(spans)), axis=1) + low, np.int32)


_LEAST = 3 / 8  # least share of measured neighbours on the same surface: of 8, two pixels side by side have 5, a line 2
_SIGMAS = 3.0  # standard deviations that two pixels of one surface may differ by, in addition to its slope


def on_surface(depth: Depth, focal: float, config: DepthConfig) -> Mask:
    """Mask of the pixels that measured a surface.

    It excludes pixels between two surfaces, where depth keeps rising or falling across the pixel faster than on any
    surface that a camera sees. A narrow object is nearer than both its sides, so its pixels stay. It also excludes
    pixels with hardly any measured neighbour at their own depth.

    Args:
        focal: focal length, pixels.

    Returns:
        (H, W) bool; false for pixels without depth.
    """
    measured = np.isfinite(depth)
    if not measured.any():
        return measured
    filled = np.where(measured, depth, np.float32(0.0))
    slope = filled * np.float32(STEEPEST / focal)  # slope of the steepest surface, over one pixel
    noise = np.asarray(depth_noise(filled, config), np.float32) * np.float32(_SIGMAS)
    rising, falling = np.zeros(depth.shape, np.uint8), np.zeros(depth.shape, np.uint8)
    limit = slope + noise
    height, width = filled.shape
    bordered = cv2.copyMakeBorder(filled, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-1000.0)
    bordered[1:-1, 1:-1][~measured] = -1000.0
    like, around = np.zeros(filled.shape, np.uint8), np.zeros(filled.shape, np.uint8)  # of the 8 neighbours
    for down, across in itertools.product(range(3), repeat=2):
        if (down, across) != (1, 1):
            other = bordered[down : down + height, across : across + width]
            like += (np.abs(other - filled) <= limit).view(np.uint8)
            around += (other >= 0).view(np.uint8)
    for axis in (0, 1):
        step = np.diff(depth, axis=axis)
        nothing = np.full_like(np.take(depth, [0], axis=axis), np.nan)
        before, after = np.concatenate((nothing, step), axis=axis), np.concatenate((step, nothing), axis=axis)
        with np.errstate(invalid="ignore"):
            rising |= ((before > slope) & (after > slope) & (before + after > 2 * limit)).view(np.uint8)
            falling |= ((before < -slope) & (after < -slope) & (before + after < -2 * limit)).view(np.uint8)
    return measured & (like > 0) & (like >= _LEAST * around) & (rising == 0) & (falling == 0)


PREFIX = "occupancy/"
"""Prefix of the names of occupied space, so that no detection has the same id."""
MEASURED, BESIDE, UNSEEN = f"{PREFIX}measured", f"{PREFIX}beside_target", f"{PREFIX}unseen"
INSIDE = f"{PREFIX}in_destination"
_INSIDE = 0.01  # metres outside the destination's box that its measured rim may be
_BESIDE = 0.02  # metres from the target's box within which an obstacle may touch it during the lift
_NEIGHBOURS = np.array(list(itertools.product((-1, 0, 1), repeat=3)), np.int32)


@dataclass(frozen=True)
class OccupiedSpace:
    """A group of unnamed obstacles that are treated alike.

    Args:
        id: MEASURED, BESIDE, INSIDE or UNSEEN.
        boxes: boxes along the axes of the planning frame; at least one.
    """

    id: str
    label: str
    boxes: tuple[Solid, ...]


def spaces_of(occupancy: Occupancy | None, target: Solid, entered: Solid | None = None) -> tuple[OccupiedSpace, ...]:
    """Divide occupied space (None: none) into up to four parts.

    Obstacles measured within 2 cm of the target and no higher than its top are a separate part: the target may touch
    them during the lift, because moving up brings it no nearer. Those in the destination are another, which the
    target may touch while it is lowered, such as the wall of a bowl that its box enters. The gripper may touch neither.
    """
    if occupancy is None:
        return ()
    measured = occupancy.measured
    beside = is_beside(measured, target)
    inside = is_inside(measured, entered) & ~beside
    parts = (
        (MEASURED, "an object without a name", measured.kept(~beside & ~inside)),
        (BESIDE, "an object without a name beside the target", measured.kept(beside)),
        (INSIDE, "the rim or the contents of the place", measured.kept(inside)),
        (UNSEEN, "space that the camera does not see", occupancy.unseen),
    )
    return tuple(OccupiedSpace(id_, label, blocks.as_boxes()) for id_, label, blocks in parts if len(blocks))


def is_beside(measured: VoxelBlocks, target: Solid) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels are within 2 cm of the target and no higher than its top, in the order of `centres`."""
    centres, half = measured.centres(), measured.edge / 2
    beside = within(target.grown((_BESIDE + half, _BESIDE + half, _BESIDE + half)), centres)
    return np.asarray(beside & (centres[:, 2] - half < target.top))


def is_inside(measured: VoxelBlocks, entered: Solid | None) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels are in the space that the target enters in its destination, in the order of `centres`."""
    centres, more = measured.centres(), _INSIDE + measured.edge / 2
    return np.zeros(len(centres), np.bool_) if entered is None else within(entered.grown((more, more, 0.0)), centres)


def changed_since(then: Occupancy | None, now: Occupancy) -> Occupancy:
    """Space that is occupied now and could not be when the plan was made, with a tolerance of one voxel for noise."""
    if then is None:
        return now
    known = [widened(blocks) for blocks in (then.measured, then.unseen, *(space.voxels for space in then.hidden))]
    measured, unseen = now.measured, now.unseen
    for blocks in known:
        measured, unseen = without(measured, blocks), without(unseen, blocks)
    return replace(now, measured=measured, unseen=unseen)


def widened(blocks: VoxelBlocks) -> VoxelBlocks:
    """Add the 26 neighbours of each voxel."""
    return voxels_at((blocks.indices[:, None, :] + _NEIGHBOURS).reshape(-1, 3), blocks.edge, blocks.origin)
