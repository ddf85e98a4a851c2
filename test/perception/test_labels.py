# SPDX-License-Identifier: Apache-2.0
"""How well a label fits a name; detections that fit their image, those of other tools (RLE texts by pycocotools)."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import tables

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.perception import labels
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.imported_detections import from_coco, from_supervision
from spatial_vlm_ros.perception.labels import LESS_SPECIFIC, OTHER_KIND, SAME, SYNONYM, label_fit, label_match
from spatial_vlm_ros.types import Detection, NounPhrase

TABLES = tables(__file__)

PAIRS = [json.loads(line) for line in Path(__file__).with_name("labels.jsonl").read_text("utf-8").splitlines()]
"""How well it fits, a name and a label."""


def detections(*labels: str) -> tuple[Detection, ...]:
    return tuple(Detection(f"d{n}", label, 1.0, (0, 0, 10, 10)) for n, label in enumerate(labels))


@pytest.mark.parametrize(("fit", "said", "label"), PAIRS, ids=str)
def test_a_label_fits_as_far_as_it_says_the_same(fit: str, said: str, label: str) -> None:
    if fit == "ONE_OBJECT":
        assert min(label_fit(said, label), label_fit(label, said)) >= SYNONYM
    elif fit == "SOMETHING_ELSE":
        assert label_fit(said, label) <= LESS_SPECIFIC
    else:
        assert label_fit(said, label) == getattr(labels, fit)


@pytest.mark.parametrize(("said", "label", "least"), TABLES["modifiers"])
def test_modifiers_compare_as_nouns_do(said: str, label: str, least: str) -> None:
    assert label_fit(said, label) >= getattr(labels, least) > OTHER_KIND


def test_a_modifier_is_not_a_head_and_attributes_of_the_detector_may_stand_for_it() -> None:
    assert label_fit("can opener", "can") < SAME
    assert label_fit("cup", "cup") > label_fit("cup", "cup holder")
    assert label_fit("paper towel", "towel") <= OTHER_KIND
    assert label_fit("coffee cup", "cup", ("coffee",)) == SAME
    assert label_fit("coffee cup", "cup", ("paper",)) == labels.HEAD_ONLY


def test_fits_are_probabilities_and_each_phrase_is_matched_for_itself() -> None:
    words = ["cup", "soup can", "object", "fruit", "", "glass", "glasses", "a b c d", "toy", "pen"]
    assert all(0.0 <= label_fit(a, b) <= 1.0 for a, b in itertools.product(words, words))
    match = label_match([NounPhrase("cup"), NounPhrase("can")], detections("soup can", "cup"))
    assert match.shape == (2, 2)
    assert match.argmax(axis=1).tolist() == [1, 0]
    assert label_match([NounPhrase("cup")], ()).shape == (1, 0)
    assert label_match([], detections("cup")).shape == (0, 1)


@pytest.mark.parametrize(("category", "in_view", "meant"), TABLES["the most specific sense in view"])
def test_the_most_specific_sense_in_view_wins(category: str, in_view: str, meant: str) -> None:
    seen = in_view.split(", ")
    match = label_match([NounPhrase(category)], detections(*seen))[0]
    assert ", ".join(label for label, fit in zip(seen, match, strict=True) if fit >= 0.3) == meant


WIDTH, HEIGHT = 64, 48


def detection(
    id_: str = "a", box: tuple[float, float, float, float] = (1, 2, 30, 40), mask: np.ndarray | None = None
) -> Detection:
    return Detection(id_, "cup", 0.5, box, mask, ("red",))


def test_detections_that_fit_are_returned_as_they_are_and_boxes_are_clipped() -> None:
    given_ones = (detection("b"), detection("a", mask=np.ones((HEIGHT, WIDTH), bool)))
    assert check_detections(given_ones, WIDTH, HEIGHT) == given_ones
    assert check_detections(iter(given_ones), WIDTH, HEIGHT) == given_ones
    assert check_detections((), WIDTH, HEIGHT) == ()
    (clipped,) = check_detections([detection(box=(-5.5, 40, 70, 50.5))], WIDTH, HEIGHT)
    assert clipped.box_xyxy == (0, 40, 64, 48)
    assert (clipped.id, clipped.label, clipped.score, clipped.attributes) == ("a", "cup", 0.5, ("red",))


OUTSIDE = r"detection 'a'.*64x48.*resized"


@pytest.mark.parametrize(
    ("found", "error", "words"),
    [
        ([detection(box=(70, 0, 80, 10))], InputError, OUTSIDE),
        ([detection(box=(-20, 0, -1, 10))], InputError, OUTSIDE),
        ([detection(box=(0, 50, 10, 60))], InputError, OUTSIDE),
        ([detection(box=(0, -9, 10, 0))], InputError, OUTSIDE),
        ([detection(box=(64, 0, 70, 10))], InputError, OUTSIDE),
        ([*map(detection, "aabccc")], InputError, "2 detections have the id 'a', 3 detections have the id 'c'"),
        ([detection(str(n % 9)) for n in range(18)], InputError, "and 4 more"),
        ([detection(mask=np.ones((24, 32), bool))], ShapeError, r"'a'.*32x24.*64x48"),
    ],
)
def test_detections_that_do_not_fit_are_refused(found: list[Detection], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_detections(found, WIDTH, HEIGHT)


NAMES = {1: "cup", 3: "bowl"}
SIZE = (8, 6)  # width, height
BLOCK = np.zeros((6, 8), bool)
BLOCK[1:4, 2:7] = True


@dataclasses.dataclass
class Found:
    xyxy: Any
    mask: Any = None
    confidence: Any = None
    class_id: Any = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_a_coco_box_is_left_top_width_height_and_results_of_other_images_are_left_out() -> None:
    (one,) = from_coco([{"category_id": 3, "bbox": [1, 2, 4, 3], "score": 0.5}], NAMES, SIZE)
    assert (one.id, one.label, one.score, one.box_xyxy, one.mask) == ("d0", "bowl", 0.5, (1, 2, 5, 5), None)
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


@pytest.mark.parametrize(("changed", "words"), TABLES["what is no result is refused"])
def test_what_is_no_result_is_refused(changed: dict[str, Any], words: str) -> None:
    entry = {"category_id": 1, "bbox": [2, 1, 5, 3], **changed}
    with pytest.raises(InputError, match=words):
        from_coco([entry], NAMES, SIZE)


def test_detections_of_supervision_are_named_by_their_data_or_by_names_and_may_be_empty() -> None:
    boxes = np.array([[2, 1, 7, 4], [0, 0, 3, 3]], np.float32)
    found = Found(boxes, np.stack([BLOCK, BLOCK]), np.array([0.9, 0.5]), np.array([1, 0]))
    first, second = from_supervision(found, ["cup", "bowl"])
    assert (first.id, first.label, first.score, first.box_xyxy) == ("d0", "bowl", 0.9, (2, 1, 7, 4))
    assert (first.mask == BLOCK).all()
    assert second.label == "cup"
    found.data["class_name"] = np.array(["mug", "plate"])
    assert [one.label for one in from_supervision(found)] == ["mug", "plate"]
    assert [one.label for one in from_supervision(found, {0: "x", 1: "y"})] == ["y", "x"]
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
