# SPDX-License-Identifier: Apache-2.0
"""What depth shows without a name: it is found where it is, and nothing is found where nothing is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rendered import Box, detection_of, frame_of, looking_down

from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.flying import on_surface
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.planning.surroundings import known_bodies, occupancy_around
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig, ResolverConfig
from spatial_vlm_ros.types import Detection, Place, Pose, RgbdFrame

TARGET: Box = ((-0.03, -0.03, 0.0), (0.03, 0.03, 0.08))
BOX: Box = ((0.12, 0.05, 0.0), (0.22, 0.12, 0.1))
CAMERA = looking_down()
SEEDS = (0, 1, 2)


def seen(
    boxes: list[Box], *, named: int = 1, noise: float = 0.0, seed: int = 0, config: OccupancyConfig | None = None
) -> Occupancy:
    """Occupancy around the first box, of which the first ones are named."""
    frame = frame_of(boxes, CAMERA, noise, seed)
    detections = [detection_of(f"d{k}", box, boxes, CAMERA) for k, box in enumerate(boxes[:named])]
    return around(frame, detections, config)


def around(frame: RgbdFrame, detections: list[Detection], config: OccupancyConfig | None = None) -> Occupancy:
    chosen = ResolverConfig(occupancy=config or OccupancyConfig())
    found = occupancy_around(build_scene(frame, detections, chosen.depth, chosen.lift), "d0", chosen)
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
    unnamed = seen([TARGET, BOX], noise=0.003, seed=seed)
    assert unnamed.measured.holds(surface_of(BOX)).mean() > 0.9
    named = seen([TARGET, BOX], named=2, noise=0.003, seed=seed)
    assert len(named.measured) == 0
    assert len(named.unseen) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_close_beside_a_target_that_is_hidden_in_part_is_occupied(seed: int) -> None:
    """How far the hidden side of the target may reach says nothing of what was measured beside it."""
    hides: Box = ((-0.05, -0.12, 0.0), (0.0, -0.1, 0.16))
    beside: Box = ((0.042, -0.03, 0.0), (0.049, 0.03, 0.1))
    found = seen([TARGET, beside, hides], noise=0.003, seed=seed)
    assert found.measured.holds(surface_of(beside)).mean() > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.004])
def test_a_clean_table_has_no_phantoms(noise: float) -> None:
    counts = [len(seen([TARGET], noise=noise, seed=seed).measured) for seed in SEEDS]
    assert counts == [0, 0, 0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("at", [(0.15, -0.1), (-0.2, 0.05), (0.1, 0.2)])
def test_what_is_5_mm_wide_and_2_cm_tall_does_not_vanish(at: tuple[float, float], seed: int) -> None:
    x, y = at
    thin: Box = ((x, y, 0.0), (x + 0.005, y + 0.005, 0.02))
    found = seen([TARGET, thin], noise=0.002, seed=seed).measured
    assert len(found) >= 1
    assert np.abs(found.centres()[:, :2] - (x, y)).max() < 0.02


def test_behind_an_object_without_a_name_space_is_not_free() -> None:
    behind = np.array([[0.17, 0.11, 0.05], [0.17, 0.09, 0.03]])  # inside it: nobody sees them
    assert seen([TARGET, BOX]).unseen.holds(behind).all()
    assert len(seen([TARGET, BOX], config=OccupancyConfig(unseen="off")).unseen) == 0
    everywhere = seen([TARGET, BOX], config=OccupancyConfig(unseen="all", reach=0.4)).unseen
    assert everywhere.holds(behind).all()
    assert everywhere.holds(np.array([[0.0, -0.39, 0.75]])).all(), "beside the image"
    assert not everywhere.holds(np.array([[0.0, -0.2, 0.1], [-0.2, 0.0, 0.05]])).any(), "seen free"


def test_the_gripper_comes_through_space_that_is_seen_or_not() -> None:
    frame = frame_of([TARGET], CAMERA)
    detections = [detection_of("d0", TARGET, [TARGET], CAMERA)]
    assert around(frame, detections).seen_share > 0.9
    depth = frame.depth.copy()
    depth[:, 360:] = np.nan  # nothing is measured on the right
    half = around(dataclasses.replace(frame, depth=depth), detections).seen_share
    assert 0.3 < half < 0.8
    assert np.isnan(depth[:, 360:]).all()


def test_without_any_depth_there_is_no_occupancy() -> None:
    config = ResolverConfig()
    scene = build_scene(
        frame_of([TARGET], CAMERA), [detection_of("d0", TARGET, [TARGET], CAMERA)], config.depth, config.lift
    )
    blind = dataclasses.replace(scene.frame, depth=np.full_like(scene.frame.depth, np.nan))
    assert occupancy_around(dataclasses.replace(scene, frame=blind), "d0", config) is None


def test_the_target_and_what_is_known_are_bodies() -> None:
    config = ResolverConfig()
    boxes = [TARGET, BOX]
    detections = [detection_of(f"d{k}", box, boxes, CAMERA) for k, box in enumerate(boxes)]
    known = known_bodies(build_scene(frame_of(boxes, CAMERA), detections, config.depth, config.lift), "d0")
    assert np.allclose(known.target.centre, (0.0, 0.0, 0.04), atol=0.01)
    assert np.allclose(known.others[0].centre, (0.17, 0.085, 0.05), atol=0.01)
    assert abs(known.support_height) < 0.002


@pytest.mark.parametrize(("height", "counts"), [(0.0, True), (0.085, False), (None, False)])
def test_what_is_above_a_place_in_a_named_object_is_an_obstacle(height: float | None, counts: bool) -> None:
    """Rim, contents and upper boards; a rim of a centimetre or two cannot be told from the place itself."""
    config = ResolverConfig()
    boxes = [TARGET, BOX]
    detections = [detection_of(f"d{k}", box, boxes, CAMERA) for k, box in enumerate(boxes)]
    scene = build_scene(frame_of(boxes, CAMERA), detections, config.depth, config.lift)
    spot = Pose("base_link", (0.17, 0.085, height or 0.0), (0.0, 0.0, 0.0, 1.0))
    places = () if height is None else (Place(spot, "support", "d1"),)
    found = occupancy_around(scene, "d0", config, places)
    assert found is not None
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
    assert not on_surface(np.full((4, 4), np.nan, np.float32), 600.0, DepthConfig()).any()


def test_a_named_table_does_not_hide_what_stands_on_it() -> None:
    """Its box has the noise of its top, so that with a margin it would hold all that is low."""
    thin: Box = ((0.15, -0.1, 0.0), (0.155, -0.095, 0.02))
    frame = frame_of([TARGET, thin], CAMERA, 0.002, 0)
    rows = np.s_[40:470, 10:630]
    mask = np.zeros(frame.depth.shape, np.bool_)
    mask[rows] = True
    table = Detection("d9", "table", 0.9, (10.0, 40.0, 630.0, 470.0), mask=mask)
    target = detection_of("d0", TARGET, [TARGET], CAMERA)
    found = around(frame, [target, table]).measured
    assert len(found) >= 1
    assert np.abs(found.centres()[:, :2] - (0.1525, -0.0975)).max() < 0.02
