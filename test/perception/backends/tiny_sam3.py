# SPDX-License-Identifier: Apache-2.0
"""SAM 3: real classes of transformers at a tiny size with random weights, and their post-processing."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_owls import LENGTH, tokenizer
from transformers import CLIPTextConfig, Sam3Config, Sam3Model, Sam3VideoConfig, Sam3VideoModel
from transformers.models.sam3.configuration_sam3 import (
    Sam3DETRDecoderConfig,
    Sam3DETREncoderConfig,
    Sam3GeometryEncoderConfig,
    Sam3MaskDecoderConfig,
    Sam3VisionConfig,
    Sam3ViTConfig,
)

from spatial_vlm_ros.perception.backends.sam2 import Preparation

SIDE = 56
PREPARATION = Preparation(SIDE, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
QUERIES = 12


def config(side: int = SIDE, words: int = 55) -> Sam3Config:
    """A configuration for squares of `side` pixels and the words of tiny_owls.tokenizer."""
    inner = {"hidden_size": 16, "num_attention_heads": 2}
    layers = {**inner, "intermediate_size": 32, "num_layers": 1, "dropout": 0.0}
    cells = side // 14
    backbone = Sam3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        window_size=2, global_attn_indexes=[1], pretrain_image_size=28,
    )  # fmt: skip
    vision = Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=16,
        backbone_feature_sizes=[[4 * cells, 4 * cells], [2 * cells, 2 * cells], [cells, cells]],
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=words, bos_token_id=53, eos_token_id=54, pad_token_id=54, max_position_embeddings=LENGTH,
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, projection_dim=16,
    )  # fmt: skip
    return Sam3Config(
        vision_config=vision,
        text_config=text,
        geometry_encoder_config=Sam3GeometryEncoderConfig(**layers),
        detr_encoder_config=Sam3DETREncoderConfig(**layers),
        detr_decoder_config=Sam3DETRDecoderConfig(**{**layers, "num_layers": 2, "num_queries": QUERIES}),
        mask_decoder_config=Sam3MaskDecoderConfig(**inner),
    )


def sam3(side: int = SIDE, words: int = 55) -> Sam3Model:
    """SAM 3 of random weights whose scores, boxes and masks differ between phrases and objects."""
    torch.manual_seed(0)
    return spread(Sam3Model(config(side, words)))


def sam3_video() -> Sam3VideoModel:
    """The video model, in which published weights of SAM 3 are."""
    torch.manual_seed(0)
    whole = Sam3VideoConfig(detector_config=config().to_dict(), tracker_config=_tracker())
    return spread(Sam3VideoModel(whole))


def _tracker() -> dict[str, Any]:
    told = Sam3VideoConfig().tracker_config.to_dict()
    told["vision_config"] = config().vision_config.to_dict()
    return told


def spread(model: Any) -> Any:
    """A model, or a part of it, with weights as large as trained ones: as initialised, all objects are alike."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(0.0, 0.3)
    return model.eval()


def saved_sam3(folder: Path, model: Any, side: int = SIDE) -> Path:
    """A folder with a model, its tokenizer and the preparation of published folders."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    image = {
        "image_processor_type": "Sam3ImageProcessor",
        "size": {"height": side, "width": side},
        "rescale_factor": PREPARATION.factor,
        "image_mean": list(PREPARATION.mean),
        "image_std": list(PREPARATION.std),
        "resample": 2,
    }
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": image}))
    return folder


def post_processing() -> Callable[..., Any]:
    """`Sam3ImageProcessor.post_process_instance_segmentation`, compiled from transformers' source.

    Importing its module needs torchvision; these two functions of it need torch alone.
    """
    found = importlib.util.find_spec("transformers.models.sam3")
    assert found is not None
    assert found.origin is not None
    source = ast.parse((Path(found.origin).parent / "image_processing_sam3.py").read_text())
    wanted = ("_scale_boxes", "post_process_instance_segmentation")
    functions = [node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    for function in functions:
        function.decorator_list = []
        for argument in function.args.args:
            argument.annotation = None
        function.returns = None
    names: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module(functions, []), str(found.origin), "exec"), names)  # noqa: S102 - transformers' own
    return lambda *given, **named: names["post_process_instance_segmentation"](None, *given, **named)
