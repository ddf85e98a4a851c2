# SPDX-License-Identifier: Apache-2.0
"""Write torch modules as ONNX graphs, and convert the graphs to smaller number formats."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.vlm.compact.export import OPSET, strip_traces

INSTALL = install("export")
FORMATS = ("fp32", "fp16", "int8")
_QUANTISED = ["MatMul", "Gemm", "Gather"]  # weights of layers and embeddings; the patch convolution stays in float32
_EXACT = ["GridSample"]  # it samples at relative image coordinates, of which float16 resolves only about a thousand


def write_graph(
    part: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: Mapping[str, Any],
) -> None:
    """Write a module as one ONNX file in float32, of standard operators.

    Args:
        part: module on the CPU, in float32.
        shapes: name of an argument of `forward` → dimension → torch.export.Dim; {} if all are fixed.
    """
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx._internal.exporter._registration"):
            warnings.simplefilter("ignore")  # warnings of the exporter about itself, and about torchvision's operators
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


def furthest(got: Mapping[str, npt.NDArray[Any]], logits: Tensor, boxes: Tensor) -> tuple[float, float]:
    """Return the greatest difference of a score, 0 to 1, and of a side of a box, 0 to 1.

    Args:
        got: "logits" and "pred_boxes" of a graph.
        logits: logits from transformers, same shape.
    """
    scores = torch.from_numpy(got["logits"]).float().sigmoid() - logits.sigmoid()
    sides = torch.from_numpy(got["pred_boxes"]).float() - boxes
    return float(scores.abs().max()), float(sides.abs().max())


def convert(path: Path, number_format: str) -> None:
    """Convert a float32 graph in place.

    Args:
        number_format: "fp32" changes nothing. "fp16" converts weights and operations except those of _EXACT and of ONNX
            Runtime's own list; inputs and outputs stay float32. "int8" stores weights of matrix products and embeddings
            in 8 bits, and quantises activations dynamically.
    """
    if number_format == "fp32":
        return
    onnx = _needed("onnx")
    if number_format == "fp16":
        module = _needed("onnxruntime.transformers.float16")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it lists every number that is too small for float16
            exact = [*module.DEFAULT_OP_BLOCK_LIST, *_EXACT]
            halved = module.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True, op_block_list=exact)
        onnx.save(halved, str(path))
        return
    quantization = _needed("onnxruntime.quantization")
    # Unsigned weights: products of signed ones overflow 16 bits on CPUs with only AVX2 (ONNX Runtime, "Quantize ONNX
    # models", section on S8S8 and U8U8).
    kind, smaller = quantization.QuantType.QUInt8, path.with_suffix(".int8")
    graph = onnx.load(str(path)).graph
    sides = {weight.name: len(weight.dims) for weight in graph.initializer}
    stacked = [n.name for n in graph.node if n.op_type == "MatMul" and sides.get(n.input[1], 2) != 2]  # ORT has no such
    with _quiet(""):  # it advises to fold constants, which the exporter has done
        quantization.quantize_dynamic(
            path,
            smaller,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            weight_type=kind,
            nodes_to_exclude=stacked,
        )
    smaller.replace(path)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Drop the warnings of one logger."""
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
