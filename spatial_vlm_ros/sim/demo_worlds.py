# SPDX-License-Identifier: Apache-2.0
"""Settled demo worlds: a chick with a bonnet, a chick with a ribbon, and a cup. Poses in "base_link".

with DEMO_WORLDS["behind"]() as world:
    seen = world.render(VGA)  # or HD, from sim/cameras.py; camera pose world.base_T_camera
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.sim.compilation import PlacedModel
from spatial_vlm_ros.sim.kinds import make
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.scenery import Scenery, random_scenery
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.sim.truth import Placed
from spatial_vlm_ros.types import Transform

BASE = "base_link"
Spot = tuple[float, float]  # x, y in the base frame, metres
_CUP: Spot = (0.74, 0.0)
BEHIND: Spot = (0.90, 0.045)
IN_FRONT: Spot = (0.59, -0.05)
_ALSO_IN_FRONT: Spot = (0.58, 0.075)
_OTHERS: Mapping[str, tuple[str, str | None, Spot, float]] = MappingProxyType(
    {
        "box": ("box", "red", (0.80, 0.24), 0.5),
        "mug": ("mug", "green", (0.66, -0.24), -2.2),
        "bowl": ("bowl", "white", (0.93, -0.19), 0.0),
        "orange": ("orange", None, (0.93, -0.19), 0.0),
        "banana": ("banana", None, (0.60, 0.24), 0.7),
        "can": ("can", "purple", (1.02, 0.16), 0.0),
    }
)  # id → kind, colour, position, yaw


def demo_camera() -> Transform:
    """Pose of the camera beside the robot's base: 0.9 m from the cup, looking 32° down."""
    return look_at((-0.02, 0.0, 0.6), (0.76, 0.0, 0.12), BASE)


def chicks_world(bonnet: Spot, ribbon: Spot) -> PhysicsWorld:
    """Make a world with the two chicks at two positions beside the cup, and a few other objects."""
    objects, scenery, rng = story(bonnet, ribbon)
    height = scenery.table_height + 0.002
    for id_, (kind, colour, spot, yaw) in _OTHERS.items():
        within = id_ == "orange"
        place, placed = (*spot, height + (0.016 if within else 0.0)), Placed("in", ("bowl",)) if within else None
        objects.append(PlacedModel(id_, make(kind, rng, colour), place, yaw, placed))
    return PhysicsWorld(objects, scenery, demo_camera())


def story(bonnet: Spot = BEHIND, ribbon: Spot = IN_FRONT) -> tuple[list[PlacedModel], Scenery, np.random.Generator]:
    """The cup and the two chicks just above the table, the room, and the random generator for more objects."""
    rng = np.random.default_rng(3)
    scenery = random_scenery(rng)
    height = scenery.table_height + 0.002
    objects = [PlacedModel("cup", make("cup", rng, "blue"), (*_CUP, height))]
    for id_, spot in (("bonnet", bonnet), ("ribbon", ribbon)):
        placed = Placed("behind" if spot[0] > _CUP[0] else "in front of", ("cup",))
        towards = math.atan2(-spot[1], -spot[0]) + (0.35 if id_ == "bonnet" else -0.3)
        objects.append(PlacedModel(id_, make(f"{id_} chick", rng), (*spot, height), towards, placed))
    return objects, scenery, rng


DEMO_WORLDS: Mapping[str, Callable[[], PhysicsWorld]] = MappingProxyType(
    {
        "behind": partial(chicks_world, BEHIND, IN_FRONT),
        "swapped": partial(chicks_world, IN_FRONT, BEHIND),
        "both_in_front": partial(chicks_world, _ALSO_IN_FRONT, IN_FRONT),
    }
)
"""Name → maker: the bonnet chick behind the cup and the ribbon chick before it; the other way round; both before it."""
