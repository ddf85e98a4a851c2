# SPDX-License-Identifier: Apache-2.0
"""The map that the benchmark of random worlds judges reach by, against the robot's description."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pinocchio")
pytest.importorskip("scipy")

from benchmarks.arm_reach import TABLES, UR5E, reaches, tip_of, within_reach
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import FROM_LIMITS
from spatial_vlm_ros.manipulation.builtin_planner.inverse import Inverse
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import known_arm


@pytest.mark.parametrize("name", TABLES)
def test_the_makers_table_and_the_description_are_one_arm(name: str) -> None:
    table, robot = TABLES[name], known_arm(name).model()
    inverse, rng = Inverse(robot), np.random.default_rng(3)
    for joints in rng.uniform(robot.lower, robot.upper, (20, len(robot.joints))):
        tip, fingers, _, _ = tip_of(joints, table)
        described = inverse.tip(joints)
        assert tip == pytest.approx(described[:3, 3], abs=1e-8)
        assert fingers == pytest.approx(described[:3, 2], abs=1e-8)
    assert robot.lower - FROM_LIMITS == pytest.approx(table.lower, abs=2e-3)
    assert robot.upper + FROM_LIMITS == pytest.approx(table.upper, abs=2e-3)


@pytest.mark.parametrize(
    ("place", "down", "anywhere"),
    [((0.5, 0.1, 0.03), True, True), ((0.84, 0.0, 0.03), False, True), ((0.95, 0.0, 0.03), False, False)],
    ids=["before it", "with the hand stretched out", "too far"],
)
def test_what_it_reaches(place: tuple[float, float, float], down: bool, anywhere: bool) -> None:
    assert reaches(np.array(place), starts=8) == down
    assert reaches(np.array(place), down=False, starts=8) == anywhere


def test_the_ur5e_reaches_as_far_as_it_is_long_and_a_task_needs_all_its_places() -> None:
    # Fingers down at 0.03 m: the wrist is 0.117 m above the shoulder, 0.0997 m before its axis, 0.1333 m beside it.
    farthest = np.hypot(np.sqrt((0.425 + 0.3922) ** 2 - 0.117**2) + 0.0997, 0.1333)
    assert reaches(np.array([farthest - 0.005, 0.0, 0.03]), arm=UR5E)
    assert not reaches(np.array([farthest + 0.005, 0.0, 0.03]), arm=UR5E)
    assert not reaches(np.array([1.2, 0.0, 0.2]), down=False, starts=8, arm=UR5E)
    assert within_reach(np.array([0.45, 0.0, 0.03]), np.array([0.7, 0.7, 0.04])) == {
        "target": True, "above the target": True, "tray": False, "above the tray": False, "target, any direction": True
    }  # fmt: skip
