# SPDX-License-Identifier: Apache-2.0
"""Calibrates a model's probabilities of single relations on labelled pairs.

A case that expects one of several objects of a name says that its relation holds of that object, and of none of the
others. What the calibrations do to an answer is in docs/second_opinion.md.

A model that assumes "higher in the image is farther" is right on most pairs on a bare table. Only pairs that contradict
this rule distinguish such a model from one that perceives depth, so they are counted, too.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_lab.scoring.reliability import AskingTally, ask_cases
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS, in_image, is_contrary
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, RelationQuestion, check_probabilities
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.resolver import Resolver, understood
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted
from spatial_vlm_ros.spatial.clauses import is_shown
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import Detection, FrameOfReference, NounPhrase, RgbdFrame, Status

ENOUGH_CONTRARY = 20
"""Least number of pairs that contradict the rule: of fewer, a slope is seldom known to within its own size."""


@dataclass(frozen=True)
class RelationLabel(RelationQuestion):
    """A relation between two objects, seen from the camera, and whether it holds.

    Args:
        relation: its canonical name, or "beside" if none of on, under and inside holds.
    """

    holds: bool

    @property
    def question(self) -> RelationQuestion:
        """The question alone."""
        return RelationQuestion(self.relation, self.target, self.anchor)

    @property
    def contrary(self) -> bool:
        """Whether the truth contradicts "higher in the image is farther"."""
        return is_contrary(self.relation, self.target, self.anchor, self.holds)


@dataclass
class JudgeTally(AskingTally):
    """Tally of one model's answers.

    Attributes:
        said: by what `in_image` gives, its probability and whether the relation holds.
        contrary: by relation, the same of the pairs that contradict "higher in the image is farther" alone.
    """

    said: defaultdict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    contrary: defaultdict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    none: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    asked: set[tuple[str, RelationQuestion]] = field(default_factory=set)

    def add(self, pair: RelationLabel, p: float | None, in_time: bool) -> None:
        """Count what was said of a pair; `in_time`: the model was not stopped by the end of its time."""
        name = in_image(pair.relation, pair.target, pair.anchor)
        if p is None:
            (self.none if in_time else self.late)[name] += 1
            return
        self.said[name].append((p, pair.holds))
        if pair.contrary:
            self.contrary[pair.relation].append((p, pair.holds))

    def calibrations(self) -> dict[str, JudgeCalibration]:
        """By what `in_image` gives."""
        said = {name: zip(*pairs, strict=True) for name, pairs in sorted(self.said.items())}
        return {name: fitted(*map(np.array, columns)) for name, columns in said.items()}

    def contrary_counts(self) -> dict[str, ContraryCount]:
        """Of the relations of depth that were asked about."""
        counts = {}
        for relation in DEPTH_RELATIONS:
            n = sum(len(said) for name, said in self.said.items() if name.startswith(f"{relation},"))
            if n:
                of = self.contrary.get(relation, [])
                right = sum((p > 0.5) is holds for p, holds in of)
                counts[relation] = ContraryCount(n, len(of), right)
        return counts


@dataclass(frozen=True)
class ContraryCount:
    """Pairs of one relation that contradict "higher in the image is farther"."""

    n: int
    contrary: int
    right: int

    @property
    def few(self) -> bool:
        """Whether these pairs hardly tell what a model knows beyond the rule."""
        return self.contrary < ENOUGH_CONTRARY


def judge_json(model: str, tally: JudgeTally, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the file that `judge.calibration` names."""
    counted = {
        "no_opinion": dict(tally.none), "no_time": dict(tally.late),
        "contrary": {name: asdict(one) for name, one in tally.contrary_counts().items()},
    }  # fmt: skip
    relations = {name: asdict(one) for name, one in tally.calibrations().items()}
    return {"schema": 1, "model": model, "measured": {**measured, **counted}, "relations": relations}


def labelled_pairs(
    case: Case, detections: Sequence[Detection], config: ResolverConfig
) -> tuple[RelationLabel, ...] | str:
    """The pairs whose truth follows from a case, or a text that says why there are none."""
    expect = case.expect
    if expect is None or expect.id is None or expect.status is not Status.OK:
        return "it does not expect exactly one object"
    ids = frozenset((expect.id, *expect.id_also))
    try:
        targets = tuple(dict.fromkeys(query.target for query in understood(case.instruction)))
    except SpatialVlmError:
        return "the words are not understood"
    if len(targets) > 1 or not _asks_one_relation(targets[0], config.frame_of_reference):
        return "it does not have exactly one relation that a model can judge"
    phrase, clause = targets[0], targets[0].relations[0]
    fit = label_match((phrase, clause.anchors[0]), detections) >= config.decision.found
    named, anchors = ([d for d, fits in zip(detections, row, strict=True) if fits] for row in fit)
    if len(anchors) != 1 or not ids <= {d.id for d in named} or anchors[0].id in ids:
        return "the names do not show which objects are meant"
    others = [d for d in named if d.id not in ids and d.id != anchors[0].id]
    if not others:
        return "no other object has that name, so the relation decides nothing"
    return tuple(
        RelationLabel(clause.relation, d.box_xyxy, anchors[0].box_xyxy, d.id in ids)
        for d in (*(d for d in named if d.id in ids), *others)
    )


def _asks_one_relation(phrase: NounPhrase, default: FrameOfReference) -> bool:
    """Whether a phrase is a name and one relation to one object that a model can be asked about, seen by the viewer."""
    if len(phrase.relations) != 1 or phrase.attributes or phrase.superlative or phrase.ordinal or phrase.choice:
        return False
    (clause,) = phrase.relations
    if phrase.count not in (None, 1) or clause.negated or clause.distance is not None or clause.relation not in CHOICES:
        return False
    (anchor, *more) = clause.anchors
    if more or anchor.relations or anchor.attributes or anchor.superlative or anchor.ordinal:
        return False
    seen_so = not RELATIONS[clause.relation].framed or (clause.frame or default) is FrameOfReference.VIEWER
    return anchor.count in (None, 1) and seen_so


def ask_relations(
    folder: str | Path,
    cases: Iterable[Case],
    judge: RelationJudge,
    config: ResolverConfig,
    tally: JudgeTally,
    budget_s: float,
) -> None:
    """Ask a model about the labelled pairs of every case.

    Args:
        budget_s: seconds after which no further pair of a case is asked about.
    """
    resolver = Resolver(config)

    def pairs_of(case: Case, frame: RgbdFrame, detections: Sequence[Detection]) -> tuple[RelationLabel, ...] | str:
        pairs = labelled_pairs(case, detections, config)
        if isinstance(pairs, str):
            return pairs
        new = tuple(pair for pair in pairs if (case.frame, pair.question) not in tally.asked)
        if not new:
            return "its pairs were already used"
        try:
            up = resolver.observe(frame, detections).up
        except SpatialVlmError as error:
            return str(error)
        shown = tuple(p for p in new if is_shown(p.relation, p.target, p.anchor, frame.camera, up))
        return shown or "the camera is tilted, so the image does not show the relation as it is measured"

    def ask(case: Case, frame: RgbdFrame, _: Sequence[Detection], pairs: tuple[RelationLabel, ...]) -> None:
        end = time.monotonic() + budget_s
        told = judge.judge(frame.rgb, [pair.question for pair in pairs], budget_s)
        in_time = time.monotonic() < end
        for pair, p in zip(pairs, check_probabilities(told, len(pairs), type(judge).__name__), strict=True):
            tally.add(pair, p, in_time)
            tally.asked.add((case.frame, pair.question))

    ask_cases(folder, cases, tally, pairs_of, ask)
