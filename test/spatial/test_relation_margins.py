# SPDX-License-Identifier: Apache-2.0
"""Margins of all relations on scenes put together by hand; the numbers follow from docstrings and a pencil."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial.likelihood import clause_likelihood, state_of
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, between
from spatial_vlm_ros.types import ClauseState, FrameOfReference

if TYPE_CHECKING:
    from spatial.conftest import Ground, Object

    MakeThing = Callable[..., Object]

VIEWER, ROBOT = FrameOfReference.VIEWER, FrameOfReference.ROBOT
EXACT = {"abs": 1e-6}


# ------------------------------------------------------------------------------------------------ left, right


@pytest.mark.parametrize(("right", "relation"), [(0.2, "right of"), (-0.2, "left of")])
def test_left_and_right_are_offsets_from_the_ray_to_the_anchor(
    ground: Ground, obj: MakeThing, right: float, relation: str
) -> None:
    target, anchor = obj(1.0, right), obj(1.0, 0.0)
    other = {"left of": "right of", "right of": "left of"}[relation]
    assert ground.margin(relation, target, anchor) == pytest.approx(0.2, **EXACT)
    assert ground.margin(other, target, anchor) == pytest.approx(-0.2, **EXACT)


def test_on_the_ray_to_the_anchor_nothing_is_left_or_right(ground: Ground, obj: MakeThing) -> None:
    """The anchor is seen 30° to the right, the target farther along the same ray: farther right in metres alone."""
    anchor, target = (
        obj(np.cos(np.pi / 6), np.sin(np.pi / 6)),
        obj(1.5 * np.cos(np.pi / 6), 1.5 * np.sin(np.pi / 6)),
    )
    assert ground.margin("right of", target, anchor) == pytest.approx(0.0, **EXACT)
    assert ground.margin("behind", target, anchor) > 0.4


# ------------------------------------------------------------------------------------------------ behind, in front


def test_behind_is_how_much_farther_the_target_begins(ground: Ground, obj: MakeThing) -> None:
    anchor = obj(1.0, 0.0, (0.06, 0.06, 0.06))
    assert ground.margin("behind", obj(1.2, 0.0, (0.06, 0.06, 0.06)), anchor) == pytest.approx(0.2, **EXACT)
    long = obj(1.2, 0.0, (0.2, 0.06, 0.06))  # its centre is as far, but it begins at 1.10, the anchor at 0.97
    assert ground.margin("behind", long, anchor) == pytest.approx(0.13, **EXACT)
    assert ground.margin("in front of", long, anchor) == pytest.approx(-0.2, **EXACT)  # by the centres, which say less


def test_in_front_is_how_much_nearer_the_target_begins(ground: Ground, obj: MakeThing) -> None:
    assert ground.margin("in front of", obj(0.8, 0.02), obj(1.0, 0.0)) == pytest.approx(0.2, abs=0.003)
    assert ground.margin("behind", obj(0.8, 0.02), obj(1.0, 0.0)) == pytest.approx(-0.2, abs=0.003)


@pytest.mark.parametrize("relation", ["behind", "in front of"])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("aside", "margin"), [(0.05, 0.2), (0.16, 0.1), (0.24, 0.02), (0.28, -0.02), (0.4, -0.14)])
def test_the_cone_of_behind_ends_where_the_gap_aside_is_as_wide_as_the_distance(
    ground: Ground, obj: MakeThing, relation: str, side: int, aside: float, margin: float
) -> None:
    """Both are 0.06 wide: the gap aside is |aside| - 0.06; the distance is 0.2."""
    ahead = {"behind": 10.2, "in front of": 9.8}[relation]  # so far that rays are parallel to within 0.5 mm in 0.2 m
    got = ground.margin(relation, obj(ahead, side * aside), obj(10.0, 0.0))
    assert got == pytest.approx(margin, abs=0.001)


@pytest.mark.parametrize("pitch", [0, 15, 30, 45, 60, 70])
def test_heights_do_not_decide_what_is_behind(ground: Ground, obj: MakeThing, pitch: float) -> None:
    bottle, block = obj(0.8, 0.0, (0.06, 0.06, 0.3)), obj(1.0, 0.0, (0.06, 0.06, 0.03))
    shelf = obj(1.0, 0.0, (0.06, 0.06, 0.03), base=0.4)
    for far in (block, shelf):
        assert ground.margin("behind", far, bottle, pitch_deg=pitch) == pytest.approx(0.2, **EXACT)
        assert ground.margin("in front of", bottle, far, pitch_deg=pitch) == pytest.approx(0.2, **EXACT)
        assert ground.margin("behind", bottle, far, pitch_deg=pitch) == pytest.approx(-0.2, **EXACT)


@pytest.mark.parametrize("pitch", [15, 35, 60, 74])
def test_an_object_high_up_is_not_farther_for_being_higher_in_the_image(
    ground: Ground, obj: MakeThing, pitch: float
) -> None:
    near_shelf, far_block = obj(0.9, 0.0, base=0.35), obj(1.0, 0.05)
    assert ground.margin("behind", near_shelf, far_block, pitch_deg=pitch) < -0.09


places = st.builds(
    lambda a, r, x, y, z: (a, r, (x, y, z)),
    st.floats(0.4, 2.0), st.floats(-0.6, 0.6), st.floats(0.02, 0.2), st.floats(0.02, 0.2), st.floats(0.01, 0.3),
)  # fmt: skip


@given(places, places, st.floats(0, 74))
@settings(max_examples=60, deadline=None)
def test_nothing_is_both_behind_and_in_front(ground: Ground, obj: MakeThing, a: Any, b: Any, pitch: float) -> None:
    margins = [ground.margin(r, obj(*a), obj(*b), pitch_deg=pitch) for r in ("behind", "in front of")]
    assert min(margins) <= 0


@given(places, places)
@settings(max_examples=60, deadline=None)
def test_in_the_mirror_left_is_right_and_behind_stays_behind(ground: Ground, obj: MakeThing, a: Any, b: Any) -> None:
    straight = obj(*a), obj(*b)
    mirrored = tuple(dataclasses.replace(t, right=-t.right) for t in straight)
    assert ground.margin("left of", *straight) == pytest.approx(ground.margin("right of", *mirrored), **EXACT)
    for relation in ("behind", "in front of", "next to", "near", "above", "inside"):
        assert ground.margin(relation, *straight) == pytest.approx(ground.margin(relation, *mirrored), **EXACT)


@given(places, places, st.floats(0, 60), st.floats(-0.3, 0.3))
@settings(max_examples=40, deadline=None)
def test_the_pitch_of_the_camera_changes_no_margin(
    ground: Ground, obj: MakeThing, a: Any, b: Any, pitch: float, lift: float
) -> None:
    assume(abs(a[0] - b[0]) + abs(a[1] - b[1]) > 0.01)
    objects = dataclasses.replace(obj(*a), base=max(0.0, lift)), obj(*b)
    flat, pitched = (ground.layout(objects, pitch_deg=degrees) for degrees in (10.0, pitch))
    both = np.arange(2)
    for name, relation in RELATIONS.items():
        if relation.pairwise is not None:
            margins = [relation(Pairs(layout, layout.viewpoint(VIEWER), both, both))[0] for layout in (flat, pitched)]
            # The contact that is allowed grows with depth noise, and depth along the axis changes with the pitch.
            slack = 0.05 if name in ("on", "supporting", "touching", "against") else 1e-5
            np.testing.assert_allclose(*margins, atol=slack, err_msg=name)


# ------------------------------------------------------------------------------------------------ above, on, inside


@pytest.mark.parametrize(("base", "margin"), [(0.12, 0.075), (0.06, 0.015), (0.0, -0.045)])
def test_above_is_the_clear_height_and_contact_counts(
    ground: Ground, obj: MakeThing, base: float, margin: float
) -> None:
    upper, lower = obj(1.0, 0.0, base=base), obj(1.0, 0.0)
    assert ground.margin("above", upper, lower) == pytest.approx(margin, **EXACT)
    assert ground.margin("below", lower, upper) == pytest.approx(margin, **EXACT)


def test_above_ends_at_the_cone_about_the_vertical(ground: Ground, obj: MakeThing) -> None:
    """Centres 0.2 apart in height; the outline's edge is 0.03 from the anchor's centre."""
    lower = obj(1.0, 0.0)
    assert ground.margin("above", obj(1.0, 0.2, base=0.2), lower) == pytest.approx(0.2 + 0.03 - 0.2, **EXACT)
    assert ground.margin("above", obj(1.0, 0.3, base=0.2), lower) == pytest.approx(0.2 + 0.03 - 0.3, **EXACT)


def test_on_wants_contact_and_a_centre_over_the_outline(ground: Ground, obj: MakeThing) -> None:
    box = obj(1.0, 0.0, (0.12, 0.1, 0.06))
    assert ground.margin("on", obj(1.0, 0.0, base=0.06), box) > 0.01
    assert ground.margin("on", obj(1.0, 0.03, base=0.06), box) > 0.01
    assert ground.margin("on", obj(1.0, 0.06, base=0.06), box) == pytest.approx(-0.01, **EXACT), "1 cm off the edge"
    assert ground.margin("on", obj(1.0, 0.0, base=0.16), box) < -0.05, "10 cm of air"
    assert ground.margin("on", obj(1.0, 0.2), box) < -0.1, "beside it"
    assert ground.margin("on", box, obj(1.0, 0.0, base=0.06)) < -0.02, "the lower is not on the upper"


def test_above_and_on_differ_by_contact(ground: Ground, obj: MakeThing) -> None:
    box, floating = obj(1.0, 0.0), obj(1.0, 0.0, base=0.2)
    assert ground.margin("above", floating, box) > 0.1
    assert ground.margin("on", floating, box) < -0.05


def test_under_wants_the_anchor_overhead(ground: Ground, obj: MakeThing) -> None:
    table = obj(1.0, 0.0, (0.4, 0.4, 0.02), base=0.3)
    assert ground.margin("under", obj(1.0, 0.1), table) == pytest.approx(0.1, **EXACT), "10 cm inside its edge"
    assert ground.margin("under", obj(1.0, 0.3), table) == pytest.approx(-0.1, **EXACT)
    assert ground.margin("below", obj(1.0, 0.3), table) > 0


def test_inside_wants_all_of_depth_width_and_place(ground: Ground, obj: MakeThing) -> None:
    bowl = obj(1.0, 0.0, (0.16, 0.16, 0.06), label="bowl")
    ball = (0.04, 0.04, 0.04)
    assert ground.margin("inside", obj(1.0, 0.0, ball, base=0.004), bowl) == pytest.approx(0.019, **EXACT)
    assert ground.margin("inside", obj(1.0, 0.0, ball, base=0.06), bowl) < 0, "on the rim"
    assert ground.margin("inside", obj(1.0, 0.2, ball), bowl) < 0, "beside it"
    assert ground.margin("inside", obj(1.0, 0.0, (0.2, 0.2, 0.04), base=0.004), bowl) < 0, "wider than it"
    assert ground.margin("inside", bowl, obj(1.0, 0.0, ball)) < 0, "the bowl is not in the ball"


# ------------------------------------------------------------------------------------------------ distances


@pytest.mark.parametrize(
    ("gap", "close", "near", "far"),
    [(0.04, 0.02, 0.11, -0.2), (0.1, -0.04, 0.05, -0.14), (0.2, -0.14, -0.05, -0.04), (0.3, -0.24, -0.15, 0.06)],
)
def test_next_to_near_and_far_compare_the_gap_with_the_mean_size(
    ground: Ground, obj: MakeThing, gap: float, close: float, near: float, far: float
) -> None:
    """Both are 0.06 wide: next to within 1, near within 2.5, far from beyond 4 mean sizes."""
    pair = obj(1.0, gap + 0.06), obj(1.0, 0.0)
    assert ground.margin("next to", *pair) == pytest.approx(close, **EXACT)
    assert ground.margin("near", *pair) == pytest.approx(near, **EXACT)
    assert ground.margin("far from", *pair) == pytest.approx(far, **EXACT)


def test_closeness_is_mutual(ground: Ground, obj: MakeThing) -> None:
    a, b = obj(1.0, 0.0, (0.1, 0.04, 0.2)), obj(1.1, 0.15, (0.05, 0.05, 0.05))
    for relation in ("next to", "near", "far from"):
        assert ground.margin(relation, a, b) == pytest.approx(ground.margin(relation, b, a), **EXACT)


def test_one_on_the_other_is_not_next_to_it(ground: Ground, obj: MakeThing) -> None:
    assert ground.margin("next to", obj(1.0, 0.0, base=0.06), obj(1.0, 0.0)) < 0


def test_small_objects_are_next_to_each_other_within_a_hand(ground: Ground, obj: MakeThing) -> None:
    """Two pens of 1 cm, 3 cm apart: sizes below 5 cm count as 5 cm."""
    pen = (0.01, 0.01, 0.01)
    assert ground.margin("next to", obj(1.0, 0.04, pen), obj(1.0, 0.0, pen)) == pytest.approx(0.02, **EXACT)


def margin_between(ground: Ground, target: Object, first: Object, second: Object) -> float:
    layout = ground.layout((target, first, second))
    return float(between(layout, *(np.array([n]) for n in range(3)))[0][0, 0, 0])


SLOPE = 1 / 3**0.5  # tan 30 degrees


def test_between_is_inside_the_corridor_and_between_its_ends(ground: Ground, obj: MakeThing) -> None:
    """Anchors 0.4 apart and 0.06 wide; the double cone opens by 30 degrees to either side of the line."""
    left, right = obj(1.0, -0.2), obj(1.0, 0.2)
    assert margin_between(ground, obj(1.0, 0.0), left, right) == pytest.approx(0.2 * SLOPE, **EXACT)
    assert margin_between(ground, obj(1.02, 0.1), left, right) == pytest.approx(0.1 * SLOPE - 0.02, **EXACT)
    assert margin_between(ground, obj(1.13, 0.0), left, right) == pytest.approx(0.2 * SLOPE - 0.13, **EXACT)
    assert margin_between(ground, obj(1.0, 0.25), left, right) == pytest.approx(-0.08, **EXACT)
    assert margin_between(ground, obj(1.0, 0.16), left, right) == pytest.approx(0.01, **EXACT)


def test_between_does_not_care_which_anchor_comes_first(ground: Ground, obj: MakeThing) -> None:
    a, b, t = obj(0.9, -0.2, (0.1, 0.1, 0.1)), obj(1.2, 0.15), obj(1.05, 0.02)
    assert margin_between(ground, t, a, b) == pytest.approx(margin_between(ground, t, b, a), **EXACT)


# ------------------------------------------------------------------------------------------------ frames


def test_a_robot_on_the_other_side_swaps_left_and_right_behind_and_in_front(ground: Ground, obj: MakeThing) -> None:
    facing = ground.looking_from(2.0, 0.0, turned_deg=180.0)
    right, behind, anchor = obj(1.0, 0.2), obj(1.2, 0.0), obj(1.0, 0.0)
    for relation, target in (("right of", right), ("behind", behind)):
        opposite = {"right of": "left of", "behind": "in front of"}[relation]
        assert ground.margin(relation, target, anchor, VIEWER, base_T_camera=facing) == pytest.approx(0.2, **EXACT)
        assert ground.margin(opposite, target, anchor, ROBOT, base_T_camera=facing) == pytest.approx(0.2, **EXACT)
        assert ground.margin(relation, target, anchor, ROBOT, base_T_camera=facing) == pytest.approx(-0.2, **EXACT)


def test_a_robot_at_the_cameras_right_sees_behind_where_the_camera_sees_left(ground: Ground, obj: MakeThing) -> None:
    beside = ground.looking_from(1.0, 1.0, turned_deg=-90.0)  # stands 1 m to the right of the anchor, looks at it
    target, anchor = obj(1.0, -0.2), obj(1.0, 0.0)
    assert ground.margin("left of", target, anchor, VIEWER, base_T_camera=beside) == pytest.approx(0.2, **EXACT)
    assert ground.margin("behind", target, anchor, ROBOT, base_T_camera=beside) == pytest.approx(0.2, **EXACT)
    farther = obj(1.2, 0.0)  # from there it lies to the right
    assert ground.margin("right of", farther, anchor, ROBOT, base_T_camera=beside) == pytest.approx(0.2, **EXACT)


def test_where_the_robot_looks_does_not_matter_but_where_it_stands(ground: Ground, obj: MakeThing) -> None:
    target, anchor = obj(1.3, 0.1), obj(1.0, 0.0)
    margins = {
        round(ground.margin("behind", target, anchor, ROBOT, base_T_camera=ground.looking_from(0.2, 0.4, t)), 6)
        for t in (-120.0, 0.0, 35.0)
    }
    assert len(margins) == 1


@pytest.mark.parametrize("frame", [FrameOfReference.SPEAKER, FrameOfReference.WORLD, FrameOfReference.OBJECT, ROBOT])
def test_a_frame_that_nothing_defines_is_refused_with_a_repair(
    ground: Ground, obj: MakeThing, frame: FrameOfReference
) -> None:
    with pytest.raises(FrameUndefinedError, match=frame.value) as caught:
        ground.margin("left of", obj(1.0, 0.0), obj(1.2, 0.0), frame)
    assert caught.value.repair
    assert caught.value.repair.lower() in str(caught.value).lower()


@pytest.mark.parametrize("pitch", [76, 80, 85, 90])
def test_straight_down_left_and_right_follow_the_images_x_axis(ground: Ground, obj: MakeThing, pitch: float) -> None:
    anchor = obj(0.1, 0.3)
    assert ground.margin("right of", obj(0.1, 0.5), anchor, pitch_deg=pitch) == pytest.approx(0.2, **EXACT)
    assert ground.margin("left of", obj(0.4, 0.1), anchor, pitch_deg=pitch) == pytest.approx(0.2, **EXACT)
    assert ground.margin("right of", obj(0.4, 0.3), anchor, pitch_deg=pitch) == pytest.approx(0.0, **EXACT)


@pytest.mark.parametrize("relation", ["behind", "in front of"])
def test_straight_down_there_is_no_behind(ground: Ground, obj: MakeThing, relation: str) -> None:
    with pytest.raises(FrameUndefinedError, match="downwards"):
        ground.margin(relation, obj(0.2, 0.0), obj(0.0, 0.0), pitch_deg=80)


def test_at_74_degrees_there_is_still_a_behind(ground: Ground, obj: MakeThing) -> None:
    assert ground.margin("behind", obj(0.45, 0.0), obj(0.25, 0.0), pitch_deg=74) == pytest.approx(0.2, **EXACT)


# ------------------------------------------------------------------------------------------------ likelihood


def test_a_margin_of_nought_is_undecided_and_a_clear_one_is_not() -> None:
    sigma = np.full(3, 0.01)
    low, even, high = clause_likelihood(np.array([-0.05, 0.0, 0.05]), sigma)
    assert even == pytest.approx(0.5, abs=1e-3)
    assert low < 0.01 < 0.99 < high
    assert low + high == pytest.approx(1.0, abs=1e-3)
    assert [state_of(float(p), 0.85) for p in (low, even, high)] == [
        ClauseState.FAILS, ClauseState.UNCLEAR, ClauseState.HOLDS,
    ]  # fmt: skip


def test_likelihoods_grow_with_margins() -> None:
    margins = np.linspace(-0.1, 0.1, 101)
    assert (np.diff(clause_likelihood(margins, np.full(101, 0.02))) >= 0).all()


def test_all_pairs_are_measured_at_once_as_one_by_one(ground: Ground, obj: MakeThing) -> None:
    rng = np.random.default_rng(0)
    objects = [
        obj(float(a), float(r), base=float(b)) for a, r, b in rng.uniform((0.6, -0.4, 0), (1.4, 0.4, 0.2), (5, 3))
    ]
    layout = ground.layout(objects)
    everything = np.arange(5)
    for measure in (relation for relation in RELATIONS.values() if relation.pairwise is not None):
        margins, sigma = measure(Pairs(layout, layout.viewpoint(VIEWER), everything, everything))
        assert margins.shape == sigma.shape == (5, 5)
        for t, a in ((0, 1), (3, 2), (4, 0)):
            one, _ = measure(Pairs(layout, layout.viewpoint(VIEWER), np.array([t]), np.array([a])))
            assert margins[t, a] == pytest.approx(one[0, 0], nan_ok=True)
