# SPDX-License-Identifier: Apache-2.0
"""Which option or points a reply names, by the package's rules and by published ones, and how a model is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from tables import tables

from spatial_vlm_lab.benchmarks import lettered, pointing
from spatial_vlm_lab.benchmarks.asking import BenchmarkModel, prompt_of
from spatial_vlm_lab.benchmarks.lettered import VARIANT_RULES, cambrian_answer, right_by_cambrian, vlmevalkit_choice
from spatial_vlm_lab.benchmarks.pointing import cells_of, in_polygon, published_cells, read_polygon, share_in_mask
from spatial_vlm_lab.benchmarks.protocol import BenchmarkItem, after_thinking, choice_truth, read_choice
from spatial_vlm_lab.benchmarks.published_files import BenchmarkImage
from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, NamedObject
from spatial_vlm_ros.perception.grounder import PromptReply

TABLES = tables(__file__)

SIDES = ("left", "right", "behind", "left of it")
RGB = np.zeros((100, 200, 3), np.uint8)
IMAGE = BenchmarkImage(Path("x.png"))
ITEM = BenchmarkItem("k", IMAGE, "Where is the cup?", choice_truth(("left", "right"), 1))
POINT = BenchmarkItem("p", IMAGE, "Point at the cup.", pointing.mask_truth(IMAGE, IMAGE), phrase="the cup")
READERS: dict[str, Callable[[str], Any]] = {
    "options": lambda reply: read_choice(reply, SIDES),
    "of BLINK": lambda reply: lettered.blink_choice(reply, ("yes", "no")),
    "of VLMEvalKit": lambda reply: vlmevalkit_choice(reply, ("red cup", "blue cup")),
    "first points": lambda reply: (point := pointing.first_point(reply)) and list(point),
}
"""By the names of their tables, what reads one option or point of a reply, or None."""


@pytest.mark.parametrize(("reader", "row"), [(name, row) for name in READERS for row in TABLES[name]])
def test_a_reply_names_one_option_or_point_or_none(reader: str, row: list[Any]) -> None:
    reply, named, *why = row
    assert READERS[reader](reply) == named, why


@pytest.mark.parametrize(("reply", "options", "choice"), TABLES["short options"])
def test_short_options_are_texts_before_they_are_letters(reply: str, options: list[str], choice: int | None) -> None:
    assert read_choice(reply, options) == choice


@pytest.mark.parametrize(("reply", "named", "why"), TABLES["of Cambrian"])
def test_cambrian_takes_the_first_character_of_3d_but_for_a_colon(reply: str, named: str, why: str) -> None:
    assert cambrian_answer(reply) == cambrian_answer(reply, of_3d=True) == named, why
    assert (cambrian_answer(":"), cambrian_answer(":", of_3d=True)) == (":", "")


def test_replies_are_right_by_other_rules_without_their_thoughts() -> None:
    assert after_thinking("<think>A or B?</think>\n B") == after_thinking("B") == "B"
    for of_3d in (True, False):  # published: an option of 3D may be written out
        assert right_by_cambrian("a", ("x", "a"), 1, of_3d) is of_3d
    for reply, right, expected in ((" Yes, it is.", 0, True), ("It is. Yes.", 0, False), ("Nothing", 1, True)):
        assert pointing.starts_as_published(reply, ("yes", "no"), right) is expected


def test_polygons_are_read_and_hold_points() -> None:
    square = read_polygon("[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]")
    assert square == ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5))
    assert in_polygon((0.3, 0.3), square)
    assert not in_polygon((0.6, 0.3), square)
    assert not in_polygon((0.3, 0.6), square)
    arrow = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0))
    assert in_polygon((0.1, 0.5), arrow)
    assert not in_polygon((0.5, 0.5), arrow)
    none = ("[(0.1, 0.1), (0.5, 0.1)]", "yes", "[(1, 2), (3, 4), (5,)]", "__import__('os')", "[" * 1000, "[" * 30000)
    assert [read_polygon(text) for text in none] == [None] * len(none)


@pytest.mark.parametrize(("text", "cells"), TABLES["pairs"])
def test_pairs_in_round_brackets_are_points(text: str, cells: list[list[int]]) -> None:
    for robopoint in (True, False):
        assert [list(cell) for cell in published_cells(text, 20, 10, robopoint) or ()] == cells


@pytest.mark.parametrize(("text", "of_robopoint", "of_roborefer", "why"), TABLES["boxes"])
def test_boxes_differ_between_the_two_scorers(text: str, of_robopoint: Any, of_roborefer: Any, why: str) -> None:
    for robopoint, expected in ((True, of_robopoint), (False, of_roborefer)):
        found = published_cells(text, 20, 10, robopoint)
        assert (None if found is None else [number for cell in found for number in cell]) == expected, why


def test_numbers_that_are_none_and_replies_without_end_are_read_as_far_as_is_allowed() -> None:
    for sign in ("[", "(", "(1", "(1,", "[1 ", " ", "1"):
        assert pointing.first_point(sign * 200_000) is None
    for robopoint in (True, False):
        for text in ("(" + "9" * 5000 + ", 1)", "(" + "9" * 400 + ".0, 1)"):
            assert published_cells(text, 20, 10, robopoint) is None
        for sign in ("(", "(1,", "["):
            assert not published_cells(sign * (2 * pointing.MOST_CHARACTERS // len(sign)), 20, 10, robopoint)
        many = "(1.1, 2.2), "
        read = published_cells(many * (2 * pointing.MOST_CHARACTERS // len(many)), 20, 10, robopoint) or ()
        assert len(read) <= pointing.MOST_CHARACTERS // len(many)


def test_points_count_by_the_pixels_that_they_lie_in_and_the_share_is_that_of_all_marked_ones() -> None:
    weights = np.zeros((10, 20))
    weights[:, :10] = 1.0
    assert share_in_mask(cells_of([(0.0, 0.0), (0.5, 0.5)], 20, 10), weights) == 0.5
    assert share_in_mask(cells_of([(0.2, 1.0), (-0.001, 0.5), (1e9, -1e9)], 20, 10), weights) == 0.0
    assert share_in_mask(cells_of([], 20, 10), weights) == 0.0
    with pytest.raises(InputError, match="finite"):
        cells_of([(float("nan"), 0.5)], 20, 10)
    weights[0, 0] = 0.5
    for cells, share in TABLES["shares"]:
        assert share_in_mask(cells, weights) == pytest.approx(share), cells


def test_variants_that_belong_together_are_right_together() -> None:
    good = {"VIN6MS3J": True, "VIN6MS3J-1": False, "VIN6MS3J-flip": True, "VIN6MS3J-flip-1": True}
    groups = {rule: lettered.variant_groups(good, rule) for rule in VARIANT_RULES}
    assert [list(found) for found in groups.values()] == TABLES["groups"]
    right = [[all(map(good.get, qids)) for qids in found.values()] for found in groups.values()]
    assert right == [[True, False, True, True], [True, False], [False, True], [False]]


def backend(**returned: Any) -> Any:
    """A backend with these methods, each of which returns one value, and with the convention of thousandths."""
    made = Mock(spec=[*returned, "convention"], convention=CONVENTIONS["thousand"])
    made.configure_mock(**{f"{name}.return_value": value for name, value in returned.items()})
    return made


def talker(text: str) -> Any:
    return backend(reply=PromptReply(text, (200, 100), True))


OBJECTS = (NamedObject("", None, (50.0, 25.0), None), NamedObject("", (100.0, 0.0, 200.0, 100.0), None, None))
SCORER, POINTER = backend(scores=[-2.0, -1.0]), backend(refer=OBJECTS)


def test_the_likeliest_option_is_the_answer() -> None:
    model = BenchmarkModel("m", SCORER)
    assert model.way_of(ITEM) == "likelihood"
    assert model.answer(ITEM, RGB).choice == 1
    SCORER.scores.assert_called_with(RGB, "Where is the cup?", ("left", "right"))
    for wrong in ([-1.0], [-1.0, float("nan")]):
        with pytest.raises(ModelError, match="likelihoods"):
            BenchmarkModel("m", backend(scores=wrong)).answer(ITEM, RGB)


def test_a_reply_is_asked_for_with_letters_or_by_the_published_prompt() -> None:
    asked = talker("(B)")
    answer = BenchmarkModel("m", asked).answer(ITEM, RGB)
    assert (answer.choice, answer.text) == (1, "(B)")
    listed = "Where is the cup?\n(A) left\n(B) right\nAnswer with the letter of one option and nothing else."
    asked.reply.assert_called_once_with(RGB, listed)
    assert prompt_of(BenchmarkItem("k", IMAGE, "q", ITEM.truth, prompt="as published")) == "as published"
    assert BenchmarkModel("m", talker("neither")).answer(ITEM, RGB).choice is None


def test_points_are_fractions_of_the_image_however_they_are_given() -> None:
    assert BenchmarkModel("m", POINTER).answer(POINT, RGB).points == ((0.25, 0.25), (0.75, 0.5))
    POINTER.refer.assert_called_with(RGB, "the cup")
    thousandths = '[{"point_2d": [250, 500], "label": "cup"}]'
    none = "I see no way to say it, really: cup"
    for text, points in (("[(0.25, 0.5)]", ((0.25, 0.5),)), (thousandths, ((0.25, 0.5),)), (none, ())):
        assert BenchmarkModel("m", talker(text)).answer(POINT, RGB).points == points


def test_a_model_is_asked_as_it_can_be_or_as_is_said() -> None:
    both = backend(scores=[-1.0, -2.0], reply=PromptReply("right", (200, 100), True))
    assert BenchmarkModel("m", both).answer(ITEM, RGB).choice == 0
    assert BenchmarkModel("m", both, "reply").answer(ITEM, RGB).choice == 1
    assert BenchmarkModel("m", backend(answer="neither")).answer(ITEM, RGB).choice is None
    with pytest.raises(UnknownNameError, match="likelihood, reply, choice, refer"):
        BenchmarkModel("m", both, "guess")
    for model, asked in ((object(), ""), (POINTER, "reply"), (SCORER, "refer")):
        with pytest.raises(InputError, match="ways to ask"):
            BenchmarkModel("m", model, asked)
    with pytest.raises(InputError, match="cannot return points"):
        BenchmarkModel("m", SCORER).answer(POINT, RGB)
    with pytest.raises(InputError, match="cannot choose among options"):
        BenchmarkModel("m", POINTER).answer(ITEM, RGB)
