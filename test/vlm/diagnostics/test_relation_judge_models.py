# SPDX-License-Identifier: Apache-2.0
"""Classes of published models, of few random weights, asked about relations between marked objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from small_scorers import PALIGEMMA_WARNS, small_scorer

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.judging import CHOICES, AskedJudge, RelationQuestion
from spatial_vlm_ros.perception.relation_marks import QUESTION, marked
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer, continuations
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.remedies.attention_scaling import last_row_scaled, one_row
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import AdaptVis, ScalingVis

IMAGE = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
LEFT, RIGHT = (5.0, 10.0, 30.0, 50.0), (60.0, 12.0, 90.0, 55.0)
ITEMS = [
    ProbeItem(relation, relation, "relative", "left-right", ItemPrompt(IMAGE, QUESTION, choices, None), "")
    for relation, (choices, _) in CHOICES.items()
]
SIDES = CHOICES["left of"][0]
DECODERS = ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
SLOW = pytest.mark.slow


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_each_class_gives_probabilities_or_no_opinion(kind: str) -> None:
    judge = AskedJudge(small_scorer(kind, ITEMS))
    questions = [RelationQuestion(relation, LEFT, RIGHT) for relation in CHOICES]
    told = judge.judge(IMAGE, questions, 120.0)
    assert all(p is None or 0.0 < p < 1.0 for p in told)
    assert told == judge.judge(IMAGE, questions, 120.0)
    opposite = dict(zip(CHOICES, told, strict=True))
    if opposite["left of"] is not None and opposite["right of"] is not None:
        assert opposite["left of"] + opposite["right of"] == pytest.approx(1.0)


def scaled(scorer: CandidateScorer, settings: AdaptVis | ScalingVis) -> CandidateScorer:
    """The same model with attention scaled in one row."""
    answering = lambda ids: one_row(scorer.parts, ids, settings)  # noqa: E731
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, answering=answering)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("settings", [AdaptVis(0.5, 1.5, 0.999), AdaptVis(0.5, 1.5, 1e-6), ScalingVis(2.0)])
def test_likelihoods_in_one_row_are_those_of_two_passes(kind: str, settings: AdaptVis | ScalingVis) -> None:
    scorer = small_scorer(kind, ITEMS)
    scorer.model.double()
    image = marked(IMAGE, LEFT, RIGHT)
    one = scaled(scorer, settings).scores(image, QUESTION, SIDES)
    inputs = scorer.inputs(image, QUESTION, SIDES)
    with torch.no_grad():
        plain = scorer.model(**inputs).logits[0, -1].softmax(-1)
    alpha = settings.alpha_for(float(plain.max()))
    with last_row_scaled(scorer.parts, scorer.parts.image_columns(inputs["input_ids"])[0], alpha):
        two = scorer.scores(image, QUESTION, SIDES)
    assert one == pytest.approx(two, abs=1e-6)
    assert one != pytest.approx(scorer.scores(image, QUESTION, SIDES), abs=1e-6)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_factor_of_one_changes_nothing(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    plain = scorer.scores(IMAGE, QUESTION, SIDES)
    assert scaled(scorer, ScalingVis(1.0)).scores(IMAGE, QUESTION, SIDES) == pytest.approx(plain, abs=1e-5)


# ------------------------------------------------------------------------------------------------ inside the judge


class TwoPasses:
    """The reference form: one whole prefill to see how sure the model is, another with the factor chosen."""

    def __init__(self, scorer: CandidateScorer, settings: AdaptVis | ScalingVis) -> None:
        self.scorer, self.settings, self.factors = scorer, settings, list[float]()

    def scores_of(self, asked: Sequence[tuple[Rgb, str, Sequence[str]]], among: bool) -> list[list[float]]:
        assert len(asked) == 1
        inputs = self.scorer.inputs(*asked[0])
        with torch.no_grad():
            plain = self.scorer.model(**inputs).logits[0, -1].softmax(-1)
        self.factors.append(self.settings.alpha_for(float(plain.max())))
        columns = self.scorer.parts.image_columns(inputs["input_ids"])[0]
        with last_row_scaled(self.scorer.parts, columns, self.factors[-1]):
            return self.scorer.scores_of(asked, among)


class Follows:
    """A model whose choices never contradict each other, with the likelihoods of another one: all of them are shown."""

    def __init__(self, model: CandidateScorer | TwoPasses) -> None:
        self.model, self.asked = model, list[list[float]]()

    def scores_of(self, asked: Sequence[tuple[Rgb, str, Sequence[str]]], among: bool) -> list[list[float]]:
        ((_, _, choices),) = asked
        (found,) = self.model.scores_of(asked, among)
        self.asked.append(found)
        gaps = np.ptp(found) or 1.0
        first = sorted(choices)[0] if "left" not in choices or len(self.asked) % 3 else sorted(choices)[1]
        return [[value + 2.0 * gaps * (one == first) for value, one in zip(found, choices, strict=True)]]


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    ("threshold", "marks"),
    [
        pytest.param(threshold, marks, marks=() if (threshold, marks) in ((1e-6, "boxes"), (0.5, "crop")) else SLOW)
        for threshold in (1e-6, 0.5, 0.999)
        for marks in ("boxes", "crop")
    ],
)
def test_probabilities_of_a_judge_in_one_row_are_those_of_two_passes(kind: str, threshold: float, marks: str) -> None:
    settings, scorer = AdaptVis(0.5, 1.5, threshold), small_scorer(kind, ITEMS)
    scorer.model.double()
    two = TwoPasses(scorer, settings)
    shown, expected = Follows(scaled(scorer, settings)), Follows(two)
    questions = [RelationQuestion(relation, LEFT, RIGHT) for relation in ("left of", "behind", "on")]
    one_row_found = AskedJudge(cast(Any, shown)).judge(IMAGE, questions, 120.0, marks=marks)
    two_found = AskedJudge(cast(Any, expected)).judge(IMAGE, questions, 120.0, marks=marks)
    assert None not in two_found
    assert one_row_found == pytest.approx(two_found, abs=1e-9)
    assert len(shown.asked) == len(expected.asked) == 7
    for one, other in zip(shown.asked, expected.asked, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    plain = Follows(scorer)
    assert AskedJudge(cast(Any, plain)).judge(IMAGE, questions, 120.0, marks=marks) != pytest.approx(
        two_found, abs=1e-6
    )


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
def test_a_judge_of_a_prefix_language_model_is_refused_scaled_attention() -> None:
    """Its image tokens see the last token of the prompt, so that one row is not all that scaling changes."""
    scorer = small_scorer("paligemma", ITEMS)
    judge = AskedJudge(scaled(scorer, AdaptVis(0.5, 1.5, 0.5)))
    with pytest.raises(ModelError, match="prefix language model"):
        judge.judge(IMAGE, [RelationQuestion("left of", LEFT, RIGHT)], 60.0)
    columns = scorer.parts.image_columns(scorer.inputs(IMAGE, QUESTION, SIDES)["input_ids"])[0]
    with pytest.raises(ModelError, match="prefix language model"), last_row_scaled(scorer.parts, columns, 0.5):
        pass


# ------------------------------------------------------------------------------------------- choices and numbers


LENGTHS = ("left", "in front", "on top of it all", "behind")


@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_a_choice_of_more_tokens_is_neither_preferred_nor_put_back_for_its_length(kind: str) -> None:
    """A model that finds every token equally probable finds every choice equally probable."""
    item = ProbeItem("a", "a", "relative", "left-right", ItemPrompt(IMAGE, QUESTION, LENGTHS, None), "")
    scorer = small_scorer(kind, [item])
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight.zero_()
    tokens = [scorer.processor.tokenizer(one, add_special_tokens=False)["input_ids"] for one in LENGTHS]
    assert sorted({len(one) for one in tokens})[::2] == [1, 9]
    scores = scorer.scores(IMAGE, QUESTION, LENGTHS)
    assert scores == pytest.approx([scores[0]] * len(LENGTHS), abs=1e-6)
    (among,) = scorer.scores_of([(IMAGE, QUESTION, LENGTHS)], among=True)
    assert among == pytest.approx([-math.log(len(LENGTHS))] * len(LENGTHS), abs=1e-5)


@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_among_choices_neither_more_tokens_nor_certain_ones_count(kind: str) -> None:
    """By hand: the first tokens differ, so that each choice has the share of its first token, whatever follows it."""
    item = ProbeItem("a", "a", "relative", "left-right", ItemPrompt(IMAGE, QUESTION, LENGTHS, None), "")
    scorer = small_scorer(kind, [item])
    words = scorer.processor.tokenizer
    begins = [words(one, add_special_tokens=False)["input_ids"][0] for one in LENGTHS]
    with torch.no_grad():
        logits = scorer.model(**scorer.inputs(IMAGE, QUESTION, LENGTHS)).logits[0, -1]
    expected = logits[begins].log_softmax(-1).tolist()
    (found,) = scorer.scores_of([(IMAGE, QUESTION, LENGTHS)], among=True)
    assert found == pytest.approx(expected, abs=1e-4)
    assert sum(np.exp(found)) == pytest.approx(1.0, abs=1e-4)
    assert scorer.scores(IMAGE, QUESTION, LENGTHS) != pytest.approx(expected, abs=1e-2)


def test_choices_that_begin_alike_share_what_their_beginning_has() -> None:
    def tokens(**given: list[int]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([ids]) for name, ids in given.items()}

    assert continuations(tokens(top=[1, 2], under=[3], other=[1, 4, 5])) == {
        "top": [[1, 3], [2, 4]], "under": [[1, 3]], "other": [[1, 3], [2, 4], [5]],
    }  # fmt: skip
    assert continuations(tokens(front=[1, 2], within=[1])) is None
    assert continuations(tokens(left=[1], same=[1])) is None
    scorer = small_scorer("llava", ITEMS)
    choices = ("on top", "on side", "beside")
    (found,) = scorer.scores_of([(IMAGE, QUESTION, choices)], among=True)
    assert sum(np.exp(found)) == pytest.approx(1.0, abs=1e-4)
    within = ("in", "in front")
    assert scorer.scores_of([(IMAGE, QUESTION, within)], among=True)[0] == scorer.scores(IMAGE, QUESTION, within)


def test_a_choice_of_several_tokens_has_the_mean_of_what_each_has_behind_those_before_it() -> None:
    scorer = small_scorer("llava", ITEMS)
    inputs = scorer.inputs(IMAGE, QUESTION, ("behind", "in front"))
    tokens = scorer.processor.tokenizer("in front", add_special_tokens=False, return_tensors="pt")["input_ids"]
    whole = torch.cat([inputs["input_ids"], tokens], dim=1)
    with torch.no_grad():
        given = {**inputs, "input_ids": whole, "attention_mask": torch.ones_like(whole)}
        logits = scorer.model(**given).logits[0, -tokens.shape[1] - 1 : -1].log_softmax(-1)
    expected = float(logits.gather(1, tokens[0][:, None]).mean())
    assert scorer.scores(IMAGE, QUESTION, ("behind", "in front"))[1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_logits_that_are_no_numbers_are_an_error_of_the_model(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        AskedJudge(scorer).judge(IMAGE, [RelationQuestion("behind", LEFT, RIGHT)], 60.0)
    if kind != "paligemma":
        with pytest.raises(ModelError, match="not numbers"):
            AskedJudge(scaled(scorer, ScalingVis(2.0))).judge(IMAGE, [RelationQuestion("on", LEFT, RIGHT)], 60.0)


# ------------------------------------------------------------------------------------------------ several at once


def batched(scorer: CandidateScorer, batch: int) -> CandidateScorer:
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, batch=batch)


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_several_questions_at_once_have_the_likelihoods_of_one_by_one(kind: str) -> None:
    """Images of two shapes, prompts of two lengths, choices of several tokens: what is unlike goes apart."""
    scorer = small_scorer(kind, ITEMS)
    wide = np.random.default_rng(4).integers(0, 256, (48, 96, 3), np.uint8)
    depth, contact = CHOICES["behind"][0], CHOICES["on"][0]
    asked = [
        (image, QUESTION, order)
        for image in (marked(IMAGE, LEFT, RIGHT), marked(wide, LEFT, RIGHT), IMAGE[:, ::-1].copy())
        for choices in (SIDES, depth, contact)
        for order in (choices, choices[::-1])
    ]
    runs: list[int] = []
    hook = scorer.parts.vision.register_forward_hook(lambda *_: runs.append(1))
    together = batched(scorer, 3).scores_of(asked)
    several = len(runs)
    alone = [scorer.scores(*one) for one in asked]
    hook.remove()
    assert len(runs) - several == len(asked)
    assert several <= len(asked) / 2
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_a_judge_with_batches_says_the_same(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    questions = [RelationQuestion(relation, *boxes) for relation in CHOICES for boxes in ((LEFT, RIGHT), (RIGHT, LEFT))]
    alone = AskedJudge(scorer).judge(IMAGE, questions, 120.0)
    for batch in (2, 8):
        found = AskedJudge(batched(scorer, batch)).judge(IMAGE, questions, 120.0)
        assert [p is None for p in found] == [p is None for p in alone]
        assert [p for p in found if p is not None] == pytest.approx([p for p in alone if p is not None], abs=1e-4)


def test_the_budget_is_looked_at_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, now = batched(small_scorer("llava", ITEMS), 2), iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    seen: list[int] = []
    told = {2: [[0.0, -1.0], [-1.0, 0.0]], 1: [[-1.0, 0.0]]}  # both orders; the mirrored image
    monkeypatch.setattr(scorer, "scores_of", lambda asked, **_: seen.append(len(asked)) or told[len(asked)])
    questions = [RelationQuestion("left of", LEFT, RIGHT)] * 3
    first, *others = AskedJudge(scorer).judge(IMAGE, questions, 2.5)
    assert first is not None
    assert others == [None, None]
    assert seen == [2, 1]  # at 1 s both orders, at 2 s the mirrored image; after that nothing


def test_where_memory_does_not_suffice_for_several_they_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = batched(small_scorer("llava", ITEMS), 4)
    asked = [(IMAGE, QUESTION, SIDES), (IMAGE, QUESTION, SIDES[::-1])]
    expected, run, rows = scorer.scores_of(asked), scorer._run, list[int]()

    def short_of_memory(inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        if rows[-1] > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return run(inputs)

    monkeypatch.setattr(scorer, "_run", short_of_memory)
    for one, other in zip(scorer.scores_of(asked), expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5)
    scorer.scores_of(asked)
    assert rows == [2, 1, 1, 1, 1]  # and stay so


def test_scaled_attention_goes_one_by_one_whatever_the_batch() -> None:
    scorer = small_scorer("qwen3_vl", ITEMS)
    answering = lambda ids: one_row(scorer.parts, ids, ScalingVis(2.0))  # noqa: E731
    several = CandidateScorer(scorer.model, scorer.processor, answering=answering, batch=4)
    asked = [(IMAGE, QUESTION, SIDES), (IMAGE, QUESTION, SIDES[::-1])]
    one_by_one = [scaled(scorer, ScalingVis(2.0)).scores(*one) for one in asked]
    assert several.scores_of(asked) == one_by_one
