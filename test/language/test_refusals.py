# SPDX-License-Identifier: Apache-2.0
"""What is not understood (refusals.jsonl: theme, sentence, the part that is named, words of the reason), and what is
no instruction at all."""

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import MAX_LENGTH, parse, parse_dialogue

REFUSALS = rows("refusals")
TOO_MANY = [
    (" and ".join(["push the mug"] * 9), "more than 8 commands"),
    ("the mug" + " on the box" * 21, "more than 20 relations"),
    ("put the cup " + "9" * 900 + " cm left of the box", "no object to count and no unit"),
]


@pytest.mark.parametrize(("_theme", "said", "part", "reason"), REFUSALS, ids=[row[1][:80] for row in REFUSALS])
def test_what_is_not_understood_is_named(_theme: str, said: str, part: str | None, reason: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        parse(said)
    refusal = caught.value
    assert part is None or said[slice(*refusal.span)] == part
    assert reason in refusal.reason
    assert refusal.instruction == said
    assert refusal.repair


@pytest.mark.parametrize(("said", "reason"), TOO_MANY, ids=["commands", "relations", "digits"])
def test_more_than_the_limit_is_refused(said: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError, match=reason):
        parse(said)


def test_as_much_as_the_limit_is_read() -> None:
    assert 1 <= len(parse("the mug" + " on the box" * 20)) <= 64
    assert len(parse(" and ".join(["push the mug"] * 8))[0].steps) == 8
    assert parse("the mug" + " " * (MAX_LENGTH - 7))[0].target.category == "mug"


def test_spans_count_characters_of_the_original_text() -> None:
    instruction = "  Pick\tup \u201cthe\u201d MUG,  because…"
    with pytest.raises(NotUnderstoodError) as caught:
        parse(instruction)
    assert instruction[slice(*caught.value.span)] == "because"


def test_tabs_and_line_breaks_count_as_spaces() -> None:
    assert parse("pick\tup\nthe\r\nmug")[0].target.category == "mug"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *((f"pick up the {sign} mug", f"U\\+{ord(sign):04X}") for sign in "\x00\x07\x1b\x7f\x85\ud800"),
        ("the mug" + " " * (MAX_LENGTH - 6), "1001 characters"),
        ("put the cup " + "9" * 6000 + " cm left of the box", "6031 characters"),
        (None, "NoneType"),
        (b"the left one", "bytes"),
        (3, "int"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_text_of_the_allowed_length_is_an_input_error(words: object, told: str) -> None:
    """An instruction, an answer, or what was said before an answer."""
    with pytest.raises(InputError, match=told):
        parse(words)  # type: ignore[arg-type]
    for follows in ([], ["grab the mug"], ["grab the mug", "the left one"]):
        with pytest.raises(InputError, match=told):
            parse_dialogue(words, follows)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=told):
        parse_dialogue("the left one", [words])  # type: ignore[list-item]
