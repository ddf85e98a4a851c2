# SPDX-License-Identifier: Apache-2.0
"""Attention shares, maps and the turning of image keys, against softmax in NumPy from hooked queries and keys."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_vlms import IMAGE, KINDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.attention import attention_map, last_rows, modality_balance  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.loudness import loudness  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.rotary_probe import (  # noqa: E402
    rotary_sensitivity,
    rows_of,
)
from spatial_vlm_ros.vlm.parts import Parts, parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.absolute import LearnedPositions  # noqa: E402
from spatial_vlm_ros.vlm.remedies.position_schemes import Positions, own_positions  # noqa: E402
from spatial_vlm_ros.vlm.remedies.positions import install, installed_positions, speeds_of  # noqa: E402

HEADS, SIZE = 4, 16
Angles = Callable[[np.ndarray, float], np.ndarray]
"""(N,) bool where image tokens stand, and how much farther on they are → (N, D/2) radians."""


def kept(seen: dict[tuple[int, str], np.ndarray], at: tuple[int, str]) -> Any:
    def hook(_module: Any, _given: Any, out: torch.Tensor) -> None:
        seen[at] = out[0].double().numpy().reshape(out.shape[1], -1, SIZE)

    return hook


def hooked(parts: Parts, inputs: dict[str, Any], extra: float = 0.0, angles_of: Angles | None = None) -> np.ndarray:
    """(L, heads, N) attention of the last token: hooked projections (and their norms), turned and compared in NumPy.

    `extra` is added to the positions of image tokens as keys. Without `angles_of`, for models whose positions of all
    axes are 0, 1, 2, ...
    """
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
    """Angles of a prompt with one image, token by token; `axes` names the axis of each frequency.

    Of axial positions, "hhhhwwww", rows and columns have the same frequencies, base^(-4j/D); else base^(-2j/D).
    """
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
    with torch.no_grad(), last_rows(parts) as rows:
        parts.model(**inputs)
    found = np.stack([layer[0][0].numpy() for layer in rows])
    assert found.shape == (4, HEADS, inputs["input_ids"].shape[1])
    assert np.allclose(found, weights, atol=1e-5)
    system = np.zeros_like(image)
    system[:3] = True
    balance = modality_balance(parts, inputs, 1, system)
    whole = weights[..., image].sum(-1)
    assert np.allclose(balance.with_system, whole, atol=1e-5)
    assert balance.without_system is not None
    assert np.allclose(balance.without_system, whole / (1 - weights[..., :3].sum(-1)), atol=1e-5)
    assert (balance.without_system > balance.with_system).all()
    assert balance.steps == 1
    shown = attention_map(parts, inputs)
    assert shown.shape == (4, 4, 4)
    assert np.allclose(shown.reshape(4, 16), weights.mean(1)[:, image], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_balance_is_the_mean_over_the_tokens_that_are_said(kind: str) -> None:
    """Against one run of the whole text for each step, without a cache, with `output_attentions`."""
    model = small_vlm(kind)
    parts = parts_of(model)
    for seed in range(20):  # until no special token is said, as a trained model says none
        inputs = prompt(kind, seed=seed)
        said = model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, -3:]
        if int(said.max()) < IMAGE:
            break
    assert int(said.max()) < IMAGE
    model.set_attn_implementation("eager")
    image, shares = parts.image_columns(inputs["input_ids"])[0], []
    for step in range(3):
        more = {**inputs}
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if name in inputs:
                end = said[None, :step] if name == "input_ids" else torch.full((1, step), int("mask" in name))
                more[name] = torch.cat([inputs[name], end.to(inputs[name].dtype)], dim=1)
        with torch.no_grad():
            attentions = model(**more, output_attentions=True, use_cache=False).attentions
        shares.append(torch.stack([a[0, :, -1, : len(image)][:, image].sum(-1) for a in attentions]))
    balance = modality_balance(parts, inputs, 3)
    assert balance.steps == 3
    assert balance.without_system is None
    assert np.allclose(balance.with_system, torch.stack(shares).mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_of_computing_attention_is_put_back_and_nothing_of_a_prompt_stays_alive(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    with torch.no_grad():
        before = parts.model(**inputs).logits
    modality_balance(parts, inputs, 2)
    rows = rows_of(parts, inputs)
    assert [layer.self_attn.config._attn_implementation for layer in parts.layers] == ["sdpa"] * 4
    with torch.no_grad():
        assert torch.equal(parts.model(**inputs).logits, before)
    alive = [weakref.ref(rows[0].keys), weakref.ref(parts.layers[0].self_attn), weakref.ref(parts.model)]
    del rows, parts
    gc.collect()
    assert [one() for one in alive] == [None] * 3


def test_a_layer_without_weights_is_an_error_and_nothing_stays_hooked() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    attention = parts.layers[1].self_attn
    handle = attention.register_forward_hook(lambda _m, _g, out: (out[0], None))
    with pytest.raises(ModelError, match="no attention weights"):
        attention_map(parts, inputs)
    handle.remove()
    assert not attention._forward_hooks
    assert attention.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("ask", "more", "words"),
    [
        *((ask, "twice", "prompts: 2") for ask in (attention_map, modality_balance, rotary_sensitivity)),
        (modality_balance, (0,), "decoding steps"),
        (modality_balance, (1, np.ones(3, bool)), "system prompt"),
        (modality_balance, (1, np.ones(28, bool)), "16 of the image"),
        (rotary_sensitivity, (0,), "step"),
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


def test_nothing_stays_alive_after_a_failure_either() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    last = parts.layers[-1].self_attn
    last.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ModelError, match="computes attention in its own way"):
        rows_of(parts, inputs)
    handle = parts.layers[2].register_forward_pre_hook(lambda *_: {}["a key of its own"])
    with pytest.raises(KeyError, match="a key of its own"):
        rows_of(parts, inputs)
    del handle
    alive = weakref.ref(parts.layers[0].self_attn)
    del parts, last
    gc.collect()
    assert alive() is None


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
    found = loudness(parts, inputs)
    image = np.linalg.norm(seen["image"].detach().double().numpy(), axis=-1).mean()
    text = np.linalg.norm(parts.embeddings.weight.detach().double().numpy(), axis=-1).mean()
    assert (found.image, found.text, found.ratio) == pytest.approx((image, text, image / text), rel=1e-5)


def test_an_overflow_of_image_tokens_is_an_error() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    with torch.no_grad():
        parts.projector.linear_2.weight[:] = float("nan")
    for ask in (loudness, attention_map, rows_of):
        with pytest.raises(ModelError, match="not numbers"):
            ask(parts, inputs)
