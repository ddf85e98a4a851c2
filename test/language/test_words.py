# SPDX-License-Identifier: Apache-2.0
"""Words: how they are cut, and their singular."""

import pytest

from spatial_vlm_ros.language.inflection import plural, singular
from spatial_vlm_ros.language.patterns import expand
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
