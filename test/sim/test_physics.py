# SPDX-License-Identifier: Apache-2.0
"""Worlds of MuJoCo at rest: true boxes, masks, visibility, every kind of object; the demo worlds as they are told."""

from typing import Any

import numpy as np
import pytest
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.grounder import SimulatorGrounder, simulated_frames
from spatial_vlm_ros.sim.meshes import Model, scaled
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.settled import DEMO_WORLDS, KINDS, demo_camera, make
from spatial_vlm_ros.sim.tabletop import HD, STEREO, VGA, look_at, noisy, random_scenery
from spatial_vlm_ros.sim.truth import margin
from spatial_vlm_ros.types import Status

pytestmark = pytest.mark.usefixtures("_mujoco")
Seen = tuple[PhysicsWorld, PhysicsRendering]


def world_of(*objects: tuple[str, Model, float, float, float]) -> PhysicsWorld:
    scenery = random_scenery(np.random.default_rng(0))
    put = [PlacedModel(id_, model, (x, y, scenery.table_height + up)) for id_, model, x, y, up in objects]
    return PhysicsWorld(put, scenery, demo_camera())


def points_of(seen: PhysicsRendering, id_: str) -> np.ndarray:
    """(N, 3) exact visible points of an object, base frame."""
    mask, frame = seen.masks[id_], seen.frame
    z = frame.depth[mask][:, None].astype(np.float64)
    return frame.base_T_camera.apply(np.concatenate([normalised_grid(frame.camera)[mask] * z, z], axis=1))


def test_everything_is_at_rest_and_nothing_runs_into_anything(settled: Seen) -> None:
    world, _ = settled
    assert world.at_rest()
    assert (np.linalg.norm(world._data.qvel.reshape(-1, 2, 3), axis=2).max(axis=0) < (0.003, 0.06)).all()
    assert max(-contact.dist for contact in world._data.contact) < 0.001
    for true in world.truth.values():
        assert true.bottom > world.scenery.table_height - 0.001
        np.testing.assert_allclose(true.axes.T @ true.axes, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(true.axes[:, 2], (0, 0, 1))  # gravity-up, x along the longer side
        np.testing.assert_allclose(true.axes[:, 1], np.cross(true.axes[:, 2], true.axes[:, 0]), atol=1e-9)
        assert true.size[0] >= true.size[1]
        assert true.base_T_object.parent == "base_link"
        assert true.corners().shape == (8, 3)


def test_visible_points_lie_in_the_true_box_and_reach_its_faces(settled: Seen) -> None:
    world, seen = settled
    for id_, true in world.truth.items():
        if not seen.masks[id_].any():
            continue
        local = (points_of(seen, id_) - true.centre) @ true.axes
        assert (np.abs(local) <= true.size / 2 + 1e-4).all(), id_
    best = max(world.truth.values(), key=lambda o: int(seen.masks[o.id].sum()) * (seen.visible_fraction[o.id] > 0.99))
    local = (points_of(seen, best.id) - best.centre) @ best.axes
    assert local[:, 2].max() > best.size[2] / 2 - 0.004, "its top is seen"


def test_masks_are_disjoint_and_hold_the_only_pixels_that_stand_out(settled: Seen) -> None:
    world, seen = settled
    covered = np.sum(list(seen.masks.values()), axis=0)
    assert covered.max() == 1
    grid, depth = normalised_grid(VGA), seen.frame.depth
    points = world.base_T_camera.apply(np.concatenate([grid, np.ones((480, 640, 1))], axis=2) * depth[..., None])
    (x, y), (w, d) = world.scenery.table_centre, world.scenery.table_size
    over_table = (np.abs(points[..., :2] - (x, y)) < (w / 2 - 0.01, d / 2 - 0.01)).all(axis=-1)
    stands_out = over_table & (points[..., 2] > world.scenery.table_height + 0.001)
    assert (covered[stands_out] == 1).all()
    below = covered.astype(bool) & over_table & (points[..., 2] < world.scenery.table_height - 0.001)
    assert not below.any()


def test_detections_are_tight_and_tell_what_is_true(settled: Seen) -> None:
    world, seen = settled
    assert {d.id for d in seen.detections} == {id_ for id_, mask in seen.masks.items() if mask.any()}
    for detection in seen.detections:
        rows, columns = np.nonzero(seen.masks[detection.id])
        assert detection.box_xyxy == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        true = world.truth[detection.id]
        assert (detection.label, detection.attributes, detection.score) == (true.label, true.attributes, 1.0)


def test_visible_fractions_agree_with_a_world_of_one_object(demo: Seen) -> None:
    world, seen = demo
    alone = world_of(("cup", world.objects["cup"].model, 0.74, 0.0, 0.002))
    with alone:
        whole = alone.render(VGA).masks["cup"].sum()
    assert seen.visible_fraction["cup"] == pytest.approx(seen.masks["cup"].sum() / whole, abs=0.01)
    assert 0.4 < seen.visible_fraction["bonnet"] < 0.97, "the cup hides a part of it"
    assert seen.visible_fraction["ribbon"] == 1.0
    shiny = seen.shiny & seen.masks["can"]
    assert 0.05 < shiny.sum() / seen.masks["can"].sum() < 0.6  # metal shines, and nothing else does
    assert np.array_equal(seen.shiny, shiny)
    away = world.render(VGA, look_at((0.8, 0.0, 0.5), (-2.0, 0.0, 0.4), "base_link"), stamp_ns=7)
    assert away.detections == ()  # behind the camera
    assert set(away.visible_fraction.values()) == {0.0}
    assert away.frame.stamp_ns == 7


@pytest.mark.parametrize("kind", ["cup", "mug", "bowl"])
def test_hollow_objects_are_hollow_to_the_eye_and_to_the_touch(kind: str) -> None:
    model, small = make(kind, np.random.default_rng(1), "white"), scaled(make("orange", np.random.default_rng(0)), 0.4)
    with world_of((kind, model, 0.8, 0.0, 0.002)) as world:
        true = world.truth[kind]
        above = look_at((0.8, 0.0, 0.9), (0.8, 0.0, 0.1), "base_link")
        bottom = 0.9 - world.render(VGA, above).frame.depth[235:245, 315:325].max()
        assert bottom < true.bottom + 0.012, "one sees down to the floor"
        assert world.render(VGA, above).masks[kind][235:245, 315:325].all()
    with world_of((kind, model, 0.8, 0.0, 0.002), ("ball", small, 0.8, 0.0, 0.15)) as world:
        assert world.truth["ball"].bottom < world.truth[kind].bottom + 0.015, "a ball falls to the floor inside"
        assert world.truth["ball"].bottom > world.truth[kind].bottom, "and does not fall through"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_where_it_is_put(kind: str) -> None:
    model = make(kind, np.random.default_rng(5))
    with world_of(("it", model, 0.8, 0.0, 0.002)) as world:
        true = world.truth["it"]
        assert world.at_rest()
        assert np.hypot(true.centre[0] - 0.8, true.centre[1]) < 0.06
        assert abs(true.bottom - world.scenery.table_height) < 0.004
        if not model.may_tip:
            assert true.base_T_object.rotation[2, 2] > 0.999


def test_attached_parts_belong_to_the_box_of_their_object() -> None:
    mug, cup = (make(kind, np.random.default_rng(2), "red") for kind in ("mug", "cup"))
    assert mug.size[0] > 1.2 * mug.size[1], "the handle sticks out along x"
    assert cup.size[0] == pytest.approx(cup.size[1], rel=0.01)
    with world_of(("mug", mug, 0.8, 0.0, 0.002)) as world:
        true = world.truth["mug"]
        assert true.size[2] == pytest.approx(mug.size[2], abs=1e-3)
        assert true.size[0] * true.size[1] <= mug.size[0] * mug.size[1] * 1.001, "the tightest box may lie askew"
        assert true.size[0] > 1.2 * cup.size[0], "the handle is in it"
        assert true.centre[0] > 0.805, "its middle is towards the handle"
    bare, hat = make("ribbon chick", np.random.default_rng(2)), make("bonnet chick", np.random.default_rng(2))
    assert hat.size[2] > bare.size[2] + 0.002, "the bonnet makes it taller"


def test_a_closed_world_opens_again_when_it_is_looked_at(demo: Seen) -> None:
    world, seen = demo
    world.close()
    np.testing.assert_array_equal(world.render(VGA).frame.rgb, seen.frame.rgb)
    with world_of() as empty:  # a table
        assert empty.render(VGA).detections == ()
        assert empty.at_rest()
    model = make("apple", np.random.default_rng(0))
    with pytest.raises(InputError, match="ids of objects"):
        world_of(("a", model, 0.7, 0, 0), ("a", model, 0.9, 0, 0))


@pytest.mark.parametrize(("name", "expected"), [("behind", "bonnet"), ("swapped", "ribbon"), ("both_in_front", None)])
def test_demo_worlds_are_as_told_and_the_chick_behind_is_found(name: str, expected: str | None) -> None:
    """Or refused."""
    assert len(DEMO_WORLDS) == 3
    with DEMO_WORLDS[name]() as world:
        assert world.at_rest()
        eye, cup = world.base_T_camera.translation, world.truth["cup"]
        for camera in (VGA, HD):
            seen = world.render(camera)
            frame = noisy(seen.frame, np.random.default_rng(1), STEREO, seen.shiny)
            answer = Resolver(grounder=SimulatorGrounder(seen)).resolve(frame, "grab me the chick behind the cup")
            if expected is None:
                assert answer.status is Status.RELATION_UNSATISFIED
            else:
                assert (answer.status, answer.target.id) == (Status.OK, expected)
                assert answer.target.pose.frame_id == "base_link"
                error = np.subtract(answer.target.pose.position, world.truth[expected].centre)
                assert np.linalg.norm(error) < 0.02
        for id_ in ("bonnet", "ribbon"):
            true = world.truth[id_]
            assert true.label == "chick"
            assert id_ in true.attributes
            relation = "behind" if expected == id_ else "in front of"
            assert margin(relation, true, cup, eye) > 0.05
            assert (true.placed.relation, true.placed.anchor_ids) == (relation, ("cup",))
            assert seen.visible_fraction[id_] > 0.6
        assert margin("in", world.truth["orange"], world.truth["bowl"], eye) > 0
        assert 0.8 < np.linalg.norm(cup.centre - eye) < 1.1
        assert world.base_T_camera.parent == "base_link"


def test_shots_differ_in_noise_come_again_and_their_depth_is_in_whole_millimetres() -> None:
    one, other = (list(simulated_frames("swapped", 320, {"jitter": "0.1"}, 2)) for _ in range(2))
    for (frame, found), (again, found_again) in zip(one, other, strict=True):
        assert (frame.depth.dtype, frame.depth.shape) == (np.float32, (240, 320))
        measured = frame.depth[np.isfinite(frame.depth)].astype(np.float64)
        assert np.array_equal((np.rint(measured * 1000) * 0.001).astype(np.float32), measured.astype(np.float32))
        assert measured.size > 0.5 * frame.depth.size
        assert np.array_equal(frame.depth, again.depth, equal_nan=True)
        assert np.array_equal(frame.rgb, again.rgb)
        assert [d.box_xyxy for d in found] == [d.box_xyxy for d in found_again]
    change = np.abs(one[0][0].depth - one[1][0].depth)
    assert 0.0001 < np.nanmedian(change) < 0.02


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (640, 480), (320, 240)])
def test_a_wide_image_is_sixteen_to_nine_and_others_are_four_to_three(width: int, height: int) -> None:
    ((frame, found),) = simulated_frames("behind", width, {}, 1)
    assert frame.rgb.shape == (height, width, 3)
    assert frame.depth.shape == (height, width)
    assert (frame.camera.width, frame.camera.height) == (width, height)
    assert all(d.mask is not None and d.mask.shape == (height, width) for d in found)


def test_a_seed_is_a_world_of_its_own_and_the_detector_errs_as_it_is_told() -> None:
    ((seven, of_seven),) = simulated_frames("7", 320, {"objects": "5"}, 1)
    ((eight, boxes),) = simulated_frames("8", 320, {"objects": "5", "masks": "none"}, 1)
    assert not np.array_equal(seven.rgb, eight.rgb)
    assert 1 <= len(of_seven) <= 5
    assert all(d.mask is None for d in boxes)
    ((_, nothing),) = simulated_frames("behind", 320, {"misses": "1.0"}, 1)
    assert nothing == ()


@pytest.mark.parametrize(("world", "options", "error", "words"), rows(__file__, "worlds_refused"))
def test_unknown_worlds_and_options_are_refused(world: str, options: Any, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        next(simulated_frames(world, 320, options, 1))
