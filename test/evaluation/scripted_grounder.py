# SPDX-License-Identifier: Apache-2.0
"""A detector for the scene of two chicks and a cup that errs as it is told. Not a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


class ScriptedGrounder:
    """Finds what is there, under ids of its own, but for what it was told."""

    domain = "any"

    def __init__(self, found: Sequence[Detection], fails: bool) -> None:
        self._found, self._fails = tuple(found), fails

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        if self._fails:
            raise ModelError("scripted", "it fails", "nothing")
        return GivenDetections(self._found).ground(rgb, phrases)


def load(drop: str = "", rename: str = "", twice: str = "", ghost: str = "", fails: str = "") -> ScriptedGrounder:
    """Load it.

    Args:
        drop: ids that are not found, "cup,box".
        rename: ids that are found under another name, "cup:bowl".
        twice: ids that are found a second time, a pixel beside.
        ghost: a name under which something is found where nothing is: an empty part of the table.
        fails: anything: every request fails.
    """
    _, detections = chicks_and_cup_frame()
    names = dict(pair.split(":") for pair in rename.split(",") if pair)
    found = []
    for number, one in enumerate(detections):
        if one.id in drop.split(","):
            continue
        named = dataclasses.replace(one, id=f"g{number}", label=names.get(one.id, one.label), attributes=())
        found.append(named)
        if one.id in twice.split(","):
            left, top, right, bottom = one.box_xyxy
            found.append(
                dataclasses.replace(named, id=f"h{number}", box_xyxy=(left + 1, top, right + 1, bottom), mask=None)
            )
    if ghost:
        found.append(Detection("ghost", ghost, 1.0, (400.0, 300.0, 440.0, 340.0)))
    return ScriptedGrounder(found, bool(fails))
