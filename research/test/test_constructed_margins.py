# SPDX-License-Identifier: Apache-2.0
"""True margins worked by hand: a viewer at the origin looks along +x, so ahead is +x and right is -y."""

from __future__ import annotations

import math

import numpy as np
import pytest

from research.constructed.margins import GROUPS, PAIRS, opposite, separation, stated
from research.constructed.standpoint import OWN, Standpoint
from research.constructed.still import Still, apart, clearance, depth_in_hull, depth_inside, gap
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Distance

EYE = Standpoint(np.array([0.0, 0.0, 0.6]))


def box(
    x: float, y: float, size: tuple[float, float, float] = (0.06, 0.06, 0.1), bottom: float = 0.0, label: str = "box",
    front: tuple[float, float] | None = None, id_: str = "",
) -> Still:  # fmt: skip
    """A block along x and y."""
    dx, dy, dz = size
    corners = np.array([(x - dx / 2, y - dy / 2), (x + dx / 2, y - dy / 2), (x + dx / 2, y + dy / 2),
                        (x - dx / 2, y + dy / 2)])  # fmt: skip
    long, short = (dx, dy) if dx >= dy else (dy, dx)
    along = np.array([1.0, 0.0]) if dx >= dy else np.array([0.0, 1.0])
    ahead = None if front is None else np.array(front)
    size3 = np.array([long, short, dz])
    return Still(id_ or label, label, (), corners, np.array([x, y, bottom + dz / 2]), along, size3, ahead)


A = box(1.0, 0.0)
CASES = [
    ("left of", box(1.1, 0.05), A, 0.05),
    ("left of", box(1.1, -0.05), A, -0.05),
    ("right of", box(0.9, -0.02), A, 0.02),
    ("behind", box(1.1, 0.0), A, 0.1),
    ("behind", box(1.1, 0.12), A, 0.04),  # 6 cm aside of it, of 10 cm behind
    ("behind", box(0.95, 0.0), A, -0.05),
    ("behind", box(1.05, 0.0, (0.2, 0.06, 0.1)), A, -0.02),  # begins before it, though its middle lies behind
    ("in front of", box(0.9, 0.0), A, 0.1),
    ("on the other side of", box(1.1, 0.0), A, 0.1),
    ("on", box(1.0, 0.01, bottom=0.1), A, 0.015),
    ("on", box(1.0, 0.04, bottom=0.1), A, -0.01),
    ("on", box(1.0, 0.0, bottom=0.13), A, -0.015),
    ("supporting", A, box(1.0, 0.01, bottom=0.1), 0.015),
    ("above", box(1.0, 0.0, bottom=0.3), A, 0.215),
    ("above", box(1.2, 0.0, bottom=0.2), A, 0.03),  # 20 cm higher, 17 cm outside
    ("below", box(1.0, 0.0), box(1.0, 0.0, bottom=0.3), 0.215),
    ("under", box(1.0, 0.0), box(1.0, 0.0, bottom=0.3), 0.03),
    ("under", box(1.0, 0.05), box(1.0, 0.0, bottom=0.3), -0.02),
    ("higher than", box(1.3, 0.3, bottom=0.07), A, 0.07),
    ("lower than", A, box(1.3, 0.3, bottom=0.07), 0.07),
    ("inside", box(1.0, 0.0, (0.04, 0.04, 0.04), 0.005), box(1.0, 0.0, (0.2, 0.2, 0.1)), 0.02),
    ("out of", box(1.3, 0.0, (0.04, 0.04, 0.04)), box(1.0, 0.0, (0.2, 0.2, 0.1)), 0.2),
    ("containing", box(1.0, 0.0, (0.2, 0.2, 0.1)), box(1.0, 0.0, (0.04, 0.04, 0.04), 0.005), 0.02),
    ("touching", box(1.0, 0.07), A, 0.005),
    ("touching", box(1.0, 0.0, bottom=0.1), A, 0.015),
    ("touching", box(1.0, 0.1), A, -0.025),
    ("against", box(1.0, 0.07), A, 0.005),
    ("against", box(1.0, 0.06, (0.06, 0.06, 0.3)), A, -0.05),
    ("next to", box(1.0, 0.16), A, 0.02),
    ("near", box(1.0, 0.22), A, 0.02),
    ("far from", box(1.0, 0.34), A, 0.04),
    ("around", box(1.0, 0.22), A, 0.02),
    ("next to", box(1.0, 0.0, bottom=0.2), A, -0.03),  # over it, not beside it
    ("taller than", box(2.0, 0.0, (0.1, 0.1, 0.14)), A, 0.04),
    ("shorter than", box(2.0, 0.0, (0.1, 0.1, 0.14)), A, -0.04),
    ("wider than", box(2.0, 0.0, (0.03, 0.1, 0.1)), A, 0.04),
    ("narrower than", box(2.0, 0.0, (0.03, 0.1, 0.1)), A, 0.03),
    ("longer than", box(2.0, 0.0, (0.03, 0.03, 0.2)), A, 0.1),
    ("thinner than", box(2.0, 0.0, (0.1, 0.1, 0.02)), A, 0.04),
    ("thicker than", box(2.0, 0.0, (0.1, 0.1, 0.2)), A, 0.04),
    ("larger than", box(2.0, 0.0, (0.2, 0.2, 0.2)), box(1.0, 0.0, (0.1, 0.1, 0.1)), 0.1),
    ("smaller than", box(1.0, 0.0, (0.1, 0.1, 0.1)), box(2.0, 0.0, (0.2, 0.2, 0.2)), 0.1),
]


@pytest.mark.parametrize(("relation", "target", "anchor", "expected"), CASES)
def test_margin_as_worked_by_hand(relation: str, target: Still, anchor: Still, expected: float) -> None:
    assert PAIRS[relation](target, anchor, EYE) == pytest.approx(expected, abs=1e-6)


BOARD = box(1.0, 0.0, (0.3, 0.2, 0.02))


@pytest.mark.parametrize(
    ("relation", "place", "expected"),
    [
        ("at the edge of", (1.0, 0.08), 0.04),  # 2 cm from the edge, which reaches 3 cm in; half a size is 3 cm
        ("at the edge of", (1.0, 0.0), -0.04),
        ("at the corner of", (1.13, 0.08), 0.05),  # over: 2 + 3 cm; corner: 5 - (2 - 3) cm
        ("at the corner of", (1.0, 0.08), -0.07),
        ("at the centre of", (1.0, 0.0), 0.05),
        ("at the centre of", (1.1, 0.0), -0.05),
        ("at the end of", (1.13, 0.0), 0.03),
        ("at the left side of", (1.0, 0.06), 0.06 - 0.2 / 6),
        ("at the right side of", (1.0, 0.06), -0.06 - 0.2 / 6),
        ("at the back of", (1.1, 0.0), 0.05),
        ("at the front of", (0.9, 0.0), 0.05),
    ],
)
def test_parts_of_a_board(relation: str, place: tuple[float, float], expected: float) -> None:
    assert PAIRS[relation](box(*place, bottom=0.02), BOARD, EYE) == pytest.approx(expected, abs=1e-6)


def test_thirds_of_the_height_and_parts_of_a_box() -> None:
    case, obj = box(1.0, 0.0, (0.2, 0.3, 0.6)), (0.06, 0.06, 0.06)
    low, middle, high = (box(1.0, 0.0, obj, bottom) for bottom in (0.0, 0.27, 0.45))
    assert PAIRS["at the bottom of"](low, case, EYE) == pytest.approx(0.13)
    assert PAIRS["in the middle of the height of"](middle, case, EYE) == pytest.approx(0.1)
    assert PAIRS["at the top of"](high, case, EYE) == pytest.approx(0.08)
    assert PAIRS["at the top of"](low, case, EYE) < 0
    assert PAIRS["part of"](high, case, EYE) == pytest.approx(0.115)
    assert PAIRS["part of"](box(1.2, 0.0, obj), case, EYE) < 0


def test_a_round_object_has_no_corner() -> None:
    plate = box(1.0, 0.0, (0.2, 0.2, 0.02), label="plate")
    assert math.isnan(PAIRS["at the corner of"](box(1.08, 0.08, bottom=0.02), plate, EYE))


def test_between_needs_the_cone_and_the_gap() -> None:
    a, b = box(1.0, 0.3), box(1.0, -0.3)
    assert GROUPS["between"](box(1.0, 0.0), [a, b]) == pytest.approx(0.3 * math.tan(math.radians(30)))
    assert GROUPS["between"](box(1.0, 0.28), [a, b]) == pytest.approx(-0.01)
    assert GROUPS["between"](box(1.3, 0.0), [a, b]) < 0


def test_among_is_within_the_widened_outline() -> None:
    three = [box(1.0, 0.2), box(1.0, -0.2), box(1.3, 0.0)]
    assert GROUPS["among"](box(1.1, 0.0), three) > 0.03
    assert GROUPS["among"](box(0.9, 0.0), three) == pytest.approx(0.03 - 0.1)
    assert GROUPS["among"](box(1.05, 0.0), three[:2]) == pytest.approx(0.03 - 0.05)  # of two: a capsule


def test_own_sides_of_a_chair_and_faced_sides_of_a_cabinet() -> None:
    towards_viewer = (-1.0, 0.0)
    chair = box(1.0, 0.0, label="chair", front=towards_viewer)
    cabinet = box(1.0, 0.0, label="cabinet", front=towards_viewer)
    left_of_the_image = box(1.0, 0.1)
    assert PAIRS["right of"](left_of_the_image, chair, OWN) == pytest.approx(0.1)  # its own right hand
    assert PAIRS["left of"](left_of_the_image, cabinet, OWN) == pytest.approx(0.1)  # as who faces it has it
    for anchor in (chair, cabinet):
        assert PAIRS["behind"](box(1.1, 0.0), anchor, OWN) == pytest.approx(0.1)
    with pytest.raises(InputError, match="front"):
        OWN.axes(A)


def test_facing_and_opposite_to_a_front() -> None:
    car = box(1.0, 0.0, label="car", front=(1.0, 0.0))
    assert PAIRS["facing"](car, box(1.3, 0.0), EYE) == pytest.approx(0.3)
    assert PAIRS["facing"](car, box(1.3, 0.2), EYE) == pytest.approx(0.3 - 0.17)
    assert PAIRS["facing away from"](car, box(0.7, 0.0), EYE) == pytest.approx(0.3)
    assert opposite(box(1.3, 0.0), car, []) == pytest.approx(0.3)
    assert math.isnan(PAIRS["facing"](A, box(1.3, 0.0), EYE))


def test_opposite_is_across_the_middle_of_everything() -> None:
    a, t = box(1.0, 0.2), box(1.0, -0.2)
    assert opposite(t, a, [a, t]) == pytest.approx(0.17)  # |a - c| - s/2
    assert opposite(box(1.0, 0.0), a, [a, t]) == pytest.approx(0.0, abs=1e-6)


def test_stated_distances_between_outlines() -> None:
    t = box(1.0, 0.26)
    for relation, other in (("left of", t), ("right of", box(1.0, -0.26)), ("next to", t)):
        assert separation(relation, other, A, EYE) == pytest.approx(0.2)
    assert separation("behind", box(1.3, 0.0), A, EYE) == pytest.approx(0.24)
    assert separation("in front of", box(0.7, 0.0), A, EYE) == pytest.approx(0.24)
    assert separation("above", box(1.0, 0.0, bottom=0.3), A, EYE) == pytest.approx(0.2)
    assert stated(Distance(0.2), 0.23) == pytest.approx(0.01)
    assert stated(Distance(0.05), 0.08) == pytest.approx(-0.01)  # at least 2 cm are allowed
    assert stated(Distance(0.2, "at most"), 0.15) == pytest.approx(0.05)
    assert stated(Distance(0.2, "at least"), 0.15) == pytest.approx(-0.05)


def test_closer_and_farther_go_by_the_visible_surface() -> None:
    near, far = box(1.0, 0.0), box(1.5, 0.0)
    assert PAIRS["closer than"](near, far, EYE) == -PAIRS["farther than"](near, far, EYE) > 0.3


@pytest.mark.parametrize(("one", "other"), [("left of", "right of"), ("in front of", "behind"), ("above", "below")])
def test_mirror_images_exclude_each_other(one: str, other: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        t = box(*rng.uniform((0.7, -0.3), (1.3, 0.3)), bottom=float(rng.uniform(0, 0.3)))
        assert not (PAIRS[one](t, A, EYE) > 0 and PAIRS[other](t, A, EYE) > 0)
        if one == "left of":
            assert PAIRS[one](t, A, EYE) == pytest.approx(-PAIRS[other](t, A, EYE))


def test_plane_geometry() -> None:
    square = A.outline
    assert depth_inside(np.array([1.0, 0.0]), square) == pytest.approx(0.03)
    assert depth_inside(np.array([1.05, 0.0]), square) == pytest.approx(-0.02)
    assert clearance(square, square + np.array([0.1, 0.0])) == pytest.approx(0.04)
    assert clearance(square, square + np.array([0.01, 0.0])) < 0
    assert gap(A, box(1.2, 0.0)) == pytest.approx(0.14)
    assert apart((0.0, 1.0), (0.5, 2.0)) == 0.0
    assert depth_in_hull(np.array([0.0, 0.1]), np.array([[-1.0, 0.0], [1.0, 0.0]])) == pytest.approx(-0.1)
