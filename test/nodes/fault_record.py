# SPDX-License-Identifier: Apache-2.0
"""Observations of faults, kept as JSON where docs/faults.md is made from them. Not a test."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "SPATIAL_VLM_FAULT_RECORDS"


def record(section: str, name: str, **observed: Any) -> None:
    """Keep what was observed of one row, in the folder that the environment names; nowhere where it names none.

    Args:
        section: of docs/faults.md.
        name: of the row's file.
        **observed: its cells.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    path = Path(folder) / section.lower() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"section": section, "row": name, **observed}, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
