# SPDX-License-Identifier: Apache-2.0
"""Words: how they are cut, their singular, phrases found as if all patterns had been expanded, and that each counts."""

import dataclasses

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.lexicon import is_outside, is_participle
from spatial_vlm_ros.language.parser import account
from spatial_vlm_ros.language.patterns import Phrases, expand
from spatial_vlm_ros.language.words import WordRole, accounted, plural, singular, split
from spatial_vlm_ros.types import SpatialQuery


@pytest.mark.parametrize(("word", "one"), rows("singulars"))
def test_a_word_has_its_singular_which_is_that_of_its_plural(word: str, one: str) -> None:
    """Singulars and paired objects stay as they are."""
    assert singular(word) == one
    assert singular(plural(one)) == one


def test_words_remember_where_they_stand() -> None:
    text = "Grab the “left-hand” T-Shirt, it’s 1.5 m away!"
    words = split(text)
    assert [word.text for word in words] == [
        "grab", "the", "left", "hand", "t-shirt", ",", "it's", "1.5", "m", "away", "!",
    ]  # fmt: skip
    assert [text[word.start : word.end].lower().replace("’", "'") for word in words] == [word.text for word in words]


def test_slots_expand_to_all_phrases() -> None:
    assert sorted(expand("to|on the? left of")) == ["on left of", "on the left of", "to left of", "to the left of"]


PATTERNS = ("to|on the? left of", "the? left|right", "left", "a? b? c", "on|upon")


def test_phrases_have_the_kinds_of_all_their_patterns_and_the_first_value_of_each() -> None:
    made = Phrases()
    for number, pattern in enumerate(PATTERNS):
        made.add("REL" if number % 2 else "SIDE", number, (pattern,))
    made.add("REL", 8, ("left",))
    assert made.get("left") == {"REL": 1, "SIDE": 2}
    assert (made.get("right"), made.get("the"), made.get("on top")) == ({"REL": 1}, None, None)
    assert made.whole().keys() == {phrase for pattern in PATTERNS for phrase in expand(pattern)}
    made["to a place far beyond it"] = {"ADJ": 1}
    longest = {"to": 6, "on": 4, "the": 2, "left": 1, "right": 1, "a": 3, "b": 2, "c": 1, "upon": 1, "d": 0}
    assert {first: made.longest_from(first) for first in longest} == longest


SENTENCES = rows("counted_sentences")
SWALLOWED = frozenset(
    {"POLITE", "PLEASANTRY", "ADVERB", "INTENSIFIER", "PARTICLE", "POSTURE", "MEASURE", "SLIP", "DET", "QTY", "ALONE",
     "DIST", "IS", "THATIS", "FROM", "REL", "VERB", "SIDE", "OF", "AND", "BUT", "ADJ", "ORD", "PRON", "WHICH"}
)  # fmt: skip
"""What a word that changes nothing may have been taken for; a plain noun never is among it."""
NEVER_SILENT = ("not", "never", "no", "without", "except", "unless", "if", "or", "nor", "when", "until", "before",
                "after", "hardly", "barely", "half", "twice", "zero", "other", "most", "few")  # fmt: skip
INSERTED = (*NEVER_SILENT, "forward", "nearly", "alone", "together", "sleeping", "owned", "quickly", "please",
            "heavier", "three", "1.5", "once", "his", "could", "hope", "upward", "previous", "formerly",
            "cm")  # fmt: skip


def read(words: str) -> SpatialQuery | None:
    try:
        query = parse(words)[0]
    except (NotUnderstoodError, InputError):
        return None
    return dataclasses.replace(query, instruction="", preference=1.0, readings=1)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_further_word_changes_the_reading_or_is_refused_or_is_swallowed_by_name(sentence: str) -> None:
    words, before = sentence.split(), read(sentence)
    assert before is not None
    for word in INSERTED:
        for at in range(len(words) + 1):
            longer = " ".join((*words[:at], word, *words[at:]))
            if read(longer) != before:
                continue
            start = len(" ".join(words[:at])) + bool(at)
            roles = [role.role for role in account(longer) if role.start <= start < role.end]
            assert roles, longer
            assert SWALLOWED.issuperset(roles), longer
            said_twice = (words[at : at + 1] or words[at - 1 : at]) == [word] or word in words
            assert word not in NEVER_SILENT or said_twice, longer


def test_a_word_without_a_role_is_refused_with_its_place() -> None:
    words = "grab the cup"
    with pytest.raises(NotUnderstoodError) as caught:
        accounted(split(words), [WordRole(0, 4, "VERB"), WordRole(9, 12, "NOUN")], words)
    assert caught.value.span == (5, 8)


@pytest.mark.parametrize("word", ["mug", "jelly", "ring", "seed", "chest", "towel", "gizmo", "drill"])
def test_unknown_words_may_be_nouns(word: str) -> None:
    assert not is_outside(word, modifier=False)
    assert not is_participle(word)
