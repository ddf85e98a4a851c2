# SPDX-License-Identifier: Apache-2.0
"""Write a diagnosis as a folder of files: report.md, diagnosis.json, and images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from spatial_vlm_ros.files.folders import UnfinishedFolder, changed_folder
from spatial_vlm_ros.files.writing import require_new, write_bytes
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.examination import Examined
from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis, as_dict, report
from spatial_vlm_ros.vlm.diagnostics.sheet import answer_sheet

REPORT, DATA, SHEET = "report.md", "diagnosis.json", "answers.png"


def check_folder(folder: Path) -> None:
    """Check that a report can be written, before the examination starts."""
    for name in (REPORT, DATA, SHEET):
        require_new(folder / name, force=True)
    UnfinishedFolder(folder, force=True).drop()


def write_folder(
    folder: Path, diagnosis: Diagnosis, examined: Sequence[Examined], attention: Mapping[str, Rgb] | None = None
) -> list[Path]:
    """Write all files or none; an existing folder keeps its other files, and files of the same names are replaced.

    Returns:
        The files: the report, the JSON, the sheet, the images of attention.
    """
    by_key = {one.item.key: one for one in examined}
    images = {SHEET: answer_sheet(examined)}
    told = [
        report(diagnosis),
        "## Answers\n",
        "Wrong answers first; red: the answer and the truth.\n",
        f"![answers]({SHEET})\n",
    ]
    if attention:
        told.append("## Attention of the last token of the prompt\n")
        told.append("The strongest place of each image is red; no attention is blue.\n")
    for key, image in (attention or {}).items():
        one, name = by_key[key], f"attention-{key}.png"
        images[name] = image
        answer = one.answers["picture"] + ("" if one.right else f"; it is: {one.item.truth}")
        told.append(f"{one.item.plain.question} {answer}\n\n![{key}]({name})\n")
    contents = {
        REPORT: "\n".join(told).encode(),
        DATA: (json.dumps(as_dict(diagnosis), indent=1, allow_nan=False) + "\n").encode(),
        **{name: _png(rgb) for name, rgb in images.items()},
    }
    with changed_folder(folder) as unfinished:
        for name, data in contents.items():
            write_bytes(unfinished / name, data, force=True, sync=False)
    return [folder / name for name in contents]


def _png(rgb: Rgb) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return data.tobytes()
