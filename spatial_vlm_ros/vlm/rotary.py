# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: angles of tokens on a line, on a grid, and in time, row and column.

For a head of size D, element i rotates with element i + D/2 (the pairing of GPT-NeoX and LLaMA), so D/2 angles are
repeated. Each pair rotates by one angle; therefore the product of a rotated query and a rotated key depends only on
their offset, and lengths stay (`research/offsets.py` measures both). With f_j = base^(-2j/D):

- line (Su et al. 2021): D/2 frequencies f_j at the running index;
- axial, as in the vision towers of Qwen2-VL (Wang et al. 2024): D/4 frequencies base^(-2j/(D/2)) for the row, the same
  again for the column;
- sectioned (M-RoPE): the D/2 frequencies of the line, each at one of the three axes time, row and column: in chunks
  (Qwen2-VL, Qwen2.5-VL; t t ... h h ... w w) or interleaved (Qwen3-VL; t h w t h w ... t t).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spatial_vlm_ros.errors import InputError

BASE = 10_000.0


def frequencies(size: int, base: float = BASE, device: torch.device | None = None) -> Tensor:
    """(size / 2,) float32: base^(-2j/size), radians per step; `size` is even."""
    return base ** (-torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)


def line_angles(positions: Tensor, inverse: Tensor) -> Tensor:
    """Compute angles of tokens on a line: (..., N, D) float32, radians.

    Args:
        positions: (..., N) running index.
        inverse: (D/2,) float32 from `frequencies`.
    """
    theta = positions.float()[..., None] * inverse
    return torch.cat([theta, theta], dim=-1)


def axial_angles(rows: Tensor, columns: Tensor, size: int, base: float = BASE) -> Tensor:
    """Compute angles of tokens on a grid: rows use one half of the frequencies, columns the other.

    Args:
        rows: (..., N) row of each token, cells.
        columns: (..., N) column of each token, cells.

    Returns:
        (..., N, D) float32, radians.
    """
    inverse = frequencies(size // 2, base, rows.device)
    theta = torch.cat([rows.float()[..., None] * inverse, columns.float()[..., None] * inverse], dim=-1)
    return torch.cat([theta, theta], dim=-1)


def sectioned_angles(ids: Tensor, inverse: Tensor, axes: Tensor) -> Tensor:
    """Compute angles of tokens in time, row and column, one axis per frequency: (..., N, D) float32, radians.

    Args:
        ids: (3, ..., N) time, row and column of each token.
        inverse: (D/2,) float32 from `frequencies`.
        axes: (D/2,) int, 0 to 2, from `chunked_axes` or `interleaved_axes`.
    """
    theta = ids.movedim(0, -1).float()[..., axes] * inverse
    return torch.cat([theta, theta], dim=-1)


def chunked_axes(sections: tuple[int, ...]) -> Tensor:
    """Return (D/2,) int64, the axis of each frequency: first time, then rows, then columns; on the CPU."""
    _checked(sections)
    return torch.arange(3).repeat_interleave(torch.tensor(sections))


def interleaved_axes(sections: tuple[int, ...]) -> Tensor:
    """(D/2,) int64, the axis of each frequency: alternating while rows and columns last, then time; on the CPU."""
    _checked(sections)
    axes = torch.zeros(sum(sections), dtype=torch.int64)
    for axis in (1, 2):
        axes[axis : 3 * sections[axis] : 3] = axis
    if torch.bincount(axes, minlength=3).tolist() != list(sections):
        got = f"{sections}, of which rows or columns need more than every third of {len(axes)}"
        raise InputError("sections", got, "at most a third each for rows and columns", "give more to time")
    return axes


def default_sections(size: int, interleaved: bool) -> tuple[int, int, int]:
    """Return sections for a head of this size, in the proportions published for size 128.

    For 128, Qwen2-VL has (16, 24, 24) and Qwen3-VL, interleaved, (24, 20, 20). Rounding remainders go to time.
    """
    space = size * 5 // 32 if interleaved else size * 3 // 16
    return size // 2 - 2 * space, space, space


def grid_angles(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Return (height * width, size) axial angles of a grid, row by row."""
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    return axial_angles(rows, columns, size)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate queries or keys: (..., N, D).

    Args:
        x: (..., N, D) queries or keys.
        angles: (N, D) or (..., N, D).
    """
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angles.cos() + turned * angles.sin()


def _checked(sections: tuple[int, ...]) -> None:
    if len(sections) != 3 or min(sections) < 1:
        raise InputError("sections", str(sections), "three numbers of frequencies, each at least 1", "distribute D/2")
