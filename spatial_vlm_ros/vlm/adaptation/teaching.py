# SPDX-License-Identifier: Apache-2.0
"""One step of learning from lessons, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from spatial_vlm_ros.vlm.adaptation.lessons import AdaptLesson, answer_losses, lesson_batch
from spatial_vlm_ros.vlm.adaptation.settings import AdaptSettings
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

LessonsOf = Callable[[int, int], AdaptLesson]
"""Number of a step and of a row in it → the lesson; the same each time."""


def teacher(scorer: CandidateScorer, lessons: LessonsOf, settings: AdaptSettings) -> Callable[[int], float]:
    """What `AdaptRun.train` calls for each step: mean loss of its lessons, with gradients.

    Args:
        scorer: of the prepared model.
        lessons: of each step.
        settings: rows of a step, and how many of them go through the model at once.
    """

    def learn(step: int) -> float:
        rows = [lessons(step, row) for row in range(settings.batch)]
        return learnt(scorer, rows, settings.micro)

    return learn


def learnt(scorer: CandidateScorer, rows: Sequence[AdaptLesson], micro: int) -> float:
    """Mean loss of some lessons; their gradient is added to that of the parameters.

    Args:
        scorer: of the model.
        rows: lessons.
        micro: how many go through the model at once.
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
    """bfloat16 arithmetic where the frozen weights are stored so; what is trained stays float32."""
    own = next(model.parameters())
    if own.dtype is torch.float32:
        return nullcontext()
    return torch.autocast(own.device.type, torch.bfloat16)
