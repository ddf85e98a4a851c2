# SPDX-License-Identifier: Apache-2.0
"""From where left, right, ahead and distance are meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.constructed.still import OWN_SIDED, Still
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Array


@dataclass(frozen=True, eq=False)
class Standpoint:
    """A frame of reference.

    Args:
        eye: (3,) where the viewer, the robot's base or the speaker is, base frame, metres; None where nobody looks.
        heading: (2,) direction of ahead everywhere, or None.
    """

    eye: Array | None = None
    heading: Array | None = None

    def axes(self, anchor: Still) -> tuple[Array, Array]:
        """(2,) unit vectors on the ground: ahead at the anchor, and to the right.

        Raises:
            InputError: the anchor's own front is wanted, and it has none.
        """
        if self.heading is not None:
            return self.heading, clockwise(self.heading)
        if self.eye is not None:
            ahead = anchor.place - self.eye[:2]
            ahead = ahead / np.linalg.norm(ahead)
            return ahead, clockwise(ahead)
        if anchor.front is None:
            raise InputError(f"front of {anchor.id!r}", "none", "one", "relate to a thing that has a front")
        ahead = -anchor.front
        return ahead, clockwise(anchor.front) if anchor.label in OWN_SIDED else clockwise(ahead)

    def distance(self, obj: Still) -> float:
        """From the eye to the mean of what is seen of an object, metres."""
        return float(np.linalg.norm(obj.seen_at - self._from()))

    def ground_distance(self, obj: Still) -> float:
        """The same laid on the ground."""
        return float(np.linalg.norm((obj.seen_at - self._from())[:2]))

    def bearings(self, objects: list[Still]) -> Array:
        """(N,) bearing to the right of the middle of all of them, as metres at their mean distance."""
        rays = np.array([t.place - self._from()[:2] for t in objects])
        ahead = rays.mean(axis=0) / np.linalg.norm(rays.mean(axis=0))
        angles = np.arctan2(rays @ clockwise(ahead), rays @ ahead)
        return np.asarray(angles * np.linalg.norm(rays, axis=1).mean())

    def _from(self) -> Array:
        if self.eye is None:
            raise InputError("standpoint", "nobody's", "somebody's", "ask for distances from a viewer")
        return self.eye


OWN = Standpoint()
"""That of the anchor itself."""


def clockwise(direction: Array) -> Array:
    """(2,) turned clockwise by a quarter, seen from above."""
    return np.array([direction[1], -direction[0]])
