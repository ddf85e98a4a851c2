# SPDX-License-Identifier: Apache-2.0
"""Show a model which two objects a question about a relation means.

There are three forms: boxes drawn into the image, the same in a crop around both objects, and boxes written into the
question in the model's own format. None of them contains labels or words of the instruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.coordinates import FRACTIONS, Convention, from_pixels
from spatial_vlm_ros.types import Rgb

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""
BOXES, CROP, TEXT, AUTO = "boxes", "crop", "text", "auto"
QUESTION = (
    "A red box marked A is drawn around one object, and a blue box marked B around another one. "
    "Seen from the camera, where is object A relative to object B?"
)
QUESTION_WITH_BOXES = (
    "Object A is in the box {}, and object B in the box {}. "
    "Seen from the camera, where is object A relative to object B?"
)
MARGIN = 0.25
"""Margin of a crop on each side, as a share of the longer side of both boxes together."""
LEAST_SIDE = 448
"""Least longer side of a crop, pixels; a smaller crop is enlarged, so that the letters can be read."""
_LEAST_MARGIN = 16  # pixels
_RED, _BLUE = (230, 30, 30), (30, 60, 230)


@dataclass(frozen=True, eq=False)
class MarkedQuestion:
    """A question about two objects, without its choices.

    Args:
        image: (H, W, 3) uint8.
    """

    image: Rgb
    text: str


MarkForm = Callable[[Rgb, Box, Box], MarkedQuestion]
"""Image, box of the target, box of the anchor → question."""
BoxText = Callable[[Rgb, Box], str]
"""Writes a box of an image in a model's format; raises MarksError if the model has none."""


class MarksError(ModelError):
    """A model cannot be shown which objects are meant: it accepts no such marks, or does not understand them."""


def drawn(rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
    """Draw the boxes into the whole image."""
    return MarkedQuestion(marked(rgb, target, anchor), QUESTION)


def cropped(rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
    """Draw the boxes into one crop around both objects, so that their relation stays visible."""
    height, width = rgb.shape[:2]
    around = np.array([*np.minimum(target[:2], anchor[:2]), *np.maximum(target[2:], anchor[2:])])
    margin = max(MARGIN * float((around[2:] - around[:2]).max()), _LEAST_MARGIN)
    x0, y0 = (max(0, math.floor(v - margin)) for v in around[:2])
    x1, y1 = (min(side, math.ceil(v + margin)) for v, side in zip(around[2:], (width, height), strict=True))
    crop, scale = np.ascontiguousarray(rgb[y0:y1, x0:x1]), max(1.0, LEAST_SIDE / max(x1 - x0, y1 - y0))
    if scale > 1.0:
        size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    boxes = (tuple(float((v - (x0, y0)[k % 2]) * scale) for k, v in enumerate(box)) for box in (target, anchor))
    return drawn(crop, *boxes)  # type: ignore[arg-type]


def told(box_text: BoxText) -> MarkForm:
    """Return a form that keeps the whole image and writes the boxes into the question."""

    def form(rgb: Rgb, target: Box, anchor: Box) -> MarkedQuestion:
        return MarkedQuestion(rgb, QUESTION_WITH_BOXES.format(box_text(rgb, target), box_text(rgb, anchor)))

    return form


def forms_of(box_text: BoxText | None) -> Mapping[str, MarkForm]:
    """Return the forms that a model can be asked in, by name, the default first.

    Args:
        box_text: writes boxes in the model's format; None = format unknown.
    """
    forms: dict[str, MarkForm] = {BOXES: drawn, CROP: cropped}
    if box_text is not None:
        forms[TEXT] = told(box_text)
    return MappingProxyType(forms)


def box_as_text(
    box: Box,
    convention: Convention,
    size: tuple[int, int],
    resized: tuple[int, int] | None = None,
    tagged: bool = False,
) -> str:
    """Write a box as text in the format of models of a convention.

    Args:
        box: pixels of the image.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".
        tagged: whether to put it between special tokens: "<box>[[…]]</box>".
    """
    values = from_pixels([box], convention, size, resized)[0]
    if convention.unit == "bin":
        if convention.bins != 1024:
            reason = f"no form of a box in a question is known for the convention {convention.name}"
            raise MarksError("judge.marks", reason, f"set judge.marks to {BOXES} or {CROP}")
        return "".join(f"<loc{int(value):04d}>" for value in values)
    digits = 2 if convention.unit in FRACTIONS else 1 if convention.unit == "percent" else 0
    numbers = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"<box>[[{numbers}]]</box>" if tagged else f"[{numbers}]"


def mirror(rgb: Rgb, *boxes: Box) -> tuple[Any, ...]:
    """Exchange left and right in the image, and in boxes of it."""
    width = float(rgb.shape[1])
    return np.ascontiguousarray(rgb[:, ::-1]), *((width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in boxes)


def marked(rgb: Rgb, target: Box, anchor: Box) -> Rgb:
    """Copy an image with a red box A around the target and a blue box B around the anchor.

    Args:
        rgb: (H, W, 3) uint8.
        target: box of the target: left, top, right, bottom, pixels.
    """
    image = np.ascontiguousarray(rgb).copy()
    scale = math.hypot(*rgb.shape[:2]) / 800.0  # 640 x 480
    thick = max(1, round(2 * scale))
    for box, colour, letter in ((anchor, _BLUE, "B"), (target, _RED, "A")):
        x0, y0, x1, y1 = (round(v) for v in box)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, thick)
        at = (x0 + 2 * thick, max(y0 - 2 * thick, round(18 * scale)))
        cv2.putText(image, letter, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thick, cv2.LINE_AA)
    return image
