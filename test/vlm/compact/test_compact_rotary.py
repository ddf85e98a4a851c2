# SPDX-License-Identifier: Apache-2.0
"""Rotary position in two dimensions: what attention sees is the offset, and nothing but the offset."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from spatial_vlm_ros.vlm.compact.rotary import grid_angles, rotary_angles, rotate  # noqa: E402

SIZE = 16


def product(query: torch.Tensor, key: torch.Tensor, at: tuple[int, int], other: tuple[int, int]) -> float:
    """q·k of a query at one place and a key at another."""
    places = torch.tensor([at, other])
    angles = rotary_angles(places[:, 0], places[:, 1], SIZE)
    return float(rotate(query, angles[:1])[0] @ rotate(key, angles[1:])[0])


@pytest.mark.parametrize("offset", [(0, 0), (2, 3), (-5, 1), (0, 7)])
def test_the_product_depends_only_on_the_offset(offset: tuple[int, int]) -> None:
    query, key = torch.randn(2, 1, SIZE, generator=torch.Generator().manual_seed(1))
    products = [
        product(query, key, (row, column), (row + offset[0], column + offset[1]))
        for row, column in ((5, 0), (0, 0), (9, 13), (30, 4))
    ]
    assert products == pytest.approx([products[0]] * 4, abs=1e-4)


def test_rows_and_columns_are_told_apart() -> None:
    query, key = torch.randn(2, 1, SIZE, generator=torch.Generator().manual_seed(1))
    ways = [product(query, key, (5, 5), other) for other in ((5, 5), (5, 7), (7, 5), (3, 5))]
    assert len({round(value, 3) for value in ways}) == 4


def test_turning_keeps_lengths() -> None:
    x = torch.randn(3, 2, 12, SIZE, generator=torch.Generator().manual_seed(2))
    turned = rotate(x, grid_angles(3, 4, SIZE, x.device))
    assert turned.shape == x.shape
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_angles_follow_the_published_formula() -> None:
    angles = rotary_angles(torch.tensor([3]), torch.tensor([5]), 8)[0]
    assert angles.tolist() == pytest.approx([3.0, 0.03, 5.0, 0.05] * 2)
