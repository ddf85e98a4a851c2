# SPDX-License-Identifier: Apache-2.0
"""Negation, exception, conditions, order in time, and where verbs take things from and to: represented, or refused."""

from __future__ import annotations

import pytest
from language_outline import outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import describe, parse, render
from spatial_vlm_ros.types import SpatialQuery


def excluded(query: SpatialQuery) -> list[str]:
    """The relations that a place must not have: "near plate"."""
    assert query.destination is not None
    return [f"{c.relation} {' & '.join(a.category for a in c.anchors)}" for c in query.destination.excluded]


PLACES = (
    ("put the cup on the tray but not near the plate", "on tray", ["near plate"]),
    ("put the cup on the tray, not near the plate", "on tray", ["near plate"]),
    ("put the cup anywhere on the shelf apart from the right end", "on shelf", ["at the right side of shelf"]),
    ("put the cup on the shelf except the near half", "on shelf", ["at the front of shelf"]),
    ("put the cup on the tray, away from the plate", "on tray", ["near plate"]),
    ("put the cup on the table and not behind the box", "on table", ["behind box"]),
    ("put the cup near the box, but not on the tray or the plate", "near box", ["on tray", "on plate"]),
    ("put the cup anywhere except the tray", "on surface", ["on tray"]),
    ("put the cup anywhere except in the box", "on surface", ["inside box"]),
    ("put the cup anywhere except the box", "on surface", ["inside box"]),
    ("put the cup anywhere but on the tray", "on surface", ["on tray"]),
    ("put the cup somewhere other than the tray", "on surface", ["on tray"]),
    ("put the cup anywhere on the table except near the plate", "on table", ["near plate"]),
    ("put the cup 10 cm left of the box but not on the tray", "left of box", ["on tray"]),
    ("put the cup on the left but not near the box", "on side", ["near box"]),
    ("put the cup anywhere", "on surface", []),
    ("put the cup next to the tray, not on it", "next to tray", ["on tray"]),
    ("put the cup next to the tray not on it", "next to tray", ["on tray"]),
    ("put the cup on the tray, at least 10 cm from the plate", "on tray", ["at a distance from plate"]),
)


@pytest.mark.parametrize(("instruction", "place", "kept_out"), PLACES)
def test_what_a_place_must_not_be_is_kept(instruction: str, place: str, kept_out: list[str]) -> None:
    query = parse(instruction)[0]
    assert query.destination is not None
    assert f"{query.destination.relation} {query.destination.anchors[0].category}" == place
    assert excluded(query) == kept_out
    assert query.target.category == "cup"
    assert query.target.relations == ()


TWO_RELATIONS = (
    ("put the cup on the tray, left of the plate", "on tray", ["left of plate"]),
    ("put the cup on the tray and left of the plate", "on tray", ["left of plate"]),
    ("set the clock on the shelf between the box and the jar", "on shelf", ["between box & jar"]),
    ("place the mug next to the jar 20 cm from the plate", "next to jar", ["at a distance from plate"]),
    (
        "put the cup on the tray to the left of the plate in front of the jar",
        "on tray",
        ["left of plate", "in front of jar"],
    ),
)


@pytest.mark.parametrize(("instruction", "place", "too"), TWO_RELATIONS)
def test_a_place_may_have_two_relations(instruction: str, place: str, too: list[str]) -> None:
    found = []
    for query in parse(instruction):
        said = query.destination
        assert said is not None
        if not query.target.relations:
            also = [f"{c.relation} {' & '.join(a.category for a in c.anchors)}" for c in said.also]
            found.append((f"{said.relation} {said.anchors[0].category}", also))
            again = parse(render(query))
            assert said in [reading.destination for reading in again], render(query)
    assert (place, too) in found


@pytest.mark.parametrize("instruction", [instruction for instruction, _, _ in PLACES])
def test_a_place_with_exceptions_can_be_rendered(instruction: str) -> None:
    query = parse(instruction)[0]
    again = parse(render(query))
    assert query.destination in [reading.destination for reading in again], render(query)


@pytest.mark.parametrize(
    "instruction",
    ["avoid the cup and grab the plate", "grab the plate and avoid the cup", "grab the plate but avoid the cup",
     "grab the plate without touching the cup", "grab the plate without knocking over the cup",
     "grab the plate while avoiding the cup", "grab the plate being careful not to knock over the cup",
      "grab the plate but don't touch the cup",
     "stay away from the cup and grab the plate", "watch out for the cup and grab the plate",
     "don't knock over the cup and grab the plate", "grab the plate, leave the cup"],
)  # fmt: skip
def test_what_the_motion_keeps_away_from_is_kept(instruction: str) -> None:
    (query,) = parse(instruction)
    assert query.action == "pick"
    assert query.target.category == "plate"
    assert [describe(phrase) for phrase in query.avoid] == ["the cup"]
    assert query.steps == ()
    assert parse(render(query))[0].avoid == query.avoid


def test_a_step_to_avoid_stands_beside_the_others() -> None:
    (query,) = parse("open the drawer, put the bowl in it and avoid the glass")
    assert [step.action for step in query.steps] == ["open", "place"]
    assert [phrase.category for phrase in query.avoid] == ["glass"]


def test_it_is_what_was_mentioned_last_and_is_not_moved() -> None:
    (query,) = parse("put the cup next to the box and avoid it")
    assert [phrase.category for phrase in query.avoid] == ["box"]


@pytest.mark.parametrize(
    ("instruction", "part", "reason"),
    [
        ("don't grab the cup", "don't", "a prohibition"),
        ("do not put the cup on the tray", "do", "a prohibition"),
        ("never grab the cup", "never", "a prohibition"),
        ("the cup next to nothing", "nothing", "names no object"),
        ("put the cup not on the tray", "not", "where not"),
        ("put the cup but on the tray", "on", "where to put it"),
        ("grab the cup unless it is red", "unless", "condition"),
        ("if there is a cup grab it", "if", "condition"),
        ("when you see the cup grab it", "when", "condition"),
        ("grab the cup until it is full", "until", "condition"),
        ("grab the cup before the plate", "before", "in time"),
        ("grab the cup before grabbing the plate", "before", "in time"),
        ("grab the cup after the plate", "after", "time"),
        ("grab the cup tomorrow", "tomorrow", "time"),
        ("no wait, the box", "no", "correction"),
        ("grab the cup, no, the plate", "no", "correction"),
        ("grab the cup sorry the plate", "sorry", "correction"),
        ("grab either the cup or the plate", "or", "choice"),
        ("grab all the cups but one", "one", "second object"),
    ],
)
def test_what_is_not_represented_is_refused_by_name(instruction: str, part: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        parse(instruction)
    start, end = caught.value.span
    assert instruction[start:end] == part
    assert reason in caught.value.reason


FRAMES = (
    ("take the cup off the shelf", "pick: cup [on shelf]"),
    ("take the cup off the shelf and put it on the table", "place: cup [on shelf] -> on table"),
    ("get the cup away from the bottle", "pick: cup [near bottle]"),
    ("take the cup away from the plate", "pick: cup [on plate]"),
    ("grab the cup away from the bottle", "pick: cup [far from bottle]"),
    ("find the cup away from the bottle", "find: cup [far from bottle]"),
    ("move the cup away from the plate", "place: cup -> far from plate"),
    ("push the cup away from the plate", "push: cup -> far from plate"),
    ("throw the can in the bin", "throw: can -> inside bin"),
    ("throw it into the bin", "throw: object -> inside bin"),
    ("drop the ball in the bin", "place: ball -> inside bin"),
    ("slide the box between the cans", "push: box -> between x-1 can"),
    ("move the cup 10 cm to the left", "place: cup -> ~0.1 left of itself"),
    ("move the cup to the right by 5 cm", "place: cup -> ~0.05 right of itself"),
    ("pick up the cup and move it 5 cm to the right", "place: cup -> ~0.05 right of itself"),
    ("push the box 10 cm to the left", "push: box -> ~0.1 left of itself"),
    ("put the cup on the left", "place: cup -> on ^leftmost side"),
    ("put the left cup on the right", "place: ^leftmost cup -> on ^rightmost side"),
    ("put the cup at the back", "place: cup -> on ^farthest side"),
    ("pick up the cup and put it on the left", "place: cup -> on ^leftmost side"),
    ("put the cup on the left next to the box", "place: ^leftmost cup -> next to box"),
    ("fetch the cup from under the table", "pick: cup [under table]"),
    ("turn the lamp on", "turn on: lamp"),
    ("put everything on the tray except the cup", "place: x-1 object [other than cup] -> on tray"),
    ("grab any cup on the tray except the red one", "pick: any cup [on tray] [other than <red> cup]"),
)


@pytest.mark.parametrize(("instruction", "expected"), FRAMES)
def test_verbs_take_from_a_source_and_to_a_goal(instruction: str, expected: str) -> None:
    query = parse(instruction)[0]
    assert outline(query) == expected
    assert query.destination in [reading.destination for reading in parse(render(query))]


@pytest.mark.parametrize(
    ("instruction", "part"),
    [
        ("pour the water into the cup", "pour"),
        ("turn the cup upside down", "turn"),
        ("rotate the box", "rotate"),
        ("push the box to the left", "to the left"),
        ("push it forward", "forward"),
        ("move the cup to the left", "to the left"),
        ("move the cup off the tray", "off"),
        ("put the cup back", "back"),
        ("put away the cup", "put away"),
        ("put the cup on top", "on top"),
        ("bring the cup closer", "closer"),
        ("pull the box nearer", "nearer"),
        ("lay the book flat on the table", "flat"),
        ("move the cup left", "left"),
        ("lay the book open", "open"),
        ("grab a non-red cup", "non-red"),
        ("grab the non red cup", "non"),
        ("put the mug a bit further left", "further"),
        ("put one mug on each tray", "each"),
    ],
)
def test_a_goal_that_is_none_is_refused(instruction: str, part: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        parse(instruction)
    start, end = caught.value.span
    assert instruction[start:end] == part
