# SPDX-License-Identifier: Apache-2.0
"""Normalisers of image tokens, and how loud images are beside words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from small_vlms import IMAGE, KINDS, WORDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import mark  # noqa: E402
from spatial_vlm_ros.vlm.remedies.norms import (  # noqa: E402
    NAME,
    PUBLISHED,
    QUANTILES,
    VICUNA_LARGEST,
    VICUNA_MEAN,
    MeanNorm,
    PublishedNorm,
    image_norms,
    loudness,
    norm_from,
    norm_of,
    norm_tensors,
    put_norm,
    text_norms,
)


def tokens(*shape: int, scale: float = 30.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def entering(model, inputs) -> torch.Tensor:  # noqa: ANN001
    """(N, 64) image tokens before the first layer of the decoder."""
    parts, seen = parts_of(model), []
    handle = parts.layers[0].register_forward_pre_hook(
        lambda _m, given, named: seen.append(named.get("hidden_states", given[0] if given else None)), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen[0][0][inputs["input_ids"][0] == IMAGE]


def test_the_published_normaliser_is_its_formula_with_a_learnt_gamma() -> None:
    for scale in (0.5, 1000.0):  # at first every token leaves with the published norm
        lengths = PublishedNorm(4096, VICUNA_MEAN, VICUNA_LARGEST)(tokens(3, 7, 4096, scale=scale)).norm(dim=-1)
        assert lengths.flatten().tolist() == pytest.approx([1.0126] * 21, abs=1e-5)
    norm, y = PublishedNorm(6, mean=0.5, largest=3.0), tokens(40, 6, scale=2.0)
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
    norm = PublishedNorm(8)
    (norm(tokens(5, 8)) * tokens(5, 8, seed=1)).sum().backward()
    assert bool(torch.isfinite(norm.gamma.grad).all())
    assert float(norm.gamma.grad.abs().min()) > 1e-4
    for one in (norm, MeanNorm(0.83)):
        y = torch.zeros(2, 8, requires_grad=True)
        one(y).sum().backward()
        assert not one(y).any()
        assert bool(torch.isfinite(y.grad).all())


@pytest.mark.parametrize("dose", [0.0, 0.3, 1.0])
def test_a_dose_mixes_the_own_norm_with_the_mean_and_keeps_the_direction(dose: float) -> None:
    y = tokens(9, 16)
    changed = MeanNorm(0.83, dose)(y)
    own = np.linalg.norm(y.numpy(), axis=1)
    assert changed.norm(dim=-1).numpy() == pytest.approx((1 - dose) * own + dose * 0.83, rel=1e-5)
    assert torch.cosine_similarity(changed, y, dim=-1).tolist() == pytest.approx([1.0] * 9, abs=1e-5)


@pytest.mark.parametrize("norm", [PublishedNorm(64), MeanNorm(0.83)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_without_overflow(norm: torch.nn.Module, dtype: torch.dtype) -> None:
    y = tokens(4, 64, scale=9000.0).to(dtype)
    assert not bool(torch.isfinite(y.square().sum(-1)).all()) or dtype is torch.bfloat16
    changed = norm(y)
    assert changed.dtype is dtype
    assert changed.float().norm(dim=-1).tolist() == pytest.approx(
        [1.0126 if isinstance(norm, PublishedNorm) else 0.83] * 4, rel=5e-3
    )


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_on_a_model_every_image_token_enters_normalised_until_it_is_taken_off(kind: str) -> None:
    model, inputs = small_vlm(kind), prompt(kind)
    before = entering(model, inputs)
    for norm, length in ((PublishedNorm(64), 1.0126), (MeanNorm(0.83), 0.83)):
        handle = put_norm(parts_of(model), norm, allow_untrained=True)
        changed = entering(model, inputs)
        assert changed.norm(dim=-1).tolist() == pytest.approx([length] * 16, abs=1e-3)
        assert torch.cosine_similarity(changed, before, dim=-1).tolist() == pytest.approx([1.0] * 16, abs=1e-4)
        handle.remove()
        assert torch.equal(entering(model, inputs), before)


def test_a_checkpoint_that_was_not_trained_with_it_is_refused_the_published_normaliser() -> None:
    model, inputs = small_vlm("llava"), prompt("llava")
    before = entering(model, inputs)
    with pytest.raises(ModelError, match=r"without it.*allow_untrained"):
        put_norm(parts_of(model), PublishedNorm(64))
    assert torch.equal(entering(model, inputs), before)
    mark(model, NAME, PUBLISHED)
    put_norm(parts_of(model), PublishedNorm(64)).remove()


def test_gamma_learns_on_a_frozen_model_and_is_saved_and_loaded(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model, inputs = small_vlm("llava").requires_grad_(False), prompt("llava")
    parts, norm = parts_of(model), PublishedNorm(64, 0.4, 2.0)
    handle = put_norm(parts, norm, allow_untrained=True)
    optimizer = torch.optim.SGD(norm.parameters(), 0.5)
    before = model(**inputs, labels=inputs["input_ids"]).loss
    before.backward()
    optimizer.step()
    after = model(**inputs, labels=inputs["input_ids"])
    assert after.loss.item() < before.item()
    save_file(norm_tensors(norm), tmp_path / "norm.safetensors")
    handle.remove()
    put_norm(parts, norm_from(load_file(tmp_path / "norm.safetensors")), allow_untrained=True)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, after.logits)


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_text_norms_are_those_of_the_rows_that_count(kind: str) -> None:
    parts = parts_of(small_vlm(kind))
    table = parts.embeddings.weight.detach().double().numpy() * (8.0 if kind == "paligemma" else 1.0)
    lengths = np.linalg.norm(table, axis=1)
    found = text_norms(parts)
    assert (found.mean, found.largest, found.count) == pytest.approx((lengths.mean(), lengths.max(), WORDS), rel=1e-5)
    without = [token for token in range(55) if token not in (3, IMAGE)]
    found = text_norms(parts, rows=55, without=(3, IMAGE, 58))
    assert (found.mean, found.count) == pytest.approx((lengths[without].mean(), 53), rel=1e-5)
    assert list(found.quantiles.values()) == pytest.approx(np.quantile(lengths[without], QUANTILES), rel=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_image_norms_are_those_of_the_tokens_that_enter_the_decoder(kind: str) -> None:
    model = small_vlm(kind)
    batches = [prompt(kind, seed=seed) for seed in range(3)]
    lengths = np.linalg.norm(torch.cat([entering(model, batch) for batch in batches]).double().numpy(), axis=1)
    parts = parts_of(model)
    found = image_norms(parts, batches)
    assert (found.mean, found.count) == pytest.approx((lengths.mean(), 48), rel=1e-4)
    assert list(found.quantiles.values()) == pytest.approx(np.quantile(lengths, QUANTILES), rel=1e-4)
    assert loudness(found, text_norms(parts)) == pytest.approx(lengths.mean() / text_norms(parts).mean, rel=1e-4)
    handle = put_norm(parts, MeanNorm(text_norms(parts).mean), allow_untrained=True)
    assert loudness(image_norms(parts, batches), text_norms(parts)) == pytest.approx(1.0, abs=1e-4)
    handle.remove()
    assert not parts.projector._forward_hooks


def test_measuring_images_needs_them_and_leaves_nothing_hooked() -> None:
    parts = parts_of(small_vlm("llava"))
    for batches, words in (([], "at least one image"), ([{"input_ids": torch.tensor([[1, 2]])}], "no image token")):
        with pytest.raises(InputError, match=words):
            image_norms(parts, batches)
    assert not parts.projector._forward_hooks


def put_on_llava(norm: torch.nn.Module) -> None:
    put_norm(parts_of(small_vlm("llava")), norm, allow_untrained=True)


def text_norms_of(value: float = 1.0, **told: object) -> None:
    """Of a model one of whose embeddings is changed."""
    parts = parts_of(small_vlm("llava"))
    with torch.no_grad():
        parts.embeddings.weight[4, 4] = value
    text_norms(parts, **told)


def normalise(norm: torch.nn.Module, value: float) -> None:
    y = tokens(4, 64)
    y[2, 5] = value
    norm(y)


GAMMA = norm_tensors(PublishedNorm(4))
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("call", "given", "error", "words"),
    [
        (PublishedNorm, (0, 0.8, 1.2), InputError, "above zero"),
        (PublishedNorm, (4, 0.0, 1.2), InputError, "above zero"),
        (PublishedNorm, (4, 0.8, INF), InputError, "above zero"),
        (PublishedNorm, (4, NAN, 1.0), InputError, "above zero"),
        (MeanNorm, (0.0, 1.0), InputError, "dose from 0 to 1"),
        (MeanNorm, (0.8, 1.1), InputError, "dose from 0 to 1"),
        (MeanNorm, (0.8, -0.1), InputError, "dose from 0 to 1"),
        (MeanNorm, (NAN, 0.5), InputError, "dose from 0 to 1"),
        (norm_from, ({"gamma": GAMMA["gamma"]},), InputError, "Save it with norm_tensors"),
        (norm_from, ({**GAMMA, "more": GAMMA["mean"]},), InputError, "Save it with norm_tensors"),
        (norm_from, ({**GAMMA, "gamma": GAMMA["mean"]},), InputError, "Save it with norm_tensors"),
        (put_on_llava, (PublishedNorm(32),), InputError, r"size 32.*64, as the tokens"),
        (text_norms_of, {"rows": WORDS + 1}, InputError, "at least one row"),
        (text_norms_of, {"rows": 0}, InputError, "at least one row"),
        (text_norms_of, {"without": range(WORDS)}, InputError, "at least one row"),
        (text_norms_of, (INF,), ModelError, "text embeddings"),
        (norm_of, (torch.tensor([[1.0, NAN]]), "a model"), ModelError, "a model"),
        (normalise, (PublishedNorm(64), INF), ModelError, "not numbers"),
        (normalise, (PublishedNorm(64), 3e38), ModelError, "not numbers"),
        (normalise, (MeanNorm(0.83), NAN), ModelError, "not numbers"),
        (normalise, (MeanNorm(0.83), 3e38), ModelError, "not numbers"),
    ],
)
def test_impossible_normalisers_tokens_and_rows_are_refused(
    call: Callable[..., object], given: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(**given) if isinstance(given, dict) else call(*given)
