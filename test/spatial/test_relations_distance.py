# SPDX-License-Identifier: Apache-2.0
"""Stated distances: "10 cm left of", "within 20 cm of", "at least a metre from"."""

from __future__ import annotations

import numpy as np
import pytest
from relation_scenes import LIMITS, VIEWER, Ground, Object, lay

from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure, with_distance
from spatial_vlm_ros.spatial.relations.distances import stated
from spatial_vlm_ros.types import Distance

EXACT = {"abs": 1e-9}


def pairs_of(ground: Ground, target: Object, anchor: Object) -> Pairs:
    layout = lay(ground.scene((target, anchor)))
    return Pairs(layout, layout.viewpoint(VIEWER), np.array([0]), np.array([1]))


@pytest.mark.parametrize(
    ("relation", "place", "base", "gap"),
    [
        ("right of", (1.0, 0.2), 0.0, 0.14),
        ("left of", (1.0, -0.2), 0.0, 0.14),
        ("behind", (1.2, 0.0), 0.0, 0.14),
        ("in front of", (0.8, 0.0), 0.0, 0.14),
        ("above", (1.0, 0.0), 0.2, 0.14),
        ("at a distance from", (1.0, 0.2), 0.0, 0.14),
        ("at a distance from", (1.0, 0.09), 0.1, 0.05),
        ("next to", (1.0, 0.1), 0.0, 0.04),
        ("near", (1.0, 0.1), 0.0, 0.04),
    ],
)
def test_a_stated_distance_is_the_gap_along_the_relations_own_direction(
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
        got, sigma = with_distance(relation, pairs, Distance(distance, said))  # type: ignore[arg-type]
        assert got[0, 0] == pytest.approx(min(expected, bound), **EXACT), (said, distance)
        assert sigma[0, 0] > 0


def test_the_relation_itself_has_to_hold_and_below_is_measured_from_the_underside(ground: Ground) -> None:
    """14 cm to the right is not 14 cm to the left, and 14 cm off the cone is not behind."""
    pairs = pairs_of(ground, Object(1.0, 0.2), Object(1.0, 0.0))
    assert with_distance("left of", pairs, Distance(0.14))[0][0, 0] == pytest.approx(-0.2, **EXACT)
    assert with_distance("behind", pairs, Distance(0.0, "at least"))[0][0, 0] < -0.1
    pairs = pairs_of(ground, Object(1.0, 0.0), Object(1.0, 0.0, (0.4, 0.4, 0.02), base=0.2))
    for relation in ("below", "under"):
        assert with_distance(relation, pairs, Distance(0.14))[0][0, 0] == pytest.approx(0.028, **EXACT)
    with pytest.raises(ValueError, match="on"):
        with_distance("on", pairs, Distance(0.1))


def test_a_stated_distance_takes_the_place_of_a_vague_word(ground: Ground) -> None:
    """What decides brings its own deviation: that of a measured gap is smaller than that of "near"."""
    pairs = pairs_of(ground, Object(1.0, 0.1), Object(1.0, 0.0))
    (_, vague), (_, exact) = measure("near", pairs), measure("near", pairs, Distance(0.04))
    assert exact[0, 0] < vague[0, 0] / 2


@pytest.mark.parametrize("metres", [0.0, 0.05, 0.3, 2.0])
def test_at_most_is_the_negation_of_at_least_and_about_is_within_a_fifth_or_two_centimetres(metres: float) -> None:
    gaps = np.linspace(0.0, 3.0, 301)
    most, least = (stated(gaps, Distance(metres, bound), LIMITS) for bound in ("at most", "at least"))
    np.testing.assert_allclose(most + least, 0.0, atol=1e-12)
    off = max(0.02, metres / 5)
    about = stated(np.array([metres - off, metres, metres + off]), Distance(metres), LIMITS)
    assert about == pytest.approx([0, off, 0])
