# SPDX-License-Identifier: Apache-2.0
"""Value of the checks when a model says which object free words mean (`language.free_form: ask_model`).

No model is used. Its answers are made from the truth: the right object with a box off by 4 % of its size or a point at
its centre, another object of the same kind, or an object of another kind. The words contain nothing readable, a
readable relation, or a readable noun and relation. All objects are detected, or all but the one pointed at. Scenes are
those of `benchmarks.accuracy`, with other seeds. Boxes around parts of an object that is not detected (30, 50 and 80 %
of its width), and around a patch of a cabinet of 50 cm behind the objects, should be refused.

    python -m benchmarks.free_words --seeds 60
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from benchmarks.accuracy import Question, View, questions, view
from benchmarks.detection_forms import as_point
from benchmarks.harness import arguments, finish
from spatial_vlm_ros import Detection, Resolver, Status
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.sim.tabletop import Body, Box, look_at, noisy, render
from spatial_vlm_ros.types import Rgb, RgbdFrame

FIRST_SEED = 650_000
JITTER = 0.04  # share of the box's size
_ASKED = re.compile(r"grab the (?P<noun>\w+) (?P<relation>left of|right of|behind|in front of) the (?P<anchor>\w+)")
WORDINGS = {
    "nothing": "hand me what I adore",
    "a relation": "hand me the thing that I adore {relation} the {anchor}",
    "noun and relation": "hand me the {noun} that I adore {relation} the {anchor}",
}
POINTED = ("the right one, box", "the right one, point", "another of its kind", "one of another kind")
PARTS = (0.3, 0.5, 0.8)  # shares of an object's width
PATCH = 70.0  # pixels of a side
CABINET = Body("cabinet", "cabinet", Box((0.5, 0.3, 0.5)), (0.0, 0.0, 0.0), "white")
CONFIG = config_from({"language": {"free_form": "ask_model"}})


class Points:
    """A Referrer that points where it is told to."""

    def __init__(self) -> None:
        self.found: tuple[NamedObject, ...] = ()

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002
        """Return the given answer."""
        return self.found


def named(detection: Detection, form: str, rng: np.random.Generator) -> tuple[NamedObject, ...]:
    """A model's answer for an object."""
    if form.endswith("point"):
        x0, y0, x1, y1 = as_point(detection).box_xyxy
        return (NamedObject("", None, ((x0 + x1) / 2, (y0 + y1) / 2), None),)
    box = np.array(detection.box_xyxy)
    box += rng.normal(0.0, JITTER, 4) * np.tile(box[2:] - box[:2], 2)
    corners = np.clip(box, 0.0, np.tile((640.0, 480.0), 2))
    return (NamedObject("", tuple(corners.tolist()), None, None),)


def pointed(one: View, asked: Question, rng: np.random.Generator) -> Iterator[tuple[str, Detection]]:
    """Answers of models of each kind; empty if there is no suitable, well visible object."""
    seen = {body.id for body in one.well_seen()}
    by_id = {detection.id: detection for detection in one.seen.detections if detection.id in seen}
    right = by_id[asked.id or ""]
    alike = [other for other in by_id.values() if other.label == right.label and other is not right]
    others = [other for other in by_id.values() if other.label != right.label]
    for form, choice in zip(POINTED, ([right], [right], alike, others), strict=True):
        if choice:
            yield form, choice[int(rng.integers(len(choice)))]


def measure(views: Sequence[View]) -> tuple[dict[str, dict[str, int]], list[float]]:
    """Counts of statuses by detections, wording and answer; and errors of added objects, metres."""
    model, counts, errors = Points(), dict[str, Counter[str]](), list[float]()
    resolver = Resolver(CONFIG, model)  # type: ignore[arg-type]  # it is asked to refer alone
    for one in views:
        rng = np.random.default_rng(one.seed)
        truth = {body.id: np.array(body.centre) for body in one.world.bodies}
        for asked in questions(one):
            said = _ASKED.fullmatch(asked.instruction)
            if said is None or asked.status is not Status.OK:
                continue
            for form, detection in pointed(one, asked, rng):
                model.found = named(detection, form, rng)
                rest = tuple(other for other in one.seen.detections if other.id != detection.id)
                for seen, given in (("all", one.seen.detections), ("all but it", rest)):
                    for wording, words in WORDINGS.items():
                        answer = resolver.resolve(one.frame, words.format(**said.groupdict()), given)
                        key = f"{seen} | {wording} | {form}"
                        counts.setdefault(key, Counter())[answer.status.value] += 1
                        if answer.target is not None and seen != "all" and form.startswith("the right"):
                            place = np.array(answer.target.pose.position)
                            errors.append(float(np.linalg.norm(place - truth[detection.id])))
    return {key: dict(counted) for key, counted in counts.items()}, errors


def answered_parts(views: Sequence[View]) -> dict[str, dict[str, int]]:
    """Counts of statuses for boxes around parts of undetected objects, and around patches of a cabinet."""
    model, counts = Points(), dict[str, Counter[str]]()
    resolver = Resolver(CONFIG, model)  # type: ignore[arg-type]  # it is asked to refer alone

    def ask(name: str, frame: RgbdFrame, box: Sequence[float], given: Sequence[Detection]) -> None:
        model.found = (NamedObject("", (box[0], box[1], box[2], box[3]), None, None),)
        answer = resolver.resolve(frame, WORDINGS["nothing"], given)
        counts.setdefault(name, Counter())[answer.status.value] += 1

    for one in views:
        rng = np.random.default_rng(one.seed)
        seen = {body.id for body in one.well_seen()}
        for detection in one.seen.detections:
            if detection.id not in seen:
                continue
            x0, y0, x1, y1 = detection.box_xyxy
            rest = tuple(other for other in one.seen.detections if other is not detection)
            for part in PARTS:
                box = (x0, y0, x0 + part * (x1 - x0), y1)
                ask(f"{part:.0%} of its width", one.frame, box, rest)
        frame, detections, middle = with_cabinet(one, rng)
        if middle is not None:
            box = (middle[0] - PATCH / 2, middle[1] - PATCH / 2, middle[0] + PATCH / 2, middle[1] + PATCH / 2)
            ask("a patch of a cabinet", frame, box, detections)
    return {key: dict(counted) for key, counted in counts.items()}


def with_cabinet(
    one: View, rng: np.random.Generator
) -> tuple[RgbdFrame, tuple[Detection, ...], tuple[float, float] | None]:
    """Add a cabinet behind the objects of a view: frame, other detections, and a point well inside the cabinet."""
    away = -one.eye[:2] / np.linalg.norm(one.eye[:2]) * 0.7
    turned = float(np.arctan2(away[1], away[0]) + np.pi / 2)
    cabinet = dataclasses.replace(CABINET, position=(float(away[0]), float(away[1]), 0.0), yaw=turned)
    world = dataclasses.replace(one.world, bodies=(*one.world.bodies, cabinet))
    seen = render(world, one.frame.camera, look_at(tuple(one.eye), (0.0, 0.0, 0.03)))
    mask = next((d.mask for d in seen.detections if d.id == "cabinet"), None)
    rest = tuple(d for d in seen.detections if d.id != "cabinet")
    if mask is None:
        return seen.frame, rest, None
    side = int(PATCH)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((side + 20, side + 20), np.uint8), borderValue=0)
    rows, columns = np.nonzero(inner)
    middle = (float(np.median(columns)), float(np.median(rows))) if len(rows) else None
    return noisy(seen.frame, rng), rest, middle


def main() -> int:
    """Measure and write benchmarks/results/free_words.json."""
    seeds = arguments(__doc__, seeds=60).seeds
    views = [view(seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
    counts, errors = measure(views)
    parts = answered_parts(views)
    found = np.array(errors or [np.nan])
    quantiles = {name: float(np.quantile(found, q)) for name, q in (("median", 0.5), ("p95", 0.95))}
    figures = {"seeds": seeds, "statuses": counts, "parts": parts, "added": len(errors), "error_m": quantiles}
    return finish("free_words", figures, ())


if __name__ == "__main__":
    raise SystemExit(main())
