# SPDX-License-Identifier: Apache-2.0
"""Distances said in words: how they are read, and where they may stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_outline import clause_outline

from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.distances import distance_at, say_distance
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import Distance

AMOUNTS = [
    ("10 cm", 0.1), ("10cm", 0.1), ("1.5 m", 1.5), ("0.25m", 0.25), ("250 mm", 0.25), ("3 dm", 0.3),
    ("an inch", 0.0254),
    ("2 feet", 0.6096), ("a foot", 0.3048), ("a yard", 0.9144), ("ten centimetres", 0.1), ("twenty-five cm", 0.25),
    ("twenty five centimeters", 0.25), ("half a metre", 0.5), ("half an inch", 0.0127), ("a half metre", 0.5),
    ("one and a half metres", 1.5), ("a metre and a half", 1.5), ("two and a half feet", 0.762),
    ("a quarter of a metre", 0.25), ("three quarters of a metre", 0.75), ("a couple of inches", 0.0508),
    ("a hundred and ten centimetres", 1.1),
    ("two hundred millimetres", 0.2), ("zero point five metres", 0.5),
    ("one point two five metres", 1.25), ("2 feet 3 inches", 0.6858),
    ("two feet and three inches", 0.6858),
    ("a hand's width", 0.09), ("two hand widths", 0.18), ("three hands' breadths", 0.27), ("one handbreadth", 0.09),
    ("a hand-width", 0.09), ("two finger widths", 0.04), ("a finger's breadth", 0.02),
    ("the metre", None), ("a dozen", None),
]  # fmt: skip
BOUNDS = [
    ("{}", "about"), ("about {}", "about"), ("around {}", "about"), ("roughly {}", "about"), ("exactly {}", "about"),
    ("some {}", "about"), ("nearly {}", "about"), ("{} or so", "about"), ("at least {}", "at least"),
    ("more than {}", "at least"), ("over {}", "at least"), ("no less than {}", "at least"), ("{} or more", "at least"),
    ("not closer than {}", "at least"), ("at least about {}", "at least"), ("just over {}", "at least"),
    ("at most {}", "at most"), ("less than {}", "at most"), ("no more than {}", "at most"), ("up to {}", "at most"),
    ("under {}", "at most"), ("within {}", "at most"), ("no further than {}", "at most"), ("{} or less", "at most"),
    ("just under {}", "at most"), ("a maximum of {}", "at most"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "metres"), AMOUNTS)
def test_amounts_are_metres(words: str, metres: float | None) -> None:
    said = distance_at([word.text for word in split(words)], 0)
    if metres is None:
        assert said is None
        return
    assert said is not None
    assert said.length == len(split(words))
    assert said.distance == Distance(metres)


@pytest.mark.parametrize(("pattern", "bound"), BOUNDS)
def test_words_about_an_amount_say_how_it_binds(pattern: str, bound: str) -> None:
    (clause,) = parse(f"the mug {pattern.format('20 cm')} from the box")[0].target.relations
    assert clause.relation == "at a distance from"
    assert clause.distance == Distance(0.2, bound)  # type: ignore[arg-type]


SENTENCES = [
    ("the mug 10 cm to the left of the box", "~0.1 left of box"),
    ("the mug that is about half a metre behind the box", "~0.5 behind box"),
    ("the mug within 20 cm of the box", "<0.2 at a distance from box"),
    ("the mug within a radius of 20 cm of the box", "<0.2 at a distance from box"),
    ("the mug closer than 20 cm to the box", "<0.2 at a distance from box"),
    ("the mug 20 centimetres away from the box", "~0.2 at a distance from box"),
    ("the mug at a distance of 20 cm from the box", "~0.2 at a distance from box"),
    ("the mug at least 2 feet from the box", ">0.6096 at a distance from box"),
    ("the mug standing two hand widths from the box", "~0.18 at a distance from box"),
    ("the mug a hand's width to the right of the box", "~0.09 right of box"),
    ("the mug an inch above the box", "~0.0254 above box"),
    ("the mug left of the box by 10 cm", "~0.1 left of box"),
    ("the mug left of the box, 10 cm away", "~0.1 left of box"),
    ("the mug next to the box with a gap of 5 cm", "~0.05 next to box"),
    ("the mug next to the box with 5 cm between them", "~0.05 next to box"),
    ("the mug behind the box at a distance of a metre", "~1 behind box"),
    ("the mug 10 cm beyond the box", "~0.1 behind box"),
    ("the mug not within 20 cm of the box", "not <0.2 at a distance from box"),
    ("the mug 20 cm to your left of the box", "~0.2 left of@robot box"),
]


@pytest.mark.parametrize(("instruction", "expected"), SENTENCES)
def test_a_distance_goes_with_its_relation(instruction: str, expected: str) -> None:
    assert [clause_outline(clause) for clause in parse(instruction)[0].target.relations] == [expected]


@pytest.mark.parametrize(
    "instruction", ["take two feet from the box", "grab a foot next to the box", "take the two feet"]
)
def test_what_is_taken_is_an_object_and_no_distance(instruction: str) -> None:
    assert parse(instruction)[0].target.category == "foot"


@given(
    st.integers(0, 99_999_999).map(lambda micrometres: round(micrometres * 1e-6, 6)),
    st.sampled_from(("about", "at most", "at least")),
)
def test_a_distance_in_words_is_read_as_the_same(metres: float, bound: str) -> None:
    distance = Distance(metres, bound)  # type: ignore[arg-type]
    said = distance_at([word.text for word in split(say_distance(distance))], 0)
    assert said is not None
    assert said.distance == distance
