# SPDX-License-Identifier: Apache-2.0
"""One training step over lessons, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from spatial_vlm_lab.adaptation.lessons import AdaptLesson, answer_losses, lesson_batch
from spatial_vlm_lab.adaptation.settings import AdaptSettings
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

LessonsOf = Callable[[int, int], AdaptLesson]
"""Number of a step and of a row in it → the lesson; the same each time."""


def teacher(scorer: CandidateScorer, lessons: LessonsOf, settings: AdaptSettings) -> Callable[[int], float]:
    """Return the function that `AdaptRun.train` calls for each step: the mean loss of its lessons, with gradients.

    Args:
        lessons: lessons per step.
        settings: rows per step, and rows per forward pass.
    """

    def learn(step: int) -> float:
        rows = [lessons(step, row) for row in range(settings.batch)]
        return learnt(scorer, rows, settings.micro)

    return learn


def learnt(scorer: CandidateScorer, rows: Sequence[AdaptLesson], micro: int) -> float:
    """Return the mean loss of some lessons and add its gradient to the parameters.

    Args:
        micro: lessons per forward pass.
    """
    total = 0.0
    for first in range(0, len(rows), micro):
        inputs, labels = lesson_batch(scorer, rows[first : first + micro])
        with in_half_precision(scorer.model):
            loss = answer_losses(scorer.model, inputs, labels).sum() / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def in_half_precision(model: Any) -> AbstractContextManager[Any]:
    """Use bfloat16 arithmetic if the frozen weights are stored in it; trained parameters stay float32."""
    own = next(model.parameters())
    if own.dtype is torch.float32:
        return nullcontext()
    return torch.autocast(own.device.type, torch.bfloat16)
