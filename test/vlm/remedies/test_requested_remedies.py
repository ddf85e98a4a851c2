# SPDX-License-Identifier: Apache-2.0
"""Normalisers of image tokens, a positional insert (PIN), notes of what a model was trained with, and all at once."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tables import called, tables

pytest.importorskip("torch")
import numpy as np
import torch
from safetensors.torch import save_file
from small_scorers import IMAGE, KINDS, WORDS, entering, prompt, small_vlm

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import features, norms, pin
from spatial_vlm_ros.vlm.remedies.attention_scaling import ScalingVis
from spatial_vlm_ros.vlm.remedies.learned import FILE, check_trained, load_learned, mark, save_learned, trained_with
from spatial_vlm_ros.vlm.remedies.pin import Pin, pin_from, put_pin, sinusoids
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

TABLES = tables(__file__)


def tokens(*shape: int, scale: float = 30.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def image_tokens(model, inputs) -> torch.Tensor:  # noqa: ANN001
    """(N, 64) before the first layer of the decoder."""
    return entering(model, inputs)[inputs["input_ids"][0] == IMAGE]


def test_the_published_normaliser_is_its_formula_with_a_learnt_gamma() -> None:
    for scale in (0.5, 1000.0):  # at first every token leaves with the published norm
        published = norms.PublishedNorm(4096, norms.VICUNA_MEAN, norms.VICUNA_LARGEST)
        lengths = published(tokens(3, 7, 4096, scale=scale)).norm(dim=-1)
        assert lengths.flatten().tolist() == pytest.approx([1.0126] * 21, abs=1e-5)
    norm, y = norms.PublishedNorm(6, mean=0.5, largest=3.0), tokens(40, 6, scale=2.0)
    with torch.no_grad():
        norm.gamma.copy_(torch.tensor([0.1, 2.0, -1.0, 0.3, 1.0, 4.0]))
    wanted = []
    for row in y.double().numpy():
        row = norm.gamma.detach().double().numpy() * row / np.sqrt(np.mean(row**2) + 1e-6)
        wanted.append(row * min(1.0, 3.0 / np.linalg.norm(row)) * 0.5)
    clipped = np.linalg.norm(wanted, axis=1) > 1.5 - 1e-9
    assert 0 < clipped.sum() < 40
    assert norm(y).detach().numpy() == pytest.approx(np.array(wanted), abs=1e-5)


def test_gamma_learns_from_clipped_tokens_too_and_a_token_of_zeros_stays_one() -> None:
    norm = norms.PublishedNorm(8)
    (norm(tokens(5, 8)) * tokens(5, 8, seed=1)).sum().backward()
    assert bool(torch.isfinite(norm.gamma.grad).all())
    assert float(norm.gamma.grad.abs().min()) > 1e-4
    for one in (norm, norms.MeanNorm(0.83)):
        y = torch.zeros(2, 8, requires_grad=True)
        one(y).sum().backward()
        assert not one(y).any()
        assert bool(torch.isfinite(y.grad).all())


@pytest.mark.parametrize("dose", [0.0, 0.3, 1.0])
def test_a_dose_mixes_the_own_norm_with_the_mean_and_keeps_the_direction(dose: float) -> None:
    y = tokens(9, 16)
    changed = norms.MeanNorm(0.83, dose)(y)
    own = np.linalg.norm(y.numpy(), axis=1)
    assert changed.norm(dim=-1).numpy() == pytest.approx((1 - dose) * own + dose * 0.83, rel=1e-5)
    assert torch.cosine_similarity(changed, y, dim=-1).tolist() == pytest.approx([1.0] * 9, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_without_overflow(dtype: torch.dtype) -> None:
    y = tokens(4, 64, scale=9000.0).to(dtype)
    assert not bool(torch.isfinite(y.square().sum(-1)).all()) or dtype is torch.bfloat16
    for norm, length in ((norms.PublishedNorm(64), 1.0126), (norms.MeanNorm(0.83), 0.83)):
        changed = norm(y)
        assert changed.dtype is dtype
        assert changed.float().norm(dim=-1).tolist() == pytest.approx([length] * 4, rel=5e-3)


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_on_a_model_every_image_token_enters_normalised_until_it_is_taken_off(kind: str) -> None:
    model, inputs = small_vlm(kind), prompt(kind)
    before = image_tokens(model, inputs)
    for norm, length in ((norms.PublishedNorm(64), 1.0126), (norms.MeanNorm(0.83), 0.83)):
        handle = norms.put_norm(parts_of(model), norm, allow_untrained=True)
        changed = image_tokens(model, inputs)
        assert changed.norm(dim=-1).tolist() == pytest.approx([length] * 16, abs=1e-3)
        assert torch.cosine_similarity(changed, before, dim=-1).tolist() == pytest.approx([1.0] * 16, abs=1e-4)
        handle.remove()
        assert torch.equal(image_tokens(model, inputs), before)


def test_a_model_that_was_not_trained_with_a_normaliser_or_an_insert_is_refused_it() -> None:
    model, inputs = small_vlm("llava"), prompt("llava")
    before = image_tokens(model, inputs)
    with pytest.raises(ModelError, match=r"without it.*allow_untrained"):
        norms.put_norm(parts_of(model), norms.PublishedNorm(64))
    assert torch.equal(image_tokens(model, inputs), before)
    mark(model, norms.NAME, norms.PUBLISHED)
    norms.put_norm(parts_of(model), norms.PublishedNorm(64)).remove()
    model = small_vlm("llava")
    with pytest.raises(ModelError, match="without it"):
        put_pin(parts_of(model), pin_of())
    assert not model.model.multi_modal_projector._forward_pre_hooks
    mark(model, pin.NAME, {"patches": 16})
    put_pin(parts_of(model), pin_of())


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_text_norms_are_those_of_the_rows_that_count(kind: str) -> None:
    parts = parts_of(small_vlm(kind))
    table = parts.embeddings.weight.detach().double().numpy() * (8.0 if kind == "paligemma" else 1.0)
    lengths = np.linalg.norm(table, axis=1)
    found = norms.text_norms(parts)
    assert (found.mean, found.largest, found.count) == pytest.approx((lengths.mean(), lengths.max(), WORDS), rel=1e-5)
    without = [token for token in range(55) if token not in (3, IMAGE)]
    found = norms.text_norms(parts, rows=55, without=(3, IMAGE, 58))
    assert (found.mean, found.largest) == pytest.approx((lengths[without].mean(), lengths[without].max()), rel=1e-5)
    assert found.count == 53


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_image_norms_are_those_of_the_tokens_that_enter_the_decoder(kind: str) -> None:
    model = small_vlm(kind)
    batches = [prompt(kind, seed=seed) for seed in range(3)]
    lengths = np.linalg.norm(torch.cat([image_tokens(model, batch) for batch in batches]).double().numpy(), axis=1)
    parts = parts_of(model)
    found = norms.image_norms(parts, batches)
    assert (found.mean, found.largest, found.count) == pytest.approx((lengths.mean(), lengths.max(), 48), rel=1e-4)
    handle = norms.put_norm(parts, norms.MeanNorm(norms.text_norms(parts).mean), allow_untrained=True)
    assert norms.image_norms(parts, batches).mean == pytest.approx(norms.text_norms(parts).mean, rel=1e-4)
    handle.remove()
    assert not parts.projector._forward_hooks


def test_measuring_images_needs_them_and_leaves_nothing_hooked() -> None:
    parts = parts_of(small_vlm("llava"))
    for batches, words in (([], "at least one image"), ([{"input_ids": torch.tensor([[1, 2]])}], "no image token")):
        with pytest.raises(InputError, match=words):
            norms.image_norms(parts, batches)
    assert not parts.projector._forward_hooks


def put_on_llava(norm: torch.nn.Module) -> None:
    norms.put_norm(parts_of(small_vlm("llava")), norm, allow_untrained=True)


def text_norms_of(value: float = 1.0, **told: object) -> None:
    parts = parts_of(small_vlm("llava"))
    with torch.no_grad():
        parts.embeddings.weight[4, 4] = value
    norms.text_norms(parts, **told)


def normalise(norm: torch.nn.Module, value: float) -> None:
    y = tokens(4, 64)
    y[2, 5] = value
    norm(y)


def pin_of() -> Pin:
    torch.manual_seed(0)
    return Pin(16, 32)


def offset(pin: Pin) -> np.ndarray:
    """(N, d) of the perceptron in NumPy, from its weights."""
    weights = {name: value.detach().double().numpy() for name, value in pin.psi.named_parameters()}
    angles = np.arange(len(pin.table))[:, None] / 10000 ** (2 * (np.arange(64) // 2) / 64)
    x = np.where(np.arange(64) % 2, np.cos(angles), np.sin(angles))
    for linear, norm in ((0, 2), (3, 5)):
        x = x @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
        x = x / (1 + np.exp(-x))
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
    return x @ weights["6.weight"].T + weights["6.bias"]


def projected(model, inputs) -> torch.Tensor:  # noqa: ANN001
    seen = []
    first = model.model.multi_modal_projector.linear_1
    handle = first.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen[0]


def test_the_table_holds_sines_and_cosines_and_the_offset_is_the_perceptron_over_it() -> None:
    table = sinusoids(256)
    assert sum(value.numel() for value in Pin(256, 1024).parameters()) == 1_217_280, "as published"
    assert table.shape == (256, 64)
    for patch, number in ((0, 0), (0, 1), (17, 0), (255, 0), (255, 31), (100, 62), (255, 63)):
        angle = patch / 10000 ** (2 * (number // 2) / 64)
        wanted = math.sin(angle) if number % 2 == 0 else math.cos(angle)
        assert float(table[patch, number]) == pytest.approx(wanted, abs=1e-6)
    pin = pin_of()
    assert pin().detach().numpy() == pytest.approx(offset(pin), abs=1e-4)
    assert float(torch.cdist(pin(), pin()).detach()[~torch.eye(16, dtype=torch.bool)].min()) > 0.01


def test_patch_tokens_are_moved_by_it_until_it_is_taken_off() -> None:
    model, inputs, pin = small_vlm("llava"), prompt("llava"), pin_of()
    before = projected(model, inputs)
    handle = put_pin(parts_of(model), pin, allow_untrained=True)
    assert (projected(model, inputs) - before)[0].numpy() == pytest.approx(offset(pin), abs=1e-4)
    assert model.generate(**inputs, max_new_tokens=4, do_sample=False).shape[1] == inputs["input_ids"].shape[1] + 4
    for shape in ((1, 15, 32), (1, 18, 32), (1, 16, 40)):
        with pytest.raises(ModelError, match="images of 16 patches of 32"):
            model.model.multi_modal_projector(torch.zeros(shape))
    handle.remove()
    assert torch.equal(projected(model, inputs), before)


def test_offsets_go_to_each_of_several_layers_and_a_class_token_stays_as_it_is() -> None:
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(features.multilayer_config(small_vlm("llava").config, [1, 3])).eval()
    inputs, pin = prompt("llava"), pin_of()
    before = projected(model, inputs)
    put_pin(parts_of(model), pin, allow_untrained=True)
    moved = (projected(model, inputs) - before)[0].numpy()
    assert moved == pytest.approx(np.tile(offset(pin), 2), abs=1e-4)
    model, inputs, pin = small_vlm("llava"), prompt("llava"), pin_of()
    told = {"vision_feature_select_strategy": "full"}
    with torch.no_grad():
        before = model.model.get_image_features(inputs["pixel_values"], **told).pooler_output[0]
        put_pin(parts_of(model), pin, allow_untrained=True)
        after = model.model.get_image_features(inputs["pixel_values"], **told).pooler_output[0]
    same = (after - before).abs().max(dim=-1).values < 1e-6
    assert same.tolist() == [True] + [False] * 16


def put_on(kind: str, pin: Pin) -> None:
    put_pin(parts_of(small_vlm(kind)), pin, allow_untrained=True)


def offsets_with_nan() -> None:
    pin = pin_of()
    with torch.no_grad():
        pin.psi[0].bias[3] = float("nan")
    pin()


GAMMA = norms.PublishedNorm(4).state_dict()
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm_of_tensors": lambda **names: norms.norm_from({name: GAMMA[of] for name, of in names.items()}),
    "all_words": lambda: range(WORDS),
    "tensor": lambda *row: torch.tensor([row]),
    "pin_without_tensors": lambda: pin_from({}),
    "pin_with_zeros": lambda name: pin_from({**pin_of().state_dict(), name: torch.zeros(3)}),
}


@pytest.mark.parametrize(("told", "error", "words"), TABLES["impossible"])
def test_impossible_normalisers_tokens_rows_and_inserts_are_refused(told: list[Any], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        called(told, vars(norms) | globals() | FUNCTIONS)


SETTINGS = {"scheme": "axial", "sections": (1, 2, 3), "base": 1e4}


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl"])
def test_a_note_is_saved_and_loaded_with_the_model(kind: str, tmp_path: Path) -> None:
    model = small_vlm(kind)
    assert dict(trained_with(model)) == {}
    mark(model, "positions", SETTINGS)
    mark(model, "norms", 0.83)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    expected = {"positions": {"scheme": "axial", "sections": [1, 2, 3], "base": 1e4}, "norms": 0.83}
    assert json.loads((tmp_path / "config.json").read_text())["spatial_vlm_remedies"] == expected
    assert dict(trained_with(loaded)) == dict(trained_with(model)) == expected
    check_trained(loaded, "positions", SETTINGS)


def test_a_later_note_replaces_one_of_its_name_and_a_damaged_one_or_no_configuration_is_refused() -> None:
    model, other = small_vlm("llava"), small_vlm("llava")
    mark(model, "positions", "axial")
    mark(model, "norms", [1, 2])
    mark(model, "positions", "1d")
    assert dict(trained_with(model)) == {"positions": "1d", "norms": [1, 2]}
    assert dict(trained_with(other)) == {}
    with pytest.raises(ModelError, match="no configuration"):
        trained_with(torch.nn.Linear(2, 2))
    model = small_vlm("llava")
    model.config.spatial_vlm_remedies = ["axial"]
    with pytest.raises(ModelError, match="is a list, not a mapping"):
        trained_with(model)


def test_what_a_model_was_not_trained_with_is_refused_unless_allowed() -> None:
    model = small_vlm("llava")
    with pytest.raises(ModelError, match=r"trained without it, not with positions .*allow_untrained=True"):
        check_trained(model, "positions", SETTINGS)
    check_trained(model, "positions", SETTINGS, allow_untrained=True)
    mark(model, "positions", SETTINGS)
    with pytest.raises(ModelError, match=r'with \{"scheme": "axial".*, not with positions "1d"'):
        check_trained(model, "positions", "1d")
    with pytest.raises(ModelError, match="not with norms"):
        check_trained(model, "norms", 1.0)
    usual = small_vlm("llava")  # without a note a model has the usual settings of its class
    check_trained(usual, "positions", "1d", unmarked="1d")
    for noted, asked in (("1d", "axial"), ("axial", "1d")):
        with pytest.raises(ModelError, match=f'with "{noted}", not with'):
            check_trained(usual, "positions", asked, unmarked="1d")
        mark(usual, "positions", "axial")


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1, 2}}])
def test_settings_that_cannot_be_saved_are_refused(value: object) -> None:
    model = small_vlm("llava")
    with pytest.raises(InputError, match="JSON values"):
        mark(model, "positions", value)
    with pytest.raises(InputError, match="JSON values"):
        check_trained(model, "positions", value)


class Words:
    all_special_ids = (50, 51, 52, 53)

    def __len__(self) -> int:
        return WORDS


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**prompt("llava")).logits


def by_hand(model: Any, put: Callable[[Parts], Any]) -> torch.Tensor:
    handle = put(parts_of(model))
    seen = logits(model)
    handle.remove()
    return seen


def test_a_pin_and_a_normaliser_come_from_one_file_and_go_again(tmp_path: Path) -> None:
    model = small_vlm("llava")
    torch.manual_seed(1)
    insert, norm = Pin(16, 32), norms.PublishedNorm(64, 0.4, 2.0)
    save_learned(str(tmp_path), {pin.NAME: insert.state_dict(), norms.NAME: norm.state_dict()})
    before = logits(model)
    first = put_pin(parts_of(model), insert, allow_untrained=True)
    expected = by_hand(model, lambda parts: norms.put_norm(parts, norm, allow_untrained=True))
    first.remove()
    mark(model, pin.NAME, {"patches": 16})
    mark(model, norms.NAME, norms.PUBLISHED)
    applied = treat(model, RequestedRemedies(), str(tmp_path), Words())
    assert torch.equal(logits(model), expected)
    assert float((expected - before).abs().max()) > 1e-3
    applied.remove()
    applied.remove()
    assert torch.equal(logits(model), before)


def test_layers_come_from_the_mark_alone_and_where_one_cannot_be_put_on_none_is(tmp_path: Path) -> None:
    model = small_vlm("llava")
    before = logits(model)
    expected = by_hand(model, lambda parts: features.put_layers(parts, [3], allow_untrained=True))
    mark(model, features.NAME, {"layers": [3], "post_layernorm": True})
    treat(model, RequestedRemedies(), tmp_path, Words())
    assert torch.equal(logits(model), expected)
    assert float((expected - before).abs().max()) > 1e-3
    model = small_vlm("llava")
    before = logits(model)
    save_learned(tmp_path, {norms.NAME: norms.PublishedNorm(64).state_dict()})
    mark(model, norms.NAME, norms.PUBLISHED)
    mark(model, pin.NAME, {"patches": 16})
    with pytest.raises(ModelError, match="trained with pin"):
        treat(model, RequestedRemedies(), tmp_path, Words())
    assert torch.equal(logits(model), before)
    with pytest.raises(ModelError, match="prefix language model"):
        treat(small_vlm("paligemma"), RequestedRemedies(attention=ScalingVis(1.2)), tmp_path, Words())


def test_what_was_learnt_is_read_as_it_was_saved_or_told_to_be_missing_or_damaged(tmp_path: Path) -> None:
    tensors = {"gamma": torch.arange(3.0), "mean": torch.tensor(0.5)}
    with pytest.raises(FileError, match=FILE):
        load_learned(tmp_path, "norm")
    save_learned(tmp_path, {"norm": tensors, "normal": {"mean": torch.tensor(7.0)}})
    read = load_learned(str(tmp_path), "norm")
    assert set(read) == {"gamma", "mean"}
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(FileError, match=FILE):
        load_learned(tmp_path, "norm")
    with pytest.raises(FileError, match=FILE):
        save_learned(tmp_path / "nowhere", {"norm": {"mean": torch.zeros(())}})


@pytest.mark.parametrize(("kind", "marks", "tensors", "words"), TABLES["marks that cannot be followed"])
def test_a_mark_that_cannot_be_followed_is_a_model_error_that_names_it(
    kind: str, marks: dict[str, Any], tensors: dict[str, list[int]] | None, words: str, tmp_path: Path
) -> None:
    model = small_vlm(kind)
    for name, settings in marks.items():
        mark(model, name, settings)
    if tensors is not None:
        save_file({name: torch.ones(shape) for name, shape in tensors.items()}, tmp_path / FILE)
    with pytest.raises(ModelError, match=words):
        treat(model, RequestedRemedies(), tmp_path, Words())
