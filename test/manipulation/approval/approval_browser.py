# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, and what tests do in it: wait, press keys, measure, judge accessibility."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from waiting import DEADLINE

REPLACED = "does not belong to the document"
"""How chromedriver says it, without a class of its own, where a page is replaced while an element is read."""


class Browser:
    """One browser; `scripts` off is a browser whose user has switched JavaScript off."""

    def __init__(self, scripts: bool = True) -> None:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for name in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking",
                     "disable-component-update", "disable-sync", "no-first-run", "lang=en"):  # fmt: skip
            options.add_argument(f"--{name}")
        if os.geteuid() == 0:  # its sandbox refuses the superuser
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        self.driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(2 * DEADLINE)
        self.look(1280)

    def close(self) -> None:
        self.driver.quit()

    def forget(self) -> None:
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.look(1280)
        self.driver.get_log("browser")

    def look(self, width: int, dark: bool = False, height: int = 900) -> None:
        """Through a window of this size, CSS pixels, with the system's colours light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        self.driver.get(url)

    def text(self, css: str = "main") -> str:
        return self.driver.find_element("css selector", css).text

    def until(self, what: str, seen: Callable[[], Any]) -> Any:
        """Wait until something is so; the page may be replaced meanwhile."""
        ends = time.monotonic() + 2 * DEADLINE
        while True:
            try:
                found = seen()
            except (NoSuchElementException, StaleElementReferenceException, JavascriptException):
                found = None
            except WebDriverException as error:
                if REPLACED not in str(error.msg):
                    raise
                found = None
            if found:
                return found
            assert time.monotonic() < ends, f"too late: {what}; the page says {self.text('body')!r}"
            time.sleep(0.02)

    def until_says(self, words: str, css: str = "main") -> None:
        self.until(f"{words!r}", lambda: words in self.text(css))

    def button(self, words: str) -> Any:
        buttons = self.driver.find_elements("css selector", "button")
        return next((button for button in buttons if button.text == words), None)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def press_back(self, times: int) -> None:
        keys = webdriver.ActionChains(self.driver).key_down(Keys.SHIFT)
        keys.send_keys(Keys.TAB * times).key_up(Keys.SHIFT).perform()

    def click(self, words: str) -> None:
        button = self.until(f"the button {words!r}", lambda: (b := self.button(words)) and b.is_enabled() and b)
        button.click()

    @property
    def focused(self) -> str:
        """What has the keyboard: its words, or the id of a field."""
        element = self.driver.switch_to.active_element
        return element.get_attribute("id") if element.tag_name == "input" else element.text.partition("\n")[0]

    def tab_to(self, words: str) -> list[str]:
        """Press Tab until something has the keyboard; what had it on the way. Each must show that it has."""
        way: list[str] = []
        while not way or way[-1] != words:
            assert len(way) < 30, f"{words!r} is not reached: {way}"
            self.press(Keys.TAB)
            way.append(self.focused)
            outline = self.script("const s = getComputedStyle(document.activeElement);"
                                  "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth)")  # fmt: skip
            assert outline >= 2, f"{way[-1]!r} does not show that it has the keyboard"
        return way

    def script(self, code: str) -> Any:
        return self.driver.execute_script(code)

    def faults(self, axe: str) -> list[str]:
        """What axe-core finds wrong, and what is wider than the window."""
        self.script(axe)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations', 'incomplete']})"
            ".then(r => done({violations: r.violations, unsure: r.incomplete, passes: r.passes.length}))"
            ".catch(e => done({error: String(e)}));"
        )
        assert "error" not in found, found
        assert found["passes"] > 10  # it has looked
        faults = [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found["violations"]
                  for node in rule["nodes"]]  # fmt: skip
        faults += [f"unsure, {rule['id']}: {rule['nodes'][0]['target']}" for rule in found["unsure"]]
        if self.script("const e = document.documentElement; return e.scrollWidth > e.clientWidth"):
            faults.append("it is wider than the window")
        return faults

    def all_faults(self, axe: str) -> list[str]:
        """On a wide and on a narrow window, light and dark; as high as the page, so that no bar is over it."""
        faults = []
        for width in (1280, 320):
            for dark in (False, True):
                self.look(width, dark, height=6000)
                faults += [f"{width} px, dark={dark}: {fault}" for fault in self.faults(axe)]
        return faults
