# SPDX-License-Identifier: Apache-2.0
"""Whether an approved plan still holds: limits at their borders, and an independent judge of what would be touched."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
from planning_scenes import CLEAR, Array, box, gripper_points, inside, path, placed, table_with, tip_axes

from spatial_vlm_ros.errors import GoalError, SceneChangedError
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.goal import PickGoal
from spatial_vlm_ros.manipulation.planning.gripper import Tip, links
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, PICK, PLACE, MotionPlan, PlanStep, Trajectory, plan_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid, gaps
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface, SurroundingObject, Surroundings
from spatial_vlm_ros.manipulation.recheck import check_plan_holds
from spatial_vlm_ros.manipulation.recheck_clearance import check_clearance, has_arm_model
from spatial_vlm_ros.manipulation.recheck_grasp import as_held, check_grasp, target_in_grasp
from spatial_vlm_ros.manipulation.recheck_surface import SeenTarget, moved_by, surface_shifts
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose

CONFIG = PlanningConfig()
GOAL = CONFIG.goal
SIZE = (0.05, 0.04, 0.06)
PADDED = (0.001, 0.002, 0.0015)
REST = Trajectory(("joint",), (0.0,), ((0.0,),))


def target(x: float = 0.4, y: float = 0.0, size: tuple[float, float, float] = SIZE, yaw: float = 0.0) -> PlanningObject:
    return dataclasses.replace(box("chick", x, y, size, yaw), padding=PADDED)


def planned(scene: PlanningScene, grasp: int = 0) -> tuple[PickGoal, MotionPlan]:
    """A plan for one of the grasps, of an arm that has no model here."""
    goal = pick_goal(scene, CONFIG)
    steps = [PlanStep(p, None, goal.grasps[grasp].opening) if p in GRIPS else PlanStep(p, REST) for p in PICK]
    return goal, plan_of(goal, scene, None, steps, grasp)


def holds(then: PlanningScene, now: PlanningScene, goal: PickGoal, plan: MotionPlan) -> bool:
    try:
        check_grasp(then, now, goal.grasps[plan.grasp], CONFIG)
        check_clearance(then, now, goal, plan, CONFIG)
    except SceneChangedError:
        return False
    return True


def with_target(scene: PlanningScene, body: PlanningObject) -> PlanningScene:
    return dataclasses.replace(scene, target=body)


def shifted(by: Array, then: PlanningScene | None = None, size: tuple[float, float, float] = SIZE) -> PlanningScene:
    """THEN, or another scene, with its target moved, metres."""
    then = then or THEN
    x, y, z = (np.array(then.target.solid.centre) + by).tolist()
    return with_target(then, dataclasses.replace(then.target, solid=Solid((x, y, z), 0.0, size)))


THEN = table_with(target())
PICKED, PLANNED = planned(THEN)
GRASP = PICKED.grasps[0]
AXES = tip_axes(GRASP.grasp)
BY_CLOSING, BY_PADS = GOAL.jaw_clearance, (CONFIG.gripper.finger_width - GOAL.hold) / 2


@pytest.mark.parametrize(
    ("closing", "across", "up", "stands"),
    [
        (0.0, 0.0, 0.0, True),
        (BY_CLOSING - 1e-4, 0.0, 0.0, True),
        (BY_CLOSING + 1e-4, 0.0, 0.0, False),
        (-BY_CLOSING - 1e-4, 0.0, 0.0, False),
        (0.013, 0.0, 0.0, False),
        (0.0, BY_PADS - 1e-4, 0.0, True),
        (0.0, BY_PADS + 1e-4, 0.0, False),
        (0.0, 0.0, 0.02, False),  # the palm comes down on it
        (0.0, 0.0, -0.05, False),  # nothing is left between the fingers
    ],
)
def test_a_change_may_use_up_the_clearance_and_not_the_padding(
    closing: float, across: float, up: float, stands: bool
) -> None:
    assert GRASP.way == "top_down"
    now = shifted(closing * AXES[:, 1] + across * AXES[:, 0] + [0.0, 0.0, up])
    if stands:
        check_grasp(THEN, now, GRASP, CONFIG)
        return
    with pytest.raises(SceneChangedError, match="the chick") as caught:
        check_grasp(THEN, now, GRASP, CONFIG)
    assert caught.value.moved == pytest.approx(max(abs(closing), abs(across), abs(up)), abs=1e-6)


@pytest.mark.parametrize(("beyond", "stands"), [(-1e-4, True), (1e-4, False)])
def test_a_hand_that_opened_wider_leaves_more_room_unless_it_closes_on_a_part(beyond: float, stands: bool) -> None:
    wide = dataclasses.replace(GRASP, opening=GRASP.needed + 0.02)
    now = shifted((BY_CLOSING + 0.01 + beyond) * AXES[:, 1])
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match="may touch it"):
        check_grasp(THEN, now, wide, CONFIG)
    with pytest.raises(SceneChangedError, match="not where the fingers close"):
        check_grasp(THEN, now, dataclasses.replace(wide, closes_on="surface"), CONFIG)


@pytest.mark.parametrize(("gap", "stands"), [(GOAL.ample / 2 + 1e-3, True), (GOAL.ample / 2 - 1e-3, False)])
def test_a_hand_that_opened_wider_keeps_half_of_what_was_ample_from_neighbours(gap: float, stands: bool) -> None:
    grasp = dataclasses.replace(GRASP, opening=GRASP.needed + 0.02)
    away = grasp.opening / 2 + CONFIG.gripper.finger_thickness + gap + 0.01
    x, y, _ = (np.array(THEN.target.solid.centre) + away * AXES[:, 1]).tolist()
    now = dataclasses.replace(THEN, neighbours=(box("can", x, y, (0.02, 0.02, 0.02)),))
    narrow = dataclasses.replace(grasp, needed=grasp.opening)
    assert holds(THEN, now, dataclasses.replace(PICKED, grasps=(grasp, *PICKED.grasps[1:])), PLANNED) == stands
    assert holds(THEN, now, dataclasses.replace(PICKED, grasps=(narrow, *PICKED.grasps[1:])), PLANNED)


@pytest.mark.parametrize(("beyond", "stands"), [(-1e-3, True), (1e-3, False)])
def test_fingers_that_would_push_the_target_into_a_neighbour_are_refused(beyond: float, stands: bool) -> None:
    """Both were pushed along the closing direction; the neighbour stands beside the fingers and touches the target."""
    long = (0.14, 0.04, 0.06)
    then = table_with(target(size=long))
    goal, plan = planned(then)
    axes = tip_axes(goal.grasps[0].grasp)
    assert abs(axes[:, 1] @ (0.0, 1.0, 0.0)) > 0.99, "the fingers close across its long side"
    moved = shifted((BY_CLOSING + beyond) * axes[:, 1], then, long)
    y = moved.target.solid.centre[1] - float(np.sign(axes[1, 1])) * (0.02 + 0.01)
    now = dataclasses.replace(moved, neighbours=(box("can", 0.4 + 0.06, y, (0.02, 0.02, 0.02)),))
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match="6 mm into the can"):
        check_clearance(then, now, goal, plan, CONFIG)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solid": Solid((0.4, 0.0, 0.03), math.radians(45), SIZE)}, "closing direction"),
        ({"solid": Solid((0.4, 0.0, 0.03), 0.0, (0.052, 0.052, 0.06))}, "closing direction"),
        ({"solid": Solid((0.4, 0.0, 0.06), 0.0, (0.05, 0.04, 0.12))}, "nearer to the palm"),
        ({"solid": Solid((0.4, 0.0, 0.005), 0.0, (0.05, 0.04, 0.01))}, "less of it"),
    ],
)
def test_a_target_that_was_turned_or_resized_is_refused_with_what_the_gripper_would_do(
    change: dict[str, Solid], words: str
) -> None:
    with pytest.raises(SceneChangedError, match=words):
        check_grasp(THEN, with_target(THEN, dataclasses.replace(THEN.target, **change)), GRASP, CONFIG)
    with pytest.raises(SceneChangedError, match="cut off"):
        check_grasp(THEN, dataclasses.replace(THEN, truncated=True), GRASP, CONFIG)


def test_a_box_whose_sides_are_named_the_other_way_round_is_the_same() -> None:
    assert not has_arm_model(PLANNED, "panda_link0"), "another arm has no model"
    assert not has_arm_model(PLANNED, "base_link")
    padding = (PADDED[1], PADDED[0], PADDED[2])
    swapped = PlanningObject("chick", "chick", Solid((0.4, 0.0, 0.03), math.pi / 2, (0.04, 0.05, 0.06)), padding)
    assert holds(THEN, with_target(THEN, swapped), PICKED, PLANNED)
    off = table_with(target(0.4, 0.003, yaw=0.2)).target  # what is held is in the middle of the fingers
    held = dataclasses.replace(off, solid=as_held(table_with(off), GRASP))
    extents = target_in_grasp(held, True, GRASP)
    assert extents.low[1] == pytest.approx(-extents.high[1], abs=1e-9)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 60))])
def test_what_passes_is_touched_by_no_finger_and_small_changes_pass(seed: int) -> None:
    """The judge fills gripper and boxes with points; it shares no code with the recheck."""
    rng = np.random.default_rng(seed)
    size = tuple(rng.uniform((0.03, 0.03, 0.04), (0.06, 0.06, 0.08)).tolist())
    then = table_with(target(0.45, 0.0, size, float(rng.uniform(-3, 3))))  # type: ignore[arg-type]
    goal = pick_goal(then, CONFIG)
    number = int(rng.integers(len(goal.grasps)))
    goal, plan = planned(then, number)
    grasp = goal.grasps[number]
    points = gripper_points(CONFIG.gripper, grasp.opening)
    passed = 0
    for trial in range(60):
        spread = 0.1 if trial < 10 else 1.0
        x, y, z = np.array(then.target.solid.centre) + rng.normal(0.0, spread * np.array((0.01, 0.01, 0.006)))
        sides = tuple((np.array(size) * (1 + spread * rng.uniform(-0.3, 0.3, 3))).tolist())
        yaw = then.target.solid.yaw + spread * float(rng.uniform(-0.5, 0.5))
        now = with_target(then, dataclasses.replace(then.target, solid=Solid((x, y, z), yaw, sides)))  # type: ignore[arg-type]
        stands = holds(then, now, goal, plan)
        passed += stands
        if trial < 10:  # a millimetre or two, a few degrees and per cent
            assert stands
        if stands:
            assert not any(inside(at, now.target.solid).any() for at in path(points, grasp.pre_grasp, grasp.grasp))
            held = target_in_grasp(now.target, True, grasp)
            assert held.low[1] < 0 < held.high[1]
    assert passed < 60


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 60))])
def test_a_neighbour_that_passes_is_touched_nowhere_on_the_straight_ways(seed: int) -> None:
    rng, made = np.random.default_rng(seed), None
    while made is None:  # until a grasp is free
        spots = [(0.45 + r * math.cos(a), r * math.sin(a)) for r, a in rng.uniform((0.07, -3.2), (0.16, 3.2), (2, 2))]
        sides = rng.uniform(0.03, 0.08, (2, 3))
        around = [
            dataclasses.replace(box(f"cup{k}", *spot, tuple(size.tolist())), padding=(0.005,) * 3)  # type: ignore[arg-type]
            for k, (spot, size) in enumerate(zip(spots, sides, strict=True))
        ]
        then = table_with(target(0.45), *around)
        with contextlib.suppress(GoalError):
            made = planned(then)
    goal, plan = made
    assert holds(then, then, goal, plan)
    grasp = goal.grasps[0]
    points = gripper_points(CONFIG.gripper, grasp.opening)
    for _ in range(30):
        shift = rng.normal(0.0, 0.02, 2)
        x, y, z = around[0].solid.centre
        moved = dataclasses.replace(
            around[0], solid=dataclasses.replace(around[0].solid, centre=(x + shift[0], y + shift[1], z))
        )
        now = dataclasses.replace(then, neighbours=(moved, around[1]))
        if holds(then, now, goal, plan):
            ways = (*path(points, grasp.pre_grasp, grasp.grasp), *path(points, grasp.grasp, grasp.retreat))
            assert not any(inside(at, moved.solid).any() for at in ways)


def test_a_neighbour_may_come_nearer_by_the_clearance() -> None:
    then = table_with(target(), dataclasses.replace(box("cup", 0.4, 0.2, (0.04, 0.04, 0.15)), padding=(0.004,) * 3))
    goal, plan = planned(then)
    grasp, tip = goal.grasps[0], Tip.of(goal.grasps[0].grasp)
    swept = links(CONFIG.gripper, tip, grasp.opening, tip.back(GOAL.approach))
    gap = float(gaps(swept, [then.neighbours[0].padded]).min())
    for left, stands in ((1e-3, True), (-1e-3, False)):
        moved = dataclasses.replace(
            then.neighbours[0], solid=Solid((0.4, 0.2 - gap + left, 0.075), 0.0, (0.04, 0.04, 0.15))
        )
        assert holds(then, dataclasses.replace(then, neighbours=(moved,)), goal, plan) is stands


TRAY = SurroundingObject("t1", "tray", Solid((0.4, 0.3, 0.005), 0.0, (0.2, 0.15, 0.01)), (0.001,) * 3)


def test_what_the_target_is_put_on_has_to_be_where_it_was() -> None:
    chick = SurroundingObject("chick", "chick", Solid((0.4, 0.0, 0.03), 0.0, SIZE), PADDED)
    before = Surroundings(
        "base_link", 1_000, Pose("base_link", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0)), "camera", chick, True, False, (),
        (TRAY,), (), 0.0, 0.0, "t1", True, occupancy=CLEAR,
    )  # fmt: skip
    then = planning_scene(before, CONFIG)
    goal = pick_goal(then, CONFIG)
    spot = placed(then.target, (0.4, 0.3, 0.005, 0.0), supporting="t1")
    place = place_goal(then, spot, goal.grasps[0], CONFIG)
    steps = [PlanStep(p, None, goal.grasps[0].opening) if p in GRIPS else PlanStep(p, REST) for p in (*PICK, *PLACE)]
    plan = plan_of(goal, then, place, steps, 0, 0)

    def after(by: tuple[float, float, float], size: float = 0.2, **change: object) -> Surroundings:
        x, y, z = (a + b for a, b in zip(TRAY.solid.centre, by, strict=True))
        solid = Solid((x, y, z), 0.0, (size, *TRAY.solid.size[1:]))
        tray = dataclasses.replace(TRAY, id="t9", solid=solid)
        return dataclasses.replace(before, **{"others": (tray,), "destination_id": "t9", **change})

    for by in ((0.003, 0.003, 0.002), (0.02, 0.0, 0.0)):  # the chick is 7 cm from the edges
        check_plan_holds(then, goal, plan, before, after(by), CONFIG)
    check_plan_holds(then, goal, plan, before, after((0.003, 0.003, 0.002), 0.08), CONFIG)
    for changed, words in (
        (after((0.01, 0.0, 0.0), 0.08), r"the tray \(t1\) moved sideways by 0\.010 m .* placed on it"),
        (after((0.0, 0.0, 0.008)), r"the tray \(t1\) rose by 0\.008 m .* placed on it"),
        (after((0.0, 0.0, 0.0), destination_id=None), "no longer the place that the instruction names"),
    ):
        with pytest.raises(SceneChangedError, match=words):
            check_plan_holds(then, goal, plan, before, changed, CONFIG)


ORIGIN, OWN_AXES = np.zeros(3), np.eye(3)
NOTHING = np.zeros((2, 2, 2), np.bool_)


def screwdriver(share: float, seed: int, shaft: float = 0.12) -> np.ndarray:
    """(1000, 3) points of a thick handle 0.1 m long and of a thin shaft before it, which has this share of them."""
    rng, count = np.random.default_rng(seed), round(1000 * share)
    handle = rng.uniform((0.4, -0.015, 0.0), (0.5, 0.015, 0.03), (1000 - count, 3))
    # evenly along the shaft, as cells of a surface are
    thin = np.column_stack((np.linspace(0.4 - shaft, 0.4, count), rng.uniform(0.0, 0.004, (count, 2))))
    return np.concatenate((handle, thin)) + rng.normal(0.0, 0.0005, (1000, 3))


def seen_target(points: np.ndarray) -> SeenTarget:
    (x0, y0, low), (x1, y1, high) = np.quantile(points, [0.05, 0.95], axis=0).tolist()
    packed = TargetPoints.packed(points, np.tile((0.0, 0.0, 1.0), (len(points), 1)), NOTHING, (0.4, 0.0, 0.0), 0.01)
    surface = SeenSurface(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), low, high)
    return SeenTarget(surface, packed)


def along(now: SeenTarget, then: SeenTarget) -> tuple[float, float]:
    shifts = surface_shifts(then, now, ORIGIN, OWN_AXES)
    assert shifts is not None
    return float(shifts.low[0]), float(shifts.high[0])


def test_more_points_on_a_thin_part_are_no_shift() -> None:
    then, now = seen_target(screwdriver(0.045, 1)), seen_target(screwdriver(0.07, 2))
    ends = [min(x for x, _ in each.surface.outline) for each in (then, now) if each.surface is not None]
    assert ends[0] - ends[1] > 0.02  # of the surface
    assert max(map(abs, along(now, then))) < 0.002
    assert max(map(abs, along(then, now))) < 0.002
    assert (moved_by(then, now) or 0.0) < 0.003


@pytest.mark.parametrize("far", [-0.012, -0.008, 0.008, 0.012])
def test_a_target_with_a_thin_part_that_moved_along_it_shifted(far: float) -> None:
    then, moved = seen_target(screwdriver(0.045, 1)), seen_target(screwdriver(0.07, 2) + np.array([far, 0.0, 0.0]))
    low, high = along(moved, then)
    assert high == pytest.approx(far, abs=0.002)
    assert max(abs(low), abs(high)) > 0.006
    assert (moved_by(then, moved) or 0.0) > abs(far) - 0.002


def test_a_part_that_is_new_is_a_shift_and_without_points_the_extents_of_the_surface_count() -> None:
    """Points without a partner in the other image: the surface is not the same, so its extents count."""
    then, now = seen_target(screwdriver(0.02, 1, 0.02)), seen_target(screwdriver(0.07, 2))
    assert max(map(abs, along(now, then))) > 0.02
    assert max(map(abs, along(then, now))) > 0.02
    then, now = (dataclasses.replace(seen_target(screwdriver(*how)), points=None) for how in ((0.045, 1), (0.07, 2)))
    assert max(map(abs, along(now, then))) > 0.02
    assert surface_shifts(dataclasses.replace(then, surface=None), now, ORIGIN, OWN_AXES) is None
