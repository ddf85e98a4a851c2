# SPDX-License-Identifier: Apache-2.0
"""Access control for a page: a token that opens sessions, accepted host names, and a rate limit for guesses.

The limit applies only to wrong tokens. The right token is always accepted, however many wrong ones came
before it: a token is too long to be guessed, and nobody must be able to keep the operator from the stop button.

Does not know web frameworks: texts in, verdicts out. Secrets are compared in constant time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError

_SECRET_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,}")  # a generated one has 43
_MOST_SESSIONS = 64  # the oldest one is dropped
_SESSION_LASTS = 12 * 3600.0  # s: a shift; then the token is needed again
_TRIES, _PER_SECONDS = 5, 60.0  # wrong tokens from one address
_MOST_ADDRESSES = 1000
_MOST_RECORDS = 30  # refused requests recorded in that time, so that nobody can fill the disk


@dataclass(frozen=True)
class Session:
    """One browser that has signed in with the token; `operator` is the name that was entered, or ""."""

    form_token: str
    operator: str
    remote: str
    until: float = math.inf
    """Monotonic time at which it ends, seconds."""


class RecordBrake:
    """Limit the recorded refusals to 30 a minute, so that nobody can fill the disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._recorded: deque[float] = deque(maxlen=_MOST_RECORDS)
        self.unrecorded = 0

    def recordable(self) -> int | None:
        """Number of unrecorded refusals before this one; None = this one must not be recorded either."""
        with self._lock:
            now = self._clock()
            if len(self._recorded) == _MOST_RECORDS and now - self._recorded[0] < _PER_SECONDS:
                self.unrecorded += 1
                return None
            self._recorded.append(now)
            unrecorded, self.unrecorded = self.unrecorded, 0
            return unrecorded


class Guard:
    """Tokens, of 256 random bits if none is given, and sessions of a page."""

    def __init__(self, token: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if token is None:
            token = secrets.token_urlsafe(_SECRET_BYTES)
        elif not _TOKEN.fullmatch(token):
            expected = "32 or more letters, digits, - and _"
            raise InputError("token of the page", f"{len(token)} characters", expected, "omit it to have one generated")
        self.token, self._clock, self._lock = token, clock, threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # by hash of the cookie
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # address → times of wrong tokens

    def sign_in(self, token: str, remote: str) -> str | None:
        """Open a session; return the secret for its cookie, or None for a wrong token."""
        if not _same(token, self.token):
            with self._lock:
                times = self._wrong.setdefault(remote, [])
                times.append(self._clock())
                del times[:-_TRIES]
                self._wrong.move_to_end(remote)
                while len(self._wrong) > _MOST_ADDRESSES:
                    self._wrong.popitem(last=False)
            return None
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._lock:
            until = self._clock() + _SESSION_LASTS
            self._sessions[_hashed(secret)] = Session(secrets.token_urlsafe(_SECRET_BYTES), "", remote, until)
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return secret

    def wait_before(self, remote: str) -> float:
        """Seconds until a wrong token from this address is recorded again; 0 = now."""
        with self._lock:
            times = self._wrong.get(remote, [])
            if len(times) < _TRIES:
                return 0.0
            return max(0.0, times[0] + _PER_SECONDS - self._clock())

    def session(self, secret: str | None) -> Session | None:
        """Session of a cookie, if it has not ended."""
        # Looked up by its hash, so that the time of the lookup reveals nothing about the secret.
        session = None if not secret else self._sessions.get(_hashed(secret))
        return session if session is not None and self._clock() < session.until else None

    def name(self, secret: str, operator: str) -> None:
        """Set the operator of a cookie's session."""
        with self._lock:
            key = _hashed(secret)
            if key in self._sessions:
                self._sessions[key] = dataclasses.replace(self._sessions[key], operator=operator)

    @staticmethod
    def is_form_of(session: Session, form_token: str) -> bool:
        """True if a form belongs to this session."""
        return _same(form_token, session.form_token)


def is_loopback(host: str) -> bool:
    """True if an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_of(host: str, port: int, further: Iterable[str] = ()) -> frozenset[str]:
    """Accepted values of the browser's Host header, lower case, with further ones such as "robot.lan:8080".

    A foreign name that was made to point here (DNS rebinding) is not among them.
    """
    hosts = {f"[{host}]" if ":" in host else host}
    if is_loopback(host):
        hosts |= {"localhost", "127.0.0.1", "[::1]"}
    with_port = {f"{name}:{port}" for name in hosts} | (hosts if port == 80 else set())
    return frozenset(with_port | {name.lower() for name in further})


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
