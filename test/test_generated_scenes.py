# SPDX-License-Identifier: Apache-2.0
"""Random tables with noisy depth; sentences and answers come from the true places, by the definitions of the relations.

Left and right are offsets from the ray viewer → anchor; behind and in front go along it within 45°, by where objects
begin; orders go by distance from the camera and by bearing. A sentence is asked only if all its margins exceed 4 cm.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spatial_vlm_ros.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.shapes import Box
from spatial_vlm_ros.sim.tabletop import Body, World
from spatial_vlm_ros.types import Resolution, Status, Vector3

if TYPE_CHECKING:
    from conftest import Tabletop

SCENES = 40
QUESTIONS = 6  # of each scene
CLEAR = 0.04  # metres
LABELS = ("cup", "can", "box", "block", "bottle", "bowl", "ball", "book")
RELATIONS = {
    "left of": "to the left of",
    "right of": "to the right of",
    "behind": "behind",
    "in front of": "in front of",
}
NUMBERS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


@dataclasses.dataclass(frozen=True)
class Question:
    words: str
    expected: str | None  # None: nothing fits
    kind: str


def outline(body: Body) -> np.ndarray:
    """(N, 2) points of its outline on the table."""
    if isinstance(body.shape, Box):
        return body.corners()[:, :2]
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.array(body.position[:2]) + body.size[0] / 2 * np.stack((np.cos(angles), np.sin(angles)), axis=1)


def margins(target: Body, anchor: Body, eye: np.ndarray) -> dict[str, float]:
    """Signed margins of the four directions, metres."""
    ray = np.array(anchor.position[:2]) - eye[:2]
    ahead = ray / np.linalg.norm(ray)
    right = np.array([ahead[1], -ahead[0]])
    offset = np.subtract(target.position[:2], anchor.position[:2])
    t, a = outline(target), outline(anchor)
    begins = float((t @ ahead).min() - (a @ ahead).min())
    aside = max((t @ right).min() - (a @ right).max(), (a @ right).min() - (t @ right).max(), 0.0)
    along = float(offset @ ahead)

    def within_cone(sign: float) -> float:
        return sign * along - aside if aside > 0 else np.inf

    return {
        "left of": -float(offset @ right),
        "right of": float(offset @ right),
        "behind": min(begins, within_cone(1.0)),
        "in front of": min(-begins, within_cone(-1.0)),
    }


def relation_questions(world: World, eye: np.ndarray, seen: frozenset[str]) -> Iterator[Question]:
    by_label = {label: [b for b in world.bodies if b.label == label] for label in LABELS}
    anchors = [group[0] for group in by_label.values() if len(group) == 1 and group[0].id in seen]
    for anchor, (label, targets), (name, words) in itertools.product(anchors, by_label.items(), RELATIONS.items()):
        if not targets or label == anchor.label:
            continue
        measured = [margins(target, anchor, eye)[name] for target in targets]
        fitting = [t for t, margin in zip(targets, measured, strict=True) if margin > 0]
        if min(abs(m) for m in measured) < CLEAR or len(fitting) > 1 or any(t.id not in seen for t in targets):
            continue
        yield Question(f"the {label} {words} the {anchor.label}", fitting[0].id if fitting else None, name)


def order_questions(world: World, eye: np.ndarray, seen: frozenset[str]) -> Iterator[Question]:
    for label in LABELS:
        group = [b for b in world.bodies if b.label == label]
        if len(group) < 2 or any(b.id not in seen for b in group):
            continue
        yield from _ends(label, group, [float(np.linalg.norm(b.centre - eye)) for b in group], "nearest", "farthest")
        offsets = np.array([b.position[:2] for b in group]) - eye[:2]
        forward = -eye[:2] / np.linalg.norm(eye[:2])
        bearing = (
            np.arctan2(offsets @ (forward[1], -forward[0]), offsets @ forward) * np.linalg.norm(offsets, axis=1).mean()
        )
        yield from _ends(label, group, bearing.tolist(), "leftmost", "rightmost")
        order = np.argsort(bearing)
        if np.diff(bearing[order]).min() > CLEAR:
            for n, row in enumerate(order):
                yield Question(f"the {NUMBERS[n]} {label} from the left", group[row].id, "ordinal")
        yield Question(f"the {NUMBERS[len(group)]} {label} from the left", None, "ordinal")


def _ends(label: str, group: Sequence[Body], key: Sequence[float], lowest: str, highest: str) -> Iterator[Question]:
    order = np.argsort(key)
    if key[order[1]] - key[order[0]] > CLEAR:
        yield Question(f"the {lowest} {label}", group[order[0]].id, lowest)
    if key[order[-1]] - key[order[-2]] > CLEAR:
        yield Question(f"the {highest} {label}", group[order[-1]].id, highest)


@pytest.fixture(scope="module")
def asked(tabletop: Tabletop) -> list[tuple[Question, Resolution, str]]:
    """Every question with its answer and the scene it was asked in."""
    results = []
    for seed in range(SCENES):
        rng = np.random.default_rng(seed)
        kinds = LABELS[: int(rng.integers(3, len(LABELS) + 1))]
        world = random_tabletop(rng, int(rng.integers(3, 8)), labels=kinds)
        eye: Vector3 = (float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-1.1, -0.7)), float(rng.uniform(0.4, 0.9)))
        image = tabletop.see(*world.bodies, eye=eye)
        if len(image.detections) < len(world.bodies):
            continue
        frame = noisy(image.frame, rng)
        masks = bool(seed % 2)
        given = image.detections if masks else tabletop.boxes_only(image.detections)
        plain = tuple(d.id for d in image.detections if image.visible_fraction[d.id] > 0.5)
        questions = [
            *relation_questions(world, np.array(eye), frozenset(plain)),
            *order_questions(world, np.array(eye), frozenset(plain)),
        ]
        for row in rng.permutation(len(questions))[:QUESTIONS]:
            answer = tabletop.ask(image, questions[row].words, given, frame)
            results.append((questions[row], answer, f"seed {seed}, {'masks' if masks else 'boxes'}"))
    return results


def told(results: Sequence[tuple[Question, Resolution, str]]) -> str:
    return "\n".join(
        f"{where}: {q.words!r} is {q.expected}, got {a.target.id if a.target else a.status.value}: {a.message}"
        for q, a, where in results
    )


def test_answers_are_right(asked: list[tuple[Question, Resolution, str]]) -> None:
    answered = [r for r in asked if r[0].expected is not None and r[1].status is Status.OK]
    wrong = [r for r in answered if r[1].target.id != r[0].expected]
    assert len(answered) >= 60
    assert len(wrong) <= 0.05 * len(answered), told(wrong)


def test_clear_questions_are_answered(asked: list[tuple[Question, Resolution, str]]) -> None:
    possible = [r for r in asked if r[0].expected is not None]
    refused = [r for r in possible if r[1].status is not Status.OK]
    assert len(refused) <= 0.15 * len(possible), told(refused)


def test_impossible_questions_get_no_target(asked: list[tuple[Question, Resolution, str]]) -> None:
    impossible = [r for r in asked if r[0].expected is None]
    assert len(impossible) >= 40
    assert [r for r in impossible if r[1].target is not None] == [], told(impossible)


def test_impossible_questions_are_called_unsatisfied(asked: list[tuple[Question, Resolution, str]]) -> None:
    impossible = [r for r in asked if r[0].expected is None]
    other = [r for r in impossible if r[1].status is not Status.RELATION_UNSATISFIED]
    assert len(other) <= 0.1 * len(impossible), told(other)


def test_every_kind_of_question_was_asked(asked: list[tuple[Question, Resolution, str]]) -> None:
    kinds = {q.kind for q, _, _ in asked}
    assert kinds == {*RELATIONS, "nearest", "farthest", "leftmost", "rightmost", "ordinal"}
