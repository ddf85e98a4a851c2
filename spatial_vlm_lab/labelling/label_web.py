# SPDX-License-Identifier: Apache-2.0
"""The labelling page as a web application, and how it is served on this machine. Needs Starlette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_ros.errors import InputError, SpatialVlmError, StaleCaseError
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.web.door import Door, Shield
from spatial_vlm_ros.web.forms import read_form, read_json
from spatial_vlm_ros.web.guard import Guard
from spatial_vlm_ros.web.serving import Page, serve_page

_HERE = Path(__file__).resolve().parent
_LARGEST = 64 * 1024  # bytes of a truth
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
                given = await read_json(request, _LARGEST) if changes else {}
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
