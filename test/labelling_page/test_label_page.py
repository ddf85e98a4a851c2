# SPDX-License-Identifier: Apache-2.0
"""The labelling page over real HTTP: who gets in, what is answered, and that only the page's own requests write."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from approval_visitor import Reply, Visitor

BEHIND = "the chick behind the cup"
TRUTH = {"expect": {"status": "OK", "id": "bonnet"}, "words": BEHIND}


class Labeller(Visitor):
    """Keeps the token of its session's requests."""

    def enter(self, url: str) -> Labeller:
        assert self.get(f"/?token={url.partition('token=')[2]}").status == 303
        self.form_token = self.get().text.partition('data-form-token="')[2].partition('"')[0]
        return self

    def tell(self, path: str, value: Any, **headers: str | None) -> Reply:
        given = {"Content_Type": "application/json", "X_Form_Token": self.form_token, **headers}
        return self.send("POST", path, json.dumps(value).encode(), **given)


@pytest.fixture
def desk(served: Callable[..., Any]) -> Any:
    return served(BEHIND)


@pytest.fixture
def labeller(desk: Any) -> Labeller:
    return Labeller(desk.page.host, desk.page.port).enter(desk.page.url)


def test_nothing_is_shown_without_the_token_or_under_another_name_or_beyond_this_machine(
    desk: Any, labeller: Labeller
) -> None:
    stranger = Visitor(desk.page.host, desk.page.port)
    for path in ("/", "/cases", "/case/0", "/image/0"):
        reply = stranger.get(path)
        assert (reply.status, BEHIND in reply.text) == (401, False)
    assert stranger.get("/?token=" + "x" * 40).status == 403
    assert stranger.post("/sign-in", {"token": "y" * 40}).status == 403
    assert stranger.post("/case/0", {}).status == 401
    assert desk.page.host == "127.0.0.1"
    assert desk.page.address.startswith("http://127.0.0.1:")
    assert labeller.get("/cases", Host="evil.example").status == 400


def test_cases_and_images_are_answered(labeller: Labeller) -> None:
    overview = json.loads(labeller.get("/cases").text)
    assert [one["words"] for one in overview["cases"]] == [BEHIND]
    assert json.loads(labeller.get("/case/0").text)["proposal"]["id"] == "bonnet"
    image = labeller.get("/image/0")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.body[:3] == b"\xff\xd8\xff"
    assert labeller.get("/image/9").status == 404
    assert labeller.get("/case/9").status == 400
    assert labeller.get("/static/label.js").headers["content-type"].startswith("text/javascript")
    for path in ("/static/../label_web.py", "/static/label_web", "/static/label.html", "/nothing"):
        assert labeller.get(path).status == 404


def test_everything_comes_from_the_page_itself(labeller: Labeller) -> None:
    page = labeller.get()
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    scripts = ("label.js", "label_draft.js", "label_fields.js", "label_image.js", "label_talk.js", "label_top.js")
    for name in ("", *(f"static/{one}" for one in (*scripts, "label.css", "base.css"))):
        text = labeller.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert not any(elsewhere in text for elsewhere in ("http:", "https:", "//cdn"))


def test_a_decision_is_in_the_file_at_once_and_is_not_overwritten_unseen(labeller: Labeller, desk: Any) -> None:
    seen = json.loads(labeller.get("/case/0").text)["seen"]
    assert json.loads(labeller.tell("/case/0", {**TRUTH, "kind": ["behind"], "seen": seen}).text)["saved"]
    assert desk.expect() == {"status": "OK", "id": "bonnet"}
    late = labeller.tell("/case/0", {**TRUTH, "expect": {"status": "AMBIGUOUS"}, "seen": seen})
    assert (late.status, "another tab" in late.text) == (409, True)
    assert labeller.tell("/case/0", {**TRUTH, "seen": 3}).status == 400
    added = json.loads(labeller.tell("/add", {"frame": 0, "words": "the cup"}).text)["case"]
    reply = labeller.tell(f"/case/{added}", TRUTH)  # of a page that was loaded before the sentence was added
    assert (reply.status, "ook at the case again" in reply.text) == (409, True)
    assert [line.get("expect") for line in desk.lines()] == [{"status": "OK", "id": "bonnet"}, None]


def test_only_requests_of_the_page_write(labeller: Labeller, desk: Any) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Origin": None}, {"X_Form_Token": "x" * 40},
                    {"X_Form_Token": None}):  # fmt: skip
        for path in ("/case/0", "/add", "/undo", "/save"):
            assert labeller.tell(path, TRUTH, **headers).status == 403
    assert labeller.send("POST", "/case/0", b"{}", X_Form_Token=labeller.form_token).status == 400  # a plain form
    assert labeller.get("/undo").status == 405
    assert not desk.path.exists()


def test_what_is_no_truth_is_refused_in_words(labeller: Labeller, desk: Any) -> None:
    for body in (b"", b"[]", b"{", b'{"expect": 3}', b"\xff", b'{"expect": {"status": "OK", "id": "nobody"}}',
                 b'{"expect": ' + b"[" * 5000 + b"]" * 5000 + b"}", b" " * 70_000,
                 b'{"expect": {"status": NaN}}'):  # fmt: skip
        headers = {"Content_Type": "application/json", "X_Form_Token": labeller.form_token}
        reply = labeller.send("POST", "/case/0", body, **headers)
        assert reply.status == 400, body[:30]
        assert json.loads(reply.text)["error"]
        assert not desk.path.exists()


def test_words_from_files_are_text_on_the_page(served: Callable[..., Any]) -> None:
    desk = served("<script>alert(1)</script>")
    visitor = Labeller(desk.page.host, desk.page.port).enter(desk.page.url)
    assert "<script>alert" not in visitor.get().text
    assert visitor.get("/cases").headers["content-type"] == "application/json"
