# SPDX-License-Identifier: Apache-2.0
"""Words of a query: for a person, and such that the parser reads the same again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_outline import outline, rows

from spatial_vlm_ros.language import RELATIONS, describe, parse, render
from spatial_vlm_ros.language.vocabulary import MEASURED
from spatial_vlm_ros.types import (
    Destination,
    Distance,
    FrameOfReference,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpatialQuery,
    Step,
)

CATEGORIES = ("mug", "box", "object", "soup can", "wipes canister", "knife", "cookie tin", "glass", "orange", "robot")
ATTRIBUTES = ("red", "light blue", "wooden", "small", "striped", "empty", "gray", "plastic", "orange")
FRAMED_SUPERLATIVES = ("leftmost", "rightmost", "nearest", "farthest", "middle")
SUPERLATIVES = ("tallest", "shortest", "largest", "smallest", "highest", "lowest", "widest", "thinnest")
ACTIONS = ("pick", "give", "find", "push", "pull", "open", "point", "verify", "touch", "go")
FRAMES = st.none() | st.sampled_from(FrameOfReference)
BOUNDS = ("about", "at most", "at least")
BECOMES_ANOTHER = {"at the centre of", "with", "without"}  # between or among; containing; not touching
SINGLE_RELATIONS = tuple(sorted(set(RELATIONS) - {"between"} - BECOMES_ANOTHER))
COMPARED = {"closest to", "farthest from"}  # of a robot or camera: a point of view
PLACES = ("on", "inside", "behind", "next to", "left of", "at the edge of", "on the other side of", "opposite", "near")


@st.composite
def heads(draw: st.DrawFn, countable: bool = True) -> NounPhrase:
    """A noun phrase without relations."""
    attributes = tuple(draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=2, unique=True)))
    kind = draw(st.sampled_from(("plain", "plain", "superlative", "framed superlative", "ordinal")))
    superlative = ordinal = frame = None
    if kind == "superlative":
        superlative = draw(st.sampled_from(SUPERLATIVES))
    elif kind == "framed superlative":
        superlative, frame = draw(st.sampled_from(FRAMED_SUPERLATIVES)), draw(FRAMES)
    elif kind == "ordinal":
        side = draw(st.sampled_from(("left", "right", "near", "far", "top", "bottom")))
        ordinal = Ordinal(draw(st.integers(1, 25)), side)
        frame = draw(FRAMES) if side not in ("top", "bottom") else None
    counts = st.none() if ordinal or not countable else st.sampled_from((None, None, 1, 2, 3, 30, -1))
    choice = draw(st.sampled_from((None, None, None, "any")))
    category, count = draw(st.sampled_from(CATEGORIES)), draw(counts)
    count = None if choice and count in (1, -1) else count  # "any one mug" is any mug
    return NounPhrase(category, attributes, count, superlative, ordinal, frame=frame, choice=choice)


DISTANCES = st.builds(
    Distance, st.integers(1, 3_000_000).map(lambda micrometres: round(micrometres * 1e-6, 6)), st.sampled_from(BOUNDS)
)


@st.composite
def clauses(draw: st.DrawFn, depth: int) -> RelationClause:
    """One relation whose anchors may carry relations themselves."""
    kind = draw(st.integers(0, 9))
    distance = None
    if kind == 0:
        name, anchors = "between", (draw(phrases(depth - 1, countable=False)), draw(phrases(depth - 1)))
    elif kind == 1:
        first = replace(draw(phrases(0)), superlative=None, ordinal=None, frame=None)  # "the farthest mug from the cup"
        name, anchors = "on the other side of", (first, draw(phrases(depth - 1)))
    elif kind == 2:
        name, anchors = draw(st.sampled_from(sorted(set(MEASURED.values())))), (draw(phrases(depth - 1)),)
        distance = draw(DISTANCES)
    else:
        name, anchors = draw(st.sampled_from(SINGLE_RELATIONS)), (draw(phrases(depth - 1)),)
    if name in COMPARED:
        anchors = tuple(replace(anchor, category="tin") for anchor in anchors)
    frame = draw(FRAMES) if RELATIONS[name].framed else None
    return RelationClause(name, anchors, frame, draw(st.booleans()) and name not in ("with", "without"), distance)


@st.composite
def phrases(draw: st.DrawFn, depth: int = 2, countable: bool = True) -> NounPhrase:
    """A noun phrase with relations down to a depth."""
    head = draw(heads(countable))
    relations = tuple(draw(st.lists(clauses(depth), max_size=2 if depth == 2 else 1))) if depth > 0 else ()
    meant = {
        (clause.relation, clause.anchors): clause
        for clause in relations
        if clause.relation != "other than" or clause.anchors[0].category != head.category
    }  # none contradicts another, nor its object
    return replace(head, relations=tuple(meant.values()))


@st.composite
def destinations(draw: st.DrawFn) -> Destination:
    distance = draw(st.none() | DISTANCES)
    name = draw(st.sampled_from(sorted(set(MEASURED.values())) if distance else PLACES))
    frame = draw(FRAMES) if RELATIONS[name].framed else None
    place = draw(phrases(1))
    if name in ("at the corner of", "at the edge of", "at the end of"):  # nearest the box: the corner, or the tray?
        kept = tuple(each for each in place.relations if each.relation not in ("closest to", "farthest from"))
        place = replace(place, relations=kept)
    return Destination(name, (place,), frame, distance)


@st.composite
def commands(draw: st.DrawFn) -> tuple[Step, ...]:
    """Two or three commands about different objects."""
    opened = Step("open", draw(phrases(1)))
    placed = Step("place", draw(phrases(1)), draw(destinations()))
    last = Step(draw(st.sampled_from(("close", "push", "wipe"))), draw(phrases(1)))
    return draw(st.sampled_from(((opened, placed), (placed, last), (opened, placed, last))))


few_and_many = pytest.mark.parametrize("n", [50, pytest.param(300, marks=pytest.mark.slow)])


def hold_of(n: int, check: Callable[..., None], *drawn: st.SearchStrategy[Any]) -> None:
    """A law holds of `n` examples."""
    settings(max_examples=n, deadline=None)(given(*drawn)(check))()


def is_read_again(query: SpatialQuery) -> None:
    text = render(query)
    names = ("action", "target", "destination", "steps")
    assert any(all(getattr(query, n) == getattr(reading, n) for n in names) for reading in parse(text)), text


@few_and_many
def test_a_rendered_query_has_itself_among_its_readings(n: int) -> None:
    def law(action: str, target: NounPhrase) -> None:
        is_read_again(SpatialQuery("", action, target))

    hold_of(n, law, st.sampled_from(ACTIONS), phrases())


@few_and_many
def test_a_rendered_destination_is_read_again(n: int) -> None:
    def law(target: NounPhrase, destination: Destination) -> None:
        is_read_again(SpatialQuery("", "place", target, destination))

    hold_of(n, law, phrases(1), destinations())


@few_and_many
def test_rendered_steps_are_read_again(n: int) -> None:
    def law(steps: tuple[Step, ...]) -> None:
        first = steps[0]
        is_read_again(SpatialQuery("", first.action, first.target, first.destination, steps=steps))

    hold_of(n, law, commands())


@few_and_many
def test_a_described_phrase_is_read_again_as_a_fragment(n: int) -> None:
    def law(phrase: NounPhrase) -> None:
        assert any(reading.target == phrase for reading in parse(describe(phrase)))

    hold_of(n, law, phrases())


@pytest.mark.parametrize(("how", "reading", "words"), rows("described"))
def test_phrases_are_described_and_queries_rendered_in_plain_english(how: str, reading: str, words: str) -> None:
    query = parse(words)[0]
    assert outline(query) == reading
    assert (render(query) if how == "render" else describe(query.target)) == words
