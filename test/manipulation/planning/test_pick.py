# SPDX-License-Identifier: Apache-2.0
"""Grasps and placements worked by hand and by laws, with an independent judge; and what is refused."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_scenes import box, config, gripper_points, inside, path, placed, table_with, tip_axes
from scipy.spatial.transform import Rotation
from tables import called, tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import GoalError, InputError, OutOfWorkspaceError
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import carrier_at, place_goal
from spatial_vlm_ros.manipulation.planning.scene import KEEP_OUT, PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.types import Pose, Resolution, Status

BLOCK = box("block", 0.5, 0.1, (0.12, 0.05, 0.08))
ANY = config()


def only(goal: PickGoal, way: str) -> list[Grasp]:
    return [grasp for grasp in goal.grasps if grasp.way == way]


def kinds(error: GoalError) -> set[str]:
    return {kind for kind, _ in error.reasons}


def test_from_above_a_block_is_held_at_its_middle_by_its_shorter_side() -> None:
    grasp = pick_goal(table_with(BLOCK), ANY).grasps[0]
    assert (grasp.way, grasp.closes_on) == ("top_down", "y")
    # 4.6 cm of finger reach to the palm's 5 mm clearance: 0.08 - (0.0469 - 0.0095 - 0.005) = 0.0476 is above the middle
    assert grasp.grasp.position == pytest.approx((0.5, 0.1, 0.0476))
    assert grasp.pre_grasp.position == pytest.approx((0.5, 0.1, 0.1476))
    assert grasp.retreat.position == pytest.approx((0.5, 0.1, 0.1476))
    assert grasp.approach == (0.0, 0.0, -1.0)
    assert abs(tip_axes(grasp.grasp)[1, 1]) == pytest.approx(1.0)  # the fingers close along y
    np.testing.assert_allclose(tip_axes(grasp.grasp)[:, 2], grasp.approach, atol=1e-6)
    assert (grasp.width, grasp.opening) == pytest.approx((0.05, 0.06))
    assert grasp.width_margin == pytest.approx(0.01)  # 8 cm less 6 cm, on two sides
    assert grasp.hold == pytest.approx(0.08 - 0.0476 + 0.0095)
    assert grasp.clearance == math.inf
    assert grasp.grasp.frame_id == "base_link"
    goal = pick_goal(table_with(BLOCK), ANY)
    assert {(r.kind, r.way) for r in goal.rejected} == {("too_wide", "top_down"), ("too_wide", "side")}
    assert "0.120 m wide" in goal.rejected[0].words, "the longer side"
    assert len(pick_goal(table_with(BLOCK), config(goal={"most": 1})).grasps) == 1


def test_from_a_side_the_palm_stays_clear_of_the_object_and_of_the_table() -> None:
    sides = only(pick_goal(table_with(BLOCK), ANY), "side")
    assert {round(grasp.approach[0]) for grasp in sides} == {-1, 1}
    grasp = next(g for g in sides if g.approach[0] > 0)
    # Half of 12 cm less what the fingers reach: 0.06 - 0.0324 before the middle. The palm is 6.4 cm thick, so 4 cm is
    # high enough, which the middle is.
    assert grasp.grasp.position == pytest.approx((0.5 - 0.0276, 0.1, 0.04))
    assert grasp.pre_grasp.position == pytest.approx((0.5 - 0.1276, 0.1, 0.04))
    assert grasp.retreat.position == pytest.approx((0.5 - 0.0276, 0.1, 0.14))
    assert grasp.hold == pytest.approx(0.0324 + 0.0095)


def test_a_low_object_is_held_above_its_middle_from_a_side_and_a_flat_one_not_at_all() -> None:
    low = only(pick_goal(table_with(box("bar", 0.5, 0.0, (0.05, 0.05, 0.05))), ANY), "side")
    assert low[0].grasp.position[2] == pytest.approx(0.032 + 0.005)
    goal = pick_goal(table_with(box("bar", 0.5, 0.0, (0.05, 0.05, 0.0367))), ANY)
    # The palm, 6.4 cm thick, stays 5 mm above the table: 37 - 36.7 / 2 = 18.65 mm
    above = "the fingers would be 0.019 m above its middle, because the palm has to avoid what is below"
    assert {(r.way, r.kind, r.words) for r in goal.rejected} == {("side", "below_support", above)}
    flat = box("card", 0.5, 0.0, (0.05, 0.05, 0.012))
    with pytest.raises(GoalError, match=r"uppermost 0\.007 m") as caught:
        pick_goal(table_with(flat), ANY)
    assert kinds(caught.value) == {"below_support"}
    assert caught.value.status_name == "UNREACHABLE"
    assert "goal.hold" in caught.value.repair


def test_what_stands_on_a_plate_is_held_above_the_plate_and_a_heading_turns_the_grasp() -> None:
    cup = box("cup", 0.5, 0.0, (0.05, 0.05, 0.02), bottom=0.02)
    plate = box("plate", 0.5, 0.0, (0.2, 0.2, 0.02))
    grasp = only(pick_goal(table_with(cup, plate, carrier_ids=("plate",)), ANY), "top_down")[0]
    assert grasp.grasp.position[2] == pytest.approx(0.02 + 0.005 + 0.0095)
    assert grasp.clearance == pytest.approx(0.005)
    turned = PlanningObject("block", "block", dataclasses.replace(BLOCK.solid, yaw=0.4))
    grasp = pick_goal(table_with(turned), ANY).grasps[0]
    assert abs(np.dot(grasp.closing, (-math.sin(0.4), math.cos(0.4), 0.0))) == pytest.approx(1.0)


def test_an_object_without_heading_is_tried_in_several_and_measured_in_each() -> None:
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    outline = tuple((0.5 + 0.035 * math.cos(a), 0.025 * math.sin(a)) for a in angles)  # an oval of 7 by 5 cm
    can = PlanningObject("can", "can", Solid((0.5, 0.0, 0.05), 0.0, (0.07, 0.055, 0.1)), outline=outline)
    goal = pick_goal(table_with(can, yaw_known=False), config(goal={"yaws": 6, "most": 100}))
    above = only(goal, "top_down")
    assert len(above) == 6
    assert len(only(goal, "side")) == 12
    assert {g.closes_on for g in goal.grasps} == {"outline"}
    assert above[0].width == 0.055  # the narrowest first: it leaves the most margin; not below the box's shorter side
    assert max(g.width for g in above) == pytest.approx(0.07, abs=1e-3)


def test_the_fingers_open_wider_for_what_is_not_known_of_the_place() -> None:
    wider = 0.05 + 2 * (0.005 + 0.004)  # of 4 mm where the fingers close
    for padding, opening in (((0.02, 0.004, 0.0), wider), ((0.0, 0.02, 0.0), 0.08)):  # as far as it goes
        vague = dataclasses.replace(BLOCK, padding=padding)
        assert pick_goal(table_with(vague), ANY).grasps[0].opening == pytest.approx(opening)


def test_clearance_comes_first_then_from_above_then_the_wider_margin() -> None:
    goal = pick_goal(table_with(box("b", 0.5, 0.0, (0.06, 0.04, 0.08))), ANY)
    assert [g.way for g in goal.grasps] == ["top_down"] * 2 + ["side"] * 4
    assert [g.closes_on for g in goal.grasps[:2]] == ["y", "x"]
    post = box("post", 0.5, 0.204 + 0.008 + 0.01, (0.02, 0.02, 0.3))  # 8 mm beside the palm that comes from above
    goal = pick_goal(table_with(BLOCK, post), ANY)
    assert goal.grasps[0].way == "side"
    assert goal.grasps[0].clearance > ANY.goal.ample
    assert only(goal, "top_down")[0].clearance == pytest.approx(0.008)
    away = box("post", 0.5, 0.204 + 0.03 + 0.01, (0.02, 0.02, 0.3))
    assert pick_goal(table_with(BLOCK, away), ANY).grasps[0].way == "top_down"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "box": lambda id_, x, y, size, **more: box(id_, x, y, tuple(size), **more),
    "table": table_with,
    "keep_out": lambda name, *solid: PlanningObject(KEEP_OUT + name, name, Solid(tuple(solid[0]), *solid[1:])),
    "list": lambda *each: list(each),
}
TABLES = tables(__file__)


@pytest.mark.parametrize(("scene", "setting", "error", "words"), TABLES["not taken"])
def test_a_target_that_cannot_be_taken_is_refused(scene: list[Any], setting: Any, error: str, words: str) -> None:
    made = called(scene, FUNCTIONS)
    with pytest.raises(getattr(errors, error), match=words) as caught:
        pick_goal(made, config(**setting))
    if isinstance(caught.value, OutOfWorkspaceError):
        assert caught.value.status_name == "OUT_OF_WORKSPACE"
    if made.truncated:
        assert kinds(caught.value) == {"cut_off"}
        assert "move the camera" in caught.value.repair


def test_what_is_around_takes_ways_and_leaves_the_free_ones() -> None:
    behind = pick_goal(table_with(BLOCK, box("wall", 0.3, 0.1, (0.02, 0.5, 0.4))), ANY)
    assert {r.by for r in behind.rejected if r.kind == "blocked"} == {"wall"}
    assert [round(g.approach[0]) for g in only(behind, "side")] == [-1]
    assert only(behind, "top_down")
    post, away = (box("post", 0.5, y, (0.02, 0.02, 0.3)) for y in (0.2, 0.235))  # the palm reaches to 0.204
    near = box("near", 0.5 + 0.06 + 0.03, 0.1, (0.06, 0.05, 0.04))  # what is beside the target may touch it
    padded = dataclasses.replace(away, padding=(0.02, 0.02, 0.0))
    free = [bool(only(pick_goal(table_with(BLOCK, other), ANY), "top_down")) for other in (post, away, padded, near)]
    assert free == [False, True, False, True]
    low = pick_goal(table_with(BLOCK), config(workspace={"z_max": 0.145}))  # from above it begins at 0.1476
    assert {g.way for g in low.grasps} == {"side"}
    shelf = PlanningObject(KEEP_OUT + "shelf", "shelf", Solid((0.5, 0.1, 0.3), 0.0, (1.0, 1.0, 0.1)))
    below = pick_goal(table_with(BLOCK, keep_outs=[shelf]), ANY)
    assert {g.way for g in below.grasps} == {"side"}
    assert {(r.kind, r.by) for r in below.rejected if r.way == "top_down"} >= {("keep_out", "keep_out/shelf")}


def test_how_many_ways_failed_for_which_reason_is_told_and_bounded() -> None:
    around = np.linspace(0.0, 2 * math.pi, 6, endpoint=False)
    ring = [(math.cos(turn), math.sin(turn)) for turn in around]
    fence = [box(f"thing {i}", 0.5 + 0.09 * c, 0.1 + 0.09 * s, (0.07, 0.07, 0.1)) for i, (c, s) in enumerate(ring)]
    outline = tuple((0.5 + 0.03 * c, 0.1 + 0.03 * s) for c, s in ring)
    cone = dataclasses.replace(box("cone", 0.5, 0.1, (0.06, 0.06, 0.08)), outline=outline)
    with pytest.raises(GoalError) as caught:
        pick_goal(table_with(cone, *fence, yaw_known=False), ANY)
    told = [words for _, words in caught.value.reasons]
    counts = [int(n) for words in told for n in re.findall(r"\((\d+) of 24 ways\)", words)]
    others = re.findall(r"; (\d+) ways? for other reasons$", told[-1])
    assert len(counts) == 4
    assert counts == sorted(counts, reverse=True), "the most frequent first"
    assert [sum(counts) + int(n) for n in others] == [24]
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("palm", [0.04, 0.064, 0.09])
@pytest.mark.parametrize("plate", [0.0, 0.02])
def test_of_every_height_fingers_close_on_the_object_or_no_side_is_given(palm: float, plate: float, step: int) -> None:
    """From 15 to 80 mm in steps of 0.1 mm or 1.3, on the table and on a plate, with thin and thick palms."""
    measures, least = config(gripper={"palm_thickness": palm}), round((palm / 2 + 0.005) * 1e4)
    supporting = [box("plate", 0.5, 0.0, (0.2, 0.2, plate))] if plate else []
    for tenths in sorted({*range(150, 801, step), least - 1, least, 800}):
        bar = box("bar", 0.5, 0.0, (0.05, 0.04, tenths / 1e4), bottom=plate)
        goal = pick_goal(table_with(bar, *supporting, carrier_ids=("plate" if plate else "support",)), measures)
        assert len(only(goal, "side")) == (4 if tenths >= least else 0), tenths
        assert len(only(goal, "top_down")) == 2, tenths
        for grasp in only(goal, "side"):
            z = grasp.grasp.position[2]
            assert plate <= z <= bar.solid.top + 1e-6, tenths
            assert min(bar.solid.top, z + 0.011) - max(plate, z - 0.011) >= 0.01, tenths
            assert z - palm / 2 >= plate + 0.005 - 1e-6, tenths


near = st.floats(-0.3, 0.3)
object_sizes = st.tuples(st.floats(0.02, 0.12), st.floats(0.02, 0.12), st.floats(0.02, 0.2))
neighbours = st.lists(st.tuples(near, near, object_sizes, st.floats(-3, 3)), max_size=5)
FREE = config(workspace={f"{axis}_{end}": at for axis in "xyz" for end, at in (("min", -9.0), ("max", 9.0))})


def goal_or_reasons(scene: PlanningScene) -> PickGoal | tuple[tuple[str, str], ...]:
    try:
        return pick_goal(scene, FREE)
    except GoalError as error:
        return error.reasons


def scene_of(size: tuple[float, float, float], around: list, yaw: float = 0.3) -> PlanningScene:
    others = [box(f"n{i}", x, y, s, yaw=turn) for i, (x, y, s, turn) in enumerate(around)]
    return table_with(box("target", 0.0, 0.0, size, yaw=yaw), *others)


@settings(max_examples=12, deadline=None)
@given(object_sizes, neighbours)
def test_kept_grasps_meet_nothing_on_their_way_and_have_the_target_between_fingers(size: tuple, around: list) -> None:
    scene = scene_of(size, around)
    goal = goal_or_reasons(scene)
    for grasp in goal.grasps if isinstance(goal, PickGoal) else ():
        points = gripper_points(FREE.gripper, grasp.opening)
        for there in path(points, grasp.pre_grasp, grasp.grasp, grasp.retreat):
            assert (there[:, 2] >= FREE.goal.support_clearance - 2e-5).all()
            for obj in scene.neighbours:
                assert not inside(there, obj.solid).any(), (grasp, obj.id)
        for there in path(points, grasp.pre_grasp, grasp.grasp):  # coming, it does not touch the target either
            assert not inside(there, scene.target.solid, shrink=1e-5).any()
        axes = tip_axes(grasp.grasp)
        line = np.linspace(-grasp.width / 2, grasp.width / 2, 41)[:, None] * axes[:, 1] + grasp.grasp.position
        middle = axes[:, 2] * (FREE.gripper.finger_beyond - grasp.hold / 2)
        assert inside(line + middle, scene.target.solid, shrink=-1e-5).all()
        assert grasp.opening <= FREE.gripper.opening_max + 1e-9


@settings(max_examples=12, deadline=None)
@given(object_sizes, neighbours, near, near, st.floats(-math.pi, math.pi))
def test_a_scene_moved_about_up_moves_its_grasps(size: tuple, around: list, x: float, y: float, turn: float) -> None:
    scene = scene_of(size, around)
    rotation = Rotation.from_euler("z", turn)

    def moved(obj: PlanningObject) -> PlanningObject:
        cx, cy, cz = (rotation.apply(obj.solid.centre) + np.array([x, y, 0.0])).tolist()
        return dataclasses.replace(obj, solid=Solid((cx, cy, cz), obj.solid.yaw + turn, obj.solid.size))

    other = dataclasses.replace(scene, target=moved(scene.target), neighbours=tuple(map(moved, scene.neighbours)))
    first, second = goal_or_reasons(scene), goal_or_reasons(other)
    if not isinstance(first, PickGoal):
        assert first == second
        return
    assert isinstance(second, PickGoal)
    expected = rotation.apply([g.grasp.position for g in first.grasps]) + np.array((x, y, 0.0))
    got = [g.grasp.position for g in second.grasps]
    np.testing.assert_allclose(sorted(np.round(got, 4).tolist()), sorted(np.round(expected, 4).tolist()), atol=3e-4)
    assert sorted(g.clearance for g in first.grasps) == pytest.approx(sorted(g.clearance for g in second.grasps))


FROM_ABOVE = pick_goal(table_with(BLOCK), ANY).grasps[0]


def relative(gripper: Pose, obj: Pose) -> np.ndarray:
    """(4, 3) axes of the tip frame and its origin, in the object's frame."""
    turn, tip = (Rotation.from_quat(pose.orientation) for pose in (obj, gripper))
    away = np.subtract(gripper.position, obj.position)
    return np.vstack(((turn.inv() * tip).as_matrix().T, turn.inv().apply(away)))


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
    padded = carrier.padded
    assert padded.centre[2] + padded.size[2] / 2 == pytest.approx(0.006, abs=1e-6)
    assert padded.size[:2] == pytest.approx(tray.padded.size[:2])
    high = dataclasses.replace(on_tray, obj=dataclasses.replace(best.obj, position=(0.3, -0.2, 0.3)))
    above = carrier_at(scene, high)
    assert above.solid.size[2] == pytest.approx(0.02), "it is not raised"


def test_an_object_without_heading_may_be_turned_and_a_side_grasp_leaves_backwards() -> None:
    scene, there = table_with(BLOCK, yaw_known=False), placed(BLOCK, (0.3, -0.2, 0.0, 0.0))
    goal = place_goal(scene, there, FROM_ABOVE, config(goal={"yaws": 4, "most": 50}))
    assert sorted(round(math.degrees(p.turn) % 360) for p in goal.placements) == [0, 45, 90, 135, 180, 225, 270, 315]
    side = next(g for g in pick_goal(table_with(BLOCK), ANY).grasps if g.way == "side")
    best = place_goal(table_with(BLOCK), there, side, ANY).placements[0]
    back = np.subtract(best.retreat.position, best.place.position)
    np.testing.assert_allclose(back, -0.1 * np.array(side.approach), atol=1e-5)


def test_an_object_is_never_tipped_to_stand_upright() -> None:
    asked = placed(BLOCK, (0.3, -0.2, 0.0, 0.0))
    upright = dataclasses.replace(asked.places[0].pose, orientation=(0.0, -math.sqrt(0.5), 0.0, math.sqrt(0.5)))
    place = dataclasses.replace(asked.places[0], pose=upright)
    asked = dataclasses.replace(asked, place=place, places=(place,))
    with pytest.raises(GoalError, match="would have to be turned upright"):
        place_goal(table_with(BLOCK), asked, FROM_ABOVE, ANY)


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
    scene, spot = table_with(BLOCK, tray), (-0.2, -0.2, 0.01, 0.0)
    goal = place_goal(scene, placed(BLOCK, spot, supporting="tray"), FROM_ABOVE, ANY)
    assert goal.placements[0].obj.position[2] == pytest.approx(0.01 + 0.005 + 0.04)
    with pytest.raises(GoalError, match="tray"):  # of anything else the rim counts
        place_goal(scene, placed(BLOCK, spot), FROM_ABOVE, ANY)


def test_what_cannot_be_put_down_is_refused() -> None:
    person = PlanningObject(KEEP_OUT + "person", "person", Solid((0.3, -0.2, 0.5), 0.0, (0.2, 0.2, 0.9)))
    free, watched = table_with(BLOCK), table_with(BLOCK, keep_outs=[person])
    there, outside = placed(BLOCK, (0.3, -0.2, 0.0, 0.0)), placed(BLOCK, (1.5, -0.2, 0.0, 0.0))
    nowhere = Resolution("take it", Status.NOT_FOUND, "")
    moved = dataclasses.replace(FROM_ABOVE, grasp=dataclasses.replace(FROM_ABOVE.grasp, frame_id="map"))
    for scene, where, grasp, error, words in (
        (watched, there, FROM_ABOVE, OutOfWorkspaceError, r"put down the block.*keep-out volume 'person'"),
        (free, outside, FROM_ABOVE, OutOfWorkspaceError, r"its place is 0\.500 m outside"),
        (free, nowhere, FROM_ABOVE, InputError, "0 places"),
        (free, there, moved, InputError, "frames base_link, map"),
    ):
        with pytest.raises(error, match=words):
            place_goal(scene, where, grasp, ANY)
