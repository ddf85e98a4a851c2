# SPDX-License-Identifier: Apache-2.0
"""Export OWL-ViT and OWLv2 as two ONNX graphs, text and image, with the other files of the backend `onnx`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spatial_vlm_ros.perception.backends.model_inputs import ClipTokens, read_tokenizer
from spatial_vlm_ros.perception.backends.onnx_detector import (
    EMBEDDINGS,
    IMAGE_FILE,
    IMAGE_INPUTS,
    OUTPUTS,
    TEXT_FILE,
    TEXT_INPUTS,
    TwoGraphs,
)
from spatial_vlm_ros.perception.backends.onnx_session import NAME, OnnxDevice
from spatial_vlm_ros.perception.backends.owl_inputs import preparation
from spatial_vlm_ros.perception.model_export.graphs import furthest, write_graph

_MOST_TEXTS = 1024
_TEXTS = ("a cup", "a soup can", "box")
_IMAGE = (120, 160)  # height and width of the random image, pixels


class _TextPart(nn.Module):
    """Turns phrases into embeddings of unit length, as in the whole model."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.text, self.projection = base.text_model, base.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        embeddings = self.projection(pooled)
        return embeddings / torch.linalg.norm(embeddings, ord=2, dim=-1, keepdim=True)


class _ImagePart(nn.Module):
    """Turns an image and phrase embeddings into scores and boxes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, query_embeds: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.model.image_embedder(pixel_values)[0]
        features = grid.flatten(1, 2)
        logits = self.model.class_predictor(features, query_embeds)[0]
        return logits, self.model.box_predictor(features, grid)


class OwlExport:
    """Exports OWL-ViT or OWLv2; see export.ModelExport.

    Args:
        model: OwlViTForObjectDetection or Owlv2ForObjectDetection on the CPU, in evaluation mode and float32.
    """

    graphs: tuple[str, ...] = (TEXT_FILE, IMAGE_FILE)

    def __init__(self, model: Any, prepared_by: Any) -> None:
        self.model, self._tokenizer = model, prepared_by.tokenizer
        told = json.loads(prepared_by.image_processor.to_json_string())
        self._side = model.config.vision_config.image_size
        self._prepare = preparation(model.config.model_type, told, self._side)

    def write_graphs(self, folder: Path) -> None:
        """Write text.onnx and image.onnx in float32."""
        config = self.model.config
        base, length = getattr(self.model, config.model_type), config.text_config.max_position_embeddings
        ids, mask = torch.ones(3, length, dtype=torch.int64), torch.ones(3, length, dtype=torch.int64)
        ids[:, -1] = config.text_config.vocab_size - 1
        texts = torch.export.Dim("texts", min=1, max=_MOST_TEXTS)
        write_graph(
            _TextPart(base), (ids, mask), folder / TEXT_FILE, TEXT_INPUTS, (EMBEDDINGS,),
            {"input_ids": {0: texts}, "attention_mask": {0: texts}},
        )  # fmt: skip
        pixels, queries = torch.zeros(1, 3, self._side, self._side), torch.ones(1, 3, config.projection_dim)
        write_graph(
            _ImagePart(self.model), (pixels, queries), folder / IMAGE_FILE, IMAGE_INPUTS, OUTPUTS,
            {"pixel_values": {}, "query_embeds": {1: texts}},
        )  # fmt: skip

    def described(self) -> dict[str, Any]:
        """Preparation of images with the keys of preprocessor_config.json."""
        prepare, owlvit = self._prepare, self._prepare.family == "owlvit"
        return {
            "image_processor_type": f"{'OwlViT' if owlvit else 'Owlv2'}ImageProcessor",
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "size": {"height": prepare.height, "width": prepare.width},
            "rescale_factor": prepare.factor,
            "image_mean": list(prepare.mean),
            "image_std": list(prepare.std),
            **({"resample": 3, "do_center_crop": False} if owlvit else {"resample": 2, "do_pad": True}),
        }

    def differences(self, folder: Path) -> tuple[float, float]:
        """Measure the greatest difference of scores and boxes from transformers, on a random image."""
        length = self.model.config.text_config.max_position_embeddings
        pixels = self._prepare(np.random.default_rng(0).integers(0, 256, (*_IMAGE, 3), dtype=np.uint8))
        got = TwoGraphs(folder, ClipTokens(read_tokenizer(folder, NAME), length, model=NAME), OnnxDevice("cpu"))(
            pixels, _TEXTS
        )
        texts = self._tokenizer(list(_TEXTS), padding="max_length", max_length=length, return_tensors="pt")
        with torch.inference_mode():
            output = self.model(**texts, pixel_values=torch.from_numpy(pixels))
        return furthest(got, output.logits, output.pred_boxes)
