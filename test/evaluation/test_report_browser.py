# SPDX-License-Identifier: Apache-2.0
"""The report in a browser: filters, links, images and accessibility, with its script and without."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("jinja2")
if importlib.util.find_spec("selenium") is None or shutil.which("chromium") is None:
    pytest.skip("selenium or chromium is not here: scripts/setup.sh web browser", allow_module_level=True)

from approval_browser import Browser
from evaluation_cases import some_run

from spatial_vlm_ros.evaluation.case_result import judge_case
from spatial_vlm_ros.evaluation.error_split import Blame, CaseError
from spatial_vlm_ros.evaluation.evaluation_outcome import evaluation_of
from spatial_vlm_ros.evaluation.model_run import ModelRun, UnusableCase
from spatial_vlm_ros.evaluation.reports.report import evaluation_page

if TYPE_CHECKING:
    from spatial_vlm_ros.evaluation.case_result import CaseResult


def runs() -> list[ModelRun]:
    """Two models on the same fifteen cases; each fails three, the second for want of an object."""
    cases, answers = some_run()
    image = cv2.imencode(".jpg", np.full((60, 160, 3), 180, np.uint8))[1].tobytes()
    found = []
    for name in ("given <one>", "owl"):
        results: list[CaseResult] = []
        for case, answer in zip(cases, answers, strict=True):
            assert case.expect is not None
            result = judge_case(case, case.expect, answer, model=name, source="recordings")
            if name == "owl" and not result.complete:
                result = dataclasses.replace(
                    result, error=CaseError.NOT_DETECTED, blame=Blame.MODEL, about="can (d1)", oracle_right=True
                )
            results.append(result)
        wrong = [n for n, result in enumerate(results) if not result.complete]
        run = ModelRun(name, results, {n: answers[n] for n in wrong}, [0.1] * 15, dict.fromkeys(wrong, image))
        run.unusable.append(UnusableCase("recordings", "f9", "the cap", "expect.id: 'd9'"))
        found.append(run)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(evaluation_page(evaluation_of(runs(), notes=["time is set back"]), runs(), "Run"))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.close()


SHOWN = "return [...document.querySelectorAll('article')].filter(a => !a.hidden).map(a => a.id)"


def choose(browser: Browser, name: str, value: str) -> None:
    browser.script(
        f"const s = document.querySelector('select[name={name}]'); s.value = '{value}'; "
        "s.dispatchEvent(new Event('change'))"
    )


def test_filters_narrow_the_failures_and_are_taken_back(browser: Browser, page: str) -> None:
    browser.forget()
    browser.open(page)
    assert browser.text("#shown") == "6 of 6 shown"
    choose(browser, "model", "owl")
    assert len(browser.script(SHOWN)) == 3
    choose(browser, "error", "needless refusal")
    assert browser.text("#shown") == "0 of 6 shown"
    choose(browser, "model", "given <one>")
    assert browser.script(SHOWN) == ["case-1-14"]
    browser.click("Show all")
    assert browser.text("#shown") == "6 of 6 shown"
    choose(browser, "status", "AMBIGUOUS")
    assert browser.script(SHOWN) == ["case-1-14", "case-2-14"]
    assert browser.driver.get_log("browser") == []


def test_a_link_to_a_failure_that_is_filtered_out_shows_it(browser: Browser, page: str) -> None:
    browser.forget()
    browser.open(page)
    choose(browser, "model", "owl")
    browser.script("location.hash = '#case-1-14'")
    browser.until("the failure is shown", lambda: "case-1-14" in browser.script(SHOWN))


def test_an_image_is_enlarged_by_a_click_and_by_the_keyboard(browser: Browser, page: str) -> None:
    browser.forget()
    browser.open(page)
    wide = "return document.querySelectorAll('article.wide').length"
    browser.script("document.querySelector('article img').click()")
    assert browser.script(wide) == 1
    browser.script("document.querySelector('article img').focus()")
    browser.press("\ue007")
    assert browser.script(wide) == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_it_can_be_read_by_everyone(width: int, dark: bool, browser: Browser, page: str, axe_script: str) -> None:
    browser.forget()
    browser.look(width, dark)
    browser.open(page)
    browser.script("for (const d of document.querySelectorAll('details')) d.open = true")
    unsure = ("color-contrast", "th-has-data-cells")  # letters over plots, and a table without rows, cannot be judged
    faults = [
        fault for fault in browser.faults(axe_script) if not fault.startswith(tuple(f"unsure, {u}" for u in unsure))
    ]
    assert faults == []


def test_without_scripts_every_failure_is_shown(page: str) -> None:
    browser = Browser(scripts=False)
    try:
        browser.open(page)
        found = browser.driver.find_elements("css selector", "article")
        assert len([one for one in found if one.is_displayed()]) == 6
        assert not browser.driver.find_element("id", "filters").is_displayed()
    finally:
        browser.close()
