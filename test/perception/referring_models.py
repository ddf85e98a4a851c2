# SPDX-License-Identifier: Apache-2.0
"""Models for tests of referring. Not a test: imported by the worker by its dotted name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import ModelError, ModelTimeoutError
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


class Mute:
    def ground(self, _: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        return Grounding((), np.zeros((len(phrases), 0)))


class Echoing(Mute):
    """Refers with numbers made of all that came in, so that a bit that changed on the way shows."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        if words == "nothing":
            return ()
        total = float(rgb.astype(np.int64).sum())
        box = NamedObject(words, (0.1, 1 / 3, total / 7, float(rgb.shape[0])), None, None)
        return (box, NamedObject("", None, (total / 3, float(len(words))), 1 / 3))


class Failing(Mute):
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:
        if self.kind == "model":
            raise ModelError("weights", "no memory left", "buy some")
        if self.kind == "timeout":
            raise ModelTimeoutError("weights", "too slow", "buy a faster one")
        if self.kind == "strange":
            return [words]  # type: ignore[return-value]
        raise ValueError("no idea")


class Pointing(GivenDetections):
    """Names the object called "bonnet", whatever it is asked for."""

    def __init__(self, detections: Sequence[Detection]) -> None:
        super().__init__(detections)
        self.box = next(d.box_xyxy for d in detections if d.id == "bonnet")

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:
        return (NamedObject(words, self.box, None, None),)


class Cutting(Pointing):
    """The same, and cuts out all of a box, or a part of the image that is elsewhere."""

    def __init__(self, detections: Sequence[Detection], part: str = "whole") -> None:
        super().__init__(detections)
        self.part = part

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        if self.part == "fails":
            raise ModelError("masks", "no memory left", "buy some")
        made = []
        for one in detections:
            x0, y0, x1, y1 = (int(v) for v in one.box_xyxy)
            mask = np.zeros(rgb.shape[:2], np.bool_)
            if self.part == "elsewhere":
                mask[:5, :5] = True
            else:
                mask[y0 : y1 + 1, x0 : x1 + 1] = True
            made.append(dataclasses.replace(one, mask=mask))
        return tuple(made)


def cutting(part: str = "whole") -> Cutting:
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

    return Cutting(chicks_and_cup_frame()[1], part)


def chicks() -> Pointing:
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame  # the other models start faster without it

    return Pointing(chicks_and_cup_frame()[1])
