# SPDX-License-Identifier: Apache-2.0
"""All readings of a sentence and their order; several commands in one; what is said of an object in several ways."""

import pytest
from language_outline import outline

from spatial_vlm_ros.language import parse

READINGS = [
    (
        "the can on top of the tin to the right of the jar",
        ["find: can [on tin [right of jar]]", "find: can [on tin] [right of jar]"],
    ),
    (
        "grab the can behind the cup that is to the right of the yellow block",
        ["pick: can [behind cup [right of <yellow> block]]", "pick: can [behind cup] [right of <yellow> block]"],
    ),
    (
        "grab the flashlight that is in front of the whisk and behind the scissors",
        ["pick: flashlight [in front of whisk] [behind scissors]"],
    ),
    (
        "the cup behind the box that is left of the mug and near the bowl",
        [
            "find: cup [behind box] [left of mug] [near bowl]",
            "find: cup [behind box [left of mug] [near bowl]]",
            "find: cup [behind box [left of mug]] [near bowl]",
        ],
    ),
    (
        "the can behind the cup, which is right of the block",
        ["find: can [behind cup] [right of block]", "find: can [behind cup [right of block]]"],
    ),
    (
        "the cup behind the box, left of the mug",
        ["find: cup [behind box] [left of mug]", "find: cup [behind box [left of mug]]"],
    ),
    (
        "the cup behind the box on the left",
        ["find: cup [behind ^leftmost box]", "find: ^leftmost cup [behind box]"],
    ),
    (
        "the cup between the mug on the tray and the bowl behind the box",
        [
            "find: cup [between mug [on tray] & bowl [behind box]]",
            "find: cup [between mug [on tray] & bowl] [behind box]",
        ],
    ),
    ("the cup between the box behind the mug and the bowl", ["find: cup [between box [behind mug] & bowl]"]),
    (
        "the mug behind the box but not left of the cup",
        ["find: mug [behind box] [not left of cup]"],
    ),
    (
        "put the cup on the tray in the box",
        ["place: cup [on tray] -> inside box", "place: cup -> on tray [inside box]"],
    ),
    ("set the can down in front of the box on the table", ["place: can -> in front of box [on table]"]),
    ("set the cup on the tray down next to the can", ["place: cup [on tray] -> next to can"]),
    ("grab the cup down in front of the box", ["pick: cup [in front of box]"]),
    (
        "move the can behind the box between the two cups",
        ["place: can [behind box] -> between x2 cup", "place: can -> behind box [between x2 cup]"],
    ),
    (
        "put the cup on the tray into the box",
        ["place: cup [on tray] -> inside box", "place: cup -> on tray [inside box]"],
    ),
    ("take the mug from the table", ["pick: mug [on table]", "pick: mug [inside table]"]),
    ("take the mug from the drawer", ["pick: mug [inside drawer]", "pick: mug [on drawer]"]),
    (
        "the box behind the mug that is red",
        ["find: box [behind <red> mug]", "find: <red> box [behind mug]"],
    ),
    ("the second mug behind the box from the left", ["find: #2:left mug [behind box]"]),
    ("the cup on the lid of the jar", ["find: cup [on lid [part of jar]]"]),
    (
        "put the mug on the left side of the tray",
        ["place: mug -> at the left side of tray", "place: mug -> left of tray"],
    ),
    (
        "put the mug on the left side of the box",
        ["place: mug -> left of box", "place: mug -> at the left side of box"],
    ),
]


@pytest.mark.parametrize(("instruction", "expected"), READINGS, ids=[sentence for sentence, _ in READINGS])
def test_all_readings_are_kept_in_order_of_preference(instruction: str, expected: list[str]) -> None:
    readings = parse(instruction)
    assert [outline(query) for query in readings] == expected
    preferences = [query.preference for query in readings]
    assert sum(preferences) == pytest.approx(1.0)
    assert preferences == sorted(preferences, reverse=True)
    assert all(query.readings == len(readings) for query in readings)


def test_a_bare_relation_prefers_the_nearest_noun_by_three_to_two() -> None:
    low, high = parse("the mug left of the bowl behind the box")
    assert outline(low) == "find: mug [left of bowl [behind box]]"
    assert (low.preference, high.preference) == pytest.approx((0.6, 0.4))


def test_attachments_never_cross() -> None:
    outlines = {outline(query) for query in parse("the mug on the box in the bowl by the cup")}
    assert len(outlines) == 5
    assert "find: mug [on box [next to cup]] [inside bowl]" not in outlines


def test_a_long_chain_keeps_at_most_64_readings_with_the_preferred_first() -> None:
    names = ("box", "bowl", "cup", "jar", "tin", "pot", "pan", "lid", "fork", "spoon")
    readings = parse("the mug" + "".join(f" behind the {name}" for name in names))
    assert len(readings) == 64
    nested = "find: mug" + "".join(f" [behind {name}" for name in names) + "]" * len(names)
    assert outline(readings[0]) == nested


def test_a_frame_reaches_every_clause_that_depends_on_one_and_has_none() -> None:
    (query, *_) = parse("the leftmost mug behind the box on the tray to your left of the bowl from my perspective")
    assert outline(query) == ("find: ^leftmost @speaker mug [behind@speaker box [on tray [left of@robot bowl]]]")


def test_a_frame_at_the_start_says_the_same_as_at_the_end() -> None:
    first = parse("from your perspective, the mug behind the box")
    last = parse("the mug behind the box, from your perspective")
    assert [outline(query) for query in first] == [outline(query) for query in last]


# ------------------------------------------------------------------------------------------------ several commands


STEPS = [
    (
        "open the drawer and put the bowl in it",
        "place: bowl -> inside drawer {open: drawer; place: bowl -> inside drawer}",
    ),
    (
        "pick up the mug, then open the box and place it inside",
        "place: mug -> inside box {pick: mug; open: box; place: mug -> inside box}",
    ),
    (
        "take the red cup, put it on the tray and close the lid",
        "place: <red> cup -> on tray {place: <red> cup -> on tray; close: lid}",
    ),
    ("grab the mug and open the drawer", "pick: mug {pick: mug; open: drawer}"),
    ("go to the table and pick up the mug", "pick: mug {go: table; pick: mug}"),
    ("grab the mug and grab the bowl", "pick: bowl {pick: mug; pick: bowl}"),
    ("open the drawer, take out the fork and close it", "pick: fork {open: drawer; pick: fork; close: drawer}"),
    ("open the drawer take out the fork close it", "pick: fork {open: drawer; pick: fork; close: drawer}"),
    (
        "put the bowl in the drawer and close it",
        "place: bowl -> inside drawer {place: bowl -> inside drawer; close: drawer}",
    ),
    ("open the box and put the mug there", "place: mug -> inside box {open: box; place: mug -> inside box}"),
    ("wipe the tray, then put the mug there", "place: mug -> on tray {wipe: tray; place: mug -> on tray}"),
    ("find the tray and put the cup next to it", "place: cup -> next to tray {find: tray; place: cup -> next to tray}"),
    (
        "open the top drawer of the cabinet and put the bowl in there",
        "place: bowl -> inside ^highest drawer [part of cabinet]"
        " {open: ^highest drawer [part of cabinet]; place: bowl -> inside ^highest drawer [part of cabinet]}",
    ),
    (
        "push the red box and then give me the mug behind it",
        "give: mug [behind <red> box] {push: <red> box; give: mug [behind <red> box]}",
    ),
    (
        "take the red mug and put the other mug in the box",
        "place: mug [other than <red> mug] -> inside box"
        " {pick: <red> mug; place: mug [other than <red> mug] -> inside box}",
    ),
    (
        "put the cup on the plate and then put the plate in the sink",
        "place: plate -> inside sink {place: cup -> on plate; place: plate -> inside sink}",
    ),
    (
        "pick up all the mugs, open the box and put them in it",
        "place: x-1 mug -> inside box {pick: x-1 mug; open: box; place: x-1 mug -> inside box}",
    ),
    ("turn on the lamp and close the door", "turn on: lamp {turn on: lamp; close: door}"),
    (
        "open the drawer and put the mug left of the box in it, as seen from the robot",
        "place: mug [left of@robot box] -> inside drawer"
        " {open: drawer; place: mug [left of@robot box] -> inside drawer}",
    ),
    (
        "from your perspective, push the leftmost box and pick up the mug",
        "pick: mug {push: ^leftmost @robot box; pick: mug}",
    ),
]


@pytest.mark.parametrize(("instruction", "expected"), STEPS, ids=[sentence for sentence, _ in STEPS])
def test_all_commands_are_kept_and_the_one_that_moves_an_object_is_resolved(instruction: str, expected: str) -> None:
    assert expected in [outline(query) for query in parse(instruction)]
    assert outline(parse(instruction)[0]).split(" {")[0] == expected.split(" {")[0]


JOINED = [
    ("Open the drawer. Put the cup in it.", "place: cup -> inside drawer"),
    ("put the fork left of the plate and the knife right of it", "place: knife -> right of plate"),
    ("put the blue folder on the green one and then hand me the red one", "give: <red> folder"),
    ("put the pan on the tray and the spoon next to it", "place: spoon -> next to pan"),
    ("After opening the drawer, put the spoon in it", "place: spoon -> inside drawer"),
    ("First open the box, then put the pen in it.", "place: pen -> inside box"),
    ("Open the box. Then put the pen in it.", "place: pen -> inside box"),
    ("Would you mind lifting the spoon and placing the fork on the mat?", "place: fork -> on mat"),
]


@pytest.mark.parametrize(("instruction", "expected"), JOINED, ids=[said for said, _ in JOINED])
def test_commands_may_be_joined_in_several_ways(instruction: str, expected: str) -> None:
    query = parse(instruction)[0]
    assert len(query.steps) == 2
    assert outline(query).startswith(expected)


def test_each_step_keeps_its_readings_and_their_shares_multiply() -> None:
    readings = parse("touch the can on the tin behind the jar and take the mug left of the bowl behind the box")
    assert len(readings) == 4
    assert [round(query.preference, 2) for query in readings] == [0.36, 0.24, 0.24, 0.16]
    assert {len(query.steps) for query in readings} == {2}


def test_a_place_that_was_not_named_in_the_last_command_is_none() -> None:
    assert parse("open the drawer and put the mug")[0].destination is None


# -------------------------------------------------------------------------------------------- what is said of one


CLAUSES = [
    ("the cup that is by the pan, is red and is near the box", "<red> cup [next to pan] [near box]"),
    ("the cup which is narrowest and which is outside the bin", "^narrowest cup [out of bin]"),
    ("the cup that is behind the pan and which touches the box", "cup [behind pan] [touching box]"),
    ("the cup which is by the pan and sits near the box", "cup [next to pan] [near box]"),
    ("the cup by the pan and standing on the box", "cup [next to pan] [on box]"),
    ("the cup that is standing 20 cm left of the pan", "cup [~0.2 left of pan]"),
    ("the cup beside the pan, two hand widths away from it", "cup [~0.18 next to pan]"),
    ("the cup that isn't less than 5 cm from the pan", "cup [>0.05 at a distance from pan]"),
    ("the cup that is not as tall as the pan", "cup [shorter than pan]"),
    ("the cup that isn't as narrow as the pan is", "cup [wider than pan]"),
    ("the cup less far away than the pan", "cup [closer than pan]"),
    ("the cup of greater height than the pan", "cup [taller than pan]"),
    ("the cup further to the left than the pan", "cup [left of pan]"),
    ("the cup at a lower level than the pan", "cup [lower than pan]"),
    ("the box which the two keys are in", "box [containing x2 key]"),
    ("the mat that the mug is not on", "mat [not supporting mug]"),
    ("the container that the pen is sitting in", "container [containing pen]"),
    ("the jar with the spoon inside", "jar [containing spoon]"),
    ("the mat with the candle on top", "mat [supporting candle]"),
    ("the jar that does not have the spoon in it", "jar [not containing spoon]"),
    ("the cup with the pan on one side and the red box on the other", "cup [between pan & <red> box]"),
    ("the cup flanked by the pan and the box", "cup [between pan & box]"),
    ("the cup located nearest the pan", "cup [closest to pan]"),
    ("the cup at the greatest distance from the pan", "cup [farthest from pan]"),
    ("the camera that has its back to the wall", "camera [facing away from wall]"),
    ("the cup that is not the same as the red cup", "cup [other than <red> cup]"),
    ("all three of the cups", "x3 cup"),
    ("the three white thermoses", "x3 <white> thermos"),
    ("the cup that is 1st from the left", "#1:left cup"),
    ("the round tin's lid", "lid [part of <round> tin]"),
    ("whatever isn't on the tray", "object [not on tray]"),
    ("the cup on the other side of the box as seen from the pan", "cup [on the other side of box & pan]"),
    ("the jar with the cup inside and not touching the box", "jar [containing cup] [not touching box]"),
    ("the jar with the cup that from my side is left of the pan inside", "jar [containing cup [left of@speaker pan]]"),
    ("the mug seen from where you are left of the box", "mug [left of@robot box]"),
    ("the camera that looks at the mug that is on this side of the pan", "camera [facing mug [in front of pan]]"),
    ("the cake stand with the spoon on it", "cake stand [supporting spoon]"),
    ("the cup that, from where you stand, is left of the pan", "cup [left of@robot pan]"),
    ("the cup that is red and which, as the camera sees it, is left of the pan", "<red> cup [left of@viewer pan]"),
    ("with respect to the world frame could you find the cup behind the pan", "cup [behind@world pan]"),
    ("the cup on your far left", "^leftmost @robot cup"),
    ("the second cup from the right from the robot's perspective", "#2:right @robot cup"),
    (
        "the cup behind the pan that is left of the sofa from its point of view",
        "cup [behind pan [left of@object sofa]]",
    ),
    (
        "the cup that from its own side is left of the sofa and is behind the pan",
        "cup [left of@object sofa] [behind pan]",
    ),
    (
        "from my side, the cup left of the pan and behind the sofa from the sofa's point of view",
        "cup [left of@speaker pan] [behind@object sofa]",
    ),
    ("the rightmost cup in front of the sofa from the sofa's perspective", "^rightmost cup [in front of@object sofa]"),
    ("the cup on your side of the pan", "cup [in front of@robot pan]"),
]


@pytest.mark.parametrize(("instruction", "expected"), CLAUSES, ids=[said for said, _ in CLAUSES])
def test_what_is_said_of_an_object_may_be_said_in_several_ways(instruction: str, expected: str) -> None:
    assert f"find: {expected}" in [outline(query) for query in parse(instruction)]
