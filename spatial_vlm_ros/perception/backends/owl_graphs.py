# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs of OWL-ViT and OWLv2 in a folder: one for both text and image, or one for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.clip_tokens import ClipTokens
from spatial_vlm_ros.perception.backends.model_inputs import Ids, Pixels
from spatial_vlm_ros.perception.backends.onnx_session import NAME, Arrays, OnnxDevice, OnnxGraph, graph_file

TEXT_FILE, IMAGE_FILE = "text.onnx", "image.onnx"
TEXT_INPUTS, IMAGE_INPUTS = ("input_ids", "attention_mask"), ("pixel_values", "query_embeds")
EMBEDDINGS, OUTPUTS = "text_embeds", ("logits", "pred_boxes")
_REMEMBERED = 1024  # phrases; 2 KB each


class OneGraph:
    """One graph for both text and image."""

    def __init__(self, path: Path, tokens: ClipTokens, device: OnnxDevice) -> None:
        self._graph = OnnxGraph(path, ("pixel_values", *TEXT_INPUTS), OUTPUTS, device)
        self._tokens, self.providers = tokens, self._graph.providers
        self.pixels, texts = self._graph.shapes["pixel_values"], self._graph.shapes["input_ids"]
        _check_length(path, texts, tokens)
        self._rows = texts[0]

    def __call__(self, pixels: Pixels, texts: Sequence[str]) -> Arrays:
        """Score texts in one image; for a graph with a fixed number of texts, empty texts fill the rest.

        Args:
            pixels: (1, 3, H, W) float32.

        Returns:
            "logits" (1, K, Q) and "pred_boxes" (1, K, 4).
        """
        ids, mask = self._tokens(texts)
        rows = self._rows or len(texts)
        parts = []
        for first in range(0, len(texts), rows):
            some = slice(first, first + rows)
            asked = {"input_ids": _filled(ids[some], rows), "attention_mask": _filled(mask[some], rows)}
            output = self._graph.run(pixel_values=pixels, **asked)
            parts.append(output["logits"][..., : len(ids[some])])
        return {"logits": np.concatenate(parts, axis=-1), "pred_boxes": output["pred_boxes"]}


class TwoGraphs:
    """One graph for texts, whose results are cached, and one for the image.

    Args:
        folder: folder that holds TEXT_FILE and IMAGE_FILE.
    """

    def __init__(self, folder: Path, tokens: ClipTokens, device: OnnxDevice) -> None:
        self._text = OnnxGraph(folder / TEXT_FILE, TEXT_INPUTS, (EMBEDDINGS,), device)
        self._image = OnnxGraph(folder / IMAGE_FILE, IMAGE_INPUTS, OUTPUTS, device)
        self._tokens, self.providers = tokens, self._image.providers
        self.pixels = self._image.shapes["pixel_values"]
        _check_length(folder / TEXT_FILE, self._text.shapes["input_ids"], tokens)
        self._known: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def __call__(self, pixels: Pixels, texts: Sequence[str]) -> Arrays:
        """Score texts in one image; see OneGraph."""
        return self._image.run(pixel_values=pixels, query_embeds=self.embeddings(texts)[None])

    def embeddings(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        """(Q, D) embeddings of Q texts; texts embedded before come from a cache."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            ids, mask = self._tokens(new)
            found = self._text.run(input_ids=ids, attention_mask=mask)[EMBEDDINGS]
            if found.ndim != 2 or len(found) != len(new):
                reason = f"{self._text.path} returns {EMBEDDINGS} of shape {found.shape} for {len(new)} texts"
                raise ModelError(NAME, reason, "export the model again")
            self._known.update(zip(new, found, strict=True))
        for text in texts:
            self._known.move_to_end(text)
        asked = np.stack([self._known[text] for text in texts])
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return asked


def graphs_of(folder: Path, graph: str, tokens: ClipTokens, device: OnnxDevice) -> OneGraph | TwoGraphs:
    """Load the graphs of a folder, or the one that is named.

    Args:
        graph: file of one graph within it; "" = TEXT_FILE and IMAGE_FILE, else as `graph_file`.
    """
    if not graph and ((folder / TEXT_FILE).exists() or (folder / IMAGE_FILE).exists()):
        return TwoGraphs(folder, tokens, device)
    return OneGraph(graph_file(folder, graph), tokens, device)


def _check_length(path: Path, shape: Sequence[int | None], tokens: ClipTokens) -> None:
    if len(shape) != 2 or shape[1] not in (None, tokens.length):
        reason = f"{path} takes texts of shape {shape}, but its config says {tokens.length} tokens"
        raise ModelError(NAME, reason, "use graph and config.json of the same model")


def _filled(rows: Ids, number: int) -> Ids:
    """Add rows of zeros up to a number of rows."""
    return np.concatenate([rows, np.zeros((number - len(rows), rows.shape[1]), np.int64)])
