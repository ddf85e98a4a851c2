# SPDX-License-Identifier: Apache-2.0
"""Grasps on measured surfaces of objects that are known exactly, judged by points of the gripper and the object."""

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from planning_scenes import Array, box, config, gripper_points, path, table_with
from tables import tables

from spatial_vlm_ros.errors import GoalError, InputError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.grasping.hand_view import hidden_risk
from spatial_vlm_ros.manipulation.grasping.search import SurfaceGrasp, surface_grasps
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints, surface_cells, target_points, upper_circle
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.planning.goal import WEIGHTS, Grasp, PickGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.parameters import PlanningConfig, ResolverConfig
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform

CONFIG = config(grasp={"headings": 6})  # half of the usual ones, in half of the time
NOTHING = np.zeros((1, 1, 1), np.bool_)


def ring(radius: float, low: float, high: float, inwards: bool = False) -> tuple[Array, Array]:
    """Points and normals of an upright cylinder's side around (0.5, 0)."""
    angle, z = np.meshgrid(np.arange(0, math.tau, 0.003 / radius), np.arange(low, high, 0.003))
    out = np.stack((np.cos(angle), np.sin(angle), np.zeros_like(angle)), axis=-1).reshape(-1, 3)
    points = out * radius + np.array([0.5, 0.0, 0.0])
    points[:, 2] = z.reshape(-1)
    return points, -out if inwards else out


def disc(radius: float, z: float) -> tuple[Array, Array]:
    """The same of a level disc that looks up."""
    x, y = (a.reshape(-1) for a in np.meshgrid(*[np.arange(-radius, radius, 0.003)] * 2))
    on = np.hypot(x, y) < radius
    points = np.column_stack((x[on] + 0.5, y[on], np.full(on.sum(), z)))
    return points, np.tile((0.0, 0.0, 1.0), (len(points), 1))


def slab(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[Array, Array]:
    points, normals = [], []
    for axis in range(3):
        u, v = (k for k in range(3) if k != axis)
        a, b = np.meshgrid(np.arange(low[u], high[u] + 1e-9, 0.003), np.arange(low[v], high[v] + 1e-9, 0.003))
        for sign, at in ((-1.0, low[axis]), (1.0, high[axis])):
            face, normal = np.empty((a.size, 3)), np.zeros(3)
            face[:, axis], face[:, u], face[:, v], normal[axis] = at, a.reshape(-1), b.reshape(-1), sign
            points.append(face)
            normals.append(np.tile(normal, (a.size, 1)))
    return np.concatenate(points), np.concatenate(normals)


def seen(*parts: tuple[Array, Array]) -> TargetPoints:
    """Everything of an object is seen, nothing is hidden; thinned to what may be sent."""
    points, normals = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    step = math.ceil(len(points) / 4000)
    return TargetPoints.packed(points[::step], normals[::step], NOTHING, (0.5, 0.0, 0.0), 0.004)


def scene_of(size: tuple[float, float, float], surface: TargetPoints, *others: object) -> PlanningScene:
    target = dataclasses.replace(box("it", 0.5, 0.0, size), seen=surface)
    return table_with(target, *others, yaw_known=False)  # type: ignore[arg-type]


def mug(outer: float = 0.05, wall: float = 0.004, height: float = 0.1) -> PlanningScene:
    surface = seen(ring(outer, 0.0, height), ring(outer - wall, 0.005, height, True), disc(outer - wall, 0.005))
    return scene_of((2 * outer, 2 * outer, height), surface)


def free_of(goal: PickGoal, solid: object, setting: PlanningConfig = CONFIG) -> None:
    """No point of the open gripper is inside the object, on all of the straight way to the grasp."""
    for grasp in goal.grasps:
        points = gripper_points(setting.gripper, grasp.opening, 9)
        for there in path(points, grasp.pre_grasp, grasp.grasp, steps=12):
            assert not solid(there).any(), grasp.way  # type: ignore[operator]
            assert there[:, 2].min() > 0.004, "off the table"


def inside_mug(points: Array) -> Array:
    far = np.hypot(points[:, 0] - 0.5, points[:, 1])
    low = (points[:, 2] > 0) & (points[:, 2] < 0.1)
    return np.asarray(low & (far < 0.05) & ((far > 0.046) | (points[:, 2] < 0.005)))


def test_only_what_hardly_bulges_below_its_upper_edge_is_as_round_as_it() -> None:
    def half_ball(cut: float, above: float) -> Array:
        angle, up = np.meshgrid(np.arange(0, math.tau, 0.05), np.linspace(-1.2, cut, 60))
        ball = np.column_stack(
            [(0.04 * np.cos(up) * f(angle)).reshape(-1) for f in (np.cos, np.sin)] + [0.04 * np.sin(up).reshape(-1)]
        )
        return np.asarray(ball[(ball[:, 0] < 0.0) | (ball[:, 2] > above)])

    assert upper_circle(half_ball(0.9, 0.023), None) is None
    found = upper_circle(half_ball(0.5, 0.015), None)
    assert found == (pytest.approx(0.0, abs=0.003), pytest.approx(0.0, abs=0.003), pytest.approx(0.038, abs=0.002))
    handle = np.column_stack((np.linspace(0.03, 0.06, 20), np.zeros(20), np.zeros(20)))
    found = upper_circle(np.concatenate((ring(0.03, 0.0, 0.08)[0] - (0.5, 0.0, 0.0), handle)), None)
    assert found[2] == pytest.approx(0.03, abs=0.002)


def test_hidden_space_above_a_corner_of_a_box_does_not_hold_down_what_is_round() -> None:
    none = voxels_at(np.zeros((0, 3), np.int32), 0.01)
    for cells, held in (([(54, 4, 12)], False), ([(x, y, 12) for x in range(53, 56) for y in range(-2, 2)], True)):
        hidden = Occupancy(none, voxels_at(np.array(cells, np.int32), 0.01), 1.0)
        with pytest.raises(GoalError, match="is above it") if held else contextlib.nullcontext():
            pick_goal(dataclasses.replace(mug(), occupancy=hidden), CONFIG)


def test_a_fruit_wider_than_the_hand_has_no_rim_and_is_not_taken_by_its_stem() -> None:
    angle, up = (a.reshape(-1) for a in np.meshgrid(np.arange(0, math.tau, 0.06), np.linspace(-1.5, 1.5, 60)))
    out = np.stack((np.cos(up) * np.cos(angle), np.cos(up) * np.sin(angle), np.sin(up)), axis=-1)
    fruit = seen((0.042 * out + (0.5, 0.0, 0.042), out), ring(0.0025, 0.082, 0.11), disc(0.0025, 0.11))
    with pytest.raises(GoalError, match="deep enough"):
        pick_goal(scene_of((0.084, 0.084, 0.11), fruit), CONFIG)


@pytest.mark.parametrize(
    ("along", "opening", "risk"),
    [
        ((0.0, 1.0, 0.0), 0.05, math.exp(-5 / 20)),  # a finger comes down 5 mm behind a block 4 cm wide
        ((0.0, -0.6, 0.8), 0.08, 0.6 * math.exp(-20 / 20)),
        ((1.0, 0.0, 0.0), 0.05, 0.0),  # both fingers come down where the camera looks
        ((0.0, 0.0, 1.0), 0.05, 0.0),  # the palm comes from where it looks
        ((0.0, 0.0, -1.0), 0.05, math.exp(-20 / 15)),  # and from behind, 20 mm from a block 3 cm deep
    ],
)
def test_where_the_target_hides_itself_the_hand_may_press_on_it(along: Any, opening: float, risk: float) -> None:
    face = CONFIG.gripper.finger_beyond - CONFIG.gripper.finger_length
    x, y, z = np.meshgrid([-0.01, 0.0, 0.01], np.linspace(-0.02, 0.02, 9), face + np.linspace(0.02, 0.05, 7))
    block = np.column_stack((x.ravel(), y.ravel(), z.ravel()))
    assert hidden_risk(block, np.array(along), opening, CONFIG) == pytest.approx(risk, abs=1e-6)


def test_a_mug_wider_than_the_hand_is_taken_by_its_rim_in_different_ways_by_score() -> None:
    goal = pick_goal(mug(), CONFIG)
    assert {grasp.way for grasp in goal.grasps} == {"rim"}
    free_of(goal, inside_mug)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    for k, grasp in enumerate(goal.grasps):
        assert grasp.closes_on == "surface"
        away = np.array(grasp.grasp.position[:2]) - (0.5, 0.0)
        assert np.linalg.norm(away) == pytest.approx(0.048, abs=0.006)
        assert abs(away @ grasp.closing[:2]) / np.linalg.norm(away) > math.cos(math.radians(30))
        assert grasp.width == pytest.approx(0.004, abs=0.006)
        terms = dict(grasp.terms)
        seen_there, spare = terms.pop("hidden"), terms.pop("spare")
        assert terms.pop("unseen") == 1.0
        assert set(terms) == set(WEIGHTS)
        whole = spare * seen_there * sum(WEIGHTS[n] * v for n, v in terms.items())
        assert grasp.score == pytest.approx(whole, abs=1e-3)
        assert all(0 <= v <= 1 for _, v in grasp.terms)
        assert not any(alike(grasp, other) for other in goal.grasps[:k])
    assert [g.score for g in goal.grasps] == sorted((g.score for g in goal.grasps), reverse=True)
    slippery = grasps_of(mug(), config(grasp={"friction_deg": 1.0, "headings": 6}))
    assert len(slippery) < len(goal.grasps), "a weaker friction refuses more"


def alike(one: Grasp, other: Grasp) -> bool:
    turned = min(float(np.dot(one.approach, other.approach)), abs(float(np.dot(one.closing, other.closing))))
    near = math.dist(one.grasp.position, other.grasp.position) < CONFIG.grasp.apart
    return near and turned > math.cos(math.radians(20))


@pytest.mark.parametrize(
    ("part", "size"),
    [
        (((0.485, -0.02, 0.0), (0.515, 0.02, 0.12)), (0.03, 0.04, 0.09)),  # higher than its box
        (((0.48, -0.05, 0.0), (0.52, 0.05, 0.08)), (0.04, 0.04, 0.08)),  # longer
    ],
)
def test_the_open_hand_keeps_off_surface_that_reaches_out_of_the_box(part: tuple, size: tuple) -> None:
    goal = pick_goal(scene_of(size, seen(slab(*part))), CONFIG)
    assert {grasp.closes_on for grasp in goal.grasps} - {"surface"}, "grasps of the box are among them"
    low, high = np.array(part)
    free_of(goal, lambda points: ((points > low + 1e-6) & (points < high - 1e-6)).all(axis=1))


def test_the_hand_opens_wide_where_there_is_space_and_as_far_as_it_must_where_there_is_none() -> None:
    part = ((0.49, -0.03, 0.0), (0.51, 0.03, 0.08))
    alone = pick_goal(scene_of((0.02, 0.06, 0.08), seen(slab(*part))), CONFIG)
    assert all(grasp.opening == pytest.approx(CONFIG.gripper.opening_max) for grasp in alone.grasps)
    walls = [box(name, x, 0.0, (0.02, 0.3, 0.07)) for name, x in (("left", 0.44), ("right", 0.56))]
    between = pick_goal(scene_of((0.02, 0.06, 0.08), seen(slab(*part)), *walls), CONFIG)
    across = [grasp for grasp in between.grasps if abs(grasp.closing[0]) > 0.99]
    assert across
    for grasp in across:
        assert grasp.opening == grasp.needed < CONFIG.gripper.opening_max


def test_a_hand_does_not_open_over_what_its_closing_fingers_would_push() -> None:
    setting = config(gripper={"opening_max": 0.14, "finger_thickness": 0.012})
    part = ((0.49, -0.03, 0.0), (0.51, 0.03, 0.08))
    boards = [box(name, x, 0.0, (0.006, 0.1, 0.08)) for name, x in (("left", 0.467), ("right", 0.533))]
    alone, beside = (
        [g for g in pick_goal(scene_of((0.02, 0.06, 0.08), seen(slab(*part)), *around), setting).grasps
         if abs(g.closing[0]) > 0.99 and g.way == "top_down"]
        for around in ((), boards)
    )  # fmt: skip
    assert max(grasp.opening for grasp in alone) == pytest.approx(0.14)
    for grasp in beside:
        assert grasp.opening / 2 < 0.033 - 0.003, "no board is between the fingers"


def test_a_finger_that_opens_wide_inside_a_mug_keeps_its_clearance_from_the_other_wall() -> None:
    rims = [grasp for grasp in pick_goal(mug(0.037), CONFIG).grasps if grasp.way == "rim"]
    assert max(grasp.opening for grasp in rims) > rims[0].needed
    for grasp in rims:
        assert grasp.opening / 2 + CONFIG.gripper.finger_thickness < 0.068 - CONFIG.goal.jaw_clearance + 0.002


def slanted(radius: float, height: float, slope: float, inwards: bool = False) -> tuple[Array, Array]:
    """As `ring`, of a wall that runs outwards by `slope` radians on its way up; `radius` at its foot."""
    points, normals = ring(radius, 0.0, height, inwards)
    away = points[:, :2] - (0.5, 0.0)
    points[:, :2] = (0.5, 0.0) + away * (1 + points[:, 2:] * math.tan(slope) / radius)
    up = math.sin(slope) * (1.0 if inwards else -1.0)
    return points, np.column_stack((normals[:, :2] * math.cos(slope), np.full(len(points), up)))


def test_fingers_lie_along_the_slanted_wall_of_a_tumbler() -> None:
    slope, height = math.radians(12), 0.1
    surface = seen(slanted(0.045, height, slope), slanted(0.041, height, slope, True), disc(0.041, 0.005))
    wide = 2 * (0.045 + height * math.tan(slope))
    goal = pick_goal(scene_of((wide, wide, height), surface), CONFIG)
    off = [math.degrees(math.asin(abs(grasp.closing[2]))) for grasp in goal.grasps if grasp.way == "rim"]
    assert any(abs(angle - 12) < 4 for angle in off), off


def test_a_thick_ring_is_taken_by_its_wall_where_it_is_seen_to_be_open() -> None:
    thick, height = 0.026, 0.05
    open_ = seen(ring(0.06, 0.0, height), ring(0.06 - thick, 0.0, height, True), disc(0.06, height))
    inner = np.hypot(open_.points[:, 0] - 0.5, open_.points[:, 1]) > 0.06 - thick - 1e-3
    walls = seen((open_.points[inner].astype(float), open_.normals[inner].astype(float)), disc(0.06 - thick, 0.001))
    goal = pick_goal(scene_of((0.12, 0.12, height), walls), CONFIG)
    assert {grasp.way for grasp in goal.grasps} == {"rim"}


def test_a_can_is_enclosed_from_above_and_from_sides_unless_it_is_wider_than_the_hand() -> None:
    with pytest.raises(GoalError) as refused:
        pick_goal(scene_of((0.1, 0.1, 0.1), seen(ring(0.05, 0.0, 0.1), disc(0.05, 0.1))), CONFIG)
    assert {kind for kind, _ in refused.value.reasons} <= {"too_wide", "not_opposite", "palm", "below_support"}
    assert "wide" in str(refused.value)
    goal = pick_goal(scene_of((0.06, 0.06, 0.1), seen(ring(0.03, 0.0, 0.1), disc(0.03, 0.1))), CONFIG)
    assert goal.grasps[0].way == "top_down"
    assert {"top_down", "side"} <= {grasp.way for grasp in goal.grasps}
    free_of(goal, lambda p: (np.hypot(p[:, 0] - 0.5, p[:, 1]) < 0.029) & (p[:, 2] < 0.099))
    on_surface = [grasp for grasp in goal.grasps if grasp.closes_on == "surface"]
    assert on_surface
    assert all(grasp.width == pytest.approx(0.06, abs=0.004) for grasp in on_surface)


def test_what_leaves_a_finger_less_room_than_wanted_is_taken_if_depth_knows_its_width_so_well() -> None:
    room = CONFIG.gripper.opening_max / 2 - CONFIG.goal.jaw_clearance  # greatest radius with the whole clearance
    scores = []
    for radius in (room - 0.002, room + 0.002, room + 0.0045):
        can = scene_of((2 * radius, 2 * radius, 0.1), seen(ring(radius, 0.0, 0.1), disc(radius, 0.1)))
        scores += [next((g.score for g in grasps_of(can) if g.way == "top_down"), 0.0)]
    assert scores[0] > 1.2 * scores[1] > 10 * scores[2], "and less gladly"


def grasps_of(scene: PlanningScene, setting: PlanningConfig = CONFIG) -> tuple[Grasp, ...]:
    with contextlib.suppress(GoalError):
        return pick_goal(scene, setting).grasps
    return ()


def test_a_pot_is_taken_by_its_handle() -> None:
    low, high = (0.55, -0.008, 0.06), (0.64, 0.008, 0.075)
    surface = seen(ring(0.06, 0.0, 0.1), disc(0.06, 0.1), slab(low, high))
    goal = pick_goal(scene_of((0.12, 0.12, 0.1), surface), CONFIG)
    assert {grasp.way for grasp in goal.grasps} == {"handle"}
    for grasp in goal.grasps:
        assert grasp.grasp.position[0] > 0.55
        assert grasp.width == pytest.approx(0.016, abs=0.006)


def test_the_sloping_wall_of_a_bowl_is_taken_at_a_slant_or_not_at_all() -> None:
    """A cone that opens by 40 degrees from upright: from straight above the fingers would slide off."""
    slope = math.radians(40)
    surface = seen(slanted(0.04, 0.06, slope), slanted(0.035, 0.06, slope, True), disc(0.04, 0.003))
    goal = pick_goal(scene_of((0.18, 0.18, 0.06), surface), CONFIG)
    assert goal.grasps
    for grasp in goal.grasps:
        assert grasp.approach[2] > -0.99
        assert dict(grasp.terms)["facing"] >= 0.0


def test_a_wall_around_the_mug_blocks_its_rim_by_name() -> None:
    fence = [
        box(f"wall{k}", 0.5 + 0.075 * math.cos(k * math.pi / 4), 0.075 * math.sin(k * math.pi / 4),
            (0.02, 0.06, 0.3), yaw=k * math.pi / 4) for k in range(8)
    ]  # fmt: skip
    surrounded = dataclasses.replace(mug(), neighbours=tuple(fence))
    with pytest.raises(GoalError, match=r"wall\d"):
        pick_goal(surrounded, CONFIG)


def test_a_deep_hidden_inside_counts_as_solid() -> None:
    """Of the mug only its outside is seen, and whatever is inside may be full."""
    n = 28
    centres = (np.stack(np.meshgrid(*[np.arange(n)] * 2, np.arange(25), indexing="ij"), -1) + 0.5) * 0.004
    filled = np.hypot(centres[..., 0] - 0.056, centres[..., 1] - 0.056) < 0.05
    points, normals = ring(0.05, 0.0, 0.1)
    full = TargetPoints.packed(points[::2], normals[::2], filled, (0.444, -0.056, 0.0), 0.004)
    with pytest.raises(GoalError, match="wide"):
        pick_goal(scene_of((0.1, 0.1, 0.1), full), CONFIG)


def test_points_survive_packing_to_a_tenth_of_a_millimetre() -> None:
    points, normals = ring(0.05, 0.0, 0.1)
    packed = TargetPoints.packed(points[:4000], normals[:4000], NOTHING, (0.5, 0.0, 0.0), 0.004)
    np.testing.assert_allclose(packed.points, points[:4000], atol=6e-5)
    assert (packed.normals * normals[:4000]).sum(axis=1).min() > 0.999
    packed = TargetPoints.packed(np.zeros((1, 3)), np.ones((1, 3)), np.ones((5, 5, 5), np.bool_), (0.0, 0.0, 0.0), 0.01)
    assert len(packed.hidden) == 5**3 - 3**3, "the skin of hidden space"
    assert packed.hidden.min() == pytest.approx(0.005)


@pytest.mark.parametrize(("field", "values"), tables(__file__)["no points"])
def test_arrays_that_do_not_belong_together_are_refused(field: str, values: list) -> None:
    good = TargetPoints.packed(*[a[:10] for a in ring(0.05, 0.0, 0.1)], NOTHING, (0.5, 0.0, 0.0), 0.004)
    for value in values:
        with pytest.raises(InputError, match="points of the target"):
            dataclasses.replace(good, **{field: tuple(value) if isinstance(value, list) else value})


def test_points_that_cannot_be_told_are_refused_and_not_changed() -> None:
    """Millimetres would have been cut off at 3.28 m, and NaN become a point at the origin."""
    points, normals = (array[:9] for array in ring(0.05, 0.0, 0.1))
    long = TargetPoints.packed(points, normals * 1000.0, NOTHING, (0.5, 0.0, 0.0), 0.004)
    np.testing.assert_allclose(long.normals, normals, atol=0.01)
    for of, value in ((0, 1000.0), (0, math.nan), (0, math.inf), (1, math.nan), (1, math.inf)):
        arrays = [points.copy(), normals.copy()]
        arrays[of][3] = value
        with pytest.raises(InputError, match="points of the target"):
            TargetPoints.packed(*arrays, NOTHING, (0.5, 0.0, 0.0), 0.004)


@pytest.mark.parametrize(("half", "told"), [(0.2, True), (1.4, True), (2.2, False)])
def test_what_is_seen_of_furniture_is_told_more_coarsely_or_not_at_all(half: float, told: bool) -> None:
    """An upright board 2 m high and 2 x half wide, 3.6 m ahead of the camera, which stands 1.2 m above the floor."""
    v, u = np.mgrid[:240, :320]
    across, down = (u - 160) / 250.0, (v - 120) / 250.0
    board = (np.abs(across) * 3.6 < half) & (down * 3.6 < 1.2) & (down * 3.6 > -0.8)
    board |= (np.abs(u - 160) < 1) & (down * 3.6 <= -0.8) & (down * 3.6 > -1.0)  # a stick, thin as the mask's rim
    floor = np.minimum(1.2 / np.maximum(down, 0.1), 12.0)
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], 1.2
    camera = PinholeCamera(np.array([[250.0, 0, 160], [0, 250.0, 120], [0, 0, 1]]), 320, 240)
    frame = RgbdFrame(
        np.zeros((240, 320, 3), np.uint8), np.where(board, 3.6, floor).astype(np.float32), camera, 1,
        base_T_camera=Transform("base_link", "camera", pose), frame_id="camera",
    )  # fmt: skip
    rows, columns = np.nonzero(board)
    box_xyxy = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    scene = build_scene(
        frame, [Detection("board", "board", 0.9, box_xyxy, mask=board)], ResolverConfig().depth, ResolverConfig().lift
    )
    points = target_points(scene.objects[0], scene, frame.base_T_camera)
    assert (points is not None) == told
    if points is not None:
        assert math.prod(points.grid) <= 200_000
        assert max(points.grid) * points.edge == pytest.approx(max(scene.objects[0].box.size), abs=0.1)
        assert points.points[:, 2].max() == pytest.approx(2.2, abs=0.02)


def test_normals_look_to_the_camera_across_the_surface() -> None:
    points, normals = ring(0.05, 0.0, 0.1)
    towards = points[:, 0] < 0.48
    found, got = surface_cells(points[towards], np.array([-0.5, 0.0, 0.05]))
    expected = found - np.array([0.5, 0.0, 0.0])
    expected[:, 2] = 0.0
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    agree = (got * expected).sum(axis=1)
    assert np.quantile(agree, 0.1) > 0.95
    assert len(normals) > len(found)


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_the_upper_edge_of_a_vessel_is_a_circle_and_that_of_a_box_is_none(noise: float) -> None:
    rng = np.random.default_rng(3)
    points = ring(0.04, 0.0, 0.1)[0]
    circle = upper_circle(points + rng.normal(0, noise, points.shape), np.array([1.0, 0.0]))
    assert circle == pytest.approx((0.5, 0.0, 0.04), abs=0.002)
    block = slab((0.4, -0.03, 0.0), (0.5, 0.03, 0.1))[0]
    assert upper_circle(block + rng.normal(0, noise, block.shape), None) is None


def flat(slope: float = 0.0, height: float = 0.018, noise: float = 0.0025) -> PlanningScene:
    """A flat bar, 40 mm wide at its foot, sides that lean inwards by `slope`, as noisy depth shows it from above.

    The lowest 8 mm of its sides, which the lift takes for the table, and its far side are not seen.
    """
    rng, half, low = np.random.default_rng(0), 0.02, np.array([0.44, -0.022, 0.0])
    x, y = (a.reshape(-1) for a in np.meshgrid(np.arange(-0.06, 0.06, 0.004), np.arange(-0.019, 0.02, 0.004)))
    z = np.minimum(height, (half - np.abs(y)) / max(math.tan(slope), 1e-6))
    leaning = np.column_stack((0 * y, np.sign(y) * math.cos(slope), 0 * y + math.sin(slope)))
    up = np.where((z < height)[:, None], leaning, (0.0, 0.0, 1.0))
    top = np.column_stack((x + 0.5, y, z + rng.normal(0, noise, len(x))))[z > 0.008], up[z > 0.008]
    along, rise = (a.reshape(-1) for a in np.meshgrid(np.arange(-0.06, 0.06, 0.004), (0.01, 0.014)))
    near = np.column_stack((along + 0.5, rise * math.tan(slope) - half + rng.normal(0, 0.001, len(along)), rise))
    looks = np.tile((0.0, -math.cos(slope), math.sin(slope)), (len(near), 1))
    points, normals = np.concatenate((top[0], near)), np.concatenate((top[1], looks))
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(11), np.arange(4), indexing="ij"), axis=-1)
    at = low + (grid + 0.5) * 0.004
    hidden = (np.abs(at[..., 1]) < half - 0.002 - at[..., 2] * math.tan(slope)) & (at[..., 2] < height)
    surface = TargetPoints.packed(points, normals, hidden, tuple(low.tolist()), 0.004)
    return scene_of((0.12, 0.04, height), surface)


def from_above(scene: PlanningScene) -> list[SurfaceGrasp]:
    """Grasps on the surface alone, across the bar."""
    target = scene.target
    found, _ = surface_grasps(target.seen, np.array(target.solid.centre), 0.0, 0.005, CONFIG)
    return [grasp for grasp in found if grasp.way == "top_down" and abs(grasp.rotation[1, 1]) > 0.9]


@pytest.mark.parametrize("noise", [0.0, 0.0025])
def test_noise_above_a_flat_object_is_no_part_of_its_sides_which_may_not_lean_too_far(noise: float) -> None:
    grasps = from_above(flat(noise=noise))
    assert grasps
    for grasp in grasps:
        assert grasp.width == pytest.approx(0.04, abs=0.006)
        assert abs(grasp.position[1]) < 0.005
    assert not from_above(flat(math.radians(45), noise=noise))
