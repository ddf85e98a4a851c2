# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch")  # as all of vlm/remedies, whose other modules need it

from research.paste import (
    SHAPES,
    Box,
    CutOut,
    PasteSettings,
    drawn_shape,
    location,
    paste,
    referral,
    sentence,
    shared,
)
from spatial_vlm_ros.errors import InputError, ShapeError

GREY = np.full((300, 200, 3), 90, np.uint8)
OBJECTS = [drawn_shape(name, (255, 0, 0)) for name in SHAPES]


def covered(box: Box, side: int = 224) -> np.ndarray:
    pixels = np.zeros((side, side), bool)
    pixels[box[1] : box[3], box[0] : box[2]] = True
    return pixels


@pytest.mark.parametrize("seed", range(25))
def test_boxes_lie_on_the_grid_and_no_two_share_more_than_half_of_either(seed: int) -> None:
    pasted = paste(GREY, OBJECTS, np.random.default_rng(seed))
    assert pasted.rgb.shape == (224, 224, 3)
    assert len(pasted.names) == len(pasted.boxes) == len(pasted.phrases) == 3
    for box in pasted.boxes:
        assert all(edge % 14 == 0 and 0 <= edge <= 224 for edge in box)
    for a, b in itertools.combinations([covered(box) for box in pasted.boxes], 2):
        assert (a & b).sum() <= 0.5 * min(a.sum(), b.sum())


def test_what_is_pasted_fills_its_box_and_nothing_else_and_later_objects_lie_before() -> None:
    objects = [CutOut(name, np.pad(np.full((20, 30, 4), [*colour, 255], np.uint8), ((5, 9), (2, 4), (0, 0))))
              for name, colour in (("first", (250, 0, 0)), ("second", (0, 250, 0)))]  # fmt: skip
    for seed in range(20):
        pasted = paste(GREY, objects, np.random.default_rng(seed), PasteSettings(objects=2, overlap=0.9))
        wanted = np.full((224, 224, 3), 90, np.uint8)
        for name, box in zip(pasted.names, pasted.boxes, strict=True):
            wanted[covered(box)] = (250, 0, 0) if name == "first" else (0, 250, 0)
        assert np.array_equal(pasted.rgb, wanted)


def test_the_background_is_seen_through_what_is_not_opaque() -> None:
    obj = CutOut("veil", np.full((40, 40, 4), [200, 100, 0, 51], np.uint8))
    pasted = paste(GREY, [obj], np.random.default_rng(0), PasteSettings(objects=1))
    inside = covered(pasted.boxes[0])
    assert np.abs(pasted.rgb[inside] - np.array([112, 92, 72])).max() <= 1
    assert (pasted.rgb[~inside] == 90).all()
    circle = paste(GREY, OBJECTS[:1], np.random.default_rng(3), PasteSettings(objects=1, smallest=0.5))
    x1, y1, x2, y2 = circle.boxes[0]
    assert circle.rgb[y1, x1].tolist() == [90, 90, 90]
    assert circle.rgb[(y1 + y2) // 2, (x1 + x2) // 2].tolist() == [255, 0, 0]


def test_an_object_keeps_its_proportions_to_a_cell() -> None:
    wide = CutOut("spoon", np.full((20, 80, 4), 255, np.uint8))
    settings = PasteSettings(objects=1, smallest=0.5)
    for seed in range(20):
        x1, y1, x2, y2 = paste(GREY, [wide], np.random.default_rng(seed), settings).boxes[0]
        assert abs((y2 - y1) - (x2 - x1) / 4) <= 7


def test_the_same_seed_gives_the_same_image_and_others_differ() -> None:
    one, same, other = (paste(GREY, OBJECTS, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one.rgb, same.rgb)
    assert one.boxes == same.boxes != other.boxes


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        ([(0, 0, 28, 28), (100, 14, 128, 42)], "left"),
        ([(100, 14, 128, 42), (0, 0, 28, 28)], "right"),
        ([(0, 0, 28, 28), (14, 100, 42, 128)], "above"),
        ([(14, 100, 42, 128), (0, 0, 28, 28)], "below"),
        ([(0, 0, 28, 28), (0, 0, 28, 42)], "behind"),
        ([(0, 0, 28, 28), (0, 0, 28, 28)], "behind"),
        ([(0, 0, 100, 100), (29, 0, 129, 100)], "behind"),
        ([(0, 0, 100, 100), (31, 0, 131, 100)], "left"),
        ([(98, 98, 112, 112), (0, 0, 14, 14), (210, 210, 224, 224)], "middle"),
        ([(98, 98, 112, 112), (0, 140, 14, 154), (210, 210, 224, 224)], "above"),
    ],
)
def test_the_same_object_twice_is_told_apart_as_published(boxes: list[Box], word: str) -> None:
    assert referral(["cup"] * len(boxes), boxes, 0) == word


def test_the_one_pasted_later_is_before() -> None:
    assert referral(["cup", "cup"], [(0, 0, 28, 28), (0, 0, 28, 42)], 1) == "before"


def test_an_object_that_is_there_once_or_in_the_same_place_has_no_referral() -> None:
    assert referral(["cup", "pan"], [(0, 0, 28, 28), (100, 0, 128, 28)], 0) is None
    assert referral(["cup", "cup"], [(0, 0, 28, 28), (0, 0, 28, 28)], 0, depth_overlap=1.0) is None


def test_before_and_behind_need_images_of_more_overlap_than_usual() -> None:
    words = {}
    for overlap in (0.5, 1.0):
        settings = PasteSettings(objects=2, overlap=overlap)
        images = [paste(GREY, OBJECTS[:1], np.random.default_rng(seed), settings) for seed in range(60)]
        words[overlap] = {phrase.split()[0] for pasted in images for phrase in pasted.phrases}
    assert words[0.5] <= {"left", "right", "above", "below"}
    assert {"before", "behind"} <= words[1.0]


def test_a_share_counts_against_the_smaller_box() -> None:
    for a, b in itertools.product([(0, 0, 40, 40), (10, 10, 30, 60), (50, 50, 60, 60)], repeat=2):
        both = (covered(a) & covered(b)).sum()
        assert shared(a, b) == pytest.approx(both / min(covered(a).sum(), covered(b).sum()))


def test_sentences_say_the_location_in_words_and_are_read_back() -> None:
    assert sentence("left cup", (14, 28, 112, 210)) == "In the image is a left cup located at [14,28,112,210]."
    assert sentence("above orange", (0, 0, 224, 14)).startswith("In the image is an above orange ")
    pasted = paste(GREY, OBJECTS, np.random.default_rng(1))
    assert [location(text) for text in pasted.sentences()] == list(pasted.boxes)
    assert all(phrase in text for phrase, text in zip(pasted.phrases, pasted.sentences(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "", "located at 14,28,112,210", "[14,28,112]", "[13,28,112,210]", "[14,28,112,238]", "[112,28,14,210]",
        "[14,28,14,210]", "[14,210,112,28]", "[014,28,112,210]", "[-14,28,112,210]", "[1.4,28,112,210]",
    ],
)  # fmt: skip
def test_an_illegal_location_is_none(text: str) -> None:
    assert location(text) is None


def test_another_grid_has_other_words() -> None:
    settings = PasteSettings(side=336, cell=21)
    assert location("[21,0,336,42]", settings) == (21, 0, 336, 42)
    assert location("[14,0,336,42]", settings) is None
    assert all(edge % 21 == 0 for box in paste(GREY, OBJECTS, np.random.default_rng(0), settings).boxes for edge in box)


def test_settings_that_leave_no_room_are_refused() -> None:
    crowded = PasteSettings(objects=4, overlap=0.0, smallest=0.9)
    with pytest.raises(InputError, match="no room for 4 things"):
        paste(GREY, OBJECTS, np.random.default_rng(0), crowded)


@pytest.mark.parametrize(
    "wrong", [{"cell": 15}, {"cell": 0}, {"objects": 0}, {"overlap": 1.1}, {"smallest": 0.0}, {"largest": 1.2},
              {"smallest": 0.6, "largest": 0.5}, {"tries": 0}, {"depth_overlap": -0.1}, {"side": 0}]
)  # fmt: skip
def test_settings_beyond_their_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="within their bounds"):
        PasteSettings(**wrong)


def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="cut-out 'cup'"):
        CutOut("cup", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="alpha 0"):
        CutOut("cup", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ShapeError, match="background"):
        paste(GREY.astype(float), OBJECTS, np.random.default_rng(0))
    with pytest.raises(InputError, match="cut-outs"):
        paste(GREY, [], np.random.default_rng(0))
    with pytest.raises(InputError, match="circle, square, triangle"):
        drawn_shape("star", (1, 2, 3))
