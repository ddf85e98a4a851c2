# SPDX-License-Identifier: Apache-2.0
"""Vision-language models of the published classes with random weights, a few thousand of them, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

WORDS, IMAGE, VIDEO, START, END = 60, 50, 51, 52, 53
"""Size of the vocabulary, and tokens of it with a meaning; 0 to 49 are words."""
KINDS = ("llava", "qwen2_5_vl", "qwen3_vl")
TEXT = {
    **{"vocab_size": WORDS, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512},
    **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.2},
}
SECTIONS = {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}}
TOKENS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END}


def small_vlm(kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, **text: Any) -> Any:
    """A model of a kind, a key of `ARCHITECTURES`, ready to answer; `text` changes its decoder.

    Its images give a grid of 4 x 4 image tokens.
    """
    torch.manual_seed(seed)
    made = {"llava": _llava, "paligemma": _paligemma, "qwen2_vl": _qwen2, "qwen2_5_vl": _qwen2_5, "qwen3_vl": _qwen3}
    return made[kind](text).to(dtype).eval()


def prompt(kind: str, words: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """One image of noise between some words, as a processor would give it to `model(**inputs)`."""
    rng = torch.Generator().manual_seed(seed)
    before, after = torch.randint(0, 50, (2, words), generator=rng).tolist()
    image = [IMAGE] * 16
    ids = [*before, *([START] if "qwen" in kind else []), *image, *([END] if "qwen" in kind else []), *after]
    input_ids = torch.tensor([ids])
    given = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if "qwen" not in kind:
        given["pixel_values"] = torch.randn(1, 3, 32, 32, generator=rng).to(dtype)
        if kind == "paligemma":
            given["token_type_ids"] = torch.zeros_like(input_ids)
        return given
    patch = 16 if kind == "qwen3_vl" else 14
    given["pixel_values"] = torch.randn(64, 3 * 2 * patch * patch, generator=rng).to(dtype)
    given["image_grid_thw"] = torch.tensor([[1, 8, 8]])
    given["mm_token_type_ids"] = (input_ids == IMAGE).int()
    return given


def _llava(text: dict[str, Any]) -> Any:
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2, image_size=32, patch_size=8,
        initializer_factor=3.0,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**{**TEXT, **text}), image_token_id=IMAGE)
    return LlavaForConditionalGeneration(config)


def _qwen2(text: dict[str, Any]) -> Any:
    vision = {
        **{"depth": 2, "embed_dim": 32, "mlp_ratio": 2, "num_heads": 2, "patch_size": 14, "initializer_range": 0.2},
        **{"hidden_size": text.get("hidden_size", TEXT["hidden_size"])},
    }
    config = Qwen2VLConfig(text_config={**TEXT, **SECTIONS, **text}, vision_config=vision, **TOKENS)
    return Qwen2VLForConditionalGeneration(config)


def _qwen2_5(text: dict[str, Any]) -> Any:
    vision = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14},
        **{"out_hidden_size": text.get("hidden_size", TEXT["hidden_size"]), "window_size": 56},
        **{"fullatt_block_indexes": [1], "initializer_range": 0.2},
    }
    config = Qwen2_5_VLConfig(text_config={**TEXT, **SECTIONS, **text}, vision_config=vision, **TOKENS)
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3(text: dict[str, Any]) -> Any:
    vision = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16},
        **{"out_hidden_size": text.get("hidden_size", TEXT["hidden_size"]), "num_position_embeddings": 64},
        **{"deepstack_visual_indexes": [0], "initializer_range": 0.2},
    }
    config = Qwen3VLConfig(text_config={**TEXT, **SECTIONS, **text}, vision_config=vision, **TOKENS)
    return Qwen3VLForConditionalGeneration(config)


def _paligemma(text: dict[str, Any]) -> Any:
    config = PaliGemmaConfig(
        vision_config={
            **{"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "image_size": 32},
            **{"num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "projection_dim": 64},
        },
        text_config={**TEXT, "model_type": "gemma", **text},
        image_token_id=IMAGE,
        projection_dim=64,
        hidden_size=64,
    )
    return PaliGemmaForConditionalGeneration(config)
