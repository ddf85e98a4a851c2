# SPDX-License-Identifier: Apache-2.0
"""The approval page as a web application. Imported only by `page.serve`, because it needs Starlette."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from spatial_vlm_ros.errors import AuditError, InputError, SpatialVlmError
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker, ApprovalStage
from spatial_vlm_ros.manipulation.approval.proposal import Decision, PersonAnswer, Proposal, check_operator, media_type
from spatial_vlm_ros.types import CHOSEN_BY_MODEL, Vector3
from spatial_vlm_ros.web.door import Door, Shield, read_form
from spatial_vlm_ros.web.guard import Guard, Session

_HERE = Path(__file__).parent
_STOPS_AT_ONCE = 8
_STATUS = {"INVALID_INPUT": 400, "REJECTED": 409, "APPROVAL_EXPIRED": 410, "CANCELLED": 410}

Handler = Callable[[Request], Awaitable[Response]]


WIDTH, HEIGHT = 240, 200
_EDGE = 30  # px around the path
_LEAST = 0.05  # metres that a drawing spans at least
_BARS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # metres


@dataclass(frozen=True)
class SideView:
    """One drawing, in pixels of a WIDTH by HEIGHT image, y down.

    Args:
        right: axis of the planning frame that points right, "x" or "−y"; `up`: the one that points up.
        points: (N, 2) points of the path, pixels.
        bar: length of the scale bar, pixels.
    """

    title: str
    right: str
    up: str
    points: tuple[tuple[float, float], ...]
    bar: float
    bar_metres: float

    @property
    def line(self) -> str:
        """The points in SVG format."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def side_views(path: Sequence[Vector3]) -> tuple[SideView, SideView]:
    """Draw a path, in metres in the planning frame (x ahead, y left, z up), from above and from the side."""
    above = [(-y, x) for x, y, _ in path]
    side = [(x, z) for x, _, z in path]
    span = max(_span(above), _span(side))
    scale = (HEIGHT - 2 * _EDGE) / span
    metres = max((bar for bar in _BARS if bar <= span / 2), default=_BARS[0])
    return (
        SideView("From above", "−y", "x", _placed(above, scale), metres * scale, metres),
        SideView("From the side", "x", "z", _placed(side, scale), metres * scale, metres),
    )


def _span(points: Sequence[tuple[float, float]]) -> float:
    return max(_LEAST, *(max(p[axis] for p in points) - min(p[axis] for p in points) for axis in (0, 1)))


def _placed(points: Sequence[tuple[float, float]], scale: float) -> tuple[tuple[float, float], ...]:
    middle = [(max(p[axis] for p in points) + min(p[axis] for p in points)) / 2 for axis in (0, 1)]
    return tuple((WIDTH / 2 + (x - middle[0]) * scale, HEIGHT / 2 - (y - middle[1]) * scale) for x, y in points)


def application(broker: ApprovalBroker, guard: Guard, names: frozenset[str]) -> Shield:
    """Build the web application."""
    door = Door(guard, names, "approval", _HERE)
    office = _Office(broker, guard, door)
    routes = [
        Route("/", office.show, methods=["GET"]),
        Route("/state", office.state, methods=["GET"]),
        Route("/picture/{hash}", office.image, methods=["GET"]),
        Route("/motion/{hash}", office.motion, methods=["GET"]),
        Route("/static/{name}", door.static, methods=["GET"]),
        Route("/sign-in", office.sign_in, methods=["POST"]),
        Route("/name", office.post(office.name), methods=["POST"]),
        Route("/decide", office.post(office.decide), methods=["POST"]),
        Route("/answer", office.post(office.answer), methods=["POST"]),
        Route("/stop", office.post(office.stop), methods=["POST"]),
    ]
    return Shield(Starlette(routes=routes, exception_handlers={Exception: office.failed}), names, office.refused)


class _Office:
    def __init__(self, broker: ApprovalBroker, guard: Guard, door: Door) -> None:
        self._broker, self._guard, self._door = broker, guard, door
        # Separate threads: the others may all be waiting for the disk.
        self._stopping = ThreadPoolExecutor(_STOPS_AT_ONCE, "stop")
        door.templates.globals.update(ApprovalStage=ApprovalStage, CHOSEN_BY_MODEL=CHOSEN_BY_MODEL)

    async def show(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if token is not None:
            return await self._signed_in(request, token)
        session = self._door.session(request)
        if session is None:
            return self._door.shown("sign_in.html.j2", 401, title="Sign in", problem=None)
        view = self._broker.view
        item = view.on_page
        preview = item.preview if isinstance(item, Proposal) else None
        shown: dict[str, str] | None = None  # content → address, for a motion and its images
        if isinstance(item, Proposal) and preview is not None and preview.motion is not None:
            images = {"camera": item.image, "above": preview.above, "side": preview.side, "scene": preview.scene}
            shown = {name: f"/picture/{_hash(image)}" if image is not None else "" for name, image in images.items()}
            shown["motion"] = f"/motion/{_hash(preview.motion)}"
        drawn = preview is not None and not preview.above and len(preview.tip_path) > 1
        return self._door.shown(
            "status.html.j2",
            200,
            title=view.stage.value,
            view=view,
            session=session,
            image=_hash(item.image) if item and item.image else None,
            preview=preview,
            shown=shown,
            preview_image=_hash(preview.image) if preview and preview.image else None,
            drawing=side_views(preview.tip_path) if preview and drawn else None,
        )

    async def state(self, request: Request) -> Response:
        if self._door.session(request) is None:
            return JSONResponse({"error": "sign in"}, 401, {"WWW-Authenticate": "Cookie"})
        view = self._broker.view
        return JSONResponse({"mark": view.mark, "remaining": view.remaining})

    async def image(self, request: Request) -> Response:
        if self._door.session(request) is None:
            return Response(status_code=401, headers={"WWW-Authenticate": "Cookie"})
        item = self._broker.view.on_page
        preview = item.preview if isinstance(item, Proposal) else None
        for image in (item.image if item else None, *(preview.images if preview is not None else ())):
            if image is not None and _hash(image) == request.path_params["hash"]:
                return Response(image, media_type=media_type(image))
        return Response("this image is no longer available", 404, media_type="text/plain")

    async def motion(self, request: Request) -> Response:
        if self._door.session(request) is None:
            return Response(status_code=401, headers={"WWW-Authenticate": "Cookie"})
        item = self._broker.view.on_page
        data = item.preview.motion if isinstance(item, Proposal) and item.preview is not None else None
        if data is None or _hash(data) != request.path_params["hash"]:
            return Response("this motion is no longer available", 404, media_type="text/plain")
        return Response(data, media_type="application/json")

    async def sign_in(self, request: Request) -> Response:
        if self._door.is_foreign(request):
            await self.refused("another site sent the form", request)
            return self._message("Not accepted", "This form came from another site.", 403)
        try:
            form = await read_form(request)
        except InputError as error:
            return self._message("Not accepted", str(error), 400)
        return await self._signed_in(request, form.get("token", ""))

    async def _signed_in(self, request: Request, token: str) -> Response:
        tried = self._door.try_token(request, token)
        if tried.secret is None and tried.wait:
            words = f"Too many wrong tokens from this machine. Try again in {math.ceil(tried.wait)} s."
            response = self._door.shown("sign_in.html.j2", 429, title="Sign in", problem=words)
            response.headers["Retry-After"] = str(math.ceil(tried.wait))
            return response
        if tried.secret is None:
            await self.refused("a wrong token", request)
            return self._door.shown("sign_in.html.j2", 403, title="Sign in", problem="This token is wrong.")
        try:
            await run_in_threadpool(self._broker.audit.add, "SIGNED_IN", remote=_remote(request))
        except AuditError as error:
            return self._message("Not signed in", str(error), 503)
        return self._door.let_in(request, tried.secret)

    def post(self, action: Callable[[Mapping[str, str], Session, Request], Awaitable[None]]) -> Handler:
        """Handler of a form; accepts only our own page, in a session, with the session's token."""

        async def handle(request: Request) -> Response:
            session = self._door.session(request)
            if session is None:
                await self.refused("a form without a session", request)
                return self._door.shown("sign_in.html.j2", 401, title="Sign in", problem="Sign in, then decide again.")
            if self._door.is_foreign(request):
                await self.refused("another site sent the form", request)
                return self._message("Not accepted", "This form came from another site.", 403)
            try:
                form = await read_form(request)
                if not self._guard.is_form_of(session, form.get("form_token", "")):
                    await self.refused("a form with a wrong token", request)
                    return self._message("Not accepted", "This form is not from your session. Reload the page.", 403)
                await action(form, session, request)
            except AuditError as error:
                return self._message("Not accepted", str(error), 503)
            except SpatialVlmError as error:
                if isinstance(error, InputError):
                    await self.refused(str(error), request, operator=session.operator)
                return self._message("Not accepted", str(error), _STATUS.get(error.status_name, 400))
            return RedirectResponse("/", 303)

        return handle

    async def name(self, form: Mapping[str, str], session: Session, request: Request) -> None:
        operator = form.get("operator", "").strip()
        check_operator(operator)
        await run_in_threadpool(
            self._broker.audit.add, "NAMED", operator=operator, before=session.operator, remote=_remote(request)
        )
        self._guard.name(self._door.secret(request), operator)

    async def decide(self, form: Mapping[str, str], session: Session, request: Request) -> None:
        said = {"approve": True, "reject": False}.get(form.get("decision", ""))
        if said is None:
            raise InputError("decision", repr(form.get("decision")), "approve or reject", "use the page's buttons")
        stamp = form.get("scene_stamp_ns", "")
        decision = Decision(
            form.get("goal_id", ""),
            int(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < 20 else -1,
            form.get("plan_hash", ""),
            said,
            session.operator,
            form.get("reason", "").strip(),
        )
        await run_in_threadpool(self._broker.decide, decision, _remote(request))

    async def answer(self, form: Mapping[str, str], session: Session, request: Request) -> None:
        answer = PersonAnswer(form.get("dialogue_id", ""), form.get("text", "").strip(), session.operator)
        await run_in_threadpool(self._broker.answer, answer, _remote(request))

    async def stop(self, form: Mapping[str, str], session: Session, request: Request) -> None:  # noqa: ARG002
        request_stop = partial(self._broker.request_stop, session.operator or "unnamed", _remote(request))
        await asyncio.get_running_loop().run_in_executor(self._stopping, request_stop)

    async def refused(self, why: str, request: Request, **facts: Any) -> None:
        """Record that a request was refused, unless there are too many; a full disk does not undo the refusal."""
        unrecorded = self._broker.brakes["ACCESS_REFUSED"].recordable()
        if unrecorded is None:
            return
        facts["unrecorded_before"] = unrecorded
        facts["path"] = request.scope["path"][:200]
        try:
            await run_in_threadpool(
                self._broker.audit.add, "ACCESS_REFUSED", outcome=why, remote=_remote(request), **facts
            )
        except AuditError:
            return

    async def failed(self, request: Request, error: Exception) -> Response:
        await self.refused(f"the page failed: {type(error).__name__}. Report this", request)
        return Response("the page failed; the error is in the log", 500, media_type="text/plain")

    def _message(self, title: str, words: str, status: int) -> Response:
        return self._door.shown("message.html.j2", status, title=title, words=words)


def _hash(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


def _remote(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else "unknown"
