# SPDX-License-Identifier: Apache-2.0
"""The labelling page in Chromium: by mouse, by keyboard alone, in every state, and for everyone."""

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip("chromium or its driver is not here: scripts/setup.sh browser", allow_module_level=True)

from approval_browser import Browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

Serve = Callable[..., Any]
BEHIND, BESIDE, CUP = "the chick behind the cup", "put the box to the right of the cup", "the cup"
READY = "return document.querySelector('#sentence').textContent"

FOCUSED = """
    const e = document.activeElement, s = getComputedStyle(e);
    return [e.id || e.className || e.tagName, s.outlineStyle === "none" ? 0 : parseFloat(s.outlineWidth)]
"""


def labelling(browser: Browser, desk: Any, words: str) -> None:
    browser.open(desk.page.url)
    shows(browser, words)


@pytest.fixture
def label(browser: Browser, served: Serve) -> Serve:
    """Serves a page, and opens it on its first sentence or on the words that are told."""

    def open_page(*sentences: str, words: str | None = None, **options: Any) -> Any:
        desk = served(*sentences, **options)
        labelling(browser, desk, words or sentences[0])
        return desk

    return open_page


def shows(browser: Browser, words: str) -> None:
    browser.until(f"the case {words!r}", lambda: browser.script(READY) == words and not busy(browser))


def busy(browser: Browser) -> bool:
    return bool(browser.script("return document.getElementById('main').hasAttribute('aria-busy')"))


def saved(browser: Browser, desk: Any, n: int) -> None:
    browser.until(f"{n} truths in the file", lambda: sum("expect" in line for line in desk.lines()) == n)
    browser.until("the page is ready", lambda: not busy(browser))


def accepted(browser: Browser, desk: Any, *keys: str, n: int = 1) -> None:
    """Accept the case by Enter after some keys, which writes the file's n-th truth."""
    browser.press(*keys, Keys.ENTER)
    saved(browser, desk, n)


def taken_back(browser: Browser, desk: Any, words: str) -> None:
    """Undo the file's only decision."""
    browser.press("u")
    browser.until("the decision is taken back", lambda: desk.lines() == [])
    shows(browser, words)


def number_of(browser: Browser, label: str) -> str:
    """The number that the table gives the first object of a name."""
    rows = browser.driver.find_elements("css selector", "#objects tbody tr")
    return next(row.find_element("tag name", "th").text for row in rows if label in row.text)


def value(browser: Browser, id_: str) -> str:
    found = browser.script(f"return document.getElementById({id_!r}).value")
    return str(found)


def said(browser: Browser) -> str:
    return str(browser.script("return document.getElementById('live').textContent"))


def typed(browser: Browser, field: str, words: str) -> None:
    """Put words in place of those in a field, and leave it by Enter."""
    element = browser.driver.find_element("id", field)
    element.clear()
    element.send_keys(words, Keys.ENTER)


def at(browser: Browser, svg: str, x: float, y: float, size: tuple[float, float]) -> tuple[int, int]:
    """Offset from the middle of a drawing of a point in its own units."""
    measured = f"const r = document.getElementById({svg!r}).getBoundingClientRect(); return [r.width, r.height]"
    area = browser.script(measured)
    return round((x / size[0] - 0.5) * area[0]), round((y / size[1] - 0.5) * area[1])


def drag(browser: Browser, svg: str, start: tuple[int, int], end: tuple[int, int]) -> None:
    element = browser.driver.find_element("id", svg)
    browser.script(f"document.getElementById({svg!r}).scrollIntoView({{block: 'center'}})")
    chain = ActionChains(browser.driver).move_to_element_with_offset(element, *start).click_and_hold()
    chain.move_to_element_with_offset(element, (start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
    chain.move_to_element_with_offset(element, *end).release().perform()


def test_clicking_an_object_chooses_it(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    shown = desk.session.case(0)
    box = next(one["box"] for one in shown["detections"] if one["id"] == "box")
    where = at(browser, "overlay", (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (640, 480))
    overlay = browser.driver.find_element("id", "overlay")
    ActionChains(browser.driver).move_to_element_with_offset(overlay, *where).click().perform()
    browser.until_says("box", "#says")
    browser.click("Accept Enter")
    saved(browser, desk, 1)
    assert desk.expect()["id"] == "box"


def test_a_box_is_drawn_and_corrected_by_mouse(browser: Browser, label: Serve) -> None:
    desk = label("the fork", bare=True)
    browser.until_says("Nothing was detected", "#no-objects")
    browser.click("Box b")
    drag(browser, "overlay", at(browser, "overlay", 40, 300, (640, 480)), at(browser, "overlay", 140, 400, (640, 480)))
    browser.until("the box is drawn", lambda: abs(float(value(browser, "box-x2")) - 140) < 3)
    drag(browser, "overlay", at(browser, "overlay", 140, 350, (640, 480)), at(browser, "overlay", 180, 350, (640, 480)))
    browser.until("its right edge moved", lambda: abs(float(value(browser, "box-x2")) - 180) < 4)
    drag(browser, "overlay", at(browser, "overlay", 100, 350, (640, 480)), at(browser, "overlay", 120, 360, (640, 480)))
    browser.until("all of it moved", lambda: abs(float(value(browser, "box-x1")) - 60) < 5)
    name = browser.driver.find_element("id", "box-label")
    name.send_keys("fork", Keys.ENTER)
    accepted(browser, desk, Keys.ENTER)  # leaves the box
    assert desk.expect()["box"] == pytest.approx([60, 310, 200, 410], abs=6)
    assert desk.expect()["label"] == "fork"


def test_the_place_is_drawn_by_mouse(browser: Browser, label: Serve) -> None:
    desk = label(BESIDE)
    before = json.dumps(desk.session.case(0)["proposal"]["place"])
    browser.click("Place p")
    drag(browser, "top", (-60, -40), (20, 60))
    drawn = browser.until("the region is drawn", lambda: float(value(browser, "place-half-x")) != 0.06)
    assert drawn
    halves = [float(value(browser, f"place-half-{axis}")) for axis in "xy"]
    assert halves[0] / halves[1] == pytest.approx(100 / 80, rel=0.1)  # x of base is up, y is left
    accepted(browser, desk, Keys.ENTER)
    assert json.dumps(desk.expect()["place"]) != before
    assert desk.expect()["place"]["region_half"][:2] == pytest.approx(halves, abs=1e-3)


def test_accepting_by_enter_alone(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND, CUP)
    assert "token" not in browser.driver.current_url
    held = "{key: 'Enter', repeat: true, bubbles: true, cancelable: true}"
    browser.script(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {held}))")
    browser.press(".")
    shows(browser, CUP)
    assert desk.lines() == []  # a key that is held accepts nothing
    browser.press(",")
    shows(browser, BEHIND)
    assert "0 of 2" in browser.text("#progress")
    accepted(browser, desk)
    shows(browser, CUP)
    expect = {"status": "OK", "id": "bonnet"}
    assert desk.lines()[0] == {"frame": "f1", "instruction": BEHIND, "expect": expect, "by": "accepted"}
    assert "1 of 2" in browser.text("#progress")
    browser.until_says("Everything is saved", "#saved")
    browser.until("what was saved is said", lambda: "Saved: OK" in said(browser) and "accepted" in said(browser))
    accepted(browser, desk, n=2)
    browser.until_says("Every case is labelled", "#says")


def test_another_object_by_its_number_or_by_arrows_and_undoing(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    before = browser.text("#says")
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.until("another object", lambda: browser.text("#says") != before)
    browser.press("u", "u")
    browser.until("as it was", lambda: browser.text("#says") == before)
    browser.press(number_of(browser, "box"))
    browser.until_says("box", "#says")
    browser.until_says("not accepted yet", "#says")
    accepted(browser, desk)
    assert desk.expect() == {"status": "OK", "id": "box"}
    assert desk.lines()[0]["by"] == "corrected"
    taken_back(browser, desk, BEHIND)


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
    accepted(browser, desk)
    assert desk.expect()["id"] == "n1"


def test_marking_several_as_right(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    browser.press("m")
    browser.until_says("Mark:", "#says")
    accepted(browser, desk, number_of(browser, "cup"), number_of(browser, "box"), "m")
    assert desk.expect()["id"] == "bonnet"
    assert set(desk.expect()["id_also"]) == {"cup", "box"}


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (("f",), "NOT_FOUND"),
        (("a",), "AMBIGUOUS"),
        (("v",), "RELATION_UNSATISFIED"),
        (("s", "OCC", Keys.ENTER), "OCCLUDED"),  # from the list, and out of the field
    ],
)
def test_a_status_by_a_key_or_from_the_list(browser: Browser, label: Serve, keys: tuple[str, ...], status: str) -> None:
    desk = label(BEHIND)
    for key in keys:
        browser.press(key)
    if len(keys) > 1:
        browser.until("the sentence has the focus", lambda: browser.focused == BEHIND)
    accepted(browser, desk)
    assert desk.expect() == {"status": status}


def test_a_box_by_keyboard(browser: Browser, label: Serve) -> None:
    desk = label("the fork")
    browser.press("b")
    browser.until_says("Box: arrows", "#says")
    start = [float(value(browser, f"box-{one}")) for one in ("x1", "y1", "x2", "y2")]
    browser.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_UP, "x", Keys.ARROW_RIGHT)
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_DOWN).key_up(Keys.SHIFT).perform()
    accepted(browser, desk, Keys.ENTER)
    moved = [start[0] - 2, start[1] - 1, start[2] + 1, start[3] + 10]
    assert desk.expect() == {"status": "OK", "box": moved}
    assert desk.lines()[0]["by"] == "corrected"


def test_a_box_that_is_not_kept_changes_nothing(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    before = browser.text("#says")
    browser.press("b", Keys.ARROW_LEFT, Keys.ESCAPE)
    browser.until("as before", lambda: browser.text("#says").endswith(before))
    accepted(browser, desk, "b", Keys.ENTER)  # begun and left as the object has it
    assert desk.expect() == {"status": "OK", "id": "bonnet"}
    assert desk.lines()[0]["by"] == "accepted"
    taken_back(browser, desk, BEHIND)
    accepted(browser, desk, "b", Keys.ARROW_LEFT, Keys.ENTER)
    assert desk.expect().keys() == {"status", "id", "label", "box"}
    assert desk.expect()["label"] == "chick"


def test_the_place_by_keyboard(browser: Browser, label: Serve) -> None:
    desk = label(BESIDE)
    before = [float(value(browser, f"place-center-{axis}")) for axis in "xyz"]
    browser.press("p")
    browser.until_says("Place: arrows", "#says")
    # The camera looks along x of base: up in the drawing is +x, right is -y.
    accepted(browser, desk, Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT, "+", Keys.ENTER)
    place = desk.expect()["place"]
    assert place["region_center"] == pytest.approx([before[0] + 0.02, before[1] - 0.01, before[2]], abs=1e-3)
    assert place["region_half"] == pytest.approx([0.07, 0.07, 0.0])
    assert (place["relation"], place["anchor_id"]) == ("right of", "cup")


def test_a_new_place_told_by_another_object(browser: Browser, label: Serve) -> None:
    desk = label(CUP)
    browser.press("p", number_of(browser, "box"), Keys.ENTER)
    typed(browser, "place-relation", "next to")
    accepted(browser, desk)
    place = desk.expect()["place"]
    assert (desk.expect()["id"], place["relation"], place["anchor_id"]) == ("cup", "next to", "box")


def test_no_place_where_the_cameras_pose_is_not_known(browser: Browser, label: Serve) -> None:
    desk = label(CUP, frames=2, lines=[{"frame": "f1", "instruction": CUP, "expect": {"status": "OK", "id": "cup"}}])
    browser.until_says("f2", "#where")
    browser.press("p")
    browser.until_says("base_T_camera.json", "#says")
    accepted(browser, desk, n=2)


def test_a_question_and_its_answer(browser: Browser, label: Serve) -> None:
    words = "how many chicks are there?"
    desk = label(words)
    assert value(browser, "answer-value") == "2"
    typed(browser, "answer-value", "3")
    accepted(browser, desk, "m", number_of(browser, "cup"), "m")
    assert desk.expect()["status"] == "ANSWERED"
    assert desk.expect()["answer"]["value"] == 3
    assert set(desk.expect()["answer"]["ids"]) == {"bonnet", "ribbon", "cup"}


def test_kind_and_a_typed_sentence_and_keys_in_a_field_are_text(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND, CUP)
    browser.driver.find_element("id", "kind").send_keys("fab 12")  # keys in a field are text
    assert (value(browser, "kind"), value(browser, "status"), desk.lines()) == ("fab 12", "OK", [])
    browser.driver.find_element("id", "kind").clear()
    browser.script("document.activeElement.blur()")
    browser.press("k")
    accepted(browser, desk, "5 behind, easy", Keys.ENTER)
    assert desk.lines()[0]["kind"] == ["5 behind", "easy"]
    shows(browser, CUP)
    browser.press("n")
    browser.press("the ribbon chick", Keys.ENTER)
    shows(browser, "the ribbon chick")
    assert desk.lines()[-1] == {"frame": "f1", "instruction": "the ribbon chick"}


def test_everything_is_reached_by_tab_and_keys_of_one_letter_can_be_off(browser: Browser, label: Serve) -> None:
    label(BEHIND)
    browser.script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(60):
        browser.press(Keys.TAB)
        name, width = browser.script(FOCUSED)
        reached.add(name)
        assert name == "BODY" or width >= 1, f"{name} does not show that it has the keyboard"
    assert {"skip", "box-mode", "place-mode", "status", "kind", "back", "accept", "SUMMARY"} <= reached
    browser.script("document.activeElement.blur()")
    browser.press("?")
    browser.driver.find_element("id", "keys-on").click()
    browser.script("document.activeElement.blur()")
    before = browser.text("#says")
    browser.press("f", "1", "b")
    assert (browser.text("#says"), value(browser, "status")) == (before, "OK")


def test_blind_shows_the_answer_only_after_the_decision(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND, CUP, blind=True)
    assert "Hidden until you have decided" in browser.text("#answer")
    browser.press(Keys.ENTER)
    browser.until_says("Choose the right object", "#says")
    assert desk.lines() == []
    accepted(browser, desk, number_of(browser, "box"))
    assert desk.lines()[0]["by"] == "written"
    browser.until_says("the answer is another one", "#where")
    shows(browser, CUP)
    browser.click("Show the answer")
    browser.until_says("OK", "#answer")
    accepted(browser, desk, n=2)
    assert desk.lines()[1]["by"] == "accepted"


def test_a_file_that_another_wrote_is_said_and_put_together(browser: Browser, label: Serve, axe_script: str) -> None:
    desk = label(BEHIND, CUP)
    desk.path.write_text('{"frame": "f1", "instruction": "theirs"}\n')
    browser.press(Keys.ENTER)
    browser.until_says("1 not saved", "#saved")
    browser.until_says("another program has changed it", "#unsaved")
    assert len(desk.lines()) == 1
    assert faults_of(browser, axe_script) == []
    browser.look(1280)
    browser.click("Put mine on the new file")
    browser.until_says("Everything is saved", "#saved")
    assert [line["instruction"] for line in desk.lines()] == ["theirs", BEHIND]
    shows(browser, CUP)  # though the new file numbers it otherwise
    browser.until_says("Everything is saved.", "#live")


def test_what_another_tab_decided_is_shown_and_not_overwritten(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    desk.session.decide(0, {"status": "NOT_FOUND"})
    browser.press("a", Keys.ENTER)
    browser.until_says("another tab", "#problem")
    shows(browser, BEHIND)
    assert value(browser, "status") == "NOT_FOUND"
    assert desk.expect() == {"status": "NOT_FOUND"}
    browser.press("a", Keys.ENTER)
    browser.until("the second decision is written", lambda: desk.expect() == {"status": "AMBIGUOUS"})


def test_a_program_that_has_ended_is_said_and_nothing_is_lost_on_the_page(browser: Browser, label: Serve) -> None:
    desk = label(BEHIND)
    desk.page.close()
    browser.press("f", Keys.ENTER)
    browser.until_says("The program does not answer", "#problem")
    assert browser.script("return document.getElementById('status').value") == "NOT_FOUND"
    browser.script("window.dispatchEvent(new Event('pagehide'))")


def test_existing_truth_is_shown_and_where_the_answer_differs(browser: Browser, label: Serve) -> None:
    lines = [{"frame": "f1", "instruction": BEHIND, "expect": {"status": "OK", "id": "bonnet"}},
             {"frame": "f1", "instruction": CUP, "expect": {"status": "OK", "id": "box"}, "by": "written"}]  # fmt: skip
    desk = label(lines=lines, words=BEHIND)
    assert "nothing says how it was made" in browser.text("#origin")
    browser.press("?")
    browser.driver.find_element("id", "goes").send_keys("cases whose")
    browser.script("document.activeElement.blur()")
    browser.press(".")
    shows(browser, CUP)
    assert "The answer is another one" in browser.text("#origin")
    assert desk.lines() == lines


def test_a_truth_that_was_written_by_hand_is_accepted_as_it_is(browser: Browser, served: Serve) -> None:
    place = {"relation": "right of", "anchor_id": "cup", "anchor_also": ["box"], "region_center": [0.01, -0.123456, 0],
             "region_half": [0.06, 0.06, 0], "sure": True}  # fmt: skip
    expect = {"status": "OK", "id": "box", "label": "carton", "mask": "m.png", "place": place}
    desk = served(lines=[{"frame": "f1", "instruction": BESIDE, "expect": expect}])
    before = desk.path.read_bytes()
    labelling(browser, desk, BESIDE)
    browser.press(Keys.ENTER)
    browser.until("it is accepted", lambda: "as it was" in said(browser) or "labelled" in browser.text("#says"))
    assert desk.session.overview()["cases"][0]["state"] == "decided"
    assert desk.path.read_bytes() == before
    browser.press("p", Keys.ARROW_UP, Keys.ENTER, Keys.ENTER)
    browser.until("the place is moved", lambda: desk.path.read_bytes() != before)
    assert desk.expect()["place"] == {**place, "region_center": [0.02, -0.123, 0]}
    assert desk.expect() == {**expect, "place": desk.expect()["place"]}


def test_a_folder_without_sentences_asks_for_one(browser: Browser, label: Serve) -> None:
    desk = label(words="There is no sentence yet.")
    browser.until("the field has the focus", lambda: browser.focused == "new-words")
    browser.press(CUP, Keys.ENTER)
    shows(browser, CUP)
    accepted(browser, desk)
    assert desk.expect() == {"status": "OK", "id": "cup"}


STATES = {"proposal": (), "box": ("b",), "place": ("p",), "keys": ("?",), "mark": ("m", "1"), "refusal": ("f",)}


def faults_of(browser: Browser, axe_script: str) -> list[str]:
    """But for contrast within drawings, which axe-core cannot tell and a test below measures."""
    faults = browser.all_faults(axe_script)
    return [one for one in faults if not re.search(r"unsure, color-contrast: \['text\[", one)]


@pytest.mark.parametrize(
    "states", [("proposal", "place"), pytest.param(("box", "keys", "mark", "refusal"), marks=pytest.mark.slow)]
)
def test_each_state_is_accessible(browser: Browser, served: Serve, axe_script: str, states: tuple[str, ...]) -> None:
    desk = served(BESIDE, CUP)
    for state in states:
        labelling(browser, desk, BESIDE)
        browser.press(*STATES[state])
        assert faults_of(browser, axe_script) == [], state
        assert browser.script("return document.getAnimations().length") == 0
        assert browser.driver.get_log("browser") == []  # no policy is broken, nothing is missing
        browser.forget()


def test_numbers_in_drawings_stand_out_from_what_is_behind_them(browser: Browser, label: Serve) -> None:
    """Which axe-core cannot tell of drawings: numbers in the image have a badge, those seen from above an edge."""
    label(BEHIND)
    for dark in (False, True):
        browser.look(1280, dark)
        pairs = browser.script(INKS)
        assert len(pairs) >= 8
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


INKS = """
    const found = [];
    for (const text of document.querySelectorAll("#overlay text"))
        found.push([getComputedStyle(text).fill, getComputedStyle(text.previousSibling).fill]);
    for (const text of document.querySelectorAll("#top text"))
        found.push([getComputedStyle(text).fill, getComputedStyle(text).stroke]);
    return found
"""


def contrast(one: str, other: str) -> float:
    """Ratio of WCAG 2.2, "contrast ratio", of two colours as a browser writes them."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_page_to_sign_in_is_accessible(browser: Browser, served: Serve, axe_script: str) -> None:
    browser.open(served(CUP).page.address)
    assert "Sign in" in browser.text()
    assert browser.all_faults(axe_script) == []
