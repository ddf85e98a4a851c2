# SPDX-License-Identifier: Apache-2.0
"""Labelled views of simulated worlds: names, boxes, and the true relations of objects seen from the camera."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.adaptation.views import LabelledView
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.sim.training_frames import training_view, training_world
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject
from spatial_vlm_ros.sim.physics import PhysicsRendering
from spatial_vlm_ros.sim.sensor import camera_of
from spatial_vlm_ros.sim.truth import TrueObject, margin
from spatial_vlm_ros.types import Transform

Floats = npt.NDArray[np.float32]
_CONTACTS = ("on", "under", "inside")
_CLEAR = 0.02  # metres from the border of a relation, within which it counts as unclear
_CONTACT = 0.002  # the same for contact
_VISIBLE = 0.3  # least visible share of an object in a pair
_MOST = 24  # pairs per view; touching pairs come first
_SEEN = 0.5  # least visible part of an object that is named in a question
_EACH = 2  # pairs per view for which a relation holds, and as many for which it does not


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
            pairs = _true_relations(seen, scene.truth, pose, rng)
            if pairs is not None:
                boxes, columns = pairs
                objects = tuple(
                    LabelledObject(one.label, one.attributes, _box(one.box_xyxy))
                    for one in seen.detections
                    if seen.visible_fraction[one.id] >= _SEEN
                )
                columns["left of"] = 1.0 - columns["right of"]
                apart = np.all([columns[name] == 0.0 for name in _CONTACTS], axis=0)
                columns["beside"] = np.where(apart, 1.0, math.nan)
                labels = [
                    RelationLabel(relation, _box(target), _box(anchor), holds)
                    for relation, truths in columns.items()
                    for holds in (True, False)
                    for target, anchor in boxes[rng.permutation(np.flatnonzero(truths == holds))[:_EACH]]
                ]
                yield LabelledView(f"world_{world:06d}_{number}", seen.frame.rgb, objects, tuple(labels))


def _true_relations(
    seen: PhysicsRendering, truth: Mapping[str, TrueObject], pose: Transform, rng: np.random.Generator
) -> tuple[Floats, dict[str, Floats]] | None:
    """Pairs of objects in a view, and which relations hold; None if it shows fewer than two objects.

    Returns:
        (P, 2, 4) boxes of target and anchor, pixels; relation → (P,) 1 = holds, 0 = does not hold, NaN = unclear.
    """
    shown = [d for d in seen.detections if seen.visible_fraction[d.id] >= _VISIBLE and d.id in truth]
    pairs = [(t, a) for t in shown for a in shown if t is not a]
    if not pairs:
        return None
    found: dict[str, list[float]] = {}
    for target, anchor in ((truth[t.id], truth[a.id]) for t, a in pairs):
        margins = {
            name: (margin(name, target, anchor, pose.translation), _CLEAR)
            for name in ("right of", "behind", "in front of")
        }
        margins["on"] = margin("on", target, anchor, pose.translation), _CONTACT
        margins["under"] = margin("on", anchor, target, pose.translation), _CONTACT
        margins["inside"] = margin("in", target, anchor, pose.translation), _CONTACT
        for name, (metres, clear) in margins.items():
            found.setdefault(name, []).append(math.nan if abs(metres) < clear else float(metres > 0))
    holds = {name: np.array(column, np.float32) for name, column in found.items()}
    touching = np.any([holds[name] == 1.0 for name in _CONTACTS], axis=0)
    boxes = np.array([(t.box_xyxy, a.box_xyxy) for t, a in pairs], np.float32)
    rows = np.lexsort((rng.random(len(pairs)), ~touching))[:_MOST]
    return boxes[rows], {name: column[rows] for name, column in holds.items()}


def _box(values: Iterable[float]) -> BoxXyxy:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1
