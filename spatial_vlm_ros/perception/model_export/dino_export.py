# SPDX-License-Identifier: Apache-2.0
"""Export Grounding DINO, MM-Grounding-DINO and LLMDet as one ONNX graph, with the other files of the backend `onnx`.

The graph is traced for images of one size: `torch.export` takes minutes or more to simplify Swin's windows for a
variable height and width (ADR 0035), and a camera has one size anyway. Deformable attention becomes GridSample, a
standard operator of ONNX.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from spatial_vlm_ros.perception.backends.dino_inputs import TOKENS, DinoTokens, edges, preparation, scaled
from spatial_vlm_ros.perception.backends.dino_prompts import joined
from spatial_vlm_ros.perception.backends.onboard import capped
from spatial_vlm_ros.perception.backends.onnx_dino import GRAPH_FILE, INPUTS, OUTPUTS, PROPOSALS, OnnxDino
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice
from spatial_vlm_ros.perception.model_export.graphs import furthest, write_graph

IMAGE = (480, 640)  # height and width in pixels if no camera image size is given
_PROMPTS = (("a cup", "a soup can"), ("box",))
_MASKS, _ASSERTION = "generate_masks_with_special_tokens_and_transfer_map", "torch_compilable_check"


class DinoExport:
    """Exports Grounding DINO or a relative; see export.ModelExport.

    Args:
        model: GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection on the CPU, in evaluation mode and
            float32.
        image: (height, width) of the camera's images in pixels, which fill the graph's input; others are scaled to fit.
        longest_px: most pixels of the longer side of the graph's input; 0 = as in the processor.
    """

    graphs: tuple[str, ...] = (GRAPH_FILE,)

    def __init__(self, model: Any, prepared_by: Any, image: tuple[int, int] = IMAGE, longest_px: int = 0) -> None:
        self.model, self._image = model, image
        told = json.loads(prepared_by.image_processor.to_json_string())
        size = told["size"] if not longest_px else capped(told["size"], longest_px)
        height, width = scaled(image, *edges(size))
        self._prepare = preparation({**told, "size": size, "pad_size": {"height": height, "width": width}})

    def write_graphs(self, folder: Path) -> None:
        """Write model.onnx in float32; onnx_dino.py documents its inputs and outputs."""
        height, width = self._prepare.height, self._prepare.width
        ids = torch.tensor([[TOKENS["[CLS]"], 1, TOKENS["."], 2, 3, TOKENS["."], TOKENS["[SEP]"]]])
        mask = torch.ones(1, height, width, dtype=torch.int64)
        tokens = torch.export.Dim("tokens", min=4, max=self.model.config.max_text_len)
        shapes: Mapping[str, Any] = {"pixel_values": {}, "pixel_mask": {}, "input_ids": {1: tokens}}
        example = (torch.zeros(1, 3, height, width), mask, ids)
        with _traceable(self.model):
            write_graph(_TextAndImage(self.model), example, folder / GRAPH_FILE, INPUTS, (*OUTPUTS, PROPOSALS), shapes)

    def described(self) -> dict[str, Any]:
        """Preparation of images with the keys of preprocessor_config.json; pad_size is the graph's input."""
        prepare = self._prepare
        return {
            "image_processor_type": "GroundingDinoImageProcessor",
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "do_pad": True,
            "size": {"shortest_edge": prepare.shortest, "longest_edge": prepare.longest},
            "pad_size": {"height": prepare.height, "width": prepare.width},
            "resample": 2,
            "rescale_factor": prepare.factor,
            "image_mean": list(prepare.mean),
            "image_std": list(prepare.std),
        }

    def differences(self, folder: Path) -> tuple[float, float]:
        """Measure the greatest difference of scores and boxes from transformers, on two random images, one padded.

        The model starts its boxes at the best Q of thousands of image positions. Positions whose scores differ only by
        rounding may change order, and with them all later results. So transformers continues with the positions that
        the graph chose; if they score less than its own choice, that counts as a difference of scores.
        """
        tokens = DinoTokens(folder, self.model.config.max_text_len)
        outputs = (*OUTPUTS, PROPOSALS)
        graph = OnnxDino(folder / GRAPH_FILE, self._prepare, tokens, OnnxDevice("cpu"), outputs)
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
        queries = output.pred_boxes.shape[1]
        proposals = torch.topk(output.enc_outputs_class.amax(-1), queries, dim=1)[1]
        return output.logits[..., : input_ids.shape[1]], output.pred_boxes, proposals


class _SameProposals(TorchFunctionMode):
    """Makes transformers use given positions of an image instead of its own best ones.

    Args:
        chosen: (1, Q) int64, best first.
    """

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
    """Compute which tokens of a text see each other, and the position of each within its part.

    The same as transformers' `generate_masks_with_special_tokens_and_transfer_map`, without isin, cummax and cummin,
    which the exporter does not have.

    Args:
        input_ids: (B, T) int64.
        special_tokens: (S,) int64, those that end a part.

    Returns:
        (B, T, T) bool and (B, T) int64.
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
