# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.cameras import HD, VGA
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS
from spatial_vlm_ros.sim.grounder import SimulatorGrounder
from spatial_vlm_ros.sim.relation_truth import margin
from spatial_vlm_ros.sim.sensor import STEREO, noisy
from spatial_vlm_ros.types import Status

pytestmark = pytest.mark.usefixtures("_mujoco")
BEHIND = {"behind": "bonnet", "swapped": "ribbon", "both_in_front": None}


@pytest.mark.parametrize("camera", [VGA, HD], ids=["vga", "hd"])
@pytest.mark.parametrize("name", DEMO_WORLDS)
def test_the_chick_behind_the_cup_is_found_with_its_place_or_refused(name: str, camera: object) -> None:
    with DEMO_WORLDS[name]() as world:
        seen = world.render(VGA if camera is VGA else HD)
        frame = noisy(seen.frame, np.random.default_rng(1), STEREO, seen.shiny)
        answer = Resolver(grounder=SimulatorGrounder(seen)).resolve(frame, "grab me the chick behind the cup")
        expected = BEHIND[name]
        if expected is None:
            assert answer.status is Status.RELATION_UNSATISFIED
            return
        assert answer.target is not None
        assert (answer.status, answer.target.id) == (Status.OK, expected)
        assert answer.target.pose.frame_id == "base_link"
        error = np.subtract(answer.target.pose.position, world.truth[expected].centre)
        assert np.linalg.norm(error) < 0.02


@pytest.mark.parametrize("name", DEMO_WORLDS)
def test_demo_worlds_are_as_they_are_told(name: str) -> None:
    with DEMO_WORLDS[name]() as world:
        assert world.at_rest()
        eye, cup = world.base_T_camera.translation, world.truth["cup"]
        for id_ in ("bonnet", "ribbon"):
            true = world.truth[id_]
            assert true.label == "chick"
            assert id_ in true.attributes
            relation = "behind" if BEHIND[name] == id_ else "in front of"
            assert margin(relation, true, cup, eye) > 0.05
            assert true.placed is not None
            assert (true.placed.relation, true.placed.anchor_ids) == (relation, ("cup",))
            assert world.render(VGA).visible_fraction[id_] > 0.6
        assert margin("in", world.truth["orange"], world.truth["bowl"], eye) > 0
        assert 0.8 < np.linalg.norm(cup.centre - eye) < 1.1
        assert world.base_T_camera.parent == "base_link"
