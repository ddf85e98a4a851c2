# SPDX-License-Identifier: Apache-2.0
"""Calibrates a model on labelled cases: how often it names the right object of a phrase, and what it says of relations.

A case that expects one of several objects of a name says that its relation holds of that object, and of none of the
others. What the counts and calibrations do to an answer is in docs/second_opinion.md.

A model that assumes "higher in the image is farther" is right on most pairs on a bare table. Only pairs that contradict
this rule distinguish such a model from one that perceives depth, so they are counted, too.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spatial_vlm_lab.scoring.outcome import heuristic_kind
from spatial_vlm_ros.errors import ModelError, SpatialVlmError
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS, in_image, is_contrary
from spatial_vlm_ros.parameters import ResolverConfig, SecondOpinionConfig
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, RelationQuestion, check_probabilities
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.referring import Referrer, named
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.replay import FolderFrames
from spatial_vlm_ros.resolver import Resolver, understood
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted
from spatial_vlm_ros.spatial.clauses import is_shown
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.second_opinion import NAME, Counts, Reliabilities, names_one, relations_of, words_for
from spatial_vlm_ros.types import Detection, FrameOfReference, NounPhrase, RgbdFrame, Status
from spatial_vlm_ros.types.proportions import Share, wilson

OUTCOMES = ("right", "wrong", "none")
OpinionCounts = dict[str, dict[str, int]]
"""Counts of OUTCOMES by key: what a file of reliabilities holds."""
ENOUGH_CONTRARY = 20
"""Pairs that contradict the rule: of fewer, a slope is seldom known to within its own size."""
_FAILURES = 3  # consecutive failures after which asking stops: a server that is gone stays gone
_UNDECIDED = "no other object has that name, so the relation decides nothing"
_log = logging.getLogger(__name__)


@dataclass
class AskingTally:
    """Progress of asking a model. It is updated continuously, so that nothing is lost if asking ends early."""

    frames: set[str] = field(default_factory=set)
    failed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def _ask_cases(
    folder: str | Path,
    cases: Iterable[Case],
    tally: AskingTally,
    ask: Callable[[Case, RgbdFrame, Sequence[Detection]], str | None],
) -> None:
    """Ask about every case; `ask` returns why it did not. A request that fails is told in the log."""
    frames, in_a_row = FolderFrames(folder), 0
    for case in cases:
        there = frames.load(case.frame)
        try:
            left_out = str(there) if isinstance(there, SpatialVlmError) else ask(case, *there)
        except ModelError as error:
            tally.failed, in_a_row = tally.failed + 1, in_a_row + 1
            if in_a_row == _FAILURES:
                raise
            _log.warning("%r on %s is not counted: %s", case.instruction, case.frame, error)
            continue
        if left_out is not None:
            tally.left_out[left_out] += 1
        else:
            in_a_row = 0
            tally.frames.add(str(Path(folder, case.frame)))


def _right_and_read(case: Case) -> tuple[frozenset[str], tuple[NounPhrase, ...]] | str:
    """Ids of the right objects of a case and how its words may be read; or why it tells no truth."""
    expect = case.expect
    if expect is None or expect.id is None or expect.status is not Status.OK:
        return "it does not expect exactly one object"
    try:
        read = tuple(dict.fromkeys(query.target for query in understood(case.instruction)))
    except SpatialVlmError:
        return "the words are not understood"
    return frozenset((expect.id, *expect.id_also)), read


# ------------------------------------------------------------------------------------------------ whole phrases


@dataclass
class OpinionTally(AskingTally):
    """Counts for one model by key, and in `kinds` those of usual and counter-heuristic cases by "key, kind"."""

    counts: OpinionCounts = field(default_factory=dict)
    kinds: OpinionCounts = field(default_factory=dict)

    def count(
        self, key: str, found: Sequence[NamedObject], detections: Sequence[Detection], ids: Collection[str],
        overlap: float, kinds: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Count an answer."""
        row = named(found, detections, overlap, "second opinion")
        outcome = "none" if row is None else "right" if detections[row].id in ids else "wrong"
        kind = heuristic_kind(kinds)
        for table, name in ((self.counts, key), *([] if kind is None else [(self.kinds, f"{key}, {kind}")])):
            table.setdefault(name, dict.fromkeys(OUTCOMES, 0))[outcome] += 1


def reliability_json(model: str, counts: OpinionCounts, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Content of the file that `second_opinion.reliability` names: counts of each key with 95 % Wilson intervals."""
    relations = {
        key: {**one, "intervals": {outcome: [share.low, share.high] for outcome, share in shares_of(one).items()}}
        for key, one in sorted(counts.items())
    }
    return {"schema": 1, "model": model, **({"measured": measured} if measured else {}), "relations": relations}


def shares_of(counts: Mapping[str, int]) -> dict[str, Share]:
    """Shares of the outcomes of one key."""
    return {outcome: wilson(counts[outcome], sum(counts.values())) for outcome in OUTCOMES}


def weight_of(counts: Mapping[str, int], config: SecondOpinionConfig) -> str:
    """What opinions with these counts may do, in words."""
    confusion = Reliabilities("", {NAME: Counts(**counts)}).of([NAME], config.prior)
    if confusion is None or not confusion.informs:
        return "reported only"
    return "may break a tie" if confusion.settles(config.most_wrong) else "weighed"


class LabelledPhrase(NamedTuple):
    """A phrase with a known right object."""

    words: str
    key: str
    ids: frozenset[str]


def labelled_phrase(case: Case, detections: Sequence[Detection], config: ResolverConfig) -> LabelledPhrase | str:
    """The phrase of a case whose answer says how reliable a model is under one key; or why it has none, in words.

    A relation is measured only where another object has the same name: "the can behind the cup" with one can in view is
    answered rightly by whoever finds cans.
    """
    told = _right_and_read(case)
    if isinstance(told, str):
        return told
    (ids, read), default = told, config.frame_of_reference
    if not ids <= {detection.id for detection in detections}:
        return "the expected object is not among the detections"
    words, keys = {words_for(phrase, default) for phrase in read}, relations_of(read[0], default)
    if len(words) > 1 or not names_one(read[0]) or len(keys) != 1:
        return "several objects, relations or readings"
    fit = label_match(read[:1], detections)[0]
    others = [d for d, f in zip(detections, fit, strict=True) if f >= config.decision.found and d.id not in ids]
    return _UNDECIDED if keys[0] != NAME and not others else LabelledPhrase(words.pop(), keys[0], ids)


def ask_phrases(
    folder: str | Path, cases: Iterable[Case], referrer: Referrer, config: ResolverConfig, tally: OpinionTally
) -> None:
    """Ask a model for the phrase of every case that can be counted."""

    def ask(case: Case, frame: RgbdFrame, detections: Sequence[Detection]) -> str | None:
        asked = labelled_phrase(case, detections, config)
        if isinstance(asked, str):
            return asked
        found = referrer.refer(frame.rgb, asked.words)
        tally.count(asked.key, found, detections, asked.ids, config.second_opinion.overlap, case.kind)
        return None

    _ask_cases(folder, cases, tally, ask)


# ------------------------------------------------------------------------------------------------ single relations


@dataclass(frozen=True)
class RelationLabel(RelationQuestion):
    """A relation ("beside": none of on, under and inside) seen from the camera, and whether it holds."""

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
    """Tally of one model's answers, by what `in_image` gives: probabilities and whether the relation holds."""

    said: defaultdict[str, list[tuple[float, bool]]] = field(default_factory=lambda: defaultdict(list))
    none: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    asked: set[tuple[str, RelationQuestion]] = field(default_factory=set)

    def add(self, pair: RelationLabel, p: float | None, in_time: bool) -> None:
        """Count what was said of a pair; `in_time`: the model was not stopped by the end of its time."""
        name = in_image(pair.relation, pair.target, pair.anchor)
        if p is None:
            (self.none if in_time else self.late)[name] += 1
        else:
            self.said[name].append((p, pair.holds))

    def calibrations(self) -> dict[str, JudgeCalibration]:
        """By what `in_image` gives."""
        said = {name: zip(*pairs, strict=True) for name, pairs in sorted(self.said.items())}
        return {name: fitted(*map(np.array, columns)) for name, columns in said.items()}

    def contrary_counts(self) -> dict[str, dict[str, int]]:
        """Of each relation of depth asked about "n" pairs, the "contrary" ones, and of these the "right" answers."""
        counts = {}
        for relation in DEPTH_RELATIONS:
            ruled = [
                (p > 0.5, holds, (where == "higher") == (relation == "behind"))
                for where in ("higher", "lower")
                for p, holds in self.said.get(f"{relation}, {where}", ())
            ]
            contrary = [says == holds for says, holds, by_the_rule in ruled if holds != by_the_rule]
            if ruled:
                counts[relation] = {"n": len(ruled), "contrary": len(contrary), "right": sum(contrary)}
        return counts


def judge_json(model: str, tally: JudgeTally, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the file that `judge.calibration` names."""
    counted = {"no_opinion": dict(tally.none), "no_time": dict(tally.late), "contrary": tally.contrary_counts()}
    relations = {name: asdict(one) for name, one in tally.calibrations().items()}
    return {"schema": 1, "model": model, "measured": {**measured, **counted}, "relations": relations}


def labelled_pairs(
    case: Case, detections: Sequence[Detection], config: ResolverConfig
) -> tuple[RelationLabel, ...] | str:
    """The pairs whose truth follows from a case, or a text that says why there are none."""
    told = _right_and_read(case)
    if isinstance(told, str):
        return told
    ids, (phrase, *other_readings) = told
    if other_readings or not _asks_one_relation(phrase, config.frame_of_reference):
        return "it does not have exactly one relation that a model can judge"
    clause = phrase.relations[0]
    fit = label_match((phrase, clause.anchors[0]), detections) >= config.decision.found
    objects, anchors = ([d for d, fits in zip(detections, row, strict=True) if fits] for row in fit)
    if len(anchors) != 1 or not ids <= {d.id for d in objects} or anchors[0].id in ids:
        return "the names do not show which objects are meant"
    others = [d for d in objects if d.id not in ids and d.id != anchors[0].id]
    if not others:
        return _UNDECIDED
    return tuple(
        RelationLabel(clause.relation, d.box_xyxy, anchors[0].box_xyxy, d.id in ids)
        for d in (*(d for d in objects if d.id in ids), *others)
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
    """Ask a model about the labelled pairs of every case, for at most `budget_s` seconds a case."""
    resolver = Resolver(config)

    def ask(case: Case, frame: RgbdFrame, detections: Sequence[Detection]) -> str | None:
        pairs = labelled_pairs(case, detections, config)
        if isinstance(pairs, str):
            return pairs
        image = str(Path(folder, case.frame))
        pairs = tuple(pair for pair in pairs if (image, pair.question) not in tally.asked)
        if not pairs:
            return "its pairs were already used"
        try:
            up = resolver.observe(frame, detections).up
        except SpatialVlmError as error:
            return str(error)
        pairs = tuple(p for p in pairs if is_shown(p.relation, p.target, p.anchor, frame.camera, up))
        if not pairs:
            return "the camera is tilted, so the image does not show the relation as it is measured"
        end = time.monotonic() + budget_s
        told = judge.judge(frame.rgb, [pair.question for pair in pairs], budget_s)
        in_time = time.monotonic() < end
        for pair, p in zip(pairs, check_probabilities(told, len(pairs), type(judge).__name__), strict=True):
            tally.add(pair, p, in_time)
            tally.asked.add((image, pair.question))
        return None

    _ask_cases(folder, cases, tally, ask)
