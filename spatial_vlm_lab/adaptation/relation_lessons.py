# SPDX-License-Identifier: Apache-2.0
"""Training lessons for a model: the questions of `judging.AskedJudge` with their answers, and object locations.

The question of a step depends only on the numbers of the step and the row. Needs torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from spatial_vlm_lab.adaptation.frame_store import StoredView
from spatial_vlm_lab.adaptation.labelled_view import LabelledObject, LabelledView, RelationLabel
from spatial_vlm_lab.adaptation.lessons import AdaptLesson, LocationWords
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.judging import CHOICES
from spatial_vlm_ros.perception.relation_marks import QUESTION, marked, mirror

BESIDE = "beside"
"""Answer for two objects of which none is on, under or inside the other; never asked for itself."""
_OPPOSITE = {"left": "right", "right": "left"}


class RelationLessons:
    """The lessons of a run.

    The relation is drawn first, so that all relations are equally frequent; then a pair for which it holds. As in the
    judge's questions, choices come in both orders, and questions about sides also use the mirrored image.

    Args:
        places: share of lessons that ask for the location of an object.
    """

    def __init__(self, views: Sequence[StoredView], seed: int, places: float, words: LocationWords) -> None:
        self._views, self._seed, self._places, self._words = views, seed, places, words
        groups: dict[str, list[tuple[int, RelationLabel]]] = {}
        for number, view in enumerate(views):
            for label in view.relations:
                if label.holds and (label.relation in CHOICES or label.relation == BESIDE):
                    groups.setdefault(label.relation, []).append((number, label))
        self._relations = [groups[name] for name in sorted(groups)]
        self._named = [(number, obj) for number, view in enumerate(views) for obj in unique_objects(view.objects)]
        if (places < 1.0 and not self._relations) or (places > 0.0 and not self._named):
            got = f"{len(self._named)} objects with a unique name, {len(self._relations)} relations that hold"
            repair = "add labelled frames, or use --rendered"
            raise InputError("training views", f"{len(views)} with {got}", "some of both", repair)

    def __call__(self, step: int, row: int) -> AdaptLesson:
        """Return the lesson of a row of a step."""
        rng = np.random.default_rng((self._seed, step, row, 31))
        if rng.random() < self._places:
            number, obj = self._named[int(rng.integers(len(self._named)))]
            return location_lesson(self._views[number].load(), obj, self._words)
        group = self._relations[int(rng.integers(len(self._relations)))]
        number, label = group[int(rng.integers(len(group)))]
        return relation_lesson(self._views[number].load(), label, *(bool(rng.random() < 0.5) for _ in range(2)))


def relation_lesson(view: LabelledView, label: RelationLabel, swapped: bool, mirrored: bool) -> AdaptLesson:
    """Make a question about a pair for which a relation holds.

    Args:
        swapped: whether the choices come in the other order.
        mirrored: whether left and right are exchanged, in the image and in the answer; only if they are the choices.
    """
    choices, answer = CHOICES["on"][0], BESIDE
    if label.relation != BESIDE:
        choices, answer = CHOICES[label.relation]
    image, target, anchor = view.rgb, label.target, label.anchor
    if mirrored and answer in _OPPOSITE:
        image, target, anchor = mirror(image, target, anchor)
        answer = _OPPOSITE[answer]
    return AdaptLesson(marked(image, target, anchor), QUESTION, choices[::-1] if swapped else choices, answer)


def location_lesson(view: LabelledView, obj: LabelledObject, words: LocationWords) -> AdaptLesson:
    """Make a question about the location of an object."""
    height, width = view.rgb.shape[:2]
    return AdaptLesson(view.rgb, words.question(obj.name), (), words.words(obj.box_xyxy, width, height))


def unique_objects(objects: Sequence[LabelledObject]) -> tuple[LabelledObject, ...]:
    """Objects whose name no other object of the image has."""
    counts = Counter(obj.name for obj in objects)
    return tuple(obj for obj in objects if counts[obj.name] == 1)
