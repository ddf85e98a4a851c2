# SPDX-License-Identifier: Apache-2.0
"""Depth with dropouts and from afar, a way that is hidden, a place that is far away: nothing real may vanish."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from rendered import Box, detection_of, frame_of, looking_down

from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.flying import on_surface
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy, stands_for
from spatial_vlm_ros.manipulation.occupancy.spaces import widened
from spatial_vlm_ros.manipulation.planning.surroundings import occupancy_around
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig, ResolverConfig
from spatial_vlm_ros.types import Depth, Place, Pose, Transform, Vector3

TARGET: Box = ((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08))
BOX: Box = ((0.12, 0.05, 0.0), (0.22, 0.12, 0.1))
POST: Box = ((-0.12, 0.0, 0.0), (-0.115, 0.005, 0.2))
SEEDS = (0, 1, 2)


def seen(
    boxes: list[Box],
    camera: Transform,
    *,
    noise: float = 0.002,
    seed: int = 0,
    damage: Callable[[Depth], Depth] = lambda depth: depth,
    places: tuple[Vector3, ...] = (),
    config: OccupancyConfig | None = None,
) -> Occupancy:
    """Occupancy around the first box, which alone has a name."""
    frame = frame_of(boxes, camera, noise, seed)
    frame = dataclasses.replace(frame, depth=damage(frame.depth.copy()))
    chosen = ResolverConfig(occupancy=config or OccupancyConfig())
    scene = build_scene(frame, [detection_of("d0", boxes[0], boxes, camera)], chosen.depth, chosen.lift)
    spots = tuple(Place(Pose("base_link", at, (0.0, 0.0, 0.0, 1.0)), "support", "support") for at in places)
    found = occupancy_around(scene, "d0", chosen, spots)
    assert found is not None
    return found


def skin(box: Box) -> np.ndarray:
    """Points of the faces that the camera sees, inside by 2 mm, above 2 cm."""
    (x0, y0, _), (x1, y1, z1) = box
    xs, ys = np.linspace(x0 + 2e-3, x1 - 2e-3, 20), np.linspace(y0 + 2e-3, y1 - 2e-3, 20)
    top = np.stack(np.meshgrid(xs, ys, [z1 - 1e-3]), axis=-1).reshape(-1, 3)
    front = np.stack(np.meshgrid(xs, [y0 + 1e-3], np.arange(0.02, z1, 5e-3)), axis=-1).reshape(-1, 3)
    return np.concatenate((top, front))


def at_random(share: float) -> Callable[[Depth], Depth]:
    def lost(depth: Depth) -> Depth:
        depth[np.random.default_rng(5).random(depth.shape) < share] = np.nan
        return depth

    return lost


def regular(rows: slice | tuple[int, ...], columns: slice | tuple[int, ...], every: int) -> Callable[[Depth], Depth]:
    """Loses rows, or columns, whose number leaves one of these remainders: depth that was laid on a finer image."""

    def lost(depth: Depth) -> Depth:
        if isinstance(rows, tuple):
            depth[np.isin(np.arange(depth.shape[0]) % every, rows)] = np.nan
        if isinstance(columns, tuple):
            depth[:, np.isin(np.arange(depth.shape[1]) % every, columns)] = np.nan
        return depth

    return lost


ALL = slice(None)
DAMAGES = {
    "half at random": at_random(0.5),
    "every second column": regular(ALL, (0,), 2),
    "two rows of four": regular((0, 1), ALL, 4),
    "every eighth row": regular((0,), ALL, 8),
    "every eighth row and column": regular((0,), (0,), 8),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_dropouts_hide_no_object(damage: Callable[[Depth], Depth], seed: int) -> None:
    found = seen([TARGET, BOX, POST], looking_down(0.5, 0.5), damage=damage, seed=seed)
    assert found.measured.holds(skin(BOX)).mean() > 0.9
    assert widened(found.measured).holds(skin(POST)).mean() > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.004])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_dropouts_make_no_phantoms(damage: Callable[[Depth], Depth], noise: float) -> None:
    counts = [len(seen([TARGET], looking_down(), damage=damage, noise=noise, seed=seed).measured) for seed in SEEDS]
    assert counts == [0, 0, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("away", [1.4, 1.8, 2.1])
def test_a_box_does_not_vanish_with_distance(away: float, seed: int) -> None:
    """At 3 m a voxel of 1 cm is less than two pixels wide."""
    found = seen([TARGET, BOX], looking_down(away, away), noise=0.001, seed=seed)
    assert widened(found.measured).holds(skin(BOX)).mean() > 0.9


def test_a_measured_pixel_stands_for_those_around_it_that_are_not() -> None:
    depth = np.ones((60, 80), np.float32)
    assert np.allclose(stands_for(depth), 1.0)
    depth[:, ::2] = np.nan
    assert np.allclose(stands_for(depth)[:, 10:-10], 2.0, atol=0.3)
    depth[:] = np.nan
    depth[30, 40] = 1.0
    assert stands_for(depth)[30, 40] == 4.0  # no more: one pixel is no surface


def test_one_pixel_alone_is_no_surface_though_nothing_around_it_is_measured() -> None:
    depth = np.full((40, 60), np.nan, np.float32)
    depth[20, 30] = 0.9
    depth[10:20, 10:20] = 0.9
    kept = on_surface(depth, 600.0, DepthConfig())
    assert not kept[20, 30]
    assert kept[10:20, 10:20].all()


# ------------------------------------------------------------------------------------------------ the way to the place

FAR: Box = ((0.86, 0.05, 0.0), (0.94, 0.12, 0.15))


def test_an_object_beside_a_far_place_is_an_obstacle() -> None:
    camera = looking_down(1.5, 1.1)
    near = seen([TARGET, FAR], camera, config=OccupancyConfig(reach=0.5))
    assert not near.measured.holds(skin(FAR)).any()
    both = seen([TARGET, FAR], camera, noise=0.001, places=((0.8, 0.0, 0.0),), config=OccupancyConfig(reach=0.5))
    assert widened(both.measured).holds(skin(FAR)).mean() > 0.9
    between: Box = ((0.4, 0.3, 0.0), (0.5, 0.4, 0.15))  # on the way there, and far from both of its ends
    way = seen([TARGET, between], camera, noise=0.001, places=((0.8, 0.0, 0.0),), config=OccupancyConfig(reach=0.38))
    assert widened(way.measured).holds(skin(between)).mean() > 0.9


def test_all_that_is_unseen_counts_on_the_way_to_the_place_too() -> None:
    everything = OccupancyConfig(unseen="all", reach=0.3)
    hidden = np.array([[0.9, 0.11, 0.05]])  # inside the far box
    camera = looking_down(1.5, 1.1)
    assert not seen([TARGET, FAR], camera, config=everything).unseen.holds(hidden).any()
    found = seen([TARGET, FAR], camera, places=((0.8, 0.0, 0.0),), config=everything).unseen
    assert found.holds(hidden).all()


def test_a_place_that_the_camera_does_not_see_is_a_way_that_is_not_seen() -> None:
    camera = looking_down()
    assert seen([TARGET], camera, places=((0.1, 0.1, 0.0),)).seen_share > 0.9
    assert seen([TARGET], camera, places=((0.1, 0.1, 0.0), (3.0, 0.0, 0.0))).seen_share == 0.0


def test_what_is_before_the_lens_hides_the_way() -> None:
    """It is too high above the table to be an obstacle, and depth of it is no depth of the way."""
    camera = looking_down(1.4, 0.4)
    free = seen([TARGET], camera, noise=0.0).seen_share
    assert free == 1.0
    hand: Box = ((0.012, -0.5, 1.0), (0.5, 0.3, 1.02))  # right of the middle of the image
    other: Box = ((-0.5, -0.5, 1.0), (-0.012, 0.3, 1.02))  # left of it
    assert seen([TARGET, hand], camera, noise=0.0).seen_share == pytest.approx(0.5, abs=0.15)
    assert seen([TARGET, hand, other], camera, noise=0.0).seen_share < 0.3
