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
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import (
    SeenSurface,
    SurroundingObject,
    Surroundings,
    _surface,
)
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


SURFACE = SeenSurface(((0.38, -0.02), (0.42, -0.02), (0.42, 0.02)), 0.001, 0.06)


def read_again(seen: Surroundings) -> Surroundings:
    return surroundings_from_json(json.loads(json.dumps(surroundings_json(seen))))


def test_it_is_the_same_after_json() -> None:
    assert read_again(SEEN) == SEEN
    whole = dataclasses.replace(SEEN, all_objects=True, surface=SURFACE)
    assert read_again(whole) == whole
    older = {key: value for key, value in surroundings_json(SEEN).items() if key not in ("all_objects", "surface")}
    read = surroundings_from_json(older)  # an answer that does not say so has not looked for all objects
    assert (read.all_objects, read.surface) == (False, None)


def test_occupancy_is_the_same_after_json_and_too_much_of_it_is_refused() -> None:
    cells = np.random.default_rng(0).integers(-40, 40, (500, 3))
    occupancy = Occupancy(voxels_at(cells, 0.01), voxels_at(cells[:20] + 3, 0.02), 0.8)
    seen = dataclasses.replace(SEEN, occupancy=occupancy)
    written = json.loads(json.dumps(surroundings_json(seen)))
    read = surroundings_from_json(written)
    assert read == seen
    assert read.occupancy is not None
    assert np.array_equal(read.occupancy.measured.indices, np.unique(cells, axis=0))
    written["occupancy"]["measured"]["shape"] = [9999, 9999, 9999]
    with pytest.raises(InputError, match="voxels"):
        surroundings_from_json(written)


def solid_of(sigma: list[float] | None = None, y: float = 0.0, side: float = 1.0) -> dict[str, object]:
    return {"id": "a", "label": "a", "sigma": sigma, "solid": {"centre": [0, y, 0], "yaw": 0, "size": [1, side, 1]}}


CORNER = [[0, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    "change",
    [
        {"support_height": math.nan},
        {"support_height": "low"},
        {"others": [solid_of(y=math.inf)]},
        {"others": [{"id": 3}]},
        {"surface": {"outline": [], "low": 0.0, "high": 0.1}},
        {"surface": {"outline": CORNER, "low": 0.2, "high": 0.1}},
        {"surface": {"outline": CORNER, "low": "low", "high": 0.1}},
        {"all_objects": "yes"},
        {"target": solid_of(side=-1)},
        {"target": solid_of([0, -1, 0])},
        {"camera": None},
    ],
)
def test_what_nothing_can_be_planned_by_is_refused(change: dict[str, object]) -> None:
    named = change in ({"camera": None}, {"others": [{"id": 3}]}, {"support_height": "low"})
    with pytest.raises(InputError, match=next(iter(change)) if named else None):
        surroundings_from_json(surroundings_json(SEEN) | change)


def test_extents_of_a_visible_surface_are_quantiles_of_its_points() -> None:
    rng = np.random.default_rng(3)
    points = (rng.uniform(-1, 1, (4000, 3)) * (0.03, 0.02, 0.04) + (0.4, 0.1, 0.04)).astype(np.float32)
    points[:40] += 0.5  # mixed pixels at an edge
    surface = _surface(points)
    assert surface is not None
    outline = np.array(surface.outline)
    inner = np.array((0.03, 0.02)) * 0.92  # 5 % of a side of points is left out on each, less what was added
    assert outline.min(axis=0) == pytest.approx(np.array((0.4, 0.1)) - inner, abs=0.003)
    assert outline.max(axis=0) == pytest.approx(np.array((0.4, 0.1)) + inner, abs=0.003)
    assert (surface.low, surface.high) == pytest.approx((0.004, 0.077), abs=0.002)
    assert _surface(points[:20]) is None


def test_what_was_not_measured_gets_the_most_padding_and_what_is_nowhere_is_in_the_way() -> None:
    scene = planning_scene(SEEN, FOR_CHICKS)
    cup, glass = scene.neighbours
    goal = FOR_CHICKS.goal
    assert cup.padding == pytest.approx((goal.padding + goal.sigmas * 0.004,) * 3)
    assert glass.padding == (goal.most_padding,) * 3
    assert scene.target.padding == pytest.approx(np.array((0.002, 0.001, 0.003)) * goal.sigmas)
    assert scene.support[0].solid.top == pytest.approx(0.001)
    with pytest.raises(DepthError, match="the vase"):
        planning_scene(dataclasses.replace(SEEN, unplaced=("the vase (v1)",)), FOR_CHICKS)
