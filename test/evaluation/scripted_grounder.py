# SPDX-License-Identifier: Apache-2.0
"""A detector for the scene of two chicks and a cup that errs as it is told. Not a test."""

import dataclasses
import functools
from collections.abc import Sequence

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb


@functools.cache
def seen(width: int) -> tuple[Detection, ...]:
    """What is in an image of that width: the example's of 640 pixels, or the one of bags."""
    if width == 640:
        return tuple(chicks_and_cup_frame()[1])
    from bag_builder import scene

    return tuple(scene().detections)


@dataclasses.dataclass(frozen=True)
class ScriptedGrounder:
    """Finds what is there, under ids of its own, but for what it was told; see `load`."""

    drop: str
    rename: str
    ghost: str
    fails: str
    domain = "any"

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        if self.fails:
            raise ModelError("scripted", "it fails", "nothing")
        names = dict(pair.split(":") for pair in self.rename.split(",") if pair)
        found = []
        for number, one in enumerate(seen(rgb.shape[1])):
            if one.id not in self.drop.split(","):
                name = names.get(one.id, one.label)
                found.append(dataclasses.replace(one, id=f"g{number}", label=name, attributes=()))
        if self.ghost:
            found.append(Detection("ghost", self.ghost, 1.0, (400.0, 300.0, 440.0, 340.0)))
        return GivenDetections(tuple(found)).ground(rgb, phrases)


def load(drop: str = "", rename: str = "", ghost: str = "", fails: str = "") -> ScriptedGrounder:
    """Load it: ids to drop, "cup,box"; to rename, "cup:bowl"; the name of a ghost on the table; whether it fails."""
    return ScriptedGrounder(drop, rename, ghost, fails)
