# SPDX-License-Identifier: Apache-2.0
"""Scores of answered cases: right instances, refusals, confusion of statuses, and how sure the figures are."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation
from spatial_vlm_ros.types import Resolution, Status


@dataclass(frozen=True)
class Share:
    """k of n, with its 95 % Wilson interval."""

    k: int
    n: int
    share: float
    low: float
    high: float


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


@dataclass(frozen=True)
class Score:
    """Score of a set of cases.

    Args:
        as_expected: status as expected, and the right object where one was.
        right_instance: of the cases that expect an object: answered with that object.
        wrong_pose: of the answers given: another object than expected, or none was expected.
        pose_on_refusal: of the cases that expect a refusal: answered with a pose.
        by_kind: `as_expected` by the cases' kinds.
        by_relation: `as_expected` by the relations and orders that the answered reading holds.
        confusion: expected status → given status → number.
        misses: every case that did not end as expected.
    """

    as_expected: Share
    right_instance: Share
    wrong_pose: Share
    pose_on_refusal: Share
    by_kind: Mapping[str, Share]
    by_relation: Mapping[str, Share]
    confusion: Mapping[str, Mapping[str, int]]
    misses: tuple[Miss, ...]


@dataclass(frozen=True)
class _Judged:
    """A case, what it expects, and its answer."""

    case: Case
    expect: Expectation
    answer: Resolution

    @property
    def id(self) -> str | None:
        return self.answer.target.id if self.answer.target is not None else None

    @property
    def good(self) -> bool:
        return self.answer.status is self.expect.status and self.expect.id in (None, self.id)

    def miss(self) -> Miss:
        case, expect, answer = self.case, self.expect, self.answer
        return Miss(case.frame, case.instruction, expect.status, expect.id, answer.status, self.id, answer.message)


def wilson(k: int, n: int) -> Share:
    """Share k / n with its 95 % score interval; 0 to 1 when n is 0.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    z, p = 1.959964, k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Share(k, n, round(p, 6), round(max(0.0, middle - half), 6), round(min(1.0, middle + half), 6))


def score(cases: Sequence[Case], resolutions: Sequence[Resolution]) -> Score:
    """Compare answers with what the cases expect; cases without an expectation are left out."""
    judged = [
        _Judged(case, case.expect, answer)
        for case, answer in zip(cases, resolutions, strict=True)
        if case.expect is not None
    ]
    answerable = [one for one in judged if one.expect.status is Status.OK]
    refusable = [one for one in judged if one.expect.status is not Status.OK]
    given = [one for one in judged if one.answer.status is Status.OK]
    kinds: dict[str, list[bool]] = defaultdict(list)
    relations: dict[str, list[bool]] = defaultdict(list)
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    for one in judged:
        for kind in one.case.kind:
            kinds[kind].append(one.good)
        for relation in sorted(_relations(one.answer)):
            relations[relation].append(one.good)
        confusion[one.expect.status.value][one.answer.status.value] += 1
    return Score(
        as_expected=wilson(sum(one.good for one in judged), len(judged)),
        right_instance=wilson(sum(one.good for one in answerable), len(answerable)),
        wrong_pose=wilson(sum(not one.good for one in given), len(given)),
        pose_on_refusal=wilson(sum(one.answer.status is Status.OK for one in refusable), len(refusable)),
        by_kind={kind: wilson(sum(oks), len(oks)) for kind, oks in sorted(kinds.items())},
        by_relation={name: wilson(sum(oks), len(oks)) for name, oks in sorted(relations.items())},
        confusion={expected: dict(sorted(given.items())) for expected, given in sorted(confusion.items())},
        misses=tuple(one.miss() for one in judged if not one.good),
    )


def _relations(answer: Resolution) -> set[str]:
    """Names of all relations, superlatives and ordinals in the reading that was answered."""
    if answer.query is None:
        return set()
    names, phrases = set(), [answer.query.target]
    for phrase in phrases:
        names |= {phrase.superlative} if phrase.superlative else set()
        names |= {f"number from the {phrase.ordinal.from_}"} if phrase.ordinal else set()
        for clause in phrase.relations:
            names.add(("not " if clause.negated else "") + clause.relation)
            phrases.extend(clause.anchors)
    return names
