# SPDX-License-Identifier: Apache-2.0
"""Words: how they are cut, their singular, phrases found as if all patterns had been expanded, and that each counts."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.lexicon import is_outside, is_participle
from spatial_vlm_ros.language.parser import account
from spatial_vlm_ros.language.patterns import expand, first_words, phrases_from, slots_of
from spatial_vlm_ros.language.phrase_index import PhraseIndex
from spatial_vlm_ros.language.vocabulary import _vocabulary, phrase_table
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


def index() -> PhraseIndex:
    made = PhraseIndex()
    for number, pattern in enumerate(PATTERNS):
        made.add("REL" if number % 2 else "SIDE", number, pattern)
    return made


def expanded() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for number, pattern in enumerate(PATTERNS):
        for phrase in expand(pattern):
            found.setdefault(phrase, {}).setdefault("REL" if number % 2 else "SIDE", number)
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_phrases_by_their_first_words_are_all_phrases(pattern: str) -> None:
    slots = slots_of(pattern)
    found = [" ".join(words) for first in first_words(slots) for words in phrases_from(slots, first)]
    assert sorted(found) == sorted(expand(pattern))


def test_every_phrase_is_found_whether_it_is_looked_up_or_listed() -> None:
    wanted = expanded()
    assert {phrase: index()[phrase] for phrase in wanted} == wanted
    assert dict(index()) == wanted
    assert len(index()) == len(wanted)
    assert index().longest == 4
    assert {first: index().longest_from(first) for first in ("to", "the", "left", "b", "c", "of", "")} == {
        "to": 4, "the": 2, "left": 1, "b": 2, "c": 1, "of": 0, "": 0,
    }  # fmt: skip


@pytest.mark.parametrize("phrase", ["", "the", "left of", "to the", "of", "the left of"])
def test_what_is_no_phrase_is_not_found(phrase: str) -> None:
    made = index()
    assert made.get(phrase) is None
    assert phrase not in made
    with pytest.raises(KeyError):
        made[phrase]


def test_later_words_and_changes_count_after_a_look_up() -> None:
    made = index()
    assert made["left"] == {"REL": 1, "SIDE": 2}
    made.add("NOUN", 7, "left hand?")
    made.add("REL", 8, "left")  # the first value stays
    assert made["left"] == {"REL": 1, "SIDE": 2, "NOUN": 7}
    assert made["left hand"] == {"NOUN": 7}
    assert made.longest_from("left") == 2
    made["left"] = {"ADJ": 9}
    del made["right"]
    assert made["left"] == {"ADJ": 9}
    assert made.get("right") is None
    made["to a place far beyond it"] = {"ADJ": 1}
    assert (made.longest, made.longest_from("to")) == (6, 6)
    assert made["to left of"] == {"SIDE": 0}


def test_a_sentence_expands_few_of_the_phrases() -> None:
    phrase_table.cache_clear()
    _vocabulary.cache_clear()
    table, _ = phrase_table()
    assert "to the left of" in table
    assert len(table._known) < 5000
    assert len(table) > 20_000


def test_threads_find_the_same() -> None:
    wanted = expanded()
    for _ in range(20):
        made = index()
        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(lambda known: {phrase: known[phrase] for phrase in wanted}, made) for _ in range(4)]
        assert [task.result() for task in tasks] == [wanted] * 4


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
        accounted(split(words), [WordRole(0, 4, "VERB"), WordRole(9, 12, "NOUN")], words)
    assert caught.value.span == (5, 8)


@pytest.mark.parametrize("word", ["mug", "jelly", "ring", "seed", "chest", "towel", "gizmo", "drill"])
def test_unknown_words_may_be_nouns(word: str) -> None:
    assert not is_outside(word, modifier=False)
    assert not is_participle(word)
