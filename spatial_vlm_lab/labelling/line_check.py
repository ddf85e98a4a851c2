# SPDX-License-Identifier: Apache-2.0
"""Lines of a truth file that `evaluate` refuses: the page leaves them as they are, and a person should hear of them."""

from __future__ import annotations

from spatial_vlm_lab.labelling.label_file import LabelFile
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.recording.cases import CASE_REPAIR, CaseLine
from spatial_vlm_ros.recording.frame_folder import decode_json


def refused_lines(file: LabelFile) -> tuple[tuple[int, str], ...]:
    """Numbers, from 1, of the non-blank lines that are not cases, and why."""
    found = []
    for n, line in enumerate(file.lines, 1):
        if not line.raw.strip():
            continue
        try:
            decode_json(line.raw, CaseLine, file.path, f"line {n}", CASE_REPAIR)
        except FileError as error:
            found.append((n, error.got))
    return tuple(found)
