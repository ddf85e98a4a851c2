# SPDX-License-Identifier: Apache-2.0
"""Several commands in one sentence, and what "it" and "there" are in the later ones."""

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse

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


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("pick up the mug and put it on the tray", "place: mug -> on tray"),
        ("pick up the mug and put that on the tray", "place: mug -> on tray"),
        ("pick up the mug put it on the tray", "place: mug -> on tray"),
        ("find the red mug, pick it up and put it on the tray", "place: <red> mug -> on tray"),
        ("take the lid off the pot and put it on the table", "place: lid [on pot] -> on table"),
        ("pick up the red block and put it on top of the blue one", "place: <red> block -> on <blue> block"),
        ("put the bowl in it", "place: bowl -> inside object"),
    ],
)
def test_commands_about_one_object_are_one_command(instruction: str, expected: str) -> None:
    assert outline(parse(instruction)[0]) == expected
    assert parse(instruction)[0].steps == ()


def test_each_step_keeps_its_readings_and_their_shares_multiply() -> None:
    readings = parse("touch the can on the tin behind the jar and take the mug left of the bowl behind the box")
    assert len(readings) == 4
    assert [round(query.preference, 2) for query in readings] == [0.36, 0.24, 0.24, 0.16]
    assert {len(query.steps) for query in readings} == {2}


@pytest.mark.parametrize(
    ("instruction", "part", "reason"),
    [
        ("put the mug there", "there", "place"),
        ("open the drawer and", "and", "too early"),
        ("open the drawer and put the mug", "", ""),
        (" and ".join(["push the mug"] * 9), None, "more than 8 commands"),
        ("Pick up the mug. Not the red one.", ".", "several sentences"),
        ("move the mug to the left", "to the left", "place"),
    ],
)
def test_steps_that_cannot_be_understood_are_refused(instruction: str, part: str | None, reason: str) -> None:
    if part == "":
        assert parse(instruction)[0].destination is None
        return
    with pytest.raises(NotUnderstoodError, match=reason) as caught:
        parse(instruction)
    if part is not None:
        assert instruction[slice(*caught.value.span)] == part
