# SPDX-License-Identifier: Apache-2.0
"""Learned absolute positions: a table with one vector per cell of a grid, added to the image tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.writing import written_by_name

FILE = "spatial_vlm_positions.safetensors"
"""File beside the checkpoint, which does not contain the table."""


class LearnedPositions(nn.Module):
    """One vector per cell of a grid, as in vision transformers (Dosovitskiy et al. 2021).

    It starts with zeros, which do not change a model; it gets a gradient from the first step. For another grid the
    table is interpolated: bilinear, aligned at cell centres (`align_corners=False`).

    Args:
        height: rows of its grid.
        width: columns of its grid.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        super().__init__()
        if min(height, width, size) < 1:
            raise InputError(
                "learned positions", f"{height} x {width} of {size}", "at least 1", "pass the size of the grid"
            )
        self.table = nn.Parameter(torch.zeros(height, width, size))

    def forward(self, height: int, width: int) -> Tensor:
        """Return (height * width, D), the vectors to add to the tokens of a grid, row by row."""
        if (height, width) == tuple(self.table.shape[:2]):
            return self.table.flatten(0, 1)
        fitted = F.interpolate(self.table.permute(2, 0, 1)[None], (height, width), mode="bilinear", align_corners=False)
        return fitted[0].permute(1, 2, 0).flatten(0, 1)

    def save(self, folder: str | Path) -> None:
        """Write the table into the folder of the checkpoint."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path = Path(folder) / FILE
        if not path.parent.is_dir():
            repair = "save the checkpoint there first, in a writable place"
            raise FileError(path, "no such folder", repair)
        try:
            with written_by_name(path, force=True) as unfinished:
                save_file({"table": self.table.detach().contiguous()}, str(unfinished))
        except (OSError, SafetensorError) as error:
            repair = "save the checkpoint there first, in a writable place"
            raise FileError(path, str(error), repair) from error

    @classmethod
    def load(cls, folder: str | Path) -> LearnedPositions:
        """Read a table that `save` wrote."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(folder) / FILE
        try:
            table = load_file(str(path)).get("table")
        except (OSError, SafetensorError) as error:
            raise FileError(path, str(error), "save the table beside the checkpoint") from error
        if table is None or table.ndim != 3:
            raise FileError(path, "has no table of rows, columns, numbers", "save it with LearnedPositions.save")
        made = cls(*table.shape)
        made.table = nn.Parameter(table)
        return made
