# SPDX-License-Identifier: Apache-2.0
"""The preferred reading of sentences (readings.jsonl), all readings of some (all_readings.jsonl), laws of each, and
commands amid speech (spoken.jsonl: what people say, and the plain command)."""

import re
from pathlib import Path

import pytest
from language_outline import outline, rows

import spatial_vlm_ros
from spatial_vlm_ros.language import parse, render
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import SpatialQuery

READINGS, ALL_READINGS = rows("readings"), rows("all_readings")
RENDERED_OTHERWISE = {
    "move the front can to the tray": "place: ^nearest can -> to tray",
}
"""Sentences whose rendering is not read as the same: "push the pan 10 cm from the edge" tells which pan."""


def assert_accounted(query: SpatialQuery) -> None:
    told = {word.start for word in query.account}
    assert told >= {word.start for word in split(query.instruction) if word.kind == "word"}


@pytest.mark.parametrize(("_theme", "said", "expected"), READINGS, ids=[said for _, said, _ in READINGS])
def test_the_preferred_reading_is_the_expected_one_in_every_form(_theme: str, said: str, expected: str) -> None:
    query, *_ = found = parse(said)
    assert_accounted(query)
    outlines = [outline(each) for each in found]
    assert outlines[0] == expected
    for form in (said.upper(), said.rstrip(".!?"), f"  {said}  \n"):
        assert [outline(each) for each in parse(form)] == outlines, form
    again = parse(render(query))
    assert expected in [outline(each) for each in again], render(query)
    assert query.destination in [each.destination for each in again], render(query)


@pytest.mark.parametrize("said", RENDERED_OTHERWISE)
def test_what_is_rendered_otherwise_has_its_reading(said: str) -> None:
    assert outline(parse(said)[0]) == RENDERED_OTHERWISE[said]


@pytest.mark.parametrize(("said", "expected"), ALL_READINGS, ids=[said for said, _ in ALL_READINGS])
def test_all_readings_are_kept_in_order_of_preference(said: str, expected: list[str]) -> None:
    readings = parse(said)
    assert [outline(query) for query in readings] == expected
    preferences = [query.preference for query in readings]
    assert sum(preferences) == pytest.approx(1.0)
    assert preferences == sorted(preferences, reverse=True)
    for query in readings:
        assert query.readings == len(readings)
        again = parse(render(query))
        assert outline(query) in [outline(each) for each in again], render(query)
        assert query.destination in [each.destination for each in again], render(query)


@pytest.mark.parametrize(("said", "plain"), rows("spoken"), ids=[said for said, _ in rows("spoken")])
def test_a_command_amid_speech_is_read_as_the_plain_command(said: str, plain: str) -> None:
    found = parse(said)
    assert [outline(query) for query in found] == [outline(query) for query in parse(plain)]
    assert all(query.instruction == said for query in found)
    assert_accounted(found[0])


def test_every_form_of_the_page_of_plain_commands_is_read() -> None:
    page = (Path(spatial_vlm_ros.__file__).parent / "language" / "controlled_english.md").read_text(encoding="utf-8")
    lines = page.partition("**An object**")[0].splitlines()
    orders = [order for line in lines if line.startswith("- ") for order in line[2:].split(" / ")]
    questions = re.findall(r"[a-z][^?]*\?", page.partition("**Questions**: ")[2].partition("\n\n")[0])
    places = re.findall(r"put the cup on the tray, left [^.]*", page)
    assert len(orders) >= 15
    assert len(questions) >= 6
    assert places
    for words in (*orders, *questions, *places):
        assert parse(" ".join(words.split())), words


def test_every_reading_carries_the_instruction_as_given_and_is_the_same_each_time() -> None:
    said = "  Put the cup behind the box that is LEFT of the mug and near the bowl on the tray in the tin. "
    assert {query.instruction for query in parse(said)} == {said}
    assert parse(said) == parse(said)


def test_a_bare_relation_prefers_the_nearest_noun_by_three_to_two_and_shares_of_steps_multiply() -> None:
    low, high = parse("the mug left of the bowl behind the box")
    assert (low.preference, high.preference) == pytest.approx((0.6, 0.4))
    readings = parse("touch the can on the tin behind the jar and take the mug left of the bowl behind the box")
    assert [round(query.preference, 2) for query in readings] == [0.36, 0.24, 0.24, 0.16]
    assert {len(query.steps) for query in readings} == {2}


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
    assert outline(query) == "find: ^leftmost @speaker mug [behind@speaker box [on tray [left of@robot bowl]]]"
    first = parse("from your perspective, the mug behind the box")
    last = parse("the mug behind the box, from your perspective")
    assert [outline(query) for query in first] == [outline(query) for query in last]
