# SPDX-License-Identifier: Apache-2.0
"""Phrases of parts: two directions, wholes said in one word with their part, places that are only called a spot."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.language import describe, parse
from spatial_vlm_ros.types import NounPhrase, RelationClause


def part(noun: str, whole: str | None = None, **said: str) -> NounPhrase:
    relations = () if whole is None else (RelationClause("part of", (NounPhrase(whole),)),)
    return NounPhrase(noun, relations=relations, **said)  # type: ignore[arg-type]


FAR_LEFT = part("corner", "tray", superlative="farthest", also="leftmost")


@pytest.mark.parametrize(
    ("words", "superlative", "also"),
    [
        ("front left", "nearest", "leftmost"), ("left front", "nearest", "leftmost"),
        ("back right", "farthest", "rightmost"), ("far right", "farthest", "rightmost"),
        ("top left", "highest", "leftmost"), ("lower right", "lowest", "rightmost"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("noun", ["compartment", "section", "drawer", "burner"])
def test_two_directions_pick_a_part(words: str, superlative: str, also: str, noun: str) -> None:
    (query,) = parse(f"put the pear in the {words} {noun} of the caddy")[:1]
    assert query.destination is not None
    (found,) = query.destination.anchors
    assert found == part(noun, "caddy", superlative=superlative, also=also)
    assert parse(describe(found))[0].target == found


@pytest.mark.parametrize(
    ("words", "relation", "anchor"),
    [
        ("put the cup on the table centre", "on", part("centre", "table")),
        ("move the cup to the middle of the desk", "on", part("middle", "desk")),
        ("put the cup on the stove's left burner", "on", part("burner", "stove", superlative="leftmost")),
        ("put the cup on the left stove burner", "on", part("burner", "stove", superlative="leftmost")),
        ("put the cup in the far left corner of the tray", "on", FAR_LEFT),
        (
            "put the cup into the far left corner of the workbench", "on",
            part("corner", "workbench", superlative="farthest", also="leftmost"),
        ),
        (
            "put the cup into the far left corner of the drawer", "inside",
            part("corner", "drawer", superlative="farthest", also="leftmost"),
        ),
        (
            "put the cup in the back right corner of the bin", "inside",
            part("corner", "bin", superlative="farthest", also="rightmost"),
        ),
        ("put the cup to the spot in front of the box", "in front of", NounPhrase("box")),
        ("put the cup into the free space next to the box", "next to", NounPhrase("box")),
    ],
)  # fmt: skip
def test_a_place_by_a_part_has_one_form(words: str, relation: str, anchor: NounPhrase) -> None:
    destination = parse(words)[0].destination
    assert destination is not None
    assert (destination.relation, destination.anchors) == (relation, (anchor,))


def test_an_edge_of_nothing_is_where_something_is() -> None:
    query = parse("move the can at the front edge to the centre of the desk")[0]
    assert query.target.relations == (RelationClause("on", (part("edge", superlative="nearest"),)),)
    assert query.destination is not None
    assert query.destination.anchors == (part("centre", "desk"),)


@pytest.mark.parametrize(("said", "n", "side"), [("second", 2, "top"), ("third", 3, "top"), ("last", 1, "bottom")])
def test_drawers_are_counted_from_the_top(said: str, n: int, side: str) -> None:
    ordinal = parse(f"open the {said} drawer of the cabinet")[0].target.ordinal
    assert ordinal is not None
    assert (ordinal.n, ordinal.from_) == (n, side)


@pytest.mark.parametrize(
    ("words", "relation"),
    [("bin with the banana", "containing"), ("plate with the apple", "supporting"), ("tool with the clip", "with"),
     ("mug with the spoon", "with"), ("compartment with the fork", "containing")],
)  # fmt: skip
def test_what_holds_objects_is_with_what_it_holds(words: str, relation: str) -> None:
    assert parse(f"the {words}")[0].target.relations[0].relation == relation


def test_a_question_and_a_command_about_one_object() -> None:
    (query,) = parse("where is the tennis ball? pick it up")
    assert (query.action, query.target) == ("pick", NounPhrase("tennis ball"))


def test_the_front_can_that_goes_somewhere_is_not_close_to_it() -> None:
    query = parse("move the front can to the tray")[0]
    assert query.target == NounPhrase("can", superlative="nearest")
    assert parse("pick the closest can to the tray")[0].target.relations[0].relation == "closest to"
