# SPDX-License-Identifier: Apache-2.0
"""Positions of the tokens of prompts with an image: on a line, and in time, row and column.

Everything is computed from the running index, so it works for a prompt and for each later decoding step. For an image
of H rows and W columns whose first token has running index s (Wang et al. 2024, Qwen2-VL):

- text before it: time = row = column = running index;
- its token at (r, c): time s, row s + r, column s + c;
- text after it continues at s + max(H, W) in all three ("grid"), or at its running index ("running").

Only the rows and columns of it are the axial form. "Spatial Blindspot" (2026) does not say where text continues; the
default is Qwen's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from spatial_vlm_ros.errors import InputError, ShapeError, UnknownNameError

FOLLOWING = ("grid", "running")
"""Where text after an image continues: after the longer side of the grid, or at its running index."""


@dataclass(frozen=True, eq=False)
class Images:
    """Position of the image in each row of a batch; each field is (B, 1) int64.

    Args:
        starts: running index of its first token.
        heights: H, rows of tokens.
        widths: W, columns of tokens.
    """

    starts: Tensor
    heights: Tensor
    widths: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.starts, self.heights, self.widths)]
        if any(shape != (len(self.starts), 1) for shape in shapes):
            raise ShapeError("images", "starts, heights and widths of (B, 1)", str(shapes))
        if bool((self.heights < 1).any()) or bool((self.widths < 1).any()):
            raise InputError("images", "a side without tokens", "at least 1 row and 1 column", "check the grids")

    @classmethod
    def at(cls, starts: Tensor, grids: Iterable[tuple[int, int]]) -> Images:
        """Make them from (B,) running indices of the images' starts, and the rows and columns of each image."""
        sides = torch.tensor(list(grids), dtype=torch.int64, device=starts.device).view(-1, 2)
        return cls(starts.long()[:, None], sides[:, :1], sides[:, 1:])


def running_ids(mask: Tensor) -> Tensor:
    """Return the (B, N) running index of the tokens of a batch, 0 at padding.

    Args:
        mask: (B, N) attention mask, 0 at padding, which may be at either end.
    """
    return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)


def grid_ids(running: Tensor, images: Images | None, following: str = "grid") -> Tensor:
    """Compute time, row and column of tokens: (3, B, N) int64; its rows and columns, [1:], are the axial form.

    Args:
        running: (B, N) int64 running index; it may belong to a part of a prompt, or to tokens decoded after it.
        images: images of the rows; None = text only.
        following: one of FOLLOWING.
    """
    if following not in FOLLOWING:
        raise UnknownNameError("place of the text behind an image", following, FOLLOWING)
    if images is None:
        return running.expand(3, *running.shape)
    starts, heights, widths = images.starts, images.heights, images.widths
    inside = running - starts
    within = (inside >= 0) & (inside < heights * widths)
    saved = heights * widths - torch.maximum(heights, widths) if following == "grid" else 0
    text = torch.where(inside >= heights * widths, running - saved, running)
    row = torch.div(inside, widths, rounding_mode="floor")
    places = (torch.zeros_like(inside), row, inside - row * widths)
    return torch.stack([torch.where(within, starts + place, text) for place in places])


def line_ids(ids: Tensor, images: Images | None) -> Tensor:
    """Compute the running index from time, row and column, the inverse of `grid_ids`, for models with three axes.

    Args:
        ids: (3, B, N) int64 as from `grid_ids` with "grid" and from Qwen's classes.
        images: images of the rows; None = text only.

    Returns:
        (B, N) int64.
    """
    time, row, column = ids
    if images is None:
        return time
    starts, heights, widths = images.starts, images.heights, images.widths
    saved = heights * widths - torch.maximum(heights, widths)
    inside = starts + (row - starts) * widths + (column - starts)
    return torch.where(time < starts, time, torch.where(time == starts, inside, time + saved))
