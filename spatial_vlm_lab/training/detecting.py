# SPDX-License-Identifier: Apache-2.0
"""Use a compact model as a detector for scoring, with torch or exported with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from spatial_vlm_lab.training.scoring import Detector, PhraseDetections
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, asked, instances, masks, with_rivals
from spatial_vlm_ros.vlm.compact.familiarity import pooled
from spatial_vlm_ros.vlm.compact.letterbox import letterbox
from spatial_vlm_ros.vlm.compact.model import CompactModel
from spatial_vlm_ros.vlm.compact.spec import CompactSpec
from spatial_vlm_ros.vlm.compact.tokens import encode

Network = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], RawOutput]
"""(1, 3, H, W) pixels and (P, L) words → the network's output."""


def torch_network(model: CompactModel) -> Network:
    """Wrap the torch model as a Network; it is set to evaluation mode."""
    model.train(False)

    def run(pixels: npt.NDArray[np.float32], words: npt.NDArray[np.int64]) -> RawOutput:
        with torch.inference_mode():
            device = next(model.parameters()).device
            said = model(torch.from_numpy(pixels).to(device), torch.from_numpy(words).to(device))
        heat, box, kernel, prototypes = (np.asarray(t.float().cpu().numpy(), np.float32) for t in said)
        return RawOutput(heat, box, kernel, prototypes[0])

    return run


def features_of(model: CompactModel, rgb: Rgb, spec: CompactSpec) -> npt.NDArray[np.float64]:
    """(D,) mean features of an image at stride 16, for `familiarity`; the model is set to evaluation mode."""
    model.train(False)
    pixels, box = letterbox(rgb, spec.width, spec.height)
    device = next(model.parameters()).device
    with torch.inference_mode():
        features = model.backbone(torch.from_numpy(pixels).to(device) / 127.5 - 1.0)[2]
    return pooled(np.asarray(features.float().cpu().numpy(), np.float32), box)


def detector(network: Network, spec: CompactSpec, least: float = 0.05, with_masks: bool = False) -> Detector:
    """Make a detector of phrases from a network.

    Args:
        least: probability from which an object is reported.
    """

    def detect(rgb: Rgb, phrases: Sequence[str]) -> list[PhraseDetections]:
        pixels, box = letterbox(rgb, spec.width, spec.height)
        output = with_rivals(network(pixels, encode(asked(phrases, spec), spec)), phrases, spec)
        found = instances(output, box, spec, least)
        made = masks(found, output, box) if with_masks else []
        answers = []
        for p in range(len(phrases)):
            mine = [n for n, one in enumerate(found) if one.phrase == p]
            boxes = np.array([found[n].box_xyxy for n in mine], np.float64).reshape(-1, 4)
            scores = np.array([found[n].score for n in mine], np.float64)
            evidence = np.array([found[n].evidence for n in mine], np.float64).reshape(-1, 2)
            answers.append(PhraseDetections(scores, boxes, evidence, tuple(made[n] for n in mine) if made else ()))
        return answers

    return detect
