# SPDX-License-Identifier: Apache-2.0
"""Rotary position in two dimensions: rows turn one half of the frequencies, columns the other.

For a head of D numbers and a token at (row, column): D/4 frequencies base^(-2j/(D/2)) for each axis; the D/2 angles
(rows first) are repeated, and number i turns with number i + D/2. Each pair turns by one angle, so the product of a
turned query and a turned key depends on their offset alone. Axial form as in the vision towers of Qwen2-VL.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def rotary_angles(rows: Tensor, columns: Tensor, size: int, base: float = BASE) -> Tensor:
    """Angles of tokens.

    Args:
        rows: (N,) of each token, cells.
        columns: (N,) of each token, cells.
        size: D, numbers of a head, a multiple of four.
        base: of the frequencies.

    Returns:
        (N, D) float32, radians.
    """
    inverse = base ** (-torch.arange(0, size // 2, 2, dtype=torch.float32, device=rows.device) / (size // 2))
    theta = torch.cat([rows.float()[:, None] * inverse, columns.float()[:, None] * inverse], dim=1)
    return torch.cat([theta, theta], dim=1)


def grid_angles(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """(height * width, size) angles of a grid, row after row."""
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    return rotary_angles(rows, columns, size)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn queries or keys.

    Args:
        x: (..., N, D).
        angles: (N, D) of `rotary_angles`.

    Returns:
        (..., N, D).
    """
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angles.cos() + turned * angles.sin()
