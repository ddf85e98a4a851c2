# SPDX-License-Identifier: Apache-2.0
"""Which choice a reply names, by the rules of published scorers."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.evaluation.benchmarks.choice_replies import (
    after_thinking,
    blink_choice,
    cambrian_answer,
    vlmevalkit_choice,
)

COLOURS = {"A": "red cup", "B": "blue cup"}


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("B", "(B)"),
        ("(B)", "(B)"),
        ("E", "(E)"),  # a lone letter needs no choice of that name
        ("(A) A is closer", "(A)"),
        ("(A) is far.\n\nSo it is (B)", "(B)"),  # the last paragraph decides
        ("(B) is near.\n\nThat is clear.", "(B)"),
        ("(A) or (B)", None),
        ("(C) it is", None),  # two choices: there is no C
        ("(B).", None),  # not a word of its own
        ("B is closer", None),
        ("", None),
    ],
)
def test_blink_reads_letters_in_brackets(reply: str, named: str | None) -> None:
    assert blink_choice(reply, 2) == named


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("B", "B"),
        ("B. blue cup", "B"),
        ("The answer: **B**", "B"),
        ("A cup that is blue stands here, so B", None),  # two letters
        ("B is right because of all the light", None),  # not among the last four words, and too long for a text
        ("The correct answer is **B**. Here is why: it is blue, as all can see.", "B"),
        ("the red cup", "A"),
        ("red cup, blue cup", None),
        ("Z", None),
        ("Cannot determine the answer, A", None),
        ("Failed to obtain answer via API", None),
        ("", None),
    ],
)
def test_vlmevalkit_reads_letters_then_texts(reply: str, named: str | None) -> None:
    assert vlmevalkit_choice(reply, COLOURS) == named


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ("(B)", "b"),
        ("B.", "b"),
        ("(B) can", "b"),
        ("Behind the can", "b"),
        ("The answer is (B).", "b"),
        ("Answer: B", "b"),
        ("The answer is: (B)", ":"),  # what stands behind "answer is" begins with a colon
        ("The answer is unclear. Answer: (A)", "a"),
        ("can", "c"),
        ("**B**", "*"),
        ("2", "2"),
        ("", ""),
        (".", ""),
    ],
)
def test_cambrian_takes_the_first_character(reply: str, named: str) -> None:
    assert cambrian_answer(reply) == cambrian_answer(reply, of_3d=True) == named


def test_cambrian_leaves_out_colons_of_3d_alone() -> None:
    assert (cambrian_answer(":"), cambrian_answer(":", of_3d=True)) == (":", "")


def test_thinking_is_passed_over() -> None:
    assert after_thinking("<think>A or B?</think>\n B") == "B"
    assert after_thinking("B") == "B"
