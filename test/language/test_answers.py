# SPDX-License-Identifier: Apache-2.0
"""Kinds of answers: yes, no, "the other one", "the second one" and words of their own, as people say them."""

from __future__ import annotations

from typing import Any

import pytest
from language_outline import rows

from spatial_vlm_ros.language.answers import AnswerWords, classify, normalised

SHORT = rows("short_answers")
"""What was said, and the fields of its meaning that are not their defaults; what is left to the parser is `words`."""


@pytest.mark.parametrize("row", SHORT, ids=[row["said"] for row in SHORT])
def test_an_answer_has_its_kind_and_what_follows_it_is_left_to_the_parser(row: dict[str, Any]) -> None:
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
