# SPDX-License-Identifier: Apache-2.0
"""One judged case: expected and given outcome, and whether they agree.

Works on answers and matched objects; independent of files and of other cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spatial_vlm_ros.evaluation.case import Case, Expectation, ExpectedAnswer, objects_of
from spatial_vlm_ros.evaluation.error_split import Blame, CaseError, ErrorEvidence, error_of
from spatial_vlm_ros.evaluation.expected_place import FrameTruth, PlaceOutcome, place_outcome
from spatial_vlm_ros.evaluation.matching import Matching
from spatial_vlm_ros.evaluation.misses import MissKind, miss_kind
from spatial_vlm_ros.types import ANSWERS, NounPhrase, Resolution, SpaceAnswer, Status

NO_RELATION, NOT_UNDERSTOOD = "(no relation)", "(not understood)"


@dataclass(frozen=True)
class CaseResult:
    """A case with its expected and its actual outcome.

    Args:
        frame: name of the frame; "" if the image is one of a bag.
        id: the object answered with, only when OK.
        as_expected: whether they agree; a place is not part of it.
        likeliest_id: the likeliest candidate, whether or not it was the answer; None without candidates.
        confidence: its probability, 0 to 1.
        frame_of_reference: the one in force, None if no scene was built.
        expected_also: other right objects besides `expected_id`.
        expected_answer: expected answer to a question about space; None = any.
        place: outcome of the expected place or pose centre; None if none was expected.
        miss: kind of the miss; None if object and place, or the expected refusal, are right.
        stamp_ns: stamp of the image in a bag, nanoseconds; 0 in a folder.
        error: what went wrong, judged by the found objects and by the oracle; None if nothing did.
        blame: whether true objects would have helped; None if nothing went wrong, or if not known.
        iou: IoU of the answered and the expected object, 0 to 1; None if one is missing.
        oracle_right: whether the resolver alone is right with the true objects; None if not known.
        likeliest_is_right: whether the likeliest candidate is the expected object; False where a refusal is expected.
        about: text about which object the error concerns; "" if none.
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
    model: str = ""
    source: str = ""
    stamp_ns: int = 0
    error: CaseError | None = None
    blame: Blame | None = None
    iou: float | None = None
    oracle_right: bool | None = None
    likeliest_is_right: bool = False
    about: str = ""

    @property
    def complete(self) -> bool:
        """Whether outcome and place, if one was expected, are right."""
        return self.as_expected and self.place in (None, PlaceOutcome.RIGHT)

    @property
    def image(self) -> str:
        """Image of the case: the frame, or the stamp of an image in a bag."""
        return self.frame or str(self.stamp_ns)

    @property
    def group(self) -> str:
        """Key of the image, because cases of one image have correlated errors."""
        return f"{self.source}\n{self.image}" if self.source else self.image


@dataclass(frozen=True, eq=False)
class CaseEvidence:
    """Additional knowledge about a case; every part may be missing.

    Args:
        matching: which true objects the found ones are; None = their ids are the same.
        labels: names of the true objects by id.
        off_m: metres from the middle of the pose to the true one; None if that is not judged.
        tolerance_m: tolerance of that distance, metres.
        oracle: how the resolver alone ends this case, given the true objects; None if that is not known.
        needed: ids of the true objects that the right answer rests on: the expected one, and anchors.
        truth_is_whole: whether all objects of the image are known, not only the one that the case describes.
    """

    truth: FrameTruth | None = None
    matching: Matching | None = None
    labels: dict[str, str] | None = None
    off_m: float | None = None
    tolerance_m: float | None = None
    oracle: CaseResult | None = None
    needed: tuple[str, ...] = ()
    truth_is_whole: bool = True


NO_EVIDENCE = CaseEvidence()


def is_expected(
    expected: Status, expected_id: str | None, status: Status, id_: str | None, also: Sequence[str] = ()
) -> bool:
    """Whether an outcome is the expected one; an expected answer without an id takes any object.

    "Where is the cup?" may be expected to be OK with an object: it was an order to find it once.
    """
    if expected is Status.OK and status is Status.ANSWERED:
        return expected_id is not None and id_ in (expected_id, *also)
    return status is expected and (expected_id in (None, id_) or id_ in also)


def answered_id(answer: SpaceAnswer | None) -> str | None:
    """The one object that a question was answered with, where it was asked for an object."""
    if answer is None or answer.kind not in ("where", "which"):
        return None
    ids = objects_of(answer)
    return ids[0] if len(ids) == 1 else None


def judge_case(
    case: Case, expect: Expectation, answer: Resolution, evidence: CaseEvidence = NO_EVIDENCE, model: str = "",
    source: str = "",
) -> CaseResult:  # fmt: skip
    """How a case ended.

    Args:
        expect: what it should end in, by the ids of the true objects.
    """
    matching = evidence.matching

    def true_id(found_id: str | None) -> str | None:
        return found_id if matching is None else matching.id_of(found_id)

    found_id = answer.target.id if answer.target is not None else answered_id(answer.answer)
    likeliest = answer.candidates[0] if answer.candidates else None
    answered = answer.status in ANSWERS
    id_ = true_id(found_id)
    good = is_expected(expect.status, expect.id, answer.status, id_, expect.id_also)
    if good and expect.answer is not None:
        ids = None if answer.answer is None else [true_id(one) or "" for one in objects_of(answer.answer)]
        good = answer.answer is not None and expect.answer.fits(answer.answer, ids)
    place = _place(expect, answer, evidence)
    of_frame = {} if evidence.truth is None else evidence.truth.labels
    is_same = matching is None or matching.is_truth  # else a candidate's label is what the model calls it
    given = {c.id: c.label for c in answer.candidates} if is_same else {}
    labels = {**of_frame, **given, **(evidence.labels or {})}
    place_right = place in (None, PlaceOutcome.RIGHT)
    miss = miss_kind(
        expect.status, answer.status, good, place_right,
        (labels.get(expect.id or ""), answer.target.label if answer.target is not None else None),
    )  # fmt: skip
    likeliest_id = found_id if answered else likeliest.id if likeliest else None
    rank_right = expect.status is Status.OK and likeliest_id is not None
    oracle = evidence.oracle
    error, blame, about = error_of(
        ErrorEvidence(
            expect=expect, status=answer.status, id=id_, found_id=found_id, miss=miss,
            matching=None if is_same else matching,
            labels=labels, needed=evidence.needed,
            oracle=None if oracle is None else (oracle.complete, oracle.error),
            truth_is_whole=evidence.truth_is_whole,
        )
    )  # fmt: skip
    return CaseResult(
        frame=case.frame,
        instruction=case.instruction,
        kind=tuple(case.kind),
        expected_status=expect.status,
        expected_id=expect.id,
        status=answer.status,
        id=id_,
        as_expected=good,
        likeliest_id=true_id(likeliest_id),
        confidence=answer.confidence if answered else likeliest.probability if likeliest else 0.0,
        relations=relations_of(answer),
        frame_of_reference=answer.frame_of_reference.value if answer.frame_of_reference else None,
        message=answer.message,
        expected_also=expect.id_also,
        expected_answer=expect.answer,
        place=place,
        miss=miss,
        model=model,
        source=source,
        stamp_ns=case.stamp_ns,
        error=error,
        blame=blame,
        about=about,
        iou=None if matching is None else matching.iou(found_id, expect.id),
        oracle_right=_oracle_right(evidence, good and place_right),
        likeliest_is_right=rank_right and (expect.id is None or true_id(likeliest_id) in (expect.id, *expect.id_also)),
    )


def _oracle_right(evidence: CaseEvidence, right: bool) -> bool | None:
    if evidence.matching is not None and evidence.matching.is_truth:
        return right
    return None if evidence.oracle is None else evidence.oracle.complete


def _place(expect: Expectation, answer: Resolution, evidence: CaseEvidence) -> PlaceOutcome | None:
    """What became of the place, and of the middle of the pose; the worse of the two."""
    outcomes = []
    if expect.place is not None and evidence.truth is not None:
        given = answer.place.pose if answer.place is not None and answer.status in ANSWERS else None
        outcomes.append(place_outcome(expect.place, given, evidence.truth))
    if evidence.tolerance_m is not None:
        near = evidence.off_m is not None and evidence.off_m <= evidence.tolerance_m
        missing = PlaceOutcome.NOT_GIVEN if evidence.off_m is None else PlaceOutcome.ELSEWHERE
        outcomes.append(PlaceOutcome.RIGHT if near else missing)
    order = (PlaceOutcome.ELSEWHERE, PlaceOutcome.NOT_GIVEN, PlaceOutcome.RIGHT)
    return next((outcome for outcome in order if outcome in outcomes), None)


def relations_of(answer: Resolution) -> tuple[str, ...]:
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
