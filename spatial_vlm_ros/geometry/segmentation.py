# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a box are the object: masks from depth for detections that come without one.

The picture's measured surface is cut at depth jumps and at the support plane; the pieces are then given to the boxes
that they fill. A piece that reaches far out of a box (an occluder, the background) is not that box's object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, Floats, Mask, Plane, RgbdFrame

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive

_OWNED = 0.7  # part of a piece inside a box that makes it a piece of that box
_SHARED, _FILLED = 0.15, 0.15  # part of a piece inside a box, or of the box filled by it, that makes a claim on it
STEEPEST = 6.0  # slope of a surface against the image (80 degrees) from which it is a depth edge
_MIN_PIECE = 8  # pixels; smaller pieces are noise
_MIN_MODEL = 30  # pixels of a box alone from which its depth and colour are learnt
_LEAST_SPREAD = (0.01, 12.0, 6.0, 6.0)  # metres; lightness and two colour axes, 8-bit Lab
_CORE = 0.5  # part of a box, about its centre, that shows its object when nothing lies in it alone
_UNLIKE = 6.0  # squared deviation from which the middle of a box shows another object than the piece's owner
_MIN_FILL = 0.04  # part of a box that its pieces must fill; less is a flat or unmeasured object
_FLAT_CORE = 0.6  # part of a box, about its centre, taken for a flat object of its surroundings' colour


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask of a part of the image: rows and columns, and (h, w) bool within them."""

    window: tuple[slice, slice]
    mask: Mask

    @classmethod
    def around(cls, mask: Mask) -> Patch:
        """The smallest patch that holds all set pixels of a mask that has some.

        cv2.boundingRect takes three times as long on a whole image.
        """
        top = int(mask.argmax()) // mask.shape[1]
        bottom = top + int(np.flatnonzero(mask[top:].any(axis=1))[-1]) + 1
        columns = np.flatnonzero(mask[top:bottom].any(axis=0))
        window = (slice(top, bottom), slice(int(columns[0]), int(columns[-1]) + 1))
        return cls(window, mask[window])

    def tight(self) -> Patch:
        """The same pixels in the smallest window."""
        inner = Patch.around(self.mask)
        moved = [
            slice(part.start + outer.start, part.stop + outer.start)
            for part, outer in zip(inner.window, self.window, strict=True)
        ]
        return Patch((moved[0], moved[1]), inner.mask)

    def full(self, shape: tuple[int, ...]) -> Mask:
        """(H, W) bool of the whole image."""
        mask = np.zeros(shape, np.bool_)
        mask[self.window] = self.mask
        return mask


def masks_from_boxes(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    support: Plane | None,
    depth_config: DepthConfig,
    lift_config: LiftConfig,
) -> list[Patch]:
    """A mask for every detection: its own, or one cut out of its box by depth, else by colour.

    Args:
        frame: rectified frame.
        detections: boxes inside the image; those with masks keep them, and their pixels are nobody else's.
        support: plane under the objects, or None.
        depth_config: noise of depth.
        lift_config: heights and gaps that separate surfaces.

    Returns:
        One patch for each detection, with at least one pixel set, in the smallest window.
    """
    boxed = [i for i, d in enumerate(detections) if d.mask is None]
    patches = [None if d.mask is None else Patch.around(d.mask) for d in detections]
    if boxed:
        claimed = np.zeros(frame.depth.shape, np.bool_)
        for patch in patches:
            if patch is not None:
                claimed[patch.window] |= patch.mask
        boxes = [_pixel_box(detections[i], frame.depth.shape) for i in boxed]
        raised = raised_pixels(frame, support, lift_config) & ~claimed
        cut = _give_pieces(frame, _pieces(frame, raised, depth_config), boxes)
        for i, box, mask in zip(boxed, boxes, cut, strict=True):
            if np.count_nonzero(mask) < max(lift_config.min_pixels, _MIN_FILL * mask.size):
                mask = _flat_mask(frame, box, claimed[_window(box)], mask)
            patches[i] = Patch(_window(box), mask).tight()
    return [patch for patch in patches if patch is not None]


def raised_pixels(frame: RgbdFrame, support: Plane | None, lift_config: LiftConfig) -> Mask:
    """(H, W) bool: measured pixels above the support; all measured ones when there is no support plane."""
    depth = frame.depth
    if support is None:
        return np.isfinite(depth)
    xs, ys = normalised_axes(frame.camera)
    n = support.normal.astype(np.float32)
    height = (n[0] * xs.astype(np.float32))[None, :] + (n[1] * ys.astype(np.float32) + n[2])[:, None]
    height *= depth
    height += np.float32(support.offset)
    return height > np.float32(support_tolerance(support, lift_config))


def support_tolerance(support: Plane, config: LiftConfig) -> float:
    """Height in metres up to which a point may be the support itself."""
    return config.support_height + 2.0 * support.rms


def depth_gap(depth: Floats | float, depth_config: DepthConfig, lift_config: LiftConfig) -> Floats:
    """Jump in metres, at each depth, that separates two surfaces."""
    return lift_config.gap + 6.0 * depth_noise(depth, depth_config)


def _pixel_box(detection: Detection, shape: tuple[int, ...]) -> PixelBox:
    """Whole pixels of a box, inside the image: left, top, right, bottom (last ones exclusive)."""
    x0, y0, x1, y1 = detection.box_xyxy
    left, top = min(max(0, round(x0)), shape[1] - 1), min(max(0, round(y0)), shape[0] - 1)
    return left, top, max(left + 1, min(shape[1], round(x1) + 1)), max(top + 1, min(shape[0], round(y1) + 1))


def _pieces(frame: RgbdFrame, raised: Mask, depth_config: DepthConfig) -> npt.NDArray[np.int32]:
    """Label connected raised pixels, cut where the surface is too steep to be one. 0 = none.

    Sensors smear a depth edge over some pixels, so it is the slope that is tested, over one and two pixels; the
    farther pixel of a pair is cut.
    """
    depth = frame.depth
    z = np.where(raised, depth, np.float32(0))
    pixel = z * np.float32(STEEPEST / frame.camera.K[0, 0])
    noise = depth_noise(z, depth_config).astype(np.float32)
    edge = np.zeros(depth.shape, np.bool_)
    for step in (1, 2):
        limit = pixel * step + noise
        for near, far in (
            (np.s_[:, :-step], np.s_[:, step:]),
            (np.s_[:, step:], np.s_[:, :-step]),
            (np.s_[:-step], np.s_[step:]),
            (np.s_[step:], np.s_[:-step]),
        ):
            edge[far] |= raised[near] & (z[far] - z[near] > limit[far])
    return np.asarray(cv2.connectedComponents((raised & ~edge).astype(np.uint8), connectivity=4)[1], np.int32)


def _give_pieces(frame: RgbdFrame, labels: npt.NDArray[np.int32], boxes: Sequence[PixelBox]) -> list[Mask]:
    """Give every piece to the box it fills best; divide pieces that several boxes cut through.

    Returns:
        (h, w) bool of each box.
    """
    labels, areas = _large_pieces(labels)
    inside = np.zeros((len(boxes), len(areas)))
    for b, (x0, y0, x1, y1) in enumerate(boxes):
        inside[b] = np.bincount(labels[y0:y1, x0:x1].reshape(-1), minlength=len(areas))
    inside[:, 0] = 0  # label 0 is no piece
    covered = inside / np.maximum(areas, 1)
    sizes = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes], np.float64)
    masks = [np.zeros((y1 - y0, x1 - x0), np.bool_) for x0, y0, x1, y1 in boxes]
    for piece in np.flatnonzero(inside.max(axis=0) > 0):
        filled = inside[:, piece] >= np.maximum(_FILLED * sizes, _MIN_MODEL)
        own = np.flatnonzero(covered[:, piece] >= _OWNED)
        if not len(own):
            rivals = [int(b) for b in np.flatnonzero(filled | (covered[:, piece] >= _SHARED))]
        else:
            owner = int(own[np.argmax(inside[own, piece] / sizes[own])])
            others = [int(b) for b in np.flatnonzero(filled) if b != owner]
            rivals = [owner, *_apart(frame, labels == piece, boxes, owner, others)] if others else [owner]
        if len(rivals) == 1:
            masks[rivals[0]] |= labels[_window(boxes[rivals[0]])] == piece
        elif rivals:
            parts = _divide(_Pixels.of(frame, labels == piece), [boxes[b] for b in rivals])
            for rival, part in zip(rivals, parts, strict=True):
                masks[rival] |= part
    return masks


def _window(box: PixelBox) -> tuple[slice, slice]:
    """Rows and columns of a box."""
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def _large_pieces(labels: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Labels without the pieces that are noise, numbered anew, and their areas; 0 = none."""
    areas = np.bincount(labels.reshape(-1))
    large = areas >= _MIN_PIECE
    large[0] = False
    number = np.where(large, np.cumsum(large), 0).astype(np.int32)
    kept = number[labels]
    return kept, np.bincount(kept.reshape(-1), minlength=1)


@dataclass(frozen=True, eq=False)
class _Pixels:
    """The pixels of one piece: rows, columns, and (N, 4) depth and Lab colour."""

    v: npt.NDArray[np.intp]
    u: npt.NDArray[np.intp]
    features: npt.NDArray[np.float32]

    @classmethod
    def of(cls, frame: RgbdFrame, piece: Mask) -> _Pixels:
        v, u = np.nonzero(piece)
        lab = cv2.cvtColor(frame.rgb[v, u][None], cv2.COLOR_RGB2Lab)[0].astype(np.float32)
        return cls(v, u, np.column_stack((frame.depth[v, u], lab)))

    def inside(self, box: PixelBox, part: float = 1.0) -> npt.NDArray[np.bool_]:
        """(N,) whether a pixel lies in a box, or in the central part of it."""
        x0, y0, x1, y1 = box
        dx, dy = (1 - part) / 2 * (x1 - x0), (1 - part) / 2 * (y1 - y0)
        return (self.u >= x0 + dx) & (self.u < x1 - dx) & (self.v >= y0 + dy) & (self.v < y1 - dy)

    def unlike(self, model: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating]:
        """(N,) mean squared deviation of each pixel from the pixels of a model, in the model's own spread."""
        sample = self.features[model]
        middle = np.median(sample, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(sample - middle), axis=0), _LEAST_SPREAD)
        return (((self.features - middle) / spread) ** 2).mean(axis=1)


def _apart(frame: RgbdFrame, piece: Mask, boxes: Sequence[PixelBox], owner: int, others: Sequence[int]) -> list[int]:
    """Boxes whose middle looks unlike the owner's part of a piece: objects that stand on it or before it.

    The middle of a box behind the owner shows the owner, and makes no claim.
    """
    pixels = _Pixels.of(frame, piece)
    rivals = []
    for b in others:
        rest = pixels.inside(boxes[owner]) & ~pixels.inside(boxes[b])
        core = pixels.inside(boxes[b], _CORE)
        enough = min(np.count_nonzero(rest), np.count_nonzero(core)) >= _MIN_MODEL
        if enough and float(np.median(pixels.unlike(rest)[core])) > _UNLIKE:
            rivals.append(b)
    return rivals


def _divide(pixels: _Pixels, boxes: Sequence[PixelBox]) -> list[Mask]:
    """Divide one piece among boxes that overlap on it.

    What lies in one box alone (else in its middle) shows how deep and of what colour that box's object is; a pixel in
    several boxes goes to the one it resembles most, and in whose middle it lies.
    """
    inside = np.stack([pixels.inside(box) for box in boxes])
    alone = inside & (inside.sum(axis=0) == 1)
    cost = np.full(inside.shape, np.inf)
    for b, box in enumerate(boxes):
        x0, y0, x1, y1 = box
        models = (alone[b], pixels.inside(box, _CORE) & inside[b], inside[b])
        model = next(m for m in models if np.count_nonzero(m) >= _MIN_MODEL or m is models[-1])
        off_centre = ((pixels.u - (x0 + x1 - 1) / 2) / (x1 - x0)) ** 2
        off_centre = off_centre + ((pixels.v - (y0 + y1 - 1) / 2) / (y1 - y0)) ** 2
        cost[b] = np.where(inside[b], pixels.unlike(model) + 4.0 * off_centre, np.inf)
    winner = np.where(inside.any(axis=0), cost.argmin(axis=0), -1)
    parts = []
    for b, (x0, y0, x1, y1) in enumerate(boxes):
        part = np.zeros((y1 - y0, x1 - x0), np.bool_)
        part[pixels.v[winner == b] - y0, pixels.u[winner == b] - x0] = True
        parts.append(part)
    return parts


def _flat_mask(frame: RgbdFrame, box: PixelBox, claimed: Mask, raised: Mask) -> Mask:
    """Pixels of a box that differ in colour from its surroundings; the box's core when too few do.

    Args:
        frame: the frame.
        box: the box.
        claimed: (h, w) bool of the box: pixels of objects with masks of their own.
        raised: (h, w) bool of the box: its few pixels above the support.
    """
    x0, y0, x1, y1 = box
    height, width = frame.depth.shape
    margin = max(4, round(0.15 * max(x1 - x0, y1 - y0)))
    top, left = max(0, y0 - margin), max(0, x0 - margin)
    around = frame.rgb[top : min(height, y1 + margin), left : min(width, x1 + margin)]
    lab = cv2.cvtColor(np.ascontiguousarray(around), cv2.COLOR_RGB2Lab).astype(np.float32)
    inside = np.zeros(lab.shape[:2], np.bool_)
    inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    inside[inner] = True
    ring = lab[~inside]
    mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
    if len(ring) >= 20:
        median = np.median(ring, axis=0)
        spread = 1.4826 * np.median(np.abs(ring - median), axis=0) + 2.0  # 2: JPEG and sensor noise of a plain surface
        mask = np.sqrt((((lab[inner] - median) / spread) ** 2).mean(axis=2)) > 3.0
    mask = (mask & ~claimed) | raised
    if np.count_nonzero(mask) < _MIN_FILL * mask.size:
        dx, dy = round((1 - _FLAT_CORE) / 2 * (x1 - x0)), round((1 - _FLAT_CORE) / 2 * (y1 - y0))
        mask[dy : max(dy + 1, y1 - y0 - dy), dx : max(dx + 1, x1 - x0 - dx)] = True
    return mask
