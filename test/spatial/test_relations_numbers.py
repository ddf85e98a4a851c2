# SPDX-License-Identifier: Apache-2.0
"""Every relation of docs/relations.md with numbers worked out by pencil from its formula, and where it would hold."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from relation_scenes import LIMITS, PAIRWISE, VIEWER, Ground, Object, lay, margins, rounded, turned, with_front
from tables import sections, tables

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.belief import clause_likelihood, state_of
from spatial_vlm_ros.spatial.held import with_held
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.relation_region import measured_at, measured_over
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure_set, measure_two
from spatial_vlm_ros.spatial.relations.distances import stated
from spatial_vlm_ros.spatial.spot_judging import AskedRelation
from spatial_vlm_ros.types import ClauseState, Distance, FrameOfReference, Plane, Pose, Transform, UpSource
from spatial_vlm_ros.types.held import HELD_ID, BoxInHand

EXACT = {"abs": 1e-9}
O = Object  # noqa: E741
CUBE, TRAY, RING = O(1.0, 0.0), O(1.0, 0.0, (0.4, 0.3, 0.02)), O(1.0, 0.0, (0.3, 0.3, 0.02))


def made(words: str) -> Object:
    ahead, right, *more = words.split()
    given = dict(word.split("=") for word in more)
    size = tuple(float(side) for side in given.get("size", "0.06x0.06x0.06").split("x"))
    return O(float(ahead), float(right), size, float(given.get("base", 0.0)))


def measured(layout: Layout, relation: str) -> float:
    """Of the first object to the second; to the second and third after "two", to all others after "set"."""
    kind, _, name = relation.partition(" ")
    rows = [np.array([row]) for row in range(len(layout))]
    if kind == "two":
        return measure_two(name, layout, layout.viewpoint(VIEWER), *rows)[0][0, 0, 0]
    if kind == "set":
        return measure_set(name, layout, rows[0], np.arange(1, len(layout)))[0][0]
    return margins(layout, relation)[0, 1]


MARGINS = sections(__file__, "margins")


@pytest.mark.parametrize("heading", MARGINS)
def test_margins_are_those_of_the_formula(ground: Ground, heading: str) -> None:
    """Of touching and against, 0.1° of doubt about "up" adds micrometres to a deviation where heights differ."""
    for row in MARGINS[heading]:
        relation, _, objects = row.partition(": ")
        objects, _, expected = objects.rpartition(" = ")
        got = measured(lay(ground.scene([made(words) for words in objects.split("; ")])), relation)
        low, *high = (float(bound) for bound in expected.split(" to "))
        if high:
            assert low < got < high[0], row
        else:
            assert got == pytest.approx(low, abs=2e-5 if relation in ("touching", "against") else 1e-8), row


@pytest.mark.parametrize("relation", ["behind", "in front of"])
@pytest.mark.parametrize(("aside", "margin"), [(0.05, 0.2), (0.16, 0.1), (0.24, 0.02), (0.28, -0.02), (0.4, -0.14)])
def test_the_cone_of_behind_ends_at_45_degrees(ground: Ground, relation: str, aside: float, margin: float) -> None:
    """Both are 0.06 wide: the gap aside is |aside| - 0.06; the distance is 0.2."""
    ahead = {"behind": 10.2, "in front of": 9.8}[relation]  # so far that rays are parallel to within 0.5 mm in 0.2 m
    for side in (-1, 1):
        assert ground.margin(relation, O(ahead, side * aside), O(10.0, 0.0)) == pytest.approx(margin, abs=0.001)


@pytest.mark.parametrize("pitch", [0, 35, 74])
def test_heights_do_not_decide_what_is_behind(ground: Ground, pitch: float) -> None:
    bottle = O(0.8, 0.0, (0.06, 0.06, 0.3))
    for far in (O(1.0, 0.0, (0.06, 0.06, 0.03)), O(1.0, 0.0, (0.06, 0.06, 0.03), base=0.4)):
        for relation, pair, margin in (("behind", (far, bottle), 0.2), ("in front of", (bottle, far), 0.2),
                                       ("behind", (bottle, far), -0.2)):  # fmt: skip
            assert ground.margin(relation, *pair, pitch_deg=pitch) == pytest.approx(margin, abs=1e-6)
    assert ground.margin("behind", O(0.9, 0.0, base=0.35), O(1.0, 0.05), pitch_deg=pitch) < -0.09


def test_a_member_is_among_the_others(ground: Ground) -> None:
    layout = lay(ground.scene([O(1.0, -0.2), O(1.0, 0.2), O(1.4, 0.0), O(1.1, 0.0)]))
    everyone = np.arange(4)
    got, _ = measure_set("among", layout, everyone, everyone)
    assert got[3] == pytest.approx(0.13, **EXACT)
    assert (got[:3] < 0).all()
    assert np.isnan(measure_set("among", layout, everyone[:2], everyone[:2])[0]).all(), "one other is no group"


@pytest.mark.parametrize(
    ("place", "facing", "away"),
    [((1.0, 0.3), 0.3, -0.3), ((1.2, 0.3), 0.3 - 0.17, -0.3 - 0.17), ((1.0, -0.3), -0.3, 0.3)],
)
def test_facing_is_before_ones_front(ground: Ground, place: tuple[float, float], facing: float, away: float) -> None:
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
    scene = turned(ground.scene((O(1.0, 0.17, base=0.02), TRAY)), (0.0, np.pi / 2))
    assert margins(lay(scene), "at the end of")[0, 1] == pytest.approx(0.17 - 0.4 / 3, **EXACT)
    layout = lay(rounded(ground.scene((O(1.0, 0.12, base=0.02), RING)), 1))
    assert np.isnan(margins(layout, "at the corner of")[0, 1])
    assert margins(layout, "at the edge of")[0, 1] > 0


def test_degenerate_objects_are_measured_without_a_warning(ground: Ground) -> None:
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
    apart = np.abs([a.ahead - b.ahead, a.right - b.right])
    assume(apart.sum() > 0.01)
    # A centre on the other's edge is within it or not by rounding: then the margin may be either.
    assume(all(abs(np.min(np.array((each.size[1], each.size[0])) / 2 - apart)) > 1e-9 for each in (a, b)))
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


def test_a_margin_of_nought_is_undecided_and_likelihoods_grow_with_margins() -> None:
    low, even, high = clause_likelihood(np.array([-0.05, 0.0, 0.05]), np.full(3, 0.01))
    assert even == pytest.approx(0.5, abs=1e-3)
    assert low < 0.01 < 0.99 < high
    assert low + high == pytest.approx(1.0, abs=1e-3)
    states = [state_of(float(p), 0.85) for p in (low, even, high)]
    assert states == [ClauseState.FAILS, ClauseState.UNCLEAR, ClauseState.HOLDS]
    assert (np.diff(clause_likelihood(np.linspace(-0.1, 0.1, 101), np.full(101, 0.02))) >= 0).all()


def deviation(ground: Ground, relation: str, base: float, up_from: UpSource, tilt_deg: float = 0.0) -> float:
    scene = ground.scene([O(0.8, 0.25, base=base), O(0.8, 0.0)])
    support = dataclasses.replace(scene.support or Plane(scene.up, 0.6, 0.0), sigma_tilt=np.radians(tilt_deg))
    layout = lay_out(dataclasses.replace(scene, up_from=up_from, support=support), DepthConfig(), RelationConfig())
    return float(RELATIONS[relation](pair(layout))[1][0, 0])


def test_a_difference_in_height_is_no_surer_than_up(ground: Ground) -> None:
    """Places on the ground need "up" only between heights."""
    level = deviation(ground, "higher than", 0.12, UpSource.TF, 5.0)
    seen = deviation(ground, "higher than", 0.12, UpSource.SUPPORT_PLANE, 5.0)
    assert seen == pytest.approx(np.hypot(level, 0.25 * np.radians(5.0)), rel=0.02)
    with pytest.raises(FrameUndefinedError, match="which way is up"):
        deviation(ground, "higher than", 0.12, UpSource.OPTICAL_AXES)
    for relation in ("right of", "behind"):
        for base, same in ((0.0, True), (0.12, False)):
            sure = deviation(ground, relation, base, UpSource.TF)
            tilted = deviation(ground, relation, base, UpSource.SUPPORT_PLANE, 5.0)
            assert (tilted == pytest.approx(sure, rel=1e-3)) is same


def pair(layout: Layout) -> Pairs:
    return Pairs(layout, layout.viewpoint(VIEWER), np.array([0]), np.array([1]))


def pairs_of(ground: Ground, target: Object, anchor: Object) -> Pairs:
    return pair(lay(ground.scene((target, anchor))))


@pytest.mark.parametrize(("relation", "place", "base", "gap"), tables(__file__)["distances"])
def test_a_stated_distance_is_the_gap_along_its_direction(
    ground: Ground, relation: str, place: tuple[float, float], base: float, gap: float
) -> None:
    """Objects are 0.06 wide; at exactly the gap, about leaves its tolerance, the larger of 2 cm and a fifth."""
    pairs = pairs_of(ground, Object(*place, base=base), Object(1.0, 0.0))
    bound = RELATIONS[relation](pairs)[0][0, 0] if not RELATIONS[relation].only_stated else np.inf
    for said, distance, expected in (
        ("about", gap, max(0.02, 0.2 * gap)),
        ("about", gap + 0.01, max(0.02, 0.2 * (gap + 0.01)) - 0.01),
        ("at most", gap + 0.03, 0.03),
        ("at most", gap - 0.03, -0.03),
        ("at least", gap - 0.03, 0.03),
        ("at least", gap + 0.03, -0.03),
    ):
        got, sigma = RELATIONS[relation](pairs, Distance(distance, said))  # type: ignore[arg-type]
        assert got[0, 0] == pytest.approx(min(expected, bound), **EXACT), (said, distance)
        assert sigma[0, 0] > 0


def test_the_relation_itself_has_to_hold_and_below_is_measured_from_the_underside(ground: Ground) -> None:
    """14 cm to the right is not 14 cm to the left, and 14 cm off the cone is not behind."""
    pairs = pairs_of(ground, Object(1.0, 0.2), Object(1.0, 0.0))
    assert RELATIONS["left of"](pairs, Distance(0.14))[0][0, 0] == pytest.approx(-0.2, **EXACT)
    assert RELATIONS["behind"](pairs, Distance(0.0, "at least"))[0][0, 0] < -0.1
    pairs = pairs_of(ground, Object(1.0, 0.0), Object(1.0, 0.0, (0.4, 0.4, 0.02), base=0.2))
    for relation in ("below", "under"):
        assert RELATIONS[relation](pairs, Distance(0.14))[0][0, 0] == pytest.approx(0.028, **EXACT)
    with pytest.raises(ValueError, match="on"):
        RELATIONS["on"](pairs, Distance(0.1))


def test_a_stated_distance_takes_the_place_of_a_vague_word(ground: Ground) -> None:
    """What decides brings its own deviation: that of a measured gap is smaller than that of "near"."""
    pairs = pairs_of(ground, Object(1.0, 0.1), Object(1.0, 0.0))
    (_, vague), (_, exact) = RELATIONS["near"](pairs), RELATIONS["near"](pairs, Distance(0.04))
    assert exact[0, 0] < vague[0, 0] / 2


@pytest.mark.parametrize("metres", [0.0, 0.05, 0.3, 2.0])
def test_at_most_is_the_negation_of_at_least_and_about_is_within_a_fifth_or_two_centimetres(metres: float) -> None:
    gaps = np.linspace(0.0, 3.0, 301)
    most, least = (stated(gaps, Distance(metres, bound), LIMITS) for bound in ("at most", "at least"))
    np.testing.assert_allclose(most + least, 0.0, atol=1e-12)
    off = max(0.02, metres / 5)
    about = stated(np.array([metres - off, metres, metres + off]), Distance(metres), LIMITS)
    assert about == pytest.approx([0, off, 0])


PLACES = [(0.5, -0.3), (0.8, 0.0), (1.1, 0.05), (1.1, 0.4), (0.9, -0.12)]
ONE = ("left of", "right of", "behind", "in front of", "next to", "near", "far from", "on", "touching")


def scene(*objects: Object) -> Layout:
    # A copy keeps the noise of the object, which depends on its distance; here it does not.
    limits = dataclasses.replace(LIMITS, size_blur=0.05)
    return lay_out(Ground().scene(objects), DepthConfig(noise_quadratic=0.0), limits)


def asked(layout: Layout, name: str, *anchors: int, **more: object) -> AskedRelation:
    return AskedRelation(name, layout.viewpoint(FrameOfReference.VIEWER), anchors, **more)  # type: ignore[arg-type]


def likely(layout: Layout, relation: AskedRelation, places: np.ndarray, bottom: float | None = None) -> np.ndarray:
    return clause_likelihood(*measured_over(layout, 0, relation, places, bottom))


@pytest.mark.parametrize("name", ONE)
def test_a_copy_is_judged_as_an_object_that_stands_there(name: str) -> None:
    cup = Object(0.8, 0.0, (0.1, 0.08, 0.1))
    layout = scene(Object(0.6, 0.3), cup)
    margin, sigma = measured_over(layout, 0, asked(layout, name, 1), np.array(PLACES))
    for n, (ahead, right) in enumerate(PLACES):
        there = scene(Object(ahead, right), cup)
        expected = measured_at(there, 0, asked(there, name, 1))
        assert (margin[n], sigma[n]) == pytest.approx(expected, abs=1e-9)


def test_a_copy_can_stand_higher() -> None:
    tray = Object(0.8, 0.0, (0.3, 0.3, 0.02))
    layout = scene(Object(0.5, 0.3), tray)
    on = asked(layout, "on", 1)
    place = np.array([(0.8, 0.0)])
    assert likely(layout, on, place, 0.02)[0] > 0.9
    assert likely(layout, on, place, 0.2)[0] < 0.1
    there = scene(Object(0.8, 0.0, base=0.02), tray)
    assert measured_over(layout, 0, on, place, 0.02)[0][0] == pytest.approx(measured_at(there, 0, on)[0], abs=1e-9)


def test_a_negated_relation_holds_where_it_fails() -> None:
    layout = scene(Object(0.8, 0.3), Object(0.8, 0.0))
    plain, turned = (asked(layout, "behind", 1, negated=negated) for negated in (False, True))
    one, other = (measured_over(layout, 0, asked_for, np.array(PLACES)) for asked_for in (plain, turned))
    np.testing.assert_allclose(np.abs(one), np.abs(other))
    both = likely(layout, plain, np.array(PLACES)) + likely(layout, turned, np.array(PLACES))
    np.testing.assert_allclose(both, 1.0, atol=1e-9)


def test_two_anchors_a_set_and_a_distance() -> None:
    layout = scene(Object(0.5, 0.4), Object(0.8, -0.2), Object(0.8, 0.2), Object(1.0, 0.0), Object(0.6, 0.0))
    middle = np.array([(0.8, 0.0)])
    assert likely(layout, asked(layout, "between", 1, 2), middle)[0] > 0.9
    assert likely(layout, asked(layout, "among", 1, 2, 3, 4), middle)[0] > 0.9
    assert likely(layout, asked(layout, "between", 1, 2, 3, 4), middle)[0] > 0.9  # more than two: among
    near = asked(layout, "at a distance from", 1, distance=Distance(0.1))
    places = np.array([(0.8, -0.2 + 0.06 + 0.1), (0.8, 0.3)])
    likelihood = likely(layout, near, places)
    assert likelihood[0] > 0.9
    assert likelihood[1] < 0.1


def test_the_object_itself_and_the_scene_are_left_as_they_were() -> None:
    layout = scene(Object(0.6, 0.3), Object(0.8, 0.0))
    before = {name: np.array(getattr(layout, name)) for name in ("centre", "top")}
    likely(layout, asked(layout, "behind", 1), np.array(PLACES), 0.3)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(layout, name), value)
    margin, sigma = measured_at(layout, 0, asked(layout, "behind", 1))
    own = likely(layout, asked(layout, "behind", 1), layout.centre[:1, :2])
    assert own[0] == pytest.approx(clause_likelihood(np.array([margin]), np.array([sigma]))[0])
    with pytest.raises(ValueError, match="between"):
        measured_at(layout, 0, asked(layout, "between", 1))


def test_the_held_object_replaces_what_is_seen_of_it_and_not_the_tray_under_it() -> None:
    ahead, right, up = Ground._axes(35.0).T
    at = Transform("base", "camera_color_optical_frame", rigid_matrix(np.stack((ahead, -right, up)), (0.0, 0.0, 0.6)))
    tray, chick = Object(0.8, 0.0, (0.25, 0.2, 0.02), label="tray"), Object(0.8, 0.0, base=0.02, label="chick")
    held = BoxInHand("chick", Pose("base", (0.8, 0.0, 0.06), (0.0, 0.0, 0.0, 1.0)), (0.06, 0.06, 0.06))
    found = with_held(Ground().scene([chick, tray], base_T_camera=at), held).objects
    assert [each.detection.id for each in found] == ["t1", HELD_ID]
