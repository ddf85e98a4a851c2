# SPDX-License-Identifier: Apache-2.0
"""A diagnosis as a folder of files: report.md, diagnosis.json, and images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.examination import Examined
from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis, as_dict, report
from spatial_vlm_ros.vlm.diagnostics.sheet import answer_sheet

REPORT, DATA, SHEET = "report.md", "diagnosis.json", "answers.png"


def check_folder(folder: Path) -> None:
    """Find out whether a folder can be written, before there is anything to lose; it is made where it is missing.

    Raises:
        FileError: the folder cannot be made or written, or a file of a report that is there cannot be replaced.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in (folder / name for name in (REPORT, DATA, SHEET)):
            if path.exists():
                path.open("ab").close()
    except OSError as error:
        raise _not_written(folder, error) from error


def write_folder(
    folder: Path, diagnosis: Diagnosis, examined: Sequence[Examined], attention: Mapping[str, Rgb] | None = None
) -> list[Path]:
    """Write all files; a folder that is there is written into, and what it holds of the same names is replaced.

    Args:
        folder: made where it is missing.
        diagnosis: what was found.
        examined: what was answered; most wrong answers come on the sheet.
        attention: key of a question → image.

    Returns:
        The files: the report, the JSON, the sheet, the images of attention.

    Raises:
        FileError: the folder cannot be written.
    """
    by_key = {one.item.key: one for one in examined}
    images = {SHEET: answer_sheet(examined)}
    told = [
        report(diagnosis),
        "## Answers\n",
        "Wrong ones first; red: what was said, and what is true.\n",
        f"![answers]({SHEET})\n",
    ]
    if attention:
        told.append("## Attention of the last token of the prompt\n")
        told.append("The strongest place of each picture is red, none is blue.\n")
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise _not_written(folder, error) from error
    return [folder / name for name in contents]


def _not_written(folder: Path, error: OSError) -> FileError:
    return FileError(folder, str(error), "choose a folder that can be written")


def _png(rgb: Rgb) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return data.tobytes()
