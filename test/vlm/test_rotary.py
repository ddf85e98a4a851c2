# SPDX-License-Identifier: Apache-2.0
"""Rotary position: what attention sees is the offset alone; and the parts of a model, by its class."""

from typing import Any

import numpy as np
import pytest
from tables import tables

pytest.importorskip("torch")
import torch
from small_scorers import IMAGE, KINDS, entering, prompt, small_vlm

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm import rotary
from spatial_vlm_ros.vlm.parts import finite, grids_of, image_tokens_changed, parts_of

TABLES = tables(__file__)

SIZE = 64
INTERLEAVED = rotary.interleaved_axes((12, 10, 10))
SCHEMES = {
    "line": (1, lambda at: line_angles(at[0], rotary.frequencies(SIZE))),
    "axial": (2, lambda at: axial_angles(at, SIZE)),
    "chunked": (3, lambda at: rotary.angles_at(at, rotary.frequencies(SIZE), rotary.chunked_axes((8, 12, 12)))),
    "interleaved": (3, lambda at: rotary.angles_at(at, rotary.frequencies(SIZE), INTERLEAVED)),
}


def line_angles(places: torch.Tensor, speeds: torch.Tensor) -> torch.Tensor:
    return rotary.angles_at(places[None], speeds, torch.zeros(len(speeds), dtype=torch.int64))


def axial_angles(at: torch.Tensor, size: int) -> torch.Tensor:
    axes = torch.arange(2).repeat_interleave(size // 4)
    return rotary.angles_at(at, rotary.frequencies(size // 2).repeat(2), axes)


def wrong_angles(at: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Frequencies of rows | frequencies of columns, D/2 each, side by side: partners i and i + D/2 turn differently."""
    return torch.cat([axis.float()[:, None] * rotary.frequencies(size) for axis in at], dim=1)


def moved_together(angles_of: Any, axes: int) -> tuple[float, float, float]:
    """Spread of the products of a query and a key that keep their offset; least and greatest length after turning."""
    draw, pairs, offsets, places = torch.Generator().manual_seed(0), 8, 16, 16
    at = torch.randint(32, 97, (axes, 1, places), generator=draw)
    moved = at + torch.randint(-32, 33, (axes, offsets, 1), generator=draw)
    query, key = torch.randn(2, pairs, 1, SIZE, generator=draw)
    query, key = query / query.norm(dim=-1, keepdim=True), key / key.norm(dim=-1, keepdim=True)
    queries = rotary.rotate(query, angles_of(at[:, 0]))
    keys = rotary.rotate(key, angles_of(moved.flatten(1))).view(pairs, offsets, places, -1)
    products = (queries[:, None] * keys).sum(-1)
    lengths = torch.cat([queries.norm(dim=-1).flatten(), keys.norm(dim=-1).flatten()])
    return float((products.amax(-1) - products.amin(-1)).max()), float(lengths.min()), float(lengths.max())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_depend_on_the_offset_alone_and_lengths_stay(scheme: str) -> None:
    axes, angles_of = SCHEMES[scheme]
    spread, *lengths = moved_together(angles_of, axes)
    assert spread < 1e-5
    assert lengths == pytest.approx((1.0, 1.0), abs=1e-6)
    spread, shortest, longest = moved_together(wrong_angles, 2)
    assert (spread > 0.1, shortest < 0.99, longest > 1.01) == (True, True, True)


def test_the_products_of_the_published_mistake_and_of_axial_positions_are_those_of_the_reference() -> None:
    """One query and one key of 128 normal numbers, two rows and three columns apart, at four places."""
    rng = np.random.default_rng(0)
    query, key = (torch.from_numpy(rng.standard_normal(128))[None] for _ in range(2))
    at = torch.tensor([(0, 0), (5, 7), (11, 2), (20, 20)]).T
    moved = at + torch.tensor([[2], [3]])
    both = [(wrong_angles(one, 128), axial_angles(one, 128)) for one in (at, moved)]
    turned = ((rotary.rotate(query, first), rotary.rotate(key, second)) for first, second in zip(*both, strict=True))
    wrong, axial = ((first * second).sum(-1).tolist() for first, second in turned)
    assert wrong == pytest.approx([-8.02, -5.55, -17.0, -8.38], abs=0.0051)
    assert axial == pytest.approx([3.828] * 4, abs=5e-4)
    lengths = (rotary.rotate(key, both[1][0]).norm(dim=-1) / key.norm()).tolist()
    assert lengths == pytest.approx([1.0054, 0.9916, 1.0641, 0.9957], abs=1e-4)


def test_products_are_those_of_complex_numbers_and_turning_a_grid_keeps_lengths() -> None:
    """Re Σ q_j conj(k_j) exp(i (m - n) f_j), with q_j = q[j] + i q[j + D/2] (Su et al. 2021)."""
    query, key = torch.randn(2, 1, SIZE, generator=torch.Generator().manual_seed(1))
    angles = line_angles(torch.tensor([41, 17]), rotary.frequencies(SIZE))
    said = float(rotary.rotate(query, angles[:1])[0] @ rotary.rotate(key, angles[1:])[0])
    q, k = ((x[0, : SIZE // 2] + 1j * x[0, SIZE // 2 :]).numpy() for x in (query, key))
    turn = np.exp(1j * (41 - 17) * 1e4 ** (-np.arange(0, SIZE, 2) / SIZE))
    assert said == pytest.approx(float((q * k.conj() * turn).sum().real), abs=1e-4)
    x = torch.randn(3, 2, 12, SIZE, generator=torch.Generator().manual_seed(2))
    turned = rotary.rotate(x, rotary.grid_angles(3, 4, SIZE, x.device))
    assert turned.shape == x.shape
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)


def test_axial_angles_follow_the_published_formula_and_a_published_vision_tower() -> None:
    angles = axial_angles(torch.tensor([[3], [5]]), 8)[0]
    assert angles.tolist() == pytest.approx([3.0, 0.03, 5.0, 0.05] * 2)
    module = small_vlm("qwen2_5_vl").model.visual.rotary_pos_emb  # of heads of 16
    places = torch.tensor([[row, column] for row in range(5) for column in range(3)])
    cos, sin = module(torch.zeros(1), places)
    grid = rotary.grid_angles(5, 3, 16, torch.device("cpu"))
    assert torch.equal(grid, axial_angles(places.T, 16))
    assert torch.allclose(grid.cos(), cos, atol=1e-6)
    assert torch.allclose(grid.sin(), sin, atol=1e-6)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(("size", "base"), [(16, 1e4), (128, 1e6)])
def test_sectioned_angles_are_those_of_the_published_decoders(kind: str, size: int, base: float) -> None:
    interleaved = kind == "qwen3_vl"
    sections = rotary.default_sections(size, interleaved)
    rope = {"rope_type": "default", "mrope_section": list(sections), "rope_theta": base}
    model = small_vlm(kind, hidden_size=4 * size, head_dim=size, rope_parameters=rope)
    module = model.model.language_model.rotary_emb
    ids = torch.randint(0, 900, (3, 2, 50), generator=torch.Generator().manual_seed(4))
    cos, sin = module(torch.zeros(1), ids)
    axes = (rotary.interleaved_axes if interleaved else rotary.chunked_axes)(sections)
    same = rotary.angles_at(ids, module.inv_freq, axes)
    assert torch.equal(same.cos(), cos)
    assert torch.equal(same.sin(), sin)
    ours = rotary.angles_at(ids, rotary.frequencies(size, base), axes)
    assert torch.allclose(ours.cos(), cos, atol=2e-4)  # one unit in the last place of a frequency, 900 steps away
    assert torch.allclose(rotary.frequencies(size, base), module.inv_freq, rtol=2e-7, atol=0)


def test_angles_on_a_line_are_those_of_llama() -> None:
    module = small_vlm("llava").model.language_model.rotary_emb
    positions = torch.randint(0, 500, (2, 40), generator=torch.Generator().manual_seed(6))
    cos, sin = module(torch.zeros(1), positions)
    ours = line_angles(positions, module.inv_freq)
    assert torch.equal(ours.cos(), cos)
    assert torch.equal(ours.sin(), sin)


def test_default_sections_are_the_published_ones() -> None:
    assert rotary.default_sections(128, interleaved=False) == (16, 24, 24)
    assert rotary.default_sections(128, interleaved=True) == (24, 20, 20)
    for size in range(14, 260, 2):
        for interleaved, axes in ((False, rotary.chunked_axes), (True, rotary.interleaved_axes)):
            assert len(axes(rotary.default_sections(size, interleaved))) == size // 2


@pytest.mark.parametrize(("axes_of", "sections", "words"), TABLES["sections"])
def test_sections_that_do_not_fit_are_refused(axes_of: str, sections: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        getattr(rotary, axes_of)(tuple(sections))
    assert rotary.interleaved_axes((11, 11, 10)).bincount().tolist() == [11, 11, 10]


@pytest.mark.parametrize("kind", [*KINDS, "paligemma"])
def test_what_the_projector_returns_are_the_image_tokens(kind: str) -> None:
    model, inputs = small_vlm(kind), prompt(kind)
    parts, seen = parts_of(model), {}
    parts.projector.register_forward_hook(lambda _m, _i, out: seen.__setitem__("projected", out))
    tokens = entering(parts.model, inputs)[parts.image_columns(inputs["input_ids"])[0]]
    projected = seen["projected"].reshape(-1, 64)
    assert tokens.shape == (16, 64)
    same = torch.cdist(tokens, projected) < 1e-3
    assert torch.equal(same.sum(0), torch.ones(16, dtype=torch.long))
    assert torch.equal(same, torch.eye(16, dtype=torch.bool)) == (kind != "qwen2_5_vl")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_changed_for_the_decoder_alone_and_only_while_it_lasts(kind: str) -> None:
    parts, inputs = parts_of(small_vlm(kind)), prompt(kind)
    before, columns = entering(parts.model, inputs), parts.image_columns(inputs["input_ids"])[0]
    with image_tokens_changed(parts, lambda tokens, _: tokens.flip(0)):
        changed = entering(parts.model, inputs)
    assert torch.equal(changed[columns], before[columns].flip(0))
    assert torch.equal(changed[~columns], before[~columns])
    assert torch.equal(entering(parts.model, inputs), before)


def test_features_added_later_are_changed_alike_and_decoding_goes_on_from_changed_tokens() -> None:
    parts, inputs, shapes = parts_of(small_vlm("qwen3_vl")), prompt("qwen3_vl"), []

    def zero(tokens: torch.Tensor, row: int) -> torch.Tensor:
        shapes.append((tuple(tokens.shape), row))
        return tokens * 0.0

    with torch.no_grad(), image_tokens_changed(parts, zero):
        blind = parts.model(**inputs).logits
        other = parts.model(**{**inputs, "pixel_values": inputs["pixel_values"] * 2}).logits
    assert shapes == [((16, 64), 0)] * 4
    assert torch.equal(blind, other)
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
    look = lambda _m, _a, named: seen.append(("image_grid_thw" in named, grids_of(parts_of(model), named)))  # noqa: E731
    model.register_forward_pre_hook(look, with_kwargs=True)
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


def test_other_classes_missing_parts_and_prompts_without_a_grid_or_an_image_are_refused() -> None:
    from transformers import BertConfig, BertModel

    small = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    with pytest.raises(ModelError, match=r"BertModel.*'bert' is not one of llava") as refused:
        parts_of(BertModel(small))
    assert all(part in str(refused.value) for part in ("vision tower", "projector", "rotary_emb", "embed_tokens"))
    with pytest.raises(ModelError, match="model_type ''"):
        parts_of(torch.nn.Linear(2, 2))
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
