# SPDX-License-Identifier: Apache-2.0
"""How a model's probabilities of single relations follow the truth, on pairs of which labels tell it.

A case that expects one of several objects of a name says that its relation holds of that object, and of none of the
others. What the calibrations do to an answer is in docs/relation_judge.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.evaluation.frame_folder import Case
from spatial_vlm_ros.evaluation.labelled_cases import AskingTally, ask_cases
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, RelationQuestion, check_probabilities
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.resolver import understood
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import Detection, FrameOfReference, NounPhrase, RgbdFrame, Status


@dataclass
class JudgeTally(AskingTally):
    """What one model said.

    Attributes:
        said: by relation, its probability and whether the relation holds.
        none: by relation, how often it had no opinion, or there was no time to ask.
    """

    said: defaultdict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    none: Counter[str] = field(default_factory=Counter)

    def calibrations(self) -> dict[str, JudgeCalibration]:
        """By relation."""
        made = {}
        for relation, said in sorted(self.said.items()):
            p, holds = zip(*said, strict=True)
            made[relation] = fitted(np.array(p), np.array(holds))
        return made


@dataclass(frozen=True)
class LabelledPair:
    """A relation between two objects, and whether it holds."""

    question: RelationQuestion
    holds: bool


def judge_json(model: str, tally: JudgeTally, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What `judge.calibration` names.

    Args:
        model: what was measured, for people.
        tally: of it.
        measured: how it was measured, for people.
    """
    relations = {name: asdict(one) for name, one in tally.calibrations().items()}
    return {"schema": 1, "model": model, "measured": dict(measured), "relations": relations}


def labelled_pairs(
    case: Case, detections: Sequence[Detection], config: ResolverConfig
) -> tuple[LabelledPair, ...] | str:
    """The pairs that a case tells the truth about; or why it tells none, in words.

    Args:
        case: with the id of the right object.
        detections: of its frame.
        config: for the frame of reference, and for what counts as having a name.
    """
    expect = case.expect
    if expect is None or expect.id is None or expect.status is not Status.OK:
        return "no single object is expected"
    ids = frozenset((expect.id, *expect.id_also))
    try:
        targets = tuple(dict.fromkeys(query.target for query in understood(case.instruction)))
    except SpatialVlmError:
        return "the words are not understood"
    if len(targets) > 1 or not _asks_one_relation(targets[0], config.frame_of_reference):
        return "not one relation that a model can be asked about"
    phrase, clause = targets[0], targets[0].relations[0]
    fit = label_match((phrase, clause.anchors[0]), detections) >= config.decision.found
    named, anchors = ([d for d, fits in zip(detections, row, strict=True) if fits] for row in fit)
    if len(anchors) != 1 or not ids <= {d.id for d in named} or anchors[0].id in ids:
        return "it is not clear from names which objects are meant"
    others = [d for d in named if d.id not in ids and d.id != anchors[0].id]
    if not others:
        return "no other object has that name, so the relation decides nothing"
    return tuple(
        LabelledPair(RelationQuestion(clause.relation, d.box_xyxy, anchors[0].box_xyxy), d.id in ids)
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
    plain = not (more or anchor.relations or anchor.attributes or anchor.superlative or anchor.ordinal)
    relation = RELATIONS[clause.relation]
    return (
        plain
        and anchor.count in (None, 1)
        and (not relation.framed or (clause.frame or default) is FrameOfReference.VIEWER)
    )


def ask_relations(
    folder: str | Path,
    cases: Iterable[Case],
    judge: RelationJudge,
    config: ResolverConfig,
    tally: JudgeTally,
    budget_s: float,
) -> None:
    """Ask a model about the pairs of every case that tells the truth about some.

    Args:
        folder: holds the frames.
        cases: of that folder.
        judge: the model.
        config: as the resolver will use the calibrations.
        tally: what is said is added to it, also where an error ends the asking.
        budget_s: seconds after which no further pair of a case is asked about.

    Raises:
        ModelError: three requests in a row failed.
        InputError: the model cannot be asked about relations.
    """

    def ask(_: Case, frame: RgbdFrame, __: Sequence[Detection], pairs: tuple[LabelledPair, ...]) -> None:
        told = judge.judge(frame.rgb, [pair.question for pair in pairs], budget_s)
        probabilities = check_probabilities(told, len(pairs), type(judge).__name__)
        for pair, p in zip(pairs, probabilities, strict=True):
            if p is None:
                tally.none[pair.question.relation] += 1
            else:
                tally.said[pair.question.relation].append((p, pair.holds))

    ask_cases(folder, cases, tally, lambda case, detections: labelled_pairs(case, detections, config), ask)
