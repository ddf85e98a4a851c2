# SPDX-License-Identifier: Apache-2.0
"""Read the options of backends that use a server, and make its client."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import TypeVar

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.perception.backends.server_address import Address
from spatial_vlm_ros.perception.backends.server_http import Client, Credential, RequestLimits

DEFAULT_URL = "http://127.0.0.1:8000/v1"
_T = TypeVar("_T")


def server_client(
    model: str, url: str, key_env: str, ca_file: str, connect_timeout: str, read_timeout: str, budget: str, retries: str
) -> tuple[Client, str]:
    """Make the client of a model server, and the name of model and server for errors. Options: docs/model_server.md."""
    address = Address.parse(url)
    name = f"{model} at {address.origin}"
    limits = RequestLimits(
        connect_s=number("connect_timeout", connect_timeout, float),
        read_s=number("read_timeout", read_timeout, float),
        budget_s=number("budget", budget, float),
        retries=number("retries", retries, int),
    )
    return Client(address, limits, name, _credential(key_env, address), _certificates(ca_file, address)), name


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


def _certificates(path: str, address: Address) -> ssl.SSLContext | None:
    """Load the certificates that the server's certificate is checked against; None = those the system trusts."""
    if not path:
        return None
    if address.scheme != "https":
        raise InputError("ca_file", f"a file, with url {address}", "an https url", "leave it out, or use https")
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise FileError(path, str(error), "pass a PEM file of the authority that signed the certificate") from error
