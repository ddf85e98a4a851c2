# SPDX-License-Identifier: Apache-2.0
"""Scaled attention at the end of the prompt: one row run again is a second prefill; how its factors are tuned."""

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import called, tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import FileError, InputError

pytest.importorskip("torch")
import torch
from small_scorers import IMAGE, KINDS, last_row_scaled, prompt, small_vlm

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import attention_scaling as scaling

TABLES = tables(__file__)

STEPS = 24
SLOW = pytest.mark.slow
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
    return scaling.one_row(parts, inputs["input_ids"], scaling.ScalingVis(alpha))


def changed(inputs: Inputs, change: str) -> Inputs:
    """The same prompt behind three masked tokens, or without the six words before its image."""
    given = dict(inputs)
    for name in {"input_ids", "attention_mask", "mm_token_type_ids"} & set(inputs):
        masked = torch.cat([torch.zeros(1, 3, dtype=inputs[name].dtype), inputs[name]], dim=1)
        given[name] = {"masked": masked, "first": inputs[name][:, 6:]}.get(change, inputs[name])
    return given


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("alpha", "number_format", "change"),
    [pytest.param(*row, marks=SLOW if slow else ()) for *row, slow in TABLES["second prefill"]],
)
def test_one_row_run_again_is_a_second_prefill(kind: str, alpha: float, number_format: str, change: str) -> None:
    dtype = getattr(torch, number_format)
    inputs = changed(prompt(kind, words=40 if change == "long" else 6, seed=3, dtype=dtype), change)
    parts = parts_of(small_vlm(kind, seed=5, dtype=dtype))
    tokens, logits = decoded(parts, inputs, in_one_row(parts, inputs, alpha))
    reference = last_row_scaled(parts, parts.image_columns(inputs["input_ids"])[0], alpha)
    expected_tokens, expected = decoded(parts, inputs, reference)
    _, plain = decoded(parts, inputs, nullcontext())
    assert tokens == expected_tokens
    assert len(tokens) == STEPS
    assert logits.dtype == dtype
    assert float((logits - expected).abs().max()) < (1e-10 if dtype is torch.float64 else 1e-4)
    assert float((logits[0] - plain[0]).abs().max()) > 0.01
    assert (int(inputs["attention_mask"].sum()) < inputs["input_ids"].shape[1]) == (change == "masked")


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=SLOW) for kind in KINDS[1:])])
def test_confidence_chooses_the_factor_and_a_factor_of_one_is_the_models_own_generate(kind: str) -> None:
    """Confidence is the largest probability of the plain first token, here by softmax in NumPy."""
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    own = parts.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    answer = scaling.generate(parts, inputs, scaling.ScalingVis(1.0), STEPS)
    assert answer.tokens.tolist() == own[0, inputs["input_ids"].shape[1] :].tolist()
    assert torch.allclose(answer.plain, answer.scaled, atol=1e-5)
    with torch.no_grad():
        logits = parts.model(**inputs).logits[0, -1].double().numpy()
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    for threshold, alpha in ((expected.max() + 0.02, 0.5), (expected.max() - 0.02, 2.0)):
        answer = scaling.generate(parts, inputs, scaling.AdaptVis(0.5, 2.0, float(threshold)), 3)
        assert answer.confidence == pytest.approx(expected.max(), abs=1e-5)
        assert answer.plain.numpy() == pytest.approx(expected, abs=1e-5)
        assert answer.alpha == alpha
        assert int(answer.scaled.argmax()) == int(answer.tokens[0])
        other = scaling.generate(parts, inputs, scaling.ScalingVis(alpha), 3)
        assert answer.tokens.tolist() == other.tokens.tolist()
        assert torch.allclose(answer.scaled, other.scaled, atol=1e-5)


def test_probabilities_of_a_bfloat16_model_are_float32_and_near_the_full_ones() -> None:
    half = parts_of(small_vlm("qwen3_vl", dtype=torch.bfloat16)), prompt("qwen3_vl", dtype=torch.bfloat16)
    full = parts_of(small_vlm("qwen3_vl")), prompt("qwen3_vl")
    short, exact = (scaling.generate(*one, scaling.ScalingVis(2.0), 2) for one in (half, full))
    for given, expected in ((short.plain, exact.plain), (short.scaled, exact.scaled)):
        assert given.dtype == torch.float32
        assert float(given.sum()) == pytest.approx(1.0, abs=1e-5)
        assert torch.allclose(given, expected, atol=0.05)


def test_an_answer_ends_where_it_should() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    tokens = scaling.generate(parts, inputs, scaling.ScalingVis(2.0), STEPS).tokens.tolist()
    end = tokens[3]
    parts.model.generation_config.eos_token_id = end
    ended = scaling.generate(parts, inputs, scaling.ScalingVis(2.0), STEPS).tokens.tolist()
    assert ended == tokens[: tokens.index(end) + 1]


def test_the_model_is_as_before_afterwards_also_after_an_error() -> None:
    parts, inputs = parts_of(small_vlm("qwen2_5_vl")), prompt("qwen2_5_vl")
    before, vision = parts.language.config._attn_implementation, parts.vision.config._attn_implementation
    expected = decoded(parts, inputs, nullcontext())
    with in_one_row(parts, inputs, 2.0):
        assert parts.vision.config._attn_implementation == vision
    with pytest.raises(KeyError, match="stop"), in_one_row(parts, inputs, 2.0):
        raise KeyError("stop")
    assert parts.language.config._attn_implementation == before
    assert not parts.model._forward_hooks
    tokens, logits = decoded(parts, inputs, nullcontext())
    assert tokens == expected[0]
    assert torch.equal(logits, expected[1])
    with in_one_row(parts, inputs, 2.0):
        first, second = (decoded(parts, inputs, nullcontext())[0] for _ in range(2))
    assert second == tokens != first, "of several answers within, only the first is scaled"


def prefix_model() -> tuple[Parts, Inputs]:
    return parts_of(small_vlm("paligemma")), prompt("paligemma")


def windowed_model() -> tuple[Parts, Inputs]:
    text = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    return parts_of(small_vlm("qwen2_5_vl", **text)), prompt("qwen2_5_vl")


def linear_model() -> tuple[Parts, Inputs]:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen3NextConfig

    text = Qwen3NextConfig(
        **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "shared_expert_intermediate_size": 8},
        **{"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8},
        **{"linear_value_head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8},
    )
    config = LlavaConfig(vision_config=small_vlm("llava").config.vision_config, text_config=text, image_token_id=IMAGE)
    return parts_of(LlavaForConditionalGeneration(config).eval()), prompt("llava")


def numberless_model() -> tuple[Parts, Inputs]:
    parts = parts_of(small_vlm("llava"))
    with torch.no_grad():
        parts.model.lm_head.weight.fill_(float("nan"))
    return parts, prompt("llava")


@pytest.mark.parametrize(("make", "words"), TABLES["models"])
def test_models_whose_attention_cannot_be_scaled_are_refused(make: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        scaling.generate(*globals()[make](), scaling.ScalingVis(2.0))


@pytest.mark.parametrize(("told", "error", "words"), TABLES["ways to generate that cannot be"])
def test_ways_to_generate_without_a_way_back_are_refused(told: dict[str, Any] | None, error: str, words: str) -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    with in_one_row(parts, inputs, 2.0), pytest.raises(getattr(errors, error), match=words):
        parts.model(**inputs) if told is None else parts.model.generate(**inputs, max_new_tokens=2, **told)


@pytest.mark.parametrize(
    ("change", "steps", "words"),
    [
        (lambda given: {name: torch.cat([x, x]) for name, x in given.items()}, 2, r"input_ids of \(2, 28\)"),
        (lambda given: {**given, "input_ids": torch.ones_like(given["input_ids"])}, 2, "no image token"),
        (lambda given: {"input_ids": given["input_ids"][:, :20]}, 2, "image token at its end"),
        (lambda given: {"pixel_values": given["pixel_values"]}, 2, "no input_ids"),
        (lambda given: {**given, "past_key_values": given["input_ids"]}, 2, "past_key_values"),
        (dict, 0, "1 or more"),
    ],
)
def test_prompts_that_cannot_run_again_are_refused(change: Callable[[Inputs], Inputs], steps: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        scaling.generate(parts_of(small_vlm("llava")), change(prompt("llava")), scaling.ScalingVis(2.0), steps)


ALPHAS, LOW_ALPHAS, HIGH_ALPHAS = (0.0, 0.5, 0.8, 1.2, 1.5, 2.0), (0.5, 0.8), (1.2, 1.5, 2.0)
"""The published factors (arXiv 2503.01773)."""
THRESHOLDS = [k / 100 for k in range(101)]
SPLIT = scaling.CaseSplit(cases=100, seed=1)
NAMES = {"model": "llava-1.5-7b", "data": "on-left-right-under"}


def answers(seed: int = 0) -> tuple[list[float], dict[float, list[bool]]]:
    """Confidences of the validation cases, and what was right with each factor, at random."""
    rng = np.random.default_rng(seed)
    n = len(SPLIT.validation)
    return rng.random(n).tolist(), {alpha: (rng.random(n) < 0.5).tolist() for alpha in ALPHAS}


def right_with(settings: scaling.AdaptVis, confidences: list[float], correct: dict[float, list[bool]]) -> int:
    return sum(correct[settings.alpha_for(c)][i] for i, c in enumerate(confidences))


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_no_other_pair_or_threshold_is_right_more_often(seed: int) -> None:
    for name in ("ALPHAS", "LOW_ALPHAS", "HIGH_ALPHAS"):
        assert getattr(scaling, name) == globals()[name]
    confidences, correct = answers(seed)
    tuned = scaling.tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    every = (scaling.AdaptVis(*values) for values in itertools.product(LOW_ALPHAS, HIGH_ALPHAS, THRESHOLDS))
    best = max(right_with(settings, confidences, correct) for settings in every)
    assert right_with(tuned, confidences, correct) == best
    one = scaling.tune_scaling(SPLIT, correct)
    assert sum(correct[one.alpha]) == max(sum(values) for values in correct.values())


def test_a_clear_border_is_found_in_its_middle_and_of_equals_the_least_change_is_taken() -> None:
    confidences = [0.2] * 8 + [0.6] * 12
    correct = {alpha: [False] * 20 for alpha in ALPHAS}
    correct[0.5] = [c < 0.4 for c in confidences]
    correct[1.5] = [c > 0.4 for c in confidences]
    settings = scaling.tune_adaptive(SPLIT, confidences, correct, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.5, 1.5)
    assert settings.threshold == pytest.approx((0.21 + 0.60) / 2, abs=0.01)
    alike = {alpha: [True] * 20 for alpha in ALPHAS}
    settings = scaling.tune_adaptive(SPLIT, [0.5] * 20, alike, **NAMES).settings
    assert (settings.alpha_low, settings.alpha_high) == (0.8, 1.2)
    assert scaling.tune_scaling(SPLIT, alike) == scaling.ScalingVis(1.2)
    rounded = scaling.AdaptVis(0.5, 1.5, 0.4)  # the confidence is rounded before it is compared
    assert [rounded.alpha_for(c) for c in (0.39, 0.394, 0.396, 0.4)] == [0.5, 0.5, 1.5, 1.5]


def test_parts_share_no_case_and_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    split = scaling.CaseSplit(411, seed=1)
    assert len(split.validation) == 82
    assert sorted({*split.validation, *split.test}) == list(range(411))
    assert len(split.test) == 411 - 82
    assert scaling.CaseSplit(411, seed=1).validation == split.validation != scaling.CaseSplit(411, seed=2).validation
    path = written(tmp_path / "a.json")
    read = scaling.read_calibration(str(path))
    assert read == tuned()
    assert read.settings_for(NAMES["model"]) == read.settings
    assert set(json.loads(path.read_text())) == {"model", "data", "n", "split", "alpha1", "alpha2", "beta"}


def tuned(split: scaling.CaseSplit = SPLIT, change: dict[str, Any] | None = None) -> scaling.AdaptVisSettings:
    confidences, correct = answers()
    given = {"confidences": confidences, "correct": correct, **(change or {})}
    return scaling.tune_adaptive(split, given["confidences"], given["correct"], **NAMES)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "split": lambda: SPLIT,
    "right": lambda: answers()[1],
    "all_right": lambda count, *without: {"correct": {a: [True] * count for a in ALPHAS if a not in without}},
    "confident": lambda value, count: {"confidences": [value] * count},
    "settings_for": lambda name: tuned().settings_for(name),
}


@pytest.mark.parametrize(("told", "words"), TABLES["cannot be tuned"])
def test_what_cannot_be_tuned_or_used_is_refused(told: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        called(told, vars(scaling) | globals() | FUNCTIONS)


def written(path: Path, **change: Any) -> Path:
    """A calibration file with some fields changed; None leaves one out."""
    scaling.write_calibration(tuned(), str(path))
    values = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return path


@pytest.mark.parametrize(("change", "field"), TABLES["a file that is not as"])
def test_a_file_that_is_not_as_documented_is_refused(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as raised:
        scaling.read_calibration(written(tmp_path / "a.json", **change))
    assert raised.value.field == field


def test_files_that_are_missing_no_json_or_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for name, content, words in (("0", None, "No such file"), ("1", "{", "not JSON"), ("2", "[1]", "model")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(FileError, match=words):
            scaling.read_calibration(tmp_path / name)
    with pytest.raises(FileError, match="writable location"):
        scaling.write_calibration(tuned(), tmp_path / "1" / "b.json")
