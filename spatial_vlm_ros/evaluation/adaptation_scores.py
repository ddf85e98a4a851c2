# SPDX-License-Identifier: Apache-2.0
"""How often a model is right about the relations and the places of labelled views.

Of "behind" and "in front of" the pairs that the rule "higher in the image is farther" gets right are counted apart from
those that it gets wrong: a model that knows the rule alone is good at the first and bad at the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spatial_vlm_ros.evaluation.judge_calibration import JudgeTally, LabelledPair
from spatial_vlm_ros.evaluation.score import COUNTER_HEURISTIC, USUAL
from spatial_vlm_ros.geometry.image_height import DEPTH_RELATIONS, is_contrary
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, RelationQuestion, check_probabilities
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.labelled_view import BoxXyxy, LabelledView, RelationLabel
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

RIGHT_PLACE = 0.5
"""Overlap (intersection over union) of two boxes from which a place counts as right."""


@dataclass(frozen=True)
class JudgedLabel:
    """What a model said of a pair.

    Args:
        label: that it was asked about.
        p: its probability; None where it contradicted itself.
    """

    label: RelationLabel
    p: float | None

    @property
    def relation(self) -> str:
        """Its canonical name."""
        return self.label.relation

    @property
    def holds(self) -> bool:
        """The truth."""
        return self.label.holds

    @property
    def kind(self) -> str:
        """USUAL or COUNTER_HEURISTIC for relations of depth, else empty."""
        label = self.label
        if label.relation not in DEPTH_RELATIONS:
            return ""
        contrary = is_contrary(label.relation, label.target, label.anchor, label.holds)
        return COUNTER_HEURISTIC if contrary else USUAL

    @property
    def right(self) -> bool:
        """Whether its opinion is the truth; a model without one is not right."""
        return self.p is not None and (self.p > 0.5) is self.holds


@dataclass(frozen=True)
class RelationScore:
    """Of one group of pairs.

    Args:
        right: of those with an opinion.
        held: right, of those with an opinion for which the relation holds: a model that always denies has none.
        none: pairs without one.
        positive: pairs for which the relation holds, those without an opinion included.
    """

    right: Share
    held: Share
    none: int
    positive: int


@dataclass(frozen=True)
class AdaptationScores:
    """All of one model.

    Args:
        views: scored on.
        relations: by relation.
        usual: pairs of depth that "higher is farther" gets right.
        counter: those that it gets wrong.
        difference: usual - counter, 95 % by Newcombe's method; None where one has no opinion.
        places: boxes that overlap the true one by RIGHT_PLACE or more, of the objects asked for.
        overlap: mean intersection over union, 0 for an object without a box; None where none was asked for.
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
    """What a model says of every pair of which a relation is known that it can be asked about.

    Raises:
        ModelError: the model failed, or what it says is no probability.
    """
    said = []
    for view in views:
        asked = [label for label in view.relations if label.relation in CHOICES]
        questions = [RelationQuestion(label.relation, label.target, label.anchor) for label in asked]
        told = check_probabilities(judge.judge(view.rgb, questions, math.inf), len(asked), type(judge).__name__)
        said += [JudgedLabel(label, p) for label, p in zip(asked, told, strict=True)]
    return said


def tally_of(said: Sequence[JudgedLabel]) -> JudgeTally:
    """As `judge_calibration.judge_json` takes it."""
    tally = JudgeTally()
    for one in said:
        asked = RelationQuestion(one.relation, one.label.target, one.label.anchor)
        tally.add(LabelledPair(asked, one.holds), one.p, in_time=True)
    return tally


def overlaps(views: Iterable[LabelledView], locate: Callable[[Rgb, str], BoxXyxy | None]) -> list[float]:
    """Intersection over union of the box that a model names with the true one, for all objects of a name of their own.

    Args:
        views: whose objects are asked for.
        locate: asks the model for an object by its name.
    """
    found = []
    for view in views:
        names = [obj.name for obj in view.objects]
        for obj in view.objects:
            if names.count(obj.name) == 1:
                box = locate(view.rgb, obj.name)
                found.append(0.0 if box is None else overlap(box, obj.box_xyxy))
    return found


def overlap(one: BoxXyxy, other: BoxXyxy) -> float:
    """Intersection over union of two boxes."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(wide, 0.0) * max(high, 0.0)
    areas = sum(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0


def scores_of(views: int, said: Sequence[JudgedLabel], found: Sequence[float]) -> AdaptationScores:
    """The scores.

    Args:
        views: that were scored on.
        said: of their relations.
        found: overlaps of their objects.
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
