# SPDX-License-Identifier: Apache-2.0
"""Our own small relation judge through ONNX Runtime: no depth, no words, no torch. See docs/second_opinion.md."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice, OnnxGraph
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.relation_marks import Box
from spatial_vlm_ros.types import ModelDomain, Rgb
from spatial_vlm_ros.vlm.relation_judge.crops import (
    INPUTS,
    JudgeInput,
    crop,
    holds,
    mirrored,
    stacked,
    unmirrored,
)

NAME = "relation_judge"
Floats64 = npt.NDArray[np.float64]
_MOST = 16  # pairs per batch
_LARGEST = 0.48  # largest share of the image that a box may cover: 99 % of its training pairs have no larger box
_OUTPUT = "log_odds"


class SmallRelationJudge:
    """Judges relations with a network that sees the image and two boxes; see RelationJudge.

    It also judges the mirrored image, and has no opinion if the two results contradict each other. It has none either
    if a box covers more of the image than almost all boxes in its training data, such as a table that fills the view.

    Args:
        graph: graph exported by `scripts.train_relation_judge`.
    """

    domain: ModelDomain = "simulated"
    name = NAME

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """See RelationJudge.judge."""
        end = time.monotonic() + budget_s
        asked = dict.fromkeys((one.target, one.anchor) for one in questions)
        pairs = [pair for pair in asked if max(map(_area, pair)) <= _LARGEST * rgb.shape[0] * rgb.shape[1]]
        known: dict[tuple[object, object], tuple[Floats64, Floats64]] = {}
        for first in range(0, len(pairs), _MOST):
            if time.monotonic() >= end:
                break
            some = pairs[first : first + _MOST]
            seen = stacked([crop(rgb, *pair) for pair in some])
            both = [self._probabilities(seen), unmirrored(self._probabilities(mirrored(seen)))]
            known.update(zip(some, zip(*both, strict=True), strict=True))
        return tuple(self._said(known.get((one.target, one.anchor)), one.relation) for one in questions)

    def _probabilities(self, seen: JudgeInput) -> Floats64:
        odds = self._graph.run(**seen._asdict())[_OUTPUT].astype(np.float64)
        return 1.0 / (1.0 + np.exp(-odds))

    @staticmethod
    def _said(seen: tuple[Floats64, Floats64] | None, relation: str) -> float | None:
        if seen is None:
            return None
        straight, turned = (holds(p, relation) for p in seen)
        return (straight + turned) / 2 if (straight > 0.5) == (turned > 0.5) else None


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def load(model: str = "", threads: int = 1) -> SmallRelationJudge:
    """Load the small judge.

    Args:
        model: folder with model.onnx; "" = the shipped model.
        threads: CPU threads; 0 = all cores.
    """
    folder = Path(model).expanduser() if model else shipped_model(NAME)
    graph = OnnxGraph(folder / "model.onnx", INPUTS, (_OUTPUT,), OnnxDevice("cpu", threads))
    return SmallRelationJudge(graph)
