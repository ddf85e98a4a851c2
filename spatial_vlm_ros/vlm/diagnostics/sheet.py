# SPDX-License-Identifier: Apache-2.0
"""Images for people: attention drawn over an image, and a sheet of questions with their answers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.examination import Examined

_SIDE, _TEXT, _LINE, _WIDTH = 240, 76, 15, 36  # pixels, pixels, pixels, characters
_RIGHT, _WRONG, _INK = (20, 130, 40), (200, 30, 30), (40, 40, 40)
_MARK = 5  # pixels of the coloured edge
_HEAD = 36  # pixels for two lines above an image


def attention_image(rgb: Rgb, weights: npt.NDArray[np.floating], share: float = 0.5) -> Rgb:
    """Draw attention over an image: each cell has the colour of its image token's attention, red strongest, blue none.

    Args:
        rgb: (H, W, 3) uint8.
        weights: (rows, columns), 0 or more; one layer of `attention_map`, or a mean.
        share: share of the colours in the mixture, 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    if weights.ndim != 2 or not weights.size:
        raise ShapeError("attention", "(rows, columns)", str(weights.shape))
    if not 0 <= share <= 1 or not np.isfinite(weights).all() or weights.min() < 0:
        got = f"share {share}, weights from {np.min(weights)} to {np.max(weights)}"
        raise InputError("attention", got, "a share of 0 to 1, weights of 0 or more", "pass weights after the softmax")
    levels = np.rint(weights / max(float(weights.max()), 1e-12) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    height, width = rgb.shape[:2]
    laid = cv2.resize(coloured, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.rint((1 - share) * rgb + share * laid.astype(float)).astype(np.uint8)


def attention_strip(rgb: Rgb, weights: npt.NDArray[np.floating]) -> Rgb:
    """Draw an image beside the last token's attention in the first, middle and last third of the layers.

    Args:
        rgb: (H, W, 3) uint8.
        weights: (L, rows, columns), 0 or more, from `attention_map`.

    Returns:
        (H', W', 3) uint8; a title above each image names the layers and the share of attention on the image.
    """
    if weights.ndim != 3 or not weights.size:
        raise ShapeError("attention", "(layers, rows, columns)", str(weights.shape))
    tiles = [_headed(rgb, "the image", "")]
    for layers in np.array_split(np.arange(len(weights)), min(3, len(weights))):
        mean = weights[layers].mean(axis=0)
        first, last = int(layers[0]) + 1, int(layers[-1]) + 1
        name = f"layer {first}" if first == last else f"layers {first} to {last}"
        tiles.append(_headed(attention_image(rgb, mean), name, f"{mean.sum():.1%} on the image"))
    return np.hstack(tiles)


def answer_sheet(examined: Sequence[Examined], columns: int = 4, most: int = 24) -> Rgb:
    """Draw questions with images and answers, wrong ones first: a green edge for right, a red one for wrong.

    If there are too many, the shown ones are spread evenly over all, so that each kind appears.

    Args:
        examined: result of `examine`.
        columns: columns of the sheet.
        most: most questions on the sheet.

    Returns:
        (H, W, 3) uint8.
    """
    wrong = _spread([one for one in examined if not one.right], most)
    chosen = wrong + _spread([one for one in examined if one.right], most - len(wrong))
    if not chosen or columns < 1:
        got = f"{len(examined)} questions, {columns} columns, at most {most}"
        raise InputError("sheet", got, "one or more of each", "examine something first")
    tiles = [_tile(one) for one in chosen]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _spread(examined: Sequence[Examined], most: int) -> list[Examined]:
    """At most `most` items, evenly spread, beginning with the first."""
    count = min(most, len(examined))
    return [examined[i * len(examined) // count] for i in range(count)]


def _headed(rgb: Rgb, *lines: str) -> Rgb:
    """An image of _SIDE pixels height below lines of text, with a margin."""
    width = round(rgb.shape[1] * _SIDE / rgb.shape[0])
    tile = np.full((_SIDE + _HEAD + _MARK, width + 2 * _MARK, 3), 255, np.uint8)
    tile[_HEAD : _HEAD + _SIDE, _MARK:-_MARK] = cv2.resize(rgb, (width, _SIDE), interpolation=cv2.INTER_AREA)
    for i, line in enumerate(lines):
        _write(tile, line, (_MARK, _LINE * (i + 1)), _INK)
    return tile


def _write(tile: Rgb, line: str, at: tuple[int, int], ink: tuple[int, int, int]) -> None:
    cv2.putText(tile, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, ink, 1, cv2.LINE_AA)


def _tile(examined: Examined) -> Rgb:
    plain, answer = examined.item.plain, examined.answers["picture"]
    colour = _RIGHT if examined.right else _WRONG
    tile = np.full((_SIDE + _TEXT, _SIDE, 3), 255, np.uint8)
    tile[:_SIDE] = colour
    inner = _SIDE - 2 * _MARK
    tile[_MARK:-_MARK][:inner, _MARK:-_MARK] = cv2.resize(plain.rgb, (inner, inner), interpolation=cv2.INTER_AREA)
    told = answer if examined.right else f"{answer}; it is: {examined.item.truth}"
    lines = [(line, _INK) for line in textwrap.wrap(plain.question, _WIDTH)]
    lines += [(line, colour) for line in textwrap.wrap(told, _WIDTH)]
    for i, (line, ink) in enumerate(lines):
        _write(tile, line, (_MARK, _SIDE + _LINE * (i + 1) - 2), ink)
    return tile
