# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from spatial_vlm_ros.perception.labels import (
    HEAD_ONLY,
    HYPERNYM,
    LESS_SPECIFIC,
    NONE,
    PART,
    SAME,
    SYNONYM,
    label_fit,
    label_match,
)
from spatial_vlm_ros.types import Detection, NounPhrase


def detections(*labels: str) -> tuple[Detection, ...]:
    return tuple(Detection(f"d{n}", label, 1.0, (0, 0, 10, 10)) for n, label in enumerate(labels))


def best(category: str, *labels: str) -> list[str]:
    """The labels a phrase may mean, among those in view."""
    match = label_match([NounPhrase(category)], detections(*labels))[0]
    return [label for label, fit in zip(labels, match, strict=True) if fit >= 0.3]


# ------------------------------------------------------------------------------------------------ one label


@pytest.mark.parametrize(
    ("category", "label", "fit"),
    [
        ("cup", "cup", SAME),
        ("soup can", "soup can", SAME),
        ("can", "soup can", SAME),
        ("wipes", "wipes canister", PART),
        ("spam", "spam can", PART),
        ("mug", "cup", SYNONYM),
        ("tin", "can", SYNONYM),
        ("bunny", "rabbit", SYNONYM),
        ("coffee mug", "coffee cup", SYNONYM),
        ("fruit", "apple", HYPERNYM),
        ("container", "bowl", HYPERNYM),
        ("tool", "screwdriver", HYPERNYM),
        ("toy", "car", HYPERNYM),
        ("soup can", "can", HEAD_ONLY),
        ("soup can", "tin can", HEAD_ONLY),
        ("kitchen rack", "metal rack", HEAD_ONLY),
        ("cabinet", "chest of drawers", SYNONYM),
        ("cracker box", "box of crackers", SAME),
        ("scissors", "pair of scissors", SAME),
        ("cream cheese box", "cream cheese", SYNONYM),
        ("bbq sauce", "sauce bottle", HEAD_ONLY),
        ("frying pan", "saucepan", NONE),
        ("moka pot", "tea pot", NONE),
        ("apple", "fruit", LESS_SPECIFIC),
        ("cup", "object", LESS_SPECIFIC),
        ("cup", "bowl", NONE),
        ("soup can", "tuna can", NONE),
        ("banana", "apple", NONE),
        ("cup", "", NONE),
        ("red bull can", "soup can", NONE),
    ],
)
def test_a_label_fits_as_far_as_it_says_the_same(category: str, label: str, fit: float) -> None:
    assert label_fit(category, label) == fit


@pytest.mark.parametrize("category", ["object", "thing", "item"])
@pytest.mark.parametrize("label", ["cup", "soup can", "banana"])
def test_an_object_may_be_anything(category: str, label: str) -> None:
    assert label_fit(category, label) == SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [("box", "boxes"), ("scissors", "scissor"), ("berry", "berries"), ("glass", "glasses"), ("dish", "dishes"),
     ("tomato", "tomatoes"), ("battery", "batteries"), ("brush", "brushes"), ("cup", "cups"), ("toy car", "toy cars")],
)  # fmt: skip
def test_plurals_are_the_same_word(one: str, other: str) -> None:
    assert label_fit(one, other) == SAME
    assert label_fit(other, one) == SAME


@pytest.mark.parametrize("label", ["Soup Can", "soup-can", "soup_can", "SOUP CANS"])
def test_writing_does_not_matter(label: str) -> None:
    assert label_fit("soup can", label) == SAME
    assert label_fit("can", label) == SAME


def test_attributes_of_the_detector_may_stand_for_modifiers() -> None:
    assert label_fit("coffee cup", "cup", ("coffee",)) == SAME
    assert label_fit("coffee cup", "cup", ("paper",)) == HEAD_ONLY


def test_a_modifier_is_not_a_head() -> None:
    assert label_fit("can opener", "can") < SAME
    assert label_fit("can", "can opener") == NONE, "a thing of its own, and no can holds an opener"
    assert label_fit("spam", "spam can") == PART, "what a holder holds, weaker than a head"
    assert label_fit("cup", "cup") > label_fit("cup", "cup holder")


@pytest.mark.parametrize("pair", [("cup", "mug"), ("box", "package"), ("bottle", "flask"), ("chick", "chicken")])
def test_synonyms_go_both_ways(pair: tuple[str, str]) -> None:
    assert label_fit(*pair) == label_fit(*reversed(pair)) == SYNONYM


# ------------------------------------------------------------------------------------------------ among others


def test_the_most_specific_sense_in_view_wins() -> None:
    assert best("container", "cup", "can", "container") == ["container"]
    assert best("container", "cup", "can", "banana") == ["cup", "can"]
    assert best("cup", "mug", "cup") == ["cup"]
    assert best("cup", "mug", "bowl") == ["mug"]
    assert best("mug", "cup", "mug", "object") == ["mug"]
    assert best("fruit", "apple", "banana", "cup") == ["apple", "banana"]


def test_a_named_can_is_not_the_other_can() -> None:
    assert best("soup can", "soup can", "tuna can") == ["soup can"]
    assert best("soup can", "tuna can", "can") == ["can"], "a label that says less may be it"
    assert best("soup can", "tuna can", "cup") == []
    assert best("can", "soup can", "tuna can") == ["soup can", "tuna can"]


def test_each_phrase_is_matched_for_itself() -> None:
    match = label_match([NounPhrase("cup"), NounPhrase("can")], detections("soup can", "cup"))
    assert match.shape == (2, 2)
    assert match.argmax(axis=1).tolist() == [1, 0]


def test_nothing_seen_matches_nothing() -> None:
    assert label_match([NounPhrase("cup")], ()).shape == (1, 0)
    assert label_match([], detections("cup")).shape == (0, 1)


def test_fits_are_probabilities() -> None:
    words = ["cup", "soup can", "object", "fruit", "", "glass", "glasses", "a b c d", "toy", "pen"]
    assert all(0.0 <= label_fit(a, b) <= 1.0 for a in words for b in words)
