# SPDX-License-Identifier: Apache-2.0
"""Numbers, "any", "other", "one" and parts of objects: what the words before and after a noun make of it."""

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse

SENTENCES = [
    # how many, and which will do
    ("pick up both mugs", "pick: x2 mug"),
    ("pick up both of the mugs", "pick: x2 mug"),
    ("pick up both", "pick: x2 object"),
    ("pick up all cups", "pick: x-1 cup"),
    ("pick up the three cans", "pick: x3 can"),
    ("any mug", "find: any mug"),
    ("any of the mugs", "find: any mug"),
    ("any one of the mugs", "find: any mug"),
    ("any two mugs", "find: any x2 mug"),
    ("either cup", "find: any cup"),
    ("either of the cups on the tray", "find: any cup [on tray]"),
    ("one of the two bowls", "find: any bowl"),
    ("two of the three mugs", "find: any x2 mug"),
    ("whichever mug", "find: any mug"),
    ("whichever mug is closest to the box", "find: any mug [closest to box]"),
    ("whichever cup is nearest to me", "find: any ^nearest @speaker cup"),
    ("grab any of them", "pick: any object"),
    ("a mug", "find: mug"),
    ("some mug", "find: mug"),
    ("which of the mugs is behind the box", "find: mug [behind box]"),
    ("the tallest of the three bottles", "find: ^tallest bottle"),
    ("the taller of the two mugs behind the box", "find: ^tallest mug [behind box]"),
    ("the left one of the two mugs", "find: ^leftmost mug"),
    ("the middle one of the three", "find: ^middle object"),
    ("the largest cup of all", "find: ^largest cup"),
    ("the cup behind both boxes", "find: cup [behind x2 box]"),
    ("the cup next to any of the boxes", "find: cup [next to any box]"),
    ("the cup in front of all the bowls", "find: cup [in front of x-1 bowl]"),
    # other than
    ("the mug left of the other mug", "find: mug [left of mug]"),
    ("the mug left of the other one", "find: mug [left of mug]"),
    ("the mug between the box and the other box", "find: mug [between box & box]"),
    ("the mug on the tray behind another mug", "find: mug [on tray [behind mug]]"),
    ("another mug", "find: any mug"),
    ("grab another one", "pick: any object"),
    ("the mug other than the red one", "find: mug [other than <red> mug]"),
    ("any mug except the red one", "find: any mug [other than <red> mug]"),
    ("any mug except for the one on the tray", "find: any mug [other than mug [on tray]]"),
    ("any mug but the red one", "find: any mug [other than <red> mug]"),
    ("any other mug than the red one", "find: any mug [other than <red> mug]"),
    ("all mugs besides the red ones", "find: x-1 mug [other than x-1 <red> mug]"),
    ("everything but the mug", "find: x-1 object [other than mug]"),
    ("the mug, not the red one", "find: mug [other than <red> mug]"),
    ("the mug that is not the red one", "find: mug [other than <red> mug]"),
    ("the red cup and not the blue one", "find: <red> cup [other than <blue> cup]"),
    ("the mug rather than the bowl", "find: mug [other than bowl]"),
    # one
    ("the mug next to the red one", "find: mug [next to <red> mug]"),
    ("the red mug behind the blue one", "find: <red> mug [behind <blue> mug]"),
    ("put the red block on the blue one", "place: <red> block -> on <blue> block"),
    ("get the bowl on the red mat and leave it on the green one", "place: bowl [on <red> mat] -> on <green> mat"),
    ("get the red bowl on the mat and leave it on the green one", "place: <red> bowl [on mat] -> on <green> bowl"),
    ("put the spoon in the white mug into the black one", "place: spoon [inside <white> mug] -> inside <black> mug"),
    ("move the cup on the small plate to the large one", "place: cup [on <small> plate] -> to <large> plate"),
    ("the mug between the red box and the blue one", "find: mug [between <red> box & <blue> box]"),
    ("the soup can left of the leftmost one", "find: soup can [left of ^leftmost soup can]"),
    ("the thing next to the thing", "find: object [next to object]"),
    # parts of furniture
    ("the top drawer of the cabinet", "find: ^highest drawer [part of cabinet]"),
    ("the cabinet's top drawer", "find: ^highest drawer [part of cabinet]"),
    ("the upper shelf", "find: ^highest shelf"),
    ("the left compartment of the tray", "find: ^leftmost compartment [part of tray]"),
    ("the middle drawer", "find: ^middle drawer"),
    ("the bottom shelf of the rack", "find: ^lowest shelf [part of rack]"),
    ("the pan on the back of the stove", "find: pan [at the back of stove]"),
    ("the cup on the top shelf of the cupboard", "find: cup [on ^highest shelf [part of cupboard]]"),
    ("the lid of the jar", "find: lid [part of jar]"),
    ("lid of jar", "find: lid [part of jar]"),
    ("the jar's lid", "find: lid [part of jar]"),
    ("box of cereal", "find: cereal box"),
    ("the can of soup", "find: soup can"),
    # what is in or on an object
    ("the bowl with the apple in it", "find: bowl [containing apple]"),
    ("the tray that has a cup on it", "find: tray [supporting cup]"),
    ("the box that contains the apple", "find: box [containing apple]"),
    ("which bowl holds the apple", "find: bowl [containing apple]"),
    ("the mug touches the box", "verify: mug [touching box]"),
    ("the mug does not touch the box", "verify: mug [not touching box]"),
    # as a transcript gives it
    ("could you uh grab me the the chick behind the cup please", "give: chick [behind cup]"),
    ("um pick up the uh red mug", "pick: <red> mug"),
    ("the mug to the uh left of the box", "find: mug [left of box]"),
    ("the mug, um, behind the box", "find: mug [behind box]"),
    ("grab that red one over there next to the bowl please", "pick: <red> object [next to bowl]"),
    ("so i need you to grab the second mug from the from the left", "pick: #2:left mug"),
    ("i want the cup thats closest to me", "give: ^nearest @speaker cup"),
    ("the mug on the left left of the box", "find: ^leftmost mug [left of box]"),
    ("gimme the mug", "give: mug"),
    # sides of the image
    ("the mug in the left half of the image", "find: ^leftmost @viewer mug"),
    ("the mug on the right side of the picture", "find: ^rightmost @viewer mug"),
]


@pytest.mark.parametrize(("instruction", "expected"), SENTENCES, ids=[sentence for sentence, _ in SENTENCES])
def test_the_preferred_reading_is_the_expected_one(instruction: str, expected: str) -> None:
    assert outline(parse(instruction)[0]) == expected


def test_a_part_belongs_to_the_noun_before_it() -> None:
    assert [outline(query) for query in parse("the cup on the lid of the jar")] == ["find: cup [on lid [part of jar]]"]


def test_the_left_side_of_a_surface_is_rather_a_part_of_it() -> None:
    tray = [outline(query) for query in parse("put the mug on the left side of the tray")]
    box = [outline(query) for query in parse("put the mug on the left side of the box")]
    assert tray == ["place: mug -> at the left side of tray", "place: mug -> left of tray"]
    assert box == ["place: mug -> left of box", "place: mug -> at the left side of box"]


@pytest.mark.parametrize(
    ("instruction", "part", "reason"),
    [
        ("the other mug", "the other mug", "which object is excluded"),
        ("grab the other one", "the other one", "which object is excluded"),
        ("the bowl behind the other mug", "the other mug", "which object is excluded"),
        ("the cup left of itself", "itself", "relation to itself"),
        ("the cups next to each other", "each other", "relation to itself"),
        ("the mug that is not red and big", "that is not red and big", "one of these words or both"),
        ("neither the mug nor the bowl", "neither", "not supported"),
        ("the mug closer to the box than the can", "than", "comparison"),
        ("the second largest mug", "second", "cannot be combined with"),
        ("put the mug in the box or on the tray", "or", "choice"),
    ],
)
def test_what_leaves_open_which_object_is_meant_is_refused(instruction: str, part: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError, match=reason) as caught:
        parse(instruction)
    assert instruction[slice(*caught.value.span)] == part
