# SPDX-License-Identifier: Apache-2.0
"""What is not understood, and the part of the words that is named."""

import pytest

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import MAX_LENGTH, parse

REFUSALS = [
    # outside the grammar
    ("if the mug is red pick it up", "if", "not supported"),
    ("pick up the mug because it is dirty", "because", "not supported"),
    ("he picked up the mug", "he", "not supported"),
    ("the cat sat on the mat", "sat", "not supported"),
    ("how heavy is the mug", "how", "not supported"),
    ("pick up the other mug", "the other mug", "which object is excluded"),
    ("pick up the mug or the bowl", "or", "choice"),
    ("mug left bowl", "left", "not supported"),
    ("not the red mug", "the", "fit"),
    ("what color is the mug?", "the", "fit"),
    ("pour the water into the mug", "pour", "verb"),
    # other languages
    ("gib mir die Tasse", "gib", "English"),
    ("die rote tasse", "die", "English"),
    ("prends la tasse", "prends", "English"),
    ("dame la taza roja", "dame", "English"),
    ("pick up the кружка", "кружка", "English"),
    ("拿起杯子", "拿起杯子", "English"),
    # signs
    ("pick up mug #2", "#", "sign"),
    ("pick up the mug @ home", "@", "sign"),
    ("pick up the mug \U0001f600", "\U0001f600", "sign"),
    ("the mug behind the box (the red one)", "(", "parentheses"),
    # several objects, several steps
    ("pick up the mug and the bowl", "the bowl", "second object"),
    ("Pick up the mug. Not the red one.", ".", "several sentences"),
    # unfinished
    ("pick up", "pick up", "ends before"),
    ("pick up the", "the", "ends before a noun"),
    ("pick up the mug behind", "behind", "ends after a relation"),
    ("pick up the mug behind the", "the", "ends before a noun"),
    ("red", "red", "do not name"),
    # numbers, orders, superlatives
    ("the second mug", "the second mug", "which side"),
    ("pick up the third mug behind the box", "the third mug", "which side"),
    ("the first mug", "the first mug", "which side"),
    ("the mug from the left", "from the left", "no ordinal"),
    ("the second tallest bottle", "second", "cannot be combined with"),
    ("the top left mug", "left", "second superlative"),
    ("the leftmost mug on the right", "on the right", "second superlative"),
    ("the mug between the box", "between the box", "two objects"),
    ("the mug between the box behind the cup", "between the box", "two objects"),
    # negation and places that words do not show
    ("the mug that isn't red and big", "that isn't red and big", "one of these words or both"),
    ("the mug that is not on the left", "that is not on the left", "negated"),
    ("put the mug there", "there", "place"),
    # points of view
    (
        "from my perspective the mug left of the box from your perspective",
        "from my perspective",
        "second point of view",
    ),
    ("the mug behind the box from the chair's perspective", "from the chair's perspective", "a point of view"),
    # courtesy without content
    ("hello", "hello", "neither a command"),
    ("?", "?", "neither a command"),
    ("", "", "is empty"),
    (" \t\n", " \t\n", "is empty"),
    # strings of unknown words
    ("alpha beta gamma delta", "alpha beta gamma delta", "too long"),
    ("the alpha beta gamma delta epsilon zeta eta", "alpha beta gamma delta epsilon zeta eta", "too long"),
]


@pytest.mark.parametrize(("instruction", "part", "reason"), REFUSALS)
def test_the_part_that_is_not_understood_is_named(instruction: str, part: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        parse(instruction)
    start, end = caught.value.span
    assert instruction[start:end] == part
    assert reason in caught.value.reason
    assert caught.value.instruction == instruction
    assert caught.value.repair


def test_spans_count_characters_of_the_original_text() -> None:
    instruction = "  Pick\tup \u201cthe\u201d MUG,  because…"
    with pytest.raises(NotUnderstoodError) as caught:
        parse(instruction)
    assert instruction[slice(*caught.value.span)] == "because"


def test_one_more_relation_than_the_limit_is_refused() -> None:
    with pytest.raises(NotUnderstoodError, match="more than 20 relations"):
        parse("the mug" + " on the box" * 21)
    assert len(parse("the mug" + " on the box" * 20)) <= 64


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud800"])
def test_control_characters_are_an_input_error_that_names_them(character: str) -> None:
    with pytest.raises(InputError, match=f"U\\+{ord(character):04X}"):
        parse(f"pick up the {character} mug")


def test_tabs_and_line_breaks_count_as_spaces() -> None:
    assert parse("pick\tup\nthe\r\nmug")[0].target.category == "mug"


def test_the_length_is_bounded() -> None:
    longest = "the mug" + " " * (MAX_LENGTH - 7)
    assert parse(longest)[0].target.category == "mug"
    with pytest.raises(InputError, match="1001 characters"):
        parse(longest + " ")


def test_what_is_no_string_is_an_input_error() -> None:
    with pytest.raises(InputError, match="NoneType"):
        parse(None)  # type: ignore[arg-type]
