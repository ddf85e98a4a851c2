# SPDX-License-Identifier: Apache-2.0
"""Obstacles without a name are drawn for whoever approves."""

from __future__ import annotations

import dataclasses

import numpy as np
import planned_offer
import pytest

from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.planned_motion import planned_motion
from spatial_vlm_ros.output.plan_images import draw_on_scene, draw_plan_view, motion_from, plan_eye

pytest.importorskip("pinocchio")

CELLS = np.random.default_rng(3).integers((25, 5, 0), (60, 45, 20), (400, 3))


def test_all_of_them_are_in_a_few_boxes_that_are_drawn() -> None:
    offer = planned_offer.offer()
    blocks = voxels_at(CELLS, 0.01)
    occupied = dataclasses.replace(offer.scene, occupancy=Occupancy(blocks, voxels_at(CELLS[:50] + 1, 0.01), 0.9))
    bare = planned_motion(offer, planned_offer.CONFIG, None)
    shown = planned_motion(dataclasses.replace(offer, scene=occupied), planned_offer.CONFIG, None)
    boxes = [box for box in shown.boxes if box.role == "occupied"]
    assert 1 <= len(boxes) <= 40
    assert {box.role for box in shown.boxes} - {box.role for box in bare.boxes} == {"occupied", "unseen"}
    held = np.zeros(len(blocks), bool)
    for box in boxes:
        away = np.abs(blocks.centres() - box.solid.centre)
        held |= (away <= np.array(box.solid.size) / 2).all(axis=1)
    assert held.all()
    assert [box.label for box in boxes if box.label] == ["without a name"]
    assert motion_from(shown.data()) == shown
    surroundings = offer.seen.surroundings
    assert surroundings is not None
    assert surroundings.image is not None
    red = np.array((213, 94, 0))
    for draw in (lambda m: draw_plan_view(m, "above"), lambda m: draw_on_scene(m, surroundings.image.data)):
        before, after = draw(bare).astype(int), draw(shown).astype(int)
        changed = np.abs(before - after).sum(axis=2) > 20
        assert changed.sum() > 500
        nearer = np.abs(after - red).sum(axis=2) < np.abs(before - red).sum(axis=2)
        assert nearer[changed].mean() > 0.5
    assert plan_eye(bare, "above") == plan_eye(shown, "above"), "far obstacles do not make the view smaller"
