# SPDX-License-Identifier: Apache-2.0
"""The computed costs of docs/adapt.md: sizes are those of the real classes, and the page has what the script prints."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
import transformers
from peft import LoraConfig, LoraModel

from scripts.adapt_costs import LlavaSizes, layer_bytes, lines
from spatial_vlm_ros.vlm.adaptation.lora import TARGETS
from spatial_vlm_ros.vlm.remedies.pin import Pin

SIZES = LlavaSizes()
PAGE = Path(__file__).resolve().parents[3] / "docs" / "adapt.md"


def count(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_parameters_are_those_of_the_classes() -> None:
    vision = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14,
    )  # fmt: skip
    text = transformers.LlamaConfig(vocab_size=32064)  # its other defaults are those of LLaMA-7B
    with torch.device("meta"):
        model = transformers.LlavaForConditionalGeneration(
            transformers.LlavaConfig(vision_config=vision, text_config=text)
        )
        deep = transformers.LlavaConfig(vision_config=vision, text_config=text, vision_feature_layer=[12, 16, 20, 24])
        wide = type(model.model.multi_modal_projector)(deep)
        insert = Pin(SIZES.patches, 1024)
    inner = model.model
    assert count(inner.vision_tower) == SIZES.vision
    assert count(inner.multi_modal_projector) == SIZES.projector()
    assert count(wide) == SIZES.projector(4)
    assert count(inner.language_model) + count(model.lm_head) == SIZES.language
    assert count(insert) == SIZES.pin() == 1_217_280  # as published


@pytest.mark.parametrize("adapted", [False, True])
def test_what_torch_keeps_of_a_layer_is_what_is_counted(adapted: bool) -> None:
    hidden, inner, tokens, kept = 256, 688, 64, []
    for layers in (1, 3):
        config = transformers.LlamaConfig(
            vocab_size=8, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=4
        )
        model = transformers.LlamaModel(config).to(torch.bfloat16).requires_grad_(False)
        if adapted:
            LoraModel(model, {"a": LoraConfig(r=2, target_modules=list(TARGETS))}, "a")
        given = torch.randn(1, tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
        weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
        seen: dict[int, tuple[int, torch.Tensor]] = {}

        def note(value: torch.Tensor, seen: dict[int, tuple[int, torch.Tensor]] = seen) -> torch.Tensor:
            seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes(), value
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value), torch.autocast("cpu", torch.bfloat16):
            model(inputs_embeds=given, use_cache=False)
        kept.append(sum(size for place, (size, _) in seen.items() if place not in weights) / tokens)
    measured = (kept[1] - kept[0]) / 2
    counted = layer_bytes(hidden, inner) - (0 if adapted else 2 * hidden)
    assert measured == pytest.approx(counted, rel=0.04)


def test_the_page_has_what_the_script_prints() -> None:
    assert "\n".join(lines(SIZES)) in PAGE.read_text()
