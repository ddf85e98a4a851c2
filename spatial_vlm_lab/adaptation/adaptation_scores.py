# SPDX-License-Identifier: Apache-2.0
"""Scores how often a model is right about relations and locations in labelled views.

For "behind" and "in front of", pairs for which the rule "higher in the image is farther" is right are counted
separately from pairs for which it is wrong: a model that only knows the rule is good at the first and bad at the
second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spatial_vlm_lab.adaptation.labelled_view import BoxXyxy, LabelledView, RelationLabel
from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, LabelledPair
from spatial_vlm_lab.scoring.score import COUNTER_HEURISTIC, USUAL
from spatial_vlm_ros.geometry import boxes
from spatial_vlm_ros.geometry.image_height import DEPTH_RELATIONS, is_contrary
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, RelationQuestion, check_probabilities
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

RIGHT_PLACE = 0.5
"""Least intersection over union of two boxes for a location to count as right."""


@dataclass(frozen=True)
class JudgedLabel:
    """A model's answer about a pair.

    Args:
        p: its probability; None if it contradicted itself.
    """

    label: RelationLabel
    p: float | None

    @property
    def relation(self) -> str:
        """Canonical name of the relation."""
        return self.label.relation

    @property
    def holds(self) -> bool:
        """Whether the relation holds."""
        return self.label.holds

    @property
    def kind(self) -> str:
        """USUAL or COUNTER_HEURISTIC for depth relations, otherwise ""."""
        label = self.label
        if label.relation not in DEPTH_RELATIONS:
            return ""
        contrary = is_contrary(label.relation, label.target, label.anchor, label.holds)
        return COUNTER_HEURISTIC if contrary else USUAL

    @property
    def right(self) -> bool:
        """Whether the model's opinion is right; False without an opinion."""
        return self.p is not None and (self.p > 0.5) is self.holds


@dataclass(frozen=True)
class RelationScore:
    """Score of one group of pairs.

    Args:
        held: right answers among the pairs with an opinion for which the relation holds; 0 for a model that always
            denies.
    """

    right: Share
    held: Share
    none: int
    positive: int


@dataclass(frozen=True)
class AdaptationScores:
    """All scores of one model.

    Args:
        usual: depth pairs for which "higher is farther" is right.
        difference: usual - counter, 95 % by Newcombe's method; None if one of them has no opinions.
        places: share of queried objects whose box overlaps the true one by RIGHT_PLACE or more.
        overlap: mean intersection over union, 0 for an object without a box; None if no object was queried.
    """

    views: int
    relations: dict[str, RelationScore]
    usual: RelationScore
    counter: RelationScore
    difference: Interval | None
    places: Share
    overlap: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain numbers by name."""
        return asdict(self)


def judged(views: Iterable[LabelledView], judge: RelationJudge) -> list[JudgedLabel]:
    """Ask a model about every labelled pair whose relation it supports."""
    said = []
    for view in views:
        asked = [label for label in view.relations if label.relation in CHOICES]
        questions = [RelationQuestion(label.relation, label.target, label.anchor) for label in asked]
        told = check_probabilities(judge.judge(view.rgb, questions, math.inf), len(asked), type(judge).__name__)
        said += [JudgedLabel(label, p) for label, p in zip(asked, told, strict=True)]
    return said


def tally_of(said: Sequence[JudgedLabel]) -> JudgeTally:
    """The tally for `judge_calibration.judge_json`."""
    tally = JudgeTally()
    for one in said:
        asked = RelationQuestion(one.relation, one.label.target, one.label.anchor)
        tally.add(LabelledPair(asked, one.holds), one.p, in_time=True)
    return tally


def overlaps(views: Iterable[LabelledView], locate: Callable[[Rgb, str], BoxXyxy | None]) -> list[float]:
    """IoU of the model's box with the true box, for all objects with a unique name."""
    found = []
    for view in views:
        names = [obj.name for obj in view.objects]
        for obj in view.objects:
            if names.count(obj.name) == 1:
                box = locate(view.rgb, obj.name)
                found.append(0.0 if box is None else float(boxes.overlaps(box, obj.box_xyxy)[0, 0]))
    return found


def scores_of(views: int, said: Sequence[JudgedLabel], found: Sequence[float]) -> AdaptationScores:
    """Compute the scores.

    Args:
        said: the model's answers about their relations.
    """
    names = [name for name in CHOICES if any(one.relation == name for one in said)]
    usual, counter = ([one for one in said if one.kind == kind] for kind in (USUAL, COUNTER_HEURISTIC))
    split = _score(usual), _score(counter)
    return AdaptationScores(
        views,
        {name: _score([one for one in said if one.relation == name]) for name in names},
        *split,
        newcombe(split[0].right.k, split[0].right.n, split[1].right.k, split[1].right.n),
        wilson(sum(value >= RIGHT_PLACE for value in found), len(found)),
        sum(found) / len(found) if found else None,
    )


def _score(said: Sequence[JudgedLabel]) -> RelationScore:
    told = [one for one in said if one.p is not None]
    right = wilson(sum(one.right for one in told), len(told))
    held = [one for one in told if one.holds]
    return RelationScore(
        right, wilson(sum(one.right for one in held), len(held)), len(said) - len(told), sum(one.holds for one in said)
    )
