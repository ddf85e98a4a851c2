# SPDX-License-Identifier: Apache-2.0
"""RefSpatial-Bench in its published layout, made up in small; scores worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.refspatial import read_refspatial, score_refspatial, share_inside


def entry(n: int, **changes: Any) -> dict[str, Any]:
    return {"id": n, "object": "the mug", "prompt": "Point at the mug.", "suffix": "As tuples.", "category": "location",
            "rgb_path": f"image/{n}.png", "mask_path": f"mask/{n}.png", "step": 1 + n % 2} | changes  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Three questions on images of 20 by 10 pixels; the left half is right."""
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :10] = 255
    for folder, image in (("image", np.full((10, 20, 3), 90, np.uint8)), ("mask", mask)):
        (tmp_path / "Location" / folder).mkdir(parents=True)
        for n in range(3):
            cv2.imwrite(str(tmp_path / "Location" / folder / f"{n}.png"), image)
    (tmp_path / "Location" / "question.json").write_text(json.dumps([entry(n) for n in range(3)]))
    return tmp_path


def test_the_score_is_the_mean_share_of_points_in_the_mask(bench: Path) -> None:
    items = read_refspatial(bench, "Location")
    assert (items[1].object, items[1].step, items[1].suffix) == ("the mug", 2, "As tuples.")
    found = score_refspatial(items, [[(0.1, 0.5), (0.4, 0.9), (0.9, 0.5), (1.5, 0.5)], [(0.499, 0.0)], []])
    assert found.mean.value == pytest.approx((0.5 + 1.0 + 0.0) / 3, abs=1e-6)
    assert found.mean.low <= found.mean.value <= found.mean.high
    assert (found.n, found.unanswered) == (3, 1)
    assert found.by_step == {1: (2, 0.25), 2: (1, 1.0)}
    with pytest.raises(InputError, match="one for each"):
        score_refspatial(items, [[]])


def test_points_at_the_border_and_beyond(bench: Path) -> None:
    mask = read_refspatial(bench, "Location")[0].read_mask()
    assert mask.shape == (10, 20)
    assert share_inside([(0.0, 0.0), (0.5, 0.5)], mask) == 0.5
    assert share_inside([(0.2, 1.0), (-0.001, 0.5), (1e9, -1e9)], mask) == 0.0
    assert share_inside([], mask) == 0.0
    with pytest.raises(InputError, match="finite"):
        share_inside([(float("nan"), 0.5)], mask)


def test_what_is_not_there_or_not_as_published_is_named(bench: Path) -> None:
    with pytest.raises(FileError, match=r"Placement.*BAAI/RefSpatial-Bench"):
        read_refspatial(bench, "Placement")
    listing = bench / "Location" / "question.json"
    for entries, words in (
        ([entry(0, rgb_path="../secret.png")], "leaves the folder"),
        ([entry(0, mask_path="mask/9.png")], "no such picture"),
        ([entry(0), entry(0)], "comes twice"),
        ([entry(0, step="two")], "step"),
        ([{"id": 1}], "object"),
    ):
        listing.write_text(json.dumps(entries))
        with pytest.raises(FileError, match=words):
            read_refspatial(bench, "Location")
    listing.write_text(json.dumps([entry(0)]))
    cv2.imwrite(str(bench / "Location" / "mask" / "0.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(FileError, match="the picture has"):
        read_refspatial(bench, "Location")[0].read_mask()
