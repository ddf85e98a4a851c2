# SPDX-License-Identifier: Apache-2.0
"""Words of a query: for a person, and such that the parser reads the same again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_vlm_ros.language import RELATIONS, describe, parse, render
from spatial_vlm_ros.types import (
    Destination,
    FrameOfReference,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpatialQuery,
)

CATEGORIES = ("mug", "box", "object", "soup can", "wipes canister", "knife", "cookie tin", "glass", "orange", "robot")
ATTRIBUTES = ("red", "light blue", "wooden", "small", "striped", "empty", "gray", "plastic", "orange")
FRAMED_SUPERLATIVES = ("leftmost", "rightmost", "nearest", "farthest", "middle")
SUPERLATIVES = ("tallest", "shortest", "largest", "smallest", "highest", "lowest", "widest", "thinnest")
ACTIONS = ("pick", "give", "find", "push", "pull", "open", "point", "verify", "touch", "go")
FRAMES = st.none() | st.sampled_from(FrameOfReference)
PAIRED_RELATIONS = ("between",)
SINGLE_RELATIONS = tuple(sorted(set(RELATIONS) - set(PAIRED_RELATIONS) - {"at the centre of"}))


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
    return NounPhrase(draw(st.sampled_from(CATEGORIES)), attributes, draw(counts), superlative, ordinal, frame=frame)


@st.composite
def clauses(draw: st.DrawFn, depth: int) -> RelationClause:
    """One relation whose anchors may carry relations themselves."""
    if draw(st.integers(0, 5)) == 0:
        name, anchors = "between", (draw(phrases(depth - 1, countable=False)), draw(phrases(depth - 1)))
    else:
        name, anchors = draw(st.sampled_from(SINGLE_RELATIONS)), (draw(phrases(depth - 1)),)
    frame = draw(FRAMES) if RELATIONS[name].framed else None
    return RelationClause(name, anchors, frame, draw(st.booleans()) and name not in ("with", "without"))


@st.composite
def phrases(draw: st.DrawFn, depth: int = 2, countable: bool = True) -> NounPhrase:
    """A noun phrase with relations down to a depth."""
    head = draw(heads(countable))
    relations = tuple(draw(st.lists(clauses(depth), max_size=2 if depth == 2 else 1))) if depth > 0 else ()
    return NounPhrase(head.category, head.attributes, head.count, head.superlative, head.ordinal, relations, head.frame)


def _same(query: SpatialQuery, other: SpatialQuery) -> bool:
    return (query.action, query.target, query.destination) == (other.action, other.target, other.destination)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ACTIONS), phrases())
def test_a_rendered_query_has_itself_among_its_readings(action: str, target: NounPhrase) -> None:
    query = SpatialQuery("", action, target)
    text = render(query)
    assert any(_same(query, reading) for reading in parse(text)), text


@settings(max_examples=200, deadline=None)
@given(phrases(1), st.sampled_from(("on", "inside", "behind", "next to", "left of")), phrases(1), FRAMES)
def test_a_rendered_destination_is_read_again(
    target: NounPhrase, name: str, anchor: NounPhrase, frame: FrameOfReference | None
) -> None:
    destination = Destination(name, (anchor,), frame if RELATIONS[name].framed else None)
    query = SpatialQuery("", "place", target, destination)
    text = render(query)
    assert any(_same(query, reading) for reading in parse(text)), text


@settings(max_examples=200, deadline=None)
@given(phrases())
def test_a_described_phrase_is_read_again_as_a_fragment(phrase: NounPhrase) -> None:
    assert any(reading.target == phrase for reading in parse(describe(phrase)))


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        (NounPhrase("mug"), "the mug"),
        (NounPhrase("object", ("blue",)), "the blue object"),
        (
            NounPhrase("block", ("yellow",), relations=(RelationClause("in front of", (NounPhrase("wipes"),)),)),
            "the yellow block in front of the wipes",
        ),
        (NounPhrase("mug", superlative="leftmost"), "the leftmost mug"),
        (NounPhrase("mug", ordinal=Ordinal(2, "near")), "the second mug from the front"),
        (NounPhrase("knife", count=2), "the two knives"),
        (NounPhrase("box", count=-1), "all boxes"),
        (
            NounPhrase("mug", relations=(RelationClause("on", (NounPhrase("tray"),), negated=True),)),
            "the mug that is not on the tray",
        ),
        (
            NounPhrase("mug", relations=(RelationClause("between", (NounPhrase("cup"), NounPhrase("bowl"))),)),
            "the mug between the cup and the bowl",
        ),
        (
            NounPhrase("mug", superlative="nearest", frame=FrameOfReference.SPEAKER),
            "the nearest (from my perspective) mug",
        ),
        (
            NounPhrase("mug", relations=(RelationClause("left of", (NounPhrase("box"),), FrameOfReference.ROBOT),)),
            "the mug left of (from your perspective) the box",
        ),
        (
            NounPhrase(
                "can",
                relations=(RelationClause("behind", (NounPhrase("cup"),)), RelationClause("on", (NounPhrase("tin"),))),
            ),
            "the can behind the cup and on the tin",
        ),
    ],
)
def test_phrases_are_described_in_plain_english(phrase: NounPhrase, words: str) -> None:
    assert describe(phrase) == words


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (SpatialQuery("", "pick", NounPhrase("mug")), "pick up the mug"),
        (SpatialQuery("", "give", NounPhrase("mug")), "give me the mug"),
        (
            SpatialQuery("", "place", NounPhrase("mug"), Destination("on", (NounPhrase("tray"),))),
            "put the mug on the tray",
        ),
        (
            SpatialQuery("", "push", NounPhrase("mug"), Destination("on", (NounPhrase("tray"),))),
            "push the mug onto the tray",
        ),
        (SpatialQuery("", "verify", NounPhrase("mug")), "there is the mug"),
    ],
)
def test_queries_are_rendered_as_commands(query: SpatialQuery, words: str) -> None:
    assert render(query) == words
