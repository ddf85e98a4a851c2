# SPDX-License-Identifier: Apache-2.0
"""Asks a model about labelled cases, and counts how often it names the right object of a whole phrase.

What the counts do to an answer is in docs/second_opinion.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spatial_vlm_lab.scoring.score import heuristic_kind
from spatial_vlm_ros.errors import ModelError, SpatialVlmError
from spatial_vlm_ros.parameters import ResolverConfig, SecondOpinionConfig
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.referring import Referrer, named
from spatial_vlm_ros.recording.answering import FolderFrames
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.resolver import understood
from spatial_vlm_ros.spatial.second_opinion import NAME, Counts, Reliabilities, names_one, relations_of, words_for
from spatial_vlm_ros.types import Detection, FrameOfReference, NounPhrase, RgbdFrame, Status
from spatial_vlm_ros.types.proportions import Share, wilson

OpinionCounts = dict[str, dict[str, int]]
"""Counts "right", "wrong" and "none" by key: what a file of reliabilities holds."""
OUTCOMES = ("right", "wrong", "none")
_FAILURES = 3  # consecutive failures after which asking stops: a server that is gone stays gone
_log = logging.getLogger(__name__)
Asked = TypeVar("Asked")


@dataclass
class AskingTally:
    """Progress of asking a model. It is updated continuously, so that nothing is lost if asking ends early."""

    frames: set[str] = field(default_factory=set)
    failed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def ask_cases(
    folder: str | Path,
    cases: Iterable[Case],
    tally: AskingTally,
    of_case: Callable[[Case, RgbdFrame, Sequence[Detection]], Asked | str],
    ask: Callable[[Case, RgbdFrame, Sequence[Detection], Asked], None],
) -> None:
    """Ask about every case that tells what is right. A request that fails is told in the log."""
    frames, in_a_row = FolderFrames(folder), 0
    for case in cases:
        there = frames.load(case.frame)
        if isinstance(there, SpatialVlmError):
            tally.left_out[str(there)] += 1
            continue
        frame, detections = there
        asked = of_case(case, frame, detections)
        if isinstance(asked, str):
            tally.left_out[asked] += 1
            continue
        try:
            ask(case, frame, detections, asked)
        except ModelError as error:
            tally.failed, in_a_row = tally.failed + 1, in_a_row + 1
            if in_a_row == _FAILURES:
                raise
            _log.warning("%r on %s is not counted: %s", case.instruction, case.frame, error)
        else:
            in_a_row = 0
            tally.frames.add(case.frame)


@dataclass
class OpinionTally(AskingTally):
    """Counts for one model.

    Attributes:
        kinds: the same of cases of the kinds "usual" and "counter-heuristic", by "key, kind".
    """

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


def measured_key(phrase: NounPhrase, default: FrameOfReference) -> str | None:
    """Key for counting the answers to a phrase.

    None for phrases that mean several objects or have several relations, because an error would not show which part was
    wrong.

    Args:
        default: frame of reference where none is said.
    """
    keys = relations_of(phrase, default)
    return keys[0] if names_one(phrase) and len(keys) == 1 else None


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


# ------------------------------------------------------------------------------------------------ frames from files


@dataclass(frozen=True)
class LabelledPhrase:
    """A phrase with a known right object."""

    words: str
    key: str
    ids: frozenset[str]


def labelled_phrase(case: Case, detections: Sequence[Detection], config: ResolverConfig) -> LabelledPhrase | str:
    """The phrase of a case whose answer says how reliable a model is under one key; or why it has none, in words.

    A relation is measured only where another object has the same name: "the can behind the cup" with one can in view
    is answered rightly by whoever finds cans.
    """
    expect = case.expect
    if expect is None or expect.id is None or expect.status is not Status.OK:
        return "it does not expect exactly one object"
    ids = frozenset((expect.id, *expect.id_also))
    if not ids <= {detection.id for detection in detections}:
        return "the expected object is not among the detections"
    try:
        targets = [query.target for query in understood(case.instruction)]
    except SpatialVlmError:
        return "the words are not understood"
    default = config.frame_of_reference
    words = {words_for(target, default) for target in targets}
    key = measured_key(targets[0], default)
    if len(words) > 1 or key is None:
        return "several objects, relations or readings"
    fit = label_match(targets[:1], detections)[0]
    others = [d for d, f in zip(detections, fit, strict=True) if f >= config.decision.found and d.id not in ids]
    if key != NAME and not others:
        return "no other object has that name, so the relation decides nothing"
    return LabelledPhrase(words.pop(), key, ids)


def ask_phrases(
    folder: str | Path, cases: Iterable[Case], referrer: Referrer, config: ResolverConfig, tally: OpinionTally
) -> None:
    """Ask a model for the phrase of every case that can be counted."""

    def ask(case: Case, frame: RgbdFrame, detections: Sequence[Detection], asked: LabelledPhrase) -> None:
        found = referrer.refer(frame.rgb, asked.words)
        tally.count(asked.key, found, detections, asked.ids, config.second_opinion.overlap, case.kind)

    ask_cases(folder, cases, tally, lambda case, _, detections: labelled_phrase(case, detections, config), ask)
