# SPDX-License-Identifier: Apache-2.0
"""Informal verbs, openings and closings, and orders of words that people use in speech."""

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse

SAID = [
    ("sling us the jar", "give: jar"),
    ("lob me the jar", "give: jar"),
    ("plonk the jar on the shelf", "place: jar -> on shelf"),
    ("whack the jar down on the shelf", "place: jar -> on shelf"),
    ("keep the jar next to the pan", "place: jar -> next to pan"),
    ("nab the jar", "pick: jar"),
    ("lower the jar onto the shelf", "place: jar -> on shelf"),
    ("pick up the jar and lower it into the crate", "place: jar -> inside crate"),
    ("Now I'll need the jar behind the pan", "give: jar [behind pan]"),
    ("we could use the jar", "give: jar"),
    ("we're after the jar, pal", "give: jar"),
    ("lets have the jar then", "give: jar"),
    ("let us have the jar", "give: jar"),
    ("Whenever you have a second, fetch the jar", "pick: jar"),
    ("once you're free, fetch the jar", "pick: jar"),
    ("Kindly to bring the jar", "give: jar"),
    ("We want that you put the jar on the shelf", "place: jar -> on shelf"),
    ("Do me a favour and fetch the jar", "pick: jar"),
    ("Right, fetch the jar, ta", "pick: jar"),
    ("fetch the jar and come straight back", "pick: jar"),
    ("first grab the jar, and then it needs to go on the shelf", "place: jar -> on shelf"),
    ("grab the jar first, then put it on the shelf", "place: jar -> on shelf"),
    ("take the jar and it goes behind the pan", "place: jar -> behind pan"),
    ("hand me jar number two from the left", "give: #2:left jar"),
    ("hand me number 4 from the left", "give: #4:left object"),
    ("the third jar along from the right", "find: #3:right jar"),
    ("the jar most to the right", "find: ^rightmost jar"),
    ("the jar at extreme left", "find: ^leftmost jar"),
    ("the jar that is taller than the rest", "find: ^tallest jar"),
    ("the jar without a saucer", "find: jar [not on saucer]"),
    ("the jar with the blue saucer", "find: jar [on <blue> saucer]"),
    ("the jar without a handle", "find: <not with handle> jar"),
]
OTHER_READINGS = [
    ("the lower shelf", "find: ^lowest shelf"),
    ("lower shelf left of the pan", "find: ^lowest shelf [left of pan]"),
    ("sling bag behind the pan", "find: sling bag [behind pan]"),
    ("right jar", "find: ^rightmost jar"),
    ("right jar should go on the shelf", "place: ^rightmost jar -> on shelf"),
    ("the number plate on the left", "find: ^leftmost number plate"),
    ("the jar that is first from the left", "find: #1:left jar"),
]
REFUSED = [
    "whack the jar",
    "keep the jar",
    "chuck the jar",
    "lower the lid",
    "if you have a second jar, bring it",
    "when you can find the jar, grab the pan",
    "once you have time for the jar, grab the pan",
    "go to the shelf and come back",
    "you must not grab the jar",
    "I want that you do not grab the jar",
    "take the jar and it should stay closed",
    "take the jar and it should be left of the pan",
    "the jar that is not larger than the others",
    "take the first, then put it on the shelf",
    "I'll have to open the drawer",
]


@pytest.mark.parametrize(("said", "meant"), SAID + OTHER_READINGS)
def test_said_in_speech(said: str, meant: str) -> None:
    assert outline(parse(said)[0]) == meant


@pytest.mark.parametrize("said", REFUSED)
def test_refused(said: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(said)


def test_into_a_corner() -> None:
    """Both sides of the corner are kept."""
    destination = parse("put the jar into the near right corner of the shelf")[0].destination
    assert destination is not None
    assert (destination.anchors[0].superlative, destination.anchors[0].also) == ("nearest", "rightmost")
