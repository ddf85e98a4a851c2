# SPDX-License-Identifier: Apache-2.0
"""Detections of other tools: COCO's results and annotations, and what `supervision` holds.

The RLE texts were made by pycocotools 2.0.11.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.imported_detections import from_coco, from_supervision

NAMES = {1: "cup", 3: "bowl"}
SIZE = (8, 6)  # width, height
BLOCK = np.zeros((6, 8), bool)
BLOCK[1:4, 2:7] = True


@dataclasses.dataclass
class Found:
    """Has the fields of supervision.Detections."""

    xyxy: Any
    mask: Any = None
    confidence: Any = None
    class_id: Any = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_a_coco_box_is_left_top_width_height() -> None:
    (one,) = from_coco([{"category_id": 3, "bbox": [1, 2, 4, 3], "score": 0.5}], NAMES, SIZE)
    assert (one.id, one.label, one.score, one.box_xyxy, one.mask) == ("d0", "bowl", 0.5, (1, 2, 5, 5), None)


def test_results_of_other_images_are_left_out_and_categories_may_be_those_of_a_file() -> None:
    results = [{"image_id": n, "category_id": 1, "bbox": [n, 0, 1, 1]} for n in (7, 8, 8)]
    listed = [{"id": 1, "name": "cup", "supercategory": "kitchen"}]
    found = from_coco(results, listed, SIZE, image_id=8)
    assert [(one.id, one.label, one.score) for one in found] == [("d0", "cup", 1.0), ("d1", "cup", 1.0)]
    assert from_coco(results, listed, SIZE, image_id=9) == ()


@pytest.mark.parametrize(
    "counts",
    ["=3300000005", b"=3300000005", [13, 3, 3, 3, 3, 3, 3, 3, 3, 3, 8]],
    ids=["text", "bytes", "numbers"],
)
def test_a_mask_is_read_from_rle_and_polygons(counts: Any) -> None:
    entry = {"category_id": 1, "bbox": [2, 1, 5, 3], "segmentation": {"size": [6, 8], "counts": counts}}
    (one,) = from_coco([entry], NAMES, SIZE)
    np.testing.assert_array_equal(one.mask, BLOCK)
    (one,) = from_coco([{**entry, "segmentation": [[2, 1, 7, 1, 7, 4, 2, 4]]}], NAMES, SIZE)
    assert one.mask[BLOCK].all()
    assert one.mask.sum() <= 4 * 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"category_id": 2}, "category_id 2"),
        ({"bbox": [1, 2, 3]}, r"COCO result 0.*bbox"),
        ({"bbox": None}, "bbox None"),
        ({"bbox": [1, 2, 0, 3]}, "width and height above 0"),
        ({"score": "high"}, "numbers"),
        ({"segmentation": {"size": [8, 6], "counts": "=3300000005"}}, r"size \[8, 6\]"),
        ({"segmentation": {"size": [6, 8], "counts": "=33"}}, "runs of"),
        ({"segmentation": {"size": [6, 8], "counts": [50, -2]}}, "none negative"),
        ({"segmentation": [["a", "b"]]}, "x, y, x, y"),
    ],
)
def test_what_is_no_result_is_refused(changed: dict[str, Any], words: str) -> None:
    entry = {"category_id": 1, "bbox": [2, 1, 5, 3], **changed}
    with pytest.raises(InputError, match=words):
        from_coco([entry], NAMES, SIZE)


def test_detections_of_supervision_are_named_by_their_data_or_by_names() -> None:
    boxes = np.array([[2, 1, 7, 4], [0, 0, 3, 3]], np.float32)
    found = Found(boxes, np.stack([BLOCK, BLOCK]), np.array([0.9, 0.5]), np.array([1, 0]))
    first, second = from_supervision(found, ["cup", "bowl"])
    assert (first.id, first.label, first.score, first.box_xyxy) == ("d0", "bowl", 0.9, (2, 1, 7, 4))
    assert first.mask is not None
    assert (first.mask == BLOCK).all()
    assert second.label == "cup"
    found.data["class_name"] = np.array(["mug", "plate"])
    assert [one.label for one in from_supervision(found)] == ["mug", "plate"]
    assert [one.label for one in from_supervision(found, {0: "x", 1: "y"})] == ["y", "x"]


def test_detections_of_supervision_may_have_no_confidence_and_no_mask_or_be_empty() -> None:
    (one,) = from_supervision(Found(np.array([[0, 0, 3, 3]]), data={"class_name": ["cup"]}))
    assert (one.score, one.mask) == (1.0, None)
    assert from_supervision(Found(np.empty((0, 4)))) == ()


@pytest.mark.parametrize(("ids", "names"), [(None, None), (None, ["cup"]), (np.array([4]), ["cup"])])
def test_detections_of_supervision_without_names_are_refused(ids: Any, names: Any) -> None:
    with pytest.raises(InputError, match="name"):
        from_supervision(Found(np.array([[0, 0, 3, 3]]), class_id=ids), names)


def test_the_real_supervision_has_these_fields() -> None:
    supervision = pytest.importorskip("supervision")
    found = supervision.Detections(xyxy=np.array([[0.0, 0, 3, 3]]), class_id=np.array([0]))
    assert [one.label for one in from_supervision(found, ["cup"])] == ["cup"]
    assert from_supervision(supervision.Detections.empty()) == ()
