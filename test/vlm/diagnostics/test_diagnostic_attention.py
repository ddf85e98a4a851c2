# SPDX-License-Identifier: Apache-2.0
"""Attention, turned keys, moved and pooled image tokens, against NumPy; and a model that answers by likelihood."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from PIL import Image
from small_scorers import IMAGE, KINDS, PALIGEMMA_WARNS, prompt, small_scorer, small_vlm

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.diagnostics import measures
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import Amount, ProbeItem, draw_items
from spatial_vlm_ros.vlm.diagnostics.measures import attention_map, modality_balance, rotary_sensitivity, rows_of
from spatial_vlm_ros.vlm.parts import ARCHITECTURES, Parts, image_tokens_changed, parts_of
from spatial_vlm_ros.vlm.remedies.learned import LearnedPositions
from spatial_vlm_ros.vlm.remedies.positions import Positions, install, installed_positions, own_positions, speeds_of

HEADS, SIZE = 4, 16
Angles = Callable[[np.ndarray, float], np.ndarray]
"""(N,) bool where image tokens stand, and how much farther on they are → (N, D/2) radians."""


def kept(seen: dict[tuple[int, str], np.ndarray], at: tuple[int, str]) -> Any:
    def hook(_module: Any, _given: Any, out: torch.Tensor) -> None:
        seen[at] = out[0].double().numpy().reshape(out.shape[1], -1, SIZE)

    return hook


def hooked(parts: Parts, inputs: dict[str, Any], extra: float = 0.0, angles_of: Angles | None = None) -> np.ndarray:
    """(L, heads, N) attention of the last token, by hooked projections in NumPy; image tokens as keys stand farther."""
    angles_of = angles_of or on_a_line
    seen: dict[tuple[int, str], np.ndarray] = {}
    handles = []
    for i, layer in enumerate(parts.layers):
        for name in ("q", "k"):
            module = getattr(layer.self_attn, f"{name}_norm", None) or getattr(layer.self_attn, f"{name}_proj")
            handles.append(module.register_forward_hook(kept(seen, (i, name))))
    with torch.no_grad():
        parts.model(**inputs)
    for handle in handles:
        handle.remove()
    image = (inputs["input_ids"][0] == IMAGE).numpy()
    told = []
    for i in range(len(parts.layers)):
        query = turned(seen[i, "q"], angles_of(image, 0.0))[-1]
        keys = turned(seen[i, "k"], angles_of(image, extra)).repeat(2, axis=1)
        logits = np.einsum("hd,nhd->hn", query, keys) / np.sqrt(SIZE)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        told.append(weights / weights.sum(-1, keepdims=True))
    return np.stack(told)


def turned(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(N, heads, D) with pairs (i, i + D/2) as complex numbers, turned by angles (N, D/2)."""
    half = SIZE // 2
    numbers = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles[:, None])
    return np.concatenate([numbers.real, numbers.imag], axis=-1)


def on_a_line(image: np.ndarray, extra: float) -> np.ndarray:
    """(N, D/2) angles at 0, 1, 2, ... and image tokens `extra` farther on: place · 10000^(-2i/D)."""
    places = np.arange(len(image)) + extra * image
    return places[:, None] * 10000.0 ** (-2.0 * np.arange(SIZE // 2) / SIZE)


def on_a_grid(base: float, axes: str, width: int = 4) -> Angles:
    """Angles of a prompt with one image, token by token; `axes` names the axis of each frequency, "hhhhwwww" axial."""
    axial, half = "t" not in axes, SIZE // 2
    speeds = [base ** (-4 * (j % (half // 2)) / SIZE) if axial else base ** (-2 * j / SIZE) for j in range(half)]

    def angles(image: np.ndarray, extra: float) -> np.ndarray:
        start, count = int(image.argmax()), int(image.sum())
        places = [(i, i, i) for i in range(start)]
        places += [(start, start + i // width, start + i % width) for i in range(count)]
        onward = start + max(width, count // width)
        places += [(onward + i,) * 3 for i in range(len(image) - start - count)]
        at = np.array(places)[:, ["thw".index(axis) for axis in axes]] + extra * image[:, None]
        return at * np.array(speeds)

    return angles


def flat(kind: str) -> tuple[Parts, dict[str, Any]]:
    """A model and a prompt with running positions on all axes, as the reference computes them."""
    model, inputs = small_vlm(kind), prompt(kind)
    if "qwen" in kind:
        n = inputs["input_ids"].shape[1]
        inputs["position_ids"] = torch.arange(n)[None, None].expand(3, 1, n)
    return parts_of(model), inputs


@pytest.mark.parametrize("kind", KINDS)
def test_attention_its_shares_and_its_map_are_those_of_hooked_queries_and_keys(kind: str) -> None:
    parts, inputs = flat(kind)
    weights, image = hooked(parts, inputs), (inputs["input_ids"][0] == IMAGE).numpy()
    found = np.stack([row.weights.numpy() for row in rows_of(parts, inputs)])
    assert found.shape == (4, HEADS, inputs["input_ids"].shape[1])
    assert np.allclose(found, weights, atol=1e-5)
    system = np.zeros_like(image)
    system[:3] = True
    balance = modality_balance(parts, inputs, system)
    whole = weights[..., image].sum(-1)
    assert np.allclose(balance.with_system, whole, atol=1e-5)
    assert np.allclose(balance.without_system, whole / (1 - weights[..., :3].sum(-1)), atol=1e-5)
    assert (balance.without_system > balance.with_system).all()
    assert modality_balance(parts, inputs).without_system is None
    shown = attention_map(parts, inputs)
    assert shown.shape == (4, 4, 4)
    assert np.allclose(shown.reshape(4, 16), weights.mean(1)[:, image], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_of_computing_attention_is_put_back_and_nothing_of_a_prompt_stays_alive(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    with torch.no_grad():
        before = parts.model(**inputs).logits
    rows = rows_of(parts, inputs)
    assert [layer.self_attn.config._attn_implementation for layer in parts.layers] == ["sdpa"] * 4
    with torch.no_grad():
        assert torch.equal(parts.model(**inputs).logits, before)
    alive = [weakref.ref(rows[0].keys), weakref.ref(parts.layers[0].self_attn), weakref.ref(parts.model)]
    del rows, parts
    gc.collect()
    assert [one() for one in alive] == [None] * 3


def test_after_a_failure_nothing_stays_alive_and_the_way_of_computing_is_put_back() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    last = parts.layers[-1].self_attn
    last.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ModelError, match="computes attention in its own way"):
        rows_of(parts, inputs)
    assert last.config._attn_implementation == "sdpa"
    handle = parts.layers[2].register_forward_pre_hook(lambda *_: {}["a key of its own"])
    with pytest.raises(KeyError, match="a key of its own"):
        rows_of(parts, inputs)
    del handle
    alive = weakref.ref(parts.layers[0].self_attn)
    del parts, last
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("ask", "more", "words"),
    [
        *((ask, "twice", "prompts: 2") for ask in (attention_map, modality_balance, rotary_sensitivity)),
        (modality_balance, (np.ones(3, bool),), "system prompt"),
        (modality_balance, (np.ones(28, bool),), "16 of the image"),
    ],
)
def test_prompts_and_masks_that_do_not_fit_are_refused(ask: Callable[..., Any], more: Any, words: str) -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    if more == "twice":
        inputs, more = {name: torch.cat([value, value]) for name, value in inputs.items()}, ()
    with pytest.raises(InputError, match=words):
        ask(parts, inputs, *more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1.0, pytest.param(0.25, marks=pytest.mark.slow)])
def test_keys_that_stand_farther_on_are_those_of_other_positions(kind: str, step: float) -> None:
    """Against positions in NumPy: the image tokens of every layer as keys at n + step instead of n."""
    parts, inputs = flat(kind)
    image = (inputs["input_ids"][0] == IMAGE).numpy()
    before, after = hooked(parts, inputs), hooked(parts, inputs, step)
    found = rotary_sensitivity(parts, inputs, step)
    assert np.allclose(found.image, before[..., image].sum(-1), atol=1e-5)
    assert np.allclose(found.text, before[..., ~image].sum(-1), atol=1e-5)
    assert np.allclose(found.change, (after - before)[..., image].sum(-1), atol=1e-5)
    assert np.abs(found.change).max() > 1e-3
    assert not found.text_slope.any()


@pytest.mark.parametrize(
    ("settings", "axes", "base"),
    [
        (Positions("axial", base=50.0), "hhhhwwww", 50.0),
        (Positions("mrope-chunked", sections=(2, 3, 3)), "tthhhwww", 10000.0),
    ],
)
def test_keys_step_on_under_the_scheme_that_is_on_the_model(settings: Positions, axes: str, base: float) -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    image, angles = (inputs["input_ids"][0] == IMAGE).numpy(), on_a_grid(base, axes)
    with install(parts, settings, allow_untrained=True):
        before, after = hooked(parts, inputs, 0.0, angles), hooked(parts, inputs, 1.0, angles)
        found = rotary_sensitivity(parts, inputs)
        ends = [rotary_sensitivity(parts, inputs, step).change for step in (1e-4, -1e-4)]
    assert np.allclose(found.image, before[..., image].sum(-1), atol=1e-5)
    assert np.allclose(found.change, (after - before)[..., image].sum(-1), atol=1e-5)
    assert np.allclose(found.slope, (ends[0] - ends[1]) / 2e-4, atol=1e-8)
    assert np.abs(found.change).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_positions_and_the_own_scheme_leave_the_turning_of_keys_as_it_is(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    table = LearnedPositions(4, 4, 64)
    before = rotary_sensitivity(parts, inputs)
    for settings, given in ((own_positions(parts), None), (Positions("learned-absolute"), table)):
        with install(parts, settings, table=given, allow_untrained=True):
            assert np.array_equal(rotary_sensitivity(parts, inputs).change, before.change)
            assert torch.equal(speeds_of(parts), parts.rotary.inv_freq)
            assert installed_positions(parts) == settings
    assert installed_positions(parts) == own_positions(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_is_the_derivative(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    small = 1e-4
    there, back = rotary_sensitivity(parts, inputs, small), rotary_sensitivity(parts, inputs, -small)
    measured = (there.change - back.change) / (2 * small)
    assert np.allclose(there.slope, measured, atol=1e-8)
    assert np.abs(measured).max() > 1e-3
    assert np.allclose(there.slope_change, -back.slope_change, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_loudness_is_the_ratio_of_mean_norms(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    seen: dict[str, Any] = {}
    parts.projector.register_forward_hook(lambda _m, _i, out: seen.__setitem__("image", out.reshape(-1, 64)))
    found = measures.loudness(parts, inputs)
    image = np.linalg.norm(seen["image"].detach().double().numpy(), axis=-1).mean()
    text = np.linalg.norm(parts.embeddings.weight.detach().double().numpy(), axis=-1).mean()
    assert (found.image, found.text, found.ratio) == pytest.approx((image, text, image / text), rel=1e-5)


def test_an_overflow_of_image_tokens_is_an_error() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    with torch.no_grad():
        parts.projector.linear_2.weight[:] = float("nan")
    for ask in (measures.loudness, attention_map, rows_of):
        with pytest.raises(ModelError, match="not numbers"):
            ask(parts, inputs)


ITEMS = draw_items(Amount(0, 2, 0, seed=4))
pytestmark = pytest.mark.filterwarnings(PALIGEMMA_WARNS)
PROBED = (*KINDS, "qwen2_vl", "paligemma")
"""All that the scorer knows."""


def scorer(kind: str, seed: int = 0) -> CandidateScorer:
    return small_scorer(kind, ITEMS, seed)


def test_a_permutation_is_that_of_its_seed_and_question_for_all_features_and_releases() -> None:
    tokens = torch.arange(12.0)[:, None].repeat(1, 3)
    moved = measures.permuted(3)(tokens, 0)
    assert torch.equal(moved.sort(0).values, tokens)
    assert torch.equal(measures.permuted(3)(tokens * 2, 0), moved * 2)
    assert not torch.equal(measures.permuted(3)(tokens, 1), moved)
    assert not torch.equal(measures.permuted(4)(tokens, 0), moved)
    assert torch.equal(measures.permuted(3, 5)(tokens, 2), measures.permuted(3, 7)(tokens, 0))
    orders = [measures.order_of(6, *key).tolist() for key in ((0, 0), (0, 1), (2, 0), (2, 47))]
    assert orders == [[3, 2, 5, 4, 0, 1], [1, 4, 3, 0, 2, 5], [3, 5, 2, 4, 0, 1], [4, 5, 3, 2, 0, 1]]


@pytest.mark.parametrize(("grid", "side"), [((4, 4), 2), ((6, 4), 2), ((5, 7), 3), ((3, 3), 1), ((3, 4), 9)])
def test_pooling_gives_each_token_the_mean_of_its_cell(grid: tuple[int, int], side: int) -> None:
    tokens = torch.randn(grid[0] * grid[1], 5, generator=torch.Generator().manual_seed(0))
    found = measures.pooled(grid, side)(tokens, 0)
    rows, columns = grid
    for r in range(rows):
        for c in range(columns):
            ys = [y for y in range(rows) if y * min(side, rows) // rows == r * min(side, rows) // rows]
            across = min(side, columns)
            xs = [x for x in range(columns) if x * across // columns == c * across // columns]
            own = [tokens[y * columns + x] for y in ys for x in xs]
            assert torch.allclose(found[r * columns + c], torch.stack(own).mean(0), atol=1e-6)
    assert len(torch.unique(found, dim=0)) == min(side, rows) * min(side, columns)


def test_psi_follows_its_formula_and_no_ratio_is_told_where_there_is_nothing_to_lose() -> None:
    original = np.array([1, 1, 1, 1, 1, 1, 0, 1, 1, 1] * 8, bool)
    moved = np.stack([original & (np.arange(80) % 3 > 0), original & (np.arange(80) % 4 > 0)])
    found = measures.permutation_scores(original, moved, np.full(80, 0.25), (5, 6))
    before, after = original.mean(), moved.mean()
    assert found.psi.value == pytest.approx((before - after) / before)
    assert found.corrected.value == pytest.approx((before - after) / (before - 0.25))
    assert (found.permuted.k, found.permuted.n) == (moved.sum(), 160)
    for interval in (found.psi, found.corrected):
        assert interval.low < interval.value < interval.high
    at_chance = np.arange(80) % 4 == 0
    found = measures.permutation_scores(at_chance, at_chance[None], np.full(80, 0.25), (0,))
    assert found.corrected is None
    assert found.psi.value == 0.0
    none = np.zeros(80, bool)
    assert measures.permutation_scores(none, none[None], np.full(80, 0.25), (0,)).psi is None


def test_the_interval_of_psi_keeps_pairs_together() -> None:
    """Where the same items are lost whatever is drawn, a pair tells more than two shares do; against a plain loop."""
    rng = np.random.default_rng(2)
    original = rng.random(120) < 0.8
    moved = (original & (rng.random(120) < 0.7))[None]
    found = measures.permutation_scores(original, moved, np.full(120, 0.25), (0,))
    draws = []
    for _ in range(3000):
        some = rng.integers(0, 120, 120)
        draws.append(1 - moved[0][some].mean() / original[some].mean())
    assert (found.psi.low, found.psi.high) == pytest.approx(np.quantile(draws, (0.025, 0.975)).tolist(), abs=0.01)


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
    look = lambda _m, _given, named: lengths.append(named["input_ids"].shape[1])  # noqa: E731
    handle = answers.model.register_forward_pre_hook(look, with_kwargs=True)
    choices = ("left above", "left", "above left")
    found = answers.scores(plain.rgb, plain.question, choices)
    handle.remove()
    assert len(lengths) == 3  # the prompt, and two candidates of several tokens
    assert max(lengths[1:]) < 3 < lengths[0]
    for score, choice in zip(found, choices, strict=True):  # each behind a prompt that no other candidate followed
        inputs = answers.inputs(plain.rgb, plain.question, choices)
        tokens = answers.tokens(choice, inputs["input_ids"].device)
        assert answers._told(inputs, {choice: tokens}, None) == {choice: [score]}


def test_each_question_is_asked_with_a_permutation_of_its_own_and_the_same_ones_again() -> None:
    """The projector writes the number of each slot into its token; what the decoder gets tells the order."""
    parts, numbers = parts_of(small_vlm("llava")), torch.arange(16.0)[:, None].repeat(1, 64)
    parts.projector.register_forward_hook(lambda _m, _i, out: numbers.reshape(out.shape))
    seen: list[list[float]] = []

    def look(tokens: torch.Tensor, _row: int) -> torch.Tensor:
        seen.append(tokens[:, 0].tolist())
        return tokens

    def asked(_item: ProbeItem) -> bool:
        with image_tokens_changed(parts, look), torch.no_grad():
            parts.model(**prompt("llava"))
        return seen[-1][0] < 8

    for _ in range(2):
        found = measures.permutation_sensitivity(parts, asked, ITEMS[:5], (3, 4), np.array([1, 1, 0, 1, 0], bool))
    assert len({tuple(one) for one in seen}) == 10
    assert seen == [measures.order_of(16, seed, number).tolist() for seed in (3, 4) for number in range(5)] * 2
    moved = sum(one[0] < 8 for one in seen[:10])
    assert (found.original.k, found.permuted.k, found.permuted.n, found.seeds) == (3, moved, 10, (3, 4))
    assert moved not in (0, 5, 10)


def test_pooling_to_the_whole_grid_changes_no_answer_and_to_one_value_hides_all_places() -> None:
    answers = scorer("llava")

    def asked(item: ProbeItem) -> bool:
        return answers.answer(item.plain.rgb, item.plain.question, item.plain.choices) == item.truth

    right = np.array([asked(item) for item in ITEMS])
    whole, one = measures.pooling(answers.parts, asked, lambda _item: (4, 4), ITEMS, (4, 1), right)
    assert (whole.values, one.values) == (16, 1)
    assert (whole.change.value, whole.change.low <= 0 <= whole.change.high) == (0.0, True)
    plain = ITEMS[0].plain
    changes = (measures.pooled((4, 4), 1), measures.permuted(0))
    first, second = (image_tokens_changed(answers.parts, change) for change in changes)
    with first, second:
        moved = answers.scores(plain.rgb, plain.question, plain.choices)
    with image_tokens_changed(answers.parts, measures.pooled((4, 4), 1)):
        assert answers.scores(plain.rgb, plain.question, plain.choices) == pytest.approx(moved, abs=1e-5)


def test_a_template_takes_the_place_of_the_chat_template_and_a_prompt_has_no_labels() -> None:
    answers, plain = scorer("llava"), ITEMS[0].plain
    own = CandidateScorer(answers.model, answers.processor, "<image>{question}", lead=" ")
    inputs = own.inputs(plain.rgb, plain.question, plain.choices)
    assert int((inputs["input_ids"] == answers.parts.image_token_id).sum()) == 16
    given = plain.rgb, plain.question, plain.choices
    assert own.scores(*given) != answers.scores(*given)
    assert set(PROBED) == set(ARCHITECTURES)
    answers, plain = scorer("paligemma"), ITEMS[0].plain
    given = answers.processor(images=[Image.fromarray(plain.rgb)], text=["<image>left"], return_tensors="pt")
    assert "labels" in given  # the processor brings them unasked
    assert set(answers.inputs(plain.rgb, plain.question, plain.choices)) == set(given) - {"labels"}


def test_what_cannot_be_tested_or_asked_is_refused() -> None:
    answers, plain = scorer("llava"), ITEMS[0].plain
    for call, given, error, words in (
        (measures.pooled((4, 4), 2), (torch.zeros(15, 2), 0), InputError, "4 x 4"),
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
