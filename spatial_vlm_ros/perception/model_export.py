# SPDX-License-Identifier: Apache-2.0
"""Export a transformers folder as a folder for the backend `onnx`; it is kept only if both compute the same.

OWL-ViT and OWLv2 become two graphs, text and image. Grounding DINO, MM-Grounding-DINO and LLMDet become one, traced for
images of one size: `torch.export` takes minutes or more to simplify Swin's windows for a variable height and width
(ADR 0034), and a camera has one size anyway. Deformable attention becomes GridSample, a standard operator of ONNX.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from spatial_vlm_ros.errors import DependencyError, FileError, InputError, ModelError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.writing import new_folder, write_text
from spatial_vlm_ros.perception.backends.detector_inputs import (
    TOKENS,
    ClipTokens,
    DinoPreparation,
    DinoTokens,
    OwlPreparation,
    dino_preparation,
    edges,
    joined,
    owl_preparation,
    read_tokenizer,
    scaled,
)
from spatial_vlm_ros.perception.backends.detectors import DINO_CLASSES, OWL_CLASSES, class_of
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, read_json, short
from spatial_vlm_ros.perception.backends.onboard import LEAST_LONGEST_PX, capped
from spatial_vlm_ros.perception.backends.onnx_detector import (
    EMBEDDINGS,
    GRAPH_FILE,
    IMAGE_FILE,
    OUTPUTS,
    PROPOSALS,
    TEXT_FILE,
    OnnxDino,
    TwoGraphs,
)
from spatial_vlm_ros.perception.backends.onnx_session import NAME as ONNX
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice
from spatial_vlm_ros.vlm.compact.model import write_onnx

INSTALL = install("export")
FORMATS = ("fp32", "fp16", "int8")
_QUANTISED = ["MatMul", "Gemm", "Gather"]  # weights of layers and embeddings; the patch convolution stays in float32
_EXACT = ["GridSample"]  # it samples at relative image coordinates, of which float16 resolves only about a thousand


def furthest(got: Mapping[str, npt.NDArray[Any]], logits: Tensor, boxes: Tensor) -> tuple[float, float]:
    """Return the greatest difference, graph to transformers, of a score and of a side of a box, both 0 to 1."""
    scores = torch.from_numpy(got["logits"]).float().sigmoid() - logits.sigmoid()
    sides = torch.from_numpy(got["pred_boxes"]).float() - boxes
    return float(scores.abs().max()), float(sides.abs().max())


def convert(path: Path, number_format: str) -> None:
    """Convert a float32 graph in place; "fp32" changes nothing.

    "fp16" converts weights and operations except those of _EXACT and of ONNX Runtime's own list; inputs and outputs
    stay float32. "int8" stores weights of matrix products and embeddings in 8 bits, and quantises activations
    dynamically.
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


_MOST_TEXTS = 1024
_TEXTS = ("a cup", "a soup can", "box")
_OWL_IMAGE = (120, 160)  # height and width of the random image, pixels


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


def _described(kind: str, prepare: OwlPreparation | DinoPreparation, **more: Any) -> dict[str, Any]:
    """Preparation of images with the keys of preprocessor_config.json."""
    return {
        "image_processor_type": f"{kind}ImageProcessor",
        **dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), True),
        "rescale_factor": prepare.factor,
        "image_mean": list(prepare.mean),
        "image_std": list(prepare.std),
        **more,
    }


class OwlExport:
    """Exports OWL-ViT or OWLv2, on the CPU, in evaluation mode and float32; see `export_model`."""

    graphs: tuple[str, ...] = (TEXT_FILE, IMAGE_FILE)

    def __init__(self, model: Any, prepared_by: Any) -> None:
        self.model, self._tokenizer = model, prepared_by.tokenizer
        told = json.loads(prepared_by.image_processor.to_json_string())
        self._side = model.config.vision_config.image_size
        self._prepare = owl_preparation(model.config.model_type, told, self._side)

    def write_graphs(self, folder: Path) -> None:
        """Write text.onnx and image.onnx in float32."""
        config = self.model.config
        base, length = getattr(self.model, config.model_type), config.text_config.max_position_embeddings
        ids, mask = torch.ones(3, length, dtype=torch.int64), torch.ones(3, length, dtype=torch.int64)
        ids[:, -1] = config.text_config.vocab_size - 1
        texts = torch.export.Dim("texts", min=1, max=_MOST_TEXTS)
        shapes: dict[str, Any] = {"input_ids": {0: texts}, "attention_mask": {0: texts}}
        write_onnx(_TextPart(base), (ids, mask), folder / TEXT_FILE, (EMBEDDINGS,), shapes)
        pixels, queries = torch.zeros(1, 3, self._side, self._side), torch.ones(1, 3, config.projection_dim)
        shapes = {"pixel_values": {}, "query_embeds": {1: texts}}
        write_onnx(_ImagePart(self.model), (pixels, queries), folder / IMAGE_FILE, OUTPUTS, shapes)

    def described(self) -> dict[str, Any]:
        """Preparation of images with the keys of preprocessor_config.json."""
        prepare, owlvit = self._prepare, self._prepare.family == "owlvit"
        more = {"resample": 3, "do_center_crop": False} if owlvit else {"resample": 2, "do_pad": True}
        size = {"height": prepare.height, "width": prepare.width}
        return _described("OwlViT" if owlvit else "Owlv2", prepare, size=size, **more)

    def differences(self, folder: Path) -> tuple[float, float]:
        """Measure the greatest difference of scores and boxes from transformers, on a random image."""
        length = self.model.config.text_config.max_position_embeddings
        pixels = self._prepare(np.random.default_rng(0).integers(0, 256, (*_OWL_IMAGE, 3), dtype=np.uint8))
        got = TwoGraphs(folder, ClipTokens(read_tokenizer(folder, ONNX), length, model=ONNX), OnnxDevice("cpu"))(
            pixels, _TEXTS
        )
        texts = self._tokenizer(list(_TEXTS), padding="max_length", max_length=length, return_tensors="pt")
        with torch.inference_mode():
            output = self.model(**texts, pixel_values=torch.from_numpy(pixels))
        return furthest(got, output.logits, output.pred_boxes)


IMAGE = (480, 640)  # height and width in pixels if no camera image size is given
_PROMPTS = (("a cup", "a soup can"), ("box",))
_MASKS, _ASSERTION = "generate_masks_with_special_tokens_and_transfer_map", "torch_compilable_check"


class DinoExport:
    """Exports Grounding DINO or a relative, on the CPU, in evaluation mode and float32; see `export_model`."""

    graphs: tuple[str, ...] = (GRAPH_FILE,)

    def __init__(self, model: Any, prepared_by: Any, image: tuple[int, int] = IMAGE, longest_px: int = 0) -> None:
        self.model, self._image = model, image
        told = json.loads(prepared_by.image_processor.to_json_string())
        size = told["size"] if not longest_px else capped(told["size"], longest_px)
        height, width = scaled(image, *edges(size))
        self._prepare = dino_preparation({**told, "size": size, "pad_size": {"height": height, "width": width}})

    def write_graphs(self, folder: Path) -> None:
        """Write model.onnx in float32; onnx_detector.py documents its inputs and outputs."""
        height, width = self._prepare.height, self._prepare.width
        ids = torch.tensor([[TOKENS["[CLS]"], 1, TOKENS["."], 2, 3, TOKENS["."], TOKENS["[SEP]"]]])
        mask = torch.ones(1, height, width, dtype=torch.int64)
        tokens = torch.export.Dim("tokens", min=4, max=self.model.config.max_text_len)
        shapes: Mapping[str, Any] = {"pixel_values": {}, "pixel_mask": {}, "input_ids": {1: tokens}}
        example = (torch.zeros(1, 3, height, width), mask, ids)
        with _traceable(self.model):
            write_onnx(_TextAndImage(self.model), example, folder / GRAPH_FILE, (*OUTPUTS, PROPOSALS), shapes)

    def described(self) -> dict[str, Any]:
        """Preparation of images with the keys of preprocessor_config.json; pad_size is the graph's input."""
        prepare = self._prepare
        size = {"shortest_edge": prepare.shortest, "longest_edge": prepare.longest}
        pad_size = {"height": prepare.height, "width": prepare.width}
        return _described("GroundingDino", prepare, do_pad=True, size=size, pad_size=pad_size, resample=2)

    def differences(self, folder: Path) -> tuple[float, float]:
        """Measure the greatest difference of scores and boxes from transformers, on two random images, one padded.

        The model starts its boxes at the best Q of thousands of image positions. Positions whose scores differ only by
        rounding may change order, and with them all later results. So transformers continues with the positions that
        the graph chose; if they score less than its own choice, that counts as a difference of scores.
        """
        tokens = DinoTokens(folder, self.model.config.max_text_len)
        graph = OnnxDino(folder / GRAPH_FILE, self._prepare, tokens, OnnxDevice("cpu"), (*OUTPUTS, PROPOSALS))
        scores, sides = [0.0], [0.0]
        whole, half = self._image, (self._image[0], self._image[1] // 2)
        for size, prompt in zip((whole, half), _PROMPTS, strict=True):
            image = self._prepare(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
            ids = tokens(joined(prompt))
            got = graph.run(image, ids)
            pixels, mask = map(torch.from_numpy, image)
            with torch.inference_mode(), _SameProposals(torch.from_numpy(got[PROPOSALS])) as same:
                output = self.model(pixel_values=pixels, pixel_mask=mask, input_ids=torch.tensor([ids]))
            score, side = furthest(got, output.logits[..., : len(ids)], output.pred_boxes)
            scores += [score, same.difference]
            sides.append(side)
        return float(np.max(scores)), float(np.max(sides))  # NaN stays NaN


class _TextAndImage(nn.Module):
    """The model applied to one image and one text, with its output as a plain tuple."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.model(pixel_values=pixel_values, pixel_mask=pixel_mask, input_ids=input_ids)
        proposals = torch.topk(output.enc_outputs_class.amax(-1), output.pred_boxes.shape[1], dim=1)[1]
        return output.logits[..., : input_ids.shape[1]], output.pred_boxes, proposals


class _SameProposals(TorchFunctionMode):
    """Makes transformers use given positions of an image, (1, Q) int64, best first, instead of its own best ones."""

    def __init__(self, chosen: Tensor) -> None:
        super().__init__()
        self._chosen = chosen
        self.difference = float("nan")
        """Greatest difference between a given position's score and the own choice's score of the same rank."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.topk:
            return result
        theirs = args[0].gather(1, self._chosen)
        self.difference = float((result[0].sigmoid() - theirs.sigmoid()).abs().max())
        return theirs, self._chosen


@contextlib.contextmanager
def _traceable(model: Any) -> Iterator[None]:
    """Make a model use only exportable operators: masks by comparisons, attention as products, no assertions."""
    names = vars(importlib.import_module(type(model).__module__))
    replaced: dict[str, Any] = {_MASKS: masks_of_text, _ASSERTION: lambda *_, **__: None}
    own = {name: names[name] for name in replaced}
    try:
        names.update(replaced)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        names.update(own)


def masks_of_text(input_ids: Tensor, special_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Compute which tokens (B, T) of a text see each other, (B, T, T), and the position of each within its part.

    The same as transformers' `generate_masks_with_special_tokens_and_transfer_map`, without isin, cummax and cummin,
    which the exporter does not have. A part ends with one of `special_tokens`.
    """
    length = input_ids.shape[1]
    place = torch.arange(length)
    special = (input_ids[..., None] == special_tokens).any(-1)[:, None, :]
    earlier, here = place[None, :] < place[:, None], place[None, :] == place[:, None]
    before = torch.where(special & earlier, place, -1).amax(-1)
    end = torch.where(special & ~earlier, place, length).amin(-1)
    within = (end != 0) & (end < length - 1)
    together = (end[:, :, None] == end[:, None, :]) & within[:, None, :]
    return together | here, torch.where(within, place - before - 1, 0)


NAME = "models export"
FAMILIES = (*OWL_CLASSES, *DINO_CLASSES)
TOLERANCE: Mapping[str, float] = MappingProxyType({"fp32": 1e-4, "fp16": 0.02, "int8": 1.0})
"""Format → largest allowed difference of scores (0 to 1) and boxes (0 to 1) from transformers. For int8 only finite
numbers are required: its loss can be measured only on real images with a trained model."""


@dataclass(frozen=True)
class ExportedModel:
    """Result of an export."""

    folder: Path
    number_format: str
    size: int  # bytes of the graphs
    score_error: float  # greatest difference of a score from transformers, on a random image; scores are 0 to 1
    box_error: float  # the same for a side of a box, relative to the image


def export_model(
    path_or_id: str,
    out: Path,
    number_format: str = "fp32",
    *,
    image: tuple[int, int] | None = None,
    longest_px: int = 0,
) -> ExportedModel:
    """Export a detector, a folder or an id of the hub's cache, as a folder that the backend `onnx` reads.

    A failed export leaves nothing behind.

    Args:
        out: output folder; it must not exist, or be empty.
        number_format: "fp32", "fp16" or "int8".
        image: Grounding DINO and its relatives: (height, width) of the camera's images in pixels, which fill the
            graph's input; None = 640x480. Others are scaled to fit and padded.
        longest_px: Grounding DINO and its relatives: most pixels of the longer side of the graph's input, 256 or more;
            0 = as in the model's processor.
    """
    if number_format not in FORMATS:
        raise UnknownNameError("format", number_format, FORMATS)
    if longest_px and longest_px < LEAST_LONGEST_PX:
        raise InputError("longest_px", str(longest_px), f"{LEAST_LONGEST_PX} or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileError(out, "it already exists", "choose a folder that does not exist")
    source = model_folder(path_or_id, model=NAME)
    family = str(read_json(source / "config.json", NAME).get("model_type"))
    if family not in FAMILIES:
        reason = f"{path_or_id} holds a model of type {family!r}"
        raise ModelError(NAME, reason, f"use a model whose model_type is {' or '.join(FAMILIES)}")
    if (image or longest_px) and family in OWL_CLASSES:
        raise InputError("image or longest_px", f"one for {family}", "none: its input has one size", "leave it out")
    on_cpu: dict[str, Any] = {"model": NAME, "device": torch.device("cpu"), "dtype": torch.float32}
    cls, unsaid = (OWL_CLASSES[family], dict[str, bool]()) if family in OWL_CLASSES else class_of(str(source), NAME)
    model = pretrained(cls, str(source), arguments=unsaid, **on_cpu)
    prepared_by = processor(str(source), model=NAME)
    try:
        with new_folder(out) as folder:
            export: OwlExport | DinoExport
            if family in OWL_CLASSES:
                export = OwlExport(model, prepared_by)
            else:
                export = DinoExport(model, prepared_by, image or IMAGE, longest_px)
            config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
            for name, content in (("config.json", config), ("preprocessor_config.json", export.described())):
                write_text(folder / name, json.dumps(content, indent=1, default=str) + "\n")
            prepared_by.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
            with _quiet("torch.onnx._internal.exporter._registration"):  # about torchvision's operators
                export.write_graphs(folder)
            errors = _checked(export, folder, "fp32")
            if number_format != "fp32":
                for name in export.graphs:
                    convert(folder / name, number_format)
                errors = _checked(export, folder, number_format)
            size = sum((folder / name).stat().st_size for name in export.graphs)
    except SpatialVlmError:
        raise
    except OSError as error:
        raise FileError(out, error.strerror or str(error), "choose a writable folder with enough space") from error
    except Exception as error:  # torch and onnx have no common base class of errors
        repair = "raise longest_px, install newer torch and onnx, or report it with the model's config.json"
        raise ModelError(NAME, f"{path_or_id} cannot be exported: {short(error)}", repair) from error
    return ExportedModel(out, number_format, size, *errors)


def _checked(export: OwlExport | DinoExport, folder: Path, number_format: str) -> tuple[float, float]:
    """Measure and check the greatest difference of scores and boxes from transformers."""
    errors = export.differences(folder)
    if not max(errors) <= TOLERANCE[number_format]:  # NaN, too
        reason = (
            f"its {number_format} graphs differ from transformers by {errors[0]:.1e} in scores and {errors[1]:.1e} in "
            f"boxes, more than {TOLERANCE[number_format]:.0e}"
        )
        raise ModelError(NAME, reason, "nothing was saved; try another format, or another version of torch and onnx")
    return errors
