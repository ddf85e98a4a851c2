# SPDX-License-Identifier: Apache-2.0
"""Where a relation would hold: the copies of an object are judged as objects that really stand there."""

from __future__ import annotations

import numpy as np
import pytest
from relation_scenes import RELATION, Ground, Object

from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.likelihood import clause_likelihood
from spatial_vlm_ros.spatial.relation_region import AskedRelation, likelihood_over, measured_at, measured_over
from spatial_vlm_ros.types import Distance, FrameOfReference

PLACES = [(0.5, -0.3), (0.8, 0.0), (1.1, 0.05), (1.1, 0.4), (0.9, -0.12)]
ONE = ("left of", "right of", "behind", "in front of", "next to", "near", "far from", "on", "touching")


def scene(*objects: Object) -> Layout:
    # A copy keeps the noise of the object, which depends on its distance; here it does not.
    return lay_out(Ground().scene(objects), DepthConfig(noise_quadratic=0.0), RELATION)


def asked(layout: Layout, name: str, *anchors: int, **more: object) -> AskedRelation:
    return AskedRelation(name, layout.viewpoint(FrameOfReference.VIEWER), anchors, **more)  # type: ignore[arg-type]


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
    assert likelihood_over(layout, 0, on, place, 0.02)[0] > 0.9
    assert likelihood_over(layout, 0, on, place, 0.2)[0] < 0.1
    there = scene(Object(0.8, 0.0, base=0.02), tray)
    assert measured_over(layout, 0, on, place, 0.02)[0][0] == pytest.approx(measured_at(there, 0, on)[0], abs=1e-9)


def test_the_region_of_right_is_that_of_left_mirrored() -> None:
    layout = scene(Object(0.8, 0.3), Object(0.8, 0.0, (0.1, 0.1, 0.1)))
    places = np.array([(a, r) for a in np.linspace(0.5, 1.2, 9) for r in np.linspace(-0.4, 0.4, 9)])
    left = likelihood_over(layout, 0, asked(layout, "left of", 1), places)
    right = likelihood_over(layout, 0, asked(layout, "right of", 1), places * (1, -1))
    np.testing.assert_allclose(left, right, atol=1e-9)
    assert left.max() > 0.9
    assert left.min() < 0.1


def test_a_negated_relation_holds_where_it_fails() -> None:
    layout = scene(Object(0.8, 0.3), Object(0.8, 0.0))
    plain, turned = (asked(layout, "behind", 1, negated=negated) for negated in (False, True))
    one, other = (measured_over(layout, 0, asked_for, np.array(PLACES)) for asked_for in (plain, turned))
    np.testing.assert_allclose(np.abs(one), np.abs(other))
    both = likelihood_over(layout, 0, plain, np.array(PLACES)) + likelihood_over(layout, 0, turned, np.array(PLACES))
    np.testing.assert_allclose(both, 1.0, atol=1e-9)


def test_two_anchors_a_set_and_a_distance() -> None:
    layout = scene(Object(0.5, 0.4), Object(0.8, -0.2), Object(0.8, 0.2), Object(1.0, 0.0), Object(0.6, 0.0))
    middle = np.array([(0.8, 0.0)])
    assert likelihood_over(layout, 0, asked(layout, "between", 1, 2), middle)[0] > 0.9
    assert likelihood_over(layout, 0, asked(layout, "among", 1, 2, 3, 4), middle)[0] > 0.9
    assert likelihood_over(layout, 0, asked(layout, "between", 1, 2, 3, 4), middle)[0] > 0.9  # more than two: among
    near = asked(layout, "at a distance from", 1, distance=Distance(0.1))
    places = np.array([(0.8, -0.2 + 0.06 + 0.1), (0.8, 0.3)])
    likelihood = likelihood_over(layout, 0, near, places)
    assert likelihood[0] > 0.9
    assert likelihood[1] < 0.1


def test_the_object_itself_and_the_scene_are_left_as_they_were() -> None:
    layout = scene(Object(0.6, 0.3), Object(0.8, 0.0))
    before = {name: np.array(getattr(layout, name)) for name in ("centre", "top")}
    likelihood_over(layout, 0, asked(layout, "behind", 1), np.array(PLACES), 0.3)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(layout, name), value)
    margin, sigma = measured_at(layout, 0, asked(layout, "behind", 1))
    own = likelihood_over(layout, 0, asked(layout, "behind", 1), layout.centre[:1, :2])
    assert own[0] == pytest.approx(clause_likelihood(np.array([margin]), np.array([sigma]))[0])
    with pytest.raises(ValueError, match="between"):
        measured_at(layout, 0, asked(layout, "between", 1))
