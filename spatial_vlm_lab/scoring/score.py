# SPDX-License-Identifier: Apache-2.0
"""Scores of answered cases: right instances, refusals, confusion of statuses, and how sure the figures are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spatial_vlm_lab.scoring.case_result import CaseError, CaseEvidence, CaseResult, MissKind, judge_case
from spatial_vlm_lab.scoring.clustering import clustered
from spatial_vlm_lab.scoring.frame_truth import FrameTruth, PlaceOutcome
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

USUAL, COUNTER_HEURISTIC = "usual", "counter-heuristic"
"""Kinds of cases that a rule of thumb (higher in the image is farther away) gets right, and wrong."""

NO_SCENE = "(no scene)"
FIGURES = {
    "as_expected": "as expected",
    "right_instance": "right instance",
    "wrong_pose": "wrong pose among answers",
    "pose_on_refusal": "pose where a refusal was expected",
    "right_place": "right place",
    "wrong_place": "wrong place among places",
    "complete": "as expected, place and all",
}
"""Field of a main share of `Score` → its name."""
_OF_PLACES = ("right_place", "wrong_place", "complete")


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

    def figures(self) -> dict[str, Share]:
        """Main shares by name as in `over_frames`; those of places if any was expected."""
        hidden = () if self.right_place.n else _OF_PLACES
        return {name: getattr(self, field) for field, name in FIGURES.items() if field not in hidden}


def score(
    cases: Sequence[Case], resolutions: Sequence[Resolution], truths: Mapping[str, FrameTruth] | None = None
) -> Score:
    """Compare answers, one for each case, with what the cases expect; cases without an expectation are left out."""
    pairs, truths = list(zip(cases, resolutions, strict=True)), truths or {}
    results = [
        judge_case(case, case.expect, answer, CaseEvidence(truths.get(case.frame)))
        for case, answer in pairs
        if case.expect is not None
    ]
    return score_results(results, len(pairs) - len(results))


def score_results(results: Sequence[CaseResult], unjudged: int = 0) -> Score:
    """The score of judged cases, beside some that do not say what to expect."""
    given = [r for r in results if r.status is Status.OK]
    placed = [r for r in results if r.place is not None]
    figures = {
        "as_expected": [(r, r.as_expected) for r in results],
        "complete": [(r, r.complete) for r in results],
        "right_instance": [(r, r.as_expected) for r in results if r.expected_status is Status.OK],
        "wrong_pose": [(r, not r.as_expected) for r in given],
        "pose_on_refusal": [(r, r.status is Status.OK) for r in results if r.expected_status is not Status.OK],
        "right_place": [(r, r.complete) for r in placed],
        "wrong_place": [(r, not r.complete) for r in placed if r.as_expected and r.place is not PlaceOutcome.NOT_GIVEN],
    }
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for r in results:
        confusion[r.expected_status.value][r.status.value] += 1
    return Score(
        **{field: wilson(sum(counts for _, counts in of), len(of)) for field, of in figures.items()},
        by_kind=_by((kind, r) for r in results for kind in r.kind),
        by_relation=_by((name, r) for r in results for name in r.relations),
        confusion={expected: dict(sorted(counts.items())) for expected, counts in sorted(confusion.items())},
        misses=tuple(
            Miss(r.image, r.instruction, r.expected_status, r.expected_id, r.status, r.id, r.message, r.miss)
            for r in results
            if not r.complete
        ),
        by_frame_of_reference=_by((r.frame_of_reference or NO_SCENE, r) for r in results),
        by_expected_status=_by((r.expected_status.value, r) for r in results),
        by_given_status=_by((r.status.value, r) for r in results),
        split=_split(results),
        cases=tuple(results),
        unjudged=unjudged,
        by_miss={kind.value: sum(r.miss is kind for r in results) for kind in MissKind},
        by_error={error.value: sum(r.error is error for r in results) for error in CaseError},
        over_frames={FIGURES[field]: clustered((r.group, counts) for r, counts in of) for field, of in figures.items()},
    )


def heuristic_kind(kinds: Iterable[str]) -> str | None:
    """USUAL or COUNTER_HEURISTIC, whichever the kinds of a case say; None if they say both, or neither."""
    said = {kind.lower().replace("_", "-").replace(" ", "-") for kind in kinds} & {USUAL, COUNTER_HEURISTIC}
    return said.pop() if len(said) == 1 else None


def _by(named: Iterable[tuple[str, CaseResult]]) -> dict[str, Share]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for name, result in named:
        groups[name].append(result.as_expected)
    return {name: wilson(sum(good), len(good)) for name, good in sorted(groups.items())}


def _split(results: Sequence[CaseResult]) -> HeuristicSplit | None:
    """Cases that are said to be both, or neither, belong to neither side."""
    sides = _by((side, r) for r in results if (side := heuristic_kind(r.kind)) is not None)
    if not sides:
        return None
    usual, counter = (sides.get(side, wilson(0, 0)) for side in (USUAL, COUNTER_HEURISTIC))
    return HeuristicSplit(usual, counter, newcombe(usual.k, usual.n, counter.k, counter.n))
