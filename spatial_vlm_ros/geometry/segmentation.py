# SPDX-License-Identifier: Apache-2.0
"""Decide which pixels of a box are the object: masks from depth for detections that come without one.

The measured surface in the image is cut at depth jumps and at the support plane. Each piece is then given to the box
that it fills. A piece that reaches far out of a box (an occluder, the background) is not that box's object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, Floats, Mask, Plane, Points, RgbdFrame, SceneObject

# Measure how similar pixels are to a model of depth and colour.
#
# Colours are 8-bit, so that statistics of many pixels' colours (medians, deviations) are computed on 256 counts.

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive
Counts = npt.NDArray[np.int_]

VALUES = np.arange(256, dtype=np.float32)
"""Possible values of a colour channel."""

_LEAST_SPREAD = (0.01, 12.0, 6.0, 6.0)  # metres; lightness and two colour axes, 8-bit Lab
_NORMAL = 1.4826  # standard deviation over median absolute deviation, of normal errors


@dataclass(frozen=True, eq=False)
class Look:
    """Depth and colour of a frame; the colour is converted for comparison."""

    frame: RgbdFrame
    _known: dict[PixelBox, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def lab(self, box: PixelBox) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 CIE Lab of a box."""
        if box not in self._known:
            x0, y0, x1, y1 = box
            self._known[box] = np.asarray(cv2.cvtColor(self.frame.rgb[y0:y1, x0:x1], cv2.COLOR_RGB2Lab), np.uint8)
        return self._known[box]

    def counts(self, box: PixelBox, mask: Mask | None = None) -> Counts:
        """(3, 256) number of a box's pixels, or of those set in its (h, w) mask, with each value of each channel."""
        lab, chosen = self.lab(box), None if mask is None else mask.view(np.uint8)
        found = [cv2.calcHist([lab], [channel], chosen, [256], [0, 256]) for channel in range(3)]
        return np.array(found).reshape(3, 256).astype(np.int_)

    def model(self, box: PixelBox, mask: Mask) -> Likeness:
        """Depth and colour model of the pixels set in the (h, w) mask of a box; needs at least one, all with depth."""
        x0, y0, x1, y1 = box
        depth = self.frame.depth[y0:y1, x0:x1][mask]
        middle = np.float32(median(depth))
        colour, spread = usual_values(self.counts(box, mask))
        depth -= middle
        own = np.float32(_NORMAL) * median(np.abs(depth, out=depth))
        return Likeness(middle, colour, np.maximum((own, *spread.tolist()), _LEAST_SPREAD))


@dataclass(frozen=True, eq=False)
class Likeness:
    """Depth and colour of a part of an image.

    Args:
        depth: median, metres.
        colour: (3,) median, 8-bit Lab.
        spread: (4,) standard deviation of depth (metres) and colour, never below a least value.
    """

    depth: np.float32
    colour: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float64]

    def unlike(self, look: Look, box: PixelBox) -> npt.NDArray[np.float64]:
        """(h, w) mean squared deviation of a box's pixels (one at least) from the model, in units of its spread."""
        x0, y0, x1, y1 = box
        table = ((VALUES[:, None] - self.colour) / self.spread[1:]) ** 2
        colour = cv2.LUT(look.lab(box), table[:, None])
        total = (look.frame.depth[y0:y1, x0:x1] - self.depth) / self.spread[0]
        total *= total
        for channel in range(3):
            total += colour[..., channel]
        total /= 4
        return np.asarray(total, np.float64)


def median(values: npt.NDArray[np.floating]) -> float:
    """Median of numbers (N,), one at least: np.median without the search for NaN, in the precision of the values."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    upper = np.partition(values, middle)
    return float((upper[:middle].max() + upper[middle]) / 2)


def usual_values(counts: Counts) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(C,) robust medians and standard deviations of values 0 to 255, given how often each occurs: counts (C, 256)."""
    medians = _median_of(VALUES, counts)
    spreads = []
    for one, middle in zip(counts, medians, strict=True):
        deviation = np.abs(VALUES - middle)
        order = np.argsort(deviation, kind="stable")
        spreads.append(_median_of(deviation[order], one[None, order])[0])
    return medians, np.float32(_NORMAL) * np.array(spreads, np.float32)


def _median_of(values: npt.NDArray[np.float32], counts: Counts) -> npt.NDArray[np.float32]:
    """(C,) medians of ascending values (V,) that occur as often as counts (C, V) say, in total at least once."""
    found = []
    for upto in counts.cumsum(axis=1):
        low, high = np.searchsorted(upto, ((upto[-1] - 1) // 2, upto[-1] // 2), side="right").tolist()
        found.append((values[low] + values[high]) / 2)
    return np.array(found, np.float32)


_OWNED = 0.7  # fraction of a piece inside a box that makes it a piece of that box
_SHARED, _FILLED = 0.15, 0.15  # fraction of a piece inside a box, or of the box filled by it, that makes a claim on it
STEEPEST = 6.0  # slope of a surface against the image (80 degrees) from which it is a depth edge
_MIN_PIECE = 8  # pixels; smaller pieces are noise
_MIN_MODEL = 30  # pixels in one box only from which its depth and colour are learnt
_CORE = 0.5  # fraction of a box, around its centre, that shows its object if no pixel lies in that box only
_UNLIKE = 6.0  # squared deviation from which the middle of a box shows another object than the piece's owner
_MIN_FILL = 0.04  # fraction of a box that its pieces must fill; less is a flat or unmeasured object
_NEIGHBOURS = tuple(
    (step, np.array([[(abs(i), abs(j)) in ((step, 0), (0, step)) for j in range(-step, step + 1)]
                     for i in range(-step, step + 1)], np.uint8))
    for step in (1, 2)
)  # fmt: skip
"""(pixels, kernel of the four neighbours that far away)"""
_BAND = 96  # rows processed together: intermediate results stay in the cache and need no new memory
_FLAT_CORE = 0.6  # fraction of a box, around its centre, used for a flat object with its surroundings' colour


@dataclass(frozen=True, eq=False)
class Patch:
    """Mask of a part of the image: rows and columns, and (h, w) bool within them."""

    window: tuple[slice, slice]
    mask: Mask

    @classmethod
    def around(cls, mask: Mask) -> Patch:
        """The smallest patch that holds all set pixels of a mask; at least one must be set.

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
        detections: boxes inside the image; those with masks keep them, and their pixels go to no other box.
        support: plane under the objects, or None.

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
        boxes, (height, width) = [], frame.depth.shape
        for x0, y0, x1, y1 in (detections[i].box_xyxy for i in boxed):
            left, top = min(max(0, round(x0)), width - 1), min(max(0, round(y0)), height - 1)
            right, bottom = max(left + 1, min(width, round(x1) + 1)), max(top + 1, min(height, round(y1) + 1))
            boxes.append((left, top, right, bottom))
        raised = raised_pixels(frame, support, lift_config)
        raised &= ~claimed
        look = Look(frame)
        cut = _give_pieces(look, _Pieces.of(frame, raised, depth_config), boxes)
        for i, box, mask in zip(boxed, boxes, cut, strict=True):
            if np.count_nonzero(mask) < max(lift_config.min_pixels, _MIN_FILL * mask.size):
                mask = _flat_mask(look, box, claimed[_window(box)], mask)
            patches[i] = Patch(_window(box), mask).tight()
    return [patch for patch in patches if patch is not None]


def raised_pixels(frame: RgbdFrame, support: Plane | None, lift_config: LiftConfig) -> Mask:
    """(H, W) bool: measured pixels above the support; all measured pixels if there is no support plane."""
    depth = frame.depth
    if support is None:
        return np.isfinite(depth)
    xs, ys = normalised_axes(frame.camera)
    n = support.normal.astype(np.float32)
    height = (n[0] * xs.astype(np.float32))[None, :] + (n[1] * ys.astype(np.float32) + n[2])[:, None]
    height *= depth
    height += np.float32(support.offset)
    return height > np.float32(support_tolerance(support, lift_config))


def connected_pieces(frame: RgbdFrame, raised: Mask, depth_config: DepthConfig) -> npt.NDArray[np.int32]:
    """(H, W) int32: label of each pixel's surface piece, cut at depth edges; 0 = no piece, or an edge.

    Args:
        frame: rectified frame.
        raised: (H, W) bool: pixels of the surface, all measured.
    """
    return _Pieces.of(frame, raised, depth_config).labels


def support_tolerance(support: Plane, config: LiftConfig) -> float:
    """Height in metres up to which a point may belong to the support itself."""
    return config.support_height + 2.0 * support.rms


def depth_gap(depth: Floats | float, depth_config: DepthConfig, lift_config: LiftConfig) -> Floats:
    """Depth jump in metres, for each depth, that separates two surfaces."""
    return lift_config.gap + 6.0 * depth_noise(depth, depth_config)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The connected pieces of the raised surface.

    Args:
        labels: (H, W) int32, the number of each pixel's piece; 0 = none.
        areas: (P,) pixels of each piece; 0 for label 0 and for pieces that are noise.
    """

    labels: npt.NDArray[np.int32]
    areas: npt.NDArray[np.intp]

    @classmethod
    def of(cls, frame: RgbdFrame, raised: Mask, depth_config: DepthConfig) -> _Pieces:
        """Label connected raised pixels, cut where the surface is too steep to be connected."""
        whole = (raised & ~_edges(frame, raised, depth_config)).view(np.uint8)
        labels = np.asarray(cv2.connectedComponents(whole, connectivity=4)[1], np.int32)
        areas = np.bincount(labels.reshape(-1))  # connectedComponentsWithStats takes twice as long
        areas[0] = 0
        areas[areas < _MIN_PIECE] = 0
        return cls(labels, areas)

    def inside(self, box: PixelBox, piece: int) -> tuple[PixelBox, Mask]:
        """The smallest window around a piece's pixels in a box (one at least), and those pixels as (h, w) bool."""
        patch = Patch(_window(box), self.labels[_window(box)] == piece).tight()
        rows, columns = patch.window
        return (columns.start, rows.start, columns.stop, rows.stop), patch.mask

    def counted(self, box: PixelBox) -> npt.NDArray[np.intp]:
        """(P,) pixels of each piece inside a box."""
        return np.bincount(self.labels[_window(box)].reshape(-1), minlength=len(self.areas))


def _edges(frame: RgbdFrame, raised: Mask, depth_config: DepthConfig) -> Mask:
    """(H, W) bool: raised pixels beside a pixel from which the surface recedes too steeply to be connected.

    Sensors smear a depth edge over some pixels, so the slope is tested, over one and over two pixels; the farther pixel
    of a pair is cut. At each distance the nearest of the four neighbours stands for all of them.
    """
    edge = np.zeros(frame.depth.shape, np.bool_)
    reach, nobody = _NEIGHBOURS[-1][0], np.finfo(np.float32).max
    slope = np.float32(STEEPEST / float(frame.camera.K[0, 0]))  # metres per metre of depth from one pixel to the next
    for top in range(0, len(edge), _BAND):
        first = max(0, top - reach)
        rows = slice(first, top + _BAND + reach)
        if not raised[top : top + _BAND].any():
            continue
        depth = frame.depth[rows]
        z = np.full(depth.shape, nobody, np.float32)
        np.copyto(z, depth, where=raised[rows])
        pixel, noise = depth * slope, depth_noise(depth, depth_config)
        band = np.zeros(depth.shape, np.bool_)
        for step, kernel in _NEIGHBOURS:
            limit = pixel * step
            limit += noise
            nearest = cv2.erode(z, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=float(nobody))
            band |= np.subtract(z, nearest, out=nearest) > limit
        edge[top : top + _BAND] = band[top - first :][:_BAND]
    return edge


def _give_pieces(look: Look, pieces: _Pieces, boxes: Sequence[PixelBox]) -> list[Mask]:
    """(h, w) bool of each box: a piece goes to the box it fills best; what several boxes cut through is divided."""
    inside = np.array([pieces.counted(box) for box in boxes]).reshape(len(boxes), -1).astype(np.float64)
    inside[:, pieces.areas == 0] = 0
    covered = inside / np.maximum(pieces.areas, 1)
    sizes = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes], np.float64)[:, None]
    filled = inside >= np.maximum(_FILLED * sizes, _MIN_MODEL)
    own = covered >= _OWNED
    owner = np.where(own, inside / sizes, -1.0).argmax(axis=0)
    owned = np.asarray(own.any(axis=0))
    claims = np.where(owned, filled, filled | (covered >= _SHARED))
    claims[owner[owned], np.flatnonzero(owned)] = True
    claimants = claims.sum(axis=0)
    given = np.where(claimants == 1, claims.argmax(axis=0), -1)
    divided: list[tuple[int, list[int]]] = []
    for piece in np.flatnonzero(claimants > 1).tolist():
        rivals = np.flatnonzero(claims[:, piece]).tolist()
        if owned[piece]:
            first = int(owner[piece])
            others = [b for b in rivals if b != first]
            rivals = [first, *_apart(look, pieces, piece, boxes, first, others)]
        if len(rivals) == 1:
            given[piece] = rivals[0]
        else:
            divided.append((piece, rivals))
    given = given.astype(np.int32)
    masks = [given.take(pieces.labels[_window(box)]) == b for b, box in enumerate(boxes)]
    for piece, rivals in divided:
        for rival, window, part in _divide(look, pieces, piece, boxes, rivals):
            masks[rival][_within(window, boxes[rival])] |= part
    return masks


def _window(box: PixelBox) -> tuple[slice, slice]:
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def _within(box: PixelBox, outer: PixelBox) -> tuple[slice, slice]:
    """Row and column slices of a box, relative to a box around it."""
    x0, y0, x1, y1 = box
    return slice(y0 - outer[1], y1 - outer[1]), slice(x0 - outer[0], x1 - outer[0])


def _common(a: PixelBox, b: PixelBox) -> PixelBox:
    """Intersection of two boxes; it may be empty, but its sides are never reversed."""
    x0, y0 = max(a[0], b[0]), max(a[1], b[1])
    return x0, y0, max(x0, min(a[2], b[2])), max(y0, min(a[3], b[3]))


def _core_of(box: PixelBox) -> PixelBox:
    x0, y0, x1, y1 = box
    dx, dy = (1 - _CORE) / 2 * (x1 - x0), (1 - _CORE) / 2 * (y1 - y0)
    return math.ceil(x0 + dx), math.ceil(y0 + dy), math.ceil(x1 - dx), math.ceil(y1 - dy)


def _apart(
    look: Look, pieces: _Pieces, piece: int, boxes: Sequence[PixelBox], owner: int, others: Sequence[int]
) -> list[int]:
    """Boxes whose middle looks unlike the owner's part of a piece: objects on it or in front of it.

    The middle of a box behind the owner shows the owner, so such a box gets no share.
    """
    held, whole = pieces.inside(boxes[owner], piece)
    rivals = []
    for b in others:
        middle = _core_of(boxes[b])
        core = pieces.labels[_window(middle)] == piece
        rest = whole.copy()
        rest[_within(_common(boxes[b], held), held)] = False
        if min(np.count_nonzero(rest), np.count_nonzero(core)) >= _MIN_MODEL:
            unlike = look.model(held, rest).unlike(look, middle)
            if median(unlike[core]) > _UNLIKE:
                rivals.append(b)
    return rivals


def _divide(
    look: Look, pieces: _Pieces, piece: int, boxes: Sequence[PixelBox], rivals: Sequence[int]
) -> list[tuple[int, PixelBox, Mask]]:
    """Divide one piece among boxes that overlap on it.

    Pixels in one box only (or else in its middle) show the depth and colour of that box's object. A pixel in several
    boxes goes to the object that it resembles most, with a preference for the box in whose middle it lies.

    Returns:
        Rival, window and (h, w) bool of the window, for each.
    """
    left, top, right, bottom = zip(*(boxes[b] for b in rivals), strict=True)
    around, whole = pieces.inside((min(left), min(top), max(right), max(bottom)), piece)
    windows = [_common(boxes[b], around) for b in rivals]
    shared = np.zeros(whole.shape, np.uint8)
    for window in windows:
        shared[_within(window, around)] += 1
    least = np.full(whole.shape, np.inf)
    winner = np.full(whole.shape, -1, np.int32)
    for b, window in zip(rivals, windows, strict=True):
        x0, y0, x1, y1 = boxes[b]
        here = _within(window, around)
        inside = whole[here]
        middle = np.zeros(inside.shape, np.bool_)
        middle[_within(_common(_core_of(boxes[b]), window), window)] = True
        models = (inside & (shared[here] == 1), inside & middle, inside)
        model = next(m for m in models if np.count_nonzero(m) >= _MIN_MODEL or m is models[-1])
        across = ((np.arange(window[0], window[2]) - (x0 + x1 - 1) / 2) / (x1 - x0)) ** 2
        down = ((np.arange(window[1], window[3]) - (y0 + y1 - 1) / 2) / (y1 - y0)) ** 2
        cost = look.model(window, model).unlike(look, window) + 4.0 * (across + down[:, None])
        better = inside & (cost < least[here])
        np.copyto(least[here], cost, where=better)
        winner[here][better] = b
    return [(b, window, winner[_within(window, around)] == b) for b, window in zip(rivals, windows, strict=True)]


def _flat_mask(look: Look, box: PixelBox, claimed: Mask, raised: Mask) -> Mask:
    """Pixels of a box whose colour differs from that around it, else its core; `claimed` by masks, `raised`: (h, w)."""
    x0, y0, x1, y1 = box
    height, width = look.frame.depth.shape
    margin = max(4, round(0.15 * max(x1 - x0, y1 - y0)))
    around = max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)
    ring = look.counts(around) - look.counts(box)
    mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
    if ring[0].sum() >= 20:
        usual, spread = usual_values(ring)
        spread += 2.0  # JPEG and sensor noise of a plain surface
        table = (((VALUES - usual[:, None]) / spread[:, None]) ** 2).astype(np.float32)
        apart = cv2.LUT(look.lab(box), np.ascontiguousarray(table.T)[:, None])
        mask = np.sqrt((apart[..., 0] + apart[..., 1] + apart[..., 2]) / np.float32(3)) > 3.0
    mask = (mask & ~claimed) | raised
    if np.count_nonzero(mask) < _MIN_FILL * mask.size:
        dx, dy = round((1 - _FLAT_CORE) / 2 * (x1 - x0)), round((1 - _FLAT_CORE) / 2 * (y1 - y0))
        mask[dy : max(dy + 1, y1 - y0 - dy), dx : max(dx + 1, x1 - x0 - dx)] = True
    return mask


GAP_PX = 4
"""Most columns without depth between two parts of one object: a step leaves a rim of 2 on either side."""


def measured_pixels(points: Points, frame: RgbdFrame) -> Mask:
    """(H, W) bool: the pixels of an object's visible surface.

    Args:
        points: (N, 3) metres, camera frame: a point for each pixel.
        frame: rectified frame that they were measured in.
    """
    x, y, z = np.asarray(points, np.float64).T
    K, (height, width) = frame.camera.K, frame.depth.shape
    pixels = np.zeros((height, width), np.bool_)
    columns = np.clip(np.rint(K[0, 0] * x / z + K[0, 2]).astype(np.intp), 0, width - 1)
    pixels[np.clip(np.rint(K[1, 1] * y / z + K[1, 2]).astype(np.intp), 0, height - 1), columns] = True
    return pixels


def object_pixels(obj: SceneObject, frame: RgbdFrame) -> Mask:
    """(H, W) bool: the pixels of an object's mask, or, without a mask, its measured pixels."""
    if obj.detection.mask is not None:
        return obj.detection.mask
    return measured_pixels(obj.points, frame)


def largest_piece(pixels: Mask, others: Mask | None = None) -> float:
    """Fraction of some pixels that belongs to the largest of their side-by-side pieces, 0 to 1.

    Pieces lie side by side if more than GAP_PX image columns between them have no pixel. Parts that lie above one
    another in the image are one piece: the near and the far wall of a bowl, for example, whose inside between them is
    as low as the table.

    Args:
        pixels: (H, W) bool; at least one is set.
        others: (H, W) bool, pixels of other objects, which may be in front of this one: they join the parts on both
            sides.
    """
    counts = np.count_nonzero(pixels, axis=0)
    held = counts > 0
    if others is not None:
        rows = np.flatnonzero(pixels.any(axis=1))
        held = held | others[rows[0] : rows[-1] + 1].any(axis=0)
    columns = np.flatnonzero(held)
    piece = np.cumsum(np.diff(columns, prepend=columns[0]) > GAP_PX + 1)
    return float(np.bincount(piece, counts[columns]).max() / counts.sum())


def raised_share(pixels: Mask, frame: RgbdFrame, support: Plane, lift_config: LiftConfig) -> float:
    """Fraction of some pixels that lie above the support by more than its roughness, 0 to 1.

    Args:
        pixels: (H, W) bool; at least one is set.
        frame: rectified frame.
        lift_config: least height above it.
    """
    return float(np.count_nonzero(pixels & raised_pixels(frame, support, lift_config)) / np.count_nonzero(pixels))
