# SPDX-License-Identifier: Apache-2.0
"""Rendered images with names, boxes and relations of their objects, for training vision-language models."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from spatial_vlm_lab.adaptation.views import LabelledView
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.sim.relation_pairs import PAIR_RELATIONS, RelationView, relation_view
from spatial_vlm_lab.sim.training_frames import training_view, training_world
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.physics import PhysicsRendering

_SEEN = 0.5  # least visible part of an object that is named in a question
_EACH = 2  # pairs per view for which a relation holds, and as many for which it does not
_CONTACT = ("on", "under", "inside")


def adaptation_views(world: int, views: int, size: tuple[int, int]) -> Iterator[LabelledView]:
    """Render views of one random world; views with fewer than two objects are left out.

    Args:
        world: number of the world, the only seed.
        size: width and height, pixels.
    """
    rng = np.random.default_rng((world, 29))
    camera = camera_of(*size)
    with training_world(rng) as scene:
        for number in range(views):
            pose = training_view(rng)
            seen = scene.render(camera, pose)
            pairs = relation_view(seen, scene.truth, pose, rng)
            if pairs is not None:
                name = f"world_{world:06d}_{number}"
                yield LabelledView(name, seen.frame.rgb, _objects(seen), tuple(_labels(pairs, rng)))


def _objects(seen: PhysicsRendering) -> tuple[LabelledObject, ...]:
    return tuple(
        LabelledObject(one.label, one.attributes, _box(one.box_xyxy))
        for one in seen.detections
        if seen.visible_fraction[one.id] >= _SEEN
    )


def _labels(pairs: RelationView, rng: np.random.Generator) -> Iterator[RelationLabel]:
    """For each relation, a few pairs for which it holds and a few for which it does not."""
    columns = {name: pairs.holds[:, column] for column, name in enumerate(PAIR_RELATIONS)}
    columns["left of"] = 1.0 - columns["right of"]
    apart = np.all([columns[name] == 0.0 for name in _CONTACT], axis=0)
    columns["beside"] = np.where(apart, 1.0, math.nan)
    for relation, holds in columns.items():
        for truth in (1.0, 0.0):
            rows = rng.permutation(np.flatnonzero(holds == truth))[:_EACH]
            for target, anchor in pairs.boxes[rows]:
                yield RelationLabel(relation, _box(target), _box(anchor), bool(truth))


def _box(values: object) -> BoxXyxy:
    x0, y0, x1, y1 = (float(v) for v in values)  # type: ignore[attr-defined]
    return x0, y0, x1, y1
