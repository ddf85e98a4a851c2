# SPDX-License-Identifier: Apache-2.0
"""Read files of a model's measurements, relation by relation: the common format of `spatial-vlm calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_json

_LARGEST_FILE = 1 << 20  # bytes
_NAMES = {"schema", "model", "relations"}


def read_measured(path: str | Path, repair: str) -> tuple[str, dict[str, Any]]:
    """Read the model's name, for people, and the measurements by relation; "measured" is for people and ignored.

    Args:
        path: of a file {"schema": 1, "model": "…", "relations": {…}}.
    """
    value = read_json(path, repair, _LARGEST_FILE)
    if not isinstance(value, dict) or set(value) - {"measured"} != _NAMES or value["schema"] != 1:
        raise FileError(path, "expected a JSON object of schema 1 with model and relations", repair)
    if not isinstance(value["model"], str) or not isinstance(value["relations"], dict):
        raise FileError(path, "model must be text, and relations must be an object", repair)
    return value["model"], value["relations"]
