# SPDX-License-Identifier: Apache-2.0
"""Scores of answered cases: right instances, refusals, confusion of statuses, and how sure the figures are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spatial_vlm_ros.evaluation.clustering import clustered
from spatial_vlm_ros.evaluation.expected_place import FrameTruth, PlaceOutcome, place_outcome
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation, ExpectedAnswer
from spatial_vlm_ros.evaluation.misses import MissKind, miss_kind
from spatial_vlm_ros.types import ANSWERS, NounPhrase, Resolution, SpaceAnswer, Status
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

__all__ = ["CaseResult", "HeuristicSplit", "Miss", "Score", "Share", "is_expected", "score", "wilson"]

USUAL, COUNTER_HEURISTIC = "usual", "counter-heuristic"
"""Kinds of cases that a rule of thumb (higher in the image is farther away) gets right, and wrong."""

NO_RELATION, NOT_UNDERSTOOD, NO_SCENE = "(no relation)", "(not understood)", "(no scene)"


@dataclass(frozen=True)
class Miss:
    """A case that did not end as expected."""

    frame: str
    instruction: str
    expected_status: Status
    expected_id: str | None
    status: Status
    id: str | None
    message: str
    kind: MissKind | None = None


@dataclass(frozen=True)
class CaseResult:
    """A case, what it expects, and how it ended.

    Args:
        frame: name of the frame.
        instruction: the words.
        kind: what the case tries.
        expected_status: the right outcome.
        expected_id: the right object, where one is.
        status: the outcome.
        id: the object answered with, only when OK.
        as_expected: whether they agree; a place is not part of it.
        likeliest_id: the likeliest candidate, answered with or not; None where there is none.
        confidence: its probability, 0 to 1.
        relations: names of the relations and orders in the reading that was answered.
        frame_of_reference: the one in force, None where no scene was built.
        message: the outcome in words.
        expected_also: objects that are as right as `expected_id`.
        expected_answer: of a question about space; None = any.
        place: what became of the place that was expected; None where none was.
        miss: why it was missed; None where object and place are right, or the refusal that was due was given.
    """

    frame: str
    instruction: str
    kind: tuple[str, ...]
    expected_status: Status
    expected_id: str | None
    status: Status
    id: str | None
    as_expected: bool
    likeliest_id: str | None
    confidence: float
    relations: tuple[str, ...]
    frame_of_reference: str | None
    message: str
    expected_also: tuple[str, ...] = ()
    expected_answer: ExpectedAnswer | None = None
    place: PlaceOutcome | None = None
    miss: MissKind | None = None

    @property
    def complete(self) -> bool:
        """Whether it ended as expected and its place, where one was expected, is right."""
        return self.as_expected and self.place in (None, PlaceOutcome.RIGHT)

    @property
    def likeliest_is_right(self) -> bool:
        """Whether the likeliest candidate is the expected object; False where a refusal is expected."""
        if self.expected_status is not Status.OK or self.likeliest_id is None:
            return False
        return self.expected_id is None or self.likeliest_id in (self.expected_id, *self.expected_also)


@dataclass(frozen=True)
class HeuristicSplit:
    """Cases that agree with a rule of thumb against those that contradict it.

    Args:
        usual: `as_expected` of the cases of kind "usual".
        counter_heuristic: of those of kind "counter-heuristic".
        difference: usual - counter_heuristic, 95 % by Newcombe's method; None where one has no case.
    """

    usual: Share
    counter_heuristic: Share
    difference: Interval | None


@dataclass(frozen=True)
class Score:
    """Score of a set of cases.

    Args:
        as_expected: status as expected, and the right object where one was.
        right_instance: of the cases that expect an object: answered with that object.
        wrong_pose: of the answers given: another object than expected, or none was expected.
        pose_on_refusal: of the cases that expect a refusal: answered with a pose.
        by_kind: `as_expected` by the cases' kinds.
        by_relation: `as_expected` by the relations and orders that the answered reading holds, in its destination, too.
        confusion: expected status → given status → number.
        misses: every case that did not end as expected, or whose place is wrong.
        by_frame_of_reference: `as_expected` by the frame of reference in force, needed or not.
        by_expected_status: `as_expected` by the status expected.
        by_given_status: `as_expected` by the status given.
        split: usual against counter-heuristic cases; None where no case is of either kind.
        cases: every case with how it ended.
        unjudged: cases left out because they say not what to expect.
        complete: status, object and place as expected.
        right_place: of the cases that expect a place: the right object with a right place.
        wrong_place: of the places given with the right object, where one was expected: it lies elsewhere.
        by_miss: kind of miss → number.
        over_frames: shares by name, with intervals over frames instead of cases; None with fewer than two frames.
    """

    as_expected: Share
    right_instance: Share
    wrong_pose: Share
    pose_on_refusal: Share
    by_kind: Mapping[str, Share]
    by_relation: Mapping[str, Share]
    confusion: Mapping[str, Mapping[str, int]]
    misses: tuple[Miss, ...]
    by_frame_of_reference: Mapping[str, Share]
    by_expected_status: Mapping[str, Share]
    by_given_status: Mapping[str, Share]
    split: HeuristicSplit | None
    cases: tuple[CaseResult, ...]
    unjudged: int
    complete: Share
    right_place: Share
    wrong_place: Share
    by_miss: Mapping[str, int]
    over_frames: Mapping[str, Interval | None]


def is_expected(
    expected: Status, expected_id: str | None, status: Status, id_: str | None, also: Sequence[str] = ()
) -> bool:
    """Whether an outcome is the expected one; an expected answer without an id takes any object.

    "Where is the cup?" may be expected to be OK with an object: it was an order to find it once.
    """
    if expected is Status.OK and status is Status.ANSWERED:
        return expected_id is not None and id_ in (expected_id, *also)
    return status is expected and (expected_id in (None, id_) or id_ in also)


def score(
    cases: Sequence[Case], resolutions: Sequence[Resolution], truths: Mapping[str, FrameTruth] | None = None
) -> Score:
    """Compare answers with what the cases expect; cases without an expectation are left out.

    Args:
        cases: what was asked.
        resolutions: one for each case.
        truths: by name of the frame; without one, the places of its cases are not judged.
    """
    pairs, truths = list(zip(cases, resolutions, strict=True)), truths or {}
    results = tuple(
        _judged(case, case.expect, answer, truths.get(case.frame)) for case, answer in pairs if case.expect is not None
    )
    placed = [r for r in results if r.place is not None]
    spots = [r for r in placed if r.as_expected and r.place is not PlaceOutcome.NOT_GIVEN]
    answerable = [r for r in results if r.expected_status is Status.OK]
    refusable = [r for r in results if r.expected_status is not Status.OK]
    given = [r for r in results if r.status is Status.OK]
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for r in results:
        confusion[r.expected_status.value][r.status.value] += 1
    return Score(
        as_expected=_good(results),
        right_instance=_good(answerable),
        wrong_pose=wilson(sum(not r.as_expected for r in given), len(given)),
        pose_on_refusal=wilson(sum(r.status is Status.OK for r in refusable), len(refusable)),
        by_kind=_by((kind, r) for r in results for kind in r.kind),
        by_relation=_by((name, r) for r in results for name in r.relations),
        confusion={expected: dict(sorted(counts.items())) for expected, counts in sorted(confusion.items())},
        misses=tuple(_miss(r) for r in results if not r.complete),
        by_frame_of_reference=_by((r.frame_of_reference or NO_SCENE, r) for r in results),
        by_expected_status=_by((r.expected_status.value, r) for r in results),
        by_given_status=_by((r.status.value, r) for r in results),
        split=_split(results),
        cases=results,
        unjudged=len(pairs) - len(results),
        complete=wilson(sum(r.complete for r in results), len(results)),
        right_place=wilson(sum(r.complete for r in placed), len(placed)),
        wrong_place=wilson(sum(not r.complete for r in spots), len(spots)),
        by_miss={kind.value: sum(r.miss is kind for r in results) for kind in MissKind},
        over_frames={
            "as expected": clustered((r.frame, r.as_expected) for r in results),
            "as expected, place and all": clustered((r.frame, r.complete) for r in results),
            "right instance": clustered((r.frame, r.as_expected) for r in answerable),
            "wrong pose among answers": clustered((r.frame, not r.as_expected) for r in given),
            "pose where a refusal was expected": clustered((r.frame, r.status is Status.OK) for r in refusable),
            "right place": clustered((r.frame, r.complete) for r in placed),
            "wrong place among places": clustered((r.frame, not r.complete) for r in spots),
        },
    )


def _judged(case: Case, expect: Expectation, answer: Resolution, truth: FrameTruth | None) -> CaseResult:
    id_ = answer.target.id if answer.target is not None else answered_id(answer.answer)
    likeliest = answer.candidates[0] if answer.candidates else None
    answered = answer.status in ANSWERS
    good = is_expected(expect.status, expect.id, answer.status, id_, expect.id_also)
    if good and expect.answer is not None:
        good = answer.answer is not None and expect.answer.fits(answer.answer)
    place = None
    if expect.place is not None and truth is not None:
        given = answer.place.pose if answer.place is not None and answered else None
        place = place_outcome(expect.place, given, truth)
    labels = {**({} if truth is None else truth.labels), **{c.id: c.label for c in answer.candidates}}
    return CaseResult(
        frame=case.frame,
        instruction=case.instruction,
        kind=tuple(case.kind),
        expected_status=expect.status,
        expected_id=expect.id,
        status=answer.status,
        id=id_,
        as_expected=good,
        likeliest_id=id_ if answered else likeliest.id if likeliest else None,
        confidence=answer.confidence if answered else likeliest.probability if likeliest else 0.0,
        relations=_relations(answer),
        frame_of_reference=answer.frame_of_reference.value if answer.frame_of_reference else None,
        message=answer.message,
        expected_also=expect.id_also,
        expected_answer=expect.answer,
        place=place,
        miss=miss_kind(
            expect.status,
            answer.status,
            good,
            place in (None, PlaceOutcome.RIGHT),
            (labels.get(expect.id or ""), answer.target.label if answer.target is not None else None),
        ),
    )


def heuristic_kind(kinds: Iterable[str]) -> str | None:
    """USUAL or COUNTER_HEURISTIC, whichever the kinds of a case say; None where they say both, or neither."""
    said = {kind.lower().replace("_", "-").replace(" ", "-") for kind in kinds} & {USUAL, COUNTER_HEURISTIC}
    return said.pop() if len(said) == 1 else None


def answered_id(answer: SpaceAnswer | None) -> str | None:
    """The one object that a question was answered with, where it was asked for an object."""
    if answer is None or answer.kind not in ("where", "which"):
        return None
    ids = [obj.id for obj in answer.objects if obj.role in ("subject", "fits")]
    return ids[0] if len(ids) == 1 else None


def _miss(r: CaseResult) -> Miss:
    return Miss(r.frame, r.instruction, r.expected_status, r.expected_id, r.status, r.id, r.message, r.miss)


def _good(results: Sequence[CaseResult]) -> Share:
    return wilson(sum(r.as_expected for r in results), len(results))


def _by(named: Iterable[tuple[str, CaseResult]]) -> dict[str, Share]:
    """`as_expected` of each group, by name."""
    groups: dict[str, list[CaseResult]] = defaultdict(list)
    for name, result in named:
        groups[name].append(result)
    return {name: _good(results) for name, results in sorted(groups.items())}


def _split(results: Sequence[CaseResult]) -> HeuristicSplit | None:
    """Cases that are said to be both, or neither, belong to neither side."""
    sides: dict[str, list[CaseResult]] = {USUAL: [], COUNTER_HEURISTIC: []}
    for result in results:
        side = heuristic_kind(result.kind)
        if side is not None:
            sides[side].append(result)
    if not any(sides.values()):
        return None
    usual, counter = _good(sides[USUAL]), _good(sides[COUNTER_HEURISTIC])
    return HeuristicSplit(usual, counter, newcombe(usual.k, usual.n, counter.k, counter.n))


def _relations(answer: Resolution) -> tuple[str, ...]:
    """Names of all relations, superlatives and ordinals in the reading that was answered."""
    if answer.query is None:
        return (NOT_UNDERSTOOD,)
    names: set[str] = set()
    phrases: list[NounPhrase] = [answer.query.target]
    if answer.query.destination is not None:
        names.add(f"to: {answer.query.destination.relation}")
        phrases.extend(answer.query.destination.anchors)
    for phrase in phrases:
        names |= {phrase.superlative} if phrase.superlative else set()
        names |= {f"number from the {phrase.ordinal.from_}"} if phrase.ordinal else set()
        for clause in phrase.relations:
            names.add(("not " if clause.negated else "") + clause.relation)
            phrases.extend(clause.anchors)
    return tuple(sorted(names)) or (NO_RELATION,)
