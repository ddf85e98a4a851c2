# SPDX-License-Identifier: Apache-2.0
"""Cells and rows that several reports have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spatial_vlm_lab.scoring.outcome import UNKNOWN, ModelOutcome
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share


def between(share: Share | Interval) -> str:
    """An interval in percent."""
    return f"{share.low:.1%} to {share.high:.1%}"


def points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def estimate(value: Interval) -> str:
    """A value from 0 to 1 with its interval."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def ended(status: Status, id_: str | None) -> str:
    """Status and object of an answer."""
    return f"{status.value} {id_ or ''}".strip()


def calibration_rows(outcome: ModelOutcome, right: Callable[[Share], str]) -> list[tuple[str, ...]]:
    """Name, n, share right, mean confidence, ECE, Brier score and that of a constant, AURC and that by chance."""
    parts = {"answers given": outcome.answered, "likeliest of all cases": outcome.all_cases}
    return [
        (name, str(c.n), right(c.right), f"{c.confidence:.3f}", estimate(c.ece), estimate(c.brier),
         f"{c.brier_constant:.3f}", estimate(c.aurc), f"{c.aurc_random:.3f}")
        for name, c in parts.items() if c is not None
    ]  # fmt: skip


def error_rows(models: Sequence[ModelOutcome]) -> list[list[str]]:
    """What went wrong, and for each model how often; of these the model's, the resolver's, and nobody's known."""

    def blamed(model: ModelOutcome, error: str) -> str:
        counts = model.errors.get(error)
        if not counts:
            return "0"
        return f"{sum(counts.values())} ({counts['model']} / {counts['resolver']} / {counts[UNKNOWN]})"

    names = dict.fromkeys(error for model in models for error in model.errors)
    return [[name, *(blamed(model, name) for model in models)] for name in names]
