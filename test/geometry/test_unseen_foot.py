# SPDX-License-Identifier: Apache-2.0
"""What is not seen of an object: feet out of sight, and headings that cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.types import Status


@pytest.mark.parametrize(("kind", "height"), [("bottle", 0.22), ("can", 0.1), ("box", 0.12)])
def test_a_body_seen_straight_from_above_reaches_down_to_the_table(tabletop: Any, kind: str, height: float) -> None:
    body = (
        tabletop.block("a", 0, 0, (0.1, 0.06, height), label=kind)
        if kind == "box"
        else tabletop.can("a", 0, 0, height=height, label=kind)
    )
    other = tabletop.block("b", 0.2, 0.1)
    obj, _, seen = tabletop.lift_one(body, other, eye=(0, -0.02, 0.9), target=(0, 0, 0))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] == pytest.approx(height / 2, abs=0.01)
    assert obj.box.size[2] == pytest.approx(height, abs=0.01)


@pytest.mark.parametrize("wall", [0.09, 0.1, 0.11])
def test_a_can_of_which_a_third_is_seen_above_a_wall_reaches_the_table(tabletop: Any, wall: float) -> None:
    front = tabletop.block("front", 0, -0.08, (0.16, 0.04, wall), colour="grey")
    obj, _, seen = tabletop.lift_one(tabletop.can("a", 0, 0.05, height=0.12), front, eye=tabletop.pitched(22))
    centre = seen.frame.base_T_camera.apply(obj.box.centre)
    assert centre[2] - obj.box.size[2] / 2 == pytest.approx(0, abs=0.01)
    assert obj.visible_fraction == pytest.approx(seen.visible_fraction["a"], abs=0.1)
    assert obj.occluder == "front"


def test_a_bottle_of_which_a_twentieth_is_seen_is_occluded(tabletop: Any) -> None:
    front = tabletop.block("front", 0, -0.08, (0.2, 0.04, 0.225), colour="grey", label="box")
    seen = tabletop.see(tabletop.can("a", 0, 0.05, height=0.22, label="bottle"), front, eye=tabletop.pitched(22))
    assert seen.visible_fraction["a"] < 0.1
    assert tabletop.ask(seen, "the bottle").status is Status.OCCLUDED


@pytest.mark.parametrize("pitch", [15, 20, 25])
def test_round_objects_at_flat_angles_do_not_claim_a_heading(tabletop: Any, pitch: float) -> None:
    from spatial_vlm_ros.sim.random_worlds import random_tabletop
    from spatial_vlm_ros.sim.sensor import noisy

    claims = []
    for seed in range(12):
        world = random_tabletop(np.random.default_rng(seed), 5, labels=("cup", "mug", "can", "bottle"))
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(pitch))
        scene = tabletop.lift(seen, frame=noisy(seen.frame, np.random.default_rng(seed)))
        claims += [o.yaw_known for o in scene.objects if seen.visible_fraction[o.id] > 0.9 and not o.truncated]
    assert np.mean(claims) < 0.05
