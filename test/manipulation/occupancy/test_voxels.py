# SPDX-License-Identifier: Apache-2.0
"""Voxels: the same after packing, and boxes that are exactly their union."""

from __future__ import annotations

import base64
import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.manipulation.occupancy.voxels import MOST_CELLS, voxels_at

CELLS = st.lists(st.tuples(*(st.integers(-6, 6),) * 3), max_size=60)


@given(CELLS)
def test_indices_come_back_sorted_and_once(cells: list[tuple[int, int, int]]) -> None:
    blocks = voxels_at(np.array(cells, np.int32).reshape(-1, 3), 0.01)
    assert list(map(tuple, blocks.indices.tolist())) == sorted(set(cells))
    assert len(blocks) == len(set(cells))


@given(CELLS)
def test_boxes_are_the_union_and_share_nothing(cells: list[tuple[int, int, int]]) -> None:
    blocks = voxels_at(np.array(cells, np.int32).reshape(-1, 3), 0.01, (0.1, 0.2, 0.3))
    filled: list[tuple[int, int, int]] = []
    for box in blocks.as_boxes():
        low = np.rint((np.array(box.centre) - np.array(box.size) / 2 - (0.1, 0.2, 0.3)) / 0.01).astype(int)
        steps = np.rint(np.array(box.size) / 0.01).astype(int)
        filled += [tuple((low + at).tolist()) for at in np.ndindex(*steps)]
    assert len(filled) == len(set(filled))
    assert set(filled) == set(cells)


def test_a_full_block_is_one_box_and_too_many_are_merged_into_coarser_ones_that_hold_all() -> None:
    (box,) = voxels_at(np.argwhere(np.ones((5, 4, 3), bool)), 0.02).as_boxes()
    assert np.allclose(box.size, (0.1, 0.08, 0.06))
    assert np.allclose(box.centre, (0.05, 0.04, 0.03))
    chequered = voxels_at(np.argwhere(np.indices((8, 8, 8)).sum(axis=0) % 2 == 0), 0.01)  # no two are side by side
    assert len(chequered.as_boxes()) == 256
    (box,) = chequered.as_boxes(most=10)
    assert np.allclose(box.size, 0.08)


def test_holds_says_in_which_voxels_points_are() -> None:
    blocks = voxels_at(np.array([[0, 0, 0], [-2, 5, 1]]), 0.01)
    points = np.array([[0.005, 0.005, 0.005], [-0.015, 0.055, 0.015], [0.011, 0.0, 0.0], [9.0, 9.0, 9.0]])
    assert blocks.holds(points).tolist() == [True, True, False, False]
    assert blocks.holds(blocks.centres()).all()
    empty = voxels_at(np.zeros((0, 3), np.int32), 0.01)
    assert (len(empty), empty.as_boxes(), empty.indices.shape, empty.volume) == (0, (), (0, 3), 0.0)
    assert not empty.holds(np.zeros((2, 3))).any()


def test_what_is_not_voxels_is_refused() -> None:
    good = voxels_at(np.array([[0, 0, 0]]), 0.01)
    with pytest.raises(ShapeError):
        voxels_at(np.zeros((3, 2), np.int32), 0.01)
    with pytest.raises(InputError, match=str(MOST_CELLS)):
        voxels_at(np.array([[0, 0, 0], [2000, 2000, 2000]]), 0.01)
    for changed, words in (({"edge": 0.0}, "edge"), ({"shape": (10_000, 10_000, 10_000)}, str(MOST_CELLS))):
        with pytest.raises(InputError, match=words):
            dataclasses.replace(good, **changed)  # type: ignore[arg-type]
    for bits in ("not base64", base64.b64encode(b"not zlib").decode(), _packed(b""), _packed(b"12345")):
        with pytest.raises(InputError, match="voxels"):
            len(dataclasses.replace(good, bits=bits))
    with pytest.raises(InputError, match="2 bytes or more"):  # before it is unpacked
        len(dataclasses.replace(good, bits=_packed(bytes(50_000_000))))


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()
