# SPDX-License-Identifier: Apache-2.0
"""Worked by hand: boxes on a table, the viewer at (-1, 0, 0.5), looking along +x; its right is -y."""

from typing import Any

import numpy as np
import pytest
from tables import rows

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.sim.truth import TrueObject, margin, outline_of, tight_box
from spatial_vlm_ros.types import Transform

EYE = np.array([-1.0, 0.0, 0.5])


def box(x: float, y: float, size: Any = (0.1, 0.1, 0.1), bottom: float = 0.0, turn: float = 0.0) -> TrueObject:
    signs = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (0, 1)])
    c, s = np.cos(turn), np.sin(turn)
    points = (signs * size) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + (x, y, bottom)
    outline = outline_of(points)
    return TrueObject("b", "box", (), Transform("base_link", "b", np.eye(4)), *tight_box(points, outline), outline)


ANCHOR = box(0.0, 0.0)


@pytest.mark.parametrize(("relation", "target", "expected", "why"), rows(__file__, "relation_margins"))
def test_margins_are_those_worked_by_hand(relation: str, target: list[Any], expected: float, why: str) -> None:
    assert margin(relation, box(*target), ANCHOR, EYE) == pytest.approx(expected, abs=1e-6), why


def test_left_mirrors_right_and_behind_is_never_in_front() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = (box(*rng.uniform(-0.5, 0.5, 2), turn=rng.uniform(0, 3)) for _ in range(2))
        assert margin("left of", one, other, EYE) == -margin("right of", one, other, EYE)
        assert min(margin("behind", one, other, EYE), margin("in front of", one, other, EYE)) <= 0
    with pytest.raises(UnknownNameError, match="next to"):
        margin("astride", ANCHOR, ANCHOR, EYE)


def test_the_tight_box_of_a_turned_block_is_that_block() -> None:
    turned = box(0.3, -0.2, (0.2, 0.08, 0.12), 0.05, turn=0.7)
    np.testing.assert_allclose(turned.centre, (0.3, -0.2, 0.11), atol=1e-7)
    np.testing.assert_allclose(turned.size, (0.2, 0.08, 0.12), atol=1e-7)
    np.testing.assert_allclose(turned.axes[:, 0], (np.cos(0.7), np.sin(0.7), 0), atol=1e-6)
    assert (turned.bottom, turned.top) == pytest.approx((0.05, 0.17))


def test_no_turn_makes_the_tight_box_smaller() -> None:
    points = np.random.default_rng(4).normal(size=(60, 3)) * (0.1, 0.04, 0.03)
    _, _, size = tight_box(points, outline_of(points))
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in np.linspace(0, np.pi / 2, 400)]
    areas = [np.prod(np.ptp(points[:, :2] @ turn, axis=0)) for turn in turns]
    assert size[0] * size[1] <= min(areas) * (1 + 1e-9)
    assert size[0] * size[1] == pytest.approx(min(areas), rel=3e-3)
