# SPDX-License-Identifier: Apache-2.0
"""Pictures with pasted objects and sentences that say where they are: what a PIN is trained on (CVPR 2024).

Objects are pasted one after the other at chance sizes and places of a grid of 16 x 16 cells of 14 pixels, and any two
boxes share at most half of either. A location is four words, multiples of 14 from 0 to 224, so each is one token or
two. Where an image has the same object twice, its name is told apart by "positional referral": before or behind by
the order of pasting where the boxes share more than 0.7 of one, else left, right, above or below by the larger
difference of centres, and the middle of three.

By those two numbers nothing is before or behind in an image of the usual overlap: a set for it needs `overlap` above
0.7. Where no place is found the published generator drops the bound; here the image is begun anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2, pixels; x2 and y2 are the first beyond it."""
Pixels = npt.NDArray[np.uint8]
SHAPES = ("circle", "square", "triangle")
_LOCATION = re.compile(r"\[(\d+),(\d+),(\d+),(\d+)\]")
_SUBJECT_SIDE = 96  # pixels of a drawn shape
_STARTS = 50


@dataclass(frozen=True)
class PasteSettings:
    """How images are made; the defaults are those published.

    Args:
        side: of the square image, pixels.
        cell: of the grid, pixels; divides the side.
        objects: pasted on each image.
        overlap: share of a box that all earlier ones together may cover, and of each of them that it may; 0 to 1.
        depth_overlap: share from which two of a name are before and behind, 0 to 1.
        smallest: longer side of an object by that of the image, above 0.
        largest: the same, up to 1.
        tries: sizes tried for an object before the image is begun anew.

    Raises:
        InputError: a number beyond these bounds.
    """

    side: int = 224
    cell: int = 14
    objects: int = 3
    overlap: float = 0.5
    depth_overlap: float = 0.7
    smallest: float = 0.1
    largest: float = 1.0
    tries: int = 10

    def __post_init__(self) -> None:
        whole = min(self.cell, self.objects, self.tries) >= 1 and self.side % max(self.cell, 1) == 0 < self.side
        shares = 0 <= self.overlap <= 1 and 0 <= self.depth_overlap <= 1 and 0 < self.smallest <= self.largest <= 1
        if not (whole and shares):
            raise InputError("settings of pasting", str(self), "numbers within their bounds", "see PasteSettings")

    @property
    def cells(self) -> int:
        """Of the grid, across and down."""
        return self.side // self.cell


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object without its background.

    Args:
        name: of the object.
        rgba: (H, W, 4) uint8; alpha 0 is background.

    Raises:
        ShapeError: another array.
        InputError: nothing is opaque at all.
    """

    name: str
    rgba: Pixels

    def __post_init__(self) -> None:
        if self.rgba.ndim != 3 or self.rgba.shape[2] != 4 or self.rgba.dtype != np.uint8:
            raise ShapeError(f"cut-out {self.name!r}", "(H, W, 4) uint8", f"{self.rgba.shape} {self.rgba.dtype}")
        if not self.rgba[..., 3].any():
            raise InputError(f"cut-out {self.name!r}", "alpha 0 everywhere", "a thing", "check how it was cut out")

    def tight(self) -> Pixels:
        """The part within the box of what is not background."""
        seen = self.rgba[..., 3] > 0
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        return self.rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@dataclass(frozen=True, eq=False)
class Pasted:
    """An image and what is on it.

    Args:
        rgb: (side, side, 3) uint8.
        names: of the objects in the order of pasting.
        boxes: of each, edges at multiples of the cell.
        phrases: name of each with its referral, where the image has the name twice.
    """

    rgb: Pixels
    names: tuple[str, ...]
    boxes: tuple[Box, ...]
    phrases: tuple[str, ...]

    def sentences(self) -> list[str]:
        """One of each object, for training."""
        return [sentence(phrase, box) for phrase, box in zip(self.phrases, self.boxes, strict=True)]


def paste(
    background: Pixels, cut_outs: Sequence[CutOut], rng: np.random.Generator, settings: PasteSettings | None = None
) -> Pasted:
    """Paste objects drawn from the cut-outs.

    Args:
        background: (H, W, 3) uint8, brought to the size of the image.
        cut_outs: to draw from; one may be drawn again.
        rng: source of chance.
        settings: how images are made.

    Raises:
        ShapeError: a background that is no such image.
        InputError: no cut-out, or settings that leave no room for so many objects.
    """
    settings = settings or PasteSettings()
    if background.ndim != 3 or background.shape[2] != 3 or background.dtype != np.uint8:
        raise ShapeError("background", "(H, W, 3) uint8", f"{background.shape} {background.dtype}")
    if not cut_outs:
        raise InputError("cut-outs", "none", "one or more", "cut things out, or draw them with drawn_shape")
    drawn = [cut_outs[int(number)] for number in rng.integers(len(cut_outs), size=settings.objects)]
    objects = [cut_out.tight() for cut_out in drawn]
    boxes = _places([obj.shape[1] / obj.shape[0] for obj in objects], rng, settings)
    rgb = _resized(background.astype(np.float32), settings.side, settings.side)
    for obj, (x1, y1, x2, y2) in zip(objects, boxes, strict=True):
        alpha = obj[..., 3:].astype(np.float32) / 255
        resized = _resized(np.concatenate([obj[..., :3] * alpha, alpha], axis=2), x2 - x1, y2 - y1)
        rgb[y1:y2, x1:x2] = resized[..., :3] + (1 - resized[..., 3:]) * rgb[y1:y2, x1:x2]
    names = tuple(cut_out.name for cut_out in drawn)
    words = [referral(names, boxes, number, settings.depth_overlap) for number in range(len(names))]
    phrases = tuple(name if word is None else f"{word} {name}" for name, word in zip(names, words, strict=True))
    return Pasted(np.rint(rgb).astype(np.uint8), names, tuple(boxes), phrases)


def drawn_shape(name: str, colour: tuple[int, int, int]) -> CutOut:
    """A plain circle, square or triangle as a cut-out.

    Raises:
        InputError: another shape.
    """
    if name not in SHAPES:
        raise InputError("shape", repr(name), f"one of {', '.join(SHAPES)}", "cut other things out of pictures")
    size = _SUBJECT_SIDE
    alpha = np.zeros((size, size), np.uint8)
    if name == "circle":
        cv2.circle(alpha, (size // 2, size // 2), size // 2 - 1, 255, -1)
    elif name == "square":
        alpha[:] = 255
    else:
        cv2.fillPoly(alpha, [np.array([[size // 2, 0], [0, size - 1], [size - 1, size - 1]])], (255,))
    colours = np.broadcast_to(np.array(colour, np.uint8), (size, size, 3))
    return CutOut(name, np.concatenate([colours, alpha[..., None]], axis=2))


def shared(a: Box, b: Box) -> float:
    """Part of two boxes that is in both, by the smaller of their areas: 0 to 1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return max(width, 0) * max(height, 0) / min(areas)


def referral(names: Sequence[str], boxes: Sequence[Box], number: int, depth_overlap: float = 0.7) -> str | None:
    """What tells an object from the others of its name on the image.

    Args:
        names: of all objects.
        boxes: of all objects, in the order of pasting.
        number: of the object.
        depth_overlap: share above which the order of pasting decides.

    Returns:
        "before", "behind", "middle" (of three, in both directions), "left", "right", "above" or "below"; None where
        the name is there once, and where all centres are the same.
    """
    others = [other for other, name in enumerate(names) if name == names[number] and other != number]
    for other in others:
        if shared(boxes[number], boxes[other]) > depth_overlap:
            return "before" if number > other else "behind"
    across = [_centre(boxes[number])[0] - _centre(boxes[other])[0] for other in others]
    down = [_centre(boxes[number])[1] - _centre(boxes[other])[1] for other in others]
    if len(others) == 2 and min(across) < 0 < max(across) and min(down) < 0 < max(down):
        return "middle"
    x, y = max(across, key=abs, default=0.0), max(down, key=abs, default=0.0)
    if x == 0 == y:
        return None
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "above" if y < 0 else "below"


def sentence(phrase: str, box: Box) -> str:
    """What the model learns to say, without the token of the image."""
    article = "an" if phrase[:1].lower() in tuple("aeiou") else "a"
    return f"In the image is {article} {phrase} located at [{','.join(map(str, box))}]."


def location(text: str, settings: PasteSettings | None = None) -> Box | None:
    """The first location of a text.

    Returns:
        Pixels of the image of the settings; None where the text has none, or one that is illegal: a number that is
        no multiple of the cell or beyond the image, or a box without inside.
    """
    settings = settings or PasteSettings()
    found = _LOCATION.search(text)
    legal = {str(edge) for edge in range(0, settings.side + 1, settings.cell)}
    if found is None or not set(found.groups()) <= legal:
        return None
    x1, y1, x2, y2 = map(int, found.groups())
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _resized(image: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """(H, W, C) → (height, width, C), means of the area where it gets smaller."""
    smaller = width <= image.shape[1] and height <= image.shape[0]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _places(ratios: Sequence[float], rng: np.random.Generator, settings: PasteSettings) -> list[Box]:
    """A box for each object, whose width by height is given."""
    for _ in range(_STARTS):
        boxes: list[Box] = []
        for ratio in ratios:
            box = _place(ratio, boxes, rng, settings)
            if box is None:
                break
            boxes.append(box)
        else:
            return boxes
    got = f"no room for {len(ratios)} things"
    raise InputError("settings of pasting", got, "smaller or fewer things", "change objects, largest or overlap")


def _place(ratio: float, earlier: Sequence[Box], rng: np.random.Generator, settings: PasteSettings) -> Box | None:
    """A box of chance size and place among all places of that size that are allowed; None where no try has any."""
    cells, cell = settings.cells, settings.cell
    for _ in range(settings.tries):
        low, high = max(1, round(settings.smallest * cells)), max(1, round(settings.largest * cells))
        longer = int(rng.integers(low, high + 1))
        width, height = (max(1, round(longer * share)) for share in (min(1.0, ratio), min(1.0, 1 / ratio)))
        free = [
            box
            for x in range(cells - width + 1)
            for y in range(cells - height + 1)
            for box in [(x * cell, y * cell, (x + width) * cell, (y + height) * cell)]
            if sum(shared(box, other) for other in earlier) <= settings.overlap
        ]
        if free:
            return free[int(rng.integers(len(free)))]
    return None
