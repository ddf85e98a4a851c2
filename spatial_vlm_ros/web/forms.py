# SPDX-License-Identifier: Apache-2.0
"""Read forms and JSON from browsers, with limits on size and time. Needs Starlette."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from spatial_vlm_ros.budgets import ASKS_WITHIN, LARGEST_FORM
from spatial_vlm_ros.errors import InputError


async def read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form."""
    body = await _body(request, "form", "application/x-www-form-urlencoded", LARGEST_FORM, "use the forms of the page")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=20
        )
    except ValueError as error:
        raise InputError("form", "it has another encoding", "URL-encoded UTF-8", "use the forms of the page") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InputError("form", "a field occurs twice", "each field once", "use the forms of the page")
    return form


async def read_json(request: Request, largest: int) -> dict[str, Any]:
    """Read a JSON object of up to `largest` bytes."""
    try:
        value = json.loads(await _body(request, "request", "application/json", largest, "use the page"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError("request", "it has another encoding", "JSON in UTF-8", "use the page") from error
    if not isinstance(value, dict):
        raise InputError("request", type(value).__name__, "a JSON object", "use the page")
    return value


async def _body(request: Request, what: str, kind: str, largest: int, repair: str) -> bytes:
    async def read() -> bytes:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                raise InputError(what, "it is too long", f"at most {largest} bytes", "shorten it")
        return body

    if request.headers.get("content-type", "").split(";")[0].strip() != kind:
        raise InputError(what, "it has another content type", kind, repair)
    try:
        return await asyncio.wait_for(read(), ASKS_WITHIN)
    except (asyncio.TimeoutError, ClientDisconnect) as error:
        raise InputError(what, "it is incomplete", f"all of it within {ASKS_WITHIN:g} s", "send it again") from error
