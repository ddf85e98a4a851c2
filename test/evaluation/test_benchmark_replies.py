# SPDX-License-Identifier: Apache-2.0
"""Which option a reply names, and how a model is asked: by likelihood, by reply, by choice, by pointing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.evaluation.benchmarks.asking import BenchmarkModel, prompt_of
from spatial_vlm_ros.evaluation.benchmarks.images import ImageFile
from spatial_vlm_ros.evaluation.benchmarks.masks import MaskTruth, share_inside
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkItem, ChoiceTruth
from spatial_vlm_ros.evaluation.benchmarks.reply_reading import read_choice
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.perception.replier import PromptReply
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import Rgb

SIDES = ("left", "right", "behind", "left of it")
RGB = np.zeros((100, 200, 3), np.uint8)
ITEM = BenchmarkItem("k", ImageFile(Path("x.png")), "Where is the cup?", ChoiceTruth(("left", "right"), 1))
POINT = BenchmarkItem("p", ImageFile(Path("x.png")), "Point at the cup.", MaskTruth(ImageFile(Path("m.png"))),
                      phrase="the cup")  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("left", 0), ("Left.", 0), (" **Right** ", 1), ('"behind"', 2),
        ("B", 1), ("(b)", 1), ("B.", 1), ("C) behind", 2), ("A: left", 0), ("B right", 1), ("(D) left of it.", 3),
        ("The cup is behind the can.", 2), ("It is left of it", 3), ("The answer is (B).", 1), ("Answer: right", 1),
        ("<think>left? A</think>\nB", 1), ("left or right? The answer is: right", 1), ("<answer>C</answer>", 2),
        ("\xa0B", 1), ("<s> B", 1), ("<s>right</s>", 1), ("C<|im_end|>", 2), ("（A）", 0), ("Ｂ", 1),
        ("<s> A cup", None), ("I choose (C) because it hides", 2), ("Final answer is B because the cup", None),
        ("A cup stands there", None), ("left or right", None), ("(A) or (B)", None), ("E", None), ("F. above", None),
        ("", None), ("Behold", None), ("Bright", None), ("upright", None), ("...", None), ("\x00\x1b[31m", None),
    ],
)  # fmt: skip
def test_a_reply_names_one_option_or_none(reply: str, choice: int | None) -> None:
    assert read_choice(reply, SIDES) == choice


def test_yes_and_no_are_read_in_a_sentence() -> None:
    assert read_choice("Yes, the cat is on the mat.", ("yes", "no")) == 0
    assert read_choice("No.", ("yes", "no")) == 1
    assert read_choice("I cannot say, yes or no", ("yes", "no")) is None
    assert read_choice("A", ("yes", "no")) == 0


def test_options_that_are_one_letter_are_texts_before_they_are_letters() -> None:
    assert read_choice("B", ("B", "A")) == 0
    assert read_choice("3", ("2", "3")) == 1
    assert read_choice("There are 3 cups", ("2", "3", "13")) == 1


class _Scorer:
    def __init__(self, *scores: float) -> None:
        self.values, self.asked = scores, list[tuple[str, tuple[str, ...]]]()

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:  # noqa: ARG002
        self.asked.append((question, tuple(choices)))
        return list(self.values)


class _Talker:
    convention = CONVENTIONS["thousand"]

    def __init__(self, text: str) -> None:
        self.text, self.prompts = text, list[str]()

    def reply(self, rgb: Rgb, prompt: str) -> PromptReply:  # noqa: ARG002
        self.prompts.append(prompt)
        return PromptReply(self.text, (200, 100), True)


class _Pointer:
    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002
        assert words == "the cup"
        return (NamedObject("", None, (50.0, 25.0), None), NamedObject("", (100.0, 0.0, 200.0, 100.0), None, None))


class _Chooser:
    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        return "neither"


def test_the_likeliest_option_is_the_answer() -> None:
    scorer = _Scorer(-2.0, -1.0)
    model = BenchmarkModel("m", scorer)
    assert model.way_of(ITEM) == "likelihood"
    assert model.answer(ITEM, RGB).choice == 1
    assert scorer.asked == [("Where is the cup?", ("left", "right"))]
    for wrong in ((-1.0,), (-1.0, float("nan"))):
        with pytest.raises(ModelError, match="likelihoods"):
            BenchmarkModel("m", _Scorer(*wrong)).answer(ITEM, RGB)


def test_a_reply_is_asked_for_with_letters_or_by_the_published_prompt() -> None:
    talker = _Talker("(B)")
    answer = BenchmarkModel("m", talker).answer(ITEM, RGB)
    assert (answer.choice, answer.text) == (1, "(B)")
    listed = "Where is the cup?\n(A) left\n(B) right\nAnswer with the letter of one option and nothing else."
    assert talker.prompts == [listed]
    published = BenchmarkItem("k", ITEM.image, "q", ITEM.truth, prompt="as published")
    assert prompt_of(published) == "as published"
    assert BenchmarkModel("m", _Talker("neither")).answer(ITEM, RGB).choice is None


def test_points_are_fractions_of_the_image_however_they_are_given() -> None:
    assert BenchmarkModel("m", _Pointer()).answer(POINT, RGB).points == ((0.25, 0.25), (0.75, 0.5))
    assert BenchmarkModel("m", _Talker("[(0.25, 0.5)]")).answer(POINT, RGB).points == ((0.25, 0.5),)
    thousandths = BenchmarkModel("m", _Talker('[{"point_2d": [250, 500], "label": "cup"}]')).answer(POINT, RGB)
    assert thousandths.points == ((0.25, 0.5),)
    assert BenchmarkModel("m", _Talker("I see no way to say it, really: cup")).answer(POINT, RGB).points == ()


def test_a_model_is_asked_as_it_can_be_or_as_is_said() -> None:
    both: Any = type("Both", (_Scorer, _Talker), {})(-1.0, -2.0)
    both.text, both.prompts = "right", []
    assert BenchmarkModel("m", both).answer(ITEM, RGB).choice == 0
    assert BenchmarkModel("m", both, "reply").answer(ITEM, RGB).choice == 1
    assert BenchmarkModel("m", _Chooser()).answer(ITEM, RGB).choice is None
    with pytest.raises(UnknownNameError, match="likelihood, reply, choice, refer"):
        BenchmarkModel("m", both, "guess")
    for backend, asked in ((object(), ""), (_Pointer(), "reply"), (_Scorer(), "refer")):
        with pytest.raises(InputError, match="ways to ask"):
            BenchmarkModel("m", backend, asked)
    with pytest.raises(InputError, match="cannot return points"):
        BenchmarkModel("m", _Scorer()).answer(POINT, RGB)
    with pytest.raises(InputError, match="cannot choose among options"):
        BenchmarkModel("m", _Pointer()).answer(ITEM, RGB)


def test_points_count_by_the_pixels_that_they_lie_in() -> None:
    mask = np.zeros((10, 20), bool)
    mask[:, :10] = True
    assert share_inside([(0.0, 0.0), (0.5, 0.5)], mask) == 0.5
    assert share_inside([(0.2, 1.0), (-0.001, 0.5), (1e9, -1e9)], mask) == 0.0
    assert share_inside([], mask) == 0.0
    with pytest.raises(InputError, match="finite"):
        share_inside([(float("nan"), 0.5)], mask)
