# SPDX-License-Identifier: Apache-2.0
"""An answerer that looks: it knows the paints, the shapes and the camera, and nothing of how questions are drawn."""

import functools
import math
import re
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from spatial_vlm_ros.types import Rgb

PALETTE = {
    "red": (214, 39, 40), "green": (30, 140, 50), "blue": (30, 70, 200), "yellow": (235, 205, 30),
    "purple": (140, 50, 160), "orange": (245, 130, 20), "black": (25, 25, 25), "pink": (240, 150, 190),
}  # fmt: skip
LIVELY = [name for name in PALETTE if name not in ("black", "pink")]
GREYS = 30  # largest difference of channels of the table, the wall and the stands
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
STANDS = ((150, 150, 155), (129, 129, 133), (108, 108, 112))  # top, front, side
FOCAL, MIDDLE = 0.95 * 336, 167.5  # pixels
PITCH, HEIGHT = math.radians(24.0), 0.75  # below the horizon; metres above the table


class Seer:
    """Answers from the image alone; names what sorts first where the image does not tell."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        nothing = min(choices)
        if "camera" in question:
            away = {choice: distance(rgb, choice.split()[0]) for choice in choices}
            if None in away.values():
                return nothing
            far = re.search(r"farther|greater", question) is not None
            return sorted(choices, key=lambda choice: away[choice] or 0.0)[-1 if far else 0]
        seen = shapes(rgb)
        side = re.search(r"\b(left|right|top|bottom)\b", question)
        if side is not None:
            right, down = SIDES[side[0]]
            outermost = max(seen, key=lambda one: right * one[2] + down * one[3], default=None)
            return nothing if outermost is None else named(choices, *outermost[:2], nothing)
        phrases = question.split(" seen from ") if " seen from " in question else reversed(question.split(" is the "))
        places = [place for place in (place_of(seen, phrase) for phrase in phrases) if place is not None]
        if len(places) != 2:
            return nothing
        x, y = np.subtract(*places)
        if abs(x) > abs(y):
            return "right" if x > 0 else "left"
        return "below" if y > 0 else "above"


def shapes(rgb: Rgb) -> list[tuple[str, str, float, float]]:
    """Shape, colour, and column and row of the middle of each flat shape."""
    return _shapes(rgb.tobytes(), rgb.shape)


@functools.lru_cache(maxsize=16)  # several questions in a row are about the same image
def _shapes(pixels: bytes, size: tuple[int, ...]) -> list[tuple[str, str, float, float]]:
    found, rgb = [], np.frombuffer(pixels, np.uint8).reshape(size)
    for colour, paint in PALETTE.items():
        inside = cv2.inRange(rgb, paint, paint)
        if cv2.countNonZero(inside):
            parts = cv2.moments(inside, binaryImage=True)
            middle = parts["m10"] / parts["m00"], parts["m01"] / parts["m00"]
            found.append((outlined(inside), colour, *middle))
    return found


def outlined(inside: np.ndarray) -> str:
    """Which shape a mask (H, W) has: by dents, by its share of the circle around it, and whether it is tall or wide."""
    outline = max(cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=cv2.contourArea)
    area = cv2.contourArea(outline)
    full = area / cv2.contourArea(cv2.convexHull(outline))
    if full < 0.85:
        return "star" if full < 0.6 else "cross"
    round_ = area / (math.pi * cv2.minEnclosingCircle(outline)[1] ** 2)
    if round_ > 0.55:
        return "circle" if round_ > 0.8 else "square"
    _, _, width, height = cv2.boundingRect(outline)
    return "triangle" if width > height else "diamond"


def place_of(seen: Sequence[tuple[str, str, float, float]], phrase: str) -> tuple[float, float] | None:
    """Where the only object is that some words fit; None where it is not there."""
    words = set(re.findall(r"[a-z]+", phrase))
    colours, kinds = words & set(PALETTE), words & set(SHAPES)
    fits = [one[2:] for one in seen if (not kinds or one[0] in kinds) and (not colours or one[1] in colours)]
    return fits[0] if len(fits) == 1 and (colours or kinds) else None


def named(choices: Sequence[str], shape: str, colour: str, nothing: str) -> str:
    """The choice that names an object by its colour, its shape or both."""
    return next((choice for choice in choices if set(choice.split()) <= {shape, colour}), nothing)


def distance(rgb: Rgb, colour: str) -> float | None:
    """Metres along the table to the front edge of an object or its stand, the nearer object's being the nearer one."""
    which, stands = lively_pixels(rgb.tobytes(), rgb.shape)
    obj = which == LIVELY.index(colour)
    columns = np.nonzero(obj.any(axis=0))[0]
    if not len(columns):
        return None
    within = slice(int(columns.min()), int(columns.max()) + 1)
    rows = np.nonzero((obj[:, within] | stands[:, within]).any(axis=1))[0]
    below_horizon = PITCH + math.atan((float(rows.max()) - MIDDLE) / FOCAL)
    return HEIGHT / math.tan(below_horizon) if below_horizon > 0 else math.inf


@functools.lru_cache(maxsize=16)
def lively_pixels(pixels: bytes, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) int, number of the nearest lively colour in direction, whatever its shade, or -1; (H, W) bool, stands."""
    rgb = np.frombuffer(pixels, np.uint8).reshape(size)
    units = np.array([PALETTE[name] for name in LIVELY], np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    red, green, blue = cv2.split(rgb)
    lively = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue) > GREYS
    which = np.full(lively.shape, -1)
    which[lively] = (rgb[lively].astype(np.float32) @ units.T).argmax(1)
    return which, np.any([cv2.inRange(rgb, grey, grey) > 0 for grey in STANDS], axis=0)


OTHER_SIDE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def middles(rgb: Rgb, colours: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Lively colour → (u, v) of the middle of its box, by the direction of a pixel's colour, whatever its shade."""
    which, _ = lively_pixels(rgb.tobytes(), rgb.shape)
    found = {}
    for colour in colours:
        rows, columns = np.nonzero(which == LIVELY.index(colour))
        if len(rows):
            found[colour] = (float(columns.min() + columns.max()) / 2, float(rows.min() + rows.max()) / 2)
    return found


class Changed(Seer):
    def __init__(self, change: Callable[[Rgb], Rgb]) -> None:
        self.change = change

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return super().answer(np.ascontiguousarray(self.change(rgb)), question, choices)


class Deaf:
    """Answers from the words alone: what sorts first among the candidates, by a hash of the question."""

    def answer(self, _rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return sorted(choices)[sum(question.encode()) % len(choices)]


class Guesser:
    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def answer(self, _rgb: Rgb, _question: str, choices: Sequence[str]) -> str:
        return str(self.rng.choice(list(choices)))


class First:
    def answer(self, _rgb: Rgb, _question: str, choices: Sequence[str]) -> str:
        return choices[0]


class HigherIsFarther(Seer):
    """Finds objects by their colour and takes the higher one for the farther; sees all else as it is."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        wanted = re.search(r"farther|nearer|greater|smaller", question)
        if wanted is None:
            return super().answer(rgb, question, choices)
        seen = middles(rgb, [choice.split()[0] for choice in choices])
        if len(seen) < len(choices):
            return min(choices)
        far = wanted[0] in ("farther", "greater")
        return sorted(choices, key=lambda choice: seen[choice.split()[0]][1])[0 if far else -1]
