# SPDX-License-Identifier: Apache-2.0
"""What an object is said not to be, where pushing goes, and what is nearest to a person or a side."""

from __future__ import annotations

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.rendering import render


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("the mug that is not red", "find: <not red> mug"),
        ("take the bowl that's neither yellow nor orange", "pick: <not yellow> <not orange> bowl"),
        ("the block that isn't wooden or blue", "find: <not wooden> <not blue> block"),
        ("the red mug that isn't big and is behind the box", "find: <red> <not big> mug [behind box]"),
        ("the mug that is neither the red nor the blue one",
         "find: mug [other than <red> mug] [other than <blue> mug]"),
        ("the object that is not a block", "find: object [other than x-1 block]"),
        ("the mug that is not the red one", "find: mug [other than <red> mug]"),
        ("slide the mug under the shelf", "push: mug -> under shelf"),
        ("slide the mug onto the tray", "push: mug -> on tray"),
        ("slide the mug", "push: mug"),
        ("slip the spoon into the mug", "place: spoon -> inside mug"),
        ("put the can in the bowl nearest the plate", "place: can -> inside bowl [closest to plate]"),
        ("the can nearest me", "find: ^nearest @speaker can"),
        ("the can nearest to you", "find: ^nearest @robot can"),
        ("the can closest to the front", "find: ^nearest can"),
        ("the can nearest to the left", "find: ^leftmost can"),
        ("the can nearest to the left side of the tray", "find: can [closest to ^leftmost side [part of tray]]"),
        ("put the mug on the free burner", "place: mug -> on <empty> burner"),
        ("close the opened drawer", "close: <open> drawer"),
        ("take the slice of apple", "pick: apple slice"),
        ("take a piece of apple", "pick: apple piece"),
        ("take a piece of paper", "pick: paper"),
        ("the red pepper", "find: <red> pepper"),
        ("the black pepper", "find: black pepper"),
    ],
)  # fmt: skip
def test_the_preferred_reading(instruction: str, expected: str) -> None:
    assert outline(parse(instruction)[0]) == expected


def test_what_is_pushed_may_be_there_or_go_there() -> None:
    readings = parse("push the cube behind the box")
    assert [outline(query) for query in readings] == ["push: cube [behind box]", "push: cube -> behind box"]
    assert readings[0].preference > readings[1].preference
    assert len(parse("push the cube behind the box onto the tray")) == 1


@pytest.mark.parametrize("words", ["that is not red and big", "that isn't white and blue"])
def test_a_denied_pair_is_refused_for_it_may_deny_one_or_both(words: str) -> None:
    with pytest.raises(NotUnderstoodError, match="one of these words or both"):
        parse(f"the mug {words}")


@pytest.mark.parametrize(
    "words", ["the not red mug", "neither the mug nor the bowl", "the mug that is not on the tray or red"]
)
def test_a_not_that_has_no_place_is_never_dropped(words: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(words)


@pytest.mark.parametrize(
    "words",
    [
        "the red mug that is not big or wooden behind the box",
        "the leftmost mug that is not red",
        "the mug that isn't red",
    ],
)
def test_denials_are_rendered_such_that_they_are_read_again(words: str) -> None:
    query = parse(words)[0]
    assert outline(query) in {outline(again) for again in parse(render(query))}
