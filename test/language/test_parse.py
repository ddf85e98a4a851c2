# SPDX-License-Identifier: Apache-2.0
"""Sentences and their preferred reading (readings.jsonl: theme, sentence, reading), and laws that hold of each."""

import pytest
from language_outline import outline, rows

from spatial_vlm_ros.language import parse, render

READINGS = rows("readings")
RENDERED_OTHERWISE = {"slide the pan like ten centimetres away from the edge"}
"""Sentences whose rendering is not read as the same: "push the pan 10 cm from the edge" tells which pan."""


@pytest.mark.parametrize(("_theme", "said", "expected"), READINGS, ids=[said for _, said, _ in READINGS])
def test_the_preferred_reading_is_the_expected_one_in_every_form(_theme: str, said: str, expected: str) -> None:
    query, *_ = found = parse(said)
    outlines = [outline(each) for each in found]
    assert outlines[0] == expected
    for form in (said.upper(), said.rstrip(".!?"), f"  {said}  \n"):
        assert [outline(each) for each in parse(form)] == outlines, form
    if said not in RENDERED_OTHERWISE:
        again = parse(render(query))
        assert expected in [outline(each) for each in again], render(query)
        assert query.destination in [each.destination for each in again], render(query)


def test_every_reading_carries_the_instruction_as_given_and_is_the_same_each_time() -> None:
    said = "  Put the cup behind the box that is LEFT of the mug and near the bowl on the tray in the tin. "
    assert {query.instruction for query in parse(said)} == {said}
    assert parse(said) == parse(said)


def test_what_is_pushed_may_be_there_or_go_there() -> None:
    readings = parse("push the cube behind the box")
    assert [outline(query) for query in readings] == ["push: cube [behind box]", "push: cube -> behind box"]
    assert readings[0].preference > readings[1].preference
    assert len(parse("push the cube behind the box onto the tray")) == 1


def test_into_a_corner() -> None:
    """Both sides of the corner are kept."""
    destination = parse("put the jar into the near right corner of the shelf")[0].destination
    assert destination is not None
    assert (destination.anchors[0].superlative, destination.anchors[0].also) == ("nearest", "rightmost")


@pytest.mark.parametrize(
    "said", ["the red mug that is not big or wooden behind the box", "the leftmost mug that is not red"]
)
def test_denials_are_rendered_such_that_they_are_read_again(said: str) -> None:
    query = parse(said)[0]
    assert outline(query) in {outline(again) for again in parse(render(query))}
