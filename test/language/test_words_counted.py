# SPDX-License-Identifier: Apache-2.0
"""Every word counts: it is a token, or a reviewed list swallows it; unknown words are nouns only in a noun's place."""

from __future__ import annotations

import dataclasses

import pytest

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.accounting import WordRole, check_accounted
from spatial_vlm_ros.language.parser import account
from spatial_vlm_ros.language.word_classes import is_outside, is_participle
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import SpatialQuery

SENTENCES = (
    "grab the cup behind the box", "put the red cup on the tray", "pick up the second mug from the left",
    "give me the bottle that is next to the plate", "move the can from the shelf to the table", "where is the spoon",
    "put the bowl 10 cm left of the can", "take the two cups from the tray", "the chick on the plate",
    "open the drawer and put the fork in it", "could you uh grab me the the one with the spoon in it, please?",
    "the closest mug to the camera", "the taller of the two mugs", "to the cup's left",
    "I want the mug to go on the tray",
    "with the mug on one side and the box on the other", "the mug that, from my side, is left of the box",
    "grab the cup left of the box by 10 cm, from my point of view", "bottle number three from the right",
)  # fmt: skip
SWALLOWED = frozenset(
    {"POLITE", "PLEASANTRY", "ADVERB", "INTENSIFIER", "PARTICLE", "POSTURE", "MEASURE", "SLIP", "DET", "QTY", "ALONE",
     "DIST", "IS", "THATIS", "FROM", "REL", "VERB", "SIDE", "OF", "AND", "BUT", "ADJ", "ORD", "PRON", "WHICH",
     "REWRITTEN"}
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
def test_every_word_of_a_sentence_has_a_role(sentence: str) -> None:
    roles = account(sentence)
    for word in split(sentence):
        assert any(role.start <= word.start < role.end for role in roles), word


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
        check_accounted(split(words), [WordRole(0, 4, "VERB"), WordRole(9, 12, "NOUN")], words)
    assert caught.value.span == (5, 8)


@pytest.mark.parametrize("word", ["mug", "jelly", "ring", "seed", "chest", "towel", "gizmo", "drill"])
def test_unknown_words_may_be_nouns(word: str) -> None:
    assert not is_outside(word, modifier=False)
    assert not is_participle(word)
