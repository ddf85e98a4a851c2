# SPDX-License-Identifier: Apache-2.0
"""Random tables of which most is seen, and sentences about them that may be ambiguous. Not a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from tables import Table

from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Detection, Vector3

KINDS = ("cup", "can", "box", "block", "ball", "bowl", "mug")


def pictures(tabletop: Table, seeds: range) -> Iterator[tuple[str, Rendering]]:
    """Tables with two or three kinds of objects, and with noise on their depth."""
    for seed in seeds:
        draw = np.random.default_rng(seed)
        kinds = [str(kind) for kind in draw.permutation(KINDS)[: int(draw.integers(2, 4))]]
        colours = (("grey",), ("red", "green", "blue"), ("red", "white"))[seed % 3]
        world = random_tabletop(draw, int(draw.integers(3, 9)), labels=kinds, colours=colours)
        eye: Vector3 = (float(draw.uniform(-0.3, 0.3)), float(draw.uniform(-1.1, -0.8)), float(draw.uniform(0.5, 0.9)))
        seen = tabletop.see(*world.bodies, eye=eye)
        if min(seen.visible_fraction.values()) >= 0.6:
            yield f"seed {seed}", dataclasses.replace(seen, frame=noisy(seen.frame, draw))


def instructions(detections: Sequence[Detection], words: Sequence[str] = ("behind", "left of", "near")) -> list[str]:
    labels = [detection.label for detection in detections]
    several = sorted({label for label in labels if labels.count(label) > 1})
    landmark = sorted({label for label in labels if labels.count(label) == 1})[:1]
    related = [f"grab the {label} {word} the {other}" for label in several for other in landmark for word in words]
    return [*(f"give me the {label}" for label in several), *related, "the thing"]
