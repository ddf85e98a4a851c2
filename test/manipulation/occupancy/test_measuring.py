# SPDX-License-Identifier: Apache-2.0
"""What depth shows without a name: it is found where it is, and nothing is found where nothing is; and its voxels.

Also in depth with dropouts and from afar, where the way is hidden and where the place is far away.
"""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendered import Box, detection_of, frame_of, looking_down

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.flying import on_surface
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy, stands_for
from spatial_vlm_ros.manipulation.occupancy.spaces import widened
from spatial_vlm_ros.manipulation.occupancy.voxels import MOST_CELLS, voxels_at
from spatial_vlm_ros.manipulation.planning.surroundings import known_bodies, occupancy_around
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig, ResolverConfig
from spatial_vlm_ros.types import Depth, Detection, Place, Pose, Scene, Transform, Vector3

TARGET: Box = ((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08))
BOX: Box = ((0.12, 0.05, 0.0), (0.22, 0.12, 0.1))
POST: Box = ((-0.12, 0.0, 0.0), (-0.115, 0.005, 0.2))
CAMERA = looking_down()
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


def scene_of(
    boxes: list[Box],
    named: int = 1,
    camera: Transform = CAMERA,
    noise: float = 0.0,
    seed: int = 0,
    damage: Callable[[Depth], Depth] = lambda depth: depth,
) -> Scene:
    """Boxes on a table, of which the first ones are named."""
    frame = frame_of(boxes, camera, noise, seed)
    frame = dataclasses.replace(frame, depth=damage(frame.depth.copy()))
    detections = [detection_of(f"d{k}", box, boxes, camera) for k, box in enumerate(boxes[:named])]
    return build_scene(frame, detections, ResolverConfig().depth, ResolverConfig().lift)


def around(scene: Scene, *places: Vector3, supporting: str = "support", **occupancy: object) -> Occupancy:
    """Occupancy around the first box, and the way to places."""
    chosen = ResolverConfig(occupancy=OccupancyConfig(**occupancy))  # type: ignore[arg-type]
    spots = tuple(Place(Pose("base_link", at, (0.0, 0.0, 0.0, 1.0)), "support", supporting) for at in places)
    found = occupancy_around(scene, "d0", chosen, spots)
    assert found is not None
    return found


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
    """Loses half of the pixels."""
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
@pytest.mark.parametrize("damage", [pytest.param(lambda depth: depth, id="none"), *DAMAGED])
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
    assert len(around(scene, unseen="off").unseen) == 0
    everywhere = around(scene, unseen="all", reach=0.4).unseen
    assert everywhere.holds(behind).all()
    assert everywhere.holds(np.array([[0.0, -0.39, 0.75]])).all(), "beside the image"
    assert not everywhere.holds(np.array([[0.0, -0.2, 0.1], [-0.2, 0.0, 0.05]])).any(), "seen free"


def test_without_any_depth_there_is_no_occupancy() -> None:
    scene = scene_of([TARGET])
    blind = dataclasses.replace(scene.frame, depth=np.full_like(scene.frame.depth, np.nan))
    assert occupancy_around(dataclasses.replace(scene, frame=blind), "d0", ResolverConfig()) is None


def test_the_target_and_what_is_known_are_bodies() -> None:
    known = known_bodies(scene_of([TARGET, BOX], named=2), "d0")
    assert np.allclose(known.target.centre, (0.0, 0.0, 0.04), atol=0.01)
    assert np.allclose(known.others[0].centre, (0.17, 0.085, 0.05), atol=0.01)
    assert abs(known.support_height) < 0.002


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
    assert kept[6:34, 40:42].all()
    assert not kept[20, 50]
    assert kept[:, 1:18].all()
    assert kept[1:3, 25:59].all()
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
    frame = frame_of([TARGET, thin], CAMERA, 0.002, 0)
    mask = np.zeros(frame.depth.shape, np.bool_)
    mask[40:470, 10:630] = True
    table = Detection("d9", "table", 0.9, (10.0, 40.0, 630.0, 470.0), mask=mask)
    named = [detection_of("d0", TARGET, [TARGET], CAMERA), table]
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


def test_all_that_is_unseen_counts_on_the_way_to_the_place_too() -> None:
    scene, hidden = scene_of([TARGET, FAR], camera=HIGH, noise=0.002), np.array([[0.9, 0.11, 0.05]])  # in the far box
    assert not around(scene, unseen="all", reach=0.3).unseen.holds(hidden).any()
    assert around(scene, (0.8, 0.0, 0.0), unseen="all", reach=0.3).unseen.holds(hidden).all()


def test_the_way_is_seen_as_far_as_depth_shows_it() -> None:
    scene = scene_of([TARGET], noise=0.002)
    assert around(scene).seen_share > 0.9
    assert around(scene, (0.1, 0.1, 0.0)).seen_share > 0.9
    assert around(scene, (0.1, 0.1, 0.0), (3.0, 0.0, 0.0)).seen_share == 0.0, "the camera does not see that place"
    depth = scene_of([TARGET]).frame.depth.copy()
    depth[:, 360:] = np.nan  # nothing is measured on the right
    frame = dataclasses.replace(frame_of([TARGET], CAMERA), depth=depth)
    named = [detection_of("d0", TARGET, [TARGET], CAMERA)]
    assert 0.3 < around(build_scene(frame, named, ResolverConfig().depth, ResolverConfig().lift)).seen_share < 0.8
    assert np.isnan(depth[:, 360:]).all()


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
