# SPDX-License-Identifier: Apache-2.0
"""Observations of faults, kept as JSON for the page of faults. Not a test."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VARIABLE = "SPATIAL_VLM_FAULT_RECORDS"


def record_goals(section: str, name: str, goals: Sequence[Any], **observed: Any) -> None:
    """Keep what was observed of one row in which goals were sent; those without a result were lost."""
    answered = [goal for goal in goals if goal.result is not None]
    statuses = Counter(goal.name for goal in answered)
    if len(answered) < len(goals):
        statuses["no answer"] = len(goals) - len(answered)
    says = sorted({goal.message for goal in answered if goal.name != "OK"})[:1]
    counted = dict(sorted(statuses.items()))
    shown = {"diagnostics": None, "doctor": None, "undetectable": "", "at_start": False, **observed}
    record(section, name, statuses=counted, says=says, requests=len(goals), **shown)


def record(section: str, name: str, **observed: Any) -> None:
    """Keep what was observed of one row in the folder that the environment names; nowhere where it names none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    path = Path(folder) / section.lower() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"section": section, "row": name, **observed}, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
