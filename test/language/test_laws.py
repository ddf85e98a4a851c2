# SPDX-License-Identifier: Apache-2.0
"""Laws of sentences (research/laws.py) on a few sentences of each; the sweep is marked slow."""

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.sentence_faults import judge_answer
from research.laws import ANSWERS, BROKEN, KEPT, LAWS, NOTHING, case, number_format, readings, tried
from spatial_vlm_ros.language import parse

FEW = range(60)
MANY = range(1000, 4000)
SCENES = range(30)
SWEPT_SCENES = range(1000, 1500)
LEAST = {"courtesy": 40, "inserted negation": 12}
"""Of FEW sentences, how many have something to change, at least; of the others 45."""
BROKEN_AT_MOST = 0.002
"""Share of a sweep's sentences that may break a law; what is found there is fixed."""


@pytest.mark.parametrize("name", LAWS)
def test_laws_of_sentences_hold(name: str) -> None:
    outcomes = list(tried(name, FEW))
    assert [outcome for outcome in outcomes if outcome.came == BROKEN] == []
    assert sum(outcome.came != NOTHING for outcome in outcomes) >= LEAST.get(name, 45)


@pytest.mark.parametrize("scenes", [SCENES[:10], pytest.param(SCENES, marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize("name", ANSWERS)
def test_laws_of_answers_hold(name: str, scenes: range) -> None:
    outcomes = list(tried(name, scenes))
    assert [outcome for outcome in outcomes if outcome.came == BROKEN] == []
    assert Counter(outcome.came for outcome in outcomes)[KEPT] >= 1


@pytest.mark.parametrize("name", LAWS)
def test_every_sentence_of_the_sample_is_answered_on_a_scene(name: str) -> None:
    said = [text for outcome in tried(name, FEW[:12]) for text in (outcome.said, outcome.varied)]
    asked = [(text, parse(text)) for text in said if text and readings(text) is not None]
    assert len(asked) > 10
    for text, found in asked:
        fault = judge_answer(text, found, slowest_ms=math.inf).fault
        assert fault is None, fault


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_laws_of_sentences_hold_of_many(name: str) -> None:
    outcomes = list(tried(name, MANY))
    broken = [outcome for outcome in outcomes if outcome.came == BROKEN]
    assert len(broken) <= BROKEN_AT_MOST * len(outcomes), broken


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_laws_of_answers_hold_of_many(name: str) -> None:
    broken = [outcome for outcome in tried(name, SWEPT_SCENES) if outcome.came == BROKEN]
    assert len(broken) <= BROKEN_AT_MOST * len(SWEPT_SCENES), broken


CARELESS: dict[str, tuple[Callable[[str], str], str]] = {
    "loses not": (lambda text: text.replace("not ", ""), "inserted negation"),
    "minds capitals": (lambda text: text if text.islower() else f"{text} behind the zebra", "case"),
    "minds politeness": (lambda text: text.replace("please", "behind the zebra"), "courtesy"),
    "rounds numbers": (lambda text: re.sub(r"\d+", "7", text), "number format"),
    "minds which noun": (lambda text: text.replace("the spoon", "the spoon behind it"), "exchanged nouns"),
}


@pytest.mark.parametrize("fault", CARELESS)
def test_a_broken_law_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, name = CARELESS[fault]
    monkeypatch.setattr("research.laws.parse", lambda text: parse(spoil(text)))
    assert BROKEN in {outcome.came for outcome in tried(name, FEW)}


def test_readings_are_compared_without_their_words() -> None:
    assert readings("grab the mug 10 cm left of the box") == readings("Take the mug ten centimetres left of the box!")
    assert readings("grab the mug") != readings("grab the cup")
    assert readings("der Becher hinter der Kiste") is None


def test_what_cannot_be_changed_is_not() -> None:
    assert number_format(np.random.default_rng(0), "grab the mug") is None
    assert case(np.random.default_rng(1), "grab the mug").lower() == "grab the mug"
