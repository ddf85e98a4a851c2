# SPDX-License-Identifier: Apache-2.0
"""Address of a model server: a checked http or https URL without secrets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from spatial_vlm_ros.errors import InputError

_PORTS = {"http": 80, "https": 443}
_REPAIR = "write it like http://127.0.0.1:8000/v1"


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
            raise InputError("url of the model server", _shown(url), "an http or https address", _REPAIR)
        if "@" in parts.netloc:
            repair = "leave user and password out; set key_env to the variable that holds the API key"
            raise InputError("url of the model server", "a user or a password in it", "an address without them", repair)
        if parts.query or parts.fragment or not all(33 <= ord(c) <= 126 for c in url):
            what = "a query, a fragment, a space or a character outside ASCII"
            raise InputError("url of the model server", what, "scheme, host, port and path", _REPAIR)
        port = parts.port if parts.port is not None else _PORTS[parts.scheme]
        if port == 0:
            raise InputError("url of the model server", "port 0", "1 to 65535", _REPAIR)
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
        parts = _split(urljoin(self.origin + target, location)) if location else None
        if parts is None or "@" in parts.netloc or not all(33 <= ord(c) <= 126 for c in location):
            return None
        port = parts.port if parts.port is not None else _PORTS.get(parts.scheme)
        if (parts.scheme, parts.hostname, port) != (self.scheme, self.host, self.port):
            return None
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def __str__(self) -> str:
        return self.origin + self.path


def _split(url: str) -> SplitResult | None:
    """Split a URL into its parts; None if it is malformed."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _shown(url: str) -> str:
    return "one that cannot be read" if "@" in url else repr(url[:80])
