# SPDX-License-Identifier: Apache-2.0
"""One JSON request to one HTTP server, within limits of time and size that hold whatever the server does.

Every attempt has its own connection, so that no failure reaches the next request. Proxies of the environment are not
used: an image goes only to the named host.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from spatial_vlm_ros.budgets import MOST_BYTES, MOST_REDIRECTS
from spatial_vlm_ros.errors import FileError, InputError, ModelError, ModelTimeoutError
from spatial_vlm_ros.perception.backends.options import POSITIVE, number

DEFAULT_URL = "http://127.0.0.1:8000/v1"
_PORTS = {"http": 80, "https": 443}
_BUSY_OR_AWAY = frozenset({429, 502, 503, 504})  # worth another attempt
_FIRST_PAUSE_S = 0.25  # doubled before each further attempt
_LONGEST_WORDS = 300  # characters of a server's own message
_CHUNK = 1 << 16  # bytes sent at once
_URL = "url of the model server"
_WRITE = "write it like http://127.0.0.1:8000/v1"
_START = "start the server, check url, or set a fallback"
_SEE_LOG = "see the server's log"
_SLOW = "raise connect_timeout, read_timeout or budget, or use a faster model"

Response = tuple[int, http.client.HTTPMessage, bytes]


class ServerDownError(ModelError):
    """The server cannot be reached or cannot serve; another model may answer, or this one after `retry_after_s`."""

    def __init__(
        self, model: str, reason: str, repair: str, *, transient: bool = False, retry_after_s: float | None = None
    ) -> None:
        self.transient, self.retry_after_s = transient, retry_after_s
        super().__init__(model, reason, repair)


class ServerTimeoutError(ServerDownError, ModelTimeoutError):
    """The server exceeded a time limit."""


@dataclass(frozen=True)
class Address:
    """Address of a server's API; `path` is the prefix of its paths without a final slash, usually "/v1"."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse an http or https URL without user, password, query and fragment; no message repeats a password."""
        parts = _split(url)
        if parts is None or parts.scheme not in _PORTS or not parts.hostname:
            shown = "one that cannot be read" if "@" in url else repr(url[:80])
            raise InputError(_URL, shown, "an http or https address", _WRITE)
        if "@" in parts.netloc:
            repair = "leave user and password out; set key_env to the variable that holds the API key"
            raise InputError(_URL, "a user or a password in it", "an address without them", repair)
        if parts.query or parts.fragment or not _plain(url):
            what = "a query, a fragment, a space or a character outside ASCII"
            raise InputError(_URL, what, "scheme, host, port and path", _WRITE)
        port = parts.port if parts.port is not None else _PORTS[parts.scheme]
        if port == 0:
            raise InputError(_URL, "port 0", "1 to 65535", _WRITE)
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def on_this_machine(self) -> bool:
        """Whether data sent to this address stay on this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def redirected(self, target: str, location: str) -> str | None:
        """Path and query that a redirect from `target` leads to; None if it leaves this server."""
        parts = _split(location, self.origin + target) if location else None
        if parts is None or "@" in parts.netloc or not _plain(location):
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


def _plain(text: str) -> bool:
    return all(33 <= ord(c) <= 126 for c in text)


@dataclass(frozen=True)
class Credential:
    """An API key and the environment variable it came from; no text of this object contains the key."""

    key: str = field(repr=False)
    variable: str


class Client:
    """Posts JSON to one server, as the options of docs/model_server.md say; errors call it `name`."""

    def __init__(
        self,
        model: str,
        url: str,
        key_env: str,
        ca_file: str,
        connect_timeout: str,
        read_timeout: str,
        budget: str,
        retries: str,
    ) -> None:
        self._address = address = Address.parse(url)
        self.name = f"{model} at {address.origin}"
        self._connect_s = number("connect_timeout", connect_timeout, float, POSITIVE)
        self._read_s = number("read_timeout", read_timeout, float, POSITIVE)
        self._budget_s = number("budget", budget, float, POSITIVE)
        self._retries = number("retries", retries, int, 0)
        self._credential = _credential(key_env, address) if key_env else None
        self._tls: ssl.SSLContext | None = None
        if ca_file and address.scheme != "https":
            raise InputError("ca_file", f"a file, with url {address}", "an https url", "leave it out, or use https")
        try:
            if address.scheme == "https":  # without a file: the certificates that the system trusts
                self._tls = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:
            repair = "pass a PEM file of the authority that signed the certificate"
            raise FileError(ca_file, str(error), repair) from error

    def deadline(self) -> float:
        """Deadline of a request that begins now, as time.monotonic has it, seconds."""
        return time.monotonic() + self._budget_s

    def post(self, path: str, body: bytes, deadline: float | None = None) -> bytes:
        """Send a JSON body and return the body of the response 200; retry if the server is busy or unreachable.

        Several posts of one request may share a deadline.
        """
        deadline = self.deadline() if deadline is None else deadline
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._follow(self._address.path + path, body, deadline)
            except ServerDownError as error:
                pause = error.retry_after_s if error.retry_after_s is not None else _FIRST_PAUSE_S * 2 ** (attempt - 1)
                if not error.transient or attempt > self._retries or pause >= deadline - time.monotonic():
                    if attempt == 1:
                        raise
                    reason = f"{error.reason} (attempt {attempt})"
                    raise type(error)(self.name, reason, error.repair) from error
            time.sleep(pause)

    def _follow(self, target: str, body: bytes, deadline: float) -> bytes:
        """Make one attempt and follow redirects that stay on the same server."""
        for _ in range(MOST_REDIRECTS + 1):
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
        raise ModelError(self.name, f"it redirected more than {MOST_REDIRECTS} times", "set url to the final address")

    def _exchange(self, target: str, body: bytes, deadline: float) -> Response:
        """Make one request on its own connection.

        A thread makes it, because neither the system's resolver nor a reply that drips has a time limit of its own.
        """
        address = self._address
        kind: Any = http.client.HTTPConnection if self._tls is None else http.client.HTTPSConnection
        tls = {} if self._tls is None else {"context": self._tls}
        connection = kind(address.host, address.port, timeout=self._connect_s, **tls)
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
                (self._connect_s, f"did not connect within {self._connect_s:g} s"),
                (math.inf, f"was silent for {self._read_s:g} s"),
            ):
                with self._failures_translated(deadline, late):
                    try:
                        found = steps.get(timeout=max(0.0, min(deadline - time.monotonic(), seconds)))
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

    def _answer(self, connection: Any, target: str, body: bytes) -> Response:
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
        connection.sock.settimeout(self._read_s)
        pieces = (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before closing
            connection.request("POST", target, pieces, headers)
        with connection.getresponse() as response:
            data = b"" if (response.length or 0) > MOST_BYTES else response.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES or (response.length or 0) > MOST_BYTES:
                repair = "check that url belongs to a model server; lower max_tokens, or logprobs=no"
                raise ModelError(self.name, f"its reply is longer than {MOST_BYTES} bytes", repair)
            if response.length:
                reason = f"it closed the connection {response.length} bytes before its reply ended"
                raise ServerDownError(self.name, reason, _SEE_LOG)
            return response.status, response.headers, data

    @contextlib.contextmanager
    def _failures_translated(self, deadline: float, late: str) -> Iterator[None]:
        """Turn network and HTTP errors into a ModelError with advice; `late` says what a timeout means."""
        try:
            yield
        except TimeoutError as error:
            spent = time.monotonic() >= deadline
            reason = f"it gave no complete reply within {self._budget_s:g} s" if spent else f"it {late}"
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
        try:  # OpenAI's error.message, FastAPI's detail, or the body itself
            body = json.loads(data)
            for name in ("error", "detail", "message"):
                if isinstance(body, dict) and body.get(name):
                    body = body[name]
            data = (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "replace")
        except (ValueError, RecursionError):
            pass
        said = _printable(data, self._credential)
        phrase = http.client.responses.get(status, "unknown status")
        reason = f"it answered {status} {phrase}" + (f": {said}" if said else "")
        if status in _BUSY_OR_AWAY:
            value, after = headers.get("Retry-After", ""), None  # a number or an HTTP date (RFC 9110 section 10.2.3)
            if value.strip().isdecimal() and value.isascii():
                after = float(value) if len(value) < 10 else math.inf
            elif value:
                with contextlib.suppress(ValueError):
                    after = max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
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


def _printable(data: bytes, credential: Credential | None) -> str:
    text = data.decode("utf-8", "replace")
    if credential is not None:
        text = text.replace(credential.key, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 3] + "..."


def _credential(variable: str, address: Address) -> Credential:
    """Read the API key from an environment variable; it is never shown."""
    key, what = os.environ.get(variable, "").strip(), f"environment variable {variable!r}"
    if not key:
        raise InputError(what, "nothing", "the model server's API key", "export it, or leave key_env out")
    if not _plain(key):
        raise InputError(what, "characters that a key cannot have", "printable ASCII without spaces", "export it again")
    if address.scheme == "http" and not address.on_this_machine:
        repair = "use https, or forward a port of this machine to the server (ssh -L)"
        raise InputError(_URL, f"{address} with an API key", "https", repair)
    return Credential(key, variable)
