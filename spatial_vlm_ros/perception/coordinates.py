# SPDX-License-Identifier: Apache-2.0
"""Conventions in which models write image locations, and their conversion to and from pixels.

A convention is a fact about a model. Whoever loads the model states it, and `perception.probing` tests it; the numbers
alone never decide it. Pixels are continuous: an image of width W spans 0..W, and (0, 0) is its top-left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.boxes import padding

Unit = Literal["pixel", "resized", "fraction", "square", "thousand", "percent", "bin"]
Order = Literal["xy", "yx"]

_SPANS: Mapping[Unit, float] = MappingProxyType({"fraction": 1.0, "square": 1.0, "thousand": 1000.0, "percent": 100.0})
_STEPS: Mapping[Unit, float] = MappingProxyType(
    {"pixel": 1.0, "resized": 1.0, "square": 0.01, "thousand": 1.0, "percent": 0.1}
)
"""Smallest step that models write in a unit; rounding can push a border value outside by as much."""
FRACTIONS: tuple[Unit, ...] = ("fraction", "square")
"""Units whose values lie in 0..1."""


@dataclass(frozen=True)
class Convention:
    """How a model writes a location.

    Args:
        unit: "pixel": pixel of the image as given; "resized": pixel of the image as resized by the model's processor;
            "fraction" of width and height; "square": fraction of the side of the square that the image was padded to,
            the image in its middle (see geometry.boxes); "thousand": thousandths of width and height; "percent":
            percent of width and height; "bin": number of one of `bins` equal strips along each side.
        order: "xy": x first; "yx": y first.
        bins: number of strips; 0 for all other units.
    """

    name: str
    unit: Unit
    order: Order = "xy"
    bins: int = 0

    def __post_init__(self) -> None:
        what = f"convention {self.name!r}"
        if self.unit not in get_args(Unit):
            raise InputError(what, f"unit {self.unit!r}", "one of " + ", ".join(get_args(Unit)))
        if self.order not in get_args(Order):
            raise InputError(what, f"order {self.order!r}", '"xy" or "yx"')
        if (self.bins > 1) != (self.unit == "bin"):
            raise InputError(what, f"bins={self.bins}", "bins only with the unit bin, and at least 2")


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention("absolute", "pixel"),
            Convention("resized-absolute", "resized"),
            Convention("fraction", "fraction"),
            Convention("square-fraction", "square"),
            Convention("thousand", "thousand"),
            Convention("thousand-yx", "thousand", "yx"),
            Convention("percent", "percent"),
            Convention("bins-1000", "bin", bins=1000),
            Convention("bins-1024-yx", "bin", "yx", bins=1024),
        )
    }
)
"""Conventions in use. resized-absolute: Qwen2.5-VL; thousand: Qwen3-VL, InternVL3, Molmo2; thousand-yx: Gemini;
percent: Molmo; fraction: RoboPoint, RoboRefer; square-fraction: LLaVA-1.5; bins-1000: Florence-2; bins-1024-yx:
PaliGemma."""


def to_pixels(
    values: npt.ArrayLike,
    convention: Convention,
    size: tuple[int, int],
    resized: tuple[int, int] | None = None,
    beyond: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Convert locations from a model's convention to pixels.

    A bin stands for its centre, (n + 0.5) / bins of the side, as in Florence-2's own processor. Values outside the
    image by up to one pixel, or one step of the unit if that is more, count as rounding errors and are clipped to the
    image. A bin that does not exist is never clipped. The padding of a square is outside the image.

    Args:
        values: (N, 2) points or (N, 4) boxes, float64, in the convention's unit and order.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".
        beyond: share of a side by which values may also lie outside the image and are clipped; not for bins.

    Returns:
        (N, 2) x, y or (N, 4) x0, y0, x1, y1, float64, pixels of the image as given, inside it.
    """
    numbers = _numbers(values)
    sides, limits, slack = _scale(convention, size, resized, numbers.shape[1] // 2)
    numbers = _of_image(numbers, convention, sides)
    if convention.unit != "bin":
        slack = np.maximum(slack, beyond * limits)
    outside = ~((numbers >= -slack) & (numbers <= limits + slack)).all(axis=1)
    if outside.any():
        first = np.asarray(values, np.float64)[int(np.argmax(outside))]
        others = fitting(first.tolist(), size, resized)
        repair = (
            f"it would fit {' or '.join(others)}; check the model's convention"
            if others
            else "no known convention fits"
        )
        shown = ", ".join(f"{value:g}" for value in first)
        raise InputError("coordinates", f"({shown})", f"a place in the image in convention {convention.name!r}", repair)
    offset, span = (0.5, limits + 1.0) if convention.unit == "bin" else (0.0, limits)
    return np.clip((numbers + offset) * (sides / span), 0.0, sides) + 0.0


def share_inside(
    box: Sequence[float], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None = None
) -> float:
    """Return the share of a box's area inside the image, 0 to 1; 0 for a box without area.

    Args:
        box: (4,) numbers in the convention's unit and order.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".
    """
    numbers = _numbers([box])
    image, limits, _ = _scale(convention, size, resized, 2)
    corners = _of_image(numbers, convention, image)[0]
    sides = corners[2:] - corners[:2]
    if (sides <= 0.0).any():
        return 0.0
    clipped = np.clip(corners, 0.0, limits)
    return float(np.prod((clipped[2:] - clipped[:2]) / sides))


def from_pixels(
    places: npt.ArrayLike, convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None = None
) -> npt.NDArray[np.float64]:
    """Convert locations from pixels to a model's convention, the inverse of `to_pixels`.

    Pixels, thousandths and bins are rounded to whole numbers.

    Args:
        places: (N, 2) x, y or (N, 4) x0, y0, x1, y1, pixels of the image as given; clipped to it.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".

    Returns:
        (N, 2) or (N, 4) float64, in the convention's unit and order; fractions are not rounded.
    """
    pixels = _numbers(places)
    sides, limits, _ = _scale(convention, size, resized, pixels.shape[1] // 2)
    inside = np.clip(pixels, 0.0, sides)
    if convention.unit == "bin":
        numbers = np.minimum(np.floor(inside / sides * convention.bins), limits)
    elif convention.unit == "square":
        numbers = (inside + _padding_before(sides)) / sides.max()
    else:
        numbers = inside * (limits / sides)
        numbers = np.rint(numbers) if convention.unit in ("pixel", "resized", "thousand") else numbers
    return _swapped(numbers) if convention.order == "yx" else numbers


def fitting(values: Sequence[float], size: tuple[int, int], resized: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Name the conventions of CONVENTIONS in which a location could have been written.

    Args:
        values: (2,) point or (4,) box, as the model wrote it.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor; None leaves the unit "resized" out.

    Returns:
        Names, in the order of CONVENTIONS; numbers that look like fractions fit only the units of FRACTIONS.
    """
    numbers = _numbers([values])
    return tuple(
        name
        for name, convention in CONVENTIONS.items()
        if (convention.unit != "resized" or resized is not None) and _could_be(numbers[0], convention, size, resized)
    )


def looks_like_fractions(values: npt.ArrayLike) -> bool:
    """Whether all values lie in 0..1 and some are not whole, so that no other unit would be used for them."""
    numbers = np.asarray(values, np.float64)
    return bool(((numbers >= 0.0) & (numbers <= 1.0)).all() and (numbers != np.round(numbers)).any())


def _could_be(
    numbers: npt.NDArray[np.float64], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None
) -> bool:
    if looks_like_fractions(numbers) and convention.unit not in FRACTIONS:
        return False
    if convention.unit == "bin" and (numbers != np.round(numbers)).any():
        return False
    if len(numbers) == 4 and (numbers[:2] >= numbers[2:]).any():
        return False
    sides, limits, slack = _scale(convention, size, resized, len(numbers) // 2)
    numbers = _of_image(numbers[None], convention, sides)[0]
    return bool(((numbers >= -slack) & (numbers <= limits + slack)).all())


def _scale(
    convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None, corners: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The image's sides in pixels, the largest values in the unit, and the rounding tolerance: each x, y(, x, y)."""
    sides = _sides(size, "image size", corners)
    if convention.unit == "bin":
        return sides, np.full_like(sides, convention.bins - 1.0), np.zeros_like(sides)
    if convention.unit == "pixel":
        limits = sides
    elif convention.unit == "resized":
        if resized is None:
            repair = "pass the size to which the model's processor resized the image"
            raise InputError("resized image size", "none", f"one, for the convention {convention.name!r}", repair)
        limits = _sides(resized, "resized image size", corners)
    else:
        limits = np.full_like(sides, _SPANS[convention.unit])
    step = _STEPS.get(convention.unit, 0.0) * (sides.max() / sides if convention.unit == "square" else 1.0)
    return sides, limits, np.maximum(limits / sides, step)


def _of_image(
    numbers: npt.NDArray[np.float64], convention: Convention, sides: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Put x first, and turn fractions of a padded square into fractions of the image in it.

    Args:
        numbers: (N, 2) or (N, 4) as written. In the padding the result is below 0 or above 1.
        sides: (2,) or (4,) of the image, pixels.
    """
    if convention.order == "yx":
        numbers = _swapped(numbers)
    if convention.unit == "square":
        return np.asarray((numbers * sides.max() - _padding_before(sides)) / sides)
    return numbers


def _padding_before(sides: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pixels of padding left of and above the image, repeated to the length of `sides`."""
    return np.tile(np.array(padding((int(sides[0]), int(sides[1]))), np.float64), len(sides) // 2)


def _sides(size: tuple[int, int], what: str, corners: int) -> npt.NDArray[np.float64]:
    sides = np.asarray(size, np.float64)
    if sides.shape != (2,) or not np.isfinite(sides).all() or (sides < 1).any():
        raise InputError(
            what, repr(size), "width and height of at least one pixel", "pass (width, height) in this order"
        )
    return np.tile(sides, corners)


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("coordinates", "(N, 2) or (N, 4) numbers", str(error)) from error
    if numbers.ndim != 2 or numbers.shape[1] not in (2, 4):
        raise ShapeError("coordinates", "(N, 2) or (N, 4) numbers", str(numbers.shape))
    if not np.isfinite(numbers).all():
        raise InputError("coordinates", "a value that is not finite", "finite numbers", "refuse the reply")
    return numbers


def _swapped(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Exchange y, x(, y, x) for x, y(, x, y)."""
    return numbers[:, [1, 0, 3, 2][: numbers.shape[1]]]


@dataclass(frozen=True)
class NamedObject:
    """One object that a reply names.

    Args:
        label: printable, `replies.LONGEST_LABEL` characters at most; empty if the reply gives none.
        box_xyxy: left, top, right, bottom, pixels of the image; None if the reply gives a point only.
        point_xy: x, y, pixels of the image; None if the reply gives a box only.
        score: 0 to 1; None if the reply gives none.
    """

    label: str
    box_xyxy: tuple[float, float, float, float] | None
    point_xy: tuple[float, float] | None
    score: float | None
