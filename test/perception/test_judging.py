# SPDX-License-Identifier: Apache-2.0
"""Questions about relations: how they are put, and which answers are no opinion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.judging import (
    CHOICES,
    AskedJudge,
    RelationQuestion,
    check_probabilities,
    judge_of,
)
from spatial_vlm_ros.perception.relation_marks import QUESTION, marked, mirror
from spatial_vlm_ros.types import Rgb

IMAGE = np.full((480, 640, 3), 127, np.uint8)
LEFT, RIGHT = (100.0, 200.0, 160.0, 280.0), (400.0, 220.0, 470.0, 300.0)


def question(relation: str = "left of", target: Any = LEFT, anchor: Any = RIGHT) -> RelationQuestion:
    return RelationQuestion(relation, target, anchor)


def middles(image: Rgb) -> tuple[float, float]:
    """x of the middle of what is marked red, and of what is marked blue."""
    pixels = image.astype(int)
    red = (pixels[..., 0] - pixels[..., 2]) > 100
    blue = (pixels[..., 2] - pixels[..., 0]) > 100
    return float(np.nonzero(red)[1].mean()), float(np.nonzero(blue)[1].mean())


class Looks:
    """A model that looks where the marks are; as sure as `gap` says."""

    def __init__(self, gap: float = 2.0) -> None:
        self.gap = gap
        self.asked: list[tuple[str, ...]] = []

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return choices[int(np.argmax(self.scores(rgb, question, choices)))]

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        assert question == QUESTION
        self.asked.append(tuple(choices))
        red, blue = middles(rgb)
        said = "left" if red < blue else "right"
        return [0.0 if one in (said, "behind", "on top") else -self.gap for one in choices]


class Names:
    """A model that names its choice, and no likelihoods."""

    def __init__(self, said: str = "") -> None:
        self.said = said

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        return self.said or choices[0]


def asked(model: Any, *questions: RelationQuestion, budget_s: float = 60.0) -> tuple[float | None, ...]:
    return AskedJudge(model).judge(IMAGE, questions, budget_s)


def test_the_probability_is_the_share_of_the_choice_that_says_it() -> None:
    share = 1.0 / (1.0 + math.exp(-2.0))
    found = asked(Looks(), question(), question("right of"), question(target=RIGHT, anchor=LEFT), question("on"))
    assert found == pytest.approx((share, 1.0 - share, 1.0 - share, 1.0 / (1.0 + 3.0 * math.exp(-2.0))))
    for choices, holds in CHOICES.values():
        assert holds in choices
        assert len(set(choices)) == len(choices)


def test_choices_are_shown_in_both_orders_and_sides_in_the_mirrored_image_too() -> None:
    model = Looks()
    asked(model, question(), question("behind"))
    assert model.asked == [
        ("left", "right"), ("right", "left"), ("left", "right"), ("behind", "in front"), ("in front", "behind"),
    ]  # fmt: skip


def test_who_takes_the_first_choice_the_same_side_twice_or_too_long_has_no_opinion() -> None:
    assert asked(Names(), question(), question("behind"), question("inside")) == (None, None, None)
    assert asked(Names("left"), question()) == (None,)  # of the mirrored image, too
    (behind,) = asked(Names("behind"), question("behind"))
    assert behind == pytest.approx(1.0, abs=1e-5)
    assert asked(Looks(), question(), question(), budget_s=0.0) == (None, None)


def test_a_choice_without_likelihood_is_nearly_sure() -> None:
    (on, under) = asked(Names("on top"), question("on"), question("under"))
    assert 0.999 < on < 1.0
    assert 0.0 < under < 0.001


def test_marks_are_drawn_on_a_copy_also_at_the_border() -> None:
    before = IMAGE.copy()
    image = marked(IMAGE, LEFT, RIGHT)
    assert np.array_equal(IMAGE, before)
    assert middles(image) == pytest.approx((130, 435), abs=6)
    for box in ((0.0, 0.0, 640.0, 480.0), (638.0, 478.0, 640.0, 480.0), (0.0, 0.0, 1.0, 1.0)):
        assert (marked(IMAGE, box, LEFT) != IMAGE).any()
    assert (marked(IMAGE[:3, :5], (0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 5.0, 3.0)) != IMAGE[:3, :5]).any()


def test_a_mirrored_box_lies_where_the_mirrored_object_does() -> None:
    image = IMAGE.copy()
    image[200:280, 100:160] = 9
    mirrored, box = mirror(image, LEFT)
    x0, y0, x1, y1 = (int(v) for v in box)
    assert (mirrored[y0:y1, x0:x1] == 9).all()
    assert (mirrored == 9).sum() == (image == 9).sum()


def test_who_judges() -> None:
    own = SimpleNamespace(judge=lambda *_: ())
    assert judge_of(own) is own
    assert isinstance(judge_of(Names()), AskedJudge)
    assert isinstance(judge_of(SimpleNamespace(scorer=Looks())), AskedJudge)
    assert judge_of(SimpleNamespace(scorer=3)) is None
    assert judge_of(None) is None


@pytest.mark.parametrize("said", [None, (), (0.5,), (0.5, 1.1), (0.5, math.nan), ("a", "b"), 3])
def test_what_is_no_judgement_is_an_error_of_the_model(said: Any) -> None:
    with pytest.raises(ModelError, match="it judged 2 relations with"):
        check_probabilities(said, 2, "m")
    assert check_probabilities((np.float32(0.5), 1, None), 3, "m") == (0.5, 1.0, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [[math.nan, 0.0], [0.0], [math.inf, 0.0], [[0.0, 0.0]]])
def test_likelihoods_that_are_none_and_an_answer_that_is_no_choice_are_errors_of_the_model(scores: Any) -> None:
    with pytest.raises(ModelError, match="its likelihoods of 2 choices"):
        asked(SimpleNamespace(scores=lambda *_: scores, answer=lambda *_: "left"), question())
    with pytest.raises(ModelError, match="'up', none of"):
        asked(Names("up"), question())
