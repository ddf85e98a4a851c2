# SPDX-License-Identifier: Apache-2.0
"""Images with pairs of objects and their true relations seen from the camera.

The small judge learns from the pairs, vision-language models from labelled views: names, boxes, relations of objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.adaptation.views import LabelledView
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.sim.raised_worlds import raised_camera, raised_view, raised_world
from spatial_vlm_lab.sim.training_frames import training_view, training_world
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS, is_contrary
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.physics import PhysicsRendering
from spatial_vlm_ros.sim.truth import TrueObject, margin
from spatial_vlm_ros.types import Rgb, Transform
from spatial_vlm_ros.vlm.relation_judge import OUTPUTS

_CLEAR = 0.02  # metres from the border of a relation, within which it counts as unclear
_CONTACT = 0.002  # the same for contact
_VISIBLE = 0.3  # least visible share of an object in a pair
_MOST = 24  # pairs per view; touching pairs come first


@dataclass(frozen=True, eq=False)
class RelationView:
    """One image, and the true relations of pairs in it.

    Args:
        rgb: (H, W, 3) uint8.
        boxes: (P, 2, 4) boxes of target and anchor, pixels.
        holds: (P, len(OUTPUTS)) 1 = holds, 0 = does not hold, NaN = unclear.
    """

    rgb: Rgb
    boxes: npt.NDArray[np.float32]
    holds: npt.NDArray[np.float32]


def relation_views(seed: int, views: int, size: tuple[int, int], raised: bool = False) -> Iterator[RelationView]:
    """Render views of one random world; views with fewer than two objects are left out.

    Args:
        size: width and height, pixels.
        raised: take a world of `sim.raised_worlds`; pairs that contradict "higher is farther" come first.
    """
    rng = np.random.default_rng((seed, 29 if raised else 23))
    with raised_world(rng) if raised else training_world(rng) as world:
        for _ in range(views):
            pose = raised_view(rng) if raised else training_view(rng)
            camera = raised_camera(rng, size) if raised else camera_of(*size)
            seen = relation_view(world.render(camera, pose), world.truth, pose, rng, contrary_first=raised)
            if seen is not None:
                yield seen


def relation_view(
    seen: PhysicsRendering,
    truth: Mapping[str, TrueObject],
    pose: Transform,
    rng: np.random.Generator,
    contrary_first: bool = False,
) -> RelationView | None:
    """Find the true relations of pairs in a view; None if it shows fewer than two objects.

    Args:
        truth: true poses and shapes of the objects, by id.
        pose: camera pose in the base frame.
        contrary_first: choose pairs that contradict "higher is farther" before others.
    """
    shown = [d for d in seen.detections if seen.visible_fraction[d.id] >= _VISIBLE and d.id in truth]
    pairs = [(t, a) for t in shown for a in shown if t is not a]
    if not pairs:
        return None
    found = []
    for target, anchor in ((truth[t.id], truth[a.id]) for t, a in pairs):
        margins = {
            name: (margin(name, target, anchor, pose.translation), _CLEAR)
            for name in ("right of", "behind", "in front of")
        }
        margins["on"] = margin("on", target, anchor, pose.translation), _CONTACT
        margins["under"] = margin("on", anchor, target, pose.translation), _CONTACT
        margins["inside"] = margin("in", target, anchor, pose.translation), _CONTACT
        found.append([math.nan if abs(m) < clear else m > 0 for m, clear in (margins[name] for name in OUTPUTS)])
    holds = np.array(found, np.float32)
    touching = (holds[:, OUTPUTS.index("on") :] == 1.0).any(axis=1)
    boxes = np.array([(t.box_xyxy, a.box_xyxy) for t, a in pairs], np.float32)
    depth = [(column, name) for column, name in enumerate(OUTPUTS) if name in DEPTH_RELATIONS]
    contrary = [
        contrary_first and any(row[column] == 1.0 and is_contrary(name, t, a, True) for column, name in depth)
        for (t, a), row in zip(boxes.tolist(), holds, strict=True)
    ]
    rows = np.lexsort((rng.random(len(pairs)), ~np.array(contrary), ~touching))[:_MOST]
    return RelationView(seen.frame.rgb, boxes[rows], holds[rows])


# ------------------------------------------------------------------------------------------------ labelled views


_SEEN = 0.5  # least visible part of an object that is named in a question
_EACH = 2  # pairs per view for which a relation holds, and as many for which it does not
_TOUCHING = ("on", "under", "inside")


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
                objects = tuple(
                    LabelledObject(one.label, one.attributes, _box(one.box_xyxy))
                    for one in seen.detections
                    if seen.visible_fraction[one.id] >= _SEEN
                )
                columns = {name: pairs.holds[:, column] for column, name in enumerate(OUTPUTS)}
                columns["left of"] = 1.0 - columns["right of"]
                apart = np.all([columns[name] == 0.0 for name in _TOUCHING], axis=0)
                columns["beside"] = np.where(apart, 1.0, math.nan)
                labels = [
                    RelationLabel(relation, _box(target), _box(anchor), holds)
                    for relation, truths in columns.items()
                    for holds in (True, False)
                    for target, anchor in pairs.boxes[rng.permutation(np.flatnonzero(truths == holds))[:_EACH]]
                ]
                yield LabelledView(f"world_{world:06d}_{number}", seen.frame.rgb, objects, tuple(labels))


def _box(values: Iterable[float]) -> BoxXyxy:
    x0, y0, x1, y1 = map(float, values)
    return x0, y0, x1, y1
