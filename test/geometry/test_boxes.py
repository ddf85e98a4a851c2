# SPDX-License-Identifier: Apache-2.0
"""Overlap of boxes, by hand and by what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.geometry.boxes import overlaps

WHOLE = st.integers(-20, 20)
SIDE = st.integers(0, 20)
BOX = st.tuples(WHOLE, WHOLE, SIDE, SIDE).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def test_overlaps_by_hand() -> None:
    others = [[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]
    assert overlaps([0, 0, 2, 2], others)[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0])
    assert overlaps(np.array([[0, 0, 2, 2]], np.float32), others).shape == (1, 3)
    assert overlaps(np.zeros((0, 4)), others).shape == (0, 3)


@given(st.lists(BOX, min_size=1, max_size=4), st.lists(BOX, min_size=1, max_size=4))
def test_overlaps_are_those_of_counted_cells(boxes: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    said = overlaps(boxes, others)
    for i, box in enumerate(boxes):
        for j, other in enumerate(others):
            a, b = ({(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (box, other))
            assert said[i, j] == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0)
