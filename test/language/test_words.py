# SPDX-License-Identifier: Apache-2.0
"""Words: how they are cut, their singular, and phrases of patterns, found as if all patterns had been expanded."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from spatial_vlm_ros.language.inflection import plural, singular
from spatial_vlm_ros.language.patterns import expand, first_words, phrases_from, slots_of
from spatial_vlm_ros.language.phrase_index import PhraseIndex
from spatial_vlm_ros.language.vocabulary import _vocabulary, phrase_table
from spatial_vlm_ros.language.words import split


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("mugs", "mug"), ("boxes", "box"), ("glasses", "glass"), ("knives", "knife"), ("cookies", "cookie"),
        ("berries", "berry"), ("dishes", "dish"), ("watches", "watch"), ("vases", "vase"), ("buses", "bus"),
        ("tomatoes", "tomato"), ("shoes", "shoe"), ("shelves", "shelf"), ("mice", "mouse"), ("people", "person"),
        ("keys", "key"), ("toys", "toy"), ("pies", "pie"), ("lenses", "lens"), ("cacti", "cactus"),
        ("bananas", "banana"), ("houses", "house"), ("purses", "purse"), ("wrenches", "wrench"), ("photos", "photo"),
    ],
)  # fmt: skip
def test_plurals_become_singular(many: str, one: str) -> None:
    assert singular(many) == one


@pytest.mark.parametrize(
    "word",
    ["glass", "bus", "scissors", "tongs", "pliers", "jeans", "hummus", "asparagus", "cactus", "lens", "canvas",
     "tennis", "compass", "lay's", "gas", "fish", "mug", "as", "octopus", "thermos"],
)  # fmt: skip
def test_singulars_and_paired_objects_stay_as_they_are(word: str) -> None:
    assert singular(word) == word


@pytest.mark.parametrize("word", ["mug", "box", "knife", "cookie", "berry", "tomato", "photo", "glass", "scissors"])
def test_the_singular_of_the_plural_is_the_word(word: str) -> None:
    assert singular(plural(word)) == word


def test_words_remember_where_they_stand() -> None:
    text = "Grab the “left-hand” T-Shirt, it’s 1.5 m away!"
    words = split(text)
    assert [word.text for word in words] == [
        "grab", "the", "left", "hand", "t-shirt", ",", "it's", "1.5", "m", "away", "!",
    ]  # fmt: skip
    assert [text[word.start : word.end].lower().replace("’", "'") for word in words] == [word.text for word in words]


def test_slots_expand_to_all_phrases() -> None:
    assert sorted(expand("to|on the? left of")) == ["on left of", "on the left of", "to left of", "to the left of"]


# ------------------------------------------------------------------------------------------------ phrases of patterns

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
