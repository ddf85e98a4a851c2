# SPDX-License-Identifier: Apache-2.0
"""A learned table of absolute positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spatial_vlm_ros.errors import FileError, InputError  # noqa: E402
from spatial_vlm_ros.vlm.remedies.absolute import FILE, LearnedPositions  # noqa: E402


def filled(height: int, width: int, size: int) -> LearnedPositions:
    made = LearnedPositions(height, width, size)
    torch.nn.init.normal_(made.table, generator=torch.Generator().manual_seed(0))
    return made


def bilinear(table: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height * width, D), cell by cell, cell centre on cell centre, held at the borders."""
    out = []
    for r in range(height):
        for c in range(width):
            value = np.zeros(table.shape[2])
            y = min(max((r + 0.5) * table.shape[0] / height - 0.5, 0.0), table.shape[0] - 1.0)
            x = min(max((c + 0.5) * table.shape[1] / width - 0.5, 0.0), table.shape[1] - 1.0)
            for i in range(table.shape[0]):
                for j in range(table.shape[1]):
                    value += max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j)) * table[i, j]
            out.append(value)
    return np.array(out)


@pytest.mark.parametrize("grid", [(3, 4), (6, 8), (2, 2), (1, 9), (5, 3)])
def test_a_grid_gets_the_table_bilinear_and_its_own_grid_row_after_row(grid: tuple[int, int]) -> None:
    made = filled(3, 4, 5)
    expected = bilinear(made.table.detach().double().numpy(), *grid)
    assert np.allclose(made(*grid).detach().numpy(), expected, atol=1e-5)
    if grid == (3, 4):
        assert torch.equal(made(*grid)[1 * 4 + 2], made.table[1, 2])


def test_it_begins_with_zeros_that_learn_and_is_read_as_it_was_saved(tmp_path: Path) -> None:
    made = LearnedPositions(2, 2, 3)
    assert not made.table.any()
    made(4, 4).sum().backward()
    assert torch.allclose(made.table.grad, torch.full((2, 2, 3), 4.0))
    made = filled(3, 4, 5)
    made.save(str(tmp_path))
    assert torch.equal(LearnedPositions.load(str(tmp_path)).table, made.table)


def test_folders_and_files_without_a_table_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    tensors = save({"table": torch.zeros(3)})
    for content, words in ((None, "beside the"), (b"no tensors", "beside the checkpoint"), (tensors, "no table")):
        if content is not None:
            (tmp_path / FILE).write_bytes(content)
        with pytest.raises(FileError, match=words):
            LearnedPositions.load(tmp_path)
    with pytest.raises(FileError, match="Save the checkpoint there first"):
        filled(2, 2, 3).save(tmp_path / "nowhere")
    with pytest.raises(InputError, match="learned positions"):
        LearnedPositions(0, 4, 8)
