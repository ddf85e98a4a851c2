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
_STEPS: Mapping[Unit, float] = MappingProxyType({"resized": 1.0, "square": 0.01, "thousand": 1.0, "percent": 0.1})
"""Smallest step that models write in a unit; rounding can push a border value outside by as much."""
FRACTIONS: tuple[Unit, ...] = ("fraction", "square")
"""Units whose values lie in 0..1."""


@dataclass(frozen=True)
class Convention:
    """How a model writes a location."""

    name: str
    # "pixel": pixel of the image as given; "resized": pixel of the image as resized by the model's processor;
    # "fraction" of width and height; "square": fraction of the side of the square that the image was padded to, the
    # image in its middle (see geometry.boxes); "thousand": thousandths of width and height; "percent": percent of width
    # and height; "bin": number of one of `bins` equal strips along each side
    unit: Unit
    order: Order = "xy"  # "xy": x first; "yx": y first
    bins: int = 0  # number of strips; 0 for all other units

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
    """Convert (N, 2) points or (N, 4) boxes from a model's convention to x, y pixels inside the image.

    A bin stands for its centre, (n + 0.5) / bins of the side, as in Florence-2's own processor. Values outside the
    image by up to one pixel, or one step of the unit if that is more, count as rounding errors and are clipped to the
    image. A bin that does not exist is never clipped. The padding of a square is outside the image.

    Args:
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".
        beyond: share of a side by which values may also lie outside the image and are clipped; not for bins.
    """
    written = _corners(values)
    pixels, sides, slack = _in_pixels(written, convention, size, resized)
    slack = slack if convention.unit == "bin" else np.maximum(slack, beyond * sides)
    inside = ((pixels >= -slack) & (pixels <= sides + slack)).all(axis=(1, 2))
    if not inside.all():
        first = written[int(np.argmin(inside))].ravel()
        others = fitting(first.tolist(), size, resized)
        fits = f"it would fit {' or '.join(others)}; check the model's convention" if others else ""
        shown = ", ".join(f"{value:g}" for value in first)
        expected = f"a place in the image in convention {convention.name!r}"
        raise InputError("coordinates", f"({shown})", expected, fits or "no known convention fits")
    return np.clip(pixels, 0.0, sides).reshape(len(written), 2 * written.shape[1]) + 0.0


def share_inside(
    box: Sequence[float], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None = None
) -> float:
    """Return the share of a box's area inside the image, 0 to 1; 0 for a box without area. Sizes as in `to_pixels`."""
    (corners,), image, _ = _in_pixels(_corners([box]), convention, size, resized)
    sides = corners[1] - corners[0]
    clipped = np.clip(corners, 0.0, image)
    return float(np.prod((clipped[1] - clipped[0]) / sides)) if (sides > 0.0).all() else 0.0


def from_pixels(
    places: npt.ArrayLike, convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None = None
) -> npt.NDArray[np.float64]:
    """Convert (N, 2) or (N, 4) pixels, clipped to the image, to a model's convention, the inverse of `to_pixels`.

    Pixels, thousandths and bins are rounded to whole numbers, fractions are not.
    """
    pixels, (sides, scale, shift) = _corners(places), _grid(convention, size, resized)
    numbers = (np.clip(pixels, 0.0, sides) - shift) / scale
    if convention.unit == "bin":
        numbers = np.clip(np.floor(numbers + 0.5), 0.0, convention.bins - 1.0)
    elif convention.unit in ("pixel", "resized", "thousand"):
        numbers = np.rint(numbers)
    return _ordered(numbers, convention).reshape(len(pixels), 2 * pixels.shape[1])


def fitting(values: Sequence[float], size: tuple[int, int], resized: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Name the conventions, in the order of CONVENTIONS, in which a point or box could have been written.

    Numbers that look like fractions fit only the units of FRACTIONS; the unit "resized" needs a size. See `to_pixels`.
    """
    written = _corners([values])
    if (written[:, :1] >= written[:, 1:]).any():
        return ()
    whole, fractions = bool((written == np.round(written)).all()), looks_like_fractions(written)
    names = []
    for name, convention in CONVENTIONS.items():
        possible = convention.unit in FRACTIONS or not fractions
        if possible and (convention.unit != "resized" or resized is not None) and (convention.unit != "bin" or whole):
            pixels, sides, slack = _in_pixels(written, convention, size, resized)
            if ((pixels >= -slack) & (pixels <= sides + slack)).all():
                names.append(name)
    return tuple(names)


def looks_like_fractions(values: npt.ArrayLike) -> bool:
    """Whether all values lie in 0..1 and some are not whole, so that no other unit would be used for them."""
    numbers = np.asarray(values, np.float64)
    return bool(((numbers >= 0.0) & (numbers <= 1.0)).all() and (numbers != np.round(numbers)).any())


def _in_pixels(
    written: npt.NDArray[np.float64], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners (N, C, 2) in pixels, not clipped; the image's sides and the rounding tolerance, x and y, pixels."""
    sides, scale, shift = _grid(convention, size, resized)
    slack = np.maximum(1.0, scale * _STEPS.get(convention.unit, 0.0))
    if convention.unit == "bin":
        slack = 1e-9 * scale - shift  # centres of the first and the last bin
    return _ordered(written, convention) * scale + shift, sides, slack


def _grid(
    convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The image's sides, and scale and shift from the convention's unit to pixels: each x and y."""
    sides = _sides(size, "image size")
    still = np.zeros(2)
    if convention.unit == "pixel":
        return sides, np.ones(2), still
    if convention.unit == "square":
        return sides, np.full(2, sides.max()), -np.array(padding((int(sides[0]), int(sides[1]))), np.float64)
    if convention.unit == "bin":
        return sides, sides / convention.bins, 0.5 * sides / convention.bins
    if convention.unit != "resized":
        return sides, sides / _SPANS[convention.unit], still
    if resized is None:
        repair = "pass the size to which the model's processor resized the image"
        raise InputError("resized image size", "none", f"one, for the convention {convention.name!r}", repair)
    return sides, sides / _sides(resized, "resized image size"), still


def _sides(size: tuple[int, int], what: str) -> npt.NDArray[np.float64]:
    sides = np.asarray(size, np.float64)
    if sides.shape != (2,) or not np.isfinite(sides).all() or (sides < 1).any():
        expected = "width and height of at least one pixel"
        raise InputError(what, repr(size), expected, "pass (width, height) in this order")
    return sides


def _corners(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, 2) or (N, 4) numbers as (N, 1, 2) or (N, 2, 2)."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ShapeError("coordinates", "(N, 2) or (N, 4) numbers", str(error)) from error
    if numbers.ndim != 2 or numbers.shape[1] not in (2, 4):
        raise ShapeError("coordinates", "(N, 2) or (N, 4) numbers", str(numbers.shape))
    if not np.isfinite(numbers).all():
        raise InputError("coordinates", "a value that is not finite", "finite numbers", "refuse the reply")
    return numbers.reshape(len(numbers), numbers.shape[1] // 2, 2)


def _ordered(corners: npt.NDArray[np.float64], convention: Convention) -> npt.NDArray[np.float64]:
    return corners[..., ::-1] if convention.order == "yx" else corners


@dataclass(frozen=True)
class NamedObject:
    """One object that a reply names."""

    label: str  # printable, `replies.LONGEST_LABEL` characters at most; empty if the reply gives none
    # left, top, right, bottom, pixels of the image; None if the reply gives a point only
    box_xyxy: tuple[float, float, float, float] | None
    point_xy: tuple[float, float] | None  # x, y, pixels of the image; None if the reply gives a box only
    score: float | None  # 0 to 1; None if the reply gives none
