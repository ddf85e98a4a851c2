# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO and MM-Grounding-DINO: real classes of transformers at a tiny size with random weights.

Unlike those of tiny_models they have all parts of published ones: two stages of Swin with shifted windows, a level of
features more than Swin gives, more places in the image than boxes, and weights that make boxes score differently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_models import bert_tokenizer
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

KINDS = ("grounding-dino", "mm-grounding-dino")
SHORTEST, LONGEST = 60, 100


def dino(kind: str, longest_text: int = 24, own_heads: bool = False) -> Any:
    """A detector of random weights whose scores differ between phrases and boxes.

    Args:
        kind: model_type.
        longest_text: tokens of its texts.
        own_heads: MM-Grounding-DINO: whether each layer of the decoder has a head of its own, as published ones have.
    """
    backbone = SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=3,
                          out_indices=[1, 2])  # fmt: skip
    text = BertConfig(vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    parts: dict[str, Any] = {
        "backbone_config": backbone, "text_config": text, "num_queries": 40, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "d_model": 32, "num_feature_levels": 3, "max_text_len": longest_text,
    }  # fmt: skip
    if own_heads:
        parts |= {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
    torch.manual_seed(0)
    if kind == "grounding-dino":
        model: Any = GroundingDinoForObjectDetection(GroundingDinoConfig(**parts))
    else:
        model = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**parts))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "vision_param" in name or "text_param" in name:  # 1e-4 as initialised: image and text would not meet
                value.fill_(0.1)
            elif value.ndim > 1 and "bbox_embed" in name:
                value.normal_(0.0, 0.2)
            elif value.ndim > 1:
                value.normal_(0.0, 0.8 / value.shape[-1] ** 0.5 if value.ndim == 2 else 0.1)
            elif kind == "grounding-dino" and ("decoder.layer_norm.w" in name or "enc_output_norm.w" in name):
                value.fill_(0.2)  # MM-Grounding-DINO divides by the root of their length instead
            elif "class_embed" in name:
                value.zero_()
    return model.eval()


def saved_dino(folder: Path, kind: str) -> Path:
    """A folder as `save_pretrained` writes it."""
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": SHORTEST, "longest_edge": LONGEST})
    prepared_by = GroundingDinoProcessor(images, bert_tokenizer(folder))
    dino(kind, own_heads=kind == "mm-grounding-dino").save_pretrained(folder)
    prepared_by.save_pretrained(folder)
    return folder
