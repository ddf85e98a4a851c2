# SPDX-License-Identifier: Apache-2.0
"""Other encoders in the class LLaVA, and several layers of one side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from small_vlms import IMAGE, prompt, small_vlm  # noqa: E402
from transformers import (  # noqa: E402
    Aimv2VisionConfig,
    BertConfig,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Siglip2VisionConfig,
)

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError  # noqa: E402
from spatial_vlm_ros.vlm.parts import parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.encoders import (  # noqa: E402
    KINDS,
    image_tokens,
    select_strategy,
    vision_config,
    with_encoder,
)
from spatial_vlm_ros.vlm.remedies.features import (  # noqa: E402
    NAME,
    checked_layers,
    multilayer_config,
    put_layers,
)
from spatial_vlm_ros.vlm.remedies.marking import mark  # noqa: E402

CLASSES = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "siglip2": "SiglipVisionModel",
           "aimv2": "Aimv2VisionModel"}  # fmt: skip
SIZES = {"hidden_size": 32, "layers": 3, "heads": 2, "image_size": 32, "patch_size": 8}


def swapped(kind: str, **sizes: int) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    config = with_encoder(small_vlm("llava").config, vision_config(kind, **{**SIZES, **sizes}))
    return LlavaForConditionalGeneration(config).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_each_encoder_answers_from_every_patch_and_no_class_token_and_is_saved(kind: str, tmp_path: Path) -> None:
    model, inputs, seen = swapped(kind), prompt("llava"), []
    assert type(parts_of(model).vision).__name__ == CLASSES[kind]
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
    configs = [vision_config(kind, 32, 1, 2, *size) for kind in KINDS]
    assert {image_tokens(config) for config in configs} == {(size[0] // size[1]) ** 2}
    pixels = torch.zeros(1, 3, size[0], size[0])
    for config in configs:
        model = LlavaForConditionalGeneration(with_encoder(small_vlm("llava").config, config))
        with torch.no_grad():
            features = model.model.get_image_features(pixels).pooler_output[0]
        assert len(features) == image_tokens(config) == model.config.image_seq_length


@pytest.mark.parametrize("kind", KINDS)
def test_everything_but_the_encoder_is_fixed(kind: str) -> None:
    base = small_vlm("llava").config
    changed = with_encoder(base, vision_config(kind, **SIZES)).to_dict()
    before = base.to_dict()
    differ = {name for name in before if before[name] != changed[name]}
    assert differ <= {"vision_config", "vision_feature_select_strategy", "image_seq_length"}
    shapes = [
        {name: value.shape for name, value in model.state_dict().items() if "vision_tower" not in name}
        for model in (swapped(kind), small_vlm("llava"))
    ]
    assert shapes[0] == shapes[1]
    assert not any("head" in name for name, _ in swapped(kind).model.vision_tower.named_parameters())


def test_the_naflex_class_of_siglip_2_cannot_be_used_in_llava() -> None:
    vision = Siglip2VisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, num_patches=16, patch_size=8
    )
    config = LlavaConfig(vision_config=vision, text_config=small_vlm("llava").config.text_config, image_token_id=IMAGE,
                         vision_feature_select_strategy="full")  # fmt: skip
    with pytest.raises(TypeError, match=r"pixel_attention_mask.*spatial_shapes"):
        LlavaForConditionalGeneration(config)(**prompt("llava"))
    with pytest.raises(ModelError, match="NaFlex"):
        with_encoder(small_vlm("llava").config, vision)


def test_defaults_are_the_published_sizes_of_large_encoders() -> None:
    large = {"hidden_size": 1024, "layers": 24, "image_size": 336, "patch_size": 14}
    clip, aimv2 = vision_config("clip", heads=16, **large), vision_config("aimv2", heads=8, **large)
    assert clip.intermediate_size == LlavaConfig().vision_config.intermediate_size == 4096
    assert aimv2.intermediate_size == Aimv2VisionConfig().intermediate_size == 2816
    assert vision_config("siglip", 32, 1, 2, 32, 8, 70).intermediate_size == 70


def test_impossible_encoders_and_configurations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"dino.*clip, siglip"):
        vision_config("dino", **SIZES)
    for wrong in ({"heads": 3}, {"layers": 0}, {"patch_size": 33}):
        with pytest.raises(InputError, match="heads divide"):
            vision_config("clip", **{**SIZES, **wrong})
    base = small_vlm("llava").config
    with pytest.raises(ModelError, match=r"qwen3_vl.*not of the class llava"):
        with_encoder(small_vlm("qwen3_vl").config, vision_config("clip", **SIZES))
    with pytest.raises(ModelError, match=r"bert.*class token"):
        select_strategy(BertConfig())
    base.vision_feature_layer = [1, 4]
    with pytest.raises(ModelError, match=r"3 layers do not have the vision_feature_layer \[1, 4\]"):
        with_encoder(base, vision_config("siglip", **SIZES))
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
def test_the_projector_sees_the_chosen_layers_side_by_side_until_they_are_taken_off(
    layers: list[int], post_layernorm: bool
) -> None:
    model = trained_for([0, 2, 3])
    before, wanted, other = (
        image_features(model),
        projected(model, post_layernorm),
        projected(model, not post_layernorm),
    )
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


def test_a_checkpoint_trained_with_other_layers_is_refused() -> None:
    model = trained_for([1, 2, 3])
    with pytest.raises(ModelError, match=r"\[1, 2, 3\].*allow_untrained"):
        put_layers(parts_of(model), LAYERS)
    with pytest.raises(ModelError, match="post_layernorm"):
        put_layers(parts_of(model), [1, 2, 3])
    put_layers(parts_of(model), [1, 2, 3], post_layernorm=False).remove()
    mark(model, NAME, {"layers": LAYERS, "post_layernorm": True})
    put_layers(parts_of(model), LAYERS).remove()


def test_models_that_cannot_take_the_layers_are_refused_before_any_work() -> None:
    model = small_vlm("llava")
    with pytest.raises(ModelError, match="takes 32 numbers, but 3 layers of 32 are 96"):
        put_layers(parts_of(model), LAYERS, allow_untrained=True)
    assert model.config.vision_feature_layer == -2
    assert not model.model.vision_tower._forward_hooks
    config = multilayer_config(with_encoder(model.config, vision_config("aimv2", 32, 4, 2, 32, 8)), LAYERS)
    with pytest.raises(ModelError, match="Aimv2VisionModel has no post_layernorm"):
        put_layers(parts_of(LlavaForConditionalGeneration(config)), LAYERS, allow_untrained=True)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "paligemma"])
def test_other_classes_are_refused_with_the_reason(kind: str) -> None:
    model, reason = small_vlm(kind), "DeepStack" if kind == "qwen3_vl" else "no vision_feature_layer"
    with pytest.raises(ModelError, match=reason):
        put_layers(parts_of(model), LAYERS, allow_untrained=True)
    with pytest.raises(ModelError, match=reason):
        multilayer_config(model.config, LAYERS)
