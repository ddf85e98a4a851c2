# SPDX-License-Identifier: Apache-2.0
"""Which question is asked, and of what (questions.jsonl: theme, sentence, question); what is none stays what it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_outline import outline, phrase_outline, rows

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import parse, parse_dialogue
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.rendering import subject_of
from spatial_vlm_ros.types import FrameOfReference, SpatialQuery


def asked(query: SpatialQuery) -> str:
    """A question on one line: kind, target, and what is asked of it."""
    question = query.question
    if question is None:
        return "no question: " + outline(query)
    words = [question.kind + ":", phrase_outline(subject_of(query))]
    if question.asked is not None:
        words.append("? " + phrase_outline(question.asked))
    words += [name for name in (question.relation, question.length, question.superlative) if name]
    words += [f"@{question.frame.value}"] if question.frame is not None else []
    words += ["apart"] if question.apart else []
    words += ["exactly"] if question.exactly else []
    words += ["/ " + phrase_outline(choice) for choice in question.choices]
    words += ["| " + phrase_outline(question.other)] if question.other is not None else []
    words += (
        [f"-> {query.destination.relation} {phrase_outline(query.destination.anchors[0])}"] if query.destination else []
    )
    return " ".join(words)


QUESTIONS = rows("questions")


@pytest.mark.parametrize(("_theme", "words", "expected"), QUESTIONS, ids=[words for _, words, _ in QUESTIONS])
def test_a_question_says_what_it_asks_and_courtesy_capitals_and_stumbles_change_nothing(
    _theme: str, words: str, expected: str
) -> None:
    readings = parse(words)
    assert asked(readings[0]) == expected
    assert sum(reading.preference for reading in readings) == pytest.approx(1.0)
    assert all(reading.question is not None and reading.instruction == words for reading in readings)
    assert {reading.readings for reading in readings} == {len(readings)}
    for said in (f"hey robot, {words}", words.upper(), f"um, {words.rstrip('?')}, please?"):
        assert asked(parse(said)[0]) == expected, said


ORDERS = [
    "do you see the mug?",
    "can you put the mug on the tray?",
    "could you pick up what is on the tray?",
    "grab the mug that is behind the box",
    "the mug is behind the box",
    "there is a mug behind the box",
    "find the mug",
    "show me the mug",
]


@pytest.mark.parametrize("words", ORDERS)
def test_what_is_no_question_stays_an_order(words: str) -> None:
    assert all(reading.question is None for reading in parse(words))


def test_it_is_what_was_spoken_of_before() -> None:
    assert asked(parse_dialogue("is it behind the box?", ["grab the red mug"])[0]) == (
        "whether: <red> mug ? object [behind box]"
    )
    assert asked(parse_dialogue("how far is it from the edge?", ["where is the red mug?"])[0]) == (
        "distance: <red> mug | edge"
    )
    order = parse_dialogue("pick it up", ["where is the red mug?"])[0]
    assert (order.action, order.question) == ("pick", None)
    assert outline(order) == "pick: <red> mug"


def test_an_answer_tells_which_object_a_question_is_about() -> None:
    (told, *_) = parse_dialogue("the left one", ["is the mug behind the box?"])
    assert asked(told) == "whether: ^leftmost mug ? object [behind box]"
    (seen, *_) = parse_dialogue("from my side", ["is the mug behind the box?"])
    assert seen.question is not None
    assert seen.question.asked is not None
    assert seen.question.asked.relations[0].frame is FrameOfReference.SPEAKER


_WORDS = sorted(
    word_set("""
    how far many much big is are what which where whether the a any box mug tray edge of from to between and or than
    behind left right on in near red tallest closer 10 cm two not it you me room for fit does can put apart ? , .
""")
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(("how far is", "is the mug", "what is", "how many", "is there room", "which")),
       st.lists(st.sampled_from(_WORDS), max_size=12))  # fmt: skip
def test_no_words_of_questions_crash(start: str, words: list[str]) -> None:
    text = " ".join((start, *words))
    try:
        readings = parse(text)
    except SpatialVlmError:
        return
    assert readings[0].instruction == text
