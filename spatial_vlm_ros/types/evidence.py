# SPDX-License-Identifier: Apache-2.0
"""What a frame says about itself: checks of unit, alignment, sizes and "up" against each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(str, enum.Enum):
    """Result of one check of a frame."""

    HOLDS = "holds"
    CONTRADICTS = "contradicts"
    UNMEASURED = "not_measured"


@dataclass(frozen=True)
class Check:
    """One check of a frame.

    Args:
        name: what was compared.
        verdict: not_measured if the frame does not show enough.
        measured: in `unit`; None if not measured, or no number.
        expected: least and most that agree, in `unit`.
        unit: of both; "" for a factor.
        found: what was measured, in words, or why nothing was.
        fix: what to do about a contradiction, or about what may be one; "" without.
    """

    name: str
    verdict: Verdict
    measured: float | None = None
    expected: tuple[float, float] | None = None
    unit: str = ""
    found: str = ""
    fix: str = ""


@dataclass(frozen=True)
class FrameEvidence:
    """All checks of a frame, in the order in which to repair what contradicts."""

    checks: tuple[Check, ...] = ()

    @property
    def contradiction(self) -> Check | None:
        """The likeliest cause: the first check that contradicts; None if none does."""
        return next((check for check in self.checks if check.verdict is Verdict.CONTRADICTS), None)
