# SPDX-License-Identifier: Apache-2.0
"""Scaled attention at the end of the prompt: one row run again is a second prefill, and nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_vlms import IMAGE, KINDS, prompt, small_vlm  # noqa: E402
from transformers import AttentionMaskInterface  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.kv_cache import cache_of  # noqa: E402
from spatial_vlm_ros.vlm.parts import Parts, parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.attention_scaling import (  # noqa: E402
    NAME,
    AdaptVis,
    ScalingVis,
    generate,
    last_row_scaled,
    one_row,
)

STEPS = 24
ALPHAS = (0.0, 0.5, 2.0)
Inputs = dict[str, torch.Tensor]


def decoded(parts: Parts, inputs: Inputs, doing: AbstractContextManager[Any]) -> tuple[list[int], torch.Tensor]:
    """New tokens, and the logits (T, V) they were chosen by, in the model's own type."""
    seen: list[torch.Tensor] = []
    handle = parts.model.lm_head.register_forward_hook(lambda _m, _i, out: seen.append(out[0, -1]))
    with doing:
        tokens = parts.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    handle.remove()
    new = tokens[0, inputs["input_ids"].shape[1] :].tolist()
    return new, torch.stack(seen[-len(new) :])


def in_one_row(parts: Parts, inputs: Inputs, alpha: float) -> AbstractContextManager[Any]:
    return one_row(parts, inputs["input_ids"], ScalingVis(alpha))


def in_reference(parts: Parts, inputs: Inputs, alpha: float) -> AbstractContextManager[Any]:
    return last_row_scaled(parts, parts.image_columns(inputs["input_ids"])[0], alpha)


def padded(inputs: Inputs, count: int = 3) -> Inputs:
    """The same prompt behind tokens that are masked out."""
    more = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in inputs:
            more[name] = torch.cat([torch.zeros(1, count, dtype=inputs[name].dtype), inputs[name]], dim=1)
    return more


def with_image_first(inputs: Inputs, words: int) -> Inputs:
    """The same prompt without the words before its image."""
    by_token = ("input_ids", "attention_mask", "mm_token_type_ids")
    return {name: x[:, words:] if name in by_token else x for name, x in inputs.items()}


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_one_row_run_again_is_a_second_prefill(kind: str, alpha: float, dtype: torch.dtype, within: float) -> None:
    parts, inputs = parts_of(small_vlm(kind, dtype=dtype)), prompt(kind, dtype=dtype)
    tokens, logits = decoded(parts, inputs, in_one_row(parts, inputs, alpha))
    expected_tokens, expected = decoded(parts, inputs, in_reference(parts, inputs, alpha))
    _, plain = decoded(parts, inputs, nullcontext())
    assert tokens == expected_tokens
    assert len(tokens) == STEPS
    assert logits.dtype == dtype
    assert float((logits - expected).abs().max()) < within
    assert float((logits[0] - plain[0]).abs().max()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["masked", "first", "long"])
def test_it_holds_behind_masked_tokens_with_the_image_first_and_with_long_text(kind: str, change: str) -> None:
    inputs = prompt(kind, words=40 if change == "long" else 6, seed=3, dtype=torch.float64)
    inputs = padded(inputs) if change == "masked" else with_image_first(inputs, 6) if change == "first" else inputs
    parts = parts_of(small_vlm(kind, seed=5, dtype=torch.float64))
    tokens, logits = decoded(parts, inputs, in_one_row(parts, inputs, 2.0))
    expected_tokens, expected = decoded(parts, inputs, in_reference(parts, inputs, 2.0))
    assert tokens == expected_tokens
    assert float((logits - expected).abs().max()) < 1e-10
    assert (int(inputs["attention_mask"].sum()) < inputs["input_ids"].shape[1]) == (change == "masked")


@pytest.mark.parametrize("kind", KINDS)
def test_stale_states_of_the_last_token_would_show_at_the_second_token(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind, dtype=torch.float64)), prompt(kind, dtype=torch.float64)
    _, expected = decoded(parts, inputs, in_reference(parts, inputs, 0.5))
    _, stale = decoded(parts, inputs, _stale(parts, inputs, 0.5))
    differences = (stale - expected).abs().amax(dim=1)
    assert float(differences[0]) < 1e-10
    assert float(differences[1]) > 1e-3


@contextmanager
def _stale(parts: Parts, inputs: Inputs, alpha: float) -> Iterator[None]:
    """The one-row form with a mistake: keys and values of the last token are those of the plain prefill."""
    old: list[tuple[torch.Tensor, torch.Tensor]] = []
    back: list[bool] = []

    def keep(_m: Any, _i: Any, outputs: Any) -> None:
        if not old:
            old.extend((x.keys[..., -1:, :], x.values[..., -1:, :]) for x in cache_of(outputs).layers)

    def restore(_m: Any, _i: Any, outputs: Any) -> None:
        if not back:
            back.append(True)
            for layer, (key, value) in zip(cache_of(outputs).layers, old, strict=True):
                layer.keys = torch.cat([layer.keys[..., :-1, :], key], dim=-2)
                layer.values = torch.cat([layer.values[..., :-1, :], value], dim=-2)

    first = parts.model.register_forward_hook(keep)
    with in_one_row(parts, inputs, alpha):
        last = parts.model.register_forward_hook(restore)
        yield
    first.remove()
    last.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_keys_in_the_cache_stay_true_and_only_the_last_token_is_replaced(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    told = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True}
    plain = cache_of(parts.model.generate(**inputs, **told)).layers
    with in_one_row(parts, inputs, 0.5):
        scaled = cache_of(parts.model.generate(**inputs, **told)).layers
    for number, (one, other) in enumerate(zip(plain, scaled, strict=True)):
        for before, after in ((one.keys, other.keys), (one.values, other.values)):
            assert torch.equal(before[..., :-1, :], after[..., :-1, :])
            assert torch.allclose(before[..., -1, :], after[..., -1, :], atol=1e-4) == (number == 0)


@pytest.mark.parametrize("two_prefills", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_of_one_is_the_models_own_generate(kind: str, two_prefills: bool) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    own = parts.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    answer = generate(parts, inputs, ScalingVis(1.0), STEPS, two_prefills=two_prefills)
    assert answer.tokens.tolist() == own[0, inputs["input_ids"].shape[1] :].tolist()
    assert torch.allclose(answer.plain, answer.scaled, atol=1e-5)


@pytest.mark.parametrize("two_prefills", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_confidence_is_the_largest_probability_of_the_plain_first_token(kind: str, two_prefills: bool) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    with torch.no_grad():
        logits = parts.model(**inputs).logits[0, -1].double().numpy()
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    for threshold, alpha in ((expected.max() + 0.02, 0.5), (expected.max() - 0.02, 2.0)):
        answer = generate(parts, inputs, AdaptVis(0.5, 2.0, float(threshold)), 3, two_prefills=two_prefills)
        assert answer.confidence == pytest.approx(expected.max(), abs=1e-5)
        assert answer.plain.numpy() == pytest.approx(expected, abs=1e-5)
        assert answer.alpha == alpha
        assert int(answer.scaled.argmax()) == int(answer.tokens[0])
        assert answer.tokens.tolist() == generate(parts, inputs, ScalingVis(alpha), 3).tokens.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_of_adaptvis_agree(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind, seed=2)), prompt(kind, seed=4)
    settings = AdaptVis(0.5, 1.5, 0.15)
    one, two = (generate(parts, inputs, settings, STEPS, two_prefills=two) for two in (False, True))
    assert one.tokens.tolist() == two.tokens.tolist()
    assert (one.alpha, one.confidence) == (two.alpha, pytest.approx(two.confidence, abs=1e-6))
    assert torch.allclose(one.scaled, two.scaled, atol=1e-5)


@pytest.mark.parametrize("two_prefills", [False, True])
def test_probabilities_of_a_bfloat16_model_are_float32_and_near_the_full_ones(two_prefills: bool) -> None:
    half = parts_of(small_vlm("qwen3_vl", dtype=torch.bfloat16)), prompt("qwen3_vl", dtype=torch.bfloat16)
    full = parts_of(small_vlm("qwen3_vl")), prompt("qwen3_vl")
    short, exact = (generate(*one, ScalingVis(2.0), 2, two_prefills=two_prefills) for one in (half, full))
    for given, expected in ((short.plain, exact.plain), (short.scaled, exact.scaled)):
        assert given.dtype == torch.float32
        assert float(given.sum()) == pytest.approx(1.0, abs=1e-5)
        assert torch.allclose(given, expected, atol=0.05)


def test_an_answer_ends_where_it_should() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    tokens = generate(parts, inputs, ScalingVis(2.0), STEPS).tokens.tolist()
    end = tokens[3]
    for two in (False, True):
        ended = generate(parts, inputs, ScalingVis(2.0), STEPS, eos_token_id=end, two_prefills=two).tokens.tolist()
        assert ended == tokens[: tokens.index(end) + 1]
    parts.model.generation_config.eos_token_id = end
    assert generate(parts, inputs, ScalingVis(2.0), STEPS).tokens.tolist() == ended


def weights_by_hand(parts: Parts, inputs: Inputs, calls: list[dict[str, Any]], alpha: float) -> list[np.ndarray]:
    """(H, N, N) attention of each layer, from what its projections and the rotary module gave, in NumPy.

    `calls` holds the parts of one prompt, in order: rows of all calls are put together.
    """
    cos, sin = (np.concatenate([c["rotary"][k][0].double().numpy() for c in calls]) for k in (0, 1))
    ids = inputs["input_ids"][0].numpy()
    count, heads, weights = len(ids), 4, []

    def turned(name: str, layer: int) -> np.ndarray:
        x = np.concatenate([c[name, layer][0].double().numpy().reshape(-1, 64 if name == "q" else 32) for c in calls])
        x = x.reshape(count, -1, 16)
        swapped = np.concatenate([-x[..., 8:], x[..., :8]], axis=-1)
        return x * cos[:, None] + swapped * sin[:, None]

    for layer in range(len(parts.layers)):
        q, k = turned("q", layer), turned("k", layer)
        logits = np.full((heads, count, count), -np.inf)
        for head in range(heads):
            for row in range(count):
                for column in range(row + 1):
                    logit = q[row, head] @ k[column, head // 2] / 4.0
                    scaled = row == count - 1 and ids[column] == IMAGE
                    logits[head, row, column] = logit * (alpha if scaled else 1.0)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights.append(powers / powers.sum(axis=-1, keepdims=True))
    return weights


@contextmanager
def watched(parts: Parts) -> Iterator[list[dict[Any, Any]]]:
    """What queries, keys and rotary angles were in each call of the decoder, and the attention weights."""
    calls: list[dict[Any, Any]] = []
    handles = [parts.rotary.register_forward_hook(lambda _m, _i, out: calls.append({"rotary": out}))]

    def note(key: Any, pick: Any) -> Any:
        return lambda _m, _i, out: calls[-1].__setitem__(key, pick(out))

    for number, layer in enumerate(parts.layers):
        attention = layer.self_attn
        for name in ("q", "k"):
            last = getattr(attention, f"{name}_norm", getattr(attention, f"{name}_proj"))
            handles.append(last.register_forward_hook(note((name, number), lambda out: out)))
        handles.append(attention.register_forward_hook(note(("weights", number), lambda out: out[1])))
    yield calls
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_image_columns_of_the_last_row_are_scaled_in_every_layer_and_nothing_else(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind, words=4)
    with watched(parts) as calls, in_reference(parts, inputs, 2.0):
        parts.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert len(calls) == 2
    for number, expected in enumerate(weights_by_hand(parts, inputs, calls[:1], 2.0)):
        assert calls[0]["weights", number][0].numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_so_is_the_row_that_is_run_again(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind, words=4)
    parts.language.set_attn_implementation("eager")  # which tells its weights
    with watched(parts) as calls, in_one_row(parts, inputs, 2.0):
        parts.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert len(calls) == 3
    plain = weights_by_hand(parts, inputs, calls[:1], 1.0)
    first = {
        key: value if key == "rotary" else value[:, :-1] for key, value in calls[0].items() if "weights" not in key
    }
    first["rotary"] = tuple(x[:, :-1] for x in calls[0]["rotary"])
    again = weights_by_hand(parts, inputs, [first, calls[1]], 2.0)
    for number in range(len(parts.layers)):
        assert calls[0]["weights", number][0].numpy() == pytest.approx(plain[number], abs=1e-5)
        assert calls[1]["weights", number][0].numpy() == pytest.approx(again[number][:, -1:], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_earlier_rows_and_decoding_steps_are_plain(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    with torch.no_grad():
        plain = parts.model(**inputs).logits[0]
        with in_reference(parts, inputs, 0.5):
            scaled = parts.model(**inputs).logits[0]
    assert torch.allclose(plain[:-1], scaled[:-1], atol=1e-4)
    assert not torch.allclose(plain[-1], scaled[-1], atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_without_masks_of_its_own_name_every_token_would_see_later_ones(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    with torch.no_grad():
        plain = parts.model(**inputs).logits[0]
        monkeypatch.delitem(AttentionMaskInterface._global_mapping, NAME)
        with in_reference(parts, inputs, 1.0):
            unmasked = parts.model(**inputs).logits[0]
        monkeypatch.undo()
        with in_reference(parts, inputs, 1.0):
            masked = parts.model(**inputs).logits[0]
    assert float((unmasked - plain).abs().max()) > 0.1
    assert torch.allclose(masked, plain, atol=1e-4)


@pytest.mark.parametrize("form", [in_one_row, in_reference])
def test_the_model_is_as_before_afterwards_also_after_an_error(form: Any) -> None:
    parts, inputs = parts_of(small_vlm("qwen2_5_vl")), prompt("qwen2_5_vl")
    before, vision = parts.language.config._attn_implementation, parts.vision.config._attn_implementation
    expected = decoded(parts, inputs, nullcontext())
    with form(parts, inputs, 2.0):
        assert parts.vision.config._attn_implementation == vision
    with pytest.raises(KeyError, match="stop"), form(parts, inputs, 2.0):
        raise KeyError("stop")
    assert parts.language.config._attn_implementation == before
    assert not parts.model._forward_hooks
    tokens, logits = decoded(parts, inputs, nullcontext())
    assert tokens == expected[0]
    assert torch.equal(logits, expected[1])


def test_a_second_answer_within_is_plain() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    plain, _ = decoded(parts, inputs, nullcontext())
    with in_one_row(parts, inputs, 2.0):
        first = parts.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
        second = parts.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    assert second[0, -STEPS:].tolist() == plain
    assert first[0, -STEPS:].tolist() != plain


@pytest.mark.parametrize("two_prefills", [False, True])
def test_a_prefix_language_model_is_refused(two_prefills: bool) -> None:
    parts, inputs = parts_of(small_vlm("paligemma")), prompt("paligemma")
    with pytest.raises(ModelError, match="prefix language model"):
        generate(parts, inputs, ScalingVis(2.0), two_prefills=two_prefills)
    with pytest.raises(ModelError, match="prefix language model"), in_reference(parts, inputs, 2.0):
        pass


def test_sliding_windows_are_refused() -> None:
    text = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    parts = parts_of(small_vlm("qwen2_5_vl", **text))
    with pytest.raises(ModelError, match="sliding window"):
        generate(parts, prompt("qwen2_5_vl"), ScalingVis(2.0))
    with pytest.raises(ModelError, match="sliding window"), in_reference(parts, prompt("qwen2_5_vl"), 2.0):
        pass


def test_linear_attention_is_refused() -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen3NextConfig

    text = Qwen3NextConfig(
        vocab_size=60, hidden_size=32, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8,
        shared_expert_intermediate_size=8,
    )  # fmt: skip
    config = LlavaConfig(vision_config=small_vlm("llava").config.vision_config, text_config=text, image_token_id=IMAGE)
    parts = parts_of(LlavaForConditionalGeneration(config).eval())
    with pytest.raises(ModelError, match="linear attention"):
        generate(parts, prompt("llava"), ScalingVis(2.0))


def test_a_cache_that_cannot_be_taken_back_is_refused() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    with in_one_row(parts, inputs, 2.0), pytest.raises(ModelError, match="StaticLayer"):
        parts.model.generate(**inputs, max_new_tokens=2, cache_implementation="static", disable_compile=True)


def test_an_answer_without_a_cache_is_refused() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    with in_one_row(parts, inputs, 2.0), pytest.raises(InputError, match="use_cache"):
        parts.model.generate(**inputs, max_new_tokens=2, use_cache=False)


def test_values_that_are_no_numbers_are_an_error() -> None:
    parts = parts_of(small_vlm("llava"))
    with torch.no_grad():
        parts.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        generate(parts, prompt("llava"), ScalingVis(2.0))


def test_more_than_one_prompt_or_beam_is_refused() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    twice = {name: torch.cat([x, x]) for name, x in inputs.items()}
    with pytest.raises(InputError, match=r"input_ids of \(2, 28\)"):
        generate(parts, twice, ScalingVis(2.0))
    with in_one_row(parts, inputs, 2.0), pytest.raises(InputError, match="2 rows"):
        parts.model.generate(**inputs, max_new_tokens=2, num_beams=2, do_sample=False)


def test_prompts_that_cannot_be_run_again_are_refused() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    ids = inputs["input_ids"]
    with pytest.raises(InputError, match="no image token"):
        generate(parts, {**inputs, "input_ids": torch.ones_like(ids)}, ScalingVis(2.0))
    with pytest.raises(InputError, match="image token at its end"):
        generate(parts, {"input_ids": ids[:, :20]}, ScalingVis(2.0))
    with pytest.raises(InputError, match="no input_ids"):
        generate(parts, {"pixel_values": inputs["pixel_values"]}, ScalingVis(2.0))
    with pytest.raises(InputError, match="past_key_values"):
        generate(parts, {**inputs, "past_key_values": ids}, ScalingVis(2.0))
    with pytest.raises(InputError, match="1 or more"):
        generate(parts, inputs, ScalingVis(2.0), 0)
    with in_one_row(parts, inputs, 2.0), pytest.raises(InputError, match=r"Call model\.generate"):
        parts.model(**inputs)
