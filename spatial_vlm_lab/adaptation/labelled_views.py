# SPDX-License-Identifier: Apache-2.0
"""Converts labelled frame folders to labelled views for training and scoring models.

A case that expects one of several objects of a name says that its relation holds of that object and of none of the
others; boxes and names are those of the frame's detections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from spatial_vlm_lab.adaptation.labelled_view import LabelledObject, LabelledView, RelationLabel
from spatial_vlm_lab.comparison.judge_calibration import labelled_pairs
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.recording.answering import FolderFrames
from spatial_vlm_ros.recording.cases import load_cases

_REPAIR = "add cases that expect one object by its id (docs/evaluation.md)"


def labelled_views(folder: str | Path, config: ResolverConfig) -> Iterator[LabelledView]:
    """The frames of a folder whose cases tell a relation, in the order of the cases."""
    frames, left_out = FolderFrames(folder), Counter[str]()
    found: dict[str, dict[RelationLabel, None]] = {}
    for case in load_cases(folder):
        there = frames.load(case.frame)
        if isinstance(there, SpatialVlmError):
            raise FileError(Path(folder) / case.frame, str(there), "fix the frame, or remove its cases")
        pairs = labelled_pairs(case, there[1], config)
        if isinstance(pairs, str):
            left_out[pairs] += 1
            continue
        for pair in pairs:
            asked = pair.question
            found.setdefault(case.frame, {})[RelationLabel(asked.relation, asked.target, asked.anchor, pair.holds)] = (
                None
            )
    if not found:
        reasons = "; ".join(f"{n} where {reason}" for reason, n in left_out.items()) or "no case"
        raise InputError(
            "--data",
            f"{folder} without a relation that is true or false: {reasons}",
            "relations with known truth",
            _REPAIR,
        )
    for name, relations in found.items():
        there = frames.load(name)
        if isinstance(there, SpatialVlmError):
            raise FileError(Path(folder) / name, str(there), "do not change the folder while it is read")
        frame, detections = there
        objects = tuple(LabelledObject(d.label, d.attributes, d.box_xyxy) for d in detections)
        yield LabelledView(name, frame.rgb, objects, tuple(relations))
