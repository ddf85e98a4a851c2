# SPDX-License-Identifier: Apache-2.0
"""A positional insert (PIN) at the projector."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from small_vlms import prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import mark  # noqa: E402
from spatial_vlm_ros.vlm.remedies.pin import NAME, Pin, pin_from, pin_tensors, put_pin, sinusoids  # noqa: E402


def made(patches: int = 16, size: int = 32, seed: int = 0) -> Pin:
    torch.manual_seed(seed)
    return Pin(patches, size)


def offset(pin: Pin) -> np.ndarray:
    """(N, d) of the perceptron in NumPy, from its weights."""
    weights = {name: value.detach().double().numpy() for name, value in pin.psi.named_parameters()}
    x = np.array([
        [(math.sin if i % 2 == 0 else math.cos)(p / 10000 ** (2 * (i // 2) / 64)) for i in range(64)]
        for p in range(len(pin.table))
    ])  # fmt: skip
    for linear, norm in ((0, 2), (3, 5)):
        x = x @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
        x = x / (1 + np.exp(-x))
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
    return x @ weights["6.weight"].T + weights["6.bias"]


def projected(model, inputs) -> torch.Tensor:  # noqa: ANN001
    """What the projector takes, (B, N, d)."""
    seen = []
    handle = model.model.multi_modal_projector.linear_1.register_forward_pre_hook(
        lambda _m, given: seen.append(given[0])
    )
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen[0]


def test_the_table_holds_sines_and_cosines_of_the_patch_number() -> None:
    table = sinusoids(256)
    assert sum(value.numel() for value in Pin(256, 1024).parameters()) == 1_217_280, "as published"
    assert table.shape == (256, 64)
    for patch, number in ((0, 0), (0, 1), (17, 0), (255, 0), (255, 31), (100, 62), (255, 63)):
        angle = patch / 10000 ** (2 * (number // 2) / 64)
        wanted = math.sin(angle) if number % 2 == 0 else math.cos(angle)
        assert float(table[patch, number]) == pytest.approx(wanted, abs=1e-6)


def test_the_offset_is_the_perceptron_over_the_table_and_differs_from_patch_to_patch() -> None:
    pin = made()
    assert pin().detach().numpy() == pytest.approx(offset(pin), abs=1e-4)
    assert float(torch.cdist(pin(), pin()).detach()[~torch.eye(16, dtype=torch.bool)].min()) > 0.01


def test_patch_tokens_are_moved_by_it_until_it_is_taken_off() -> None:
    model, inputs, pin = small_vlm("llava"), prompt("llava"), made()
    before = projected(model, inputs)
    handle = put_pin(parts_of(model), pin, allow_untrained=True)
    assert (projected(model, inputs) - before)[0].numpy() == pytest.approx(offset(pin), abs=1e-4)
    assert model.generate(**inputs, max_new_tokens=4, do_sample=False).shape[1] == inputs["input_ids"].shape[1] + 4
    for shape in ((1, 15, 32), (1, 18, 32), (1, 16, 40)):
        with pytest.raises(ModelError, match="images of 16 patches of 32"):
            model.model.multi_modal_projector(torch.zeros(shape))
    handle.remove()
    assert torch.equal(projected(model, inputs), before)


def test_a_class_token_among_the_features_stays_as_it_is() -> None:
    model, inputs, pin = small_vlm("llava"), prompt("llava"), made()
    told = {"vision_feature_select_strategy": "full"}
    with torch.no_grad():
        before = model.model.get_image_features(inputs["pixel_values"], **told).pooler_output[0]
        put_pin(parts_of(model), pin, allow_untrained=True)
        after = model.model.get_image_features(inputs["pixel_values"], **told).pooler_output[0]
    same = (after - before).abs().max(dim=-1).values < 1e-6
    assert same.tolist() == [True] + [False] * 16


def test_each_of_several_layers_gets_the_offset() -> None:
    from transformers import LlavaForConditionalGeneration

    from spatial_vlm_ros.vlm.remedies.features import multilayer_config

    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(multilayer_config(small_vlm("llava").config, [1, 3])).eval()
    inputs, pin = prompt("llava"), made()
    before = projected(model, inputs)
    put_pin(parts_of(model), pin, allow_untrained=True)
    moved = (projected(model, inputs) - before)[0].numpy()
    assert moved == pytest.approx(np.tile(offset(pin), 2), abs=1e-4)


@pytest.mark.parametrize("kind", ["llava", "paligemma"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_alone_learns_on_a_frozen_model(kind: str, dtype: torch.dtype) -> None:
    model = small_vlm(kind, dtype=dtype).requires_grad_(False)
    inputs, pin = prompt(kind, dtype=dtype), made()
    put_pin(parts_of(model), pin, allow_untrained=True)
    optimizer = torch.optim.Adam(pin.parameters(), 1e-3)
    losses = []
    for _ in range(5):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(value.grad is None for value in model.parameters())
    assert all(float(value.grad.abs().max()) > 0 for value in pin.parameters())


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    pin = made(seed=3)
    save_file(pin_tensors(pin), tmp_path / "pin.safetensors")
    assert torch.equal(pin_from(load_file(tmp_path / "pin.safetensors"))(), pin())


def test_a_model_that_was_not_trained_with_one_is_refused() -> None:
    model = small_vlm("llava")
    with pytest.raises(ModelError, match="without it"):
        put_pin(parts_of(model), made())
    assert not model.model.multi_modal_projector._forward_pre_hooks
    mark(model, NAME, {"patches": 16})
    put_pin(parts_of(model), made())


def put_on(kind: str, pin: Pin) -> None:
    put_pin(parts_of(small_vlm(kind)), pin, allow_untrained=True)


def spoilt() -> Pin:
    pin = made()
    with torch.no_grad():
        pin.psi[0].bias[3] = float("nan")
    return pin


@pytest.mark.parametrize(
    ("call", "given", "error", "words"),
    [
        (Pin, (0, 8), InputError, "above 0"),
        (Pin, (8, 0), InputError, "above 0"),
        (pin_from, ({},), InputError, "pin_tensors"),
        (pin_from, ({**pin_tensors(made()), "more": torch.zeros(3)},), InputError, "pin_tensors"),
        (pin_from, ({**pin_tensors(made()), "psi.0.bias": torch.zeros(3)},), InputError, "pin_tensors"),
        (put_on, ("llava", Pin(17, 32)), InputError, "16 of 32 as in the encoder"),
        (put_on, ("llava", Pin(16, 64)), InputError, "16 of 32 as in the encoder"),
        (put_on, ("qwen2_5_vl", made()), ModelError, "any size"),
        (put_on, ("qwen3_vl", made()), ModelError, "any size"),
        (spoilt(), (), ModelError, "PIN"),
    ],
)
def test_inserts_that_do_not_fit_are_refused(
    call: Callable[..., object], given: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(*given)
