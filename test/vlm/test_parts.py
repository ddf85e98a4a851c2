# SPDX-License-Identifier: Apache-2.0
"""The parts of a model, by its class, and image tokens changed on their way to the decoder."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from small_vlms import IMAGE, KINDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import Parts, finite, grids_of, image_tokens_changed, parts_of  # noqa: E402


def entering(parts: Parts, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(N, D) what enters the first layer of the decoder."""
    seen = {}
    handle = parts.layers[0].register_forward_pre_hook(
        lambda _m, given, kw: seen.__setitem__("it", kw.get("hidden_states", given[0] if given else None)),
        with_kwargs=True,
    )
    with torch.no_grad():
        parts.model(**inputs)
    handle.remove()
    return seen["it"][0]


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_what_the_projector_returns_are_the_image_tokens(kind: str) -> None:
    model, inputs = small_vlm(kind), prompt(kind)
    parts, seen = parts_of(model), {}
    parts.projector.register_forward_hook(lambda _m, _i, out: seen.__setitem__("projected", out))
    tokens = entering(parts, inputs)[parts.image_columns(inputs["input_ids"])[0]]
    projected = seen["projected"].reshape(-1, 64)
    assert tokens.shape == (16, 64)
    same = torch.cdist(tokens, projected) < 1e-3
    assert torch.equal(same.sum(0), torch.ones(16, dtype=torch.long))
    assert torch.equal(same, torch.eye(16, dtype=torch.bool)) == (kind != "qwen2_5_vl")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_changed_for_the_decoder_alone_and_only_while_it_lasts(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    before, columns = entering(parts, inputs), parts.image_columns(inputs["input_ids"])[0]
    with image_tokens_changed(parts, lambda tokens, _: tokens.flip(0)):
        changed = entering(parts, inputs)
    assert torch.equal(changed[columns], before[columns].flip(0))
    assert torch.equal(changed[~columns], before[~columns])
    assert torch.equal(entering(parts, inputs), before)


def test_features_added_in_later_layers_are_changed_alike() -> None:
    parts, inputs, shapes = parts_of(small_vlm("qwen3_vl")), prompt("qwen3_vl"), []

    def zero(tokens: torch.Tensor, row: int) -> torch.Tensor:
        shapes.append((tuple(tokens.shape), row))
        return tokens * 0.0

    with torch.no_grad(), image_tokens_changed(parts, zero):
        blind = parts.model(**inputs).logits
        other = parts.model(**{**inputs, "pixel_values": inputs["pixel_values"] * 2}).logits
    assert shapes == [((16, 64), 0)] * 4
    assert torch.equal(blind, other)


def test_decoding_goes_on_from_changed_tokens() -> None:
    parts, inputs = parts_of(small_vlm("llava")), prompt("llava")
    told = {"max_new_tokens": 8, "do_sample": False}
    with image_tokens_changed(parts, lambda tokens, _: tokens * 0.0):
        blind = parts.model.generate(**inputs, **told)
        other = parts.model.generate(**{**inputs, "pixel_values": -inputs["pixel_values"]}, **told)
    assert blind.shape[1] == inputs["input_ids"].shape[1] + 8
    assert torch.equal(blind, other)


def test_grids_that_generate_drops_are_read_from_positions() -> None:
    model, given = small_vlm("qwen2_5_vl"), prompt("qwen2_5_vl")
    given["image_grid_thw"], seen = torch.tensor([[1, 4, 16]]), []
    model.register_forward_pre_hook(
        lambda _m, _a, named: seen.append(("image_grid_thw" in named, grids_of(parts_of(model), named))),
        with_kwargs=True,
    )
    model.generate(**given, max_new_tokens=1, do_sample=False)
    assert seen == [(False, [(2, 8)])]


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_layers_positions_and_embeddings_are_those_of_the_decoder(kind: str) -> None:
    parts = parts_of(small_vlm(kind))
    if kind != "paligemma":
        assert grids_of(parts, prompt(kind)) == [(4, 4)]
    assert len(parts.layers) == 4
    assert all(hasattr(layer, "self_attn") for layer in parts.layers)
    assert parts.embeddings.weight.shape[1] == 64
    assert parts.image_token_id == IMAGE
    assert parts.causal == (kind != "paligemma")
    assert parts.axes == (3 if "qwen" in kind else 1)


def test_a_model_of_another_class_is_refused_by_name() -> None:
    from transformers import BertConfig, BertModel

    small = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    with pytest.raises(ModelError, match=r"BertModel.*'bert' is not one of llava") as refused:
        parts_of(BertModel(small))
    assert all(part in str(refused.value) for part in ("vision tower", "projector", "rotary_emb", "embed_tokens"))
    with pytest.raises(ModelError, match="model_type ''"):
        parts_of(torch.nn.Linear(2, 2))


def test_missing_parts_and_prompts_without_a_grid_or_an_image_are_refused() -> None:
    parts = parts_of(small_vlm("llava"))
    for given, words in (("qwen2_5_vl", "no image_grid_thw"), ("llava", r"\[15\] image tokens")):
        with pytest.raises(InputError, match=words):
            grids_of(parts_of(small_vlm(given)), {"input_ids": torch.tensor([[1] + [IMAGE] * 15])})
    with pytest.raises(InputError, match="no image token"):
        parts.image_columns(torch.tensor([[1, IMAGE], [1, 2]]))
    with pytest.raises(ModelError, match=r"torch.float16 .* bfloat16"):
        finite("a model", torch.tensor([7e4], dtype=torch.float16))
    del parts.model.model.multi_modal_projector
    with pytest.raises(ModelError, match=r"has no model\.multi_modal_projector"):
        parts_of(parts.model)
