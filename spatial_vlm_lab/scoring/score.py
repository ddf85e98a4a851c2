# SPDX-License-Identifier: Apache-2.0
"""Scores of answered cases: right instances, refusals, confusion of statuses, and how sure the figures are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spatial_vlm_lab.scoring.clustering import clustered
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.evaluation.case_result import CaseEvidence, CaseResult, answered_id, is_expected, judge_case
from spatial_vlm_ros.evaluation.error_split import CaseError
from spatial_vlm_ros.evaluation.expected_place import FrameTruth, PlaceOutcome
from spatial_vlm_ros.evaluation.misses import MissKind
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

__all__ = ["CaseResult", "HeuristicSplit", "Miss", "Score", "Share", "answered_id", "is_expected", "score",
           "score_results", "wilson"]  # fmt: skip

USUAL, COUNTER_HEURISTIC = "usual", "counter-heuristic"
"""Kinds of cases that a rule of thumb (higher in the image is farther away) gets right, and wrong."""

NO_SCENE = "(no scene)"


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
class HeuristicSplit:
    """Cases that agree with a rule of thumb against those that contradict it.

    Args:
        usual: `as_expected` of the cases of kind "usual".
        counter_heuristic: `as_expected` of the cases of kind "counter-heuristic".
        difference: usual - counter_heuristic, 95 % by Newcombe's method; None if one has no case.
    """

    usual: Share
    counter_heuristic: Share
    difference: Interval | None


@dataclass(frozen=True)
class Score:
    """Score of a set of cases.

    Args:
        as_expected: status as expected, and the right object if one was expected.
        right_instance: share of the cases that expect an object and were answered with it.
        wrong_pose: share of the given answers with another object than expected, or without an expected object.
        pose_on_refusal: share of the cases that expect a refusal and were answered with a pose.
        confusion: expected status → given status → number.
        misses: every case that did not end as expected, or whose place is wrong.
        by_expected_status: `as_expected` by the status expected.
        split: usual against counter-heuristic cases; None if no case is of either kind.
        unjudged: cases left out because they have no expectation.
        complete: status, object and place as expected.
        right_place: share of the cases that expect a place with the right object and a right place.
        wrong_place: share of wrong places among those given with the right object, if a place was expected.
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
    by_error: Mapping[str, int] = field(default_factory=dict)


def score(
    cases: Sequence[Case], resolutions: Sequence[Resolution], truths: Mapping[str, FrameTruth] | None = None
) -> Score:
    """Compare answers with what the cases expect; cases without an expectation are left out.

    Args:
        resolutions: one for each case.
    """
    pairs, truths = list(zip(cases, resolutions, strict=True)), truths or {}
    results = [
        judge_case(case, case.expect, answer, CaseEvidence(truths.get(case.frame)))
        for case, answer in pairs
        if case.expect is not None
    ]
    return score_results(results, len(pairs) - len(results))


def score_results(results: Sequence[CaseResult], unjudged: int = 0) -> Score:
    """The score of judged cases.

    Args:
        unjudged: cases that do not say what to expect.
    """
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
        cases=tuple(results),
        unjudged=unjudged,
        complete=wilson(sum(r.complete for r in results), len(results)),
        right_place=wilson(sum(r.complete for r in placed), len(placed)),
        wrong_place=wilson(sum(not r.complete for r in spots), len(spots)),
        by_miss={kind.value: sum(r.miss is kind for r in results) for kind in MissKind},
        by_error={error.value: sum(r.error is error for r in results) for error in CaseError},
        over_frames={
            "as expected": clustered((r.group, r.as_expected) for r in results),
            "as expected, place and all": clustered((r.group, r.complete) for r in results),
            "right instance": clustered((r.group, r.as_expected) for r in answerable),
            "wrong pose among answers": clustered((r.group, not r.as_expected) for r in given),
            "pose where a refusal was expected": clustered((r.group, r.status is Status.OK) for r in refusable),
            "right place": clustered((r.group, r.complete) for r in placed),
            "wrong place among places": clustered((r.group, not r.complete) for r in spots),
        },
    )


def heuristic_kind(kinds: Iterable[str]) -> str | None:
    """USUAL or COUNTER_HEURISTIC, whichever the kinds of a case say; None if they say both, or neither."""
    said = {kind.lower().replace("_", "-").replace(" ", "-") for kind in kinds} & {USUAL, COUNTER_HEURISTIC}
    return said.pop() if len(said) == 1 else None


def _miss(r: CaseResult) -> Miss:
    return Miss(r.image, r.instruction, r.expected_status, r.expected_id, r.status, r.id, r.message, r.miss)


def _good(results: Sequence[CaseResult]) -> Share:
    return wilson(sum(r.as_expected for r in results), len(results))


def _by(named: Iterable[tuple[str, CaseResult]]) -> dict[str, Share]:
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
