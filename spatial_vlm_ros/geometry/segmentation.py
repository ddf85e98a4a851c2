# SPDX-License-Identifier: Apache-2.0
"""Decide which pixels of a box are the object: masks from depth for detections that come without one.

The measured surface in the image is cut at depth jumps and at the support plane. Each piece is then given to the box
that it fills. A piece that reaches far out of a box (an occluder, the background) is not that box's object. Pixels of a
piece in several boxes, and pixels without a surface, go to the object that explains them best.
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
from spatial_vlm_ros.geometry.support import named_surfaces, tables
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Detection, Floats, Mask, Plane, Points, RgbdFrame, SceneObject

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive
Values = npt.NDArray[np.floating]

_LEAST_SPREAD = np.array((0.01, 12.0, 6.0, 6.0), np.float32)  # metres; lightness and two colour axes, 8-bit Lab
_NORMAL = 1.4826  # standard deviation over median absolute deviation, of normal errors
_ENOUGH = 2000  # pixels; more change medians by less than the noise


@dataclass(frozen=True, eq=False)
class Look:
    """Depth and colour of a frame; the colour is converted for comparison."""

    frame: RgbdFrame
    _known: dict[PixelBox, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def lab(self, box: PixelBox) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 CIE Lab of a box."""
        if box not in self._known:
            self._known[box] = np.asarray(cv2.cvtColor(self.frame.rgb[_window(box)], cv2.COLOR_RGB2Lab), np.uint8)
        return self._known[box]

    def model(self, box: PixelBox, mask: Mask) -> Likeness:
        """Depth and colour model of the pixels set in the (h, w) mask of a box; needs at least one, all with depth."""
        usual, spread = usual_values(np.column_stack((self.frame.depth[_window(box)][mask], self.lab(box)[mask])))
        return Likeness(usual, np.maximum(spread, _LEAST_SPREAD))


@dataclass(frozen=True, eq=False)
class Likeness:
    """Depth and colour of a part of an image."""

    usual: Values  # (4,) median depth (metres) and colour (8-bit Lab)
    spread: Values  # (4,) their standard deviations, never below a least value

    def unlike(self, look: Look, box: PixelBox) -> Values:
        """(h, w) mean squared deviation of a box's pixels (one at least) from the model, in units of its spread."""
        depth = (look.frame.depth[_window(box)] - self.usual[0]) / self.spread[0]
        colour = (look.lab(box) - self.usual[1:]) / self.spread[1:]
        return np.asarray((depth * depth + (colour * colour).sum(axis=2)) / 4)


def usual_values(values: Values) -> tuple[Values, Values]:
    """(C,) medians and robust standard deviations of values (N, C), of at most _ENOUGH of the N."""
    some = values[:: 1 + len(values) // _ENOUGH]
    usual = np.median(some, axis=0)
    return usual, np.asarray(_NORMAL * np.median(np.abs(some - usual), axis=0), usual.dtype)


_OWNED = 0.7  # fraction of a piece inside a box that makes it a piece of that box
_SHARED, _FILLED = 0.15, 0.15  # fraction of a piece inside a box, or of the box filled by it, that makes a claim on it
STEEPEST = 6.0  # slope of a surface against the image (80 degrees) from which it is a depth edge
_BELOW = 0.1  # height of the strip below a table's box, as a fraction of the box's, that shows what it stands on
_MIN_PIECE = 8  # pixels; smaller pieces are noise
_MIN_MODEL = 30  # pixels in one box only from which its depth and colour are learnt
_TELLING = 0.2  # fraction of what a box has of a piece, from which pixels in no other box show what its object is like
_STRIP = 4  # pixels; a narrower floor is the foot of an object
_CORE = 0.6  # fraction of a box, around its centre, that shows its object if nothing else does
_UNLIKE = 6.0  # squared deviation from which the middle of a box shows another object than the piece's owner
_MIN_FILL = 0.04  # fraction of a box that its pieces must fill; less is a flat or unmeasured object
_NEIGHBOURS = tuple(
    (step, np.array([[(abs(i), abs(j)) in ((step, 0), (0, step)) for j in range(-step, step + 1)]
                     for i in range(-step, step + 1)], np.uint8))
    for step in (1, 2)
)  # fmt: skip
"""(pixels, kernel of the four neighbours that far away)"""
_BAND = 96  # rows processed together: intermediate results stay in the cache and need no new memory
_COLOUR = 12.0  # difference in each colour channel that weighs as much as a pixel of distance
_STRANGE = 3.0  # standard deviations from the colour around a box, from which a pixel is something else


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
    """A patch of at least one pixel for every detection: its mask, or one cut out of its box by depth, else by colour.

    Pixels of those with masks go to no other box.
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
        look, table = Look(frame), support_tables(frame, detections, support, lift_config)[boxed]
        owners = _owners(look, _Pieces.of(frame, raised, depth_config), raised, boxes, table)
        owners[claimed] = -1
        for number, (i, box) in enumerate(zip(boxed, boxes, strict=True)):
            mask = owners[_window(box)] == number
            if table[number]:
                mask[_core(box)] = True
            elif np.count_nonzero(mask) < max(lift_config.min_pixels, _MIN_FILL * mask.size):
                around, ring = _ring(look, box)  # its colour differs from that around it, else it is the core
                differs = np.zeros(mask.shape, np.bool_)
                if np.count_nonzero(ring) >= _MIN_MODEL:
                    usual, spread = usual_values(look.lab(around)[ring].astype(np.float32))
                    apart = (look.lab(box) - usual) / (spread + 2.0)  # JPEG and sensor noise of a plain surface
                    differs = (apart * apart).mean(axis=2) > _STRANGE**2
                mask |= differs & ~claimed[_window(box)]
                if np.count_nonzero(mask) < _MIN_FILL * mask.size:
                    mask[_core(box)] = True
            elif support is not None:
                low = np.isfinite(frame.depth[_window(box)]) & ~(raised | claimed)[_window(box)]
                mask |= _floor(look, box, mask, low & (owners[_window(box)] < 0), support)
            patches[i] = Patch(_window(box), mask).tight()
    return [patch for patch in patches if patch is not None]


def support_tables(
    frame: RgbdFrame, detections: Sequence[Detection], support: Plane | None, config: LiftConfig
) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for tables that are the support or level with it, not for a bench that stands on another table.

    Such a bench rises over the support, and the other table is visible in front of it.
    """
    table = tables(detections) & (support is not None)
    named = np.flatnonzero(named_surfaces(detections)).tolist()
    if not table.any() or len(named) < 2:
        return table
    raised, measured = raised_pixels(frame, support, config), np.isfinite(frame.depth)
    things = raised.copy()  # without what other boxes show
    boxes: list[PixelBox] = [
        (round(a), round(b), round(c), round(d)) for a, b, c, d in (o.box_xyxy for o in detections)
    ]
    for index in set(range(len(boxes))) - set(named):
        things[_window(boxes[index])] = False
    for index in np.flatnonzero(table).tolist():
        x0, y0, x1, y1 = boxes[index]
        below = (slice(y1 + 1, y1 + 2 + math.ceil(_BELOW * (y1 - y0))), slice(x0, x1))
        level = np.zeros(frame.depth.shape, np.bool_)
        for other in set(named) - {index}:
            level[_window(boxes[other])] = True
        level = (level & measured & ~raised)[below]
        rises = np.count_nonzero(things[_window(boxes[index])]) >= _FILLED * (x1 - x0) * (y1 - y0)
        table[index] = not (rises and level.size and np.count_nonzero(level) > level.size / 2)
    return table


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
    """(H, W) int32: label of each raised, measured pixel's surface piece, cut at depth edges; 0 = none, or an edge."""
    return _Pieces.of(frame, raised, depth_config).labels


def support_tolerance(support: Plane, config: LiftConfig) -> float:
    """Height in metres up to which a point may belong to the support itself."""
    return config.support_height + 2.0 * support.rms


def depth_gap(depth: Floats | float, depth_config: DepthConfig, lift_config: LiftConfig) -> Floats:
    """Depth jump in metres, for each depth, that separates two surfaces."""
    return lift_config.gap + 6.0 * depth_noise(depth, depth_config)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The connected pieces of the raised surface."""

    labels: npt.NDArray[np.int32]  # (H, W) int32, the number of each pixel's piece; 0 = none
    areas: npt.NDArray[np.intp]  # (P,) pixels of each piece; 0 for label 0 and for pieces that are noise

    @classmethod
    def of(cls, frame: RgbdFrame, raised: Mask, depth_config: DepthConfig) -> _Pieces:
        """Label connected raised pixels, cut where the surface is too steep to be connected."""
        whole = (raised & ~_edges(frame, raised, depth_config)).view(np.uint8)
        labels = np.asarray(cv2.connectedComponents(whole, connectivity=4)[1], np.int32)
        areas = np.bincount(labels.reshape(-1))  # connectedComponentsWithStats takes twice as long
        areas[0] = 0
        areas[areas < _MIN_PIECE] = 0
        return cls(labels, areas)

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


def _owners(
    look: Look, pieces: _Pieces, raised: Mask, boxes: Sequence[PixelBox], table: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int16]:
    """(H, W) number of the box whose object each pixel shows, -1 for none; outside of its box a number means nothing.

    A piece goes to the box it fills best. What several boxes cut through is divided: each pixel goes to the box whose
    object explains it best. A table gets only what no other box claims.
    """
    inside = np.array([pieces.counted(box) for box in boxes]).reshape(len(boxes), -1).astype(np.float64)
    inside[:, pieces.areas == 0] = 0
    covered = inside / np.maximum(pieces.areas, 1)
    sizes = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes], np.float64)[:, None]
    filled = inside >= np.maximum(_FILLED * sizes, _MIN_MODEL)
    free = ~filled[~table].any(axis=0)
    filled[table] &= free
    covered[table] *= free
    own = covered >= _OWNED
    owner = np.where(own, inside / sizes, -1.0).argmax(axis=0)
    owned = np.asarray(own.any(axis=0))
    claims = np.where(owned, filled, filled | (covered >= _SHARED))
    claims[owner[owned], np.flatnonzero(owned)] = True
    most = len(pieces.areas)
    core = np.array([np.bincount(pieces.labels[_window(box)][_core(box)].ravel(), minlength=most) for box in boxes])
    aside = owned & (core[owner, np.arange(len(owner))] < _MIN_MODEL)  # it may show what is under that box's object
    claims |= own & aside & ~table[:, None]
    claimants = claims.sum(axis=0)
    owners = np.where(claimants == 1, claims.argmax(axis=0), -1).astype(np.int16).take(pieces.labels)
    for piece in sorted(np.flatnonzero(claimants > 1).tolist(), key=lambda p: -int(pieces.areas[p])):
        first = int(owner[piece]) if owned[piece] else -1
        rivals = sorted(np.flatnonzero(claims[:, piece]).tolist(), key=lambda b: b != first)
        _divide(look, pieces, piece, boxes, rivals, first, owners)
    known = np.isfinite(look.frame.depth) & ~(raised & (pieces.areas == 0)[pieces.labels])
    _give_rest(look.frame, known, [box for box, flat in zip(boxes, table, strict=True) if not flat], owners)
    return owners


def _divide(
    look: Look,
    pieces: _Pieces,
    piece: int,
    boxes: Sequence[PixelBox],
    rivals: Sequence[int],
    first: int,
    owners: npt.NDArray[np.int16],
) -> None:
    """Divide one piece among boxes that overlap on it; `first` owns it, -1 for none. Changes `owners`.

    Pixels that only one box can own show the depth and colour of its object, if they are not only a rim of it. Else its
    middle does, beside smaller boxes in it, if it is an object on the others or in front of them: the middle of a box
    behind another one shows that one, and the rim is all that is known. Its place in a box counts as well.
    """
    shared, least = np.zeros(owners.shape, np.uint8), np.full(owners.shape, np.inf, np.float32)
    for b in rivals:
        shared[_window(boxes[b])] += 1
    models: dict[int, Likeness] = {}
    parts = {b: (_window(boxes[b]), pieces.labels[_window(boxes[b])] == piece) for b in rivals}
    rims = {b: (owners[here] == b) | (inside & (shared[here] == 1)) for b, (here, inside) in parts.items()}
    for b, (_, inside) in parts.items():
        if np.count_nonzero(rims[b]) >= max(_MIN_MODEL, _TELLING * np.count_nonzero(inside)):
            models[b] = look.model(boxes[b], rims[b])
    known = dict(models)
    for b, (here, inside) in parts.items():
        box = x0, y0, x1, y1 = boxes[b]
        if b not in models:
            middle = np.zeros(inside.shape, np.bool_)
            middle[_core(box)] = True
            middle &= inside
            beside = middle & ~_smaller(box, [boxes[other] for other in rivals])
            middle = next((some for some in (beside, middle) if np.count_nonzero(some) >= _MIN_MODEL), inside)
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            over = {o for o in known if boxes[o][0] <= x < boxes[o][2] and boxes[o][1] <= y < boxes[o][3]}
            others = [known[o] for o in known if o == first or o in over]
            if all(np.median(model.unlike(look, box)[middle]) > _UNLIKE for model in others):
                models[b] = look.model(box, middle)
            elif np.count_nonzero(rims[b]) >= _MIN_MODEL:
                models[b] = look.model(box, rims[b])
            else:
                continue
        across = ((np.arange(x0, x1) - (x0 + x1 - 1) / 2) / (x1 - x0)) ** 2
        down = ((np.arange(y0, y1) - (y0 + y1 - 1) / 2) / (y1 - y0)) ** 2
        cost = models[b].unlike(look, box) + 4.0 * (across + down[:, None]) + math.log(inside.size)
        better = inside & (cost < least[here])
        np.copyto(least[here], cost, where=better)
        owners[here][better] = b


def _smaller(box: PixelBox, others: Sequence[PixelBox]) -> Mask:
    """(h, w) bool: pixels of a box in smaller ones that lie in it for the most part."""
    x0, y0, x1, y1 = box
    within = np.zeros((y1 - y0, x1 - x0), np.bool_)
    for left, top, right, bottom in others:
        area = (right - left) * (bottom - top)
        common = max(0, min(right, x1) - max(left, x0)) * max(0, min(bottom, y1) - max(top, y0))
        if area < within.size and common >= _OWNED * area:
            within[max(0, top - y0) : bottom - y0, max(0, left - x0) : right - x0] = True
    return within


def _give_rest(frame: RgbdFrame, known: Mask, boxes: Sequence[PixelBox], owners: npt.NDArray[np.int16]) -> None:
    """Give pixels in boxes without a surface of their own (unmeasured, or at an edge) to what they belong to.

    Of the nearest pixels with a `known` surface in its row and column, to either side, a pixel belongs to the one that
    it resembles most in colour and is nearest to. Changes `owners`.
    """
    rest = np.zeros(known.shape, np.bool_)
    for box in boxes:
        rest[_window(box)] = True
    rest &= ~known
    v, u = np.nonzero(rest)
    if not len(v) or not known.any():
        return
    own, least = frame.rgb[v, u].astype(np.float32), np.full(len(v), np.inf, np.float32)
    given = np.full(len(v), -1, np.int16)
    height, width = known.shape
    for length, lines, along, there in ((width, v, u, known), (height, u, v, known.T)):
        at = lines * length + along
        surface = np.flatnonzero(there)
        after = np.searchsorted(surface, at)
        for near in (surface.take(after - 1, mode="clip"), surface.take(after, mode="clip")):
            line, place = np.divmod(near, length)
            row, column = (line, place) if there is known else (place, line)
            away = (place - along).astype(np.float32)
            cost = ((frame.rgb[row, column] - own) ** 2).sum(axis=1) / np.float32(3 * _COLOUR**2) + away * away
            better = (line == lines) & (cost < least)
            np.copyto(least, cost, where=better)
            np.copyto(given, owners[row, column], where=better)
    owners[v, u] = given


def _window(box: PixelBox) -> tuple[slice, slice]:
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def _core(box: PixelBox) -> tuple[slice, slice]:
    """Row and column slices of the middle of a box, relative to it; one pixel at least."""
    x0, y0, x1, y1 = box
    dx, dy = round((1 - _CORE) / 2 * (x1 - x0)), round((1 - _CORE) / 2 * (y1 - y0))
    return slice(dy, max(dy + 1, y1 - y0 - dy)), slice(dx, max(dx + 1, x1 - x0 - dx))


def _floor(look: Look, box: PixelBox, own: Mask, low: Mask, support: Plane) -> Mask:
    """(h, w) bool: the visible floor of a tray or bookcase, as low as the support, of what is measured there (`low`).

    It lies between pixels above it, in the image and within the rectangle around them, and its colour is rather theirs
    than that around the box.
    """
    depth, floor = look.frame.depth[_window(box)], np.zeros_like(low)
    own, (around, ring) = own & np.isfinite(depth), _ring(look, box)
    low = low & np.logical_or.accumulate(own, axis=1) & np.logical_or.accumulate(own[:, ::-1], axis=1)[:, ::-1]
    if min(map(np.count_nonzero, (own, low, ring))) < _MIN_MODEL:
        return floor
    xs, ys = normalised_axes(look.frame.camera)
    rows, columns = np.nonzero(own | low)
    rays = np.stack((xs[columns + box[0]], ys[rows + box[1]], np.ones(len(rows))), axis=1)
    places = (rays * depth[rows, columns, None]) @ np.linalg.svd(support.normal[None])[2][1:].T
    above = own[rows, columns]
    side = np.diff(cv2.boxPoints(cv2.minAreaRect(places[above].astype(np.float32)))[:2], axis=0)[0]
    places = places @ np.stack((side, (-side[1], side[0])), axis=1)
    first, last = np.percentile(places[above], (1, 99), axis=0)
    within = ~above & ((places > first) & (places < last)).all(axis=1)
    floor[rows[within], columns[within]] = True
    lab = look.lab(box).astype(np.float32)
    inner, outer = (
        (((lab - usual) / (spread + 2.0)) ** 2).mean(axis=2)
        for usual, spread in map(usual_values, (lab[own], look.lab(around)[ring].astype(np.float32)))
    )
    alike = cv2.medianBlur((floor & (inner < outer)).view(np.uint8), 5) & floor
    return np.asarray(cv2.morphologyEx(alike, cv2.MORPH_OPEN, np.ones((_STRIP, _STRIP), np.uint8)), np.bool_)


def _ring(look: Look, box: PixelBox) -> tuple[PixelBox, Mask]:
    """A larger box, and its pixels that are not in the box itself."""
    x0, y0, x1, y1 = box
    height, width = look.frame.depth.shape
    margin = max(4, round(0.15 * max(x1 - x0, y1 - y0)))
    around = max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)
    ring = np.ones((around[3] - around[1], around[2] - around[0]), np.bool_)
    ring[y0 - around[1] : y1 - around[1], x0 - around[0] : x1 - around[0]] = False
    return around, ring


GAP_PX = 4
"""Most columns without depth between two parts of one object: a step leaves a rim of 2 on either side."""


def measured_pixels(points: Points, frame: RgbdFrame) -> Mask:
    """(H, W) bool: the pixels of an object's visible surface, a point (N, 3) for each, in the camera frame."""
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

    Pieces lie side by side if more than GAP_PX image columns between them have no pixel, not even of others, which may
    be in front. Parts that lie above one another in the image are one piece: the near and the far wall of a bowl, for
    example, whose inside between them is as low as the table.
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
    """Fraction of some pixels, at least one, that lie above the support by more than its roughness, 0 to 1."""
    return float(np.count_nonzero(pixels & raised_pixels(frame, support, lift_config)) / np.count_nonzero(pixels))
