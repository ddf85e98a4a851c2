# SPDX-License-Identifier: Apache-2.0
"""Rendered tables, each drawn once and lifted once, and short forms of what is asked on them. Not a test."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from divided import chest, organiser, shelf_unit, stairs

from benchmarks.scenes import random_tabletop
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, RelationConfig
from spatial_vlm_ros.sim.tabletop import COLOURS, Rendering, noisy
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, Scene, Status, Vector3

STEEP = {"eye": (0.0, -0.6, 0.75), "target": (0.0, 0.1, 0.0)}
LEVEL = {"eye": (0.1, -0.75, 0.45), "target": (0.0, 0.1, 0.1)}
ABOVE = {"eye": (0.05, -0.9, 0.75), "target": (0.0, 0.1, 0.1)}
FURNITURE: dict[str, Any] = {"organiser": organiser, "shelves": shelf_unit, "chest": chest, "stairs": stairs}
SEVERAL = ("size", "across", "along", "heights")
Detections = Sequence[Detection] | None


class Kept:
    """A pure function whose last results are kept. Its first argument, and members of tuples, count by identity."""

    def __init__(self, function: Callable[..., Any], most: int = 32) -> None:
        self._function, self._most = function, most
        self._results: dict[Any, tuple[Any, ...]] = {}

    def __call__(self, first: Any, *others: Any) -> Any:
        key = id(first), *(tuple(map(id, one)) if isinstance(one, tuple) else one for one in others)
        if key not in self._results:
            self._results[key] = first, others, self._function(first, *others)  # what is kept keeps its identity
            if len(self._results) > self._most:
                del self._results[next(iter(self._results))]
        return self._results[key][2]


lifted, laid_out = Kept(build_scene), Kept(lay_out)


class Table:
    """The `Tabletop` of all tests, which draws no picture and lifts no frame twice."""

    def __init__(self, plain: Any) -> None:
        self._plain, self._seen = plain, functools.lru_cache(48)(plain.see)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def see(self, *bodies: Any, **view: Any) -> Rendering:
        return self._seen(*bodies, **view)

    def scene(self, bodies: str, *others: Any, **view: Any) -> Rendering:
        """Bodies as "kind id x y", with a height of the base if need be, apart by semicolons; and others.

        A kind is a method's name, and may be followed by a label: "cup:tea_cup m 0 0.2 0.05 red r=0.03 h=0.1". A colour
        and sizes may follow, also "size=0.1x0.1x0.02"; of furniture its boards, too: "across=-0.05/0.05".
        """
        made = []
        for body in bodies.split(";"):
            kind, id_, *rest = body.split()
            kind, _, label = kind.partition(":")
            more: dict[str, Any] = {"label": label.replace("_", " ")} if label else {}
            for colour in COLOURS.keys() & set(rest):
                more["colour"] = colour
            for name, value in (word.split("=") for word in rest if "=" in word):
                numbers = tuple(map(float, re.split("[x/]", value)))
                more[{"r": "radius", "h": "height"}.get(name, name)] = numbers if name in SEVERAL else numbers[0]
            x, y, z = (*(float(word) for word in rest if "=" not in word and word not in COLOURS), 0.0)[:3]
            if kind in FURNITURE:
                whole = {name: int(more[name]) for name in ("number", "out") if name in more}
                made.append(dataclasses.replace(FURNITURE[kind](at=(x, y, z), **more | whole), id=id_))
            else:
                made.append(getattr(self._plain, kind)(id_, x, y, z=z, **more))
        return self.see(*made, *others, **view)

    def as_one(self, seen: Rendering, id_: str, label: str, *parts: str) -> tuple[Detection, ...]:
        """The detections, with those of some bodies as one."""
        mask = np.logical_or.reduce([seen.masks[part] for part in parts])
        return (*(d for d in seen.detections if d.id not in parts), self.of_mask(label, mask, id_))

    def lift(self, seen: Rendering, detections: Detections = None, frame: RgbdFrame | None = None) -> Scene:
        given = seen.detections if detections is None else detections
        return lifted(frame or seen.frame, tuple(given), DepthConfig(), LiftConfig())

    def layout(self, seen: Rendering, detections: Detections = None, frame: RgbdFrame | None = None) -> Layout:
        return laid_out(self.lift(seen, detections, frame), DepthConfig(), RelationConfig())

    def meant(self, seen: Rendering, words: str, *given: Any, **request: Any) -> str:
        """The id that `ask` finds, or the name of the refusal."""
        return meant(self._plain.ask(seen, words, *given, **request))


def meant(answer: Resolution) -> str:
    if answer.answer is not None:
        return f"= {answer.answer.value}"
    return answer.target.id if answer.target is not None else answer.status.value


def spot(answer: Resolution) -> np.ndarray:
    assert answer.status is Status.OK, answer.message
    return np.array(answer.place.pose.position)


def spots(answer: Resolution) -> np.ndarray:
    assert answer.status is Status.OK, answer.message
    return np.array([place.pose.position for place in answer.places])


def without_attributes(detections: Sequence[Detection]) -> tuple[Detection, ...]:
    return tuple(dataclasses.replace(one, attributes=()) for one in detections)


@Kept
def without_depth(seen: Rendering, *ids: str) -> RgbdFrame:
    depth = seen.frame.depth.copy()
    for id_ in ids:
        depth[seen.masks[id_]] = np.nan
    return dataclasses.replace(seen.frame, depth=depth)


KINDS = ("cup", "can", "box", "block", "ball", "bowl", "mug")


def pictures(tabletop: Table, seeds: range) -> Iterator[tuple[str, Rendering]]:
    """Tables with two or three kinds of objects of which most is seen, and with noise on their depth."""
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
