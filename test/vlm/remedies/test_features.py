# SPDX-License-Identifier: Apache-2.0
"""Several layers of the encoder side by side."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from small_vlms import KINDS, prompt, small_vlm  # noqa: E402
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError  # noqa: E402
from spatial_vlm_ros.vlm.parts import parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.encoders import vision_config, with_encoder  # noqa: E402
from spatial_vlm_ros.vlm.remedies.features import (  # noqa: E402
    NAME,
    PUBLISHED_LAYERS,
    checked_layers,
    multilayer_config,
    put_layers,
)
from spatial_vlm_ros.vlm.remedies.marking import mark  # noqa: E402

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


def test_the_published_layers_of_the_published_encoder_make_4096_numbers() -> None:
    vision = CLIPVisionConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=336, patch_size=14
    )
    text = small_vlm("llava").config.text_config
    config = multilayer_config(LlavaConfig(vision_config=vision, text_config=text))
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    assert config.vision_feature_layer == list(PUBLISHED_LAYERS) == [12, 16, 20, 24]
    assert model.model.multi_modal_projector.linear_1.in_features == 4096


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


@pytest.mark.parametrize("kind", [*KINDS[1:], "paligemma"])
def test_other_classes_are_refused_with_the_reason(kind: str) -> None:
    model, reason = small_vlm(kind), "DeepStack" if kind == "qwen3_vl" else "no vision_feature_layer"
    with pytest.raises(ModelError, match=reason):
        put_layers(parts_of(model), LAYERS, allow_untrained=True)
    with pytest.raises(ModelError, match=reason):
        multilayer_config(model.config, LAYERS)
