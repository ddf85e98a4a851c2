# SPDX-License-Identifier: Apache-2.0
"""Asks a model about the labelled cases of a folder, one after the other, until it fails too often."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from spatial_vlm_ros.errors import ModelError, SpatialVlmError
from spatial_vlm_ros.evaluation.answering import FolderFrames
from spatial_vlm_ros.evaluation.frame_folder import Case
from spatial_vlm_ros.types import Detection, RgbdFrame

_FAILURES = 3  # consecutive failures after which asking stops: a server that is gone stays gone
_log = logging.getLogger(__name__)
Asked = TypeVar("Asked")


@dataclass
class AskingTally:
    """Progress of asking a model. It is updated continuously, so that nothing is lost if asking ends early."""

    frames: set[str] = field(default_factory=set)
    failed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def ask_cases(
    folder: str | Path,
    cases: Iterable[Case],
    tally: AskingTally,
    of_case: Callable[[Case, RgbdFrame, Sequence[Detection]], Asked | str],
    ask: Callable[[Case, RgbdFrame, Sequence[Detection], Asked], None],
) -> None:
    """Ask about every case that tells what is right. A request that fails is told in the log."""
    frames, in_a_row = FolderFrames(folder), 0
    for case in cases:
        there = frames.load(case.frame)
        if isinstance(there, SpatialVlmError):
            tally.left_out[str(there)] += 1
            continue
        frame, detections = there
        asked = of_case(case, frame, detections)
        if isinstance(asked, str):
            tally.left_out[asked] += 1
            continue
        try:
            ask(case, frame, detections, asked)
        except ModelError as error:
            tally.failed, in_a_row = tally.failed + 1, in_a_row + 1
            if in_a_row == _FAILURES:
                raise
            _log.warning("%r on %s is not counted: %s", case.instruction, case.frame, error)
        else:
            in_a_row = 0
            tally.frames.add(case.frame)
