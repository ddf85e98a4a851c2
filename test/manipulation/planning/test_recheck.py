# SPDX-License-Identifier: Apache-2.0
"""Whether an approved plan still holds, and obstacles without a name: borders, and an independent judge of contact."""

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from planning_scenes import CLEAR, SEEN, Array, box, config, gripper_points, inside, path, placed, table_with, tip_axes
from test_pick_sequence import ANSWER, Cell, seen_but

from spatial_vlm_ros.errors import DepthError, GoalError, SceneChangedError
from spatial_vlm_ros.manipulation.grasping.search import SEEN_SIGMA
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.occupancy.measuring import (
    BESIDE,
    INSIDE,
    MEASURED,
    UNSEEN,
    Occupancy,
    changed_since,
    spaces_of,
)
from spatial_vlm_ros.manipulation.occupancy.unseen import HiddenSpace
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, PlaceGoal, Rejection
from spatial_vlm_ros.manipulation.planning.gripper import Tip, links
from spatial_vlm_ros.manipulation.planning.motion import check_way_seen
from spatial_vlm_ros.manipulation.planning.pick import came_and_went, pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, PICK, PLACE, MotionPlan, PlanStep, Trajectory, plan_of
from spatial_vlm_ros.manipulation.planning.scene import (
    AllowedContact,
    PlanningObject,
    PlanningScene,
    Way,
    contact_chances,
    judged,
    planning_scene,
)
from spatial_vlm_ros.manipulation.planning.solids import Solid, TurnedBox, gaps
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface, SurroundingObject, Surroundings
from spatial_vlm_ros.manipulation.recheck import check_clearance, check_plan_holds, check_same
from spatial_vlm_ros.manipulation.recheck_grasp import (
    SeenTarget,
    as_held,
    check_grasp,
    moved_by,
    surface_shifts,
    target_in_grasp,
)
from spatial_vlm_ros.parameters import ObservationConfig, PlanningConfig
from spatial_vlm_ros.types import Status

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
def test_a_change_may_use_the_clearance_not_the_padding(closing: float, across: float, up: float, stands: bool) -> None:
    assert GRASP.way == "top_down"
    now = shifted(closing * AXES[:, 1] + across * AXES[:, 0] + [0.0, 0.0, up])
    if stands:
        check_grasp(THEN, now, GRASP, CONFIG)
        return
    with pytest.raises(SceneChangedError, match="the chick") as caught:
        check_grasp(THEN, now, GRASP, CONFIG)
    assert caught.value.moved == pytest.approx(max(abs(closing), abs(across), abs(up)), abs=1e-6)


@pytest.mark.parametrize(("across", "stands"), [(0.015, True), (-0.015, True), (0.019, False)])
def test_a_target_of_known_radius_may_shift_as_far_as_friction_holds_it(across: float, stands: bool) -> None:
    """6 mm of the pads' half width, and 25 mm times the sine of 28°."""
    around = np.linspace(0.0, math.tau, 400)
    points = np.column_stack((0.4 + 0.025 * np.cos(around), 0.02 * np.sin(around), np.full(400, 0.04)))
    packed = TargetPoints.packed(points, np.tile((0.0, 0.0, 1.0), (400, 1)), NOTHING, (0.4, 0.0, 0.0), 0.001)
    then = with_target(THEN, dataclasses.replace(THEN.target, seen=packed))
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match="they do not hold it"):
        check_grasp(then, shifted(across * AXES[:, 0], then), GRASP, CONFIG)


@pytest.mark.parametrize(("beyond", "stands"), [(-1e-4, True), (1e-4, False)])
def test_a_hand_that_opened_wider_leaves_more_room_unless_it_closes_on_a_part(beyond: float, stands: bool) -> None:
    wide = dataclasses.replace(GRASP, opening=GRASP.needed + 0.02)
    now = shifted((BY_CLOSING + 0.01 + beyond) * AXES[:, 1])
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match="may touch it"):
        check_grasp(THEN, now, wide, CONFIG)
    with pytest.raises(SceneChangedError, match="not where the fingers close"):
        check_grasp(THEN, now, dataclasses.replace(wide, closes_on="surface"), CONFIG)


@pytest.mark.parametrize(("foot", "top", "stands"), [(0.03, 0.0, True), (0.0, 0.02, False), (0.0, -0.02, False)])
def test_from_above_a_part_stays_where_its_top_is_seen(foot: float, top: float, stands: bool) -> None:
    solid = THEN.target.solid
    low, high = solid.bottom + foot, solid.top + top
    x, y, _ = solid.centre
    other = Solid((x, y, (low + high) / 2), solid.yaw, (*solid.size[:2], high - low))
    now = with_target(THEN, dataclasses.replace(THEN.target, solid=other))
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match=r"20\.0 mm along the approach"):
        check_grasp(THEN, now, dataclasses.replace(GRASP, closes_on="surface"), CONFIG)


@pytest.mark.parametrize(("gap", "stands"), [(GOAL.ample / 2 + 1e-3, True), (GOAL.ample / 2 - 1e-3, False)])
def test_a_hand_that_opened_wider_keeps_half_of_what_was_ample_from_neighbours(gap: float, stands: bool) -> None:
    grasp = dataclasses.replace(GRASP, opening=GRASP.needed + 0.02)
    away = grasp.opening / 2 + CONFIG.gripper.finger_thickness + gap + 0.01
    x, y, _ = (np.array(THEN.target.solid.centre) + away * AXES[:, 1]).tolist()
    now = dataclasses.replace(THEN, neighbours=(box("can", x, y, (0.02, 0.02, 0.02)),))
    narrow = dataclasses.replace(grasp, needed=grasp.opening)
    assert holds(THEN, now, dataclasses.replace(PICKED, grasps=(grasp, *PICKED.grasps[1:])), PLANNED) == stands
    assert holds(THEN, now, dataclasses.replace(PICKED, grasps=(narrow, *PICKED.grasps[1:])), PLANNED)


def test_a_wide_hand_whose_palm_is_as_near_when_it_opens_less_needs_no_more_room() -> None:
    """Beside the palm's thick side, 5 mm from it, and farther from the fingers."""
    grasp = dataclasses.replace(GRASP, opening=GRASP.needed + 0.02)
    away, tall = CONFIG.gripper.palm_thickness / 2 + 0.005 + 0.01, 0.2
    x, y, _ = (np.array(THEN.target.solid.centre) + away * AXES[:, 0]).tolist()
    now = dataclasses.replace(THEN, neighbours=(box("can", x, y, (0.02, 0.02, tall), math.atan2(*AXES[1::-1, 0])),))
    assert holds(THEN, now, dataclasses.replace(PICKED, grasps=(grasp, *PICKED.grasps[1:])), PLANNED)


def test_what_came_between_the_open_fingers_is_not_pushed() -> None:
    thin = table_with(target(size=(0.05, 0.012, 0.06)))
    goal, plan = planned(thin)
    grasp, pin = dataclasses.replace(goal.grasps[0], opening=0.08), box("pin", 0.4, 0.017, (0.004, 0.004, 0.03))
    goal = dataclasses.replace(goal, grasps=(grasp, *goal.grasps[1:]))
    check_clearance(thin, thin, goal, plan, CONFIG)
    with pytest.raises(SceneChangedError, match="phase 'close' is no longer clear: the pin"):
        check_clearance(thin, dataclasses.replace(thin, neighbours=(pin,)), goal, plan, CONFIG)


@pytest.mark.parametrize(("by", "view", "stands"), [(0.008, -1.0, True), (0.016, -1.0, False), (0.008, 1.0, False)])
def test_towards_the_camera_a_target_may_shift_as_far_as_depth_shows(by: float, view: float, stands: bool) -> None:
    """The box is 2 cm wider than what was measured; 5 mm more, and a finger would press on that."""
    x, y, z = (
        axis.ravel() for axis in np.meshgrid(np.linspace(0.38, 0.42, 30), (-0.01, 0.01), np.linspace(0.02, 0.055, 15))
    )
    then, now = (seen_target(np.column_stack((x, y + moved, z))) for moved in (0.0, by))
    before, after = (
        with_target(THEN, dataclasses.replace(THEN.target, seen=points, surface=each.surface))
        for each in (then, now)
        for points in (dataclasses.replace(each.points, along=(0.0, view)),)
    )
    with contextlib.nullcontext() if stands else pytest.raises(SceneChangedError, match="may touch it"):
        check_grasp(before, after, GRASP, CONFIG)


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
def test_a_target_that_was_turned_or_resized_is_refused_with_what_the_gripper_would_do(change: Any, words: str) -> None:
    with pytest.raises(SceneChangedError, match=words):
        check_grasp(THEN, with_target(THEN, dataclasses.replace(THEN.target, **change)), GRASP, CONFIG)
    with pytest.raises(SceneChangedError, match="cut off"):
        check_grasp(THEN, dataclasses.replace(THEN, truncated=True), GRASP, CONFIG)


def test_a_box_whose_sides_are_named_the_other_way_round_is_the_same() -> None:
    padding = (PADDED[1], PADDED[0], PADDED[2])
    swapped = PlanningObject("chick", "chick", Solid((0.4, 0.0, 0.03), math.pi / 2, (0.04, 0.05, 0.06)), padding)
    assert holds(THEN, with_target(THEN, swapped), PICKED, PLANNED)
    off = table_with(target(0.4, 0.003, yaw=0.2)).target  # what is held is in the middle of the fingers
    held = dataclasses.replace(off, solid=as_held(THEN, table_with(off), GRASP))
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
        centre = tuple(around[0].solid.centre + np.append(rng.normal(0.0, 0.02, 2), 0.0))
        moved = dataclasses.replace(around[0], solid=dataclasses.replace(around[0].solid, centre=centre))
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
        solid = Solid((0.4, 0.2 - gap + left, 0.075), 0.0, (0.04, 0.04, 0.15))
        moved = dataclasses.replace(then.neighbours[0], solid=solid)
        assert holds(then, dataclasses.replace(then, neighbours=(moved,)), goal, plan) is stands


TRAY = SurroundingObject("t1", "tray", Solid((0.4, 0.3, 0.005), 0.0, (0.2, 0.15, 0.01)), (0.001,) * 3)


def test_what_the_target_is_put_on_has_to_be_where_it_was() -> None:
    chick = SurroundingObject("chick", "chick", Solid((0.4, 0.0, 0.03), 0.0, SIZE), PADDED)
    before = dataclasses.replace(
        SEEN, frame_id="base_link", stamp_ns=1_000, target=chick, outline=(), others=(TRAY,), destination_id="t1"
    )
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


EDGE = 0.01


def voxels(*boxes: tuple[tuple[float, float, float], tuple[float, float, float]]) -> VoxelBlocks:
    """The voxels between least and greatest corners, metres."""
    cells = [
        np.argwhere(np.ones(np.rint((np.array(high) - low) / EDGE).astype(int))) + np.rint(np.array(low) / EDGE)
        for low, high in boxes
    ]
    return voxels_at(np.concatenate(cells).astype(np.int32), EDGE)


def occupied(measured: VoxelBlocks, unseen: VoxelBlocks | None = None) -> Occupancy:
    return Occupancy(measured, CLEAR.unseen if unseen is None else unseen, 1.0)


def with_occupancy(scene: PlanningScene, occupancy: Occupancy | None) -> PlanningScene:
    return dataclasses.replace(scene, occupancy=occupancy)


NEAR = voxels(((0.37, 0.04, 0.0), (0.43, 0.08, 0.1)))  # beside the target, which is 0.38 to 0.42 and -0.02 to 0.02 wide
CHICK = target()
WALL = voxels(((0.3, 0.15, 0.0), (0.5, 0.17, 0.3)))


def test_a_slanted_gripper_keeps_away_from_what_has_no_name() -> None:
    c = math.sqrt(0.5)
    pose = np.array([[1.0, 0.0, 0.0, 0.4], [0.0, c, -c, 0.16], [0.0, c, c, 0.1], [0.0, 0.0, 0.0, 1.0]])  # in the wall
    beside = pose.copy()
    beside[1, 3] = 0.08
    ways = [Way("slanted", (TurnedBox(at, (0.02, 0.1, 0.02)),)) for at in (pose, beside)]
    inside, clear = judged(with_occupancy(table_with(target()), occupied(WALL)), ways, (), CONFIG.goal)
    assert isinstance(inside, Rejection)
    assert (inside.kind, inside.by) == ("blocked", MEASURED)
    assert clear == pytest.approx(0.07 - 0.06 * c, abs=1e-6), "as far as its edge is from the wall"


def test_space_has_three_parts_under_names_of_its_own() -> None:
    parts = {space.id: space for space in spaces_of(occupied(NEAR, WALL), CHICK.solid)}
    assert set(parts) == {MEASURED, BESIDE, UNSEEN}
    assert all(id_.startswith("occupancy/") for id_ in parts)
    beside, far = parts[BESIDE].boxes, parts[MEASURED].boxes
    assert max(part.centre[1] + part.size[1] / 2 for part in beside) <= 0.05 + 1e-9
    assert min(part.bottom for part in beside) < 0.01
    assert max(part.top for part in far) > 0.09, "what is higher than the target is not beside it"
    assert spaces_of(None, CHICK.solid) == spaces_of(CLEAR, CHICK.solid) == ()


def test_what_is_measured_in_the_destination_is_a_part_that_the_target_may_touch_when_lowered() -> None:
    target_box, space = Solid((0.0, 0.0, 0.03), 0.0, (0.05, 0.04, 0.06)), Solid((0.4, 0.16, 0.05), 0.0, (0.3, 0.1, 0.1))
    parts = {part.id: part for part in spaces_of(occupied(WALL), target_box, space)}
    assert set(parts) == {INSIDE, MEASURED}
    assert max(box.top for box in parts[INSIDE].boxes) == pytest.approx(0.1)
    assert min(box.bottom for box in parts[MEASURED].boxes) == pytest.approx(0.1)
    scene = dataclasses.replace(with_occupancy(table_with(target()), occupied(WALL)), entered=space)
    clear, there = Solid((0.4, -0.4, 0.2), 0.0, (0.02, 0.02, 0.02)), Solid((0.4, 0.16, 0.05), 0.0, (0.04, 0.04, 0.04))
    ways = [Way("top_down", (clear,), (there,), lowered=True), Way("top_down", (clear,), (there,)),
            Way("top_down", (there,), (), lowered=True)]  # fmt: skip
    lowered, other, gripper = judged(scene, ways, (), CONFIG.goal)
    assert not isinstance(lowered, Rejection)
    assert isinstance(other, Rejection)
    assert isinstance(gripper, Rejection)
    assert "the rim or the contents of the place" in gripper.words


def test_unseen_space_that_is_nearer_does_not_take_away_the_clearance_from_what_is_measured() -> None:
    near = voxels(((0.39, 0.1, 0.1), (0.41, 0.11, 0.12)))  # 3 mm from the gripper; unseen space is 1 mm from it
    hidden = voxels(((0.39, 0.08, 0.1), (0.41, 0.09, 0.12)))
    scene = with_occupancy(table_with(target()), occupied(near, hidden))
    way = Way("top_down", (Solid((0.4, 0.094, 0.11), 0.0, (0.01, 0.006, 0.01)),))
    (found,) = judged(scene, [way], (), CONFIG.goal)
    assert isinstance(found, Rejection)
    assert found.by == MEASURED


def test_grasps_keep_away_from_what_has_no_name() -> None:
    scene = table_with(CHICK)
    free = pick_goal(scene, CONFIG).grasps
    goal = pick_goal(with_occupancy(scene, occupied(NEAR)), CONFIG)
    assert 0 < len(goal.grasps) < len(free)
    assert any(r.by in (MEASURED, BESIDE) and "without a name" in r.words for r in goal.rejected)
    assert all(grasp.clearance >= SEEN_SIGMA - 1e-9 for grasp in goal.grasps)
    best = pick_goal(with_occupancy(scene, occupied(WALL)), CONFIG).grasps[0]
    assert best.clearance < min(0.15, gaps([CHICK.solid], WALL.as_boxes()).min()), "that of the nearest box"
    around = voxels(
        ((0.34, -0.06, 0.0), (0.46, -0.03, 0.1)), ((0.34, 0.03, 0.0), (0.46, 0.06, 0.1)),
        ((0.34, -0.03, 0.0), (0.365, 0.03, 0.1)), ((0.435, -0.03, 0.0), (0.46, 0.03, 0.1)),
    )  # fmt: skip
    ledge = voxels(((0.39, -0.02, 0.1), (0.41, 0.02, 0.12)))
    unseen = voxels(((0.3, -0.1, 0.1), (0.5, 0.1, 0.2)))  # in the way without a clearance of its own
    for occupancy, words in (
        (occupied(around), "without a name"),
        (occupied(ledge), "an object without a name is above it"),
        (occupied(CLEAR.measured, unseen), "does not see"),
    ):
        with pytest.raises(GoalError, match=words):
            pick_goal(with_occupancy(scene, occupancy), CONFIG)


def test_grasps_that_enter_what_is_hidden_and_rather_free_are_the_last() -> None:
    scene, half = table_with(CHICK), voxels(((0.3, 0.0, 0.0), (0.39, 0.2, 0.3)))
    hidden = dataclasses.replace(CLEAR, hidden=(HiddenSpace(0.2, half),))
    grasps = pick_goal(with_occupancy(scene, hidden), CONFIG).grasps
    assert len(grasps) == len(pick_goal(scene, CONFIG).grasps), "nothing is refused"
    ways = [came_and_went(grasp.way, Tip.of(grasp.grasp), grasp.opening, CONFIG, grasp.width) for grasp in grasps]
    chances = contact_chances(with_occupancy(scene, hidden), ways)
    assert chances == sorted(chances)
    assert set(chances) == {0.0, 0.2}
    assert [dict(grasp.terms)["unseen"] for grasp in grasps] == [1 - chance for chance in chances]
    nested = dataclasses.replace(hidden, hidden=(HiddenSpace(0.2, half), HiddenSpace(0.1, half)))
    assert contact_chances(with_occupancy(scene, nested), ways) == chances, "it reaches so far, or not: no sum"


def test_the_target_may_touch_what_is_beside_it_while_it_is_lifted_and_nothing_else_may() -> None:
    surroundings = dataclasses.replace(SEEN, occupancy=occupied(NEAR))
    scene = planning_scene(surroundings, CONFIG)
    assert {c for c in scene.allowed if c.other in (BESIDE, UNSEEN)} == {
        AllowedContact("c1", other, "lift") for other in (BESIDE, UNSEEN)
    }
    assert not any(contact.other == MEASURED for contact in scene.allowed)
    without = planning_scene(dataclasses.replace(SEEN, occupancy=None), CONFIG)
    assert not any(contact.other == BESIDE for contact in without.allowed)


def test_what_noise_moves_by_a_voxel_is_no_change_and_a_hand_is() -> None:
    then = occupied(WALL)
    jitter = voxels_at(WALL.indices + np.array([1, -1, 1]), EDGE)
    assert len(changed_since(then, occupied(jitter)).measured) == 0
    hand = voxels(((0.4, -0.1, 0.1), (0.45, -0.05, 0.15)))
    both = voxels_at(np.concatenate((jitter.indices, hand.indices)), EDGE)
    assert np.array_equal(changed_since(then, occupied(both)).measured.indices, hand.indices)
    assert changed_since(None, occupied(hand)).measured == hand
    doubted = dataclasses.replace(CLEAR, hidden=(HiddenSpace(0.4, WALL),))
    assert len(changed_since(doubted, occupied(CLEAR.measured, WALL)).unseen) == 0, "it was counted as possible"


def rechecked(before: Occupancy, after: Occupancy | None) -> None:
    """Recheck a plan that was made with one occupancy in an image with another."""
    first = dataclasses.replace(SEEN, occupancy=before)
    then = planning_scene(first, CONFIG)
    goal, plan = planned(then)
    check_plan_holds(then, goal, plan, first, dataclasses.replace(SEEN, occupancy=after), CONFIG)


def test_the_recheck_finds_what_has_come_into_the_way() -> None:
    away = voxels(((0.2, -0.3, 0.0), (0.3, -0.25, 0.1)))
    rechecked(occupied(away), occupied(away))
    rechecked(occupied(away), occupied(voxels_at(away.indices + 1, EDGE)))
    rechecked(occupied(away), CLEAR)
    hand = voxels(((0.42, -0.05, 0.08), (0.5, 0.05, 0.13)))
    with pytest.raises(SceneChangedError, match="without a name"):
        rechecked(occupied(away), occupied(voxels_at(np.concatenate((away.indices, hand.indices)), EDGE)))


OVER = SurroundingObject("can", "can", Solid((0.45, 0.0, 0.12), 0.0, (0.06, 0.06, 0.06)), (0.001,) * 3)
UNDER = SurroundingObject("b1", "book", Solid((0.45, 0.0, -0.01), 0.3, (0.1, 0.1, 0.02)), (0.001,) * 3)
AWAY = SurroundingObject("can", "can", Solid((0.2, -0.4, 0.05), 0.0, (0.06, 0.06, 0.1)), (0.001,) * 3)


@pytest.mark.parametrize(
    ("before", "later", "words"),
    [
        pytest.param((), (OVER,), "the can", id="new, in the way"),
        pytest.param((), (AWAY,), "", id="new, far away"),
        pytest.param((OVER,), (), "the can", id="not detected again, in the way"),
        pytest.param((OVER,), (AWAY,), "the can", id="another one is somewhere else"),
        pytest.param((UNDER,), (), "", id="the target may touch what it stands on"),
        pytest.param((AWAY,), (), "", id="not detected again, far away"),
    ],
)
def test_other_objects_count_only_in_the_way_and_stay_where_they_were_seen(
    before: tuple[SurroundingObject, ...], later: tuple[SurroundingObject, ...], words: str
) -> None:
    """The whole arm is checked; otherwise each of these is refused."""
    first = dataclasses.replace(SEEN, others=before)
    goal, plan = planned(planning_scene(dataclasses.replace(SEEN, others=()), CONFIG))
    there = occupied(voxels(((0.17, -0.43, 0.0), (0.23, -0.37, 0.1))))  # in the box of what is far away
    now = dataclasses.replace(SEEN, others=later, occupancy=there, stamp_ns=first.stamp_ns + 1)
    with pytest.raises(SceneChangedError):
        check_same(first, ANSWER, now, CONFIG.observation)
    check_same(first, ANSWER, now, CONFIG.observation, anywhere=False)
    with pytest.raises(SceneChangedError, match=words) if words else contextlib.nullcontext():
        check_plan_holds(planning_scene(first, CONFIG), goal, plan, first, now, CONFIG)


@pytest.mark.parametrize("by", [(0.03, 0.0, 0.0), (0.0, 0.0, 0.03), (0.0, 0.0, -0.03)])
def test_a_table_that_moved_with_all_that_stands_on_it_is_refused(by: tuple[float, float, float]) -> None:
    x, y, z = np.add(SEEN.target.solid.centre, by).tolist()
    target = dataclasses.replace(SEEN.target, solid=dataclasses.replace(SEEN.target.solid, centre=(x, y, z)))
    after = dataclasses.replace(SEEN, stamp_ns=SEEN.stamp_ns + 1, target=target, others=(), support_height=by[2])
    with pytest.raises(SceneChangedError, match=r"the chick \(c1\) moved by 0\.030 m"):
        check_same(SEEN, ANSWER, after, CONFIG.observation, anywhere=False)
    then = planning_scene(SEEN, CONFIG)  # what is held does not move with it
    goal = dataclasses.replace(pick_goal(then, CONFIG), held=True)
    place = place_goal(then, placed(then.target, (0.4, -0.2, 0.0, 0.0), frame="base"), goal.grasps[0], CONFIG)
    steps = [PlanStep(p, None, goal.grasps[0].opening) if p in GRIPS else PlanStep(p, REST) for p in PLACE]
    plan = plan_of(goal, then, place, steps, 0, 0)
    with (
        pytest.raises(SceneChangedError, match=r"the support (rose|sank) by 0\.030 m")
        if by[2]
        else contextlib.nullcontext()
    ):
        check_plan_holds(then, goal, plan, SEEN, after, CONFIG)


@pytest.mark.parametrize("held", [True, False])
def test_what_is_held_is_not_looked_for_on_the_table(held: bool) -> None:
    then = planning_scene(SEEN, CONFIG)
    goal, plan = planned(then)
    goal, gone = dataclasses.replace(goal, held=held), dataclasses.replace(CHICK.solid, centre=(0.5, 0.3, 0.03))
    now = dataclasses.replace(SEEN, target=dataclasses.replace(SEEN.target, solid=gone), truncated=True, outline=())
    with contextlib.nullcontext() if held else pytest.raises(SceneChangedError, match="cut off"):
        check_plan_holds(then, goal, plan, SEEN, now, CONFIG)


def test_where_depth_of_the_way_was_lost_nothing_moves() -> None:
    with pytest.raises(DepthError, match="no depth of the way"):
        rechecked(CLEAR, None)
    with pytest.raises(DepthError, match="10%"):
        rechecked(CLEAR, dataclasses.replace(CLEAR, seen_share=0.1))
    with pytest.raises(DepthError):
        check_way_seen(dataclasses.replace(SEEN, occupancy=dataclasses.replace(CLEAR, seen_share=float("nan"))),
                       ObservationConfig())  # fmt: skip
    assert Cell(seen_but(occupancy=None)).run(plan_only=True).status is Status.OK


LOW = box("block", 0.4, 0.0, (0.04, 0.04, 0.03))
RING = voxels(((0.44, 0.14, 0.0), (0.46, 0.36, 0.06)), ((0.64, 0.14, 0.0), (0.66, 0.36, 0.06)),
              ((0.46, 0.14, 0.0), (0.64, 0.16, 0.06)), ((0.46, 0.34, 0.0), (0.64, 0.36, 0.06)))  # fmt: skip
"""The walls of a crate, 18 cm wide inside and 6 cm high: too narrow for the hand, whose palm is 20.8 cm wide."""


def into_the_crate(rim: float | None, **goal: float) -> PlaceGoal:
    scene = with_occupancy(table_with(LOW), occupied(RING))
    asked = placed(LOW, (0.55, 0.25, 0.005, 0.0), rim=rim)
    return place_goal(scene, asked, pick_goal(table_with(LOW), config()).grasps[0], config(goal=goal))


def test_what_a_hand_cannot_put_into_a_container_falls_into_it_from_no_higher_than_needed() -> None:
    goal = into_the_crate(rim=0.055)
    best = goal.placements[0]
    assert best.release == pytest.approx(0.015), "and not at 5 mm"
    assert best.obj.position == pytest.approx((0.55, 0.25, 0.005 + 0.015 + 0.015))
    palm = best.place.position[2] + 0.0469 - 0.0095
    assert palm - 0.01 < 0.065 <= palm, "5 mm above the walls, and a step lower it would not be"
    assert {each.release for each in goal.placements} == {best.release}
    assert {(each.kind, each.by) for each in goal.rejected} == {("blocked", MEASURED)}


@pytest.mark.parametrize(
    ("rim", "goal"),
    [
        pytest.param(None, {}, id="a container is not known"),
        pytest.param(0.012, {}, id="its foot would be above the rim"),
        pytest.param(0.055, {"drop": 0.01}, id="farther than is allowed"),
        pytest.param(0.055, {"drop": 0.0}, id="nothing may fall"),
    ],
)
def test_nothing_falls_beside_a_container_or_too_far(rim: float | None, goal: dict[str, float]) -> None:
    with pytest.raises(GoalError, match="an object without a name is in the way"):
        into_the_crate(rim, **goal)
    asked = placed(LOW, (0.55, 0.25, 0.005, 0.0), rim=rim)
    free = place_goal(table_with(LOW), asked, pick_goal(table_with(LOW), config()).grasps[0], config())
    assert {each.release for each in free.placements} == {0.005}, "what can be put down does not fall"


@pytest.mark.parametrize(("aside", "drop", "release"), [(0.02, 0.02, 0.011), (0.1, 0.02, 0.02), (0.1, 0.0, 0.005)])
def test_what_is_held_far_from_its_middle_hangs_lower_and_is_released_higher(
    aside: float, drop: float, release: float
) -> None:
    grasp, asked = pick_goal(table_with(LOW), config()).grasps[0], placed(LOW, (0.55, 0.25, 0.005, 0.0))
    held = table_with(box("block", 0.4 + aside, 0.0, (0.04, 0.04, 0.03)))
    best = place_goal(held, asked, grasp, config(goal={"drop": drop})).placements[0]
    assert best.release == pytest.approx(release)
    ceiling = best.pre_place.position[2] - 0.003
    low = config(goal={"drop": drop}, workspace={"z_max": ceiling})
    with contextlib.nullcontext() if release > 0.005 else pytest.raises(GoalError, match="workspace"):
        assert place_goal(held, asked, grasp, low).placements[0].release == 0.005, "as low as before if it must be"
