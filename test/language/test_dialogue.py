# SPDX-License-Identifier: Apache-2.0
"""Answers to questions: their kinds, what they add to the instruction (added_answers.jsonl), and requests to stop."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_outline import outline, rows

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon, parse, parse_dialogue, render, stops
from spatial_vlm_ros.language.answers import AnswerWords, classify, normalised
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.revising import AROUND, PLAIN
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.query import STOP

FIRST = "grab me the chick behind the cup"
SHORT, ADDED, STOP_WORDS = rows("short_answers"), rows("added_answers"), rows("stop_words")


@pytest.mark.parametrize("row", SHORT, ids=[row["said"] for row in SHORT])
def test_an_answer_has_its_kind_and_what_follows_it_is_left_to_the_parser(row: dict[str, Any]) -> None:
    """Fields that are not their defaults; what is left to the parser is `words`."""
    fields = {name: value for name, value in row.items() if name != "said"}
    assert classify(row["said"], ("cup",)) == AnswerWords(**fields)


def test_capitals_signs_courtesy_and_contractions_change_nothing() -> None:
    for words in (
        "No, that isn't the one.",
        "NO THAT IS NOT THE ONE",
        "  no, that isn’t the one!! ",
        "no, that isnt the one",
    ):
        assert classify(words).kind == "no", words
    assert normalised("It’s  NOT the One!") == "it is not the one"


@pytest.mark.parametrize("unit", ["no ", "the other ", "please ", "not ", "i mean "])
def test_the_longest_answers_are_left_to_the_parser(unit: str) -> None:
    """Patterns that try many ways would never end."""
    words = (unit * 1000)[:1000]
    assert classify(words, ("cup",)).kind == "words"
    assert classify(words + "it", ("cup",)).kind == "words"


@pytest.mark.parametrize(("before", "said", "expected"), ADDED)
def test_an_answer_adds_to_what_was_said(before: list[str], said: str, expected: dict[str, float]) -> None:
    """All readings in order, with their preferences."""
    readings = parse_dialogue(said, before)
    assert [outline(query) for query in readings] == list(expected)
    assert [query.preference for query in readings] == pytest.approx(list(expected.values()), abs=0.006)
    assert sum(query.preference for query in readings) == pytest.approx(1.0)
    assert {(query.readings, query.instruction) for query in readings} == {(len(readings), said)}


def test_without_anything_before_it_is_the_instruction_alone() -> None:
    assert parse_dialogue(FIRST) == parse(FIRST)


def test_a_frame_holds_for_the_order_the_nested_clause_and_the_destination() -> None:
    first = "put the leftmost mug that is behind the box right of the can into the tray to the left of the jar"
    for query in parse_dialogue("from my side", [first]):
        framed = [*query.target.relations, *query.target.relations[0].anchors[0].relations]
        assert {clause.frame for clause in framed} == {FrameOfReference.SPEAKER}
        assert query.target.frame is FrameOfReference.SPEAKER
        assert query.destination is not None
    placed = parse_dialogue("from my side", ["put the mug on the tray, left of the plate, but not behind the box"])
    more = [
        one for query in placed if query.destination for one in (*query.destination.also, *query.destination.excluded)
    ]
    assert {one.relation: one.frame for one in more} == dict.fromkeys(("left of", "behind"), FrameOfReference.SPEAKER)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        *((words, "no object to choose") for words in ("neither", "none of them", "nothing", "no", "Nope.", "wrong")),
        *((words, "a number alone") for words in ("2", "two", "3.")),
    ],
)
def test_an_answer_that_leaves_nothing_or_is_a_number_alone_is_refused(words: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError, match=reason):
        parse_dialogue(words, [FIRST])


@pytest.mark.parametrize("words", ["yes", "", "qwertz uiop asdf", "?"])
def test_an_answer_that_says_nothing_is_refused_as_an_instruction_would_be(words: str) -> None:
    try:
        readings = parse_dialogue(words, [FIRST])
    except NotUnderstoodError:
        return
    assert all(query.target.category.endswith("chick") or query.target.category in words for query in readings)


@pytest.mark.parametrize(("words", "is_one"), STOP_WORDS)
def test_a_request_to_stop_is_one_and_other_words_are_none(words: str, is_one: bool) -> None:
    assert stops(words) is is_one
    if is_one:
        (query,) = parse(words)
        assert (query.action, query.destination) == (STOP, None)


@pytest.mark.parametrize("pattern", lexicon.STOP_WORDS + lexicon.WAIT_WORDS)
def test_every_phrase_of_the_list_stops_in_any_form(pattern: str) -> None:
    for phrase in expand(pattern):
        for words in (phrase, phrase.upper() + "!", f"please {phrase}", f"robot, {phrase} now", f"{phrase}, {phrase}!"):
            assert stops(words), words


@given(st.sampled_from(sorted(PLAIN)), st.lists(st.sampled_from(sorted(AROUND - PLAIN)), max_size=4))
def test_polite_words_before_a_plain_one_change_nothing(word: str, before: list[str]) -> None:
    assert stops(" ".join((*before, word)))


def test_a_request_to_stop_answers_no_question_and_can_be_rendered() -> None:
    (query,) = parse_dialogue("halt", follows=["grab the chick", "the red one"])
    assert query.action == STOP
    assert parse(render(query))[0].action == STOP


@pytest.mark.parametrize("words", [None, 7, "a" * 5000, "\x00stop"])
def test_anything_may_be_asked_about(words: object) -> None:
    assert stops(words) in (True, False)  # type: ignore[arg-type]
