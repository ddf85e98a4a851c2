# SPDX-License-Identifier: Apache-2.0
"""Shifts of a visible surface with a thin part: its noise is none, and a target that moved still has one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface
from spatial_vlm_ros.manipulation.recheck_surface import SeenTarget, moved_by, surface_shifts

ORIGIN, AXES = np.zeros(3), np.eye(3)
NOTHING = np.zeros((2, 2, 2), np.bool_)


def screwdriver(share: float, seed: int, shaft: float = 0.12) -> np.ndarray:
    """(1000, 3) points of a thick handle 0.1 m long and of a thin shaft before it, which has this share of them."""
    rng, count = np.random.default_rng(seed), round(1000 * share)
    handle = rng.uniform((0.4, -0.015, 0.0), (0.5, 0.015, 0.03), (1000 - count, 3))
    # evenly along the shaft, as cells of a surface are
    thin = np.column_stack((np.linspace(0.4 - shaft, 0.4, count), rng.uniform(0.0, 0.004, (count, 2))))
    return np.concatenate((handle, thin)) + rng.normal(0.0, 0.0005, (1000, 3))


def seen(points: np.ndarray) -> SeenTarget:
    (x0, y0, low), (x1, y1, high) = np.quantile(points, [0.05, 0.95], axis=0).tolist()
    packed = TargetPoints.packed(points, np.tile((0.0, 0.0, 1.0), (len(points), 1)), NOTHING, (0.4, 0.0, 0.0), 0.01)
    surface = SeenSurface(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), low, high)
    return SeenTarget(surface, packed)


def along(now: SeenTarget, then: SeenTarget) -> tuple[float, float]:
    shifts = surface_shifts(then, now, ORIGIN, AXES)
    assert shifts is not None
    return float(shifts.low[0]), float(shifts.high[0])


def test_more_points_on_a_thin_part_are_no_shift() -> None:
    then, now = seen(screwdriver(0.045, 1)), seen(screwdriver(0.07, 2))
    assert then.surface is not None
    assert now.surface is not None
    assert min(x for x, _ in then.surface.outline) - min(x for x, _ in now.surface.outline) > 0.02  # of the surface
    assert max(map(abs, along(now, then))) < 0.002
    assert max(map(abs, along(then, now))) < 0.002
    assert (moved_by(then, now) or 0.0) < 0.003


@pytest.mark.parametrize("far", [-0.012, -0.008, 0.008, 0.012])
def test_a_target_with_a_thin_part_that_moved_along_it_shifted(far: float) -> None:
    then, moved = seen(screwdriver(0.045, 1)), seen(screwdriver(0.07, 2) + np.array([far, 0.0, 0.0]))
    low, high = along(moved, then)
    assert high == pytest.approx(far, abs=0.002)
    assert max(abs(low), abs(high)) > 0.006
    assert (moved_by(then, moved) or 0.0) > abs(far) - 0.002


def test_a_part_that_is_new_is_a_shift() -> None:
    """Points without a partner in the other image: the surface is not the same, so its extents count."""
    then, now = seen(screwdriver(0.02, 1, 0.02)), seen(screwdriver(0.07, 2))
    assert max(map(abs, along(now, then))) > 0.02
    assert max(map(abs, along(then, now))) > 0.02


def test_without_points_the_extents_of_the_surface_count() -> None:
    then, now = (dataclasses.replace(seen(screwdriver(*how)), points=None) for how in ((0.045, 1), (0.07, 2)))
    assert max(map(abs, along(now, then))) > 0.02
    assert surface_shifts(dataclasses.replace(then, surface=None), now, ORIGIN, AXES) is None
