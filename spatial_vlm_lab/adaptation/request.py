# SPDX-License-Identifier: Apache-2.0
"""The request of `spatial-vlm adapt`, and its working folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.folders import put_folder
from spatial_vlm_ros.files.writing import write_text

TOLD = "adaptation.json"
"""File in OUT with settings, data and scores; it marks a folder as output of `adapt`."""


@dataclass(frozen=True)
class AdaptRequest:
    """Options of the command.

    Args:
        scored: most views used for scoring, and most used for calibration.
        views: images per world.
        encoder: folder of an encoder that replaces the base model's.
    """

    base: Path
    out: Path
    data: tuple[Path, ...]
    rendered: int
    scored: int
    views: int
    encoder: Path | None
    template: str
    lead: str
    device: str
    minutes: float
    every: int
    compare: bool
    force: bool
    training: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """Working folder beside OUT: frames, state and unfinished output."""
        return self.out.parent / f"{self.out.name}.adapting"

    @property
    def whole(self) -> Path:
        """Folder of the complete output before it is renamed to OUT."""
        return self.work / "whole"

    def data_told(self) -> dict[str, Any]:
        """Description of the training data for JSON."""
        return {
            "folders": [str(folder) for folder in self.data],
            "rendered": self.rendered,
            "scored": self.scored,
            "views": self.views,
            "seed": self.training["seed"],
        }


def finished(request: AdaptRequest, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Result of an earlier run with the same settings in OUT; None if there is none or it will be replaced."""
    out = request.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / TOLD).is_file():
        repair = "choose a folder that does not exist; --force replaces only the output of an earlier `adapt`"
        raise InputError("--out", f"{out} contains other files", "a new folder", repair)
    if request.force:
        return None
    try:
        told: dict[str, Any] = read_json(out / TOLD, "pass --force to replace the folder")
        same = told["identity"] == json.loads(json.dumps(identity))
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(out / TOLD, f"{type(error).__name__}: {error}", "pass --force to replace the folder") from error
    if not same:
        got = f"{out} contains a model adapted with other settings"
        raise InputError("--out", got, "a new folder", "choose another folder, or pass --force to replace this one")
    return told


def begin(request: AdaptRequest) -> None:
    """Create the working folder; with --force remove the leftovers of an earlier run."""
    try:
        if request.force and request.work.exists():
            shutil.rmtree(request.work)
        request.work.mkdir(parents=True, exist_ok=True)
        if request.whole.exists():  # from a run that was killed while writing
            shutil.rmtree(request.whole)
    except OSError as error:
        raise FileError(request.work, str(error), "choose a writable location") from error


def put_in_place(request: AdaptRequest) -> None:
    """Rename the complete output to OUT, and remove the working folder."""
    try:
        put_folder(request.whole, request.out, force=True)
        shutil.rmtree(request.work)
    except OSError as error:
        raise FileError(request.out, str(error), "choose a writable location") from error


def write_told(folder: Path, told: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Write adaptation.json and further texts into a folder."""
    for name, text in {**files, TOLD: json.dumps(told, indent=1, allow_nan=False) + "\n"}.items():
        write_text(folder / name, text, force=True)
