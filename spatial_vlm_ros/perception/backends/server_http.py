# SPDX-License-Identifier: Apache-2.0
"""One JSON request to one HTTP server, within limits of time and size that hold whatever the server does.

Handles HTTP, time and secrets, not images or models. Every attempt has its own connection, so that no failure reaches
the next request. Proxies of the environment are not used: an image goes only to the named host.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import math
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.perception.backends.server_address import Address
from spatial_vlm_ros.perception.backends.server_wire import Connection, Deadline, Wire

_BUSY_OR_AWAY = frozenset({429, 502, 503, 504})  # worth another attempt
_MOST_REDIRECTS = 3
_FIRST_PAUSE_S = 0.25  # doubled before each further attempt
_LONGEST_WORDS = 300  # characters of a server's own message


class ServerDownError(ModelError):
    """The server cannot be reached or cannot serve; another model may answer in its place.

    Args:
        retry_after_s: seconds to wait, as the server asks; None = not given.
    """

    def __init__(
        self, model: str, reason: str, repair: str, *, transient: bool = False, retry_after_s: float | None = None
    ) -> None:
        self.transient, self.retry_after_s = transient, retry_after_s
        super().__init__(model, reason, repair)


class ServerTimeoutError(ServerDownError, ModelTimeoutError):
    """The server exceeded a time limit."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one request.

    Args:
        connect_s: finding the host, connecting and TLS, seconds.
        read_s: longest silence of the server, seconds; a model is silent while it computes.
        budget_s: the whole request with all its attempts and pauses, seconds.
        most_bytes: most bytes of a reply.
    """

    connect_s: float = 3.0
    read_s: float = 20.0
    budget_s: float = 25.0
    retries: int = 2
    most_bytes: int = 1 << 22

    def __post_init__(self) -> None:
        for name in ("connect_s", "read_s", "budget_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise InputError(name, str(getattr(self, name)), "a positive number of seconds")
        for name, least in (("retries", 0), ("most_bytes", 1)):
            if getattr(self, name) < least:
                raise InputError(name, str(getattr(self, name)), f"at least {least}")


@dataclass(frozen=True)
class Credential:
    """An API key and the environment variable it came from; no text of this object contains the key."""

    key: str = field(repr=False)
    variable: str


class Client:
    """Posts JSON to one server.

    Args:
        credential: sent as a bearer token; or None.
        tls: trusted certificates for https; None = those the system trusts.
    """

    def __init__(
        self,
        address: Address,
        limits: RequestLimits,
        name: str,
        credential: Credential | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address, self._limits, self._name, self._credential = address, limits, name, credential
        self._tls = tls
        if address.scheme == "https" and tls is None:
            self._tls = ssl.create_default_context()

    def deadline(self) -> Deadline:
        """Deadline of a request that begins now."""
        return Deadline(time.monotonic() + self._limits.budget_s)

    def post(self, path: str, body: bytes, deadline: Deadline | None = None) -> bytes:
        """Send a JSON body and return the body of the response 200; retry if the server is busy or unreachable.

        Args:
            path: path after the address's own path.
            body: JSON bytes.
            deadline: deadline shared by several posts of one request; None = one of its own.
        """
        deadline = deadline or self.deadline()
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._follow(self._address.path + path, body, deadline)
            except ServerDownError as error:
                pause = error.retry_after_s if error.retry_after_s is not None else _FIRST_PAUSE_S * 2 ** (attempt - 1)
                if not error.transient or attempt > self._limits.retries or pause >= deadline.remaining():
                    if attempt == 1:
                        raise
                    reason = f"{error.reason} (attempt {attempt})"
                    raise type(error)(self._name, reason, error.repair) from error
            time.sleep(pause)

    def _follow(self, target: str, body: bytes, deadline: Deadline) -> bytes:
        """Make one attempt and follow redirects that stay on the same server."""
        for _ in range(_MOST_REDIRECTS + 1):
            status, headers, data = self._exchange(target, body, deadline)
            if not 300 <= status < 400:
                if status == 200:
                    return data
                raise self._refusal(status, headers, data)
            location = headers.get("Location", "")
            moved = self._address.redirected(target, location) if status in (307, 308) else None
            if moved is None:
                where = _printable(location.encode("latin-1", "replace"), self._credential) or "nowhere"
                reason = f"it answered {status} and redirects to {where}, which is not followed"
                raise ModelError(self._name, reason, "set url to the final address, if you trust it")
            target = moved
        raise ModelError(self._name, f"it redirected more than {_MOST_REDIRECTS} times", "set url to the final address")

    def _exchange(self, target: str, body: bytes, deadline: Deadline) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Make one request on its own connection: status, headers, body."""
        with self._failures_translated(deadline, f"did not connect within {self._limits.connect_s:g} s"):
            sock = self._connected(deadline)
        silent = f"was silent for {self._limits.read_s:g} s"
        with contextlib.closing(sock), self._failures_translated(deadline, silent):
            connection = Connection(self._address, Wire(sock, self._limits.read_s, deadline))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before closing
                connection.request("POST", target, body, self._headers())
            with connection.getresponse() as response:
                return response.status, response.headers, self._body(response)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        most = self._limits.most_bytes
        if (response.length or 0) > most:
            raise self._too_long()
        data = response.read(most + 1)
        if len(data) > most:
            raise self._too_long()
        if response.length:
            raise ServerDownError(
                self._name, f"it closed the connection {response.length} bytes before its reply ended", _SEE_LOG
            )
        return data

    def _too_long(self) -> ModelError:
        reason = f"its reply is longer than {self._limits.most_bytes} bytes"
        return ModelError(
            self._name, reason, "check that url belongs to a model server; lower max_tokens, or logprobs=no"
        )

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "spatial_vlm_ros",
        }
        if self._credential is not None:
            headers["Authorization"] = f"Bearer {self._credential.key}"
        return headers

    def _connected(self, deadline: Deadline) -> socket.socket:
        """Open a socket, with TLS if the address needs it."""
        connecting = Deadline(min(deadline.at, time.monotonic() + self._limits.connect_s))
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in self._addresses(connecting):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(connecting.left())
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is None:
                    return sock
                sock.settimeout(connecting.left())
                return self._tls.wrap_socket(sock, server_hostname=self._address.host)
            except ssl.SSLError:
                sock.close()
                raise
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _addresses(self, deadline: Deadline) -> list[Any]:
        """Look the host up on a separate thread, because the system's resolver has no time limit."""
        answer: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

        def look() -> None:
            try:
                answer.put(socket.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM))
            except OSError as error:
                answer.put(error)
            except UnicodeError as error:
                answer.put(socket.gaierror(socket.EAI_NONAME, str(error)))

        threading.Thread(target=look, name="model server look-up", daemon=True).start()
        try:
            found = answer.get(timeout=deadline.left())
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(found, OSError):
            raise found
        return found

    @contextlib.contextmanager
    def _failures_translated(self, deadline: Deadline, late: str) -> Iterator[None]:
        """Turn network and HTTP errors into a ModelError with advice; `late` says what a timeout means."""
        try:
            yield
        except TimeoutError as error:
            spent = deadline.remaining() <= 0.0
            reason = f"it gave no complete reply within {self._limits.budget_s:g} s" if spent else f"it {late}"
            raise ServerTimeoutError(self._name, reason, _SLOW) from error
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not valid: {error.verify_message}"
            raise ModelError(self._name, reason, "set ca_file to the certificate authority that signed it") from error
        except ssl.SSLError as error:
            reason = f"TLS failed: {error.reason or 'it closed the connection'}"
            raise ModelError(self._name, reason, "use http in url if the server has no TLS") from error
        except ConnectionRefusedError as error:
            raise ServerDownError(self._name, "no server listens there", _START, transient=True) from error
        except socket.gaierror as error:
            reason = f"its host has no address: {error.strerror}"
            raise ServerDownError(self._name, reason, "check url and the name service") from error
        except (ConnectionError, http.client.IncompleteRead) as error:
            reason = f"it closed the connection before its reply ended ({type(error).__name__})"
            raise ServerDownError(self._name, reason, _SEE_LOG) from error
        except http.client.HTTPException as error:
            reason = f"its reply is not valid HTTP ({type(error).__name__})"
            raise ModelError(self._name, reason, "check that url belongs to a model server") from error
        except OSError as error:
            raise ServerDownError(self._name, f"it cannot be reached: {error.strerror or error}", _START) from error

    def _refusal(self, status: int, headers: http.client.HTTPMessage, data: bytes) -> ModelError:
        """The error for a response other than 200, with the server's own message shortened and printable."""
        said = _printable(_message(data), self._credential)
        phrase = http.client.responses.get(status, "unknown status")
        reason = f"it answered {status} {phrase}" + (f": {said}" if said else "")
        if status in _BUSY_OR_AWAY:
            after = _retry_after(headers.get("Retry-After"))
            return ServerDownError(self._name, reason, _START, transient=True, retry_after_s=after)
        if status >= 500:
            return ServerDownError(self._name, reason, _SEE_LOG)
        return ModelError(self._name, reason, self._repair(status))

    def _repair(self, status: int) -> str:
        if status in (401, 403):
            if self._credential is None:
                return "set the option key_env to the environment variable that holds the API key"
            return f"check the API key in the environment variable {self._credential.variable}"
        if status in (404, 405):
            return f"check url and model; {self._address} should list its models at /models"
        if status == 413:
            return "lower longest_side"
        return "check model, and set schema=none or logprobs=no if the server does not know them"


_START = "start the server, check url, or set a fallback"
_SEE_LOG = "see the server's log"
_SLOW = "raise connect_timeout, read_timeout or budget, or use a faster model"


def _message(data: bytes) -> bytes:
    """The message in an error body: OpenAI's error.message, FastAPI's detail, or the body itself."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for name in ("error", "detail", "message"):
        if isinstance(body, dict) and body.get(name):
            body = body[name]
    return (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "replace")


def _printable(data: bytes, credential: Credential | None) -> str:
    """One line of printable characters, shortened, and without the key if the server repeats it."""
    text = data.decode("utf-8", "replace")
    if credential is not None:
        text = text.replace(credential.key, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 3] + "..."


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, a number or an HTTP date (RFC 9110 section 10.2.3); None = neither."""
    if value is None:
        return None
    if value.strip().isdecimal() and value.isascii():
        return float(value) if len(value) < 10 else math.inf
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, then - time.time())
