# SPDX-License-Identifier: Apache-2.0
"""What belongs to what: all readings and their order."""

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
    (
        "the second mug behind the box from the left",
        ["find: #2:left mug [behind box]"],
    ),
]


@pytest.mark.parametrize(("instruction", "expected"), READINGS, ids=[sentence for sentence, _ in READINGS])
def test_all_readings_are_kept_in_order_of_preference(instruction: str, expected: list[str]) -> None:
    assert [outline(query) for query in parse(instruction)] == expected


@pytest.mark.parametrize("instruction", [sentence for sentence, _ in READINGS])
def test_preferences_fall_and_sum_to_one_and_readings_are_counted(instruction: str) -> None:
    readings = parse(instruction)
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
