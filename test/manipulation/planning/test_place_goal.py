# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_scenes import box, config, gripper_points, inside, path, placed, table_with
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import GoalError, InputError, OutOfWorkspaceError
from spatial_vlm_ros.manipulation.planning.goal import Grasp
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import carrier_at, place_goal
from spatial_vlm_ros.manipulation.planning.scene import KEEP_OUT, PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.types import Pose, Resolution, Status

BLOCK = box("block", 0.5, 0.1, (0.12, 0.05, 0.08))
ANY = config()
FROM_ABOVE = pick_goal(table_with(BLOCK), ANY).grasps[0]


def relative(gripper: Pose, obj: Pose) -> np.ndarray:
    """(4, 4) pose of the tip frame in the thing's."""

    def matrix(pose: Pose) -> np.ndarray:
        m = np.eye(4)
        m[:3, :3] = Rotation.from_quat(pose.orientation).as_matrix()
        m[:3, 3] = pose.position
        return m

    return np.linalg.inv(matrix(obj)) @ matrix(gripper)


def test_a_block_is_put_down_where_it_was_asked_for_as_it_was_held() -> None:
    goal = place_goal(table_with(BLOCK), placed(BLOCK, (0.3, -0.2, 0.0, 0.0)), FROM_ABOVE, ANY)
    best = goal.placements[0]
    assert (goal.target_id, best.carrier_id, best.spot, best.turn) == ("block", "support", 0, 0.0)
    assert best.obj.position == pytest.approx((0.3, -0.2, 0.045))  # half its height, and let go 5 mm above
    assert best.place.position == pytest.approx((0.3, -0.2, 0.0476 + 0.005))
    assert best.pre_place.position == pytest.approx((0.3, -0.2, 0.1526))
    assert best.retreat.position == pytest.approx((0.3, -0.2, 0.1526))
    assert best.place.orientation == pytest.approx(FROM_ABOVE.grasp.orientation, abs=1e-5)
    assert best.opening == pytest.approx(0.06)
    assert abs(goal.placements[1].turn) == pytest.approx(math.pi)


@settings(max_examples=10, deadline=None)
@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-3.1, 3.1), st.integers(0, 2))
def test_the_object_stays_in_the_hand_as_it_was_taken(x: float, y: float, yaw: float, number: int) -> None:
    grasp = pick_goal(table_with(BLOCK), ANY).grasps[number]
    start = Pose("base_link", BLOCK.solid.centre, (0.0, 0.0, 0.0, 1.0))
    for placement in place_goal(table_with(BLOCK), placed(BLOCK, (x, y, 0.0, yaw)), grasp, ANY).placements:
        held, let_go = relative(grasp.grasp, start), relative(placement.place, placement.obj)
        np.testing.assert_allclose(let_go, held, atol=1e-5)


def test_what_carries_ends_at_the_place_for_planners() -> None:
    tray = PlanningObject("tray", "tray", Solid((0.3, -0.2, 0.01), 0.0, (0.3, 0.2, 0.02)), (0.005, 0.005, 0.005))
    scene = table_with(BLOCK, tray)
    best = place_goal(table_with(BLOCK), placed(BLOCK, (0.3, -0.2, 0.006, 0.0)), FROM_ABOVE, ANY).placements[0]
    assert carrier_at(scene, best) is None, "the support carries it"
    on_tray = dataclasses.replace(best, carrier_id="tray")
    carrier = carrier_at(scene, on_tray)
    assert carrier is not None
    padded = carrier.padded
    assert padded.centre[2] + padded.size[2] / 2 == pytest.approx(0.006, abs=1e-6)
    assert padded.size[:2] == pytest.approx(tray.padded.size[:2])
    high = dataclasses.replace(on_tray, obj=dataclasses.replace(best.obj, position=(0.3, -0.2, 0.3)))
    above = carrier_at(scene, high)
    assert above is not None
    assert above.solid.size[2] == pytest.approx(0.02), "it is not raised"


def test_an_object_without_heading_may_be_turned_and_a_side_grasp_leaves_backwards() -> None:
    scene, there = table_with(BLOCK, yaw_known=False), placed(BLOCK, (0.3, -0.2, 0.0, 0.0))
    goal = place_goal(scene, there, FROM_ABOVE, config(goal={"yaws": 4, "most": 50}))
    assert sorted(round(math.degrees(p.turn) % 360) for p in goal.placements) == [0, 45, 90, 135, 180, 225, 270, 315]
    side = next(g for g in pick_goal(table_with(BLOCK), ANY).grasps if g.way == "side")
    best = place_goal(table_with(BLOCK), there, side, ANY).placements[0]
    back = np.subtract(best.retreat.position, best.place.position)
    np.testing.assert_allclose(back, -0.1 * np.array(side.approach), atol=1e-5)


def test_better_places_come_first_and_blocked_ones_not_at_all() -> None:
    post = box("post", 0.3, -0.16, (0.02, 0.02, 0.3))
    spots = placed(BLOCK, (0.3, -0.2, 0.0, 0.0), (-0.2, 0.2, 0.0, 0.0), (-0.2, -0.2, 0.0, 0.0))
    goal = place_goal(table_with(BLOCK, post), spots, FROM_ABOVE, ANY)
    assert [p.spot for p in goal.placements] == [1, 1, 2, 2]
    assert {(r.kind, r.by) for r in goal.rejected} == {("blocked", "post")}


def test_no_kept_placement_meets_anything_by_sampling() -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(15):
        around = [
            box(f"n{i}", *rng.uniform(-0.4, 0.4, 2), tuple(rng.uniform(0.03, 0.15, 3)), rng.uniform(-3, 3))
            for i in range(5)
        ]
        spots = [(*rng.uniform(-0.3, 0.3, 2), 0.0, rng.uniform(-3, 3)) for _ in range(3)]
        scene = table_with(BLOCK, *around)
        try:
            goal = place_goal(scene, placed(BLOCK, *spots), FROM_ABOVE, ANY)
        except GoalError:
            continue
        for p in goal.placements:
            kept += 1
            closed, opened = (gripper_points(ANY.gripper, o) for o in (FROM_ABOVE.width, p.opening))
            ways = [*path(closed, p.pre_place, p.place), *path(opened, p.place, p.retreat)]
            turn = Rotation.from_quat(p.obj.orientation).as_euler("xyz")[2]
            corners = np.array([(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]) / 2
            obj = corners * BLOCK.solid.size @ Rotation.from_euler("z", turn).as_matrix().T + p.obj.position
            ways += [obj + np.array([0, 0, h]) for h in np.linspace(0, 0.1, 9)]
            for there in ways:
                assert (there[:, 2] > 0.0).all()
                assert not any(inside(there, neighbour.solid).any() for neighbour in around)
    assert kept > 10


def test_what_carries_it_counts_up_to_the_place() -> None:
    tray = box("tray", -0.2, -0.2, (0.3, 0.3, 0.03))  # its rim is higher than its floor
    goal = place_goal(
        table_with(BLOCK, tray), placed(BLOCK, (-0.2, -0.2, 0.01, 0.0), supporting="tray"), FROM_ABOVE, ANY
    )
    assert goal.placements[0].obj.position[2] == pytest.approx(0.01 + 0.005 + 0.04)
    with pytest.raises(GoalError, match="tray"):  # of anything else the rim counts
        place_goal(table_with(BLOCK, tray), placed(BLOCK, (-0.2, -0.2, 0.01, 0.0)), FROM_ABOVE, ANY)


PERSON = PlanningObject(KEEP_OUT + "person", "person", Solid((0.3, -0.2, 0.5), 0.0, (0.2, 0.2, 0.9)))
THERE = placed(BLOCK, (0.3, -0.2, 0.0, 0.0))
MOVED = dataclasses.replace(FROM_ABOVE, grasp=dataclasses.replace(FROM_ABOVE.grasp, frame_id="map"))
NOWHERE = Resolution("take it", Status.NOT_FOUND, "")


@pytest.mark.parametrize(
    ("scene", "where", "grasp", "error", "words"),
    [
        (
            table_with(BLOCK, keep_outs=[PERSON]),
            THERE,
            FROM_ABOVE,
            OutOfWorkspaceError,
            r"put down the block.*keep-out volume 'person'",
        ),
        (
            table_with(BLOCK),
            placed(BLOCK, (1.5, -0.2, 0.0, 0.0)),
            FROM_ABOVE,
            OutOfWorkspaceError,
            r"its place is 0\.500 m outside",
        ),
        (table_with(BLOCK), NOWHERE, FROM_ABOVE, InputError, "0 places"),
        (table_with(BLOCK), THERE, MOVED, InputError, "frames base_link, map"),
    ],
)
def test_what_cannot_be_put_down_is_refused(
    scene: PlanningScene, where: Resolution, grasp: Grasp, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        place_goal(scene, where, grasp, ANY)
