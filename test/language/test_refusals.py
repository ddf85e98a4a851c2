# SPDX-License-Identifier: Apache-2.0
"""What is not understood and why, which of it may be put to a model that points, and what is understood of it.

refusals.jsonl: theme, sentence, the part that is named, words of the reason; free_shape.jsonl and free_sentences.jsonl:
words, and why they are held back or null.
"""

import re
from pathlib import Path

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import MAX_LENGTH, parse, parse_dialogue, refusals
from spatial_vlm_ros.language.free_words import OPENINGS, PartialReading, held_back, partial_reading
from spatial_vlm_ros.language.lexicon import ACTIONS, WISHES
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.spatial.dialogue_turns import take

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


def test_every_reason_is_in_the_table_and_used() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(refusals.__file__).parent.glob("*.py"))
    named = set(re.findall(r'(?<![.\w])refused\(\s*[\w.]+,\s+"([^"]+)"', source)) | {"no place", "needs place"}
    # Which of these is told is chosen there.
    beside = {"else", "ends", "steps or words", "also", "from", "placed", "unattached"}
    assert named - refusals._REASONS.keys() == set()
    assert refusals._READ["reasons"].keys() - named == beside


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


SAID = rows("free_shape") + rows("free_sentences")


def refused(words: str) -> NotUnderstoodError:
    with pytest.raises(NotUnderstoodError) as error:
        parse(words)
    return error.value


def reading(words: str) -> PartialReading:
    return partial_reading(words, refused(words).span)


@pytest.mark.parametrize(("words", "reason"), SAID, ids=[words for words, _ in SAID])
def test_a_request_for_one_object_may_be_put_to_a_model_and_all_else_says_why_not(
    words: str, reason: str | None
) -> None:
    with pytest.raises(NotUnderstoodError) as refusal:
        take(words)
    why = held_back(words, refusal.value.kind)
    if reason is None:
        assert (refusal.value.kind, why) == ("unknown words", None)
    else:
        assert why is not None
        assert any(part in why for part in reason.split("|")), why


@pytest.mark.parametrize("words", ["grab the second chick", "bring the cup closer", "grab the cup tomorrow", "pick up"])
def test_what_the_grammar_refuses_on_purpose_is_no_unknown_word(words: str) -> None:
    assert refused(words).kind == "refused"
    assert held_back("grab the mug that I love", "refused") is not None


def test_openings_are_ways_of_the_grammar_to_pick_up_give_or_find() -> None:
    patterns = (*ACTIONS["pick"], *ACTIONS["give"], *ACTIONS["find"], *WISHES)
    assert {phrase for pattern in patterns for phrase in expand(pattern)} >= OPENINGS


def test_attributes_order_and_sides_are_read_or_named_as_unread() -> None:
    def read(words: str) -> tuple[str, tuple[str, ...], str | None, tuple[str, ...]]:
        said = partial_reading(words, refused(words).span)
        head = said.head
        return ("", (), None, said.unread) if head is None else (
            head.category, head.attributes, head.superlative, said.unread
        )  # fmt: skip

    assert read("the red thing that I love") == ("object", ("red",), None, ())
    assert read("something red that I love") == ("object", ("red",), None, ())
    assert read("the leftmost thing that I love") == ("object", (), "leftmost", ())
    assert read("the chick on the left that I love") == ("chick", (), "leftmost", ())
    assert read("the chick that I love on the right") == ("chick", (), None, ("on the right",))
    assert read("the second chick that I love from the left") == ("chick", (), None, ("from the left",))
    second = partial_reading("the second chick that I love", refused("the second chick that I love").span).head
    assert second is not None
    assert second.ordinal is not None
    assert read("look for what I would wear in the rain") == ("", (), None, ())


def test_a_relation_that_cannot_be_judged_leaves_the_rest_of_the_words_read() -> None:
    said = partial_reading("grab the red chick parallel to the cup", (0, 38))
    assert said.head is not None
    assert (said.head.category, said.head.attributes) == ("chick", ("red",))
    assert [clause.relation for clause in said.clauses] == ["parallel to"]


def test_the_noun_before_what_was_refused_is_known() -> None:
    said = reading("pick up the red mug that I love").head
    assert said is not None
    assert (said.category, said.attributes) == ("mug", ("red",))
    assert reading("grab me the thing I drink my coffee from") == PartialReading()
    assert reading("take what I use to open bottles").head is None  # "take" alone would be read as a noun
    assert reading("gib mir die rote Tasse hinter der Schachtel") == PartialReading()


def test_relations_before_and_behind_what_was_refused_are_known() -> None:
    def relations(words: str) -> list[tuple[str, str]]:
        return [(clause.relation, clause.anchors[0].category) for clause in reading(words).clauses]

    assert relations("the thing that I drink coffee from left of the box") == [("left of", "box")]
    assert relations("take what people usually write with, behind the cup") == [("behind", "cup")]
    assert relations("the mug behind the plate that I love") == [("behind", "plate")]
    assert relations("grab the mug that my brother left on the table yesterday") == []


def test_a_thousand_characters_are_looked_at_as_well() -> None:
    words = ("hand me the thing I love " + "behind the cup that I see " * 40)[:1000]
    assert held_back(words) is None
    (clause,) = reading(words).clauses
    assert (clause.relation, clause.anchors[0].category) == ("behind", "cup")


@pytest.mark.parametrize(("said", "_why"), rows("not_spoken"), ids=[row[0] for row in rows("not_spoken")])
def test_speech_that_changes_a_command_is_not_left_out(said: str, _why: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(said)


@pytest.mark.parametrize(("said", "rewrite"), rows("left_to_rewriting"))
def test_constructions_outside_the_page_are_refused_and_have_a_plain_form(said: str, rewrite: str | None) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(said)
    assert rewrite is None or parse(rewrite)
