# SPDX-License-Identifier: Apache-2.0
"""Rows of the page of faults that need a camera, of fault_rows.jsonl: fault, how it is injected, what is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

ANY_REFUSAL = (
    "NOT_UNDERSTOOD", "INVALID_INPUT", "DEPTH_INVALID", "STALE_INPUT", "NOT_SYNCHRONISED", "TF_UNAVAILABLE",
    "NOT_FOUND", "AMBIGUOUS", "RELATION_UNSATISFIED", "OCCLUDED", "LOW_CONFIDENCE", "DISAGREEMENT", "MODEL_ERROR",
    "TIMEOUT", "FRAME_INCONSISTENT",
)  # fmt: skip


@dataclass(frozen=True)
class FaultRow:
    """One fault; OK is right only with the right pose. `undetectable` says why no check of one camera can find it."""

    section: str
    fault: str
    injected: str
    right: tuple[str, ...]
    set_up: str = ""
    undetectable: str = ""

    @property
    def id(self) -> str:
        prefix = f"{self.set_up} " if self.set_up else ""
        return "".join(c if c.isalnum() or c in "-." else "_" for c in prefix + self.injected)


def _read(line: str) -> FaultRow:
    said = json.loads(line)
    right = [ANY_REFUSAL if status == "ANY_REFUSAL" else (status,) for status in said.pop("right")]
    return FaultRow(**said, right=sum(right, ()))


ROWS = tuple(map(_read, Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()))
