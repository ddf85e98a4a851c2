# SPDX-License-Identifier: Apache-2.0
"""Free or not, and where the tip is, at random configurations: as MuJoCo says on the same URDF."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.builtin_planner.request import HeldBox, Segment

UNDECIDED = 1e-3  # metres: nearer than this to touching, the two may differ
BENIGN = {"panda_link6", "panda_link7", "panda_hand", "panda_leftfinger", "panda_rightfinger"}


@pytest.mark.parametrize("holding", [False, True])
def test_the_checker_and_mujoco_agree(holding: bool, bench: Any, planner: Any, witness: Any) -> None:
    from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker

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
    from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
    from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME

    crate = bench.box("crate", planner.tip(HOME)[:3, 3], (0.1, 0.1, 0.1))
    checker = Checker(planner.robot, [bench.table(), crate], Segment(np.eye(4)))
    assert checker.touched(HOME) == ("crate",)
    allowed = Checker(planner.robot, [bench.table(), crate], Segment(np.eye(4), touch={"crate"}))
    assert allowed.free(HOME)
    folded = np.array([0.0, 1.5, 0.0, -3.0, 0.0, 0.1, 0.0])
    assert "the arm itself" in checker.touched(folded)
