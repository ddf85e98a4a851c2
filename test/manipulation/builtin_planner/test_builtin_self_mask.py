# SPDX-License-Identifier: Apache-2.0
"""The arm in a depth image whose rays MuJoCo casts on the same URDF: what they hit first is known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.manipulation.planning.self_filter import remove_self, self_mask
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

LENS = PinholeCamera(np.array([[130.0, 0, 79.5], [0, 130.0, 59.5], [0, 0, 1]]), 160, 120)
EXACT = DepthConfig(noise_floor=0.0, noise_quadratic=0.0)
PADDING = 0.02
AWAY = 0.05  # metres between the box and what it is near


def pictured(judge: Any, base_T_camera: Transform) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) depth, metres, NaN where nothing is hit, and (H, W) names of what is hit first."""
    import mujoco

    rays = np.append(normalised_grid(LENS), np.ones((LENS.height, LENS.width, 1)), axis=2).reshape(-1, 3)
    lengths = np.linalg.norm(rays, axis=1)
    ways = (rays / lengths[:, None]) @ base_T_camera.rotation.T
    depth, names = np.full(len(rays), np.nan), np.full(len(rays), "", object)
    hit = np.zeros(1, np.int32)
    for number, way in enumerate(ways):
        far = mujoco.mj_ray(judge.model, judge.data, base_T_camera.translation, way, None, 1, -1, hit, None)
        if far >= 0:
            depth[number] = far / lengths[number]
            geom = judge.model.geom(int(hit[0]))
            names[number] = geom.name or judge.model.body(int(geom.bodyid[0])).name
    return depth.reshape(LENS.height, LENS.width), names.reshape(LENS.height, LENS.width)


@pytest.mark.parametrize("noise", [EXACT, DepthConfig()], ids=("exact", "noisy"))
@pytest.mark.parametrize("seed", range(3))
def test_the_arm_is_masked_and_a_box_five_centimetres_away_is_not(
    seed: int, noise: DepthConfig, bench: Any, planner: Any, witness: Any
) -> None:
    from spatial_vlm_ros.manipulation.builtin_planner.robot import BASE_LINK, HOME, link_hulls

    draw = np.random.default_rng(seed)
    joints, opening = HOME + draw.uniform(-0.4, 0.4, 7), float(draw.uniform(0, 0.08))
    tip = planner.tip(joints)[:3, 3]
    start = witness([], None)
    start.place(joints, opening)
    side, half = np.array([-1.0, 0.0, 0.0]), 0.04
    for way in np.arange(0.0, 0.6, 0.005):  # beyond the fingers, until it is as near as it shall be
        middle = tip - side * way - (0, 0, 0.03)
        box = bench.box("crate", middle, (2 * half,) * 3)
        judge = witness([box], None)
        judge.place(joints, opening)
        least = min((d for pair, d in judge.nearest(0.3).items() if "crate" in pair), default=np.inf)
        if least >= AWAY:
            break
    assert AWAY <= least < AWAY + 0.01
    base_T_camera = Transform(BASE_LINK, "camera", look_at((1.1, draw.uniform(-0.6, 0.6), 0.9), (0.35, 0, 0.35)).matrix)
    depth, names = pictured(judge, base_T_camera)
    arm = np.char.startswith(names.astype(str), "panda")
    crate = names == "crate"
    assert arm.sum() > 1500
    assert crate.sum() > 30
    measured = depth.astype(np.float32)
    if noise is not EXACT:
        sigma = noise.noise_floor + noise.noise_quadratic * depth**2
        measured += (draw.normal(size=depth.shape) * sigma).clip(-3 * sigma, 3 * sigma).astype(np.float32)
    frame = RgbdFrame(np.zeros((120, 160, 3), np.uint8), measured, LENS, 0, "camera", base_T_camera)
    links = link_hulls(joints, opening)
    mask = self_mask(frame, links, PADDING, noise)
    assert mask[arm].all()
    assert mask[names == ""].sum() == 0
    if noise is EXACT:
        assert not mask[crate].any()
        left = remove_self(frame, mask)
        assert np.array_equal(np.isfinite(left.depth), crate)
    else:
        assert mask[crate].mean() < 0.02  # noise of three deviations may carry a point 1 cm nearer


def test_links_are_where_mujoco_has_them(planner: Any, witness: Any) -> None:
    from spatial_vlm_ros.manipulation.builtin_planner.robot import link_hulls

    judge = witness([], None)
    draw = np.random.default_rng(0)
    for _ in range(20):
        joints = draw.uniform(planner.robot.lower, planner.robot.upper)
        judge.place(joints, 0.05)
        links = link_hulls(joints, 0.05)
        assert len({link.name for link in links}) == 11
        for link in links:
            body = judge.data.body(link.name)
            assert link.base_T_link.parent == "panda_link0"
            assert link.base_T_link.translation == pytest.approx(body.xpos, abs=1e-9)
            assert link.base_T_link.rotation == pytest.approx(body.xmat.reshape(3, 3), abs=1e-9)


def test_what_is_seen_of_the_arm_is_in_its_hulls(planner: Any) -> None:
    """The meshes for the eye, which hulls are not made from, stand out of them by less than 2 mm."""
    import pinocchio

    from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME, description, link_hulls

    folder, model = description(), planner.robot.model
    with warnings.catch_warnings():  # about having been told where the meshes are
        warnings.simplefilter("ignore")
        seen = pinocchio.buildGeomFromUrdf(
            model, str(folder / "urdf" / "panda.urdf"), pinocchio.GeometryType.VISUAL, [str(folder.parents[2])]
        )
    data, placed = model.createData(), seen.createData()
    pinocchio.updateGeometryPlacements(model, data, seen, placed, np.append(HOME, [0.01, 0.01]))
    links = {link.name: link for link in link_hulls(HOME, 0.02)}
    names = set()
    for part, base_T_part in zip(seen.geometryObjects, placed.oMg, strict=True):
        name = model.frames[part.parentFrame].name
        vertices = np.asarray(part.geometry.vertices()) @ base_T_part.rotation.T + base_T_part.translation
        away = links[name].hull.outside_by(links[name].base_T_link.inverse().apply(vertices))
        assert len(vertices) > 100
        assert away.max() < 0.002
        assert away.min() < -0.005
        names.add(name)
    assert names == set(links)


@pytest.mark.parametrize("joints", [np.zeros(6), np.full(7, np.nan), ["a"] * 7])
def test_joints_that_are_none_are_refused(joints: Any, planner: Any) -> None:
    assert planner
    from spatial_vlm_ros.manipulation.builtin_planner.robot import link_hulls

    with pytest.raises(InputError, match="7 finite joint positions"):
        link_hulls(joints)


@pytest.mark.parametrize("opening", [-0.01, 0.09, np.nan])
def test_an_opening_that_is_none_is_refused(opening: float, planner: Any) -> None:
    assert planner
    from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME, link_hulls

    with pytest.raises(InputError, match="opening"):
        link_hulls(HOME, opening)
