# SPDX-License-Identifier: Apache-2.0
"""Published classes of few weights as judges of relations: asked about marked objects, in batches and one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION, AskedJudge, RelationQuestion, marked

pytest.importorskip("small_scorers")
import torch
from small_scorers import PALIGEMMA_WARNS, last_row_scaled, small_scorer

from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer, continuations
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.remedies.attention_scaling import AdaptVis, ScalingVis, one_row

pytestmark = pytest.mark.filterwarnings(PALIGEMMA_WARNS)
IMAGE = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
LEFT, RIGHT = (5.0, 10.0, 30.0, 50.0), (60.0, 12.0, 90.0, 55.0)
LENGTHS = ("left", "in front", "on top of it all", "behind")
CANDIDATES = {**{relation: choices for relation, (choices, _) in CHOICES.items()}, "a": LENGTHS}
*ITEMS, LONG = [ProbeItem(name, name, "relative", "left-right", ItemPrompt(IMAGE, QUESTION, choices, None), "")
                for name, choices in CANDIDATES.items()]  # fmt: skip
SIDES = CHOICES["left of"][0]
DECODERS = ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
KINDS = [*DECODERS, "paligemma"]
SURE, LATER = AdaptVis(0.5, 1.5, 1e-6), (AdaptVis(0.5, 1.5, 0.999), ScalingVis(2.0))


def scaled(scorer: CandidateScorer, settings: AdaptVis | ScalingVis, batch: int = 1) -> CandidateScorer:
    answering = lambda ids: one_row(scorer.parts, ids, settings)  # noqa: E731
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, answering=answering, batch=batch)


def batched(scorer: CandidateScorer, batch: int) -> CandidateScorer:
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, batch=batch)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("settings", [SURE, *(pytest.param(one, marks=pytest.mark.slow) for one in LATER)])
def test_likelihoods_in_one_row_are_those_of_two_passes(kind: str, settings: AdaptVis | ScalingVis) -> None:
    """Against the reference form: one whole prefill to see how sure the model is, another with the factor chosen."""
    scorer = small_scorer(kind, ITEMS)
    scorer.model.double()
    image = marked(IMAGE, LEFT, RIGHT)
    inputs = scorer.inputs(image, QUESTION, SIDES)
    with torch.no_grad():
        plain = scorer.model(**inputs).logits[0, -1].softmax(-1)
    alpha = settings.alpha_for(float(plain.max()))
    for among in (False, True):
        asked = [(image, QUESTION, SIDES)], among
        (one,) = scaled(scorer, settings).scores_of(*asked)
        with last_row_scaled(scorer.parts, scorer.parts.image_columns(inputs["input_ids"])[0], alpha):
            (two,) = scorer.scores_of(*asked)
        assert one == pytest.approx(two, abs=1e-6)
        (own,) = scorer.scores_of(*asked)
        assert one != pytest.approx(own, abs=1e-6)
        assert scaled(scorer, ScalingVis(1.0)).scores_of(*asked)[0] == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_of_more_tokens_is_neither_preferred_nor_put_back_for_its_length(kind: str) -> None:
    """A model that finds every token equally probable finds every choice equally probable."""
    scorer = small_scorer(kind, [LONG])
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight.zero_()
    tokens = [scorer.processor.tokenizer(one, add_special_tokens=False)["input_ids"] for one in LENGTHS]
    assert sorted({len(one) for one in tokens})[::2] == [1, 9]
    scores = scorer.scores(IMAGE, QUESTION, LENGTHS)
    assert scores == pytest.approx([scores[0]] * len(LENGTHS), abs=1e-6)
    (among,) = scorer.scores_of([(IMAGE, QUESTION, LENGTHS)], among=True)
    assert among == pytest.approx([-math.log(len(LENGTHS))] * len(LENGTHS), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_among_choices_neither_more_tokens_nor_certain_ones_count(kind: str) -> None:
    """By hand: the first tokens differ, so that each choice has the share of its first token, whatever follows it."""
    scorer = small_scorer(kind, [LONG])
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

    branches = continuations(tokens(top=[1, 2], under=[3], other=[1, 4, 5]))
    assert branches == {"top": [[1, 3], [2, 4]], "under": [[1, 3]], "other": [[1, 3], [2, 4], [5]]}
    assert continuations(tokens(front=[1, 2], within=[1])) is None
    assert continuations(tokens(left=[1], same=[1])) is None
    scorer = small_scorer("llava", ITEMS)
    (found,) = scorer.scores_of([(IMAGE, QUESTION, ("on top", "on side", "beside"))], among=True)
    assert sum(np.exp(found)) == pytest.approx(1.0, abs=1e-4)
    within = ("in", "in front")
    assert scorer.scores_of([(IMAGE, QUESTION, within)], among=True)[0] == scorer.scores(IMAGE, QUESTION, within)


def test_what_a_model_cannot_say_is_an_error_of_the_model() -> None:
    """A prefix language model's image tokens see the prompt's last token: one row is not all that scaling changes."""
    for kind in ("paligemma", "qwen3_vl"):
        scorer = small_scorer(kind, ITEMS)
        questions = [RelationQuestion(relation, LEFT, RIGHT) for relation in ("behind", "on")]
        if kind == "paligemma":
            with pytest.raises(ModelError, match="prefix language model"):
                AskedJudge(scaled(scorer, SURE)).judge(IMAGE, questions, 60.0)
        with torch.no_grad():
            scorer.model.get_output_embeddings().weight.fill_(float("nan"))
        for asked in [scorer] if kind == "paligemma" else [scorer, scaled(scorer, ScalingVis(2.0))]:
            with pytest.raises(ModelError, match="not numbers"):
                AskedJudge(asked).judge(IMAGE, questions, 60.0)


@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_gives_probabilities_or_no_opinion_with_and_without_batches(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    questions = [RelationQuestion(relation, *boxes) for relation in CHOICES for boxes in ((LEFT, RIGHT), (RIGHT, LEFT))]
    alone = AskedJudge(scorer).judge(IMAGE, questions, 120.0)
    assert all(p is None or 0.0 < p < 1.0 for p in alone)
    left, right = (alone[2 * list(CHOICES).index(name)] for name in ("left of", "right of"))
    assert (left is None) == (right is None)
    assert left is None or left + right == pytest.approx(1.0)
    found = AskedJudge(batched(scorer, 8)).judge(IMAGE, questions, 120.0)
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


def test_without_memory_or_with_scaled_attention_they_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_scorer("llava", ITEMS)
    asked = [(IMAGE, QUESTION, SIDES), (IMAGE, QUESTION, SIDES[::-1])]
    one_by_one = [scaled(plain, ScalingVis(2.0)).scores(*one) for one in asked]
    assert scaled(plain, ScalingVis(2.0), batch=4).scores_of(asked) == one_by_one
    scorer = batched(plain, 4)
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
