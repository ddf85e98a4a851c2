# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 for the backend "onnx": prompts and answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.perception.backends.model_inputs import Pixels
from spatial_vlm_ros.perception.backends.onnx_session import boxes_of, check_image
from spatial_vlm_ros.perception.backends.owl_graphs import OneGraph, TwoGraphs
from spatial_vlm_ros.perception.backends.owl_inputs import PROMPT, OwlPreparation, checked_prompt, scored
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes
from spatial_vlm_ros.types import Rgb


class OnnxOwl:
    """OWL-ViT or OWLv2; see onnx_detector.AskedModel.

    Args:
        prompt: text in which a category stands for "{}".
    """

    def __init__(self, graphs: OneGraph | TwoGraphs, prepare: OwlPreparation, prompt: str = PROMPT) -> None:
        check_image(graphs.pixels, (prepare.height, prepare.width))
        self.prepare, self.providers = prepare, graphs.providers
        self._graphs, self._prompt = graphs, checked_prompt(prompt)

    def prompts(self, categories: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
        """Split categories into groups of `at_once`."""
        return [tuple(categories[n : n + at_once]) for n in range(0, len(categories), at_once)]

    def prepared(self, rgb: Rgb) -> Pixels:
        """Prepare the image for the graphs."""
        return self.prepare(rgb)

    def find(
        self, image: Pixels, prompt: Sequence[str], categories: Sequence[str], least: float, size: tuple[int, int]
    ) -> Boxes:
        """Find the boxes of a prompt; a box's score is the greatest of its category scores."""
        logits, boxes = boxes_of(self._graphs(image, [self._prompt.format(name) for name in prompt]), len(prompt))
        every = np.full((len(boxes), len(categories)), -np.inf)
        every[:, [categories.index(name) for name in prompt]] = logits
        return scored(every, boxes, self.prepare, least, size)
