# SPDX-License-Identifier: Apache-2.0
"""The labelling page in Chromium by keyboard alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("chromium or its driver is not here: scripts/setup.sh browser", allow_module_level=True)

from approval_browser import Browser
from label_browser import BEHIND, BESIDE, CUP, labelling, number_of, said, saved, shows, value
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

Serve = Callable[..., Any]
FOCUSED = """
    const e = document.activeElement, s = getComputedStyle(e);
    return [e.id || e.className || e.tagName, s.outlineStyle === "none" ? 0 : parseFloat(s.outlineWidth)]
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.forget()
    return chromium


# ------------------------------------------------------------------------------------------------ keyboard


def test_accepting_by_enter_alone(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND, CUP)
    labelling(browser, desk, BEHIND)
    assert "token" not in browser.driver.current_url
    assert "0 of 2" in browser.text("#progress")
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    shows(browser, CUP)
    expect = {"status": "OK", "id": "bonnet"}
    assert desk.lines()[0] == {"frame": "f1", "instruction": BEHIND, "expect": expect, "by": "accepted"}
    assert "1 of 2" in browser.text("#progress")
    browser.until_says("Everything is saved", "#saved")
    browser.until("what was saved is said", lambda: "Saved: OK" in said(browser) and "accepted" in said(browser))
    browser.press(Keys.ENTER)
    saved(browser, desk, 2)
    browser.until_says("Every case is labelled", "#says")


def test_a_key_that_is_held_accepts_nothing(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND, CUP)
    labelling(browser, desk, BEHIND)
    held = "{key: 'Enter', repeat: true, bubbles: true, cancelable: true}"
    browser.script(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {held}))")
    browser.press(".")
    shows(browser, CUP)
    assert desk.lines() == []


def test_choosing_another_object_by_its_number(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press(number_of(browser, "box"))
    browser.until_says("box", "#says")
    browser.until_says("not accepted yet", "#says")
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect() == {"status": "OK", "id": "box"}
    assert desk.lines()[0]["by"] == "corrected"


def test_choosing_by_arrows_and_undoing(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    before = browser.text("#says")
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.until("another object", lambda: browser.text("#says") != before)
    browser.press("u", "u")
    browser.until("as it was", lambda: browser.text("#says") == before)
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    browser.press("u")
    browser.until("the decision is taken back", lambda: desk.lines() == [])
    shows(browser, BEHIND)


def test_two_digits_choose_ten_and_more(browser: Browser, served: Serve) -> None:
    desk = served(CUP)
    path = desk.path.parent / "f1" / "detections.json"
    listed = json.loads(path.read_text())
    many = [{**listed["detections"][0], "id": f"n{n}", "mask": None, "label": f"piece {n}",
             "box": [10 + 40 * n, 300, 40 + 40 * n, 330]} for n in range(1, 13)]  # fmt: skip
    path.unlink()
    path.write_text(json.dumps({"detections": many}))
    labelling(browser, desk, CUP)
    browser.press("1", "2")
    browser.until_says("12 piece 12", "#says")
    browser.press(Keys.ESCAPE, "1")
    browser.until_says("1 piece 1", "#says")
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect()["id"] == "n1"


def test_marking_several_as_right(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press("m")
    browser.until_says("Mark:", "#says")
    browser.press(number_of(browser, "cup"), number_of(browser, "box"), "m")
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect()["id"] == "bonnet"
    assert set(desk.expect()["id_also"]) == {"cup", "box"}


@pytest.mark.parametrize(("key", "status"), [("f", "NOT_FOUND"), ("a", "AMBIGUOUS"), ("v", "RELATION_UNSATISFIED")])
def test_a_status_by_one_key(browser: Browser, served: Serve, key: str, status: str) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press(key, Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect() == {"status": status}


def test_any_status_from_the_list_by_keyboard(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press("s")
    browser.press("OCC")
    browser.press(Keys.ENTER)  # out of the field
    browser.until("the sentence has the focus", lambda: browser.focused == BEHIND)
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect() == {"status": "OCCLUDED"}


def test_a_box_by_keyboard(browser: Browser, served: Serve) -> None:
    desk = served("the fork")
    labelling(browser, desk, "the fork")
    browser.press("b")
    browser.until_says("Box: arrows", "#says")
    start = [float(value(browser, f"box-{one}")) for one in ("x1", "y1", "x2", "y2")]
    browser.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_UP)
    browser.press("x", Keys.ARROW_RIGHT)
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_DOWN).key_up(Keys.SHIFT).perform()
    browser.press(Keys.ENTER, Keys.ENTER)  # keeps the box, accepts
    saved(browser, desk, 1)
    moved = [start[0] - 2, start[1] - 1, start[2] + 1, start[3] + 10]
    assert desk.expect() == {"status": "OK", "box": moved}
    assert desk.lines()[0]["by"] == "corrected"


def test_a_box_that_is_not_kept_changes_nothing(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    before = browser.text("#says")
    browser.press("b", Keys.ARROW_LEFT, Keys.ESCAPE)
    browser.until("as before", lambda: browser.text("#says").endswith(before))
    browser.press("b", Keys.ENTER)  # begun and left as the object has it
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect() == {"status": "OK", "id": "bonnet"}
    assert desk.lines()[0]["by"] == "accepted"


def test_a_corrected_box_of_an_object(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press("b", Keys.ARROW_LEFT, Keys.ENTER, Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect().keys() == {"status", "id", "label", "box"}
    assert desk.expect()["label"] == "chick"


def test_the_place_by_keyboard(browser: Browser, served: Serve) -> None:
    desk = served(BESIDE)
    labelling(browser, desk, BESIDE)
    before = [float(value(browser, f"place-center-{axis}")) for axis in "xyz"]
    browser.press("p")
    browser.until_says("Place: arrows", "#says")
    # The camera looks along x of base: up in the drawing is +x, right is -y.
    browser.press(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT, "+")
    browser.press(Keys.ENTER, Keys.ENTER)
    saved(browser, desk, 1)
    place = desk.expect()["place"]
    assert place["region_center"] == pytest.approx([before[0] + 0.02, before[1] - 0.01, before[2]], abs=1e-3)
    assert place["region_half"] == pytest.approx([0.07, 0.07, 0.0])
    assert (place["relation"], place["anchor_id"]) == ("right of", "cup")


def test_a_new_place_told_by_another_object(browser: Browser, served: Serve) -> None:
    desk = served(CUP)
    labelling(browser, desk, CUP)
    browser.press("p", number_of(browser, "box"))
    browser.press(Keys.ENTER)
    field = browser.driver.find_element("id", "place-relation")
    field.clear()
    field.send_keys("next to", Keys.ENTER)
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect()["id"] == "cup"
    assert desk.expect()["place"]["relation"] == "next to"
    assert desk.expect()["place"]["anchor_id"] == "box"


def test_no_place_where_the_cameras_pose_is_not_known(browser: Browser, served: Serve) -> None:
    desk = served(CUP, frames=2, lines=[{"frame": "f1", "instruction": CUP, "expect": {"status": "OK", "id": "cup"}}])
    labelling(browser, desk, CUP)
    browser.until_says("f2", "#where")
    browser.press("p")
    browser.until_says("base_T_camera.json", "#says")
    browser.press(Keys.ENTER)
    saved(browser, desk, 2)


def test_a_question_and_its_answer(browser: Browser, served: Serve) -> None:
    words = "how many chicks are there?"
    desk = served(words)
    labelling(browser, desk, words)
    assert value(browser, "answer-value") == "2"
    field = browser.driver.find_element("id", "answer-value")
    field.clear()
    field.send_keys("3", Keys.ENTER)
    browser.press("m", number_of(browser, "cup"), "m", Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.expect()["status"] == "ANSWERED"
    assert desk.expect()["answer"]["value"] == 3
    assert set(desk.expect()["answer"]["ids"]) == {"bonnet", "ribbon", "cup"}


def test_kind_skip_back_and_a_typed_sentence(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND, CUP)
    labelling(browser, desk, BEHIND)
    browser.press(".")
    shows(browser, CUP)
    browser.press(",")
    shows(browser, BEHIND)
    browser.press("k")
    browser.press("5 behind, easy", Keys.ENTER)
    browser.press(Keys.ENTER)
    saved(browser, desk, 1)
    assert desk.lines()[0]["kind"] == ["5 behind", "easy"]
    shows(browser, CUP)
    browser.press("n")
    browser.press("the ribbon chick", Keys.ENTER)
    shows(browser, "the ribbon chick")
    assert desk.lines()[-1] == {"frame": "f1", "instruction": "the ribbon chick"}


def test_keys_of_one_letter_can_be_switched_off(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.press("?")
    browser.driver.find_element("id", "keys-on").click()
    browser.script("document.activeElement.blur()")
    before = browser.text("#says")
    browser.press("f", "1", "b")
    assert browser.text("#says") == before
    assert browser.script("return document.getElementById('status').value") == "OK"


def test_keys_in_a_field_are_text(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    field = browser.driver.find_element("id", "kind")
    field.send_keys("fab 12")
    assert value(browser, "kind") == "fab 12"
    assert browser.script("return document.getElementById('status').value") == "OK"
    assert desk.lines() == []


def test_everything_is_reached_by_tab(browser: Browser, served: Serve) -> None:
    desk = served(BEHIND)
    labelling(browser, desk, BEHIND)
    browser.script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(60):
        browser.press(Keys.TAB)
        name, width = browser.script(FOCUSED)
        reached.add(name)
        assert name == "BODY" or width >= 1, f"{name} does not show that it has the keyboard"
    assert {"skip", "box-mode", "place-mode", "status", "kind", "back", "accept", "SUMMARY"} <= reached
