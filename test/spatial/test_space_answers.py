# SPDX-License-Identifier: Apache-2.0
"""Questions about space on rendered tables: typed answers, and never a target; most of them are in sentences.txt."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rendered_tables import Table, without_depth

from spatial_vlm_ros.manipulation.pick_sequence import QUESTION
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Resolution, SpaceAnswer, Status


def said(answer: Resolution) -> SpaceAnswer:
    """The answer, which has no target and no place."""
    assert answer.status is Status.ANSWERED, answer.message
    assert (answer.code, answer.target, answer.place, answer.targets, answer.places) == (1, None, None, (), ())
    assert answer.answer is not None
    assert answer.message == answer.answer.words
    return answer.answer


def ids(answer: SpaceAnswer, *roles: str) -> set[str]:
    return {obj.id for obj in answer.objects if obj.role in (roles or ("subject", "fits"))}


@pytest.fixture(scope="module")
def table(tabletop: Table) -> Rendering:
    """A cup in the middle; cans to its left and right, a tall block behind it, one in front of it."""
    back = tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13))
    return tabletop.scene("cup cup 0 0; can left -0.2 0; can right 0.2 0", back, tabletop.block("front", 0.0, -0.2))


OBJECTS = {
    "what is left of the cup?": {"left"},
    "which block is behind the cup?": {"back"},
    "what is the tallest object?": {"back"},
    "which is taller, the cup or the farthest block?": {"back"},
    "which is closer to the left can, the cup or the right can?": {"cup"},
    "where is the cup?": {"cup"},
    "where are the cans?": {"left", "right"},
}
COUNTS = {
    "how many cans are there?": 2, "how many objects are left of the right can?": 4,
    "how many objects are on the table?": 5, "how many bowls are there?": 0,
}  # fmt: skip


def test_what_is_not_clear_is_answered_so(tabletop: Table) -> None:
    answer = said(tabletop.ask(tabletop.scene("cup cup 0 0; can can 0.001 0.2"), "is the can left of the cup?"))
    assert answer.value == "unclear"
    assert answer.probability < 0.85
    assert "unclear" in answer.words


@pytest.mark.parametrize("words", OBJECTS)
def test_objects(tabletop: Table, table: Rendering, words: str) -> None:
    answer = said(tabletop.ask(table, words))
    assert ids(answer) == OBJECTS[words]
    assert all(obj.pose is not None and obj.pose.frame_id == answer.frame_id for obj in answer.objects)


@pytest.mark.parametrize("words", COUNTS)
def test_objects_are_counted(tabletop: Table, table: Rendering, words: str) -> None:
    answer, number = said(tabletop.ask(table, words)), COUNTS[words]
    assert (answer.value, answer.unit, answer.interval) == (number, "objects", (number, number))
    assert len(ids(answer)) == number


def test_distances_hold_the_truth(tabletop: Table, table: Rendering) -> None:
    """Cans of 7 cm in diameter stand 0.4 m apart: 0.33 m are between them."""
    answer = said(tabletop.ask(table, "how far is the left can from the right can?"))
    assert isinstance(answer.value, float)
    assert answer.interval is not None
    assert answer.unit == "m"
    assert answer.value == pytest.approx(0.33, abs=0.005)
    assert answer.interval[0] <= 0.33 <= answer.interval[1]
    assert answer.lengths[0].value == answer.value
    assert answer.segment is not None
    assert np.linalg.norm(np.subtract(*answer.segment)) == pytest.approx(answer.value, abs=1e-4)


def test_a_distance_is_the_same_either_way_and_along_a_side(tabletop: Table, table: Rendering) -> None:
    for one, other in itertools.combinations(("the cup", "the left can", "the farthest block"), 2):
        there = said(tabletop.ask(table, f"how far is {one} from {other}?"))
        back = said(tabletop.ask(table, f"what is the distance between {other} and {one}?"))
        assert there.value == pytest.approx(back.value, abs=1e-6)
        assert there.interval == pytest.approx(back.interval, abs=1e-6)
    along = said(tabletop.ask(table, "how far left of the cup is the left can?"))
    straight = said(tabletop.ask(table, "how far is the left can from the cup?"))
    assert along.value == pytest.approx(straight.value, abs=0.01)


def test_every_length_lies_within_its_interval(tabletop: Table, table: Rendering) -> None:
    for words in ("how far is the cup from the left can?", "how tall is the cup?", "how far away is the cup?"):
        answer = said(tabletop.ask(table, words))
        assert isinstance(answer.value, float)
        assert answer.interval is not None
        assert 0 <= answer.interval[0] < answer.value < answer.interval[1]


def test_a_question_about_an_unmeasured_object_names_the_reason(tabletop: Table, table: Rendering) -> None:
    for words in ("how far is the cup from the left can?", "is the left can left of the cup?"):
        assert tabletop.ask(table, words, frame=without_depth(table, "cup")).status is Status.DEPTH_INVALID


@pytest.mark.parametrize(
    "words",
    ["is the can left of the cup?", "how far is the cup from the can?", "is the cup left of the can?",
     "which is taller, the cup or the can?"],
)  # fmt: skip
def test_which_object_is_asked_back_and_the_answer_goes_on(tabletop: Table, table: Rendering, words: str) -> None:
    asked = tabletop.ask(table, words)
    assert asked.status is Status.AMBIGUOUS
    assert asked.question
    assert {id_ for offered in asked.answers for id_ in offered.ids} == {"left", "right"}
    for offered in asked.answers:
        answer = said(Resolver().resolve(table.frame, offered.text, table.detections, follows=[words]))
        assert ids(answer, "subject", "fits", "compared", "unclear") == {"cup", *offered.ids}, offered.text
        if words.startswith("is the can"):
            assert ids(answer) == set(offered.ids)
            assert answer.value == ("yes" if offered.ids == ("left",) else "no")
    answer = said(Resolver().resolve(table.frame, "the right can", table.detections, follows=[words]))
    assert "right" in ids(answer, "subject", "fits", "compared", "unclear")


@pytest.mark.parametrize(
    "words",
    ["how far is the cup from the left can?", "how many cans are there?", "is there room for the cup on the table?",
     "is the cup behind the left can?"],
)  # fmt: skip
def test_answers_survive_json_and_are_drawn(table: Rendering, words: str) -> None:
    resolver = Resolver()
    answered = resolver.look_at(table.frame, table.detections).ask(words)
    assert resolution_from_json(resolution_json(answered.resolution)) == answered.resolution
    refused = resolver.resolve(table.frame, "it is", table.detections)
    plain = draw(table.frame, table.detections, refused, resolver.config)
    shown = draw(table.frame, answered.detections, answered.resolution, resolver.config, answered.scene)
    assert shown.shape[1] == plain.shape[1]
    assert (shown[: table.frame.rgb.shape[0]] != plain[: table.frame.rgb.shape[0]]).any()


def test_an_answer_is_the_same_each_time_and_says_what_was_taken_for_the_words(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", -0.15, 0.0, label="soup can"), tabletop.cup("cup", 0.15, 0.0))
    words = "how far is the wooden can from the cup?"
    resolution = tabletop.ask(seen, words)
    assert resolution == tabletop.ask(seen, words)
    assert said(resolution).kind == "distance"
    assert [(taken.phrase, taken.id) for taken in resolution.taken_for] == [("wooden can", "can")]
    assert "where 'wooden can' means the soup can (can)" in resolution.message
    assert "Nothing moves" in QUESTION
