# SPDX-License-Identifier: Apache-2.0
"""Kinds of answers: yes, no, "the other one", "the second one" and words of their own, as people say them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spatial_vlm_ros.language.answers import AnswerWords, classify, normalised

SAID = {
    "yes": [
        "yes",
        "Yes.",
        "yeah",
        "yep",
        "ok",
        "OK!",
        "okay",
        "sure",
        "exactly",
        "correct",
        "that's right",
        "that is it",
        "yes please",
        "yes, that's the one",
        "that one",
        "this one",
        "it is",
        "I do",
        "go ahead",
        "you got it",
        "that's the one I meant",
        "yes it is, thanks",
        "um, yes",
        "right",
    ],
    "no": [
        "no",
        "No!",
        "nope",
        "nah",
        "wrong",
        "that's wrong",
        "that is wrong",
        "thats wrong",
        "not that one",
        "not it",
        "no, not that one",
        "no, that's not it",
        "it isn't",
        "that isn't the one",
        "that's the wrong one",
        "wrong one",
        "that one's wrong",
        "I didn't mean that one",
        "no, I don't",
        "you're wrong",
        "not the cup",
        "the wrong cup",
        "no no",
        "uh, no",
        "no thanks",
        "that is not what I meant",
        "not that cup",
    ],
    "none": ["neither", "neither of them", "none", "none of these", "no, neither", "none of those", "not any of them"],
    "other": [
        "the other one",
        "the other",
        "no, the other one",
        "another one",
        "a different one",
        "the other cup",
        "no, I meant the other one",
        "nope, the other cup",
        "something else",
        "try another one",
        "the next one",
        "wrong, the other one",
        "please take the other one",
    ],
    "others": ["the others", "the other ones", "no, the others", "the rest"],
    "any": [
        "either",
        "either one",
        "any",
        "any of them",
        "I don't care",
        "it doesn't matter",
        "you choose",
        "whichever",
        "either cup",
        "any cup will do",
        "pick one",
    ],
    "all": ["both", "both of them", "all of them", "all three", "I want both"],
    "unsaid": [
        "",
        "?",
        "I don't know",
        "what?",
        "huh",
        "repeat that please",
        "which one?",
        "maybe",
        "sorry?",
        "yes no",
        "not sure",
        "wait",
        "hm",
    ],
    "end": [
        "stop",
        "cancel",
        "never mind",
        "Nevermind!",
        "forget it",
        "abort",
        "that's enough",
        "no, stop",
        "halt",
        "I changed my mind",
    ],
}


@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind, some in SAID.items() for words in some])
def test_short_answers_have_their_kind(kind: str, words: str) -> None:
    assert classify(words, ("cup",)).kind == kind


@pytest.mark.parametrize(
    ("words", "n"),
    [
        ("the second one", 2),
        ("second", 2),
        ("the first", 1),
        ("the third cup", 3),
        ("number two", 2),
        ("number 2", 2),
        ("option 3", 3),
        ("the last one", -1),
        ("the latter", -1),
        ("the former", 1),
        ("it's the second one", 2),
        ("no, the second one", 2),
        ("#2", 2),
        ("the 4th one", 4),
    ],
)
def test_a_place_in_the_question_is_counted(words: str, n: int) -> None:
    answer = classify(words, ("cup",))
    assert (answer.kind, answer.n) == ("nth", n)


@pytest.mark.parametrize(
    "words",
    [
        "the left one",
        "the red cup",
        "left",
        "the right one",
        "next to the box",
        "the bigger one",
        "the one on the tray",
        "grab the box",
        "put it on the tray",
        "not the red one",
        "the first one from the left",
        "two",
        "the wobbly one",
        "the cup behind the other box",
        "the one with the handle",
        "the no parking sign",
        "the yes button",
    ],
)
def test_descriptions_and_commands_are_left_to_the_parser(words: str) -> None:
    assert classify(words, ("cup",)) == AnswerWords("words", words)


@pytest.mark.parametrize(
    ("words", "rest", "yes"),
    [
        ("no, the left one", "the left one", False),
        ("No. It's the one behind the box", "It's the one behind the box", False),
        ("yes, the red one", "the red one", True),
        ("that's wrong, the blue one", "the blue one", False),
        ("yes, put it on the tray", "put it on the tray", True),
        ("nope the green one", "the green one", False),
        ("no, not the red one", "not the red one", False),
    ],
)
def test_a_leading_yes_or_no_is_told_apart_from_what_follows(words: str, rest: str, yes: bool) -> None:
    assert classify(words, ("cup",)) == AnswerWords("words", rest, yes=yes, no=not yes)


def test_capitals_signs_courtesy_and_contractions_change_nothing() -> None:
    for words in (
        "No, that isn't the one.",
        "NO THAT IS NOT THE ONE",
        "  no… that isn’t the one!! ",
        "no, that isnt the one",
    ):
        assert classify(words.replace("…", ",")).kind == "no", words
    assert normalised("It’s  NOT the One!") == "it is not the one"


def test_the_longest_answers_take_no_time(slowness: Callable[[], float]) -> None:
    import time

    for words in ("no " * 330, "the other " * 99, "please " * 140, "not " * 249, "i mean " * 140 + "it"):
        start = time.process_time()
        classify(words[:1000], ("cup",))
        assert time.process_time() - start < 0.1 * slowness(), words[:20]
