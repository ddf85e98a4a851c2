# SPDX-License-Identifier: Apache-2.0
"""Every place that is given, against the true world: on random tables, seen by a perfect and by a real sensor."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import placement_truth as truth
import pytest

from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, RelationConfig
from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import World, look_at, render
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.spatial.placement import PlaceRequest, find_places, place_of
from spatial_vlm_ros.types import FrameOfReference, PinholeCamera

RELATIONS = ("left of", "right of", "behind", "in front of", "next to", "near", "far from", "between")
STANDING = ("cup", "mug", "can", "box", "block", "bowl")


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 32))])
def test_a_place_is_free_carried_seen_and_where_it_was_asked_for(seed: int, camera: PinholeCamera) -> None:
    rng = np.random.default_rng(seed)
    world = random_tabletop(rng, int(rng.integers(4, 12)), region=(0.7, 0.45), labels=STANDING)
    pitch, distance = math.radians(rng.uniform(30, 60)), rng.uniform(0.8, 1.1)
    eye = (float(rng.uniform(-0.2, 0.2)), -distance * math.cos(pitch), distance * math.sin(pitch))
    seen = render(world, camera, look_at(eye, (0.0, 0.0, 0.04)))
    frame = noisy(seen.frame, rng) if seed % 2 else seen.frame
    scene = build_scene(frame, seen.detections, DepthConfig(), LiftConfig())
    layout = lay_out(scene, DepthConfig(), RelationConfig())
    good = [row for row, o in enumerate(scene.objects) if layout.measured[row] and o.visible_fraction > 0.7]
    if len(good) < 3:
        good = [int(row) for row in np.flatnonzero(layout.measured)]
    moved, *anchors = (int(row) for row in rng.permutation(good)[:3])
    obj = world[scene.objects[moved].id]
    others = [body for body in world.bodies if body.id != obj.id]
    target = target_of(scene.objects[moved], scene)
    empty = render(World(tuple(others)), camera, look_at(eye, (0.0, 0.0, 0.04))).frame
    found = 0
    for relation in rng.permutation(RELATIONS)[:4].tolist():
        used = tuple(anchors) if relation == "between" else tuple(anchors[:1])
        related = [world[scene.objects[row].id] for row in used]
        view = layout.viewpoint(FrameOfReference.VIEWER)
        placing = find_places(layout, PlaceRequest(relation, used, view, moved))
        assert placing.assumed is None
        assert (placing.reason is None) == bool(placing.spots)
        places = [place_of(spot, layout) for spot in placing.spots]
        found += len(places)
        for place in places:
            there = truth.moved_to(obj, target, place)
            what = f"{relation} {[b.id for b in related]}: {place}"
            outline = truth.outline(there)
            assert (np.abs(outline) <= np.array(world.table_size) / 2).all(), what
            assert place.pose.position[2] == pytest.approx(0.0, abs=0.008), what
            assert min(truth.gap(outline, truth.outline(body)) for body in others) > 0.003, what
            assert truth.margin(relation, there, related, eye) > -0.005, what
            assert truth.seen_share(outline, 0.0, empty) > 0.75, what
            assert place.probability >= 0.85
            assert place.clearance_m >= 0.02
        size = sum(obj.size[:2]) / 2
        for one, other in combinations(places, 2):
            assert math.dist(one.pose.position, other.pose.position) > 0.4 * size
    assert found >= 1
