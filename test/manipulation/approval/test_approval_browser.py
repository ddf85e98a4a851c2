# SPDX-License-Identifier: Apache-2.0
"""The page in Chromium: by keyboard alone, without scripts, in every state accessible, and never a slip of the hand."""

import dataclasses
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("chromium or its driver is not here: scripts/setup.sh browser", allow_module_level=True)

from approval_browser import Browser
from selenium.webdriver.common.keys import Keys

from spatial_vlm_ros.manipulation.approval.page import Page
from spatial_vlm_ros.manipulation.approval.proposal import Proposal

pytestmark = pytest.mark.live
APPROVE, REJECT = "Approve this plan", "Reject this plan"


def sign_in(browser: Browser, page: Page) -> None:
    browser.open(page.url)
    browser.driver.find_element("id", "operator").send_keys("Ann", Keys.ENTER)
    browser.until_says("You are Ann", "header")


@pytest.fixture
def signed(browser: Browser, page: Page) -> Browser:
    sign_in(browser, page)
    return browser


def decidable(browser: Browser, words: str = APPROVE) -> None:
    browser.until("the plan can be decided", lambda: (b := browser.button(words)) and b.is_enabled())


def played(browser: Browser) -> None:
    browser.until("the player", lambda: browser.script("return !document.querySelector('.controls').hidden"))


def test_signing_in_and_approving_by_keyboard_alone(browser: Browser, page: Page, office: Any) -> None:
    proposal = office.proposed()
    browser.open(page.url)
    assert "token" not in browser.driver.current_url
    browser.tab_to("operator")
    browser.press("Ann", Keys.ENTER)
    browser.until_says("You are Ann", "header")
    decidable(browser)
    way = browser.tab_to(REJECT)
    assert way == ["Skip to what is waiting", "Request stop", APPROVE, "reason", REJECT]
    browser.press_back(2)
    browser.until("the way back", lambda: browser.focused == APPROVE)
    browser.press(Keys.ENTER)
    browser.until_says("Approved by Ann")
    assert office.broker.wait(proposal.goal_id) == office.says(proposal)


def test_the_first_tab_leads_past_the_header_and_enter_in_a_field_never_approves(signed: Browser, office: Any) -> None:
    proposal = office.proposed()
    signed.until("the plan", lambda: signed.button(APPROVE))
    signed.tab_to("Skip to what is waiting")
    signed.press(Keys.ENTER)
    decidable(signed)
    assert signed.tab_to(APPROVE) == [APPROVE]
    signed.driver.find_element("id", "reason").send_keys("the wrong cup", Keys.ENTER)
    signed.until_says("Rejected by Ann: the wrong cup")
    assert not office.broker.wait(proposal.goal_id).approve


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_a_key_pressed_before_one_has_looked_does_nothing(signed: Browser, page: Page, office: Any, key: str) -> None:
    """Neither when the page is opened nor when a plan appears on it."""
    office.proposed()
    signed.until("the plan", lambda: signed.button(APPROVE))
    signed.press(key)
    signed.open(page.address)
    signed.press(key)
    decidable(signed)
    signed.press(key)
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert office.events().count("REFUSED") == 0


def test_an_open_page_follows_the_desk(signed: Browser, office: Any) -> None:
    heard = office.heard()
    signed.until_says("Nothing is waiting")
    proposal = office.proposed()
    signed.until_says("A plan is waiting")
    signed.until_says("A plan is waiting", "#live")
    assert signed.driver.title.startswith("A plan is waiting")
    signed.click(APPROVE)
    signed.until_says("Approved by Ann")
    office.broker.begin(office.broker.wait(proposal.goal_id))
    signed.until_says("is being executed")
    assert "not an emergency stop" in signed.text("header")
    signed.click("Request stop")
    signed.until_says("A stop was requested")
    assert heard == ["Ann"]
    office.broker.end(proposal.goal_id, "the chick is held")
    signed.until_says("the chick is held")
    office.broker.decide(office.says(office.proposed(), approve=False, operator="Bob", reason="no"))
    signed.until_says("Rejected by Bob: no")
    office.broker.ask(question := office.question())
    decidable(signed, "Send answer")
    signed.driver.find_element("id", "text").send_keys("the ribbon one", Keys.ENTER)
    signed.until_says("Ann answered: the ribbon one")
    assert office.broker.wait_answer(question.dialogue_id).text == "the ribbon one"
    office.proposed(expires_after=10.0)
    signed.until_says("Expires in")
    office.clock.now += 10.0
    signed.until_says("Expired")
    assert signed.button(APPROVE) is None


def test_what_has_just_appeared_cannot_be_clicked_at_once(signed: Browser, office: Any) -> None:
    """A click that was meant for what was there before."""
    signed.script("""
        window.seen = [];
        new MutationObserver(() => {
            for (const b of document.querySelectorAll("button.approves")) window.seen.push(b.disabled);
        }).observe(document.body, {subtree: true, childList: true, attributes: true});
    """)
    office.proposed()
    decidable(signed)
    seen = signed.script("return window.seen")
    assert (seen[0], seen[-1]) == (True, False)


def test_focus_stays_when_the_page_changes_and_lost_connections_show(signed: Browser, page: Page, office: Any) -> None:
    proposal = office.proposed()
    decidable(signed)
    signed.tab_to(APPROVE)
    office.broker.withdraw(proposal.goal_id, "the scene has changed")
    signed.until_says("the scene has changed")
    signed.until("the heading has the focus", lambda: signed.focused == "Nothing is waiting for you")
    office.proposed()
    decidable(signed)
    page.close()
    signed.until_says("The connection is lost", "#lost")
    signed.until("a decision is no longer possible", lambda: not signed.button(APPROVE).is_enabled())


def test_everything_works_without_scripts(page: Page, office: Any) -> None:
    browser = Browser(scripts=False)
    try:
        sign_in(browser, page)
        proposal = office.proposed()
        browser.until_says("A plan is waiting")  # the page comes anew by itself
        assert browser.text("#live") == ""  # no script has run
        browser.click(APPROVE)
        browser.until_says("Approved by Ann")
        office.broker.begin(office.broker.wait(proposal.goal_id))
        browser.until_says("is being executed")
        browser.click("Request stop")
        browser.until_says("A stop was requested")
        office.broker.end(proposal.goal_id, "stopped")
        question = office.question()
        office.broker.ask(question)
        browser.until_says("A question is waiting")
        browser.click("the ribbon one")
        browser.until_says("Ann answered")
    finally:
        browser.close()


PHONE = (390, 844)
IN_VIEW = """
    const button = [...document.querySelectorAll("button")].find(b => b.textContent === arguments[0]);
    const box = button.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth
        && box.height >= 44 && hit === button;
"""


@pytest.fixture(scope="module")
def shown() -> Proposal:
    """A real plan with all that is drawn of it."""
    for package in ("pinocchio", "coal", "ompl", "daqp", "msgspec"):
        pytest.importorskip(package)
    import planned_offer

    from spatial_vlm_ros.manipulation.builtin_planner.known_arms import description_file
    from spatial_vlm_ros.nodes.arm.proposals import proposal_of

    return proposal_of(
        str(uuid.UUID(int=77)), planned_offer.offer(), 60.0, planned_offer.CONFIG, str(description_file())
    )


def seconds_of(browser: Browser) -> float:
    """The moment of the animation; -1 where it is not told."""
    told = re.search(r": ([0-9.]+) of", browser.text(".says"))
    return float(told.group(1)) if told else -1.0


def test_the_motion_is_accessible_and_played_in_all_three_views(
    signed: Browser, office: Any, shown: Proposal, axe_script: str
) -> None:
    office.broker.propose(shown)
    played(signed)
    decidable(signed)
    assert signed.all_faults(axe_script) == []
    signed.look(1280)
    assert [signed.script(f"return document.querySelector('figure[data-view={view}] img').naturalWidth > 600")
            for view in ("camera", "above", "side")] == [True] * 3  # fmt: skip
    move = "const m = document.getElementById('moment'); m.value = arguments[0]; m.dispatchEvent(new Event('input'))"
    looks: dict[str, set[str]] = {view: set() for view in ("camera", "above", "side")}
    for phase, moment in (("reach", 200), ("lift", 630), ("withdraw", 1100)):  # hundredths of a second
        signed.driver.execute_script(move, moment)
        signed.until_says(f"{phase}: {moment / 100:.1f} of", ".says")
        assert signed.text(".phases tr.now").startswith(phase)
        for view, look in looks.items():
            look.add(signed.script(f"return document.querySelector('figure[data-view={view}] canvas').toDataURL()"))
    assert [len(look) for look in looks.values()] == [3, 3, 3]
    signed.driver.execute_script(move, 0)
    signed.script("document.querySelector('.plays').scrollIntoView({block: 'center'})")
    signed.click("Play")
    signed.until("it plays", lambda: signed.button("Pause") and 1.0 <= seconds_of(signed) < 9.0)
    signed.driver.execute_script(move, 1_000_000)  # its end
    assert signed.button("Play")
    signed.script("document.querySelector('.plays').click()")
    signed.until("it begins anew", lambda: signed.button("Pause") and seconds_of(signed) < 9.0)
    signed.click("Overview")
    signed.until_says("The whole motion", ".says")
    assert not signed.driver.find_element("css selector", "figure[data-view=side] canvas").is_displayed()
    assert signed.driver.get_log("browser") == []  # no policy is broken
    decidable(signed)
    assert office.events().count("REFUSED") == 0


def test_on_a_phone_all_buttons_are_there_without_scrolling(signed: Browser, office: Any, shown: Proposal) -> None:
    signed.look(PHONE[0], height=PHONE[1])
    office.broker.propose(shown)
    decidable(signed)
    for where in ("scrollTo(0, 0)", "scrollTo(0, document.body.scrollHeight / 3)",
                  "document.querySelector('.player').scrollIntoView()"):  # fmt: skip
        signed.script(where)
        for words in (APPROVE, REJECT, "Request stop"):
            assert signed.driver.execute_script(IN_VIEW, words), f"{words!r} after {where}"
    signed.button(APPROVE).click()
    signed.until_says("Approved by Ann")


@pytest.mark.parametrize("width", [1280, PHONE[0]])
def test_a_plan_that_is_only_shown_is_played_and_has_nothing_to_press(
    signed: Browser, office: Any, shown: Proposal, axe_script: str, width: int
) -> None:
    signed.look(width, height=PHONE[1])
    office.broker.note("OK: Planned: take the block. Nothing moves: plan_only is set.", shown)
    signed.until_says("Plan only: nothing will move", "h1")
    signed.until_says("Plan only: nothing will move", "#live")
    played(signed)
    for where in ("scrollTo(0, 0)", "document.querySelector('.player').scrollIntoView()"):
        signed.script(where)
        box = "const b = document.querySelector('.decide p').getBoundingClientRect();"
        assert signed.script(f"{box} return b.top >= 0 && b.bottom <= innerHeight && b.right <= innerWidth"), where
        assert "nothing to approve" in signed.text(".decide")
    signed.click("Play")
    signed.until("it plays", lambda: seconds_of(signed) >= 1.0)
    signed.click("Overview")
    buttons = [button.text for button in signed.driver.find_elements("css selector", "button") if button.text]
    assert buttons == ["Request stop", "Play", "Overview"]
    assert signed.driver.get_log("browser") == []
    assert signed.all_faults(axe_script) == []
    office.broker.take_down()
    signed.until_says("Nothing is waiting")
    assert signed.script("return document.querySelector('.player')") is None


def test_a_plan_whose_image_is_of_something_else_cannot_be_approved(
    signed: Browser, page: Page, office: Any, shown: Proposal, axe_script: str
) -> None:
    proposal = dataclasses.replace(shown, image_instruction="take the cup")
    office.broker.propose(proposal)
    signed.until_says("This plan cannot be approved: the image is of another instruction: 'take the cup'")
    decidable(signed, REJECT)
    assert not signed.button(APPROVE).is_enabled()
    played(signed)
    assert signed.all_faults(axe_script) == []
    signed.look(1280)
    signed.script("const b = document.querySelector('button.barred'); b.disabled = false; b.click()")
    signed.until("the server refuses", lambda: signed.text("h1") == "Not accepted")
    signed.until_says("another instruction")
    assert office.events()[-1] == "REFUSED"
    signed.open(page.address)
    signed.click(REJECT)
    signed.until_says("Rejected by Ann")


def test_the_page_of_a_record_plays_without_a_server(
    browser: Browser, office: Any, shown: Proposal, tmp_path: Path, axe_script: str
) -> None:
    from spatial_vlm_ros.recording.approval_replay import check_proposal, proposals, write_page

    office.broker.propose(shown)
    (only,) = proposals(office.audit.path)
    files, checks = check_proposal(office.audit.path, only)
    browser.open(write_page(tmp_path / "shown", only, files, checks).as_uri())
    played(browser)
    browser.click("Play")
    browser.until("it plays", lambda: seconds_of(browser) >= 1.0)
    for view in ("camera", "above", "side"):
        assert browser.driver.find_element("css selector", f"figure[data-view={view}] canvas").is_displayed()
    browser.click("Overview")
    browser.until_says("The whole motion", ".says")
    assert browser.driver.get_log("browser") == []
    assert browser.all_faults(axe_script) == []


def _stopping(office: Any) -> None:
    office.broker.begin(office.approved()[1])
    office.broker.request_stop("Ann")


def _expired(office: Any) -> None:
    office.proposed()
    office.clock.now += 60.0


def _unrecorded(office: Any) -> None:
    office.proposed()
    office.audit.close()
    office.broker.withdraw(office.broker.view.id, "the scene has changed")


STATES: dict[str, Callable[[Any], object]] = {
    "planned": lambda office: office.broker.note("OK: Planned. Nothing moves: plan_only is set.", office.proposal()),
    "idle": lambda office: office,
    "asked": lambda office: office.broker.ask(office.question()),
    "proposed": lambda office: office.proposed(),
    "approved": lambda office: office.approved(),
    "running": lambda office: office.broker.begin(office.approved()[1]),
    "stopping": _stopping,
    "expired": _expired,
    "rejected": lambda office: office.broker.decide(office.says(office.proposed(), approve=False, reason="the cup")),
    "unrecorded": _unrecorded,
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_accessible(signed: Browser, page: Page, office: Any, axe_script: str, state: str) -> None:
    STATES[state](office)
    signed.open(page.address)
    signed.until("buttons at rest", lambda: not signed.script("return document.querySelector('button:disabled')"))
    assert signed.all_faults(axe_script) == []
    assert signed.script("return document.getAnimations().length") == 0
    assert signed.driver.get_log("browser") == []  # no policy is broken, nothing is missing


def test_signing_in_without_a_name_is_accessible(browser: Browser, page: Page, office: Any, axe_script: str) -> None:
    for address in (page.address, page.address + "?token=wrong"):
        browser.open(address)
        browser.until_says("Sign in")
        assert browser.all_faults(axe_script) == []
    office.proposed()
    browser.open(page.url)
    assert browser.all_faults(axe_script) == []


def test_a_refusal_is_accessible(signed: Browser, office: Any, axe_script: str) -> None:
    proposal = office.proposed()
    decidable(signed)
    signed.script("window.fetch = () => new Promise(() => {})")  # the page does not hear that Bob was first
    office.broker.decide(office.says(proposal, approve=False, operator="Bob"))
    signed.button(APPROVE).click()
    signed.until_says("Rejected by Bob")
    assert signed.text("h1") == "Not accepted"
    assert signed.all_faults(axe_script) == []


def test_axe_finds_what_is_wrong(signed: Browser, axe_script: str) -> None:
    """So that an empty list means something."""
    signed.script("""
        document.querySelector("label")?.remove();
        const main = document.getElementById("main");
        main.append(Object.assign(new Image(), {src: "/static/icon.svg"}));
        main.append(Object.assign(document.createElement("input"), {type: "text"}));
        main.append(Object.assign(document.createElement("pre"), {textContent: "x".repeat(400)}));
    """)
    signed.look(320)
    faults = "\n".join(signed.faults(axe_script))
    for expected in ("image-alt", "label", "wider"):
        assert expected in faults
