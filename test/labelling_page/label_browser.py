# SPDX-License-Identifier: Apache-2.0
"""What tests of the labelling page in Chromium do: open it, wait for a case, look at the file. Not a test."""

from __future__ import annotations

from typing import Any

from approval_browser import Browser

BEHIND, BESIDE, CUP = "the chick behind the cup", "put the box to the right of the cup", "the cup"
READY = "return document.querySelector('#sentence').textContent"


def labelling(browser: Browser, desk: Any, words: str) -> None:
    browser.open(desk.page.url)
    shows(browser, words)


def shows(browser: Browser, words: str) -> None:
    browser.until(f"the case {words!r}", lambda: browser.script(READY) == words and not busy(browser))


def busy(browser: Browser) -> bool:
    return bool(browser.script("return document.getElementById('main').hasAttribute('aria-busy')"))


def saved(browser: Browser, desk: Any, n: int) -> None:
    browser.until(f"{n} truths in the file", lambda: sum("expect" in line for line in desk.lines()) == n)
    browser.until("the page is ready", lambda: not busy(browser))


def number_of(browser: Browser, label: str) -> str:
    """The number that the table gives the first object of a name."""
    rows = browser.driver.find_elements("css selector", "#objects tbody tr")
    return next(row.find_element("tag name", "th").text for row in rows if label in row.text)


def value(browser: Browser, id_: str) -> str:
    found = browser.script(f"return document.getElementById({id_!r}).value")
    return str(found)


def said(browser: Browser) -> str:
    return str(browser.script("return document.getElementById('live').textContent"))
