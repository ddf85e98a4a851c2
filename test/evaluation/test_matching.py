# SPDX-License-Identifier: Apache-2.0
"""Which true object a found one is: masks before boxes before boxes in space, with overlaps worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case import Box3d
from spatial_vlm_ros.evaluation.compared_boxes import ComparedBox, compared_truth, in_frame, overlap
from spatial_vlm_ros.evaluation.matching import FoundObject, match_objects, same_objects
from spatial_vlm_ros.evaluation.object_truth import KnownObject
from spatial_vlm_ros.types import Detection, Transform


def box(x: float, size: float = 1.0, turned: float = 0.0) -> ComparedBox:
    axes = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    return ComparedBox("base", np.array([x, 0.0, 0.0]), axes, np.full(3, size))


def mask(left: int, right: int) -> np.ndarray:
    found = np.zeros((10, 40), bool)
    found[:, left:right] = True
    return found


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (box(0.0), box(0.0), 1.0),
        (box(0.0), box(0.5), 1 / 3),  # half of each is shared: 0.5 of 1.5
        (box(0.0), box(0.0, 0.5), 1 / 8),
        (box(0.0), box(0.0, turned=np.pi / 2), 1.0),
        (box(0.0), box(0.0, turned=np.pi / 4), 0.8284 / 1.1716),  # an octagon: 2 (√2 - 1) of the square
        (box(0.0), box(1.5), 0.0),
    ],
)
def test_volumes_that_two_boxes_share(one: ComparedBox, other: ComparedBox, share: float) -> None:
    assert overlap(one, other) == pytest.approx(share, abs=0.01)
    assert overlap(other, one) == pytest.approx(share, abs=0.01)


def test_a_box_goes_into_another_frame_and_back() -> None:
    pose = Transform("base", "camera", np.array([[0, -1, 0, 1.0], [1, 0, 0, 2.0], [0, 0, 1, 3.0], [0, 0, 0, 1.0]]))
    seen = compared_truth(Box3d((1.0, 0.0, 0.0), (0.1, 0.2, 0.3), 0.0), "camera")
    moved = in_frame(seen, "base", [pose])
    assert moved.center == pytest.approx([1.0, 3.0, 3.0])
    assert moved.axes[:, 0] == pytest.approx([0.0, 1.0, 0.0])
    assert in_frame(moved, "camera", [pose]).center == pytest.approx(seen.center)
    with pytest.raises(InputError, match=r"'map'. Expected one of the frame's: base, camera"):
        in_frame(seen, "map", [pose])


def test_masks_count_before_boxes() -> None:
    """The boxes are the same; the masks share a third."""
    found = FoundObject("g0", "cup", (0, 0, 40, 10), mask(0, 20))
    true = KnownObject("d0", "cup", (0, 0, 40, 10), mask(10, 30))
    assert match_objects([found], [true], None).ious == {("g0", "d0"): round(1 / 3, 6)}
    assert match_objects([found], [true], None).of == {}
    boxes = match_objects([FoundObject("g0", "cup", (0, 0, 40, 10))], [true], None)
    assert boxes.of["g0"].iou == 1.0


@pytest.mark.parametrize(("right", "is_same"), [(20.0, True), (19.0, False)])
def test_half_of_a_box_is_enough(right: float, is_same: bool) -> None:
    """Of 40 pixels' width, the left 20 are shared: exactly one half."""
    matching = match_objects(
        [FoundObject("g0", "cup", (0, 0, right, 10))], [KnownObject("d0", "cup", (0, 0, 40, 10))], None
    )
    assert bool(matching.of) is is_same
    assert matching.iou("g0", "d0") == pytest.approx(right / 40)
    assert matching.iou("g0", "d1") == 0.0
    assert matching.iou(None, "d0") is None


def test_the_best_one_counts_and_of_equals_that_of_the_same_id() -> None:
    same = (0.0, 0.0, 40.0, 10.0)
    true = [
        KnownObject("a", "cabinet", same),
        KnownObject("b", "drawer", same),
        KnownObject("c", "cup", (0, 0, 39, 10)),
    ]
    matching = match_objects([FoundObject("b", "drawer", same), FoundObject("x", "box", same)], true, None)
    assert (matching.id_of("b"), matching.id_of("x")) == ("b", "a")
    assert [one.id for one in matching.on("a")] == ["x"]
    assert matching.id_of("y") == "y (no object of the truth)"


@pytest.mark.parametrize(
    ("away", "tolerance", "is_same"),
    [(0.3, None, True), (0.7, None, False), (0.7, 0.75, True), (0.7, 0.65, False)],
)
def test_boxes_in_space_match_by_volume_or_by_their_middles(
    away: float, tolerance: float | None, is_same: bool
) -> None:
    """1 m cubes 0.3 m apart share 0.7 of 1.3; 0.7 m apart 0.3 of 1.7, which is less than a quarter."""
    true = KnownObject("d0", "cup", box_3d=Box3d((away, 0, 0), (1, 1, 1)), tolerance_m=tolerance)
    matching = match_objects([FoundObject("g0", "cup", (0, 0, 9, 9), None, box(0.0))], [true], None)
    assert bool(matching.of) is is_same
    assert matching.ious["g0", "d0"] == pytest.approx((1 - away) / (1 + away), abs=0.01)


def test_given_detections_are_the_truth_itself() -> None:
    one = Detection("d0", "cup", 1.0, (0.0, 0.0, 40.0, 10.0))
    matching = same_objects([one])
    assert matching.is_truth
    assert (matching.id_of("d0"), matching.iou("d0", "d0")) == ("d0", 1.0)
