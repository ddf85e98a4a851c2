# SPDX-License-Identifier: Apache-2.0
"""Other encoders in the class LLaVA, several layers side by side, and the published objective of regions."""

import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from small_scorers import ENCODERS, IMAGE, prompt, small_vlm, vision_config
from transformers import BertConfig, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, Siglip2VisionConfig

from spatial_vlm_lab.adaptation import models
from spatial_vlm_lab.adaptation import regions as cloc
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import parts_of
from spatial_vlm_ros.vlm.remedies.features import NAME, checked_layers, multilayer_config, put_layers
from spatial_vlm_ros.vlm.remedies.learned import mark


def swapped(kind: str) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = models.with_encoder(small_vlm("llava").config, vision_config(kind))
    return LlavaForConditionalGeneration(config).eval()


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_encoder_answers_from_every_patch_and_no_class_token_and_is_saved(kind: str, tmp_path: Path) -> None:
    model, inputs, seen = swapped(kind), prompt("llava"), []
    assert type(parts_of(model).vision) is ENCODERS[kind][0]
    model.model.multi_modal_projector.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        logits = model(**inputs).logits
        other = model(**{**inputs, "pixel_values": -inputs["pixel_values"]}).logits
        states = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
    assert logits.shape == (1, inputs["input_ids"].shape[1], 60)
    assert float((logits - other).abs().max()) > 1e-4
    assert seen[0].shape == (1, 16, 32)
    assert torch.equal(seen[0], states[2][:, -16:])
    assert states[2].shape[1] == (17 if kind == "clip" else 16)
    words = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert words.shape[1] == inputs["input_ids"].shape[1] + 5
    model.save_pretrained(tmp_path)
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, logits)
    model.config.vision_feature_select_strategy = "full" if kind == "clip" else "default"
    with pytest.raises(ValueError, match="do not match"):
        model(**inputs)


@pytest.mark.parametrize("size", [(224, 14), (256, 14), (336, 14), (256, 16)])
def test_the_number_of_image_tokens_is_the_same_for_all(size: tuple[int, int]) -> None:
    pixels = torch.zeros(1, 3, size[0], size[0])
    for kind in ENCODERS:
        config = models.with_encoder(small_vlm("llava").config, vision_config(kind, 32, 1, 2, *size))
        model = LlavaForConditionalGeneration(config)
        with torch.no_grad():
            features = model.model.get_image_features(pixels).pooler_output[0]
        assert len(features) == model.config.image_seq_length == (size[0] // size[1]) ** 2


@pytest.mark.parametrize("kind", ENCODERS)
def test_everything_but_the_encoder_is_fixed(kind: str) -> None:
    base = small_vlm("llava").config
    changed = models.with_encoder(base, vision_config(kind)).to_dict()
    before = base.to_dict()
    differ = {name for name in before if before[name] != changed[name]}
    assert differ <= {"vision_config", "vision_feature_select_strategy", "image_seq_length"}
    states = (model.state_dict().items() for model in (swapped(kind), small_vlm("llava")))
    one, other = ({name: value.shape for name, value in some if "vision_tower" not in name} for some in states)
    assert one == other
    assert not any("head" in name for name, _ in swapped(kind).model.vision_tower.named_parameters())


def test_the_naflex_class_cannot_be_used_in_llava() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = Siglip2VisionConfig(**sizes, num_patches=16, patch_size=8)
    config = LlavaConfig(vision_config=vision, text_config=small_vlm("llava").config.text_config, image_token_id=IMAGE,
                         vision_feature_select_strategy="full")  # fmt: skip
    with pytest.raises(TypeError, match=r"pixel_attention_mask.*spatial_shapes"):
        LlavaForConditionalGeneration(config)(**prompt("llava"))
    with pytest.raises(ModelError, match="NaFlex"):
        models.with_encoder(small_vlm("llava").config, vision)


def test_configurations_that_do_not_fit_are_refused() -> None:
    base = small_vlm("llava").config
    with pytest.raises(ModelError, match=r"qwen3_vl.*not of the class llava"):
        models.with_encoder(small_vlm("qwen3_vl").config, vision_config("clip"))
    with pytest.raises(ModelError, match=r"bert.*is not a vision encoder"):
        models.select_strategy(BertConfig())
    base.vision_feature_layer = [1, 4]
    with pytest.raises(ModelError, match=r"3 layers do not have the vision_feature_layer \[1, 4\]"):
        models.with_encoder(base, vision_config("siglip"))
    assert isinstance(base.vision_config, CLIPVisionConfig)


LAYERS = [1, 2, 4]
INPUTS = prompt("llava")


def trained_for(layers: list[int], seed: int = 1) -> LlavaForConditionalGeneration:
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(multilayer_config(small_vlm("llava").config, layers)).eval()


def projected(model, post_layernorm: bool) -> torch.Tensor:  # noqa: ANN001
    """(1, 16, 64) by hand: layer after layer of the encoder, then the projector."""
    vision = model.model.vision_tower
    hidden, kept = vision.pre_layrnorm(vision.embeddings(INPUTS["pixel_values"])), []
    for number, layer in enumerate(vision.encoder.layers, start=1):
        hidden = layer(hidden, None)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if number in LAYERS:
            kept.append((vision.post_layernorm(hidden) if post_layernorm else hidden)[:, 1:])
    return model.model.multi_modal_projector(torch.cat(kept, dim=-1))


def image_features(model) -> torch.Tensor:  # noqa: ANN001
    return torch.stack(list(model.model.get_image_features(INPUTS["pixel_values"]).pooler_output))


@torch.no_grad()
@pytest.mark.parametrize(
    ("layers", "post_layernorm"), [(LAYERS, True), (LAYERS, False), pytest.param([1, -3, -1], True, id="from the end")]
)
def test_the_projector_sees_chosen_layers_until_they_are_taken_off(layers: list[int], post_layernorm: bool) -> None:
    model = trained_for([0, 2, 3])
    before, wanted = image_features(model), projected(model, post_layernorm)
    other = projected(model, not post_layernorm)
    handle = put_layers(parts_of(model), layers, post_layernorm=post_layernorm, allow_untrained=True)
    assert torch.allclose(image_features(model), wanted, atol=1e-5)
    assert not torch.allclose(image_features(model), other, atol=1e-2)
    assert model.generate(**INPUTS, max_new_tokens=4, do_sample=False).shape[1] == INPUTS["input_ids"].shape[1] + 4
    handle.remove()
    handle.remove()
    assert model.config.vision_feature_layer == [0, 2, 3]
    assert torch.equal(image_features(model), before)


@pytest.mark.parametrize("layers", [[], [5], [1, -6], [1, 1], [4, -1]])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    with pytest.raises(InputError, match="different numbers from -5 to 4"):
        checked_layers(layers, 4)
    with pytest.raises(InputError):
        multilayer_config(small_vlm("llava").config, layers)
    with pytest.raises(InputError):
        put_layers(parts_of(small_vlm("llava")), layers)


def test_models_trained_with_other_layers_or_that_cannot_take_them_are_refused_before_any_work() -> None:
    model = trained_for([1, 2, 3])
    with pytest.raises(ModelError, match=r"\[1, 2, 3\].*allow_untrained"):
        put_layers(parts_of(model), LAYERS)
    with pytest.raises(ModelError, match="post_layernorm"):
        put_layers(parts_of(model), [1, 2, 3])
    put_layers(parts_of(model), [1, 2, 3], post_layernorm=False).remove()
    mark(model, NAME, {"layers": LAYERS, "post_layernorm": True})
    put_layers(parts_of(model), LAYERS).remove()
    model = small_vlm("llava")
    with pytest.raises(ModelError, match="takes 32 numbers, but 3 layers of 32 are 96"):
        put_layers(parts_of(model), LAYERS, allow_untrained=True)
    assert model.config.vision_feature_layer == -2
    assert not model.model.vision_tower._forward_hooks
    config = multilayer_config(models.with_encoder(model.config, vision_config("aimv2", 32, 4, 2, 32, 8)), LAYERS)
    with pytest.raises(ModelError, match="Aimv2VisionModel has no post_layernorm"):
        put_layers(parts_of(LlavaForConditionalGeneration(config)), LAYERS, allow_untrained=True)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "paligemma"])
def test_other_classes_are_refused_with_the_reason(kind: str) -> None:
    model, reason = small_vlm(kind), "DeepStack" if kind == "qwen3_vl" else "no vision_feature_layer"
    with pytest.raises(ModelError, match=reason):
        put_layers(parts_of(model), LAYERS, allow_untrained=True)
    with pytest.raises(ModelError, match=reason):
        multilayer_config(model.config, LAYERS)


SIZES = (16, 12)
"""Of tokens and of captions."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values.flatten(1)


def captions() -> torch.Tensor:
    """(7, 5) embeddings; the third is nearly the first, and the last one too."""
    texts = drawn(7, 5, seed=1)
    texts[2] = texts[0] + 0.05 * drawn(5, seed=2)
    texts[6] = 3.0 * texts[0]
    return texts


@pytest.mark.parametrize("conflict", [0.9, 2.0])
def test_the_contrastive_loss_is_the_published_sum(conflict: float) -> None:
    def sim(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    regions, texts, total = drawn(7, 5), captions(), 0.0
    for i in range(7):
        others = [j for j in range(7) if j == i or sim(texts[i], texts[j]) <= conflict]
        to_text = sum(math.exp(sim(regions[i], texts[j]) / 0.2) for j in others)
        to_region = sum(math.exp(sim(regions[j], texts[i]) / 0.2) for j in others)
        own = math.exp(sim(regions[i], texts[i]) / 0.2)
        total -= (math.log(own / to_text) + math.log(own / to_region)) / 2
    assert cloc.region_text_loss(regions, texts, 0.2, conflict).item() == pytest.approx(total / 7, rel=1e-9)


def test_captions_that_say_the_same_are_no_negatives_and_gradients_agree_with_finite_differences() -> None:
    regions, texts = drawn(7, 5), captions()
    apart, every = cloc.region_text_loss(regions, texts, 0.2), cloc.region_text_loss(regions, texts, 0.2, 2.0)
    assert apart.item() < every.item() - 0.01
    alike = texts[[0, 6, 0]]
    assert cloc.region_text_loss(regions[:3], alike, 0.2).item() == 0.0
    regions, texts = drawn(7, 5).requires_grad_(True), captions().requires_grad_(True)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cloc.region_text_loss, (regions, texts, tau))
    predicted, wanted = drawn(6, 4).requires_grad_(True), drawn(6, 4, seed=1)
    assert torch.autograd.gradcheck(lambda given: cloc.grounding_loss(given, wanted), (predicted,))


def test_corners_are_sines_and_cosines_and_the_grounding_loss_a_mean_of_squares() -> None:
    predicted, boxes = drawn(3, 2, 4), drawn(3, 2, 4, seed=1)
    wanted = sum(float(((predicted[i, m] - boxes[i, m]) ** 2).sum()) for i in range(3) for m in range(2)) / (4 * 3 * 2)
    assert cloc.grounding_loss(predicted, boxes).item() == pytest.approx(wanted)
    encoded = cloc.corner_encoding(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 16)
    assert encoded.shape == (1, 2, 16)
    for corner, (x, y) in enumerate([(0.25, 0.5), (0.75, 1.0)]):
        steps = [2 * math.pi / 10_000 ** (k / 4) for k in range(4)]
        turns = [turn(step * value) for value in (x, y) for turn in (math.sin, math.cos) for step in steps]
        assert encoded[0, corner].tolist() == pytest.approx(turns, abs=1e-5)


def test_the_prompter_is_one_layer_of_one_head_over_prompt_and_tokens() -> None:
    torch.manual_seed(0)
    prompter, tokens, boxes = cloc.Prompter(*SIZES).double(), drawn(2, 9, 16), boxes_of(6).double().reshape(2, 3, 4)
    found = prompter.of_boxes(tokens, boxes)
    assert found.shape == (2, 3, 12)
    layer = prompter.layer
    q, k, v = layer.self_attn.in_proj_weight.chunk(3)
    bq, bk, bv = layer.self_attn.in_proj_bias.chunk(3)

    def normalised(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * norm.weight

    for row, number in ((0, 0), (0, 2), (1, 1)):
        x = torch.cat([cloc.corner_encoding(boxes[row, number], 16), tokens[row]])
        y = normalised(x, layer.norm1)
        weights = ((y @ q.T + bq) @ (y @ k.T + bk).T / 4).softmax(-1)
        out = layer.self_attn.out_proj
        x = x + weights @ (y @ v.T + bv) @ out.weight.T + out.bias
        y = torch.nn.functional.gelu(layer.linear1(normalised(x, layer.norm2)))
        x = x + layer.linear2(y)
        wanted = prompter.project(x.mean(0))
        assert torch.allclose(found[row, number], wanted, atol=1e-9)


def test_regions_of_an_image_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    prompter, tokens = cloc.Prompter(*SIZES).double(), drawn(1, 9, 16)
    boxes, texts = boxes_of(3).double()[None], drawn(1, 3, 12)
    for ask, prompts in ((prompter.of_boxes, boxes), (prompter.of_texts, texts)):
        together, alone = ask(tokens, prompts), [ask(tokens, prompts[:, m : m + 1]) for m in range(3)]
        assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-9)
        assert torch.pdist(together[0]).min().item() > 1e-3


@pytest.mark.parametrize("sizes", [(0, 4), (10, 4), (16, 0)])
def test_a_prompter_of_other_sizes_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="prompter"):
        cloc.Prompter(*sizes)
