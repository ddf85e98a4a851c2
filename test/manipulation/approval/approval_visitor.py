# SPDX-License-Identifier: Apache-2.0
"""A visitor of the page over real HTTP: keeps cookies, fills in forms like a browser, or sends what none would."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

from waiting import DEADLINE

TOKEN = "t" * 43


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, words


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given["action"]))
        elif tag == "input" and "name" in given:  # else it belongs to a script
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "button":
            self._button = (given.get("name", ""), given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.forms[-1].buttons.append((*self._button, data.strip()))
            self._button = None


class Visitor:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.cookies: dict[str, str] = {}
        self.origin = f"http://{host}:{port}"

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Reply:
        """One request; a header of None is left out."""
        given: dict[str, str | None] = {"Host": f"{self.host}:{self.port}"}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            given |= {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        given |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()
        for name, value in re.findall(r"^([^=]+)=([^;]*)", reply.headers.get("set-cookie", "")):
            self.cookies[name] = value
        return reply

    def get(self, path: str = "/", **headers: str | None) -> Reply:
        return self.send("GET", path, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str | None) -> Reply:
        return self.send("POST", path, urlencode(fields).encode(), **headers)

    def form(self, button: str) -> tuple[str, dict[str, str]]:
        """Where the form with a button of these words goes, and what it sends when that button is pressed."""
        parser = _Forms()
        parser.feed(self.get().text)
        for form in parser.forms:
            for name, value, words in form.buttons:
                if words == button:
                    return form.action, form.fields | ({name: value} if name else {})
        raise AssertionError(f"there is no button {button!r}")

    def press(self, button: str, **fields: str) -> Reply:
        action, sent = self.form(button)
        assert fields.keys() <= sent.keys()
        return self.post(action, sent | fields)

    def sign_in(self, token: str, operator: str = "Ann") -> Visitor:
        assert self.get(f"/?token={token}").status == 303
        if operator:
            assert self.press("Save name", operator=operator).status == 303
        return self
