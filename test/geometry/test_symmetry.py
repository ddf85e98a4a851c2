# SPDX-License-Identifier: Apache-2.0
"""Completion of hidden sides: scenes of known bodies, seen from several sides."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np
import pytest

from spatial_vlm_ros.geometry import extent
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.shapes import Box, Cylinder
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import SceneObject, Vector3

if TYPE_CHECKING:
    from conftest import Tabletop

YAWS_DEG = (0, 25, 50, 75, 90)


class Joined:
    """Solids as one: each with where its base stands, metres."""

    def __init__(self, size: Vector3, *parts: tuple[Any, Vector3]) -> None:
        self.size, self.parts = size, parts

    def hit(self, origin: Any, directions: Any) -> tuple[Any, Any]:
        hits = [shape.hit(origin - place, directions) for shape, place in self.parts]
        nearest = np.argmin([distances for distances, _ in hits], axis=0)
        rows = np.arange(len(nearest))
        return tuple(np.array(found)[nearest, rows] for found in zip(*hits, strict=True))


def body(shape: Any, yaw_deg: float = 0.0, label: str = "object") -> Body:
    return Body("a", label, cast(Any, shape), (0.0, 0.0, 0.0), "blue", np.radians(yaw_deg))


def bottle(yaw_deg: float = 0.0) -> Body:
    """A flat bottle: 10 cm wide, 5.5 cm deep, 15 cm high, with a neck on it."""
    return body(
        Joined((0.1, 0.055, 0.19), (Box((0.1, 0.055, 0.15)), (0, 0, 0)), (Cylinder(0.014, 0.04), (0, 0, 0.15))), yaw_deg
    )


def tower_and_step(yaw_deg: float) -> Body:
    """High on one side, low on the other: alike from no two sides."""
    return body(
        Joined((0.14, 0.08, 0.13), (Box((0.04, 0.08, 0.13)), (-0.05, 0, 0)), (Box((0.1, 0.08, 0.03)), (0.02, 0, 0))),
        yaw_deg,
    )


def place_error(obj: SceneObject, seen: Rendering, true: Body) -> float:
    """Distance along the ground of the volume centre from the true one."""
    return float(np.linalg.norm((seen.frame.base_T_camera.apply(obj.box.centre) - true.centre)[:2]))


def assumed(tabletop: Tabletop, *bodies: Body, **view: Any) -> SceneObject:
    """The first body as it is lifted without completion."""
    with mock.patch.object(extent, "axis_of", return_value=None):
        return tabletop.lift_one(*bodies, **view)[0]


# ------------------------------------------------------------------------------------------------ completed


@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_a_flat_bottle_measures_the_same_from_every_side(tabletop: Tabletop, noise: bool) -> None:
    sides, before = [], []
    for yaw_deg in YAWS_DEG:
        true = bottle(yaw_deg)
        seen = tabletop.see(true, eye=tabletop.pitched(33, 0.8))
        frame = noisy(seen.frame, np.random.default_rng(yaw_deg)) if noise else seen.frame
        obj = tabletop.lift(seen, frame=frame).objects[0]
        assert place_error(obj, seen, true) < (0.01 if noise else 0.005), yaw_deg
        sides.append(obj.box.size)
        with mock.patch.object(extent, "axis_of", return_value=None):
            before.append(tabletop.lift(seen, frame=frame).objects[0].box.size)
    np.testing.assert_allclose(np.median(sides, axis=0), (0.1, 0.055, 0.19), atol=0.012 if noise else 0.006)
    assert np.ptp(sides, axis=0)[:2].max() < 0.02
    assert np.ptp(sides, axis=0)[:2].max() < 0.6 * np.ptp(before, axis=0)[:2].max(), "as assumed they differ by more"


@pytest.mark.parametrize("pitch", [27, 39])
def test_a_mug_is_as_deep_as_wide_with_its_handle_beside_it(tabletop: Tabletop, pitch: float) -> None:
    """The handle counts where it is seen, and is not repeated on the other side."""
    cup, kinds = tabletop.cup("a", 0, 0).shape, set()
    for yaw_deg in (-60, -20, 0, 180, 200):  # 0: to the right
        bar, end = Box((0.03, 0.012, 0.012)), Box((0.01, 0.012, 0.06))
        handle = ((bar, (0.055, 0, 0.02)), (bar, (0.055, 0, 0.068)), (end, (0.065, 0, 0.02)))
        mug = body(Joined((0.11, 0.08, 0.1), (cup, (0, 0, 0)), *handle), yaw_deg)
        obj, _, seen = tabletop.lift_one(mug, eye=tabletop.pitched(pitch, 0.8))
        assert obj.shape is not None
        kinds.add(obj.shape.kind)
        footprint = seen.frame.base_T_camera.apply(obj.footprint)[:, :2]
        tip = 0.07 * np.array((np.cos(mug.yaw), np.sin(mug.yaw)))
        np.testing.assert_allclose(footprint.min(axis=0), np.minimum(tip, -0.04), atol=0.011, err_msg=f"{yaw_deg}")
        np.testing.assert_allclose(footprint.max(axis=0), np.maximum(tip, 0.04), atol=0.011, err_msg=f"{yaw_deg}")
    assert kinds <= {"rotation", "measured"}
    assert "rotation" in kinds


@pytest.mark.parametrize(("pitch", "yaw_deg"), [(22, 0), (22, 75), (30, 25), (30, 90), (38, 50)])
def test_a_box_has_its_size_from_every_side(tabletop: Tabletop, pitch: float, yaw_deg: float) -> None:
    true = body(Box((0.1, 0.05, 0.08)), yaw_deg)
    obj, _, seen = tabletop.lift_one(true, eye=tabletop.pitched(pitch))
    np.testing.assert_allclose(obj.box.size, true.size, atol=0.008)
    assert place_error(obj, seen, true) < 0.005
    assert obj.shape is not None
    assert obj.shape.kind == "box"


def test_a_thin_upright_face_is_no_deeper_than_its_edge_shows(tabletop: Tabletop) -> None:
    true = body(Box((0.09, 0.025, 0.09)))
    obj, _, seen = tabletop.lift_one(true, eye=tabletop.pitched(20))
    assert obj.box.size[1] == pytest.approx(0.025, abs=0.006)
    assert place_error(obj, seen, true) < 0.004


# ------------------------------------------------------------------------------------------------ left as they are


@pytest.mark.parametrize("yaw_deg", [20, 180])
def test_what_is_not_alike_from_two_sides_is_not_completed(tabletop: Tabletop, yaw_deg: float) -> None:
    true, view = tower_and_step(yaw_deg), {"eye": tabletop.pitched(30)}
    obj, _, _ = tabletop.lift_one(true, **view)
    assert obj.shape is not None
    assert obj.shape.kind not in ("rotation", "mirror")
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, true, **view).footprint)


def test_a_lid_is_no_inside(tabletop: Tabletop) -> None:
    """The far half of a can's lid lies on no wall that is seen from inside."""
    for pitch in (25, 30, 40):
        obj, _, seen = tabletop.lift_one(tabletop.can("a", 0, 0, height=0.12), eye=tabletop.pitched(pitch))
        assert obj.shape is not None
        assert obj.shape.kind == "mirror"
        assert place_error(obj, seen, tabletop.can("a", 0, 0)) < 0.003


@pytest.mark.parametrize("size", [(0.09, 0.06, 0.001), (0.2, 0.14, 0.015)])
def test_a_flat_object_is_measured(tabletop: Tabletop, size: Vector3) -> None:
    true = body(Box(size), 20)
    obj, _, _ = tabletop.lift_one(true)
    assert obj.shape is not None
    assert obj.shape.kind in ("box", "measured")
    assert obj.shape.completed < 0.003
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, true).footprint)


def test_an_object_cut_off_at_its_side_is_not_completed(tabletop: Tabletop) -> None:
    """What is hidden sideways leaves no middle to turn it about."""
    hidden, wall = bottle(), tabletop.block("wall", 0.05, -0.1, (0.08, 0.03, 0.2), "wall")
    obj, _, _ = tabletop.lift_one(hidden, wall, eye=tabletop.pitched(25))
    np.testing.assert_array_equal(obj.footprint, assumed(tabletop, hidden, wall, eye=tabletop.pitched(25)).footprint)


def test_of_a_bare_front_the_depth_stays_uncertain(tabletop: Tabletop) -> None:
    """Seen level, a box shows one face: its depth may be anything, and the covariance says so."""
    obj, _, seen = tabletop.lift_one(body(Box((0.12, 0.06, 0.12))), eye=tabletop.pitched(4))
    assert obj.shape is not None
    assert obj.shape.kind == "assumed"
    assert obj.shape.sigma > 0.008
    ahead = seen.frame.base_T_camera.rotation.T @ (0.0, 1.0, 0.0)
    assert np.sqrt(ahead @ obj.covariance[:3, :3] @ ahead) >= obj.shape.sigma


# ------------------------------------------------------------------------------------------------ told


def test_deviations_are_honest(tabletop: Tabletop) -> None:
    """Along the view, two thirds of the errors lie within one deviation, nine tenths within two."""
    off = []
    for seed, (pitch, yaw_deg) in enumerate((p, y) for p in (20, 44) for y in YAWS_DEG[::2]):
        for true in (bottle(yaw_deg), body(Box((0.1, 0.05, 0.08)), yaw_deg), tabletop.can("a", 0, 0, height=0.12)):
            seen = tabletop.see(true, eye=tabletop.pitched(pitch))
            obj = tabletop.lift(seen, frame=noisy(seen.frame, np.random.default_rng(seed))).objects[0]
            rotation = seen.frame.base_T_camera.rotation
            variance = (rotation @ obj.covariance[:3, :3] @ rotation.T)[1, 1]
            off.append(abs(seen.frame.base_T_camera.apply(obj.box.centre)[1] - true.centre[1]) / np.sqrt(variance))
    assert np.mean(np.array(off) <= 1) >= 0.68
    assert np.mean(np.array(off) <= 2) >= 0.9


def test_an_answer_says_how_the_shape_was_found(tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.can("a", 0, 0, height=0.12), eye=tabletop.pitched(25))
    answer = tabletop.ask(seen, "the can")
    assert answer.target is not None
    assert answer.target.shape is not None
    assert answer.target.shape.kind == "mirror"
    assert 0.0 < answer.target.shape.completed < 0.035
    assert 0.0 < answer.target.shape.sigma < 0.01
    assert resolution_from_json(resolution_json(answer)).target == answer.target
    depth = np.where(seen.masks["a"], np.float32(np.nan), seen.frame.depth)
    assert tabletop.lift(seen, frame=dataclasses.replace(seen.frame, depth=depth)).objects[0].shape is None
