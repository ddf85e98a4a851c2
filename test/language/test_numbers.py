# SPDX-License-Identifier: Apache-2.0
"""Every way of writing a length is read as that length, or refused by name; counts and orders start at one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.types import NounPhrase, Ordinal

LENGTHS = (
    ("1,5 cm", 0.015), ("1.5 cm", 0.015), ("1,5cm", 0.015), (".5 m", 0.5), ("0,125 m", 0.125), ("0.125 m", 0.125),
    ("12,25 cm", 0.1225), ("1,234,567 mm", 1234.567), ("1.234.567 mm", 1234.567), ("1,234.5 mm", 1.2345),
    ("1.234,5 mm", 1.2345), ("1'500 mm", 1.5), ("1/2 m", 0.5), ("½ m", 0.5), ("1½ m", 1.5), ("1 1/2 inches", 0.0381),
    ("3/4 of an inch", 0.01905), ("three-quarters of an inch", 0.01905), ("one-half metre", 0.5), ("10-cm", 0.1),
    ("ten-centimetre", 0.1), ("one and a half metres", 1.5), ("a metre and a half", 1.5), ("a tenth of a metre", 0.1),
    ("two thirds of a metre", 0.666667), ("a couple of cm", 0.02), ("half a dozen cm", 0.06), ("two dozen cm", 0.24),
    ("one hundred fifty millimetres", 0.15), ("a thousand mm", 1.0), ("one thousand two hundred mm", 1.2),
    ("twelve hundred mm", 1.2), ("point five m", 0.5), ("nought point five m", 0.5), ("forty-two cm", 0.42),
    ("1 m 50 cm", 1.5), ("5 cm and 5 mm", 0.055), ("5 in", 0.127), ("2 feet 3 inches", 0.6858), ("1 km", 1000.0),
    ("３０ cm", None), ("1,500 mm", None), ("1.500 mm", None), ("1 500 mm", None), ("1, 5 cm", None),
    ("5 - 10 cm", None), ("10.5.2 cm", None), ("1,23,456 mm", None), ("1e2 cm", None), ("1m50", None), ("1 m 50",
    None), ("5 feet 3", None),
    ("two metres fifty", None), ('5"', None), ("2'", None), ("2'3\"", None), ("10² cm", None), ("1/0 m", None),
    ("-5 cm", None), ("−5 cm", None), ("+5 cm", None), ("±5 cm", None), ("minus 5 cm", None), ("minus five cm", None),
    ("5-10 cm", None), ("5–10 cm", None), ("1,5-2,5 cm", None), ("5 to 10 cm", None), ("between 5 and 10 cm", None),
    ("ten or twenty cm", None), ("ten twenty cm", None), ("5", None), ("five", None), ("5 pixels", None), ("5 %", None),
    ("5 degrees", None), ("half", None), ("a few cm", None), ("10 half cm", None), ("1234567890123 cm", None),
)  # fmt: skip


@pytest.mark.parametrize(("said", "metres"), LENGTHS)
def test_a_length_is_read_as_it_is_or_refused(said: str, metres: float | None) -> None:
    for template in ("put the cup {} left of the box", "the cup {} behind the box",
                     "grab the red cup that is {} from the plate"):  # fmt: skip
        words = template.format(said)
        if metres is None:
            with pytest.raises(NotUnderstoodError):
                parse(words)
            continue
        query = parse(words)[0]
        distance = query.destination.distance if query.destination is not None else query.target.relations[0].distance
        assert distance is not None, words
        assert distance.metres == pytest.approx(metres, abs=1e-6), words


def _grouped(digits: str, by: str) -> str:
    first = len(digits) % 3 or 3
    return by.join((digits[:first], *(digits[i : i + 3] for i in range(first, len(digits), 3))))


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 9_999_999),
    st.text("0123456789", max_size=4),
    st.sampled_from([("", "."), ("", ","), (",", "."), (".", ","), ("'", "."), ("\u202f", ",")]),
    st.sampled_from([("mm", 0.001), (" cm", 0.01), ("cm", 0.01), (" m", 1.0), (" inches", 0.0254)]),
)
def test_every_rendering_of_a_length_is_that_length_or_refused(
    whole: int, decimals: str, signs: tuple[str, str], unit: tuple[str, float]
) -> None:
    by, point = signs
    number = (_grouped(str(whole), by) if by else str(whole)) + (point + decimals if decimals else "")
    try:
        query = parse(f"put the cup {number}{unit[0]} left of the box")[0]
    except NotUnderstoodError:
        return
    assert query.destination is not None
    assert query.destination.distance is not None
    assert query.destination.distance.metres == pytest.approx(float(f"{whole}.{decimals or 0}") * unit[1], abs=1e-5)
    assert query.target.category == "cup"


_ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelled(n: int, joint: str, hyphen: str) -> str:
    """A number from 1 to 999,999 in words."""
    if n >= 1000:
        rest = n % 1000
        return spelled(n // 1000, joint, hyphen) + " thousand" + (f" {spelled(rest, joint, hyphen)}" if rest else "")
    if n >= 100:
        rest = n % 100
        return f"{_ONES[n // 100 - 1]} hundred" + (f"{joint}{spelled(rest, joint, hyphen)}" if rest else "")
    if n >= 20:
        return _TENS[n // 10 - 2] + (f"{hyphen}{_ONES[n % 10 - 1]}" if n % 10 else "")
    return _TEENS[n - 10] if n >= 10 else _ONES[n - 1]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 999_999), st.sampled_from([" ", " and "]), st.sampled_from([" ", "-"]))
def test_a_length_in_words_is_that_length(n: int, joint: str, hyphen: str) -> None:
    query = parse(f"put the cup {spelled(n, joint, hyphen)} mm left of the box")[0]
    assert query.destination is not None
    assert query.destination.distance is not None
    assert query.destination.distance.metres == pytest.approx(n * 0.001)


@given(st.integers(2, 999))
def test_counts_in_digits_and_in_words_are_the_same(n: int) -> None:
    counts = {parse(f"grab the {said} cups")[0].target.count for said in (str(n), spelled(n, " and ", "-"))}
    assert counts == {n}


ORDERS = [
    ("last", Ordinal(1, "right")),
    *((said, Ordinal(2, "right")) for said in ("next to last", "last but one", "penultimate", "second to last")),
    *((said, Ordinal(3, "right")) for said in ("third from last", "third from the last", "last but two")),
    ("second last", Ordinal(2, "right")),
    ("fourth last", Ordinal(4, "right")),
    *((said, Ordinal(21, "left")) for said in ("21st", "twenty-first", "twenty first")),
    ("100th", Ordinal(100, "left")),
]


@pytest.mark.parametrize(("said", "ordinal"), ORDERS)
def test_orders_may_be_large_and_from_the_end_count_from_the_other_side(said: str, ordinal: Ordinal) -> None:
    assert parse(f"grab the {said} chick from the left")[0].target.ordinal == ordinal


TEMPLATES = (
    "put the cup {} left of the box", "put the cup {} from the box", "put the cup within {} of the box",
    "put the cup at least {} from the box", "put the cup left of the box by {}", "put the cup left of the box, {} away",
    "put the cup at a distance of {} from the box", "move the cup {} to the left", "move the cup to the left by {}",
    "grab the cup {} behind the box", "grab the cup that is behind the box by {}", "where is the cup {} behind the box",
    "{} left of the box", "is the cup {} left of the box", "grab the cup next to the box with a gap of {}",
    "open the drawer and put the cup {} behind it", "the cup less than {} from the box",
)  # fmt: skip


def distances(phrase: NounPhrase) -> list[float]:
    found = [clause.distance.metres for clause in phrase.relations if clause.distance is not None]
    return found + [metres for clause in phrase.relations for anchor in clause.anchors for metres in distances(anchor)]


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_form_of_a_number_gives_a_wrong_length_anywhere(template: str) -> None:
    for said, metres in LENGTHS:
        try:
            query = parse(template.format(said))[0]
        except NotUnderstoodError:
            continue
        found = distances(query.target)
        if query.destination is not None and query.destination.distance is not None:
            found.append(query.destination.distance.metres)
        assert metres is not None, (template, said, found)
        assert found == pytest.approx([metres], abs=1e-6), (template, said)
