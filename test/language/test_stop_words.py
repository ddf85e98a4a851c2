# SPDX-License-Identifier: Apache-2.0
"""Words that ask to stop are a request of their own, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.language import parse, parse_dialogue, render, stops
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.stopping import AROUND, PLAIN, STOPPING
from spatial_vlm_ros.types.query import STOP

REQUESTS = (
    "stop", "STOP!!!", "please stop", "robot, stop", "stop it", "stop that now", "stop the robot", "stop moving",
    "halt", "freeze", "abort", "abort the mission", "cancel that", "hold it", "hold on a second", "wait",
    "wait wait wait",
    "never mind", "nevermind", "that's enough", "that is enough, thanks", "enough", "forget it", "leave it", "whoa",
    "don't move", "do not move", "stand still", "emergency stop", "e-stop", "stoooop", "no no, stop!", "oh no stop",
    "ok stop now please", "stop what you are doing", "stop grabbing the cup", "stop, grab the plate", "I said stop",
    "stop and put the cup down", "grab the plate, stop!", "grab the plate. Stop.", "grab the plate stop",
    "could you please stop", "I want you to stop", "hands off", "cut it out", "stop at once",
)  # fmt: skip
ORDERS_AND_OTHERS = (
    "grab the stop sign", "press the stop button", "the stop sign behind the box", "don't stop", "do not stop",
    "never mind the cup", "never mind, grab the cup", "hold the cup", "leave the cup on the table", "wait for me", "no",
    "yes", "no wait, the box", "the other one", "grab the bus stop", "drop it", "take it", "watch the cup",
    "move it there", "leave it on the table", "hold it above the plate", "", "   ", "?", "without stopping",
    "neither", "enough room",
)  # fmt: skip


@pytest.mark.parametrize("words", REQUESTS)
def test_a_request_to_stop_is_one(words: str) -> None:
    (query,) = parse(words)
    assert stops(words)
    assert query.action == STOP
    assert query.destination is None


@pytest.mark.parametrize("words", ORDERS_AND_OTHERS)
def test_other_words_are_none(words: str) -> None:
    assert not stops(words)


@pytest.mark.parametrize("pattern", STOPPING)
def test_every_phrase_of_the_list_stops_in_any_form(pattern: str) -> None:
    for phrase in expand(pattern):
        for words in (phrase, phrase.upper() + "!", f"please {phrase}", f"robot, {phrase} now", f"{phrase}, {phrase}!"):
            assert stops(words), words


@given(st.sampled_from(sorted(PLAIN)), st.lists(st.sampled_from(sorted(AROUND - PLAIN)), max_size=4))
def test_polite_words_before_a_plain_one_change_nothing(word: str, before: list[str]) -> None:
    assert stops(" ".join((*before, word)))


def test_a_request_to_stop_answers_no_question() -> None:
    (query,) = parse_dialogue("halt", follows=["grab the chick", "the red one"])
    assert query.action == STOP


def test_a_request_to_stop_can_be_rendered() -> None:
    assert parse(render(parse("stop")[0]))[0].action == STOP


@pytest.mark.parametrize("words", [None, 7, "a" * 5000, "\x00stop"])
def test_anything_may_be_asked_about(words: object) -> None:
    assert stops(words) in (True, False)  # type: ignore[arg-type]
