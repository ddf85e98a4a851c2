# SPDX-License-Identifier: Apache-2.0
"""Places with exceptions or of two relations, and what the motion keeps away from."""

from __future__ import annotations

import pytest

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
    assert query.destination in [reading.destination for reading in parse(render(query))], render(query)


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
