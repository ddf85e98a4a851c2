# SPDX-License-Identifier: Apache-2.0
"""How far "up" may be wrong decides how sure a relation is of heights, and of places at different heights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.relations import Pairs, measure
from spatial_vlm_ros.types import FrameOfReference, Plane, UpSource

if TYPE_CHECKING:
    from conftest import Ground, Object

APART = 0.25  # metres on the ground between target and anchor
HIGH, BESIDE = 0.12, 0.0  # metres from the table to the target's underside


def _sigma(ground: Ground, obj: Callable[..., Object], relation: str, base: float, up_from: UpSource,
           tilt: float = 0.0) -> float:  # fmt: skip
    """Deviation of one relation to a block to its left, metres, in a scene whose "up" comes from there."""
    scene = ground.scene([obj(0.8, APART, base=base), obj(0.8, 0.0)])
    support = dataclasses.replace(scene.support or Plane(scene.up, 0.6, 0.0), sigma_tilt=tilt)
    scene = dataclasses.replace(scene, up_from=up_from, support=support)
    layout = lay_out(scene, DepthConfig(), RelationConfig())
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), np.array([0]), np.array([1]))
    return float(measure(relation, pairs)[1][0, 0])


def test_a_difference_in_height_is_no_surer_than_up(ground: Ground, obj: Callable[..., Object]) -> None:
    of = {up_from: _sigma(ground, obj, "higher than", HIGH, up_from, np.radians(5.0)) for up_from in UpSource}
    expected = np.hypot(of[UpSource.TF], APART * np.radians(5.0))
    assert of[UpSource.SUPPORT_PLANE] == pytest.approx(expected, rel=0.02)
    assert of[UpSource.OPTICAL_AXES] > 0.08, "nothing tells how the camera is held"


@pytest.mark.parametrize("relation", ["right of", "behind"])
def test_a_place_on_the_ground_needs_up_only_between_heights(
    ground: Ground, obj: Callable[..., Object], relation: str
) -> None:
    tilt = np.radians(5.0)
    known, tilted = UpSource.TF, UpSource.SUPPORT_PLANE
    for base, same in ((BESIDE, True), (HIGH, False)):
        sure = _sigma(ground, obj, relation, base, known)
        assert (_sigma(ground, obj, relation, base, tilted, tilt) == pytest.approx(sure, rel=1e-3)) is same
