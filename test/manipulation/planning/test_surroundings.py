# SPDX-License-Identifier: Apache-2.0
"""What was seen about a target survives the way through JSON, and says what is not known."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from planning_scenes import WIDE

from spatial_vlm_ros.errors import DepthError, InputError
from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.output.json_schema import surroundings_from_json, surroundings_json
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose

FOR_CHICKS = PlanningConfig(gripper=WIDE)
SEEN = Surroundings(
    frame_id="world",
    stamp_ns=7,
    camera=Pose("world", (0.1, 0.2, 0.9), (1.0, 0.0, 0.0, 0.0)),
    camera_frame="camera",
    target=SurroundingObject("chick", "chick", Solid((0.4, 0.0, 0.03), 0.2, (0.05, 0.04, 0.06)), (0.002, 0.001, 0.003)),
    yaw_known=True,
    truncated=False,
    outline=((0.38, -0.02), (0.42, -0.02), (0.42, 0.02)),
    others=(
        SurroundingObject("cup", "cup", Solid((0.3, 0.1, 0.05), 0.0, (0.08, 0.08, 0.1)), (0.004, 0.004, 0.004)),
        SurroundingObject("glass", "glass", Solid((0.5, 0.1, 0.05), 0.0, (0.06, 0.06, 0.1)), None),
    ),
    unplaced=(),
    support_height=0.001,
    support_tilt=math.radians(1.0),
    destination_id=None,
)


def test_it_is_the_same_after_json() -> None:
    assert surroundings_from_json(json.loads(json.dumps(surroundings_json(SEEN)))) == SEEN


@pytest.mark.parametrize("change", [{"camera": None}, {"others": [{"id": 3}]}, {"support_height": "low"}])
def test_other_json_is_refused_by_the_name_of_its_field(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        surroundings_from_json(surroundings_json(SEEN) | change)


def test_what_was_not_measured_gets_the_most_padding() -> None:
    scene = planning_scene(SEEN, FOR_CHICKS)
    cup, glass = scene.neighbours
    goal = FOR_CHICKS.goal
    assert cup.padding == pytest.approx((goal.padding + goal.sigmas * 0.004,) * 3)
    assert glass.padding == (goal.most_padding,) * 3
    assert scene.target.padding == pytest.approx(np.array((0.002, 0.001, 0.003)) * goal.sigmas)
    assert scene.support[0].solid.top == pytest.approx(0.001)


def test_what_is_nowhere_is_in_the_way_of_every_plan() -> None:
    with pytest.raises(DepthError, match="the vase"):
        planning_scene(dataclasses.replace(SEEN, unplaced=("the vase (v1)",)), FOR_CHICKS)
