# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2 for the backend "onnx": what they are asked, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.backends.onnx_inputs import Pixels
from spatial_vlm_ros.perception.backends.onnx_session import boxes_of, check_image
from spatial_vlm_ros.perception.backends.owl_graphs import OneGraph, TwoGraphs
from spatial_vlm_ros.perception.backends.owl_inputs import OwlPreparation
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, likely
from spatial_vlm_ros.types import Rgb

PROMPT = "a photo of a {}"


class OnnxOwl:
    """OWL-ViT or OWLv2; see onnx_detector.AskedModel.

    Args:
        graphs: of the model.
        prepare: of the same model.
        prompt: text in which a category stands for "{}".

    Raises:
        InputError: a prompt without "{}".
        ModelError: the graph takes images of another size.
    """

    def __init__(self, graphs: OneGraph | TwoGraphs, prepare: OwlPreparation, prompt: str = PROMPT) -> None:
        if prompt.count("{}") != 1:
            raise InputError("option prompt", repr(prompt), 'a text with one "{}"', f"for example {PROMPT!r}")
        check_image(graphs.pixels, (prepare.height, prepare.width))
        self.prepare, self.providers = prepare, graphs.providers
        self._graphs, self._prompt = graphs, prompt

    def prompts(self, categories: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
        """Groups of `at_once` categories."""
        return [tuple(categories[n : n + at_once]) for n in range(0, len(categories), at_once)]

    def prepared(self, rgb: Rgb) -> Pixels:
        """The image as the graphs take it."""
        return self.prepare(rgb)

    def find(
        self, image: Pixels, prompt: Sequence[str], categories: Sequence[str], least: float, size: tuple[int, int]
    ) -> Boxes:
        """Boxes of a prompt; a box's score is the greatest of its categories."""
        logits, output = boxes_of(self._graphs(image, [self._prompt.format(name) for name in prompt]), len(prompt))
        fit = np.zeros((len(output), len(categories)))
        fit[:, [categories.index(name) for name in prompt]] = likely(logits)
        score = fit.max(axis=1)
        kept = np.flatnonzero(score > least)
        return clipped(self.prepare.to_pixels(output[kept], size), score[kept], fit[kept], size)
