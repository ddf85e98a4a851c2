# SPDX-License-Identifier: Apache-2.0
"""Grounders for tests of the live node. Not a test: imported by the worker by its dotted name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb, RgbdFrame


class Chicks:
    """Finds what is on the table. Where it is told so, it says that it has begun, and waits until it may end."""

    def __init__(self, begun: str = "", end: str = "") -> None:
        from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

        self._given = GivenDetections(chicks_and_cup_frame()[1])
        self._begun, self._end = begun, end

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        if self._begun:
            Path(self._begun).touch()
            while not Path(self._end).exists():
                time.sleep(0.005)
        return self._given.ground(rgb, phrases)


class SimulatedChicks(Chicks):
    """The same, and was trained on simulated images only."""

    domain = "simulated"


class JudgingChicks(Chicks):
    """The same, and takes higher in the image for farther."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float, ...]:  # noqa: ARG002
        return tuple(0.95 if one.target[3] < one.anchor[3] else 0.05 for one in questions)


def loading(begun: str) -> Chicks:
    """Takes longer to load than anybody waits."""
    Path(begun).touch()
    time.sleep(600)
    return Chicks()


class Scenes:
    """A model that knows some frame folders: it finds what is in the one that looks most like the image."""

    def __init__(self, folder: str) -> None:
        from spatial_vlm_ros.recording.frame_folder import load_frame

        self._known = [load_frame(path.parent) for path in sorted(Path(folder).glob("*/rgb.png"))]

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        def difference(known: tuple[RgbdFrame, tuple[Detection, ...]]) -> float:
            return float(np.abs(known[0].rgb.astype(np.int16) - rgb).mean())

        return GivenDetections(min(self._known, key=difference)[1]).ground(rgb, phrases)
