# SPDX-License-Identifier: Apache-2.0
"""What enters the way of an arm is noticed in the second image; what was there, noise and the robot itself are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planning_scenes import CLEAR, box, table_with
from rendered import CAMERA, Box, depth_of, looking_down

from spatial_vlm_ros.errors import DepthError, InputError
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.swept import box_hull, swept_space
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.occupancy.watching import CONFIRMED, LEAST_SHOWN, Intrusion, IntrusionWatch
from spatial_vlm_ros.manipulation.planned_motion import MotionFrame, MovingLink, PlannedMotion
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull
from spatial_vlm_ros.types import Transform

POSE = looking_down(1.0, 0.8)
TARGET = box("target", 0.0, 0.0, (0.06, 0.06, 0.08))
CUP = box("cup", 0.2, 0.1, (0.08, 0.08, 0.1))
STANDING: list[Box] = [((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08)), ((0.16, 0.06, 0.0), (0.24, 0.14, 0.1))]
HAND: Box = ((-0.14, -0.08, 0.1), (-0.06, 0.02, 0.16))


def swept() -> VoxelBlocks:
    """All between the table and 40 cm above it, around the target."""
    cells = np.argwhere(np.ones((25, 25, 20))) + np.array([-12, -12, 0])
    return voxels_at(cells, 0.02)


def watch(scene: PlanningScene | None = None) -> IntrusionWatch:
    return IntrusionWatch(swept(), scene or dataclasses.replace(table_with(TARGET, CUP), occupancy=CLEAR))


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
    assert found is not None
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
    known = watch(dataclasses.replace(table_with(TARGET, CUP), occupancy=there))
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
    away = Transform("base", "camera", POSE.matrix @ np.diag((1.0, -1.0, -1.0, 1.0)))
    with pytest.raises(DepthError, match="does not see the arm's path"):
        watched.look(depth, CAMERA, away, ())


def test_it_is_known_for_how_long_a_moving_camera_would_not_see_the_way() -> None:
    watched = watch()
    away = Transform("base", "camera", POSE.matrix @ np.diag((1.0, -1.0, -1.0, 1.0)))
    moments = [(0.5 * k, away if 2 <= k <= 5 else POSE) for k in range(10)]
    assert watched.longest_unseen(CAMERA, moments) == pytest.approx(3.0 - 0.5), "from the last image that shows it"
    assert watched.longest_unseen(CAMERA, [(float(k), POSE) for k in range(5)]) == 0.0
    assert watched.longest_unseen(CAMERA, [(2.0 + k, away) for k in range(5)]) == 4.0


def test_an_image_with_a_few_voxels_of_the_way_shows_nothing_of_it() -> None:
    """A camera that turns away until the last corner of swept space leaves its image."""
    watched = watch()
    depth = depth_of(STANDING, POSE)
    beside = [POSE.matrix @ turned(angle) for angle in np.linspace(0.0, np.pi / 2, 100)]
    counts = []
    for pose in beside:
        at = Transform("base", "camera", pose)
        own = at.inverse().apply(watched._swept.centres())
        own = own[own[:, 2] > 0.05]
        u, v = (own[:, :2] / own[:, 2:] * CAMERA.K[0, 0] + CAMERA.K[:2, 2]).T
        counts.append(int(((u > -0.5) & (u < CAMERA.width - 0.5) & (v > -0.5) & (v < CAMERA.height - 0.5)).sum()))
        if counts[-1] >= LEAST_SHOWN:
            assert watched.longest_unseen(CAMERA, [(0.0, POSE), (1.0, at)]) == 0.0
        else:
            assert watched.longest_unseen(CAMERA, [(0.0, POSE), (1.0, at)]) == 1.0
            with pytest.raises(DepthError, match="does not see the arm's path"):
                watched.look(depth, CAMERA, at, ())
    assert any(0 < count < LEAST_SHOWN for count in counts)


def turned(angle: float) -> np.ndarray:
    """(4, 4) turn of a camera about its y, rad."""
    matrix = np.eye(4)
    matrix[0, [0, 2]], matrix[2, [0, 2]] = (np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))
    return matrix


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
