# SPDX-License-Identifier: Apache-2.0
"""What depth shows without a name is found where it is, and nothing where nothing is; what enters the way of an arm is
noticed in the second image. Depth is that of boxes on a table, by rays, with noise of our own."""

import base64
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_scenes import CLEAR, depth_of_boxes, table_with
from planning_scenes import box as body_of
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import DepthError, InputError, ShapeError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy, on_surface, stands_for, widened
from spatial_vlm_ros.manipulation.occupancy.unseen import SOLID
from spatial_vlm_ros.manipulation.occupancy.voxels import MOST_CELLS, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.occupancy.watching import (
    CONFIRMED,
    LEAST_SHOWN,
    Intrusion,
    IntrusionWatch,
    box_hull,
    swept_space,
)
from spatial_vlm_ros.manipulation.planned_motion import MotionFrame, MovingLink, PlannedMotion
from spatial_vlm_ros.manipulation.planning.hulls import LinkHull
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.surroundings import occupancy_around
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig, ResolverConfig
from spatial_vlm_ros.types import Depth, Detection, PinholeCamera, Place, Pose, RgbdFrame, Scene, Transform, Vector3

WIDTH, HEIGHT, FOCAL = 640, 480, 560.0
CAMERA = PinholeCamera(np.array([[FOCAL, 0, 319.5], [0, FOCAL, 239.5], [0, 0, 1]]), WIDTH, HEIGHT)
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Least and greatest corner, metres; the table is z = 0."""


def looking_down(height: float = 0.7, back: float = 0.7) -> Transform:
    """A camera that looks at (0, 0, 0) from `back` metres along -y and `height` metres up."""
    ahead = np.array([0.0, back, -height]) / np.hypot(back, height)
    right = np.array([1.0, 0.0, 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack((right, np.cross(ahead, right), ahead), axis=1)
    matrix[:3, 3] = (0.0, -back, height)
    return Transform("base", "camera", matrix)


def depth_of(boxes: Sequence[Box], base_T_camera: Transform, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """(H, W) float32 metres of a table and boxes on it; noise: standard deviation at 1 m, metres, growing by range²."""
    best = depth_of_boxes(boxes, CAMERA, base_T_camera.matrix)
    best[best > 4.0] = np.nan
    best += np.random.default_rng(seed).normal(size=best.shape) * noise * best**2
    return best.astype(np.float32)


def frame_of(boxes: Sequence[Box], base_T_camera: Transform, noise: float = 0.0, seed: int = 0) -> RgbdFrame:
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    depth = depth_of(boxes, base_T_camera, noise, seed)
    return RgbdFrame(rgb, depth, CAMERA, 7, "camera", base_T_camera)


def detection_of(id_: str, box: Box, boxes: Sequence[Box], base_T_camera: Transform) -> Detection:
    """What a perfect detector says of one box among boxes."""
    alone, all_ = depth_of([box], base_T_camera), depth_of(boxes, base_T_camera)
    table = depth_of([], base_T_camera)
    mask = (alone == all_) & (alone != table)
    rows, columns = np.nonzero(mask)
    outline = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    return Detection(id_, "block", 0.9, outline, mask=mask)


TARGET: Box = ((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08))
BOX: Box = ((0.12, 0.05, 0.0), (0.22, 0.12, 0.1))
POST: Box = ((-0.12, 0.0, 0.0), (-0.115, 0.005, 0.2))
VIEW = looking_down()
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def scene_of(
    boxes: list[Box], named: int = 1, camera: Transform = VIEW, damage: Callable[[Depth], Depth] = np.asarray, **of: Any
) -> Scene:
    """Boxes on a table, of which the first ones are named; `of` are noise and seed."""
    frame = frame_of(boxes, camera, **of)
    frame = dataclasses.replace(frame, depth=damage(frame.depth.copy()))
    detections = [detection_of(f"d{k}", box, boxes, camera) for k, box in enumerate(boxes[:named])]
    return build_scene(frame, detections, ResolverConfig().depth, ResolverConfig().lift)


def around(scene: Scene, *places: Vector3, supporting: str = "support", **occupancy: object) -> Occupancy:
    chosen = ResolverConfig(occupancy=OccupancyConfig(**occupancy))  # type: ignore[arg-type]
    spots = tuple(Place(Pose("base_link", at, (0.0, 0.0, 0.0, 1.0)), "support", supporting) for at in places)
    return occupancy_around(scene, "d0", chosen, spots)


def surface_of(box: Box) -> np.ndarray:
    """Points of the faces that the camera sees, inside by 2 mm: the top and the front, above 2 cm."""
    (x0, y0, _), (x1, y1, z1) = box
    xs, ys, zs = np.linspace(x0 + 2e-3, x1 - 2e-3, 20), np.linspace(y0 + 2e-3, y1 - 2e-3, 20), np.arange(0.02, z1, 5e-3)
    top = np.stack(np.meshgrid(xs, ys, [z1 - 1e-3]), axis=-1).reshape(-1, 3)
    front = np.stack(np.meshgrid(xs, [y0 + 1e-3], zs), axis=-1).reshape(-1, 3)
    return np.concatenate((top, front))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_object_without_a_name_is_occupied_and_one_with_a_name_is_not(seed: int) -> None:
    unnamed = around(scene_of([TARGET, BOX], noise=0.003, seed=seed))
    assert unnamed.measured.holds(surface_of(BOX)).mean() > 0.9
    named = around(scene_of([TARGET, BOX], named=2, noise=0.003, seed=seed))
    assert (len(named.measured), len(named.unseen)) == (0, 0)
    # How far the hidden side of the target may reach says nothing of what was measured beside it.
    hides: Box = ((-0.05, -0.12, 0.0), (0.0, -0.1, 0.16))
    beside: Box = ((0.042, -0.03, 0.0), (0.049, 0.03, 0.1))
    found = around(scene_of([TARGET, beside, hides], noise=0.003, seed=seed))
    assert found.measured.holds(surface_of(beside)).mean() > 0.9


def at_random(depth: Depth) -> Depth:
    depth[np.random.default_rng(5).random(depth.shape) < 0.5] = np.nan
    return depth


def regular(every: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Callable[[Depth], Depth]:
    """Loses rows, or columns, whose number leaves one of these remainders: depth that was laid on a finer image."""

    def lost(depth: Depth) -> Depth:
        depth[np.isin(np.arange(depth.shape[0]) % every, rows)] = np.nan
        depth[:, np.isin(np.arange(depth.shape[1]) % every, columns)] = np.nan
        return depth

    return lost


DAMAGES = {
    "half at random": at_random,
    "every second column": regular(2, (), (0,)),
    "two rows of four": regular(4, (0, 1), ()),
    "every eighth row": regular(8, (0,), ()),
    "every eighth row and column": regular(8, (0,), (0,)),
}


OFTEN = ("half at random", "every eighth row and column")
DAMAGED = [
    pytest.param(damage, id=name, marks=[] if name in OFTEN else pytest.mark.slow) for name, damage in DAMAGES.items()
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_dropouts_hide_no_object(damage: Callable[[Depth], Depth], seed: int) -> None:
    scene = scene_of([TARGET, BOX, POST], camera=looking_down(0.5, 0.5), noise=0.002, damage=damage, seed=seed)
    found = around(scene)
    assert found.measured.holds(surface_of(BOX)).mean() > 0.9
    assert widened(found.measured).holds(surface_of(POST)).mean() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", [pytest.param(np.asarray, id="none"), *DAMAGED])
def test_a_clean_table_has_no_phantoms_with_and_without_dropouts(damage: Callable[[Depth], Depth], seed: int) -> None:
    counts = [len(around(scene_of([TARGET], damage=damage, noise=noise, seed=seed)).measured)
              for noise in (0.0, 0.002, 0.004)]  # fmt: skip
    assert counts == [0, 0, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("x", "y"), [(0.15, -0.1), (-0.2, 0.05), (0.1, 0.2)])
def test_what_is_5_mm_wide_and_2_cm_tall_does_not_vanish(x: float, y: float, seed: int) -> None:
    thin: Box = ((x, y, 0.0), (x + 0.005, y + 0.005, 0.02))
    found = around(scene_of([TARGET, thin], noise=0.002, seed=seed)).measured
    assert len(found) >= 1
    assert np.abs(found.centres()[:, :2] - (x, y)).max() < 0.02


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("away", [1.4, 1.8, 2.1])
def test_a_box_does_not_vanish_with_distance(away: float, seed: int) -> None:
    """At 3 m a voxel of 1 cm is less than two pixels wide."""
    found = around(scene_of([TARGET, BOX], camera=looking_down(away, away), noise=0.001, seed=seed))
    assert widened(found.measured).holds(surface_of(BOX)).mean() > 0.9


def test_behind_an_object_without_a_name_space_is_not_free() -> None:
    scene, behind = scene_of([TARGET, BOX]), np.array([[0.17, 0.11, 0.05], [0.17, 0.09, 0.03]])  # inside it
    assert around(scene).unseen.holds(behind).all()
    shadow, deep = np.array([[0.17, 0.145, 0.065]]), ((0.12, 0.05, 0.0), (0.22, 0.2, 0.1))
    for box, solid in ((BOX, False), (deep, True)):  # behind its back edge, or below its top
        found = around(scene_of([TARGET, box]))
        (chance,) = (space.chance for space in found.hidden if space.voxels.holds(shadow).all())
        assert found.unseen.holds(shadow).all() == solid == (chance >= SOLID)
    low = around(scene_of([TARGET, BOX], camera=looking_down(0.1, 0.7)))
    assert low.unseen.holds(behind).all(), "a level view does not tell how deep it is"


def test_without_any_depth_there_is_no_occupancy() -> None:
    scene = scene_of([TARGET])
    blind = dataclasses.replace(scene.frame, depth=np.full_like(scene.frame.depth, np.nan))
    assert occupancy_around(dataclasses.replace(scene, frame=blind), "d0", ResolverConfig()) is None


@pytest.mark.parametrize(("height", "counts"), [(0.0, True), (0.085, False), (None, False)])
def test_what_is_above_a_place_in_a_named_object_is_an_obstacle(height: float | None, counts: bool) -> None:
    """Rim, contents and upper boards; a rim of a centimetre or two cannot be told from the place itself."""
    places = [] if height is None else [(0.17, 0.085, height)]
    found = around(scene_of([TARGET, BOX], named=2), *places, supporting="d1")
    assert (len(found.measured) > 0) == counts
    if counts:
        assert found.measured.holds(surface_of(BOX)).mean() > 0.9
        assert len(found.unseen) == 0, "a container is not filled with space that its wall hides"


def test_flying_pixels_are_no_surface_and_a_narrow_object_is_one() -> None:
    depth = np.full((40, 60), 1.2, np.float32)
    depth[:, :20] = 0.8
    depth[:, 20:23] = (0.9, 1.0, 1.1)  # a smear of three pixels
    depth[5:35, 40:42] = 0.9  # two pixels wide
    depth[20, 50] = 0.9  # one alone
    kept = on_surface(depth, 600.0, DepthConfig())
    assert not kept[:, 20:23].any()
    assert not kept[20, 50]
    assert all(part.all() for part in (kept[6:34, 40:42], kept[:, 1:18], kept[1:3, 25:59]))
    alone = np.full((40, 60), np.nan, np.float32)
    assert not on_surface(alone, 600.0, DepthConfig()).any()
    alone[20, 30] = 0.9  # though nothing around it is measured
    alone[10:20, 10:20] = 0.9
    kept = on_surface(alone, 600.0, DepthConfig())
    assert not kept[20, 30]
    assert kept[10:20, 10:20].all()


def test_a_named_table_does_not_hide_what_stands_on_it() -> None:
    """Its box has the noise of its top, so that with a margin it would hold all that is low."""
    thin: Box = ((0.15, -0.1, 0.0), (0.155, -0.095, 0.02))
    frame = frame_of([TARGET, thin], VIEW, 0.002, 0)
    mask = np.zeros(frame.depth.shape, np.bool_)
    mask[40:470, 10:630] = True
    table = Detection("d9", "table", 0.9, (10.0, 40.0, 630.0, 470.0), mask=mask)
    named = [detection_of("d0", TARGET, [TARGET], VIEW), table]
    found = around(build_scene(frame, named, ResolverConfig().depth, ResolverConfig().lift)).measured
    assert len(found) >= 1
    assert np.abs(found.centres()[:, :2] - (0.1525, -0.0975)).max() < 0.02


def test_a_measured_pixel_stands_for_those_around_it_that_are_not() -> None:
    depth = np.ones((60, 80), np.float32)
    assert np.allclose(stands_for(depth), 1.0)
    depth[:, ::2] = np.nan
    assert np.allclose(stands_for(depth)[:, 10:-10], 2.0, atol=0.3)
    depth[:] = np.nan
    depth[30, 40] = 1.0
    assert stands_for(depth)[30, 40] == 4.0  # no more: one pixel is no surface


FAR: Box = ((0.86, 0.05, 0.0), (0.94, 0.12, 0.15))
HIGH = looking_down(1.5, 1.1)


def test_an_object_beside_a_far_place_or_on_the_way_there_is_an_obstacle() -> None:
    near = around(scene_of([TARGET, FAR], camera=HIGH, noise=0.002), reach=0.5)
    assert not near.measured.holds(surface_of(FAR)).any()
    between: Box = ((0.4, 0.3, 0.0), (0.5, 0.4, 0.15))  # on the way there, and far from both of its ends
    for box, reach in ((FAR, 0.5), (between, 0.38)):
        found = around(scene_of([TARGET, box], camera=HIGH, noise=0.001), (0.8, 0.0, 0.0), reach=reach)
        assert widened(found.measured).holds(surface_of(box)).mean() > 0.9


def test_the_way_is_seen_as_far_as_depth_shows_it() -> None:
    scene = scene_of([TARGET], noise=0.002)
    assert around(scene).seen_share > 0.9
    assert around(scene, (0.1, 0.1, 0.0)).seen_share > 0.9
    assert around(scene, (0.1, 0.1, 0.0), (3.0, 0.0, 0.0)).seen_share == 0.0, "the camera does not see that place"
    right = regular(WIDTH, (), tuple(range(360, WIDTH)))  # nothing is measured there
    assert 0.3 < around(scene_of([TARGET], damage=right)).seen_share < 0.8


def test_what_is_before_the_lens_hides_the_way() -> None:
    """It is too high above the table to be an obstacle, and depth of it is no depth of the way."""
    hand: Box = ((0.012, -0.5, 1.0), (0.5, 0.3, 1.02))  # right of the middle of the image
    other: Box = ((-0.5, -0.5, 1.0), (-0.012, 0.3, 1.02))  # left of it
    none, one, both = (around(scene_of([TARGET, *hands], camera=looking_down(1.4, 0.4))).seen_share
                       for hands in ((), (hand,), (hand, other)))  # fmt: skip
    assert (none, one) == (1.0, pytest.approx(0.5, abs=0.15))
    assert both < 0.3


CELLS = st.lists(st.tuples(*(st.integers(-6, 6),) * 3), max_size=60)


@given(CELLS)
def test_indices_come_back_sorted_and_once(cells: list[tuple[int, int, int]]) -> None:
    blocks = voxels_at(np.array(cells, np.int32).reshape(-1, 3), 0.01)
    assert list(map(tuple, blocks.indices.tolist())) == sorted(set(cells))
    assert len(blocks) == len(set(cells))


@given(CELLS)
def test_boxes_are_the_union_and_share_nothing(cells: list[tuple[int, int, int]]) -> None:
    blocks = voxels_at(np.array(cells, np.int32).reshape(-1, 3), 0.01, (0.1, 0.2, 0.3))
    filled: list[tuple[int, int, int]] = []
    for box in blocks.as_boxes():
        low = np.rint((np.array(box.centre) - np.array(box.size) / 2 - (0.1, 0.2, 0.3)) / 0.01).astype(int)
        steps = np.rint(np.array(box.size) / 0.01).astype(int)
        filled += [tuple((low + at).tolist()) for at in np.ndindex(*steps)]
    assert len(filled) == len(set(filled))
    assert set(filled) == set(cells)


def test_a_full_block_is_one_box_and_too_many_are_merged_into_coarser_ones_that_hold_all() -> None:
    (box,) = voxels_at(np.argwhere(np.ones((5, 4, 3), bool)), 0.02).as_boxes()
    assert np.allclose(box.size, (0.1, 0.08, 0.06))
    assert np.allclose(box.centre, (0.05, 0.04, 0.03))
    chequered = voxels_at(np.argwhere(np.indices((8, 8, 8)).sum(axis=0) % 2 == 0), 0.01)  # no two are side by side
    assert len(chequered.as_boxes()) == 256
    (box,) = chequered.as_boxes(most=10)
    assert np.allclose(box.size, 0.08)


def test_holds_says_in_which_voxels_points_are() -> None:
    blocks = voxels_at(np.array([[0, 0, 0], [-2, 5, 1]]), 0.01)
    points = np.array([[0.005, 0.005, 0.005], [-0.015, 0.055, 0.015], [0.011, 0.0, 0.0], [9.0, 9.0, 9.0]])
    assert blocks.holds(points).tolist() == [True, True, False, False]
    assert blocks.holds(blocks.centres()).all()
    empty = voxels_at(np.zeros((0, 3), np.int32), 0.01)
    assert (len(empty), empty.as_boxes(), empty.indices.shape, empty.volume) == (0, (), (0, 3), 0.0)
    assert not empty.holds(np.zeros((2, 3))).any()


def test_what_is_not_voxels_is_refused() -> None:
    good = voxels_at(np.array([[0, 0, 0]]), 0.01)
    with pytest.raises(ShapeError):
        voxels_at(np.zeros((3, 2), np.int32), 0.01)
    with pytest.raises(InputError, match=str(MOST_CELLS)):
        voxels_at(np.array([[0, 0, 0], [2000, 2000, 2000]]), 0.01)
    for changed, words in (({"edge": 0.0}, "edge"), ({"shape": (10_000, 10_000, 10_000)}, str(MOST_CELLS))):
        with pytest.raises(InputError, match=words):
            dataclasses.replace(good, **changed)  # type: ignore[arg-type]
    for bits in ("not base64", base64.b64encode(b"not zlib").decode(), _packed(b""), _packed(b"12345")):
        with pytest.raises(InputError, match="voxels"):
            len(dataclasses.replace(good, bits=bits))
    with pytest.raises(InputError, match="2 bytes or more"):  # before it is unpacked
        len(dataclasses.replace(good, bits=_packed(bytes(50_000_000))))


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


POSE = looking_down(1.0, 0.8)
AWAY = Transform("base", "camera", POSE.matrix @ np.diag((1.0, -1.0, -1.0, 1.0)))
BODY = body_of("target", 0.0, 0.0, (0.06, 0.06, 0.08))
CUP = body_of("cup", 0.2, 0.1, (0.08, 0.08, 0.1))
STANDING: list[Box] = [((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08)), ((0.16, 0.06, 0.0), (0.24, 0.14, 0.1))]
HAND: Box = ((-0.14, -0.08, 0.1), (-0.06, 0.02, 0.16))


def swept() -> VoxelBlocks:
    """All between the table and 40 cm above it, around the target."""
    cells = np.argwhere(np.ones((25, 25, 20))) + np.array([-12, -12, 0])
    return voxels_at(cells, 0.02)


def watch(scene: PlanningScene | None = None) -> IntrusionWatch:
    return IntrusionWatch(swept(), scene or dataclasses.replace(table_with(BODY, CUP), occupancy=CLEAR))


def shown(
    watched: IntrusionWatch, boxes: list[Box], seed: int = 0, robot: tuple[LinkHull, ...] = (), noise: float = 0.003
) -> Intrusion | None:
    return watched.look(depth_of(boxes, POSE, noise, seed), CAMERA, POSE, robot)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_hand_is_noticed_in_the_second_image_where_it_is(seed: int) -> None:
    watched = watch()
    assert shown(watched, STANDING, seed) is None
    with_hand = [*STANDING, HAND]
    looks = [shown(watched, with_hand, 10 * seed + k) for k in range(CONFIRMED)]
    assert looks[:-1] == [None] * (CONFIRMED - 1)
    found = looks[-1]
    assert np.abs(np.array(found.place) - (-0.1, -0.05, 0.14)).max() < 0.06
    assert "entered the arm's path at (-0.1" in found.words()


def test_a_clean_run_or_one_image_alone_stops_nothing() -> None:
    watched = watch()
    assert [shown(watched, STANDING, seed) for seed in range(8)] == [None] * 8
    for seed in range(3):
        assert shown(watched, [*STANDING, HAND], seed) is None
        assert shown(watched, STANDING, seed) is None


def test_what_is_beside_the_way_or_was_there_or_is_the_robot_is_no_intrusion() -> None:
    beside: Box = ((0.4, -0.1, 0.0), (0.5, 0.0, 0.3))
    cells = np.argwhere(np.ones((8, 10, 6))) + np.array([-14, -8, 10])
    there = Occupancy(voxels_at(cells, 0.01), CLEAR.unseen, 1.0)
    known = watch(dataclasses.replace(table_with(BODY, CUP), occupancy=there))
    middle = np.eye(4)
    middle[:3, 3] = (-0.1, -0.03, 0.13)
    link = LinkHull(Transform("base", "hand", middle), box_hull((0.08, 0.1, 0.06)))
    watched = watch()
    for seed in range(3):
        assert shown(watched, [*STANDING, beside], seed) is None
        assert shown(known, [*STANDING, HAND], seed) is None
        assert shown(watched, [*STANDING, HAND], seed, (link,)) is None
    assert [shown(watched, [*STANDING, HAND], seed) is not None for seed in range(2)] == [False, True]


def test_without_depth_of_the_way_nothing_can_be_said() -> None:
    watched = watch()
    depth = depth_of([*STANDING, HAND], POSE)
    assert shown(watched, [*STANDING, HAND]) is None
    partly = np.where(np.arange(CAMERA.width) < CAMERA.width * 0.85, np.nan, depth)
    before_the_lens = depth_of([((-0.3, -0.75, 0.7), (0.3, -0.7, 1.1))], POSE)
    for blind in (np.full_like(depth, np.nan), partly, before_the_lens):
        with pytest.raises(DepthError, match="of the arm's path"):
            watched.look(blind, CAMERA, POSE, ())
    assert watched.look(depth, CAMERA, POSE, ()) is not None, "images without depth count as none"
    with pytest.raises(DepthError, match="does not see the arm's path"):
        watched.look(depth, CAMERA, AWAY, ())


def test_it_is_known_for_how_long_a_moving_camera_would_not_see_the_way() -> None:
    watched = watch()
    moments = [(0.5 * k, AWAY if 2 <= k <= 5 else POSE) for k in range(10)]
    assert watched.longest_unseen(CAMERA, moments) == pytest.approx(3.0 - 0.5), "from the last image that shows it"
    assert watched.longest_unseen(CAMERA, [(float(k), POSE) for k in range(5)]) == 0.0
    assert watched.longest_unseen(CAMERA, [(2.0 + k, AWAY) for k in range(5)]) == 4.0


def test_an_image_with_a_few_voxels_of_the_way_shows_nothing_of_it() -> None:
    """A camera that turns away until the last corner of swept space leaves its image."""
    watched = watch()
    depth = depth_of(STANDING, POSE)
    counts = []
    for angle in np.linspace(0.0, np.pi / 2, 100):
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("y", -angle).as_matrix()
        at = Transform("base", "camera", POSE.matrix @ turn)
        own = at.inverse().apply(watched._swept.centres())
        own = own[own[:, 2] > 0.05]
        u, v = (own[:, :2] / own[:, 2:] * CAMERA.K[0, 0] + CAMERA.K[:2, 2]).T
        counts.append(int(((u > -0.5) & (u < CAMERA.width - 0.5) & (v > -0.5) & (v < CAMERA.height - 0.5)).sum()))
        shows = counts[-1] >= LEAST_SHOWN
        assert watched.longest_unseen(CAMERA, [(0.0, POSE), (1.0, at)]) == (0.0 if shows else 1.0)
        if not shows:
            with pytest.raises(DepthError, match="does not see the arm's path"):
                watched.look(depth, CAMERA, at, ())
    assert any(0 < count < LEAST_SHOWN for count in counts)


def motion(*places: tuple[float, float, float]) -> PlannedMotion:
    """A link that is a cube of 10 cm, at one place after another."""
    cube = MovingLink("hand", True, tuple(map(tuple, box_hull((0.1, 0.1, 0.1)).vertices.tolist())))
    frames = tuple(
        MotionFrame(float(k), ((*at, 0.0, 0.0, 0.0, 1.0),), (*at, 0.0, 0.0, 0.0, 1.0), None)
        for k, at in enumerate(places)
    )
    return PlannedMotion("", "", 0, "base", "arm", "tip", "", "", None, (cube,), (), (), frames, ())


def test_swept_space_is_all_that_a_known_arm_passes_between_two_moments() -> None:
    passed = swept_space(motion((0.0, 0.0, 0.5), (0.6, 0.0, 0.5)), (0.02, 0.02, 0.02), 0.02)
    way = np.stack((np.linspace(-0.06, 0.66, 100), np.full(100, 0.06), np.full(100, 0.45)), axis=1)
    assert passed.holds(way).all()
    outside = np.array([[0.3, 0.12, 0.5], [0.3, 0.0, 0.62], [-0.12, 0.0, 0.5], [0.72, 0.0, 0.5]])
    assert not passed.holds(outside).any()
    with pytest.raises(InputError, match="robot_description"):
        swept_space(dataclasses.replace(motion(), missing="no description of the arm is known"), (0.1, 0.1, 0.1), 0.02)
