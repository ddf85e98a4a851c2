# SPDX-License-Identifier: Apache-2.0
"""Answers to a question add to the instruction that it was asked about."""

from __future__ import annotations

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse, parse_dialogue
from spatial_vlm_ros.types import FrameOfReference, Ordinal

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


def test_a_noun_tells_the_kind_or_is_the_objects_own_name() -> None:
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


ANSWERS = [
    ("the other one", "pick: chick [other than chick [behind cup]]"),
    ("the other chick", "pick: chick [other than chick [behind cup]]"),
    ("no, the other", "pick: chick [other than chick [behind cup]]"),
    ("not that one", "pick: chick [other than chick [behind cup]]"),
    ("a different one", "pick: chick [other than chick [behind cup]]"),
    ("the others", "pick: x-1 chick [other than chick [behind cup]]"),
    ("not the red one", "pick: chick [behind cup] [other than <red> chick]"),
    ("no, not the red chick", "pick: chick [behind cup] [other than <red> chick]"),
    ("not the one on the tray", "pick: chick [behind cup] [other than chick [on tray]]"),
    ("not the left one", "pick: chick [behind cup] [other than ^leftmost chick]"),
    ("not on the tray", "pick: chick [behind cup] [not on tray]"),
    ("the one that isn't on the tray", "pick: chick [behind cup] [not on tray]"),
    ("the one next to the box", "pick: chick [behind cup] [next to box]"),
    ("the one 10 cm left of the box", "pick: chick [behind cup] [~0.1 left of box]"),
    ("it's the red one", "pick: <red> chick [behind cup]"),
    ("the bigger one", "pick: ^largest chick [behind cup]"),
    ("the second", "pick: #2:left chick [behind cup]"),
    ("the third one", "pick: #3:left chick [behind cup]"),
    ("either", "pick: any chick [behind cup]"),
    ("any of them", "pick: any chick [behind cup]"),
    ("either one", "pick: any chick [behind cup]"),
    ("both", "pick: x2 chick [behind cup]"),
    ("both of them", "pick: x2 chick [behind cup]"),
    ("all of them", "pick: x-1 chick [behind cup]"),
    ("all", "pick: x-1 chick [behind cup]"),
    ("the two on the left", "pick: ^leftmost x2 chick [behind cup]"),
    ("from my side", "pick: chick [behind@speaker cup]"),
    ("mine", "pick: chick [behind@speaker cup]"),
    ("yours", "pick: chick [behind@robot cup]"),
    ("from your perspective", "pick: chick [behind@robot cup]"),
    ("from the camera", "pick: chick [behind@viewer cup]"),
    ("the camera's", "pick: chick [behind@viewer cup]"),
    ("as I see it", "pick: chick [behind@speaker cup]"),
    ("grab the other one", "pick: chick [other than chick [behind cup]]"),
    ("put it on the tray", "place: chick [behind cup] -> on tray"),
]


@pytest.mark.parametrize(("words", "expected"), ANSWERS, ids=[words for words, _ in ANSWERS])
def test_an_answer_adds_to_what_was_said(words: str, expected: str) -> None:
    assert outline(parse_dialogue(words, ["grab the chick behind the cup"])[0]) == expected


@pytest.mark.parametrize("words", ["neither", "none of them", "nothing", "no", "Nope."])
def test_an_answer_that_leaves_nothing_is_refused(words: str) -> None:
    with pytest.raises(NotUnderstoodError, match="no object to choose"):
        parse_dialogue(words, [FIRST])


@pytest.mark.parametrize("words", ["2", "two", "3."])
def test_a_number_alone_is_refused(words: str) -> None:
    with pytest.raises(NotUnderstoodError, match="a number alone"):
        parse_dialogue(words, [FIRST])


def test_a_frame_holds_for_the_order_the_nested_clause_and_the_destination() -> None:
    first = "put the leftmost mug that is behind the box right of the can into the tray to the left of the jar"
    for query in parse_dialogue("from my side", [first]):
        framed = [*query.target.relations, *query.target.relations[0].anchors[0].relations]
        assert {clause.frame for clause in framed} == {FrameOfReference.SPEAKER}
        assert query.target.frame is FrameOfReference.SPEAKER
        assert query.destination is not None
    query = parse_dialogue("from my side", ["put the mug in front of the tray"])[0]
    assert outline(query) == "place: mug -> in front of@speaker tray"


def test_the_other_one_after_an_answer_is_other_than_what_that_described() -> None:
    target = parse_dialogue("the other one", ["grab the mug", "the red one"])[0].target
    (clause,) = target.relations
    assert clause.relation == "other than"
    assert clause.anchors[0].attributes == ("red",)


def test_an_answer_reaches_the_steps_too() -> None:
    query = parse_dialogue("the red one", ["open the drawer and put the mug in it"])[0]
    assert outline(query) == ("place: <red> mug -> inside drawer {open: drawer; place: <red> mug -> inside drawer}")


def test_the_readings_of_an_answer_are_those_of_the_instruction() -> None:
    first = "grab the can on the tin behind the jar"
    for words in ("not the red one", "from my side", "both"):
        readings = parse_dialogue(words, [first])
        assert [query.preference for query in readings] == [query.preference for query in parse(first)]
        assert {query.readings for query in readings} == {2}
        assert {query.instruction for query in readings} == {words}


@pytest.mark.parametrize("words", ["no, the other one", "the other chick", "not that one"])
def test_the_other_one_is_any_other_of_the_kind_or_one_that_the_earlier_words_fit(words: str) -> None:
    readings = parse_dialogue(words, ["grab the yellow chick behind the cup"])
    assert [round(query.preference, 9) for query in readings] == [0.6, 0.4]
    anywhere, there = (query.target for query in readings)
    assert [clause.relation for clause in anywhere.relations] == ["other than"]
    assert [clause.relation for clause in there.relations] == ["behind", "other than"]
    for target in (anywhere, there):
        assert (target.category, target.attributes) == ("chick", ("yellow",))
        (meant,) = target.relations[-1].anchors
        assert (meant.category, meant.attributes) == ("chick", ("yellow",))
        assert [clause.relation for clause in meant.relations] == ["behind"]


def test_the_other_object_of_another_name_is_an_object_of_that_name_or_a_kind() -> None:
    readings = parse_dialogue("the other cereal box", ["grab the chick behind the cup"])
    assert {query.target.category for query in readings} == {"cereal box", "cereal box chick"}
    assert sum(query.preference for query in readings) == pytest.approx(1.0)
    assert all(query.target.relations[-1].relation == "other than" for query in readings)


def test_what_an_answer_says_of_the_other_one_restricts_both_readings() -> None:
    readings = parse_dialogue("the other one on the tray", ["grab the chick behind the cup"])
    said = [{clause.relation for clause in query.target.relations} for query in readings]
    assert said == [{"other than", "on"}, {"behind", "other than", "on"}]


@pytest.mark.parametrize("words", ["yes", "", "qwertz uiop asdf", "?"])
def test_an_answer_that_says_nothing_is_refused_as_an_instruction_would_be(words: str) -> None:
    try:
        readings = parse_dialogue(words, [FIRST])
    except NotUnderstoodError:
        return
    assert all(query.target.category.endswith("chick") or query.target.category in words for query in readings)


def test_an_answer_is_seen_from_the_side_that_the_instruction_named() -> None:
    first = "grab the cup left of the box from my side"
    assert outline(parse_dialogue("the left one", [first])[0]).count("@speaker") == 2
    query = parse_dialogue("the one behind the can", [first])[0]
    assert [clause.frame for clause in query.target.relations] == [FrameOfReference.SPEAKER] * 2
    query = parse_dialogue("the left one as seen from the camera", [first])[0]
    assert query.target.frame is FrameOfReference.VIEWER
    query = parse_dialogue("the left one", ["grab the cup on the chair's own left"])[0]
    assert query.target.frame is None
