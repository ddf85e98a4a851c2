# SPDX-License-Identifier: Apache-2.0
"""The map that the benchmark of random worlds judges reach by, against the robot's description."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pinocchio")
pytest.importorskip("scipy")

from benchmarks.arm_reach import LOWER, UPPER, reaches, tip_of, within_reach
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import FROM_LIMITS
from spatial_vlm_ros.manipulation.builtin_planner.inverse import Inverse
from spatial_vlm_ros.manipulation.builtin_planner.robot import panda


def test_the_makers_table_and_the_description_are_one_arm() -> None:
    inverse, rng = Inverse(panda()), np.random.default_rng(3)
    for joints in rng.uniform(LOWER, UPPER, (20, 7)):
        tip, fingers, _, _ = tip_of(joints)
        described = inverse.tip(joints)
        assert tip == pytest.approx(described[:3, 3], abs=1e-9)
        assert fingers == pytest.approx(described[:3, 2], abs=1e-9)
    assert panda().lower - FROM_LIMITS == pytest.approx(LOWER, abs=2e-3)
    assert panda().upper + FROM_LIMITS == pytest.approx(UPPER, abs=2e-3)


@pytest.mark.parametrize(
    ("place", "down", "anywhere"),
    [((0.5, 0.1, 0.03), True, True), ((0.84, 0.0, 0.03), False, True), ((0.95, 0.0, 0.03), False, False)],
    ids=["before it", "with the hand stretched out", "too far"],
)
def test_what_it_reaches(place: tuple[float, float, float], down: bool, anywhere: bool) -> None:
    assert reaches(np.array(place), starts=8) == down
    assert reaches(np.array(place), down=False, starts=8) == anywhere


def test_a_task_is_within_reach_where_all_its_places_are() -> None:
    told = within_reach(np.array([0.45, 0.0, 0.03]), np.array([0.7, 0.7, 0.04]))
    assert told == {
        "target": True, "above the target": True, "tray": False, "above the tray": False, "target, any direction": True
    }  # fmt: skip
