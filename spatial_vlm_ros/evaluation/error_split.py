# SPDX-License-Identifier: Apache-2.0
"""Classifies what went wrong in a case, and whether the model or the resolver is to blame.

First it is asked what the resolver alone does with the true objects (the oracle run). Where it is wrong, too, no
better detection would have helped, and the error is its own. Where it is right, the objects that were found say what
is missing. docs/evaluate.md has the table. Works on outcomes, labels and matches; independent of geometry and files.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from spatial_vlm_ros.evaluation.case import Expectation
from spatial_vlm_ros.evaluation.matching import FoundObject, Matching
from spatial_vlm_ros.evaluation.misses import MissKind
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.types import ANSWERS, Status


class CaseError(str, enum.Enum):
    """What went wrong in a case.

    NOT_DETECTED: an object that the answer rests on was not found. MISLABELLED: it was found under another name, or
    what was answered with is not what its name says. MISREAD: the words were not understood, or taken for another kind
    of object. WRONG_RELATION: another object of the right kind. WRONG_PLACE: the right object; its place, or the middle
    of its pose, lies elsewhere. NEEDLESS_REFUSAL: refused what has an answer. MISSING_REFUSAL: answered what has none.
    PART: a part for the whole, or the other way round. OTHER_REFUSAL: refused, as was due, for another reason. ANSWER:
    a question about space was answered wrongly. FAILED: the image, the model or a program failed.
    """

    NOT_DETECTED = "not detected"
    MISLABELLED = "mislabelled"
    MISREAD = "misread sentence"
    WRONG_RELATION = "wrong relation"
    WRONG_PLACE = "wrong place"
    NEEDLESS_REFUSAL = "needless refusal"
    MISSING_REFUSAL = "missing refusal"
    PART = "part"
    OTHER_REFUSAL = "other refusal"
    ANSWER = "answer"
    FAILED = "failed"


class Blame(str, enum.Enum):
    """Whether the true objects would have helped: then the model is to blame, else the resolver."""

    MODEL = "model"
    RESOLVER = "resolver"


FAILURES = frozenset(
    {Status.INVALID_INPUT, Status.STALE_INPUT, Status.NOT_SYNCHRONISED, Status.TF_UNAVAILABLE,
     Status.MODEL_ERROR, Status.TIMEOUT, Status.BUSY, Status.CANCELLED, Status.INTERNAL_ERROR}
)  # fmt: skip
"""Statuses that say nothing of words and objects: something could not be read, or failed."""
_OF_THE_MODEL = frozenset({Status.MODEL_ERROR, Status.TIMEOUT})


@dataclass(frozen=True, eq=False)
class ErrorEvidence:
    """What is known of a case that is judged.

    Args:
        id: true id of the object answered with, or None.
        found_id: its id as the model gave it, or None.
        miss: by the outcome alone; None = nothing went wrong.
        matching: which true objects the found ones are; None = they are the true ones.
        labels: names of the true objects by id.
        needed: ids of the true objects that the right answer rests on.
        oracle: whether the resolver alone is right, and its error; None if that is not known.
        truth_is_whole: whether all objects of the image are known; else an oracle that is wrong may only lack some.
    """

    expect: Expectation
    status: Status
    id: str | None
    found_id: str | None
    miss: MissKind | None
    matching: Matching | None
    labels: Mapping[str, str]
    needed: tuple[str, ...]
    oracle: tuple[bool, CaseError | None] | None
    truth_is_whole: bool = True


class JudgedError(NamedTuple):
    """The error of a case.

    Args:
        error: what went wrong; None = nothing.
        blame: who is to blame; None if nothing went wrong, or that is not known.
        about: which object it is about, for a person; "" if it is about none.
    """

    error: CaseError | None = None
    blame: Blame | None = None
    about: str = ""


def error_of(known: ErrorEvidence) -> JudgedError:
    """Find the error of a case and who is to blame for it."""
    if known.miss is None:
        return JudgedError()
    if known.status in FAILURES and known.status is not known.expect.status:
        return JudgedError(CaseError.FAILED, Blame.MODEL if known.status in _OF_THE_MODEL else None)
    if known.matching is None:  # the found objects are the true ones
        return JudgedError(_of_resolver(known), Blame.RESOLVER)
    lacks_objects = not known.truth_is_whole and known.oracle is not None and known.oracle[1] is not CaseError.MISREAD
    if known.oracle is not None and not known.oracle[0] and not lacks_objects:
        return JudgedError(known.oracle[1] or _of_resolver(known), Blame.RESOLVER)
    blame = Blame.MODEL if known.oracle is not None and known.oracle[0] else None
    shown, about = _of_objects(known)
    return JudgedError(shown or _of_resolver(known), blame, about)


def _of_resolver(known: ErrorEvidence) -> CaseError:
    if known.status is Status.NOT_UNDERSTOOD:
        return CaseError.MISREAD
    return _BY_MISS[known.miss or MissKind.OTHER_REFUSAL]


_BY_MISS = {
    MissKind.OBJECT: CaseError.MISREAD,
    MissKind.RELATION: CaseError.WRONG_RELATION,
    MissKind.PART: CaseError.PART,
    MissKind.PLACE: CaseError.WRONG_PLACE,
    MissKind.NEEDLESS_REFUSAL: CaseError.NEEDLESS_REFUSAL,
    MissKind.MISSING_REFUSAL: CaseError.MISSING_REFUSAL,
    MissKind.OTHER_REFUSAL: CaseError.OTHER_REFUSAL,
    MissKind.ANSWER: CaseError.ANSWER,
}


def _of_objects(known: ErrorEvidence) -> tuple[CaseError | None, str]:
    """The error that the found objects show, and about which one; None if they show none.

    An answer where a refusal was due stays that, whatever objects led to it: it is the error that moves an arm.
    """
    if known.miss is MissKind.PLACE or known.matching is None or known.status is Status.NOT_UNDERSTOOD:
        return None, ""
    error, about = _shown(known, known.matching)
    if known.miss is MissKind.MISSING_REFUSAL and error is not None:
        return CaseError.MISSING_REFUSAL, f"{about}: {error.value}"
    return error, about


def _shown(known: ErrorEvidence, matching: Matching) -> tuple[CaseError | None, str]:
    found = {id_: matching.on(id_) for id_ in known.needed}
    missing = [_told(id_, known) for id_, several in found.items() if not several]
    if missing:
        return CaseError.NOT_DETECTED, ", ".join(missing)
    for id_, several in found.items():
        if not any(same_name(one.label, known.labels.get(id_, "")) for one in several):
            names = ", ".join(dict.fromkeys(repr(one.label) for one in several))
            return CaseError.MISLABELLED, f"{_told(id_, known)} as {names}"
    if known.status in ANSWERS and known.found_id is not None:
        answered = next((one for one in matching.found if one.id == known.found_id), None)
        if answered is not None and _is_misnamed(answered, known):
            true = _told(known.id, known) if known.labels.get(known.id or "") is not None else "no true object"
            return CaseError.MISLABELLED, f"{true} as {answered.label!r}"
        if known.miss is MissKind.OBJECT:  # rightly named, and yet taken for what the words name
            same = same_name(known.labels.get(known.id or "", ""), known.labels.get(known.expect.id or "", ""))
            return CaseError.WRONG_RELATION if same else CaseError.MISLABELLED, _told(known.id, known)
    return None, ""


def _told(id_: str | None, known: ErrorEvidence) -> str:
    """A true object in words: "mug (d3)"."""
    label = known.labels.get(id_ or "")
    return f"{label} ({id_})" if label else str(id_)


def _is_misnamed(answered: FoundObject, known: ErrorEvidence) -> bool:
    """Whether what was answered with is not a true object, or is one of another name."""
    name = known.labels.get(known.id or "")
    return name is None or not same_name(answered.label, name)


def same_name(one: str, other: str) -> bool:
    """Whether two labels may name the same object: one fits the other as a noun fits a label (perception.labels)."""
    if not one or not other:
        return True  # nothing speaks against it
    one, other = " ".join(one.lower().split()), " ".join(other.lower().split())
    return one == other or label_fit(one, other) > 0.0 or label_fit(other, one) > 0.0
