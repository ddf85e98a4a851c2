# SPDX-License-Identifier: Apache-2.0
"""Free or not, and where links and tip are, at random configurations: as MuJoCo says on the same URDF."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.request import HeldBox, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME, description, link_hulls

UNDECIDED = 1e-3  # metres: nearer than this to touching, the two may differ
BENIGN = {"panda_link6", "panda_link7", "panda_hand", "panda_leftfinger", "panda_rightfinger"}


@pytest.mark.parametrize("holding", [False, True])
def test_the_checker_and_mujoco_agree(holding: bool, bench: Any, planner: Any, witness: Any) -> None:
    boxes = [dataclasses.replace(box, padding=0.0) for box in bench.clutter(5)]
    held = HeldBox("held", np.eye(4), np.array([0.05, 0.05, 0.2])) if holding else None
    checker = Checker(planner.robot, boxes, Segment(np.eye(4), held=held))
    judge = witness(boxes, held)
    draw = np.random.default_rng(0)
    judged = {True: 0, False: 0}
    for _ in range(400):
        joints = draw.uniform(planner.robot.lower, planner.robot.upper)
        judge.place(joints, 0.08)
        assert planner.tip(joints) == pytest.approx(judge.tip(), abs=1e-9)
        pairs = {pair: away for pair, away in judge.nearest().items() if not ("held" in pair and BENIGN & set(pair))}
        least = min(pairs.values(), default=np.inf)
        if abs(least) > UNDECIDED:
            assert checker.free(joints) == (least > 0), min(pairs, key=pairs.__getitem__)
            assert bool(checker.touched(joints)) == (least < 0)
            judged[least > 0] += 1
    assert min(judged.values()) > 50


def test_what_touches_is_named(bench: Any, planner: Any) -> None:
    crate = bench.box("crate", planner.tip(HOME)[:3, 3], (0.1, 0.1, 0.1))
    checker = Checker(planner.robot, [bench.table(), crate], Segment(np.eye(4)))
    assert checker.touched(HOME) == ("crate",)
    allowed = Checker(planner.robot, [bench.table(), crate], Segment(np.eye(4), touch={"crate"}))
    assert allowed.free(HOME)
    folded = np.array([0.0, 1.5, 0.0, -3.0, 0.0, 0.1, 0.0])
    assert "the arm itself" in checker.touched(folded)


def test_links_are_where_mujoco_has_them(planner: Any, witness: Any) -> None:
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
    pinocchio = pytest.importorskip("pinocchio")
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


@pytest.mark.usefixtures("planner")
def test_joints_and_openings_that_are_none_are_refused() -> None:
    for joints in (np.zeros(6), np.full(7, np.nan), ["a"] * 7):
        with pytest.raises(InputError, match="7 finite joint positions"):
            link_hulls(joints)  # type: ignore[arg-type]
    for opening in (-0.01, 0.09, np.nan):
        with pytest.raises(InputError, match="opening"):
            link_hulls(HOME, opening)
