# SPDX-License-Identifier: Apache-2.0
"""Answers to a question add to the instruction that it was asked about."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse, parse_dialogue
from spatial_vlm_ros.types import Ordinal

FIRST = "grab me the chick behind the cup"


def test_without_anything_before_it_is_the_instruction_alone() -> None:
    assert parse_dialogue(FIRST) == parse(FIRST)


@pytest.mark.parametrize("words", ["the red one", "red", "the red chick", "no, the red one", "the red one please"])
def test_a_colour_is_added_and_everything_said_before_stays(words: str) -> None:
    query = parse_dialogue(words, [FIRST])[0]
    assert query.action == "give"
    assert query.target.category == "chick"
    assert query.target.attributes == ("red",)
    assert [clause.relation for clause in query.target.relations] == ["behind"]


@pytest.mark.parametrize(
    ("words", "superlative"),
    [
        ("left", "leftmost"),
        ("the one on the right", "rightmost"),
        ("the nearer one", "nearest"),
        ("farther", "farthest"),
    ],
)
def test_a_place_becomes_an_order(words: str, superlative: str) -> None:
    assert parse_dialogue(words, [FIRST])[0].target.superlative == superlative


def test_an_ordinal_counts() -> None:
    assert parse_dialogue("the second one from the left", [FIRST])[0].target.ordinal == Ordinal(2, "left")


def test_a_clause_is_added_to_those_that_were_said() -> None:
    target = parse_dialogue("the one left of the box", [FIRST])[0].target
    assert [(c.relation, c.anchors[0].category) for c in target.relations] == [("behind", "cup"), ("left of", "box")]


def test_a_noun_tells_the_kind_or_is_the_things_own_name() -> None:
    assert [q.target.category for q in parse_dialogue("the bonnet one", ["grab the chick"])] == ["bonnet chick"]
    readings = parse_dialogue("the bonnet", ["grab the chick"])
    assert [query.target.category for query in readings] == ["bonnet", "bonnet chick"]
    assert sum(query.preference for query in readings) == pytest.approx(1.0)
    assert {query.readings for query in readings} == {2}


def test_a_longer_name_of_the_same_noun_replaces_it() -> None:
    assert parse_dialogue("the soup can", ["grab the can"])[0].target.category == "soup can"


def test_words_with_a_verb_are_a_new_instruction() -> None:
    assert parse_dialogue("grab the box", [FIRST])[0].target.category == "box"
    assert parse_dialogue("grab the box", [FIRST])[0].target.relations == ()


def test_answers_add_up_over_several_questions() -> None:
    target = parse_dialogue("the left one", [FIRST, "the yellow one"])[0].target
    assert target.attributes == ("yellow",)
    assert target.superlative == "leftmost"


@pytest.mark.parametrize("words", ["yes", "", "qwertz uiop asdf", "?"])
def test_an_answer_that_says_nothing_is_refused_as_an_instruction_would_be(words: str) -> None:
    try:
        readings = parse_dialogue(words, [FIRST])
    except NotUnderstoodError:
        return
    assert all(query.target.category.endswith("chick") or query.target.category in words for query in readings)
