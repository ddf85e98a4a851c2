# SPDX-License-Identifier: Apache-2.0
"""One judged case: expected and given outcome, whether they agree, and what went wrong where they do not.

To find who is to blame, it is asked what the resolver alone does with the true objects (the oracle run). Where it is
wrong, too, the error is its own. Where it is right, the objects that were found say what is missing. docs/evaluate.md
has the table.
"""

from __future__ import annotations

import dataclasses
import enum
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_lab.scoring.frame_truth import (
    FrameTruth,
    ImageObject,
    Matching,
    PlaceOutcome,
    distance_m,
    place_outcome,
)
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_bytes
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.recording.cases import Case, Expectation, ExpectedAnswer, objects_of
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.recording.replay import FAILURES
from spatial_vlm_ros.types import ANSWERS, NounPhrase, Resolution, SpaceAnswer, Status, Transform

_PARTS = frozenset({"compartment", "door", "drawer", "handle", "lid", "burner", "level"})  # last words of their labels


class MissKind(str, enum.Enum):
    """Kinds of misses: what was expected against what was given.

    OBJECT: answered with an object of another label. RELATION: with another one of the same label. PART: with a part
    instead of the whole, the other way round, or with another part. PLACE: the right object, but its place lies
    elsewhere or was not given.
    """

    OBJECT = "object"
    RELATION = "relation"
    PART = "part"
    PLACE = "place"
    NEEDLESS_REFUSAL = "needless refusal"
    MISSING_REFUSAL = "missing refusal"
    OTHER_REFUSAL = "other refusal"
    ANSWER = "answer"


def miss_kind(
    expected: Status, status: Status, as_expected: bool, place_right: bool, labels: tuple[str | None, str | None]
) -> MissKind | None:
    """Find the kind of a miss by the labels of expected and given object; None if the case ended as expected."""
    if as_expected:
        return None if place_right else MissKind.PLACE
    if expected not in ANSWERS:
        return MissKind.MISSING_REFUSAL if status in ANSWERS else MissKind.OTHER_REFUSAL
    if status not in ANSWERS:
        return MissKind.NEEDLESS_REFUSAL
    if expected is Status.ANSWERED:
        return MissKind.ANSWER
    right, given = (((label or "").lower().split()[-1] if (label or "").split() else "") for label in labels)
    if _PARTS & {right, given}:
        return MissKind.PART
    return MissKind.RELATION if right and labels[0] == labels[1] else MissKind.OBJECT


class CaseError(str, enum.Enum):
    """What went wrong in a case, also by the objects that were found; docs/evaluate.md describes each."""

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


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """A case with its expected and its actual outcome."""

    model: str = ""
    source: str = ""
    frame: str  # "" if the image is one of a bag
    stamp_ns: int = 0  # of an image in a bag
    instruction: str
    kind: tuple[str, ...] = ()
    expected_status: Status
    expected_id: str | None
    status: Status
    id: str | None
    error: CaseError | None = None  # by the found objects and by the oracle
    iou: float | None = None  # of the answered and the expected object, 0 to 1; None if one is missing
    place: PlaceOutcome | None = None  # of the expected place or pose centre; None if none was expected
    confidence: float  # probability of `likeliest_id`, 0 to 1
    message: str
    frame_of_reference: str | None = None  # None if no scene was built
    relations: tuple[str, ...] = ()
    blame: Blame | None = None  # None if nothing went wrong, or if not known
    oracle_right: bool | None = None  # whether the resolver alone is right with the true objects
    as_expected: bool  # a place is not part of it
    expected_also: tuple[str, ...] = ()
    expected_answer: ExpectedAnswer | None = None  # to a question about space; None = any
    likeliest_id: str | None = None  # whether or not it was the answer; None without candidates
    likeliest_is_right: bool = False  # False where a refusal is expected
    miss: MissKind | None = None  # None if object and place, or the expected refusal, are right
    about: str = ""  # which object the error concerns
    checks: tuple[str, ...] = ()  # "NAME: VERDICT" of each check of the frame; none without a scene

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
    """Additional knowledge about a case; every part may be missing."""

    truth: FrameTruth | None = None
    objects: tuple[ImageObject, ...] = ()
    poses: tuple[Transform, ...] = ()  # of the camera in the base
    matching: Matching = field(default_factory=Matching)
    oracle: CaseResult | None = None  # how the resolver alone ends this case, given the true objects
    needed: tuple[str, ...] = ()  # ids of the true objects that the answer rests on: expected one, anchors
    truth_is_whole: bool = True  # whether all objects of the image are known


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
    case: Case, expect: Expectation, answer: Resolution, evidence: CaseEvidence | None = None, model: str = "",
    source: str = "",
) -> CaseResult:  # fmt: skip
    """How a case ended, against what it should end in, by the ids of the true objects."""
    evidence = evidence or CaseEvidence()
    matching, oracle, true_id = evidence.matching, evidence.oracle, evidence.matching.id_of
    found_id = answer.target.id if answer.target is not None else answered_id(answer.answer)
    likeliest = answer.candidates[0] if answer.candidates else None
    answered = answer.status in ANSWERS
    id_ = true_id(found_id)
    good = is_expected(expect.status, expect.id, answer.status, id_, expect.id_also)
    if good and expect.answer is not None:
        ids = None if answer.answer is None else [true_id(one) or "" for one in objects_of(answer.answer)]
        good = answer.answer is not None and expect.answer.fits(answer.answer, ids)
    place = _place(expect, answer, evidence)
    place_right = place in (None, PlaceOutcome.RIGHT)
    labels = {
        **({} if evidence.truth is None else evidence.truth.labels),
        **({c.id: c.label for c in answer.candidates} if matching.of is None else {}),  # else these are the model's
        **{one.id: one.label for one in evidence.objects if one.label},
    }
    given_label = answer.target.label if answer.target is not None else None
    likeliest_id = found_id if answered else likeliest.id if likeliest else None
    rank_right = expect.status is Status.OK and likeliest_id is not None
    posterior = likeliest.probability if likeliest else 0.0
    result = CaseResult(
        frame=case.frame,
        instruction=case.instruction,
        kind=tuple(case.kind),
        expected_status=expect.status,
        expected_id=expect.id,
        status=answer.status,
        id=id_,
        as_expected=good,
        likeliest_id=true_id(likeliest_id),
        confidence=answer.confidence if answered or (likeliest and answer.belief) else posterior,
        relations=relations_of(answer),
        frame_of_reference=answer.frame_of_reference.value if answer.frame_of_reference else None,
        message=answer.message,
        checks=tuple(f"{one.name}: {one.verdict.value}" for one in answer.evidence.checks) if answer.evidence else (),
        expected_also=expect.id_also,
        expected_answer=expect.answer,
        place=place,
        miss=miss_kind(expect.status, answer.status, good, place_right, (labels.get(expect.id or ""), given_label)),
        model=model,
        source=source,
        stamp_ns=case.stamp_ns,
        iou=matching.iou(found_id, expect.id),
        oracle_right=good and place_right if matching.is_truth else None if oracle is None else oracle.complete,
        likeliest_is_right=rank_right and (expect.id is None or true_id(likeliest_id) in (expect.id, *expect.id_also)),
    )
    error, blame, about = _error(result, found_id, labels, evidence)
    return dataclasses.replace(result, error=error, blame=blame, about=about)


def _place(expect: Expectation, answer: Resolution, evidence: CaseEvidence) -> PlaceOutcome | None:
    """What became of the place, and of the middle of the pose; the worse of the two."""
    outcomes, truth = [], evidence.truth
    if expect.place is not None and truth is not None:
        given = answer.place.pose if answer.place is not None and answer.status in ANSWERS else None
        outcomes.append(place_outcome(expect.place, given, truth))
    expected = next((one for one in evidence.objects if one.id == expect.id), None)
    if expected is not None and expected.tolerance_m is not None:
        off_m = distance_m(answer, expected, evidence.poses)
        near = off_m is not None and off_m <= expected.tolerance_m
        missing = PlaceOutcome.NOT_GIVEN if off_m is None else PlaceOutcome.ELSEWHERE
        outcomes.append(PlaceOutcome.RIGHT if near else missing)
    order = (PlaceOutcome.ELSEWHERE, PlaceOutcome.NOT_GIVEN, PlaceOutcome.RIGHT)
    return next((outcome for outcome in order if outcome in outcomes), None)


def relations_of(answer: Resolution) -> tuple[str, ...]:
    """Names of all relations, superlatives and ordinals in the reading that was answered."""
    if answer.query is None:
        return ("(not understood)",)
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
    return tuple(sorted(names)) or ("(no relation)",)


# ------------------------------------------------------------------------------------------------ errors


def _error(
    result: CaseResult, found_id: str | None, labels: Mapping[str, str], evidence: CaseEvidence
) -> tuple[CaseError | None, Blame | None, str]:
    """The error of a case (None = nothing went wrong), who is to blame, and which object it is about."""
    if result.miss is None:
        return None, None, ""
    if result.status in FAILURES and result.status is not result.expected_status:
        of_model = result.status in (Status.MODEL_ERROR, Status.TIMEOUT)
        return CaseError.FAILED, Blame.MODEL if of_model else None, ""
    own = _BY_MISS.get(result.miss) or CaseError(result.miss.value)  # the resolver's
    if result.status is Status.NOT_UNDERSTOOD:
        own = CaseError.MISREAD
    if evidence.matching.of is None:  # the found objects are the true ones
        return own, Blame.RESOLVER, ""
    oracle = evidence.oracle
    lacks_objects = not evidence.truth_is_whole and oracle is not None and oracle.error is not CaseError.MISREAD
    if oracle is not None and not oracle.complete and not lacks_objects:
        return oracle.error or own, Blame.RESOLVER, ""
    blame = Blame.MODEL if oracle is not None and oracle.complete else None
    if result.miss is MissKind.PLACE or result.status is Status.NOT_UNDERSTOOD:
        return own, blame, ""
    shown, about = _shown(result, found_id, labels, evidence)
    if result.miss is MissKind.MISSING_REFUSAL and shown is not None:
        # An answer where a refusal was due stays that, whatever objects led to it: it is the error that moves an arm.
        return CaseError.MISSING_REFUSAL, blame, f"{about}: {shown.value}"
    return shown or own, blame, about


_BY_MISS = {
    MissKind.OBJECT: CaseError.MISREAD,
    MissKind.RELATION: CaseError.WRONG_RELATION,
    MissKind.PLACE: CaseError.WRONG_PLACE,
}  # the others have the same name


def _shown(
    result: CaseResult, found_id: str | None, labels: Mapping[str, str], evidence: CaseEvidence
) -> tuple[CaseError | None, str]:
    """The error that the found objects show, and about which one; None if they show none."""
    matching = evidence.matching

    def told(id_: str | None) -> str:  # "mug (d3)"
        label = labels.get(id_ or "")
        return f"{label} ({id_})" if label else str(id_)

    found = {id_: matching.on(id_) for id_ in evidence.needed}
    missing = [told(id_) for id_, several in found.items() if not several]
    if missing:
        return CaseError.NOT_DETECTED, ", ".join(missing)
    for id_, several in found.items():
        if not any(same_name(one.label, labels.get(id_, "")) for one in several):
            names = ", ".join(dict.fromkeys(repr(one.label) for one in several))
            return CaseError.MISLABELLED, f"{told(id_)} as {names}"
    if result.status in ANSWERS and found_id is not None:
        answered = next((one for one in matching.found if one.id == found_id), None)
        name = labels.get(result.id or "")
        if answered is not None and (name is None or not same_name(answered.label, name)):
            true = told(result.id) if name is not None else "no true object"
            return CaseError.MISLABELLED, f"{true} as {answered.label!r}"
        if result.miss is MissKind.OBJECT:  # rightly named, and yet taken for what the words name
            same = same_name(name or "", labels.get(result.expected_id or "", ""))
            return CaseError.WRONG_RELATION if same else CaseError.MISLABELLED, told(result.id)
    return None, ""


def same_name(one: str, other: str) -> bool:
    """Whether two labels may name the same object: one fits the other as a noun fits a label (perception.labels)."""
    if not one or not other:
        return True  # nothing speaks against it
    one, other = " ".join(one.lower().split()), " ".join(other.lower().split())
    return one == other or label_fit(one, other) > 0.0 or label_fit(other, one) > 0.0


# ------------------------------------------------------------------------------------------------ rows


Row = dict[str, Any]

COLUMNS = (*(one.name for one in fields(CaseResult)), "right", "problem")
"""Names of the columns: the fields of CaseResult, whether all is right, and why the case could not be judged.

A value may be None but for those of model, source, frame, stamp_ns, instruction, kind, status, error, confidence,
message, relations, expected_also, about, checks and problem.
"""


def row_of(result: CaseResult) -> Row:
    """Convert a judged case to a row."""
    values, answer = msgspec.to_builtins(result), result.expected_answer
    values["right"], values["problem"] = result.complete, ""
    values["error"], values["confidence"] = values["error"] or "", float(result.confidence)
    values["expected_answer"] = None if answer is None else msgspec.json.encode(answer).decode()
    return _in_order(values)


def unjudged_row(case: Case, answer: Resolution, model: str, source: str, problem: str) -> Row:
    """Make the row of a case that cannot be judged, without an expectation or with unusable truth."""
    return _in_order(
        {
            "model": model,
            "source": source,
            **{name: getattr(case, name) for name in ("frame", "stamp_ns", "instruction", "kind")},
            "status": answer.status.value,
            "id": answer.target.id if answer.target is not None else None,
            "error": "",
            "confidence": float(answer.confidence),
            "message": answer.message,
            "frame_of_reference": answer.frame_of_reference.value if answer.frame_of_reference else None,
            "relations": relations_of(answer),
            "expected_also": (),
            "about": "",
            "checks": (),
            "problem": problem,
        }
    )


def result_of(row: Mapping[str, Any]) -> CaseResult:
    """The judged case of a row."""
    try:
        answer = row["expected_answer"]
        values = {name: row[name] for name in COLUMNS} | {"error": row["error"] or None}
        values["expected_answer"] = None if answer is None else msgspec.json.decode(answer)
        return msgspec.convert(values, CaseResult)
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        repair = "use rows that `evaluate` of this version wrote"
        raise InputError("row", f"{type(error).__name__}: {error}", "a row of a judged case", repair) from error


def _in_order(values: Row) -> Row:
    return {name: list(found) if isinstance(found := values.get(name), tuple) else found for name in COLUMNS}


def check_installed() -> None:
    """Check that pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow, into the Python environment of this command") from error


def rows_schema() -> Any:
    """The columns of rows as a pyarrow.Schema."""
    check_installed()
    import pyarrow as pa

    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "tuple[str, ...]": pa.list_(pa.string())}
    types = {one.name: kinds.get(str(one.type).removesuffix(" | None")) for one in fields(CaseResult)}
    return pa.schema([(name, {**types, "right": pa.bool_()}.get(name) or pa.string()) for name in COLUMNS])


def rows_table(rows: Iterable[Row]) -> Any:
    """Rows as a pyarrow.Table; columns that they lack are null, and texts have no half characters."""
    schema = rows_schema()
    import pyarrow as pa

    return pa.Table.from_pylist([{name: _whole(value) for name, value in row.items()} for row in rows], schema=schema)


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def write_rows(path: str | Path, rows: Sequence[Row], *, force: bool = False) -> None:
    """Write rows to one file atomically; creates its parent folders."""
    table, file = rows_table(rows), io.BytesIO()
    import pyarrow.parquet as pq

    pq.write_table(table, file)
    write_bytes(path, file.getvalue(), force=force)


# ------------------------------------------------------------------------------------------------ stored runs


_LARGEST_RUN = 1 << 26  # bytes: 100,000 cases of 600 bytes
_REPAIR = "pass what `spatial-vlm evaluate --out` or `spatial-vlm resolve --frames --json` wrote"


class StoredAnswer(msgspec.Struct, frozen=True):
    """Stored answer to one case; other fields may come and go."""

    frame: str | None  # None or "" for an image in a bag
    instruction: str
    status: Status
    id: str | None
    answer: SpaceAnswer | None = None
    as_expected: bool | None = None  # then, where the run keeps that
    source: str = ""
    stamp_ns: int = 0  # of that image

    @property
    def image(self) -> str:
        """Name of the frame, or the stamp of an image in a bag."""
        return self.frame or str(self.stamp_ns)


class _Target(msgspec.Struct):
    id: str


class _Resolution(msgspec.Struct):
    instruction: str
    status: Status
    target: _Target | None
    frame: str | None = None
    answer: SpaceAnswer | None = None
    stamp_ns: int = 0


class _FirstLine(msgspec.Struct):
    instruction: str | None = None


class _Run(msgspec.Struct):
    cases: tuple[StoredAnswer, ...] = ()
    model: str = ""
    models: tuple[_Run, ...] = ()


def read_runs(path: str | Path) -> dict[str, tuple[StoredAnswer, ...]]:
    """Read the answers of stored runs: name of the model, "" if the file tells none → its answers, in order."""
    text = read_bytes(path, _REPAIR, _LARGEST_RUN)
    stripped = text.lstrip()
    if not stripped:
        raise FileError(path, "the file is empty", _REPAIR)
    try:
        has_lines = msgspec.json.decode(stripped.partition(b"\n")[0], type=_FirstLine).instruction is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        has_lines = False  # a list, an object over several lines, or nothing that is known
    if has_lines:
        above = text.count(b"\n", 0, len(text) - len(stripped))
        lines = ((f"line {n}", line) for n, line in enumerate(io.BytesIO(stripped), above + 1) if line.strip())
        return {"": _answers(path, ((at, decode_json(line, _Resolution, path, at, _REPAIR)) for at, line in lines))}
    if stripped.startswith(b"["):
        listed = decode_json(text, list[_Resolution], path, repair=_REPAIR)
        return {"": _answers(path, ((f"$[{n}]", one) for n, one in enumerate(listed)))}
    run = decode_json(text, _Run, path, repair=_REPAIR)
    runs = run.models or (run,)
    if not all(one.cases for one in runs):
        raise FileError(path, "it has no cases", _REPAIR)
    return {one.model: one.cases for one in runs}


def _answers(path: str | Path, found: Iterable[tuple[str, _Resolution]]) -> tuple[StoredAnswer, ...]:
    answers = []
    for place, one in found:
        if one.frame is None and not one.stamp_ns:
            repair = "pass answers to a folder of cases or a bag: `resolve --frames DIR --json` or `replay --json`"
            raise FileError(path, "it does not name its frame", repair, place)
        id_ = one.target.id if one.target is not None else answered_id(one.answer)
        told = StoredAnswer(one.frame, one.instruction, one.status, id_, one.answer, stamp_ns=one.stamp_ns)
        answers.append(told)
    return tuple(answers)
