# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO, MM-Grounding-DINO and LLMDet for the backend "onnx": prompts and answers.

The graph comes from `spatial-vlm models export`. Inputs: pixel_values (1, 3, H, W) float32, normalised; pixel_mask (1,
H, W) int64, 1 where the image is; input_ids (1, T) int64, T tokens. H and W are fixed, T is not. Outputs: logits (1, Q,
T) of Q boxes for T tokens; pred_boxes (1, Q, 4), centre and size relative to the image without its padding; proposals
(1, Q) int64, the index in the image features at which each box started, best first; only the export's own check reads
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spatial_vlm_ros.perception.backends.dino_inputs import DinoPreparation, DinoTokens
from spatial_vlm_ros.perception.backends.dino_prompts import joined, prompts_of, read_boxes, spans_of
from spatial_vlm_ros.perception.backends.model_inputs import Ids, Pixels
from spatial_vlm_ros.perception.backends.onnx_session import (
    NAME,
    Arrays,
    OnnxDevice,
    OnnxGraph,
    boxes_of,
    check_image,
)
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes
from spatial_vlm_ros.types import Rgb

GRAPH_FILE = "model.onnx"
INPUTS = ("pixel_values", "pixel_mask", "input_ids")
OUTPUTS, PROPOSALS = ("logits", "pred_boxes"), "proposals"


class OnnxDino:
    """Grounding DINO or a relative; see onnx_detector.AskedModel."""

    def __init__(
        self,
        path: Path,
        prepare: DinoPreparation,
        tokens: DinoTokens,
        device: OnnxDevice,
        outputs: Sequence[str] = OUTPUTS,
    ) -> None:
        self._graph = OnnxGraph(path, INPUTS, outputs, device)
        check_image(self._graph.shapes["pixel_values"], (prepare.height, prepare.width))
        self.prepare, self.tokens, self.providers = prepare, tokens, self._graph.providers

    def prompts(self, categories: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
        """Group categories that fit in one text."""
        return prompts_of(categories, at_once, self.tokens.longest, lambda text: len(self.tokens(text)))

    def prepared(self, rgb: Rgb) -> tuple[Pixels, Ids]:
        """Prepare the image and its mask for the graph."""
        return self.prepare(rgb)

    def run(self, image: tuple[Pixels, Ids], ids: Sequence[int]) -> Arrays:
        """Run the graph on an image and the tokens of a text."""
        return self._graph.run(pixel_values=image[0], pixel_mask=image[1], input_ids=np.array([ids]))

    def find(
        self,
        image: tuple[Pixels, Ids],
        prompt: Sequence[str],
        categories: Sequence[str],
        least: float,
        size: tuple[int, int],
    ) -> Boxes:
        """Find the boxes of a prompt; see dino_prompts.read_boxes."""
        ids = self.tokens(joined(prompt))
        spans = dict(zip(prompt, spans_of(ids, self.tokens.stop, prompt, NAME), strict=True))
        logits, boxes = boxes_of(self.run(image, ids), len(ids))
        return read_boxes(logits, boxes, spans, categories, least, size)
