# SPDX-License-Identifier: Apache-2.0
"""Every relation of docs/relations.md on a few objects, with the numbers worked out by pencil from its formula."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from relation_scenes import PAIRWISE, VIEWER, Ground, Object, lay, margins, rounded, turned, with_front

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.likelihood import clause_likelihood, state_of
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure, measure_set, measure_two
from spatial_vlm_ros.types import ClauseState, Plane, Scene, UpSource

EXACT = {"abs": 1e-9}
INF = float("inf")
LEVEL = ("touching", "against")
"""Where heights differ, 0.1° of doubt about "up" adds micrometres to a deviation."""
SLOPE = 1 / 3**0.5  # tan 30 degrees

O = Object  # noqa: E741
CUBE = O(1.0, 0.0)
TRAY = O(1.0, 0.0, (0.4, 0.3, 0.02))
CABINET = O(1.0, 0.0, (0.4, 0.4, 0.6))
LONG = O(1.2, 0.0, (0.2, 0.06, 0.06))  # its centre is as far as that of a cube there, but it begins at 1.10
BOX = O(1.0, 0.0, (0.12, 0.1, 0.06))
BOARD = O(1.0, 0.0, (0.4, 0.4, 0.02), base=0.3)
BOWL, BALL = O(1.0, 0.0, (0.16, 0.16, 0.06)), O(1.0, 0.0, (0.04, 0.04, 0.04), base=0.004)
WALL = O(1.0, 0.0, (0.06, 0.06, 0.3))
RING = O(1.0, 0.0, (0.3, 0.3, 0.02))
PENS = O(1.0, 0.04, (0.01, 0.01, 0.01)), O(1.0, 0.0, (0.01, 0.01, 0.01))
AROUND = O(0.6, 0.0), O(1.4, 0.0), O(1.0, 0.3)
SLAB = O(1.0, 0.3, (0.04, 0.1, 0.08))
FLAT = O(1.0, 0.0, (0.2, 1e-12, 0.01))
ABREAST = O(np.cos(np.pi / 6), np.sin(np.pi / 6)), O(1.5 * np.cos(np.pi / 6), 1.5 * np.sin(np.pi / 6))

# (relation, target, anchor, margin or the bounds that it lies between), with further objects of the scene if need be.
NUMBERS: dict[str, list[tuple[Any, ...]]] = {
    "left and right are offsets from the ray to the anchor": [
        ("right of", O(1.0, 0.2), CUBE, 0.2),
        ("left of", O(1.0, 0.2), CUBE, -0.2),
        ("right of", O(1.0, -0.2), CUBE, -0.2),
        ("left of", O(1.0, -0.2), CUBE, 0.2),
        ("right of", ABREAST[1], ABREAST[0], 0.0),  # 30° to the right on the same ray: farther right in metres alone
        ("behind", ABREAST[1], ABREAST[0], (0.4, INF)),
    ],
    "behind is how much farther, and in front of how much nearer, the target begins": [
        ("behind", O(1.2, 0.0), CUBE, 0.2),
        ("behind", LONG, CUBE, 0.13),
        ("in front of", LONG, CUBE, -0.2),  # by the centres, which say less
        ("in front of", O(0.8, 0.02), CUBE, (0.197, 0.203)),
        ("behind", O(0.8, 0.02), CUBE, (-0.203, -0.197)),
    ],
    "opposite is across the middle of all objects": [  # at (1, 0), the anchor 0.3 left of it; half a size is 0.03
        ("opposite", O(1.0, 0.3), O(1.0, -0.3), 0.27, *AROUND),
        ("opposite", O(1.0, 0.2), O(1.0, -0.3), 0.2, *AROUND),
        ("opposite", O(1.1, 0.2), O(1.0, -0.3), 0.1, *AROUND),
        ("opposite", O(1.2, 0.0), O(1.0, -0.3), -0.2, *AROUND),
        ("opposite", O(1.0, 0.2), CUBE, -0.03, *AROUND, O(1.0, -0.3)),  # what is in the middle has no opposite
    ],
    "above is the clear height, contact counts, up to the cone about the vertical": [
        ("above", O(1.0, 0.0, base=0.12), CUBE, 0.075),
        ("above", O(1.0, 0.0, base=0.06), CUBE, 0.015),
        ("above", CUBE, CUBE, -0.045),
        ("below", CUBE, O(1.0, 0.0, base=0.12), 0.075),
        ("below", CUBE, O(1.0, 0.0, base=0.06), 0.015),
        ("above", O(1.0, 0.2, base=0.2), CUBE, 0.2 + 0.03 - 0.2),  # centres 0.2 apart in height, the edge at 0.03
        ("above", O(1.0, 0.3, base=0.2), CUBE, 0.2 + 0.03 - 0.3),
        ("above", O(1.0, 0.0, base=0.2), CUBE, (0.1, INF)),
    ],
    "on wants contact and a centre over the outline": [
        ("on", O(1.0, 0.0, base=0.06), CUBE, 0.015 + 2 * 0.006),
        ("supporting", CUBE, O(1.0, 0.0, base=0.06), 0.015 + 2 * 0.006),
        ("on", O(1.0, 0.0, base=0.06), BOX, (0.01, INF)),
        ("on", O(1.0, 0.03, base=0.06), BOX, (0.01, INF)),
        ("on", O(1.0, 0.06, base=0.06), BOX, -0.01),  # 1 cm off the edge
        ("on", O(1.0, 0.0, base=0.16), BOX, (-INF, -0.05)),  # 10 cm of air
        ("on", O(1.0, 0.0, base=0.2), CUBE, (-INF, -0.05)),
        ("on", O(1.0, 0.2), BOX, (-INF, -0.1)),
        ("on", BOX, O(1.0, 0.0, base=0.06), (-INF, -0.02)),
        *(("on", O(*place, base=0.01), FLAT, (-INF, -0.15)) for place in ((1.3, 0.0), (1.0, 0.2), (0.6, 0.0))),
    ],
    "under wants the anchor overhead": [
        ("under", O(1.0, 0.1), BOARD, 0.1),
        ("under", O(1.0, 0.3), BOARD, -0.1),
        ("below", O(1.0, 0.3), BOARD, (0.0, INF)),
    ],
    "inside wants all of depth, width and place": [
        ("inside", BALL, BOWL, 0.019),
        ("containing", BOWL, BALL, 0.019),
        ("out of", BALL, BOWL, -0.019),
        ("inside", dataclasses.replace(BALL, base=0.06), BOWL, (-INF, 0.0)),  # on the rim
        ("inside", O(1.0, 0.2, (0.04, 0.04, 0.04)), BOWL, (-INF, 0.0)),
        ("inside", O(1.0, 0.0, (0.2, 0.2, 0.04), base=0.004), BOWL, (-INF, 0.0)),  # wider than it
        ("inside", BOWL, dataclasses.replace(BALL, base=0.0), (-INF, 0.0)),
        # Sizes are compared as they are, however small: a marble of 0.02 in an egg cup of 0.045.
        ("inside", O(1.0, 0.0, (0.02, 0.02, 0.02), base=0.03), O(1.0, 0.0, (0.045, 0.045, 0.08)), 0.0225),
    ],
    "higher and lower compare tops and undersides": [
        ("higher than", WALL, O(1.2, 0.4, base=0.1), 0.3 - 0.16),
        ("lower than", WALL, O(1.2, 0.4, base=0.1), 0.1),
        ("lower than", O(1.2, 0.4, base=0.1), WALL, -0.1),
    ],
    "touching leaves no gap but contact": [  # 0.015 and twice a tenth of 0.06; gaps 0.01, none, (0.03, 0.04), none
        ("touching", O(1.0, 0.07), CUBE, 0.017),
        ("touching", O(1.0, 0.0, base=0.06), CUBE, 0.027),
        ("touching", O(1.0, 0.09, base=0.1), CUBE, -0.023),
        ("touching", CUBE, CUBE, 0.027),
        ("against", O(1.0, 0.07), WALL, 0.017),  # touching sideways by what is not much taller
        ("against", WALL, O(1.0, 0.07), 0.06 - 0.15),
        ("against", O(1.0, 0.07, base=0.32), WALL, -0.02),
    ],
    "next to, near and far compare the gap with the mean size": [  # 0.06 wide: within 1, within 2.5, beyond 4 sizes
        *(
            (name, O(1.0, gap + 0.06), CUBE, value)
            for gap, *values in (
                (0.04, 0.02, 0.11, -0.2),
                (0.1, -0.04, 0.05, -0.14),
                (0.2, -0.14, -0.05, -0.04),
                (0.3, -0.24, -0.15, 0.06),
            )
            for name, value in zip(("next to", "near", "far from"), values, strict=True)
        ),
        ("next to", O(1.0, 0.0, base=0.06), CUBE, (-INF, 0.0)),  # one on the other
        ("next to", *PENS, 0.02),  # 3 cm apart: sizes below 5 cm count as 5 cm
        ("far from", O(1.0, 0.0, base=1.0), CUBE, 0.94 - 0.24),  # a lamp: 0.94 of air
        ("near", O(1.0, 0.0, base=1.0), CUBE, (-INF, 0.0)),
        ("around", RING, CUBE, 0.15),
        ("around", CUBE, RING, -0.15),  # what is in it is not around it
        ("around", O(1.0, 0.1), CUBE, 0.11),
        ("near", O(1.0, 0.1), CUBE, 0.11),
    ],
    "parts of a tray": [  # 0.4 deep and 0.3 wide; the target stands on it and is 0.06 wide
        *(
            (f"at the {part} of", O(*place, base=0.02), TRAY, value)
            for part, place, value in (
                ("edge", (1.0, 0.1), 0.045 - (0.05 - 0.03)),
                ("edge", (1.0, 0.0), 0.045 - (0.15 - 0.03)),
                ("edge", (1.0, 0.2), -0.05 + 0.03),
                ("corner", (1.15, 0.1), 0.075 - (0.05 - 0.03)),
                ("corner", (1.0, 0.1), 0.075 - (0.2 - 0.03)),
                ("centre", (1.03, 0.04), 0.07 - 0.05),
                ("end", (1.17, 0.0), 0.17 - 0.4 / 3),
                ("end", (0.83, 0.0), 0.17 - 0.4 / 3),
                ("end", (1.0, 0.12), -0.4 / 3),
                ("right side", (1.0, 0.1), 0.1 - 0.05),
                ("left side", (1.0, 0.1), -0.1 - 0.05),
                ("left side", (1.0, -0.1), 0.1 - 0.05),
                ("front", (0.9, 0.0), 0.1 - 0.4 / 6),
                ("back", (1.1, 0.0), 0.1 - 0.4 / 6),
                ("back", (0.9, 0.0), -0.1 - 0.4 / 6),
            )
        ),
        ("at the edge of", O(1.0, 0.1), dataclasses.replace(TRAY, base=0.3), -0.3 + 0.015),  # under it
    ],
    "levels of a cabinet": [  # 0.6 high; the outline may overhang by half its size: 0.23 inside
        ("at the top of", O(1.0, 0.0, base=0.5), CABINET, 0.23 - 0.1),
        ("in the middle of the height of", O(1.0, 0.0, base=0.3), CABINET, 0.1 - 0.03),
        ("at the bottom of", O(1.0, 0.0, base=0.05), CABINET, 0.22 - 0.1),
        ("at the bottom of", O(1.0, 0.0, base=0.5), CABINET, -0.23 - 0.1),
        ("at the top of", O(1.0, 0.0, base=0.6), CABINET, 0.23),
        ("at the top of", O(1.0, 0.0, base=0.9), CABINET, -0.3 + 0.015),  # high above it is at no level
        ("part of", O(0.81, 0.0, base=0.2), CABINET, 0.015 + 0.01),
        ("part of", O(1.0, 0.0, base=0.55), CABINET, 0.015 + 0.02),
        ("part of", O(0.7, 0.0, base=0.2), CABINET, 0.015 - 0.1),
    ],
    "sizes are compared as superlatives do": [
        ("taller than", SLAB, CUBE, 0.02),
        ("shorter than", SLAB, CUBE, -0.02),
        ("longer than", SLAB, CUBE, 0.04),
        ("wider than", SLAB, CUBE, 0.04),
        ("narrower than", SLAB, CUBE, 0.02),
        ("thicker than", SLAB, CUBE, -0.02),
        ("thinner than", SLAB, CUBE, 0.02),
        ("larger than", SLAB, CUBE, np.cbrt(0.1 * 0.04 * 0.08) - 0.06),
        ("smaller than", SLAB, CUBE, 0.06 - np.cbrt(0.1 * 0.04 * 0.08)),
        ("closer than", O(0.8, 0.0), O(1.0, 0.3), np.sqrt(1.09 + 0.57**2) - np.sqrt(0.64 + 0.57**2)),
        ("farther than", O(0.8, 0.0), O(1.0, 0.3), np.sqrt(0.64 + 0.57**2) - np.sqrt(1.09 + 0.57**2)),
    ],
}


@pytest.mark.parametrize("rows", NUMBERS.values(), ids=NUMBERS)
def test_margins_are_those_of_the_formula(ground: Ground, rows: list[tuple[Any, ...]]) -> None:
    for relation, target, anchor, expected, *further in rows:
        got = margins(lay(ground.scene((target, anchor, *further))), relation)[0, 1]
        if isinstance(expected, tuple):
            assert expected[0] < got < expected[1], (relation, target, anchor)
        else:
            assert got == pytest.approx(expected, abs=2e-5 if relation in LEVEL else 1e-8), (relation, target, anchor)


@pytest.mark.parametrize("relation", ["behind", "in front of"])
@pytest.mark.parametrize(("aside", "margin"), [(0.05, 0.2), (0.16, 0.1), (0.24, 0.02), (0.28, -0.02), (0.4, -0.14)])
def test_the_cone_of_behind_ends_where_the_gap_aside_is_as_wide_as_the_distance(
    ground: Ground, relation: str, aside: float, margin: float
) -> None:
    """Both are 0.06 wide: the gap aside is |aside| - 0.06; the distance is 0.2."""
    ahead = {"behind": 10.2, "in front of": 9.8}[relation]  # so far that rays are parallel to within 0.5 mm in 0.2 m
    for side in (-1, 1):
        assert ground.margin(relation, O(ahead, side * aside), O(10.0, 0.0)) == pytest.approx(margin, abs=0.001)


@pytest.mark.parametrize("pitch", [0, 35, 74])
def test_heights_do_not_decide_what_is_behind(ground: Ground, pitch: float) -> None:
    """And what is higher in the image is not farther for that."""
    bottle = O(0.8, 0.0, (0.06, 0.06, 0.3))
    for far in (O(1.0, 0.0, (0.06, 0.06, 0.03)), O(1.0, 0.0, (0.06, 0.06, 0.03), base=0.4)):
        for relation, pair, margin in (("behind", (far, bottle), 0.2), ("in front of", (bottle, far), 0.2),
                                       ("behind", (bottle, far), -0.2)):  # fmt: skip
            assert ground.margin(relation, *pair, pitch_deg=pitch) == pytest.approx(margin, abs=1e-6)
    assert ground.margin("behind", O(0.9, 0.0, base=0.35), O(1.0, 0.05), pitch_deg=pitch) < -0.09


def of_two(scene: Scene, relation: str) -> float:
    """Of the first object, to the second and third."""
    layout = lay(scene)
    rows = [np.array([n]) for n in range(3)]
    return float(measure_two(relation, layout, layout.viewpoint(VIEWER), *rows)[0][0, 0, 0])


@pytest.mark.parametrize(
    ("relation", "anchors", "place", "expected"),
    [
        # Seen from an object on the left, farther is farther right; beside the ray there are 0.04 and 0.14.
        ("on the other side of", ((1.0, 0.0), (1.0, -0.5)), (1.0, 0.2), 0.2),
        ("on the other side of", ((1.0, 0.0), (1.0, -0.5)), (1.1, 0.2), 0.16),
        ("on the other side of", ((1.0, 0.0), (1.0, -0.5)), (1.2, 0.0), -0.14),
        # Anchors 0.4 apart and 0.06 wide; the double cone opens by 30 degrees to either side of the line.
        ("between", ((1.0, -0.2), (1.0, 0.2)), (1.0, 0.0), 0.2 * SLOPE),
        ("between", ((1.0, -0.2), (1.0, 0.2)), (1.02, 0.1), 0.1 * SLOPE - 0.02),
        ("between", ((1.0, -0.2), (1.0, 0.2)), (1.13, 0.0), 0.2 * SLOPE - 0.13),
        ("between", ((1.0, -0.2), (1.0, 0.2)), (1.0, 0.25), -0.08),
        ("between", ((1.0, -0.2), (1.0, 0.2)), (1.0, 0.16), 0.01),
    ],
)
def test_relations_to_two_anchors(
    ground: Ground, relation: str, anchors: tuple[Any, ...], place: tuple[float, float], expected: float
) -> None:
    scene = ground.scene((O(*place), *(O(*anchor) for anchor in anchors)))
    assert of_two(scene, relation) == pytest.approx(expected, **EXACT)


CORNERS = ((1.0, -0.2), (1.0, 0.2), (1.4, 0.0))


@pytest.mark.parametrize(
    ("members", "place", "expected"),
    [(3, (1.1, 0.0), 0.13), (3, (0.9, 0.0), -0.07), (3, (1.0, 0.23), 0.0), (2, (1.05, 0.1), -0.02),
     (2, (1.0, 0.25), -0.02), (2, (1.0, 0.0), 0.03)],
)  # fmt: skip
def test_among_is_inside_the_widened_outline_and_of_two_close_to_their_line(
    ground: Ground, members: int, place: tuple[float, float], expected: float
) -> None:
    layout = lay(ground.scene([O(*one) for one in (place, *CORNERS[:members])]))
    got = measure_set("among", layout, np.array([0]), np.arange(1, members + 1))[0][0]
    assert got == pytest.approx(expected, **EXACT)


def test_a_member_is_among_the_others(ground: Ground) -> None:
    layout = lay(ground.scene([O(*corner) for corner in (*CORNERS, (1.1, 0.0))]))
    everyone = np.arange(4)
    got, _ = measure_set("among", layout, everyone, everyone)
    assert got[3] == pytest.approx(0.13, **EXACT)
    assert (got[:3] < 0).all()
    assert np.isnan(measure_set("among", layout, everyone[:2], everyone[:2])[0]).all(), "one other is no group"


# ------------------------------------------------------------------------------------------------ fronts, outlines


@pytest.mark.parametrize(
    ("place", "facing", "away"),
    [((1.0, 0.3), 0.3, -0.3), ((1.2, 0.3), 0.3 - 0.17, -0.3 - 0.17), ((1.0, -0.3), -0.3, 0.3)],
)
def test_facing_is_to_have_the_anchor_before_ones_front(
    ground: Ground, place: tuple[float, float], facing: float, away: float
) -> None:
    """Its front faces right; the second anchor begins 0.17 beside that ray."""
    layout = lay(with_front(ground.scene((CUBE, O(*place))), 0, 0.0, 1.0))
    assert margins(layout, "facing")[0, 1] == pytest.approx(facing, **EXACT)
    assert margins(layout, "facing away from")[0, 1] == pytest.approx(away, **EXACT)
    assert np.isnan(margins(layout, "facing")[1]).all(), "no front is known of the other one"


def test_opposite_an_object_with_a_front_is_before_it(ground: Ground) -> None:
    got = margins(lay(with_front(ground.scene((O(1.0, 0.3), CUBE, O(0.5, 0.2))), 1, 0.0, 1.0)), "opposite")
    assert got[0, 1] == pytest.approx(0.3, **EXACT)  # farther right than the front that faces right
    assert got[2, 1] == pytest.approx(0.2 - 0.44, **EXACT)  # 0.2 farther right, 0.44 aside


def test_parts_turn_with_the_object_and_a_round_one_has_an_edge_and_no_corner(ground: Ground) -> None:
    """Turned by a right angle, the tray's ends are to the left and right."""
    scene = turned(ground.scene((O(1.0, 0.17, base=0.02), TRAY)), (0.0, np.pi / 2))
    assert margins(lay(scene), "at the end of")[0, 1] == pytest.approx(0.17 - 0.4 / 3, **EXACT)
    layout = lay(rounded(ground.scene((O(1.0, 0.12, base=0.02), RING)), 1))
    assert np.isnan(margins(layout, "at the corner of")[0, 1])
    assert margins(layout, "at the edge of")[0, 1] > 0


# ------------------------------------------------------------------------------------------------ robustness


def test_degenerate_objects_are_measured_without_a_warning(ground: Ground) -> None:
    """No width, no height, one place, a giant: warnings are errors here."""
    line, point = (0.2, 1e-12, 1e-3), (1e-12, 1e-12, 0.0)
    objects = [CUBE, CUBE, O(1.0, 0.0, line), O(1.0, 0.1, point), O(1.0, 0.1, point), O(1.0, 0.0, (50.0, 40.0, 30.0)),
               O(0.0, 0.0), O(1.5, 0.5, (0.1, 0.1, 0.0))]  # fmt: skip
    scene = ground.scene(objects)
    for row in range(len(objects)):
        scene = with_front(scene, row, 1.0, 0.5)
    layout = lay(scene)
    for relation in PAIRWISE:
        got = margins(layout, relation)
        wanted = np.isfinite(got) | (layout.cornerless if relation == "at the corner of" else False)
        assert wanted.all(), relation
    rows = np.arange(len(objects))
    assert np.isfinite(measure_two("between", layout, layout.viewpoint(VIEWER), rows, rows, rows)[0]).all()
    assert np.isfinite(measure_set("among", layout, rows, rows)[0]).all()


def test_a_single_object_none_and_one_that_is_not_measured(ground: Ground) -> None:
    one, none = lay(ground.scene((CUBE,))), lay(ground.scene(()))
    three = lay(ground.scene((CUBE, O(1.2, 0.1), O(1.1, 0.3))))
    for values in (three.centre, three.footprint, three.bottom, three.top, three.surface, three.size):
        values[1] = np.nan
    three.visible_mean[1] = np.nan
    for relation in PAIRWISE:
        assert margins(one, relation).shape == (1, 1)
        assert margins(none, relation).shape == (0, 0)
        got = margins(three, relation)
        assert np.isnan(got[1]).all(), relation
        assert np.isnan(got[:, 1]).all(), relation


def test_pairs_are_measured_at_once_and_in_blocks_as_one_by_one(ground: Ground) -> None:
    rng = np.random.default_rng(3)
    objects = [O(*place, base=base) for *place, base in rng.uniform((0.6, -0.4, 0), (1.4, 0.4, 0.2), (300, 3))]
    layout = lay(ground.scene(objects))
    view, rows = layout.viewpoint(VIEWER), np.arange(300)
    for name in PAIRWISE:
        pairs = RELATIONS[name](Pairs(layout, view, rows[:5], rows[:5]))
        assert pairs[0].shape == pairs[1].shape == (5, 5)
        for t, a in ((0, 1), (3, 2), (4, 0)):
            one, _ = RELATIONS[name](Pairs(layout, view, np.array([t]), np.array([a])))
            assert pairs[0][t, a] == pytest.approx(one[0, 0], nan_ok=True)
    for name in ("behind", "near", "inside"):
        some, all_ = (RELATIONS[name](Pairs(layout, view, targets, rows)) for targets in (rows[280:], rows))
        for whole, part in zip(all_, some, strict=True):
            np.testing.assert_allclose(whole[280:], part, atol=1e-12)


places = st.builds(
    Object, st.floats(0.4, 2.0), st.floats(-0.6, 0.6),
    st.tuples(st.floats(0.02, 0.2), st.floats(0.02, 0.2), st.floats(0.01, 0.3)), st.floats(0.0, 0.3),
)  # fmt: skip


@given(places, places, st.floats(0, 60))
@settings(max_examples=25, deadline=None)
def test_the_pitch_of_the_camera_changes_no_margin(ground: Ground, a: Object, b: Object, pitch: float) -> None:
    assume(abs(a.ahead - b.ahead) + abs(a.right - b.right) > 0.01)
    objects, both = (a, dataclasses.replace(b, base=0.0)), np.arange(2)
    layouts = [ground.layout(objects, pitch_deg=degrees) for degrees in (10.0, pitch)]
    for name in PAIRWISE:
        found = [RELATIONS[name](Pairs(layout, layout.viewpoint(VIEWER), both, both))[0] for layout in layouts]
        # The contact that is allowed grows with depth noise, and depth along the axis changes with the pitch.
        slack = 0.05 if name in ("on", "supporting", "touching", "against") else 1e-5
        np.testing.assert_allclose(*found, atol=slack, err_msg=name)


def test_relations_say_how_they_take_their_anchors_and_have_a_section_in_the_document() -> None:
    directions = {"left of", "right of", "in front of", "behind"}
    parts = {f"at the {side} of" for side in ("left side", "right side", "front", "back")}
    expected = {
        "framed": directions | parts | {"on the other side of", "closer than", "farther than"},
        "metric": directions | {"above", "below", "under", "next to", "near", "at a distance from"},
    }
    for field, names in expected.items():
        assert {name for name, relation in RELATIONS.items() if getattr(relation, field)} == names
    pairs = {name for name, relation in RELATIONS.items() if relation.most_anchors == 2}
    assert pairs == {"between", "on the other side of"}
    document = (Path(__file__).parents[2] / "docs" / "relations.md").read_text(encoding="utf-8")
    headings = {name for line in re.findall(r"^### (.*)$", document, re.MULTILINE) for name in line.split(", ")}
    assert set(RELATIONS) - headings == set()


# ------------------------------------------------------------------------------------------------ how sure


def test_a_margin_of_nought_is_undecided_and_likelihoods_grow_with_margins() -> None:
    low, even, high = clause_likelihood(np.array([-0.05, 0.0, 0.05]), np.full(3, 0.01))
    assert even == pytest.approx(0.5, abs=1e-3)
    assert low < 0.01 < 0.99 < high
    assert low + high == pytest.approx(1.0, abs=1e-3)
    states = [state_of(float(p), 0.85) for p in (low, even, high)]
    assert states == [ClauseState.FAILS, ClauseState.UNCLEAR, ClauseState.HOLDS]
    assert (np.diff(clause_likelihood(np.linspace(-0.1, 0.1, 101), np.full(101, 0.02))) >= 0).all()


def deviation(ground: Ground, relation: str, base: float, up_from: UpSource, tilt_deg: float = 0.0) -> float:
    """Of one relation to a block 0.25 to its left, metres, in a scene whose "up" comes from there."""
    scene = ground.scene([O(0.8, 0.25, base=base), O(0.8, 0.0)])
    support = dataclasses.replace(scene.support or Plane(scene.up, 0.6, 0.0), sigma_tilt=np.radians(tilt_deg))
    layout = lay_out(dataclasses.replace(scene, up_from=up_from, support=support), DepthConfig(), RelationConfig())
    pairs = Pairs(layout, layout.viewpoint(VIEWER), np.array([0]), np.array([1]))
    return float(measure(relation, pairs)[1][0, 0])


def test_a_difference_in_height_is_no_surer_than_up(ground: Ground) -> None:
    """Places on the ground need "up" only between heights."""
    of = {source: deviation(ground, "higher than", 0.12, source, 5.0) for source in UpSource}
    assert of[UpSource.SUPPORT_PLANE] == pytest.approx(np.hypot(of[UpSource.TF], 0.25 * np.radians(5.0)), rel=0.02)
    assert of[UpSource.OPTICAL_AXES] > 0.08, "nothing tells how the camera is held"
    relations: Sequence[str] = ("right of", "behind")
    for relation in relations:
        for base, same in ((0.0, True), (0.12, False)):
            sure = deviation(ground, relation, base, UpSource.TF)
            tilted = deviation(ground, relation, base, UpSource.SUPPORT_PLANE, 5.0)
            assert (tilted == pytest.approx(sure, rel=1e-3)) is same
