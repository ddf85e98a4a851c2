# SPDX-License-Identifier: Apache-2.0
"""Every way of writing a length (lengths.jsonl; null is refused) is read as it is, in every form of a sentence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_outline import rows

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.distances import distance_at, say_distance
from spatial_vlm_ros.language.steps import by_step
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import Distance, NounPhrase

LENGTHS, FORMS = rows("lengths"), rows("length_forms")


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
    number = (f"{whole:,}".replace(",", by) if by else str(whole)) + (point + decimals if decimals else "")
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


def distances(phrase: NounPhrase) -> list[float]:
    found = [clause.distance.metres for clause in phrase.relations if clause.distance is not None]
    return found + [metres for clause in phrase.relations for anchor in clause.anchors for metres in distances(anchor)]


@pytest.mark.parametrize("template", FORMS)
def test_no_form_of_a_number_gives_a_wrong_length_anywhere(template: str) -> None:
    for said, metres in LENGTHS:
        try:
            query = parse(template.format(said))[0]
        except NotUnderstoodError:
            continue
        found = []
        for step in by_step(query):
            found += distances(step.target)
            if step.destination is not None and step.destination.distance is not None:
                found.append(step.destination.distance.metres)
        assert metres is not None, (template, said, found)
        assert found == pytest.approx([metres], abs=1e-6), (template, said)


@given(
    st.integers(0, 99_999_999).map(lambda micrometres: round(micrometres * 1e-6, 6)),
    st.sampled_from(("about", "at most", "at least")),
)
def test_a_distance_in_words_is_read_as_the_same(metres: float, bound: str) -> None:
    distance = Distance(metres, bound)  # type: ignore[arg-type]
    said = distance_at([word.text for word in split(say_distance(distance))], 0)
    assert said is not None
    assert said.distance == distance
