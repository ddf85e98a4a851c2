# SPDX-License-Identifier: Apache-2.0
"""The page over real HTTP: who gets in, what is shown, and that only a form of one's own session decides."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from approval_visitor import Visitor

from spatial_vlm_ros.errors import ApprovalExpiredError, InputError
from spatial_vlm_ros.manipulation.approval.drawing import HEIGHT, WIDTH, side_views
from spatial_vlm_ros.manipulation.approval.proposal import Preview
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage
from spatial_vlm_ros.types import CHOSEN_BY_MODEL
from spatial_vlm_ros.web.guard import Guard, is_loopback, names_of

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from spatial_vlm_ros.manipulation.approval.page import Page, serve

TOKEN = "t" * 43


@pytest.fixture
def page(office: Any) -> Iterator[Page]:
    with serve(office.broker, token=TOKEN) as page:
        yield page


@pytest.fixture
def stranger(page: Page) -> Visitor:
    return Visitor(page.host, page.port)


@pytest.fixture
def ann(page: Page) -> Visitor:
    return Visitor(page.host, page.port).sign_in(TOKEN)


# ------------------------------------------------------------------------------------------------ who gets in


def test_the_token_opens_a_session_and_leaves_the_address(stranger: Visitor, office: Any) -> None:
    reply = stranger.get(f"/?token={TOKEN}")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get().status == 200
    assert office.events()[-1] == "SIGNED_IN"
    assert office.records()[-1]["remote"].startswith("127.0.0.1:")


def test_the_token_may_be_typed(stranger: Visitor) -> None:
    assert stranger.post("/sign-in", {"token": TOKEN}).status == 303
    assert stranger.get().status == 200


@pytest.mark.parametrize("path", ["/", "/state", "/picture/" + "0" * 64])
def test_without_a_session_nothing_is_shown(stranger: Visitor, office: Any, path: str) -> None:
    office.proposed()
    for cookies in ({}, {f"spatial_vlm_approval_{stranger.port}": "guess"}):
        stranger.cookies = cookies
        reply = stranger.get(path)
        assert reply.status == 401
        assert "chick" not in reply.text


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "t", "ü" * 43, "%ff%fe"])
def test_a_wrong_token_is_refused_and_on_record(stranger: Visitor, office: Any, token: str) -> None:
    from urllib.parse import quote

    reply = stranger.get(f"/?token={quote(token, safe='%')}")
    assert reply.status == 403
    assert "set-cookie" not in reply.headers
    assert office.records()[-1]["event"] == "ACCESS_REFUSED"
    assert office.records()[-1]["outcome"] == "a wrong token"
    assert not token or token not in str(office.records()[-1])


def test_guessing_is_slowed_and_keeps_nobody_out_who_has_the_token(
    stranger: Visitor, ann: Visitor, office: Any
) -> None:
    replies = [stranger.get("/?token=guess").status for _ in range(9)]
    assert replies == [403] * 5 + [429] * 4
    assert int(stranger.get("/?token=guess").headers["retry-after"]) in range(1, 61)
    assert ann.get().status == 200
    assert office.events().count("ACCESS_REFUSED") == 5
    assert stranger.get(f"/?token={TOKEN}").status == 303  # from the same address: who operates may have to stop


def test_nobody_can_say_that_they_come_from_elsewhere(stranger: Visitor, office: Any) -> None:
    replies = [stranger.get("/?token=guess", x_forwarded_for=f"10.0.0.{n}").status for n in range(6)]
    assert replies == [403] * 5 + [429]
    assert all(record["remote"].startswith("127.0.0.1:") for record in office.records()[1:])


def test_refused_requests_do_not_fill_the_disk(stranger: Visitor, office: Any) -> None:
    for _ in range(40):
        assert stranger.get(host="evil.example").status == 400
    assert office.events().count("ACCESS_REFUSED") == 30


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", None])
def test_an_unknown_host_is_refused(ann: Visitor, office: Any, host: str | None) -> None:
    """So that a name of another site, made to point at this machine, gets nothing."""
    reply = ann.get(host=host.format(port=ann.port) if host is not None else None)
    assert reply.status == 400
    assert "set-cookie" not in reply.headers
    if host:  # without one the server itself refuses
        assert "unknown Host" in office.records()[-1]["outcome"]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_our_own_names_are_answered(ann: Visitor, host: str) -> None:
    assert ann.get(host=host.format(port=ann.port)).status == 200


HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}


def test_every_answer_tells_the_browser_what_it_must_not_do(ann: Visitor, stranger: Visitor, office: Any) -> None:
    office.proposed()
    paths = ["/", "/state", "/static/page.js", "/static/page.css", "/static/../page.py", "/nothing", "/decide"]
    replies = [visitor.get(path) for visitor in (ann, stranger) for path in paths]
    replies += [stranger.get("/?token=x"), ann.get(host="evil.example")]
    replies += [ann.post("/decide", {}), ann.post("/state", {})]
    for reply in replies:
        assert HEADERS.items() <= reply.headers.items()
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in reply.headers


def test_nothing_of_the_page_needs_an_inline_script_or_style(ann: Visitor, office: Any) -> None:
    office.proposed()
    text = ann.get().text
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", text)
    assert not re.search(r"(src|href|action)=\"(?!/|#)", text)


def test_two_pages_on_one_machine_have_cookies_of_their_own(office: Any, ann: Visitor) -> None:
    with serve(office.broker, token=TOKEN) as other:
        bob = Visitor(other.host, other.port)
        bob.cookies = dict(ann.cookies)
        bob.sign_in(TOKEN, "Bob")
        assert len(bob.cookies) == 2
        ann.cookies = bob.cookies
        assert "Ann" in ann.get().text


# ------------------------------------------------------------------------------------------------ deciding


def test_approving_by_the_page(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    assert ann.press("Approve this plan").status == 303
    assert office.broker.wait(proposal.goal_id) == office.says(proposal)
    record = next(r for r in office.records() if r["event"] == "APPROVED")
    assert record["remote"].startswith("127.0.0.1:")
    assert "Approve this plan" not in ann.get().text


def test_rejecting_by_the_page(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    assert ann.press("Reject this plan", reason=" the <b>wrong</b> cup ").status == 303
    assert office.broker.wait(proposal.goal_id).reason == "the <b>wrong</b> cup"
    assert "&lt;b&gt;wrong&lt;/b&gt;" in ann.get().text


def test_answering_by_a_button_or_in_words(ann: Visitor, office: Any) -> None:
    for press in (lambda: ann.press("the ribbon one"), lambda: ann.press("Send answer", text="the ribbon one")):
        question = office.question()
        office.broker.ask(question)
        assert press().status == 303
        assert office.broker.wait_answer(question.dialogue_id).text == "the ribbon one"


def test_what_an_answer_means_is_on_its_button_and_is_not_sent(ann: Visitor, office: Any) -> None:
    question = office.question(answers=("the left one", "the right one"), means=("c1", "<b>c2</b>\x07"))
    office.broker.ask(question)
    assert "the right one (&lt;b&gt;c2&lt;/b&gt;" in ann.get().text
    assert ann.press("the left one (c1)").status == 303
    assert office.broker.wait_answer(question.dialogue_id).text == "the left one"


def test_requesting_a_stop_by_the_page(ann: Visitor, page: Page, office: Any) -> None:
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    assert ann.press("Request stop").status == 303
    nameless = Visitor(page.host, page.port).sign_in(TOKEN, operator="")
    assert nameless.press("Request stop").status == 303
    assert heard == ["Ann", "unnamed"]


def test_without_a_name_nothing_is_decided(page: Page, office: Any) -> None:
    nameless = Visitor(page.host, page.port).sign_in(TOKEN, operator="")
    proposal = office.proposed()
    assert "Approve this plan" not in nameless.get().text
    form = {"form_token": nameless.form("Request stop")[1]["form_token"]}
    named = {"goal_id": proposal.goal_id, "scene_stamp_ns": str(proposal.scene_stamp_ns)}
    reply = nameless.post("/decide", form | named | {"plan_hash": proposal.plan_hash, "decision": "approve"})
    assert reply.status == 400
    assert "operator" in reply.text
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_second_operator_is_told_who_was_first(page: Page, ann: Visitor, office: Any) -> None:
    bob = Visitor(page.host, page.port).sign_in(TOKEN, "Bob")
    proposal = office.proposed()
    action, form = bob.form("Reject this plan")
    assert ann.press("Approve this plan").status == 303
    reply = bob.post(action, form)
    assert reply.status == 409
    assert "Approved by Ann" in reply.text
    assert office.broker.wait(proposal.goal_id).approve


def test_a_form_sent_again_decides_nothing(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    action, form = ann.form("Approve this plan")
    assert [ann.post(action, form).status for _ in range(2)] == [303, 409]
    office.broker.begin(office.broker.wait(proposal.goal_id))
    office.broker.end(proposal.goal_id, "done")
    office.proposed()
    assert ann.post(action, form).status == 409
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_form_for_another_plan_decides_nothing(ann: Visitor, office: Any) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    for changed in ({"plan_hash": "f" * 64}, {"scene_stamp_ns": "5"}):
        assert ann.post(action, form | changed).status == 409
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_late_form_is_told_so(ann: Visitor, office: Any) -> None:
    proposal = office.proposed(expires_after=10.0)
    action, form = ann.form("Approve this plan")
    office.clock.now += 10
    assert "Approve this plan" not in ann.get().text
    assert "Expired" in ann.get().text
    reply = ann.post(action, form)
    assert (reply.status, "expired after 10 s" in reply.text) == (410, True)
    with pytest.raises(ApprovalExpiredError):
        office.broker.wait(proposal.goal_id)


# ------------------------------------------------------------------------------------------------ forged forms


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None, "https://127.0.0.1", "http://127.0.0.1:1"])
@pytest.mark.parametrize("button", ["Approve this plan", "Request stop", "Save name"])
def test_a_form_of_another_site_does_nothing(page: Page, office: Any, origin: str | None, button: str) -> None:
    visitor = Visitor(page.host, page.port).sign_in(TOKEN, operator="" if button == "Save name" else "Ann")
    heard: list[str] = []
    office.broker.on_stop(heard.append)
    office.proposed()
    action, form = visitor.form(button)
    reply = visitor.post(action, form | {"operator": "Eve"}, origin=origin)
    assert reply.status == 403
    assert (office.broker.view.stage, heard) == (ApprovalStage.PROPOSED, [])
    assert "Eve" not in visitor.get().text
    assert office.records()[-1]["event"] == "ACCESS_REFUSED"


def test_a_token_typed_into_another_site_opens_nothing(stranger: Visitor) -> None:
    assert stranger.post("/sign-in", {"token": TOKEN}, origin="http://evil.example").status == 403
    assert not stranger.cookies


@pytest.mark.parametrize("token", ["", "x" * 43, "ü"])
def test_a_form_without_its_sessions_token_does_nothing(ann: Visitor, office: Any, token: str) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    assert ann.post(action, form | {"form_token": token}).status == 403
    del form["form_token"]
    assert ann.post(action, form).status == 403
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_form_of_another_session_does_nothing(page: Page, ann: Visitor, office: Any) -> None:
    bob = Visitor(page.host, page.port).sign_in(TOKEN, "Bob")
    office.proposed()
    action, form = bob.form("Approve this plan")
    assert ann.post(action, form).status == 403
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_form_without_a_session_does_nothing(ann: Visitor, stranger: Visitor, office: Any) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    assert stranger.post(action, form).status == 401
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_nothing_is_decided_by_a_link(ann: Visitor, office: Any) -> None:
    from urllib.parse import urlencode

    office.proposed()
    action, form = ann.form("Approve this plan")
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert ann.send(method, f"{action}?{urlencode(form)}").status == 405
    assert ann.send("POST", f"{action}?{urlencode(form)}", b"").status == 403
    assert office.broker.view.stage is ApprovalStage.PROPOSED


MALFORMED: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "no goal": lambda form: {k: v for k, v in form.items() if k != "goal_id"},
    "no decision": lambda form: {k: v for k, v in form.items() if k != "decision"},
    "another decision": lambda form: form | {"decision": "maybe"},
    "goal is no UUID": lambda form: form | {"goal_id": "../../etc/passwd"},
    "stamp is no number": lambda form: form | {"scene_stamp_ns": "1e9"},
    "stamp in other digits": lambda form: form | {"scene_stamp_ns": "١٢"},
    "stamp is negative": lambda form: form | {"scene_stamp_ns": "-1"},
    "stamp is endless": lambda form: form | {"scene_stamp_ns": "9" * 5000},
    "hash is short": lambda form: form | {"plan_hash": "ff"},
    "reason has lines": lambda form: form | {"reason": "a\r\nb"},
    "reason is long": lambda form: form | {"reason": "a" * 3000},
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_form_is_refused_and_on_record(ann: Visitor, office: Any, kind: str) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    reply = ann.post(action, MALFORMED[kind](form))
    assert reply.status == 400
    assert "Not accepted" in reply.text
    assert (office.records()[-1]["event"], office.records()[-1]["operator"]) == ("ACCESS_REFUSED", "Ann")
    assert office.broker.view.stage is ApprovalStage.PROPOSED


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"a=1", "text/plain"),
        (b"a=1", None),
        (b"a=%ff", "application/x-www-form-urlencoded"),
        (b"a=\xff", "application/x-www-form-urlencoded"),
        (b"no form", "application/x-www-form-urlencoded"),
        (b"a=1&a=2", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(30)), "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_form_is_refused(ann: Visitor, body: bytes, content_type: str | None) -> None:
    assert ann.send("POST", "/decide", body, content_type=content_type).status == 400
    assert ann.get().status == 200


@pytest.mark.parametrize("operator", ["", "  ", "A" * 81, "A\u202enn", "A\nnn"])
def test_a_name_that_cannot_stand_in_the_record_is_refused(page: Page, operator: str) -> None:
    visitor = Visitor(page.host, page.port).sign_in(TOKEN, operator="")
    assert visitor.press("Save name", operator=operator).status == 400


# ------------------------------------------------------------------------------------------------ what is shown


def test_a_proposal_is_shown_with_all_that_matters(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    text = ann.get().text
    for words in (proposal.sentence, proposal.answer, proposal.seen_from, proposal.warnings[0], proposal.plan_hash,
                  proposal.goal_id, "95.0 %", "+0.210 m", "behind d2: holds", "2.5 s</td>", "5.0 s in all",
                  "50 mm", "(0.500, 0.100, 0.050) m", "60 s", "not an emergency stop"):  # fmt: skip
        assert words in text, words
    image = hashlib.sha256(proposal.image).hexdigest()
    reply = ann.get(f"/picture/{image}")
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "image/png", proposal.image)


def test_a_plan_that_is_only_made_is_shown_with_nothing_to_approve(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    action, form = ann.form("Approve this plan")
    office.broker.withdraw(proposal.goal_id, "no more")
    before = office.events()
    plan = office.proposal()
    office.broker.note("OK: Planned. Nothing moves: plan_only is set.", plan)
    text = ann.get().text
    for words in ("Plan only: nothing will move", "Nothing moves: plan_only is set.", "nothing to approve", "Warnings",
                  plan.sentence, plan.answer, plan.seen_from, plan.warnings[0], "95.0 %", "2.5 s</td>", "5.0 s in all",
                  "50 mm", "(0.500, 0.100, 0.050) m", plan.plan_hash):  # fmt: skip
        assert words in text, words
    for words in ("/decide", "Approve this plan", "Reject this plan", 'name="goal_id"', 'name="plan_hash"', "Expires",
                  "Before you decide", "What an approval names"):  # fmt: skip
        assert words not in text, words
    image = f"/picture/{hashlib.sha256(plan.image).hexdigest()}"
    assert ann.get(image).body == plan.image
    forged = form | {"goal_id": plan.goal_id, "scene_stamp_ns": str(plan.scene_stamp_ns), "plan_hash": plan.plan_hash}
    reply = ann.post(action, forged)
    assert (reply.status, "not the open proposal" in reply.text) == (409, True)
    assert office.events() == [*before, "REFUSED"]
    office.broker.take_down()
    assert ann.get(image).status == 404
    assert plan.sentence not in ann.get().text


def test_a_plan_that_could_not_be_approved_says_so_where_it_is_only_shown(ann: Visitor, office: Any) -> None:
    office.broker.note("Planned", office.proposal(preview=Preview("base", fault="it is another <arm>")))
    text = ann.get().text
    assert (
        "Nothing will move. Also without plan_only, this plan could not be approved: it is another &lt;arm&gt;." in text
    )
    assert "nothing to approve" not in text


def test_what_a_model_chose_is_shown_so(ann: Visitor, office: Any) -> None:
    office.proposed(source="model", warnings=(f"{CHOSEN_BY_MODEL}. Compare",))
    text = ann.get().text
    assert text.count(CHOSEN_BY_MODEL) == 2
    assert "<dt>Understood</dt>" not in text
    assert "95.0 %" not in text.split("Plan</h2>")[0].split("behind d2")[0]  # nobody has measured how sure it is


def test_words_from_outside_are_only_words(ann: Visitor, office: Any) -> None:
    evil = "<script>alert(1)</script>\u202e\"'{{ 7 * 7 }}"
    office.proposed(sentence=evil, answer=evil, seen_from=evil, target_label=evil, warnings=(evil,))
    text = ann.get().text
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;") >= 5
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in text


def test_an_image_is_shown_only_while_it_is_open(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    office.broker.withdraw(proposal.goal_id, "the scene has changed")
    assert ann.get(f"/picture/{hashlib.sha256(proposal.image).hexdigest()}").status == 404
    assert "the scene has changed" in ann.get().text


def test_a_bare_proposal_is_shown_too(ann: Visitor, office: Any) -> None:
    office.proposed(image=None, preview=None, candidates=(), warnings=())
    assert "Approve this plan" in ann.get().text


def test_the_state_tells_when_to_look_again(ann: Visitor, office: Any) -> None:
    import json

    def state() -> dict[str, Any]:
        return json.loads(ann.get("/state").body)

    before = state()
    assert before["remaining"] is None
    proposal = office.proposed()
    waiting = state()
    assert waiting["mark"] != before["mark"]
    assert waiting["remaining"] == 60.0
    office.clock.now += 60
    assert state()["mark"] != waiting["mark"]
    assert not office.broker.withdraw(proposal.goal_id, "over")


def test_without_scripts_the_page_comes_anew_by_itself(ann: Visitor, office: Any) -> None:
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in ann.get().text
    office.proposed()
    assert '<noscript><meta http-equiv="refresh" content="61"></noscript>' in ann.get().text  # nothing typed is lost
    ann.press("Approve this plan")
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in ann.get().text


def test_a_full_disk_shows(ann: Visitor, office: Any) -> None:
    office.proposed()
    office.audit.close()
    reply = ann.press("Approve this plan")
    assert (reply.status, "audit log" in reply.text) == (503, True)
    assert ann.press("Request stop").status == 503
    assert office.broker.view.stage is ApprovalStage.IDLE


# ------------------------------------------------------------------------------------------------ serving


def test_a_port_in_use_is_said(office: Any, page: Page) -> None:
    with pytest.raises(InputError, match="in use") as caught:
        serve(office.broker, port=page.port)
    assert str(page.port) in caught.value.got


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 0), ("127.0.0.1", 70_000), ("no such host", 0)])
def test_an_address_that_cannot_be_bound_is_said(office: Any, host: str, port: int) -> None:
    with pytest.raises(InputError, match="address of the page"):
        serve(office.broker, host, port, allow_network=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104
def test_other_machines_reach_it_only_when_that_is_said(office: Any, host: str) -> None:
    with pytest.raises(InputError, match="without encryption") as caught:
        serve(office.broker, host)
    assert "allow_network" in caught.value.repair


def test_on_all_addresses_only_given_names_are_answered(office: Any) -> None:
    with serve(office.broker, "0.0.0.0", allow_network=True, names=["Robot.lan:8080"]) as page:  # noqa: S104
        visitor = Visitor("127.0.0.1", page.port)
        assert visitor.get().status == 400
        assert visitor.get(host="robot.lan:8080").status == 401


def test_closing_frees_the_port_and_is_soon_over(office: Any) -> None:
    page = serve(office.broker, token=TOKEN)
    held = socket.create_connection((page.host, page.port))
    page.close()
    page.close()
    held.close()
    serve(office.broker, port=page.port).close()


def test_each_page_has_a_token_of_its_own_that_nothing_prints(office: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with serve(office.broker) as one, serve(office.broker) as other:
        tokens = {page.url.partition("?token=")[2] for page in (one, other)}
        assert len(tokens) == 2
        assert all(len(token) >= 43 for token in tokens)
        Visitor(one.host, one.port).get(one.url.partition(str(one.port))[2])
        printed = "".join(capfd.readouterr()) + repr(one) + one.address + str(office.records())
        assert not any(token in printed for token in tokens)


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "x" * 40 + "&", "ü" * 40])
def test_a_weak_token_is_refused(office: Any, token: str) -> None:
    with pytest.raises(InputError, match="32 or more"):
        serve(office.broker, token=token)


# ------------------------------------------------------------------------------------------------ pieces


def test_old_sessions_and_old_guesses_go() -> None:
    now = [0.0]
    guard = Guard(TOKEN, lambda: now[0])
    first = guard.sign_in(TOKEN, "a")
    assert first is not None
    for _ in range(64):
        last = guard.sign_in(TOKEN, "a")
    assert guard.session(first) is None
    assert guard.session(last) is not None
    for _ in range(5):
        guard.sign_in("wrong", "b")
    assert guard.wait_before("b") == 60.0
    assert guard.wait_before("a") == 0.0
    now[0] = 60.0
    assert guard.wait_before("b") == 0.0
    now[0] = 12 * 3600.0
    assert guard.session(last) is None


def test_names_of_the_page() -> None:
    assert is_loopback("127.1.2.3")
    assert is_loopback("::1")
    assert not is_loopback("localhost.evil.example")
    assert "localhost" in names_of("127.0.0.1", 80)
    assert "localhost" not in names_of("127.0.0.1", 8080)
    assert names_of("192.0.2.1", 8080, ["robot.lan:8080"]) == {"192.0.2.1:8080", "robot.lan:8080"}


def test_both_drawings_have_one_scale_and_fit() -> None:
    path = ((0.3, 0.2, 0.5), (0.5, -0.1, 0.05), (0.5, -0.1, 0.3))
    above, side = side_views(path)
    assert above.bar / above.bar_metres == side.bar / side.bar_metres
    scale = side.bar / side.bar_metres
    assert side.points[1][1] - side.points[0][1] == pytest.approx(0.45 * scale)  # down is down
    assert above.points[1][0] - above.points[0][0] == pytest.approx(0.3 * scale)  # to the right is to the right
    for x, y in (*above.points, *side.points):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert side_views(((0.1, 0.1, 0.1), (0.1, 0.1, 0.1)))[0].points[0] == (WIDTH / 2, HEIGHT / 2)
