# SPDX-License-Identifier: Apache-2.0
"""Every relation of docs/relations.md on a few objects, with the numbers worked out by pencil from its formula."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from relation_scenes import PAIRWISE, VIEWER, lay, margins, rounded, turned, with_front

from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure_set, measure_two
from spatial_vlm_ros.types import Scene

if TYPE_CHECKING:
    from spatial.conftest import Ground, Object

    MakeThing = Callable[..., Object]

EXACT = {"abs": 1e-9}
LEVEL = {"abs": 2e-5}
"""Where heights differ: 0.1° of doubt about "up" adds micrometres to a deviation."""
CUBE = (0.06, 0.06, 0.06)
TRAY = (0.4, 0.3, 0.02)
CABINET = (0.4, 0.4, 0.6)


def margin(ground: Ground, relation: str, target: Object, anchor: Object, *further: Object) -> float:
    return float(margins(lay(ground.scene((target, anchor, *further))), relation)[0, 1])


def of_two(scene: Scene, relation: str) -> float:
    """Of the first object, to the second and third."""
    layout = lay(scene)
    rows = [np.array([n]) for n in range(3)]
    return float(measure_two(relation, layout, layout.viewpoint(VIEWER), *rows)[0][0, 0, 0])


def of_set(ground: Ground, target: Object, members: Sequence[Object]) -> float:
    layout = lay(ground.scene((target, *members)))
    return float(measure_set("among", layout, np.array([0]), np.arange(1, len(members) + 1))[0][0])


# ------------------------------------------------------------------------------------------------ directions


def test_on_the_other_side_is_behind(ground: Ground, obj: MakeThing) -> None:
    target, anchor = obj(1.2, 0.1), obj(1.0, 0.0)
    assert margin(ground, "on the other side of", target, anchor) == margin(ground, "behind", target, anchor) > 0.1


@pytest.mark.parametrize(("place", "expected"), [((1.0, 0.2), 0.2), ((1.1, 0.2), 0.16), ((1.2, 0.0), -0.14)])
def test_on_the_other_side_from_a_second_object_is_behind_as_seen_from_it(
    ground: Ground, obj: MakeThing, place: tuple[float, float], expected: float
) -> None:
    """Seen from an object on the left, farther is farther right; beside the ray there are 0.04 and 0.14."""
    scene = ground.scene((obj(*place), obj(1.0, 0.0), obj(1.0, -0.5)))
    assert of_two(scene, "on the other side of") == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize(
    ("place", "expected"), [((1.0, 0.3), 0.27), ((1.0, 0.2), 0.2), ((1.1, 0.2), 0.1), ((1.2, 0.0), -0.2)]
)
def test_opposite_is_across_the_middle_of_all_objects(
    ground: Ground, obj: MakeThing, place: tuple[float, float], expected: float
) -> None:
    """The middle is at (1, 0), the anchor 0.3 left of it; half a size is 0.03."""
    frame = (obj(0.6, 0.0), obj(1.4, 0.0), obj(1.0, 0.3))
    assert margin(ground, "opposite", obj(*place), obj(1.0, -0.3), *frame) == pytest.approx(expected, **EXACT)


def test_what_is_in_the_middle_has_no_opposite(ground: Ground, obj: MakeThing) -> None:
    frame = (obj(0.6, 0.0), obj(1.4, 0.0), obj(1.0, 0.3), obj(1.0, -0.3))
    assert margin(ground, "opposite", obj(1.0, 0.2), obj(1.0, 0.0), *frame) == pytest.approx(-0.03, **EXACT)


def test_opposite_an_object_with_a_front_is_before_it(ground: Ground, obj: MakeThing) -> None:
    scene = with_front(ground.scene((obj(1.0, 0.3), obj(1.0, 0.0), obj(0.5, 0.2))), 1, 0.0, 1.0)
    got = margins(lay(scene), "opposite")
    assert got[0, 1] == pytest.approx(0.3, **EXACT)  # farther right than the front that faces right
    assert got[2, 1] == pytest.approx(0.2 - 0.44, **EXACT)  # 0.2 farther right, 0.44 aside


# ------------------------------------------------------------------------------------------------ heights, contact


def test_higher_and_lower_compare_tops_and_undersides(ground: Ground, obj: MakeThing) -> None:
    tall, shelf = obj(1.0, 0.0, (0.06, 0.06, 0.3)), obj(1.2, 0.4, base=0.1)
    assert margin(ground, "higher than", tall, shelf) == pytest.approx(0.3 - 0.16, **EXACT)
    assert margin(ground, "lower than", tall, shelf) == pytest.approx(0.1, **EXACT)
    assert margin(ground, "lower than", shelf, tall) == pytest.approx(-0.1, **EXACT)


def test_containing_and_supporting_are_inside_and_on_from_the_other_end(ground: Ground, obj: MakeThing) -> None:
    bowl, ball = obj(1.0, 0.0, (0.16, 0.16, 0.06)), obj(1.0, 0.0, (0.04, 0.04, 0.04), base=0.004)
    assert margin(ground, "inside", ball, bowl) == pytest.approx(0.019, **EXACT)
    assert margin(ground, "containing", bowl, ball) == pytest.approx(0.019, **EXACT)
    assert margin(ground, "out of", ball, bowl) == pytest.approx(-0.019, **EXACT)
    block = obj(1.0, 0.0, base=0.06)
    assert margin(ground, "supporting", obj(1.0, 0.0), block) == pytest.approx(0.015 + 2 * 0.006, **EXACT)
    assert margin(ground, "on", block, obj(1.0, 0.0)) == pytest.approx(0.015 + 2 * 0.006, **EXACT)


def test_a_marble_fits_into_an_egg_cup(ground: Ground, obj: MakeThing) -> None:
    """Sizes are compared as they are, however small: 0.045 against 0.02."""
    cup, marble = obj(1.0, 0.0, (0.045, 0.045, 0.08)), obj(1.0, 0.0, (0.02, 0.02, 0.02), base=0.03)
    assert margin(ground, "inside", marble, cup) == pytest.approx(0.0225, **EXACT)


@pytest.mark.parametrize(
    ("aside", "base", "expected"), [(0.07, 0.0, 0.017), (0.0, 0.06, 0.027), (0.09, 0.1, -0.023), (0.0, 0.0, 0.027)]
)
def test_touching_leaves_no_gap_but_contact(
    ground: Ground, obj: MakeThing, aside: float, base: float, expected: float
) -> None:
    """Contact is 0.015 and twice a tenth of 0.06; the gaps are 0.01, none, (0.03, 0.04) and none."""
    assert margin(ground, "touching", obj(1.0, aside, base=base), obj(1.0, 0.0)) == pytest.approx(expected, **LEVEL)


def test_against_is_touching_sideways_by_what_is_not_much_taller(ground: Ground, obj: MakeThing) -> None:
    wall = obj(1.0, 0.0, (0.06, 0.06, 0.3))
    assert margin(ground, "against", obj(1.0, 0.07), wall) == pytest.approx(0.017, **LEVEL)
    assert margin(ground, "against", wall, obj(1.0, 0.07)) == pytest.approx(0.06 - 0.15, **EXACT)
    assert margin(ground, "against", obj(1.0, 0.07, base=0.32), wall) == pytest.approx(-0.02, **LEVEL)


# ------------------------------------------------------------------------------------------------ distances


def test_around_is_near_or_enclosing(ground: Ground, obj: MakeThing) -> None:
    ring, cube = obj(1.0, 0.0, (0.3, 0.3, 0.02)), obj(1.0, 0.0)
    assert margin(ground, "around", ring, cube) == pytest.approx(0.15, **EXACT)
    assert margin(ground, "around", cube, ring) == pytest.approx(-0.15, **EXACT), "what is in it is not around it"
    assert margin(ground, "around", obj(1.0, 0.1), cube) == margin(ground, "near", obj(1.0, 0.1), cube) > 0


def test_what_is_far_above_is_far(ground: Ground, obj: MakeThing) -> None:
    """A lamp 1 m above: 0.94 of air, and four mean sizes are 0.24."""
    lamp = obj(1.0, 0.0, base=1.0)
    assert margin(ground, "far from", lamp, obj(1.0, 0.0)) == pytest.approx(0.94 - 0.24, **EXACT)
    assert margin(ground, "near", lamp, obj(1.0, 0.0)) < 0


# ------------------------------------------------------------------------------------------------ groups

CORNERS = ((1.0, -0.2), (1.0, 0.2), (1.4, 0.0))


@pytest.mark.parametrize(("place", "expected"), [((1.1, 0.0), 0.13), ((0.9, 0.0), -0.07), ((1.0, 0.23), 0.0)])
def test_among_three_is_inside_their_widened_outline(
    ground: Ground, obj: MakeThing, place: tuple[float, float], expected: float
) -> None:
    got = of_set(ground, obj(*place), [obj(*corner) for corner in CORNERS])
    assert got == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize(("place", "expected"), [((1.05, 0.1), -0.02), ((1.0, 0.25), -0.02), ((1.0, 0.0), 0.03)])
def test_among_two_is_close_to_the_line_between_them(
    ground: Ground, obj: MakeThing, place: tuple[float, float], expected: float
) -> None:
    got = of_set(ground, obj(*place), [obj(*corner) for corner in CORNERS[:2]])
    assert got == pytest.approx(expected, **EXACT)


def test_a_member_is_among_the_others(ground: Ground, obj: MakeThing) -> None:
    layout = lay(ground.scene([obj(*corner) for corner in (*CORNERS, (1.1, 0.0))]))
    everyone = np.arange(4)
    got, _ = measure_set("among", layout, everyone, everyone)
    assert got[3] == pytest.approx(0.13, **EXACT)
    assert (got[:3] < 0).all()
    assert np.isnan(measure_set("among", layout, everyone[:2], everyone[:2])[0]).all(), "one other is no group"


# ------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("relation", "place", "expected"),
    [
        ("at the edge of", (1.0, 0.1), 0.045 - (0.05 - 0.03)),
        ("at the edge of", (1.0, 0.0), 0.045 - (0.15 - 0.03)),
        ("at the edge of", (1.0, 0.2), -0.05 + 0.03),
        ("at the corner of", (1.15, 0.1), 0.075 - (0.05 - 0.03)),
        ("at the corner of", (1.0, 0.1), 0.075 - (0.2 - 0.03)),
        ("at the centre of", (1.03, 0.04), 0.07 - 0.05),
        ("at the end of", (1.17, 0.0), 0.17 - 0.4 / 3),
        ("at the end of", (0.83, 0.0), 0.17 - 0.4 / 3),
        ("at the end of", (1.0, 0.12), -0.4 / 3),
        ("at the right side of", (1.0, 0.1), 0.1 - 0.05),
        ("at the left side of", (1.0, 0.1), -0.1 - 0.05),
        ("at the left side of", (1.0, -0.1), 0.1 - 0.05),
        ("at the front of", (0.9, 0.0), 0.1 - 0.4 / 6),
        ("at the back of", (1.1, 0.0), 0.1 - 0.4 / 6),
        ("at the back of", (0.9, 0.0), -0.1 - 0.4 / 6),
    ],
)
def test_parts_of_a_tray(
    ground: Ground, obj: MakeThing, relation: str, place: tuple[float, float], expected: float
) -> None:
    """0.4 deep and 0.3 wide; the target stands on it and is 0.06 wide."""
    tray = obj(1.0, 0.0, TRAY)
    assert margin(ground, relation, obj(*place, base=0.02), tray) == pytest.approx(expected, **EXACT)


def test_under_a_tray_nothing_is_at_its_edge(ground: Ground, obj: MakeThing) -> None:
    tray = obj(1.0, 0.0, TRAY, base=0.3)
    assert margin(ground, "at the edge of", obj(1.0, 0.1), tray) == pytest.approx(-0.3 + 0.015, **EXACT)


def test_a_round_object_has_an_edge_and_no_corner(ground: Ground, obj: MakeThing) -> None:
    scene = rounded(ground.scene((obj(1.0, 0.12, base=0.02), obj(1.0, 0.0, (0.3, 0.3, 0.02)))), 1)
    layout = lay(scene)
    assert np.isnan(margins(layout, "at the corner of")[0, 1])
    assert margins(layout, "at the edge of")[0, 1] > 0


@pytest.mark.parametrize(
    ("relation", "base", "expected"),
    [
        ("at the top of", 0.5, 0.23 - 0.1),
        ("in the middle of the height of", 0.3, 0.1 - 0.03),
        ("at the bottom of", 0.05, 0.22 - 0.1),
        ("at the bottom of", 0.5, -0.23 - 0.1),
        ("at the top of", 0.6, 0.23),
        ("at the top of", 0.9, -0.3 + 0.015),
    ],
)
def test_levels_of_a_cabinet(ground: Ground, obj: MakeThing, relation: str, base: float, expected: float) -> None:
    """0.6 high; the target's outline may overhang by half its size: 0.23 inside. High above it is at no level."""
    cabinet = obj(1.0, 0.0, CABINET)
    assert margin(ground, relation, obj(1.0, 0.0, base=base), cabinet) == pytest.approx(expected, **EXACT)


def test_part_of_is_inside_the_box(ground: Ground, obj: MakeThing) -> None:
    cabinet = obj(1.0, 0.0, CABINET)
    contact = 0.015
    assert margin(ground, "part of", obj(0.81, 0.0, base=0.2), cabinet) == pytest.approx(contact + 0.01, **EXACT)
    assert margin(ground, "part of", obj(1.0, 0.0, base=0.55), cabinet) == pytest.approx(contact + 0.02, **EXACT)
    assert margin(ground, "part of", obj(0.7, 0.0, base=0.2), cabinet) == pytest.approx(contact - 0.1, **EXACT)


def test_parts_turn_with_the_object(ground: Ground, obj: MakeThing) -> None:
    """Turned by a right angle, the tray's ends are to the left and right."""
    scene = turned(ground.scene((obj(1.0, 0.17, base=0.02), obj(1.0, 0.0, TRAY))), (0.0, np.pi / 2))
    assert margins(lay(scene), "at the end of")[0, 1] == pytest.approx(0.17 - 0.4 / 3, **EXACT)


# ------------------------------------------------------------------------------------------------ fronts


@pytest.mark.parametrize(
    ("place", "facing", "away"),
    [((1.0, 0.3), 0.3, -0.3), ((1.2, 0.3), 0.3 - 0.17, -0.3 - 0.17), ((1.0, -0.3), -0.3, 0.3)],
)
def test_facing_is_to_have_the_anchor_before_ones_front(
    ground: Ground, obj: MakeThing, place: tuple[float, float], facing: float, away: float
) -> None:
    """Its front faces right; the second anchor begins 0.17 beside that ray."""
    layout = lay(with_front(ground.scene((obj(1.0, 0.0), obj(*place))), 0, 0.0, 1.0))
    assert margins(layout, "facing")[0, 1] == pytest.approx(facing, **EXACT)
    assert margins(layout, "facing away from")[0, 1] == pytest.approx(away, **EXACT)
    assert np.isnan(margins(layout, "facing")[1]).all(), "no front is known of the other one"


# ------------------------------------------------------------------------------------------------ comparison


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("taller than", 0.02),
        ("shorter than", -0.02),
        ("longer than", 0.04),
        ("wider than", 0.04),
        ("narrower than", 0.02),
        ("thicker than", -0.02),
        ("thinner than", 0.02),
        ("larger than", np.cbrt(0.1 * 0.04 * 0.08) - 0.06),
        ("smaller than", 0.06 - np.cbrt(0.1 * 0.04 * 0.08)),
    ],
)
def test_sizes_are_compared_as_superlatives_do(ground: Ground, obj: MakeThing, relation: str, expected: float) -> None:
    got = margin(ground, relation, obj(1.0, 0.3, (0.04, 0.1, 0.08)), obj(1.0, 0.0, CUBE))
    assert got == pytest.approx(expected, **EXACT)


def test_closer_compares_distances_from_the_viewer(ground: Ground, obj: MakeThing) -> None:
    near, far = obj(0.8, 0.0), obj(1.0, 0.3)
    expected = np.sqrt(1.09 + 0.57**2) - np.sqrt(0.64 + 0.57**2)
    assert margin(ground, "closer than", near, far) == pytest.approx(expected, abs=1e-6)
    assert margin(ground, "farther than", near, far) == pytest.approx(-expected, abs=1e-6)


# ------------------------------------------------------------------------------------------------ robustness


def test_degenerate_objects_are_measured_without_a_warning(ground: Ground, obj: MakeThing) -> None:
    """No width, no height, one place, a giant: warnings are errors here."""
    line, point = (0.2, 1e-12, 1e-3), (1e-12, 1e-12, 0.0)
    objects = [
        obj(1.0, 0.0), obj(1.0, 0.0), obj(1.0, 0.0, line), obj(1.0, 0.1, point), obj(1.0, 0.1, point),
        obj(1.0, 0.0, (50.0, 40.0, 30.0)), obj(0.0, 0.0), obj(1.5, 0.5, (0.1, 0.1, 0.0)),
    ]  # fmt: skip
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


def test_nothing_lies_inside_an_outline_without_area(ground: Ground, obj: MakeThing) -> None:
    stick = obj(1.0, 0.0, (0.2, 1e-12, 0.01))
    for place in ((1.3, 0.0), (1.0, 0.2), (0.6, 0.0)):
        assert margin(ground, "on", obj(*place, base=0.01), stick) < -0.15


def test_a_single_object_and_no_object_are_measured(ground: Ground, obj: MakeThing) -> None:
    one, none = lay(ground.scene((obj(1.0, 0.0),))), lay(ground.scene(()))
    for relation in PAIRWISE:
        assert margins(one, relation).shape == (1, 1)
        assert margins(none, relation).shape == (0, 0)


def test_what_is_not_measured_has_no_margin(ground: Ground, obj: MakeThing) -> None:
    scene = ground.scene((obj(1.0, 0.0), obj(1.2, 0.1), obj(1.1, 0.3)))
    layout = lay(scene)
    for values in (layout.centre, layout.footprint, layout.bottom, layout.top, layout.surface, layout.size):
        values[1] = np.nan
    layout.visible_mean[1] = np.nan
    for relation in PAIRWISE:
        got = margins(layout, relation)
        assert np.isnan(got[1]).all(), relation
        assert np.isnan(got[:, 1]).all(), relation


def test_many_pairs_are_measured_in_blocks_as_at_once(ground: Ground, obj: MakeThing) -> None:
    rng = np.random.default_rng(3)
    objects = [obj(*place, base=base) for *place, base in rng.uniform((0.6, -0.4, 0), (1.4, 0.4, 0.2), (300, 3))]
    layout = lay(ground.scene(objects))
    rows = np.arange(300)
    for relation in ("behind", "near", "inside"):
        some = RELATIONS[relation](Pairs(layout, layout.viewpoint(VIEWER), rows[280:], rows))
        for whole, part in zip(
            RELATIONS[relation](Pairs(layout, layout.viewpoint(VIEWER), rows, rows)), some, strict=True
        ):
            np.testing.assert_allclose(whole[280:], part, atol=1e-12)


def test_relations_say_how_they_take_their_anchors() -> None:
    framed = {name for name, relation in RELATIONS.items() if relation.framed}
    assert framed == {
        "left of", "right of", "in front of", "behind", "on the other side of", "at the left side of",
        "at the right side of", "at the front of", "at the back of", "closer than", "farther than",
    }  # fmt: skip
    metric = {name for name, relation in RELATIONS.items() if relation.metric}
    assert metric == {
        "left of", "right of", "in front of", "behind", "above", "below", "under", "next to", "near",
        "at a distance from",
    }  # fmt: skip
    assert {name for name, relation in RELATIONS.items() if relation.most_anchors == 2} == {
        "between", "on the other side of",
    }  # fmt: skip


def test_every_relation_has_its_section_in_the_document() -> None:
    document = (Path(__file__).parents[2] / "docs" / "relations.md").read_text(encoding="utf-8")
    headings = {name for line in re.findall(r"^### (.*)$", document, re.MULTILINE) for name in line.split(", ")}
    assert set(RELATIONS) - headings == set()
