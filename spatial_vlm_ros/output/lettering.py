# SPDX-License-Identifier: Apache-2.0
"""Write text on images, the same with every version of OpenCV: Roboto, from a sheet that `scripts/draw_font.py` drew.

A line is composed at the size of the sheet and shrunk as a whole, so that spaces between letters stay even.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

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
