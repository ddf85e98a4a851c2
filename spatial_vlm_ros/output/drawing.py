# SPDX-License-Identifier: Apache-2.0
"""Drawing primitives: colours that colour-blind people can distinguish, lines with a light border, tints, labels.

The palette is that of Okabe and Ito, "Color Universal Design" (2008): its hues differ for protanopes, deuteranopes and
tritanopes. Colour is never the only cue: parts also differ by width and kind of line, letters and words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.output.answer_roles import Role
from spatial_vlm_ros.types import Rgb

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

_FOLDER = Path(__file__).parent / "font"
_UNKNOWN = "?"
_ELLIPSIS = "\u2026"
_LEADING = 1.4  # ratio of line height to letter size
_DARKER = 0.8  # exponent of coverage: small light letters look pale without it
_MOST = 400  # characters of one line


@dataclass(frozen=True, eq=False)
class Typeface:
    """A sheet of characters of one size."""

    cells: npt.NDArray[np.uint8]  # (N, H, W) coverage of each character
    widths: npt.NDArray[np.float64]  # (N,) advance of each character, pixels
    index: dict[str, int]
    em: int  # letter size, pixels
    ascent: int  # pixels above the baseline
    left: int  # pixels of a cell before the character begins

    def numbers(self, text: str) -> list[int]:
        """Numbers of the characters of a text; characters missing in the sheet become question marks."""
        unknown = self.index[_UNKNOWN]
        return [self.index.get(sign, unknown) for sign in text[:_MOST]]


@lru_cache(maxsize=2)
def _typeface(strong: bool) -> Typeface:
    measures = json.loads((_FOLDER / "measures.json").read_text())
    name = "strong" if strong else "regular"
    data = np.frombuffer((_FOLDER / f"{name}.png").read_bytes(), np.uint8)
    sheet = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    height, width, columns = measures["ascent"] + measures["descent"], measures["cell"], measures["columns"]
    rows = sheet.shape[0] // height
    cells = sheet.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(-1, height, width)
    index = {sign: number for number, sign in enumerate(measures["signs"])}
    widths = np.array(measures["widths"][name])
    return Typeface(cells, widths, index, measures["em"], measures["ascent"], measures["left"])


def width_of(text: str, size: float, strong: bool = False) -> int:
    """Width of a line, pixels."""
    face = _typeface(strong)
    return round(float(face.widths[face.numbers(text)].sum()) * size / face.em)


def line_height(size: float) -> int:
    """Pixels between lines."""
    return round(_LEADING * size)


def write(canvas: Rgb, text: str, place: tuple[int, int], size: float, colour: Colour, strong: bool = False) -> None:
    """Write one line from a pixel at the left end of the baseline on; parts outside the image are cut off."""
    coverage, left, above = _line(text, round(2 * size) / 2, strong)
    height, width = coverage.shape
    x, y = place[0] - left, place[1] - above
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, canvas.shape[1]), min(y + height, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    share = coverage[y0 - y : y1 - y, x0 - x : x1 - x, None]
    part = canvas[y0:y1, x0:x1]
    part[:] = np.rint(part + share * (np.array(colour, np.float32) - part)).astype(np.uint8)


@lru_cache(maxsize=512)
def _line(text: str, size: float, strong: bool) -> tuple[npt.NDArray[np.float32], int, int]:
    """(H, W) coverage 0 to 1 of a line, and the position of the baseline's start in it."""
    face = _typeface(strong)
    numbers = face.numbers(text)
    scale = size / face.em
    begins = np.concatenate(((0.0,), np.cumsum(face.widths[numbers])))
    cell_height, cell_width = face.cells.shape[1:]
    strip = np.zeros((cell_height, int(begins[-1]) + 2 * cell_width), np.uint8)
    for number, begin in zip(numbers, begins, strict=False):
        there = strip[:, round(begin) : round(begin) + cell_width]
        np.maximum(there, face.cells[number], out=there)
    shape = (max(1, round(strip.shape[1] * scale)), max(1, round(cell_height * scale)))
    shrunk = cv2.resize(strip, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    coverage = (shrunk.astype(np.float32) / 255.0) ** np.float32(_DARKER)
    coverage.setflags(write=False)
    return coverage, round(face.left * scale), round(face.ascent * scale)


def wrapped(text: str, size: float, width: int, strong: bool = False) -> list[str]:
    """Break a text at spaces into lines of at most `width` pixels; a word that is too long is cut short."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size, strong) > width:
            lines.append(shortened(word, size, width, strong))
        else:
            lines[-1] = longer if lines[-1] else shortened(word, size, width, strong)
    return lines


def shortened(text: str, size: float, width: int, strong: bool = False) -> str:
    """Shorten a text to `width` pixels, with an ellipsis if something was left out."""
    if width_of(text, size, strong) <= width:
        return text
    while text and width_of(text + _ELLIPSIS, size, strong) > width:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


ORANGE: Colour = (230, 159, 0)
SKY_BLUE: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
BLUE: Colour = (0, 114, 178)
VERMILLION: Colour = (213, 94, 0)
PURPLE: Colour = (204, 121, 167)
INK: Colour = (27, 31, 36)
SOFT: Colour = (66, 74, 83)
FAINT: Colour = (110, 118, 129)
LINE: Colour = (208, 215, 222)
PAPER: Colour = (255, 255, 255)

COLOURS: dict[Role, Colour] = {
    Role.CHOSEN: GREEN,
    Role.REFUSED: VERMILLION,
    Role.RIVAL: ORANGE,
    Role.ANCHOR: BLUE,
    Role.CARRIER: SKY_BLUE,
    Role.OTHER: (140, 149, 159),
    Role.GROUND: LINE,
}
SPOT: Colour = PURPLE
LENGTH: Colour = INK
HOLDS: Colour = GREEN
"""Tint of the region where the deciding relation holds; hatched where that is unclear."""
AXES: tuple[Colour, ...] = (VERMILLION, GREEN, BLUE)
"""x, y and z of a frame: red, green and blue as usual, in the palette's hues."""

Pixels = npt.NDArray[np.float64]
"""(N, 2) points on the canvas, x and y."""

BOX_EDGES = tuple((a, a | step) for a in range(8) for step in (1, 2, 4) if not a & step)
"""Pairs of a box's corners, if the bits 1, 2 and 4 of a corner's index are its sides along x, y and z."""

_BITS = 4  # fractional bits of pixel coordinates in OpenCV
_DASH = 7.0  # pixels
_HATCH = 12  # pixels between lines; their slope is 1 in 2, unlike most region borders


def line(canvas: Rgb, points: Pixels, colour: Colour, width: int = 2, closed: bool = False, dashed: bool = False,
         border: bool = True) -> None:  # fmt: skip
    """Draw a line through (N, 2) points on the canvas, on a light border that separates it from the background."""
    if not np.isfinite(points).all() or np.abs(points).max(initial=0.0) > 2e4:
        return
    whole = np.vstack((points, points[:1])) if closed else points
    parts = [whole]
    steps = np.diff(whole, axis=0)
    length = np.concatenate(((0.0,), np.cumsum(np.hypot(*steps.T))))
    if dashed and length[-1] >= _DASH:  # every second piece, all of equal length
        parts = []
        for begin in np.arange(0.0, length[-1], 2 * _DASH):
            end = min(begin + _DASH, length[-1])
            at = np.unique([begin, end, *length[(length > begin) & (length < begin + _DASH)]])
            parts.append(np.stack((np.interp(at, length, whole[:, 0]), np.interp(at, length, whole[:, 1])), axis=1))
    fixed = [np.rint(part * (1 << _BITS)).astype(np.int32) for part in parts]
    for shade, wide in (((PAPER, width + 2),) if border else ()) + ((colour, width),):
        cv2.polylines(canvas, fixed, False, shade, wide, cv2.LINE_AA, _BITS)


def arrow(canvas: Rgb, start: Pixels, end: Pixels, colour: Colour, width: int = 2) -> None:
    """Draw an arrow whose head has the same size for every length."""
    way = end - start
    length = float(np.hypot(*way))
    if not np.isfinite(length) or length < 1.0 or length > 2e4:
        return
    ahead = way / length
    aside = np.array([-ahead[1], ahead[0]])
    size = min(4.0 + 2.0 * width, length)
    neck = end - size * ahead
    line(canvas, np.stack((start, neck)), colour, width)
    head = np.stack((end, neck + 0.5 * size * aside, neck - 0.5 * size * aside))
    line(canvas, head, PAPER, 2, closed=True, border=False)
    cv2.fillPoly(canvas, [np.rint(head * (1 << _BITS)).astype(np.int32)], colour, cv2.LINE_AA, _BITS)


def fill(canvas: Rgb, points: Pixels, colour: Colour, share: float) -> None:
    """Tint a polygon."""
    if not np.isfinite(points).all() or np.abs(points).max(initial=0.0) > 2e4:
        return
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, (canvas.shape[1], canvas.shape[0]))
    if (low >= high).any():
        return
    covered = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillPoly(covered, [np.rint((points - low) * (1 << _BITS)).astype(np.int32)], 255, cv2.LINE_AA, _BITS)
    tint(canvas[low[1] : high[1], low[0] : high[0]], covered.astype(np.float32) * (share / 255.0), colour)


def hatch(canvas: Rgb, box: npt.NDArray[np.float64], colour: Colour) -> None:
    """Hatch a box: left, top, right, bottom, pixels."""
    left, top, right, bottom = np.clip(box.round(), 0, (canvas.shape[1::-1] * 2)).astype(int).tolist()
    part = canvas[top : bottom + 1, left : right + 1]
    for start in range(0, part.shape[0] + part.shape[1], 8):
        cv2.line(part, (start, 0), (start - part.shape[0], part.shape[0]), colour, 1, cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1)


def tint(canvas: Rgb, share: npt.NDArray[np.float32], colour: Colour) -> None:
    """Mix a colour into the canvas, by a share (H, W) of 0 to 1 at each pixel."""
    there = np.nonzero(share)
    before = canvas[there]
    canvas[there] = np.rint(before + share[there][:, None] * (np.array(colour, np.float32) - before)).astype(np.uint8)


def tint_region(canvas: Rgb, score: npt.NDArray[np.floating], limit: float, share: float) -> None:
    """Tint, by a share of 0 to 1, where the (H, W) score of a relation holds, and hatch where that is unclear."""
    clear, unclear = score >= limit, np.abs(score) < limit
    rows, columns = score.shape
    unclear &= (2 * np.arange(rows)[:, None] + np.arange(columns)) % _HATCH < 2
    colour = np.full_like(canvas, HOLDS)
    for where, strength in ((clear, share), (unclear, min(1.6 * share, 1.0))):
        if where.any():
            mixed = cv2.addWeighted(canvas, 1.0 - strength, colour, strength, 0.0)
            cv2.copyTo(mixed, where.view(np.uint8), canvas)


# ------------------------------------------------------------------------------------------------ labels


class Labels:
    """Labels of one image: requested first, then placed together and written."""

    def __init__(self, size: float) -> None:
        self._size = size
        self._wanted: list[tuple[float, LabelRequest, str, Colour, bool]] = []
        self.clear: list[Rectangle] = []
        self.seen: list[Rectangle] = []

    def ask(self, text: str, names: Rectangle, colour: Colour, rank: float, plain: bool = False,
            farthest: float = 1e9) -> None:  # fmt: skip
        """Request a label."""
        if not text or not np.isfinite(names).all():
            return
        size = self._size - 1 if plain else self._size
        width = width_of(text, size) + (6 if plain else 14)
        request = LabelRequest((width, round((1.25 if plain else 1.5) * size)), names, farthest)
        self._wanted.append((rank, request, text, colour, plain))

    def write(self, canvas: Rgb, area: Rectangle) -> list[Rectangle]:
        """Place all labels inside an area, write those for which there is room, and return their rectangles."""
        wanted = sorted(self._wanted, key=lambda one: one[0])
        places = place_labels([request for _, request, *_ in wanted], area, self.clear, self.seen)
        written = []
        for place, (_, request, _, colour, plain) in zip(places, wanted, strict=True):
            if place is None:
                continue
            written.append(place)
            if not plain:
                names = request.names
                x = min(max((place[0] + place[2]) / 2, names[0]), names[2])
                y = min(max((place[1] + place[3]) / 2, names[1]), names[3])
                from_x, from_y = min(max(x, place[0]), place[2]), min(max(y, place[1]), place[3])
                if np.hypot(x - from_x, y - from_y) > 12.0:
                    line(canvas, np.array([(from_x, from_y), (x, y)]), colour, 1)
        for place, (_, _, text, colour, plain) in zip(places, wanted, strict=True):
            if place is None:
                continue
            x0, y0, x1, y1 = (round(value) for value in place)
            size = self._size - 1 if plain else self._size
            base = y1 - round((0.3 if plain else 0.45) * size)
            part = canvas[y0:y1, x0:x1]
            cover = 0.6 if plain else 0.92
            part[:] = np.rint(part + cover * (np.array(PAPER) - part.astype(np.float32))).astype(np.uint8)
            if plain:
                write(canvas, text, (x0 + 3, base), size, SOFT)
            else:
                canvas[y0:y1, x0 : x0 + 4] = colour
                write(canvas, text, (x0 + 8, base), size, INK)
        return written


def rectangle_of(points: Pixels) -> Rectangle:
    """The upright rectangle around points; not finite if a point is not."""
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


# ------------------------------------------------------------------------------------------------ places of labels


Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels; right and bottom are outside."""

_GAP = 4  # pixels between a label and its object
_APART = 2  # pixels between labels
_RASTER = 10  # pixels between tried positions
_HIDING = 40.0  # pixels that a label moves to avoid hiding an area of an object as large as the label
_ACROSS = (0.0, 0.5, 1.0)  # positions above, below and beside an object: at its ends, and in the middle

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelRequest:
    """A requested label of (width, height), left out if it would be farther from its object than this; pixels."""

    size: tuple[int, int]
    names: Rectangle
    farthest: float = 1e9


def place_labels(
    requests: Sequence[LabelRequest], area: Rectangle, clear: Sequence[Rectangle] = (), seen: Sequence[Rectangle] = ()
) -> list[Rectangle | None]:
    """Place labels: a rectangle for each, or None if there is no room."""
    taken, better_seen = (np.array(some, np.float64).reshape(-1, 4) for some in (clear, seen))
    placed: list[Rectangle | None] = []
    for request in requests:
        found = _placed(request, area, taken, better_seen)
        if found is not None:
            taken = np.vstack((taken, np.add(found, (-_APART, -_APART, _APART, _APART))))
        placed.append(found)
    return placed


def _placed(request: LabelRequest, area: Rectangle, taken: Floats, seen: Floats) -> Rectangle | None:
    (width, height), (left, top, right, bottom), far = request.size, request.names, request.farthest
    around = []  # left upper corners above, below, right and left of the object, at its ends and in the middle
    for share in _ACROSS:
        x, y = left + share * (right - left - width), top + share * (bottom - top - height)
        around += [(x, top - height - _GAP), (x, bottom + _GAP), (right + _GAP, y), (left - width - _GAP, y)]

    low = max(area[0], left - width - far), max(area[1], top - height - far)
    high = min(area[2] - width, right + far), min(area[3] - height, bottom + far)
    columns, rows = (np.arange(low[k], max(high[k], low[k]) + 1, _RASTER) for k in (0, 1))
    everywhere = np.stack(np.meshgrid(columns, rows), axis=2).reshape(-1, 2)  # within the label's largest distance

    for corners, good_enough in ((np.array(around, np.float64), _HIDING), (everywhere.astype(np.float64), np.inf)):
        tried = np.hstack((corners, corners + request.size)).round()
        inside = (tried[:, :2] >= area[:2]).all(axis=1) & (tried[:, 2:] <= area[2:]).all(axis=1)
        tried = tried[inside]
        away = distance(tried, request.names)
        free = (away <= request.farthest) & ~(overlap(tried, taken) > 0).any(axis=1)
        if free.any():
            hidden = overlap(tried, seen).sum(axis=1) / max(request.size[0] * request.size[1], 1)
            cost = np.where(free, away + _HIDING * hidden, np.inf)
            if cost.min() < good_enough:
                x0, y0, x1, y1 = tried[int(np.argmin(cost))].tolist()
                return x0, y0, x1, y1
    return None


def overlap(some: Floats, others: Floats) -> Floats:
    """(N, M) pixels shared by each of (N, 4) rectangles with each of (M, 4) others."""
    wide = np.minimum(some[:, 2:3], others[:, 2]) - np.maximum(some[:, :1], others[:, 0])
    high = np.minimum(some[:, 3:], others[:, 3]) - np.maximum(some[:, 1:2], others[:, 1])
    return np.asarray(np.maximum(wide, 0.0) * np.maximum(high, 0.0))


def distance(some: Floats, other: Rectangle) -> Floats:
    """(N,) pixels between (N, 4) rectangles and another one; 0 if they touch."""
    x = np.maximum(np.maximum(other[0] - some[:, 2], some[:, 0] - other[2]), 0.0)
    y = np.maximum(np.maximum(other[1] - some[:, 3], some[:, 1] - other[3]), 0.0)
    return np.asarray(np.hypot(x, y))
