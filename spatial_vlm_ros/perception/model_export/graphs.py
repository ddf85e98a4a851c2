# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 as two ONNX graphs, and those graphs in smaller number formats."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.owl_graphs import (
    EMBEDDINGS,
    IMAGE_FILE,
    IMAGE_INPUTS,
    OUTPUTS,
    TEXT_FILE,
    TEXT_INPUTS,
)
from spatial_vlm_ros.vlm.compact.export import OPSET, strip_traces

INSTALL = install("export")
FORMATS = ("fp32", "fp16", "int8")
_MOST_TEXTS = 1024
_QUANTISED = ["MatMul", "Gemm", "Gather"]  # weights of layers and words; the patches' convolution stays as it is


class _TextPart(nn.Module):
    """Phrases to embeddings of length one, as the whole model has them."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.text, self.projection = base.text_model, base.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self.text(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        embeddings = self.projection(pooled)
        return embeddings / torch.linalg.norm(embeddings, ord=2, dim=-1, keepdim=True)


class _ImagePart(nn.Module):
    """An image and embeddings of phrases to scores and boxes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, query_embeds: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.model.image_embedder(pixel_values)[0]
        features = grid.flatten(1, 2)
        logits = self.model.class_predictor(features, query_embeds)[0]
        return logits, self.model.box_predictor(features, grid)


def write_graphs(model: Any, folder: Path) -> None:
    """Write text.onnx and image.onnx in float32.

    Args:
        model: OwlViTForObjectDetection or Owlv2ForObjectDetection on the CPU, in evaluation mode and float32.
        folder: that exists.

    Raises:
        DependencyError: onnx or onnxscript is not installed.
    """
    base = getattr(model, model.config.model_type)
    length, side = model.config.text_config.max_position_embeddings, model.config.vision_config.image_size
    width = model.config.projection_dim
    ids, mask = torch.ones(3, length, dtype=torch.int64), torch.ones(3, length, dtype=torch.int64)
    ids[:, -1] = model.config.text_config.vocab_size - 1
    texts = torch.export.Dim("texts", min=1, max=_MOST_TEXTS)
    _write(
        _TextPart(base), (ids, mask), folder / TEXT_FILE, TEXT_INPUTS, (EMBEDDINGS,),
        {"input_ids": {0: texts}, "attention_mask": {0: texts}},
    )  # fmt: skip
    pixels, queries = torch.zeros(1, 3, side, side), torch.ones(1, 3, width)
    _write(
        _ImagePart(model), (pixels, queries), folder / IMAGE_FILE, IMAGE_INPUTS, OUTPUTS,
        {"pixel_values": {}, "query_embeds": {1: texts}},
    )  # fmt: skip


def _write(
    part: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: Mapping[str, Any],
) -> None:
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx._internal.exporter._registration"):
            warnings.simplefilter("ignore")  # of the exporter about itself, and torchvision's operators
            torch.onnx.export(
                part.eval(),
                example,
                path,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dict(shapes),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), INSTALL) from error
    strip_traces(path)


def convert(path: Path, number_format: str) -> None:
    """Convert a float32 graph in place.

    Args:
        path: the .onnx file.
        number_format: "fp32" leaves it. "fp16": all weights and operations, inputs and outputs stay float32. "int8":
            weights of matrix products and of words in 8 bits, activations quantised as they come (dynamic).

    Raises:
        DependencyError: onnx or onnxruntime is not installed.
    """
    if number_format == "fp32":
        return
    onnx = _needed("onnx")
    if number_format == "fp16":
        module = _needed("onnxruntime.transformers.float16")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names each number that is too small for float16
            halved = module.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
        onnx.save(halved, str(path))
        return
    quantization = _needed("onnxruntime.quantization")
    # Unsigned weights: products of signed ones overflow 16 bits on CPUs with AVX2 alone (ONNX Runtime, "Quantize ONNX
    # models", section on S8S8 and U8U8).
    kind, smaller = quantization.QuantType.QUInt8, path.with_suffix(".int8")
    with _quiet(""):  # its root logger advises to fold constants first, which the exporter has done
        quantization.quantize_dynamic(
            path, smaller, op_types_to_quantize=_QUANTISED, per_channel=True, weight_type=kind
        )
    smaller.replace(path)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Drop warnings of one logger."""
    logger = logging.getLogger(name)

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    logger.addFilter(errors_only)
    try:
        yield
    finally:
        logger.removeFilter(errors_only)


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(name.partition(".")[0], INSTALL) from error
