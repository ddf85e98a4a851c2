# SPDX-License-Identifier: Apache-2.0
"""The page over real HTTP: who gets in, what is shown, and that only a form of one's own session decides.

What must decide nothing is in test_fault_pages.py, too.
"""

import hashlib
import json
import re
import socket
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from approval_visitor import TOKEN, Visitor
from tables import tables

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage
from spatial_vlm_ros.manipulation.approval.page import Page, serve
from spatial_vlm_ros.manipulation.approval.proposal import Preview
from spatial_vlm_ros.manipulation.approval.web import HEIGHT, WIDTH, side_views
from spatial_vlm_ros.types import CHOSEN_BY_MODEL
from spatial_vlm_ros.web.guard import Guard, is_loopback, names_of

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.live
TABLES = tables(__file__)
FORM = "application/x-www-form-urlencoded"


def test_the_token_opens_a_session_and_leaves_the_address(page: Page, stranger: Visitor, office: Any) -> None:
    reply = stranger.get(f"/?token={TOKEN}")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert stranger.get().status == 200
    assert office.events()[-1] == "SIGNED_IN"
    assert office.records()[-1]["remote"].startswith("127.0.0.1:")
    typed = Visitor(page.host, page.port)
    assert typed.post("/sign-in", {"token": TOKEN}, origin="http://evil.example").status == 403
    assert not typed.cookies
    assert typed.post("/sign-in", {"token": TOKEN}).status == 303
    assert typed.get().status == 200


def test_without_a_session_nothing_is_shown(stranger: Visitor, office: Any) -> None:
    office.proposed()
    for cookies in ({}, {f"spatial_vlm_approval_{stranger.port}": "guess"}):
        stranger.cookies = cookies
        for path in ("/", "/state", "/picture/" + "0" * 64):
            reply = stranger.get(path)
            assert (reply.status, "chick" in reply.text) == (401, False), path


def test_a_wrong_token_is_refused_and_on_record(stranger: Visitor, office: Any) -> None:
    for token in ("x", TOKEN[:-1], TOKEN + "t", "ü" * 43, "%ff%fe"):
        reply = stranger.get(f"/?token={quote(token, safe='%')}")
        assert (reply.status, "set-cookie" in reply.headers) == (403, False), token
        record = office.records()[-1]
        assert (record["event"], record["outcome"]) == ("ACCESS_REFUSED", "a wrong token")
        assert token not in str(record)


def test_guessing_is_slowed_and_keeps_nobody_out_with_the_token(stranger: Visitor, ann: Visitor, office: Any) -> None:
    replies = [stranger.get("/?token=", x_forwarded_for=f"10.0.0.{n}").status for n in range(9)]
    assert replies == [403] * 5 + [429] * 4, "nobody can say that they come from elsewhere"
    assert all(record["remote"].startswith("127.0.0.1:") for record in office.records()[1:])
    assert int(stranger.get("/?token=guess").headers["retry-after"]) in range(1, 61)
    assert ann.get().status == 200
    assert office.events().count("ACCESS_REFUSED") == 5
    assert stranger.get(f"/?token={TOKEN}").status == 303  # from the same address: who operates may have to stop


def test_only_our_own_names_are_answered(ann: Visitor, stranger: Visitor, office: Any) -> None:
    """So that a name of another site, made to point at this machine, gets nothing."""
    for host in ("evil.example", f"evil.example:{ann.port}", "127.0.0.1", "127.0.0.1:1", "", None):
        reply = ann.get(host=host)
        assert (reply.status, "set-cookie" in reply.headers) == (400, False), host
        if host:  # without one the server itself refuses
            assert "unknown Host" in office.records()[-1]["outcome"]
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert ann.get(host=f"{name}:{ann.port}").status == 200
    for _ in range(40):
        assert stranger.get(host="evil.example").status == 400
    assert office.events().count("ACCESS_REFUSED") == 30, "refused requests do not fill the disk"


def test_every_answer_tells_the_browser_what_it_must_not_do(ann: Visitor, stranger: Visitor, office: Any) -> None:
    office.proposed()
    paths = ["/", "/state", "/static/page.js", "/static/page.css", "/static/../page.py", "/nothing", "/decide"]
    replies = [visitor.get(path) for visitor in (ann, stranger) for path in paths]
    replies += [stranger.get("/?token=x"), ann.get(host="evil.example")]
    replies += [ann.post("/decide", {}), ann.post("/state", {})]
    for reply in replies:
        assert dict(TABLES["headers"]).items() <= reply.headers.items()
        policy = reply.headers["content-security-policy"]
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert "unsafe" not in policy
        assert "server" not in reply.headers
    text = ann.get().text  # nothing of it needs an inline script or style
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


def test_other_cookies_of_the_same_name_sign_nobody_out_and_with_tls_the_name_is_for_this_host_alone(
    ann: Visitor,
) -> None:
    ((name, secret),) = ann.cookies.items()
    ann.cookies = {}
    for given in (f"{name}=x; {name}={secret}", f"{name}={secret}; {name}=x"):
        assert "Ann" in ann.get(cookie=given).text
    tls = {"x_forwarded_proto": "https"}
    told = ann.get(f"/?token={TOKEN}", **tls).headers["set-cookie"]
    assert told.startswith(f"__Host-{name}=")
    assert "; Secure" in told
    statuses = [ann.get(cookie=given, **tls).status for given in (f"{name}={secret}", told.partition(";")[0])]
    assert statuses == [401, 200]


def test_approving_and_rejecting_by_the_page(page: Page, ann: Visitor, office: Any) -> None:
    bob = Visitor(page.host, page.port).sign_in(TOKEN, "Bob")
    proposal = office.proposed()
    action, late = bob.form("Reject this plan")
    assert ann.press("Approve this plan").status == 303
    assert office.broker.wait(proposal.goal_id) == office.says(proposal)
    record = next(r for r in office.records() if r["event"] == "APPROVED")
    assert record["remote"].startswith("127.0.0.1:")
    assert "Approve this plan" not in ann.get().text
    reply = bob.post(action, late)
    assert (reply.status, "Approved by Ann" in reply.text) == (409, True)
    office.broker.withdraw(proposal.goal_id, "no more")
    proposal = office.proposed()
    assert ann.press("Reject this plan", reason=" the <b>wrong</b> cup ").status == 303
    assert office.broker.wait(proposal.goal_id).reason == "the <b>wrong</b> cup"
    assert "&lt;b&gt;wrong&lt;/b&gt;" in ann.get().text


def test_answering_by_a_button_or_in_words(ann: Visitor, office: Any) -> None:
    for press in (lambda: ann.press("the left one (c1)"), lambda: ann.press("Send answer", text="the left one")):
        question = office.question(answers=("the left one", "the right one"), means=("c1", "<b>c2</b>\x07"))
        office.broker.ask(question)
        assert "the right one (&lt;b&gt;c2&lt;/b&gt;" in ann.get().text, "what it means is on the button"
        assert press().status == 303
        assert office.broker.wait_answer(question.dialogue_id).text == "the left one"
    bare = office.question()
    office.broker.ask(bare)
    assert ann.press("the ribbon one").status == 303
    assert office.broker.wait_answer(bare.dialogue_id).text == "the ribbon one"


def test_without_a_name_a_stop_may_be_requested_and_nothing_is_decided(page: Page, ann: Visitor, office: Any) -> None:
    heard = office.heard()
    assert ann.press("Request stop").status == 303
    nameless = Visitor(page.host, page.port).sign_in(TOKEN, operator="")
    assert nameless.press("Request stop").status == 303
    assert heard == ["Ann", "unnamed"]
    proposal = office.proposed()
    assert "Approve this plan" not in nameless.get().text
    form = {"form_token": nameless.form("Request stop")[1]["form_token"], "plan_hash": proposal.plan_hash}
    form |= {"goal_id": proposal.goal_id, "scene_stamp_ns": str(proposal.scene_stamp_ns), "decision": "approve"}
    reply = nameless.post("/decide", form)
    assert (reply.status, "operator" in reply.text) == (400, True)
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    for operator in ("", "  ", "A" * 81, "A\u202enn", "A\nnn"):
        assert nameless.press("Save name", operator=operator).status == 400


@pytest.mark.parametrize("button", ["Approve this plan", "Request stop", "Save name"])
def test_a_form_of_another_site_does_nothing(page: Page, office: Any, button: str) -> None:
    visitor = Visitor(page.host, page.port).sign_in(TOKEN, operator="" if button == "Save name" else "Ann")
    heard = office.heard()
    office.proposed()
    action, form = visitor.form(button)
    for origin in ("http://evil.example", "null", None, "https://127.0.0.1", "http://127.0.0.1:1"):
        reply = visitor.post(action, form | {"operator": "Eve"}, origin=origin)
        assert reply.status == 403, origin
        assert (office.broker.view.stage, heard) == (ApprovalStage.PROPOSED, [])
        assert "Eve" not in visitor.get().text
        assert office.records()[-1]["event"] == "ACCESS_REFUSED"


def test_a_form_without_its_sessions_token_or_sent_as_a_link_does_nothing(ann: Visitor, office: Any) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    for token in ("", "x" * 43, "ü"):
        assert ann.post(action, form | {"form_token": token}).status == 403
    assert ann.post(action, {name: value for name, value in form.items() if name != "form_token"}).status == 403
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert ann.send(method, f"{action}?{urlencode(form)}").status == 405
    assert ann.send("POST", f"{action}?{urlencode(form)}", b"").status == 403
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def test_a_malformed_form_is_refused_and_on_record(ann: Visitor, office: Any) -> None:
    office.proposed()
    action, form = ann.form("Approve this plan")
    rows = [*TABLES["malformed"], ["endless stamp", {"scene_stamp_ns": "9" * 5000}], ["long", {"reason": "a" * 3000}]]
    for kind, change in rows:
        fields = {name: value for name, value in (form | change).items() if value is not None}
        reply, record = ann.post(action, fields), office.records()[-1]
        assert (reply.status, "Not accepted" in reply.text) == (400, True), kind
        assert (record["event"], record["operator"]) == ("ACCESS_REFUSED", "Ann"), kind
    assert office.events().count("ACCESS_REFUSED") == len(rows)
    many = "&".join(f"a{n}=1" for n in range(30))
    for body, content_type in (*TABLES["no forms"], [many, FORM], ["a=" + "x" * 20_000, FORM]):
        sent = body.encode("latin-1")
        assert ann.send("POST", "/decide", sent, content_type=content_type).status == 400, body
    assert office.broker.view.stage is ApprovalStage.PROPOSED


def facts_of(plan: Any) -> tuple[str, ...]:
    """What is shown of a plan, whether it is to be approved or not."""
    told = (plan.sentence, plan.answer, plan.seen_from, plan.warnings[0], plan.plan_hash)
    return *told, "95.0 %", "2.5 s</td>", "5.0 s in all", "50 mm", "(0.500, 0.100, 0.050) m"


def path_of(plan: Any) -> str:
    return f"/picture/{hashlib.sha256(plan.image).hexdigest()}"


def test_a_proposal_is_shown_with_all_that_matters(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    text = ann.get().text
    for words in (*facts_of(proposal), proposal.goal_id, "+0.210 m", "behind d2: holds", "60 s",
                  "not an emergency stop"):  # fmt: skip
        assert words in text, words
    image = path_of(proposal)
    reply = ann.get(image)
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "image/png", proposal.image)
    office.broker.withdraw(proposal.goal_id, "the scene has changed")
    assert ann.get(image).status == 404
    assert "the scene has changed" in ann.get().text
    office.proposed(image=None, preview=None, candidates=(), warnings=())
    assert "Approve this plan" in ann.get().text


def test_a_plan_that_is_only_made_is_shown_with_nothing_to_approve(ann: Visitor, office: Any) -> None:
    proposal = office.proposed()
    action, form = ann.form("Approve this plan")
    office.broker.withdraw(proposal.goal_id, "no more")
    before = office.events()
    plan = office.proposal()
    office.broker.note("OK: Planned. Nothing moves: plan_only is set.", plan)
    text = ann.get().text
    said = ("Plan only: nothing will move", "Nothing moves: plan_only is set.", "nothing to approve", "Warnings")
    for words in (*said, *facts_of(plan)):
        assert words in text, words
    for words in ("/decide", "Approve this plan", "Reject this plan", 'name="goal_id"', 'name="plan_hash"', "Expires",
                  "Before you decide", "What an approval names"):  # fmt: skip
        assert words not in text, words
    image = path_of(plan)
    assert ann.get(image).body == plan.image
    forged = form | {"goal_id": plan.goal_id, "scene_stamp_ns": str(plan.scene_stamp_ns), "plan_hash": plan.plan_hash}
    reply = ann.post(action, forged)
    assert (reply.status, "not the open proposal" in reply.text) == (409, True)
    assert office.events() == [*before, "REFUSED"]
    office.broker.take_down()
    assert ann.get(image).status == 404
    assert plan.sentence not in ann.get().text
    office.broker.note("Planned", office.proposal(preview=Preview("base", fault="it is another <arm>")))
    text, words = ann.get().text, "this plan could not be approved: it is another &lt;arm&gt;."
    assert f"Nothing will move. Also without plan_only, {words}" in text
    assert "nothing to approve" not in text


def test_what_a_model_chose_is_shown_so_and_words_from_outside_are_only_words(ann: Visitor, office: Any) -> None:
    chosen = office.proposed(source="model", warnings=(f"{CHOSEN_BY_MODEL}. Compare",))
    text = ann.get().text
    assert text.count(CHOSEN_BY_MODEL) == 2
    assert "<dt>Understood</dt>" not in text
    assert "95.0 %" not in text.split("Plan</h2>")[0].split("behind d2")[0]  # nobody has measured how sure it is
    office.broker.withdraw(chosen.goal_id, "no more")
    evil = "<script>alert(1)</script>\u202e\"'{{ 7 * 7 }}"
    office.proposed(sentence=evil, answer=evil, seen_from=evil, target_label=evil, warnings=(evil,))
    text = ann.get().text
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;") >= 5
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in text


def test_the_state_tells_when_to_look_again(ann: Visitor, office: Any) -> None:
    def state() -> dict[str, Any]:
        return dict(json.loads(ann.get("/state").body))

    def anew(seconds: int) -> bool:
        """Whether the page comes anew after so long where scripts are off."""
        return f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>' in ann.get().text

    before = state()
    assert before["remaining"] is None
    assert anew(5)
    first = office.proposed()
    assert anew(61)  # nothing typed is lost
    ann.press("Approve this plan")
    assert anew(5)
    office.broker.withdraw(first.goal_id, "over")
    proposal = office.proposed()
    waiting = state()
    assert waiting["mark"] != before["mark"]
    assert waiting["remaining"] == 60.0
    office.clock.now += 60
    assert state()["mark"] != waiting["mark"]
    assert not office.broker.withdraw(proposal.goal_id, "over")


def test_a_full_disk_shows(ann: Visitor, office: Any) -> None:
    office.proposed()
    office.audit.close()
    reply = ann.press("Approve this plan")
    assert (reply.status, "audit log" in reply.text) == (503, True)
    assert ann.press("Request stop").status == 503
    assert office.broker.view.stage is ApprovalStage.IDLE


@pytest.mark.parametrize(("given", "words", "more"), TABLES["addresses"])
def test_an_address_or_token_that_cannot_be_used_is_refused(office: Any, given: Any, words: str, more: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        serve(office.broker, **given)
    assert more in caught.value.repair


def test_on_all_addresses_only_given_names_are_answered(office: Any) -> None:
    with serve(office.broker, "0.0.0.0", allow_network=True, names=["Robot.lan:8080"]) as page:  # noqa: S104
        visitor = Visitor("127.0.0.1", page.port)
        assert visitor.get().status == 400
        assert visitor.get(host="robot.lan:8080").status == 401


def test_a_port_in_use_is_said_and_closing_frees_it(office: Any) -> None:
    page = serve(office.broker, token=TOKEN)
    with pytest.raises(InputError, match="in use") as caught:
        serve(office.broker, port=page.port)
    assert str(page.port) in caught.value.got
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
    assert [is_loopback(host) for host in ("127.1.2.3", "::1", "localhost.evil.example")] == [True, True, False]
    assert ["localhost" in names_of("127.0.0.1", port) for port in (80, 8080)] == [True, False]
    assert names_of("192.0.2.1", 8080, ["robot.lan:8080"]) == {"192.0.2.1:8080", "robot.lan:8080"}


def test_both_drawings_have_one_scale_and_fit() -> None:
    above, side = side_views(((0.3, 0.2, 0.5), (0.5, -0.1, 0.05), (0.5, -0.1, 0.3)))
    assert above.bar / above.bar_metres == side.bar / side.bar_metres
    scale = side.bar / side.bar_metres
    assert side.points[1][1] - side.points[0][1] == pytest.approx(0.45 * scale)  # down is down
    assert above.points[1][0] - above.points[0][0] == pytest.approx(0.3 * scale)  # to the right is to the right
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in (*above.points, *side.points))
    assert side_views(((0.1, 0.1, 0.1), (0.1, 0.1, 0.1)))[0].points[0] == (WIDTH / 2, HEIGHT / 2)
