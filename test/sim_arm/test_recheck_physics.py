# SPDX-License-Identifier: Apache-2.0
"""The recheck of an approved plan against contact physics: what passes presses on nothing, what presses is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from benchmarks import recheck as bench
from spatial_vlm_ros.errors import SceneChangedError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import panda
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.recheck import check_clearance, check_plan_holds
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.worlds import layout

CONFIG = PlanningConfig()
SEED = 72003


@pytest.fixture(scope="module")
def made(planner: Any) -> Any:
    return bench.planned(planner, bench.ArmCell(layout(str(SEED))), SEED, CONFIG)


@pytest.mark.parametrize(("along", "said", "safe"), [(0.0, "passed", True), (0.02, "SCENE_CHANGED", False)])
def test_a_target_that_fingers_would_press_on_is_refused(made: Any, along: float, said: str, safe: bool) -> None:
    """It is moved along the closing direction, metres."""
    cell = bench.ArmCell(layout(str(SEED)))
    target = cell.layout.target
    at = cell.pose(target).translation + along * np.array(made.goal.grasps[made.plan.grasp].closing)
    cell.move(target, (at[0], at[1], 0.001), bench.heading(cell, target))
    for _ in range(150):
        cell.step()
    assert bench.judged(cell, made, 5, CONFIG)[0] == said
    done = bench.execute(cell, made.plan, CONFIG)
    assert (done.safe, done.pressed <= bench.PRESSED) == (safe, safe), done


@pytest.mark.parametrize(("phase", "link"), [("reach", "panda_link5"), ("carry", "panda_hand")])
def test_what_stands_in_the_way_of_any_link_on_a_free_motion_is_refused(made: Any, phase: str, link: str) -> None:
    scene, plan = made.scene, made.plan
    check_clearance(scene, scene, made.goal, plan, CONFIG)
    (trajectory,) = (step.trajectory for step in plan.steps if step.phase == phase)
    joints = np.array(trajectory.positions[len(trajectory.positions) // 2])
    (body,) = (hull for hull in panda().link_hulls(joints) if hull.base_T_link.child == link)
    x, y, z = body.base_T_link.apply(body.hull.centre[None])[0].tolist()
    post = PlanningObject("post", "post", Solid((x, y, z), 0.3, (0.02, 0.02, 0.02)))
    now = dataclasses.replace(scene, neighbours=(*scene.neighbours, post))
    with pytest.raises(SceneChangedError, match=r"the post"):
        check_clearance(scene, now, made.goal, plan, CONFIG)


def test_a_scene_without_visible_surfaces_is_judged_by_its_boxes(made: Any) -> None:
    bare = dataclasses.replace(made.seen, surface=None)
    check_plan_holds(made.scene, made.goal, made.plan, made.seen, bare, CONFIG)
    x, y, z = bare.target.solid.centre
    closing = made.goal.grasps[made.plan.grasp].closing
    solid = dataclasses.replace(bare.target.solid, centre=(x + 0.013 * closing[0], y + 0.013 * closing[1], z))
    outline = tuple((u + 0.013 * closing[0], v + 0.013 * closing[1]) for u, v in bare.outline)
    moved = dataclasses.replace(bare, target=dataclasses.replace(bare.target, solid=solid), outline=outline)
    with pytest.raises(SceneChangedError, match=r"13\.0 mm along the closing direction"):
        check_plan_holds(made.scene, made.goal, made.plan, made.seen, moved, CONFIG)


_HIDDEN_SIDE = pytest.mark.xfail(
    reason="the side of the target that the camera does not see reaches farther than estimate and padding together: "
    "fingers press 8 to 12 N on a target that moved 4 mm, or grew by a tenth, towards them"
)
_GROWN = pytest.mark.xfail(
    reason="a target that grew by a tenth reaches to the limit before the palm: one of three images passes, and the "
    "palm presses with 3 to 4 N"
)
_KNOWN = {73000: [_GROWN], 73001: [_GROWN], 73008: [_HIDDEN_SIDE]}
_SEEDS = [pytest.param(n, marks=_KNOWN.get(n, [])) for n in range(73000, 73012)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", _SEEDS)
def test_nothing_is_pressed_or_touched_by_what_passes_on_random_worlds(seed: int) -> None:
    records = bench.one(seed)
    passed = [r for r in records if r.get("said") == "passed"]
    wrong = [r for r in passed if r["pressed"] > bench.PRESSED or r["others"] > 0.0]
    assert not wrong
    for record in records:
        distance = record.get("size", "")
        if record["kind"].startswith("target moved") and distance in ("20 mm", "30 mm"):
            assert record["said"] != "passed", record
