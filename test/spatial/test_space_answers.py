# SPDX-License-Identifier: Apache-2.0
"""Questions about space on rendered tables: typed answers, the refusals of orders, and never a target."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.pick_sequence import QUESTION
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Depth, Resolution, RgbdFrame, SpaceAnswer, Status

if TYPE_CHECKING:
    from conftest import Tabletop


def said(answer: Resolution) -> SpaceAnswer:
    """The answer, which has no target and no place."""
    assert answer.status is Status.ANSWERED, answer.message
    assert (answer.code, answer.target, answer.place, answer.targets, answer.places) == (1, None, None, (), ())
    assert answer.answer is not None
    assert answer.message == answer.answer.words
    return answer.answer


def ids(answer: SpaceAnswer, *roles: str) -> set[str]:
    return {obj.id for obj in answer.objects if obj.role in (roles or ("subject", "fits"))}


@pytest.fixture
def table(tabletop: Tabletop) -> Rendering:
    """A cup in the middle; cans to its left and right, a tall block behind it, one in front of it."""
    return tabletop.see(
        tabletop.cup("cup", 0, 0), tabletop.can("left", -0.2, 0.0), tabletop.can("right", 0.2, 0.0),
        tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13)), tabletop.block("front", 0.0, -0.2),
    )  # fmt: skip


YES_NO = [
    ("is the left can left of the cup?", "yes"),
    ("is the left can right of the cup?", "no"),
    ("is the left can not right of the cup?", "yes"),
    ("is the cup between the cans?", "yes"),
    ("are the cans behind the cup?", "no"),
    ("is the farthest block taller than the cup?", "yes"),
    ("is the cup a can?", "no"),
    ("is the farthest block the tallest object?", "yes"),
    ("is the left can closer to the cup than the farthest block?", "yes"),
    ("is there a can left of the cup?", "yes"),
    ("is there a bowl?", "no"),
    ("is anything behind the cup?", "yes"),
    ("are there three cans?", "no"),
    ("are there exactly two cans?", "yes"),
    ("is there only one can?", "no"),
    ("is there another can?", "yes"),
    ("is there another cup?", "no"),
    ("is there room for the cup on the table?", "yes"),
]


@pytest.mark.parametrize(("words", "value"), YES_NO)
def test_yes_and_no(tabletop: Tabletop, table: Rendering, words: str, value: str) -> None:
    answer = said(tabletop.ask(table, words))
    assert answer.value == value
    assert answer.probability >= 0.85
    assert answer.words.startswith(value.capitalize())


def test_what_is_not_clear_is_answered_so(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("can", 0.001, 0.2))
    answer = said(tabletop.ask(seen, "is the can left of the cup?"))
    assert answer.value == "unclear"
    assert answer.probability < 0.85
    assert "unclear" in answer.words


LISTS = [
    ("what is left of the cup?", {"left"}),
    ("which block is behind the cup?", {"back"}),
    ("which cans are next to the bowl?", None),
    ("what is the tallest object?", {"back"}),
    ("which is taller, the cup or the farthest block?", {"back"}),
    ("which is closer to the left can, the cup or the right can?", {"cup"}),
    ("where is the cup?", {"cup"}),
    ("where are the cans?", {"left", "right"}),
]


@pytest.mark.parametrize(("words", "found"), LISTS)
def test_objects(tabletop: Tabletop, table: Rendering, words: str, found: set[str] | None) -> None:
    resolution = tabletop.ask(table, words)
    if found is None:
        assert resolution.status is Status.NOT_FOUND
        return
    answer = said(resolution)
    assert ids(answer) == found
    assert all(obj.pose is not None and obj.pose.frame_id == answer.frame_id for obj in answer.objects)


def test_nothing_and_none_are_answers(tabletop: Tabletop, table: Rendering) -> None:
    assert said(tabletop.ask(table, "what is left of the left can?")).value == "none"
    count = said(tabletop.ask(table, "how many bowls are there?"))
    assert (count.value, count.unit, count.interval) == (0.0, "objects", (0.0, 0.0))


def test_objects_are_counted(tabletop: Tabletop, table: Rendering) -> None:
    for words, number in (("how many cans are there?", 2), ("how many objects are left of the right can?", 4),
                          ("how many objects are on the table?", 5)):  # fmt: skip
        answer = said(tabletop.ask(table, words))
        assert (answer.value, answer.interval) == (number, (number, number)), words
        assert len(ids(answer)) == number


def test_what_an_object_rests_on_may_be_the_surface(tabletop: Tabletop, table: Rendering) -> None:
    assert said(tabletop.ask(table, "what is the cup on?")).value == "the surface"


def test_the_side_that_it_is_on_is_told(tabletop: Tabletop, table: Rendering) -> None:
    assert said(tabletop.ask(table, "is the left can left or right of the cup?")).value == "left of"
    assert said(tabletop.ask(table, "which side of the cup is the farthest block on?")).value == "behind"


# ------------------------------------------------------------------------------------------------ lengths


def test_distances_hold_the_truth(tabletop: Tabletop, table: Rendering) -> None:
    """Cans of 7 cm in diameter stand 0.4 m apart: 0.33 m are between them."""
    answer = said(tabletop.ask(table, "how far is the left can from the right can?"))
    assert isinstance(answer.value, float)
    assert answer.interval is not None
    assert answer.unit == "m"
    assert answer.value == pytest.approx(0.33, abs=0.005)
    assert answer.interval[0] <= 0.33 <= answer.interval[1]
    assert answer.lengths[0].value == answer.value
    assert answer.segment is not None
    start, end = np.array(answer.segment)
    assert np.linalg.norm(start - end) == pytest.approx(answer.value, abs=1e-4)


def test_a_distance_is_the_same_either_way(tabletop: Tabletop, table: Rendering) -> None:
    for one, other in itertools.combinations(("the cup", "the left can", "the farthest block"), 2):
        there = said(tabletop.ask(table, f"how far is {one} from {other}?"))
        back = said(tabletop.ask(table, f"what is the distance between {other} and {one}?"))
        assert there.value == pytest.approx(back.value, abs=1e-6)
        assert there.interval == pytest.approx(back.interval, abs=1e-6)


def test_more_noise_widens_no_interval_below_the_exact_one(tabletop: Tabletop, table: Rendering) -> None:
    for words in ("how far is the cup from the left can?", "how tall is the cup?", "how far away is the cup?"):
        answer = said(tabletop.ask(table, words))
        assert isinstance(answer.value, float)
        assert answer.interval is not None
        assert 0 <= answer.interval[0] < answer.value < answer.interval[1]


def test_a_distance_along_a_side(tabletop: Tabletop, table: Rendering) -> None:
    along = said(tabletop.ask(table, "how far left of the cup is the left can?"))
    straight = said(tabletop.ask(table, "how far is the left can from the cup?"))
    assert along.value == pytest.approx(straight.value, abs=0.01)
    other_side = tabletop.ask(table, "how far right of the cup is the left can?")
    assert other_side.status is Status.RELATION_UNSATISFIED


# ------------------------------------------------------------------------------------------------ refusals


REFUSALS = [
    ("how far is the bowl from the cup?", Status.NOT_FOUND),
    ("how far is the cup from the bowl?", Status.NOT_FOUND),
    ("is the cup left of the bowl?", Status.NOT_FOUND),
    ("is the can left of the cup?", Status.AMBIGUOUS),
    ("how tall is the can?", Status.AMBIGUOUS),
    ("is the cup left of the can?", Status.AMBIGUOUS),
    ("which bowl is left of the cup?", Status.NOT_FOUND),
    ("where is the bowl?", Status.NOT_FOUND),
    ("how far is the cup from me?", Status.FRAME_UNDEFINED),
    ("how heavy is the cup?", Status.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("words", "status"), REFUSALS)
def test_refusals_are_those_of_orders(tabletop: Tabletop, table: Rendering, words: str, status: Status) -> None:
    resolution = tabletop.ask(table, words)
    assert resolution.status is status, resolution.message
    assert resolution.answer is None


def test_which_object_is_asked_back_and_the_answer_goes_on(tabletop: Tabletop, table: Rendering) -> None:
    words = "is the can left of the cup?"
    asked = tabletop.ask(table, words)
    assert asked.question
    for offered in asked.answers:
        answer = said(Resolver().resolve(table.frame, offered.text, table.detections, follows=[words]))
        assert ids(answer) == set(offered.ids)
        assert answer.value == ("yes" if offered.ids == ("left",) else "no")


def test_any_of_several_anchors_will_do_where_it_does_not_matter(tabletop: Tabletop, table: Rendering) -> None:
    assert said(tabletop.ask(table, "is the cup in front of the can?")).value == "no"


def test_a_question_about_an_unmeasured_object_names_the_reason(tabletop: Tabletop, table: Rendering) -> None:
    depth = table.frame.depth.copy()
    cup = next(d for d in table.detections if d.id == "cup")
    assert cup.mask is not None
    depth[cup.mask] = np.nan
    blind = tabletop.ask(table, "how far is the cup from the left can?", frame=_with_depth(table, depth))
    assert blind.status is Status.DEPTH_INVALID
    anchor = tabletop.ask(table, "is the left can left of the cup?", frame=_with_depth(table, depth))
    assert anchor.status is Status.DEPTH_INVALID


def _with_depth(table: Rendering, depth: Depth) -> RgbdFrame:
    return dataclasses.replace(table.frame, depth=depth)


# ------------------------------------------------------------------------------------------------ carried on


DRAWN = (
    "how far is the cup from the left can?",
    "how many cans are there?",
    "is there room for the cup on the table?",
    "is the cup behind the left can?",
)


@pytest.mark.parametrize("words", DRAWN)
def test_answers_survive_json_and_are_drawn(table: Rendering, words: str) -> None:
    resolver = Resolver()
    answered = resolver.look_at(table.frame, table.detections).ask(words)
    assert resolution_from_json(resolution_json(answered.resolution)) == answered.resolution
    refused = resolver.resolve(table.frame, "it is", table.detections)
    plain = draw(table.frame, table.detections, refused, resolver.config)
    shown = draw(table.frame, answered.detections, answered.resolution, resolver.config, answered.scene)
    assert shown.shape[1] == plain.shape[1]
    assert (shown[: table.frame.rgb.shape[0]] != plain[: table.frame.rgb.shape[0]]).any()


def test_the_same_question_has_the_same_answer(tabletop: Tabletop, table: Rendering) -> None:
    first, second = (tabletop.ask(table, "how far is the cup from the edge of the table?") for _ in range(2))
    assert first == second


def test_a_motion_tells_that_a_question_moves_nothing() -> None:
    assert "Nothing moves" in QUESTION


def test_which_second_object_is_asked_back_too(tabletop: Tabletop, table: Rendering) -> None:
    for words in (
        "how far is the cup from the can?",
        "is the cup left of the can?",
        "which is taller, the cup or the can?",
    ):
        asked = tabletop.ask(table, words)
        assert asked.status is Status.AMBIGUOUS, words
        assert asked.question, words
        assert {id_ for offered in asked.answers for id_ in offered.ids} == {"left", "right"}
        for offered in asked.answers:
            answer = said(Resolver().resolve(table.frame, offered.text, table.detections, follows=[words]))
            named = ids(answer, "subject", "fits", "compared", "unclear")
            assert named == {"cup", *offered.ids}, (words, offered.text)
        answer = said(Resolver().resolve(table.frame, "the right can", table.detections, follows=[words]))
        assert "right" in ids(answer, "subject", "fits", "compared", "unclear")


def test_an_answer_says_which_object_was_taken_for_what_the_words_name(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("can", -0.15, 0.0, label="soup can"), tabletop.cup("cup", 0.15, 0.0))
    resolution = tabletop.ask(seen, "how far is the wooden can from the cup?")
    assert said(resolution).kind == "distance"
    assert [(taken.phrase, taken.id) for taken in resolution.taken_for] == [("wooden can", "can")]
    assert "where 'wooden can' means the soup can (can)" in resolution.message
