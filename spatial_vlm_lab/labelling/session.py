# SPDX-License-Identifier: Apache-2.0
"""A labelling session without its web server: the cases, the decisions, and their file.

Every decision is saved at once. Where that fails (a full disk, a file that another program has written) it stays in
memory, the page says so, and `save` tries again. One lock: threads of the server may share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spatial_vlm_lab.labelling import truth_proposal
from spatial_vlm_lab.labelling.label_file import FrameToLabel, LabelFile, LabelLine, LabelSource, replace_file, words_of
from spatial_vlm_ros.budgets import LARGEST_TRUTH, MOST_CASES
from spatial_vlm_ros.errors import (
    FileChangedError,
    FileError,
    InputError,
    InternalError,
    SpatialVlmError,
    StaleCaseError,
)
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.resolver import ObservedFrame, Resolver
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import Detection, FrameOfReference, Resolution, Rgb, Status
from spatial_vlm_ros.web.door import Door, Shield, read_form, read_json
from spatial_vlm_ros.web.guard import Guard
from spatial_vlm_ros.web.serving import Page, serve_page

_SAME_OBJECT = 0.1  # of their union that box and detection share at least, as `evaluate` wants it
UNSAVED = ".unsaved.jsonl"
"""What the name of a file ends in that decisions are written to which could not be saved."""


_log = logging.getLogger(__name__)
_FRAMES_KEPT = 3
_LOOKS_KEPT = 8  # with their masks


@dataclass(frozen=True, eq=False)
class LabelLook:
    """What a person sees of a case before deciding."""

    resolution: Resolution | None  # None if the frame cannot be read
    detections: tuple[Detection, ...] = ()  # numbered from 1 in this order
    ground: truth_proposal.Ground | None = None  # None if nothing was lifted
    size: tuple[int, int] | None = None  # (width, height), pixels; None if the frame cannot be read
    proposal: Mapping[str, Any] = field(default_factory=dict)
    by_id: bool = False  # whether ids are stable beyond one answer, because detections came with the frame
    problem: str = ""  # why the frame cannot be read


@dataclass(eq=False)
class _Entry:
    """A sentence on a frame; `line` is None until something of it is in the file."""

    frame: int
    words: str
    line: LabelLine | None = None
    decided: bool = False
    shown: bool = False

    @property
    def value(self) -> Mapping[str, Any]:
        return (self.line.value or {}) if self.line is not None else {}

    @property
    def seen(self) -> str:
        """Another text for each form of the line; "" if there is none."""
        return "" if self.line is None else hashlib.sha256(self.line.raw).hexdigest()[:16]

    @property
    def truth(self) -> Mapping[str, Any] | None:
        expect = self.value.get("expect")
        return expect if isinstance(expect, Mapping) else None


_Change = tuple[_Entry, bytes | None, bool, bool]
"""How to undo: the line as it was (None = there was none), whether it was decided, and whether the entry is new."""


class LabelSession:
    """The cases of a source and their truth."""

    def __init__(
        self, source: LabelSource, file: LabelFile, resolver: Resolver, sentences: Sequence[str] = (),
        frame_of_reference: FrameOfReference | None = None, *, blind: bool = False,
    ) -> None:  # fmt: skip
        self.blind, self.file, self.frame_names = blind, file, source.names
        self._source, self._resolver, self._reference = source, resolver, frame_of_reference
        self._loaded = lru_cache(_FRAMES_KEPT)(self._load)
        self._look = lru_cache(_LOOKS_KEPT)(self._look_at)
        self._lock = threading.RLock()
        self._changes: list[_Change] = []
        self._problem = ""
        self._by_somebody_else = False
        self._entries: list[_Entry] = []
        self._sentences = tuple(dict.fromkeys(one.strip() for one in sentences if one.strip()))
        for one in self._sentences:
            truth_proposal.check_sentence(one)
        if len(source.names) * len(self._sentences) + len(file.lines) > MOST_CASES:
            got = f"{len(source.names)} frames and {len(self._sentences)} sentences"
            raise InputError("cases to label", got, f"up to {MOST_CASES} cases", "label in several runs")
        self._list_cases()

    def _list_cases(self) -> None:
        """All cases by frame: those of the file in its order, then the sentences that it does not have there."""
        by_frame: dict[int, list[_Entry]] = {n: [] for n in range(len(self.frame_names))}
        for line in self.file.lines:
            number = None if line.value is None else self._source.number_of(line.value)
            words = None if line.value is None else words_of(line.value)
            if number is not None and words is not None:
                by_frame[number].append(_Entry(number, words, line))
        for number, entries in by_frame.items():
            known = {entry.words for entry in entries}
            entries += [_Entry(number, words) for words in self._sentences if words not in known]
        self._entries = [entry for entries in by_frame.values() for entry in entries]

    # -------------------------------------------------------------------------------------------- reading

    def overview(self) -> dict[str, Any]:
        """All cases in a line each, and whether the file holds what was decided."""
        with self._lock:
            return {
                "cases": [self._listed(entry) for entry in self._entries],
                "frames": list(self.frame_names),
                "others": sum(1 for line in self.file.lines if line.raw.strip()) - sum(
                    1 for entry in self._entries if entry.line is not None
                ),
                **self.saved(),
            }  # fmt: skip

    def _listed(self, entry: _Entry) -> dict[str, Any]:
        state = "decided" if entry.decided else "in the file" if entry.truth is not None else "to do"
        by = entry.value.get("by")
        return {"frame": entry.frame, "words": entry.words, "state": state, "by": by if isinstance(by, str) else ""}

    def saved(self) -> dict[str, Any]:
        """Whether the file holds what was decided; else how many lines it lacks, and why."""
        with self._lock:
            lacking = sum(line.is_changed for line in self.file.lines)
            return {"saved": self.file.is_saved, "lacking": lacking, "problem": self._problem,
                    "by_somebody_else": self._by_somebody_else, "undoable": len(self._changes)}  # fmt: skip

    def case(self, number: int, *, reveal: bool = False) -> dict[str, Any]:
        """Content of the page for a case."""
        with self._lock:
            entry = self._entry(number)
            look = self._look(entry.frame, entry.words)
            entry.shown |= reveal or entry.decided or not self.blind
            shows, answer, resolution = entry.shown, None, look.resolution
            if shows and resolution is not None:
                answer = {
                    "status": resolution.status.value,
                    "message": resolution.answer.words if resolution.answer is not None else resolution.message,
                    "id": None if resolution.target is None else resolution.target.id,
                    "confidence": round(resolution.confidence, 4),
                }
            return {
                **self._listed(entry),
                "name": self.frame_names[entry.frame],
                "size": look.size,
                "problem": look.problem,
                "truth": entry.truth,
                "seen": entry.seen,
                "kind": _kinds(entry.value),
                "detections": [
                    {"id": one.id, "label": one.label, "score": round(one.score, 3), "box": list(one.box_xyxy)}
                    for one in look.detections
                ],
                "by_id": look.by_id,
                "ground": None if look.ground is None else look.ground.json(),
                "answer": answer,
                "proposal": dict(look.proposal) if shows else None,
                "differs": shows
                and entry.truth is not None
                and not truth_proposal.same_truth(entry.truth, look.proposal),
            }

    def image(self, frame: int) -> Rgb | None:
        """The colour image of a frame; None if it cannot be read."""
        with self._lock:
            loaded = self._loaded(self._checked("frame", frame, self.frame_names))
            return None if isinstance(loaded, SpatialVlmError) else loaded[0].frame.rgb

    def _load(self, frame: int) -> tuple[FrameToLabel, ObservedFrame] | SpatialVlmError:
        try:
            there = self._source.load(frame)
            return there, self._resolver.look_at(there.frame, there.detections)
        except SpatialVlmError as error:
            return error
        except Exception as error:  # a fault of ours costs one frame, not the page
            _log.exception("unexpected exception while reading frame %s", self.frame_names[frame])
            return InternalError.of(error)

    def _look_at(self, frame: int, words: str) -> LabelLook:
        loaded = self._loaded(frame)
        if isinstance(loaded, SpatialVlmError):
            return LabelLook(None, problem=str(loaded))
        there, observed = loaded
        answered, ground = observed.ask(words, self._reference), None
        with contextlib.suppress(SpatialVlmError):
            scene = answered.scene
            if scene is None:  # refused before it was lifted: the words were not understood
                scene = self._resolver.observe(there.frame, answered.detections)
            ground = truth_proposal.ground_of(scene, there.base_T_camera)
        by_id = there.detections is not None
        truth = truth_proposal.proposed(answered.resolution, answered.detections, ground, by_id=by_id)
        size = (there.frame.camera.width, there.frame.camera.height)
        return LabelLook(answered.resolution, answered.detections, ground, size, truth, by_id)

    def _entry(self, number: int) -> _Entry:
        return self._entries[self._checked("case", number, self._entries)]

    @staticmethod
    def _checked(what: str, number: int, there: Sequence[object]) -> int:
        if not 0 <= number < len(there):
            raise InputError(what, str(number), f"a {what} of the page", "reload the page")
        return number

    # -------------------------------------------------------------------------------------------- deciding

    def decide(
        self, number: int, truth: object, kind: object = None, words: str | None = None, *, seen: str | None = None
    ) -> dict[str, Any]:
        """Store a person's truth for a case, and save the file.

        `kind`: what the case tries; None = as it stands. `words` and `seen` (of `case`) are what the person saw, None =
        not checked: numbers change when a sentence is added, and another tab may have decided since. Returns the case
        as `overview` lists it, how its truth was made ("by"), whether the answer is the same, and `saved`.
        """
        with self._lock:
            entry = self._entry(number)
            if words is not None and words != entry.words:
                raise StaleCaseError(f"the page shows {words!r}, but case {number + 1} is {entry.words!r} now")
            if seen is not None and seen != entry.seen:
                elsewhere = "this case was changed elsewhere, such as in another tab, since the page showed it"
                raise StaleCaseError(elsewhere)
            look = self._look(entry.frame, entry.words)
            known = {one.id for one in look.detections}
            earlier = [] if entry.truth is None else [entry.truth, entry.truth.get("place"), entry.truth.get("answer")]
            for part in (one for one in earlier if isinstance(one, Mapping)):  # it may be about other detections
                for value in map(part.get, ("id", "id_also", "anchor_id", "ids")):
                    known |= {one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)}
            with_place = entry.truth is not None and "place" in entry.truth  # written when the pose was known
            with_place |= look.ground is not None and look.ground.frame_id is not None
            checked = truth_proposal.checked_truth(truth, known, look.size, with_place=with_place)
            as_it_was = entry.truth is not None and (
                truth_proposal.same_truth(checked, entry.truth)
                or (isinstance(truth, Mapping) and truth_proposal.same_truth(truth, entry.truth))
            )
            named = next((one for one in look.detections if "box" in checked and one.id == checked.get("id")), None)
            if named is not None:
                x1, y1, x2, y2 = checked["box"]
                if float(overlaps((x1, y1, x2, y2), named.box_xyxy)[0, 0]) < _SAME_OBJECT:
                    del checked["id"]  # the box is of another object; `evaluate` refuses both together
            kinds, agrees = truth_proposal.checked_kind(kind), truth_proposal.same_truth(checked, look.proposal)
            before = None if entry.line is None else entry.line.raw
            change = entry, before, entry.decided, False
            unchanged = as_it_was and (kinds is None or kinds == _kinds(entry.value))
            if not unchanged:  # looked at and left as it is: the line keeps its bytes
                by: truth_proposal.Maker = "written" if not entry.shown else "accepted" if agrees else "corrected"
                naming = self._source.naming(entry.frame)
                self._write(entry, truth_proposal.case_line(entry.value, naming, entry.words, kinds, checked, by))
            entry.decided = True
            self._changes.append(change)
            self._try_to_save()
            listed = self._listed(entry)
            return {"case": listed, "by": listed["by"], "unchanged": unchanged, "agrees": agrees, **self.saved()}

    def add(self, frame: int, words: str) -> int:
        """Add a sentence to a frame; it is saved at once, without a truth."""
        with self._lock:
            words = words.strip()
            truth_proposal.check_sentence(words)
            self._checked("frame", frame, self.frame_names)
            if any(entry.frame == frame and entry.words == words for entry in self._entries):
                repair = "choose the existing one in the list"
                raise InputError("sentence", repr(words), "a new sentence for this frame", repair)
            entry = _Entry(frame, words)
            last = max((n for n, one in enumerate(self._entries) if one.frame <= frame), default=-1)
            self._entries.insert(last + 1, entry)
            self._write(entry, {**self._source.naming(frame), "instruction": words})
            self._changes.append((entry, None, False, True))
            self._try_to_save()
            return last + 1

    def undo(self) -> int | None:
        """Undo the last decision, also in the file; returns the number of its case, or None."""
        with self._lock:
            if not self._changes:
                return None
            entry, before, decided, is_new = self._changes.pop()
            entry.decided, number = decided, self._entries.index(entry)
            if entry.line is not None and before is not None:
                entry.line.set(before)
            elif entry.line is not None:
                self.file.remove(entry.line)
                entry.line = None
            if is_new:
                self._entries.remove(entry)
            self._try_to_save()
            return min(number, len(self._entries) - 1) if self._entries else None

    def _write(self, entry: _Entry, value: Mapping[str, Any]) -> None:
        if entry.line is None:
            entry.line = self.file.add(value)
        else:
            self.file.put(entry.line, value)

    # -------------------------------------------------------------------------------------------- saving

    def save(self, *, merge: bool = False) -> dict[str, Any]:
        """Save unsaved changes."""
        with self._lock:
            if merge and self._by_somebody_else:
                try:
                    self.file.rebase()
                except FileError as error:
                    self._problem = str(error)
                    return self.saved()
                # What was decided stays decided; what was done cannot be undone.
                before = {(entry.frame, entry.words): entry for entry in self._entries}
                self._list_cases()
                for entry in self._entries:
                    known = before.get((entry.frame, entry.words))
                    if known is not None:
                        entry.shown = known.shown
                        entry.decided = known.decided and entry.truth is not None  # it may be gone from the file
                self._changes.clear()
            self._try_to_save()
            return self.saved()

    def _try_to_save(self) -> None:
        self._problem, self._by_somebody_else = "", False
        try:
            self.file.save()
        except FileChangedError as error:
            self._problem, self._by_somebody_else = str(error), True
        except FileError as error:
            self._problem = str(error)

    def close(self) -> Path | None:
        """Save a last time; if that fails, write this page's lines to another file beside it, and return that."""
        with self._lock:
            self._try_to_save()
            if self.file.is_saved:
                return None
            beside = self.file.path.with_name(self.file.path.name + UNSAVED)
            replace_file(beside, b"".join(line + b"\n" for line in self.unsaved_lines()))
            return beside

    def unsaved_lines(self) -> tuple[bytes, ...]:
        """Lines that the file lacks, without their ends."""
        with self._lock:
            return tuple(line.raw for line in self.file.lines if line.is_changed)


def _kinds(value: Mapping[str, Any]) -> list[str]:
    kind = value.get("kind")
    return [one for one in kind if isinstance(one, str)] if isinstance(kind, list) else []


# ------------------------------------------------------------------------------------------------ page


_HERE = Path(__file__).resolve().parent
_QUALITY = 92  # of JPEG
_FORM_HEADER = "x-form-token"
_FREQUENT = ("OK", "ANSWERED", "NOT_FOUND", "AMBIGUOUS", "RELATION_UNSATISFIED", "OCCLUDED", "NO_PLACE",
             "NOT_UNDERSTOOD", "FRAME_UNDEFINED", "DEPTH_INVALID", "LOW_CONFIDENCE")  # fmt: skip

Handler = Callable[[Request], Awaitable[Response]]


def serve_labels(labels: LabelSession, title: str, port: int = 0) -> Page:
    """Serve the page of a session on 127.0.0.1, on any free port by default; who has its `url` can change the file."""

    def application(guard: Guard, names: frozenset[str]) -> Shield:
        door = Door(guard, names, "label", _HERE)
        page = _LabelPage(labels, title, guard, door)
        routes = [
            Route("/", page.show, methods=["GET"]),
            Route("/cases", page.answers(lambda *_: labels.overview()), methods=["GET"]),
            Route("/case/{number:int}", page.answers(page.case), methods=["GET"]),
            Route("/case/{number:int}", page.answers(page.decide, changes=True), methods=["POST"]),
            Route("/image/{number:int}", page.image, methods=["GET"]),
            Route("/add", page.answers(page.add, changes=True), methods=["POST"]),
            Route("/undo", page.answers(page.undo, changes=True), methods=["POST"]),
            Route("/save", page.answers(page.save, changes=True), methods=["POST"]),
            Route("/static/{name}", door.static, methods=["GET"]),
            Route("/sign-in", page.sign_in, methods=["POST"]),
        ]
        return Shield(Starlette(routes=routes, exception_handlers={Exception: _failed}), names, _unrecorded)

    return serve_page(application, "127.0.0.1", port, thread="labelling page")


class _LabelPage:
    def __init__(self, labels: LabelSession, title: str, guard: Guard, door: Door) -> None:
        self._labels, self._title, self._guard, self._door = labels, title, guard, door

    # -------------------------------------------------------------------------------------------- pages

    async def show(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if token is not None:
            return self._signed_in(request, token)
        session = self._door.session(request)
        if session is None:
            return self._door.shown("label_sign_in.html.j2", 401, problem=None)
        others = [one.value for one in Status if one.value not in _FREQUENT]
        return self._door.shown(
            "label.html.j2", 200, what=self._title, file=str(self._labels.file.path), session=session,
            blind=self._labels.blind, frequent=_FREQUENT, others=others, relations=sorted(RELATIONS),
            frames=self._labels.frame_names,
        )  # fmt: skip

    async def sign_in(self, request: Request) -> Response:
        if self._door.is_foreign(request):
            return self._door.shown("label_sign_in.html.j2", 403, problem="This form came from another site.")
        try:
            form = await read_form(request)
        except InputError as error:
            return self._door.shown("label_sign_in.html.j2", 400, problem=str(error))
        return self._signed_in(request, form.get("token", ""))

    def _signed_in(self, request: Request, token: str) -> Response:
        tried = self._door.try_token(request, token)
        if tried.secret is not None:
            return self._door.let_in(request, tried.secret)
        words = "This token is wrong. Use the link that the command printed."
        return self._door.shown("label_sign_in.html.j2", 403, problem=words)

    async def image(self, request: Request) -> Response:
        if self._door.session(request) is None:
            return Response(status_code=401, headers={"WWW-Authenticate": "Cookie"})
        try:
            data = await run_in_threadpool(self._jpeg, request.path_params["number"])
        except InputError:
            data = None
        if data is None:
            return Response("this frame has no image", 404, media_type="text/plain")
        return Response(data, media_type="image/jpeg")

    def _jpeg(self, number: int) -> bytes | None:
        rgb = self._labels.image(number)
        if rgb is None:
            return None
        done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return bytes(data.tobytes()) if done else None

    # -------------------------------------------------------------------------------------------- data

    def answers(self, answer: Callable[[Request, Mapping[str, Any]], Any], *, changes: bool = False) -> Handler:
        """A handler that answers in JSON, in a thread; `changes` only from our page, with the session's form token."""

        async def handle(request: Request) -> Response:
            session = self._door.session(request)
            if session is None:
                return _refused("sign in: open the link that the command printed", 401)
            token = request.headers.get(_FORM_HEADER, "")
            if changes and (self._door.is_foreign(request) or not self._guard.is_form_of(session, token)):
                return _refused("this request is not from your session. Reload the page", 403)
            try:
                given = await read_json(request, LARGEST_TRUTH) if changes else {}
                return JSONResponse(await run_in_threadpool(answer, request, given))
            except StaleCaseError as error:
                return _refused(str(error), 409)
            except SpatialVlmError as error:
                return _refused(str(error), 400)

        return handle

    def case(self, request: Request, _: Mapping[str, Any]) -> dict[str, Any]:
        return self._labels.case(request.path_params["number"], reveal="reveal" in request.query_params)

    def decide(self, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
        words, seen = given.get("words"), given.get("seen")
        if not isinstance(words, str):
            raise InputError("case", "no sentence", "the sentence that was shown", "reload the page")
        if seen is not None and not isinstance(seen, str):
            raise InputError("case", "no text in `seen`", "the case as the page showed it", "reload the page")
        number = request.path_params["number"]
        return self._labels.decide(number, given.get("expect"), given.get("kind"), words, seen=seen)

    def add(self, _: Request, given: Mapping[str, Any]) -> dict[str, Any]:
        frame, words = given.get("frame"), given.get("words")
        if not isinstance(frame, int) or isinstance(frame, bool) or not isinstance(words, str):
            raise InputError("sentence", "no sentence or no frame", "both", "type a sentence")
        return {"case": self._labels.add(frame, words), **self._labels.saved()}

    def undo(self, *_: object) -> dict[str, Any]:
        return {"case": self._labels.undo(), **self._labels.saved()}

    def save(self, _: Request, given: Mapping[str, Any]) -> dict[str, Any]:
        return self._labels.save(merge=given.get("merge") is True)


def _refused(words: str, status: int) -> Response:
    headers = {"WWW-Authenticate": "Cookie"} if status == 401 else None
    return JSONResponse({"error": words}, status, headers)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as Starlette calls it
    return JSONResponse({"error": "the page failed; the terminal shows the error"}, 500)


async def _unrecorded(why: str, request: Request) -> None:
    """Refused requests are on no record: nothing is approved here."""
