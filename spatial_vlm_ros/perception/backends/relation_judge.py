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
from spatial_vlm_ros.types import ModelDomain, Rgb
from spatial_vlm_ros.vlm import relation_judge as network

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
        most = _LARGEST * rgb.shape[0] * rgb.shape[1]
        pairs = [pair for pair in asked if all((x1 - x0) * (y1 - y0) <= most for x0, y0, x1, y1 in pair)]
        known: dict[tuple[object, object], tuple[Floats64, Floats64]] = {}
        for first in range(0, len(pairs), _MOST):
            if time.monotonic() >= end:
                break
            some = pairs[first : first + _MOST]
            seen = network.stacked([network.crop(rgb, *pair) for pair in some])
            both = [self._probabilities(seen), network.unmirrored(self._probabilities(network.mirrored(seen)))]
            known.update(zip(some, zip(*both, strict=True), strict=True))
        said: list[float | None] = []
        for one in questions:
            views = [network.holds(p, one.relation) for p in known.get((one.target, one.anchor), ())]
            agree = len({p > 0.5 for p in views}) == 1
            said.append(sum(views) / len(views) if agree else None)
        return tuple(said)

    def _probabilities(self, seen: network.JudgeInput) -> Floats64:
        odds = self._graph.run(**seen._asdict())[_OUTPUT].astype(np.float64)
        return 1.0 / (1.0 + np.exp(-odds))


def load(model: str = "", threads: int = 1) -> SmallRelationJudge:
    """Load the small judge.

    Args:
        model: folder with model.onnx; "" = the shipped model.
        threads: CPU threads; 0 = all cores.
    """
    folder = Path(model).expanduser() if model else shipped_model(NAME)
    graph = OnnxGraph(folder / "model.onnx", network.INPUTS, (_OUTPUT,), OnnxDevice("cpu", threads))
    return SmallRelationJudge(graph)
