# SPDX-License-Identifier: Apache-2.0
"""One JSON request to one HTTP server, within limits of time and size that hold whatever the server does.

Handles addresses, HTTP, time and secrets, not images or models. Every attempt has its own connection, so that no
failure reaches the next request. Proxies of the environment are not used: an image goes only to the named host.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import json
import math
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from spatial_vlm_ros.errors import FileError, InputError, ModelError, ModelTimeoutError, UnknownNameError

DEFAULT_URL = "http://127.0.0.1:8000/v1"
_T = TypeVar("_T")
_PORTS = {"http": 80, "https": 443}
_BUSY_OR_AWAY = frozenset({429, 502, 503, 504})  # worth another attempt
_MOST_REDIRECTS = 3
_FIRST_PAUSE_S = 0.25  # doubled before each further attempt
_LONGEST_WORDS = 300  # characters of a server's own message
_CHUNK = 1 << 16  # bytes sent at once
_WRITE = "write it like http://127.0.0.1:8000/v1"
_START = "start the server, check url, or set a fallback"
_SEE_LOG = "see the server's log"
_SLOW = "raise connect_timeout, read_timeout or budget, or use a faster model"


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
class Address:
    """Address of a server's API.

    Args:
        scheme: "http" or "https".
        port: 1 to 65535.
        path: prefix of the API's own paths, without a final slash; usually "/v1".
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a URL.

        Raises:
            InputError: it is not an http or https URL, or it contains a user, a password, a query or a fragment. The
                message does not repeat a URL with a password.
        """
        parts = _split(url)
        if parts is None or parts.scheme not in _PORTS or not parts.hostname:
            shown = "one that cannot be read" if "@" in url else repr(url[:80])
            raise InputError("url of the model server", shown, "an http or https address", _WRITE)
        if "@" in parts.netloc:
            repair = "leave user and password out; set key_env to the variable that holds the API key"
            raise InputError("url of the model server", "a user or a password in it", "an address without them", repair)
        if parts.query or parts.fragment or not all(33 <= ord(c) <= 126 for c in url):
            what = "a query, a fragment, a space or a character outside ASCII"
            raise InputError("url of the model server", what, "scheme, host, port and path", _WRITE)
        port = parts.port if parts.port is not None else _PORTS[parts.scheme]
        if port == 0:
            raise InputError("url of the model server", "port 0", "1 to 65535", _WRITE)
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def on_this_machine(self) -> bool:
        """Whether data sent to this address stay on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def redirected(self, target: str, location: str) -> str | None:
        """Path and query that a redirect from `target` leads to; None if it leaves this server."""
        parts = _split(location, self.origin + target) if location else None
        if parts is None or "@" in parts.netloc or not all(33 <= ord(c) <= 126 for c in location):
            return None
        port = parts.port if parts.port is not None else _PORTS.get(parts.scheme)
        if (parts.scheme, parts.hostname, port) != (self.scheme, self.host, self.port):
            return None
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def __str__(self) -> str:
        return self.origin + self.path


def _split(url: str, base: str = "") -> SplitResult | None:
    """Split a URL, which may be relative to a base, into its parts; None if it is malformed."""
    try:
        parts = urlsplit(urljoin(base, url))
        _ = parts.port
    except ValueError:
        return None
    return parts


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


def _left(deadline: float, most: float = math.inf) -> float:
    """Seconds until a deadline (time.monotonic), at most `most`; raises TimeoutError after it."""
    seconds = min(deadline - time.monotonic(), most)
    if seconds <= 0.0:
        raise TimeoutError
    return seconds


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
        self._address, self._limits, self.name, self._credential = address, limits, name, credential
        self._tls = tls or (ssl.create_default_context() if address.scheme == "https" else None)

    def deadline(self) -> float:
        """Deadline of a request that begins now, as time.monotonic has it, seconds."""
        return time.monotonic() + self._limits.budget_s

    def post(self, path: str, body: bytes, deadline: float | None = None) -> bytes:
        """Send a JSON body and return the body of the response 200; retry if the server is busy or unreachable.

        Args:
            path: path after the address's own path.
            body: JSON bytes.
            deadline: deadline shared by several posts of one request; None = one of its own.
        """
        deadline = self.deadline() if deadline is None else deadline
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._follow(self._address.path + path, body, deadline)
            except ServerDownError as error:
                pause = error.retry_after_s if error.retry_after_s is not None else _FIRST_PAUSE_S * 2 ** (attempt - 1)
                if not error.transient or attempt > self._limits.retries or pause >= deadline - time.monotonic():
                    if attempt == 1:
                        raise
                    reason = f"{error.reason} (attempt {attempt})"
                    raise type(error)(self.name, reason, error.repair) from error
            time.sleep(pause)

    def _follow(self, target: str, body: bytes, deadline: float) -> bytes:
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
                raise ModelError(self.name, reason, "set url to the final address, if you trust it")
            target = moved
        raise ModelError(self.name, f"it redirected more than {_MOST_REDIRECTS} times", "set url to the final address")

    def _exchange(self, target: str, body: bytes, deadline: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Make one request on its own connection: status, headers, body.

        A thread makes it, because neither the system's resolver nor a reply that drips has a time limit of its own.
        """
        address, limits = self._address, self._limits
        kind: Any = http.client.HTTPConnection if self._tls is None else http.client.HTTPSConnection
        tls = {} if self._tls is None else {"context": self._tls}
        connection = kind(address.host, address.port, timeout=limits.connect_s, **tls)
        steps: queue.SimpleQueue[Any] = queue.SimpleQueue()
        given_up, opened = threading.Event(), list[socket.socket]()

        def work() -> None:
            try:
                connection.connect()
                opened.append(connection.sock)
                steps.put(None)
                if not given_up.is_set():
                    steps.put(self._answer(connection, target, body))
            except Exception as error:
                steps.put(error)
            finally:
                connection.close()

        threading.Thread(target=work, name="model server request", daemon=True).start()
        try:
            for seconds, late in (
                (limits.connect_s, f"did not connect within {limits.connect_s:g} s"),
                (math.inf, f"was silent for {limits.read_s:g} s"),
            ):
                with self._failures_translated(deadline, late):
                    try:
                        found = steps.get(timeout=_left(deadline, seconds))
                    except queue.Empty:
                        raise TimeoutError from None
                    if isinstance(found, Exception):
                        raise found
            return found
        finally:
            given_up.set()
            for sock in opened:
                with contextlib.suppress(OSError):  # it is closed by now
                    sock.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: Any, target: str, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request in pieces and receive its response, each piece within the longest silence."""
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "spatial_vlm_ros",
        }
        if self._credential is not None:
            headers["Authorization"] = f"Bearer {self._credential.key}"
        connection.sock.settimeout(self._limits.read_s)
        pieces = (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before closing
            connection.request("POST", target, pieces, headers)
        with connection.getresponse() as response:
            return response.status, response.headers, self._body(response)

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        most = self._limits.most_bytes
        data = b"" if (response.length or 0) > most else response.read(most + 1)
        if len(data) > most or (response.length or 0) > most:
            repair = "check that url belongs to a model server; lower max_tokens, or logprobs=no"
            raise ModelError(self.name, f"its reply is longer than {most} bytes", repair)
        if response.length:
            reason = f"it closed the connection {response.length} bytes before its reply ended"
            raise ServerDownError(self.name, reason, _SEE_LOG)
        return data

    @contextlib.contextmanager
    def _failures_translated(self, deadline: float, late: str) -> Iterator[None]:
        """Turn network and HTTP errors into a ModelError with advice; `late` says what a timeout means."""
        try:
            yield
        except TimeoutError as error:
            spent = time.monotonic() >= deadline
            reason = f"it gave no complete reply within {self._limits.budget_s:g} s" if spent else f"it {late}"
            raise ServerTimeoutError(self.name, reason, _SLOW) from error
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not valid: {error.verify_message}"
            raise ModelError(self.name, reason, "set ca_file to the certificate authority that signed it") from error
        except ssl.SSLError as error:
            reason = f"TLS failed: {error.reason or 'it closed the connection'}"
            raise ModelError(self.name, reason, "use http in url if the server has no TLS") from error
        except ConnectionRefusedError as error:
            raise ServerDownError(self.name, "no server listens there", _START, transient=True) from error
        except (socket.gaierror, UnicodeError) as error:
            reason = f"its host has no address: {getattr(error, 'strerror', error)}"
            raise ServerDownError(self.name, reason, "check url and the name service") from error
        except (ConnectionError, http.client.IncompleteRead) as error:
            reason = f"it closed the connection before its reply ended ({type(error).__name__})"
            raise ServerDownError(self.name, reason, _SEE_LOG) from error
        except http.client.HTTPException as error:
            reason = f"its reply is not valid HTTP ({type(error).__name__})"
            raise ModelError(self.name, reason, "check that url belongs to a model server") from error
        except OSError as error:
            raise ServerDownError(self.name, f"it cannot be reached: {error.strerror or error}", _START) from error

    def _refusal(self, status: int, headers: http.client.HTTPMessage, data: bytes) -> ModelError:
        """The error for a response other than 200, with the server's own message shortened and printable."""
        said = _printable(_message(data), self._credential)
        phrase = http.client.responses.get(status, "unknown status")
        reason = f"it answered {status} {phrase}" + (f": {said}" if said else "")
        if status in _BUSY_OR_AWAY:
            after = _retry_after(headers.get("Retry-After"))
            return ServerDownError(self.name, reason, _START, transient=True, retry_after_s=after)
        if status >= 500:
            return ServerDownError(self.name, reason, _SEE_LOG)
        key = "set the option key_env to the environment variable that holds the API key"
        if self._credential is not None:
            key = f"check the API key in the environment variable {self._credential.variable}"
        there = f"check url and model; {self._address} should list its models at /models"
        otherwise = "check model, and set schema=none or logprobs=no if the server does not know them"
        repairs = {401: key, 403: key, 404: there, 405: there, 413: "lower longest_side"}
        return ModelError(self.name, reason, repairs.get(status, otherwise))


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


def server_client(
    model: str, url: str, key_env: str, ca_file: str, connect_timeout: str, read_timeout: str, budget: str, retries: str
) -> Client:
    """Make the client of a model server, which is named by model and server. Options: docs/model_server.md."""
    address = Address.parse(url)
    limits = RequestLimits(
        connect_s=number("connect_timeout", connect_timeout, float),
        read_s=number("read_timeout", read_timeout, float),
        budget_s=number("budget", budget, float),
        retries=number("retries", retries, int),
    )
    key = _credential(key_env, address)
    certificates: ssl.SSLContext | None = None  # those that the system trusts
    if ca_file:
        if address.scheme != "https":
            raise InputError("ca_file", f"a file, with url {address}", "an https url", "leave it out, or use https")
        try:
            certificates = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            repair = "pass a PEM file of the authority that signed the certificate"
            raise FileError(ca_file, str(error), repair) from error
    return Client(address, limits, f"{model} at {address.origin}", key, certificates)


def chosen(option: str, name: str, choices: Mapping[str, _T]) -> _T:
    """Return the value that a word of an option stands for."""
    if name not in choices:
        raise UnknownNameError(option, name, choices)
    return choices[name]


def number(option: str, text: str, kind: Callable[[str], _T]) -> _T:
    """Read a number from an option."""
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(option, repr(text), wanted) from error


def _credential(variable: str, address: Address) -> Credential | None:
    """Read the API key from an environment variable; it is never shown."""
    if not variable:
        return None
    key = os.environ.get(variable, "").strip()
    what = f"environment variable {variable!r}"
    if not key:
        raise InputError(what, "nothing", "the model server's API key", "export it, or leave key_env out")
    if not all(33 <= ord(c) <= 126 for c in key):
        raise InputError(what, "characters that a key cannot have", "printable ASCII without spaces", "export it again")
    if address.scheme == "http" and not address.on_this_machine:
        repair = "use https, or forward a port of this machine to the server (ssh -L)"
        raise InputError("url of the model server", f"{address} with an API key", "https", repair)
    return Credential(key, variable)
