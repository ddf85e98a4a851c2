# SPDX-License-Identifier: Apache-2.0
"""Image tokens moved and pooled, PSI, and a model that answers by likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from small_scorers import PALIGEMMA_WARNS, small_scorer  # noqa: E402
from small_vlms import KINDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.types import Rgb  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.item_set import Amount, draw_items  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.permutation import (  # noqa: E402
    order_of,
    permutation_scores,
    permutation_sensitivity,
    permuted,
    pooled,
    pooling,
)
from spatial_vlm_ros.vlm.parts import ARCHITECTURES, image_tokens_changed, parts_of  # noqa: E402

ITEMS = draw_items(Amount(0, 2, 0, seed=4))
pytestmark = pytest.mark.filterwarnings(PALIGEMMA_WARNS)
PROBED = (*KINDS, "qwen2_vl", "paligemma")
"""All that the scorer knows."""


def scorer(kind: str, seed: int = 0) -> CandidateScorer:
    return small_scorer(kind, ITEMS, seed)


def test_a_permutation_is_that_of_its_seed_and_question_for_all_features_and_releases() -> None:
    tokens = torch.arange(12.0)[:, None].repeat(1, 3)
    moved = permuted(3)(tokens, 0)
    assert torch.equal(moved.sort(0).values, tokens)
    assert torch.equal(permuted(3)(tokens * 2, 0), moved * 2)
    assert not torch.equal(permuted(3)(tokens, 1), moved)
    assert not torch.equal(permuted(4)(tokens, 0), moved)
    assert torch.equal(permuted(3, 5)(tokens, 2), permuted(3, 7)(tokens, 0))
    orders = [order_of(6, *key).tolist() for key in ((0, 0), (0, 1), (2, 0), (2, 47))]
    assert orders == [[3, 2, 5, 4, 0, 1], [1, 4, 3, 0, 2, 5], [3, 5, 2, 4, 0, 1], [4, 5, 3, 2, 0, 1]]


@pytest.mark.parametrize(("grid", "side"), [((4, 4), 2), ((6, 4), 2), ((5, 7), 3), ((3, 3), 1), ((3, 4), 9)])
def test_pooling_gives_each_token_the_mean_of_its_cell(grid: tuple[int, int], side: int) -> None:
    tokens = torch.randn(grid[0] * grid[1], 5, generator=torch.Generator().manual_seed(0))
    found = pooled(grid, side)(tokens, 0)
    rows, columns = grid
    for r in range(rows):
        for c in range(columns):
            own = [
                tokens[y * columns + x]
                for y in range(rows)
                for x in range(columns)
                if y * min(side, rows) // rows == r * min(side, rows) // rows
                and x * min(side, columns) // columns == c * min(side, columns) // columns
            ]
            assert torch.allclose(found[r * columns + c], torch.stack(own).mean(0), atol=1e-6)
    assert len(torch.unique(found, dim=0)) == min(side, rows) * min(side, columns)


def test_psi_follows_its_formula() -> None:
    original = np.array([1, 1, 1, 1, 1, 1, 0, 1, 1, 1] * 8, bool)
    moved = np.stack([original & (np.arange(80) % 3 > 0), original & (np.arange(80) % 4 > 0)])
    found = permutation_scores(original, moved, np.full(80, 0.25), (5, 6))
    before, after = original.mean(), moved.mean()
    assert found.psi is not None
    assert found.corrected is not None
    assert found.psi.value == pytest.approx((before - after) / before)
    assert found.corrected.value == pytest.approx((before - after) / (before - 0.25))
    assert (found.permuted.k, found.permuted.n) == (moved.sum(), 160)
    for interval in (found.psi, found.corrected):
        assert interval.low < interval.value < interval.high


def test_the_interval_of_psi_keeps_pairs_together() -> None:
    """Where the same items are lost whatever is drawn, a pair tells more than two shares do; against a plain loop."""
    rng = np.random.default_rng(2)
    original = rng.random(120) < 0.8
    moved = (original & (rng.random(120) < 0.7))[None]
    found = permutation_scores(original, moved, np.full(120, 0.25), (0,))
    draws = []
    for _ in range(3000):
        some = rng.integers(0, 120, 120)
        draws.append(1 - moved[0][some].mean() / original[some].mean())
    assert found.psi is not None
    assert (found.psi.low, found.psi.high) == pytest.approx(np.quantile(draws, (0.025, 0.975)).tolist(), abs=0.01)


def test_no_ratio_is_told_where_there_is_nothing_to_lose() -> None:
    at_chance = np.arange(80) % 4 == 0
    found = permutation_scores(at_chance, at_chance[None], np.full(80, 0.25), (0,))
    assert found.corrected is None
    assert found.psi is not None
    assert found.psi.value == 0.0
    none = np.zeros(80, bool)
    assert permutation_scores(none, none[None], np.full(80, 0.25), (0,)).psi is None


# ------------------------------------------------------------------------------------------------ a model that answers


@pytest.mark.parametrize("kind", PROBED)
def test_a_candidate_scores_its_mean_likelihood_behind_the_prompt(kind: str) -> None:
    """Against one run by hand over all tokens, and a softmax in NumPy."""
    answers = scorer(kind)
    assert answers.parts.kind == kind
    rgb, question, choices = ITEMS[0].plain.rgb, ITEMS[0].plain.question, ("left", "left above", "below")
    found = answers.scores(rgb, question, choices)
    inputs = answers.inputs(rgb, question, choices)
    words = answers.processor.tokenizer.decode(inputs["input_ids"][0], skip_special_tokens=True)
    assert f"{question} Answer with one of: left, left above, below." in words
    assert "<unk>" not in words
    assert answers.grid(rgb, question, choices) == (4, 4)
    assert answers.scores(np.zeros_like(rgb), question, choices) != pytest.approx(found, abs=1e-6)
    length = inputs["input_ids"].shape[1]
    for choice, score in zip(choices, found, strict=True):
        tail = answers.processor.tokenizer.encode(choice, add_special_tokens=False)
        ids = torch.tensor([[*inputs["input_ids"][0].tolist(), *tail]])
        whole = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in inputs:
            whole["mm_token_type_ids"] = (ids == answers.parts.image_token_id).int()
        if "token_type_ids" in inputs:  # nought for what all of the prompt sees
            whole["token_type_ids"] = (torch.arange(ids.shape[1]) >= length).int()[None]
        with torch.no_grad():
            logits = answers.model(**whole).logits[0].double().numpy()
        told = 0.0
        for i, token in enumerate(tail):
            row = logits[length + i - 1]
            told += row[token] - row.max() - np.log(np.exp(row - row.max()).sum())
        assert score == pytest.approx(told / len(tail), abs=1e-4)
    assert answers.answer(rgb, question, choices) == choices[int(np.argmax(found))]


@pytest.mark.parametrize("kind", PROBED)
def test_the_prompt_is_run_once_and_its_cache_is_left_as_it_was(kind: str) -> None:
    answers, plain = scorer(kind), ITEMS[0].plain
    lengths: list[int] = []
    handle = answers.model.register_forward_pre_hook(
        lambda _m, _given, named: lengths.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    choices = ("left above", "left", "above left")
    found = answers.scores(plain.rgb, plain.question, choices)
    handle.remove()
    assert len(lengths) == 3  # the prompt, and two candidates of several tokens
    assert max(lengths[1:]) < 3 < lengths[0]
    for score, choice in zip(found, choices, strict=True):  # each behind a prompt that no other candidate followed
        with torch.no_grad():
            first, cache = answers._run(answers.inputs(plain.rgb, plain.question, choices))
            tokens = answers.tokens(choice, first.device)
            assert answers._likelihoods(first, cache, tokens) == [score]


def test_sensitivity_is_that_of_answers_asked_by_hand() -> None:
    answers = scorer("llava")
    found = permutation_sensitivity(answers.parts, answers, ITEMS, seeds=(1, 2))
    asked = [answers.answer(i.plain.rgb, i.plain.question, i.plain.choices) == i.truth for i in ITEMS]
    moved = 0
    for seed in (1, 2):
        for number, item in enumerate(ITEMS):
            with image_tokens_changed(answers.parts, permuted(seed, number)):
                moved += answers.answer(item.plain.rgb, item.plain.question, item.plain.choices) == item.truth
    assert (found.original.k, found.permuted.k, found.permuted.n) == (sum(asked), moved, 2 * len(ITEMS))
    assert found.seeds == (1, 2)


def test_each_question_is_asked_with_a_permutation_of_its_own_and_the_same_ones_again() -> None:
    """The projector writes the number of each slot into its token; what the decoder gets tells the order."""
    parts, numbers = parts_of(small_vlm("llava")), torch.arange(16.0)[:, None].repeat(1, 64)
    parts.projector.register_forward_hook(lambda _m, _i, out: numbers.reshape(out.shape))
    seen: list[list[float]] = []

    class Looker:
        def answer(self, _rgb: Rgb, _question: str, choices: Sequence[str]) -> str:
            def look(tokens: torch.Tensor, _row: int) -> torch.Tensor:
                seen.append(tokens[:, 0].tolist())
                return tokens

            with image_tokens_changed(parts, look), torch.no_grad():
                parts.model(**prompt("llava"))
            return choices[0]

    for _ in range(2):
        permutation_sensitivity(parts, Looker(), ITEMS[:5], (3, 4), np.ones(5, bool))
    assert len({tuple(one) for one in seen}) == 10
    assert seen == [order_of(16, seed, number).tolist() for seed in (3, 4) for number in range(5)] * 2


def test_pooling_to_the_whole_grid_changes_no_answer_and_to_one_value_hides_all_places() -> None:
    answers = scorer("llava")
    whole, one = pooling(answers.parts, answers, ITEMS, sides=(4, 1))
    assert (whole.values, one.values) == (16, 1)
    assert (whole.change.value, whole.change.low <= 0 <= whole.change.high) == (0.0, True)
    plain = ITEMS[0].plain
    with image_tokens_changed(answers.parts, pooled((4, 4), 1)), image_tokens_changed(answers.parts, permuted(0)):
        moved = answers.scores(plain.rgb, plain.question, plain.choices)
    with image_tokens_changed(answers.parts, pooled((4, 4), 1)):
        assert answers.scores(plain.rgb, plain.question, plain.choices) == pytest.approx(moved, abs=1e-5)


def test_a_template_takes_the_place_of_the_chat_template() -> None:
    answers, plain = scorer("llava"), ITEMS[0].plain
    own = CandidateScorer(answers.model, answers.processor, "<image>{question}", lead=" ")
    inputs = own.inputs(plain.rgb, plain.question, plain.choices)
    assert int((inputs["input_ids"] == answers.parts.image_token_id).sum()) == 16
    given = plain.rgb, plain.question, plain.choices
    assert own.scores(*given) != answers.scores(*given)


def test_a_prompt_has_no_labels() -> None:
    assert set(PROBED) == set(ARCHITECTURES)
    answers, plain = scorer("paligemma"), ITEMS[0].plain
    given = answers.processor(images=[Image.fromarray(plain.rgb)], text=["<image>left"], return_tensors="pt")
    assert "labels" in given  # the processor brings them unasked
    assert set(answers.inputs(plain.rgb, plain.question, plain.choices)) == set(given) - {"labels"}


def test_what_cannot_be_tested_or_asked_is_refused() -> None:
    answers, plain = scorer("llava"), ITEMS[0].plain
    for call, given, error, words in (
        (permutation_sensitivity, (answers.parts, answers, []), InputError, "0 items"),
        (permutation_sensitivity, (answers.parts, answers, ITEMS, ()), InputError, "0 seeds"),
        (pooling, (answers.parts, answers, []), InputError, "draw_items"),
        (pooled, ((4, 4), 0), InputError, "cells"),
        (pooled((4, 4), 2), (torch.zeros(15, 2), 0), InputError, "4 x 4"),
        (answers.answer, (plain.rgb, plain.question, ()), InputError, "candidates"),
        (answers.answer, (plain.rgb, plain.question, ("left", "")), InputError, "candidate: ''"),
        (CandidateScorer, (answers.model, answers.processor, "<image> no field"), InputError, "template"),
        (CandidateScorer, (torch.nn.Linear(2, 2), answers.processor, "{question}"), ModelError, "model_type ''"),
    ):
        with pytest.raises(error, match=words):
            call(*given)
    with torch.no_grad():
        answers.model.lm_head.weight[:] = float("nan")
    with pytest.raises(ModelError, match="not numbers"):
        answers.answer(plain.rgb, plain.question, plain.choices)
    answers.processor.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        CandidateScorer(answers.model, answers.processor)
