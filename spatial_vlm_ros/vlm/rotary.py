# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: angles of tokens on a line, on a grid, and in time, row and column.

For a head of size D, element i rotates with element i + D/2 (the pairing of GPT-NeoX and LLaMA), so D/2 angles are
repeated. Thus the product of a rotated query and key depends only on their offset, and lengths stay
(`test/vlm/test_rotary.py` measures both). With f_j = base^(-2j/D):

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


def angles_at(ids: Tensor, speeds: Tensor, axes: Tensor) -> Tensor:
    """(..., N, D) radians of tokens at `ids` (A, ..., N), each pair turned by its speed (D/2,) along its axis."""
    theta = ids.movedim(0, -1).float()[..., axes] * speeds
    return torch.cat([theta, theta], dim=-1)


def chunked_axes(sections: tuple[int, ...]) -> Tensor:
    """Return (D/2,) int64, the axis of each pair: first time, then rows, then columns; on the CPU."""
    _checked(sections)
    return torch.arange(3).repeat_interleave(torch.tensor(sections))


def interleaved_axes(sections: tuple[int, ...]) -> Tensor:
    """(D/2,) int64, the axis of each pair: alternating while rows and columns last, then time; on the CPU."""
    _checked(sections)
    axes = torch.zeros(sum(sections), dtype=torch.int64)
    for axis in (1, 2):
        axes[axis : 3 * sections[axis] : 3] = axis
    if torch.bincount(axes, minlength=3).tolist() != list(sections):
        got = f"{sections}, of which rows or columns need more than every third of {len(axes)}"
        raise InputError("sections", got, "at most a third each for rows and columns", "give more to time")
    return axes


def default_sections(size: int, interleaved: bool) -> tuple[int, int, int]:
    """Sections for a head of this size, as published for 128: (16, 24, 24), interleaved (24, 20, 20); rest to time."""
    space = size * 5 // 32 if interleaved else size * 3 // 16
    return size // 2 - 2 * space, space, space


def grid_angles(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Return (height * width, size) axial angles of a grid, row by row."""
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    speeds = frequencies(size // 2, device=device)
    theta = torch.cat([rows.float()[..., None] * speeds, columns.float()[..., None] * speeds], dim=-1)
    return torch.cat([theta, theta], dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate queries or keys (..., N, D) by angles (N, D) or (..., N, D)."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angles.cos() + turned * angles.sin()


def _checked(sections: tuple[int, ...]) -> None:
    if len(sections) != 3 or min(sections) < 1:
        raise InputError("sections", str(sections), "three numbers of frequencies, each at least 1", "distribute D/2")
